/* raw_epoll.c: an echo server on epoll: one thread, level-triggered, registered once. A write is
 * tried at once; writability is asked for only while a rest waits, and reading waits with it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw.h"

enum { EVENTS_PER_WAIT = 512 };

/* Found by its descriptor. */
struct connection {
    uint8_t *rest; /* what the kernel did not take; null: nothing */
    size_t sent, bytes;
};

struct state {
    struct raw_server *server;
    int epoll_fd;
    struct connection *connections;
    int most, used; /* descriptors: as many as fit into the table, the highest one so far + 1 */
    uint8_t buffer[RAW_RECEIVE_BYTES];
    struct epoll_event events[EVENTS_PER_WAIT];
};

static int watch(struct state *state, int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    state->server->counts.control++;
    return epoll_ctl(state->epoll_fd, operation, fd, &event) ? -errno : 0;
}

static void drop(struct state *state, int fd) {
    free(state->connections[fd].rest);
    state->connections[fd] = (struct connection){0};
    close(fd);
}

/* How many bytes the kernel took; -1: the connection was dropped. */
static ssize_t try_send(struct state *state, int fd, const uint8_t *bytes, size_t n) {
    ssize_t sent;
    do {
        sent = send(fd, bytes, n, MSG_NOSIGNAL);
        state->server->counts.send++;
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    if (sent < 0)
        drop(state, fd);
    return sent;
}

static void keep_rest(struct state *state, int fd, const uint8_t *bytes, size_t n) {
    struct connection *connection = &state->connections[fd];
    *connection = (struct connection){.rest = malloc(n), .bytes = n};
    if (connection->rest)
        memcpy(connection->rest, bytes, n);
    if (!connection->rest || watch(state, EPOLL_CTL_MOD, fd, EPOLLOUT))
        drop(state, fd);
}

static void send_rest(struct state *state, int fd) {
    struct connection *connection = &state->connections[fd];
    ssize_t sent = try_send(state, fd, connection->rest + connection->sent,
                            connection->bytes - connection->sent);
    if (sent < 0)
        return;
    connection->sent += (size_t)sent;
    if (connection->sent < connection->bytes)
        return;
    free(connection->rest);
    connection->rest = NULL;
    if (watch(state, EPOLL_CTL_MOD, fd, EPOLLIN))
        drop(state, fd);
}

static void echo(struct state *state, int fd) {
    for (int reads = 0; reads < RAW_READS_PER_EVENT; reads++) {
        ssize_t n = recv(fd, state->buffer, sizeof state->buffer, 0);
        state->server->counts.read++;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            drop(state, fd);
            return;
        }
        state->server->counts.requests++;
        ssize_t sent = try_send(state, fd, state->buffer, (size_t)n);
        if (sent < 0)
            return;
        if (sent < n) {
            keep_rest(state, fd, state->buffer + sent, (size_t)(n - sent));
            return;
        }
        if ((size_t)n < sizeof state->buffer)
            return;
    }
}

static int accept_some(struct state *state) {
    for (int accepts = 0; accepts < RAW_ACCEPTS_PER_EVENT; accepts++) {
        int fd = accept4(state->server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        state->server->counts.accept++;
        if (fd < 0 && errno == EAGAIN)
            return 0;
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0)
            return -errno; /* out of descriptors: ends, and does not measure something else */
        if (fd >= state->most || raw_set_options(state->server, fd) ||
            watch(state, EPOLL_CTL_ADD, fd, EPOLLIN))
            close(fd);
        else if (fd >= state->used)
            state->used = fd + 1;
    }
    return 0;
}

static int run(struct state *state) {
    for (;;) {
        int count = epoll_pwait2(state->epoll_fd, state->events, EVENTS_PER_WAIT, NULL, NULL);
        state->server->counts.wait++;
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count; i++) {
            int fd = state->events[i].data.fd, failure = 0;
            if (fd == state->server->stop_fd)
                return 0;
            if (fd == state->server->listen_fd)
                failure = accept_some(state);
            else if (state->connections[fd].rest)
                send_rest(state, fd);
            else
                echo(state, fd);
            if (failure)
                return failure;
        }
    }
}

int raw_serve(struct raw_server *server) {
    struct state state = {.server = server, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    state.connections = raw_table(sizeof *state.connections, &state.most);
    int failure = state.connections ? 0 : -ENOMEM;
    if (!failure)
        failure = watch(&state, EPOLL_CTL_ADD, server->listen_fd, EPOLLIN);
    if (!failure)
        failure = watch(&state, EPOLL_CTL_ADD, server->stop_fd, EPOLLIN);
    if (!failure) {
        raw_ready(server);
        failure = run(&state);
    }
    for (int fd = 0; fd < state.used; fd++)
        free(state.connections[fd].rest); /* the descriptors close with the process */
    free(state.connections);
    close(state.epoll_fd);
    return failure;
}
