/* A trainer's model as a folder, and its moments as a file, both by way of safetensors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "model/save_files.h"
#include "tensor/packed.h"
#include "tensor/tensor.h"
#include "train/trainer.h"

typedef struct saving {
    const krait_trainer *trainer;
    const kr_tensor *tensors;
    float *stored;
    uint16_t *rounded;
} saving;

static size_t largest(const krait_trainer *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].count > most) most = t->slots[i].count;
    return most;
}

/* ---- the model ------------------------------------------------------------------------------------------------------ */

static krait_status put_parameter(void *context, size_t i, kr_writer *to, krait_error *error)
{
    saving *s = context;
    const kr_slot *slot = &s->trainer->slots[i];
    const void *data = s->stored;
    size_t bytes = 0;
    kr_slot_to_stored(s->stored, slot, s->trainer->values + slot->offset);
    if (s->tensors[i].dtype == KRAIT_DTYPE_BF16) {
        kr_pack(KRAIT_WEIGHT_BF16, s->rounded, slot->columns, 0, slot->rows, s->stored);
        data = s->rounded;
    }
    kr_tensor_bytes(&s->tensors[i], &bytes);
    return kr_writer_write(to, data, bytes, error);
}

static krait_status save_model(const krait_trainer *t, const char *folder, krait_weight_type type, krait_error *error)
{
    kr_tensor *tensors = kr_alloc(t->n_slots, sizeof *tensors);
    saving s = { t, tensors, kr_alloc(largest(t), sizeof *s.stored), kr_alloc(largest(t), sizeof *s.rounded) };
    char *path = kr_join_path(folder, "model.safetensors");
    krait_status status = KRAIT_OK;
    if (!tensors || !s.stored || !s.rounded || !path) {
        status = kr_fail_memory(error, "saving a model", largest(t) * sizeof *s.stored);
    } else {
        for (size_t i = 0; i < t->n_slots; i++) {
            tensors[i] = kr_slot_tensor(&t->slots[i], &t->model->config);
            tensors[i].name = t->slots[i].name;
            if (type == KRAIT_WEIGHT_BF16 && t->slots[i].parameter->flags & KR_MATRIX) tensors[i].dtype = KRAIT_DTYPE_BF16;
        }
        bool made;
        status = kr_folder_begin(folder, &made, error);
        if (!status) {
            static const char *const metadata[][2] = { { "format", "pt" } };
            status = kr_folder_add_config(folder, &t->model->config, type, error);
            if (!status) status = kr_safetensors_write_each(path, tensors, t->n_slots, metadata, 1, put_parameter, &s, error);
            if (status) kr_folder_abandon(folder, made);
        }
    }
    kr_free(path);
    kr_free(tensors);
    kr_free(s.stored);
    kr_free(s.rounded);
    return status;
}

krait_status krait_trainer_save_model(const krait_trainer *trainer, const char *folder, krait_weight_type type,
                                      krait_error *error)
{
    if (!trainer || !folder)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_save_model: %s is NULL", trainer ? "folder" : "trainer");
    if (type != KRAIT_WEIGHT_F32 && type != KRAIT_WEIGHT_BF16)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_save_model: type: expected f32 or bf16, found %s",
                       krait_weight_type_name(type));
    return save_model(trainer, folder, type, error);
}

/* ---- the optimizer's state ------------------------------------------------------------------------------------------- */

static const char version[] = "krait-trainer-1", key_version[] = "version", key_steps[] = "steps";
enum { MOMENTS = 2, NAME = 100 };
static const char *const prefixes[MOMENTS] = { "m.", "v." };

static const float *moment_of(const krait_trainer *t, size_t i) { return i < t->n_slots ? t->m : t->v; }

static krait_status put_moment(void *context, size_t i, kr_writer *to, krait_error *error)
{
    saving *s = context;
    size_t bytes = 0;
    const kr_slot *slot = &s->trainer->slots[i % s->trainer->n_slots];
    kr_slot_to_stored(s->stored, slot, moment_of(s->trainer, i) + slot->offset);
    kr_tensor_bytes(&s->tensors[i], &bytes);
    return kr_writer_write(to, s->stored, bytes, error);
}

krait_status krait_trainer_save_state(const krait_trainer *t, const char *path, krait_error *error)
{
    if (!t || !path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_save_state: %s is NULL", t ? "path" : "trainer");
    const size_t n = MOMENTS * t->n_slots;
    kr_tensor *tensors = kr_alloc(n, sizeof *tensors);
    char(*names)[NAME] = kr_alloc(n, sizeof *names);
    saving s = { t, tensors, kr_alloc(largest(t), sizeof *s.stored), NULL };
    krait_status status = KRAIT_OK;
    if (!tensors || !names || !s.stored) status = kr_fail_memory(error, "saving a trainer", largest(t) * sizeof *s.stored);
    for (size_t i = 0; i < n && !status; i++) {
        const kr_slot *slot = &t->slots[i % t->n_slots];
        snprintf(names[i], sizeof names[i], "%s%s", prefixes[i / t->n_slots], slot->name);
        tensors[i] = kr_slot_tensor(slot, &t->model->config);
        tensors[i].name = names[i];
    }
    char steps[24];
    snprintf(steps, sizeof steps, "%" PRIu64, t->steps);
    const char *const metadata[][2] = { { key_version, version }, { key_steps, steps } };
    if (!status) status = kr_safetensors_write_each(path, tensors, n, metadata, 2, put_moment, &s, error);
    kr_free(tensors);
    kr_free(names);
    kr_free(s.stored);
    return status;
}

static krait_status read_steps(const kr_safetensors *file, const char *name, uint64_t *steps, krait_error *error)
{
    const kr_json *found = kr_json_get(file->metadata, key_version), *value = kr_json_get(file->metadata, key_steps);
    if (!found || found->type != KR_JSON_STRING || !kr_json_is(found, version))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: not a trainer's state: %s: expected %s", name, key_version, version);
    bool good = value && value->type == KR_JSON_STRING && value->length > 0 && value->length <= 18;
    *steps = 0;
    for (size_t i = 0; good && i < value->length; i++) {
        good = value->string[i] >= '0' && value->string[i] <= '9';
        *steps = *steps * 10 + (uint64_t)(value->string[i] - '0');
    }
    return good ? KRAIT_OK
                : kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a number of at most 18 digits", name, key_steps);
}

/* Tensors by their names: found[i] as list i of save_state. */
static krait_status find_moments(const krait_trainer *t, const kr_safetensors *file, const char *name, const kr_tensor **found,
                                 krait_error *error)
{
    const size_t n = MOMENTS * t->n_slots;
    if (file->n_tensors != n)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: not a state of this model: expected %zu tensors, found %zu", name, n,
                       file->n_tensors);
    for (size_t i = 0; i < n; i++) {
        const kr_slot *slot = &t->slots[i % t->n_slots];
        const char *prefix = prefixes[i / t->n_slots];
        kr_tensor expected = kr_slot_tensor(slot, &t->model->config);
        char wanted[96], is[96] = "nothing";
        found[i] = NULL;
        for (size_t j = 0; j < n && !found[i]; j++) {
            const char *own = file->tensors[(i + j) % n].name; /* usually in the same order */
            if (strncmp(own, prefix, strlen(prefix)) == 0 && strcmp(own + strlen(prefix), slot->name) == 0)
                found[i] = &file->tensors[(i + j) % n];
        }
        if (found[i] && found[i]->dtype == expected.dtype && found[i]->n_dims == expected.n_dims
            && memcmp(found[i]->shape, expected.shape, (size_t)expected.n_dims * sizeof *expected.shape) == 0)
            continue;
        if (found[i]) kr_tensor_describe(found[i], is, sizeof is);
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s%s: expected %s, found %s", name, prefix, slot->name,
                       kr_tensor_describe(&expected, wanted, sizeof wanted), is);
    }
    return KRAIT_OK;
}

static krait_status load_state(krait_trainer *t, const kr_file *file, krait_error *error)
{
    kr_arena arena = { 0 };
    kr_safetensors tensors;
    uint64_t steps;
    const kr_tensor **found = kr_alloc(MOMENTS * t->n_slots, sizeof *found);
    float *stored = kr_alloc(largest(t), sizeof *stored);
    krait_status status = KRAIT_OK;
    if (!found || !stored) status = kr_fail_memory(error, "a trainer's state", largest(t) * sizeof *stored);
    if (!status) status = kr_safetensors_read(&tensors, &arena, file, error);
    if (!status) status = read_steps(&tensors, file->name, &steps, error);
    if (!status) status = find_moments(t, &tensors, file->name, found, error);
    for (size_t i = 0; i < MOMENTS * t->n_slots && !status; i++) {
        const kr_slot *slot = &t->slots[i % t->n_slots];
        kr_tensor_to_float32(stored, found[i]);
        kr_slot_to_held((i < t->n_slots ? t->m : t->v) + slot->offset, slot, stored);
    }
    if (!status) {
        krait_trainer_discard(t);
        t->steps = steps;
    }
    kr_arena_free(&arena);
    kr_free(found);
    kr_free(stored);
    return status;
}

krait_status krait_trainer_load_state(krait_trainer *trainer, const char *path, krait_error *error)
{
    if (!trainer || !path)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_load_state: %s is NULL", trainer ? "path" : "trainer");
    kr_file file;
    krait_status status = kr_file_open(&file, path, error);
    if (status) return status;
    status = load_state(trainer, &file, error);
    kr_file_close(&file);
    return status;
}
