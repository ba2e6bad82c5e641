#include "text/byte_level.h"

#include "base/utf8.h"

/* Of the bytes that do not stand for themselves, 0x00..0x20 come first, then 0x7f..0xa0, then 0xad. */
static uint32_t character_of(unsigned char byte)
{
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121u + byte - 0x7f;
    return byte == 0xad ? 0x143u : byte;
}

/* -1: not of the alphabet. */
static int byte_of(uint32_t character)
{
    if (character <= 0xff) return character_of((unsigned char)character) == character ? (int)character : -1;
    if (character <= 0x120) return (int)character - 0x100;
    if (character <= 0x142) return (int)character - 0x121 + 0x7f;
    return character == 0x143 ? 0xad : -1;
}

size_t kr_byte_level_encode(char *text, const char *bytes, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) n += kr_utf8_put(character_of((unsigned char)bytes[i]), text + n);
    return n;
}

bool kr_byte_level_decode(char *bytes, size_t *n_bytes, const char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0, step; i < length; i += step) {
        uint32_t character;
        step = kr_utf8_next(text + i, length - i, &character);
        int byte = step ? byte_of(character) : -1;
        if (byte < 0) return false;
        bytes[n++] = (char)byte;
    }
    *n_bytes = n;
    return true;
}
