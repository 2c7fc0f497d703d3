/* report_cost.h: the section "where the time goes" of a report: what of a request's CPU time is the
 * kernel's floor, what the interface of our loops, what the loop, and what batching does to it. */
#ifndef LOOPMARK_REPORT_COST_H
#define LOOPMARK_REPORT_COST_H

#include "harness/report_page.h"

/* Nothing for experiments without floor, or of latency. */
void report_cost_put(const struct page *page, const struct summary_experiment *experiment);

#endif
