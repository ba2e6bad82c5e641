/* Distinct pieces of text, and how often each was met. */
#ifndef KR_TEXT_WORDS_H
#define KR_TEXT_WORDS_H

#include "text/buffer.h"

typedef struct kr_word {
    size_t offset; /* of its bytes in `bytes` */
    size_t length;
    uint64_t count;
} kr_word;

/* A zeroed one is empty and ready. */
typedef struct kr_words {
    kr_buffer bytes;
    kr_word *words; /* [n] in the order in which they came */
    size_t n, capacity;
    uint32_t *slots; /* [n_slots] open addressing by the hash of the bytes: index + 1; 0: free */
    size_t n_slots;
    uint64_t n_met; /* sum of the counts */
} kr_words;

void kr_words_free(kr_words *words);
/* bytes[0..length), `count` times. */
krait_status kr_words_add(kr_words *words, const char *bytes, size_t length, uint64_t count, krait_error *error);

#endif
