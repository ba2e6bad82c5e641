/* The measurements of `krait bench`. A shared machine's speed changes from second to second, so work and bound take turns, and
 * the best of each, or the median of their ratios, is what counts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/bench.h"
#include "cli/interrupt.h"
#include "cli/report.h"

#define MAX_ROUNDS 64

krait_status kr_bench_open(kr_bench *bench, const krait_model *model, const krait_session_options *options, size_t batch,
                           size_t n_tokens, size_t rounds, krait_error *error)
{
    const krait_config *config = krait_model_config(model);
    memset(bench, 0, sizeof *bench);
    bench->rounds = rounds < MAX_ROUNDS ? rounds : MAX_ROUNDS;
    bench->chunk = options->chunk_tokens;
    krait_status status = krait_session_create(&bench->session, model, options, error);
    if (status) return status;
    bench->states = kr_alloc_zero(batch, sizeof(krait_state *));
    bench->tokens = kr_alloc(n_tokens, sizeof *bench->tokens);
    size_t size;
    bench->logits = kr_mul(batch, (size_t)config->vocab_size, &size) ? kr_alloc(size, sizeof *bench->logits) : NULL;
    if (!bench->states || !bench->tokens || !bench->logits) return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory");
    bench->n_states = batch;
    for (size_t i = 0; i < batch && !status; i++) status = krait_state_create(&bench->states[i], model, error);
    uint64_t random = 1; /* Knuth's MMIX generator: any spread over the vocabulary will do */
    for (bench->n_tokens = 0; bench->n_tokens < n_tokens; bench->n_tokens++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bench->tokens[bench->n_tokens] = (int32_t)((random >> 33) % (uint64_t)config->vocab_size);
    }
    return status;
}

void kr_bench_close(kr_bench *bench)
{
    for (size_t i = 0; i < bench->n_states; i++) krait_state_free(bench->states[i]);
    kr_free(bench->states);
    kr_free(bench->tokens);
    kr_free(bench->logits);
    krait_session_free(bench->session);
    memset(bench, 0, sizeof *bench);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

typedef struct rounds {
    double seconds[MAX_ROUNDS], bound[MAX_ROUNDS];
    size_t n;
} rounds;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void conclude(const rounds *r, kr_bench_result *result)
{
    double ratio[MAX_ROUNDS];
    result->seconds = result->bound_seconds = INFINITY;
    for (size_t i = 0; i < r->n; i++) {
        ratio[i] = r->seconds[i] / r->bound[i];
        result->seconds = fmin(result->seconds, r->seconds[i]);
        result->bound_seconds = fmin(result->bound_seconds, r->bound[i]);
    }
    qsort(ratio, r->n, sizeof *ratio, ascending);
    result->ratio_median = r->n % 2 ? ratio[r->n / 2] : (ratio[r->n / 2 - 1] + ratio[r->n / 2]) / 2;
}

static krait_status check_interrupt(krait_error *error)
{
    return kr_interrupted() ? kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted") : KRAIT_OK;
}

/* ---- works ------------------------------------------------------------------------------------------------------- */

static krait_status read_prompt(kr_bench *bench, krait_state *state, uint64_t tokens, double *seconds, krait_error *error)
{
    krait_sequence sequence = { .state = state, .tokens = bench->tokens, .count = tokens, .want = KRAIT_WANT_LAST };
    double began = kr_now();
    krait_status status = krait_run(bench->session, &sequence, 1, &(krait_outputs){ .logits = bench->logits }, error);
    *seconds = kr_now() - began;
    return status;
}

static krait_status step_batch(kr_bench *bench, krait_state *const *states, uint64_t tokens, size_t batch, double *seconds,
                               krait_error *error)
{
    krait_sequence *sequences = kr_alloc_zero(batch, sizeof *sequences);
    if (!sequences) return kr_fail_memory(error, "a batch", batch * sizeof *sequences);
    krait_status status = KRAIT_OK;
    double began = kr_now();
    for (uint64_t t = 0; t < tokens && !status; t++) {
        for (size_t i = 0; i < batch; i++)
            sequences[i] = (krait_sequence){ .state = states[i],
                                             .tokens = &bench->tokens[(t * batch + i) % bench->n_tokens],
                                             .count = 1,
                                             .want = KRAIT_WANT_LAST };
        status = krait_run(bench->session, sequences, batch, &(krait_outputs){ .logits = bench->logits }, error);
    }
    *seconds = kr_now() - began;
    kr_free(sequences);
    return status;
}

/* Products of `tokens` tokens, which a session runs in chunks; the last token goes through the head. */
static krait_status products(kr_bench *bench, uint64_t tokens, double *seconds, krait_error *error)
{
    if (tokens <= bench->chunk) return krait_measure_products(bench->session, tokens, 1, seconds, error);
    krait_status status = krait_measure_products(bench->session, bench->chunk, 0, seconds, error);
    *seconds *= (double)tokens / (double)bench->chunk;
    return status;
}

krait_status kr_bench_prefill(kr_bench *bench, uint64_t tokens, kr_bench_result *result, krait_error *error)
{
    rounds r = { .n = bench->rounds };
    double warm;
    krait_state_reset(bench->states[0]);
    krait_status status = read_prompt(bench, bench->states[0], tokens, &warm, error);
    for (size_t i = 0; i < r.n && !status; i++) {
        status = products(bench, tokens, &r.bound[i], error);
        krait_state_reset(bench->states[0]);
        if (!status) status = read_prompt(bench, bench->states[0], tokens, &r.seconds[i], error);
        if (!status) status = check_interrupt(error);
    }
    if (status) return status;
    *result = (kr_bench_result){
        .work = "prefill", .bound = "products", .tokens = tokens, .batch = 1, .threads = krait_session_threads(bench->session)
    };
    conclude(&r, result);
    return KRAIT_OK;
}

krait_status kr_bench_decode(kr_bench *bench, uint64_t tokens, uint64_t batch, kr_bench_result *result, krait_error *error)
{
    rounds r = { .n = bench->rounds };
    int threads = krait_session_threads(bench->session);
    uint64_t bytes = krait_model_bytes_per_token(krait_session_model(bench->session));
    double warm, bandwidth, best_bandwidth = 0;
    krait_status status = step_batch(bench, bench->states, 4, batch, &warm, error);
    for (size_t i = 0; i < r.n && !status; i++) {
        if (batch == 1) {
            /* The bytes of one token, so that a model that fits the cache is held to the cache's bandwidth. */
            status = krait_measure_read(threads, bytes, &bandwidth, error);
            if (!status) r.bound[i] = (double)bytes / bandwidth * (double)tokens;
            if (!status && bandwidth > best_bandwidth) best_bandwidth = bandwidth;
        } else {
            status = krait_measure_products(bench->session, batch, batch, &r.bound[i], error);
            r.bound[i] *= (double)tokens;
        }
        if (!status) status = step_batch(bench, bench->states, tokens, batch, &r.seconds[i], error);
        if (!status) status = check_interrupt(error);
    }
    if (status) return status;
    *result = (kr_bench_result){ .work = "decode",
                                 .bound = batch == 1 ? "bytes" : "products",
                                 .tokens = tokens,
                                 .batch = batch,
                                 .threads = threads,
                                 .bytes_per_second = best_bandwidth };
    conclude(&r, result);
    return KRAIT_OK;
}

/* ---- long sequences ---------------------------------------------------------------------------------------------- */

#define LONG_STEPS 32

static krait_status walk(kr_bench *bench, kr_bench_position *positions, size_t n, kr_progress *progress, krait_error *error)
{
    krait_state *state = bench->states[0];
    krait_status status = KRAIT_OK;
    krait_state_reset(state);
    for (size_t p = 0; p < n && !status; p++) {
        while (!status && krait_state_tokens(state) < positions[p].position) {
            uint64_t left = positions[p].position - krait_state_tokens(state);
            size_t count = left < bench->n_tokens ? left : bench->n_tokens;
            krait_sequence sequence = { .state = state, .tokens = bench->tokens, .count = count };
            status = krait_run(bench->session, &sequence, 1, NULL, error);
            if (!status && !kr_progress_report(progress, "reading", krait_state_tokens(state), positions[n - 1].position))
                status = check_interrupt(error);
        }
        if (!status) status = krait_state_clone(&positions[p].state, state, error);
        positions[p].resident_bytes = kr_resident_bytes();
        positions[p].prefill_seconds = positions[p].decode_seconds = INFINITY;
    }
    kr_progress_end(progress);
    return status;
}

krait_status kr_bench_long(kr_bench *bench, kr_bench_position *positions, size_t n, kr_progress *progress, krait_error *error)
{
    krait_status status = walk(bench, positions, n, progress, error);
    krait_state *state = bench->states[0];
    uint64_t tokens = bench->chunk < bench->n_tokens ? bench->chunk : bench->n_tokens;
    /* Minutes lie between the positions, and the machine changes meanwhile: only states that take turns can be compared. */
    for (size_t i = 0; i < bench->rounds && !status; i++)
        for (size_t p = 0; p < n && !status; p++) {
            double seconds;
            status = krait_state_copy(state, positions[p].state, error);
            if (!status) status = read_prompt(bench, state, tokens, &seconds, error);
            if (!status) positions[p].prefill_seconds = fmin(positions[p].prefill_seconds, seconds / (double)tokens);
            if (!status) status = step_batch(bench, bench->states, LONG_STEPS, 1, &seconds, error);
            if (!status) positions[p].decode_seconds = fmin(positions[p].decode_seconds, seconds / LONG_STEPS);
            if (!status) status = check_interrupt(error);
        }
    for (size_t p = 0; p < n; p++) {
        krait_state_free(positions[p].state);
        positions[p].state = NULL;
    }
    return status;
}
