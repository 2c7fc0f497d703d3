/* epoll_writeend.c: epoll whose sends are kept until every event of the pass was heard, and written
 * then, one send a stream, before the loop sleeps again.
 *
 * No system call is saved where a stream sends once a pass. What changes is that all receiving
 * comes before all sending, and that receive buffers are held in between. */
#include "epoll.h"

static struct epoll_stream *own_stream(struct stream *stream) {
    return CONTAINER_OF(stream, struct epoll_stream, base.stream);
}

static int writeend_send(struct stream *stream, const struct iovec *parts, int count,
                         size_t *taken) {
    struct epoll_state *state = stream->loop->backend_state;
    readiness_queue_send(stream, parts, count);
    epoll_link_add(&state->work, &own_stream(stream)->link);
    *taken = 0;
    return SEND_LATER;
}

static void writeend_finish(struct stream *stream) {
    epoll_link_remove(&own_stream(stream)->link);
    readiness_finish(stream);
}

/* What timers and posts have sent goes out behind the events of the next wait, which does not
 * sleep. */
static int writeend_wait(struct loop *loop, int64_t timeout_ns) {
    struct epoll_state *state = loop->backend_state;
    struct epoll_link work;
    struct epoll_stream *own;
    int failure = epoll_level_wait(loop, epoll_link_empty(&state->work) ? timeout_ns : 0);
    epoll_link_take(&work, &state->work);
    while ((own = epoll_link_pop(&work)))
        readiness_send_queued(&own->base.stream);
    return failure;
}

const struct backend epoll_writeend_backend = {
    .name = "epoll-writeend",
    .summary = "epoll that writes at the end of the pass: all reads first, then all sends",
    .variant_of = "epoll",
    .defers_sends = true,
    EPOLL_LOOP,
    .wait = writeend_wait,
    .poller = &epoll_poller,
    READINESS_SHARED,
    .stream_bytes = sizeof(struct epoll_stream),
    .send = writeend_send,
    .finish = writeend_finish,
};
