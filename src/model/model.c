#include "model/model.h"

#include <string.h>

#include "base/memory.h"
#include "tensor/packed.h"

krait_model *kr_model_retain(const krait_model *model)
{
    krait_model *mutable = (krait_model *)model; /* the count is the one thing in a model that changes */
    atomic_fetch_add_explicit(&mutable->references, 1, memory_order_relaxed);
    return mutable;
}

void krait_model_free(krait_model *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) return;
    kr_state_layout_release(model->state_layout);
    krait_checkpoint_free(model->checkpoint);
    kr_free(model->owned);
    kr_free(model->layers);
    kr_free(model);
}

krait_status kr_model_new(krait_model **result, const krait_config *config, krait_error *error)
{
    krait_model *model = kr_alloc_zero(1, sizeof *model);
    *result = NULL;
    if (!model) return kr_fail_memory(error, "a model", sizeof *model);
    atomic_init(&model->references, 1);
    model->config = *config;
    model->block = kr_block_of(config->family);
    model->layers = kr_alloc_zero((size_t)config->n_layer, model->block->layer_size);
    krait_status status =
        model->layers ? KRAIT_OK : kr_fail_memory(error, "a model", (size_t)config->n_layer * model->block->layer_size);
    if (!status) status = kr_state_layout_create(&model->state_layout, config, model->block, error);
    if (status)
        krait_model_free(model);
    else
        *result = model;
    return status;
}

krait_status krait_model_create(krait_model **result, krait_checkpoint *checkpoint, const krait_load_options *options,
                                krait_error *error)
{
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_model_create: model is NULL");
    *result = NULL;
    if (!checkpoint) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_model_create: checkpoint is NULL");
    krait_config config;
    krait_model *model = NULL;
    krait_status status = krait_checkpoint_config(checkpoint, &config, error);
    if (!status) status = kr_model_new(&model, &config, error);
    if (!status) {
        model->checkpoint = kr_checkpoint_retain(checkpoint);
        status = kr_weights_load(model, options, error);
    }
    if (status)
        krait_model_free(model);
    else
        *result = model;
    return status;
}

krait_status krait_model_load(krait_model **model, const char *path, const krait_load_options *options, krait_error *error)
{
    if (!model) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_model_load: model is NULL");
    *model = NULL;
    krait_checkpoint *checkpoint;
    krait_status status = krait_checkpoint_open(&checkpoint, path, error);
    if (!status) status = krait_model_create(model, checkpoint, options, error);
    krait_checkpoint_free(checkpoint);
    return status;
}

krait_status krait_model_random(krait_model **result, const krait_config *config, uint64_t seed,
                                const krait_load_options *options, krait_error *error)
{
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_model_random: model is NULL");
    *result = NULL;
    if (!config) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_model_random: config is NULL");
    krait_model *model = NULL;
    krait_status status = kr_config_check(config, error);
    if (!status) status = kr_model_new(&model, config, error);
    if (!status) status = kr_weights_random(model, seed, options, error);
    if (status)
        krait_model_free(model);
    else
        *result = model;
    return status;
}

const krait_config *krait_model_config(const krait_model *model) { return model ? &model->config : NULL; }

const krait_checkpoint *krait_model_checkpoint(const krait_model *model) { return model ? model->checkpoint : NULL; }

uint64_t krait_model_bytes(const krait_model *model) { return model ? model->bytes : 0; }

uint64_t krait_model_bytes_per_token(const krait_model *model)
{
    if (!model) return 0;
    /* Everything once, but of an embedding that is not also the head one row. */
    const kr_matrix *table = &model->embedding;
    if (model->config.tied_head) return model->bytes;
    return model->bytes - kr_packed_bytes(table->type, table->rows, table->columns)
           + kr_packed_bytes(table->type, 1, table->columns);
}

/* ---- names of types ---------------------------------------------------------------------------------------------- */

static const char *const type_names[] = { "auto", "f32", "f16", "bf16", "q8", "q4", "q6" };
enum { N_TYPES = sizeof type_names / sizeof *type_names };

const char *krait_weight_type_name(krait_weight_type type) { return (unsigned)type < N_TYPES ? type_names[type] : "unknown"; }

bool krait_weight_type_find(krait_weight_type *type, const char *name)
{
    for (unsigned i = 0; i < N_TYPES; i++)
        if (strcmp(name, type_names[i]) == 0) {
            *type = (krait_weight_type)i;
            return true;
        }
    return false;
}
