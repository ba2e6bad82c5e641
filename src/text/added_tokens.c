#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

/* By bytes; a prefix before what it begins. */
static int compare(const void *left, const void *right)
{
    const kr_span *a = &((const kr_added_token *)left)->text, *b = &((const kr_added_token *)right)->text;
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, common);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static krait_status copy_text(kr_added_token *token, kr_arena *arena, const kr_tokenizer_json *json, krait_error *error)
{
    kr_buffer buffer = { 0 };
    kr_span text = token->text;
    krait_status status = KRAIT_OK;
    if (token->normalized)
        status = kr_normalize(&text.text, &text.length, &buffer, json->normalizers, json->n_normalizers, text.text, text.length,
                              error);
    char *copy = status ? NULL : kr_arena_alloc(arena, text.length, 1);
    if (!status && !copy) status = kr_fail_memory(error, "an added token", text.length);
    if (!status) memcpy(copy, text.text, text.length);
    token->text = (kr_span){ copy, text.length };
    kr_free(buffer.data);
    return status;
}

krait_status kr_added_tokens_build(kr_added_tokens *result, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                                   bool normalized, krait_error *error)
{
    *result = (kr_added_tokens){ .tokens = kr_arena_alloc(arena, json->n_added, sizeof *result->tokens) };
    if (!result->tokens) return kr_fail_memory(error, "added tokens", json->n_added * sizeof *result->tokens);
    for (size_t i = 0; i < json->n_added; i++) {
        if (json->added[i].normalized != normalized) continue;
        kr_added_token *token = &result->tokens[result->n++];
        *token = json->added[i];
        krait_status status = copy_text(token, arena, json, error);
        if (status) return status;
    }
    qsort(result->tokens, result->n, sizeof *result->tokens, compare);
    for (size_t i = 0; i < result->n; i++) {
        const kr_added_token *token = &result->tokens[i];
        if (i > 0 && compare(token - 1, token) == 0)
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected \"%.*s\" once, found it with ids %d and %d", name,
                           json->added_field, token->text.length > 60 ? 60 : (int)token->text.length, token->text.text,
                           token[-1].id, token->id);
        result->first[(unsigned char)token->text.text[0] + 1] = (uint32_t)i + 1;
    }
    for (size_t b = 1; b < 257; b++)
        if (result->first[b] < result->first[b - 1]) result->first[b] = result->first[b - 1];
    return KRAIT_OK;
}

/* ---- what is around a token -------------------------------------------------------------------------------------- */

/* \s: the property White_Space. */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028
           || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* \w: Alphabetic, marks, decimal digits, connecting punctuation and the two joiners (UTS #18, annex C). Other_Alphabetic has
 * nothing beyond these categories but the circled and squared letters. */
static bool is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149)
               || (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

/* The character that ends at `end`, and where it begins; end > 0, valid UTF-8. */
static uint32_t character_before(const char *text, size_t end, size_t *begin)
{
    *begin = end - 1;
    while (*begin > 0 && ((unsigned char)text[*begin] & 0xc0) == 0x80) --*begin;
    uint32_t c = 0;
    kr_utf8_next(text + *begin, end - *begin, &c);
    return c;
}

static bool word_before(const char *text, size_t end)
{
    size_t begin;
    return end > 0 && is_word(character_before(text, end, &begin));
}

static bool word_behind(const char *text, size_t length, size_t begin)
{
    uint32_t c;
    return kr_utf8_next(text + begin, length - begin, &c) && is_word(c);
}

static size_t spaces_before(const char *text, size_t end, size_t limit)
{
    size_t begin;
    while (end > limit && is_space(character_before(text, end, &begin))) end = begin;
    return end;
}

static size_t spaces_behind(const char *text, size_t length, size_t begin)
{
    uint32_t c;
    for (size_t n; (n = kr_utf8_next(text + begin, length - begin, &c)) != 0 && is_space(c); begin += n) {}
    return begin;
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

/* The first of tokens[low..high) whose byte at `depth` is at least `byte`; they are sorted by it. */
static size_t lower_bound(const kr_added_tokens *added, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)added->tokens[middle].text.text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that text[0..length) begins with, or NULL. tokens[low..high) are those that share the bytes seen so far. */
static const kr_added_token *longest_at(const kr_added_tokens *added, const char *text, size_t length)
{
    const kr_added_token *found = NULL;
    unsigned char byte = (unsigned char)text[0];
    size_t low = added->first[byte], high = added->first[byte + 1];
    for (size_t depth = 1; low < high; depth++) {
        if (added->tokens[low].text.length == depth) found = &added->tokens[low++];
        if (depth == length) break;
        byte = (unsigned char)text[depth];
        low = lower_bound(added, low, high, depth, byte);
        high = lower_bound(added, low, high, depth, byte + 1u);
    }
    return found;
}

bool kr_added_tokens_next(const kr_added_tokens *added, const char *text, size_t length, size_t from, bool no_special,
                          kr_added_match *match)
{
    if (added->n == 0) return false;
    for (size_t i = from; i < length;) {
        unsigned char byte = (unsigned char)text[i];
        const kr_added_token *token = NULL;
        if (added->first[byte] != added->first[byte + 1]) token = longest_at(added, text + i, length - i);
        if (!token) {
            i++;
            continue;
        }
        size_t begin = i, end = i + token->text.length;
        i = end;
        if (no_special && token->special) continue;
        if (token->single_word && (word_before(text, begin) || word_behind(text, length, end))) continue;
        if (token->lstrip) begin = spaces_before(text, begin, from);
        if (token->rstrip) end = spaces_behind(text, length, end);
        *match = (kr_added_match){ begin, end, token->id };
        return true;
    }
    return false;
}
