/* The tokens: bytes by id, and id by bytes. */
#ifndef KR_TEXT_VOCABULARY_H
#define KR_TEXT_VOCABULARY_H

#include <stdint.h>

#include "base/memory.h"
#include "formats/tokenizer_json.h"

typedef struct kr_token {
    const char *bytes; /* NULL: no token has this id */
    uint32_t length;
    bool special; /* left out of decoded text */
    bool added;   /* one of added_tokens */
} kr_token;

/* Immutable once built; all of it is in the arena given then. */
typedef struct kr_vocabulary {
    kr_token *tokens; /* [size] by id, added tokens included */
    size_t size;      /* one more than the largest id */
    int32_t *slots;   /* [slot_mask + 1] open addressing by the hash of the bytes; -1: free. Without added tokens that are not
                         in the file's model.vocab */
    size_t slot_mask;
} kr_vocabulary;

/* An added token that model.vocab has too keeps the bytes it has there; another stands for its own text (which Hugging Face
 * would decode through the byte-level alphabet as well, and so break "é"). Refused: an id given twice, an entry outside the
 * alphabet unless it is an added token, an added token whose id belongs to another. */
krait_status kr_vocabulary_build(kr_vocabulary *vocabulary, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                                 krait_error *error);

/* Writes the bytes that a text of the file stands for, and how many; false: it stands for none. bytes has room for text.length. */
bool kr_vocabulary_spell(const kr_tokenizer_json *json, char *bytes, size_t *n_bytes, kr_span text);

/* The id of a token of the model's vocabulary; -1: there is none. */
int32_t kr_vocabulary_find(const kr_vocabulary *vocabulary, const char *bytes, size_t length);

#endif
