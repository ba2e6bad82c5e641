/* The reference of matrix products. */
#include "cpu/kernels.h"

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

void kr_matvec_plain(const kr_linear *op, size_t begin, size_t end)
{
    size_t K = op->weight.columns;
    for (size_t j = begin; j < end; j++)
        for (size_t t = 0; t < op->n_tokens; t++) {
            float *y = op->y.data + t * op->y.stride + j;
            float sum = dot(op->x.data + t * op->x.stride, op->weight.data + j * K, K);
            if (op->bias) sum += op->bias[j];
            *y = op->add ? *y + sum : sum;
        }
}
