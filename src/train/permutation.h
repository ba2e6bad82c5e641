/* A permutation of 0 .. n - 1 without an array. */
#ifndef KR_TRAIN_PERMUTATION_H
#define KR_TRAIN_PERMUTATION_H

#include <stdint.h>

enum { KR_PERMUTATION_ROUNDS = 6 };

/* A Feistel network over 2h bits, the least with 4^h >= n. What leaves 0 .. n - 1 is sent through again until it is back
 * (cycle walking: Black and Rogaway 2002), which takes four turns at most on average. */
typedef struct kr_permutation {
    uint64_t n;
    int half; /* h */
    uint64_t keys[KR_PERMUTATION_ROUNDS];
} kr_permutation;

/* n at least 1 and at most 2^62. */
kr_permutation kr_permutation_make(uint64_t n, uint64_t seed);
uint64_t kr_permutation_at(const kr_permutation *permutation, uint64_t index);

#endif
