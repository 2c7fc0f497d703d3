/* load_step.h: one step of a search or a sweep: an open-loop load at one rate, and what it says. */
#ifndef LOOPMARK_LOAD_STEP_H
#define LOOPMARK_LOAD_STEP_H

#include <jansson.h>

#include "harness/load.h"
#include "harness/load_options.h"
#include "harness/progress.h"
#include "harness/slo.h"
#include "harness/validity.h"

enum { STEP_P50, STEP_P99, STEP_P999, STEP_QUANTILES };
extern const double step_quantiles[STEP_QUANTILES];
extern const char *const step_quantile_names[STEP_QUANTILES]; /* "p50", "p99", "p99.9" */

struct step_latency {
    bool measured; /* there are enough samples for it and its interval */
    bool known;    /* and it is not one that the generator's own lag may have made */
    uint64_t value_ns, low_ns, high_ns;
};

struct load_step {
    double rate, achieved_rate;
    uint64_t requests;
    struct step_latency latencies[STEP_QUANTILES];
    struct step_latency objective; /* the options' objective's quantile, if there is one */
    enum slo_verdict verdict;      /* slo_judge's of it */
    double busy;
    enum fault fault;          /* the server's: also what a short run alone would not show as it */
    bool only_slower;          /* as in validity.h */
    bool missed;               /* far fewer requests were sent than due, whosever fault that is */
    char reason[REASON_BYTES]; /* of the fault; else empty */
    json_t *record;            /* the keys of `load --json`, and `rate` */
};

/* Is the server behind: has it answered so much less than was due in the window that the rest only
 * piles up? The rest may fit into the connections and its latency under a limit while the run is
 * short. What was still to come at the window's ends is allowed for. Pure. */
bool load_step_falls_behind(const struct load_result *result, double warmup_ns);

/* Loads at `rate` for `length_ns` after the options' warm-up, and judges it by the objective; sets
 * the plan's rate and duration. Blocks. -EINTR: interrupted; other errors: the load failed. On any
 * error there is nothing to free. */
int load_step_run(struct load_options *options, double rate, double length_ns,
                  struct progress *progress, struct load_step *step, struct error *error);
void load_step_free(struct load_step *step);

/* Waits for the load to end and shows how far it is; an interrupt ends it early. */
void load_step_watch(struct load *load, const struct load_plan *plan, struct progress *progress);

/* "p99 2.10 ms (1.90 ms to 2.40 ms)", or "p99 not known". */
#define STEP_TEXT_BYTES 160
char *load_step_latency_text(const char *name, const struct step_latency *latency,
                             char text[STEP_TEXT_BYTES]);

#endif
