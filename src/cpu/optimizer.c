/* kr_sum_squares and kr_adamw: the references, and the drivers. */
#include <math.h>

#include "base/threads.h"
#include "cpu/kernels.h"
#include "tensor/tensor.h"

double kr_sum_squares_plain(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

void kr_adamw_plain(const kr_adamw *op, size_t begin, size_t end)
{
    const double beta1 = (double)op->beta1, beta2 = (double)op->beta2, rate = (double)op->rate;
    const double correction1 = 1 - pow(beta1, (double)op->step), correction2 = 1 - pow(beta2, (double)op->step);
    for (size_t i = begin; i < end; i++) {
        const double g = (double)op->gradient[i] * (double)op->scale;
        op->m[i] = (float)(beta1 * (double)op->m[i] + (1 - beta1) * g);
        op->v[i] = (float)(beta2 * (double)op->v[i] + (1 - beta2) * g * g);
        const double move = (double)op->m[i] / correction1 / (sqrt((double)op->v[i] / correction2) + (double)op->epsilon);
        op->value[i] = (float)((double)op->value[i] * (1 - rate * (double)op->decay) - rate * move);
        if (op->rounded) op->rounded[i] = kr_float_to_bf16(op->value[i]);
    }
}

typedef struct context {
    const kr_cpu_kernels *kernels;
    const kr_sum_squares *squares;
    double *sums; /* of blocks */
    const kr_adamw *adamw;
} context;

static void squares_share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->squares->count, KR_SQUARES_BLOCK, thread, n_threads, &begin, &end);
    for (size_t at = begin; at < end; at += KR_SQUARES_BLOCK)
        c->sums[at / KR_SQUARES_BLOCK] =
            c->kernels->sum_squares(c->squares->x + at, end - at < KR_SQUARES_BLOCK ? end - at : KR_SQUARES_BLOCK);
}

void kr_cpu_sum_squares(const kr_exec *exec, const kr_sum_squares *op)
{
    context c = { .kernels = kr_cpu_kernels_of(exec->device->isa), .squares = op, .sums = exec->scratch };
    kr_parallel(op->count < KR_SERIAL_ELEMENTS ? 1 : exec->threads, squares_share, &c);
    for (size_t i = 0; i * KR_SQUARES_BLOCK < op->count; i++) *op->sum += c.sums[i];
}

size_t kr_cpu_sum_squares_scratch(size_t count) { return (count / KR_SQUARES_BLOCK + 1) * sizeof(double); }

static void adamw_share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->adamw->count, 1024, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->adamw(c->adamw, begin, end);
}

void kr_cpu_adamw(const kr_exec *exec, const kr_adamw *op)
{
    context c = { .kernels = kr_cpu_kernels_of(exec->device->isa), .adamw = op };
    kr_parallel(op->count < KR_SERIAL_ELEMENTS / 4 ? 1 : exec->threads, adamw_share, &c);
}
