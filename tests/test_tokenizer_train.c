/* Making tokenizers: what Hugging Face learns from the same text, and how it encodes with the files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "krait/data.h"

#ifdef KRAIT_HAVE_TEXT

#define FIXTURES KRAIT_TEST_DATA "/tokenizer_train/"

static const char *const corpus_path = FIXTURES "corpus.txt";
static const krait_corpus corpus = { .paths = &corpus_path, .n_paths = 1 };
static char out[300];
static krait_error error;

static int set_up(void **unused)
{
    (void)unused;
    snprintf(out, sizeof out, "%s/tokenizer.json", cli_folder());
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    cli_folder_remove();
    return 0;
}

static const kr_json *parse_file(const char *path, kr_arena *arena, char **bytes)
{
    size_t size;
    const kr_json *root;
    *bytes = cli_read(path, &size);
    assert_ok(kr_json_parse(&root, arena, path, *bytes, size, &error));
    return root;
}

/* The same vocabulary and the same merges in the same order, for any number of threads. */
static void bpe_learns_what_hugging_face_does(void **unused)
{
    (void)unused;
    for (int threads = 1; threads < 4; threads++) {
        krait_tokenizer_training how = { .vocab_size = 700, .nfc = true, .threads = threads };
        krait_tokenizer_trained result;
        assert_ok(krait_tokenizer_train(out, &corpus, &how, &result, &error));
        assert_int_equal(result.vocab_size, 700);
        assert_int_equal(result.n_merges, 700 - 257);
        kr_arena arena = { 0 };
        char *bytes, *expected_bytes;
        const kr_json *model = kr_json_get(parse_file(out, &arena, &bytes), "model"),
                      *expected = parse_file(FIXTURES "learned.json", &arena, &expected_bytes);
        const kr_json *vocab = kr_json_get(model, "vocab"), *other = kr_json_get(expected, "vocab");
        assert_int_equal(vocab->length, other->length);
        for (const kr_json *token = other->first; token; token = token->next) {
            const kr_json *found = vocab->first;
            while (found && (found->key_length != token->key_length || memcmp(found->key, token->key, token->key_length) != 0))
                found = found->next;
            if (!found) fail_msg("no token %.*s", (int)token->key_length, token->key);
            assert_int_equal(found->integer, token->integer);
        }
        const kr_json *a = kr_json_get(model, "merges")->first, *b = kr_json_get(expected, "merges")->first;
        size_t n = 0;
        for (; a && b; a = a->next, b = b->next, n++)
            if (a->length != b->length || memcmp(a->string, b->string, a->length) != 0)
                fail_msg("merge %zu: expected \"%.*s\", found \"%.*s\"", n, (int)b->length, b->string, (int)a->length, a->string);
        assert_null(a);
        assert_null(b);
        free(bytes);
        free(expected_bytes);
        kr_arena_free(&arena);
    }
    unlink(out);
}

static krait_tokenizer *make(const char *name)
{
    krait_tokenizer_training how = { 0 };
    bool learn = strcmp(name, "bpe") == 0 || strcmp(name, "digits") == 0;
    if (learn) how = (krait_tokenizer_training){ .vocab_size = 700, .nfc = true };
    if (strcmp(name, "digits") == 0) how = (krait_tokenizer_training){ .vocab_size = 400, .digits = true };
    if (strcmp(name, "bytes") == 0) how.kind = KRAIT_TOKENIZER_BYTES;
    if (strcmp(name, "characters") == 0)
        how = (krait_tokenizer_training){ .kind = KRAIT_TOKENIZER_CHARACTERS, .alphabet = "ACGTN\xce\xb1" };
    krait_tokenizer *tokenizer;
    assert_ok(krait_tokenizer_train(out, learn ? &corpus : NULL, &how, NULL, &error));
    assert_ok(krait_tokenizer_load(&tokenizer, out, &error));
    unlink(out);
    return tokenizer;
}

static void files_encode_as_with_hugging_face(void **unused)
{
    (void)unused;
    size_t size, n_cases = 0;
    char *cases = cli_read(FIXTURES "cases.jsonl", &size), current[32] = "";
    krait_tokenizer *tokenizer = NULL;
    for (char *line = cases, *end; line < cases + size; line = end + 1, n_cases++) {
        kr_arena arena = { 0 };
        const kr_json *row;
        end = strchr(line, '\n');
        assert_ok(kr_json_parse(&row, &arena, "case", line, (size_t)(end - line), &error));
        const kr_json *name = kr_json_get(row, "tokenizer"), *text = kr_json_get(row, "text"),
                      *expected = kr_json_get(row, "ids"), *decoded = kr_json_get(row, "decoded");
        if (!kr_json_is(name, current)) {
            snprintf(current, sizeof current, "%.*s", (int)name->length, name->string);
            krait_tokenizer_free(tokenizer);
            tokenizer = make(current);
        }
        int32_t *ids, *wanted;
        size_t n, n_wanted, length;
        char *back;
        wanted = cli_json_ids(expected, &n_wanted);
        assert_ok(krait_tokenizer_encode(tokenizer, text->string, text->length, NULL, &ids, &n, &error));
        assert_ids(ids, n, wanted, n_wanted);
        assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &back, &length, &error));
        assert_int_equal(length, decoded->length);
        assert_memory_equal(back, decoded->string, length);
        krait_free(back);
        krait_free(ids);
        free(wanted);
        kr_arena_free(&arena);
    }
    assert_int_equal(n_cases, 4 * 28);
    krait_tokenizer_free(tokenizer);
    free(cases);
}

/* A long piece without pre-tokenizer, and bytes that are no character. */
static void bytes_and_characters_of_any_length(void **unused)
{
    (void)unused;
    enum { N = 200000 };
    char *text = malloc(N);
    krait_tokenizer *tokenizer = make("bytes");
    int32_t *ids;
    size_t n;
    for (size_t i = 0; i < N; i++) text[i] = (char)(i * 7 + i / 1000);
    assert_ok(krait_tokenizer_encode(tokenizer, text, N, NULL, &ids, &n, &error));
    assert_int_equal(n, N);
    for (size_t i = 0; i < N; i++) assert_int_equal(ids[i], (unsigned char)text[i]);
    krait_free(ids);
    assert_int_equal(krait_tokenizer_vocab_size(tokenizer), 257);
    assert_true(krait_tokenizer_is_special(tokenizer, 256));
    krait_tokenizer_free(tokenizer);
    tokenizer = make("characters");
    for (size_t i = 0; i < N; i++) text[i] = "ACGTN"[i * i % 5];
    text[N / 2] = '\xff';
    assert_ok(krait_tokenizer_encode(tokenizer, text, N, NULL, &ids, &n, &error));
    assert_int_equal(n, N);
    for (size_t i = 0; i < N; i++) assert_int_equal(ids[i], i == N / 2 ? 1 : 2 + (int)(i * i % 5));
    krait_free(ids);
    krait_tokenizer_free(tokenizer);
    free(text);
}

static void learning_ends_where_pairs_do(void **unused)
{
    (void)unused;
    char text[300];
    const char *path = text;
    snprintf(text, sizeof text, "%s/a.txt", cli_folder());
    cli_write(text, "aaaa aaaa bb bb c", 17);
    krait_corpus few = { .paths = &path, .n_paths = 1 };
    krait_tokenizer_training how = { .vocab_size = 1000, .no_special = true };
    krait_tokenizer_trained result;
    assert_ok(krait_tokenizer_train(out, &few, &how, &result, &error));
    /* Counts: (a,a) 6, then aa (aa,aa) 2 of which the tie goes to the lower ids: (b,b), then (Ġ,bb) is there twice with "Ġbb"; "aaaa" too. */
    assert_int_equal(result.n_words, 5);
    assert_int_equal(result.n_distinct, 4); /* "aaaa", "Ġaaaa", "Ġbb", "Ġc" */
    kr_arena arena = { 0 };
    char *bytes;
    const kr_json *merge = kr_json_get(kr_json_get(parse_file(out, &arena, &bytes), "model"), "merges")->first;
    static const char *const expected[] = { "a a", "b b", "\xc4\xa0 bb", "aa aa" };
    for (size_t i = 0; i < 4; i++, merge = merge->next) {
        assert_non_null(merge);
        if (!kr_json_is(merge, expected[i])) fail_msg("merge %zu: %.*s", i, (int)merge->length, merge->string);
    }
    assert_null(merge);
    assert_int_equal(result.vocab_size, 260);
    free(bytes);
    kr_arena_free(&arena);
    unlink(text);
    unlink(out);
}

static void refuse(const krait_corpus *texts, krait_tokenizer_training how, const char *message)
{
    if (!krait_tokenizer_train(out, texts, &how, NULL, &error) || !strstr(error.message, message))
        fail_msg("expected \"%s\", found \"%s\"", message, error.message);
    assert_int_equal(cli_folder_count(), 0);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return strcmp(what, "merging") != 0;
}

static void what_cannot_be_made_is_named(void **unused)
{
    (void)unused;
    const char *const twice[] = { "<a>", "<a>" }, *const empty[] = { "" };
    refuse(NULL, (krait_tokenizer_training){ .vocab_size = 300 }, "expected texts to learn from");
    refuse(&corpus, (krait_tokenizer_training){ .vocab_size = 256 }, "vocab_size: expected 257 to");
    refuse(&corpus, (krait_tokenizer_training){ .vocab_size = 300, .special = twice, .n_special = 2 }, "found <a> again");
    refuse(&corpus, (krait_tokenizer_training){ .vocab_size = 300, .special = empty, .n_special = 1 }, "special token 0");
    refuse(&corpus, (krait_tokenizer_training){ .kind = KRAIT_TOKENIZER_BYTES }, "expected no texts");
    refuse(NULL, (krait_tokenizer_training){ .kind = KRAIT_TOKENIZER_CHARACTERS }, "alphabet: expected its characters");
    refuse(NULL, (krait_tokenizer_training){ .kind = KRAIT_TOKENIZER_CHARACTERS, .alphabet = "ACA" },
           "alphabet: character 2: expected each once, found \"A\" again");
    refuse(NULL, (krait_tokenizer_training){ .kind = KRAIT_TOKENIZER_CHARACTERS, .alphabet = "A\xff" }, "alphabet: byte 1");
    refuse(NULL, (krait_tokenizer_training){ .kind = (krait_tokenizer_kind)9 }, "kind: expected");
    refuse(&corpus, (krait_tokenizer_training){ .vocab_size = 700, .progress = { stop, NULL } }, "stopped");
    assert_int_equal(error.status, KRAIT_ERROR_INTERRUPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_learns_what_hugging_face_does),  cmocka_unit_test(files_encode_as_with_hugging_face),
        cmocka_unit_test(bytes_and_characters_of_any_length), cmocka_unit_test(learning_ends_where_pairs_do),
        cmocka_unit_test(what_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#else

static void without_text_it_says_so(void **unused)
{
    (void)unused;
    krait_error error;
    krait_tokenizer_training how = { .kind = KRAIT_TOKENIZER_BYTES };
    assert_int_equal(krait_tokenizer_train("x", NULL, &how, NULL, &error), KRAIT_ERROR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(without_text_it_says_so) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
