/* krait_run(): however tokens are cut into calls, chunks and batches, results are those of one token after another. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { N = 75, MOST_VOCAB = 256 };

static krait_model *load(const char *name)
{
    char path[1024];
    krait_error error;
    krait_model *model;
    snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, name);
    assert_ok(krait_model_load(&model, path, NULL, &error));
    return model;
}

static void fill_ids(int32_t *ids, size_t n, int64_t vocab_size, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % (unsigned)vocab_size);
    }
}

static krait_session *open_session(const krait_model *model, int threads, size_t chunk)
{
    krait_error error;
    krait_session *session;
    assert_ok(
        krait_session_create(&session, model, &(krait_session_options){ .threads = threads, .chunk_tokens = chunk }, &error));
    return session;
}

static krait_state *new_state(const krait_model *model)
{
    krait_error error;
    krait_state *state;
    assert_ok(krait_state_create(&state, model, &error));
    return state;
}

static void run_one(krait_session *session, krait_state *state, const int32_t *ids, size_t n, krait_want want, float *logits)
{
    krait_error error;
    krait_sequence sequence = { .state = state, .tokens = ids, .count = n, .want = want };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
}

/* All tensors of two states, to a tolerance relative to each tensor's largest magnitude; 0 asks for the same bits. */
static void assert_same_state(const krait_state *found, const krait_state *expected, double tolerance)
{
    assert_int_equal(krait_state_tokens(found), krait_state_tokens(expected));
    for (size_t i = 0; i < krait_state_n_tensors(expected); i++) {
        krait_tensor_info info;
        krait_state_tensor(expected, i, &info);
        float *a = malloc(info.bytes + 1), *b = malloc(info.bytes + 1);
        krait_state_read(found, i, a);
        krait_state_read(expected, i, b);
        if (tolerance > 0)
            assert_close(info.name, a, b, info.bytes / sizeof(float), tolerance);
        else
            assert_memory_equal(a, b, info.bytes);
        free(a);
        free(b);
    }
}

static const double rounding = 2e-5;
static const char *const models[] = { "tiny", "odd", "wide", "falcon" };

static void any_chunks_equal_one_piece(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        krait_model *model = load(models[m]);
        size_t vocab = (size_t)krait_model_config(model)->vocab_size;
        int32_t ids[N];
        fill_ids(ids, N, (int64_t)vocab, 7);
        float *whole = malloc(N * vocab * sizeof *whole), *pieces = malloc(N * vocab * sizeof *pieces);
        krait_session *session = open_session(model, 1, 0);
        krait_state *expected = new_state(model), *state = new_state(model);
        run_one(session, expected, ids, N, KRAIT_WANT_ALL, whole);
        static const size_t chunks[] = { 1, 2, 7, 32, 74, 75, 76 };
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            krait_session *chunked = open_session(model, 1, chunks[c]); /* cut inside the call */
            krait_state_reset(state);
            run_one(chunked, state, ids, N, KRAIT_WANT_ALL, pieces);
            assert_close("logits", pieces, whole, N * vocab, rounding);
            assert_same_state(state, expected, rounding);
            krait_state_reset(state); /* and by the caller */
            for (size_t at = 0; at < N; at += chunks[c])
                run_one(session, state, ids + at, chunks[c] < N - at ? chunks[c] : N - at, KRAIT_WANT_ALL, pieces + at * vocab);
            assert_close("logits", pieces, whole, N * vocab, rounding);
            assert_same_state(state, expected, rounding);
            krait_session_free(chunked);
        }
        krait_state_free(expected);
        krait_state_free(state);
        krait_session_free(session);
        krait_model_free(model);
        free(whole);
        free(pieces);
    }
}

/* Prefill of several sequences, decode of others and empty ones in one call, against each alone. */
static void a_mixed_batch_equals_its_rows(void **unused)
{
    (void)unused;
    static const size_t counts[] = { 20, 1, 0, 1, 33, 3, 1 };
    enum { B = sizeof counts / sizeof *counts };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        krait_model *model = load(models[m]);
        size_t vocab = (size_t)krait_model_config(model)->vocab_size, total = 0;
        krait_session *session = open_session(model, 2, 0), *small = open_session(model, 1, 8);
        int32_t ids[N], warm[5];
        fill_ids(ids, N, (int64_t)vocab, 3);
        fill_ids(warm, 5, (int64_t)vocab, 4);
        krait_state *state[B], *alone[B], *chunked[B];
        krait_sequence batch[B], batch2[B];
        for (size_t i = 0; i < B; i++) {
            state[i] = new_state(model);
            alone[i] = new_state(model);
            chunked[i] = new_state(model);
            if (i % 2) { /* some have a past */
                run_one(session, state[i], warm, i % 5 + 1, KRAIT_WANT_NONE, NULL);
                krait_state_copy(alone[i], state[i], NULL);
                krait_state_copy(chunked[i], state[i], NULL);
            }
            batch[i] = (krait_sequence){ .state = state[i], .tokens = ids + total, .count = counts[i], .want = KRAIT_WANT_ALL };
            batch2[i] = batch[i];
            batch2[i].state = chunked[i];
            total += counts[i];
        }
        float *found = malloc(total * vocab * sizeof *found), *found2 = malloc(total * vocab * sizeof *found2),
              *expected = malloc(total * vocab * sizeof *expected);
        krait_error error;
        assert_int_equal(krait_outputs_rows(batch, B), total);
        assert_ok(krait_run(session, batch, B, &(krait_outputs){ .logits = found }, &error));
        assert_ok(krait_run(small, batch2, B, &(krait_outputs){ .logits = found2 }, &error));
        for (size_t i = 0, at = 0; i < B; at += counts[i++]) {
            run_one(session, alone[i], ids + at, counts[i], KRAIT_WANT_ALL, expected + at * vocab);
            assert_same_state(state[i], alone[i], rounding);
            assert_same_state(chunked[i], alone[i], rounding);
        }
        assert_close("logits", found, expected, total * vocab, rounding);
        assert_close("logits", found2, expected, total * vocab, rounding);
        for (size_t i = 0; i < B; i++) {
            krait_state_free(state[i]);
            krait_state_free(alone[i]);
            krait_state_free(chunked[i]);
        }
        free(found);
        free(found2);
        free(expected);
        krait_session_free(session);
        krait_session_free(small);
        krait_model_free(model);
    }
}

/* Decoding goes through our own kernels only, which sum in one order whatever the batch and the threads. */
static void a_decode_batch_gives_the_bits_of_its_rows(void **unused)
{
    (void)unused;
    enum { B = 5, STEPS = 6 };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        krait_model *model = load(models[m]);
        size_t vocab = (size_t)krait_model_config(model)->vocab_size;
        krait_session *one = open_session(model, 1, 0), *two = open_session(model, 2, 0);
        krait_state *state[B], *alone[B];
        int32_t ids[STEPS][B];
        fill_ids(ids[0], STEPS * B, (int64_t)vocab, 11);
        float *found = malloc(B * vocab * sizeof *found), *expected = malloc(vocab * sizeof *expected);
        for (size_t i = 0; i < B; i++) state[i] = new_state(model), alone[i] = new_state(model);
        for (size_t t = 0; t < STEPS; t++) {
            krait_sequence batch[B];
            krait_error error;
            for (size_t i = 0; i < B; i++)
                batch[i] = (krait_sequence){ .state = state[i], .tokens = &ids[t][i], .count = 1, .want = KRAIT_WANT_LAST };
            assert_ok(krait_run(two, batch, B, &(krait_outputs){ .logits = found }, &error));
            for (size_t i = 0; i < B; i++) {
                run_one(one, alone[i], &ids[t][i], 1, KRAIT_WANT_LAST, expected);
                assert_memory_equal(found + i * vocab, expected, vocab * sizeof *found);
                assert_same_state(state[i], alone[i], 0);
            }
        }
        for (size_t i = 0; i < B; i++) krait_state_free(state[i]), krait_state_free(alone[i]);
        free(found);
        free(expected);
        krait_session_free(one);
        krait_session_free(two);
        krait_model_free(model);
    }
}

static void the_same_call_gives_the_same_bits(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny");
    krait_session *session = open_session(model, 2, 0);
    krait_state *state = new_state(model), *again = new_state(model);
    int32_t ids[N];
    float a[MOST_VOCAB], b[MOST_VOCAB];
    fill_ids(ids, N, 256, 5);
    run_one(session, state, ids, N, KRAIT_WANT_LAST, a);
    for (int i = 0; i < 5; i++) {
        krait_state_reset(again);
        run_one(session, again, ids, N, KRAIT_WANT_LAST, b);
        assert_memory_equal(a, b, sizeof a);
        assert_same_state(again, state, 0);
    }
    krait_state_free(state);
    krait_state_free(again);
    krait_session_free(session);
    krait_model_free(model);
}

static void listed_rows_are_those_of_all(void **unused)
{
    (void)unused;
    krait_model *model = load("wide");
    size_t vocab = 64, d_model = (size_t)krait_model_config(model)->d_model;
    krait_session *session = open_session(model, 1, 16);
    krait_state *state[2] = { new_state(model), new_state(model) };
    int32_t ids[N];
    fill_ids(ids, N, (int64_t)vocab, 9);
    float *all = malloc(N * vocab * sizeof *all), *hidden_all = malloc(2 * N * d_model * sizeof *hidden_all);
    krait_sequence sequence = { .state = state[0], .tokens = ids, .count = N, .want = KRAIT_WANT_ALL };
    const int64_t layers[] = { 2, 0 };
    krait_error error;
    assert_ok(krait_run(session, &sequence, 1,
                        &(krait_outputs){ .logits = all, .hidden = hidden_all, .layers = layers, .n_layers = 2 }, &error));
    static const size_t rows[] = { 0, 15, 16, 40, 74 };
    enum { ROWS = sizeof rows / sizeof *rows };
    float some[ROWS * 64], hidden[2 * ROWS * 64];
    assert_true(d_model <= 64);
    sequence =
        (krait_sequence){ .state = state[1], .tokens = ids, .count = N, .want = KRAIT_WANT_LISTED, .rows = rows, .n_rows = ROWS };
    assert_int_equal(krait_outputs_rows(&sequence, 1), ROWS);
    assert_ok(krait_run(session, &sequence, 1,
                        &(krait_outputs){ .logits = some, .hidden = hidden, .layers = layers, .n_layers = 2 }, &error));
    for (size_t i = 0; i < ROWS; i++) {
        assert_close("logits", some + i * vocab, all + rows[i] * vocab, vocab, rounding);
        for (size_t l = 0; l < 2; l++)
            assert_close("hidden", hidden + (l * ROWS + i) * d_model, hidden_all + (l * N + rows[i]) * d_model, d_model,
                         rounding);
    }
    free(all);
    free(hidden_all);
    for (int i = 0; i < 2; i++) krait_state_free(state[i]);
    krait_session_free(session);
    krait_model_free(model);
}

/* No tokens, but outputs wanted: those of the last token that the state has seen. */
static void a_state_gives_its_last_logits_again(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny");
    krait_session *session = open_session(model, 1, 0);
    krait_state *state = new_state(model), *fresh = new_state(model);
    int32_t ids[N];
    float last[MOST_VOCAB], again[2 * MOST_VOCAB];
    fill_ids(ids, N, 256, 2);
    run_one(session, state, ids, N, KRAIT_WANT_LAST, last);
    run_one(session, state, NULL, 0, KRAIT_WANT_LAST, again);
    assert_memory_equal(last, again, sizeof last);
    assert_int_equal(krait_state_tokens(state), N);
    krait_sequence both[] = { { .state = state, .want = KRAIT_WANT_LAST },
                              { .state = fresh, .tokens = ids, .count = 3, .want = KRAIT_WANT_LAST } };
    krait_error error;
    assert_ok(krait_run(session, both, 2, &(krait_outputs){ .logits = again }, &error));
    assert_close("logits", again, last, MOST_VOCAB, rounding);
    krait_state_reset(fresh);
    krait_sequence none = { .state = fresh, .want = KRAIT_WANT_LAST };
    assert_int_equal(krait_run(session, &none, 1, &(krait_outputs){ .logits = again }, &error), KRAIT_ERROR_ARGUMENT);
    krait_state_free(state);
    krait_state_free(fresh);
    krait_session_free(session);
    krait_model_free(model);
}

static void a_refused_batch_changes_no_state(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny"), *other = load("wide");
    krait_session *session = open_session(model, 1, 0);
    krait_state *state = new_state(model), *second = new_state(model), *before = new_state(model), *foreign = new_state(other);
    int32_t good[] = { 1, 2, 3 }, high[] = { 1, 256 }, low[] = { -1 };
    run_one(session, state, good, 3, KRAIT_WANT_NONE, NULL);
    krait_state_copy(before, state, NULL);
    const size_t falling[] = { 1, 0 }, beyond[] = { 3 };
    const struct {
        krait_sequence bad;
        const char *says;
    } cases[] = {
        { { .state = second, .tokens = high, .count = 2 }, "sequence 1: token 1: expected an id in 0 .. 255, found 256" },
        { { .state = second, .tokens = low, .count = 1 }, "found -1" },
        { { .state = NULL, .tokens = good, .count = 1 }, "state is NULL" },
        { { .state = second, .count = 1 }, "tokens is NULL" },
        { { .state = state, .tokens = good, .count = 1 }, "also that of an earlier" },
        { { .state = foreign, .tokens = good, .count = 1 }, "another model" },
        { { .state = second, .tokens = good, .count = 3, .want = KRAIT_WANT_LISTED, .rows = falling, .n_rows = 2 }, "rows[1]" },
        { { .state = second, .tokens = good, .count = 3, .want = KRAIT_WANT_LISTED, .rows = beyond, .n_rows = 1 }, "rows[0]" },
        { { .state = second, .tokens = good, .count = 3, .want = (krait_want)9 }, "want" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_sequence batch[] = { { .state = state, .tokens = good, .count = 3 }, cases[i].bad };
        krait_error error;
        assert_int_equal(krait_run(session, batch, 2, NULL, &error), KRAIT_ERROR_ARGUMENT);
        if (!strstr(error.message, cases[i].says)) fail_msg("\"%s\" is not in \"%s\"", cases[i].says, error.message);
        assert_same_state(state, before, 0);
        assert_int_equal(krait_state_tokens(second), 0);
    }
    run_one(session, state, good, 3, KRAIT_WANT_NONE, NULL); /* the marks are gone */
    const int64_t layer = 4;
    krait_sequence one = { .state = state, .tokens = good, .count = 1, .want = KRAIT_WANT_LAST };
    float hidden[64];
    krait_error error;
    assert_int_equal(krait_run(session, &one, 1, &(krait_outputs){ .hidden = hidden, .layers = &layer, .n_layers = 1 }, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "layers[0]: expected 0 .. 3, found 4"));
    krait_state_free(state);
    krait_state_free(second);
    krait_state_free(before);
    krait_state_free(foreign);
    krait_session_free(session);
    krait_model_free(model);
    krait_model_free(other);
}

static void options_out_of_range_are_refused(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny");
    krait_session *session;
    krait_error error;
    assert_int_equal(krait_session_create(&session, model, &(krait_session_options){ .threads = -1 }, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_null(session);
    assert_int_equal(krait_session_create(&session, model, &(krait_session_options){ .chunk_tokens = (size_t)1 << 40 }, &error),
                     KRAIT_ERROR_ARGUMENT);
    krait_isa missing = krait_isa_available(KRAIT_ISA_NEON) ? KRAIT_ISA_AVX2 : KRAIT_ISA_NEON;
    assert_int_equal(krait_session_create(&session, model, &(krait_session_options){ .isa = missing }, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "plain"));
    setenv("KRAIT_ISA", "mmx", 1);
    assert_int_equal(krait_session_create(&session, model, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "mmx"));
    setenv("KRAIT_ISA", "plain", 1);
    assert_ok(krait_session_create(&session, model, NULL, &error));
    assert_int_equal(krait_session_isa(session), KRAIT_ISA_PLAIN);
    unsetenv("KRAIT_ISA");
    krait_session_free(session);
    krait_model_free(model);
}

/* The model's owner may let go first. */
static void a_session_keeps_its_model(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny");
    krait_session *session = open_session(model, 1, 0);
    krait_state *state = new_state(model);
    int32_t id = 1;
    krait_model_free(model);
    run_one(session, state, &id, 1, KRAIT_WANT_NONE, NULL);
    krait_session_free(session);
    krait_state_reset(state);
    krait_state_free(state);
}

static void long_inputs_need_no_more_memory(void **unused)
{
    (void)unused;
    krait_model *model = load("wide");
    krait_session *session = open_session(model, 1, 64);
    krait_state *state = new_state(model);
    enum { LONG = 100000 };
    int32_t *ids = malloc(LONG * sizeof *ids);
    fill_ids(ids, LONG, 64, 1);
    float logits[64];
    uint64_t before = krait_session_bytes(session);
    run_one(session, state, ids, LONG, KRAIT_WANT_LAST, logits);
    assert_int_equal(krait_session_bytes(session), before);
    assert_int_equal(krait_state_tokens(state), LONG);
    for (int i = 0; i < 64; i++) assert_true(isfinite(logits[i]));
    free(ids);
    krait_state_free(state);
    krait_session_free(session);
    krait_model_free(model);
}

static void products_can_be_measured(void **unused)
{
    (void)unused;
    krait_model *model = load("tiny");
    krait_session *session = open_session(model, 1, 32);
    double seconds;
    krait_error error;
    assert_ok(krait_measure_products(session, 32, 1, &seconds, &error));
    assert_true(seconds > 0);
    assert_int_equal(krait_measure_products(session, 33, 1, &seconds, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_measure_products(session, 0, 0, &seconds, &error), KRAIT_ERROR_ARGUMENT);
    krait_session_free(session);
    krait_model_free(model);
}

typedef struct asking {
    uint64_t asked, stop_at; /* 0: never */
} asking;

static bool ask(void *user, const char *what, uint64_t done, uint64_t total)
{
    asking *a = user;
    assert_string_equal(what, "layers");
    assert_true(done < total);
    return ++a->asked != a->stop_at;
}

/* Long steps ask between layers; who stops one puts the state back, and goes on as if nothing had been. */
static void long_steps_can_be_stopped(void **unused)
{
    (void)unused;
    enum { CHUNK = 40 };
    krait_error error;
    krait_model *model = load("tiny");
    size_t vocab = (size_t)krait_model_config(model)->vocab_size, n_layer = (size_t)krait_model_config(model)->n_layer;
    int32_t ids[N];
    fill_ids(ids, N, (int64_t)vocab, 11);
    float *expected = malloc(vocab * sizeof *expected), *found = malloc(vocab * sizeof *found);
    krait_state *state = new_state(model), *before = new_state(model), *whole = new_state(model);
    krait_session *plain = open_session(model, 1, CHUNK), *session;
    run_one(plain, whole, ids, N, KRAIT_WANT_LAST, expected);
    for (uint64_t stop_at = 0; stop_at <= 2 * n_layer; stop_at++) { /* 40 tokens and 35: two steps that ask */
        asking a = { .stop_at = stop_at };
        assert_ok(krait_session_create(
            &session, model, &(krait_session_options){ .threads = 1, .chunk_tokens = CHUNK, .progress = { ask, &a } }, &error));
        krait_sequence sequence = { .state = state, .tokens = ids, .count = N, .want = KRAIT_WANT_LAST };
        krait_status status = krait_run(session, &sequence, 1, &(krait_outputs){ .logits = found }, &error);
        assert_int_equal(status, stop_at ? KRAIT_ERROR_INTERRUPTED : KRAIT_OK);
        assert_int_equal(a.asked, stop_at ? stop_at : 2 * n_layer);
        if (stop_at) {
            assert_ok(krait_state_copy(state, before, &error));
            a.stop_at = 0;
            run_one(session, state, ids, N, KRAIT_WANT_LAST, found);
        }
        assert_memory_equal(found, expected, vocab * sizeof *found);
        assert_same_state(state, whole, 0);
        krait_state_reset(state);
        uint64_t asked = a.asked;
        run_one(session, state, ids, 31, KRAIT_WANT_LAST, found); /* a short one does not ask */
        assert_int_equal(a.asked, asked);
        krait_state_reset(state);
        krait_session_free(session);
    }
    krait_session_free(plain);
    krait_state_free(state), krait_state_free(before), krait_state_free(whole);
    krait_model_free(model);
    free(expected);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_chunks_equal_one_piece),
        cmocka_unit_test(a_mixed_batch_equals_its_rows),
        cmocka_unit_test(a_decode_batch_gives_the_bits_of_its_rows),
        cmocka_unit_test(the_same_call_gives_the_same_bits),
        cmocka_unit_test(listed_rows_are_those_of_all),
        cmocka_unit_test(a_state_gives_its_last_logits_again),
        cmocka_unit_test(a_refused_batch_changes_no_state),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(a_session_keeps_its_model),
        cmocka_unit_test(long_inputs_need_no_more_memory),
        cmocka_unit_test(products_can_be_measured),
        cmocka_unit_test(long_steps_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
