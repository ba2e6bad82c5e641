/* The tokenizer as the rest of this folder sees it. */
#ifndef KR_TEXT_TOKENIZER_H
#define KR_TEXT_TOKENIZER_H

#include "text/vocabulary.h"

/* NULL: the tokenizer does not have the id. */
const kr_token *kr_tokenizer_find(const krait_tokenizer *tokenizer, int32_t id);

#endif
