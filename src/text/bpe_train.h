/* Learning a byte pair encoding (Sennrich et al. 2016) from words and their counts: starting from bytes, the pair of neighbours that is
 * most frequent becomes a token, again and again. Of equally frequent pairs it is the one whose left token is the older, then the one whose right
 * token is; of bytes, the one that is first in the byte-level alphabet as Unicode orders it. (So does Hugging Face's trainer.) */
#ifndef KR_TEXT_BPE_TRAIN_H
#define KR_TEXT_BPE_TRAIN_H

#include "text/words.h"

/* The parts of a merge, and what it gives. Tokens 0 .. 255 are bytes (kr_trained_byte), later ones came from merges; a merge whose
 * bytes are those of an older token gives that one. */
typedef struct kr_trained_merge {
    uint32_t left, right, id;
} kr_trained_merge;

typedef struct kr_bpe_trained {
    kr_trained_merge *merges; /* [n_merges] */
    size_t n_merges;
    kr_words tokens; /* their bytes, by number: the 256 single ones first */
} kr_bpe_trained;

/* The byte that is token 0 .. 255. */
unsigned char kr_trained_byte(uint32_t token);

/* Goes on until there are n_tokens, or no pair is met min_count times. Of words longer than 1024 bytes, pairs across multiples of that
 * are not counted. */
krait_status kr_bpe_train(kr_bpe_trained *result, const kr_words *words, size_t n_tokens, uint64_t min_count,
                          const krait_progress *progress, krait_error *error);
void kr_bpe_trained_free(kr_bpe_trained *trained);

#endif
