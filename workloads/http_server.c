/* http_server.c: see http_server.h.
 *
 * How a connection goes on is decided in one place, serve(): it fills an outbox with answers to
 * what has been received until the outbox or the input is at its end, sends it, and repeats that
 * while the kernel takes everything at once. When a send is SEND_LATER, on_sent calls it again. */
#include "http_server.h"

#include <errno.h>

#ifndef HAVE_LLHTTP

static int http_serve(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, struct endpoint *bound, struct server **out,
                      struct error *error) {
    (void)loop, (void)knobs, (void)listen, (void)bound, (void)out;
    return error_set(error, -ENOTSUP,
                     "not built: llhttp (Debian: node-llhttp or libllhttp-dev) was missing at "
                     "build time");
}

static void http_stop_serving(struct server *server) {
    (void)server;
}

#else

#include <stdlib.h>
#include <string.h>

#include "burn.h"
#include "http_answer.h"
#include "http_request.h"

#define NEVER UINT64_MAX
/* How long a peer may take to end its side after our last answer (RFC 9112 section 9.6). */
#define LINGER_NS (2 * NS_PER_S)

enum { HTTP_BACKLOG = 4096, SMALL_BODY_BYTES = 1024, COUNT_BYTES = 20, LONG_BODY_PARTS = 4 };

/* Heads and small bodies that no page has. Lent to a connection while it answers. */
struct outbox {
    struct outbox *next;
    uint32_t used;
    char bytes[HTTP_OUTBOX_BYTES];
};

struct options {
    uint64_t size_bytes, work_ns, requests_most, body_most;
    uint64_t idle_ns, header_ns, transfer_ns;
};

/* Lives until it was stopped and its last connection has closed. */
struct server {
    struct loop *loop;
    struct listener *listener;
    struct options options;
    struct connection *connections;
    bool stopping;
    struct outbox *outboxes; /* not lent */
    struct http_pages pages;
    uint64_t date_due_ns; /* when the loop's time gets there, dates are wrong */
    char date[HTTP_DATE_BYTES];
    uint8_t block[HTTP_BODY_BLOCK_BYTES];
};

/* What goes on. LAST: an answer after which no other may come is queued. LINGERING: everything is
 * sent and our side ended, and what still comes is thrown away. */
enum stage { SERVING, LAST, LINGERING };

struct connection {
    struct server *server;
    struct stream *stream;
    struct connection *previous, *next;
    struct request request;
    enum stage stage;
    bool abrupt;       /* LAST: the peer may be sending still */
    bool ended;        /* the peer has ended its side */
    bool head_timed;   /* deadline_ns is that of the head under way */
    uint64_t requests; /* answered */
    /* Received and not yet parsed: in `held`, except during on_data. */
    const uint8_t *input;
    size_t input_bytes;
    struct buffer *held;
    /* Queued and not yet sent. */
    uint64_t body_left;
    size_t body_at; /* in the block */
    struct outbox *outbox;
    struct http_page *page; /* lent by a send */
    /* The timer is moved only when it is due or too late, as the deadline moves with each request.
     */
    struct timer timer;
    uint64_t deadline_ns;
};

/* One send, as it is put together. */
struct send {
    struct iovec parts[LOOP_SEND_PARTS];
    int count;
    size_t bytes;
    uint32_t page_answers; /* the first so many of the page are in it */
    bool uses_page;
};

/* ---- putting a send together ------------------------------------------------------------------
 */

static void add_part(struct send *send, const void *bytes, size_t n) {
    struct iovec *last = send->count > 0 ? &send->parts[send->count - 1] : NULL;
    send->bytes += n;
    if (n == 0)
        return;
    if (last && (const char *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += n;
        return;
    }
    CHECK(send->count < LOOP_SEND_PARTS);
    send->parts[send->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
}

/* An answer takes two parts at most, before what is left of its body. */
static bool has_room(const struct connection *connection, const struct send *send) {
    const struct outbox *outbox = connection->outbox;
    return connection->body_left == 0 && send->count <= LOOP_SEND_PARTS - 2 &&
           send->bytes < LOOP_SEND_BUDGET &&
           (!outbox || HTTP_OUTBOX_BYTES - outbox->used >= HTTP_HEAD_BYTES + SMALL_BODY_BYTES);
}

/* Long bodies take few parts, since libuv allocates for a write of more. */
static void add_body(struct connection *connection, struct send *send) {
    while (connection->body_left > 0 && send->bytes < LOOP_SEND_BUDGET) {
        size_t n = HTTP_BODY_BLOCK_BYTES - connection->body_at;
        bool ends = connection->body_left <= n;
        if (send->count >= (ends ? LOOP_SEND_PARTS : LONG_BODY_PARTS))
            return;
        if (ends)
            n = (size_t)connection->body_left;
        add_part(send, connection->server->block + connection->body_at, n);
        connection->body_left -= n;
        connection->body_at = (connection->body_at + n) % HTTP_BODY_BLOCK_BYTES;
    }
}

static void begin_body(struct connection *connection, struct send *send, uint64_t bytes) {
    connection->body_left = bytes;
    connection->body_at = 0;
    add_body(connection, send);
}

/* The answer that needs no writing. */
static void add_page_answer(struct connection *connection, struct send *send) {
    struct server *server = connection->server;
    const struct http_pages *pages = &server->pages;
    if (send->page_answers == pages->copies)
        send->page_answers = 0; /* from its beginning again, in another part */
    add_part(send, pages->current->answers + send->page_answers++ * pages->answer_bytes,
             pages->answer_bytes);
    send->uses_page = true;
    if (pages->answer_bytes == pages->head_bytes)
        begin_body(connection, send, server->options.size_bytes);
}

static struct outbox *take_outbox(struct connection *connection) {
    struct server *server = connection->server;
    if (!connection->outbox) {
        connection->outbox = server->outboxes;
        if (connection->outbox)
            server->outboxes = connection->outbox->next;
        else
            connection->outbox = malloc(sizeof *connection->outbox);
        if (connection->outbox)
            connection->outbox->used = 0;
    }
    return connection->outbox;
}

static void give_outbox_back(struct connection *connection) {
    struct server *server = connection->server;
    if (!connection->outbox)
        return;
    connection->outbox->next = server->outboxes;
    server->outboxes = connection->outbox;
    connection->outbox = NULL;
}

static enum http_connection connection_field(const struct connection *connection) {
    if (connection->stage == LAST)
        return CONNECTION_CLOSE;
    return connection->request.minor_version == 0 ? CONNECTION_KEEP_ALIVE : CONNECTION_UNSAID;
}

/* Any answer; `text` is its body, or null: then it is that of http_answer.h. */
static void add_written_answer(struct connection *connection, struct send *send, int status,
                               uint64_t body_bytes, const char *text) {
    struct outbox *outbox = take_outbox(connection);
    if (!outbox) {
        stream_close(connection->stream);
        return;
    }
    struct http_answer answer = {
        .status = status, .body_bytes = body_bytes, .connection = connection_field(connection)};
    const struct server *server = connection->server;
    char *to = outbox->bytes + outbox->used;
    size_t n = http_format_head(to, &answer, server->date);
    bool has_body = connection->request.method != METHOD_HEAD, is_small = false;
    if (has_body && body_bytes <= SMALL_BODY_BYTES) {
        memcpy(to + n, text ? text : (const char *)server->block, (size_t)body_bytes);
        n += (size_t)body_bytes;
        is_small = true;
    }
    outbox->used += (uint32_t)n;
    add_part(send, to, n);
    if (has_body && !is_small)
        begin_body(connection, send, body_bytes);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

/* No other answer comes after this one. `abrupt`: not because the client has asked for that. */
static void make_last(struct connection *connection, bool abrupt) {
    connection->stage = LAST;
    connection->abrupt = abrupt;
}

static void refuse(struct connection *connection, struct send *send, int status) {
    make_last(connection, true);
    add_written_answer(connection, send, status, 0, NULL);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* "/bytes/N" */
static bool path_number(const struct request *request, uint64_t *number) {
    static const char folder[] = "/bytes/";
    size_t at = sizeof folder - 1, end = request->path_bytes;
    if (end <= at || end > REQUEST_PATH_BYTES || memcmp(request->path, folder, at) != 0)
        return false;
    for (*number = 0; at < end; at++) {
        if (!is_digit(request->path[at]) || *number > HTTP_BYTES_MOST)
            return false;
        *number = *number * 10 + (uint64_t)(request->path[at] - '0');
    }
    return *number <= HTTP_BYTES_MOST;
}

static int status_of(const struct request *request, uint64_t *body_bytes) {
    if (request->method == METHOD_OTHER)
        return 405;
    return path_number(request, body_bytes) || request_path_is(request, "/") ||
                   request_path_is(request, "/count")
               ? 200
               : 404;
}

static void add_count(struct connection *connection, struct send *send) {
    char digits[COUNT_BYTES];
    uint64_t number = connection->request.body_bytes;
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    add_written_answer(connection, send, 200, sizeof digits - at, digits + at);
}

/* `number`: of /bytes/NUMBER */
static void add_answer(struct connection *connection, struct send *send, int status,
                       uint64_t number) {
    const struct request *request = &connection->request;
    const struct server *server = connection->server;
    if (status != 200)
        add_written_answer(connection, send, status, 0, NULL);
    else if (request_path_is(request, "/count"))
        add_count(connection, send);
    else if (!request_path_is(request, "/"))
        add_written_answer(connection, send, status, number, NULL);
    else if (connection->stage == SERVING && request->method != METHOD_HEAD &&
             request->minor_version > 0)
        add_page_answer(connection, send);
    else
        add_written_answer(connection, send, status, server->options.size_bytes, NULL);
}

static void answer(struct connection *connection, struct send *send) {
    const struct server *server = connection->server;
    const struct options *options = &server->options;
    uint64_t number = 0;
    if (options->work_ns > 0)
        burn_cpu(options->work_ns);
    connection->requests++;
    if (!connection->request.keep_alive)
        make_last(connection, connection->input_bytes > 0);
    else if (server->stopping || connection->requests == options->requests_most)
        make_last(connection, true);
    int status = status_of(&connection->request, &number);
    add_answer(connection, send, status, number);
}

/* Who waits for leave to send a body gets it, or at once the answer that refuses it. */
static void prepare_for_body(struct connection *connection, struct send *send) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uint64_t number;
    if (!connection->request.expects_continue || connection->input_bytes > 0)
        return;
    int status = status_of(&connection->request, &number);
    if (status == 200)
        add_part(send, go_on, sizeof go_on - 1);
    else
        refuse(connection, send, status);
}

static void fill(struct connection *connection, struct send *send) {
    struct request *request = &connection->request;
    add_body(connection, send);
    while (connection->stage == SERVING && connection->input_bytes > 0 &&
           has_room(connection, send)) {
        size_t used;
        enum request_event event =
            request_parse(request, connection->input, connection->input_bytes, &used);
        connection->input += used;
        connection->input_bytes -= used;
        if (event == REQUEST_DONE)
            answer(connection, send);
        else if (event == REQUEST_BODY)
            prepare_for_body(connection, send);
        else if (event == REQUEST_BAD)
            refuse(connection, send, request->status);
    }
}

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
    const struct options *options = &connection->server->options;
    bool in_head = false;
    if (stream_sending(connection->stream) || request_in_body(&connection->request))
        set_deadline(connection, options->transfer_ns);
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
    fill(connection, &send);
    if (send.count == 0)
        return SEND_DONE;
    int result = stream_send(connection->stream, send.parts, send.count, NULL);
    if (result == SEND_LATER && send.uses_page) {
        connection->page = connection->server->pages.current;
        http_page_lend(connection->page);
    }
    if (result == SEND_DONE && connection->outbox)
        connection->outbox->used = 0;
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
        give_outbox_back(connection);
    return result >= 0;
}

/* What comes after serve(). */
static void go_on(struct connection *connection) {
    const struct server *server = connection->server;
    if (stream_sending(connection->stream))
        stream_pause(connection->stream);
    else if (connection->stage == LAST) {
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
    refuse(connection, &send, status);
    int result =
        send.count > 0 ? stream_send(connection->stream, send.parts, send.count, NULL) : -1;
    if (result != SEND_LATER)
        give_outbox_back(connection);
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
    if (!serve(connection))
        return;
    if (connection->stage == SERVING && stream_sending(stream) && connection->input_bytes > 0) {
        connection->held = buffer;
        buffer_hold(buffer);
    }
    go_on(connection);
}

static void http_sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    struct connection *connection = stream_state(stream);
    take_page_back(connection);
    if (connection->outbox)
        connection->outbox->used = 0;
    if (err == 0 && serve(connection))
        go_on(connection);
}

static void http_ended(struct stream *stream) {
    struct connection *connection = stream_state(stream);
    connection->ended = true;
    if (connection->stage == SERVING && !request_is_idle(&connection->request))
        refuse_and_go_on(connection, 400);
    else
        stream_close(stream);
}

static void free_server(struct server *server) {
    while (server->outboxes) {
        struct outbox *outbox = server->outboxes;
        server->outboxes = outbox->next;
        free(outbox);
    }
    http_pages_close(&server->pages);
    free(server);
}

static void http_closed(struct stream *stream, int err) {
    (void)err;
    struct connection *connection = stream_state(stream);
    struct server *server = connection->server;
    timer_cancel(server->loop, &connection->timer);
    drop_input(connection);
    give_outbox_back(connection);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    if (server->stopping && !server->connections)
        free_server(server);
}

static const struct stream_handler http_handler = {
    .state_bytes = sizeof(struct connection),
    .on_open = http_opened,
    .on_data = http_data,
    .on_sent = http_sent,
    .on_eof = http_ended,
    .on_close = http_closed,
};

/* ---- the server -------------------------------------------------------------------------------
 */

static uint64_t knob_number(const struct knob_values *knobs, const char *name) {
    return (uint64_t)knob_get(knobs, name);
}

static struct options read_options(const struct knob_values *knobs) {
    return (struct options){
        .size_bytes = knob_number(knobs, "size_bytes"),
        .work_ns = knob_number(knobs, "work_us") * NS_PER_US,
        .requests_most = knob_number(knobs, "keep_alive_requests"),
        .body_most = knob_number(knobs, "body_limit_bytes"),
        .idle_ns = knob_number(knobs, "idle_timeout"),
        .header_ns = knob_number(knobs, "header_timeout"),
        .transfer_ns = knob_number(knobs, "transfer_timeout"),
    };
}

static int http_serve(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, struct endpoint *bound, struct server **out,
                      struct error *error) {
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return error_set(error, -ENOMEM, "out of memory");
    server->loop = loop;
    server->options = read_options(knobs);
    http_fill_body_block(server->block);
    if (http_pages_open(&server->pages, server->options.size_bytes, time(NULL), server->block)) {
        free(server);
        return error_set(error, -ENOMEM, "out of memory");
    }
    int failure = loop_listen(loop, listen, HTTP_BACKLOG, &http_handler, server, &server->listener,
                              bound, error);
    if (failure) {
        free_server(server);
        return failure;
    }
    *out = server;
    return 0;
}

static bool is_idle(const struct connection *connection) {
    return connection->stage == SERVING && request_is_idle(&connection->request) &&
           !stream_sending(connection->stream);
}

static void http_stop_serving(struct server *server) {
    listener_close(server->listener);
    server->stopping = true;
    if (!server->connections) {
        free_server(server);
        return;
    }
    for (struct connection *connection = server->connections; connection;
         connection = connection->next)
        if (is_idle(connection))
            stream_close(connection->stream);
}

#endif

const struct workload_server http_server = {.start = http_serve, .stop = http_stop_serving};
