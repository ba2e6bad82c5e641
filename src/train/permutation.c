#include "train/permutation.h"

#include "base/hash.h"

kr_permutation kr_permutation_make(uint64_t n, uint64_t seed)
{
    kr_permutation p = { .n = n, .half = 1 };
    while (p.half < 31 && (UINT64_C(1) << 2 * p.half) < n) p.half++;
    for (uint64_t i = 0; i < KR_PERMUTATION_ROUNDS; i++)
        p.keys[i] = kr_mix(kr_mix(seed) + (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
    return p;
}

uint64_t kr_permutation_at(const kr_permutation *p, uint64_t index)
{
    uint64_t mask = (UINT64_C(1) << p->half) - 1;
    do {
        uint64_t left = index >> p->half, right = index & mask;
        for (int i = 0; i < KR_PERMUTATION_ROUNDS; i++) {
            uint64_t next = left ^ (kr_mix(right + p->keys[i]) & mask);
            left = right;
            right = next;
        }
        index = left << p->half | right;
    } while (index >= p->n);
    return index;
}
