#include "cmocka.h"

#include <stdio.h>
#include <stdlib.h>

/* What a test that does not return was stopped by. */
enum { RUNNING, FAILED, SKIPPED };

static jmp_buf leave;

void print_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

void print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

void kr_cmocka_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    longjmp(leave, FAILED);
}

void kr_cmocka_skip(const char *file, int line)
{
    (void)file, (void)line;
    longjmp(leave, SKIPPED);
}

void kr_cmocka_compare(const char *file, int line, const char *what, uintmax_t a, int relation, uintmax_t b)
{
    if ((a == b) != (relation == KR_CMOCKA_EQ))
        kr_cmocka_fail(file, line, "%s: %jd (0x%jx), %jd (0x%jx)", what, (intmax_t)a, a, (intmax_t)b, b);
}

void kr_cmocka_in_range(const char *file, int line, const char *what, uintmax_t a, uintmax_t low, uintmax_t high)
{
    if (a < low || a > high) kr_cmocka_fail(file, line, "%s: %ju is not in %ju..%ju", what, a, low, high);
}

void kr_cmocka_compare_floats(const char *file, int line, double a, double b, double epsilon, int equal)
{
    int same = a == b || fabs(a - b) <= epsilon;
    if (same != equal) kr_cmocka_fail(file, line, "%.9g %s %.9g (epsilon %g)", a, equal ? "!=" : "==", b, epsilon);
}

void kr_cmocka_compare_strings(const char *file, int line, const char *a, const char *b, int equal)
{
    if ((strcmp(a, b) == 0) != equal) kr_cmocka_fail(file, line, "\"%s\" %s \"%s\"", a, equal ? "!=" : "==", b);
}

void kr_cmocka_compare_memory(const char *file, int line, const void *a, const void *b, size_t size, int equal)
{
    const unsigned char *x = a, *y = b;
    size_t i = 0;
    while (i < size && x[i] == y[i]) i++;
    if (equal && i < size) kr_cmocka_fail(file, line, "byte %zu of %zu: 0x%02x != 0x%02x", i, size, x[i], y[i]);
    if (!equal && i == size) kr_cmocka_fail(file, line, "%zu bytes are the same", size);
}

/* A failure in a test's setup or teardown counts as one of the test. */
static int run_test(const struct CMUnitTest *test, void **state)
{
    int stopped = setjmp(leave);
    if (stopped != RUNNING) return stopped;
    if (test->setup_func && test->setup_func(state) != 0) kr_cmocka_fail(test->name, 0, "setup failed");
    test->test_func(state);
    return RUNNING;
}

static int run_fixture(CMFixtureFunction function, void **state)
{
    if (!function) return RUNNING;
    if (setjmp(leave) != RUNNING) return FAILED;
    return function(state) != 0 ? FAILED : RUNNING;
}

int kr_cmocka_run(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                  CMFixtureFunction teardown)
{
    void *group_state = NULL;
    if (run_fixture(setup, &group_state) != RUNNING) {
        printf("%s: group setup failed\n", group);
        return EXIT_FAILURE;
    }
    size_t n_failed = 0, n_skipped = 0;
    for (size_t i = 0; i < n; i++) {
        void *state = tests[i].initial_state ? tests[i].initial_state : group_state;
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        int result = run_test(&tests[i], &state);
        if (run_fixture(tests[i].teardown_func, &state) == FAILED) result = FAILED;
        printf("[  %s ] %s\n", result == FAILED ? "FAILED" : result == SKIPPED ? "SKIPPED" : "    OK", tests[i].name);
        fflush(stdout);
        n_failed += result == FAILED;
        n_skipped += result == SKIPPED;
    }
    if (run_fixture(teardown, &group_state) == FAILED) {
        printf("%s: group teardown failed\n", group);
        n_failed++;
    }
    printf("%s: %zu tests, %zu failed, %zu skipped\n", group, n, n_failed, n_skipped);
    return (int)n_failed;
}
