/* metrics.jsonl: read, or refused with a message; what was read is as the declaration says, and can be drawn in the terminal, on linear
 * and logarithmic scales, whatever the numbers are. The first byte chooses how. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chart_axis.c"
#include "cli/chart_text.c"
#include "cli/metrics.c"
#include "fuzz.h"

/* The program's, and not reached. */
krait_status kr_input_read(const char *path, char **data, size_t *size, krait_error *error)
{
    (void)data, (void)size;
    return kr_fail(error, KRAIT_ERROR_IO, "%s", path);
}
bool kr_options_count(const char *text, uint64_t *value)
{
    (void)text, (void)value;
    return false;
}

static void expect(int condition)
{
    if (!condition) abort();
}

static void draw(const kr_metrics_series *s, int how, FILE *out)
{
    krait_error error = { 0 };
    double *smooth = kr_alloc(s->n, sizeof *smooth);
    expect(smooth && kr_metrics_smooth(smooth, s->y, s->n, (size_t)(how & 7), &error) == KRAIT_OK);
    kr_chart_series series = {
        .x = s->x[how & 1], .y = smooth, .raw = s->y, .n = s->n, .style = (kr_chart_style)(how >> 6 & 1) * 2
    };
    kr_chart_panel box = { .y = { .title = s->name, .scale = how & 8 ? KR_CHART_LOG10 : KR_CHART_LINEAR, .zero = how & 16 },
                           .height = 1 };
    kr_chart chart = { .x = { .title = "x", .scale = (kr_chart_scale)(how % 3), .unit = (kr_chart_unit)((unsigned)how % 5) },
                       .panels = &box,
                       .n_panels = 1,
                       .series = &series,
                       .n_series = 1 };
    if (kr_chart_put(&chart, &(kr_chart_print){ 40, 12, how & 32, how & 128 }, out, &error)) expect(error.message[0]);
    kr_free(smooth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_metrics metrics;
    krait_error error = { 0 };
    FILE *out = fopen("/dev/null", "w");
    int how = size ? *data : 0;
    expect(out != NULL);
    if (kr_metrics_read(&metrics, "metrics", (const char *)data + (size > 0), size - (size > 0), &error)) {
        expect(error.status != KRAIT_OK && error.message[0]);
    } else {
        expect(metrics.n_lines > 0 && metrics.n_series > 0);
        for (size_t i = 0; i < metrics.n_series; i++) {
            const kr_metrics_series *s = &metrics.series[i];
            expect(kr_metrics_find(&metrics, s->name) == s);
            for (size_t k = 0; k < s->n; k++) {
                expect(isfinite(s->y[k]));
                expect(k == 0 || !(s->x[KR_METRICS_STEPS][k] <= s->x[KR_METRICS_STEPS][k - 1]));
            }
            if (s->n && i < 4) draw(s, how, out);
        }
    }
    kr_metrics_free(&metrics);
    fclose(out);
    return 0;
}
