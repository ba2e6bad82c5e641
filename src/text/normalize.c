#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "base/utf8.h"

/* The code points of one run, decomposed. */
typedef struct run {
    utf8proc_int32_t *points, *spare; /* spare: of the same capacity, when the run needed sorting */
    size_t length, capacity;
} run;

/* No character decomposes into more (U+FDFA gives 18). */
enum { LONGEST_DECOMPOSITION = 32 };

/* What a normalisation asks of utf8proc. Characters below `boundary` are as they should be, and never combine with what is
 * before them: runs can be cut in front of them. Below U+0300, NFC has nothing to do but for what follows. */
typedef struct form {
    utf8proc_option_t options;
    uint32_t boundary;
    unsigned char first_byte; /* the least first byte of the characters from `boundary` on */
} form;

static form form_of(kr_normalizer normalizer)
{
    switch (normalizer) {
    case KR_NORMALIZER_NFC: return (form){ UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0x300, 0xcc };
    case KR_NORMALIZER_NFD: return (form){ UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0x80, 0xc2 };
    case KR_NORMALIZER_NFKC: return (form){ UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0x80, 0xc2 };
    case KR_NORMALIZER_NFKD: break;
    }
    return (form){ UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0x80, 0xc2 };
}

static krait_status decompose(run *r, uint32_t point, utf8proc_option_t options, krait_error *error)
{
    if (r->capacity - r->length < LONGEST_DECOMPOSITION) {
        size_t capacity = r->capacity ? 2 * r->capacity : 1024;
        utf8proc_int32_t *points = kr_realloc(r->points, capacity, sizeof *points);
        if (!points) return kr_fail_memory(error, "text", capacity * sizeof *points);
        r->points = points;
        r->capacity = capacity;
        kr_free(r->spare);
        r->spare = NULL;
    }
    int boundary_class = 0;
    r->length += (size_t)utf8proc_decompose_char((utf8proc_int32_t)point, r->points + r->length, LONGEST_DECOMPOSITION, options,
                                                 &boundary_class);
    return KRAIT_OK;
}

static unsigned combining_class(utf8proc_int32_t point) { return (unsigned)utf8proc_get_property(point)->combining_class; }

/* Sorts marks[0..n) by combining class, equals staying in order: by insertion when few, else by counting. utf8proc's own
 * ordering, by swapping neighbours, takes quadratic time on long runs of marks. */
static krait_status sort_marks(run *r, utf8proc_int32_t *marks, size_t n, krait_error *error)
{
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            utf8proc_int32_t mark = marks[i];
            unsigned class = combining_class(mark);
            size_t j = i;
            for (; j > 0 && combining_class(marks[j - 1]) > class; j--) marks[j] = marks[j - 1];
            marks[j] = mark;
        }
        return KRAIT_OK;
    }
    if (!r->spare) r->spare = kr_alloc(r->capacity, sizeof *r->spare);
    if (!r->spare) return kr_fail_memory(error, "text", r->capacity * sizeof *r->spare);
    size_t start[257] = { 0 };
    for (size_t i = 0; i < n; i++) start[combining_class(marks[i]) + 1]++;
    for (size_t c = 1; c < 257; c++) start[c] += start[c - 1];
    memcpy(r->spare, marks, n * sizeof *marks);
    for (size_t i = 0; i < n; i++) marks[start[combining_class(r->spare[i])]++] = r->spare[i];
    return KRAIT_OK;
}

static krait_status order(run *r, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < r->length; i++) {
        if (combining_class(r->points[i]) == 0) continue;
        size_t begin = i;
        while (i < r->length && combining_class(r->points[i]) != 0) i++;
        status = sort_marks(r, r->points + begin, i - begin, error);
    }
    return status;
}

/* Appends the normalised text[0..length), which begins at a boundary, to the buffer. */
static krait_status normalize_run(kr_buffer *buffer, run *r, const form *f, const char *text, size_t length, krait_error *error)
{
    krait_status status = KRAIT_OK;
    r->length = 0;
    for (size_t i = 0; !status && i < length;) {
        uint32_t point = 0;
        i += kr_utf8_next(text + i, length - i, &point);
        status = decompose(r, point, f->options, error);
    }
    if (!status) status = order(r, error);
    if (!status && (f->options & UTF8PROC_COMPOSE))
        r->length = (size_t)utf8proc_normalize_utf32(r->points, (utf8proc_ssize_t)r->length, f->options);
    if (!status) status = kr_buffer_reserve(buffer, 4 * r->length, error);
    if (status) return status;
    for (size_t i = 0; i < r->length; i++) buffer->length += kr_utf8_put((uint32_t)r->points[i], buffer->data + buffer->length);
    return KRAIT_OK;
}

/* The first byte of a character that is not surely normalised, or `length`. */
static size_t find_suspect(const form *f, const char *text, size_t length)
{
    size_t i = 0;
    for (; length - i >= 16; i += 16) {
        unsigned char any = 0;
        for (size_t j = 0; j < 16; j++) any |= (unsigned char)text[i + j] >= f->first_byte;
        if (any) break;
    }
    while (i < length && (unsigned char)text[i] < f->first_byte) i++;
    return i;
}

static krait_status normalize_once(kr_buffer *buffer, const form *f, const char *text, size_t length, krait_error *error)
{
    run r = { 0 };
    buffer->length = 0;
    krait_status status = kr_buffer_reserve(buffer, length, error);
    for (size_t i = 0; !status && i < length;) {
        size_t suspect = i + find_suspect(f, text + i, length - i), begin = suspect;
        if (suspect < length && suspect > i) /* it may combine with the character before it */
            do begin--;
            while (begin > i && ((unsigned char)text[begin] & 0xc0) == 0x80);
        status = kr_buffer_reserve(buffer, begin - i, error);
        if (status) break;
        memcpy(buffer->data + buffer->length, text + i, begin - i);
        buffer->length += begin - i;
        size_t end = suspect;
        while (end < length) {
            uint32_t point = 0;
            size_t n = kr_utf8_next(text + end, length - end, &point);
            if (point < f->boundary) break;
            end += n;
        }
        if (begin < end) status = normalize_run(buffer, &r, f, text + begin, end - begin, error);
        i = end;
    }
    kr_free(r.points);
    kr_free(r.spare);
    return status;
}

krait_status kr_normalize(const char **out, size_t *out_length, kr_buffer *buffer, const kr_normalizer *normalizers,
                          size_t n_normalizers, const char *text, size_t length, krait_error *error)
{
    *out = text;
    *out_length = length;
    kr_buffer before = { 0 }; /* the text of the step before, when there are several */
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < n_normalizers; i++) {
        form f = form_of(normalizers[i]);
        if (find_suspect(&f, *out, *out_length) == *out_length) continue;
        if (*out == buffer->data) {
            kr_buffer swap = before;
            before = *buffer;
            *buffer = swap;
        }
        status = normalize_once(buffer, &f, *out, *out_length, error);
        *out = buffer->data;
        *out_length = buffer->length;
    }
    kr_free(before.data);
    return status;
}
