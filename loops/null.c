/* null.c: a loop without a kernel below it. Data comes from one buffer that never changes, and
 * every send is taken whole. What a workload costs here is what it costs by itself, together with
 * the shared parts of the loops.
 *
 * So nothing is done here that need not be: a wait is one walk over the streams. There is nothing
 * to sleep for, nothing to wake, and nobody to connect to. A listener has its socket, because
 * whoever listens is told an address; it is never looked at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"

struct null_state {
    struct buffer *buffer; /* loop->receive, for good: held or not, nobody writes into it */
    uint32_t bytes;
    uint64_t rounds_left; /* until the loop stops; 0: it does not */
};

struct null_listener {
    struct listener listener;
    bool opened; /* its streams were */
};

static void open_streams(struct listener *listener) {
    struct loop *loop = listener->loop;
    for (uint32_t i = 0; i < loop->config.null_streams; i++) {
        struct stream *stream = loop_new_stream(loop, listener->handler, listener->data, -1);
        if (!stream) {
            loop->counters.accept_refused++;
            continue;
        }
        loop->counters.accepted++;
        stream_deliver_open(stream, 0);
    }
}

static void open_new_listeners(struct loop *loop) {
    for (struct listener *listener = loop->listeners; listener; listener = listener->next) {
        struct null_listener *own = CONTAINER_OF(listener, struct null_listener, listener);
        if (own->opened || listener->closing)
            continue;
        own->opened = true;
        open_streams(listener);
    }
}

static int null_wait(struct loop *loop, int64_t timeout_ns) {
    (void)timeout_ns;
    struct null_state *state = loop->backend_state;
    uint64_t deliveries = 0;
    loop_entered(loop);
    open_new_listeners(loop);
    for (struct stream *stream = loop->streams; stream; stream = stream->next) {
        if (!stream_wants_data(stream))
            continue;
        stream_deliver_data(stream, state->buffer, state->buffer->bytes, state->bytes);
        deliveries++;
    }
    loop->pass_events = deliveries;
    if (state->rounds_left > 0 && --state->rounds_left == 0) {
        state->rounds_left = loop->config.null_rounds;
        loop_stop(loop);
    }
    return 0;
}

static int null_listen(struct listener *listener) {
    (void)listener;
    return 0; /* its streams open in the next wait: no callback comes from inside this call */
}

static void null_unlisten(struct listener *listener) {
    close(listener->fd);
    listener_finished(listener);
}

static int null_connect(struct stream *stream, const struct endpoint *target) {
    (void)stream;
    (void)target;
    return -ENOTSUP;
}

static int null_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken) {
    (void)stream;
    *taken = 0;
    for (int i = 0; i < count; i++)
        *taken += parts[i].iov_len;
    return SEND_DONE;
}

static void null_nothing(struct stream *stream) {
    (void)stream;
}

static int null_watch(struct watch *watch, unsigned events) {
    (void)watch;
    (void)events;
    return -ENOTSUP;
}

static int null_open(struct loop *loop, struct error *error) {
    if (loop->config.null_bytes > loop->config.receive_bytes)
        return error_set(error, -EINVAL, "null: %u bytes do not fit a receive buffer of %u",
                         (unsigned)loop->config.null_bytes, (unsigned)loop->config.receive_bytes);
    struct null_state *state = malloc(sizeof *state);
    struct buffer *buffer = loop_receive_buffer(loop);
    if (!state || !buffer) {
        free(state);
        free(buffer);
        return error_set(error, -ENOMEM, "out of memory");
    }
    memset(buffer->bytes, 'x', buffer->size);
    *state = (struct null_state){
        .buffer = buffer,
        .bytes = loop->config.null_bytes ? loop->config.null_bytes : loop->config.receive_bytes,
        .rounds_left = loop->config.null_rounds};
    loop->backend_state = state;
    return 0;
}

static void null_close(struct loop *loop) {
    free(loop->backend_state);
}

const struct backend null_backend = {
    .name = "null",
    .summary = "no kernel at all: what a workload costs by itself",
    .control = true,
    .spins = true,
    .timer_resolution_ns = 1,
    .syscalls_exact = true,
    .stream_bytes = sizeof(struct stream),
    .listener_bytes = sizeof(struct null_listener),
    .open = null_open,
    .close = null_close,
    .wait = null_wait,
    .listen = null_listen,
    .unlisten = null_unlisten,
    .connect = null_connect,
    .send = null_send,
    .pause = null_nothing,
    .shutdown = null_nothing,
    .finish = stream_finished,
    .watch = null_watch,
};
