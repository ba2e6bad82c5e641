/* Byte pair encoding (Sennrich et al. 2016) of a piece of text: starting from its bytes (or characters), the pair of neighbours with the lowest
 * rank is merged, the leftmost of equals first, until no pair has a rank. */
#ifndef KR_TEXT_BPE_H
#define KR_TEXT_BPE_H

#include "text/buffer.h"
#include "text/vocabulary.h"

/* The rank of a pair that does not merge. */
#define KR_NO_RANK UINT32_MAX

/* left followed by right becomes `id`. */
typedef struct kr_merge {
    uint32_t left, right, rank, id;
} kr_merge;

/* Immutable once built; borrows the vocabulary, the rest is in the arena. */
typedef struct kr_bpe {
    const kr_vocabulary *vocabulary;
    kr_merge *merges; /* [merge_mask + 1] open addressing by the pair */
    size_t merge_mask;
    size_t n_ranks;        /* one more than the largest rank */
    int32_t byte_ids[256]; /* -1: the vocabulary has no such token */
    int32_t unk_id;        /* for bytes without a token; -1: they are an error */
    bool none;             /* there are no merges */
    bool fuse_unk, ignore_merges, characters;
} kr_bpe;

/* Refused: merges of or into tokens that the vocabulary does not have, an unknown unk_token, byte_fallback where it would be
 * needed. */
krait_status kr_bpe_build(kr_bpe *bpe, const kr_vocabulary *vocabulary, kr_arena *arena, const char *name,
                          const kr_tokenizer_json *json, krait_error *error);

/* The entry of a pair; one with KR_NO_RANK, which is the free slot where it would go, if it does not merge. */
static inline kr_merge *kr_bpe_find_merge(const kr_bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    size_t slot = (size_t)(hash >> 32 ^ hash >> 15) & bpe->merge_mask;
    while (bpe->merges[slot].rank != KR_NO_RANK && (bpe->merges[slot].left != left || bpe->merges[slot].right != right))
        slot = (slot + 1) & bpe->merge_mask;
    return &bpe->merges[slot];
}

/* What merging long pieces needs, kept from piece to piece. A zeroed one is ready. */
typedef struct kr_bpe_scratch {
    struct kr_long_node *nodes; /* [capacity] */
    uint64_t *heap;             /* [2 * capacity] */
    size_t capacity;
} kr_bpe_scratch;

void kr_bpe_scratch_free(kr_bpe_scratch *scratch);

/* Appends the tokens of one piece, in time proportional to its length. On an error ids->length is as it was.
 * KRAIT_ERROR_ARGUMENT: a byte that has no token, where there is no unk_token. */
krait_status kr_bpe_encode(const kr_bpe *bpe, kr_bpe_scratch *scratch, const char *piece, size_t length, kr_ids *ids,
                           krait_error *error);

/* What kr_bpe_encode() does with a long piece: merges tokens[0..*n) in place, in windows of `size` tokens. *done false: the windows did
 * not fit together, and tokens are spoilt; that cannot happen when size >= *n. */
krait_status kr_bpe_merge_long(const kr_bpe *bpe, kr_bpe_scratch *scratch, size_t size, uint32_t *tokens, size_t *n, bool *done,
                               krait_error *error);

#endif
