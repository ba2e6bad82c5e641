#include "formats/safetensors.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, DATA_ALIGNMENT = 64 };
#define HEADER_MAX ((uint64_t)100 * 1000 * 1000)

static const char metadata_key[] = "__metadata__";

bool kr_safetensors_is(const char *data, size_t size) { return size > LENGTH_BYTES && data[LENGTH_BYTES] == '{'; }

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Where the data section of the file lies. */
typedef struct section {
    const kr_file *file;
    size_t begin, size;
} section;

static krait_status fail_entry(const section *s, const char *name, const char *field, const char *expected, const char *found,
                               krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: tensor %.200s: %s: expected %s, found %s", s->file->name, name, field,
                   expected, found);
}

/* The elements of an array, which must be non-negative integers. `what` names them in messages. */
static krait_status read_integers(const section *s, const char *name, const char *field, const char *what, const kr_json *array,
                                  uint64_t *values, krait_error *error)
{
    int i = 0;
    for (const kr_json *e = array->first; e; e = e->next, i++) {
        if (e->type != KR_JSON_INTEGER) return fail_entry(s, name, field, what, kr_json_type_name(e->type), error);
        if (e->integer < 0) return fail_entry(s, name, field, what, "a negative one", error);
        values[i] = (uint64_t)e->integer;
    }
    return KRAIT_OK;
}

static krait_status read_dtype(const section *s, kr_tensor *tensor, const kr_json *value, krait_error *error)
{
    if (value->type != KR_JSON_STRING)
        return fail_entry(s, tensor->name, "dtype", "a string", kr_json_type_name(value->type), error);
    if (!kr_dtype_find(&tensor->dtype, value->string, value->length))
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: tensor %.200s: dtype: expected F32, F16, BF16, F64, BOOL or I/U 8 to 64, found \"%.*s\"",
                       s->file->name, tensor->name, value->length < 40 ? (int)value->length : 40, value->string);
    return KRAIT_OK;
}

static krait_status read_entry(const section *s, kr_arena *arena, const kr_json *entry, kr_tensor *tensor, krait_error *error)
{
    char *name = kr_arena_alloc(arena, entry->key_length + 1, 1);
    if (!name) return kr_fail_memory(error, "a tensor's name", entry->key_length + 1);
    memcpy(name, entry->key, entry->key_length);
    name[entry->key_length] = '\0';
    *tensor = (kr_tensor){ .name = name, .file = s->file->name };
    if (strlen(name) != entry->key_length) return fail_entry(s, name, "name", "text", "a NUL character in it", error);
    if (entry->type != KR_JSON_OBJECT) return fail_entry(s, name, "entry", "an object", kr_json_type_name(entry->type), error);

    const kr_json *dtype = NULL, *shape = NULL, *offsets = NULL;
    for (const kr_json *field = entry->first; field; field = field->next) {
        if (kr_json_key_is(field, "dtype"))
            dtype = field;
        else if (kr_json_key_is(field, "shape"))
            shape = field;
        else if (kr_json_key_is(field, "data_offsets"))
            offsets = field;
        else
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: tensor %.200s: expected the fields dtype, shape and data_offsets, found \"%.*s\"", s->file->name,
                           name, field->key_length < 60 ? (int)field->key_length : 60, field->key);
    }
    if (!dtype || !shape || !offsets)
        return fail_entry(s, name, !dtype ? "dtype" : !shape ? "shape" : "data_offsets", "a value", "no such field", error);

    krait_status status = read_dtype(s, tensor, dtype, error);
    if (status) return status;
    if (shape->type != KR_JSON_ARRAY) return fail_entry(s, name, "shape", "an array", kr_json_type_name(shape->type), error);
    if (shape->length > KRAIT_MAX_DIMS) return fail_entry(s, name, "shape", "at most 8 dimensions", "more", error);
    tensor->n_dims = (int)shape->length;
    status = read_integers(s, name, "shape", "sizes", shape, tensor->shape, error);
    if (status) return status;
    kr_tensor_set_contiguous(tensor);

    uint64_t range[2];
    if (offsets->type != KR_JSON_ARRAY || offsets->length != 2)
        return fail_entry(s, name, "data_offsets", "[begin, end]",
                          offsets->type == KR_JSON_ARRAY ? "an array of another length" : kr_json_type_name(offsets->type),
                          error);
    status = read_integers(s, name, "data_offsets", "byte offsets", offsets, range, error);
    if (status) return status;
    uint64_t begin = range[0], end = range[1];
    size_t bytes;
    char text[96];
    if (!kr_tensor_bytes(tensor, &bytes))
        return fail_entry(s, name, "shape", "a size that can be addressed", kr_tensor_describe(tensor, text, sizeof text), error);
    if (begin > end || end > s->size)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: tensor %.200s: data_offsets: expected a range within the %zu bytes of data, found [%llu, %llu]",
                       s->file->name, name, s->size, (unsigned long long)begin, (unsigned long long)end);
    if (end - begin != bytes)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: tensor %.200s: data_offsets: expected %zu bytes for %s, found [%llu, %llu], which is %llu",
                       s->file->name, name, bytes, kr_tensor_describe(tensor, text, sizeof text), (unsigned long long)begin,
                       (unsigned long long)end, (unsigned long long)(end - begin));
    tensor->data = s->file->data + s->begin + begin;
    return KRAIT_OK;
}

/* Only of tensors whose size was checked. */
static size_t tensor_bytes(const kr_tensor *tensor)
{
    size_t bytes = 0;
    kr_tensor_bytes(tensor, &bytes);
    return bytes;
}

/* By place, empty tensors first where several begin. */
static int compare_places(const void *a, const void *b)
{
    const kr_tensor *s = a, *t = b;
    const char *p = s->data, *q = t->data;
    if (p != q) return p < q ? -1 : 1;
    size_t m = tensor_bytes(s), n = tensor_bytes(t);
    if (m != n) return m < n ? -1 : 1;
    return strcmp(s->name, t->name);
}

/* The tensors, in order, must cover the data without a gap or an overlap. */
static krait_status check_cover(const section *s, const kr_safetensors *all, krait_error *error)
{
    size_t covered = 0;
    for (size_t i = 0; i < all->n_tensors; i++) {
        const kr_tensor *t = &all->tensors[i];
        size_t begin = (size_t)((const char *)t->data - s->file->data) - s->begin;
        if (begin != covered)
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: tensor %.200s: data_offsets: expected a begin of %zu, found %zu: %s %.100s", s->file->name,
                           t->name, covered, begin, begin < covered ? "it overlaps" : "there is a hole behind",
                           i ? all->tensors[i - 1].name : "the header");
        covered += tensor_bytes(t);
    }
    if (covered != s->size)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %zu bytes of data, as the last tensor ends there, found %zu",
                       s->file->name, covered, s->size);
    return KRAIT_OK;
}

static krait_status check_metadata(const section *s, const kr_json *metadata, krait_error *error)
{
    if (metadata->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected an object, found %s", s->file->name, metadata_key,
                       kr_json_type_name(metadata->type));
    for (const kr_json *m = metadata->first; m; m = m->next)
        if (m->type != KR_JSON_STRING)
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: \"%.*s\": expected a string, found %s", s->file->name,
                           metadata_key, m->key_length < 60 ? (int)m->key_length : 60, m->key, kr_json_type_name(m->type));
    return KRAIT_OK;
}

/* A packed matrix is bytes to others: U8, and its layout and shape in the metadata under its name, "q4 [768, 1536]". A layout that
 * changes gets another name, so that no program reads what it does not know: "q8" was one with other scales. */
static const struct {
    const char *name;
    krait_dtype dtype;
} layouts[] = { { "q8/2", KRAIT_DTYPE_PACKED_Q8 }, { "q6", KRAIT_DTYPE_PACKED_Q6 }, { "q4", KRAIT_DTYPE_PACKED_Q4 } };
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

static const char *layout_name(krait_dtype dtype)
{
    size_t i = 0;
    while (i < N_LAYOUTS - 1 && layouts[i].dtype != dtype) i++;
    return layouts[i].name;
}

static krait_status read_packed(const section *s, kr_tensor *tensor, const kr_json *metadata, krait_error *error)
{
    const kr_json *value = metadata ? kr_json_get(metadata, tensor->name) : NULL;
    if (!value) return KRAIT_OK;
    kr_tensor matrix = *tensor;
    unsigned long long rows = 0, columns = 0;
    char layout[8], rest[2], text[96];
    size_t bytes, found = tensor->shape[0];
    if (value->length < sizeof text) {
        memcpy(text, value->string, value->length); /* which has no end of its own */
        text[value->length] = '\0';
    } else
        text[0] = '\0';
    int n = sscanf(text, "%7[q0-9/] [%llu, %llu%1[]]", layout, &rows, &columns, rest);
    if (n == 4 && strcmp(layout, "q8") == 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: %.200s: expected the layout q8/2, found q8, of an older krait: quantise the original once more",
                       s->file->name, tensor->name);
    matrix.n_dims = 2;
    matrix.shape[0] = rows, matrix.shape[1] = columns;
    for (size_t i = 0; i < N_LAYOUTS && n == 4; i++) {
        if (strcmp(layout, layouts[i].name) != 0) continue;
        matrix.dtype = layouts[i].dtype;
        if (tensor->dtype != KRAIT_DTYPE_U8 || tensor->n_dims != 1 || rows == 0 || columns == 0
            || !kr_tensor_bytes(&matrix, &bytes) || bytes != found)
            break;
        *tensor = matrix;
        return KRAIT_OK;
    }
    return kr_fail(error, KRAIT_ERROR_FORMAT,
                   "%s: %s: %.200s: expected q8/2, q6 or q4 with the rows and columns of a matrix of %s, found \"%.*s\"",
                   s->file->name, metadata_key, tensor->name, kr_tensor_describe(tensor, text, sizeof text),
                   value->length < 40 ? (int)value->length : 40, value->string);
}

krait_status kr_safetensors_read(kr_safetensors *result, kr_arena *arena, const kr_file *file, krait_error *error)
{
    *result = (kr_safetensors){ 0 };
    if (file->size < LENGTH_BYTES)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a header length of 8 bytes, found a file of %zu", file->name,
                       file->size);
    uint64_t length;
    memcpy(&length, file->data, sizeof length);
    size_t behind = file->size - LENGTH_BYTES;
    if (length > behind || length > HEADER_MAX)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: header length: expected at most %llu bytes, found %llu", file->name,
                       (unsigned long long)(behind < HEADER_MAX ? behind : HEADER_MAX), (unsigned long long)length);
    section s = { .file = file, .begin = LENGTH_BYTES + (size_t)length, .size = behind - (size_t)length };

    char name[256]; /* for messages about JSON, whose bytes count from the header's begin */
    snprintf(name, sizeof name, "%.240s: header", file->name);
    const kr_json *header;
    krait_status status = kr_json_parse(&header, arena, name, file->data + LENGTH_BYTES, (size_t)length, error);
    if (status) return status;
    if (header->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: header: expected an object, found %s", file->name,
                       kr_json_type_name(header->type));
    kr_safetensors all = { .metadata = kr_json_get(header, metadata_key) };
    if (all.metadata && (status = check_metadata(&s, all.metadata, error))) return status;
    all.tensors = kr_arena_alloc(arena, header->length, sizeof *all.tensors);
    if (!all.tensors) return kr_fail_memory(error, "a list of tensors", header->length * sizeof *all.tensors);
    for (const kr_json *entry = header->first; entry; entry = entry->next) {
        if (entry == all.metadata) continue;
        kr_tensor *tensor = &all.tensors[all.n_tensors++];
        status = read_entry(&s, arena, entry, tensor, error);
        if (!status) status = read_packed(&s, tensor, all.metadata, error);
        if (status) return status;
    }
    qsort(all.tensors, all.n_tensors, sizeof *all.tensors, compare_places);
    status = check_cover(&s, &all, error);
    if (!status) *result = all;
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put_header(kr_json_writer *w, const kr_tensor *tensors, size_t n_tensors, const char *const (*metadata)[2],
                       size_t n_metadata)
{
    bool has_packed = false;
    for (size_t i = 0; i < n_tensors; i++) has_packed = has_packed || kr_tensor_is_packed(&tensors[i]);
    kr_json_open(w, '{');
    if (n_metadata > 0 || has_packed) {
        kr_json_key(w, metadata_key);
        kr_json_open(w, '{');
        for (size_t i = 0; i < n_metadata; i++) {
            kr_json_key(w, metadata[i][0]);
            kr_json_put_text(w, metadata[i][1]);
        }
        for (size_t i = 0; i < n_tensors; i++) {
            const kr_tensor *t = &tensors[i];
            char value[64];
            if (!kr_tensor_is_packed(t)) continue;
            snprintf(value, sizeof value, "%s [%llu, %llu]", layout_name(t->dtype), (unsigned long long)t->shape[0],
                     (unsigned long long)t->shape[1]);
            kr_json_key(w, t->name);
            kr_json_put_text(w, value);
        }
        kr_json_close(w, '}');
    }
    int64_t at = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const kr_tensor *t = &tensors[i];
        const bool packed = kr_tensor_is_packed(t);
        assert(packed || kr_tensor_is_contiguous(t));
        kr_json_key(w, t->name);
        kr_json_open(w, '{');
        kr_json_key(w, "dtype");
        kr_json_put_text(w, krait_dtype_name(packed ? KRAIT_DTYPE_U8 : t->dtype));
        kr_json_key(w, "shape");
        kr_json_open(w, '[');
        if (packed) kr_json_put_integer(w, (int64_t)tensor_bytes(t));
        for (int d = 0; d < t->n_dims && !packed; d++) kr_json_put_integer(w, (int64_t)t->shape[d]);
        kr_json_close(w, ']');
        kr_json_key(w, "data_offsets");
        kr_json_open(w, '[');
        kr_json_put_integer(w, at);
        kr_json_put_integer(w, at += (int64_t)tensor_bytes(t));
        kr_json_close(w, ']');
        kr_json_close(w, '}');
    }
    kr_json_close(w, '}');
}

krait_status kr_safetensors_write_each(const char *path, const kr_tensor *tensors, size_t n_tensors,
                                       const char *const (*metadata)[2], size_t n_metadata, kr_safetensors_put *put,
                                       void *context, krait_error *error)
{
    kr_json_writer header = { 0 };
    put_header(&header, tensors, n_tensors, metadata, n_metadata);
    if (header.failed) {
        kr_free(header.buffer);
        return kr_fail_memory(error, "a safetensors header", header.length);
    }
    static const char spaces[DATA_ALIGNMENT + 1] = "                                                                ";
    size_t padding = -(LENGTH_BYTES + header.length) % DATA_ALIGNMENT;
    uint64_t length = header.length + padding;
    kr_writer writer;
    krait_status status = kr_writer_open(&writer, path, error);
    if (!status) {
        status = kr_writer_write(&writer, &length, sizeof length, error);
        if (!status) status = kr_writer_write(&writer, header.buffer, header.length, error);
        if (!status) status = kr_writer_write(&writer, spaces, padding, error);
        for (size_t i = 0; i < n_tensors && !status; i++) {
            status = put ? put(context, i, &writer, error)
                         : kr_writer_write(&writer, tensors[i].data, tensor_bytes(&tensors[i]), error);
        }
        if (!status)
            status = kr_writer_commit(&writer, error);
        else
            kr_writer_abandon(&writer);
    }
    kr_free(header.buffer);
    return status;
}

krait_status kr_safetensors_write(const char *path, const kr_tensor *tensors, size_t n_tensors, const char *const (*metadata)[2],
                                  size_t n_metadata, krait_error *error)
{
    return kr_safetensors_write_each(path, tensors, n_tensors, metadata, n_metadata, NULL, NULL, error);
}
