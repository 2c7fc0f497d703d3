/* queueing.c: see queueing.h. */
#include "harness/queueing.h"

#include <math.h>

#include "loops/check.h"

double queueing_mg1_wait_mean(double rate, double service_mean, double service_square_mean) {
    return rate * service_square_mean / (2 * (1 - rate * service_mean));
}

/* ---- M/D/1 ----------------------------------------------------------------------------------- */

/* P(n = k) of a Poisson number of this mean; by logarithms, as k! soon is too large. */
static double poisson(double mean, size_t k) {
    return mean > 0 ? exp((double)k * log(mean) - mean - lgamma((double)k + 1)) : k == 0;
}

/* above[k] = P(n > k) arrivals during a service. The tail is summed from its small end. */
static void arrivals_above(double utilisation, double *above, size_t count) {
    double sum = 0;
    for (size_t k = count + 30; k > 0; k--) { /* beyond 30 more nothing is left of a double */
        sum += poisson(utilisation, k);
        if (k <= count)
            above[k - 1] = sum;
    }
}

/* present[n] = P(at most n requests in the system), n < count. As often as a departure leaves j
 * behind where j + 1 were, an arrival makes more than j of at most j, so P(j + 1) follows from
 * those below it without a difference (Tijms, Algorithmic Analysis of Queues, 2003, 9.2). */
static void requests_present(double utilisation, double *present, size_t count) {
    double above[QUEUEING_WAIT_MOST + 2], exactly[QUEUEING_WAIT_MOST + 2];
    double none_arrives = poisson(utilisation, 0);
    CHECK(count <= ARRAY_LENGTH(above));
    arrivals_above(utilisation, above, count);
    present[0] = exactly[0] = 1 - utilisation;
    for (size_t j = 0; j + 1 < count; j++) {
        double up = exactly[0] * above[j];
        for (size_t i = 1; i <= j; i++)
            up += exactly[i] * above[j - i + 1];
        exactly[j + 1] = up / none_arrives;
        present[j + 1] = present[j] + exactly[j + 1];
    }
}

/* With k - 1 <= wait < k: those who find so few present that they are through k services after the
 * arrival, less the arrivals of the part of a service that lies between. */
static double wait_cdf(double utilisation, const double *present, double wait) {
    size_t k = (size_t)wait + 1;
    double between = utilisation * ((double)k - wait), sum = 0;
    for (size_t j = 0; j < k; j++)
        sum += present[k - j] * poisson(between, j);
    return sum;
}

double queueing_md1_wait_cdf(double utilisation, double wait) {
    double present[QUEUEING_WAIT_MOST + 2];
    CHECK(utilisation > 0 && utilisation < 1);
    if (!(wait >= 0))
        return 0;
    if (wait >= QUEUEING_WAIT_MOST)
        return 1;
    requests_present(utilisation, present, (size_t)wait + 2);
    return wait_cdf(utilisation, present, wait);
}

double queueing_md1_wait_quantile(double utilisation, double q) {
    double present[QUEUEING_WAIT_MOST + 2], low = 0, high = QUEUEING_WAIT_MOST;
    CHECK(utilisation > 0 && utilisation < 1 && q > 0 && q < 1);
    if (q <= 1 - utilisation)
        return 0;
    requests_present(utilisation, present, ARRAY_LENGTH(present));
    for (int halvings = 0; halvings < 60; halvings++) {
        double middle = (low + high) / 2;
        *(wait_cdf(utilisation, present, middle) < q ? &low : &high) = middle;
    }
    return high;
}

/* ---- M/M/1 ----------------------------------------------------------------------------------- */

double queueing_mm1_response_mean(double utilisation, double service_mean) {
    return service_mean / (1 - utilisation);
}

double queueing_mm1_response_quantile(double utilisation, double service_mean, double q) {
    return -log1p(-q) * queueing_mm1_response_mean(utilisation, service_mean);
}

/* ---- what was -------------------------------------------------------------------------------- */

void queueing_replay(const uint64_t *arrival, const uint64_t *service, size_t count,
                     uint64_t *response) {
    uint64_t free_at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = arrival[i] > free_at ? arrival[i] : free_at;
        free_at = begin + service[i];
        response[i] = free_at - arrival[i];
    }
}
