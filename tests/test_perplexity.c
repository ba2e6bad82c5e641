/* krait_perplexity() against the loss of the reference, and against sums made by hand from krait_run(). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "model/model.h"

enum { VOCAB = 256, N = 1200 };

static krait_model *model;
static krait_session *session;
static krait_error error;
static int32_t tokens[N];

static int open_tiny(void **unused)
{
    (void)unused;
    assert_ok(krait_model_load(&model, KRAIT_TEST_DATA "/models/tiny", NULL, &error));
    assert_ok(krait_session_create(&session, model, &(krait_session_options){ .threads = 1, .chunk_tokens = 300 }, &error));
    unsigned seed = 1;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % VOCAB);
    }
    return 0;
}

static int close_tiny(void **unused)
{
    (void)unused;
    krait_session_free(session);
    krait_model_free(model);
    return 0;
}

static krait_perplexity_result measure(krait_session *s, const int32_t *ids, size_t n, size_t window)
{
    krait_perplexity_result result;
    assert_ok(krait_perplexity(s, ids, n, &(krait_perplexity_options){ .window = window }, &result, &error));
    return result;
}

static void matches_the_loss_of_the_reference(void **unused)
{
    (void)unused;
    static const char *const names[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, names[m]);
        krait_model *other;
        krait_session *its_session;
        assert_ok(krait_model_load(&other, path, NULL, &error));
        assert_ok(krait_session_create(&its_session, other, NULL, &error));
        krait_checkpoint *file = fixture_open(path, "expected.safetensors");
        size_t n, one;
        int32_t *ids = fixture_ids(file, "input_ids", &n);
        float *loss = fixture_floats(file, "loss", &one);
        krait_perplexity_result a = measure(its_session, ids, n / 2, 0), b = measure(its_session, ids + n / 2, n / 2, 0);
        double found = (a.nats + b.nats) / (double)(a.n_scored + b.n_scored);
        if (fabs(found - (double)*loss) > 1e-5 * (double)*loss)
            fail_msg("%s: expected %.7f, found %.7f", names[m], (double)*loss, found);
        /* two windows are the two sequences */
        krait_perplexity_result both = measure(its_session, ids, n, n / 2);
        assert_int_equal(both.n_scored, n - 2);
        assert_true(fabs(both.nats - a.nats - b.nats) <= 1e-9 * both.nats);
        free(ids);
        free(loss);
        krait_checkpoint_free(file);
        krait_session_free(its_session);
        krait_model_free(other);
    }
}

/* Adds -log p of tokens 1..n-1 of a window from a fresh state to the sums. */
static void add_window(const int32_t *ids, size_t n, double *sum, double *squares, size_t *count)
{
    krait_state *state;
    float *logits = malloc(n * VOCAB * sizeof *logits);
    assert_ok(krait_state_create(&state, model, &error));
    krait_sequence sequence = { .state = state, .tokens = ids, .count = n, .want = KRAIT_WANT_ALL };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
    for (size_t i = 0; i + 1 < n; i++) {
        double total = 0;
        for (size_t j = 0; j < VOCAB; j++) total += exp((double)logits[i * VOCAB + j]);
        double nats = log(total) - (double)logits[i * VOCAB + (size_t)ids[i + 1]];
        *sum += nats;
        *squares += nats * nats;
        ++*count;
    }
    krait_state_free(state);
    free(logits);
}

static void windows_and_streams_match_sums_by_hand(void **unused)
{
    (void)unused;
    static const size_t windows[] = { 0, 2, 3, 7, 513, 514, 600, N - 1, N, 5000 };
    static const size_t lengths[] = { 2, 3, 8, 513, 514, 515, N };
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            size_t n = lengths[l], window = windows[w] ? windows[w] : n, count = 0;
            if (window < 7 && n > 100) continue; /* only slow */
            double sum = 0, squares = 0;
            for (size_t at = 0; at < n; at += window)
                add_window(tokens + at, n - at < window ? n - at : window, &sum, &squares, &count);
            krait_perplexity_result found = measure(session, tokens, n, windows[w]);
            double mean = sum / (double)count;
            assert_int_equal(found.n_scored, count);
            assert_true(fabs(found.nats - sum) <= 1e-5 * sum);
            assert_true(fabs(found.nats_per_token - mean) <= 1e-5 * mean);
            assert_true(fabs(found.perplexity - exp(mean)) <= 1e-4 * exp(mean));
            double spread = count > 1 ? sqrt((squares / (double)count - mean * mean) / (double)(count - 1)) : 0;
            assert_true(fabs(found.standard_error - spread) <= 1e-3 * spread + 1e-6);
        }
}

typedef struct calls {
    uint64_t last, total, until;
    size_t n;
} calls;

static bool hear(void *user, const char *what, uint64_t done, uint64_t total)
{
    calls *c = user;
    assert_string_equal(what, "scoring");
    assert_true(done > c->last && done <= total);
    c->last = done;
    c->total = total;
    c->n++;
    return done < c->until;
}

static void progress_is_reported_and_may_interrupt(void **unused)
{
    (void)unused;
    krait_perplexity_result result;
    calls c = { .until = UINT64_MAX };
    krait_perplexity_options options = { .progress = { hear, &c } };
    assert_ok(krait_perplexity(session, tokens, N, &options, &result, &error));
    assert_int_equal(c.n, 3); /* pieces of 512 */
    assert_int_equal(c.last, N);
    assert_int_equal(c.total, N);
    c = (calls){ .until = UINT64_MAX };
    options.window = 100;
    assert_ok(krait_perplexity(session, tokens, 301, &options, &result, &error));
    assert_int_equal(c.last, 301); /* the token too many, in a window of its own, is passed over */
    assert_int_equal(c.n, 3);
    c = (calls){ .until = 200 };
    assert_int_equal(krait_perplexity(session, tokens, N, &options, &result, &error), KRAIT_ERROR_INTERRUPTED);
    assert_string_equal(error.message, "interrupted after 200 of 1200 tokens");
    assert_int_equal(result.n_scored, 0);
}

static void refuses(const int32_t *ids, size_t n, size_t window, const char *message)
{
    krait_perplexity_result result;
    assert_int_equal(krait_perplexity(session, ids, n, &(krait_perplexity_options){ .window = window }, &result, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, message);
    assert_int_equal(result.n_scored, 0);
}

static void bad_arguments_are_refused(void **unused)
{
    (void)unused;
    refuses(tokens, 0, 0, "tokens: expected at least 2, found 0");
    refuses(tokens, 1, 0, "tokens: expected at least 2, found 1");
    refuses(NULL, 5, 0, "tokens: expected 5 ids, found NULL");
    refuses(tokens, 5, 1, "window: expected 0, or at least 2 tokens, found 1");
    refuses((const int32_t[]){ 1, 2, 256 }, 3, 0, "tokens[2]: expected an id in 0 .. 255, found 256");
    refuses((const int32_t[]){ 1, -1 }, 2, 0, "tokens[1]: expected an id in 0 .. 255, found -1");
    krait_perplexity_result result;
    assert_int_equal(krait_perplexity(NULL, tokens, 2, NULL, &result, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_perplexity(session, tokens, 2, NULL, NULL, NULL), KRAIT_ERROR_ARGUMENT);
}

static void a_model_of_nan_is_an_error_that_says_where(void **unused)
{
    (void)unused;
    float nan[64];
    for (size_t i = 0; i < 64; i++) nan[i] = NAN;
    const float *norm = model->norm_f;
    assert_int_equal(krait_model_config(model)->d_model, 64);
    model->norm_f = nan;
    refuses(tokens, 10, 0, "logits at token 0: expected numbers, found NaN or +infinity");
    model->norm_f = norm;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_loss_of_the_reference),          cmocka_unit_test(windows_and_streams_match_sums_by_hand),
        cmocka_unit_test(progress_is_reported_and_may_interrupt),     cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_model_of_nan_is_an_error_that_says_where),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
