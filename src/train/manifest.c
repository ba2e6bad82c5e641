#include "train/manifest.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

static krait_status sync_path(const char *path, int flags, krait_error *error)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kr_fail_errno(error, path, "open");
    krait_status status = fsync(fd) == 0 ? KRAIT_OK : kr_fail_errno(error, path, "sync");
    close(fd);
    return status;
}

krait_status kr_sync_folder(const char *path, krait_error *error) { return sync_path(path, O_DIRECTORY, error); }

static krait_status put_file(kr_json_writer *json, const char *folder, const char *name, krait_error *error)
{
    char *path = kr_join_path(folder, name), sum[24];
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    kr_file file = { 0 };
    krait_status status = sync_path(path, 0, error);
    if (!status) status = kr_file_open(&file, path, error);
    if (!status) {
        snprintf(sum, sizeof sum, "%016llx", (unsigned long long)kr_file_checksum(&file));
        kr_json_open(json, '{');
        kr_json_key(json, "name"), kr_json_put_text(json, name);
        kr_json_key(json, "bytes"), kr_json_put_integer(json, (int64_t)file.size);
        kr_json_key(json, "checksum"), kr_json_put_text(json, sum);
        kr_json_close(json, '}');
    }
    kr_file_close(&file);
    kr_free(path);
    return status;
}

static krait_status put_files(kr_json_writer *json, const char *folder, krait_error *error)
{
    DIR *entries = opendir(folder);
    if (!entries) return kr_fail_errno(error, folder, "open");
    krait_status status = KRAIT_OK;
    kr_json_open(json, '{');
    kr_json_key(json, "files");
    kr_json_open(json, '[');
    for (struct dirent *entry; !status && (entry = readdir(entries));)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, KR_MANIFEST) != 0)
            status = put_file(json, folder, entry->d_name, error);
    kr_json_close(json, ']');
    kr_json_close(json, '}');
    closedir(entries);
    if (!status && json->failed) status = kr_fail_memory(error, KR_MANIFEST, json->capacity);
    return status;
}

krait_status kr_manifest_write(const char *folder, krait_error *error)
{
    kr_json_writer json = { .indent = 1 };
    kr_writer writer;
    char *path = kr_join_path(folder, KR_MANIFEST);
    krait_status status = path ? put_files(&json, folder, error) : kr_fail_memory(error, "a path", strlen(folder));
    if (!status) {
        status = kr_writer_open(&writer, path, error);
        if (!status && (status = kr_writer_write(&writer, json.buffer, json.length, error)))
            kr_writer_abandon(&writer);
        else if (!status)
            status = kr_writer_commit(&writer, error);
    }
    if (!status) status = kr_sync_folder(folder, error);
    kr_free(json.buffer);
    kr_free(path);
    return status;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

/* What must be: a plain name, bytes, and the sum's 16 digits. */
static bool read_entry(const kr_json *entry, char name[256], int64_t *bytes, char sum[17])
{
    const kr_json *n = kr_json_get(entry, "name"), *b = kr_json_get(entry, "bytes"), *s = kr_json_get(entry, "checksum");
    if (!n || n->type != KR_JSON_STRING || n->length == 0 || n->length >= 256 || memchr(n->string, '/', n->length)
        || memchr(n->string, 0, n->length))
        return false;
    if (!b || b->type != KR_JSON_INTEGER || b->integer < 0 || !s || s->type != KR_JSON_STRING || s->length != 16) return false;
    memcpy(name, n->string, n->length);
    name[n->length] = 0;
    memcpy(sum, s->string, 16);
    sum[16] = 0;
    *bytes = b->integer;
    return true;
}

static krait_status check_file(const char *folder, const char *name, int64_t bytes, const char *sum, krait_error *error)
{
    char *path = kr_join_path(folder, name), found[24];
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    kr_file file = { 0 };
    krait_status status = kr_file_open(&file, path, error);
    if (!status && file.size != (uint64_t)bytes)
        status =
            kr_fail(error, KRAIT_ERROR_FORMAT, "%s: damaged: expected %lld bytes, found %zu", path, (long long)bytes, file.size);
    if (!status) {
        snprintf(found, sizeof found, "%016llx", (unsigned long long)kr_file_checksum(&file));
        if (strcmp(found, sum) != 0)
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: damaged: expected checksum %s, found %s", path, sum, found);
    }
    kr_file_close(&file);
    kr_free(path);
    return status;
}

krait_status kr_manifest_check_bytes(const char *folder, const char *name, const char *bytes, size_t size, krait_error *error)
{
    kr_arena arena = { 0 };
    const kr_json *root;
    char file[256], sum[17];
    int64_t n_bytes;
    krait_status status = kr_json_parse(&root, &arena, name, bytes, size, error);
    const kr_json *files = status ? NULL : kr_json_get(root, "files");
    if (!status && (!files || files->type != KR_JSON_ARRAY || !files->length))
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: files: expected a list of files, found %s", name,
                         files ? kr_json_type_name(files->type) : "nothing");
    for (const kr_json *entry = status ? NULL : files->first; entry && !status; entry = entry->next)
        status = read_entry(entry, file, &n_bytes, sum)
                     ? check_file(folder, file, n_bytes, sum, error)
                     : kr_fail(error, KRAIT_ERROR_FORMAT, "%s: byte %zu: expected name, bytes and checksum of a file", name,
                               entry->offset);
    kr_arena_free(&arena);
    return status;
}

krait_status kr_manifest_check(const char *folder, krait_error *error)
{
    kr_file file = { 0 };
    char *path = kr_join_path(folder, KR_MANIFEST);
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    krait_status status = kr_file_open(&file, path, error);
    if (!status) status = kr_manifest_check_bytes(folder, path, file.data, file.size, error);
    kr_file_close(&file);
    kr_free(path);
    return status;
}
