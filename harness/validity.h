/* validity.h: may this number be believed, and of what does it speak?
 *
 * Part of every result. An invalid one is printed with its reasons and never ranked. Pure. */
#ifndef LOOPMARK_VALIDITY_H
#define LOOPMARK_VALIDITY_H

#include <stdbool.h>
#include <stddef.h>

#include "harness/bound.h"
#include "harness/load.h"
#include "harness/trend.h"

enum { REASONS_MOST = 12, REASON_BYTES = 200 };

/* Who has to do better for the next try to be valid: of the first that applies, the machine (others
 * took CPU time), the generator (too busy or late), the server (unstable, errors). */
enum fault { FAULT_NONE, FAULT_SERVER, FAULT_GENERATOR, FAULT_MACHINE };

struct validity {
    bool valid;
    enum bound bound;
    double server_busy; /* share of the CPUs it may use; negative: not known */
    double steal_share;
    bool machine_only;  /* not valid, and only because others took CPU time */
    enum fault fault;   /* of validity_judge's own reasons */
    /* Open loop: whatever is wrong can have made response times longer, never shorter: all that was
     * due was sent and answered. What keeps to a limit in spite of it keeps to it. */
    bool only_slower;
    struct trend drift; /* of the seconds' p50 (open loop) or rate (closed); not known of ramps */
    bool unstable;      /* open loop: more was offered than is taken, so that latency only grows */
    char note[REASON_BYTES]; /* a drift that does not make it invalid; may be empty */
    size_t reason_count;
    char reasons[REASONS_MOST][REASON_BYTES];
};

/* `server_cpus`: how many CPUs the server may use, 0 when not known. `shared_cpu`: server and
 * generator were given the same one, so waiting for it is expected (and the whole run is not
 * ranked). */
void validity_judge(const struct load_result *result, const struct load_plan *plan, int server_cpus,
                    bool shared_cpu, struct validity *validity);

/* True if so much of the response time at this quantile may be the generator's own lag that the
 * quantile says little of the server: over a tenth of it, and over 50 us. At p50 and p99 that makes
 * the result invalid; beyond, the quantile alone is not known. */
bool validity_lag_matters(const struct load_result *result, double q);

/* Adds a reason and makes the result invalid. */
void validity_refuse(struct validity *validity, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
