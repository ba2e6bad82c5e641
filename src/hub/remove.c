/* Taking models out of the cache. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hub/cache.h"

#define MAX_DEPTH 16

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* Removes a file, a link itself, or a folder with all in it. Adds the bytes of files to `bytes`. */
static krait_status remove_all(const char *path, uint64_t *bytes, int depth, krait_error *error)
{
    struct stat info;
    krait_status status = KRAIT_OK;
    if (lstat(path, &info) != 0) return errno == ENOENT ? KRAIT_OK : kr_fail_errno(error, path, "remove");
    if (!S_ISDIR(info.st_mode)) {
        if (unlink(path) != 0) return kr_fail_errno(error, path, "remove");
        if (S_ISREG(info.st_mode)) *bytes += (uint64_t)info.st_size;
        return KRAIT_OK;
    }
    errno = ELOOP;
    DIR *directory = depth < MAX_DEPTH ? opendir(path) : NULL;
    if (!directory) return kr_fail_errno(error, path, "remove");
    for (struct dirent *entry; !status && (entry = readdir(directory));) {
        char inner[KR_HUB_PATH];
        if (is_dots(entry->d_name)) continue;
        status = kr_hub_path(inner, error, "%s/%s", path, entry->d_name);
        if (!status) status = remove_all(inner, bytes, depth + 1, error);
    }
    closedir(directory);
    if (!status && rmdir(path) != 0) status = kr_fail_errno(error, path, "remove");
    return status;
}

/* An error while anybody holds one of the model's locks. */
static krait_status check_locks(const char *root, const kr_hub_name *name, krait_error *error)
{
    char path[KR_HUB_PATH];
    krait_status status = kr_hub_path(path, error, "%s/.locks/%s", root, name->folder);
    DIR *directory = status ? NULL : opendir(path);
    for (struct dirent *entry; directory && !status && (entry = readdir(directory));) {
        if (is_dots(entry->d_name)) continue;
        status = kr_hub_path(path, error, "%s/.locks/%s/%s", root, name->folder, entry->d_name);
        int fd = status ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) continue;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
            status = kr_fail(error, KRAIT_ERROR_IO, "%s: another process is downloading it", name->model);
        close(fd);
    }
    if (directory) closedir(directory);
    return status;
}

/* Whether a link below a folder ends in /blob. */
static bool is_linked(const char *folder, const char *blob, int depth)
{
    bool found = false;
    DIR *directory = depth < MAX_DEPTH ? opendir(folder) : NULL;
    for (struct dirent *entry; directory && !found && (entry = readdir(directory));) {
        char path[KR_HUB_PATH], target[KR_HUB_PATH];
        struct stat info;
        if (is_dots(entry->d_name) || kr_hub_path(path, NULL, "%s/%s", folder, entry->d_name) || lstat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode)) found = is_linked(path, blob, depth + 1);
        if (!S_ISLNK(info.st_mode)) continue;
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0) continue;
        target[n] = 0;
        const char *slash = strrchr(target, '/');
        found = strcmp(slash ? slash + 1 : target, blob) == 0;
    }
    if (directory) closedir(directory);
    return found;
}

/* Removes the refs to a commit that is no more. */
static krait_status remove_refs(const char *root, kr_hub_name *name, const char *below, const char *commit, int depth,
                                krait_error *error)
{
    char path[KR_HUB_PATH], inner[KR_HUB_PATH], found[65];
    krait_status status = kr_hub_path(path, error, "%s/%s/refs/%s", root, name->folder, below);
    DIR *directory = status || depth >= MAX_DEPTH ? NULL : opendir(path);
    for (struct dirent *entry; directory && !status && (entry = readdir(directory));) {
        if (is_dots(entry->d_name)) continue;
        status = kr_hub_path(inner, error, *below ? "%s/%s" : "%s%s", below, entry->d_name);
        if (!status) status = kr_hub_path(path, error, "%s/%s/refs/%s", root, name->folder, inner);
        if (status) break;
        if (kr_is_folder(path)) {
            status = remove_refs(root, name, inner, commit, depth + 1, error);
            continue;
        }
        if (!kr_hub_is_revision(inner, strlen(inner))) continue;
        memcpy(name->revision, inner, strlen(inner) + 1);
        kr_hub_commit(found, root, name);
        if (strcmp(found, commit) == 0 && unlink(path) != 0) status = kr_fail_errno(error, path, "remove");
    }
    if (directory) closedir(directory);
    return status;
}

static krait_status remove_unlinked(const char *root, const kr_hub_name *name, uint64_t *bytes, krait_error *error)
{
    char path[KR_HUB_PATH], snapshots[KR_HUB_PATH];
    krait_status status = kr_hub_path(snapshots, error, "%s/%s/snapshots", root, name->folder);
    if (!status) status = kr_hub_path(path, error, "%s/%s/blobs", root, name->folder);
    DIR *directory = status ? NULL : opendir(path);
    for (struct dirent *entry; directory && !status && (entry = readdir(directory));) {
        if (is_dots(entry->d_name) || is_linked(snapshots, entry->d_name, 0)) continue;
        status = kr_hub_path(path, error, "%s/%s/blobs/%s", root, name->folder, entry->d_name);
        if (!status) status = remove_all(path, bytes, 0, error);
    }
    if (directory) closedir(directory);
    return status;
}

static size_t count_folders(const char *path)
{
    size_t n = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) n += !is_dots(entry->d_name);
    if (directory) closedir(directory);
    return n;
}

static krait_status remove_model(const char *root, const kr_hub_name *name, uint64_t *bytes, krait_error *error)
{
    char path[KR_HUB_PATH];
    uint64_t of_locks = 0;
    /* What says that the model is complete goes first: an interruption leaves blobs, not half a model. */
    static const char *const parts[] = { "refs", "snapshots", "" };
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++) {
        status = kr_hub_path(path, error, *parts[i] ? "%s/%s/%s" : "%s/%s%s", root, name->folder, parts[i]);
        if (!status) status = remove_all(path, bytes, 0, error);
    }
    if (!status) status = kr_hub_path(path, error, "%s/.locks/%s", root, name->folder);
    return status ? status : remove_all(path, &of_locks, 0, error);
}

static krait_status remove_revision(const char *root, kr_hub_name *name, uint64_t *bytes, krait_error *error)
{
    char path[KR_HUB_PATH], commit[65];
    kr_hub_commit(commit, root, name);
    krait_status status = kr_hub_path(path, error, "%s/%s/snapshots/%s", root, name->folder, commit);
    if (status) return status;
    if (!*commit || !kr_is_folder(path))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: no revision %s in %s", name->model, name->revision, root);
    status = remove_refs(root, name, "", commit, 0, error);
    if (!status) status = remove_all(path, bytes, 0, error);
    if (!status) status = kr_hub_path(path, error, "%s/%s/snapshots", root, name->folder);
    if (status) return status;
    return count_folders(path) ? remove_unlinked(root, name, bytes, error) : remove_model(root, name, bytes, error);
}

krait_status krait_hub_remove(const char *text, uint64_t *bytes, const krait_hub_options *options, krait_error *error)
{
    static const krait_hub_options usual;
    char root[KR_HUB_PATH], path[KR_HUB_PATH];
    kr_hub_name name;
    uint64_t freed = 0;
    if (bytes) *bytes = 0;
    if (!text) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_remove: name is NULL");
    krait_status status = kr_hub_name_parse(&name, text, error);
    if (status) return status;
    if (name.file[0]) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected OWNER/NAME[@REVISION], found a file of it", text);
    status = kr_hub_root(root, options ? options : &usual, error);
    if (!status) status = kr_hub_path(path, error, "%s/%s", root, name.folder);
    if (status) return status;
    if (!kr_is_folder(path)) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: not in %s", name.model, root);
    status = check_locks(root, &name, error);
    if (!status)
        status = name.has_revision ? remove_revision(root, &name, &freed, error) : remove_model(root, &name, &freed, error);
    if (bytes) *bytes = freed;
    return status;
}
