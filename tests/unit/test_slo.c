/* test_slo.c: gates against histograms whose quantiles are known. */
#include "harness/slo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct slo parsed(const char *text) {
    struct slo slo;
    struct error error = {""};
    if (slo_parse(text, &slo, &error))
        fail_msg("%s", error.text);
    return slo;
}

static void what_gates_say(void **state) {
    (void)state;
    struct slo slo = parsed("p99<10ms");
    assert_true(slo.q > 0.98999 && slo.q < 0.99001);
    assert_int_equal(slo.limit_ns, 10 * NS_PER_MS);
    assert_string_equal(slo.text, "p99<10ms");
    assert_int_equal(parsed("p99.9<=1.5s").limit_ns, 1500 * NS_PER_MS);
    assert_true(parsed("p99.9<=1s").q > 0.998999 && parsed("p99.9<=1s").q < 0.999001);
    assert_int_equal(parsed("p50<300us").limit_ns, 300 * NS_PER_US);
}

static void wrong_gates_are_refused(void **state) {
    static const char *const texts[] = {
        "",       "p99",     "p99<",      "99<10ms",   "p99>10ms",   "p99<10",   "p100<1s",
        "p0<1s",  "p<1s",    "pp99<1s",   "p99 <1s",   "p-1<1s",     "p99<-1ms", "p99<1ms x",
        "p99<0s", "pnan<1s", "p99==10ms", "mean<10ms", "p99<=10ms=", "p1e9<1s"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct slo slo;
        struct error error = {""};
        if (slo_parse(texts[i], &slo, &error) == 0)
            fail_msg("'%s' was taken", texts[i]);
        assert_non_null(strstr(error.text, "--slo"));
    }
}

/* The numbers of Hahn and Meeker for two-sided 95 %: 1 - q^n has to be 0.975 or more. */
static void how_many_requests_it_takes(void **state) {
    (void)state;
    struct slo p50 = parsed("p50<1s"), p1 = parsed("p1<1s"), p99 = parsed("p99<1s");
    struct slo p999 = parsed("p99.9<1s");
    assert_int_equal(slo_least_requests(&p50), 6);
    assert_int_equal(slo_least_requests(&p99), 368);
    assert_int_equal(slo_least_requests(&p1), 368);
    assert_int_equal(slo_least_requests(&p999), 3688);
}

/* 99 of 100 requests take 1 ms, the others 100 ms. */
static void gates_follow_the_interval(void **state) {
    (void)state;
    static uint64_t counts[2][RECORDER_COUNTERS];
    struct load_result *result = calloc(1, sizeof *result);
    assert_non_null(result);
    histogram_open_in(&result->service, &histogram_standard, counts[0]);
    histogram_open_in(&result->response, &histogram_standard, counts[1]);
    assert_int_equal(histogram_record(&result->service, NS_PER_MS, 99000), 0);
    assert_int_equal(histogram_record(&result->service, 100 * NS_PER_MS, 1000), 0);
    struct slo met = parsed("p95<2ms"), broken = parsed("p99.5<50ms"), unclear = parsed("p99<50ms");
    assert_int_equal(slo_judge(&met, result).verdict, SLO_MET);
    assert_int_equal(slo_judge(&broken, result).verdict, SLO_BROKEN);
    struct slo_judgement judgement = slo_judge(&unclear, result);
    assert_int_equal(judgement.verdict, SLO_UNDECIDED);
    assert_true(judgement.known && judgement.low_ns < 2 * NS_PER_MS &&
                judgement.high_ns >= 100 * NS_PER_MS);
    struct slo nearly = parsed("p99.02<50ms"); /* the value is over it, the interval's end is not */
    judgement = slo_judge(&nearly, result);
    assert_true(judgement.value_ns >= 100 * NS_PER_MS);
    assert_int_equal(judgement.verdict, SLO_UNDECIDED);
    result->open_loop = true; /* then response times count, and there are none */
    judgement = slo_judge(&met, result);
    assert_int_equal(judgement.verdict, SLO_UNDECIDED);
    assert_false(judgement.known);
    free(result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_gates_say),
        cmocka_unit_test(wrong_gates_are_refused),
        cmocka_unit_test(how_many_requests_it_takes),
        cmocka_unit_test(gates_follow_the_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
