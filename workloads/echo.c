/* echo.c: every byte comes back. The workload that shows the loop itself: no parsing, no thinking.
 *
 * The server sends each received buffer as it lies, and holds the buffer and pauses the connection
 * only while the kernel would not take it all: no copy and no allocation per request on any loop.
 *
 * The client sends slices of one random table. When it verifies, the slice depends on the
 * connection and on the number of the request, so that an answer to another request or another
 * connection is noticed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loops/trace.h"
#include "workload.h"

enum { ECHO_SIZE_MOST = 16 << 20 };

static const struct knob echo_knobs[] = {
    {.name = "size_bytes",
     .help = "bytes of one message",
     .type = KNOB_BYTES,
     .side = KNOB_CLIENT,
     .initial = 1024,
     .least = 1,
     .most = ECHO_SIZE_MOST},
};

/* ---- the server --------------------------------------------------------------------------------
 */

struct server {
    struct listener *listener;
};

struct echo_connection {
    struct buffer *held; /* lent to the loop by a send that is SEND_LATER */
    uint32_t task;       /* of it, when tasks are traced */
};

static void echo_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct iovec part = {.iov_base = bytes, .iov_len = n};
    int result = stream_send(stream, &part, 1, NULL);
    if (result == SEND_LATER) {
        struct echo_connection *connection = stream_state(stream);
        connection->held = buffer;
        buffer_hold(buffer);
        stream_pause(stream);
    } else if (result < 0)
        stream_close(stream);
}

static void echo_sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    struct echo_connection *connection = stream_state(stream);
    buffer_drop(connection->held);
    connection->held = NULL;
    if (err == 0)
        stream_resume(stream);
}

static const struct stream_handler echo_handler = {
    .state_bytes = sizeof(struct echo_connection),
    .on_data = echo_data,
    .on_sent = echo_sent,
};

/* The same for a loop whose tasks are traced. A task is what one on_data brought. */
static void traced_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct loop *loop = stream_loop(stream);
    struct echo_connection *connection = stream_state(stream);
    uint32_t task = trace_begin(loop, "echo");
    echo_data(stream, buffer, bytes, n);
    if (connection->held) {
        trace_step(loop, task, "sending");
        connection->task = task;
    } else
        trace_end(loop, task, "sent");
}

static void traced_sent(struct stream *stream, void *cookie, int err) {
    struct echo_connection *connection = stream_state(stream);
    trace_end(stream_loop(stream), connection->task, err ? "not sent" : "sent");
    echo_sent(stream, cookie, err);
}

static const struct stream_handler traced_handler = {
    .state_bytes = sizeof(struct echo_connection),
    .on_data = traced_data,
    .on_sent = traced_sent,
};

enum { ECHO_BACKLOG = 4096 };

static int echo_serve(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, struct endpoint *bound, struct server **out,
                      struct error *error) {
    (void)knobs;
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return error_set(error, -ENOMEM, "out of memory");
    const struct stream_handler *handler = loop_traces(loop) ? &traced_handler : &echo_handler;
    int failure =
        loop_listen(loop, listen, ECHO_BACKLOG, handler, server, &server->listener, bound, error);
    if (failure) {
        free(server);
        return failure;
    }
    *out = server;
    return 0;
}

static void echo_stop_serving(struct server *server) {
    listener_close(server->listener);
    free(server);
}

static const struct workload_server echo_server = {.start = echo_serve, .stop = echo_stop_serving};

/* ---- the client --------------------------------------------------------------------------------
 */

/* Starts of slices: a prime, so that they repeat late, and more of them than requests in flight. */
enum { SLICE_STARTS = 65521, SLICE_STEP = 7919 };

struct client {
    struct loop *loop;
    struct endpoint target;
    const struct client_events *events;
    bool verify;
    size_t size;
    uint32_t connections; /* made so far: tells their slices apart */
    uint8_t *table;       /* size + SLICE_STARTS random bytes */
};

struct echo_asker {
    struct client *client;
    uint32_t number;         /* of the connection */
    uint64_t sent, answered; /* messages */
    uint32_t queued;         /* asked for while a send was under way */
    size_t arrived;          /* bytes of the answer that is coming in */
    bool wrong, ended;
    int unsent; /* why a send failed */
};

static uint8_t *message(const struct echo_asker *asker, uint64_t number) {
    const struct client *client = asker->client;
    if (!client->verify)
        return client->table;
    return client->table + (asker->number * 31337ull + number * SLICE_STEP) % SLICE_STARTS;
}

static int send_next(struct stream *stream, struct echo_asker *asker) {
    struct iovec part = {.iov_base = message(asker, asker->sent), .iov_len = asker->client->size};
    int result = stream_send(stream, &part, 1, NULL);
    if (result < 0) {
        asker->unsent = result;
        stream_close(stream);
        return result;
    }
    asker->sent++;
    return 0;
}

static int echo_request(void *connection) {
    struct stream *stream = connection;
    struct echo_asker *asker = stream_state(stream);
    if (stream_sending(stream)) {
        asker->queued++;
        return 0;
    }
    return send_next(stream, asker);
}

static void asker_opened(struct stream *stream, int err) {
    struct echo_asker *asker = stream_state(stream);
    if (err == 0)
        asker->client->events->opened(stream_data(stream));
}

static void asker_sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    struct echo_asker *asker = stream_state(stream);
    if (err && err != -ECANCELED)
        asker->unsent = err;
    while (err == 0 && asker->queued > 0 && !stream_sending(stream)) {
        asker->queued--;
        err = send_next(stream, asker);
    }
}

static void asker_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    (void)buffer;
    struct echo_asker *asker = stream_state(stream);
    const struct client *client = asker->client;
    while (n > 0) {
        if (asker->answered == asker->sent) { /* more came back than was sent */
            asker->wrong = true;
            stream_close(stream);
            return;
        }
        size_t part = client->size - asker->arrived < n ? client->size - asker->arrived : n;
        if (client->verify &&
            memcmp(message(asker, asker->answered) + asker->arrived, bytes, part) != 0)
            asker->wrong = true;
        asker->arrived += part;
        bytes += part;
        n -= part;
        if (asker->arrived == client->size) {
            asker->arrived = 0;
            asker->answered++;
            struct answer answer = {.err = asker->wrong ? -EBADMSG : 0, .bytes = client->size};
            client->events->answered(stream_data(stream), &answer);
        }
    }
}

static void asker_ended(struct stream *stream) {
    struct echo_asker *asker = stream_state(stream);
    asker->ended = true;
    stream_close(stream);
}

static void asker_closed(struct stream *stream, int err) {
    const struct echo_asker *asker = stream_state(stream);
    struct client_end end = {.err = err, .step = CLIENT_RECEIVE};
    if (asker->unsent)
        end = (struct client_end){.err = asker->unsent, .step = CLIENT_SEND};
    else if (err == 0 && asker->wrong)
        end = (struct client_end){.err = -EBADMSG, .step = CLIENT_PARSE};
    else if (err == 0 && asker->ended)
        end = (struct client_end){.err = -EPIPE, .step = CLIENT_CLOSE};
    asker->client->events->closed(stream_data(stream), &end);
}

static const struct stream_handler asker_handler = {
    .state_bytes = sizeof(struct echo_asker),
    .on_open = asker_opened,
    .on_data = asker_data,
    .on_sent = asker_sent,
    .on_eof = asker_ended,
    .on_close = asker_closed,
};

static int echo_connect(struct client *client, const struct endpoint *source, void *slot,
                        void **out) {
    struct stream *stream;
    int failure =
        loop_connect(client->loop, &client->target, source, &asker_handler, slot, &stream);
    if (failure)
        return failure;
    struct echo_asker *asker = stream_state(stream);
    asker->client = client;
    asker->number = client->connections++;
    *out = stream;
    return 0;
}

static void fill_table(uint8_t *table, size_t bytes) {
    uint64_t state = 1;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        table[i] = (uint8_t)(state >> 56);
    }
}

static int echo_start_asking(const struct client_setup *setup, struct client **out,
                             struct error *error) {
    struct client *client = calloc(1, sizeof *client);
    size_t size = (size_t)knob_get(setup->knobs, "size_bytes");
    uint8_t *table = malloc(size + SLICE_STARTS);
    if (!client || !table) {
        free(client);
        free(table);
        return error_set(error, -ENOMEM, "out of memory");
    }
    fill_table(table, size + SLICE_STARTS);
    *client = (struct client){.loop = setup->loop,
                              .target = setup->url->endpoint,
                              .events = setup->events,
                              .verify = setup->verify,
                              .size = size,
                              .table = table};
    *out = client;
    return 0;
}

static void echo_stop_asking(struct client *client) {
    free(client->table);
    free(client);
}

static const struct workload_client echo_client = {
    .start = echo_start_asking,
    .connect = echo_connect,
    .request = echo_request,
    .stop = echo_stop_asking,
};

/* ---- the workload ------------------------------------------------------------------------------
 */

static const char *const echo_schemes[] = {"tcp", "unix", NULL};

extern const struct workload echo_workload;
const struct workload echo_workload = {
    .name = "echo",
    .summary = "every byte comes back: the cost of the loop itself",
    .schemes = echo_schemes,
    .knobs = {echo_knobs, ARRAY_LENGTH(echo_knobs)},
    .server = &echo_server,
    .client = &echo_client,
};
