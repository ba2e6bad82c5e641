/* The bodies of kernels_avx512.c for CPUs with VNNI and BF16, and for those that have AMX as well. */
#include <math.h>
#include <string.h>

#include "cpu/kernels.h"
#include "cpu/tiles.h"
#include "tensor/packed.h"
#include "tensor/tensor.h"

#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)

#include "cpu/vec_avx512.h"

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

#include "cpu/dot_bf16_body.h" /* on matvec_body.h's tiles */

#define KERNELS(QUANTIZE, DOT)                                                                                                  \
    {                                                                                                                           \
        .rms_norm = rms_norm_tokens, .conv = conv_channels, .scan = scan_channels, .scan_backward = scan_backward_part,         \
        .conv_backward = conv_backward_channels, .rms_norm_factors = rms_norm_factors_tokens,                                   \
        .rms_norm_backward = rms_norm_backward_channels, .matvec = matvec_rows, .bf16 = true, .quantize = QUANTIZE, .dot = DOT, \
        .product = product_rows, .cross_entropy = cross_entropy_rows, .sum_squares = squares_sum, .adamw = adamw_range,         \
        .exp = exp_row, .softplus = softplus_row, .silu = silu_row,                                                             \
    }

const kr_cpu_kernels kr_cpu_kernels_avx512_bf16 = KERNELS(quantize_any, dot_any);

/* ---- the same with tiles ------------------------------------------------------------------------------------------ */

enum { LEAST_TILE = DOT_STREAM_TOKENS + 1 /* fewer tokens read q8 and q4 as fast by vectors, whose bits are the same */ };

static void tiles_quantize(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    if (op->weight.type == KRAIT_WEIGHT_BF16) {
        (x->in_rows ? bf16_quantize : kr_tiles_quantize_bf16)(op, x, begin, end, from, to);
    } else {
        quantize_rows(op, x, begin, end, from, to);
        if (op->n_tokens >= LEAST_TILE) kr_tiles_quantize_grouped(op, x, begin, end, from, to);
    }
}

/* CPUs with AMX are large servers, whose memory answers late: asking 2 KB ahead, into the first cache, reads a few percent faster than 1 KB
 * ahead into the second (which Zen 4 likes). */
static void few_tokens_dot(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    (void)then;
    dot_rows_asking(op, x, begin, end, 2 * DOT_AHEAD);
}

static void tiles_dot(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    if (op->weight.type == KRAIT_WEIGHT_BF16)
        kr_tiles_dot_bf16(op, x, begin, end, then);
    else
        (op->n_tokens >= LEAST_TILE ? kr_tiles_dot_grouped : few_tokens_dot)(op, x, begin, end, then);
}

const kr_cpu_kernels kr_cpu_kernels_avx512_amx = KERNELS(tiles_quantize, tiles_dot);

#endif
