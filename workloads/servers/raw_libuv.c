/* raw_libuv.c: an echo server on libuv: one buffer for all reads, uv_try_write first, uv_write only
 * for a rest, and no reading while a rest waits.
 *
 * libuv makes the system calls. Counted is what shows: a read for each buffer asked for, a send for
 * each uv_try_write and each uv_write (which tries at once), an accept for each connection, a wait
 * for each pass. Not seen: epoll_ctl, the accept4 that finds nobody, and repeated writes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "raw.h"

union handle {
    uv_handle_t any;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe; /* a unix socket */
};

struct connection {
    union handle handle; /* its `data` is the connection */
    uv_write_t write;
    char *rest; /* what the kernel did not take */
};

struct state {
    struct raw_server *server;
    int failure;
    uv_loop_t loop;
    union handle listener;
    uv_poll_t stop;
    uv_prepare_t pass;
    char buffer[RAW_RECEIVE_BYTES];
};

static struct raw_counts *counts_of(const uv_handle_t *handle) {
    const struct state *state = handle->loop->data;
    return &state->server->counts;
}

static void init(struct state *state, union handle *handle) {
    if (state->server->local)
        uv_pipe_init(&state->loop, &handle->pipe, 0);
    else
        uv_tcp_init(&state->loop, &handle->tcp);
}

static void fail(struct state *state, int failure) {
    state->failure = failure;
    uv_stop(&state->loop);
}

/* ---- a connection ---------------------------------------------------------------------------- */

/* Of all handles: `data` is set in connections only. */
static void closed(uv_handle_t *handle) {
    free(handle->data);
}

static void drop(struct connection *connection) {
    if (!uv_is_closing(&connection->handle.any))
        uv_close(&connection->handle.any, closed);
}

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *lent) {
    struct state *state = handle->loop->data;
    (void)suggested;
    state->server->counts.read++;
    *lent = uv_buf_init(state->buffer, sizeof state->buffer);
}

static void echo(uv_stream_t *stream, ssize_t n, const uv_buf_t *lent);

static void rest_written(uv_write_t *write, int status) {
    struct connection *connection = write->handle->data;
    free(connection->rest);
    connection->rest = NULL;
    if (status || uv_read_start(&connection->handle.stream, lend_buffer, echo))
        drop(connection);
}

static void write_rest(struct connection *connection, const char *bytes, size_t n) {
    connection->rest = malloc(n);
    uv_buf_t rest = uv_buf_init(connection->rest, (unsigned)n);
    uv_read_stop(&connection->handle.stream);
    if (connection->rest)
        memcpy(connection->rest, bytes, n);
    counts_of(&connection->handle.any)->send++;
    if (!connection->rest ||
        uv_write(&connection->write, &connection->handle.stream, &rest, 1, rest_written)) {
        free(connection->rest);
        drop(connection);
    }
}

static void echo(uv_stream_t *stream, ssize_t n, const uv_buf_t *lent) {
    struct connection *connection = stream->data;
    if (n == 0)
        return; /* there was nothing to read */
    if (n < 0) {
        drop(connection);
        return;
    }
    struct raw_counts *counts = counts_of(&connection->handle.any);
    uv_buf_t bytes = uv_buf_init(lent->base, (unsigned)n);
    counts->requests++;
    counts->send++;
    int sent = uv_try_write(stream, &bytes, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0)
        drop(connection);
    else if (sent < n)
        write_rest(connection, lent->base + sent, (size_t)(n - sent));
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void accept_one(uv_stream_t *listener, int status) {
    struct state *state = listener->loop->data;
    uv_os_fd_t fd;
    state->server->counts.accept++;
    if (status) {
        fail(state, status); /* out of descriptors: ends, and does not measure something else */
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        fail(state, -ENOMEM);
        return;
    }
    init(state, &connection->handle);
    connection->handle.any.data = connection;
    if (uv_accept(listener, &connection->handle.stream) ||
        uv_fileno(&connection->handle.any, &fd) || raw_set_options(state->server, fd) ||
        uv_read_start(&connection->handle.stream, lend_buffer, echo))
        drop(connection);
}

static void count_pass(uv_prepare_t *pass) {
    counts_of((uv_handle_t *)pass)->wait++;
}

static void stop_asked(uv_poll_t *stop, int status, int events) {
    (void)status;
    (void)events;
    uv_stop(stop->loop);
}

static void close_handle(uv_handle_t *handle, void *argument) {
    (void)argument;
    if (!uv_is_closing(handle))
        uv_close(handle, closed);
}

static int start(struct state *state) {
    struct raw_server *server = state->server;
    init(state, &state->listener);
    uv_prepare_init(&state->loop, &state->pass);
    uv_prepare_start(&state->pass, count_pass);
    int failure = uv_poll_init(&state->loop, &state->stop, server->stop_fd);
    if (failure)
        return failure;
    uv_poll_start(&state->stop, UV_READABLE, stop_asked);
    failure = server->local ? uv_pipe_open(&state->listener.pipe, server->listen_fd)
                            : uv_tcp_open(&state->listener.tcp, server->listen_fd);
    return failure ? failure : uv_listen(&state->listener.stream, RAW_BACKLOG, accept_one);
}

int raw_serve(struct raw_server *server) {
    struct state state = {.server = server};
    int failure = uv_loop_init(&state.loop);
    if (failure)
        return failure;
    state.loop.data = &state;
    failure = start(&state);
    if (!failure) {
        raw_ready(server);
        uv_run(&state.loop, UV_RUN_DEFAULT);
        failure = state.failure;
    }
    uv_walk(&state.loop, close_handle, NULL);
    uv_run(&state.loop, UV_RUN_DEFAULT);
    uv_loop_close(&state.loop);
    return failure;
}
