/* load_search_run.h: `load --find-max`: the search of load_search.h on a real server. */
#ifndef LOOPMARK_LOAD_SEARCH_RUN_H
#define LOOPMARK_LOAD_SEARCH_RUN_H

#include "harness/load_options.h"
#include "harness/load_search.h"
#include "harness/load_step.h"

/* What the options ask for. */
struct search_plan load_search_plan_of(const struct load_options *options);

/* How a step went, by the options' objective. It holds also where it is not valid if what is wrong
 * can only have made response times longer (validity.h): what keeps under the limit in spite of it
 * keeps under it. Pure. */
enum search_verdict load_search_verdict(const struct load_options *options,
                                        const struct load_step *step);

/* Of a search that is over: 0 found, 3 no rate holds, 4 it could not be decided (strict), 5
 * generator or machine were the limit. Pure. */
int load_search_exit_code(const struct load_search *search, bool strict);

/* A line a step on stderr, the result on stdout. Returns load_search_exit_code, 130 interrupted;
 * what is known is printed in all cases. 1: a load failed. */
int load_search_run(struct load_options *options, struct error *error);

#endif
