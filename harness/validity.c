/* validity.c: the rules, each with its limit and why it is where it is. */
#include "harness/validity.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define SATURATED 0.95      /* closed loop: a CPU this busy has nothing left to give */
#define OPEN_BUSY_MOST 0.85 /* open loop: beyond it queues form in the generator itself */
#define ERRORS_MOST 0.001   /* of all requests */
#define MISSED_MOST 0.01    /* of the requests that were due */
#define CONSTANT_MISS 0.001 /* a constant rate has no luck */
#define STEAL_MOST                                                                                 \
    0.02 /* what the host takes away cannot be told from the server's own slowness                 \
          */
#define ONE_CPU_MOST 1.02             /* more CPU time than one CPU has: several threads */
#define WAITING_MOST 0.10             /* of the window, at its end, without an answer */
#define STARVED_MOST 0.05             /* of the window, spent runnable without a CPU */
#define LAG_SHARE_MOST 0.10           /* of the response time it would hide in, at p99 */
#define LAG_LEAST_NS (50 * NS_PER_US) /* below it lag is what waking up and sending cost */
#define DRIFT_MOST 0.10    /* of a steady change within the run; below it nobody would care */
#define UNSTABLE_LEAST 1.0 /* open loop: p50 grows by its own median or more */
#define WHOLE_INTERVAL_NS (NS_PER_S / 2) /* shorter ones, at the end, say too little */

void validity_refuse(struct validity *validity, const char *format, ...) {
    va_list arguments;
    validity->valid = false;
    if (validity->reason_count == REASONS_MOST)
        return;
    va_start(arguments, format);
    vsnprintf(validity->reasons[validity->reason_count++], REASON_BYTES, format, arguments);
    va_end(arguments);
}

static bool are_too_many(const struct load_result *result, uint64_t errors) {
    uint64_t requests = result->requests + load_failures(result->errors);
    return result->errors[LOAD_WRONG_ANSWER] > 0 ||
           (double)errors > ERRORS_MOST * (double)requests;
}

/* False: there are too many. */
static bool judge_errors(const struct load_result *result, struct validity *validity) {
    uint64_t errors = 0;
    char kinds[REASON_BYTES / 2] = "";
    size_t used = 0;
    for (size_t i = 0; i < LOAD_ERRORS; i++) {
        if (result->errors[i] == 0)
            continue;
        errors += result->errors[i];
        if (used < sizeof kinds)
            used +=
                (size_t)snprintf(kinds + used, sizeof kinds - used, "%s%llu %s", used ? ", " : "",
                                 (unsigned long long)result->errors[i], load_error_names[i]);
    }
    if (are_too_many(result, errors))
        validity_refuse(validity, "%llu errors (%s)", (unsigned long long)errors, kinds);
    return !are_too_many(result, errors);
}

/* What still waits at the end is in no histogram. */
static void judge_waiting(const struct load_result *result, struct validity *validity) {
    if ((double)result->waiting_ns > WAITING_MOST * (double)result->window_ns &&
        result->waiting_ns > result->service.max)
        validity_refuse(
            validity,
            "at the end a request had waited %.0f ms without an answer, longer than any "
            "that was answered (%.1f ms)",
            (double)result->waiting_ns / 1e6, (double)result->service.max / 1e6);
}

static void judge_bound(const struct load_result *result, const struct load_plan *plan,
                        bool one_thread, struct validity *validity) {
    /* What a CPU was wanted for and not given counts as wanted: starved, it has nothing left
     * either. */
    double window_ns = (double)result->window_ns;
    double waited_ns =
        (double)load_starved_ns(plan, &result->before.cpu_wait, &result->after.cpu_wait);
    bool generator = result->busy + (double)result->starved_ns / window_ns >= SATURATED;
    bool server = validity->server_busy + waited_ns / window_ns >= SATURATED;
    /* Of several threads or processes it is not known which one would be full. */
    if (validity->server_busy < 0 || !one_thread) {
        validity->bound = BOUND_NONE;
        return;
    }
    validity->bound = server ? (generator ? BOUND_CO_LIMITED : BOUND_SERVER)
                             : (generator ? BOUND_GENERATOR : BOUND_LATENCY);
    if (validity->bound == BOUND_GENERATOR)
        validity_refuse(
            validity, "the generator is the limit (busy %.0f %%) while the server is not (%.0f %%)",
            result->busy * 100, validity->server_busy * 100);
}

bool validity_lag_matters(const struct load_result *result, double q) {
    if (result->lag.total == 0 || result->response.total == 0)
        return false;
    uint64_t lag_ns = histogram_quantile(&result->lag, q);
    return lag_ns > LAG_LEAST_NS &&
           (double)lag_ns > LAG_SHARE_MOST * (double)histogram_quantile(&result->response, q);
}

static bool generator_was_late(const struct load_result *result) {
    return result->busy > OPEN_BUSY_MOST ||
           (double)result->starved_ns > STARVED_MOST * (double)result->window_ns ||
           validity_lag_matters(result, 0.99);
}

static void judge_rate(const struct load_result *result, const struct load_plan *plan,
                       struct validity *validity) {
    double due = (double)result->due, sent = (double)result->sent;
    if (result->busy > OPEN_BUSY_MOST)
        validity_refuse(validity, "the generator was %.0f %% busy (limit %.0f %%)",
                        result->busy * 100, OPEN_BUSY_MOST * 100);
    double limit =
        knob_get(&plan->knobs, "arrivals") == ARRIVALS_CONSTANT ? CONSTANT_MISS : MISSED_MOST;
    if (due > 0 && due - sent > limit * due && due - sent > 1) {
        validity->unstable = !generator_was_late(result);
        validity_refuse(
            validity,
            "%sonly %.2f %% of the requests due were sent: %.0f/s is over what server and "
            "connections take (or the generator: busy %.0f %%)",
            validity->unstable ? "unstable: " : "", sent / due * 100, result->offered_rate,
            result->busy * 100);
    }
    static const double judged[] = {0.5, 0.99};
    for (size_t i = 0; i < ARRAY_LENGTH(judged); i++)
        if (validity_lag_matters(result, judged[i]))
            validity_refuse(validity,
                            "the generator sent late: p%.0f of its lag is %.0f us, of the response "
                            "%.0f us",
                            judged[i] * 100,
                            (double)histogram_quantile(&result->lag, judged[i]) / 1e3,
                            (double)histogram_quantile(&result->response, judged[i]) / 1e3);
}

/* ---- change within the run ------------------------------------------------------------------- */

static size_t interval_series(const struct load_result *result,
                              double values[LOAD_INTERVALS_MOST]) {
    size_t count = 0;
    for (uint32_t i = 0; i < result->interval_count; i++) {
        const struct load_interval *interval = &result->intervals[i];
        if (interval->length_ns < WHOLE_INTERVAL_NS || (result->open_loop && !interval->p50_ns))
            continue;
        values[count++] = result->open_loop
                              ? (double)interval->p50_ns
                              : (double)interval->requests * 1e9 / (double)interval->length_ns;
    }
    return count;
}

/* Where a queue grows, latency measures how long the run was. */
static void judge_drift(const struct load_result *result, const struct load_plan *plan,
                        struct validity *validity) {
    double values[LOAD_INTERVALS_MOST];
    if (knob_get(&plan->knobs, "end_rate") > 0)
        return;
    validity->drift = trend_of(values, interval_series(result, values));
    double change = validity->drift.change;
    if (!validity->drift.steady || fabs(change) < DRIFT_MOST)
        return;
    if (result->open_loop && change >= UNSTABLE_LEAST) {
        validity->unstable = true;
        validity_refuse(validity,
                        "unstable: response times grew through the whole run (p50 by %.0f %% of "
                        "its median): a longer run would show longer ones",
                        change * 100);
        return;
    }
    snprintf(validity->note, sizeof validity->note,
             "drift within the run: %s changed by %+.0f %% from beginning to end",
             result->open_loop ? "p50" : "the rate", change * 100);
}

static void judge_host(const struct load_result *result, const struct load_plan *plan,
                       bool shared_cpu, struct validity *validity) {
    double window_ns = (double)result->window_ns;
    if (validity->steal_share > STEAL_MOST)
        validity_refuse(validity, "the host took away %.1f %% of the CPU time (limit %.0f %%)",
                        validity->steal_share * 100, STEAL_MOST * 100);
    if (shared_cpu)
        return;
    if ((double)result->starved_ns > STARVED_MOST * window_ns)
        validity_refuse(validity, "the generator waited for a CPU %.0f %% of the time",
                        (double)result->starved_ns / window_ns * 100);
    double server_starved_ns =
        (double)load_starved_ns(plan, &result->before.cpu_wait, &result->after.cpu_wait);
    if (result->after.cpu_known && !plan->server_waits_for_its_own && !plan->server_has_threads &&
        server_starved_ns > STARVED_MOST * window_ns)
        validity_refuse(validity, "the server waited for a CPU %.0f %% of the time",
                        server_starved_ns / window_ns * 100);
}

void validity_judge(const struct load_result *result, const struct load_plan *plan, int server_cpus,
                    bool shared_cpu, struct validity *validity) {
    *validity = (struct validity){.valid = true, .server_busy = -1};
    if (!result->finished) {
        validity_refuse(validity, "%s", result->failure.text);
        return;
    }
    if (result->before.cpu_known && result->after.cpu_known && result->window_ns > 0)
        validity->server_busy =
            (double)(result->after.cpu_ns - result->before.cpu_ns) /
            (double)turns_own_between_ns(&plan->turns, result->before.at_ns, result->after.at_ns) /
            (server_cpus > 0 ? server_cpus : 1);
    bool one_thread = !plan->server_waits_for_its_own &&
                      (server_cpus > 0 || (result->after.usage.processes <= 1 &&
                                           validity->server_busy <= ONE_CPU_MOST));
    if (result->host_known)
        validity->steal_share = host_steal_share(&result->host_before, &result->host_after);
    if (result->requests == 0)
        validity_refuse(validity, "no request was answered");
    bool answered = judge_errors(result, validity) && result->requests > 0;
    if (result->open_loop)
        judge_rate(result, plan, validity);
    else {
        judge_bound(result, plan, one_thread, validity);
        judge_waiting(result, validity);
    }
    judge_drift(result, plan, validity);
    size_t others = validity->reason_count;
    judge_host(result, plan, shared_cpu, validity);
    bool machine = validity->reason_count > others;
    bool generator =
        result->open_loop ? generator_was_late(result) : validity->bound == BOUND_GENERATOR;
    validity->machine_only = machine && others == 0;
    validity->only_slower = result->open_loop && answered && !validity->unstable &&
                            (double)result->sent >= (1 - MISSED_MOST) * (double)result->due;
    validity->fault = validity->valid ? FAULT_NONE
                      : machine       ? FAULT_MACHINE
                      : generator     ? FAULT_GENERATOR
                                      : FAULT_SERVER;
}
