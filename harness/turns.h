/* turns.h: several loads on the same CPUs, each in its turn.
 *
 * The speed of a shared machine changes within seconds. Servers that are to be compared therefore
 * live side by side, and their loads take turns of some milliseconds: time is cut into turns of
 * equal length, the first belongs to load 0, the next to load 1, and so on. Whose turn it is
 * follows from the monotonic clock alone, so the generators' processes need not speak to each
 * other.
 *
 * A load's own time is what of its turns has passed; its schedule, warm-up and window are counted
 * in it. A turn ends TURNS_REST_NS before the next load's begins: answers under way come, and the
 * next generator can wake up and spin.
 *
 * Pure: no clock, no I/O. */
#ifndef LOOPMARK_TURNS_H
#define LOOPMARK_TURNS_H

#include <stdint.h>

#include "loops/clock.h"

#define TURNS_REST_NS NS_PER_MS
#define TURNS_LENGTH_LEAST_NS (5 * NS_PER_MS)

struct turns {
    uint32_t number, count; /* load `number` of `count`; count 0: alone, and all time is its own */
    uint64_t length_ns;     /* of a turn, rest included; at least TURNS_LENGTH_LEAST_NS */
};

/* Own time from 0 until `time_ns`, both absolute. */
uint64_t turns_own_ns(const struct turns *turns, uint64_t time_ns);
/* The first absolute time at which so much own time has passed and a turn of it is under way. */
uint64_t turns_time_ns(const struct turns *turns, uint64_t own_ns);
/* How much of the time between two absolute ones was own. */
uint64_t turns_own_between_ns(const struct turns *turns, uint64_t from_ns, uint64_t to_ns);

#endif
