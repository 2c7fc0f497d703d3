/* histogram.h: HdrHistogram of nanosecond latencies, 1 ns to 2^42-1 ns (73 minutes), 3 digits.
 *
 * The layout (bucket and sub-bucket index, equivalent ranges, percentile rank, .hgrm text) is
 * HdrHistogram's, so that its tools read what we write. One fixed configuration, known at compile
 * time: 33,792 counters. A counter stands for a range of equivalent values: exact below 2,048 ns,
 * above that at most 1/1024 of the value wide.
 *
 * Two types. A `recorder` is the hot one: 32-bit counters, one thread, no totals kept. A
 * `histogram` has 64-bit counters and answers questions. Recorders are merged into histograms
 * outside the hot path. Both are plain structs without pointers, so they may lie in shared memory;
 * all bytes zero = empty. They are too large for a stack (132 and 264 KiB).
 *
 * Quantiles are fractions 0 to 1 (0.99, not 99). Pure: no I/O but histogram_write_hgrm's stream,
 * no clock, no globals. Not thread-safe. */
#ifndef LOOPMARK_HISTOGRAM_H
#define LOOPMARK_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_DIGITS 3
#define HISTOGRAM_HIGHEST ((UINT64_C(1) << 42) - 1)
#define HISTOGRAM_HALF_MAGNITUDE 10 /* log2 of half a bucket's sub-buckets */
#define HISTOGRAM_SUB_BUCKETS (2 << HISTOGRAM_HALF_MAGNITUDE)
#define HISTOGRAM_BUCKETS 32
#define HISTOGRAM_COUNTERS ((HISTOGRAM_BUCKETS + 1) << HISTOGRAM_HALF_MAGNITUDE)
#define HISTOGRAM_BEYOND_MIN 5 /* samples above a quantile, or it is not valid */
#define HISTOGRAM_TICKS 5      /* .hgrm rows a half distance, the usual number */

/* A counter wraps at 2^32: merge and reset at least once a minute. */
struct recorder {
    uint32_t counts[HISTOGRAM_COUNTERS];
    uint64_t over;   /* values above HISTOGRAM_HIGHEST, counted in the top counter too */
    uint64_t max_ns; /* exact, unlike the counters */
} __attribute__((aligned(128)));

struct histogram {
    uint64_t counts[HISTOGRAM_COUNTERS];
    uint64_t total;
    uint64_t over;   /* as in the recorder */
    uint64_t max_ns; /* exact */
};

static inline uint32_t histogram_index(uint64_t value_ns) {
    uint64_t capped = value_ns > HISTOGRAM_HIGHEST ? HISTOGRAM_HIGHEST : value_ns;
    uint32_t bucket = 63 - HISTOGRAM_HALF_MAGNITUDE -
                      (uint32_t)__builtin_clzll(capped | (HISTOGRAM_SUB_BUCKETS - 1));
    return (bucket << HISTOGRAM_HALF_MAGNITUDE) + (uint32_t)(capped >> bucket);
}

/* Values above the range are never dropped: they go to the top counter, are counted in `over`, and
 * the exact maximum is kept. */
static inline void recorder_add(struct recorder *recorder, uint64_t value_ns) {
    recorder->counts[histogram_index(value_ns)]++;
    recorder->over += value_ns > HISTOGRAM_HIGHEST;
    if (__builtin_expect(value_ns > recorder->max_ns, 0))
        recorder->max_ns = value_ns;
}

/* The same value `count` times; nothing when count is 0. */
static inline void recorder_add_n(struct recorder *recorder, uint64_t value_ns, uint32_t count) {
    recorder->counts[histogram_index(value_ns)] += count;
    recorder->over += value_ns > HISTOGRAM_HIGHEST ? count : 0;
    if (count > 0 && value_ns > recorder->max_ns)
        recorder->max_ns = value_ns;
}

void recorder_reset(struct recorder *recorder);
void histogram_reset(struct histogram *histogram);

/* The recorder is left as it is; reset it before it records the next interval. */
void histogram_add_recorder(struct histogram *into, const struct recorder *from);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The first and the last value that the counter at `index` stands for. */
uint64_t histogram_lowest_equivalent(uint32_t index);
uint64_t histogram_highest_equivalent(uint32_t index);

/* The value at rank max(1, ceil(q * total)), as HdrHistogram for Java does since 2.1.10: the
 * highest equivalent value, so at most 1/1024 above the sample and never below it; never above the
 * exact maximum. Where the sample lies above the range it is the exact maximum. q = 0 is
 * histogram_min. 0 when the histogram is empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

/* Are there at least HISTOGRAM_BEYOND_MIN samples above the quantile's rank? */
bool histogram_quantile_valid(const struct histogram *histogram, double q);

/* Distribution-free interval from order statistics (Hahn and Meeker, Statistical Intervals, 5.2):
 * with probability `confidence` (0.5 or more, below 1) or more it covers the quantile of the
 * distribution the samples come from, half of the error on each side. The ranks come from the
 * exact binomial distribution; `low` and `high` are widened outwards to the ends of their
 * equivalent ranges. It takes the samples as independent: latencies of one run are not quite, so
 * this is the least uncertainty. False, and nothing written, when there are too few samples to
 * bound both sides (368 for p99 at 95 %). */
bool histogram_quantile_interval(const struct histogram *histogram, double q, double confidence,
                                 uint64_t *low_ns, uint64_t *high_ns);

/* HdrHistogram's definitions, 0 when empty: the minimum is the lowest equivalent value; mean and
 * (population) standard deviation take each sample as the middle of its range. */
uint64_t histogram_min(const struct histogram *histogram);
double histogram_mean(const struct histogram *histogram);
double histogram_stddev(const struct histogram *histogram);

/* Samples that are surely above `value_ns`: those equivalent to it do not count. */
uint64_t histogram_count_above(const struct histogram *histogram, uint64_t value_ns);

/* HdrHistogram's percentile distribution text (.hgrm) as its Java version prints it: per row the
 * highest equivalent value, the percentile as a fraction, the samples up to there and
 * 1/(1-percentile); then the footer. `ticks_per_half` rows (1 or more) each time the distance to
 * 100 % halves. Values are divided by `unit` (1e6 writes milliseconds). Samples above the range
 * appear as HISTOGRAM_HIGHEST. Expects the C locale. Flushes. Returns 0, or a negative errno when
 * writing failed. */
int histogram_write_hgrm(const struct histogram *histogram, FILE *stream, int ticks_per_half,
                         double unit);

#endif
