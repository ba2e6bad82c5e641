#include "model/block.h"

size_t kr_dim_size(kr_dim dim, const krait_config *config)
{
    switch (dim) {
    case KR_DIM_END: break;
    case KR_ONE: return 1;
    case KR_VOCAB_SIZE: return (size_t)config->vocab_size;
    case KR_D_MODEL: return (size_t)config->d_model;
    case KR_D_INNER: return (size_t)config->d_inner;
    case KR_2_D_INNER: return 2 * (size_t)config->d_inner;
    case KR_D_STATE: return (size_t)config->d_state;
    case KR_D_CONV: return (size_t)config->d_conv;
    case KR_D_CONV_1: return (size_t)config->d_conv - 1;
    case KR_DT_RANK: return (size_t)config->dt_rank;
    case KR_DT_RANK_2_D_STATE: return (size_t)config->dt_rank + 2 * (size_t)config->d_state;
    }
    return 0;
}

bool kr_parameter_is_present(const kr_parameter *parameter, const krait_config *config)
{
    switch (parameter->presence) {
    case KR_ALWAYS: return true;
    case KR_IF_PROJ_BIAS: return config->proj_bias;
    case KR_IF_CONV_BIAS: return config->conv_bias;
    case KR_IF_UNTIED: return !config->tied_head;
    }
    return false;
}

size_t kr_parameter_count(const kr_parameter *parameter, const krait_config *config)
{
    size_t count = 1;
    for (int i = 0; parameter->shape[i] != KR_DIM_END; i++) count *= kr_dim_size(parameter->shape[i], config);
    return count;
}

const kr_block *kr_block_of(krait_family family)
{
    switch (family) {
    case KRAIT_FAMILY_MAMBA:
    case KRAIT_FAMILY_FALCON_MAMBA: return &kr_mamba_block;
    }
    return NULL;
}
