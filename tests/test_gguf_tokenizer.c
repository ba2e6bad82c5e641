/* The tokenizer inside a GGUF file gives the ids of the tokenizer.json that it was made of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "formats/gguf_tokenizer.h"
#include "gguf_maker.h"

#ifdef KRAIT_HAVE_TEXT

static krait_error error;

/* ---- making them ------------------------------------------------------------------------------------------------- */

typedef struct token {
    kr_span text;
    int32_t type;
} token;

static void put_span(gguf_maker *m, kr_span span)
{
    gguf_u64(m, span.length);
    gguf_bytes(m, span.text, span.length);
}

/* As llama.cpp's converter does it: added tokens as they appear in text, holes as unused tokens. */
static void gguf_from_tokenizer(gguf_maker *m, const char *json_text, size_t size, const char *pre)
{
    kr_arena arena = { 0 };
    kr_tokenizer_json json;
    assert_ok(kr_tokenizer_json_read(&json, &arena, "tokenizer.json", json_text, size, &error));
    size_t n = 0;
    for (size_t i = 0; i < json.n_vocab; i++) n = (size_t)json.vocab[i].id < n ? n : (size_t)json.vocab[i].id + 1;
    for (size_t i = 0; i < json.n_added; i++) n = (size_t)json.added[i].id < n ? n : (size_t)json.added[i].id + 1;
    token *tokens = malloc(n * sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = (token){ { "[PAD]", 5 }, KR_GGUF_TOKEN_UNUSED };
    for (size_t i = 0; i < json.n_vocab; i++) tokens[json.vocab[i].id] = (token){ json.vocab[i].text, KR_GGUF_TOKEN_NORMAL };
    for (size_t i = 0; i < json.n_added; i++)
        tokens[json.added[i].id] =
            (token){ json.added[i].text, json.added[i].special ? KR_GGUF_TOKEN_CONTROL : KR_GGUF_TOKEN_USER_DEFINED };
    gguf_header(m, 3, 0, pre ? 5 : 4);
    gguf_key_text(m, "tokenizer.ggml.model", "gpt2");
    if (pre) gguf_key_text(m, "tokenizer.ggml.pre", pre);
    gguf_key_array(m, "tokenizer.ggml.tokens", KR_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) put_span(m, tokens[i].text);
    gguf_key_array(m, "tokenizer.ggml.token_type", KR_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) gguf_u32(m, (uint32_t)tokens[i].type);
    gguf_key_array(m, "tokenizer.ggml.merges", KR_GGUF_STRING, json.n_merges);
    for (size_t i = 0; i < json.n_merges; i++) {
        gguf_u64(m, json.merges[i].left.length + 1 + json.merges[i].right.length);
        gguf_bytes(m, json.merges[i].left.text, json.merges[i].left.length);
        gguf_bytes(m, " ", 1);
        gguf_bytes(m, json.merges[i].right.text, json.merges[i].right.length);
    }
    free(tokens);
    kr_arena_free(&arena);
}

static krait_tokenizer *load_made(const gguf_maker *m)
{
    krait_tokenizer *tokenizer;
    assert_ok(krait_tokenizer_load_memory(&tokenizer, "made.gguf", m->data, m->size, &error));
    return tokenizer;
}

/* Every `what` in a text becomes `instead`, in a new text; the old one is freed. */
static char *replace(char *text, const char *what, const char *instead)
{
    gguf_maker m = { 0 };
    const char *from = text;
    for (const char *at; (at = strstr(from, what)); from = at + strlen(what)) {
        gguf_bytes(&m, from, (size_t)(at - from));
        gguf_bytes(&m, instead, strlen(instead));
    }
    gguf_bytes(&m, from, strlen(from) + 1);
    free(text);
    return m.data;
}

/* A fixture's tokenizer.json, whose added tokens say no more than a GGUF file can. */
static char *plain_json(const char *name)
{
    char path[512];
    size_t size;
    snprintf(path, sizeof path, "%s/tokenizer/%s.json", KRAIT_TEST_DATA, name);
    char *text = cli_read(path, &size);
    text = realloc(text, size + 1);
    text[size] = '\0';
    static const char *const flags[] = { "lstrip", "rstrip", "single_word", "normalized" };
    for (int i = 0; i < 4; i++) {
        char what[32], instead[32];
        snprintf(what, sizeof what, "\"%s\":true", flags[i]);
        snprintf(instead, sizeof instead, "\"%s\":false", flags[i]);
        text = replace(text, what, instead);
    }
    return text;
}

/* ---- comparing them ---------------------------------------------------------------------------------------------- */

static void expect_same(const krait_tokenizer *found, const krait_tokenizer *expected, const char *text, size_t length)
{
    for (int no_special = 0; no_special < 2; no_special++) {
        krait_encode_options how = { .no_special = no_special };
        int32_t *a, *b;
        size_t n, m;
        assert_ok(krait_tokenizer_encode(found, text, length, &how, &a, &n, &error));
        assert_ok(krait_tokenizer_encode(expected, text, length, &how, &b, &m, &error));
        if (n != m || (n && memcmp(a, b, n * sizeof *a) != 0)) print_error("differs: \"%.*s\"\n", (int)length, text);
        assert_int_equal(n, m);
        if (n) assert_memory_equal(a, b, n * sizeof *a);
        krait_free(a);
        krait_free(b);
    }
}

static void expect_same_tokens(const krait_tokenizer *found, const krait_tokenizer *expected)
{
    assert_int_equal(krait_tokenizer_vocab_size(found), krait_tokenizer_vocab_size(expected));
    for (int32_t id = 0; id < (int32_t)krait_tokenizer_vocab_size(found); id++) {
        size_t n, m;
        const char *a = krait_tokenizer_token(found, id, &n), *b = krait_tokenizer_token(expected, id, &m);
        assert_true(!a == !b && n == m);
        if (a) assert_memory_equal(a, b, n);
        assert_true(krait_tokenizer_is_special(found, id) == krait_tokenizer_is_special(expected, id));
    }
}

/* On every text of tests/data/tokenizer/cases.jsonl, which has most of them once for each of its tokenizers. */
static void expect_same_everywhere(const krait_tokenizer *found, const krait_tokenizer *expected)
{
    size_t size;
    char *lines = cli_read(KRAIT_TEST_DATA "/tokenizer/cases.jsonl", &size);
    for (size_t begin = 0, end; begin < size; begin = end + 1) {
        const char *newline = memchr(lines + begin, '\n', size - begin);
        end = newline ? (size_t)(newline - lines) : size;
        kr_arena arena = { 0 };
        const kr_json *row;
        assert_ok(kr_json_parse(&row, &arena, "cases.jsonl", lines + begin, end - begin, &error));
        const kr_json *text = kr_json_get(row, "text"), *of = kr_json_get(row, "tokenizer");
        if (kr_json_is(of, "plain") || kr_json_is(of, "text-small")) expect_same(found, expected, text->string, text->length);
        kr_arena_free(&arena);
    }
    free(lines);
    expect_same_tokens(found, expected);
}

static void text_is_cut_as_its_name_says(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "plain", "gpt-2" },   { "neox", "olmo" },     { "neox", "mpt" },
                                            { "neox", "gpt-neox" }, { "falcon", "falcon" }, { "contiguous", NULL } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        gguf_maker m = { 0 };
        krait_tokenizer *expected;
        char *json = plain_json(pairs[i][0]);
        gguf_from_tokenizer(&m, json, strlen(json), pairs[i][1]);
        krait_tokenizer *found = load_made(&m);
        if (pairs[i][1]) {
            assert_ok(krait_tokenizer_load_memory(&expected, NULL, json, strlen(json), &error));
            expect_same_everywhere(found, expected);
            krait_tokenizer_free(expected);
        }
        krait_tokenizer_free(found);
        gguf_free(&m);
        free(json);
    }
}

/* tokenizer.gguf was written by ggml's own Python package. */
static void a_file_of_another_writer_works(void **state)
{
    (void)state;
    krait_tokenizer *found, *expected;
    assert_ok(krait_tokenizer_load(&found, KRAIT_TEST_DATA "/gguf/tokenizer.gguf", &error));
    assert_ok(krait_tokenizer_load(&expected, KRAIT_MODELS "/text-small", &error));
    expect_same_everywhere(found, expected);
    krait_tokenizer_free(found);
    krait_checkpoint *checkpoint;
    assert_ok(krait_checkpoint_open(&checkpoint, KRAIT_TEST_DATA "/gguf/tokenizer.gguf", &error));
    assert_true(krait_checkpoint_has_tokenizer(checkpoint));
    assert_ok(krait_tokenizer_create(&found, checkpoint, &error));
    krait_checkpoint_free(checkpoint); /* the tokenizer does not need it */
    expect_same_everywhere(found, expected);
    krait_tokenizer_free(found);
    krait_tokenizer_free(expected);
}

static void the_tokenizer_of_the_state_spaces_models_works(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "tokenizer/gpt-neox-20b.tokenizer.json");
    gguf_maker m = { 0 };
    size_t size;
    krait_tokenizer *expected;
    char *json = cli_read(path, &size);
    gguf_from_tokenizer(&m, json, size, "olmo");
    krait_tokenizer *found = load_made(&m);
    assert_ok(krait_tokenizer_load(&expected, path, &error));
    expect_same_everywhere(found, expected);
    krait_tokenizer_free(found);
    krait_tokenizer_free(expected);
    gguf_free(&m);
    free(json);
    free(path);
}

/* "default" is what llama.cpp does without a name: numbers in threes, punctuation by itself, but not the backquote. */
static void without_a_name_text_is_cut_as_by_llama_cpp(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    for (int named = 0; named < 2; named++) {
        static const char *const tokens[] = { "a",  "1",  "2",    "3",  "4",  ".",         "`",  "\xc4\xa0",
                                              "12", "34", "1234", "..", "``", "\xc4\xa0`", "23", "123" };
        static const char *const merges[] = { "1 2", "3 4", "12 34", "12 3", ". .", "\xc4\xa0 `", "` `", "2 3" };
        gguf_header(&m, 3, 0, named ? 4 : 3);
        gguf_key_text(&m, "tokenizer.ggml.model", "gpt2");
        if (named) gguf_key_text(&m, "tokenizer.ggml.pre", "default");
        gguf_key_array(&m, "tokenizer.ggml.tokens", KR_GGUF_STRING, 16);
        for (int i = 0; i < 16; i++) gguf_text(&m, tokens[i]);
        gguf_key_array(&m, "tokenizer.ggml.merges", KR_GGUF_STRING, 8);
        for (int i = 0; i < 8; i++) gguf_text(&m, merges[i]);
        krait_tokenizer *tokenizer = load_made(&m);
        static const struct {
            const char *text;
            int32_t ids[6];
            size_t n;
        } cases[] = { { "1234", { 15, 4 }, 2 }, { "a..", { 0, 11 }, 2 }, { " ``", { 13, 6 }, 2 }, { " 12", { 7, 8 }, 2 } };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int32_t *ids;
            size_t n;
            assert_ok(krait_tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), NULL, &ids, &n, &error));
            assert_ids(ids, n, cases[i].ids, cases[i].n);
            krait_free(ids);
        }
        krait_tokenizer_free(tokenizer);
        gguf_free(&m);
    }
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

/* The parts of a small tokenizer; NULL and -1 leave one out. */
typedef struct parts {
    const char *model, *pre, *first; /* "a" unless first says otherwise */
    size_t first_length;
    int n_types;
    int32_t type;
    const char *merge;
} parts;

static void refuses(parts p, krait_status status, const char *message)
{
    gguf_maker m = { 0 };
    krait_tokenizer *tokenizer;
    gguf_header(&m, 3, 0, 1u + (p.model != NULL) + (p.pre != NULL) + (p.n_types >= 0) + (p.merge != NULL));
    if (p.model) gguf_key_text(&m, "tokenizer.ggml.model", p.model);
    if (p.pre) gguf_key_text(&m, "tokenizer.ggml.pre", p.pre);
    gguf_key_array(&m, "tokenizer.ggml.tokens", KR_GGUF_STRING, 3);
    put_span(&m, p.first ? (kr_span){ p.first, p.first_length } : (kr_span){ "a", 1 });
    gguf_text(&m, "b");
    gguf_text(&m, "ab");
    if (p.n_types >= 0) {
        gguf_key_array(&m, "tokenizer.ggml.token_type", KR_GGUF_I32, (uint64_t)p.n_types);
        for (int i = 0; i < p.n_types; i++) gguf_u32(&m, (uint32_t)(i ? 1 : p.type));
    }
    if (p.merge) {
        gguf_key_array(&m, "tokenizer.ggml.merges", KR_GGUF_STRING, 1);
        gguf_text(&m, p.merge);
    }
    krait_status found = krait_tokenizer_load_memory(&tokenizer, "made.gguf", m.data, m.size, &error);
    if (found) assert_string_equal(error.message, message);
    assert_int_equal(found, status);
    assert_true(!tokenizer == (status != KRAIT_OK));
    krait_tokenizer_free(tokenizer);
    gguf_free(&m);
}

static void names_what_it_refuses(void **state)
{
    (void)state;
    const parts sound = { .model = "gpt2", .pre = "gpt-2", .n_types = 3, .type = 1, .merge = "a b" };
    refuses(sound, KRAIT_OK, "");
#define REFUSES(change, status, message)           \
    do {                                           \
        parts p = sound;                           \
        p.change;                                  \
        refuses(p, status, "made.gguf: " message); \
    } while (0)
    REFUSES(model = "llama", KRAIT_ERROR_UNSUPPORTED,
            "tokenizer.ggml.model: expected \"gpt2\" (byte-level BPE), found \"llama\"");
    REFUSES(model = NULL, KRAIT_ERROR_UNSUPPORTED, "tokenizer.ggml.model: expected \"gpt2\" (byte-level BPE), found nothing");
    REFUSES(
        pre = "tekken", KRAIT_ERROR_UNSUPPORTED,
        "tokenizer.ggml.pre: expected a name of how to cut text that we know (gpt-2, olmo, falcon, starcoder, llama-bpe, dbrx, "
        "qwen2, gpt-4o, default), found \"tekken\"");
    REFUSES(n_types = 2, KRAIT_ERROR_FORMAT,
            "tokenizer.ggml.token_type: expected an array of 3 integers, found an array of 2 i32");
    REFUSES(type = 6, KRAIT_ERROR_FORMAT,
            "tokenizer.ggml.token_type[0]: expected a type from 1 to 5, as in byte-level BPE, found 6");
    REFUSES(type = -1, KRAIT_ERROR_FORMAT,
            "tokenizer.ggml.token_type[0]: expected a type from 1 to 5, as in byte-level BPE, found -1");
    REFUSES(merge = NULL, KRAIT_ERROR_FORMAT, "tokenizer.ggml.merges: expected an array of strings, found nothing");
    REFUSES(merge = "ab", KRAIT_ERROR_FORMAT, "tokenizer.ggml.merges[0]: expected \"left right\", found \"ab\"");
    REFUSES(merge = "b a", KRAIT_ERROR_FORMAT,
            "tokenizer.ggml.merges[0]: expected tokens of tokenizer.ggml.tokens, found \"ba\"");
    REFUSES(type = 5, KRAIT_ERROR_FORMAT, "tokenizer.ggml.merges[0]: expected tokens of tokenizer.ggml.tokens, found \"a\"");
#undef REFUSES
    static const struct {
        const char *text;
        size_t length;
        int32_t type;
        const char *message;
    } firsts[] = {
        { "\xff", 1, 1, "made.gguf: tokenizer.ggml.tokens[0]: expected text in UTF-8, found other bytes" },
        { "a\0b", 3, 1, "made.gguf: tokenizer.ggml.tokens[0]: expected text in UTF-8, found other bytes" },
        { "", 0, 3, "made.gguf: tokenizer.ggml.tokens[0]: expected a text, as its type is 3, found none" },
        { "b", 1, 3, "made.gguf: tokenizer.ggml.tokens: \"b\": expected its id in tokenizer.ggml.tokens, 1, found 0" },
        { "\xe2\x82\xac", 3, 1,
          "made.gguf: tokenizer.ggml.tokens[\"\xe2\x82\xac\"]: expected characters of the byte-level alphabet, or an added "
          "token, found "
          "another character" },
    };
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        parts p = sound;
        p.first = firsts[i].text, p.first_length = firsts[i].length, p.type = firsts[i].type;
        refuses(p, KRAIT_ERROR_FORMAT, firsts[i].message);
    }
    /* a special token that merges lead to */
    parts p = sound;
    p.type = KR_GGUF_TOKEN_CONTROL;
    refuses(p, KRAIT_OK, "");
}

static void a_file_without_one_says_so(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer;
    krait_checkpoint *checkpoint;
    static const char path[] = KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf";
    assert_int_equal(krait_tokenizer_load(&tokenizer, path, &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf: expected a tokenizer inside, found none");
    assert_null(tokenizer);
    assert_ok(krait_checkpoint_open(&checkpoint, path, &error));
    assert_false(krait_checkpoint_has_tokenizer(checkpoint));
    assert_int_equal(krait_tokenizer_create(&tokenizer, checkpoint, &error), KRAIT_ERROR_ARGUMENT);
    assert_null(tokenizer);
    krait_checkpoint_free(checkpoint);
    assert_int_equal(krait_tokenizer_create(&tokenizer, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_create(NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_as_its_name_says),
        cmocka_unit_test(a_file_of_another_writer_works),
        cmocka_unit_test(the_tokenizer_of_the_state_spaces_models_works),
        cmocka_unit_test(without_a_name_text_is_cut_as_by_llama_cpp),
        cmocka_unit_test(names_what_it_refuses),
        cmocka_unit_test(a_file_without_one_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
