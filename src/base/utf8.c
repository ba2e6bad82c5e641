#include "base/utf8.h"

#include <string.h>

/* Length of the character that a first byte announces, and the range of its second byte (Unicode 15, table 3-7); 0 if it
 * begins none. */
static size_t announced(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80, *high = 0xbf;
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) {
        if (first == 0xe0) *low = 0xa0;
        if (first == 0xed) *high = 0x9f;
        return 3;
    }
    if (first > 0xf4) return 0;
    if (first == 0xf0) *low = 0x90;
    if (first == 0xf4) *high = 0x8f;
    return 4;
}

size_t kr_utf8_next(const char *text, size_t length, uint32_t *code_point)
{
    if (length == 0) return 0;
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    size_t n = announced(s[0], &low, &high);
    if (n == 0 || n > length) return 0;
    if (n == 1) {
        *code_point = s[0];
        return 1;
    }
    if (s[1] < low || s[1] > high) return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    *code_point = c;
    return n;
}

size_t kr_utf8_valid_prefix(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length) {
        uint64_t eight; /* most text is ASCII */
        if (length - i >= 8 && (memcpy(&eight, text + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        uint32_t c;
        size_t n = kr_utf8_next(text + i, length - i, &c);
        if (n == 0) break;
        i += n;
    }
    return i;
}

bool kr_utf8_is_cut(const char *text, size_t length)
{
    if (length == 0) return false;
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    size_t n = announced(s[0], &low, &high);
    if (n <= length) return false;
    if (length > 1 && (s[1] < low || s[1] > high)) return false;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return false;
    return true;
}

size_t kr_utf8_put(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(0xf00u >> n | c);
    return n;
}
