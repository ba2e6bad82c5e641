/* The other way round: a description as the text of a tokenizer.json. */
#include <string.h>

#include "formats/tokenizer_json.h"

static void put_flag(kr_json_writer *json, const char *key, bool value)
{
    kr_json_key(json, key);
    kr_json_put_bool(json, value);
}

static void put_null(kr_json_writer *json, const char *key)
{
    kr_json_key(json, key);
    kr_json_put_null(json);
}

static void open_type(kr_json_writer *json, const char *type)
{
    kr_json_open(json, '{');
    kr_json_key(json, "type");
    kr_json_put_text(json, type);
}

/* The pre-tokenizer, the post-processor and the decoder take the same fields. */
static void put_byte_level(kr_json_writer *json, bool add_prefix_space, bool use_regex)
{
    open_type(json, "ByteLevel");
    put_flag(json, "add_prefix_space", add_prefix_space);
    put_flag(json, "trim_offsets", true);
    put_flag(json, "use_regex", use_regex);
    kr_json_close(json, '}');
}

static void put_pretokenizer(kr_json_writer *json, const kr_pretokenizer *p)
{
    static const char *const behaviors[] = { [KR_SPLIT_REMOVED] = "Removed",
                                             [KR_SPLIT_ISOLATED] = "Isolated",
                                             [KR_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                             [KR_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
                                             [KR_SPLIT_CONTIGUOUS] = "Contiguous" };
    switch (p->type) {
    case KR_PRETOKENIZER_BYTE_LEVEL: put_byte_level(json, p->add_prefix_space, p->use_regex); return;
    case KR_PRETOKENIZER_DIGITS:
        open_type(json, "Digits");
        put_flag(json, "individual_digits", p->behavior == KR_SPLIT_ISOLATED);
        break;
    case KR_PRETOKENIZER_PUNCTUATION:
        open_type(json, "Punctuation");
        kr_json_key(json, "behavior");
        kr_json_put_text(json, behaviors[p->behavior]);
        break;
    case KR_PRETOKENIZER_SPLIT:
        open_type(json, "Split");
        kr_json_key(json, "pattern");
        kr_json_open(json, '{');
        kr_json_key(json, p->literal ? "String" : "Regex");
        kr_json_put_string(json, p->pattern.text, p->pattern.length);
        kr_json_close(json, '}');
        kr_json_key(json, "behavior");
        kr_json_put_text(json, behaviors[p->behavior]);
        put_flag(json, "invert", p->invert);
        break;
    }
    kr_json_close(json, '}');
}

/* One as it is, several as a Sequence, none as null. */
static void put_sequence(kr_json_writer *json, const kr_tokenizer_json *t, const char *key, const char *list, size_t n,
                         void (*put)(kr_json_writer *json, const kr_tokenizer_json *t, size_t index))
{
    kr_json_key(json, key);
    if (n == 0) {
        kr_json_put_null(json);
    } else if (n == 1) {
        put(json, t, 0);
    } else {
        open_type(json, "Sequence");
        kr_json_key(json, list);
        kr_json_open(json, '[');
        for (size_t i = 0; i < n; i++) put(json, t, i);
        kr_json_close(json, ']');
        kr_json_close(json, '}');
    }
}

static void put_normalizer(kr_json_writer *json, const kr_tokenizer_json *t, size_t index)
{
    static const char *const names[] = {
        [KR_NORMALIZER_NFC] = "NFC", [KR_NORMALIZER_NFD] = "NFD", [KR_NORMALIZER_NFKC] = "NFKC", [KR_NORMALIZER_NFKD] = "NFKD"
    };
    open_type(json, names[t->normalizers[index]]);
    kr_json_close(json, '}');
}

static void put_step(kr_json_writer *json, const kr_tokenizer_json *t, size_t index)
{
    put_pretokenizer(json, &t->pretokenizers[index]);
}

static void put_added(kr_json_writer *json, const kr_tokenizer_json *t)
{
    kr_json_key(json, "added_tokens");
    kr_json_open(json, '[');
    for (size_t i = 0; i < t->n_added; i++) {
        const kr_added_token *a = &t->added[i];
        kr_json_open(json, '{');
        kr_json_key(json, "id");
        kr_json_put_integer(json, a->id);
        kr_json_key(json, "content");
        kr_json_put_string(json, a->text.text, a->text.length);
        put_flag(json, "single_word", a->single_word);
        put_flag(json, "lstrip", a->lstrip);
        put_flag(json, "rstrip", a->rstrip);
        put_flag(json, "normalized", a->normalized);
        put_flag(json, "special", a->special);
        kr_json_close(json, '}');
    }
    kr_json_close(json, ']');
}

/* A key that is not ended by NUL. */
static bool put_entry(kr_json_writer *json, const kr_vocab_entry *entry)
{
    char *key = kr_strndup(entry->text.text, entry->text.length);
    if (!key) return false;
    kr_json_key(json, key);
    kr_json_put_integer(json, entry->id);
    kr_free(key);
    return true;
}

/* As a pair: the form for parts that may have a space in them. */
static void put_merge(kr_json_writer *json, const kr_merge_entry *merge)
{
    kr_json_open(json, '[');
    kr_json_put_string(json, merge->left.text, merge->left.length);
    kr_json_put_string(json, merge->right.text, merge->right.length);
    kr_json_close(json, ']');
}

static void put_model(kr_json_writer *json, const kr_tokenizer_json *t)
{
    kr_json_key(json, "model");
    open_type(json, "BPE");
    put_null(json, "dropout");
    kr_json_key(json, "unk_token");
    if (t->unk_token.text)
        kr_json_put_string(json, t->unk_token.text, t->unk_token.length);
    else
        kr_json_put_null(json);
    put_null(json, "continuing_subword_prefix");
    put_null(json, "end_of_word_suffix");
    put_flag(json, "fuse_unk", t->fuse_unk);
    put_flag(json, "byte_fallback", t->byte_fallback);
    put_flag(json, "ignore_merges", t->ignore_merges);
    kr_json_key(json, "vocab");
    kr_json_open(json, '{');
    for (size_t i = 0; i < t->n_vocab; i++)
        if (!put_entry(json, &t->vocab[i])) json->failed = true;
    kr_json_close(json, '}');
    kr_json_key(json, "merges");
    kr_json_open(json, '[');
    for (size_t i = 0; i < t->n_merges; i++) put_merge(json, &t->merges[i]);
    kr_json_close(json, ']');
    kr_json_close(json, '}');
}

void kr_tokenizer_json_write(kr_json_writer *json, const kr_tokenizer_json *t)
{
    kr_json_open(json, '{');
    kr_json_key(json, "version");
    kr_json_put_text(json, "1.0");
    put_null(json, "truncation");
    put_null(json, "padding");
    put_added(json, t);
    put_sequence(json, t, "normalizer", "normalizers", t->n_normalizers, put_normalizer);
    put_sequence(json, t, "pre_tokenizer", "pretokenizers", t->n_pretokenizers, put_step);
    put_null(json, "post_processor");
    kr_json_key(json, "decoder");
    put_byte_level(json, false, true);
    put_model(json, t);
    kr_json_close(json, '}');
}
