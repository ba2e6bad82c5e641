/* Runs the real program: KRAIT_CLI, given by the build. */
#ifndef KRAIT_TESTS_CLI_H
#define KRAIT_TESTS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/json.h"
#include "fixture.h"

#define TINY   KRAIT_TEST_DATA "/models/tiny"
#define WIDE   KRAIT_TEST_DATA "/models/wide"
#define SOURCE KRAIT_TEST_DATA "/../.."

/* What a finished program left behind. The texts end with a NUL; free with cli_free(). */
typedef struct cli_result {
    int code;  /* its exit code, or 128 + the signal that ended it */
    char *out; /* [out_length] its stdout */
    size_t out_length;
    char *err;   /* its stderr */
    size_t peak; /* bytes that were resident at most */
} cli_result;

/* Runs `krait ARGUMENTS...`, NULL being the last, with `input` on stdin (NULL: an empty file). */
cli_result cli(const char *input, ...) __attribute__((sentinel));
/* The same with bytes that are no C string, and the arguments as a list that ends with NULL. */
cli_result cli_list(const char *input, size_t input_length, const char *const *arguments);
void cli_free(cli_result *result);

/* Starts it with pipes: to[1] writes to its stdin, from[0] reads its stdout and stderr. */
typedef struct cli_process {
    pid_t pid;
    int in, out;
    char seen[1 << 14]; /* what was read and not waited for yet */
    size_t used;
} cli_process;
cli_process cli_start(const char *const *arguments);
/* Reads its output to the end of the first `text` in it; false when the program ends before, or says nothing for a minute. */
bool cli_wait_for(cli_process *process, const char *text);
/* Closes the pipes and waits; its exit code as above. */
int cli_end(cli_process *process);
int cli_exit_code(int status);

/* Fails unless the exit code is `code`, and `text` is in stderr (or NULL). */
void assert_cli_(const cli_result *result, int code, const char *text, const char *file, int line);
#define assert_cli(result, code, text) assert_cli_(result, code, text, __FILE__, __LINE__)

/* The output as JSON, which must be valid. The tree lives in `arena`. */
const kr_json *cli_json(const cli_result *result, kr_arena *arena);
/* The number under a member's name, or under a.b; fails when there is none. */
double cli_json_number(const kr_json *object, const char *name);
/* Ids in text, or in a JSON list, into a new list. Free with free(). */
int32_t *cli_ids(const char *text, size_t *n);
int32_t *cli_json_ids(const kr_json *list, size_t *n);
/* "1,2,3": free with free(). */
char *cli_list_of(const int32_t *ids, size_t n);
void assert_ids(const int32_t *found, size_t n_found, const int32_t *expected, size_t n_expected);

/* A new empty folder, and a path in it into a buffer of its own (four are live at a time). */
const char *cli_folder(void);
const char *cli_path(const char *name);
/* How many files it holds; and its end with all of them. */
size_t cli_folder_count(void);
void cli_folder_remove(void);
/* Whole files. */
void cli_write(const char *path, const void *data, size_t size);
char *cli_read(const char *path, size_t *size);

#endif
