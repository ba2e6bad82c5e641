#include "tensor/softmax.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Four lanes exist on every machine, and fixing their number fixes the order of the additions. Written as vectors because
 * compilers do not vectorise a float comparison, which may trap. */
enum { LANES = 4, BLOCK = 32 };
typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));
typedef uint32_t bits __attribute__((vector_size(16)));

static inline floats load(const float *x)
{
    floats v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline floats larger(floats a, floats b)
{
    ints mask = a > b;
    return (floats)((mask & (ints)a) | (~mask & (ints)b));
}

/* exp(x), x <= 0: x = n*ln(2) + r with |r| <= ln(2)/2, so that exp(x) = 2^n * exp(r). */
static inline floats exp_lanes(floats x)
{
    /* 1.5 * 2^23 leaves n, rounded to nearest, in the low bits of the sum. ln(2) in two parts: n times the first is exact. */
    const float shift = 0x1.8p23f, ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
    floats limit = { -KR_SOFTMAX_LIMIT, -KR_SOFTMAX_LIMIT, -KR_SOFTMAX_LIMIT, -KR_SOFTMAX_LIMIT };
    x = larger(x, limit);
    floats shifted = x * 0x1.715476p0f + shift, n = shifted - shift;
    floats r = x - n * ln2_high - n * ln2_low;
    /* Taylor's series to r^7/7!: what is left out is below 6e-9. */
    floats p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return (floats)((bits)p + ((bits)shifted << 23));
}

void kr_softmax_exp(float *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; n - i >= LANES; i += LANES) {
        floats v = exp_lanes(-load(x + i));
        memcpy(out + i, &v, sizeof v);
    }
    floats last = { 0 };
    if (n > i) memcpy(&last, x + i, (n - i) * sizeof *x);
    last = exp_lanes(-last);
    if (n > i) memcpy(out + i, &last, (n - i) * sizeof *x);
}

bool kr_softmax_max(const float *x, size_t n, float *max, size_t *index)
{
    float best = -INFINITY;
    size_t i = 0, where = 0; /* where: the block that has it, or the element */
    bool bad = false;
    for (; n - i >= BLOCK; i += BLOCK) {
        floats here = load(x + i);
        ints good = here <= FLT_MAX;
        for (size_t k = LANES; k < BLOCK; k += LANES) {
            floats v = load(x + i + k);
            good &= v <= FLT_MAX;
            here = larger(v, here);
        }
        bad |= !(good[0] & good[1] & good[2] & good[3]);
        for (size_t j = 0; j < LANES; j++)
            if (here[j] > best) best = here[j], where = i;
    }
    for (; i < n; i++) {
        if (x[i] > best) best = x[i], where = i;
        bad |= !(x[i] <= FLT_MAX);
    }
    *max = best;
    if (bad) {
        for (where = 0; x[where] <= FLT_MAX;) where++;
    } else {
        while (x[where] != best) where++;
    }
    *index = where;
    return !bad;
}

double kr_softmax_log_sum(const float *x, size_t n)
{
    float max;
    size_t index, i = 0;
    if (!kr_softmax_max(x, n, &max, &index)) return NAN;
    if (max == -INFINITY) return -INFINITY;
    double sum = 0;
    for (; n - i >= BLOCK; i += BLOCK) {
        floats block = { 0 }; /* a few additions per lane, so that float does not show */
        for (size_t k = 0; k < BLOCK; k += LANES) block += exp_lanes(load(x + i + k) - max);
        for (size_t j = 0; j < LANES; j++) sum += (double)block[j];
    }
    for (; i < n; i++) {
        float distance = max - x[i], power;
        kr_softmax_exp(&power, &distance, 1);
        sum += (double)power;
    }
    return (double)max + log(sum);
}
