/* One live line on stderr for work that takes long: "krait run: reading the prompt: 41,984 of 1,000,000 tokens, 9,100/s, 1:45 left". Only
 * on a terminal, and only after two seconds; it is wiped when the work is done. */
#ifndef KR_CLI_PROGRESS_H
#define KR_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"
#include "krait/krait.h"

/* As a unit: "12.3 MB of 516.5 MB, 8.1 MB/s". */
#define KR_PROGRESS_BYTES "bytes"

typedef struct kr_progress_mark {
    double time;
    uint64_t done;
} kr_progress_mark;

typedef struct kr_progress {
    const kr_command *command;
    const char *unit;              /* "tokens"; NULL: tensors, whatever the library counts, without a word; KR_PROGRESS_BYTES */
    double began, put;             /* times */
    kr_progress_mark older, newer; /* of bytes: since when their rate is measured, and from when on it will be */
    uint64_t total;                /* as last reported */
    bool live, shown;
} kr_progress;

void kr_progress_begin(kr_progress *progress, const kr_command *command, const char *unit);
/* A krait_progress whose report draws the line, and stops the work once Ctrl-C was pressed. */
krait_progress kr_progress_callback(kr_progress *progress);
/* The same called by hand; false: stop. */
bool kr_progress_report(kr_progress *progress, const char *what, uint64_t done, uint64_t total);
/* Wipes the line. Safe to call twice, and on a progress that showed nothing. */
void kr_progress_end(kr_progress *progress);

#endif
