/* Charts in the terminal: braille dots, two by four in a character, or letters and strokes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/chart.h"
#include "cli/chart_axis.h"
#include "cli/report.h"

#define MIN_COLUMNS 30
#define MIN_ROWS    8
#define MAX_SIDE    1000

/* Of 256 colours: the picture's palette, on light and on dark grounds. */
static const int palette[] = { 33, 202, 35, 169, 178, 81, 137, 245 };

/* One character of a panel. */
typedef struct cell {
    unsigned char dots; /* bit 4 * column + row of a braille character */
    char letter;        /* stands instead of the dots; 0: none */
    size_t colour;
    bool dim, mark;
} cell;

typedef struct canvas {
    const kr_chart *chart;
    kr_chart_print how;
    FILE *out;
    size_t left;    /* characters before the axis */
    size_t columns; /* characters of a panel */
    kr_chart_range x;
    kr_chart_tick x_ticks[KR_CHART_MAX_TICKS];
    size_t n_x_ticks;
} canvas;

typedef struct panel {
    size_t rows;
    kr_chart_range y;
    kr_chart_tick ticks[KR_CHART_MAX_TICKS];
    size_t n_ticks;
    cell *cells; /* [rows, columns] */
} panel;

/* ---- letters ----------------------------------------------------------------------------------------------------- */

/* How many columns a text takes: its characters, none of which is taken to be wide. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void put_spaces(FILE *out, size_t n)
{
    while (n--) fputc(' ', out);
}

/* At most `width` columns of it. */
static void put_cut(FILE *out, const char *text, size_t width, bool ascii)
{
    size_t n = width_of(text), keep = n > width && width > 0 ? width - 1 : n;
    for (; *text && (keep > 0 || ((unsigned char)*text & 0xC0) == 0x80); text++) {
        keep -= ((unsigned char)*text & 0xC0) != 0x80;
        fputc(*text, out);
    }
    if (n > width) fputs(ascii ? "~" : "\xE2\x80\xA6", out);
}

static void begin_colour(const canvas *c, size_t colour, bool dim)
{
    if (!c->how.colour) return;
    if (dim)
        fputs(KR_DIM, c->out);
    else if (colour != KR_CHART_GREY)
        fprintf(c->out, "\033[38;5;%dm", palette[colour % (sizeof palette / sizeof *palette)]);
}

static void end_colour(const canvas *c)
{
    if (c->how.colour) fputs(KR_PLAIN, c->out);
}

#define BULLET 1 /* a letter that is no letter */

static char letter_of(size_t key) { return key == KR_CHART_NO_KEY ? '*' : (char)('a' + key % 26); }

/* ---- dots and strokes -------------------------------------------------------------------------------------------- */

/* Dots of a cell: two by four, or one in ASCII. */
static size_t dots_across(const canvas *c) { return c->how.ascii ? 1 : 2; }
static size_t dots_down(const canvas *c) { return c->how.ascii ? 1 : 4; }

typedef struct pen {
    size_t colour, key;
    bool dim;
    size_t dash; /* 0: whole; else so many dots on, as many off */
} pen;

static void put_dot(const canvas *c, panel *box, long x, long y, const pen *with)
{
    long across = (long)dots_across(c), down = (long)dots_down(c);
    if (x < 0 || y < 0 || x >= across * (long)c->columns || y >= down * (long)box->rows) return;
    cell *at = &box->cells[(size_t)(y / down) * c->columns + (size_t)(x / across)];
    if (at->dim && !with->dim) at->dots = 0; /* a cell has one colour: the curve's own dots alone */
    if (c->how.ascii)
        at->letter = with->key == KR_CHART_NO_KEY || c->chart->n_keys < 2 ? '*' : letter_of(with->key);
    else
        at->dots |= (unsigned char)(1 << (4 * (x % across) + y % down));
    at->colour = with->colour;
    at->dim = with->dim;
    at->mark = false;
}

/* Between two places in dots, both near the panel. */
static void put_stroke(const canvas *c, panel *box, double x0, double y0, double x1, double y1, const pen *with)
{
    double steps = fmax(ceil(fmax(fabs(x1 - x0), fabs(y1 - y0))), 1);
    for (double i = 0; i <= steps; i++) {
        double t = i / steps, x = x0 + t * (x1 - x0), y = y0 + t * (y1 - y0);
        if (with->dash && ((long)floor(x) / (long)with->dash) % 2) continue;
        put_dot(c, box, lround(x), lround(y), with);
    }
}

/* A point as dots, y downwards. Far outside is cut, so that a stroke has an end. */
static void to_dots(const canvas *c, const panel *box, kr_chart_point p, double *x, double *y)
{
    double across = (double)(dots_across(c) * c->columns - 1), down = (double)(dots_down(c) * box->rows - 1);
    *x = fmin(fmax(p.x, -1), 2) * across;
    *y = (1 - fmin(fmax(p.y, -1), 2)) * down;
}

/* The character that a point is in; NULL: it is outside. */
static cell *cell_at(const canvas *c, panel *box, kr_chart_point p)
{
    if (!(p.x >= 0 && p.x <= 1 && p.y >= 0 && p.y <= 1)) return NULL;
    size_t column = (size_t)lround(p.x * (double)(c->columns - 1)), row = (size_t)lround((1 - p.y) * (double)(box->rows - 1));
    return &box->cells[row * c->columns + column];
}

static void put_series(const canvas *c, panel *box, const kr_chart_series *s, bool raw, kr_chart_point *points)
{
    size_t n = kr_chart_thin(s, raw ? s->raw : s->y, &c->x, &box->y, dots_across(c) * c->columns, points);
    pen with = { .colour = s->colour, .key = s->key, .dim = raw, .dash = s->style == KR_CHART_DASHED ? 3 : 0 };
    double x0 = 0, y0 = 0, x1, y1;
    bool down = false;
    for (size_t i = 0; i < n; i++) {
        if (isnan(points[i].y)) {
            down = false;
            continue;
        }
        to_dots(c, box, points[i], &x1, &y1);
        if (raw || !down)
            put_dot(c, box, lround(x1), lround(y1), &with);
        else
            put_stroke(c, box, x0, y0, x1, y1, &with);
        x0 = x1;
        y0 = y1;
        down = true;
    }
    if (raw || s->style != KR_CHART_DOTTED || c->how.ascii || n > 80) return;
    for (size_t i = 0; i < n; i++) {
        cell *at = isfinite(points[i].y) ? cell_at(c, box, points[i]) : NULL;
        if (at) *at = (cell){ .letter = c->how.colour || c->chart->n_keys < 2 ? BULLET : letter_of(s->key), .colour = s->colour };
    }
}

/* On black and white, letters on the curves say which is which: each at three places of its own. */
static void put_letters(const canvas *c, panel *box, size_t index, kr_chart_point *points)
{
    size_t order = 0;
    for (size_t i = 0; i < c->chart->n_series; i++) {
        const kr_chart_series *s = &c->chart->series[i];
        if (s->panel != index || s->key == KR_CHART_NO_KEY || s->style == KR_CHART_DOTTED || s->colour == KR_CHART_GREY) continue;
        size_t n = kr_chart_thin(s, s->y, &c->x, &box->y, c->columns, points);
        for (size_t k = 0; k < 3; k++) {
            double want = (0.18 + 0.3 * (double)k + 0.05 * (double)(order % 6)), nearest = INFINITY;
            kr_chart_point at = { 0 };
            for (size_t j = 0; j < n; j++)
                if (isfinite(points[j].y) && points[j].y >= 0 && points[j].y <= 1 && fabs(points[j].x - want) < nearest) {
                    nearest = fabs(points[j].x - want);
                    at = points[j];
                }
            if (!isfinite(nearest)) break;
            cell *there = cell_at(c, box, at);
            if (there) there->letter = letter_of(s->key);
        }
        order++;
    }
}

/* ---- what stands around ------------------------------------------------------------------------------------------ */

static void put_keys(const canvas *c)
{
    size_t at = 0, width = c->left + 1 + c->columns;
    bool letters = !c->how.colour && c->chart->n_keys > 1;
    for (size_t i = 0; i < c->chart->n_keys; i++) {
        const kr_chart_key *key = &c->chart->keys[i];
        if (key->colour == KR_CHART_GREY && (letters || c->how.ascii)) continue; /* styles, which letters do not have */
        size_t note = key->note ? 1 + width_of(key->note) : 0, name = width_of(key->name);
        if (name + note + 4 > width) name = width > note + 5 ? width - note - 4 : 1;
        if (at && at + 3 + 3 + name + note > width) {
            fputc('\n', c->out);
            at = 0;
        }
        if (at) fputs("   ", c->out);
        at += (at ? 3 : 0) + 3 + name + note;
        begin_colour(c, key->colour, false);
        if (letters)
            fprintf(c->out, "%c  ", letter_of(i));
        else if (c->how.ascii)
            fputs(key->style == KR_CHART_DASHED ? "-  " : "-- ", c->out);
        else
            fputs(key->style == KR_CHART_DASHED   ? "\xE2\x95\x8C\xE2\x95\x8C "
                  : key->style == KR_CHART_DOTTED ? "\xE2\x80\xA2\xE2\x94\x80 "
                                                  : "\xE2\x94\x80\xE2\x94\x80 ",
                  c->out);
        end_colour(c);
        put_cut(c->out, key->name, name, c->how.ascii);
        if (key->note) fprintf(c->out, " %s", key->note);
    }
    if (c->chart->n_keys) fputc('\n', c->out);
}

static void put_cell(const canvas *c, const cell *at)
{
    if (at->letter) {
        begin_colour(c, at->colour, at->dim);
        if (at->letter == BULLET)
            fputs("\xE2\x80\xA2", c->out);
        else
            fputc(at->letter, c->out);
        end_colour(c);
    } else if (at->dots && !at->mark) {
        /* Unicode numbers the dots 1-3 and 7 on the left, 4-6 and 8 on the right. */
        static const unsigned char bits[8] = { 0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80 };
        unsigned code = 0x2800;
        for (int i = 0; i < 8; i++) code |= at->dots >> i & 1 ? bits[i] : 0;
        begin_colour(c, at->colour, at->dim);
        fprintf(c->out, "%c%c%c", 0xE0 | code >> 12, 0x80 | (code >> 6 & 0x3F), 0x80 | (code & 0x3F));
        end_colour(c);
    } else if (at->mark) {
        begin_colour(c, KR_CHART_GREY, true);
        fputs(c->how.ascii ? ":" : "\xE2\x94\x8A", c->out);
        end_colour(c);
    } else {
        fputc(' ', c->out);
    }
}

static void put_rows(const canvas *c, const panel *box)
{
    for (size_t row = 0; row < box->rows; row++) {
        const char *label = "";
        bool tick = false;
        for (size_t i = 0; i < box->n_ticks; i++) {
            double place = kr_chart_place(&box->y, box->ticks[i].value);
            if (lround((1 - place) * (double)(box->rows - 1)) != (long)row || !box->ticks[i].text[0]) continue;
            label = box->ticks[i].text;
            tick = true;
        }
        put_spaces(c->out, c->left - width_of(label) - 1);
        fprintf(c->out, "%s %s", label, c->how.ascii ? (tick ? "+" : "|") : (tick ? "\xE2\x94\xA4" : "\xE2\x94\x82"));
        size_t end = c->columns;
        const cell *line = &box->cells[row * c->columns];
        while (end > 0 && !line[end - 1].dots && !line[end - 1].letter && !line[end - 1].mark) end--;
        for (size_t i = 0; i < end; i++) put_cell(c, &line[i]);
        fputc('\n', c->out);
    }
}

static size_t column_of(const canvas *c, double x)
{
    double place = kr_chart_place(&c->x, x);
    return (size_t)lround(fmin(fmax(place, 0), 1) * (double)(c->columns - 1));
}

static void put_x_axis(const canvas *c)
{
    char title[128];
    put_spaces(c->out, c->left);
    fputs(c->how.ascii ? "+" : "\xE2\x94\x94", c->out);
    for (size_t i = 0; i < c->columns; i++) {
        bool tick = false;
        for (size_t k = 0; k < c->n_x_ticks; k++)
            tick = tick || (c->x_ticks[k].text[0] && column_of(c, c->x_ticks[k].value) == i);
        fputs(c->how.ascii ? (tick ? "+" : "-") : (tick ? "\xE2\x94\xB4" : "\xE2\x94\x80"), c->out);
    }
    fputc('\n', c->out);
    size_t at = 0; /* columns written */
    for (size_t k = 0; k < c->n_x_ticks; k++) {
        const char *text = c->x_ticks[k].text;
        size_t width = width_of(text), middle = c->left + 1 + column_of(c, c->x_ticks[k].value);
        size_t from = middle > width / 2 ? middle - width / 2 : 0;
        if (!width || from < at + (at > 0)) continue;
        put_spaces(c->out, from - at);
        fputs(text, c->out);
        at = from + width;
    }
    kr_chart_axis_title(&c->chart->x, &c->x, title, sizeof title);
    size_t width = width_of(title);
    fputc('\n', c->out);
    if (!width) return;
    put_spaces(c->out, c->columns > width ? c->left + 1 + (c->columns - width) / 2 : 0);
    fprintf(c->out, "%s\n", title);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static size_t bounded(size_t value, size_t low, size_t high) { return value < low ? low : value > high ? high : value; }

static void measure_terminal(kr_chart_print *how, FILE *out)
{
    struct winsize size = { 0 };
    bool terminal = isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    if (!how->columns) how->columns = terminal ? size.ws_col : 80;
    if (!how->rows) how->rows = terminal ? size.ws_row - 1u : 24; /* a row for the prompt */
    how->columns = bounded(how->columns, MIN_COLUMNS, MAX_SIDE);
    how->rows = bounded(how->rows, MIN_ROWS, MAX_SIDE);
}

static krait_status lay_out(canvas *c, panel *boxes, krait_error *error)
{
    const kr_chart *chart = c->chart;
    size_t around = 3 + chart->n_panels + (chart->title != NULL) + (chart->n_keys > 0), widest = 1;
    size_t room = c->how.rows > around ? c->how.rows - around : 0;
    double total = 0;
    krait_status status = kr_chart_x_range(&c->x, chart, error);
    for (size_t i = 0; i < chart->n_panels; i++) total += chart->panels[i].height;
    for (size_t i = 0; i < chart->n_panels && !status; i++) {
        panel *box = &boxes[i];
        box->rows = bounded((size_t)((double)room * chart->panels[i].height / total), 3, MAX_SIDE);
        status = kr_chart_y_range(&box->y, chart, i, error);
        if (status) break;
        box->n_ticks = kr_chart_ticks(&box->y, bounded(box->rows / 3, 2, 10), box->ticks);
        for (size_t k = 0; k < box->n_ticks; k++)
            if (width_of(box->ticks[k].text) > widest) widest = width_of(box->ticks[k].text);
    }
    c->left = widest + 2;
    c->columns = c->how.columns - c->left - 2;
    c->n_x_ticks = kr_chart_ticks(&c->x, c->columns / 8, c->x_ticks);
    return status;
}

static void put_marks(const canvas *c, panel *box)
{
    for (size_t i = 0; i < c->chart->n_marks; i++) {
        double place = kr_chart_place(&c->x, c->chart->marks[i].x);
        if (!(place >= 0 && place <= 1)) continue;
        for (size_t row = 0; row < box->rows; row++)
            box->cells[row * c->columns + column_of(c, c->chart->marks[i].x)].mark = true;
    }
}

static krait_status put_panel(canvas *c, panel *box, size_t index, krait_error *error)
{
    char title[128];
    size_t n_points = KR_CHART_THIN(2 * c->columns);
    kr_chart_point *points = kr_alloc(n_points, sizeof *points);
    box->cells = kr_alloc_zero(box->rows * c->columns, sizeof *box->cells);
    krait_status status = points && box->cells ? KRAIT_OK : kr_fail_memory(error, "chart", n_points * sizeof *points);
    if (!status) {
        put_marks(c, box);
        /* What was measured, without the curve through it, only where it can be told from the curve. */
        for (int pass = c->how.colour ? 0 : 1; pass < 2; pass++)
            for (size_t i = 0; i < c->chart->n_series; i++) {
                const kr_chart_series *s = &c->chart->series[i];
                if (s->panel == index && (pass == 1 || s->raw)) put_series(c, box, s, pass == 0, points);
            }
        if (!c->how.colour && !c->how.ascii && c->chart->n_keys > 1) put_letters(c, box, index, points);
        kr_chart_axis_title(&c->chart->panels[index].y, &box->y, title, sizeof title);
        put_cut(c->out, title, c->how.columns, c->how.ascii);
        fputc('\n', c->out);
        put_rows(c, box);
    }
    kr_free(box->cells);
    kr_free(points);
    return status;
}

krait_status kr_chart_put(const kr_chart *chart, const kr_chart_print *how, FILE *out, krait_error *error)
{
    panel boxes[KR_CHART_MAX_PANELS] = { 0 };
    canvas c = { .chart = chart, .how = *how, .out = out };
    measure_terminal(&c.how, out);
    krait_status status = lay_out(&c, boxes, error);
    if (status) return status;
    if (chart->title) {
        put_cut(out, chart->title, c.how.columns, c.how.ascii);
        fputc('\n', out);
    }
    put_keys(&c);
    for (size_t i = 0; i < chart->n_panels && !status; i++) status = put_panel(&c, &boxes[i], i, error);
    if (!status) put_x_axis(&c);
    return status;
}
