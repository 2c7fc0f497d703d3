/* selftest.c: see selftest.h. */
#include "harness/selftest.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/interrupt.h"
#include "harness/known_server.h"
#include "harness/load.h"
#include "harness/load_knobs.h"
#include "harness/queueing.h"
#include "harness/validity.h"
#include "loops/check.h"
#include "loops/clock.h"

/* An error of a twentieth, or of what waking up and an interrupt cost, goes unnoticed in most
 * questions that are asked of latencies. */
#define ALLOWED_SHARE 0.05
#define ALLOWED_NS (30.0 * NS_PER_US)
#define ALLOWED_TAIL_NS (150.0 * NS_PER_US) /* beyond p90: interrupts, the host */
#define DISTURBED_MOST 0.004                /* of the time; a p99 is moved by 0.01 */
#define LUCK_TIMES 1.5 /* half a 95 % interval of the mean of 20, to what is missed once in 200 */
#define T_20_BATCHES 2.093 /* Student's, 19 degrees of freedom, 95 % */

enum {
    CONNECTIONS = 64,
    MESSAGE_BYTES = 64,
    BATCHES = 20,
    REPEATS_MOST = 3, /* of all cases together */
    SEED = 20,        /* of arrivals */
    SERVICE_SEED = 7, /* another one, or long services would go with long gaps */
};

const char *const selftest_verdict_names[] = {
    [SELFTEST_WITHIN] = "within", [SELFTEST_OFF] = "off", [SELFTEST_SHOWN] = "shown"};

/* ---- cases ----------------------------------------------------------------------------------- */

/* What came of a case's load, and what its server kept. */
struct measured {
    const struct selftest_case *asked;
    const struct load_result *load;
    const struct known_times *times; /* of request k of the schedule */
    size_t count, first;             /* all, and the first one of the window */
    uint64_t *arrival_ns;            /* absolute: when each was due. Null in a closed loop */
    uint64_t stalled_from_ns, stalled_to_ns;
};

struct selftest_case {
    const char *name;
    struct known_plan server;
    double rate; /* per second, Poisson but for a stall; 0: a closed loop */
    double seconds, quick_seconds, stall_share;
    enum selftest_trip trip; /* the round trip to compare with: at about this rate */
    int (*judge)(struct selftest *selftest, const struct measured *measured);
};

static int judge_trip(struct selftest *selftest, const struct measured *measured);
static int judge_delay(struct selftest *selftest, const struct measured *measured);
static int judge_bimodal(struct selftest *selftest, const struct measured *measured);
static int judge_stall(struct selftest *selftest, const struct measured *measured);
static int judge_hidden(struct selftest *selftest, const struct measured *measured);
static int judge_md1(struct selftest *selftest, const struct measured *measured);
static int judge_mm1(struct selftest *selftest, const struct measured *measured);

#define AT_ONCE                                                                                    \
    { .kind = KNOWN_QUEUE }
#define AFTER(ms)                                                                                  \
    { .kind = KNOWN_DELAY, .usual_ns = (ms)*NS_PER_MS }
#define AFTER_OR(ms, slow_ms, every)                                                               \
    {                                                                                              \
        .kind = KNOWN_DELAY, .usual_ns = (ms)*NS_PER_MS, .slow_ns = (slow_ms)*NS_PER_MS,           \
        .slow_every = every                                                                        \
    }
#define SERVES(us, at_random)                                                                      \
    {                                                                                              \
        .kind = KNOWN_QUEUE, .usual_ns = (us)*NS_PER_US, .exponential = at_random,                 \
        .seed = SERVICE_SEED                                                                       \
    }

/* Name, server, rate, seconds, of them in a quick run, share of them that it stalls, round trip to
 * compare with. The empty round trips come first. Requests come at random, since evenly spaced ones
 * would all be answered at the same moment of the generator's sleep. */
static const struct selftest_case cases[] = {
    {"round trip 1k/s", AT_ONCE, 1000, 2.5, 0.5, 0, TRIP_SELDOM, judge_trip},
    {"round trip 5k/s", AT_ONCE, 5000, 2.5, 0.4, 0, TRIP_OFTEN, judge_trip},
    {"constant 1 ms", AFTER(1), 1000, 4, 0.6, 0, TRIP_SELDOM, judge_delay},
    {"constant 10 ms", AFTER(10), 1000, 4, 0.6, 0, TRIP_SELDOM, judge_delay},
    {"1 ms, 1 % 20 ms", AFTER_OR(1, 20, 100), 1000, 5, 0.8, 0, TRIP_SELDOM, judge_bimodal},
    {"one stall, open loop", AT_ONCE, 1000, 10, 0.6, 0.1, TRIP_SELDOM, judge_stall},
    {"one stall, closed loop", AT_ONCE, 0, 3, 0.3, 0.1, TRIP_SELDOM, judge_hidden},
    {"M/D/1 0.5", SERVES(100, false), 5000, 7, 0.3, 0, TRIP_OFTEN, judge_md1},
    {"M/D/1 0.8", SERVES(100, false), 8000, 8, 0.3, 0, TRIP_OFTEN, judge_md1},
    {"M/M/1 0.7", SERVES(100, true), 7000, 8, 0.3, 0, TRIP_OFTEN, judge_mm1},
};

const char *selftest_case_name(size_t index) {
    return index < ARRAY_LENGTH(cases) ? cases[index].name : NULL;
}

static double window_seconds(const struct selftest *selftest, const struct selftest_case *asked) {
    return selftest->quick ? asked->quick_seconds : asked->seconds;
}

static double warmup_seconds(const struct selftest *selftest) {
    return selftest->quick ? 0.05 : 0.3;
}

double selftest_case_seconds(const struct selftest *selftest, size_t index) {
    CHECK(index < ARRAY_LENGTH(cases));
    return window_seconds(selftest, &cases[index]) + warmup_seconds(selftest);
}

void selftest_init(struct selftest *selftest, bool quick, const struct cpu_plan *cpus) {
    *selftest = (struct selftest){.quick = quick, .cpus = *cpus, .valid = true};
}

bool selftest_passed(const struct selftest *selftest) {
    bool passed = selftest->valid;
    for (size_t i = 0; i < selftest->row_count; i++)
        passed &= selftest->rows[i].verdict != SELFTEST_OFF;
    return passed;
}

double selftest_resolved_ns(double added_ns) {
    return added_ns / SELFTEST_RESOLUTION;
}

static void note(struct selftest *selftest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note(struct selftest *selftest, const char *format, ...) {
    va_list arguments;
    if (selftest->note_count == SELFTEST_NOTES_MOST)
        return;
    va_start(arguments, format);
    vsnprintf(selftest->notes[selftest->note_count++], SELFTEST_NOTE_BYTES, format, arguments);
    va_end(arguments);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Of one that is not known, the other. */
static double larger(double a, double b) {
    return fmax(a, b);
}

/* `luck_ns`: by so much the measured value may be off for the few samples it is taken from. */
static void add_row(struct selftest *selftest, struct selftest_row row, double luck_ns) {
    CHECK(selftest->row_count < SELFTEST_ROWS_MOST);
    if (isnan(row.expected_ns) || isnan(row.measured_ns) || isnan(row.allowed_ns)) {
        row.allowed_ns = NAN;
        row.verdict = SELFTEST_SHOWN;
    } else {
        row.allowed_ns += ALLOWED_SHARE * row.expected_ns + luck_ns;
        row.verdict = fabs(row.measured_ns - row.expected_ns) <= row.allowed_ns ? SELFTEST_WITHIN
                                                                                : SELFTEST_OFF;
    }
    selftest->rows[selftest->row_count++] = row;
}

static struct selftest_row quantile_row(const struct measured *measured, const char *quantity,
                                        const struct histogram *histogram, double q,
                                        double expected_ns) {
    uint64_t low_ns, high_ns;
    struct selftest_row row = {.name = measured->asked->name,
                               .quantity = quantity,
                               .expected_ns = expected_ns,
                               .measured_ns = NAN,
                               .low_ns = NAN,
                               .high_ns = NAN,
                               .allowed_ns = q > 0.9 ? ALLOWED_TAIL_NS : ALLOWED_NS};
    if (histogram_quantile_valid(histogram, q))
        row.measured_ns = (double)histogram_quantile(histogram, q);
    if (histogram_quantile_interval(histogram, q, 0.95, &low_ns, &high_ns)) {
        row.low_ns = (double)low_ns;
        row.high_ns = (double)high_ns;
    }
    return row;
}

static struct selftest_row mean_row(const struct measured *measured, const char *quantity,
                                    const struct histogram *histogram, double expected_ns) {
    return (struct selftest_row){.name = measured->asked->name,
                                 .quantity = quantity,
                                 .expected_ns = expected_ns,
                                 .measured_ns = histogram_mean(histogram),
                                 .low_ns = NAN,
                                 .high_ns = NAN,
                                 .allowed_ns = ALLOWED_NS};
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Nearest rank, as the histogram's; sorts. */
static double quantile_of(uint64_t *values, size_t count, double q) {
    size_t rank = (size_t)ceil(q * (double)count);
    qsort(values, count, sizeof *values, by_value);
    return count > 0 ? (double)values[rank > 0 ? rank - 1 : 0] : NAN;
}

static double mean_of(const uint64_t *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i];
    return count > 0 ? sum / (double)count : NAN;
}

/* What the server kept of each request of the window: from taken to left. The caller's. */
static uint64_t *kept(const struct measured *measured, size_t *count) {
    *count = measured->count - measured->first;
    uint64_t *values = calloc(*count + 1, sizeof *values);
    for (size_t i = 0; i < *count && values; i++) {
        const struct known_times *times = &measured->times[measured->first + i];
        values[i] = times->left_ns - times->taken_ns;
    }
    return values;
}

static double trip_ns(const struct selftest *selftest, const struct measured *measured) {
    return selftest->trips[measured->asked->trip].p50_ns;
}

/* ---- delays ---------------------------------------------------------------------------------- */

static int judge_trip(struct selftest *selftest, const struct measured *measured) {
    const struct histogram *response = &measured->load->response;
    size_t count;
    uint64_t *values = kept(measured, &count);
    if (!values)
        return -ENOMEM;
    struct selftest_row p50 = quantile_row(measured, "p50", response, 0.5, NAN);
    struct selftest_row p99 = quantile_row(measured, "p99", response, 0.99, NAN);
    double kept_ns = quantile_of(values, count, 0.5);
    free(values);
    selftest->trips[measured->asked->trip] =
        (struct selftest_round_trip){p50.measured_ns - kept_ns, p99.measured_ns - kept_ns};
    selftest->added_p50_ns = larger(selftest->added_p50_ns, p50.measured_ns - kept_ns);
    selftest->added_p99_ns = larger(selftest->added_p99_ns, p99.measured_ns - kept_ns);
    add_row(selftest, p50, 0);
    add_row(selftest, p99, 0);
    return 0;
}

/* Returns the measured value beyond the server's own. */
static double judge_kept(struct selftest *selftest, const struct measured *measured,
                         const char *quantity, double q, uint64_t *values, size_t count) {
    double kept_ns = quantile_of(values, count, q);
    struct selftest_row row = quantile_row(measured, quantity, &measured->load->response, q,
                                           kept_ns + trip_ns(selftest, measured));
    add_row(selftest, row, 0);
    return row.measured_ns - kept_ns;
}

static int judge_delay(struct selftest *selftest, const struct measured *measured) {
    size_t count;
    uint64_t *values = kept(measured, &count);
    if (!values)
        return -ENOMEM;
    double p50_ns = judge_kept(selftest, measured, "p50", 0.5, values, count);
    double p99_ns = judge_kept(selftest, measured, "p99", 0.99, values, count);
    selftest->added_p50_ns = larger(selftest->added_p50_ns, p50_ns);
    selftest->added_p99_ns = larger(selftest->added_p99_ns, p99_ns);
    free(values);
    return 0;
}

static int judge_bimodal(struct selftest *selftest, const struct measured *measured) {
    size_t count;
    uint64_t *values = kept(measured, &count);
    if (!values)
        return -ENOMEM;
    judge_kept(selftest, measured, "p50", 0.5, values, count);
    judge_kept(selftest, measured, "p99.5", 0.995, values, count);
    free(values);
    return 0;
}

/* ---- queues ---------------------------------------------------------------------------------- */

/* Response times as they had to be: requests came when they were due, and took the server as long
 * as it did. Those of the window are the result; the caller's. */
static uint64_t *replay(const struct measured *measured, size_t *count) {
    uint64_t *values = calloc(measured->count + 1, sizeof *values);
    if (!values)
        return NULL;
    for (size_t i = 0; i < measured->count; i++)
        values[i] = measured->times[i].free_ns - measured->times[i].taken_ns;
    queueing_replay(measured->arrival_ns, values, measured->count, measured->stalled_from_ns,
                    measured->stalled_to_ns, values);
    *count = measured->count - measured->first;
    memmove(values, values + measured->first, *count * sizeof *values);
    return values;
}

static int judge_stall(struct selftest *selftest, const struct measured *measured) {
    static const struct {
        const char *quantity;
        double q;
    } asked[] = {{"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}};
    size_t count;
    uint64_t *values = replay(measured, &count);
    if (!values)
        return -ENOMEM;
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++) {
        double expected_ns = quantile_of(values, count, asked[i].q) + trip_ns(selftest, measured);
        struct selftest_row row = quantile_row(measured, asked[i].quantity,
                                               &measured->load->response, asked[i].q, expected_ns);
        row.low_ns = row.high_ns = NAN; /* one stall is one sample */
        add_row(selftest, row, 0);
    }
    struct selftest_row hidden =
        quantile_row(measured, "p99 of service times", &measured->load->service, 0.99,
                     quantile_of(values, count, 0.99) + trip_ns(selftest, measured));
    hidden.low_ns = hidden.high_ns = hidden.allowed_ns = NAN;
    add_row(selftest, hidden, 0);
    free(values);
    return 0;
}

/* Had as many come as before, each would have waited for the end of the stall. */
static int judge_hidden(struct selftest *selftest, const struct measured *measured) {
    double stall_ns = (double)(measured->stalled_to_ns - measured->stalled_from_ns);
    double window_ns = (double)measured->load->window_ns;
    struct selftest_row row =
        quantile_row(measured, "p99", &measured->load->service, 0.99, stall_ns - 0.01 * window_ns);
    row.low_ns = row.high_ns = row.allowed_ns = NAN;
    add_row(selftest, row, 0);
    return 0;
}

/* What a server did in the window. */
struct service {
    double mean_ns, square_mean, to_left_ns; /* the last: mean until the answer left */
    double utilisation, rate_per_ns;
};

static struct service service_of(const struct measured *measured) {
    struct service service = {.rate_per_ns = measured->asked->rate / 1e9};
    double count = (double)(measured->count - measured->first);
    for (size_t i = measured->first; i < measured->count; i++) {
        const struct known_times *times = &measured->times[i];
        double took_ns = (double)(times->free_ns - times->taken_ns);
        service.mean_ns += took_ns / count;
        service.square_mean += took_ns * took_ns / count;
        service.to_left_ns += (double)(times->left_ns - times->taken_ns) / count;
    }
    service.utilisation = service.rate_per_ns * service.mean_ns;
    return service;
}

/* Half of the 95 % interval of a mean or quantile (q; 0: the mean) of values that hang together, by
 * the means of batches that hardly do (Law, Simulation Modeling and Analysis, 9.5.3). */
static double luck_of(uint64_t *values, size_t count, double q) {
    double sum = 0, squares = 0;
    size_t size = count / BATCHES;
    for (size_t i = 0; i < BATCHES; i++) {
        double value =
            q > 0 ? quantile_of(values + i * size, size, q) : mean_of(values + i * size, size);
        sum += value;
        squares += value * value;
    }
    double variance = (squares - sum * sum / BATCHES) / (BATCHES - 1);
    return T_20_BATCHES * sqrt(larger(variance, 0) / BATCHES);
}

/* A server that was slowed down so much that it is over capacity has no theory. */
static bool is_stable(struct selftest *selftest, const struct measured *measured,
                      const struct service *service) {
    if (service->utilisation < 0.98)
        return true;
    note(selftest, "%s: the server was too slow, utilisation %.2f", measured->asked->name,
         service->utilisation);
    selftest->valid = false;
    return false;
}

/* A mean (q = 0) or a quantile: by theory, give or take the luck of these arrivals; and of just
 * these arrivals and services, where no luck is left. */
static void add_queue_rows(struct selftest *selftest, const struct measured *measured, double q,
                           const char *const quantities[2], double theory_ns, double replayed_ns,
                           double luck_ns) {
    const struct histogram *response = &measured->load->response;
    struct selftest_row row = q > 0 ? quantile_row(measured, quantities[0], response, q, theory_ns)
                                    : mean_row(measured, quantities[0], response, theory_ns);
    row.low_ns = row.measured_ns - luck_ns;
    row.high_ns = row.measured_ns + luck_ns;
    add_row(selftest, row, LUCK_TIMES * luck_ns);
    row.quantity = quantities[1];
    row.expected_ns = replayed_ns;
    row.low_ns = row.high_ns = NAN;
    add_row(selftest, row, 0);
}

/* `theory`: of the time until the server is free again, for q = 0 the mean. The answer has left a
 * little earlier. */
static int judge_queue(struct selftest *selftest, const struct measured *measured,
                       double (*theory)(const struct service *service, double q)) {
    static const struct {
        double q;
        const char *quantities[2];
    } asked[] = {{0, {"mean, theory", "mean, replayed"}},
                 {0.9, {"p90, theory", "p90, replayed"}},
                 {0.99, {"p99, theory", "p99, replayed"}}};
    struct service service = service_of(measured);
    size_t count;
    if (!is_stable(selftest, measured, &service))
        return 0;
    uint64_t *values = replay(measured, &count);
    if (!values)
        return -ENOMEM;
    double beyond_ns = service.to_left_ns - service.mean_ns + trip_ns(selftest, measured);
    double luck_ns[ARRAY_LENGTH(asked)]; /* of batches in order of time: before all are sorted */
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++)
        luck_ns[i] = luck_of(values, count, asked[i].q);
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++) {
        double q = asked[i].q;
        double replayed_ns = q > 0 ? quantile_of(values, count, q) : mean_of(values, count);
        add_queue_rows(selftest, measured, q, asked[i].quantities, theory(&service, q) + beyond_ns,
                       replayed_ns + beyond_ns, luck_ns[i]);
    }
    free(values);
    return 0;
}

static double md1(const struct service *service, double q) {
    double wait_ns = q > 0 ? queueing_md1_wait_quantile(service->utilisation, q) * service->mean_ns
                           : queueing_mg1_wait_mean(service->rate_per_ns, service->mean_ns,
                                                    service->square_mean);
    return wait_ns + service->mean_ns;
}

static double mm1(const struct service *service, double q) {
    return q > 0 ? queueing_mm1_response_quantile(service->utilisation, service->mean_ns, q)
                 : queueing_mm1_response_mean(service->utilisation, service->mean_ns);
}

static int judge_md1(struct selftest *selftest, const struct measured *measured) {
    return judge_queue(selftest, measured, md1);
}

static int judge_mm1(struct selftest *selftest, const struct measured *measured) {
    return judge_queue(selftest, measured, mm1);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static enum arrivals arrivals_of(const struct selftest_case *asked) {
    return asked->stall_share > 0 ? ARRIVALS_CONSTANT : ARRIVALS_POISSON;
}

static void plan_load(const struct selftest *selftest, const struct selftest_case *asked,
                      const struct known_server *server, struct load_plan *plan) {
    double window_ns = window_seconds(selftest, asked) * NS_PER_S;
    *plan = (struct load_plan){.target = server->address,
                               .seed = SEED,
                               .cpus = selftest->cpus.generator,
                               .server_pid = server->pid,
                               .control_fd = -1};
    struct error error;
    plan->workload = workload_find("echo", &error);
    CHECK(plan->workload);
    CPU_OR(&plan->watched_cpus, &selftest->cpus.server, &selftest->cpus.generator);
    knob_values_init(&plan->knobs, plan->workload->knobs, load_knobs);
    knob_set_number(&plan->knobs, "size_bytes", MESSAGE_BYTES);
    knob_set_number(&plan->knobs, "connections", CONNECTIONS);
    knob_set_number(&plan->knobs, "rate", asked->rate);
    knob_set_number(&plan->knobs, "arrivals", arrivals_of(asked));
    knob_set_number(&plan->knobs, "warmup", warmup_seconds(selftest) * NS_PER_S);
    knob_set_number(&plan->knobs, "duration", window_ns);
    knob_set_number(&plan->knobs, "timeout", 5.0 * NS_PER_S);
}

static struct known_plan plan_server(const struct selftest *selftest,
                                     const struct selftest_case *asked) {
    struct known_plan plan = asked->server;
    double window_ns = window_seconds(selftest, asked) * NS_PER_S;
    plan.cpus = selftest->cpus.server;
    plan.spin = !selftest->cpus.shared;
    plan.stall_ns = (uint64_t)(asked->stall_share * window_ns);
    plan.stall_after_ns = (uint64_t)(warmup_seconds(selftest) * NS_PER_S + window_ns / 2);
    return plan;
}

/* When each request was due, by the generator's own schedule. False: the server did not see just
 * these, so that it is not known which one is which. */
static bool add_arrivals(const struct load_plan *plan, struct measured *measured) {
    struct schedule schedule;
    uint64_t warmup_ns = (uint64_t)knob_get(&plan->knobs, "warmup");
    uint64_t end_ns = warmup_ns + (uint64_t)knob_get(&plan->knobs, "duration");
    uint64_t start_ns = measured->load->window_opened_ns - warmup_ns;
    schedule_init(&schedule, arrivals_of(measured->asked), measured->asked->rate, plan->seed, 0, 1);
    measured->first = schedule_count_between(&schedule, 0, warmup_ns);
    if (schedule_count_between(&schedule, 0, end_ns) != measured->count)
        return false;
    measured->arrival_ns = calloc(measured->count + 1, sizeof *measured->arrival_ns);
    CHECK(measured->arrival_ns);
    for (size_t k = 0; k < measured->count; k++, schedule_advance(&schedule))
        measured->arrival_ns[k] = start_ns + schedule_due_ns(&schedule);
    return true;
}

/* Of the window, the share that server or generator wanted to run and could not. */
static double disturbed_share(const struct load_result *load) {
    double window_ns = (double)load->window_ns, server_ns = 0;
    if (load->after.starved_ns > load->before.starved_ns)
        server_ns = (double)(load->after.starved_ns - load->before.starved_ns);
    return window_ns > 0 ? larger(server_ns, (double)load->starved_ns) / window_ns : 0;
}

/* What the load was not valid for belongs to what this machine can do. */
static void note_load(struct selftest *selftest, const struct measured *measured,
                      const struct validity *validity) {
    const struct histogram *lag = &measured->load->lag;
    for (size_t i = 0; i < validity->reason_count; i++)
        note(selftest, "%s: %s", measured->asked->name, validity->reasons[i]);
    selftest->valid &= validity->valid;
    selftest->disturbed = larger(selftest->disturbed, disturbed_share(measured->load));
    if (histogram_quantile_valid(lag, 0.99))
        selftest->lag_p99_ns = larger(selftest->lag_p99_ns, (double)histogram_quantile(lag, 0.99));
}

static int judge(struct selftest *selftest, const struct load_plan *plan,
                 const struct validity *validity, const struct known_server *server,
                 struct measured *measured, struct error *error) {
    measured->times = known_server_times(server, &measured->count);
    known_server_stalled(server, &measured->stalled_from_ns, &measured->stalled_to_ns);
    note_load(selftest, measured, validity);
    if (measured->asked->rate > 0 && !add_arrivals(plan, measured)) {
        note(selftest, "%s: the server saw other requests than were due", measured->asked->name);
        selftest->valid = false;
        return 0;
    }
    int failure = measured->asked->judge(selftest, measured);
    free(measured->arrival_ns);
    return failure ? error_set(error, failure, "out of memory") : 0;
}

/* Whether others took so much time from it that it is to be measured again. */
static bool is_spoilt(struct selftest *selftest, const struct load_result *load,
                      const struct validity *validity) {
    if (!validity->machine_only && disturbed_share(load) <= DISTURBED_MOST)
        return false;
    if (selftest->quick || selftest->repeated == REPEATS_MOST)
        return false;
    selftest->repeated++;
    return true;
}

static int try_load(struct selftest *selftest, const struct selftest_case *asked,
                    struct known_server *server, bool *spoilt, struct error *error) {
    struct load_plan plan;
    struct load *load;
    struct validity validity;
    plan_load(selftest, asked, server, &plan);
    int failure = load_start(&plan, &load, error);
    if (failure)
        return failure;
    while (!load_wait(load, 200))
        if (interrupted)
            load_stop(load);
    struct measured measured = {.asked = asked, .load = load_result(load)};
    int server_failure = known_server_end(server, error);
    if (interrupted)
        failure = -EINTR;
    else if (server_failure)
        failure = server_failure;
    else if (!measured.load->finished)
        failure = error_set(error, -EIO, "%s: %s", asked->name, measured.load->failure.text);
    else {
        validity_judge(measured.load, &plan, 0, selftest->cpus.shared, &validity);
        *spoilt = is_spoilt(selftest, measured.load, &validity);
        if (!*spoilt)
            failure = judge(selftest, &plan, &validity, server, &measured, error);
    }
    load_free(load);
    return failure;
}

int selftest_measure(struct selftest *selftest, size_t index, struct error *error) {
    CHECK(index < ARRAY_LENGTH(cases));
    bool spoilt = true;
    int failure = 0;
    while (spoilt && !failure) {
        struct known_plan plan = plan_server(selftest, &cases[index]);
        struct known_server server;
        spoilt = false;
        failure = known_server_start(&plan, &server, error);
        if (failure)
            break;
        failure = try_load(selftest, &cases[index], &server, &spoilt, error);
        known_server_free(&server);
    }
    return failure;
}
