/* http_routes.h: what a workload adds to the HTTP server: paths of its own, whose answers may come
 * later, after a query or a job on another thread.
 *
 * A request that http_server.h has no answer for is offered to `begin`. Between that and its answer
 * it is an exchange; a connection has one at a time. While it is outstanding, what the client sends
 * is held and not looked at, so that pipelined requests are answered in their order, and no time
 * limit runs, because the client is not the cause. The order between connections is free.
 *
 * A client that ends its side still gets its answer. One that resets the connection is gone; that
 * is noticed at once unless it has sent more requests meanwhile, and then when they are read. A
 * stop of the server waits for what is outstanding.
 *
 * Nothing is allocated here, and all of it belongs to the loop's thread. */
#ifndef LOOPMARK_HTTP_ROUTES_H
#define LOOPMARK_HTTP_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

/* Bodies up to here are copied; larger ones are lent. */
enum { HTTP_COPIED_BYTES = 1024 };

struct http_exchange {
    const char *path;  /* without the query; not terminated; until it is answered */
    size_t path_bytes; /* at most REQUEST_PATH_BYTES: longer ones are not offered */
    bool changes;      /* POST or PUT, not GET or HEAD */
    void *route;       /* the route's own; null at first */
};

struct http_reply {
    int status;        /* one that http_answer.c has a line for; 503 says Retry-After too */
    const char *allow; /* of 405: the methods */
    const void *body;
    size_t bytes;
};

struct http_routes {
    /* False: nothing here has that path, and the client gets 404. True: http_reply was called, or
     * will be. The request's body has been read and thrown away. */
    bool (*begin)(void *data, struct http_exchange *exchange);
    /* The client has gone before its answer: no reply may come any more. `exchange` ends here. */
    void (*gone)(void *data, struct http_exchange *exchange);
    /* A body over HTTP_COPIED_BYTES is needed no more: sent, or the client has gone. Never within
     * begin. */
    void (*sent)(void *data, struct http_exchange *exchange);
};

/* The one answer of an exchange. A body over HTTP_COPIED_BYTES stays as it is until `sent`. Outside
 * of `begin`, `sent` and the `begin` of the next request on the same connection may come before
 * this returns, so it is the last that a route does for an exchange. */
void http_reply(struct http_exchange *exchange, const struct http_reply *reply);

/* A step on the way to it, for who traces requests (trace.h): a static word. Costs a branch when
 * nobody does. */
void http_step(struct http_exchange *exchange, const char *step);

#endif
