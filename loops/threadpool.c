/* threadpool.c: see threadpool.h.
 *
 * One mutex guards everything that is not a job's own; the accounts of jobs are the same for both
 * kinds, which differ in who picks the next job and in how a job comes back. A worker of ours gives
 * back one job and takes the next under one lock, and posts the first after it: while there is work
 * a job costs each side one lock. */
#include "threadpool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

#ifdef HAVE_LIBUV
#include <uv.h>
#endif

const char *const threadpool_kind_names[THREADPOOL_KINDS] = {
    [THREADPOOL_OWN] = "own", [THREADPOOL_LIBUV] = "libuv"};

TAILQ_HEAD(job_line, threadpool_job);

/* What the kinds differ in. */
struct kind {
    /* Completes config.threads. */
    int (*start)(struct threadpool *pool, struct error *error);
    /* A job is in line. Outside of the lock; null: a thread will find it there. */
    void (*accepted)(struct threadpool *pool, struct threadpool_job *job);
    /* Keeps a waiting job from starting, if it still can. Under the lock. */
    bool (*withdraw)(struct threadpool_job *job);
    /* After that and outside of the lock: sees to it that the job is delivered. */
    void (*withdrawn)(struct threadpool_job *job);
    void (*end)(struct threadpool *pool); /* none waits; after it none runs */
};

struct threadpool {
    const struct kind *kind;
    struct threadpool_config config; /* complete: no zeros */
    char name[16];
    uint32_t cpus;
    pthread_mutex_t mutex;
    struct job_line lines[THREADPOOL_PRIORITIES];
    uint32_t high_in_a_row; /* started while a low job waited */
    uint64_t under_way;     /* jobs whose `done` has not begun */
    bool stopping;          /* nothing more is accepted */
    bool abandoned;         /* no more `done` comes */
    struct threadpool_counters counters;

    /* Our own threads. Idle ones sleep, or are coming to look for work by themselves. */
    pthread_cond_t work_or_end;
    uint32_t idle;
    uint32_t sleeping; /* of the idle: in pthread_cond_wait */
    uint32_t waking;   /* at most, of the sleeping: were signalled and have not come back */
    bool ending;
    uint32_t started;
    pthread_t *threads;

    /* threadpool_stop's. */
    struct loop *stop_loop;
    struct timer deadline;
    struct post last_came;
    void (*stopped)(struct threadpool *pool, void *data);
    void *stopped_data;
};

/* ---- jobs: under the lock -------------------------------------------------------------------- */

static void enter_line(struct threadpool *pool, struct threadpool_job *job) {
    struct threadpool_counters *counters = &pool->counters;
    TAILQ_INSERT_TAIL(&pool->lines[job->priority], job, line);
    job->waiting = true;
    pool->under_way++;
    counters->submitted++;
    if (++counters->queued > counters->queued_most)
        counters->queued_most = counters->queued;
}

static void leave_line(struct threadpool *pool, struct threadpool_job *job) {
    TAILQ_REMOVE(&pool->lines[job->priority], job, line);
    job->waiting = false;
    pool->counters.queued--;
}

static void begin(struct threadpool *pool, struct threadpool_job *job) {
    struct threadpool_counters *counters = &pool->counters;
    leave_line(pool, job);
    if (++counters->busy > counters->busy_most)
        counters->busy_most = counters->busy;
}

static int refusal(const struct threadpool *pool) {
    const struct threadpool_counters *counters = &pool->counters;
    uint64_t most = (uint64_t)pool->config.threads + pool->config.queue_most;
    if (pool->stopping)
        return -ESHUTDOWN;
    return (uint64_t)counters->queued + counters->busy >= most ? -EAGAIN : 0;
}

/* ---- jobs: outside of the lock --------------------------------------------------------------- */

static void run(struct threadpool_job *job) {
    job->started_ns = clock_now_ns();
    job->work(job);
    job->ended_ns = clock_now_ns();
}

/* The pool and the job may both be gone when `done` returns, so it comes last. */
static void deliver(struct threadpool_job *job) {
    struct threadpool *pool = job->pool;
    pthread_mutex_lock(&pool->mutex);
    bool last = --pool->under_way == 0 && pool->stopping, abandoned = pool->abandoned;
    if (job->cancelled)
        pool->counters.cancelled++;
    else
        pool->counters.done++;
    pthread_mutex_unlock(&pool->mutex);
    job->pool = NULL;
    job->delivered_ns = clock_now_ns();
    if (last && !abandoned)
        loop_post(pool->stop_loop, &pool->last_came);
    if (!abandoned)
        CALL_BACK(job->loop, CALLBACK_POST, job->done, job, job->cancelled ? -ECANCELED : 0);
}

static void deliver_post(struct post *post) {
    deliver(CONTAINER_OF(post, struct threadpool_job, post));
}

static void post_back(struct threadpool_job *job) {
    job->post.run = deliver_post;
    loop_post(job->loop, &job->post);
}

/* ---- our own threads ------------------------------------------------------------------------- */

/* Under the lock, while high and low both wait. */
static bool low_is_due(const struct threadpool *pool, const struct threadpool_job *low) {
    if (pool->high_in_a_row == 0)
        return false;
    return pool->high_in_a_row >= pool->config.low_after_jobs ||
           clock_now_ns() - low->queued_ns >= pool->config.low_after_ns;
}

/* Under the lock; null when none waits. */
static struct threadpool_job *take(struct threadpool *pool) {
    struct threadpool_job *high = TAILQ_FIRST(&pool->lines[THREADPOOL_HIGH]),
                          *low = TAILQ_FIRST(&pool->lines[THREADPOOL_LOW]);
    struct threadpool_job *job = high && !(low && low_is_due(pool, low)) ? high : low;
    if (!job)
        return NULL;
    pool->high_in_a_row = job == high && low ? pool->high_in_a_row + 1 : 0;
    begin(pool, job);
    return job;
}

/* Under the lock: whether to signal a thread. Not if one is coming for every job that waits: those
 * signalled and those that come by themselves look before they sleep again. */
static bool wake_one(struct threadpool *pool) {
    uint32_t coming = pool->waking + (pool->idle - pool->sleeping);
    bool wake = pool->sleeping > pool->waking && pool->counters.queued > coming;
    if (wake) {
        pool->waking++;
        pool->counters.wakes++;
    }
    return wake;
}

/* Of an idle thread. Null: the pool ends. */
static struct threadpool_job *wait_for_job(struct threadpool *pool) {
    struct threadpool_job *job = NULL;
    pthread_mutex_lock(&pool->mutex);
    while (!pool->ending && !(job = take(pool))) {
        pool->sleeping++;
        pthread_cond_wait(&pool->work_or_end, &pool->mutex);
        pool->sleeping--;
        if (pool->waking > 0)
            pool->waking--;
    }
    pool->idle--;
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

/* Gives back a job that has run, for the next one; null: none waits, and the thread is idle. */
static struct threadpool_job *exchange(struct threadpool *pool, struct threadpool_job *ran) {
    pthread_mutex_lock(&pool->mutex);
    pool->counters.busy--;
    struct threadpool_job *next = take(pool);
    if (!next)
        pool->idle++;
    pthread_mutex_unlock(&pool->mutex);
    post_back(ran);
    return next;
}

static void *work(void *data) {
    struct threadpool *pool = data;
    struct threadpool_job *job;
    while ((job = wait_for_job(pool)))
        while (job) {
            run(job);
            job = exchange(pool, job);
        }
    return NULL;
}

static bool own_withdraw(struct threadpool_job *job) {
    (void)job;
    return true;
}

static void own_end(struct threadpool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_broadcast(&pool->work_or_end);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->threads[i], NULL);
}

static int start_thread(struct threadpool *pool) {
    char name[16];
    pthread_t *thread = &pool->threads[pool->started];
    int failure = pthread_create(thread, NULL, work, pool);
    if (failure)
        return -failure;
    snprintf(name, sizeof name, "%.11s-%u", pool->name, pool->started % 1000);
    pthread_setname_np(*thread, name);
    pool->started++;
    return 0;
}

/* Signals are blocked around it, so that the new threads never get one. */
static int own_start(struct threadpool *pool, struct error *error) {
    sigset_t all, before;
    int failure = 0;
    if (pool->config.threads == 0)
        pool->config.threads = THREADPOOL_THREADS;
    pool->idle = pool->config.threads; /* they come to look for work */
    pool->threads = calloc(pool->config.threads, sizeof *pool->threads);
    if (!pool->threads)
        return error_set(error, -ENOMEM, "out of memory");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (failure == 0 && pool->started < pool->config.threads)
        failure = start_thread(pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure)
        error_set(error, failure, "cannot start thread %u of %u: %s", pool->started + 1,
                  pool->config.threads, strerror(-failure));
    return failure;
}

static const struct kind own_kind = {
    .start = own_start,
    .withdraw = own_withdraw,
    .withdrawn = post_back,
    .end = own_end,
};

/* ---- libuv's threads -------------------------------------------------------------------------
 */

#ifndef HAVE_LIBUV

static int libuv_start(struct threadpool *pool, struct error *error) {
    (void)pool;
    return error_set(error, -ENOTSUP,
                     "libuv's thread pool: not built: libuv1-dev was missing at build time");
}

static const struct kind libuv_kind = {.start = libuv_start};

#else

_Static_assert(sizeof(uv_work_t) <= THREADPOOL_LIBUV_BYTES, "a job has room for libuv's request");

static struct threadpool_job *job_of(uv_work_t *request) {
    return CONTAINER_OF(request, struct threadpool_job, libuv);
}

static uv_loop_t *uv_of(const struct threadpool *pool) {
    return pool->config.loop->backend->native(pool->config.loop);
}

static void libuv_work(uv_work_t *request) {
    struct threadpool_job *job = job_of(request);
    pthread_mutex_lock(&job->pool->mutex);
    begin(job->pool, job);
    pthread_mutex_unlock(&job->pool->mutex);
    run(job);
    pthread_mutex_lock(&job->pool->mutex);
    job->pool->counters.busy--;
    pthread_mutex_unlock(&job->pool->mutex);
}

static void libuv_worked(uv_work_t *request, int status) {
    struct threadpool_job *job = job_of(request);
    CHECK((status == UV_ECANCELED) == job->cancelled);
    loop_entered(job->loop);
    job->loop->pass_events++;
    deliver(job);
}

/* The first request of a process starts the threads: with signals blocked, as ours are. Later ones
 * cost nothing for it. */
static void libuv_accepted(struct threadpool *pool, struct threadpool_job *job) {
    sigset_t all, before;
    bool first = !pool->started;
    if (first) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    CHECK(uv_queue_work(uv_of(pool), (uv_work_t *)(void *)job->libuv, libuv_work, libuv_worked) ==
          0);
    if (first)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->started = 1;
}

static bool libuv_withdraw(struct threadpool_job *job) {
    return uv_cancel((uv_req_t *)(void *)job->libuv) == 0;
}

static void libuv_withdrawn(struct threadpool_job *job) {
    (void)job; /* libuv calls back by itself */
}

/* Its requests lie in the jobs, so libuv has to let go of all of them. */
static void libuv_end(struct threadpool *pool) {
    while (pool->under_way > 0)
        uv_run(uv_of(pool), UV_RUN_ONCE);
}

/* Says in the environment, where libuv looks when its threads start, what their number is to be. As
 * every pool does so, what is there from then on is what libuv has. */
static int agree_on_threads(uint32_t *threads, struct error *error) {
    char text[16];
    const char *said = getenv("UV_THREADPOOL_SIZE");
    unsigned long size = said ? strtoul(said, NULL, 10) : 0;
    if (said && (size == 0 || size > THREADPOOL_THREADS_MOST))
        return error_set(error, -EINVAL, "UV_THREADPOOL_SIZE=%s is not a number of threads", said);
    if (said && *threads != 0 && *threads != size)
        return error_set(error, -EINVAL,
                         "libuv's thread pool has UV_THREADPOOL_SIZE=%s threads, not %u", said,
                         *threads);
    if (said) {
        *threads = (uint32_t)size;
        return 0;
    }
    if (*threads == 0)
        *threads = THREADPOOL_THREADS;
    snprintf(text, sizeof text, "%u", *threads);
    return setenv("UV_THREADPOOL_SIZE", text, 1) ? error_set(error, -errno, "out of memory") : 0;
}

static int libuv_start(struct threadpool *pool, struct error *error) {
    struct loop *loop = pool->config.loop;
    if (!loop || !loop->backend->native)
        return error_set(error, -ENOTSUP, "libuv's thread pool needs a libuv loop, not %s",
                         loop ? loop->backend->name : "none");
    return agree_on_threads(&pool->config.threads, error);
}

static const struct kind libuv_kind = {
    .start = libuv_start,
    .accepted = libuv_accepted,
    .withdraw = libuv_withdraw,
    .withdrawn = libuv_withdrawn,
    .end = libuv_end,
};

#endif

/* ---- submitting and cancelling -----------------------------------------------------------------
 */

int threadpool_submit(struct threadpool *pool, struct loop *loop, struct threadpool_job *job) {
    CHECK(job->work && job->done && !job->pool && job->priority < THREADPOOL_PRIORITIES);
    CHECK(!pool->config.loop || pool->config.loop == loop);
    bool wake = false;
    job->queued_ns = clock_now_ns();
    pthread_mutex_lock(&pool->mutex);
    int failure = refusal(pool);
    if (failure) {
        pool->counters.refused++;
    } else {
        job->pool = pool;
        job->loop = loop;
        job->cancelled = false;
        job->started_ns = job->ended_ns = job->delivered_ns = 0;
        enter_line(pool, job);
        wake = wake_one(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (wake)
        pthread_cond_signal(&pool->work_or_end);
    if (failure == 0 && pool->kind->accepted)
        pool->kind->accepted(pool, job);
    return failure;
}

/* Under the lock. */
static bool withdraw(struct threadpool *pool, struct threadpool_job *job) {
    if (!job->waiting || !pool->kind->withdraw(job))
        return false;
    leave_line(pool, job);
    job->cancelled = true;
    return true;
}

int threadpool_cancel(struct threadpool *pool, struct threadpool_job *job) {
    if (!job->pool)
        return -ENOENT;
    CHECK(job->pool == pool);
    pthread_mutex_lock(&pool->mutex);
    bool withdrawn = withdraw(pool, job);
    pthread_mutex_unlock(&pool->mutex);
    if (!withdrawn)
        return -EBUSY;
    pool->kind->withdrawn(job);
    return 0;
}

/* One that libuv will not give up is about to start, and the next in line may still wait. */
static struct threadpool_job *withdraw_any(struct threadpool *pool) {
    struct threadpool_job *job;
    for (int i = 0; i < THREADPOOL_PRIORITIES; i++) {
        TAILQ_FOREACH(job, &pool->lines[i], line) {
            if (withdraw(pool, job))
                return job;
        }
    }
    return NULL;
}

static void withdraw_all(struct threadpool *pool) {
    struct threadpool_job *job;
    do {
        pthread_mutex_lock(&pool->mutex);
        job = withdraw_any(pool);
        pthread_mutex_unlock(&pool->mutex);
        if (job)
            pool->kind->withdrawn(job);
    } while (job);
}

/* ---- opening and ending ------------------------------------------------------------------------
 */

/* Config fields that are zero become their defaults, but for the threads. */
static void set_up(struct threadpool *pool, const struct threadpool_config *config) {
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work_or_end, NULL);
    for (int i = 0; i < THREADPOOL_PRIORITIES; i++)
        TAILQ_INIT(&pool->lines[i]);
    pool->config = *config;
    if (pool->config.queue_most == 0)
        pool->config.queue_most = THREADPOOL_QUEUE_MOST;
    if (pool->config.low_after_jobs == 0)
        pool->config.low_after_jobs = THREADPOOL_LOW_AFTER_JOBS;
    if (pool->config.low_after_ns == 0)
        pool->config.low_after_ns = THREADPOOL_LOW_AFTER_NS;
    if (config->kind == THREADPOOL_OWN)
        pool->config.loop = NULL;
    snprintf(pool->name, sizeof pool->name, "%.11s", config->name ? config->name : "pool");
    pool->config.name = pool->name;
    pool->kind = config->kind == THREADPOOL_LIBUV ? &libuv_kind : &own_kind;
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        pool->cpus = (uint32_t)CPU_COUNT(&cpus);
}

static void tear_down(struct threadpool *pool) {
    free(pool->threads);
    pthread_cond_destroy(&pool->work_or_end);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

int threadpool_open(const struct threadpool_config *config, struct threadpool **out,
                    struct error *error) {
    if (config->threads > THREADPOOL_THREADS_MOST)
        return error_set(error, -EINVAL, "a thread pool has at most %d threads, not %u",
                         THREADPOOL_THREADS_MOST, config->threads);
    struct threadpool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return error_set(error, -ENOMEM, "out of memory");
    set_up(pool, config);
    int failure = pool->kind->start(pool, error);
    if (failure) {
        if (pool->kind->end)
            pool->kind->end(pool);
        tear_down(pool);
        return failure;
    }
    *out = pool;
    return 0;
}

static void last_came(struct post *post) {
    struct threadpool *pool = CONTAINER_OF(post, struct threadpool, last_came);
    timer_cancel(pool->stop_loop, &pool->deadline);
    if (pool->stopped)
        pool->stopped(pool, pool->stopped_data);
}

static void deadline_passed(struct timer *timer) {
    withdraw_all(CONTAINER_OF(timer, struct threadpool, deadline));
}

void threadpool_stop(struct threadpool *pool, struct loop *loop, uint64_t drain_ns,
                     void (*stopped)(struct threadpool *pool, void *data), void *data) {
    pthread_mutex_lock(&pool->mutex);
    CHECK(!pool->stopping);
    pool->stopping = true;
    pool->stop_loop = loop;
    pool->last_came.run = last_came;
    pool->deadline.on_due = deadline_passed;
    pool->stopped = stopped;
    pool->stopped_data = data;
    bool over = pool->under_way == 0;
    pthread_mutex_unlock(&pool->mutex);
    if (over)
        loop_post(loop, &pool->last_came);
    else if (drain_ns == 0)
        withdraw_all(pool);
    else if (drain_ns != UINT64_MAX)
        timer_set(loop, &pool->deadline, clock_now_ns() + drain_ns);
}

void threadpool_free(struct threadpool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pool->abandoned = true;
    pthread_mutex_unlock(&pool->mutex);
    if (timer_is_set(&pool->deadline))
        timer_cancel(pool->stop_loop, &pool->deadline);
    withdraw_all(pool);
    pool->kind->end(pool);
    tear_down(pool);
}

/* ---- looking at it ---------------------------------------------------------------------------
 */

struct threadpool_info threadpool_info(const struct threadpool *pool) {
    return (struct threadpool_info){
        .kind = pool->kind == &libuv_kind ? THREADPOOL_LIBUV : THREADPOOL_OWN,
        .threads = pool->config.threads,
        .queue_most = pool->config.queue_most,
        .cpus = pool->cpus,
    };
}

struct threadpool_counters threadpool_read_counters(struct threadpool *pool) {
    pthread_mutex_lock(&pool->mutex);
    struct threadpool_counters counters = pool->counters;
    pthread_mutex_unlock(&pool->mutex);
    return counters;
}
