/* record.c: see record.h. */
#include "harness/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/environment.h"

/* The kernel tells user from system time by what it finds at its clock ticks: of less CPU time than
 * this there are too few. */
#define SPLIT_LEAST_NS (0.5 * NS_PER_S)

/* Quantiles as the contract for machines names them. */
static const struct {
    const char *name;
    double q;
} quantiles[] = {
    {"p50", 0.50}, {"p90", 0.90}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999},
};

static json_t *number_or_null(bool known, double value) {
    return known && isfinite(value) ? json_real(value) : json_null();
}

static json_t *count(uint64_t value) {
    return json_integer((json_int_t)value);
}

/* `result`: of response times, whose quantiles the generator's lag can spoil; else null. */
static json_t *latency(const struct histogram *histogram, const struct load_result *result) {
    if (histogram->total == 0)
        return json_null();
    json_t *object = json_object(), *intervals = json_object();
    json_object_set_new(object, "min", count(histogram_min(histogram)));
    json_object_set_new(object, "mean", json_real(histogram_mean(histogram)));
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        double q = quantiles[i].q;
        uint64_t low, high;
        bool valid =
            histogram_quantile_valid(histogram, q) && !(result && validity_lag_matters(result, q));
        json_object_set_new(object, quantiles[i].name,
                            valid ? count(histogram_quantile(histogram, q)) : json_null());
        if (valid && histogram_quantile_interval(histogram, q, 0.95, &low, &high))
            json_object_set_new(intervals, quantiles[i].name,
                                json_pack("[I,I]", (json_int_t)low, (json_int_t)high));
    }
    json_object_set_new(object, "max", count(histogram->max));
    json_object_set_new(object, "count", count(histogram->total));
    json_object_set_new(object, "intervals", intervals);
    return object;
}

static json_t *errors(const struct load_result *result) {
    json_t *object = json_object();
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        json_object_set_new(object, load_error_names[i], count(result->errors[i]));
    return object;
}

/* Errors told apart by what was being done: `phase`, `errno`, `what`. */
static json_t *causes(const struct load_result *result) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < result->cause_count; i++) {
        const struct load_cause *cause = &result->causes[i];
        const char *name = cause->err ? strerrorname_np(-cause->err) : NULL;
        const char *what = cause->what[0] ? cause->what : NULL;
        json_array_append_new(list, json_pack("{s:s, s:s?, s:s?, s:I}", "phase",
                                              load_phase_names[cause->phase], "errno", name, "what",
                                              what, "count", (json_int_t)cause->count));
    }
    return list;
}

static json_t *statuses(const struct load_result *result) {
    if (!result->has_statuses)
        return json_null();
    json_t *object = json_object();
    for (size_t i = 0; i < LOAD_STATUS_CLASSES; i++) {
        char name[8];
        snprintf(name, sizeof name, "%zuxx", i + 1);
        json_t *class = json_object();
        json_object_set_new(class, "count", count(result->status[i].total));
        json_object_set_new(class, "latency_ns", latency(&result->status[i], NULL));
        json_object_set_new(object, name, class);
    }
    return object;
}

static json_t *second_by_second(const struct load_result *result) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < result->interval_count; i++) {
        const struct load_interval *interval = &result->intervals[i];
        json_t *object = json_object();
        json_object_set_new(object, "at_ns", count(interval->at_ns));
        json_object_set_new(
            object, "rate",
            number_or_null(interval->length_ns > 0,
                           (double)interval->requests * 1e9 / (double)interval->length_ns));
        json_object_set_new(object, "p50",
                            interval->p50_ns ? count(interval->p50_ns) : json_null());
        json_object_set_new(object, "p99",
                            interval->p99_ns ? count(interval->p99_ns) : json_null());
        json_object_set_new(object, "errors", count(interval->errors));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *client(const struct load_result *result) {
    double answers = (double)result->answers, cpu_ns = (double)(result->cpu_ns - result->spin_ns);
    /* Spinning has its user time too: what is left of it after the same share is taken off. */
    double user_ns = result->cpu_ns ? (double)result->user_ns * cpu_ns / (double)result->cpu_ns : 0;
    json_t *object = json_object();
    json_object_set_new(object, "cpu_us_per_request",
                        number_or_null(answers > 0, cpu_ns / 1e3 / answers));
    json_object_set_new(object, "user_us_per_request",
                        number_or_null(answers > 0 && (double)result->cpu_ns >= SPLIT_LEAST_NS,
                                       user_ns / 1e3 / answers));
    json_object_set_new(object, "busy", json_real(result->busy));
    json_object_set_new(object, "received_bytes", count(result->received_bytes));
    json_object_set_new(object, "context_switches", count(result->context_switches));
    json_object_set_new(object, "threads", count(result->threads));
    json_object_set_new(object, "connections", count(result->connections));
    bool known = result->asking_connections > 0;
    json_object_set_new(object, "slowest_connection_requests",
                        known ? count(result->slowest_connection) : json_null());
    json_object_set_new(object, "median_connection_requests",
                        known ? count(result->median_connection) : json_null());
    json_object_set_new(object, "fastest_connection_requests",
                        known ? count(result->fastest_connection) : json_null());
    json_object_set_new(object, "congestion_control",
                        result->socket_known && result->socket.tcp
                            ? json_string(result->socket.congestion)
                            : json_null());
    return object;
}

static json_t *tls(const struct load_result *result) {
    const struct tls_agreed *agreed = &result->tls;
    if (!result->tls_known)
        return json_null();
    return json_pack("{s:s, s:s, s:s?}", "version", agreed->version, "cipher", agreed->cipher,
                     "protocol", agreed->protocol[0] ? agreed->protocol : NULL);
}

/* ---- the server ------------------------------------------------------------------------------ */

double record_server_cpu_us(const struct load_result *result) {
    uint64_t answers = result->after.answers - result->before.answers;
    if (!result->before.cpu_known || !result->after.cpu_known || answers == 0)
        return -1;
    return (double)(result->after.cpu_ns - result->before.cpu_ns) / 1e3 / (double)answers;
}

static void add_counters(json_t *object, const struct load_result *result, double requests) {
    const struct loop_counters *before = &result->before.counters, *after = &result->after.counters;
    bool known = result->before.counters_known && result->after.counters_known && requests > 0;
    json_t *calls = known ? json_object() : json_null();
    for (size_t i = 0; known && i < SYSCALL_KINDS; i++)
        json_object_set_new(
            calls, loop_syscall_names[i],
            json_real((double)(after->syscalls[i] - before->syscalls[i]) / requests));
    json_object_set_new(object, "syscalls_per_request", calls);
    double waits = (double)(after->syscalls[SYSCALL_WAIT] - before->syscalls[SYSCALL_WAIT]);
    double timers = (double)(after->timers_fired - before->timers_fired);
    json_object_set_new(
        object, "events_per_wait",
        number_or_null(known && waits > 0, (double)(after->events - before->events) / waits));
    json_object_set_new(
        object, "lag_ns",
        number_or_null(known && timers > 0,
                       (double)(after->timer_late_ns - before->timer_late_ns) / timers));
    json_object_set_new(object, "sends_later",
                        known ? count(after->sends_later - before->sends_later) : json_null());
    json_object_set_new(object, "copied_bytes",
                        known ? count(after->copied_bytes - before->copied_bytes) : json_null());
    json_object_set_new(object, "accept_refused",
                        known ? count(after->accept_refused) : json_null());
}

/* As they were at the window's end. */
static json_t *workload_counters(const struct control_workload *workload) {
    json_t *object = workload->count > 0 ? json_object() : json_null();
    for (size_t i = 0; i < workload->count; i++)
        json_object_set_new(object, workload->counters[i].name,
                            json_real(workload->counters[i].value));
    return object;
}

static json_t *server(const struct load_result *result, const struct validity *validity) {
    const struct server_mark *before = &result->before, *after = &result->after;
    double cpu_us = record_server_cpu_us(result);
    double requests = (double)(after->thorough_answers - before->thorough_answers);
    bool known = before->usage_known && after->usage_known && requests > 0;
    struct usage used = usage_difference(&after->usage, &before->usage);
    json_t *object = json_object();
    json_object_set_new(object, "cpu_us_per_request", number_or_null(cpu_us >= 0, cpu_us));
    /* Good as a share, so it is applied to the exact sum. */
    double split = (double)(used.user_ns + used.system_ns);
    json_object_set_new(
        object, "user_us_per_request",
        number_or_null(known && cpu_us >= 0 && split >= SPLIT_LEAST_NS,
                       cpu_us * (double)used.user_ns / split));
    json_object_set_new(object, "busy",
                        number_or_null(validity->server_busy >= 0, validity->server_busy));
    json_object_set_new(
        object, "context_switches_per_request",
        number_or_null(known,
                       (double)(used.voluntary_switches + used.involuntary_switches) / requests));
    json_object_set_new(object, "max_rss_bytes", known ? count(used.max_rss_bytes) : json_null());
    add_counters(object, result, requests);
    json_object_set_new(object, "workload", workload_counters(&after->workload));
    return object;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static json_t *reasons(const struct validity *validity) {
    json_t *list = json_array();
    for (size_t i = 0; i < validity->reason_count; i++)
        json_array_append_new(list, json_string(validity->reasons[i]));
    return list;
}

static json_t *lookups(const struct load_lookups *lookups) {
    if (lookups->count == 0)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "mean",
                        json_real((double)lookups->total_ns / (double)lookups->count));
    json_object_set_new(object, "max", count(lookups->longest_ns));
    json_object_set_new(object, "count", count(lookups->count));
    return object;
}

static json_t *turns(const struct turns *turns) {
    if (turns->count == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "length_ns", count(turns->length_ns), "number",
                     count(turns->number), "count", count(turns->count));
}

json_t *record_load(const struct load_plan *plan, const struct load_result *result,
                    const struct validity *validity) {
    bool open = result->open_loop, closed = result->finished && !open;
    const char *bound = bound_name(validity->bound);
    const char *arrivals =
        knob_get(&plan->knobs, "arrivals") == ARRIVALS_POISSON ? "poisson" : "constant";
    json_t *object = json_object();
    json_object_set_new(object, "schema", json_integer(RECORD_SCHEMA));
    json_object_set_new(object, "workload", json_string(plan->workload->name));
    json_object_set_new(object, "arrivals",
                        json_string(knob_get(&plan->knobs, "rate") > 0 ? arrivals : "closed"));
    json_object_set_new(object, "valid", json_boolean(validity->valid));
    json_object_set_new(object, "invalid", reasons(validity));
    json_object_set_new(object, "interrupted", json_boolean(result->interrupted));
    json_object_set_new(object, "bound", *bound ? json_string(bound) : json_null());
    json_object_set_new(object, "window_ns", count(result->window_ns));
    json_object_set_new(object, "turns", turns(&plan->turns));
    json_object_set_new(object, "offered_rate", number_or_null(open, result->offered_rate));
    json_object_set_new(object, "achieved_rate",
                        number_or_null(result->finished, result->achieved_rate));
    json_object_set_new(object, "requests", count(result->requests));
    json_object_set_new(object, "unsent", open ? count(result->unsent) : json_null());
    json_object_set_new(object, "shed", open ? count(result->shed) : json_null());
    json_object_set_new(object, "errors", errors(result));
    json_object_set_new(object, "causes", causes(result));
    json_object_set_new(object, "status", statuses(result));
    json_object_set_new(object, "reconnects", count(result->reconnects));
    json_object_set_new(object, "connect_ns", latency(&result->connect, NULL));
    json_object_set_new(object, "resolve_ns", lookups(&result->lookups));
    json_object_set_new(object, "unstable", json_boolean(validity->unstable));
    json_object_set_new(object, "drift",
                        number_or_null(validity->drift.known, validity->drift.change));
    json_object_set_new(object, "response_ns",
                        latency(closed ? &result->service : &result->response, result));
    json_object_set_new(object, "service_ns", latency(&result->service, NULL));
    json_object_set_new(object, "lag_ns", latency(&result->lag, NULL));
    json_object_set_new(object, "intervals", second_by_second(result));
    json_object_set_new(object, "knobs", record_knobs(&plan->knobs));
    json_object_set_new(object, "client", client(result));
    json_object_set_new(object, "tls", tls(result));
    json_object_set_new(object, "server", server(result, validity));
    char awake[CPU_LIST_BYTES];
    json_t *host = json_object();
    cpu_list_format(&plan->kept_awake, awake, sizeof awake);
    json_object_set_new(host, "kept_awake", *awake ? json_string(awake) : json_null());
    json_object_set_new(host, "steal_share",
                        number_or_null(result->host_known, validity->steal_share));
    double load_1m;
    bool load_known = getloadavg(&load_1m, 1) == 1;
    json_object_set_new(host, "load_1m", load_known ? json_real(load_1m) : json_null());
    json_object_set_new(object, "host", host);
    return object;
}

json_t *record_knobs(const struct knob_values *knobs) {
    json_t *object = json_object();
    const struct knob *knob;
    for (size_t i = 0; (knob = knob_at(knobs, i)); i++) {
        double value = knobs->values[i];
        char name[128];
        const char *unit = knob->type == KNOB_TIME   ? "_ns"
                           : knob->type == KNOB_RATE ? "_per_s"
                                                     : "";
        snprintf(name, sizeof name, "%s%s", knob->name, unit);
        json_t *json = knob->type == KNOB_CHOICE ? json_string(knob->choices[(size_t)value])
                       : knob->type == KNOB_FLAG ? json_boolean(value != 0)
                       : knob->type == KNOB_RATE ? json_real(value)
                                                 : json_integer((json_int_t)value);
        json_object_set_new(object, name, json);
    }
    return object;
}
