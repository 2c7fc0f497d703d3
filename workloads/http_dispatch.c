/* http_dispatch.c: see http_connection.h. */
#ifdef HAVE_LLHTTP

#include <string.h>

#include "burn.h"
#include "http_connection.h"
#include "loops/trace.h"

enum { COUNT_BYTES = 20 };

void http_make_last(struct connection *connection, bool abrupt) {
    connection->stage = LAST;
    connection->abrupt = abrupt;
}

void http_refuse(struct connection *connection, struct send *send, int status) {
    http_make_last(connection, true);
    http_add_answer(connection, send, status, 0);
}

/* ---- the server's own paths -------------------------------------------------------------------
 */

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
    struct http_reply reply = {.status = 200, .body = digits + at, .bytes = sizeof digits - at};
    http_add_reply(connection, send, &reply);
}

/* `number`: of /bytes/NUMBER */
static void add_own_answer(struct connection *connection, struct send *send, int status,
                           uint64_t number) {
    const struct request *request = &connection->request;
    const struct server *server = connection->server;
    if (status != 200)
        http_add_answer(connection, send, status, 0);
    else if (request_path_is(request, "/count"))
        add_count(connection, send);
    else if (!request_path_is(request, "/"))
        http_add_answer(connection, send, status, number);
    else if (connection->stage == SERVING && request->method != METHOD_HEAD &&
             request->minor_version > 0)
        http_add_page_answer(connection, send);
    else
        http_add_answer(connection, send, status, server->options.size_bytes);
}

/* ---- routes -----------------------------------------------------------------------------------
 */

static bool may_be_a_route(const struct connection *connection, int status) {
    return status == 404 && connection->server->routes &&
           connection->request.path_bytes <= REQUEST_PATH_BYTES;
}

/* False: it is nobody's. */
static bool begin_route(struct connection *connection, struct send *send) {
    const struct server *server = connection->server;
    const struct request *request = &connection->request;
    connection->exchange =
        (struct http_exchange){.path = request->path,
                               .path_bytes = request->path_bytes,
                               .changes = request->method == METHOD_POST ||
                                          request->method == METHOD_PUT};
    connection->after = connection->stage;
    connection->stage = WAITING;
    connection->offered_by = send;
    bool taken = server->routes->begin(server->routes_data, &connection->exchange);
    connection->offered_by = NULL;
    if (!taken) {
        CHECK(connection->stage == WAITING);
        connection->stage = connection->after;
    }
    return taken;
}

/* ---- a request --------------------------------------------------------------------------------
 */

static void answer(struct connection *connection, struct send *send) {
    const struct server *server = connection->server;
    const struct http_options *options = &server->options;
    uint64_t number = 0;
    if (server->traces)
        connection->task = trace_begin(server->loop, "request");
    if (options->work_ns > 0)
        burn_cpu(options->work_ns);
    connection->requests++;
    if (!connection->request.keep_alive)
        http_make_last(connection, connection->input_bytes > 0);
    else if (server->stopping || connection->requests == options->requests_most)
        http_make_last(connection, true);
    int status = status_of(&connection->request, &number);
    if (may_be_a_route(connection, status) && begin_route(connection, send))
        return;
    add_own_answer(connection, send, status, number);
    http_end_task(connection, "answered");
}

/* Who waits for leave to send a body gets it, or at once the answer that refuses it. */
static void prepare_for_body(struct connection *connection, struct send *send) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uint64_t number;
    if (!connection->request.expects_continue || connection->input_bytes > 0)
        return;
    int status = status_of(&connection->request, &number);
    if (status == 200 || may_be_a_route(connection, status))
        http_add_part(send, go_on, sizeof go_on - 1);
    else
        http_refuse(connection, send, status);
}

void http_fill(struct connection *connection, struct send *send) {
    struct request *request = &connection->request;
    http_add_queued(connection, send);
    while (connection->stage == SERVING && connection->input_bytes > 0 &&
           http_has_room(connection, send)) {
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
            http_refuse(connection, send, request->status);
    }
}

#endif
