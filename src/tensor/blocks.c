#include "tensor/blocks.h"

#include <assert.h>
#include <string.h>

enum { SMALL = 32, LARGE = 256 }; /* elements */

static float half_at(const unsigned char *bytes)
{
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return kr_f16_to_float(bits);
}

/* ---- blocks of 32 ------------------------------------------------------------------------------------------------ */

/* 4 bits each: the first 16 elements in the low halves of 16 bytes, the others in the high halves. */
static int nibble(const unsigned char *bytes, int i) { return i < SMALL / 2 ? bytes[i] & 15 : bytes[i - SMALL / 2] >> 4; }

/* The fifth bits, in one number of 32. */
static int fifth_bit(const unsigned char *bytes, int i) { return (bytes[i / 8] >> i % 8 & 1) << 4; }

static void decode_q8_0(float *restrict out, const unsigned char *restrict block)
{
    float d = half_at(block);
    for (int i = 0; i < SMALL; i++) out[i] = (float)(signed char)block[2 + i] * d;
}

static void decode_q4_0(float *restrict out, const unsigned char *restrict block)
{
    float d = half_at(block);
    for (int i = 0; i < SMALL; i++) out[i] = (float)(nibble(block + 2, i) - 8) * d;
}

static void decode_q4_1(float *restrict out, const unsigned char *restrict block)
{
    float d = half_at(block), m = half_at(block + 2);
    for (int i = 0; i < SMALL; i++) out[i] = (float)nibble(block + 4, i) * d + m;
}

static void decode_q5_0(float *restrict out, const unsigned char *restrict block)
{
    float d = half_at(block);
    for (int i = 0; i < SMALL; i++) out[i] = (float)((nibble(block + 6, i) | fifth_bit(block + 2, i)) - 16) * d;
}

static void decode_q5_1(float *restrict out, const unsigned char *restrict block)
{
    float d = half_at(block), m = half_at(block + 2);
    for (int i = 0; i < SMALL; i++) out[i] = (float)(nibble(block + 8, i) | fifth_bit(block + 4, i)) * d + m;
}

static void decode_iq4_nl(float *restrict out, const unsigned char *restrict block)
{
    static const signed char values[] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
    float d = half_at(block);
    for (int i = 0; i < SMALL; i++) out[i] = (float)values[nibble(block + 2, i)] * d;
}

/* ---- blocks of 256 ----------------------------------------------------------------------------------------------- */

/* 2 bits each, in two halves of 128 elements: 32 bytes hold 4 rows of 32, the first in the lowest bits. */
static int two_bits(const unsigned char *bytes, int i) { return bytes[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3; }

/* 4 bits each, in four quarters of 64 elements: 32 bytes hold 2 rows of 32, the first in the low halves. */
static int four_bits(const unsigned char *bytes, int i) { return bytes[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15; }

/* 1 bit each: 32 bytes hold 8 rows of 32, the first in the lowest bits. */
static int one_bit(const unsigned char *bytes, int i) { return bytes[i % 32] >> i / 32 & 1; }

static void decode_q2_k(float *restrict out, const unsigned char *restrict block)
{
    const unsigned char *scales = block, *q = block + 16;
    float d = half_at(block + 80), m = half_at(block + 82);
    for (int i = 0; i < LARGE; i++) {
        float scale = d * (float)(scales[i / 16] & 15), minimum = m * (float)(scales[i / 16] >> 4);
        out[i] = scale * (float)two_bits(q, i) - minimum;
    }
}

/* The 16 scales of 6 bits: 4 bits in 8 bytes, as nibble() has them, and above them 2 bits in 4 bytes. */
static void decode_q3_k(float *restrict out, const unsigned char *restrict block)
{
    const unsigned char *third = block, *q = block + 32, *low = block + 96, *high = low + 8;
    float d = half_at(block + 108), scales[16];
    for (int i = 0; i < 16; i++) {
        int four = i < 8 ? low[i] & 15 : low[i - 8] >> 4, two = high[i % 4] >> i / 4 * 2 & 3;
        scales[i] = d * (float)((four | two << 4) - 32);
    }
    for (int i = 0; i < LARGE; i++) out[i] = scales[i / 16] * (float)((two_bits(q, i) | one_bit(third, i) << 2) - 4);
}

/* Scale and minimum of 8 rows, of 6 bits, in 12 bytes: those of rows 0..3 in the low bits of bytes 0..3 and 4..7, whose upper 2 bits
 * are the upper ones of rows 4..7; the 4 lower ones of these are in bytes 8..11, the scale's below the minimum's. */
static void unpack_rows(float *scales, float *minima, const unsigned char *bytes, float d, float m)
{
    for (int i = 0; i < 4; i++) {
        const unsigned char *low = bytes + i, *high = bytes + 4 + i, *rest = bytes + 8 + i;
        scales[i] = d * (float)(*low & 63);
        minima[i] = m * (float)(*high & 63);
        scales[4 + i] = d * (float)((*rest & 15) | *low >> 6 << 4);
        minima[4 + i] = m * (float)(*rest >> 4 | *high >> 6 << 4);
    }
}

static void decode_q4_k(float *restrict out, const unsigned char *restrict block)
{
    float scales[8], minima[8];
    unpack_rows(scales, minima, block + 4, half_at(block), half_at(block + 2));
    for (int i = 0; i < LARGE; i++) out[i] = scales[i / 32] * (float)four_bits(block + 16, i) - minima[i / 32];
}

static void decode_q5_k(float *restrict out, const unsigned char *restrict block)
{
    const unsigned char *fifth = block + 16, *q = block + 48;
    float scales[8], minima[8];
    unpack_rows(scales, minima, block + 4, half_at(block), half_at(block + 2));
    for (int i = 0; i < LARGE; i++) out[i] = scales[i / 32] * (float)(four_bits(q, i) | one_bit(fifth, i) << 4) - minima[i / 32];
}

/* The lower 4 bits lie in two halves of 128: 64 bytes hold 2 rows of 64. */
static void decode_q6_k(float *restrict out, const unsigned char *restrict block)
{
    const unsigned char *low = block, *high = block + 128, *scales = block + 192;
    float d = half_at(block + 208);
    for (int i = 0; i < LARGE; i++) {
        int four = low[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        out[i] = d * (float)(signed char)scales[i / 16] * (float)((four | two_bits(high, i) << 4) - 32);
    }
}

/* ---- any --------------------------------------------------------------------------------------------------------- */

typedef void decoder(float *restrict out, const unsigned char *restrict block);

static decoder *decoder_of(krait_dtype dtype)
{
    switch (dtype) {
    case KRAIT_DTYPE_Q8_0: return decode_q8_0;
    case KRAIT_DTYPE_Q4_0: return decode_q4_0;
    case KRAIT_DTYPE_Q4_1: return decode_q4_1;
    case KRAIT_DTYPE_Q5_0: return decode_q5_0;
    case KRAIT_DTYPE_Q5_1: return decode_q5_1;
    case KRAIT_DTYPE_Q2_K: return decode_q2_k;
    case KRAIT_DTYPE_Q3_K: return decode_q3_k;
    case KRAIT_DTYPE_Q4_K: return decode_q4_k;
    case KRAIT_DTYPE_Q5_K: return decode_q5_k;
    case KRAIT_DTYPE_Q6_K: return decode_q6_k;
    case KRAIT_DTYPE_IQ4_NL: return decode_iq4_nl;
    default: return NULL;
    }
}

void kr_blocks_to_float32(float *out, krait_dtype dtype, const void *data, size_t n_blocks)
{
    decoder *decode = decoder_of(dtype);
    const unsigned char *bytes = data;
    size_t elements = kr_dtype_block(dtype), size = kr_dtype_size(dtype);
    assert(decode);
    for (size_t i = 0; i < n_blocks; i++) decode(out + i * elements, bytes + i * size);
}
