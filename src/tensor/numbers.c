#include "tensor/numbers.h"

#include <math.h>

#include "tensor/tensor.h"

/* Adding and subtracting it rounds to an integer, in halves of the bits of a float: a loop over it vectorises. */
#define ROUNDER 12582912.0f

static inline float nearest(float x, float least, float most)
{
    x = x > least ? x : least; /* a NaN becomes the least */
    x = x < most ? x : most;
    return x + ROUNDER - ROUNDER;
}

int kr_nearest_number(krait_weight_type type, float value, float inverse)
{
    return (int)nearest(value * inverse, (float)kr_least_number(type), (float)kr_largest_number(type));
}

typedef struct run {
    float values[KR_RUN], importance[KR_RUN]; /* filled up with zeros */
    float least, most;
} run;

/* The weighted squared error of a scale; *better is the scale that is best for the numbers that this one gives. */
static float error_of(const run *r, float scale, float *better)
{
    enum { LANES = 8 };
    const float inverse = 1 / scale;
    float error[LANES] = { 0 }, top[LANES] = { 0 }, bottom[LANES] = { 0 };
    for (int i = 0; i < KR_RUN; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float q = nearest(r->values[i + l] * inverse, r->least, r->most), e = r->values[i + l] - scale * q;
            error[l] += r->importance[i + l] * e * e;
            top[l] += r->importance[i + l] * r->values[i + l] * q;
            bottom[l] += r->importance[i + l] * q * q;
        }
    for (int l = 1; l < LANES; l++) error[0] += error[l], top[0] += top[l], bottom[0] += bottom[l];
    *better = bottom[0] > 0 ? top[0] / bottom[0] : scale;
    return error[0];
}

static float as_stored(float scale) { return kr_f16_to_float(kr_float_to_f16(scale)); }

uint16_t kr_choose_scale(krait_weight_type type, const float *values, const float *importance, size_t n)
{
    enum { STEPS = 12, REFINEMENTS = 4, LARGEST_FINITE = 0x7bff, SMALLEST = 1 };
    run r = { .least = (float)kr_least_number(type), .most = (float)kr_largest_number(type) };
    float most = 0, best = 0, least = INFINITY, better;
    for (size_t i = 0; i < n; i++) {
        r.values[i] = values[i];
        r.importance[i] = importance ? importance[i] : 1;
        if (fabsf(values[i]) > most) most = fabsf(values[i]);
    }
    if (!(most > 0) || !isfinite(most)) return 0;
    /* From the scale at which the largest value is just below the end of the numbers to some at which it is beyond: clipping one
     * value may be worth a finer grid for the others. -8 (q6: -32) has no opposite, hence both signs. */
    const float end = -r.least, step = type == KRAIT_WEIGHT_Q4 ? 0.02f : type == KRAIT_WEIGHT_Q6 ? 0.005f : 0.002f;
    for (int sign = -1; sign <= (r.most < end ? 1 : -1); sign += 2)
        for (int i = -STEPS; i <= STEPS; i++) {
            float scale = as_stored((float)sign * most / (end * (1 + step * (float)i)));
            if (scale == 0 || !isfinite(scale)) continue;
            float error = error_of(&r, scale, &better);
            if (error < least) least = error, best = scale;
        }
    if (best == 0) return most > 1 ? LARGEST_FINITE : SMALLEST; /* what is beyond is cut off */
    for (int i = 0; i < REFINEMENTS; i++) {                     /* Lloyd 1957, on the scale */
        error_of(&r, best, &better);
        better = as_stored(better);
        if (better == best || better == 0 || !isfinite(better)) break;
        float ignored, error = error_of(&r, better, &ignored);
        if (!(error < least)) break;
        least = error, best = better;
    }
    return kr_float_to_f16(best);
}
