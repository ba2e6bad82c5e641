/* krait: the operations of a Mamba by themselves, forward and backward, for programs that bring their own model.
 *
 * Arrays are float32 in the caller's memory with a stride, in elements, for each dimension, in the order that a comment gives: any
 * layout, transposed or cut out of another array. Those whose channels are contiguous, [batch, length, dim] in memory, are used where
 * they lie; others are copied through buffers of a few hundred tokens. Strides of 0 and negative ones are fine for inputs. data NULL:
 * absent. Outputs may not overlap inputs or each other, but a state's output may be its input.
 *
 * The conventions are those of krait.h. Functions keep nothing between calls and may be called from any thread. The results have the
 * same bits for every number of threads. */
#ifndef KRAIT_OPS_H
#define KRAIT_OPS_H

#include "krait/krait.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct krait_input {
    const float *data;
    ptrdiff_t stride[4];
} krait_input;

typedef struct krait_output {
    float *data;
    ptrdiff_t stride[4];
} krait_output;

typedef struct krait_op_options {
    int threads;   /* 0: all that the process may use */
    krait_isa isa; /* one that this machine lacks is an error */
} krait_op_options;

/* ---- selective scan (Gu & Dao 2023), as mamba_ssm's selective_scan_fn ------------------------------------------------
 *
 *     dt  = act(delta + delta_bias)                      act: softplus or identity
 *     h   = exp(dt A) h + dt B u                         from initial_state, or from 0
 *     out = (sum_n C h + D u) silu(z)                    complex: 2 Re(sum_n C h)
 *
 * Complex A, B, C and states have pairs (re, im) of adjacent floats for elements; strides count floats. Variable lengths: with `starts`
 * batch is 1, and tokens starts[i] .. starts[i+1]-1 are sequence i; states are then [n_sequences, ..]. */
typedef struct krait_selective_scan {
    size_t batch, dim, length, d_state;
    size_t n_groups;       /* of B and C; divides dim; 0: 1 */
    const size_t *starts;  /* NULL, or [n_sequences + 1], from 0 to length, ascending */
    size_t n_sequences;    /* with starts only */
    krait_input u, delta;  /* [batch, dim, length] */
    krait_input A;         /* [dim, d_state] */
    krait_input B, C;      /* [batch, n_groups, d_state, length]; fixed: [dim, d_state] */
    bool fixed_B, fixed_C; /* the same for all tokens */
    bool is_complex;       /* A, B, C and states */
    bool delta_softplus;
    krait_input D;             /* [dim], or absent */
    krait_input z;             /* [batch, dim, length], or absent */
    krait_input delta_bias;    /* [dim], or absent */
    krait_input initial_state; /* [batch, dim, d_state], or absent: 0 */
    krait_output out;          /* [batch, dim, length]; backward: absent, or once more */
    krait_output last_state;   /* [batch, dim, d_state], or absent */
    float *
        saved; /* absent, or out, krait_selective_scan_saved() floats: with them the backward pass needs no forward pass of its own */
} krait_selective_scan;

/* All may be absent except dout; written, not added to. dz without z, dD without D.. is an error. */
typedef struct krait_selective_scan_gradients {
    krait_input dout;             /* [batch, dim, length] */
    krait_input dlast_state;      /* [batch, dim, d_state]: the gradient of the last state, or absent: 0 */
    krait_output du, ddelta, dz;  /* [batch, dim, length] */
    krait_output dA, dB, dC;      /* shaped as A, B, C; complex: dL/dRe + i dL/dIm */
    krait_output dD, ddelta_bias; /* [dim] */
    krait_output dinitial_state;  /* [batch, dim, d_state] */
} krait_selective_scan_gradients;

/* Floats in `saved`; 0 if the sizes are not valid. */
KRAIT_API size_t krait_selective_scan_saved(const krait_selective_scan *op);
KRAIT_API krait_status krait_selective_scan_forward(const krait_selective_scan *op, const krait_op_options *options,
                                                    krait_error *error);
/* `op` as in the forward pass, its outputs and initial state (which must still hold what it held) included: `saved`, if there, is
 * read; `last_state` is not used. */
KRAIT_API krait_status krait_selective_scan_backward(const krait_selective_scan *op,
                                                     const krait_selective_scan_gradients *gradients,
                                                     const krait_op_options *options, krait_error *error);

/* One token for each of `batch` rows, as mamba_ssm's selective_state_update: the scan with a length of 1, `state` updated in place. */
typedef struct krait_state_update {
    size_t batch, dim, d_state, n_groups;
    krait_output state;     /* [batch, dim, d_state], in/out */
    krait_input x, dt;      /* [batch, dim] */
    krait_input A;          /* [dim, d_state] */
    krait_input B, C;       /* [batch, n_groups, d_state] */
    krait_input D, dt_bias; /* [dim], or absent */
    krait_input z;          /* [batch, dim], or absent */
    bool dt_softplus;
    krait_output out; /* [batch, dim] */
} krait_state_update;
KRAIT_API krait_status krait_selective_state_update(const krait_state_update *op, const krait_op_options *options,
                                                    krait_error *error);

/* ---- causal convolution, as causal_conv1d_fn; with a length of 1 and states, causal_conv1d_update -------------------
 *
 *     out[t] = act(bias + sum_w weight[w] x[t - (width-1) + w])       act: silu or identity
 *
 * where x before the first token is initial_state, oldest first, or 0. */
typedef struct krait_causal_conv1d {
    size_t batch, dim, length, width; /* width 1..16 */
    const size_t *starts;             /* NULL, or variable lengths, as in the scan */
    size_t n_sequences;
    krait_input x;      /* [batch, dim, length] */
    krait_input weight; /* [dim, width] */
    krait_input bias;   /* [dim], or absent */
    bool silu;
    krait_input initial_state; /* [batch, dim, width-1], or absent: 0 */
    krait_output out;          /* [batch, dim, length]; not used by the backward pass */
    krait_output final_state;  /* [batch, dim, width-1], or absent */
} krait_causal_conv1d;

typedef struct krait_causal_conv1d_gradients {
    krait_input dout;            /* [batch, dim, length] */
    krait_input dfinal_state;    /* [batch, dim, width-1], or absent: 0 */
    krait_output dx;             /* [batch, dim, length]; all may be absent; written, not added to */
    krait_output dweight;        /* [dim, width] */
    krait_output dbias;          /* [dim] */
    krait_output dinitial_state; /* [batch, dim, width-1] */
} krait_causal_conv1d_gradients;

KRAIT_API krait_status krait_causal_conv1d_forward(const krait_causal_conv1d *op, const krait_op_options *options,
                                                   krait_error *error);
KRAIT_API krait_status krait_causal_conv1d_backward(const krait_causal_conv1d *op, const krait_causal_conv1d_gradients *gradients,
                                                    const krait_op_options *options, krait_error *error);

/* ---- RMSNorm: out[t, i] = x[t, i] / sqrt(mean_i x[t, i]^2 + eps) * weight[i] ------------------------------------------ */
typedef struct krait_rms_norm {
    size_t rows, dim;
    krait_input x;      /* [rows, dim], dim contiguous */
    krait_input weight; /* [dim], or absent: 1 */
    float eps;
    krait_output out; /* [rows, dim], dim contiguous; not used by the backward pass */
} krait_rms_norm;

typedef struct krait_rms_norm_gradients {
    krait_input dout;     /* [rows, dim], dim contiguous */
    krait_output dx;      /* [rows, dim], dim contiguous, or absent; written */
    krait_output dweight; /* [dim], or absent; written */
} krait_rms_norm_gradients;

KRAIT_API krait_status krait_rms_norm_forward(const krait_rms_norm *op, const krait_op_options *options, krait_error *error);
KRAIT_API krait_status krait_rms_norm_backward(const krait_rms_norm *op, const krait_rms_norm_gradients *gradients,
                                               const krait_op_options *options, krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
