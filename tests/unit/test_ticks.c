/* test_ticks.c: ticks are as long as the clock says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loops/ticks.h"

static void wait_for(uint64_t ns) {
    uint64_t end_ns = clock_now_ns() + ns;
    while (clock_now_ns() < end_ns)
        ;
}

/* Reads of one clock lie between those of the other; the ratio is from 1 ms at first, and is the
 * better the longer it is measured. */
static void ticks_pass_as_time_does(void **state) {
    (void)state;
    struct ticks ticks;
    ticks_open(&ticks);
    for (int i = 0; i < 50; i++) {
        uint64_t before_ns = clock_now_ns(), begun = ticks_now(&ticks), inner_ns = clock_now_ns();
        wait_for(NS_PER_MS);
        uint64_t inner_end_ns = clock_now_ns(), ended = ticks_now(&ticks);
        uint64_t after_ns = clock_now_ns();
        assert_true(ticks_adjust(&ticks));
        uint64_t length_ns = ticks_to_ns(&ticks, ended - begun);
        assert_true(length_ns <= (after_ns - before_ns) * 1001 / 1000);
        assert_true(length_ns >= (inner_end_ns - inner_ns) * 999 / 1000);
    }
}

static void a_limit_in_ticks_is_never_longer(void **state) {
    (void)state;
    const uint64_t limits_ns[] = {0, 1, NS_PER_MS, 100 * NS_PER_MS, 3600 * NS_PER_S, UINT64_MAX};
    struct ticks ticks;
    ticks_open(&ticks);
    for (size_t i = 0; i < sizeof limits_ns / sizeof limits_ns[0]; i++) {
        uint64_t number = ticks_within_ns(&ticks, limits_ns[i]);
        uint64_t back_ns = ticks_to_ns(&ticks, number);
        assert_true(back_ns <= limits_ns[i]);
        if (limits_ns[i] < UINT64_MAX)
            assert_true(back_ns + 1 >= limits_ns[i] / 1000 * 998);
    }
}

/* Where it is not the kernel's clock, or elsewhere than on x86. */
static void without_a_counter_they_are_nanoseconds(void **state) {
    (void)state;
    struct ticks ticks = {.ns_per_tick = 1};
    uint64_t before_ns = clock_now_ns(), now = ticks_now(&ticks);
    assert_true(now >= before_ns && now <= clock_now_ns());
    assert_true(ticks_adjust(&ticks));
    assert_int_equal(ticks_to_ns(&ticks, 12345), 12345);
    assert_int_equal(ticks_within_ns(&ticks, 12345), 12345);
}

/* The counter of another host, ahead or behind: it is told once, and time goes on as it did. */
static void a_counter_that_jumps_is_given_up(void **state) {
    (void)state;
    for (int direction = -1; direction <= 1; direction += 2) {
        struct ticks ticks;
        ticks_open(&ticks);
        if (!ticks.counter) {
            print_message("the kernel does not take its time from the processor's counter\n");
            skip();
        }
        ticks.adjusted_ticks += (uint64_t)direction * ticks_within_ns(&ticks, NS_PER_MS);
        assert_false(ticks_adjust(&ticks));
        assert_false(ticks.counter);
        assert_true(ticks_adjust(&ticks));
        uint64_t begun = ticks_now(&ticks), before_ns = clock_now_ns();
        wait_for(NS_PER_MS);
        uint64_t after_ns = clock_now_ns(), ended = ticks_now(&ticks);
        assert_true(ticks_to_ns(&ticks, ended - begun) + 2 >= after_ns - before_ns);
        assert_true(ticks_within_ns(&ticks, NS_PER_MS) < ended - begun);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_pass_as_time_does),
        cmocka_unit_test(a_limit_in_ticks_is_never_longer),
        cmocka_unit_test(without_a_counter_they_are_nanoseconds),
        cmocka_unit_test(a_counter_that_jumps_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
