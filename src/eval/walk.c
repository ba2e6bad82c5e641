#include "eval/walk.h"

#include "base/memory.h"

/* Tokens per run, and a bound on the logits that are kept of a model at a time. */
enum { MOST_ROWS = 512, MOST_LOGIT_BYTES = 64 << 20 };

/* The models in the middle of a text. */
typedef struct reader {
    const kr_walk *walk;
    size_t vocab_size, rows;
    krait_state *states[KR_WALK_MODELS];
    float *logits[KR_WALK_MODELS];
} reader;

size_t kr_walk_rows(size_t vocab_size)
{
    size_t rows = MOST_LOGIT_BYTES / sizeof(float) / vocab_size;
    return rows < 1 ? 1 : rows > MOST_ROWS ? MOST_ROWS : rows;
}

krait_status kr_walk_check(const kr_walk *walk, krait_error *error)
{
    const int32_t *tokens = walk->tokens;
    size_t n_tokens = walk->n_tokens;
    if (!walk->sessions[0]) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: session is NULL", walk->name);
    if (n_tokens < 2) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens: expected at least 2, found %zu", n_tokens);
    if (!tokens) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens: expected %zu ids, found NULL", n_tokens);
    if (walk->options->window == 1)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "window: expected 0, or at least 2 tokens, found 1");
    size_t vocab_size = (size_t)krait_model_config(krait_session_model(walk->sessions[0]))->vocab_size;
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || (size_t)tokens[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokens[%zu]: expected an id in 0 .. %zu, found %d", i, vocab_size - 1,
                           (int)tokens[i]);
    return KRAIT_OK;
}

/* Runs tokens[at .. at+n-1) on from the states and scores tokens[at+1 .. at+n) on it. */
static krait_status read_piece(reader *r, size_t at, size_t n, krait_error *error)
{
    const kr_walk *walk = r->walk;
    for (int m = 0; m < KR_WALK_MODELS && walk->sessions[m]; m++) {
        krait_sequence sequence = { .state = r->states[m], .tokens = walk->tokens + at, .count = n - 1, .want = KRAIT_WANT_ALL };
        krait_status status = krait_run(walk->sessions[m], &sequence, 1, &(krait_outputs){ .logits = r->logits[m] }, error);
        if (status) return status;
    }
    const float *logits[KR_WALK_MODELS] = { r->logits[0], r->logits[1] };
    return walk->score(walk->context, logits, walk->tokens + at + 1, n - 1, at, error);
}

static krait_status read_all(reader *r, krait_error *error)
{
    const kr_walk *walk = r->walk;
    const krait_progress *progress = &walk->options->progress;
    size_t n_tokens = walk->n_tokens;
    size_t window = walk->options->window ? walk->options->window : n_tokens, in_window = 0; /* tokens of it already run */
    for (size_t at = 0; at + 1 < n_tokens;) {
        size_t left = window - in_window < n_tokens - at ? window - in_window : n_tokens - at;
        size_t n = left - 1 < r->rows ? left : r->rows + 1;
        if (in_window == 0)
            for (int m = 0; m < KR_WALK_MODELS && r->states[m]; m++) krait_state_reset(r->states[m]);
        krait_status status = read_piece(r, at, n, error);
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

krait_status kr_walk_run(const kr_walk *walk, krait_error *error)
{
    reader r = { .walk = walk };
    krait_status status = KRAIT_OK;
    r.vocab_size = (size_t)krait_model_config(krait_session_model(walk->sessions[0]))->vocab_size;
    r.rows = kr_walk_rows(r.vocab_size);
    for (int m = 0; m < KR_WALK_MODELS && walk->sessions[m] && !status; m++) {
        status = krait_state_create(&r.states[m], krait_session_model(walk->sessions[m]), error);
        if (status) break;
        r.logits[m] = kr_alloc(r.rows * r.vocab_size, sizeof(float));
        if (!r.logits[m]) status = kr_fail_memory(error, "logits", r.rows * r.vocab_size * sizeof(float));
    }
    if (!status) status = read_all(&r, error);
    for (int m = 0; m < KR_WALK_MODELS; m++) {
        kr_free(r.logits[m]);
        krait_state_free(r.states[m]);
    }
    return status;
}

krait_perplexity_result kr_perplexity_of(const kr_spread *nats)
{
    double mean = nats->sum / (double)nats->n;
    return (krait_perplexity_result){
        .n_scored = nats->n,
        .nats = nats->sum,
        .nats_per_token = mean,
        .standard_error = kr_spread_error(nats),
        .perplexity = exp(mean),
    };
}
