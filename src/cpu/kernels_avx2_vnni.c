/* The bodies of kernels_avx2.c for CPUs with AVX-VNNI, which multiply and add four bytes at once. */
#include <math.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/packed.h"
#include "tensor/tensor.h"

#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)

#include "cpu/vec_avx2.h"

#include "cpu/exp2_table.h"
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

const kr_cpu_kernels kr_cpu_kernels_avx2_vnni = {
    .rms_norm = rms_norm_tokens,
    .conv = conv_channels,
    .scan = scan_channels,
    .scan_backward = scan_backward_part,
    .conv_backward = conv_backward_channels,
    .rms_norm_factors = rms_norm_factors_tokens,
    .rms_norm_backward = rms_norm_backward_channels,
    .matvec = matvec_rows,
    .quantize = quantize_rows,
    .dot = dot_rows,
    .product = product_rows,
    .cross_entropy = cross_entropy_rows,
    .sum_squares = squares_sum,
    .adamw = adamw_range,
    .exp = exp_row,
    .softplus = softplus_row,
    .silu = silu_row,
};

#endif
