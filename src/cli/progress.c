#include "cli/progress.h"

#include <stdio.h>
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
    double rate = (double)done / elapsed;
    progress->put = now;
    progress->shown = true;
    fprintf(stderr, "\r\033[Kkrait %s: %s: %s", progress->command->name, what, kr_text_count(done).text);
    if (total) fprintf(stderr, " of %s", kr_text_count(total).text);
    if (progress->unit) fprintf(stderr, " %s", progress->unit);
    fprintf(stderr, rate < 10 ? ", %.1f/s" : ", %.0f/s", rate);
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
