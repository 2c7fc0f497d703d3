/* keep_awake.h: CPUs that do not sleep while something is measured on them.
 *
 * A CPU with nothing to do halts. A virtual machine's is then given to other guests, and back when
 * the host gets round to it: a wake-up takes as long as the neighbours let it, and is told as
 * stolen time. So a process that only spins is put on each, under SCHED_IDLE (sched(7)): whatever
 * else wakes up has the CPU at once, and while something never sleeps it rests. On hardware the
 * effect is that of the kernel's idle=poll: no deep sleep to wake from. Latencies then leave out
 * what waking up costs, so a record has to say that it was done.
 *
 * The processes end with their owner, however it ends. Not for more than one thread at a time. */
#ifndef LOOPMARK_KEEP_AWAKE_H
#define LOOPMARK_KEEP_AWAKE_H

#include <sched.h>
#include <sys/types.h>

#include "loops/error.h"

struct keep_awake {
    pid_t pids[CPU_SETSIZE];
    int count;
};

/* For all in `cpus`. A negative errno with `error` filled: one of them is not there, or no process
 * could be made; then none is left. */
int keep_awake_start(struct keep_awake *awake, const cpu_set_t *cpus, struct error *error);
/* Zeroed, or already stopped: nothing happens. */
void keep_awake_stop(struct keep_awake *awake);

#endif
