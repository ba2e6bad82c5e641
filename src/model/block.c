#include "model/block.h"

#include <string.h>

#include "base/threads.h"

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

typedef struct copying {
    kr_view to;
    kr_cview from;
    size_t n, columns;
} copying;

static void copy_share(void *context, int thread, int n_threads)
{
    const copying *c = context;
    size_t begin, end;
    kr_share(c->n, 1, thread, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        if (c->from.data)
            memcpy(c->to.data + i * c->to.stride, c->from.data + i * c->from.stride, c->columns * sizeof(float));
        else
            memset(c->to.data + i * c->to.stride, 0, c->columns * sizeof(float));
    }
}

void kr_copy_rows(int threads, kr_view to, kr_cview from, size_t n, size_t columns)
{
    enum { WORTH_THREADS = 1 << 16 };
    kr_parallel(n * columns < WORTH_THREADS ? 1 : threads, copy_share, &(copying){ to, from, n, columns });
}

const kr_block *kr_block_of(krait_family family)
{
    switch (family) {
    case KRAIT_FAMILY_MAMBA:
    case KRAIT_FAMILY_FALCON_MAMBA: return &kr_mamba_block;
    }
    return NULL;
}
