/* Where a run is: everything but the model, the optimizer and carried states that must be known to go on as if nothing had happened.
 * It is run.json of a checkpoint. */
#ifndef KR_TRAIN_POSITION_H
#define KR_TRAIN_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "train/settings.h"

#define KR_POSITION "run.json"

typedef struct kr_position {
    uint64_t step;          /* updates made */
    uint64_t batch;         /* the next of the dataset */
    uint64_t tokens;        /* seen */
    double seconds;         /* of training */
    bool finished;          /* by its last step, or early */
    uint64_t metrics_bytes; /* of metrics.jsonl that belong to it */

    double mean_loss; /* running, of the watch for spikes: kr_watch */
    uint64_t n_watched;
    bool in_spike;
    uint64_t n_setbacks; /* batches passed over and returns to a checkpoint since the last checkpoint that was due */

    double log_nats, log_norm; /* sums since the last line of metrics: nats, gradient norms */
    uint64_t log_targets, log_steps, log_tokens;
    double log_seconds;

    double held_out_loss, held_out_bits, best_loss; /* NaN: there is none yet */
    uint64_t best_step, n_stale;                    /* evaluations since the best */

    uint64_t train_checksum, held_out_checksum; /* of the token files; 0: none */
    uint64_t fingerprint;                       /* of the tokenizer; 0: none */
} kr_position;

kr_position kr_position_start(void);

/* {"version": 1, "step": .., "settings": {..}} into a file that appears whole. */
krait_status kr_position_write(const char *folder, const kr_position *position, const krait_training_settings *settings,
                               krait_error *error);
krait_status kr_position_read(const char *folder, kr_position *position, krait_training_settings **settings, krait_error *error);
/* The same of bytes in memory: `name` begins messages. */
krait_status kr_position_parse(const char *name, const char *bytes, size_t size, kr_position *position,
                               krait_training_settings **settings, krait_error *error);

#endif
