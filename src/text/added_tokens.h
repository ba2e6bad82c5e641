/* Added tokens: those found in the text itself, before it is cut into pieces and merged. */
#ifndef KR_TEXT_ADDED_TOKENS_H
#define KR_TEXT_ADDED_TOKENS_H

#include "base/memory.h"
#include "formats/tokenizer_json.h"
#include "text/normalize.h"

/* Tokens sorted by their text, which serves as a trie: those that share a prefix are neighbours. Immutable once built. */
typedef struct kr_added_tokens {
    kr_added_token *tokens; /* [n] texts are in the arena */
    size_t n;
    uint32_t first[257]; /* those that begin with byte b are tokens[first[b] .. first[b + 1]) */
} kr_added_tokens;

/* Takes those of `added` whose field `normalized` is as given. The texts of normalised ones are normalised. Two tokens of the same
 * text are refused. */
krait_status kr_added_tokens_build(kr_added_tokens *result, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                                   bool normalized, krait_error *error);

/* An occurrence: text[begin..end), with the white space that the token takes along. */
typedef struct kr_added_match {
    size_t begin, end;
    int32_t id;
} kr_added_match;

/* Finds the first occurrence in text[from..length), leftmost and then longest. White space in front of an lstrip token is taken
 * along as far as `from`, the end of the occurrence before. A special token is passed over when no_special, and so is a
 * single_word inside a word: what they cover is not searched again. Nor is the white space that an rstrip token takes along (where
 * Hugging Face encodes added tokens made of white space a second time). False: there are no more. */
bool kr_added_tokens_next(const kr_added_tokens *added, const char *text, size_t length, size_t from, bool no_special,
                          kr_added_match *match);

#endif
