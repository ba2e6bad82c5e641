/* kr_conv: the reference, and the driver. */
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
