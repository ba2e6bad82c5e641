#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static void put(kr_json_writer *w, const char *text, size_t length)
{
    if (w->failed || length == 0) return;
    if (w->file) {
        w->failed = fwrite(text, 1, length, w->file) != length;
        return;
    }
    size_t needed;
    if (!kr_add(w->length, length, &needed) || !kr_add(needed, 1, &needed)) {
        w->failed = true;
        return;
    }
    if (needed > w->capacity) {
        size_t capacity = w->capacity ? w->capacity : 256;
        while (capacity < needed) capacity = capacity > needed / 2 ? needed : capacity * 2;
        char *grown = kr_realloc(w->buffer, capacity, 1);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->buffer = grown;
        w->capacity = capacity;
    }
    memcpy(w->buffer + w->length, text, length);
    w->length += length;
    w->buffer[w->length] = '\0';
}

static void new_line(kr_json_writer *w)
{
    static const char spaces[] = "                ";
    if (w->indent == 0) return;
    put(w, "\n", 1);
    for (size_t left = (size_t)w->indent * (size_t)w->depth; left > 0;) {
        size_t n = left < sizeof spaces - 1 ? left : sizeof spaces - 1;
        put(w, spaces, n);
        left -= n;
    }
}

/* What stands before a value or a key: nothing after a key, else a comma unless it is the first. */
static void separate(kr_json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0) return;
    uint64_t bit = (uint64_t)1 << w->depth;
    if (w->has_elements & bit) put(w, ",", 1);
    if (w->has_elements & bit && w->indent == 0) put(w, " ", 1);
    w->has_elements |= bit;
    new_line(w);
}

void kr_json_open(kr_json_writer *w, char bracket)
{
    separate(w);
    put(w, &bracket, 1);
    if (w->depth == KR_JSON_MAX_DEPTH - 1) /* deeper than the bits of has_elements */
        w->failed = true;
    else
        w->has_elements &= ~((uint64_t)1 << ++w->depth);
}

void kr_json_close(kr_json_writer *w, char bracket)
{
    if (w->depth == 0) {
        w->failed = true;
        return;
    }
    bool filled = w->has_elements >> w->depth & 1;
    w->depth--;
    if (filled) new_line(w);
    put(w, &bracket, 1);
}

static void put_quoted(kr_json_writer *w, const char *text, size_t length)
{
    put(w, "\"", 1);
    size_t begin = 0, i = 0;
    while (i < length) {
        unsigned char c = (unsigned char)text[i];
        uint32_t code_point;
        size_t n = c < 0x80 ? 1 : kr_utf8_next(text + i, length - i, &code_point);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += n;
            continue;
        }
        put(w, text + begin, i - begin);
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *found = c && n ? strchr(named, c) : NULL;
        char escape[8];
        if (n == 0)
            put(w, "\xef\xbf\xbd", 3); /* U+FFFD */
        else if (found)
            put(w, (char[]){ '\\', letters[found - named] }, 2);
        else
            put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
        begin = ++i;
    }
    put(w, text + begin, length - begin);
    put(w, "\"", 1);
}

void kr_json_key(kr_json_writer *w, const char *key)
{
    separate(w);
    put_quoted(w, key, strlen(key));
    put(w, ": ", 2);
    w->after_key = true;
}

void kr_json_put_string(kr_json_writer *w, const char *text, size_t length)
{
    separate(w);
    put_quoted(w, text, length);
}

void kr_json_put_text(kr_json_writer *w, const char *text)
{
    if (text)
        kr_json_put_string(w, text, strlen(text));
    else
        kr_json_put_null(w);
}

static void put_word(kr_json_writer *w, const char *word)
{
    separate(w);
    put(w, word, strlen(word));
}

void kr_json_put_integer(kr_json_writer *w, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_word(w, text);
}

void kr_json_put_number(kr_json_writer *w, double value)
{
    if (!isfinite(value)) {
        kr_json_put_null(w);
        return;
    }
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) {
        w->failed = true;
        return;
    }
    locale_t before = uselocale(c_locale); /* a decimal point, whatever the program's locale */
    char text[32];
    /* A normal double holds any 15 digits, so that no shorter form is missed by starting there. */
    for (int digits = isnormal(value) ? 15 : 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    uselocale(before);
    freelocale(c_locale);
    put_word(w, text);
}

void kr_json_put_bool(kr_json_writer *w, bool value) { put_word(w, value ? "true" : "false"); }

void kr_json_put_null(kr_json_writer *w) { put_word(w, "null"); }
