/* conv. Tolerance: (width + 6) * epsilon * sum of the products' magnitudes: silu's slope is at most 1.1. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "checkop.h"

enum { MOST_SEQUENCES = 5 };

/* States of the sequences: copies for each run. */
static void copy_states(check *c, float *states[], float *const from[], size_t n, size_t count)
{
    for (size_t s = 0; s < n; s++) states[s] = check_copy_floats(c, from[s], count);
}

static void same_states(check *c, const char *what, float *const a[], float *const b[], size_t n, size_t count)
{
    for (size_t s = 0; s < n; s++) check_same(c, what, (kr_cview){ a[s], count }, (kr_cview){ b[s], count }, 1, count);
}

static void conv_case(check *c, size_t dim, size_t width, size_t n_sequences, size_t most, bool bias, bool silu, bool extreme)
{
    static const float values[] = { 0, -0.0f, 1e-40f, 1e-20f, 1, -1, 30, -30, 100, -100, 1e4f, -1e4f, 1e12f, -1e12f };
    size_t start[MOST_SEQUENCES + 1], past = (width - 1) * dim;
    kr_rows rows = check_rows(c, n_sequences, most, start);
    size_t n = start[n_sequences];
    snprintf(c->label, sizeof c->label, "dim %zu, width %zu, %zu sequences, %zu tokens%s%s%s", dim, width, n_sequences, n,
             bias ? ", bias" : "", silu ? ", silu" : "", extreme ? ", extreme" : "");

    float *before[MOST_SEQUENCES], *found_state[MOST_SEQUENCES], *expected_state[MOST_SEQUENCES];
    for (size_t s = 0; s < n_sequences; s++) before[s] = check_normals(c, past, 1, 0);
    copy_states(c, found_state, before, n_sequences, past);
    copy_states(c, expected_state, before, n_sequences, past);
    kr_view x = check_normal(c, n, dim, 1, 0), found = check_matrix(c, n, dim), expected = check_matrix(c, n, dim);
    if (extreme) check_pick(c, x.data, n, dim, x.stride, values, sizeof values / sizeof *values);

    kr_exec exec = check_exec(c, c->device, 1, 0), plain = check_exec(c, c->reference, 1, 0);
    kr_conv op = { .rows = rows,
                   .dim = dim,
                   .width = width,
                   .x = check_const(x),
                   .weight = check_normals(c, width * dim, 1, 0),
                   .bias = bias ? check_normals(c, dim, 1, 0) : NULL,
                   .silu = silu,
                   .state = found_state,
                   .y = found };
    kr_conv_run(&exec, &op);
    op.y = expected;
    op.state = expected_state;
    kr_conv_run(&plain, &op);
    for (size_t s = 0; s < n_sequences; s++)
        for (size_t t = start[s]; t < start[s + 1]; t++)
            for (size_t d = 0; d < dim; d++) {
                double size = bias ? fabs((double)op.bias[d]) : 0;
                for (size_t w = 0; w < width; w++) {
                    size_t i = t - start[s] + w;
                    float input = i < width - 1 ? before[s][i * dim + d] : x.data[(start[s] + i - (width - 1)) * x.stride + d];
                    size += fabs((double)input * (double)op.weight[w * dim + d]);
                }
                check_close(c, "y", t * dim + d, found.data[t * found.stride + d], expected.data[t * expected.stride + d],
                            (double)(width + 6) * EPSILON * size + SMALLEST_NORMAL);
            }
    same_states(c, "state", found_state, expected_state, n_sequences, past);

    /* On threads. */
    float *state[MOST_SEQUENCES];
    for (int threads = 2; threads <= 3; threads++) {
        kr_exec more = check_exec(c, c->device, threads, 0);
        copy_states(c, state, before, n_sequences, past);
        op.state = state;
        op.y = check_matrix(c, n, dim);
        kr_conv_run(&more, &op);
        check_same(c, "threads", check_const(op.y), check_const(found), n, dim);
        same_states(c, "threads, state", state, found_state, n_sequences, past);
    }

    /* Each sequence alone, in two pieces, each of them in two shares of channels. */
    kr_view y = check_matrix(c, n, dim);
    copy_states(c, state, before, n_sequences, past);
    kr_fp_mode mode = kr_flush_denormals();
    for (size_t s = 0; s < n_sequences; s++) {
        size_t count = start[s + 1] - start[s], cut = check_below(c, count + 1), middle = check_below(c, dim + 1);
        const size_t bounds[] = { start[s], start[s] + cut, start[s + 1] };
        for (int piece = 0; piece < 2; piece++) {
            kr_conv part = op;
            size_t local[] = { 0, bounds[piece + 1] - bounds[piece] };
            part.rows = (kr_rows){ 1, local };
            part.x.data = x.data + bounds[piece] * x.stride;
            part.y = (kr_view){ y.data + bounds[piece] * y.stride, y.stride };
            part.state = &state[s];
            if (middle > 0) kr_cpu_kernels_of(c->device->isa)->conv(&part, 0, middle);
            if (middle < dim) kr_cpu_kernels_of(c->device->isa)->conv(&part, middle, dim);
        }
    }
    kr_fp_restore(mode);
    check_same(c, "pieces", check_const(y), check_const(found), n, dim);
    same_states(c, "pieces, state", state, found_state, n_sequences, past);
    check_end_case(c);
}

void check_conv(check *c)
{
    for (size_t dim = 1; dim <= 70; dim++)
        for (size_t round = 0; round < 3; round++)
            conv_case(c, dim, round ? 2 + check_below(c, 3) : 1 + check_below(c, 16), check_below(c, MOST_SEQUENCES + 1), 30,
                      check_maybe(c), check_maybe(c), check_below(c, 4) == 0);
    conv_case(c, 1536, 4, 3, 40, true, true, false);
    conv_case(c, 1537, 4, 4, 70, true, true, false);
    conv_case(c, 300, 16, 2, 20, true, true, true);
}

typedef struct context {
    kr_exec exec;
    kr_conv op;
} context;

static void run(void *pointer)
{
    context *k = pointer;
    kr_conv_run(&k->exec, &k->op);
}

void bench_conv(check *c)
{
    static const size_t shapes[][3] = { { 1536, 4, 128 }, { 2048, 4, 128 }, { 1536, 4, 1 }, { 1536, 7, 128 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t dim = shapes[i][0], width = shapes[i][1], n = shapes[i][2], start[] = { 0, n };
        float *state = check_normals(c, (width - 1) * dim, 1, 0);
        char label[64];
        snprintf(label, sizeof label, "dim %zu, width %zu, %zu tokens", dim, width, n);
        context k = { check_exec(c, c->device, 1, 0),
                      { .rows = { 1, start },
                        .dim = dim,
                        .width = width,
                        .x = { check_normals(c, n * 2 * dim, 1, 0), 2 * dim },
                        .weight = check_normals(c, width * dim, 1, 0),
                        .bias = check_normals(c, dim, 1, 0),
                        .silu = true,
                        .state = &state,
                        .y = { check_floats(c, n * dim), dim } } };
        bench_report(c, label, bench_seconds(run, &k), (double)n, "token", (double)(n * dim) * 8);
        check_end_case(c);
    }
}
