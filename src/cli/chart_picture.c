/* Charts as SVG and PNG, by cairo. Letters are drawn as outlines, so that an SVG looks the same everywhere. */
#include "cli/chart.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "cli/chart_axis.h"
#include "cli/output.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

krait_status kr_chart_check_path(const char *path, krait_error *error)
{
    if (!ends_with(path, ".svg") && !ends_with(path, ".png"))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a name that ends with .svg or .png", path);
    if (!kr_chart_can_draw())
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: this build draws in the terminal only: build with cairo (Debian: libcairo2-dev) for pictures", path);
    return KRAIT_OK;
}

#ifndef KRAIT_HAVE_PLOT

bool kr_chart_can_draw(void) { return false; }

krait_status kr_chart_draw(const kr_chart *chart, const char *path, size_t width, size_t height, krait_error *error)
{
    (void)chart, (void)width, (void)height;
    return kr_chart_check_path(path, error);
}

#else

#include <cairo-svg.h>
#include <cairo.h>

bool kr_chart_can_draw(void) { return true; }

/* Told apart by the colour-blind, too, and in print (after Okabe and Ito, darkened for white paper). */
static const double palette[][3] = {
    { 0.000, 0.365, 0.663 }, /* blue */
    { 0.835, 0.329, 0.000 }, /* vermilion */
    { 0.000, 0.540, 0.400 }, /* green */
    { 0.690, 0.290, 0.560 }, /* purple */
    { 0.850, 0.590, 0.000 }, /* amber */
    { 0.220, 0.620, 0.820 }, /* sky */
    { 0.450, 0.310, 0.220 }, /* brown */
    { 0.250, 0.250, 0.250 }, /* black */
};
static const double ink[3] = { 0.13, 0.13, 0.15 }, soft[3] = { 0.38, 0.38, 0.42 }, rule[3] = { 0.90, 0.90, 0.92 };

#define DESIGN_WIDTH 900. /* all measures below are in pixels of a picture this wide */
#define MARGIN       22.
#define TITLE        17. /* sizes of letters */
#define HEADING      12.5
#define LABEL        12.
#define MIN_PANEL    40. /* of height */

typedef struct picture {
    cairo_t *c;
    const kr_chart *chart;
    double width, height; /* in design pixels */
    double left, right;   /* of all panels */
    kr_chart_range x;
    kr_chart_tick x_ticks[KR_CHART_MAX_TICKS];
    size_t n_x_ticks;
} picture;

typedef struct panel {
    double top, bottom;
    kr_chart_range y;
    kr_chart_tick ticks[KR_CHART_MAX_TICKS];
    size_t n_ticks;
} panel;

static void use(picture *p, const double colour[3]) { cairo_set_source_rgb(p->c, colour[0], colour[1], colour[2]); }

static const double *colour_of(size_t index)
{
    return index == KR_CHART_GREY ? soft : palette[index % (sizeof palette / sizeof *palette)];
}

static void set_letters(picture *p, double size, bool bold)
{
    cairo_select_font_face(p->c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(p->c, size);
}

static double width_of(picture *p, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(p->c, text, &extents);
    return extents.x_advance;
}

/* `at`: 0 begins at x, 0.5 is centred there, 1 ends there; y is the base line. */
static void put_text(picture *p, double x, double y, double at, const char *text)
{
    cairo_move_to(p->c, x - at * width_of(p, text), y);
    cairo_show_text(p->c, text);
}

/* Cut to what fits, with an ellipsis, never inside a character. */
static void fit_text(picture *p, const char *text, double width, char *out, size_t size)
{
    size_t length = strlen(text);
    if (length >= size) length = size - 1;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
    memcpy(out, text, length);
    out[length] = 0;
    while (length > 0 && (width_of(p, out) > width || (text[length] && length + 4 > size))) {
        do length--;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80);
        if (length + 4 > size) continue;
        memcpy(out + length, "\xE2\x80\xA6", 4);
    }
}

/* ---- the legend -------------------------------------------------------------------------------------------------- */

static void set_style(picture *p, kr_chart_style style, double width)
{
    static const double dashes[] = { 6, 4 };
    cairo_set_line_width(p->c, width);
    cairo_set_dash(p->c, dashes, style == KR_CHART_DASHED ? 2 : 0, 0);
}

static void put_dot(picture *p, double x, double y, double radius)
{
    cairo_new_sub_path(p->c);
    cairo_arc(p->c, x, y, radius, 0, 2 * M_PI);
    cairo_fill(p->c);
}

#define SAMPLE 24. /* length of a line in the legend, */
#define GAP    7.  /* what is between it and the name, */
#define NOTE   6.  /* between name and note, */
#define NEXT   24. /* and between entries */

static void fit_key(picture *p, const kr_chart_key *key, char *name, size_t size)
{
    double note = key->note ? NOTE + width_of(p, key->note) : 0;
    fit_text(p, key->name, p->width - 2 * MARGIN - SAMPLE - GAP - note, name, size);
}

static double key_width(picture *p, const kr_chart_key *key)
{
    char name[256];
    fit_key(p, key, name, sizeof name);
    return SAMPLE + GAP + width_of(p, name) + (key->note ? NOTE + width_of(p, key->note) : 0);
}

static void put_key(picture *p, const kr_chart_key *key, double x, double y)
{
    char name[256];
    fit_key(p, key, name, sizeof name);
    use(p, colour_of(key->colour));
    set_style(p, key->style, 2);
    cairo_move_to(p->c, x, y - 4);
    cairo_line_to(p->c, x + SAMPLE, y - 4);
    cairo_stroke(p->c);
    if (key->style == KR_CHART_DOTTED) put_dot(p, x + SAMPLE / 2, y - 4, 3.2);
    use(p, ink);
    put_text(p, x + SAMPLE + GAP, y, 0, name);
    use(p, soft);
    if (key->note) put_text(p, x + SAMPLE + GAP + width_of(p, name) + NOTE, y, 0, key->note);
}

/* Entries from left to right, in as many rows as they need; returns where they end. The grey ones, which explain styles, stay together. */
static double put_keys(picture *p, double top)
{
    double x = MARGIN, y = top + 14, end = p->width - MARGIN;
    if (!p->chart->n_keys) return top;
    set_letters(p, LABEL, false);
    for (size_t i = 0; i < p->chart->n_keys; i++) {
        const kr_chart_key *key = &p->chart->keys[i];
        double width = key_width(p, key), group = width;
        bool first_grey = key->colour == KR_CHART_GREY && i > 0 && key[-1].colour != KR_CHART_GREY;
        for (size_t k = i + 1; first_grey && k < p->chart->n_keys; k++) group += NEXT + key_width(p, &p->chart->keys[k]);
        if (x > MARGIN && x + group > end) {
            x = MARGIN;
            y += 20;
        }
        put_key(p, key, x, y);
        x += width + NEXT;
    }
    return y + 6;
}

/* ---- curves ------------------------------------------------------------------------------------------------------ */

/* Distance of q from the line through p and r. */
static double off_line(kr_chart_point p, kr_chart_point q, kr_chart_point r)
{
    double dx = r.x - p.x, dy = r.y - p.y, length = hypot(dx, dy);
    return length > 0 ? fabs((q.x - p.x) * dy - (q.y - p.y) * dx) / length : hypot(q.x - p.x, q.y - p.y);
}

/* From places to pixels, on a grid that keeps the numbers in an SVG short. */
static void to_pixels(picture *p, const panel *box, kr_chart_point *points, size_t n)
{
    const double grid = 16;
    for (size_t i = 0; i < n; i++) {
        points[i].x = round((p->left + points[i].x * (p->right - p->left)) * grid) / grid;
        points[i].y = round((box->bottom - points[i].y * (box->bottom - box->top)) * grid) / grid;
    }
}

/* Points that the line between their neighbours passes through anyway are left out. */
static void trace(picture *p, const kr_chart_point *points, size_t n)
{
    const double tolerance = 0.1;
    bool down = false;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(points[i].y)) {
            down = false;
            continue;
        }
        bool last = i + 1 == n || isnan(points[i + 1].y);
        if (!down) {
            cairo_move_to(p->c, points[i].x, points[i].y);
            /* A point alone between gaps is a dot, by its round ends. */
            if (last) cairo_line_to(p->c, points[i].x, points[i].y);
            kept = i;
            down = true;
            continue;
        }
        bool straight = !last && i - kept < 32;
        for (size_t k = kept + 1; k <= i && straight; k++)
            straight = off_line(points[kept], points[k], points[i + 1]) < tolerance;
        if (straight) continue;
        cairo_line_to(p->c, points[i].x, points[i].y);
        kept = i;
    }
}

static void put_series(picture *p, const panel *box, const kr_chart_series *s, bool raw, kr_chart_point *points, size_t columns)
{
    const double *colour = colour_of(s->colour);
    size_t n = kr_chart_thin(s, raw ? s->raw : s->y, &p->x, &box->y, columns, points);
    to_pixels(p, box, points, n);
    cairo_set_line_join(p->c, CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(p->c, CAIRO_LINE_CAP_ROUND);
    if (raw) {
        cairo_set_source_rgba(p->c, colour[0], colour[1], colour[2], 0.27);
        set_style(p, KR_CHART_LINE, 1);
    } else {
        use(p, colour);
        set_style(p, s->style, 1.9);
    }
    trace(p, points, n);
    cairo_stroke(p->c);
    if (raw || s->style != KR_CHART_DOTTED || n > 80) return;
    for (size_t i = 0; i < n; i++)
        if (isfinite(points[i].y)) put_dot(p, points[i].x, points[i].y, 3.2);
}

static krait_status put_curves(picture *p, const panel *box, size_t index, krait_error *error)
{
    size_t columns = (size_t)(p->right - p->left);
    kr_chart_point *points = kr_alloc(KR_CHART_THIN(columns), sizeof *points);
    if (!points) return kr_fail_memory(error, "chart", KR_CHART_THIN(columns) * sizeof *points);
    cairo_save(p->c);
    cairo_rectangle(p->c, p->left - 4, box->top, p->right - p->left + 8, box->bottom - box->top);
    cairo_clip(p->c);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < p->chart->n_series; i++) {
            const kr_chart_series *s = &p->chart->series[i];
            if (s->panel == index && (pass == 1 || s->raw)) put_series(p, box, s, pass == 0, points, columns);
        }
    cairo_restore(p->c);
    kr_free(points);
    return KRAIT_OK;
}

/* ---- panels ------------------------------------------------------------------------------------------------------ */

/* On whole pixels and a half, where lines are sharp. */
static void put_rule(picture *p, double x0, double y0, double x1, double y1)
{
    double nudge = 0.5;
    cairo_move_to(p->c, floor(x0) + nudge, floor(y0) + nudge);
    cairo_line_to(p->c, floor(x1) + nudge, floor(y1) + nudge);
    cairo_stroke(p->c);
}

static void put_grid(picture *p, const panel *box, bool last)
{
    set_style(p, KR_CHART_LINE, 1);
    cairo_set_line_cap(p->c, CAIRO_LINE_CAP_BUTT);
    use(p, rule);
    for (size_t i = 0; i < p->n_x_ticks; i++) {
        double x = p->left + kr_chart_place(&p->x, p->x_ticks[i].value) * (p->right - p->left);
        if (p->x_ticks[i].text[0]) put_rule(p, x, box->top, x, box->bottom);
    }
    for (size_t i = 0; i < box->n_ticks; i++) {
        double y = box->bottom - kr_chart_place(&box->y, box->ticks[i].value) * (box->bottom - box->top);
        if (box->ticks[i].text[0]) put_rule(p, p->left, y, p->right, y);
    }
    set_letters(p, LABEL, false);
    use(p, soft);
    for (size_t i = 0; i < box->n_ticks; i++) {
        double y = box->bottom - kr_chart_place(&box->y, box->ticks[i].value) * (box->bottom - box->top);
        put_text(p, p->left - 9, y + 0.36 * LABEL, 1, box->ticks[i].text);
        if (!box->ticks[i].text[0]) put_rule(p, p->left - 3, y, p->left, y);
    }
    put_rule(p, p->left, box->bottom, p->right, box->bottom);
    for (size_t i = 0; last && i < p->n_x_ticks; i++) {
        double x = p->left + kr_chart_place(&p->x, p->x_ticks[i].value) * (p->right - p->left);
        put_rule(p, x, box->bottom, x, box->bottom + (p->x_ticks[i].text[0] ? 5 : 3));
        put_text(p, x, box->bottom + 19, 0.5, p->x_ticks[i].text);
    }
}

/* How far a curve of the first panel comes to height y between two pixels of x. */
static double distance_to_curve(const picture *p, const panel *box, const kr_chart_series *s, double from, double to, double y)
{
    double least = INFINITY, x0 = NAN, y0 = NAN;
    for (size_t i = 0; i < s->n; i++) {
        double x1 = p->left + kr_chart_place(&p->x, s->x[i]) * (p->right - p->left);
        double y1 = box->bottom - kr_chart_place(&box->y, s->y[i]) * (box->bottom - box->top);
        /* The part of the stroke that is above or below. */
        double a = fmax(from, x0), b = fmin(to, x1), slope = x1 > x0 ? (y1 - y0) / (x1 - x0) : 0;
        if (a <= b && isfinite(y0) && isfinite(y1)) {
            double ya = y0 + slope * (a - x0), yb = y0 + slope * (b - x0);
            least = fmin(least, (ya - y) * (yb - y) <= 0 ? 0 : fmin(fabs(ya - y), fabs(yb - y)));
        }
        x0 = x1;
        y0 = y1;
    }
    return least;
}

/* The height, as high as can be, at which letters between two pixels of x do not stand on a curve; or the least bad one. */
static double free_height(const picture *p, const panel *box, double from, double to)
{
    const double size = LABEL, enough = size + 2;
    double best = box->top + 13, best_distance = -1;
    for (double y = box->top + 13; y < box->bottom - 6; y += size) {
        double distance = INFINITY;
        for (size_t i = 0; i < p->chart->n_series; i++)
            if (p->chart->series[i].panel == 0)
                distance = fmin(distance, distance_to_curve(p, box, &p->chart->series[i], from, to, y - size / 3));
        if (distance >= enough) return y;
        if (distance > best_distance) {
            best_distance = distance;
            best = y;
        }
    }
    return best;
}

static void put_marks(picture *p, const panel *boxes)
{
    static const double dots[] = { 1.5, 3 };
    double free_from = p->left - 1;
    for (size_t i = 0; i < p->chart->n_marks; i++) {
        const kr_chart_mark *mark = &p->chart->marks[i];
        double place = kr_chart_place(&p->x, mark->x), x = p->left + place * (p->right - p->left);
        if (!(place >= 0 && place <= 1)) continue;
        use(p, soft);
        cairo_set_line_width(p->c, 1.2);
        cairo_set_dash(p->c, dots, 2, 0);
        for (size_t k = 0; k < p->chart->n_panels; k++) put_rule(p, x, boxes[k].top, x, boxes[k].bottom);
        set_letters(p, LABEL - 1, false);
        double width = width_of(p, mark->text ? mark->text : "");
        bool to_left = x + 6 + width > p->right;
        double from = to_left ? x - 6 - width : x + 6;
        if (!mark->text || from < free_from) continue; /* its letters would stand on another's */
        put_text(p, from, free_height(p, &boxes[0], from, from + width), 0, mark->text);
        free_from = from + width + 8;
    }
}

/* As many ticks as have room for their labels. */
static void choose_x_ticks(picture *p)
{
    double room = p->right - p->left;
    set_letters(p, LABEL, false);
    for (size_t wanted = (size_t)fmax(room / 60, 2); wanted > 0; wanted--) {
        double end = -INFINITY;
        bool fits = true;
        p->n_x_ticks = kr_chart_ticks(&p->x, wanted, p->x_ticks);
        for (size_t i = 0; i < p->n_x_ticks && fits; i++) {
            if (!p->x_ticks[i].text[0]) continue;
            double x = kr_chart_place(&p->x, p->x_ticks[i].value) * room, half = width_of(p, p->x_ticks[i].text) / 2;
            fits = x - half >= end;
            end = x + half + 14;
        }
        if (fits) return;
    }
}

static krait_status lay_out(picture *p, panel *boxes, double top, krait_error *error)
{
    const kr_chart *chart = p->chart;
    double total = 0, widest = 0, head = 36, foot = chart->x.title ? 48 : 30;
    double room = p->height - top - foot - MARGIN / 2 - head * (double)chart->n_panels;
    krait_status status = kr_chart_x_range(&p->x, chart, error);
    if (status) return status;
    if (room < MIN_PANEL * (double)chart->n_panels)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "a picture of this size has no room for %zu panels: expected more height",
                       chart->n_panels);
    for (size_t i = 0; i < chart->n_panels; i++) total += chart->panels[i].height;
    set_letters(p, LABEL, false);
    for (size_t i = 0; i < chart->n_panels; i++) {
        panel *box = &boxes[i];
        double height = MIN_PANEL + (room - MIN_PANEL * (double)chart->n_panels) * chart->panels[i].height / total;
        box->top = top + head;
        box->bottom = top = floor(box->top + height);
        if ((status = kr_chart_y_range(&box->y, chart, i, error))) return status;
        box->n_ticks = kr_chart_ticks(&box->y, (size_t)fmax(height / 30, 2), box->ticks);
        for (size_t k = 0; k < box->n_ticks; k++) widest = fmax(widest, width_of(p, box->ticks[k].text));
    }
    p->left = floor(MARGIN + widest + 10);
    p->right = floor(p->width - MARGIN - 6);
    choose_x_ticks(p);
    return KRAIT_OK;
}

static krait_status draw(picture *p, krait_error *error)
{
    panel boxes[KR_CHART_MAX_PANELS];
    const kr_chart *chart = p->chart;
    char text[256];
    double top = MARGIN * 0.7;
    cairo_set_source_rgb(p->c, 1, 1, 1);
    cairo_paint(p->c);
    if (chart->title) {
        set_letters(p, TITLE, true);
        use(p, ink);
        fit_text(p, chart->title, p->width - 2 * MARGIN, text, sizeof text);
        put_text(p, MARGIN, top + 20, 0, text);
        top += 32;
    }
    top = put_keys(p, top);
    krait_status status = lay_out(p, boxes, top, error);
    for (size_t i = 0; i < chart->n_panels && !status; i++) {
        put_grid(p, &boxes[i], i + 1 == chart->n_panels);
        set_letters(p, HEADING, true);
        use(p, ink);
        kr_chart_axis_title(&chart->panels[i].y, &boxes[i].y, text, sizeof text);
        put_text(p, MARGIN, boxes[i].top - 11, 0, text);
    }
    if (status) return status;
    put_marks(p, boxes);
    for (size_t i = 0; i < chart->n_panels && !status; i++) status = put_curves(p, &boxes[i], i, error);
    set_letters(p, HEADING, false);
    use(p, ink);
    kr_chart_axis_title(&chart->x, &p->x, text, sizeof text);
    put_text(p, (p->left + p->right) / 2, boxes[chart->n_panels - 1].bottom + 40, 0.5, text);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static cairo_status_t keep(void *user, const unsigned char *data, unsigned length)
{
    return kr_output_write(user, data, length, NULL) ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

static size_t suitable_height(const kr_chart *chart)
{
    double total = 0;
    for (size_t i = 1; i < chart->n_panels; i++) total += chart->panels[i].height / chart->panels[0].height;
    return (size_t)(540 + 330 * total);
}

krait_status kr_chart_draw(const kr_chart *chart, const char *path, size_t width, size_t height, krait_error *error)
{
    kr_output out;
    krait_status status = kr_chart_check_path(path, error);
    if (status) return status;
    bool png = ends_with(path, ".png");
    if (!width) width = (size_t)DESIGN_WIDTH;
    double scale = (double)width / DESIGN_WIDTH;
    if (!height) height = (size_t)((double)suitable_height(chart) * scale);
    if ((status = kr_output_open(&out, path, error))) return status;
    cairo_surface_t *surface = png ? cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height)
                                   : cairo_svg_surface_create_for_stream(keep, &out, (double)width, (double)height);
    if (!png) cairo_svg_surface_set_document_unit(surface, CAIRO_SVG_UNIT_PX);
    cairo_t *c = cairo_create(surface);
    cairo_font_options_t *letters = cairo_font_options_create();
    cairo_font_options_set_hint_metrics(letters, CAIRO_HINT_METRICS_OFF); /* the same widths in both kinds of file */
    cairo_font_options_set_hint_style(letters, CAIRO_HINT_STYLE_SLIGHT);
    cairo_font_options_set_antialias(letters, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(c, letters);
    cairo_font_options_destroy(letters);
    cairo_scale(c, scale, scale);
    picture p = { .c = c, .chart = chart, .width = (double)width / scale, .height = (double)height / scale };
    status = draw(&p, error);
    cairo_show_page(c);
    cairo_status_t drawn = cairo_status(c);
    cairo_destroy(c);
    if (png && !drawn && !status) drawn = cairo_surface_write_to_png_stream(surface, keep, &out);
    cairo_surface_finish(surface);
    if (!drawn) drawn = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    if (!status && drawn && !out.failed)
        status = kr_fail(error, drawn == CAIRO_STATUS_NO_MEMORY ? KRAIT_ERROR_MEMORY : KRAIT_ERROR_IO, "%s: cannot draw: %s",
                         path, cairo_status_to_string(drawn));
    return kr_output_close(&out, status, error);
}

#endif
