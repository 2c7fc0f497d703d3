/* queueing.h: what theory says of a single server with a queue, to test the instrument against.
 *
 * Requests arrive as a Poisson process and are served one at a time, first come first served. Times
 * are in any unit, the same in all arguments. Utilisation = arrival rate * mean service time, in
 * (0, 1). Quantiles are fractions, in (0, 1). Pure. */
#ifndef LOOPMARK_QUEUEING_H
#define LOOPMARK_QUEUEING_H

#include <stddef.h>
#include <stdint.h>

/* M/G/1, mean time in the queue: rate * E[S^2] / (2 (1 - utilisation)), Pollaczek and Khinchine
 * (Kleinrock, Queueing Systems I, 1975, 5.6). Of all distributions of service times only the mean
 * and the second moment matter. */
double queueing_mg1_wait_mean(double rate, double service_mean, double service_square_mean);

/* M/D/1: the probability to wait at most `wait` service times, exactly: Franx, "A simple solution
 * for the M/D/c waiting time distribution", Operations Research Letters 29 (2001), for c = 1. All
 * its terms are positive, unlike those of Erlang's formula of 1909, which it equals. Good to
 * QUEUEING_WAIT_MOST service times; beyond it is 1. */
#define QUEUEING_WAIT_MOST 1000
double queueing_md1_wait_cdf(double utilisation, double wait);

/* The wait, in service times, that a share q of all requests does not exceed: 0 where as many find
 * the server free. */
double queueing_md1_wait_quantile(double utilisation, double q);

/* M/M/1: the time in queue and service together is exponential, with mean service_mean / (1 -
 * utilisation) (Kleinrock, 5.8). */
double queueing_mm1_response_mean(double utilisation, double service_mean);
double queueing_mm1_response_quantile(double utilisation, double service_mean, double q);

/* What was, instead of what is likely: the response times of `count` requests that arrived then and
 * took so long each, in order of arrival (Lindley's recursion). `response` may be `service`. */
void queueing_replay(const uint64_t *arrival, const uint64_t *service, size_t count,
                     uint64_t *response);

#endif
