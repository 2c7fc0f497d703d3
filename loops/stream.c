/* stream.c: streams, listeners and watches on top of readiness, for select, poll and epoll alike.
 *
 * A stream is registered once and its mask is touched only when what it waits for really changes: a
 * write is tried at once and writability asked for only while bytes are left over, so an echo costs
 * a wait, a read and a send and nothing else. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"

static struct readiness_stream *readiness(struct stream *stream) {
    return CONTAINER_OF(stream, struct readiness_stream, stream);
}

static int arm(struct loop *loop, struct source *source, unsigned events) {
    if (events == source->armed)
        return 0;
    int failure = loop->backend->poller->arm(loop, source, events);
    if (failure == 0)
        source->armed = events;
    return failure;
}

/* What the stream waits for follows from its state alone. */
static void arm_stream(struct readiness_stream *ready) {
    struct stream *stream = &ready->stream;
    /* Once, when its callbacks have run and a send that was put off was tried: pause and resume in
     * between cost nothing. */
    if (ready->dispatching || ready->queued)
        return;
    unsigned events = 0;
    if (stream->connecting || ready->rest.count > 0)
        events |= WATCH_WRITE;
    if (stream_wants_data(stream))
        events |= WATCH_READ;
    int failure = arm(stream->loop, &ready->source, events);
    if (failure)
        stream_fail(stream, failure);
}

/* ---- reading and writing ------------------------------------------------------------------------
 */

static void read_stream(struct stream *stream) {
    struct loop_counters *counters = &stream->loop->counters;
    struct source *source = &readiness(stream)->source;
    for (int reads = 0; reads < LOOP_READS_PER_EVENT; reads++) {
        struct buffer *buffer = loop_receive_buffer(stream->loop);
        if (!buffer) {
            stream_fail(stream, -ENOMEM);
            return;
        }
        ssize_t n = recv(stream->fd, buffer->bytes, buffer->size, 0);
        counters->syscalls[SYSCALL_READ]++;
        if (n < 0) {
            if (errno == EAGAIN) {
                counters->syscalls[SYSCALL_READ_AGAIN]++;
                source->pending &= ~(unsigned)WATCH_READ;
            } else if (errno != EINTR)
                stream_fail(stream, -errno);
            return;
        }
        if (n == 0) {
            stream_deliver_eof(stream);
            return;
        }
        /* A short read has emptied the socket, but it does not tell of an end behind the data. */
        if ((size_t)n < buffer->size && !source->ended)
            source->pending &= ~(unsigned)WATCH_READ;
        stream_deliver_data(stream, buffer, buffer->bytes, (size_t)n);
        if ((size_t)n < buffer->size || !stream_wants_data(stream))
            return;
    }
}

static ssize_t send_once(int fd, const struct iovec *parts, int count) {
    if (count == 1)
        return send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* The number of bytes that the kernel took, 0 when it cannot take any now, or a negative errno. */
static ssize_t send_parts(struct stream *stream, const struct iovec *parts, int count) {
    struct loop_counters *counters = &stream->loop->counters;
    ssize_t n;
    do {
        n = send_once(stream->fd, parts, count);
        counters->syscalls[SYSCALL_SEND]++;
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (errno != EAGAIN)
        return -errno;
    counters->syscalls[SYSCALL_SEND_AGAIN]++;
    return 0;
}

static void keep_rest(struct readiness_stream *ready, const struct iovec *parts, int count,
                      ssize_t taken) {
    rest_keep(&ready->rest, parts, count, (size_t)taken);
    if (ready->rest.count > 0)
        ready->source.pending &= ~(unsigned)WATCH_WRITE;
}

int readiness_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken) {
    struct readiness_stream *ready = readiness(stream);
    CHECK(ready->rest.count == 0);
    ssize_t n = send_parts(stream, parts, count);
    if (n < 0)
        return (int)n;
    *taken = (size_t)n;
    keep_rest(ready, parts, count, n);
    if (ready->rest.count == 0)
        return SEND_DONE;
    arm_stream(ready);
    return SEND_LATER;
}

static void write_rest(struct readiness_stream *ready) {
    struct stream *stream = &ready->stream;
    struct rest *rest = &ready->rest;
    ssize_t n = send_parts(stream, rest->parts, rest->count);
    if (n < 0) {
        rest->count = 0;
        stream_deliver_sent(stream, (int)n);
        return;
    }
    stream->loop->counters.sent_bytes += (size_t)n;
    keep_rest(ready, rest->parts, rest->count, n);
    if (rest->count == 0)
        stream_deliver_sent(stream, 0);
}

void readiness_queue_send(struct stream *stream, const struct iovec *parts, int count) {
    struct readiness_stream *ready = readiness(stream);
    CHECK(ready->rest.count == 0);
    rest_keep(&ready->rest, parts, count, 0);
    ready->queued = true;
}

void readiness_send_queued(struct stream *stream) {
    struct readiness_stream *ready = readiness(stream);
    ready->queued = false;
    if (stream->closing)
        return;
    ready->dispatching = true;
    write_rest(ready);
    ready->dispatching = false;
    if (!stream->closing)
        arm_stream(ready);
}

/* ---- connecting and accepting -------------------------------------------------------------------
 */

static void connect_outcome(struct stream *stream) {
    int err = 0;
    socklen_t length = sizeof err;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &err, &length))
        err = errno;
    stream_deliver_open(stream, -err);
}

static void stream_ready(struct source *source, unsigned events) {
    struct readiness_stream *ready = CONTAINER_OF(source, struct readiness_stream, source);
    struct stream *stream = &ready->stream;
    if (stream->closing)
        return;
    ready->dispatching = true;
    if (stream->connecting)
        connect_outcome(stream);
    else {
        if ((events & WATCH_WRITE) && ready->rest.count > 0 && !ready->queued)
            write_rest(ready);
        if ((events & WATCH_READ) && stream_wants_data(stream))
            read_stream(stream);
    }
    ready->dispatching = false;
    if (!stream->closing)
        arm_stream(ready);
}

/* A connection refused at once is told from the loop, never from inside loop_connect: a socket that
 * failed to connect polls as writable, and what went wrong is kept in close_err until then. */
static void failed_connect_ready(struct source *source, unsigned events) {
    (void)events;
    struct readiness_stream *ready = CONTAINER_OF(source, struct readiness_stream, source);
    if (!ready->stream.closing)
        stream_deliver_open(&ready->stream, ready->stream.close_err);
}

int readiness_connect(struct stream *stream, const struct endpoint *target) {
    struct readiness_stream *ready = readiness(stream);
    ready->source = (struct source){.fd = stream->fd, .of_stream = true, .ready = stream_ready};
    if (connect(stream->fd, (const struct sockaddr *)&target->address, target->length) &&
        errno != EINPROGRESS) {
        stream->close_err = -errno;
        ready->source.ready = failed_connect_ready;
    }
    return arm(stream->loop, &ready->source, WATCH_WRITE);
}

static void accept_stream(struct listener *listener, int fd) {
    struct stream *stream = loop_accept_stream(listener, fd);
    if (!stream)
        return;
    struct readiness_stream *ready = readiness(stream);
    ready->source = (struct source){.fd = fd, .of_stream = true, .ready = stream_ready};
    ready->dispatching = true;
    stream_deliver_open(stream, 0);
    ready->dispatching = false;
    if (!stream->closing)
        arm_stream(ready);
}

static void listener_ready(struct source *source, unsigned events) {
    (void)events;
    struct listener *listener = &CONTAINER_OF(source, struct readiness_listener, source)->listener;
    struct loop_counters *counters = &listener->loop->counters;
    for (int accepts = 0; accepts < LOOP_ACCEPTS_PER_EVENT && !listener->closing; accepts++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        counters->syscalls[SYSCALL_ACCEPT]++;
        if (fd >= 0)
            accept_stream(listener, fd);
        else if ((errno == EMFILE || errno == ENFILE) && loop_refuse_connection(listener))
            continue;
        else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

int readiness_listen(struct listener *listener) {
    struct readiness_listener *ready = CONTAINER_OF(listener, struct readiness_listener, listener);
    ready->source = (struct source){.fd = listener->fd, .ready = listener_ready};
    return arm(listener->loop, &ready->source, WATCH_READ);
}

void readiness_unlisten(struct listener *listener) {
    struct readiness_listener *ready = CONTAINER_OF(listener, struct readiness_listener, listener);
    listener->loop->backend->poller->forget(listener->loop, &ready->source);
    CHECK(arm(listener->loop, &ready->source, 0) == 0);
    close(listener->fd);
    listener_finished(listener);
}

/* ---- the rest of a stream's life ----------------------------------------------------------------
 */

void readiness_pause(struct stream *stream) {
    arm_stream(readiness(stream));
}

void readiness_shutdown(struct stream *stream) {
    shutdown(stream->fd, SHUT_WR);
}

void readiness_finish(struct stream *stream) {
    struct readiness_stream *ready = readiness(stream);
    arm(stream->loop, &ready->source, 0);
    close(stream->fd);
    stream_finished(stream);
}

/* ---- watches ------------------------------------------------------------------------------------
 */

struct readiness_watch {
    struct source source;
    struct watch *watch;
    struct readiness_watch *next;
};

static void watch_ready(struct source *source, unsigned events) {
    struct watch *watch = CONTAINER_OF(source, struct readiness_watch, source)->watch;
    unsigned wanted = events & watch->events;
    if (wanted)
        CALL_BACK(watch->loop, CALLBACK_WATCH, watch->on_ready, watch, wanted);
}

int readiness_watch(struct watch *watch, unsigned events) {
    struct loop *loop = watch->loop;
    struct readiness_watch *ready = watch->backend_state;
    if (!ready) {
        ready = calloc(1, sizeof *ready);
        if (!ready)
            return -ENOMEM;
        *ready = (struct readiness_watch){.source = {.fd = watch->fd, .ready = watch_ready},
                                          .watch = watch};
        watch->backend_state = ready;
    }
    int failure = arm(loop, &ready->source, events);
    if (failure == 0 && events)
        return 0;
    if (failure == 0 || watch->events == 0) {
        loop->backend->poller->forget(loop, &ready->source);
        free(ready);
        watch->backend_state = NULL;
    }
    return failure;
}

/* ---- waking a sleeping loop ------------------------------------------------------------------ */

static void wakeup_ready(struct source *source, unsigned events) {
    (void)events;
    struct wakeup *wakeup = CONTAINER_OF(source, struct wakeup, source);
    uint64_t signals;
    ssize_t n = read(source->fd, &signals, sizeof signals);
    CHECK(n == sizeof signals || errno == EAGAIN);
    wakeup->loop->counters.syscalls[SYSCALL_WAKE]++;
}

int wakeup_open(struct loop *loop, struct wakeup *wakeup) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    *wakeup = (struct wakeup){.source = {.fd = fd, .ready = wakeup_ready}, .loop = loop};
    int failure = arm(loop, &wakeup->source, WATCH_READ);
    if (failure)
        close(fd);
    return failure;
}

void wakeup_close(struct wakeup *wakeup) {
    arm(wakeup->loop, &wakeup->source, 0);
    close(wakeup->source.fd);
}

void wakeup_signal(struct wakeup *wakeup) {
    uint64_t one = 1;
    ssize_t n = write(wakeup->source.fd, &one, sizeof one);
    CHECK(n == sizeof one || errno == EAGAIN);
}
