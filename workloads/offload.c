/* offload.c: HTTP beside work that blocks: on the loop, on a shared pool of threads, or on one that
 * is made for each job, on any loop. What is served is in offload_routes.h.
 *
 * Besides, the server has jobs of its own, which nobody asks for: jobs_per_s of them, at
 * pseudo-random times that are the same in every run. So who asks for /light alone measures what
 * they do to light requests, and every latency is a light request's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http_server.h"
#include "offload_client.h"
#include "offload_executor.h"
#include "offload_routes.h"
#include "offload_work.h"
#include "workload.h"

/* Jobs of the server's own. The k-th is due at a random time within the k-th period. */
struct background {
    struct offload_routes *routes;
    struct timer timer;
    enum threadpool_priority priority;
    double period_ns; /* 0: none */
    uint64_t begun_ns, jobs;
};

struct offload {
    struct offload_routes routes;
    struct offload_place place;
    struct background background;
    uint64_t drain_ns;
};

/* ---- knobs ------------------------------------------------------------------------------------
 */

static const char *const mode_words[] = {
    [EXECUTOR_INLINE] = "inline",
    [EXECUTOR_POOL] = "pool",
    [EXECUTOR_PER_CALL] = "per_call",
    NULL,
};
static const char *const kind_words[] = {
    [THREADPOOL_OWN] = "own",
    [THREADPOOL_LIBUV] = "libuv",
    NULL,
};
static const char *const job_words[] = {
    [OFFLOAD_SLEEP] = "sleep",         [OFFLOAD_CPU] = "cpu",
    [OFFLOAD_HASH] = "hash",           [OFFLOAD_COMPRESS] = "compress",
    [OFFLOAD_FILE_COLD] = "file_cold", [OFFLOAD_FILE_WARM] = "file_warm",
    [OFFLOAD_RESOLVE] = "resolve",     NULL,
};
static const char *const priority_words[] = {
    [THREADPOOL_HIGH] = "high",
    [THREADPOOL_LOW] = "low",
    NULL,
};

#define COUNT(knob_side, knob_name, from, lowest, highest, words)                                  \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_COUNT, .side = knob_side, .initial = from,  \
        .least = lowest, .most = highest                                                           \
    }
#define CHOICE(knob_side, knob_name, from, knob_choices, last, words)                              \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_CHOICE, .side = knob_side, .initial = from, \
        .most = last, .choices = knob_choices                                                      \
    }

static const struct knob offload_knobs[] = {
    CHOICE(KNOB_SERVER, "mode", EXECUTOR_POOL, mode_words, EXECUTOR_PER_CALL,
           "where jobs run: on the loop, a shared pool, or a pool made for each"),
    CHOICE(KNOB_SERVER, "pool_kind", THREADPOOL_OWN, kind_words, THREADPOOL_LIBUV,
           "the shared pool: our own, or, on libuv, that of libuv"),
    COUNT(KNOB_SERVER, "pool_threads", THREADPOOL_THREADS, 1, THREADPOOL_THREADS_MOST,
          "threads of the shared pool"),
    COUNT(KNOB_SERVER, "queue_bound", THREADPOOL_QUEUE_MOST, 1, 1e6,
          "jobs beyond pool_threads that may be under way; then 503"),
    HTTP_TIME_LIMIT_KNOB("drain_time", 500e6, "after a stop, for jobs that wait to begin still"),
    CHOICE(KNOB_SERVER, "job", OFFLOAD_SLEEP, job_words, OFFLOAD_RESOLVE,
           "what a job of /job, /mix and the server's own does"),
    COUNT(KNOB_SERVER, "job_us", 1000, 0, OFFLOAD_US_MOST, "length of a job that is sleep or cpu"),
    {.name = "job_bytes",
     .help = "bytes of a job that is hash or compress",
     .type = KNOB_BYTES,
     .side = KNOB_SERVER,
     .initial = 64 << 10,
     .most = OFFLOAD_BYTES_MOST},
    {.name = "jobs_per_s",
     .help = "jobs of the server's own per second, which nobody asks for",
     .type = KNOB_RATE,
     .side = KNOB_SERVER,
     .most = 1e6},
    CHOICE(KNOB_SERVER, "jobs_priority", THREADPOOL_HIGH, priority_words, THREADPOOL_LOW,
           "of the server's own jobs, in our own pool"),
    COUNT(KNOB_SERVER, "heavy_per_1000", 10, 0, 1000, "of /mix, requests that are jobs"),
    {.name = "file_bytes",
     .help = "size of the file that /file reads",
     .type = KNOB_BYTES,
     .side = KNOB_SERVER,
     .initial = 1 << 20,
     .most = 1 << 30},
    CHOICE(KNOB_CLIENT, "request", 0, offload_request_words, 3, "what is asked for"),
    COUNT(KNOB_CLIENT, "passes", 1000, 1, OFFLOAD_PASSES_MOST, "of request=passes"),
    HTTP_SERVER_KNOBS,
};

static uint64_t number(const struct knob_values *knobs, const char *name) {
    return (uint64_t)knob_get(knobs, name);
}

/* ---- jobs of the server's own -----------------------------------------------------------------
 */

static void set_timer(struct background *background) {
    double part = (double)offload_scatter(background->jobs) / 0x1p64;
    double after_ns = ((double)background->jobs + part) * background->period_ns;
    timer_set(background->routes->loop, &background->timer,
              background->begun_ns + (uint64_t)after_ns);
}

/* One at a time: those that a long job has made late come one in each pass, and none is left out.
 */
static void job_due(struct timer *timer) {
    struct background *background = CONTAINER_OF(timer, struct background, timer);
    background->jobs++;
    set_timer(background);
    offload_run_in_background(background->routes, background->priority);
}

static void begin_background(struct offload *offload, const struct knob_values *knobs) {
    struct background *background = &offload->background;
    double per_s = knob_get(knobs, "jobs_per_s");
    *background = (struct background){
        .routes = &offload->routes,
        .timer.on_due = job_due,
        .priority = (enum threadpool_priority)knob_get(knobs, "jobs_priority"),
        .period_ns = per_s > 0 ? (double)NS_PER_S / per_s : 0,
        .begun_ns = clock_now_ns(),
    };
    if (per_s > 0)
        set_timer(background);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static struct offload_work job_of(const struct knob_values *knobs) {
    enum offload_kind kind = (enum offload_kind)knob_get(knobs, "job");
    bool of_bytes = kind == OFFLOAD_HASH || kind == OFFLOAD_COMPRESS;
    return (struct offload_work){kind, number(knobs, of_bytes ? "job_bytes" : "job_us")};
}

static int open_parts(struct offload *offload, struct loop *loop, const struct knob_values *knobs,
                      struct error *error) {
    struct offload_routes *routes = &offload->routes;
    const struct executor_options options = {
        .mode = (enum executor_mode)knob_get(knobs, "mode"),
        .kind = (enum threadpool_kind)knob_get(knobs, "pool_kind"),
        .threads = (uint32_t)number(knobs, "pool_threads"),
        .queue_most = (uint32_t)number(knobs, "queue_bound"),
    };
    *routes = (struct offload_routes){
        .loop = loop,
        .place = &offload->place,
        .job = job_of(knobs),
        .heavy_per_1000 = (unsigned)number(knobs, "heavy_per_1000"),
    };
    offload->drain_ns = number(knobs, "drain_time");
    int failure = offload_place_open(&offload->place, number(knobs, "file_bytes"), error);
    if (failure)
        return failure;
    failure = executor_open(loop, &options, &routes->executor, error);
    if (failure)
        offload_place_close(&offload->place);
    return failure;
}

static void close_parts(struct offload *offload) {
    offload_routes_free(&offload->routes);
    executor_free(offload->routes.executor);
    offload_place_close(&offload->place);
}

static int offload_serve(struct loop *loop, const struct knob_values *knobs,
                         const struct endpoint *listen, struct endpoint *bound,
                         struct server **server, struct error *error) {
    struct offload *offload = calloc(1, sizeof *offload);
    if (!offload)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = open_parts(offload, loop, knobs, error);
    if (failure) {
        free(offload);
        return failure;
    }
    failure = http_serve_routes(loop, knobs, listen, &offload_http_routes, &offload->routes, bound,
                                server, error);
    if (failure) {
        close_parts(offload);
        free(offload);
        return failure;
    }
    begin_background(offload, knobs);
    return 0;
}

static struct offload *offload_of(const struct server *server) {
    return CONTAINER_OF(http_routes_data(server), struct offload, routes);
}

static void offload_stop(struct server *server) {
    struct offload *offload = offload_of(server);
    timer_cancel(offload->routes.loop, &offload->background.timer);
    executor_stop(offload->routes.executor, offload->drain_ns);
    http_server.stop(server);
}

/* Jobs that run cannot be ended, so `now` waits for them, lest a thread outlives the loop. */
static bool offload_stopped(struct server *server, bool now) {
    struct offload *offload = offload_of(server);
    if (now) {
        http_close_connections(server);
        executor_give_up(offload->routes.executor);
    }
    if (http_has_connections(server) || offload->routes.jobs > 0 ||
        !executor_is_stopped(offload->routes.executor))
        return false;
    http_free(server);
    close_parts(offload);
    free(offload);
    return true;
}

static size_t offload_counters(const struct server *server,
                               struct workload_counter counters[WORKLOAD_COUNTERS_MOST]) {
    const struct offload *offload = offload_of(server);
    const struct offload_routes *routes = &offload->routes;
    struct executor_counters jobs;
    executor_read_counters(routes->executor, &jobs);
    const struct workload_counter all[] = {
        {"light", (double)routes->light},
        {"jobs_submitted", (double)jobs.submitted},
        {"jobs_refused", (double)jobs.refused},
        {"jobs_done", (double)jobs.done},
        {"jobs_cancelled", (double)jobs.cancelled},
        {"jobs_failed", (double)routes->failed},
        {"jobs_background", (double)offload->background.jobs},
        {"jobs_under_way", (double)jobs.under_way},
        {"jobs_under_way_most", (double)jobs.under_way_most},
        {"clients_gone", (double)routes->gone},
        {"queued", jobs.queued},
        {"queued_most", jobs.queued_most},
        {"busy_most", jobs.busy_most},
        {"thread_wakes", (double)jobs.wakes},
        {"threads_started", (double)jobs.threads_started},
        {"queue_wait_mean_ns", durations_mean_ns(&jobs.wait)},
        {"queue_wait_p50_ns", durations_quantile_ns(&jobs.wait, 0.5)},
        {"queue_wait_p99_ns", durations_quantile_ns(&jobs.wait, 0.99)},
        {"run_mean_ns", durations_mean_ns(&jobs.run)},
        {"run_p99_ns", durations_quantile_ns(&jobs.run, 0.99)},
        {"delivery_mean_ns", durations_mean_ns(&jobs.delivery)},
        {"delivery_p50_ns", durations_quantile_ns(&jobs.delivery, 0.5)},
        {"delivery_p99_ns", durations_quantile_ns(&jobs.delivery, 0.99)},
        {"offload_mean_ns", durations_mean_ns(&jobs.cost)},
        {"offload_p50_ns", durations_quantile_ns(&jobs.cost, 0.5)},
        {"offload_p99_ns", durations_quantile_ns(&jobs.cost, 0.99)},
    };
    _Static_assert(ARRAY_LENGTH(all) <= WORKLOAD_COUNTERS_MOST, "too many counters");
    memcpy(counters, all, sizeof all);
    return ARRAY_LENGTH(all);
}

static const struct workload_server offload_server = {.start = offload_serve,
                                                      .stop = offload_stop,
                                                      .stopped = offload_stopped,
                                                      .counters = offload_counters};

static const char *const offload_schemes[] = {"http", NULL};

extern const struct workload offload_workload;
const struct workload offload_workload = {
    .name = "offload",
    .summary =
        "HTTP beside work that blocks: on the loop, on a pool of threads, or one for each job",
    .schemes = offload_schemes,
    .knobs = {offload_knobs, ARRAY_LENGTH(offload_knobs)},
    .server = &offload_server,
    .client = &offload_client,
};
