#include "train/tokenizer_describe.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "text/byte_level.h"

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

krait_status kr_special_tokens_make(kr_special_tokens *special, const krait_tokenizer_training *training, krait_error *error)
{
    bool usual = !training->special && !training->no_special, characters = training->kind == KRAIT_TOKENIZER_CHARACTERS;
    size_t n = training->special ? training->n_special : 0;
    *special = (kr_special_tokens){ .texts = kr_alloc(n + 2, sizeof *special->texts) };
    if (!special->texts) return kr_fail_memory(error, "special tokens", (n + 2) * sizeof *special->texts);
    if (usual) special->texts[special->n++] = "<|endoftext|>";
    for (size_t i = 0; i < n; i++) special->texts[special->n++] = training->special[i];
    if (characters) {
        special->unknown = training->unknown ? training->unknown : "<unk>";
        size_t i = 0;
        while (i < special->n && (!special->texts[i] || strcmp(special->texts[i], special->unknown) != 0)) i++;
        if (i == special->n) special->texts[special->n++] = special->unknown;
    }
    for (size_t i = 0; i < special->n; i++) {
        const char *text = special->texts[i];
        if (!text || !*text || kr_utf8_valid_prefix(text, strlen(text)) != strlen(text))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "special token %zu: expected a text in UTF-8 that is not empty", i);
        for (size_t j = 0; j < i; j++)
            if (strcmp(text, special->texts[j]) == 0)
                return kr_fail(error, KRAIT_ERROR_ARGUMENT, "special token %zu: expected different ones, found %.100s again", i,
                               text);
    }
    return KRAIT_OK;
}

/* ---- the parts of the file --------------------------------------------------------------------------------------- */

static void put_null(kr_json_writer *json, const char *key)
{
    kr_json_key(json, key);
    kr_json_put_null(json);
}

static void put_flag(kr_json_writer *json, const char *key, bool value)
{
    kr_json_key(json, key);
    kr_json_put_bool(json, value);
}

static void open_type(kr_json_writer *json, const char *key, const char *type)
{
    if (key) kr_json_key(json, key);
    kr_json_open(json, '{');
    kr_json_key(json, "type");
    kr_json_put_text(json, type);
}

/* The pre-tokenizer, the post-processor and the decoder take the same fields. */
static void put_byte_level(kr_json_writer *json, const char *key, bool use_regex)
{
    open_type(json, key, "ByteLevel");
    put_flag(json, "add_prefix_space", false);
    put_flag(json, "trim_offsets", true);
    put_flag(json, "use_regex", use_regex);
    kr_json_close(json, '}');
}

/* Up to the added tokens. */
static void open_file(kr_json_writer *json, const kr_special_tokens *special, size_t first_id)
{
    kr_json_open(json, '{');
    kr_json_key(json, "version");
    kr_json_put_text(json, "1.0");
    put_null(json, "truncation");
    put_null(json, "padding");
    kr_json_key(json, "added_tokens");
    kr_json_open(json, '[');
    for (size_t i = 0; i < special->n; i++) {
        kr_json_open(json, '{');
        kr_json_key(json, "id");
        kr_json_put_integer(json, (int64_t)(first_id + i));
        kr_json_key(json, "content");
        kr_json_put_text(json, special->texts[i]);
        put_flag(json, "single_word", false);
        put_flag(json, "lstrip", false);
        put_flag(json, "rstrip", false);
        put_flag(json, "normalized", false);
        put_flag(json, "special", true);
        kr_json_close(json, '}');
    }
    kr_json_close(json, ']');
}

static void put_id(kr_json_writer *json, const char *text, size_t id)
{
    kr_json_key(json, text);
    kr_json_put_integer(json, (int64_t)id);
}

static void put_specials(kr_json_writer *json, const kr_special_tokens *special, size_t first_id)
{
    for (size_t i = 0; i < special->n; i++) put_id(json, special->texts[i], first_id + i);
}

/* Up to the vocabulary. */
static void open_model(kr_json_writer *json, const char *unknown)
{
    open_type(json, "model", "BPE");
    put_null(json, "dropout");
    kr_json_key(json, "unk_token");
    kr_json_put_text(json, unknown);
    put_null(json, "continuing_subword_prefix");
    put_null(json, "end_of_word_suffix");
    put_flag(json, "fuse_unk", false);
    put_flag(json, "byte_fallback", false);
    put_flag(json, "ignore_merges", false);
    kr_json_key(json, "vocab");
    kr_json_open(json, '{');
}

static void close_file(kr_json_writer *json)
{
    kr_json_close(json, '}');
    kr_json_close(json, '}');
}

/* The bytes of a token in the byte-level alphabet, at `text`, with a NUL; returns the length without it. */
static size_t spell(char *text, const kr_words *tokens, uint32_t token)
{
    const kr_word *word = &tokens->words[token];
    size_t n = kr_byte_level_encode(text, tokens->bytes.data + word->offset, word->length);
    text[n] = '\0';
    return n;
}

void kr_describe_bpe(kr_json_writer *json, const krait_tokenizer_training *training, const kr_special_tokens *special,
                     const kr_bpe_trained *trained)
{
    const kr_words *tokens = &trained->tokens;
    size_t longest = 1;
    for (size_t i = 0; i < tokens->n; i++)
        if (tokens->words[i].length > longest) longest = tokens->words[i].length;
    char *text = kr_alloc(longest, 4); /* a merge: two tokens and a space */
    if (!text) {
        json->failed = true;
        return;
    }
    open_file(json, special, 0);
    if (training->nfc) {
        open_type(json, "normalizer", "NFC");
        kr_json_close(json, '}');
    } else {
        put_null(json, "normalizer");
    }
    if (training->digits) {
        open_type(json, "pre_tokenizer", "Sequence");
        kr_json_key(json, "pretokenizers");
        kr_json_open(json, '[');
        open_type(json, NULL, "Digits");
        put_flag(json, "individual_digits", true);
        kr_json_close(json, '}');
        put_byte_level(json, NULL, true);
        kr_json_close(json, ']');
        kr_json_close(json, '}');
    } else {
        put_byte_level(json, "pre_tokenizer", true);
    }
    put_byte_level(json, "post_processor", true);
    put_byte_level(json, "decoder", true);
    open_model(json, NULL);
    put_specials(json, special, 0);
    for (size_t i = 0; i < tokens->n; i++) {
        spell(text, tokens, (uint32_t)i);
        put_id(json, text, special->n + i);
    }
    kr_json_close(json, '}');
    kr_json_key(json, "merges");
    kr_json_open(json, '[');
    for (size_t i = 0; i < trained->n_merges; i++) {
        size_t n = spell(text, tokens, trained->merges[i].left);
        text[n++] = ' ';
        kr_json_put_string(json, text, n + spell(text + n, tokens, trained->merges[i].right));
    }
    kr_json_close(json, ']');
    close_file(json);
    kr_free(text);
}

void kr_describe_bytes(kr_json_writer *json, const kr_special_tokens *special)
{
    open_file(json, special, 256);
    put_null(json, "normalizer");
    put_byte_level(json, "pre_tokenizer", false);
    put_byte_level(json, "post_processor", false);
    put_byte_level(json, "decoder", false);
    open_model(json, NULL);
    for (size_t i = 0; i < 256; i++) {
        char text[3];
        text[kr_byte_level_encode(text, &(char){ (char)i }, 1)] = '\0';
        put_id(json, text, i);
    }
    put_specials(json, special, 256);
    kr_json_close(json, '}');
    kr_json_key(json, "merges");
    kr_json_open(json, '[');
    kr_json_close(json, ']');
    close_file(json);
}

krait_status kr_describe_characters(kr_json_writer *json, const char *alphabet, const kr_special_tokens *special,
                                    size_t *vocab_size, krait_error *error)
{
    size_t length = strlen(alphabet), id = special->n;
    open_file(json, special, 0);
    put_null(json, "normalizer");
    put_null(json, "pre_tokenizer");
    put_null(json, "post_processor");
    open_type(json, "decoder", "Fuse"); /* or Hugging Face would put spaces between characters */
    kr_json_close(json, '}');
    open_model(json, special->unknown);
    put_specials(json, special, 0);
    for (size_t i = 0; i < length;) {
        uint32_t point;
        char text[5] = "";
        size_t n = kr_utf8_next(alphabet + i, length - i, &point);
        if (n == 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "alphabet: byte %zu: expected UTF-8, found 0x%02x", i,
                           (unsigned)(unsigned char)alphabet[i]);
        memcpy(text, alphabet + i, n);
        bool again = strstr(alphabet, text) != alphabet + i;
        for (size_t j = 0; j < special->n; j++) again |= strcmp(special->texts[j], text) == 0;
        if (again)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "alphabet: character %zu: expected each once, found \"%s\" again",
                           id - special->n, text);
        put_id(json, text, id++);
        i += n;
    }
    kr_json_close(json, '}');
    kr_json_key(json, "merges");
    kr_json_open(json, '[');
    kr_json_close(json, ']');
    close_file(json);
    *vocab_size = id;
    return KRAIT_OK;
}
