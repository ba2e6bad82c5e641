#include "base/hash.h"

#include <assert.h>

uint64_t kr_fnv1a(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The compiler makes one load of it where bytes are in this order. */
static uint64_t word_at(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32
           | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static uint64_t turn(uint64_t sum, uint64_t word)
{
    sum ^= word;
    return (sum << 29 | sum >> 35) * UINT64_C(0x9e3779b97f4a7c15);
}

kr_checksum_sums kr_checksum_begin(void) { return (kr_checksum_sums){ .sums = { 0, 1, 2, 3 } }; }

void kr_checksum_add(kr_checksum_sums *to, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t sums[4] = { to->sums[0], to->sums[1], to->sums[2], to->sums[3] }; /* in registers */
    assert(size % KR_CHECKSUM_STEP == 0);
    for (size_t i = 0; i < size; i += KR_CHECKSUM_STEP)
        for (size_t j = 0; j < 4; j++) sums[j] = turn(sums[j], word_at(bytes + i + 8 * j));
    for (size_t j = 0; j < 4; j++) to->sums[j] = sums[j];
    to->size += size;
}

uint64_t kr_checksum_end(kr_checksum_sums *to, const void *rest, size_t size)
{
    const unsigned char *bytes = rest;
    const size_t whole = size - size % KR_CHECKSUM_STEP;
    kr_checksum_add(to, bytes, whole);
    unsigned char last[KR_CHECKSUM_STEP] = { 0 };
    for (size_t i = whole; i < size; i++) last[i - whole] = bytes[i];
    for (size_t j = 0; j < (size - whole + 7) / 8; j++) to->sums[j] = turn(to->sums[j], word_at(last + 8 * j));
    to->size += size - whole;
    unsigned char end[40];
    for (size_t j = 0; j < 40; j++) end[j] = (unsigned char)((j < 32 ? to->sums[j / 8] : to->size) >> (j % 8 * 8));
    return kr_fnv1a(KR_FNV_START, end, sizeof end);
}

uint64_t kr_checksum(const void *data, size_t size)
{
    kr_checksum_sums sums = kr_checksum_begin();
    return kr_checksum_end(&sums, data, size);
}

uint64_t kr_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
