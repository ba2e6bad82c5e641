/* The tokenizer inside a GGUF file, as the description that tokenizer.json gives. */
#ifndef KR_FORMATS_GGUF_TOKENIZER_H
#define KR_FORMATS_GGUF_TOKENIZER_H

#include "formats/gguf.h"
#include "formats/tokenizer_json.h"

/* The whole tokenizer.json where the file has it ("tokenizer.huggingface.json"), of which nothing is lost. Else what llama.cpp reads, of
 * which only byte-level BPE (tokenizer.ggml.model "gpt2") is read here; how text is cut is known by the name in tokenizer.ggml.pre
 * (gguf_cutting.h), "default" where there is none.
 *
 * KRAIT_ERROR_UNSUPPORTED names another. Control and unknown tokens are special added tokens, user-defined ones are added tokens, unused
 * ones are left out. Texts are in the file, arrays in `arena`. */
krait_status kr_gguf_tokenizer_read(kr_tokenizer_json *result, kr_arena *arena, const kr_gguf *gguf, krait_error *error);

#endif
