/* krait_perplexity(): how well a model foresees a text. */
#include <math.h>

#include "base/memory.h"
#include "base/status.h"
#include "tensor/softmax.h"

/* Tokens per run, and a bound on the logits that are kept at a time. */
enum { MOST_ROWS = 512, MOST_LOGIT_BYTES = 64 << 20 };

/* Mean and spread of -log p, token by token (Welford 1962: no cancellation, however long the text). */
typedef struct spread {
    uint64_t n;
    double sum, mean, squares; /* squares: sum of (value - mean)^2 */
} spread;

static void spread_add(spread *s, double value)
{
    s->n++;
    s->sum += value;
    double off = value - s->mean;
    s->mean += off / (double)s->n;
    s->squares += off * (value - s->mean);
}

/* Runs tokens[at .. at+n-1) on from `state` and scores tokens[at+1 .. at+n) on it. */
static krait_status score_piece(krait_session *session, krait_state *state, size_t vocab_size, const int32_t *tokens, size_t at,
                                size_t n, float *logits, spread *scores, krait_error *error)
{
    krait_sequence sequence = { .state = state, .tokens = tokens + at, .count = n - 1, .want = KRAIT_WANT_ALL };
    krait_status status = krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, error);
    if (status) return status;
    for (size_t i = 0; i + 1 < n; i++) {
        const float *row = logits + i * vocab_size;
        double nats = kr_softmax_log_sum(row, vocab_size) - (double)row[tokens[at + i + 1]];
        if (isnan(nats))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logits at token %zu: expected numbers, found NaN or +infinity", at + i);
        spread_add(scores, nats);
    }
    return KRAIT_OK;
}

static krait_status score(krait_session *session, krait_state *state, size_t vocab_size, const int32_t *tokens, size_t n_tokens,
                          const krait_perplexity_options *options, float *logits, size_t rows, spread *scores, krait_error *error)
{
    const krait_progress *progress = &options->progress;
    size_t window = options->window ? options->window : n_tokens, in_window = 0; /* tokens of the window already run */
    for (size_t at = 0; at + 1 < n_tokens;) {
        size_t left = window - in_window < n_tokens - at ? window - in_window : n_tokens - at;
        size_t n = left - 1 < rows ? left : rows + 1;
        if (in_window == 0) krait_state_reset(state);
        krait_status status = score_piece(session, state, vocab_size, tokens, at, n, logits, scores, error);
        if (status) return status;
        at += n - 1;
        in_window += n - 1;
        if (in_window + 1 >= window) { /* its last token is scored, and has nothing to foretell */
            at++;
            in_window = 0;
        }
        if (progress->report && !progress->report(progress->user, "scoring", at + 1 < n_tokens ? at : n_tokens, n_tokens))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted after %zu of %zu tokens", at, n_tokens);
    }
    return KRAIT_OK;
}

krait_status krait_perplexity(krait_session *session, const int32_t *tokens, size_t n_tokens,
                              const krait_perplexity_options *options, krait_perplexity_result *result, krait_error *error)
{
    static const krait_perplexity_options defaults;
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_perplexity: result is NULL");
    *result = (krait_perplexity_result){ 0 };
    if (!session) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_perplexity: session is NULL");
    if (!options) options = &defaults;
    if (n_tokens < 2) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens: expected at least 2, found %zu", n_tokens);
    if (!tokens) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens: expected %zu ids, found NULL", n_tokens);
    if (options->window == 1) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "window: expected 0, or at least 2 tokens, found 1");
    const krait_model *model = krait_session_model(session);
    size_t vocab_size = (size_t)krait_model_config(model)->vocab_size;
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || (size_t)tokens[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens[%zu]: expected an id in 0 .. %zu, found %d", i, vocab_size - 1,
                           (int)tokens[i]);

    size_t rows = MOST_LOGIT_BYTES / sizeof(float) / vocab_size;
    rows = rows < 1 ? 1 : rows > MOST_ROWS ? MOST_ROWS : rows;
    spread scores = { 0 };
    krait_state *state;
    krait_status status = krait_state_create(&state, model, error);
    if (status) return status;
    float *logits = kr_alloc(rows * vocab_size, sizeof *logits);
    if (logits)
        status = score(session, state, vocab_size, tokens, n_tokens, options, logits, rows, &scores, error);
    else
        status = kr_fail_memory(error, "logits", rows * vocab_size * sizeof *logits);
    kr_free(logits);
    krait_state_free(state);
    if (status) return status;
    double n = (double)scores.n;
    *result = (krait_perplexity_result){ .n_scored = scores.n, .nats = scores.sum, .nats_per_token = scores.sum / n };
    result->standard_error = scores.n > 1 ? sqrt(scores.squares / (n - 1) / n) : 0;
    result->perplexity = exp(result->nats_per_token);
    return KRAIT_OK;
}
