#include "text/word_cache.h"

#include <string.h>

krait_status kr_word_cache_create(kr_word_cache *cache, size_t length, krait_error *error)
{
    size_t n = 64; /* an entry for every eight bytes of text, up to what stays in a core's own cache */
    while (n < length / 8 && n < 16384) n *= 2;
    *cache = (kr_word_cache){ .words = kr_alloc_zero(n, sizeof *cache->words), .mask = n - 1 };
    return cache->words ? KRAIT_OK : kr_fail_memory(error, "a cache of words", n * sizeof *cache->words);
}

void kr_word_cache_free(kr_word_cache *cache)
{
    kr_free(cache->words);
    *cache = (kr_word_cache){ 0 };
}

/* The piece as two numbers, which with its length say all of it: its first bytes and its last, overlapping. */
static void read_key(uint64_t key[2], const char *piece, size_t length)
{
    if (length >= 8) {
        memcpy(&key[0], piece, 8);
        memcpy(&key[1], piece + length - 8, 8);
    } else if (length >= 4) {
        uint32_t first, last;
        memcpy(&first, piece, 4);
        memcpy(&last, piece + length - 4, 4);
        key[0] = first;
        key[1] = last;
    } else {
        key[0] = (unsigned char)piece[0] | (uint64_t)(unsigned char)piece[length / 2] << 8;
        key[1] = (unsigned char)piece[length - 1];
    }
}

kr_cached_word *kr_word_cache_place(kr_word_cache *cache, const char *piece, size_t length, bool *known)
{
    uint64_t key[2];
    read_key(key, piece, length);
    uint64_t hash = (key[0] * 0x9e3779b97f4a7c15u ^ key[1]) * 0xc2b2ae3d27d4eb4fu + length;
    kr_cached_word *word = &cache->words[(hash ^ hash >> 32) & cache->mask];
    *known = word->length == length && word->key[0] == key[0] && word->key[1] == key[1];
    if (!*known) {
        word->key[0] = key[0];
        word->key[1] = key[1];
        word->length = 0;
    }
    return word;
}
