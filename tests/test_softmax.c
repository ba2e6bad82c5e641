/* A row of logits: exponentials, the largest, the log of the sum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tensor/softmax.h"

static void exp_is_exact_to_a_unit_in_the_last_place(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x42ae0000u; bits += 9973) { /* every float from 0 to 87 would do, and take a while */
        float x, found;
        memcpy(&x, &bits, sizeof x);
        kr_softmax_exp(&found, &x, 1);
        double expected = exp(-(double)x);
        assert_true(fabs((double)found - expected) <= 1e-7 * expected);
    }
    float x[7] = { 0, -0.0f, 87, 88, 1000, INFINITY, 1 };
    kr_softmax_exp(x, x, 7);
    assert_true(x[0] == 1 && x[1] == 1);
    assert_true(x[2] > 0 && x[3] == x[2] && x[4] == x[2] && x[5] == x[2]);
    assert_true(fabsf(x[6] - 0.36787944f) < 1e-7f);
}

static void the_position_of_an_element_makes_no_difference(void **state)
{
    (void)state;
    float x[40], all[40], one;
    for (size_t i = 0; i < 40; i++) x[i] = (float)i * 1.7f;
    for (size_t n = 0; n <= 40; n++) {
        for (size_t i = 0; i < 40; i++) all[i] = -5;
        kr_softmax_exp(all, x, n);
        for (size_t i = 0; i < n; i++) {
            kr_softmax_exp(&one, &x[i], 1);
            assert_true(all[i] == one);
        }
        for (size_t i = n; i < 40; i++) assert_true(all[i] == -5);
    }
}

static void max_is_the_lowest_of_equals(void **state)
{
    (void)state;
    float x[200], max;
    size_t index;
    for (size_t n = 1; n <= 200; n++)
        for (size_t at = 0; at < n; at += 1 + n / 16) {
            for (size_t i = 0; i < n; i++) x[i] = -3.5f - (float)(i % 5);
            x[at] = x[n - 1] = -1;
            assert_true(kr_softmax_max(x, n, &max, &index));
            assert_true(max == -1);
            assert_int_equal(index, at);
        }
    x[0] = -0.0f, x[1] = 0;
    assert_true(kr_softmax_max(x, 2, &max, &index) && index == 0);
    x[0] = x[1] = -INFINITY;
    assert_true(kr_softmax_max(x, 2, &max, &index) && index == 0 && max == -INFINITY);
}

static void max_finds_what_is_no_number(void **state)
{
    (void)state;
    float x[100], max;
    size_t index;
    const float bad[] = { NAN, INFINITY, -NAN };
    for (size_t b = 0; b < 3; b++)
        for (size_t at = 0; at < 100; at++) {
            for (size_t i = 0; i < 100; i++) x[i] = i % 3 ? 1e30f : -INFINITY;
            x[at] = x[99] = bad[b];
            assert_false(kr_softmax_max(x, 100, &max, &index));
            assert_int_equal(index, at);
            assert_true(isnan(kr_softmax_log_sum(x, 100)));
        }
}

static void log_sum_is_exact_to_1e6(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 2, 31, 32, 33, 1000, 50280 };
    static const float spreads[] = { 0, 1, 5, 100 };
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    for (size_t s = 0; s < 7; s++)
        for (size_t k = 0; k < 4; k++) {
            size_t n = sizes[s];
            float *x = malloc(n * sizeof *x);
            double max = -INFINITY, sum = 0;
            for (size_t i = 0; i < n; i++) {
                x[i] = -20 + spreads[k] * kr_rng_normal(&rng);
                max = fmax(max, (double)x[i]);
            }
            for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
            double expected = max + log(sum), found = kr_softmax_log_sum(x, n);
            free(x);
            assert_true(fabs(found - expected) <= 1e-6);
        }
    const float none[2] = { -INFINITY, -INFINITY }, huge[3] = { 3e38f, -3e38f, 3e38f };
    assert_true(kr_softmax_log_sum(none, 2) == -INFINITY);
    assert_true(kr_softmax_log_sum(huge, 3) == (double)3e38f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_exact_to_a_unit_in_the_last_place),
        cmocka_unit_test(the_position_of_an_element_makes_no_difference),
        cmocka_unit_test(max_is_the_lowest_of_equals),
        cmocka_unit_test(max_finds_what_is_no_number),
        cmocka_unit_test(log_sum_is_exact_to_1e6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
