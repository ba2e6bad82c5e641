/* Finite differences: the gradients of the device's backward passes against (L(x + e) - L(x - e)) / 2e, with L = sum(y dy) + sum(last
 * state * its gradient) computed in double, for every element of every input of small random shapes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkop.h"

enum { MOST_SEQUENCES = 3, MOST_STATES = 64 };
static const double step = 1e-5;

/* The one number that is moved. */
typedef struct probe {
    const float *moved;
    double by;
} probe;

static double at(const probe *p, const float *x) { return (double)*x + (x == p->moved ? p->by : 0); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Checks gradient[i] of x[i], i < count. scale: the size of the gradients' terms, for the tolerance. */
static void check_gradient(check *c, const char *what, const float *x, const float *gradient, size_t count,
                           double (*loss)(const probe *, const void *), const void *context)
{
    for (size_t i = 0; i < count; i++) {
        double plus = loss(&(probe){ x + i, step }, context), minus = loss(&(probe){ x + i, -step }, context);
        double expected = (plus - minus) / (2 * step);
        check_close(c, what, i, gradient[i], (float)expected, 2e-5 * (1 + fabs(expected) + fabs(plus) * 0.02));
    }
}

static void check_rows_of(check *c, const char *what, kr_cview x, kr_view gradient, size_t rows, size_t columns,
                          double (*loss)(const probe *, const void *), const void *context)
{
    for (size_t r = 0; r < rows; r++)
        check_gradient(c, what, x.data + r * x.stride, gradient.data + r * gradient.stride, columns, loss, context);
}

static float *zeros(check *c, size_t count) { return memset(check_floats(c, count), 0, count * sizeof(float)); }

/* ---- scan ------------------------------------------------------------------------------------------------------------------ */

typedef struct scan_problem {
    kr_scan op;
    kr_view dy;
    float *before[MOST_SEQUENCES], *dlast[MOST_SEQUENCES];
} scan_problem;

static const float *coefficient(const kr_scan *op, kr_cview v, bool fixed, size_t t, size_t d, size_t n)
{
    size_t group = d / (op->d_inner / op->n_groups), pair = op->is_complex ? 2 : 1;
    return v.data + (fixed ? (n * op->d_inner + d) * pair : t * v.stride + (group * op->d_state + n) * pair);
}

static double scan_loss(const probe *p, const void *context)
{
    const scan_problem *problem = context;
    const kr_scan *op = &problem->op;
    size_t N = op->d_state, D = op->d_inner, pair = op->is_complex ? 2 : 1;
    double loss = 0;
    for (size_t s = 0; s < op->rows.n_sequences; s++)
        for (size_t d = 0; d < D; d++) {
            double re[MOST_STATES], im[MOST_STATES];
            for (size_t n = 0; n < N; n++) {
                re[n] = at(p, problem->before[s] + (n * D + d) * pair);
                im[n] = pair == 2 ? at(p, problem->before[s] + (n * D + d) * pair + 1) : 0;
            }
            for (size_t t = op->rows.start[s]; t < op->rows.start[s + 1]; t++) {
                double u = at(p, op->u.data + t * op->u.stride + d), dt = at(p, op->delta.data + t * op->delta.stride + d), y = 0;
                if (op->delta_bias) dt += at(p, op->delta_bias + d);
                if (op->delta_softplus) dt = log1p(exp(dt));
                for (size_t n = 0; n < N; n++) {
                    const float *A = op->A + (n * D + d) * pair, *B = coefficient(op, op->B, op->fixed_B, t, d, n);
                    const float *C = coefficient(op, op->C, op->fixed_C, t, d, n);
                    double size = exp(dt * at(p, A)), angle = pair == 2 ? dt * at(p, A + 1) : 0;
                    double a = size * cos(angle), b = size * sin(angle), x = re[n];
                    re[n] = a * x - b * im[n] + dt * at(p, B) * u;
                    im[n] = pair == 2 ? a * im[n] + b * x + dt * at(p, B + 1) * u : 0;
                    y += at(p, C) * re[n] - (pair == 2 ? at(p, C + 1) * im[n] : 0);
                }
                y *= (double)pair;
                if (op->D) y += at(p, op->D + d) * u;
                if (op->z.data) {
                    double z = at(p, op->z.data + t * op->z.stride + d);
                    y *= z * sigmoid(z);
                }
                loss += y * (double)problem->dy.data[t * problem->dy.stride + d];
            }
            for (size_t n = 0; n < N; n++) {
                const float *g = problem->dlast[s] + (n * D + d) * pair;
                loss += re[n] * (double)g[0] + (pair == 2 ? im[n] * (double)g[1] : 0);
            }
        }
    return loss;
}

static kr_cview coefficients(check *c, const kr_scan *op, size_t n_tokens, bool fixed)
{
    size_t pair = op->is_complex ? 2 : 1;
    if (fixed) return (kr_cview){ check_normals(c, op->d_state * op->d_inner * pair, 1, 0), op->d_inner * pair };
    return check_const(check_normal(c, n_tokens, op->n_groups * op->d_state * pair, 1, 0));
}

static void scan_case(check *c, size_t D, size_t N, size_t n_groups, size_t most, bool is_complex)
{
    size_t start[MOST_SEQUENCES + 1], pair = is_complex ? 2 : 1, batch = 1 + check_below(c, MOST_SEQUENCES),
                                      states = N * D * pair;
    kr_rows rows = check_rows(c, batch, most, start);
    size_t n = start[batch], B_columns, C_columns;
    scan_problem p = { .op = { .rows = rows, .d_inner = D, .d_state = N, .n_groups = n_groups, .is_complex = is_complex } };
    kr_scan *op = &p.op;
    op->delta_softplus = check_maybe(c);
    op->fixed_B = check_below(c, 4) == 0;
    op->fixed_C = check_below(c, 4) == 0;
    op->u = check_const(check_normal(c, n, D, 1, 0));
    op->delta = check_const(op->delta_softplus ? check_normal(c, n, D, 1, -1) : check_normal(c, n, D, 0.05f, 0.3f));
    if (check_maybe(c)) op->z = check_const(check_normal(c, n, D, 1, 0));
    if (check_maybe(c)) op->D = check_normals(c, D, 1, 0);
    if (check_maybe(c)) op->delta_bias = check_normals(c, D, 0.1f, 0);
    op->B = coefficients(c, op, n, op->fixed_B);
    op->C = coefficients(c, op, n, op->fixed_C);
    float *A = check_normals(c, states, 1, 0), *dstate[MOST_SEQUENCES], *state[MOST_SEQUENCES];
    for (size_t i = 0; i < states; i += pair) A[i] = -expf(A[i]);
    op->A = A;
    p.dy = check_normal(c, n, D, 1, 0);
    for (size_t s = 0; s < batch; s++) {
        p.before[s] = check_normals(c, states, 1, 0);
        p.dlast[s] = check_normals(c, states, 1, 0);
        state[s] = check_copy_floats(c, p.before[s], states);
        dstate[s] = check_copy_floats(c, p.dlast[s], states);
    }
    snprintf(c->label, sizeof c->label, "scan, D %zu, N %zu, %zu groups, %zu tokens%s%s%s", D, N, n_groups, n,
             is_complex ? ", complex" : "", op->fixed_B ? ", fixed B" : "", op->fixed_C ? ", fixed C" : "");
    op->state = state;
    op->saved = check_floats(c, kr_scan_chunks(rows) * states);
    op->y = check_matrix(c, n, D);
    size_t forward = c->device->scan_scratch(2, N), backward = c->device->scan_backward_scratch(2, D, N * pair, n_groups);
    kr_exec exec = check_exec(c, c->device, 2, forward > backward ? forward : backward);
    kr_scan_run(&exec, op);
    B_columns = (op->fixed_B ? D : n_groups * N) * pair;
    C_columns = (op->fixed_C ? D : n_groups * N) * pair;
    kr_scan_backward b = { .forward = *op,
                           .dy = check_const(p.dy),
                           .dstate = dstate,
                           .du = check_matrix(c, n, D),
                           .ddelta = check_matrix(c, n, D),
                           .dz = check_matrix(c, n, D),
                           .dB = op->fixed_B ? (kr_view){ zeros(c, states), B_columns } : check_matrix(c, n, B_columns),
                           .dC = op->fixed_C ? (kr_view){ zeros(c, states), C_columns } : check_matrix(c, n, C_columns),
                           .dA = zeros(c, states),
                           .dD = zeros(c, D),
                           .ddelta_bias = zeros(c, D) };
    kr_scan_backward_run(&exec, &b);
    check_rows_of(c, "du", op->u, b.du, n, D, scan_loss, &p);
    check_rows_of(c, "ddelta", op->delta, b.ddelta, n, D, scan_loss, &p);
    if (op->z.data) check_rows_of(c, "dz", op->z, b.dz, n, D, scan_loss, &p);
    check_rows_of(c, "dB", op->B, b.dB, op->fixed_B ? N : n, B_columns, scan_loss, &p);
    check_rows_of(c, "dC", op->C, b.dC, op->fixed_C ? N : n, C_columns, scan_loss, &p);
    check_gradient(c, "dA", op->A, b.dA, states, scan_loss, &p);
    if (op->D) check_gradient(c, "dD", op->D, b.dD, D, scan_loss, &p);
    if (op->delta_bias) check_gradient(c, "ddelta_bias", op->delta_bias, b.ddelta_bias, D, scan_loss, &p);
    for (size_t s = 0; s < batch; s++) check_gradient(c, "dstate", p.before[s], dstate[s], states, scan_loss, &p);
    check_end_case(c);
}

/* ---- convolution --------------------------------------------------------------------------------------------------------- */

typedef struct conv_problem {
    kr_conv op;
    kr_view dy;
    float *before[MOST_SEQUENCES], *dlast[MOST_SEQUENCES];
} conv_problem;

static double conv_loss(const probe *p, const void *context)
{
    const conv_problem *problem = context;
    const kr_conv *op = &problem->op;
    size_t past = op->width - 1;
    double loss = 0;
    for (size_t s = 0; s < op->rows.n_sequences; s++)
        for (size_t d = 0; d < op->dim; d++) {
            size_t first = op->rows.start[s], count = op->rows.start[s + 1] - first;
            for (size_t i = 0; i < count + past; i++) {
                double sum = op->bias ? at(p, op->bias + d) : 0, input = 0;
                for (size_t w = 0; w < op->width; w++) {
                    size_t k = i + w;
                    if (k >= count + past) break;
                    double x = at(p, k < past ? problem->before[s] + k * op->dim + d
                                              : op->x.data + (first + k - past) * op->x.stride + d);
                    if (w == 0) input = x;
                    sum += at(p, op->weight + w * op->dim + d) * x;
                }
                if (i < count) {
                    loss +=
                        (op->silu ? sum * sigmoid(sum) : sum) * (double)problem->dy.data[(first + i) * problem->dy.stride + d];
                } else {
                    loss += input * (double)problem->dlast[s][(i - count) * op->dim + d];
                }
            }
        }
    return loss;
}

static void conv_case(check *c, size_t dim, size_t width, size_t most)
{
    size_t start[MOST_SEQUENCES + 1], batch = 1 + check_below(c, MOST_SEQUENCES), past = (width - 1) * dim;
    conv_problem p = { .op = { .rows = check_rows(c, batch, most, start), .dim = dim, .width = width, .silu = check_maybe(c) } };
    size_t n = start[batch];
    p.op.x = check_const(check_normal(c, n, dim, 1, 0));
    p.op.weight = check_normals(c, width * dim, 1, 0);
    if (check_maybe(c)) p.op.bias = check_normals(c, dim, 1, 0);
    p.dy = check_normal(c, n, dim, 1, 0);
    float *dstate[MOST_SEQUENCES];
    for (size_t s = 0; s < batch; s++) {
        p.before[s] = check_normals(c, past, 1, 0);
        p.dlast[s] = check_normals(c, past, 1, 0);
        dstate[s] = check_copy_floats(c, p.dlast[s], past);
    }
    snprintf(c->label, sizeof c->label, "conv, dim %zu, width %zu, %zu tokens", dim, width, n);
    kr_conv_backward b = { .forward = p.op,
                           .state_before = (const float *const *)p.before,
                           .dy = check_const(p.dy),
                           .dstate = dstate,
                           .dx = check_matrix(c, n, dim),
                           .dweight = zeros(c, width * dim),
                           .dbias = zeros(c, dim) };
    kr_exec exec = check_exec(c, c->device, 2, 0);
    kr_conv_backward_run(&exec, &b);
    check_rows_of(c, "dx", p.op.x, b.dx, n, dim, conv_loss, &p);
    check_gradient(c, "dweight", p.op.weight, b.dweight, width * dim, conv_loss, &p);
    if (p.op.bias) check_gradient(c, "dbias", p.op.bias, b.dbias, dim, conv_loss, &p);
    for (size_t s = 0; s < batch; s++) check_gradient(c, "dstate", p.before[s], dstate[s], past, conv_loss, &p);
    check_end_case(c);
}

/* ---- RMSNorm --------------------------------------------------------------------------------------------------------------- */

typedef struct norm_problem {
    kr_rms_norm op;
    kr_view dy;
} norm_problem;

static double norm_loss(const probe *p, const void *context)
{
    const norm_problem *problem = context;
    const kr_rms_norm *op = &problem->op;
    double loss = 0;
    for (size_t t = 0; t < op->n_tokens; t++) {
        double squares = 0;
        for (size_t i = 0; i < op->dim; i++) squares += pow(at(p, op->x.data + t * op->x.stride + i), 2);
        double r = 1 / sqrt(squares / (double)op->dim + (double)op->eps);
        for (size_t i = 0; i < op->dim; i++)
            loss += at(p, op->x.data + t * op->x.stride + i) * r * (op->weight ? at(p, op->weight + i) : 1)
                    * (double)problem->dy.data[t * problem->dy.stride + i];
    }
    return loss;
}

static void norm_case(check *c, size_t n, size_t dim)
{
    norm_problem p = { .op = { .n_tokens = n, .dim = dim, .x = check_const(check_normal(c, n, dim, 1, 0)), .eps = 1e-2f },
                       .dy = check_normal(c, n, dim, 1, 0) };
    if (check_maybe(c)) p.op.weight = check_normals(c, dim, 1, 0);
    snprintf(c->label, sizeof c->label, "rms_norm, dim %zu, %zu tokens", dim, n);
    kr_rms_norm_backward b = {
        .forward = p.op, .dy = check_const(p.dy), .dx = check_matrix(c, n, dim), .dweight = zeros(c, dim)
    };
    kr_exec exec = check_exec(c, c->device, 2, c->device->rms_norm_backward_scratch(n));
    kr_rms_norm_backward_run(&exec, &b);
    check_rows_of(c, "dx", p.op.x, b.dx, n, dim, norm_loss, &p);
    if (p.op.weight) check_gradient(c, "dweight", p.op.weight, b.dweight, dim, norm_loss, &p);
    check_end_case(c);
}

void check_gradients(check *c)
{
    for (size_t round = 0; round < 40; round++) {
        size_t groups = 1 + check_below(c, 2);
        scan_case(c, groups * (1 + check_below(c, 3)), 1 + check_below(c, 9), groups, 8, check_below(c, 3) == 0);
    }
    for (size_t round = 0; round < 20; round++) conv_case(c, 1 + check_below(c, 5), 1 + check_below(c, 6), 8);
    for (size_t round = 0; round < 20; round++) norm_case(c, 1 + check_below(c, 4), 1 + check_below(c, 20));
}
