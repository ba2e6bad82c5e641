#include "hub/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "hub/hub_json.h"

/* ---- where it is ------------------------------------------------------------------------------------------------- */

krait_status kr_hub_path(char path[KR_HUB_PATH], krait_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(path, KR_HUB_PATH, format, args);
    va_end(args);
    if (n >= 0 && n < KR_HUB_PATH) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%.200s...: expected a path of at most %d bytes", path, KR_HUB_PATH - 1);
}

const char *kr_hub_variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* The value of $NAME or ${NAME} at the beginning of `text`, and how long that is; NULL when it is none, or not set. */
static const char *leading_variable(const char *text, size_t *length)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    char name[256];
    const bool braces = text[0] == '$' && text[1] == '{';
    size_t n = text[0] == '$' ? strspn(text + 1 + braces, letters) : 0;
    if (!n || n >= sizeof name || (braces && text[2 + n] != '}')) return NULL;
    memcpy(name, text + 1 + braces, n);
    name[n] = 0;
    *length = n + 1 + 2 * (size_t)braces;
    return getenv(name);
}

krait_status kr_hub_expand(char path[KR_HUB_PATH], const char *text, krait_error *error)
{
    const char *home = kr_hub_variable("HOME"), *begin = text;
    size_t used = 0;
    while (*text) {
        size_t taken = 1;
        const bool is_home = text == begin && home && text[0] == '~' && (text[1] == '/' || !text[1]);
        const char *value = is_home ? home : leading_variable(text, &taken);
        size_t length = value ? strlen(value) : 1;
        if (length >= KR_HUB_PATH - used)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%.200s: expected a path of at most %d bytes", begin, KR_HUB_PATH - 1);
        memcpy(path + used, value ? value : text, length);
        used += length;
        text += value ? taken : 1;
    }
    path[used] = 0;
    return KRAIT_OK;
}

krait_status kr_hub_home(char path[KR_HUB_PATH], krait_error *error)
{
    char cache[KR_HUB_PATH];
    const char *home = kr_hub_variable("HF_HOME"), *user = kr_hub_variable("HOME");
    if (home) return kr_hub_expand(path, home, error);
    if ((home = kr_hub_variable("XDG_CACHE_HOME"))) {
        krait_status status = kr_hub_expand(cache, home, error);
        return status ? status : kr_hub_path(path, error, "%s/huggingface", cache);
    }
    if (user) return kr_hub_path(path, error, "%s/.cache/huggingface", user);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "no folder for models: expected HF_HUB_CACHE, HF_HOME or HOME in the environment");
}

krait_status kr_hub_root(char path[KR_HUB_PATH], const krait_hub_options *options, krait_error *error)
{
    const char *cache = kr_hub_variable("HF_HUB_CACHE");
    if (options->cache) return kr_hub_path(path, error, "%s", options->cache);
    if (!cache) cache = kr_hub_variable("HUGGINGFACE_HUB_CACHE"); /* as it was called before */
    if (cache) return kr_hub_expand(path, cache, error);
    char home[KR_HUB_PATH];
    krait_status status = kr_hub_home(home, error);
    return status ? status : kr_hub_path(path, error, "%s/hub", home);
}

const char *kr_hub_offline(const krait_hub_options *options)
{
    static const char *const yes[] = { "1", "true", "yes", "on" };
    const char *name = kr_hub_variable("HF_HUB_OFFLINE") ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE",
               *said = kr_hub_variable(name);
    for (size_t i = 0; said && i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(said, yes[i]) == 0) return name;
    return options->offline ? "" : NULL;
}

krait_status kr_hub_make_folder(const char *path, krait_error *error)
{
    char part[KR_HUB_PATH];
    krait_status status = kr_hub_path(part, error, "%s", path);
    if (status) return status;
    for (char *at = part + 1;; at++) {
        if (*at && *at != '/') continue;
        char end = *at;
        *at = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST && !kr_is_folder(part))
            return kr_fail_errno(error, part, "make the folder");
        *at = end;
        if (!end) break;
    }
    if (kr_is_folder(path)) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_IO, "%s: expected a folder, found a file", path);
}

krait_status kr_hub_make_parent(const char *path, krait_error *error)
{
    char folder[KR_HUB_PATH];
    krait_status status = kr_hub_path(folder, error, "%s", path);
    char *slash = status ? NULL : strrchr(folder, '/');
    if (!slash || slash == folder) return status;
    *slash = 0;
    return kr_hub_make_folder(folder, error);
}

/* ---- what is in it ----------------------------------------------------------------------------------------------- */

void kr_hub_commit(char commit[65], const char *root, const kr_hub_name *name)
{
    char path[KR_HUB_PATH];
    size_t length = strlen(name->revision);
    commit[0] = 0;
    if (kr_hub_path(path, NULL, "%s/%s/refs/%s", root, name->folder, name->revision)) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        char text[80];
        ssize_t got = read(fd, text, sizeof text - 1);
        close(fd);
        size_t n = got > 0 ? (size_t)got : 0;
        while (n && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' ')) n--;
        text[n] = 0;
        if (kr_hub_is_hash(text, n, 40)) memcpy(commit, text, n + 1);
    } else if (kr_hub_is_hash(name->revision, length, 40))
        memcpy(commit, name->revision, length + 1);
}

static bool has(const char *snapshot, const char *name)
{
    char path[KR_HUB_PATH];
    struct stat info;
    return !kr_hub_path(path, NULL, "%s/%s", snapshot, name) && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static krait_status has_shards(bool *complete, const char *snapshot, const char *index, krait_error *error)
{
    char path[KR_HUB_PATH];
    kr_arena arena = { 0 };
    kr_file file = { 0 };
    const char *const *names;
    size_t n = 0;
    krait_status status = kr_hub_path(path, error, "%s/%s", snapshot, index);
    if (!status) status = kr_file_open(&file, path, error);
    if (!status) status = kr_hub_shards_read(&names, &n, &arena, path, file.data, file.size, error);
    *complete = !status;
    for (size_t i = 0; !status && i < n; i++) *complete &= has(snapshot, names[i]);
    kr_file_close(&file);
    kr_arena_free(&arena);
    return status;
}

/* The files of which one alone is a model, as krait_checkpoint_open() takes a folder. */
static size_t count_weights(const char *snapshot, bool *gguf)
{
    size_t n = 0;
    *gguf = false;
    DIR *directory = opendir(snapshot);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        bool is_gguf = length > 5 && strcmp(entry->d_name + length - 5, ".gguf") == 0;
        if (!is_gguf && !(length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0)) continue;
        *gguf |= is_gguf;
        n += has(snapshot, entry->d_name);
    }
    closedir(directory);
    return n;
}

krait_status kr_hub_is_complete(bool *complete, const char *snapshot, krait_error *error)
{
    static const char *const weights[] = { "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                           "pytorch_model.bin.index.json" };
    bool config = has(snapshot, "config.json"), gguf;
    *complete = false;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        if (!has(snapshot, weights[i])) continue;
        *complete = config;
        return config && i % 2 == 1 ? has_shards(complete, snapshot, weights[i], error) : KRAIT_OK;
    }
    *complete = count_weights(snapshot, &gguf) == 1 && (gguf || config);
    return KRAIT_OK;
}

krait_status krait_hub_find(char **path, const char *text, const krait_hub_options *options, krait_error *error)
{
    static const krait_hub_options usual;
    char root[KR_HUB_PATH], found[KR_HUB_PATH], commit[65];
    kr_hub_name name;
    bool complete = false;
    if (!path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_find: path is NULL");
    *path = NULL;
    if (!text) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_find: name is NULL");
    krait_status status = kr_hub_name_parse(&name, text, error);
    if (!status) status = kr_hub_root(root, options ? options : &usual, error);
    if (status) return status;
    kr_hub_commit(commit, root, &name);
    if (!*commit) return KRAIT_OK;
    status = kr_hub_path(found, error, "%s/%s/snapshots/%s", root, name.folder, commit);
    if (!status && name.file[0]) {
        complete = has(found, name.file);
        status = kr_hub_path(found, error, "%s/%s/snapshots/%s/%s", root, name.folder, commit, name.file);
    } else if (!status)
        status = kr_hub_is_complete(&complete, found, error);
    if (status || !complete) return status;
    *path = kr_strndup(found, strlen(found));
    return *path ? KRAIT_OK : kr_fail_memory(error, "a path", strlen(found));
}
