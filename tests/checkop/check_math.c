/* exp, softplus and silu on rows. Tolerance: 4 epsilon of the result (2 units in the last place of float, and the reference's own
 * rounding), and what flushing denormals loses (times x in silu). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "checkop.h"

typedef void (*row_function)(float *y, const float *x, size_t n);

static void one_row(check *c, const char *name, row_function f, row_function reference, const float *values, size_t n)
{
    snprintf(c->label, sizeof c->label, "%s of %zu", name, n);
    float *x = check_copy_floats(c, values, n), *y = check_floats(c, n), *expected = check_floats(c, n);
    kr_fp_mode mode = kr_flush_denormals();
    f(y, x, n);
    reference(expected, x, n);
    float *in_place = check_copy_floats(c, x, n);
    f(in_place, in_place, n);
    kr_fp_restore(mode);
    for (size_t i = 0; i < n; i++) {
        /* Where the reference is infinite or within a factor of two of it, infinity or the largest numbers are right. */
        if (expected[i] > 1e38f && y[i] > 1e38f) continue;
        check_close(c, name, i, y[i], expected[i],
                    4 * EPSILON * fabs((double)expected[i]) + (2 + fmin(fabs((double)x[i]), 100)) * SMALLEST_NORMAL);
    }
    check_same(c, "in place", (kr_cview){ in_place, n }, (kr_cview){ y, n }, 1, n);
    check_end_case(c);
}

void check_math(check *c)
{
    const kr_cpu_kernels *k = kr_cpu_kernels_of(c->device->isa);
    const struct {
        const char *name;
        row_function f, reference;
    } functions[] = { { "exp", k->exp, kr_exp_plain },
                      { "softplus", k->softplus, kr_softplus_plain },
                      { "silu", k->silu, kr_silu_plain } };
    static const float special[] = { 0.0f,   -0.0f,   1e-40f,  -1e-40f,  1e-30f,  1.0f,  -1.0f,  19.99f, 20.0f,  20.01f,   -20.0f,
                                     86.9f,  87.3f,   87.4f,   88.0f,    88.4f,   88.7f, 88.8f,  100.0f, -86.9f, -87.3f,   -87.4f,
                                     -88.0f, -103.0f, -104.0f, -1000.0f, 1000.0f, 1e10f, -1e10f, 3e38f,  -3e38f, INFINITY, NAN };
    static float values[4096];
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        one_row(c, functions[f].name, functions[f].f, functions[f].reference, special, sizeof special / sizeof *special);
        for (size_t n = 0; n < 70; n++) {
            for (size_t i = 0; i < n; i++) values[i] = 30 * kr_rng_normal(&c->rng);
            one_row(c, functions[f].name, functions[f].f, functions[f].reference, values, n);
        }
        for (size_t i = 0; i < 4096; i++) values[i] = -90.0f + 180.0f * (float)i / 4096;
        one_row(c, functions[f].name, functions[f].f, functions[f].reference, values, 4096);
        for (size_t i = 0; i < 4096; i++) values[i] = 0.5f * kr_rng_normal(&c->rng);
        one_row(c, functions[f].name, functions[f].f, functions[f].reference, values, 4096);
    }
}

typedef struct context {
    row_function f;
    float y[4096], x[4096];
} context;

static void run(void *pointer)
{
    context *k = pointer;
    k->f(k->y, k->x, 4096);
}

void bench_math(check *c)
{
    static context k;
    const kr_cpu_kernels *kernels = kr_cpu_kernels_of(c->device->isa);
    for (size_t i = 0; i < 4096; i++) k.x[i] = 2 * kr_rng_normal(&c->rng);
    k.f = kernels->exp;
    bench_report(c, "exp", bench_seconds(run, &k), 4096, "element", 0);
    k.f = kernels->softplus;
    bench_report(c, "softplus", bench_seconds(run, &k), 4096, "element", 0);
    k.f = kernels->silu;
    bench_report(c, "silu", bench_seconds(run, &k), 4096, "element", 0);
}
