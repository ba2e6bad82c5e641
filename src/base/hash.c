#include "base/hash.h"

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

uint64_t kr_checksum(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t sums[4] = { 0, 1, 2, 3 };
    size_t i = 0;
    for (; size - i >= 32; i += 32)
        for (size_t j = 0; j < 4; j++) sums[j] = turn(sums[j], word_at(bytes + i + 8 * j));
    unsigned char last[32] = { 0 };
    for (size_t j = i; j < size; j++) last[j - i] = bytes[j];
    for (size_t j = 0; j < (size - i + 7) / 8; j++) sums[j] = turn(sums[j], word_at(last + 8 * j));
    unsigned char end[40];
    for (size_t j = 0; j < 40; j++) end[j] = (unsigned char)((j < 32 ? sums[j / 8] : (uint64_t)size) >> (j % 8 * 8));
    return kr_fnv1a(KR_FNV_START, end, sizeof end);
}

uint64_t kr_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
