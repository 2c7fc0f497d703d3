/* test_histogram.c: against sorted samples, binomial sums and HdrHistogram's own text. */
#include "harness/histogram.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/random.h"
#include "loops/check.h"

#define SAMPLES_MAX 5000

/* All that a test fills, empty at its beginning. Too large for the stack. */
struct bench {
    struct recorder recorder;
    struct histogram histogram, other;
    uint64_t counts[2][RECORDER_COUNTERS];
    uint64_t samples[SAMPLES_MAX];
};

static int bench_setup(void **state) {
    struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof *bench);
    if (bench == NULL)
        return -1;
    memset(bench, 0, sizeof *bench);
    histogram_open_in(&bench->histogram, &histogram_standard, bench->counts[0]);
    histogram_open_in(&bench->other, &histogram_standard, bench->counts[1]);
    *state = bench;
    return 0;
}

static int bench_teardown(void **state) {
    free(*state);
    return 0;
}

static void bench_clear(struct bench *bench) {
    recorder_reset(&bench->recorder);
    histogram_reset(&bench->histogram);
}

/* --- the layout --- */

/* HdrHistogram's definition, by search instead of by bit count. */
static uint32_t index_by_definition(uint64_t value) {
    uint32_t bucket = 0;
    while (value >> bucket >= RECORDER_SUB_BUCKETS)
        bucket++;
    uint64_t half = RECORDER_SUB_BUCKETS / 2;
    return (uint32_t)((bucket + 1) * half + (value >> bucket) - half);
}

static void check_index(uint64_t value) {
    uint32_t index = recorder_index(value);
    assert_int_equal(index, index_by_definition(value));
    uint64_t lowest = histogram_lowest_equivalent(&histogram_standard, index);
    uint64_t highest = histogram_highest_equivalent(&histogram_standard, index);
    assert_true(lowest <= value && value <= highest);
    assert_true((highest - lowest) * 1024 <= lowest);
}

static void index_follows_the_definition_at_every_edge(void **state) {
    (void)state;
    static const uint64_t edges[] = {0, 1, 2, 1023, 1024, 2047, 2048, 2049, 4095, 4096, 4097};
    for (size_t i = 0; i < ARRAY_LENGTH(edges); i++)
        check_index(edges[i]);
    for (int bit = 1; bit < 42; bit++)
        for (int64_t off = -2; off <= 2; off++)
            check_index(((uint64_t)1 << bit) + (uint64_t)(bit > 1 ? off : 0));
    check_index(RECORDER_HIGHEST - 1);
    check_index(RECORDER_HIGHEST);
    assert_int_equal(recorder_index(RECORDER_HIGHEST), RECORDER_COUNTERS - 1);
    assert_int_equal(recorder_index(RECORDER_HIGHEST + 1), RECORDER_COUNTERS - 1);
    assert_int_equal(recorder_index(UINT64_MAX), RECORDER_COUNTERS - 1);
}

static void equivalent_ranges_tile_the_values(void **state) {
    (void)state;
    uint64_t next = 0;
    for (uint32_t i = 0; i < RECORDER_COUNTERS; i++) {
        assert_int_equal(histogram_lowest_equivalent(&histogram_standard, i), next);
        assert_int_equal(recorder_index(next), i);
        next = histogram_highest_equivalent(&histogram_standard, i) + 1;
        assert_int_equal(recorder_index(next - 1), i);
    }
    assert_int_equal(next, RECORDER_HIGHEST + 1);
}

/* Counters and memory as HdrHistogram's own versions have them for the same settings. */
static void layouts_are_hdrhistograms(void **state) {
    (void)state;
    static const struct {
        uint64_t lowest, highest;
        uint32_t digits, counters;
    } cases[] = {
        {1, (UINT64_C(1) << 36) - 1, 2, 3840},
        {1, (UINT64_C(1) << 36) - 1, 3, 27648},
        {1, (UINT64_C(1) << 36) - 1, 4, 376832},
        {1, RECORDER_HIGHEST, 2, 4608},
        {1, RECORDER_HIGHEST, 3, 33792},
        {1, RECORDER_HIGHEST, 4, 475136},
        {1, 60000000, 3, 17408},
        {1000, 60000000000, 3, 18432},
        {1, 3600000000, 3, 23552},
        {1, 2, 1, 32},
        {1, 31, 1, 32},
        {1, 32, 1, 48},
        {UINT64_C(1) << 57, UINT64_C(1) << 62, 1, 48},
        {1, INT64_MAX, 5, 6160384},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct histogram_layout layout;
        assert_int_equal(
            histogram_layout_init(&layout, cases[i].lowest, cases[i].highest, cases[i].digits), 0);
        assert_int_equal(layout.counters, cases[i].counters);
        uint32_t last = layout.counters - 1;
        assert_true(histogram_highest_equivalent(&layout, last) >= cases[i].highest);
        assert_true(histogram_highest_equivalent(&layout, last) <= INT64_MAX);
    }
    struct histogram_layout same;
    assert_int_equal(histogram_layout_init(&same, 1, RECORDER_HIGHEST, RECORDER_DIGITS), 0);
    assert_true(histogram_layout_equal(&same, &histogram_standard));
    assert_int_equal(same.unit_magnitude, histogram_standard.unit_magnitude);
    assert_int_equal(same.half_magnitude, histogram_standard.half_magnitude);
    assert_int_equal(same.buckets, histogram_standard.buckets);
    assert_int_equal(same.counters, histogram_standard.counters);
}

static void impossible_layouts_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t lowest, highest;
        uint32_t digits;
    } cases[] = {
        {0, 1000, 3},
        {1, 1, 3},
        {1, 1000, 0},
        {1, 1000, 6},
        {600, 1199, 3},
        {1, UINT64_C(1) << 63, 3},
        {UINT64_C(1) << 60, INT64_MAX, 5},
        {UINT64_MAX, UINT64_MAX, 1},
    };
    struct histogram_layout layout;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(
            histogram_layout_init(&layout, cases[i].lowest, cases[i].highest, cases[i].digits),
            -EINVAL);
}

/* Any layout: ranges follow each other without a gap, no wider than the digits promise, and each
 * value finds its own. */
static void every_layout_tiles_the_values(void **state) {
    (void)state;
    static const uint64_t lowest[] = {1, 2, 3, 7, 1000, 1024, UINT64_C(1) << 40};
    for (size_t k = 0; k < ARRAY_LENGTH(lowest); k++)
        for (uint32_t digits = 1; digits <= 4; digits++) {
            struct histogram_layout layout;
            uint64_t next = 0;
            assert_int_equal(histogram_layout_init(&layout, lowest[k], lowest[k] * 100000, digits),
                             0);
            for (uint32_t i = 0; i < layout.counters; i++) {
                uint64_t first = histogram_lowest_equivalent(&layout, i);
                uint64_t last = histogram_highest_equivalent(&layout, i);
                assert_int_equal(first, next);
                assert_int_equal(histogram_index(&layout, first), i);
                assert_int_equal(histogram_index(&layout, last), i);
                assert_true(last - first < lowest[k] ||
                            (double)(last - first) <= (double)first / pow(10, digits));
                next = last + 1;
            }
            assert_int_equal(histogram_index(&layout, next), layout.counters - 1);
            assert_int_equal(histogram_index(&layout, UINT64_MAX), layout.counters - 1);
        }
}

/* --- recording and merging --- */

static void values_over_the_range_are_kept(void **state) {
    struct bench *bench = *state;
    recorder_add(&bench->recorder, 10);
    recorder_add(&bench->recorder, RECORDER_HIGHEST);
    recorder_add(&bench->recorder, RECORDER_HIGHEST + 1);
    recorder_add_n(&bench->recorder, UINT64_MAX - 1, 2);
    assert_int_equal(bench->recorder.over, 3);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    assert_int_equal(bench->histogram.total, 5);
    assert_int_equal(bench->histogram.over, 3);
    assert_int_equal(bench->histogram.max, UINT64_MAX - 1);
    assert_int_equal(bench->histogram.counts[RECORDER_COUNTERS - 1], 4);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.2), 10);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.4), RECORDER_HIGHEST);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.5), UINT64_MAX - 1);
    assert_int_equal(histogram_count_above(&bench->histogram, 10), 4);
    assert_int_equal(histogram_count_above(&bench->histogram, RECORDER_HIGHEST), 3);
    assert_int_equal(histogram_count_above(&bench->histogram, UINT64_MAX - 1), 0);
}

static void adding_n_is_adding_n_times(void **state) {
    struct bench *bench = *state;
    static const uint64_t values[] = {0, 2047, 123456789, RECORDER_HIGHEST, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        for (int k = 0; k < 3; k++)
            recorder_add(&bench->recorder, values[i]);
    histogram_add_recorder(&bench->histogram, &bench->recorder);

    recorder_reset(&bench->recorder);
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        recorder_add_n(&bench->recorder, values[i], 3);
    histogram_add_recorder(&bench->other, &bench->recorder);
    assert_true(histogram_equal(&bench->histogram, &bench->other));
}

static void adding_none_changes_nothing(void **state) {
    struct bench *bench = *state;
    recorder_add_n(&bench->recorder, UINT64_MAX, 0);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    assert_true(histogram_equal(&bench->histogram, &bench->other));
}

/* Latencies of many magnitudes: 2^x for uniform x. */
static uint64_t wide_sample(struct random *random) {
    return random_next(random) >> (22 + random_next(random) % 42);
}

static void merged_parts_equal_the_whole(void **state) {
    struct bench *bench = *state;
    struct histogram part;
    assert_int_equal(histogram_open(&part, &histogram_standard), 0);
    struct random random;
    random_seed(&random, 1);
    /* The values over the range all lie in the second part. */
    for (size_t i = 0; i < SAMPLES_MAX; i++) {
        bench->samples[i] = wide_sample(&random) << (i % 3 == 1 ? 8 : 0);
        recorder_add(&bench->recorder, bench->samples[i]);
    }
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    for (size_t p = 0; p < 3; p++) {
        recorder_reset(&bench->recorder);
        for (size_t i = p; i < SAMPLES_MAX; i += 3)
            recorder_add(&bench->recorder, bench->samples[i]);
        histogram_reset(&part);
        histogram_add_recorder(&part, &bench->recorder);
        assert_int_equal(histogram_merge(&bench->other, &part), 0);
    }
    histogram_close(&part);
    assert_true(bench->histogram.over > 0 && bench->histogram.total == SAMPLES_MAX);
    assert_true(histogram_equal(&bench->histogram, &bench->other));
}

static void later_recorders_add_to_earlier_ones(void **state) {
    struct bench *bench = *state;
    recorder_add(&bench->recorder, UINT64_MAX);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    recorder_reset(&bench->recorder);
    recorder_add_n(&bench->recorder, 5, UINT32_MAX);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    assert_int_equal(bench->histogram.max, UINT64_MAX);
    assert_int_equal(bench->histogram.over, 1);
    assert_int_equal(bench->histogram.counts[5], 2ull * UINT32_MAX);
    assert_int_equal(bench->histogram.total, 2ull * UINT32_MAX + 1);
}

static void open_like(struct histogram *histogram, uint64_t lowest, uint64_t highest,
                      uint32_t digits) {
    struct histogram_layout layout;
    assert_int_equal(histogram_layout_init(&layout, lowest, highest, digits), 0);
    assert_int_equal(histogram_open(histogram, &layout), 0);
}

/* What a coarser file says of its quantiles stays true in a finer histogram. */
static void other_layouts_merge_by_value(void **state) {
    struct bench *bench = *state;
    struct histogram coarse;
    struct random random;
    random_seed(&random, 5);
    open_like(&coarse, 1, 1000000, 2);
    for (size_t i = 0; i < SAMPLES_MAX; i++)
        assert_int_equal(histogram_record(&coarse, random_next(&random) % 1100000, 1), 0);
    assert_true(coarse.over > 0);
    assert_int_equal(histogram_merge(&bench->histogram, &coarse), 0);
    assert_int_equal(bench->histogram.total, SAMPLES_MAX);
    assert_int_equal(bench->histogram.max, coarse.max);
    for (int i = 1; i <= 94; i++) {
        uint64_t before = histogram_quantile(&coarse, i / 100.0);
        uint64_t after = histogram_quantile(&bench->histogram, i / 100.0);
        assert_true(after >= before && after - before <= before / 1024);
    }
    histogram_close(&coarse);
    assert_null(coarse.counts);
}

static void totals_stay_within_what_files_hold(void **state) {
    struct bench *bench = *state;
    assert_int_equal(histogram_record(&bench->histogram, 7, INT64_MAX - 1), 0);
    assert_int_equal(histogram_record(&bench->histogram, 8, 2), -EOVERFLOW);
    assert_int_equal(histogram_record(&bench->other, 8, 2), 0);
    assert_int_equal(histogram_merge(&bench->histogram, &bench->other), -EOVERFLOW);
    assert_int_equal(bench->histogram.counts[8], 0);
    assert_int_equal(bench->histogram.total, INT64_MAX - 1);
    uint64_t low = 0, high = 0;
    assert_true(histogram_quantile_interval(&bench->histogram, 0.999, 0.95, &low, &high));
    assert_int_equal(low, 7);
}

static void an_empty_one_can_be_asked(void **state) {
    (void)state;
    struct histogram none = {.counts = NULL};
    uint64_t low, high;
    assert_int_equal(histogram_quantile(&none, 0.5), 0);
    assert_int_equal(histogram_min(&none), 0);
    assert_int_equal(histogram_count_above(&none, 0), 0);
    assert_true(histogram_mean(&none) == 0 && histogram_stddev(&none) == 0);
    assert_false(histogram_quantile_valid(&none, 0.5));
    assert_false(histogram_quantile_interval(&none, 0.5, 0.95, &low, &high));
}

static void reset_empties(void **state) {
    struct bench *bench = *state;
    recorder_add(&bench->recorder, UINT64_MAX);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    bench_clear(bench);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    assert_true(histogram_equal(&bench->histogram, &bench->other));
}

/* --- quantiles against sorted samples --- */

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t uniform_sample(struct random *random) {
    return random_next(random) % 1000000;
}

static uint64_t exponential_sample(struct random *random) {
    return (uint64_t)(-log(random_unit(random)) * 250e3);
}

static uint64_t few_sample(struct random *random) {
    return 1000 * (random_next(random) % 4);
}

static uint64_t bimodal_sample(struct random *random) {
    return random_next(random) % 50 == 0 ? 40000000 + uniform_sample(random) : 3000;
}

static uint64_t over_sample(struct random *random) {
    return random_next(random) % 20 == 0 ? RECORDER_HIGHEST + 1 + uniform_sample(random)
                                         : exponential_sample(random);
}

static uint64_t (*const distributions[])(struct random *) = {
    uniform_sample, exponential_sample, few_sample, bimodal_sample, wide_sample, over_sample,
};

static void fill_and_sort(struct bench *bench, struct random *random, size_t n,
                          uint64_t (*sample)(struct random *)) {
    bench_clear(bench);
    for (size_t i = 0; i < n; i++) {
        bench->samples[i] = sample(random);
        recorder_add(&bench->recorder, bench->samples[i]);
    }
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    qsort(bench->samples, n, sizeof bench->samples[0], by_value);
}

static void check_quantile(const struct bench *bench, size_t n, uint64_t part, uint64_t of) {
    uint64_t rank = (n * part + of - 1) / of;
    uint64_t sample = bench->samples[rank > 0 ? rank - 1 : 0];
    uint64_t highest = histogram_highest_equivalent(&histogram_standard, recorder_index(sample));
    uint64_t got = histogram_quantile(&bench->histogram, (double)part / (double)of);
    if (sample > RECORDER_HIGHEST) {
        assert_int_equal(got, bench->samples[n - 1]);
        return;
    }
    assert_true(got >= sample && got - sample <= sample / 1024);
    assert_int_equal(got, highest < bench->samples[n - 1] ? highest : bench->samples[n - 1]);
}

static void quantiles_are_those_of_the_sorted_samples(void **state) {
    struct bench *bench = *state;
    struct random random;
    random_seed(&random, 2);
    for (int round = 0; round < 120; round++) {
        size_t n =
            round < 60 ? 1 + random_next(&random) % 40 : 1 + random_next(&random) % SAMPLES_MAX;
        fill_and_sort(bench, &random, n, distributions[round % ARRAY_LENGTH(distributions)]);
        for (uint64_t part = 1; part <= 100; part++)
            check_quantile(bench, n, part, 100);
        check_quantile(bench, n, 999, 1000);
        check_quantile(bench, n, 9999, 10000);
        for (int i = 0; i < 50; i++) {
            uint64_t of = 1 + random_next(&random) % 1000;
            check_quantile(bench, n, 1 + random_next(&random) % of, of);
        }
    }
}

/* Values that are their ranks, up to where counters are one wide. In binary 0.07 * 100 is above 7:
 * that must not cost a rank. */
static void no_rank_is_off_by_one(void **state) {
    struct bench *bench = *state;
    for (uint64_t n = 1; n <= 2000; n++) {
        recorder_add(&bench->recorder, n);
        if (n % 50 != 0 && n > 101)
            continue;
        histogram_reset(&bench->histogram);
        histogram_add_recorder(&bench->histogram, &bench->recorder);
        for (uint64_t part = 1; part <= 1000; part += n > 101 ? 1 : 9)
            assert_int_equal(histogram_quantile(&bench->histogram, (double)part / 1000),
                             (n * part + 999) / 1000);
    }
}

static void quantile_corners(void **state) {
    struct bench *bench = *state;
    assert_int_equal(histogram_quantile(&bench->histogram, 0), 0);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.99), 0);
    recorder_add(&bench->recorder, 1000000);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    /* 1,000,000 is counted from 999,936 to 1,000,447. */
    assert_int_equal(histogram_quantile(&bench->histogram, 0), 999936);
    assert_int_equal(histogram_min(&bench->histogram), 999936);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.5), 1000000);
    assert_int_equal(histogram_quantile(&bench->histogram, 1), 1000000);
}

static void valid_needs_five_samples_beyond(void **state) {
    struct bench *bench = *state;
    static const struct {
        uint32_t n;
        double q;
        bool valid;
    } cases[] = {
        {0, 0.5, false},        {1, 0.5, false},       {9, 0.5, false},      {10, 0.5, true},
        {499, 0.99, false},     {500, 0.99, true},     {4999, 0.999, false}, {5000, 0.999, true},
        {49999, 0.9999, false}, {50000, 0.9999, true}, {50000, 1, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        bench_clear(bench);
        recorder_add_n(&bench->recorder, 7, cases[i].n);
        histogram_add_recorder(&bench->histogram, &bench->recorder);
        assert_int_equal(histogram_quantile_valid(&bench->histogram, cases[i].q), cases[i].valid);
    }
}

static void count_above_is_that_of_the_samples(void **state) {
    struct bench *bench = *state;
    struct random random;
    random_seed(&random, 3);
    for (size_t d = 0; d < ARRAY_LENGTH(distributions); d++) {
        fill_and_sort(bench, &random, 1000, distributions[d]);
        for (size_t i = 0; i < 1000; i += 7) {
            uint64_t value = bench->samples[i], above = 0;
            if (value > RECORDER_HIGHEST)
                break;
            for (size_t k = 0; k < 1000; k++)
                above += bench->samples[k] > RECORDER_HIGHEST ||
                         recorder_index(bench->samples[k]) > recorder_index(value);
            assert_int_equal(histogram_count_above(&bench->histogram, value), above);
        }
        assert_int_equal(histogram_count_above(&bench->histogram, bench->samples[999]), 0);
    }
}

/* --- intervals --- */

/* A sample of which rank `lower` alone is 2 and rank `upper` alone is 4. */
static void fill_around(struct bench *bench, uint32_t n, uint32_t lower, uint32_t upper) {
    assert_true(1 <= lower && lower < upper && upper <= n);
    bench_clear(bench);
    recorder_add_n(&bench->recorder, 1, lower - 1);
    recorder_add_n(&bench->recorder, 2, 1);
    recorder_add_n(&bench->recorder, 3, upper - lower - 1);
    recorder_add_n(&bench->recorder, 4, 1);
    recorder_add_n(&bench->recorder, 5, n - upper);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
}

static void assert_ranks(struct bench *bench, uint32_t n, double q, double confidence,
                         uint32_t lower, uint32_t upper) {
    uint64_t low_ns, high_ns;
    fill_around(bench, n, lower, upper);
    assert_true(histogram_quantile_interval(&bench->histogram, q, confidence, &low_ns, &high_ns));
    assert_int_equal(low_ns, 2);
    assert_int_equal(high_ns, 4);
}

static void interval_ranks_match_the_tables(void **state) {
    static const struct {
        double q;
        uint32_t n, lower, upper;
    } table[] = {
        {0.99, 1000, 983, 997},
        {0.99, 10000, 9880, 9920},
        {0.99, 100000, 98938, 99062},
        {0.99, 1000000, 989805, 990196},
        {0.999, 10000, 9983, 9997},
        {0.999, 100000, 99880, 99920},
        {0.999, 1000000, 998938, 999062},
        {0.9999, 100000, 99983, 99997},
        {0.9999, 1000000, 999880, 999920},
        {0.9999, 10000000, 9998938, 9999062},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++)
        assert_ranks(*state, table[i].n, table[i].q, 0.95, table[i].lower, table[i].upper);
}

/* Sums of binomial probabilities from log-gamma: the definition, slow and plain. */
static uint32_t rank_by_sum(uint32_t n, double q, double tail, bool upper) {
    long double p = q, sum = 0;
    for (uint32_t step = 0; step <= n; step++) {
        uint32_t k = upper ? n - step : step;
        sum += expl(lgammal(n + 1.0L) - lgammal(k + 1.0L) - lgammal(n - k + 1.0L) + k * logl(p) +
                    (n - k) * log1pl(-p));
        if (sum > tail)
            return upper ? k + 1 : k;
    }
    return 0;
}

static void interval_ranks_are_the_binomial_ones(void **state) {
    static const double confidences[] = {0.5, 0.8, 0.9, 0.95, 0.99, 0.9999};
    struct random random;
    random_seed(&random, 4);
    int bounded = 0;
    for (int round = 0; round < 600; round++) {
        uint32_t n = 1 + (uint32_t)(random_next(&random) % (round % 2 ? 30 : 1500));
        double q = random_unit(&random);
        q = round % 3 ? q : 1 - q / 50;
        double confidence = confidences[round % ARRAY_LENGTH(confidences)];
        uint32_t lower = rank_by_sum(n, q, (1 - confidence) / 2, false);
        uint32_t upper = rank_by_sum(n, q, (1 - confidence) / 2, true);
        if (lower >= 1 && upper <= n) {
            assert_ranks(*state, n, q, confidence, lower, upper);
            bounded++;
            continue;
        }
        struct bench *bench = *state;
        uint64_t low_ns, high_ns;
        bench_clear(bench);
        recorder_add_n(&bench->recorder, 1, n);
        histogram_add_recorder(&bench->histogram, &bench->recorder);
        assert_false(
            histogram_quantile_interval(&bench->histogram, q, confidence, &low_ns, &high_ns));
    }
    assert_in_range(bounded, 200, 550);
}

/* Too many samples to sum up: 2.5e9 -+ 1.959964 * sqrt(1.25e9), to the rank. */
static void interval_of_very_many_samples(void **state) {
    struct bench *bench = *state;
    const uint64_t n = 5000000000, reach = 69296, wide = 3;
    uint64_t low, high;
    histogram_record(&bench->histogram, 1, n / 2 - reach - wide);
    histogram_record(&bench->histogram, 2, 2 * wide);
    histogram_record(&bench->histogram, 3, 2 * reach - 2 * wide);
    histogram_record(&bench->histogram, 4, 2 * wide);
    histogram_record(&bench->histogram, 5, n - bench->histogram.total);
    assert_true(histogram_quantile_interval(&bench->histogram, 0.5, 0.95, &low, &high));
    assert_int_equal(low, 2);
    assert_int_equal(high, 4);
}

static void interval_is_refused_when_unbounded(void **state) {
    static const struct {
        uint32_t n;
        double q;
        bool bounded;
    } cases[] = {
        {0, 0.5, false},      {1, 0.5, false},     {367, 0.99, false},     {368, 0.99, true},
        {3687, 0.999, false}, {3688, 0.999, true}, {36886, 0.9999, false}, {36887, 0.9999, true},
        {1000, 0, false},     {1000, 1, false},    {367, 0.01, false},     {368, 0.01, true},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t low_ns = 77, high_ns = 88;
        bench_clear(bench);
        recorder_add_n(&bench->recorder, 7, cases[i].n);
        histogram_add_recorder(&bench->histogram, &bench->recorder);
        bool bounded =
            histogram_quantile_interval(&bench->histogram, cases[i].q, 0.95, &low_ns, &high_ns);
        assert_int_equal(bounded, cases[i].bounded);
        assert_int_equal(low_ns, bounded ? 7 : 77);
        assert_int_equal(high_ns, bounded ? 7 : 88);
    }
}

static void interval_covers_as_often_as_it_says(void **state) {
    static const double quantiles[] = {0.5, 0.9, 0.99};
    enum { SAMPLES = 1000, TRIALS = 1000, VALUES = 1000000 };
    struct bench *bench = *state;
    struct random random;
    random_seed(&random, 5);
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        double truth = quantiles[i] * VALUES;
        int covered = 0;
        for (int trial = 0; trial < TRIALS; trial++) {
            uint64_t low_ns, high_ns;
            bench_clear(bench);
            for (int k = 0; k < SAMPLES; k++)
                recorder_add(&bench->recorder, (uint64_t)(random_unit(&random) * VALUES));
            histogram_add_recorder(&bench->histogram, &bench->recorder);
            assert_true(histogram_quantile_interval(&bench->histogram, quantiles[i], 0.95, &low_ns,
                                                    &high_ns));
            covered += (double)low_ns <= truth && truth <= (double)high_ns;
        }
        /* Above 98.5 % it would be wider than it says. */
        assert_in_range(covered, 950, 985);
    }
}

/* --- moments --- */

static void moments_are_hdrhistograms(void **state) {
    struct bench *bench = *state;
    assert_true(histogram_mean(&bench->histogram) == 0);
    assert_true(histogram_stddev(&bench->histogram) == 0);
    for (uint64_t i = 1; i <= 1000; i++)
        recorder_add(&bench->recorder, i * 1000);
    histogram_add_recorder(&bench->histogram, &bench->recorder);
    /* From HdrHistogram 2.1.11 for Java. */
    assert_true(fabs(histogram_mean(&bench->histogram) - 500504.858) < 1e-6);
    assert_true(fabs(histogram_stddev(&bench->histogram) - 288675.7778924755) < 1e-6);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.5), 500223);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.99), 990207);
    assert_int_equal(histogram_quantile(&bench->histogram, 0.999), 999423);
    assert_int_equal(histogram_min(&bench->histogram), 1000);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(index_follows_the_definition_at_every_edge),
        TEST(equivalent_ranges_tile_the_values),
        TEST(layouts_are_hdrhistograms),
        TEST(impossible_layouts_are_refused),
        TEST(every_layout_tiles_the_values),
        TEST(values_over_the_range_are_kept),
        TEST(adding_n_is_adding_n_times),
        TEST(adding_none_changes_nothing),
        TEST(merged_parts_equal_the_whole),
        TEST(later_recorders_add_to_earlier_ones),
        TEST(other_layouts_merge_by_value),
        TEST(totals_stay_within_what_files_hold),
        TEST(an_empty_one_can_be_asked),
        TEST(reset_empties),
        TEST(quantiles_are_those_of_the_sorted_samples),
        TEST(no_rank_is_off_by_one),
        TEST(quantile_corners),
        TEST(valid_needs_five_samples_beyond),
        TEST(count_above_is_that_of_the_samples),
        TEST(interval_ranks_match_the_tables),
        TEST(interval_ranks_are_the_binomial_ones),
        TEST(interval_of_very_many_samples),
        TEST(interval_is_refused_when_unbounded),
        TEST(interval_covers_as_often_as_it_says),
        TEST(moments_are_hdrhistograms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
