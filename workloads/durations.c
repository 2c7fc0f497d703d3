/* durations.c: see durations.h. */
#include "durations.h"

enum { STEP_BITS = DURATIONS_STEP_BITS, STEPS = 1 << STEP_BITS };

/* Below STEPS each value has a bucket; above, each power of two has STEPS of them. */
static unsigned bucket_of(uint64_t ns) {
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (power - STEP_BITS + 1) * STEPS + (unsigned)((ns >> (power - STEP_BITS)) & (STEPS - 1));
}

/* The largest time in a bucket. */
static double bucket_ns(unsigned bucket) {
    if (bucket < STEPS)
        return bucket;
    unsigned power = bucket / STEPS - 1;
    return (double)((((uint64_t)STEPS + bucket % STEPS + 1) << power) - 1);
}

void durations_add(struct durations *times, uint64_t ns) {
    times->count++;
    times->sum_ns += ns;
    times->buckets[bucket_of(ns)]++;
}

double durations_mean_ns(const struct durations *times) {
    return times->count ? (double)times->sum_ns / (double)times->count : 0;
}

double durations_quantile_ns(const struct durations *times, double quantile) {
    uint64_t seen = 0, wanted = (uint64_t)(quantile * (double)times->count);
    for (unsigned i = 0; i < DURATIONS_BUCKETS; i++) {
        seen += times->buckets[i];
        if (seen > wanted)
            return bucket_ns(i);
    }
    return 0;
}
