/* Axes of a chart: from values to what is shown of them, to places, to ticks with labels. */
#ifndef KR_CLI_CHART_AXIS_H
#define KR_CLI_CHART_AXIS_H

#include "cli/chart.h"

/* What an axis shows: [low, high], low < high, finite; above 0 when logarithmic. */
typedef struct kr_chart_range {
    double low, high;
    kr_chart_scale scale;
    kr_chart_unit unit;
    double divisor;         /* values are shown divided by it: 60 when seconds are shown as minutes */
    const char *unit_title; /* "min", to be put behind the title; NULL: nothing */
} kr_chart_range;

typedef struct kr_chart_tick {
    double value;
    char text[24]; /* "": a stroke without label */
} kr_chart_tick;

#define KR_CHART_MAX_TICKS 64

/* The ranges of the x axis and of one panel's y axis. Raw values count without the most extreme hundredth, so that a spike does not press
 * the curve flat. */
krait_status kr_chart_x_range(kr_chart_range *range, const kr_chart *chart, krait_error *error);
krait_status kr_chart_y_range(kr_chart_range *range, const kr_chart *chart, size_t panel, krait_error *error);
/* Where a value stands: 0 is low, 1 is high; NaN where there is none. */
double kr_chart_place(const kr_chart_range *range, double value);
/* Ticks at round values in ascending order, about `wanted` with a label (never more than wanted + 1); returns how many there are. */
size_t kr_chart_ticks(const kr_chart_range *range, size_t wanted, kr_chart_tick ticks[KR_CHART_MAX_TICKS]);
/* "training time (min)" */
void kr_chart_axis_title(const kr_chart_axis *axis, const kr_chart_range *range, char *text, size_t size);
/* A value by itself, to `digits` significant ones: for legends. */
void kr_chart_value_text(kr_chart_unit unit, double value, int digits, char *text, size_t size);

/* A curve's points as they are drawn: in the order of x, at most four for each of `columns`, so that a million points make neither
 * a huge file nor a slow terminal, and no peak is lost. */
typedef struct kr_chart_point {
    double x, y; /* as of kr_chart_place(); y NaN: the line ends here */
} kr_chart_point;
/* points [KR_CHART_THIN(columns)]; returns how many. */
#define KR_CHART_THIN(columns) (5 * (columns) + 8)
size_t kr_chart_thin(const kr_chart_series *series, const double *y, const kr_chart_range *x_range, const kr_chart_range *y_range,
                     size_t columns, kr_chart_point *points);

#endif
