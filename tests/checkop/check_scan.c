/* scan. Tolerance: (d_state + 8 + 4 * tokens + largest |dt A|) * epsilon * the size of the result, that is what the recurrence
 * gives with the magnitudes of everything, computed in double here: each step rounds a few times, and exp(dt A) magnifies the
 * rounding of its argument. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "checkop.h"

enum { MOST_SEQUENCES = 5, MOST_TOKENS = MOST_SEQUENCES * 70 };

typedef struct shape {
    size_t d_inner, d_state, n_groups, n_sequences, most_tokens;
    bool extreme, fixed, is_complex;
} shape;

static size_t state_count(const kr_scan *op) { return op->d_state * op->d_inner * (op->is_complex ? 2 : 1); }

static void copy_states(check *c, float *states[], float *const from[], const kr_scan *op)
{
    for (size_t s = 0; s < op->rows.n_sequences; s++) states[s] = check_copy_floats(c, from[s], state_count(op));
}

static void same_states(check *c, const char *what, float *const a[], float *const b[], const kr_scan *op)
{
    size_t n = state_count(op);
    for (size_t s = 0; s < op->rows.n_sequences; s++) check_same(c, what, (kr_cview){ a[s], n }, (kr_cview){ b[s], n }, 1, n);
}

/* ---- the size of the result ---------------------------------------------------------------------------------------------- */

static double magnitude(const float *p, bool is_complex)
{
    return is_complex ? hypot((double)p[0], (double)p[1]) : fabs((double)p[0]);
}

static const float *element(const kr_scan *op, kr_cview v, bool fixed, size_t t, size_t d, size_t n)
{
    size_t group = d / (op->d_inner / op->n_groups), pair = op->is_complex ? 2 : 1;
    return v.data + (fixed ? (n * op->d_inner + d) * pair : t * v.stride + (group * op->d_state + n) * pair);
}

/* Compares y and the states of sequence s for channel d. */
static void compare(check *c, const kr_scan *op, size_t s, size_t d, const float *before, kr_view found, kr_view expected,
                    const float *found_state, const float *expected_state)
{
    double h[512], largest = 0;
    size_t N = op->d_state, pair = op->is_complex ? 2 : 1, tokens = op->rows.start[s + 1] - op->rows.start[s];
    for (size_t n = 0; n < N; n++) h[n] = magnitude(before + (n * op->d_inner + d) * pair, op->is_complex);
    double factor = 0;
    for (size_t t = op->rows.start[s]; t < op->rows.start[s + 1]; t++) {
        double dt = (double)op->delta.data[t * op->delta.stride + d], u = (double)op->u.data[t * op->u.stride + d], sum = 0;
        if (op->delta_bias) dt += (double)op->delta_bias[d];
        if (op->delta_softplus && dt < 40) dt = log1p(exp(dt));
        double y_size = op->D ? fabs((double)op->D[d] * u) : 0;
        for (size_t n = 0; n < N; n++) {
            const float *A = op->A + (n * op->d_inner + d) * pair;
            double x = dt * (double)A[0];
            double angle = op->is_complex ? fabs(dt * (double)A[1]) : 0;
            if (fmin(fabs(x), 130) + angle > largest) largest = fmin(fabs(x), 130) + angle;
            h[n] = (exp(x) + SMALLEST_NORMAL) * h[n]
                   + (fabs(dt) + 1 / EPSILON * SMALLEST_NORMAL)
                         * magnitude(element(op, op->B, op->fixed_B, t, d, n), op->is_complex) * fabs(u)
                   + 1 / EPSILON * SMALLEST_NORMAL;
            sum += h[n] * magnitude(element(op, op->C, op->fixed_C, t, d, n), op->is_complex);
        }
        y_size += (double)pair * sum + 1 / EPSILON * SMALLEST_NORMAL;
        if (op->z.data) {
            double z = (double)op->z.data[t * op->z.stride + d];
            y_size *= fabs(z / (1 + exp(-z))) + 1 / EPSILON * SMALLEST_NORMAL;
        }
        factor = (double)N + 8 + 4 * (double)(t - op->rows.start[s] + 1) + largest;
        float e = expected.data[t * expected.stride + d], f = found.data[t * found.stride + d];
        if (y_size < 1e37) check_close(c, "y", t * op->d_inner + d, f, e, factor * EPSILON * y_size);
    }
    for (size_t n = 0; n < N && tokens > 0; n++)
        for (size_t i = (n * op->d_inner + d) * pair; i < (n * op->d_inner + d) * pair + pair; i++)
            if (h[n] < 1e37) check_close(c, "state", i, found_state[i], expected_state[i], factor * EPSILON * h[n]);
}

/* ---- a case -------------------------------------------------------------------------------------------------------------- */

/* B or C, per token or fixed. */
static kr_cview coefficients(check *c, const shape *s, size_t n_tokens, bool fixed)
{
    size_t pair = s->is_complex ? 2 : 1;
    if (fixed) return (kr_cview){ check_normals(c, s->d_state * s->d_inner * pair, 1, 0), 0 };
    return check_const(check_normal(c, n_tokens, s->n_groups * s->d_state * pair, 1, 0));
}

static void make_extreme(check *c, kr_scan *op, kr_view u, kr_view delta, float *A, size_t n_tokens)
{
    static const float us[] = { 0, -0.0f, 1, -1, 1e-20f, 1e10f, -1e10f, 1e-40f };
    static const float deltas[] = { -1e30f, -200, -104, -100, -88, -87.4f, -20, -1, 0, 1, 19.9f, 20.1f, 88, 200, 1e4f };
    static const float As[] = { 0, -0.0f, -1e-10f, -1e-3f, -1, -16, -100, -1e3f, -1e30f };
    static const float small[] = { -1e-3f, 0, 1e-4f, 0.5f, 3 };
    check_pick(c, u.data, n_tokens, op->d_inner, u.stride, us, sizeof us / sizeof *us);
    if (op->delta_softplus)
        check_pick(c, delta.data, n_tokens, op->d_inner, delta.stride, deltas, sizeof deltas / sizeof *deltas);
    else
        check_pick(c, delta.data, n_tokens, op->d_inner, delta.stride, small, sizeof small / sizeof *small);
    check_pick(c, A, op->d_state, op->d_inner, op->d_inner, As, sizeof As / sizeof *As);
}

static void scan_case(check *c, const shape *s)
{
    size_t D = s->d_inner, N = s->d_state, start[MOST_SEQUENCES + 1], pair = s->is_complex ? 2 : 1;
    kr_rows rows = check_rows(c, s->n_sequences, s->most_tokens, start);
    if (s->most_tokens == 1) /* decode: exactly one each */
        for (size_t i = 0; i <= s->n_sequences; i++) start[i] = i;
    size_t n_tokens = start[s->n_sequences];
    kr_view u = check_normal(c, n_tokens, D, 1, 0), delta, z = { NULL, 0 };
    kr_scan op = { .rows = rows, .d_inner = D, .d_state = N, .n_groups = s->n_groups, .is_complex = s->is_complex };
    op.delta_softplus = check_below(c, 4) > 0;
    delta = op.delta_softplus ? check_normal(c, n_tokens, D, 2, -2) : check_normal(c, n_tokens, D, 0.05f, 0.2f);
    op.fixed_B = s->fixed && check_maybe(c);
    op.fixed_C = s->fixed && (!op.fixed_B || check_maybe(c));
    op.B = coefficients(c, s, n_tokens, op.fixed_B);
    op.C = coefficients(c, s, n_tokens, op.fixed_C);
    if (check_below(c, 4)) op.D = check_normals(c, D, 1, 0);
    if (check_below(c, 4)) op.delta_bias = check_normals(c, D, 0.1f, 0);
    if (check_below(c, 4)) z = check_normal(c, n_tokens, D, 2, 0);
    float *A = check_normals(c, N * D * pair, 1, 0);
    for (size_t i = 0; i < N * D * pair; i += pair) A[i] = -expf(A[i]);
    if (s->extreme) make_extreme(c, &op, u, delta, A, n_tokens);
    op.A = A;
    op.u = check_const(u);
    op.delta = check_const(delta);
    op.z = check_const(z);
    snprintf(c->label, sizeof c->label, "D %zu, N %zu, %zu groups, %zu sequences, %zu tokens%s%s%s%s%s%s%s", D, N, s->n_groups,
             s->n_sequences, n_tokens, op.delta_softplus ? ", softplus" : "", op.delta_bias ? ", bias" : "", op.D ? ", D" : "",
             z.data ? ", z" : "", s->fixed ? ", fixed" : "", s->is_complex ? ", complex" : "", s->extreme ? ", extreme" : "");

    float *before[MOST_SEQUENCES], *found_state[MOST_SEQUENCES], *expected_state[MOST_SEQUENCES], *state[MOST_SEQUENCES];
    for (size_t i = 0; i < s->n_sequences; i++) before[i] = check_normals(c, N * D * pair, 1, 0);
    copy_states(c, found_state, before, &op);
    copy_states(c, expected_state, before, &op);
    kr_view found = check_matrix(c, n_tokens, D), expected = check_matrix(c, n_tokens, D);

    kr_exec exec = check_exec(c, c->device, 1, c->device->scan_scratch(1, N));
    kr_exec plain = check_exec(c, c->reference, 1, c->reference->scan_scratch(1, N));
    op.y = found;
    op.state = found_state;
    kr_scan_run(&exec, &op);
    op.y = expected;
    op.state = expected_state;
    kr_scan_run(&plain, &op);
    for (size_t i = 0; i < s->n_sequences; i++)
        for (size_t d = 0; d < D; d++) compare(c, &op, i, d, before[i], found, expected, found_state[i], expected_state[i]);

    /* On threads, delta in y's memory. */
    for (int threads = 1; threads <= 3; threads++) {
        kr_exec more = check_exec(c, c->device, threads, c->device->scan_scratch(threads, N));
        kr_scan in_place = op;
        copy_states(c, state, before, &op);
        in_place.state = state;
        in_place.y = check_copy(c, delta, n_tokens, D);
        in_place.delta = check_const(in_place.y);
        kr_scan_run(&more, &in_place);
        check_same(c, "threads, in place", check_const(in_place.y), check_const(found), n_tokens, D);
        same_states(c, "threads, in place, state", state, found_state, &op);
    }

    /* Each sequence alone, in two pieces, each of them in two shares of channels. */
    bool reference = s->fixed || s->is_complex || N > KR_SCAN_MAX_STATE;
    const kr_cpu_kernels *kernels = kr_cpu_kernels_of(reference ? KRAIT_ISA_PLAIN : c->device->isa);
    kr_view y = check_matrix(c, n_tokens, D);
    copy_states(c, state, before, &op);
    kr_fp_mode mode = kr_flush_denormals();
    for (size_t i = 0; i < s->n_sequences; i++) {
        size_t cut = check_below(c, start[i + 1] - start[i] + 1), middle = check_below(c, D + 1);
        const size_t bounds[] = { start[i], start[i] + cut, start[i + 1] };
        for (int piece = 0; piece < 2; piece++) {
            size_t first = bounds[piece], local[] = { 0, bounds[piece + 1] - first };
            kr_scan part = op;
            part.rows = (kr_rows){ 1, local };
            part.u.data += first * part.u.stride;
            part.delta.data += first * part.delta.stride;
            if (z.data) part.z.data += first * part.z.stride;
            part.B.data += first * part.B.stride;
            part.C.data += first * part.C.stride;
            part.y = (kr_view){ y.data + first * y.stride, y.stride };
            part.state = &state[i];
            if (middle > 0) kernels->scan(&part, 0, middle, exec.scratch);
            if (middle < D) kernels->scan(&part, middle, D, exec.scratch);
        }
    }
    kr_fp_restore(mode);
    check_same(c, "pieces", check_const(y), check_const(found), n_tokens, D);
    same_states(c, "pieces, state", state, found_state, &op);
    check_end_case(c);
}

void check_scan(check *c)
{
    static const size_t more_states[] = { 32, 63, 64, 128, 255, 256, 257 };
    for (size_t D = 1; D <= 70; D++)
        for (int round = 0; round < 4; round++) {
            shape s = { .d_inner = D, .d_state = round == 0 ? 16 : 1 + check_below(c, 20), .n_groups = 1 };
            if (round == 3) s.n_groups = D % 3 == 0 ? D / 3 : D % 2 == 0 ? 2 : D;
            s.n_sequences = check_below(c, MOST_SEQUENCES + 1);
            s.most_tokens = check_maybe(c) ? 7 : 69;
            s.extreme = round == 1;
            s.fixed = round == 2 && D % 8 == 0;
            s.is_complex = round == 3 && D % 8 == 1;
            scan_case(c, &s);
        }
    for (size_t D = 1; D <= 300; D += 1 + check_below(c, 12))
        scan_case(c, &(shape){ .d_inner = D,
                               .d_state = check_maybe(c) ? 16 : 1 + check_below(c, 40),
                               .n_groups = D % 2 == 0 && check_maybe(c) ? 2 : 1,
                               .n_sequences = 1 + check_below(c, MOST_SEQUENCES),
                               .most_tokens = 1,
                               .extreme = check_maybe(c) });
    for (size_t i = 0; i < sizeof more_states / sizeof *more_states; i++)
        scan_case(c, &(shape){ .d_inner = 1 + check_below(c, 70),
                               .d_state = more_states[i],
                               .n_groups = 1,
                               .n_sequences = 3,
                               .most_tokens = 40,
                               .extreme = i % 3 == 2 });
    scan_case(c, &(shape){ .d_inner = 1536, .d_state = 16, .n_groups = 1, .n_sequences = 2, .most_tokens = 69 });
    scan_case(c, &(shape){ .d_inner = 1536, .d_state = 16, .n_groups = 2, .n_sequences = 2, .most_tokens = 69 });
}

/* ---- benchmark ----------------------------------------------------------------------------------------------------------- */

typedef struct context {
    kr_exec exec;
    kr_scan op;
} context;

static void run(void *pointer)
{
    context *k = pointer;
    kr_scan_run(&k->exec, &k->op);
}

void bench_scan(check *c)
{
    static const size_t shapes[][3] = { { 1536, 16, 128 }, { 1536, 16, 512 }, { 2048, 16, 128 },
                                        { 1536, 16, 1 },   { 1536, 64, 32 },  { 1530, 7, 128 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t D = shapes[i][0], N = shapes[i][1], n = shapes[i][2], start[] = { 0, n }, rank = 48;
        float *state = check_normals(c, N * D, 1, 0), *A = check_normals(c, N * D, 0, 0);
        for (size_t k = 0; k < N * D; k++) A[k] = -(float)(k / D + 1) * (1 + 0.1f * kr_rng_float(&c->rng));
        kr_cview BC = { check_normals(c, n * (rank + 2 * N), 1, 0), rank + 2 * N };
        char label[64];
        snprintf(label, sizeof label, "D %zu, N %zu, %zu tokens", D, N, n);
        context k = { check_exec(c, c->device, 1, c->device->scan_scratch(1, N)),
                      { .rows = { 1, start },
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
                        .y = { check_floats(c, n * D), D } } };
        bench_report(c, label, bench_seconds(run, &k), (double)n, "token", 0);
        check_end_case(c);
    }
}
