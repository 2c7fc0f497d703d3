/* interval.h: the latencies of each second, handed from the generator's threads to the process that
 * started them, while the load runs.
 *
 * Each thread owns a ring of recorders in memory that both processes share. It records into one; at
 * the end of a second it goes on to the next, and what it filled is the reader's, who merges it,
 * empties it and gives it back. Neither ever waits for the other, so recording costs nothing but
 * the recording. When the reader is late and no recorder is free, the thread stays where it is: the
 * interval gets longer, but no value is lost or counted twice. The sum of all intervals is all that
 * was recorded.
 *
 * One writer and one reader a ring; all bytes zero = empty. Times are absolute, CLOCK_MONOTONIC. */
#ifndef LOOPMARK_INTERVAL_H
#define LOOPMARK_INTERVAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "harness/histogram.h"

enum { INTERVAL_SLOTS = 4 };

struct interval_slot {
    struct recorder latency;
    uint64_t requests, errors;
    uint64_t ended_ns;
    uint32_t number; /* of the interval it ends with, from 1 */
    bool late;       /* all of it is late: answers that came in the drain */
    bool held;       /* an end passed while it was current: then it is not all late */
};

struct interval_ring {
    struct interval_slot slots[INTERVAL_SLOTS];
    _Atomic uint32_t filled, taken; /* so far */
    atomic_bool closed;             /* no more will be filled */
};

/* ---- the thread that records ----------------------------------------------------------------- */

/* Where to record now. */
struct interval_slot *interval_current(struct interval_ring *ring);

/* The current slot is full up to the end of interval `number`, numbers ascending. */
void interval_end(struct interval_ring *ring, uint32_t number, bool late, uint64_t now_ns);

/* The same for the last time. */
void interval_close(struct interval_ring *ring, uint32_t number, bool late, uint64_t now_ns);

/* ---- the process that reads ------------------------------------------------------------------ */

/* One interval over all threads. */
struct latency_interval {
    uint64_t began_ns, ended_ns;
    uint64_t requests, errors;
    bool late;
    struct histogram latency;
};

struct interval_reader {
    struct interval_ring *rings;
    uint32_t ring_count;
    uint32_t *reached;                /* per ring: the last number taken */
    uint32_t target;                  /* number of the interval being put together; 0: none */
    struct latency_interval interval; /* so far */
};

/* -ENOMEM. The rings stay the caller's. */
int interval_reader_open(struct interval_reader *reader, struct interval_ring *rings,
                         uint32_t ring_count);

/* The next interval that all threads have ended; null when there is none yet. Valid until the next
 * call. The first one begins at `first_ns`, each further one where the one before it ended. */
const struct latency_interval *interval_read(struct interval_reader *reader, uint64_t first_ns);
void interval_reader_close(struct interval_reader *reader);

#endif
