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
#include <string.h>

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
    { .name = "mixer.x_proj.weight",    .gguf_name = "ssm_x.weight",       .shape = { KR_DT_RANK_2_D_STATE, KR_D_INNER },  .init = KR_INIT_LINEAR,      .field = FIELD(x_proj),   .flags = KR_MATRIX | KR_DECAYS },
    { .name = "mixer.dt_proj.weight",   .gguf_name = "ssm_dt.weight",      .shape = { KR_D_INNER, KR_DT_RANK },            .init = KR_INIT_DT_PROJ,     .field = FIELD(dt_proj),  .flags = KR_MATRIX | KR_DECAYS | KR_Q6_IN_Q4 },
    { .name = "mixer.dt_proj.bias",     .gguf_name = "ssm_dt.bias",        .shape = { KR_D_INNER },                        .init = KR_INIT_DT_BIAS,     .field = FIELD(dt_bias),  .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.A_log",            .gguf_name = "ssm_a",              .shape = { KR_D_INNER, KR_D_STATE },            .init = KR_INIT_A_LOG,       .field = FIELD(A), .form = KR_MINUS_EXP_TRANSPOSED, .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.D",                .gguf_name = "ssm_d",              .shape = { KR_D_INNER },                        .init = KR_INIT_ONE,         .field = FIELD(D),        .flags = KR_ALWAYS_FLOAT32 },
    { .name = "mixer.out_proj.weight",  .gguf_name = "ssm_out.weight",     .shape = { KR_D_MODEL, KR_D_INNER },            .init = KR_INIT_LINEAR_DEEP, .field = FIELD(out_proj), .flags = KR_MATRIX | KR_DECAYS | KR_Q6_IN_FIRST },
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

static kr_cview input(const krait_config *config, const kr_parameter *matrix, size_t n, float *memory)
{
    mamba_work work;
    carve(&work, memory, config, n);
    const kr_view *view = matrix->field == FIELD(in_proj)   ? &work.u
                          : matrix->field == FIELD(x_proj)  ? &work.x
                          : matrix->field == FIELD(dt_proj) ? &work.dbc
                                                            : &work.delta;
    return from_column(*view, 0);
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

/* ---- training ---------------------------------------------------------------------------------------------------- */

/* Memory of a training pass. A quantity and its gradient share memory where one is read before the other is written. */
typedef struct train_work {
    kr_view residual; /* saved */
    kr_view xz;       /* saved, or work if it is computed again, as chunks; then its gradient */
    kr_view u;        /* [n, d_model]; its gradient is in du */
    kr_view du;
    kr_view x;      /* [n, d_inner]: after the convolution */
    kr_view dbc;    /* [n, dt_rank + 2*d_state], what x_proj gives */
    kr_view normed; /* Falcon-Mamba: dbc after the norms; elsewhere dbc itself */
    kr_view ddbc;
    kr_view delta; /* [n, d_inner]; then its gradient */
    kr_view y;     /* [n, d_inner] */
    kr_view dy;    /* [n, d_inner]; then the gradient of x */
    float *chunks; /* kr_scan.saved */
} train_work;

static kr_view take(float *memory, size_t *used, size_t n, size_t columns)
{
    kr_view view = { memory ? memory + *used : NULL, padded(columns) };
    *used += n * view.stride;
    return view;
}

static size_t carve_saved(train_work *t, float *saved, const krait_config *config, size_t n, size_t chunks, kr_keep keep)
{
    size_t used = 0;
    t->residual = take(saved, &used, n, (size_t)config->d_model);
    if (keep >= KR_KEEP_PROJECTED) t->xz = take(saved, &used, n, 2 * (size_t)config->d_inner);
    if (keep >= KR_KEEP_STATES) t->chunks = take(saved, &used, chunks, (size_t)config->d_state * (size_t)config->d_inner).data;
    return used;
}

static size_t carve_work(train_work *t, float *memory, const krait_config *config, size_t n, size_t chunks, kr_keep keep)
{
    const size_t d_model = (size_t)config->d_model, d_inner = (size_t)config->d_inner,
                 parts = kr_dim_size(KR_DT_RANK_2_D_STATE, config);
    size_t used = 0;
    if (keep < KR_KEEP_PROJECTED) t->xz = take(memory, &used, n, 2 * d_inner);
    t->u = take(memory, &used, n, d_model);
    t->du = take(memory, &used, n, d_model);
    t->x = take(memory, &used, n, d_inner);
    t->dbc = take(memory, &used, n, parts);
    t->normed = config->family == KRAIT_FAMILY_FALCON_MAMBA ? take(memory, &used, n, parts) : t->dbc;
    t->ddbc = take(memory, &used, n, parts);
    t->delta = take(memory, &used, n, d_inner);
    t->y = take(memory, &used, n, d_inner);
    t->dy = take(memory, &used, n, d_inner);
    if (keep < KR_KEEP_STATES) t->chunks = take(memory, &used, chunks, (size_t)config->d_state * d_inner).data;
    return used;
}

static size_t saved_size(const krait_config *config, size_t n_tokens, size_t chunks, kr_keep keep)
{
    train_work t;
    return carve_saved(&t, NULL, config, n_tokens, chunks, keep);
}

static size_t train_work_size(const krait_config *config, size_t n_tokens, size_t chunks, kr_keep keep)
{
    train_work t;
    return carve_work(&t, NULL, config, n_tokens, chunks, keep);
}

static size_t train_scratch_size(const kr_device *device, int threads, const krait_config *config, size_t n_tokens)
{
    const size_t d_model = (size_t)config->d_model, d_inner = (size_t)config->d_inner, d_state = (size_t)config->d_state,
                 dt_rank = (size_t)config->dt_rank;
    const size_t needs[] = {
        scratch_size(device, threads, config, n_tokens),
        device->linear_backward_scratch(threads, n_tokens, 2 * d_inner, d_model),
        device->linear_backward_scratch(threads, n_tokens, dt_rank + 2 * d_state, d_inner),
        device->linear_backward_scratch(threads, n_tokens, d_inner, dt_rank),
        device->linear_backward_scratch(threads, n_tokens, d_model, d_inner),
        device->scan_backward_scratch(threads, d_inner, d_state, 1),
        device->rms_norm_backward_scratch(n_tokens),
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i] > most) most = needs[i];
    return most;
}

static void begin_states(const kr_block_training *training, const krait_config *config)
{
    for (size_t part = 0; part < sizeof state_parts / sizeof *state_parts; part++) {
        const size_t count = kr_dim_size(state_parts[part].rows, config) * kr_dim_size(state_parts[part].channels, config);
        for (size_t s = 0; s < training->rows.n_sequences; s++) {
            const float *before = training->before[part][s];
            if (before)
                memcpy(training->state[part][s], before, count * sizeof(float));
            else
                memset(training->state[part][s], 0, count * sizeof(float));
        }
    }
}

static kr_rms_norm residual_norm(const krait_config *config, const mamba_layer *layer, size_t n, const train_work *t)
{
    return (kr_rms_norm){ .n_tokens = n,
                          .dim = (size_t)config->d_model,
                          .x = from_column(t->residual, 0),
                          .weight = layer->norm,
                          .eps = config->norm_eps,
                          .y = t->u };
}

static kr_conv mixer_conv(const krait_config *config, const mamba_layer *layer, const kr_block_training *training,
                          const train_work *t)
{
    return (kr_conv){ .rows = training->rows,
                      .dim = (size_t)config->d_inner,
                      .width = (size_t)config->d_conv,
                      .x = from_column(t->xz, 0),
                      .weight = layer->conv_weight,
                      .bias = layer->conv_bias,
                      .silu = true,
                      .state = training->state[CONV_STATE],
                      .y = t->x };
}

/* Falcon-Mamba's three norms, of dt, B and C. */
static kr_rms_norm part_norm(const krait_config *config, size_t n, const train_work *t, int part)
{
    const size_t dt_rank = (size_t)config->dt_rank, d_state = (size_t)config->d_state,
                 first[] = { 0, dt_rank, dt_rank + d_state };
    return (kr_rms_norm){ .n_tokens = n,
                          .dim = part == 0 ? dt_rank : d_state,
                          .x = from_column(t->dbc, first[part]),
                          .eps = config->mixer_norm_eps,
                          .y = { t->normed.data + first[part], t->normed.stride } };
}

static kr_scan mixer_scan(const krait_config *config, const mamba_layer *layer, const kr_block_training *training,
                          const train_work *t)
{
    const size_t dt_rank = (size_t)config->dt_rank, d_state = (size_t)config->d_state, d_inner = (size_t)config->d_inner;
    return (kr_scan){ .rows = training->rows,
                      .d_inner = d_inner,
                      .d_state = d_state,
                      .n_groups = 1,
                      .u = from_column(t->x, 0),
                      .delta = from_column(t->delta, 0),
                      .z = from_column(t->xz, d_inner),
                      .B = from_column(t->normed, dt_rank),
                      .C = from_column(t->normed, dt_rank + d_state),
                      .A = layer->A,
                      .D = layer->D,
                      .delta_bias = layer->dt_bias,
                      .delta_softplus = true,
                      .state = training->state[SSM_STATE],
                      .y = t->y };
}

/* From the residual to in_proj's output. */
static void forward_in(const kr_exec *exec, const krait_config *config, const mamba_layer *layer, size_t n, const train_work *t)
{
    kr_rms_norm norm = residual_norm(config, layer, n, t);
    kr_rms_norm_run(exec, &norm);
    linear(exec, n, from_column(t->u, 0), layer->in_proj, layer->in_proj_bias, false, t->xz);
}

/* From there to the scan's inputs. */
static void forward_mixer(const kr_exec *exec, const krait_config *config, const mamba_layer *layer,
                          const kr_block_training *training, const train_work *t)
{
    const size_t n = training->n_tokens;
    begin_states(training, config);
    kr_conv conv = mixer_conv(config, layer, training, t);
    kr_conv_run(exec, &conv);
    linear(exec, n, from_column(t->x, 0), layer->x_proj, NULL, false, t->dbc);
    for (int part = 0; config->family == KRAIT_FAMILY_FALCON_MAMBA && part < 3; part++) {
        kr_rms_norm norm = part_norm(config, n, t, part);
        kr_rms_norm_run(exec, &norm);
    }
    linear(exec, n, from_column(t->normed, 0), layer->dt_proj, NULL, false, t->delta);
}

/* And to out_proj's, t->y; chunks: kr_scan.saved. */
static void forward_scan(const kr_exec *exec, const krait_config *config, const mamba_layer *layer,
                         const kr_block_training *training, const train_work *t, float *chunks)
{
    kr_scan scan = mixer_scan(config, layer, training, t);
    scan.saved = chunks;
    kr_scan_run(exec, &scan);
}

static train_work carve_training(const krait_config *config, const kr_block_training *training)
{
    train_work t;
    const size_t chunks = kr_scan_chunks(training->rows);
    carve_saved(&t, training->saved, config, training->n_tokens, chunks, training->keep);
    carve_work(&t, training->work, config, training->n_tokens, chunks, training->keep);
    return t;
}

static void train_forward(const kr_exec *exec, const krait_config *config, const void *opaque, const kr_block_training *training)
{
    const mamba_layer *layer = opaque;
    const size_t n = training->n_tokens;
    const train_work t = carve_training(config, training);
    kr_copy_rows(exec->threads, t.residual, from_column(training->x, 0), n, (size_t)config->d_model);
    forward_in(exec, config, layer, n, &t);
    forward_mixer(exec, config, layer, training, &t);
    forward_scan(exec, config, layer, training, &t, training->keep == KR_KEEP_STATES ? t.chunks : NULL);
    linear(exec, n, from_column(t.y, 0), layer->out_proj, layer->out_proj_bias, true, training->x);
}

static void linear_backward(const kr_exec *exec, size_t n, kr_cview x, kr_cview dy, kr_matrix weight, kr_view dx, bool add,
                            kr_matrix dweight, const float *dbias)
{
    kr_linear_backward_run(exec, &(kr_linear_backward){ .n_tokens = n,
                                                        .x = x,
                                                        .dy = dy,
                                                        .weight = weight,
                                                        .dx = dx,
                                                        .add = add,
                                                        .dweight = (float *)dweight.data,
                                                        .dbias = (float *)dbias });
}

static void backward(const kr_exec *exec, const krait_config *config, const void *opaque, void *opaque_gradients,
                     const kr_block_training *training)
{
    const mamba_layer *layer = opaque, *gradients = opaque_gradients; /* what its fields point to is written to */
    const size_t n = training->n_tokens, d_inner = (size_t)config->d_inner, d_state = (size_t)config->d_state,
                 dt_rank = (size_t)config->dt_rank;
    const train_work t = carve_training(config, training);
    if (training->keep == KR_KEEP_RESIDUAL) {
        forward_in(exec, config, layer, n, &t);
    } else {
        kr_rms_norm norm = residual_norm(config, layer, n, &t);
        kr_rms_norm_run(exec, &norm);
    }
    forward_mixer(exec, config, layer, training, &t);
    /* The scan's backward pass computes its states again, chunk by chunk, and with them its output: what is kept of it is where a chunk
     * begins. */
    const bool kept = training->keep == KR_KEEP_STATES;
    if (!kept) forward_scan(exec, config, layer, training, &t, t.chunks);

    const kr_matrix none = { 0 };
    linear_backward(exec, n, from_column(t.y, 0), from_column(training->x, 0), layer->out_proj, t.dy, false,
                    kept ? none : gradients->out_proj, kept ? NULL : gradients->out_proj_bias);
    kr_scan scan = mixer_scan(config, layer, training, &t);
    scan.saved = t.chunks;
    kr_scan_backward_run(exec, &(kr_scan_backward){ .forward = scan,
                                                    .dy = from_column(t.dy, 0),
                                                    .du = t.dy,
                                                    .ddelta = t.delta,
                                                    .dz = { t.xz.data + d_inner, t.xz.stride },
                                                    .dB = { t.ddbc.data + dt_rank, t.ddbc.stride },
                                                    .dC = { t.ddbc.data + dt_rank + d_state, t.ddbc.stride },
                                                    .dA = (float *)gradients->A,
                                                    .dD = (float *)gradients->D,
                                                    .ddelta_bias = (float *)gradients->dt_bias,
                                                    .y = kept ? t.y : (kr_view){ 0 } });
    if (kept)
        linear_backward(exec, n, from_column(t.y, 0), from_column(training->x, 0), layer->out_proj, (kr_view){ 0 }, false,
                        gradients->out_proj, gradients->out_proj_bias);
    linear_backward(exec, n, from_column(t.normed, 0), from_column(t.delta, 0), layer->dt_proj, t.ddbc, false, gradients->dt_proj,
                    NULL);
    for (int part = 0; config->family == KRAIT_FAMILY_FALCON_MAMBA && part < 3; part++) {
        kr_rms_norm norm = part_norm(config, n, &t, part);
        kr_view gradient = { t.ddbc.data + (norm.y.data - t.normed.data), t.ddbc.stride };
        kr_rms_norm_backward_run(exec,
                                 &(kr_rms_norm_backward){ .forward = norm, .dy = from_column(gradient, 0), .dx = gradient });
    }
    linear_backward(exec, n, from_column(t.x, 0), from_column(t.ddbc, 0), layer->x_proj, t.dy, true, gradients->x_proj, NULL);
    kr_conv_backward_run(exec, &(kr_conv_backward){ .forward = mixer_conv(config, layer, training, &t),
                                                    .state_before = training->before[CONV_STATE],
                                                    .dy = from_column(t.dy, 0),
                                                    .dx = { t.xz.data, t.xz.stride },
                                                    .dweight = (float *)gradients->conv_weight,
                                                    .dbias = (float *)gradients->conv_bias });
    linear_backward(exec, n, from_column(t.u, 0), from_column(t.xz, 0), layer->in_proj, t.du, false, gradients->in_proj,
                    gradients->in_proj_bias);
    kr_rms_norm_backward_run(exec, &(kr_rms_norm_backward){ .forward = residual_norm(config, layer, n, &t),
                                                            .dy = from_column(t.du, 0),
                                                            .dx = training->x,
                                                            .add = true,
                                                            .dweight = (float *)gradients->norm });
}

static void train_products(const kr_exec *exec, const krait_config *config, const void *opaque, void *opaque_gradients,
                           const kr_block_training *training)
{
    const mamba_layer *layer = opaque, *gradients = opaque_gradients;
    const size_t n = training->n_tokens;
    const train_work t = carve_training(config, training);
    linear(exec, n, from_column(t.u, 0), layer->in_proj, NULL, false, t.xz);
    linear(exec, n, from_column(t.x, 0), layer->x_proj, NULL, false, t.dbc);
    linear(exec, n, from_column(t.dbc, 0), layer->dt_proj, NULL, false, t.delta);
    linear(exec, n, from_column(t.y, 0), layer->out_proj, NULL, true, training->x);
    linear_backward(exec, n, from_column(t.y, 0), from_column(training->x, 0), layer->out_proj, t.dy, false, gradients->out_proj,
                    NULL);
    linear_backward(exec, n, from_column(t.dbc, 0), from_column(t.delta, 0), layer->dt_proj, t.ddbc, false, gradients->dt_proj,
                    NULL);
    linear_backward(exec, n, from_column(t.x, 0), from_column(t.ddbc, 0), layer->x_proj, t.dy, true, gradients->x_proj, NULL);
    linear_backward(exec, n, from_column(t.u, 0), from_column(t.xz, 0), layer->in_proj, t.du, false, gradients->in_proj, NULL);
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
    .input = input,
    .products = products,
    .saved_size = saved_size,
    .train_work_size = train_work_size,
    .train_scratch_size = train_scratch_size,
    .train_forward = train_forward,
    .backward = backward,
    .train_products = train_products,
};
