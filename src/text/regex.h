/* Regular expressions as tokenizer.json means them, on PCRE2.
 *
 * Patterns are written for Oniguruma with Ruby's syntax, as Hugging Face compiles them. PCRE2 agrees with it on what tokenizers
 * use; where it does not, the pattern is translated: \s, \S, \w and \W mean what Unicode says (UTS #18, annex C), ^ and $ match at
 * lines, (?m) is what PCRE2 calls (?s), {,n} is {0,n}, \uHHHH a character, and a class inside a class a union. Refused are \h and \H
 * (hexadecimal digits there), \b and \B, \W, && and negated classes inside a class, and + behind {n,m} (not possessive there).
 * Ignoring case never matches one character with two. Which characters \p{L}, \p{N} and so on are depends on the Unicode
 * version of the PCRE2 library: others may differ in characters assigned lately. */
#ifndef KR_TEXT_REGEX_H
#define KR_TEXT_REGEX_H

#include <stdbool.h>

#include "text/buffer.h"

/* Immutable; shared by any number of threads. */
typedef struct kr_regex kr_regex;

/* Compiles pattern[0..length), valid UTF-8; `literal`: as a string. `name` begins the messages. */
krait_status kr_regex_compile(kr_regex **regex, const char *name, const char *pattern, size_t length, bool literal,
                              krait_error *error);
void kr_regex_free(kr_regex *regex);

/* Appends the pattern in PCRE2's syntax. */
krait_status kr_regex_translate(kr_buffer *out, const char *name, const char *pattern, size_t length, krait_error *error);

/* What searching needs, one thread at a time, with any number of expressions. A zeroed one is ready. */
typedef struct kr_regex_scratch {
    void *match;   /* pcre2_match_data */
    void *context; /* pcre2_match_context */
} kr_regex_scratch;

void kr_regex_scratch_free(kr_regex_scratch *scratch);

/* Prepares for texts of up to `length` bytes: needed before the first search, and again before one of a longer text. */
krait_status kr_regex_prepare(kr_regex_scratch *scratch, size_t length, krait_error *error);

typedef struct kr_regex_match {
    size_t begin, end; /* bytes; may be equal */
    bool found;
} kr_regex_match;

/* The first match in text[0..length), valid UTF-8, that begins at `from` or behind it. What is before `from` is seen by assertions
 * that look back. KRAIT_ERROR_UNSUPPORTED: the pattern backtracks without end on this text. */
krait_status kr_regex_find(const kr_regex *regex, const kr_regex_scratch *scratch, const char *text, size_t length, size_t from,
                           kr_regex_match *match, krait_error *error);

#endif
