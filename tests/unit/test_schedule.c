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

/* --- ramps --- */

/* Half a second at 1,000/s, then in two seconds to 3,000/s: in x s of the ramp 1000 x + 500 x^2. */
static struct schedule make_ramp(enum arrivals arrivals, uint32_t part, uint32_t parts) {
    struct schedule schedule;
    schedule_init_ramp(&schedule, arrivals, 1000, 3000, 500 * NS_PER_MS, 2 * NS_PER_S, 7, part,
                       parts);
    return schedule;
}

static void a_ramp_is_due_by_its_integral(void **state) {
    static const struct {
        uint64_t number;
        double due_s;
    } expected[] = {
        {0, 0},      {250, 0.25},       {500, 0.5},         {2000, 1.5}, /* 1500 after 1 s */
        {4500, 2.5}, {7500, 2.5 + 1.0}, {500 + 625, 1.0}, /* 625 after half a second */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        struct schedule schedule = make_ramp(ARRIVALS_CONSTANT, 0, 1);
        for (uint64_t k = 0; k < expected[i].number; k++)
            schedule_advance(&schedule);
        assert_int_equal(schedule_number(&schedule), expected[i].number);
        assert_true(fabs((double)schedule_due_ns(&schedule) - expected[i].due_s * 1e9) <= 1.5);
    }
}

static void a_falling_ramp_is_the_rising_one_backwards(void **state) {
    (void)state;
    struct schedule up, down;
    schedule_init_ramp(&up, ARRIVALS_CONSTANT, 10, 1000, 0, NS_PER_S, 0, 0, 1);
    schedule_init_ramp(&down, ARRIVALS_CONSTANT, 1000, 10, 0, NS_PER_S, 0, 0, 1);
    uint64_t up_ns[506], down_ns[506]; /* 505 in the ramp */
    for (size_t k = 0; k <= 505; k++) {
        up_ns[k] = schedule_due_ns(&up);
        down_ns[k] = schedule_due_ns(&down);
        schedule_advance(&up);
        schedule_advance(&down);
    }
    for (size_t k = 0; k <= 505; k++)
        assert_true(llabs((long long)(NS_PER_S - up_ns[505 - k]) - (long long)down_ns[k]) <= 2);
}

static void a_level_ramp_is_a_constant_rate(void **state) {
    (void)state;
    struct schedule level, constant;
    schedule_init_ramp(&level, ARRIVALS_CONSTANT, 777, 777, NS_PER_S, NS_PER_S, 0, 0, 1);
    schedule_init(&constant, ARRIVALS_CONSTANT, 777, 0, 0, 1);
    for (int k = 0; k < 4000; k++) {
        assert_true(llabs((long long)schedule_due_ns(&level) -
                          (long long)schedule_due_ns(&constant)) <= 1);
        schedule_advance(&level);
        schedule_advance(&constant);
    }
}

static void parts_and_counts_of_ramps(void **state) {
    static const uint64_t edges_ns[] = {0,          1,          500000000,  500000001,
                                        1499999999, 1500000000, 2500000000, 3100000000};
    (void)state;
    for (int arrivals = ARRIVALS_CONSTANT; arrivals <= ARRIVALS_POISSON; arrivals++) {
        struct schedule whole = make_ramp(arrivals, 0, 1), parts[3];
        uint64_t counts[ARRAY_LENGTH(edges_ns)] = {0};
        for (uint32_t part = 0; part < 3; part++)
            parts[part] = make_ramp(arrivals, part, 3);
        for (; schedule_due_ns(&whole) < 4 * NS_PER_S; schedule_advance(&whole)) {
            struct schedule *part = &parts[schedule_number(&whole) % 3];
            assert_int_equal(schedule_due_ns(part), schedule_due_ns(&whole));
            schedule_advance(part);
            for (size_t i = 0; i < ARRAY_LENGTH(edges_ns); i++)
                counts[i] += schedule_due_ns(&whole) < edges_ns[i];
        }
        for (size_t i = 0; i < ARRAY_LENGTH(edges_ns); i++) {
            uint64_t of_parts = 0;
            for (uint32_t part = 0; part < 3; part++)
                of_parts += schedule_count_between(&parts[part], 0, edges_ns[i]);
            assert_int_equal(schedule_count_between(&whole, 0, edges_ns[i]), counts[i]);
            assert_int_equal(of_parts, counts[i]);
        }
    }
}

/* 4,500 are due in the first 2.5 s: 10 runs scatter by sqrt(45,000) = 212; 5 of that is too far. */
static void a_poisson_ramp_has_the_ramps_counts(void **state) {
    (void)state;
    uint64_t sum = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct schedule schedule;
        schedule_init_ramp(&schedule, ARRIVALS_POISSON, 1000, 3000, 500 * NS_PER_MS, 2 * NS_PER_S,
                           seed, 0, 1);
        sum += schedule_count_between(&schedule, 0, 2500 * NS_PER_MS);
    }
    assert_in_range(sum, 45000 - 1060, 45000 + 1060);
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
        cmocka_unit_test(a_ramp_is_due_by_its_integral),
        cmocka_unit_test(a_falling_ramp_is_the_rising_one_backwards),
        cmocka_unit_test(a_level_ramp_is_a_constant_rate),
        cmocka_unit_test(parts_and_counts_of_ramps),
        cmocka_unit_test(a_poisson_ramp_has_the_ramps_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
