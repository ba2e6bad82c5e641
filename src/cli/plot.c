/* `krait plot`: the curves of training runs. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/nearest.h"
#include "cli/chart.h"
#include "cli/chart_axis.h"
#include "cli/cli.h"
#include "cli/metrics.h"
#include "cli/report.h"

#define MAX_RUNS 64

typedef struct plot_values {
    kr_texts runs, series, names;
    const char *axis, *log, *smooth, *out, *size, *title;
    double from, to;
    bool ascii, json;
} plot_values;

#define AT(field) offsetof(plot_values, field)

static const kr_option options[] = {
    { KR_OPTION_HEADING, .help = "What is drawn" },
    { KR_OPTION_TEXTS, 'y', "series", "NAME,...", AT(series),
      .help = "Curves, by their names in metrics.jsonl; without it, loss, held_out_loss, lr and tokens_per_second" },
    { KR_OPTION_CHOICE, 'x', "axis", "steps|tokens|seconds", AT(axis), 0, 0, "steps", "What stands below" },
    { KR_OPTION_NUMBER, 0, "from", "X", AT(from), 0, 0, .help = "Leave out what is before" },
    { KR_OPTION_NUMBER, 0, "to", "X", AT(to), 0, 0, .help = "Leave out what is behind" },
    { KR_OPTION_CHOICE, 0, "log", "x|y|xy", AT(log), .help = "Logarithmic scale of an axis, or of both" },
    { KR_OPTION_TEXT, 0, "smooth", "N", AT(smooth), 0, 0, "auto",
      "Draw a mean of N points, with the points pale behind; 0: the points alone" },

    { KR_OPTION_HEADING, .help = "Where" },
    { KR_OPTION_FILE, 'o', "out", "FILE", AT(out), .help = "A picture: .svg or .png; without it, in the terminal" },
    { KR_OPTION_TEXT, 0, "size", "WxH", AT(size),
      .help = "Of the picture in pixels (900x... without it), or of the terminal in characters" },
    { KR_OPTION_TEXT, 0, "title", "TEXT", AT(title), .help = "Above the picture; without it, the name of the one run" },
    { KR_OPTION_TEXTS, 0, "name", "TEXT", AT(names), .help = "What to call a run: once for each, in their order" },
    { KR_OPTION_FLAG, 0, "ascii", NULL, AT(ascii), .help = "Letters instead of braille dots in the terminal" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object with the points instead of a drawing" },
};

/* What is known of the series that krait writes; of another, its name is all. */
static const struct known {
    const char *name, *panel, *label; /* series with the same panel share it */
    kr_chart_unit unit;
    bool zero, smooth;
} known_series[] = {
    { "loss", "loss (nats per token)", "training loss", KR_CHART_NUMBER, false, true },
    { "held_out_loss", "loss (nats per token)", "held-out loss", KR_CHART_NUMBER, false, false },
    { "held_out_bits_per_byte", "held-out bits per byte", NULL, KR_CHART_NUMBER, false, false },
    { "lr", "learning rate", NULL, KR_CHART_NUMBER, true, false },
    { "grad_norm", "gradient norm", NULL, KR_CHART_NUMBER, true, true },
    { "tokens_per_second", "tokens per second", NULL, KR_CHART_COUNT, true, true },
    { "gemm_share", "share of the matrix products' peak", NULL, KR_CHART_SHARE, true, true },
};
static const char *const usual[] = { "loss", "held_out_loss", "lr", "tokens_per_second" };

/* A curve of one run. */
typedef struct curve {
    size_t run, name, panel;
    double *x, *y, *smooth; /* [n]; smooth NULL: the points are the curve */
    size_t n;
} curve;

typedef struct plot {
    const plot_values *values;
    kr_arena arena;
    kr_metrics *runs; /* [n_runs] */
    char **run_names;
    size_t n_runs;
    const char **names; /* [n_names] of the series that are drawn */
    struct known *known;
    size_t n_names;
    kr_chart_panel panels[KR_CHART_MAX_PANELS];
    size_t n_panels;
    curve *curves;
    size_t n_curves;
    kr_metrics_axis axis;
    int64_t smooth; /* -1: as it suits */
} plot;

static krait_status no_memory(krait_error *error) { return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory"); }

static char *copy(plot *p, const char *text, size_t length)
{
    char *out = kr_arena_alloc(&p->arena, length + 1, 1);
    if (!out) return NULL;
    memcpy(out, text, length);
    out[length] = 0;
    return out;
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

/* The folder's name, or the file's without its end. */
static char *name_of_run(plot *p, const char *run)
{
    char resolved[PATH_MAX];
    if (strcmp(run, "-") == 0) return copy(p, "stdin", 5);
    if (!realpath(run, resolved)) return copy(p, run, strlen(run));
    char *name = strrchr(resolved, '/') + 1;
    if (strcmp(name, "metrics.jsonl") == 0 && name - 1 > resolved) {
        name[-1] = 0;
        name = strrchr(resolved, '/') + 1;
    }
    size_t length = strlen(name);
    if (length > 6 && strcmp(name + length - 6, ".jsonl") == 0) length -= 6;
    return copy(p, name, length);
}

static krait_status name_runs(plot *p, krait_error *error)
{
    const plot_values *v = p->values;
    p->run_names = kr_arena_alloc(&p->arena, p->n_runs, sizeof *p->run_names);
    if (!p->run_names) return no_memory(error);
    for (size_t i = 0; i < p->n_runs; i++) {
        const char *given = i < v->names.n ? v->names.items[i] : NULL;
        p->run_names[i] = given ? copy(p, given, strlen(given)) : name_of_run(p, v->runs.items[i]);
        if (!p->run_names[i]) return no_memory(error);
    }
    /* Of the same name: as they were given. */
    for (size_t i = v->names.n; i < p->n_runs; i++)
        for (size_t k = 0; k < p->n_runs; k++)
            if (k != i && strcmp(p->run_names[i], p->run_names[k]) == 0) {
                p->run_names[i] = copy(p, v->runs.items[i], strlen(v->runs.items[i]));
                if (!p->run_names[i]) return no_memory(error);
                break;
            }
    return KRAIT_OK;
}

static krait_status load_runs(plot *p, krait_error *error)
{
    const kr_texts *runs = &p->values->runs;
    p->runs = kr_alloc_zero(runs->n, sizeof *p->runs);
    if (!p->runs) return no_memory(error);
    for (; p->n_runs < runs->n; p->n_runs++) {
        krait_status status = kr_metrics_load(&p->runs[p->n_runs], runs->items[p->n_runs], error);
        if (status) {
            kr_metrics_free(&p->runs[p->n_runs]);
            return status;
        }
    }
    return name_runs(p, error);
}

/* Says which lines were passed over; whether there were any. */
static bool report_bad_lines(const plot *p)
{
    bool any = false;
    for (size_t i = 0; i < p->n_runs; i++) {
        const kr_metrics *m = &p->runs[i];
        for (size_t k = 0; k < m->n_bad && k < KR_METRICS_MAX_BAD; k++)
            fprintf(stderr, "krait plot: %s: line %llu: %s: passed over\n", m->path, (unsigned long long)m->bad[k].line,
                    m->bad[k].message);
        if (m->n_bad > KR_METRICS_MAX_BAD)
            fprintf(stderr, "krait plot: %s: %llu more lines like that\n", m->path,
                    (unsigned long long)(m->n_bad - KR_METRICS_MAX_BAD));
        any = any || m->n_bad;
    }
    return any;
}

/* ---- which series ------------------------------------------------------------------------------------------------ */

static bool in_any(const plot *p, const char *name)
{
    for (size_t i = 0; i < p->n_runs; i++) {
        const kr_metrics_series *s = kr_metrics_find(&p->runs[i], name);
        if (s && s->n) return true;
    }
    return false;
}

static krait_status no_such_series(const plot *p, const char *name, krait_error *error)
{
    const char *there[KR_METRICS_MAX_SERIES];
    char list[300] = "";
    size_t n = 0, used = 0;
    for (size_t i = 0; i < p->n_runs; i++)
        for (size_t k = 0; k < p->runs[i].n_series && n < KR_METRICS_MAX_SERIES; k++) {
            bool twice = !p->runs[i].series[k].n;
            for (size_t j = 0; j < n; j++) twice = twice || strcmp(there[j], p->runs[i].series[k].name) == 0;
            if (!twice) there[n++] = p->runs[i].series[k].name;
        }
    for (size_t k = 0; k < n && used + strlen(there[k]) + 3 < sizeof list; k++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", there[k]);
    const char *nearest = kr_nearest(name, there, n);
    if (nearest) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "no series %s: did you mean %s?", name, nearest);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "no series %s: expected one of %s", name, list);
}

static krait_status add_name(plot *p, const char *name, krait_error *error)
{
    if (!in_any(p, name)) return no_such_series(p, name, error);
    for (size_t i = 0; i < p->n_names; i++)
        if (strcmp(p->names[i], name) == 0) return KRAIT_OK;
    if (p->n_names == KR_METRICS_MAX_SERIES)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "-y: expected at most %d series", KR_METRICS_MAX_SERIES);
    struct known *known = &p->known[p->n_names];
    *known = (struct known){ name, name, name, KR_CHART_NUMBER, false, true };
    for (size_t i = 0; i < KR_COUNT_OF(known_series); i++)
        if (strcmp(known_series[i].name, name) == 0) *known = known_series[i];
    p->names[p->n_names++] = name;
    return KRAIT_OK;
}

static krait_status choose_series(plot *p, krait_error *error)
{
    const kr_texts *wanted = &p->values->series;
    krait_status status = KRAIT_OK;
    p->names = kr_arena_alloc(&p->arena, KR_METRICS_MAX_SERIES, sizeof *p->names);
    p->known = kr_arena_alloc(&p->arena, KR_METRICS_MAX_SERIES, sizeof *p->known);
    if (!p->names || !p->known) return no_memory(error);
    for (size_t i = 0; i < wanted->n; i++)
        for (const char *at = wanted->items[i];; at++) {
            size_t length = strcspn(at, ",");
            char *name = copy(p, at, length);
            if (!name) return no_memory(error);
            if ((status = add_name(p, name, error))) return status;
            at += length;
            if (!*at) break;
        }
    if (wanted->n) return KRAIT_OK;
    for (size_t i = 0; i < KR_COUNT_OF(usual) && !status; i++)
        if (in_any(p, usual[i])) status = add_name(p, usual[i], error);
    /* Of a file of something else: what it has first. */
    for (size_t i = 0; i < p->runs[0].n_series && !status && !p->n_names; i++)
        if (p->runs[0].series[i].n) status = add_name(p, p->runs[0].series[i].name, error);
    return status;
}

/* ---- curves ------------------------------------------------------------------------------------------------------ */

static krait_status add_curve(plot *p, size_t run, size_t name, krait_error *error)
{
    const kr_metrics_series *s = kr_metrics_find(&p->runs[run], p->names[name]);
    const plot_values *v = p->values;
    if (!s || !s->n) return KRAIT_OK;
    curve *c = &p->curves[p->n_curves];
    *c = (curve){ .run = run, .name = name };
    c->x = kr_arena_alloc(&p->arena, s->n, sizeof(double));
    c->y = kr_arena_alloc(&p->arena, s->n, sizeof(double));
    if (!c->x || !c->y) return no_memory(error);
    for (size_t i = 0; i < s->n; i++) {
        double x = s->x[p->axis][i];
        if (!isfinite(x) || (c->n && x < c->x[c->n - 1])) continue;
        c->x[c->n] = x;
        c->y[c->n++] = s->y[i];
    }
    size_t span = p->smooth >= 0 ? (size_t)p->smooth : p->known[name].smooth && c->n >= 120 ? c->n / 40 : 0;
    if (span > 1 && (p->known[name].smooth || p->smooth > 0)) {
        c->smooth = kr_arena_alloc(&p->arena, c->n, sizeof(double));
        if (!c->smooth) return no_memory(error);
        krait_status status = kr_metrics_smooth(c->smooth, c->y, c->n, span, error);
        if (status) return status;
    }
    /* What is left out still counts in the mean. */
    size_t first = 0;
    while (first < c->n && c->x[first] < v->from) first++;
    while (v->to > 0 && c->n > first && c->x[c->n - 1] > v->to) c->n--;
    c->n -= first;
    c->x += first;
    c->y += first;
    if (c->smooth) c->smooth += first;
    p->n_curves += c->n > 0;
    return KRAIT_OK;
}

static krait_status make_curves(plot *p, krait_error *error)
{
    p->curves = kr_arena_alloc(&p->arena, p->n_runs * p->n_names, sizeof *p->curves);
    if (!p->curves) return no_memory(error);
    for (size_t name = 0; name < p->n_names; name++)
        for (size_t run = 0; run < p->n_runs; run++) {
            krait_status status = add_curve(p, run, name, error);
            if (status) return status;
        }
    if (!p->n_curves)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "no point of %s has its %s%s: expected another -x%s", p->names[0],
                       p->values->axis, p->values->from > 0 || p->values->to > 0 ? " in this range" : "",
                       p->values->from > 0 || p->values->to > 0 ? ", --from or --to" : "");
    return KRAIT_OK;
}

/* ---- the chart --------------------------------------------------------------------------------------------------- */

/* Those of a name in the same panel; loss, of which most is to be seen, the highest. */
static krait_status make_panels(plot *p, krait_error *error)
{
    bool log = p->values->log && strchr(p->values->log, 'y');
    for (size_t i = 0; i < p->n_curves; i++) {
        const struct known *known = &p->known[p->curves[i].name];
        size_t k = 0;
        while (k < p->n_panels && strcmp(p->panels[k].y.title, known->panel) != 0) k++;
        p->curves[i].panel = k;
        if (k < p->n_panels) continue;
        if (k == KR_CHART_MAX_PANELS)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "-y: expected series for at most %d panels", KR_CHART_MAX_PANELS);
        p->panels[p->n_panels++] = (kr_chart_panel){
            .y = { .title = known->panel,
                   .unit = known->unit,
                   .zero = known->zero,
                   .scale = log ? KR_CHART_LOG10 : KR_CHART_LINEAR },
            .height = strncmp(known->panel, "loss", 4) == 0 ? 4 : 1,
        };
    }
    return KRAIT_OK;
}

static bool is_held_out(const plot *p, const curve *c) { return strcmp(p->names[c->name], "held_out_loss") == 0; }

/* Few points are marked by dots; many would run together. */
static kr_chart_style style_of(const plot *p, const curve *c)
{
    return !is_held_out(p, c) ? KR_CHART_LINE : c->n <= 50 ? KR_CHART_DOTTED : KR_CHART_DASHED;
}

static double last_of(const curve *c) { return (c->smooth ? c->smooth : c->y)[c->n - 1]; }

/* Where the last values are, as the legend's notes: "3.214", or of several runs "3.214, held out 3.301". */
static const char *note_of(plot *p, size_t run)
{
    char text[96] = "", value[24];
    for (size_t i = 0; i < p->n_curves; i++) {
        const curve *c = &p->curves[i];
        if (c->run != run || c->panel != p->curves[0].panel) continue;
        kr_chart_value_text(p->panels[c->panel].y.unit, last_of(c), 4, value, sizeof value);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s%s", used ? ", " : "", used && is_held_out(p, c) ? "held out " : "",
                 value);
    }
    return copy(p, text, strlen(text));
}

/* Of one run the curves of its first panel have names; of several the runs have, and their curves' kinds in grey. */
static bool make_keys(plot *p, kr_chart_key *keys, size_t *n_keys)
{
    size_t kinds = 0, held_out = SIZE_MAX, n = 0;
    for (size_t i = 0; i < p->n_curves; i++) {
        if (p->curves[i].panel != 0) continue;
        if (p->n_runs == 1) {
            char value[24];
            kr_chart_value_text(p->panels[0].y.unit, last_of(&p->curves[i]), 4, value, sizeof value);
            const char *note = copy(p, value, strlen(value)), *label = p->known[p->curves[i].name].label;
            if (!note) return false;
            keys[n] = (kr_chart_key){ label ? label : p->known[p->curves[i].name].panel, note, n, style_of(p, &p->curves[i]) };
            n++;
        }
        kinds |= is_held_out(p, &p->curves[i]) ? 2 : 1;
        if (is_held_out(p, &p->curves[i])) held_out = i;
    }
    for (size_t run = 0; run < p->n_runs && p->n_runs > 1; run++) {
        const char *note = note_of(p, run);
        if (!note) return false;
        keys[n++] = (kr_chart_key){ p->run_names[run], *note ? note : NULL, run, KR_CHART_LINE };
    }
    if (p->n_runs > 1 && kinds == 3) {
        keys[n++] = (kr_chart_key){ "training", NULL, KR_CHART_GREY, KR_CHART_LINE };
        keys[n++] = (kr_chart_key){ "held out", NULL, KR_CHART_GREY, style_of(p, &p->curves[held_out]) };
    }
    *n_keys = n;
    return true;
}

static krait_status show(plot *p, size_t width, size_t height, krait_error *error)
{
    static const kr_chart_axis axes[] = { { .title = "steps", .unit = KR_CHART_COUNT },
                                          { .title = "tokens", .unit = KR_CHART_COUNT },
                                          { .title = "time", .unit = KR_CHART_SECONDS } };
    const plot_values *v = p->values;
    kr_chart_series *series = kr_arena_alloc(&p->arena, p->n_curves, sizeof *series);
    kr_chart_key *keys = kr_arena_alloc(&p->arena, p->n_runs + p->n_names + 2, sizeof *keys);
    kr_chart chart = { .x = axes[p->axis], .panels = p->panels, .n_panels = p->n_panels, .series = series, .keys = keys };
    if (!series || !keys || !make_keys(p, keys, &chart.n_keys)) return no_memory(error);
    size_t in_first = 0;
    for (size_t i = 0; i < p->n_curves; i++) {
        const curve *c = &p->curves[i];
        size_t own = c->panel == 0 ? in_first++ : 0;
        bool one = p->n_runs == 1;
        series[chart.n_series++] = (kr_chart_series){
            .panel = c->panel,
            .key = !one            ? c->run
                   : c->panel == 0 ? own
                                   : KR_CHART_NO_KEY,
            .x = c->x,
            .y = c->smooth ? c->smooth : c->y,
            .raw = c->smooth ? c->y : NULL,
            .n = c->n,
            .colour = one ? own : c->run,
            .style = style_of(p, c),
        };
    }
    if (v->log && strchr(v->log, 'x')) chart.x.scale = KR_CHART_LOG10;
    chart.title = v->title ? v->title : p->n_runs == 1 ? p->run_names[0] : NULL;
    if (v->out) return kr_chart_draw(&chart, v->out, width, height, error);
    return kr_chart_put(&chart, &(kr_chart_print){ width, height, v->ascii, kr_may_colour(stdout) }, stdout, error);
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static void put_numbers(kr_json_writer *json, const char *key, const double *values, size_t n)
{
    if (key) kr_json_key(json, key);
    kr_json_open(json, '[');
    for (size_t i = 0; i < n; i++) kr_json_put_number(json, values[i]);
    kr_json_close(json, ']');
}

static void put_run(kr_json_writer *json, const plot *p, size_t run)
{
    const kr_metrics *m = &p->runs[run];
    kr_json_open(json, '{');
    kr_json_key(json, "name");
    kr_json_put_text(json, p->run_names[run]);
    kr_json_key(json, "file");
    kr_json_put_text(json, m->path);
    kr_json_key(json, "lines");
    kr_json_put_integer(json, (int64_t)m->n_lines);
    kr_json_key(json, "bad_lines");
    kr_json_put_integer(json, (int64_t)m->n_bad);
    kr_json_key(json, "cut");
    kr_json_put_bool(json, m->cut);
    put_numbers(json, "resumed", m->resumed, m->n_resumed);
    kr_json_key(json, "series");
    kr_json_open(json, '[');
    for (size_t i = 0; i < p->n_curves; i++) {
        const curve *c = &p->curves[i];
        if (c->run != run) continue;
        kr_json_open(json, '{');
        kr_json_key(json, "name");
        kr_json_put_text(json, p->names[c->name]);
        put_numbers(json, "x", c->x, c->n);
        put_numbers(json, "y", c->y, c->n);
        if (c->smooth) put_numbers(json, "smooth", c->smooth, c->n);
        kr_json_close(json, '}');
    }
    kr_json_close(json, ']');
    kr_json_close(json, '}');
}

static bool put_json(const plot *p)
{
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    kr_json_key(&json, "axis");
    kr_json_put_text(&json, p->values->axis);
    kr_json_key(&json, "runs");
    kr_json_open(&json, '[');
    for (size_t i = 0; i < p->n_runs; i++) put_run(&json, p, i);
    kr_json_close(&json, ']');
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_plot, &json);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static krait_status load_and_show(plot *p, size_t width, size_t height, bool *finished, krait_error *error)
{
    const plot_values *v = p->values;
    krait_status status = v->out ? kr_chart_check_path(v->out, error) : KRAIT_OK;
    if (!status) status = load_runs(p, error);
    if (!status) status = choose_series(p, error);
    if (!status) status = make_curves(p, error);
    if (!status) status = make_panels(p, error);
    if (!status && (!v->json || v->out)) status = show(p, width, height, error);
    if (!status && v->json) *finished = put_json(p);
    return status;
}

static int run_plot(const void *values_)
{
    const plot_values *v = values_;
    plot p = { .values = v, .smooth = -1 };
    size_t width = 0, height = 0;
    uint64_t smooth;
    krait_error error;
    if (!v->runs.n) return kr_options_wrong(&kr_command_plot, "expected RUN: a run's folder, or its metrics.jsonl");
    if (v->runs.n > MAX_RUNS)
        return kr_options_wrong(&kr_command_plot, "expected at most %d runs, found %zu", MAX_RUNS, v->runs.n);
    if (v->names.n > v->runs.n)
        return kr_options_wrong(&kr_command_plot, "--name: expected one for each of %zu runs, found %zu", v->runs.n, v->names.n);
    if (v->to > 0 && v->to <= v->from)
        return kr_options_wrong(&kr_command_plot, "--to %g: expected more than --from %g", v->to, v->from);
    if (strcmp(v->smooth, "auto") != 0) {
        if (!kr_options_count(v->smooth, &smooth) || smooth > 1000000000)
            return kr_options_wrong(&kr_command_plot, "--smooth %s: expected auto, or how many points", v->smooth);
        p.smooth = (int64_t)smooth;
    }
    if (v->size && !kr_chart_parse_size(v->size, &width, &height))
        return kr_options_wrong(&kr_command_plot, "--size %s: expected WIDTHxHEIGHT, each from 1 to 20000", v->size);
    for (size_t i = 0; i < KR_METRICS_N_AXES; i++)
        if (strcmp(v->axis, (const char *const[]){ "steps", "tokens", "seconds" }[i]) == 0) p.axis = (kr_metrics_axis)i;
    bool finished = true;
    krait_status status = load_and_show(&p, width, height, &finished, &error);
    bool bad = report_bad_lines(&p);
    int code = status ? kr_report_failure(&kr_command_plot, &error) : finished && !bad ? KR_EXIT_OK : KR_EXIT_FAILURE;
    for (size_t i = 0; i < p.n_runs; i++) kr_metrics_free(&p.runs[i]);
    kr_free(p.runs);
    kr_arena_free(&p.arena);
    return code;
}

const kr_command kr_command_plot = {
    .name = "plot",
    .summary = "draw the curves of training runs",
    .synopsis = "RUN [RUN...] [options]",
    .description =
        "Draws loss, held-out loss, learning rate and speed of training runs in the terminal, or as a picture. A run is "
        "the folder that krait train writes, or its metrics.jsonl (-: from stdin). Several runs are compared in one "
        "picture. Lines that cannot be read are named and passed over, and the exit code is then 1.",
    .examples = "  krait plot runs/novels\n"
                "  krait plot runs/a runs/b -o compared.svg\n"
                "  krait plot runs/a -y loss,grad_norm -x tokens --log x -o a.png\n"
                "  krait plot runs/a --json | jq '.runs[0].series[].name'\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "RUN",
    .operand_offset = AT(runs),
    .operands = true,
    .values_size = sizeof(plot_values),
    .run = run_plot,
};
