#include "cli/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/interrupt.h"

bool kr_input_on_stdin(void) { return !isatty(STDIN_FILENO); }

krait_status kr_input_read(const char *path, char **data, size_t *size, krait_error *error)
{
    bool is_stdin = !path || strcmp(path, "-") == 0;
    const char *name = is_stdin ? "stdin" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    size_t capacity = 0, used = 0;
    char *buffer = NULL;
    *data = NULL;
    *size = 0;
    if (!file) return kr_fail_errno(error, name, "open");
    errno = 0;
    for (;;) {
        if (used + 1 >= capacity) {
            size_t larger = capacity ? capacity * 2 : 1 << 16;
            char *grown = kr_realloc(buffer, larger, 1);
            if (!grown) {
                kr_fail_memory(error, name, larger);
                break;
            }
            buffer = grown;
            capacity = larger;
        }
        size_t n = fread(buffer + used, 1, capacity - used - 1, file);
        used += n;
        if (n) continue;
        if (ferror(file)) {
            if (kr_interrupted())
                kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: interrupted", name);
            else
                kr_fail_errno(error, name, "read");
            break;
        }
        if (!is_stdin) fclose(file);
        buffer[used] = 0;
        *data = buffer;
        *size = used;
        return KRAIT_OK;
    }
    if (!is_stdin) fclose(file);
    kr_free(buffer);
    return error->status;
}

size_t kr_input_drop_returns(char *text, size_t size)
{
    size_t to = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\r' || i + 1 == size || text[i + 1] != '\n') text[to++] = text[i];
    return to;
}

static bool is_separator(char c) { return c == ',' || c == ' ' || (c >= '\t' && c <= '\r'); }

krait_status kr_input_ids(const char *name, const char *text, size_t size, int32_t **ids, size_t *n, krait_error *error)
{
    size_t count = 0;
    *ids = NULL;
    *n = 0;
    for (size_t i = 0; i < size; i++) count += !is_separator(text[i]) && (i + 1 == size || is_separator(text[i + 1]));
    int32_t *list = kr_alloc(count, sizeof *list);
    if (!list) return kr_fail_memory(error, name, count * sizeof *list);
    count = 0;
    for (size_t i = 0; i < size;) {
        if (is_separator(text[i])) {
            i++;
            continue;
        }
        size_t begin = i;
        int64_t value = 0;
        for (; i < size && !is_separator(text[i]); i++) {
            bool digit = text[i] >= '0' && text[i] <= '9';
            value = digit && value <= INT32_MAX ? value * 10 + (text[i] - '0') : INT64_MAX / 16;
        }
        if (value > INT32_MAX) {
            kr_free(list);
            size_t length = i - begin < 40 ? i - begin : 40;
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: byte %zu: expected ids from 0 to %d, found \"%.*s\"", name, begin,
                           INT32_MAX, (int)length, text + begin);
        }
        list[count++] = (int32_t)value;
    }
    *ids = list;
    *n = count;
    return KRAIT_OK;
}

krait_status kr_input_ids_of_counts(const kr_counts *counts, int32_t **ids, size_t *n, krait_error *error)
{
    *n = 0;
    *ids = kr_alloc(counts->n, sizeof **ids);
    if (!*ids) return kr_fail_memory(error, "ids", counts->n * sizeof **ids);
    for (; *n < counts->n; ++*n) (*ids)[*n] = (int32_t)counts->items[*n];
    return KRAIT_OK;
}

krait_status kr_input_check_ids(const int32_t *ids, size_t n, int64_t vocab_size, krait_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "ids: position %zu: expected an id from 0 to %lld, found %d", i,
                           (long long)vocab_size - 1, (int)ids[i]);
    return KRAIT_OK;
}

krait_status kr_output_check(const char *path, krait_error *error)
{
    struct stat info;
    if (!*path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "expected the name of a file to write, found an empty one");
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            errno = EISDIR;
            return kr_fail_errno(error, path, "write");
        }
        if (!S_ISREG(info.st_mode)) return KRAIT_OK;
    }
    const char *slash = strrchr(path, '/');
    char *folder = slash ? kr_strndup(path, (size_t)(slash - path) + 1) : kr_strndup(".", 1);
    if (!folder) return kr_fail_memory(error, path, strlen(path));
    krait_status status = KRAIT_OK;
    if (access(folder, W_OK | X_OK) != 0) status = kr_fail_errno(error, path, "write");
    kr_free(folder);
    return status;
}
