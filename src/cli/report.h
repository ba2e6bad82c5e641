/* What the program tells the person or script that runs it: failures, whether stdout took everything, figures. */
#ifndef KR_CLI_REPORT_H
#define KR_CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/options.h"
#include "krait/krait.h"

/* "krait run: message" on stderr. Returns the exit code that belongs to the status: 130 when interrupted, else 1. */
int kr_report_failure(const kr_command *command, const krait_error *error);

/* Whether stdout could not take what was written so far (flushes it). A program that writes for long asks now and then. */
bool kr_output_failed(void);
/* Flushes stdout and returns `code`, or 1 with a message when something could not be written (a full disk). A reader that went
 * away (EPIPE) has what it wanted: no message, and `code` as it is. */
int kr_output_finish(const kr_command *command, int code);

/* Whether text on this stream may be coloured: it is a terminal, TERM is not "dumb" and NO_COLOR is not set. */
bool kr_may_colour(FILE *stream);
#define KR_DIM   "\033[2m"
#define KR_PLAIN "\033[0m"

/* Seconds since some moment, monotonic. */
double kr_now(void);
/* Bytes of this process that are in memory now; 0 where the system does not say. */
uint64_t kr_resident_bytes(void);

/* "516.5 MB" and "129,135,360" into a buffer, which is returned. Units are powers of 1000. */
typedef struct kr_text {
    char text[32];
} kr_text;
kr_text kr_text_bytes(uint64_t bytes);
kr_text kr_text_count(uint64_t count);
/* "12.3 ms", "1.23 s" */
kr_text kr_text_seconds(double seconds);

/* A float as people write it: 1e-05, not the 9.999999747378752e-06 that it is as a double. */
void kr_json_put_float(kr_json_writer *json, float value);
/* Ends a JSON value with a newline; false (said on stderr) when memory ran out. */
bool kr_json_finish(const kr_command *command, kr_json_writer *json);

#endif
