/* histogram.h: HdrHistogram: values counted in buckets of bounded relative width.
 *
 * The layout (bucket and sub-bucket index, equivalent ranges, percentile rank) is HdrHistogram's,
 * so that its tools read what we write (histogram_codec.h, histogram_log.h, percentile_table.h). A
 * counter stands for a range of equivalent values.
 *
 * Two types. A `recorder` is the hot one: one fixed layout known at compile time (1 to 2^42-1 ns =
 * 73 minutes, 3 digits: 33,792 counters, exact below 2,048 ns, above that at most 1/1024 of the
 * value wide), 32-bit counters (132 KiB), one thread, no totals kept. It is a plain struct without
 * pointers, so it may lie in shared memory; all bytes zero = empty. A `histogram` has any layout
 * and 64-bit counters (264 KiB with the recorder's layout) and answers questions. Recorders are
 * merged into histograms outside the hot path.
 *
 * Our own values are nanoseconds; a file's histogram holds whatever its writer meant. Quantiles are
 * fractions 0 to 1 (0.99, not 99). Pure: no I/O, no clock, no globals. Not thread-safe. */
#ifndef LOOPMARK_HISTOGRAM_H
#define LOOPMARK_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- recording ------------------------------------------------------------------------------- */

#define RECORDER_DIGITS 3
#define RECORDER_HIGHEST ((UINT64_C(1) << 42) - 1)
#define RECORDER_HALF_MAGNITUDE 10 /* log2 of half a bucket's sub-buckets */
#define RECORDER_SUB_BUCKETS (2 << RECORDER_HALF_MAGNITUDE)
#define RECORDER_BUCKETS 32
#define RECORDER_COUNTERS ((RECORDER_BUCKETS + 1) << RECORDER_HALF_MAGNITUDE)

/* A counter wraps at 2^32: merge and reset at least once a minute. */
struct recorder {
    uint32_t counts[RECORDER_COUNTERS];
    uint64_t over;   /* values above RECORDER_HIGHEST, counted in the top counter too */
    uint64_t max_ns; /* exact, unlike the counters */
} __attribute__((aligned(128)));

static inline uint32_t recorder_index(uint64_t value_ns) {
    uint64_t capped = value_ns > RECORDER_HIGHEST ? RECORDER_HIGHEST : value_ns;
    uint32_t bucket = 63 - RECORDER_HALF_MAGNITUDE -
                      (uint32_t)__builtin_clzll(capped | (RECORDER_SUB_BUCKETS - 1));
    return (bucket << RECORDER_HALF_MAGNITUDE) + (uint32_t)(capped >> bucket);
}

/* Values above the range are never dropped: they go to the top counter, are counted in `over`, and
 * the exact maximum is kept. */
static inline void recorder_add(struct recorder *recorder, uint64_t value_ns) {
    recorder->counts[recorder_index(value_ns)]++;
    recorder->over += value_ns > RECORDER_HIGHEST;
    if (__builtin_expect(value_ns > recorder->max_ns, 0))
        recorder->max_ns = value_ns;
}

/* The same value `count` times; nothing when count is 0. */
static inline void recorder_add_n(struct recorder *recorder, uint64_t value_ns, uint32_t count) {
    recorder->counts[recorder_index(value_ns)] += count;
    recorder->over += value_ns > RECORDER_HIGHEST ? count : 0;
    if (count > 0 && value_ns > recorder->max_ns)
        recorder->max_ns = value_ns;
}

void recorder_reset(struct recorder *recorder);

/* ---- layouts --------------------------------------------------------------------------------- */

/* Which value is counted where. After HdrHistogram's "lowest discernible value", "highest trackable
 * value" and "number of significant value digits". */
struct histogram_layout {
    uint64_t lowest, highest; /* as asked for; counters reach to the end of a bucket */
    uint32_t digits;
    uint32_t unit_magnitude; /* log2 of the finest step: lowest, rounded down to a power of two */
    uint32_t half_magnitude; /* log2 of half a bucket's sub-buckets */
    uint32_t buckets;
    uint32_t counters;
};

#define HISTOGRAM_COUNTERS_MOST (8u << 20) /* 64 MiB: more is refused, in files too */

/* The recorder's. */
extern const struct histogram_layout histogram_standard;

/* 1 <= lowest, 2 * lowest <= highest <= INT64_MAX, 1 to 5 digits; else, or with more than
 * HISTOGRAM_COUNTERS_MOST counters or steps too fine for 62 bits, -EINVAL. */
int histogram_layout_init(struct histogram_layout *layout, uint64_t lowest, uint64_t highest,
                          uint32_t digits);
bool histogram_layout_equal(const struct histogram_layout *a, const struct histogram_layout *b);

/* The counter of a value; of one above all ranges the last. */
uint32_t histogram_index(const struct histogram_layout *layout, uint64_t value);

/* The first and the last value that the counter at `index` stands for. */
uint64_t histogram_lowest_equivalent(const struct histogram_layout *layout, uint32_t index);
uint64_t histogram_highest_equivalent(const struct histogram_layout *layout, uint32_t index);

/* ---- histograms ------------------------------------------------------------------------------ */

/* All bytes zero: empty, to be asked but not added to. */
struct histogram {
    struct histogram_layout layout;
    uint64_t *counts; /* layout.counters */
    uint64_t total;   /* at most INT64_MAX, as in files */
    uint64_t over;    /* values above the last counter's range, counted there too */
    uint64_t max;     /* exact, where it was recorded here; of a file, the end of its range */
};

#define HISTOGRAM_BEYOND_MIN 5 /* samples above a quantile, or it is not valid */

/* Empty, with counters of its own, until histogram_close, which leaves it all zero. -ENOMEM. */
int histogram_open(struct histogram *histogram, const struct histogram_layout *layout);
void histogram_close(struct histogram *histogram);

/* Empty, with the caller's zeroed counters (layout->counters), for shared memory. Not to be closed.
 */
void histogram_open_in(struct histogram *histogram, const struct histogram_layout *layout,
                       uint64_t *counts);
void histogram_reset(struct histogram *histogram);

/* Adds `count` samples of `value`; above the range as the recorder does. -EOVERFLOW, and nothing
 * added, where the total would exceed INT64_MAX. */
int histogram_record(struct histogram *histogram, uint64_t value, uint64_t count);

/* `into` has the standard layout. The recorder is left as it is; reset it before it records the
 * next interval. */
void histogram_add_recorder(struct histogram *into, const struct recorder *from);

/* Lossless between equal layouts. Between different ones each range is counted at its highest
 * equivalent value, so a quantile may rise to the end of the coarser range, and never falls.
 * -EOVERFLOW, and nothing added, where the total would exceed INT64_MAX. */
int histogram_merge(struct histogram *into, const struct histogram *from);

/* The same layout, counters, total, excess and maximum. */
bool histogram_equal(const struct histogram *a, const struct histogram *b);

/* The value at rank max(1, ceil(q * total)), as HdrHistogram for Java does since 2.1.10: the
 * highest equivalent value, so never below the sample and, with the standard layout, at most 1/1024
 * above it; never above the exact maximum. Where the sample lies above the range it is the exact
 * maximum. q = 0 is histogram_min. 0 when the histogram is empty. The rank is exact up to 2^53
 * samples; with more it is the nearest double's. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

/* Are there at least HISTOGRAM_BEYOND_MIN samples above the quantile's rank? */
bool histogram_quantile_valid(const struct histogram *histogram, double q);

/* Distribution-free interval from order statistics (Hahn and Meeker, Statistical Intervals, 5.2):
 * with probability `confidence` (0.5 or more, below 1) or more it covers the quantile of the
 * distribution the samples come from, half of the error on each side. The ranks come from the
 * exact binomial distribution (above 10^9 of variance from its Cornish-Fisher approximation); `low`
 * and `high` are widened outwards to the ends of their equivalent ranges. It takes the samples as
 * independent: latencies of one run are not quite, so this is the least uncertainty. False, and
 * nothing written, when there are too few samples to bound both sides (368 for p99 at 95 %). */
bool histogram_quantile_interval(const struct histogram *histogram, double q, double confidence,
                                 uint64_t *low, uint64_t *high);

/* HdrHistogram's definitions, 0 when empty: the minimum is the lowest equivalent value; mean and
 * (population) standard deviation take each sample as the middle of its range. */
uint64_t histogram_min(const struct histogram *histogram);
double histogram_mean(const struct histogram *histogram);
double histogram_stddev(const struct histogram *histogram);

/* Samples that are surely above `value`: those equivalent to it do not count. */
uint64_t histogram_count_above(const struct histogram *histogram, uint64_t value);

#endif
