/* Experiment files: what is read, what each bad example in tests/data/experiments is refused with
 * (its first line says so), and that the experiments that come with the project are sound. Run from
 * the checkout's root. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/experiment.h"
#include "loops/check.h"

#define BAD_EXAMPLES "tests/data/experiments"
#define EXPERIMENTS "harness/experiments"

static const char full[] = "\xEF\xBB\xBF; a comment\n"
                           "[claim A1]                     ; sections come in any order\n"
                           "says = twice\n"
                           "rule = throughput mine/epoll at least 2 where connections:3\n"
                           "[experiment]\r\n"
                           "question = Is it fast:\n"
                           "   and is it = good?   ; goes on\n"
                           "# another comment\n"
                           "workload = echo\n"
                           "server = select, mine, epoll, other\n"
                           "measure = capacity\n"
                           "vary.connections = 3, 1500\n"
                           "vary.size_bytes = 100KiB,\n"
                           "                  10\n"
                           "set.duration = 2s\n"
                           "repetitions = 10\n"
                           "headline = connections:3 size_bytes:10, connections:1500\n"
                           "headline_repetitions = 8\n"
                           "headline.duration = 250ms\n"
                           "exclude = server:select connections:1500 because select is too small\n"
                           "[server mine]\n"
                           "command = ./mine --listen {listen} --size {size_bytes}\n"
                           "needs = ./mine, python:uvloop\n"
                           "version_command = ./mine --version\n"
                           "[server other]\n"
                           "loop = libuv\n"
                           "monitor = lag,tasks\n";

static struct experiment *parsed(const char *text) {
    struct experiment *experiment = NULL;
    struct error error = {""};
    if (experiment_parse_text("some/where/fine-1.ini", text, &experiment, &error) != 0)
        fail_msg("%s", error.text);
    return experiment;
}

static void reads_everything(void **state) {
    (void)state;
    struct experiment *experiment = parsed(full);
    assert_string_equal(experiment->name, "fine-1");
    assert_string_equal(experiment->path, "some/where/fine-1.ini");
    assert_string_equal(experiment->question, "Is it fast: and is it = good?");
    assert_string_equal(experiment->workload->name, "echo");
    assert_int_equal(experiment->measure, MEASURE_CAPACITY);
    assert_int_equal(experiment->repetitions, 10);
    assert_int_equal(experiment->headline_repetitions, 8);
    assert_true(knob_get(&experiment->base, "duration") == 2e9);
    assert_int_equal(experiment->axis_count, 2);
    assert_int_equal(experiment->contender_count, 4);
    assert_string_equal(experiment->contenders[0].loop, "select");
    const struct contender *mine = experiment_contender(experiment, "mine");
    assert_null(mine->loop);
    assert_null(mine->monitor);
    assert_string_equal(experiment_contender(experiment, "other")->monitor, "lag,tasks");
    assert_string_equal(mine->command, "./mine --listen {listen} --size {size_bytes}");
    assert_string_equal(mine->version_command, "./mine --version");
    assert_int_equal(mine->need_count, 2);
    assert_string_equal(mine->needs[1], "python:uvloop");
    assert_string_equal(experiment_contender(experiment, "other")->loop, "libuv");
    assert_null(experiment_contender(experiment, "asyncio"));
    assert_int_equal(experiment->claim_count, 1);
    assert_string_equal(experiment->claims[0].name, "A1");
    assert_string_equal(experiment->claims[0].says, "twice");
    assert_string_equal(experiment->claims[0].rule.second, "epoll");
    experiment_free(experiment);
}

static void crosses_the_axes(void **state) {
    (void)state;
    struct experiment *experiment = parsed(full);
    struct cell *cells;
    static const struct {
        const char *label;
        double connections, size_bytes;
        bool headline, claimed, select_runs;
    } expected[] = {
        {"connections=3 size_bytes=102400", 3, 102400, false, true, true},
        {"connections=3 size_bytes=10", 3, 10, true, true, true},
        {"connections=1500 size_bytes=102400", 1500, 102400, true, false, false},
        {"connections=1500 size_bytes=10", 1500, 10, true, false, false},
    };
    assert_int_equal(experiment_cells(experiment, &cells), ARRAY_LENGTH(expected));
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_string_equal(cells[i].label, expected[i].label);
        assert_true(knob_get(&cells[i].knobs, "connections") == expected[i].connections);
        assert_true(knob_get(&cells[i].knobs, "size_bytes") == expected[i].size_bytes);
        assert_int_equal(cells[i].headline, expected[i].headline);
        assert_int_equal(experiment_claim_covers(&experiment->claims[0], &cells[i]),
                         expected[i].claimed);
        const char *reason = experiment_excluded(experiment, &cells[i], &experiment->contenders[0]);
        assert_true((reason == NULL) == expected[i].select_runs);
        if (reason)
            assert_string_equal(reason, "select is too small");
        assert_null(experiment_excluded(experiment, &cells[i], &experiment->contenders[1]));
    }
    free(cells);
    experiment_free(experiment);
}

static void headline_runs_have_their_own_knobs(void **state) {
    (void)state;
    struct experiment *experiment = parsed(full);
    struct cell *cells;
    struct knob_values knobs;
    experiment_cells(experiment, &cells);
    experiment_knobs(experiment, &cells[1], &experiment->contenders[0], false, &knobs);
    assert_true(knob_get(&knobs, "duration") == 2e9);
    experiment_knobs(experiment, &cells[1], &experiment->contenders[0], true, &knobs);
    assert_true(knob_get(&knobs, "duration") == 250e6);
    /* 4 servers in 2 cells and 3 in 2 cells, 10 times 500 ms + 2 s. */
    assert_true(experiment_duration_ns(experiment, false) == 14 * 10 * 2500e6);
    /* 4 servers in 1 cell and 3 in 2 cells, 8 times 500 ms + 250 ms. */
    assert_true(experiment_duration_ns(experiment, true) == 10 * 8 * 750e6);
    free(cells);
    experiment_free(experiment);
}

static const char small[] = "[experiment]\n"
                            "question = Does it work?\n"
                            "workload = echo\n"
                            "server = select, epoll\n"
                            "measure = capacity\n";

static void without_axes_there_is_one_cell(void **state) {
    (void)state;
    struct experiment *experiment = parsed(small);
    struct cell *cells;
    assert_int_equal(experiment_cells(experiment, &cells), 1);
    assert_string_equal(cells[0].label, "all");
    assert_false(cells[0].headline);
    assert_int_equal(experiment->repetitions, 12);
    assert_int_equal(experiment->headline_repetitions, 7);
    free(cells);
    experiment_free(experiment);
}

static void overrides(void **state) {
    (void)state;
    struct experiment *experiment = parsed(full);
    struct cell *cells;
    struct error error = {""};
    assert_int_equal(experiment_override(experiment, "connections=7,8,9", &error), 0);
    assert_int_equal(experiment_override(experiment, "size_bytes=1KiB", &error), 0);
    assert_int_equal(experiment_override(experiment, "duration=3s", &error), 0);
    assert_int_equal(experiment_override(experiment, "in_flight=1,2", &error), 0);
    assert_int_equal(experiment_check(experiment, &error), 0);
    assert_int_equal(experiment_cells(experiment, &cells), 6);
    assert_string_equal(cells[0].label, "connections=7 size_bytes=1024 in_flight=1");
    assert_string_equal(cells[5].label, "connections=9 size_bytes=1024 in_flight=2");
    /* Nothing is left of the headline, so all of it is what was asked for. */
    assert_true(cells[0].headline && cells[5].headline);
    assert_false(experiment_claim_covers(&experiment->claims[0], &cells[0]));
    struct knob_values knobs;
    experiment_knobs(experiment, &cells[0], &experiment->contenders[0], true, &knobs);
    assert_true(knob_get(&knobs, "duration") == 3e9);
    free(cells);
    experiment_free(experiment);
}

static void bad_overrides_change_nothing(void **state) {
    (void)state;
    static const struct {
        const char *pair, *words;
        int err;
    } bad[] = {
        {"connections=7,x", "connections = x: expected a whole number", -EINVAL},
        {"connections=7,7", "comes twice", -EINVAL},
        {"connections=", "expected a whole number", -EINVAL},
        {"connections", "should be NAME=VALUE", -EINVAL},
        {"conections=7", "did you mean connections", -ENOENT},
        {"rate=-1", "expected a rate", -EINVAL},
    };
    struct experiment *experiment = parsed(full);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct error error = {""};
        assert_int_equal(experiment_override(experiment, bad[i].pair, &error), bad[i].err);
        if (!strstr(error.text, bad[i].words))
            fail_msg("%s: %s", bad[i].pair, error.text);
    }
    struct cell *cells;
    assert_int_equal(experiment_cells(experiment, &cells), 4);
    assert_string_equal(cells[3].label, "connections=1500 size_bytes=10");
    free(cells);

    struct error error = {""};
    assert_int_equal(experiment_override(experiment, "rate=1000", &error), 0);
    assert_int_equal(experiment_check(experiment, &error), -EINVAL);
    assert_non_null(strstr(error.text, "closed loop"));
    experiment_free(experiment);
}

/* The check of descriptors is exact: one more connection and it refuses. */
static void select_takes_what_fits(void **state) {
    (void)state;
    struct experiment *experiment = parsed(small);
    struct error error = {""};
    assert_int_equal(experiment_override(experiment, "connections=1000", &error), 0);
    assert_int_equal(experiment_override(experiment, "idle_connections=8", &error), 0);
    assert_int_equal(experiment_check(experiment, &error), 0);
    assert_int_equal(experiment_override(experiment, "idle_connections=9", &error), 0);
    assert_int_equal(experiment_check(experiment, &error), -EINVAL);
    assert_non_null(strstr(error.text, "keep to 1008"));
    experiment_free(experiment);
}

static char *first_line(const char *path) {
    static char line[512];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void refuse_example(const char *name) {
    static const char mark[] = "; expect ";
    char path[512], expected[1024];
    snprintf(path, sizeof path, BAD_EXAMPLES "/%s", name);
    const char *line = first_line(path);
    assert_memory_equal(line, mark, strlen(mark));
    snprintf(expected, sizeof expected, "%s:%s", path, line + strlen(mark));
    struct experiment *experiment = NULL;
    struct error error = {""};
    if (experiment_read(path, &experiment, &error) == 0)
        fail_msg("%s was taken", path);
    if (strncmp(error.text, expected, strlen(expected)) != 0)
        fail_msg("got      %s\nexpected %s", error.text, expected);
    assert_null(experiment);
}

static void refuses_every_bad_example(void **state) {
    (void)state;
    DIR *directory = opendir(BAD_EXAMPLES);
    assert_non_null(directory);
    struct dirent *entry;
    int examples = 0;
    while ((entry = readdir(directory)) != NULL)
        if (strstr(entry->d_name, ".ini")) {
            refuse_example(entry->d_name);
            examples++;
        }
    closedir(directory);
    assert_true(examples >= 50);
}

static void finds_by_stem_and_path(void **state) {
    (void)state;
    struct experiment *experiment = NULL;
    struct error error = {""};
    assert_int_equal(experiment_find(EXPERIMENTS, "loop-echo", &experiment, &error), 0);
    assert_string_equal(experiment->name, "loop-echo");
    experiment_free(experiment);
    assert_int_equal(experiment_find("nowhere", EXPERIMENTS "/loop-echo.ini", &experiment, &error),
                     0);
    experiment_free(experiment);
    assert_int_equal(experiment_find(EXPERIMENTS, "loop-ecko", &experiment, &error), -ENOENT);
    assert_non_null(strstr(error.text, "no experiment is called 'loop-ecko'; there are: "));
    assert_non_null(strstr(error.text, "loop-cost, loop-cpu-bound, loop-echo, "));
    assert_int_equal(experiment_find("nowhere", "loop-echo", &experiment, &error), -ENOENT);
    assert_int_equal(experiment_read(EXPERIMENTS, &experiment, &error), -EIO);
}

/* What comes with the project can be read, and `make bench` measures for eight minutes at most. */
static void own_experiments_are_sound(void **state) {
    (void)state;
    char **stems;
    size_t count;
    struct error error = {""};
    double headline_ns = 0;
    assert_int_equal(experiment_list(EXPERIMENTS, &stems, &count, &error), 0);
    assert_true(count >= 4);
    for (size_t i = 0; i < count; i++) {
        struct experiment *experiment = NULL;
        if (experiment_find(EXPERIMENTS, stems[i], &experiment, &error) != 0)
            fail_msg("%s", error.text);
        assert_string_equal(experiment->name, stems[i]);
        assert_true(i == 0 || strcmp(stems[i - 1], stems[i]) < 0);
        headline_ns += experiment_duration_ns(experiment, true);
        experiment_free(experiment);
    }
    experiment_list_free(stems, count);
    if (headline_ns > 480e9)
        fail_msg("the headline cells take %.0f s", headline_ns / 1e9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_everything),
        cmocka_unit_test(crosses_the_axes),
        cmocka_unit_test(headline_runs_have_their_own_knobs),
        cmocka_unit_test(without_axes_there_is_one_cell),
        cmocka_unit_test(overrides),
        cmocka_unit_test(bad_overrides_change_nothing),
        cmocka_unit_test(select_takes_what_fits),
        cmocka_unit_test(refuses_every_bad_example),
        cmocka_unit_test(finds_by_stem_and_path),
        cmocka_unit_test(own_experiments_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
