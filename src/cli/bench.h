/* `krait bench`: measurements, each beside the bound that the machine sets in the same moment. */
#ifndef KR_CLI_BENCH_H
#define KR_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/progress.h"

/* One line of the table. Times are of the whole work: `tokens` tokens of each of `batch` sequences. */
typedef struct kr_bench_result {
    const char *work;  /* "prefill", "decode" */
    const char *bound; /* "products", "bytes": what `bound_seconds` is the time of */
    uint64_t tokens, batch;
    int threads;
    double seconds, bound_seconds; /* the best of the rounds */
    double ratio_median;           /* of seconds / bound_seconds, round by round */
    double bytes_per_second;       /* of memory, as measured, when the bound is bytes; else 0 */
} kr_bench_result;

/* A position in a long sequence. Times are per token, the best of rounds that took turns between all positions. */
typedef struct kr_bench_position {
    uint64_t position;
    krait_state *state; /* as it was there */
    uint64_t resident_bytes;
    double prefill_seconds, decode_seconds;
} kr_bench_position;

/* What the measurements run on. */
typedef struct kr_bench {
    krait_session *session;
    krait_state **states; /* [n_states], as many as the largest batch */
    size_t n_states;
    int32_t *tokens; /* [n_tokens] some ids, spread over the vocabulary */
    size_t n_tokens;
    float *logits; /* [n_states, vocab_size] */
    size_t chunk, rounds;
} kr_bench;

/* Allocates for batches of up to `batch` and `n_tokens` ids; a prepared bench is freed also when this fails. */
krait_status kr_bench_open(kr_bench *bench, const krait_model *model, const krait_session_options *options, size_t batch,
                           size_t n_tokens, size_t rounds, krait_error *error);
void kr_bench_close(kr_bench *bench);

/* Reading `tokens` tokens into one state, last logits wanted; bound: its matrix products alone. */
krait_status kr_bench_prefill(kr_bench *bench, uint64_t tokens, kr_bench_result *result, krait_error *error);
/* `tokens` steps of `batch` sequences, logits of each wanted; bound: for a batch of 1 the bytes that must be read at the bandwidth
 * of memory, for larger ones the matrix products alone. */
krait_status kr_bench_decode(kr_bench *bench, uint64_t tokens, uint64_t batch, kr_bench_result *result, krait_error *error);
/* Time per token at ascending positions of one sequence. */
krait_status kr_bench_long(kr_bench *bench, kr_bench_position *positions, size_t n, kr_progress *progress, krait_error *error);

#endif
