#include "cli/train_view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/report.h"

#define LIVE_INTERVAL  0.2 /* seconds from one picture of the living line to the next */
#define PLAIN_INTERVAL 10.0

void kr_train_view_begin(kr_train_view *view, const kr_command *command, bool quiet)
{
    *view = (kr_train_view){ .command = command, .quiet = quiet };
    view->live = !quiet && isatty(STDERR_FILENO);
    view->colour = view->live && kr_may_colour(stderr);
}

static void wipe(kr_train_view *view)
{
    if (view->shown) fputs("\r\033[K", stderr);
    view->shown = false;
}

void kr_train_view_end(kr_train_view *view) { wipe(view); }

/* "1:02:03", "4:05", "3 days" */
static kr_text left(double seconds)
{
    kr_text out;
    double s = seconds < 0 ? 0 : seconds;
    if (s >= 3 * 86400.0)
        snprintf(out.text, sizeof out.text, "%.0f days", s / 86400);
    else if (s >= 3600)
        snprintf(out.text, sizeof out.text, "%d:%02d:%02d", (int)(s / 3600), (int)s / 60 % 60, (int)s % 60);
    else
        snprintf(out.text, sizeof out.text, "%d:%02d", (int)s / 60, (int)s % 60);
    return out;
}

typedef struct line {
    char text[400];
    size_t used;
} line;

static void add(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(line *l, const char *format, ...)
{
    va_list args;
    if (l->used >= sizeof l->text) return;
    va_start(args, format);
    l->used += (size_t)vsnprintf(l->text + l->used, sizeof l->text - l->used, format, args);
    va_end(args);
}

static void describe(line *l, const krait_training_event *e)
{
    add(l, "step %s/%s", kr_text_count(e->step).text, kr_text_count(e->n_steps).text);
    add(l, "  loss %.4f", e->loss);
    if (!isnan(e->held_out_loss)) add(l, "  held-out %.4f", e->held_out_loss);
    add(l, "  lr %.2e  |g| %.3f", e->learning_rate, e->grad_norm);
    add(l, "  %s tok/s", kr_text_count((uint64_t)e->tokens_per_second).text);
    if (e->gemm_share > 0) add(l, "  %.0f%% GEMM", 100 * e->gemm_share);
    add(l, "  %s left", left(e->seconds_left).text);
}

/* As wide as the terminal: a line that wraps could not be wiped. */
static void put_living(kr_train_view *view, line *l)
{
    struct winsize size;
    size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
    l->text[columns < sizeof l->text ? columns : sizeof l->text - 1] = 0;
    fprintf(stderr, "\r\033[K%s", l->text);
    fflush(stderr);
    view->shown = true;
}

static void put_step(kr_train_view *view, const krait_training_event *e)
{
    double now = kr_now();
    line l = { .used = 0 };
    bool last = e->step == e->n_steps, first = view->put == 0;
    if (!last && !first && now - view->put < (view->live ? LIVE_INTERVAL : PLAIN_INTERVAL)) return;
    view->put = now;
    describe(&l, e);
    if (view->live)
        put_living(view, &l);
    else
        fprintf(stderr, "%s\n", l.text);
}

static void put_work(kr_train_view *view, const krait_training_event *e)
{
    line l = { .used = 0 };
    double now = kr_now();
    if (!view->live || now - view->put < LIVE_INTERVAL) return;
    view->put = now;
    add(&l, "%s: %s", e->text, kr_text_count(e->done).text);
    if (e->total) add(&l, " of %s", kr_text_count(e->total).text);
    put_living(view, &l);
}

static void put_evaluation(kr_train_view *view, const krait_training_event *e)
{
    bool best = !(e->best_held_out_loss < e->held_out_loss);
    wipe(view);
    fprintf(stderr, "step %s: held-out loss %.4f", kr_text_count(e->step).text, e->held_out_loss);
    if (!isnan(e->held_out_bits_per_byte)) fprintf(stderr, ", %.4f bits/byte", e->held_out_bits_per_byte);
    fprintf(stderr, "%s\n", best ? "" : " (not the best)");
}

static void put_sample(kr_train_view *view, const krait_training_event *e)
{
    wipe(view);
    if (view->colour) fputs(KR_DIM, stderr);
    for (const char *at = e->text; *at;) {
        size_t n = strcspn(at, "\n");
        fprintf(stderr, "    %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
    if (view->colour) fputs(KR_PLAIN, stderr);
}

bool kr_train_view_event(void *view_, const krait_training_event *event)
{
    kr_train_view *view = view_;
    if (event->type == KRAIT_TRAINING_NOTE) {
        wipe(view);
        fprintf(stderr, "krait %s: note: %s\n", view->command->name, event->text);
    }
    if (!view->quiet) switch (event->type) {
        case KRAIT_TRAINING_STEP: put_step(view, event); break;
        case KRAIT_TRAINING_EVALUATION: put_evaluation(view, event); break;
        case KRAIT_TRAINING_SAMPLE: put_sample(view, event); break;
        case KRAIT_TRAINING_CHECKPOINT:
            wipe(view);
            fprintf(stderr, "step %s: %s\n", kr_text_count(event->step).text, event->text);
            break;
        case KRAIT_TRAINING_WORK: put_work(view, event); break;
        case KRAIT_TRAINING_NOTE: break;
        }
    return !kr_interrupted();
}
