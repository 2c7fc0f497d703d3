/* test_report.c: the report says all that a run found, in both its forms. */
#include "harness/report.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/statistics.h"
#include "loops/check.h"
#include "synthetic_run.h"

enum { BLOCKS = 8, LINE_WIDTH = 100 };

struct reported {
    char *markdown, *terminal;
};

static char *text_of_file(FILE *file) {
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    assert_true(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    rewind(file);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    return text;
}

static struct reported report_of(const json_t *run) {
    char directory[] = "/tmp/test_report.XXXXXX", path[64];
    struct error error = {""};
    FILE *terminal = tmpfile();
    assert_non_null(terminal);
    assert_non_null(mkdtemp(directory));
    if (report_write(run, directory, terminal, &error) != 0)
        fail_msg("%s", error.text);
    snprintf(path, sizeof path, "%s/report.md", directory);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
    return (struct reported){text_of_file(file), text_of_file(terminal)};
}

static void done(struct reported *report, json_t *run) {
    free(report->markdown);
    free(report->terminal);
    json_decref(run);
}

/* A terminal breaks lines, so there any run of blanks is as good as one. */
static bool says(const char *text, const char *wanted) {
    for (; *text; text++) {
        const char *t = text, *w = wanted;
        while (*w && *t && (*w == *t || (*w == ' ' && isspace((unsigned char)*t)))) {
            t += *w == ' ' ? strspn(t, " \n") : 1;
            w++;
        }
        if (!*w)
            return true;
    }
    return false;
}

static void assert_says(const char *text, const char *wanted) {
    if (!says(text, wanted))
        fail_msg("it does not say '%s'", wanted);
}

static void assert_both_say(const struct reported *report, const char *wanted) {
    assert_says(report->markdown, wanted);
    assert_says(report->terminal, wanted);
}

/* The first line with both texts; static memory. */
static const char *line_with(const char *text, const char *first, const char *second) {
    static char line[1024];
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
        if (strstr(line, first) && strstr(line, second))
            return line;
    }
    fail_msg("no line with '%s' and '%s'", first, second);
    return NULL;
}

static int characters(const char *line, size_t bytes) {
    int count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += (line[i] & 0xc0) != 0x80;
    return count;
}

static void assert_fits_a_terminal(const char *text) {
    assert_null(strchr(text, '\033'));
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (characters(text, strcspn(text, "\n")) > LINE_WIDTH)
            fail_msg("over %d columns: %.*s", LINE_WIDTH, (int)strcspn(text, "\n"), text);
}

static size_t cells_of(const char *line) {
    size_t bars = 0;
    for (size_t i = 0; line[i] && line[i] != '\n'; i++)
        bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    return bars;
}

/* Every row of a table has as many cells as its head. Returns the number of tables. */
static size_t check_tables(const char *text) {
    size_t tables = 0, wanted = 0;
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        if (*text != '|') {
            wanted = 0;
            continue;
        }
        tables += wanted == 0;
        wanted = wanted ? wanted : cells_of(text);
        if (cells_of(text) != wanted)
            fail_msg("%zu of %zu cells: %.*s", cells_of(text) - 1, wanted - 1,
                     (int)strcspn(text, "\n"), text);
    }
    return tables;
}

/* The `index`-th cell of a row of Markdown, from 0; static memory. */
static const char *cell_of(const char *row, size_t index) {
    static char cell[256];
    for (size_t i = 0; i <= index; i++) {
        row = strchr(row, '|');
        assert_non_null(row++);
    }
    snprintf(cell, sizeof cell, "%.*s", (int)strcspn(row, "|"), row);
    return cell;
}

/* "1,234 (…": the number at its beginning. */
static double number_at(const char *text) {
    char digits[64];
    size_t used = 0;
    for (text += strspn(text, " "); isdigit((unsigned char)*text) || strchr(".,", *text); text++)
        if (*text != ',' && used + 1 < sizeof digits)
            digits[used++] = *text;
    digits[used] = '\0';
    assert_true(used > 0);
    return strtod(digits, NULL);
}

/* ---- the whole synthetic run ----------------------------------------------------------------- */

/* Null, with the reason said, where there is no Python. */
static json_t *generated_run(void) {
    const char *source = getenv("LOOPMARK_SOURCE");
    char directory[] = "/tmp/test_report.XXXXXX", command[4096], path[64];
    if (access("/usr/bin/python3", X_OK) != 0) {
        print_message("python3 is missing\n");
        return NULL;
    }
    assert_non_null(mkdtemp(directory));
    snprintf(command, sizeof command, "/usr/bin/python3 '%s/tests/data/runs/generate.py' %s %d",
             source ? source : ".", directory, BLOCKS);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/run.json", directory);
    json_t *run = json_load_file(path, 0, NULL);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    assert_non_null(run);
    return run;
}

/* What every repetition of one row has at this place of the record. */
static double median_of(const json_t *run, const char *experiment, const char *cell,
                        const char *server, const char *object, const char *key) {
    double values[64];
    size_t count = 0, i;
    const json_t *repetition;
    json_array_foreach(json_object_get(run, "repetitions"), i, repetition) {
        const char *const names[] = {"experiment", "cell", "server_name"};
        const char *const wanted[] = {experiment, cell, server};
        bool same = true;
        for (size_t k = 0; k < ARRAY_LENGTH(names); k++)
            same = same &&
                   strcmp(json_string_value(json_object_get(repetition, names[k])), wanted[k]) == 0;
        const json_t *holder = object ? json_object_get(repetition, object) : repetition;
        if (same && count < ARRAY_LENGTH(values))
            values[count++] = json_number_value(json_object_get(holder, key));
    }
    assert_int_equal(count, BLOCKS);
    return median_in_place(values, count);
}

static void assert_about(double got, double wanted) {
    if (!(fabs(got / wanted - 1) <= 0.006)) /* half of the third digit */
        fail_msg("%g, not %g", got, wanted);
}

static void tells_all_of_a_run(void **state) {
    (void)state;
    json_t *run = generated_run();
    if (!run)
        skip();
    struct reported report = report_of(run);
    size_t i;
    const json_t *experiment;
    json_array_foreach(json_object_get(run, "experiments"), i, experiment) {
        assert_both_say(&report, json_string_value(json_object_get(experiment, "name")));
        assert_both_say(&report, json_string_value(json_object_get(experiment, "question")));
    }
    assert_says(report.markdown, "A1 \"a libuv loop is 2-4x the default loop\": **reproduced** at");
    assert_says(report.markdown, "**direction only** at 1 KiB, 3 connections: 1.27 (");
    assert_says(report.markdown, "B2 \"p99 divided by 2.6\": **direction only** at rate 20000");
    assert_says(report.terminal, "A1 \"a libuv loop is 2-4x the default loop\": reproduced at");
    assert_says(report.terminal, "B2 \"p99 divided by 2.6\": direction only at rate 20000");
    line_with(report.markdown, "| A1 | throughput uvloop/asyncio between 2 and 4 |", "reproduced");
    assert_both_say(&report, "select skipped at idle_connections=10000: select: fd 1024 is over");
    assert_both_say(&report, "note: governor: not exposed by this virtual machine");
    assert_both_say(&report, "note: steal time reached 4 % in one window");
    assert_both_say(&report, "libuv: 8 not valid: generator saturated (busy 0.99), server only");
    assert_says(report.markdown, "asyncio: 8 not valid: offered rate missed by 3.1 %");
    assert_says(report.markdown, "select: 1 not valid: steal time 4 % of the window");
    assert_says(report.markdown, "`loopmark run loop-echo --out my results` at revision 49406bf");
    assert_says(report.markdown, "synthetic: 2 × Example CPU 2.4 GHz");
    assert_false(says(report.markdown, "not complete") || says(report.terminal, "not complete"));
    assert_false(says(report.markdown, "(null)") || says(report.terminal, "(null)"));
    assert_int_equal(check_tables(report.markdown), 8); /* of four experiments, two with claims
                                                         * and two of what requests cost */
    assert_fits_a_terminal(report.terminal);
    done(&report, run);
}

static void marks_rows_that_are_not_ranked(void **state) {
    (void)state;
    json_t *run = generated_run();
    if (!run)
        skip();
    struct reported report = report_of(run);
    line_with(report.markdown, "| 10 KiB, 10 connections | libuv | - | - |", "| 0/8 | invalid |");
    line_with(report.markdown, "| 1 KiB, 100 connections | epoll |", "| 8/8 | co-limited |");
    line_with(report.markdown, "| 1 KiB, 3 connections | epoll |", "| 8/8 |  |");
    line_with(report.markdown, "| 1 KiB, 1 connection | epoll |", "| 8/8 | latency |");
    line_with(report.markdown, "| 1 KiB, 10 connections | select |", "| 7/8 |  |");
    line_with(report.markdown, "| 10 idle connections | epoll |", "| few samples |");
    line_with(report.markdown, "| 10000 idle connections | asyncio | - |", "| invalid |");
    line_with(report.terminal, "  libuv ", " 0/8 invalid");
    line_with(report.terminal, "  epoll ", " 8/8 co-limited");
    line_with(report.terminal, "  asyncio ", " 0/8 invalid");
    static const char *const marks[] = {"co-limited: the", "latency: neither", "few samples: under",
                                        "invalid: fewer"};
    for (size_t i = 0; i < ARRAY_LENGTH(marks); i++)
        assert_both_say(&report, marks[i]);
    assert_false(says(report.markdown, "shared CPU"));
    done(&report, run);
}

static void numbers_are_in_their_columns_units(void **state) {
    (void)state;
    json_t *run = generated_run();
    if (!run)
        skip();
    struct reported report = report_of(run);
    const char *cell = "size_bytes=1024 connections=3";
    const char *row = line_with(report.markdown, "| 1 KiB, 3 connections | asyncio |", "8/8");
    assert_about(number_at(cell_of(row, 2)),
                 median_of(run, "loop-echo", cell, "asyncio", NULL, "achieved_rate"));
    assert_about(number_at(cell_of(row, 3)),
                 median_of(run, "loop-echo", cell, "asyncio", "server", "cpu_us_per_request"));
    assert_about(number_at(cell_of(row, 4)), /* 4.4 µs in every block */
                 median_of(run, "loop-echo", cell, "asyncio", "server", "cpu_us_per_request") /
                     4.4);
    assert_string_equal(cell_of(row, 5), " 99 % ");
    row = line_with(report.markdown, "p50 µs", "server");
    assert_string_equal(cell_of(row, 2), " p50 µs ");
    assert_string_equal(cell_of(row, 3), " p99 µs ");
    assert_string_equal(cell_of(row, 4), " p99.9 µs ");
    static const char *const quantiles[] = {"p50", "p99", "p999"};
    row = line_with(report.markdown, "| rate 20000 | epoll |", "8/8");
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        double ns =
            median_of(run, "loop-equal-rate", "rate=20000", "epoll", "response_ns", quantiles[i]);
        assert_about(number_at(cell_of(row, 2 + i)), ns / 1e3);
        assert_true(strstr(cell_of(row, 2 + i), " to ") != NULL);
    }
    done(&report, run);
}

/* ---- single things --------------------------------------------------------------------------- */

static void add(json_t *run, const char *cell, const char *server, double per_s) {
    for (int i = 0; i < BLOCKS; i++)
        synthetic_repetition(run, cell, server, i, per_s * (1 + 0.001 * i));
}

static void numbers_below_a_hundred_have_three_digits(void **state) {
    (void)state;
    static const struct {
        double cpu_us;
        const char *text;
    } cases[] = {{99.96, " 100 "},  {99.94, " 99.9 "}, {9.996, " 10.0 "},
                 {9.994, " 9.99 "}, {0.123, " 0.12 "}, {12345, " 12,345 "}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = synthetic_run("capacity", "", "a");
        synthetic_set(synthetic_repetition(run, "all", "a", 0, 1000), "server.cpu_us_per_request",
                      json_real(cases[i].cpu_us));
        struct reported report = report_of(run);
        assert_string_equal(cell_of(line_with(report.markdown, "| all | a |", "1/1"), 3),
                            cases[i].text);
        done(&report, run);
    }
}

static void tells_the_multiple_of_the_floor(void **state) {
    (void)state;
    static const char *const measures[] = {"capacity", "latency"};
    for (size_t i = 0; i < ARRAY_LENGTH(measures); i++) {
        json_t *run = synthetic_run(measures[i], "connections", "a b");
        for (int block = 0; block < BLOCKS; block++) { /* 5 µs of CPU for each request */
            synthetic_set(synthetic_repetition(run, "connections=3", "a", block, 200e3),
                          "floor_us_per_request", json_real(4));
            synthetic_set(synthetic_repetition(run, "connections=20", "b", block, 200e3),
                          "floor_us_per_request", json_null());
        }
        struct reported report = report_of(run);
        line_with(report.markdown, "| 3 connections | a |", "| 1.25 (1.25 to 1.25) |");
        line_with(report.markdown, "| 20 connections | b |", "| 5.00 (5.00 to 5.00) | - |");
        line_with(report.terminal, "  a ", " 5.00    1.25 ");
        line_with(report.markdown, "× floor: ", "Here: 4.00 µs at 3 connections");
        assert_says(report.terminal, "Here: 4.00 µs at 3 connections");
        assert_false(says(report.markdown, "µs at 20 connections"));
        check_tables(report.markdown);
        assert_fits_a_terminal(report.terminal);
        done(&report, run);
    }
}

/* 5 µs beside a control of 4 µs, on a floor of 3.2 µs. */
static void takes_a_request_apart(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "epoll raw-epoll epoll-spin libuv");
    for (int block = 0; block < BLOCKS; block++) {
        synthetic_set(synthetic_repetition(run, "all", "epoll", block, 200e3),
                      "floor_us_per_request", json_real(3.2));
        synthetic_repetition(run, "all", "raw-epoll", block, 250e3);
        synthetic_repetition(run, "all", "epoll-spin", block, 100e3);
        synthetic_repetition(run, "all", "libuv", block, 200e3);
    }
    struct reported report = report_of(run);
    assert_says(report.markdown, "where the time goes");
    line_with(report.markdown, "| all | epoll | 5.00 | 3.20 | 1.80 | 1.56 | 0.50 | 0.25 | 4.00 |",
              "| 0.90 | 512 KiB |");
    line_with(report.markdown, "* interface and workload: epoll ÷ raw-epoll",
              " = 1.25 (1.25 to 1.25)");
    line_with(report.markdown, "* epoll that never sleeps", "epoll-spin ÷ epoll = 2.00");
    assert_false(says(report.markdown, "libuv ÷") || says(report.terminal, "where the time goes"));
    check_tables(report.markdown);
    done(&report, run);
}

static void without_a_floor_no_multiple(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a");
    add(run, "all", "a", 1000);
    struct reported report = report_of(run);
    assert_false(says(report.markdown, "floor") || says(report.terminal, "floor"));
    done(&report, run);
}

static void an_incomplete_run_says_so(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a");
    synthetic_set(run, "complete", json_false());
    synthetic_set(run, "ended_because", json_string("interrupted (SIGINT)"));
    add(run, "all", "a", 1000);
    struct reported report = report_of(run);
    assert_both_say(&report, "this run is not complete: interrupted (SIGINT)");
    assert_both_say(&report, "a");
    done(&report, run);
}

static void response_times_have_three_digits(void **state) {
    (void)state;
    static const struct {
        double p50_ns;
        const char *p50, *p99; /* four times that */
    } cases[] = {
        {30.04e3, " 30.1 ", " 121 "},       {0.5e3, " 0.50 ", " 2.01 "},
        {99.8e3, " 100 ", " 401 "},         {1.2345e6, " 1,240 ", " 4,960 "},
        {12.345e6, " 12,400 ", " 49,600 "}, {2.5e9, " 2,510,000 ", " 10,000,000 "},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *run = synthetic_run("latency", "", "a"), *repetition;
        add(run, "all", "a", 1000);
        size_t k;
        json_array_foreach(json_object_get(run, "repetitions"), k, repetition) {
            double p50_ns = cases[i].p50_ns * (1 + 0.001 * (double)k);
            synthetic_set(repetition, "response_ns.p50", json_real(p50_ns));
            synthetic_set(repetition, "response_ns.p99", json_real(4 * p50_ns));
            synthetic_set(repetition, "response_ns.p999", json_real(4 * p50_ns));
            synthetic_set(repetition, "response_ns.count", json_integer(1000));
        }
        struct reported report = report_of(run);
        line_with(report.terminal, cases[i].p50, "8/8");
        line_with(report.terminal, cases[i].p99, "8/8");
        const char *row = line_with(report.markdown, "| all | a |", "8/8");
        assert_non_null(strstr(cell_of(row, 2), " to "));
        assert_int_equal(strncmp(cell_of(row, 2), cases[i].p50, strlen(cases[i].p50)), 0);
        assert_int_equal(strncmp(cell_of(row, 3), cases[i].p99, strlen(cases[i].p99)), 0);
        assert_fits_a_terminal(report.terminal);
        done(&report, run);
    }
}

/* Columns stand under their titles as long as their numbers have room. */
static void columns_end_below_their_titles(void **state) {
    (void)state;
    json_t *run = synthetic_run("latency", "", "a");
    add(run, "all", "a", 50); /* p50 20 ms, p99 80 ms */
    struct reported report = report_of(run);
    char title[256];
    snprintf(title, sizeof title, "%s", line_with(report.terminal, "p50 µs", "p99 µs"));
    const char *row = line_with(report.terminal, "  a ", "8/8");
    const char *number = strstr(row, "19,900"), *interval = strchr(row, ')');
    assert_non_null(number);
    assert_non_null(interval);
    const char *p50 = strstr(title, "p50 µs"), *p99 = strstr(title, "p99 µs");
    assert_int_equal(characters(title, (size_t)(p50 - title)) + 6,
                     characters(row, (size_t)(number - row)) + 6);
    assert_int_equal(characters(title, (size_t)(p99 - title)) + 6,
                     characters(row, (size_t)(interval - row)) + 1);
    done(&report, run);
}

static void absolute_claims_have_units(void **state) {
    (void)state;
    json_t *run = synthetic_run("latency", "", "a b");
    static const struct {
        const char *rule, *value;
    } claims[] = {
        {"throughput a at least 10", "1,004 (1,001 to 1,006) requests/s"},
        {"p50 a at most 2ms", "997 (995 to 999) µs"},
        {"p99 a at most 20ms", "3,986 (3,974 to 3,998) µs"},
        {"cpu_per_request a at most 2ms", "997 (993 to 1,000) µs"},
        {"rss a at most 64MiB", "8.00 (8.00 to 8.00) MiB"},
        {"p99 b at most 20ms", "b at most 20ms | its one cell | - | 0 | not shown"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(claims); i++)
        synthetic_claim(run, "C", claims[i].rule);
    add(run, "all", "a", 1000);
    struct reported report = report_of(run);
    for (size_t i = 0; i < ARRAY_LENGTH(claims); i++) {
        const char *row = line_with(report.markdown, claims[i].rule, "");
        const char *unit = strrchr(claims[i].value, ' ');
        if (i + 1 == ARRAY_LENGTH(claims))
            assert_says(row, claims[i].value);
        else {
            assert_non_null(strstr(cell_of(row, 3), unit));
            assert_about(number_at(cell_of(row, 3)), number_at(claims[i].value));
        }
    }
    done(&report, run);
}

static void growth_names_both_ends(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "size_bytes idle_connections", "a");
    synthetic_claim(run, "G", "cpu_per_request a grows over idle_connections");
    add(run, "size_bytes=16 idle_connections=0", "a", 3000);
    add(run, "size_bytes=16 idle_connections=900", "a", 1000);
    struct reported report = report_of(run);
    assert_both_say(&report, "at 16 B, 0 idle connections to 900 idle connections: 3.00");
    done(&report, run);
}

/* Whatever stands in a record must not break a table, a line or the program. */
static void odd_texts_break_nothing(void **state) {
    (void)state;
    json_t *run = synthetic_run("capacity", "", "a|b c");
    synthetic_claim(run, "one|two", "throughput a|b/c at least 2");
    synthetic_claim(run, "unread", "rubbish");
    synthetic_claim(run, "elsewhere", "cpu_per_request c grows over idle_connections");
    json_array_append_new(json_object_get(synthetic_experiment(run), "claims"),
                          json_pack("{s:s}", "rule", "throughput c at least 2"));
    json_array_append_new(json_object_get(synthetic_experiment(run), "claims"), json_object());
    const char *long_text = "word after word after word after word after word after word after "
                            "word after word after word after word after word to the end";
    synthetic_set(synthetic_experiment(run), "question", json_string(long_text));
    synthetic_set(run, "environment.warnings", json_pack("[s, n]", long_text));
    synthetic_set(
        synthetic_experiment(run), "skipped",
        json_pack("[{s:s, s:n, s:s}, {}]", "server_name", "d", "cell", "reason", long_text));
    add(run, "all", "a|b", 3000);
    add(run, "all", "c", 1000);
    for (int i = 0; i < 2 * BLOCKS; i++)
        synthetic_invalidate(synthetic_repetition(run, "all", "c", i, 1000), long_text);
    struct reported report = report_of(run);
    assert_int_equal(check_tables(report.markdown), 2);
    assert_fits_a_terminal(report.terminal);
    assert_both_say(&report, long_text);
    assert_says(report.markdown,
                "unread \"so it is said\": **not shown**, its rule cannot be read");
    assert_says(report.terminal, "elsewhere \"so it is said\": not shown, this run has no cell");
    assert_false(says(report.markdown, "(null)") || says(report.terminal, "(null)"));
    done(&report, run);
}

/* Colour is for terminals that may have it, and does not show in the file. */
static void a_terminal_gets_colour(void **state) {
    (void)state;
    char directory[] = "/tmp/test_report.XXXXXX", path[64], text[4096] = "";
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        print_message("no pseudoterminals\n");
        skip();
    }
    FILE *terminal = fopen(ptsname(master), "w");
    assert_non_null(terminal);
    assert_non_null(mkdtemp(directory));
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    json_t *run = synthetic_run("capacity", "", "a");
    add(run, "all", "a", 1000);
    assert_int_equal(report_write(run, directory, terminal, NULL), 0);
    fclose(terminal);
    ssize_t got;
    for (size_t used = 0; (got = read(master, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    close(master);
    assert_non_null(strstr(text, "\033[1mmade-up\033[0m"));
    snprintf(path, sizeof path, "%s/report.md", directory);
    char *markdown = text_of_file(fopen(path, "r"));
    assert_null(strchr(markdown, '\033'));
    free(markdown);
    unlink(path);
    rmdir(directory);
    json_decref(run);
}

static void refuses_what_is_no_record(void **state) {
    (void)state;
    struct error error = {""};
    json_t *run = json_pack("{s:i}", "schema", 2);
    assert_int_equal(report_write(run, "/nonexistent", NULL, &error), -EINVAL);
    assert_non_null(strstr(error.text, "schema 1"));
    json_decref(run);
    run = synthetic_run("capacity", "", "a");
    assert_true(report_write(run, "/nonexistent", NULL, &error) < 0);
    assert_non_null(strstr(error.text, "/nonexistent/report.md"));
    json_decref(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_all_of_a_run),
        cmocka_unit_test(marks_rows_that_are_not_ranked),
        cmocka_unit_test(numbers_are_in_their_columns_units),
        cmocka_unit_test(numbers_below_a_hundred_have_three_digits),
        cmocka_unit_test(tells_the_multiple_of_the_floor),
        cmocka_unit_test(takes_a_request_apart),
        cmocka_unit_test(without_a_floor_no_multiple),
        cmocka_unit_test(an_incomplete_run_says_so),
        cmocka_unit_test(response_times_have_three_digits),
        cmocka_unit_test(columns_end_below_their_titles),
        cmocka_unit_test(absolute_claims_have_units),
        cmocka_unit_test(growth_names_both_ends),
        cmocka_unit_test(odd_texts_break_nothing),
        cmocka_unit_test(a_terminal_gets_colour),
        cmocka_unit_test(refuses_what_is_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
