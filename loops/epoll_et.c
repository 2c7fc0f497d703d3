/* epoll_et.c: epoll, edge-triggered: a stream is registered once, for everything, and never touched
 * again. What is asked for changes here alone.
 *
 * The kernel tells of a change once. What follows from that:
 * - what it told is kept in source->pending until the stream finds it used up: a read or a write
 *   that came short proves that (epoll(7)). An end of the data gives no second event, so EPOLLRDHUP
 *   tells of it, and then a short read proves nothing
 * - readiness that is left over (a stream gave way to others, was paused, or had only the other
 *   direction on its mind) puts the stream on the list of work, and as long as there is work no
 *   wait sleeps. All dispatching goes through that list, so a stream gets its turn once a pass
 * - closing the descriptor is what takes a stream out of epoll
 * - listeners, watches and the wakeup stay level-triggered: nobody promises to drain them */
#include <errno.h>

#include "epoll.h"

static struct epoll_stream *stream_of(struct source *source) {
    return CONTAINER_OF(source, struct epoll_stream, base.source);
}

static int register_stream(struct loop *loop, struct epoll_stream *own) {
    struct epoll_state *state = loop->backend_state;
    struct source *source = &own->base.source;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = source};
    loop->counters.syscalls[SYSCALL_CONTROL]++;
    if (epoll_ctl(state->fd, EPOLL_CTL_ADD, source->fd, &event))
        return -errno;
    own->registered = true;
    return 0;
}

static int edge_arm(struct loop *loop, struct source *source, unsigned events) {
    struct epoll_state *state = loop->backend_state;
    if (!source->of_stream)
        return epoll_arm(loop, source, events);
    struct epoll_stream *own = stream_of(source);
    if (events & source->pending)
        epoll_link_add(&state->work, &own->link);
    if (events == 0)
        epoll_link_remove(&own->link);
    return own->registered ? 0 : register_stream(loop, own);
}

static void note_event(struct epoll_state *state, struct source *source, uint32_t events) {
    source->pending |= epoll_readiness(events);
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        source->ended = true;
    if (source->pending & source->armed)
        epoll_link_add(&state->work, &stream_of(source)->link);
}

static void take_events(struct loop *loop, struct epoll_state *state) {
    for (state->next = 0; state->next < state->count;) {
        const struct epoll_event *event = &state->events[state->next++];
        struct source *source = event->data.ptr;
        if (!source)
            continue;
        if (source->of_stream) {
            note_event(state, source, event->events);
        } else {
            loop->pass_events++;
            source->ready(source, epoll_readiness(event->events) & source->armed);
        }
    }
    state->count = 0;
}

static void dispatch_work(struct loop *loop, struct epoll_state *state) {
    struct epoll_link work;
    struct epoll_stream *own;
    epoll_link_take(&work, &state->work);
    while ((own = epoll_link_pop(&work))) {
        struct source *source = &own->base.source;
        unsigned events = source->pending & source->armed;
        if (!events)
            continue;
        loop->pass_events++;
        source->ready(source, events);
        if (source->pending & source->armed)
            epoll_link_add(&state->work, &own->link);
    }
}

static int edge_wait(struct loop *loop, int64_t timeout_ns) {
    struct epoll_state *state = loop->backend_state;
    int failure = epoll_collect(loop, epoll_link_empty(&state->work) ? timeout_ns : 0);
    loop->pass_events = 0; /* streams whose event does not matter now are left out, others added */
    take_events(loop, state);
    dispatch_work(loop, state);
    return failure;
}

static const struct poller edge_poller = {.arm = edge_arm, .forget = epoll_forget};

const struct backend epoll_et_backend = {
    .name = "epoll-et",
    .summary = "edge-triggered reactor on epoll: streams are registered once and for everything",
    EPOLL_LOOP,
    .wait = edge_wait,
    .poller = &edge_poller,
    READINESS_SHARED,
    .stream_bytes = sizeof(struct epoll_stream),
    .send = readiness_send,
    .finish = readiness_finish,
};
