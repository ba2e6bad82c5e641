/* Element types that are stored in blocks of several elements: ggml's, as GGUF files have them. A block has a scale in half precision,
 * for some types a minimum, and small integers:
 *
 *     type             elements, bytes    value
 *     Q8_0             32, 34             d q                      q in [-128, 127]
 *     Q4_0, Q5_0       32, 18 and 22      d (q - 8), d (q - 16)    q of 4 and of 5 bits
 *     Q4_1, Q5_1       32, 20 and 24      d q + m
 *     IQ4_NL           32, 18             d values[q]              q of 4 bits; 16 values, closer together near 0
 *     Q2_K             256, 84            d s q - m t              q of 2 bits; s and t of 4 bits per 16 elements
 *     Q3_K             256, 110           d (s - 32) (q - 4)       q of 3 bits; s of 6 bits per 16
 *     Q4_K, Q5_K       256, 144 and 176   d s q - m t              q of 4 and of 5 bits; s and t of 6 bits per 32
 *     Q6_K             256, 210           d s (q - 32)             q of 6 bits; s of 8 bits, signed, per 16
 *
 * The products are float32, rounded in the order in which ggml takes them, so that the values are its own to the last bit. */
#ifndef KR_TENSOR_BLOCKS_H
#define KR_TENSOR_BLOCKS_H

#include "tensor/numbers.h"
#include "tensor/tensor.h"

/* The elements of n_blocks consecutive blocks, possibly unaligned. */
void kr_blocks_to_float32(float *out, krait_dtype dtype, const void *data, size_t n_blocks);

/* Whether there is a way back: Q8_0 and Q4_0. */
bool kr_blocks_can_encode(krait_dtype dtype);
/* Finite values into n_blocks consecutive blocks, the bytes being those of ggml's reference. A scale beyond half precision becomes
 * infinite. */
void kr_blocks_from_float32(void *out, krait_dtype dtype, const float *values, size_t n_blocks);
/* The same from numbers that were chosen elsewhere: runs of KR_RUN with a scale each, block after block. */
void kr_blocks_from_numbers(void *out, krait_dtype dtype, const kr_numbers *from, size_t n_blocks);

#endif
