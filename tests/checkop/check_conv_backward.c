/* conv_backward and rms_norm_backward.
 *
 * Convolution: tolerance (width + 16) * epsilon * size, plus the number of tokens for sums over them. The size of a token's ds is
 * |dy| (1 + the size of the sum that silu is applied to), since silu's second derivative is at most 0.5. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "checkop.h"

enum { MOST_SEQUENCES = 5 };

typedef struct conv_results {
    kr_view dx;
    float *dweight, *dbias, *dstate[MOST_SEQUENCES];
} conv_results;

typedef struct conv_problem {
    kr_conv op;
    kr_view dy;
    float *before[MOST_SEQUENCES];
    conv_results given;
    bool given_before, given_dstate;
} conv_problem;

static conv_results run_conv(check *c, const conv_problem *p, const kr_device *device, int threads, kr_view dx)
{
    size_t dim = p->op.dim, n = p->op.rows.n_sequences;
    conv_results r = {
        dx, check_copy_floats(c, p->given.dweight, p->op.width * dim), check_copy_floats(c, p->given.dbias, dim), { 0 }
    };
    for (size_t s = 0; s < n; s++) r.dstate[s] = check_copy_floats(c, p->given.dstate[s], (p->op.width - 1) * dim);
    kr_exec exec = check_exec(c, device, threads, 0);
    kr_conv_backward b = { .forward = p->op,
                           .state_before = p->given_before ? (const float *const *)p->before : NULL,
                           .dy = check_const(p->dy),
                           .dstate = p->given_dstate ? r.dstate : NULL,
                           .dx = dx,
                           .dweight = r.dweight,
                           .dbias = p->op.bias ? r.dbias : NULL };
    kr_conv_backward_run(&exec, &b);
    return r;
}

static void same_conv(check *c, const conv_problem *p, const conv_results *a, const conv_results *b)
{
    size_t dim = p->op.dim, past = (p->op.width - 1) * dim, weights = p->op.width * dim;
    check_same(c, "dx", check_const(a->dx), check_const(b->dx), p->op.rows.start[p->op.rows.n_sequences], dim);
    check_same(c, "dweight", (kr_cview){ a->dweight, weights }, (kr_cview){ b->dweight, weights }, 1, weights);
    check_same(c, "dbias", (kr_cview){ a->dbias, dim }, (kr_cview){ b->dbias, dim }, 1, dim);
    for (size_t s = 0; s < p->op.rows.n_sequences; s++)
        check_same(c, "dstate", (kr_cview){ a->dstate[s], past }, (kr_cview){ b->dstate[s], past }, 1, past);
}

static void compare_conv(check *c, const conv_problem *p, const conv_results *found, const conv_results *expected)
{
    const kr_conv *op = &p->op;
    size_t dim = op->dim, width = op->width, past = width - 1;
    double few = (double)(width + 16) * EPSILON, many = few + (double)op->rows.start[op->rows.n_sequences] * EPSILON;
    for (size_t d = 0; d < dim; d++) {
        double dbias = fabs((double)p->given.dbias[d]), dweight[16];
        for (size_t w = 0; w < width; w++) dweight[w] = fabs((double)p->given.dweight[w * dim + d]);
        for (size_t s = 0; s < op->rows.n_sequences; s++) {
            size_t first = op->rows.start[s], count = op->rows.start[s + 1] - first;
            double dinput[600] = { 0 };
            for (size_t i = 0; i < past && p->given_dstate; i++)
                dinput[count + i] = fabs((double)p->given.dstate[s][i * dim + d]);
            for (size_t t = 0; t < count; t++) {
                double sum = op->bias ? fabs((double)op->bias[d]) : 0, input[16];
                for (size_t w = 0; w < width; w++) {
                    size_t i = t + w;
                    input[w] = i >= past         ? fabs((double)op->x.data[(first + i - past) * op->x.stride + d])
                               : p->given_before ? fabs((double)p->before[s][i * dim + d])
                                                 : 0;
                    sum += fabs((double)op->weight[w * dim + d]) * input[w];
                }
                double ds = fabs((double)p->dy.data[(first + t) * p->dy.stride + d]) * (1 + (op->silu ? sum : 0));
                dbias += ds;
                for (size_t w = 0; w < width; w++) {
                    dweight[w] += ds * input[w];
                    dinput[t + w] += ds * fabs((double)op->weight[w * dim + d]);
                }
            }
            for (size_t t = 0; t < count; t++)
                check_close(c, "dx", (first + t) * dim + d, found->dx.data[(first + t) * found->dx.stride + d],
                            expected->dx.data[(first + t) * expected->dx.stride + d], few * dinput[past + t] + SMALLEST_NORMAL);
            for (size_t i = 0; i < past; i++)
                check_close(c, "dstate", i * dim + d, found->dstate[s][i * dim + d], expected->dstate[s][i * dim + d],
                            few * dinput[i] + SMALLEST_NORMAL);
        }
        check_close(c, "dbias", d, found->dbias[d], expected->dbias[d], many * dbias + SMALLEST_NORMAL);
        for (size_t w = 0; w < width; w++)
            check_close(c, "dweight", w * dim + d, found->dweight[w * dim + d], expected->dweight[w * dim + d],
                        many * dweight[w] + SMALLEST_NORMAL);
    }
}

static void conv_case(check *c, size_t dim, size_t width, size_t n_sequences, size_t most, bool extreme)
{
    static const float values[] = { 0, -0.0f, 1e-20f, 1, -1, 30, -30, 100, -100, 1e4f, -1e4f };
    size_t start[MOST_SEQUENCES + 1], past = (width - 1) * dim;
    conv_problem p = { .op = { .rows = check_rows(c, n_sequences, most, start), .dim = dim, .width = width },
                       .given_before = check_below(c, 3) > 0,
                       .given_dstate = check_below(c, 3) > 0 };
    size_t n = start[n_sequences];
    kr_view x = check_normal(c, n, dim, 1, 0);
    if (extreme) check_pick(c, x.data, n, dim, x.stride, values, sizeof values / sizeof *values);
    p.op.x = check_const(x);
    p.op.weight = check_normals(c, width * dim, 1, 0);
    p.op.bias = check_maybe(c) ? check_normals(c, dim, 1, 0) : NULL;
    p.op.silu = check_below(c, 4) > 0;
    p.dy = check_normal(c, n, dim, 1, 0);
    p.given.dweight = check_normals(c, width * dim, 1, 0);
    p.given.dbias = check_normals(c, dim, 1, 0);
    for (size_t s = 0; s < n_sequences; s++) {
        p.before[s] = check_normals(c, past, 1, 0);
        p.given.dstate[s] = check_normals(c, past, 1, 0);
    }
    snprintf(c->label, sizeof c->label, "dim %zu, width %zu, %zu sequences, %zu tokens%s%s%s%s%s", dim, width, n_sequences, n,
             p.op.bias ? ", bias" : "", p.op.silu ? ", silu" : "", p.given_before ? ", state" : "",
             p.given_dstate ? ", dstate" : "", extreme ? ", extreme" : "");
    conv_results found = run_conv(c, &p, c->device, 1, check_matrix(c, n, dim));
    conv_results expected = run_conv(c, &p, c->reference, 1, check_matrix(c, n, dim));
    compare_conv(c, &p, &found, &expected);

    /* On threads, dx in the memory of x or of dy. */
    for (int threads = 1; threads <= 3; threads++) {
        conv_problem in_place = p;
        kr_view place = check_copy(c, threads % 2 ? x : p.dy, n, dim);
        if (threads % 2)
            in_place.op.x = check_const(place);
        else
            in_place.dy = place;
        conv_results more = run_conv(c, &in_place, c->device, threads, place);
        same_conv(c, &p, &more, &found);
    }
    check_end_case(c);
}

void check_conv_backward(check *c)
{
    for (size_t dim = 1; dim <= 70; dim++)
        for (size_t round = 0; round < 3; round++)
            conv_case(c, dim, round ? 2 + check_below(c, 3) : 1 + check_below(c, 16), check_below(c, MOST_SEQUENCES + 1), 30,
                      check_below(c, 4) == 0);
    conv_case(c, 1536, 4, 3, 40, false);
    conv_case(c, 1537, 4, 4, 70, false);
    conv_case(c, 300, 16, 2, 20, true);
}

typedef struct conv_context {
    kr_exec exec;
    kr_conv_backward op;
} conv_context;

static void run(void *pointer)
{
    conv_context *k = pointer;
    kr_conv_backward_run(&k->exec, &k->op);
}

void bench_conv_backward(check *c)
{
    static const size_t shapes[][3] = { { 1536, 4, 256 }, { 2048, 4, 256 }, { 1536, 7, 256 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t dim = shapes[i][0], width = shapes[i][1], n = shapes[i][2], start[] = { 0, n };
        char label[64];
        snprintf(label, sizeof label, "dim %zu, width %zu, %zu tokens", dim, width, n);
        conv_context k = { check_exec(c, c->device, 1, 0),
                           { .forward = { .rows = { 1, start },
                                          .dim = dim,
                                          .width = width,
                                          .x = { check_normals(c, n * 2 * dim, 1, 0), 2 * dim },
                                          .weight = check_normals(c, width * dim, 1, 0),
                                          .bias = check_normals(c, dim, 1, 0),
                                          .silu = true },
                             .dy = { check_normals(c, n * dim, 1, 0), dim },
                             .dx = { check_floats(c, n * 2 * dim), 2 * dim },
                             .dweight = check_normals(c, width * dim, 1, 0),
                             .dbias = check_normals(c, dim, 1, 0) } };
        bench_report(c, label, bench_seconds(run, &k), (double)n, "token", (double)(n * dim) * 12);
        check_end_case(c);
    }
}

/* ---- rms_norm: tolerance (dim + 16) * epsilon, and the number of tokens for dweight -------------------------------------- */

static float *run_norm(check *c, const kr_rms_norm *f, kr_view dy, const kr_device *device, int threads, kr_view dx, bool add,
                       const float *given)
{
    kr_exec exec = check_exec(c, device, threads, device->rms_norm_backward_scratch(f->n_tokens));
    kr_rms_norm_backward b = {
        .forward = *f, .dy = check_const(dy), .dx = dx, .add = add, .dweight = check_copy_floats(c, given, f->dim)
    };
    kr_rms_norm_backward_run(&exec, &b);
    return b.dweight;
}

static void norm_case(check *c, size_t n, size_t dim, bool weight, bool add, float scale, float eps)
{
    snprintf(c->label, sizeof c->label, "%zu tokens, dim %zu, scale %g%s%s", n, dim, (double)scale, weight ? ", weight" : "",
             add ? ", add" : "");
    kr_view x = check_normal(c, n, dim, scale, 0), dy = check_normal(c, n, dim, 1, 0), before = check_normal(c, n, dim, 1, 0);
    kr_view found = check_copy(c, before, n, dim), expected = check_copy(c, before, n, dim);
    kr_rms_norm f = {
        .n_tokens = n, .dim = dim, .x = check_const(x), .weight = weight ? check_normals(c, dim, 1, 0) : NULL, .eps = eps
    };
    float *given = check_normals(c, dim, 1, 0);
    float *dweight = run_norm(c, &f, dy, c->device, 1, found, add, given);
    float *expected_dweight = run_norm(c, &f, dy, c->reference, 1, expected, add, given);
    kr_arena arena = { 0 };
    double *sums = kr_arena_alloc(&arena, dim, sizeof *sums);
    for (size_t i = 0; i < dim; i++) sums[i] = fabs((double)given[i]);
    for (size_t t = 0; t < n; t++) {
        double squares = 0, product = 0;
        for (size_t i = 0; i < dim; i++) {
            double v = (double)x.data[t * x.stride + i],
                   g = (double)dy.data[t * dy.stride + i] * (weight ? (double)f.weight[i] : 1);
            squares += v * v;
            product += fabs(v * g);
        }
        double r = 1 / sqrt(squares / (double)dim + (double)eps);
        for (size_t i = 0; i < dim; i++) {
            double v = fabs((double)x.data[t * x.stride + i]), g = fabs((double)dy.data[t * dy.stride + i]);
            double size = r * g * (weight ? fabs((double)f.weight[i]) : 1) + r * r * r / (double)dim * product * v;
            if (add) size += fabs((double)before.data[t * before.stride + i]);
            sums[i] += g * v * r;
            check_close(c, "dx", t * dim + i, found.data[t * found.stride + i], expected.data[t * expected.stride + i],
                        (double)(dim + 16) * EPSILON * size + SMALLEST_NORMAL);
        }
    }
    for (size_t i = 0; i < dim; i++)
        check_close(c, "dweight", i, dweight[i], expected_dweight[i],
                    (double)(n + dim + 16) * EPSILON * sums[i] + SMALLEST_NORMAL);
    kr_arena_free(&arena);
    for (int threads = 1; threads <= 3; threads++) {
        kr_view dx = check_copy(c, before, n, dim), dy_there = dy;
        if (threads > 1 && !add) dy_there = dx = check_copy(c, dy, n, dim);
        float *more = run_norm(c, &f, dy_there, c->device, threads, dx, add, given);
        check_same(c, "threads", check_const(dx), check_const(found), n, dim);
        check_same(c, "threads, dweight", (kr_cview){ more, dim }, (kr_cview){ dweight, dim }, 1, dim);
    }
    check_end_case(c);
}

void check_rms_norm_backward(check *c)
{
    static const float scales[] = { 0, 1e-30f, 1e-10f, 1e-3f, 1e3f, 1e10f };
    for (size_t dim = 1; dim <= 70; dim++) norm_case(c, check_below(c, 5), dim, check_maybe(c), check_maybe(c), 1, 1e-5f);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) norm_case(c, 3, 300, true, i % 2, scales[i], 1e-5f);
    norm_case(c, 200, 768, true, true, 1, 1e-5f);
    norm_case(c, 100, 1537, false, false, 1, 1e-6f);
}
