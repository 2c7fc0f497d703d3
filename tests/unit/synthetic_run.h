/* synthetic_run.h: records of runs that nobody measured, for tests of what is derived from them.
 *
 * One experiment, "made-up". Everything returned belongs to the run; free it with json_decref. */
#ifndef LOOPMARK_SYNTHETIC_RUN_H
#define LOOPMARK_SYNTHETIC_RUN_H

#include <jansson.h>

/* `measure` is "capacity" or "latency"; names of axes and servers are separated by blanks. */
json_t *synthetic_run(const char *measure, const char *axes, const char *servers);

/* A valid repetition: `per_s` answers at 1e6/per_s µs of CPU each, p50, p99 and p99.9 of 1, 4 and 9
 * times 1e9/per_s ns from 400,000 responses; bound by the server in capacity, by nothing in
 * latency. */
json_t *synthetic_repetition(json_t *run, const char *cell, const char *server, int block,
                             double per_s);

/* Sets the member at a dotted path whose objects exist; takes `value`. */
void synthetic_set(json_t *object, const char *path, json_t *value);

void synthetic_invalidate(json_t *repetition, const char *reason);
void synthetic_claim(json_t *run, const char *name, const char *rule);
json_t *synthetic_experiment(json_t *run);

#endif
