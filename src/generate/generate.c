/* krait_generate(): reads a prompt, then draws token after token until something ends it. */
#include "base/memory.h"
#include "generate/generation.h"
#include "generate/session.h"

/* One call's parts. */
typedef struct job {
    krait_session *session;
    krait_state *state;
    float *logits; /* [vocab_size], after the last token */
    kr_generation generation;
} job;

static krait_status run(job *j, const int32_t *tokens, size_t count, krait_want want, krait_error *error)
{
    krait_sequence sequence = { .state = j->state, .tokens = tokens, .count = count, .want = want };
    return krait_run(j->session, &sequence, 1, &(krait_outputs){ .logits = j->logits }, error);
}

/* Reads the prompt in pieces of the session's own steps: results are those of a single run, and the caller hears of each. */
static krait_status read_prompt(job *j, const int32_t *prompt, size_t n, krait_error *error)
{
    const krait_progress *progress = &j->generation.options.progress;
    size_t step = j->session->memory.max_tokens, done = 0;
    krait_status status;
    if (n == 0) return run(j, NULL, 0, KRAIT_WANT_LAST, error);
    while (done < n) {
        size_t count = n - done < step ? n - done : step;
        status = run(j, prompt + done, count, done + count == n ? KRAIT_WANT_LAST : KRAIT_WANT_NONE, error);
        if (!status) status = kr_generation_read(&j->generation, prompt + done, count, error);
        if (status) return status;
        done += count;
        if (progress->report && !progress->report(progress->user, "reading the prompt", done, n))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted after %zu of %zu tokens of the prompt", done, n);
    }
    return KRAIT_OK;
}

static krait_status write_text(job *j, krait_error *error)
{
    bool ended = false;
    while (!ended) {
        int32_t id;
        krait_status status = kr_generation_draw(&j->generation, j->logits, &id, &ended, error);
        if (!status) status = run(j, &id, 1, ended ? KRAIT_WANT_NONE : KRAIT_WANT_LAST, error);
        if (status) return status;
    }
    return KRAIT_OK;
}

krait_status krait_generate(krait_session *session, krait_state *state, const krait_tokenizer *tokenizer, const int32_t *prompt,
                            size_t n_prompt, const krait_generate_options *options, krait_generate_result *result,
                            krait_error *error)
{
    if (result) *result = (krait_generate_result){ 0 };
    if (!session) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_generate: session is NULL");
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_generate: state is NULL");
    const krait_config *config = krait_model_config(krait_session_model(session));
    job j = { .session = session, .state = state };
    krait_status status =
        kr_generation_open(&j.generation, config, tokenizer, prompt, n_prompt, krait_state_tokens(state) != 0, options, error);
    if (status) return status;
    j.logits = kr_alloc(j.generation.vocab_size, sizeof *j.logits);
    if (!j.logits) status = kr_fail_memory(error, "logits", j.generation.vocab_size * sizeof *j.logits);
    if (!status) status = read_prompt(&j, prompt, n_prompt, error);
    if (!status) status = write_text(&j, error);
    if (!status && result) *result = kr_generation_result(&j.generation);
    kr_generation_close(&j.generation);
    kr_free(j.logits);
    return status;
}
