/* kr_rms_norm and kr_rms_norm_backward: the references, and the drivers. */
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

void kr_rms_norm_factors_plain(const kr_rms_norm_backward *op, float (*factors)[2], size_t begin, size_t end)
{
    const kr_rms_norm *f = &op->forward;
    for (size_t t = begin; t < end; t++) {
        const float *x = f->x.data + t * f->x.stride, *dy = op->dy.data + t * op->dy.stride;
        double squares = 0, product = 0;
        for (size_t i = 0; i < f->dim; i++) {
            squares += (double)x[i] * x[i];
            product += (double)x[i] * dy[i] * (f->weight ? f->weight[i] : 1.0f);
        }
        double r = 1 / sqrt(squares / (double)f->dim + (double)f->eps);
        factors[t][0] = (float)r;
        factors[t][1] = (float)(r * r * r / (double)f->dim * product);
    }
}

void kr_rms_norm_backward_plain(const kr_rms_norm_backward *op, const float (*factors)[2], size_t begin, size_t end)
{
    const kr_rms_norm *f = &op->forward;
    for (size_t i = begin; i < end; i++) {
        double dweight = 0;
        for (size_t t = 0; t < f->n_tokens; t++) {
            float x = f->x.data[t * f->x.stride + i], dy = op->dy.data[t * op->dy.stride + i];
            float g = dy * (f->weight ? f->weight[i] : 1.0f), dx = factors[t][0] * g - factors[t][1] * x;
            float *out = op->dx.data ? op->dx.data + t * op->dx.stride + i : NULL;
            if (out) *out = op->add ? *out + dx : dx;
            dweight += (double)(dy * x * factors[t][0]);
        }
        if (op->dweight) op->dweight[i] += (float)dweight;
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

typedef struct backward_context {
    const kr_cpu_kernels *kernels;
    const kr_rms_norm_backward *op;
    float (*factors)[2];
} backward_context;

static void share_backward(void *pointer, int thread, int n_threads)
{
    const backward_context *c = pointer;
    size_t begin, end;
    kr_share(c->op->forward.n_tokens, 1, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->rms_norm_factors(c->op, c->factors, begin, end);
    kr_barrier(n_threads);
    kr_share(c->op->forward.dim, 16, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->rms_norm_backward(c->op, (const float(*)[2])c->factors, begin, end);
}

void kr_cpu_rms_norm_backward(const kr_exec *exec, const kr_rms_norm_backward *op)
{
    int threads = op->forward.n_tokens * op->forward.dim < KR_SERIAL_ELEMENTS / 2 ? 1 : exec->threads;
    kr_parallel(threads, share_backward,
                &(backward_context){ kr_cpu_kernels_of(exec->device->isa), op, (float(*)[2])exec->scratch });
}

size_t kr_cpu_rms_norm_backward_scratch(size_t n_tokens) { return n_tokens * 2 * sizeof(float); }
