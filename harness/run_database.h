/* run_database.h: the PostgreSQL that a run's servers ask: the user's own, or a private one
 * (private_postgres.h) that is started when the first server needs it, on the servers' CPUs, and
 * stopped with the run.
 *
 * A server needs one when its knob `driver` says `postgres`, or `any` while there is one of the
 * user's; it then gets the target by DATABASE_VARIABLE (workloads/database.h). One thread; all
 * calls that talk to it block. */
#ifndef LOOPMARK_RUN_DATABASE_H
#define LOOPMARK_RUN_DATABASE_H

#include <jansson.h>

#include "harness/experiment.h"
#include "harness/private_postgres.h"

struct run_database {
    const char *given;        /* the target of the user's own; null: a private one */
    unsigned max_connections; /* of a private one */
    cpu_set_t cpus;           /* of a private one; empty: anywhere */
    /* Its own; zero at first. */
    bool tried;
    int failure;
    struct error error;
    struct private_postgres postgres;
};

/* Is the target that of a PostgreSQL which may be named on a command line? A password may not:
 * every user can read command lines, and this one goes into the record. -EINVAL: it is not. */
int run_database_check(const char *target, struct error *error);
/* The target in DATABASE_VARIABLE, null unless it is of a PostgreSQL. */
const char *run_database_from_environment(void);

/* Do these knobs ask for it? False for workloads without a database. */
bool run_database_needed(const struct run_database *database, const struct knob_values *knobs);
/* Do queries run beside the server's loop, in threads of its own or in a database? */
bool run_database_beside(const struct knob_values *knobs);

/* How many connections the experiments take of a private one at most, and half of that again for
 * those of one server that still close when the next begins. */
unsigned run_database_connections(struct experiment *const *experiments, size_t count);

/* Starts it, or sees that the user's own answers; later calls only say again how that went. */
int run_database_open(struct run_database *database, struct error *error);
/* For a server; after run_database_open. */
const char *run_database_target(const struct run_database *database);
/* False, with words: it was ours and has ended. */
bool run_database_alive(struct run_database *database, struct error *error);
/* For the record (results/README.md): asks it for its version and settings. Null in JSON where it
 * was never opened. */
json_t *run_database_describe(const struct run_database *database);
/* Nothing of a private one is left on return. */
void run_database_close(struct run_database *database);

#endif
