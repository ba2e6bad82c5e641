/* Matrix products against the limits of the machine, measured in the same run: for each shape and number of tokens the time by
 * our kernels (own) and by the library (gemm), beside what multiplying or reading the weights takes at least. The weights
 * come from memory, not from a cache: the program cycles through copies.
 *
 *     bench_linear [--json] [--threads N] [--tokens N] [--rows N --columns N] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "cpu/vec_inline.h"
#include "krait/krait.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the FMA limit: sums in twelve registers --------------------------------------------------------------------- */

enum { FMA_ROUNDS = 1000000, FMA_SUMS = 12 };

/* The empty assembler hides the values, lest the compiler work the sums out. */
#define FMA_LOOP(TYPE, FMA, SET, REGISTER)                         \
    TYPE a = SET(0.999f), b = SET(0.001f), s[FMA_SUMS];            \
    for (int i = 0; i < FMA_SUMS; i++) {                           \
        s[i] = SET((float)i);                                      \
        __asm__ volatile("" : "+" REGISTER(s[i]));                 \
    }                                                              \
    for (int round = 0; round < FMA_ROUNDS; round++) {             \
        VEC_UNROLL                                                 \
        for (int i = 0; i < FMA_SUMS; i++) s[i] = FMA(a, s[i], b); \
    }                                                              \
    for (int i = 0; i < FMA_SUMS; i++) __asm__ volatile("" ::REGISTER(s[i]));

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void fma_avx512(void) { FMA_LOOP(__m512, _mm512_fmadd_ps, _mm512_set1_ps, "v") }
__attribute__((target("avx2,fma"))) static void fma_avx2(void) { FMA_LOOP(__m256, _mm256_fmadd_ps, _mm256_set1_ps, "x") }
#elif defined(__aarch64__)
#define NEON_FMA(a, b, c) vfmaq_f32(c, a, b)
static void fma_neon(void) { FMA_LOOP(float32x4_t, NEON_FMA, vdupq_n_f32, "w") }
#endif

static void fma_share(void *context, int thread, int n_threads)
{
    (void)thread, (void)n_threads;
    switch (*(krait_isa *)context) {
#if defined(__x86_64__)
    case KRAIT_ISA_AVX512: fma_avx512(); break;
    case KRAIT_ISA_AVX2: fma_avx2(); break;
#elif defined(__aarch64__)
    case KRAIT_ISA_NEON: fma_neon(); break;
#endif
    default: break;
    }
}

/* FLOP/s; 0 if there is no loop for this instruction set. */
static double measure_fma(int threads, krait_isa isa)
{
    double lanes = isa == KRAIT_ISA_AVX512 ? 16 : isa == KRAIT_ISA_AVX2 ? 8 : isa == KRAIT_ISA_NEON ? 4 : 0;
    double start = now();
    kr_parallel(threads, fma_share, &isa);
    return 2 * lanes * FMA_SUMS * FMA_ROUNDS * threads / (now() - start);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

typedef struct product {
    kr_linear op;
    int threads;
    krait_isa isa;
} product;

static void matvec_share(void *context, int thread, int n_threads)
{
    product *p = context;
    size_t begin, end;
    kr_share(p->op.weight.rows, 16, thread, n_threads, &begin, &end);
    kr_cpu_kernels_of(p->isa)->matvec(&p->op, begin, end);
}

static bool run_own(product *p)
{
    kr_parallel(p->threads, matvec_share, p);
    return true;
}

static bool run_gemm(product *p)
{
    const kr_linear *op = &p->op;
    return kr_gemm(p->threads, &(kr_gemm_product){ .type = KRAIT_WEIGHT_F32,
                                                   .m = op->n_tokens,
                                                   .n = op->weight.rows,
                                                   .k = op->weight.columns,
                                                   .a = op->x.data,
                                                   .lda = op->x.stride,
                                                   .b = op->weight.data,
                                                   .ldb = op->weight.columns,
                                                   .b_transposed = true,
                                                   .y = op->y.data,
                                                   .ldy = op->y.stride });
}

enum { WEIGHT_BYTES = 192 << 20 }; /* of copies, larger than caches */

enum { OWN, GEMM, N_VARIANTS };
static const char *const variant_names[N_VARIANTS] = { "own", "gemm" };
static bool (*const variants[N_VARIANTS])(product *) = { run_own, run_gemm };

typedef struct result {
    double seconds[N_VARIANTS]; /* per product; 0 if it cannot */
    double fma, bandwidth;      /* per second */
} result;

static double larger(double a, double b) { return a > b ? a : b; }

enum { TURNS = 6 };

/* The best of many passes. Variants and limits take turns, so that they share the machine's moods. */
static bool measure(result *best, product *p, const float *weights, size_t copies)
{
    const size_t size = p->op.weight.rows * p->op.weight.columns;
    *best = (result){ 0 };
    double begin = now();
    for (int pass = 0; pass < 3 || (pass < 12 && now() - begin < 2); pass++) {
        double bandwidth;
        if (krait_measure_read(p->threads, WEIGHT_BYTES, &bandwidth, NULL) != KRAIT_OK) return false;
        best->bandwidth = larger(best->bandwidth, bandwidth);
        best->fma = larger(best->fma, measure_fma(p->threads, p->isa));
        for (int turn = 0; turn < TURNS * N_VARIANTS; turn++) {
            int v = turn % N_VARIANTS;
            bool done = true;
            double start = now();
            for (size_t i = 0; i < copies && done; i++) {
                p->op.weight.data = weights + i * size;
                done = variants[v](p);
            }
            double seconds = (now() - start) / (double)copies;
            if (done && (best->seconds[v] == 0 || seconds < best->seconds[v])) best->seconds[v] = seconds;
        }
    }
    return true;
}

typedef struct shape {
    const char *name;
    size_t rows, columns;
} shape;

static const shape shapes[] = {
    { "130m in_proj", 3072, 768 },  { "130m x_proj", 80, 1536 },     { "130m dt_proj", 1536, 48 },
    { "130m out_proj", 768, 1536 }, { "130m head", 50280, 768 },     { "370m in_proj", 4096, 1024 },
    { "1.4b in_proj", 8192, 2048 }, { "1.4b out_proj", 2048, 4096 },
};
static const size_t token_counts[] = { 1, 2, 4, 8, 16, 32, 64, 256, 512 };

static size_t option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return strtoul(argv[i + 1], NULL, 10);
    return 0;
}

static bool flag(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return true;
    return false;
}

static void report(kr_json_writer *json, const shape *s, const product *p, const result *r)
{
    const double *seconds = r->seconds;
    double flop = 2.0 * (double)(p->op.n_tokens * s->rows * s->columns), bytes = 4.0 * (double)(s->rows * s->columns);
    double limit = larger(bytes / r->bandwidth, r->fma > 0 ? flop / r->fma : 0);
    if (json) {
        kr_json_open(json, '{');
        kr_json_key(json, "shape"), kr_json_put_text(json, s->name);
        kr_json_key(json, "rows"), kr_json_put_integer(json, (int64_t)s->rows);
        kr_json_key(json, "columns"), kr_json_put_integer(json, (int64_t)s->columns);
        kr_json_key(json, "tokens"), kr_json_put_integer(json, (int64_t)p->op.n_tokens);
        kr_json_key(json, "threads"), kr_json_put_integer(json, p->threads);
        kr_json_key(json, "flop_per_second"), kr_json_put_number(json, r->fma);
        kr_json_key(json, "bytes_per_second"), kr_json_put_number(json, r->bandwidth);
        kr_json_key(json, "limit_seconds"), kr_json_put_number(json, limit);
        for (int v = 0; v < N_VARIANTS; v++)
            if (seconds[v] > 0) kr_json_key(json, variant_names[v]), kr_json_put_number(json, seconds[v]);
        kr_json_close(json, '}');
        return;
    }
    printf("%-14s [%5zu, %4zu] x %3zu, %d threads (%.0f GFLOP/s, %.1f GB/s):", s->name, s->rows, s->columns, p->op.n_tokens,
           p->threads, r->fma / 1e9, r->bandwidth / 1e9);
    for (int v = 0; v < N_VARIANTS; v++)
        if (seconds[v] > 0)
            printf("  %s %6.1f GFLOP/s %5.1f GB/s %3.0f %%", variant_names[v], flop / seconds[v] / 1e9, bytes / seconds[v] / 1e9,
                   100 * limit / seconds[v]);
    printf("\n");
    fflush(stdout);
}

/* Enough copies of the weights that none is in a cache when its turn comes. */
static bool measure_shape(kr_json_writer *json, const shape *s, int threads, krait_isa isa, size_t only_tokens)
{
    const size_t size = s->rows * s->columns, copies = 1 + WEIGHT_BYTES / (size * sizeof(float)), most = 512;
    float *weights = kr_alloc(copies * size, sizeof *weights), *x = kr_alloc(most * s->columns, sizeof *x),
          *y = kr_alloc_zero(most * s->rows, sizeof *y);
    bool fine = weights && x && y;
    if (fine) {
        kr_rng rng;
        kr_rng_seed(&rng, 1);
        for (size_t i = 0; i < size; i++) weights[i] = kr_rng_float(&rng) - 0.5f;
        for (size_t i = 1; i < copies; i++) memcpy(weights + i * size, weights, size * sizeof *weights);
        for (size_t i = 0; i < most * s->columns; i++) x[i] = kr_rng_float(&rng) - 0.5f;
        for (size_t i = 0; i < sizeof token_counts / sizeof *token_counts; i++) {
            if (only_tokens && token_counts[i] != only_tokens) continue;
            product p = { .op = { .n_tokens = token_counts[i],
                                  .x = { x, s->columns },
                                  .weight = { weights, s->rows, s->columns, KRAIT_WEIGHT_F32 },
                                  .y = { y, s->rows } },
                          .threads = threads,
                          .isa = isa };
            result r;
            fine = fine && measure(&r, &p, weights, token_counts[i] > 32 ? (copies + 15) / 16 : copies);
            if (fine) report(json, s, &p, &r);
        }
    }
    kr_free(weights);
    kr_free(x);
    kr_free(y);
    return fine;
}

int main(int argc, char **argv)
{
    kr_json_writer writer = { .file = stdout, .indent = 1 }, *json = flag(argc, argv, "--json") ? &writer : NULL;
    krait_isa isa = KRAIT_ISA_AUTO;
    if (kr_isa_resolve(&isa, NULL) != KRAIT_OK) return 2;
    shape given = { "given", option(argc, argv, "--rows"), option(argc, argv, "--columns") };
    size_t only_threads = option(argc, argv, "--threads"), only_tokens = option(argc, argv, "--tokens");
    bool fine = true;
    if (json) kr_json_open(json, '[');
    for (int threads = 1; threads <= kr_threads_available() && fine; threads *= 2) {
        if (only_threads) threads = (int)only_threads;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes && fine; i++)
            if (given.rows == 0 || i == 0)
                fine = measure_shape(json, given.rows ? &given : &shapes[i], threads, isa, only_tokens);
        if (only_threads) break;
    }
    if (json) kr_json_close(json, ']'), printf("\n");
    if (!fine) fprintf(stderr, "bench_linear: out of memory\n");
    return fine && !ferror(stdout) ? 0 : 1;
}
