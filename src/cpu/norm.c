/* kr_rms_norm: the reference, and the driver. */
#include <math.h>

#include "base/threads.h"
#include "cpu/kernels.h"

void kr_rms_norm_plain(const kr_rms_norm *op, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++) {
        const float *x = op->x.data + t * op->x.stride;
        float *y = op->y.data + t * op->y.stride;
        double squares = 0;
        for (size_t i = 0; i < op->dim; i++) squares += (double)x[i] * x[i];
        float scale = (float)(1 / sqrt(squares / (double)op->dim + (double)op->eps));
        for (size_t i = 0; i < op->dim; i++) y[i] = x[i] * scale * (op->weight ? op->weight[i] : 1.0f);
    }
}

typedef struct context {
    const kr_cpu_kernels *kernels;
    const kr_rms_norm *op;
} context;

static void share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->op->n_tokens, 1, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->rms_norm(c->op, begin, end);
}

void kr_cpu_rms_norm(const kr_exec *exec, const kr_rms_norm *op)
{
    int threads = op->n_tokens * op->dim < KR_SERIAL_ELEMENTS ? 1 : exec->threads;
    kr_parallel(threads, share, &(context){ kr_cpu_kernels_of(exec->device->isa), op });
}
