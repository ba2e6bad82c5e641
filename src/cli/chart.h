/* Charts: curves over a shared x axis in one panel or several, as a picture (SVG, PNG) and in the terminal. What is drawn is
 * described once, by a kr_chart; everything that it points to stays the caller's.
 *
 *     +----------------------------------------------+
 *     | title                                        |
 *     | -- key   -- key   note                       |
 *     | heading of the panel's y axis                |
 *     |  3 |\.         :mark                         |
 *     |  2 |  `--.     :                             |
 *     |  1 |      `----:---------                    |
 *     |    0     10k     20k                         |
 *     |           title of the x axis                |
 *     +----------------------------------------------+
 */
#ifndef KR_CLI_CHART_H
#define KR_CLI_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "krait/krait.h"

typedef enum kr_chart_scale { KR_CHART_LINEAR = 0, KR_CHART_LOG10, KR_CHART_LOG2 } kr_chart_scale;

/* How values are written at ticks. */
typedef enum kr_chart_unit {
    KR_CHART_NUMBER = 0, /* 2.5, 1e-4 */
    KR_CHART_COUNT,      /* 500, 20k, 1.5M */
    KR_CHART_BINARY,     /* 64, 1K, 1M: powers of 1024 */
    KR_CHART_SECONDS,    /* in s, min, h or days, which the axis' title then names */
    KR_CHART_SHARE       /* 0.75 as 75 % */
} kr_chart_unit;

typedef struct kr_chart_axis {
    const char *title;
    kr_chart_scale scale;
    kr_chart_unit unit;
    bool zero;        /* begins at 0 (of a linear scale) */
    double low, high; /* what is shown; both 0: as much as there are values */
} kr_chart_axis;

typedef enum kr_chart_style {
    KR_CHART_LINE = 0,
    KR_CHART_DASHED,
    KR_CHART_DOTTED /* a line with a dot at every point */
} kr_chart_style;

#define KR_CHART_NO_KEY ((size_t)-1)
#define KR_CHART_GREY   ((size_t)-1)

typedef struct kr_chart_series {
    size_t panel;
    size_t key;        /* the entry of the legend that names it, or KR_CHART_NO_KEY */
    const double *x;   /* [n] not descending */
    const double *y;   /* [n]; what is not finite is a gap */
    const double *raw; /* [n] or NULL: drawn pale behind */
    size_t n;
    size_t colour; /* counted from 0, they repeat; KR_CHART_GREY */
    kr_chart_style style;
} kr_chart_series;

/* An entry of the legend. */
typedef struct kr_chart_key {
    const char *name, *note; /* note: NULL, or what is written behind it in grey */
    size_t colour;
    kr_chart_style style;
} kr_chart_key;

typedef struct kr_chart_panel {
    kr_chart_axis y; /* its title is the panel's heading */
    double height;   /* relative to the other panels */
} kr_chart_panel;

/* A vertical line through all panels. */
typedef struct kr_chart_mark {
    double x;
    const char *text;
} kr_chart_mark;

#define KR_CHART_MAX_PANELS 12

typedef struct kr_chart {
    const char *title; /* NULL: none */
    kr_chart_axis x;
    const kr_chart_panel *panels; /* [n_panels], from the top; 1 .. KR_CHART_MAX_PANELS */
    size_t n_panels;
    const kr_chart_series *series; /* later ones are drawn over earlier ones */
    size_t n_series;
    const kr_chart_key *keys;
    size_t n_keys;
    const kr_chart_mark *marks;
    size_t n_marks;
} kr_chart;

/* Whether this build can draw pictures. */
bool kr_chart_can_draw(void);
/* "picture.svg" or "picture.png", by its end; KRAIT_ERROR_ARGUMENT for other names, KRAIT_ERROR_UNSUPPORTED in a build without cairo. */
krait_status kr_chart_check_path(const char *path, krait_error *error);
/* Draws it into a file that appears complete or not at all. `width` and `height` are in pixels, 0 for what suits; letters and lines grow
 * with the width. Nothing that can be shown (no finite point, none above 0 on a logarithmic scale) is KRAIT_ERROR_ARGUMENT. */
krait_status kr_chart_draw(const kr_chart *chart, const char *path, size_t width, size_t height, krait_error *error);

typedef struct kr_chart_print {
    size_t columns, rows; /* 0: those of the terminal, else 80 x 24; at least 30 x 8 are used */
    bool ascii;           /* letters and strokes instead of braille dots */
    bool colour;          /* else several curves are told apart by letters on them */
} kr_chart_print;

krait_status kr_chart_put(const kr_chart *chart, const kr_chart_print *how, FILE *out, krait_error *error);

/* "900x600" as two numbers from 1 to 20000; false if it is none. */
bool kr_chart_parse_size(const char *text, size_t *width, size_t *height);

#endif
