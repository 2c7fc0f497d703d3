/* database_routes.h: what the workload `database` serves: rows of the table of
 * drivers/sample_table.h, one query a request.
 *
 *   /row/ID           the row with that id
 *   /rows/N[/FIRST]   N rows from the id FIRST on, at most DATABASE_ROWS_MOST; without it, from a
 *                     pseudo-random one
 *   /update/ID        POST or PUT: adds 1 to the value of that row, and gives the row; 405
 *                     otherwise, 403 unless writing is allowed
 *   /slow/MS          MS, after the database has slept for that long; at most an hour
 *   /calls/N/MS       `N MS`, after N queries have slept for MS each, `at_once` of them at a
 *                     time; N is at most DATABASE_CALLS_MOST. When one fails no others begin, and
 *                     the first failure is the answer once those under way have ended
 *   /mix[/ID]         of 20 requests, in an order that looks random: 16 as /row, 3 as /rows of
 *                     DATABASE_MIX_ROWS, 1 as /update (as /row unless writing is allowed), whatever
 *                     the method; without ID, a pseudo-random one
 *
 * Rows are lines `id value payload`. Else:
 *   404  no such row, or none of these paths
 *   500  the database has refused the query or broken the connection; its words are the body
 *   503  no connection was to be had, within the time for it or because the server stops
 *   504  the query was not answered in time. Its connection is used no more: the database is asked
 *        to cancel, and if that does not help within a second, the connection is closed
 *
 * A query whose client has gone goes on, and nobody gets its answer; one that waits for a
 * connection leaves the line. Of /calls those that have begun go on, and no others begin. Nothing
 * is allocated for a request, once there were as many at a time. All of it belongs to the loop's
 * thread. */
#ifndef LOOPMARK_DATABASE_ROUTES_H
#define LOOPMARK_DATABASE_ROUTES_H

#include "database_access.h"
#include "http_routes.h"

enum { DATABASE_ROWS_MOST = 10000, DATABASE_MIX_ROWS = 20, DATABASE_CALLS_MOST = 1000 };

/* What begin() gets as its data. */
struct database_routes {
    struct loop *loop;
    struct access *access;
    const struct db_driver *driver;
    uint64_t command_ns; /* 0: no limit */
    bool writes;
    uint32_t at_once; /* queries of one request of /calls */
    /* Its own; zero at first. */
    struct job *idle_jobs;
    uint32_t jobs; /* under way */
    uint64_t requests, errors, timeouts;
};

extern const struct http_routes database_http_routes;

/* When no job is under way. */
void database_routes_free(struct database_routes *routes);

#endif
