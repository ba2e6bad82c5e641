/* scan_backward. Tolerance: (d_state + channels + 16 + 8 * tokens + 4 * largest |dt A|) * epsilon * the size of the result, that is what
 * the equations give with the magnitudes of everything, computed in double here. What vectors do not do (fixed B and C, complex numbers)
 * has the reference's bits. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "checkop.h"

enum { MOST_SEQUENCES = 5 };

typedef struct shape {
    size_t d_inner, d_state, n_groups, n_sequences, most_tokens;
    bool extreme, fixed, is_complex;
} shape;

/* Where one run's results go. Parameters' gradients begin with what is given, the same for every run. */
typedef struct results {
    kr_view du, ddelta, dz, dB, dC, y;
    float *dA, *dD, *dbias, *dstate[MOST_SEQUENCES];
} results;

typedef struct problem {
    kr_scan op;
    kr_view dy;
    size_t n_tokens, states; /* of one sequence, in floats */
    size_t B_rows, B_columns, C_rows, C_columns;
    results given;
    bool given_dstate;
} problem;

static results prepare(check *c, const problem *p)
{
    const kr_scan *op = &p->op;
    size_t n = p->n_tokens, D = op->d_inner;
    results r = { .du = check_matrix(c, n, D),
                  .ddelta = check_matrix(c, n, D),
                  .dz = check_matrix(c, n, D),
                  .y = check_matrix(c, n, D),
                  .dA = check_copy_floats(c, p->given.dA, p->states),
                  .dD = check_copy_floats(c, p->given.dD, D),
                  .dbias = check_copy_floats(c, p->given.dbias, D) };
    r.dB = op->fixed_B ? (kr_view){ check_copy_floats(c, p->given.dB.data, p->states), p->B_columns }
                       : check_matrix(c, p->B_rows, p->B_columns);
    r.dC = op->fixed_C ? (kr_view){ check_copy_floats(c, p->given.dC.data, p->states), p->C_columns }
                       : check_matrix(c, p->C_rows, p->C_columns);
    for (size_t s = 0; s < op->rows.n_sequences; s++) r.dstate[s] = check_copy_floats(c, p->given.dstate[s], p->states);
    return r;
}

static void run_backward(check *c, const problem *p, const kr_device *device, int threads, results *r)
{
    const kr_scan *op = &p->op;
    size_t pair = op->is_complex ? 2 : 1;
    kr_exec exec =
        check_exec(c, device, threads, device->scan_backward_scratch(threads, op->d_inner, op->d_state * pair, op->n_groups));
    kr_scan_backward b = { .forward = *op,
                           .dy = check_const(p->dy),
                           .dstate = p->given_dstate ? r->dstate : NULL,
                           .du = r->du,
                           .ddelta = r->ddelta,
                           .dz = op->z.data ? r->dz : (kr_view){ NULL, 0 },
                           .dB = r->dB,
                           .dC = r->dC,
                           .dA = r->dA,
                           .dD = op->D ? r->dD : NULL,
                           .ddelta_bias = op->delta_bias ? r->dbias : NULL,
                           .y = r->y };
    kr_scan_backward_run(&exec, &b);
}

static void same(check *c, const problem *p, const results *a, const results *b)
{
    const kr_scan *op = &p->op;
    size_t n = p->n_tokens, D = op->d_inner;
    check_same(c, "du", check_const(a->du), check_const(b->du), n, D);
    check_same(c, "ddelta", check_const(a->ddelta), check_const(b->ddelta), n, D);
    if (op->z.data) check_same(c, "dz", check_const(a->dz), check_const(b->dz), n, D);
    check_same(c, "y", check_const(a->y), check_const(b->y), n, D);
    check_same(c, "dB", check_const(a->dB), check_const(b->dB), p->B_rows, p->B_columns);
    check_same(c, "dC", check_const(a->dC), check_const(b->dC), p->C_rows, p->C_columns);
    check_same(c, "dA", (kr_cview){ a->dA, p->states }, (kr_cview){ b->dA, p->states }, 1, p->states);
    check_same(c, "dD", (kr_cview){ a->dD, D }, (kr_cview){ b->dD, D }, 1, D);
    check_same(c, "ddelta_bias", (kr_cview){ a->dbias, D }, (kr_cview){ b->dbias, D }, 1, D);
    for (size_t s = 0; s < op->rows.n_sequences; s++)
        check_same(c, "dstate", (kr_cview){ a->dstate[s], p->states }, (kr_cview){ b->dstate[s], p->states }, 1, p->states);
}

/* ---- the size of the result: real A, B and C per token ------------------------------------------------------------------- */

typedef struct sizes {
    double *du, *ddelta, *dz, *y, *dB, *dC, *dA, *dD, *dbias, *dstate[MOST_SEQUENCES];
    double factor;
} sizes;

static double at(kr_cview v, size_t row, size_t column) { return fabs((double)v.data[row * v.stride + column]); }

static const double tiny = SMALLEST_NORMAL / EPSILON; /* what flushing denormals may cost, before it is multiplied by epsilon */

static void channel_sizes(const problem *p, sizes *z, double *h, double *carry, size_t s, size_t d)
{
    const kr_scan *op = &p->op;
    size_t N = op->d_state, D = op->d_inner, first = op->rows.start[s], count = op->rows.start[s + 1] - first;
    size_t group = d / (D / op->n_groups) * N;
    for (size_t n = 0; n < N; n++) h[n] += tiny;
    for (int back = 0; back < 2; back++)
        for (size_t k = 0; k < count; k++) {
            size_t i = back ? count - 1 - k : k, t = first + i;
            double u = at(op->u, t, d) + tiny, x = (double)op->delta.data[t * op->delta.stride + d], slope = 1;
            if (op->delta_bias) x += (double)op->delta_bias[d];
            double dt = op->delta_softplus ? x < 40 ? log1p(exp(x)) : x : x, sum = op->D ? fabs((double)op->D[d]) * u : 0;
            if (op->delta_softplus) slope = 1 / (1 + exp(-x)) + tiny;
            double dy = at((kr_cview){ p->dy.data, p->dy.stride }, t, d), q = dy, gate = 1, gate_slope = 0;
            if (op->z.data) {
                double g = (double)op->z.data[t * op->z.stride + d], sigmoid = 1 / (1 + exp(-g));
                gate = fabs(g) * sigmoid + tiny;
                gate_slope = sigmoid * (1 + fabs(g) * (1 - sigmoid)) + tiny;
                q *= gate;
            }
            double prod = 0, ddt = 0;
            for (size_t n = 0; n < N; n++) {
                double A = (double)op->A[n * D + d], decay = exp(dt * A) + SMALLEST_NORMAL;
                double B = at(op->B, t, group + n), C = at(op->C, t, group + n), *now = h + i * N;
                z->factor = fmax(z->factor, 4 * fmin(fabs(dt * A), 130));
                if (!back) {
                    now[N + n] = decay * now[n] + (fabs(dt) + tiny) * B * u + tiny;
                } else {
                    double dh = carry[n] + C * q + tiny;
                    sum += C * now[N + n];
                    z->dB[t * op->n_groups * N + group + n] += (fabs(dt) + tiny) * u * dh;
                    z->dC[t * op->n_groups * N + group + n] += q * now[N + n];
                    prod += B * dh;
                    carry[n] = decay * dh;
                    ddt += (fabs(A) + tiny) * carry[n] * now[n];
                    z->dA[n * D + d] += (fabs(dt) + tiny) * carry[n] * now[n];
                }
            }
            if (!back) continue;
            double ddelta = (ddt + u * prod) * slope + tiny;
            z->y[t * D + d] = sum * gate + tiny;
            z->dz[t * D + d] = dy * sum * gate_slope + tiny;
            z->du[t * D + d] = (fabs(dt) + tiny) * prod + (op->D ? fabs((double)op->D[d]) * q : 0) + tiny;
            z->ddelta[t * D + d] = ddelta;
            z->dD[d] += q * u;
            z->dbias[d] += ddelta;
        }
    for (size_t n = 0; n < N; n++) z->dstate[s][n * D + d] = carry[n] + tiny;
}

static double *doubles(kr_arena *arena, size_t count)
{
    double *p = kr_arena_alloc(arena, count + 1, sizeof *p);
    for (size_t i = 0; i < count; i++) p[i] = 0;
    return p;
}

static void compare_view(check *c, const char *what, kr_view found, kr_view expected, const double *size, double factor,
                         size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++)
            if (size[r * columns + i] < 1e30)
                check_close(c, what, r * columns + i, found.data[r * found.stride + i], expected.data[r * expected.stride + i],
                            factor * EPSILON * size[r * columns + i]);
}

static void compare(check *c, const problem *p, float *const before[], const results *found, const results *expected)
{
    const kr_scan *op = &p->op;
    size_t n = p->n_tokens, D = op->d_inner, N = op->d_state;
    kr_arena arena = { 0 };
    sizes z = { .du = doubles(&arena, n * D),
                .ddelta = doubles(&arena, n * D),
                .dz = doubles(&arena, n * D),
                .y = doubles(&arena, n * D),
                .dB = doubles(&arena, n * p->B_columns),
                .dC = doubles(&arena, n * p->C_columns),
                .dA = doubles(&arena, N * D),
                .dD = doubles(&arena, D),
                .dbias = doubles(&arena, D) };
    double *h = doubles(&arena, (n + 1) * N), *carry = doubles(&arena, N);
    for (size_t i = 0; i < N * D; i++) z.dA[i] = fabs((double)p->given.dA[i]) + tiny;
    for (size_t d = 0; d < D; d++) z.dD[d] = fabs((double)p->given.dD[d]) + tiny;
    for (size_t d = 0; d < D; d++) z.dbias[d] = fabs((double)p->given.dbias[d]) + tiny;
    for (size_t s = 0; s < op->rows.n_sequences; s++) {
        z.dstate[s] = doubles(&arena, N * D);
        for (size_t d = 0; d < D; d++) {
            for (size_t k = 0; k < N; k++) h[k] = fabs((double)before[s][k * D + d]);
            for (size_t k = 0; k < N; k++) carry[k] = p->given_dstate ? fabs((double)p->given.dstate[s][k * D + d]) : 0;
            channel_sizes(p, &z, h, carry, s, d);
        }
    }
    double factor = z.factor + (double)(N + D + 16 + 8 * n);
    compare_view(c, "du", found->du, expected->du, z.du, factor, n, D);
    compare_view(c, "ddelta", found->ddelta, expected->ddelta, z.ddelta, factor, n, D);
    if (op->z.data) compare_view(c, "dz", found->dz, expected->dz, z.dz, factor, n, D);
    compare_view(c, "y", found->y, expected->y, z.y, factor, n, D);
    compare_view(c, "dB", found->dB, expected->dB, z.dB, factor, n, p->B_columns);
    compare_view(c, "dC", found->dC, expected->dC, z.dC, factor, n, p->C_columns);
    compare_view(c, "dA", (kr_view){ found->dA, D }, (kr_view){ expected->dA, D }, z.dA, factor, N, D);
    if (op->D) compare_view(c, "dD", (kr_view){ found->dD, D }, (kr_view){ expected->dD, D }, z.dD, factor, 1, D);
    if (op->delta_bias)
        compare_view(c, "ddelta_bias", (kr_view){ found->dbias, D }, (kr_view){ expected->dbias, D }, z.dbias, factor, 1, D);
    for (size_t s = 0; s < op->rows.n_sequences && p->given_dstate; s++)
        compare_view(c, "dstate", (kr_view){ found->dstate[s], D }, (kr_view){ expected->dstate[s], D }, z.dstate[s], factor, N,
                     D);
    kr_arena_free(&arena);
}

/* ---- a case -------------------------------------------------------------------------------------------------------------- */

static void make_extreme(check *c, kr_view u, kr_view delta, bool softplus, float *A, const kr_scan *op, size_t n_tokens)
{
    static const float us[] = { 0, -0.0f, 1, -1, 1e-20f, 1e5f, -1e5f },
                       deltas[] = { -200, -104, -88, -20, -1, 0, 1, 19.9f, 20.1f, 88 };
    static const float As[] = { 0, -0.0f, -1e-10f, -1e-3f, -1, -16, -100, -1e3f }, small[] = { -1e-3f, 0, 1e-4f, 0.5f, 3 };
    check_pick(c, u.data, n_tokens, op->d_inner, u.stride, us, sizeof us / sizeof *us);
    check_pick(c, delta.data, n_tokens, op->d_inner, delta.stride, softplus ? deltas : small, softplus ? 10 : 5);
    check_pick(c, A, op->d_state, op->d_inner, op->d_inner, As, sizeof As / sizeof *As);
}

/* B or C, per token or fixed. */
static kr_view coefficients(check *c, size_t rows, size_t columns, bool fixed)
{
    return fixed ? (kr_view){ check_normals(c, rows * columns, 1, 0), columns } : check_normal(c, rows, columns, 1, 0);
}

/* The states before the chunks, which the backward pass of both begins with. */
static void run_forward(check *c, problem *p, float *const before[])
{
    kr_scan op = p->op;
    size_t pair = op.is_complex ? 2 : 1;
    float *state[MOST_SEQUENCES];
    for (size_t s = 0; s < op.rows.n_sequences; s++) state[s] = check_copy_floats(c, before[s], p->states);
    op.state = state;
    op.y = check_matrix(c, p->n_tokens, op.d_inner);
    op.saved = check_floats(c, kr_scan_chunks(op.rows) * p->states);
    kr_exec exec = check_exec(c, c->device, 3, c->device->scan_scratch(3, op.d_state * pair));
    kr_scan_run(&exec, &op);
    p->op.saved = op.saved;
}

static void backward_case(check *c, const shape *s)
{
    size_t D = s->d_inner, N = s->d_state, pair = s->is_complex ? 2 : 1, start[MOST_SEQUENCES + 1];
    kr_rows rows = check_rows(c, s->n_sequences, s->most_tokens, start);
    size_t n = start[s->n_sequences];
    problem p = { .op = { .rows = rows, .d_inner = D, .d_state = N, .n_groups = s->n_groups, .is_complex = s->is_complex },
                  .n_tokens = n,
                  .states = N * D * pair,
                  .given_dstate = check_below(c, 3) > 0 };
    kr_scan *op = &p.op;
    op->delta_softplus = check_below(c, 4) > 0;
    op->fixed_B = s->fixed && check_maybe(c);
    op->fixed_C = s->fixed && (!op->fixed_B || check_maybe(c));
    p.B_rows = op->fixed_B ? N : n, p.B_columns = (op->fixed_B ? D : s->n_groups * N) * pair;
    p.C_rows = op->fixed_C ? N : n, p.C_columns = (op->fixed_C ? D : s->n_groups * N) * pair;
    kr_view u = check_normal(c, n, D, 1, 0), z = { NULL, 0 };
    kr_view delta = op->delta_softplus ? check_normal(c, n, D, 2, -2) : check_normal(c, n, D, 0.05f, 0.2f);
    op->B = check_const(coefficients(c, p.B_rows, p.B_columns, op->fixed_B));
    op->C = check_const(coefficients(c, p.C_rows, p.C_columns, op->fixed_C));
    if (check_below(c, 4)) op->D = check_normals(c, D, 1, 0);
    /* A negative step with a large A makes states grow beyond all bounds. */
    if (check_below(c, 4) && !(s->extreme && !op->delta_softplus)) op->delta_bias = check_normals(c, D, 0.1f, 0);
    if (check_below(c, 4)) z = check_normal(c, n, D, 2, 0);
    float *A = check_normals(c, p.states, 1, 0);
    for (size_t i = 0; i < p.states; i += pair) A[i] = -expf(A[i]);
    if (s->extreme) make_extreme(c, u, delta, op->delta_softplus, A, op, n);
    op->A = A;
    op->u = check_const(u);
    op->delta = check_const(delta);
    op->z = check_const(z);
    p.dy = check_normal(c, n, D, 1, 0);
    p.given =
        (results){ .dA = check_normals(c, p.states, 1, 0), .dD = check_normals(c, D, 1, 0), .dbias = check_normals(c, D, 1, 0) };
    if (op->fixed_B) p.given.dB.data = check_normals(c, p.states, 1, 0);
    if (op->fixed_C) p.given.dC.data = check_normals(c, p.states, 1, 0);
    float *before[MOST_SEQUENCES];
    for (size_t i = 0; i < s->n_sequences; i++) {
        before[i] = check_normals(c, p.states, 1, 0);
        p.given.dstate[i] = check_normals(c, p.states, 1, 0);
    }
    snprintf(c->label, sizeof c->label, "D %zu, N %zu, %zu groups, %zu sequences, %zu tokens%s%s%s%s%s%s%s%s", D, N, s->n_groups,
             s->n_sequences, n, op->delta_softplus ? ", softplus" : "", op->delta_bias ? ", bias" : "", op->D ? ", D" : "",
             z.data ? ", z" : "", p.given_dstate ? ", dstate" : "", s->fixed ? ", fixed" : "", s->is_complex ? ", complex" : "",
             s->extreme ? ", extreme" : "");
    run_forward(c, &p, before);

    results found = prepare(c, &p), expected = prepare(c, &p);
    run_backward(c, &p, c->device, 1, &found);
    run_backward(c, &p, c->reference, 1, &expected);
    if (s->fixed || s->is_complex)
        same(c, &p, &found, &expected);
    else
        compare(c, &p, before, &found, &expected);

    /* On threads, the results in the inputs' memory. */
    for (int threads = 1; threads <= 3; threads++) {
        results more = prepare(c, &p);
        problem in_place = p;
        in_place.dy = check_copy(c, p.dy, n, D);
        kr_view places[] = { check_copy(c, u, n, D), check_copy(c, delta, n, D), check_copy(c, z.data ? z : u, n, D),
                             in_place.dy };
        in_place.op.u = check_const(places[0]);
        in_place.op.delta = check_const(places[1]);
        if (z.data) in_place.op.z = check_const(places[2]);
        size_t turn = check_below(c, 4);
        more.du = places[turn];
        more.ddelta = places[(turn + 1) % 4];
        more.dz = places[(turn + 2) % 4];
        more.y = places[(turn + 3) % 4];
        run_backward(c, &in_place, c->device, threads, &more);
        same(c, &p, &more, &found);
    }
    check_end_case(c);
}

void check_scan_backward(check *c)
{
    static const size_t more_states[] = { 32, 63, 64, 255, 256, 257 };
    for (size_t D = 1; D <= 70; D++)
        for (int round = 0; round < 4; round++) {
            shape s = { .d_inner = D, .d_state = round == 0 ? 16 : 1 + check_below(c, 20), .n_groups = 1 };
            if (round == 3) s.n_groups = D % 3 == 0 ? D / 3 : D % 2 == 0 ? 2 : D;
            s.n_sequences = check_below(c, MOST_SEQUENCES + 1);
            s.most_tokens = check_maybe(c) ? 7 : 69;
            s.extreme = round == 1;
            s.fixed = round == 2 && D % 4 == 0;
            s.is_complex = round == 3 && D % 4 == 1;
            backward_case(c, &s);
        }
    for (size_t i = 0; i < sizeof more_states / sizeof *more_states; i++)
        backward_case(c, &(shape){ .d_inner = 1 + check_below(c, 70),
                                   .d_state = more_states[i],
                                   .n_groups = 1,
                                   .n_sequences = 3,
                                   .most_tokens = 20 });
    /* Several chunks, several tiles, groups of several tiles. */
    for (size_t i = 0; i < 6; i++)
        backward_case(c, &(shape){ .d_inner = i < 4 ? 130 : 17,
                                   .d_state = i < 4 ? 3 : 16,
                                   .n_groups = i == 2 ? 2 : 1,
                                   .n_sequences = 1 + i % 3,
                                   .most_tokens = 3 * KR_SCAN_CHUNK,
                                   .is_complex = i == 3 });
    backward_case(c, &(shape){ .d_inner = 1536, .d_state = 16, .n_groups = 1, .n_sequences = 3, .most_tokens = 20 });
}

/* ---- benchmark ----------------------------------------------------------------------------------------------------------- */

typedef struct context {
    kr_exec exec;
    kr_scan_backward op;
    bool forward;
} context;

static void run(void *pointer)
{
    context *k = pointer;
    if (k->forward) kr_scan_run(&k->exec, &k->op.forward);
    kr_scan_backward_run(&k->exec, &k->op);
}

void bench_scan_backward(check *c)
{
    static const size_t shapes[][4] = {
        { 1536, 16, 512, 0 }, { 1536, 16, 512, 1 }, { 2048, 16, 512, 1 }, { 512, 16, 256, 1 }, { 1530, 7, 128, 1 }
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t D = shapes[i][0], N = shapes[i][1], n = shapes[i][2], start[] = { 0, n }, rank = 48;
        float *state = check_normals(c, N * D, 1, 0), *A = check_normals(c, N * D, 0, 0);
        for (size_t k = 0; k < N * D; k++) A[k] = -(float)(k / D + 1) * (1 + 0.1f * kr_rng_float(&c->rng));
        kr_cview BC = { check_normals(c, n * (rank + 2 * N), 1, 0), rank + 2 * N };
        float *dBC = check_floats(c, n * (rank + 2 * N)), *dxz = check_floats(c, n * 2 * D);
        char label[64];
        snprintf(label, sizeof label, "D %zu, N %zu, %zu tokens%s", D, N, n, shapes[i][3] ? ", with forward" : "");
        size_t scratch = c->device->scan_backward_scratch(1, D, N, 1), forward = c->device->scan_scratch(1, N);
        context k = { check_exec(c, c->device, 1, scratch > forward ? scratch : forward),
                      { .forward = { .rows = { 1, start },
                                     .d_inner = D,
                                     .d_state = N,
                                     .n_groups = 1,
                                     .u = { check_normals(c, n * D, 1, 0), D },
                                     .delta = { check_normals(c, n * D, 1, -4), D },
                                     .z = { check_normals(c, n * 2 * D, 1, 0), 2 * D },
                                     .B = { BC.data + rank, BC.stride },
                                     .C = { BC.data + rank + N, BC.stride },
                                     .A = A,
                                     .D = check_normals(c, D, 1, 0),
                                     .delta_bias = check_normals(c, D, 0.1f, 0),
                                     .delta_softplus = true,
                                     .state = &state,
                                     .saved = check_normals(c, (n + KR_SCAN_CHUNK - 1) / KR_SCAN_CHUNK * N * D, 1, 0),
                                     .y = { check_floats(c, n * D), D } },
                        .dy = { check_normals(c, n * D, 1, 0), D },
                        .du = { check_floats(c, n * D), D },
                        .ddelta = { check_floats(c, n * D), D },
                        .dz = { dxz + D, 2 * D },
                        .dB = { dBC + rank, BC.stride },
                        .dC = { dBC + rank + N, BC.stride },
                        .dA = check_normals(c, N * D, 1, 0),
                        .dD = check_normals(c, D, 1, 0),
                        .ddelta_bias = check_normals(c, D, 1, 0),
                        .y = { check_floats(c, n * D), D } },
                      shapes[i][3] != 0 };
        bench_report(c, label, bench_seconds(run, &k), (double)n, "token", 0);
        check_end_case(c);
    }
}
