/* The Mamba-1 block (Gu & Dao 2023, figure 3), and Falcon-Mamba's, which differs by three norms. For u[t, d_model], the normalised
 * residual stream:
 *
 *     [x, z]     = u @ in_proj^T
 *     x          = silu(causal_conv1d(x))
 *     [dt, B, C] = x @ x_proj^T                    Falcon-Mamba: each through a weightless RMSNorm
 *     delta      = softplus(dt @ dt_proj^T + dt_bias)
 *     h[t]       = exp(delta A) h[t-1] + delta B x,   y = C h + D x
 *     residual  += (y * silu(z)) @ out_proj^T
 */
#include <stddef.h>

#include "model/block.h"

typedef struct mamba_layer {
    const float *norm;                    /* [d_model] */
    kr_matrix in_proj;                    /* [2*d_inner, d_model], rows of x before those of z */
    const float *in_proj_bias;            /* [2*d_inner] or NULL */
    const float *conv_weight, *conv_bias; /* [d_conv, d_inner], [d_inner] or NULL */
    kr_matrix x_proj;                     /* [dt_rank + 2*d_state, d_inner] */
    kr_matrix dt_proj;                    /* [d_inner, dt_rank] */
    const float *dt_bias;                 /* [d_inner] */
    const float *A;                       /* [d_state, d_inner] */
    const float *D;                       /* [d_inner] */
    kr_matrix out_proj;                   /* [d_model, d_inner] */
    const float *out_proj_bias;           /* [d_model] or NULL */
} mamba_layer;

#define FIELD(name) offsetof(mamba_layer, name)

static const kr_parameter parameters[] = {
    /* clang-format off */
    { .name = "norm.weight",            .gguf_name = "attn_norm.weight",   .shape = { KR_D_MODEL },                        .init = KR_INIT_ONE,         .field = FIELD(norm) },
    { .name = "mixer.in_proj.weight",   .gguf_name = "ssm_in.weight",      .shape = { KR_2_D_INNER, KR_D_MODEL },          .init = KR_INIT_LINEAR,      .field = FIELD(in_proj),  .flags = KR_MATRIX | KR_DECAYS },
    { .name = "mixer.in_proj.bias",                                        .shape = { KR_2_D_INNER },                      .init = KR_INIT_ZERO,        .field = FIELD(in_proj_bias), .presence = KR_IF_PROJ_BIAS },
    { .name = "mixer.conv1d.weight",    .gguf_name = "ssm_conv1d.weight",  .shape = { KR_D_INNER, KR_ONE, KR_D_CONV },     .init = KR_INIT_LINEAR,      .field = FIELD(conv_weight), .form = KR_TRANSPOSED, .flags = KR_DECAYS },
    { .name = "mixer.conv1d.bias",      .gguf_name = "ssm_conv1d.bias",    .shape = { KR_D_INNER },                        .init = KR_INIT_ZERO,        .field = FIELD(conv_bias), .presence = KR_IF_CONV_BIAS },
    { .name = "mixer.x_proj.weight",    .gguf_name = "ssm_x.weight",       .shape = { KR_DT_RANK_2_D_STATE, KR_D_INNER },  .init = KR_INIT_LINEAR,      .field = FIELD(x_proj),   .flags = KR_MATRIX | KR_DECAYS | KR_AT_LEAST_Q8 },
    { .name = "mixer.dt_proj.weight",   .gguf_name = "ssm_dt.weight",      .shape = { KR_D_INNER, KR_DT_RANK },            .init = KR_INIT_DT_PROJ,     .field = FIELD(dt_proj),  .flags = KR_MATRIX | KR_DECAYS | KR_AT_LEAST_Q8 },
    { .name = "mixer.dt_proj.bias",     .gguf_name = "ssm_dt.bias",        .shape = { KR_D_INNER },                        .init = KR_INIT_DT_BIAS,     .field = FIELD(dt_bias),  .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.A_log",            .gguf_name = "ssm_a",              .shape = { KR_D_INNER, KR_D_STATE },            .init = KR_INIT_A_LOG,       .field = FIELD(A), .form = KR_MINUS_EXP_TRANSPOSED, .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.D",                .gguf_name = "ssm_d",              .shape = { KR_D_INNER },                        .init = KR_INIT_ONE,         .field = FIELD(D),        .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.out_proj.weight",  .gguf_name = "ssm_out.weight",     .shape = { KR_D_MODEL, KR_D_INNER },            .init = KR_INIT_LINEAR_DEEP, .field = FIELD(out_proj), .flags = KR_MATRIX | KR_DECAYS },
    { .name = "mixer.out_proj.bias",                                       .shape = { KR_D_MODEL },                        .init = KR_INIT_ZERO,        .field = FIELD(out_proj_bias), .presence = KR_IF_PROJ_BIAS },
    /* clang-format on */
};

enum { CONV_STATE, SSM_STATE };
static const kr_state_part state_parts[] = {
    [CONV_STATE] = { "conv_state", KR_D_CONV_1, KR_D_INNER },
    [SSM_STATE] = { "ssm_state", KR_D_STATE, KR_D_INNER },
};

/* Working memory of a step, as views into one block. */
typedef struct mamba_work {
    kr_view u;     /* [n, d_model]: normalised residual */
    kr_view xz;    /* [n, 2*d_inner] */
    kr_view x;     /* [n, d_inner]: after the convolution */
    kr_view dbc;   /* [n, dt_rank + 2*d_state] */
    kr_view delta; /* [n, d_inner]: before bias and softplus; then y */
} mamba_work;

/* Rows start on cache lines where that costs nothing. */
static size_t padded(size_t floats) { return (floats + 15) / 16 * 16; }

static size_t carve(mamba_work *work, float *memory, const krait_config *config, size_t n)
{
    size_t used = 0;
    const struct {
        kr_view *view;
        size_t columns;
    } parts[] = {
        { &work->u, (size_t)config->d_model },     { &work->xz, 2 * (size_t)config->d_inner },
        { &work->x, (size_t)config->d_inner },     { &work->dbc, kr_dim_size(KR_DT_RANK_2_D_STATE, config) },
        { &work->delta, (size_t)config->d_inner },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t stride = padded(parts[i].columns);
        *parts[i].view = (kr_view){ memory ? memory + used : NULL, stride };
        used += n * stride;
    }
    return used;
}

static size_t work_size(const krait_config *config, size_t n_tokens)
{
    mamba_work work;
    return carve(&work, NULL, config, n_tokens);
}

static size_t scratch_size(const kr_device *device, int threads, const krait_config *config, size_t n_tokens)
{
    size_t d_model = (size_t)config->d_model, d_inner = (size_t)config->d_inner, d_state = (size_t)config->d_state,
           dt_rank = (size_t)config->dt_rank;
    size_t steps = n_tokens < device->mixer_step_max ? n_tokens : device->mixer_step_max;
    const size_t needs[] = {
        device->linear_scratch(threads, n_tokens, 2 * d_inner, d_model),
        device->linear_scratch(threads, n_tokens, dt_rank + 2 * d_state, d_inner),
        device->linear_scratch(threads, n_tokens, d_inner, dt_rank),
        device->linear_scratch(threads, n_tokens, d_model, d_inner),
        device->scan_scratch(threads, d_state),
        device->mixer_step_scratch(threads, steps, d_inner, d_state, dt_rank),
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i] > most) most = needs[i];
    return most;
}

static kr_cview from_column(kr_view view, size_t column) { return (kr_cview){ view.data + column, view.stride }; }

static void linear(const kr_exec *exec, size_t n, kr_cview x, kr_matrix weight, const float *bias, bool add, kr_view y)
{
    kr_linear_run(exec, &(kr_linear){ .n_tokens = n, .x = x, .weight = weight, .bias = bias, .add = add, .y = y });
}

static bool one_token_each(const kr_rows *rows, size_t n_tokens) { return rows->n_sequences == n_tokens; }

/* One token for each of a few sequences: everything between the two large products in one op. */
static void decode_mixer(const kr_exec *exec, const krait_config *config, const mamba_layer *layer, const kr_block_batch *batch,
                         const mamba_work *work)
{
    bool normed = config->family == KRAIT_FAMILY_FALCON_MAMBA;
    kr_mixer_step_run(exec, &(kr_mixer_step){ .n_sequences = batch->n_tokens,
                                              .d_inner = (size_t)config->d_inner,
                                              .d_state = (size_t)config->d_state,
                                              .d_conv = (size_t)config->d_conv,
                                              .dt_rank = (size_t)config->dt_rank,
                                              .xz = from_column(work->xz, 0),
                                              .conv_weight = layer->conv_weight,
                                              .conv_bias = layer->conv_bias,
                                              .x_proj = layer->x_proj,
                                              .dt_proj = layer->dt_proj,
                                              .dt_bias = layer->dt_bias,
                                              .A = layer->A,
                                              .D = layer->D,
                                              .norm_eps = normed ? config->mixer_norm_eps : -1,
                                              .conv_state = batch->state[CONV_STATE],
                                              .ssm_state = batch->state[SSM_STATE],
                                              .y = work->delta });
}

static void prefill_mixer(const kr_exec *exec, const krait_config *config, const mamba_layer *layer, const kr_block_batch *batch,
                          const mamba_work *work)
{
    size_t n = batch->n_tokens, d_inner = (size_t)config->d_inner, d_state = (size_t)config->d_state,
           dt_rank = (size_t)config->dt_rank;
    kr_conv_run(exec, &(kr_conv){ .rows = batch->rows,
                                  .dim = d_inner,
                                  .width = (size_t)config->d_conv,
                                  .x = from_column(work->xz, 0),
                                  .weight = layer->conv_weight,
                                  .bias = layer->conv_bias,
                                  .silu = true,
                                  .state = batch->state[CONV_STATE],
                                  .y = work->x });
    linear(exec, n, from_column(work->x, 0), layer->x_proj, NULL, false, work->dbc);
    if (config->family == KRAIT_FAMILY_FALCON_MAMBA) {
        const size_t first[] = { 0, dt_rank, dt_rank + d_state }, dim[] = { dt_rank, d_state, d_state };
        for (int i = 0; i < 3; i++)
            kr_rms_norm_run(exec, &(kr_rms_norm){ .n_tokens = n,
                                                  .dim = dim[i],
                                                  .x = from_column(work->dbc, first[i]),
                                                  .eps = config->mixer_norm_eps,
                                                  .y = { work->dbc.data + first[i], work->dbc.stride } });
    }
    linear(exec, n, from_column(work->dbc, 0), layer->dt_proj, NULL, false, work->delta);
    kr_scan_run(exec, &(kr_scan){ .rows = batch->rows,
                                  .d_inner = d_inner,
                                  .d_state = d_state,
                                  .n_groups = 1,
                                  .u = from_column(work->x, 0),
                                  .delta = from_column(work->delta, 0),
                                  .z = from_column(work->xz, d_inner),
                                  .B = from_column(work->dbc, dt_rank),
                                  .C = from_column(work->dbc, dt_rank + d_state),
                                  .A = layer->A,
                                  .D = layer->D,
                                  .delta_bias = layer->dt_bias,
                                  .delta_softplus = true,
                                  .state = batch->state[SSM_STATE],
                                  .y = work->delta });
}

static void forward(const kr_exec *exec, const krait_config *config, const void *opaque, const kr_block_batch *batch,
                    float *memory)
{
    const mamba_layer *layer = opaque;
    size_t n = batch->n_tokens;
    mamba_work work;
    carve(&work, memory, config, n);
    kr_rms_norm_run(exec, &(kr_rms_norm){ .n_tokens = n,
                                          .dim = (size_t)config->d_model,
                                          .x = from_column(batch->x, 0),
                                          .weight = layer->norm,
                                          .eps = config->norm_eps,
                                          .y = work.u });
    linear(exec, n, from_column(work.u, 0), layer->in_proj, layer->in_proj_bias, false, work.xz);
    if (one_token_each(&batch->rows, n) && n <= exec->device->mixer_step_max)
        decode_mixer(exec, config, layer, batch, &work);
    else
        prefill_mixer(exec, config, layer, batch, &work);
    linear(exec, n, from_column(work.delta, 0), layer->out_proj, layer->out_proj_bias, true, batch->x);
}

static void products(const kr_exec *exec, const krait_config *config, const void *opaque, size_t n, kr_view x, float *memory)
{
    const mamba_layer *layer = opaque;
    mamba_work work;
    carve(&work, memory, config, n);
    linear(exec, n, from_column(work.u, 0), layer->in_proj, NULL, false, work.xz);
    linear(exec, n, from_column(work.x, 0), layer->x_proj, NULL, false, work.dbc);
    linear(exec, n, from_column(work.dbc, 0), layer->dt_proj, NULL, false, work.delta);
    linear(exec, n, from_column(work.delta, 0), layer->out_proj, NULL, false, x);
}

const kr_block kr_mamba_block = {
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .state = state_parts,
    .n_state = sizeof state_parts / sizeof *state_parts,
    .layer_size = sizeof(mamba_layer),
    .work_size = work_size,
    .scratch_size = scratch_size,
    .forward = forward,
    .products = products,
};
