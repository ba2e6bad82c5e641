/* Merging a piece of any length in linear time. A heap of pairs would take n log n steps, each a cache miss; here the pairs of
 * each rank are in a list of their own, and the ranks are gone through from the lowest. Merging makes new pairs, which have
 * higher ranks when the vocabulary was trained; those of another vocabulary that have lower ones wait in a small heap. */
#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"

#define NONE UINT32_MAX

/* A token, and the pair that it begins. */
typedef struct kr_long_node {
    uint32_t token;
    uint32_t next, previous; /* neighbours in the piece; next is the end's position for the last */
    uint32_t rank;           /* of the pair; KR_NO_RANK also for a token that was merged away */
} kr_long_node;

/* A pair in the list of its rank; out of date where the node has another rank by now. */
typedef struct kr_long_pair {
    uint32_t at, next;
} kr_long_pair;

typedef struct long_piece {
    const kr_bpe *bpe;
    kr_bpe_scratch *scratch;
    kr_long_node *nodes; /* [n] */
    size_t n;
    uint32_t rank;   /* pairs of this rank are being merged, those above it are in lists */
    uint32_t unused; /* list of pairs that were taken from other lists */
    size_t n_pairs;  /* pairs[0..n_pairs) are in one list or another: at most 2 n, as each merge takes one and adds two */
    size_t n_early;  /* early[0..n_early): a heap of rank << 32 | position with ranks up to `rank` */
    krait_error *error;
} long_piece;

void kr_bpe_scratch_free(kr_bpe_scratch *scratch)
{
    kr_free(scratch->nodes);
    kr_free(scratch->pairs);
    kr_free(scratch->order);
    kr_free(scratch->heads);
    kr_free(scratch->occupied);
    kr_free(scratch->early);
    *scratch = (kr_bpe_scratch){ 0 };
}

/* ---- lists by rank ----------------------------------------------------------------------------------------------- */

static bool is_occupied(const kr_bpe_scratch *s, uint32_t rank) { return s->occupied[rank / 64] >> rank % 64 & 1; }

static krait_status push_pair(long_piece *p, uint32_t rank, uint32_t at)
{
    kr_bpe_scratch *s = p->scratch;
    uint32_t pair = p->unused;
    if (pair != NONE) {
        p->unused = s->pairs[pair].next;
    } else {
        if (p->n_pairs == s->pair_capacity) {
            size_t capacity = s->pair_capacity + s->pair_capacity / 2 + 64;
            kr_long_pair *pairs = kr_realloc(s->pairs, capacity, sizeof *pairs);
            if (!pairs) return kr_fail_memory(p->error, "a long piece of text", capacity * sizeof *pairs);
            s->pairs = pairs;
            s->pair_capacity = capacity;
        }
        pair = (uint32_t)p->n_pairs++;
    }
    s->pairs[pair] = (kr_long_pair){ at, is_occupied(s, rank) ? s->heads[rank] : NONE };
    s->heads[rank] = pair;
    s->occupied[rank / 64] |= (uint64_t)1 << rank % 64;
    return KRAIT_OK;
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Empties the list of p->rank into `order`, ascending; returns how many there are. */
static size_t take_list(long_piece *p)
{
    kr_bpe_scratch *s = p->scratch;
    size_t n = 0;
    bool ascending = true;
    for (uint32_t pair = s->heads[p->rank], next; pair != NONE; pair = next) {
        uint32_t at = s->pairs[pair].at;
        next = s->pairs[pair].next;
        s->pairs[pair].next = p->unused;
        p->unused = pair;
        if (p->nodes[at].rank != p->rank) continue;
        ascending &= n == 0 || s->order[n - 1] < at;
        s->order[n++] = at;
    }
    s->occupied[p->rank / 64] &= ~((uint64_t)1 << p->rank % 64);
    if (!ascending) qsort(s->order, n, sizeof *s->order, compare);
    return n;
}

/* The lowest occupied rank from `rank` on; KR_NO_RANK: there is none. */
static uint32_t next_rank(const long_piece *p, size_t rank)
{
    const uint64_t *occupied = p->scratch->occupied;
    size_t n_words = (p->bpe->n_ranks + 63) / 64, word = rank / 64;
    if (word >= n_words) return KR_NO_RANK;
    uint64_t bits = occupied[word] >> rank % 64 << rank % 64;
    while (bits == 0) {
        if (++word == n_words) return KR_NO_RANK;
        bits = occupied[word];
    }
    return (uint32_t)(word * 64 + (size_t)__builtin_ctzll(bits));
}

/* ---- the heap of early pairs ------------------------------------------------------------------------------------- */

static krait_status push_early(long_piece *p, uint64_t key)
{
    kr_bpe_scratch *s = p->scratch;
    if (p->n_early == s->early_capacity) {
        size_t capacity = 2 * s->early_capacity + 64;
        uint64_t *early = kr_realloc(s->early, capacity, sizeof *early);
        if (!early) return kr_fail_memory(p->error, "a long piece of text", capacity * sizeof *early);
        s->early = early;
        s->early_capacity = capacity;
    }
    size_t i = p->n_early++;
    for (; i > 0 && s->early[(i - 1) / 2] > key; i = (i - 1) / 2) s->early[i] = s->early[(i - 1) / 2];
    s->early[i] = key;
    return KRAIT_OK;
}

static uint64_t pop_early(long_piece *p)
{
    uint64_t *early = p->scratch->early, top = early[0], key = early[--p->n_early];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < p->n_early; i = child) {
        if (child + 1 < p->n_early && early[child + 1] < early[child]) child++;
        if (early[child] >= key) break;
        early[i] = early[child];
    }
    early[i] = key;
    return top;
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

/* Gives the pair that begins at `at` its rank anew, after one of its tokens changed. */
static krait_status renew_pair(long_piece *p, uint32_t at)
{
    kr_long_node *node = &p->nodes[at];
    node->rank = KR_NO_RANK;
    if (node->next < p->n) node->rank = kr_bpe_find_merge(p->bpe, node->token, p->nodes[node->next].token)->rank;
    if (node->rank == KR_NO_RANK) return KRAIT_OK;
    return node->rank > p->rank ? push_pair(p, node->rank, at) : push_early(p, (uint64_t)node->rank << 32 | at);
}

static krait_status merge_pair(long_piece *p, uint32_t at)
{
    kr_long_node *node = &p->nodes[at], *gone = &p->nodes[node->next];
    node->token = kr_bpe_find_merge(p->bpe, node->token, gone->token)->id;
    gone->rank = KR_NO_RANK;
    node->next = gone->next;
    if (node->next < p->n) p->nodes[node->next].previous = at;
    krait_status status = renew_pair(p, at);
    return status || at == 0 ? status : renew_pair(p, node->previous);
}

/* Merges every pair of p->rank, and whatever early pairs come up meanwhile, in the order of rank and position. */
static krait_status merge_rank(long_piece *p)
{
    const uint32_t *order = p->scratch->order;
    size_t n = take_list(p), i = 0;
    krait_status status = KRAIT_OK;
    while (!status && (i < n || p->n_early > 0)) {
        uint64_t key = i < n ? (uint64_t)p->rank << 32 | order[i] : UINT64_MAX;
        if (p->n_early > 0 && p->scratch->early[0] < key)
            key = pop_early(p);
        else
            i++;
        uint32_t at = (uint32_t)key;
        if (p->nodes[at].rank == key >> 32) status = merge_pair(p, at);
    }
    return status;
}

static krait_status prepare(const kr_bpe *bpe, kr_bpe_scratch *s, size_t n, krait_error *error)
{
    size_t n_words = (bpe->n_ranks + 63) / 64;
    if (!s->heads) s->heads = kr_alloc(bpe->n_ranks, sizeof *s->heads);
    if (!s->occupied) s->occupied = kr_alloc(n_words, sizeof *s->occupied);
    if (s->capacity < n) {
        kr_free(s->nodes);
        kr_free(s->order);
        s->nodes = kr_alloc(n, sizeof *s->nodes);
        s->order = kr_alloc(n, sizeof *s->order);
        s->capacity = s->nodes && s->order ? n : 0;
    }
    if (!s->heads || !s->occupied || !s->capacity)
        return kr_fail_memory(error, "a long piece of text", n * (sizeof *s->nodes + sizeof *s->order));
    memset(s->occupied, 0, n_words * sizeof *s->occupied);
    return KRAIT_OK;
}

krait_status kr_bpe_merge_long(const kr_bpe *bpe, kr_bpe_scratch *scratch, uint32_t *tokens, size_t *n, krait_error *error)
{
    if (*n > INT32_MAX) /* pairs are numbered below 2 n */
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "text: expected pieces of at most 2 GB, found one of %zu bytes", *n);
    krait_status status = prepare(bpe, scratch, *n, error);
    if (status) return status;
    long_piece p = { .bpe = bpe, .scratch = scratch, .nodes = scratch->nodes, .n = *n, .unused = NONE, .error = error };
    for (uint32_t i = (uint32_t)*n; !status && i-- > 0;) { /* backwards, so that the lists ascend */
        kr_long_node *node = &p.nodes[i];
        *node = (kr_long_node){ .token = tokens[i], .next = i + 1, .previous = i - 1, .rank = KR_NO_RANK };
        if (i + 1 < p.n) node->rank = kr_bpe_find_merge(bpe, tokens[i], tokens[i + 1])->rank;
        if (node->rank != KR_NO_RANK) status = push_pair(&p, node->rank, i);
    }
    for (p.rank = next_rank(&p, 0); !status && p.rank != KR_NO_RANK; p.rank = next_rank(&p, (size_t)p.rank + 1))
        status = merge_rank(&p);
    if (status) return status;
    size_t left = 0;
    for (uint32_t i = 0; i < p.n; i = p.nodes[i].next) tokens[left++] = p.nodes[i].token;
    *n = left;
    return KRAIT_OK;
}
