/* The language model: embedding, a stack of blocks, a last norm, a head. */
#ifndef KR_MODEL_MODEL_H
#define KR_MODEL_MODEL_H

#include <math.h>
#include <stdatomic.h>

#include "formats/checkpoint.h"
#include "model/block.h"
#include "model/state.h"

struct krait_model {
    atomic_size_t references; /* the creator's, and one per session */
    krait_config config;
    const kr_block *block;
    kr_matrix embedding;           /* [vocab_size, d_model] */
    const float *norm_f;           /* [d_model] */
    kr_matrix head;                /* [vocab_size, d_model]; the embedding when tied */
    unsigned char *layers;         /* [n_layer] of block->layer_size */
    unsigned char *owned;          /* every weight that is not used where it is mapped */
    uint64_t bytes;                /* of all weights as they are held */
    krait_checkpoint *checkpoint;  /* NULL for random models */
    kr_state_layout *state_layout; /* shared with every state */
};

static inline void *kr_model_layer(const krait_model *model, size_t i) { return model->layers + i * model->block->layer_size; }

/* A model without weights: its fields are to be filled in. */
krait_status kr_model_new(krait_model **model, const krait_config *config, krait_error *error);
krait_model *kr_model_retain(const krait_model *model);

/* ---- parameters of the model (src/model/parameters.c) ------------------------------------------------------------ */

/* One stored parameter: its row of the table, its names in files, the layer it is of, and where the model keeps it. */
typedef struct kr_parameter_place {
    const kr_parameter *parameter;
    char name[96];
    const char *other_names[2];
    char gguf_name[96]; /* "blk.3.ssm_a"; empty: that format has no place for it */
    size_t layer;       /* SIZE_MAX: the model's own */
    void *field;        /* kr_matrix * (KR_MATRIX) or const float **; NULL when the walk was given no model */
} kr_parameter_place;

/* Visits every parameter that a config asks for, in the order in which they are used; stops at the first failure. `model` may be
 * NULL. */
krait_status kr_each_parameter(const krait_config *config, krait_model *model,
                               krait_status (*visit)(void *context, const kr_parameter_place *place, krait_error *error),
                               void *context, krait_error *error);

/* ---- random parameters (src/model/random.c) ------------------------------------------------------------------------ */

/* The seed of the first parameter of a model; that of each next one is greater by 1. */
uint64_t kr_parameter_seed(uint64_t seed);
/* Elements [first, first + count) of a new parameter, as files store it. Any cutting into pieces gives the same values. */
void kr_parameter_draw(float *out, const kr_parameter *parameter, const krait_config *config, uint64_t seed, size_t first,
                       size_t count);

/* ---- config (src/model/config.c) --------------------------------------------------------------------------------- */

/* A line that two configs share exactly when states of one fit the other. */
enum { KR_FINGERPRINT = 256 };
void kr_config_fingerprint(const krait_config *config, char text[KR_FINGERPRINT]);
/* Dimensions that make sense together. */
krait_status kr_config_check(const krait_config *config, krait_error *error);

/* ---- weights (src/model/weights.c) ------------------------------------------------------------------------------- */

/* The tensor that a checkpoint has for a parameter, under any of its names; NULL: none. */
const kr_tensor *kr_weights_stored(const krait_checkpoint *checkpoint, const kr_parameter_place *place);
/* `type`, or bfloat16 where filling up blocks makes a grouped type larger. */
krait_weight_type kr_type_fitting(krait_weight_type type, size_t rows, size_t columns);
/* Whether a grouped type holds exactly what a tensor's blocks do: by their type, or because their numbers are small enough. */
bool kr_type_holds_exactly(krait_weight_type type, const kr_tensor *tensor);
/* `type`, or q6 instead of q4 for a parameter that asks for it, unless it is stored in q4. tensor: NULL if it is not stored. */
krait_weight_type kr_type_raised(krait_weight_type type, const kr_parameter_place *place, const kr_tensor *tensor);
/* What became of one of krait_save_options' choices: it fits no matrix; only such as an earlier one fits; or it was used. */
typedef enum kr_choice_use { KR_CHOICE_UNUSED, KR_CHOICE_LATE, KR_CHOICE_USED } kr_choice_use;
/* The type that a matrix is to be saved in, the choice that says so marked as used, and why if it is not the type asked for
 * (NULL otherwise). uses: [options->n_choices], zero at first. */
krait_weight_type kr_type_choose(const krait_save_options *options, kr_choice_use *uses, const kr_parameter_place *place,
                                 const kr_tensor *tensor, const char **reason);
krait_status kr_type_check_options(const krait_save_options *options, krait_error *error);
/* That every choice was used. */
krait_status kr_type_check_choices(const krait_save_options *options, const kr_choice_use *uses, krait_error *error);

/* A of A_log, as every part of the library computes it, and an A_log that gives A again. */
static inline float kr_minus_exp(float a_log) { return (float)-exp((double)a_log); }
static inline float kr_logarithm_of(float a) { return (float)log(-(double)a); }

/* Whether every parameter of the config is there, in shape and type; notes tensors that no parameter takes. */
krait_status kr_weights_check(krait_checkpoint *checkpoint, const krait_config *config, krait_error *error);
/* Points the model's fields at mapped float32 data, or at converted copies in model->owned. */
krait_status kr_weights_load(krait_model *model, const krait_load_options *options, krait_error *error);
/* One layer's parameters in float32, in the place of those that were loaded by it before: model->owned is theirs. */
krait_status kr_weights_load_layer(krait_model *model, size_t layer, int threads, krait_error *error);
krait_status kr_weights_random(krait_model *model, uint64_t seed, const krait_load_options *options, krait_error *error);

/* ---- forward (src/model/language_model.c) ------------------------------------------------------------------------ */

/* One row of outputs: the residual of a token of this step, or the one a state kept. */
typedef struct kr_output_row {
    const krait_state *state; /* NULL: row `token` of this step */
    size_t token;
} kr_output_row;

/* A step: at most as many tokens as the memory is for. */
typedef struct kr_step {
    size_t n_tokens;
    const int32_t *ids;         /* [n_tokens] */
    kr_rows rows;               /* every sequence has at least one token */
    krait_state *const *states; /* [rows.n_sequences] */
    const kr_output_row *outputs;
    size_t n_outputs;
    float *logits;                    /* [n_outputs, vocab_size] or NULL */
    const krait_outputs *hidden;      /* whose layers are wanted, or NULL */
    size_t hidden_row, n_hidden_rows; /* this step's first row in hidden->hidden, and rows per layer there */
    const krait_progress *progress;   /* asked before each layer; NULL: nobody is */
} kr_step;

/* Memory for steps of up to max_tokens. */
typedef struct kr_step_memory {
    size_t max_tokens;
    float *x;            /* [max_tokens, d_model] */
    float *work;         /* the block's */
    float *head;         /* [max_tokens, d_model] */
    float **state_parts; /* [KR_STATE_PARTS, max_tokens] */
    void *scratch;
    size_t scratch_size, bytes;
} kr_step_memory;

krait_status kr_step_memory_create(kr_step_memory *memory, const krait_model *model, const kr_device *device, int threads,
                                   size_t max_tokens, krait_error *error);
void kr_step_memory_free(kr_step_memory *memory);
/* false: progress said to stop, and states are between layers. */
bool kr_model_step(const krait_model *model, const kr_device *device, int threads, kr_step_memory *memory, const kr_step *step);
/* The matrix products of a step alone; logits [n_logits, vocab_size]. */
void kr_model_products(const krait_model *model, const kr_device *device, int threads, kr_step_memory *memory, size_t n_tokens,
                       size_t n_logits, float *logits);

#endif
