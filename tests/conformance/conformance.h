/* conformance.h: runs one set of cases on every loop backend, with a probe for each stream.
 *
 * A case is a function that gets a fixture: a fresh loop of one backend. It drives the loop pass by
 * pass, with plain sockets as peers in the same thread, so that what happens has one order and
 * needs no sleeping. Each case runs once a backend (and once a transport where that is asked for)
 * under the name "backend: case"; a backend that is not available here is a skip with its reason,
 * and one without sockets (a control) is left out whole. A loop with queues of its own runs again
 * with queues and buffers that are far too small.
 *
 * What every stream must keep to, whatever the case is about, is asserted by the probe in each
 * callback: the order of callbacks, none inside the call that starts an operation, none after
 * on_close, no data while paused, one on_sent with its cookie for each SEND_LATER, and the bytes
 * themselves. After each case the loop is freed, each stream must have had its on_close, and no
 * descriptor may be left open.
 *
 * Assertions belong to the test's own thread alone: they jump. */
#ifndef LOOPMARK_CONFORMANCE_H
#define LOOPMARK_CONFORMANCE_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loops/loop.h"

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER_NAME "AddressSanitizer"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZER_NAME "ThreadSanitizer"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZER_NAME "AddressSanitizer"
#elif __has_feature(thread_sanitizer)
#define SANITIZER_NAME "ThreadSanitizer"
#endif
#endif

enum transport { TRANSPORT_TCP, TRANSPORT_TCP6, TRANSPORT_UNIX };

/* One stream, and what has happened to it. */
struct probe {
    struct fixture *fixture;
    struct stream *stream; /* from loop_connect or on_open until on_close */
    /* Called at the end of each callback with its letter (see history); may be null. */
    void (*react)(struct probe *probe, char event);
    void *test; /* the case's own */
    /* o on_open, d on_data, s on_sent, e on_eof, c on_close; one d for data calls in a row. */
    char history[64];
    int open_err, sent_err, close_err;
    int data_calls, sents;
    bool opened, closed, paused, sending;
    size_t sent; /* bytes given to stream_send and not refused */
    size_t received;
    struct buffer *buffer; /* of the on_data that is being reacted to */
    uint8_t *bytes;
    size_t n;
};

/* One more way to run a backend. */
struct setup {
    const char *backend, *name; /* null: any backend, as it comes */
    struct loop_config config;  /* queue_entries and receive_buffers */
};

enum { FIXTURE_PROBES = 16 };

struct fixture {
    struct loop_info info;
    const struct setup *setup;
    struct loop *loop;
    enum transport transport;
    bool in_call; /* a call that must not call back is under way */
    volatile sig_atomic_t timed_out;
    int descriptors;    /* open before the case */
    int sockets;        /* unix addresses given out */
    char directory[64]; /* for unix sockets; empty and gone after the case */
    int probe_count;
    struct probe probes[FIXTURE_PROBES];
};

struct conformance_case {
    const char *name;
    void (*run)(struct fixture *fixture);
    bool every_transport; /* TCP over IPv4, over IPv6, and unix sockets; otherwise only the first */
};

/* Runs the cases on all backends; what main returns. */
int conformance_main(const char *group, const struct conformance_case *cases, size_t count);

/* Ends the case as skipped; the loop must be as it was at the start. */
void skip_case(struct fixture *fixture, const char *reason);

/* ---- the loop -------------------------------------------------------------------------------- */

/* Replaces the fixture's loop by one with this configuration. */
void reopen_loop(struct fixture *fixture, const struct loop_config *config);

/* Exactly one pass that does not sleep. */
void one_pass(struct fixture *fixture);

/* Runs, asleep while nothing happens, for one millisecond or until loop_stop. */
void one_millisecond(struct fixture *fixture);

/* Passes until the condition holds: at first without sleep, as loopback is quick. */
#define RUN_UNTIL(fixture, condition)                                                              \
    for (int passes_ = 0; !(condition); passes_++)                                                 \
    (passes_ < 100 ? one_pass : one_millisecond)(fixture)

/* Of this process, as the kernel counts it. What a sanitizer keeps is in it. */
long resident_bytes(void);

/* Passes enough for anything due to have come, where the case is that nothing comes. */
void settle(struct fixture *fixture);

/* loop_run until somebody stops it. */
void run_to_stop(struct fixture *fixture);

/* Marks what it runs as a call in which no callback may come. */
#define IN_CALL(fixture, statement)                                                                \
    do {                                                                                           \
        (fixture)->in_call = true;                                                                 \
        statement;                                                                                 \
        (fixture)->in_call = false;                                                                \
    } while (0)

/* ---- probes ---------------------------------------------------------------------------------- */

/* The k-th byte of every stream that a probe sends or receives. */
uint8_t pattern_byte(size_t k);
void fill_pattern(uint8_t *bytes, size_t offset, size_t n);
bool is_pattern(const uint8_t *bytes, size_t offset, size_t n);

extern const struct stream_handler probe_handler; /* its data is a probe */

struct probe *new_probe(struct fixture *fixture);

/* A fresh address of the fixture's transport. */
void fresh_address(struct fixture *fixture, struct endpoint *endpoint);
/* Listens for the one stream of this probe. */
struct listener *probe_listen(struct probe *probe, struct endpoint *bound);
int probe_connect(struct probe *probe, const struct endpoint *target,
                  const struct endpoint *source);
/* stream_send of the next n pattern bytes at `bytes`, in one part, or in `parts` uneven ones. */
int probe_send(struct probe *probe, uint8_t *bytes, size_t n, int parts);
void probe_pause(struct probe *probe);
void probe_resume(struct probe *probe);
void probe_shutdown(struct probe *probe);
void probe_close(struct probe *probe);

/* What a send returns that the kernel takes whole: SEND_DONE, but SEND_LATER on a loop that defers
 * sends. */
int whole_send(const struct fixture *fixture);

/* on_data and on_sent of a stream that sends back what it gets. */
void echo_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n);
void echo_sent(struct stream *stream, void *cookie, int err);

/* Lets a peer connect to the probe. The stream is open on return; the result is the peer. */
int accepted_pair(struct probe *probe);
/* Connects the probe to a peer. */
int connected_pair(struct probe *probe);

/* ---- peers: plain non-blocking sockets ------------------------------------------------------- */

int peer_connect(const struct endpoint *target);
/* Bytes taken; 0 when the socket is full. */
size_t peer_send(int peer, const void *bytes, size_t n);
void peer_send_all(struct fixture *fixture, int peer, const void *bytes, size_t n);
/* Bytes received, 0 at the end, or a negative errno: -EAGAIN when there is nothing yet. */
ssize_t peer_receive(int peer, void *bytes, size_t most);
/* Runs the loop until the peer has received n bytes, pattern bytes from `offset` on. */
void peer_expect(struct fixture *fixture, int peer, size_t offset, size_t n);
/* Runs the loop until the peer sees the end; false if it was a reset. No byte may come before. */
bool peer_expect_end(struct fixture *fixture, int peer);
/* Closes with a reset (on unix sockets as a plain close). */
void peer_reset(int peer);

/* Descriptors this process has open. */
int count_descriptors(void);
/* Raises the soft limit of descriptors as far as it goes and returns it. */
int raise_descriptor_limit(void);

#endif
