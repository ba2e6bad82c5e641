/* embedding, linear and rms_norm. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkop.h"
#include "tensor/packed.h"

static size_t random_size(check *c)
{
    static const size_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 70, 80, 128, 131, 257 };
    return sizes[check_below(c, sizeof sizes / sizeof *sizes)];
}

/* ---- embedding: a copy ----------------------------------------------------------------------------------------------- */

void check_embedding(check *c)
{
    for (int round = 0; round < 40; round++) {
        size_t n = check_below(c, 6) * check_below(c, 30), vocabulary = random_size(c), dim = round == 0 ? 1536 : random_size(c);
        int32_t ids[256];
        snprintf(c->label, sizeof c->label, "%zu tokens, table [%zu, %zu]", n, vocabulary, dim);
        for (size_t t = 0; t < n; t++) ids[t] = (int32_t)check_below(c, vocabulary);
        float *table = check_normals(c, vocabulary * dim, 1, 0);
        for (int threads = 1; threads <= 3; threads += 2) {
            kr_view out = check_matrix(c, n, dim);
            kr_exec exec = check_exec(c, c->device, threads, 0);
            kr_embedding_run(&exec, &(kr_embedding){ n, ids, { table, vocabulary, dim, KRAIT_WEIGHT_F32 }, out });
            for (size_t t = 0; t < n; t++)
                check_same(c, "row", (kr_cview){ out.data + t * out.stride, dim },
                           (kr_cview){ table + (size_t)ids[t] * dim, dim }, 1, dim);
        }
        check_end_case(c);
    }
}

/* ---- linear: tolerance (columns + 2) * epsilon * sum of the products' magnitudes; none with grouped weights ----------- */

static const krait_weight_type types[] = { KRAIT_WEIGHT_F32, KRAIT_WEIGHT_F16, KRAIT_WEIGHT_BF16,
                                           KRAIT_WEIGHT_Q8,  KRAIT_WEIGHT_Q4,  KRAIT_WEIGHT_Q6 };
enum { N_TYPES = sizeof types / sizeof *types };

static void linear_case(check *c, krait_weight_type type, size_t n, size_t rows, size_t columns, bool bias, bool add)
{
    snprintf(c->label, sizeof c->label, "%zu tokens, %s weight [%zu, %zu]%s%s", n, krait_weight_type_name(type), rows, columns,
             bias ? ", bias" : "", add ? ", add" : "");
    float *weight = check_normals(c, rows * columns, 1, 0);
    kr_view x = check_normal(c, n, columns, 1, 0), before = check_normal(c, n, rows, 1, 0);
    kr_view found = check_copy(c, before, n, rows), expected = check_copy(c, before, n, rows),
            cut = check_copy(c, before, n, rows);
    kr_linear op = { .n_tokens = n,
                     .x = check_const(x),
                     .weight = check_pack(c, type, weight, rows, columns),
                     .bias = bias ? check_normals(c, rows, 1, 0) : NULL,
                     .add = add,
                     .y = found };
    kr_exec exec = check_exec(c, c->device, 1, c->device->linear_scratch(1, n, rows, columns));
    kr_linear_run(&exec, &op);
    kr_exec plain = check_exec(c, c->reference, 1, c->reference->linear_scratch(1, n, rows, columns));
    op.y = expected;
    kr_linear_run(&plain, &op);
    const double rounding = type == KRAIT_WEIGHT_BF16 && kr_cpu_kernels_of(c->device->isa)->bf16 ? 0x1p-8 : 0; /* of x */
    for (size_t t = 0; t < n; t++)
        for (size_t j = 0; j < rows; j++) {
            double size = (bias ? fabs((double)op.bias[j]) : 0) + (add ? fabs((double)before.data[t * before.stride + j]) : 0);
            for (size_t k = 0; k < columns; k++) size += fabs((double)x.data[t * x.stride + k] * (double)weight[j * columns + k]);
            check_close(c, "y", t * rows + j, found.data[t * found.stride + j], expected.data[t * expected.stride + j],
                        kr_is_grouped(type) ? 0 : ((double)(columns + 2) * EPSILON + rounding) * size);
        }

    /* The kernel in two shares, and each token alone, have the same bits as the kernel at once. */
    const kr_cpu_kernels *kernels = kr_cpu_kernels_of(c->device->isa);
    kr_view once = check_copy(c, before, n, rows), alone = check_copy(c, before, n, rows);
    size_t middle = check_below(c, rows + 1);
    if (kr_is_grouped(type) && middle < rows) middle -= middle % KR_GROUP_ROWS;
    op.y = once;
    kr_cpu_linear_alone(kernels, &op, 0, rows, exec.scratch);
    op.y = cut;
    if (middle > 0) kr_cpu_linear_alone(kernels, &op, 0, middle, exec.scratch);
    if (middle < rows) kr_cpu_linear_alone(kernels, &op, middle, rows, exec.scratch);
    check_same(c, "in shares", check_const(cut), check_const(once), n, rows);
    for (size_t t = 0; t < n; t++) {
        kr_linear one = op;
        one.n_tokens = 1;
        one.x.data += t * one.x.stride;
        one.y.data = alone.data + t * alone.stride;
        kr_cpu_linear_alone(kernels, &one, 0, rows, exec.scratch);
    }
    check_same(c, "tokens alone", check_const(alone), check_const(once), n, rows);

    /* Threads, where our kernel does the work. */
    for (int threads = 2; threads <= 3 && n <= 16; threads++) {
        kr_exec more = check_exec(c, c->device, threads, c->device->linear_scratch(threads, n, rows, columns));
        op.y = check_copy(c, before, n, rows);
        kr_linear_run(&more, &op);
        check_same(c, "threads", check_const(op.y), check_const(found), n, rows);
    }
    check_end_case(c);
}

void check_linear(check *c)
{
    for (int round = 0; round < 150; round++) {
        size_t n = check_below(c, 3) ? check_below(c, 20) : check_below(c, 90);
        linear_case(c, types[round % N_TYPES], n, random_size(c), random_size(c), check_maybe(c), check_maybe(c));
    }
    for (size_t i = 0; i < N_TYPES; i++) {
        linear_case(c, types[i], 1, 80, 1536, false, false);
        linear_case(c, types[i], 1, 1536, 48, false, false);
        linear_case(c, types[i], 3, 1537, 769, true, true);
        linear_case(c, types[i], 200, 40, 130, true, true);
    }
}

typedef struct linear_context {
    kr_exec exec;
    kr_linear op;
} linear_context;

static void run_linear(void *pointer)
{
    linear_context *k = pointer;
    kr_linear_run(&k->exec, &k->op);
}

void bench_linear(check *c)
{
    static const size_t shapes[][3] = { { 1, 3072, 768 }, { 1, 768, 1536 }, { 16, 3072, 768 }, { 256, 3072, 768 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t j = 0; j < N_TYPES; j++) {
            size_t n = shapes[i][0], rows = shapes[i][1], columns = shapes[i][2];
            char label[64];
            snprintf(label, sizeof label, "%s, n %zu, [%zu, %zu]", krait_weight_type_name(types[j]), n, rows, columns);
            float *weight = check_normals(c, rows * columns, 1, 0);
            linear_context k = { check_exec(c, c->device, 1, c->device->linear_scratch(1, n, rows, columns)),
                                 { .n_tokens = n,
                                   .x = { check_normals(c, n * columns, 1, 0), columns },
                                   .weight = check_pack(c, types[j], weight, rows, columns),
                                   .y = { check_floats(c, n * rows), rows } } };
            bench_report(c, label, bench_seconds(run_linear, &k), (double)(n * rows), "output",
                         (double)kr_packed_bytes(types[j], rows, columns));
            check_end_case(c);
        }
}

/* ---- rms_norm: tolerance (dim / 2 + 8) * epsilon of the result; the sum has no cancellation ---------------------------- */

static void norm_case(check *c, size_t n, size_t dim, bool weight, float scale, float eps)
{
    snprintf(c->label, sizeof c->label, "%zu tokens, dim %zu, scale %g", n, dim, (double)scale);
    kr_view x = check_normal(c, n, dim, scale, 0), found = check_matrix(c, n, dim), expected = check_matrix(c, n, dim);
    kr_rms_norm op = { .n_tokens = n,
                       .dim = dim,
                       .x = check_const(x),
                       .weight = weight ? check_normals(c, dim, 1, 0) : NULL,
                       .eps = eps,
                       .y = found };
    kr_exec exec = check_exec(c, c->device, 1, 0), plain = check_exec(c, c->reference, 1, 0);
    kr_rms_norm_run(&exec, &op);
    op.y = expected;
    kr_rms_norm_run(&plain, &op);
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < dim; i++) {
            float e = expected.data[t * expected.stride + i];
            check_close(c, "y", t * dim + i, found.data[t * found.stride + i], e,
                        ((double)dim / 2 + 8) * EPSILON * fabs((double)e) + SMALLEST_NORMAL);
        }
    for (int threads = 2; threads <= 3; threads++) {
        kr_exec more = check_exec(c, c->device, threads, 0);
        kr_view y = check_matrix(c, n, dim);
        op.y = y;
        kr_rms_norm_run(&more, &op);
        check_same(c, "threads", check_const(y), check_const(found), n, dim);
    }
    op.y = x;
    kr_rms_norm_run(&exec, &op);
    check_same(c, "in place", check_const(x), check_const(found), n, dim);
    check_end_case(c);
}

void check_rms_norm(check *c)
{
    for (size_t dim = 1; dim <= 70; dim++) norm_case(c, check_below(c, 5), dim, check_maybe(c), 1, 1e-5f);
    static const float scales[] = { 0, 1e-30f, 1e-15f, 1e-3f, 1e3f, 1e15f };
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        norm_case(c, 3, 37, true, scales[i], 1e-5f);
        norm_case(c, 3, 768, true, scales[i], 1e-6f);
    }
    norm_case(c, 200, 768, true, 1, 1e-5f);
    norm_case(c, 100, 1536, false, 1, 1e-5f);
}

typedef struct norm_context {
    kr_exec exec;
    kr_rms_norm op;
} norm_context;

static void run_norm(void *pointer)
{
    norm_context *k = pointer;
    kr_rms_norm_run(&k->exec, &k->op);
}

void bench_rms_norm(check *c)
{
    static const size_t shapes[][2] = { { 1, 768 }, { 128, 768 }, { 128, 2560 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t n = shapes[i][0], dim = shapes[i][1];
        char label[64];
        snprintf(label, sizeof label, "%zu tokens, dim %zu", n, dim);
        norm_context k = { check_exec(c, c->device, 1, 0),
                           { .n_tokens = n,
                             .dim = dim,
                             .x = { check_normals(c, n * dim, 1, 0), dim },
                             .weight = check_normals(c, dim, 1, 0),
                             .eps = 1e-5f,
                             .y = { check_floats(c, n * dim), dim } } };
        bench_report(c, label, bench_seconds(run_norm, &k), (double)n, "token", (double)(n * dim) * 8);
        check_end_case(c);
    }
}
