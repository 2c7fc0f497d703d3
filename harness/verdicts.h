/* verdicts.h: the claims of a run, each judged in every cell that it speaks of.
 *
 * The rules and their words are claim.h's, the numbers summary.h's; this brings the two together.
 */
#ifndef LOOPMARK_VERDICTS_H
#define LOOPMARK_VERDICTS_H

#include <stddef.h>

#include "harness/claim.h"
#include "harness/summary.h"

/* The last cell of its axis in which an onset does not hold yet. */
struct verdict_below {
    const struct summary_cell *cell; /* null: it holds in all, or in none */
    enum claim_verdict verdict;
    struct claim_evidence evidence;
    size_t blocks;
};

struct verdict_line {
    const struct summary_cell *cell; /* for growth: the one with the axis' last value; for an onset:
                                      * the one it holds from, or the last */
    const struct summary_cell *first; /* for growth: the one with its first value; else null */
    struct verdict_below below;
    enum claim_verdict verdict;
    const char *because; /* rest of a sentence */
    struct claim_evidence evidence;
    size_t blocks;
};

struct judged_claim {
    const char *name, *says, *text;
    struct claim_rule rule;
    bool readable; /* false: a rule of another version; then there are no lines */
    struct verdict_line *lines;
    size_t count;
};

struct judged_claims {
    struct judged_claim *claims;
    size_t count;
};

/* 0, -ENOMEM or -E2BIG. Free in either case. */
int verdicts_judge(const struct summary *summary, const struct summary_experiment *experiment,
                   struct judged_claims *judged);
void verdicts_free(struct judged_claims *judged);

#endif
