/* generator.c: the threads that make the load.
 *
 * One thread owns one loop, its share of the connections and its part of the schedule. A request is due
 * by the schedule alone; it leaves on the connection idle longest, or, when none is idle, as soon as one
 * is. Its response time counts from when it was due, so a stalled server cannot hide its stall.
 *
 * Phases: connect everything -> warm-up -> window -> drain. Marks (the server's CPU time and counters)
 * are taken by the first thread, on the window's edges. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness/control.h"
#include "harness/load.h"

enum phase { PHASE_CONNECT, PHASE_WARMUP, PHASE_WINDOW, PHASE_DRAIN, PHASE_OVER };

enum {
    CONNECTING_MOST = 128,     /* at once, so that a burst does not overrun the listen queue */
    MARK_AHEAD_MS = 20,        /* the thorough mark comes before the window, to stay out of it */
    CONTROL_TIMEOUT_MS = 200,
};
#define SPIN_NS (300 * NS_PER_US)
#define BACKOFF_LEAST_NS NS_PER_MS
#define BACKOFF_MOST_NS (100 * NS_PER_MS)
#define DEAD_AFTER_NS NS_PER_S /* without any connection the server is gone */
#define START_DELAY_NS (2 * NS_PER_MS)

struct asked {
    uint64_t intended_ns, sent_ns;
    bool in_window;
};

/* A connection, whether open at the moment or not. */
struct slot {
    struct thread *thread;
    struct stream *stream; /* null: closed */
    bool idle;             /* never asks: only there to be open */
    bool open, failed;     /* failed: its error is counted, or it is closed on purpose */
    bool available;        /* in the list of those that may ask */
    struct slot *previous, *next;
    uint64_t available_ns; /* since when it may ask */
    uint64_t since_ns;     /* began to connect */
    uint64_t backoff_ns;
    struct timer retry;
    uint64_t answers; /* in the window */
    uint32_t first, outstanding;
    struct asked *asked; /* ring of in_flight */
};

struct own_usage {
    uint64_t cpu_ns, spin_ns, starved_ns;
    struct rusage kernel;
};

struct thread {
    struct crew *crew;
    uint32_t number;
    pthread_t id;
    struct loop *loop;
    struct client *client;
    struct slot *slots;
    uint32_t slot_count, slots_started, connecting, open_count;
    struct slot *first_available, *last_available;

    enum phase phase;
    uint64_t start_ns, window_ns, end_ns; /* absolute: start, planned window's start and end */
    uint64_t opened_ns, closed_ns;        /* when the window really began and ended */
    struct schedule schedule;
    uint64_t quota;                       /* requests left to measure (-n); 0 with no_quota */
    bool has_quota;
    struct timer due, mark, edge, scan, interval_end;
    uint64_t none_open_since_ns;

    struct recorder response, service, lag, interval;
    uint64_t interval_start_ns, interval_requests, interval_errors;
    uint64_t due_count, sent_count, in_window_outstanding, unsent; /* of the window */
    _Atomic uint64_t answers; /* warm-up included; other threads read it at marks */
    uint64_t answers_in_window, received_bytes;
    uint64_t errors[LOAD_ERRORS];
    struct own_usage before, after;
    int failure;
};

/* What the threads share. */
struct crew {
    const struct load_plan *plan;
    struct load_result *result;
    atomic_bool *stopping;
    struct thread *threads;
    uint32_t thread_count, in_flight;
    bool open_loop;
    uint64_t warmup_ns, duration_ns, timeout_ns, connect_timeout_ns;
    uint32_t source_count;
    struct endpoint *sources;
    pthread_barrier_t barrier;
    uint64_t start_ns;
    atomic_bool failed;
    pthread_mutex_t lock;         /* of failure, and the interval being put together */
    struct histogram interval;
    uint64_t interval_requests, interval_errors;
    uint32_t interval_threads;
};

static void fail(struct thread *thread, const char *what) {
    struct crew *crew = thread->crew;
    pthread_mutex_lock(&crew->lock);
    if (!atomic_exchange(&crew->failed, true))
        error_set(&crew->result->failure, -EIO, "%s", what);
    pthread_mutex_unlock(&crew->lock);
    thread->failure = -EIO;
    loop_stop(thread->loop);
}

/* ---- which connection asks next: the one idle longest ------------------------------------------- */

static void make_available(struct slot *slot, uint64_t now_ns) {
    struct thread *thread = slot->thread;
    slot->available = true;
    slot->available_ns = now_ns;
    slot->next = NULL;
    slot->previous = thread->last_available;
    if (slot->previous)
        slot->previous->next = slot;
    else
        thread->first_available = slot;
    thread->last_available = slot;
}

static void make_unavailable(struct slot *slot) {
    struct thread *thread = slot->thread;
    if (!slot->available)
        return;
    slot->available = false;
    *(slot->previous ? &slot->previous->next : &thread->first_available) = slot->next;
    *(slot->next ? &slot->next->previous : &thread->last_available) = slot->previous;
}

/* ---- errors --------------------------------------------------------------------------------------- */

static enum load_error error_kind(int err) {
    switch (-err) {
    case ECONNRESET:
        return LOAD_RESET;
    case EPIPE:
        return LOAD_CLOSED;
    case EBADMSG:
        return LOAD_WRONG_ANSWER;
    case ETIMEDOUT:
        return LOAD_TIMEOUT;
    default:
        return LOAD_OTHER;
    }
}

static void count_error(struct thread *thread, enum load_error kind, uint64_t count) {
    thread->errors[kind] += count;
    thread->interval_errors += count;
}

/* Closes a connection for a reason that is counted here and not again when it has closed. */
static void give_up(struct slot *slot, enum load_error kind, uint64_t count) {
    slot->failed = true;
    count_error(slot->thread, kind, count);
    stream_close(slot->stream);
}

/* ---- asking and answers ---------------------------------------------------------------------------- */

static void begin_drain(struct thread *thread);

static void ask(struct slot *slot, uint64_t intended_ns, uint64_t now_ns, bool in_window) {
    struct thread *thread = slot->thread;
    uint32_t in_flight = thread->crew->in_flight;
    struct asked *asked = &slot->asked[(slot->first + slot->outstanding) % in_flight];
    *asked = (struct asked){.intended_ns = intended_ns, .sent_ns = now_ns, .in_window = in_window};
    slot->outstanding++;
    thread->in_window_outstanding += in_window;
    make_unavailable(slot);
    if (slot->outstanding < in_flight)
        make_available(slot, now_ns);
    /* A failure closes the stream; what is outstanding is counted then. */
    thread->crew->plan->workload->client->request(slot->stream);
}

static void ask_all_it_may(struct slot *slot, uint64_t now_ns) {
    while (slot->outstanding < slot->thread->crew->in_flight)
        ask(slot, now_ns, now_ns, false);
}

static bool belongs_to_window(const struct thread *thread, const struct asked *asked) {
    return thread->crew->open_loop ? asked->in_window : thread->phase == PHASE_WINDOW;
}

static uint64_t at_least(uint64_t least_ns, uint64_t time_ns) {
    return time_ns > least_ns ? time_ns : least_ns;
}

/* A request that never was answered still has a time, or a failing server would look fast: at least
 * the timeout, however soon it failed. */
static void record_lost(struct thread *thread, const struct asked *asked, uint64_t now_ns) {
    uint64_t least_ns = thread->crew->timeout_ns;
    thread->in_window_outstanding -= asked->in_window;
    if (!belongs_to_window(thread, asked))
        return;
    recorder_add(&thread->service, at_least(least_ns, now_ns - asked->sent_ns));
    if (thread->crew->open_loop)
        recorder_add(&thread->response, at_least(least_ns, now_ns - asked->intended_ns));
}

static void record_answer(struct slot *slot, const struct asked *asked, uint64_t now_ns,
                          size_t bytes) {
    struct thread *thread = slot->thread;
    atomic_store_explicit(&thread->answers, thread->answers + 1, memory_order_relaxed);
    if (asked->in_window)
        thread->in_window_outstanding--;
    if (thread->phase == PHASE_WINDOW) {
        recorder_add(&thread->interval, now_ns - asked->intended_ns);
        thread->interval_requests++;
    }
    if (!belongs_to_window(thread, asked))
        return;
    thread->answers_in_window++;
    slot->answers++;
    thread->received_bytes += bytes;
    recorder_add(&thread->service, now_ns - asked->sent_ns);
    if (thread->crew->open_loop)
        recorder_add(&thread->response, now_ns - asked->intended_ns);
    else if (thread->has_quota && --thread->quota == 0)
        begin_drain(thread);
}

static void send_due(struct thread *thread, uint64_t now_ns);

static void answered(void *data, int err, size_t bytes) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    if (slot->failed || thread->phase == PHASE_OVER)
        return;
    if (err) {
        give_up(slot, error_kind(err), 1);
        return;
    }
    CHECK(slot->outstanding > 0);
    uint64_t now_ns = clock_now_ns();
    struct asked asked = slot->asked[slot->first];
    slot->first = (slot->first + 1) % thread->crew->in_flight;
    slot->outstanding--;
    record_answer(slot, &asked, now_ns, bytes);
    if (!thread->crew->open_loop) {
        if (thread->phase == PHASE_WARMUP || thread->phase == PHASE_WINDOW)
            ask(slot, now_ns, now_ns, false);
        return;
    }
    if (!slot->available)
        make_available(slot, now_ns);
    send_due(thread, now_ns);
}

/* ---- the open loop's schedule ----------------------------------------------------------------------- */

static bool schedule_is_over(const struct thread *thread, uint64_t due_ns) {
    return due_ns >= thread->end_ns || (thread->has_quota && thread->quota == 0);
}

/* Sends what is due, as far as there are connections to take it; the rest waits for answers. */
static void send_due(struct thread *thread, uint64_t now_ns) {
    for (;;) {
        uint64_t due_ns = thread->start_ns + schedule_due_ns(&thread->schedule);
        if (schedule_is_over(thread, due_ns)) {
            if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
                loop_stop(thread->loop);
            return;
        }
        if (due_ns > now_ns) {
            timer_set(thread->loop, &thread->due, due_ns);
            return;
        }
        struct slot *slot = thread->first_available;
        if (!slot) {
            timer_cancel(thread->loop, &thread->due); /* the next answer or connection sends it */
            return;
        }
        bool in_window = due_ns >= thread->window_ns;
        uint64_t could_ns = due_ns > slot->available_ns ? due_ns : slot->available_ns;
        if (in_window) {
            recorder_add(&thread->lag, now_ns > could_ns ? now_ns - could_ns : 0);
            thread->sent_count += thread->phase != PHASE_DRAIN;
        }
        schedule_advance(&thread->schedule);
        ask(slot, due_ns, now_ns, in_window);
        if (in_window && thread->has_quota && --thread->quota == 0)
            begin_drain(thread);
        now_ns = clock_now_ns();
    }
}

static void request_due(struct timer *timer) {
    send_due(CONTAINER_OF(timer, struct thread, due), clock_now_ns());
}

/* ---- connections -------------------------------------------------------------------------------------- */

static void start_connecting(struct slot *slot);

static void connect_more(struct thread *thread) {
    while (thread->connecting < CONNECTING_MOST && thread->slots_started < thread->slot_count &&
           !thread->failure)
        start_connecting(&thread->slots[thread->slots_started++]);
}

static void retry_later(struct slot *slot) {
    struct thread *thread = slot->thread;
    slot->backoff_ns = slot->backoff_ns ? slot->backoff_ns * 2 : BACKOFF_LEAST_NS;
    if (slot->backoff_ns > BACKOFF_MOST_NS)
        slot->backoff_ns = BACKOFF_MOST_NS;
    timer_set(thread->loop, &slot->retry, clock_now_ns() + slot->backoff_ns);
}

static void start_connecting(struct slot *slot) {
    struct thread *thread = slot->thread;
    struct crew *crew = thread->crew;
    const struct endpoint *source =
        crew->source_count > 1 ? &crew->sources[(size_t)(slot - thread->slots) % crew->source_count]
                               : NULL;
    slot->since_ns = clock_now_ns();
    slot->failed = false;
    slot->first = slot->outstanding = 0;
    int failure = crew->plan->workload->client->connect(thread->client, source, slot, &slot->stream);
    if (failure == 0) {
        thread->connecting++;
        return;
    }
    slot->stream = NULL;
    count_error(thread, LOAD_CONNECT, 1);
    struct error what;
    error_set(&what, failure, "cannot open connection %u of %u: %s%s", thread->open_count + 1,
              thread->slot_count, strerror(-failure),
              failure == -EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
    fail(thread, what.text);
}

static void retry_due(struct timer *timer) {
    start_connecting(CONTAINER_OF(timer, struct slot, retry));
}

static void read_socket_options(struct slot *slot) {
    struct thread *thread = slot->thread;
    struct load_result *result = thread->crew->result;
    if (thread->number == 0 && !result->socket_known)
        result->socket_known = socket_get_options(stream_fd(slot->stream), &result->socket) == 0;
}

static void opened(void *data) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    slot->open = true;
    slot->backoff_ns = 0;
    thread->connecting--;
    thread->open_count++;
    thread->none_open_since_ns = 0;
    atomic_fetch_add(&thread->crew->result->connected, 1);
    read_socket_options(slot);
    if (thread->phase == PHASE_CONNECT) {
        connect_more(thread);
        if (thread->open_count == thread->slot_count)
            loop_stop(thread->loop);
        return;
    }
    if (slot->idle || thread->phase > PHASE_WINDOW)
        return;
    uint64_t now_ns = clock_now_ns();
    if (!thread->crew->open_loop)
        ask_all_it_may(slot, now_ns);
    else {
        make_available(slot, now_ns);
        send_due(thread, now_ns);
    }
}

/* Counts what a connection's end cost, once: as an error of the request, or of the connection. */
static void count_end(struct slot *slot, int err, bool was_open) {
    if (slot->failed)
        return;
    if (!was_open)
        count_error(slot->thread, err == -ETIMEDOUT ? LOAD_CONNECT_TIMEOUT : LOAD_CONNECT, 1);
    else
        count_error(slot->thread, error_kind(err), slot->outstanding ? slot->outstanding : 1);
}

static void closed(void *data, int err) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    bool was_open = slot->open;
    slot->stream = NULL;
    slot->open = false;
    make_unavailable(slot);
    if (was_open) {
        thread->open_count--;
        atomic_fetch_sub(&thread->crew->result->connected, 1);
    } else
        thread->connecting--;
    if (thread->phase == PHASE_OVER)
        return;
    count_end(slot, err, was_open);
    uint64_t now_ns = clock_now_ns();
    for (; slot->outstanding > 0; slot->outstanding--) {
        record_lost(thread, &slot->asked[slot->first], now_ns);
        slot->first = (slot->first + 1) % thread->crew->in_flight;
    }
    if (thread->open_count == 0 && thread->none_open_since_ns == 0)
        thread->none_open_since_ns = now_ns;
    retry_later(slot);
    if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
        send_due(thread, now_ns);
}

static const struct client_events events = {.opened = opened, .answered = answered, .closed = closed};

/* ---- what is looked at every so often ------------------------------------------------------------------ */

static void time_out_slots(struct thread *thread, uint64_t now_ns) {
    const struct crew *crew = thread->crew;
    for (uint32_t i = 0; i < thread->slots_started; i++) {
        struct slot *slot = &thread->slots[i];
        if (!slot->stream || slot->failed)
            continue;
        if (!slot->open && now_ns - slot->since_ns > crew->connect_timeout_ns)
            give_up(slot, LOAD_CONNECT_TIMEOUT, 1);
        else if (slot->outstanding > 0 &&
                 now_ns - slot->asked[slot->first].sent_ns > crew->timeout_ns)
            give_up(slot, LOAD_TIMEOUT, slot->outstanding);
    }
}

static const char *most_frequent_error(const struct thread *thread) {
    size_t most = 0;
    for (size_t i = 1; i < LOAD_ERRORS; i++)
        if (thread->errors[i] > thread->errors[most])
            most = i;
    return thread->errors[most] ? load_error_names[most] : "no error";
}

static void check_alive(struct thread *thread, uint64_t now_ns) {
    struct error what;
    if (thread->phase == PHASE_CONNECT &&
        now_ns - thread->start_ns > thread->crew->connect_timeout_ns) {
        error_set(&what, -ETIMEDOUT, "only %u of %u connections stay open (most frequent: %s)",
                  thread->open_count, thread->slot_count, most_frequent_error(thread));
        fail(thread, what.text);
    } else if (thread->none_open_since_ns && now_ns - thread->none_open_since_ns > DEAD_AFTER_NS) {
        error_set(&what, -ECONNREFUSED, "the server is gone: no connection for a second (%s)",
                  most_frequent_error(thread));
        fail(thread, what.text);
    }
}

static void stop_early(struct thread *thread) {
    if (thread->phase == PHASE_WINDOW)
        begin_drain(thread);
    else if (thread->phase != PHASE_DRAIN)
        fail(thread, "interrupted before anything was measured");
}

static void scan_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, scan);
    uint64_t now_ns = clock_now_ns();
    time_out_slots(thread, now_ns);
    check_alive(thread, now_ns);
    if (atomic_load(thread->crew->stopping))
        stop_early(thread);
    if (atomic_load(&thread->crew->failed))
        loop_stop(thread->loop);
    uint64_t every_ns = thread->crew->timeout_ns / 20;
    if (every_ns > 100 * NS_PER_MS)
        every_ns = 100 * NS_PER_MS;
    timer_set(thread->loop, &thread->scan, now_ns + (every_ns > NS_PER_MS ? every_ns : NS_PER_MS));
}

/* ---- one interval a second -------------------------------------------------------------------------------- */

static void publish_interval(struct crew *crew, uint64_t at_ns, uint64_t length_ns) {
    struct load_result *result = crew->result;
    uint32_t index = atomic_load(&result->interval_count);
    if (index < LOAD_INTERVALS_MOST) {
        const struct histogram *latency = &crew->interval;
        result->intervals[index] = (struct load_interval){
            .at_ns = at_ns,
            .length_ns = length_ns,
            .requests = crew->interval_requests,
            .errors = crew->interval_errors,
            .p50_ns = histogram_quantile_valid(latency, 0.5) ? histogram_quantile(latency, 0.5) : 0,
            .p99_ns = histogram_quantile_valid(latency, 0.99) ? histogram_quantile(latency, 0.99) : 0,
        };
        atomic_store(&result->interval_count, index + 1);
    }
    histogram_reset(&crew->interval);
    crew->interval_requests = crew->interval_errors = 0;
    crew->interval_threads = 0;
}

/* Threads end their intervals within moments of each other; the last one publishes. */
static void end_interval(struct thread *thread, uint64_t now_ns) {
    struct crew *crew = thread->crew;
    pthread_mutex_lock(&crew->lock);
    histogram_add_recorder(&crew->interval, &thread->interval);
    crew->interval_requests += thread->interval_requests;
    crew->interval_errors += thread->interval_errors;
    if (++crew->interval_threads == crew->thread_count)
        publish_interval(crew, now_ns - thread->opened_ns, now_ns - thread->interval_start_ns);
    pthread_mutex_unlock(&crew->lock);
    recorder_reset(&thread->interval);
    thread->interval_requests = thread->interval_errors = 0;
    thread->interval_start_ns = now_ns;
}

static void interval_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, interval_end);
    uint64_t due_ns = timer->due_ns;
    end_interval(thread, clock_now_ns());
    timer_set(thread->loop, timer, due_ns + NS_PER_S);
}

/* ---- the window's edges --------------------------------------------------------------------------------- */

static uint64_t all_answers(struct crew *crew) {
    uint64_t answers = 0;
    for (uint32_t i = 0; i < crew->thread_count; i++)
        answers += atomic_load_explicit(&crew->threads[i].answers, memory_order_relaxed);
    return answers;
}

/* Time a thread was runnable and had no CPU: the second number of schedstat, proc(5). */
static uint64_t starved_ns(pid_t tid) {
    char path[64], text[128];
    unsigned long long ran_ns, waited_ns;
    snprintf(path, sizeof path, "proc/%d/schedstat", (int)tid);
    if (host_file_read("/", path, text, sizeof text) < 0 ||
        sscanf(text, "%llu %llu", &ran_ns, &waited_ns) != 2)
        return 0;
    return waited_ns;
}

static void mark_thoroughly(struct crew *crew, struct server_mark *mark) {
    const struct load_plan *plan = crew->plan;
    if (plan->control_fd >= 0)
        mark->counters_known =
            control_ask(plan->control_fd, &mark->counters, CONTROL_TIMEOUT_MS) == 0;
    mark->thorough_answers = all_answers(crew);
    mark->usage_known = plan->server_pid > 0 && usage_read(plan->server_pid, &mark->usage) == 0;
}

static void mark_cpu(const struct crew *crew, struct server_mark *mark) {
    pid_t pid = crew->plan->server_pid;
    mark->cpu_known = pid > 0 && usage_cpu_ns(pid, &mark->cpu_ns) == 0;
    mark->starved_ns = pid > 0 ? starved_ns(pid) : 0;
}

static struct own_usage read_own_usage(const struct thread *thread) {
    struct own_usage usage = {.cpu_ns = thread_cpu_ns(),
                              .spin_ns = loop_counters(thread->loop)->spin_ns,
                              .starved_ns = starved_ns(gettid())};
    getrusage(RUSAGE_THREAD, &usage.kernel);
    return usage;
}

static void mark_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, mark);
    struct crew *crew = thread->crew;
    mark_thoroughly(crew, &crew->result->before);
    crew->result->host_known = host_cpu_read("/", &crew->result->host_before) == 0;
}

static void edge_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, edge);
    if (thread->phase != PHASE_WARMUP) {
        begin_drain(thread);
        return;
    }
    if (thread->number == 0)
        mark_cpu(thread->crew, &thread->crew->result->before);
    thread->before = read_own_usage(thread);
    thread->opened_ns = thread->interval_start_ns = clock_now_ns();
    thread->phase = PHASE_WINDOW;
    recorder_reset(&thread->interval);
    thread->interval_requests = thread->interval_errors = 0;
    timer_set(thread->loop, &thread->interval_end, thread->opened_ns + NS_PER_S);
    if (!thread->has_quota)
        timer_set(thread->loop, &thread->edge, thread->end_ns);
}

/* What was due in the window by the schedule's own count: Poisson arrivals have their own luck. */
static void count_due(struct thread *thread) {
    thread->due_count = thread->end_ns == UINT64_MAX
                            ? thread->sent_count
                            : schedule_count_between(&thread->schedule,
                                                     thread->window_ns - thread->start_ns,
                                                     thread->end_ns - thread->start_ns);
}

static void drain_is_over(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, edge);
    loop_stop(thread->loop);
}

static void begin_drain(struct thread *thread) {
    struct crew *crew = thread->crew;
    if (thread->phase != PHASE_WINDOW)
        return;
    if (thread->number == 0)
        mark_cpu(crew, &crew->result->after);
    thread->closed_ns = clock_now_ns();
    thread->after = read_own_usage(thread);
    thread->phase = PHASE_DRAIN;
    if (atomic_load(crew->stopping) && thread->closed_ns < thread->end_ns)
        thread->end_ns = thread->closed_ns;
    timer_cancel(thread->loop, &thread->interval_end);
    if (thread->interval_requests + thread->interval_errors > 0 || crew->thread_count > 1)
        end_interval(thread, thread->closed_ns);
    if (thread->number == 0) {
        mark_thoroughly(crew, &crew->result->after);
        host_cpu_read("/", &crew->result->host_after);
    }
    if (!crew->open_loop) {
        loop_stop(thread->loop);
        return;
    }
    count_due(thread);
    thread->edge.on_due = drain_is_over;
    uint64_t grace_ns = atomic_load(crew->stopping) ? crew->timeout_ns / 10 : crew->timeout_ns;
    timer_set(thread->loop, &thread->edge, thread->closed_ns + grace_ns);
    send_due(thread, clock_now_ns());
}

/* What is still outstanding or unsent when the drain ends took at least until now. */
static void record_leftovers(struct thread *thread) {
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        for (uint32_t k = 0; k < slot->outstanding; k++) {
            const struct asked *asked = &slot->asked[(slot->first + k) % thread->crew->in_flight];
            if (asked->in_window)
                count_error(thread, LOAD_TIMEOUT, 1);
            record_lost(thread, asked, now_ns);
        }
    }
    for (;; schedule_advance(&thread->schedule)) {
        uint64_t due_ns = thread->start_ns + schedule_due_ns(&thread->schedule);
        if (schedule_is_over(thread, due_ns))
            break;
        if (due_ns < thread->window_ns)
            continue;
        thread->unsent++;
        recorder_add(&thread->response, at_least(thread->crew->timeout_ns, now_ns - due_ns));
    }
}

/* ---- a thread's life -------------------------------------------------------------------------------------- */

static int set_up(struct thread *thread, struct error *error) {
    struct crew *crew = thread->crew;
    const struct load_plan *plan = crew->plan;
    struct loop_config config = {.spin_ns = crew->open_loop && !plan->no_spin ? SPIN_NS : 0};
    int failure = loop_open("epoll", &config, &thread->loop, error);
    if (failure)
        return failure;
    failure = plan->workload->client->start(thread->loop, &plan->knobs, &plan->target, plan->verify,
                                            &events, &thread->client, error);
    if (failure)
        return failure;
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        slot->thread = thread;
        slot->retry.on_due = retry_due;
        slot->asked = calloc(crew->in_flight, sizeof *slot->asked);
        if (!slot->asked)
            return error_set(error, -ENOMEM, "out of memory for %u connections", thread->slot_count);
    }
    thread->due.on_due = request_due;
    thread->mark.on_due = mark_due;
    thread->edge.on_due = edge_due;
    thread->scan.on_due = scan_due;
    thread->interval_end.on_due = interval_due;
    return 0;
}

static void plan_times(struct thread *thread) {
    struct crew *crew = thread->crew;
    thread->start_ns = crew->start_ns;
    thread->window_ns = crew->start_ns + crew->warmup_ns;
    thread->end_ns = thread->has_quota ? UINT64_MAX : thread->window_ns + crew->duration_ns;
}

static void start_asking(struct thread *thread) {
    struct crew *crew = thread->crew;
    plan_times(thread);
    thread->phase = PHASE_WARMUP;
    uint64_t ahead_ns = MARK_AHEAD_MS * NS_PER_MS;
    if (thread->number == 0)
        timer_set(thread->loop, &thread->mark,
                  thread->window_ns > ahead_ns ? thread->window_ns - ahead_ns : 0);
    timer_set(thread->loop, &thread->edge, thread->window_ns);
    timer_set(thread->loop, &thread->scan, thread->start_ns);
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        if (slot->idle || !slot->open)
            continue;
        if (crew->open_loop)
            make_available(slot, now_ns);
        else
            ask_all_it_may(slot, now_ns);
    }
    if (crew->open_loop)
        send_due(thread, now_ns);
}

static void tear_down(struct thread *thread) {
    thread->phase = PHASE_OVER;
    if (thread->loop)
        loop_free(thread->loop);
    if (thread->client)
        thread->crew->plan->workload->client->stop(thread->client);
    for (uint32_t i = 0; i < thread->slot_count; i++)
        free(thread->slots[i].asked);
    free(thread->slots);
}

static void *thread_main(void *data) {
    struct thread *thread = data;
    struct crew *crew = thread->crew;
    struct error error;
    int failure = set_up(thread, &error);
    if (failure) {
        pthread_mutex_lock(&crew->lock);
        crew->result->failure = error;
        pthread_mutex_unlock(&crew->lock);
        atomic_store(&crew->failed, true);
        thread->failure = failure;
    } else {
        thread->start_ns = clock_now_ns();
        timer_set(thread->loop, &thread->scan, thread->start_ns);
        connect_more(thread);
        loop_run(thread->loop);
    }
    pthread_barrier_wait(&crew->barrier);
    if (thread->number == 0)
        crew->start_ns = clock_now_ns() + START_DELAY_NS;
    pthread_barrier_wait(&crew->barrier);
    if (!atomic_load(&crew->failed)) {
        start_asking(thread);
        loop_run(thread->loop);
        if (crew->open_loop && !thread->failure)
            record_leftovers(thread);
    }
    return NULL;
}

/* ---- putting the threads together ----------------------------------------------------------------------- */

static uint64_t timeval_ns(struct timeval time) {
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * 1000;
}

static void add_fairness(struct load_result *result, const struct thread *thread) {
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        const struct slot *slot = &thread->slots[i];
        if (slot->idle)
            continue;
        if (slot->answers < result->slowest_connection)
            result->slowest_connection = slot->answers;
        if (slot->answers > result->fastest_connection)
            result->fastest_connection = slot->answers;
    }
}

static void add_thread(struct load_result *result, const struct thread *thread) {
    uint64_t window_ns = thread->closed_ns - thread->opened_ns;
    uint64_t cpu_ns = thread->after.cpu_ns - thread->before.cpu_ns;
    uint64_t spin_ns = thread->after.spin_ns - thread->before.spin_ns;
    uint64_t starved = thread->after.starved_ns - thread->before.starved_ns;
    const struct rusage *before = &thread->before.kernel, *after = &thread->after.kernel;
    histogram_add_recorder(&result->response, &thread->response);
    histogram_add_recorder(&result->service, &thread->service);
    histogram_add_recorder(&result->lag, &thread->lag);
    result->window_ns += window_ns / result->threads;
    result->due += thread->due_count;
    result->sent += thread->sent_count;
    result->unsent += thread->unsent;
    result->requests += thread->answers_in_window;
    result->received_bytes += thread->received_bytes;
    result->cpu_ns += cpu_ns;
    result->spin_ns += spin_ns;
    result->user_ns += timeval_ns(after->ru_utime) - timeval_ns(before->ru_utime);
    result->context_switches += (uint64_t)(after->ru_nvcsw - before->ru_nvcsw) +
                                (uint64_t)(after->ru_nivcsw - before->ru_nivcsw);
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        result->errors[i] += thread->errors[i];
    if (starved > result->starved_ns)
        result->starved_ns = starved;
    double busy = cpu_ns > spin_ns ? (double)(cpu_ns - spin_ns) / (double)window_ns : 0;
    if (busy > result->busy)
        result->busy = busy;
    if (!result->open_loop)
        result->achieved_rate += (double)thread->answers_in_window / (double)window_ns * 1e9;
    add_fairness(result, thread);
}

static void put_together(struct crew *crew) {
    struct load_result *result = crew->result;
    result->open_loop = crew->open_loop;
    result->threads = crew->thread_count;
    result->slowest_connection = UINT64_MAX;
    for (uint32_t i = 0; i < crew->thread_count; i++)
        add_thread(result, &crew->threads[i]);
    if (crew->open_loop && result->window_ns > 0) {
        result->offered_rate = (double)result->due / (double)result->window_ns * 1e9;
        result->achieved_rate = (double)result->sent / (double)result->window_ns * 1e9;
    }
    result->interrupted = atomic_load(crew->stopping);
    result->finished = true;
}

static uint32_t share(uint32_t whole, uint32_t part, uint32_t parts) {
    return whole / parts + (part < whole % parts);
}

static bool hire_thread(struct crew *crew, uint32_t number) {
    const struct load_plan *plan = crew->plan;
    struct thread *thread = &crew->threads[number];
    uint32_t active = (uint32_t)knob_get(&plan->knobs, "connections");
    uint32_t idle = (uint32_t)knob_get(&plan->knobs, "idle_connections");
    uint32_t own_active = share(active, number, crew->thread_count);
    thread->crew = crew;
    thread->number = number;
    thread->slot_count = own_active + share(idle, number, crew->thread_count);
    thread->has_quota = plan->requests > 0;
    thread->quota = plan->requests / crew->thread_count +
                    (number < plan->requests % crew->thread_count);
    thread->slots = calloc(thread->slot_count, sizeof *thread->slots);
    if (!thread->slots)
        return false;
    for (uint32_t i = own_active; i < thread->slot_count; i++)
        thread->slots[i].idle = true;
    if (crew->open_loop)
        schedule_init(&thread->schedule, (enum arrivals)knob_get(&plan->knobs, "arrivals"),
                      knob_get(&plan->knobs, "rate"), plan->seed, number, crew->thread_count);
    return true;
}

/* 127.0.0.1, 127.0.0.2, …: each adds its own 28,000 ports. Other targets keep the default source. */
static int choose_sources(struct crew *crew) {
    const struct endpoint *target = &crew->plan->target;
    if (target->address.ss_family != AF_INET || !endpoint_is_loopback(target))
        crew->source_count = 1;
    crew->sources = calloc(crew->source_count, sizeof *crew->sources);
    if (!crew->sources)
        return -ENOMEM;
    for (uint32_t i = 0; i < crew->source_count && crew->source_count > 1; i++) {
        char text[ENDPOINT_TEXT_BYTES];
        struct error error;
        snprintf(text, sizeof text, "127.0.0.%u:0", i + 1);
        CHECK(endpoint_parse(text, &crew->sources[i], &error) == 0);
    }
    return 0;
}

static bool prepare(struct crew *crew) {
    const struct knob_values *knobs = &crew->plan->knobs;
    crew->thread_count = (uint32_t)knob_get(knobs, "threads");
    crew->in_flight = (uint32_t)knob_get(knobs, "in_flight");
    crew->open_loop = knob_get(knobs, "rate") > 0;
    crew->warmup_ns = (uint64_t)knob_get(knobs, "warmup");
    crew->duration_ns = (uint64_t)knob_get(knobs, "duration");
    crew->timeout_ns = (uint64_t)knob_get(knobs, "timeout");
    crew->connect_timeout_ns = (uint64_t)knob_get(knobs, "connect_timeout");
    crew->source_count = (uint32_t)knob_get(knobs, "source_addresses");
    /* Histograms want their alignment, so not calloc. */
    crew->threads = aligned_alloc(128, crew->thread_count * sizeof *crew->threads);
    if (!crew->threads || choose_sources(crew))
        return false;
    memset((void *)crew->threads, 0, crew->thread_count * sizeof *crew->threads);
    for (uint32_t i = 0; i < crew->thread_count; i++) {
        if (!hire_thread(crew, i))
            return false;
        crew->result->connections += crew->threads[i].slot_count;
    }
    pthread_barrier_init(&crew->barrier, NULL, crew->thread_count);
    pthread_mutex_init(&crew->lock, NULL);
    return true;
}

void generator_run(const struct load_plan *plan, struct load_result *result, atomic_bool *stopping) {
    struct crew *crew = calloc(1, sizeof *crew);
    CHECK(crew);
    *crew = (struct crew){.plan = plan, .result = result, .stopping = stopping};
    if (!prepare(crew)) {
        error_set(&result->failure, -ENOMEM, "out of memory for the generator's threads");
        return; /* the process ends with it */
    }
    for (uint32_t i = 1; i < crew->thread_count; i++)
        CHECK(pthread_create(&crew->threads[i].id, NULL, thread_main, &crew->threads[i]) == 0);
    thread_main(&crew->threads[0]);
    for (uint32_t i = 1; i < crew->thread_count; i++)
        pthread_join(crew->threads[i].id, NULL);
    if (!atomic_load(&crew->failed))
        put_together(crew);
    for (uint32_t i = 0; i < crew->thread_count; i++)
        tear_down(&crew->threads[i]);
    pthread_barrier_destroy(&crew->barrier);
    pthread_mutex_destroy(&crew->lock);
    free(crew->threads);
    free(crew->sources);
    free(crew);
}
