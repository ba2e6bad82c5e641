/* From Ruby's regular expressions to PCRE2's: see regex.h for what differs. */
#include <stdio.h>
#include <string.h>

#include "text/regex.h"

/* White_Space, and all else, as the inside of a class. */
#define SPACE "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                                      \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{d7ff}\\x{e000}-\\x{10ffff}"
/* Letters, marks, decimal and letter-like numbers, connecting punctuation, and the circled and squared letters, which Unicode calls
 * alphabetic. */
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
/* Outside a class, Oniguruma adds the other digits and the fractions of Latin-1. */
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

typedef struct translator {
    kr_buffer *out;
    const char *name, *pattern;
    size_t length, at;
    size_t depth; /* of classes: 0 outside */
    krait_error *error;
} translator;

static krait_status put(translator *t, const char *text, size_t length)
{
    krait_status status = kr_buffer_reserve(t->out, length, t->error);
    if (status) return status;
    memcpy(t->out->data + t->out->length, text, length);
    t->out->length += length;
    return KRAIT_OK;
}

/* Copies pattern[at..end). */
static krait_status copy(translator *t, size_t end)
{
    krait_status status = put(t, t->pattern + t->at, end - t->at);
    t->at = end;
    return status;
}

/* Puts `text` in place of pattern[at..at + length). */
static krait_status replace(translator *t, size_t length, const char *text)
{
    t->at += length;
    return put(t, text, strlen(text));
}

static krait_status refuse(const translator *t, const char *what)
{
    return kr_fail(t->error, KRAIT_ERROR_UNSUPPORTED, "%s: pattern \"%.*s\", byte %zu: expected a pattern without %s", t->name,
                   t->length > 100 ? 100 : (int)t->length, t->pattern, t->at, what);
}

/* The byte `ahead` of where we are, or 0. */
static char peek(const translator *t, size_t ahead) { return ahead < t->length - t->at ? t->pattern[t->at + ahead] : '\0'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static krait_status translate_escape(translator *t)
{
    bool inside = t->depth > 0;
    switch (peek(t, 1)) {
    case 's': return replace(t, 2, inside ? SPACE : "[" SPACE "]");
    case 'S': return replace(t, 2, inside ? NOT_SPACE : "[^" SPACE "]");
    case 'w': return replace(t, 2, inside ? WORD : "[" WORD_ALONE "]");
    case 'W': return inside ? refuse(t, "\\W in a class") : replace(t, 2, "[^" WORD_ALONE "]");
    case 'h': return refuse(t, "\\h");
    case 'H': return refuse(t, "\\H");
    case 'B': return refuse(t, "\\B");
    case 'b':
        if (!inside) return refuse(t, "\\b");
        break;
    case 'u': {
        char character[16] = "\\x{";
        size_t digits = 0;
        while (digits < 4 && peek(t, 2 + digits)) {
            character[3 + digits] = peek(t, 2 + digits);
            digits++;
        }
        character[3 + digits] = '}';
        return replace(t, 2 + digits, character);
    }
    default: break;
    }
    size_t end = t->at + 2 < t->length ? t->at + 2 : t->length;
    if (end < t->length && t->pattern[end] == '{') { /* \p{L}, \x{20} */
        const char *close = memchr(t->pattern + end, '}', t->length - end);
        if (close && strchr("pPxkgo", t->pattern[end - 1])) end = (size_t)(close - t->pattern) + 1;
    }
    return copy(t, end);
}

static krait_status translate_class(translator *t)
{
    char c = peek(t, 0);
    if (c == '&' && peek(t, 1) == '&') return refuse(t, "&& in a class");
    if (c == ']') {
        t->depth--;
        return t->depth > 0 ? replace(t, 1, "") : copy(t, t->at + 1);
    }
    if (c != '[') return copy(t, t->at + 1);
    if (peek(t, 1) == ':') {
        for (size_t end = t->at + 2; end + 1 < t->length; end++)
            if (t->pattern[end] == ':' && t->pattern[end + 1] == ']') return copy(t, end + 2);
    }
    if (peek(t, 1) == '^') return refuse(t, "a negated class in a class");
    t->depth++;
    return replace(t, 1, "");
}

static krait_status open_class(translator *t)
{
    size_t end = t->at + 1;
    if (end < t->length && t->pattern[end] == '^') end++;
    if (end < t->length && t->pattern[end] == ']') end++; /* is the character there */
    t->depth = 1;
    return copy(t, end);
}

/* "(?": options that follow, up to ':' or ')', with Ruby's m for PCRE2's s. */
static krait_status translate_group(translator *t)
{
    size_t end = t->at + 2;
    while (end < t->length && strchr("imx-", t->pattern[end])) end++;
    if (end == t->length || (t->pattern[end] != ':' && t->pattern[end] != ')')) return copy(t, t->at + 2);
    krait_status status = copy(t, t->at + 2);
    while (!status && t->at < end) status = peek(t, 0) == 'm' ? replace(t, 1, "s") : copy(t, t->at + 1);
    return status;
}

static krait_status translate_brace(translator *t)
{
    size_t end = t->at + 1, digits = 0;
    for (; end < t->length && (is_digit(t->pattern[end]) || t->pattern[end] == ','); end++) digits += is_digit(t->pattern[end]);
    if (end == t->length || t->pattern[end] != '}' || digits == 0) return copy(t, t->at + 1);
    end++;
    if (end < t->length && t->pattern[end] == '+') return refuse(t, "+ behind {n,m}");
    krait_status status = peek(t, 1) == ',' ? replace(t, 1, "{0") : KRAIT_OK;
    return status ? status : copy(t, end);
}

krait_status kr_regex_translate(kr_buffer *out, const char *name, const char *pattern, size_t length, krait_error *error)
{
    translator t = { .out = out, .name = name, .pattern = pattern, .length = length, .error = error };
    krait_status status = kr_buffer_reserve(out, length + 1, error);
    while (!status && t.at < length) {
        char c = pattern[t.at];
        if (c == '\\')
            status = translate_escape(&t);
        else if (t.depth > 0)
            status = translate_class(&t);
        else if (c == '[')
            status = open_class(&t);
        else if (c == '(' && peek(&t, 1) == '?')
            status = translate_group(&t);
        else if (c == '{')
            status = translate_brace(&t);
        else
            status = copy(&t, t.at + 1);
    }
    return status;
}
