/* krait_generate() over a model that foretells a script, and a tokenizer of few words: what is drawn, shown, held back, and
 * where it ends. Real models: test_generate_models.c. */
#define krait_generate        generate
#define krait_finish_name     finish_name
#define krait_run             script_run
#define krait_session_model   script_model
#define krait_model_config    script_config
#define krait_state_tokens    script_tokens
#define krait_tokenizer_token words_token
#define krait_decoder_create  words_decoder_create
#define krait_decoder_free    words_decoder_free
#define krait_decoder_push    words_decoder_push
#define krait_decoder_flush   words_decoder_flush

#include "generate/generation.c"

#include "generate/generate.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- the model: after n tokens, script[n] is the most probable ---------------------------------------------------- */

enum { VOCAB = 12, EOS = 11, STEP = 4 };

static int32_t script[16];
static krait_model model = { .config = { .vocab_size = VOCAB, .eos_id = EOS } };
static krait_session session = { .memory.max_tokens = STEP };

/* What was run, one line per call: "1,2,3 last". */
static char runs[1024];
static size_t fail_at; /* the call that fails, from 1; 0: none */
static size_t n_runs;

const krait_model *script_model(const krait_session *s)
{
    assert_ptr_equal(s, &session);
    return &model;
}

const krait_config *script_config(const krait_model *m) { return &m->config; }
uint64_t script_tokens(const krait_state *s) { return s->tokens; }

krait_status script_run(krait_session *s, const krait_sequence *sequence, size_t n, const krait_outputs *outputs,
                        krait_error *error)
{
    assert_ptr_equal(s, &session);
    assert_int_equal(n, 1);
    if (++n_runs == fail_at) return kr_fail(error, KRAIT_ERROR_MEMORY, "script");
    char *end = runs + strlen(runs);
    for (size_t i = 0; i < sequence->count; i++) end += sprintf(end, "%d ", sequence->tokens[i]);
    sprintf(end, "%s;", sequence->want == KRAIT_WANT_LAST ? "last" : "none");
    sequence->state->tokens += sequence->count;
    if (sequence->want == KRAIT_WANT_LAST)
        for (size_t i = 0; i < VOCAB; i++) outputs->logits[i] = (int32_t)i == script[sequence->state->tokens] ? 3 : 0;
    return KRAIT_OK;
}

/* ---- the tokenizer: one word per id; 7 has no text, 9 and 10 are no tokens ---------------------------------------- */

static const char *const words[VOCAB] = { "a", "b", "ab", "\n", "stop", " s", "top", "", "\xc3", NULL, NULL, "<end>" };
static const krait_tokenizer *const tokenizer = (const krait_tokenizer *)words; /* never looked into */

const char *words_token(const krait_tokenizer *t, int32_t id, size_t *length)
{
    assert_ptr_equal(t, words);
    if (id < 0 || id >= VOCAB || !words[id]) return NULL;
    *length = strlen(words[id]);
    return words[id];
}

/* Keeps an unfinished character until the next push, as the real one does; eos has text if special tokens are kept. */
struct krait_decoder {
    char text[16];
    bool cut, keep_special;
};

krait_status words_decoder_create(krait_decoder **d, const krait_tokenizer *t, bool keep_special, krait_error *error)
{
    (void)t;
    *d = kr_alloc_zero(1, sizeof **d);
    if (!*d) return kr_fail_memory(error, "a decoder", sizeof **d);
    (*d)->keep_special = keep_special;
    return KRAIT_OK;
}

void words_decoder_free(krait_decoder *d) { kr_free(d); }

krait_status words_decoder_push(krait_decoder *d, int32_t id, const char **text, size_t *length, krait_error *error)
{
    (void)error;
    const char *word = id == EOS && !d->keep_special ? "" : words[id];
    bool cut = strcmp(word, "\xc3") == 0;
    *length = (size_t)sprintf(d->text, "%s%s", d->cut ? "\xef\xbf\xbd" : "", cut ? "" : word);
    d->cut = cut;
    *text = d->text;
    return KRAIT_OK;
}

krait_status words_decoder_flush(krait_decoder *d, const char **text, size_t *length, krait_error *error)
{
    (void)error;
    *text = d->cut ? "\xef\xbf\xbd" : "";
    *length = strlen(*text);
    d->cut = false;
    return KRAIT_OK;
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

static char shown[1024]; /* pieces: "id:text|" or "id:-|" without text */
static size_t n_shown, refuse_at;
static float last_logprob;

static bool show(void *user, const krait_piece *piece)
{
    assert_ptr_equal(user, &shown);
    char *end = shown + strlen(shown);
    if (piece->text)
        sprintf(end, "%d:%.*s|", piece->id, (int)piece->text_length, piece->text);
    else
        sprintf(end, "%d:-|", piece->id);
    last_logprob = piece->logprob;
    return ++n_shown != refuse_at;
}

static krait_generate_result result;
static krait_error error;
static krait_state state;

static krait_status call(const krait_tokenizer *t, const int32_t *prompt, size_t n_prompt, krait_generate_options options)
{
    *runs = *shown = '\0';
    n_runs = n_shown = 0;
    error = (krait_error){ 0 };
    options.on_piece = show;
    options.user = &shown;
    return generate(&session, &state, t, prompt, n_prompt, &options, &result, &error);
}

static int reset(void **unused)
{
    (void)unused;
    state = (krait_state){ 0 };
    fail_at = refuse_at = 0;
    return 0;
}

#define IDS(...)    ((const int32_t[]){ __VA_ARGS__ })
#define SCRIPT(...) memcpy(script, IDS(__VA_ARGS__), sizeof IDS(__VA_ARGS__))
#define STOPS(...) \
    .stop = ((const char *const[]){ __VA_ARGS__ }), .n_stop = sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)
#define OPTIONS(...) ((krait_generate_options){ __VA_ARGS__ })

static void draws_until_max_tokens(void **unused)
{
    (void)unused;
    SCRIPT(-1, -1, 0, 1, 2, 3);
    assert_int_equal(call(tokenizer, IDS(5, 6), 2, OPTIONS(.max_tokens = 3)), KRAIT_OK);
    assert_string_equal(shown, "0:a|1:b|2:ab|");
    assert_int_equal(result.finish, KRAIT_FINISH_LENGTH);
    assert_int_equal(result.n_prompt, 2);
    assert_int_equal(result.n_generated, 3);
    assert_true(result.prefill_seconds >= 0 && result.decode_seconds >= 0);
    /* the last token is seen too, without logits */
    assert_string_equal(runs, "5 6 last;0 last;1 last;2 none;");
    /* and an empty prompt goes on there */
    assert_int_equal(call(tokenizer, NULL, 0, OPTIONS(.max_tokens = 1)), KRAIT_OK);
    assert_string_equal(runs, "last;3 none;");
    assert_string_equal(shown, "3:\n|");
}

static void ends_at_eos(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, EOS, 1);
    assert_int_equal(call(tokenizer, IDS(5), 1, OPTIONS(.keep_special = true)), KRAIT_OK);
    assert_string_equal(shown, "0:a|11:|");
    assert_int_equal(result.finish, KRAIT_FINISH_EOS);
    assert_int_equal(result.n_generated, 2);
    assert_int_equal(state.tokens, 3);
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(5), 1, OPTIONS(.max_tokens = 3, .ignore_eos = true, .keep_special = true)), KRAIT_OK);
    assert_string_equal(shown, "0:a|11:<end>|1:b|");
    assert_int_equal(result.finish, KRAIT_FINISH_LENGTH);
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(5), 1, OPTIONS(.max_tokens = 3, .ignore_eos = true)), KRAIT_OK);
    assert_string_equal(shown, "0:a|11:|1:b|");
}

static void ends_at_stop_ids(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 6, 1);
    assert_int_equal(call(tokenizer, IDS(5), 1, OPTIONS(.stop_ids = IDS(3, 6), .n_stop_ids = 2)), KRAIT_OK);
    assert_string_equal(shown, "0:a|6:|");
    assert_int_equal(result.finish, KRAIT_FINISH_STOP_ID);
    assert_string_equal(runs, "5 last;0 last;6 none;");
}

static void ends_at_stop_strings_across_tokens(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 5, 6, 1);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("x", "stop"))), KRAIT_OK);
    assert_string_equal(shown, "0:a|5: |6:|");
    assert_int_equal(result.finish, KRAIT_FINISH_STOP_STRING);
    assert_int_equal(result.stop_index, 1);
    assert_int_equal(result.n_generated, 3);
    assert_int_equal(state.tokens, 4);
    /* inside a token: what follows is dropped */
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("to"))), KRAIT_OK);
    assert_string_equal(shown, "0:a|5: s|6:|");
    /* before the end: of the last token allowed, the stop is what is told */
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("stop"), .max_tokens = 3)), KRAIT_OK);
    assert_int_equal(result.finish, KRAIT_FINISH_STOP_STRING);
    /* the prompt's end does not count */
    reset(NULL);
    SCRIPT(-1, 6, 1);
    assert_int_equal(call(tokenizer, IDS(5), 1, OPTIONS(STOPS("stop"), .max_tokens = 2)), KRAIT_OK);
    assert_string_equal(shown, "6:top|1:b|");
}

static void held_back_text_comes_at_the_end(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 5, EOS);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("stop"))), KRAIT_OK);
    assert_string_equal(shown, "0:a|5: |11:|-1:s|");
    assert_int_equal(result.finish, KRAIT_FINISH_EOS);
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("stop"), .max_tokens = 2)), KRAIT_OK);
    assert_string_equal(shown, "0:a|5: |-1:s|");
    /* a character that stayed unfinished */
    reset(NULL);
    SCRIPT(-1, 0, 8, EOS);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(0)), KRAIT_OK);
    assert_string_equal(shown, "0:a|8:|11:|-1:\xef\xbf\xbd|");
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("a", "\xef\xbf\xbd"), .max_tokens = 9)), KRAIT_OK);
    assert_int_equal(result.stop_index, 0);
    /* it may still be a stop string */
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("\xef\xbf\xbd"))), KRAIT_OK);
    assert_string_equal(shown, "0:a|8:|11:|");
    assert_int_equal(result.finish, KRAIT_FINISH_STOP_STRING);
}

static void callback_stops(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 5, 1, 1);
    refuse_at = 2;
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(STOPS("stop"))), KRAIT_OK);
    assert_string_equal(shown, "0:a|5: |"); /* nothing after false, not even what was held back */
    assert_int_equal(result.finish, KRAIT_FINISH_CALLBACK);
    assert_int_equal(result.n_generated, 2);
    assert_string_equal(runs, "2 last;0 last;5 none;");
}

static void no_tokenizer_no_text(void **unused)
{
    (void)unused;
    SCRIPT(-1, 9, 10, 7);
    assert_int_equal(call(NULL, IDS(2), 1, OPTIONS(.max_tokens = 3)), KRAIT_OK);
    assert_string_equal(shown, "9:-|10:-|7:-|");
    assert_int_equal(call(NULL, IDS(2), 1, OPTIONS(STOPS("a"))), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "stop: expected no strings without a tokenizer, found 1");
}

static void ids_without_a_token_are_never_drawn(void **unused)
{
    (void)unused;
    SCRIPT(-1, 9, 10, 7);
    krait_logit_bias bias[] = { { 9, 100 }, { 4, 1 } };
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(.max_tokens = 3, .sampling = { .logit_bias = bias, .n_logit_bias = 2 })),
                     KRAIT_OK);
    assert_string_equal(shown, "4:stop|4:stop|7:|");
}

static void logprobs_are_those_of_the_model(void **unused)
{
    (void)unused;
    const float expected = 3 - logf(expf(3) + VOCAB - 1);
    SCRIPT(-1, 0, 1);
    const krait_sampling odd = { .temperature = 3, .top_k = 1, .repetition_penalty = 1.1f };
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(.max_tokens = 1, .logprobs = true, .sampling = odd)), KRAIT_OK);
    assert_true(fabsf(last_logprob - expected) < 1e-5f);
    reset(NULL);
    assert_int_equal(call(tokenizer, IDS(2), 1, OPTIONS(.max_tokens = 1)), KRAIT_OK);
    assert_true(last_logprob == 0);
}

static void history_begins_with_the_prompt(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 0, 0, 0);
    assert_int_equal(call(tokenizer, IDS(0), 1, OPTIONS(.max_tokens = 3, .sampling = { .presence_penalty = 5 })), KRAIT_OK);
    assert_string_equal(shown, "1:b|2:ab|3:\n|");
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

static char heard[256];

static bool hear(void *user, const char *what, uint64_t done, uint64_t total)
{
    assert_string_equal(what, "reading the prompt");
    sprintf(heard + strlen(heard), "%d/%d ", (int)done, (int)total);
    return !user || done < *(const uint64_t *)user;
}

static void prompt_is_read_in_steps(void **unused)
{
    (void)unused;
    *heard = '\0';
    SCRIPT(0, 0, 0, 0, 0, 0, 0, 0, 0, EOS);
    assert_int_equal(call(tokenizer, IDS(0, 1, 2, 3, 4, 5, 6, 7, 8), 9, OPTIONS(.progress = { hear, NULL })), KRAIT_OK);
    assert_string_equal(runs, "0 1 2 3 none;4 5 6 7 none;8 last;11 none;");
    assert_string_equal(heard, "4/9 8/9 9/9 ");
    reset(NULL);
    *heard = '\0';
    uint64_t until = 8;
    assert_int_equal(call(tokenizer, IDS(0, 1, 2, 3, 4, 5, 6, 7, 8), 9, OPTIONS(.progress = { hear, &until })),
                     KRAIT_ERROR_INTERRUPTED);
    assert_string_equal(error.message, "interrupted after 8 of 9 tokens of the prompt");
    assert_string_equal(shown, "");
    assert_int_equal(state.tokens, 8);
    assert_int_equal(result.n_prompt, 0);
}

static void refuses(krait_generate_options options, const char *message)
{
    state.tokens = 1;
    assert_int_equal(call(tokenizer, IDS(0), 1, options), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, message);
    assert_string_equal(runs, "");
}

static void bad_arguments_are_refused_before_anything_runs(void **unused)
{
    (void)unused;
    assert_int_equal(call(tokenizer, NULL, 0, OPTIONS(0)), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message,
                        "prompt: expected at least one token to begin with, found none, and a state that has seen none");
    assert_int_equal(call(tokenizer, NULL, 3, OPTIONS(0)), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "prompt: expected 3 ids, found NULL");
    assert_int_equal(call(tokenizer, IDS(0, 1, 12), 3, OPTIONS(0)), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "prompt[2]: expected an id in 0 .. 11, found 12");
    assert_int_equal(call(tokenizer, IDS(-5), 1, OPTIONS(0)), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "prompt[0]: expected an id in 0 .. 11, found -5");
    refuses(OPTIONS(.stop_ids = IDS(3, 99), .n_stop_ids = 2), "stop_ids[1]: expected an id in 0 .. 11, found 99");
    refuses(OPTIONS(STOPS("a", "")), "stop[1]: expected a string, found an empty one");
    refuses(OPTIONS(.n_stop = 1), "stop: expected 1 strings, found NULL");
    refuses(OPTIONS(.sampling.top_p = 2), "top_p: expected a number from 0 to 1, found 2");
    refuses(OPTIONS(.sampling.n_logit_bias = 1), "logit_bias: expected 1 entries, found NULL");
    krait_logit_bias bias = { 12, 0 };
    refuses(OPTIONS(.sampling = { .logit_bias = &bias, .n_logit_bias = 1 }),
            "logit_bias[0].id: expected an id in 0 .. 11, found 12");
    assert_int_equal(generate(NULL, &state, tokenizer, IDS(0), 1, NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(generate(&session, NULL, tokenizer, IDS(0), 1, NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
    /* nobody could end this */
    krait_generate_options endless = { .ignore_eos = true };
    assert_int_equal(generate(&session, &state, tokenizer, IDS(0), 1, &endless, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "max_tokens: expected 1 or more where nothing else can end the text, found 0");
}

static void options_and_result_may_be_null(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, EOS);
    assert_int_equal(generate(&session, &state, tokenizer, IDS(0), 1, NULL, NULL, &error), KRAIT_OK);
    assert_int_equal(state.tokens, 3);
}

static void failures_are_passed_on(void **unused)
{
    (void)unused;
    SCRIPT(-1, 0, 5, EOS);
    for (fail_at = 1; fail_at <= 4; fail_at++) {
        state.tokens = 0;
        assert_int_equal(call(tokenizer, IDS(0), 1, OPTIONS(STOPS("stop"))), KRAIT_ERROR_MEMORY);
        assert_string_equal(error.message, "script");
        assert_int_equal(result.n_generated, 0);
    }
}

static void finishes_have_names(void **unused)
{
    (void)unused;
    assert_string_equal(finish_name(KRAIT_FINISH_LENGTH), "length");
    assert_string_equal(finish_name(KRAIT_FINISH_EOS), "eos");
    assert_string_equal(finish_name(KRAIT_FINISH_STOP_ID), "stop_id");
    assert_string_equal(finish_name(KRAIT_FINISH_STOP_STRING), "stop_string");
    assert_string_equal(finish_name(KRAIT_FINISH_CALLBACK), "callback");
    assert_string_equal(finish_name((krait_finish)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(draws_until_max_tokens, reset),
        cmocka_unit_test_setup(ends_at_eos, reset),
        cmocka_unit_test_setup(ends_at_stop_ids, reset),
        cmocka_unit_test_setup(ends_at_stop_strings_across_tokens, reset),
        cmocka_unit_test_setup(held_back_text_comes_at_the_end, reset),
        cmocka_unit_test_setup(callback_stops, reset),
        cmocka_unit_test_setup(no_tokenizer_no_text, reset),
        cmocka_unit_test_setup(ids_without_a_token_are_never_drawn, reset),
        cmocka_unit_test_setup(logprobs_are_those_of_the_model, reset),
        cmocka_unit_test_setup(history_begins_with_the_prompt, reset),
        cmocka_unit_test_setup(prompt_is_read_in_steps, reset),
        cmocka_unit_test_setup(bad_arguments_are_refused_before_anything_runs, reset),
        cmocka_unit_test_setup(options_and_result_may_be_null, reset),
        cmocka_unit_test_setup(failures_are_passed_on, reset),
        cmocka_unit_test(finishes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
