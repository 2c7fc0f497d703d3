/* http_connection.c: see http_connection.h.
 *
 * How a connection goes on is decided in one place, serve(): it fills an outbox with answers to
 * what has been received until the outbox or the input is at its end, sends it, and repeats that
 * while the kernel takes everything at once. When a send is SEND_LATER, on_sent calls it again;
 * when a route answers later, http_reply does. */
#ifdef HAVE_LLHTTP

#include "http_connection.h"
#include "loops/trace.h"

#include <time.h>

#define NEVER UINT64_MAX
/* How long a peer may take to end its side after our last answer (RFC 9112 section 9.6). */
#define LINGER_NS (2 * NS_PER_S)

/* ---- time -------------------------------------------------------------------------------------
 */

static void set_deadline(struct connection *connection, uint64_t timeout_ns) {
    struct loop *loop = connection->server->loop;
    connection->deadline_ns = timeout_ns > 0 ? loop_now_ns(loop) + timeout_ns : NEVER;
    if (timeout_ns > 0 &&
        (!timer_is_set(&connection->timer) || connection->timer.due_ns > connection->deadline_ns))
        timer_set(loop, &connection->timer, connection->deadline_ns);
}

static void choose_deadline(struct connection *connection) {
    const struct http_options *options = &connection->server->options;
    bool in_head = false;
    if (stream_sending(connection->stream) || request_in_body(&connection->request))
        set_deadline(connection, options->transfer_ns);
    else if (connection->stage == WAITING)
        set_deadline(connection, 0); /* it is our turn */
    else if (request_is_idle(&connection->request))
        set_deadline(connection, options->idle_ns);
    else {
        in_head = true;
        if (!connection->head_timed)
            set_deadline(connection, options->header_ns);
    }
    connection->head_timed = in_head;
}

/* The date of this second, if it is another one. */
static void renew_date(struct server *server) {
    uint64_t now_ns = loop_now_ns(server->loop);
    struct timespec now;
    if (now_ns < server->date_due_ns)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    server->date_due_ns = now_ns + NS_PER_S - (uint64_t)now.tv_nsec;
    http_format_date(server->date, now.tv_sec);
    http_pages_renew(&server->pages, now.tv_sec);
}

/* ---- a connection's course --------------------------------------------------------------------
 */

static void hold_input(struct connection *connection, struct buffer *buffer) {
    connection->held = buffer;
    buffer_hold(buffer);
}

static void drop_input(struct connection *connection) {
    connection->input_bytes = 0;
    if (connection->held)
        buffer_drop(connection->held);
    connection->held = NULL;
}

static void take_page_back(struct connection *connection) {
    if (connection->page)
        http_page_return(&connection->server->pages, connection->page);
    connection->page = NULL;
}

/* Closing while the peer still sends would reset the connection, and the last answer might be lost
 * with it. */
static void finish(struct connection *connection) {
    if (!connection->abrupt || connection->ended) {
        stream_close(connection->stream);
        return;
    }
    connection->stage = LINGERING;
    drop_input(connection);
    stream_shutdown(connection->stream);
    stream_resume(connection->stream);
    set_deadline(connection, LINGER_NS);
}

static int send_answers(struct connection *connection) {
    struct send send = {.count = 0};
    http_fill(connection, &send);
    if (send.count == 0)
        return SEND_DONE;
    int result = stream_send(connection->stream, send.parts, send.count, NULL);
    if (result == SEND_LATER && send.uses_page) {
        connection->page = connection->server->pages.current;
        http_page_lend(connection->page);
    }
    if (result == SEND_DONE)
        http_end_send(connection);
    return result;
}

static bool has_more(const struct connection *connection) {
    return connection->body_left > 0 ||
           (connection->stage == SERVING && connection->input_bytes > 0);
}

/* Answers until nothing is left to answer or a send is under way. False: the stream is closing. */
static bool serve(struct connection *connection) {
    int result;
    renew_date(connection->server);
    do
        result = send_answers(connection);
    while (result == SEND_DONE && has_more(connection));
    if (result < 0)
        stream_close(connection->stream);
    if (result != SEND_LATER)
        http_return_outbox(connection);
    return result >= 0;
}

/* What comes after serve(). */
static void go_on(struct connection *connection) {
    const struct server *server = connection->server;
    if (stream_sending(connection->stream))
        stream_pause(connection->stream);
    else if (connection->stage == WAITING) {
        if (connection->held)
            stream_pause(connection->stream);
        else
            stream_resume(connection->stream);
    } else if (connection->stage == LAST) {
        finish(connection);
        return;
    } else if (connection->ended || (server->stopping && request_is_idle(&connection->request))) {
        stream_close(connection->stream);
        return;
    } else {
        drop_input(connection);
        stream_resume(connection->stream);
    }
    choose_deadline(connection);
}

/* Answers that the peer cannot follow with a request: the stream is at its end, or too slow. */
static void refuse_and_go_on(struct connection *connection, int status) {
    struct send send = {.count = 0};
    renew_date(connection->server);
    http_refuse(connection, &send, status);
    int result =
        send.count > 0 ? stream_send(connection->stream, send.parts, send.count, NULL) : -1;
    if (result != SEND_LATER)
        http_return_outbox(connection);
    if (result < 0)
        stream_close(connection->stream);
    else
        go_on(connection);
}

static void timer_due(struct timer *timer) {
    struct connection *connection = CONTAINER_OF(timer, struct connection, timer);
    struct loop *loop = connection->server->loop;
    if (connection->deadline_ns == NEVER)
        return;
    if (loop_now_ns(loop) < connection->deadline_ns)
        timer_set(loop, timer, connection->deadline_ns);
    else if (connection->stage == SERVING && !stream_sending(connection->stream) &&
             !request_is_idle(&connection->request))
        refuse_and_go_on(connection, 408);
    else
        stream_close(connection->stream);
}

bool http_is_idle(const struct connection *connection) {
    return connection->stage == SERVING && request_is_idle(&connection->request) &&
           !stream_sending(connection->stream);
}

/* ---- tasks ------------------------------------------------------------------------------------
 */

void http_end_task(struct connection *connection, const char *end) {
    if (connection->server->traces)
        trace_end(connection->server->loop, connection->task, end);
    connection->task = 0;
}

void http_step(struct http_exchange *exchange, const char *step) {
    struct connection *connection = CONTAINER_OF(exchange, struct connection, exchange);
    if (connection->server->traces)
        trace_step(connection->server->loop, connection->task, step);
}

/* ---- answers of routes ------------------------------------------------------------------------
 */

static void reply_later(struct connection *connection, const struct http_reply *reply) {
    if (connection->stage == SERVING && connection->server->stopping)
        http_make_last(connection, true);
    else if (connection->input_bytes > 0)
        connection->abrupt = true;
    renew_date(connection->server);
    http_queue_reply(connection, reply);
    if (!stream_sending(connection->stream) && serve(connection))
        go_on(connection);
}

void http_reply(struct http_exchange *exchange, const struct http_reply *reply) {
    struct connection *connection = CONTAINER_OF(exchange, struct connection, exchange);
    CHECK(connection->stage == WAITING);
    connection->stage = connection->after;
    http_end_task(connection, "answered");
    if (connection->offered_by)
        http_add_reply(connection, connection->offered_by, reply);
    else
        reply_later(connection, reply);
}

/* Its client has gone, whatever it still waits for. */
static void end_exchange(struct connection *connection) {
    const struct server *server = connection->server;
    if (connection->lent)
        server->routes->sent(server->routes_data, &connection->exchange);
    else if (connection->stage == WAITING) {
        http_end_task(connection, "client gone");
        server->routes->gone(server->routes_data, &connection->exchange);
    }
}

/* ---- callbacks of the loop --------------------------------------------------------------------
 */

static void http_opened(struct stream *stream, int err) {
    (void)err; /* accepted streams are open */
    struct connection *connection = stream_state(stream);
    struct server *server = stream_data(stream);
    connection->server = server;
    connection->stream = stream;
    connection->timer.on_due = timer_due;
    connection->next = server->connections;
    if (server->connections)
        server->connections->previous = connection;
    server->connections = connection;
    request_init(&connection->request, server->options.body_most);
    set_deadline(connection, server->options.idle_ns);
}

static void http_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct connection *connection = stream_state(stream);
    if (connection->stage == LINGERING)
        return;
    connection->input = bytes;
    connection->input_bytes = n;
    if (connection->stage == WAITING) {
        hold_input(connection, buffer);
        stream_pause(stream);
        return;
    }
    if (!serve(connection))
        return;
    if (connection->input_bytes > 0 &&
        (connection->stage == SERVING || connection->stage == WAITING))
        hold_input(connection, buffer);
    go_on(connection);
}

static void http_sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    struct connection *connection = stream_state(stream);
    take_page_back(connection);
    if (err)
        return;
    http_end_send(connection);
    if (serve(connection))
        go_on(connection);
}

static void http_ended(struct stream *stream) {
    struct connection *connection = stream_state(stream);
    connection->ended = true;
    if (connection->stage == WAITING)
        return; /* it may have ended its side alone */
    if (connection->stage == SERVING && !request_is_idle(&connection->request))
        refuse_and_go_on(connection, 400);
    else
        stream_close(stream);
}

static void http_closed(struct stream *stream, int err) {
    (void)err;
    struct connection *connection = stream_state(stream);
    struct server *server = connection->server;
    timer_cancel(server->loop, &connection->timer);
    drop_input(connection);
    http_return_outbox(connection);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    end_exchange(connection);
    if (server->stopping && !server->connections && !server->routes)
        http_free(server);
}

const struct stream_handler http_handler = {
    .state_bytes = sizeof(struct connection),
    .on_open = http_opened,
    .on_data = http_data,
    .on_sent = http_sent,
    .on_eof = http_ended,
    .on_close = http_closed,
};

#endif
