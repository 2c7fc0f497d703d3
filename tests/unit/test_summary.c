/* test_summary.c: what counts, what is compared with what, and what stands in the way of it. */
#include "harness/summary.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loops/check.h"
#include "synthetic_run.h"

enum { BLOCKS = 8 };

static const double rates[BLOCKS] = {1000, 1040, 990, 1100, 1010, 1075, 960, 1020};

/* To the digits that a CSV file has. cmocka compares floats only. */
static void assert_close(double got, double wanted) {
    if (!(fabs(got - wanted) <= 1e-9 * fabs(wanted)))
        fail_msg("%.12g, not %.12g", got, wanted);
}

static struct summary summed_up(const json_t *run) {
    struct summary summary;
    struct error error = {""};
    if (summary_init(&summary, run, &error) != 0)
        fail_msg("%s", error.text);
    return summary;
}

static const struct summary_row *row_of(const struct summary *summary, size_t cell, size_t server) {
    assert_true(cell < summary->experiments[0].cell_count);
    return &summary->experiments[0].cells[cell].rows[server];
}

static struct summary_comparison compared(const struct summary *summary, const char *a,
                                          const char *b, enum metric metric) {
    struct summary_comparison comparison;
    const struct summary_experiment *experiment = &summary->experiments[0];
    assert_int_equal(
        summary_compare(summary, experiment, &experiment->cells[0], a, b, metric, &comparison), 0);
    return comparison;
}

static void done(struct summary *summary, json_t *run) {
    summary_free(summary);
    json_decref(run);
}

/* Two servers in one cell, b twice as fast in every block. */
static json_t *a_pair(const char *measure) {
    json_t *run = synthetic_run(measure, "", "a b");
    for (int i = 0; i < BLOCKS; i++) {
        synthetic_repetition(run, "all", "a", i, rates[i]);
        synthetic_repetition(run, "all", "b", i, 2 * rates[BLOCKS - 1 - i]);
    }
    return run;
}

static json_t *repetition_of(json_t *run, const char *server, int block) {
    size_t i;
    json_t *repetition;
    json_array_foreach(json_object_get(run, "repetitions"), i, repetition) {
        const char *name = json_string_value(json_object_get(repetition, "server_name"));
        if (strcmp(name, server) == 0 &&
            json_integer_value(json_object_get(repetition, "block")) == block)
            return repetition;
    }
    fail_msg("no %s in block %d", server, block);
    return NULL;
}

static void set_all(json_t *run, const char *server, const char *path, double value) {
    for (int i = 0; i < BLOCKS; i++)
        synthetic_set(repetition_of(run, server, i), path, json_real(value));
}

static void set_bounds(json_t *run, const char *server, const char *bound) {
    for (int i = 0; i < BLOCKS; i++)
        synthetic_set(repetition_of(run, server, i), "bound", json_string(bound));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void assert_spread(const struct spread *spread, const double *values, size_t count) {
    double sorted[BLOCKS];
    struct interval interval;
    memcpy(sorted, values, count * sizeof *values);
    assert_int_equal(median_interval(values, count, 0.95, &interval), 0);
    assert_close(spread->median, median_in_place(sorted, count));
    assert_close(spread->least, sorted[0]);
    assert_close(spread->most, sorted[count - 1]);
    assert_int_equal(spread->interval.n, count);
    assert_int_equal(spread->interval.bounded, interval.bounded);
    assert_close(spread->interval.estimate, interval.estimate);
    if (interval.bounded) {
        assert_close(spread->interval.low, interval.low);
        assert_close(spread->interval.high, interval.high);
    }
}

static void sums_up_every_metric_in_its_unit(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    struct summary summary = summed_up(run);
    const struct summary_row *row = row_of(&summary, 0, 0);
    double p50_ms[BLOCKS], p99_ms[BLOCKS], p999_ms[BLOCKS], cpu_us[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        p50_ms[i] = 1e3 / rates[i];
        p99_ms[i] = 4e3 / rates[i];
        p999_ms[i] = 9e3 / rates[i];
        cpu_us[i] = 1e6 / rates[i];
    }
    assert_int_equal(row->count, BLOCKS);
    assert_int_equal(row->valid, BLOCKS);
    assert_spread(&row->metrics[SUMMARY_THROUGHPUT], rates, BLOCKS);
    assert_spread(&row->metrics[SUMMARY_P50], p50_ms, BLOCKS);
    assert_spread(&row->metrics[SUMMARY_P99], p99_ms, BLOCKS);
    assert_spread(&row->metrics[SUMMARY_P999], p999_ms, BLOCKS);
    assert_spread(&row->metrics[SUMMARY_CPU], cpu_us, BLOCKS);
    assert_close(row->metrics[SUMMARY_SERVER_BUSY].median, 0.99);
    assert_close(row->metrics[SUMMARY_CLIENT_BUSY].median, 0.5);
    assert_close(row->metrics[SUMMARY_MAX_RSS].median, 8 << 20);
    done(&summary, run);
}

static void counts_only_what_is_valid_and_known(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    const double kept[] = {1000, 990, 1100, 1010, 1020};
    static const int spoilt[] = {1, 5, 6};
    for (size_t i = 0; i < ARRAY_LENGTH(spoilt); i++) {
        json_t *repetition = repetition_of(run, "a", spoilt[i]);
        synthetic_set(repetition, "achieved_rate", json_real(1e9));
        synthetic_set(repetition, "response_ns.count", json_integer(10));
        synthetic_invalidate(repetition, i < 2 ? "steal" : "errors");
    }
    synthetic_set(repetition_of(run, "a", 0), "response_ns.p999", json_null());
    set_all(run, "b", "server.max_rss_bytes", 1);
    for (int i = 0; i < BLOCKS; i++)
        synthetic_set(repetition_of(run, "b", i), "server.cpu_us_per_request", json_null());
    struct summary summary = summed_up(run);
    const struct summary_row *a = row_of(&summary, 0, 0), *b = row_of(&summary, 0, 1);
    assert_int_equal(a->count, BLOCKS);
    assert_int_equal(a->valid, ARRAY_LENGTH(kept));
    assert_true(a->least_samples == 400000);
    assert_spread(&a->metrics[SUMMARY_THROUGHPUT], kept, ARRAY_LENGTH(kept));
    assert_int_equal(a->metrics[SUMMARY_P999].interval.n, ARRAY_LENGTH(kept) - 1);
    assert_int_equal(a->reason_count, 2);
    assert_string_equal(a->reasons[0].text, "steal");
    assert_int_equal(a->reasons[0].count, 2);
    assert_string_equal(a->reasons[1].text, "errors");
    assert_int_equal(a->reasons[1].count, 1);
    assert_int_equal(b->metrics[SUMMARY_CPU].interval.n, 0);
    assert_true(isnan(b->metrics[SUMMARY_CPU].median));
    done(&summary, run);
}

/* Each repetition over the floor of its own block: the median of ratios is not the ratio of medians
 * when both drift. */
static void divides_by_the_floor_of_the_same_block(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    double multiples[BLOCKS], floors[BLOCKS];
    size_t count = 0;
    for (int i = 0; i < BLOCKS; i++) {
        static const double drift[BLOCKS] = {1, 1.1, 1.2, 1.3, 2, 3, 4, 5};
        json_t *repetition = repetition_of(run, "a", i);
        synthetic_set(repetition, "server.cpu_us_per_request", json_real(5 * drift[i] + i));
        synthetic_set(repetition, "floor_us_per_request", json_real(4 * drift[i]));
        if (i == 1)
            synthetic_set(repetition, "floor_us_per_request", json_null());
        else if (i == 2)
            synthetic_set(repetition, "floor_us_per_request", json_real(0));
        else if (i == 3)
            synthetic_set(repetition, "server.cpu_us_per_request", json_null());
        else
            multiples[count++] = (5 * drift[i] + i) / (4 * drift[i]);
        floors[i] = i == 1 ? NAN : i == 2 ? 0 : 4 * drift[i];
    }
    floors[1] = floors[BLOCKS - 1];
    struct summary summary = summed_up(run);
    const struct summary_row *row = row_of(&summary, 0, 0);
    assert_spread(&row->metrics[SUMMARY_CPU_OVER_FLOOR], multiples, count);
    assert_spread(&row->metrics[SUMMARY_FLOOR], floors, BLOCKS - 1);
    assert_int_equal(row_of(&summary, 0, 1)->metrics[SUMMARY_CPU_OVER_FLOOR].interval.n, 0);
    assert_close(summary_cell_floor(&summary.experiments[0], &summary.experiments[0].cells[0]),
                 row->metrics[SUMMARY_FLOOR].median);
    done(&summary, run);
}

static void a_cell_without_a_floor_has_none(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    struct summary summary = summed_up(run);
    assert_true(
        isnan(summary_cell_floor(&summary.experiments[0], &summary.experiments[0].cells[0])));
    done(&summary, run);
}

static void takes_the_weakest_bound_of_a_quarter(void **state) {
    (void)state;
    static const struct {
        int server, latency, co_limited, unknown, generator;
        enum bound bound;
    } cases[] = {
        {4, 0, 0, 0, 0, BOUND_SERVER},     {0, 4, 0, 0, 0, BOUND_LATENCY},
        {0, 0, 4, 0, 0, BOUND_CO_LIMITED}, {0, 0, 0, 4, 0, BOUND_NONE},
        {3, 0, 1, 0, 0, BOUND_CO_LIMITED}, {4, 0, 1, 0, 0, BOUND_SERVER},
        {3, 1, 0, 0, 0, BOUND_LATENCY},    {4, 1, 0, 0, 0, BOUND_SERVER},
        {0, 2, 2, 0, 0, BOUND_CO_LIMITED}, {2, 2, 0, 0, 0, BOUND_LATENCY},
        {2, 2, 1, 0, 0, BOUND_LATENCY},    {6, 1, 1, 0, 0, BOUND_SERVER},
        {3, 0, 0, 1, 0, BOUND_SERVER},     {1, 0, 0, 0, 1, BOUND_SERVER},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = synthetic_run("capacity", "", "a");
        const int counts[] = {cases[i].server, cases[i].latency, cases[i].co_limited,
                              cases[i].unknown, cases[i].generator};
        static const char *const names[] = {"server", "latency", "co-limited", NULL, "generator"};
        int block = 0;
        for (size_t kind = 0; kind < ARRAY_LENGTH(counts); kind++) {
            for (int k = 0; k < counts[kind]; k++) {
                json_t *repetition = synthetic_repetition(run, "all", "a", block++, 1000);
                synthetic_set(repetition, "bound",
                              names[kind] ? json_string(names[kind]) : json_null());
                if (kind == 4)
                    synthetic_invalidate(repetition, "the generator was the limit");
            }
        }
        struct summary summary = summed_up(run);
        if (row_of(&summary, 0, 0)->bound != cases[i].bound)
            fail_msg("case %zu: '%s', not '%s'", i, bound_name(row_of(&summary, 0, 0)->bound),
                     bound_name(cases[i].bound));
        done(&summary, run);
    }
}

static void a_row_needs_half_of_its_repetitions(void **state) {
    (void)state;
    for (int valid = 0; valid <= 5; valid++) {
        json_t *run = synthetic_run("capacity", "", "a nobody");
        for (int i = 0; i < 5; i++) {
            json_t *repetition = synthetic_repetition(run, "all", "a", i, 1000);
            if (i >= valid)
                synthetic_invalidate(repetition, "errors");
        }
        struct summary summary = summed_up(run);
        assert_int_equal(summary_row_valid(row_of(&summary, 0, 0)), valid >= 3);
        assert_false(summary_row_valid(row_of(&summary, 0, 1)));
        done(&summary, run);
    }
    json_t *run = synthetic_run("capacity", "", "a");
    synthetic_repetition(run, "all", "a", 0, 1000);
    synthetic_invalidate(synthetic_repetition(run, "all", "a", 1, 1000), "errors");
    struct summary summary = summed_up(run);
    assert_true(summary_row_valid(row_of(&summary, 0, 0)));
    done(&summary, run);
}

static void a_quantile_needs_its_samples(void **state) {
    (void)state;
    static const struct {
        enum metric metric;
        int samples;
        bool few;
    } cases[] = {
        {SUMMARY_P50, 383, true},       {SUMMARY_P50, 384, false},    {SUMMARY_P99, 37999, true},
        {SUMMARY_P99, 38000, false},    {SUMMARY_P999, 383999, true}, {SUMMARY_P999, 384000, false},
        {SUMMARY_THROUGHPUT, 1, false}, {SUMMARY_MAX_RSS, 1, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = a_pair("latency");
        synthetic_set(repetition_of(run, "b", 3), "response_ns.count",
                      json_integer(cases[i].samples));
        struct summary summary = summed_up(run);
        struct summary_comparison both = compared(&summary, "a", "b", cases[i].metric);
        if (both.flags.few_samples != cases[i].few)
            fail_msg("%s of %d samples", metric_kinds[cases[i].metric].name, cases[i].samples);
        assert_int_equal(!!summary_obstacle(&both.flags), cases[i].few);
        done(&summary, run);
    }
}

/* ---- comparisons ----------------------------------------------------------------------------- */

static void assert_ratio(const struct comparison *got, const double *a, const double *b,
                         size_t count) {
    struct comparison wanted;
    assert_int_equal(compare_blocks(a, b, count, 0.95, &wanted), 0);
    assert_int_equal(got->blocks, wanted.blocks);
    assert_int_equal(got->bounded, wanted.bounded);
    assert_close(got->estimate, wanted.estimate);
    if (wanted.bounded) {
        assert_close(got->low, wanted.low);
        assert_close(got->high, wanted.high);
    }
    assert_close(got->p, wanted.p);
}

/* Block by block, whatever the order in the record; a block that lacks one of both is left out. */
static void pairs_blocks_by_number(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a b");
    static const double theirs[BLOCKS] = {500, 700, 610, 300, 450, 720, 380, 555};
    for (int i = 0; i < BLOCKS; i++)
        synthetic_repetition(run, "all", "a", i, rates[i]);
    for (int i = BLOCKS - 1; i >= 0; i--)
        if (i != 5)
            synthetic_repetition(run, "all", "b", i, theirs[i]);
    synthetic_invalidate(repetition_of(run, "a", 3), "steal");
    synthetic_invalidate(repetition_of(run, "b", 6), "steal");
    struct summary summary = summed_up(run);
    const double a[] = {rates[0], rates[1], rates[2], rates[4], rates[7]};
    const double b[] = {theirs[0], theirs[1], theirs[2], theirs[4], theirs[7]};
    struct summary_comparison got = compared(&summary, "a", "b", SUMMARY_THROUGHPUT);
    assert_null(summary_obstacle(&got.flags));
    assert_ratio(&got.ratio, a, b, ARRAY_LENGTH(a));
    done(&summary, run);
}

static void takes_the_retry_of_a_spoilt_repetition(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a b");
    double a[BLOCKS], b[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        if (i == 2 || i == 4) {
            json_t *first = synthetic_repetition(run, "all", i == 2 ? "a" : "b", i, 5);
            synthetic_invalidate(first, "steal");
        }
        synthetic_repetition(run, "all", "b", i, b[i] = 600 + 10 * i);
        synthetic_repetition(run, "all", "a", i, a[i] = rates[i]);
    }
    struct summary summary = summed_up(run);
    struct summary_comparison got = compared(&summary, "a", "b", SUMMARY_THROUGHPUT);
    assert_null(summary_obstacle(&got.flags));
    assert_ratio(&got.ratio, a, b, BLOCKS);
    got = compared(&summary, "b", "a", SUMMARY_THROUGHPUT);
    assert_ratio(&got.ratio, b, a, BLOCKS);
    done(&summary, run);
}

/* A ratio of what is not positive is none. */
static void leaves_out_what_has_no_logarithm(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    synthetic_set(repetition_of(run, "a", 1), "server.cpu_us_per_request", json_real(0));
    struct summary summary = summed_up(run);
    assert_int_equal(compared(&summary, "a", "b", SUMMARY_CPU).ratio.blocks, BLOCKS - 1);
    assert_int_equal(compared(&summary, "a", "b", SUMMARY_THROUGHPUT).ratio.blocks, BLOCKS);
    done(&summary, run);
}

/* CPU per request at different loads is another thing unless both are saturated. */
static void cpu_per_request_needs_equal_load(void **state) {
    (void)state;
    static const struct {
        const char *bound_a, *bound_b;
        double rate_b;
        bool unequal;
    } cases[] = {
        {"latency", "latency", 1009, false},   {"latency", "latency", 1011, true},
        {"latency", "latency", 989, true},     {"server", "latency", 2000, true},
        {"latency", "server", 2000, true},     {"server", "server", 2000, false},
        {"server", "co-limited", 2000, false}, {"co-limited", "co-limited", 2000, false},
        {"server", "latency", 1000, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = a_pair("capacity");
        set_all(run, "a", "achieved_rate", 1000);
        set_all(run, "b", "achieved_rate", cases[i].rate_b);
        set_bounds(run, "a", cases[i].bound_a);
        set_bounds(run, "b", cases[i].bound_b);
        struct summary summary = summed_up(run);
        struct summary_comparison cpu = compared(&summary, "a", "b", SUMMARY_CPU);
        if (cpu.flags.unequal_load != cases[i].unequal)
            fail_msg("case %zu: unequal load is %d", i, cpu.flags.unequal_load);
        assert_int_equal(!!summary_obstacle(&cpu.flags), cases[i].unequal);
        assert_int_equal(cpu.ratio.blocks, BLOCKS);
        assert_false(compared(&summary, "a", "b", SUMMARY_P99).flags.unequal_load);
        done(&summary, run);
    }
    json_t *run = a_pair("latency");
    struct summary summary = summed_up(run);
    assert_true(compared(&summary, "a", "b", SUMMARY_CPU).flags.unequal_load);
    done(&summary, run);
}

static void a_lower_bound_forbids_only_throughput(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        json_t *run = a_pair("capacity");
        set_bounds(run, which ? "b" : "a", "co-limited");
        struct summary summary = summed_up(run);
        struct summary_comparison rate = compared(&summary, "a", "b", SUMMARY_THROUGHPUT);
        assert_string_equal(summary_obstacle(&rate.flags), "co-limited");
        assert_int_equal(rate.ratio.blocks, BLOCKS);
        struct summary_comparison cpu = compared(&summary, "a", "b", SUMMARY_CPU);
        assert_null(summary_obstacle(&cpu.flags));
        assert_int_equal(cpu.ratio.blocks, BLOCKS);
        done(&summary, run);
    }
}

static void one_core_for_both_ranks_nothing(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    set_all(run, "a", "floor_us_per_request", 4);
    set_all(run, "b", "floor_us_per_request", 4);
    for (enum metric metric = SUMMARY_OFFLOAD_WAIT_P50; metric <= SUMMARY_OFFLOAD_P99; metric++) {
        set_all(run, "a", metric_kinds[metric].path, 4);
        set_all(run, "b", metric_kinds[metric].path, 4);
    }
    synthetic_set(run, "pinning.shared", json_true());
    struct summary summary = summed_up(run);
    assert_true(summary.shared_cpu);
    for (enum metric metric = 0; metric < SUMMARY_METRICS; metric++) {
        struct summary_comparison both = compared(&summary, "a", "b", metric);
        assert_string_equal(summary_obstacle(&both.flags), "shared CPU");
        struct summary_flags own =
            summary_own_flags(&summary, &summary.experiments[0], row_of(&summary, 0, 0), metric);
        assert_string_equal(summary_obstacle(&own), "shared CPU");
    }
    done(&summary, run);
}

static void a_quantile_at_capacity_is_confounded(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        json_t *run = a_pair(closed ? "capacity" : "latency");
        struct summary summary = summed_up(run);
        struct summary_comparison p99 = compared(&summary, "a", "b", SUMMARY_P99);
        assert_int_equal(p99.flags.confounded, closed);
        assert_null(summary_obstacle(&p99.flags));
        assert_false(compared(&summary, "a", "b", SUMMARY_THROUGHPUT).flags.confounded);
        done(&summary, run);
    }
}

static void says_what_is_missing_or_invalid(void **state) {
    (void)state;
    json_t *run = a_pair("capacity");
    for (int i = 0; i < BLOCKS; i++)
        synthetic_set(repetition_of(run, "b", i), "response_ns.p999", json_null());
    json_array_append_new(json_object_get(synthetic_experiment(run), "servers"),
                          json_pack("{s:s}", "name", "idle"));
    struct summary summary = summed_up(run);
    struct summary_comparison none = compared(&summary, "a", "unheard-of", SUMMARY_CPU);
    assert_string_equal(summary_obstacle(&none.flags), "not measured");
    none = compared(&summary, "idle", "a", SUMMARY_CPU);
    assert_string_equal(summary_obstacle(&none.flags), "not measured");
    none = compared(&summary, "a", "b", SUMMARY_P999);
    assert_string_equal(summary_obstacle(&none.flags), "not measured");
    assert_int_equal(none.ratio.blocks, 0);
    done(&summary, run);

    /* Both rows are valid, but in no block both are. */
    run = a_pair("capacity");
    for (int i = 0; i < BLOCKS; i++)
        synthetic_invalidate(repetition_of(run, i < BLOCKS / 2 ? "a" : "b", i), "steal");
    summary = summed_up(run);
    assert_true(summary_row_valid(row_of(&summary, 0, 0)));
    none = compared(&summary, "a", "b", SUMMARY_CPU);
    assert_string_equal(summary_obstacle(&none.flags), "invalid");
    done(&summary, run);

    run = a_pair("capacity");
    for (int i = 0; i < 5; i++)
        synthetic_invalidate(repetition_of(run, "b", i), "errors");
    summary = summed_up(run);
    none = compared(&summary, "a", "b", SUMMARY_CPU);
    assert_string_equal(summary_obstacle(&none.flags), "invalid");
    assert_int_equal(none.ratio.blocks, 3);
    done(&summary, run);
}

static void names_the_first_obstacle(void **state) {
    (void)state;
    struct summary_flags flags = {.confounded = true};
    assert_null(summary_obstacle(&flags));
    flags.few_samples = true;
    assert_string_equal(summary_obstacle(&flags), "too few samples");
    flags.unequal_load = true;
    assert_string_equal(summary_obstacle(&flags), "unequal load");
    flags.co_limited = true;
    assert_string_equal(summary_obstacle(&flags), "co-limited");
    flags.shared_cpu = true;
    assert_string_equal(summary_obstacle(&flags), "shared CPU");
    flags.invalid = true;
    assert_string_equal(summary_obstacle(&flags), "invalid");
    flags.missing = true;
    assert_string_equal(summary_obstacle(&flags), "not measured");
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void assert_cells(const json_t *run, const char *const *names, size_t count) {
    struct summary summary = summed_up(run);
    assert_int_equal(summary.experiments[0].cell_count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(summary.experiments[0].cells[i].name, names[i]);
    summary_free(&summary);
}

static void orders_cells_by_value(void **state) {
    (void)state;
    static const char *const sizes[] = {
        "size_bytes=1024 connections=3", "size_bytes=1024 connections=20",
        "size_bytes=1024 connections=100", "size_bytes=10240 connections=3"};
    static const char *const times[] = {"timeout=500us", "timeout=10ms", "timeout=2s"};
    static const double times_ns[] = {5e5, 1e7, 2e9};
    static const int shuffled[] = {2, 0, 3, 1};
    json_t *run = synthetic_run("capacity", "size_bytes connections", "a");
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        synthetic_repetition(run, sizes[shuffled[i]], "a", 0, 1000);
    assert_cells(run, sizes, ARRAY_LENGTH(sizes));
    json_decref(run);

    /* A knob's unit is in the record's name of it, not in the axis'. */
    run = synthetic_run("capacity", "timeout", "a");
    for (size_t i = ARRAY_LENGTH(times); i-- > 0;)
        synthetic_set(synthetic_repetition(run, times[i], "a", 0, 1000), "knobs.timeout_ns",
                      json_real(times_ns[i]));
    assert_cells(run, times, ARRAY_LENGTH(times));
    json_decref(run);
}

/* Cells of the plan are there also when nothing was measured in them. */
static void takes_cells_from_the_plan(void **state) {
    (void)state;
    static const char *const names[] = {"connections=3", "connections=20", "connections=100"};
    json_t *run = synthetic_run("capacity", "connections", "a"), *cells = json_array();
    json_array_append_new(cells, json_pack("{s:s, s:[i]}", "cell", names[2], "values", 100));
    json_array_append_new(cells, json_pack("{s:s, s:[i]}", "cell", names[0], "values", 3));
    json_object_set_new(synthetic_experiment(run), "cells", cells);
    synthetic_repetition(run, names[1], "a", 0, 1000);
    synthetic_repetition(run, names[0], "a", 0, 1000);
    assert_cells(run, names, ARRAY_LENGTH(names));
    struct summary summary = summed_up(run);
    assert_true(summary.experiments[0].cells[2].values[0] == 100);
    assert_int_equal(row_of(&summary, 0, 0)->count, 1);
    assert_int_equal(row_of(&summary, 2, 0)->count, 0);
    done(&summary, run);
}

static void labels_cells_as_people_say_them(void **state) {
    (void)state;
    static const struct {
        const char *axes, *cell, *label;
        unsigned skip;
    } cases[] = {
        {"", "all", "", 0},
        {"size_bytes connections", "size_bytes=1024 connections=3", "1 KiB, 3 connections", 0},
        {"size_bytes connections", "size_bytes=1000 connections=1", "1000 B, 1 connection", 0},
        {"size_bytes connections", "size_bytes=1572864 connections=1", "1 connection", 1},
        {"size_bytes connections", "size_bytes=1572864 connections=1", "1.5 MiB", 2},
        {"size_bytes connections", "size_bytes=1 connections=1", "", 3},
        {"job_us", "job_us=30", "job 30 µs", 0},
        {"job_us", "job_us=3000", "job 3 ms", 0},
        {"job_us", "job_us=0", "job 0 ns", 0},
        {"idle_connections", "idle_connections=0", "0 idle connections", 0},
        {"idle_connections", "idle_connections=1", "1 idle connection", 0},
        {"receive_bytes", "receive_bytes=16384", "receive 16 KiB", 0},
        {"delay_ns", "delay_ns=50000", "delay 50 µs", 0},
        {"rate", "rate=1000000", "rate 1000000", 0},
        {"timeout", "timeout=1.5s", "timeout 1.5s", 0},
        {"in_flight arrivals", "in_flight=4 arrivals=poisson", "in flight 4, arrivals poisson", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = synthetic_run("capacity", cases[i].axes, "a");
        synthetic_repetition(run, cases[i].cell, "a", 0, 1000);
        struct summary summary = summed_up(run);
        char label[SUMMARY_LABEL_BYTES];
        summary_cell_label(&summary.experiments[0], &summary.experiments[0].cells[0], cases[i].skip,
                           label);
        assert_string_equal(label, cases[i].label);
        done(&summary, run);
    }
}

static void knows_axes_that_do_not_vary(void **state) {
    (void)state;
    static const char *const cells[] = {"arrivals=poisson size_bytes=16 connections=1",
                                        "arrivals=poisson size_bytes=16 connections=10"};
    json_t *run = synthetic_run("capacity", "arrivals size_bytes connections", "a");
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++)
        synthetic_repetition(run, cells[i], "a", 0, 1000);
    struct summary summary = summed_up(run);
    const struct summary_cell *found = summary.experiments[0].cells;
    assert_int_equal(summary_constant_axes(&summary.experiments[0]), 3);
    assert_true(summary_same_value(&found[0], &found[1], "arrivals"));
    assert_false(summary_same_value(&found[0], &found[1], "connections")); /* 1 begins 10 */
    assert_false(summary_same_value(&found[1], &found[0], "connections"));
    assert_true(summary_axis_is(&found[1], "size_bytes", "16"));
    assert_false(summary_axis_is(&found[1], "size_bytes", "1"));
    assert_false(summary_axis_is(&found[1], "bytes", "16"));
    done(&summary, run);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

enum { FIELDS_MOST = 96, FIELD_BYTES = 128, ROWS_MOST = 32 };
struct table {
    char fields[ROWS_MOST][FIELDS_MOST][FIELD_BYTES];
    size_t counts[ROWS_MOST], rows;
};

/* RFC 4180, read without a look at what wrote it. */
static struct table *read_csv(const char *directory, const char *name) {
    struct table *table = calloc(1, sizeof *table);
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    bool quoted = false;
    size_t used = 0;
    for (int c; (c = getc(file)) != EOF;) {
        assert_true(table->rows < ROWS_MOST && table->counts[table->rows] < FIELDS_MOST);
        char *field = table->fields[table->rows][table->counts[table->rows]];
        if (quoted && c == '"') {
            int next = getc(file);
            quoted = next == '"';
            if (!quoted) {
                ungetc(next, file);
                continue;
            }
        } else if (!quoted && c == '"') {
            assert_int_equal(used, 0);
            quoted = true;
            continue;
        } else if (!quoted && (c == ',' || c == '\n')) {
            table->counts[table->rows]++;
            table->rows += c == '\n';
            used = 0;
            continue;
        }
        assert_true(used + 1 < FIELD_BYTES);
        field[used++] = (char)c;
    }
    assert_false(quoted);
    assert_int_equal(used, 0);
    fclose(file);
    unlink(path);
    return table;
}

static const char *field_of(const struct table *table, size_t row, const char *column) {
    assert_true(row < table->rows);
    assert_int_equal(table->counts[row], table->counts[0]);
    for (size_t i = 0; i < table->counts[0]; i++)
        if (strcmp(table->fields[0][i], column) == 0)
            return table->fields[row][i];
    fail_msg("no column %s", column);
    return NULL;
}

static double number_of(const struct table *table, size_t row, const char *column) {
    char *end;
    const char *text = field_of(table, row, column);
    double value = strtod(text, &end);
    assert_true(*text && !*end);
    return value;
}

#define ODD_NAME "ep\"oll, \"fast\""

static void check_cells_file(const struct table *table, const struct summary *summary) {
    const struct spread *p99 = &row_of(summary, 1, 0)->metrics[SUMMARY_P99];
    assert_int_equal(table->rows, 1 + 2 * 2);
    assert_string_equal(field_of(table, 1, "cell"), "connections=3");
    assert_string_equal(field_of(table, 2, "server"), "b");
    assert_string_equal(field_of(table, 3, "server"), ODD_NAME);
    assert_true(number_of(table, 3, "connections") == 20);
    assert_true(number_of(table, 3, "repetitions") == BLOCKS);
    assert_true(number_of(table, 3, "valid") == BLOCKS - 1);
    assert_string_equal(field_of(table, 3, "bound"), "server");
    assert_close(number_of(table, 3, "p99_ms"), p99->median);
    assert_close(number_of(table, 3, "p99_ms_low"), p99->interval.low);
    assert_close(number_of(table, 3, "p99_ms_high"), p99->interval.high);
    assert_string_equal(field_of(table, 3, "p99_enough_samples"), "1");
    assert_true(number_of(table, 1, "throughput_per_s") == 1000);
    assert_true(number_of(table, 1, "floor_us_per_request") == 400);
    assert_true(number_of(table, 1, "server_cpu_over_floor") == 2.5);
    assert_string_equal(field_of(table, 3, "server_cpu_over_floor"), "");
    assert_string_equal(field_of(table, 1, "throughput_per_s_low"), ""); /* of one repetition */
    assert_string_equal(field_of(table, 2, "throughput_per_s"), "");     /* of none */
    assert_true(number_of(table, 2, "repetitions") == 0);
}

static void check_repetitions_file(const struct table *table) {
    assert_int_equal(table->rows, 1 + 1 + BLOCKS);
    assert_string_equal(field_of(table, 1, "server"), ODD_NAME);
    assert_string_equal(field_of(table, 1, "invalid"), "");
    assert_string_equal(field_of(table, 1, "loop"), "");
    assert_true(number_of(table, 1, "response_p99_ns") == 4e6);
    assert_true(number_of(table, 1, "errors") == 3);
    assert_string_equal(field_of(table, 1, "valid"), "1");
    assert_string_equal(field_of(table, 4, "valid"), "0");
    assert_string_equal(field_of(table, 4, "invalid"), "steal, \"4 %\"\nof it; late");
    assert_string_equal(field_of(table, 4, "block"), "2");
}

static void writes_csv_that_reads_back(void **state) {
    (void)state;
    char directory[] = "/tmp/test_summary.XXXXXX";
    assert_non_null(mkdtemp(directory));
    json_t *run = synthetic_run("capacity", "connections", "x b");
    json_t *servers = json_object_get(synthetic_experiment(run), "servers");
    synthetic_set(json_array_get(servers, 0), "name", json_string(ODD_NAME));
    json_t *first = synthetic_repetition(run, "connections=3", ODD_NAME, 0, 1000);
    synthetic_set(first, "errors", json_pack("{s:i, s:i}", "timeout", 1, "reset", 2));
    synthetic_set(first, "floor_us_per_request", json_real(400)); /* of 1,000 µs */
    for (int i = 0; i < BLOCKS; i++) {
        json_t *repetition = synthetic_repetition(run, "connections=20", ODD_NAME, i, rates[i]);
        if (i != 2)
            continue;
        synthetic_invalidate(repetition, "steal, \"4 %\"\nof it");
        synthetic_invalidate(repetition, "late");
    }
    struct summary summary = summed_up(run);
    struct error error = {""};
    assert_int_equal(summary_write_csv(&summary, directory, &error), 0);
    struct table *cells = read_csv(directory, "made-up.csv");
    struct table *repetitions = read_csv(directory, "repetitions.csv");
    check_cells_file(cells, &summary);
    check_repetitions_file(repetitions);
    free(cells);
    free(repetitions);
    assert_int_equal(rmdir(directory), 0); /* nothing else was left there */

    assert_true(summary_write_csv(&summary, directory, &error) < 0);
    assert_non_null(strstr(error.text, "repetitions.csv"));
    done(&summary, run);
}

/* ---- what is not a record -------------------------------------------------------------------- */

static void refuses_and_names_the_place(void **state) {
    (void)state;
    static const struct {
        const char *path, *json; /* null: the key goes */
        const char *place;
    } cases[] = {
        {"schema", "2", "schema 1"},
        {"schema", NULL, "schema 1"},
        {"schema", "\"1\"", "schema 1"},
        {"experiments", NULL, "repetitions[0]: no experiment is named made-up"},
        {"experiments/0/name", NULL, "experiments[0].name"},
        {"experiments/0/name", "\"\"", "experiments[0].name"},
        {"experiments/0/name", "\"../up\"", "experiments[0].name"},
        {"experiments/0/name", "\"other\"", "repetitions[0]: no experiment is named made-up"},
        {"experiments/0/measure", NULL, "made-up: measure"},
        {"experiments/0/measure", "\"speed\"", "made-up: measure"},
        {"experiments/0/axes", "[1,2,3,4,5,6,7,8,9]", "made-up: more than 8 axes"},
        {"experiments/0/servers", NULL, "repetitions[0]: made-up has no server named a"},
        {"experiments/0/servers/1/name", NULL, "made-up: servers[1]"},
        {"experiments/0/servers/1/name", "7", "made-up: servers[1]"},
        {"experiments/0/cells", "[{\"values\": [1]}]", "made-up: cells[0]"},
        {"repetitions/3/experiment", NULL, "repetitions[3]"},
        {"repetitions/3/cell", NULL, "repetitions[3]"},
        {"repetitions/3/server_name", NULL, "repetitions[3]"},
        {"repetitions/3/server_name", "\"nginx\"",
         "repetitions[3]: made-up has no server named nginx"},
        {"repetitions/3/block", NULL, "repetitions[3]"},
        {"repetitions/3/block", "1.5", "repetitions[3]"},
        {"repetitions/3/valid", NULL, "repetitions[3]"},
        {"repetitions/3/valid", "1", "repetitions[3]"},
        {"repetitions/3", "[]", "repetitions[3]"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = a_pair("capacity"), *parent = run;
        char copy[128], *rest = copy, *word;
        snprintf(copy, sizeof copy, "%s", cases[i].path);
        while ((word = strsep(&rest, "/")) != NULL && rest)
            parent = json_is_array(parent) ? json_array_get(parent, strtoul(word, NULL, 10))
                                           : json_object_get(parent, word);
        json_t *value = cases[i].json ? json_loads(cases[i].json, JSON_DECODE_ANY, NULL) : NULL;
        assert_true(!cases[i].json || value);
        if (!value)
            json_object_del(parent, word);
        else if (json_is_array(parent))
            json_array_set_new(parent, strtoul(word, NULL, 10), value);
        else
            json_object_set_new(parent, word, value);
        struct summary summary;
        struct error error = {""};
        int failure = summary_init(&summary, run, &error);
        if (failure != -EINVAL || !strstr(error.text, cases[i].place))
            fail_msg("%s = %s: %d, '%s'", cases[i].path, cases[i].json ? cases[i].json : "nothing",
                     failure, error.text);
        done(&summary, run);
    }
}

static void refuses_more_repetitions_than_can_be_judged(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a");
    for (int i = 0; i < STATISTICS_MAX_VALUES; i++)
        synthetic_repetition(run, "all", "a", i, 1000);
    struct summary summary = summed_up(run);
    summary_free(&summary);
    synthetic_repetition(run, "all", "a", STATISTICS_MAX_VALUES, 1000);
    struct error error = {""};
    assert_int_equal(summary_init(&summary, run, &error), -E2BIG);
    assert_non_null(strstr(error.text, "made-up, all, a"));
    done(&summary, run);
}

static void a_run_of_nothing_is_one(void **state) {
    (void)state;
    json_t *run = json_pack("{s:i}", "schema", 1);
    struct summary summary = summed_up(run);
    assert_int_equal(summary.experiment_count, 0);
    done(&summary, run);
    run = synthetic_run("latency", "rate", "a b");
    summary = summed_up(run);
    assert_int_equal(summary.experiments[0].cell_count, 0);
    assert_int_equal(summary_constant_axes(&summary.experiments[0]), 0);
    done(&summary, run);
}

static void finds_metrics_and_members(void **state) {
    (void)state;
    for (enum metric metric = 0; metric < SUMMARY_METRICS; metric++)
        assert_int_equal(metric_find(metric_kinds[metric].name), metric);
    assert_int_equal(metric_find("p42"), SUMMARY_METRICS);
    json_t *json = json_pack("{s:{s:{s:i}, s:n}}", "a", "b", "c", 5, "d");
    assert_int_equal(json_integer_value(summary_at(json, "a.b.c")), 5);
    assert_null(summary_at(json, "a.d"));
    assert_null(summary_at(json, "a.b.c.d"));
    assert_null(summary_at(json, "b"));
    assert_null(summary_at(NULL, "a"));
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_up_every_metric_in_its_unit),
        cmocka_unit_test(counts_only_what_is_valid_and_known),
        cmocka_unit_test(divides_by_the_floor_of_the_same_block),
        cmocka_unit_test(a_cell_without_a_floor_has_none),
        cmocka_unit_test(takes_the_weakest_bound_of_a_quarter),
        cmocka_unit_test(a_row_needs_half_of_its_repetitions),
        cmocka_unit_test(a_quantile_needs_its_samples),
        cmocka_unit_test(pairs_blocks_by_number),
        cmocka_unit_test(takes_the_retry_of_a_spoilt_repetition),
        cmocka_unit_test(leaves_out_what_has_no_logarithm),
        cmocka_unit_test(cpu_per_request_needs_equal_load),
        cmocka_unit_test(a_lower_bound_forbids_only_throughput),
        cmocka_unit_test(one_core_for_both_ranks_nothing),
        cmocka_unit_test(a_quantile_at_capacity_is_confounded),
        cmocka_unit_test(says_what_is_missing_or_invalid),
        cmocka_unit_test(names_the_first_obstacle),
        cmocka_unit_test(orders_cells_by_value),
        cmocka_unit_test(takes_cells_from_the_plan),
        cmocka_unit_test(labels_cells_as_people_say_them),
        cmocka_unit_test(knows_axes_that_do_not_vary),
        cmocka_unit_test(writes_csv_that_reads_back),
        cmocka_unit_test(refuses_and_names_the_place),
        cmocka_unit_test(refuses_more_repetitions_than_can_be_judged),
        cmocka_unit_test(a_run_of_nothing_is_one),
        cmocka_unit_test(finds_metrics_and_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
