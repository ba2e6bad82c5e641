/* kr_linear: few tokens by our own kernels, which read the weights once at the speed of memory; many by the GEMM. */
#include "base/threads.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"

/* Up to so many tokens our kernels are faster than the library's (bench/bench_linear.c). */
enum { MATVEC_MAX_TOKENS = 128, ROWS_GRAIN = 16, SMALLEST_PIECE = 64 << 10 };

typedef struct matvec_job {
    const kr_linear *op;
    void (*matvec)(const kr_linear *op, size_t begin, size_t end);
    size_t next, smallest; /* row that no thread has taken; piece to take, in rows */
} matvec_job;

/* Threads take runs of consecutive rows, each half of what would be its share of the rest: long runs read memory well, short ones
 * at the end let the threads end together, also where one is slower to get its memory. */
static void matvec_share(void *context, int thread, int n_threads)
{
    matvec_job *job = context;
    (void)thread;
    size_t rows = job->op->weight.rows, begin = __atomic_load_n(&job->next, __ATOMIC_RELAXED);
    while (begin < rows) {
        size_t take = n_threads == 1 ? rows : (rows - begin) / (2 * (size_t)n_threads) / ROWS_GRAIN * ROWS_GRAIN;
        if (take < job->smallest) take = job->smallest;
        if (take > rows - begin) take = rows - begin;
        if (!__atomic_compare_exchange_n(&job->next, &begin, begin + take, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        job->matvec(job->op, begin, begin + take);
        begin = __atomic_load_n(&job->next, __ATOMIC_RELAXED);
    }
}

static void add_bias_share(void *context, int thread, int n_threads)
{
    const kr_linear *op = context;
    size_t begin, end;
    kr_share(op->n_tokens, 1, thread, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        float *y = op->y.data + t * op->y.stride;
        for (size_t j = 0; j < op->weight.rows; j++) y[j] += op->bias[j];
    }
}

static void run_matvec(const kr_exec *exec, const kr_linear *op)
{
    size_t smallest = SMALLEST_PIECE / sizeof(float) / (op->weight.columns + 1) / ROWS_GRAIN * ROWS_GRAIN;
    matvec_job job = { op, kr_cpu_kernels_of(exec->device->isa)->matvec, 0, smallest ? smallest : ROWS_GRAIN };
    kr_parallel(exec->threads, matvec_share, &job);
}

static bool run_gemm(const kr_exec *exec, const kr_linear *op)
{
    size_t rows = op->weight.rows, columns = op->weight.columns;
    if (!kr_gemm(exec->threads, op->n_tokens, rows, columns, op->x.data, op->x.stride, op->weight.data, columns, op->add,
                 op->y.data, op->y.stride))
        return false;
    if (op->bias) kr_parallel(exec->threads, add_bias_share, (void *)op);
    return true;
}

void kr_cpu_linear(const kr_exec *exec, const kr_linear *op)
{
    kr_linear rest = *op;
    if (exec->device->isa != KRAIT_ISA_PLAIN && op->n_tokens > MATVEC_MAX_TOKENS) {
        kr_linear most = *op;
        most.n_tokens -= most.n_tokens % KR_GEMM_M;
        if (run_gemm(exec, &most)) {
            rest.n_tokens -= most.n_tokens;
            rest.x.data += most.n_tokens * op->x.stride;
            rest.y.data += most.n_tokens * op->y.stride;
        }
    }
    if (rest.n_tokens > 0) run_matvec(exec, &rest);
}

size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns)
{
    (void)threads, (void)n_tokens, (void)rows, (void)columns;
    return 0;
}
