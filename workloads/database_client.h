/* database_client.h: asks the workload `database`: the HTTP client with 1,024 requests of
 * pseudo-random ids, the same in every run. When it verifies, each answer 200 has to begin with the
 * id that its request asked for; that of several calls with their number. */
#ifndef LOOPMARK_DATABASE_CLIENT_H
#define LOOPMARK_DATABASE_CLIENT_H

#include "workload.h"

enum database_query { QUERY_ROW, QUERY_ROWS, QUERY_UPDATE, QUERY_SLOW, QUERY_CALLS, QUERY_MIX };
extern const char *const database_query_words[]; /* null-terminated */

/* Reads the knobs `query`, `rows`, `slow_time` and `calls`. A request set that is given is asked as
 * it is, without a look at ids. */
extern const struct workload_client database_client;

#endif
