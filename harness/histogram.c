/* histogram.c: layouts, merging and asking; recording is inline in the header. */
#include "harness/histogram.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/statistics.h"
#include "loops/check.h"

const struct histogram_layout histogram_standard = {.lowest = 1,
                                                    .highest = RECORDER_HIGHEST,
                                                    .digits = RECORDER_DIGITS,
                                                    .half_magnitude = RECORDER_HALF_MAGNITUDE,
                                                    .buckets = RECORDER_BUCKETS,
                                                    .counters = RECORDER_COUNTERS};

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* ---- layouts --------------------------------------------------------------------------------- */

static uint32_t log2_of(uint64_t value) {
    return 63 - (uint32_t)__builtin_clzll(value);
}

/* Steps of one must be told apart up to 2 * 10^digits: so many sub-buckets, as a power of two. */
static uint32_t half_magnitude_of(uint32_t digits) {
    uint64_t exact_up_to = 2;
    for (uint32_t i = 0; i < digits; i++)
        exact_up_to *= 10;
    return log2_of(exact_up_to - 1);
}

/* Each bucket reaches twice as far as the one before. */
static uint32_t buckets_of(uint32_t first_magnitude, uint64_t highest) {
    uint32_t highest_magnitude = log2_of(highest);
    return highest_magnitude < first_magnitude ? 1 : highest_magnitude - first_magnitude + 2;
}

int histogram_layout_init(struct histogram_layout *layout, uint64_t lowest, uint64_t highest,
                          uint32_t digits) {
    if (lowest < 1 || lowest > INT64_MAX / 2 || highest > INT64_MAX || highest < 2 * lowest ||
        digits < 1 || digits > 5)
        return -EINVAL;
    uint32_t unit = log2_of(lowest), half = half_magnitude_of(digits);
    if (half + 1 + unit > 62)
        return -EINVAL;
    uint32_t buckets = buckets_of(half + 1 + unit, highest);
    if ((uint64_t)(buckets + 1) << half > HISTOGRAM_COUNTERS_MOST)
        return -EINVAL;
    *layout = (struct histogram_layout){.lowest = lowest,
                                        .highest = highest,
                                        .digits = digits,
                                        .unit_magnitude = unit,
                                        .half_magnitude = half,
                                        .buckets = buckets,
                                        .counters = (buckets + 1) << half};
    return 0;
}

bool histogram_layout_equal(const struct histogram_layout *a, const struct histogram_layout *b) {
    return a->lowest == b->lowest && a->highest == b->highest && a->digits == b->digits;
}

uint32_t histogram_index(const struct histogram_layout *layout, uint64_t value) {
    uint32_t first_magnitude = layout->half_magnitude + 1 + layout->unit_magnitude;
    uint64_t at_least = (UINT64_C(1) << first_magnitude) - 1; /* the first bucket has them all */
    uint32_t bucket = log2_of(value | at_least) + 1 - first_magnitude;
    if (bucket >= layout->buckets)
        return layout->counters - 1;
    return (bucket << layout->half_magnitude) +
           (uint32_t)(value >> (bucket + layout->unit_magnitude));
}

/* The inverse of histogram_index: only the first bucket uses its lower half. */
static uint32_t bucket_of(const struct histogram_layout *layout, uint32_t index) {
    uint32_t half = index >> layout->half_magnitude;
    return half > 0 ? half - 1 : 0;
}

static uint64_t width_of(const struct histogram_layout *layout, uint32_t index) {
    return UINT64_C(1) << (bucket_of(layout, index) + layout->unit_magnitude);
}

uint64_t histogram_lowest_equivalent(const struct histogram_layout *layout, uint32_t index) {
    CHECK(index < layout->counters);
    uint32_t bucket = bucket_of(layout, index);
    return (uint64_t)(index - (bucket << layout->half_magnitude)) * width_of(layout, index);
}

uint64_t histogram_highest_equivalent(const struct histogram_layout *layout, uint32_t index) {
    return histogram_lowest_equivalent(layout, index) + width_of(layout, index) - 1;
}

static double middle_of(const struct histogram_layout *layout, uint32_t index) {
    return (double)(histogram_lowest_equivalent(layout, index) + width_of(layout, index) / 2);
}

/* ---- recording and merging ------------------------------------------------------------------- */

void recorder_reset(struct recorder *recorder) {
    memset(recorder, 0, sizeof *recorder);
}

int histogram_open(struct histogram *histogram, const struct histogram_layout *layout) {
    uint64_t *counts = calloc(layout->counters, sizeof *counts);
    if (!counts)
        return -ENOMEM;
    histogram_open_in(histogram, layout, counts);
    return 0;
}

void histogram_close(struct histogram *histogram) {
    free(histogram->counts);
    *histogram = (struct histogram){.counts = NULL};
}

void histogram_open_in(struct histogram *histogram, const struct histogram_layout *layout,
                       uint64_t *counts) {
    *histogram = (struct histogram){.layout = *layout, .counts = counts};
}

void histogram_reset(struct histogram *histogram) {
    memset(histogram->counts, 0, histogram->layout.counters * sizeof *histogram->counts);
    histogram->total = histogram->over = histogram->max = 0;
}

static bool room_for(const struct histogram *histogram, uint64_t count) {
    return count <= INT64_MAX - histogram->total;
}

int histogram_record(struct histogram *histogram, uint64_t value, uint64_t count) {
    const struct histogram_layout *layout = &histogram->layout;
    if (!room_for(histogram, count))
        return -EOVERFLOW;
    if (count == 0)
        return 0;
    histogram->counts[histogram_index(layout, value)] += count;
    histogram->total += count;
    if (value > histogram_highest_equivalent(layout, layout->counters - 1))
        histogram->over += count;
    histogram->max = larger(histogram->max, value);
    return 0;
}

void histogram_add_recorder(struct histogram *into, const struct recorder *from) {
    CHECK(histogram_layout_equal(&into->layout, &histogram_standard));
    for (uint32_t i = 0; i < RECORDER_COUNTERS; i++) {
        into->counts[i] += from->counts[i];
        into->total += from->counts[i];
    }
    into->over += from->over;
    into->max = larger(into->max, from->max_ns);
}

static void merge_by_value(struct histogram *into, const struct histogram *from) {
    uint64_t in_range = from->total - from->over, seen = 0;
    for (uint32_t i = 0; seen < in_range; i++) {
        uint64_t count = smaller(from->counts[i], in_range - seen);
        uint64_t value = histogram_highest_equivalent(&from->layout, i);
        CHECK(histogram_record(into, smaller(value, from->max), count) == 0);
        seen += count;
    }
    CHECK(histogram_record(into, from->max, from->over) == 0);
}

int histogram_merge(struct histogram *into, const struct histogram *from) {
    if (!room_for(into, from->total))
        return -EOVERFLOW;
    if (from->total == 0)
        return 0;
    if (!histogram_layout_equal(&into->layout, &from->layout)) {
        merge_by_value(into, from);
        return 0;
    }
    for (uint32_t i = 0; i < into->layout.counters; i++)
        if (from->counts[i] > 0) /* or every page of `into` would be taken */
            into->counts[i] += from->counts[i];
    into->total += from->total;
    into->over += from->over;
    into->max = larger(into->max, from->max);
    return 0;
}

bool histogram_equal(const struct histogram *a, const struct histogram *b) {
    return histogram_layout_equal(&a->layout, &b->layout) && a->total == b->total &&
           a->over == b->over && a->max == b->max &&
           memcmp(a->counts, b->counts, a->layout.counters * sizeof *a->counts) == 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The double nearest to a decimal such as 0.999 may lie above it, and its product with the total
 * then above the whole number that is meant. The double before it never does. */
static uint64_t rank_of(uint64_t total, double q) {
    CHECK(q >= 0 && q <= 1);
    if (q == 1)
        return total;
    double rank = ceil(nextafter(q, 0) * (double)total);
    return rank < 1 ? 1 : smaller((uint64_t)rank, total);
}

/* Layouts have a multiple of this many counters. */
enum { STRIDE = 16 };

static uint64_t sum_of(const uint64_t counts[STRIDE]) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < STRIDE; i++)
        sum += counts[i];
    return sum;
}

static uint32_t index_at_rank(const struct histogram *histogram, uint64_t rank) {
    CHECK(rank <= histogram->total);
    uint64_t seen = 0, sum;
    uint32_t i = 0;
    while (seen + (sum = sum_of(histogram->counts + i)) < rank) {
        seen += sum;
        i += STRIDE;
    }
    while ((seen += histogram->counts[i]) < rank)
        i++;
    return i;
}

static uint64_t upper_value_at_rank(const struct histogram *histogram, uint64_t rank) {
    if (rank > histogram->total - histogram->over)
        return histogram->max;
    uint64_t highest =
        histogram_highest_equivalent(&histogram->layout, index_at_rank(histogram, rank));
    return smaller(highest, histogram->max);
}

uint64_t histogram_quantile(const struct histogram *histogram, double q) {
    if (q == 0 || histogram->total == 0)
        return histogram_min(histogram);
    return upper_value_at_rank(histogram, rank_of(histogram->total, q));
}

bool histogram_quantile_valid(const struct histogram *histogram, double q) {
    return histogram->total > 0 &&
           histogram->total - rank_of(histogram->total, q) >= HISTOGRAM_BEYOND_MIN;
}

/* One step of the binomial probabilities: P(X = k + 1) / P(X = k). */
static double binomial_ratio(uint64_t trials, double odds, uint64_t k) {
    return (double)(trials - k) / (double)(k + 1) * odds;
}

/* P(X > k) / P(X = k), where k is the mode or above it. */
static double binomial_weight_above(uint64_t trials, double odds, uint64_t k) {
    double sum = 0;
    for (double weight = 1; k < trials && weight > 1e-24; k++) {
        weight *= binomial_ratio(trials, odds, k);
        sum += weight;
    }
    return sum;
}

/* The same as below for more trials than can be summed up: the normal approximation with Cornish
 * and Fisher's correction (1938) for skewness, off by one rank at most. */
static uint64_t binomial_upper_rank_approximately(uint64_t trials, double odds, double tail) {
    double success = odds / (1 + odds);
    double mean = (double)trials * success, deviation = sqrt(mean * (1 - success));
    double z = -normal_quantile(tail), skewness = (1 - 2 * success) / deviation;
    double rank = ceil(mean + deviation * (z + skewness * (z * z - 1) / 6) - 0.5) + 1;
    return rank < (double)trials ? (uint64_t)rank : trials;
}

/* The least u with P(X >= u) <= tail, for X binomial with these odds of success; trials + 1 if
 * only an impossible u will do. Probabilities are relative to that of the mode and normalised by
 * their own sum, so nothing underflows and nothing is approximated, for 20 standard deviations
 * of steps. */
static uint64_t binomial_upper_rank(uint64_t trials, double odds, uint64_t mode, double tail) {
    const double summed_variance_most = 1e9;
    if ((double)trials * odds / ((1 + odds) * (1 + odds)) > summed_variance_most)
        return binomial_upper_rank_approximately(trials, odds, tail);
    double above = binomial_weight_above(trials, odds, mode);
    double below = binomial_weight_above(trials, 1 / odds, trials - mode);
    double allowed = tail * (below + 1 + above);
    double weight = 1;
    uint64_t rank = mode + 1;
    while (rank <= trials && above > allowed) {
        weight *= binomial_ratio(trials, odds, rank - 1);
        above -= weight;
        rank++;
    }
    return rank;
}

/* X, the number of samples up to the true quantile, is binomial with probability q. The sample
 * of rank l exceeds the quantile when X < l, that of rank u does not exceed it when X >= u. */
bool histogram_quantile_interval(const struct histogram *histogram, double q, double confidence,
                                 uint64_t *low, uint64_t *high) {
    CHECK(q >= 0 && q <= 1 && confidence >= 0.5 && confidence < 1);
    uint64_t total = histogram->total;
    if (total == 0 || q == 0 || q == 1)
        return false;
    double tail = (1 - confidence) / 2, odds = q / (1 - q);
    uint64_t mode = smaller((uint64_t)((double)(total + 1) * q), total);
    uint64_t upper = binomial_upper_rank(total, odds, mode, tail);
    uint64_t lower = total + 1 - binomial_upper_rank(total, 1 / odds, total - mode, tail);
    if (lower == 0 || upper > total)
        return false;
    *low = histogram_lowest_equivalent(&histogram->layout, index_at_rank(histogram, lower));
    *high = upper_value_at_rank(histogram, upper);
    return true;
}

uint64_t histogram_min(const struct histogram *histogram) {
    return histogram->total > 0
               ? histogram_lowest_equivalent(&histogram->layout, index_at_rank(histogram, 1))
               : 0;
}

double histogram_mean(const struct histogram *histogram) {
    double sum = 0;
    for (uint32_t i = 0; i < histogram->layout.counters; i++)
        if (histogram->counts[i] > 0)
            sum += middle_of(&histogram->layout, i) * (double)histogram->counts[i];
    return histogram->total > 0 ? sum / (double)histogram->total : 0;
}

double histogram_stddev(const struct histogram *histogram) {
    double mean = histogram_mean(histogram), squares = 0;
    for (uint32_t i = 0; i < histogram->layout.counters; i++) {
        if (histogram->counts[i] == 0)
            continue;
        double deviation = middle_of(&histogram->layout, i) - mean;
        squares += deviation * deviation * (double)histogram->counts[i];
    }
    return histogram->total > 0 ? sqrt(squares / (double)histogram->total) : 0;
}

uint64_t histogram_count_above(const struct histogram *histogram, uint64_t value) {
    if (value >= histogram->max)
        return 0;
    uint32_t index = histogram_index(&histogram->layout, value);
    if (index == histogram->layout.counters - 1)
        return histogram->over;
    uint64_t above = 0;
    for (uint32_t i = index + 1; i < histogram->layout.counters; i++)
        above += histogram->counts[i];
    return above;
}
