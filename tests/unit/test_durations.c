/* test_durations.c: a quantile is never too little and at most a 32nd too much, for any time there
 * is. */
#include "workloads/durations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void none_is_nothing(void **state) {
    (void)state;
    struct durations durations = {0};
    assert_true(durations_mean_ns(&durations) == 0);
    assert_true(durations_quantile_ns(&durations, 0.99) == 0);
}

static void keeps_to_a_32nd(void **state) {
    (void)state;
    for (uint64_t ns = 0; ns < UINT64_MAX / 33; ns = ns * 33 / 32 + 1) {
        struct durations durations = {0};
        for (int i = 0; i < 99; i++)
            durations_add(&durations, ns);
        durations_add(&durations, UINT64_MAX);
        double p50 = durations_quantile_ns(&durations, 0.5);
        assert_true(p50 >= (double)ns && p50 <= (double)ns * 33 / 32);
        assert_true(durations_quantile_ns(&durations, 0.99) >= 0x1p63);
    }
}

static void takes_means_of_all(void **state) {
    (void)state;
    struct durations durations = {0};
    for (uint64_t ns = 1; ns <= 100; ns++)
        durations_add(&durations, ns * 1000);
    assert_true(durations_mean_ns(&durations) == 50500);
    assert_true(durations_quantile_ns(&durations, 0) >= 1000);
    assert_true(durations_quantile_ns(&durations, 0) <= 1032);
    assert_true(durations_quantile_ns(&durations, 0.99) >= 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_nothing),
        cmocka_unit_test(keeps_to_a_32nd),
        cmocka_unit_test(takes_means_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
