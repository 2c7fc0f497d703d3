/* record.h: results as JSON, as results/README.md describes them. */
#ifndef LOOPMARK_RECORD_H
#define LOOPMARK_RECORD_H

#include <jansson.h>

#include "harness/load.h"
#include "harness/validity.h"

#define RECORD_SCHEMA 1

/* What `load --json` prints: the keys from `schema` to `server`. The caller's reference. */
json_t *record_load(const struct load_plan *plan, const struct load_result *result,
                    const struct validity *validity);

/* Every knob's value: times as NAME_ns, rates as NAME_per_s, choices as words, flags as booleans.
 */
json_t *record_knobs(const struct knob_values *knobs);

/* CPU µs of the server in the window per answer that came in it; negative: not known. */
double record_server_cpu_us(const struct load_result *result);

#endif
