/* database_access.h: a connection to the database for each query: one of a pool, or one of its own
 * that is made for the query and closed after it.
 *
 * A lease is one turn on a connection: it is acquired, becomes ready with a connection or an error,
 * and is released when its query has ended. All of it belongs to the loop's thread, and no callback
 * comes inside a call. Leases are embedded by the caller; each is access's from acquire until it is
 * over. */
#ifndef LOOPMARK_DATABASE_ACCESS_H
#define LOOPMARK_DATABASE_ACCESS_H

#include "drivers/driver.h"
#include "techniques/pool.h"

struct access;

struct access_options {
    const struct db_driver *driver;
    struct db_options db;
    bool pooled;
    struct pool_options pool; /* its acquire_ns also limits the making of each connection */
};

struct access_lease {
    /* err 0: `connection` is there. Otherwise the lease is over: -ETIMEDOUT, -ECANCELED (stopped),
     * or what the connect failed with. */
    void (*ready)(struct access_lease *lease, int err);
    /* It is over, where a call has said ACCESS_LATER. */
    void (*over)(struct access_lease *lease);
    struct db_connection *connection;
    /* The rest is access's. */
    struct access *access;
    struct pool_waiter waiter;
    struct pool_member *member;
    struct db_connection own;
    struct timer limit;
    int state, err;
    uint64_t since_ns;
    struct access_lease *previous, *next; /* of those with a connection of their own */
};

int access_open(struct loop *loop, const struct access_options *options, struct access **access,
                struct error *error);

enum { ACCESS_LATER = 0, ACCESS_NOW = 1 };

/* `lease`: zero but for its callbacks. ACCESS_NOW: ready, without a call; ACCESS_LATER: `ready`
 * comes; a negative errno: neither, and it is over. */
int access_acquire(struct access *access, struct access_lease *lease);
/* Before it is ready: now it never will be. ACCESS_NOW: it is over. */
int access_leave(struct access_lease *lease);
/* After its query has ended. ACCESS_NOW: it is over. */
int access_release(struct access_lease *lease);
/* The connection is of no more use after this lease. */
void access_retire(struct access_lease *lease);
/* Asks the database to give up the query; and breaks the connection off, with all its queries. */
void access_cancel(struct access_lease *lease);
void access_break(struct access_lease *lease);

/* Acquires nothing any more, and closes what is not leased. Once. */
void access_stop(struct access *access);
/* Breaks off every connection. */
void access_break_all(struct access *access);
/* After access_stop: nothing is open and no lease under way. */
bool access_is_stopped(const struct access *access);
/* When it is stopped. */
void access_free(struct access *access);

/* Of connections, acquired and waits in all; for connections of their own the time to connect
 * counts as a wait. Waits in steps of an eighth. */
struct access_counters {
    struct pool_counters pool; /* all zero where there is none, but what is said above */
    struct db_counters db;
    double wait_mean_ns, wait_p50_ns, wait_p99_ns; /* of all acquired; 0 while there are none */
};
void access_read_counters(const struct access *access, struct access_counters *counters);

#endif
