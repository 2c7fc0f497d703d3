/* offload_client.h: asks the workload `offload`: the HTTP client with one request, which the knob
 * `request` names: /light, /job, /mix, or /passes with the knob `passes`. A request set that is
 * given is asked instead. */
#ifndef LOOPMARK_OFFLOAD_CLIENT_H
#define LOOPMARK_OFFLOAD_CLIENT_H

#include "workload.h"

extern const char *const offload_request_words[]; /* null-terminated */

extern const struct workload_client offload_client;

#endif
