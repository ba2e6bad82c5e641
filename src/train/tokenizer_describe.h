/* What was learned, or needs no learning, as the text of a tokenizer.json. */
#ifndef KR_TRAIN_TOKENIZER_DESCRIBE_H
#define KR_TRAIN_TOKENIZER_DESCRIBE_H

#include "base/json.h"
#include "krait/data.h"
#include "text/bpe_train.h"

/* The special tokens that a training asks for, by default too: of CHARACTERS with `unknown` among them. */
typedef struct kr_special_tokens {
    const char **texts; /* [n] */
    size_t n;
    const char *unknown; /* NULL: none */
} kr_special_tokens;

/* Refused: one that is empty, no UTF-8, or there twice. Free `texts` with kr_free(). */
krait_status kr_special_tokens_make(kr_special_tokens *special, const krait_tokenizer_training *training, krait_error *error);

void kr_describe_bpe(kr_json_writer *json, const krait_tokenizer_training *training, const kr_special_tokens *special,
                     const kr_bpe_trained *trained);
void kr_describe_bytes(kr_json_writer *json, const kr_special_tokens *special);
/* Refused: an alphabet with a character twice, or a character that is a special token. */
krait_status kr_describe_characters(kr_json_writer *json, const char *alphabet, const kr_special_tokens *special,
                                    size_t *vocab_size, krait_error *error);

#endif
