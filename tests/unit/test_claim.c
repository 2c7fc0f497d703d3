/* The grammar of rules, and the verdict for every position an interval can have. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "harness/claim.h"
#include "loops/check.h"

static struct claim_rule parsed(const char *text) {
    struct claim_rule rule;
    struct error error = {""};
    if (claim_parse(text, &rule, &error) != 0)
        fail_msg("%s: %s", text, error.text);
    return rule;
}

static void reads_every_form(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum claim_metric metric;
        enum claim_form form;
        const char *first, *second, *axis, *where;
        double low, high;
        int direction;
    } rules[] = {
        {"throughput uvloop/asyncio between 2 and 4", CLAIM_METRIC_THROUGHPUT, CLAIM_RATIO,
         "uvloop", "asyncio", "", "", 2, 4, 1},
        {"  p99   a/b\tat most 0.5 ", CLAIM_METRIC_P99, CLAIM_RATIO, "a", "b", "", "", 0, 0.5, -1},
        {"p50 a/b about 2.5 within 20 %", CLAIM_METRIC_P50, CLAIM_RATIO, "a", "b", "", "", 2, 3, 1},
        {"p999 a/b about 0.5 within 50%", CLAIM_METRIC_P999, CLAIM_RATIO, "a", "b", "", "", 0.25,
         0.75, -1},
        {"rss a/b about 1 within 5", CLAIM_METRIC_RSS, CLAIM_RATIO, "a", "b", "", "", 0.95, 1.05,
         0},
        {"throughput a/b at least 1 where idle_connections:900", CLAIM_METRIC_THROUGHPUT,
         CLAIM_RATIO, "a", "b", "", "idle_connections:900", 1, INFINITY, 1},
        {"throughput epoll at least 50k", CLAIM_METRIC_THROUGHPUT, CLAIM_ABSOLUTE, "epoll", "", "",
         "", 50000, INFINITY, 0},
        {"p99 epoll at most 1ms where connections:3  size_bytes:1024", CLAIM_METRIC_P99,
         CLAIM_ABSOLUTE, "epoll", "", "", "connections:3 size_bytes:1024", 0, 1e6, 0},
        {"cpu_per_request epoll at most 5us", CLAIM_METRIC_CPU_PER_REQUEST, CLAIM_ABSOLUTE, "epoll",
         "", "", "", 0, 5, 0},
        {"rss epoll between 1MiB and 2MiB", CLAIM_METRIC_RSS, CLAIM_ABSOLUTE, "epoll", "", "", "",
         1048576, 2097152, 0},
        {"cpu_per_request select grows over idle_connections", CLAIM_METRIC_CPU_PER_REQUEST,
         CLAIM_GROWTH, "select", "", "idle_connections", "", 1, INFINITY, 1},
        {"cpu_per_request select grows by at least 2 over n where a:1",
         CLAIM_METRIC_CPU_PER_REQUEST, CLAIM_GROWTH, "select", "", "n", "a:1", 2, INFINITY, 1},
        {"cpu_per_request epoll flat within 15 % over n", CLAIM_METRIC_CPU_PER_REQUEST,
         CLAIM_GROWTH, "epoll", "", "n", "", 0.85, 1.15, 0},
        {"p99 a/b at most 1 from some job_us on where job:cpu", CLAIM_METRIC_P99, CLAIM_RATIO, "a",
         "b", "job_us", "job:cpu", 0, 1, -1},
        {"throughput a at least 5k from some n on", CLAIM_METRIC_THROUGHPUT, CLAIM_ABSOLUTE, "a",
         "", "n", "", 5000, INFINITY, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        struct claim_rule rule = parsed(rules[i].text);
        assert_int_equal(rule.metric, rules[i].metric);
        assert_int_equal(rule.form, rules[i].form);
        assert_string_equal(rule.first, rules[i].first);
        assert_string_equal(rule.second, rules[i].second);
        assert_string_equal(rule.axis, rules[i].axis);
        assert_string_equal(rule.where, rules[i].where);
        if (fabs(rule.low - rules[i].low) > 1e-9 * rules[i].low ||
            (rule.high != rules[i].high && !(fabs(rule.high - rules[i].high) < 1e-9 * rule.high)) ||
            rule.direction != rules[i].direction)
            fail_msg("%s: %g to %g, %d", rules[i].text, rule.low, rule.high, rule.direction);
    }
}

static void refuses_everything_else(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "speed a/b at least 2",
        "throughput",
        "throughput a/b",
        "throughput / at least 2",
        "throughput a/ at least 2",
        "throughput a/b/c at least 2",
        "throughput a/a at least 2",
        "throughput a/b at 2",
        "throughput a/b at least",
        "throughput a/b at least 2x",
        "throughput a/b at least -2",
        "throughput a/b at least 0",
        "throughput a/b at least 1e3",
        "throughput a/b at least 2k",
        "throughput a/b at least .5",
        "throughput a/b at least 1..2",
        "throughput a/b between 2 and",
        "throughput a/b between 2 4",
        "throughput a/b between 4 and 2",
        "throughput a/b between 2 and 2",
        "throughput a/b about 2",
        "throughput a/b about 2 within",
        "throughput a/b about 2 within 0 %",
        "throughput a/b about 2 within 100 %",
        "throughput a/b at least 2 in all cells",
        "throughput a/b at least 2 where",
        "throughput a/b grows over n",
        "throughput a/b flat within 5 % over n",
        "throughput a grows over n from some n on",
        "throughput a flat within 5 % over n from some n on",
        "throughput a/b at least 2 from n on",
        "throughput a/b at least 2 from some n",
        "throughput a/b at least 2 from some",
        "throughput a grows",
        "throughput a grows over",
        "throughput a grows by 2 over n",
        "throughput a grows by at least 0.5 over n",
        "throughput a flat over n",
        "throughput a at least 5ms",
        "p99 a at most 5",
        "throughput aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/b at least 2",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct claim_rule rule;
        struct error error = {""};
        if (claim_parse(bad[i], &rule, &error) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(*error.text);
    }
}

static void says_what_would_be_right(void **state) {
    (void)state;
    struct claim_rule rule;
    struct error error;
    claim_parse("throughput a/b over 2", &rule, &error);
    assert_non_null(strstr(error.text, "'over' in the rule: expected 'between X and Y'"));
    claim_parse("throughput a/b between 2", &rule, &error);
    assert_string_equal(error.text, "the rule ends where it should say 'and'");
    claim_parse("p99 a at most 5", &rule, &error);
    assert_non_null(strstr(error.text, "a time with its unit"));
}

struct position {
    const char *rule;
    double low, high;
    enum claim_verdict verdict;
};

static void judges_every_position(void **state) {
    (void)state;
    static const struct position positions[] = {
        {"throughput a/b between 2 and 4", 2.0, 4.0, CLAIM_REPRODUCED},
        {"throughput a/b between 2 and 4", 2.5, 2.6, CLAIM_REPRODUCED},
        {"throughput a/b between 2 and 4", 4.1, 6.0, CLAIM_EXCEEDED},
        {"throughput a/b between 2 and 4", 3.9, 6.0, CLAIM_NOT_SHOWN},
        {"throughput a/b between 2 and 4", 1.9, 2.1, CLAIM_NOT_SHOWN},
        {"throughput a/b between 2 and 4", 1.0, 5.0, CLAIM_NOT_SHOWN},
        {"throughput a/b between 2 and 4", 1.1, 1.9, CLAIM_DIRECTION_ONLY},
        {"throughput a/b between 2 and 4", 1.0, 1.9, CLAIM_NOT_REPRODUCED},
        {"throughput a/b between 2 and 4", 0.9, 1.1, CLAIM_NOT_REPRODUCED},
        {"throughput a/b between 2 and 4", 0.2, 0.5, CLAIM_NOT_REPRODUCED},
        {"throughput a/b at least 2", 3.0, 9.0, CLAIM_REPRODUCED},
        {"throughput a/b at least 2", 1.5, 1.9, CLAIM_DIRECTION_ONLY},
        {"throughput a/b at least 1", 1.01, 1.2, CLAIM_REPRODUCED},
        {"throughput a/b at least 1", 1.0, 1.2, CLAIM_NOT_SHOWN},
        {"throughput a/b at least 1", 0.9, 1.2, CLAIM_NOT_SHOWN},
        {"throughput a/b at least 1", 0.8, 0.9, CLAIM_NOT_REPRODUCED},
        {"p99 a/b between 0.25 and 0.5", 0.3, 0.4, CLAIM_REPRODUCED},
        {"p99 a/b between 0.25 and 0.5", 0.1, 0.2, CLAIM_EXCEEDED},
        {"p99 a/b between 0.25 and 0.5", 0.6, 0.9, CLAIM_DIRECTION_ONLY},
        {"p99 a/b between 0.25 and 0.5", 0.6, 1.1, CLAIM_NOT_REPRODUCED},
        {"p99 a/b between 0.25 and 0.5", 1.1, 1.2, CLAIM_NOT_REPRODUCED},
        {"p99 a/b between 0.25 and 0.5", 0.4, 0.6, CLAIM_NOT_SHOWN},
        {"p99 a/b at most 0.5", 0.1, 0.2, CLAIM_REPRODUCED},
        {"p99 a/b about 1 within 10 %", 0.95, 1.05, CLAIM_REPRODUCED},
        {"p99 a/b about 1 within 10 %", 1.2, 1.3, CLAIM_NOT_REPRODUCED},
        {"p99 a/b about 1 within 10 %", 1.05, 1.2, CLAIM_NOT_SHOWN},
        {"throughput a at least 50000", 50001, 60000, CLAIM_REPRODUCED},
        {"throughput a at least 50000", 40000, 49999, CLAIM_NOT_REPRODUCED},
        {"throughput a at least 50000", 40000, 60000, CLAIM_NOT_SHOWN},
        {"p99 a at most 1ms", 5e5, 9e5, CLAIM_REPRODUCED},
        {"rss a grows over n", 1.5, 3, CLAIM_REPRODUCED},
        {"rss a grows over n", 0.9, 3, CLAIM_NOT_SHOWN},
        {"rss a grows by at least 2 over n", 1.5, 1.9, CLAIM_DIRECTION_ONLY},
        {"rss a flat within 15 % over n", 0.9, 1.1, CLAIM_REPRODUCED},
        {"rss a flat within 15 % over n", 1.2, 1.3, CLAIM_NOT_REPRODUCED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(positions); i++) {
        const struct position *at = &positions[i];
        struct claim_rule rule = parsed(at->rule);
        struct claim_evidence evidence = {
            .bounded = true, .estimate = at->low, .low = at->low, .high = at->high};
        enum claim_verdict verdict = claim_judge(&rule, &evidence);
        if (verdict != at->verdict)
            fail_msg("%s at %g to %g: %s", at->rule, at->low, at->high,
                     claim_verdict_name(verdict));
        assert_non_null(claim_verdict_words(&rule, &evidence));
    }
}

/* Whatever the numbers are: without good evidence nothing is shown, and the words say why. */
static void shows_nothing_without_evidence(void **state) {
    (void)state;
    struct claim_rule rule = parsed("throughput a/b between 2 and 4");
    struct claim_evidence good = {.bounded = true, .estimate = 3, .low = 2.5, .high = 3.5};
    assert_int_equal(claim_judge(&rule, &good), CLAIM_REPRODUCED);

    struct claim_evidence missing = good, invalid = good, co_limited = good, unbounded = good;
    missing.missing = true;
    invalid.invalid = true;
    co_limited.co_limited = true;
    unbounded.bounded = false;
    assert_int_equal(claim_judge(&rule, &missing), CLAIM_NOT_SHOWN);
    assert_non_null(strstr(claim_verdict_words(&rule, &missing), "not measured"));
    assert_int_equal(claim_judge(&rule, &invalid), CLAIM_NOT_SHOWN);
    assert_non_null(strstr(claim_verdict_words(&rule, &invalid), "not valid"));
    assert_int_equal(claim_judge(&rule, &co_limited), CLAIM_NOT_SHOWN);
    assert_non_null(strstr(claim_verdict_words(&rule, &co_limited), "lower bound"));
    assert_int_equal(claim_judge(&rule, &unbounded), CLAIM_NOT_SHOWN);
    assert_non_null(strstr(claim_verdict_words(&rule, &unbounded), "too few"));

    /* A saturated generator says nothing against the server's CPU time. */
    rule = parsed("cpu_per_request a/b between 2 and 4");
    assert_int_equal(claim_judge(&rule, &co_limited), CLAIM_REPRODUCED);
}

static void names_every_verdict(void **state) {
    (void)state;
    for (int verdict = 0; verdict < CLAIM_VERDICTS; verdict++)
        assert_non_null(claim_verdict_name((enum claim_verdict)verdict));
    for (int metric = 0; metric < CLAIM_METRICS; metric++)
        assert_non_null(claim_metrics[metric].name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_form),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(says_what_would_be_right),
        cmocka_unit_test(judges_every_position),
        cmocka_unit_test(shows_nothing_without_evidence),
        cmocka_unit_test(names_every_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
