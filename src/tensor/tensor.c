#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/blocks.h"
#include "tensor/packed.h"

/* Every format we read stores little-endian numbers, and mapped weights are used in place. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "krait needs a little-endian machine");

static const struct {
    const char *name;
    size_t size, block; /* bytes of a block, and the elements in it */
} dtypes[] = {
    [KRAIT_DTYPE_F32] = { "F32", 4, 1 },
    [KRAIT_DTYPE_F16] = { "F16", 2, 1 },
    [KRAIT_DTYPE_BF16] = { "BF16", 2, 1 },
    [KRAIT_DTYPE_F64] = { "F64", 8, 1 },
    [KRAIT_DTYPE_I8] = { "I8", 1, 1 },
    [KRAIT_DTYPE_I16] = { "I16", 2, 1 },
    [KRAIT_DTYPE_I32] = { "I32", 4, 1 },
    [KRAIT_DTYPE_I64] = { "I64", 8, 1 },
    [KRAIT_DTYPE_U8] = { "U8", 1, 1 },
    [KRAIT_DTYPE_U16] = { "U16", 2, 1 },
    [KRAIT_DTYPE_U32] = { "U32", 4, 1 },
    [KRAIT_DTYPE_U64] = { "U64", 8, 1 },
    [KRAIT_DTYPE_BOOL] = { "BOOL", 1, 1 },
    [KRAIT_DTYPE_Q8_0] = { "Q8_0", 34, 32 },
    [KRAIT_DTYPE_Q4_0] = { "Q4_0", 18, 32 },
    [KRAIT_DTYPE_Q4_1] = { "Q4_1", 20, 32 },
    [KRAIT_DTYPE_Q5_0] = { "Q5_0", 22, 32 },
    [KRAIT_DTYPE_Q5_1] = { "Q5_1", 24, 32 },
    [KRAIT_DTYPE_Q2_K] = { "Q2_K", 84, 256 },
    [KRAIT_DTYPE_Q3_K] = { "Q3_K", 110, 256 },
    [KRAIT_DTYPE_Q4_K] = { "Q4_K", 144, 256 },
    [KRAIT_DTYPE_Q5_K] = { "Q5_K", 176, 256 },
    [KRAIT_DTYPE_Q6_K] = { "Q6_K", 210, 256 },
    [KRAIT_DTYPE_IQ4_NL] = { "IQ4_NL", 18, 32 },
    [KRAIT_DTYPE_PACKED_Q8] = { "q8", KR_Q8_BLOCK_BYTES, KR_GROUP_ROWS *KR_BLOCK_COLUMNS },
    [KRAIT_DTYPE_PACKED_Q4] = { "q4", KR_Q4_BLOCK_BYTES, KR_GROUP_ROWS *KR_BLOCK_COLUMNS },
    [KRAIT_DTYPE_PACKED_Q6] = { "q6", KR_Q6_BLOCK_BYTES, KR_GROUP_ROWS *KR_BLOCK_COLUMNS },
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

const char *krait_dtype_name(krait_dtype dtype) { return (unsigned)dtype < N_DTYPES ? dtypes[dtype].name : "unknown"; }

size_t kr_dtype_size(krait_dtype dtype) { return dtypes[dtype].size; }

size_t kr_dtype_block(krait_dtype dtype) { return dtypes[dtype].block; }

bool kr_dtype_find(krait_dtype *dtype, const char *name, size_t length)
{
    for (unsigned i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].block > 1) continue;
        if (strlen(dtypes[i].name) != length || memcmp(dtypes[i].name, name, length) != 0) continue;
        *dtype = (krait_dtype)i;
        return true;
    }
    return false;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

void kr_tensor_set_contiguous(kr_tensor *tensor)
{
    uint64_t stride = 1;
    for (int i = tensor->n_dims - 1; i >= 0; i--) {
        tensor->stride[i] = stride;
        stride *= tensor->shape[i];
    }
}

bool kr_tensor_is_contiguous(const kr_tensor *tensor)
{
    if (kr_tensor_is_packed(tensor)) return false;
    uint64_t stride = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        if (tensor->shape[i] == 0) return true;
    for (int i = tensor->n_dims - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != stride) return false;
        stride *= tensor->shape[i];
    }
    return true;
}

bool kr_tensor_count(const kr_tensor *tensor, size_t *count)
{
    size_t product = 1;
    bool fits = true;
    for (int i = 0; i < tensor->n_dims; i++) {
        if (tensor->shape[i] == 0) {
            *count = 0;
            return true;
        }
        fits = fits && kr_mul(product, tensor->shape[i], &product);
    }
    *count = product;
    return fits;
}

bool kr_tensor_bytes(const kr_tensor *tensor, size_t *bytes)
{
    size_t count;
    if (!kr_tensor_count(tensor, &count)) return false;
    if (kr_tensor_is_packed(tensor)) { /* rows and columns are filled up */
        size_t groups = (tensor->shape[0] - 1) / KR_GROUP_ROWS + 1, blocks = (tensor->shape[1] - 1) / KR_BLOCK_COLUMNS + 1;
        return kr_mul(count ? groups : 0, blocks, &count) && kr_mul(count, kr_dtype_size(tensor->dtype), bytes);
    }
    return kr_mul(count / kr_dtype_block(tensor->dtype), kr_dtype_size(tensor->dtype), bytes);
}

const char *kr_tensor_describe(const kr_tensor *tensor, char *buffer, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < tensor->n_dims && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%llu", i ? ", " : "[", (unsigned long long)tensor->shape[i]);
    if (used < size) snprintf(buffer + used, size - used, "%s] %s", tensor->n_dims ? "" : "[", krait_dtype_name(tensor->dtype));
    return buffer;
}

/* ---- half precision ---------------------------------------------------------------------------------------------- */

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* binary16 is s eeeee mmmmmmmmmm with bias 15, binary32 has bias 127 and 13 more bits of mantissa. Masks instead of branches, so
 * that loops over it vectorise; and no step makes or reads a denormal float, so that the result is the same while denormals are
 * flushed to zero. */
float kr_f16_to_float(uint16_t bits)
{
    const uint32_t rebias = (uint32_t)(127 - 15) << 23;
    uint32_t magnitude = bits & 0x7fffu, sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t is_subnormal = -(uint32_t)(magnitude < 0x0400), is_special = -(uint32_t)(magnitude >= 0x7c00);
    uint32_t normal = (magnitude << 13) + rebias + (is_special & rebias); /* infinity, NaN: exponent 31 becomes 255 */
    /* m * 2^-24, as (1 + m/1024) * 2^-14 - 2^-14 */
    uint32_t subnormal = to_bits(from_bits(((magnitude + 0x0400) << 13) + rebias) - 0x1p-14f);
    return from_bits((normal & ~is_subnormal) | (subnormal & is_subnormal) | sign);
}

float kr_bf16_to_float(uint16_t bits) { return from_bits((uint32_t)bits << 16); }

uint16_t kr_float_to_f16(float value)
{
    uint32_t bits = to_bits(value), magnitude = bits & 0x7fffffffu, half;
    if (magnitude > 0x7f800000u) /* NaN: made quiet */
        half = 0x7e00 | (magnitude >> 13 & 0x3ff);
    else if (magnitude >= 0x477ff000u) /* 65520, halfway between the largest and the one that would follow */
        half = 0x7c00;
    else if (magnitude < 0x38800000u) /* below 2^-14: near 0.5 a float's unit in the last place is 2^-24, as here */
        half = to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f);
    else
        half = (magnitude - ((uint32_t)(127 - 15) << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    return (uint16_t)(half | (bits >> 16 & 0x8000u));
}

uint16_t kr_float_to_bf16(float value)
{
    uint32_t bits = to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* ---- conversion -------------------------------------------------------------------------------------------------- */

/* Loads go through memcpy because a mapped file aligns nothing. */
#define CONVERT(type, expression)                   \
    for (size_t i = 0; i < count; i++) {            \
        type v;                                     \
        memcpy(&v, bytes + i * sizeof v, sizeof v); \
        out[i] = (expression);                      \
    }                                               \
    break

void kr_to_float32(float *restrict out, krait_dtype dtype, const void *data, size_t count)
{
    const unsigned char *restrict bytes = data;
    if (count == 0) return;
    switch (dtype) {
    case KRAIT_DTYPE_F32: memcpy(out, bytes, count * sizeof *out); break;
    case KRAIT_DTYPE_F16: CONVERT(uint16_t, kr_f16_to_float(v));
    case KRAIT_DTYPE_BF16: CONVERT(uint16_t, kr_bf16_to_float(v));
    case KRAIT_DTYPE_F64: CONVERT(double, (float)v);
    case KRAIT_DTYPE_I8: CONVERT(int8_t, (float)v);
    case KRAIT_DTYPE_I16: CONVERT(int16_t, (float)v);
    case KRAIT_DTYPE_I32: CONVERT(int32_t, (float)v);
    case KRAIT_DTYPE_I64: CONVERT(int64_t, (float)v);
    case KRAIT_DTYPE_U8: CONVERT(uint8_t, (float)v);
    case KRAIT_DTYPE_U16: CONVERT(uint16_t, (float)v);
    case KRAIT_DTYPE_U32: CONVERT(uint32_t, (float)v);
    case KRAIT_DTYPE_U64: CONVERT(uint64_t, (float)v);
    case KRAIT_DTYPE_BOOL: CONVERT(uint8_t, v ? 1.0f : 0.0f);
    default: kr_blocks_to_float32(out, dtype, data, count / kr_dtype_block(dtype));
    }
}

void kr_tensor_to_float32(float *out, const kr_tensor *tensor)
{
    size_t count, size = kr_dtype_size(tensor->dtype);
    if (!kr_tensor_count(tensor, &count) || count == 0) return;
    if (kr_tensor_is_packed(tensor)) {
        for (size_t row = 0; row < tensor->shape[0]; row++)
            kr_unpack_row(out + row * tensor->shape[1], kr_tensor_packed_type(tensor), tensor->data, tensor->shape[1], row);
        return;
    }
    if (kr_tensor_is_contiguous(tensor)) {
        kr_to_float32(out, tensor->dtype, tensor->data, count);
        return;
    }
    /* Row by row; the index of the row counts up like an odometer. */
    int last = tensor->n_dims - 1;
    size_t length = tensor->shape[last], step = tensor->stride[last];
    uint64_t index[KRAIT_MAX_DIMS] = { 0 };
    for (size_t done = 0; done < count; done += length) {
        const char *row = tensor->data;
        for (int i = 0; i < last; i++) row += index[i] * tensor->stride[i] * size;
        if (step == 1)
            kr_to_float32(out + done, tensor->dtype, row, length);
        else
            for (size_t i = 0; i < length; i++) kr_to_float32(out + done + i, tensor->dtype, row + i * step * size, 1);
        for (int i = last - 1; i >= 0; i--) {
            if (++index[i] < tensor->shape[i]) break;
            index[i] = 0;
        }
    }
}

void kr_tensor_rows_to_float32(float *out, const kr_tensor *tensor, size_t first, size_t rows)
{
    if (kr_tensor_is_packed(tensor)) {
        const size_t columns = tensor->shape[1];
        for (size_t row = 0; row < rows; row++)
            kr_unpack_row(out + row * columns, kr_tensor_packed_type(tensor), tensor->data, columns, first + row);
        return;
    }
    kr_tensor part = *tensor;
    part.shape[0] = rows;
    part.data = (const char *)part.data + first * part.stride[0] / kr_dtype_block(part.dtype) * kr_dtype_size(part.dtype);
    kr_tensor_to_float32(out, &part);
}
