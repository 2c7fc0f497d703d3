/* workload.h: what is served and asked for, each written once against loop.h.
 *
 * A workload is one const struct: a server half that runs on any loop, a client half that the load
 * generator drives, and a table of knobs. Adding one is a file and a line in workload.c.
 *
 * The generator decides when a request is sent and owns all times; the client half knows only the
 * protocol. Answers on one connection come in the order of its requests. Everything here belongs to
 * the loop's thread. */
#ifndef LOOPMARK_WORKLOAD_H
#define LOOPMARK_WORKLOAD_H

#include "knob.h"
#include "loops/loop.h"

struct server; /* each workload's own */
struct client;

struct workload_server {
    /* Listens and serves until `stop`. `*bound` is the real address. */
    int (*start)(struct loop *loop, const struct knob_values *knobs, const struct endpoint *listen,
                 struct endpoint *bound, struct server **server, struct error *error);
    /* Stops listening and frees `server`. Its connections live on until their peers or loop_free
     * close them. */
    void (*stop)(struct server *server);
};

/* How the client half reports to the generator. `slot` is what was given to `connect`. */
struct client_events {
    void (*opened)(void *slot); /* connected: may ask now */
    void (*answered)(void *slot, int err,
                     size_t bytes);      /* the oldest request; err -EBADMSG: wrong */
    void (*closed)(void *slot, int err); /* last; 0: closed by us, -EPIPE: the peer ended it */
};

struct workload_client {
    /* `verify`: check every byte of every answer. */
    int (*start)(struct loop *loop, const struct knob_values *knobs, const struct endpoint *target,
                 bool verify, const struct client_events *events, struct client **client,
                 struct error *error);
    /* Starts one connection; from `source` when that is not null. Errors as loop_connect. */
    int (*connect)(struct client *client, const struct endpoint *source, void *slot,
                   struct stream **stream);
    /* Sends one request on a connection that has opened and not closed. A request that the socket
     * cannot take at once is kept and follows by itself. A negative errno: not sent, and the stream
     * is closing. */
    int (*request)(struct stream *stream);
    /* After every connection has closed. */
    void (*stop)(struct client *client);
};

struct workload {
    const char *name;
    const char *summary;
    const char *const *schemes; /* of the URLs its client speaks: null-terminated */
    struct knob_table knobs;
    const struct workload_server *server;
    const struct workload_client *client;
};

/* The i-th workload, or null beyond the last. */
const struct workload *workload_at(size_t index);
/* Null with the known names in `error`. */
const struct workload *workload_find(const char *name, struct error *error);
/* The one whose client speaks the scheme of `url` ("tcp://127.0.0.1:7000", "unix:/run/echo"), with
 * the endpoint it names. Null with `error` filled. */
const struct workload *workload_for_url(const char *url, struct endpoint *target,
                                        struct error *error);

#endif
