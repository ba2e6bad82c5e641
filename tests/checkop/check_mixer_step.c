/* mixer_step against the plain ops one after another. Tolerance: 1e-5 of the largest magnitude (the products' sums of up to 1536
 * terms go through softplus and exp); and on threads, and each sequence alone, the same bits. With other weights than float32, where a last bit of
 * x may change what it is rounded to, against the device's own ops. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkop.h"
#include "tensor/packed.h"

enum { MOST_SEQUENCES = 16 };

typedef struct states {
    float *conv[MOST_SEQUENCES], *ssm[MOST_SEQUENCES];
} states;

static states copy_states(check *c, const kr_mixer_step *op, const states *from)
{
    states result = { 0 };
    for (size_t s = 0; s < op->n_sequences; s++) {
        result.conv[s] = check_copy_floats(c, from->conv[s], (op->d_conv - 1) * op->d_inner);
        result.ssm[s] = check_copy_floats(c, from->ssm[s], op->d_state * op->d_inner);
    }
    return result;
}

static void same_states(check *c, const char *what, const kr_mixer_step *op, const states *a, const states *b)
{
    size_t n_conv = (op->d_conv - 1) * op->d_inner, n_ssm = op->d_state * op->d_inner;
    for (size_t s = 0; s < op->n_sequences; s++) {
        check_same(c, what, (kr_cview){ a->conv[s], n_conv }, (kr_cview){ b->conv[s], n_conv }, 1, n_conv);
        check_same(c, what, (kr_cview){ a->ssm[s], n_ssm }, (kr_cview){ b->ssm[s], n_ssm }, 1, n_ssm);
    }
}

static void close_to(check *c, const char *what, kr_view found, kr_view expected, size_t rows, size_t columns)
{
    double largest = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++)
            if (fabs((double)expected.data[r * expected.stride + i]) > largest)
                largest = fabs((double)expected.data[r * expected.stride + i]);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++)
            check_close(c, what, r * columns + i, found.data[r * found.stride + i], expected.data[r * expected.stride + i],
                        1e-5 * largest + SMALLEST_NORMAL);
}

static kr_exec executor(check *c, const kr_device *device, int threads, const kr_mixer_step *op)
{
    return check_exec(c, device, threads,
                      device->mixer_step_scratch(threads, op->n_sequences, op->d_inner, op->d_state, op->dt_rank));
}

/* The definition in ops.h. */
static void one_after_another(check *c, const kr_device *device, const kr_mixer_step *op, const states *st, kr_view y)
{
    size_t n = op->n_sequences, D = op->d_inner, N = op->d_state, R = op->dt_rank, start[MOST_SEQUENCES + 1];
    for (size_t s = 0; s <= n; s++) start[s] = s;
    kr_rows rows = { n, start };
    kr_view x = check_matrix(c, n, D), dbc = check_matrix(c, n, R + 2 * N), delta = check_matrix(c, n, D);
    kr_view B = { dbc.data + R, dbc.stride }, C = { dbc.data + R + N, dbc.stride };
    size_t scan = device->scan_scratch(1, N), product = device->linear_scratch(1, n, D, D > R ? D : R);
    kr_exec exec = check_exec(c, device, 1, scan > product ? scan : product);
    kr_conv_run(&exec, &(kr_conv){ .rows = rows,
                                   .dim = D,
                                   .width = op->d_conv,
                                   .x = op->xz,
                                   .weight = op->conv_weight,
                                   .bias = op->conv_bias,
                                   .silu = true,
                                   .state = st->conv,
                                   .y = x });
    kr_linear_run(&exec, &(kr_linear){ .n_tokens = n, .x = check_const(x), .weight = op->x_proj, .y = dbc });
    if (op->norm_eps >= 0) {
        kr_rms_norm_run(&exec, &(kr_rms_norm){ n, R, check_const(dbc), NULL, op->norm_eps, dbc });
        kr_rms_norm_run(&exec, &(kr_rms_norm){ n, N, check_const(B), NULL, op->norm_eps, B });
        kr_rms_norm_run(&exec, &(kr_rms_norm){ n, N, check_const(C), NULL, op->norm_eps, C });
    }
    kr_linear_run(&exec, &(kr_linear){ .n_tokens = n, .x = check_const(dbc), .weight = op->dt_proj, .y = delta });
    kr_scan_run(&exec, &(kr_scan){ .rows = rows,
                                   .d_inner = D,
                                   .d_state = N,
                                   .n_groups = 1,
                                   .u = check_const(x),
                                   .delta = check_const(delta),
                                   .z = { op->xz.data + D, op->xz.stride },
                                   .B = check_const(B),
                                   .C = check_const(C),
                                   .A = op->A,
                                   .D = op->D,
                                   .delta_bias = op->dt_bias,
                                   .delta_softplus = true,
                                   .state = st->ssm,
                                   .y = y });
}

static kr_mixer_step make(check *c, size_t n, size_t D, size_t N, size_t width, size_t R, krait_weight_type type, bool norms)
{
    float *A = check_normals(c, N * D, 0.5f, 1);
    for (size_t i = 0; i < N * D; i++) A[i] = -fabsf(A[i]);
    return (kr_mixer_step){ .n_sequences = n,
                            .d_inner = D,
                            .d_state = N,
                            .d_conv = width,
                            .dt_rank = R,
                            .xz = check_const(check_normal(c, n, 2 * D, 1, 0)),
                            .conv_weight = check_normals(c, width * D, 0.5f, 0),
                            .conv_bias = check_maybe(c) ? check_normals(c, D, 0.1f, 0) : NULL,
                            .x_proj =
                                check_pack(c, type, check_normals(c, (R + 2 * N) * D, 1 / sqrtf((float)D), 0), R + 2 * N, D),
                            .dt_proj = check_pack(c, type, check_normals(c, D * R, 1 / sqrtf((float)R), 0), D, R),
                            .dt_bias = check_normals(c, D, 1, -3),
                            .A = A,
                            .D = check_normals(c, D, 1, 0),
                            .norm_eps = norms ? 1e-6f : -1 };
}

static void step_case(check *c, size_t n, size_t D, size_t N, size_t width, size_t R, krait_weight_type type, bool norms)
{
    snprintf(c->label, sizeof c->label, "%zu sequences, D %zu, N %zu, width %zu, dt_rank %zu, %s%s", n, D, N, width, R,
             krait_weight_type_name(type), norms ? ", norms" : "");
    kr_mixer_step op = make(c, n, D, N, width, R, type, norms);
    states before;
    for (size_t s = 0; s < n; s++) {
        before.conv[s] = check_normals(c, (width - 1) * D, 1, 0);
        before.ssm[s] = check_normals(c, N * D, 1, 0);
    }
    states found_states = copy_states(c, &op, &before), expected_states = copy_states(c, &op, &before);
    kr_view found = check_matrix(c, n, D), expected = check_matrix(c, n, D);
    kr_exec exec = executor(c, c->device, 1, &op);
    op.conv_state = found_states.conv;
    op.ssm_state = found_states.ssm;
    op.y = found;
    kr_mixer_step_run(&exec, &op);
    one_after_another(c, type == KRAIT_WEIGHT_F32 ? c->reference : c->device, &op, &expected_states, expected);
    close_to(c, "y", found, expected, n, D);
    for (size_t s = 0; s < n; s++) {
        close_to(c, "conv_state", (kr_view){ found_states.conv[s], D }, (kr_view){ expected_states.conv[s], D }, width - 1, D);
        close_to(c, "ssm_state", (kr_view){ found_states.ssm[s], D }, (kr_view){ expected_states.ssm[s], D }, N, D);
    }

    for (int threads = 2; threads <= 3; threads++) {
        kr_exec more = executor(c, c->device, threads, &op);
        states st = copy_states(c, &op, &before);
        op.conv_state = st.conv;
        op.ssm_state = st.ssm;
        op.y = check_matrix(c, n, D);
        kr_mixer_step_run(&more, &op);
        check_same(c, "threads", check_const(op.y), check_const(found), n, D);
        same_states(c, "threads, states", &op, &st, &found_states);
    }
    if (n > 0) { /* the last sequence alone */
        kr_mixer_step one = op;
        states st = copy_states(c, &op, &before);
        one.n_sequences = 1;
        one.xz.data += (n - 1) * one.xz.stride;
        one.conv_state = st.conv + n - 1;
        one.ssm_state = st.ssm + n - 1;
        one.y = check_matrix(c, 1, D);
        kr_mixer_step_run(&exec, &one);
        check_same(c, "alone", check_const(one.y), (kr_cview){ found.data + (n - 1) * found.stride, D }, 1, D);
    }
    check_end_case(c);
}

void check_mixer_step(check *c)
{
    static const size_t ranks[] = { 1, 2, 5, 16, 48 };
    for (int round = 0; round < 60; round++)
        step_case(c, check_below(c, 7), 1 + check_below(c, 140), round % 2 ? 16 : 1 + check_below(c, 20), 1 + check_below(c, 4),
                  ranks[check_below(c, 5)], round % 4 ? KRAIT_WEIGHT_F32 : (krait_weight_type)(1 + check_below(c, 4)),
                  round % 3 == 0);
    for (krait_weight_type type = KRAIT_WEIGHT_F32; type <= KRAIT_WEIGHT_Q6; type++) {
        step_case(c, 1, 1536, 16, 4, 48, type, false);
        step_case(c, 3, 1536, 16, 4, 48, type, true);
    }
    step_case(c, 2, 256, 300, 4, 16, KRAIT_WEIGHT_F32, false);
}

typedef struct context {
    kr_exec exec;
    kr_mixer_step op;
} context;

static void run(void *pointer)
{
    context *k = pointer;
    kr_mixer_step_run(&k->exec, &k->op);
}

void bench_mixer_step(check *c)
{
    static const size_t counts[] = { 1, 4, 16 };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t n = counts[i], D = 1536, N = 16, width = 4, R = 48;
        states st;
        for (size_t s = 0; s < n; s++) {
            st.conv[s] = check_normals(c, (width - 1) * D, 1, 0);
            st.ssm[s] = check_normals(c, N * D, 1, 0);
        }
        context k = { .op = make(c, n, D, N, width, R, KRAIT_WEIGHT_F32, false) };
        k.op.conv_state = st.conv;
        k.op.ssm_state = st.ssm;
        k.op.y = check_matrix(c, n, D);
        k.exec = executor(c, c->device, 1, &k.op);
        char label[64];
        snprintf(label, sizeof label, "%zu sequences, D %zu", n, D);
        double weights = (double)((R + 2 * N) * D + D * R + N * D + width * D + 3 * D) * 4;
        double moved = weights + (double)(n * (N + width - 1) * D) * 8;
        bench_report(c, label, bench_seconds(run, &k), (double)n, "sequence", moved);
        check_end_case(c);
    }
}
