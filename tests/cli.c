#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef KRAIT_CLI
#define KRAIT_CLI "" /* a build without the program has no tests of it, but this file is part of them all */
#endif
#define MAX_ARGUMENTS 64

static char folder[256];

/* ---- files ------------------------------------------------------------------------------------------------------- */

const char *cli_folder(void)
{
    const char *where = getenv("TMPDIR");
    if (!*folder) {
        snprintf(folder, sizeof folder, "%s/krait-test-XXXXXX", where && *where ? where : "/tmp");
        assert_non_null(mkdtemp(folder));
    }
    return folder;
}

const char *cli_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", cli_folder(), name);
    return path;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

static size_t visit_folder(bool and_remove)
{
    size_t n = 0;
    DIR *directory = opendir(cli_folder());
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        n++;
        if (and_remove) nftw(cli_path(entry->d_name), remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
    closedir(directory);
    return n;
}

size_t cli_folder_count(void) { return visit_folder(false); }

void cli_folder_remove(void)
{
    visit_folder(true);
    rmdir(folder);
    folder[0] = 0;
}

void cli_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static char *read_stream(FILE *file, size_t *size)
{
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(length + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, length, file), length);
    data[length] = 0;
    if (size) *size = length;
    return data;
}

char *cli_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s: %s", path, strerror(errno));
    char *data = read_stream(file, size);
    fclose(file);
    return data;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

int cli_exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

static void become(const char *const *arguments, int in, int out, int err)
{
    char *argv[MAX_ARGUMENTS + 2] = { (char *)KRAIT_CLI };
    size_t n = 1;
    while (*arguments) argv[n++] = (char *)*arguments++;
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execv(KRAIT_CLI, argv);
    perror(KRAIT_CLI);
    _exit(127);
}

cli_result cli_list(const char *input, size_t input_length, const char *const *arguments)
{
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    int status;
    assert_true(in && out && err);
    assert_int_equal(fwrite(input ? input : "", 1, input_length, in), input_length);
    fflush(in);
    rewind(in);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) become(arguments, fileno(in), fileno(out), fileno(err));
    struct rusage used;
    assert_int_equal(wait4(pid, &status, 0, &used), pid);
    cli_result result = { .code = cli_exit_code(status), .peak = (size_t)used.ru_maxrss * 1024 };
    result.out = read_stream(out, &result.out_length);
    result.err = read_stream(err, NULL);
    fclose(in);
    fclose(out);
    fclose(err);
    return result;
}

cli_result cli(const char *input, ...)
{
    const char *arguments[MAX_ARGUMENTS + 1];
    size_t n = 0;
    va_list list;
    va_start(list, input);
    while ((arguments[n] = va_arg(list, const char *))) assert_true(++n < MAX_ARGUMENTS);
    va_end(list);
    return cli_list(input, input ? strlen(input) : 0, arguments);
}

void cli_free(cli_result *result)
{
    free(result->out);
    free(result->err);
}

cli_process cli_start(const char *const *arguments)
{
    int to[2], from[2];
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) become(arguments, to[0], from[1], from[1]);
    close(to[0]);
    close(from[1]);
    return (cli_process){ .pid = pid, .in = to[1], .out = from[0] };
}

bool cli_wait_for(cli_process *process, const char *text)
{
    size_t length = strlen(text);
    for (;;) {
        char *found = memmem(process->seen, process->used, text, length);
        if (found) {
            size_t behind = (size_t)(found - process->seen) + length;
            process->used -= behind;
            memmove(process->seen, process->seen + behind, process->used);
            return true;
        }
        /* Keep what may be the text's beginning. */
        if (process->used >= length) {
            memmove(process->seen, process->seen + process->used - length + 1, length - 1);
            process->used = length - 1;
        }
        struct pollfd poll_in = { .fd = process->out, .events = POLLIN };
        if (poll(&poll_in, 1, 60000) <= 0) return false;
        ssize_t n = read(process->out, process->seen + process->used, sizeof process->seen - process->used);
        if (n <= 0) return false;
        process->used += (size_t)n;
    }
}

int cli_end(cli_process *process)
{
    int status;
    if (process->in >= 0) close(process->in);
    while (read(process->out, process->seen, sizeof process->seen) > 0) {}
    close(process->out);
    assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
    return cli_exit_code(status);
}

void assert_cli_(const cli_result *result, int code, const char *text, const char *file, int line)
{
    if (result->code != code || (text && !strstr(result->err, text)))
        fail_msg("%s:%d: expected exit code %d and \"%s\", found %d and \"%s\"", file, line, code, text ? text : "", result->code,
                 result->err);
}

/* ---- reading the output ------------------------------------------------------------------------------------------ */

const kr_json *cli_json(const cli_result *result, kr_arena *arena)
{
    krait_error error;
    const kr_json *root;
    if (kr_json_parse(&root, arena, "stdout", result->out, result->out_length, &error))
        fail_msg("%s: %s", error.message, result->out);
    return root;
}

double cli_json_number(const kr_json *object, const char *name)
{
    const char *dot = strchr(name, '.');
    char first[64];
    snprintf(first, sizeof first, "%.*s", dot ? (int)(dot - name) : (int)strlen(name), name);
    const kr_json *value = kr_json_get(object, first);
    if (value && dot) return cli_json_number(value, dot + 1);
    if (!value || (value->type != KR_JSON_INTEGER && value->type != KR_JSON_NUMBER)) fail_msg("no number %s", name);
    return kr_json_number(value);
}

int32_t *cli_ids(const char *text, size_t *n)
{
    int32_t *ids = malloc((strlen(text) + 1) * sizeof *ids);
    assert_non_null(ids);
    *n = 0;
    for (;;) {
        char *end;
        long id = strtol(text, &end, 10);
        if (end == text) break;
        ids[(*n)++] = (int32_t)id;
        text = end;
    }
    return ids;
}

int32_t *cli_json_ids(const kr_json *list, size_t *n)
{
    assert_true(list && list->type == KR_JSON_ARRAY);
    int32_t *ids = malloc((list->length + 1) * sizeof *ids);
    assert_non_null(ids);
    *n = 0;
    for (const kr_json *element = list->first; element; element = element->next) ids[(*n)++] = (int32_t)kr_json_number(element);
    return ids;
}

char *cli_list_of(const int32_t *ids, size_t n)
{
    char *text = malloc(n * 12 + 1), *at = text;
    assert_non_null(text);
    *at = 0;
    for (size_t i = 0; i < n; i++) at += sprintf(at, i ? ",%d" : "%d", (int)ids[i]);
    return text;
}

void assert_ids(const int32_t *found, size_t n_found, const int32_t *expected, size_t n_expected)
{
    assert_int_equal(n_found, n_expected);
    for (size_t i = 0; i < n_found; i++)
        if (found[i] != expected[i]) fail_msg("id %zu: expected %d, found %d", i, (int)expected[i], (int)found[i]);
}
