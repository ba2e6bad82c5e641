#include "formats/gguf_tokenizer.h"

#include <string.h>

#include "base/utf8.h"
#include "formats/gguf_cutting.h"

static const char model_key[] = "tokenizer.ggml.model", pre_key[] = "tokenizer.ggml.pre", tokens_key[] = "tokenizer.ggml.tokens",
                  types_key[] = "tokenizer.ggml.token_type", merges_key[] = "tokenizer.ggml.merges";

typedef struct reader {
    kr_tokenizer_json *result;
    kr_arena *arena;
    const kr_gguf *gguf;
    krait_error *error;
} reader;

static krait_status wrong(const reader *r, krait_status status, const char *key, const char *expected)
{
    char found[96];
    return kr_fail(r->error, status, "%s: %s: expected %s, found %s", r->gguf->file, key, expected,
                   kr_gguf_describe(kr_gguf_find(r->gguf, key), found, sizeof found));
}

bool kr_gguf_has_tokenizer(const kr_gguf *gguf) { return kr_gguf_find(gguf, tokens_key) != NULL; }

/* ---- cutting ----------------------------------------------------------------------------------------------------- */

static krait_status read_cutting(const reader *r)
{
    const char *name = "default";
    size_t length = strlen(name);
    const kr_gguf_value *value = kr_gguf_find(r->gguf, pre_key);
    if (value && !kr_gguf_string(value, &name, &length)) return wrong(r, KRAIT_ERROR_FORMAT, pre_key, "a string");
    const kr_gguf_cutting *cutting = kr_gguf_cutting_named(name, length);
    if (!cutting)
        return wrong(r, KRAIT_ERROR_UNSUPPORTED, pre_key,
                     "a name of how to cut text that we know (gpt-2, olmo, falcon, starcoder, llama-bpe, dbrx, qwen2, gpt-4o, "
                     "default)");
    memcpy(r->result->pretokenizers, cutting->steps, sizeof cutting->steps);
    r->result->n_pretokenizers = cutting->n_steps;
    r->result->ignore_merges = cutting->ignore_merges;
    if (cutting->nfc) r->result->normalizers[r->result->n_normalizers++] = KR_NORMALIZER_NFC;
    return KRAIT_OK;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

/* An array of strings; its texts, which are UTF-8 without a NUL, follow each other from value->data on. */
static krait_status find_strings(const reader *r, const char *key, const kr_gguf_value **value)
{
    *value = kr_gguf_find(r->gguf, key);
    if (!*value || !(*value)->is_array || (*value)->type != KR_GGUF_STRING)
        return wrong(r, KRAIT_ERROR_FORMAT, key, "an array of strings");
    return KRAIT_OK;
}

static krait_status next_text(const reader *r, const char *key, size_t index, const char **at, kr_span *text)
{
    text->text = kr_gguf_next_string(at, &text->length);
    if (kr_utf8_valid_prefix(text->text, text->length) == text->length && !memchr(text->text, '\0', text->length))
        return KRAIT_OK;
    return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: %s[%zu]: expected text in UTF-8, found other bytes", r->gguf->file, key,
                   index);
}

static krait_status read_type(const reader *r, const kr_gguf_value *types, size_t index, int64_t *type)
{
    *type = KR_GGUF_TOKEN_NORMAL;
    if (types) kr_gguf_element(types, index, type);
    if (*type >= KR_GGUF_TOKEN_NORMAL && *type <= KR_GGUF_TOKEN_UNUSED) return KRAIT_OK;
    return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: %s[%zu]: expected a type from %d to %d, as in byte-level BPE, found %lld",
                   r->gguf->file, types_key, index, KR_GGUF_TOKEN_NORMAL, KR_GGUF_TOKEN_UNUSED, (long long)*type);
}

/* Whether a text is the same in the byte-level alphabet: then merges may lead to it, though it is an added token. */
static bool is_plain(kr_span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.text[i] <= ' ' || text.text[i] > '~') return false;
    return true;
}

static krait_status read_token(const reader *r, const kr_gguf_value *types, size_t index, const char **at)
{
    kr_tokenizer_json *result = r->result;
    kr_span text;
    int64_t type;
    krait_status status = next_text(r, tokens_key, index, at, &text);
    if (!status) status = read_type(r, types, index, &type);
    if (status || type == KR_GGUF_TOKEN_UNUSED) return status;
    if (type == KR_GGUF_TOKEN_NORMAL || is_plain(text))
        result->vocab[result->n_vocab++] = (kr_vocab_entry){ .text = text, .id = (int32_t)index };
    if (type == KR_GGUF_TOKEN_NORMAL) return KRAIT_OK;
    if (text.length == 0)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: %s[%zu]: expected a text, as its type is %d, found none", r->gguf->file,
                       tokens_key, index, (int)type);
    result->added[result->n_added++] =
        (kr_added_token){ .text = text, .id = (int32_t)index, .special = type != KR_GGUF_TOKEN_USER_DEFINED };
    return KRAIT_OK;
}

static krait_status read_tokens(const reader *r)
{
    kr_tokenizer_json *result = r->result;
    const kr_gguf_value *tokens, *types = kr_gguf_find(r->gguf, types_key);
    char expected[64];
    int64_t first;
    krait_status status = find_strings(r, tokens_key, &tokens);
    if (status) return status;
    if (tokens->count > (size_t)KR_MAX_TOKEN_ID + 1) {
        snprintf(expected, sizeof expected, "at most %d strings", KR_MAX_TOKEN_ID + 1);
        return wrong(r, KRAIT_ERROR_FORMAT, tokens_key, expected);
    }
    if (types && (types->count != tokens->count || (types->count && !kr_gguf_element(types, 0, &first)))) {
        snprintf(expected, sizeof expected, "an array of %zu integers", tokens->count);
        return wrong(r, KRAIT_ERROR_FORMAT, types_key, expected);
    }
    result->vocab = kr_arena_alloc(r->arena, tokens->count, sizeof *result->vocab);
    result->added = kr_arena_alloc(r->arena, tokens->count, sizeof *result->added);
    if (!result->vocab || !result->added) return kr_fail_memory(r->error, "tokens", tokens->count * sizeof *result->added);
    const char *at = tokens->data;
    for (size_t i = 0; i < tokens->count && !status; i++) status = read_token(r, types, i, &at);
    return status;
}

static krait_status read_merges(const reader *r)
{
    kr_tokenizer_json *result = r->result;
    const kr_gguf_value *merges;
    krait_status status = find_strings(r, merges_key, &merges);
    if (status) return status;
    result->merges = kr_arena_alloc(r->arena, merges->count, sizeof *result->merges);
    if (!result->merges) return kr_fail_memory(r->error, "merges", merges->count * sizeof *result->merges);
    const char *at = merges->data;
    for (size_t i = 0; i < merges->count && !status; i++) {
        kr_span text;
        status = next_text(r, merges_key, i, &at, &text);
        if (!status && !kr_merge_split(text, &result->merges[result->n_merges++]))
            status = kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: %s[%zu]: expected \"left right\", found \"%.*s\"", r->gguf->file,
                             merges_key, i, text.length > 60 ? 60 : (int)text.length, text.text);
    }
    return status;
}

krait_status kr_gguf_tokenizer_read(kr_tokenizer_json *result, kr_arena *arena, const kr_gguf *gguf, krait_error *error)
{
    *result = (kr_tokenizer_json){ .vocab_field = tokens_key, .merges_field = merges_key, .added_field = tokens_key };
    const reader r = { result, arena, gguf, error };
    const char *whole;
    size_t whole_length;
    if (kr_gguf_string(kr_gguf_find(gguf, KR_GGUF_TOKENIZER_JSON), &whole, &whole_length))
        return kr_tokenizer_json_read(result, arena, gguf->file, whole, whole_length, error);
    const char *model;
    size_t length;
    if (!kr_gguf_string(kr_gguf_find(gguf, model_key), &model, &length) || length != 4 || memcmp(model, "gpt2", 4) != 0)
        return wrong(&r, KRAIT_ERROR_UNSUPPORTED, model_key, "\"gpt2\" (byte-level BPE)");
    krait_status status = read_cutting(&r);
    if (!status) status = read_tokens(&r);
    return status ? status : read_merges(&r);
}
