/* krait_compare() against its definition written out, from logits of krait_run(). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "model/model.h"

enum { VOCAB = 256, N = 1200 };

static krait_model *base, *other;
static krait_session *base_session, *other_session;
static krait_error error;
static int32_t tokens[N];

/* The other model is the base with weights off by a little: its last norm is a copy that is changed. */
static float *perturbed;

static void perturb(float by)
{
    size_t d_model = (size_t)krait_model_config(other)->d_model;
    for (size_t i = 0; i < d_model; i++) perturbed[i] = base->norm_f[i] * (1 + by * (float)((int)(i * 7 % 11) - 5));
}

static int open_models(void **unused)
{
    (void)unused;
    krait_session_options how = { .threads = 2, .chunk_tokens = 300 };
    assert_ok(krait_model_load(&base, KRAIT_TEST_DATA "/models/f16", NULL, &error));
    assert_ok(krait_model_load(&other, KRAIT_TEST_DATA "/models/f16", NULL, &error));
    assert_ok(krait_session_create(&base_session, base, &how, &error));
    assert_ok(krait_session_create(&other_session, other, &how, &error));
    perturbed = malloc((size_t)krait_model_config(other)->d_model * sizeof *perturbed);
    assert_non_null(perturbed);
    other->norm_f = perturbed;
    perturb(0.02f);
    assert_int_equal(krait_model_config(base)->vocab_size, VOCAB);
    unsigned seed = 1;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % VOCAB);
    }
    return 0;
}

static int close_models(void **unused)
{
    (void)unused;
    krait_session_free(other_session);
    krait_session_free(base_session);
    krait_model_free(other);
    krait_model_free(base);
    free(perturbed);
    return 0;
}

/* All values of a text, token by token. */
typedef struct values {
    size_t n;
    double divergence[N], difference[N], base[N], other[N], agrees[N];
} values;

static float *logits_of(krait_session *session, const int32_t *ids, size_t n)
{
    krait_state *state;
    float *logits = malloc(n * VOCAB * sizeof *logits);
    assert_ok(krait_state_create(&state, krait_session_model(session), &error));
    krait_sequence sequence = { .state = state, .tokens = ids, .count = n, .want = KRAIT_WANT_ALL };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
    krait_state_free(state);
    return logits;
}

/* log softmax and the place of its maximum. */
static size_t log_softmax(const float *logits, double *p)
{
    double total = 0;
    size_t best = 0;
    for (size_t j = 0; j < VOCAB; j++) {
        total += exp((double)logits[j]);
        if (logits[j] > logits[best]) best = j;
    }
    for (size_t j = 0; j < VOCAB; j++) p[j] = (double)logits[j] - log(total);
    return best;
}

static void add_window(values *v, const int32_t *ids, size_t n)
{
    float *x = logits_of(base_session, ids, n), *y = logits_of(other_session, ids, n);
    for (size_t i = 0; i + 1 < n; i++) {
        double p[VOCAB], q[VOCAB], sum = 0;
        v->agrees[v->n] = log_softmax(x + i * VOCAB, p) == log_softmax(y + i * VOCAB, q);
        for (size_t j = 0; j < VOCAB; j++) sum += exp(p[j]) * (p[j] - q[j]);
        v->divergence[v->n] = sum;
        v->base[v->n] = -p[ids[i + 1]];
        v->other[v->n] = -q[ids[i + 1]];
        v->difference[v->n] = v->other[v->n] - v->base[v->n];
        v->n++;
    }
    free(x);
    free(y);
}

static double mean_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static double error_of(const double *x, size_t n)
{
    double mean = mean_of(x, n), squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void near(const char *what, double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance)) fail_msg("%s: expected %.12g, found %.12g", what, expected, found);
}

static krait_comparison compare(krait_session *a, krait_session *b, size_t n, size_t window)
{
    krait_comparison result;
    assert_ok(krait_compare(a, b, tokens, n, &(krait_perplexity_options){ .window = window }, &result, &error));
    return result;
}

/* Logits of pieces differ from those of one run by rounding: about 1e-6 each. */
static void check(size_t n, size_t window)
{
    static values v;
    v.n = 0;
    for (size_t at = 0; at < n; at += window ? window : n) {
        size_t left = n - at;
        add_window(&v, tokens + at, window && window < left ? window : left);
    }
    krait_comparison c = compare(base_session, other_session, n, window);
    assert_int_equal(c.base.n_scored, v.n);
    assert_int_equal(c.other.n_scored, v.n);
    near("base", c.base.nats_per_token, mean_of(v.base, v.n), 1e-5);
    near("its error", c.base.standard_error, error_of(v.base, v.n), 1e-5);
    near("other", c.other.nats_per_token, mean_of(v.other, v.n), 1e-5);
    near("other's perplexity", c.other.perplexity, exp(mean_of(v.other, v.n)), 1e-5 * c.other.perplexity);
    near("divergence", c.kl_divergence, mean_of(v.divergence, v.n), 1e-6);
    near("its error", c.kl_standard_error, error_of(v.divergence, v.n), 1e-6);
    near("difference", c.nats_difference, mean_of(v.difference, v.n), 1e-5);
    near("its error", c.nats_difference_standard_error, error_of(v.difference, v.n), 1e-5);
    near("ratio", c.perplexity_ratio, exp(mean_of(v.difference, v.n)), 1e-5);
    near("its error", c.perplexity_ratio_standard_error, c.perplexity_ratio * error_of(v.difference, v.n), 1e-5);
    near("agreement", c.top1_agreement, mean_of(v.agrees, v.n), 1e-9);
    near("its error", c.top1_standard_error, error_of(v.agrees, v.n), 1e-9);
    qsort(v.divergence, v.n, sizeof *v.divergence, by_size);
    double p99 = v.divergence[(size_t)ceil(0.99 * (double)v.n) - 1];
    near("maximum", c.kl_max, v.divergence[v.n - 1], 1e-6);
    near("percentile", c.kl_p99, p99, 0.01 * p99 + 1e-6);
    assert_true(c.kl_p99 <= c.kl_max);
}

static void figures_match_their_definitions(void **unused)
{
    (void)unused;
    static const struct {
        size_t n, window;
    } cases[] = { { 2, 0 }, { 3, 0 }, { 514, 0 }, { N, 0 }, { 100, 2 }, { N, 100 }, { N, 515 }, { 301, 100 }, { N, 5000 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(cases[i].n, cases[i].window);
    krait_comparison c = compare(base_session, other_session, N, 0);
    assert_true(c.kl_divergence > 1e-5 && c.kl_standard_error > 0); /* there was something to measure */
    assert_true(c.top1_agreement > 0.1 && c.top1_agreement < 1);
    assert_true(c.kl_p99 > 2 * c.kl_divergence);
}

static void a_model_is_exactly_like_itself(void **unused)
{
    (void)unused;
    perturb(0);
    for (int same_session = 0; same_session < 2; same_session++) {
        krait_comparison c = compare(base_session, same_session ? base_session : other_session, N, 0);
        assert_true(c.kl_divergence == 0 && c.kl_standard_error == 0 && c.kl_p99 == 0 && c.kl_max == 0);
        assert_true(c.top1_agreement == 1 && c.top1_standard_error == 0);
        assert_true(c.nats_difference == 0 && c.nats_difference_standard_error == 0);
        assert_true(c.perplexity_ratio == 1 && c.perplexity_ratio_standard_error == 0);
        assert_true(c.base.nats == c.other.nats);
    }
    perturb(0.02f);
}

/* KL grows with the square of a small difference; floats alone would drown it. */
static void a_small_difference_is_seen(void **unused)
{
    (void)unused;
    krait_comparison large = compare(base_session, other_session, N, 0);
    perturb(0.0002f);
    krait_comparison small = compare(base_session, other_session, N, 0);
    double ratio = small.kl_divergence / large.kl_divergence;
    if (!(ratio > 0.8e-4 && ratio < 1.2e-4)) fail_msg("expected about 1e-4, found %g", ratio);
    perturb(0.02f);
}

static void perplexities_are_those_of_krait_perplexity(void **unused)
{
    (void)unused;
    krait_comparison c = compare(base_session, other_session, N, 77);
    krait_perplexity_options options = { .window = 77 };
    krait_perplexity_result one;
    assert_ok(krait_perplexity(base_session, tokens, N, &options, &one, &error));
    assert_int_equal(c.base.n_scored, one.n_scored);
    near("base", c.base.nats_per_token, one.nats_per_token, 2e-6);
    assert_ok(krait_perplexity(other_session, tokens, N, &options, &one, &error));
    near("other", c.other.nats_per_token, one.nats_per_token, 2e-6);
    near("other", c.other.standard_error, one.standard_error, 2e-6);
}

static void threads_do_not_change_the_figures(void **unused)
{
    (void)unused;
    krait_session *alone;
    assert_ok(krait_session_create(
        &alone, base, &(krait_session_options){ .threads = 1, .chunk_tokens = 300, .isa = KRAIT_ISA_PLAIN }, &error));
    krait_session *pair;
    assert_ok(krait_session_create(
        &pair, base, &(krait_session_options){ .threads = 2, .chunk_tokens = 300, .isa = KRAIT_ISA_PLAIN }, &error));
    krait_comparison a = compare(alone, other_session, 100, 0), b = compare(pair, other_session, 100, 0);
    assert_memory_equal(&a, &b, sizeof a);
    krait_session_free(alone);
    krait_session_free(pair);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    assert_string_equal(what, "scoring");
    assert_int_equal(total, N);
    return done < 200;
}

static void refuses(krait_session *a, krait_session *b, const int32_t *ids, size_t n, size_t window, const char *message)
{
    krait_comparison result;
    assert_int_equal(krait_compare(a, b, ids, n, &(krait_perplexity_options){ .window = window }, &result, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, message);
    assert_int_equal(result.base.n_scored, 0);
}

static void bad_arguments_are_refused(void **unused)
{
    (void)unused;
    krait_session *a = base_session, *b = other_session, *wide_session;
    krait_comparison result;
    refuses(NULL, b, tokens, 2, 0, "krait_compare: session is NULL");
    refuses(a, NULL, tokens, 2, 0, "krait_compare: other session is NULL");
    refuses(a, b, tokens, 1, 0, "tokens: expected at least 2, found 1");
    refuses(a, b, NULL, 2, 0, "tokens: expected 2 ids, found NULL");
    refuses(a, b, tokens, 5, 1, "window: expected 0, or at least 2 tokens, found 1");
    refuses(a, b, (const int32_t[]){ 1, 256 }, 2, 0, "tokens[1]: expected an id in 0 .. 255, found 256");
    assert_int_equal(krait_compare(a, b, tokens, 2, NULL, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    krait_perplexity_options stopping = { .window = 100, .progress = { stop, NULL } };
    assert_int_equal(krait_compare(a, b, tokens, N, &stopping, &result, &error), KRAIT_ERROR_INTERRUPTED);
    assert_string_equal(error.message, "interrupted after 200 of 1200 tokens");
    krait_model *larger;
    krait_config config = *krait_model_config(base);
    config.vocab_size = VOCAB + 8;
    assert_ok(krait_model_random(&larger, &config, 1, NULL, &error));
    assert_ok(krait_session_create(&wide_session, larger, NULL, &error));
    refuses(a, wide_session, tokens, 5, 0, "vocab_size of the other model: expected 256 as in the base, found 264");
    krait_session_free(wide_session);
    krait_model_free(larger);
}

static void a_model_of_nan_is_an_error_that_says_where(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < (size_t)krait_model_config(other)->d_model; i++) perturbed[i] = NAN;
    const char *message = "logits at token 0: expected numbers in both models, found NaN or infinity";
    refuses(base_session, other_session, tokens, 10, 0, message);
    refuses(other_session, base_session, tokens, 10, 0, message);
    perturb(0.02f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_match_their_definitions),
        cmocka_unit_test(a_model_is_exactly_like_itself),
        cmocka_unit_test(a_small_difference_is_seen),
        cmocka_unit_test(perplexities_are_those_of_krait_perplexity),
        cmocka_unit_test(threads_do_not_change_the_figures),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_model_of_nan_is_an_error_that_says_where),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
