/* control.h: how the harness asks one of our own servers for its counters.
 *
 * A pair of SOCK_SEQPACKET between the runner and `loopmark serve --control-fd N`: a question has
 * its number and what is asked for, each of 8 bytes, and the answer the number and one struct
 * loop_counters, or one struct control_workload: what the workload itself has counted. Both ends
 * are the same program, so the structs travel as they lie. The server's end closing tells that it
 * is gone. */
#ifndef LOOPMARK_CONTROL_H
#define LOOPMARK_CONTROL_H

#include "workloads/workload.h"

enum { CONTROL_NAME_BYTES = 24 };

/* The counters of workload.h; none: it has none, or has stopped. */
struct control_workload {
    size_t count;
    struct {
        char name[CONTROL_NAME_BYTES];
        double value;
    } counters[WORKLOAD_COUNTERS_MOST];
};

struct control; /* the server's end */

/* Answers on `fd` from the loop's thread. The fd is closed by control_stop. */
int control_start(struct loop *loop, int fd, struct control **control);
void control_stop(struct control *control);
/* Whose counters are told from now on; `server` null: nobody's. */
void control_set_server(struct control *control, const struct workload_server *workload,
                        const struct server *server);

/* The harness' end: asks and waits at most timeout_ms. 0, -ETIMEDOUT, -EINTR, or -EPIPE when
 * nobody is there or reads; `*counters` is only what was asked for now when it is 0. */
int control_ask(int fd, struct loop_counters *counters, int timeout_ms);
int control_ask_workload(int fd, struct control_workload *counters, int timeout_ms);

#endif
