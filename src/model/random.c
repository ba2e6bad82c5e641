/* Parameters as a new model has them. */
#include <math.h>

#include "model/model.h"

/* The index-th number of a stream, in [-1, 1): SplitMix64's mixing of seed and index (Steele et al. 2014), so that any number of
 * threads fills the same values. */
static float random_at(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)(int32_t)((z ^ z >> 31) >> 32) * 0x1p-31f;
}

/* The index-th normal number with variance 1 (Box & Muller 1958), of two numbers that no other one uses. */
static float normal_at(uint64_t seed, uint64_t index)
{
    double radius = 0.5 - 0.5 * (double)random_at(seed, 2 * index); /* in (0, 1], but that 1 is what the last numbers round to */
    if (radius == 0) radius = 0x1p-26;
    return (float)(sqrt(-2 * log(radius)) * cos(3.14159265358979323846 * (double)random_at(seed, 2 * index + 1)));
}

uint64_t kr_parameter_seed(uint64_t seed) { return seed << 16; }

void kr_parameter_draw(float *out, const kr_parameter *parameter, const krait_config *config, uint64_t seed, size_t first,
                       size_t count)
{
    size_t columns = kr_parameter_count(parameter, config) / kr_dim_size(parameter->shape[0], config);
    float scale = 0;
    switch (parameter->init) {
    case KR_INIT_ZERO: break;
    case KR_INIT_ONE:
        for (size_t i = 0; i < count; i++) out[i] = 1;
        return;
    case KR_INIT_EMBEDDING:
        for (size_t i = 0; i < count; i++) out[i] = 0.02f * normal_at(seed, first + i);
        return;
    case KR_INIT_LINEAR: scale = 1 / sqrtf((float)columns); break;
    case KR_INIT_LINEAR_DEEP: scale = 1 / sqrtf((float)columns * (float)config->n_layer); break;
    case KR_INIT_DT_PROJ: scale = 1 / sqrtf((float)config->dt_rank); break;
    case KR_INIT_DT_BIAS:
        for (size_t i = 0; i < count; i++) {
            double dt = exp(log(1e-3) + (0.5 + 0.5 * (double)random_at(seed, first + i)) * log(1e-1 / 1e-3));
            out[i] = (float)(dt + log(-expm1(-dt)));
        }
        return;
    case KR_INIT_A_LOG:
        for (size_t i = 0; i < count; i++) out[i] = logf((float)((first + i) % columns + 1));
        return;
    }
    for (size_t i = 0; i < count; i++) out[i] = scale * random_at(seed, first + i);
}
