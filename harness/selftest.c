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
#include "harness/selftest_truth.h"
#include "harness/validity.h"
#include "loops/check.h"
#include "loops/clock.h"

/* Of the truth, and what waking up and the way there and back cost. */
#define ALLOWED_SHARE 0.01
#define ALLOWED_NS (50.0 * NS_PER_US)
/* With more left out, what remains is another load than the one that was asked for. */
#define LEFT_OUT_MOST 0.10
/* Where nothing could be left out: beyond a quantile lies a share of 1 - q. The machine may have
 * moved it if it took a tenth of that from the generator: what was due meanwhile comes in one
 * burst, and as much again has to wait. */
#define DISTURBED_PART 10
#define MEAN_IS_MOVED_AS 0.99 /* a thousandth of the time in pieces of some ms is some us */
#define T_20_BATCHES 2.093    /* Student's, 19 degrees of freedom, 95 % */

enum {
    CONNECTIONS = 512, /* a slow answer in a hundred at 20k/s holds 400 */
    MESSAGE_BYTES = 64,
    BATCHES = 20,
    TRIES_MOST = 5,    /* of a case */
    REPEATS_MOST = 12, /* of all cases together */
    WAKE_MS = 1000,    /* we too need a CPU, and there may be none but theirs */
    SEED = 20,         /* of arrivals */
    SERVICE_SEED = 7,  /* another one, or long services would go with long gaps */
};

const char *const selftest_verdict_names[] = {[SELFTEST_WITHIN] = "within",
                                              [SELFTEST_OFF] = "off",
                                              [SELFTEST_CANNOT_TELL] = "cannot tell",
                                              [SELFTEST_SHOWN] = "shown"};

/* ---- cases ----------------------------------------------------------------------------------- */

/* What came of a case's load, and what its server kept. */
struct measured {
    const struct selftest_case *asked;
    const struct load_result *load;
    const struct known_times *times; /* of request k of the schedule */
    size_t count, first;             /* all, and the first one of the window */
    uint64_t stalled_from_ns, stalled_to_ns;
    struct selftest_machine *machine;
    const struct load_trace *trace; /* null: none was kept, and nothing is left out */
    /* An open loop, of the window: response times as they had to be, of all and without those that
     * are left out, in order of time; and the latter's as they were measured. */
    uint64_t *all_ns, *truth_ns;
    size_t all_count, truth_count;
    struct histogram response;
};

struct selftest_case {
    const char *name;
    struct known_plan server;
    double rate; /* per second, Poisson but for a stall; 0: a closed loop */
    double seconds, quick_seconds, stall_share;
    enum selftest_trip trip; /* of the round trips: which one it is */
    void (*judge)(struct selftest *selftest, struct measured *measured);
};

static void judge_trip(struct selftest *selftest, struct measured *measured);
static void judge_delay(struct selftest *selftest, struct measured *measured);
static void judge_bimodal(struct selftest *selftest, struct measured *measured);
static void judge_stall(struct selftest *selftest, struct measured *measured);
static void judge_hidden(struct selftest *selftest, struct measured *measured);
static void judge_md1(struct selftest *selftest, struct measured *measured);
static void judge_mm1(struct selftest *selftest, struct measured *measured);

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

/* Name, server, rate, seconds, of them in a quick run, share of them that it stalls, which round
 * trip. Requests come at random, since evenly spaced ones would all be answered at the same moment
 * of the generator's sleep. Delays are asked for so often that it hardly sleeps: by how much later
 * it wakes up is the round trips' business. */
static const struct selftest_case cases[] = {
    {"round trip 1k/s", AT_ONCE, 1000, 2.5, 0.5, 0, TRIP_SELDOM, judge_trip},
    {"round trip 5k/s", AT_ONCE, 5000, 2.5, 0.4, 0, TRIP_OFTEN, judge_trip},
    {"constant 1 ms", AFTER(1), 20000, 4, 0.6, 0, 0, judge_delay},
    {"constant 10 ms", AFTER(10), 20000, 4, 0.6, 0, 0, judge_delay},
    {"1 ms, 1 % 20 ms", AFTER_OR(1, 20, 100), 20000, 5, 0.8, 0, 0, judge_bimodal},
    {"one stall, open loop", AT_ONCE, 1000, 10, 0.6, 0.1, 0, judge_stall},
    {"one stall, closed loop", AT_ONCE, 0, 3, 0.3, 0.1, 0, judge_hidden},
    {"M/D/1 0.5", SERVES(50, false), 10000, 7, 0.3, 0, 0, judge_md1},
    {"M/D/1 0.8", SERVES(50, false), 16000, 8, 0.3, 0, 0, judge_md1},
    {"M/M/1 0.7", SERVES(50, true), 14000, 8, 0.3, 0, 0, judge_mm1},
};
_Static_assert(ARRAY_LENGTH(cases) <= SELFTEST_CASES_MOST, "no room for a case");

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
    return selftest->valid && selftest_count(selftest, SELFTEST_OFF) == 0 &&
           selftest_count(selftest, SELFTEST_CANNOT_TELL) == 0;
}

size_t selftest_count(const struct selftest *selftest, enum selftest_verdict verdict) {
    size_t count = 0;
    for (size_t i = 0; i < selftest->row_count; i++)
        count += selftest->rows[i].verdict == verdict;
    return count;
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

/* Nothing that the machine does makes a response come before its time. */
static bool may_be_the_machines(const struct selftest_row *row,
                                const struct selftest_machine *machine) {
    double beyond = 1 - (row->q > 0 ? row->q : MEAN_IS_MOVED_AS);
    return row->measured_ns > row->expected_ns && machine->taken_share > beyond / DISTURBED_PART;
}

static enum selftest_verdict verdict_of(const struct selftest_row *row,
                                        const struct measured *measured) {
    double error_ns = row->measured_ns - row->expected_ns;
    if (isnan(error_ns) || isnan(row->allowed_ns))
        return SELFTEST_SHOWN;
    if (measured->machine->left_out_share > LEFT_OUT_MOST)
        return SELFTEST_CANNOT_TELL;
    if (fabs(error_ns) <= row->allowed_ns)
        return SELFTEST_WITHIN;
    return !measured->trace && may_be_the_machines(row, measured->machine) ? SELFTEST_CANNOT_TELL
                                                                           : SELFTEST_OFF;
}

static void add_row(struct selftest *selftest, const struct measured *measured,
                    struct selftest_row row) {
    CHECK(selftest->row_count < SELFTEST_ROWS_MOST);
    row.verdict = verdict_of(&row, measured);
    if (row.verdict == SELFTEST_SHOWN)
        row.allowed_ns = NAN;
    selftest->rows[selftest->row_count++] = row;
}

static struct selftest_row quantile_row(const struct measured *measured, const char *quantity,
                                        const struct histogram *histogram, double q,
                                        double expected_ns) {
    uint64_t low_ns, high_ns;
    struct selftest_row row = {.name = measured->asked->name,
                               .quantity = quantity,
                               .q = q,
                               .expected_ns = expected_ns,
                               .measured_ns = NAN,
                               .low_ns = NAN,
                               .high_ns = NAN,
                               .allowed_ns = ALLOWED_NS + ALLOWED_SHARE * expected_ns};
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
                                 .allowed_ns = ALLOWED_NS + ALLOWED_SHARE * expected_ns};
}

/* What is only for comparison, without the interval. */
static struct selftest_row shown(struct selftest_row row) {
    row.low_ns = row.high_ns = row.allowed_ns = NAN;
    return row;
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

/* ---- the truth, and what was measured of the same requests ----------------------------------- */

/* Which requests of the window to leave out: those that a standstill of the generator touched. */
static size_t leave_out(const struct measured *measured, const struct truth *truth,
                        const uint64_t *response_ns, bool *touched) {
    size_t count = 0;
    if (measured->trace)
        truth_touched(truth, response_ns, measured->trace, touched);
    for (size_t i = measured->first; i < measured->count; i++)
        count += touched[i];
    return count;
}

/* Of the others. Without a trace all are, and the load's own histogram has their times. */
static void keep_others(struct measured *measured, const struct truth *truth,
                        const uint64_t *response_ns, const bool *touched) {
    for (size_t i = measured->first; i < measured->count; i++) {
        measured->all_ns[measured->all_count++] = response_ns[i];
        if (touched[i])
            continue;
        measured->truth_ns[measured->truth_count++] = response_ns[i];
        if (measured->trace)
            histogram_record(&measured->response,
                             measured->trace->requests[i].answered_ns - truth->due_ns[i], 1);
    }
    if (!measured->trace)
        histogram_merge(&measured->response, &measured->load->response);
}

/* The trace has to say the same as the histogram that users get, or one of them is wrong. */
static bool trace_is_whole(const struct measured *measured, const struct truth *truth) {
    struct histogram all;
    if (!measured->trace)
        return true;
    CHECK(histogram_open(&all, &histogram_standard) == 0);
    for (size_t i = measured->first; i < measured->count; i++)
        histogram_record(&all, measured->trace->requests[i].answered_ns - truth->due_ns[i], 1);
    bool whole = histogram_equal(&all, &measured->load->response);
    histogram_close(&all);
    return whole;
}

/* Fills what `measured` has of the window. */
static void compare(struct selftest *selftest, struct measured *measured,
                    const struct truth *truth) {
    uint64_t *response_ns = calloc(measured->count + 1, sizeof *response_ns);
    bool *touched = calloc(measured->count + 1, sizeof *touched);
    measured->all_ns = calloc(measured->count + 1, sizeof *measured->all_ns);
    measured->truth_ns = calloc(measured->count + 1, sizeof *measured->truth_ns);
    CHECK(response_ns && touched && measured->all_ns && measured->truth_ns &&
          histogram_open(&measured->response, &histogram_standard) == 0);
    truth_responses(truth, response_ns);
    size_t left_out = leave_out(measured, truth, response_ns, touched);
    keep_others(measured, truth, response_ns, touched);
    if (measured->all_count > 0)
        measured->machine->left_out_share = (double)left_out / (double)measured->all_count;
    if (!trace_is_whole(measured, truth)) {
        note(selftest, "%s: the histogram has other times than were kept of each request",
             measured->asked->name);
        selftest->valid = false;
    }
    free(touched);
    free(response_ns);
}

/* ---- delays ---------------------------------------------------------------------------------- */

struct asked_quantile {
    const char *quantity;
    double q;
    const char *quantity_of_all; /* shown beside it: nothing is left out. Null: not shown */
};

static struct selftest_row of_all(struct measured *measured, const struct asked_quantile *asked) {
    return shown(quantile_row(measured, asked->quantity_of_all, &measured->load->response, asked->q,
                              quantile_of(measured->all_ns, measured->all_count, asked->q)));
}

/* Adds a row for each; `added_ns`: what was measured beyond the truth. */
static void judge_quantiles(struct selftest *selftest, struct measured *measured,
                            const struct asked_quantile *asked, size_t asked_count, bool assert,
                            double *added_ns) {
    for (size_t i = 0; i < asked_count; i++) {
        struct selftest_row row = quantile_row(
            measured, asked[i].quantity, &measured->response, asked[i].q,
            quantile_of(measured->truth_ns, measured->truth_count, asked[i].q));
        if (!assert)
            row.allowed_ns = NAN;
        if (measured->asked->stall_share > 0)
            row.low_ns = row.high_ns = NAN; /* one stall is one sample */
        added_ns[i] = row.measured_ns - row.expected_ns;
        add_row(selftest, measured, row);
        if (measured->trace && asked[i].quantity_of_all)
            add_row(selftest, measured, of_all(measured, &asked[i]));
    }
}

static const struct asked_quantile p50_and_p99[] = {
    {"p50", 0.5, NULL}, {"p99", 0.99, "p99 of all"}};

static void judge_trip(struct selftest *selftest, struct measured *measured) {
    double added_ns[2];
    judge_quantiles(selftest, measured, p50_and_p99, 2, false, added_ns);
    selftest->trips[measured->asked->trip] =
        (struct selftest_round_trip){.p50_ns = added_ns[0], .p99_ns = added_ns[1]};
}

static void judge_delay(struct selftest *selftest, struct measured *measured) {
    double added_ns[2];
    judge_quantiles(selftest, measured, p50_and_p99, 2, true, added_ns);
    selftest->added_p50_ns = larger(selftest->added_p50_ns, added_ns[0]);
    selftest->added_p99_ns = larger(selftest->added_p99_ns, added_ns[1]);
}

static void judge_bimodal(struct selftest *selftest, struct measured *measured) {
    static const struct asked_quantile asked[] = {{"p50", 0.5, NULL},
                                                  {"p99.5", 0.995, "p99.5 of all"}};
    double added_ns[ARRAY_LENGTH(asked)];
    judge_quantiles(selftest, measured, asked, ARRAY_LENGTH(asked), true, added_ns);
}

/* ---- a stall --------------------------------------------------------------------------------- */

static void judge_stall(struct selftest *selftest, struct measured *measured) {
    static const struct asked_quantile asked[] = {
        {"p95", 0.95, NULL}, {"p99", 0.99, NULL}, {"p99.9", 0.999, NULL}};
    double added_ns[ARRAY_LENGTH(asked)];
    judge_quantiles(selftest, measured, asked, ARRAY_LENGTH(asked), true, added_ns);
    double p99_ns = selftest->rows[selftest->row_count - 2].expected_ns;
    add_row(selftest, measured,
            shown(quantile_row(measured, "p99 of service times", &measured->load->service, 0.99,
                               p99_ns)));
}

/* Had as many come as before, each would have waited for the end of the stall. */
static void judge_hidden(struct selftest *selftest, struct measured *measured) {
    double stall_ns = (double)(measured->stalled_to_ns - measured->stalled_from_ns);
    double window_ns = (double)measured->load->window_ns;
    add_row(selftest, measured,
            shown(quantile_row(measured, "p99", &measured->load->service, 0.99,
                               stall_ns - 0.01 * window_ns)));
}

/* ---- queues ---------------------------------------------------------------------------------- */

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

/* A mean (q = 0) or a quantile: of just these arrivals and services; and by theory, give or take
 * the luck of these arrivals, which this machine's pauses do not know. */
static void add_queue_rows(struct selftest *selftest, const struct measured *measured, double q,
                           const char *const quantities[2], double truth_ns, double theory_ns,
                           double luck_ns) {
    const struct histogram *response = &measured->response;
    struct selftest_row row = q > 0 ? quantile_row(measured, quantities[0], response, q, truth_ns)
                                    : mean_row(measured, quantities[0], response, truth_ns);
    row.low_ns = row.measured_ns - luck_ns;
    row.high_ns = row.measured_ns + luck_ns;
    add_row(selftest, measured, row);
    row.quantity = quantities[1];
    row.expected_ns = theory_ns;
    row.allowed_ns = NAN;
    add_row(selftest, measured, row);
}

/* `theory`: of the time until the server is free again, for q = 0 the mean. The answer has left a
 * little earlier. */
static void judge_queue(struct selftest *selftest, struct measured *measured,
                        double (*theory)(const struct service *service, double q)) {
    static const struct {
        double q;
        const char *quantities[2];
    } asked[] = {{0, {"mean", "mean, theory"}},
                 {0.5, {"p50", "p50, theory"}},
                 {0.9, {"p90", "p90, theory"}},
                 {0.99, {"p99", "p99, theory"}}};
    struct service service = service_of(measured);
    if (!is_stable(selftest, measured, &service))
        return;
    uint64_t *values = measured->truth_ns;
    size_t count = measured->truth_count;
    double beyond_ns = service.to_left_ns - service.mean_ns;
    double luck_ns[ARRAY_LENGTH(asked)]; /* of batches in order of time: before all are sorted */
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++)
        luck_ns[i] = luck_of(values, count, asked[i].q);
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++) {
        double q = asked[i].q;
        double truth_ns = q > 0 ? quantile_of(values, count, q) : mean_of(values, count);
        add_queue_rows(selftest, measured, q, asked[i].quantities, truth_ns,
                       theory(&service, q) + beyond_ns, luck_ns[i]);
    }
    if (measured->trace)
        add_row(selftest, measured, of_all(measured, &p50_and_p99[1]));
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

static void judge_md1(struct selftest *selftest, struct measured *measured) {
    judge_queue(selftest, measured, md1);
}

static void judge_mm1(struct selftest *selftest, struct measured *measured) {
    judge_queue(selftest, measured, mm1);
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

/* When each request was due, by the generator's own schedule; the caller's. Null: the server did
 * not see just these, so that it is not known which one is which. */
static uint64_t *arrivals(const struct load_plan *plan, struct measured *measured) {
    struct schedule schedule;
    uint64_t warmup_ns = (uint64_t)knob_get(&plan->knobs, "warmup");
    uint64_t end_ns = warmup_ns + (uint64_t)knob_get(&plan->knobs, "duration");
    uint64_t start_ns = measured->load->window_opened_ns - warmup_ns;
    schedule_init(&schedule, arrivals_of(measured->asked), measured->asked->rate, plan->seed, 0, 1);
    measured->first = schedule_count_between(&schedule, 0, warmup_ns);
    if (schedule_count_between(&schedule, 0, end_ns) != measured->count)
        return NULL;
    uint64_t *due_ns = calloc(measured->count + 1, sizeof *due_ns);
    CHECK(due_ns);
    for (size_t k = 0; k < measured->count; k++, schedule_advance(&schedule))
        due_ns[k] = start_ns + schedule_due_ns(&schedule);
    return due_ns;
}

/* ---- what the machine did -------------------------------------------------------------------- */

static void count_pauses(const struct load_result *load, const struct known_server *server,
                         struct selftest_machine *machine) {
    size_t count;
    const struct known_pause *pauses = known_server_pauses(server, &count);
    uint64_t from_ns = load->window_opened_ns, to_ns = from_ns + load->window_ns;
    for (size_t i = 0; i < count; i++) {
        uint64_t length_ns = pauses[i].to_ns - pauses[i].from_ns;
        if (pauses[i].from_ns < from_ns || pauses[i].from_ns >= to_ns)
            continue;
        machine->pauses++;
        machine->pauses_by_others += pauses[i].waited_ns > length_ns / 2;
        machine->paused_ns += length_ns;
        if (length_ns > machine->longest_pause_ns)
            machine->longest_pause_ns = length_ns;
    }
}

static void count_standstills(const struct load_result *load, const struct load_trace *trace,
                              struct selftest_machine *machine) {
    uint64_t from_ns = load->window_opened_ns, to_ns = from_ns + load->window_ns;
    for (size_t i = 0; trace && i < trace->standstill_count; i++) {
        const struct load_trace_standstill *still = &trace->standstills[i];
        if (still->from_ns < from_ns || still->from_ns >= to_ns)
            continue;
        machine->standstills++;
        machine->stood_still_ns += still->still_ns;
    }
}

static struct selftest_machine machine_of(const struct selftest_case *asked,
                                          const struct load_plan *plan,
                                          const struct load_result *load,
                                          const struct known_server *server) {
    struct selftest_machine machine = {.name = asked->name,
                                       .tries = 1,
                                       .generator_waited_ns = load->starved_ns,
                                       .lag_p99_ns = NAN};
    count_pauses(load, server, &machine);
    count_standstills(load, plan->trace, &machine);
    if (load->host_known)
        machine.steal_share = host_steal_share(&load->host_before, &load->host_after);
    if (load->window_ns > 0)
        machine.taken_share =
            (double)load->starved_ns / (double)load->window_ns + machine.steal_share;
    if (histogram_quantile_valid(&load->lag, 0.99))
        machine.lag_p99_ns = (double)histogram_quantile(&load->lag, 0.99);
    return machine;
}

static double disturbed_share(const struct load_result *load,
                              const struct selftest_machine *machine) {
    double window_ns = (double)load->window_ns;
    return window_ns > 0 ? larger((double)machine->paused_ns / window_ns, machine->taken_share) : 0;
}

static void note_machine(struct selftest *selftest, const struct measured *measured) {
    selftest->disturbed =
        larger(selftest->disturbed, disturbed_share(measured->load, measured->machine));
    selftest->lag_p99_ns = larger(selftest->lag_p99_ns, measured->machine->lag_p99_ns);
}

static bool asserts_something(const struct selftest *selftest, size_t first_row) {
    for (size_t i = first_row; i < selftest->row_count; i++)
        if (selftest->rows[i].verdict != SELFTEST_SHOWN)
            return true;
    return false;
}

/* What a load was not valid for belongs to what this machine can do; where it is only shown, the
 * machine's row says enough. */
static void note_validity(struct selftest *selftest, const char *name,
                          const struct validity *validity) {
    for (size_t i = 0; i < validity->reason_count; i++)
        note(selftest, "%s: %s", name, validity->reasons[i]);
    selftest->valid &= validity->valid;
}

/* ---- a case ---------------------------------------------------------------------------------- */

static void judge_open_loop(struct selftest *selftest, const struct load_plan *plan,
                            struct measured *measured) {
    uint64_t *due_ns = arrivals(plan, measured);
    if (!due_ns) {
        note(selftest, "%s: the server saw other requests than were due", measured->asked->name);
        selftest->valid = false;
        return;
    }
    compare(selftest, measured,
            &(struct truth){.kind = measured->asked->server.kind,
                            .count = measured->count,
                            .due_ns = due_ns,
                            .times = measured->times});
    measured->asked->judge(selftest, measured);
    free(measured->truth_ns);
    free(measured->all_ns);
    histogram_close(&measured->response);
    free(due_ns);
}

static void judge(struct selftest *selftest, const struct selftest_case *asked,
                  const struct load_plan *plan, const struct load_result *load,
                  const struct known_server *server) {
    struct validity validity;
    struct selftest_machine *machine = &selftest->machine[selftest->machine_count++];
    struct measured measured = {
        .asked = asked, .load = load, .machine = machine, .trace = plan->trace};
    *machine = machine_of(asked, plan, load, server);
    measured.times = known_server_times(server, &measured.count);
    known_server_stalled(server, &measured.stalled_from_ns, &measured.stalled_to_ns);
    validity_judge(load, plan, 0, selftest->cpus.shared, &validity);
    size_t first_row = selftest->row_count;
    if (asked->rate > 0)
        judge_open_loop(selftest, plan, &measured);
    else
        asked->judge(selftest, &measured);
    note_machine(selftest, &measured);
    if (asserts_something(selftest, first_row))
        note_validity(selftest, asked->name, &validity);
}

static int run_load(struct selftest *selftest, const struct selftest_case *asked,
                    struct known_server *server, struct load_trace *trace, struct error *error) {
    struct load_plan plan;
    struct load *load;
    plan_load(selftest, asked, server, &plan);
    plan.trace = trace;
    int failure = load_start(&plan, &load, error);
    if (failure)
        return failure;
    while (!load_wait(load, WAKE_MS))
        if (interrupted)
            load_stop(load);
    const struct load_result *result = load_result(load);
    int server_failure = known_server_end(server, error);
    if (interrupted)
        failure = -EINTR;
    else if (server_failure)
        failure = server_failure;
    else if (!result->finished)
        failure = error_set(error, -EIO, "%s: %s", asked->name, result->failure.text);
    else
        judge(selftest, asked, &plan, result, server);
    load_free(load);
    return failure;
}

/* Round trips are shown as users meet them: a generator that keeps a trace does not sleep. On a
 * shared CPU it must. */
static bool keeps_trace(const struct selftest *selftest, const struct selftest_case *asked) {
    return asked->rate > 0 && asked->judge != judge_trip && !selftest->cpus.shared;
}

static int try_case(struct selftest *selftest, const struct selftest_case *asked,
                    struct error *error) {
    struct known_plan plan = plan_server(selftest, asked);
    struct known_server server;
    int failure = known_server_start(&plan, &server, error);
    if (failure)
        return failure;
    struct load_trace *trace = NULL;
    if (keeps_trace(selftest, asked))
        trace = load_trace_open();
    failure = run_load(selftest, asked, &server, trace, error);
    load_trace_close(trace);
    known_server_free(&server);
    return failure;
}

/* Did the machine take so much from the generator that what came of it says little? */
static bool is_spoilt(const struct selftest *before, const struct selftest *after) {
    const struct selftest_machine *machine = &after->machine[after->machine_count - 1];
    return selftest_count(after, SELFTEST_CANNOT_TELL) >
               selftest_count(before, SELFTEST_CANNOT_TELL) ||
           (before->valid && !after->valid && machine->taken_share > 0.01 / DISTURBED_PART);
}

/* The last try is what counts, whatever came of the ones before. */
int selftest_measure(struct selftest *selftest, size_t index, struct error *error) {
    CHECK(index < ARRAY_LENGTH(cases));
    struct selftest before = *selftest;
    for (unsigned tries = 1;; tries++) {
        int failure = try_case(selftest, &cases[index], error);
        if (failure)
            return failure;
        selftest->machine[selftest->machine_count - 1].tries = tries;
        if (tries == TRIES_MOST || selftest->quick || selftest->repeated == REPEATS_MOST ||
            !is_spoilt(&before, selftest))
            return 0;
        before.repeated++;
        *selftest = before;
    }
}
