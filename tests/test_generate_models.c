/* krait_generate() with real models: the reference's greedy texts, going on, rolling back, seeds, and text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { MOST = 400, DRAWN = 30 };

static krait_error error;

/* What a generation gave. */
typedef struct heard {
    int32_t ids[MOST];
    size_t n;
    char text[8 * MOST];
    size_t length;
    size_t refuse_at;
} heard;

static bool hear(void *user, const krait_piece *piece)
{
    heard *h = user;
    if (piece->id >= 0) h->ids[h->n++] = piece->id;
    if (piece->text) memcpy(h->text + h->length, piece->text, piece->text_length);
    h->length += piece->text_length;
    h->text[h->length] = '\0';
    return h->n != h->refuse_at;
}

typedef struct engine {
    krait_model *model;
    krait_session *session;
    krait_state *state;
    krait_tokenizer *tokenizer; /* NULL: none */
} engine;

static engine open_engine(const char *folder, const krait_session_options *options)
{
    engine e = { 0 };
    assert_ok(krait_model_load(&e.model, folder, NULL, &error));
    const krait_session_options one = { .threads = 1 };
    assert_ok(krait_session_create(&e.session, e.model, options ? options : &one, &error));
    assert_ok(krait_state_create(&e.state, e.model, &error));
    return e;
}

static void close_engine(engine *e)
{
    krait_tokenizer_free(e->tokenizer);
    krait_state_free(e->state);
    krait_session_free(e->session);
    krait_model_free(e->model);
}

/* Goes on from the engine's state. */
static krait_generate_result go_on(const engine *e, const int32_t *prompt, size_t n, krait_generate_options options, heard *h)
{
    krait_generate_result result;
    *h = (heard){ .refuse_at = h->refuse_at };
    options.on_piece = hear;
    options.user = h;
    assert_ok(krait_generate(e->session, e->state, e->tokenizer, prompt, n, &options, &result, &error));
    assert_int_equal(result.n_generated, h->n);
    return result;
}

static void greedy_matches_the_reference(void **unused)
{
    (void)unused;
    static const char *const names[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, names[m]);
        engine e = open_engine(path, NULL);
        krait_checkpoint *file = fixture_open(path, "expected.safetensors");
        size_t n_ids, n_greedy;
        int32_t *ids = fixture_ids(file, "input_ids", &n_ids), *greedy = fixture_ids(file, "greedy", &n_greedy);
        for (size_t row = 0; row < 2; row++) {
            heard h = { 0 };
            krait_state_reset(e.state);
            go_on(&e, ids + row * n_ids / 2, 8, (krait_generate_options){ .max_tokens = n_greedy / 2, .ignore_eos = true }, &h);
            assert_memory_equal(h.ids, greedy + row * n_greedy / 2, n_greedy / 2 * sizeof *greedy);
            assert_int_equal(krait_state_tokens(e.state), 8 + n_greedy / 2);
        }
        free(ids);
        free(greedy);
        krait_checkpoint_free(file);
        close_engine(&e);
    }
}

static void greedy_text_small_matches_the_reference(void **unused)
{
    (void)unused;
    engine e = open_engine(KRAIT_MODELS "/text-small", NULL);
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/text-small", "expected.safetensors");
    size_t n_prompt, n_greedy;
    int32_t *prompt = fixture_ids(file, "prompt_ids", &n_prompt), *greedy = fixture_ids(file, "greedy", &n_greedy);
    heard h = { 0 };
    go_on(&e, prompt, n_prompt, (krait_generate_options){ .max_tokens = n_greedy }, &h);
    assert_memory_equal(h.ids, greedy, n_greedy * sizeof *greedy);
    free(prompt);
    free(greedy);
    krait_checkpoint_free(file);
    close_engine(&e);
}

static void greedy_protmamba_matches_the_reference(void **unused)
{
    (void)unused;
    NEEDS_BIG_DATA(path, "checkpoints/protmamba");
    engine e = open_engine(path, NULL);
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/protmamba", "expected.safetensors");
    size_t n;
    int32_t *greedy = fixture_ids(file, "greedy_from_cls", &n);
    heard h = { 0 };
    go_on(&e, (const int32_t[]){ 0 }, 1, (krait_generate_options){ .max_tokens = n }, &h);
    assert_memory_equal(h.ids, greedy, n * sizeof *greedy);
    free(greedy);
    free(path);
    krait_checkpoint_free(file);
    close_engine(&e);
}

static const int32_t prompt[20] = { 2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5, 2, 3, 5, 3 };
static const krait_generate_options sampled = { .max_tokens = DRAWN,
                                                .ignore_eos = true,
                                                .sampling = { .temperature = 0.9f, .top_p = 0.95f, .seed = 11 } };

static void an_empty_prompt_goes_on_where_the_last_call_ended(void **unused)
{
    (void)unused;
    engine e = open_engine(KRAIT_MODELS "/text-small", NULL);
    heard whole = { 0 }, part = { 0 };
    go_on(&e, prompt, 20, (krait_generate_options){ .max_tokens = 40, .ignore_eos = true }, &whole);
    krait_state_reset(e.state);
    for (size_t at = 0; at < 40; at += 8) {
        go_on(&e, prompt, at ? 0 : 20, (krait_generate_options){ .max_tokens = 8, .ignore_eos = true }, &part);
        assert_memory_equal(part.ids, whole.ids + at, 8 * sizeof *part.ids);
    }
    /* also when the callback ended it */
    krait_state_reset(e.state);
    part.refuse_at = 5;
    krait_generate_result result = go_on(&e, prompt, 20, (krait_generate_options){ .ignore_eos = true }, &part);
    assert_int_equal(result.finish, KRAIT_FINISH_CALLBACK);
    assert_int_equal(krait_state_tokens(e.state), 25);
    part.refuse_at = 35;
    go_on(&e, NULL, 0, (krait_generate_options){ .ignore_eos = true }, &part);
    assert_memory_equal(part.ids, whole.ids + 5, 35 * sizeof *part.ids);
    close_engine(&e);
}

static void a_clone_is_a_way_back(void **unused)
{
    (void)unused;
    engine e = open_engine(KRAIT_MODELS "/text-small", NULL);
    heard first = { 0 }, again = { 0 };
    krait_state *saved;
    go_on(&e, prompt, 20, sampled, &first);
    assert_ok(krait_state_clone(&saved, e.state, &error));
    go_on(&e, prompt, 3, sampled, &first);
    go_on(&e, prompt, 7, sampled, &again);
    assert_ok(krait_state_copy(e.state, saved, &error));
    go_on(&e, prompt, 3, sampled, &again);
    assert_memory_equal(again.ids, first.ids, DRAWN * sizeof *first.ids);
    krait_state_free(saved);
    close_engine(&e);
}

static void same_seed_same_text(void **unused)
{
    (void)unused;
    heard first = { 0 }, other = { 0 };
    for (krait_isa isa = KRAIT_ISA_AUTO; isa < KRAIT_N_ISAS; isa++) {
        if (isa != KRAIT_ISA_AUTO && !krait_isa_available(isa)) continue;
        for (int threads = 1; threads <= 2; threads++) {
            const krait_session_options options = { .isa = isa, .threads = threads, .chunk_tokens = threads == 1 ? 512 : 7 };
            engine e = open_engine(KRAIT_MODELS "/text-small", &options);
            go_on(&e, prompt, 20, sampled, first.n ? &other : &first);
            if (other.n && memcmp(first.ids, other.ids, DRAWN * sizeof *first.ids) != 0)
                fail_msg("%s, %d threads", krait_isa_name(isa), threads);
            close_engine(&e);
        }
    }
    engine e = open_engine(KRAIT_MODELS "/text-small", NULL);
    krait_generate_options seed_12 = sampled;
    seed_12.sampling.seed = 12;
    go_on(&e, prompt, 20, seed_12, &other);
    assert_memory_not_equal(first.ids, other.ids, DRAWN * sizeof *first.ids);
    close_engine(&e);
}

static void a_state_of_another_model_is_refused(void **unused)
{
    (void)unused;
    engine a = open_engine(KRAIT_TEST_DATA "/models/tiny", NULL), b = open_engine(KRAIT_TEST_DATA "/models/odd", NULL);
    krait_generate_options options = { .max_tokens = 1 };
    assert_int_equal(krait_generate(a.session, b.state, NULL, prompt, 5, &options, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_state_tokens(b.state), 0);
    close_engine(&a);
    close_engine(&b);
}

#ifdef KRAIT_HAVE_TEXT

static engine open_text(void)
{
    engine e = open_engine(KRAIT_MODELS "/text-small", NULL);
    assert_ok(krait_tokenizer_load(&e.tokenizer, KRAIT_MODELS "/text-small", &error));
    return e;
}

static void pieces_are_the_text_of_the_tokens(void **unused)
{
    (void)unused;
    engine e = open_text();
    heard h = { 0 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        krait_generate_options options = sampled;
        options.sampling = (krait_sampling){ .temperature = seed < 10 ? 1 : 30, .seed = seed }; /* hot ones cut characters */
        options.ignore_eos = false;
        krait_state_reset(e.state);
        krait_generate_result result = go_on(&e, prompt, 20, options, &h);
        krait_decoder *decoder;
        char expected[sizeof h.text];
        size_t used = 0, length;
        const char *text;
        assert_ok(krait_decoder_create(&decoder, e.tokenizer, false, &error));
        for (size_t i = 0; i < h.n - (result.finish == KRAIT_FINISH_EOS); i++) {
            assert_ok(krait_decoder_push(decoder, h.ids[i], &text, &length, &error));
            memcpy(expected + used, text, length);
            used += length;
        }
        assert_ok(krait_decoder_flush(decoder, &text, &length, &error));
        memcpy(expected + used, text, length);
        used += length;
        krait_decoder_free(decoder);
        assert_int_equal(h.length, used);
        assert_memory_equal(h.text, expected, used);
    }
    close_engine(&e);
}

static void text_ends_before_any_stop_string_wherever_tokens_are_cut(void **unused)
{
    (void)unused;
    engine e = open_text();
    heard whole = { 0 }, h = { 0 };
    go_on(&e, prompt, 20, sampled, &whole);
    for (size_t length = 1; length <= 12; length += 3)
        for (size_t at = 0; at + length <= whole.length; at += 11) {
            char stop[16] = { 0 };
            memcpy(stop, whole.text + at, length);
            const char *const stops[] = { "no such text", stop };
            krait_generate_options options = sampled;
            options.stop = stops;
            options.n_stop = 2;
            krait_state_reset(e.state);
            *h.text = '\0';
            if ((stop[0] & 0xc0) == 0x80 || (whole.text[at + length] & 0xc0) == 0x80) continue; /* half a character */
            krait_generate_result result = go_on(&e, prompt, 20, options, &h);
            size_t end = (size_t)(strstr(whole.text, stop) - whole.text);
            assert_int_equal(result.finish, KRAIT_FINISH_STOP_STRING);
            assert_int_equal(result.stop_index, 1);
            assert_int_equal(h.length, end);
            assert_memory_equal(h.text, whole.text, end);
            assert_int_equal(krait_state_tokens(e.state), 20 + result.n_generated);
        }
    close_engine(&e);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_matches_the_reference),
        cmocka_unit_test(greedy_text_small_matches_the_reference),
        cmocka_unit_test(greedy_protmamba_matches_the_reference),
        cmocka_unit_test(an_empty_prompt_goes_on_where_the_last_call_ended),
        cmocka_unit_test(a_clone_is_a_way_back),
        cmocka_unit_test(same_seed_same_text),
        cmocka_unit_test(a_state_of_another_model_is_refused),
#ifdef KRAIT_HAVE_TEXT
        cmocka_unit_test(pieces_are_the_text_of_the_tokens),
        cmocka_unit_test(text_ends_before_any_stop_string_wherever_tokens_are_cut),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
