/* The tokens of short pieces met before in the same text: most words come again. */
#ifndef KR_TEXT_WORD_CACHE_H
#define KR_TEXT_WORD_CACHE_H

#include "base/memory.h"
#include "text/buffer.h"

enum { KR_CACHED_BYTES = 16, KR_CACHED_IDS = 6 };

typedef struct kr_cached_word {
    uint64_t key[2];
    int32_t ids[KR_CACHED_IDS];
    uint32_t length; /* of the piece in bytes; 0: free */
    uint32_t n_ids;
} kr_cached_word;

/* A new word takes the place of another with the same hash. */
typedef struct kr_word_cache {
    kr_cached_word *words; /* [mask + 1] */
    size_t mask;
} kr_word_cache;

/* Makes a cache for a text of `length` bytes. */
krait_status kr_word_cache_create(kr_word_cache *cache, size_t length, krait_error *error);
void kr_word_cache_free(kr_word_cache *cache);

/* The place of a piece of 1 to KR_CACHED_BYTES bytes; *known says whether it is there already. If not, the caller may fill in ids
 * and then set n_ids and the length. */
kr_cached_word *kr_word_cache_place(kr_word_cache *cache, const char *piece, size_t length, bool *known);

#endif
