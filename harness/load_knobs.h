/* load_knobs.h: the load generator's own knobs, the second table beside each workload's. */
#ifndef LOOPMARK_LOAD_KNOBS_H
#define LOOPMARK_LOAD_KNOBS_H

#include "workloads/knob.h"

enum transport { TRANSPORT_TCP, TRANSPORT_UNIX };

/* All are the client's. `rate` 0 is a closed loop; `arrivals` is an index like enum arrivals of
 * schedule.h, `transport` like enum transport: what an experiment's servers listen on (for `load`
 * the URL says it). */
extern const struct knob_table load_knobs;

#endif
