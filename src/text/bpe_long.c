/* Merging a piece of any length: a heap of its pairs, window by window so that everything stays in the cache.
 *
 * Why windows are exact. Say that two tokens stand side by side if encoding their bytes together gives these two. In the encoding
 * of any text, all neighbours stand side by side: no merge crosses a border between tokens, so what happens between two borders
 * happens there alone too. Conversely, tokens whose neighbours all stand side by side are the encoding of their bytes: the first
 * merge across a border would, as it is the lowest of all pairs at that moment, also be the lowest in the text of the two tokens
 * alone. So a window's tokens may be followed by another's when the two windows share a token. */
#include "text/bpe.h"

/* A token, and the pair that it begins. */
typedef struct kr_long_node {
    uint32_t token;
    uint32_t next, previous; /* neighbours in the window; next is the window's end for the last */
    uint32_t rank;           /* of the pair; KR_NO_RANK also for a token that was merged away */
} kr_long_node;

typedef struct window {
    const kr_bpe *bpe;
    kr_long_node *nodes; /* [n] by the position of a token's first byte */
    size_t n;
    uint64_t *heap; /* [n_heap] rank << 32 | position; out of date where the node has another rank by now. At most 2 n, as each
                       merge takes one and adds two */
    size_t n_heap;
} window;

void kr_bpe_scratch_free(kr_bpe_scratch *scratch)
{
    kr_free(scratch->nodes);
    kr_free(scratch->heap);
    *scratch = (kr_bpe_scratch){ 0 };
}

static krait_status prepare(kr_bpe_scratch *s, size_t n, krait_error *error)
{
    if (s->capacity >= n) return KRAIT_OK;
    kr_bpe_scratch_free(s);
    s->nodes = kr_alloc(n, sizeof *s->nodes);
    s->heap = kr_alloc(n, 2 * sizeof *s->heap);
    if (!s->nodes || !s->heap) {
        kr_bpe_scratch_free(s);
        return kr_fail_memory(error, "a long piece of text", n * (sizeof *s->nodes + 2 * sizeof *s->heap));
    }
    s->capacity = n;
    return KRAIT_OK;
}

/* Puts `key` in the place of heap[i], whose subtrees are heaps. */
static void heap_down(window *w, size_t i, uint64_t key)
{
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = key;
}

static uint64_t heap_pop(window *w)
{
    uint64_t top = w->heap[0];
    if (--w->n_heap > 0) heap_down(w, 0, w->heap[w->n_heap]);
    return top;
}

static void heap_push(window *w, uint64_t key)
{
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

/* Gives the pair that begins at `at` its rank. */
static void rank_pair(window *w, uint32_t at)
{
    kr_long_node *node = &w->nodes[at];
    node->rank = KR_NO_RANK;
    if (node->next < w->n) node->rank = kr_bpe_find_merge(w->bpe, node->token, w->nodes[node->next].token)->rank;
    if (node->rank != KR_NO_RANK) heap_push(w, (uint64_t)node->rank << 32 | at);
}

static void merge_window(window *w, const uint32_t *tokens)
{
    for (uint32_t i = 0; i < w->n; i++) {
        kr_long_node *node = &w->nodes[i];
        *node = (kr_long_node){ .token = tokens[i], .next = i + 1, .previous = i - 1, .rank = KR_NO_RANK };
        if (i + 1 < w->n) node->rank = kr_bpe_find_merge(w->bpe, tokens[i], tokens[i + 1])->rank;
        if (node->rank != KR_NO_RANK) w->heap[w->n_heap++] = (uint64_t)node->rank << 32 | i;
    }
    for (size_t i = w->n_heap / 2; i-- > 0;) heap_down(w, i, w->heap[i]);
    while (w->n_heap > 0) {
        uint64_t key = heap_pop(w);
        uint32_t at = (uint32_t)key;
        kr_long_node *node = &w->nodes[at], *gone = &w->nodes[node->next];
        if (node->rank != key >> 32) continue;
        node->token = kr_bpe_find_merge(w->bpe, node->token, gone->token)->id;
        gone->rank = KR_NO_RANK;
        node->next = gone->next;
        if (node->next < w->n) w->nodes[node->next].previous = at;
        rank_pair(w, at);
        if (at > 0) rank_pair(w, node->previous);
    }
}

krait_status kr_bpe_merge_long(const kr_bpe *bpe, kr_bpe_scratch *scratch, size_t size, uint32_t *tokens, size_t *n, bool *done,
                               krait_error *error)
{
    if (*n > INT32_MAX)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "text: expected pieces of at most 2 GB, found one of %zu bytes", *n);
    if (size > *n) size = *n;
    krait_status status = prepare(scratch, size, error);
    if (status) return status;
    kr_long_node shared = { 0 }; /* the token that the window has in common with the one before it */
    size_t written = 0;
    for (size_t begin = 0;;) {
        size_t rest = *n - begin;
        window w = { .bpe = bpe, .nodes = scratch->nodes, .heap = scratch->heap, .n = size < rest ? size : rest };
        merge_window(&w, tokens + begin);
        *done = begin == 0 || (w.nodes[0].token == shared.token && w.nodes[0].next == shared.next);
        if (!*done) return KRAIT_OK;
        /* What is close to the window's end depends on what follows. */
        size_t sure = w.n < rest ? w.n - w.n / 8 : w.n + 1, at = 0;
        for (; at < w.n && w.nodes[at].next < sure; at = w.nodes[at].next) tokens[written++] = w.nodes[at].token;
        if (w.n == rest) break;
        *done = at > 0;
        if (!*done) return KRAIT_OK;
        shared = w.nodes[at];
        shared.next -= (uint32_t)at;
        begin += at;
    }
    *n = written;
    return KRAIT_OK;
}
