#include "gguf_maker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

void gguf_free(gguf_maker *m)
{
    free(m->data);
    *m = (gguf_maker){ 0 };
}

void gguf_bytes(gguf_maker *m, const void *bytes, size_t n)
{
    if (m->size + n >= m->capacity) {
        m->capacity = 2 * (m->size + n) + 64;
        m->data = realloc(m->data, m->capacity);
    }
    assert_non_null(m->data);
    if (n) memcpy(m->data + m->size, bytes, n);
    m->size += n;
}

void gguf_u32(gguf_maker *m, uint32_t number) { gguf_bytes(m, &number, sizeof number); }

void gguf_u64(gguf_maker *m, uint64_t number) { gguf_bytes(m, &number, sizeof number); }

void gguf_text(gguf_maker *m, const char *text)
{
    gguf_u64(m, strlen(text));
    gguf_bytes(m, text, strlen(text));
}

void gguf_pad(gguf_maker *m, size_t n)
{
    while (m->size % n) gguf_bytes(m, "", 1);
}

void gguf_header(gguf_maker *m, uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
    gguf_bytes(m, "GGUF", 4);
    gguf_u32(m, version);
    gguf_u64(m, n_tensors);
    gguf_u64(m, n_values);
}

void gguf_key(gguf_maker *m, const char *key, uint32_t type)
{
    gguf_text(m, key);
    gguf_u32(m, type);
}

void gguf_key_array(gguf_maker *m, const char *key, uint32_t type, uint64_t count)
{
    gguf_key(m, key, KR_GGUF_ARRAY);
    gguf_u32(m, type);
    gguf_u64(m, count);
}

void gguf_key_u32(gguf_maker *m, const char *key, uint32_t number)
{
    gguf_key(m, key, KR_GGUF_U32);
    gguf_u32(m, number);
}

void gguf_key_f32(gguf_maker *m, const char *key, float number)
{
    gguf_key(m, key, KR_GGUF_F32);
    gguf_bytes(m, &number, sizeof number);
}

void gguf_key_bool(gguf_maker *m, const char *key, bool flag)
{
    gguf_key(m, key, KR_GGUF_BOOL);
    gguf_bytes(m, flag ? "\1" : "\0", 1);
}

void gguf_key_text(gguf_maker *m, const char *key, const char *text)
{
    gguf_key(m, key, KR_GGUF_STRING);
    gguf_text(m, text);
}

void gguf_tensor(gguf_maker *m, const char *name, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
    gguf_text(m, name);
    gguf_u32(m, (uint32_t)n_dims);
    for (int i = 0; i < n_dims; i++) gguf_u64(m, dims[i]);
    gguf_u32(m, type);
    gguf_u64(m, offset);
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

enum { ALIGNMENT = 32 };

typedef struct converting {
    krait_checkpoint *from;
    gguf_maker *list, *data;
    uint64_t n;
} converting;

static krait_status convert(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    converting *c = context;
    uint64_t dims[4];
    int n_dims = 0;
    const kr_tensor *tensor = kr_checkpoint_find(c->from, place->name);
    assert_non_null(tensor);
    for (int i = tensor->n_dims - 1; i >= 0; i--)
        if (i == 0 || tensor->shape[i] != 1) dims[n_dims++] = tensor->shape[i];
    size_t count;
    float *values = fixture_floats(c->from, place->name, &count);
    for (size_t i = 0; strstr(place->name, "A_log") && i < count; i++) values[i] = (float)-exp((double)values[i]);
    gguf_pad(c->data, ALIGNMENT);
    gguf_tensor(c->list, place->gguf_name, n_dims, dims, 0, c->data->size);
    gguf_bytes(c->data, values, count * sizeof *values);
    c->n++;
    free(values);
    return KRAIT_OK;
}

void gguf_from_model(gguf_maker *m, const char *folder, bool mixer_eps)
{
    krait_error error;
    krait_config config;
    gguf_maker list = { 0 }, data = { 0 };
    converting c = { .list = &list, .data = &data };
    assert_ok(krait_checkpoint_open(&c.from, folder, &error));
    assert_ok(krait_checkpoint_config(c.from, &config, &error));
    assert_ok(kr_each_parameter(&config, NULL, convert, &c, &error));
    gguf_header(m, 3, c.n, mixer_eps ? 13 : 12);
    gguf_key_text(m, "general.architecture", "mamba");
    gguf_key_u32(m, "mamba.vocab_size", (uint32_t)config.vocab_size);
    gguf_key_u32(m, "mamba.embedding_length", (uint32_t)config.d_model);
    gguf_key_u32(m, "mamba.block_count", (uint32_t)config.n_layer);
    gguf_key_u32(m, "mamba.ssm.inner_size", (uint32_t)config.d_inner);
    gguf_key_u32(m, "mamba.ssm.state_size", (uint32_t)config.d_state);
    gguf_key_u32(m, "mamba.ssm.conv_kernel", (uint32_t)config.d_conv);
    gguf_key_u32(m, "mamba.ssm.time_step_rank", (uint32_t)config.dt_rank);
    gguf_key_bool(m, "mamba.ssm.dt_b_c_rms", config.family == KRAIT_FAMILY_FALCON_MAMBA);
    gguf_key_f32(m, "mamba.attention.layer_norm_rms_epsilon", config.norm_eps);
    gguf_key_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)config.bos_id);
    gguf_key_u32(m, "tokenizer.ggml.eos_token_id", (uint32_t)config.eos_id);
    if (mixer_eps) gguf_key_f32(m, "krait.mixer_rms_eps", config.mixer_norm_eps);
    gguf_bytes(m, list.data, list.size);
    gguf_pad(m, ALIGNMENT);
    gguf_bytes(m, data.data, data.size);
    gguf_free(&list);
    gguf_free(&data);
    krait_checkpoint_free(c.from);
}
