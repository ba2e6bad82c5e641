/* Hashes of bytes: against accidents, not against adversaries. */
#ifndef KR_BASE_HASH_H
#define KR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits (Fowler, Noll, Vo): goes on from `hash`, which is KR_FNV_START at first. */
#define KR_FNV_START UINT64_C(0xcbf29ce484222325)
uint64_t kr_fnv1a(uint64_t hash, const void *data, size_t size);

/* A checksum that is read as fast as memory: four sums over 64-bit little-endian words i, i + 4, ..., each
 *     s = rotate_left(s ^ word, 29) * 0x9e3779b97f4a7c15,  s_j = j at first,
 * the last words filled up with zeros; then the four and `size` by FNV-1a. Every change of a single word changes it. */
uint64_t kr_checksum(const void *data, size_t size);
/* The same in pieces: begin, any number of pieces of a multiple of KR_CHECKSUM_STEP bytes, and the rest, which may be empty. */
#define KR_CHECKSUM_STEP 32
typedef struct kr_checksum_sums {
    uint64_t sums[4], size;
} kr_checksum_sums;
kr_checksum_sums kr_checksum_begin(void);
void kr_checksum_add(kr_checksum_sums *sums, const void *data, size_t size);
uint64_t kr_checksum_end(kr_checksum_sums *sums, const void *rest, size_t size);

/* A bijection of 64 bits that looks like chance (the finaliser of SplitMix64: Steele, Lea, Flood 2014). */
uint64_t kr_mix(uint64_t x);

#endif
