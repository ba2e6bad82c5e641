/* safetensors: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.
 * https://github.com/huggingface/safetensors#format */
#ifndef KR_FORMATS_SAFETENSORS_H
#define KR_FORMATS_SAFETENSORS_H

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tensor/tensor.h"

/* Whether the bytes begin like a safetensors file. */
bool kr_safetensors_is(const char *data, size_t size);

typedef struct kr_safetensors {
    kr_tensor *tensors; /* in the order of their data; all in the caller's arena */
    size_t n_tensors;
    const kr_json *metadata; /* the object __metadata__, or NULL */
} kr_safetensors;

/* Reads the header of file's bytes. Refused: a header beyond the file or 100 MB, unknown or missing fields, a dtype we do not know
 * (named), offsets that overlap, leave holes, lie outside the file or disagree with shape and dtype, duplicate names. Tensors
 * point into the file's bytes. */
krait_status kr_safetensors_read(kr_safetensors *result, kr_arena *arena, const kr_file *file, krait_error *error);

/* Writes tensors (contiguous) and string metadata (key, value pairs) to `path`, complete or not at all. Data is aligned to 64 bytes. */
krait_status kr_safetensors_write(const char *path, const kr_tensor *tensors, size_t n_tensors, const char *const (*metadata)[2],
                                  size_t n_metadata, krait_error *error);

/* The same with data that comes when it is its turn, in pieces if need be: `put` writes all bytes of tensor i. */
typedef krait_status kr_safetensors_put(void *context, size_t i, kr_writer *to, krait_error *error);
krait_status kr_safetensors_write_each(const char *path, const kr_tensor *tensors, size_t n_tensors,
                                       const char *const (*metadata)[2], size_t n_metadata, kr_safetensors_put *put,
                                       void *context, krait_error *error);

#endif
