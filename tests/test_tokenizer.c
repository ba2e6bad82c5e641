#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/text.h"

static krait_error error;

#ifdef KRAIT_HAVE_TEXT

#define FIXTURES KRAIT_TEST_DATA "/tokenizer/"

static krait_tokenizer *load(const char *path)
{
    krait_tokenizer *tokenizer;
    assert_ok(krait_tokenizer_load(&tokenizer, path, &error));
    return tokenizer;
}

static krait_tokenizer *load_fixture(const char *name, size_t length)
{
    char path[4096];
    if (length == 10 && memcmp(name, "text-small", 10) == 0) return load(KRAIT_MODELS "/text-small");
    snprintf(path, sizeof path, FIXTURES "%.*s.json", (int)length, name);
    return load(path);
}

/* Encodes a copy that ends where its block ends, so that a sanitizer sees a read beyond it. */
static int32_t *encode(const krait_tokenizer *tokenizer, const char *text, size_t length, bool no_special, size_t *n)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    if (length) memcpy(copy, text, length);
    int32_t *ids;
    assert_ok(
        krait_tokenizer_encode(tokenizer, copy, length, &(krait_encode_options){ .no_special = no_special }, &ids, n, &error));
    free(copy);
    return ids;
}

static void expect_ids(const krait_tokenizer *tokenizer, const kr_json *text, const kr_json *expected, bool no_special)
{
    size_t n;
    int32_t *ids = encode(tokenizer, text->string, text->length, no_special, &n);
    const kr_json *id = expected->first;
    bool same = n == expected->length;
    for (size_t i = 0; same && i < n; i++, id = id->next) same = ids[i] == id->integer;
    if (!same) {
        print_error("\"%.*s\": found %zu ids:", (int)text->length, text->string, n);
        for (size_t i = 0; i < n; i++) print_error(" %d", ids[i]);
        print_error("\n");
    }
    assert_true(same);
    krait_free(ids);
}

/* Calls check for every line of a file of JSON objects. */
static void for_each_line(const char *path, void (*check)(void *context, const kr_json *row), void *context)
{
    kr_file file;
    assert_ok(kr_file_open(&file, path, &error));
    size_t n_rows = 0;
    for (size_t begin = 0, end; begin < file.size; begin = end + 1, n_rows++) {
        const char *newline = memchr(file.data + begin, '\n', file.size - begin);
        end = newline ? (size_t)(newline - file.data) : file.size;
        kr_arena arena = { 0 };
        const kr_json *row;
        assert_ok(kr_json_parse(&row, &arena, path, file.data + begin, end - begin, &error));
        check(context, row);
        kr_arena_free(&arena);
    }
    assert_true(n_rows > 100);
    kr_file_close(&file);
}

typedef struct fixture {
    char name[64];
    krait_tokenizer *tokenizer;
} fixture;

static void check_case(void *context, const kr_json *row)
{
    fixture *f = context;
    const kr_json *name = kr_json_get(row, "tokenizer"), *text = kr_json_get(row, "text"), *ids = kr_json_get(row, "ids"),
                  *no_special = kr_json_get(row, "no_special");
    if (strlen(f->name) != name->length || memcmp(f->name, name->string, name->length) != 0) {
        krait_tokenizer_free(f->tokenizer);
        f->tokenizer = load_fixture(name->string, name->length);
        snprintf(f->name, sizeof f->name, "%.*s", (int)name->length, name->string);
    }
    expect_ids(f->tokenizer, text, ids, false);
    expect_ids(f->tokenizer, text, no_special ? no_special : ids, true);
}

static void ids_are_those_of_other_settings(void **state)
{
    (void)state;
    fixture f = { 0 };
    for_each_line(FIXTURES "cases.jsonl", check_case, &f);
    krait_tokenizer_free(f.tokenizer);
}

static void check_reference(void *context, const kr_json *row)
{
    const krait_tokenizer *tokenizer = context;
    const kr_json *text = kr_json_get(row, "text"), *decoded = kr_json_get(row, "decoded");
    expect_ids(tokenizer, text, kr_json_get(row, "ids"), false);
    size_t n, length;
    int32_t *ids = encode(tokenizer, text->string, text->length, false, &n);
    char *back;
    assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &back, &length, &error));
    assert_int_equal(length, decoded->length);
    assert_memory_equal(back, decoded->string, length);
    assert_int_equal(back[length], 0);
    krait_free(back);
    krait_free(ids);
}

static void ids_and_text_are_the_reference(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "tokenizer/gpt-neox-20b.tokenizer.json");
    krait_tokenizer *tokenizer = load(path);
    for_each_line(KRAIT_TEST_DATA "/tokenizer.jsonl", check_reference, tokenizer);
    assert_int_equal(krait_tokenizer_vocab_size(tokenizer), 50277);
    assert_true(krait_tokenizer_is_special(tokenizer, 0));
    assert_false(krait_tokenizer_is_special(tokenizer, 50254));
    krait_tokenizer_free(tokenizer);
    free(path);
}

static void ids_are_the_vectors(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "tokenizer/gpt-neox-20b.tokenizer.json");
    char *texts_path = fixture_big_data("tokenizer/gpt-neox-vectors.inp"),
         *ids_path = fixture_big_data("tokenizer/gpt-neox-vectors.out");
    krait_tokenizer *tokenizer = load(path);
    kr_file texts, lines;
    assert_ok(kr_file_open(&texts, texts_path, &error));
    assert_ok(kr_file_open(&lines, ids_path, &error));
    const char *line = lines.data, *const separator = "\n__ggml_vocab_test__\n";
    size_t n_texts = 0;
    for (const char *text = texts.data, *end = texts.data + texts.size; text < end; n_texts++) {
        const char *stop = memmem(text, (size_t)(end - text), separator, strlen(separator));
        size_t n, length = (size_t)((stop ? stop : end) - text);
        int32_t *ids = encode(tokenizer, text, length, false, &n);
        for (size_t i = 0; i < n; i++) {
            char *next;
            assert_int_equal(ids[i], strtol(line, &next, 10));
            line = next;
        }
        while (*line == ' ') line++;
        assert_int_equal(*line++, '\n');
        krait_free(ids);
        text = stop ? stop + strlen(separator) : end;
    }
    assert_true(n_texts > 40);
    kr_file_close(&texts);
    kr_file_close(&lines);
    krait_tokenizer_free(tokenizer);
    free(path);
    free(texts_path);
    free(ids_path);
}

static void expect_back(const krait_tokenizer *tokenizer, const char *text, size_t length)
{
    size_t n, back_length;
    int32_t *ids = encode(tokenizer, text, length, true, &n);
    char *back;
    assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &back, &back_length, &error));
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length);
    krait_free(back);
    krait_free(ids);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    static const char *const names[] = { "plain", "llama3", "falcon", "starcoder", "contiguous" };
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        krait_tokenizer *tokenizer = load_fixture(names[k], strlen(names[k]));
        for (int i = 0; i < 2000; i++) {
            char text[200];
            size_t length = kr_rng_u32(&rng) % sizeof text;
            for (size_t j = 0; j < length; j++) {
                uint32_t r = kr_rng_u32(&rng);
                static const unsigned char common[] = {
                    0xc3, 0xa9, 0xe2, 0x80, 0x83, 0xf0, 0x9f, 0x8e, 0x89, 0xff, ' ', '\n', '1'
                };
                text[j] = (char)(r & 256 ? r & 0xff : r & 512 ? common[r % sizeof common] : 'a' + (r & 0xff) % 26);
            }
            expect_back(tokenizer, text, length);
        }
        krait_tokenizer_free(tokenizer);
    }
}

/* An invalid run is one piece, and the text around it is encoded as if it stood alone. */
static void invalid_runs_are_pieces(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load_fixture("prefix", 6);
    size_t n, n_before;
    int32_t *ids = encode(tokenizer, "the\xff\xfe the", 9, false, &n), *before = encode(tokenizer, "the", 3, false, &n_before);
    assert_int_equal(n, 2 * n_before + 2);
    for (size_t i = 0; i < n_before; i++) {
        assert_int_equal(ids[i], before[i]);
        assert_int_equal(ids[n_before + 2 + i], before[i]); /* no second space is put before it */
    }
    assert_int_equal(ids[n_before], krait_tokenizer_id(tokenizer, "\xff", 1));
    assert_int_equal(ids[n_before + 1], krait_tokenizer_id(tokenizer, "\xfe", 1));
    krait_free(ids);
    krait_free(before);
    krait_tokenizer_free(tokenizer);
}

static void tokens_are_found_both_ways(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load(KRAIT_MODELS "/text-small/tokenizer.json");
    size_t size = krait_tokenizer_vocab_size(tokenizer);
    assert_int_equal(size, 2048);
    for (int32_t id = 0; id < (int32_t)size; id++) {
        size_t length;
        const char *token = krait_tokenizer_token(tokenizer, id, &length);
        assert_non_null(token);
        assert_int_equal(krait_tokenizer_id(tokenizer, token, length), id);
    }
    size_t length = 7;
    assert_null(krait_tokenizer_token(tokenizer, (int32_t)size, &length));
    assert_int_equal(length, 0);
    assert_null(krait_tokenizer_token(tokenizer, -1, NULL));
    assert_int_equal(krait_tokenizer_id(tokenizer, "<|endoftext|>", 13), 0);
    assert_true(krait_tokenizer_is_special(tokenizer, 0));
    assert_false(krait_tokenizer_is_special(tokenizer, 1));
    assert_false(krait_tokenizer_is_special(tokenizer, -5));
    assert_int_equal(krait_tokenizer_id(tokenizer, "no such token", 13), -1);
    krait_tokenizer_free(tokenizer);
}

static void special_tokens_are_left_out_of_text(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load(KRAIT_MODELS "/text-small");
    size_t n, length;
    int32_t *ids = encode(tokenizer, "a<|endoftext|>b", 15, false, &n);
    char *text;
    assert_int_equal(n, 3);
    assert_ok(krait_tokenizer_decode(tokenizer, ids, n, false, &text, &length, &error));
    assert_string_equal(text, "ab");
    krait_free(text);
    assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &text, &length, &error));
    assert_string_equal(text, "a<|endoftext|>b");
    krait_free(text);
    krait_free(ids);
    ids = encode(tokenizer, "a<|endoftext|>b", 15, true, &n);
    for (size_t i = 0; i < n; i++) assert_int_not_equal(ids[i], 0);
    krait_free(ids);
    ids = encode(tokenizer, "", 0, false, &n);
    assert_null(ids);
    assert_int_equal(n, 0);
    assert_ok(krait_tokenizer_decode(tokenizer, NULL, 0, false, &text, &length, &error));
    assert_string_equal(text, "");
    krait_free(text);
    assert_int_equal(krait_tokenizer_decode(tokenizer, (int32_t[]){ 1, 2048 }, 2, false, &text, &length, &error),
                     KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "ids[1]"));
    assert_null(text);
    krait_tokenizer_free(tokenizer);
}

/* ---- long texts -------------------------------------------------------------------------------------------------- */

static void long_lines_come_back(void **state)
{
    (void)state;
    static const char *const repeated[] = { "a",    " ", "\n", "a b ",      "\xcc\xa7\xcc\x81", "\xe4\xb8\xad",
                                            "\xff", "'", "0",  "e\xcc\x81 " };
    static const char *const names[] = { "plain", "llama3", "gpt4o" };
    size_t length = (size_t)1 << 20;
    char *text = malloc(length);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        krait_tokenizer *tokenizer = load_fixture(names[k], strlen(names[k]));
        for (size_t r = 0; r < sizeof repeated / sizeof *repeated; r++) {
            size_t n = strlen(repeated[r]);
            for (size_t i = 0; i < length; i++) text[i] = repeated[r][i % n];
            expect_back(tokenizer, text, length / n * n);
        }
        kr_rng rng;
        kr_rng_seed(&rng, 3);
        for (size_t i = 0; i < length; i++) text[i] = (char)('a' + kr_rng_u32(&rng) % 6);
        expect_back(tokenizer, text, length);
        krait_tokenizer_free(tokenizer);
    }
    free(text);
}

/* Marks of falling combining class, which have to be sorted: "U+0301 U+0327" becomes "U+0327 U+0301". */
static void long_runs_of_marks_are_normalised(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load_fixture("nfd", 3);
    size_t half = 200000, length = 4 * half, n, back_length;
    char *text = malloc(length), *back;
    assert_non_null(text);
    for (size_t i = 0; i < half; i++) memcpy(text + 4 * i, "\xcc\x81\xcc\xa7", 4);
    int32_t *ids = encode(tokenizer, text, length, false, &n);
    assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &back, &back_length, &error));
    assert_int_equal(back_length, length);
    for (size_t i = 0; i < 2 * half; i++) assert_memory_equal(back + 2 * i, i < half ? "\xcc\xa7" : "\xcc\x81", 2);
    krait_free(back);
    krait_free(ids);
    free(text);
    krait_tokenizer_free(tokenizer);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *encode_again(void *context)
{
    const krait_tokenizer *tokenizer = context;
    static const char text[] = "The captain, who had said nothing,\n  told them: e\xcc\x81 \xff it's 1984 <|endoftext|> in 日本.";
    size_t n_first, n;
    int32_t *first = NULL, *ids;
    bool same = krait_tokenizer_encode(tokenizer, text, strlen(text), NULL, &first, &n_first, NULL) == KRAIT_OK;
    for (int i = 0; same && i < 200; i++) {
        same = krait_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids, &n, NULL) == KRAIT_OK && n == n_first
               && memcmp(ids, first, n * sizeof *ids) == 0;
        krait_free(ids);
    }
    krait_free(first);
    return same ? context : NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load_fixture("neox", 4);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_again, tokenizer), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, tokenizer);
    }
    krait_tokenizer_free(tokenizer);
}

/* ---- the caller's mistakes --------------------------------------------------------------------------------------- */

static void null_is_refused(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = load_fixture("plain", 5);
    krait_tokenizer *none = tokenizer;
    int32_t *ids;
    char *text;
    size_t n;
    assert_int_equal(krait_tokenizer_load(NULL, "x", &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_load(&none, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_null(none);
    assert_int_equal(krait_tokenizer_load_memory(&none, "x", NULL, 5, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_load_memory(&none, NULL, NULL, 0, NULL), KRAIT_ERROR_FORMAT);
    assert_int_equal(krait_tokenizer_load(&none, FIXTURES "no such file", &error), KRAIT_ERROR_IO);
    assert_int_equal(krait_tokenizer_load(&none, KRAIT_MODELS, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "tokenizer.json"));
    assert_int_equal(krait_tokenizer_encode(NULL, "a", 1, NULL, &ids, &n, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_encode(tokenizer, NULL, 1, NULL, &ids, &n, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_encode(tokenizer, "a", 1, NULL, NULL, &n, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_decode(NULL, NULL, 0, false, &text, &n, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_decode(tokenizer, NULL, 1, false, &text, &n, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_tokenizer_vocab_size(NULL), 0);
    krait_tokenizer_free(tokenizer);
    krait_tokenizer_free(NULL);
}

static void info_names_the_libraries(void **state)
{
    (void)state;
    assert_non_null(strstr(kr_text_info(), "pcre2 10."));
    assert_non_null(strstr(kr_text_info(), "utf8proc "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_other_settings),
        cmocka_unit_test(ids_and_text_are_the_reference),
        cmocka_unit_test(ids_are_the_vectors),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(invalid_runs_are_pieces),
        cmocka_unit_test(tokens_are_found_both_ways),
        cmocka_unit_test(special_tokens_are_left_out_of_text),
        cmocka_unit_test(long_lines_come_back),
        cmocka_unit_test(long_runs_of_marks_are_normalised),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(null_is_refused),
        cmocka_unit_test(info_names_the_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void every_call_says_that_text_is_off(void **state)
{
    (void)state;
    krait_tokenizer *tokenizer = (krait_tokenizer *)&error;
    krait_decoder *decoder = (krait_decoder *)&error;
    int32_t *ids;
    size_t n;
    char *text;
    assert_int_equal(krait_tokenizer_load(&tokenizer, "x", &error), KRAIT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "KRAIT_TEXT=ON"));
    assert_null(tokenizer);
    assert_int_equal(krait_tokenizer_load_memory(&tokenizer, "x", "{}", 2, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_int_equal(krait_tokenizer_encode(NULL, "a", 1, NULL, &ids, &n, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_int_equal(krait_tokenizer_decode(NULL, NULL, 0, false, &text, &n, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_int_equal(krait_decoder_create(&decoder, NULL, false, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_null(decoder);
    assert_string_equal(kr_text_info(), "off");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_call_says_that_text_is_off) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
