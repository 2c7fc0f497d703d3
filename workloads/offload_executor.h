/* offload_executor.h: three ways to run a job that blocks, behind one interface.
 *
 *   inline    on the loop's own thread, within the call: everything else waits
 *   pool      on a thread of the one pool that all jobs share (loops/threadpool.h)
 *   per_call  on a pool of one thread that is made for the job, and ended and joined after it, as
 * in "with ThreadPoolExecutor() as executor" around each call
 *
 * Jobs are embedded by the caller; each is the executor's from a submit that returned
 * EXECUTOR_LATER until its `done` begins, and gets exactly one `done`, unless the whole executor is
 * abandoned with its loop. All calls and `done` belong to the loop's thread.
 *
 * Bound: with `pool` at most threads + queue_most jobs are waiting or running, as in threadpool.h;
 * per_call the same number of jobs, each with its thread; the next is refused. A job that has run
 * and waits for its `done` holds no thread of `pool`: it is under way, and beyond that bound. */
#ifndef LOOPMARK_OFFLOAD_EXECUTOR_H
#define LOOPMARK_OFFLOAD_EXECUTOR_H

#include "durations.h"
#include "loops/threadpool.h"

enum executor_mode { EXECUTOR_INLINE, EXECUTOR_POOL, EXECUTOR_PER_CALL };

struct executor;

struct executor_options {
    enum executor_mode mode;
    enum threadpool_kind kind; /* of `pool` */
    uint32_t threads;
    uint32_t queue_most; /* at least 1 */
};

/* Zero it, then fill in work, done and priority. May be submitted again from its `done` on. */
struct executor_job {
    void (*work)(struct executor_job *job);          /* on a thread; inline: on the loop */
    void (*done)(struct executor_job *job, int err); /* on the loop; err 0 or -ECANCELED */
    enum threadpool_priority priority;               /* looked at by `pool` */
    /* The rest is the executor's. */
    struct executor *executor; /* null while it is the caller's */
    struct threadpool *pool;   /* per_call: its own */
    struct threadpool_job pooled;
    uint64_t submitted_ns;
    LIST_ENTRY(executor_job) link;
};

int executor_open(struct loop *loop, const struct executor_options *options,
                  struct executor **executor, struct error *error);

enum { EXECUTOR_LATER = 0, EXECUTOR_NOW = 1 };

/* EXECUTOR_NOW: `work` has run, and `done` does not come; EXECUTOR_LATER: `done` comes. -EAGAIN:
 * full, or no thread was to be had; -ESHUTDOWN: stopping. Then neither comes. */
int executor_submit(struct executor *executor, struct executor_job *job);

/* One that waits never begins, and its `done` comes later with -ECANCELED; one that runs or is over
 * is left alone. */
void executor_cancel(struct executor_job *job);

/* Refuses jobs from now on. Those that wait still begin for drain_ns and are then cancelled; those
 * that run end by themselves. Once. */
void executor_stop(struct executor *executor, uint64_t drain_ns);
/* Cancels all that wait, and blocks until no thread runs a job. Not from a callback. */
void executor_give_up(struct executor *executor);
/* After executor_stop: every job has had its `done`. */
bool executor_is_stopped(const struct executor *executor);
/* When it is stopped, or before a job was submitted. */
void executor_free(struct executor *executor);

/* submitted == done + cancelled + under_way. */
struct executor_counters {
    uint64_t submitted;
    uint64_t refused; /* not among the submitted */
    uint64_t done, cancelled;
    uint64_t under_way, under_way_most;
    uint32_t queued, queued_most, busy_most; /* of `pool` */
    uint64_t wakes;                          /* of `pool`'s own threads */
    uint64_t threads_started;
    /* Of the done. */
    struct durations wait;     /* from the submit until `work` begins */
    struct durations run;      /* until it ends */
    struct durations delivery; /* until `done` begins; per_call: its thread is joined before */
    struct durations cost;     /* of all of it but `run`: what not working inline costs the job */
};
void executor_read_counters(const struct executor *executor, struct executor_counters *counters);

#endif
