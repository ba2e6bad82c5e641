/* Threads are OpenMP's, so that the GEMM library and our kernels share one pool. In a build without OpenMP everything runs on
 * the caller's thread. */
#ifndef KR_BASE_THREADS_H
#define KR_BASE_THREADS_H

#include <stddef.h>

/* As many threads as the process may run at once (its affinity mask), at least 1. */
int kr_threads_available(void);

/* Calls body(context, thread, n_threads) on `threads` threads, thread 0 being the caller, and waits for all:
 *     for (int t = 0; t < n; t++) body(context, t, n);
 * n is `threads`, or fewer if the system gives fewer. Denormals are flushed to zero while the bodies run (SSM states decay
 * geometrically), and the caller's floating-point mode is as before afterwards. */
void kr_parallel(int threads, void (*body)(void *context, int thread, int n_threads), void *context);

/* Inside a body of kr_parallel() only, and met by all of its threads. Pass the body's n_threads: with 1 it does nothing. */
void kr_barrier(int n_threads);

/* The share of [0, count) that belongs to `thread`: begin..end, cut at multiples of `grain`. Depends on nothing else. */
void kr_share(size_t count, size_t grain, int thread, int n_threads, size_t *begin, size_t *end);

/* The number of threads that a library on OpenMP (oneDNN) uses when called from this thread; returns the number before. */
int kr_threads_set(int threads);

#endif
