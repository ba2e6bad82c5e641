/* The bodies of kernels_neon.c for CPUs with the dot products of bytes (ARMv8.2) and of bfloat16 (ARMv8.6). */
#include <math.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/packed.h"
#include "tensor/tensor.h"

#if defined(__aarch64__) && !defined(KRAIT_NO_SIMD)

#include "cpu/vec_neon.h"

#include "cpu/exp2_polynomial.h"
#include "cpu/math_body.h"

#include "cpu/conv_body.h"
#include "cpu/dot_body.h"
#include "cpu/matvec_body.h"
#include "cpu/norm_body.h"
#include "cpu/product_body.h"
#include "cpu/quantize_body.h"
#include "cpu/scan_body.h"
#include "cpu/train_body.h"

#include "cpu/conv_backward_body.h"
#include "cpu/norm_backward_body.h"
#include "cpu/scan_backward_body.h"

#include "cpu/dot_bf16_body.h" /* on matvec_body.h's tiles */

const kr_cpu_kernels kr_cpu_kernels_neon_bf16 = {
    .rms_norm = rms_norm_tokens,
    .conv = conv_channels,
    .scan = scan_channels,
    .scan_backward = scan_backward_part,
    .conv_backward = conv_backward_channels,
    .rms_norm_factors = rms_norm_factors_tokens,
    .rms_norm_backward = rms_norm_backward_channels,
    .matvec = matvec_rows,
    .bf16 = true,
    .quantize = quantize_any,
    .dot = dot_any,
    .product = product_rows,
    .cross_entropy = cross_entropy_rows,
    .sum_squares = squares_sum,
    .adamw = adamw_range,
    .exp = exp_row,
    .softplus = softplus_row,
    .silu = silu_row,
};

#endif
