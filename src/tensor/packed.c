#include "tensor/packed.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tensor/tensor.h"

enum { QUAD = 4, HALF = KR_HALF_COLUMNS };

size_t kr_packed_offset(krait_weight_type type, size_t row, size_t columns)
{
    switch (type) {
    case KRAIT_WEIGHT_Q8:
    case KRAIT_WEIGHT_Q6:
    case KRAIT_WEIGHT_Q4: return row / KR_GROUP_ROWS * kr_blocks_of(columns) * kr_block_bytes(type);
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

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* Where q6 keeps the two high bits of a number, and how far they are shifted there. */
static size_t high_place(size_t column, size_t row)
{
    return KR_SCALES_BYTES + KR_Q6_LOW_BYTES + place(column % HALF / (2 * QUAD) * QUAD + column % QUAD, row);
}
static unsigned high_shift(size_t column) { return (unsigned)(column / HALF * 4 + column / QUAD % 2 * 2); }

void kr_clear_block(unsigned char *block, krait_weight_type type)
{
    enum { TWO_BITS = KR_Q6_OFFSET >> 4 };
    memset(block, 0, KR_SCALES_BYTES);
    unsigned char *numbers = block + KR_SCALES_BYTES;
    switch (type) {
    case KRAIT_WEIGHT_Q8: memset(numbers, KR_Q8_OFFSET, KR_Q8_BLOCK_BYTES - KR_SCALES_BYTES); return;
    case KRAIT_WEIGHT_Q6:
        memset(numbers, (KR_Q6_OFFSET & 15) * 0x11, KR_Q6_LOW_BYTES);
        memset(numbers + KR_Q6_LOW_BYTES, TWO_BITS * 0x55, KR_Q6_BLOCK_BYTES - KR_SCALES_BYTES - KR_Q6_LOW_BYTES);
        return;
    default: memset(numbers, KR_Q4_OFFSET * 0x11, KR_Q4_BLOCK_BYTES - KR_SCALES_BYTES);
    }
}

static void put_scale(unsigned char *block, size_t half, size_t row, uint16_t scale)
{
    memcpy(block + (half * KR_GROUP_ROWS + row) * sizeof scale, &scale, sizeof scale);
}

static void put_number(unsigned char *block, krait_weight_type type, size_t column, size_t row, int number)
{
    if (type == KRAIT_WEIGHT_Q8) {
        block[KR_SCALES_BYTES + place(column, row)] = (unsigned char)(number + KR_Q8_OFFSET);
        return;
    }
    unsigned char *byte = block + KR_SCALES_BYTES + place(column % HALF, row);
    unsigned bits = (unsigned)(number + kr_number_offset(type)), half = bits & 15;
    *byte = (unsigned char)(column < HALF ? (*byte & 240u) | half : (*byte & 15u) | half << 4);
    if (type != KRAIT_WEIGHT_Q6) return;
    byte = block + high_place(column, row);
    unsigned shift = high_shift(column);
    *byte = (unsigned char)((*byte & ~(3u << shift)) | bits >> 4 << shift);
}

static int number_at(const unsigned char *block, krait_weight_type type, size_t column, size_t row)
{
    const unsigned char *numbers = block + KR_SCALES_BYTES;
    if (type == KRAIT_WEIGHT_Q8) return numbers[place(column, row)] - KR_Q8_OFFSET;
    int bits = numbers[place(column % HALF, row)] >> (column / HALF * 4) & 15;
    if (type == KRAIT_WEIGHT_Q6) bits |= (block[high_place(column, row)] >> high_shift(column) & 3) << 4;
    return bits - kr_number_offset(type);
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

/* ---- all types --------------------------------------------------------------------------------------------------- */

static void pack_block(unsigned char *block, krait_weight_type type, const float *w, size_t stride, size_t rows, size_t columns)
{
    kr_clear_block(block, type);
    for (size_t r = 0; r < rows; r++, w += stride)
        for (size_t first = 0; first < columns; first += HALF) {
            size_t n = columns - first < HALF ? columns - first : HALF;
            uint16_t scale = type == KRAIT_WEIGHT_Q8 ? q8_scale(w + first, n) : kr_choose_scale(type, w + first, NULL, n);
            put_scale(block, first / HALF, r, scale);
            float value = kr_f16_to_float(scale), inverse = value != 0 ? 1 / value : 0;
            for (size_t c = first; c < first + n; c++) put_number(block, type, c, r, kr_nearest_number(type, w[c], inverse));
        }
}

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
            pack_block(out, type, from, columns, rows, width);
            out += kr_block_bytes(type);
        }
}

void kr_pack_numbers(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const kr_numbers *from)
{
    const size_t runs = kr_runs_of(columns);
    const int8_t *numbers = from->numbers;
    for (size_t row = 0; row < n; row++) {
        const size_t r = row % KR_GROUP_ROWS;
        unsigned char *out = (unsigned char *)matrix + kr_packed_offset(type, first + row - r, columns);
        for (size_t column = 0; column < columns; column += KR_BLOCK_COLUMNS, out += kr_block_bytes(type)) {
            if (r == 0) kr_clear_block(out, type);
            for (size_t c = 0; c < KR_BLOCK_COLUMNS && column + c < columns; c++) {
                if (c % HALF == 0) put_scale(out, c / HALF, r, from->scales[row * runs + (column + c) / KR_RUN]);
                put_number(out, type, c, r, *numbers++);
            }
        }
    }
}

static float scale_at(const unsigned char *block, size_t half, size_t row)
{
    uint16_t scale;
    memcpy(&scale, block + (half * KR_GROUP_ROWS + row) * sizeof scale, sizeof scale);
    return kr_f16_to_float(scale);
}

/* Inlined for each type. */
static inline void unpack_block(float *out, const unsigned char *block, krait_weight_type type, size_t row, size_t columns)
{
    const float scale[2] = { scale_at(block, 0, row), scale_at(block, 1, row) };
    for (size_t c = 0; c < columns; c++) out[c] = scale[c / HALF] * (float)number_at(block, type, c, row);
}

void kr_unpack(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row, size_t first, size_t n)
{
    const unsigned char *at = (const unsigned char *)matrix + kr_packed_offset(type, row, columns);
    const size_t block = first / KR_BLOCK_COLUMNS;
    switch (type) {
    case KRAIT_WEIGHT_F16: kr_to_float32(out, KRAIT_DTYPE_F16, at + first * sizeof(uint16_t), n); return;
    case KRAIT_WEIGHT_BF16: kr_to_float32(out, KRAIT_DTYPE_BF16, at + first * sizeof(uint16_t), n); return;
    case KRAIT_WEIGHT_Q8:
    case KRAIT_WEIGHT_Q6:
    case KRAIT_WEIGHT_Q4: at += block * kr_block_bytes(type); break;
    default: memcpy(out, at + first * sizeof *out, n * sizeof *out); return;
    }
    for (size_t c = 0; c < n; c += KR_BLOCK_COLUMNS) {
        size_t width = n - c < KR_BLOCK_COLUMNS ? n - c : KR_BLOCK_COLUMNS;
        switch (type) {
        case KRAIT_WEIGHT_Q8: unpack_block(out + c, at, KRAIT_WEIGHT_Q8, row % KR_GROUP_ROWS, width); break;
        case KRAIT_WEIGHT_Q6: unpack_block(out + c, at, KRAIT_WEIGHT_Q6, row % KR_GROUP_ROWS, width); break;
        default: unpack_block(out + c, at, KRAIT_WEIGHT_Q4, row % KR_GROUP_ROWS, width);
        }
        at += kr_block_bytes(type);
    }
}

void kr_unpack_row(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row)
{
    kr_unpack(out, type, matrix, columns, row, 0, columns);
}
