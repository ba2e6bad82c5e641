#include "formats/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 65535 };

/* The least bytes that an entry can take: of the metadata a key of one byte and a value of one, a tensor without dimensions. */
enum { VALUE_LEAST = 8 + 1 + 4 + 1, TENSOR_LEAST = 8 + 1 + 4 + 4 + 8 };

bool kr_gguf_is(const char *data, size_t size) { return size >= 4 && memcmp(data, KR_GGUF_MAGIC, 4) == 0; }

/* Where in the file we are. */
typedef struct cursor {
    const kr_file *file;
    size_t at;
    char entry[96]; /* "metadata 3", then its key, for messages */
    size_t element; /* of an array; SIZE_MAX: not in one */
    krait_error *error;
} cursor;

static size_t left(const cursor *c) { return c->file->size - c->at; }

/* The bytes that a read may need; what is read is named. */
static krait_status need(const cursor *c, uint64_t bytes, const char *what)
{
    char element[32] = "";
    if (bytes <= left(c)) return KRAIT_OK;
    if (c->element != SIZE_MAX) snprintf(element, sizeof element, "[%zu]", c->element);
    return kr_fail(c->error, KRAIT_ERROR_FORMAT,
                   "%s: %s%s: %s: expected %llu bytes from byte %zu on, found %zu before the file's end", c->file->name, c->entry,
                   element, what, (unsigned long long)bytes, c->at, left(c));
}

static krait_status take_u32(cursor *c, const char *what, uint32_t *number)
{
    krait_status status = need(c, sizeof *number, what);
    if (status) return status;
    memcpy(number, c->file->data + c->at, sizeof *number);
    c->at += sizeof *number;
    return KRAIT_OK;
}

static krait_status take_u64(cursor *c, const char *what, uint64_t *number)
{
    krait_status status = need(c, sizeof *number, what);
    if (status) return status;
    memcpy(number, c->file->data + c->at, sizeof *number);
    c->at += sizeof *number;
    return KRAIT_OK;
}

/* Passes over a string. */
static krait_status take_string(cursor *c, const char *what, const char **text, uint64_t *length)
{
    krait_status status = take_u64(c, what, length);
    if (!status) status = need(c, *length, what);
    if (status) return status;
    *text = c->file->data + c->at;
    c->at += (size_t)*length;
    return KRAIT_OK;
}

/* A key or a tensor's name: a copy ended by NUL, which also names the entry from here on. */
static krait_status take_name(cursor *c, kr_arena *arena, const char *what, const char **name)
{
    const char *text, *wrong = NULL;
    uint64_t length;
    krait_status status = take_string(c, what, &text, &length);
    if (status) return status;
    if (length == 0)
        wrong = "an empty one";
    else if (length > KEY_MAX)
        wrong = "more than 65535 bytes";
    else if (memchr(text, '\0', (size_t)length))
        wrong = "a NUL character in it";
    if (wrong)
        return kr_fail(c->error, KRAIT_ERROR_FORMAT, "%s: %s: %s: expected text, found %s", c->file->name, c->entry, what, wrong);
    char *copy = kr_arena_alloc(arena, (size_t)length + 1, 1);
    if (!copy) return kr_fail_memory(c->error, "a name", (size_t)length + 1);
    memcpy(copy, text, (size_t)length);
    copy[length] = '\0';
    *name = copy;
    return KRAIT_OK;
}

/* A count of entries that take at least so many bytes each. */
static krait_status check_count(const cursor *c, const char *what, uint64_t count, size_t least)
{
    if (count <= left(c) / least) return KRAIT_OK;
    return kr_fail(c->error, KRAIT_ERROR_FORMAT, "%s: %s: %s: expected at most %zu, as %zu bytes are left, found %llu",
                   c->file->name, c->entry, what, left(c) / least, left(c), (unsigned long long)count);
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size; /* the least that one takes */
} value_types[] = {
    [KR_GGUF_U8] = { "u8", 1 },        [KR_GGUF_I8] = { "i8", 1 },     [KR_GGUF_U16] = { "u16", 2 },
    [KR_GGUF_I16] = { "i16", 2 },      [KR_GGUF_U32] = { "u32", 4 },   [KR_GGUF_I32] = { "i32", 4 },
    [KR_GGUF_F32] = { "f32", 4 },      [KR_GGUF_BOOL] = { "bool", 1 }, [KR_GGUF_STRING] = { "string", 8 },
    [KR_GGUF_ARRAY] = { "array", 12 }, [KR_GGUF_U64] = { "u64", 8 },   [KR_GGUF_I64] = { "i64", 8 },
    [KR_GGUF_F64] = { "f64", 8 },
};

static krait_status take_type(cursor *c, const char *what, kr_gguf_value_type *type)
{
    uint32_t number;
    krait_status status = take_u32(c, what, &number);
    if (status) return status;
    if (number >= KR_GGUF_VALUE_TYPES)
        return kr_fail(c->error, KRAIT_ERROR_FORMAT, "%s: %s: %s: expected a number from 0 to %d, found %u", c->file->name,
                       c->entry, what, KR_GGUF_VALUE_TYPES - 1, (unsigned)number);
    *type = (kr_gguf_value_type)number;
    return KRAIT_OK;
}

/* Passes over the elements, which value->data is to be the first of. */
static krait_status take_elements(cursor *c, const kr_gguf_value *value)
{
    size_t size = value_types[value->type].size;
    krait_status status = check_count(c, value->is_array ? "length" : "value", value->count, size);
    if (status) return status;
    if (value->type == KR_GGUF_STRING) {
        const char *text;
        uint64_t length;
        for (size_t i = 0; i < value->count && !status; i++) {
            if (value->is_array) c->element = i;
            status = take_string(c, "string", &text, &length);
        }
        c->element = SIZE_MAX;
        return status;
    }
    if (value->type == KR_GGUF_BOOL)
        for (size_t i = 0; i < value->count; i++)
            if ((unsigned char)value->data[i] > 1)
                return kr_fail(c->error, KRAIT_ERROR_FORMAT, "%s: %s: expected a bool of 0 or 1, found %d", c->file->name,
                               c->entry, (unsigned char)value->data[i]);
    c->at += value->count * size;
    return KRAIT_OK;
}

static krait_status take_value(cursor *c, kr_arena *arena, size_t index, kr_gguf_value *value)
{
    *value = (kr_gguf_value){ .count = 1 };
    snprintf(c->entry, sizeof c->entry, "metadata %zu", index);
    krait_status status = take_name(c, arena, "key", &value->key);
    if (status) return status;
    snprintf(c->entry, sizeof c->entry, "%.90s", value->key);
    status = take_type(c, "type", &value->type);
    if (!status && value->type == KR_GGUF_ARRAY) {
        uint64_t count = 0;
        value->is_array = true;
        status = take_type(c, "type of the elements", &value->type);
        if (!status) status = take_u64(c, "length", &count);
        if (!status && value->type == KR_GGUF_ARRAY)
            return kr_fail(c->error, KRAIT_ERROR_UNSUPPORTED,
                           "%s: %s: expected an array of numbers, bools or strings, found one of arrays", c->file->name,
                           c->entry);
        value->count = count <= SIZE_MAX ? (size_t)count : SIZE_MAX;
    }
    value->data = c->file->data + c->at;
    return status ? status : take_elements(c, value);
}

static int compare_keys(const void *a, const void *b)
{
    const kr_gguf_value *s = a, *t = b;
    return strcmp(s->key, t->key);
}

static krait_status take_values(cursor *c, kr_arena *arena, kr_gguf *gguf, size_t count)
{
    gguf->values = kr_arena_alloc(arena, count, sizeof *gguf->values);
    if (!gguf->values) return kr_fail_memory(c->error, "metadata", count * sizeof *gguf->values);
    krait_status status = KRAIT_OK;
    while (gguf->n_values < count && !status) {
        status = take_value(c, arena, gguf->n_values, &gguf->values[gguf->n_values]);
        gguf->n_values++;
    }
    if (status) return status;
    qsort(gguf->values, count, sizeof *gguf->values, compare_keys);
    for (size_t i = 1; i < count; i++)
        if (strcmp(gguf->values[i - 1].key, gguf->values[i].key) == 0)
            return kr_fail(c->error, KRAIT_ERROR_FORMAT, "%s: %.200s: expected one of that key, found another", gguf->file,
                           gguf->values[i].key);
    return KRAIT_OK;
}

const kr_gguf_value *kr_gguf_find(const kr_gguf *gguf, const char *key)
{
    return bsearch(&(kr_gguf_value){ .key = key }, gguf->values, gguf->n_values, sizeof *gguf->values, compare_keys);
}

/* An element as a double, which holds every integer that metadata have any use for. */
static bool number_at(const kr_gguf_value *value, size_t index, double *number)
{
#define CASE(kind, type)                                      \
    case kind: {                                              \
        type v;                                               \
        memcpy(&v, value->data + index * sizeof v, sizeof v); \
        *number = (double)v;                                  \
        return true;                                          \
    }
    switch (value->type) {
        CASE(KR_GGUF_U8, uint8_t)
        CASE(KR_GGUF_I8, int8_t)
        CASE(KR_GGUF_U16, uint16_t)
        CASE(KR_GGUF_I16, int16_t)
        CASE(KR_GGUF_U32, uint32_t)
        CASE(KR_GGUF_I32, int32_t)
        CASE(KR_GGUF_F32, float)
        CASE(KR_GGUF_BOOL, uint8_t)
        CASE(KR_GGUF_U64, uint64_t)
        CASE(KR_GGUF_I64, int64_t)
        CASE(KR_GGUF_F64, double)
    case KR_GGUF_STRING:
    case KR_GGUF_ARRAY:
    case KR_GGUF_VALUE_TYPES: break;
    }
#undef CASE
    return false;
}

bool kr_gguf_number(const kr_gguf_value *value, double *number)
{
    return value && !value->is_array && number_at(value, 0, number);
}

bool kr_gguf_string(const kr_gguf_value *value, const char **text, size_t *length)
{
    if (!value || value->is_array || value->type != KR_GGUF_STRING) return false;
    const char *at = value->data;
    *text = kr_gguf_next_string(&at, length);
    return true;
}

bool kr_gguf_element(const kr_gguf_value *value, size_t index, int64_t *element)
{
    double number;
    if (!value->is_array || index >= value->count || value->type == KR_GGUF_F32 || value->type == KR_GGUF_F64
        || value->type == KR_GGUF_BOOL || !number_at(value, index, &number))
        return false;
    /* Beyond this range a double is not exact, nor has any number a meaning. */
    *element = number > 0x1p52 ? INT64_MAX : number < -0x1p52 ? INT64_MIN : (int64_t)number;
    return true;
}

const char *kr_gguf_next_string(const char **at, size_t *length)
{
    uint64_t n;
    memcpy(&n, *at, sizeof n);
    const char *text = *at + sizeof n;
    *length = (size_t)n;
    *at = text + n;
    return text;
}

const char *kr_gguf_describe(const kr_gguf_value *value, char *buffer, size_t size)
{
    const char *text;
    size_t length;
    double number;
    if (!value)
        snprintf(buffer, size, "nothing");
    else if (value->is_array)
        snprintf(buffer, size, "an array of %zu %s", value->count, value_types[value->type].name);
    else if (kr_gguf_string(value, &text, &length))
        snprintf(buffer, size, "\"%.*s\"", length > 60 ? 60 : (int)length, text);
    else if (kr_gguf_number(value, &number))
        snprintf(buffer, size, "%s %g", value_types[value->type].name, number);
    return buffer;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* A message about the tensor that is being read. */
#define FAIL(c, status, format, ...) kr_fail((c)->error, status, "%s: %s: " format, (c)->file->name, (c)->entry, __VA_ARGS__)

/* The dimensions, turned round. */
static krait_status take_shape(cursor *c, kr_tensor *tensor)
{
    uint32_t n_dims;
    krait_status status = take_u32(c, "number of dimensions", &n_dims);
    if (status) return status;
    if (n_dims > KR_GGUF_MAX_DIMS)
        return FAIL(c, KRAIT_ERROR_FORMAT, "expected at most %d dimensions, found %u", KR_GGUF_MAX_DIMS, (unsigned)n_dims);
    tensor->n_dims = (int)n_dims;
    for (int i = tensor->n_dims - 1; i >= 0 && !status; i--) status = take_u64(c, "dimensions", &tensor->shape[i]);
    return status;
}

static krait_status take_dtype(cursor *c, kr_tensor *tensor)
{
    uint32_t number;
    krait_status status = take_u32(c, "type", &number);
    if (status) return status;
    const kr_gguf_type *type = kr_gguf_type_of(number);
    if (type && type->readable) {
        tensor->dtype = type->dtype;
        return KRAIT_OK;
    }
    return FAIL(
        c, type ? KRAIT_ERROR_UNSUPPORTED : KRAIT_ERROR_FORMAT,
        "type: expected F32, F16, BF16, F64, I8 to I64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K or IQ4_NL, found %s (%u)",
        type ? type->name : "an unknown one", (unsigned)number);
}

/* One entry of the list; its offset is looked at when it is known where the data begin. */
static krait_status take_tensor(cursor *c, kr_arena *arena, size_t index, kr_tensor *tensor, uint64_t *offset)
{
    *tensor = (kr_tensor){ .file = c->file->name };
    snprintf(c->entry, sizeof c->entry, "tensor %zu", index);
    krait_status status = take_name(c, arena, "name", &tensor->name);
    if (status) return status;
    snprintf(c->entry, sizeof c->entry, "tensor %.80s", tensor->name);
    status = take_shape(c, tensor);
    if (!status) status = take_dtype(c, tensor);
    if (!status) status = take_u64(c, "offset", offset);
    if (status) return status;
    size_t block = kr_dtype_block(tensor->dtype), row = tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1, bytes;
    char text[128];
    if (row % block != 0)
        return FAIL(c, KRAIT_ERROR_FORMAT, "expected rows of whole blocks of %zu, found %s", block,
                    kr_tensor_describe(tensor, text, sizeof text));
    if (!kr_tensor_bytes(tensor, &bytes))
        return FAIL(c, KRAIT_ERROR_FORMAT, "expected a size that can be addressed, found %s",
                    kr_tensor_describe(tensor, text, sizeof text));
    kr_tensor_set_contiguous(tensor);
    return KRAIT_OK;
}

/* Only of tensors whose size was checked. */
static size_t bytes_of(const kr_tensor *tensor)
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
    size_t m = bytes_of(s), n = bytes_of(t);
    if (m != n) return m < n ? -1 : 1;
    return strcmp(s->name, t->name);
}

static krait_status check_overlaps(const kr_gguf *gguf, const char *begin, krait_error *error)
{
    for (size_t i = 1; i < gguf->n_tensors; i++) {
        const kr_tensor *before = &gguf->tensors[i - 1], *t = &gguf->tensors[i];
        const char *end = (const char *)before->data + bytes_of(before);
        if ((const char *)t->data < end)
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: tensor %.80s: offset: expected at least %td, where %.80s ends, found %td: they overlap",
                           gguf->file, t->name, end - begin, before->name, (const char *)t->data - begin);
    }
    return KRAIT_OK;
}

static krait_status read_alignment(const kr_gguf *gguf, size_t *alignment, krait_error *error)
{
    const kr_gguf_value *value = kr_gguf_find(gguf, "general.alignment");
    double number = KR_GGUF_ALIGNMENT;
    char found[96];
    bool fine = !value || (value->type == KR_GGUF_U32 && kr_gguf_number(value, &number));
    *alignment = (size_t)number;
    if (fine && *alignment && (*alignment & (*alignment - 1)) == 0) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: general.alignment: expected a power of two of type u32, found %s", gguf->file,
                   kr_gguf_describe(value, found, sizeof found));
}

/* Where each tensor's data are; `offsets` from where the data begin. */
static krait_status place_tensors(cursor *c, kr_gguf *gguf, const uint64_t *offsets)
{
    size_t alignment;
    krait_status status = read_alignment(gguf, &alignment, c->error);
    if (status) return status;
    size_t padding = -c->at & (alignment - 1), size = left(c) > padding ? left(c) - padding : 0;
    const char *begin = c->file->data + (size ? c->at + padding : c->file->size);
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        kr_tensor *tensor = &gguf->tensors[i];
        size_t bytes = bytes_of(tensor);
        unsigned long long offset = offsets[i];
        snprintf(c->entry, sizeof c->entry, "tensor %.80s", tensor->name);
        if (offset % alignment != 0)
            return FAIL(c, KRAIT_ERROR_FORMAT, "offset: expected a multiple of %zu, found %llu", alignment, offset);
        if (offset > size || bytes > size - offset)
            return FAIL(c, KRAIT_ERROR_FORMAT, "expected its %zu bytes at offset %llu, found %zu bytes of data in the file",
                        bytes, offset, size);
        tensor->data = begin + offset;
    }
    qsort(gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, compare_places);
    return check_overlaps(gguf, begin, c->error);
}

static krait_status take_tensors(cursor *c, kr_arena *arena, kr_gguf *gguf, size_t count)
{
    uint64_t *offsets = kr_alloc(count, sizeof *offsets);
    gguf->tensors = kr_arena_alloc(arena, count, sizeof *gguf->tensors);
    krait_status status = KRAIT_OK;
    if (!gguf->tensors || !offsets) status = kr_fail_memory(c->error, "a list of tensors", count * sizeof *gguf->tensors);
    for (; gguf->n_tensors < count && !status; gguf->n_tensors++)
        status = take_tensor(c, arena, gguf->n_tensors, &gguf->tensors[gguf->n_tensors], &offsets[gguf->n_tensors]);
    if (!status) status = place_tensors(c, gguf, offsets);
    kr_free(offsets);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static krait_status take_version(cursor *c, uint32_t *version)
{
    krait_status status = take_u32(c, "version", version);
    if (status || (*version >= KR_GGUF_OLDEST_VERSION && *version <= KR_GGUF_VERSION)) return status;
    if ((*version & 0xffff) == 0 && *version)
        return kr_fail(c->error, KRAIT_ERROR_UNSUPPORTED, "%s: expected a little-endian GGUF file, found a big-endian one",
                       c->file->name);
    return kr_fail(c->error, KRAIT_ERROR_UNSUPPORTED, "%s: version: expected 2 or 3, found %u%s", c->file->name,
                   (unsigned)*version, *version == 1 ? ": make the file anew from the original model" : "");
}

krait_status kr_gguf_read(kr_gguf *result, kr_arena *arena, const kr_file *file, krait_error *error)
{
    *result = (kr_gguf){ .file = file->name };
    cursor c = { .file = file, .at = 4, .entry = "header", .element = SIZE_MAX, .error = error };
    if (!kr_gguf_is(file->data, file->size))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a GGUF file, found %zu bytes of something else", file->name,
                       file->size);
    kr_gguf gguf = *result;
    uint64_t n_tensors = 0, n_values = 0;
    krait_status status = take_version(&c, &gguf.version);
    if (!status) status = take_u64(&c, "number of tensors", &n_tensors);
    if (!status) status = take_u64(&c, "number of metadata", &n_values);
    if (!status) status = check_count(&c, "number of tensors", n_tensors, TENSOR_LEAST);
    if (!status) status = check_count(&c, "number of metadata", n_values, VALUE_LEAST);
    if (!status) status = take_values(&c, arena, &gguf, (size_t)n_values);
    if (!status) status = take_tensors(&c, arena, &gguf, (size_t)n_tensors);
    if (!status) *result = gguf;
    return status;
}
