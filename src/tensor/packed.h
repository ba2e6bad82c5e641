/* Weight matrices as kernels read them: float32, float16 and bfloat16 as plain rows, q8, q6 and q4 in blocks that many rows share.
 *
 * q8, q6 and q4: sixteen rows make a group, sixty-four columns of a group a block; missing rows and columns are zeros. Blocks
 * stand in the order in which a product reads them: all of a group, from the first column to the last, then the next group. A block
 * starts with its scales, of one row and 32 columns each, and goes on with its numbers, four consecutive columns of a row side by side
 * and the rows next to each other, so that one instruction multiplies four columns of as many rows as a vector has lanes:
 *
 *     q8   scale[2][16] float16 | number[16 quads][16 rows][4 columns] uint8             1088 bytes, 8.5 bits a weight
 *          weight = scale[q / 8][row] * (number - 128), quad q has the columns 4q .. 4q+3
 *
 *     q6   scale[2][16] float16 | low[8 quads][16 rows][4 columns] uint8 | high[4 pairs of quads][16 rows][4 columns] uint8
 *                                                                                        832 bytes, 6.5 bits a weight
 *          low: four bits of each number, as q4 has them; high: the other two of four columns. Pair p has in its bytes the quads
 *          2p and 2p+1 of the low halves' columns in bits 0-1 and 2-3, those of the high halves' in bits 4-5 and 6-7:
 *          weight = scale[q / 8][row] * ((low's half | (high's two bits) << 4) - 32)
 *
 *     q4   scale[2][16] float16 | number[8 quads][16 rows][4 columns] uint8              576 bytes, 4.5 bits a weight
 *          low half of a byte:  weight = scale[0][row] * (half - 8), columns 4q .. 4q+3
 *          high half:           weight = scale[1][row] * (half - 8), columns 32 + 4q .. 32 + 4q+3
 *
 * Numbers of absolute maximum m are scaled by m/127 (q8); the scale of q6 and q4 is the one of several that has the least squared error.
 * q8 and q4 hold what ggml's blocks of 32, Q8_0 and Q4_0, hold, in another order; Q8_0 can hold what q6 does. */
#ifndef KR_TENSOR_PACKED_H
#define KR_TENSOR_PACKED_H

#include <stdbool.h>
#include <stddef.h>

#include "krait/krait.h"
#include "tensor/numbers.h"

enum {
    KR_GROUP_ROWS = 16,
    KR_BLOCK_COLUMNS = 64,
    KR_HALF_COLUMNS = KR_BLOCK_COLUMNS / 2, /* of one scale */
    KR_SCALES_BYTES = 2 * KR_GROUP_ROWS * 2,
    KR_Q8_OFFSET = 128,
    KR_Q4_OFFSET = 8,
    KR_Q6_OFFSET = 32,
    KR_Q6_LOW_BYTES = KR_GROUP_ROWS * KR_BLOCK_COLUMNS / 2,
    KR_Q8_BLOCK_BYTES = KR_SCALES_BYTES + KR_GROUP_ROWS * KR_BLOCK_COLUMNS,
    KR_Q4_BLOCK_BYTES = KR_SCALES_BYTES + KR_GROUP_ROWS * KR_BLOCK_COLUMNS / 2,
    KR_Q6_BLOCK_BYTES = KR_SCALES_BYTES + KR_Q6_LOW_BYTES + KR_GROUP_ROWS * KR_BLOCK_COLUMNS / 4
};

static inline bool kr_is_grouped(krait_weight_type type)
{
    return type == KRAIT_WEIGHT_Q8 || type == KRAIT_WEIGHT_Q6 || type == KRAIT_WEIGHT_Q4;
}
/* Of a grouped type: bytes of a block, and what is added to a number where it is stored. */
static inline size_t kr_block_bytes(krait_weight_type type)
{
    return type == KRAIT_WEIGHT_Q8 ? KR_Q8_BLOCK_BYTES : type == KRAIT_WEIGHT_Q6 ? KR_Q6_BLOCK_BYTES : KR_Q4_BLOCK_BYTES;
}
static inline int kr_number_offset(krait_weight_type type)
{
    return type == KRAIT_WEIGHT_Q8 ? KR_Q8_OFFSET : type == KRAIT_WEIGHT_Q6 ? KR_Q6_OFFSET : KR_Q4_OFFSET;
}
static inline size_t kr_blocks_of(size_t columns) { return (columns + KR_BLOCK_COLUMNS - 1) / KR_BLOCK_COLUMNS; }

/* Bytes of a matrix. */
size_t kr_packed_bytes(krait_weight_type type, size_t rows, size_t columns);
/* Bytes from the start to row `row`, for grouped types a multiple of KR_GROUP_ROWS. */
size_t kr_packed_offset(krait_weight_type type, size_t row, size_t columns);

/* A block of zeros. */
void kr_clear_block(unsigned char *block, krait_weight_type type);
/* Packs rows first .. first+n-1 of a matrix, w being row `first`; for grouped types first is a multiple of KR_GROUP_ROWS and n
 * as well, unless the matrix ends. */
void kr_pack(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const float *w);
/* The same from numbers that were chosen elsewhere. */
void kr_pack_numbers(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const kr_numbers *from);
/* Columns first .. first+n-1 of a row as float32, first a multiple of KR_BLOCK_COLUMNS; and all of it. */
void kr_unpack(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row, size_t first, size_t n);
void kr_unpack_row(float *out, krait_weight_type type, const void *matrix, size_t columns, size_t row);

/* Whether a grouped type holds exactly what blocks of blocks.h hold: q8 Q8_0, q4 Q4_0. */
bool kr_packs_exactly(krait_dtype dtype, krait_weight_type type);
/* Whether such blocks can hold all that a grouped type does: where that is so, and of q6 those of Q8_0. */
bool kr_unpacks_exactly(krait_dtype dtype, krait_weight_type type);
/* Such blocks from rows first .. first+n-1, the first of which is at `rows`, into a matrix, first and n as in kr_pack(); and back (q6
 * as Q8_0), any rows. columns is a multiple of KR_HALF_COLUMNS. */
void kr_pack_blocks(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const void *rows);
void kr_unpack_blocks(void *rows, krait_weight_type type, const void *matrix, size_t columns, size_t first, size_t n);

#endif
