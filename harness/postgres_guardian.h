/* postgres_guardian.h: the process that makes, runs and removes a private PostgreSQL; see
 * private_postgres.h. It needs nothing of libpq, and nothing of who started it but a socket. */
#ifndef LOOPMARK_POSTGRES_GUARDIAN_H
#define LOOPMARK_POSTGRES_GUARDIAN_H

#include <sched.h>
#include <sys/types.h>

#include "loops/error.h"

struct postgres_guardian_plan {
    char programs[256]; /* the directory of initdb and postgres */
    char folder[80];    /* a template for mkdtemp */
    unsigned max_connections;
    cpu_set_t cpus; /* empty: anywhere */
    uid_t user;     /* as root: whom the server runs as; else 0 */
    gid_t group;
};

/* What the guardian sends: when the server was started, when it could not be, and when it has ended
 * by itself. To each GUARDIAN_RESTART comes one as well. */
struct postgres_guardian_report {
    int failure;  /* 0, or a negative errno with words */
    pid_t server; /* started; it may not answer yet */
    char folder[80];
    struct error error;
};

enum { GUARDIAN_RESTART = 'r' };

/* Of a process that was just forked by `parent`, and never returns. `life_fd` is one end of a
 * SOCK_SEQPACKET pair whose other end only `parent` keeps: the guardian's work is done when that is
 * closed, or when `parent` has ended. */
_Noreturn void postgres_guardian_run(const struct postgres_guardian_plan *plan, int life_fd,
                                     pid_t parent);

/* The folder and all that is in it. Symbolic links are removed, not followed. */
void postgres_guardian_remove(const char *folder);

#endif
