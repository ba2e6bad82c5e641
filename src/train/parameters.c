/* A model's parameters in flat arrays, by the tables of src/model. */
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "tensor/tensor.h"
#include "train/trainer.h"

enum { LINE = KR_ALIGNMENT / sizeof(float) };

static size_t padded(size_t floats) { return (floats + LINE - 1) / LINE * LINE; }

/* ---- slots -------------------------------------------------------------------------------------------------------- */

static krait_status count_slot(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)place, (void)error;
    ++*(size_t *)context;
    return KRAIT_OK;
}

typedef struct listing {
    krait_trainer *trainer;
    const krait_config *config;
    const krait_trainer_options *options;
    bool *used; /* patterns */
    size_t at;
} listing;

static krait_status list_slot(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    listing *l = context;
    krait_trainer *trainer = l->trainer;
    kr_slot *slot = &trainer->slots[l->at++];
    *slot = (kr_slot){ .parameter = place->parameter, .offset = trainer->count, .A_offset = trainer->A_count };
    slot->count = kr_parameter_count(place->parameter, l->config);
    slot->rows = kr_dim_size(place->parameter->shape[0], l->config);
    slot->columns = slot->count / slot->rows;
    memcpy(slot->name, place->name, sizeof slot->name);
    trainer->count += padded(slot->count);
    if (place->parameter->form == KR_MINUS_EXP_TRANSPOSED) trainer->A_count += padded(slot->count);
    for (size_t i = 0; i < l->options->n_freeze; i++)
        if (fnmatch(l->options->freeze[i], slot->name, 0) == 0) l->used[i] = slot->frozen = true;
    return KRAIT_OK;
}

krait_status kr_slots_create(krait_trainer *trainer, const krait_config *config, const krait_trainer_options *options,
                             krait_error *error)
{
    kr_each_parameter(config, NULL, count_slot, &trainer->n_slots, NULL);
    trainer->slots = kr_alloc(trainer->n_slots, sizeof *trainer->slots);
    listing l = { trainer, config, options, kr_alloc_zero(options->n_freeze, sizeof *l.used), 0 };
    krait_status status = KRAIT_OK;
    if (!trainer->slots || !l.used) status = kr_fail_memory(error, "a list of parameters", trainer->n_slots * sizeof(kr_slot));
    for (size_t i = 0; i < options->n_freeze && !status; i++)
        if (!options->freeze[i]) status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: freeze %zu is NULL", i);
    if (!status) kr_each_parameter(config, NULL, list_slot, &l, NULL);
    for (size_t i = 0; i < options->n_freeze && !status; i++)
        if (!l.used[i])
            status =
                kr_fail(error, KRAIT_ERROR_ARGUMENT,
                        "trainer options: freeze %.200s: expected the name of a parameter, or a pattern (*, ?) of some, found "
                        "none; \"%s\" is the first",
                        options->freeze[i], trainer->slots[0].name);
    kr_free(l.used);
    return status;
}

const kr_slot *kr_slot_find(const krait_trainer *trainer, const char *name)
{
    for (size_t i = 0; i < trainer->n_slots; i++)
        if (strcmp(trainer->slots[i].name, name) == 0) return &trainer->slots[i];
    return NULL;
}

kr_tensor kr_slot_tensor(const kr_slot *slot, const krait_config *config)
{
    kr_tensor tensor = { .dtype = KRAIT_DTYPE_F32 };
    for (const kr_dim *dim = slot->parameter->shape; *dim != KR_DIM_END; dim++)
        tensor.shape[tensor.n_dims++] = kr_dim_size(*dim, config);
    kr_tensor_set_contiguous(&tensor);
    return tensor;
}

/* ---- layouts ------------------------------------------------------------------------------------------------------ */

static void transpose(float *out, const float *in, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) out[c * rows + r] = in[r * columns + c];
}

void kr_slot_to_stored(float *out, const kr_slot *slot, const float *held)
{
    if (slot->parameter->form == KR_AS_STORED)
        memcpy(out, held, slot->count * sizeof *out);
    else
        transpose(out, held, slot->columns, slot->rows);
}

void kr_slot_to_held(float *out, const kr_slot *slot, const float *stored)
{
    if (slot->parameter->form == KR_AS_STORED)
        memcpy(out, stored, slot->count * sizeof *out);
    else
        transpose(out, stored, slot->rows, slot->columns);
}

/* ---- the model's fields ------------------------------------------------------------------------------------------- */

typedef struct connection {
    krait_trainer *trainer;
    bool gradients;
    size_t at;
} connection;

static krait_status connect_field(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    connection *c = context;
    const krait_trainer *trainer = c->trainer;
    const kr_slot *slot = &trainer->slots[c->at++];
    const bool matrix = slot->parameter->flags & KR_MATRIX, rounded = matrix && trainer->rounded && !c->gradients;
    const void *data = trainer->values + slot->offset;
    if (slot->parameter->form == KR_MINUS_EXP_TRANSPOSED) data = trainer->A + slot->A_offset;
    if (rounded) data = trainer->rounded + slot->offset;
    if (c->gradients) data = slot->frozen ? NULL : trainer->gradient + slot->offset;
    if (matrix)
        *(kr_matrix *)place->field = (kr_matrix){
            .data = data, .rows = slot->rows, .columns = slot->columns, .type = rounded ? KRAIT_WEIGHT_BF16 : KRAIT_WEIGHT_F32
        };
    else
        *(const float **)place->field = data;
    return KRAIT_OK;
}

void kr_slots_connect(krait_trainer *trainer)
{
    krait_model *const models[] = { trainer->model, trainer->gradients };
    for (int i = 0; i < 2; i++) {
        connection c = { trainer, i == 1, 0 };
        kr_each_parameter(&models[i]->config, models[i], connect_field, &c, NULL);
        if (models[i]->config.tied_head) models[i]->head = models[i]->embedding;
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

typedef struct drawing {
    krait_trainer *trainer;
    const kr_slot *slot;
    uint64_t seed;
    float *out;
} drawing;

static void draw_share(void *context, int thread, int n_threads)
{
    const drawing *d = context;
    size_t begin, end;
    kr_share(d->slot->count, 4096, thread, n_threads, &begin, &end);
    kr_parameter_draw(d->out + begin, d->slot->parameter, &d->trainer->model->config, d->seed, begin, end - begin);
}

/* The largest parameter that is not held as stored. */
static float *temporary(const krait_trainer *trainer)
{
    size_t most = 0;
    for (size_t i = 0; i < trainer->n_slots; i++)
        if (trainer->slots[i].count > most) most = trainer->slots[i].count;
    return kr_alloc(most, sizeof(float));
}

/* dt_bias drawn between the paper's bounds, moved to others: delta's logarithm keeps its place between them. */
static void rescale_dt(float *bias, size_t count, double dt_min, double dt_max)
{
    const double low = log(1e-3), high = log(1e-1);
    for (size_t i = 0; i < count; i++) {
        double place = (log(log1p(exp((double)bias[i]))) - low) / (high - low);
        double dt = exp(log(dt_min) + place * (log(dt_max) - log(dt_min)));
        bias[i] = (float)(dt + log(-expm1(-dt)));
    }
}

krait_status kr_slots_draw(krait_trainer *trainer, uint64_t seed, krait_error *error)
{
    float *stored = temporary(trainer);
    if (!stored) return kr_fail_memory(error, "a parameter", trainer->count * sizeof *stored);
    for (size_t i = 0; i < trainer->n_slots; i++) {
        const kr_slot *slot = &trainer->slots[i];
        drawing d = { trainer, slot, kr_parameter_seed(seed) + i, stored };
        kr_parallel(trainer->threads, draw_share, &d);
        if (slot->parameter->init == KR_INIT_DT_BIAS && trainer->options.dt_max > 0)
            rescale_dt(stored, slot->count, (double)trainer->options.dt_min, (double)trainer->options.dt_max);
        kr_slot_to_held(trainer->values + slot->offset, slot, stored);
    }
    kr_free(stored);
    return KRAIT_OK;
}

typedef struct loading {
    krait_trainer *trainer;
    krait_checkpoint *from;
    float *stored;
    size_t at;
} loading;

static krait_status load_slot(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    loading *l = context;
    const kr_slot *slot = &l->trainer->slots[l->at++];
    kr_tensor_to_float32(l->stored, kr_weights_stored(l->from, place));
    if (slot->parameter->form == KR_MINUS_EXP_TRANSPOSED && l->from->gguf) /* which has A */
        for (size_t i = 0; i < slot->count; i++) l->stored[i] = (float)log(-(double)l->stored[i]);
    kr_slot_to_held(l->trainer->values + slot->offset, slot, l->stored);
    return KRAIT_OK;
}

krait_status kr_slots_load(krait_trainer *trainer, krait_checkpoint *from, krait_error *error)
{
    loading l = { trainer, from, temporary(trainer), 0 };
    if (!l.stored) return kr_fail_memory(error, "a parameter", trainer->count * sizeof *l.stored);
    kr_each_parameter(&trainer->model->config, trainer->model, load_slot, &l, NULL);
    kr_free(l.stored);
    return KRAIT_OK;
}

typedef struct deriving {
    krait_trainer *trainer;
    bool round;
} deriving;

static void derive_share(void *context, int thread, int n_threads)
{
    const deriving *d = context;
    krait_trainer *trainer = d->trainer;
    for (size_t s = 0; s < trainer->n_slots; s++) {
        const kr_slot *slot = &trainer->slots[s];
        const float *value = trainer->values + slot->offset;
        size_t begin, end;
        kr_share(slot->count, 1024, thread, n_threads, &begin, &end);
        if (slot->parameter->form == KR_MINUS_EXP_TRANSPOSED)
            for (size_t i = begin; i < end; i++) trainer->A[slot->A_offset + i] = (float)-exp((double)value[i]);
        if (d->round && slot->parameter->flags & KR_MATRIX)
            for (size_t i = begin; i < end; i++) trainer->rounded[slot->offset + i] = kr_float_to_bf16(value[i]);
    }
}

void kr_slots_derive(krait_trainer *trainer, bool round)
{
    kr_parallel(trainer->threads, derive_share, &(deriving){ trainer, round && trainer->rounded });
}
