/* Writing GGUF files: values and the list of tensors first, then the tensors' bytes one after another, so that no more than a
 * piece of one needs to be in memory. The format is in gguf_types.h. */
#ifndef KR_FORMATS_GGUF_WRITE_H
#define KR_FORMATS_GGUF_WRITE_H

#include "base/file.h"
#include "formats/gguf_types.h"

/* Zeroed it is ready. An allocation that fails while values and tensors are put is remembered; begin reports it. */
typedef struct kr_gguf_writer {
    struct kr_gguf_bytes {
        char *data;
        size_t size, capacity;
    } values, tensors;
    uint64_t n_values, n_tensors;
    uint64_t data_size; /* of the tensors listed, each filled up to the alignment */
    bool out_of_memory;
    kr_writer file;
    bool open;
    uint64_t written; /* of the tensors' bytes */
} kr_gguf_writer;

/* ---- the head: any number of these, each key and name once ------------------------------------------------------- */

/* One value of a type of fixed size, from memory of that size. */
void kr_gguf_put(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type, const void *value);
void kr_gguf_put_u32(kr_gguf_writer *writer, const char *key, uint32_t value);
void kr_gguf_put_f32(kr_gguf_writer *writer, const char *key, float value);
void kr_gguf_put_bool(kr_gguf_writer *writer, const char *key, bool value);
void kr_gguf_put_string(kr_gguf_writer *writer, const char *key, const char *text, size_t length);
void kr_gguf_put_text(kr_gguf_writer *writer, const char *key, const char *text);
/* An array of `count` values of a type of fixed size. */
void kr_gguf_put_array(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type, const void *values, size_t count);
/* Begins an array of `count` strings, each of which then is added. */
void kr_gguf_put_strings(kr_gguf_writer *writer, const char *key, size_t count);
void kr_gguf_add_string(kr_gguf_writer *writer, const char *text, size_t length);

/* Lists a tensor: 1 to 4 dimensions, the slowest first as everywhere else in krait, sizes that make sense together. */
void kr_gguf_put_tensor(kr_gguf_writer *writer, const char *name, krait_dtype dtype, int n_dims, const uint64_t *shape);

/* ---- the file: complete or not at all ---------------------------------------------------------------------------- */

/* Writes the head; then come the bytes of each tensor in the order in which they were listed, in any pieces, each ended by
 * kr_gguf_end_tensor(). */
krait_status kr_gguf_begin(kr_gguf_writer *writer, const char *path, krait_error *error);
krait_status kr_gguf_write(kr_gguf_writer *writer, const void *data, size_t size, krait_error *error);
krait_status kr_gguf_end_tensor(kr_gguf_writer *writer, krait_error *error);
/* Frees the writer in every case, and without an error the file is there. */
krait_status kr_gguf_commit(kr_gguf_writer *writer, krait_error *error);
/* Frees it, and leaves nothing behind. Safe on a zeroed writer, and after commit. */
void kr_gguf_abandon(kr_gguf_writer *writer);

#endif
