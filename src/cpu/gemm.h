/* Large matrix products by a library (gemm_onednn.c), or by none (gemm_plain.c): the build picks one. */
#ifndef KR_CPU_GEMM_H
#define KR_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "krait/krait.h"

/* The library makes and keeps code for every m: pass multiples of this, lest its memory grow. */
#define KR_GEMM_M 64

/* float32 y[m, n] (+)= x[m, k] @ w[n, k]^T, x and w of the same type, float32 or bfloat16, rows ldx, ldw, ldy elements apart, on
 * `threads` threads. False if there is no library or it failed, which happens when memory runs out: y is then as it was, and
 * linear.c does the work with its own kernels. */
bool kr_gemm(int threads, krait_weight_type type, size_t m, size_t n, size_t k, const void *x, size_t ldx, const void *w,
             size_t ldw, bool add, float *y, size_t ldy);

#endif
