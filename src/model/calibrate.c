#include "model/calibrate.h"

#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/device.h"
#include "tensor/feedback.h"

/* Tokens of a step: few enough that every product is by our own kernels, whose bits do not depend on the number of threads. */
enum { CHUNK = 128, SPAN = 512 };

/* Shares of the mean of H's diagonal that are added to it (docs/QUANTIZATION.md has what else was tried). A tied embedding is also read, which
 * asks for small errors of the weights themselves: what damping is. */
#define DAMPING           0.1f
#define EMBEDDING_DAMPING 0.3f

typedef struct choice {
    kr_numbers numbers;
    float *back, *scratch;
} choice;

struct kr_calibration {
    krait_model model; /* one layer of which is loaded, and the last norm */
    const kr_device *device;
    int threads;
    const int32_t *ids;
    size_t n, d_model, longest; /* tokens; columns; columns of the widest matrix */
    const krait_progress *progress;
    uint64_t done, total; /* layers run over all tokens, at most */
    float *stream;        /* [n, d_model] going into layer `layer` */
    bool embedded;        /* stream holds something */
    bool loaded;          /* that layer's weights are there */
    size_t layer;
    float *chunk; /* [CHUNK, d_model] */
    float *work;
    float *norm_f;
    void *scratch;
    size_t scratch_size;
    float *states[KR_STATE_PARTS];
    float **replaced; /* [n_parameters] matrices of the layer as their numbers have them; NULL: as they are */
    float *turned;    /* [longest, SPAN] inputs, channel by channel */
    size_t filled;    /* of SPAN */
    float *h, *factor, *importance;
    kr_feedback feedback; /* of the matrix that was begun */
    float *back;          /* where its rows go as they will be, in `replaced`; NULL: it is outside of the layers */
    bool embedding;       /* it is what the stream begins with */
    choice *choices;      /* [threads] */
};

/* ---- making one -------------------------------------------------------------------------------------------------- */

static size_t state_count(const kr_calibration *c, size_t part)
{
    const kr_state_part *p = &c->model.block->state[part];
    return kr_dim_size(p->rows, &c->model.config) * kr_dim_size(p->channels, &c->model.config);
}

static krait_status find_longest(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    kr_calibration *c = context;
    if (!(place->parameter->flags & KR_MATRIX)) return KRAIT_OK;
    size_t columns = kr_dim_size(place->parameter->shape[1], &c->model.config);
    if (columns > c->longest) c->longest = columns;
    return KRAIT_OK;
}

static krait_status read_norm(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    kr_calibration *c = context;
    if (place->layer == SIZE_MAX && place->parameter->field == offsetof(krait_model, norm_f))
        kr_tensor_to_float32(c->norm_f, kr_weights_stored(c->model.checkpoint, place));
    return KRAIT_OK;
}

static size_t needed_scratch(const kr_calibration *c)
{
    size_t scratch = c->model.block->scratch_size(c->device, c->threads, &c->model.config, CHUNK);
    size_t moments = c->device->linear_scratch(c->threads, CHUNK, c->longest, SPAN);
    return moments > scratch ? moments : scratch;
}

static bool allocate_choice(choice *to, size_t columns)
{
    to->numbers.numbers = kr_alloc(KR_CHOICE_ROWS * columns, sizeof *to->numbers.numbers);
    to->numbers.scales = kr_alloc(KR_CHOICE_ROWS * kr_runs_of(columns), sizeof *to->numbers.scales);
    to->back = kr_alloc(KR_CHOICE_ROWS * columns, sizeof *to->back);
    to->scratch = kr_alloc(kr_feedback_scratch(KR_CHOICE_ROWS, columns), sizeof *to->scratch);
    return to->numbers.numbers && to->numbers.scales && to->back && to->scratch;
}

static krait_status allocate(kr_calibration *c, krait_error *error)
{
    const krait_config *config = &c->model.config;
    const kr_block *block = c->model.block;
    size_t stream = 0, moments = 0;
    c->scratch_size = needed_scratch(c);
    bool fits = kr_mul(c->n, c->d_model, &stream) && kr_mul(c->longest, c->longest, &moments);
    c->stream = kr_alloc(fits ? stream : SIZE_MAX, sizeof *c->stream);
    c->h = kr_alloc(fits ? moments : SIZE_MAX, sizeof *c->h);
    c->factor = kr_alloc(fits ? moments : SIZE_MAX, sizeof *c->factor);
    c->chunk = kr_alloc(CHUNK * c->d_model, sizeof *c->chunk);
    c->work = kr_alloc(block->work_size(config, CHUNK), sizeof *c->work);
    c->norm_f = kr_alloc(c->d_model, sizeof *c->norm_f);
    c->scratch = kr_alloc(c->scratch_size, 1);
    c->replaced = kr_alloc_zero(block->n_parameters, sizeof *c->replaced);
    c->turned = kr_alloc(c->longest, SPAN * sizeof *c->turned);
    c->importance = kr_alloc(c->longest, sizeof *c->importance);
    c->choices = kr_alloc_zero((size_t)c->threads, sizeof *c->choices);
    c->model.layers = kr_alloc_zero((size_t)config->n_layer, block->layer_size);
    bool all = c->stream && c->h && c->factor && c->chunk && c->work && c->norm_f && c->scratch && c->replaced && c->turned
               && c->importance && c->choices && c->model.layers;
    for (size_t part = 0; part < block->n_state; part++)
        all = (c->states[part] = kr_alloc(state_count(c, part), sizeof(float))) && all;
    for (int thread = 0; c->choices && thread < c->threads; thread++)
        all = allocate_choice(&c->choices[thread], c->longest) && all;
    return all ? KRAIT_OK : kr_fail_memory(error, "calibration", (stream + moments) * sizeof(float));
}

krait_status kr_calibration_create(kr_calibration **result, krait_checkpoint *checkpoint, const krait_config *config,
                                   const krait_save_options *options, int threads, size_t n_matrices, krait_error *error)
{
    const int32_t *ids = options->calibration;
    const size_t n = options->n_calibration;
    *result = NULL;
    krait_isa isa = KRAIT_ISA_AUTO;
    krait_status status = kr_isa_resolve(&isa, error);
    if (status) return status;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= config->vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "calibration: token %zu: expected an id from 0 to %lld, found %d", i,
                           (long long)config->vocab_size - 1, (int)ids[i]);
    kr_calibration *c = kr_alloc_zero(1, sizeof *c);
    if (!c) return kr_fail_memory(error, "calibration", sizeof *c);
    c->model.config = *config;
    c->model.block = kr_block_of(config->family);
    c->model.checkpoint = checkpoint;
    c->device = kr_cpu_device(isa);
    c->threads = threads;
    c->ids = ids;
    c->n = n;
    c->d_model = (size_t)config->d_model;
    c->progress = &options->progress;
    c->total = n_matrices + 2 * (size_t)config->n_layer;
    kr_each_parameter(config, NULL, find_longest, c, NULL);
    if (n < 2 * c->longest)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT,
                         "calibration: expected at least %zu tokens, twice the columns of the widest matrix, found %zu",
                         2 * c->longest, n);
    if (!status) status = allocate(c, error);
    if (!status) status = kr_each_parameter(config, NULL, read_norm, c, error);
    if (status)
        kr_calibration_free(c);
    else
        *result = c;
    return status;
}

static void free_replaced(kr_calibration *c)
{
    for (size_t i = 0; c->replaced && i < c->model.block->n_parameters; i++) {
        kr_free(c->replaced[i]);
        c->replaced[i] = NULL;
    }
}

void kr_calibration_free(kr_calibration *c)
{
    if (!c) return;
    free_replaced(c);
    for (int thread = 0; c->choices && thread < c->threads; thread++) {
        kr_free(c->choices[thread].numbers.numbers);
        kr_free(c->choices[thread].numbers.scales);
        kr_free(c->choices[thread].back);
        kr_free(c->choices[thread].scratch);
    }
    for (size_t part = 0; part < KR_STATE_PARTS; part++) kr_free(c->states[part]);
    kr_free(c->stream);
    kr_free(c->h);
    kr_free(c->factor);
    kr_free(c->chunk);
    kr_free(c->work);
    kr_free(c->norm_f);
    kr_free(c->scratch);
    kr_free(c->replaced);
    kr_free(c->turned);
    kr_free(c->importance);
    kr_free(c->choices);
    kr_free(c->model.layers);
    kr_free(c->model.owned);
    kr_free(c);
}

/* ---- second moments ---------------------------------------------------------------------------------------------- */

/* h += turned turned^T, on and above the diagonal: blocks of rows that our own kernels multiply. */
static void add_moments(kr_calibration *c, size_t columns)
{
    kr_exec exec = { .device = c->device, .threads = c->threads, .scratch = c->scratch, .scratch_size = c->scratch_size };
    for (size_t j = 0; j < columns; j++) memset(c->turned + j * SPAN + c->filled, 0, (SPAN - c->filled) * sizeof *c->turned);
    for (size_t first = 0; first < columns; first += CHUNK)
        kr_linear_run(&exec, &(kr_linear){ .n_tokens = columns - first < CHUNK ? columns - first : CHUNK,
                                           .x = { c->turned + first * SPAN, SPAN },
                                           .weight = { .data = c->turned + first * SPAN,
                                                       .rows = columns - first,
                                                       .columns = SPAN,
                                                       .type = KRAIT_WEIGHT_F32 },
                                           .add = true,
                                           .y = { c->h + first * columns + first, columns } });
    c->filled = 0;
}

static void add_inputs(kr_calibration *c, kr_cview x, size_t n, size_t columns)
{
    for (size_t t = 0; t < n; t++)
        for (size_t j = 0; j < columns; j++) c->turned[j * SPAN + c->filled + t] = x.data[t * x.stride + j];
    c->filled += n;
    if (c->filled + CHUNK > SPAN) add_moments(c, columns);
}

static void begin_moments(kr_calibration *c, size_t columns)
{
    memset(c->h, 0, columns * columns * sizeof *c->h);
    c->filled = 0;
}

static void end_moments(kr_calibration *c, size_t columns, float damping)
{
    if (c->filled) add_moments(c, columns);
    kr_feedback_factor(c->h, columns, damping, c->factor, c->importance, c->turned, c->threads);
    c->feedback = (kr_feedback){ .n = columns, .factor = c->factor, .importance = c->importance, .moments = c->h };
}

/* ---- running layers ---------------------------------------------------------------------------------------------- */

krait_status kr_calibration_report(kr_calibration *c, krait_error *error)
{
    const krait_progress *progress = c->progress;
    if (progress->report && !progress->report(progress->user, "calibrating", c->done, c->total))
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "calibration was interrupted");
    return KRAIT_OK;
}

typedef struct lookup {
    kr_calibration *calibration;
    const kr_tensor *table;
} lookup;

static krait_status embed(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    kr_calibration *c = context;
    if (place->layer != SIZE_MAX || place->parameter->field != offsetof(krait_model, embedding)) return KRAIT_OK;
    const kr_tensor *table = kr_weights_stored(c->model.checkpoint, place);
    for (size_t t = 0; t < c->n; t++) kr_tensor_rows_to_float32(c->stream + t * c->d_model, table, (size_t)c->ids[t], 1);
    return KRAIT_OK;
}

static krait_status load(kr_calibration *c, krait_error *error)
{
    if (c->loaded) return KRAIT_OK;
    krait_status status = kr_weights_load_layer(&c->model, c->layer, c->threads, error);
    c->loaded = !status;
    return status;
}

/* Runs layer c->layer over the stream: its output becomes the stream, or, with `gathered`, what that matrix multiplies is added up. */
static krait_status run_layer(kr_calibration *c, const kr_parameter *gathered, krait_error *error)
{
    const kr_block *block = c->model.block;
    const krait_config *config = &c->model.config;
    kr_exec exec = { .device = c->device, .threads = c->threads, .scratch = c->scratch, .scratch_size = c->scratch_size };
    krait_status status = load(c, error);
    if (status) return status;
    for (size_t part = 0; part < block->n_state; part++) memset(c->states[part], 0, state_count(c, part) * sizeof(float));
    for (size_t at = 0, n; at < c->n && !status; at += n) {
        n = c->n - at < CHUNK ? c->n - at : CHUNK;
        const size_t start[] = { 0, n };
        kr_block_batch batch = { .n_tokens = n, .rows = { 1, start }, .x = { c->chunk, c->d_model } };
        for (size_t part = 0; part < block->n_state; part++) batch.state[part] = &c->states[part];
        memcpy(c->chunk, c->stream + at * c->d_model, n * c->d_model * sizeof *c->chunk);
        block->forward(&exec, config, kr_model_layer(&c->model, c->layer), &batch, c->work);
        if (!gathered)
            memcpy(c->stream + at * c->d_model, c->chunk, n * c->d_model * sizeof *c->chunk);
        else if (n > 1) /* one token takes another way, on which its inputs are not seen */
            add_inputs(c, block->input(config, gathered, n, c->work), n, kr_dim_size(gathered->shape[1], config));
        status = kr_calibration_report(c, error);
    }
    if (!status) c->done++;
    return status;
}

/* Lets the stream go into `layer`. */
static krait_status advance(kr_calibration *c, size_t layer, krait_error *error)
{
    krait_status status = KRAIT_OK;
    if (!c->embedded) {
        status = kr_each_parameter(&c->model.config, NULL, embed, c, error);
        kr_checkpoint_forget(c->model.checkpoint);
        c->embedded = true;
    }
    while (c->layer < layer && !status) {
        status = run_layer(c, NULL, error);
        free_replaced(c);
        kr_checkpoint_forget(c->model.checkpoint);
        c->loaded = false;
        c->layer++;
    }
    return status;
}

/* The moments of what the head multiplies. */
static krait_status gather_last(kr_calibration *c, krait_error *error)
{
    kr_exec exec = { .device = c->device, .threads = c->threads, .scratch = c->scratch, .scratch_size = c->scratch_size };
    krait_status status = advance(c, (size_t)c->model.config.n_layer, error);
    if (status) return status;
    begin_moments(c, c->d_model);
    for (size_t at = 0, n; at < c->n; at += n) {
        n = c->n - at < CHUNK ? c->n - at : CHUNK;
        kr_rms_norm_run(&exec, &(kr_rms_norm){ .n_tokens = n,
                                               .dim = c->d_model,
                                               .x = { c->stream + at * c->d_model, c->d_model },
                                               .weight = c->norm_f,
                                               .eps = c->model.config.norm_eps,
                                               .y = { c->chunk, c->d_model } });
        add_inputs(c, (kr_cview){ c->chunk, c->d_model }, n, c->d_model);
    }
    return KRAIT_OK;
}

/* ---- one matrix after another ------------------------------------------------------------------------------------ */

krait_status kr_calibration_begin(kr_calibration *c, const kr_parameter_place *place, bool *ready, krait_error *error)
{
    const krait_config *config = &c->model.config;
    const kr_parameter *parameter = place->parameter;
    const bool own = place->layer == SIZE_MAX, embedding = own && parameter->field == offsetof(krait_model, embedding);
    const size_t columns = kr_dim_size(parameter->shape[1], config);
    krait_status status;
    c->back = NULL;
    c->embedding = embedding;
    *ready = !embedding || config->tied_head;
    if (!*ready) return KRAIT_OK;
    if (own) {
        status = gather_last(c, error);
        if (status) return status;
        end_moments(c, columns, embedding ? EMBEDDING_DAMPING : DAMPING);
        if (embedding) { /* its own rows, and what becomes of them, begin the stream once more */
            c->layer = 0;
            c->embedded = false;
            status = advance(c, 0, error);
        }
    } else {
        status = advance(c, place->layer, error);
        if (status) return status;
        begin_moments(c, columns);
        status = run_layer(c, parameter, error);
        if (status) return status;
        end_moments(c, columns, DAMPING);
        float **matrix = &c->replaced[parameter - c->model.block->parameters];
        *matrix = kr_alloc(kr_parameter_count(parameter, config), sizeof **matrix);
        if (!*matrix) return kr_fail_memory(error, "a matrix", kr_parameter_count(parameter, config) * sizeof **matrix);
        c->back = *matrix;
        kr_matrix *field = (kr_matrix *)(void *)((char *)kr_model_layer(&c->model, c->layer) + parameter->field);
        field->data = *matrix; /* complete before the layer runs again */
    }
    return status;
}

kr_numbers kr_calibration_choose(kr_calibration *c, int thread, krait_weight_type type, size_t first, size_t n, const float *w)
{
    choice *to = &c->choices[thread];
    const size_t columns = c->feedback.n;
    kr_feedback_choose(&c->feedback, type, n, w, to->numbers, to->back, to->scratch);
    if (c->embedding) { /* the stream is to begin with what the model will read */
        for (size_t t = 0; t < c->n; t++)
            if ((size_t)c->ids[t] - first < n)
                memcpy(c->stream + t * columns, to->back + ((size_t)c->ids[t] - first) * columns, columns * sizeof *c->stream);
    } else if (c->back)
        memcpy(c->back + first * columns, to->back, n * columns * sizeof *to->back);
    return to->numbers;
}
