/* The library's only source of randomness: PCG-XSH-RR 64/32 (O'Neill 2014), the same everywhere for the same seed. */
#ifndef KR_BASE_RNG_H
#define KR_BASE_RNG_H

#include <stdint.h>

typedef struct kr_rng {
    uint64_t state;
} kr_rng;

void kr_rng_seed(kr_rng *rng, uint64_t seed);
uint32_t kr_rng_u32(kr_rng *rng);
/* Uniform in [0, 1) with 24 and 53 bits. */
float kr_rng_float(kr_rng *rng);
double kr_rng_double(kr_rng *rng);
/* Normal with mean 0 and variance 1. */
float kr_rng_normal(kr_rng *rng);

#endif
