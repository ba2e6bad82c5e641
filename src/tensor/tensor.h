/* Element types, and tensors that own nothing. */
#ifndef KR_TENSOR_TENSOR_H
#define KR_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Elements that are stored together, and the bytes that they take: 1 and an element's size, but for the types of blocks.h. */
size_t kr_dtype_block(krait_dtype dtype);
size_t kr_dtype_size(krait_dtype dtype);
/* Finds a safetensors type name of `length` bytes; false if it is none we know. That format has no types in blocks. */
bool kr_dtype_find(krait_dtype *dtype, const char *name, size_t length);

/* A tensor somewhere in memory, row-major unless strides say otherwise. Data may be unaligned: read it through
 * kr_to_float32(). Of a type in blocks, the last dimension is a multiple of the block and the tensor is contiguous. */
typedef struct kr_tensor {
    const char *name; /* NUL-terminated; belongs to the reader that made it */
    krait_dtype dtype;
    int n_dims;
    uint64_t shape[KRAIT_MAX_DIMS];
    uint64_t stride[KRAIT_MAX_DIMS]; /* in elements; only non-negative strides exist */
    const void *data;
    const char *file; /* name of the file it is in, for messages */
} kr_tensor;

/* Whether a tensor is a matrix in a type of packed.h, and in which. Such a one is contiguous in no order: kr_tensor_to_float32() reads it. */
static inline bool kr_tensor_is_packed(const kr_tensor *tensor)
{
    return tensor->dtype == KRAIT_DTYPE_PACKED_Q8 || tensor->dtype == KRAIT_DTYPE_PACKED_Q6
           || tensor->dtype == KRAIT_DTYPE_PACKED_Q4;
}
static inline krait_weight_type kr_tensor_packed_type(const kr_tensor *tensor)
{
    return tensor->dtype == KRAIT_DTYPE_PACKED_Q8   ? KRAIT_WEIGHT_Q8
           : tensor->dtype == KRAIT_DTYPE_PACKED_Q6 ? KRAIT_WEIGHT_Q6
                                                    : KRAIT_WEIGHT_Q4;
}

/* Sets row-major strides from the shape. */
void kr_tensor_set_contiguous(kr_tensor *tensor);
bool kr_tensor_is_contiguous(const kr_tensor *tensor);
/* Number of elements; false when it does not fit a size_t. */
bool kr_tensor_count(const kr_tensor *tensor, size_t *count);
/* Bytes of so many elements; false when they do not fit a size_t. */
bool kr_tensor_bytes(const kr_tensor *tensor, size_t *bytes);
/* "[1536, 16] F32" into a buffer, which is returned. */
const char *kr_tensor_describe(const kr_tensor *tensor, char *buffer, size_t size);

/* Converts `count` consecutive elements of any type, possibly unaligned, to float32 (round to nearest even; integers beyond
 * 2^24 round; booleans are 0 and 1). Of a type in blocks: whole blocks. */
void kr_to_float32(float *out, krait_dtype dtype, const void *data, size_t count);
/* All elements of a tensor in row-major order, whatever its strides. */
void kr_tensor_to_float32(float *out, const kr_tensor *tensor);

/* Rows first .. first+rows-1 of it. */
void kr_tensor_rows_to_float32(float *out, const kr_tensor *tensor, size_t first, size_t rows);

float kr_f16_to_float(uint16_t bits);
float kr_bf16_to_float(uint16_t bits);
uint16_t kr_float_to_f16(float value);  /* round to nearest even; overflow gives infinity */
uint16_t kr_float_to_bf16(float value); /* round to nearest even; NaN stays NaN */

#endif
