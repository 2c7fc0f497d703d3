/* http_server.h: an HTTP/1.1 server on any loop.
 *
 * What it serves, to GET, HEAD, POST and PUT, with or without a query; 405 to other methods:
 *   /          size_bytes bytes
 *   /bytes/N   N bytes, at most HTTP_BYTES_MOST
 *   /count     the size of the request's body in decimal digits: what was really received
 *   else       404, unless a route has it (http_routes.h)
 * The bytes are those of http_answer.h. A request's body is read, counted and discarded. What is
 * refused otherwise, and why, is in http_request.h.
 *
 * Connections are kept alive and requests pipelined, with the answers to what one read has brought
 * in one send. An answer that the peer does not take holds up its connection alone: it is read from
 * no more, and keeps one receive buffer and at most one page of answers or HTTP_OUTBOX_BYTES,
 * whatever the size of the answer. Nothing is allocated for a request, and bodies are sent from
 * memory that all answers share.
 *
 * Time limits, each 0 for none: idle_timeout until the first byte of a request, then the connection
 * is closed; header_timeout from there to the end of its head, then 408; transfer_timeout without
 * progress of a body (408) or of an answer (closed).
 *
 * Where tasks are traced (trace.h) each request is one, from when it is whole to when its answer is
 * given to the stream: what the peer takes to receive it is not in it.
 *
 * `stop` stops listening and closes idle connections; what is under way is answered, as long as the
 * loop runs, and closed after that. */
#ifndef LOOPMARK_HTTP_SERVER_H
#define LOOPMARK_HTTP_SERVER_H

#include "http_routes.h"
#include "workload.h"

#define HTTP_BYTES_MOST (256ull << 20)

enum { HTTP_OUTBOX_BYTES = 16 * 1024 };

/* Reads HTTP_SERVER_KNOBS. -ENOTSUP: built without llhttp. */
extern const struct workload_server http_server;

/* ---- with routes --------------------------------------------------------------------------------
 *
 * The same with the paths of `routes` besides: for other workloads, which stop it with
 * http_server.stop. Then it lives until http_free. */

int http_serve_routes(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, const struct http_routes *routes,
                      void *routes_data, struct endpoint *bound, struct server **server,
                      struct error *error);
void *http_routes_data(const struct server *server);

/* After stop: whether one is left. */
bool http_has_connections(const struct server *server);
/* Closes all of them, whatever is under way. */
void http_close_connections(struct server *server);
/* After stop, and when no connection is left. */
void http_free(struct server *server);

/* ---- its knobs, as rows of a table --------------------------------------------------------------
 */

#define HTTP_TIME_LIMIT_KNOB(knob_name, from, words)                                               \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_TIME, .side = KNOB_SERVER, .initial = from, \
        .least = 0, .most = 24 * 3600e9                                                            \
    }

#define HTTP_SERVER_KNOBS                                                                          \
    {.name = "size_bytes",                                                                         \
     .help = "bytes of the answer to /",                                                           \
     .type = KNOB_BYTES,                                                                           \
     .side = KNOB_SERVER,                                                                          \
     .initial = 1024,                                                                              \
     .least = 0,                                                                                   \
     .most = (double)HTTP_BYTES_MOST},                                                             \
        {.name = "work_us",                                                                        \
         .help = "CPU time that each request costs besides, in microseconds",                      \
         .type = KNOB_COUNT,                                                                       \
         .side = KNOB_SERVER,                                                                      \
         .initial = 0,                                                                             \
         .least = 0,                                                                               \
         .most = 1e6},                                                                             \
        {.name = "keep_alive_requests",                                                            \
         .help = "then the server closes it; 1: no keep-alive, 0: no limit",                       \
         .type = KNOB_COUNT,                                                                       \
         .side = KNOB_SERVER,                                                                      \
         .initial = 0,                                                                             \
         .least = 0,                                                                               \
         .most = 1e9},                                                                             \
        {.name = "body_limit_bytes",                                                               \
         .help = "largest body of a request",                                                      \
         .type = KNOB_BYTES,                                                                       \
         .side = KNOB_SERVER,                                                                      \
         .initial = 64 << 20,                                                                      \
         .least = 0,                                                                               \
         .most = (double)(1ull << 40)},                                                            \
        HTTP_TIME_LIMIT_KNOB("idle_timeout", 120e9, "until a request begins; 0: no limit"),        \
        HTTP_TIME_LIMIT_KNOB("header_timeout", 10e9,                                               \
                             "from its first byte to the end of its head; 0: no limit"),           \
        HTTP_TIME_LIMIT_KNOB("transfer_timeout", 60e9,                                             \
                             "without progress of a body or an answer; 0: no limit")

#endif
