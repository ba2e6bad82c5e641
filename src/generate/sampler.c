/* From logits to one token: the samplers in the order that krait.h gives.
 *
 * Every filter keeps the front of one order: by distance from the largest logit, equal ones by id. The vocabulary is never
 * sorted: a histogram of the distances shows in which bucket a filter cuts, everything before that bucket stays, and only the
 * bucket itself is searched for the cut. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/status.h"
#include "tensor/softmax.h"

/* The histogram: this many buckets for each factor of e, up to the end of kr_softmax_exp(). */
enum { BUCKETS_PER_E = 16, BUCKETS = (int)KR_SOFTMAX_LIMIT * BUCKETS_PER_E };

/* A token that can still be drawn. */
typedef struct item {
    float distance; /* (largest logit - logit) / temperature */
    float weight;   /* exp(-distance): the probability, not normalised */
    int32_t id;
} item;

struct krait_sampler {
    krait_sampling options;
    size_t vocab_size;
    krait_logit_bias *bias; /* [options.n_logit_bias] */
    kr_rng rng;

    /* The history, if there are penalties: how often each token is in it, and with a window its tokens, the oldest at `next`
     * once there are `penalty_window` of them. */
    bool penalised;
    uint32_t *counts; /* [vocab_size] */
    int32_t *window;  /* [penalty_window] */
    size_t next, n_window;

    float *row;  /* [vocab_size]: logits with bias and penalties, then distances, then weights */
    item *items; /* [vocab_size], by id: a draw counts in this order, which no rounding of logits changes */
    double bucket_weights[BUCKETS];
    item *bucket; /* [vocab_size]: those of the bucket with the cut */
};

static krait_status check_number(const char *name, float value, float low, float high, const char *expected, krait_error *error)
{
    if (value >= low && value <= high) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected %s, found %g", name, expected, (double)value);
}

static krait_status check_options(const krait_sampling *o, size_t vocab_size, krait_error *error)
{
    krait_status status;
    if ((status = check_number("temperature", o->temperature, 0, FLT_MAX, "a finite number, 0 or more", error))
        || (status = check_number("top_p", o->top_p, 0, 1, "a number from 0 to 1", error))
        || (status = check_number("min_p", o->min_p, 0, 1, "a number from 0 to 1", error))
        || (status = check_number("repetition_penalty", o->repetition_penalty, 0, FLT_MAX, "a finite number, 0 or more", error))
        || (status = check_number("presence_penalty", o->presence_penalty, -FLT_MAX, FLT_MAX, "a finite number", error))
        || (status = check_number("frequency_penalty", o->frequency_penalty, -FLT_MAX, FLT_MAX, "a finite number", error)))
        return status;
    if (o->top_k < 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "top_k: expected 0 or more, found %d", (int)o->top_k);
    if (o->n_logit_bias && !o->logit_bias)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logit_bias: expected %zu entries, found NULL", o->n_logit_bias);
    for (size_t i = 0; i < o->n_logit_bias; i++) {
        const krait_logit_bias *b = &o->logit_bias[i];
        if (b->id < 0 || (size_t)b->id >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logit_bias[%zu].id: expected an id in 0 .. %zu, found %d", i,
                           vocab_size - 1, (int)b->id);
        if (!(b->bias <= FLT_MAX))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logit_bias[%zu].bias: expected a finite number or -inf, found %g", i,
                           (double)b->bias);
    }
    return KRAIT_OK;
}

krait_status krait_sampler_create(krait_sampler **sampler, size_t vocab_size, const krait_sampling *sampling, krait_error *error)
{
    if (!sampler) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sampler: expected a pointer, found NULL");
    *sampler = NULL;
    if (vocab_size < 1 || vocab_size > INT32_MAX)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "vocab_size: expected 1 to %d, found %zu", INT32_MAX, vocab_size);
    krait_sampling options = sampling ? *sampling : (krait_sampling){ 0 };
    krait_status status = check_options(&options, vocab_size, error);
    if (status) return status;
    /* 0 and "not there" are spelled one way from here on. */
    if (options.repetition_penalty == 0) options.repetition_penalty = 1;
    if (options.top_p == 0) options.top_p = 1;
    if (options.top_k == 0 || (size_t)options.top_k > vocab_size) options.top_k = (int32_t)vocab_size;

    krait_sampler *s = kr_alloc_zero(1, sizeof *s);
    if (!s) return kr_fail_memory(error, "a sampler", sizeof *s);
    s->options = options;
    s->options.logit_bias = NULL;
    s->vocab_size = vocab_size;
    s->penalised = options.repetition_penalty != 1 || options.presence_penalty != 0 || options.frequency_penalty != 0;
    s->row = kr_alloc(vocab_size, sizeof *s->row);
    s->items = kr_alloc(vocab_size, sizeof *s->items);
    s->bucket = kr_alloc(vocab_size, sizeof *s->bucket);
    s->bias = kr_alloc(options.n_logit_bias, sizeof *s->bias);
    if (s->penalised) {
        s->counts = kr_alloc(vocab_size, sizeof *s->counts);
        s->window = kr_alloc(options.penalty_window, sizeof *s->window);
    }
    if (!s->row || !s->items || !s->bucket || !s->bias || (s->penalised && (!s->counts || !s->window))) {
        krait_sampler_free(s);
        return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory: a sampler for %zu tokens, penalty_window %zu", vocab_size,
                       options.penalty_window);
    }
    if (options.n_logit_bias) memcpy(s->bias, options.logit_bias, options.n_logit_bias * sizeof *s->bias);
    krait_sampler_reset(s);
    *sampler = s;
    return KRAIT_OK;
}

void krait_sampler_free(krait_sampler *s)
{
    if (!s) return;
    kr_free(s->bias);
    kr_free(s->counts);
    kr_free(s->window);
    kr_free(s->row);
    kr_free(s->items);
    kr_free(s->bucket);
    kr_free(s);
}

void krait_sampler_reset(krait_sampler *s)
{
    kr_rng_seed(&s->rng, s->options.seed);
    s->next = s->n_window = 0;
    if (s->penalised) memset(s->counts, 0, s->vocab_size * sizeof *s->counts);
}

krait_status krait_sampler_accept(krait_sampler *s, int32_t id, krait_error *error)
{
    if (!s) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sampler: expected a pointer, found NULL");
    if (id < 0 || (size_t)id >= s->vocab_size)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token: expected an id in 0 .. %zu, found %d", s->vocab_size - 1, (int)id);
    if (!s->penalised) return KRAIT_OK;
    size_t size = s->options.penalty_window;
    if (size) {
        if (s->n_window == size)
            s->counts[s->window[s->next]]--;
        else
            s->n_window++;
        s->window[s->next] = id;
        s->next = s->next + 1 == size ? 0 : s->next + 1;
    }
    if (s->counts[id] < UINT32_MAX) s->counts[id]++;
    return KRAIT_OK;
}

/* Logits with bias and penalties: `logits` itself when there are none, else s->row. */
static const float *adjust(krait_sampler *s, const float *logits)
{
    const krait_sampling *o = &s->options;
    if (!s->penalised && !o->n_logit_bias) return logits;
    memcpy(s->row, logits, s->vocab_size * sizeof *s->row);
    for (size_t i = 0; i < o->n_logit_bias; i++) s->row[s->bias[i].id] += s->bias[i].bias;
    if (!s->penalised) return s->row;
    for (size_t i = 0; i < s->vocab_size; i++) {
        if (s->counts[i] == 0) continue;
        float logit = s->row[i];
        logit = logit > 0 ? logit / o->repetition_penalty : logit * o->repetition_penalty;
        s->row[i] = logit - (o->frequency_penalty * (float)s->counts[i] + o->presence_penalty);
    }
    return s->row;
}

/* ---- the order: by distance, equal ones by id ---- */

static bool precedes(const item *a, const item *b)
{
    return a->distance < b->distance || (a->distance == b->distance && a->id < b->id);
}

static void swap(item *a, item *b)
{
    item t = *a;
    *a = *b;
    *b = t;
}

/* Restores the heap of n items, the last in the order on top, below place i. */
static void sift(item *heap, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && precedes(&heap[child], &heap[child + 1])) child++;
        if (!precedes(&heap[i], &heap[child])) return;
        swap(&heap[i], &heap[child]);
    }
}

/* Heapsort: the C library's qsort() may allocate. */
static void sort(item *items, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) sift(items, n, i);
    for (size_t i = n; i-- > 1;) {
        swap(&items[0], &items[i]);
        sift(items, i, 0);
    }
}

/* The last, in the order, of the fewest items from its front whose weights sum to `target` > 0 (of all, if they never do):
 * Hoare's quickselect (1961), by weight instead of by rank. Shuffles the items. */
static item select_last(item *items, size_t n, double target)
{
    size_t begin = 0, end = n; /* those before `begin` belong to the front, those from `end` on do not */
    double sum = 0;            /* weights of those before `begin` */
    kr_rng rng = { 0 };        /* so that no order of the input is a bad one */
    while (begin < end && sum < target) {
        swap(&items[begin + kr_rng_u32(&rng) % (end - begin)], &items[end - 1]);
        const item pivot = items[end - 1];
        double before = 0; /* weights of those before the pivot */
        size_t place = begin;
        for (size_t i = begin; i + 1 < end; i++) {
            item t = items[i];
            bool first = precedes(&t, &pivot);
            items[i] = items[place];
            items[place] = t;
            place += first;
            before += first ? (double)t.weight : 0;
        }
        if (sum + before >= target) {
            end = place;
        } else {
            swap(&items[place], &items[end - 1]);
            sum += before + (double)pivot.weight;
            begin = place + 1;
        }
    }
    item last = items[0];
    for (size_t i = 1; i < begin; i++)
        if (precedes(&last, &items[i])) last = items[i];
    return last;
}

static size_t bucket_of(const item *i) { return (size_t)(i->distance * BUCKETS_PER_E); }

/* Keeps the fewest items from the front of the order whose weights sum to `target`, at least one; all if they never do. They
 * stay where they were among each other. Returns how many. */
static size_t keep_front(krait_sampler *s, size_t n, double target)
{
    item *items = s->items;
    memset(s->bucket_weights, 0, sizeof s->bucket_weights);
    for (size_t i = 0; i < n; i++) s->bucket_weights[bucket_of(&items[i])] += (double)items[i].weight;
    double before = 0;
    size_t cut = 0, n_cut = 0, kept = 0;
    while (cut < BUCKETS && before + s->bucket_weights[cut] < target) before += s->bucket_weights[cut++];
    if (cut == BUCKETS) return n;
    for (size_t i = 0; i < n; i++)
        if (bucket_of(&items[i]) == cut) s->bucket[n_cut++] = items[i];
    const item last = select_last(s->bucket, n_cut, target - before);
    for (size_t i = 0; i < n; i++)
        if (!precedes(&last, &items[i])) items[kept++] = items[i];
    return kept;
}

static double sum_weights(const item *items, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)items[i].weight;
    return sum;
}

/* Fills s->items with the *n tokens that can be drawn. */
static krait_status choose_items(krait_sampler *s, const float *logits, size_t *n_items, krait_error *error)
{
    if (!logits) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logits: expected %zu numbers, found NULL", s->vocab_size);
    const krait_sampling *o = &s->options;
    const float *adjusted = adjust(s, logits);
    float max;
    size_t index;
    if (!kr_softmax_max(adjusted, s->vocab_size, &max, &index))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logits[%zu]: expected a finite number or -inf, found %g%s", index,
                       (double)adjusted[index], adjusted == logits ? "" : " after bias and penalties");
    if (max == -INFINITY)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "logits: expected a token that can be drawn, found -inf for all %zu%s",
                       s->vocab_size, adjusted == logits ? "" : " after bias and penalties");
    item *items = s->items;
    if (o->temperature == 0) {
        items[0] = (item){ .id = (int32_t)index, .weight = 1 };
        *n_items = 1;
        return KRAIT_OK;
    }
    for (size_t i = 0; i < s->vocab_size; i++) s->row[i] = (max - adjusted[i]) / o->temperature;
    size_t n = 0;
    for (size_t i = 0; i < s->vocab_size; i++) {
        items[n] = (item){ .distance = s->row[i], .weight = 1, .id = (int32_t)i };
        n += s->row[i] < KR_SOFTMAX_LIMIT;
    }
    if ((size_t)o->top_k < n) n = keep_front(s, n, o->top_k);

    for (size_t i = 0; i < n; i++) s->row[i] = items[i].distance;
    kr_softmax_exp(s->row, s->row, n);
    for (size_t i = 0; i < n; i++) items[i].weight = s->row[i];
    if (o->top_p < 1) n = keep_front(s, n, (double)o->top_p * sum_weights(items, n));
    if (o->min_p > 0) {
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
            if (items[i].weight >= o->min_p) items[kept++] = items[i];
        n = kept;
    }
    *n_items = n;
    return KRAIT_OK;
}

krait_status krait_sampler_sample(krait_sampler *s, const float *logits, int32_t *id, krait_error *error)
{
    if (!s || !id) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sampler, id: expected pointers, found NULL");
    *id = 0;
    size_t n;
    krait_status status = choose_items(s, logits, &n, error);
    if (status) return status;
    size_t drawn = 0;
    if (s->options.temperature > 0) {
        double place = kr_rng_double(&s->rng) * sum_weights(s->items, n), sum = (double)s->items[0].weight;
        while (drawn + 1 < n && sum <= place) sum += (double)s->items[++drawn].weight;
    }
    *id = s->items[drawn].id;
    return KRAIT_OK;
}

krait_status krait_sampler_distribution(krait_sampler *s, const float *logits, krait_candidate *candidates, size_t *n,
                                        krait_error *error)
{
    if (!s || !candidates || !n)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sampler, candidates, n: expected pointers, found NULL");
    *n = 0;
    krait_status status = choose_items(s, logits, n, error);
    if (status) return status;
    double sum = sum_weights(s->items, *n);
    sort(s->items, *n);
    for (size_t i = 0; i < *n; i++)
        candidates[i] = (krait_candidate){ s->items[i].id, (float)((double)s->items[i].weight / sum) };
    return KRAIT_OK;
}
