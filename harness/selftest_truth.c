/* selftest_truth.c: see selftest_truth.h. */
#include "harness/selftest_truth.h"

#include "harness/queueing.h"
#include "loops/check.h"

/* From arrived to left, whatever became of the server meanwhile. */
static void replay_delays(const struct truth *truth, uint64_t *response_ns) {
    for (size_t i = 0; i < truth->count; i++)
        response_ns[i] = truth->times[i].left_ns - truth->times[i].arrived_ns;
}

/* The answer has left a little before the server is free again. */
static uint64_t after_leaving_ns(const struct known_times *times) {
    return times->free_ns - times->left_ns;
}

/* A service is what the server took from when it could have begun. */
static void replay_queue(const struct truth *truth, uint64_t *response_ns) {
    const struct known_times *times = truth->times;
    uint64_t free_ns = 0;
    for (size_t i = 0; i < truth->count; i++) {
        uint64_t arrived_ns = times[i].arrived_ns;
        response_ns[i] = times[i].free_ns - (arrived_ns > free_ns ? arrived_ns : free_ns);
        free_ns = times[i].free_ns;
    }
    queueing_replay(truth->due_ns, response_ns, truth->count, response_ns);
    for (size_t i = 0; i < truth->count; i++)
        response_ns[i] -= after_leaving_ns(&times[i]);
}

void truth_responses(const struct truth *truth, uint64_t *response_ns) {
    if (truth->kind == KNOWN_DELAY)
        replay_delays(truth, response_ns);
    else
        replay_queue(truth, response_ns);
}

/* Had this one, or should it have had, to wait for the one before, and was the server with that one
 * later than it should have been? */
static bool waits_for_late_one(const struct truth *truth, const uint64_t *response_ns, size_t i) {
    const struct known_times *previous = &truth->times[i - 1];
    uint64_t free_ns = previous->free_ns;
    uint64_t should_be_ns = truth->due_ns[i - 1] + response_ns[i - 1] + after_leaving_ns(previous);
    bool late = free_ns >= should_be_ns + LOAD_TRACE_STANDSTILL_LEAST_NS;
    return late && (truth->times[i].arrived_ns < free_ns || truth->due_ns[i] < should_be_ns);
}

/* Did the generator stand still at some time from..to? Standstills are in order and apart. */
static bool stood_still(const struct load_trace *trace, uint64_t from_ns, uint64_t to_ns) {
    size_t low = 0, high = trace->standstill_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (trace->standstills[middle].to_ns < from_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low < trace->standstill_count && trace->standstills[low].from_ns <= to_ns;
}

/* While the server had the request, what the generator did does not matter. */
static bool is_touched(const struct truth *truth, const struct load_trace *trace, size_t i) {
    const struct known_times *times = &truth->times[i];
    uint64_t answered_ns = trace->requests[i].answered_ns;
    return answered_ns == 0 || stood_still(trace, truth->due_ns[i], times->arrived_ns) ||
           stood_still(trace, times->left_ns, answered_ns);
}

size_t truth_touched(const struct truth *truth, const uint64_t *response_ns,
                     const struct load_trace *trace, bool *touched) {
    size_t count = 0;
    CHECK(truth->count <= LOAD_TRACE_REQUESTS);
    for (size_t i = 0; i < truth->count; i++) {
        touched[i] = is_touched(truth, trace, i);
        if (truth->kind == KNOWN_QUEUE && i > 0 && touched[i - 1] && !touched[i])
            touched[i] = waits_for_late_one(truth, response_ns, i);
        count += touched[i];
    }
    return count;
}
