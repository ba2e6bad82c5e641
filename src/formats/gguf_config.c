/* The config in the metadata of a GGUF file, as llama.cpp writes it for its architecture "mamba". */
#include <stddef.h>
#include <string.h>

#include "formats/gguf.h"

static const struct field {
    const char *key;
    size_t offset; /* of a kr_hint */
    bool decides;  /* no shape tells */
} fields[] = {
#define FIELD(key, member, decides)                     \
    {                                                   \
        key, offsetof(kr_config_hints, member), decides \
    }
    FIELD("mamba.vocab_size", vocab_size, false),        FIELD("mamba.embedding_length", d_model, false),
    FIELD("mamba.block_count", n_layer, false),          FIELD("mamba.ssm.inner_size", d_inner, false),
    FIELD("mamba.ssm.state_size", d_state, false),       FIELD("mamba.ssm.conv_kernel", d_conv, false),
    FIELD("mamba.ssm.time_step_rank", dt_rank, false),   FIELD(KR_GGUF_NORM_EPS, norm_eps, true),
    FIELD(KR_GGUF_MIXER_NORM_EPS, mixer_norm_eps, true), FIELD("tokenizer.ggml.bos_token_id", bos_id, false),
    FIELD("tokenizer.ggml.eos_token_id", eos_id, false),
#undef FIELD
};

static krait_status add_note(kr_config_hints *hints, kr_arena *arena, const char *text, krait_error *error)
{
    if (hints->n_notes == sizeof hints->notes / sizeof *hints->notes) return KRAIT_OK;
    char *copy = kr_arena_alloc(arena, strlen(text) + 1, 1);
    if (!copy) return kr_fail_memory(error, "a note", strlen(text) + 1);
    strcpy(copy, text);
    hints->notes[hints->n_notes++] = copy;
    return KRAIT_OK;
}

static krait_status read_field(kr_config_hints *hints, kr_arena *arena, const kr_gguf *gguf, const struct field *f,
                               krait_error *error)
{
    const kr_gguf_value *value = kr_gguf_find(gguf, f->key);
    kr_hint *hint = (kr_hint *)((char *)hints + f->offset);
    char found[96], text[512];
    if (!value) return KRAIT_OK;
    if (kr_gguf_number(value, &hint->value)) {
        hint->key = f->key;
        return KRAIT_OK;
    }
    kr_gguf_describe(value, found, sizeof found);
    if (f->decides) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a number, found %s", gguf->file, f->key, found);
    snprintf(text, sizeof text, "%s: %s: expected a number, found %s; it is not used", gguf->file, f->key, found);
    return add_note(hints, arena, text, error);
}

static krait_status read_architecture(kr_config_hints *hints, const kr_gguf *gguf, krait_error *error)
{
    static const char key[] = "general.architecture", norms[] = "mamba.ssm.dt_b_c_rms";
    const kr_gguf_value *value = kr_gguf_find(gguf, key), *normed = kr_gguf_find(gguf, norms);
    const char *text = "";
    size_t length = 0;
    double flag = 0;
    char found[96];
    if (value && !kr_gguf_string(value, &text, &length))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a string, found %s", gguf->file, key,
                       kr_gguf_describe(value, found, sizeof found));
    if (normed && (normed->type != KR_GGUF_BOOL || !kr_gguf_number(normed, &flag)))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a bool, found %s", gguf->file, norms,
                       kr_gguf_describe(normed, found, sizeof found));
    if (length >= sizeof hints->model_type) length = sizeof hints->model_type - 1;
    memcpy(hints->model_type, text, length);
    hints->model_type[length] = '\0';
    if (flag == 1 && strcmp(hints->model_type, "mamba") == 0) strcpy(hints->model_type, "falcon_mamba");
    return KRAIT_OK;
}

krait_status kr_gguf_hints(kr_config_hints *result, kr_arena *arena, const kr_gguf *gguf, krait_error *error)
{
    kr_config_hints hints = { .file = gguf->file };
    double parts = 1;
    if (kr_gguf_number(kr_gguf_find(gguf, "split.count"), &parts) && parts > 1)
        return kr_fail(
            error, KRAIT_ERROR_UNSUPPORTED,
            "%s: split.count: expected a whole model in one file, found one of %g parts: join them (llama-gguf-split --merge)",
            gguf->file, parts);
    krait_status status = read_architecture(&hints, gguf, error);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !status; i++)
        status = read_field(&hints, arena, gguf, &fields[i], error);
    if (!status && strcmp(hints.model_type, "falcon_mamba") == 0 && !hints.mixer_norm_eps.key && hints.norm_eps.key) {
        char text[512];
        snprintf(text, sizeof text, "%s: %s is missing; that of the other norms, %g, is used, as by llama.cpp", gguf->file,
                 KR_GGUF_MIXER_NORM_EPS, hints.norm_eps.value);
        hints.mixer_norm_eps = hints.norm_eps;
        status = add_note(&hints, arena, text, error);
    }
    *result = hints;
    return status;
}
