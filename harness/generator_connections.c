/* generator_connections.c: opening connections, opening them again, and noticing that nobody is
 * there. */
#include <errno.h>
#include <string.h>

#include "harness/generator.h"

enum { CONNECTING_MOST = 128 }; /* at once, so that a burst does not overrun the listen queue */
#define BACKOFF_LEAST_NS NS_PER_MS
#define BACKOFF_MOST_NS (100 * NS_PER_MS)
#define DEAD_AFTER_NS NS_PER_S /* without any connection the server is gone */
#define SCAN_LATE_NS (50 * NS_PER_MS)
enum { PASS_EVENTS = 512 }; /* the loop brings as many, at least, if they are there */
#define CLOSING_MOST_NS NS_PER_S

/* ---- errors ---------------------------------------------------------------------------------- */

enum load_error connections_error_kind(int err) {
    switch (-err) {
    case ECONNRESET:
        return LOAD_RESET;
    case EPIPE:
        return LOAD_CLOSED;
    case EBADMSG:
        return LOAD_WRONG_ANSWER;
    case EPROTO:
        return LOAD_PARSE;
    case ETIMEDOUT:
        return LOAD_TIMEOUT;
    default:
        return LOAD_OTHER;
    }
}

void connections_count_error(struct thread *thread, enum load_error kind, uint64_t count,
                             const struct load_cause *cause) {
    struct load_cause counted = *cause;
    if (count == 0)
        return;
    counted.count = count;
    thread->errors[kind] += count;
    interval_current(thread->latency)->errors += count;
    load_add_cause(thread->causes, &thread->cause_count, &counted);
}

static void close_connection(struct slot *slot) {
    const struct workload_client *client = slot->thread->crew->plan->workload->client;
    if (client->close)
        client->close(slot->connection);
    else
        stream_close(slot->connection);
}

void connections_give_up(struct slot *slot, enum load_error kind, uint64_t count,
                         const struct load_cause *cause) {
    slot->failed = true;
    connections_count_error(slot->thread, kind, count, cause);
    close_connection(slot);
}

void connections_recycle(struct slot *slot) {
    slot->recycling = true;
    requests_make_unavailable(slot);
    close_connection(slot);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void start_connecting(struct slot *slot);

/* When a connection is to be started: at once, or evenly over the ramp. */
static uint64_t connection_due_ns(const struct thread *thread, uint32_t number) {
    unsigned __int128 share = (unsigned __int128)thread->crew->connection_ramp_ns * number;
    return thread->start_ns + (uint64_t)(share / thread->slot_count);
}

void connections_start(struct thread *thread) {
    uint64_t now_ns = clock_now_ns();
    while (thread->connecting < CONNECTING_MOST && thread->slots_started < thread->slot_count &&
           !thread->failure) {
        uint64_t due_ns = connection_due_ns(thread, thread->slots_started);
        if (due_ns > now_ns) {
            timer_set(thread->loop, &thread->connection_due, due_ns);
            return;
        }
        start_connecting(&thread->slots[thread->slots_started++]);
    }
}

void connections_on_due(struct timer *timer) {
    connections_start(CONTAINER_OF(timer, struct thread, connection_due));
}

static void retry_later(struct slot *slot) {
    struct thread *thread = slot->thread;
    slot->backoff_ns = slot->backoff_ns ? slot->backoff_ns * 2 : BACKOFF_LEAST_NS;
    if (slot->backoff_ns > BACKOFF_MOST_NS)
        slot->backoff_ns = BACKOFF_MOST_NS;
    timer_set(thread->loop, &slot->retry, clock_now_ns() + slot->backoff_ns);
}

static void keep_connect_error(struct thread *thread, int err, const char *what) {
    thread->connect_error = err;
    snprintf(thread->connect_what, sizeof thread->connect_what, "%s", what ? what : "");
}

/* Where getaddrinfo is called on an event loop, as clients that keep no names do, nothing else
 * happens on it meanwhile: so it is here, and the time is the connection's. False: no connection
 * now. */
static bool look_up(struct slot *slot, const char *name) {
    struct thread *thread = slot->thread;
    struct load_lookups *lookups = &thread->lookups;
    const char *what = NULL;
    int err = endpoint_look_up(&thread->crew->plan->target, name, &what);
    uint64_t took_ns = clock_now_ns() - slot->since_ns;
    if (thread->phase == PHASE_WINDOW) {
        lookups->count++;
        lookups->total_ns += took_ns;
        if (took_ns > lookups->longest_ns)
            lookups->longest_ns = took_ns;
    }
    if (err == 0)
        return true;
    struct load_cause cause = load_cause(LOAD_PHASE_CONNECT, err, what);
    connections_count_error(thread, LOAD_CONNECT, 1, &cause);
    keep_connect_error(thread, err, what);
    retry_later(slot);
    return false;
}

static void start_connecting(struct slot *slot) {
    struct thread *thread = slot->thread;
    struct crew *crew = thread->crew;
    const struct endpoint *source =
        crew->source_count > 0 ? &crew->sources[(size_t)(slot - thread->slots) % crew->source_count]
                               : NULL;
    slot->since_ns = clock_now_ns();
    slot->failed = slot->recycling = false;
    slot->asked_here = 0;
    if (crew->looked_up && !look_up(slot, crew->looked_up))
        return;
    int failure =
        crew->plan->workload->client->connect(thread->client, source, slot, &slot->connection);
    if (failure == 0) {
        thread->connecting++;
        return;
    }
    slot->connection = NULL;
    struct load_cause cause = load_cause(LOAD_PHASE_CONNECT, failure, NULL);
    connections_count_error(thread, LOAD_CONNECT, 1, &cause);
    struct error what;
    error_set(&what, failure, "cannot open connection %u of %u: %s%s", thread->open_count + 1,
              thread->slot_count, strerror(-failure),
              failure == -EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
    generator_fail(thread, what.text);
}

void connections_on_retry(struct timer *timer) {
    start_connecting(CONTAINER_OF(timer, struct slot, retry));
}

/* Of one connection, when it is a stream. */
static void read_what_was_agreed(struct slot *slot) {
    struct thread *thread = slot->thread;
    struct load_result *result = thread->crew->result;
    if (thread->number > 0 || thread->crew->plan->workload->client->close)
        return;
    if (!result->socket_known)
        result->socket_known =
            socket_get_options(stream_fd(slot->connection), &result->socket) == 0;
    if (!result->tls_known)
        result->tls_known = tls_agreed(slot->connection, &result->tls);
}

void connections_opened(void *data) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    slot->open = true;
    slot->backoff_ns = 0;
    thread->connecting--;
    thread->open_count++;
    thread->none_open_since_ns = 0;
    atomic_fetch_add(&thread->crew->result->connected, 1);
    read_what_was_agreed(slot);
    if (thread->phase == PHASE_CONNECT) {
        connections_start(thread);
        if (thread->open_count == thread->slot_count)
            loop_stop(thread->loop);
        return;
    }
    /* In the drain of an open loop it still takes what was due in the window. */
    enum phase last = thread->crew->open_loop ? PHASE_DRAIN : PHASE_WINDOW;
    if (slot->idle || thread->phase > last)
        return;
    uint64_t now_ns = clock_now_ns();
    if (thread->phase == PHASE_WINDOW)
        recorder_add(&thread->connect_times, now_ns - slot->since_ns);
    requests_ask_again(slot, now_ns);
    if (!thread->crew->open_loop)
        requests_ask_all(slot, now_ns);
    else if (slot->outstanding < thread->crew->in_flight) {
        requests_make_available(slot, now_ns);
        requests_send_due(thread, now_ns);
    }
}

/* Counts what a connection's end cost, once: as an error of the request, or of the connection. */
static void count_end(struct slot *slot, const struct client_end *end, bool was_open) {
    if (slot->failed || (was_open && end->err == 0 && slot->outstanding == 0))
        return;
    struct load_cause cause = load_cause(
        was_open ? (enum load_phase)end->step : LOAD_PHASE_CONNECT, end->err, end->what);
    if (!was_open)
        connections_count_error(
            slot->thread, end->err == -ETIMEDOUT ? LOAD_CONNECT_TIMEOUT : LOAD_CONNECT, 1, &cause);
    else
        connections_count_error(slot->thread, connections_error_kind(end->err),
                                slot->outstanding ? slot->outstanding : 1, &cause);
}

static void lose_outstanding(struct slot *slot, uint64_t now_ns) {
    uint32_t in_flight = slot->thread->crew->in_flight;
    for (; slot->outstanding > 0; slot->outstanding--) {
        requests_record_lost(slot->thread, &slot->asked[slot->first], now_ns);
        slot->first = (slot->first + 1) % in_flight;
    }
}

void connections_closed(void *data, const struct client_end *end) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    bool was_open = slot->open;
    bool as_it_should = slot->recycling || (was_open && end->err == 0 && !slot->failed);
    slot->connection = NULL;
    slot->open = false;
    requests_make_unavailable(slot);
    if (was_open) {
        thread->open_count--;
        atomic_fetch_sub(&thread->crew->result->connected, 1);
    } else {
        thread->connecting--;
        keep_connect_error(thread, end->err, end->what);
    }
    if (thread->phase == PHASE_OVER) {
        if (thread->open_count + thread->connecting == 0)
            loop_stop(thread->loop);
        return;
    }
    uint64_t now_ns = clock_now_ns();
    if (!slot->recycling) {
        count_end(slot, end, was_open);
        lose_outstanding(slot, now_ns);
    }
    if (thread->open_count == 0 && thread->none_open_since_ns == 0)
        thread->none_open_since_ns = now_ns;
    thread->reconnects += as_it_should;
    if (as_it_should && slot->asked_here > 0)
        start_connecting(slot);
    else
        retry_later(slot);
    if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
        requests_send_due(thread, now_ns);
}

/* ---- what is looked at every so often -------------------------------------------------------- */

static void time_out_slots(struct thread *thread, uint64_t now_ns) {
    static const struct load_cause connecting = {LOAD_PHASE_CONNECT, -ETIMEDOUT, "", 0};
    static const struct load_cause waiting = {LOAD_PHASE_TIMEOUT, -ETIMEDOUT, "", 0};
    const struct crew *crew = thread->crew;
    for (uint32_t i = 0; i < thread->slots_started; i++) {
        struct slot *slot = &thread->slots[i];
        if (!slot->connection || slot->failed || slot->recycling)
            continue;
        if (!slot->open && now_ns - slot->since_ns > crew->connect_timeout_ns)
            connections_give_up(slot, LOAD_CONNECT_TIMEOUT, 1, &connecting);
        else if (slot->open && slot->outstanding > 0 &&
                 now_ns - slot->asked[slot->first].sent_ns > crew->timeout_ns)
            connections_give_up(slot, LOAD_TIMEOUT, slot->outstanding, &waiting);
    }
}

static const char *most_frequent_error(const struct thread *thread) {
    size_t most = 0;
    for (size_t i = 1; i < LOAD_ERRORS; i++)
        if (thread->errors[i] > thread->errors[most])
            most = i;
    return thread->errors[most] ? load_error_names[most] : "no error";
}

static const char *why_none_connects(const struct thread *thread) {
    if (thread->connect_what[0])
        return thread->connect_what;
    return thread->connect_error ? strerror(-thread->connect_error) : most_frequent_error(thread);
}

static void check_alive(struct thread *thread, uint64_t now_ns) {
    struct error what;
    if (thread->phase == PHASE_CONNECT &&
        now_ns - thread->start_ns >
            thread->crew->connect_timeout_ns + thread->crew->connection_ramp_ns) {
        error_set(&what, -ETIMEDOUT, "only %u of %u connections stay open (most frequent: %s)",
                  thread->open_count, thread->slot_count, most_frequent_error(thread));
        generator_fail(thread, what.text);
    } else if (thread->none_open_since_ns && now_ns - thread->none_open_since_ns > DEAD_AFTER_NS) {
        char address[ENDPOINT_TEXT_BYTES];
        const struct url *url = &thread->crew->url;
        endpoint_format(&thread->crew->plan->target, address);
        error_set(&what, -ECONNREFUSED, "the server %s is gone: no connection for a second (%s)",
                  url->is_database ? url->path : address, why_none_connects(thread));
        generator_fail(thread, what.text);
    }
}

/* When it is this thread that stood still, answers may be there that nobody has read, and a limit
 * that has passed meanwhile is not the server's fault: as many passes come first as can read from
 * all connections. */
static bool answers_come_first(struct thread *thread, uint64_t now_ns) {
    const struct crew *crew = thread->crew;
    uint64_t limit_ns = crew->timeout_ns < crew->connect_timeout_ns ? crew->timeout_ns
                                                                    : crew->connect_timeout_ns;
    uint64_t late_ns = limit_ns / 2 < SCAN_LATE_NS ? limit_ns / 2 : SCAN_LATE_NS;
    bool late = now_ns - thread->scan.due_ns > late_ns;
    bool first = thread->scan_put_off > 0 ? thread->scan_put_off <= thread->slot_count / PASS_EVENTS
                                          : late;
    thread->scan_put_off = first ? thread->scan_put_off + 1 : 0;
    return first;
}

void connections_on_scan(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, scan);
    uint64_t now_ns = clock_now_ns();
    if (answers_come_first(thread, now_ns)) {
        timer_set(thread->loop, &thread->scan, now_ns);
        return;
    }
    time_out_slots(thread, now_ns);
    check_alive(thread, now_ns);
    if (atomic_load(thread->crew->stopping))
        generator_stop_early(thread);
    if (atomic_load(&thread->crew->failed))
        loop_stop(thread->loop);
    uint64_t every_ns = thread->crew->timeout_ns / 20;
    if (every_ns > 100 * NS_PER_MS)
        every_ns = 100 * NS_PER_MS;
    timer_set(thread->loop, &thread->scan, now_ns + (every_ns > NS_PER_MS ? every_ns : NS_PER_MS));
}

/* ---- the end --------------------------------------------------------------------------------- */

static void closing_took_too_long(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, edge);
    loop_stop(thread->loop);
}

/* Nothing is to happen any more but that connections close. */
static void cancel_timers(struct thread *thread) {
    struct timer *timers[] = {&thread->due,  &thread->mark,         &thread->edge,
                              &thread->scan, &thread->interval_end, &thread->connection_due};
    for (size_t i = 0; i < ARRAY_LENGTH(timers); i++)
        timer_cancel(thread->loop, timers[i]);
    for (uint32_t i = 0; i < thread->slot_count; i++)
        timer_cancel(thread->loop, &thread->slots[i].retry);
}

bool connections_close_all(struct thread *thread) {
    thread->phase = PHASE_OVER;
    cancel_timers(thread);
    for (uint32_t i = 0; i < thread->slot_count; i++)
        if (thread->slots[i].connection)
            close_connection(&thread->slots[i]);
    thread->edge.on_due = closing_took_too_long;
    timer_set(thread->loop, &thread->edge, clock_now_ns() + CLOSING_MOST_NS);
    /* A stop that came before may end the first run. */
    while (thread->open_count + thread->connecting > 0 && timer_is_set(&thread->edge))
        if (loop_run(thread->loop))
            break;
    timer_cancel(thread->loop, &thread->edge);
    return thread->open_count + thread->connecting == 0;
}
