#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#ifdef KRAIT_HAVE_TEXT

#include "text/bpe.h"

static krait_error error;

/* A whole file around the parts that a test changes: NULL leaves a part as it is in a small valid one. */
typedef struct parts {
    const char *added, *normalizer, *pre_tokenizer, *model, *vocab, *merges, *post_processor, *decoder;
} parts;

static char *whole(const parts *p)
{
    static char text[8192];
#define PART(field, usual) (p->field ? p->field : usual)
    snprintf(
        text, sizeof text,
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,"
        "\"post_processor\":%s,\"decoder\":%s,\"model\":{%s\"vocab\":{%s},\"merges\":[%s]}}",
        PART(added, ""), PART(normalizer, "null"),
        PART(pre_tokenizer, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}"),
        PART(post_processor, "null"), PART(decoder, "{\"type\":\"ByteLevel\"}"), PART(model, "\"type\":\"BPE\","),
        PART(vocab, "\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3,\"abb\":4"), PART(merges, "\"a b\",[\"ab\",\"b\"]"));
    return text;
}

static krait_tokenizer *accept(const parts *p)
{
    krait_tokenizer *tokenizer;
    const char *text = whole(p);
    assert_ok(krait_tokenizer_load_memory(&tokenizer, "t.json", text, strlen(text), &error));
    return tokenizer;
}

static void refuse(krait_status status, const char *message, const parts *p)
{
    krait_tokenizer *tokenizer;
    const char *text = whole(p);
    krait_status found = krait_tokenizer_load_memory(&tokenizer, "t.json", text, strlen(text), &error);
    if (found != status || !strstr(error.message, message))
        print_error("expected \"%s\" (%s), found \"%s\" (%s)\n", message, krait_status_name(status), found ? error.message : "",
                    krait_status_name(found));
    assert_int_equal(found, status);
    assert_null(tokenizer);
    assert_non_null(strstr(error.message, message));
    assert_non_null(strstr(error.message, "t.json"));
}

static void expect_ids(const parts *p, const char *text, size_t n, const int32_t *expected)
{
    krait_tokenizer *tokenizer = accept(p);
    int32_t *ids;
    size_t n_ids;
    assert_ok(krait_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids, &n_ids, &error));
    assert_int_equal(n_ids, n);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    krait_free(ids);
    krait_tokenizer_free(tokenizer);
}

#define IDS(...) \
    sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), (int32_t[]) { __VA_ARGS__ }

#define FORMAT      KRAIT_ERROR_FORMAT
#define UNSUPPORTED KRAIT_ERROR_UNSUPPORTED

static void both_spellings_of_merges_are_read(void **state)
{
    (void)state;
    expect_ids(&(parts){ 0 }, "abb ab", IDS(4, 3, 2));
    expect_ids(&(parts){ .model = "" }, "abb", IDS(4));
    expect_ids(&(parts){ .merges = "[\"a\",\"b\"]" }, "abb", IDS(2, 1));
}

static void harmless_fields_are_accepted(void **state)
{
    (void)state;
    expect_ids(&(parts){ .model =
                             "\"type\":\"BPE\",\"dropout\":0.0,\"unk_token\":\"<none>\",\"continuing_subword_prefix\":\"\","
                             "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":null,",
                         .vocab = "\"a\":0,\"b\":1,\"ab\":2,\"<none>\":7,\"abb\":4" },
               "ab", IDS(2));
    expect_ids(&(parts){ .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFKD\"}]}",
                         .post_processor = "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
                                           "{\"type\":\"TemplateProcessing\",\"single\":[]}]}",
                         .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":\"Fuse\"}]}" },
               "ab", IDS(2));
    expect_ids(&(parts){ .decoder = "null" }, "ab", IDS(2));
    expect_ids(&(parts){ .merges = "" }, "ab", IDS(0, 1));
}

static void whole_pieces_come_before_merges(void **state)
{
    (void)state;
    const char *vocab = "\"a\":0,\"b\":1,\"bb\":2,\"abb\":3";
    expect_ids(&(parts){ .vocab = vocab, .merges = "\"b b\"" }, "abb", IDS(0, 2));
    expect_ids(&(parts){ .vocab = vocab, .merges = "\"b b\"", .model = "\"ignore_merges\":true," }, "abb", IDS(3));
}

static void unknown_bytes_are_unk_or_an_error(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = accept(&(parts){ 0 });
    int32_t *ids;
    size_t n;
    assert_int_equal(krait_tokenizer_encode(tokenizer, "abc", 3, NULL, &ids, &n, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "0x63"));
    assert_null(ids);
    char text[500];
    memset(text, 'c', sizeof text); /* a long piece */
    assert_int_equal(krait_tokenizer_encode(tokenizer, text, sizeof text, NULL, &ids, &n, &error), KRAIT_ERROR_ARGUMENT);
    krait_tokenizer_free(tokenizer);
    const char *vocab = "\"a\":0,\"b\":1,\"<u>\":2";
    parts p = { .vocab = vocab, .merges = "", .model = "\"unk_token\":\"<u>\"," };
    expect_ids(&p, "axyb", IDS(0, 2, 2, 1));
    p.model = "\"unk_token\":\"<u>\",\"fuse_unk\":true,";
    expect_ids(&p, "axyb", IDS(0, 2, 1));
    expect_ids(&p, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxb", IDS(2, 1));
    p.model = "\"unk_token\":\"<v>\",";
    refuse(FORMAT, "model.unk_token: expected a token of model.vocab, found \"<v>\"", &p);
    p.model = "\"byte_fallback\":true,";
    refuse(UNSUPPORTED, "model.byte_fallback: expected false, as model.vocab has no token for byte 0x00, found true", &p);
}

static void what_cannot_be_honoured_is_named(void **state)
{
    (void)state;
    refuse(UNSUPPORTED, "normalizer.type: expected NFC, NFD, NFKC, NFKD or Sequence, found \"Lowercase\"",
           &(parts){ .normalizer = "{\"type\":\"Lowercase\"}" });
    refuse(UNSUPPORTED, "normalizer.normalizers[1].type",
           &(parts){ .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Strip\"}]}" });
    refuse(UNSUPPORTED, "decoder.type: expected Fuse or Sequence, as pre_tokenizer has no ByteLevel, found \"ByteLevel\"",
           &(parts){ .pre_tokenizer = "null" });
    refuse(UNSUPPORTED, "decoder: expected Fuse, as pre_tokenizer has no ByteLevel, found null",
           &(parts){ .pre_tokenizer = "{\"type\":\"Digits\"}", .decoder = "null" });
    refuse(UNSUPPORTED, "pre_tokenizer.type: expected ByteLevel, Split, Digits, Punctuation or Sequence, found \"Metaspace\"",
           &(parts){ .pre_tokenizer = "{\"type\":\"Metaspace\"}" });
    refuse(UNSUPPORTED, "pre_tokenizer.pretokenizers[1].type: expected ByteLevel once",
           &(parts){ .pre_tokenizer =
                         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"ByteLevel\"}]}" });
    refuse(UNSUPPORTED, "decoder.type: expected ByteLevel, Fuse or Sequence, found \"WordPiece\"",
           &(parts){ .decoder = "{\"type\":\"WordPiece\"}" });
    refuse(UNSUPPORTED, "post_processor.type", &(parts){ .post_processor = "{\"type\":\"New\"}" });
    refuse(UNSUPPORTED, "model.type: expected BPE, found \"Unigram\"", &(parts){ .model = "\"type\":\"Unigram\"," });
    refuse(UNSUPPORTED, "model.dropout", &(parts){ .model = "\"dropout\":0.1," });
    refuse(UNSUPPORTED, "model.continuing_subword_prefix: expected null or \"\", found \"##\"",
           &(parts){ .model = "\"continuing_subword_prefix\":\"##\"," });
    refuse(UNSUPPORTED, "model.end_of_word_suffix", &(parts){ .model = "\"end_of_word_suffix\":\"</w>\"," });
}

static void wrong_fields_are_named(void **state)
{
    (void)state;
    refuse(FORMAT, "normalizer: expected an object or null, found array", &(parts){ .normalizer = "[]" });
    refuse(FORMAT, "normalizer.type: expected a string, found nothing", &(parts){ .normalizer = "{}" });
    refuse(FORMAT, "pre_tokenizer.pretokenizers: expected an array", &(parts){ .pre_tokenizer = "{\"type\":\"Sequence\"}" });
    refuse(FORMAT, "pre_tokenizer.add_prefix_space: expected a boolean, found \"yes\"",
           &(parts){ .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":\"yes\"}" });
    refuse(FORMAT, "pre_tokenizer.pattern: expected {\"Regex\": string}",
           &(parts){ .pre_tokenizer = "{\"type\":\"Split\",\"behavior\":\"Isolated\"}" });
    refuse(FORMAT, "pre_tokenizer.behavior",
           &(parts){ .pre_tokenizer = "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Chopped\"}" });
    refuse(UNSUPPORTED, "pattern \"a(\"",
           &(parts){ .pre_tokenizer =
                         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a(\"},"
                         "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}" });
    refuse(FORMAT, "model.unk_token: expected a string or null, found 3", &(parts){ .model = "\"unk_token\":3," });
    refuse(FORMAT, "added_tokens[0]: expected an object", &(parts){ .added = "5" });
    refuse(FORMAT, "added_tokens[0].content: expected a string that is not empty",
           &(parts){ .added = "{\"id\":9,\"content\":\"\"}" });
    refuse(FORMAT, "added_tokens[0].id: expected an id from 0 to 4194303, found nothing",
           &(parts){ .added = "{\"content\":\"x\"}" });
    refuse(FORMAT, "added_tokens[0].special: expected a boolean, found 1",
           &(parts){ .added = "{\"content\":\"x\",\"id\":9,\"special\":1}" });
    static const char *const files[][2] = {
        { "", "t.json" },
        { "[]", "the file: expected an object" },
        { "{}", "model: expected an object, found nothing" },
        { "{\"added_tokens\":{}}", "added_tokens: expected an array" },
        { "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", "model: expected an object, found nothing" },
        { "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{}}", "model.vocab: expected an object from tokens to ids" },
        { "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":[[\"a\",0.5]]}}", "model.vocab" },
        { "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":{}}}",
          "model.merges: expected an array, found nothing" },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        krait_tokenizer *tokenizer;
        krait_status status = krait_tokenizer_load_memory(&tokenizer, "t.json", files[i][0], strlen(files[i][0]), &error);
        assert_true(status == FORMAT || status == UNSUPPORTED);
        assert_non_null(strstr(error.message, files[i][1]));
        assert_null(tokenizer);
    }
}

static void wrong_entries_are_named(void **state)
{
    (void)state;
    refuse(FORMAT, "model.vocab[\"b\"]: expected an id of its own, found 0 again", &(parts){ .vocab = "\"a\":0,\"b\":0" });
    refuse(FORMAT, "model.vocab[\"b\"]: expected an id from 0 to 4194303, found -1", &(parts){ .vocab = "\"a\":0,\"b\":-1" });
    refuse(FORMAT, "model.vocab[\"b\"]: expected an id from 0 to 4194303, found 4194304",
           &(parts){ .vocab = "\"a\":0,\"b\":4194304" });
    refuse(FORMAT, "model.vocab[\"b\"]: expected an id from 0 to 4194303, found \"1\"",
           &(parts){ .vocab = "\"a\":0,\"b\":\"1\"" });
    refuse(FORMAT, "model.vocab[\"b c\"]: expected characters of the byte-level alphabet",
           &(parts){ .vocab = "\"a\":0,\"b c\":1" });
    refuse(FORMAT, "model.merges[0]: expected tokens of model.vocab, found \"c\"", &(parts){ .merges = "\"a c\"" });
    refuse(FORMAT, "model.merges[1]: expected tokens of model.vocab, found \"c\"", &(parts){ .merges = "\"a b\",[\"c\",\"a\"]" });
    refuse(FORMAT, "model.merges[0]: expected tokens of model.vocab, found \"ba\"", &(parts){ .merges = "\"b a\"" });
    static const char *const merges[] = { "\"ab\"",    "\"a b b\"",    "\" a\"", "\"a \"", "[\"a\"]", "[\"a\",\"b\",\"b\"]",
                                          "[\"a\",1]", "[\"\",\"a\"]", "3" };
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        refuse(FORMAT, "model.merges[0]: expected \"left right\" or [\"left\", \"right\"]", &(parts){ .merges = merges[i] });
    refuse(FORMAT, "added_tokens: \"y\": expected an id of its own, found 9 again",
           &(parts){ .added = "{\"content\":\"x\",\"id\":9},{\"content\":\"y\",\"id\":9}" });
    refuse(FORMAT, "added_tokens: expected \"x\" once, found it with ids",
           &(parts){ .added = "{\"content\":\"x\",\"id\":9},{\"content\":\"x\",\"id\":8}" });
    refuse(FORMAT, "added_tokens: \"x\": expected an id of its own, found 1, which model.vocab has for another token",
           &(parts){ .added = "{\"content\":\"x\",\"id\":1}" });
    refuse(FORMAT, "added_tokens: \"ab\": expected its id in model.vocab, 2, found 9",
           &(parts){ .added = "{\"content\":\"ab\",\"id\":9}" });
}

/* As some published files have it: special tokens in the vocabulary too, in characters that are no bytes. */
static void added_tokens_may_be_in_the_vocabulary(void **state)
{
    (void)state;
    parts p = {
        .vocab = "\"a\":0,\"<\xe2\x96\x81>\":1,\"<s>\":2,\"\xc4\xa0\":3",
        .merges = "",
        .added = "{\"content\":\"<\xe2\x96\x81>\",\"id\":1,\"special\":true},{\"content\":\"<s>\",\"id\":2,\"special\":true}"
    };
    expect_ids(&p, "a<\xe2\x96\x81><s> ", IDS(0, 1, 2, 3));
    krait_tokenizer *tokenizer = accept(&p);
    size_t length;
    assert_memory_equal(krait_tokenizer_token(tokenizer, 1, &length), "<\xe2\x96\x81>", 5);
    assert_int_equal(length, 5);
    assert_int_equal(krait_tokenizer_id(tokenizer, "<\xe2\x96\x81>", 5), 1);
    krait_tokenizer_free(tokenizer);
}

/* Holes between ids are no tokens. */
static void ids_need_not_be_dense(void **state)
{
    (void)state;
    parts p = { .vocab = "\"a\":7,\"b\":1000", .merges = "", .added = "{\"content\":\"<s>\",\"id\":2000,\"special\":true}" };
    expect_ids(&p, "ab<s>", IDS(7, 1000, 2000));
    krait_tokenizer *tokenizer = accept(&p);
    assert_int_equal(krait_tokenizer_vocab_size(tokenizer), 2001);
    assert_null(krait_tokenizer_token(tokenizer, 8, NULL));
    char *text;
    size_t length;
    assert_int_equal(krait_tokenizer_decode(tokenizer, (int32_t[]){ 8 }, 1, true, &text, &length, &error), KRAIT_ERROR_ARGUMENT);
    krait_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_of_merges_are_read),
        cmocka_unit_test(harmless_fields_are_accepted),
        cmocka_unit_test(whole_pieces_come_before_merges),
        cmocka_unit_test(unknown_bytes_are_unk_or_an_error),
        cmocka_unit_test(what_cannot_be_honoured_is_named),
        cmocka_unit_test(wrong_fields_are_named),
        cmocka_unit_test(wrong_entries_are_named),
        cmocka_unit_test(added_tokens_may_be_in_the_vocabulary),
        cmocka_unit_test(ids_need_not_be_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
