/* Weight matrices as kernels read them: float32, float16 and bfloat16 as plain rows, q8 and q4 in blocks that many rows share.
 *
 * q8 and q4: sixteen rows make a group, sixty-four columns of a group a block; missing rows and columns are zeros. Blocks
 * stand in the order in which a product reads them: all of a group, from the first column to the last, then the next group. A block
 * starts with its scales, of one row and 32 columns each, and goes on with its numbers, four consecutive columns of a row side by side
 * and the rows next to each other, so that one instruction multiplies four columns of as many rows as a vector has lanes:
 *
 *     q8   scale[2][16] float16 | number[16 quads][16 rows][4 columns] uint8             1088 bytes, 8.5 bits a weight
 *          weight = scale[q / 8][row] * (number - 128), quad q has the columns 4q .. 4q+3
 *
 *     q4   scale[2][16] float16 | number[8 quads][16 rows][4 columns] uint8              576 bytes, 4.5 bits a weight
 *          low half of a byte:  weight = scale[0][row] * (half - 8), columns 4q .. 4q+3
 *          high half:           weight = scale[1][row] * (half - 8), columns 32 + 4q .. 32 + 4q+3
 *
 * Numbers of absolute maximum m are scaled by m/127 (q8); q4's scale is the one of several that has the least squared error.
 * Both hold what ggml's blocks of 32, Q8_0 and Q4_0, hold, in another order. */
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
    KR_Q8_BLOCK_BYTES = KR_SCALES_BYTES + KR_GROUP_ROWS * KR_BLOCK_COLUMNS,
    KR_Q4_BLOCK_BYTES = KR_SCALES_BYTES + KR_GROUP_ROWS * KR_BLOCK_COLUMNS / 2
};

static inline bool kr_is_grouped(krait_weight_type type) { return type == KRAIT_WEIGHT_Q8 || type == KRAIT_WEIGHT_Q4; }
static inline size_t kr_blocks_of(size_t columns) { return (columns + KR_BLOCK_COLUMNS - 1) / KR_BLOCK_COLUMNS; }

/* Bytes of a matrix. */
size_t kr_packed_bytes(krait_weight_type type, size_t rows, size_t columns);
/* Bytes from the start to row `row`, for grouped types a multiple of KR_GROUP_ROWS. */
size_t kr_packed_offset(krait_weight_type type, size_t row, size_t columns);

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
/* Such blocks from rows first .. first+n-1, the first of which is at `rows`, into a matrix, first and n as in kr_pack(); and back, any
 * rows. columns is a multiple of KR_HALF_COLUMNS. */
void kr_pack_blocks(krait_weight_type type, void *matrix, size_t columns, size_t first, size_t n, const void *rows);
void kr_unpack_blocks(void *rows, krait_weight_type type, const void *matrix, size_t columns, size_t first, size_t n);

#endif
