/* libuv.c: libuv as a loop, one uv_run() a pass.
 *
 * How libuv 1.44 behaves, and what that made of this file:
 * - a uv_write that succeeds at once still costs an epoll_ctl in the next pass; uv_try_write does
 *   not. So everything is tried first, and only what is left over becomes a uv_write
 * - it reads once for an event, and again, at most 32 times, only while the buffer came back full:
 *   the rule of loop.h, so there is nothing to add
 * - the memory of a handle is libuv's until the close callback, which comes from a later uv_run
 * - it waits in whole milliseconds
 * - a timer that expires before uv_run(UV_RUN_ONCE) polls would leave that poll without a limit, so
 *   the deadline's callback calls uv_stop: it forbids sleeping, and is forgotten after that uv_run
 * - it accepts until nothing waits, not LOOP_ACCEPTS_PER_EVENT. When descriptors run out it accepts
 *   and closes whatever waits and tells nobody: such connections are not in accept_refused
 * - it calls epoll_ctl, and repeats writes, where we cannot see it: the counters hold what is known
 *
 * UV_METRICS_IDLE_TIME is never set: it adds a system call to every wait.
 *
 * libuv-write differs in one thing: each send is a uv_write, whose request comes from a free list.
 * It runs at once as well, so mostly it is SEND_DONE, too; what is left over follows as above. The
 * callback of such a request comes from the next uv_run, before it polls, and UV_RUN_ONCE would
 * not sleep after it. So here a pass is one turn of UV_RUN_DEFAULT, ended by a uv_check. */
#include <errno.h>

#include "backend.h"

#define LIBUV_FACTS                                                                                \
    .name = "libuv", .summary = "libuv's own loop: uv_try_write first, uv_write for the rest",     \
    .timer_resolution_ns = NS_PER_MS
#define LIBUV_WRITE_FACTS                                                                          \
    .name = "libuv-write", .summary = "libuv with uv_write for every send, as tutorials have it",  \
    .variant_of = "libuv", .timer_resolution_ns = NS_PER_MS

#ifndef HAVE_LIBUV

static int libuv_available(struct error *reason) {
    return error_set(reason, -ENOTSUP, "not built: libuv1-dev was missing at build time");
}

const struct backend libuv_backend = {LIBUV_FACTS, .available = libuv_available};
const struct backend libuv_write_backend = {LIBUV_WRITE_FACTS, .available = libuv_available};

#else

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uv.h>

struct libuv_state {
    uv_loop_t uv;
    uv_async_t wakeup;
    uv_timer_t deadline;   /* carries the nearest timer of the loop's own heap */
    uv_check_t after_poll; /* libuv-write */
    struct write_request *free_requests;
    struct libuv_stream *failed; /* connects refused on the spot, to be told in the next wait */
};

union libuv_handle {
    uv_handle_t any;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe; /* a unix socket */
};

struct libuv_stream {
    struct stream stream;
    union libuv_handle handle;
    union { /* never two at a time: connecting, then sending, then shutting down */
        uv_connect_t connect;
        uv_write_t write;
        uv_shutdown_t shutdown;
    } request;
    size_t rest_bytes; /* what the uv_write was given */
    bool reading;      /* between uv_read_start and uv_read_stop */
    bool dispatching;  /* its callbacks are running; `reading` is brought up to date after them */
    struct libuv_stream *failed_next;
};

/* libuv-write: one uv_write. A stream may have several that are written and not yet called back. */
struct write_request {
    uv_write_t write;
    bool later; /* its end is the end of a SEND_LATER */
    struct write_request *next;
};

struct libuv_listener {
    struct listener listener;
    union libuv_handle handle;
    bool local;
};

static uv_loop_t *uv_of(struct loop *loop) {
    struct libuv_state *state = loop->backend_state;
    return &state->uv;
}

static struct libuv_stream *libuv_stream(struct stream *stream) {
    return CONTAINER_OF(stream, struct libuv_stream, stream);
}

static struct libuv_stream *stream_of_handle(uv_stream_t *handle) {
    return CONTAINER_OF(handle, struct libuv_stream, handle.stream);
}

static void *libuv_native(struct loop *loop) {
    return uv_of(loop);
}

/* Every callback that stands for an event begins with this. */
static void count_event(struct loop *loop) {
    loop_entered(loop);
    loop->pass_events++;
}

static void init_handle(struct loop *loop, union libuv_handle *handle, bool local) {
    CHECK((local ? uv_pipe_init(uv_of(loop), &handle->pipe, 0)
                 : uv_tcp_init(uv_of(loop), &handle->tcp)) == 0);
}

/* Gives the handle a socket that exists already. That fails only if libuv still watches the
 * descriptor, that is, if a watch outlived the one it was for. */
static void open_handle(struct loop *loop, union libuv_handle *handle, int fd, bool local) {
    init_handle(loop, handle, local);
    CHECK((local ? uv_pipe_open(&handle->pipe, fd) : uv_tcp_open(&handle->tcp, fd)) == 0);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* An empty buffer keeps libuv from reading: another stream's callback may have closed this one
 * after the events of the pass were collected. */
static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *lent) {
    (void)suggested; /* always 64 KiB; every backend here reads receive_bytes */
    struct stream *stream = &CONTAINER_OF(handle, struct libuv_stream, handle.any)->stream;
    struct buffer *buffer = NULL;
    if (stream_wants_data(stream))
        buffer = loop_receive_buffer(stream->loop);
    if (buffer)
        stream->loop->counters.syscalls[SYSCALL_READ]++;
    *lent = buffer ? uv_buf_init((char *)buffer->bytes, buffer->size) : uv_buf_init(NULL, 0);
}

static void data_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *lent);

/* Whether to read follows from the stream's state alone. */
static void update_reading(struct libuv_stream *own) {
    bool wanted = stream_wants_data(&own->stream);
    if (own->dispatching || wanted == own->reading)
        return;
    own->reading = wanted;
    CHECK((wanted ? uv_read_start(&own->handle.stream, lend_buffer, data_read)
                  : uv_read_stop(&own->handle.stream)) == 0);
}

static void data_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *lent) {
    struct libuv_stream *own = stream_of_handle(handle);
    struct stream *stream = &own->stream;
    struct loop *loop = stream->loop;
    count_event(loop);
    own->dispatching = true;
    if (!stream_wants_data(stream))
        ; /* it lent no buffer */
    else if (n > 0)
        stream_deliver_data(stream, loop->receive, (uint8_t *)lent->base, (size_t)n);
    else if (n == 0)
        loop->counters.syscalls[SYSCALL_READ_AGAIN]++;
    else if (n == UV_EOF)
        stream_deliver_eof(stream);
    else
        stream_fail(stream, n == UV_ENOBUFS ? -ENOMEM : (int)n); /* ENOBUFS: nothing to lend */
    own->dispatching = false;
    update_reading(own); /* libuv reads on in this same event if the buffer was full */
}

static void libuv_pause(struct stream *stream) {
    update_reading(libuv_stream(stream));
}

/* ---- sending --------------------------------------------------------------------------------- */

/* A closing stream's handler hears of its send from stream_finished, cancelled or not. */
static void rest_written(uv_write_t *request, int status) {
    struct libuv_stream *own = stream_of_handle(request->handle);
    struct stream *stream = &own->stream;
    count_event(stream->loop);
    if (status == 0)
        stream->loop->counters.sent_bytes += own->rest_bytes;
    own->rest_bytes = 0;
    if (!stream->closing)
        stream_deliver_sent(stream, status);
}

static int write_rest(struct libuv_stream *own, const uv_buf_t *rest, int count) {
    struct loop_counters *counters = &own->stream.loop->counters;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += rest[i].len;
    /* Tries at once, again, and copies the array. */
    int failure =
        uv_write(&own->request.write, &own->handle.stream, rest, (unsigned)count, rest_written);
    if (failure)
        return failure;
    own->rest_bytes = bytes;
    counters->syscalls[SYSCALL_SEND]++;
    if (uv_stream_get_write_queue_size(&own->handle.stream) == bytes)
        counters->syscalls[SYSCALL_SEND_AGAIN]++;
    return SEND_LATER;
}

static int libuv_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken) {
    struct libuv_stream *own = libuv_stream(stream);
    struct loop_counters *counters = &stream->loop->counters;
    uv_buf_t bufs[LOOP_SEND_PARTS];
    for (int i = 0; i < count; i++)
        bufs[i] = (uv_buf_t){.base = parts[i].iov_base, .len = parts[i].iov_len};

    int n = uv_try_write(&own->handle.stream, bufs, (unsigned)count);
    counters->syscalls[SYSCALL_SEND]++;
    if (n == UV_EAGAIN) {
        counters->syscalls[SYSCALL_SEND_AGAIN]++;
        n = 0;
    }
    if (n < 0)
        return n;
    *taken = (size_t)n;

    int first = 0;
    size_t left = (size_t)n;
    while (first < count && left >= bufs[first].len)
        left -= bufs[first++].len;
    if (first == count)
        return SEND_DONE;
    bufs[first].base += left;
    bufs[first].len -= left;
    return write_rest(own, bufs + first, count - first);
}

/* ---- sending, libuv-write -------------------------------------------------------------------- */

static void request_written(uv_write_t *write, int status) {
    struct write_request *request = CONTAINER_OF(write, struct write_request, write);
    struct libuv_stream *own = stream_of_handle(write->handle);
    struct libuv_state *state = own->stream.loop->backend_state;
    bool later = request->later;
    request->next = state->free_requests;
    state->free_requests = request;
    if (!later)
        return;
    uv_stop(&state->uv); /* it may not have polled yet: what the callback does cannot wait */
    rest_written(write, status);
}

static int send_by_write(struct stream *stream, const struct iovec *parts, int count,
                         size_t *taken) {
    struct libuv_stream *own = libuv_stream(stream);
    struct libuv_state *state = stream->loop->backend_state;
    struct loop_counters *counters = &stream->loop->counters;
    struct write_request *request = state->free_requests;
    if (request)
        state->free_requests = request->next;
    else if (!(request = malloc(sizeof *request)))
        return -ENOMEM;
    uv_buf_t bufs[LOOP_SEND_PARTS];
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        bufs[i] = (uv_buf_t){.base = parts[i].iov_base, .len = parts[i].iov_len};
        bytes += parts[i].iov_len;
    }
    int failure =
        uv_write(&request->write, &own->handle.stream, bufs, (unsigned)count, request_written);
    if (failure) {
        request->next = state->free_requests;
        state->free_requests = request;
        return failure;
    }
    counters->syscalls[SYSCALL_SEND]++;
    size_t left = uv_stream_get_write_queue_size(&own->handle.stream);
    if (left == bytes)
        counters->syscalls[SYSCALL_SEND_AGAIN]++;
    *taken = bytes - left;
    request->later = left > 0;
    own->rest_bytes = left;
    return left > 0 ? SEND_LATER : SEND_DONE;
}

static void libuv_shutdown(struct stream *stream) {
    struct libuv_stream *own = libuv_stream(stream);
    CHECK(uv_shutdown(&own->request.shutdown, &own->handle.stream, NULL) == 0);
}

/* ---- connecting and closing ------------------------------------------------------------------ */

static void deliver_open(struct libuv_stream *own, int err) {
    own->dispatching = true;
    stream_deliver_open(&own->stream, err);
    own->dispatching = false;
    update_reading(own);
}

static void connected(uv_connect_t *request, int status) {
    struct libuv_stream *own = stream_of_handle(request->handle);
    count_event(own->stream.loop);
    deliver_open(own, status);
}

/* uv_pipe_connect reports every outcome through its callback, a full backlog (EAGAIN) too.
 * uv_tcp_connect returns most errors of connect(2), such as no free port; they wait in close_err
 * to be told from the next wait. */
static int libuv_connect(struct stream *stream, const struct endpoint *target) {
    struct libuv_stream *own = libuv_stream(stream);
    struct libuv_state *state = stream->loop->backend_state;
    bool local = endpoint_is_unix(target);
    open_handle(stream->loop, &own->handle, stream->fd, local);
    if (local) {
        const struct sockaddr_un *address = (const struct sockaddr_un *)&target->address;
        uv_pipe_connect(&own->request.connect, &own->handle.pipe, address->sun_path, connected);
        return 0;
    }
    int failure = uv_tcp_connect(&own->request.connect, &own->handle.tcp,
                                 (const struct sockaddr *)&target->address, connected);
    if (failure) {
        stream->close_err = failure;
        own->failed_next = state->failed;
        state->failed = own;
    }
    return 0;
}

/* Runs before uv_run, the only place where a stream's memory can go: one that was closed meanwhile
 * is still there, and stream_deliver_open passes it over. */
static void deliver_failed_connects(struct libuv_state *state) {
    struct libuv_stream *own = state->failed;
    state->failed = NULL;
    while (own) {
        struct libuv_stream *next = own->failed_next;
        count_event(own->stream.loop);
        deliver_open(own, own->stream.close_err);
        own = next;
    }
}

static void stream_closed(uv_handle_t *handle) {
    struct stream *stream = &CONTAINER_OF(handle, struct libuv_stream, handle.any)->stream;
    loop_entered(stream->loop);
    stream_finished(stream);
}

static void libuv_finish(struct stream *stream) {
    struct libuv_stream *own = libuv_stream(stream);
    if (own->rest_bytes > 0)
        stream->loop->counters.sent_bytes +=
            own->rest_bytes - uv_stream_get_write_queue_size(&own->handle.stream);
    uv_close(&own->handle.any, stream_closed);
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* uv_accept shows the descriptor only when it is inside a handle, which then owns it, so here the
 * stream comes first. One that is refused takes the ordinary way out, with a handler that says
 * nothing. */
static void accept_stream(struct libuv_listener *acceptor) {
    static const struct stream_handler silent = {0};
    struct listener *listener = &acceptor->listener;
    struct loop *loop = listener->loop;
    struct stream *stream = loop_new_stream(loop, listener->handler, listener->data, -1);
    if (!stream) {
        loop->counters.accept_refused++; /* libuv keeps the connection and accepts no more here */
        return;
    }
    struct libuv_stream *own = libuv_stream(stream);
    init_handle(loop, &own->handle, acceptor->local);
    CHECK(uv_accept(&acceptor->handle.stream, &own->handle.stream) == 0);
    CHECK(uv_fileno(&own->handle.any, &stream->fd) == 0);
    if (loop_admit_stream(stream)) {
        deliver_open(own, 0);
    } else {
        stream->handler = &silent;
        stream_close(stream);
    }
}

static void connection_waits(uv_stream_t *handle, int status) {
    struct libuv_listener *acceptor = CONTAINER_OF(handle, struct libuv_listener, handle.stream);
    struct listener *listener = &acceptor->listener;
    count_event(listener->loop);
    listener->loop->counters.syscalls[SYSCALL_ACCEPT]++;
    if (status == UV_EMFILE || status == UV_ENFILE)
        loop_refuse_connection(listener); /* libuv's own spare is gone; it would try for ever */
    else if (status == 0 && !listener->closing)
        accept_stream(acceptor); /* of a closing listener libuv drops it itself */
}

static bool is_unix_socket(int fd) {
    int family = AF_UNSPEC;
    socklen_t length = sizeof family;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0);
    return family == AF_UNIX;
}

static int libuv_listen(struct listener *listener) {
    struct libuv_listener *acceptor = CONTAINER_OF(listener, struct libuv_listener, listener);
    acceptor->local = is_unix_socket(listener->fd);
    open_handle(listener->loop, &acceptor->handle, listener->fd, acceptor->local);
    /* It listens already; this only sets the same backlog again. */
    CHECK(uv_listen(&acceptor->handle.stream, listener->backlog, connection_waits) == 0);
    return 0;
}

static void listener_closed(uv_handle_t *handle) {
    listener_finished(&CONTAINER_OF(handle, struct libuv_listener, handle.any)->listener);
}

static void libuv_unlisten(struct listener *listener) {
    uv_close(&CONTAINER_OF(listener, struct libuv_listener, listener)->handle.any, listener_closed);
}

/* ---- watches --------------------------------------------------------------------------------- */

/* Outlives its watch until libuv lets go of it. uv_poll_init makes the descriptor non-blocking. */
struct libuv_watch {
    uv_poll_t poll;
    struct watch *watch;
};

static void watch_ready(uv_poll_t *poll, int status, int ready);

static int start_watch(struct libuv_watch *own, unsigned events) {
    int wanted = 0;
    if (events & WATCH_READ)
        wanted |= UV_READABLE;
    if (events & WATCH_WRITE)
        wanted |= UV_WRITABLE;
    return uv_poll_start(&own->poll, wanted, watch_ready);
}

static void watch_ready(uv_poll_t *poll, int status, int ready) {
    struct libuv_watch *own = CONTAINER_OF(poll, struct libuv_watch, poll);
    struct watch *watch = own->watch;
    unsigned events = 0;
    count_event(watch->loop);
    if (status) {
        /* libuv stops on an error. Here it is readiness, for as long as it lasts. */
        CHECK(start_watch(own, watch->events) == 0);
        events = watch->events;
    }
    if (ready & UV_READABLE)
        events |= WATCH_READ;
    if (ready & UV_WRITABLE)
        events |= WATCH_WRITE;
    if (events & watch->events)
        CALL_BACK(watch->loop, CALLBACK_WATCH, watch->on_ready, watch, events & watch->events);
}

static void watch_closed(uv_handle_t *handle) {
    free(CONTAINER_OF(handle, struct libuv_watch, poll));
}

static void close_watch(struct watch *watch) {
    struct libuv_watch *own = watch->backend_state;
    watch->backend_state = NULL;
    uv_close((uv_handle_t *)&own->poll, watch_closed);
}

static int libuv_watch(struct watch *watch, unsigned events) {
    struct libuv_watch *own = watch->backend_state;
    if (events == 0) {
        close_watch(watch);
        return 0;
    }
    if (own)
        return start_watch(own, events);
    own = calloc(1, sizeof *own);
    if (!own)
        return -ENOMEM;
    own->watch = watch;
    int failure = uv_poll_init(uv_of(watch->loop), &own->poll, watch->fd);
    if (failure) {
        free(own); /* a handle that failed to initialise is not libuv's */
        return failure;
    }
    watch->backend_state = own;
    failure = start_watch(own, events);
    if (failure)
        close_watch(watch);
    return failure;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void deadline_passed(uv_timer_t *deadline) {
    uv_stop(deadline->loop);
}

static void polled(uv_check_t *after_poll) {
    uv_stop(after_poll->loop);
}

static void woken(uv_async_t *wakeup) {
    struct loop *loop = wakeup->loop->data;
    count_event(loop);
    loop->counters.syscalls[SYSCALL_WAKE]++;
}

static int libuv_wait(struct loop *loop, int64_t timeout_ns) {
    struct libuv_state *state = loop->backend_state;
    if (state->failed) {
        deliver_failed_connects(state);
        timeout_ns = 0;
    }
    if (timeout_ns > 0) {
        uint64_t timeout_ms = ((uint64_t)timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
        uv_update_time(&state->uv); /* uv_timer_start counts from libuv's idea of now */
        CHECK(uv_timer_start(&state->deadline, deadline_passed, timeout_ms, 0) == 0);
    }
    loop->counters.syscalls[SYSCALL_WAIT]++;
    uv_run_mode sleeping = loop->backend == &libuv_write_backend ? UV_RUN_DEFAULT : UV_RUN_ONCE;
    uv_run(&state->uv, timeout_ns == 0 ? UV_RUN_NOWAIT : sleeping);
    uv_timer_stop(&state->deadline);
    return 0;
}

static void libuv_wake(struct loop *loop) {
    struct libuv_state *state = loop->backend_state;
    uv_async_send(&state->wakeup);
}

static int libuv_open(struct loop *loop, struct error *error) {
    struct libuv_state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = uv_loop_init(&state->uv);
    if (failure) {
        free(state);
        return error_set(error, failure, "libuv: %s", strerror(-failure));
    }
    state->uv.data = loop;
    CHECK(uv_async_init(&state->uv, &state->wakeup, woken) == 0);
    CHECK(uv_timer_init(&state->uv, &state->deadline) == 0);
    CHECK(uv_check_init(&state->uv, &state->after_poll) == 0);
    if (loop->backend == &libuv_write_backend)
        CHECK(uv_check_start(&state->after_poll, polled) == 0);
    loop->backend_state = state;
    return 0;
}

static void libuv_close(struct loop *loop) {
    struct libuv_state *state = loop->backend_state;
    uv_close((uv_handle_t *)&state->wakeup, NULL);
    uv_close((uv_handle_t *)&state->deadline, NULL);
    uv_close((uv_handle_t *)&state->after_poll, NULL);
    uv_run(&state->uv, UV_RUN_NOWAIT);
    CHECK(uv_loop_close(&state->uv) == 0); /* fails if a watch was never ended */
    while (state->free_requests) {
        struct write_request *request = state->free_requests;
        state->free_requests = request->next;
        free(request);
    }
    free(state);
}

/* The library that runs, which need not be the one whose header was compiled in. Written once. */
static char library_text[32];

static void write_library_text(void) {
    snprintf(library_text, sizeof library_text, "libuv %s", uv_version_string());
}

static const char *libuv_version_text(void) {
    static uv_once_t once = UV_ONCE_INIT;
    uv_once(&once, write_library_text);
    return library_text;
}

#define LIBUV_LOOP                                                                                 \
    .syscalls_exact = false, .stream_bytes = sizeof(struct libuv_stream),                          \
    .listener_bytes = sizeof(struct libuv_listener), .built_on = libuv_version_text,               \
    .native = libuv_native,                                                                        \
    .open = libuv_open, .close = libuv_close, .wait = libuv_wait, .wake = libuv_wake,              \
    .listen = libuv_listen, .unlisten = libuv_unlisten, .connect = libuv_connect,                  \
    .pause = libuv_pause, .shutdown = libuv_shutdown, .finish = libuv_finish, .watch = libuv_watch

const struct backend libuv_backend = {LIBUV_FACTS, LIBUV_LOOP, .send = libuv_send};
const struct backend libuv_write_backend = {LIBUV_WRITE_FACTS, LIBUV_LOOP, .send = send_by_write};

#endif
