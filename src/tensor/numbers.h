/* Integers and scales of a matrix in a grouped type, before any layout: what a quantiser chooses, and what both krait's own blocks
 * (packed.h) and ggml's (blocks.h) can be written from.
 *
 * Thirty-two columns of a row, the last ones of a row perhaps fewer, are a run and share a scale that float16 holds:
 *
 *     weight[row, j] = scale[row, j / 32] * number[row, j]        number in -8..7 (q4), -32..31 (q6), -127..127 (q8) */
#ifndef KR_TENSOR_NUMBERS_H
#define KR_TENSOR_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "krait/krait.h"

enum { KR_RUN = 32 };

static inline size_t kr_runs_of(size_t columns) { return (columns + KR_RUN - 1) / KR_RUN; }
static inline int kr_least_number(krait_weight_type type)
{
    return type == KRAIT_WEIGHT_Q4 ? -8 : type == KRAIT_WEIGHT_Q6 ? -32 : -127;
}
static inline int kr_largest_number(krait_weight_type type)
{
    return type == KRAIT_WEIGHT_Q4 ? 7 : type == KRAIT_WEIGHT_Q6 ? 31 : 127;
}

/* Rows of a matrix. */
typedef struct kr_numbers {
    int8_t *numbers;  /* [rows, columns] */
    uint16_t *scales; /* [rows, kr_runs_of(columns)] float16, finite */
} kr_numbers;

/* The nearest number to value / scale, inverse being 1 / scale, or 0 where that is not finite. */
int kr_nearest_number(krait_weight_type type, float value, float inverse);

/* The scale of a run of n values for which the sum of importance[j] * (value[j] - scale * number[j])^2 is least among those tried;
 * importance NULL: all the same. float16, 0 if no other is of use. */
uint16_t kr_choose_scale(krait_weight_type type, const float *values, const float *importance, size_t n);

#endif
