/* The inside of a krait_trainer: every parameter, its gradient and its moments, each in one flat array. */
#ifndef KR_TRAIN_TRAINER_H
#define KR_TRAIN_TRAINER_H

#include "krait/train.h"
#include "model/training.h"

/* A parameter in the flat arrays: as the model holds it (convolutions and A_log transposed, A_log itself, not A), from a
 * cache line on. */
typedef struct kr_slot {
    const kr_parameter *parameter;
    char name[96];
    size_t offset, count;
    size_t rows, columns; /* as stored */
    size_t A_offset;      /* of -exp(A_log), for KR_MINUS_EXP_TRANSPOSED */
    bool frozen;
} kr_slot;

/* What the rows of a call become: pieces of whole sequences. */
typedef struct kr_piece_builder {
    int32_t *ids, *targets;     /* [max_tokens] */
    size_t *start;              /* [max_sequences + 1] */
    const krait_state **before; /* [max_sequences] */
    krait_state **after;
    size_t n_tokens, n_sequences, max_tokens, max_sequences;
} kr_piece_builder;

struct krait_trainer {
    krait_trainer_options options; /* freeze is not kept */
    const kr_device *device;
    int threads;
    krait_model *model; /* its fields point into the arrays */
    krait_model *gradients;
    kr_slot *slots;
    size_t n_slots, count, A_count; /* floats of each flat array, of all A */
    float *values, *A;              /* owned by the model, as is rounded */
    uint16_t *rounded;              /* values in bfloat16, [count]; NULL: not computed in it */
    float *gradient, *m, *v;
    void *scratch; /* of the optimizer's ops */
    uint64_t steps, n_targets;
    double loss; /* of what is gathered */
    kr_train_memory memory;
    kr_piece_builder builder;
    krait_state **before; /* [n_before]: where rows began, for the backward pass */
    size_t n_before;
};

/* ---- parameters (parameters.c) ----------------------------------------------------------------------------------- */

/* Lists the slots, and sizes the arrays: slots may be NULL to count only. */
krait_status kr_slots_create(krait_trainer *trainer, const krait_config *config, const krait_trainer_options *options,
                             krait_error *error);
/* Points the fields of model and gradients into the arrays. */
void kr_slots_connect(krait_trainer *trainer);
/* New values, or those of a checkpoint. */
krait_status kr_slots_draw(krait_trainer *trainer, uint64_t seed, krait_error *error);
krait_status kr_slots_load(krait_trainer *trainer, krait_checkpoint *from, krait_error *error);
/* What follows from the values: A, and the rounded copies if `round`. */
void kr_slots_derive(krait_trainer *trainer, bool round);
/* From a flat array's layout to that of files, and back. */
void kr_slot_to_stored(float *out, const kr_slot *slot, const float *held);
void kr_slot_to_held(float *out, const kr_slot *slot, const float *stored);
const kr_slot *kr_slot_find(const krait_trainer *trainer, const char *name);
/* The tensor that a file has for it; name and data are the caller's. */
kr_tensor kr_slot_tensor(const kr_slot *slot, const krait_config *config);

/* krait_trainer_plan() of a trainer that is given rows of `evaluated` tokens to evaluate as well. */
krait_status kr_trainer_plan(const krait_config *config, const krait_trainer_options *options, size_t rows, size_t window,
                             size_t evaluated, krait_trainer_memory *memory, krait_error *error);

/* ---- schedule (schedule.c) --------------------------------------------------------------------------------------- */

krait_status kr_trainer_options_check(const krait_trainer_options *options, krait_error *error);
size_t kr_piece_tokens(const krait_trainer_options *options);
kr_keep kr_keep_of(const krait_trainer_options *options);

#endif
