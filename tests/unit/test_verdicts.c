/* test_verdicts.c: every verdict and every obstacle, and of which cells a claim speaks. */
#include "harness/verdicts.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loops/check.h"
#include "synthetic_run.h"

enum { BLOCKS = 8, LINES_MOST = 16 };

/* What became of the run's only claim. */
struct outcome {
    bool readable;
    size_t count;
    enum claim_verdict verdicts[LINES_MOST];
    char cells[LINES_MOST][64], because[LINES_MOST][96], firsts[LINES_MOST][64],
        belows[LINES_MOST][64];
    enum claim_verdict below_verdicts[LINES_MOST];
    struct claim_evidence evidence[LINES_MOST];
    size_t blocks[LINES_MOST];
};

static struct outcome judged(const json_t *run) {
    struct summary summary;
    struct judged_claims claims;
    struct error error = {""};
    struct outcome outcome = {0};
    if (summary_init(&summary, run, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(verdicts_judge(&summary, &summary.experiments[0], &claims), 0);
    assert_int_equal(claims.count, 1);
    const struct judged_claim *claim = &claims.claims[0];
    outcome.readable = claim->readable;
    outcome.count = claim->count;
    assert_true(claim->count <= LINES_MOST);
    for (size_t i = 0; i < claim->count; i++) {
        const struct verdict_line *line = &claim->lines[i];
        outcome.verdicts[i] = line->verdict;
        outcome.evidence[i] = line->evidence;
        outcome.blocks[i] = line->blocks;
        snprintf(outcome.cells[i], sizeof outcome.cells[i], "%s", line->cell->name);
        snprintf(outcome.because[i], sizeof outcome.because[i], "%s", line->because);
        outcome.below_verdicts[i] = line->below.verdict;
        if (line->below.cell)
            snprintf(outcome.belows[i], sizeof outcome.belows[i], "%s", line->below.cell->name);
        if (line->first)
            snprintf(outcome.firsts[i], sizeof outcome.firsts[i], "%s", line->first->name);
    }
    verdicts_free(&claims);
    summary_free(&summary);
    return outcome;
}

/* Adds BLOCKS repetitions around `per_s`, within 2 %. */
static void add(json_t *run, const char *cell, const char *server, double per_s) {
    static const double wobble[BLOCKS] = {1, 1.01, 0.99, 1.02, 0.985, 1.005, 0.995, 1.015};
    for (int i = 0; i < BLOCKS; i++)
        synthetic_repetition(run, cell, server, i, per_s * wobble[i]);
}

/* For every repetition of `server`; takes `value`. */
static void set_all(json_t *run, const char *server, const char *path, json_t *value) {
    size_t i;
    json_t *repetition;
    json_array_foreach(json_object_get(run, "repetitions"), i, repetition) {
        const char *name = json_string_value(json_object_get(repetition, "server_name"));
        if (strcmp(name, server) == 0)
            synthetic_set(repetition, path, json_incref(value));
    }
    json_decref(value);
}

/* a does `ratio` times what b does, in one cell. */
static json_t *a_pair(const char *measure, double ratio, const char *rule) {
    json_t *run = synthetic_run(measure, "", "a b");
    synthetic_claim(run, "C1", rule);
    add(run, "all", "a", 10000 * ratio);
    add(run, "all", "b", 10000);
    return run;
}

static void assert_verdict(json_t *run, enum claim_verdict verdict, const char *because) {
    struct outcome outcome = judged(run);
    assert_true(outcome.readable);
    assert_int_equal(outcome.count, 1);
    assert_string_equal(claim_verdict_name(outcome.verdicts[0]), claim_verdict_name(verdict));
    if (because && !strstr(outcome.because[0], because))
        fail_msg("'%s', not '%s'", outcome.because[0], because);
    json_decref(run);
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static void reaches_every_verdict_of_a_ratio(void **state) {
    (void)state;
    static const struct {
        double ratio;
        const char *rule;
        enum claim_verdict verdict;
    } cases[] = {
        {3, "throughput a/b between 2 and 4", CLAIM_REPRODUCED},
        {5, "throughput a/b between 2 and 4", CLAIM_EXCEEDED},
        {1.5, "throughput a/b between 2 and 4", CLAIM_DIRECTION_ONLY},
        {1, "throughput a/b between 2 and 4", CLAIM_NOT_REPRODUCED},
        {0.5, "throughput a/b between 2 and 4", CLAIM_NOT_REPRODUCED},
        {2.5, "p99 a/b at most 0.5", CLAIM_REPRODUCED}, /* 2.5 times faster: 0.4 times the p99 */
        {1.5, "p99 a/b at most 0.5", CLAIM_DIRECTION_ONLY},
        {0.5, "p99 a/b at most 0.5", CLAIM_NOT_REPRODUCED},
        {4, "p50 a/b between 0.4 and 0.6", CLAIM_EXCEEDED},
        {2, "p999 a/b between 0.4 and 0.6", CLAIM_REPRODUCED},
        {2, "cpu_per_request a/b at most 0.6", CLAIM_REPRODUCED},
        {2, "rss a/b about 1 within 1 %", CLAIM_REPRODUCED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_verdict(a_pair("capacity", cases[i].ratio, cases[i].rule), cases[i].verdict, NULL);
}

/* The rule's units are the record's: ns, µs, bytes, per second. */
static void judges_absolute_values_in_their_units(void **state) {
    (void)state;
    static const struct {
        const char *rule;
        enum claim_verdict verdict;
    } cases[] = {
        {"throughput b at least 9k", CLAIM_REPRODUCED},
        {"throughput b at least 11k", CLAIM_NOT_REPRODUCED},
        {"p50 b between 90us and 110us", CLAIM_REPRODUCED},
        {"p99 b at most 0.5ms", CLAIM_REPRODUCED},
        {"p99 b at most 300us", CLAIM_NOT_REPRODUCED},
        {"p999 b between 850us and 950us", CLAIM_REPRODUCED},
        {"cpu_per_request b between 95us and 105us", CLAIM_REPRODUCED},
        {"rss b between 7MiB and 9MiB", CLAIM_REPRODUCED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_verdict(a_pair("latency", 1, cases[i].rule), cases[i].verdict, NULL);
    json_t *run = a_pair("latency", 1, "p99 b at most 0.5ms");
    struct outcome outcome = judged(run);
    assert_int_equal(outcome.blocks[0], BLOCKS);
    assert_true(fabs(outcome.evidence[0].estimate / 4e5 - 1) < 0.01);
    assert_true(outcome.evidence[0].low < 4e5 && outcome.evidence[0].high > 3.9e5);
    json_decref(run);
}

/* ---- what stands in the way ------------------------------------------------------------------ */

static void what_was_not_measured_is_not_shown(void **state) {
    (void)state;
    assert_verdict(a_pair("capacity", 3, "throughput a/c between 2 and 4"), CLAIM_NOT_SHOWN,
                   "not measured");
    assert_verdict(a_pair("capacity", 3, "throughput c at least 1"), CLAIM_NOT_SHOWN,
                   "not measured");
    json_t *run = a_pair("capacity", 3, "p999 a/b at most 0.5");
    set_all(run, "b", "response_ns.p999", json_null());
    assert_verdict(run, CLAIM_NOT_SHOWN, "not measured");
}

static void what_is_invalid_is_not_shown(void **state) {
    (void)state;
    static const char *const rules[] = {"throughput a/b between 2 and 4", "throughput b at least 1",
                                        "throughput a/b at least 2"};
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        json_t *run = a_pair("capacity", 3, rules[i]);
        json_t *repetitions = json_object_get(run, "repetitions");
        for (size_t k = BLOCKS; k < BLOCKS + 5; k++)
            synthetic_invalidate(json_array_get(repetitions, k), "errors");
        assert_verdict(run, CLAIM_NOT_SHOWN, "invalid");
    }
}

static void too_few_repetitions_show_nothing(void **state) {
    (void)state;
    json_t *run = a_pair("capacity", 3, "throughput a/b between 2 and 4");
    json_t *repetitions = json_object_get(run, "repetitions");
    for (size_t k = 0; k < 3; k++)
        synthetic_invalidate(json_array_get(repetitions, k), "steal");
    assert_verdict(run, CLAIM_NOT_SHOWN, "too few repetitions");

    run = a_pair("capacity", 3, "throughput a/b between 2 and 4");
    repetitions = json_object_get(run, "repetitions");
    for (size_t k = 0; k < 2; k++)
        synthetic_invalidate(json_array_get(repetitions, k), "steal");
    assert_verdict(run, CLAIM_REPRODUCED, "wholly within");
}

static void an_interval_across_a_border_shows_nothing(void **state) {
    (void)state;
    assert_verdict(a_pair("capacity", 1, "throughput a/b between 1 and 4"), CLAIM_NOT_SHOWN,
                   "border");
    json_t *run = a_pair("capacity", 2, "throughput a/b between 2 and 4");
    static const double rates[] = {19000, 21000, 19500, 20500, 19800, 20300, 18800, 21200};
    for (size_t i = 0; i < ARRAY_LENGTH(rates); i++)
        synthetic_set(json_array_get(json_object_get(run, "repetitions"), i), "achieved_rate",
                      json_real(rates[i]));
    assert_verdict(run, CLAIM_NOT_SHOWN, "the direction holds, and the interval crosses");
}

static void one_core_for_both_shows_nothing(void **state) {
    (void)state;
    static const char *const rules[] = {"throughput a/b between 2 and 4", "p99 a/b at most 0.5",
                                        "throughput b at least 1", "throughput a/b at least 2"};
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        json_t *run = a_pair("capacity", 3, rules[i]);
        synthetic_set(run, "pinning.shared", json_true());
        assert_verdict(run, CLAIM_NOT_SHOWN, "shared CPU");
    }
}

static void too_few_samples_show_no_quantile(void **state) {
    (void)state;
    json_t *run = a_pair("latency", 3, "p99 a/b at most 0.5");
    set_all(run, "a", "response_ns.count", json_integer(37999));
    assert_verdict(run, CLAIM_NOT_SHOWN, "too few samples");
    run = a_pair("latency", 3, "p99 a/b at most 0.5");
    set_all(run, "a", "response_ns.count", json_integer(38000));
    assert_verdict(run, CLAIM_REPRODUCED, NULL);
    run = a_pair("latency", 3, "p999 b at most 1s");
    set_all(run, "b", "response_ns.count", json_integer(38000));
    assert_verdict(run, CLAIM_NOT_SHOWN, "too few samples");
}

static void cpu_at_unequal_load_shows_nothing(void **state) {
    (void)state;
    json_t *run = a_pair("capacity", 3, "cpu_per_request a/b at most 0.5");
    set_all(run, "a", "bound", json_string("latency"));
    assert_verdict(run, CLAIM_NOT_SHOWN, "unequal load");
}

/* ---- lower bounds ---------------------------------------------------------------------------- */

static void a_lower_bound_can_only_meet_a_least(void **state) {
    (void)state;
    static const struct {
        const char *rule, *bound_a, *bound_b;
        enum claim_verdict verdict;
        const char *because;
    } cases[] = {
        {"throughput a/b at least 2", "co-limited", "server", CLAIM_REPRODUCED, "lower bound"},
        {"throughput a/b at least 2", "co-limited", "latency", CLAIM_REPRODUCED, "lower bound"},
        {"throughput a/b at least 3.5", "co-limited", "server", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a/b at least 2", "server", "co-limited", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a/b at least 2", "co-limited", "co-limited", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a/b between 2 and 4", "co-limited", "server", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a/b at most 0.5", "co-limited", "server", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a at least 2", "co-limited", "server", CLAIM_REPRODUCED, "lower bound"},
        {"throughput a at least 1000000000", "co-limited", "server", CLAIM_NOT_SHOWN, "co-limited"},
        {"throughput a at most 1000000000", "co-limited", "server", CLAIM_NOT_SHOWN, "co-limited"},
        {"cpu_per_request a/b at most 0.5", "co-limited", "co-limited", CLAIM_REPRODUCED,
         "wholly within"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = a_pair("capacity", 3, cases[i].rule);
        set_all(run, "a", "bound", json_string(cases[i].bound_a));
        set_all(run, "b", "bound", json_string(cases[i].bound_b));
        assert_verdict(run, cases[i].verdict, cases[i].because);
    }
}

/* A lower bound from repetitions that say nothing is none. */
static void a_worthless_lower_bound_meets_nothing(void **state) {
    (void)state;
    json_t *run = a_pair("capacity", 3, "throughput a/b at least 2");
    set_all(run, "a", "bound", json_string("co-limited"));
    synthetic_set(run, "pinning.shared", json_true());
    assert_verdict(run, CLAIM_NOT_SHOWN, "shared CPU");

    run = synthetic_run("capacity", "", "a b");
    synthetic_claim(run, "C1", "throughput a/b at least 2");
    add(run, "all", "a", 30000);
    add(run, "all", "b", 10000);
    for (int i = BLOCKS; i < 3 * BLOCKS; i++)
        synthetic_invalidate(synthetic_repetition(run, "all", "a", i, 1), "errors");
    set_all(run, "a", "bound", json_string("co-limited"));
    assert_verdict(run, CLAIM_NOT_SHOWN, "invalid");
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void judges_every_cell_by_itself(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "connections", "a b");
    synthetic_claim(run, "C1", "throughput a/b between 2 and 4");
    static const struct {
        const char *cell;
        double ratio;
        enum claim_verdict verdict;
    } cells[] = {{"connections=3", 1.5, CLAIM_DIRECTION_ONLY},
                 {"connections=20", 3, CLAIM_REPRODUCED},
                 {"connections=100", 5, CLAIM_EXCEEDED}};
    for (size_t i = ARRAY_LENGTH(cells); i-- > 0;) {
        add(run, cells[i].cell, "a", 1000 * cells[i].ratio);
        add(run, cells[i].cell, "b", 1000);
    }
    struct outcome outcome = judged(run);
    assert_int_equal(outcome.count, ARRAY_LENGTH(cells));
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++) {
        assert_string_equal(outcome.cells[i], cells[i].cell);
        assert_int_equal(outcome.verdicts[i], cells[i].verdict);
        assert_int_equal(outcome.blocks[i], BLOCKS);
        assert_true(fabs(outcome.evidence[i].estimate / cells[i].ratio - 1) < 0.01);
    }
    json_decref(run);
}

static void where_chooses_cells_by_value(void **state) {
    (void)state;
    static const char *const cells[] = {
        "size_bytes=1024 connections=3 arrivals=constant",
        "size_bytes=1024 connections=3 arrivals=poisson",
        "size_bytes=1024 connections=30 arrivals=constant",
        "size_bytes=10240 connections=3 arrivals=constant",
    };
    static const struct {
        const char *where;
        const char *chosen; /* by index, in the order of the cells */
    } cases[] = {
        {"", "0123"},
        {" where size_bytes:1024", "012"},
        {" where size_bytes:1KiB", "012"},
        {" where size_bytes:10KiB", "3"},
        {" where connections:3", "013"},
        {" where size_bytes:1KiB connections:3", "01"},
        {" where arrivals:poisson", "1"},
        {" where size_bytes:1KiB connections:3 arrivals:constant", "0"},
        {" where size_bytes:2KiB", ""},
        {" where connections:many", ""},
        {" where in_flight:1", "0123"}, /* no axis, so it is the same in all cells */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char rule[200];
        json_t *run = synthetic_run("capacity", "size_bytes connections arrivals", "a b");
        snprintf(rule, sizeof rule, "throughput a/b between 2 and 4%s", cases[i].where);
        synthetic_claim(run, "C1", rule);
        for (size_t k = 0; k < ARRAY_LENGTH(cells); k++) {
            add(run, cells[k], "a", 3000);
            add(run, cells[k], "b", 1000);
        }
        struct outcome outcome = judged(run);
        assert_true(outcome.readable);
        if (outcome.count != strlen(cases[i].chosen))
            fail_msg("'%s': %zu cells", cases[i].where, outcome.count);
        for (size_t k = 0; k < outcome.count; k++)
            assert_string_equal(outcome.cells[k], cells[cases[i].chosen[k] - '0']);
        json_decref(run);
    }
}

/* ---- growth ---------------------------------------------------------------------------------- */

/* CPU per request is 1e6/per_s µs. */
static json_t *three_lines(const char *rule) {
    json_t *run = synthetic_run("capacity", "idle_connections arrivals size_bytes", "a b");
    synthetic_claim(run, "C1", rule);
    static const struct {
        const char *cell;
        double per_s;
    } cells[] = {
        {"idle_connections=1000 arrivals=constant size_bytes=16", 1000},
        {"idle_connections=0 arrivals=constant size_bytes=16", 3000},
        {"idle_connections=200 arrivals=constant size_bytes=16",
         90000}, /* between: not looked at */
        {"idle_connections=0 arrivals=poisson size_bytes=16", 3000},
        {"idle_connections=1000 arrivals=poisson size_bytes=16", 3000},
        {"idle_connections=0 arrivals=constant size_bytes=1024", 3000},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++)
        add(run, cells[i].cell, "a", cells[i].per_s);
    return run;
}

static void growth_compares_the_ends_of_each_line(void **state) {
    (void)state;
    json_t *run = three_lines("cpu_per_request a grows by at least 2 over idle_connections");
    struct outcome outcome = judged(run);
    assert_int_equal(outcome.count, 2); /* the third line has one cell only */
    assert_string_equal(outcome.cells[0], "idle_connections=1000 arrivals=constant size_bytes=16");
    assert_string_equal(outcome.firsts[0], "idle_connections=0 arrivals=constant size_bytes=16");
    assert_int_equal(outcome.verdicts[0], CLAIM_REPRODUCED);
    assert_true(fabs(outcome.evidence[0].estimate - 3) < 0.01);
    assert_string_equal(outcome.firsts[1], "idle_connections=0 arrivals=poisson size_bytes=16");
    assert_int_equal(outcome.verdicts[1], CLAIM_NOT_REPRODUCED);
    assert_true(fabs(outcome.evidence[1].estimate - 1) < 0.01);
    json_decref(run);

    run = three_lines("cpu_per_request a flat within 20 % over idle_connections");
    outcome = judged(run);
    assert_int_equal(outcome.verdicts[0], CLAIM_NOT_REPRODUCED);
    assert_int_equal(outcome.verdicts[1], CLAIM_REPRODUCED);
    json_decref(run);

    run = three_lines("cpu_per_request a grows over idle_connections where arrivals:constant");
    outcome = judged(run);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.verdicts[0], CLAIM_REPRODUCED);
    json_decref(run);
}

static void growth_needs_its_axis_and_its_ends(void **state) {
    (void)state;
    json_t *run = three_lines("cpu_per_request a grows over connections");
    assert_int_equal(judged(run).count, 0);
    json_decref(run);
    run = three_lines("cpu_per_request b grows over idle_connections");
    struct outcome outcome = judged(run);
    assert_int_equal(outcome.count, 2);
    assert_int_equal(outcome.verdicts[0], CLAIM_NOT_SHOWN);
    assert_string_equal(outcome.because[0], "not measured");
    json_decref(run);

    /* The planned end of the axis was never reached: another cell is no end instead. */
    run = synthetic_run("capacity", "idle_connections", "a");
    synthetic_claim(run, "C1", "cpu_per_request a grows over idle_connections");
    json_object_set_new(synthetic_experiment(run), "cells",
                        json_pack("[{s:s, s:[i]}, {s:s, s:[i]}, {s:s, s:[i]}]", "cell",
                                  "idle_connections=0", "values", 0, "cell", "idle_connections=9",
                                  "values", 9, "cell", "idle_connections=99", "values", 99));
    add(run, "idle_connections=0", "a", 3000);
    add(run, "idle_connections=9", "a", 1000);
    assert_verdict(run, CLAIM_NOT_SHOWN, "not measured");
}

/* ---- onsets ---------------------------------------------------------------------------------- */

enum { ONSET_CELLS = 5 };

/* a's p99 is `ratios` times b's, at 10, 30, 100, 300 and 1000 connections; 0: not measured. */
static struct outcome onset_of(const double ratios[ONSET_CELLS], const char *rule) {
    static const int connections[ONSET_CELLS] = {10, 30, 100, 300, 1000};
    json_t *run = synthetic_run("capacity", "connections arrivals", "a b");
    synthetic_claim(run, "C1", rule);
    for (int i = ONSET_CELLS; i-- > 0;) {
        char cell[64];
        snprintf(cell, sizeof cell, "connections=%d arrivals=constant", connections[i]);
        if (ratios[i] > 0)
            add(run, cell, "a", 10000 / ratios[i]);
        add(run, cell, "b", 10000);
    }
    struct outcome outcome = judged(run);
    json_decref(run);
    assert_int_equal(outcome.count, 1);
    return outcome;
}

static void onset_is_where_it_holds_up_to_the_end(void **state) {
    (void)state;
    static const struct {
        double ratios[ONSET_CELLS];
        const char *cell, *below; /* null: none */
        enum claim_verdict verdict, below_verdict;
    } cases[] = {
        {{1.3, 1, 0.8, 0.5, 0.1}, "100", "30", CLAIM_REPRODUCED, CLAIM_NOT_SHOWN},
        {{1.3, 1.2, 1.1, 0.5, 0.1}, "300", "100", CLAIM_REPRODUCED, CLAIM_NOT_REPRODUCED},
        {{0.9, 0.8, 0.7, 0.6, 0.5}, "10", NULL, CLAIM_REPRODUCED, 0},
        {{0.5, 1.2, 0.5, 0.5, 0.5}, "100", "30", CLAIM_REPRODUCED, CLAIM_NOT_REPRODUCED},
        {{1.3, 0.8, 0.8, 0, 0.5}, "1000", "300", CLAIM_REPRODUCED, CLAIM_NOT_SHOWN},
        {{0.5, 0.5, 0.5, 0.5, 1.5}, "1000", NULL, CLAIM_NOT_REPRODUCED, 0},
        {{0.5, 0.5, 0.5, 0.5, 1}, "1000", NULL, CLAIM_NOT_SHOWN, 0},
        {{0.5, 0.5, 0.5, 0.5, 0}, "1000", NULL, CLAIM_NOT_SHOWN, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char cell[64], below[64] = "";
        struct outcome outcome =
            onset_of(cases[i].ratios, "p99 a/b at most 1 from some connections on");
        snprintf(cell, sizeof cell, "connections=%s arrivals=constant", cases[i].cell);
        if (cases[i].below)
            snprintf(below, sizeof below, "connections=%s arrivals=constant", cases[i].below);
        assert_string_equal(outcome.cells[0], cell);
        assert_int_equal(outcome.verdicts[0], cases[i].verdict);
        assert_string_equal(outcome.belows[0], below);
        if (cases[i].below)
            assert_int_equal(outcome.below_verdicts[0], cases[i].below_verdict);
    }
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void a_rule_that_cannot_be_read_has_no_lines(void **state) {
    (void)state;
    static const char *const rules[] = {"", "throughput a/b is great",
                                        "throughput a/b between 4 and 2", "speed a/b at least 2"};
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        json_t *run = a_pair("capacity", 3, rules[i]);
        struct outcome outcome = judged(run);
        assert_false(outcome.readable);
        assert_int_equal(outcome.count, 0);
        json_decref(run);
    }
    json_t *run = a_pair("capacity", 3, "throughput a/b at least 2");
    json_array_set_new(json_object_get(synthetic_experiment(run), "claims"), 0, json_object());
    assert_false(judged(run).readable);
    json_decref(run);
}

static void judges_claims_in_their_order(void **state) {
    (void)state;
    json_t *run = a_pair("capacity", 3, "throughput a/b at least 2");
    synthetic_claim(run, "C2", "nonsense");
    synthetic_claim(run, "C3", "throughput a/b at least 4");
    struct summary summary;
    struct judged_claims claims;
    assert_int_equal(summary_init(&summary, run, NULL), 0);
    assert_int_equal(verdicts_judge(&summary, &summary.experiments[0], &claims), 0);
    assert_int_equal(claims.count, 3);
    assert_string_equal(claims.claims[0].name, "C1");
    assert_string_equal(claims.claims[0].says, "so it is said");
    assert_string_equal(claims.claims[0].text, "throughput a/b at least 2");
    assert_int_equal(claims.claims[0].lines[0].verdict, CLAIM_REPRODUCED);
    assert_false(claims.claims[1].readable);
    assert_int_equal(claims.claims[2].lines[0].verdict, CLAIM_DIRECTION_ONLY);
    verdicts_free(&claims);
    summary_free(&summary);
    json_decref(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reaches_every_verdict_of_a_ratio),
        cmocka_unit_test(judges_absolute_values_in_their_units),
        cmocka_unit_test(what_was_not_measured_is_not_shown),
        cmocka_unit_test(what_is_invalid_is_not_shown),
        cmocka_unit_test(too_few_repetitions_show_nothing),
        cmocka_unit_test(an_interval_across_a_border_shows_nothing),
        cmocka_unit_test(one_core_for_both_shows_nothing),
        cmocka_unit_test(too_few_samples_show_no_quantile),
        cmocka_unit_test(cpu_at_unequal_load_shows_nothing),
        cmocka_unit_test(a_lower_bound_can_only_meet_a_least),
        cmocka_unit_test(a_worthless_lower_bound_meets_nothing),
        cmocka_unit_test(judges_every_cell_by_itself),
        cmocka_unit_test(where_chooses_cells_by_value),
        cmocka_unit_test(growth_compares_the_ends_of_each_line),
        cmocka_unit_test(growth_needs_its_axis_and_its_ends),
        cmocka_unit_test(onset_is_where_it_holds_up_to_the_end),
        cmocka_unit_test(a_rule_that_cannot_be_read_has_no_lines),
        cmocka_unit_test(judges_claims_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
