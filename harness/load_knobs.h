/* load_knobs.h: the load generator's own knobs, the second table beside each workload's. */
#ifndef LOOPMARK_LOAD_KNOBS_H
#define LOOPMARK_LOAD_KNOBS_H

#include "workloads/knob.h"

enum transport { TRANSPORT_TCP, TRANSPORT_UNIX };

/* Which statuses count as errors. */
enum status_errors { STATUS_ERRORS_4XX, STATUS_ERRORS_5XX, STATUS_ERRORS_NONE };

/* When the server's host name is looked up; what keeps more of it comes later. */
enum resolve { RESOLVE_CONNECTION, RESOLVE_ONCE };

/* The first status that does. */
int status_errors_from(enum status_errors which);

/* All are the client's. `rate` 0 is a closed loop; `arrivals` is an index like enum arrivals of
 * schedule.h, `transport` like enum transport: what an experiment's servers listen on (for `load`
 * the URL says it), `status_errors` like enum status_errors, `resolve` like enum resolve: an
 * experiment's servers are called localhost, and for `load` the URL has the name. */
extern const struct knob_table load_knobs;

#endif
