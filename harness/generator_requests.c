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

static void ask(struct slot *slot, uint64_t intended_ns, uint64_t now_ns, bool in_window) {
    struct thread *thread = slot->thread;
    uint32_t in_flight = thread->crew->in_flight;
    struct asked *asked = &slot->asked[(slot->first + slot->outstanding) % in_flight];
    *asked = (struct asked){.intended_ns = intended_ns, .sent_ns = now_ns, .in_window = in_window};
    slot->outstanding++;
    thread->in_window_outstanding += in_window;
    requests_make_unavailable(slot);
    if (slot->outstanding < in_flight)
        requests_make_available(slot, now_ns);
    /* A failure closes the stream; what is outstanding is counted then. */
    thread->crew->plan->workload->client->request(slot->stream);
}

void requests_ask_all(struct slot *slot, uint64_t now_ns) {
    while (slot->outstanding < slot->thread->crew->in_flight)
        ask(slot, now_ns, now_ns, false);
}

static bool belongs_to_window(const struct thread *thread, const struct asked *asked) {
    return thread->crew->open_loop ? asked->in_window : thread->phase == PHASE_WINDOW;
}

static uint64_t at_least(uint64_t least_ns, uint64_t time_ns) {
    return time_ns > least_ns ? time_ns : least_ns;
}

/* In a closed loop they are the same: a request is due when it is sent. */
static void record_times(struct thread *thread, uint64_t response_ns, uint64_t service_ns) {
    recorder_add(&interval_current(thread->latency)->latency, response_ns);
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
    record_times(thread, at_least(least_ns, now_ns - asked->intended_ns),
                 at_least(least_ns, now_ns - asked->sent_ns));
}

static void record_answer(struct slot *slot, const struct asked *asked, uint64_t now_ns,
                          size_t bytes) {
    struct thread *thread = slot->thread;
    atomic_store_explicit(&thread->answers, thread->answers + 1, memory_order_relaxed);
    if (asked->in_window)
        thread->in_window_outstanding--;
    if (thread->phase == PHASE_WINDOW)
        interval_current(thread->latency)->requests++;
    if (!belongs_to_window(thread, asked))
        return;
    thread->answers_in_window++;
    slot->answers++;
    thread->received_bytes += bytes;
    record_times(thread, now_ns - asked->intended_ns, now_ns - asked->sent_ns);
    if (!thread->crew->open_loop && thread->has_quota && --thread->quota == 0)
        generator_begin_drain(thread);
}

static void answered(void *data, int err, size_t bytes) {
    struct slot *slot = data;
    struct thread *thread = slot->thread;
    if (slot->failed || thread->phase == PHASE_OVER)
        return;
    if (err) {
        /* Those behind it on the connection are lost with it. */
        connections_count_error(thread, LOAD_CLOSED, slot->outstanding - 1);
        connections_give_up(slot, connections_error_kind(err), 1);
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
        requests_make_available(slot, now_ns);
    requests_send_due(thread, now_ns);
}

const struct client_events generator_events = {
    .opened = connections_opened, .answered = answered, .closed = connections_closed};

/* ---- the open loop's schedule ---------------------------------------------------------------- */

static bool schedule_is_over(const struct thread *thread, uint64_t due_ns) {
    return due_ns >= thread->end_ns || (thread->has_quota && thread->quota == 0);
}

/* Sends what is due, as far as there are connections to take it; the rest waits for answers. */
void requests_send_due(struct thread *thread, uint64_t now_ns) {
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
            generator_begin_drain(thread);
        now_ns = clock_now_ns();
    }
}

void requests_on_due(struct timer *timer) {
    requests_send_due(CONTAINER_OF(timer, struct thread, due), clock_now_ns());
}

/* What is still outstanding or unsent when the drain ends took at least until now. */
void requests_record_leftovers(struct thread *thread) {
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        for (uint32_t k = 0; k < slot->outstanding; k++) {
            const struct asked *asked = &slot->asked[(slot->first + k) % thread->crew->in_flight];
            if (asked->in_window)
                connections_count_error(thread, LOAD_TIMEOUT, 1);
            requests_record_lost(thread, asked, now_ns);
        }
    }
    for (;; schedule_advance(&thread->schedule)) {
        uint64_t due_ns = thread->start_ns + schedule_due_ns(&thread->schedule);
        if (schedule_is_over(thread, due_ns))
            break;
        if (due_ns < thread->window_ns)
            continue;
        thread->unsent++;
        recorder_add(&interval_current(thread->latency)->latency,
                     at_least(thread->crew->timeout_ns, now_ns - due_ns));
    }
}
