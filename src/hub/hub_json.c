#include "hub/hub_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "hub/name.h"

static const char *copy(kr_arena *arena, const kr_json *text)
{
    char *bytes = kr_arena_alloc(arena, text->length + 1, 1);
    if (!bytes) return NULL;
    memcpy(bytes, text->string, text->length);
    bytes[text->length] = 0;
    return bytes;
}

static krait_status wrong(const char *name, const char *field, const char *expected, const kr_json *found, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected %s, found %s", name, field, expected,
                   !found                          ? "none"
                   : found->type == KR_JSON_STRING ? "another text"
                                                   : kr_json_type_name(found->type));
}

/* A hash of 40 or 64 digits, or nothing: what the hub does not say is missed only where the file is wanted. */
static krait_status read_hash(kr_hub_entry *entry, const char *name, const char *field, const kr_json *value, size_t digits,
                              krait_error *error)
{
    if (value->type != KR_JSON_STRING || !kr_hub_is_hash(value->string, value->length, digits))
        return wrong(name, field, digits == 64 ? "64 hexadecimal digits" : "40 hexadecimal digits", value, error);
    memcpy(entry->hash, value->string, digits);
    entry->hash[digits] = 0;
    entry->is_sha256 = digits == 64;
    return KRAIT_OK;
}

static krait_status read_size(uint64_t *size, const char *name, const kr_json *value, krait_error *error)
{
    if (value->type != KR_JSON_INTEGER || value->integer < 0) return wrong(name, "size", "a number of bytes", value, error);
    *size = (uint64_t)value->integer;
    return KRAIT_OK;
}

static krait_status read_entry(kr_hub_entry *entry, kr_arena *arena, const char *name, const kr_json *file, krait_error *error)
{
    const kr_json *path = kr_json_get(file, "rfilename"), *size = kr_json_get(file, "size"), *blob = kr_json_get(file, "blobId");
    const kr_json *lfs = kr_json_get(file, "lfs"), *sha256 = kr_json_get(lfs, "sha256");
    krait_status status = KRAIT_OK;
    if (!path || path->type != KR_JSON_STRING) return wrong(name, "siblings: rfilename", "the name of a file", path, error);
    if (!kr_hub_is_file(path->string, path->length))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: siblings: expected a file name inside the model, found \"%.*s\"", name,
                       path->length < 100 ? (int)path->length : 100, path->string);
    entry->name = copy(arena, path);
    if (!entry->name) return kr_fail_memory(error, "a file name", path->length);
    if (lfs && lfs->type == KR_JSON_OBJECT) {
        if (kr_json_get(lfs, "size")) size = kr_json_get(lfs, "size");
        if (!sha256) return wrong(name, "lfs: sha256", "a hash", sha256, error);
        status = read_hash(entry, name, "lfs: sha256", sha256, 64, error);
    } else if (blob && blob->type != KR_JSON_NULL)
        status = read_hash(entry, name, "blobId", blob, 40, error);
    if (!status && size && size->type != KR_JSON_NULL) status = read_size(&entry->size, name, size, error);
    if (!size || size->type == KR_JSON_NULL) entry->hash[0] = 0; /* of no use without a size */
    return status;
}

krait_status kr_hub_listing_read(kr_hub_listing *listing, kr_arena *arena, const char *name, const char *bytes, size_t size,
                                 krait_error *error)
{
    const kr_json *root;
    memset(listing, 0, sizeof *listing);
    if (size > KR_HUB_MAX_JSON) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: an answer of %zu bytes", name, size);
    krait_status status = kr_json_parse(&root, arena, name, bytes, size, error);
    if (status) return status;
    const kr_json *commit = kr_json_get(root, "sha"), *files = kr_json_get(root, "siblings");
    if (!commit || commit->type != KR_JSON_STRING || !kr_hub_is_hash(commit->string, commit->length, 40))
        return wrong(name, "sha", "40 hexadecimal digits", commit, error);
    if (!files || files->type != KR_JSON_ARRAY) return wrong(name, "siblings", "a list of files", files, error);
    if (files->length > KR_HUB_MAX_FILES)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: siblings: expected at most %d files, found %zu", name, KR_HUB_MAX_FILES,
                       files->length);
    kr_hub_entry *entries = kr_arena_alloc(arena, files->length + 1, sizeof *entries);
    if (!entries) return kr_fail_memory(error, "a list of files", files->length * sizeof *entries);
    memset(entries, 0, (files->length + 1) * sizeof *entries);
    size_t n = 0;
    for (const kr_json *file = files->first; file; file = file->next) {
        status = read_entry(&entries[n++], arena, name, file, error);
        if (status) return status;
    }
    memcpy(listing->commit, commit->string, 40);
    listing->files = entries;
    listing->n = n;
    return KRAIT_OK;
}

const kr_hub_entry *kr_hub_listing_find(const kr_hub_listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->n; i++)
        if (strcmp(listing->files[i].name, name) == 0) return &listing->files[i];
    return NULL;
}

krait_status kr_hub_config_check(const char *name, const char *bytes, size_t size, krait_error *error)
{
    const kr_json *root;
    kr_arena arena = { 0 };
    krait_status status = KRAIT_OK;
    if (size > KR_HUB_MAX_JSON) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: config.json: %zu bytes", name, size);
    const size_t length = strlen(name) + sizeof ": config.json";
    char *where = kr_arena_alloc(&arena, length, 1);
    if (!where) return kr_fail_memory(error, "a name", length);
    snprintf(where, length, "%s: config.json", name);
    status = kr_json_parse(&root, &arena, where, bytes, size, error);
    const kr_json *type = status ? NULL : kr_json_get(root, "model_type");
    if (type && type->type == KR_JSON_STRING && type->length) {
        char text[64];
        snprintf(text, sizeof text, "%.*s", type->length < 60 ? (int)type->length : 60, type->string);
        /* Fine-tuned models have names of their own; weights decide in the end. */
        if (!strstr(text, "mamba") || strstr(text, "mamba2"))
            status =
                kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                        "%s: model_type: expected mamba or falcon_mamba, found %s: its weights are not downloaded", where, text);
    }
    kr_arena_free(&arena);
    return status;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

krait_status kr_hub_shards_read(const char *const **names, size_t *n, kr_arena *arena, const char *name, const char *bytes,
                                size_t size, krait_error *error)
{
    const kr_json *root;
    *names = NULL;
    *n = 0;
    if (size > KR_HUB_MAX_JSON) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: an index of %zu bytes", name, size);
    krait_status status = kr_json_parse(&root, arena, name, bytes, size, error);
    if (status) return status;
    const kr_json *map = kr_json_get(root, "weight_map");
    if (!map || map->type != KR_JSON_OBJECT || !map->length)
        return wrong(name, "weight_map", "an object that names files", map && map->length ? map : NULL, error);
    const char **all = kr_arena_alloc(arena, map->length, sizeof *all);
    if (!all) return kr_fail_memory(error, "a list of files", map->length * sizeof *all);
    size_t count = 0, unique = 0;
    for (const kr_json *file = map->first; file; file = file->next) {
        if (file->type != KR_JSON_STRING || !kr_hub_is_file(file->string, file->length))
            return wrong(name, "weight_map", "the name of a file beside it", file, error);
        if (!(all[count++] = copy(arena, file))) return kr_fail_memory(error, "a file name", file->length);
    }
    qsort(all, count, sizeof *all, by_text);
    for (size_t i = 0; i < count; i++)
        if (!unique || strcmp(all[unique - 1], all[i]) != 0) all[unique++] = all[i];
    if (unique > KR_HUB_MAX_SHARDS)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: weight_map: expected at most %d files, found %zu", name, KR_HUB_MAX_SHARDS,
                       unique);
    *names = all;
    *n = unique;
    return KRAIT_OK;
}
