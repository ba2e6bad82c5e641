/* Stop strings: what is given out, when, and where it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "generate/stop.h"

/* Pushes NULL-ended pieces; `out` gets what comes out, pieces separated by '|', and at the end (flushed) after '$'. Returns the
 * stop found or -1. */
static ptrdiff_t run(const char *const *stops, size_t n, const char *const *pieces, char out[256])
{
    kr_stop *stop;
    assert_int_equal(kr_stop_create(&stop, stops, n, NULL), KRAIT_OK);
    ptrdiff_t found = -1;
    const char *text;
    size_t length, used = 0;
    for (; *pieces && found < 0; pieces++) {
        assert_int_equal(kr_stop_push(stop, *pieces, strlen(*pieces), &text, &length, &found, NULL), KRAIT_OK);
        used += (size_t)sprintf(out + used, "%.*s|", (int)length, text);
    }
    if (found < 0) {
        kr_stop_flush(stop, &text, &length);
        sprintf(out + used, "$%.*s", (int)length, text);
    }
    kr_stop_free(stop);
    return found;
}

#define LIST(...)  ((const char *const[]){ __VA_ARGS__, NULL })
#define COUNT(...) (sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))
#define CHECK(stops, pieces, expected_found, expected)                      \
    do {                                                                    \
        char out_[256];                                                     \
        ptrdiff_t found_ = run(LIST stops, COUNT stops, LIST pieces, out_); \
        assert_string_equal(out_, expected);                                \
        assert_int_equal(found_, expected_found);                           \
    } while (0)

static void text_ends_before_a_stop(void **state)
{
    (void)state;
    CHECK(("\n"), ("one", " two\nthree", "four"), 0, "one| two|");
    CHECK(("stop"), ("stop"), 0, "|");
    CHECK(("x"), ("abc", ""), -1, "abc||$");
}

static void beginning_of_a_stop_is_held_back(void **state)
{
    (void)state;
    CHECK(("END"), ("an E", "N", "D."), 0,
          "an ||"
          "|");
    CHECK(("END"), ("an E", "N", "d."), -1, "an ||ENd.|$");
    CHECK(("END"), ("an E", "N"), -1, "an ||$EN");
    CHECK(("User:"), ("a U", "ser", " U", "ser", ":"), 0, "a ||User |||");
}

static void repeated_prefixes_are_found(void **state)
{
    (void)state;
    CHECK(("aab"), ("aaab"), 0, "a|");
    CHECK(("aab"), ("a", "a", "a", "b"), 0, "||a||");
    CHECK(("abababc"), ("ababab", "ababc"), 0, "|abab|");
    CHECK(("\nUser:"), ("Yes", ".", "\n", "\n", "User", ":", " and"), 0, "Yes|.||\n|||"); /* as in docs/GENERATION.md */
    CHECK(("\n\n"), ("a\n", "b\n", "\n"), 0, "a|\nb||");
}

static void first_complete_stop_wins(void **state)
{
    (void)state;
    CHECK(("abcd", "bc"), ("xabcd"), 1, "xa|");          /* complete one byte earlier */
    CHECK(("bc", "abc"), ("xabc"), 1, "x|");             /* at the same byte: the longer */
    CHECK(("ab", "ab"), ("ab"), 0, "|");                 /* equal: the first */
    CHECK(("abcx", "bcd"), ("ab", "c", "d"), 1, "||a|"); /* the other's beginning was held */
    CHECK(("aaaa", "b"), ("aaa", "b"), 1, "|aaa|");
}

static void characters_stay_whole(void **state)
{
    (void)state;
    CHECK(("é"), ("caf", "è", "é"), 0, "caf|è||"); /* the first bytes are equal */
    CHECK(("a…"), ("a", "‥"), -1, "|a‥|$");
}

static void no_stops_pass_everything(void **state)
{
    (void)state;
    char out[256];
    assert_int_equal(run(NULL, 0, LIST("a", "b"), out), -1);
    assert_string_equal(out, "a|b|$");
}

static void a_text_may_follow_a_text(void **state)
{
    (void)state;
    kr_stop *stop;
    const char *text;
    size_t length;
    ptrdiff_t found;
    assert_int_equal(kr_stop_create(&stop, LIST("ab"), 1, NULL), KRAIT_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kr_stop_push(stop, "xabyy", 5, &text, &length, &found, NULL), KRAIT_OK);
        assert_int_equal(found, 0);
        assert_int_equal(length, 1);
    }
    assert_int_equal(kr_stop_push(stop, "a", 1, &text, &length, &found, NULL), KRAIT_OK);
    kr_stop_flush(stop, &text, &length);
    assert_int_equal(length, 1);
    assert_int_equal(kr_stop_push(stop, "b", 1, &text, &length, &found, NULL), KRAIT_OK);
    assert_int_equal(found, -1);
    assert_int_equal(length, 1);
    kr_stop_free(stop);
}

static void bad_strings_are_refused(void **state)
{
    (void)state;
    kr_stop *stop;
    krait_error error;
    assert_int_equal(kr_stop_create(&stop, LIST("a", ""), 2, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "stop[1]: expected a string, found an empty one");
    assert_null(stop);
    assert_int_equal(kr_stop_create(&stop, (const char *const[]){ NULL }, 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "stop[0]: expected a string, found NULL");
    assert_int_equal(kr_stop_create(&stop, LIST("a\xc3"), 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(error.message, "stop[0]: expected valid UTF-8, found byte 0xc3 at 1");
    assert_int_equal(kr_stop_create(&stop, NULL, 1, &error), KRAIT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_ends_before_a_stop),     cmocka_unit_test(beginning_of_a_stop_is_held_back),
        cmocka_unit_test(repeated_prefixes_are_found), cmocka_unit_test(first_complete_stop_wins),
        cmocka_unit_test(characters_stay_whole),       cmocka_unit_test(no_stops_pass_everything),
        cmocka_unit_test(a_text_may_follow_a_text),    cmocka_unit_test(bad_strings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
