/* kr_linear and kr_gemm against products in double precision, and what may and may not change their bits. (checkop runs the kernel
 * itself on odd sizes between guard pages.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/rng.h"
#include "cpu/device.h"
#include "cpu/gemm.h"

/* Twice the rounding error of one operation. */
#define EPSILON 1.1920929e-7

static float *random_floats(size_t count, uint64_t seed)
{
    kr_rng rng;
    kr_rng_seed(&rng, seed);
    float *floats = malloc((count + 1) * sizeof *floats);
    assert_non_null(floats);
    for (size_t i = 0; i < count; i++) floats[i] = kr_rng_normal(&rng);
    return floats;
}

/* A linear op on random numbers, rows wider apart than they are long; y holds `before`. */
typedef struct problem {
    kr_linear op;
    float *x, *weight, *bias, *before, *y;
} problem;

static problem problem_new(size_t n, size_t rows, size_t columns, bool bias, bool add)
{
    problem p = { .op = { .n_tokens = n, .weight = { NULL, rows, columns, KRAIT_WEIGHT_F32 }, .add = add } };
    p.op.x.stride = columns + 3;
    p.op.y.stride = rows + 5;
    p.op.x.data = p.x = random_floats(n * p.op.x.stride, 1);
    p.op.weight.data = p.weight = random_floats(rows * columns, 2);
    p.bias = random_floats(rows, 3);
    p.before = random_floats(n * p.op.y.stride, 4);
    p.op.y.data = p.y = random_floats(n * p.op.y.stride, 4);
    if (bias) p.op.bias = p.bias;
    return p;
}

static void problem_reset(problem *p) { memcpy(p->y, p->before, p->op.n_tokens * p->op.y.stride * sizeof *p->y); }

static void problem_free(problem *p)
{
    free(p->x);
    free(p->weight);
    free(p->bias);
    free(p->before);
    free(p->y);
}

static void assert_right(const problem *p)
{
    const kr_linear *op = &p->op;
    for (size_t t = 0; t < op->n_tokens; t++) {
        const float *y = p->y + t * op->y.stride, *before = p->before + t * op->y.stride, *x = p->x + t * op->x.stride;
        for (size_t j = 0; j < op->weight.rows; j++) {
            double bias = op->bias ? (double)p->bias[j] : 0, added = op->add ? (double)before[j] : 0;
            double sum = bias + added, size = fabs(bias) + fabs(added);
            for (size_t k = 0; k < op->weight.columns; k++) {
                double product = (double)x[k] * (double)p->weight[j * op->weight.columns + k];
                sum += product;
                size += fabs(product);
            }
            assert_true(fabs((double)y[j] - sum) <= (double)(op->weight.columns + 2) * EPSILON * size);
        }
        for (size_t j = op->weight.rows; j < op->y.stride; j++) assert_true(y[j] == before[j]); /* between rows */
    }
}

static void run(const problem *p, krait_isa isa, int threads)
{
    kr_exec exec = { .device = kr_cpu_device(isa), .threads = threads }; /* float32 weights want no scratch */
    kr_linear_run(&exec, &p->op);
}

static void any_number_of_tokens_gives_the_product(void **state)
{
    (void)state;
    static const size_t tokens[] = { 0, 1, 2, 5, 16, 33, 64, 65, 100, 128, 129, 321 };
    static const size_t sizes[][2] = { { 1, 1 }, { 17, 5 }, { 80, 96 }, { 96, 7 }, { 37, 129 }, { 50, 1031 } };
    for (krait_isa isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++)
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens && krait_isa_available(isa); i++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                problem p = problem_new(tokens[i], sizes[s][0], sizes[s][1], (i + s) % 2, (i + s) % 3);
                run(&p, isa, 1 + (int)(i % 3));
                assert_right(&p);
                problem_free(&p);
            }
}

/* Up to 128 tokens, where our kernels do the work. */
static void a_batch_has_the_bits_of_its_rows_alone_on_any_threads(void **state)
{
    (void)state;
    static const size_t tokens[] = { 1, 2, 3, 7, 12, 25, 64, 128 };
    for (krait_isa isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++)
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens && krait_isa_available(isa); i++) {
            problem p = problem_new(tokens[i], 83, 211, true, true), one = p;
            size_t size = tokens[i] * p.op.y.stride * sizeof(float);
            one.op.n_tokens = 1;
            for (size_t t = 0; t < tokens[i]; t++) {
                one.op.x.data = p.x + t * p.op.x.stride;
                one.op.y.data = p.y + t * p.op.y.stride;
                run(&one, isa, 1);
            }
            float *alone = malloc(size);
            memcpy(alone, p.y, size);
            for (int threads = 1; threads <= 5; threads++) {
                problem_reset(&p);
                run(&p, isa, threads);
                assert_memory_equal(p.y, alone, size);
            }
            free(alone);
            problem_free(&p);
        }
}

static bool run_gemm(const problem *p, int threads)
{
    const kr_linear *op = &p->op;
    return kr_gemm(threads, &(kr_gemm_product){ .type = KRAIT_WEIGHT_F32,
                                                .m = op->n_tokens,
                                                .n = op->weight.rows,
                                                .k = op->weight.columns,
                                                .a = p->x,
                                                .lda = op->x.stride,
                                                .b = p->weight,
                                                .ldb = op->weight.columns,
                                                .b_transposed = true,
                                                .add = op->add,
                                                .y = p->y,
                                                .ldy = op->y.stride });
}

static void the_library_gives_the_product_or_leaves_it(void **state)
{
    (void)state;
    static const size_t sizes[][2] = { { 1, 1 }, { 16, 48 }, { 83, 211 }, { 80, 1536 }, { 301, 7 } };
    for (size_t n = KR_GEMM_M; n <= 3 * KR_GEMM_M; n += KR_GEMM_M)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int threads = 1; threads <= 3; threads++) {
                problem p = problem_new(n, sizes[s][0], sizes[s][1], false, threads == 2);
                if (run_gemm(&p, threads))
                    assert_right(&p);
                else
                    assert_memory_equal(p.y, p.before, n * p.op.y.stride * sizeof(float));
                problem_free(&p);
            }
}

static void *run_gemm_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++) {
        problem p = problem_new(KR_GEMM_M, 30 + (size_t)i % 4, 40, false, i % 2);
        if (run_gemm(&p, 1)) assert_right(&p);
        problem_free(&p);
    }
    return NULL;
}

static void threads_may_call_the_library_side_by_side(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_gemm_often, NULL), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static pthread_t caller;
static char *stack_begin, *stack_end; /* the caller's */
static volatile sig_atomic_t n_signals, n_on_another_thread, n_off_the_stack;

static void note_the_stack(int number)
{
    char *here = __builtin_frame_address(0);
    (void)number;
    n_signals++;
    if (!pthread_equal(pthread_self(), caller))
        n_on_another_thread++;
    else if (here < stack_begin || here >= stack_end)
        n_off_the_stack++;
}

/* The library may have the stack pointer elsewhere while it runs: a handler that is called then writes over the heap. */
static void no_signal_comes_in_the_middle_of_a_product(void **state)
{
    (void)state;
    pthread_attr_t attributes;
    void *begin;
    size_t size;
    caller = pthread_self();
    assert_int_equal(pthread_getattr_np(caller, &attributes), 0);
    assert_int_equal(pthread_attr_getstack(&attributes, &begin, &size), 0);
    pthread_attr_destroy(&attributes);
    stack_begin = begin;
    stack_end = stack_begin + size;
    float *a = random_floats(384 * 64, 1), *b = random_floats(384 * 64, 2), *y = random_floats(64 * 64, 3);
    kr_gemm_product product = {
        .type = KRAIT_WEIGHT_F32, .m = 64, .n = 40, .k = 384, .a_transposed = true, .lda = 64, .ldb = 40, .ldy = 40
    };
    product.a = a;
    product.b = b;
    product.y = y;
    bool library = kr_gemm(2, &product);
    struct sigaction action = { .sa_handler = note_the_stack, .sa_flags = SA_RESTART }, before;
    struct itimerval often = { .it_interval.tv_usec = 50, .it_value.tv_usec = 50 }, never = { .it_value.tv_usec = 0 };
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int threads = 1; library && threads <= 3; threads++)
        for (n_signals = 0; n_signals < 400;) assert_true(kr_gemm(threads, &product));
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    free(a);
    free(b);
    free(y);
    assert_int_equal(n_off_the_stack, 0);
    assert_int_equal(n_on_another_thread, 0);
    if (!library) skip(); /* a build without one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_tokens_gives_the_product),
        cmocka_unit_test(a_batch_has_the_bits_of_its_rows_alone_on_any_threads),
        cmocka_unit_test(the_library_gives_the_product_or_leaves_it),
        cmocka_unit_test(threads_may_call_the_library_side_by_side),
        cmocka_unit_test(no_signal_comes_in_the_middle_of_a_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
