/* krait_perplexity(): how well a model foresees a text. */
#include <math.h>

#include "eval/walk.h"
#include "tensor/softmax.h"

typedef struct scoring {
    size_t vocab_size;
    kr_spread nats;
} scoring;

static krait_status score(void *context, const float *const *logits, const int32_t *next, size_t n, size_t at, krait_error *error)
{
    scoring *s = context;
    for (size_t i = 0; i < n; i++) {
        const float *row = logits[0] + i * s->vocab_size;
        double nats = kr_softmax_log_sum(row, s->vocab_size) - (double)row[next[i]];
        if (isnan(nats))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logits at token %zu: expected numbers, found NaN or +infinity", at + i);
        kr_spread_add(&s->nats, nats);
    }
    return KRAIT_OK;
}

krait_status krait_perplexity(krait_session *session, const int32_t *tokens, size_t n_tokens,
                              const krait_perplexity_options *options, krait_perplexity_result *result, krait_error *error)
{
    static const krait_perplexity_options defaults;
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_perplexity: result is NULL");
    *result = (krait_perplexity_result){ 0 };
    scoring scores = { 0 };
    kr_walk walk = {
        .sessions = { session },
        .tokens = tokens,
        .n_tokens = n_tokens,
        .options = options ? options : &defaults,
        .name = "krait_perplexity",
        .score = score,
        .context = &scores,
    };
    krait_status status = kr_walk_check(&walk, error);
    if (status) return status;
    scores.vocab_size = (size_t)krait_model_config(krait_session_model(session))->vocab_size;
    status = kr_walk_run(&walk, error);
    if (!status) *result = kr_perplexity_of(&scores.nats);
    return status;
}
