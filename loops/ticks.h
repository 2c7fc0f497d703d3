/* ticks.h: a clock for the monitors, whose own looks at the clock are most of what they cost.
 *
 * Ticks are the processor's counter where that runs evenly by its own word (invariant TSC, AMD64
 * Architecture Programmer's Manual volume 3, CPUID Fn8000_0007 EDX bit 8) and the kernel takes its
 * time from it too (clock source tsc, or kvm-clock, which is the same with a factor of the host's):
 * to read that is cheaper than clock_now_ns, which with kvm-clock also looks at memory. Elsewhere
 * they are nanoseconds of clock_now_ns. What a tick is in time is measured against that, from when
 * the ticks were opened until they were adjusted last. Whoever adjusts them hears if the two clocks
 * have parted, as when a virtual machine moves to another host; from then on ticks are as many as
 * clock_now_ns says. They are to be adjusted every now and then, or nobody would notice. */
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
    uint64_t adjusted_ticks, adjusted_ns;
    double ns_per_tick;
};

/* Takes a millisecond where it has to measure the counter. */
void ticks_open(struct ticks *ticks);
/* From all the time since then. False: the counter is not to be trusted, once: what was measured
 * with it since it was adjusted before may be wrong by any amount. */
bool ticks_adjust(struct ticks *ticks);

uint64_t ticks_of_clock(const struct ticks *ticks);
static inline uint64_t ticks_now(const struct ticks *ticks) {
#if defined __x86_64__
    if (__builtin_expect(ticks->counter, 1))
        return __rdtsc();
#endif
    return ticks_of_clock(ticks);
}

/* As many as were between two reads: less than 2^63, and a signed number is soon a double. */
static inline uint64_t ticks_to_ns(const struct ticks *ticks, uint64_t number) {
    return (uint64_t)(int64_t)((double)(int64_t)number * ticks->ns_per_tick + 0.5);
}

/* At most as many as that time takes. */
uint64_t ticks_within_ns(const struct ticks *ticks, uint64_t ns);

#endif
