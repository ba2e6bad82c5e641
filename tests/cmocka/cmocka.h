/* A stand-in for the part of cmocka that these tests use, for cross builds and machines with a C compiler alone. The names and
 * meanings are cmocka's (https://api.cmocka.org); with cmocka installed, its own header is used instead of this one. */
#ifndef KR_TEST_CMOCKA_H
#define KR_TEST_CMOCKA_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int (*CMFixtureFunction)(void **state);
typedef void (*CMUnitTestFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f)     \
    {                           \
#f, f, NULL, NULL, NULL \
    }
#define cmocka_unit_test_setup(f, setup) \
    {                                    \
#f, f, setup, NULL, NULL         \
    }
#define cmocka_unit_test_teardown(f, teardown) \
    {                                          \
#f, f, NULL, teardown, NULL            \
    }
#define cmocka_unit_test_setup_teardown(f, setup, teardown) \
    {                                                       \
#f, f, setup, teardown, NULL                        \
    }
#define cmocka_unit_test_prestate(f, state) \
    {                                       \
#f, f, NULL, NULL, state            \
    }

#define cmocka_run_group_tests(tests, setup, teardown) \
    kr_cmocka_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) \
    kr_cmocka_run(name, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

int kr_cmocka_run(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                  CMFixtureFunction teardown);
_Noreturn void kr_cmocka_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void kr_cmocka_skip(const char *file, int line);
enum { KR_CMOCKA_EQ, KR_CMOCKA_NE };
void kr_cmocka_compare(const char *file, int line, const char *what, uintmax_t a, int relation, uintmax_t b);
void kr_cmocka_in_range(const char *file, int line, const char *what, uintmax_t a, uintmax_t low, uintmax_t high);
void kr_cmocka_compare_floats(const char *file, int line, double a, double b, double epsilon, int equal);
void kr_cmocka_compare_strings(const char *file, int line, const char *a, const char *b, int equal);
void kr_cmocka_compare_memory(const char *file, int line, const void *a, const void *b, size_t size, int equal);
void print_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define fail()                 kr_cmocka_fail(__FILE__, __LINE__, "failed")
#define fail_msg(...)          kr_cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip()                 kr_cmocka_skip(__FILE__, __LINE__)
#define assert_true(c)         ((c) ? (void)0 : kr_cmocka_fail(__FILE__, __LINE__, "%s", #c))
#define assert_false(c)        ((c) ? kr_cmocka_fail(__FILE__, __LINE__, "!(%s)", #c) : (void)0)
#define assert_null(p)         ((p) ? kr_cmocka_fail(__FILE__, __LINE__, "%s is not NULL", #p) : (void)0)
#define assert_non_null(p)     ((p) ? (void)0 : kr_cmocka_fail(__FILE__, __LINE__, "%s is NULL", #p))
#define assert_ptr_equal(a, b) kr_cmocka_compare(__FILE__, __LINE__, #a " == " #b, (uintptr_t)(a), KR_CMOCKA_EQ, (uintptr_t)(b))
#define assert_ptr_not_equal(a, b) \
    kr_cmocka_compare(__FILE__, __LINE__, #a " != " #b, (uintptr_t)(a), KR_CMOCKA_NE, (uintptr_t)(b))
#define assert_int_equal(a, b) kr_cmocka_compare(__FILE__, __LINE__, #a " == " #b, (uintmax_t)(a), KR_CMOCKA_EQ, (uintmax_t)(b))
#define assert_int_not_equal(a, b) \
    kr_cmocka_compare(__FILE__, __LINE__, #a " != " #b, (uintmax_t)(a), KR_CMOCKA_NE, (uintmax_t)(b))
#define assert_return_code(a, e) kr_cmocka_compare(__FILE__, __LINE__, #a " >= 0", (intmax_t)(a) >= 0, KR_CMOCKA_EQ, 1)
#define assert_in_range(a, low, high) \
    kr_cmocka_in_range(__FILE__, __LINE__, #a, (uintmax_t)(a), (uintmax_t)(low), (uintmax_t)(high))
#define assert_float_equal(a, b, e)         kr_cmocka_compare_floats(__FILE__, __LINE__, (float)(a), (float)(b), (float)(e), 1)
#define assert_float_not_equal(a, b, e)     kr_cmocka_compare_floats(__FILE__, __LINE__, (float)(a), (float)(b), (float)(e), 0)
#define assert_double_equal(a, b, e)        kr_cmocka_compare_floats(__FILE__, __LINE__, a, b, e, 1)
#define assert_double_not_equal(a, b, e)    kr_cmocka_compare_floats(__FILE__, __LINE__, a, b, e, 0)
#define assert_string_equal(a, b)           kr_cmocka_compare_strings(__FILE__, __LINE__, a, b, 1)
#define assert_string_not_equal(a, b)       kr_cmocka_compare_strings(__FILE__, __LINE__, a, b, 0)
#define assert_memory_equal(a, b, size)     kr_cmocka_compare_memory(__FILE__, __LINE__, a, b, size, 1)
#define assert_memory_not_equal(a, b, size) kr_cmocka_compare_memory(__FILE__, __LINE__, a, b, size, 0)

#endif
