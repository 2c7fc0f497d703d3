/* control.h: how the harness asks one of our own servers for its counters.
 *
 * A socket pair between the runner and `loopmark serve --control-fd N`: one byte asks, one struct
 * loop_counters answers. Both ends are the same program, so the struct travels as it lies. The
 * server's end closing tells that it is gone. */
#ifndef LOOPMARK_CONTROL_H
#define LOOPMARK_CONTROL_H

#include "loops/loop.h"

struct control; /* the server's end */

/* Answers on `fd` from the loop's thread. The fd is closed by control_stop. */
int control_start(struct loop *loop, int fd, struct control **control);
void control_stop(struct control *control);

/* The harness' end: asks and waits at most timeout_ms. 0, -ETIMEDOUT, or -EPIPE when nobody is
 * there. */
int control_ask(int fd, struct loop_counters *counters, int timeout_ms);

#endif
