/* generator_requests.c: which request leaves when, and on which connection; answers and their
 * times. */
#include <errno.h>

#include "harness/generator.h"

/* ---- which connection asks next: the one idle longest ---------------------------------------- */

void requests_make_available(struct slot *slot, uint64_t now_ns) {
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

void requests_make_unavailable(struct slot *slot) {
    struct thread *thread = slot->thread;
    if (!slot->available)
        return;
    slot->available = false;
    *(slot->previous ? &slot->previous->next : &thread->first_available) = slot->next;
    *(slot->next ? &slot->next->previous : &thread->last_available) = slot->previous;
}

/* ---- asking and answers ---------------------------------------------------------------------- */

static bool may_ask(const struct slot *slot) {
    const struct crew *crew = slot->thread->crew;
    return slot->outstanding < crew->in_flight &&
           (crew->requests_per_connection == 0 || slot->asked_here < crew->requests_per_connection);
}

static struct asked *asked_at(struct slot *slot, uint32_t number) {
    uint32_t in_flight = slot->thread->crew->in_flight, place = slot->first + number;
    return &slot->asked[place < in_flight ? place : place - in_flight];
}

static void ask(struct slot *slot, uint64_t intended_ns, uint64_t now_ns, bool in_window) {
    struct thread *thread = slot->thread;
    *asked_at(slot, slot->outstanding) = (struct asked){.intended_ns = intended_ns,
                                                        .sent_ns = now_ns,
                                                        .number = thread->asked++,
                                                        .in_window = in_window};
    slot->outstanding++;
    slot->asked_here++;
    thread->in_window_outstanding += in_window;
    if (thread->crew->open_loop) {
        requests_make_unavailable(slot);
        if (may_ask(slot))
            requests_make_available(slot, now_ns);
    }
    /* A failure closes the connection; what is outstanding is counted then. */
    thread->crew->plan->workload->client->request(slot->connection);
}

void requests_ask_all(struct slot *slot, uint64_t now_ns) {
    while (may_ask(slot))
        ask(slot, now_ns, now_ns, false);
}

/* A request stays due when it was due, whatever became of the connection it was sent on first. */
void requests_ask_again(struct slot *slot, uint64_t now_ns) {
    for (uint32_t i = 0; i < slot->outstanding; i++) {
        asked_at(slot, i)->sent_ns = now_ns;
        slot->asked_here++;
        slot->thread->crew->plan->workload->client->request(slot->connection);
    }
}

static bool belongs_to_window(const struct thread *thread, const struct asked *asked) {
    return thread->crew->open_loop ? asked->in_window : thread->phase == PHASE_WINDOW;
}

static uint64_t at_least(uint64_t least_ns, uint64_t time_ns) {
    return time_ns > least_ns ? time_ns : least_ns;
}

/* In a closed loop they are the same: a request is due when it is sent. */
static void record_times(struct thread *thread, struct interval_slot *interval,
                         uint64_t response_ns, uint64_t service_ns) {
    recorder_add(&interval->latency, response_ns);
    if (thread->crew->open_loop)
        recorder_add(&thread->service, service_ns);
}

/* A request that never was answered still has a time, or a failing server would look fast: at least
 * the timeout, however soon it failed. */
void requests_record_lost(struct thread *thread, const struct asked *asked, uint64_t now_ns) {
    uint64_t least_ns = thread->crew->timeout_ns;
    thread->in_window_outstanding -= asked->in_window;
    if (!belongs_to_window(thread, asked))
        return;
    record_times(thread, interval_current(thread->latency),
                 at_least(least_ns, now_ns - asked->intended_ns),
                 at_least(least_ns, now_ns - asked->sent_ns));
}

static void record_status(struct thread *thread, int status, uint64_t response_ns) {
    static const struct load_cause cause = {LOAD_PHASE_RECEIVE, 0, "status", 0};
    int class = status / 100 - 1;
    if (class < 0 || class >= LOAD_STATUS_CLASSES)
        class = LOAD_STATUS_CLASSES - 1; /* RFC 9110 section 15: to be taken as a 5xx */
    thread->has_statuses = true;
    recorder_add(&thread->status[class], response_ns);
    if (status >= thread->crew->error_status)
        connections_count_error(thread, LOAD_STATUS, 1, &cause);
}

static void use_quota(struct thread *thread) {
    if (thread->has_quota && --thread->quota == 0)
        generator_begin_drain(thread);
}

static void record_answer(struct slot *slot, const struct asked *asked, uint64_t now_ns,
                          const struct answer *answer) {
    struct thread *thread = slot->thread;
    if (thread->trace.kept)
        generator_trace_answer(thread, asked, now_ns);
    atomic_store_explicit(&thread->answers, thread->answers + 1, memory_order_relaxed);
    if (asked->in_window)
        thread->in_window_outstanding--;
    struct interval_slot *interval = interval_current(thread->latency);
    interval->requests += thread->phase == PHASE_WINDOW;
    if (!belongs_to_window(thread, asked))
        return;
    thread->answers_in_window++;
    slot->answers++;
    thread->received_bytes += answer->bytes;
    record_times(thread, interval, now_ns - asked->intended_ns, now_ns - asked->sent_ns);
    if (answer->status)
        record_status(thread, answer->status, now_ns - asked->intended_ns);
    if (!thread->crew->open_loop)
        use_quota(thread);
}

/* The server failed, and said so: however soon that was, it is not an answer. */
static void record_error(struct thread *thread, const struct asked *asked, uint64_t now_ns,
                         const struct answer *answer) {
    struct load_cause cause = load_cause(LOAD_PHASE_RECEIVE, answer->err, answer->what);
    connections_count_error(thread, LOAD_DATABASE, 1, &cause);
    requests_record_lost(thread, asked, now_ns);
    if (!thread->crew->open_loop && thread->phase == PHASE_WINDOW)
        use_quota(thread);
}

/* Those behind it on the connection are lost with it. */
static void refuse_answer(struct slot *slot, const struct answer *answer) {
    static const struct load_cause behind = {LOAD_PHASE_CLOSE, -ECANCELED, "behind a wrong answer",
                                             0};
    struct load_cause cause = load_cause(LOAD_PHASE_PARSE, answer->err, answer->what);
    connections_count_error(slot->thread, LOAD_CLOSED, slot->outstanding - 1, &behind);
    connections_give_up(slot, connections_error_kind(answer->err), 1, &cause);
}

static bool is_used_up(const struct slot *slot) {
    uint32_t most = slot->thread->crew->requests_per_connection;
    return most > 0 && slot->asked_here >= most && slot->outstanding == 0;
}

/* What goes on after an answer that leaves the connection open. */
static void ask_on(struct slot *slot, uint64_t now_ns) {
    struct thread *thread = slot->thread;
    if (!thread->crew->open_loop) {
        if (may_ask(slot) && (thread->phase == PHASE_WARMUP || thread->phase == PHASE_WINDOW))
            ask(slot, now_ns, now_ns, false);
        return;
    }
    if (!slot->available && may_ask(slot))
        requests_make_available(slot, now_ns);
    requests_send_due(thread, now_ns);
}

static void answered(void *data, const struct answer *answer) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    if (slot->failed || slot->recycling || thread->phase == PHASE_OVER)
        return;
    CHECK(slot->outstanding > 0);
    if (answer->err && answer->err != -EIO) {
        refuse_answer(slot, answer);
        return;
    }
    uint64_t now_ns = generator_now_ns(thread);
    struct asked asked = slot->asked[slot->first];
    if (++slot->first == thread->crew->in_flight)
        slot->first = 0;
    slot->outstanding--;
    if (answer->err)
        record_error(thread, &asked, now_ns, answer);
    else
        record_answer(slot, &asked, now_ns, answer);
    if (answer->last || is_used_up(slot)) {
        connections_recycle(slot);
        if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
            requests_send_due(thread, now_ns);
    } else
        ask_on(slot, now_ns);
}

const struct client_events generator_events = {
    .opened = connections_opened, .answered = answered, .closed = connections_closed};

/* ---- the open loop's schedule ---------------------------------------------------------------- */

static bool schedule_is_over(const struct thread *thread, uint64_t due_ns) {
    return due_ns >= thread->end_ns || (thread->has_quota && thread->quota == 0);
}

static bool is_too_late(const struct thread *thread, uint64_t due_ns, uint64_t now_ns) {
    uint64_t deadline_ns = thread->crew->deadline_ns;
    return deadline_ns > 0 && due_ns + deadline_ns < now_ns;
}

/* Never sent, and still a request that a user would have waited for. */
static void record_unsent(struct thread *thread, uint64_t due_ns, uint64_t now_ns) {
    if (due_ns < thread->window_ns)
        return;
    thread->unsent++;
    thread->shed += is_too_late(thread, due_ns, now_ns);
    recorder_add(&interval_current(thread->latency)->latency,
                 at_least(thread->crew->timeout_ns, now_ns - due_ns));
}

/* Sends what is due, as far as there are connections to take it; the rest waits for answers. */
void requests_send_due(struct thread *thread, uint64_t now_ns) {
    for (;;) {
        uint64_t due_ns = generator_time_ns(thread, schedule_due_ns(&thread->schedule));
        if (schedule_is_over(thread, due_ns)) {
            if (thread->phase == PHASE_DRAIN && thread->in_window_outstanding == 0)
                loop_stop(thread->loop);
            return;
        }
        if (due_ns > now_ns) {
            timer_set(thread->loop, &thread->due, due_ns);
            return;
        }
        if (is_too_late(thread, due_ns, now_ns)) {
            schedule_advance(&thread->schedule);
            record_unsent(thread, due_ns, now_ns);
            if (due_ns >= thread->window_ns)
                use_quota(thread);
            continue;
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
        if (in_window)
            use_quota(thread);
        now_ns = generator_now_ns(thread);
    }
}

void requests_on_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, due);
    requests_send_due(thread, generator_now_ns(thread));
}

/* What is still outstanding or unsent when the drain ends took at least until now. */
void requests_record_leftovers(struct thread *thread) {
    static const struct load_cause cause = {LOAD_PHASE_TIMEOUT, -ETIMEDOUT, "", 0};
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        for (uint32_t k = 0; k < slot->outstanding; k++) {
            const struct asked *asked = asked_at(slot, k);
            if (asked->in_window)
                connections_count_error(thread, LOAD_TIMEOUT, 1, &cause);
            requests_record_lost(thread, asked, now_ns);
        }
    }
    for (;; schedule_advance(&thread->schedule)) {
        uint64_t due_ns = generator_time_ns(thread, schedule_due_ns(&thread->schedule));
        if (schedule_is_over(thread, due_ns))
            break;
        record_unsent(thread, due_ns, now_ns);
    }
}
