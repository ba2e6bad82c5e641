/* UTF-8 as bytes: what is a whole, valid character (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef KR_BASE_UTF8_H
#define KR_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the valid character at text[0..length), and its code point; 0 if what is there is not one (also when it is cut). */
size_t kr_utf8_next(const char *text, size_t length, uint32_t *code_point);
/* Length of the longest valid prefix. */
size_t kr_utf8_valid_prefix(const char *text, size_t length);
/* Whether text[0..length), not itself a whole character, is the beginning of one. */
bool kr_utf8_is_cut(const char *text, size_t length);
/* Writes up to 4 bytes; returns how many. */
size_t kr_utf8_put(uint32_t code_point, char *out);

#endif
