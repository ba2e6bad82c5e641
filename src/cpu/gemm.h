/* Large matrix products by a library (gemm_onednn.c), or by none (gemm_plain.c): the build picks one. */
#ifndef KR_CPU_GEMM_H
#define KR_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "krait/krait.h"

/* The library makes and keeps code for every m and k: pass multiples of this where they are numbers of tokens, lest its memory grow. */
#define KR_GEMM_M 64

/* y[i, j] (+)= sum_l a[i, l] * b[l, j], float32, of a and b in one type, float32 or bfloat16. */
typedef struct kr_gemm_product {
    krait_weight_type type;
    size_t m, n, k;
    const void *a; /* [m, k], rows lda elements apart; a_transposed: stored as [k, m] */
    size_t lda;
    const void *b; /* [k, n], rows ldb elements apart; b_transposed: stored as [n, k], as weights are for x @ w^T */
    size_t ldb;
    bool a_transposed, b_transposed, add;
    float *y; /* [m, n] */
    size_t ldy;
} kr_gemm_product;

/* Whether there is a library, and one that is worth its while for numbers of a type. */
bool kr_gemm_is_fast(krait_weight_type type);

/* On `threads` threads. False if there is no library or it failed, which happens when memory runs out: y is then as it was, and the
 * caller does the work with kernels of our own. */
bool kr_gemm(int threads, const kr_gemm_product *product);

#endif
