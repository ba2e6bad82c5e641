/* What a kind of block is to the rest of the library: a table of parameters, a table of what it remembers, and a forward pass.
 * Loading, `inspect`, random models, states and the language model read these tables; a new architecture is a new file that fills
 * them in (src/model/mamba.c is the first). */
#ifndef KR_MODEL_BLOCK_H
#define KR_MODEL_BLOCK_H

#include "ops/ops.h"

/* ---- sizes as functions of the config ---------------------------------------------------------------------------- */

typedef enum kr_dim {
    KR_DIM_END = 0,
    KR_ONE,
    KR_VOCAB_SIZE,
    KR_D_MODEL,
    KR_D_INNER,
    KR_2_D_INNER,
    KR_D_STATE,
    KR_D_CONV,
    KR_D_CONV_1, /* d_conv - 1 */
    KR_DT_RANK,
    KR_DT_RANK_2_D_STATE /* dt_rank + 2*d_state */
} kr_dim;

size_t kr_dim_size(kr_dim dim, const krait_config *config);

/* ---- parameters -------------------------------------------------------------------------------------------------- */

typedef enum kr_presence { KR_ALWAYS = 0, KR_IF_PROJ_BIAS, KR_IF_CONV_BIAS, KR_IF_UNTIED } kr_presence;

/* How the library holds a parameter, given how files store it. */
typedef enum kr_form {
    KR_AS_STORED = 0,
    KR_TRANSPOSED,          /* [d, (1,) w] -> [w, d]                    */
    KR_MINUS_EXP_TRANSPOSED /* A_log [d, n] -> A = -exp(A_log), [n, d]  */
} kr_form;

enum {
    KR_MATRIX = 1,         /* multiplied by: held as kr_matrix, mapped where the file has it in float32 */
    KR_DECAYS = 2,         /* weight decay applies when training                                        */
    KR_ALWAYS_FLOAT32 = 4, /* steers the recurrence: never stored in less                               */
    KR_Q6_IN_Q4 = 8,       /* q6 in a q4 model: few bytes that buy much (docs/QUANTIZATION.md)           */
    KR_Q6_IN_FIRST = 16    /* the same, in the first layer, whose errors all others take in             */
};

/* How a new model's parameter is drawn. */
typedef enum kr_init {
    KR_INIT_ZERO = 0,
    KR_INIT_ONE,
    KR_INIT_EMBEDDING,   /* N(0, 0.02)                                                             */
    KR_INIT_LINEAR,      /* U(+-1/sqrt(columns)): kaiming-uniform with a = sqrt(5)                 */
    KR_INIT_LINEAR_DEEP, /* the same / sqrt(n_layer): out_proj                                     */
    KR_INIT_DT_PROJ,     /* U(+-dt_rank^-0.5)                                                      */
    KR_INIT_DT_BIAS,     /* inverse softplus of dt, log-uniform in [1e-3, 1e-1]                    */
    KR_INIT_A_LOG        /* log(1 .. d_state)                                                      */
} kr_init;

enum { KR_PARAMETER_DIMS = 3 };

typedef struct kr_parameter {
    const char *name;                    /* in files: within the block ("mixer.A_log") or whole (the model's own)      */
    const char *other_names[2];          /* tried where a file has no tensor of the first name                          */
    const char *gguf_name;               /* in GGUF files, as llama.cpp names it; NULL: that format has no place for it */
    kr_dim shape[KR_PARAMETER_DIMS + 1]; /* as files store it, ended by KR_DIM_END                              */
    kr_presence presence;
    unsigned flags;
    kr_form form;
    kr_init init;
    size_t field; /* offset of its kr_matrix (KR_MATRIX) or const float * in the block's struct          */
} kr_parameter;

bool kr_parameter_is_present(const kr_parameter *parameter, const krait_config *config);
size_t kr_parameter_count(const kr_parameter *parameter, const krait_config *config); /* elements */

/* ---- what a block remembers -------------------------------------------------------------------------------------- */

/* One tensor per layer and sequence, float32. Held as [rows, channels]; shown in files and by the API as [channels, rows]. */
typedef struct kr_state_part {
    const char *name; /* "ssm_state": in files "ssm_state.{layer}" */
    kr_dim rows, channels;
} kr_state_part;

enum { KR_STATE_PARTS = 2 }; /* the most that any block has */

/* ---- the block --------------------------------------------------------------------------------------------------- */

/* The tokens of a step, and where their sequences' states are. */
typedef struct kr_block_batch {
    size_t n_tokens;
    kr_rows rows;
    kr_view x;                           /* [n_tokens, d_model], the residual stream: x += block(rmsnorm(x))         */
    float *const *state[KR_STATE_PARTS]; /* of this layer: for each part, one [rows, channels] per sequence */
} kr_block_batch;

/* What a layer keeps from the forward pass to the backward pass: the residual stream before the block; in_proj's output; the scan's chunk
 * states. What it does not keep is computed again. */
typedef enum kr_keep { KR_KEEP_RESIDUAL = 0, KR_KEEP_PROJECTED, KR_KEEP_STATES } kr_keep;

/* The tokens of a piece of a training batch. */
typedef struct kr_block_training {
    size_t n_tokens;
    kr_rows rows;
    kr_view x; /* forward: the residual stream, in/out; backward: its gradient, from after the block to before it */
    const float *const
        *before[KR_STATE_PARTS];         /* of this layer: for each part, one state per sequence to begin from, or NULL: zeros */
    float *const *state[KR_STATE_PARTS]; /* out: where the sequences ended; backward only changes them */
    kr_keep keep;
    float *saved; /* saved_size() floats of this layer */
    float *work;  /* train_work_size() floats, not kept */
} kr_block_training;

typedef struct kr_block {
    const kr_parameter *parameters;
    size_t n_parameters;
    const kr_state_part *state;
    size_t n_state;
    size_t layer_size; /* of the struct that the fields are in */
    /* Floats of working memory that a step of n_tokens needs. */
    size_t (*work_size)(const krait_config *config, size_t n_tokens);
    /* Bytes of scratch that any of its ops needs (ops.h). */
    size_t (*scratch_size)(const kr_device *device, int threads, const krait_config *config, size_t n_tokens);
    void (*forward)(const kr_exec *exec, const krait_config *config, const void *layer, const kr_block_batch *batch, float *work);
    /* What a matrix of the block multiplied in a forward of n_tokens that has just filled `work`, not all of them sequences of one
     * token: [n_tokens, columns]. */
    kr_cview (*input)(const krait_config *config, const kr_parameter *matrix, size_t n_tokens, float *work);
    /* Only the matrix products of forward, on whatever is in `work`: for measuring what the rest costs. */
    void (*products)(const kr_exec *exec, const krait_config *config, const void *layer, size_t n_tokens, kr_view x, float *work);

    /* Training: floats that a layer keeps, floats of working memory (chunks: kr_scan_chunks()), bytes of scratch. */
    size_t (*saved_size)(const krait_config *config, size_t n_tokens, size_t chunks, kr_keep keep);
    size_t (*train_work_size)(const krait_config *config, size_t n_tokens, size_t chunks, kr_keep keep);
    size_t (*train_scratch_size)(const kr_device *device, int threads, const krait_config *config, size_t n_tokens);
    void (*train_forward)(const kr_exec *exec, const krait_config *config, const void *layer, const kr_block_training *training);
    /* gradients: the layer's struct once more, its fields where the gradients are added up (that of A is A's, not A_log's); NULL
     * in it: not wanted. */
    void (*backward)(const kr_exec *exec, const krait_config *config, const void *layer, void *gradients,
                     const kr_block_training *training);
    /* Only the matrix products of both, one forward and two backward each, with what is in training->work. */
    void (*train_products)(const kr_exec *exec, const krait_config *config, const void *layer, void *gradients,
                           const kr_block_training *training);
} kr_block;

/* to[i, :] = from[i, :] for n rows, from.data NULL: zeros. */
void kr_copy_rows(int threads, kr_view to, kr_cview from, size_t n, size_t columns);

/* The block of a family. */
const kr_block *kr_block_of(krait_family family);

extern const kr_block kr_mamba_block;

#endif
