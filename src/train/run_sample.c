/* A few lines of text by the model as it is. The draw depends on the seed and the step alone. */
#include <string.h>

#include "train/run.h"

typedef struct gathered {
    char *text;
    size_t length, capacity;
    bool failed;
} gathered;

static bool gather(gathered *g, const char *text, size_t length)
{
    if (g->length + length + 1 > g->capacity) {
        size_t capacity = 2 * (g->length + length + 1);
        char *grown = kr_realloc(g->text, capacity, 1);
        if (!grown) return g->failed = true, false;
        g->text = grown;
        g->capacity = capacity;
    }
    memcpy(g->text + g->length, text, length);
    g->length += length;
    g->text[g->length] = 0;
    return true;
}

static bool on_piece(void *user, const krait_piece *piece) { return gather(user, piece->text, piece->text_length); }

/* What it begins with: the separator, with which documents begin, and the prompt's tokens. */
static krait_status make_prompt(const krait_training *t, int32_t **ids, size_t *n, krait_error *error)
{
    const char *prompt = t->settings->values.sample.prompt;
    int32_t separator = krait_token_file_get_info(t->data.train)->separator, *own = NULL;
    size_t n_own = 0;
    krait_status status = KRAIT_OK;
    if (separator < 0) separator = t->data.config.bos_id;
    if (prompt) status = krait_tokenizer_encode(t->data.tokenizer, prompt, strlen(prompt), NULL, &own, &n_own, error);
    if (status) return status;
    *n = n_own + (separator >= 0);
    *ids = kr_alloc(*n + 1, sizeof **ids);
    if (*ids && separator >= 0) **ids = separator;
    if (*ids && n_own) memcpy(*ids + (separator >= 0), own, n_own * sizeof *own);
    if (*ids && !*n) (*ids)[(*n)++] = 0; /* something must be there to go on from */
    krait_free(own);
    return *ids ? KRAIT_OK : kr_fail_memory(error, "a prompt", n_own);
}

krait_status kr_run_sample(krait_training *t, char **text, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_session *session = NULL;
    krait_state *state = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    gathered g = { 0 };
    krait_session_options how = { .threads = krait_trainer_threads(t->trainer), .isa = krait_trainer_isa(t->trainer) };
    krait_generate_options options = { .sampling = { .temperature = (float)v->sample.temperature,
                                                     .seed = v->seed + t->position.step },
                                       .max_tokens = v->sample.tokens,
                                       .on_piece = on_piece,
                                       .user = &g };
    *text = NULL;
    krait_status status = make_prompt(t, &ids, &n, error);
    if (!status && v->sample.prompt && !gather(&g, v->sample.prompt, strlen(v->sample.prompt)))
        status = kr_fail_memory(error, "a sample", n);
    if (!status) status = krait_session_create(&session, krait_trainer_model(t->trainer), &how, error);
    if (!status) status = krait_state_create(&state, krait_trainer_model(t->trainer), error);
    if (!status) status = krait_generate(session, state, t->data.tokenizer, ids, n, &options, NULL, error);
    if (!status && (g.failed || (!g.text && !gather(&g, "", 0)))) status = kr_fail_memory(error, "a sample", g.capacity);
    krait_state_free(state);
    krait_session_free(session);
    kr_free(ids);
    if (status)
        kr_free(g.text);
    else
        *text = g.text;
    return status;
}
