#include "base/rng.h"

#include <math.h>

/* Multiplier and increment of the PCG paper's reference generator. */
static const uint64_t multiplier = 6364136223846793005u, increment = 1442695040888963407u;

void kr_rng_seed(kr_rng *rng, uint64_t seed)
{
    rng->state = seed + increment;
    kr_rng_u32(rng);
}

uint32_t kr_rng_u32(kr_rng *rng)
{
    uint64_t old = rng->state;
    rng->state = old * multiplier + increment;
    uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27), turn = (uint32_t)(old >> 59);
    return mixed >> turn | mixed << (-turn & 31);
}

float kr_rng_float(kr_rng *rng) { return (float)(kr_rng_u32(rng) >> 8) * 0x1p-24f; }

double kr_rng_double(kr_rng *rng)
{
    uint64_t high = kr_rng_u32(rng) >> 5, low = kr_rng_u32(rng) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

float kr_rng_normal(kr_rng *rng)
{
    double radius = sqrt(-2 * log(1 - kr_rng_double(rng)));
    return (float)(radius * cos(6.283185307179586 * kr_rng_double(rng)));
}
