#include "train/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "train/manifest.h"

#define STEP "step-"

char *kr_run_folder_path(const kr_run_folder *folder, const char *name) { return kr_join_path(folder->path, name); }

kr_step_name kr_run_step_name(uint64_t step)
{
    kr_step_name name;
    snprintf(name.text, sizeof name.text, STEP "%08llu", (unsigned long long)step);
    return name;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

/* A folder of files; what cannot be removed stays. */
static void remove_folder(const char *path)
{
    DIR *entries = opendir(path);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char *file = kr_join_path(path, entry->d_name);
        if (file && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlink(file);
        kr_free(file);
    }
    if (entries) closedir(entries);
    rmdir(path);
}

static char *with_ending(const kr_run_folder *folder, const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    char *whole = kr_realloc(NULL, n + m + 1, 1), *path = NULL;
    if (whole) {
        memcpy(whole, name, n);
        memcpy(whole + n, ending, m + 1);
        path = kr_join_path(folder->path, whole);
    }
    kr_free(whole);
    return path;
}

void kr_run_folder_remove(const kr_run_folder *folder, const char *name)
{
    char *path = kr_join_path(folder->path, name), *part = with_ending(folder, name, ".part");
    /* Renamed first, so that half of it is never taken for all of it. */
    if (path && part && kr_is_folder(path) && rename(path, part) == 0) remove_folder(part);
    kr_free(path);
    kr_free(part);
}

void kr_run_folder_abandon(const kr_run_folder *folder, const char *name)
{
    char *part = with_ending(folder, name, ".part");
    if (part && kr_is_folder(part)) remove_folder(part);
    kr_free(part);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static krait_status make_folders(const char *path, krait_error *error)
{
    char *copy = kr_strndup(path, strlen(path));
    if (!copy) return kr_fail_memory(error, "a path", strlen(path));
    krait_status status = KRAIT_OK;
    for (char *at = copy + 1; *at && !status; at++) {
        if (*at != '/') continue;
        *at = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) status = kr_fail_errno(error, copy, "make folder");
        *at = '/';
    }
    if (!status && mkdir(copy, 0777) != 0 && errno != EEXIST) status = kr_fail_errno(error, copy, "make folder");
    kr_free(copy);
    return status;
}

/* Whether a run may have been here before: its lock is. */
static krait_status check_content(const kr_run_folder *folder, krait_error *error)
{
    DIR *entries = opendir(folder->path);
    if (!entries) return kr_fail_errno(error, folder->path, "open");
    bool empty = true, run = false;
    for (struct dirent *entry; (entry = readdir(entries));) {
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
        run = run || strcmp(entry->d_name, "lock") == 0;
    }
    closedir(entries);
    if (empty || run) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "%s: expected a new or an empty folder, or that of a run, found something else in it", folder->path);
}

static krait_status take_lock(kr_run_folder *folder, krait_error *error)
{
    char *path = kr_join_path(folder->path, "lock"), owner[24] = "";
    if (!path) return kr_fail_memory(error, "a path", strlen(folder->path));
    krait_status status = KRAIT_OK;
    folder->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (folder->lock < 0)
        status = kr_fail_errno(error, path, "write");
    else if (flock(folder->lock, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = read(folder->lock, owner, sizeof owner - 1);
        if (n > 0) owner[strcspn(owner, "\n")] = 0;
        status = errno == EWOULDBLOCK || n >= 0 ? kr_fail(error, KRAIT_ERROR_IO, "%s: another process works in it%s%s",
                                                          folder->path, *owner ? ": " : "", owner)
                                                : kr_fail_errno(error, path, "lock");
    } else {
        int n = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
        if (ftruncate(folder->lock, 0) != 0 || pwrite(folder->lock, owner, (size_t)n, 0) != n) errno = 0; /* it is for people */
    }
    kr_free(path);
    return status;
}

static void put_in_order(const kr_run_folder *folder)
{
    DIR *entries = opendir(folder->path);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char *path = kr_join_path(folder->path, entry->d_name);
        if (path && ends_with(entry->d_name, ".part")) remove_folder(path);
        if (path && ends_with(entry->d_name, ".old")) {
            char *name = kr_strndup(path, strlen(path) - 4);
            if (name && kr_exists(name)) remove_folder(path);
            if (name && !kr_exists(name) && rename(path, name) != 0) errno = 0; /* it is found again the next time */
            kr_free(name);
        }
        kr_free(path);
    }
    if (entries) closedir(entries);
}

krait_status kr_run_folder_open(kr_run_folder *folder, const char *path, bool resume, krait_error *error)
{
    *folder = (kr_run_folder){ .lock = -1 };
    krait_status status = KRAIT_OK;
    folder->path = kr_strndup(path, strlen(path));
    if (!folder->path) return kr_fail_memory(error, "a path", strlen(path));
    char *lock = kr_join_path(path, "lock");
    if (!lock)
        status = kr_fail_memory(error, "a path", strlen(path));
    else if (resume && !kr_is_folder(path))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected the folder of a run, found none", path);
    else if (resume && !kr_exists(lock))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected the folder of a run, found another one", path);
    if (!status) status = make_folders(path, error);
    if (!status) status = check_content(folder, error);
    if (!status) status = take_lock(folder, error);
    if (!status) put_in_order(folder);
    kr_free(lock);
    if (status) kr_run_folder_close(folder);
    return status;
}

void kr_run_folder_close(kr_run_folder *folder)
{
    if (folder->path && folder->lock >= 0) close(folder->lock);
    kr_free(folder->path);
    *folder = (kr_run_folder){ .lock = -1 };
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool read_step(const char *name, uint64_t *step)
{
    size_t n = strlen(STEP);
    if (strncmp(name, STEP, n) != 0 || strspn(name + n, "0123456789") != strlen(name + n)) return false;
    size_t digits = strlen(name + n);
    if (digits < 8 || digits > 18) return false;
    *step = strtoull(name + n, NULL, 10);
    return true;
}

krait_status kr_run_folder_checkpoints(const kr_run_folder *folder, uint64_t **steps, size_t *n, krait_error *error)
{
    *steps = NULL;
    *n = 0;
    DIR *entries = opendir(folder->path);
    if (!entries) return kr_fail_errno(error, folder->path, "open");
    krait_status status = KRAIT_OK;
    uint64_t step;
    for (struct dirent *entry; !status && (entry = readdir(entries));) {
        if (!read_step(entry->d_name, &step)) continue;
        uint64_t *grown = kr_realloc(*steps, *n + 1, sizeof *grown);
        if (!grown) {
            status = kr_fail_memory(error, "a list of checkpoints", *n * sizeof *grown);
            break;
        }
        grown[(*n)++] = step;
        *steps = grown;
    }
    closedir(entries);
    if (status) {
        kr_free(*steps);
        *steps = NULL;
        *n = 0;
    }
    if (*n) qsort(*steps, *n, sizeof **steps, ascending);
    return status;
}

krait_status kr_run_folder_need(const kr_run_folder *folder, uint64_t bytes, krait_error *error)
{
    enum { MARGIN = 1 << 20 };
    struct statvfs info;
    if (statvfs(folder->path, &info) != 0) return kr_fail_errno(error, folder->path, "stat");
    uint64_t there = (uint64_t)info.f_bavail * info.f_frsize;
    if (there >= bytes + MARGIN) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_IO, "%s: no space for a checkpoint: expected %.1f MB, found %.1f MB free", folder->path,
                   1e-6 * (double)(bytes + MARGIN), 1e-6 * (double)there);
}

/* ---- folders in one piece ---------------------------------------------------------------------------------------- */

krait_status kr_run_folder_begin(const kr_run_folder *folder, const char *name, char **part, krait_error *error)
{
    *part = with_ending(folder, name, ".part");
    if (!*part) return kr_fail_memory(error, "a path", strlen(folder->path));
    if (kr_is_folder(*part)) remove_folder(*part);
    if (mkdir(*part, 0777) == 0) return KRAIT_OK;
    krait_status status = kr_fail_errno(error, *part, "make folder");
    kr_free(*part);
    *part = NULL;
    return status;
}

krait_status kr_run_folder_commit(const kr_run_folder *folder, const char *name, krait_error *error)
{
    char *part = with_ending(folder, name, ".part"), *old = with_ending(folder, name, ".old");
    char *path = kr_join_path(folder->path, name);
    krait_status status = KRAIT_OK;
    if (!part || !old || !path) status = kr_fail_memory(error, "a path", strlen(folder->path));
    if (!status) status = kr_manifest_write(part, error);
    if (!status && kr_is_folder(path) && rename(path, old) != 0) status = kr_fail_errno(error, path, "rename");
    if (!status && rename(part, path) != 0) status = kr_fail_errno(error, path, "rename to");
    if (!status) status = kr_sync_folder(folder->path, error);
    if (!status && kr_is_folder(old)) remove_folder(old);
    kr_free(part);
    kr_free(old);
    kr_free(path);
    return status;
}

krait_status kr_run_folder_link_last(const kr_run_folder *folder, const char *name, krait_error *error)
{
    char *link = kr_join_path(folder->path, "last"), *beside = kr_join_path(folder->path, "last.new");
    krait_status status = KRAIT_OK;
    if (!link || !beside) status = kr_fail_memory(error, "a path", strlen(folder->path));
    if (!status) unlink(beside); /* of a run that ended before it was renamed */
    if (!status && (symlink(name, beside) != 0 || rename(beside, link) != 0)) status = kr_fail_errno(error, link, "write");
    kr_free(link);
    kr_free(beside);
    return status;
}
