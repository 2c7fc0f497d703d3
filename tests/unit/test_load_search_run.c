/* test_load_search_run.c: what a step says to a search, and what a search says by its exit code. */
#include "harness/load_search_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "harness/command.h"

static const struct load_options under_5_ms = {.objective = {.limit_ns = 5 * NS_PER_MS}};

static struct load_step step(enum fault fault, bool only_slower, uint64_t high_ns) {
    return (struct load_step){.fault = fault,
                              .only_slower = only_slower,
                              .verdict = high_ns < 5 * NS_PER_MS ? SLO_MET : SLO_BROKEN,
                              .objective = {.measured = true, .known = true, .high_ns = high_ns}};
}

static enum search_verdict verdict(const struct load_step *tried) {
    return load_search_verdict(&under_5_ms, tried);
}

static void a_step_that_nothing_disturbed(void **state) {
    (void)state;
    struct load_step fast = step(FAULT_NONE, true, 4 * NS_PER_MS);
    struct load_step slow = step(FAULT_NONE, true, 5 * NS_PER_MS);
    assert_int_equal(verdict(&fast), SEARCH_HOLDS);
    assert_int_equal(verdict(&slow), SEARCH_BREAKS);
    slow.verdict = SLO_UNDECIDED;
    assert_int_equal(verdict(&slow), SEARCH_UNDECIDED);
}

/* What could only have been slower for it keeps under the limit without it. */
static void a_fault_that_only_slows_hides_nothing(void **state) {
    (void)state;
    for (enum fault fault = FAULT_SERVER; fault <= FAULT_MACHINE; fault++) {
        struct load_step fast = step(fault, true, 4 * NS_PER_MS);
        assert_int_equal(verdict(&fast), SEARCH_HOLDS);
        fast.objective.measured = false;
        assert_int_not_equal(verdict(&fast), SEARCH_HOLDS);
    }
}

static void a_fault_is_whose_it_is(void **state) {
    (void)state;
    for (int only_slower = 0; only_slower < 2; only_slower++) {
        /* Not only slower: under the limit means nothing. */
        uint64_t high_ns = (only_slower ? 6 : 4) * NS_PER_MS;
        struct load_step servers = step(FAULT_SERVER, only_slower, high_ns);
        struct load_step generators = step(FAULT_GENERATOR, only_slower, high_ns);
        struct load_step machines = step(FAULT_MACHINE, only_slower, high_ns);
        assert_int_equal(verdict(&servers), SEARCH_UNSUSTAINED);
        assert_int_equal(verdict(&generators), SEARCH_GENERATOR);
        assert_int_equal(verdict(&machines), SEARCH_MACHINE);
    }
}

/* The run is valid, but beyond p99 the generator's lag may have made this quantile. */
static void a_quantile_that_is_lag_says_nothing(void **state) {
    (void)state;
    struct load_step late = step(FAULT_NONE, false, 6 * NS_PER_MS);
    late.objective.known = false;
    assert_int_equal(verdict(&late), SEARCH_GENERATOR);
    late.objective.measured = false; /* too few samples are nobody's lag */
    late.verdict = SLO_UNDECIDED;
    assert_int_equal(verdict(&late), SEARCH_UNDECIDED);
}

/* ---- exit codes ------------------------------------------------------------------------------ */

/* A search that ended so; `low`: one rate holds, and one above fails in that way. */
static struct load_search ended(enum search_end end, bool low, enum search_verdict failure) {
    struct load_search search = {.end = end, .point_count = 2};
    search.points[0] = (struct search_point){.rate = 100, .held = low ? 2 : 0, .failed = !low};
    search.points[1] = (struct search_point){.rate = 200, .failed = 2};
    search.points[0].verdicts[failure] = !low;
    search.points[1].verdicts[failure] = 2;
    return search;
}

static void exit_codes(void **state) {
    static const struct {
        enum search_end end;
        bool low;
        enum search_verdict failure;
        int code, strict;
    } expected[] = {
        {SEARCH_FOUND, true, SEARCH_BREAKS, EXIT_OK, EXIT_OK},
        {SEARCH_FOUND, true, SEARCH_UNDECIDED, EXIT_OK, EXIT_CANNOT_TELL},
        {SEARCH_NOTHING_HOLDS, false, SEARCH_UNSUSTAINED, EXIT_GATE, EXIT_GATE},
        {SEARCH_NOTHING_HOLDS, false, SEARCH_UNDECIDED, EXIT_GATE, EXIT_CANNOT_TELL},
        {SEARCH_OUT_OF_TIME, true, SEARCH_BREAKS, EXIT_OK, EXIT_CANNOT_TELL},
        {SEARCH_OUT_OF_TIME, false, SEARCH_BREAKS, EXIT_GATE, EXIT_CANNOT_TELL},
        {SEARCH_GENERATOR_LIMIT, true, SEARCH_BREAKS, EXIT_NOT_VALID, EXIT_NOT_VALID},
        {SEARCH_MACHINE_LIMIT, false, SEARCH_UNDECIDED, EXIT_NOT_VALID, EXIT_NOT_VALID},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        struct load_search search = ended(expected[i].end, expected[i].low, expected[i].failure);
        assert_int_equal(load_search_exit_code(&search, false), expected[i].code);
        assert_int_equal(load_search_exit_code(&search, true), expected[i].strict);
    }
    struct load_search all = {.end = SEARCH_ALL_HOLD, .point_count = 1};
    all.points[0] = (struct search_point){.rate = 100, .held = 2};
    assert_int_equal(load_search_exit_code(&all, true), EXIT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_nothing_disturbed),
        cmocka_unit_test(a_fault_that_only_slows_hides_nothing),
        cmocka_unit_test(a_fault_is_whose_it_is),
        cmocka_unit_test(a_quantile_that_is_lag_says_nothing),
        cmocka_unit_test(exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
