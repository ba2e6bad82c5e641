#include "cpu/linear.h"

#include "base/threads.h"
#include "cpu/gemm.h"

/* ---- reference --------------------------------------------------------------------------------------------------- */

/* Sixteen partial sums, then their sum: a fixed order that a compiler may still vectorise, and a smaller error than one sum. */
static float dot(const float *a, const float *b, size_t n)
{
    enum { LANES = 16 };
    float lane[LANES] = { 0 }, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += a[i + l] * b[i + l];
    for (; i < n; i++) lane[i % LANES] += a[i] * b[i];
    for (size_t l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

void kr_gemm_reference(size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, size_t ldw, bool add, float *y,
                       size_t ldy)
{
    for (size_t j = 0; j < n; j++)
        for (size_t t = 0; t < m; t++) {
            float sum = dot(x + t * ldx, w + j * ldw, k);
            y[t * ldy + j] = add ? y[t * ldy + j] + sum : sum;
        }
}

static void reference_share(void *context, int thread, int n_threads)
{
    const kr_linear *op = context;
    size_t K = op->weight.columns, begin, end;
    kr_share(op->weight.rows, 1, thread, n_threads, &begin, &end);
    for (size_t j = begin; j < end; j++)
        for (size_t t = 0; t < op->n_tokens; t++) {
            float *y = op->y.data + t * op->y.stride + j;
            float sum = dot(op->x.data + t * op->x.stride, op->weight.data + j * K, K);
            if (op->bias) sum += op->bias[j];
            *y = op->add ? *y + sum : sum;
        }
}

void kr_cpu_linear_reference(const kr_exec *exec, const kr_linear *op)
{
    kr_parallel(exec->threads, reference_share, (void *)op);
}

/* ---- by libraries and vectors ------------------------------------------------------------------------------------ */

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
    if (op->bias) kr_parallel(exec->threads, fill_bias_share, (void *)op);
    kr_gemm(exec->threads, op->n_tokens, op->weight.rows, op->weight.columns, op->x.data, op->x.stride, op->weight.data,
            op->weight.columns, op->add || op->bias, op->y.data, op->y.stride);
}

size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns)
{
    (void)threads, (void)n_tokens, (void)rows, (void)columns;
    return 0;
}
