/* server.h: any program as a server: started, pinned, watched and stopped.
 *
 * Either one of our loops (`loopmark serve` of this very binary) or a command with `{listen}` where
 * the address goes, and `{KNOB}` for a knob's value. It runs in a process group of its own, so that
 * ^C reaches only the harness and stopping reaches everything it started; it is killed when the
 * harness dies. One thread. */
#ifndef LOOPMARK_SERVER_H
#define LOOPMARK_SERVER_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#include "loops/endpoint.h"
#include "loops/error.h"
#include "workloads/workload.h"

struct server_plan {
    const char *loop;    /* ours: the backend; null: a foreign server */
    const char *monitor; /* ours: as --monitor= takes it; null: none */
    const char *command; /* foreign: run by /bin/sh after `exec`, in `directory` */
    const char *directory;
    const struct workload *workload;
    const struct knob_values *knobs; /* the server's side of them is handed to ours */
    const char *database;            /* DATABASE_VARIABLE of its environment; null: as ours */
    cpu_set_t cpus;                  /* empty: anywhere */
    bool unix_socket;                /* listen on a unix socket instead of 127.0.0.1 */
};

struct server_process {
    pid_t pid;      /* leader of its process group */
    int control_fd; /* ours: see control.h; -1 for foreign ones */
    int output_fd;  /* what it printed; a file without a name */
    struct endpoint address;
    char socket_path[108]; /* removed at stop; empty for TCP */
};

/* Returns when it accepts connections. On failure nothing is left running, and `error` carries the
 * last line it printed. -ETIMEDOUT: not ready within ten seconds. */
int server_start(const struct server_plan *plan, struct server_process *server,
                 struct error *error);

/* True while it runs. When it has ended, `error` says how. */
bool server_alive(struct server_process *server, struct error *error);

/* SIGTERM, and SIGKILL for what is left after two seconds. Waits for the end. */
void server_stop(struct server_process *server);

/* `need` is an executable (with a slash: from the source directory, as commands are) or
 * `python:MODULE`. 0, or -ENOENT when it is missing. Blocks. */
int server_check_need(const char *need, struct error *error);

#endif
