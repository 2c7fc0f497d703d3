/* Statistics against R (tests/data/wilcoxon.json), brute force, published tables and planted
 * changes; random numbers against the generators' published outputs. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "harness/random.h"
#include "harness/statistics.h"
#include "loops/check.h"

static void assert_close(double actual, double expected, double tolerance, const char *what) {
    if (actual == expected || fabs(actual - expected) <= tolerance)
        return;
    fail_msg("%s: got %.17g, expected %.17g", what, actual, expected);
}

static json_t *load_vectors(void) {
    const char *source = getenv("LOOPMARK_SOURCE");
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof(path), "%s/tests/data/wilcoxon.json", source ? source : ".");
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s:%d: %s (LOOPMARK_SOURCE names the source tree)", path, error.line, error.text);
    return root;
}

static size_t read_numbers(const json_t *array, double *numbers, size_t room) {
    size_t n = json_array_size(array);
    assert_true(n > 0 && n <= room);
    for (size_t i = 0; i < n; i++)
        numbers[i] = json_number_value(json_array_get(array, i));
    return n;
}

static void check_vector(const json_t *vector) {
    const char *name = json_string_value(json_object_get(vector, "name"));
    double values[STATISTICS_MAX_VALUES], p;
    struct interval interval;
    size_t n = read_numbers(json_object_get(vector, "values"), values, ARRAY_LENGTH(values));
    const json_t *low = json_object_get(vector, "low"), *high = json_object_get(vector, "high");
    double confidence = json_number_value(json_object_get(vector, "confidence"));

    assert_int_equal(signed_rank_test(values, n, &p), 0);
    assert_int_equal(hodges_lehmann(values, n, confidence, &interval), 0);
    double expected_p = json_number_value(json_object_get(vector, "p"));
    assert_close(p, expected_p, 1e-12 * expected_p, name);
    assert_close(interval.estimate, json_number_value(json_object_get(vector, "estimate")), 1e-12,
                 name);
    assert_int_equal(interval.n, n);
    assert_int_equal(interval.bounded, json_is_number(low));
    assert_close(interval.low, interval.bounded ? json_number_value(low) : -INFINITY, 1e-12, name);
    assert_close(interval.high, interval.bounded ? json_number_value(high) : INFINITY, 1e-12, name);
}

static void test_r_vectors(void **state) {
    (void)state;
    json_t *root = load_vectors(), *vector;
    const json_t *vectors = json_object_get(root, "vectors");
    size_t i;
    assert_true(json_array_size(vectors) >= 100);
    json_array_foreach(vectors, i, vector) check_vector(vector);
    json_decref(root);
}

static void test_holm_agrees_with_r(void **state) {
    (void)state;
    json_t *root = load_vectors(), *family;
    const json_t *families = json_object_get(root, "holm");
    size_t i;
    assert_true(json_array_size(families) > 0);
    json_array_foreach(families, i, family) {
        double p[16], expected[16], adjusted[16];
        size_t n = read_numbers(json_object_get(family, "p"), p, 16);
        assert_int_equal(read_numbers(json_object_get(family, "adjusted"), expected, 16), n);
        holm_adjust(p, n, adjusted);
        for (size_t j = 0; j < n; j++)
            assert_close(adjusted[j], expected[j], 1e-12, "holm");
    }
    json_decref(root);
}

/* Mean rank of |values[i]| by counting, and all 2^n signs one by one: slow, with nothing shared
 * with the code under test. */
static double enumerated_p(const double *values, size_t n) {
    double ranks[16], observed = 0, least = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t below = 0, equal = 0;
        for (size_t j = 0; j < n; j++) {
            below += fabs(values[j]) < fabs(values[i]);
            equal += fabs(values[j]) == fabs(values[i]);
        }
        double rank = (double)below + ((double)equal + 1) / 2;
        observed += values[i] > 0 ? rank : values[i] < 0 ? -rank : 0;
        if (values[i] != 0)
            ranks[count++] = rank;
    }
    for (uint32_t signs = 0; signs < 1u << count; signs++) {
        double sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += signs >> i & 1 ? ranks[i] : -ranks[i];
        least += fabs(sum) >= fabs(observed);
    }
    return least / (double)(1u << count);
}

static void test_p_equals_enumeration_with_ties_and_zeros(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 1);
    for (size_t round = 0; round < 400; round++) {
        double values[16], p;
        size_t n = 1 + (size_t)random_below(&random, round < 8 ? 16 : 12);
        for (size_t i = 0; i < n; i++)
            values[i] = (double)random_below(&random, 11) - 4; /* -4 … 6 */
        assert_int_equal(signed_rank_test(values, n, &p), 0);
        assert_close(p, enumerated_p(values, n), 1e-12, "p");
    }
}

/* Pratt and Wilcoxon disagree here: with zeros dropped before ranking, p would be 2*5/2^6. */
static void test_zeros_are_ranked_then_left_out(void **state) {
    (void)state;
    const double values[] = {0, 0, 0, 0, 1, 2, -3, 4, 5, 6};
    double p;
    assert_int_equal(signed_rank_test(values, ARRAY_LENGTH(values), &p), 0);
    /* Ranks 5 … 10 for the six; sums up to 7: none of them, 5, 6, 7. */
    assert_close(p, 2 * 4 / 64.0, 0, "p");
}

/* The depths and exact coverages of the signed-rank interval (qsignrank and psignrank in R). */
static const struct {
    size_t n;
    double smallest_p;
    int depth_95;
    double coverage_95;
    int depth_99;
    double coverage_99;
} depths[] = {
    {5, 0.0625, -1, 1, -1, 1},           {6, 0.03125, 0, 0.969, -1, 1},
    {8, 0.0078125, 3, 0.961, 0, 0.992},  {10, 0x1p-9, 8, 0.951, 3, 0.990},
    {12, 0x1p-11, 13, 0.958, 7, 0.991},  {16, 0x1p-15, 29, 0.956, 19, 0.991},
    {20, 0x1p-19, 52, 0.952, 37, 0.991}, {24, 0x1p-23, 81, 0.951, 61, 0.990},
};

static void test_depth_table(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(depths); i++) {
        double coverage, values[24], p;
        assert_int_equal(signed_rank_depth(depths[i].n, 0.95, &coverage), depths[i].depth_95);
        assert_close(coverage, depths[i].coverage_95, 0.0005, "coverage at 95 %");
        assert_int_equal(signed_rank_depth(depths[i].n, 0.99, &coverage), depths[i].depth_99);
        assert_close(coverage, depths[i].coverage_99, 0.0005, "coverage at 99 %");
        for (size_t j = 0; j < depths[i].n; j++)
            values[j] = 1 + (double)j;
        assert_int_equal(signed_rank_test(values, depths[i].n, &p), 0);
        assert_close(p, depths[i].smallest_p, 0, "smallest p");
    }
    assert_int_equal(signed_rank_depth(7, 0.99, NULL), -1);
    assert_int_equal(signed_rank_depth(5, 0.90, NULL), 0);
}

/* The test rejects a centre exactly if the interval leaves it out: two codes, one statement. */
static void test_interval_and_test_agree(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 2);
    for (size_t round = 0; round < 500; round++) {
        double values[30], p;
        struct interval interval;
        size_t n = 6 + (size_t)random_below(&random, 25);
        for (size_t i = 0; i < n; i++)
            values[i] = random_unit(&random) - 0.35;
        assert_int_equal(signed_rank_test(values, n, &p), 0);
        assert_int_equal(hodges_lehmann(values, n, 0.95, &interval), 0);
        assert_int_equal(p <= 0.05, interval.low > 0 || interval.high < 0);
    }
}

static void test_median(void **state) {
    (void)state;
    double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2}, one[] = {7};
    assert_close(median_in_place(odd, 3), 5, 0, "odd");
    assert_close(median_in_place(even, 4), 2.5, 0, "even");
    assert_close(median_in_place(one, 1), 7, 0, "one");
}

/* The published depths of the sign test's interval for the median, and two that can be added up by
 * hand: P(B <= 0) of 6 throws is 1/64, of 5 throws 1/32. */
static void test_median_interval(void **state) {
    (void)state;
    static const struct {
        size_t n, low; /* ranks from 1; 0: no interval */
        double coverage;
    } cases[] = {
        {1, 0, 1},
        {5, 0, 1},
        {6, 1, 1 - 2.0 / 64},
        {8, 1, 0.9921875},
        {9, 2, 0.9609375},
        {10, 2, 0.978515625},
        {20, 6, 0.958610535},
        {100, 40, 0.9647998},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        double values[100];
        struct interval interval;
        size_t n = cases[i].n, low = cases[i].low;
        for (size_t k = 0; k < n; k++)
            values[k] = (double)((k * 37) % n + 1) * ((k * 37) % n + 1); /* no symmetry */
        assert_int_equal(median_interval(values, n, 0.95, &interval), 0);
        assert_int_equal(interval.bounded, low > 0);
        assert_int_equal(interval.n, n);
        assert_close(interval.coverage, cases[i].coverage, 1e-7, "coverage");
        assert_close(interval.low, low ? (double)(low * low) : -INFINITY, 0, "low");
        double high = (double)(n + 1 - low);
        assert_close(interval.high, low ? high * high : INFINITY, 0, "high");
        assert_close(interval.estimate, median_in_place(values, n), 0, "estimate");
    }
}

/* Lopsided values, as of a machine that is slowed down now and then: the median lies within its
 * own interval. */
static void test_median_is_in_its_interval(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 3);
    for (size_t round = 0; round < 200; round++) {
        double values[STATISTICS_MAX_VALUES];
        struct interval interval;
        size_t n = 6 + (size_t)random_below(&random, STATISTICS_MAX_VALUES - 5);
        for (size_t i = 0; i < n; i++)
            values[i] = 7 + exp(6 * random_unit(&random) - 4);
        assert_int_equal(median_interval(values, n, 0.95, &interval), 0);
        assert_true(interval.bounded && interval.coverage >= 0.95);
        assert_true(interval.low <= interval.estimate && interval.estimate <= interval.high);
    }
}

static void test_largest_n(void **state) {
    (void)state;
    double values[STATISTICS_MAX_VALUES + 1], p;
    struct interval interval;
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        values[i] = 1 + (double)i;
    assert_int_equal(signed_rank_test(values, STATISTICS_MAX_VALUES, &p), 0);
    assert_close(p, ldexp(1, 1 - STATISTICS_MAX_VALUES), 0, "p"); /* nothing underflows */
    assert_int_equal(hodges_lehmann(values, STATISTICS_MAX_VALUES, 0.95, &interval), 0);
    assert_close(interval.estimate, (STATISTICS_MAX_VALUES + 1) / 2.0, 0, "estimate");
    assert_true(interval.bounded && interval.coverage >= 0.95 && interval.coverage < 0.951);
    assert_int_equal(signed_rank_test(values, ARRAY_LENGTH(values), &p), -E2BIG);
    assert_int_equal(hodges_lehmann(values, ARRAY_LENGTH(values), 0.95, &interval), -E2BIG);
}

static void test_values_that_are_none(void **state) {
    (void)state;
    const double good[] = {1, 2, 3};
    const double bad[][3] = {{1, NAN, 3}, {1, INFINITY, 3}, {1, 0, 3}, {1, -2, 3}};
    struct comparison comparison;
    struct interval interval;
    double p;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(compare_blocks(bad[i], good, 3, 0.95, &comparison), -EINVAL);
        assert_int_equal(compare_blocks(good, bad[i], 3, 0.95, &comparison), -EINVAL);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(signed_rank_test(bad[i], 3, &p), -EINVAL);
        assert_int_equal(median_interval(bad[i], 3, 0.95, &interval), -EINVAL);
        assert_int_equal(hodges_lehmann(bad[i], 3, 0.95, &interval), -EINVAL);
    }
    assert_int_equal(signed_rank_test(good, 0, &p), -EINVAL);
    assert_int_equal(compare_blocks(good, good, 0, 0.95, &comparison), -EINVAL);
    assert_int_equal(compare_blocks(good, good, 3, 1, &comparison), -EINVAL);
    assert_int_equal(compare_blocks(good, good, 3, 0.5, &comparison), -EINVAL);
    assert_int_equal(hodges_lehmann(good, 3, NAN, &interval), -EINVAL);
    assert_int_equal(median_interval(good, 3, 1, &interval), -EINVAL);
}

static double normal(struct random *random) {
    double radius = sqrt(-2 * log(random_unit(random)));
    return radius * cos(2 * M_PI * random_unit(random));
}

/* Blocks of one machine, whose speed changes between blocks by far more than the change sought. */
static void draw_blocks(struct random *random, size_t blocks, double ratio, double spread,
                        double *a, double *b) {
    for (size_t i = 0; i < blocks; i++) {
        b[i] = 50000 * exp(0.3 * normal(random));
        a[i] = b[i] * ratio * exp(spread * normal(random));
    }
}

static void test_comparison_of_known_blocks(void **state) {
    (void)state;
    const double a[] = {2, 8, 24, 64, 160, 384}, b[] = {1, 2, 3, 4, 5, 6}; /* ratios 2^1 … 2^6 */
    struct comparison comparison, swapped;
    assert_int_equal(compare_blocks(a, b, 6, 0.95, &comparison), 0);
    assert_int_equal(comparison.blocks, 6);
    assert_close(comparison.estimate, exp2(3.5), 1e-12, "estimate");
    assert_close(comparison.low, 2, 1e-12, "low");
    assert_close(comparison.high, 64, 1e-12, "high");
    assert_close(comparison.p, 0.03125, 0, "p");
    assert_true(comparison.bounded);
    /* The variance of 1 … 6 is 3.5. */
    assert_close(comparison.spread, M_LN2 * sqrt(3.5), 1e-12, "spread");
    assert_true(comparison.equivalence.bounded);
    assert_close(comparison.equivalence.low, exp2(2), 1e-12, "equivalence"); /* depth 2 at 90 % */

    assert_int_equal(compare_blocks(b, a, 6, 0.95, &swapped), 0);
    assert_close(swapped.p, comparison.p, 0, "p");
    assert_close(swapped.low, 1 / comparison.high, 1e-12, "low");

    assert_int_equal(compare_blocks(a, b, 5, 0.95, &comparison), 0);
    assert_false(comparison.bounded);
    assert_true(comparison.low == 0 && comparison.high == INFINITY);
    assert_int_equal(compare_blocks(a, b, 1, 0.95, &comparison), 0);
    assert_close(comparison.spread, 0, 0, "spread");
}

struct tally {
    size_t rounds, excludes_one, covers_truth, verdicts[VERDICT_INVALID + 1];
};

static struct tally simulate(uint64_t seed, size_t rounds, size_t blocks, double ratio,
                             double spread) {
    const struct gate gate = {.alpha = 0.05, .margin = 0.03, .higher_is_better = true};
    struct tally tally = {.rounds = rounds};
    struct random random;
    random_seed(&random, seed);
    for (size_t round = 0; round < rounds; round++) {
        double a[64], b[64];
        struct comparison comparison;
        CHECK(blocks <= ARRAY_LENGTH(a));
        draw_blocks(&random, blocks, ratio, spread, a, b);
        CHECK(!compare_blocks(a, b, blocks, 0.95, &comparison));
        tally.excludes_one += comparison.low > 1 || comparison.high < 1;
        tally.covers_truth += comparison.low <= ratio && ratio <= comparison.high;
        tally.verdicts[judge(&comparison, comparison.p, &gate)]++;
    }
    return tally;
}

/* 12 blocks: exact coverage 95.8 %, so of 2000 about 1915 hold the truth, standard deviation 9. */
static void test_same_against_same(void **state) {
    (void)state;
    struct tally tally = simulate(3, 2000, 12, 1, 0.04);
    assert_in_range(tally.covers_truth, 1880, 1950);
    assert_int_equal(tally.excludes_one, tally.rounds - tally.covers_truth);
    assert_true(tally.verdicts[VERDICT_IMPROVED] + tally.verdicts[VERDICT_REGRESSED] < 100);
}

static void test_planted_change_is_found(void **state) {
    (void)state;
    struct tally gain = simulate(4, 500, 12, 1.05, 0.02), loss = simulate(5, 500, 12, 0.95, 0.02);
    assert_true(gain.excludes_one >= 499 && loss.excludes_one >= 499);
    assert_in_range(gain.covers_truth, 460, 495);
    assert_true(gain.verdicts[VERDICT_IMPROVED] >= 490 && gain.verdicts[VERDICT_REGRESSED] == 0);
    assert_true(loss.verdicts[VERDICT_REGRESSED] >= 490 && loss.verdicts[VERDICT_IMPROVED] == 0);
}

/* The planning formula keeps its word: at the predicted number of blocks about 80 % are found. */
static void test_predicted_blocks_have_the_promised_power(void **state) {
    (void)state;
    struct tally tally = simulate(6, 1000, blocks_to_detect(0.05, 0.05, 0.05), 1.05, 0.05);
    assert_in_range(tally.excludes_one, 730, 870);
}

/* Drift that would fool any unpaired test; only the coin decides which contender it favours. */
static void test_coin_makes_drift_harmless(void **state) {
    (void)state;
    struct random random;
    size_t rejected = 0;
    random_seed(&random, 7);
    for (size_t round = 0; round < 4000; round++) {
        double differences[12], p;
        for (size_t i = 0; i < 12; i++)
            differences[i] = (random_next(&random) >> 63 ? 1 : -1) * (0.1 + 0.02 * (double)(i * i));
        assert_int_equal(signed_rank_test(differences, 12, &p), 0);
        rejected += p <= 0.05;
    }
    assert_in_range(rejected, 130, 208); /* expected 4.2 %, 170, standard deviation 13 */
}

/* Forty quiet blocks can show "same"; six noisy ones cannot show anything. */
static void test_few_blocks_are_inconclusive(void **state) {
    (void)state;
    struct tally few = simulate(8, 500, 6, 1, 0.05), many = simulate(9, 500, 40, 1, 0.03);
    assert_true(few.verdicts[VERDICT_INCONCLUSIVE] > 400);
    assert_true(many.verdicts[VERDICT_SAME] > 450);
}

static const struct {
    double estimate, p, low, high;
    bool bounded, higher_is_better;
    enum verdict verdict;
} judgements[] = {
    {1.05, 0.01, 1.02, 1.08, true, true, VERDICT_IMPROVED},
    {1.05, 0.01, 1.02, 1.08, true, false, VERDICT_REGRESSED},
    {0.95, 0.01, 0.92, 0.98, true, true, VERDICT_REGRESSED},
    {0.95, 0.01, 0.92, 0.98, true, false, VERDICT_IMPROVED},
    {1.05, 0.05, 1.02, 1.08, true, true, VERDICT_IMPROVED}, /* alpha itself rejects */
    {1.05, 0.0501, 1.02, 1.08, true, true, VERDICT_INCONCLUSIVE},
    {1.02, 0.01, 1.01, 1.04, true, true, VERDICT_BELOW_MARGIN},
    {0.98, 0.01, 0.97, 0.99, true, true, VERDICT_BELOW_MARGIN},
    {1 / 1.031, 0.01, 0.96, 0.98, true, true, VERDICT_REGRESSED}, /* the margin: -2.9 % */
    {1.00, 0.80, 0.98, 1.02, true, true, VERDICT_SAME},
    {1.00, 0.80, 0.96, 1.02, true, true, VERDICT_INCONCLUSIVE},
    {1.00, 0.80, 0.98, 1.04, true, true, VERDICT_INCONCLUSIVE},
    {1.00, 0.80, 0, INFINITY, false, true, VERDICT_INCONCLUSIVE},
};

static void test_judge(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(judgements); i++) {
        struct comparison comparison = {
            .estimate = judgements[i].estimate,
            .equivalence = {.low = judgements[i].low,
                            .high = judgements[i].high,
                            .bounded = judgements[i].bounded},
        };
        struct gate gate = {.alpha = 0.05, .margin = 0.03};
        gate.higher_is_better = judgements[i].higher_is_better;
        assert_string_equal(verdict_name(judge(&comparison, judgements[i].p, &gate)),
                            verdict_name(judgements[i].verdict));
    }
}

static void test_verdict_names_are_the_contract(void **state) {
    (void)state;
    static const char *const names[] = {"improved",     "regressed",    "same",
                                        "below-margin", "inconclusive", "invalid"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        assert_string_equal(verdict_name((enum verdict)i), names[i]);
}

static const struct {
    double spread, mde_n10, mde_n10_strict, mde_n20;
    size_t blocks, blocks_strict; /* for 5 %; strict: alpha 0.01 */
} plans[] = {
    {0.02, 0.020, 0.028, 0.014, 6, 8}, /* the formula says 4 and 6, with which no test can reject */
    {0.03, 0.031, 0.042, 0.020, 6, 9},    {0.05, 0.052, 0.071, 0.034, 11, 17},
    {0.08, 0.085, 0.116, 0.056, 25, 37},  {0.10, 0.107, 0.147, 0.070, 37, 55},
    {0.15, 0.164, 0.228, 0.107, 80, 120},
};

static void test_planning(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(plans); i++) {
        double spread = plans[i].spread;
        assert_close(minimal_detectable_effect(spread, 10, 0.05), plans[i].mde_n10, 0.0006, "mde");
        assert_close(minimal_detectable_effect(spread, 10, 0.01), plans[i].mde_n10_strict, 0.0006,
                     "mde");
        assert_close(minimal_detectable_effect(spread, 20, 0.05), plans[i].mde_n20, 0.0006, "mde");
        assert_int_equal(blocks_to_detect(spread, 0.05, 0.05), plans[i].blocks);
        assert_int_equal(blocks_to_detect(spread, 0.05, 0.01), plans[i].blocks_strict);
    }
    assert_true(isinf(minimal_detectable_effect(0.02, 5, 0.05)));
    assert_int_equal(blocks_to_reject(0.05, 1), 6);
    assert_int_equal(blocks_to_reject(0.05, 10), 9);
    assert_int_equal(blocks_to_reject(0.05, 20), 10);
    assert_int_equal(blocks_to_reject(0.05, 40), 11);
    assert_int_equal(blocks_to_reject(0.0625, 1), 5);
}

/* Published first outputs of both generators. */
static void test_random_known_outputs(void **state) {
    (void)state;
    static const uint64_t splitmix[] = {
        UINT64_C(6457827717110365317), UINT64_C(3203168211198807973), UINT64_C(9817491932198370423),
        UINT64_C(4593380528125082431)};
    static const uint64_t xoshiro[] = {UINT64_C(11520),
                                       UINT64_C(0),
                                       UINT64_C(1509978240),
                                       UINT64_C(1215971899390074240),
                                       UINT64_C(1216172134540287360),
                                       UINT64_C(607988272756665600)};
    struct random random;
    random_seed(&random, 1234567);
    assert_memory_equal(random.state, splitmix, sizeof(splitmix));
    random = (struct random){.state = {1, 2, 3, 4}};
    for (size_t i = 0; i < ARRAY_LENGTH(xoshiro); i++)
        assert_true(random_next(&random) == xoshiro[i]);
}

static void test_random_below_is_even(void **state) {
    (void)state;
    struct random random;
    size_t counts[3] = {0};
    /* Three quarters of the range: unguarded, multiples of 3 would come twice as often. */
    const uint64_t n = UINT64_C(3) << 62;
    random_seed(&random, 10);
    for (size_t i = 0; i < 30000; i++)
        counts[random_below(&random, n) % 3]++;
    for (size_t i = 0; i < 3; i++)
        assert_in_range(counts[i], 9700, 10300);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(random_below(&random, 7) < 7);
        assert_true(random_below(&random, 1) == 0);
    }
}

/* The extremes of the underlying bits, forced: output is 9 * rotl(5 * s[1], 7), so s[1] decides. */
static void test_random_unit_is_open(void **state) {
    (void)state;
    struct random lowest = {.state = {1, 0, 0, 0}};
    assert_true(random_unit(&lowest) > 0);

    /* Times the inverses of 9 and of 5 modulo 2^64. */
    uint64_t all_ones_over_9 = UINT64_MAX * UINT64_C(0x8e38e38e38e38e39);
    uint64_t before_rotation = all_ones_over_9 >> 7 | all_ones_over_9 << 57;
    struct random highest = {.state = {1, before_rotation * UINT64_C(0xcccccccccccccccd), 0, 0}};
    struct random copy = highest;
    assert_true(random_next(&copy) == UINT64_MAX);
    assert_true(random_unit(&highest) < 1);
}

static void test_shuffle_reaches_every_order_evenly(void **state) {
    (void)state;
    struct random random;
    size_t counts[27] = {0}, orders = 0;
    random_seed(&random, 11);
    for (size_t i = 0; i < 12000; i++) {
        uint32_t items[] = {0, 1, 2};
        random_shuffle(&random, items, 3);
        counts[items[0] * 9 + items[1] * 3 + items[2]]++;
    }
    for (size_t i = 0; i < 27; i++) {
        orders += counts[i] > 0;
        if (counts[i])
            assert_in_range(counts[i], 1840, 2160); /* 2000, standard deviation 41 */
    }
    assert_int_equal(orders, 6);
    random_shuffle(&random, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_r_vectors),
        cmocka_unit_test(test_holm_agrees_with_r),
        cmocka_unit_test(test_p_equals_enumeration_with_ties_and_zeros),
        cmocka_unit_test(test_zeros_are_ranked_then_left_out),
        cmocka_unit_test(test_depth_table),
        cmocka_unit_test(test_interval_and_test_agree),
        cmocka_unit_test(test_median),
        cmocka_unit_test(test_median_interval),
        cmocka_unit_test(test_median_is_in_its_interval),
        cmocka_unit_test(test_largest_n),
        cmocka_unit_test(test_values_that_are_none),
        cmocka_unit_test(test_comparison_of_known_blocks),
        cmocka_unit_test(test_same_against_same),
        cmocka_unit_test(test_planted_change_is_found),
        cmocka_unit_test(test_predicted_blocks_have_the_promised_power),
        cmocka_unit_test(test_coin_makes_drift_harmless),
        cmocka_unit_test(test_few_blocks_are_inconclusive),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_verdict_names_are_the_contract),
        cmocka_unit_test(test_planning),
        cmocka_unit_test(test_random_known_outputs),
        cmocka_unit_test(test_random_below_is_even),
        cmocka_unit_test(test_random_unit_is_open),
        cmocka_unit_test(test_shuffle_reaches_every_order_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
