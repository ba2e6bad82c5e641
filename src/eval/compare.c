/* krait_compare(): how far one model's predictions are from another's. */
#include <math.h>

#include "base/memory.h"
#include "base/threads.h"
#include "eval/walk.h"
#include "tensor/softmax.h"

/* Counts of values >= 0 by size, from which a percentile can be had to 1 % of it in memory that does not depend on how many there
 * are: each power of two in PARTS equal parts. What is smaller than 2^LOWEST counts as 0, what is larger than 2^HIGHEST as that. */
enum { LOWEST = -40, HIGHEST = 16, PARTS = 128, N_BINS = (HIGHEST - LOWEST) * PARTS + 1 };

typedef struct histogram {
    uint64_t bins[N_BINS]; /* [0]: zeros */
    uint64_t n;
} histogram;

/* What one token has to say. */
typedef struct row_score {
    double nats[KR_WALK_MODELS], divergence;
    bool agrees;
} row_score;

typedef struct comparing {
    size_t vocab_size;
    int threads;
    row_score *rows; /* [kr_walk_rows()] */
    histogram *divergences;
    double largest;
    kr_spread nats[KR_WALK_MODELS], difference, divergence, agreement;
} comparing;

static void histogram_add(histogram *h, double value)
{
    int exponent;
    double mantissa = frexp(value, &exponent); /* value = mantissa * 2^exponent, mantissa in [1/2, 1) */
    size_t bin = 0;
    if (value > 0 && exponent > HIGHEST)
        bin = N_BINS - 1;
    else if (value > 0 && exponent > LOWEST)
        bin = 1 + (size_t)(exponent - 1 - LOWEST) * PARTS + (size_t)((mantissa - 0.5) * 2 * PARTS);
    h->bins[bin]++;
    h->n++;
}

/* The upper end of the bin that holds the smallest value which at least `share` of all do not exceed. */
static double histogram_at(const histogram *h, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)h->n), seen = h->bins[0];
    size_t bin = 0;
    while (seen < wanted && bin + 1 < N_BINS) seen += h->bins[++bin];
    if (bin == 0) return 0;
    return ldexp(1 + (double)((bin - 1) % PARTS + 1) / PARTS, LOWEST + (int)((bin - 1) / PARTS));
}

/* sum_i exp(x[i] - max), in double: what is measured may be smaller than the rounding of floats. */
static double sum_of_powers(const float *x, size_t n, float max)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)max);
    return sum;
}

/* x are the logits of the base, y of the other, and with p = softmax(x)
 *     KL = sum_i p[i] (log p[i] - log q[i]) = sum_i p[i] (x[i] - y[i]) - log sum exp(x) + log sum exp(y),
 * taken relative to the largest logit of each. Equal logits give exactly 0. NaN when a logit is NaN or +infinity, or when the base
 * expects a token that is impossible to the other. */
static row_score score_row(const float *x, const float *y, size_t n, int32_t next)
{
    row_score score = { .nats = { NAN, NAN }, .divergence = NAN };
    float max_x, max_y;
    size_t first_x, first_y;
    bool fine = kr_softmax_max(x, n, &max_x, &first_x);
    fine = kr_softmax_max(y, n, &max_y, &first_y) && fine;
    if (!fine || max_x == -INFINITY || max_y == -INFINITY) return score;
    double sum_x = 0, sum_y = sum_of_powers(y, n, max_y), distance = 0;
    for (size_t i = 0; i < n; i++) {
        double above_x = (double)x[i] - (double)max_x, power = exp(above_x);
        sum_x += power;
        if (power > 0) distance += power * (above_x - ((double)y[i] - (double)max_y));
    }
    double log_x = log(sum_x), log_y = log(sum_y), divergence = distance / sum_x - log_x + log_y;
    score.nats[0] = log_x - ((double)x[next] - (double)max_x);
    score.nats[1] = log_y - ((double)y[next] - (double)max_y);
    score.divergence = divergence > 0 ? divergence : divergence <= 0 ? 0 : NAN; /* below 0 is rounding */
    score.agrees = first_x == first_y;
    return score;
}

/* The rows of a piece, shared between threads. */
typedef struct piece {
    comparing *c;
    const float *const *logits;
    const int32_t *next;
    size_t n;
} piece;

static void score_share(void *context, int thread, int n_threads)
{
    const piece *p = context;
    size_t begin, end, vocab_size = p->c->vocab_size;
    kr_share(p->n, 1, thread, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++)
        p->c->rows[i] = score_row(p->logits[0] + i * vocab_size, p->logits[1] + i * vocab_size, vocab_size, p->next[i]);
}

static krait_status score(void *context, const float *const *logits, const int32_t *next, size_t n, size_t at, krait_error *error)
{
    comparing *c = context;
    kr_parallel(c->threads, score_share, &(piece){ c, logits, next, n });
    for (size_t i = 0; i < n; i++) { /* in the order of the text, whatever the threads */
        const row_score *row = &c->rows[i];
        if (!isfinite(row->divergence) || !isfinite(row->nats[0]) || !isfinite(row->nats[1]))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "logits at token %zu: expected numbers in both models, found NaN or infinity", at + i);
        for (int m = 0; m < KR_WALK_MODELS; m++) kr_spread_add(&c->nats[m], row->nats[m]);
        kr_spread_add(&c->difference, row->nats[1] - row->nats[0]);
        kr_spread_add(&c->divergence, row->divergence);
        kr_spread_add(&c->agreement, row->agrees);
        histogram_add(c->divergences, row->divergence);
        if (row->divergence > c->largest) c->largest = row->divergence;
    }
    return KRAIT_OK;
}

static krait_comparison comparison_of(const comparing *c)
{
    double near = histogram_at(c->divergences, 0.99), ratio = exp(c->difference.mean);
    return (krait_comparison){
        .base = kr_perplexity_of(&c->nats[0]),
        .other = kr_perplexity_of(&c->nats[1]),
        .kl_divergence = c->divergence.mean,
        .kl_standard_error = kr_spread_error(&c->divergence),
        .kl_p99 = near < c->largest ? near : c->largest,
        .kl_max = c->largest,
        .top1_agreement = c->agreement.mean,
        .top1_standard_error = kr_spread_error(&c->agreement),
        .nats_difference = c->difference.mean,
        .nats_difference_standard_error = kr_spread_error(&c->difference),
        .perplexity_ratio = ratio,
        .perplexity_ratio_standard_error = ratio * kr_spread_error(&c->difference),
    };
}

krait_status krait_compare(krait_session *base, krait_session *other, const int32_t *tokens, size_t n_tokens,
                           const krait_perplexity_options *options, krait_comparison *result, krait_error *error)
{
    static const krait_perplexity_options defaults;
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_compare: result is NULL");
    *result = (krait_comparison){ 0 };
    if (!other) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_compare: other session is NULL");
    comparing c = { 0 };
    kr_walk walk = {
        .sessions = { base, other },
        .tokens = tokens,
        .n_tokens = n_tokens,
        .options = options ? options : &defaults,
        .name = "krait_compare",
        .score = score,
        .context = &c,
    };
    krait_status status = kr_walk_check(&walk, error);
    if (status) return status;
    int64_t vocab_size = krait_model_config(krait_session_model(base))->vocab_size;
    int64_t found = krait_model_config(krait_session_model(other))->vocab_size;
    if (vocab_size != found)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "vocab_size of the other model: expected %lld as in the base, found %lld",
                       (long long)vocab_size, (long long)found);
    c.vocab_size = (size_t)vocab_size;
    c.threads = krait_session_threads(base);
    c.rows = kr_alloc(kr_walk_rows(c.vocab_size), sizeof *c.rows);
    c.divergences = kr_alloc_zero(1, sizeof *c.divergences);
    if (c.rows && c.divergences)
        status = kr_walk_run(&walk, error);
    else
        status = kr_fail_memory(error, "scores", kr_walk_rows(c.vocab_size) * sizeof *c.rows + sizeof *c.divergences);
    if (!status) *result = comparison_of(&c);
    kr_free(c.rows);
    kr_free(c.divergences);
    return status;
}
