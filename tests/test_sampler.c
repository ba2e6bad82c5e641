/* Samplers against distributions written out by hand, and against a plain implementation of krait.h's list on random logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "krait/krait.h"

enum { MANY = 5000 };

static krait_sampler *create(size_t vocab_size, krait_sampling sampling)
{
    krait_sampler *sampler;
    krait_error error = { 0 };
    if (krait_sampler_create(&sampler, vocab_size, &sampling, &error)) fail_msg("%s", error.message);
    return sampler;
}

static int32_t draw(krait_sampler *sampler, const float *logits)
{
    int32_t id;
    krait_error error = { 0 };
    if (krait_sampler_sample(sampler, logits, &id, &error)) fail_msg("%s", error.message);
    return id;
}

/* ---- written out by hand ----------------------------------------------------------------------------------------- */

/* Probabilities of five tokens, out of order and with two equal ones. */
static const float P[5] = { 0.1f, 0.4f, 0.15f, 0.2f, 0.15f };

/* The distribution of sampling over log(P), after the tokens of `history`, is that of the ids and probabilities given. */
static void check(krait_sampling sampling, const int32_t *history, size_t n_history, const krait_candidate *expected,
                  size_t n_expected)
{
    float logits[5], before[5];
    for (size_t i = 0; i < 5; i++) logits[i] = logf(P[i]);
    memcpy(before, logits, sizeof before);
    krait_sampler *sampler = create(5, sampling);
    for (size_t i = 0; i < n_history; i++) assert_int_equal(krait_sampler_accept(sampler, history[i], NULL), KRAIT_OK);
    krait_candidate found[5];
    size_t n;
    krait_error error = { 0 };
    if (krait_sampler_distribution(sampler, logits, found, &n, &error)) fail_msg("%s", error.message);
    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(found[i].id, expected[i].id);
        if (fabsf(found[i].probability - expected[i].probability) > 1e-6f)
            fail_msg("token %d: expected %.8f, found %.8f", found[i].id, (double)expected[i].probability,
                     (double)found[i].probability);
    }
    assert_memory_equal(logits, before, sizeof before);
    krait_sampler_free(sampler);
}

#define LIST(...)    ((const krait_candidate[]){ __VA_ARGS__ }), sizeof((krait_candidate[]){ __VA_ARGS__ }) / sizeof(krait_candidate)
#define AFTER(...)   ((const int32_t[]){ __VA_ARGS__ }), sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)
#define OPTIONS(...) ((krait_sampling){ __VA_ARGS__ })

static void greedy_takes_the_largest(void **state)
{
    (void)state;
    check(OPTIONS(0), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.top_k = 3, .top_p = 0.5f, .min_p = 0.1f, .seed = 9), NULL, 0, LIST({ 1, 1 }));
}

static void temperature_divides(void **state)
{
    (void)state;
    check(OPTIONS(.temperature = 1), NULL, 0, LIST({ 1, 0.4f }, { 3, 0.2f }, { 2, 0.15f }, { 4, 0.15f }, { 0, 0.1f }));
    /* squares: 0.01, 0.16, 0.0225, 0.04, 0.0225, of 0.255 */
    check(OPTIONS(.temperature = 0.5f), NULL, 0,
          LIST({ 1, 0.16f / 0.255f }, { 3, 0.04f / 0.255f }, { 2, 0.0225f / 0.255f }, { 4, 0.0225f / 0.255f },
               { 0, 0.01f / 0.255f }));
    /* square roots: 0.316228, 0.632456, 0.387298, 0.447214, 0.387298, of 2.170494 */
    check(OPTIONS(.temperature = 2), NULL, 0,
          LIST({ 1, 0.291388f }, { 3, 0.206042f }, { 2, 0.178438f }, { 4, 0.178438f }, { 0, 0.145694f }));
    check(OPTIONS(.temperature = 1e-30f), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 1e30f), NULL, 0, LIST({ 1, 0.2f }, { 3, 0.2f }, { 2, 0.2f }, { 4, 0.2f }, { 0, 0.2f }));
}

static void top_k_keeps_k(void **state)
{
    (void)state;
    check(OPTIONS(.temperature = 1, .top_k = 1), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 1, .top_k = 2), NULL, 0, LIST({ 1, 0.4f / 0.6f }, { 3, 0.2f / 0.6f }));
    /* two equal ones at the cut: the lower id stays */
    check(OPTIONS(.temperature = 1, .top_k = 3), NULL, 0, LIST({ 1, 0.4f / 0.75f }, { 3, 0.2f / 0.75f }, { 2, 0.15f / 0.75f }));
    check(OPTIONS(.temperature = 1, .top_k = 100), NULL, 0,
          LIST({ 1, 0.4f }, { 3, 0.2f }, { 2, 0.15f }, { 4, 0.15f }, { 0, 0.1f }));
}

static void top_p_keeps_the_fewest_that_reach_p(void **state)
{
    (void)state;
    check(OPTIONS(.temperature = 1, .top_p = 0.3f), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 1, .top_p = 1e-30f), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 1, .top_p = 0.5f), NULL, 0, LIST({ 1, 0.4f / 0.6f }, { 3, 0.2f / 0.6f }));
    check(OPTIONS(.temperature = 1, .top_p = 0.7f), NULL, 0,
          LIST({ 1, 0.4f / 0.75f }, { 3, 0.2f / 0.75f }, { 2, 0.15f / 0.75f }));
    check(OPTIONS(.temperature = 1, .top_p = 0.95f), NULL, 0,
          LIST({ 1, 0.4f }, { 3, 0.2f }, { 2, 0.15f }, { 4, 0.15f }, { 0, 0.1f }));
}

static void top_p_alone_is_not_greedy(void **state)
{
    (void)state;
    krait_sampler *sampler = create(5, OPTIONS(.temperature = 1, .top_p = 0.7f));
    float logits[5];
    int seen[5] = { 0 };
    for (size_t i = 0; i < 5; i++) logits[i] = logf(P[i]);
    for (int i = 0; i < 100; i++) seen[draw(sampler, logits)]++;
    assert_true(seen[1] && seen[2] && seen[3]);
    assert_int_equal(seen[0] + seen[4], 0);
    krait_sampler_free(sampler);
}

static void min_p_keeps_a_share_of_the_most_probable(void **state)
{
    (void)state;
    check(OPTIONS(.temperature = 1, .min_p = 0.3f), NULL, 0,
          LIST({ 1, 0.4f / 0.9f }, { 3, 0.2f / 0.9f }, { 2, 0.15f / 0.9f }, { 4, 0.15f / 0.9f }));
    check(OPTIONS(.temperature = 1, .min_p = 0.4f), NULL, 0, LIST({ 1, 0.4f / 0.6f }, { 3, 0.2f / 0.6f }));
    check(OPTIONS(.temperature = 1, .min_p = 1), NULL, 0, LIST({ 1, 1 }));
}

static void filters_combine_in_order(void **state)
{
    (void)state;
    /* top-k leaves 0.4, 0.2, 0.15 of 0.75, i.e. 0.533, 0.267, 0.2: 0.79 is reached by two; without it 0.79 needs four */
    check(OPTIONS(.temperature = 1, .top_k = 3, .top_p = 0.79f), NULL, 0, LIST({ 1, 0.4f / 0.6f }, { 3, 0.2f / 0.6f }));
    check(OPTIONS(.temperature = 1, .top_p = 0.79f), NULL, 0,
          LIST({ 1, 0.4f / 0.9f }, { 3, 0.2f / 0.9f }, { 2, 0.15f / 0.9f }, { 4, 0.15f / 0.9f }));
    check(OPTIONS(.temperature = 1, .top_k = 4, .top_p = 0.79f, .min_p = 0.4f), NULL, 0,
          LIST({ 1, 0.4f / 0.6f }, { 3, 0.2f / 0.6f }));
    /* the temperature comes before the filters: of 0.627, 0.157, 0.088, 0.088, 0.039 */
    check(OPTIONS(.temperature = 0.5f, .top_p = 0.6f), NULL, 0, LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 0.5f, .min_p = 0.3f), NULL, 0, LIST({ 1, 1 }));
}

static void the_worked_example_of_the_documentation_holds(void **state)
{
    (void)state;
    const krait_logit_bias bias = { 4, 1 };
    krait_sampler *sampler = create(5, OPTIONS(.temperature = 0.8f, .top_k = 4, .top_p = 0.85f, .min_p = 0.3f,
                                               .repetition_penalty = 1.25f, .logit_bias = &bias, .n_logit_bias = 1));
    krait_candidate found[5];
    size_t n;
    assert_int_equal(krait_sampler_accept(sampler, 0, NULL), KRAIT_OK);
    assert_int_equal(krait_sampler_distribution(sampler, (float[]){ 2, 1.5f, 0.5f, 0.5f, -1 }, found, &n, NULL), KRAIT_OK);
    krait_sampler_free(sampler);
    assert_int_equal(n, 2);
    assert_int_equal(found[0].id, 0);
    assert_int_equal(found[1].id, 1);
    assert_true(fabsf(found[0].probability - 0.531f) < 5e-4f && fabsf(found[1].probability - 0.469f) < 5e-4f);
}

static void bias_comes_first(void **state)
{
    (void)state;
    const krait_logit_bias forbid[] = { { 1, -INFINITY } };
    check(OPTIONS(.logit_bias = forbid, .n_logit_bias = 1), NULL, 0, LIST({ 3, 1 }));
    check(OPTIONS(.temperature = 1, .top_k = 2, .logit_bias = forbid, .n_logit_bias = 1), NULL, 0,
          LIST({ 3, 0.2f / 0.35f }, { 2, 0.15f / 0.35f }));
    /* log 3 twice: nine times as probable */
    const krait_logit_bias favour[] = { { 0, 1.09861229f }, { 0, 1.09861229f } };
    check(OPTIONS(.temperature = 1, .top_k = 2, .logit_bias = favour, .n_logit_bias = 2), NULL, 0,
          LIST({ 0, 0.9f / 1.3f }, { 1, 0.4f / 1.3f }));
    /* the penalty sees the biased logit: log(0.4) + 2 > 0 is divided */
    const krait_logit_bias positive[] = { { 1, 2 } };
    float logit = (logf(0.4f) + 2) / 4, sum = expf(logit) + 0.6f;
    check(OPTIONS(.temperature = 1, .top_k = 1, .repetition_penalty = 4, .logit_bias = positive, .n_logit_bias = 1), AFTER(1),
          LIST({ 1, 1 }));
    check(OPTIONS(.temperature = 1, .repetition_penalty = 4, .logit_bias = positive, .n_logit_bias = 1), AFTER(1),
          LIST({ 1, expf(logit) / sum }, { 3, 0.2f / sum }, { 2, 0.15f / sum }, { 4, 0.15f / sum }, { 0, 0.1f / sum }));
}

static void repetition_penalty_acts_once_per_token(void **state)
{
    (void)state;
    /* negative logits are multiplied: 0.4^2 = 0.16, 0.2^2 = 0.04 */
    check(OPTIONS(.temperature = 1, .repetition_penalty = 2), AFTER(1, 3, 1, 1),
          LIST({ 1, 0.16f / 0.6f }, { 2, 0.15f / 0.6f }, { 4, 0.15f / 0.6f }, { 0, 0.1f / 0.6f }, { 3, 0.04f / 0.6f }));
    check(OPTIONS(.repetition_penalty = 4), AFTER(1), LIST({ 3, 1 }));
}

static void frequency_counts_and_presence_does_not(void **state)
{
    (void)state;
    /* log 4 per occurrence: 0.4 / 4 / 4 = 0.025, 0.2 / 4 = 0.05 */
    check(
        OPTIONS(.temperature = 1, .frequency_penalty = 1.38629436f), AFTER(1, 3, 1),
        LIST({ 2, 0.15f / 0.475f }, { 4, 0.15f / 0.475f }, { 0, 0.1f / 0.475f }, { 3, 0.05f / 0.475f }, { 1, 0.025f / 0.475f }));
    /* log 2, once: 0.4 / 2 = 0.2, 0.2 / 2 = 0.1 */
    check(OPTIONS(.temperature = 1, .presence_penalty = 0.69314718f, .min_p = 0.6f), AFTER(1, 3, 1),
          LIST({ 1, 0.4f }, { 2, 0.3f }, { 4, 0.3f }));
    /* both; a negative one favours */
    check(OPTIONS(.frequency_penalty = 0.5f, .presence_penalty = 0.5f), AFTER(1, 1, 3), LIST({ 2, 1 }));
    check(OPTIONS(.presence_penalty = -3), AFTER(0), LIST({ 0, 1 }));
}

static void window_forgets_the_oldest(void **state)
{
    (void)state;
    const krait_sampling sampling = { .presence_penalty = 10, .penalty_window = 2 };
    check(sampling, AFTER(1), LIST({ 3, 1 }));
    check(sampling, AFTER(1, 3), LIST({ 2, 1 }));
    check(sampling, AFTER(1, 3, 3), LIST({ 1, 1 })); /* 1 is forgotten */
    check(sampling, AFTER(1, 3, 1, 0, 1), LIST({ 3, 1 }));
    check(sampling, AFTER(1, 1, 1, 3), LIST({ 2, 1 })); /* one of the 1s is still there */
    check(OPTIONS(.frequency_penalty = 0.4f, .penalty_window = 1), AFTER(1, 1, 1), LIST({ 1, 1 }));
    check(OPTIONS(.frequency_penalty = 0.4f, .penalty_window = 2), AFTER(1, 1, 1), LIST({ 3, 1 }));
    check(OPTIONS(.presence_penalty = 10), AFTER(1, 0, 0, 0, 0), LIST({ 3, 1 })); /* no window: all of them */
}

/* ---- against the list of krait.h, done plainly ------------------------------------------------------------------- */

typedef struct token {
    int32_t id;
    float distance; /* (largest logit - logit) / temperature */
    double p;
} token;

static int by_distance_then_id(const void *a, const void *b)
{
    const token *x = a, *y = b;
    if (x->distance != y->distance) return x->distance > y->distance ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* The fewest of the sorted tokens whose share of all n reaches p; *margin: how far the nearest sum is from it. */
static size_t reach(const token *t, size_t n, double p, double *margin)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) total += t[i].p;
    for (size_t i = 0; i < n; i++) {
        sum += t[i].p;
        *margin = fmin(*margin, fabs(sum / total - p));
        if (sum >= p * total) return i + 1;
    }
    return n;
}

static void matches_plain_version(krait_sampling sampling, size_t n, float spread, uint64_t seed)
{
    float *logits = malloc(n * sizeof *logits);
    token *expected = malloc(n * sizeof *expected);
    krait_candidate *found = malloc(n * sizeof *found);
    kr_rng rng;
    kr_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        logits[i] = spread * kr_rng_normal(&rng);
        if (kr_rng_u32(&rng) % 10 == 0 && i > 0) logits[i] = logits[i - 1];
        if (kr_rng_u32(&rng) % 50 == 0) logits[i] = -INFINITY;
    }
    float max = logits[0] = spread;
    for (size_t i = 0; i < n; i++) max = fmaxf(max, logits[i]);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        float distance = (max - logits[i]) / sampling.temperature;
        if (distance < 87) expected[kept++] = (token){ (int32_t)i, distance, exp(-(double)distance) };
    }
    qsort(expected, kept, sizeof *expected, by_distance_then_id);
    double margin = 1;
    if (sampling.top_k && (size_t)sampling.top_k < kept) kept = (size_t)sampling.top_k;
    if (sampling.top_p > 0 && sampling.top_p < 1) kept = reach(expected, kept, (double)sampling.top_p, &margin);
    size_t all = kept;
    for (kept = 0; kept < all && expected[kept].p >= (double)sampling.min_p; kept++) {}
    double total = 0;
    for (size_t i = 0; i < kept; i++) total += expected[i].p;

    krait_sampler *sampler = create(n, sampling);
    size_t n_found;
    assert_int_equal(krait_sampler_distribution(sampler, logits, found, &n_found, NULL), KRAIT_OK);
    krait_sampler_free(sampler);
    if (margin > 1e-6) {
        if (n_found != kept)
            fail_msg("expected %zu tokens, found %zu (of %zu, seed %llu)", kept, n_found, n, (unsigned long long)seed);
        double sum = 0;
        for (size_t i = 0; i < kept; i++) {
            double p = expected[i].p / total;
            assert_int_equal(found[i].id, expected[i].id);
            assert_true(fabs((double)found[i].probability - p) <= 1e-6 * p);
            sum += (double)found[i].probability;
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    free(logits);
    free(expected);
    free(found);
}

static void filters_match_a_full_sort(void **state)
{
    (void)state;
    static const float spreads[] = { 0.001f, 0.5f, 3, 40 };
    static const size_t sizes[] = { 1, 2, 3, 17, 300, MANY };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t i = 0; i < 4; i++) {
            size_t n = sizes[s];
            uint64_t seed = s * 4 + i;
            matches_plain_version(OPTIONS(.temperature = 1), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 0.7f, .top_k = 40), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 1, .top_k = (int32_t)(n / 2)), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 1, .top_p = 0.9f), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 1.3f, .top_p = 0.999f), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 1, .min_p = 0.05f), n, spreads[i], seed);
            matches_plain_version(OPTIONS(.temperature = 1, .top_k = 100, .top_p = 0.8f, .min_p = 0.02f), n, spreads[i], seed);
        }
}

static void equals_are_ordered_by_id(void **state)
{
    (void)state;
    float logits[MANY];
    krait_candidate found[MANY];
    size_t n;
    for (size_t i = 0; i < MANY; i++) logits[i] = 2.5f;
    krait_sampler *greedy = create(MANY, OPTIONS(0));
    assert_int_equal(draw(greedy, logits), 0);
    logits[700] = logits[900] = 3;
    assert_int_equal(draw(greedy, logits), 700);
    logits[700] = logits[900] = 2.5f;
    krait_sampler_free(greedy);
    krait_sampler *sampler = create(MANY, OPTIONS(.temperature = 1, .top_k = 77));
    assert_int_equal(krait_sampler_distribution(sampler, logits, found, &n, NULL), KRAIT_OK);
    assert_int_equal(n, 77);
    for (size_t i = 0; i < n; i++) assert_int_equal(found[i].id, i);
    krait_sampler_free(sampler);
    sampler = create(MANY, OPTIONS(.temperature = 1, .top_p = 0.5f));
    assert_int_equal(krait_sampler_distribution(sampler, logits, found, &n, NULL), KRAIT_OK);
    assert_int_equal(n, MANY / 2); /* 2500 weights of 1 are exactly half */
    for (size_t i = 0; i < n; i++) assert_int_equal(found[i].id, i);
    krait_sampler_free(sampler);
}

static void top_k_of_one_is_greedy(void **state)
{
    (void)state;
    float logits[300];
    kr_rng rng;
    kr_rng_seed(&rng, 5);
    krait_sampler *greedy = create(300, OPTIONS(0)), *one = create(300, OPTIONS(.temperature = 0.8f, .top_k = 1));
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < 300; i++) logits[i] = nextafterf(20, 100.0f * (float)(kr_rng_u32(&rng) % 3)); /* almost equal */
        assert_int_equal(draw(greedy, logits), draw(one, logits));
    }
    krait_sampler_free(greedy);
    krait_sampler_free(one);
}

/* ---- draws ------------------------------------------------------------------------------------------------------- */

static void check_draws(krait_sampling sampling)
{
    enum { N = 12, DRAWS = 20000 };
    float logits[N];
    krait_candidate expected[N];
    size_t n;
    int seen[N] = { 0 };
    for (size_t i = 0; i < N; i++) logits[i] = 1.5f * sinf(3.0f * (float)i);
    krait_sampler *sampler = create(N, sampling);
    for (int i = 0; i < DRAWS; i++) seen[draw(sampler, logits)]++;
    assert_int_equal(krait_sampler_distribution(sampler, logits, expected, &n, NULL), KRAIT_OK);
    double chi_square = 0;
    int total = 0;
    for (size_t i = 0; i < n; i++) {
        double wanted = DRAWS * (double)expected[i].probability, off = seen[expected[i].id] - wanted;
        chi_square += off * off / wanted;
        total += seen[expected[i].id];
    }
    assert_int_equal(total, DRAWS); /* nothing else was drawn */
    /* 99.9 % of sums of squares of 11 normal numbers are below 31.3; the seed is fixed, so this never flickers. */
    if (chi_square > 31.3) fail_msg("chi-square %.1f", chi_square);
    krait_sampler_free(sampler);
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    check_draws(OPTIONS(.temperature = 1));
    check_draws(OPTIONS(.temperature = 0.6f, .seed = 1));
    check_draws(OPTIONS(.temperature = 1, .top_k = 5, .seed = 2));
    check_draws(OPTIONS(.temperature = 1.5f, .top_p = 0.8f, .seed = 3));
    check_draws(OPTIONS(.temperature = 1, .min_p = 0.2f, .seed = 4));
    check_draws(OPTIONS(.temperature = 1, .top_k = 8, .top_p = 0.95f, .min_p = 0.1f, .seed = UINT64_MAX));
}

static void seed_decides(void **state)
{
    (void)state;
    float logits[64] = { 0 };
    int32_t first[50], other[50];
    krait_sampler *a = create(64, OPTIONS(.temperature = 1, .seed = 7)), *b = create(64, OPTIONS(.temperature = 1, .seed = 8));
    for (size_t i = 0; i < 50; i++) first[i] = draw(a, logits), other[i] = draw(b, logits);
    assert_memory_not_equal(first, other, sizeof first);
    for (int i = 0; i < 3; i++) {
        krait_sampler_reset(a);
        for (size_t j = 0; j < 50; j++) assert_int_equal(draw(a, logits), first[j]);
        for (int j = 0; j < i * 10; j++) draw(a, logits); /* more draws before the next reset */
    }
    krait_sampler_free(a);
    krait_sampler_free(b);
    /* seed 0 is a seed like any other, and the n-th draw does not depend on what the earlier ones chose from */
    float one[64];
    for (size_t i = 0; i < 64; i++) one[i] = i == 3 ? 0 : -INFINITY;
    krait_sampler *c = create(64, OPTIONS(.temperature = 1)), *d = create(64, OPTIONS(.temperature = 1, .top_k = 64));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(draw(d, one), 3);
        draw(c, logits);
        krait_candidate candidates[64];
        size_t n;
        assert_int_equal(krait_sampler_distribution(d, logits, candidates, &n, NULL), KRAIT_OK); /* draws nothing */
        assert_int_equal(draw(c, logits), draw(d, logits));
    }
    krait_sampler_free(c);
    krait_sampler_free(d);
}

static void the_last_bits_of_logits_hardly_matter(void **state)
{
    (void)state;
    float logits[MANY], close[MANY];
    kr_rng rng;
    kr_rng_seed(&rng, 3);
    krait_sampler *a = create(MANY, OPTIONS(.temperature = 1, .top_k = 400, .top_p = 0.95f));
    krait_sampler *b = create(MANY, OPTIONS(.temperature = 1, .top_k = 400, .top_p = 0.95f));
    int different = 0;
    for (int i = 0; i < 500; i++) {
        for (size_t j = 0; j < MANY; j++) {
            logits[j] = 2 * kr_rng_normal(&rng);
            close[j] = logits[j] * (1 + 1e-6f * kr_rng_normal(&rng)); /* another instruction set's */
        }
        different += draw(a, logits) != draw(b, close);
    }
    assert_true(different <= 1);
    krait_sampler_free(a);
    krait_sampler_free(b);
}

static void reset_forgets_the_history(void **state)
{
    (void)state;
    const float logits[3] = { 1, 2, 3 };
    krait_sampler *sampler = create(3, OPTIONS(.presence_penalty = 10, .penalty_window = 3));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(draw(sampler, logits), 2);
        assert_int_equal(draw(sampler, logits), 2); /* drawing does not accept */
        krait_sampler_accept(sampler, 2, NULL);
        assert_int_equal(draw(sampler, logits), 1);
        krait_sampler_reset(sampler);
    }
    krait_sampler_free(sampler);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void refuses(krait_sampling sampling, const char *message)
{
    krait_sampler *sampler = (krait_sampler *)&sampling;
    krait_error error = { 0 };
    assert_int_equal(krait_sampler_create(&sampler, 10, &sampling, &error), KRAIT_ERROR_ARGUMENT);
    assert_null(sampler);
    assert_string_equal(error.message, message);
    assert_int_equal(krait_sampler_create(&sampler, 10, &sampling, NULL), KRAIT_ERROR_ARGUMENT);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    refuses(OPTIONS(.temperature = -1), "temperature: expected a finite number, 0 or more, found -1");
    refuses(OPTIONS(.temperature = NAN), "temperature: expected a finite number, 0 or more, found nan");
    refuses(OPTIONS(.temperature = INFINITY), "temperature: expected a finite number, 0 or more, found inf");
    refuses(OPTIONS(.top_k = -2), "top_k: expected 0 or more, found -2");
    refuses(OPTIONS(.top_p = 1.5f), "top_p: expected a number from 0 to 1, found 1.5");
    refuses(OPTIONS(.top_p = -0.5f), "top_p: expected a number from 0 to 1, found -0.5");
    refuses(OPTIONS(.min_p = 2), "min_p: expected a number from 0 to 1, found 2");
    refuses(OPTIONS(.min_p = NAN), "min_p: expected a number from 0 to 1, found nan");
    refuses(OPTIONS(.repetition_penalty = -1), "repetition_penalty: expected a finite number, 0 or more, found -1");
    refuses(OPTIONS(.presence_penalty = NAN), "presence_penalty: expected a finite number, found nan");
    refuses(OPTIONS(.frequency_penalty = -INFINITY), "frequency_penalty: expected a finite number, found -inf");
    refuses(OPTIONS(.n_logit_bias = 2), "logit_bias: expected 2 entries, found NULL");
    krait_logit_bias bias[2] = { { 9, 1 }, { 10, 1 } };
    refuses(OPTIONS(.logit_bias = bias, .n_logit_bias = 2), "logit_bias[1].id: expected an id in 0 .. 9, found 10");
    bias[1] = (krait_logit_bias){ -1, 1 };
    refuses(OPTIONS(.logit_bias = bias, .n_logit_bias = 2), "logit_bias[1].id: expected an id in 0 .. 9, found -1");
    bias[1] = (krait_logit_bias){ 0, INFINITY };
    refuses(OPTIONS(.logit_bias = bias, .n_logit_bias = 2), "logit_bias[1].bias: expected a finite number or -inf, found inf");
    krait_sampler *sampler;
    assert_int_equal(krait_sampler_create(&sampler, 0, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_create(&sampler, (size_t)INT32_MAX + 1, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_create(NULL, 10, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_create(&sampler, 10, &OPTIONS(.presence_penalty = 1, .penalty_window = SIZE_MAX), NULL),
                     KRAIT_ERROR_MEMORY);
    krait_sampler_free(NULL);
}

static void refuses_logits(krait_sampling sampling, const float *logits, size_t n, const char *message)
{
    krait_sampler *sampler = create(n, sampling);
    krait_error error = { 0 };
    int32_t id = 5;
    assert_int_equal(krait_sampler_accept(sampler, 0, NULL), KRAIT_OK);
    assert_int_equal(krait_sampler_sample(sampler, logits, &id, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, message);
    assert_int_equal(id, 0);
    krait_candidate candidates[3];
    size_t n_found = 5;
    assert_int_equal(krait_sampler_distribution(sampler, logits, candidates, &n_found, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(n_found, 0);
    krait_sampler_free(sampler);
}

static void bad_logits_are_refused(void **state)
{
    (void)state;
    static const krait_sampling all[] = { { 0 }, { .temperature = 1 }, { .temperature = 1, .top_p = 0.5f, .top_k = 1 } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        refuses_logits(all[i], (float[]){ 1, NAN, 3 }, 3, "logits[1]: expected a finite number or -inf, found nan");
        refuses_logits(all[i], (float[]){ 1, 2, INFINITY }, 3, "logits[2]: expected a finite number or -inf, found inf");
        refuses_logits(all[i], (float[]){ -INFINITY, -INFINITY }, 2,
                       "logits: expected a token that can be drawn, found -inf for all 2");
        refuses_logits(all[i], NULL, 2, "logits: expected 2 numbers, found NULL");
    }
    const krait_logit_bias forbid[] = { { 0, -INFINITY }, { 1, -INFINITY } };
    refuses_logits(OPTIONS(.logit_bias = forbid, .n_logit_bias = 2), (float[]){ 1, 2 }, 2,
                   "logits: expected a token that can be drawn, found -inf for all 2 after bias and penalties");
    refuses_logits(OPTIONS(.repetition_penalty = 1e-30f), (float[]){ 1e30f, 2 }, 2,
                   "logits[0]: expected a finite number or -inf, found inf after bias and penalties");
    float many[MANY] = { 0 };
    many[MANY - 1] = NAN;
    many[999] = NAN;
    refuses_logits(OPTIONS(0), many, MANY, "logits[999]: expected a finite number or -inf, found nan");
}

static void an_error_uses_no_randomness(void **state)
{
    (void)state;
    const float good[3] = { 1, 1, 1 }, bad[3] = { 1, NAN, 1 };
    krait_sampler *a = create(3, OPTIONS(.temperature = 1)), *b = create(3, OPTIONS(.temperature = 1));
    int32_t id;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(krait_sampler_sample(a, bad, &id, NULL), KRAIT_ERROR_ARGUMENT);
        assert_int_equal(draw(a, good), draw(b, good));
    }
    krait_sampler_free(a);
    krait_sampler_free(b);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    krait_error error;
    krait_sampler *sampler = create(10, OPTIONS(.presence_penalty = 1));
    assert_int_equal(krait_sampler_accept(sampler, 10, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "token: expected an id in 0 .. 9, found 10");
    assert_int_equal(krait_sampler_accept(sampler, -1, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_accept(NULL, 0, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_sample(sampler, NULL, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_sampler_distribution(NULL, NULL, NULL, NULL, NULL), KRAIT_ERROR_ARGUMENT);
    krait_sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest),
        cmocka_unit_test(temperature_divides),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_p),
        cmocka_unit_test(top_p_alone_is_not_greedy),
        cmocka_unit_test(min_p_keeps_a_share_of_the_most_probable),
        cmocka_unit_test(filters_combine_in_order),
        cmocka_unit_test(the_worked_example_of_the_documentation_holds),
        cmocka_unit_test(bias_comes_first),
        cmocka_unit_test(repetition_penalty_acts_once_per_token),
        cmocka_unit_test(frequency_counts_and_presence_does_not),
        cmocka_unit_test(window_forgets_the_oldest),
        cmocka_unit_test(filters_match_a_full_sort),
        cmocka_unit_test(equals_are_ordered_by_id),
        cmocka_unit_test(top_k_of_one_is_greedy),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(the_last_bits_of_logits_hardly_matter),
        cmocka_unit_test(reset_forgets_the_history),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(bad_logits_are_refused),
        cmocka_unit_test(an_error_uses_no_randomness),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
