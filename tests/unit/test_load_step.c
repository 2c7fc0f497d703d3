/* test_load_step.c: is a server falling behind? Where the run is too short for anything else to
 * show it. */
#include "harness/load_step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define WARMUP_NS (500.0 * NS_PER_MS)

static struct load_result *result;
static uint64_t counts[RECORDER_COUNTERS];

/* In 3 s; as many were sent as were answered. */
static bool falls_behind_of(uint64_t due, uint64_t answers, uint64_t response_ns) {
    histogram_open_in(&result->response, &histogram_standard, counts);
    histogram_reset(&result->response);
    assert_int_equal(histogram_record(&result->response, response_ns, answers), 0);
    result->open_loop = true;
    result->due = due;
    result->sent = result->answers = answers;
    result->offered_rate = (double)due / 3;
    return load_step_falls_behind(result, WARMUP_NS);
}

/* At 1,000/s. */
static bool falls_behind(uint64_t answers, uint64_t response_ns) {
    return falls_behind_of(3000, answers, response_ns);
}

static void a_backlog_that_grows_is_seen(void **state) {
    (void)state;
    /* 5 % over its capacity: at the end 150 wait, behind a mean of 90 ms. */
    assert_true(falls_behind(2857, 90 * NS_PER_MS));
    assert_true(falls_behind(0, 0));
}

static void a_moment_is_no_backlog(void **state) {
    (void)state;
    assert_false(falls_behind(3000, NS_PER_MS));
    assert_false(falls_behind(3100, NS_PER_MS)); /* it had been behind, and caught up */
    assert_false(falls_behind(2950, NS_PER_MS)); /* 50 ms without an answer at the very end */
}

/* A handful is no share of anything. */
static void a_few_are_no_backlog(void **state) {
    (void)state;
    assert_false(falls_behind_of(20, 11, NS_PER_MS));
    assert_true(falls_behind_of(20, 5, NS_PER_MS));
}

/* A second of latency is more than the warm-up: half a second's requests are still to come. */
static void slow_answers_are_allowed_for(void **state) {
    (void)state;
    assert_false(falls_behind(2500, NS_PER_S));
    assert_true(falls_behind(2300, NS_PER_S));
    assert_true(falls_behind(2500, 400 * NS_PER_MS)); /* the warm-up has all of these */
}

static void latencies_in_words(void **state) {
    char text[STEP_TEXT_BYTES];
    struct step_latency latency = {true, true, 2 * NS_PER_MS, NS_PER_MS, 3 * NS_PER_MS};
    (void)state;
    assert_string_equal(load_step_latency_text("p99", &latency, text),
                        "p99 2.00 ms (1.00 ms to 3.00 ms)");
    latency.measured = false;
    assert_string_equal(load_step_latency_text("p99", &latency, text), "p99 not known");
}

static int open_result(void **state) {
    (void)state;
    result = calloc(1, sizeof *result);
    return result ? 0 : -1;
}

static int close_result(void **state) {
    (void)state;
    free(result);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backlog_that_grows_is_seen),
        cmocka_unit_test(a_moment_is_no_backlog),
        cmocka_unit_test(a_few_are_no_backlog),
        cmocka_unit_test(slow_answers_are_allowed_for),
        cmocka_unit_test(latencies_in_words),
    };
    return cmocka_run_group_tests(tests, open_result, close_result);
}
