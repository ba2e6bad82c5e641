/* The file that `krait run --prompts` writes: a JSON object per line, in the order of the prompts, each line written at once when
 * it is its turn. What a run leaves behind when it is interrupted, even killed, is whole lines and at most one that is cut: the
 * next run goes on there. The first line's first field, "run", says of what run it is. */
#ifndef KR_CLI_RESULTS_H
#define KR_CLI_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "krait/krait.h"

/* What must be the same for a run to go on with the lines of another. */
typedef struct kr_run_key {
    uint64_t prompts, model, options; /* hashes */
} kr_run_key;

typedef struct kr_results {
    const char *name;
    int fd;         /* -1: stdout */
    bool resumable; /* it is a regular file and the prompts can be read again: the first line has a key */
    char key[80];   /* "prompts HASH model HASH options HASH" */
    uint64_t n;     /* whole lines that were there */
    uint64_t n_bad; /* of them, those with an error */
    bool cut;       /* behind them was a line that was not whole; it was dropped */
} kr_results;

/* Opens, or makes, the file ("-": stdout), counts the lines of an earlier run, and drops the rest of a cut one. Refused without
 * a change: a file that is something else, that is of other prompts, another model or other options, or that another program has open here;
 * and with `again` false, one that is not empty. */
krait_status kr_results_open(kr_results *results, const char *path, const kr_run_key *key, bool again, krait_error *error);
/* Appends a line, its newline included. */
krait_status kr_results_put(kr_results *results, const char *line, size_t length, krait_error *error);
/* Syncs and closes. Safe on a zeroed one that was never opened, when fd is -1. */
krait_status kr_results_close(kr_results *results, krait_error *error);

#endif
