#include "cpu/cpu_math.h"

void kr_exp_plain(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = expf(x[i]);
}

void kr_softplus_plain(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = kr_softplus(x[i]);
}

void kr_silu_plain(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = kr_silu(x[i]);
}
