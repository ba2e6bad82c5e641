/* How fast this machine reads memory: the limit that generating one token at a time runs into. */
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/status.h"
#include "base/threads.h"

enum {
    PASSES = 6,
    STREAMS = 16,
    BLOCK_BYTES = STREAMS * (3 << 10), /* streams a power of two apart would share cache sets */
    AHEAD_BYTES = 32 << 10,
    LINE = 64 / sizeof(uint64_t),
    BLOCK = BLOCK_BYTES / sizeof(uint64_t)
};

/* Adds up a block, as so many streams side by side; `fetch` asks for what lies AHEAD_BYTES on (an address, since it may be past
 * the end). */
static inline __attribute__((always_inline)) void read_streams(uint64_t *total, const uint64_t *block, size_t streams, bool fetch)
{
    uint64_t sum[LINE] = { 0 };
    const size_t length = BLOCK / streams;
    uintptr_t ahead = (uintptr_t)block + AHEAD_BYTES;
    for (size_t i = 0; i < length; i += LINE)
        for (size_t s = 0; s < streams; s++, ahead += 64) {
            if (fetch) __builtin_prefetch((const void *)ahead, 0, 2);
            for (size_t l = 0; l < LINE; l++) sum[l] += block[s * length + i + l];
        }
    for (size_t l = 0; l < LINE; l++) *total += sum[l];
}

/* Which way is fastest differs from machine to machine, so all are tried. */
enum { IN_ORDER, IN_ORDER_FETCHING, SIDE_BY_SIDE, N_WAYS };

typedef struct reading {
    uint64_t *data;
    size_t blocks;
    int way;
    uint64_t sum; /* keeps the reads from being optimised away */
} reading;

static void read_share(void *context, int thread, int n_threads)
{
    reading *r = context;
    size_t begin, end;
    kr_share(r->blocks, 1, thread, n_threads, &begin, &end);
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++) {
        const uint64_t *block = r->data + i * BLOCK;
        switch (r->way) {
        case IN_ORDER: read_streams(&sum, block, 1, false); break;
        case IN_ORDER_FETCHING: read_streams(&sum, block, 1, true); break;
        default: read_streams(&sum, block, STREAMS, true);
        }
    }
    __atomic_fetch_add(&r->sum, sum, __ATOMIC_RELAXED);
}

/* Touches each page first from the thread that will read it. */
static void write_share(void *context, int thread, int n_threads)
{
    const reading *r = context;
    size_t begin, end;
    kr_share(r->blocks, 1, thread, n_threads, &begin, &end);
    memset(r->data + begin * BLOCK, 1, (end - begin) * BLOCK_BYTES);
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
    if (threads < 1 || bytes < BLOCK_BYTES)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "krait_measure_read: expected at least 1 thread and %d bytes, found %d and %zu", BLOCK_BYTES, threads,
                       bytes);
    reading r = { .blocks = bytes / BLOCK_BYTES };
    r.data = kr_alloc(r.blocks, BLOCK_BYTES);
    if (!r.data) return kr_fail_memory(error, "a buffer to read", bytes);
    kr_parallel(threads, write_share, &r);
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++)
        for (r.way = 0; r.way < N_WAYS; r.way++) {
            double start = now();
            kr_parallel(threads, read_share, &r);
            double rate = (double)(r.blocks * BLOCK_BYTES) / (now() - start);
            if (rate > best) best = rate;
        }
    kr_free(r.data);
    *bytes_per_second = best;
    return KRAIT_OK;
}
