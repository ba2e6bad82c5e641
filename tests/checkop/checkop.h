/* checkop: every variant of every op that this machine has, against the reference; and how fast each is.
 *
 * One file per op gives two functions: check_<op> runs cases (random odd sizes, empty and single-token sequences, strides larger
 * than the width, extreme values) on the device under test and on the reference; bench_<op> times a few shapes. Every buffer ends
 * at a page that cannot be touched; what lies before it and between its rows must be unchanged afterwards. */
#ifndef KRAIT_TESTS_CHECKOP_H
#define KRAIT_TESTS_CHECKOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "base/rng.h"
#include "cpu/cpu_math.h"
#include "cpu/device.h"
#include "cpu/kernels.h"

/* 2^-23: twice the rounding error of one operation. */
#define EPSILON         1.1920929e-7
#define SMALLEST_NORMAL 1.17549435e-38 /* what flushing denormals may lose */

typedef struct buffer {
    char *map;
    size_t map_size; /* without the page behind */
    float *data;
    size_t rows, columns, stride;
} buffer;

typedef struct check {
    const char *op;
    const kr_device *device, *reference;
    kr_rng rng;
    char label[256]; /* of the running case */
    size_t checks, failures;
    double worst; /* largest error / tolerance */
    buffer buffers[128];
    size_t n_buffers;
    kr_json_writer *json; /* of the benchmark, or NULL */
    double plain_seconds[32];
    size_t n_timed;
} check;

/* ---- buffers: live until the case ends ----------------------------------------------------------------------------- */
kr_view check_matrix(check *c, size_t rows, size_t columns); /* with some stride, full of a NaN */
float *check_floats(check *c, size_t count);
kr_view check_normal(check *c, size_t rows, size_t columns, float scale, float offset);
float *check_normals(check *c, size_t count, float scale, float offset);
/* `values` as a weight of a type, guard pages behind. */
kr_matrix check_pack(check *c, krait_weight_type type, const float *values, size_t rows, size_t columns);
void check_pick(check *c, float *data, size_t rows, size_t columns, size_t stride, const float *values, size_t n_values);
kr_view check_copy(check *c, kr_view from, size_t rows, size_t columns); /* with a stride of its own */
float *check_copy_floats(check *c, const float *from, size_t count);
kr_exec check_exec(check *c, const kr_device *device, int threads, size_t scratch_size); /* scratch of just this size */
/* Verifies what surrounds the buffers, and frees them. */
void check_end_case(check *c);

/* ---- random choices -------------------------------------------------------------------------------------------------- */
size_t check_below(check *c, size_t n); /* 0..n-1 */
bool check_maybe(check *c);
/* Sequences of 0, 1, 2, 3 or more tokens. start has room for n_sequences + 1. */
kr_rows check_rows(check *c, size_t n_sequences, size_t most, size_t *start);

/* ---- verdicts ---------------------------------------------------------------------------------------------------------- */
/* |found - expected| <= tolerance[i] (or the one tolerance), equal, or both NaN. */
void check_close(check *c, const char *what, size_t index, float found, float expected, double tolerance);
void check_same(check *c, const char *what, kr_cview a, kr_cview b, size_t rows, size_t columns); /* the same bits */
void check_fail(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline kr_cview check_const(kr_view v) { return (kr_cview){ v.data, v.stride }; }

/* ---- benchmarks -------------------------------------------------------------------------------------------------------- */
/* Best time of one call. */
double bench_seconds(void (*run)(void *context), void *context);
/* Reports `seconds` per call of `label`: ns per item, GB/s if bytes are given, times faster than plain. */
void bench_report(check *c, const char *label, double seconds, double items, const char *item, double bytes);

void check_math(check *c);
void check_embedding(check *c);
void check_linear(check *c);
void check_rms_norm(check *c);
void check_conv(check *c);
void check_scan(check *c);
void check_mixer_step(check *c);
void check_linear_backward(check *c);
void check_embedding_backward(check *c);
void check_cross_entropy(check *c);
void check_sum_squares(check *c);
void check_adamw(check *c);
void check_rms_norm_backward(check *c);
void check_conv_backward(check *c);
void check_scan_backward(check *c);
void check_gradients(check *c); /* by finite differences */
void check_vectors(check *c);   /* of tests/data/ops */
void bench_math(check *c);
void bench_linear(check *c);
void bench_rms_norm(check *c);
void bench_conv(check *c);
void bench_scan(check *c);
void bench_mixer_step(check *c);
void bench_conv_backward(check *c);
void bench_scan_backward(check *c);

#endif
