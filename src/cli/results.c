#include "cli/results.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/report.h"

static krait_status foreign(const kr_results *results, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "%s: exists, and is not of a krait run --prompts that could go on: expected a new name, or that it is removed",
                   results->name);
}

/* Says which part of the key differs. */
static krait_status check_key(const kr_results *results, const kr_json *found, krait_error *error)
{
    static const char *const parts[] = { "prompts", "model", "options" };
    static const char *const what[] = { "other prompts", "another model, tokenizer or instruction set", "other options" };
    if (!found || found->type != KR_JSON_STRING || found->length != strlen(results->key)) return foreign(results, error);
    for (size_t i = 0; i < 3; i++) {
        const char *at = strstr(results->key, parts[i]);
        size_t begin = (size_t)(at - results->key), length = strcspn(at + strlen(parts[i]) + 1, " ") + strlen(parts[i]) + 1;
        if (memcmp(found->string + begin, at, length) != 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "%s: was begun with %s: expected the same as then, a new name, or that the file is removed",
                           results->name, what[i]);
    }
    return kr_json_is(found, results->key) ? KRAIT_OK : foreign(results, error);
}

static krait_status check_line(kr_results *results, const char *line, size_t length, krait_error *error)
{
    kr_arena arena = { 0 };
    const kr_json *root;
    krait_status status = kr_json_parse(&root, &arena, results->name, line, length, error);
    const kr_json *index = status ? NULL : kr_json_get(root, "index");
    if (status == KRAIT_ERROR_MEMORY) {
        /* as it is */
    } else if (status && !results->n) {
        status = foreign(results, error);
    } else if (!index || index->type != KR_JSON_INTEGER || (uint64_t)index->integer != results->n) {
        status = results->n ? kr_fail(error, KRAIT_ERROR_FORMAT, "%s: line %" PRIu64 ": expected the result with index %" PRIu64,
                                      results->name, results->n + 1, results->n)
                            : foreign(results, error);
    } else if (!results->n) {
        status = check_key(results, kr_json_get(root, "run"), error);
    }
    if (!status) results->n_bad += kr_json_get(root, "error") != NULL;
    kr_arena_free(&arena);
    return status;
}

/* Reads what is there; *end is where its whole lines do. */
static krait_status read_lines(kr_results *results, FILE *file, off_t *end, krait_error *error)
{
    char first[128], *line = NULL;
    size_t capacity = 0, n_first = (size_t)snprintf(first, sizeof first, "{\"run\": \"%s\", \"index\": 0", results->key);
    krait_status status = KRAIT_OK;
    *end = 0;
    while (!status) {
        errno = 0;
        ssize_t n = getline(&line, &capacity, file);
        if (n < 0 && (ferror(file) || errno == ENOMEM)) status = kr_fail_errno(error, results->name, "read");
        if (n < 0) break;
        if (line[n - 1] == '\n') {
            status = check_line(results, line, (size_t)n - 1, error);
            results->n += !status;
            *end += n;
            continue;
        }
        /* A cut first line is ours only if it begins as ours. */
        size_t same = (size_t)n < n_first ? (size_t)n : n_first;
        if (!results->n && memcmp(line, first, same) != 0) status = foreign(results, error);
        results->cut = true;
        break;
    }
    free(line);
    return status;
}

static krait_status resume(kr_results *results, krait_error *error)
{
    off_t end;
    int again = dup(results->fd);
    FILE *file = again < 0 ? NULL : fdopen(again, "rb");
    if (!file) {
        krait_status status = kr_fail_errno(error, results->name, "read");
        if (again >= 0) close(again);
        return status;
    }
    krait_status status = read_lines(results, file, &end, error);
    fclose(file);
    if (!status && (ftruncate(results->fd, end) != 0 || lseek(results->fd, end, SEEK_SET) < 0))
        status = kr_fail_errno(error, results->name, "write");
    return status;
}

krait_status kr_results_open(kr_results *results, const char *path, const kr_run_key *key, bool again, krait_error *error)
{
    struct stat info;
    *results = (kr_results){ .name = path, .fd = -1 };
    snprintf(results->key, sizeof results->key, "prompts %016" PRIx64 " model %016" PRIx64 " options %016" PRIx64, key->prompts,
             key->model, key->options);
    if (strcmp(path, "-") == 0) {
        results->name = "stdout";
        return KRAIT_OK;
    }
    /* A pipe cannot be opened for both. */
    bool there = stat(path, &info) == 0, regular = !there || S_ISREG(info.st_mode);
    results->fd = open(path, (regular ? O_RDWR : O_WRONLY) | O_CREAT | O_CLOEXEC, 0666);
    if (results->fd < 0) return kr_fail_errno(error, path, "write");
    krait_status status = KRAIT_OK;
    if (!regular) return KRAIT_OK;
    if (flock(results->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        status = kr_fail(error, KRAIT_ERROR_IO, "%s: another krait is writing it", path);
    results->resumable = again;
    if (!status && again) status = resume(results, error);
    if (!status && !again && there && info.st_size > 0)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT,
                    "%s: exists: prompts that come through a pipe cannot be read again, so that nothing can go on in it", path);
    if (status) {
        close(results->fd);
        results->fd = -1;
    }
    return status;
}

krait_status kr_results_put(kr_results *results, const char *line, size_t length, krait_error *error)
{
    if (results->fd < 0) {
        fwrite(line, 1, length, stdout);
        return kr_output_failed() ? kr_fail(error, KRAIT_ERROR_IO, "stdout: cannot write") : KRAIT_OK;
    }
    while (length > 0) {
        ssize_t n = write(results->fd, line, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kr_fail_errno(error, results->name, "write");
        line += n;
        length -= (size_t)n;
    }
    return KRAIT_OK;
}

krait_status kr_results_close(kr_results *results, krait_error *error)
{
    krait_status status = KRAIT_OK;
    if (results->fd < 0) return KRAIT_OK;
    if (results->resumable && fsync(results->fd) != 0) status = kr_fail_errno(error, results->name, "write");
    if (close(results->fd) != 0 && !status) status = kr_fail_errno(error, results->name, "write");
    results->fd = -1;
    return status;
}
