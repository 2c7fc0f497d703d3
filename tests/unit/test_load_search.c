/* test_load_search.c: the search for the highest rate, on servers whose latency is a formula. */
#include "harness/load_search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "harness/random.h"
#include "loops/clock.h"

/* A server as the search sees it. */
struct model {
    enum search_verdict (*verdict)(struct model *model, double rate);
    double capacity;
    struct random random;
    unsigned asked; /* so far */
    double cliff;   /* of those that have one */
};

enum { LIMIT_SERVICES = 10 }; /* the objective: p99 under so many service times */

/* M/D/1: p99 of the response in service times, by the exponential tail of its waiting time, whose
 * decay is the root s > 0 of s = load * (e^s - 1) (Tijms, A First Course in Stochastic Models,
 * 9.6). */
static double md1_p99(double load) {
    double low = 1e-9, high = 50;
    for (int i = 0; i < 200; i++) {
        double s = (low + high) / 2;
        if (load * (exp(s) - 1) < s)
            low = s;
        else
            high = s;
    }
    double factor = (1 - load) / (load * exp(low) - 1);
    return 1 + fmax(0, log(100 * factor) / low);
}

static enum search_verdict md1(struct model *model, double rate) {
    double load = rate / model->capacity;
    if (load >= 0.999)
        return SEARCH_UNSUSTAINED;
    return md1_p99(load) < LIMIT_SERVICES ? SEARCH_HOLDS : SEARCH_BREAKS;
}

/* One try in eight goes wrong whatever the rate. */
static enum search_verdict noisy_md1(struct model *model, double rate) {
    return random_below(&model->random, 8) == 0 ? SEARCH_BREAKS : md1(model, rate);
}

/* Near its limit the verdict is a coin's, and no interval is clear. */
static enum search_verdict blurred(struct model *model, double rate) {
    double distance = log(rate / model->capacity) + 0.1 * (random_unit(&model->random) - 0.5);
    return distance < -0.05 ? SEARCH_HOLDS : distance < 0.05 ? SEARCH_UNDECIDED : SEARCH_BREAKS;
}

static enum search_verdict cliff(struct model *model, double rate) {
    return rate < model->cliff ? SEARCH_HOLDS : SEARCH_UNSUSTAINED;
}

/* Fails between a quarter and three quarters of its capacity, and does well after. */
static enum search_verdict dip(struct model *model, double rate) {
    double load = rate / model->capacity;
    return load > 1                     ? SEARCH_UNSUSTAINED
           : load > 0.25 && load < 0.75 ? SEARCH_BREAKS
                                        : SEARCH_HOLDS;
}

static enum search_verdict always(struct model *model, double rate) {
    (void)model, (void)rate;
    return SEARCH_HOLDS;
}

static enum search_verdict never(struct model *model, double rate) {
    (void)model, (void)rate;
    return SEARCH_BREAKS;
}

static enum search_verdict never_clear(struct model *model, double rate) {
    (void)model, (void)rate;
    return SEARCH_UNDECIDED;
}

/* The generator cannot do more than the cliff; the server could. */
static enum search_verdict generator_limited(struct model *model, double rate) {
    return rate < model->cliff ? SEARCH_HOLDS : SEARCH_GENERATOR;
}

/* Every third step is the machine's. */
static enum search_verdict stolen(struct model *model, double rate) {
    return model->asked % 3 == 0 ? SEARCH_MACHINE : md1(model, rate);
}

static struct search_plan plan_from(double start) {
    return load_search_plan(start, 736, 3.0 * NS_PER_S, 0.5 * NS_PER_S, 0.05);
}

static void search(struct load_search *found, struct model *model, const struct search_plan *plan) {
    double rate;
    random_seed(&model->random, 7 + model->asked);
    load_search_begin(found, plan);
    model->asked = 0;
    while (load_search_next(found, &rate)) {
        assert_true(rate >= plan->lowest && rate <= plan->highest);
        model->asked++;
        load_search_tell(found, model->verdict(model, rate));
    }
    assert_int_equal(found->steps, model->asked);
    assert_true(found->steps <= SEARCH_STEPS_MOST);
    assert_true(found->spent_ns <= found->budget_ns);
    assert_int_not_equal(found->end, SEARCH_UNDER_WAY);
}

static const struct search_point *low_of(const struct load_search *found) {
    const struct search_point *low = load_search_low(found);
    assert_non_null(low);
    return low;
}

static const struct search_point *high_of(const struct load_search *found) {
    const struct search_point *high = load_search_high(found);
    assert_non_null(high);
    return high;
}

static void assert_found(const struct load_search *found) {
    assert_int_equal(found->end, SEARCH_FOUND);
    const struct search_point *low = low_of(found), *high = high_of(found);
    assert_true(low->rate < high->rate && high->rate <= 1.05 * low->rate);
    assert_true(low->held >= 2 && low->held > low->failed);
    assert_true(high->failed >= 2 && high->failed > high->held);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* Whatever the capacity, the bracket has the true limit in it, and both its ends were tried twice.
 */
static void a_queue_is_bracketed(void **state) {
    (void)state;
    for (double capacity = 100; capacity < 3e6; capacity *= 1.37) {
        struct model model = {.verdict = md1, .capacity = capacity};
        struct load_search found;
        struct search_plan plan = plan_from(0);
        search(&found, &model, &plan);
        if (md1(&model, plan.lowest) != SEARCH_HOLDS) {
            assert_int_equal(found.end, SEARCH_NOTHING_HOLDS);
            continue;
        }
        assert_found(&found);
        assert_int_equal(md1(&model, low_of(&found)->rate), SEARCH_HOLDS);
        assert_int_not_equal(md1(&model, high_of(&found)->rate), SEARCH_HOLDS);
        assert_true(load_search_is_decided(high_of(&found)));
    }
}

/* The tighter, the more steps, and never wider than asked for. */
static void precision_is_kept(void **state) {
    (void)state;
    size_t steps = 0;
    for (double precision = 0.3; precision > 0.01; precision /= 2) {
        struct model model = {.verdict = cliff, .cliff = 54321};
        struct load_search found;
        struct search_plan plan = load_search_plan(0, 736, 3e9, 5e8, precision);
        search(&found, &model, &plan);
        assert_int_equal(found.end, SEARCH_FOUND);
        assert_true(low_of(&found)->rate < 54321 && high_of(&found)->rate >= 54321);
        assert_true(high_of(&found)->rate <= (1 + precision) * low_of(&found)->rate);
        assert_true(found.steps > steps);
        steps = found.steps;
    }
}

/* One wrong outcome in eight: of a thousand searches nearly all come out where they should, and
 * whatever they say was tried twice. One that believes each outcome ends far off in more than half
 * of them, for it makes about fifteen. */
static void noise_is_outvoted(void **state) {
    (void)state;
    struct model exact = {.verdict = md1, .capacity = 20000};
    struct search_plan plan = plan_from(0);
    struct load_search found;
    search(&found, &exact, &plan);
    double truth = low_of(&found)->rate;
    size_t near = 0, all = 1000;
    for (size_t i = 0; i < all; i++) {
        struct model model = {.verdict = noisy_md1, .capacity = 20000, .asked = (unsigned)i};
        search(&found, &model, &plan);
        const struct search_point *low = load_search_low(&found);
        if (found.end == SEARCH_FOUND)
            assert_found(&found);
        near += low && fabs(log(low->rate / truth)) < 0.11;
    }
    if (near < all * 85 / 100)
        fail_msg("%zu of %zu came out right", near, all);
}

static void a_blurred_limit_ends_too(void **state) {
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct model model = {.verdict = blurred, .capacity = 8000, .asked = i};
        struct load_search found;
        struct search_plan plan = plan_from(0);
        search(&found, &model, &plan);
        assert_int_equal(found.end, SEARCH_FOUND);
        assert_true(low_of(&found)->rate > 6800 && low_of(&found)->rate <= 8000);
    }
}

static void up_the_cliff_and_no_further(void **state) {
    (void)state;
    struct model model = {.verdict = cliff, .cliff = 3000};
    struct load_search found;
    struct search_plan plan = plan_from(1000);
    search(&found, &model, &plan);
    assert_found(&found);
    assert_true(low_of(&found)->rate < 3000 && high_of(&found)->rate >= 3000);
    /* What cannot be sustained at one rate is not tried at twice that. */
    assert_true(found.points[found.point_count - 1].rate <= 4000);
}

/* The start fails, and lower rates do not. */
static void down_from_a_start_that_is_too_high(void **state) {
    (void)state;
    struct model model = {.verdict = cliff, .cliff = 70};
    struct load_search found;
    struct search_plan plan = plan_from(500);
    search(&found, &model, &plan);
    assert_found(&found);
    assert_true(low_of(&found)->rate < 70 && high_of(&found)->rate >= 70);
}

/* A rate fails and a higher one holds: the answer is the higher one, and the lower one is told. */
static void what_is_not_monotonic_is_told(void **state) {
    (void)state;
    struct model model = {.verdict = dip, .capacity = 10000};
    struct load_search found;
    struct search_plan plan = plan_from(1000); /* 1000 and 2000 hold, 4000 does not, 8000 does */
    search(&found, &model, &plan);
    assert_found(&found);
    assert_true(low_of(&found)->rate > 9400 && low_of(&found)->rate <= 10000);
    size_t odd = 0;
    for (size_t i = 0; i < found.point_count; i++) {
        const struct search_point *point = &found.points[i];
        bool in_dip = point->rate > 2500 && point->rate < 7500;
        assert_int_equal(load_search_is_odd(&found, point), in_dip);
        assert_true(!in_dip || point->failed >= 2);
        odd += in_dip;
    }
    assert_true(odd > 0);
}

static void everything_holds(void **state) {
    (void)state;
    struct model model = {.verdict = always};
    struct load_search found;
    struct search_plan plan = plan_from(0);
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_ALL_HOLD);
    assert_true(low_of(&found)->rate == plan.highest && low_of(&found)->held >= 2);
    assert_null(load_search_high(&found));
}

static void nothing_holds(void **state) {
    (void)state;
    struct model model = {.verdict = never};
    struct load_search found;
    struct search_plan plan = plan_from(0);
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_NOTHING_HOLDS);
    assert_null(load_search_low(&found));
    assert_true(high_of(&found)->rate == plan.lowest && high_of(&found)->failed >= 2);
    assert_true(load_search_is_decided(high_of(&found)));
    model.verdict = never_clear;
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_NOTHING_HOLDS);
    assert_false(load_search_is_decided(high_of(&found)));
}

/* The search does not go where the generator cannot, and does not call that the server's limit. */
static void the_generator_is_the_limit(void **state) {
    (void)state;
    struct model model = {.verdict = generator_limited, .cliff = 5000};
    struct load_search found;
    struct search_plan plan = plan_from(1000);
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_GENERATOR_LIMIT);
    assert_true(low_of(&found)->rate == 4000 && low_of(&found)->held >= 2);
    assert_null(load_search_high(&found));
    assert_true(found.ceiling == 8000);
    model.cliff = 10; /* not even the first step */
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_GENERATOR_LIMIT);
    assert_null(load_search_low(&found));
    assert_int_equal(found.steps, 3);
}

/* Steps that the machine spoilt are tried again, and count for nothing. */
static void stolen_steps_are_repeated(void **state) {
    (void)state;
    struct model model = {.verdict = stolen, .capacity = 9000};
    struct load_search found;
    struct search_plan plan = plan_from(0);
    search(&found, &model, &plan);
    assert_found(&found);
    assert_int_equal(md1(&model, low_of(&found)->rate), SEARCH_HOLDS);
    assert_int_not_equal(md1(&model, high_of(&found)->rate), SEARCH_HOLDS);
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* Does as its text says, a letter a step: (h)olds, (b)reaks, (u)ndecided, not sustain(e)d,
 * (g)enerator, (m)achine. Checks that the rates were these. */
static void follow(struct load_search *found, const struct search_plan *plan, const char *verdicts,
                   const double *rates) {
    static const char letters[] = "hbuegm";
    double rate;
    load_search_begin(found, plan);
    for (size_t i = 0; verdicts[i]; i++) {
        assert_true(load_search_next(found, &rate));
        if (rate != rates[i])
            fail_msg("step %zu of %s at %g, not %g", i + 1, verdicts, rate, rates[i]);
        load_search_tell(found, (enum search_verdict)(strchr(letters, verdicts[i]) - letters));
    }
}

static void assert_over(struct load_search *found, enum search_end end) {
    double rate;
    assert_false(load_search_next(found, &rate));
    assert_int_equal(found->end, end);
}

/* Steps may be 50 % apart, so that few are needed: 1000 and 2000 leave 1414 between. */
static struct search_plan coarse_plan(void) {
    return load_search_plan(1000, 736, 3.0 * NS_PER_S, 0.5 * NS_PER_S, 0.5);
}

/* Two tries that agree settle a rate. */
static void two_that_agree_are_enough(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    follow(&found, &plan, "heehe", (double[]){1000, 2000, 1414, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
    assert_int_equal(low_of(&found)->held, 2);
    assert_int_equal(high_of(&found)->failed, 2);
}

/* 1414 holds once of two: again until one outcome leads, and then until it leads by two; of five
 * tries the most count. */
static void outcomes_that_differ_are_tried_five_times(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    follow(&found, &plan, "heehhehe", (double[]){1000, 2000, 1414, 1000, 1414, 1414, 1414, 1414});
    assert_over(&found, SEARCH_FOUND);
    assert_true(high_of(&found)->rate == 1414);
    assert_int_equal(high_of(&found)->held, 2);
    assert_int_equal(high_of(&found)->failed, 3);
}

/* It held, then it did not: that is decided before anything else is tried. 2 : 1 settles nothing.
 */
static void a_tie_is_broken_at_once(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    follow(&found, &plan, "heebhhe", (double[]){1000, 2000, 1414, 1000, 1000, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
}

/* Also past a rate that fails: what was spoilt there says nothing, until it is given up. */
static void spoilt_steps_are_tried_again(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    follow(&found, &plan, "hmmmh", (double[]){1000, 2000, 2000, 2000, 1000});
    assert_over(&found, SEARCH_MACHINE_LIMIT);
    assert_true(found.ceiling == 2000);
    follow(&found, &plan, "hbmgmbhb", (double[]){1000, 2000, 4000, 4000, 4000, 1414, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
    assert_true(found.ceiling == 4000);
    follow(&found, &plan, "hbmbbhb", (double[]){1000, 2000, 4000, 4000, 1414, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
}

/* The generator's knob ends there. */
static void nothing_is_tried_above_the_highest(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    plan.highest = 3000;
    follow(&found, &plan, "hbbbhb", (double[]){1000, 2000, 3000, 1414, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
    plan.highest = 2000;
    follow(&found, &plan, "hbbhb", (double[]){1000, 2000, 1414, 1000, 1414});
    assert_over(&found, SEARCH_FOUND);
}

/* A rate that held once, and then is spoilt whenever it is tried again. */
static void what_held_may_be_spoilt_later(void **state) {
    (void)state;
    struct load_search found;
    struct search_plan plan = coarse_plan();
    follow(&found, &plan, "hheegmg", (double[]){1000, 2000, 4000, 2828, 2000, 2000, 2000});
    assert_over(&found, SEARCH_GENERATOR_LIMIT);
    assert_true(found.ceiling == 2000);
    follow(&found, &plan, "hheegmm", (double[]){1000, 2000, 4000, 2828, 2000, 2000, 2000});
    assert_over(&found, SEARCH_MACHINE_LIMIT);
}

/* Rates have four digits: 1000 and 1001 have nothing between them. */
static void no_precision_is_too_fine(void **state) {
    (void)state;
    struct model model = {.verdict = cliff, .cliff = 1000.5};
    struct load_search found;
    struct search_plan plan = load_search_plan(1000, 736, 3e9, 5e8, 1e-5);
    search(&found, &model, &plan);
    assert_int_equal(found.end, SEARCH_FOUND);
    assert_true(low_of(&found)->rate == 1000 && high_of(&found)->rate == 1001);
    assert_int_equal(low_of(&found)->held, 2);
}

/* As often undecided as for certain is decided; what is not sustained is certain. */
static void what_is_decided(void **state) {
    (void)state;
    struct search_point point = {.failed = 2};
    point.verdicts[SEARCH_UNDECIDED] = 1;
    assert_false(load_search_is_decided(&point));
    point.verdicts[SEARCH_BREAKS] = 1;
    assert_true(load_search_is_decided(&point));
    point.verdicts[SEARCH_BREAKS] = 0;
    point.verdicts[SEARCH_UNSUSTAINED] = 1;
    assert_true(load_search_is_decided(&point));
    point.verdicts[SEARCH_UNDECIDED] = 2;
    assert_false(load_search_is_decided(&point));
}

static void low_rates_get_longer_steps(void **state) {
    (void)state;
    struct search_plan plan = plan_from(0);
    assert_true(plan.start * plan.step_ns / 1e9 >= 736);
    assert_true(plan.start == 260); /* 5 % over 736 in 3 s, as somebody would say it */
    assert_true(fabs(plan.lowest - 61.33) < 1e-9);
    assert_true(plan.lowest * plan.longest_ns / 1e9 >= 735);
    assert_true(load_search_step_ns(&plan, plan.start) == plan.step_ns);
    assert_true(load_search_step_ns(&plan, plan.lowest) > 3.9 * plan.step_ns);
    assert_true(load_search_step_ns(&plan, 1) == plan.longest_ns);
    plan = plan_from(20);
    assert_true(plan.start == 20 && plan.lowest == 20);
}

/* Long steps at the lowest rates use up the time before the search is done; it says so. */
static void the_time_is_bounded(void **state) {
    (void)state;
    struct model model = {.verdict = cliff, .cliff = 66};
    struct load_search found;
    struct search_plan plan = load_search_plan(0, 736, 3e9, 5e8, 0.01);
    plan.longest_ns *= 4;
    plan.samples *= 4;
    search(&found, &model, &plan);
    assert_true(found.budget_ns == SEARCH_STEPS_MOST * 3.5e9);
    assert_int_equal(found.end, SEARCH_OUT_OF_TIME);
    assert_true(low_of(&found)->rate < 66 && high_of(&found)->rate >= 66);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_is_bracketed),
        cmocka_unit_test(precision_is_kept),
        cmocka_unit_test(noise_is_outvoted),
        cmocka_unit_test(a_blurred_limit_ends_too),
        cmocka_unit_test(up_the_cliff_and_no_further),
        cmocka_unit_test(down_from_a_start_that_is_too_high),
        cmocka_unit_test(what_is_not_monotonic_is_told),
        cmocka_unit_test(everything_holds),
        cmocka_unit_test(nothing_holds),
        cmocka_unit_test(the_generator_is_the_limit),
        cmocka_unit_test(stolen_steps_are_repeated),
        cmocka_unit_test(two_that_agree_are_enough),
        cmocka_unit_test(outcomes_that_differ_are_tried_five_times),
        cmocka_unit_test(a_tie_is_broken_at_once),
        cmocka_unit_test(spoilt_steps_are_tried_again),
        cmocka_unit_test(nothing_is_tried_above_the_highest),
        cmocka_unit_test(what_held_may_be_spoilt_later),
        cmocka_unit_test(no_precision_is_too_fine),
        cmocka_unit_test(what_is_decided),
        cmocka_unit_test(low_rates_get_longer_steps),
        cmocka_unit_test(the_time_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
