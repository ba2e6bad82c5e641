/* kr_embedding: rows of a table. */
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
