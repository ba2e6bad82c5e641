/* Rows of x, quantised for products with grouped weights (ops.h, linear): the body of kernels.h's quantize, in C that compilers
 * vectorise, and that gives the same bits however they do it. */
#ifndef KR_CPU_QUANTIZE_BODY_H
#define KR_CPU_QUANTIZE_BODY_H

#include <stdint.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/packed.h"

enum { QUANTIZE_BLOCKS = 32 /* whose scales are worked out side by side */ };

/* The bits of the largest magnitude: compared as integers, a NaN is larger than all. */
static inline uint32_t quantize_largest(const float *x, size_t n)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return (uint32_t)most;
}

/* One block; the sum of its numbers. Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits. */
static inline int32_t quantize_block(int8_t *out, const float *x, float inverse, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        float shifted = x[i] * inverse + 0x1.8p23f;
        uint32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        bits -= 0x4b400000;
        out[i] = (int8_t)bits;
        sum += bits;
    }
    return inverse > 0 ? (int32_t)sum
                       : 0; /* else all are zeros, but for what came of infinities and NaNs, which the scale is as well */
}

/* A row's blocks c .. c+blocks-1, whose columns are all there. */
static void quantize_blocks(int8_t *out, float *scale, int32_t *offset, const float *x, size_t blocks, int32_t number_offset)
{
    const size_t width = KR_HALF_COLUMNS;
    uint32_t most[QUANTIZE_BLOCKS];
    float inverse[QUANTIZE_BLOCKS];
    for (size_t b = 0; b < blocks; b++) most[b] = quantize_largest(x + b * width, KR_HALF_COLUMNS);
    for (size_t b = 0; b < blocks; b++) {
        float value;
        memcpy(&value, &most[b], sizeof value);
        float one = 127 / value;
        scale[b] = value / 127;
        inverse[b] = one <= 0x1p100f ? one : 0; /* NaN, or all so small that it does not matter */
    }
    for (size_t b = 0; b < blocks; b++)
        offset[b] = -number_offset * quantize_block(out + b * width, x + b * width, inverse[b], KR_HALF_COLUMNS);
}

static void quantize_rows(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    const size_t columns = op->weight.columns, width = KR_HALF_COLUMNS, run = QUANTIZE_BLOCKS * KR_HALF_COLUMNS;
    const int32_t number_offset = kr_number_offset(op->weight.type);
    for (size_t t = begin; t < end; t++) {
        const float *row = op->x.data + t * op->x.stride;
        int8_t *out = x->values + t * x->stride;
        float *scale = x->scale + t * x->stride / width;
        int32_t *offset = x->offset + t * x->stride / width;
        const size_t all = columns / width * width, whole = to < all ? to : all;
        for (size_t c = from; c < whole; c += run) {
            const size_t blocks = (whole - c < run ? whole - c : run) / width;
            quantize_blocks(out + c, scale + c / width, offset + c / width, row + c, blocks, number_offset);
        }
        for (size_t c = from > all ? from : whole; c < to; c += width) { /* what is missing of the last ones is zeros */
            float rest[KR_HALF_COLUMNS] = { 0 };
            if (c < columns) memcpy(rest, row + c, (columns - c) * sizeof *rest);
            quantize_blocks(out + c, scale + c / width, offset + c / width, rest, 1, number_offset);
        }
    }
}

#endif
