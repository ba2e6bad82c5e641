#include "tensor/packed.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tensor/tensor.h"

enum { QUAD = 4, HALF = KR_HALF_COLUMNS };

size_t kr_packed_offset(krait_weight_type type, size_t row, size_t columns)
{
    switch (type) {
    case KRAIT_WEIGHT_Q8: return row / KR_GROUP_ROWS * kr_blocks_of(columns) * KR_Q8_BLOCK_BYTES;
    case KRAIT_WEIGHT_Q4: return row / KR_GROUP_ROWS * kr_blocks_of(columns) * KR_Q4_BLOCK_BYTES;
    case KRAIT_WEIGHT_F16:
    case KRAIT_WEIGHT_BF16: return row * columns * sizeof(uint16_t);
    default: return row * columns * sizeof(float);
    }
}

size_t kr_packed_bytes(krait_weight_type type, size_t rows, size_t columns)
{
    if (kr_is_grouped(type)) rows = (rows + KR_GROUP_ROWS - 1) / KR_GROUP_ROWS * KR_GROUP_ROWS;
    return kr_packed_offset(type, rows, columns);
}

/* Where in a block's numbers a column of a row is. */
static size_t place(size_t column, size_t row) { return (column / QUAD * KR_GROUP_ROWS + row) * QUAD + column % QUAD; }

static float largest(const float *w, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(w[i]) > most) most = fabsf(w[i]); /* a NaN is not larger */
    return most;
}

/* The nearest integer in [-limit .. limit]; 0 for NaN. */
static int rounded(float x, int least, int most)
{
    if (!(x > (float)least)) return x <= (float)least ? least : 0;
    return x < (float)most ? (int)rintf(x) : most;
}

/* ---- q8 ---------------------------------------------------------------------------------------------------------- */

/* The largest value's share of 127, in half precision; above its range, the largest finite one. Where halves are sparse, rounding
 * down would cut the value off. */
static uint16_t q8_scale(const float *w, size_t n)
{
    enum { LARGEST_FINITE = 0x7bff };
    float most = largest(w, n);
    uint16_t scale = kr_float_to_f16(most / 127);
    if (scale < LARGEST_FINITE && kr_f16_to_float(scale) * 127.5f < most) scale++;
    return scale < LARGEST_FINITE ? scale : LARGEST_FINITE;
}

static void pack_q8(unsigned char *block, const float *w, size_t stride, size_t rows, size_t columns)
{
    memset(block, 0, KR_SCALES_BYTES);
    memset(block + KR_SCALES_BYTES, KR_Q8_OFFSET, KR_Q8_BLOCK_BYTES - KR_SCALES_BYTES);
    for (size_t r = 0; r < rows; r++, w += stride)
        for (size_t first = 0; first < columns; first += HALF) {
            size_t n = columns - first < HALF ? columns - first : HALF;
            uint16_t scale = q8_scale(w + first, n);
            memcpy(block + (first / HALF * KR_GROUP_ROWS + r) * sizeof scale, &scale, sizeof scale);
            float value = kr_f16_to_float(scale), inverse = value > 0 ? 1 / value : 0;
            for (size_t c = first; c < first + n; c++)
                block[KR_SCALES_BYTES + place(c, r)] = (unsigned char)(rounded(w[c] * inverse, -127, 127) + KR_Q8_OFFSET);
        }
}

/* ---- q4 ---------------------------------------------------------------------------------------------------------- */

static float error_of(const float *w, size_t n, float scale)
{
    float inverse = 1 / scale, sum = 0;
    for (size_t i = 0; i < n; i++) {
        float e = w[i] - scale * (float)rounded(w[i] * inverse, -8, 7);
        sum += e * e;
    }
    return sum;
}

/* The scale of a row's half block: -8 is taken by the largest value, as there is no +8; then scales around it are tried. */
static uint16_t choose_scale(const float *w, size_t n)
{
    float most = largest(w, n), best = 0, least = INFINITY;
    if (!(most > 0) || !isfinite(most)) return 0;
    for (int sign = -1; sign <= 1; sign += 2)
        for (int i = -6; i <= 8; i++) {
            float scale = kr_f16_to_float(kr_float_to_f16((float)sign * most / (8.0f + 0.15f * (float)i)));
            if (scale == 0 || !isfinite(scale)) continue;
            float e = error_of(w, n, scale);
            if (e < least) least = e, best = scale;
        }
    return kr_float_to_f16(best);
}

static void pack_q4(unsigned char *block, const float *w, size_t stride, size_t rows, size_t columns)
{
    memset(block, 0, KR_SCALES_BYTES);
    memset(block + KR_SCALES_BYTES, KR_Q4_OFFSET | KR_Q4_OFFSET << 4, KR_Q4_BLOCK_BYTES - KR_SCALES_BYTES);
    for (size_t r = 0; r < rows; r++, w += stride)
        for (size_t half = 0; half < 2; half++) {
            size_t first = half * HALF, n = columns < first ? 0 : columns - first < HALF ? columns - first : HALF;
            uint16_t scale = choose_scale(w + first, n);
            memcpy(block + (half * KR_GROUP_ROWS + r) * sizeof scale, &scale, sizeof scale);
            float value = kr_f16_to_float(scale), inverse = value != 0 ? 1 / value : 0;
            for (size_t c = 0; c < n; c++) {
                unsigned char *byte = block + KR_SCALES_BYTES + place(c, r);
                unsigned number = (unsigned)(rounded(w[first + c] * inverse, -8, 7) + KR_Q4_OFFSET);
                *byte = (unsigned char)(half ? (*byte & 15u) | number << 4 : (*byte & 240u) | number);
            }
        }
}

/* ---- all types --------------------------------------------------------------------------------------------------- */

void kr_pack(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const float *w)
{
    unsigned char *out = (unsigned char *)matrix + kr_packed_offset(type, first, columns);
    if (!kr_is_grouped(type)) {
        for (size_t i = 0; i < n * columns; i++) {
            if (type == KRAIT_WEIGHT_F16)
                ((uint16_t *)(void *)out)[i] = kr_float_to_f16(w[i]);
            else if (type == KRAIT_WEIGHT_BF16)
                ((uint16_t *)(void *)out)[i] = kr_float_to_bf16(w[i]);
            else
                ((float *)(void *)out)[i] = w[i];
        }
        return;
    }
    for (size_t row = 0; row < n; row += KR_GROUP_ROWS)
        for (size_t column = 0; column < columns; column += KR_BLOCK_COLUMNS) {
            size_t rows = n - row < KR_GROUP_ROWS ? n - row : KR_GROUP_ROWS;
            size_t width = columns - column < KR_BLOCK_COLUMNS ? columns - column : KR_BLOCK_COLUMNS;
            const float *from = w + row * columns + column;
            if (type == KRAIT_WEIGHT_Q8) {
                pack_q8(out, from, columns, rows, width);
                out += KR_Q8_BLOCK_BYTES;
            } else {
                pack_q4(out, from, columns, rows, width);
                out += KR_Q4_BLOCK_BYTES;
            }
        }
}

static float scale_at(const unsigned char *block, size_t half, size_t row)
{
    uint16_t scale;
    memcpy(&scale, block + (half * KR_GROUP_ROWS + row) * sizeof scale, sizeof scale);
    return kr_f16_to_float(scale);
}

static void unpack_q8(float *out, const unsigned char *block, size_t row, size_t columns)
{
    const float scale[2] = { scale_at(block, 0, row), scale_at(block, 1, row) };
    for (size_t c = 0; c < columns; c++)
        out[c] = scale[c / HALF] * (float)(block[KR_SCALES_BYTES + place(c, row)] - KR_Q8_OFFSET);
}

static void unpack_q4(float *out, const unsigned char *block, size_t row, size_t columns)
{
    const float scale[2] = { scale_at(block, 0, row), scale_at(block, 1, row) };
    for (size_t c = 0; c < columns; c++) {
        int number = block[KR_SCALES_BYTES + place(c % HALF, row)] >> (c / HALF * 4) & 15;
        out[c] = scale[c / HALF] * (float)(number - KR_Q4_OFFSET);
    }
}

void kr_unpack(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row, size_t first, size_t n)
{
    const unsigned char *at = (const unsigned char *)matrix + kr_packed_offset(type, row, columns);
    const size_t block = first / KR_BLOCK_COLUMNS;
    switch (type) {
    case KRAIT_WEIGHT_F16: kr_to_float32(out, KRAIT_DTYPE_F16, at + first * sizeof(uint16_t), n); return;
    case KRAIT_WEIGHT_BF16: kr_to_float32(out, KRAIT_DTYPE_BF16, at + first * sizeof(uint16_t), n); return;
    case KRAIT_WEIGHT_Q8: at += block * KR_Q8_BLOCK_BYTES; break;
    case KRAIT_WEIGHT_Q4: at += block * KR_Q4_BLOCK_BYTES; break;
    default: memcpy(out, at + first * sizeof *out, n * sizeof *out); return;
    }
    for (size_t c = 0; c < n; c += KR_BLOCK_COLUMNS) {
        size_t width = n - c < KR_BLOCK_COLUMNS ? n - c : KR_BLOCK_COLUMNS;
        if (type == KRAIT_WEIGHT_Q8) {
            unpack_q8(out + c, at, row % KR_GROUP_ROWS, width);
            at += KR_Q8_BLOCK_BYTES;
        } else {
            unpack_q4(out + c, at, row % KR_GROUP_ROWS, width);
            at += KR_Q4_BLOCK_BYTES;
        }
    }
}

void kr_unpack_row(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row)
{
    kr_unpack(out, type, matrix, columns, row, 0, columns);
}
