#include "model/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "formats/safetensors.h"
#include "model/model.h"

/* ---- layout ------------------------------------------------------------------------------------------------------ */

enum { FLOATS_PER_LINE = KR_ALIGNMENT / sizeof(float) };

static bool place_entry(kr_state_layout *layout, kr_state_entry *entry)
{
    size_t count;
    entry->offset = layout->count;
    return kr_mul(entry->rows, entry->channels, &count) && kr_add(count, FLOATS_PER_LINE - 1, &count)
           && kr_add(layout->count, count / FLOATS_PER_LINE * FLOATS_PER_LINE, &layout->count);
}

krait_status kr_state_layout_create(kr_state_layout **result, const krait_config *config, const kr_block *block,
                                    krait_error *error)
{
    size_t n_layer = (size_t)config->n_layer, n_entries = n_layer * block->n_state + 1, bytes;
    *result = NULL;
    if (!kr_mul(n_entries, sizeof(kr_state_entry), &bytes) || !kr_add(bytes, sizeof(kr_state_layout), &bytes)) bytes = SIZE_MAX;
    kr_state_layout *layout = kr_alloc_zero(bytes, 1);
    if (!layout) return kr_fail_memory(error, "the layout of states", bytes);
    atomic_init(&layout->references, 1);
    layout->config = *config;
    layout->n_parts = block->n_state;
    layout->n_entries = n_entries;
    bool fits = true;
    for (size_t i = 0; i < n_entries && fits; i++) {
        kr_state_entry *entry = &layout->entries[i];
        if (i == n_entries - 1) {
            snprintf(entry->name, sizeof entry->name, "last_hidden");
            entry->rows = 1;
            entry->channels = (size_t)config->d_model;
            entry->is_vector = true;
        } else {
            const kr_state_part *part = &block->state[i % block->n_state];
            snprintf(entry->name, sizeof entry->name, "%s.%zu", part->name, i / block->n_state);
            entry->rows = kr_dim_size(part->rows, config);
            entry->channels = kr_dim_size(part->channels, config);
        }
        fits = place_entry(layout, entry);
    }
    if (!fits) {
        kr_free(layout);
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "config: a state of these dimensions is larger than memory can be");
    }
    *result = layout;
    return KRAIT_OK;
}

static kr_state_layout *retain(kr_state_layout *layout)
{
    atomic_fetch_add_explicit(&layout->references, 1, memory_order_relaxed);
    return layout;
}

void kr_state_layout_release(kr_state_layout *layout)
{
    if (layout && atomic_fetch_sub_explicit(&layout->references, 1, memory_order_acq_rel) == 1) kr_free(layout);
}

bool kr_state_layout_fits(const kr_state_layout *a, const kr_state_layout *b)
{
    if (a == b) return true;
    char x[KR_FINGERPRINT], y[KR_FINGERPRINT];
    kr_config_fingerprint(&a->config, x);
    kr_config_fingerprint(&b->config, y);
    return strcmp(x, y) == 0;
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static krait_status create(krait_state **result, kr_state_layout *layout, krait_error *error)
{
    *result = NULL;
    krait_state *state = kr_alloc_zero(1, sizeof *state);
    float *data = kr_alloc(layout->count, sizeof *data);
    if (!state || !data) {
        kr_free(state);
        kr_free(data);
        return kr_fail_memory(error, "a state", layout->count * sizeof *data);
    }
    *state = (krait_state){ .layout = retain(layout), .data = data };
    *result = state;
    return KRAIT_OK;
}

krait_status krait_state_create(krait_state **state, const krait_model *model, krait_error *error)
{
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_create: state is NULL");
    *state = NULL;
    if (!model) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_create: model is NULL");
    krait_status status = create(state, model->state_layout, error);
    if (!status) krait_state_reset(*state);
    return status;
}

void krait_state_free(krait_state *state)
{
    if (!state) return;
    kr_state_layout_release(state->layout);
    kr_free(state->data);
    kr_free(state);
}

void krait_state_reset(krait_state *state)
{
    memset(state->data, 0, state->layout->count * sizeof *state->data);
    state->tokens = 0;
}

static void copy(krait_state *state, const krait_state *from)
{
    memcpy(state->data, from->data, from->layout->count * sizeof *state->data);
    state->tokens = from->tokens;
}

krait_status krait_state_clone(krait_state **clone, const krait_state *state, krait_error *error)
{
    if (!clone) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_clone: clone is NULL");
    *clone = NULL;
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_clone: state is NULL");
    krait_status status = create(clone, state->layout, error);
    if (!status) copy(*clone, state);
    return status;
}

static krait_status wrong_config(const char *where, const char *expected, const char *found, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: a state of another model: expected %s, found %.200s", where, expected,
                   found);
}

krait_status krait_state_copy(krait_state *state, const krait_state *from, krait_error *error)
{
    if (!state || !from) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_copy: a state is NULL");
    if (!kr_state_layout_fits(state->layout, from->layout)) {
        char expected[KR_FINGERPRINT], found[KR_FINGERPRINT];
        kr_config_fingerprint(&state->layout->config, expected);
        kr_config_fingerprint(&from->layout->config, found);
        return wrong_config("krait_state_copy", expected, found, error);
    }
    if (state != from) copy(state, from);
    return KRAIT_OK;
}

uint64_t krait_state_tokens(const krait_state *state) { return state ? state->tokens : 0; }

uint64_t krait_state_bytes(const krait_state *state)
{
    return state ? sizeof *state + state->layout->count * sizeof *state->data : 0;
}

size_t krait_state_n_tensors(const krait_state *state) { return state ? state->layout->n_entries : 0; }

static void describe(const kr_state_entry *entry, krait_tensor_info *info)
{
    *info = (krait_tensor_info){ .name = entry->name, .dtype = KRAIT_DTYPE_F32, .n_dims = entry->is_vector ? 1 : 2 };
    info->shape[0] = entry->channels;
    if (!entry->is_vector) info->shape[1] = entry->rows;
    info->bytes = entry->rows * entry->channels * sizeof(float);
}

krait_status krait_state_tensor(const krait_state *state, size_t index, krait_tensor_info *info)
{
    if (!state || !info || index >= state->layout->n_entries) return KRAIT_ERROR_ARGUMENT;
    describe(&state->layout->entries[index], info);
    return KRAIT_OK;
}

/* [rows, channels] inside, [channels, rows] outside. */
static void turn(float *out, const float *in, size_t rows, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t r = 0; r < rows; r++) out[c * rows + r] = in[r * channels + c];
}

krait_status krait_state_read(const krait_state *state, size_t index, float *values)
{
    if (!state || !values || index >= state->layout->n_entries) return KRAIT_ERROR_ARGUMENT;
    const kr_state_entry *entry = &state->layout->entries[index];
    turn(values, state->data + entry->offset, entry->rows, entry->channels);
    return KRAIT_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const char key_version[] = "krait.state", key_config[] = "krait.config", key_tokens[] = "krait.tokens", version[] = "1";

krait_status krait_state_save(const krait_state *state, const char *path, krait_error *error)
{
    if (!state || !path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_save: %s is NULL", state ? "path" : "state");
    const kr_state_layout *layout = state->layout;
    kr_tensor *tensors = kr_alloc_zero(layout->n_entries, sizeof *tensors);
    float *values = kr_alloc(layout->count, sizeof *values);
    krait_status status = KRAIT_OK;
    if (!tensors || !values) status = kr_fail_memory(error, "a state file", layout->count * sizeof *values);
    if (!status) {
        for (size_t i = 0; i < layout->n_entries; i++) {
            krait_tensor_info info;
            describe(&layout->entries[i], &info);
            float *data = values + layout->entries[i].offset;
            krait_state_read(state, i, data);
            tensors[i] = (kr_tensor){ .name = info.name, .dtype = info.dtype, .n_dims = info.n_dims, .data = data };
            memcpy(tensors[i].shape, info.shape, sizeof info.shape);
            kr_tensor_set_contiguous(&tensors[i]);
        }
        char config[KR_FINGERPRINT], tokens[24];
        kr_config_fingerprint(&layout->config, config);
        snprintf(tokens, sizeof tokens, "%" PRIu64, state->tokens);
        const char *const metadata[][2] = { { key_version, version }, { key_config, config }, { key_tokens, tokens } };
        status = kr_safetensors_write(path, tensors, layout->n_entries, metadata, sizeof metadata / sizeof *metadata, error);
    }
    kr_free(tensors);
    kr_free(values);
    return status;
}

/* Compares one string of the file's metadata; a missing one is described as such. */
static krait_status check_metadata(const kr_safetensors *file, const char *name, const char *key, const char *expected,
                                   krait_error *error)
{
    const kr_json *value = kr_json_get(file->metadata, key);
    if (value && value->type == KR_JSON_STRING && kr_json_is(value, expected)) return KRAIT_OK;
    bool is_text = value && value->type == KR_JSON_STRING;
    int length = is_text ? (int)(value->length < 200 ? value->length : 200) : 7;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: not a state of this model: %s: expected %s, found %.*s", name, key, expected,
                   length, is_text ? value->string : "nothing");
}

static krait_status read_tokens(const kr_safetensors *file, const char *name, uint64_t *tokens, krait_error *error)
{
    const kr_json *value = kr_json_get(file->metadata, key_tokens);
    *tokens = 0;
    bool good = value && value->type == KR_JSON_STRING && value->length > 0 && value->length <= 18;
    for (size_t i = 0; good && i < value->length; i++) {
        good = value->string[i] >= '0' && value->string[i] <= '9';
        *tokens = *tokens * 10 + (uint64_t)(value->string[i] - '0');
    }
    return good ? KRAIT_OK
                : kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a number of at most 18 digits", name, key_tokens);
}

static krait_status read_entry(krait_state *state, const kr_state_entry *entry, const kr_safetensors *file, const char *name,
                               krait_error *error)
{
    krait_tensor_info info;
    describe(entry, &info);
    kr_tensor expected = { .dtype = info.dtype, .n_dims = info.n_dims };
    memcpy(expected.shape, info.shape, sizeof info.shape);
    char wanted[96], found[96] = "nothing";
    const kr_tensor *tensor = NULL;
    for (size_t i = 0; i < file->n_tensors && !tensor; i++)
        if (strcmp(file->tensors[i].name, entry->name) == 0) tensor = &file->tensors[i];
    if (tensor && tensor->dtype == expected.dtype && tensor->n_dims == expected.n_dims
        && memcmp(tensor->shape, expected.shape, (size_t)expected.n_dims * sizeof *expected.shape) == 0) {
        /* Shown as [channels, rows], so turning it back swaps the two. */
        const unsigned char *data = tensor->data;
        float *out = state->data + entry->offset;
        for (size_t c = 0; c < entry->channels; c++)
            for (size_t r = 0; r < entry->rows; r++)
                memcpy(&out[r * entry->channels + c], data + (c * entry->rows + r) * sizeof(float), sizeof(float));
        return KRAIT_OK;
    }
    if (tensor) kr_tensor_describe(tensor, found, sizeof found);
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected %s, found %s", name, entry->name,
                   kr_tensor_describe(&expected, wanted, sizeof wanted), found);
}

static krait_status read_state(krait_state **result, const krait_model *model, const kr_file *file, krait_error *error)
{
    kr_arena arena = { 0 };
    kr_safetensors tensors;
    krait_state *state = NULL;
    char config[KR_FINGERPRINT];
    kr_config_fingerprint(&model->config, config);
    krait_status status = kr_safetensors_read(&tensors, &arena, file, error);
    if (!status) status = check_metadata(&tensors, file->name, key_version, version, error);
    if (!status) status = check_metadata(&tensors, file->name, key_config, config, error);
    if (!status && tensors.n_tensors != model->state_layout->n_entries)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %zu tensors, found %zu", file->name,
                         model->state_layout->n_entries, tensors.n_tensors);
    if (!status) status = krait_state_create(&state, model, error);
    if (!status) status = read_tokens(&tensors, file->name, &state->tokens, error);
    for (size_t i = 0; !status && i < state->layout->n_entries; i++)
        status = read_entry(state, &state->layout->entries[i], &tensors, file->name, error);
    kr_arena_free(&arena);
    if (status) {
        krait_state_free(state);
        state = NULL;
    }
    *result = state;
    return status;
}

krait_status krait_state_load(krait_state **state, const krait_model *model, const char *path, krait_error *error)
{
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_load: state is NULL");
    *state = NULL;
    if (!model || !path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_load: %s is NULL", model ? "path" : "model");
    kr_file file;
    krait_status status = kr_file_open(&file, path, error);
    if (status) return status;
    status = read_state(state, model, &file, error);
    kr_file_close(&file);
    return status;
}

krait_status krait_state_load_memory(krait_state **state, const krait_model *model, const void *data, size_t size,
                                     krait_error *error)
{
    if (!state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_load_memory: state is NULL");
    *state = NULL;
    if (!model || (!data && size))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_state_load_memory: %s is NULL", model ? "data" : "model");
    kr_file file;
    krait_status status = kr_file_borrow(&file, "state", data, size, error);
    if (status) return status;
    status = read_state(state, model, &file, error);
    kr_file_close(&file);
    return status;
}
