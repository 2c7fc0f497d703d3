/* io_uring.c: completions instead of readiness: the kernel receives into provided buffers, accepts
 * and sends by itself, and one io_uring_enter a pass hands over requests and waits.
 *
 * Kernel behaviour that shaped it:
 * - the thread that enters first is the only one that may (SINGLE_ISSUER). That is the thread of
 *   loop_run, and loop_free has to be called there too
 * - DEFER_TASKRUN does the kernel's part of the work inside that one call, and nowhere else
 * - a multishot request completes many times. The completion without IORING_CQE_F_MORE is its last,
 *   whatever it says, and then it has to be asked for again
 * - -ENOBUFS ends a receive when no buffer was provided: no error of the connection
 * - a send completes short in spite of MSG_WAITALL when it is interrupted
 * - a request holds its file open, so close(2) comes after the last completion
 * - accepting takes a descriptor before it looks for a connection, so without descriptors it fails
 *   even when nobody waits. It is asked for again only when somebody does, or the loop would spin
 * - what is asked for inside one pass is submitted together at the next wait. A poll request that
 *   is ready then completes at once, which keeps watches level-triggered
 *
 * Direct descriptors, SQPOLL and zero-copy sends are left out: the first forbids setsockopt, the
 * second takes a CPU of its own, the third loses on small messages. */
#include <errno.h>

#include "backend.h"

#define IO_URING_FACTS                                                                             \
    .name = "io_uring",                                                                            \
    .summary =                                                                                     \
        "completions: multishot accept and receive into provided buffers, sends by request",       \
    .timer_resolution_ns = 1, .defers_sends = true

#ifndef HAVE_LIBURING

static int io_uring_available(struct error *reason) {
    return error_set(reason, -ENOTSUP, "not built: liburing-dev was missing at build time");
}

const struct backend io_uring_backend = {IO_URING_FACTS, .available = io_uring_available};

#else

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io_uring_ring.h"

/* What the requester of a completion is follows from the request. */
struct uring_stream {
    struct stream stream;
    struct requester requester;
    struct uring_stream *due_next;
    bool due;       /* on the list of those to be served at the end of the wait */
    bool starved;   /* its receive found no buffer */
    bool end_known; /* nothing comes behind what is kept but `end_err`, 0 for the end of data */
    int end_err;
    uint32_t reads; /* delivered in wait number `reads_wait` */
    uint64_t reads_wait;
    uint32_t kept_count;
    struct buffer *kept, **kept_tail; /* received and not delivered */
    struct rest rest;                 /* of the send */
    union {                           /* connecting comes before sending */
        struct msghdr message;
        struct endpoint target;
    };
};

struct uring_listener {
    struct listener listener;
    struct requester requester;
    bool finishing;
    uint32_t accepts; /* in wait number `accepts_wait` */
    uint64_t accepts_wait;
};

struct uring_watch {
    struct requester requester;
    struct watch *watch;
};

struct uring_state {
    struct ring ring;
    uint64_t waits;
    uint32_t kept_most; /* a stream that keeps so many buffers receives no more */
    struct uring_stream *due, **due_tail;
    int wakeup_fd;
    uint64_t wakeup_count; /* read into, and of no interest */
    struct requester wakeup;
};

static struct uring_state *state_of(const struct loop *loop) {
    return loop->backend_state;
}

static struct uring_stream *uring_stream(struct stream *stream) {
    return CONTAINER_OF(stream, struct uring_stream, stream);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Is there anything to do for it at the end of a wait? */
static void update_due(struct uring_stream *own) {
    struct uring_state *state = state_of(own->stream.loop);
    bool idle = is_under_way(&own->requester, REQUEST_RECEIVE) && !own->kept && !own->end_known;
    if (own->due || idle || !stream_wants_data(&own->stream))
        return;
    own->due = true;
    own->due_next = NULL;
    *state->due_tail = own;
    state->due_tail = &own->due_next;
}

/* One that has starved asks for one buffer, or a stream with much to read would take those of
 * others that wait for their turn; it receives on and on again once it has had it. */
static void start_receiving(struct uring_stream *own) {
    struct ring *ring = &state_of(own->stream.loop)->ring;
    struct io_uring_sqe *sqe = ring_next(ring);
    if (own->starved)
        io_uring_prep_recv(sqe, own->stream.fd, NULL, 0, 0);
    else
        io_uring_prep_recv_multishot(sqe, own->stream.fd, NULL, 0, 0);
    ring_start(ring, sqe, &own->requester, REQUEST_RECEIVE);
    own->starved = false;
}

/* As in loop.h: one stream may not have the loop to itself. */
static bool may_deliver(struct uring_stream *own) {
    uint64_t waits = state_of(own->stream.loop)->waits;
    if (own->reads_wait != waits) {
        own->reads_wait = waits;
        own->reads = 0;
    }
    return stream_wants_data(&own->stream) && own->reads < LOOP_READS_PER_EVENT;
}

static void deliver(struct uring_stream *own, struct buffer *buffer, size_t n) {
    own->reads++;
    stream_deliver_data(&own->stream, buffer, buffer->bytes, n);
    buffer_drop(buffer);
}

/* One that does not keep up stops receiving until all it keeps is delivered: the socket buffer, and
 * so the peer, is what has to wait. */
static void keep(struct uring_stream *own, struct buffer *buffer, uint32_t n) {
    struct uring_state *state = state_of(own->stream.loop);
    buffer->kept_bytes = n;
    buffer->next = NULL;
    *own->kept_tail = buffer;
    own->kept_tail = &buffer->next;
    if (++own->kept_count == state->kept_most)
        ring_cancel(&state->ring, &own->requester, REQUEST_RECEIVE);
}

static struct buffer *take_kept(struct uring_stream *own) {
    struct buffer *buffer = own->kept;
    own->kept = buffer->next;
    own->kept_count--;
    if (!own->kept)
        own->kept_tail = &own->kept;
    return buffer;
}

static void receive_completed(struct uring_stream *own, struct buffer *buffer, int result) {
    struct loop *loop = own->stream.loop;
    if (result > 0 && !own->kept && may_deliver(own)) {
        deliver(own, buffer, (size_t)result);
    } else if (result > 0 && !own->stream.closing) {
        keep(own, buffer, (uint32_t)result);
    } else {
        if (buffer)
            buffer_drop(buffer);
        if (result == -ENOBUFS) {
            own->starved = true;
            loop->counters.starved++;
        } else if (result <= 0 && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
            own->end_known = true;
            own->end_err = result;
        }
    }
    update_due(own);
}

static void uring_pause(struct stream *stream) {
    update_due(uring_stream(stream));
}

static void end_of_data(struct uring_stream *own) {
    if (own->end_err)
        stream_fail(&own->stream, own->end_err);
    else
        stream_deliver_eof(&own->stream);
}

/* `*buffers` is how many starved streams may ask again: no more than there are buffers, first come
 * first served, so that each gets one in its turn. */
static void serve(struct uring_stream *own, uint32_t *buffers) {
    while (own->kept && may_deliver(own)) {
        struct buffer *buffer = take_kept(own);
        deliver(own, buffer, buffer->kept_bytes);
    }
    if (!stream_wants_data(&own->stream) || own->kept)
        ; /* resumed or next time */
    else if (own->end_known)
        end_of_data(own);
    else if (!is_under_way(&own->requester, REQUEST_RECEIVE) && (!own->starved || *buffers > 0)) {
        *buffers -= own->starved;
        start_receiving(own);
    }
    update_due(own);
}

static void try_finish(struct uring_stream *own);

static void serve_due(struct uring_state *state) {
    struct uring_stream *own = state->due;
    state->due = NULL;
    state->due_tail = &state->due;
    ring_refill(&state->ring);
    uint32_t buffers = state->ring.provided;
    while (own) {
        struct uring_stream *next = own->due_next;
        own->due = false;
        serve(own, &buffers);
        try_finish(own);
        own = next;
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

static void send_rest(struct uring_stream *own) {
    enum { FLAGS = MSG_NOSIGNAL | MSG_WAITALL };
    struct ring *ring = &state_of(own->stream.loop)->ring;
    struct io_uring_sqe *sqe = ring_next(ring);
    struct rest *rest = &own->rest;
    if (rest->count == 1) {
        io_uring_prep_send(sqe, own->stream.fd, rest->parts[0].iov_base, rest->parts[0].iov_len,
                           FLAGS);
    } else {
        own->message = (struct msghdr){.msg_iov = rest->parts, .msg_iovlen = (size_t)rest->count};
        io_uring_prep_sendmsg(sqe, own->stream.fd, &own->message, FLAGS);
    }
    ring_start(ring, sqe, &own->requester, REQUEST_SEND);
}

static int uring_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken) {
    struct uring_stream *own = uring_stream(stream);
    rest_keep(&own->rest, parts, count, 0);
    *taken = 0;
    send_rest(own);
    return SEND_LATER;
}

/* A closing stream's handler hears of its send from stream_finished. */
static void send_completed(struct uring_stream *own, int result) {
    struct stream *stream = &own->stream;
    if (result >= 0) {
        stream->loop->counters.sent_bytes += (size_t)result;
        rest_keep(&own->rest, own->rest.parts, own->rest.count, (size_t)result);
    }
    if (stream->closing)
        return;
    if (result == -EINTR || result == -EAGAIN || (result >= 0 && own->rest.count > 0))
        send_rest(own);
    else
        stream_deliver_sent(stream, result < 0 ? result : 0);
}

static void uring_shutdown(struct stream *stream) {
    shutdown(stream->fd, SHUT_WR);
}

/* ---- connecting and closing ------------------------------------------------------------------ */

static bool join(struct uring_stream *own) {
    own->kept_tail = &own->kept;
    return ring_join(&state_of(own->stream.loop)->ring, &own->requester);
}

static int uring_connect(struct stream *stream, const struct endpoint *target) {
    struct uring_stream *own = uring_stream(stream);
    struct ring *ring = &state_of(stream->loop)->ring;
    if (!join(own))
        return -ENOMEM;
    own->target = *target; /* read when the request is submitted */
    struct io_uring_sqe *sqe = ring_next(ring);
    io_uring_prep_connect(sqe, stream->fd, (struct sockaddr *)&own->target.address,
                          own->target.length);
    ring_start(ring, sqe, &own->requester, REQUEST_CONNECT);
    return 0;
}

static void connect_completed(struct uring_stream *own, int result) {
    stream_deliver_open(&own->stream, result);
    update_due(own);
}

/* Nothing of it may be under way in the kernel, nor wait here. */
static void try_finish(struct uring_stream *own) {
    if (!own->stream.finishing || own->requester.under_way || own->due)
        return;
    while (own->kept)
        buffer_drop(take_kept(own));
    ring_leave(&state_of(own->stream.loop)->ring, &own->requester);
    close(own->stream.fd);
    stream_finished(&own->stream);
}

static void uring_finish(struct stream *stream) {
    struct uring_stream *own = uring_stream(stream);
    ring_cancel_all(&state_of(stream->loop)->ring, &own->requester);
    try_finish(own);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void start_accepting(struct uring_listener *own) {
    struct ring *ring = &state_of(own->listener.loop)->ring;
    struct io_uring_sqe *sqe = ring_next(ring);
    io_uring_prep_multishot_accept(sqe, own->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ring_start(ring, sqe, &own->requester, REQUEST_ACCEPT);
}

static void wait_for_connection(struct uring_listener *own) {
    struct ring *ring = &state_of(own->listener.loop)->ring;
    struct io_uring_sqe *sqe = ring_next(ring);
    io_uring_prep_poll_add(sqe, own->listener.fd, POLLIN);
    ring_start(ring, sqe, &own->requester, REQUEST_POLL_LISTENER);
}

static int uring_listen(struct listener *listener) {
    struct uring_listener *own = CONTAINER_OF(listener, struct uring_listener, listener);
    if (!ring_join(&state_of(listener->loop)->ring, &own->requester))
        return -ENOMEM;
    start_accepting(own);
    return 0;
}

/* The rest of the completions stays where it is until the next pass. */
static bool accepts_enough(struct uring_listener *own) {
    uint64_t waits = state_of(own->listener.loop)->waits;
    if (own->accepts_wait != waits) {
        own->accepts_wait = waits;
        own->accepts = 0;
    }
    return own->accepts >= LOOP_ACCEPTS_PER_EVENT;
}

static void accept_stream(struct uring_listener *own, int fd) {
    own->accepts++;
    struct stream *stream = loop_accept_stream(&own->listener, fd);
    if (!stream)
        return;
    bool joined = join(uring_stream(stream));
    CHECK(joined); /* a table of a few bytes a stream, which itself was just allocated */
    stream_deliver_open(stream, 0);
    update_due(uring_stream(stream));
}

static void accept_completed(struct uring_listener *own, int result) {
    if (own->listener.closing) {
        if (result >= 0)
            close(result);
        return;
    }
    if (result >= 0)
        accept_stream(own, result);
    if (result == -EMFILE || result == -ENFILE)
        for (int i = 0; i < LOOP_ACCEPTS_PER_EVENT && loop_refuse_connection(&own->listener); i++)
            ;
    if (own->listener.closing || is_under_way(&own->requester, REQUEST_ACCEPT))
        return;
    if (result < 0)
        wait_for_connection(own);
    else
        start_accepting(own);
}

static void try_finish_listener(struct uring_listener *own) {
    if (!own->finishing || own->requester.under_way)
        return;
    ring_leave(&state_of(own->listener.loop)->ring, &own->requester);
    close(own->listener.fd);
    listener_finished(&own->listener);
}

static void uring_unlisten(struct listener *listener) {
    struct uring_listener *own = CONTAINER_OF(listener, struct uring_listener, listener);
    own->finishing = true;
    ring_cancel_all(&state_of(listener->loop)->ring, &own->requester);
    try_finish_listener(own);
}

/* ---- watches --------------------------------------------------------------------------------- */

static void start_watching(struct uring_watch *own, unsigned events) {
    struct ring *ring = &state_of(own->watch->loop)->ring;
    struct io_uring_sqe *sqe = ring_next(ring);
    unsigned mask = 0;
    if (events & WATCH_READ)
        mask |= POLLIN;
    if (events & WATCH_WRITE)
        mask |= POLLOUT;
    io_uring_prep_poll_add(sqe, own->watch->fd, mask);
    ring_start(ring, sqe, &own->requester, REQUEST_POLL);
}

/* A completion for the old mask may be here already. It must find nobody. */
static void forget_watching(struct ring *ring, struct uring_watch *own) {
    ring_cancel(ring, &own->requester, REQUEST_POLL);
    ring_leave(ring, &own->requester);
}

static int uring_watch(struct watch *watch, unsigned events) {
    struct ring *ring = &state_of(watch->loop)->ring;
    struct uring_watch *own = watch->backend_state;
    if (own) {
        forget_watching(ring, own);
    } else {
        own = calloc(1, sizeof *own);
        if (!own)
            return -ENOMEM;
        own->watch = watch;
    }
    if (events == 0 || !ring_join(ring, &own->requester)) {
        free(own);
        watch->backend_state = NULL;
        return events == 0 ? 0 : -ENOMEM;
    }
    watch->backend_state = own;
    start_watching(own, events);
    return 0;
}

static void watch_completed(struct uring_watch *own, uint64_t user_data, int result) {
    struct watch *watch = own->watch;
    struct loop *loop = watch->loop;
    unsigned events = 0;
    if (result < 0 || result & (POLLIN | POLLHUP | POLLERR))
        events |= WATCH_READ;
    if (result < 0 || result & (POLLOUT | POLLHUP | POLLERR))
        events |= WATCH_WRITE;
    if (events & watch->events)
        CALL_BACK(loop, CALLBACK_WATCH, watch->on_ready, watch, events & watch->events);
    /* Its callback may have ended it, or changed what it asks for. */
    if (ring_requester(&state_of(loop)->ring, user_data))
        start_watching(own, watch->events);
}

/* ---- waiting and waking ---------------------------------------------------------------------- */

/* The eventfd blocks, so that the read waits in the kernel; a write to it never has to. */
static void await_wakeup(struct uring_state *state) {
    struct io_uring_sqe *sqe = ring_next(&state->ring);
    io_uring_prep_read(sqe, state->wakeup_fd, &state->wakeup_count, sizeof state->wakeup_count, 0);
    ring_start(&state->ring, sqe, &state->wakeup, REQUEST_WAKE);
}

static void uring_wake(struct loop *loop) {
    uint64_t one = 1;
    ssize_t n = write(state_of(loop)->wakeup_fd, &one, sizeof one);
    CHECK(n == sizeof one);
}

static void wakeup_completed(struct loop *loop, int result) {
    CHECK(result == sizeof(uint64_t) || result == -EINTR || result == -ECANCELED);
    await_wakeup(state_of(loop));
}

static void stream_completed(struct uring_stream *own, const struct io_uring_cqe *cqe,
                             struct buffer *buffer) {
    enum request request = ring_request(cqe->user_data);
    if (request == REQUEST_RECEIVE)
        receive_completed(own, buffer, cqe->res);
    else if (request == REQUEST_SEND)
        send_completed(own, cqe->res);
    else
        connect_completed(own, cqe->res);
    try_finish(own);
}

static void listener_completed(struct uring_listener *own, const struct io_uring_cqe *cqe) {
    if (ring_request(cqe->user_data) == REQUEST_ACCEPT)
        accept_completed(own, cqe->res);
    else if (!own->listener.closing)
        start_accepting(own);
    try_finish_listener(own);
}

/* False: not in this pass. */
static bool completed(struct loop *loop, const struct io_uring_cqe *cqe) {
    struct ring *ring = &state_of(loop)->ring;
    struct requester *requester = ring_requester(ring, cqe->user_data);
    if (!requester) {
        CHECK(!(cqe->flags & IORING_CQE_F_BUFFER));
        return true;
    }
    if (is_cancelling(cqe->user_data)) {
        ring_cancelled(ring, requester, cqe);
        return true;
    }
    switch (ring_request(cqe->user_data)) {
    case REQUEST_ACCEPT:
        if (accepts_enough(CONTAINER_OF(requester, struct uring_listener, requester)))
            return false;
        /* fall through */
    case REQUEST_POLL_LISTENER:
        ring_completed(requester, cqe);
        listener_completed(CONTAINER_OF(requester, struct uring_listener, requester), cqe);
        return true;
    case REQUEST_POLL:
        ring_completed(requester, cqe);
        watch_completed(CONTAINER_OF(requester, struct uring_watch, requester), cqe->user_data,
                        cqe->res);
        return true;
    case REQUEST_WAKE:
        ring_completed(requester, cqe);
        wakeup_completed(loop, cqe->res);
        return true;
    default:
        ring_completed(requester, cqe);
        stream_completed(CONTAINER_OF(requester, struct uring_stream, requester), cqe,
                         ring_received(ring, cqe));
        return true;
    }
}

/* Callbacks may submit, when the queue of requests is full, and new completions come behind those
 * that were there: they wait for the next pass. */
static int uring_wait(struct loop *loop, int64_t timeout_ns) {
    struct uring_state *state = state_of(loop);
    struct io_uring *uring = &state->ring.uring;
    ring_refill(&state->ring);
    int failure = ring_enter(&state->ring, state->due || io_uring_cq_ready(uring) ? 0 : timeout_ns);
    loop_entered(loop);
    if (failure)
        return failure;
    state->waits++;
    unsigned head, seen = 0, ready = io_uring_cq_ready(uring);
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(uring, head, cqe) {
        if (seen == ready || !completed(loop, cqe))
            break;
        seen++;
    }
    loop->pass_events = seen;
    io_uring_cq_advance(uring, seen);
    if (state->due)
        serve_due(state);
    return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int uring_available(struct error *reason) {
    struct loop none = {.config = {.queue_entries = 1, .receive_buffers = 1}};
    struct ring ring;
    if (ring_open(&ring, &none, reason))
        return -ENOTSUP;
    ring_close(&ring);
    return 0;
}

static int uring_open(struct loop *loop, struct error *error) {
    struct uring_state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = ring_open(&state->ring, loop, error);
    if (failure) {
        free(state);
        return failure;
    }
    state->wakeup_fd = eventfd(0, EFD_CLOEXEC);
    if (state->wakeup_fd < 0 || !ring_join(&state->ring, &state->wakeup)) {
        failure = state->wakeup_fd < 0 ? -errno : -ENOMEM;
        if (state->wakeup_fd >= 0)
            close(state->wakeup_fd);
        ring_close(&state->ring);
        free(state);
        return error_set(error, failure, "io_uring: %s", strerror(-failure));
    }
    state->kept_most = state->ring.buffer_count / 8 + 1;
    state->due_tail = &state->due;
    loop->backend_state = state;
    await_wakeup(state);
    return 0;
}

static void uring_close(struct loop *loop) {
    struct uring_state *state = state_of(loop);
    ring_close(&state->ring);
    close(state->wakeup_fd);
    free(state);
}

static const char *liburing_name(void) {
    return "liburing";
}

const struct backend io_uring_backend = {
    IO_URING_FACTS,
    .syscalls_exact = true,
    .stream_bytes = sizeof(struct uring_stream),
    .listener_bytes = sizeof(struct uring_listener),
    .built_on = liburing_name,
    .available = uring_available,
    .open = uring_open,
    .close = uring_close,
    .wait = uring_wait,
    .wake = uring_wake,
    .listen = uring_listen,
    .unlisten = uring_unlisten,
    .connect = uring_connect,
    .send = uring_send,
    .pause = uring_pause,
    .shutdown = uring_shutdown,
    .finish = uring_finish,
    .watch = uring_watch,
};

#endif
