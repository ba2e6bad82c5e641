/* Cutting text into the pieces that are merged one by one: the pre-tokenizers of tokenizer.json. Punctuation is what it is to the
 * PCRE2 library; Hugging Face's has stayed at Unicode 8, so that later characters differ. */
#ifndef KR_TEXT_PRETOKENIZE_H
#define KR_TEXT_PRETOKENIZE_H

#include "base/memory.h"
#include "formats/tokenizer_json.h"
#include "text/regex.h"

typedef struct kr_cut_step {
    kr_regex *regex; /* NULL: none */
    kr_split_behavior behavior;
    bool invert;
    bool byte_level; /* from here on the text is bytes, written in the byte-level alphabet for the steps that follow */
    bool add_prefix_space;
} kr_cut_step;

/* Immutable once built. */
typedef struct kr_pretokenizers {
    kr_cut_step steps[KR_MAX_PRETOKENIZERS];
    size_t n;
    bool characters; /* no step is byte_level: pieces are text */
} kr_pretokenizers;

/* `name` is for messages. Free also after a failure. */
krait_status kr_pretokenizers_build(kr_pretokenizers *result, const char *name, const kr_tokenizer_json *json,
                                    krait_error *error);
void kr_pretokenizers_free(kr_pretokenizers *pretokenizers);

/* One text being cut: who receives the pieces, and scratch memory, zeroed at first. */
typedef struct kr_cutting {
    const kr_pretokenizers *pretokenizers;
    krait_status (*on_piece)(void *user, const char *bytes, size_t length); /* never empty; bytes are not to be kept */
    void *user;
    krait_error *error;
    bool prefix;
    kr_regex_scratch regex;
    kr_buffer prefixed, mapped, unmapped;
} kr_cutting;

/* Cuts text[0..length), valid UTF-8, into pieces, which are bytes. `prefix` false: add_prefix_space does not apply. Ends at once with the
 * status of on_piece if that is not KRAIT_OK. */
krait_status kr_cut(kr_cutting *cutting, const char *text, size_t length, bool prefix);
void kr_cutting_free(kr_cutting *cutting);

#endif
