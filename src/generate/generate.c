/* krait_generate(): reads a prompt, then draws token after token until something ends it. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "generate/session.h"
#include "generate/stop.h"
#include "tensor/softmax.h"

/* One call's parts. */
typedef struct generation {
    krait_session *session;
    krait_state *state;
    const krait_generate_options *options;
    size_t vocab_size;
    int32_t eos_id; /* -1: none */
    krait_sampler *sampler;
    float *logits;          /* [vocab_size], after the last token */
    krait_decoder *decoder; /* with `stop`: NULL without a tokenizer */
    kr_stop *stop;
    krait_generate_result result;
} generation;

const char *krait_finish_name(krait_finish finish)
{
    switch (finish) {
    case KRAIT_FINISH_LENGTH: return "length";
    case KRAIT_FINISH_EOS: return "eos";
    case KRAIT_FINISH_STOP_ID: return "stop_id";
    case KRAIT_FINISH_STOP_STRING: return "stop_string";
    case KRAIT_FINISH_CALLBACK: return "callback";
    }
    return "unknown";
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static krait_status check_ids(const char *name, const int32_t *ids, size_t n, size_t vocab_size, krait_error *error)
{
    if (n && !ids) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected %zu ids, found NULL", name, n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s[%zu]: expected an id in 0 .. %zu, found %d", name, i, vocab_size - 1,
                           (int)ids[i]);
    return KRAIT_OK;
}

static krait_status check_arguments(const generation *g, const krait_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                                    krait_error *error)
{
    const krait_generate_options *o = g->options;
    krait_status status = check_ids("prompt", prompt, n_prompt, g->vocab_size, error);
    if (!status) status = check_ids("stop_ids", o->stop_ids, o->n_stop_ids, g->vocab_size, error);
    if (status) return status;
    if (n_prompt == 0 && krait_state_tokens(g->state) == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "prompt: expected at least one token to begin with, found none, and a state that has seen none");
    if (o->n_stop && !tokenizer)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "stop: expected no strings without a tokenizer, found %zu", o->n_stop);
    if (o->max_tokens == 0 && !o->on_piece && g->eos_id < 0 && o->n_stop == 0 && o->n_stop_ids == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "max_tokens: expected 1 or more where nothing else can end the text, found 0");
    return KRAIT_OK;
}

/* The sampler, with the ids forbidden that the tokenizer does not have: rows that only pad the embedding. */
static krait_status create_sampler(generation *g, const krait_tokenizer *tokenizer, krait_error *error)
{
    krait_sampling sampling = g->options->sampling;
    size_t n = sampling.n_logit_bias, unknown = 0, length;
    for (size_t id = 0; tokenizer && id < g->vocab_size; id++) unknown += !krait_tokenizer_token(tokenizer, (int32_t)id, &length);
    if (unknown == 0 || (n && !sampling.logit_bias)) return krait_sampler_create(&g->sampler, g->vocab_size, &sampling, error);
    size_t total;
    krait_logit_bias *bias = kr_add(n, unknown, &total) ? kr_alloc(total, sizeof *bias) : NULL;
    if (!bias) return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory: logit_bias of %zu + %zu tokens", n, unknown);
    if (n) memcpy(bias, sampling.logit_bias, n * sizeof *bias);
    for (size_t id = 0; id < g->vocab_size; id++)
        if (!krait_tokenizer_token(tokenizer, (int32_t)id, &length)) bias[n++] = (krait_logit_bias){ (int32_t)id, -INFINITY };
    sampling.logit_bias = bias;
    sampling.n_logit_bias = n;
    krait_status status = krait_sampler_create(&g->sampler, g->vocab_size, &sampling, error);
    kr_free(bias);
    return status;
}

static krait_status create_parts(generation *g, const krait_tokenizer *tokenizer, krait_error *error)
{
    krait_status status = create_sampler(g, tokenizer, error);
    if (!status && !(g->logits = kr_alloc(g->vocab_size, sizeof *g->logits)))
        status = kr_fail_memory(error, "logits", g->vocab_size * sizeof *g->logits);
    if (!status && tokenizer) {
        status = krait_decoder_create(&g->decoder, tokenizer, g->options->keep_special, error);
        if (!status) status = kr_stop_create(&g->stop, g->options->stop, g->options->n_stop, error);
    }
    return status;
}

static krait_status run(generation *g, const int32_t *tokens, size_t count, krait_want want, krait_error *error)
{
    krait_sequence sequence = { .state = g->state, .tokens = tokens, .count = count, .want = want };
    return krait_run(g->session, &sequence, 1, &(krait_outputs){ .logits = g->logits }, error);
}

/* Reads the prompt in pieces of the session's own steps: results are those of a single run, and the caller hears of each. */
static krait_status read_prompt(generation *g, const int32_t *prompt, size_t n, krait_error *error)
{
    const krait_progress *progress = &g->options->progress;
    size_t step = g->session->memory.max_tokens, done = 0;
    krait_status status;
    if (n == 0) return run(g, NULL, 0, KRAIT_WANT_LAST, error);
    while (done < n) {
        size_t count = n - done < step ? n - done : step;
        status = run(g, prompt + done, count, done + count == n ? KRAIT_WANT_LAST : KRAIT_WANT_NONE, error);
        for (size_t i = 0; i < count && !status; i++) status = krait_sampler_accept(g->sampler, prompt[done + i], error);
        if (status) return status;
        done += count;
        if (progress->report && !progress->report(progress->user, "reading the prompt", done, n))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted after %zu of %zu tokens of the prompt", done, n);
    }
    return KRAIT_OK;
}

/* What can be shown of the token, or with id -1 of what the decoder still has. */
static krait_status decode(generation *g, int32_t id, const char **text, size_t *length, bool *stopped, krait_error *error)
{
    const char *decoded;
    size_t decoded_length;
    ptrdiff_t found;
    krait_status status = id < 0 ? krait_decoder_flush(g->decoder, &decoded, &decoded_length, error)
                                 : krait_decoder_push(g->decoder, id, &decoded, &decoded_length, error);
    if (!status) status = kr_stop_push(g->stop, decoded, decoded_length, text, length, &found, error);
    if (status || found < 0) return status;
    g->result.finish = KRAIT_FINISH_STOP_STRING;
    g->result.stop_index = (size_t)found;
    *stopped = true;
    return KRAIT_OK;
}

/* Gives a piece to the caller; false if he wants no more. */
static bool give(const generation *g, int32_t id, float logprob, const char *text, size_t length)
{
    if (!g->options->on_piece) return true;
    krait_piece piece = { .id = id, .logprob = logprob, .text = text, .text_length = length };
    return g->options->on_piece(g->options->user, &piece);
}

/* Gives what was held back, at the end of a text that no stop string ended. */
static krait_status give_rest(generation *g, krait_error *error)
{
    const char *text;
    size_t length;
    bool stopped = false;
    krait_status status = decode(g, -1, &text, &length, &stopped, error);
    if (status) return status;
    if (length > 0 && !give(g, -1, 0, text, length)) return KRAIT_OK;
    if (stopped) return KRAIT_OK;
    kr_stop_flush(g->stop, &text, &length);
    if (length > 0) give(g, -1, 0, text, length);
    return KRAIT_OK;
}

/* Whether this token ends the text by itself. */
static bool is_last(generation *g, int32_t id)
{
    g->result.finish = KRAIT_FINISH_EOS;
    if (id == g->eos_id) return true;
    g->result.finish = KRAIT_FINISH_STOP_ID;
    for (size_t i = 0; i < g->options->n_stop_ids; i++)
        if (id == g->options->stop_ids[i]) return true;
    return false;
}

static krait_status write_text(generation *g, krait_error *error)
{
    const krait_generate_options *o = g->options;
    for (;;) {
        int32_t id;
        krait_status status = krait_sampler_sample(g->sampler, g->logits, &id, error);
        if (!status) status = krait_sampler_accept(g->sampler, id, error);
        if (status) return status;
        g->result.n_generated++;
        float logprob = o->logprobs ? (float)((double)g->logits[id] - kr_softmax_log_sum(g->logits, g->vocab_size)) : 0;

        bool ended = is_last(g, id);
        const char *text = g->decoder ? "" : NULL;
        size_t length = 0;
        if (g->decoder && !ended) {
            status = decode(g, id, &text, &length, &ended, error);
            if (status) return status;
        }
        if (!ended && g->result.n_generated == o->max_tokens) {
            g->result.finish = KRAIT_FINISH_LENGTH;
            ended = true;
        }
        bool go_on = give(g, id, logprob, text, length);
        if (!ended && go_on) {
            status = run(g, &id, 1, KRAIT_WANT_LAST, error);
            if (status) return status;
            continue;
        }
        if (!ended) g->result.finish = KRAIT_FINISH_CALLBACK;
        status = KRAIT_OK;
        if (go_on && g->decoder && g->result.finish != KRAIT_FINISH_STOP_STRING) status = give_rest(g, error);
        return status ? status : run(g, &id, 1, KRAIT_WANT_NONE, error);
    }
}

krait_status krait_generate(krait_session *session, krait_state *state, const krait_tokenizer *tokenizer, const int32_t *prompt,
                            size_t n_prompt, const krait_generate_options *options, krait_generate_result *result,
                            krait_error *error)
{
    static const krait_generate_options defaults;
    if (result) *result = (krait_generate_result){ 0 };
    if (!session) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_generate: session is NULL");
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_generate: state is NULL");
    const krait_config *config = krait_model_config(krait_session_model(session));
    generation g = { .session = session, .state = state, .options = options ? options : &defaults };
    g.vocab_size = (size_t)config->vocab_size;
    g.eos_id = g.options->ignore_eos ? -1 : config->eos_id;
    krait_status status = check_arguments(&g, tokenizer, prompt, n_prompt, error);
    if (!status) status = create_parts(&g, tokenizer, error);
    double start = now(), middle = start;
    if (!status) {
        status = read_prompt(&g, prompt, n_prompt, error);
        middle = now();
    }
    if (!status) status = write_text(&g, error);
    if (!status && result) {
        *result = g.result;
        result->n_prompt = n_prompt;
        result->prefill_seconds = middle - start;
        result->decode_seconds = now() - middle;
    }
    krait_sampler_free(g.sampler);
    krait_decoder_free(g.decoder);
    kr_stop_free(g.stop);
    kr_free(g.logits);
    return status;
}
