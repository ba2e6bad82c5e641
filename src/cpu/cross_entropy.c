/* kr_cross_entropy: the reference, and the driver. */
#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "cpu/kernels.h"

void kr_cross_entropy_plain(const kr_cross_entropy *op, double *losses, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++) {
        float *x = op->logits.data + t * op->logits.stride, largest = x[0];
        losses[t] = 0;
        if (op->targets[t] < 0) {
            if (op->gradient) memset(x, 0, op->vocab_size * sizeof *x);
            continue;
        }
        for (size_t i = 0; i < op->vocab_size; i++) largest = x[i] > largest ? x[i] : largest;
        double sum = 0;
        for (size_t i = 0; i < op->vocab_size; i++) sum += exp((double)x[i] - (double)largest);
        losses[t] = log(sum) + (double)largest - (double)x[op->targets[t]];
        if (!op->gradient) continue;
        for (size_t i = 0; i < op->vocab_size; i++) x[i] = (float)(exp((double)x[i] - (double)largest) / sum);
        x[op->targets[t]] -= 1.0f;
    }
}

typedef struct context {
    const kr_cpu_kernels *kernels;
    const kr_cross_entropy *op;
    double *losses;
} context;

static void share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->op->n_tokens, 1, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->cross_entropy(c->op, c->losses, begin, end);
}

void kr_cpu_cross_entropy(const kr_exec *exec, const kr_cross_entropy *op)
{
    context c = { kr_cpu_kernels_of(exec->device->isa), op, exec->scratch };
    kr_parallel(op->n_tokens * op->vocab_size < KR_SERIAL_ELEMENTS ? 1 : exec->threads, share, &c);
    for (size_t t = 0; t < op->n_tokens; t++) *op->loss += c.losses[t];
}

size_t kr_cpu_cross_entropy_scratch(size_t n_tokens) { return n_tokens * sizeof(double); }
