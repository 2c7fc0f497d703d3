/* test_validity.c: each rule at its limit, from both sides, and no other rule with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/load_knobs.h"
#include "harness/validity.h"

struct fixture {
    struct load_plan plan;
    struct load_result *result;
    struct validity validity;
    uint64_t counts[2][RECORDER_COUNTERS];
};

/* A result that no rule objects to: one second, the server saturated, the generator half busy. */
static int make_good(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct load_result *result = calloc(1, sizeof *result);
    assert_non_null(fixture);
    assert_non_null(result);
    fixture->plan.workload = workload_find("echo", NULL);
    knob_values_init(&fixture->plan.knobs, fixture->plan.workload->knobs, load_knobs);
    histogram_open_in(&result->response, &histogram_standard, fixture->counts[0]);
    histogram_open_in(&result->lag, &histogram_standard, fixture->counts[1]);
    result->finished = true;
    result->window_ns = NS_PER_S;
    result->requests = 100000;
    result->busy = 0.5;
    result->before.cpu_known = result->after.cpu_known = true;
    result->after.cpu_ns = 990 * NS_PER_MS;
    result->after.at_ns = NS_PER_S;
    result->host_known = true;
    result->host_after = (struct host_cpu){.total_ticks = 200, .steal_ticks = 0};
    fixture->result = result;
    *state = fixture;
    return 0;
}

static int drop(void **state) {
    struct fixture *fixture = *state;
    free(fixture->result);
    free(fixture);
    return 0;
}

static const struct validity *judge_it(struct fixture *fixture) {
    validity_judge(fixture->result, &fixture->plan, 1, false, &fixture->validity);
    return &fixture->validity;
}

static void expect_valid(struct fixture *fixture) {
    const struct validity *validity = judge_it(fixture);
    if (!validity->valid)
        fail_msg("not valid: %s", validity->reasons[0]);
    assert_int_equal(validity->reason_count, 0);
}

static void expect_reason(struct fixture *fixture, const char *part) {
    const struct validity *validity = judge_it(fixture);
    assert_false(validity->valid);
    assert_int_equal(validity->reason_count, 1);
    if (!strstr(validity->reasons[0], part))
        fail_msg("'%s' does not say '%s'", validity->reasons[0], part);
}

static void a_good_result_is_valid(void **state) {
    struct fixture *fixture = *state;
    expect_valid(fixture);
    assert_int_equal(fixture->validity.bound, BOUND_SERVER);
}

static void an_unfinished_load_says_why(void **state) {
    struct fixture *fixture = *state;
    fixture->result->finished = false;
    error_set(&fixture->result->failure, -1, "the server is gone");
    expect_reason(fixture, "the server is gone");
}

static void nothing_answered_is_not_valid(void **state) {
    struct fixture *fixture = *state;
    fixture->result->requests = 0;
    expect_reason(fixture, "no request was answered");
}

static void errors_beyond_one_in_a_thousand(void **state) {
    struct fixture *fixture = *state;
    fixture->result->errors[LOAD_RESET] = 100;
    expect_valid(fixture);
    fixture->result->errors[LOAD_TIMEOUT] = 5;
    expect_reason(fixture, "105 errors (5 timeout, 100 reset)");
}

static void one_wrong_answer_is_too_many(void **state) {
    struct fixture *fixture = *state;
    fixture->result->errors[LOAD_WRONG_ANSWER] = 1;
    expect_reason(fixture, "1 wrong_answer");
}

static void whose_limit_the_throughput_is(void **state) {
    struct fixture *fixture = *state;
    static const struct {
        double generator, server;
        enum bound bound;
    } cases[] = {
        {0.94, 0.96, BOUND_SERVER},
        {0.96, 0.96, BOUND_CO_LIMITED},
        {0.94, 0.94, BOUND_LATENCY},
        {0.96, 0.94, BOUND_GENERATOR},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        fixture->result->busy = cases[i].generator;
        fixture->result->after.cpu_ns = (uint64_t)(cases[i].server * NS_PER_S);
        assert_int_equal(judge_it(fixture)->bound, cases[i].bound);
        assert_int_equal(fixture->validity.valid, cases[i].bound != BOUND_GENERATOR);
    }
}

static void an_unknown_server_has_no_bound(void **state) {
    struct fixture *fixture = *state;
    fixture->result->after.cpu_known = false;
    fixture->result->busy = 0.99;
    expect_valid(fixture);
    assert_int_equal(fixture->validity.bound, BOUND_NONE);
}

static void a_server_on_two_cpus_is_half_busy(void **state) {
    struct fixture *fixture = *state;
    validity_judge(fixture->result, &fixture->plan, 2, false, &fixture->validity);
    assert_int_equal(fixture->validity.bound, BOUND_LATENCY);
}

/* In turns of 20 ms, 19 of them usable, the server's CPU time is over what was its own. */
static void a_server_is_busy_in_its_turns(void **state) {
    struct fixture *fixture = *state;
    fixture->plan.turns = (struct turns){.number = 0, .count = 2, .length_ns = 20 * NS_PER_MS};
    fixture->result->after.cpu_ns = 19 * 25 * NS_PER_MS / 2;
    validity_judge(fixture->result, &fixture->plan, 1, false, &fixture->validity);
    assert_true(fixture->validity.server_busy > 0.499 && fixture->validity.server_busy < 0.501);
}

/* A helper that spins, or four workers at a quarter each: nobody knows which one would be full. */
static void several_threads_have_no_bound(void **state) {
    struct fixture *fixture = *state;
    validity_judge(fixture->result, &fixture->plan, 0, false, &fixture->validity);
    assert_int_equal(fixture->validity.bound, BOUND_SERVER);
    fixture->result->after.usage.processes = 2;
    validity_judge(fixture->result, &fixture->plan, 0, false, &fixture->validity);
    assert_int_equal(fixture->validity.bound, BOUND_NONE);
    fixture->result->after.usage.processes = 1;
    fixture->result->after.cpu_ns = 1490 * NS_PER_MS;
    validity_judge(fixture->result, &fixture->plan, 0, false, &fixture->validity);
    assert_int_equal(fixture->validity.bound, BOUND_NONE);
}

/* 93 % busy and 4 % waiting for its CPU: it had nothing left. */
static void a_starved_generator_is_saturated(void **state) {
    struct fixture *fixture = *state;
    fixture->result->busy = 0.93;
    assert_int_equal(judge_it(fixture)->bound, BOUND_SERVER);
    fixture->result->starved_ns = 40 * NS_PER_MS;
    assert_int_equal(judge_it(fixture)->bound, BOUND_CO_LIMITED);
}

/* A server that has stopped answering looks fast in a closed loop, but for what still waits. */
static void a_request_that_waits_at_the_end(void **state) {
    struct fixture *fixture = *state;
    fixture->result->service.max = 2 * NS_PER_MS;
    fixture->result->waiting_ns = 90 * NS_PER_MS;
    expect_valid(fixture);
    fixture->result->waiting_ns = 800 * NS_PER_MS;
    expect_reason(fixture, "at the end a request had waited 800 ms");
    fixture->result->service.max = 900 * NS_PER_MS;
    expect_valid(fixture);
}

static void steal_beyond_two_percent(void **state) {
    struct fixture *fixture = *state;
    fixture->result->host_after.steal_ticks = 4;
    expect_valid(fixture);
    fixture->result->host_after.steal_ticks = 5;
    expect_reason(fixture, "the host took away 2.5 %");
}

static void waiting_for_a_cpu(void **state) {
    struct fixture *fixture = *state;
    fixture->result->starved_ns = 40 * NS_PER_MS;
    fixture->result->after.cpu_wait.ns = 40 * NS_PER_MS;
    expect_valid(fixture);
    fixture->result->starved_ns = 410 * NS_PER_MS;
    expect_reason(fixture, "the generator waited for a CPU 41 %");
    fixture->result->starved_ns = 0;
    fixture->result->after.cpu_wait.ns = 60 * NS_PER_MS;
    expect_reason(fixture, "the server waited for a CPU 6 %");
    /* Where they were given the same CPU, waiting for it is what was asked for. */
    validity_judge(fixture->result, &fixture->plan, 1, true, &fixture->validity);
    assert_true(fixture->validity.valid);
}

/* No others took the CPU time; and which of them all is full is not known. */
static void waiting_for_its_own_database(void **state) {
    struct fixture *fixture = *state;
    fixture->plan.server_waits_for_its_own = true;
    fixture->result->after.cpu_wait.ns = 600 * NS_PER_MS;
    expect_valid(fixture);
    assert_int_equal(fixture->validity.bound, BOUND_NONE);
    fixture->result->starved_ns = 410 * NS_PER_MS;
    expect_reason(fixture, "the generator waited for a CPU 41 %");
}

/* They have the server's CPUs, so that these are full is known all the same. */
static void waiting_for_its_own_threads(void **state) {
    struct fixture *fixture = *state;
    fixture->plan.server_has_threads = true;
    fixture->result->after.cpu_wait.ns = 600 * NS_PER_MS;
    validity_judge(fixture->result, &fixture->plan, 1, false, &fixture->validity);
    assert_true(fixture->validity.valid);
    assert_int_equal(fixture->validity.bound, BOUND_SERVER);
}

/* Who keeps a CPU awake may take 10 us to be put aside, each time, and no more. */
static void waiting_for_the_keeper_of_a_cpu(void **state) {
    struct fixture *fixture = *state;
    fixture->result->before.cpu_wait = (struct cpu_wait){.ns = 0, .turns = 1000000};
    fixture->result->after.cpu_wait = (struct cpu_wait){.ns = 60 * NS_PER_MS, .turns = 1006000};
    expect_reason(fixture, "the server waited for a CPU 6 %");
    CPU_SET(0, &fixture->plan.kept_awake);
    expect_valid(fixture);
    fixture->result->after.cpu_wait.turns = 1000900;
    expect_reason(fixture, "the server waited for a CPU 5 %");
}

/* 100,000 requests at 100 µs, sent 1 µs late. */
static void open_loop(struct fixture *fixture) {
    struct load_result *result = fixture->result;
    struct recorder *recorder = aligned_alloc(128, sizeof *recorder);
    assert_non_null(recorder);
    result->open_loop = true;
    result->due = result->sent = 100000;
    recorder_reset(recorder);
    recorder_add_n(recorder, 100 * NS_PER_US, 100000);
    histogram_add_recorder(&result->response, recorder);
    recorder_reset(recorder);
    recorder_add_n(recorder, NS_PER_US, 98000);
    recorder_add_n(recorder, 60 * NS_PER_US, 100);
    histogram_add_recorder(&result->lag, recorder);
    free(recorder);
}

static void an_open_loop_has_no_bound(void **state) {
    struct fixture *fixture = *state;
    open_loop(fixture);
    expect_valid(fixture);
    assert_int_equal(fixture->validity.bound, BOUND_NONE);
}

static void a_busy_generator_in_open_loop(void **state) {
    struct fixture *fixture = *state;
    open_loop(fixture);
    fixture->result->busy = 0.86;
    expect_reason(fixture, "the generator was 86 % busy");
}

/* Ten whole seconds, and a rest that does not count. */
static void set_seconds(struct fixture *fixture, double first, double step) {
    struct load_result *result = fixture->result;
    result->interval_count = 11;
    for (uint32_t i = 0; i < 11; i++) {
        uint64_t value = (uint64_t)(first + step * i);
        result->intervals[i] = (struct load_interval){.length_ns = NS_PER_S,
                                                      .requests = value,
                                                      .p50_ns = value * NS_PER_US};
    }
    result->intervals[10].length_ns = 100 * NS_PER_MS;
    result->intervals[10].p50_ns = NS_PER_S;
}

static void a_drift_is_noted(void **state) {
    struct fixture *fixture = *state;
    set_seconds(fixture, 1000, 5); /* 4.5 % in all */
    expect_valid(fixture);
    assert_string_equal(fixture->validity.note, "");
    set_seconds(fixture, 1000, -20); /* 18 % of 910 */
    expect_valid(fixture);
    assert_non_null(strstr(fixture->validity.note, "the rate changed by -20 %"));
    open_loop(fixture);
    set_seconds(fixture, 1000, 20);
    expect_valid(fixture);
    assert_non_null(strstr(fixture->validity.note, "p50 changed by +17 %"));
    knob_set_number(&fixture->plan.knobs, "end_rate", 5); /* a ramp drifts by itself */
    expect_valid(fixture);
    assert_string_equal(fixture->validity.note, "");
}

static void growing_response_times_are_unstable(void **state) {
    struct fixture *fixture = *state;
    open_loop(fixture);
    set_seconds(fixture, 1000, 1000);
    expect_reason(fixture, "unstable: response times grew");
    assert_true(fixture->validity.unstable);
    set_seconds(fixture, 20000, -1000); /* falling is only a drift */
    expect_valid(fixture);
}

static void statuses_are_errors_of_answers(void **state) {
    struct fixture *fixture = *state;
    fixture->result->errors[LOAD_STATUS] = 100; /* of 100,000, not of 100,100 */
    expect_valid(fixture);
    fixture->result->errors[LOAD_STATUS] = 101;
    expect_reason(fixture, "101 errors (101 status)");
}

static void a_missed_constant_rate(void **state) {
    struct fixture *fixture = *state;
    open_loop(fixture);
    fixture->result->sent = 99901;
    expect_valid(fixture);
    fixture->result->sent = 99890;
    expect_reason(fixture, "only 99.89 % of the requests due were sent");
    knob_set_number(&fixture->plan.knobs, "arrivals", ARRIVALS_POISSON);
    expect_valid(fixture);
    fixture->result->sent = 98990;
    expect_reason(fixture, "only 98.99 %");
}

static void a_late_generator(void **state) {
    struct fixture *fixture = *state;
    struct recorder *recorder = aligned_alloc(128, sizeof *recorder);
    assert_non_null(recorder);
    open_loop(fixture);
    recorder_reset(recorder);
    recorder_add_n(recorder, 60 * NS_PER_US, 2000);
    histogram_add_recorder(&fixture->result->lag, recorder);
    expect_reason(fixture, "the generator sent late");
    /* The same lag does not matter beside answers that take a millisecond. */
    recorder_reset(recorder);
    recorder_add_n(recorder, NS_PER_MS, 100000);
    histogram_add_recorder(&fixture->result->response, recorder);
    expect_valid(fixture);
    free(recorder);
}

/* Whose it is, and whether response times can only have become longer by it. */
static void expect_fault(struct fixture *fixture, enum fault fault, bool only_slower) {
    const struct validity *validity = judge_it(fixture);
    assert_int_equal(validity->valid, fault == FAULT_NONE);
    assert_int_equal(validity->fault, fault);
    assert_int_equal(validity->only_slower, only_slower);
}

static void whose_fault_it_is(void **state) {
    struct fixture *fixture = *state;
    struct load_result *result = fixture->result;
    open_loop(fixture);
    expect_fault(fixture, FAULT_NONE, true);
    result->sent = 99500; /* a constant rate was missed */
    expect_fault(fixture, FAULT_SERVER, false);
    result->busy = 0.9; /* by whom is not known then, and a little of it changes no quantile */
    expect_fault(fixture, FAULT_GENERATOR, true);
    result->sent = 98000;
    expect_fault(fixture, FAULT_GENERATOR, false);
    result->starved_ns = NS_PER_S / 10; /* before both: somebody took the CPU time */
    expect_fault(fixture, FAULT_MACHINE, false);
    result->sent = 100000;
    expect_fault(fixture, FAULT_MACHINE, true);
    result->errors[LOAD_TIMEOUT] = 200;
    expect_fault(fixture, FAULT_MACHINE, false);
    result->starved_ns = 0;
    result->busy = 0.5;
    expect_fault(fixture, FAULT_SERVER, false);
}

static void reasons_do_not_overflow(void **state) {
    struct fixture *fixture = *state;
    expect_valid(fixture);
    for (int i = 0; i < 2 * REASONS_MOST; i++)
        validity_refuse(&fixture->validity, "%0*d", 2 * REASON_BYTES, i);
    assert_int_equal(fixture->validity.reason_count, REASONS_MOST);
    assert_int_equal(strlen(fixture->validity.reasons[0]), REASON_BYTES - 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, make_good, drop)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_good_result_is_valid),         CASE(an_unfinished_load_says_why),
        CASE(nothing_answered_is_not_valid),  CASE(errors_beyond_one_in_a_thousand),
        CASE(one_wrong_answer_is_too_many),   CASE(whose_limit_the_throughput_is),
        CASE(an_unknown_server_has_no_bound), CASE(a_server_on_two_cpus_is_half_busy),
        CASE(a_server_is_busy_in_its_turns),
        CASE(several_threads_have_no_bound),
        CASE(a_starved_generator_is_saturated),
        CASE(waiting_for_its_own_database),
        CASE(waiting_for_its_own_threads),
        CASE(waiting_for_the_keeper_of_a_cpu),
        CASE(a_request_that_waits_at_the_end),
        CASE(steal_beyond_two_percent),       CASE(waiting_for_a_cpu),
        CASE(an_open_loop_has_no_bound),      CASE(a_busy_generator_in_open_loop),
        CASE(a_drift_is_noted),               CASE(growing_response_times_are_unstable),
        CASE(statuses_are_errors_of_answers),
        CASE(a_missed_constant_rate),         CASE(a_late_generator),
        CASE(whose_fault_it_is),              CASE(reasons_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
