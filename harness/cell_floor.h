/* cell_floor.h: the kernel floor (floor.h) of the cells of an experiment.
 *
 * It is measured in every block, at a random place among the servers of the cell, because machines
 * drift: a server's CPU per request is then divided by a floor of the same minute. It is short
 * (about 0.3 s beside some seconds for each server), as a lockstep varies less than a load. */
#ifndef LOOPMARK_CELL_FLOOR_H
#define LOOPMARK_CELL_FLOOR_H

#include <jansson.h>
#include <stdbool.h>

#include "harness/environment.h"
#include "harness/floor.h"
#include "workloads/workload.h"

struct cell_floor {
    bool known; /* there is a floor for what this cell asks for, and it could be measured so far */
    struct floor_plan plan;
    double us_per_request; /* of the latest measurement; NAN before, and when it failed */
};

/* `knobs`: what the servers of the cell run with. Only echo has a floor: of other workloads it is
 * not known which bytes a server must move. With more than one request in flight there is none
 * either: how many of them one read takes is the loop's own doing. */
struct cell_floor cell_floor_plan(const struct workload *workload, const struct knob_values *knobs,
                                  const struct cpu_plan *cpus);

/* About how long one measurement takes, 0 if there is none. */
double cell_floor_duration_ns(const struct cell_floor *floor);

/* As floor_measure; after a failure that is not -EINTR `known` is false: not tried again. */
int cell_floor_measure(struct cell_floor *floor, struct error *error);

/* Writes the latest value to the repetitions from index `first` on, and forgets it. */
void cell_floor_record(struct cell_floor *floor, json_t *repetitions, size_t first);

#endif
