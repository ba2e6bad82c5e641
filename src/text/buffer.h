/* Arrays that grow: bytes and token ids. */
#ifndef KR_TEXT_BUFFER_H
#define KR_TEXT_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A zeroed one is empty and ready; kr_free(data) frees it. */
typedef struct kr_buffer {
    char *data;
    size_t length, capacity;
} kr_buffer;

typedef struct kr_ids {
    int32_t *data;
    size_t length, capacity;
} kr_ids;

/* Make room for `more` elements behind the length. On failure nothing has changed. */
krait_status kr_buffer_reserve(kr_buffer *buffer, size_t more, krait_error *error);
krait_status kr_ids_reserve(kr_ids *ids, size_t more, krait_error *error);

#endif
