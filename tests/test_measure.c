/* krait_measure_read: figures vary, so only that there is one, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "krait/krait.h"

static void reading_gives_a_rate_for_any_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        double rate = 0;
        assert_int_equal(krait_measure_read(threads, 1 << 20, &rate, NULL), KRAIT_OK);
        assert_true(rate > 0 && isfinite(rate));
    }
}

static void sizes_and_threads_out_of_range_are_refused(void **state)
{
    (void)state;
    krait_error error;
    double rate = 1;
    assert_int_equal(krait_measure_read(0, 1 << 20, &rate, &error), KRAIT_ERROR_ARGUMENT);
    assert_true(rate == 0);
    assert_non_null(strstr(error.message, "thread"));
    assert_int_equal(krait_measure_read(1, 0, &rate, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_measure_read(1, 1 << 20, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_true(rate == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_gives_a_rate_for_any_number_of_threads),
        cmocka_unit_test(sizes_and_threads_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
