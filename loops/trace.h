/* trace.h: the lives of requests, as a workload tells them: begun, its steps, ended.
 *
 * Counts all and reports the slow ones with their steps. Off unless monitor.h turned it on: then
 * trace_begin answers 0, which the other calls pass over, so a workload need not ask. One whose
 * every instruction counts asks loop_traces once, when it starts.
 *
 * Tasks lie in a table of fixed size, so nothing is allocated for a request. One for which there is
 * no room is counted and not traced. Names are static words. The loop's thread only. */
#ifndef LOOPMARK_TRACE_H
#define LOOPMARK_TRACE_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

enum { TRACE_STEPS = 8, TRACE_TASKS = 4096 };

struct trace_step {
    const char *name;
    uint64_t at_ns; /* since the task begun */
};

struct traced_task {
    const char *name;
    uint64_t lasted_ns;  /* up to now when it is unfinished */
    const char *end;     /* how it ended; null: it is unfinished, and tracing ends */
    uint32_t step_count; /* that were told; the first TRACE_STEPS are here */
    struct trace_step steps[TRACE_STEPS];
};

struct trace_counts {
    uint64_t begun, ended, slow;
    uint64_t untraced; /* begun when the table was full; in no other count */
    uint32_t live, live_most;
};

bool loop_traces(const struct loop *loop);

/* A task begins, at the time of the wake-up that brought it: what it waited for its turn in the
 * pass is its time too. 0: it is not traced. */
uint32_t trace_begin(struct loop *loop, const char *name);
void trace_step(struct loop *loop, uint32_t task, const char *name);
/* The last of it; the number may be another task's then. `end` is not null. */
void trace_end(struct loop *loop, uint32_t task, const char *end);

/* Null when nothing is traced. */
const struct trace_counts *trace_counts(const struct loop *loop);

#endif
