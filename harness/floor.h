/* floor.h: the kernel floor: the CPU time of a request that no event loop can do without.
 *
 * The least a server can do to echo a message is to receive it and to send it, by a recv and a send
 * of its own for each message; what a loop takes beyond that is the loop's. So two processes go in
 * lockstep over the same N connections: the client writes a message on each, then the server
 * receives and sends on each, then the client reads each. Nobody waits for a descriptor: the two
 * pass the turn to each other through shared memory, each spinning on a CPU of its own.
 *
 * Only the server's turns count, by its thread's CPU clock, less what reading that clock costs.
 * Sockets, their options and the pieces of a message are those of our loops: non-blocking, at most
 * LOOP_RECEIVE_BYTES a recv. Neither side may ever wait for room: a message of more than
 * FLOOR_PART_BYTES goes back and forth in parts of that size, and connections whose messages
 * together would fill the kernel's memory take turns in groups.
 *
 * It is a bound from below: every message has arrived before the first is read, so that caches and
 * branch predictors see the same calls again and again. Work that the kernel does for the server
 * while it spins is not in it. */
#ifndef LOOPMARK_FLOOR_H
#define LOOPMARK_FLOOR_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loops/error.h"

#define FLOOR_PART_BYTES ((size_t)64 * 1024)

struct floor_plan {
    bool unix_socket; /* unix stream sockets instead of TCP over 127.0.0.1 */
    uint32_t connections;
    size_t size_bytes;
    double warmup_ns, duration_ns;
    cpu_set_t server_cpus, generator_cpus; /* empty: anywhere; they may be the same */
};

struct floor_result {
    double cpu_us_per_request; /* of the server */
    uint64_t requests;
    uint64_t turns; /* of the server; each is measured by itself */
};

/* Blocks for warm-up and duration, or until one message was measured if that takes longer, and at
 * most twelve seconds more. Both processes are gone afterwards, and so are the sockets (reset: no
 * TIME_WAIT is left). Needs two descriptors a connection.
 *
 * -EMFILE: not that many descriptors. -EINTR: interrupt.h. -ETIMEDOUT: it did not end in time, as
 * when the sockets do not hold what is sent. Other negative errnos of sockets and processes. */
int floor_measure(const struct floor_plan *plan, struct floor_result *result, struct error *error);

#endif
