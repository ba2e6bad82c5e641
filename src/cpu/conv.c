/* kr_conv and kr_conv_backward: the references, and the drivers. */
#include <string.h>

#include "base/threads.h"
#include "cpu/cpu_math.h"
#include "cpu/kernels.h"

void kr_conv_plain(const kr_conv *op, size_t begin, size_t end)
{
    size_t dim = op->dim, width = op->width, past = width - 1;
    for (size_t s = 0; s < op->rows.n_sequences; s++) {
        size_t first = op->rows.start[s], count = op->rows.start[s + 1] - first;
        const float *x = op->x.data + first * op->x.stride;
        float *y = op->y.data + first * op->y.stride;
        float *state = op->state[s];

        /* Input number i of the past and the tokens together is state[i] or x[i - past]. */
        for (size_t t = 0; t < count; t++)
            for (size_t d = begin; d < end; d++) {
                float sum = op->bias ? op->bias[d] : 0.0f;
                for (size_t w = 0; w < width; w++) {
                    size_t i = t + w;
                    float input = i < past ? state[i * dim + d] : x[(i - past) * op->x.stride + d];
                    sum += op->weight[w * dim + d] * input;
                }
                y[t * op->y.stride + d] = op->silu ? kr_silu(sum) : sum;
            }

        for (size_t w = 0; w < past; w++)
            for (size_t d = begin; d < end; d++) {
                size_t i = count + w;
                state[w * dim + d] = i < past ? state[i * dim + d] : x[(i - past) * op->x.stride + d];
            }
    }
}

/* Input number i of the state before and the tokens together, from which the sums of tokens i - past .. i are made. */
static float input_of(const kr_conv_backward *op, size_t s, size_t i, size_t d)
{
    size_t past = op->forward.width - 1;
    if (i >= past) return op->forward.x.data[(op->forward.rows.start[s] + i - past) * op->forward.x.stride + d];
    return op->state_before && op->state_before[s] ? op->state_before[s][i * op->forward.dim + d] : 0.0f;
}

/* Gradient of what the activation of the sequence's token t is applied to. */
static float sum_gradient(const kr_conv_backward *op, size_t s, size_t t, size_t d)
{
    const kr_conv *f = &op->forward;
    float dy = op->dy.data[(f->rows.start[s] + t) * op->dy.stride + d];
    if (!f->silu) return dy;
    float sum = f->bias ? f->bias[d] : 0.0f;
    for (size_t w = 0; w < f->width; w++) sum += f->weight[w * f->dim + d] * input_of(op, s, t + w, d);
    float sigmoid = 1.0f / (1.0f + expf(-sum));
    return dy * sigmoid * (1 + sum * (1 - sigmoid));
}

void kr_conv_backward_plain(const kr_conv_backward *op, size_t begin, size_t end)
{
    const kr_conv *f = &op->forward;
    size_t dim = f->dim, width = f->width, past = width - 1;
    for (size_t s = 0; s < f->rows.n_sequences; s++)
        for (size_t d = begin; d < end; d++) {
            size_t first = f->rows.start[s], count = f->rows.start[s + 1] - first;
            float *dstate = op->dstate ? op->dstate[s] : NULL, dweight[16] = { 0 }, dbias = 0;
            float ds[16] = { 0 }; /* ds[w] is of token i - w: of those that input i goes into */
            for (size_t i = count + past; i-- > 0;) {
                memmove(ds, ds + 1, past * sizeof *ds);
                ds[past] = i >= past ? sum_gradient(op, s, i - past, d) : 0.0f;
                float sum = dstate && i >= count ? dstate[(i - count) * dim + d] : 0.0f;
                for (size_t w = 0; w < width; w++) sum += f->weight[w * dim + d] * ds[w];
                if (i >= past) {
                    for (size_t w = 0; w < width; w++) dweight[w] += ds[past] * input_of(op, s, i - past + w, d);
                    dbias += ds[past];
                    if (op->dx.data) op->dx.data[(first + i - past) * op->dx.stride + d] = sum;
                } else if (dstate) {
                    dstate[i * dim + d] = sum;
                }
            }
            for (size_t w = 0; w < width && op->dweight; w++) op->dweight[w * dim + d] += dweight[w];
            if (op->dbias) op->dbias[d] += dbias;
        }
}

typedef struct context {
    const kr_cpu_kernels *kernels;
    const kr_conv *op;
} context;

static void share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->op->dim, 16, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->conv(c->op, begin, end);
}

void kr_cpu_conv(const kr_exec *exec, const kr_conv *op)
{
    size_t n_tokens = op->rows.start[op->rows.n_sequences];
    int threads = n_tokens * op->dim < KR_SERIAL_ELEMENTS ? 1 : exec->threads;
    kr_parallel(threads, share, &(context){ kr_cpu_kernels_of(exec->device->isa), op });
}

typedef struct backward_context {
    const kr_cpu_kernels *kernels;
    const kr_conv_backward *op;
} backward_context;

static void share_backward(void *pointer, int thread, int n_threads)
{
    const backward_context *c = pointer;
    size_t begin, end;
    kr_share(c->op->forward.dim, 16, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->conv_backward(c->op, begin, end);
}

void kr_cpu_conv_backward(const kr_exec *exec, const kr_conv_backward *op)
{
    size_t n_tokens = op->forward.rows.start[op->forward.rows.n_sequences];
    int threads = n_tokens * op->forward.dim < KR_SERIAL_ELEMENTS / 2 ? 1 : exec->threads;
    kr_parallel(threads, share_backward, &(backward_context){ kr_cpu_kernels_of(exec->device->isa), op });
}
