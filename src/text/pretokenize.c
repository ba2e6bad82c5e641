#include "text/pretokenize.h"

#include <string.h>

#include "base/utf8.h"
#include "text/byte_level.h"

/* GPT-2's (Radford et al. 2019): contractions, words, numbers, the rest, each with the space before it; then white space. */
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* Hugging Face's Digits and Punctuation look at single characters: general category N; category P and the ASCII symbols. */
#define DIGIT_PATTERN       "\\p{N}"
#define PUNCTUATION_PATTERN "[\\p{P}$+<=>^`|~]"

krait_status kr_pretokenizers_build(kr_pretokenizers *result, const char *name, const kr_tokenizer_json *json, krait_error *error)
{
    *result = (kr_pretokenizers){ .characters = json->characters };
    for (size_t i = 0; i < json->n_pretokenizers; i++) {
        const kr_pretokenizer *source = &json->pretokenizers[i];
        kr_cut_step *step = &result->steps[result->n++];
        *step = (kr_cut_step){ .behavior = source->behavior, .invert = source->invert };
        const char *pattern = source->pattern.text;
        size_t length = source->pattern.length;
        switch (source->type) {
        case KR_PRETOKENIZER_SPLIT: break;
        case KR_PRETOKENIZER_BYTE_LEVEL:
            step->behavior = KR_SPLIT_ISOLATED;
            step->byte_level = true;
            step->add_prefix_space = source->add_prefix_space;
            pattern = GPT2_PATTERN;
            break;
        case KR_PRETOKENIZER_DIGITS: pattern = DIGIT_PATTERN; break;
        case KR_PRETOKENIZER_PUNCTUATION: pattern = PUNCTUATION_PATTERN; break;
        }
        if (step->byte_level && !source->use_regex) continue;
        if (source->type != KR_PRETOKENIZER_SPLIT) length = strlen(pattern);
        krait_status status = kr_regex_compile(&step->regex, name, pattern, length, source->literal, error);
        if (status) return status;
    }
    return KRAIT_OK;
}

void kr_pretokenizers_free(kr_pretokenizers *pretokenizers)
{
    for (size_t i = 0; i < pretokenizers->n; i++) kr_regex_free(pretokenizers->steps[i].regex);
    *pretokenizers = (kr_pretokenizers){ 0 };
}

void kr_cutting_free(kr_cutting *cutting)
{
    kr_regex_scratch_free(&cutting->regex);
    kr_free(cutting->prefixed.data);
    kr_free(cutting->mapped.data);
    kr_free(cutting->unmapped.data);
}

static krait_status cut_from(kr_cutting *c, size_t step, const char *text, size_t length);

/* Passes on what a step has cut. Behind ByteLevel the text is in its alphabet, unless nothing looks at it any more. */
static krait_status pass_on(kr_cutting *c, size_t step, const char *text, size_t length)
{
    if (c->pretokenizers->steps[step].byte_level && step + 1 < c->pretokenizers->n) {
        krait_status status = kr_buffer_reserve(&c->mapped, 2 * length, c->error);
        if (status) return status;
        length = kr_byte_level_encode(c->mapped.data, text, length);
        text = c->mapped.data;
    }
    return cut_from(c, step + 1, text, length);
}

/* One stretch of text between or of matches, as the behaviour joins them. */
typedef struct stretch {
    size_t begin, end;
    bool is_match, any;
} stretch;

static krait_status give(kr_cutting *c, size_t step, const char *text, const stretch *s)
{
    if (!s->any || s->begin == s->end) return KRAIT_OK;
    if (s->is_match && c->pretokenizers->steps[step].behavior == KR_SPLIT_REMOVED) return KRAIT_OK;
    return pass_on(c, step, text + s->begin, s->end - s->begin);
}

/* Takes the next stretch: joins it to the one held back, or gives that out and holds back this one. */
static krait_status take(kr_cutting *c, size_t step, const char *text, stretch *held, bool *match_before, stretch next)
{
    bool join = false;
    switch (c->pretokenizers->steps[step].behavior) {
    case KR_SPLIT_REMOVED:
    case KR_SPLIT_ISOLATED: break;
    case KR_SPLIT_MERGED_WITH_PREVIOUS: join = next.is_match && !*match_before; break;
    case KR_SPLIT_MERGED_WITH_NEXT: join = held->is_match && !next.is_match; break;
    case KR_SPLIT_CONTIGUOUS: join = next.is_match == *match_before; break;
    }
    *match_before = next.is_match;
    if (join && held->any) {
        held->end = next.end;
        held->is_match = next.is_match;
        return KRAIT_OK;
    }
    krait_status status = give(c, step, text, held);
    *held = next;
    return status;
}

/* Bytes of the character at the beginning of text, valid UTF-8 with length > 0. */
static size_t character_length(const char *text, size_t length)
{
    uint32_t character;
    return kr_utf8_next(text, length, &character);
}

/* Cuts by the step's pattern and passes the stretches on to the next step. An empty match right behind another does not count. */
static krait_status cut_by_pattern(kr_cutting *c, size_t step, const char *text, size_t length)
{
    const kr_cut_step *s = &c->pretokenizers->steps[step];
    stretch held = { 0 };
    bool match_before = false, any_match = false;
    size_t end = 0; /* of the match before */
    for (size_t from = 0; from <= length;) {
        kr_regex_match match;
        krait_status status = kr_regex_find(s->regex, &c->regex, text, length, from, &match, c->error);
        if (status) return status;
        if (!match.found) break;
        if (match.end == match.begin && any_match && match.end == end) {
            from = match.end < length ? match.end + character_length(text + match.end, length - match.end) : length + 1;
            continue;
        }
        if (match.begin > end) status = take(c, step, text, &held, &match_before, (stretch){ end, match.begin, s->invert, true });
        if (!status) status = take(c, step, text, &held, &match_before, (stretch){ match.begin, match.end, !s->invert, true });
        if (status) return status;
        any_match = true;
        from = end = match.end;
    }
    krait_status status = KRAIT_OK;
    if (end < length) status = take(c, step, text, &held, &match_before, (stretch){ end, length, s->invert, true });
    return status ? status : give(c, step, text, &held);
}

/* The pieces are done. Behind a ByteLevel that was not the last step they are in its alphabet. */
static krait_status give_piece(kr_cutting *c, const char *text, size_t length)
{
    if (c->pretokenizers->characters || c->pretokenizers->steps[c->pretokenizers->n - 1].byte_level)
        return c->on_piece(c->user, text, length);
    krait_status status = kr_buffer_reserve(&c->unmapped, length, c->error);
    if (status) return status;
    size_t n_bytes = 0;
    kr_byte_level_decode(c->unmapped.data, &n_bytes, text, length);
    return c->on_piece(c->user, c->unmapped.data, n_bytes);
}

static krait_status cut_from(kr_cutting *c, size_t step, const char *text, size_t length)
{
    const kr_pretokenizers *p = c->pretokenizers;
    if (step == p->n) return give_piece(c, text, length);
    const kr_cut_step *s = &p->steps[step];
    if (s->add_prefix_space && c->prefix && text[0] != ' ') {
        c->prefixed.length = 0;
        krait_status status = kr_buffer_reserve(&c->prefixed, length + 1, c->error);
        if (status) return status;
        c->prefixed.data[0] = ' ';
        memcpy(c->prefixed.data + 1, text, length);
        text = c->prefixed.data;
        length++;
    }
    return s->regex ? cut_by_pattern(c, step, text, length) : pass_on(c, step, text, length);
}

krait_status kr_cut(kr_cutting *c, const char *text, size_t length, bool prefix)
{
    if (length == 0) return KRAIT_OK;
    c->prefix = prefix;
    krait_status status = kr_regex_prepare(&c->regex, length, c->error);
    return status ? status : cut_from(c, 0, text, length);
}
