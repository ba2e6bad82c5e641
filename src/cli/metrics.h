/* What a training run wrote about itself: metrics.jsonl, one JSON object a line.
 *
 *     {"step": 10, "tokens": 40960, "seconds": 3.4, "loss": 5.43, "lr": 1e-3, ...}
 *     {"step": 100, "tokens": 409600, "held_out_loss": 4.2}
 *     {"step": 100, "sample": "text"}
 *     {"event": "resumed", "step": 100}
 *
 * Every key with a number is a series, but for step, tokens and seconds, which say where its points stand. Other keys are passed over,
 * and so is a last line that was cut. A run that went on from an earlier step did those behind it once more: of points at
 * the same step the later ones count. */
#ifndef KR_CLI_METRICS_H
#define KR_CLI_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "krait/krait.h"

typedef enum kr_metrics_axis { KR_METRICS_STEPS = 0, KR_METRICS_TOKENS, KR_METRICS_SECONDS, KR_METRICS_N_AXES } kr_metrics_axis;

typedef struct kr_metrics_series {
    char *name;
    double *x[KR_METRICS_N_AXES]; /* [n] each; NaN where a line did not say */
    double *y;                    /* [n] finite */
    size_t n, capacity;
} kr_metrics_series;

#define KR_METRICS_MAX_SERIES 64
#define KR_METRICS_MAX_BAD    8

typedef struct kr_metrics_bad {
    uint64_t line; /* from 1 */
    char message[200];
} kr_metrics_bad;

typedef struct kr_metrics {
    char *path;                /* of the file */
    kr_metrics_series *series; /* [n_series], in the order in which they first occurred */
    size_t n_series;
    double *resumed; /* [n_resumed] steps at which the run went on after a pause */
    size_t n_resumed;
    uint64_t n_lines; /* not empty */
    bool cut;         /* behind them was one that was not whole */
    uint64_t n_bad;   /* lines that are no such object; the first of them: */
    kr_metrics_bad bad[KR_METRICS_MAX_BAD];
} kr_metrics;

/* `run` is a folder with metrics.jsonl in it, such a file, or "-". A broken line is no error, but one of them and nothing else is; so is a file
 * without any series. Free it also when this fails. */
krait_status kr_metrics_load(kr_metrics *metrics, const char *run, krait_error *error);
/* The same of bytes. */
krait_status kr_metrics_read(kr_metrics *metrics, const char *name, const char *bytes, size_t size, krait_error *error);
void kr_metrics_free(kr_metrics *metrics);
/* NULL: it has none of that name. */
const kr_metrics_series *kr_metrics_find(const kr_metrics *metrics, const char *name);

/* smooth[i]: the value at i of the straight line that fits the values around it best, `span` of them (fewer near the beginning and the
 * end), twice over. A mean that lags nowhere: neither behind a falling curve nor at its end. span 0 or 1 copies. KRAIT_ERROR_MEMORY. */
krait_status kr_metrics_smooth(double *smooth, const double *y, size_t n, size_t span, krait_error *error);

#endif
