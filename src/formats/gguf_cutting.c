#include "formats/gguf_cutting.h"

#include <string.h>

#define GPT2                                                  \
    {                                                         \
        .type = KR_PRETOKENIZER_BYTE_LEVEL, .use_regex = true \
    }
#define BYTES                              \
    {                                      \
        .type = KR_PRETOKENIZER_BYTE_LEVEL \
    }
#define PATTERN(text)                                                                                      \
    {                                                                                                      \
        .type = KR_PRETOKENIZER_SPLIT, .pattern = { text, sizeof text - 1 }, .behavior = KR_SPLIT_ISOLATED \
    }
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS(numbers) \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT4O                                                                                            \
    BEFORE UPPER "*" LOWER "+" CONTRACTIONS "?|" BEFORE UPPER "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}" \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const kr_gguf_cutting cuttings[] = {
    { { "gpt-2", "phi-2" }, false, false, 1, { GPT2 } },
    { { "olmo", "mpt", "gpt-neox" }, true, false, 1, { GPT2 } },
    { { "falcon" },
      false,
      false,
      4,
      { { .type = KR_PRETOKENIZER_PUNCTUATION, .behavior = KR_SPLIT_CONTIGUOUS },
        GPT2,
        { .type = KR_PRETOKENIZER_DIGITS, .behavior = KR_SPLIT_CONTIGUOUS },
        PATTERN("[0-9][0-9][0-9]") } },
    { { "starcoder", "refact", "command-r", "smollm", "codeshell" },
      false,
      false,
      2,
      { { .type = KR_PRETOKENIZER_DIGITS, .behavior = KR_SPLIT_ISOLATED }, GPT2 } },
    { { "llama-bpe", "llama3", "llama-v3" }, false, true, 2, { PATTERN(WORDS("\\p{N}{1,3}")), BYTES } },
    { { "dbrx", "smaug-bpe" }, false, false, 2, { PATTERN(WORDS("\\p{N}{1,3}")), BYTES } },
    { { "qwen2", "deepseek-r1-qwen" }, true, false, 2, { PATTERN(WORDS("\\p{N}")), BYTES } },
    { { "gpt-4o", "llama4" }, false, false, 2, { PATTERN(GPT4O), BYTES } },
    { { "default" },
      false,
      false,
      5,
      { PATTERN("[\\p{P}$+<=>^~|]+"),
        PATTERN("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"), PATTERN("\\p{N}+"),
        PATTERN("[0-9][0-9][0-9]"), BYTES } },
};
enum { CUTTINGS = sizeof cuttings / sizeof *cuttings };

const kr_gguf_cutting *kr_gguf_cutting_named(const char *name, size_t length)
{
    for (size_t i = 0; i < CUTTINGS; i++)
        for (size_t j = 0; j < KR_CUTTING_NAMES && cuttings[i].names[j]; j++)
            if (strlen(cuttings[i].names[j]) == length && memcmp(cuttings[i].names[j], name, length) == 0) return &cuttings[i];
    return NULL;
}

static bool same_step(const kr_pretokenizer *a, const kr_pretokenizer *b)
{
    if (a->type != b->type || a->literal != b->literal || a->invert != b->invert) return false;
    if (a->type == KR_PRETOKENIZER_BYTE_LEVEL) return a->add_prefix_space == b->add_prefix_space && a->use_regex == b->use_regex;
    if (a->behavior != b->behavior) return false;
    return a->type != KR_PRETOKENIZER_SPLIT
           || (a->pattern.length == b->pattern.length && memcmp(a->pattern.text, b->pattern.text, a->pattern.length) == 0);
}

const char *kr_gguf_cutting_name(const kr_tokenizer_json *tokenizer)
{
    bool nfc = tokenizer->n_normalizers == 1 && tokenizer->normalizers[0] == KR_NORMALIZER_NFC;
    const char *name = NULL;
    if (tokenizer->n_normalizers && !nfc) return NULL;
    for (size_t i = 0; i < CUTTINGS; i++) {
        const kr_gguf_cutting *c = &cuttings[i];
        bool same = tokenizer->n_pretokenizers == c->n_steps && tokenizer->ignore_merges == c->ignore_merges;
        for (size_t j = 0; j < c->n_steps && same; j++) same = same_step(&tokenizer->pretokenizers[j], &c->steps[j]);
        if (same && (!name || c->nfc == nfc)) name = c->names[0];
    }
    return name;
}
