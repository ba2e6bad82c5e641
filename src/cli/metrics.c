#include "cli/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/input.h"
#include "cli/options.h"

static const char *const axis_keys[KR_METRICS_N_AXES] = { "step", "tokens", "seconds" };

/* What `krait train` writes as numbers: something else there is a mistake, not another program's field. */
static const char *const number_keys[] = { "loss",      "held_out_loss", "held_out_bits_per_byte",
                                           "lr",        "grad_norm",     "tokens_per_second",
                                           "gemm_share" };

static bool is_number(const kr_json *value) { return value->type == KR_JSON_INTEGER || value->type == KR_JSON_NUMBER; }

const kr_metrics_series *kr_metrics_find(const kr_metrics *metrics, const char *name)
{
    for (size_t i = 0; i < metrics->n_series; i++)
        if (strcmp(metrics->series[i].name, name) == 0) return &metrics->series[i];
    return NULL;
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

static bool grow(double **values, size_t n)
{
    double *grown = kr_realloc(*values, n, sizeof *grown);
    if (grown) *values = grown;
    return grown != NULL;
}

static bool append(kr_metrics_series *s, const double at[KR_METRICS_N_AXES], double value)
{
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        for (size_t a = 0; a < KR_METRICS_N_AXES; a++)
            if (!grow(&s->x[a], capacity)) return false;
        if (!grow(&s->y, capacity)) return false;
        s->capacity = capacity;
    }
    for (size_t a = 0; a < KR_METRICS_N_AXES; a++) s->x[a][s->n] = at[a];
    s->y[s->n++] = value;
    return true;
}

/* Names are shown on terminals. */
static bool is_printable(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7F || (c == 0xC2 && i + 1 < length && (unsigned char)name[i + 1] < 0xA0)) return false;
    }
    return length > 0 && length < 100;
}

/* The series of that name, a new one if need be. NULL: it has no place, or *no_memory. */
static kr_metrics_series *series_of(kr_metrics *metrics, const char *name, size_t length, bool *no_memory)
{
    for (size_t i = 0; i < metrics->n_series; i++) {
        kr_metrics_series *s = &metrics->series[i];
        if (strlen(s->name) == length && memcmp(s->name, name, length) == 0) return s;
    }
    if (metrics->n_series == KR_METRICS_MAX_SERIES || !is_printable(name, length)) return NULL;
    if (!metrics->series) metrics->series = kr_alloc_zero(KR_METRICS_MAX_SERIES, sizeof *metrics->series);
    char *copy = metrics->series ? kr_strndup(name, length) : NULL;
    *no_memory = !copy;
    if (!copy) return NULL;
    metrics->series[metrics->n_series].name = copy;
    return &metrics->series[metrics->n_series++];
}

/* Forgets what is behind a step. */
static void rewind_to(kr_metrics *metrics, double step)
{
    for (size_t i = 0; i < metrics->n_series; i++) {
        kr_metrics_series *s = &metrics->series[i];
        while (s->n > 0 && s->x[KR_METRICS_STEPS][s->n - 1] > step) s->n--;
    }
    while (metrics->n_resumed > 0 && metrics->resumed[metrics->n_resumed - 1] > step) metrics->n_resumed--;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

typedef struct reader {
    kr_metrics *metrics;
    const char *name;
    double step;           /* of the last line that had one */
    double seconds;        /* the most that was seen, */
    double seconds_before; /* and what an earlier process of the run had, where each counts from 0 */
} reader;

static krait_status bad(krait_error *error, const char *key, const char *expected, const kr_json *found)
{
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %s, found %s", key, expected, kr_json_type_name(found->type));
}

static krait_status check(const kr_json *root, double at[KR_METRICS_N_AXES], krait_error *error)
{
    if (root->type != KR_JSON_OBJECT) return bad(error, "line", "an object", root);
    for (size_t a = 0; a < KR_METRICS_N_AXES; a++) {
        const kr_json *value = kr_json_get(root, axis_keys[a]);
        at[a] = NAN;
        if (!value || value->type == KR_JSON_NULL) continue;
        if (!is_number(value)) return bad(error, axis_keys[a], "a number", value);
        at[a] = kr_json_number(value);
        if (!(at[a] >= 0 && at[a] < 1e300))
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a finite number, at least 0, found %g", axis_keys[a], at[a]);
    }
    for (size_t i = 0; i < KR_COUNT_OF(number_keys); i++) {
        const kr_json *value = kr_json_get(root, number_keys[i]);
        if (value && value->type != KR_JSON_NULL && !is_number(value)) return bad(error, number_keys[i], "a number", value);
    }
    return KRAIT_OK;
}

static krait_status keep(reader *r, const kr_json *root, double at[KR_METRICS_N_AXES], krait_error *error)
{
    kr_metrics *m = r->metrics;
    const kr_json *event = kr_json_get(root, "event");
    bool resumed = event && kr_json_is(event, "resumed");
    double step = at[KR_METRICS_STEPS];
    if (isfinite(step) && (resumed || !event)) {
        if (resumed)
            rewind_to(m, step);
        else if (step < r->step)
            rewind_to(m, step - 0.5);
        r->step = step;
    }
    if (resumed && isfinite(step)) {
        if (!grow(&m->resumed, m->n_resumed + 1)) return kr_fail_memory(error, r->name, sizeof(double));
        m->resumed[m->n_resumed++] = step;
    }
    if (isfinite(at[KR_METRICS_SECONDS])) {
        if (at[KR_METRICS_SECONDS] + r->seconds_before < r->seconds) r->seconds_before = r->seconds;
        at[KR_METRICS_SECONDS] += r->seconds_before;
        r->seconds = at[KR_METRICS_SECONDS];
    }
    for (const kr_json *member = root->first; member; member = member->next) {
        bool axis = false;
        for (size_t a = 0; a < KR_METRICS_N_AXES; a++) axis = axis || kr_json_key_is(member, axis_keys[a]);
        if (axis || event || !is_number(member) || !isfinite(kr_json_number(member))) continue;
        bool no_memory = false;
        kr_metrics_series *s = series_of(m, member->key, member->key_length, &no_memory);
        if (no_memory) return kr_fail_memory(error, r->name, sizeof *s);
        if (!s) continue;
        if (s->n && s->x[KR_METRICS_STEPS][s->n - 1] == step) s->n--;
        if (!append(s, at, kr_json_number(member))) return kr_fail_memory(error, r->name, s->capacity * sizeof(double));
    }
    return KRAIT_OK;
}

/* A broken line goes into metrics->bad; what is returned is worse. */
static krait_status read_line(reader *r, uint64_t line, const char *bytes, size_t size, bool whole, krait_error *error)
{
    kr_metrics *m = r->metrics;
    kr_arena arena = { 0 };
    const kr_json *root;
    double at[KR_METRICS_N_AXES];
    krait_error why = { 0 };
    krait_status status = kr_json_parse(&root, &arena, "JSON", bytes, size, &why);
    if (!status) status = check(root, at, &why);
    if (status == KRAIT_ERROR_FORMAT && !whole) {
        m->cut = true;
        status = KRAIT_OK;
    } else if (status == KRAIT_ERROR_FORMAT) {
        if (m->n_bad < KR_METRICS_MAX_BAD) {
            kr_metrics_bad *b = &m->bad[m->n_bad];
            static const char where[] = "JSON: line 1, "; /* a line has but one line */
            const char *message = why.message + (strncmp(why.message, where, strlen(where)) == 0 ? strlen(where) : 0);
            b->line = line;
            snprintf(b->message, sizeof b->message, "%.*s", (int)sizeof b->message - 1, message);
        }
        m->n_bad++;
        status = KRAIT_OK;
    } else if (status) {
        if (error) *error = why;
    } else {
        m->n_lines++;
        status = keep(r, root, at, error);
    }
    kr_arena_free(&arena);
    return status;
}

krait_status kr_metrics_read(kr_metrics *metrics, const char *name, const char *bytes, size_t size, krait_error *error)
{
    reader r = { .metrics = metrics, .name = name };
    krait_status status = KRAIT_OK;
    uint64_t line = 0;
    *metrics = (kr_metrics){ 0 };
    metrics->path = kr_strndup(name, strlen(name));
    if (!metrics->path) return kr_fail_memory(error, name, strlen(name));
    for (size_t at = 0; at < size && !status;) {
        const char *newline = memchr(bytes + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - (bytes + at)) : size - at, from = at;
        line++;
        at += length + 1;
        while (length > 0 && strchr(" \t\r", bytes[from]) && bytes[from]) from++, length--;
        if (length) status = read_line(&r, line, bytes + from, length, newline != NULL, error);
    }
    if (status) return status;
    if (metrics->n_bad && !metrics->n_series)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: line %llu: %s", name, (unsigned long long)metrics->bad[0].line,
                       metrics->bad[0].message);
    if (!metrics->n_lines) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected lines of a training run, found none", name);
    for (size_t i = 0; i < metrics->n_series; i++)
        if (metrics->series[i].n) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a line with a number such as \"loss\", found none", name);
}

krait_status kr_metrics_load(kr_metrics *metrics, const char *run, krait_error *error)
{
    struct stat info;
    char *data = NULL, *path = NULL;
    size_t size = 0, room = strlen(run) + sizeof "/metrics.jsonl";
    *metrics = (kr_metrics){ 0 };
    bool is_stdin = strcmp(run, "-") == 0;
    if (!is_stdin && stat(run, &info) != 0) return kr_fail_errno(error, run, "open");
    path = kr_alloc(room, 1);
    if (!path) return kr_fail_memory(error, run, room);
    bool folder = !is_stdin && S_ISDIR(info.st_mode);
    bool slash = run[0] && run[strlen(run) - 1] == '/';
    snprintf(path, room, "%s%s%s", run, folder && !slash ? "/" : "", folder ? "metrics.jsonl" : "");
    krait_status status = kr_input_read(path, &data, &size, error);
    if (!status) status = kr_metrics_read(metrics, is_stdin ? "stdin" : path, data, size, error);
    kr_free(data);
    kr_free(path);
    return status;
}

void kr_metrics_free(kr_metrics *metrics)
{
    for (size_t i = 0; i < metrics->n_series; i++) {
        for (size_t a = 0; a < KR_METRICS_N_AXES; a++) kr_free(metrics->series[i].x[a]);
        kr_free(metrics->series[i].y);
        kr_free(metrics->series[i].name);
    }
    kr_free(metrics->series);
    kr_free(metrics->resumed);
    kr_free(metrics->path);
    *metrics = (kr_metrics){ 0 };
}

/* ---- smoothing --------------------------------------------------------------------------------------------------- */

/* sums[k][i]: of j^k * y[j] over j < i, with j counted from 0 and y from its mean, so that differences of sums stay exact enough. */
static void fit_lines(double *out, const double *y, size_t n, size_t span, double *sum, double *moment)
{
    double mean = 0;
    for (size_t i = 0; i < n; i++) mean += (y[i] - mean) / (double)(i + 1);
    sum[0] = moment[0] = 0;
    for (size_t i = 0; i < n; i++) {
        sum[i + 1] = sum[i] + (y[i] - mean);
        moment[i + 1] = moment[i] + (double)i * (y[i] - mean);
    }
    for (size_t i = 0; i < n; i++) {
        /* Narrower near the beginning, where a training curve falls steeply, so that it is followed on a logarithmic scale, too. */
        size_t half = span / 2 < i / 3 ? span / 2 : i / 3, before = half, after = n - 1 - i < half ? n - 1 - i : half;
        size_t from = i - before, to = i + after + 1;
        double count = (double)(to - from), centre = (double)from + (count - 1) / 2;
        double value = (sum[to] - sum[from]) / count;
        double spread = count * (count * count - 1) / 12; /* sum of (j - centre)^2 */
        if (spread > 0) value += ((moment[to] - moment[from]) - centre * (sum[to] - sum[from])) / spread * ((double)i - centre);
        out[i] = value + mean;
    }
}

krait_status kr_metrics_smooth(double *smooth, const double *y, size_t n, size_t span, krait_error *error)
{
    if (span < 2 || n < 3) {
        memcpy(smooth, y, n * sizeof *y);
        return KRAIT_OK;
    }
    double *once = kr_alloc(n, sizeof *once), *sum = kr_alloc(n + 1, sizeof *sum), *moment = kr_alloc(n + 1, sizeof *moment);
    krait_status status = once && sum && moment ? KRAIT_OK : kr_fail_memory(error, "smoothing", 3 * n * sizeof *once);
    if (!status) {
        fit_lines(once, y, n, span, sum, moment);
        fit_lines(smooth, once, n, span, sum, moment);
    }
    kr_free(once);
    kr_free(sum);
    kr_free(moment);
    return status;
}
