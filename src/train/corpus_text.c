/* From the bytes of a stretch to texts: line ends, invalid UTF-8, JSON. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "train/corpus.h"

void kr_corpus_scratch_free(kr_corpus_scratch *scratch)
{
    for (size_t i = 0; i < 3; i++) kr_free(scratch->buffer[i]);
    *scratch = (kr_corpus_scratch){ 0 };
}

static krait_status reserve(kr_corpus_scratch *s, int which, size_t size, krait_error *error)
{
    if (size <= s->capacity[which]) return KRAIT_OK;
    char *grown = kr_realloc(s->buffer[which], size, 1);
    if (!grown) return kr_fail_memory(error, "text", size);
    s->buffer[which] = grown;
    s->capacity[which] = size;
    return KRAIT_OK;
}

size_t kr_corpus_drop_returns(char *out, const char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const char *cr = memchr(text + i, '\r', length - i);
        size_t end = cr ? (size_t)(cr - text) : length;
        memmove(out + n, text + i, end - i);
        n += end - i;
        i = end;
        if (!cr) break;
        if (!(i + 1 < length && text[i + 1] == '\n')) out[n++] = '\r';
        i++;
    }
    return n;
}

/* Copies valid UTF-8 with each run of other bytes replaced or left out. */
static size_t mend(char *out, const char *text, size_t length, bool replace, uint64_t *n_invalid)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        size_t valid = kr_utf8_valid_prefix(text + i, length - i);
        memcpy(out + n, text + i, valid);
        n += valid;
        i += valid;
        uint32_t character;
        if (i == length) break;
        while (i < length && kr_utf8_next(text + i, length - i, &character) == 0) i++;
        if (replace) n += kr_utf8_put(0xfffd, out + n);
        ++*n_invalid;
    }
    return n;
}

/* Mends text, if it needs that, into buffer `which`. */
static krait_status mend_all(const krait_corpus *corpus, kr_corpus_scratch *s, int which, const char **text, size_t *length,
                             krait_error *error)
{
    if (kr_utf8_valid_prefix(*text, *length) == *length) return KRAIT_OK;
    size_t room;
    if (!kr_mul(*length, 3, &room)) return kr_fail_memory(error, "text", *length); /* each bad byte may become three */
    krait_status status = reserve(s, which, room, error);
    if (status) return status;
    *length = mend(s->buffer[which], *text, *length, corpus->invalid == KRAIT_INVALID_REPLACE, &s->n_invalid);
    *text = s->buffer[which];
    return KRAIT_OK;
}

static krait_status feed_lines(const krait_corpus *corpus, kr_corpus_scratch *s, int which, const char **text, size_t *length,
                               krait_error *error)
{
    if (!corpus->crlf || !memchr(*text, '\r', *length)) return KRAIT_OK;
    krait_status status = *text == s->buffer[which] ? KRAIT_OK : reserve(s, which, *length, error);
    if (status) return status;
    *length = kr_corpus_drop_returns(s->buffer[which], *text, *length);
    *text = s->buffer[which];
    return KRAIT_OK;
}

static krait_status plain(const krait_corpus *corpus, const kr_corpus_stretch *stretch, kr_corpus_scratch *scratch,
                          krait_status (*text)(void *user, const kr_corpus_text *text, krait_error *error), void *user,
                          krait_error *error)
{
    uint64_t offset = stretch->source->before + (uint64_t)(stretch->data - stretch->source->data);
    kr_corpus_text out = { .text = stretch->data, .length = stretch->length, .begins = stretch->begins };
    if (offset == 0 && out.length >= 3 && memcmp(out.text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        offset = 3;
        out.text += 3;
        out.length -= 3;
    }
    krait_status status = KRAIT_OK;
    size_t valid = corpus->invalid == KRAIT_INVALID_ERROR ? kr_utf8_valid_prefix(out.text, out.length) : out.length;
    if (valid < out.length)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: byte %" PRIu64 ": expected UTF-8, found 0x%02x", stretch->source->name,
                       offset + valid, (unsigned)(unsigned char)out.text[valid]);
    if (corpus->invalid != KRAIT_INVALID_ERROR) status = mend_all(corpus, scratch, 0, &out.text, &out.length, error);
    if (!status) status = feed_lines(corpus, scratch, 0, &out.text, &out.length, error);
    krait_error inner;
    if (!status && (status = text(user, &out, &inner))) kr_fail(error, status, "%s: %s", stretch->source->name, inner.message);
    return status;
}

/* ---- lines of JSON ----------------------------------------------------------------------------------------------- */

static uint64_t line_of(const kr_corpus_source *source, const char *at)
{
    uint64_t line = source->lines_before + 1;
    for (const char *p = source->data; p < at && (p = memchr(p, '\n', (size_t)(at - p))); p++) line++;
    return line;
}

static krait_status member(const kr_json *root, const char *field, const char **text, size_t *length, krait_error *error)
{
    const kr_json *value = kr_json_get(root, field);
    if (!value || value->type != KR_JSON_STRING)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "expected a string \"%.100s\", found %s", field,
                       value                          ? kr_json_type_name(value->type)
                       : root->type == KR_JSON_OBJECT ? "no such member"
                                                      : "no object");
    *text = value->string;
    *length = value->length;
    return KRAIT_OK;
}

static krait_status one_line(const krait_corpus *corpus, kr_corpus_scratch *scratch, kr_arena *arena, const char *line,
                             size_t length, krait_status (*text)(void *user, const kr_corpus_text *text, krait_error *error),
                             void *user, krait_error *error)
{
    const kr_json *root;
    kr_corpus_text out = { .begins = true };
    krait_status status = KRAIT_OK;
    if (corpus->invalid != KRAIT_INVALID_ERROR) status = mend_all(corpus, scratch, 2, &line, &length, error);
    if (!status) status = kr_json_parse(&root, arena, "JSON", line, length, error);
    if (!status) status = member(root, corpus->json_field, &out.text, &out.length, error);
    if (!status && corpus->prompt_field) status = member(root, corpus->prompt_field, &out.prompt, &out.prompt_length, error);
    if (!status) status = feed_lines(corpus, scratch, 0, &out.text, &out.length, error);
    if (!status && out.prompt) status = feed_lines(corpus, scratch, 1, &out.prompt, &out.prompt_length, error);
    return status ? status : text(user, &out, error);
}

static krait_status lines(const krait_corpus *corpus, const kr_corpus_stretch *stretch, kr_corpus_scratch *scratch,
                          krait_status (*text)(void *user, const kr_corpus_text *text, krait_error *error), void *user,
                          krait_error *error)
{
    const char *end = stretch->data + stretch->length;
    for (const char *line = stretch->data; line < end;) {
        const char *feed = memchr(line, '\n', (size_t)(end - line)), *stop = feed ? feed : end;
        const char *first = line;
        while (first < stop && (*first == ' ' || *first == '\t' || *first == '\r')) first++;
        if (first < stop) {
            kr_arena arena = { 0 };
            krait_error inner;
            krait_status status = one_line(corpus, scratch, &arena, line, (size_t)(stop - line), text, user, &inner);
            kr_arena_free(&arena);
            if (status == KRAIT_ERROR_MEMORY) return kr_fail(error, status, "%s", inner.message);
            if (status)
                return kr_fail(error, status, "%s: line %" PRIu64 ": %s", stretch->source->name, line_of(stretch->source, line),
                               inner.message);
        }
        line = feed ? feed + 1 : end;
    }
    return KRAIT_OK;
}

krait_status kr_corpus_parse(const krait_corpus *corpus, const kr_corpus_stretch *stretch, kr_corpus_scratch *scratch,
                             krait_status (*text)(void *user, const kr_corpus_text *text, krait_error *error), void *user,
                             krait_error *error)
{
    return (corpus->json_field ? lines : plain)(corpus, stretch, scratch, text, user, error);
}
