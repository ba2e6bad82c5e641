/* kr_embedding: rows of a table; and their gradients. */
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/kernels.h"
#include "tensor/packed.h"

static void share(void *context, int thread, int n_threads)
{
    const kr_embedding *op = context;
    size_t begin, end, dim = op->table.columns;
    kr_share(op->n_tokens, 1, thread, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++)
        kr_unpack_row(op->out.data + t * op->out.stride, op->table.type, op->table.data, dim, (size_t)op->ids[t]);
}

void kr_cpu_embedding(const kr_exec *exec, const kr_embedding *op)
{
    int threads = op->n_tokens * op->table.columns < KR_SERIAL_ELEMENTS ? 1 : exec->threads;
    kr_parallel(threads, share, (void *)op);
}

/* Threads take columns: a token may come twice, and its gradients add up in the order of the tokens. */
static void backward_share(void *context, int thread, int n_threads)
{
    const kr_embedding_backward *op = context;
    size_t begin, end;
    kr_share(op->dim, KR_ALIGNMENT / sizeof(float), thread, n_threads, &begin, &end);
    for (size_t t = 0; t < op->n_tokens; t++) {
        float *row = op->dtable + (size_t)op->ids[t] * op->dim;
        const float *dout = op->dout.data + t * op->dout.stride;
        for (size_t i = begin; i < end; i++) row[i] += dout[i];
    }
}

void kr_cpu_embedding_backward(const kr_exec *exec, const kr_embedding_backward *op)
{
    kr_parallel(op->n_tokens * op->dim < KR_SERIAL_ELEMENTS ? 1 : exec->threads, backward_share, (void *)op);
}
