/* Reading GGUF files: metadata as typed keys and values, and tensors that stay in the file's bytes. The format is in gguf_types.h. */
#ifndef KR_FORMATS_GGUF_H
#define KR_FORMATS_GGUF_H

#include "base/file.h"
#include "base/memory.h"
#include "formats/config_json.h"
#include "formats/gguf_types.h"

typedef struct kr_gguf_value {
    const char *key;
    kr_gguf_value_type type; /* of the value, or of an array's elements; never KR_GGUF_ARRAY */
    bool is_array;
    size_t count;     /* elements; 1 unless an array */
    const char *data; /* the first of them, in the file */
} kr_gguf_value;

typedef struct kr_gguf {
    const char *file; /* its name, for messages */
    uint32_t version;
    kr_gguf_value *values; /* by key */
    size_t n_values;
    kr_tensor *tensors; /* in the order of their data; dimensions the slowest first, as everywhere else */
    size_t n_tensors;
} kr_gguf;

/* Whether the bytes begin like a GGUF file. */
bool kr_gguf_is(const char *data, size_t size);

/* Reads the head of file's bytes. Refused: other versions and big-endian files, counts, lengths and offsets beyond the file, an empty key or
 * name or one with a NUL, a key twice, arrays of arrays, truth values other than 0 and 1, an alignment that is no power of two, more than 4
 * dimensions, sizes that overflow, rows that are no whole blocks, element types that we cannot read (named), offsets that are not aligned,
 * and tensors that overlap. Arrays are in `arena`; strings and data stay in the file's bytes. The same tensor name twice is the caller's to
 * find. */
krait_status kr_gguf_read(kr_gguf *result, kr_arena *arena, const kr_file *file, krait_error *error);

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

/* NULL: there is none of that key. */
const kr_gguf_value *kr_gguf_find(const kr_gguf *gguf, const char *key);
/* A single number, or a truth value as 0 or 1; false for NULL, strings and arrays. */
bool kr_gguf_number(const kr_gguf_value *value, double *number);
/* A single string, in the file: not ended by NUL. False for NULL and other types. */
bool kr_gguf_string(const kr_gguf_value *value, const char **text, size_t *length);
/* Element `index` of an array of integers of any width; false if these are none. */
bool kr_gguf_element(const kr_gguf_value *value, size_t index, int64_t *element);
/* The string at *at, which moves on to the next: first value->data, of an array of strings. */
const char *kr_gguf_next_string(const char **at, size_t *length);
/* "a string", "an array of i32", "u32 7", "nothing" for NULL: what was found, for messages, in a buffer that is returned. */
const char *kr_gguf_describe(const kr_gguf_value *value, char *buffer, size_t size);

/* Whether there are tokens among the metadata (gguf_tokenizer.h). */
bool kr_gguf_has_tokenizer(const kr_gguf *gguf);

/* What the metadata say of the config, under their own keys. A dimension of a wrong type gets a note, an epsilon is an error. An
 * architecture other than mamba is left in model_type. */
krait_status kr_gguf_hints(kr_config_hints *hints, kr_arena *arena, const kr_gguf *gguf, krait_error *error);

#endif
