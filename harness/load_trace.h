/* load_trace.h: what became of each request of a load, and when its generator stood still.
 *
 * For who has to know which request was slow, and whether the generator could have known better:
 * histograms have forgotten that. A generator that keeps a trace never sleeps, so that it notices
 * when it stood still: two looks at the clock with one request's work between them at most lie far
 * apart. Then the host, an interrupt or another process had its CPU.
 *
 * It lies in memory that the generator's process shares with the one that opened it: written by
 * the one until the load has ended, read by the other after that. CLOCK_MONOTONIC, ns. */
#ifndef LOOPMARK_LOAD_TRACE_H
#define LOOPMARK_LOAD_TRACE_H

#include <stdint.h>

enum { LOAD_TRACE_REQUESTS = 1 << 20, LOAD_TRACE_STANDSTILLS = 1 << 14 };
#define LOAD_TRACE_STANDSTILL_LEAST_NS 100000

/* All zero: it was not sent, or not answered. */
struct load_trace_request {
    uint64_t sent_ns;
    uint64_t answered_ns; /* as it went into the histograms */
};

/* From the last look before it to when nothing was left to do of what had come meanwhile. */
struct load_trace_standstill {
    uint64_t from_ns, to_ns;
    uint64_t still_ns; /* of it: it did nothing */
};

struct load_trace {
    uint64_t standstill_count; /* in order of time; further ones are not kept */
    struct load_trace_standstill standstills[LOAD_TRACE_STANDSTILLS];
    struct load_trace_request requests[LOAD_TRACE_REQUESTS]; /* in order of the schedule, from the
                                                                warm-up's first; further ones are
                                                                not kept */
};

/* Null: out of memory. */
struct load_trace *load_trace_open(void);
void load_trace_close(struct load_trace *trace); /* null: nothing to do */

#endif
