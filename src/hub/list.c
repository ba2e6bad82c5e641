/* What is in the cache. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "hub/cache.h"

#define MAX_DEPTH 8 /* of folders in a snapshot */

typedef struct model_list {
    krait_hub_model *items;
    size_t n, capacity;
} model_list;

static krait_status append(model_list *list, const krait_hub_model *model, krait_error *error)
{
    if (list->n == list->capacity) {
        size_t larger = list->capacity ? 2 * list->capacity : 16;
        krait_hub_model *grown = kr_realloc(list->items, larger, sizeof *grown);
        if (!grown) return kr_fail_memory(error, "a list of models", larger * sizeof *grown);
        list->items = grown;
        list->capacity = larger;
    }
    list->items[list->n++] = *model;
    return KRAIT_OK;
}

static bool is_hidden(const char *name) { return name[0] == '.'; }

/* Bytes of the files below a folder, links followed; with `end`, of those whose name ends so. */
static uint64_t bytes_below(const char *folder, const char *end, int depth)
{
    char path[KR_HUB_PATH];
    struct stat info;
    uint64_t bytes = 0;
    DIR *directory = opendir(folder);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name), ends = end ? strlen(end) : 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (kr_hub_path(path, NULL, "%s/%s", folder, entry->d_name) || stat(path, &info) != 0) continue;
        if (S_ISDIR(info.st_mode)) {
            if (depth < MAX_DEPTH) bytes += bytes_below(path, end, depth + 1);
        } else if (S_ISREG(info.st_mode) && length >= ends && (!end || strcmp(entry->d_name + length - ends, end) == 0))
            bytes += (uint64_t)info.st_size;
    }
    closedir(directory);
    return bytes;
}

/* A name of the commit below refs/, in `revision`. "main" wins over others. */
static void find_revision(char revision[256], const char *root, kr_hub_name *name, const char *below, const char *commit,
                          int depth)
{
    char path[KR_HUB_PATH], found[65];
    struct stat info;
    if (kr_hub_path(path, NULL, "%s/%s/refs/%s", root, name->folder, below)) return;
    DIR *directory = opendir(path);
    if (!directory) return;
    for (struct dirent *entry; strcmp(revision, "main") != 0 && (entry = readdir(directory));) {
        char inner[KR_HUB_PATH];
        size_t length;
        if (is_hidden(entry->d_name) || kr_hub_path(inner, NULL, *below ? "%s/%s" : "%s%s", below, entry->d_name)) continue;
        if (kr_hub_path(path, NULL, "%s/%s/refs/%s", root, name->folder, inner) || stat(path, &info) != 0) continue;
        if (S_ISDIR(info.st_mode)) {
            if (depth < MAX_DEPTH) find_revision(revision, root, name, inner, commit, depth + 1);
            continue;
        }
        length = strlen(inner);
        if (!kr_hub_is_revision(inner, length)) continue;
        memcpy(name->revision, inner, length + 1);
        kr_hub_commit(found, root, name);
        if (strcmp(found, commit) == 0 && (!*revision || strcmp(inner, "main") == 0)) memcpy(revision, inner, length + 1);
    }
    closedir(directory);
}

static krait_status list_snapshots(model_list *list, const char *root, const char *folder, krait_error *error)
{
    char path[KR_HUB_PATH];
    kr_hub_name name;
    size_t before = list->n;
    if (!kr_hub_name_of_folder(&name, folder)) return KRAIT_OK;
    krait_status status = kr_hub_path(path, error, "%s/%s/snapshots", root, folder);
    DIR *directory = status ? NULL : opendir(path);
    for (struct dirent *entry; directory && !status && (entry = readdir(directory));) {
        krait_hub_model model = { 0 };
        size_t length = strlen(entry->d_name);
        if (!kr_hub_is_hash(entry->d_name, length, 40)) continue;
        memcpy(model.name, name.model, sizeof model.name);
        memcpy(model.commit, entry->d_name, length + 1);
        status = kr_hub_path(path, error, "%s/%s/snapshots/%s", root, folder, model.commit);
        /* An index that cannot be read is one that is not complete. */
        if (!status && kr_hub_is_complete(&model.complete, path, error) == KRAIT_ERROR_MEMORY) status = KRAIT_ERROR_MEMORY;
        if (status) break;
        model.bytes = bytes_below(path, NULL, 0);
        find_revision(model.revision, root, &name, "", model.commit, 0);
        status = append(list, &model, error);
    }
    if (directory) closedir(directory);
    if (status || list->n > before) return status;
    krait_hub_model model = { 0 };
    memcpy(model.name, name.model, sizeof model.name);
    status = kr_hub_path(path, error, "%s/%s/blobs", root, folder);
    if (status) return status;
    model.bytes = bytes_below(path, NULL, 0);
    return append(list, &model, error);
}

static int by_name(const void *a_, const void *b_)
{
    const krait_hub_model *a = a_, *b = b_;
    int order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->commit, b->commit);
}

krait_status krait_hub_list(krait_hub_model **models, size_t *n, const krait_hub_options *options, krait_error *error)
{
    static const krait_hub_options usual;
    char root[KR_HUB_PATH];
    model_list list = { 0 };
    if (!models || !n) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_list: models or n is NULL");
    *models = NULL;
    *n = 0;
    krait_status status = kr_hub_root(root, options ? options : &usual, error);
    if (status) return status;
    DIR *directory = opendir(root);
    if (!directory && errno == ENOENT) return KRAIT_OK;
    if (!directory) return errno == ENOMEM ? kr_fail_memory(error, root, 0) : kr_fail_errno(error, root, "read");
    for (struct dirent *entry; !status && (entry = readdir(directory));)
        status = list_snapshots(&list, root, entry->d_name, error);
    closedir(directory);
    if (status) {
        kr_free(list.items);
        return status;
    }
    if (list.n) qsort(list.items, list.n, sizeof *list.items, by_name);
    *models = list.items;
    *n = list.n;
    return KRAIT_OK;
}
