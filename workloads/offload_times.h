/* offload_times.h: how long something took, over many times: mean and quantiles in a fixed memory.
 *
 * A time is counted in steps of an eighth of its power of two, so a quantile is up to an eighth too
 * much and never too little. The loop's thread only. */
#ifndef LOOPMARK_OFFLOAD_TIMES_H
#define LOOPMARK_OFFLOAD_TIMES_H

#include <stdint.h>

enum { OFFLOAD_TIMES_BUCKETS = 62 * 8 };

/* All zero at first. */
struct offload_times {
    uint64_t count, sum_ns;
    uint64_t buckets[OFFLOAD_TIMES_BUCKETS];
};

void offload_times_add(struct offload_times *times, uint64_t ns);

/* 0 while there are none. `quantile` 0 … 1. */
double offload_times_mean_ns(const struct offload_times *times);
double offload_times_quantile_ns(const struct offload_times *times, double quantile);

#endif
