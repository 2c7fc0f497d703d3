/* known_server.h: an echo server whose answers take a known time, and which keeps what they took.
 *
 * A process of its own, on plain epoll and no loop of ours, pinned as the plan says. Two kinds:
 *
 *   delay  each answer leaves its delay after its request came, however many wait: a server with
 *          room for all.
 *   queue  one request after the other, each keeps the server's CPU busy for its time: a single
 *          server with a queue, first come first served.
 *
 * With `spin`, which needs a CPU of its own, it never sleeps, but looks for requests and at the
 * clock again and again: waking up would take tens of microseconds. So it also knows when it stood
 * still: two readings with next to nothing to do between them lie far apart. Other processes of
 * this machine had its CPU meanwhile (`waited_ns` of it), or the host, or an interrupt. Where both
 * CPUs of a machine spin, all others have to take their time from one of them; this server lets
 * them take its own, since it can tell.
 *
 * Each request's times are kept in memory shared with the parent, in the order in which they were
 * taken. A message is what one recv brings, so ask for little (64 bytes) and once at a time on a
 * connection; the answer is as long, and its bytes are anything. The parent's side: one thread. */
#ifndef LOOPMARK_KNOWN_SERVER_H
#define LOOPMARK_KNOWN_SERVER_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loops/endpoint.h"
#include "loops/error.h"

enum known_kind { KNOWN_DELAY, KNOWN_QUEUE };

struct known_plan {
    enum known_kind kind;
    uint64_t usual_ns;   /* the delay, or the time of service until the answer has been sent */
    bool exponential;    /* queue: that is the mean, and the times are at random, from `seed` */
    uint64_t slow_ns;    /* delay: of every slow_every-th request; 0: there are none */
    uint32_t slow_every; /* 0 with no slow ones */
    uint64_t stall_after_ns, stall_ns; /* queue: once, so long after its first request, it stands
                                        * still; 0: never */
    uint64_t seed;
    bool spin;
    cpu_set_t cpus; /* empty: anywhere */
};

/* Of one request, CLOCK_MONOTONIC. While requests wait, one's `taken` is the former's `free`. The
 * kernel tells when it arrived (socket(7), SO_TIMESTAMPNS): a server that had no CPU meanwhile, or
 * was busy, cannot. */
struct known_times {
    uint64_t arrived_ns;
    uint64_t taken_ns; /* before it was received */
    uint64_t left_ns;  /* before its answer was sent */
    uint64_t free_ns;  /* after */
};

/* The server stood still; only with spin, and from KNOWN_PAUSE_LEAST_NS on. What it did to
 * requests is in their times. */
#define KNOWN_PAUSE_LEAST_NS 100000
struct known_pause {
    uint64_t from_ns, to_ns;
    uint64_t waited_ns; /* of it: runnable, but another process ran */
};

struct known_server {
    struct endpoint address;
    pid_t pid;
    struct known_shared *shared;
};

/* It accepts connections when this returns. On failure nothing is left. */
int known_server_start(const struct known_plan *plan, struct known_server *server,
                       struct error *error);

/* Ends it: what it kept is complete then. -EIO: it had failed before; `error` says how. */
int known_server_end(struct known_server *server, struct error *error);

/* After the end and until known_server_free; more than KNOWN_TIMES_MOST are not kept. `stalled` is
 * when it really stood still as planned; {0, 0}: it did not, or not yet: that may be asked before
 * the end. Pauses are in order. */
enum { KNOWN_TIMES_MOST = 1 << 20, KNOWN_PAUSES_MOST = 1 << 14 };
const struct known_times *known_server_times(const struct known_server *server, size_t *count);
const struct known_pause *known_server_pauses(const struct known_server *server, size_t *count);
void known_server_stalled(const struct known_server *server, uint64_t *from_ns, uint64_t *to_ns);

/* Ends it if it still runs. All bytes zero: nothing to do. */
void known_server_free(struct known_server *server);

#endif
