/* Every allocation of the operations' functions fails once. */
#include "fixture.h"

#include "fail_alloc.h"
#include "krait/ops.h"

enum { D = 3, N = 2, L = 5 };

static krait_status scan(void *context, krait_error *error)
{
    (void)context;
    static float u[D * L], A[D * N], B[N * L], out[D * L], du[D * L];
    krait_selective_scan op = { .batch = 1,
                                .dim = D,
                                .length = L,
                                .d_state = N,
                                .u = { u, { 0, L, 1 } },
                                .delta = { u, { 0, L, 1 } },
                                .A = { A, { N, 1 } },
                                .B = { B, { 0, 0, L, 1 } },
                                .C = { B, { 0, 0, L, 1 } },
                                .out = { out, { 0, L, 1 } } };
    krait_selective_scan_gradients g = { .dout = { u, { 0, L, 1 } }, .du = { du, { 0, L, 1 } } };
    krait_status status = krait_selective_scan_forward(&op, NULL, error);
    return status ? status : krait_selective_scan_backward(&op, &g, NULL, error);
}

/* So many channels that they go by slices. */
static krait_status sliced_scan(void *context, krait_error *error)
{
    (void)context;
    enum { WIDE = 256, LONG = 128 };
    static float u[WIDE * LONG], A[WIDE], B[LONG], out[WIDE * LONG], dB[LONG], dC[LONG], saved[WIDE];
    krait_selective_scan op = { .batch = 1,
                                .dim = WIDE,
                                .length = LONG,
                                .d_state = 1,
                                .u = { u, { 0, LONG, 1 } },
                                .delta = { u, { 0, LONG, 1 } },
                                .A = { A, { 1, 1 } },
                                .B = { B, { 0, 0, LONG, 1 } },
                                .C = { B, { 0, 0, LONG, 1 } },
                                .out = { out, { 0, LONG, 1 } },
                                .saved = saved };
    krait_selective_scan_gradients g = { .dout = { u, { 0, LONG, 1 } },
                                         .dB = { dB, { 0, 0, LONG, 1 } },
                                         .dC = { dC, { 0, 0, LONG, 1 } } };
    const krait_op_options options = { .threads = 1 };
    assert_int_equal(krait_selective_scan_saved(&op), WIDE);
    krait_status status = krait_selective_scan_forward(&op, &options, error);
    return status ? status : krait_selective_scan_backward(&op, &g, &options, error);
}

static krait_status convolution(void *context, krait_error *error)
{
    (void)context;
    static float x[D * L], weight[D * 4], out[D * L], dx[D * L];
    krait_causal_conv1d op = { .batch = 1,
                               .dim = D,
                               .length = L,
                               .width = 4,
                               .x = { x, { 0, L, 1 } },
                               .weight = { weight, { 4, 1 } },
                               .out = { out, { 0, L, 1 } } };
    krait_causal_conv1d_gradients g = { .dout = { x, { 0, L, 1 } }, .dx = { dx, { 0, L, 1 } } };
    krait_status status = krait_causal_conv1d_forward(&op, NULL, error);
    return status ? status : krait_causal_conv1d_backward(&op, &g, NULL, error);
}

static krait_status norm(void *context, krait_error *error)
{
    (void)context;
    static float x[D * L], out[D * L], dx[D * L];
    krait_rms_norm op = { .rows = L, .dim = D, .x = { x, { D, 1 } }, .eps = 1e-5f, .out = { out, { D, 1 } } };
    krait_rms_norm_gradients g = { .dout = { x, { D, 1 } }, .dx = { dx, { D, 1 } } };
    krait_status status = krait_rms_norm_forward(&op, NULL, error);
    return status ? status : krait_rms_norm_backward(&op, &g, NULL, error);
}

static void a_lack_of_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    assert_int_equal(fail_alloc_every(scan, NULL), 2);
    assert_int_equal(fail_alloc_every(sliced_scan, NULL), 5 + 7); /* the threads' errors, saved, dB, dC, and two slices */
    assert_int_equal(fail_alloc_every(convolution, NULL), 2);
    assert_int_equal(fail_alloc_every(norm, NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_lack_of_memory_is_an_error_and_leaks_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
