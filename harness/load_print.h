/* load_print.h: what came of a load, for people: the line while it runs, and the table after it. */
#ifndef LOOPMARK_LOAD_PRINT_H
#define LOOPMARK_LOAD_PRINT_H

#include "harness/load_options.h"
#include "harness/progress.h"
#include "harness/validity.h"

/* Of the load under way since `since_ns`. */
void load_print_progress(struct progress *progress, const struct load_plan *plan,
                         const struct load_result *result, uint64_t since_ns);

/* To stdout. `judgements`: one for each of the options' gates. */
void load_print_result(const struct load_options *options, const struct load_result *result,
                       const struct validity *validity, const struct slo_judgement *judgements);

#endif
