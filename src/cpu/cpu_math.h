/* The scalar functions of the references. */
#ifndef KR_CPU_CPU_MATH_H
#define KR_CPU_CPU_MATH_H

#include <math.h>
#include <stddef.h>

/* log(1 + exp(x)); above 20 that is x to float's precision. */
static inline float kr_softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }
/* x / (1 + exp(-x)) */
static inline float kr_silu(float x) { return x / (1.0f + expf(-x)); }

/* y[i] = f(x[i]) */
void kr_exp_plain(float *y, const float *x, size_t n);
void kr_softplus_plain(float *y, const float *x, size_t n);
void kr_silu_plain(float *y, const float *x, size_t n);

#endif
