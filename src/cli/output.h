/* A new file that appears complete or not at all: written beside its name, synced, renamed. One that exists and is no regular file
 * (/dev/stdout, a pipe) is written directly. */
#ifndef KR_CLI_OUTPUT_H
#define KR_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "krait/krait.h"

typedef struct kr_output {
    const char *path;
    char *temporary; /* NULL: written directly */
    int fd;
    bool failed;       /* a write failed, */
    krait_error error; /* for this reason */
} kr_output;

krait_status kr_output_open(kr_output *out, const char *path, krait_error *error);
/* After the first failure it does nothing but fail; `error` may be NULL, since close tells it again. */
krait_status kr_output_write(kr_output *out, const void *data, size_t size, krait_error *error);
/* With status KRAIT_OK the file gets its name; with another, or after a failed write, nothing is left of it. Returns `status`, or
 * what went wrong here. */
krait_status kr_output_close(kr_output *out, krait_status status, krait_error *error);

#endif
