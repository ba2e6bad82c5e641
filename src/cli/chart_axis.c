#include "cli/chart_axis.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/options.h"

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static bool shown(kr_chart_scale scale, double value) { return isfinite(value) && (scale == KR_CHART_LINEAR || value > 0); }

static void widen(kr_chart_range *range, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!shown(range->scale, values[i])) continue;
        range->low = fmin(range->low, values[i]);
        range->high = fmax(range->high, values[i]);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The same without the hundredth at either end. */
static krait_status widen_most(kr_chart_range *range, const double *values, size_t n, krait_error *error)
{
    double *sorted = kr_alloc(n, sizeof *sorted);
    size_t kept = 0;
    if (!sorted) return kr_fail_memory(error, "chart", n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        if (shown(range->scale, values[i])) sorted[kept++] = values[i];
    qsort(sorted, kept, sizeof *sorted, ascending);
    widen(range, sorted + kept / 100, kept - 2 * (kept / 100));
    kr_free(sorted);
    return KRAIT_OK;
}

/* Air around the values, in what the scale calls equal distances. */
static void pad(kr_chart_range *range, double share)
{
    if (range->scale == KR_CHART_LINEAR) {
        double size = range->high - range->low;
        if (!(size > 0) || !isfinite(size)) size = 0;
        if (size <= 1e-12 * fmax(fabs(range->low), fabs(range->high))) {
            double middle = range->low / 2 + range->high / 2, half = fmax(fabs(middle) * 0.1, DBL_MIN * 1e20);
            if (middle == 0) half = 1;
            range->low = middle - half;
            range->high = middle + half;
        } else {
            range->low -= share * size;
            range->high += share * size;
        }
    } else {
        double ratio = range->high / range->low, factor = ratio < 1 + 1e-9 || !isfinite(ratio) ? 1.5 : pow(ratio, share);
        range->low /= factor;
        range->high *= factor;
    }
}

/* Steps of the axis that `double` cannot tell apart, or that overflow, would never end. */
static krait_status settle(kr_chart_range *range, const kr_chart_axis *axis, double share, krait_error *error)
{
    double lowest = range->low;
    if (range->low > range->high)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected values %s, found none", axis->title ? axis->title : "chart",
                       axis->scale == KR_CHART_LINEAR ? "that are finite" : "above 0 for a logarithmic scale");
    range->low = fmax(range->low, axis->scale == KR_CHART_LINEAR ? -1e300 : 1e-300);
    range->high = fmin(range->high, 1e300);
    if (axis->zero && axis->scale == KR_CHART_LINEAR && range->low >= 0) range->low = range->high > 0 ? 0 : -1;
    pad(range, share);
    if (axis->scale == KR_CHART_LINEAR && lowest >= 0 && range->low < 0)
        range->low = 0; /* what has no negative values shows none */
    if (axis->unit == KR_CHART_SHARE && axis->scale == KR_CHART_LINEAR && range->high > 1 && range->high < 1.2)
        range->high = 1.02;
    if (axis->low != 0 || axis->high != 0) {
        range->low = axis->low;
        range->high = axis->high;
    }
    range->divisor = 1;
    if (axis->unit == KR_CHART_SECONDS) {
        static const struct {
            double from, divisor;
            const char *title;
        } units[] = { { 2 * 86400., 86400, "days" }, { 2 * 3600., 3600, "h" }, { 120, 60, "min" }, { 0, 1, "s" } };
        size_t i = 0;
        while (range->high < units[i].from || (axis->scale != KR_CHART_LINEAR && i < 3)) i++;
        range->divisor = units[i].divisor;
        range->unit_title = units[i].title;
    }
    return KRAIT_OK;
}

static kr_chart_range empty_range(const kr_chart_axis *axis)
{
    return (kr_chart_range){ .low = INFINITY, .high = -INFINITY, .scale = axis->scale, .unit = axis->unit };
}

krait_status kr_chart_x_range(kr_chart_range *range, const kr_chart *chart, krait_error *error)
{
    bool dotted = false;
    *range = empty_range(&chart->x);
    for (size_t i = 0; i < chart->n_series; i++) {
        widen(range, chart->series[i].x, chart->series[i].n);
        dotted = dotted || chart->series[i].style == KR_CHART_DOTTED;
    }
    /* Dots at the very border would be cut in half. */
    return settle(range, &chart->x, dotted ? 0.015 : 0, error);
}

krait_status kr_chart_y_range(kr_chart_range *range, const kr_chart *chart, size_t panel, krait_error *error)
{
    *range = empty_range(&chart->panels[panel].y);
    for (size_t i = 0; i < chart->n_series; i++) {
        const kr_chart_series *s = &chart->series[i];
        if (s->panel != panel) continue;
        widen(range, s->y, s->n);
        krait_status status = s->raw ? widen_most(range, s->raw, s->n, error) : KRAIT_OK;
        if (status) return status;
    }
    return settle(range, &chart->panels[panel].y, 0.05, error);
}

double kr_chart_place(const kr_chart_range *range, double value)
{
    if (!shown(range->scale, value)) return NAN;
    if (range->scale == KR_CHART_LINEAR) return (value - range->low) / (range->high - range->low);
    return log(value / range->low) / log(range->high / range->low);
}

/* ---- ticks ------------------------------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten, at least `step`. */
static double round_step(double step)
{
    double power = pow(10, floor(log10(step)));
    double digit = step / power;
    return power * (digit <= 1 + 1e-9 ? 1 : digit <= 2 + 1e-9 ? 2 : digit <= 5 + 1e-9 ? 5 : 10);
}

/* 0.0002 as "2e-4". */
static void put_exponent(double value, char *text, size_t size)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.3e", value);
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1);
    while (e[-1] == '0') e--;
    if (e[-1] == '.') e--;
    *e = 0;
    snprintf(text, size, "%.12se%d", digits, exponent);
}

/* `step`: distance of the ticks, from which the number of decimals follows; `largest`: of the axis, so that all its labels are of a kind. */
static void put_label(kr_chart_unit unit, double value, double step, double largest, char *text, size_t size)
{
    if (fabs(value) < 1e-9 * step) value = 0;
    if (unit == KR_CHART_SHARE) {
        int decimals = (int)fmin(fmax(-floor(log10(step * 100) + 1e-9), 0), 9);
        snprintf(text, size, "%.*f %%", decimals, value * 100);
    } else if (unit == KR_CHART_COUNT || unit == KR_CHART_BINARY) {
        static const char names[2][5] = { { 0, 'k', 'M', 'G', 'T' }, { 0, 'K', 'M', 'G', 'T' } };
        double thousand = unit == KR_CHART_BINARY ? 1024 : 1000, shown_value = value;
        size_t i = 0;
        while (fabs(shown_value) >= thousand * (1 - 1e-12) && i < 4) {
            shown_value /= thousand;
            i++;
        }
        snprintf(text, size, "%.8g%c", shown_value, names[unit == KR_CHART_BINARY][i]);
    } else if (value != 0 && (largest < 0.01 || largest >= 1e6)) {
        put_exponent(value, text, size);
    } else {
        int decimals = (int)fmin(fmax(-floor(log10(step) + 1e-9), 0), 9);
        snprintf(text, size, "%.*f", value == 0 && largest < 0.01 ? 0 : decimals, value);
    }
}

static size_t linear_ticks(const kr_chart_range *range, size_t wanted, kr_chart_tick *ticks)
{
    double low = range->low / range->divisor, high = range->high / range->divisor;
    double step = round_step((high - low) / (double)wanted), tolerance = 1e-9 * step;
    if (range->unit == KR_CHART_COUNT && step < 1) step = 1;
    if (!(step > 0) || !isfinite(step)) return 0;
    double first = ceil((low - tolerance) / step), last = floor((high + tolerance) / step);
    size_t n = 0;
    for (double k = first; k <= last && n < KR_CHART_MAX_TICKS && n <= wanted; k++) {
        kr_chart_tick *tick = &ticks[n++];
        tick->value = k * step * range->divisor;
        put_label(range->unit, k * step, step, fmax(fabs(low), fabs(high)), tick->text, sizeof tick->text);
        if (k + 1 == k) break; /* beyond 2^53 steps */
    }
    return n;
}

static void put_log_tick(const kr_chart_range *range, double value, bool label, kr_chart_tick *ticks, size_t *n)
{
    double tolerance = 1e-9 * value;
    if (*n == KR_CHART_MAX_TICKS || value < range->low - tolerance || value > range->high + tolerance) return;
    kr_chart_tick *tick = &ticks[(*n)++];
    tick->value = value;
    tick->text[0] = 0;
    double shown_value = value / range->divisor;
    if (label) put_label(range->unit, shown_value, shown_value, fmax(shown_value, 0.01), tick->text, sizeof tick->text);
    if (label && range->unit == KR_CHART_NUMBER && (shown_value < 1e-2 || shown_value >= 1e6))
        put_exponent(shown_value, tick->text, sizeof tick->text);
}

static size_t log_ticks(const kr_chart_range *range, size_t wanted, kr_chart_tick *ticks)
{
    double base = range->scale == KR_CHART_LOG2 ? 2 : 10, unit = log(base);
    double low = log(range->low) / unit, high = log(range->high) / unit, span = high - low;
    double stride = fmax(1, ceil(span / (double)wanted - 1e-9));
    size_t n = 0;
    if (base == 10 && span < 1) return linear_ticks(range, wanted, ticks);
    /* Multiples of the stride, so that 2^6, 2^8, ... are shown rather than 2^7, 2^9, ... */
    for (double k = floor(low / stride) * stride; k <= high + 1e-9 && n < KR_CHART_MAX_TICKS; k += stride) {
        bool thirds = base == 10 && stride == 1 && span * 3 <= (double)wanted;
        for (int digit = 1; digit < (base == 10 ? 10 : 2); digit++) {
            if (digit > 1 && stride > 1) break;
            put_log_tick(range, digit * pow(base, k), digit == 1 || (thirds && (digit == 2 || digit == 5)), ticks, &n);
        }
    }
    return n;
}

size_t kr_chart_ticks(const kr_chart_range *range, size_t wanted, kr_chart_tick ticks[KR_CHART_MAX_TICKS])
{
    if (wanted < 1) wanted = 1;
    if (wanted > 24) wanted = 24;
    return range->scale == KR_CHART_LINEAR ? linear_ticks(range, wanted, ticks) : log_ticks(range, wanted, ticks);
}

void kr_chart_axis_title(const kr_chart_axis *axis, const kr_chart_range *range, char *text, size_t size)
{
    snprintf(text, size, range->unit_title ? "%s (%s)" : "%s", axis->title ? axis->title : "", range->unit_title);
}

void kr_chart_value_text(kr_chart_unit unit, double value, int digits, char *text, size_t size)
{
    if (!isfinite(value))
        snprintf(text, size, "-");
    else if (unit == KR_CHART_SHARE)
        snprintf(text, size, "%.*g %%", digits, value * 100);
    else if (value != 0 && fabs(value) < 1e-3)
        put_exponent(value, text, size);
    else { /* as many decimals as that many digits are, whether or not the last are zeros */
        int before = value == 0 ? 1 : (int)floor(log10(fabs(value))) + 1;
        snprintf(text, size, "%.*f", digits > before ? digits - (before < 1 ? 1 : before) : 0, value);
    }
}

/* ---- fewer points ------------------------------------------------------------------------------------------------ */

typedef struct bucket {
    double column;
    kr_chart_point point[4]; /* first, lowest, highest, last */
    size_t index[4];
    bool used;
} bucket;

static size_t flush(bucket *b, kr_chart_point *points, size_t n)
{
    if (!b->used) return n;
    /* In their order, each once. */
    size_t order[4] = { 0, b->index[1] < b->index[2] ? 1 : 2, b->index[1] < b->index[2] ? 2 : 1, 3 };
    size_t previous = (size_t)-1;
    for (size_t i = 0; i < 4; i++) {
        if (b->index[order[i]] == previous) continue;
        previous = b->index[order[i]];
        points[n++] = b->point[order[i]];
    }
    b->used = false;
    return n;
}

size_t kr_chart_thin(const kr_chart_series *series, const double *y, const kr_chart_range *x_range, const kr_chart_range *y_range,
                     size_t columns, kr_chart_point *points)
{
    size_t n = 0;
    bucket b = { 0 };
    bool gap = false;
    for (size_t i = 0; i < series->n; i++) {
        kr_chart_point p = { kr_chart_place(x_range, series->x[i]), kr_chart_place(y_range, y[i]) };
        if (!isfinite(p.x)) continue;
        /* The neighbours of what is shown are needed for the lines to the border. */
        if (p.x < 0 && i + 1 < series->n && kr_chart_place(x_range, series->x[i + 1]) < 0) continue;
        if (p.x > 1 && i > 0 && kr_chart_place(x_range, series->x[i - 1]) > 1) break;
        if (!isfinite(p.y)) {
            gap = b.used || n > 0;
            continue;
        }
        p.y = fmin(fmax(p.y, -50), 50); /* far outside is as good, and no number is too large for anyone */
        p.x = fmin(fmax(p.x, -50), 50);
        double column = floor(fmin(fmax(p.x, 0), 1) * (double)(columns - 1));
        if (gap && (!b.used || b.column != column)) { /* gaps narrower than a column cannot be seen */
            n = flush(&b, points, n);
            points[n++] = (kr_chart_point){ p.x, NAN };
        }
        gap = false;
        if (b.used && column != b.column) n = flush(&b, points, n);
        if (!b.used) {
            b = (bucket){ .column = column, .used = true };
            for (size_t k = 0; k < 4; k++) {
                b.point[k] = p;
                b.index[k] = i;
            }
            continue;
        }
        if (p.y < b.point[1].y) b.point[1] = p, b.index[1] = i;
        if (p.y > b.point[2].y) b.point[2] = p, b.index[2] = i;
        b.point[3] = p;
        b.index[3] = i;
    }
    return flush(&b, points, n);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

bool kr_chart_parse_size(const char *text, size_t *width, size_t *height)
{
    char first[8];
    uint64_t w, h;
    size_t length = strcspn(text, "x");
    if (length >= sizeof first || text[length] != 'x') return false;
    memcpy(first, text, length);
    first[length] = 0;
    if (!kr_options_count(first, &w) || !kr_options_count(text + length + 1, &h)) return false;
    *width = (size_t)w;
    *height = (size_t)h;
    return w >= 1 && w <= 20000 && h >= 1 && h <= 20000;
}
