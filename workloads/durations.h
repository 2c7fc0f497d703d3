/* durations.h: how long something took, over many times: mean and quantiles in a fixed memory.
 *
 * A time is counted in steps of a 32nd of its power of two, so a quantile is up to a 32nd too much
 * and never too little. The loop's thread only. */
#ifndef LOOPMARK_DURATIONS_H
#define LOOPMARK_DURATIONS_H

#include <stdint.h>

enum {
    DURATIONS_STEP_BITS = 5,
    DURATIONS_BUCKETS = (65 - DURATIONS_STEP_BITS) << DURATIONS_STEP_BITS
};

/* All zero at first. */
struct durations {
    uint64_t count, sum_ns;
    uint64_t buckets[DURATIONS_BUCKETS];
};

void durations_add(struct durations *times, uint64_t ns);

/* 0 while there are none. `quantile` 0 … 1. */
double durations_mean_ns(const struct durations *times);
double durations_quantile_ns(const struct durations *times, double quantile);

#endif
