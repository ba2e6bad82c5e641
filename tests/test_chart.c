/* Charts: what an axis shows, its ticks, thinned curves; metrics.jsonl; smoothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

#include "cli/chart_axis.c"
#include "cli/metrics.c"

/* The program's; kr_metrics_load() is tested with it. */
krait_status kr_input_read(const char *path, char **data, size_t *size, krait_error *error)
{
    (void)data, (void)size;
    return kr_fail(error, KRAIT_ERROR_IO, "%s", path);
}

bool kr_options_count(const char *text, uint64_t *value)
{
    char *end;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end;
}

/* Labels of an axis' ticks, with blanks between. */
static const char *labels(kr_chart_scale scale, kr_chart_unit unit, double low, double high, size_t wanted)
{
    static char text[1024];
    kr_chart_range range = { low, high, scale, unit, 1, NULL };
    kr_chart_tick ticks[KR_CHART_MAX_TICKS];
    size_t n = kr_chart_ticks(&range, wanted, ticks), used = 0;
    text[0] = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(kr_chart_place(&range, ticks[i].value) > -1e-6 && kr_chart_place(&range, ticks[i].value) < 1 + 1e-6);
        if (i) assert_true(ticks[i].value > ticks[i - 1].value);
        if (ticks[i].text[0]) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", ticks[i].text);
    }
    return text;
}

static void ticks_are_round(void **state)
{
    (void)state;
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_NUMBER, 2.9, 7.7, 5), "3 4 5 6 7");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_NUMBER, 3.21, 3.27, 4), "3.22 3.24 3.26");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_NUMBER, 0, 1e-3, 5), "0 2e-4 4e-4 6e-4 8e-4 1e-3");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_NUMBER, -1, 1, 4), "-1.0 -0.5 0.0 0.5 1.0");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_COUNT, 0, 30000, 6), "0 5k 10k 15k 20k 25k 30k");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_COUNT, 0, 2.5e6, 5), "0 500k 1M 1.5M 2M 2.5M");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_COUNT, 1, 3, 8), "1 2 3");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_SHARE, 0, 1, 4), "0 % 50 % 100 %");
    assert_string_equal(labels(KR_CHART_LINEAR, KR_CHART_SHARE, 0.99, 1, 4), "99.0 % 99.5 % 100.0 %");
    assert_string_equal(labels(KR_CHART_LOG10, KR_CHART_NUMBER, 1e-5, 1, 6), "1e-5 1e-4 1e-3 0.01 0.1 1");
    assert_string_equal(labels(KR_CHART_LOG10, KR_CHART_COUNT, 10, 30000, 5), "10 100 1k 10k");
    assert_string_equal(labels(KR_CHART_LOG10, KR_CHART_NUMBER, 1, 50, 8), "1 2 5 10 20 50");
    assert_string_equal(labels(KR_CHART_LOG10, KR_CHART_NUMBER, 3, 8, 4), "4 6 8");
    assert_string_equal(labels(KR_CHART_LOG2, KR_CHART_BINARY, 64, 1 << 20, 8), "64 256 1K 4K 16K 64K 256K 1M");
    assert_string_equal(labels(KR_CHART_LOG2, KR_CHART_BINARY, 16, 256, 8), "16 32 64 128 256");
}

/* Whatever the range, neither none nor too many, and none outside. */
static void ticks_of_any_range(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double magnitude = pow(10, (double)(seed >> 40 & 255) - 127), size = pow(10, -(double)(seed >> 50 & 15) * 0.7);
        double low = magnitude * ((double)(seed >> 20 & 0xFFFF) / 65536 - 0.3), high = low + magnitude * size;
        kr_chart_scale scale = low > 0 ? (kr_chart_scale)(seed >> 10 & 1) : KR_CHART_LINEAR;
        size_t wanted = 2 + (seed >> 33 & 7);
        kr_chart_range range = { low, high, scale, (kr_chart_unit)(seed >> 60 & 1), 1, NULL };
        kr_chart_tick ticks[KR_CHART_MAX_TICKS];
        size_t n = kr_chart_ticks(&range, wanted, ticks), with_label = 0;
        for (size_t k = 0; k < n; k++) {
            double place = kr_chart_place(&range, ticks[k].value);
            assert_true(place > -1e-5 && place < 1 + 1e-5);
            with_label += ticks[k].text[0] != 0;
            assert_true(strlen(ticks[k].text) < 23);
        }
        assert_true(with_label <= wanted + 1 || scale == KR_CHART_LOG10);
        if (range.unit == KR_CHART_NUMBER && scale == KR_CHART_LINEAR) assert_true(n >= 1);
    }
}

static kr_chart chart_of(const kr_chart_series *series, size_t n, const kr_chart_panel *panel)
{
    return (kr_chart){ .x = { .title = "x" }, .panels = panel, .n_panels = 1, .series = series, .n_series = n };
}

static void ranges_hold_the_values(void **state)
{
    (void)state;
    const double x[] = { 0, 10, 20 }, y[] = { 1, NAN, 3 }, flat[] = { 5, 5, 5 }, below[] = { -1, 0, -2 };
    kr_chart_series series = { .x = x, .y = y, .n = 3 };
    kr_chart_panel panel = { .y = { .title = "loss" }, .height = 1 };
    kr_chart chart = chart_of(&series, 1, &panel);
    kr_chart_range range;
    krait_error error;
    assert_int_equal(kr_chart_x_range(&range, &chart, &error), KRAIT_OK);
    assert_true(range.low == 0 && range.high == 20);
    assert_int_equal(kr_chart_y_range(&range, &chart, 0, &error), KRAIT_OK);
    assert_float_equal(range.low, 0.9, 1e-12);
    assert_float_equal(range.high, 3.1, 1e-12);
    panel.y.zero = true;
    assert_int_equal(kr_chart_y_range(&range, &chart, 0, &error), KRAIT_OK);
    assert_true(range.low == 0);
    panel.y.zero = false;
    series.y = flat;
    assert_int_equal(kr_chart_y_range(&range, &chart, 0, &error), KRAIT_OK);
    assert_true(range.low < 5 && range.high > 5);
    series.y = below;
    panel.y.scale = KR_CHART_LOG10;
    assert_int_equal(kr_chart_y_range(&range, &chart, 0, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "loss: expected values above 0 for a logarithmic scale, found none");
}

/* One outlier among the raw values leaves the curve its room. */
static void a_spike_does_not_press_the_curve_flat(void **state)
{
    (void)state;
    double x[300], y[300], raw[300];
    for (size_t i = 0; i < 300; i++) {
        x[i] = (double)i;
        y[i] = 2;
        raw[i] = 2 + (double)(i % 3) * 0.1;
    }
    raw[150] = 1000;
    kr_chart_series series = { .x = x, .y = y, .raw = raw, .n = 300 };
    kr_chart_panel panel = { .height = 1 };
    kr_chart chart = chart_of(&series, 1, &panel);
    kr_chart_range range;
    assert_int_equal(kr_chart_y_range(&range, &chart, 0, NULL), KRAIT_OK);
    assert_true(range.high < 2.5 && range.high >= 2.2);
}

static void seconds_have_a_unit_that_suits(void **state)
{
    (void)state;
    static const struct {
        double last;
        const char *title;
    } cases[] = { { 90, "time (s)" }, { 3000, "time (min)" }, { 20000, "time (h)" }, { 400000, "time (days)" } };
    for (size_t i = 0; i < 4; i++) {
        const double x[] = { 0, cases[i].last }, y[] = { 1, 2 };
        kr_chart_series series = { .x = x, .y = y, .n = 2 };
        kr_chart_panel panel = { .height = 1 };
        kr_chart chart = chart_of(&series, 1, &panel);
        kr_chart_range range;
        char title[64];
        chart.x = (kr_chart_axis){ .title = "time", .unit = KR_CHART_SECONDS };
        assert_int_equal(kr_chart_x_range(&range, &chart, NULL), KRAIT_OK);
        kr_chart_axis_title(&chart.x, &range, title, sizeof title);
        assert_string_equal(title, cases[i].title);
    }
}

/* A million points become few, and the lowest and the highest are among them. */
static void thinned_curves_keep_their_peaks(void **state)
{
    (void)state;
    const size_t n = 1000000, columns = 200;
    double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    kr_chart_point *points = malloc(KR_CHART_THIN(columns) * sizeof *points);
    for (size_t i = 0; i < n; i++) {
        x[i] = (double)i;
        y[i] = 0.5 + 0.1 * sin((double)i * 0.37);
    }
    y[123456] = 1;
    y[654321] = 0;
    y[500000] = NAN;
    kr_chart_series series = { .x = x, .y = y, .n = n };
    kr_chart_range x_range = { 0, (double)n, KR_CHART_LINEAR, KR_CHART_NUMBER, 1, NULL };
    kr_chart_range y_range = { 0, 1, KR_CHART_LINEAR, KR_CHART_NUMBER, 1, NULL };
    size_t kept = kr_chart_thin(&series, y, &x_range, &y_range, columns, points);
    double low = 1, high = 0;
    assert_true(kept > 2 * columns && kept <= 4 * columns);
    for (size_t i = 0; i < kept; i++) {
        low = fmin(low, points[i].y);
        high = fmax(high, points[i].y);
        if (i) assert_true(points[i].x >= points[i - 1].x);
    }
    assert_true(low == 0 && high == 1);
    assert_true(points[0].x == 0);
    assert_float_equal(points[kept - 1].x, 1 - 1e-6, 1e-9);
    free(x);
    free(y);
    free(points);
}

/* ---- metrics.jsonl ----------------------------------------------------------------------------------------------- */

static krait_status read_text(kr_metrics *metrics, const char *text, krait_error *error)
{
    return kr_metrics_read(metrics, "m.jsonl", text, strlen(text), error);
}

static void series_are_read(void **state)
{
    (void)state;
    kr_metrics m;
    assert_int_equal(read_text(&m,
                               "{\"step\":10,\"tokens\":40960,\"loss\":5.5,\"lr\":1e-3,\"seconds\":3.5,\"time\":\"x\"}\n\n"
                               "{\"step\":20,\"tokens\":81920,\"loss\":4,\"seconds\":7}\r\n"
                               "{\"step\":20,\"held_out_loss\":4.25,\"seconds\":8}\n"
                               "{\"step\":20,\"sample\":\"text\",\"more\":[1,{}]}\n"
                               "{\"step\":30,\"loss\":NaN,\"lr\":null}\n"
                               "{\"step\":40,\"loss\":3.75",
                               NULL),
                     KRAIT_OK);
    assert_int_equal(m.n_series, 3);
    assert_int_equal(m.n_lines, 5);
    assert_int_equal(m.n_bad, 0);
    assert_true(m.cut);
    const kr_metrics_series *loss = kr_metrics_find(&m, "loss"), *held_out = kr_metrics_find(&m, "held_out_loss");
    assert_int_equal(loss->n, 2);
    assert_true(loss->y[0] == 5.5 && loss->y[1] == 4);
    assert_true(loss->x[KR_METRICS_STEPS][1] == 20 && loss->x[KR_METRICS_TOKENS][1] == 81920
                && loss->x[KR_METRICS_SECONDS][1] == 7);
    assert_int_equal(held_out->n, 1);
    assert_true(held_out->y[0] == 4.25 && isnan(held_out->x[KR_METRICS_TOKENS][0]));
    assert_null(kr_metrics_find(&m, "sample"));
    kr_metrics_free(&m);
}

/* What was done behind a checkpoint and once more counts once; the time of the first part stays. */
static void a_run_that_went_on_is_one_curve(void **state)
{
    (void)state;
    kr_metrics m;
    assert_int_equal(read_text(&m,
                               "{\"step\":100,\"loss\":5,\"seconds\":10}\n{\"step\":200,\"loss\":4,\"seconds\":20}\n"
                               "{\"step\":300,\"loss\":3.5,\"seconds\":30}\n{\"event\":\"resumed\",\"step\":200}\n"
                               "{\"step\":300,\"loss\":3.25,\"seconds\":11}\n{\"step\":400,\"loss\":3,\"seconds\":21}\n"
                               "{\"step\":400,\"loss\":2.5,\"seconds\":22}\n",
                               NULL),
                     KRAIT_OK);
    const kr_metrics_series *loss = kr_metrics_find(&m, "loss");
    const double steps[] = { 100, 200, 300, 400 }, values[] = { 5, 4, 3.25, 2.5 }, seconds[] = { 10, 20, 41, 52 };
    assert_int_equal(loss->n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(loss->x[KR_METRICS_STEPS][i] == steps[i]);
        assert_true(loss->x[KR_METRICS_SECONDS][i] == seconds[i]);
        assert_true(loss->y[i] == values[i]);
    }
    assert_int_equal(m.n_resumed, 1);
    assert_true(m.resumed[0] == 200);
    kr_metrics_free(&m);
    /* The same when nobody says so. */
    assert_int_equal(read_text(&m, "{\"step\":100,\"loss\":5}\n{\"step\":200,\"loss\":4}\n{\"step\":150,\"loss\":3}\n", NULL),
                     KRAIT_OK);
    assert_int_equal(kr_metrics_find(&m, "loss")->n, 2);
    assert_true(kr_metrics_find(&m, "loss")->y[1] == 3);
    kr_metrics_free(&m);
}

static void broken_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        { "nonsense", "byte 0: expected a value" },
        { "[1]", "line: expected an object, found array" },
        { "{\"step\":\"x\",\"loss\":1}", "step: expected a number, found string" },
        { "{\"step\":-1}", "step: expected a finite number, at least 0, found -1" },
        { "{\"step\":1,\"seconds\":NaN}", "seconds: expected a finite number" },
        { "{\"step\":1,\"loss\":\"5\"}", "loss: expected a number, found string" },
        { "{\"step\":1,\"loss\":1,\"loss\":2}", "loss" },
        { "{\"step\":3,\"lo", "byte" }, /* not the last line */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        kr_metrics m;
        krait_error error;
        snprintf(text, sizeof text, "{\"step\":1,\"loss\":5}\n%s\n{\"step\":9,\"loss\":4}\n", cases[i].line);
        assert_int_equal(read_text(&m, text, &error), KRAIT_OK);
        assert_int_equal(m.n_bad, 1);
        assert_int_equal(m.bad[0].line, 2);
        if (!strstr(m.bad[0].message, cases[i].message)) fail_msg("%s: %s", cases[i].line, m.bad[0].message);
        assert_int_equal(kr_metrics_find(&m, "loss")->n, 2);
        kr_metrics_free(&m);
        snprintf(text, sizeof text, "\n%s\n", cases[i].line);
        assert_int_equal(read_text(&m, text, &error), KRAIT_ERROR_FORMAT);
        assert_memory_equal(error.message, "m.jsonl: line 2: ", 17);
        kr_metrics_free(&m);
    }
}

static void nothing_to_draw_is_an_error(void **state)
{
    (void)state;
    kr_metrics m;
    krait_error error;
    assert_int_equal(read_text(&m, "", &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "m.jsonl: expected lines of a training run, found none");
    kr_metrics_free(&m);
    assert_int_equal(read_text(&m, "{\"step\":1,\"sample\":\"text\"}\n", &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "m.jsonl: expected a line with a number such as \"loss\", found none");
    kr_metrics_free(&m);
}

/* ---- smoothing --------------------------------------------------------------------------------------------------- */

static void smoothing_keeps_lines_and_lags_nowhere(void **state)
{
    (void)state;
    enum { N = 500 };
    double y[N], smooth[N];
    for (size_t i = 0; i < N; i++) y[i] = 7 - 0.01 * (double)i;
    assert_int_equal(kr_metrics_smooth(smooth, y, N, 31, NULL), KRAIT_OK);
    for (size_t i = 0; i < N; i++) assert_float_equal(smooth[i], y[i], 1e-9);
    /* Noise shrinks. */
    uint64_t seed = 3;
    double before = 0, after = 0;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double noise = (double)(seed >> 33) / 2147483648.0 - 0.5;
        y[i] = 3 + noise;
        before += noise * noise;
    }
    assert_int_equal(kr_metrics_smooth(smooth, y, N, 31, NULL), KRAIT_OK);
    for (size_t i = 0; i < N; i++) after += (smooth[i] - 3) * (smooth[i] - 3);
    assert_true(after < before / 8);
    assert_true(smooth[0] == y[0]);
    assert_int_equal(kr_metrics_smooth(smooth, y, N, 0, NULL), KRAIT_OK);
    assert_memory_equal(smooth, y, sizeof y);
}

static void values_are_written_shortly(void **state)
{
    (void)state;
    static const struct {
        kr_chart_unit unit;
        double value;
        const char *text;
    } cases[] = { { KR_CHART_NUMBER, 3.33, "3.330" },    { KR_CHART_NUMBER, 12.3456, "12.35" },
                  { KR_CHART_NUMBER, 0.01234, "0.012" }, { KR_CHART_NUMBER, 2e-4, "2e-4" },
                  { KR_CHART_NUMBER, 0, "0.000" },       { KR_CHART_NUMBER, 123456, "123456" },
                  { KR_CHART_SHARE, 0.9987, "99.87 %" }, { KR_CHART_NUMBER, NAN, "-" } };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kr_chart_value_text(cases[i].unit, cases[i].value, 4, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
    size_t width, height;
    assert_true(kr_chart_parse_size("900x600", &width, &height) && width == 900 && height == 600);
    static const char *const wrong[] = { "900", "x600", "900x", "0x1", "900x600x", "20001x1", "900X600", "-1x5", "99999999x1" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(kr_chart_parse_size(wrong[i], &width, &height));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(ticks_of_any_range),
        cmocka_unit_test(ranges_hold_the_values),
        cmocka_unit_test(a_spike_does_not_press_the_curve_flat),
        cmocka_unit_test(seconds_have_a_unit_that_suits),
        cmocka_unit_test(thinned_curves_keep_their_peaks),
        cmocka_unit_test(series_are_read),
        cmocka_unit_test(a_run_that_went_on_is_one_curve),
        cmocka_unit_test(broken_lines_are_named),
        cmocka_unit_test(nothing_to_draw_is_an_error),
        cmocka_unit_test(smoothing_keeps_lines_and_lags_nowhere),
        cmocka_unit_test(values_are_written_shortly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
