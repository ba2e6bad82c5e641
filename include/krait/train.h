/* Training: forward and backward passes, AdamW, schedules. Data comes from krait/data.h or from anywhere else.
 *
 *   krait_trainer *trainer; krait_train_step step; krait_error error;
 *   krait_trainer_options options = krait_trainer_defaults();
 *   options.total_steps = 1000;
 *   krait_trainer_create(&trainer, &config, seed, NULL, &options, &error);
 *   for (...) {
 *       krait_trainer_accumulate(trainer, rows, n_rows, &error);      as often as a step has batches
 *       krait_trainer_update(trainer, &step, &error);
 *   }
 *   krait_trainer_save_model(trainer, "folder", KRAIT_WEIGHT_F32, &error);
 *
 * Conventions are those of krait.h. A trainer is used by one thread at a time. */
#ifndef KRAIT_TRAIN_H
#define KRAIT_TRAIN_H

#include "krait/krait.h"
#include "krait/train_row.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct krait_trainer krait_trainer;

/* The learning rate of step s = 0, 1, ...; it rises linearly in the first warmup_steps: peak * (s + 1) / warmup_steps. Then:
 *   cosine     min + (peak - min) * (1 + cos(pi * (s + 1 - warmup) / (total - warmup))) / 2, the minimum in the last step and after it
 *   WSD        peak until decay_steps before the end, then linearly down to the minimum in the last step
 *   constant   peak */
typedef enum krait_schedule { KRAIT_SCHEDULE_COSINE = 0, KRAIT_SCHEDULE_WSD, KRAIT_SCHEDULE_CONSTANT } krait_schedule;

/* "cosine", "wsd", "constant". */
KRAIT_API const char *krait_schedule_name(krait_schedule schedule);
/* false if it is none of these. */
KRAIT_API bool krait_schedule_find(krait_schedule *schedule, const char *name);

/* Zero means zero here: begin with krait_trainer_defaults(). */
typedef struct krait_trainer_options {
    float learning_rate, min_learning_rate; /* the peak; what cosine and WSD end at */
    float beta1, beta2, epsilon;            /* of AdamW */
    float weight_decay;                     /* of matrices and convolutions; A_log, D, biases and norms never decay */
    float clip_norm;                        /* the gradient is scaled down to this norm where it is larger; 0: never */
    /* A new model's step sizes delta = softplus(dt_bias) are drawn between them, log-uniformly; both 0: 0.001 and 0.1, as the paper's. The
     * smaller they are, the longer a state remembers before anything is learned. */
    float dt_min, dt_max;
    krait_schedule schedule;
    uint64_t warmup_steps, total_steps; /* total_steps: cosine and WSD need it */
    uint64_t decay_steps;               /* WSD */
    /* KRAIT_WEIGHT_F32, or _BF16: products of bfloat16, of float32 parameters that are rounded for them. */
    krait_weight_type compute;
    /* Keep the residual stream of each layer alone, and run each block's forward pass once more in the backward pass. */
    bool recompute;
    /* Keep the scan's states as well, one in 128 tokens: a twentieth more memory, and no forward scan of its own in
     * the backward pass. Not with recompute. */
    bool keep_states;
    /* Rows go through the model in groups of about so many tokens, which memory is proportional to; a longer document is not cut. 0:
     * chosen by size. */
    size_t piece_tokens;
    /* 0: as many as the process may use. The same number gives the same bits. Another number may give others in bfloat16, where oneDNN splits
     * sums between threads; in float32 it has not been seen to. */
    int threads;
    krait_isa isa;
    /* Patterns of names ("backbone.layers.*.mixer.A_log"; * any text, ? any character): what they fit does not change; one that fits
     * nothing is an error. Only read by krait_trainer_create(). */
    const char *const *freeze;
    size_t n_freeze;
    /* Asked by krait_trainer_accumulate() and _evaluate() before each state that they put aside ("states") and each layer that they run
     * ("layers", forward and backward, of a group of rows). false: the call ends with KRAIT_ERROR_INTERRUPTED. */
    krait_progress progress;
} krait_trainer_options;

/* AdamW 0.9, 0.95, 1e-8, decay 0.1, clip 1; cosine from 1e-3 to 1e-5, no warm-up, total_steps 0 (to be set); float32. */
KRAIT_API krait_trainer_options krait_trainer_defaults(void);

/* The learning rate of a step (0-based). */
KRAIT_API double krait_trainer_rate(const krait_trainer_options *options, uint64_t step);

/* A new model, drawn from `seed` as the paper initialises it; or, with `config` NULL, the one in a checkpoint of any kind that krait
 * reads, which may be freed afterwards. */
KRAIT_API krait_status krait_trainer_create(krait_trainer **trainer, const krait_config *config, uint64_t seed,
                                            krait_checkpoint *from, const krait_trainer_options *options, krait_error *error);
KRAIT_API void krait_trainer_free(krait_trainer *trainer);

/* Forward and backward: the gradient of the sum of all losses adds up until the next update. No state may be in two rows of a call. The result depends on the rows, not on
 * how they are spread over calls, up to rounding. An argument that is wrong leaves everything as it was; running out of memory may have
 * changed gradients and states: krait_trainer_discard(). KRAIT_ERROR_INTERRUPTED leaves states as they were, and has discarded. A loss that is not finite is seen by krait_trainer_update(). */
KRAIT_API krait_status krait_trainer_accumulate(krait_trainer *trainer, const krait_train_row *rows, size_t n_rows,
                                                krait_error *error);
/* Drops the gradients gathered since the last update. */
KRAIT_API void krait_trainer_discard(krait_trainer *trainer);

/* The loss of rows with the model as it is: *loss += the sum in nats, *n_targets += how many; states as in accumulate. An error
 * leaves all of it as it was. */
KRAIT_API krait_status krait_trainer_evaluate(krait_trainer *trainer, const krait_train_row *rows, size_t n_rows, double *loss,
                                              uint64_t *n_targets, krait_error *error);

typedef struct krait_train_step {
    uint64_t step; /* updates made, with this one */
    double loss;   /* mean over targets, in nats */
    uint64_t n_targets;
    double grad_norm; /* of the mean loss's gradient, before clipping */
    double learning_rate;
    bool finite; /* false: loss or gradient were not, and nothing was changed but that the gradients were dropped */
    const char *
        nonfinite; /* the first tensor that is not: a parameter itself, or else a gradient in the order of the backward pass (from
                              the head down); its name lives as long as the trainer. NULL: none */
} krait_train_step;

/* Clips the mean gradient and moves the parameters. With nothing gathered, or no target in it, it is KRAIT_ERROR_ARGUMENT. */
KRAIT_API krait_status krait_trainer_update(krait_trainer *trainer, krait_train_step *result, krait_error *error);

/* Updates made so far. */
KRAIT_API uint64_t krait_trainer_steps(const krait_trainer *trainer);
KRAIT_API int krait_trainer_threads(const krait_trainer *trainer);
KRAIT_API krait_isa krait_trainer_isa(const krait_trainer *trainer);
/* The model as it is now, for sessions between updates (evaluation, sampling): its weights are the trainer's and change with every
 * update, so that no session of it may run during one. Valid as long as the trainer or any session of it. */
KRAIT_API const krait_model *krait_trainer_model(const krait_trainer *trainer);
/* The parameters: names, shapes and bytes as files have them in float32, frozen ones too. The strings live as
 * long as the trainer. KRAIT_ERROR_ARGUMENT past the last. */
KRAIT_API size_t krait_trainer_n_parameters(const krait_trainer *trainer);
KRAIT_API krait_status krait_trainer_parameter_info(const krait_trainer *trainer, size_t index, krait_tensor_info *info);
/* The gradient of the mean loss over what has been gathered, shaped as files store the parameter; zeros where it is frozen. */
KRAIT_API krait_status krait_trainer_gradient(const krait_trainer *trainer, const char *name, float *out, size_t count,
                                              krait_error *error);
/* The parameter itself, the same way. */
KRAIT_API krait_status krait_trainer_parameter(const krait_trainer *trainer, const char *name, float *out, size_t count,
                                               krait_error *error);

/* Writes config.json and model.safetensors in the layout of Hugging Face, weights last, into a folder that is new or empty. With
 * KRAIT_WEIGHT_F32 a trainer made of it has the same parameters, bit for bit; with _BF16 matrices are rounded. */
KRAIT_API krait_status krait_trainer_save_model(const krait_trainer *trainer, const char *folder, krait_weight_type type,
                                                krait_error *error);
/* The optimizer's moments and the number of steps, in one safetensors file. With the model saved as float32 beside it, training goes on bit
 * for bit: gradients that were gathered but not used are no part of it. */
KRAIT_API krait_status krait_trainer_save_state(const krait_trainer *trainer, const char *path, krait_error *error);
/* On failure the trainer is as it was. Gathered gradients are dropped. */
KRAIT_API krait_status krait_trainer_load_state(krait_trainer *trainer, const char *path, krait_error *error);

/* Bytes that a trainer takes which gets `rows` rows of `window` tokens at a time. */
typedef struct krait_trainer_memory {
    uint64_t parameters; /* with rounded copies, if there are any */
    uint64_t gradients, moments;
    uint64_t activations; /* kept between forward and backward pass */
    uint64_t scratch;
} krait_trainer_memory;

/* Computed, nothing is allocated. */
KRAIT_API krait_status krait_trainer_plan(const krait_config *config, const krait_trainer_options *options, size_t rows,
                                          size_t window, krait_trainer_memory *memory, krait_error *error);

/* Seconds that the matrix products of a forward and backward pass of so many tokens take alone, with a target at each: what the rest
 * costs is measured against it. Changes gathered gradients: call it before the first batch, or discard. */
KRAIT_API krait_status krait_trainer_measure_products(krait_trainer *trainer, size_t n_tokens, double *seconds,
                                                      krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
