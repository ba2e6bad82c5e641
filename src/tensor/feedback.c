#include "tensor/feedback.h"

#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "tensor/tensor.h"

/* ---- the factor -------------------------------------------------------------------------------------------------- */

enum { PANEL = KR_FEEDBACK_PANEL };

/* y[i] -= sum of four multiples. */
static void subtract_four(float *restrict y, const float *a, const float *restrict x, size_t stride, size_t n)
{
    const float *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    for (size_t i = 0; i < n; i++) y[i] -= (a[0] * x[i] + a[1] * x1[i]) + (a[2] * x2[i] + a[3] * x3[i]);
}

typedef struct step {
    float *h;
    size_t n, begin, end; /* columns begin .. end-1 are R's by this step */
    float *turned;        /* [PANEL, n]: those columns, above `begin`, as rows; the last ones zeros */
} step;

/* R R^T = h on the diagonal block, from its end. */
static void factor_diagonal(float *h, size_t n, size_t begin, size_t end, float floor)
{
    for (size_t j = end; j-- > begin;) {
        float pivot = h[j * n + j];
        pivot = sqrtf(pivot > floor ? pivot : floor); /* exactly it is not below the damping */
        h[j * n + j] = pivot;
        for (size_t i = begin; i < j; i++) h[i * n + j] /= pivot;
        for (size_t i = begin; i < j; i++)
            for (size_t k = i; k < j; k++) h[i * n + k] -= h[i * n + j] * h[k * n + j];
    }
}

static void solve_share(void *context, int thread, int n_threads)
{
    const step *s = context;
    size_t first, last;
    kr_share(s->begin, 1, thread, n_threads, &first, &last);
    for (size_t i = first; i < last; i++) {
        float *row = s->h + i * s->n;
        for (size_t j = s->end; j-- > s->begin;) {
            float value = row[j];
            const float *r = s->h + j * s->n;
            for (size_t k = j + 1; k < s->end; k++) value -= row[k] * r[k];
            row[j] = value / r[j];
            s->turned[(j - s->begin) * s->n + i] = row[j];
        }
    }
}

static void subtract_share(void *context, int thread, int n_threads)
{
    const step *s = context;
    for (size_t i = (size_t)thread; i < s->begin; i += (size_t)n_threads) { /* rows become shorter: dealt out in turn */
        float values[PANEL] = { 0 };
        memcpy(values, s->h + i * s->n + s->begin, (s->end - s->begin) * sizeof *values);
        for (size_t k = 0; k < s->end - s->begin; k += 4)
            subtract_four(s->h + i * s->n + i, values + k, s->turned + k * s->n + i, s->n, s->begin - i);
    }
}

void kr_feedback_factor(float *moments, size_t n, float damping, float *h, float *importance, float *scratch, int threads)
{
    double trace = 0;
    for (size_t j = 0; j < n; j++) trace += (double)moments[j * n + j];
    float floor = (float)((double)damping * trace / (double)n);
    if (!(floor > 0)) floor = 1; /* nothing was seen: all errors are the same */
    for (size_t j = 0; j < n; j++) moments[j * n + j] += floor;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) moments[i * n + j] = moments[j * n + i];
    memcpy(h, moments, n * n * sizeof *h);
    memset(scratch, 0, PANEL * n * sizeof *scratch);
    for (size_t end = n, begin; end > 0; end = begin) {
        begin = (end - 1) / PANEL * PANEL;
        step s = { .h = h, .n = n, .begin = begin, .end = end, .turned = scratch };
        factor_diagonal(h, n, begin, end, floor);
        kr_parallel(begin < PANEL ? 1 : threads, solve_share, &s);
        kr_parallel(begin < PANEL ? 1 : threads, subtract_share, &s);
    }
    for (size_t j = 0; j < n; j++) importance[j] = h[j * n + j] * h[j * n + j];
    for (size_t k = 0; k < n; k++)
        for (size_t j = k + 1; j < n; j++) h[k * n + j] /= h[j * n + j];
}

/* ---- the numbers ------------------------------------------------------------------------------------------------- */

size_t kr_feedback_scratch(size_t rows, size_t n) { return rows * (n + KR_RUN) + 2 * n; }

/* y[i] += sum of four multiples. */
static void add_four(float *restrict y, const float *a, const float *restrict x, size_t stride, size_t n)
{
    const float *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    for (size_t i = 0; i < n; i++) y[i] += (a[0] * x[i] + a[1] * x1[i]) + (a[2] * x2[i] + a[3] * x3[i]);
}

/* One run of one row, from column `first`: wanted [count] are the weights and what the errors before ask for. */
static void choose_run(const kr_feedback *f, krait_weight_type type, size_t first, size_t count, const float *w, float *wanted,
                       int8_t *numbers, uint16_t *scale, float *back, float *errors)
{
    *scale = kr_choose_scale(type, wanted, f->importance + first, count);
    float value = kr_f16_to_float(*scale), inverse = value != 0 ? 1 / value : 0;
    if (!isfinite(inverse)) inverse = 0;
    for (size_t j = 0; j < count; j++) {
        int number = kr_nearest_number(type, wanted[j], inverse);
        numbers[j] = (int8_t)number;
        back[j] = value * (float)number;
        errors[j] = w[j] - back[j];
        const float *factor = f->factor + (first + j) * f->n + first;
        for (size_t k = j + 1; k < count; k++) wanted[k] += errors[j] * factor[k];
    }
}

/* y[i] += a x[i] */
static void add(float *restrict y, float a, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* One run of one row, given everything else: g [n] is e H. */
static void refine_run(const kr_feedback *f, krait_weight_type type, size_t first, size_t count, int8_t *numbers, uint16_t *scale,
                       float *g)
{
    const size_t n = f->n;
    float value = kr_f16_to_float(*scale);
    if (value == 0) return;
    for (size_t j = 0; j < count; j++) {
        const float *h = f->moments + (first + j) * n;
        int number = kr_nearest_number(type, (float)numbers[j] * value + g[first + j] / h[first + j], 1 / value);
        if (number == numbers[j]) continue;
        add(g, -value * (float)(number - numbers[j]), h, n);
        numbers[j] = (int8_t)number;
    }
    double top = 0, bottom = 0;
    for (size_t j = 0; j < count; j++) {
        const float *h = f->moments + (first + j) * n + first;
        double sum = 0;
        for (size_t k = 0; k < count; k++) sum += (double)(h[k] * (float)numbers[k]);
        top += (double)numbers[j] * (double)g[first + j];
        bottom += (double)numbers[j] * sum;
    }
    if (!(bottom > 0)) return;
    uint16_t better = kr_float_to_f16((float)((double)value + top / bottom));
    float change = kr_f16_to_float(better) - value;
    if (change == 0 || !isfinite(change) || 2 * (double)change * top <= (double)change * (double)change * bottom) return;
    *scale = better;
    for (size_t j = 0; j < count; j++)
        if (numbers[j]) add(g, -change * (float)numbers[j], f->moments + (first + j) * n, n);
}

/* Columns and scales once more, each given all others, so often. */
enum { SWEEPS = 2 };

static void refine(const kr_feedback *f, krait_weight_type type, const float *w, int8_t *numbers, uint16_t *scales, float *back,
                   float *scratch)
{
    const size_t n = f->n, runs = kr_runs_of(n);
    float *g = scratch;
    memset(g, 0, n * sizeof *g);
    for (size_t j = 0; j < n; j++) add(g, w[j] - back[j], f->moments + j * n, n);
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (size_t run = 0; run < runs; run++) {
            const size_t first = run * KR_RUN, count = n - first < KR_RUN ? n - first : KR_RUN;
            refine_run(f, type, first, count, numbers + first, &scales[run], g);
        }
    for (size_t j = 0; j < n; j++) back[j] = kr_f16_to_float(scales[j / KR_RUN]) * (float)numbers[j];
}

void kr_feedback_choose(const kr_feedback *f, krait_weight_type type, size_t rows, const float *w, kr_numbers out, float *back,
                        float *scratch)
{
    const size_t n = f->n, runs = kr_runs_of(n);
    float *wanted = scratch, *errors = scratch + rows * n;
    memcpy(wanted, w, rows * n * sizeof *w);
    for (size_t run = 0; run < runs; run++) {
        const size_t first = run * KR_RUN, count = n - first < KR_RUN ? n - first : KR_RUN, next = first + count;
        for (size_t r = 0; r < rows; r++)
            choose_run(f, type, first, count, w + r * n + first, wanted + r * n + first, out.numbers + r * n + first,
                       &out.scales[r * runs + run], back + r * n + first, errors + r * KR_RUN);
        if (next == n) break; /* what follows a run is whole: count is KR_RUN */
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < KR_RUN; k += 4)
                add_four(wanted + r * n + next, errors + r * KR_RUN + k, f->factor + (first + k) * n + next, n, n - next);
    }
    for (size_t r = 0; r < rows; r++)
        refine(f, type, w + r * n, out.numbers + r * n, out.scales + r * runs, back + r * n, errors + rows * KR_RUN);
}
