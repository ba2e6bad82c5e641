#include "formats/gguf_write.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"

typedef struct kr_gguf_bytes bytes;

/* ---- the head ---------------------------------------------------------------------------------------------------- */

static void append(kr_gguf_writer *writer, bytes *to, const void *data, size_t size)
{
    size_t needed;
    if (writer->out_of_memory || size == 0) return;
    if (!kr_add(to->size, size, &needed)) writer->out_of_memory = true;
    if (!writer->out_of_memory && needed > to->capacity) {
        size_t capacity = to->capacity < 512 ? 1024 : 2 * to->capacity;
        if (capacity < needed) capacity = needed;
        char *grown = kr_realloc(to->data, capacity, 1);
        if (grown) {
            to->data = grown;
            to->capacity = capacity;
        }
        writer->out_of_memory = !grown;
    }
    if (writer->out_of_memory) return;
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

static void append_u32(kr_gguf_writer *writer, bytes *to, uint32_t value) { append(writer, to, &value, sizeof value); }

static void append_u64(kr_gguf_writer *writer, bytes *to, uint64_t value) { append(writer, to, &value, sizeof value); }

static void append_string(kr_gguf_writer *writer, bytes *to, const char *text, size_t length)
{
    append_u64(writer, to, length);
    append(writer, to, text, length);
}

static void append_key(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type)
{
    append_string(writer, &writer->values, key, strlen(key));
    append_u32(writer, &writer->values, type);
    writer->n_values++;
}

static size_t size_of(kr_gguf_value_type type)
{
    static const size_t sizes[] = {
        [KR_GGUF_U8] = 1,  [KR_GGUF_I8] = 1,   [KR_GGUF_U16] = 2, [KR_GGUF_I16] = 2, [KR_GGUF_U32] = 4, [KR_GGUF_I32] = 4,
        [KR_GGUF_F32] = 4, [KR_GGUF_BOOL] = 1, [KR_GGUF_U64] = 8, [KR_GGUF_I64] = 8, [KR_GGUF_F64] = 8
    };
    assert(type < KR_GGUF_VALUE_TYPES && sizes[type]);
    return sizes[type];
}

void kr_gguf_put(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type, const void *value)
{
    append_key(writer, key, type);
    append(writer, &writer->values, value, size_of(type));
}

void kr_gguf_put_u32(kr_gguf_writer *writer, const char *key, uint32_t value) { kr_gguf_put(writer, key, KR_GGUF_U32, &value); }

void kr_gguf_put_f32(kr_gguf_writer *writer, const char *key, float value) { kr_gguf_put(writer, key, KR_GGUF_F32, &value); }

void kr_gguf_put_bool(kr_gguf_writer *writer, const char *key, bool value)
{
    uint8_t byte = value;
    kr_gguf_put(writer, key, KR_GGUF_BOOL, &byte);
}

void kr_gguf_put_string(kr_gguf_writer *writer, const char *key, const char *text, size_t length)
{
    append_key(writer, key, KR_GGUF_STRING);
    append_string(writer, &writer->values, text, length);
}

void kr_gguf_put_text(kr_gguf_writer *writer, const char *key, const char *text)
{
    kr_gguf_put_string(writer, key, text, strlen(text));
}

static void append_array(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type, size_t count)
{
    append_key(writer, key, KR_GGUF_ARRAY);
    append_u32(writer, &writer->values, type);
    append_u64(writer, &writer->values, count);
}

void kr_gguf_put_array(kr_gguf_writer *writer, const char *key, kr_gguf_value_type type, const void *values, size_t count)
{
    append_array(writer, key, type, count);
    append(writer, &writer->values, values, count * size_of(type));
}

void kr_gguf_put_strings(kr_gguf_writer *writer, const char *key, size_t count)
{
    append_array(writer, key, KR_GGUF_STRING, count);
}

void kr_gguf_add_string(kr_gguf_writer *writer, const char *text, size_t length)
{
    append_string(writer, &writer->values, text, length);
}

static uint64_t padding(uint64_t size) { return (KR_GGUF_ALIGNMENT - size % KR_GGUF_ALIGNMENT) % KR_GGUF_ALIGNMENT; }

void kr_gguf_put_tensor(kr_gguf_writer *writer, const char *name, krait_dtype dtype, int n_dims, const uint64_t *shape)
{
    const kr_gguf_type *type = kr_gguf_type_of_dtype(dtype);
    kr_tensor tensor = { .dtype = dtype, .n_dims = n_dims };
    size_t size;
    assert(type && n_dims >= 1 && n_dims <= KR_GGUF_MAX_DIMS && strlen(name) <= KR_GGUF_MAX_NAME);
    assert(shape[n_dims - 1] % type->block == 0);
    memcpy(tensor.shape, shape, (size_t)n_dims * sizeof *shape);
    if (!kr_tensor_bytes(&tensor, &size)) size = 0;
    append_string(writer, &writer->tensors, name, strlen(name));
    append_u32(writer, &writer->tensors, (uint32_t)n_dims);
    for (int i = n_dims - 1; i >= 0; i--) append_u64(writer, &writer->tensors, shape[i]);
    append_u32(writer, &writer->tensors, type->id);
    append_u64(writer, &writer->tensors, writer->data_size);
    writer->data_size += size + padding(size);
    writer->n_tensors++;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static krait_status fill_up(kr_gguf_writer *writer, uint64_t size, krait_error *error)
{
    static const char zeros[KR_GGUF_ALIGNMENT];
    return kr_writer_write(&writer->file, zeros, padding(size), error);
}

krait_status kr_gguf_begin(kr_gguf_writer *writer, const char *path, krait_error *error)
{
    if (writer->out_of_memory)
        return kr_fail_memory(error, "the head of a GGUF file", writer->values.size + writer->tensors.size);
    krait_status status = kr_writer_open(&writer->file, path, error);
    if (status) return status;
    writer->open = true;
    const uint32_t version = KR_GGUF_VERSION;
    const struct {
        const void *data;
        size_t size;
    } parts[] = { { KR_GGUF_MAGIC, 4 },
                  { &version, sizeof version },
                  { &writer->n_tensors, sizeof writer->n_tensors },
                  { &writer->n_values, sizeof writer->n_values },
                  { writer->values.data, writer->values.size },
                  { writer->tensors.data, writer->tensors.size } };
    uint64_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++) {
        if (parts[i].size) status = kr_writer_write(&writer->file, parts[i].data, parts[i].size, error);
        size += parts[i].size;
    }
    return status ? status : fill_up(writer, size, error);
}

krait_status kr_gguf_write(kr_gguf_writer *writer, const void *data, size_t size, krait_error *error)
{
    writer->written += size;
    return kr_writer_write(&writer->file, data, size, error);
}

krait_status kr_gguf_end_tensor(kr_gguf_writer *writer, krait_error *error)
{
    krait_status status = fill_up(writer, writer->written, error);
    writer->written += padding(writer->written);
    return status;
}

static void free_head(kr_gguf_writer *writer)
{
    kr_free(writer->values.data);
    kr_free(writer->tensors.data);
    memset(writer, 0, sizeof *writer);
}

krait_status kr_gguf_commit(kr_gguf_writer *writer, krait_error *error)
{
    assert(writer->open && writer->written == writer->data_size);
    krait_status status = kr_writer_commit(&writer->file, error);
    free_head(writer);
    return status;
}

void kr_gguf_abandon(kr_gguf_writer *writer)
{
    if (writer->open) kr_writer_abandon(&writer->file);
    free_head(writer);
}
