/* A training run from the inside: what its parts share. training.c opens it and runs the loop; run_data.c finds data, tokenizer and model;
 * run_checkpoint.c writes and reads checkpoints; run_report.c tells what happens, to the caller and in metrics.jsonl. */
#ifndef KR_TRAIN_RUN_H
#define KR_TRAIN_RUN_H

#include "train/metrics.h"
#include "train/position.h"
#include "train/run_folder.h"
#include "train/settings.h"

/* What a run learns from, and with. */
typedef struct kr_run_data {
    krait_checkpoint *from;     /* of model.from; NULL: a new model */
    krait_config config;        /* of the model */
    krait_tokenizer *tokenizer; /* NULL: there is none */
    char *tokenizer_json;       /* [tokenizer_size] its bytes, for checkpoints; NULL: there are none */
    size_t tokenizer_size;
    krait_token_file *train, *held_out; /* held_out may be NULL */
    krait_dataset *dataset;
    uint64_t n_steps, tokens_per_step, warmup_steps, decay_steps;
} kr_run_data;

struct krait_training {
    kr_run_folder folder;
    krait_training_settings *settings;
    krait_training_options options;
    kr_run_data data;
    krait_trainer *trainer;
    size_t n_rows;
    krait_train_row *rows; /* [n_rows] */
    bool *reset;           /* [n_rows] */
    krait_state **states;  /* [n_rows] that are carried; NULL when rows begin from zero */
    kr_position position;
    kr_metrics metrics;
    bool stop;               /* the caller asked for it */
    double products_seconds; /* that the products of a step take alone; 0: not measured */
    double rate;             /* tokens a second, smoothed; 0: not known yet */
    double saved_at;         /* when the last checkpoint was written, by kr_run_clock() */
    krait_train_step last;   /* the last step's figures */
};

/* Seconds since some moment, monotonic. */
double kr_run_clock(void);

/* ---- run_data.c */

/* Tokenizer, model's config, token files. `folder` is that of texts' token files, made when it is needed; `tokenizer` is NULL, or the folder of
 * a checkpoint whose tokenizer and config count instead of what the settings name. */
krait_status kr_run_data_open(kr_run_data *data, krait_training *training, const char *folder, const char *checkpoint,
                              krait_error *error);
void kr_run_data_close(kr_run_data *data);
/* How the trainer is made. The pattern list is the settings'. */
krait_trainer_options kr_run_trainer_options(const kr_run_data *data, const kr_settings *settings);

/* ---- run_checkpoint.c */

/* Bytes that a checkpoint takes, about. */
uint64_t kr_run_checkpoint_bytes(const krait_config *config, size_t n_states);
/* Points `last` to the checkpoint of the position, and removes those that are not to be kept. */
krait_status kr_run_publish(krait_training *training, krait_error *error);
/* Writes step-N and publishes it. */
krait_status kr_run_save(krait_training *training, krait_error *error);
/* Writes the model as `best`. */
krait_status kr_run_save_best(krait_training *training, krait_error *error);
/* Whether the files of a checkpoint are what was written. */
krait_status kr_run_check(const krait_training *training, uint64_t step, krait_error *error);
/* Makes the trainer and the states of a checkpoint; the position is *position. */
krait_status kr_run_load(krait_training *training, uint64_t step, kr_position *position, krait_error *error);

/* ---- run_report.c */

/* Fills in the figures and calls the caller; sets `stop` when it asks for it. */
void kr_run_tell(krait_training *training, krait_training_event_type type, const char *text);
void kr_run_note(krait_training *training, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Work with a length, for krait_progress. */
bool kr_run_progress(void *training, const char *what, uint64_t done, uint64_t total);
/* Lines of metrics. */
krait_status kr_run_put_step(krait_training *training, krait_error *error);
krait_status kr_run_put_evaluation(krait_training *training, uint64_t n_scored, krait_error *error);
krait_status kr_run_put_sample(krait_training *training, const char *text, krait_error *error);
/* {"event":name,"step":..,"text":..}: text may be NULL. */
krait_status kr_run_put_event(krait_training *training, const char *name, const char *text, krait_error *error);

/* ---- run_sample.c */

/* A few lines by the model as it is: free with kr_free(). */
krait_status kr_run_sample(krait_training *training, char **text, krait_error *error);

#endif
