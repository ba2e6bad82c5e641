#include "formats/gguf_tokenizer_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_cutting.h"

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

typedef struct token {
    kr_span text;
    int32_t type;
} token;

static kr_span padding_name(char buffer[24], size_t index)
{
    return (kr_span){ buffer, (size_t)snprintf(buffer, 24, "[PAD%zu]", index) };
}

/* Tokens by id; false with a reason when they do not fit. Texts of unused tokens are left NULL. */
static bool collect(token *tokens, size_t n_tokens, const kr_tokenizer_json *t, const char **reason)
{
    for (size_t i = 0; i < n_tokens; i++) tokens[i] = (token){ .type = KR_GGUF_TOKEN_UNUSED };
    *reason = "the tokenizer has more tokens than the model's embedding has rows";
    for (size_t i = 0; i < t->n_vocab; i++) {
        if (t->vocab[i].id < 0 || (size_t)t->vocab[i].id >= n_tokens) return false;
        tokens[t->vocab[i].id] = (token){ t->vocab[i].text, KR_GGUF_TOKEN_NORMAL };
    }
    for (size_t i = 0; i < t->n_added; i++) {
        if (t->added[i].id < 0 || (size_t)t->added[i].id >= n_tokens) return false;
        tokens[t->added[i].id] =
            (token){ t->added[i].text, t->added[i].special ? KR_GGUF_TOKEN_CONTROL : KR_GGUF_TOKEN_USER_DEFINED };
    }
    *reason = NULL;
    return true;
}

static int by_text(const void *a_, const void *b_)
{
    const kr_span *a = a_, *b = b_;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

/* llama.cpp refuses a text that two tokens have. */
static bool are_unique(kr_span *sorted, const token *tokens, size_t n_tokens)
{
    size_t n = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        char name[24];
        kr_span text = tokens[i].text;
        if (!text.text) continue;
        sorted[n++] = text;
        /* The name of an unused one, which nothing else may be called. */
        if (text.length > 5 && text.length < sizeof name && memcmp(text.text, "[PAD", 4) == 0) {
            memcpy(name, text.text, text.length);
            name[text.length] = '\0';
            unsigned long long index = strtoull(name + 4, NULL, 10);
            if (index < n_tokens && !tokens[index].text.text) return false;
        }
    }
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n; i++)
        if (by_text(&sorted[i - 1], &sorted[i]) == 0) return false;
    return true;
}

static bool can_be_written(const kr_merge_entry *merge)
{
    return !memchr(merge->left.text, ' ', merge->left.length) && !memchr(merge->right.text, ' ', merge->right.length);
}

static int32_t find_id(const token *tokens, size_t n_tokens, kr_span text)
{
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i].text.text && by_text(&tokens[i].text, &text) == 0) return (int32_t)i;
    return -1;
}

/* ---- putting ----------------------------------------------------------------------------------------------------- */

static void put_tokens(kr_gguf_writer *writer, const token *tokens, int32_t *types, size_t n_tokens)
{
    kr_gguf_put_strings(writer, "tokenizer.ggml.tokens", n_tokens);
    for (size_t i = 0; i < n_tokens; i++) {
        char name[24];
        kr_span text = tokens[i].text.text ? tokens[i].text : padding_name(name, i);
        kr_gguf_add_string(writer, text.text, text.length);
        types[i] = tokens[i].type;
    }
    kr_gguf_put_array(writer, "tokenizer.ggml.token_type", KR_GGUF_I32, types, n_tokens);
}

static krait_status put_merges(kr_gguf_writer *writer, const kr_tokenizer_json *t, krait_error *error)
{
    size_t longest = 0;
    for (size_t i = 0; i < t->n_merges; i++) {
        size_t length = t->merges[i].left.length + t->merges[i].right.length + 1;
        if (length > longest) longest = length;
    }
    char *text = kr_alloc(longest, 1);
    if (!text) return kr_fail_memory(error, "a merge", longest);
    kr_gguf_put_strings(writer, "tokenizer.ggml.merges", t->n_merges);
    for (size_t i = 0; i < t->n_merges; i++) {
        const kr_merge_entry *m = &t->merges[i];
        memcpy(text, m->left.text, m->left.length);
        text[m->left.length] = ' ';
        memcpy(text + m->left.length + 1, m->right.text, m->right.length);
        kr_gguf_add_string(writer, text, m->left.length + m->right.length + 1);
    }
    kr_free(text);
    return KRAIT_OK;
}

static void put_ids(kr_gguf_writer *writer, kr_gguf_special_ids ids, int32_t unk)
{
    if (ids.bos >= 0) kr_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)ids.bos);
    if (ids.eos >= 0) kr_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)ids.eos);
    if (ids.eos >= 0) kr_gguf_put_u32(writer, "tokenizer.ggml.eot_token_id", (uint32_t)ids.eos);
    if (unk >= 0) kr_gguf_put_u32(writer, "tokenizer.ggml.unknown_token_id", (uint32_t)unk);
    kr_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", false); /* as here: nothing comes around a text by itself */
}

krait_status kr_gguf_put_tokenizer(kr_gguf_writer *writer, const kr_tokenizer_json *tokenizer, size_t n_tokens,
                                   kr_gguf_special_ids ids, const char **cutting, const char **reason, krait_error *error)
{
    krait_status status = KRAIT_OK;
    *reason = *cutting = NULL;
    token *tokens = kr_alloc(n_tokens, sizeof *tokens);
    kr_span *sorted = kr_alloc(n_tokens, sizeof *sorted); /* and then the types */
    if (!tokens || !sorted) status = kr_fail_memory(error, "tokens", n_tokens * sizeof *tokens);
    bool fits = !status && !tokenizer->characters && collect(tokens, n_tokens, tokenizer, reason);
    if (tokenizer->characters) *reason = "its tokens are of characters, not of bytes";
    for (size_t i = 0; i < tokenizer->n_merges && fits; i++) {
        fits = can_be_written(&tokenizer->merges[i]);
        if (!fits) *reason = "a merge of the tokenizer has a space in it";
    }
    if (fits && !are_unique(sorted, tokens, n_tokens)) {
        fits = false;
        *reason = "two of its tokens have the same text";
    }
    if (fits) {
        *cutting = kr_gguf_cutting_name(tokenizer);
        kr_gguf_put_text(writer, "tokenizer.ggml.model", "gpt2");
        kr_gguf_put_text(writer, "tokenizer.ggml.pre", *cutting ? *cutting : "default");
        put_tokens(writer, tokens, (int32_t *)(void *)sorted, n_tokens);
        status = put_merges(writer, tokenizer, error);
        put_ids(writer, ids, tokenizer->unk_token.text ? find_id(tokens, n_tokens, tokenizer->unk_token) : -1);
    }
    kr_free(tokens);
    kr_free(sorted);
    return status;
}

void kr_gguf_put_no_tokenizer(kr_gguf_writer *writer) { kr_gguf_put_text(writer, "tokenizer.ggml.model", "no_vocab"); }
