#include "formats/config_json.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

/* Adds a note; the 17th is dropped. */
static krait_status add_note(kr_config_hints *hints, kr_arena *arena, krait_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static krait_status add_note(kr_config_hints *hints, kr_arena *arena, krait_error *error, const char *format, ...)
{
    enum { NOTES = sizeof hints->notes / sizeof *hints->notes };
    if (hints->n_notes == NOTES) return KRAIT_OK;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = kr_arena_alloc(arena, strlen(text) + 1, 1);
    if (!copy) return kr_fail_memory(error, "a note", strlen(text) + 1);
    strcpy(copy, text);
    hints->notes[hints->n_notes++] = copy;
    return KRAIT_OK;
}

typedef enum field_kind {
    NUMBER, /* also Infinity, and {"__float__": "Infinity"} as one writer has it */
    ID,     /* a number, or a list of them: the first */
    FLAG,
    TEXT
} field_kind;

typedef struct field {
    const char *key;
    size_t offset; /* in kr_config_hints: of a kr_hint, or of a char[size] */
    size_t size;
    field_kind kind;
    bool decides; /* nothing but this file tells */
} field;

#define HINT(key, member, kind, decides)                         \
    {                                                            \
        key, offsetof(kr_config_hints, member), 0, kind, decides \
    }
#define STRING(key, member)                                                                      \
    {                                                                                            \
        key, offsetof(kr_config_hints, member), sizeof((kr_config_hints *)0)->member, TEXT, true \
    }

/* Both layouts in one: where a field has two spellings, that of hf comes first. */
static const field fields[] = {
    STRING("model_type", model_type),
    STRING("hidden_act", activation),
    HINT("vocab_size", vocab_size, NUMBER, false),
    HINT("hidden_size", d_model, NUMBER, false),
    HINT("d_model", d_model, NUMBER, false),
    HINT("num_hidden_layers", n_layer, NUMBER, false),
    HINT("n_layer", n_layer, NUMBER, false),
    HINT("intermediate_size", d_inner, NUMBER, false),
    HINT("d_inner", d_inner, NUMBER, false),
    HINT("state_size", d_state, NUMBER, false),
    HINT("conv_kernel", d_conv, NUMBER, false),
    HINT("time_step_rank", dt_rank, NUMBER, false),
    HINT("expand", expand, NUMBER, false),
    HINT("pad_vocab_size_multiple", pad_vocab_size_multiple, NUMBER, false),
    HINT("use_bias", proj_bias, FLAG, false),
    HINT("use_conv_bias", conv_bias, FLAG, false),
    HINT("tie_word_embeddings", tied_head, FLAG, true),
    HINT("tie_embeddings", tied_head, FLAG, true),
    HINT("layer_norm_epsilon", norm_eps, NUMBER, true),
    HINT("norm_epsilon", norm_eps, NUMBER, true),
    HINT("mixer_rms_eps", mixer_norm_eps, NUMBER, true),
    HINT("bos_token_id", bos_id, ID, false),
    HINT("eos_token_id", eos_id, ID, false),
    HINT("rms_norm", rms_norm, FLAG, true),
};

/* The object ssm_cfg of the original layout. */
static const field ssm_fields[] = {
    STRING("layer", ssm_layer),
    HINT("d_state", d_state, NUMBER, false),
    HINT("d_conv", d_conv, NUMBER, false),
    HINT("expand", expand, NUMBER, false),
    HINT("dt_rank", dt_rank, NUMBER, false),
    HINT("bias", proj_bias, FLAG, false),
    HINT("conv_bias", conv_bias, FLAG, false),
};

static bool read_number(const kr_json *value, double *number)
{
    if (value->type == KR_JSON_INTEGER || value->type == KR_JSON_NUMBER) {
        *number = kr_json_number(value);
        return true;
    }
    const kr_json *spelled = kr_json_get(value, "__float__");
    if (!spelled) return false;
    if (kr_json_is(spelled, "Infinity"))
        *number = (double)INFINITY;
    else if (kr_json_is(spelled, "-Infinity"))
        *number = -(double)INFINITY;
    else if (kr_json_is(spelled, "NaN"))
        *number = (double)NAN;
    else
        return false;
    return true;
}

static bool read_value(const field *f, const kr_json *value, double *number)
{
    if (f->kind == FLAG && value->type == KR_JSON_BOOL) {
        *number = value->boolean;
        return true;
    }
    if (f->kind == ID && value->type == KR_JSON_ARRAY && value->first) value = value->first;
    if (!read_number(value, number)) return false;
    return f->kind != FLAG || *number == 0 || *number == 1;
}

static krait_status read_field(kr_config_hints *hints, kr_arena *arena, const field *f, const kr_json *value, krait_error *error)
{
    static const char *const expected[] = { "a number", "an id", "true or false", "a string" };
    if (!value || value->type == KR_JSON_NULL || kr_json_is(value, "auto")) return KRAIT_OK;
    double number = 0;
    if (f->kind == TEXT ? value->type != KR_JSON_STRING : !read_value(f, value, &number)) {
        if (f->decides)
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected %s, found %s", hints->file, f->key, expected[f->kind],
                           kr_json_type_name(value->type));
        return add_note(hints, arena, error, "%s: %s: expected %s, found %s; it is not used", hints->file, f->key,
                        expected[f->kind], kr_json_type_name(value->type));
    }
    if (f->kind == TEXT) {
        char *text = (char *)hints + f->offset;
        size_t length = value->length < f->size - 1 ? value->length : f->size - 1;
        memcpy(text, value->string, length);
        text[length] = '\0';
        return KRAIT_OK;
    }
    kr_hint *hint = (kr_hint *)((char *)hints + f->offset);
    if (!hint->key) {
        *hint = (kr_hint){ .key = f->key, .value = number };
        return KRAIT_OK;
    }
    if (hint->value == number) return KRAIT_OK;
    return add_note(hints, arena, error, "%s: %s %g and %s %g disagree; the first is taken", hints->file, hint->key, hint->value,
                    f->key, number);
}

krait_status kr_config_json_read(kr_config_hints *hints, kr_arena *arena, const kr_file *file, krait_error *error)
{
    *hints = (kr_config_hints){ 0 };
    const kr_json *root;
    krait_status status = kr_json_parse(&root, arena, file->name, file->data, file->size, error);
    if (status) return status;
    if (root->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected an object, found %s", file->name, kr_json_type_name(root->type));
    kr_config_hints read = { .file = file->name };
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !status; i++)
        status = read_field(&read, arena, &fields[i], kr_json_get(root, fields[i].key), error);
    const kr_json *ssm = kr_json_get(root, "ssm_cfg");
    if (ssm && ssm->type != KR_JSON_NULL && ssm->type != KR_JSON_OBJECT && !status)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: ssm_cfg: expected an object, found %s", file->name,
                         kr_json_type_name(ssm->type));
    for (size_t i = 0; i < sizeof ssm_fields / sizeof *ssm_fields && !status; i++)
        status = read_field(&read, arena, &ssm_fields[i], kr_json_get(ssm, ssm_fields[i].key), error);
    const kr_json *architectures = kr_json_get(root, "architectures");
    if (architectures && architectures->type == KR_JSON_ARRAY && architectures->first && !status) {
        static const field architecture = STRING("architectures", architecture);
        status = read_field(&read, arena, &architecture, architectures->first, error);
    }
    if (!status) *hints = read;
    return status;
}
