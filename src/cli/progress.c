#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/report.h"

#define DELAY    2.0 /* seconds of silence */
#define INTERVAL 0.2
#define WINDOW   5.0 /* seconds that the rate of bytes is measured over, at least; twice that at most */

void kr_progress_begin(kr_progress *progress, const kr_command *command, const char *unit)
{
    *progress = (kr_progress){ .command = command, .unit = unit, .began = kr_now(), .live = isatty(STDERR_FILENO) };
}

static bool report(void *user, const char *what, uint64_t done, uint64_t total)
{
    return kr_progress_report(user, what, done, total);
}

krait_progress kr_progress_callback(kr_progress *progress) { return (krait_progress){ .report = report, .user = progress }; }

/* Of bytes: what was there before has no part in it, nor has what came long ago, or was of another lot. */
static double recent_rate(kr_progress *progress, double now, uint64_t done, uint64_t total)
{
    const kr_progress_mark mark = { now, done };
    if (!progress->shown || total != progress->total || done < progress->older.done) progress->older = progress->newer = mark;
    progress->total = total;
    if (now - progress->newer.time >= WINDOW) {
        progress->older = progress->newer;
        progress->newer = mark;
    }
    const double seconds = now - progress->older.time;
    return seconds > 0 ? (double)(done - progress->older.done) / seconds : 0;
}

bool kr_progress_report(kr_progress *progress, const char *what, uint64_t done, uint64_t total)
{
    if (kr_interrupted()) return false;
    if (!progress->live) return true;
    double now = kr_now(), elapsed = now - progress->began;
    if (elapsed < DELAY || now - progress->put < INTERVAL) return true;
    bool bytes = progress->unit && strcmp(progress->unit, KR_PROGRESS_BYTES) == 0;
    double rate = bytes ? recent_rate(progress, now, done, total) : (double)done / elapsed;
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
