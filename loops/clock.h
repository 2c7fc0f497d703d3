/* clock.h: the one clock everything is measured with; ticks.h is a cheaper way to look at it.
 *
 * CLOCK_MONOTONIC in nanoseconds, through the vDSO (about 20 ns a read where the clock source is
 * the TSC). Wall time appears only in records, as the date of a run. */
#ifndef LOOPMARK_CLOCK_H
#define LOOPMARK_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

static inline uint64_t clock_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline struct timespec clock_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

#endif
