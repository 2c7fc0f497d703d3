/* private_postgres.h: a PostgreSQL of our own, from nothing to gone.
 *
 * Made by initdb in a temporary folder, reachable only through a unix socket in it, filled with the
 * sample table (workloads/drivers/sample_table.h). Its data is worth nothing, and its settings say
 * so: what is measured is the way to a database that answers at once, not its disk. As root, it
 * runs as the user postgres, or nobody. Making it takes seconds: it is meant to serve a whole run.
 *
 * It is gone afterwards, whatever happens to us. A guardian process, in a session of its own, is
 * the parent of all that belongs to the server. When we end, by private_postgres_stop or by any
 * signal, it ends the server (SIGINT, then SIGQUIT, then SIGKILL), and removes the folder; that
 * takes some milliseconds, and seven seconds at most. Should the guardian itself be killed, the
 * server ends at once and only the folder stays, which private_postgres_stop then removes.
 *
 * One thread. All calls block. */
#ifndef LOOPMARK_PRIVATE_POSTGRES_H
#define LOOPMARK_PRIVATE_POSTGRES_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#include "loops/error.h"

struct private_postgres_plan {
    unsigned max_connections; /* 0: PRIVATE_POSTGRES_CONNECTIONS */
    cpu_set_t cpus;           /* empty: anywhere */
};

enum { PRIVATE_POSTGRES_CONNECTIONS = 100 };

struct private_postgres {
    pid_t guardian;
    pid_t server; /* the postmaster: for private_postgres_restart a new one */
    int life_fd;  /* the guardian ends the server when this closes */
    char folder[80];
    char target[160];  /* for the driver, and for psql */
    char version[128]; /* "15.4 (Debian 15.4-1)" */
};

/* What it is set to beside max_connections, in the order of the table; for the record. The list
 * ends with a null name. */
struct private_postgres_setting {
    const char *name, *value;
};
extern const struct private_postgres_setting private_postgres_settings[];

/* Returns when it answers. -ENOTSUP: not built with libpq; -ENOENT: the server's programs are not
 * installed; -EINTR: interrupted (interrupt.h). On failure nothing is left. */
int private_postgres_start(const struct private_postgres_plan *plan,
                           struct private_postgres *postgres, struct error *error);

/* True while the server runs; otherwise `error` says that it ended. */
bool private_postgres_alive(struct private_postgres *postgres, struct error *error);

/* Ends every connection and starts the server again, with the data it had. */
int private_postgres_restart(struct private_postgres *postgres, struct error *error);

/* Nothing is left on return. No effect on one that is all zero or was stopped. */
void private_postgres_stop(struct private_postgres *postgres);

#endif
