/* Stop strings against a naive search: the input's first byte says how many there are, each is a length byte and that many bytes
 * mapped to a small alphabet, so that they overlap; the rest is the text, whose high bits cut it into pieces. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "generate/stop.h"

enum { MAX_STOPS = 4, MAX_STOP = 8, MAX_TEXT = 512 };

/* Where the text ends and which string ended it, by definition. */
static ptrdiff_t search(const char *const *stops, size_t n, const char *text, size_t length, size_t *end)
{
    for (size_t i = 1; i <= length; i++) {
        ptrdiff_t found = -1;
        size_t longest = 0;
        for (size_t j = 0; j < n; j++) {
            size_t l = strlen(stops[j]);
            if (l <= i && l > longest && memcmp(text + i - l, stops[j], l) == 0) found = (ptrdiff_t)j, longest = l;
        }
        *end = i - longest;
        if (found >= 0) return found;
    }
    *end = length;
    return -1;
}

/* How much of the end of the text begins a stop string: what must be held back, and no more. */
static size_t held(const char *const *stops, size_t n, const char *text, size_t length)
{
    size_t longest = 0;
    for (size_t j = 0; j < n; j++)
        for (size_t l = 1; l < strlen(stops[j]) && l <= length; l++)
            if (l > longest && memcmp(text + length - l, stops[j], l) == 0) longest = l;
    return longest;
}

static void check(int condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char strings[MAX_STOPS][MAX_STOP + 1], text[MAX_TEXT], out[MAX_TEXT];
    const char *stops[MAX_STOPS];
    size_t at = 0, n = size ? data[at++] % (MAX_STOPS + 1) : 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = 0, wanted = at < size ? 1 + data[at++] % MAX_STOP : 1;
        while (length < wanted) strings[i][length++] = (char)('a' + (at < size ? data[at++] % 3 : 0));
        strings[i][length] = '\0';
        stops[i] = strings[i];
    }
    size_t length = size - at < MAX_TEXT ? size - at : MAX_TEXT;
    for (size_t i = 0; i < length; i++) text[i] = (char)('a' + data[at + i] % 3);

    size_t end, used = 0, begin = 0;
    ptrdiff_t expected = search(stops, n, text, length, &end), found = -1;
    kr_stop *stop;
    if (kr_stop_create(&stop, stops, n, NULL)) return 0;
    for (size_t i = 0; i < length && found < 0; i++) {
        if (data[at + i] < 64 && i + 1 < length) continue; /* the piece goes on */
        const char *piece;
        size_t piece_length;
        check(kr_stop_push(stop, text + begin, i + 1 - begin, &piece, &piece_length, &found, NULL) == KRAIT_OK);
        begin = i + 1;
        memcpy(out + used, piece, piece_length);
        used += piece_length;
        if (found < 0) check(used == begin - held(stops, n, text, begin));
    }
    if (found < 0) {
        const char *piece;
        size_t piece_length;
        kr_stop_flush(stop, &piece, &piece_length);
        memcpy(out + used, piece, piece_length);
        used += piece_length;
    }
    kr_stop_free(stop);
    check(found == expected && used == end && memcmp(out, text, used) == 0);
    return 0;
}
