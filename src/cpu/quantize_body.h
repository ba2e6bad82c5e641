/* Rows of x, quantised for products with grouped weights (ops.h, linear): the body of kernels.h's quantize, in C that compilers
 * vectorise, and that gives the same bits however they do it. */
#ifndef KR_CPU_QUANTIZE_BODY_H
#define KR_CPU_QUANTIZE_BODY_H

#include <stdint.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/packed.h"

/* The largest magnitude, compared as integers: a NaN is larger than all. */
static inline float quantize_largest(const float *x, size_t n)
{
    uint32_t most = 0;
    float value;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    memcpy(&value, &most, sizeof value);
    return value;
}

/* One block; the sum of its numbers. Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits. */
static inline int32_t quantize_block(int8_t *out, float *scale, const float *x, size_t n)
{
    float most = quantize_largest(x, n), inverse = most > 0 ? 127 / most : 0;
    int32_t sum = 0;
    *scale = most / 127;
    if (!(inverse <= 0x1p100f)) inverse = 0; /* NaN, or so small that it does not matter */
    for (size_t i = 0; i < n; i++) {
        float shifted = x[i] * inverse + 0x1.8p23f;
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        int8_t number = (int8_t)(bits - 0x4b400000);
        out[i] = number;
        sum += number;
    }
    return sum;
}

static void quantize_rows(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end)
{
    const size_t columns = op->weight.columns, width = KR_HALF_COLUMNS;
    const int32_t offset = kr_number_offset(op->weight.type);
    for (size_t t = begin; t < end; t++) {
        const float *row = op->x.data + t * op->x.stride;
        for (size_t c = 0; c < x->stride; c += width) {
            const size_t at = (t * x->stride + c) / width, n = columns < c ? 0 : columns - c < width ? columns - c : width;
            int8_t *out = x->values + t * x->stride + c;
            int32_t sum;
            if (n == width) /* a length that the compiler knows */
                sum = quantize_block(out, &x->scale[at], row + c, KR_HALF_COLUMNS);
            else
                sum = quantize_block(out, &x->scale[at], row + c, n);
            for (size_t i = n; i < width; i++) out[i] = 0;
            x->offset[at] = -offset * sum;
        }
    }
}

#endif
