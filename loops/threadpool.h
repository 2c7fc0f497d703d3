/* threadpool.h: threads for work that would block a loop; one bounded pool for every backend.
 *
 * A loop submits a job: `work` runs on a thread of the pool, then `done` on the loop that submitted
 * it. Jobs are embedded by the caller; the pool allocates nothing after it was opened. A job is the
 * pool's from a threadpool_submit that returned 0 until `done` begins, and each job gets exactly
 * one `done`, whatever happens: run, cancelled, or caught by the end of the pool.
 *
 * Order: jobs of one priority start in the order in which they were submitted. High goes before
 * low, but low ages: while a low job waits, it is next after `low_after_jobs` high ones in a row,
 * or, when it has waited for `low_after_ns`, after one. So low gets at least every
 * (low_after_jobs + 1)-th start and high, whatever the backlog of low, at least every second.
 *
 * Bound: at most `threads` + `queue_most` jobs are waiting or running; the next is refused. So a
 * full queue never refuses what an idle thread could begin with.
 *
 * Waking: one wake-up for a job that has no thread coming for it, and none if all threads are busy
 * (counters.wakes), so that a burst does not wake threads that would find nothing.
 *
 * Threads: all calls but threadpool_read_counters belong to loops' threads. Several loops may share
 * a pool of our own threads; `done` comes on the loop that submitted. They end together: none is
 * freed before the pool, nor before the other loops' threads have left loop_run.
 *
 * CPUs: the pool's threads inherit the CPUs of the thread that opens it, and nothing moves them.
 * Open the pool before a loop's thread is pinned to one CPU, or the pool is, too; `cpus` of
 * threadpool_info tells. A server that was given one CPU of two (the generator has the other)
 * shares it between loop and pool: blocking work then still overlaps, computing does not, and the
 * scheduler's switches are part of what is measured. The threads' CPU time is the process's.
 * They block all signals and are called NAME-0, NAME-1 …
 *
 * THREADPOOL_LIBUV is the same interface on libuv's own threads (uv_queue_work), on loops built on
 * libuv, to compare with. It differs in what libuv has: no priorities (one FIFO), its own way of
 * waking threads and loop (no loop_post, no counters.wakes), threads that belong to the process and
 * outlive the pool, and their number, fixed by UV_THREADPOOL_SIZE when the first pool is opened.
 * One loop a pool. */
#ifndef LOOPMARK_THREADPOOL_H
#define LOOPMARK_THREADPOOL_H

#include <stdalign.h>
#include <sys/queue.h>

#include "loop.h"

struct threadpool;

enum threadpool_kind { THREADPOOL_OWN, THREADPOOL_LIBUV, THREADPOOL_KINDS };
extern const char *const threadpool_kind_names[THREADPOOL_KINDS]; /* "own", "libuv" */

enum threadpool_priority { THREADPOOL_HIGH, THREADPOOL_LOW, THREADPOOL_PRIORITIES };

/* Zero: the default. */
struct threadpool_config {
    enum threadpool_kind kind;
    struct loop *loop;       /* THREADPOOL_LIBUV: the only one that will submit */
    const char *name;        /* of its threads, at most 11 letters; copied */
    uint32_t threads;        /* THREADPOOL_THREADS */
    uint32_t queue_most;     /* THREADPOOL_QUEUE_MOST */
    uint32_t low_after_jobs; /* THREADPOOL_LOW_AFTER_JOBS */
    uint64_t low_after_ns;   /* THREADPOOL_LOW_AFTER_NS */
};

enum {
    THREADPOOL_THREADS = 4, /* as libuv */
    THREADPOOL_THREADS_MOST = 1024,
    THREADPOOL_QUEUE_MOST = 1024,
    THREADPOOL_LOW_AFTER_JOBS = 8,
};
#define THREADPOOL_LOW_AFTER_NS (20 * NS_PER_MS)
#define THREADPOOL_NO_LIMIT UINT32_MAX /* as queue_most */

enum { THREADPOOL_LIBUV_BYTES = 128 }; /* at least sizeof(uv_work_t) */

/* Zero it, then fill in work, done and priority. May be submitted again from its `done` on. */
struct threadpool_job {
    void (*work)(struct threadpool_job *job);          /* on a thread of the pool */
    void (*done)(struct threadpool_job *job, int err); /* on the loop; err 0 or -ECANCELED */
    enum threadpool_priority priority;
    /* clock_now_ns(): submitted, `work` began and ended, `done` began. For `done` to read;
     * started and ended are 0 when it was cancelled. */
    uint64_t queued_ns, started_ns, ended_ns, delivered_ns;
    /* The rest is the pool's. */
    struct threadpool *pool; /* null while it is the caller's */
    struct loop *loop;
    bool waiting, cancelled;
    TAILQ_ENTRY(threadpool_job) line;
    struct post post;
    alignas(max_align_t) unsigned char libuv[THREADPOOL_LIBUV_BYTES];
};

/* -EINVAL: more than THREADPOOL_THREADS_MOST threads, or not as many as libuv's pool has already;
 * -ENOTSUP: THREADPOOL_LIBUV, and the loop is not libuv's; or what starting threads said. */
int threadpool_open(const struct threadpool_config *config, struct threadpool **pool,
                    struct error *error);

/* From `loop`'s thread. -EAGAIN: full; -ESHUTDOWN: stopping. Then `done` never comes. */
int threadpool_submit(struct threadpool *pool, struct loop *loop, struct threadpool_job *job);

/* From the thread of the loop that submitted it, on a job of this pool or on one that has had its
 * `done`. 0: it had not begun and never will; `done` comes, later, with -ECANCELED. -EBUSY: it
 * runs, has ended or was cancelled, and `done` comes as it would have; -ENOENT: it has had its
 * `done`. */
int threadpool_cancel(struct threadpool *pool, struct threadpool_job *job);

/* Ends the pool in good order. From now on submitting is refused; jobs that wait still start for
 * drain_ns (0: none does; UINT64_MAX: all do) and are then cancelled; running ones cannot be ended
 * and are waited for. When every job's `done` has begun, `stopped` is called on `loop`, never
 * inside this call. Once, on the thread of `loop`, which has to run until then. */
void threadpool_stop(struct threadpool *pool, struct loop *loop, uint64_t drain_ns,
                     void (*stopped)(struct threadpool *pool, void *data), void *data);

/* Joins the threads and frees the pool: in `stopped`, or whenever no job is under way.
 *
 * Or at the end of a process that cannot let its loops run any further: then it waits for running
 * jobs, starts none, and a job that was under way gets no `done`. The loops must not run again, and
 * are to be freed next (as with posts that have not run). Not from a callback then; on libuv other
 * callbacks of the loop may come inside this call. */
void threadpool_free(struct threadpool *pool);

struct threadpool_info {
    enum threadpool_kind kind;
    uint32_t threads, queue_most;
    uint32_t cpus; /* the threads may run on; of the thread that opened the pool */
};
struct threadpool_info threadpool_info(const struct threadpool *pool);

/* submitted == done + cancelled + under way. */
struct threadpool_counters {
    uint64_t submitted;
    uint64_t refused;   /* not among the submitted */
    uint64_t cancelled; /* these two: `done` has begun */
    uint64_t done;
    uint32_t queued, queued_most; /* jobs that wait for their start */
    uint32_t busy, busy_most;     /* threads that run a job */
    uint64_t wakes;               /* of sleeping threads */
};
/* Any thread. */
struct threadpool_counters threadpool_read_counters(struct threadpool *pool);

#endif
