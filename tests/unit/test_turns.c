/* test_turns.c: whose turn it is, and what of the time is a load's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness/turns.h"

#define MS NS_PER_MS

static void alone_all_time_is_own(void **state) {
    (void)state;
    static const struct turns alone = {.count = 0};
    assert_int_equal(turns_own_ns(&alone, 12345), 12345);
    assert_int_equal(turns_time_ns(&alone, 12345), 12345);
    assert_int_equal(turns_own_between_ns(&alone, 5, 12), 7);
}

/* Three of 10 ms, of which 9 can be used: the second's are 10 to 19, 40 to 49, … */
static void own_time_passes_in_own_turns_only(void **state) {
    (void)state;
    static const struct turns second = {.number = 1, .count = 3, .length_ns = 10 * MS};
    static const struct {
        uint64_t time_ns, own_ns;
    } cases[] = {{0, 0},
                 {10 * MS, 0},
                 {13 * MS, 3 * MS},
                 {19 * MS, 9 * MS},
                 {25 * MS, 9 * MS},
                 {40 * MS, 9 * MS},
                 {44 * MS, 13 * MS},
                 {3049 * MS, 918 * MS}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(turns_own_ns(&second, cases[i].time_ns), cases[i].own_ns);
    assert_int_equal(turns_own_between_ns(&second, 13 * MS, 44 * MS), 10 * MS);
}

static void a_turn_that_is_used_up_goes_on_in_the_next(void **state) {
    (void)state;
    static const struct turns second = {.number = 1, .count = 3, .length_ns = 10 * MS};
    assert_int_equal(turns_time_ns(&second, 0), 10 * MS);
    assert_int_equal(turns_time_ns(&second, 9 * MS - 1), 19 * MS - 1);
    assert_int_equal(turns_time_ns(&second, 9 * MS), 40 * MS);
    assert_int_equal(turns_time_ns(&second, 18 * MS), 70 * MS);
}

/* Whatever is due, is due in a turn of its load, and no two loads have one at the same time. */
static void turns_exclude_each_other(void **state) {
    (void)state;
    enum { LOADS = 4 };
    for (uint64_t own_ns = 0; own_ns < 200 * MS; own_ns += 777777) {
        for (uint32_t number = 0; number < LOADS; number++) {
            struct turns turns = {.number = number, .count = LOADS, .length_ns = 7 * MS};
            uint64_t time_ns = turns_time_ns(&turns, own_ns);
            assert_int_equal(time_ns / turns.length_ns % LOADS, number);
            assert_true(time_ns % turns.length_ns < turns.length_ns - TURNS_REST_NS);
            assert_int_equal(turns_own_ns(&turns, time_ns), own_ns);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_all_time_is_own),
        cmocka_unit_test(own_time_passes_in_own_turns_only),
        cmocka_unit_test(a_turn_that_is_used_up_goes_on_in_the_next),
        cmocka_unit_test(turns_exclude_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
