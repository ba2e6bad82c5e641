/* What both ways to generate share: from logits to a token, its text, and the end. */
#include "generate/generation.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "tensor/softmax.h"

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

static krait_status check_arguments(const kr_generation *g, const krait_tokenizer *tokenizer, const int32_t *prompt,
                                    size_t n_prompt, bool seen, krait_error *error)
{
    const krait_generate_options *o = &g->options;
    krait_status status = check_ids("prompt", prompt, n_prompt, g->vocab_size, error);
    if (!status) status = check_ids("stop_ids", o->stop_ids, o->n_stop_ids, g->vocab_size, error);
    if (status) return status;
    if (n_prompt == 0 && !seen)
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
static krait_status create_sampler(kr_generation *g, const krait_tokenizer *tokenizer, krait_error *error)
{
    krait_sampling sampling = g->options.sampling;
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

krait_status kr_generation_open(kr_generation *g, const krait_config *config, const krait_tokenizer *tokenizer,
                                const int32_t *prompt, size_t n_prompt, bool seen, const krait_generate_options *options,
                                krait_error *error)
{
    *g = (kr_generation){ .vocab_size = (size_t)config->vocab_size, .result.n_prompt = n_prompt, .began = now() };
    if (options) g->options = *options;
    g->eos_id = g->options.ignore_eos ? -1 : config->eos_id;
    krait_status status = check_arguments(g, tokenizer, prompt, n_prompt, seen, error);
    if (!status) status = create_sampler(g, tokenizer, error);
    if (!status && tokenizer) {
        status = krait_decoder_create(&g->decoder, tokenizer, g->options.keep_special, error);
        if (!status) status = kr_stop_create(&g->stop, g->options.stop, g->options.n_stop, error);
    }
    if (status) kr_generation_close(g);
    return status;
}

void kr_generation_close(kr_generation *g)
{
    krait_sampler_free(g->sampler);
    krait_decoder_free(g->decoder);
    kr_stop_free(g->stop);
    *g = (kr_generation){ 0 };
}

krait_status kr_generation_read(kr_generation *g, const int32_t *tokens, size_t n, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < n && !status; i++) status = krait_sampler_accept(g->sampler, tokens[i], error);
    return status;
}

/* What can be shown of the token, or with id -1 of what the decoder still has. */
static krait_status decode(kr_generation *g, int32_t id, const char **text, size_t *length, bool *stopped, krait_error *error)
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
static bool give(const kr_generation *g, int32_t id, float logprob, const char *text, size_t length)
{
    if (!g->options.on_piece) return true;
    krait_piece piece = { .id = id, .logprob = logprob, .text = text, .text_length = length };
    return g->options.on_piece(g->options.user, &piece);
}

/* Gives what was held back, at the end of a text that no stop string ended. */
static krait_status give_rest(kr_generation *g, krait_error *error)
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
static bool is_last(kr_generation *g, int32_t id)
{
    g->result.finish = KRAIT_FINISH_EOS;
    if (id == g->eos_id) return true;
    g->result.finish = KRAIT_FINISH_STOP_ID;
    for (size_t i = 0; i < g->options.n_stop_ids; i++)
        if (id == g->options.stop_ids[i]) return true;
    return false;
}

krait_status kr_generation_draw(kr_generation *g, const float *logits, int32_t *id, bool *ended, krait_error *error)
{
    const krait_generate_options *o = &g->options;
    *ended = false;
    if (g->result.n_generated == 0) g->result.prefill_seconds = now() - g->began;
    krait_status status = krait_sampler_sample(g->sampler, logits, id, error);
    if (!status) status = krait_sampler_accept(g->sampler, *id, error);
    if (status) return status;
    g->result.n_generated++;
    float logprob = o->logprobs ? (float)((double)logits[*id] - kr_softmax_log_sum(logits, g->vocab_size)) : 0;

    *ended = is_last(g, *id);
    const char *text = g->decoder ? "" : NULL;
    size_t length = 0;
    if (g->decoder && !*ended) {
        status = decode(g, *id, &text, &length, ended, error);
        if (status) return status;
    }
    if (!*ended && g->result.n_generated == o->max_tokens) {
        g->result.finish = KRAIT_FINISH_LENGTH;
        *ended = true;
    }
    bool go_on = give(g, *id, logprob, text, length);
    if (!*ended && go_on) return KRAIT_OK;
    if (!*ended) g->result.finish = KRAIT_FINISH_CALLBACK;
    *ended = true;
    return go_on && g->decoder && g->result.finish != KRAIT_FINISH_STOP_STRING ? give_rest(g, error) : KRAIT_OK;
}

krait_generate_result kr_generation_result(const kr_generation *g)
{
    krait_generate_result result = g->result;
    result.decode_seconds = now() - g->began - result.prefill_seconds;
    return result;
}
