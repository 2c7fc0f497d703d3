/* slo.c: see slo.h. */
#include "harness/slo.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/validity.h"

#define CONFIDENCE 0.95

const char *const slo_verdict_names[] = {
    [SLO_MET] = "met", [SLO_BROKEN] = "broken", [SLO_UNDECIDED] = "undecided"};

/* "p99.9" -> 0.999; where it ends in `*end`. */
static int take_quantile(const char *text, double *q, const char **end) {
    char *after;
    if (*text != 'p' || text[1] < '0' || text[1] > '9')
        return -EINVAL;
    double percent = strtod(text + 1, &after);
    *q = percent / 100;
    *end = after;
    return percent > 0 && percent < 100 ? 0 : -EINVAL;
}

int slo_parse(const char *text, struct slo *slo, struct error *error) {
    static const struct knob limit = {
        .name = "limit", .type = KNOB_TIME, .least = 1, .most = 3600.0 * NS_PER_S};
    struct error why;
    const char *at;
    double limit_ns;
    if (strlen(text) >= sizeof slo->text || take_quantile(text, &slo->q, &at) || *at != '<')
        return error_set(error, -EINVAL,
                         "--slo '%s' does not look like p99<10ms: a percentile between p0 and "
                         "p100, < and a time",
                         text);
    at += at[1] == '=' ? 2 : 1;
    if (knob_parse(&limit, at, &limit_ns, &why))
        return error_set(error, -EINVAL, "--slo '%s': %s", text, why.text);
    slo->limit_ns = (uint64_t)limit_ns;
    snprintf(slo->text, sizeof slo->text, "%s", text);
    return 0;
}

/* Of n samples the largest is over the quantile with probability 1 - q^n. */
uint64_t slo_least_requests(const struct slo *slo) {
    double rarer = fmax(slo->q, 1 - slo->q);
    return (uint64_t)ceil(log((1 - CONFIDENCE) / 2) / log(rarer));
}

struct slo_judgement slo_judge(const struct slo *slo, const struct load_result *result) {
    const struct histogram *latency = load_latency(result);
    struct slo_judgement judgement = {.verdict = SLO_UNDECIDED};
    if (validity_lag_matters(result, slo->q) ||
        !histogram_quantile_interval(latency, slo->q, CONFIDENCE, &judgement.low_ns,
                                     &judgement.high_ns))
        return judgement;
    judgement.known = true;
    judgement.value_ns = histogram_quantile(latency, slo->q);
    if (judgement.high_ns < slo->limit_ns)
        judgement.verdict = SLO_MET;
    else if (judgement.low_ns >= slo->limit_ns)
        judgement.verdict = SLO_BROKEN;
    return judgement;
}
