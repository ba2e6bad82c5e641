/* THE CONTRACT: every operation a model is made of, and the table of functions that a device fills in.
 *
 * Activations are rows of channels, [token, channel], channels contiguous, rows `stride` elements apart. A batch is ragged: the
 * tokens of all sequences stand one after another, and kr_rows says which belong to which. Nothing is padded.
 * States have channels contiguous too, [d_state, d_inner] and [width-1, d_inner], so that the vectors of the kernels run
 * over channels everywhere and nothing is transposed. (Files and the public API show them as [d_inner, d_state] and
 * [d_inner, width-1], as everybody else does: src/model/state.c turns them.)
 *
 * Ops neither allocate nor fail: sizes and pointers are the caller's promise. They thread themselves over exec->threads.
 * Outputs may not overlap inputs unless an op says so. The same inputs give the same bits for every number of threads,
 * except in kr_linear where the GEMM library says otherwise (docs/ARCHITECTURE.md). */
#ifndef KR_OPS_OPS_H
#define KR_OPS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "krait/krait.h"

typedef struct kr_device kr_device;

/* Where and with what an op runs. */
typedef struct kr_exec {
    const kr_device *device;
    int threads;
    void *scratch; /* at least kr_..._scratch() bytes, aligned to 64; contents are not kept */
    size_t scratch_size;
} kr_exec;

/* A matrix of activations. */
typedef struct kr_view {
    float *data;   /* [rows, columns]; NULL: absent, where an op allows it */
    size_t stride; /* elements from row to row */
} kr_view;
typedef struct kr_cview {
    const float *data;
    size_t stride;
} kr_cview;

/* Tokens start[s] .. start[s+1]-1 are those of sequence s; a sequence may have none. */
typedef struct kr_rows {
    size_t n_sequences;
    const size_t *start; /* [n_sequences + 1], start[0] = 0 */
} kr_rows;

/* A weight matrix [rows, columns], as src/tensor/packed.h lays it out: float types row-major and contiguous. */
typedef struct kr_matrix {
    const void *data;
    size_t rows, columns;
    krait_weight_type type;
} kr_matrix;

/* ---- embedding: out[t, :] = table[ids[t], :] --------------------------------------------------------------------- */
typedef struct kr_embedding {
    size_t n_tokens;
    const int32_t *ids; /* [n_tokens], in [0, table.rows) */
    kr_matrix table;    /* [vocab_size, d_model] */
    kr_view out;        /* [n_tokens, d_model] */
} kr_embedding;

/* ---- linear: y[t, j] (+)= sum_k x[t, k] * weight[j, k] + bias[j] -------------------------------------------------
 *
 * With q8 and q4 weights x is quantised as well, each block of 64 (q8) or 32 (q4) columns of a token by itself, to
 * round(x * 127 / m), m the block's largest magnitude; the block's products are summed as integers and the sums, times both scales, as
 * float32 in the order of columns: fma(sum, scale_w * scale_x, y). With bf16 weights x is rounded to bfloat16 on CPUs that
 * multiply it. */
typedef struct kr_linear {
    size_t n_tokens;
    kr_cview x; /* [n_tokens, weight.columns] */
    kr_matrix weight;
    const float *bias; /* [weight.rows] or NULL */
    bool add;          /* y += instead of y =: the residual stream takes a block's output */
    kr_view y;         /* [n_tokens, weight.rows] */
} kr_linear;

/* ---- RMSNorm (Zhang & Sennrich 2019): y[t, i] = x[t, i] / sqrt(mean_i x[t, i]^2 + eps) * weight[i]; y may be x --- */
typedef struct kr_rms_norm {
    size_t n_tokens, dim;
    kr_cview x;
    const float *weight; /* [dim] or NULL for 1 (Falcon-Mamba's mixer) */
    float eps;
    kr_view y;
} kr_rms_norm;

/* ---- causal convolution, depthwise ------------------------------------------------------------------------------
 *
 *     y[t, d] = act(bias[d] + sum_w weight[w, d] * x[t - (width-1) + w, d])        act = silu or identity
 *
 * where x before a sequence's first token comes from its state: the last width-1 inputs, oldest first, zeros at the start. */
typedef struct kr_conv {
    kr_rows rows;
    size_t dim, width;   /* width 1..16 */
    kr_cview x;          /* [n_tokens, dim] */
    const float *weight; /* [width, dim]: transposed from the checkpoint's [dim, width] */
    const float *bias;   /* [dim] or NULL */
    bool silu;
    float *const *state; /* one [width-1, dim] per sequence, in/out */
    kr_view y;           /* [n_tokens, dim] */
} kr_conv;

/* ---- selective scan (Gu & Dao 2023, eq. 2 and algorithm 2) -------------------------------------------------------
 *
 * For every sequence, channel d and state n, with g = d / (d_inner / n_groups):
 *
 *     dt      = act(delta[t, d] + delta_bias[d])                         act = softplus or identity; bias optional
 *     h[n, d] = exp(dt * A[n, d]) * h[n, d] + dt * B[t, g, n] * u[t, d]
 *     y[t, d] = (sum_n C[t, g, n] * h[n, d] + D[d] * u[t, d]) * silu(z[t, d])      D and z optional
 *
 * B and C may instead be fixed: B[n, d] for every token (S4D). With complex A, the state, B and C are complex too (all
 * are then pairs re, im in their last dimension, exp is complex) and the sum is 2 * Re(sum_n C * h).
 * delta may be `y`'s memory: each element is read before it is written. */
typedef struct kr_scan {
    kr_rows rows;
    size_t d_inner, d_state, n_groups; /* n_groups divides d_inner; 1 in Mamba-1 */
    kr_cview u, delta;                 /* [n_tokens, d_inner] */
    kr_cview z;                        /* [n_tokens, d_inner]; data NULL: no gate */
    kr_cview B, C;                     /* per token: [n_tokens, n_groups, d_state] (x2 if complex);
                                fixed: [d_state, d_inner] (x2), stride unused */
    bool fixed_B, fixed_C;
    const float *A; /* [d_state, d_inner] (x2 if complex): -exp(A_log), not A_log */
    bool is_complex;
    const float *D;          /* [d_inner] or NULL */
    const float *delta_bias; /* [d_inner] or NULL */
    bool delta_softplus;
    float *const *state; /* one [d_state, d_inner] (x2) per sequence, in/out */
    kr_view y;           /* [n_tokens, d_inner] */
} kr_scan;

/* ---- the mixer's decode step, fused ------------------------------------------------------------------------------
 *
 * One token for each of n sequences, from in_proj's output to out_proj's input:
 *
 *     x          = silu(causal_conv1d(xz[:, 0 : d_inner]))
 *     dt, B, C   = split(x @ x_proj^T)                            each through a weightless RMSNorm if norm_eps >= 0
 *     y          = scan(x, dt @ dt_proj^T, B, C, z = xz[:, d_inner : 2*d_inner])
 *
 * Equal to kr_conv, kr_linear, kr_rms_norm, kr_linear, kr_scan one after another, which is its reference. */
typedef struct kr_mixer_step {
    size_t n_sequences;
    size_t d_inner, d_state, d_conv, dt_rank;
    kr_cview xz;              /* [n, 2*d_inner] */
    const float *conv_weight; /* [d_conv, d_inner] */
    const float *conv_bias;   /* [d_inner] or NULL */
    kr_matrix x_proj;         /* [dt_rank + 2*d_state, d_inner] */
    kr_matrix dt_proj;        /* [d_inner, dt_rank] */
    const float *dt_bias;     /* [d_inner] */
    const float *A;           /* [d_state, d_inner] */
    const float *D;           /* [d_inner] */
    float norm_eps;           /* Falcon-Mamba's mixer_rms_eps; negative: no norms */
    float *const *conv_state; /* [n] of [d_conv-1, d_inner], in/out */
    float *const *ssm_state;  /* [n] of [d_state, d_inner], in/out */
    kr_view y;                /* [n, d_inner] */
} kr_mixer_step;

/* ---- the table a device fills in --------------------------------------------------------------------------------- */
struct kr_device {
    const char *name; /* "cpu" */
    krait_isa isa;
    void (*embedding)(const kr_exec *exec, const kr_embedding *op);
    void (*linear)(const kr_exec *exec, const kr_linear *op);
    void (*rms_norm)(const kr_exec *exec, const kr_rms_norm *op);
    void (*conv)(const kr_exec *exec, const kr_conv *op);
    void (*scan)(const kr_exec *exec, const kr_scan *op);
    void (*mixer_step)(const kr_exec *exec, const kr_mixer_step *op);
    /* Bytes of scratch that one call needs, for any number of tokens up to n_tokens. */
    size_t (*linear_scratch)(int threads, size_t n_tokens, size_t rows, size_t columns);
    size_t (*scan_scratch)(int threads, size_t d_state);
    size_t (*mixer_step_scratch)(int threads, size_t n_sequences, size_t d_inner, size_t d_state, size_t dt_rank);
    /* At most this many one-token sequences go through mixer_step with profit; above, the ops one by one. */
    size_t mixer_step_max;
    /* In steps of at most this many tokens, a sequence's results have the same bits whatever else is in the step and wherever the
     * sequence is cut; in longer ones (matrix products of a library) they may differ in the last. */
    size_t independent_tokens;
};

static inline void kr_embedding_run(const kr_exec *e, const kr_embedding *op) { e->device->embedding(e, op); }
static inline void kr_linear_run(const kr_exec *e, const kr_linear *op) { e->device->linear(e, op); }
static inline void kr_rms_norm_run(const kr_exec *e, const kr_rms_norm *op) { e->device->rms_norm(e, op); }
static inline void kr_conv_run(const kr_exec *e, const kr_conv *op) { e->device->conv(e, op); }
static inline void kr_scan_run(const kr_exec *e, const kr_scan *op) { e->device->scan(e, op); }
static inline void kr_mixer_step_run(const kr_exec *e, const kr_mixer_step *op) { e->device->mixer_step(e, op); }

#endif
