/* What the hub says, read: the files of a revision, and the shards that an index names. */
#ifndef KR_HUB_HUB_JSON_H
#define KR_HUB_HUB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"

/* More than any model has; what is above is an error. */
#define KR_HUB_MAX_FILES  100000
#define KR_HUB_MAX_SHARDS 4096
#define KR_HUB_MAX_JSON   ((size_t)64 << 20)

typedef struct kr_hub_entry {
    const char *name; /* kr_hub_is_file() */
    uint64_t size;
    char hash[65]; /* of the content: SHA-256, or as git has it (SHA-1 of "blob <size>\0" and the content); "": not said */
    bool is_sha256;
} kr_hub_entry;

typedef struct kr_hub_listing {
    char commit[41];
    const kr_hub_entry *files;
    size_t n;
} kr_hub_listing;

/* The answer to api/models/OWNER/NAME/revision/REVISION?blobs=true. `name` begins messages; all lives in the arena. A file name that
 * would leave its folder is an error. */
krait_status kr_hub_listing_read(kr_hub_listing *listing, kr_arena *arena, const char *name, const char *bytes, size_t size,
                                 krait_error *error);
/* The entry of that name, or NULL. */
const kr_hub_entry *kr_hub_listing_find(const kr_hub_listing *listing, const char *name);

/* An error when a config.json says that the model is of a family that cannot be run, before gigabytes of it come. What says nothing may be one. */
krait_status kr_hub_config_check(const char *name, const char *bytes, size_t size, krait_error *error);

/* The files that the weight_map of an index names, each once, in order. */
krait_status kr_hub_shards_read(const char *const **names, size_t *n, kr_arena *arena, const char *name, const char *bytes,
                                size_t size, krait_error *error);

#endif
