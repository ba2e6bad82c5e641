#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

typedef struct parsed {
    kr_arena arena;
    const kr_json *root;
    krait_status status;
    krait_error error;
} parsed;

/* Parses a copy whose end is the end of its block, so that a sanitizer sees a read beyond it. */
static char *copy_of(const char *bytes, size_t size)
{
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size) memcpy(copy, bytes, size);
    return copy;
}

static void expect_error(const char *bytes, size_t size, const char *message)
{
    parsed p = { 0 };
    char *copy = copy_of(bytes, size);
    p.status = kr_json_parse(&p.root, &p.arena, "x.json", copy, size, &p.error);
    if (p.status != KRAIT_ERROR_FORMAT || !strstr(p.error.message, message))
        print_error("%.*s: expected \"%s\", found \"%s\"\n", (int)size, bytes, message, p.error.message);
    assert_int_equal(p.status, KRAIT_ERROR_FORMAT);
    assert_null(p.root);
    assert_non_null(strstr(p.error.message, message));
    kr_arena_free(&p.arena);
    free(copy);
}

#define EXPECT_ERROR(text, message) expect_error(text, sizeof text - 1, message)

/* The tree lives until the test ends. */
static kr_arena arena;

static const kr_json *parse(const char *text)
{
    const kr_json *root;
    krait_error error = { 0 };
    krait_status status = kr_json_parse(&root, &arena, "x.json", text, strlen(text), &error);
    if (status) print_error("%s\n", error.message);
    assert_int_equal(status, KRAIT_OK);
    return root;
}

static int free_arena(void **state)
{
    (void)state;
    kr_arena_free(&arena);
    return 0;
}

static void reads_every_type(void **state)
{
    (void)state;
    const kr_json *root =
        parse(" {\"n\":null, \"t\":true,\"f\":false,\"i\":-12,\"d\":0.5,\"s\":\"text\",\"a\":[1,[],{}],\"o\":{\"x\":1}}\n");
    assert_int_equal(root->type, KR_JSON_OBJECT);
    assert_int_equal(root->length, 8);
    assert_int_equal(root->offset, 1);
    assert_int_equal(kr_json_get(root, "n")->type, KR_JSON_NULL);
    assert_true(kr_json_get(root, "t")->boolean);
    assert_false(kr_json_get(root, "f")->boolean);
    assert_int_equal(kr_json_get(root, "i")->type, KR_JSON_INTEGER);
    assert_int_equal(kr_json_get(root, "i")->integer, -12);
    assert_true(kr_json_get(root, "d")->number == 0.5);
    assert_true(kr_json_is(kr_json_get(root, "s"), "text"));
    const kr_json *a = kr_json_get(root, "a");
    assert_int_equal(a->length, 3);
    assert_int_equal(a->first->integer, 1);
    assert_int_equal(a->first->next->type, KR_JSON_ARRAY);
    assert_int_equal(a->first->next->length, 0);
    assert_null(a->first->next->first);
    assert_int_equal(a->first->next->next->type, KR_JSON_OBJECT);
    assert_null(a->first->next->next->next);
    assert_int_equal(kr_json_get(kr_json_get(root, "o"), "x")->integer, 1);
    assert_null(kr_json_get(root, "missing"));
    assert_null(kr_json_get(NULL, "x"));
    assert_null(kr_json_get(a, "x"));
    assert_true(kr_json_key_is(root->first, "n"));
    assert_false(kr_json_key_is(root, "n"));
    assert_string_equal(kr_json_type_name(KR_JSON_ARRAY), "array");
}

static void reads_a_bare_value(void **state)
{
    (void)state;
    assert_int_equal(parse("7")->integer, 7);
    assert_true(kr_json_is(parse("\"\""), ""));
    assert_int_equal(parse("[]")->length, 0);
}

static void reads_the_words_python_writes(void **state)
{
    (void)state;
    const kr_json *e = parse("[NaN, Infinity, -Infinity]")->first;
    assert_true(isnan(kr_json_number(e)));
    assert_true(kr_json_number(e->next) == (double)INFINITY);
    assert_true(kr_json_number(e->next->next) == -(double)INFINITY);
    EXPECT_ERROR("[nan]", "expected a value");
    EXPECT_ERROR("-Inf", "byte 0: expected a value");
    EXPECT_ERROR("+1", "expected a value, found '+'");
}

static void decodes_escapes(void **state)
{
    (void)state;
    const kr_json *v = parse("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\uDE00z\"");
    assert_true(kr_json_is(v, "a\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"));
    v = parse("\"a\\u0000b\"");
    assert_int_equal(v->length, 3);
    assert_memory_equal(v->string, "a\0b", 3);
    assert_int_equal(kr_json_get(parse("{\"k\\u0065y\": 5}"), "key")->integer, 5);
    EXPECT_ERROR("\"\\x\"", "byte 2: expected one of \"\\/bfnrtu after a backslash, found 'x'");
    EXPECT_ERROR("\"\\u12g4\"", "four hexadecimal digits");
    EXPECT_ERROR("\"\\u12\"", "four hexadecimal digits");
    EXPECT_ERROR("\"\\ud800\"", "a pair of surrogates");
    EXPECT_ERROR("\"\\ud800x\"", "a pair of surrogates");
    EXPECT_ERROR("\"\\udc00\\ud800\"", "a pair of surrogates");
    EXPECT_ERROR("\"\\ud800\\u0041\"", "a pair of surrogates");
    EXPECT_ERROR("\"\\ud83d\\u\"", "a pair of surrogates");
}

static void refuses_bad_strings(void **state)
{
    (void)state;
    EXPECT_ERROR("\"abc", "byte 0: expected a string, found no closing quote");
    EXPECT_ERROR("\"abc\\", "no closing quote");
    EXPECT_ERROR("\"abc\\\"", "no closing quote");
    EXPECT_ERROR("\"a\nb\"", "line 1, byte 2: expected a string, found a control character in it");
    EXPECT_ERROR("\"a\\\nb\"", "control character");
    EXPECT_ERROR("\"a\0b\"", "control character");
    EXPECT_ERROR("\"12345678\xff\"", "byte 9: expected UTF-8, found invalid bytes");
    EXPECT_ERROR("\"\xc3\"", "UTF-8");
    EXPECT_ERROR("\"\xed\xa0\x80\"", "UTF-8");
    EXPECT_ERROR("\xef\xbb\xbf{}", "found byte 0xef");
    /* a special byte at every position of a word */
    for (size_t n = 0; n < 24; n++) {
        char text[32] = "\"xxxxxxxxxxxxxxxxxxxxxxxx";
        memcpy(text + 1 + n, "\x1f\"", 2);
        expect_error(text, n + 3, "control character");
        memcpy(text + 1 + n, "\"", 2);
        const kr_json *v = parse(text);
        assert_int_equal(v->length, n);
    }
}

static void integers_are_exact(void **state)
{
    (void)state;
    assert_true(parse("9223372036854775807")->integer == INT64_MAX);
    assert_true(parse("-9223372036854775808")->integer == INT64_MIN);
    const kr_json *v = parse("9223372036854775808");
    assert_int_equal(v->type, KR_JSON_NUMBER);
    assert_true(v->number == 9223372036854775808.0);
    assert_int_equal(parse("-9223372036854775809")->type, KR_JSON_NUMBER);
    assert_int_equal(parse("99999999999999999999999")->type, KR_JSON_NUMBER);
    assert_int_equal(parse("1.0")->type, KR_JSON_NUMBER);
    assert_int_equal(parse("1e2")->type, KR_JSON_NUMBER);
    assert_int_equal(parse("-0")->integer, 0);
}

static void numbers_are_those_of_strtod(void **state)
{
    (void)state;
    static const char *const texts[] = { "0.1",
                                         "1e22",
                                         "1e23",
                                         "9007199254740993.0",
                                         "1.7976931348623157e308",
                                         "1e309",
                                         "-1e400",
                                         "5e-324",
                                         "2e-324",
                                         "1e-999999999999",
                                         "0e999999999999",
                                         "123456789012345678901234567890",
                                         "1E+2",
                                         "2.2250738585072011e-308",
                                         "0.000001",
                                         "1e-5",
                                         "-3.25e1",
                                         "6.02214076e23",
                                         "8.5e-1",
                                         "179769313486231580793728971405301e277" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_true(kr_json_number(parse(texts[i])) == strtod(texts[i], NULL));
    srand(1);
    for (int i = 0; i < 20000; i++) {
        char text[64];
        if (i % 2)
            snprintf(text, sizeof text, "%d.%de%d", rand() % 1000, rand(), rand() % 80 - 40);
        else
            snprintf(text, sizeof text, "%.17g", ldexp(rand() / (double)RAND_MAX, rand() % 200 - 100));
        const kr_json *v = parse(text);
        assert_true(kr_json_number(v) == strtod(text, NULL));
    }
}

static void numbers_ignore_the_locale(void **state)
{
    (void)state;
    /* Any locale with a comma will do; without one the test shows nothing but passes. */
    static const char *const names[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "pt_BR.UTF-8" };
    for (size_t i = 0; i < sizeof names / sizeof *names && strcmp(localeconv()->decimal_point, ",") != 0; i++)
        setlocale(LC_NUMERIC, names[i]);
    assert_true(parse("1.2345678901234567890123e-5")->number == 1.2345678901234567890123e-5);
    kr_json_writer w = { 0 };
    kr_json_put_number(&w, 0.1);
    assert_string_equal(w.buffer, "0.1");
    kr_free(w.buffer);
    setlocale(LC_NUMERIC, "C");
}

static void refuses_bad_numbers(void **state)
{
    (void)state;
    EXPECT_ERROR("01", "a leading zero");
    EXPECT_ERROR("-", "expected a digit, found the end of the file");
    EXPECT_ERROR("1.", "expected a digit");
    EXPECT_ERROR(".5", "expected a value");
    EXPECT_ERROR("1e", "expected a digit");
    EXPECT_ERROR("1e+", "expected a digit");
    EXPECT_ERROR("-x", "expected a digit, found 'x'");
    EXPECT_ERROR("0x10", "nothing behind the value");
    char text[2000];
    memset(text, '1', sizeof text);
    expect_error(text, sizeof text, "at most 1024 characters");
    text[1] = '.';
    expect_error(text, sizeof text, "at most 1024 characters");
}

static void refuses_bad_structure(void **state)
{
    (void)state;
    EXPECT_ERROR("", "line 1, byte 0: expected a value, found the end of the file");
    EXPECT_ERROR(" \n ", "line 2, byte 3: expected a value");
    EXPECT_ERROR("[1,]", "expected a value, found ']'");
    EXPECT_ERROR("[1 2]", "expected ',' or ']', found '2'");
    EXPECT_ERROR("[1}", "expected ',' or ']', found '}'");
    EXPECT_ERROR("[", "expected a value, found the end of the file");
    EXPECT_ERROR("[1", "expected ',' or ']', found the end of the file");
    EXPECT_ERROR("{\"a\":1,}", "expected a key in quotes, found '}'");
    EXPECT_ERROR("{a:1}", "expected a key in quotes, found 'a'");
    EXPECT_ERROR("{\"a\" 1}", "expected ':', found '1'");
    EXPECT_ERROR("{\"a\":}", "expected a value, found '}'");
    EXPECT_ERROR("{\"a\":1]", "expected ',' or '}', found ']'");
    EXPECT_ERROR("{\n\"a\": 1}\n x", "line 3, byte 11: expected nothing behind the value, found 'x'");
    EXPECT_ERROR("1\0", "found byte 0x00");
    EXPECT_ERROR("tru", "expected a value");
    EXPECT_ERROR("nulll", "nothing behind");
}

static void refuses_duplicate_keys(void **state)
{
    (void)state;
    EXPECT_ERROR("{\"a\":1,\"b\":2,\"a\":3}", "byte 17: expected a key of its own, found \"a\" again");
    EXPECT_ERROR("{\"a\":1,\"\\u0061\":2}", "found \"a\" again");
    parse("{\"a\":{\"a\":{\"a\":1}},\"A\":2}");
    char text[20000] = "{";
    for (int i = 0; i < 1000; i++) sprintf(text + strlen(text), "\"key %d\":%d,", i, i);
    size_t length = strlen(text);
    strcpy(text + length - 1, "}");
    const kr_json *root = parse(text);
    assert_int_equal(root->length, 1000);
    assert_int_equal(kr_json_get(root, "key 999")->integer, 999);
    strcpy(text + length, "\"key 500\":0}");
    text[length - 1] = ',';
    expect_error(text, strlen(text), "found \"key 500\" again");
}

static void limits_the_depth(void **state)
{
    (void)state;
    char text[3 * KR_JSON_MAX_DEPTH];
    memset(text, '[', KR_JSON_MAX_DEPTH);
    memset(text + KR_JSON_MAX_DEPTH, ']', KR_JSON_MAX_DEPTH);
    text[2 * KR_JSON_MAX_DEPTH] = '\0';
    parse(text);
    memset(text, '[', sizeof text);
    expect_error(text, sizeof text, "at most 64 containers in each other, found more");
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_sample(kr_json_writer *w)
{
    kr_json_open(w, '{');
    kr_json_key(w, "a\"b");
    kr_json_put_integer(w, INT64_MIN);
    kr_json_key(w, "list");
    kr_json_open(w, '[');
    kr_json_put_bool(w, true);
    kr_json_put_null(w);
    kr_json_put_text(w, NULL);
    kr_json_open(w, '{');
    kr_json_close(w, '}');
    kr_json_put_number(w, 0.5);
    kr_json_close(w, ']');
    kr_json_key(w, "text");
    kr_json_put_string(w, "\x01\n\xc3\xa9\xff\0", 6);
    kr_json_close(w, '}');
}

static void writes_commas_and_escapes(void **state)
{
    (void)state;
    kr_json_writer w = { 0 };
    write_sample(&w);
    assert_false(w.failed);
    assert_int_equal(w.depth, 0);
    assert_string_equal(w.buffer, "{\"a\\\"b\": -9223372036854775808, \"list\": [true, null, null, {}, 0.5], "
                                  "\"text\": \"\\u0001\\n\xc3\xa9\xef\xbf\xbd\\u0000\"}");
    assert_int_equal(w.length, strlen(w.buffer));
    parse(w.buffer);
    kr_free(w.buffer);
}

static void writes_indented_and_to_files(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    kr_json_writer w = { .file = file, .indent = 2 };
    write_sample(&w);
    fclose(file);
    assert_false(w.failed);
    assert_string_equal(
        text, "{\n  \"a\\\"b\": -9223372036854775808,\n  \"list\": [\n    true,\n    null,\n    null,\n    {},\n    0.5\n  ],\n"
              "  \"text\": \"\\u0001\\n\xc3\xa9\xef\xbf\xbd\\u0000\"\n}");
    free(text);
    file = fopen("/dev/full", "w");
    if (!file) return;
    setvbuf(file, NULL, _IONBF, 0);
    w = (kr_json_writer){ .file = file };
    write_sample(&w);
    assert_true(w.failed);
    fclose(file);
}

static void writes_the_shortest_number_that_reads_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = { { 0.1, "0.1" },
                  { 1.0 / 3, "0.3333333333333333" },
                  { 1e300, "1e+300" },
                  { 5e-324, "5e-324" },
                  { -2.5, "-2.5" },
                  { 0, "0" },
                  { 100, "100" },
                  { (double)NAN, "null" },
                  { (double)INFINITY, "null" },
                  { 5e-10, "5e-10" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kr_json_writer w = { 0 };
        kr_json_put_number(&w, cases[i].value);
        assert_string_equal(w.buffer, cases[i].text);
        kr_free(w.buffer);
    }
    srand(2);
    for (int i = 0; i < 5000; i++) {
        double value = ldexp(rand() / (double)RAND_MAX - 0.5, rand() % 2000 - 1000);
        kr_json_writer w = { 0 };
        kr_json_put_number(&w, value);
        assert_true(kr_json_number(parse(w.buffer)) == value);
        kr_free(w.buffer);
    }
}

static void writer_refuses_unbalanced_and_deep_nesting(void **state)
{
    (void)state;
    kr_json_writer w = { 0 };
    kr_json_close(&w, ']');
    assert_true(w.failed);
    w = (kr_json_writer){ 0 };
    for (int i = 0; i < 100; i++) kr_json_open(&w, '[');
    assert_true(w.failed);
    kr_free(w.buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(reads_every_type, free_arena),
        cmocka_unit_test_teardown(reads_a_bare_value, free_arena),
        cmocka_unit_test_teardown(reads_the_words_python_writes, free_arena),
        cmocka_unit_test_teardown(decodes_escapes, free_arena),
        cmocka_unit_test_teardown(refuses_bad_strings, free_arena),
        cmocka_unit_test_teardown(integers_are_exact, free_arena),
        cmocka_unit_test_teardown(numbers_are_those_of_strtod, free_arena),
        cmocka_unit_test_teardown(numbers_ignore_the_locale, free_arena),
        cmocka_unit_test_teardown(refuses_bad_numbers, free_arena),
        cmocka_unit_test_teardown(refuses_bad_structure, free_arena),
        cmocka_unit_test_teardown(refuses_duplicate_keys, free_arena),
        cmocka_unit_test_teardown(limits_the_depth, free_arena),
        cmocka_unit_test_teardown(writes_commas_and_escapes, free_arena),
        cmocka_unit_test_teardown(writes_indented_and_to_files, free_arena),
        cmocka_unit_test_teardown(writes_the_shortest_number_that_reads_back, free_arena),
        cmocka_unit_test_teardown(writer_refuses_unbalanced_and_deep_nesting, free_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
