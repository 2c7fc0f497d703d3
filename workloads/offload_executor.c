/* offload_executor.c: see offload_executor.h. */
#include "offload_executor.h"

#include <errno.h>
#include <stdlib.h>

struct executor {
    struct loop *loop;
    struct executor_options options;
    struct threadpool *pool; /* of EXECUTOR_POOL; else null */
    bool stopping, pool_stopped;
    LIST_HEAD(, executor_job) under_way;
    struct executor_counters counters;
};

/* ---- a job's end ------------------------------------------------------------------------------
 */

static void count_times(struct executor_counters *counters, const struct executor_job *job,
                        uint64_t delivered_ns) {
    const struct threadpool_job *pooled = &job->pooled;
    uint64_t wait_ns = pooled->started_ns - job->submitted_ns,
             delivery_ns = delivered_ns - pooled->ended_ns;
    counters->done++;
    durations_add(&counters->wait, wait_ns);
    durations_add(&counters->run, pooled->ended_ns - pooled->started_ns);
    durations_add(&counters->delivery, delivery_ns);
    durations_add(&counters->cost, wait_ns + delivery_ns);
}

/* Nothing of a pool per call is under way when its one job comes back, so it is joined here, on the
 * loop: that is what a call with its own executor costs. */
static void came_back(struct threadpool_job *pooled, int err) {
    struct executor_job *job = CONTAINER_OF(pooled, struct executor_job, pooled);
    struct executor *executor = job->executor;
    uint64_t delivered_ns = pooled->delivered_ns;
    LIST_REMOVE(job, link);
    executor->counters.under_way--;
    if (job->pool) {
        threadpool_free(job->pool);
        delivered_ns = clock_now_ns();
    }
    job->pool = NULL;
    job->executor = NULL;
    if (err)
        executor->counters.cancelled++;
    else
        count_times(&executor->counters, job, delivered_ns);
    job->done(job, err);
}

static void work(struct threadpool_job *pooled) {
    struct executor_job *job = CONTAINER_OF(pooled, struct executor_job, pooled);
    job->work(job);
}

/* ---- submitting -------------------------------------------------------------------------------
 */

static int run_inline(struct executor *executor, struct executor_job *job) {
    struct threadpool_job *pooled = &job->pooled;
    pooled->started_ns = job->submitted_ns;
    job->work(job);
    pooled->ended_ns = clock_now_ns();
    executor->counters.submitted++;
    count_times(&executor->counters, job, pooled->ended_ns);
    return EXECUTOR_NOW;
}

static int submit_to(struct executor *executor, struct threadpool *pool, struct executor_job *job) {
    struct executor_counters *counters = &executor->counters;
    job->pooled =
        (struct threadpool_job){.work = work, .done = came_back, .priority = job->priority};
    job->executor = executor;
    int failure = threadpool_submit(pool, executor->loop, &job->pooled);
    if (failure) {
        job->executor = NULL;
        return failure;
    }
    LIST_INSERT_HEAD(&executor->under_way, job, link);
    counters->submitted++;
    if (++counters->under_way > counters->under_way_most)
        counters->under_way_most = counters->under_way;
    return EXECUTOR_LATER;
}

static int submit_to_own_pool(struct executor *executor, struct executor_job *job) {
    static const struct threadpool_config config = {.name = "per-call", .threads = 1};
    const struct executor_options *options = &executor->options;
    struct error ignored;
    if (executor->counters.under_way >= (uint64_t)options->threads + options->queue_most ||
        threadpool_open(&config, &job->pool, &ignored))
        return -EAGAIN;
    executor->counters.threads_started++;
    int result = submit_to(executor, job->pool, job);
    CHECK(result == EXECUTOR_LATER); /* it is empty */
    return result;
}

int executor_submit(struct executor *executor, struct executor_job *job) {
    CHECK(job->work && job->done && !job->executor);
    int result = -ESHUTDOWN;
    job->submitted_ns = clock_now_ns();
    if (!executor->stopping && executor->options.mode == EXECUTOR_INLINE)
        result = run_inline(executor, job);
    else if (!executor->stopping && executor->options.mode == EXECUTOR_POOL)
        result = submit_to(executor, executor->pool, job);
    else if (!executor->stopping)
        result = submit_to_own_pool(executor, job);
    executor->counters.refused += result < 0;
    return result;
}

static struct threadpool *pool_of(const struct executor_job *job) {
    return job->pool ? job->pool : job->executor->pool;
}

void executor_cancel(struct executor_job *job) {
    if (job->executor)
        threadpool_cancel(pool_of(job), &job->pooled);
}

/* ---- opening and ending -----------------------------------------------------------------------
 */

static int open_pool(struct executor *executor, struct error *error) {
    const struct executor_options *options = &executor->options;
    const struct threadpool_config config = {
        .kind = options->kind,
        .loop = executor->loop,
        .name = "offload",
        .threads = options->threads,
        .queue_most = options->queue_most,
    };
    int failure = threadpool_open(&config, &executor->pool, error);
    if (!failure)
        executor->counters.threads_started = threadpool_info(executor->pool).threads;
    return failure;
}

int executor_open(struct loop *loop, const struct executor_options *options, struct executor **out,
                  struct error *error) {
    struct executor *executor = calloc(1, sizeof *executor);
    if (!executor)
        return error_set(error, -ENOMEM, "out of memory");
    executor->loop = loop;
    executor->options = *options;
    LIST_INIT(&executor->under_way);
    int failure = options->mode == EXECUTOR_POOL ? open_pool(executor, error) : 0;
    if (failure)
        free(executor);
    else
        *out = executor;
    return failure;
}

static void pool_has_stopped(struct threadpool *pool, void *data) {
    (void)pool;
    struct executor *executor = data;
    executor->pool_stopped = true;
}

void executor_stop(struct executor *executor, uint64_t drain_ns) {
    CHECK(!executor->stopping);
    executor->stopping = true;
    if (executor->pool)
        threadpool_stop(executor->pool, executor->loop, drain_ns, pool_has_stopped, executor);
}

static bool any_runs(const struct executor *executor) {
    struct executor_job *job;
    LIST_FOREACH(job, &executor->under_way, link) {
        if (threadpool_read_counters(pool_of(job)).busy > 0)
            return true;
    }
    return false;
}

void executor_give_up(struct executor *executor) {
    const struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    struct executor_job *job;
    LIST_FOREACH(job, &executor->under_way, link) {
        executor_cancel(job);
    }
    while (any_runs(executor))
        nanosleep(&pause, NULL);
}

bool executor_is_stopped(const struct executor *executor) {
    return executor->stopping && executor->counters.under_way == 0 &&
           (!executor->pool || executor->pool_stopped);
}

void executor_free(struct executor *executor) {
    CHECK(executor->counters.under_way == 0);
    if (executor->pool)
        threadpool_free(executor->pool);
    free(executor);
}

void executor_read_counters(const struct executor *executor, struct executor_counters *counters) {
    *counters = executor->counters;
    if (!executor->pool)
        return;
    struct threadpool_counters pool = threadpool_read_counters(executor->pool);
    counters->queued = pool.queued;
    counters->queued_most = pool.queued_most;
    counters->busy_most = pool.busy_most;
    counters->wakes = pool.wakes;
}
