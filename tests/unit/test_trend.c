/* test_trend.c: series with a trend, without one, and how often chance is taken for one. */
#include "harness/trend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "harness/random.h"

enum { LONG = 1000 };

static void few_values_say_nothing(void **state) {
    (void)state;
    double values[TREND_LEAST] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_false(trend_of(values, 0).known);
    assert_false(trend_of(values, TREND_LEAST - 1).known);
    assert_true(trend_of(values, TREND_LEAST).known);
}

static void a_line_is_its_slope(void **state) {
    (void)state;
    double values[LONG];
    for (size_t i = 0; i < LONG; i++)
        values[i] = 100 + 0.1 * (double)i; /* to 200: 100 over the median of 150 */
    static const size_t counts[] = {1000, 999, 640};
    static const double changes[] = {2.0 / 3, 2.0 / 3, 64 / 132.0};
    for (size_t i = 0; i < 3; i++) {
        struct trend trend = trend_of(values, counts[i]);
        assert_true(trend.steady);
        assert_true(fabs(trend.change - changes[i]) < 0.03);
    }
    for (size_t i = 0; i < LONG; i++)
        values[i] = 200 - 0.1 * (double)i;
    assert_true(trend_of(values, 20).change < 0);
}

static void wild_seconds_are_no_trend(void **state) {
    (void)state;
    double values[20];
    for (size_t i = 0; i < 20; i++)
        values[i] = 100 + (double)(i % 3);
    values[18] = values[19] = 100000;
    assert_false(trend_of(values, 20).steady);
    for (size_t i = 0; i < 20; i++)
        values[i] = 7;
    assert_false(trend_of(values, 20).steady);
    assert_true(trend_of(values, 20).change == 0);
}

/* At 1 % two-sided, 20 of 2,000 series of noise: between 4 and 45 but once in 10^6. */
static void noise_is_seldom_called_a_trend(void **state) {
    (void)state;
    struct random random;
    unsigned called = 0;
    random_seed(&random, 1);
    for (int run = 0; run < 2000; run++) {
        double values[30];
        for (size_t i = 0; i < 30; i++)
            values[i] = random_unit(&random);
        called += trend_of(values, 30).steady;
    }
    assert_in_range(called, 4, 45);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_values_say_nothing),
        cmocka_unit_test(a_line_is_its_slope),
        cmocka_unit_test(wild_seconds_are_no_trend),
        cmocka_unit_test(noise_is_seldom_called_a_trend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
