/* generator_connections.c: opening connections, opening them again, and noticing that nobody is
 * there. */
#include <errno.h>
#include <string.h>

#include "harness/generator.h"

enum { CONNECTING_MOST = 128 }; /* at once, so that a burst does not overrun the listen queue */
#define BACKOFF_LEAST_NS NS_PER_MS
#define BACKOFF_MOST_NS (100 * NS_PER_MS)
#define DEAD_AFTER_NS NS_PER_S /* without any connection the server is gone */

/* ---- errors ---------------------------------------------------------------------------------- */

enum load_error connections_error_kind(int err) {
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

void connections_count_error(struct thread *thread, enum load_error kind, uint64_t count) {
    thread->errors[kind] += count;
    interval_current(thread->latency)->errors += count;
}

/* Closes a connection for a reason that is counted here and not again when it has closed. */
void connections_give_up(struct slot *slot, enum load_error kind, uint64_t count) {
    slot->failed = true;
    connections_count_error(slot->thread, kind, count);
    stream_close(slot->stream);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void start_connecting(struct slot *slot);

void connections_start(struct thread *thread) {
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
    int failure =
        crew->plan->workload->client->connect(thread->client, source, slot, &slot->stream);
    if (failure == 0) {
        thread->connecting++;
        return;
    }
    slot->stream = NULL;
    connections_count_error(thread, LOAD_CONNECT, 1);
    struct error what;
    error_set(&what, failure, "cannot open connection %u of %u: %s%s", thread->open_count + 1,
              thread->slot_count, strerror(-failure),
              failure == -EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
    generator_fail(thread, what.text);
}

void connections_on_retry(struct timer *timer) {
    start_connecting(CONTAINER_OF(timer, struct slot, retry));
}

static void read_socket_options(struct slot *slot) {
    struct thread *thread = slot->thread;
    struct load_result *result = thread->crew->result;
    if (thread->number == 0 && !result->socket_known)
        result->socket_known = socket_get_options(stream_fd(slot->stream), &result->socket) == 0;
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
    read_socket_options(slot);
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
    if (!thread->crew->open_loop)
        requests_ask_all(slot, now_ns);
    else {
        requests_make_available(slot, now_ns);
        requests_send_due(thread, now_ns);
    }
}

/* Counts what a connection's end cost, once: as an error of the request, or of the connection. */
static void count_end(struct slot *slot, int err, bool was_open) {
    if (slot->failed)
        return;
    if (!was_open)
        connections_count_error(slot->thread,
                                err == -ETIMEDOUT ? LOAD_CONNECT_TIMEOUT : LOAD_CONNECT, 1);
    else
        connections_count_error(slot->thread, connections_error_kind(err),
                                slot->outstanding ? slot->outstanding : 1);
}

void connections_closed(void *data, int err) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    bool was_open = slot->open;
    slot->stream = NULL;
    slot->open = false;
    requests_make_unavailable(slot);
    if (was_open) {
        thread->open_count--;
        atomic_fetch_sub(&thread->crew->result->connected, 1);
    } else {
        thread->connecting--;
        thread->connect_error = err;
    }
    if (thread->phase == PHASE_OVER)
        return;
    count_end(slot, err, was_open);
    uint64_t now_ns = clock_now_ns();
    for (; slot->outstanding > 0; slot->outstanding--) {
        requests_record_lost(thread, &slot->asked[slot->first], now_ns);
        slot->first = (slot->first + 1) % thread->crew->in_flight;
    }
    if (thread->open_count == 0 && thread->none_open_since_ns == 0)
        thread->none_open_since_ns = now_ns;
    retry_later(slot);
    if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
        requests_send_due(thread, now_ns);
}

/* ---- what is looked at every so often -------------------------------------------------------- */

static void time_out_slots(struct thread *thread, uint64_t now_ns) {
    const struct crew *crew = thread->crew;
    for (uint32_t i = 0; i < thread->slots_started; i++) {
        struct slot *slot = &thread->slots[i];
        if (!slot->stream || slot->failed)
            continue;
        if (!slot->open && now_ns - slot->since_ns > crew->connect_timeout_ns)
            connections_give_up(slot, LOAD_CONNECT_TIMEOUT, 1);
        else if (slot->outstanding > 0 &&
                 now_ns - slot->asked[slot->first].sent_ns > crew->timeout_ns)
            connections_give_up(slot, LOAD_TIMEOUT, slot->outstanding);
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
        generator_fail(thread, what.text);
    } else if (thread->none_open_since_ns && now_ns - thread->none_open_since_ns > DEAD_AFTER_NS) {
        char address[ENDPOINT_TEXT_BYTES];
        endpoint_format(&thread->crew->plan->target, address);
        error_set(
            &what, -ECONNREFUSED, "the server %s is gone: no connection for a second (%s)", address,
            thread->connect_error ? strerror(-thread->connect_error) : most_frequent_error(thread));
        generator_fail(thread, what.text);
    }
}

void connections_on_scan(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, scan);
    uint64_t now_ns = clock_now_ns();
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
