/* Each stop string is followed by the automaton of Knuth, Morris and Pratt (1977): after every byte, `matched` is the length of
 * the longest beginning of the string that the text ends with. The largest of them is what must be held back. */
#include "generate/stop.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

typedef struct pattern {
    char *text;
    size_t length;
    size_t *border; /* [length + 1]: of the first i bytes, the longest beginning that is also their end, shorter than i */
    size_t matched;
} pattern;

struct kr_stop {
    size_t n;
    pattern *patterns;
    char *text; /* held back, or just given out */
    size_t begin, end, capacity;
};

static krait_status pattern_init(pattern *p, size_t index, const char *text, krait_error *error)
{
    if (!text || !*text)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "stop[%zu]: expected a string, found %s", index,
                       text ? "an empty one" : "NULL");
    size_t length = strlen(text), valid = kr_utf8_valid_prefix(text, length);
    if (valid < length)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "stop[%zu]: expected valid UTF-8, found byte 0x%02x at %zu", index,
                       (unsigned char)text[valid], valid);
    p->length = length;
    p->text = kr_strndup(text, length);
    p->border = kr_alloc(length + 1, sizeof *p->border);
    if (!p->text || !p->border) return kr_fail_memory(error, "a stop string", length);
    size_t border = 0;
    p->border[0] = p->border[1] = 0;
    for (size_t i = 1; i < length; i++) {
        while (border && text[i] != text[border]) border = p->border[border];
        border += text[i] == text[border];
        p->border[i + 1] = border;
    }
    return KRAIT_OK;
}

krait_status kr_stop_create(kr_stop **stop, const char *const *strings, size_t n, krait_error *error)
{
    *stop = NULL;
    if (n && !strings) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "stop: expected %zu strings, found NULL", n);
    kr_stop *s = kr_alloc_zero(1, sizeof *s);
    if (s) s->patterns = kr_alloc_zero(n, sizeof *s->patterns);
    krait_status status = s && s->patterns ? KRAIT_OK : kr_fail_memory(error, "stop strings", sizeof *s);
    for (size_t i = 0; !status && i < n; i++, s->n++) status = pattern_init(&s->patterns[i], i, strings[i], error);
    if (status)
        kr_stop_free(s);
    else
        *stop = s;
    return status;
}

void kr_stop_free(kr_stop *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) {
        kr_free(s->patterns[i].text);
        kr_free(s->patterns[i].border);
    }
    kr_free(s->patterns);
    kr_free(s->text);
    kr_free(s);
}

/* Makes room for `more` bytes behind the held text, which moves to the front. */
static krait_status reserve(kr_stop *s, size_t more, krait_error *error)
{
    size_t held = s->end - s->begin, wanted;
    if (!kr_add(held, more, &wanted)) return kr_fail_memory(error, "text that may be a stop string", more);
    if (wanted > s->capacity) {
        size_t capacity = wanted > 64 ? wanted * 2 : 64;
        char *text = kr_realloc(s->text, capacity, 1);
        if (!text) return kr_fail_memory(error, "text that may be a stop string", capacity);
        s->text = text;
        s->capacity = capacity;
    }
    if (held) memmove(s->text, s->text + s->begin, held);
    s->begin = 0;
    s->end = held;
    return KRAIT_OK;
}

static void forget(kr_stop *s)
{
    for (size_t i = 0; i < s->n; i++) s->patterns[i].matched = 0;
    s->begin = s->end = 0;
}

/* Moves every automaton on by one byte. Returns the longest string that is now complete, or -1; *held is the largest match. */
static ptrdiff_t step(kr_stop *s, char byte, size_t *held)
{
    ptrdiff_t found = -1;
    *held = 0;
    for (size_t i = 0; i < s->n; i++) {
        pattern *p = &s->patterns[i];
        while (p->matched && p->text[p->matched] != byte) p->matched = p->border[p->matched];
        p->matched += p->text[p->matched] == byte;
        if (p->matched > *held) *held = p->matched;
        if (p->matched == p->length && (found < 0 || p->length > s->patterns[found].length)) found = (ptrdiff_t)i;
    }
    return found;
}

krait_status kr_stop_push(kr_stop *s, const char *text, size_t length, const char **out, size_t *out_length, ptrdiff_t *found,
                          krait_error *error)
{
    *out = "";
    *out_length = 0;
    *found = -1;
    krait_status status = reserve(s, length, error);
    if (status || length == 0) return status;
    size_t held = 0;
    for (size_t i = 0; i < length && *found < 0; i++) {
        s->text[s->end++] = text[i];
        *found = step(s, text[i], &held);
    }
    if (*found >= 0) held = s->patterns[*found].length;
    *out = s->text;
    *out_length = s->begin = s->end - held;
    if (*found >= 0) forget(s);
    return KRAIT_OK;
}

void kr_stop_flush(kr_stop *s, const char **out, size_t *out_length)
{
    *out = s->end > s->begin ? s->text + s->begin : "";
    *out_length = s->end - s->begin;
    forget(s);
}
