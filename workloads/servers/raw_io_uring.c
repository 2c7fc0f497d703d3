/* raw_io_uring.c: an echo server on io_uring: one multishot accept, a multishot receive for each
 * connection, one ring of provided buffers for all. What arrives is sent from the buffer it lies
 * in, with one send in flight for each connection; the kernel is entered once a pass.
 *
 * Nobody may keep the buffers from the others: a connection that has several waiting to be sent
 * stops receiving, and when few are left to the kernel fresh ones take the place of those in use.
 * A receive that ended because there was none (ENOBUFS) is asked for again at the end of the pass,
 * but never more of them than there are buffers. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw.h"

enum {
    BUFFERS = 64, /* provided; a power of two */
    BUFFER_BYTES = RAW_RECEIVE_BYTES,
    BUFFERS_LEAST = BUFFERS / 4,    /* so many are always provided */
    WAITING_MOST = BUFFERS / 8 + 1, /* of a connection; beyond, it receives when all are sent */
    SUBMISSIONS = 256,
    COMPLETIONS = SUBMISSIONS * 8, /* a multishot request brings many */
    GROUP = 0,                     /* of the provided buffers */
};

enum operation { ACCEPT, STOP, RECEIVE, SEND, CANCEL };

/* Each is an allocation of its own: at distances of 16 KiB all would share a few cache sets. */
struct buffer {
    struct buffer *next; /* behind it in its connection's queue, or free */
    uint32_t sent, size;
    uint8_t bytes[BUFFER_BYTES];
};

/* Found by its descriptor, which stays open while anything of it is in flight. */
struct connection {
    struct buffer *first, *last; /* received; `first` is being sent */
    uint32_t waiting;            /* how many they are */
    bool receiving, cancelled;   /* a receive is in flight; it was told to end */
    bool starved;                /* it found no buffer */
    bool once;                   /* has starved: receives one buffer before it goes on and on */
    int next_starved;
    bool ended;  /* nothing more comes */
    bool failed; /* nothing more goes out either */
};

struct state {
    struct raw_server *server;
    struct io_uring ring;
    struct io_uring_buf_ring *provided_ring;
    struct buffer *provided[BUFFERS]; /* by the number that the kernel knows them by */
    uint16_t unused[BUFFERS];         /* a stack of the numbers of no buffer */
    int unused_count;
    struct buffer *free;
    int first_starved, last_starved; /* descriptors; 0: none */
    struct connection *connections;
    int most, used; /* descriptors: as many as fit into the table, the highest one so far + 1 */
    bool stopping;
};

/* ---- requests -------------------------------------------------------------------------------- */

static uint64_t tag(enum operation operation, int fd) {
    return (uint64_t)fd << 8 | operation;
}

static struct io_uring_sqe *next_request(struct state *state) {
    struct io_uring_sqe *request;
    while (!(request = io_uring_get_sqe(&state->ring))) {
        io_uring_submit(&state->ring); /* full: the kernel takes what is there */
        state->server->counts.wait++;
    }
    return request;
}

static void ask_accept(struct state *state) {
    struct io_uring_sqe *request = next_request(state);
    io_uring_prep_multishot_accept(request, state->server->listen_fd, NULL, NULL,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
    request->user_data = tag(ACCEPT, 0);
}

static void ask_stop(struct state *state) {
    struct io_uring_sqe *request = next_request(state);
    io_uring_prep_poll_add(request, state->server->stop_fd, POLLIN);
    request->user_data = tag(STOP, 0);
}

static void ask_receive(struct state *state, int fd) {
    struct io_uring_sqe *request = next_request(state);
    if (state->connections[fd].once)
        io_uring_prep_recv(request, fd, NULL, 0, 0);
    else
        io_uring_prep_recv_multishot(request, fd, NULL, 0, 0);
    request->flags |= IOSQE_BUFFER_SELECT;
    request->buf_group = GROUP;
    request->user_data = tag(RECEIVE, fd);
    state->connections[fd].receiving = true;
    state->connections[fd].cancelled = state->connections[fd].once = false;
}

static void ask_cancel(struct state *state, int fd) {
    struct io_uring_sqe *request = next_request(state);
    io_uring_prep_cancel64(request, tag(RECEIVE, fd), 0);
    request->flags |= IOSQE_CQE_SKIP_SUCCESS;
    request->user_data = tag(CANCEL, 0);
    state->connections[fd].cancelled = true;
}

static void ask_send(struct state *state, int fd) {
    const struct buffer *buffer = state->connections[fd].first;
    struct io_uring_sqe *request = next_request(state);
    io_uring_prep_send(request, fd, buffer->bytes + buffer->sent, buffer->size - buffer->sent,
                       MSG_NOSIGNAL | MSG_WAITALL);
    request->user_data = tag(SEND, fd);
}

/* ---- buffers --------------------------------------------------------------------------------- */

static void free_buffer(struct state *state, struct buffer *buffer) {
    buffer->next = state->free;
    state->free = buffer;
}

static void free_buffers(struct state *state, struct buffer *buffer) {
    while (buffer) {
        struct buffer *next = buffer->next;
        free_buffer(state, buffer);
        buffer = next;
    }
}

static struct buffer *take_free(struct state *state) {
    struct buffer *buffer = state->free;
    if (buffer)
        state->free = buffer->next;
    else
        buffer = malloc(sizeof *buffer);
    return buffer;
}

/* Provides what came back in this pass. `least`: at least so many are then provided. */
static void provide(struct state *state, int least) {
    int added = 0;
    while (state->unused_count > 0 && (state->free || BUFFERS - state->unused_count < least)) {
        struct buffer *buffer = take_free(state);
        if (!buffer)
            break;
        uint16_t number = state->unused[--state->unused_count];
        state->provided[number] = buffer;
        io_uring_buf_ring_add(state->provided_ring, buffer->bytes, BUFFER_BYTES, number,
                              io_uring_buf_ring_mask(BUFFERS), added++);
    }
    io_uring_buf_ring_advance(state->provided_ring, added);
}

static struct buffer *take_received(struct state *state, const struct io_uring_cqe *completion) {
    uint16_t number = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    struct buffer *buffer = state->provided[number];
    state->provided[number] = NULL;
    state->unused[state->unused_count++] = number;
    buffer->next = NULL;
    buffer->sent = 0;
    buffer->size = (uint32_t)completion->res;
    return buffer;
}

/* ---- a connection ---------------------------------------------------------------------------- */

/* After every completion: what the connection needs next. */
static void settle(struct state *state, int fd) {
    struct connection *connection = &state->connections[fd];
    if (connection->ended && !connection->receiving && !connection->starved && !connection->first) {
        *connection = (struct connection){0};
        close(fd);
    } else if (connection->receiving && !connection->cancelled &&
               connection->waiting > WAITING_MOST)
        ask_cancel(state, fd);
    else if (!connection->receiving && !connection->ended && !connection->starved &&
             !connection->first)
        ask_receive(state, fd);
}

static void starve(struct state *state, int fd) {
    state->connections[fd].starved = true;
    state->connections[fd].next_starved = 0;
    if (state->first_starved)
        state->connections[state->last_starved].next_starved = fd;
    else
        state->first_starved = fd;
    state->last_starved = fd;
}

/* First come, first served. */
static void feed_starved(struct state *state) {
    for (int left = BUFFERS - state->unused_count; left > 0 && state->first_starved; left--) {
        int fd = state->first_starved;
        state->first_starved = state->connections[fd].next_starved;
        state->connections[fd].starved = false;
        state->connections[fd].once = true;
        settle(state, fd);
    }
}

/* What is in flight ends by itself then. */
static void fail(struct state *state, int fd) {
    struct connection *connection = &state->connections[fd];
    connection->ended = connection->failed = true;
    shutdown(fd, SHUT_RDWR);
    if (!connection->first)
        return;
    free_buffers(state, connection->first->next);
    connection->first->next = NULL;
    connection->last = connection->first;
    connection->waiting = 1;
}

static void append(struct state *state, int fd, struct buffer *buffer) {
    struct connection *connection = &state->connections[fd];
    if (connection->failed) {
        free_buffer(state, buffer);
        return;
    }
    connection->waiting++;
    if (connection->first)
        connection->last->next = buffer;
    else
        connection->first = buffer;
    connection->last = buffer;
    if (connection->first == buffer)
        ask_send(state, fd);
}

static void received(struct state *state, int fd, const struct io_uring_cqe *completion) {
    struct connection *connection = &state->connections[fd];
    if (!(completion->flags & IORING_CQE_F_MORE))
        connection->receiving = false;
    if (completion->res > 0) {
        state->server->counts.requests++;
        append(state, fd, take_received(state, completion));
    } else if (completion->flags & IORING_CQE_F_BUFFER)
        free_buffer(state, take_received(state, completion));
    if (completion->res == 0)
        connection->ended = true;
    else if (completion->res == -ENOBUFS)
        starve(state, fd);
    else if (completion->res < 0 && completion->res != -ECANCELED && !connection->failed)
        fail(state, fd);
    settle(state, fd);
}

static void sent(struct state *state, int fd, const struct io_uring_cqe *completion) {
    struct connection *connection = &state->connections[fd];
    struct buffer *buffer = connection->first;
    if (completion->res < 0 && !connection->failed)
        fail(state, fd);
    else if (completion->res > 0)
        buffer->sent += (uint32_t)completion->res;
    if (connection->failed || buffer->sent == buffer->size) {
        connection->first = buffer->next;
        connection->waiting--;
        free_buffer(state, buffer);
    }
    if (connection->first)
        ask_send(state, fd);
    settle(state, fd);
}

static int accepted(struct state *state, const struct io_uring_cqe *completion) {
    int fd = completion->res;
    if (!(completion->flags & IORING_CQE_F_MORE))
        ask_accept(state);
    if (fd == -ECONNABORTED || fd == -EINTR)
        return 0;
    if (fd < 0)
        return fd; /* out of descriptors: ends, and does not measure something else */
    if (fd >= state->most || raw_set_options(state->server, fd)) {
        close(fd);
        return 0;
    }
    if (fd >= state->used)
        state->used = fd + 1;
    ask_receive(state, fd);
    return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int dispatch(struct state *state, const struct io_uring_cqe *completion) {
    int fd = (int)(completion->user_data >> 8);
    switch ((enum operation)(completion->user_data & 0xff)) {
    case ACCEPT:
        return accepted(state, completion);
    case STOP:
        state->stopping = true;
        break;
    case RECEIVE:
        received(state, fd, completion);
        break;
    case SEND:
        sent(state, fd, completion);
        break;
    case CANCEL:
        break; /* the receive says itself that it ended */
    }
    return 0;
}

static int run(struct state *state) {
    int failure = 0;
    while (failure == 0 && !state->stopping) {
        provide(state, BUFFERS_LEAST);
        feed_starved(state);
        int result = io_uring_submit_and_wait(&state->ring, 1);
        state->server->counts.wait++;
        if (result < 0 && result != -EINTR)
            return result;
        struct io_uring_cqe *completion;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&state->ring, head, completion) {
            if (failure == 0)
                failure = dispatch(state, completion);
            seen++;
        }
        io_uring_cq_advance(&state->ring, seen);
    }
    return failure;
}

static int set_up_buffers(struct state *state) {
    void *memory;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (posix_memalign(&memory, page, BUFFERS * sizeof(struct io_uring_buf)))
        return -ENOMEM;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)memory, .ring_entries = BUFFERS, .bgid = GROUP};
    state->provided_ring = memory;
    io_uring_buf_ring_init(state->provided_ring);
    while (state->unused_count < BUFFERS) {
        state->unused[state->unused_count] = (uint16_t)state->unused_count;
        state->unused_count++;
    }
    provide(state, BUFFERS);
    return io_uring_register_buf_ring(&state->ring, &registration, 0);
}

static int start(struct state *state) {
    int failure = set_up_buffers(state);
    if (failure)
        return failure;
    io_uring_register_ring_fd(&state->ring);
    ask_accept(state);
    ask_stop(state);
    return 0;
}

int raw_serve(struct raw_server *server) {
    struct state state = {.server = server};
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = COMPLETIONS};
    state.connections = raw_table(sizeof *state.connections, &state.most);
    if (!state.connections)
        return -ENOMEM;
    int failure = io_uring_queue_init_params(SUBMISSIONS, &state.ring, &parameters);
    if (failure) {
        free(state.connections);
        return failure;
    }
    failure = start(&state);
    if (!failure) {
        raw_ready(server);
        failure = run(&state);
    }
    io_uring_queue_exit(&state.ring);
    for (int fd = 0; fd < state.used; fd++)
        free_buffers(&state, state.connections[fd].first);
    for (int number = 0; number < BUFFERS; number++)
        free(state.provided[number]);
    while (state.free)
        free(take_free(&state));
    free(state.connections);
    free(state.provided_ring);
    return failure;
}
