/* schedule.h: when each request of an open-loop run is due.
 *
 * Request k = 0, 1, 2, ... is due at an offset from the start that follows from k, the rate and the
 * seed alone, never from completions: latency counted from there has no coordinated omission.
 *
 *   constant  floor(k * 1e9 / rate) ns, in whole numbers and with the rate exactly as the double
 *             it is: nothing is carried from one request to the next, so nothing drifts.
 *   Poisson   exponential gaps of mean 1 / rate from the seeded stream; the first request is due
 *             after the first gap. Fractions of a nanosecond are carried over, so the rounding
 *             error of the sum stays under 2^-52 of the offset (1 ns in 50 days).
 *
 * Either may ramp: from some time on the rate changes linearly until it is another one. Then
 * request k is due when the integral of the rate reaches k (constant) or the sum of k + 1
 * exponential gaps of mean 1 (Poisson, a process whose rate changes: Lewis and Shedler, "Simulation
 * of nonhomogeneous Poisson processes", 1979, by inversion), to within 1 ns an hour from the start.
 *
 * A schedule is a cursor, moved by its owner. It may be split over generator threads: part p of n
 * owns the requests k = p (mod n), so the parts together are the whole schedule, request for
 * request, and the same arrivals come whatever the number of threads. For Poisson each part draws
 * the whole stream and keeps its own, about 10 ns a request of the whole; independent streams at
 * rate / n would save that, but their union would be another schedule for every n.
 *
 * A due time that does not fit in 64 bits (584 years) is SCHEDULE_NEVER. Pure: no clock, no I/O, no
 * globals. A schedule belongs to one thread. */
#ifndef LOOPMARK_SCHEDULE_H
#define LOOPMARK_SCHEDULE_H

#include <stdint.h>

#include "harness/random.h"

#define SCHEDULE_RATE_MIN 0.001 /* per second */
#define SCHEDULE_RATE_MAX 1e9
#define SCHEDULE_NEVER UINT64_MAX

enum arrivals { ARRIVALS_CONSTANT, ARRIVALS_POISSON };

/* Read through the functions below. */
struct schedule {
    enum arrivals arrivals;
    uint32_t part, parts;
    uint64_t number, due_ns; /* of the current request */
    double rate_per_s;
    uint64_t seed;
    /* constant: the gap in ns as a fraction, (1e9 << gap_shift) / gap_divisor */
    uint64_t gap_divisor;
    uint32_t gap_shift;
    /* Poisson */
    struct random stream;
    double carry_ns; /* 0 to 1, what due_ns leaves out */
    /* a ramp; no length: none */
    double end_rate_per_s, hold_s, ramp_s;
    double gaps; /* Poisson: the sum so far */
};

/* Stands on the part's first request. The rate lies between SCHEDULE_RATE_MIN and _MAX; part <
 * parts; `seed` matters to Poisson only. */
void schedule_init(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                   uint64_t seed, uint32_t part, uint32_t parts);

/* The same with a ramp: the first rate for `hold_ns`, then in `ramp_ns` (over 0) linearly to
 * `end_rate_per_s`, which stays. */
void schedule_init_ramp(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                        double end_rate_per_s, uint64_t hold_ns, uint64_t ramp_ns, uint64_t seed,
                        uint32_t part, uint32_t parts);

/* To the part's next request. */
void schedule_advance(struct schedule *schedule);

/* The current request: its offset from the start, and its number k in the whole schedule. */
static inline uint64_t schedule_due_ns(const struct schedule *schedule) {
    return schedule->due_ns;
}

static inline uint64_t schedule_number(const struct schedule *schedule) {
    return schedule->number;
}

/* How many requests of this part are due in [from_ns, to_ns), counted from the schedule's beginning
 * wherever the cursor stands. Constant: a division. Poisson: a walk from the start to to_ns, so not
 * for the hot path. */
uint64_t schedule_count_between(const struct schedule *schedule, uint64_t from_ns, uint64_t to_ns);

#endif
