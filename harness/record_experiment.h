/* record_experiment.h: an experiment as it stands in a record (results/README.md). */
#ifndef LOOPMARK_RECORD_EXPERIMENT_H
#define LOOPMARK_RECORD_EXPERIMENT_H

#include <jansson.h>

#include "harness/experiment.h"

/* With the cells that are to be measured. Runs the servers' version commands. `skipped` is shared:
 * what is appended to it later is in the object too. The object is the caller's. */
json_t *record_experiment(const struct experiment *experiment, const struct cell *cells,
                          size_t cell_count, json_t *skipped);

#endif
