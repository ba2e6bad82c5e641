/* Between ggml's blocks of 32 and the blocks of packed.h: the same scales and numbers in another order, moved by words of four. */
#include <string.h>

#include "tensor/packed.h"

enum { WORDS = KR_HALF_COLUMNS / 4, LOW = 0x0f0f0f0f, Q8_0_BYTES = 34, Q4_0_BYTES = 18 };

bool kr_packs_exactly(krait_dtype dtype, krait_weight_type type)
{
    return (dtype == KRAIT_DTYPE_Q8_0 && type == KRAIT_WEIGHT_Q8) || (dtype == KRAIT_DTYPE_Q4_0 && type == KRAIT_WEIGHT_Q4);
}

bool kr_unpacks_exactly(krait_dtype dtype, krait_weight_type type)
{
    return kr_packs_exactly(dtype, type) || (dtype == KRAIT_DTYPE_Q8_0 && type == KRAIT_WEIGHT_Q6);
}

static uint32_t word_at(const unsigned char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static void put_word(unsigned char *at, uint32_t word) { memcpy(at, &word, sizeof word); }

/* The words of a block of ours are KR_GROUP_ROWS apart; `block` is that of row 0 of a group. */
static unsigned char *place(unsigned char *block, size_t word, size_t row)
{
    return block + KR_SCALES_BYTES + (word * KR_GROUP_ROWS + row) * 4;
}

static unsigned char *scale_place(unsigned char *block, size_t half, size_t row)
{
    return block + (half * KR_GROUP_ROWS + row) * sizeof(uint16_t);
}

/* ---- Q8_0 and q8: signed numbers, and numbers that are 128 more ------------------------------------------------------ */

static void row_from_q8_0(unsigned char *block, size_t row, const unsigned char *from, size_t halves)
{
    for (size_t h = 0; h < halves; h++, from += Q8_0_BYTES) {
        memcpy(scale_place(block, h % 2, row), from, sizeof(uint16_t));
        for (size_t i = 0; i < WORDS; i++) put_word(place(block, h % 2 * WORDS + i, row), word_at(from + 2 + 4 * i) ^ 0x80808080);
        if (h % 2) block += KR_Q8_BLOCK_BYTES;
    }
}

static void row_to_q8_0(unsigned char *to, unsigned char *block, size_t row, size_t halves)
{
    for (size_t h = 0; h < halves; h++, to += Q8_0_BYTES) {
        memcpy(to, scale_place(block, h % 2, row), sizeof(uint16_t));
        for (size_t i = 0; i < WORDS; i++) put_word(to + 2 + 4 * i, word_at(place(block, h % 2 * WORDS + i, row)) ^ 0x80808080);
        if (h % 2) block += KR_Q8_BLOCK_BYTES;
    }
}

/* ---- Q4_0 and q4: a byte has the columns c and c + 16, and c and c + 32 ---------------------------------------------- */

static void row_from_q4_0(unsigned char *block, size_t row, const unsigned char *from, size_t halves)
{
    for (size_t h = 0; h < halves; h++, from += Q4_0_BYTES) {
        memcpy(scale_place(block, h % 2, row), from, sizeof(uint16_t));
        for (size_t i = 0; i < WORDS; i++) {
            uint32_t bytes = word_at(from + 2 + 4 * (i % (WORDS / 2))), numbers = (i < WORDS / 2 ? bytes : bytes >> 4) & LOW;
            unsigned char *to = place(block, i, row);
            put_word(to,
                     h % 2 ? (word_at(to) & LOW) | numbers << 4 : numbers | 0x80808080); /* 0 in the other half, until it comes */
        }
        if (h % 2) block += KR_Q4_BLOCK_BYTES;
    }
}

static void row_to_q4_0(unsigned char *to, unsigned char *block, size_t row, size_t halves)
{
    for (size_t h = 0; h < halves; h++, to += Q4_0_BYTES) {
        memcpy(to, scale_place(block, h % 2, row), sizeof(uint16_t));
        for (size_t i = 0; i < WORDS / 2; i++) {
            uint32_t low = word_at(place(block, i, row)), high = word_at(place(block, i + WORDS / 2, row));
            if (h % 2) low >>= 4, high >>= 4;
            put_word(to + 2 + 4 * i, (low & LOW) | (high & LOW) << 4);
        }
        if (h % 2) block += KR_Q4_BLOCK_BYTES;
    }
}

/* ---- Q8_0 and q6, where the numbers are -32 .. 31 ----------------------------------------------------------------- */

static void q6_from_q8_0(unsigned char *block, size_t row, const unsigned char *from, size_t halves)
{
    for (size_t h = 0; h < halves; h++, from += Q8_0_BYTES) {
        memcpy(scale_place(block, h % 2, row), from, sizeof(uint16_t));
        for (size_t i = 0; i < WORDS; i++) {
            const size_t half = h % 2 * 4, shift = half + i % 2 * 2;
            const uint32_t numbers = (word_at(from + 2 + 4 * i) ^ 0x80808080) - 0x60606060; /* 0 .. 63 */
            unsigned char *low = place(block, i, row), *high = place(block, WORDS + i / 2, row);
            put_word(low, (word_at(low) & ~((uint32_t)LOW << half)) | (numbers & LOW) << half);
            put_word(high, (word_at(high) & ~(UINT32_C(0x03030303) << shift)) | (numbers >> 4 & 0x03030303) << shift);
        }
        if (h % 2) block += KR_Q6_BLOCK_BYTES;
    }
}

static void q6_to_q8_0(unsigned char *to, unsigned char *block, size_t row, size_t halves)
{
    for (size_t h = 0; h < halves; h++, to += Q8_0_BYTES) {
        memcpy(to, scale_place(block, h % 2, row), sizeof(uint16_t));
        for (size_t i = 0; i < WORDS; i++) {
            uint32_t low = word_at(place(block, i, row)) >> (h % 2 * 4) & LOW;
            uint32_t high = word_at(place(block, WORDS + i / 2, row)) >> (h % 2 * 4 + i % 2 * 2) & 0x03030303;
            /* Bytes 0 .. 63 minus 32, without borrowing from each other. */
            put_word(to + 2 + 4 * i, ((low | high << 4 | 0x80808080) - 0x20202020) ^ 0x80808080);
        }
        if (h % 2) block += KR_Q6_BLOCK_BYTES;
    }
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

void kr_pack_blocks(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const void *rows)
{
    const bool is_q4 = type == KRAIT_WEIGHT_Q4;
    const size_t halves = columns / KR_HALF_COLUMNS, row_bytes = halves * (is_q4 ? Q4_0_BYTES : Q8_0_BYTES);
    void (*row_from)(unsigned char *, size_t, const unsigned char *, size_t) = is_q4                     ? row_from_q4_0
                                                                               : type == KRAIT_WEIGHT_Q6 ? q6_from_q8_0
                                                                                                         : row_from_q8_0;
    const size_t size = kr_block_bytes(type), group_bytes = kr_blocks_of(columns) * size;
    const unsigned char *from = rows;
    for (size_t row = first; row < first + n; row++, from += row_bytes) {
        unsigned char *group = (unsigned char *)matrix + kr_packed_offset(type, row, columns);
        if (row % KR_GROUP_ROWS == 0 && (halves % 2 || first + n - row < KR_GROUP_ROWS)) /* there are places without a number */
            for (unsigned char *block = group; block < group + group_bytes; block += size) kr_clear_block(block, type);
        row_from(group, row % KR_GROUP_ROWS, from, halves);
    }
}

void kr_unpack_blocks(void *rows, krait_weight_type type, const void *matrix, size_t columns, size_t first, size_t n)
{
    const bool is_q4 = type == KRAIT_WEIGHT_Q4;
    const size_t halves = columns / KR_HALF_COLUMNS, row_bytes = halves * (is_q4 ? Q4_0_BYTES : Q8_0_BYTES);
    void (*row_to)(unsigned char *, unsigned char *, size_t, size_t) = is_q4                     ? row_to_q4_0
                                                                       : type == KRAIT_WEIGHT_Q6 ? q6_to_q8_0
                                                                                                 : row_to_q8_0;
    unsigned char *to = rows;
    for (size_t row = first; row < first + n; row++, to += row_bytes) {
        unsigned char *group = (unsigned char *)matrix + kr_packed_offset(type, row, columns); /* only read */
        row_to(to, group, row % KR_GROUP_ROWS, halves);
    }
}
