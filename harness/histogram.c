/* histogram.c: merging and asking; recording is inline in the header. */
#include "harness/histogram.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "loops/check.h"

_Static_assert(HISTOGRAM_COUNTERS == 33792, "HdrHistogram's count for 1 to 2^42-1, 3 digits");

void recorder_reset(struct recorder *recorder) {
    memset(recorder, 0, sizeof *recorder);
}

void histogram_reset(struct histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void histogram_add_recorder(struct histogram *into, const struct recorder *from) {
    for (uint32_t i = 0; i < HISTOGRAM_COUNTERS; i++) {
        into->counts[i] += from->counts[i];
        into->total += from->counts[i];
    }
    into->over += from->over;
    into->max_ns = larger(into->max_ns, from->max_ns);
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    for (uint32_t i = 0; i < HISTOGRAM_COUNTERS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    into->over += from->over;
    into->max_ns = larger(into->max_ns, from->max_ns);
}

/* The inverse of histogram_index: only the first bucket uses its lower half. */
static uint32_t bucket_of(uint32_t index) {
    uint32_t half = index >> HISTOGRAM_HALF_MAGNITUDE;
    return half > 0 ? half - 1 : 0;
}

uint64_t histogram_lowest_equivalent(uint32_t index) {
    CHECK(index < HISTOGRAM_COUNTERS);
    uint32_t bucket = bucket_of(index);
    return (uint64_t)(index - (bucket << HISTOGRAM_HALF_MAGNITUDE)) << bucket;
}

uint64_t histogram_highest_equivalent(uint32_t index) {
    return histogram_lowest_equivalent(index) + (UINT64_C(1) << bucket_of(index)) - 1;
}

static double middle_of(uint32_t index) {
    uint32_t bucket = bucket_of(index);
    uint64_t half_width = (UINT64_C(1) << bucket) / 2;
    return (double)(histogram_lowest_equivalent(index) + half_width);
}

/* The double nearest to a decimal such as 0.999 may lie above it, and its product with the total
 * then above the whole number that is meant. The double before it never does. */
static uint64_t rank_of(uint64_t total, double q) {
    CHECK(q >= 0 && q <= 1);
    double rank = ceil(nextafter(q, 0) * (double)total);
    return rank < 1 ? 1 : smaller((uint64_t)rank, total);
}

static uint32_t index_at_rank(const struct histogram *histogram, uint64_t rank) {
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTERS; i++) {
        seen += histogram->counts[i];
        if (seen >= rank)
            return i;
    }
    CHECK(!"the counters hold at least `rank` samples");
    return 0;
}

static uint64_t upper_value_at_rank(const struct histogram *histogram, uint64_t rank) {
    if (rank > histogram->total - histogram->over)
        return histogram->max_ns;
    uint64_t highest = histogram_highest_equivalent(index_at_rank(histogram, rank));
    return smaller(highest, histogram->max_ns);
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

/* The least u with P(X >= u) <= tail, for X binomial with these odds of success; trials + 1 if
 * only an impossible u will do. Probabilities are relative to that of the mode and normalised by
 * their own sum, so nothing underflows and nothing is approximated, for 20 standard deviations
 * of steps. */
static uint64_t binomial_upper_rank(uint64_t trials, double odds, uint64_t mode, double tail) {
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
                                 uint64_t *low_ns, uint64_t *high_ns) {
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
    *low_ns = histogram_lowest_equivalent(index_at_rank(histogram, lower));
    *high_ns = upper_value_at_rank(histogram, upper);
    return true;
}

uint64_t histogram_min(const struct histogram *histogram) {
    return histogram->total > 0 ? histogram_lowest_equivalent(index_at_rank(histogram, 1)) : 0;
}

double histogram_mean(const struct histogram *histogram) {
    double sum = 0;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTERS; i++)
        sum += middle_of(i) * (double)histogram->counts[i];
    return histogram->total > 0 ? sum / (double)histogram->total : 0;
}

double histogram_stddev(const struct histogram *histogram) {
    double mean = histogram_mean(histogram), squares = 0;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTERS; i++) {
        double deviation = middle_of(i) - mean;
        squares += deviation * deviation * (double)histogram->counts[i];
    }
    return histogram->total > 0 ? sqrt(squares / (double)histogram->total) : 0;
}

uint64_t histogram_count_above(const struct histogram *histogram, uint64_t value_ns) {
    if (value_ns >= histogram->max_ns)
        return 0;
    uint32_t index = histogram_index(value_ns);
    if (index == HISTOGRAM_COUNTERS - 1)
        return histogram->over;
    uint64_t above = 0;
    for (uint32_t i = index + 1; i < HISTOGRAM_COUNTERS; i++)
        above += histogram->counts[i];
    return above;
}

/* Java rounds the decimal half up, printf the binary fraction: 1.0005 becomes 1.001 and 1.000. */
static double half_up(double value, double scale) {
    return floor(value * scale + 0.5) / scale;
}

static void write_row(FILE *stream, double value, double percentile, uint64_t seen) {
    double level = percentile / 100;
    fprintf(stream, "%12.3f %2.12f %10" PRIu64, half_up(value, 1e3), half_up(level, 1e12), seen);
    if (level < 1)
        fprintf(stream, " %14.2f", half_up(1 / (1 - level), 1e2));
    fputc('\n', stream);
}

/* The percentile of tick number `tick`. Counting ticks cannot drift, and never divides by the
 * distance left to 100, which in the end is too small for a double. */
static double hgrm_percentile(uint64_t tick, int ticks_per_half) {
    uint64_t ticks = (uint64_t)ticks_per_half;
    int halvings = (int)(tick / ticks);
    double within = 100.0 / (double)ticks * (double)(tick % ticks);
    return 100 - ldexp(100, -halvings) + ldexp(within, -halvings - 1);
}

static void write_rows(const struct histogram *histogram, FILE *stream, int ticks_per_half,
                       double unit) {
    uint64_t seen = 0, tick = 0;
    double value = 0;
    for (uint32_t i = 0; seen < histogram->total; i++) {
        if (histogram->counts[i] == 0)
            continue;
        seen += histogram->counts[i];
        value = (double)histogram_highest_equivalent(i) / unit;
        double reached = 100.0 * (double)seen / (double)histogram->total;
        while (reached >= hgrm_percentile(tick, ticks_per_half)) {
            write_row(stream, value, hgrm_percentile(tick++, ticks_per_half), seen);
            if (seen == histogram->total)
                break;
        }
    }
    if (histogram->total > 0)
        write_row(stream, value, 100, seen);
}

int histogram_write_hgrm(const struct histogram *histogram, FILE *stream, int ticks_per_half,
                         double unit) {
    CHECK(ticks_per_half > 0 && unit > 0);
    uint32_t top = histogram->total > 0 ? index_at_rank(histogram, histogram->total) : 0;
    double max = (double)histogram_highest_equivalent(top) / unit;
    double mean = histogram_mean(histogram) / unit, stddev = histogram_stddev(histogram) / unit;

    fprintf(stream, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    write_rows(histogram, stream, ticks_per_half, unit);
    fprintf(stream, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", half_up(mean, 1e3),
            half_up(stddev, 1e3));
    fprintf(stream, "#[Max     = %12.3f, Total count    = %12" PRIu64 "]\n", half_up(max, 1e3),
            histogram->total);
    fprintf(stream, "#[Buckets = %12d, SubBuckets     = %12d]\n", HISTOGRAM_BUCKETS,
            HISTOGRAM_SUB_BUCKETS);
    if (fflush(stream) != 0)
        return -errno;
    return ferror(stream) ? -EIO : 0;
}
