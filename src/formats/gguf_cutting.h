/* How text is cut before merges apply, which GGUF files only have a name for: what llama.cpp does under that name.
 *
 *     gpt-2                        GPT-2's pattern
 *     olmo, mpt, gpt-neox          the same after NFC, as the state-spaces models have it
 *     falcon                       Falcon's: punctuation, GPT-2's pattern, numbers in threes
 *     starcoder, ...               single digits, GPT-2's pattern
 *     llama-bpe, ...               Llama 3's; a piece that is in the vocabulary is that token
 *     dbrx, smaug-bpe              the same pattern, with merges for every piece
 *     qwen2, ...                   Qwen 2's, after NFC
 *     gpt-4o, ...                  GPT-4o's
 *     default                      what llama.cpp does without a name: much as falcon, without the backquote
 *
 * llama.cpp itself never normalises: text that is not NFC has other ids there. */
#ifndef KR_FORMATS_GGUF_CUTTING_H
#define KR_FORMATS_GGUF_CUTTING_H

#include "formats/tokenizer_json.h"

enum { KR_CUTTING_NAMES = 6, KR_CUTTING_STEPS = 5 };

typedef struct kr_gguf_cutting {
    const char *names[KR_CUTTING_NAMES]; /* the first is the one to write */
    bool nfc, ignore_merges;
    size_t n_steps;
    kr_pretokenizer steps[KR_CUTTING_STEPS];
} kr_gguf_cutting;

/* NULL: a name that we do not know. */
const kr_gguf_cutting *kr_gguf_cutting_named(const char *name, size_t length);
/* The name for what a tokenizer does, NULL when there is none. NFC counts where names differ in it, and else is passed over. */
const char *kr_gguf_cutting_name(const kr_tokenizer_json *tokenizer);

#endif
