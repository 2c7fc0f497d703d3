/* ticks.h: a clock for the monitors, whose own looks at the clock are most of what they cost.
 *
 * Where the kernel takes its time from the processor's counter (clock source tsc: it runs evenly,
 * and alike on all CPUs), ticks are read from that directly, which is cheaper than clock_now_ns;
 * elsewhere they are nanoseconds of the latter. What a tick is in time is measured against
 * clock_now_ns, from when the ticks were opened until they were adjusted last. */
#ifndef LOOPMARK_TICKS_H
#define LOOPMARK_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

#if defined __x86_64__
#include <x86intrin.h>
#endif

struct ticks {
    bool counter; /* the processor's */
    uint64_t begun_ticks, begun_ns;
    double ns_per_tick;
};

/* Takes a millisecond where it has to measure the counter. */
void ticks_open(struct ticks *ticks);
/* From all the time since then. */
void ticks_adjust(struct ticks *ticks);

static inline uint64_t ticks_now(const struct ticks *ticks) {
#if defined __x86_64__
    if (ticks->counter)
        return __rdtsc();
#else
    (void)ticks;
#endif
    return clock_now_ns();
}

/* As many as were between two reads: less than 2^63, and a signed number is soon a double. */
static inline uint64_t ticks_to_ns(const struct ticks *ticks, uint64_t number) {
    double ns = (double)(int64_t)number * ticks->ns_per_tick + 0.5;
    return ticks->counter ? (uint64_t)(int64_t)ns : number;
}

/* At most as many as that time takes. */
uint64_t ticks_within_ns(const struct ticks *ticks, uint64_t ns);

#endif
