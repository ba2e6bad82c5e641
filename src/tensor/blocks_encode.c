/* float32 -> blocks, with the bytes that ggml's reference quantisers write. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "tensor/blocks.h"

enum { SMALL = 32 };

static void put_half(unsigned char *out, float value)
{
    uint16_t bits = kr_float_to_f16(value);
    memcpy(out, &bits, sizeof bits);
}

/* The first of those with the largest magnitude. */
static float extreme(const float *values)
{
    float most = 0;
    for (int i = 0; i < SMALL; i++)
        if (fabsf(values[i]) > fabsf(most)) most = values[i];
    return most;
}

/* Scale and numbers from the scale in float32, of which the half is what is stored: ggml's order. */
static void encode_q8_0(unsigned char *restrict block, const float *restrict values)
{
    float d = fabsf(extreme(values)) / 127, inverse = d != 0 ? 1 / d : 0;
    put_half(block, d);
    for (int i = 0; i < SMALL; i++) block[2 + i] = (unsigned char)(signed char)roundf(values[i] * inverse);
}

/* The extreme value becomes -8, as there is no +8. */
static void encode_q4_0(unsigned char *restrict block, const float *restrict values)
{
    float d = extreme(values) / -8, inverse = d != 0 ? 1 / d : 0;
    unsigned char numbers[SMALL];
    put_half(block, d);
    for (int i = 0; i < SMALL; i++) {
        float shifted = (float)((double)values[i] * (double)inverse + 8.5); /* rounded once, as where ggml's compiler fuses it */
        numbers[i] = shifted >= 15 ? 15 : (unsigned char)shifted;
    }
    for (int i = 0; i < SMALL / 2; i++) block[2 + i] = (unsigned char)(numbers[i] | numbers[i + SMALL / 2] << 4);
}

bool kr_blocks_can_encode(krait_dtype dtype) { return dtype == KRAIT_DTYPE_Q8_0 || dtype == KRAIT_DTYPE_Q4_0; }

void kr_blocks_from_float32(void *out, krait_dtype dtype, const float *values, size_t n_blocks)
{
    unsigned char *bytes = out;
    size_t size = kr_dtype_size(dtype);
    assert(kr_blocks_can_encode(dtype));
    for (size_t i = 0; i < n_blocks; i++) {
        if (dtype == KRAIT_DTYPE_Q8_0)
            encode_q8_0(bytes + i * size, values + i * SMALL);
        else
            encode_q4_0(bytes + i * size, values + i * SMALL);
    }
}

void kr_blocks_from_numbers(void *out, krait_dtype dtype, const kr_numbers *from, size_t n_blocks)
{
    unsigned char *block = out;
    assert(kr_blocks_can_encode(dtype) && (int)KR_RUN == (int)SMALL);
    for (size_t i = 0; i < n_blocks; i++, block += kr_dtype_size(dtype)) {
        const int8_t *numbers = from->numbers + i * SMALL;
        memcpy(block, &from->scales[i], sizeof from->scales[i]);
        if (dtype == KRAIT_DTYPE_Q8_0)
            memcpy(block + 2, numbers, SMALL);
        else
            for (int j = 0; j < SMALL / 2; j++)
                block[2 + j] = (unsigned char)((numbers[j] + 8) | (numbers[j + SMALL / 2] + 8) << 4);
    }
}
