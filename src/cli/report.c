#include "cli/report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static int output_errno; /* of the first write to stdout that failed; stdio itself remembers only that one did */

int kr_report_failure(const kr_command *command, const krait_error *error)
{
    if (error->status == KRAIT_ERROR_INTERRUPTED) {
        /* What a user may do about it, where the library says so: "interrupted: ...". */
        const bool says_more = strncmp(error->message, "interrupted: ", 13) == 0;
        fprintf(stderr, "krait %s: %s\n", command->name, says_more ? error->message : "interrupted");
        return KR_EXIT_INTERRUPTED;
    }
    fprintf(stderr, "krait %s: %s\n", command->name, error->message);
    return KR_EXIT_FAILURE;
}

bool kr_output_failed(void)
{
    if (output_errno) return true;
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) output_errno = errno ? errno : EIO;
    return output_errno != 0;
}

int kr_output_finish(const kr_command *command, int code)
{
    /* Some file systems report a full disk only on close. */
    if (!kr_output_failed() && fclose(stdout) != 0) output_errno = errno;
    if (!output_errno || output_errno == EPIPE) return code;
    fprintf(stderr, "krait %s: stdout: cannot write: %s\n", command->name, strerror(output_errno));
    return code == KR_EXIT_OK ? KR_EXIT_FAILURE : code;
}

bool kr_may_colour(FILE *stream)
{
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(stream)) && !(none && *none) && term && strcmp(term, "dumb") != 0;
}

double kr_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint64_t kr_resident_bytes(void)
{
    unsigned long long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

kr_text kr_text_bytes(uint64_t bytes)
{
    static const char *const unit[] = { "bytes", "kB", "MB", "GB", "TB", "PB", "EB" };
    kr_text out;
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 999.95 && i + 1 < KR_COUNT_OF(unit); i++) value /= 1000;
    snprintf(out.text, sizeof out.text, i ? "%.1f %s" : "%.0f %s", value, unit[i]);
    return out;
}

kr_text kr_text_count(uint64_t count)
{
    kr_text out;
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = out.text;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return out;
}

kr_text kr_text_seconds(double seconds)
{
    kr_text out;
    if (seconds < 1e-3)
        snprintf(out.text, sizeof out.text, "%.1f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(out.text, sizeof out.text, "%.2f ms", seconds * 1e3);
    else
        snprintf(out.text, sizeof out.text, "%.2f s", seconds);
    return out;
}

void kr_json_put_float(kr_json_writer *json, float value)
{
    char digits[32];
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (strtof(digits, NULL) == value) break;
    }
    kr_json_put_number(json, strtod(digits, NULL));
}

bool kr_json_finish(const kr_command *command, kr_json_writer *json)
{
    fputc('\n', stdout);
    if (!json->failed || kr_output_failed()) return true; /* the latter is told at the end, by kr_output_finish() */
    fprintf(stderr, "krait %s: out of memory\n", command->name);
    return false;
}
