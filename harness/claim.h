/* claim.h: what a document claims, as a rule that measurements can be held against.
 *
 *   throughput uvloop/asyncio between 2 and 4        a ratio of two servers
 *   throughput uvloop/asyncio about 4 within 20 %    4 ± 20 %: 3.2 to 4.8
 *   p99 uvloop/asyncio at most 0.5
 *   throughput epoll at least 50000                  an absolute value
 *   p99 epoll at most 1ms
 *   cpu_per_request select grows over idle_connections
 *   cpu_per_request select grows by at least 2 over idle_connections
 *   cpu_per_request epoll flat within 15 % over idle_connections
 *
 *   p99 pool/inline at most 1 from some job_us on    the least value of the axis from which on the
 *                                                    rule is met in every cell, up to the last
 *
 * and behind any of them ` where size_bytes:1024 connections:3`: only in these cells. `grows` and
 * `flat` speak of the value in the last cell of an axis divided by the first one's, paired by
 * block. `from some` looks for where something begins to hold: it is judged at the cell where it
 * does, or, where it does not hold in the last cell, there.
 *
 * Absolute values are in the record's units: throughput per second, quantiles ns, cpu_per_request
 * µs, rss bytes; a rule may write them with units ("1ms", "50k", "64MiB").
 *
 * Pure: no I/O, no allocation, no globals. */
#ifndef LOOPMARK_CLAIM_H
#define LOOPMARK_CLAIM_H

#include <stdbool.h>
#include <stddef.h>

#include "loops/error.h"

enum claim_metric {
    CLAIM_METRIC_THROUGHPUT,
    CLAIM_METRIC_P50,
    CLAIM_METRIC_P99,
    CLAIM_METRIC_P999,
    CLAIM_METRIC_CPU_PER_REQUEST,
    CLAIM_METRIC_RSS,
    CLAIM_METRICS
};

struct claim_metric_info {
    const char *name;     /* as rules write it */
    double quantile;      /* 0: not a quantile */
    double samples_least; /* for ±10 % of the tail beyond the quantile; 0: not a quantile */
};
extern const struct claim_metric_info claim_metrics[CLAIM_METRICS];

enum claim_form {
    CLAIM_RATIO,    /* first ÷ second, in each cell */
    CLAIM_ABSOLUTE, /* first, in each cell */
    CLAIM_GROWTH,   /* first in the last cell of the axis ÷ in the first one */
};

enum { CLAIM_NAME_BYTES = 40, CLAIM_WHERE_BYTES = 120 };

struct claim_rule {
    enum claim_metric metric;
    enum claim_form form;
    char first[CLAIM_NAME_BYTES], second[CLAIM_NAME_BYTES]; /* servers */
    char axis[CLAIM_NAME_BYTES];   /* CLAIM_GROWTH, or onset: a knob's name */
    bool onset;                    /* "from some AXIS on" */
    char where[CLAIM_WHERE_BYTES]; /* "" or "knob:value …" */
    double low, high; /* met from low to high, both included; 0 and INFINITY are open ends */
    int direction;    /* of a ratio: 1 claims an increase, -1 a decrease, 0 neither */
};

/* -EINVAL: `error` says what is wrong and what a rule looks like. */
int claim_parse(const char *text, struct claim_rule *rule, struct error *error);

/* What was measured: filled from a struct comparison (ratios, growth) or interval (absolute). */
struct claim_evidence {
    bool missing;    /* no repetitions of it: skipped, or not in this run's cells */
    bool invalid;    /* the repetitions, or this metric of them, may not be ranked */
    bool co_limited; /* the generator was saturated too: the rate is only a lower bound */
    bool bounded;    /* false: too few blocks for an interval; low and high mean nothing */
    double estimate, low, high;
};

enum claim_verdict {
    CLAIM_REPRODUCED,     /* the whole interval meets the rule */
    CLAIM_EXCEEDED,       /* the whole interval lies beyond the rule, in the claimed direction */
    CLAIM_DIRECTION_ONLY, /* the whole interval is on the claimed side of 1, short of the rule */
    CLAIM_NOT_REPRODUCED, /* the whole interval misses the rule, and nothing of the above */
    CLAIM_NOT_SHOWN,      /* no valid, bounded evidence, or an interval across a border */
    CLAIM_VERDICTS
};

enum claim_verdict claim_judge(const struct claim_rule *rule,
                               const struct claim_evidence *evidence);

/* "reproduced", "exceeded", "direction only", "not reproduced", "not shown". */
const char *claim_verdict_name(enum claim_verdict verdict);

/* Why, as the rest of a sentence: "the interval lies wholly within the rule", "the generator was
 * saturated too, so the rate is only a lower bound". Static text. */
const char *claim_verdict_words(const struct claim_rule *rule,
                                const struct claim_evidence *evidence);

#endif
