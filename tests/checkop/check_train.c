/* linear_backward, embedding_backward, cross_entropy, sum_squares and adamw. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkop.h"
#include "tensor/tensor.h"

static size_t random_size(check *c)
{
    static const size_t sizes[] = { 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 70, 80, 131, 257 };
    return sizes[check_below(c, sizeof sizes / sizeof *sizes)];
}

/* ---- linear: the reference is a sum in double; tolerance (terms + 2) * epsilon * sum of the products' magnitudes ------- */

typedef struct sums {
    double exact, size;
} sums;

static sums sum_of(const float *a, size_t a_step, const float *b, size_t b_step, size_t n, double before)
{
    sums s = { before, fabs(before) };
    for (size_t i = 0; i < n; i++) {
        double product = (double)a[i * a_step] * (double)b[i * b_step];
        s.exact += product;
        s.size += fabs(product);
    }
    return s;
}

static void linear_backward_case(check *c, krait_weight_type type, size_t n, size_t rows, size_t columns, bool add, int threads)
{
    snprintf(c->label, sizeof c->label, "%zu tokens, %s weight [%zu, %zu]%s, %d threads", n, krait_weight_type_name(type), rows,
             columns, add ? ", add" : "", threads);
    float *weight = check_normals(c, rows * columns, 1, 0), *dweight = check_normals(c, rows * columns, 1, 0),
          *dbias = check_normals(c, rows, 1, 0);
    float *dweight_before = check_copy_floats(c, dweight, rows * columns), *dbias_before = check_copy_floats(c, dbias, rows);
    kr_view x = check_normal(c, n, columns, 1, 0), dy = check_normal(c, n, rows, 1, 0),
            before = check_normal(c, n, columns, 1, 0), dx = check_copy(c, before, n, columns);
    if (type == KRAIT_WEIGHT_BF16)
        for (size_t i = 0; i < rows * columns; i++) weight[i] = kr_bf16_to_float(kr_float_to_bf16(weight[i]));
    kr_linear_backward op = { .n_tokens = n,
                              .x = check_const(x),
                              .dy = check_const(dy),
                              .weight = check_pack(c, type, weight, rows, columns),
                              .dx = dx,
                              .add = add,
                              .dweight = dweight,
                              .dbias = dbias };
    kr_exec exec = check_exec(c, c->device, threads, c->device->linear_backward_scratch(threads, n, rows, columns));
    kr_linear_backward_run(&exec, &op);
    const double rounding = type == KRAIT_WEIGHT_BF16 && kr_cpu_kernels_of(c->device->isa)->bf16 ? 0x1p-7 : 0;
    for (size_t t = 0; t < n; t++)
        for (size_t k = 0; k < columns; k++) {
            sums s = sum_of(dy.data + t * dy.stride, 1, weight + k, columns, rows,
                            add ? (double)before.data[t * before.stride + k] : 0);
            check_close(c, "dx", t * columns + k, dx.data[t * dx.stride + k], (float)s.exact,
                        ((double)(rows + 2) * EPSILON + rounding) * s.size);
        }
    for (size_t j = 0; j < rows; j++) {
        for (size_t k = 0; k < columns; k++) {
            sums s = sum_of(dy.data + j, dy.stride, x.data + k, x.stride, n, (double)dweight_before[j * columns + k]);
            check_close(c, "dweight", j * columns + k, dweight[j * columns + k], (float)s.exact,
                        ((double)(n + 2) * EPSILON + rounding) * s.size);
        }
        const float one = 1;
        sums s = sum_of(dy.data + j, dy.stride, &one, 0, n, (double)dbias_before[j]);
        check_close(c, "dbias", j, dbias[j], (float)s.exact, (double)(n + 2) * EPSILON * s.size);
    }

    /* Each of the three alone is the same. */
    float *again = check_copy_floats(c, dweight_before, rows * columns);
    kr_linear_backward alone = op;
    alone.dx.data = NULL;
    alone.dbias = NULL;
    alone.dweight = again;
    kr_linear_backward_run(&exec, &alone);
    check_same(c, "dweight alone", (kr_cview){ again, columns }, (kr_cview){ dweight, columns }, rows, columns);
    kr_view dx_again = check_copy(c, before, n, columns);
    alone = op;
    alone.dweight = alone.dbias = NULL;
    alone.dx = dx_again;
    kr_linear_backward_run(&exec, &alone);
    check_same(c, "dx alone", check_const(dx_again), check_const(dx), n, columns);

    /* Our own kernels give the same bits for every number of threads. */
    if (n < 64 || c->device->isa == KRAIT_ISA_PLAIN) {
        kr_exec more = check_exec(c, c->device, 3, c->device->linear_backward_scratch(3, n, rows, columns));
        again = check_copy_floats(c, dweight_before, rows * columns);
        alone = op;
        alone.dbias = check_copy_floats(c, dbias_before, rows);
        alone.dweight = again;
        alone.dx = check_copy(c, before, n, columns);
        kr_linear_backward_run(&more, &alone);
        check_same(c, "dweight threads", (kr_cview){ again, columns }, (kr_cview){ dweight, columns }, rows, columns);
        check_same(c, "dx threads", check_const(alone.dx), check_const(dx), n, columns);
        check_same(c, "dbias threads", (kr_cview){ alone.dbias, rows }, (kr_cview){ dbias, rows }, 1, rows);
    }
    check_end_case(c);
}

void check_linear_backward(check *c)
{
    for (int round = 0; round < 80; round++) {
        size_t n = check_below(c, 3) ? check_below(c, 20) : check_below(c, 90);
        linear_backward_case(c, check_maybe(c) ? KRAIT_WEIGHT_F32 : KRAIT_WEIGHT_BF16, n, random_size(c), random_size(c),
                             check_maybe(c), 1 + (int)check_below(c, 3));
    }
    linear_backward_case(c, KRAIT_WEIGHT_F32, 200, 80, 300, true, 2);
    linear_backward_case(c, KRAIT_WEIGHT_BF16, 200, 130, 96, false, 2);
}

/* ---- embedding: sums in the order of the tokens ------------------------------------------------------------------------ */

void check_embedding_backward(check *c)
{
    for (int round = 0; round < 30; round++) {
        size_t n = check_below(c, 100), vocabulary = 1 + check_below(c, 20), dim = round == 0 ? 1536 : random_size(c);
        int32_t ids[100];
        snprintf(c->label, sizeof c->label, "%zu tokens, table [%zu, %zu]", n, vocabulary, dim);
        for (size_t t = 0; t < n; t++) ids[t] = (int32_t)check_below(c, vocabulary);
        kr_view dout = check_normal(c, n, dim, 1, 0);
        float *before = check_normals(c, vocabulary * dim, 1, 0), *expected = check_copy_floats(c, before, vocabulary * dim);
        for (size_t t = 0; t < n; t++)
            for (size_t i = 0; i < dim; i++) expected[(size_t)ids[t] * dim + i] += dout.data[t * dout.stride + i];
        for (int threads = 1; threads <= 3; threads += 2) {
            float *found = check_copy_floats(c, before, vocabulary * dim);
            kr_exec exec = check_exec(c, c->device, threads, 0);
            kr_embedding_backward_run(&exec, &(kr_embedding_backward){ n, ids, dim, check_const(dout), found });
            check_same(c, "table", (kr_cview){ found, dim }, (kr_cview){ expected, dim }, vocabulary, dim);
        }
        check_end_case(c);
    }
}

/* ---- cross entropy ------------------------------------------------------------------------------------------------------- */

static void cross_entropy_case(check *c, size_t n, size_t vocabulary, float scale, float offset)
{
    int32_t targets[64];
    snprintf(c->label, sizeof c->label, "%zu tokens, vocabulary %zu, logits %g + %g", n, vocabulary, (double)scale,
             (double)offset);
    kr_view logits = check_normal(c, n, vocabulary, scale, offset), expected = check_copy(c, logits, n, vocabulary);
    for (size_t t = 0; t < n; t++) targets[t] = (int32_t)check_below(c, vocabulary + 1) - (check_below(c, 8) == 0 ? 300 : 1);
    double loss = 1, wanted = 1, once = 0, shared = 0;
    kr_exec plain = check_exec(c, c->reference, 1, c->reference->cross_entropy_scratch(n));
    kr_cross_entropy op = { n, vocabulary, expected, targets, true, &wanted };
    kr_cross_entropy_run(&plain, &op);
    double squares = 0;
    for (int threads = 1; threads <= 3; threads += 2) {
        kr_exec exec = check_exec(c, c->device, threads, c->device->cross_entropy_scratch(n));
        op.logits = check_copy(c, logits, n, vocabulary);
        op.loss = &loss;
        loss = 1;
        kr_cross_entropy_run(&exec, &op);
        for (size_t t = 0; t < n; t++)
            for (size_t i = 0; i < vocabulary; i++)
                check_close(c, "gradient", t * vocabulary + i, op.logits.data[t * op.logits.stride + i],
                            expected.data[t * expected.stride + i],
                            4e-6 * fabs((double)expected.data[t * expected.stride + i]) + 3e-7);
        if (threads == 1) once = loss;
        shared = loss;
    }
    for (size_t t = 0; t < n; t++) squares += fabs((double)offset) + 6 * fabs((double)scale);
    if (once != shared) check_fail(c, "loss: with 3 threads %.17g, with one %.17g", shared, once);
    if (!(fabs(loss - wanted) <= 1e-6 * (fabs(wanted) + squares))) check_fail(c, "loss: expected %.9g, found %.9g", wanted, loss);
    op.gradient = false;
    op.logits = check_copy(c, logits, n, vocabulary);
    loss = 1;
    kr_exec exec = check_exec(c, c->device, 1, c->device->cross_entropy_scratch(n));
    kr_cross_entropy_run(&exec, &op);
    if (loss != once) check_fail(c, "loss without gradient: expected %.17g, found %.17g", once, loss);
    check_same(c, "logits without gradient", check_const(op.logits), check_const(logits), n, vocabulary);
    check_end_case(c);
}

void check_cross_entropy(check *c)
{
    for (int round = 0; round < 40; round++)
        cross_entropy_case(c, check_below(c, 30), random_size(c), check_maybe(c) ? 1 : 10, check_maybe(c) ? 0 : 50);
    cross_entropy_case(c, 5, 2048, 3, 0);
    cross_entropy_case(c, 3, 5003, 100, -1000);
    /* What is not finite is seen in the loss. */
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++)
        for (size_t at = 0; at < 90; at += 44) {
            kr_view logits = check_normal(c, 1, 90, 1, 0);
            int32_t target = i == 2 ? (int32_t)at : 1;
            double loss = 0;
            snprintf(c->label, sizeof c->label, "logit %zu is %f", at, (double)bad[i]);
            logits.data[at] = bad[i];
            kr_exec exec = check_exec(c, c->device, 1, c->device->cross_entropy_scratch(1));
            kr_cross_entropy_run(&exec, &(kr_cross_entropy){ 1, 90, logits, &target, true, &loss });
            if (isfinite(loss)) check_fail(c, "loss: expected one that is not finite, found %g", loss);
            check_end_case(c);
        }
}

/* ---- the optimizer ------------------------------------------------------------------------------------------------------- */

static void sum_squares_case(check *c, size_t count, float scale)
{
    snprintf(c->label, sizeof c->label, "%zu numbers of magnitude %g", count, (double)scale);
    float *x = check_normals(c, count, scale, 0);
    double exact = 0, found[2] = { 0, 0 };
    for (size_t i = 0; i < count; i++) exact += (double)x[i] * (double)x[i];
    for (int i = 0; i < 2; i++) {
        kr_exec exec = check_exec(c, c->device, 1 + 2 * i, c->device->sum_squares_scratch(count));
        kr_sum_squares_run(&exec, &(kr_sum_squares){ x, count, &found[i] });
    }
    if (found[0] != found[1]) check_fail(c, "sum: with 3 threads %.17g, with one %.17g", found[1], found[0]);
    if (!(fabs(found[0] - exact) <= 1e-6 * exact)) check_fail(c, "sum: expected %.9g, found %.9g", exact, found[0]);
    if (count > 0)
        for (int i = 0; i < 2; i++) {
            double sum = 0;
            x[check_below(c, count)] = i ? INFINITY : NAN;
            kr_exec exec = check_exec(c, c->device, 1, c->device->sum_squares_scratch(count));
            kr_sum_squares_run(&exec, &(kr_sum_squares){ x, count, &sum });
            if (isfinite(sum)) check_fail(c, "sum: expected one that is not finite, found %g", sum);
        }
    check_end_case(c);
}

void check_sum_squares(check *c)
{
    static const float scales[] = { 1, 1e-3f, 1e-25f, 1e25f };
    for (int round = 0; round < 24; round++) sum_squares_case(c, check_below(c, 3000), scales[round % 4]);
    sum_squares_case(c, 200000, 1);
}

static void adamw_case(check *c, size_t count, uint64_t step)
{
    snprintf(c->label, sizeof c->label, "%zu numbers, step %llu", count, (unsigned long long)step);
    float *value = check_normals(c, count, 1, 0), *m = check_normals(c, count, 0.1f, 0), *v = check_normals(c, count, 0.1f, 0);
    for (size_t i = 0; i < count; i++) v[i] = step == 1 ? 0 : v[i] * v[i];
    for (size_t i = 0; step == 1 && i < count; i++) m[i] = 0;
    kr_adamw op = { .count = count,
                    .gradient = check_normals(c, count, 30, 0),
                    .scale = 0.01f,
                    .rate = 1e-2f,
                    .beta1 = 0.9f,
                    .beta2 = 0.95f,
                    .epsilon = 1e-8f,
                    .decay = 0.1f,
                    .step = step };
    float *values[3], *ms[3], *vs[3], *rounded[3];
    for (int i = 0; i < 3; i++) {
        op.value = values[i] = check_copy_floats(c, value, count);
        op.m = ms[i] = check_copy_floats(c, m, count);
        op.v = vs[i] = check_copy_floats(c, v, count);
        rounded[i] = check_floats(c, count / 2 + 1);
        op.rounded = (uint16_t *)(void *)rounded[i];
        kr_exec exec = check_exec(c, i == 0 ? c->reference : c->device, i == 2 ? 3 : 1, 0);
        kr_adamw_run(&exec, &op);
    }
    for (size_t i = 0; i < count; i++) {
        const double terms = fabs((double)m[i]) + fabs((double)op.gradient[i]) * 0.01; /* of m, which may cancel */
        check_close(c, "value", i, values[1][i], values[0][i],
                    4 * EPSILON * (fabs((double)values[0][i]) + 0.02 + 0.01 * terms / sqrt((double)vs[0][i])));
        check_close(c, "m", i, ms[1][i], ms[0][i], 4 * EPSILON * terms);
        check_close(c, "v", i, vs[1][i], vs[0][i], 4 * EPSILON * fabs((double)vs[0][i]));
        if (((const uint16_t *)(void *)rounded[1])[i] != kr_float_to_bf16(values[1][i])) check_fail(c, "rounded %zu is not", i);
    }
    check_same(c, "threads", (kr_cview){ values[2], count }, (kr_cview){ values[1], count }, 1, count);
    check_end_case(c);
}

void check_adamw(check *c)
{
    for (int round = 0; round < 12; round++) adamw_case(c, check_below(c, 200), 1 + check_below(c, 3) * 500);
    adamw_case(c, 50000, 7);
}
