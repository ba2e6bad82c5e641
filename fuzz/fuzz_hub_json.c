/* The hub's JSON and the names that people type: whatever the bytes, an error, or names that stay inside their folder. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "hub/hub_json.h"
#include "hub/name.h"

static void check_file(const char *name)
{
    size_t length = strlen(name);
    if (!length || name[0] == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 || strstr(name, "/../")) abort();
    if (length >= 3 && strcmp(name + length - 3, "/..") == 0) abort();
    for (; *name; name++)
        if ((unsigned char)*name < 0x20) abort();
}

static void read_name(const uint8_t *data, size_t size)
{
    char text[600];
    kr_hub_name name;
    size_t length = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = 0;
    if (kr_hub_name_of_folder(&name, text) && strlen(name.folder) > length) abort();
    if (kr_hub_name_parse(&name, text, NULL)) return;
    check_file(name.model);
    check_file(name.folder);
    check_file(name.revision);
    if (strchr(name.folder, '/') || (name.file[0] && (check_file(name.file), strlen(name.file) >= length))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 };
    krait_error error;
    kr_hub_listing listing;
    const char *const *shards;
    size_t n;
    if (kr_hub_listing_read(&listing, &arena, "hub", (const char *)data, size, &error) == KRAIT_OK) {
        if (!kr_hub_is_hash(listing.commit, strlen(listing.commit), 40)) abort();
        for (size_t i = 0; i < listing.n; i++) {
            const kr_hub_entry *file = &listing.files[i];
            check_file(file->name);
            if (file->hash[0] && !kr_hub_is_hash(file->hash, strlen(file->hash), file->is_sha256 ? 64 : 40)) abort();
            if (!kr_hub_listing_find(&listing, file->name)) abort();
        }
    }
    if (kr_hub_shards_read(&shards, &n, &arena, "index", (const char *)data, size, &error) == KRAIT_OK) {
        if (!n || n > KR_HUB_MAX_SHARDS) abort();
        for (size_t i = 0; i < n; i++) {
            check_file(shards[i]);
            if (i && strcmp(shards[i - 1], shards[i]) >= 0) abort();
        }
    }
    kr_hub_config_check("hub", (const char *)data, size, &error);
    read_name(data, size);
    kr_arena_free(&arena);
    return 0;
}
