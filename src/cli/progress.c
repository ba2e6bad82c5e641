#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/report.h"

#define DELAY    2.0 /* seconds of silence */
#define INTERVAL 0.2

void kr_progress_begin(kr_progress *progress, const kr_command *command, const char *unit)
{
    *progress = (kr_progress){ .command = command, .unit = unit, .began = kr_now(), .live = isatty(STDERR_FILENO) };
}

static bool report(void *user, const char *what, uint64_t done, uint64_t total)
{
    return kr_progress_report(user, what, done, total);
}

krait_progress kr_progress_callback(kr_progress *progress) { return (krait_progress){ .report = report, .user = progress }; }

bool kr_progress_report(kr_progress *progress, const char *what, uint64_t done, uint64_t total)
{
    if (kr_interrupted()) return false;
    if (!progress->live) return true;
    double now = kr_now(), elapsed = now - progress->began;
    if (elapsed < DELAY || now - progress->put < INTERVAL) return true;
    bool bytes = progress->unit && strcmp(progress->unit, KR_PROGRESS_BYTES) == 0;
    double rate = (double)done / elapsed;
    if (bytes && !progress->shown) {
        progress->since = now;
        progress->from = done;
    }
    if (bytes)
        rate = now > progress->since && done > progress->from ? (double)(done - progress->from) / (now - progress->since) : 0;
    progress->put = now;
    progress->shown = true;
    kr_text (*text)(uint64_t) = bytes ? kr_text_bytes : kr_text_count;
    fprintf(stderr, "\r\033[Kkrait %s: %s: %s", progress->command->name, what, text(done).text);
    if (total) fprintf(stderr, " of %s", text(total).text);
    if (progress->unit && !bytes) fprintf(stderr, " %s", progress->unit);
    if (bytes && rate > 0) fprintf(stderr, ", %s/s", kr_text_bytes((uint64_t)rate).text);
    if (!bytes) fprintf(stderr, rate < 10 ? ", %.1f/s" : ", %.0f/s", rate);
    if (total > done && rate > 0) {
        double left = (double)(total - done) / rate;
        if (left < 360000) fprintf(stderr, ", %d:%02d left", (int)left / 60, (int)left % 60);
    }
    fflush(stderr);
    return true;
}

void kr_progress_end(kr_progress *progress)
{
    if (progress->shown) fputs("\r\033[K", stderr);
    progress->shown = false;
}
