/* Large matrix products: a library's (gemm_onednn.c) or plain C (gemm_plain.c); the build picks one. */
#ifndef KR_CPU_GEMM_H
#define KR_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* y[m, n] (+)= x[m, k] @ w[n, k]^T, rows ldx, ldw, ldy elements apart, on `threads` threads. */
void kr_gemm(int threads, size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, size_t ldw, bool add,
             float *y, size_t ldy);

/* The same on the caller's thread, each output summed in the order of k: what kr_gemm is tested against, and does when the
 * library fails (matvec.c). */
void kr_gemm_reference(size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, size_t ldw, bool add, float *y,
                       size_t ldy);

#endif
