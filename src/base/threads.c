#include "base/threads.h"

#include <sched.h>

#include "base/cpu.h"

#ifdef _OPENMP
#include <omp.h>
#endif

int kr_threads_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

void kr_parallel(int threads, void (*body)(void *context, int thread, int n_threads), void *context)
{
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            kr_fp_mode mode = kr_flush_denormals();
            body(context, omp_get_thread_num(), omp_get_num_threads());
            kr_fp_restore(mode);
        }
        return;
    }
#endif
    (void)threads;
    kr_fp_mode mode = kr_flush_denormals();
    body(context, 0, 1);
    kr_fp_restore(mode);
}

/* An orphaned barrier binds to the innermost parallel region. With one thread there may be none of ours: a caller may run a
 * session inside a parallel region of its own, whose barrier this must not become. */
void kr_barrier(int n_threads)
{
#ifdef _OPENMP
    if (n_threads > 1) {
#pragma omp barrier
    }
#else
    (void)n_threads;
#endif
}

void kr_share(size_t count, size_t grain, int thread, int n_threads, size_t *begin, size_t *end)
{
    size_t grains = count / grain + (count % grain != 0), n = (size_t)n_threads, t = (size_t)thread;
    size_t each = grains / n, more = grains % n;
    size_t first = t * each + (t < more ? t : more), last = first + each + (t < more);
    *begin = first < grains ? first * grain : count;
    *end = last < grains ? last * grain : count;
}

int kr_threads_set(int threads)
{
#ifdef _OPENMP
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
#else
    (void)threads;
    return 1;
#endif
}
