/* workload.h: what is served and asked for, each written once against loop.h.
 *
 * A workload is one const struct: a server half that runs on any loop, a client half that the load
 * generator drives, and a table of knobs. Adding one is a file and a line in workload.c.
 *
 * The generator decides when a request is sent and owns all times; the client half knows only the
 * protocol. Answers on one connection come in the order of its requests. Everything here belongs to
 * the loop's thread.
 *
 * What a server does wrong is data: the client half says what, the generator counts it. */
#ifndef LOOPMARK_WORKLOAD_H
#define LOOPMARK_WORKLOAD_H

#include "knob.h"
#include "loops/loop.h"
#include "url.h"

struct server; /* each workload's own */
struct client;

/* Counts, sums or times since the start, or as they are now; the name tells, unit last. */
struct workload_counter {
    const char *name; /* static */
    double value;
};
enum { WORKLOAD_COUNTERS_MOST = 32 };

struct workload_server {
    /* Listens and serves until `stop`. `*bound` is the real address. */
    int (*start)(struct loop *loop, const struct knob_values *knobs, const struct endpoint *listen,
                 struct endpoint *bound, struct server **server, struct error *error);
    /* Stops listening and frees `server`. Its connections live on until their peers or loop_free
     * close them. */
    void (*stop)(struct server *server);
    /* Optional, of a server that has more than streams. False while something of it is under way
     * after `stop`; it lives until this has said true, and the loop has to run until then. `now`:
     * what is under way is given up, which takes some passes. */
    bool (*stopped)(struct server *server, bool now);
    /* Optional: what it has counted, beside the loop; until `stop`. Returns how many. */
    size_t (*counters)(const struct server *server,
                       struct workload_counter counters[WORKLOAD_COUNTERS_MOST]);
};

/* One answer. `err`: -EBADMSG: not what was asked for; -EPROTO: not the protocol. Then the
 * connection is of no more use, and the generator closes it. -EIO: the server says that it failed,
 * and the connection goes on. */
struct answer {
    int err;
    int status;       /* as HTTP's, 100 to 599; 0: the protocol has none */
    bool last;        /* no more answers come on this connection, by the rules of the protocol */
    size_t bytes;     /* of it, as they came */
    const char *what; /* more about an error, or null. Only until the callback returns, as below */
};

/* What a connection was doing when it failed. */
enum client_step { CLIENT_CONNECT, CLIENT_SEND, CLIENT_RECEIVE, CLIENT_PARSE, CLIENT_CLOSE };

struct client_end {
    int err; /* 0: closed by us, or by the peer as the protocol allows; -EPIPE: the peer ended it */
    enum client_step step;
    const char *what;
};

/* How the client half reports to the generator. `slot` is what was given to `connect`. */
struct client_events {
    void (*opened)(void *slot);                                /* connected: may ask now */
    void (*answered)(void *slot, const struct answer *answer); /* the oldest request */
    void (*closed)(void *slot, const struct client_end *end);  /* the last event */
};

struct tls_client_options; /* loops/tls.h */
struct request_set; /* what a protocol with several kinds of requests asks for: request_set.h */

struct client_setup {
    struct loop *loop;
    const struct knob_values *knobs;
    const struct url *url;              /* whom to ask */
    const struct request_set *requests; /* null: the workload's own */
    const struct tls_client_options *tls; /* of https: whom to trust; null: as the system does */
    bool verify;                        /* check every byte of every answer */
    uint32_t in_flight;                 /* most unanswered requests of one connection */
    uint32_t requests_per_connection;   /* then the generator closes it; 0: no limit */
    uint64_t seed;                      /* of what is asked at random; each thread has its own */
    const struct client_events *events;
};

struct workload_client {
    /* What `setup` points to stays until `stop`. */
    int (*start)(const struct client_setup *setup, struct client **client, struct error *error);
    /* Starts one connection; from `source` when that is not null. `*connection` is the client's own
     * until `closed`. Errors as loop_connect. */
    int (*connect)(struct client *client, const struct endpoint *source, void *slot,
                   void **connection);
    /* Asks once on a connection that has opened and not closed. What the socket cannot take at once
     * is kept and follows by itself; what is asked for within `answered` is sent together when the
     * answers at hand are through. A negative errno: not sent, and the connection is closing. */
    int (*request)(void *connection);
    /* `closed` follows, never within the call. Repeatable. Null: what `connect` gives is a struct
     * stream, and is closed as one. */
    void (*close)(void *connection);
    /* After every connection has closed, and before the loop is freed. */
    void (*stop)(struct client *client);
};

struct workload {
    const char *name;
    const char *summary;
    const char *const *schemes; /* of the URLs its client speaks: null-terminated */
    struct knob_table knobs;
    const struct workload_server *server; /* null: it has only a client */
    const struct workload_client *client;
};

/* The i-th workload, or null beyond the last. */
const struct workload *workload_at(size_t index);
/* Null with the known names in `error`. */
const struct workload *workload_find(const char *name, struct error *error);
/* The one whose client speaks the scheme of `text` (url.h), with the URL read. Null with `error`
 * filled. */
const struct workload *workload_for_url(const char *text, struct url *url, struct error *error);

#endif
