/* The byte-level alphabet of GPT-2 (Radford et al. 2019): each of the 256 bytes as one visible character, so that a vocabulary
 * of byte strings can be written as text. The bytes of '!'..'~', U+00A1..U+00AC and U+00AE..U+00FF stand for themselves; the other
 * 68, in ascending order, are U+0100..U+0143 (the space is U+0120 "Ġ"). */
#ifndef KR_TEXT_BYTE_LEVEL_H
#define KR_TEXT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the characters of bytes[0..length) to text, which has room for 2 * length; returns the length of what was written. */
size_t kr_byte_level_encode(char *text, const char *bytes, size_t length);

/* Writes the bytes that the characters of text[0..length) stand for to bytes, which has room for `length`, and how many to
 * *n_bytes; false if a character is not of the alphabet. */
bool kr_byte_level_decode(char *bytes, size_t *n_bytes, const char *text, size_t length);

#endif
