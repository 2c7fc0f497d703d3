/* test_load_sweep.c: a sweep's rates, its end, and the knee of curves that are known. */
#include "harness/load_sweep.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "harness/random.h"
#include "loops/clock.h"

static struct sweep_plan parsed(const char *text) {
    struct sweep_plan plan;
    struct error error = {""};
    if (sweep_parse(text, &plan, &error))
        fail_msg("%s", error.text);
    return plan;
}

static void what_sweeps_say(void **state) {
    (void)state;
    struct sweep_plan plan = parsed("1k:100k");
    assert_true(plan.from == 1000 && plan.to == 100000 && plan.steps == SWEEP_STEPS_DEFAULT);
    plan = parsed("0.5:20:3");
    assert_true(plan.from == 0.5 && plan.to == 20 && plan.steps == 3);
}

static void wrong_sweeps_are_refused(void **state) {
    static const char *const texts[] = {"",       ":",         "1k",        "1k:",     ":1k",
                                        "1k:1k",  "2k:1k",     "0:1k",      "-1:1k",   "1k:x",
                                        "1k:2k:", "1k:2k:1",   "1k:2k:101", "1k:2k:x", "1k:2k:3:4",
                                        "1k:20M", "1k:2k:2.5", "1k:2k:3:",  "1k::3",   "nan:1k"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct sweep_plan plan;
        struct error error = {""};
        if (sweep_parse(texts[i], &plan, &error) == 0)
            fail_msg("'%s' was taken", texts[i]);
        assert_non_null(strstr(error.text, "--sweep"));
    }
}

static void rates_are_spaced_geometrically(void **state) {
    (void)state;
    struct sweep_plan plan = parsed("1k:100k");
    assert_true(sweep_rate(&plan, 0) == 1000 && sweep_rate(&plan, 11) == 100000);
    for (size_t i = 1; i < plan.steps; i++) {
        double ratio = sweep_rate(&plan, i) / sweep_rate(&plan, i - 1);
        assert_true(fabs(ratio / pow(100, 1.0 / 11) - 1) < 0.002);
    }
    plan = parsed("1000:1000.5:4"); /* closer than the digits that rates are rounded to */
    for (size_t i = 1; i < plan.steps; i++)
        assert_true(sweep_rate(&plan, i) > sweep_rate(&plan, i - 1));
}

/* Not what the series comes to in its last digits. */
static void the_ends_are_exact(void **state) {
    (void)state;
    for (int i = 1; i < 1000; i++) {
        struct sweep_plan plan = {.from = 0.1 * i, .to = 12345.6 + i / 7.0, .steps = 5};
        assert_true(sweep_rate(&plan, 0) == plan.from && sweep_rate(&plan, 4) == plan.to);
    }
}

/* ---- series ---------------------------------------------------------------------------------- */

enum { COUNT = 12 };

static struct sweep_point point(double rate, double p99_ns) {
    return (struct sweep_point){
        .rate = rate, .p99_known = true, .p99_ns = p99_ns, .p99_low_ns = 0.9 * p99_ns};
}

/* p99 of 1 ms / (1 - load), as queues have it, up to the capacity. */
static void make_queue(struct sweep_point points[COUNT], double capacity) {
    struct sweep_plan plan = parsed("1k:100k");
    for (size_t i = 0; i < COUNT; i++) {
        double rate = sweep_rate(&plan, i);
        points[i] = point(rate, NS_PER_MS / fmax(1 - rate / capacity, 1e-3));
        points[i].fault = rate < capacity ? FAULT_NONE : FAULT_SERVER;
    }
}

/* 0.9 * 1 ms / (1 - load) is over 3 ms * level from a load of about 0.7 on. */
static void a_queue_has_its_knee_where_it_bends(void **state) {
    (void)state;
    for (double capacity = 20e3; capacity < 90e3; capacity *= 1.1) {
        struct sweep_point points[COUNT];
        make_queue(points, capacity);
        struct sweep_knee knee = sweep_find_knee(points, COUNT);
        assert_int_equal(knee.knee, KNEE_FOUND);
        assert_true(knee.rate < 0.75 * capacity && knee.over_rate > 0.65 * capacity);
        assert_true(knee.over_rate / knee.rate < 1.53); /* neighbours */
        assert_true(knee.level_ns >= NS_PER_MS && knee.level_ns < 1.2 * NS_PER_MS);
        assert_int_equal(knee.isolated, 0);
    }
}

static void a_cliff_is_a_knee(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 1e9);
    points[10].fault = points[11].fault = FAULT_SERVER;
    struct sweep_knee knee = sweep_find_knee(points, COUNT);
    assert_int_equal(knee.knee, KNEE_FOUND);
    assert_true(knee.rate == points[9].rate && knee.over_rate == points[10].rate);
    /* What the generator or the machine spoilt is neither under nor over. */
    points[10].fault = FAULT_GENERATOR;
    knee = sweep_find_knee(points, COUNT);
    assert_true(knee.rate == points[9].rate && knee.over_rate == points[11].rate);
    points[11].fault = FAULT_GENERATOR;
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_NONE);
}

static void flat_and_falling_curves_have_none(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 1e9);
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_NONE);
    for (size_t i = 0; i < COUNT; i++) /* a CPU that wakes up the faster the more there is to do */
        points[i].p99_low_ns = points[i].p99_ns = 5e6 / (double)(i + 1);
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_NONE);
}

/* One slow moment is no knee, in the level neither, but it is told. */
static void what_comes_back_is_no_knee(void **state) {
    (void)state;
    for (size_t slow = 0; slow < COUNT - 1; slow++) {
        struct sweep_point points[COUNT];
        make_queue(points, 1e9);
        points[slow] = point(points[slow].rate, 50 * NS_PER_MS);
        struct sweep_knee knee = sweep_find_knee(points, COUNT);
        assert_int_equal(knee.knee, KNEE_NONE);
        assert_int_equal(knee.isolated, 1);
        assert_true(knee.level_ns < 1.1 * NS_PER_MS);
    }
}

/* Over means the whole interval. */
static void a_wide_interval_is_not_over(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 1e9);
    points[11].p99_ns = 100 * NS_PER_MS;
    points[11].p99_low_ns = 2.9 * NS_PER_MS;
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_NONE);
    points[11].p99_low_ns = 3.2 * NS_PER_MS;
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_FOUND);
}

static void noise_does_not_move_the_knee_far(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 3);
    size_t near = 0, all = 500;
    for (size_t n = 0; n < all; n++) {
        struct sweep_point points[COUNT];
        make_queue(points, 50e3);
        for (size_t i = 0; i < COUNT; i++) {
            double factor = exp(0.5 * (random_unit(&random) - 0.5));
            points[i].p99_ns *= factor;
            points[i].p99_low_ns *= factor;
        }
        struct sweep_knee knee = sweep_find_knee(points, COUNT);
        near += knee.knee == KNEE_FOUND && knee.rate > 15e3 && knee.rate < 45e3;
    }
    assert_int_equal(near, all);
}

static void low_rates_get_longer_steps(void **state) {
    (void)state;
    assert_true(sweep_step_ns(3e9, 1000) == 3e9);
    assert_true(sweep_step_ns(3e9, 100) * 100 / 1e9 >= 500);
    assert_true(sweep_step_ns(3e9, 1) == 12e9);
}

static void too_little_to_tell(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 50e3);
    for (size_t i = 0; i < COUNT / 2; i++) /* what is left of the curve is no low load */
        points[i].p99_known = false;
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_UNKNOWN);
    make_queue(points, 1e9);
    assert_int_equal(sweep_find_knee(points, 0).knee, KNEE_UNKNOWN);
    assert_int_equal(sweep_find_knee(points, 2).knee, KNEE_UNKNOWN);
    for (size_t i = 0; i < COUNT; i++)
        points[i].p99_known = false;
    assert_int_equal(sweep_find_knee(points, COUNT).knee, KNEE_UNKNOWN);
    make_queue(points, 10); /* the lowest rate is too much already */
    assert_int_equal(sweep_find_knee(points, 2).knee, KNEE_BELOW);
}

/* Of twelve rates the lowest three, and never fewer; of five the lower half, with the middle. */
static void low_load_is_the_lowest_rates(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 1e9);
    for (size_t i = 0; i < COUNT; i++)
        points[i] = point(points[i].rate, (i < 3 ? 1 : 2) * NS_PER_MS);
    assert_true(sweep_find_knee(points, COUNT).level_ns == NS_PER_MS);
    for (size_t count = 5; count <= COUNT; count++)
        assert_int_equal(sweep_find_knee(points, count).knee, KNEE_NONE);
    assert_int_equal(sweep_find_knee(points, 4).knee, KNEE_UNKNOWN);
}

/* One rate that fails, and one that says nothing: too much is only what two in a row show. */
static void one_failure_is_not_below(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 10);
    points[1].fault = FAULT_NONE;
    points[1].p99_known = false;
    assert_int_equal(sweep_find_knee(points, 2).knee, KNEE_UNKNOWN);
}

static void two_failures_in_a_row_end_it(void **state) {
    (void)state;
    struct sweep_point points[COUNT];
    make_queue(points, 1e9);
    assert_false(sweep_should_end(points, 0));
    assert_false(sweep_should_end(points, COUNT));
    points[3].fault = points[5].fault = FAULT_SERVER;
    assert_false(sweep_should_end(points, 4));
    assert_false(sweep_should_end(points, 6));
    points[6].fault = FAULT_GENERATOR; /* a moment's, and no reason to stop */
    assert_false(sweep_should_end(points, 7));
    points[6].missed = true;
    assert_true(sweep_should_end(points, 7));
    assert_false(sweep_should_end(points, 8));
    points[7].fault = FAULT_SERVER;
    assert_true(sweep_should_end(points, 8));
    points[0].fault = FAULT_SERVER;
    assert_false(sweep_should_end(points, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_sweeps_say),
        cmocka_unit_test(wrong_sweeps_are_refused),
        cmocka_unit_test(rates_are_spaced_geometrically),
        cmocka_unit_test(the_ends_are_exact),
        cmocka_unit_test(a_queue_has_its_knee_where_it_bends),
        cmocka_unit_test(a_cliff_is_a_knee),
        cmocka_unit_test(flat_and_falling_curves_have_none),
        cmocka_unit_test(what_comes_back_is_no_knee),
        cmocka_unit_test(a_wide_interval_is_not_over),
        cmocka_unit_test(noise_does_not_move_the_knee_far),
        cmocka_unit_test(low_rates_get_longer_steps),
        cmocka_unit_test(too_little_to_tell),
        cmocka_unit_test(low_load_is_the_lowest_rates),
        cmocka_unit_test(one_failure_is_not_below),
        cmocka_unit_test(two_failures_in_a_row_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
