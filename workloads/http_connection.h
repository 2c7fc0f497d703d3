/* http_connection.h: what the parts of the HTTP server share; for them alone.
 *
 *   http_server.c      start, stop, knobs
 *   http_connection.c  a connection's course: callbacks of the loop, time limits, what comes next
 *   http_dispatch.c    which answer a request gets
 *   http_send.c        answers put together for one send */
#ifndef LOOPMARK_HTTP_CONNECTION_H
#define LOOPMARK_HTTP_CONNECTION_H

#include "http_answer.h"
#include "http_request.h"
#include "http_routes.h"
#include "http_server.h"

struct outbox;

struct http_options {
    uint64_t size_bytes, work_ns, requests_most, body_most;
    uint64_t idle_ns, header_ns, transfer_ns;
};

/* Lives until it was stopped and its last connection has closed; with routes, until http_free. */
struct server {
    struct loop *loop;
    struct listener *listener;
    struct http_options options;
    const struct http_routes *routes; /* or null */
    void *routes_data;
    struct connection *connections;
    bool stopping;
    bool traces; /* loop_traces, asked once */
    struct outbox *outboxes; /* not lent */
    struct http_pages pages;
    uint64_t date_due_ns; /* when the loop's time gets there, dates are wrong */
    char date[HTTP_DATE_BYTES];
    uint8_t block[HTTP_BODY_BLOCK_BYTES];
};

/* What goes on. WAITING: for the answer of a route. LAST: an answer after which no other may come
 * is queued. LINGERING: everything is sent and our side ended, and what still comes is thrown away.
 */
enum stage { SERVING, WAITING, LAST, LINGERING };

struct connection {
    struct server *server;
    struct stream *stream;
    struct connection *previous, *next;
    struct request request;
    enum stage stage;
    bool abrupt;       /* LAST: the peer may be sending still */
    bool ended;        /* the peer has ended its side */
    bool head_timed;   /* deadline_ns is that of the head under way */
    uint64_t requests; /* answered or begun */
    /* Received and not yet parsed: in `held`, except during on_data. */
    const uint8_t *input;
    size_t input_bytes;
    struct buffer *held;
    /* Queued and not yet sent. */
    uint64_t body_left;
    size_t body_at;   /* in `lent`, or else in the block */
    const char *lent; /* a route's body, until `sent` */
    struct outbox *outbox;
    uint32_t queued;        /* bytes at the end of the outbox that no send has yet */
    struct http_page *page; /* lent by a send */
    /* The request that a route has. */
    struct http_exchange exchange;
    enum stage after;        /* WAITING: what comes then */
    uint32_t task;           /* of the request that has no answer yet, for trace.h */
    struct send *offered_by; /* within begin, or null */
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

/* ---- http_connection.c -------------------------------------------------------------------------
 */

extern const struct stream_handler http_handler; /* its data is the server */

/* Nothing is under way on it. */
bool http_is_idle(const struct connection *connection);
/* The life of its request is over, if it is traced. */
void http_end_task(struct connection *connection, const char *end);

/* ---- http_dispatch.c ---------------------------------------------------------------------------
 */

/* Puts what is queued into `send`, and answers to the input up to the end of one of both, or up to
 * a request whose answer comes later. */
void http_fill(struct connection *connection, struct send *send);
/* An answer after which nothing else is read. */
void http_refuse(struct connection *connection, struct send *send, int status);
/* No other answer comes after this one. `abrupt`: not because the client has asked for that. */
void http_make_last(struct connection *connection, bool abrupt);

/* ---- http_send.c -------------------------------------------------------------------------------
 */

/* Room for any answer, before what is left of its body. */
bool http_has_room(const struct connection *connection, const struct send *send);
void http_add_part(struct send *send, const void *bytes, size_t n);
/* What http_queue_reply left, and of a body what is left of it and fits. */
void http_add_queued(struct connection *connection, struct send *send);
/* The answer to /, which needs no writing. */
void http_add_page_answer(struct connection *connection, struct send *send);
/* Any answer with bytes of http_answer.h as its body. */
void http_add_answer(struct connection *connection, struct send *send, int status,
                     uint64_t body_bytes);
/* An answer with a body of its own, here and in the next; over HTTP_COPIED_BYTES it is lent. */
void http_add_reply(struct connection *connection, struct send *send,
                    const struct http_reply *reply);
/* The same for a send that is not begun yet. */
void http_queue_reply(struct connection *connection, const struct http_reply *reply);
/* What a send has got is in the kernel: its memory may be used again. */
void http_end_send(struct connection *connection);
/* Nothing is queued any more. */
void http_return_outbox(struct connection *connection);
void http_free_outboxes(struct server *server);

#endif
