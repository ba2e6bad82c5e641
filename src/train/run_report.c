/* What happens in a run, told to the caller and written into metrics.jsonl. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "train/run.h"

double kr_run_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double epoch(const krait_training *t)
{
    return (double)t->position.batch / (double)krait_dataset_batches_per_epoch(t->data.dataset);
}

/* Share of its time that a step would need for its products alone. */
static double share(const krait_training *t, double tokens_per_second)
{
    if (t->products_seconds <= 0 || tokens_per_second <= 0) return 0;
    return t->products_seconds * tokens_per_second / (double)t->data.tokens_per_step;
}

static void tell(krait_training *t, krait_training_event *event)
{
    const kr_position *p = &t->position;
    if (!t->options.on_event) return;
    event->step = p->step;
    event->n_steps = t->data.n_steps;
    event->tokens = p->tokens;
    event->epoch = t->data.dataset ? epoch(t) : 0;
    event->loss = t->last.loss;
    event->grad_norm = t->last.grad_norm;
    event->learning_rate = t->last.learning_rate;
    event->tokens_per_second = t->rate;
    event->gemm_share = share(t, t->rate);
    event->seconds = p->seconds;
    if (t->rate > 0) event->seconds_left = (double)(t->data.n_steps - p->step) * (double)t->data.tokens_per_step / t->rate;
    event->held_out_loss = p->held_out_loss;
    event->held_out_bits_per_byte = p->held_out_bits;
    event->best_held_out_loss = p->best_loss;
    if (!t->options.on_event(t->options.user, event)) t->stop = true;
}

void kr_run_tell(krait_training *training, krait_training_event_type type, const char *text)
{
    tell(training, &(krait_training_event){ .type = type, .text = text });
}

void kr_run_note(krait_training *training, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kr_make_printable(text);
    kr_run_tell(training, KRAIT_TRAINING_NOTE, text);
}

bool kr_run_progress(void *training, const char *what, uint64_t done, uint64_t total)
{
    krait_training *t = training;
    tell(t, &(krait_training_event){ .type = KRAIT_TRAINING_WORK, .text = what, .done = done, .total = total });
    return !t->stop;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static void put_count(kr_json_writer *line, const char *key, uint64_t value)
{
    kr_json_key(line, key);
    kr_json_put_integer(line, (int64_t)value);
}

static void put_number(kr_json_writer *line, const char *key, double value)
{
    kr_json_key(line, key);
    kr_json_put_number(line, value);
}

/* As people write it: six digits are enough for what is measured with a clock. */
static void put_measured(kr_json_writer *line, const char *key, double value)
{
    double scale = value > 0 ? pow(10, 5 - floor(log10(value))) : 1;
    put_number(line, key, round(value * scale) / scale);
}

/* A float as people write it: 1e-05, not the 9.999999747378752e-06 that it is as a double. */
static void put_float(kr_json_writer *line, const char *key, float value)
{
    char digits[32];
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (strtof(digits, NULL) == value) break;
    }
    put_number(line, key, strtod(digits, NULL));
}

static void put_time(kr_json_writer *line)
{
    char text[32];
    time_t now = time(NULL);
    struct tm parts;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    kr_json_key(line, "time");
    kr_json_put_text(line, text);
}

krait_status kr_run_put_step(krait_training *t, krait_error *error)
{
    kr_position *p = &t->position;
    double rate = p->log_seconds > 0 ? (double)p->log_tokens / p->log_seconds : 0;
    kr_json_writer line;
    kr_metrics_begin(&line);
    put_count(&line, "step", p->step);
    put_count(&line, "tokens", p->tokens);
    put_number(&line, "epoch", epoch(t));
    put_number(&line, "loss", p->log_targets ? p->log_nats / (double)p->log_targets : NAN);
    put_float(&line, "lr", (float)t->last.learning_rate);
    put_number(&line, "grad_norm", p->log_norm / (double)p->log_steps);
    put_measured(&line, "tokens_per_second", rate);
    put_measured(&line, "gemm_share", share(t, rate));
    put_measured(&line, "seconds", p->seconds);
    put_time(&line);
    p->log_nats = p->log_norm = p->log_seconds = 0;
    p->log_targets = p->log_steps = p->log_tokens = 0;
    return kr_metrics_end(&t->metrics, &line, error);
}

krait_status kr_run_put_evaluation(krait_training *t, uint64_t n_scored, krait_error *error)
{
    const kr_position *p = &t->position;
    kr_json_writer line;
    kr_metrics_begin(&line);
    put_count(&line, "step", p->step);
    put_count(&line, "tokens", p->tokens);
    put_number(&line, "held_out_loss", p->held_out_loss);
    if (!isnan(p->held_out_bits)) put_number(&line, "held_out_bits_per_byte", p->held_out_bits);
    put_count(&line, "held_out_tokens", n_scored);
    put_measured(&line, "seconds", p->seconds);
    return kr_metrics_end(&t->metrics, &line, error);
}

krait_status kr_run_put_sample(krait_training *t, const char *text, krait_error *error)
{
    kr_json_writer line;
    kr_metrics_begin(&line);
    put_count(&line, "step", t->position.step);
    kr_json_key(&line, "sample");
    kr_json_put_text(&line, text);
    return kr_metrics_end(&t->metrics, &line, error);
}

krait_status kr_run_put_event(krait_training *t, const char *name, const char *text, krait_error *error)
{
    kr_json_writer line;
    kr_metrics_begin(&line);
    kr_json_key(&line, "event");
    kr_json_put_text(&line, name);
    put_count(&line, "step", t->position.step);
    if (text) {
        kr_json_key(&line, "text");
        kr_json_put_text(&line, text);
    }
    put_time(&line);
    return kr_metrics_end(&t->metrics, &line, error);
}
