/* How fast this machine reads memory: the limit that generating one token at a time runs into. */
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/status.h"
#include "base/threads.h"

enum { PASSES = 12, LINE = 8 /* of a cache, in integers */, STREAMS = 4, AHEAD_BYTES = 1024 };

typedef struct reading {
    uint64_t *data;
    size_t count;
    size_t streams;
    uint64_t sum; /* keeps the reads from being optimised away */
} reading;

/* In order, or as four streams far apart that ask a little ahead, as the products do (cpu/matvec_body.h). */
static inline __attribute__((always_inline)) uint64_t read_streams(const uint64_t *data, size_t count, const size_t streams)
{
    uint64_t sum[LINE] = { 0 }, total = 0;
    const size_t run = count / streams / LINE * LINE;
    for (size_t i = 0; i < run; i += LINE)
        for (size_t s = 0; s < streams; s++) {
            const uint64_t *line = data + s * run + i;
            if (streams > 1) __builtin_prefetch((const void *)((uintptr_t)line + AHEAD_BYTES), 0, 2); /* may be past the end */
            for (int l = 0; l < LINE; l++) sum[l] += line[l];
        }
    for (int l = 0; l < LINE; l++) total += sum[l];
    return total;
}

static void read_share(void *context, int thread, int n_threads)
{
    reading *r = context;
    size_t begin, end;
    kr_share(r->count, LINE * STREAMS, thread, n_threads, &begin, &end);
    const uint64_t *data = r->data + begin;
    uint64_t sum = r->streams == 1 ? read_streams(data, end - begin, 1) : read_streams(data, end - begin, STREAMS);
    __atomic_fetch_add(&r->sum, sum, __ATOMIC_RELAXED);
}

/* Touches each page first from the thread that will read it. */
static void write_share(void *context, int thread, int n_threads)
{
    const reading *r = context;
    size_t begin, end;
    kr_share(r->count, LINE * STREAMS, thread, n_threads, &begin, &end);
    memset(r->data + begin, 1, (end - begin) * sizeof *r->data);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

krait_status krait_measure_read(int threads, size_t bytes, double *bytes_per_second, krait_error *error)
{
    if (!bytes_per_second) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_measure_read: bytes_per_second is NULL");
    *bytes_per_second = 0;
    reading r = { .count = bytes / sizeof *r.data / (LINE * STREAMS) * (LINE * STREAMS) };
    if (threads < 1 || r.count == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "krait_measure_read: expected at least 1 thread and 256 bytes, found %d and %zu bytes", threads, bytes);
    r.data = kr_alloc(r.count, sizeof *r.data);
    if (!r.data) return kr_fail_memory(error, "a buffer to read", bytes);
    kr_parallel(threads, write_share, &r);
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        r.streams = pass % 2 ? STREAMS : 1;
        double start = now();
        kr_parallel(threads, read_share, &r);
        double rate = (double)(r.count * sizeof *r.data) / (now() - start);
        if (rate > best) best = rate;
    }
    kr_free(r.data);
    *bytes_per_second = best;
    return KRAIT_OK;
}
