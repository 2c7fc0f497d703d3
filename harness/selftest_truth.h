/* selftest_truth.h: what the response time of each request had to be, and of which ones it cannot
 * be told whether the generator measured it right, since it stood still itself.
 *
 * Requests are in the order of the schedule, which is the order in which the server of known times
 * took them. Times are CLOCK_MONOTONIC, ns. Pure. */
#ifndef LOOPMARK_SELFTEST_TRUTH_H
#define LOOPMARK_SELFTEST_TRUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/known_server.h"
#include "harness/load_trace.h"

struct truth {
    enum known_kind kind;
    size_t count;
    const uint64_t *due_ns; /* by the schedule */
    const struct known_times *times;
};

/* Response times as they had to be: requests came when they were due, and took the server as long
 * as it did, its standstills included. A delay counts from the request's arrival; in a queue each
 * waits for those before it (Lindley's recursion, queueing.h). */
void truth_responses(const struct truth *truth, uint64_t *response_ns);

/* Marks the requests that a standstill of the generator touched, and says how many: it lay between
 * when one was due and when it had arrived, or between when its answer had left and when it was
 * measured. In a queue those behind them are touched too, while the server is later than it should
 * have been (`response_ns`, of truth_responses) by what counts as a standstill. */
size_t truth_touched(const struct truth *truth, const uint64_t *response_ns,
                     const struct load_trace *trace, bool *touched);

#endif
