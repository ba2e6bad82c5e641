#include "text/buffer.h"

#include "base/memory.h"

/* Half again as much as is needed, so that growing takes linear time; NULL when that cannot be had. */
static void *grow(void *data, size_t length, size_t more, size_t size, size_t *capacity)
{
    size_t wanted;
    if (!kr_add(length, more, &wanted) || !kr_add(wanted, wanted / 2, &wanted)) return NULL;
    void *grown = kr_realloc(data, wanted, size);
    if (grown) *capacity = wanted;
    return grown;
}

krait_status kr_buffer_reserve(kr_buffer *buffer, size_t more, krait_error *error)
{
    if (more <= buffer->capacity - buffer->length) return KRAIT_OK;
    char *data = grow(buffer->data, buffer->length, more, 1, &buffer->capacity);
    if (!data) return kr_fail_memory(error, "text", more);
    buffer->data = data;
    return KRAIT_OK;
}

krait_status kr_ids_reserve(kr_ids *ids, size_t more, krait_error *error)
{
    if (more <= ids->capacity - ids->length) return KRAIT_OK;
    int32_t *data = grow(ids->data, ids->length, more, sizeof *data, &ids->capacity);
    if (!data) return kr_fail_memory(error, "token ids", more);
    ids->data = data;
    return KRAIT_OK;
}
