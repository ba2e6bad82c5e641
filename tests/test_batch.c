/* krait_batch: every row gets what krait_generate() would give it, bit for bit, whatever the others do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { MOST = 64, REQUESTS = 24, LONGEST = 700 };

static krait_error error;

/* What one request gave. Log-probabilities show the logits' last bits, which ids do not. */
typedef struct heard {
    int32_t ids[MOST];
    float logprobs[MOST];
    size_t n, refuse_at;
    char text[16 * MOST];
    size_t length;
    krait_generate_result result;
    krait_error error;
    int ended;
} heard;

static bool hear(void *user, const krait_piece *piece)
{
    heard *h = user;
    assert_int_equal(h->ended, 0);
    if (piece->id >= 0) {
        assert_true(h->n < MOST);
        h->ids[h->n] = piece->id;
        h->logprobs[h->n++] = piece->logprob;
    }
    if (piece->text) memcpy(h->text + h->length, piece->text, piece->text_length);
    h->length += piece->text_length;
    h->text[h->length] = '\0';
    return h->n != h->refuse_at;
}

static void note_end(void *user, const krait_generate_result *result, const krait_error *why)
{
    heard *h = user;
    h->ended++;
    h->result = *result;
    if (why) h->error = *why;
}

static void assert_same(const heard *found, const heard *expected, size_t request)
{
    if (found->ended != 1 || found->n != expected->n || memcmp(found->ids, expected->ids, found->n * sizeof *found->ids) != 0)
        fail_msg("request %zu: other ids", request);
    if (memcmp(found->logprobs, expected->logprobs, found->n * sizeof *found->logprobs) != 0)
        fail_msg("request %zu: the same ids from other logits", request);
    assert_string_equal(found->text, expected->text);
    assert_int_equal(found->result.finish, expected->result.finish);
    assert_int_equal(found->result.n_prompt, expected->result.n_prompt);
    assert_int_equal(found->result.n_generated, expected->result.n_generated);
}

/* ---- the requests: prompts and texts of many lengths, among them those that cross a step's and a chunk's end ------ */

static const size_t lengths[REQUESTS] = { 1,   5,   128, 129, 3,  300, 641, 17,  140, 2,  200, 65,
                                          513, 127, 1,   64,  65, 33,  2,   130, 9,   40, 33,  100 };

static void make_prompt(int32_t *prompt, size_t n, size_t request, int32_t vocab_size)
{
    for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)((i * i * 7 + i * 31 + request * 13 + 1) % (size_t)vocab_size);
}

static krait_generate_options options_of(size_t request, heard *h)
{
    return (krait_generate_options){ .max_tokens = 1 + request * 5 % 37,
                                     .logprobs = true,
                                     .ignore_eos = true,
                                     .on_piece = hear,
                                     .user = h,
                                     .sampling = { .temperature = request % 3 ? 0.9f : 0,
                                                   .top_p = 0.95f,
                                                   .presence_penalty = request % 2 ? 0.5f : 0,
                                                   .seed = request } };
}

/* Runs all requests `rows` at a time, and compares each with what it gives alone. */
static void compare(krait_session *session, const heard *expected, size_t rows, bool backwards)
{
    const int32_t vocab_size = (int32_t)krait_model_config(krait_session_model(session))->vocab_size;
    heard *found = calloc(REQUESTS, sizeof *found);
    int32_t prompt[LONGEST];
    krait_batch *batch;
    size_t next = 0, steps = 0;
    assert_non_null(found);
    assert_ok(krait_batch_create(&batch, session, rows, &error));
    while (next < REQUESTS || krait_batch_free_rows(batch) < krait_batch_rows(batch)) {
        for (; next < REQUESTS && krait_batch_free_rows(batch); next++) {
            size_t r = backwards ? REQUESTS - 1 - next : next;
            krait_generate_options options = options_of(r, &found[r]);
            make_prompt(prompt, lengths[r], r, vocab_size);
            krait_batch_request request = { .prompt = prompt, .n_prompt = lengths[r], .options = &options, .on_end = note_end };
            assert_ok(krait_batch_add(batch, &request, &error));
            memset(prompt, 0xff, sizeof prompt); /* it was copied */
            memset(&options, 0xff, sizeof options);
        }
        assert_ok(krait_batch_step(batch, &error));
        assert_true(++steps < 10000);
    }
    for (size_t r = 0; r < REQUESTS; r++) assert_same(&found[r], &expected[r], r);
    krait_batch_free(batch);
    free(found);
}

static void compare_all(const char *folder, krait_weight_type type, size_t chunk, const size_t *rows, size_t n_rows)
{
    krait_model *model;
    krait_session *session;
    krait_state *state;
    int32_t prompt[LONGEST];
    heard *expected = calloc(REQUESTS, sizeof *expected);
    assert_non_null(expected);
    assert_ok(krait_model_load(&model, folder, &(krait_load_options){ .type = type }, &error));
    krait_session_options options = { .threads = chunk ? 2 : 1, .chunk_tokens = chunk };
    assert_ok(krait_session_create(&session, model, &options, &error));
    assert_ok(krait_state_create(&state, model, &error));
    for (size_t r = 0; r < REQUESTS; r++) {
        krait_generate_options alone = options_of(r, &expected[r]);
        make_prompt(prompt, lengths[r], r, (int32_t)krait_model_config(model)->vocab_size);
        krait_state_reset(state);
        assert_ok(krait_generate(session, state, NULL, prompt, lengths[r], &alone, &expected[r].result, &error));
    }
    for (size_t i = 0; i < n_rows; i++) compare(session, expected, rows[i], i % 2);
    krait_state_free(state);
    krait_session_free(session);
    krait_model_free(model);
    free(expected);
}

static void rows_do_not_depend_on_their_neighbours(void **unused)
{
    (void)unused;
    static const char *const models[] = { "tiny", "odd", "falcon", "wide", "bf16-sharded" };
    static const size_t many[] = { 1, 3, 16, 24 }, two[] = { 3, 16 }, one[] = { 16 };
    compare_all(KRAIT_MODELS "/text-small", KRAIT_WEIGHT_F32, 0, one, 1);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char path[512];
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/models/%s", models[m]);
        compare_all(path, KRAIT_WEIGHT_F32, 0, m == 0 ? many : one, m == 0 ? 4 : 1);
        for (int type = KRAIT_WEIGHT_F16; m == 0 && type <= KRAIT_WEIGHT_Q6; type++)
            compare_all(path, (krait_weight_type)type, 0, two, 2);
        if (m == 0) compare_all(path, KRAIT_WEIGHT_F32, 64, one, 1);
    }
}

/* ---- one small model for the rest -------------------------------------------------------------------------------- */

static krait_model *model;
static krait_session *session;

static int open_tiny(void **unused)
{
    (void)unused;
    assert_ok(krait_model_load(&model, KRAIT_TEST_DATA "/models/tiny", NULL, &error));
    assert_ok(krait_session_create(&session, model, &(krait_session_options){ .threads = 1 }, &error));
    return 0;
}

static int close_tiny(void **unused)
{
    (void)unused;
    krait_session_free(session);
    krait_model_free(model);
    return 0;
}

static const int32_t ids[] = { 1, 2, 3, 4, 5 };

static void run_out(krait_batch *batch)
{
    while (krait_batch_free_rows(batch) < krait_batch_rows(batch)) assert_ok(krait_batch_step(batch, &error));
}

static void a_row_goes_on_from_a_state(void **unused)
{
    (void)unused;
    krait_state *state, *from;
    krait_batch *batch;
    heard alone[2] = { 0 }, found[3] = { 0 };
    krait_generate_options options = options_of(4, NULL);
    assert_ok(krait_state_create(&state, model, &error));
    options.user = &alone[0];
    assert_ok(krait_generate(session, state, NULL, ids, 5, &options, &alone[0].result, &error));
    krait_state_reset(state);
    assert_ok(krait_run(session, &(krait_sequence){ .state = state, .tokens = ids, .count = 3 }, 1, NULL, &error));
    assert_ok(krait_state_clone(&from, state, &error));
    options.user = &alone[1];
    assert_ok(krait_generate(session, state, NULL, NULL, 0, &options, &alone[1].result, &error));
    /* two in one batch from the same state, and one that has nothing to read */
    assert_ok(krait_batch_create(&batch, session, 3, &error));
    for (size_t i = 0; i < 3; i++) {
        options.user = &found[i];
        krait_batch_request request = {
            .from = from, .prompt = i < 2 ? ids + 3 : NULL, .n_prompt = i < 2 ? 2 : 0, .options = &options, .on_end = note_end
        };
        assert_ok(krait_batch_add(batch, &request, &error));
    }
    run_out(batch);
    alone[0].result.n_prompt = 2;
    assert_same(&found[0], &alone[0], 0);
    assert_same(&found[1], &alone[0], 1);
    assert_same(&found[2], &alone[1], 2);
    assert_int_equal(krait_state_tokens(from), 3); /* it was copied */
    krait_batch_free(batch);
    krait_state_free(state);
    krait_state_free(from);
}

/* A chain of requests, each added when the one before ends. */
typedef struct chain {
    heard heard; /* first: on_piece sees it as one */
    krait_batch *batch;
    size_t left;
} chain;

static void add_next(void *user, const krait_generate_result *result, const krait_error *why)
{
    chain *c = user;
    assert_null(why);
    assert_int_equal(result->n_generated, 4);
    if (c->left-- == 0) return;
    krait_generate_options options = { .max_tokens = 4, .ignore_eos = true, .on_piece = hear, .user = c };
    krait_batch_request request = { .prompt = ids, .n_prompt = 1 + c->left % 5, .options = &options, .on_end = add_next };
    assert_ok(krait_batch_add(c->batch, &request, &error));
}

static void the_next_may_be_added_at_the_end_of_the_last(void **unused)
{
    (void)unused;
    chain chains[2] = { { .left = 3 }, { .left = 10 } };
    krait_batch *batch;
    assert_ok(krait_batch_create(&batch, session, 2, &error));
    for (size_t i = 0; i < 2; i++) {
        chains[i].batch = batch;
        chains[i].left++;
        add_next(&chains[i], &(krait_generate_result){ .n_generated = 4 }, NULL);
    }
    run_out(batch);
    assert_int_equal(chains[0].heard.n, 16);
    assert_int_equal(chains[1].heard.n, 44);
    krait_batch_free(batch);
}

static void one_row_fails_alone(void **unused)
{
    (void)unused;
    krait_batch *batch;
    heard good = { 0 }, bad = { 0 }, stopped = { .refuse_at = 3 };
    krait_logit_bias bias[256];
    for (int i = 0; i < 256; i++) bias[i] = (krait_logit_bias){ i, -INFINITY };
    krait_generate_options options = { .max_tokens = 5, .ignore_eos = true, .on_piece = hear, .user = &bad };
    krait_batch_request request = { .prompt = ids, .n_prompt = 5, .options = &options, .on_end = note_end };
    assert_ok(krait_batch_create(&batch, session, 3, &error));
    options.sampling.logit_bias = bias;
    options.sampling.n_logit_bias = 256;
    assert_ok(krait_batch_add(batch, &request, &error));
    options.sampling.n_logit_bias = 0;
    options.user = &good;
    assert_ok(krait_batch_add(batch, &request, &error));
    options.user = &stopped;
    assert_ok(krait_batch_add(batch, &request, &error));
    run_out(batch);
    assert_int_equal(bad.ended, 1);
    assert_int_equal(bad.error.status, KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(bad.error.message, "expected a token that can be drawn"));
    assert_int_equal(bad.result.n_generated, 0);
    assert_int_equal(good.ended, 1);
    assert_int_equal(good.n, 5);
    assert_int_equal(stopped.ended, 1);
    assert_int_equal(stopped.n, 3);
    assert_int_equal(stopped.result.finish, KRAIT_FINISH_CALLBACK);
    krait_batch_free(batch);
}

static void bad_arguments_are_refused(void **unused)
{
    (void)unused;
    krait_batch *batch;
    assert_int_equal(krait_batch_create(&batch, NULL, 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_create(NULL, session, 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_create(&batch, session, 0, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_create(&batch, session, 129, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "batch: rows: expected 1 .. 128, found 129");
    assert_null(batch);
    assert_int_equal(krait_batch_step(NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_add(NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_rows(NULL), 0);
    krait_batch_free(NULL);

    assert_ok(krait_batch_create(&batch, session, 1, &error));
    assert_ok(krait_batch_step(batch, &error)); /* nothing to do */
    krait_generate_options options = { .max_tokens = 2 };
    krait_batch_request request = { .prompt = ids, .n_prompt = 0, .options = &options };
    assert_int_equal(krait_batch_add(batch, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_batch_add(batch, &request, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "prompt: expected at least one token"));
    request.prompt = (const int32_t[]){ 256 };
    request.n_prompt = 1;
    assert_int_equal(krait_batch_add(batch, &request, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "prompt[0]: expected an id in 0 .. 255, found 256");
    assert_int_equal(krait_batch_free_rows(batch), 1); /* none of them took the row */
    request.prompt = ids;
    assert_ok(krait_batch_add(batch, &request, &error));
    assert_int_equal(krait_batch_add(batch, &request, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "krait_batch_add: expected a free row, found all 1 at work");
    krait_batch_free(batch); /* with a row at work */
}

#ifdef KRAIT_HAVE_TEXT

static void stop_strings_and_ids_are_copied(void **unused)
{
    (void)unused;
    krait_model *text_model;
    krait_session *text_session;
    krait_state *state;
    krait_tokenizer *tokenizer;
    krait_batch *batch;
    heard alone = { 0 }, found = { 0 };
    assert_ok(krait_model_load(&text_model, KRAIT_MODELS "/text-small", NULL, &error));
    assert_ok(krait_session_create(&text_session, text_model, NULL, &error));
    assert_ok(krait_state_create(&state, text_model, &error));
    assert_ok(krait_tokenizer_load(&tokenizer, KRAIT_MODELS "/text-small", &error));
    char stop[] = "e";
    const char *stops[] = { stop };
    int32_t stop_ids[] = { 3 };
    krait_generate_options options = { .stop = stops, .n_stop = 1, .stop_ids = stop_ids, .n_stop_ids = 1, .on_piece = hear };
    options.max_tokens = MOST;
    options.user = &alone;
    assert_ok(krait_generate(text_session, state, tokenizer, ids, 5, &options, &alone.result, &error));
    options.user = &found;
    assert_ok(krait_batch_create(&batch, text_session, 2, &error));
    krait_batch_request request = {
        .tokenizer = tokenizer, .prompt = ids, .n_prompt = 5, .options = &options, .on_end = note_end
    };
    assert_ok(krait_batch_add(batch, &request, &error));
    stop[0] = 'z';
    stops[0] = NULL;
    stop_ids[0] = 0;
    run_out(batch);
    assert_same(&found, &alone, 0);
    krait_batch_free(batch);
    krait_tokenizer_free(tokenizer);
    krait_state_free(state);
    krait_session_free(text_session);
    krait_model_free(text_model);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(a_row_goes_on_from_a_state),
        cmocka_unit_test(the_next_may_be_added_at_the_end_of_the_last),
        cmocka_unit_test(one_row_fails_alone),
        cmocka_unit_test(bad_arguments_are_refused),
#ifdef KRAIT_HAVE_TEXT
        cmocka_unit_test(stop_strings_and_ids_are_copied),
#endif
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
