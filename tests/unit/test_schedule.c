/* test_schedule.c: due times against whole numbers, arrivals against their distribution. */
#include "harness/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "loops/check.h"
#include "loops/clock.h"

/* --- constant arrivals --- */

/* Rates as the fraction that they are, so that whole numbers can tell what is right. */
static const struct {
    double rate_per_s;
    uint64_t numerator, denominator;
} rates[] = {
    {51, 51, 1},
    {149, 149, 1},
    {999, 999, 1},
    {20000, 20000, 1},
    {0.5, 1, 2},
    {3e6, 3000000, 1},
    {1, 1, 1},
    {1e9, 1000000000, 1},
    {1000.125, 8001, 8},
    {7.0 / 64, 7, 64},
    {333333333, 333333333, 1},
};

static uint64_t due_by_fraction(size_t rate, uint64_t number) {
    __extension__ unsigned __int128 due = number;
    due = due * NS_PER_S * rates[rate].denominator / rates[rate].numerator;
    return due < SCHEDULE_NEVER ? (uint64_t)due : SCHEDULE_NEVER;
}

/* A part of many parts reaches far request numbers in few steps. */
static void check_far(size_t rate, uint64_t far) {
    struct schedule schedule;
    uint32_t parts = 4000000000u, part = (uint32_t)(far % parts);
    schedule_init(&schedule, ARRIVALS_CONSTANT, rates[rate].rate_per_s, 0, part, parts);
    for (uint64_t number = part;; number += parts) {
        assert_int_equal(schedule_number(&schedule), number);
        assert_int_equal(schedule_due_ns(&schedule), due_by_fraction(rate, number));
        if (number == far)
            return;
        schedule_advance(&schedule);
    }
}

static void constant_is_exact_near_and_far(void **state) {
    (void)state;
    for (size_t r = 0; r < ARRAY_LENGTH(rates); r++) {
        struct schedule schedule;
        schedule_init(&schedule, ARRIVALS_CONSTANT, rates[r].rate_per_s, 0, 0, 1);
        for (uint64_t number = 0; number < 20000; number++, schedule_advance(&schedule)) {
            assert_int_equal(schedule_number(&schedule), number);
            assert_int_equal(schedule_due_ns(&schedule), due_by_fraction(r, number));
        }
        check_far(r, 123456789012);
        check_far(r, 999999999999);
        check_far(r, 1000000000000);
    }
}

/* 0.1 is no binary fraction: the double's own value counts, which is a little above. */
static void constant_takes_the_rate_as_the_double_it_is(void **state) {
    (void)state;
    struct schedule schedule;
    uint64_t number = 1000000007;
    schedule_init(&schedule, ARRIVALS_CONSTANT, 0.1, 0, (uint32_t)number, (uint32_t)number + 1);
    /* 0.1 = 3602879701896397 / 2^55 */
    __extension__ unsigned __int128 due = (unsigned __int128)number * NS_PER_S << 55;
    assert_int_equal(schedule_due_ns(&schedule), (uint64_t)(due / 3602879701896397u));
    assert_int_equal(schedule_due_ns(&schedule), 10000000069999999444u);
}

static void constant_hits_every_whole_second(void **state) {
    (void)state;
    struct schedule schedule;
    schedule_init(&schedule, ARRIVALS_CONSTANT, 149, 0, 0, 149);
    for (uint64_t second = 0; second < 100000; second++, schedule_advance(&schedule))
        assert_int_equal(schedule_due_ns(&schedule), second * NS_PER_S);
}

static void beyond_64_bits_is_never(void **state) {
    (void)state;
    struct schedule schedule;
    schedule_init(&schedule, ARRIVALS_CONSTANT, SCHEDULE_RATE_MIN, 0, 18446744, UINT32_MAX);
    assert_int_equal(schedule_due_ns(&schedule), 18446743999999999616u);
    schedule_init(&schedule, ARRIVALS_CONSTANT, SCHEDULE_RATE_MIN, 0, 18446745, UINT32_MAX);
    assert_int_equal(schedule_due_ns(&schedule), SCHEDULE_NEVER);
    /* Soon the product does not fit in 128 bits either: what is left of it may look like a time. */
    for (int i = 0; i < 100000; i++) {
        schedule_advance(&schedule);
        assert_int_equal(schedule_due_ns(&schedule), SCHEDULE_NEVER);
    }
    assert_int_equal(schedule_count_between(&schedule, 0, SCHEDULE_NEVER), 0);

    /* The walk goes on for a million gaps after it has passed the end. */
    schedule_init(&schedule, ARRIVALS_POISSON, SCHEDULE_RATE_MIN, 1, 0, 20000000);
    schedule_advance(&schedule);
    assert_int_equal(schedule_due_ns(&schedule), SCHEDULE_NEVER);
}

/* --- parts --- */

static void parts_together_are_the_whole(void **state) {
    (void)state;
    static const enum arrivals kinds[] = {ARRIVALS_CONSTANT, ARRIVALS_POISSON};
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        for (uint32_t parts = 1; parts <= 7; parts++) {
            struct schedule whole, part[7];
            schedule_init(&whole, kinds[i], 1234.5, 42, 0, 1);
            for (uint32_t p = 0; p < parts; p++)
                schedule_init(&part[p], kinds[i], 1234.5, 42, p, parts);
            for (uint64_t number = 0; number < 5000; number++) {
                struct schedule *owner = &part[number % parts];
                assert_int_equal(schedule_number(&whole), number);
                assert_int_equal(schedule_number(owner), number);
                assert_int_equal(schedule_due_ns(owner), schedule_due_ns(&whole));
                schedule_advance(&whole);
                schedule_advance(owner);
            }
        }
    }
}

/* --- counting --- */

static uint64_t count_by_walking(enum arrivals kind, double rate, uint32_t part, uint32_t parts,
                                 uint64_t from_ns, uint64_t to_ns) {
    struct schedule walk;
    uint64_t count = 0;
    schedule_init(&walk, kind, rate, 42, part, parts);
    for (; schedule_due_ns(&walk) < to_ns; schedule_advance(&walk))
        count += schedule_due_ns(&walk) >= from_ns;
    return count;
}

/* Windows that begin and end at a due time of the whole schedule, or 1 ns off. */
static void check_counts(enum arrivals kind, double rate, uint32_t parts, struct random *random) {
    uint32_t part = (uint32_t)random_next(random) % parts;
    struct schedule schedule, edge;
    schedule_init(&schedule, kind, rate, 42, part, parts);
    for (int i = 0; i < 5; i++)
        schedule_advance(&schedule); /* where the cursor stands must not matter */
    for (int i = 0; i < 60; i++) {
        uint64_t edges_ns[2];
        for (int e = 0; e < 2; e++) {
            schedule_init(&edge, kind, rate, 42, 0, 1);
            for (uint64_t k = random_next(random) % (e == 0 ? 20 : 300); k > 0; k--)
                schedule_advance(&edge);
            edges_ns[e] = schedule_due_ns(&edge) + random_next(random) % 3;
            edges_ns[e] -= edges_ns[e] > 0;
        }
        uint64_t from_ns = edges_ns[0] < edges_ns[1] ? edges_ns[0] : edges_ns[1];
        uint64_t to_ns = edges_ns[0] < edges_ns[1] ? edges_ns[1] : edges_ns[0];
        assert_int_equal(schedule_count_between(&schedule, from_ns, to_ns),
                         count_by_walking(kind, rate, part, parts, from_ns, to_ns));
    }
}

static void counts_are_those_of_walking(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 7);
    for (size_t r = 0; r < ARRAY_LENGTH(rates); r++) {
        for (uint32_t parts = 1; parts <= 5; parts += 2) {
            check_counts(ARRIVALS_CONSTANT, rates[r].rate_per_s, parts, &random);
            check_counts(ARRIVALS_POISSON, rates[r].rate_per_s, parts, &random);
        }
    }
}

static void counts_of_a_second(void **state) {
    (void)state;
    struct schedule schedule;
    schedule_init(&schedule, ARRIVALS_CONSTANT, 999, 0, 0, 1);
    for (uint64_t second = 0; second < 1000; second++)
        assert_int_equal(
            schedule_count_between(&schedule, second * NS_PER_S, (second + 1) * NS_PER_S), 999);
    assert_int_equal(schedule_count_between(&schedule, 5, 5), 0);
    assert_int_equal(schedule_count_between(&schedule, 0, 1), 1);
}

/* --- Poisson arrivals --- */

#define GAPS 2000

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Anderson-Darling statistic for exponential gaps of a mean estimated from themselves, corrected
 * for that. Sorts the gaps. Exponential ones exceed 1.957 with a chance of 1 % (D'Agostino and
 * Stephens, Goodness-of-Fit Techniques, 1986, chapter 4). */
static double anderson_darling(double *gaps, size_t n) {
    double mean = 0, sum = 0;
    qsort(gaps, n, sizeof *gaps, by_value);
    for (size_t i = 0; i < n; i++)
        mean += gaps[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        double below = log(-expm1(-gaps[i] / mean));
        double above = -gaps[n - 1 - i] / mean;
        sum += (double)(2 * i + 1) * (below + above);
    }
    double statistic = -(double)n - sum / (double)n;
    return statistic * (1 + 0.6 / (double)n);
}

#define ANDERSON_DARLING_1_PERCENT 1.957

static void poisson_gaps(double *gaps, double rate, uint64_t seed) {
    struct schedule schedule;
    uint64_t before_ns = 0;
    schedule_init(&schedule, ARRIVALS_POISSON, rate, seed, 0, 1);
    for (size_t i = 0; i < GAPS; i++, schedule_advance(&schedule)) {
        gaps[i] = (double)(schedule_due_ns(&schedule) - before_ns);
        before_ns = schedule_due_ns(&schedule);
    }
}

static void poisson_gaps_are_exponential(void **state) {
    (void)state;
    double gaps[GAPS];
    for (uint64_t seed = 1; seed <= 10; seed++) {
        poisson_gaps(gaps, 1000, seed);
        assert_true(anderson_darling(gaps, GAPS) < ANDERSON_DARLING_1_PERCENT);
    }
}

/* The test above can fail: gaps of the right mean but another shape are far off. */
static void other_gaps_fail_the_test(void **state) {
    (void)state;
    double gaps[GAPS];
    struct random random;
    random_seed(&random, 8);
    for (size_t i = 0; i < GAPS; i++)
        gaps[i] = 2e6 * random_unit(&random);
    assert_true(anderson_darling(gaps, GAPS) > 10 * ANDERSON_DARLING_1_PERCENT);
    poisson_gaps(gaps, 1000, 1);
    for (size_t i = 0; i < GAPS; i++)
        gaps[i] = gaps[i] * 0.9 + 1e5;
    assert_true(anderson_darling(gaps, GAPS) > 10 * ANDERSON_DARLING_1_PERCENT);
}

/* A million arrivals: their mean rate has a standard error of 0.1 %. At 1e9 the gaps are 1 ns,
 * which shows whether fractions are carried. */
static void poisson_keeps_the_mean_rate(void **state) {
    (void)state;
    static const double wanted[] = {51, 20000, 3e6, 1e9};
    for (size_t i = 0; i < ARRAY_LENGTH(wanted); i++) {
        struct schedule schedule;
        schedule_init(&schedule, ARRIVALS_POISSON, wanted[i], 9 + i, 999999, 1000000);
        double rate = 1e6 / ((double)schedule_due_ns(&schedule) / 1e9);
        assert_true(fabs(rate / wanted[i] - 1) < 0.003);
    }
}

/* The same arrivals summed in long double, where a million gaps lose nothing that counts. */
static void poisson_does_not_drift(void **state) {
    (void)state;
    static const double wanted[] = {0.001, 51, 3e6, 1e9};
    for (size_t i = 0; i < ARRAY_LENGTH(wanted); i++) {
        struct schedule schedule;
        struct random random;
        long double sum_ns = 0;
        random_seed(&random, 11);
        schedule_init(&schedule, ARRIVALS_POISSON, wanted[i], 11, 0, 1);
        for (int k = 0; k < 1000000; k++, schedule_advance(&schedule)) {
            sum_ns += -log(random_unit(&random)) * (1e9 / wanted[i]);
            long double error_ns = sum_ns - (long double)schedule_due_ns(&schedule);
            assert_true(error_ns > -0.01L - sum_ns * 0x1p-52L);
            assert_true(error_ns < 1.01L + sum_ns * 0x1p-52L);
        }
    }
}

/* Counts in intervals of 10 requests on average: variance = mean, neighbours are independent. */
static void poisson_counts_scatter_as_they_should(void **state) {
    (void)state;
    enum { INTERVALS = 20000 };
    struct schedule schedule;
    double mean = 0, squares = 0, products = 0, before = 10;
    schedule_init(&schedule, ARRIVALS_POISSON, 1000, 12, 0, 1);
    for (uint64_t i = 0; i < INTERVALS; i++) {
        double count = 0;
        for (; schedule_due_ns(&schedule) < (i + 1) * 10000000; schedule_advance(&schedule))
            count++;
        mean += count / INTERVALS;
        squares += (count - 10) * (count - 10) / INTERVALS;
        products += (count - 10) * (before - 10) / INTERVALS;
        before = count;
    }
    assert_true(fabs(mean - 10) < 0.1);
    assert_true(fabs(squares / 10 - 1) < 0.04);
    assert_true(fabs(products / 10) < 0.03);
}

static void seeds_reproduce_and_differ(void **state) {
    (void)state;
    struct schedule first, same, other;
    schedule_init(&first, ARRIVALS_POISSON, 1000, 1, 0, 1);
    schedule_init(&same, ARRIVALS_POISSON, 1000, 1, 0, 1);
    schedule_init(&other, ARRIVALS_POISSON, 1000, 2, 0, 1);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(schedule_due_ns(&first), schedule_due_ns(&same));
        equal += schedule_due_ns(&first) == schedule_due_ns(&other);
        schedule_advance(&first);
        schedule_advance(&same);
        schedule_advance(&other);
    }
    assert_true(equal < 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_is_exact_near_and_far),
        cmocka_unit_test(constant_takes_the_rate_as_the_double_it_is),
        cmocka_unit_test(constant_hits_every_whole_second),
        cmocka_unit_test(beyond_64_bits_is_never),
        cmocka_unit_test(parts_together_are_the_whole),
        cmocka_unit_test(counts_are_those_of_walking),
        cmocka_unit_test(counts_of_a_second),
        cmocka_unit_test(poisson_gaps_are_exponential),
        cmocka_unit_test(other_gaps_fail_the_test),
        cmocka_unit_test(poisson_keeps_the_mean_rate),
        cmocka_unit_test(poisson_does_not_drift),
        cmocka_unit_test(poisson_counts_scatter_as_they_should),
        cmocka_unit_test(seeds_reproduce_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
