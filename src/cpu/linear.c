/* kr_linear: few tokens by our own kernels, which read the weights once at the speed of memory; many by the GEMM. */
#include "base/threads.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"

/* Up to so many tokens our kernel is faster than the library's (bench/bench_linear.c). */
enum { MATVEC_MAX_TOKENS = 32 };

typedef struct matvec_job {
    const kr_linear *op;
    void (*matvec)(const kr_linear *op, size_t begin, size_t end);
} matvec_job;

/* One run of consecutive rows per thread: each reads one piece of memory from end to end. */
static void matvec_share(void *context, int thread, int n_threads)
{
    const matvec_job *job = context;
    size_t begin, end;
    kr_share(job->op->weight.rows, 16, thread, n_threads, &begin, &end);
    if (begin < end) job->matvec(job->op, begin, end);
}

static void fill_bias_share(void *context, int thread, int n_threads)
{
    const kr_linear *op = context;
    size_t begin, end;
    kr_share(op->n_tokens, 1, thread, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        float *y = op->y.data + t * op->y.stride;
        for (size_t j = 0; j < op->weight.rows; j++) y[j] = op->add ? y[j] + op->bias[j] : op->bias[j];
    }
}

void kr_cpu_linear(const kr_exec *exec, const kr_linear *op)
{
    krait_isa isa = exec->device->isa;
    if (isa == KRAIT_ISA_PLAIN || op->n_tokens <= MATVEC_MAX_TOKENS) {
        matvec_job job = { op, kr_cpu_kernels_of(isa)->matvec };
        kr_parallel(exec->threads, matvec_share, &job);
        return;
    }
    if (op->bias) kr_parallel(exec->threads, fill_bias_share, (void *)op);
    kr_gemm(exec->threads, op->n_tokens, op->weight.rows, op->weight.columns, op->x.data, op->x.stride, op->weight.data,
            op->weight.columns, op->add || op->bias, op->y.data, op->y.stride);
}

size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns)
{
    (void)threads, (void)n_tokens, (void)rows, (void)columns;
    return 0;
}
