/* burn.h: work that costs a known amount of CPU time and does nothing. */
#ifndef LOOPMARK_BURN_H
#define LOOPMARK_BURN_H

#include <stdint.h>

/* Keeps the calling thread busy until it has used `cpu_ns` more of CPU time by its own clock
 * (CLOCK_THREAD_CPUTIME_ID), so that time during which it did not run does not count. It is over by
 * up to a microsecond, since looking at that clock is a system call. */
void burn_cpu(uint64_t cpu_ns);

#endif
