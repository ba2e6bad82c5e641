/* THE CONTRACT: every operation a model is made of, and the table of functions that a device fills in.
 *
 * Activations are rows of channels, [token, channel], channels contiguous, rows `stride` elements apart. A batch is ragged: the
 * tokens of all sequences stand one after another, and kr_rows says which belong to which. Nothing is padded.
 * States have channels contiguous too, [d_state, d_inner] and [width-1, d_inner], so that the vectors of the kernels run
 * over channels everywhere and nothing is transposed. (Files and the public API show them as [d_inner, d_state] and
 * [d_inner, width-1], as everybody else does: src/model/state.c turns them.)
 *
 * Backward ops follow their forward op. With L the loss, dx stands for dL/dx. Gradients of activations are written, or added where a
 * flag says so; those of parameters are added to what is there. An absent output (NULL) is not wanted. Every sum has an order of its
 * own that does not depend on the number of threads.
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
 * With q8, q6 and q4 weights x is quantised as well, each block of 32 columns of a token by itself, to
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

/* dx[t, i] (+)= r g[i] - x[t, i] r^3 / dim * sum_j g[j] x[t, j]   with g[i] = weight[i] dy[t, i], r = 1 / sqrt(mean_i x[t, i]^2 + eps)
 * dweight[i] += sum_t dy[t, i] x[t, i] r
 * dx may be x or dy. */
typedef struct kr_rms_norm_backward {
    kr_rms_norm forward; /* as it was run; y is not used */
    kr_cview dy;         /* [n_tokens, dim] */
    kr_view dx;          /* [n_tokens, dim], or data NULL */
    bool add;            /* dx += instead of dx = */
    float *dweight;      /* [dim], += */
} kr_rms_norm_backward;

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

/* With x[-(width-1)..-1] the state before, s[t, d] what act is applied to, and ds = dy act'(s), zero outside of the sequence:
 *
 *     dx[t, d]       = sum_w weight[w, d] ds[t + (width-1) - w, d]  + dstate of x[t, d], if the last state has it
 *     dweight[w, d] += sum_t ds[t, d] x[t - (width-1) + w, d]
 *     dbias[d]      += sum_t ds[t, d]
 *
 * and dstate becomes dx[-(width-1)..-1], the gradient of the state before. dx may be x or dy. */
typedef struct kr_conv_backward {
    kr_conv forward;                  /* as it was run; y and state are not used */
    const float *const *state_before; /* one [width-1, dim] per sequence, as it was before; NULL, or a NULL in it: zeros */
    kr_cview dy;                      /* [n_tokens, dim] */
    float *const
        *dstate;    /* one [width-1, dim] per sequence: in the gradient of the last state, out that of the state before. NULL, or
                             a NULL in it: zero, and not wanted */
    kr_view dx;     /* [n_tokens, dim], or data NULL */
    float *dweight; /* [width, dim], += */
    float *dbias;   /* [dim], += */
} kr_conv_backward;

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
    float *saved; /* NULL, or out, for the backward pass: the states before the tokens 0, KR_SCAN_CHUNK, 2 KR_SCAN_CHUNK.. of each
                            sequence, one sequence after another: [kr_scan_chunks(), d_state, d_inner] (x2) */
    kr_view y;    /* [n_tokens, d_inner] */
} kr_scan;

/* The scan keeps one state in so many tokens; the backward pass computes the others again, a chunk at a time. */
enum { KR_SCAN_CHUNK = 128 };

/* How many states kr_scan.saved holds. */
static inline size_t kr_scan_chunks(kr_rows rows)
{
    size_t chunks = 0;
    for (size_t s = 0; s < rows.n_sequences; s++)
        chunks += (rows.start[s + 1] - rows.start[s] + KR_SCAN_CHUNK - 1) / KR_SCAN_CHUNK;
    return chunks;
}

/* With a[t, n, d] = exp(dt A[n, d]) and q[t, d] = dy[t, d] silu(z[t, d]), from the last token to the first:
 *
 *     dh[t, n, d] = C[t, g, n] q[t, d] + a[t+1, n, d] dh[t+1, n, d]          at the last token: + the given gradient of the last state
 *     p[t, d]     = sum_n B[t, g, n] dh[t, n, d]                             the gradient of dt u
 *     ddt[t, d]   = u[t, d] p[t, d] + sum_n A[n, d] a[t, n, d] h[t-1, n, d] dh[t, n, d]
 *
 *     du[t, d]      = dt p[t, d] + D[d] q[t, d]                    dA[n, d]      += sum_t dt a[t, n, d] h[t-1, n, d] dh[t, n, d]
 *     ddelta[t, d]  = ddt[t, d] act'(delta[t, d] + delta_bias[d])  dD[d]         += sum_t q[t, d] u[t, d]
 *     dz[t, d]      = dy[t, d] (C h + D u)[t, d] silu'(z[t, d])    ddelta_bias[d] += sum_t ddelta[t, d]
 *     dB[t, g, n]   = sum_d dt u[t, d] dh[t, n, d]
 *     dC[t, g, n]   = sum_d q[t, d] h[t, n, d]                     over the channels of the group
 *
 * and dstate becomes a[0] dh[0], the gradient of the state before. Fixed B and C: dB[n, d] += sum_t.., likewise dC. Complex numbers:
 * the gradient of x is dL/dRe x + i dL/dIm x.
 * du, ddelta, dz and y may be the memory of u, delta, z or dy: each element is read before it is written. */
typedef struct kr_scan_backward {
    kr_scan forward; /* as it was run, with what it saved; state and y are not used */
    kr_cview dy;     /* [n_tokens, d_inner] */
    float *const
        *dstate; /* one [d_state, d_inner] (x2) per sequence: in the gradient of the last state, out that of the state before.
                             NULL, or a NULL in it: zero, and not wanted */
    kr_view du, ddelta, dz; /* [n_tokens, d_inner], written; data NULL: not wanted. ddelta is of delta before bias and softplus */
    kr_view dB, dC;         /* [n_tokens, n_groups, d_state] (x2), written; fixed: [d_state, d_inner] (x2), += */
    float *dA, *dD, *ddelta_bias; /* shaped as A, D and delta_bias, +=. dA is A's, not A_log's */
    kr_view y;                    /* the forward pass's output once more, which so need not be kept; data NULL: not wanted */
} kr_scan_backward;

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

/* ---- training -----------------------------------------------------------------------------------------------------
 *
 * Backward ops take what the forward op took and the gradient of what it gave, and give the gradients of what it took. Those of
 * parameters are added to what is there (+=); those of activations are written, or added where a flag says so. data NULL, or a pointer
 * that is NULL: not wanted. Every sum has a fixed order, whatever the number of threads. */

/* dx[t, k] (+)= sum_j dy[t, j] * weight[j, k];  dweight[j, k] += sum_t dy[t, j] * x[t, k];  dbias[j] += sum_t dy[t, j]
 *
 * The weight is float32 or bfloat16; with the latter, x and dy are rounded to it on CPUs that multiply it. */
typedef struct kr_linear_backward {
    size_t n_tokens;
    kr_cview x;  /* [n_tokens, weight.columns] */
    kr_cview dy; /* [n_tokens, weight.rows] */
    kr_matrix weight;
    kr_view dx; /* [n_tokens, weight.columns] */
    bool add;   /* dx += instead of dx = */
    float *dweight, *dbias;
} kr_linear_backward;

/* dtable[ids[t], :] += dout[t, :] */
typedef struct kr_embedding_backward {
    size_t n_tokens;
    const int32_t *ids; /* [n_tokens] */
    size_t dim;
    kr_cview dout; /* [n_tokens, dim] */
    float *dtable; /* [vocab_size, dim] */
} kr_embedding_backward;

/* Of the rows t that have a target: *loss += log(sum_j exp(logits[t, j])) - logits[t, targets[t]], and if `gradient`,
 * logits[t, j] = softmax(logits[t])[j] - (j == targets[t]); zeros in rows without. */
typedef struct kr_cross_entropy {
    size_t n_tokens, vocab_size;
    kr_view logits;         /* [n_tokens, vocab_size], in; out: the gradient of the loss */
    const int32_t *targets; /* [n_tokens]; negative: none */
    bool gradient;
    double *loss;
} kr_cross_entropy;

/* *sum += sum_i x[i]^2; not finite exactly if an x[i] is not. */
typedef struct kr_sum_squares {
    const float *x;
    size_t count;
    double *sum;
} kr_sum_squares;

/* One step of AdamW (Loshchilov & Hutter 2019) on `count` parameters, g = gradient * scale:
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
 *     value = value * (1 - rate * decay) - rate * (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon) */
typedef struct kr_adamw {
    size_t count;
    float *value, *m, *v;
    const float *gradient;
    uint16_t *rounded; /* NULL, or the new values as bfloat16 */
    float scale, rate, beta1, beta2, epsilon, decay;
    uint64_t step; /* from 1 */
} kr_adamw;

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
    void (*rms_norm_backward)(const kr_exec *exec, const kr_rms_norm_backward *op);
    void (*conv_backward)(const kr_exec *exec, const kr_conv_backward *op);
    void (*scan_backward)(const kr_exec *exec, const kr_scan_backward *op);
    void (*linear_backward)(const kr_exec *exec, const kr_linear_backward *op);
    void (*embedding_backward)(const kr_exec *exec, const kr_embedding_backward *op);
    void (*cross_entropy)(const kr_exec *exec, const kr_cross_entropy *op);
    void (*sum_squares)(const kr_exec *exec, const kr_sum_squares *op);
    void (*adamw)(const kr_exec *exec, const kr_adamw *op);
    /* Bytes of scratch that one call needs, for any number of tokens up to n_tokens. */
    size_t (*linear_scratch)(int threads, size_t n_tokens, size_t rows, size_t columns);
    size_t (*scan_scratch)(int threads, size_t d_state);
    size_t (*mixer_step_scratch)(int threads, size_t n_sequences, size_t d_inner, size_t d_state, size_t dt_rank);
    size_t (*rms_norm_backward_scratch)(size_t n_tokens);
    /* Complex numbers count as two states. */
    size_t (*scan_backward_scratch)(int threads, size_t d_inner, size_t d_state, size_t n_groups);
    size_t (*linear_backward_scratch)(int threads, size_t n_tokens, size_t rows, size_t columns);
    size_t (*cross_entropy_scratch)(size_t n_tokens);
    size_t (*sum_squares_scratch)(size_t count);
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
static inline void kr_rms_norm_backward_run(const kr_exec *e, const kr_rms_norm_backward *op)
{
    e->device->rms_norm_backward(e, op);
}
static inline void kr_conv_backward_run(const kr_exec *e, const kr_conv_backward *op) { e->device->conv_backward(e, op); }
static inline void kr_scan_backward_run(const kr_exec *e, const kr_scan_backward *op) { e->device->scan_backward(e, op); }
static inline void kr_linear_backward_run(const kr_exec *e, const kr_linear_backward *op) { e->device->linear_backward(e, op); }
static inline void kr_embedding_backward_run(const kr_exec *e, const kr_embedding_backward *op)
{
    e->device->embedding_backward(e, op);
}
static inline void kr_cross_entropy_run(const kr_exec *e, const kr_cross_entropy *op) { e->device->cross_entropy(e, op); }
static inline void kr_sum_squares_run(const kr_exec *e, const kr_sum_squares *op) { e->device->sum_squares(e, op); }
static inline void kr_adamw_run(const kr_exec *e, const kr_adamw *op) { e->device->adamw(e, op); }

#endif
