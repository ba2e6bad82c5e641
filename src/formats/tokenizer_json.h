/* tokenizer.json of Hugging Face tokenizers, as far as BPE of bytes and of characters goes: a description in plain structs. What it asks for and
 * cannot be honoured is an error that names the field; what encode and decode never use (truncation, padding, the special tokens
 * that a post-processor would add) is passed over. */
#ifndef KR_FORMATS_TOKENIZER_JSON_H
#define KR_FORMATS_TOKENIZER_JSON_H

#include "base/json.h"
#include "base/memory.h"

/* Some bytes of the file, without a NUL. */
typedef struct kr_span {
    const char *text;
    size_t length;
} kr_span;

typedef struct kr_vocab_entry {
    kr_span text; /* in the byte-level alphabet: "Ġthe"; of characters: as it is */
    int32_t id;
} kr_vocab_entry;

/* Its rank is its index. */
typedef struct kr_merge_entry {
    kr_span left, right;
} kr_merge_entry;

typedef struct kr_added_token {
    kr_span text; /* as it appears in text */
    int32_t id;
    bool special;     /* left out of decoded text */
    bool normalized;  /* matched in the normalised text, else in the raw text and before everything else */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and behind it */
    bool single_word; /* only between characters that are not of a word */
} kr_added_token;

typedef enum kr_normalizer { KR_NORMALIZER_NFC, KR_NORMALIZER_NFD, KR_NORMALIZER_NFKC, KR_NORMALIZER_NFKD } kr_normalizer;

/* What becomes of the matches of a pattern, which the rest of the text lies between. */
typedef enum kr_split_behavior {
    KR_SPLIT_REMOVED,
    KR_SPLIT_ISOLATED,             /* each match is a piece */
    KR_SPLIT_MERGED_WITH_PREVIOUS, /* it belongs to the piece before it */
    KR_SPLIT_MERGED_WITH_NEXT,
    KR_SPLIT_CONTIGUOUS /* neighbouring matches are one piece */
} kr_split_behavior;

typedef enum kr_pretokenizer_type {
    KR_PRETOKENIZER_SPLIT,
    KR_PRETOKENIZER_BYTE_LEVEL,
    KR_PRETOKENIZER_DIGITS,
    KR_PRETOKENIZER_PUNCTUATION
} kr_pretokenizer_type;

typedef struct kr_pretokenizer {
    kr_pretokenizer_type type;
    kr_span pattern;            /* SPLIT */
    bool literal;               /* SPLIT: the pattern is a string, not a regular expression */
    bool invert;                /* SPLIT: what the pattern does not match counts as the match */
    kr_split_behavior behavior; /* all but BYTE_LEVEL */
    bool add_prefix_space;      /* BYTE_LEVEL */
    bool use_regex;             /* BYTE_LEVEL: split by the pattern of GPT-2 */
} kr_pretokenizer;

#define KR_MAX_NORMALIZERS   8
#define KR_MAX_PRETOKENIZERS 32

typedef struct kr_tokenizer_json {
    kr_vocab_entry *vocab; /* ids are in [0, KR_MAX_TOKEN_ID], otherwise unchecked */
    size_t n_vocab;
    kr_merge_entry *merges;
    size_t n_merges;
    kr_added_token *added; /* none is empty */
    size_t n_added;
    kr_normalizer normalizers[KR_MAX_NORMALIZERS]; /* applied in this order */
    size_t n_normalizers;
    kr_pretokenizer pretokenizers[KR_MAX_PRETOKENIZERS]; /* applied in this order; exactly one is BYTE_LEVEL, or, of
                                                            characters, none */
    size_t n_pretokenizers;
    bool characters;   /* merging begins with characters, not with bytes in the byte-level alphabet */
    kr_span unk_token; /* text NULL: none */
    bool fuse_unk;     /* neighbouring unknown bytes are one unk_token */
    bool byte_fallback;
    bool ignore_merges; /* a piece that is in the vocabulary is that token, whatever the merges give */
    const char *vocab_field, *merges_field, *added_field; /* where the file has them, for messages */
} kr_tokenizer_json;

/* Ids beyond it are refused, so that a table by id stays small. The largest vocabularies in use have 2^18 entries. */
#define KR_MAX_TOKEN_ID ((1 << 22) - 1)

/* Splits "left right"; false when it is anything else. */
bool kr_merge_split(kr_span text, kr_merge_entry *merge);

/* `name` begins the error messages. Arrays are in `arena`, strings there or in `bytes`: both must outlive the result. */
krait_status kr_tokenizer_json_read(kr_tokenizer_json *result, kr_arena *arena, const char *name, const char *bytes, size_t size,
                                    krait_error *error);

/* The text of a tokenizer.json that says the same, of byte-level BPE. */
void kr_tokenizer_json_write(kr_json_writer *json, const kr_tokenizer_json *tokenizer);

#endif
