/* slo.h: gates: does a latency keep to its objective, beyond what chance within the run explains?
 *
 * "p99<10ms": at most 1 % of the requests take 10 ms or longer. What is compared is the interval
 * around the measured quantile (95 %, histogram.h): met when the whole of it is under the limit,
 * broken when the whole of it is over, else undecided. Pure. */
#ifndef LOOPMARK_SLO_H
#define LOOPMARK_SLO_H

#include "harness/load.h"

struct slo {
    char text[32]; /* as it was given */
    double q;      /* 0.99 */
    uint64_t limit_ns;
};

enum slo_verdict { SLO_MET, SLO_BROKEN, SLO_UNDECIDED };
extern const char *const slo_verdict_names[];

struct slo_judgement {
    enum slo_verdict verdict;
    bool known; /* false: too few samples, or the generator's lag may have made them */
    uint64_t value_ns, low_ns, high_ns;
};

/* "p99<10ms", "p99.9<=1s", "p50<300us". -EINVAL. */
int slo_parse(const char *text, struct slo *slo, struct error *error);

/* The least number of requests from which the quantile has an interval. */
uint64_t slo_least_requests(const struct slo *slo);

struct slo_judgement slo_judge(const struct slo *slo, const struct load_result *result);

#endif
