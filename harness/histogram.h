/* histogram.h: HdrHistogram of nanosecond latencies, 1 ns to 2^42-1 ns (73 minutes), 3 digits.
 *
 * The layout (bucket and sub-bucket index, equivalent ranges, percentile rank, .hgrm text) is
 * HdrHistogram's, so that its tools read what we write. One fixed configuration, known at compile time:
 * 33,792 counters, relative width of a bucket at most 1/1024.
 *
 * Two types. A `recorder` is the hot one: 32-bit counters, one thread, no totals kept. A `histogram` has
 * 64-bit counters and answers questions. Recorders are merged into histograms outside the hot path.
 * Pure: no I/O but histogram_write_hgrm's stream, no clock, no globals. Not thread-safe. */
#ifndef LOOPMARK_HISTOGRAM_H
#define LOOPMARK_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_DIGITS 3
#define HISTOGRAM_HIGHEST ((UINT64_C(1) << 42) - 1)
#define HISTOGRAM_HALF_MAGNITUDE 10 /* log2 of half a bucket's sub-buckets */
#define HISTOGRAM_COUNTERS 33792

struct recorder {
    uint32_t counts[HISTOGRAM_COUNTERS];
    uint64_t over;    /* values above HISTOGRAM_HIGHEST, counted in the top counter too */
    uint64_t max_ns;  /* exact, unlike the counters */
} __attribute__((aligned(128)));

struct histogram {
    uint64_t counts[HISTOGRAM_COUNTERS];
    uint64_t total, over, max_ns;
};

static inline uint32_t histogram_index(uint64_t value_ns) {
    uint64_t capped = value_ns > HISTOGRAM_HIGHEST ? HISTOGRAM_HIGHEST : value_ns;
    uint32_t bucket = 63 - HISTOGRAM_HALF_MAGNITUDE -
                      (uint32_t)__builtin_clzll(capped | ((2u << HISTOGRAM_HALF_MAGNITUDE) - 1));
    return (bucket << HISTOGRAM_HALF_MAGNITUDE) + (uint32_t)(capped >> bucket);
}

/* Values above the range are never dropped: they go to the top counter, are counted in `over`, and the
 * exact maximum is kept. */
static inline void recorder_add(struct recorder *recorder, uint64_t value_ns) {
    recorder->counts[histogram_index(value_ns)]++;
    recorder->over += value_ns > HISTOGRAM_HIGHEST;
    if (__builtin_expect(value_ns > recorder->max_ns, 0))
        recorder->max_ns = value_ns;
}
