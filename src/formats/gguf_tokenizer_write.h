/* A tokenizer's description -> the metadata that llama.cpp reads it from. */
#ifndef KR_FORMATS_GGUF_TOKENIZER_WRITE_H
#define KR_FORMATS_GGUF_TOKENIZER_WRITE_H

#include "formats/gguf_write.h"
#include "formats/tokenizer_json.h"

/* The ids of a text's first and last token; -1: none. */
typedef struct kr_gguf_special_ids {
    int32_t bos, eos;
} kr_gguf_special_ids;

/* Puts exactly n_tokens tokens, as many as the embedding has rows: ids that the tokenizer does not have become unused tokens
 * "[PADi]". How text is cut can only be named; *cutting is the name that was put, NULL when none means the same ("default" was
 * put). *reason is NULL, or why nothing was put: a token beyond n_tokens, a merge that cannot be written, two tokens with one text.
 * KRAIT_ERROR_MEMORY is the only failure. */
krait_status kr_gguf_put_tokenizer(kr_gguf_writer *writer, const kr_tokenizer_json *tokenizer, size_t n_tokens,
                                   kr_gguf_special_ids ids, const char **cutting, const char **reason, krait_error *error);

/* Says that there is no tokenizer: then llama.cpp loads the model all the same, for ids. */
void kr_gguf_put_no_tokenizer(kr_gguf_writer *writer);

#endif
