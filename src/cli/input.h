/* What a subcommand is given to work on: files, stdin, and ids written as numbers. */
#ifndef KR_CLI_INPUT_H
#define KR_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "krait/krait.h"

/* All bytes of a file, or of stdin when `path` is "-" or NULL; a NUL follows them that `size` does not count. Free with
 * kr_free(). */
krait_status kr_input_read(const char *path, char **data, size_t *size, krait_error *error);
/* Makes LF of the line ends CR LF, in place; returns the size that is left. */
size_t kr_input_drop_returns(char *text, size_t size);
/* Whether stdin is a file or a pipe rather than somebody at a keyboard. */
bool kr_input_on_stdin(void);

/* Ids as decimal numbers between commas and white space, each of which must fit an int32_t. `name` begins the error. An empty list
 * gives no ids and is no error. Free with kr_free(). */
krait_status kr_input_ids(const char *name, const char *text, size_t size, int32_t **ids, size_t *n, krait_error *error);
/* The list of an --ids option as ids. */
krait_status kr_input_ids_of_counts(const kr_counts *counts, int32_t **ids, size_t *n, krait_error *error);

/* Checks that ids are in [0, vocab_size), so that a long run does not find out late. */
krait_status kr_input_check_ids(const int32_t *ids, size_t n, int64_t vocab_size, krait_error *error);

/* Whether a new file can be made at `path`, so that a long run does not find out late: its folder must be there and writable. */
krait_status kr_output_check(const char *path, krait_error *error);

#endif
