/* Products on the tiles of AMX: the part of the instruction set avx512-amx that avx512-bf16 has not. kernels_avx512_bf16.c makes a
 * table of it and of its own kernels. */
#ifndef KR_CPU_TILES_H
#define KR_CPU_TILES_H

#include "cpu/kernels.h"

/* kernels.h's quantize and dot. bfloat16 x is packed for tiles unless x->in_rows; grouped weights want x->tile_scale and tile_offset. */
void kr_tiles_quantize_bf16(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to);
void kr_tiles_dot_bf16(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then);
void kr_tiles_quantize_grouped(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to);
void kr_tiles_dot_grouped(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then);

#endif
