/* Counts of pairs are kept up to date instead of being made anew: with each pair goes a list of the words that it may be in, and a
 * merge visits these. A heap knows the most frequent pair; entries whose count has changed since are put back when they come up. */
#include "text/bpe_train.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

enum { LONGEST = 1024 };

typedef struct pair {
    uint32_t left, right;
    uint64_t count;
    uint32_t *words; /* [n_words] where it may be: it was there once */
    uint32_t n_words, capacity;
    bool touched; /* by the merge at hand */
} pair;

/* A word, or a part of a long one, as tokens. */
typedef struct sequence {
    size_t offset; /* of its tokens */
    uint32_t length;
    uint64_t count;
} sequence;

typedef struct entry {
    uint64_t count;
    uint32_t pair;
} entry;

typedef struct trainer {
    uint32_t *tokens;    /* of all sequences */
    sequence *sequences; /* [n_sequences] */
    size_t n_sequences;
    pair *pairs; /* [n_pairs] */
    size_t n_pairs, pair_capacity;
    uint32_t *slots; /* [n_slots] of pairs: index + 1 */
    size_t n_slots;
    entry *heap; /* [n_heap] */
    size_t n_heap, heap_capacity;
    uint32_t *touched; /* [n_touched] pairs */
    size_t n_touched, touched_capacity;
    kr_words *texts; /* the bytes of the tokens */
    krait_error *error;
} trainer;

unsigned char kr_trained_byte(uint32_t token)
{
    /* Bytes that stand for themselves are characters below U+0100 and so come first. */
    if (token < 94) return (unsigned char)('!' + token);
    if (token < 106) return (unsigned char)(0xa1 + token - 94);
    if (token < 188) return (unsigned char)(0xae + token - 106);
    if (token < 221) return (unsigned char)(token - 188);
    if (token < 255) return (unsigned char)(0x7f + token - 221);
    return 0xad;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------- */

static size_t find_slot(const trainer *t, uint32_t left, uint32_t right)
{
    size_t slot = (size_t)kr_mix((uint64_t)left << 32 | right) & (t->n_slots - 1);
    for (; t->slots[slot]; slot = (slot + 1) & (t->n_slots - 1)) {
        const pair *p = &t->pairs[t->slots[slot] - 1];
        if (p->left == left && p->right == right) break;
    }
    return slot;
}

static krait_status grow_pairs(trainer *t)
{
    size_t capacity = t->pair_capacity ? 2 * t->pair_capacity : 4096;
    pair *pairs = kr_realloc(t->pairs, capacity, sizeof *pairs);
    if (!pairs) return kr_fail_memory(t->error, "pairs", capacity * sizeof *pairs);
    t->pairs = pairs;
    uint32_t *slots = kr_alloc_zero(2 * capacity, sizeof *slots);
    if (!slots) return kr_fail_memory(t->error, "pairs", 2 * capacity * sizeof *slots);
    kr_free(t->slots);
    t->slots = slots;
    t->n_slots = 2 * capacity;
    t->pair_capacity = capacity;
    for (size_t i = 0; i < t->n_pairs; i++) slots[find_slot(t, pairs[i].left, pairs[i].right)] = (uint32_t)i + 1;
    return KRAIT_OK;
}

static krait_status touch(trainer *t, uint32_t index)
{
    if (t->pairs[index].touched) return KRAIT_OK;
    if (t->n_touched == t->touched_capacity) {
        size_t capacity = t->touched_capacity ? 2 * t->touched_capacity : 1024;
        uint32_t *touched = kr_realloc(t->touched, capacity, sizeof *touched);
        if (!touched) return kr_fail_memory(t->error, "pairs", capacity * sizeof *touched);
        t->touched = touched;
        t->touched_capacity = capacity;
    }
    t->pairs[index].touched = true;
    t->touched[t->n_touched++] = index;
    return KRAIT_OK;
}

/* The pair is in the word `count` times more. */
static krait_status add_pair(trainer *t, uint32_t left, uint32_t right, uint32_t word, uint64_t count)
{
    krait_status status = t->n_pairs == t->pair_capacity ? grow_pairs(t) : KRAIT_OK;
    if (status) return status;
    size_t slot = find_slot(t, left, right);
    if (!t->slots[slot]) {
        t->pairs[t->n_pairs++] = (pair){ .left = left, .right = right };
        t->slots[slot] = (uint32_t)t->n_pairs;
    }
    uint32_t index = t->slots[slot] - 1;
    pair *p = &t->pairs[index];
    p->count += count;
    if (p->n_words == 0 || p->words[p->n_words - 1] != word) {
        if (p->n_words == p->capacity) {
            uint32_t capacity = p->capacity ? 2 * p->capacity : 4;
            uint32_t *words = kr_realloc(p->words, capacity, sizeof *words);
            if (!words) return kr_fail_memory(t->error, "places of pairs", capacity * sizeof *words);
            p->words = words;
            p->capacity = capacity;
        }
        p->words[p->n_words++] = word;
    }
    return touch(t, index);
}

static void take_pair(trainer *t, uint32_t left, uint32_t right, uint64_t count)
{
    size_t slot = find_slot(t, left, right);
    if (t->slots[slot]) t->pairs[t->slots[slot] - 1].count -= count;
}

/* ---- the heap ---------------------------------------------------------------------------------------------------- */

static bool is_before(const trainer *t, entry a, entry b)
{
    if (a.count != b.count) return a.count > b.count;
    const pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static krait_status push(trainer *t, uint32_t index)
{
    if (t->n_heap == t->heap_capacity) {
        size_t capacity = t->heap_capacity ? 2 * t->heap_capacity : 4096;
        entry *heap = kr_realloc(t->heap, capacity, sizeof *heap);
        if (!heap) return kr_fail_memory(t->error, "a heap of pairs", capacity * sizeof *heap);
        t->heap = heap;
        t->heap_capacity = capacity;
    }
    entry e = { t->pairs[index].count, index };
    size_t i = t->n_heap++;
    for (size_t parent; i > 0 && is_before(t, e, t->heap[parent = (i - 1) / 2]); i = parent) t->heap[i] = t->heap[parent];
    t->heap[i] = e;
    return KRAIT_OK;
}

static entry pop(trainer *t)
{
    entry top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->n_heap; i = child) {
        if (child + 1 < t->n_heap && is_before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!is_before(t, t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return top;
}

static krait_status push_touched(trainer *t, uint64_t min_count)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < t->n_touched; i++) {
        pair *p = &t->pairs[t->touched[i]];
        p->touched = false;
        if (!status && p->count >= min_count) status = push(t, t->touched[i]);
    }
    t->n_touched = 0;
    return status;
}

/* ---- the beginning ----------------------------------------------------------------------------------------------- */

static krait_status make_sequences(trainer *t, const kr_words *words)
{
    uint32_t token_of[256];
    for (uint32_t i = 0; i < 256; i++) token_of[kr_trained_byte(i)] = i;
    size_t n = 0, used = 0;
    for (size_t i = 0; i < words->n; i++) n += (words->words[i].length + LONGEST - 1) / LONGEST;
    if (n > UINT32_MAX) return kr_fail_memory(t->error, "words", n);
    t->tokens = kr_alloc(words->bytes.length, sizeof *t->tokens);
    t->sequences = kr_alloc(n, sizeof *t->sequences);
    if (!t->tokens || !t->sequences) return kr_fail_memory(t->error, "words as tokens", words->bytes.length * sizeof *t->tokens);
    for (size_t i = 0; i < words->n; i++) {
        const kr_word *word = &words->words[i];
        const char *bytes = words->bytes.data + word->offset;
        for (size_t at = 0; at < word->length; at += LONGEST) {
            size_t length = word->length - at < LONGEST ? word->length - at : LONGEST;
            t->sequences[t->n_sequences++] = (sequence){ used, (uint32_t)length, word->count };
            for (size_t j = 0; j < length; j++) t->tokens[used++] = token_of[(unsigned char)bytes[at + j]];
        }
    }
    return KRAIT_OK;
}

static krait_status count_pairs(trainer *t)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < t->n_sequences; i++) {
        const sequence *s = &t->sequences[i];
        const uint32_t *tokens = t->tokens + s->offset;
        for (uint32_t j = 0; !status && j + 1 < s->length; j++)
            status = add_pair(t, tokens[j], tokens[j + 1], (uint32_t)i, s->count);
    }
    return status;
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

static krait_status merge_in(trainer *t, uint32_t word, uint32_t left, uint32_t right, uint32_t id)
{
    sequence *s = &t->sequences[word];
    uint32_t *tokens = t->tokens + s->offset, n = 0;
    krait_status status = KRAIT_OK;
    for (uint32_t i = 0; i < s->length; i++) {
        if (status || tokens[i] != left || i + 1 == s->length || tokens[i + 1] != right) {
            tokens[n++] = tokens[i];
            continue;
        }
        if (n > 0) {
            take_pair(t, tokens[n - 1], left, s->count);
            status = add_pair(t, tokens[n - 1], id, word, s->count);
        }
        if (!status && i + 2 < s->length) {
            take_pair(t, right, tokens[i + 2], s->count);
            status = add_pair(t, id, tokens[i + 2], word, s->count);
        }
        tokens[n++] = id;
        i++;
    }
    s->length = n;
    return status;
}

/* The token of the two tokens' bytes, which may be there already. */
static krait_status find_token(trainer *t, uint32_t left, uint32_t right, uint32_t *id)
{
    kr_words *texts = t->texts;
    kr_word a = texts->words[left], b = texts->words[right];
    char *joined = kr_alloc(a.length + b.length, 1);
    if (!joined) return kr_fail_memory(t->error, "a token", a.length + b.length);
    memcpy(joined, texts->bytes.data + a.offset, a.length);
    memcpy(joined + a.length, texts->bytes.data + b.offset, b.length);
    size_t before = texts->n;
    krait_status status = kr_words_add(texts, joined, a.length + b.length, 1, t->error);
    *id = (uint32_t)before;
    /* An old one is told by its count, which was 1 before. */
    for (size_t i = 256; !status && texts->n == before && i < before; i++)
        if (texts->words[i].count > 1) {
            texts->words[i].count = 1;
            *id = (uint32_t)i;
        }
    kr_free(joined);
    return status;
}

static krait_status merge(trainer *t, uint32_t index, kr_bpe_trained *result)
{
    uint32_t left = t->pairs[index].left, right = t->pairs[index].right, id, n_words = t->pairs[index].n_words;
    uint32_t *words = t->pairs[index].words;
    krait_status status = find_token(t, left, right, &id);
    if (status) return status;
    result->merges[result->n_merges++] = (kr_trained_merge){ left, right, id };
    t->pairs[index].words = NULL; /* add_pair() moves pairs, and this one never comes again */
    t->pairs[index].n_words = t->pairs[index].capacity = 0;
    for (uint32_t i = 0; !status && i < n_words; i++) status = merge_in(t, words[i], left, right, id);
    kr_free(words);
    t->pairs[index].count = 0;
    return status;
}

static krait_status run(trainer *t, kr_bpe_trained *result, const kr_words *words, size_t n_tokens, uint64_t min_count,
                        const krait_progress *progress)
{
    krait_status status = make_sequences(t, words);
    if (!status) status = count_pairs(t);
    if (!status) status = push_touched(t, min_count);
    for (uint32_t i = 0; !status && i < 256; i++)
        status = kr_words_add(t->texts, &(char){ (char)kr_trained_byte(i) }, 1, 1, t->error);
    size_t capacity = 0;
    while (!status && t->texts->n < n_tokens && t->n_heap > 0) {
        entry top = pop(t);
        uint64_t count = t->pairs[top.pair].count;
        if (count != top.count) {
            if (count >= min_count) status = push(t, top.pair);
            continue;
        }
        if (result->n_merges == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            kr_trained_merge *merges = kr_realloc(result->merges, capacity, sizeof *merges);
            if (!merges) return kr_fail_memory(t->error, "merges", capacity * sizeof *merges);
            result->merges = merges;
        }
        status = merge(t, top.pair, result);
        if (!status) status = push_touched(t, min_count);
        if (!status && progress && progress->report && !progress->report(progress->user, "merging", t->texts->n, n_tokens))
            status = kr_fail(t->error, KRAIT_ERROR_INTERRUPTED, "training of the tokenizer stopped");
    }
    return status;
}

krait_status kr_bpe_train(kr_bpe_trained *result, const kr_words *words, size_t n_tokens, uint64_t min_count,
                          const krait_progress *progress, krait_error *error)
{
    trainer t = { .texts = &result->tokens, .error = error };
    *result = (kr_bpe_trained){ 0 };
    krait_status status = run(&t, result, words, n_tokens, min_count ? min_count : 1, progress);
    for (size_t i = 0; i < t.n_pairs; i++) kr_free(t.pairs[i].words);
    kr_free(t.tokens);
    kr_free(t.sequences);
    kr_free(t.pairs);
    kr_free(t.slots);
    kr_free(t.heap);
    kr_free(t.touched);
    if (status) kr_bpe_trained_free(result);
    return status;
}

void kr_bpe_trained_free(kr_bpe_trained *trained)
{
    kr_free(trained->merges);
    kr_words_free(&trained->tokens);
    *trained = (kr_bpe_trained){ 0 };
}
