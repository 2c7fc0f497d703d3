/* test_queueing.c: theory against other theory, against itself, and against simulated queues. */
#include "harness/queueing.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "harness/random.h"

#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

enum { SIMULATED = 1000000 };

/* Erlang's formula, P(W <= x) = (1 - u) * sum over j = 0 … floor(x) of (-u (x - j))^j / j! * exp(u
 * (x - j)), computed with 120 decimal digits (Python's decimal), since its terms cancel. */
static const struct {
    double utilisation, wait, share;
} erlang[] = {
    {0.1, 0, 0.9},
    {0.1, 0.5, 0.9461439867384216},
    {0.1, 1, 0.9946538262680829},
    {0.1, 2.25, 0.9998996134803074},
    {0.1, 7.5, 0.9999999999994426},
    {0.1, 20, 1.0},
    {0.5, 0, 0.5},
    {0.5, 0.5, 0.6420127083438707},
    {0.5, 1, 0.8243606353500641},
    {0.5, 2.25, 0.9607079239062384},
    {0.5, 7.5, 0.9999465752174809},
    {0.5, 20, 0.999999999991928},
    {0.8, 0, 0.2},
    {0.8, 0.5, 0.29836493952825405},
    {0.8, 1, 0.44510818569849353},
    {0.8, 2.25, 0.6711587382234209},
    {0.8, 7.5, 0.9657727639180652},
    {0.8, 20, 0.9998431563692987},
    {0.8, 60.5, 0.9999999999958561},
    {0.95, 0, 0.05},
    {0.95, 0.5, 0.08040070987428914},
    {0.95, 1, 0.12928548296579231},
    {0.95, 2.25, 0.23101583258265304},
    {0.95, 7.5, 0.5492480475871145},
    {0.95, 20, 0.8736111956988284},
    {0.95, 60.5, 0.9979465382770248},
};

static void franx_equals_erlang(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(erlang); i++)
        assert_near(queueing_md1_wait_cdf(erlang[i].utilisation, erlang[i].wait), erlang[i].share,
                    1e-12);
}

static void the_ends_of_a_distribution(void **state) {
    (void)state;
    assert_true(queueing_md1_wait_cdf(0.5, -0.001) == 0);
    assert_true(queueing_md1_wait_cdf(0.5, NAN) == 0);
    assert_true(queueing_md1_wait_cdf(0.5, QUEUEING_WAIT_MOST) == 1);
    assert_near(queueing_md1_wait_cdf(0.5, QUEUEING_WAIT_MOST - 0.5), 1, 1e-9);
    /* No jumps where another service begins. */
    for (int wait = 1; wait < 200; wait++)
        assert_near(queueing_md1_wait_cdf(0.99, wait - 1e-9), queueing_md1_wait_cdf(0.99, wait),
                    1e-9);
}

/* By the same formula and halving. */
static void quantiles_of_md1(void **state) {
    (void)state;
    static const struct {
        double utilisation, q, wait;
    } known[] = {
        {0.5, 0.25, 0},
        {0.5, 0.75, 0.810930216216},
        {0.5, 0.9, 1.51574484138},
        {0.5, 0.99, 3.336255957},
        {0.5, 0.999, 5.16838503096},
        {0.8, 0.25, 0.278929439143},
        {0.8, 0.75, 2.88427308244},
        {0.8, 0.9, 5.01151149845},
        {0.8, 0.99, 10.355886792},
        {0.8, 0.999, 15.7002681941},
        {0.95, 0.25, 2.49512769267},
        {0.95, 0.99, 44.9377655084},
        {0.95, 0.999, 67.5733021557},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++)
        assert_near(queueing_md1_wait_quantile(known[i].utilisation, known[i].q), known[i].wait,
                    1e-9);
}

/* The mean is the integral of what lies above the distribution. */
static void mean_and_distribution_agree(void **state) {
    (void)state;
    static const double utilisations[] = {0.2, 0.5, 0.8};
    for (size_t i = 0; i < ARRAY_LENGTH(utilisations); i++) {
        double sum = 0, step = 0.01;
        for (double wait = step / 2; wait < 80; wait += step)
            sum += (1 - queueing_md1_wait_cdf(utilisations[i], wait)) * step;
        assert_near(sum, queueing_mg1_wait_mean(utilisations[i], 1, 1), 1e-4);
    }
}

/* Exponential: E[S^2] = 2 E[S]^2. A wait and a service are a response. */
static void mg1_knows_mm1(void **state) {
    (void)state;
    assert_near(queueing_mg1_wait_mean(0.007, 100, 2 * 100 * 100) + 100,
                queueing_mm1_response_mean(0.7, 100), 1e-9);
    assert_near(queueing_mg1_wait_mean(0.008, 100, 100 * 100), 200, 1e-9); /* u / 2 (1 - u) */
}

/* rate - arrivals = 0.01 - 0.007 = 0.003 per unit: ln(2) / 0.003 and ln(100) / 0.003. */
static void quantiles_of_mm1(void **state) {
    (void)state;
    assert_near(queueing_mm1_response_quantile(0.7, 100, 0.5), 231.0490601866, 1e-9);
    assert_near(queueing_mm1_response_quantile(0.7, 100, 0.99), 1535.0567286627, 1e-9);
}

/* ---- replayed ------------------------------------------------------------------------------- */

/* The third finds it free, though the one before has long gone; the fourth as it becomes so. */
static void a_queue_by_hand(void **state) {
    (void)state;
    const uint64_t arrival[] = {10, 12, 40, 45, 46}, service[] = {5, 5, 5, 1, 1};
    const uint64_t expected[] = {5, 8, 5, 1, 1};
    uint64_t response[5];
    queueing_replay(arrival, service, 5, response);
    assert_memory_equal(response, expected, sizeof expected);
}

/* In place, and with one that takes long: all behind it wait. */
static void a_stall_by_hand(void **state) {
    (void)state;
    const uint64_t arrival[] = {10, 12, 14, 100};
    const uint64_t expected[] = {50, 49, 48, 2};
    uint64_t times[] = {50, 1, 1, 2};
    queueing_replay(arrival, times, 4, times);
    assert_memory_equal(times, expected, sizeof expected);
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

struct simulated {
    double mean, p99;
};

/* The first tenth is warm-up. */
static struct simulated simulate(double utilisation, bool exponential) {
    struct random random;
    uint64_t *arrival = calloc(SIMULATED, sizeof *arrival);
    uint64_t *service = calloc(SIMULATED, sizeof *service);
    const size_t first = SIMULATED / 10, count = SIMULATED - first;
    double now = 0, sum = 0;
    assert_non_null(arrival);
    assert_non_null(service);
    random_seed(&random, 3);
    for (size_t i = 0; i < SIMULATED; i++) {
        now += -log(random_unit(&random)) * 1e6 / utilisation;
        arrival[i] = (uint64_t)now;
        service[i] = (uint64_t)(exponential ? -log(random_unit(&random)) * 1e6 : 1e6);
    }
    queueing_replay(arrival, service, SIMULATED, service);
    for (size_t i = first; i < SIMULATED; i++)
        sum += (double)service[i];
    qsort(service + first, count, sizeof *service, by_value);
    struct simulated simulated = {sum / (double)count / 1e6,
                                  (double)service[first + count * 99 / 100] / 1e6};
    free(arrival);
    free(service);
    return simulated;
}

/* A million requests with a fixed seed are within about 2 % at a utilisation of 0.8. */
static void theory_is_what_happens(void **state) {
    (void)state;
    static const double utilisations[] = {0.5, 0.8};
    for (size_t i = 0; i < ARRAY_LENGTH(utilisations); i++) {
        double u = utilisations[i];
        struct simulated constant = simulate(u, false), exponential = simulate(u, true);
        assert_near(constant.mean / (queueing_mg1_wait_mean(u, 1, 1) + 1), 1, 0.02);
        assert_near(constant.p99 / (queueing_md1_wait_quantile(u, 0.99) + 1), 1, 0.04);
        assert_near(exponential.mean / queueing_mm1_response_mean(u, 1), 1, 0.03);
        assert_near(exponential.p99 / queueing_mm1_response_quantile(u, 1, 0.99), 1, 0.05);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(franx_equals_erlang),    cmocka_unit_test(the_ends_of_a_distribution),
        cmocka_unit_test(quantiles_of_md1),       cmocka_unit_test(mean_and_distribution_agree),
        cmocka_unit_test(mg1_knows_mm1),          cmocka_unit_test(quantiles_of_mm1),
        cmocka_unit_test(a_queue_by_hand),        cmocka_unit_test(a_stall_by_hand),
        cmocka_unit_test(theory_is_what_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
