/* io_uring_ring.h: one io_uring instance for io_uring.c: its queues, the table that its completions
 * are looked up in, and the receive buffers that are lent to the kernel.
 *
 * Requests and completions. Whoever asks the kernel for something is a `requester` with a slot in
 * the table. A completion carries the number of the slot and its generation, never a pointer: one
 * that comes after its requester has left finds a slot of another generation, and is dropped. A
 * requester has at most one request of a kind under way, and ring_completed says when it is over.
 *
 * Buffers. The kernel takes them in the order in which they were provided, so that all are touched
 * in turn: `buffers x bytes used of each` is what the loop costs the cache. RING_BUFFERS of 16 KiB
 * filled to the 1 to 4 KiB of a common message are 64 to 256 KiB, below half of the 1 MiB that is a
 * common second-level cache, and yet enough for as many streams to be ready at once. Each lies in
 * its own allocation behind its header, so that their beginnings do not all fall into the same few
 * cache sets, as they would at a distance of 16 KiB.
 *
 * Whoever holds a buffer keeps it, and not its place in the kernel's ring: another one is provided
 * instead, from those that came back, and when less than a quarter is left from fresh memory. So a
 * peer that stops reading cannot starve the others, and no byte is copied; what is held costs
 * memory, as on any other loop. */
#ifndef LOOPMARK_IO_URING_RING_H
#define LOOPMARK_IO_URING_RING_H

#include <liburing.h>

#include "backend.h"

enum {
    RING_QUEUE_ENTRIES = 256, /* one call submits as many; 16 KiB of requests */
    RING_COMPLETIONS = 8,     /* a multishot request completes often: so many times the entries */
    RING_BUFFERS = 64,
    RING_BUFFERS_MOST = 32768 /* the kernel's limit */
};

enum request { /* at most RING_CANCELLING */
    REQUEST_ACCEPT,
    REQUEST_POLL_LISTENER,
    REQUEST_POLL,
    REQUEST_RECEIVE,
    REQUEST_SEND,
    REQUEST_CONNECT,
    REQUEST_WAKE,
    REQUEST_KINDS
};

struct requester {
    uint32_t slot;
    uint32_t under_way; /* a bit for each enum request */
};

struct ring_slot {
    struct requester *requester; /* null: free */
    uint32_t generation;
    uint32_t next_free;
};

struct ring {
    struct io_uring uring;
    struct loop *loop; /* for its counters and its free buffers */
    bool enabled;      /* the thread that first enters the kernel is the one that may */
    struct ring_slot *slots;
    uint32_t slot_count, slot_capacity, free_slot; /* RING_NO_SLOT: none is free */
    struct io_uring_buf_ring *provided_ring;
    uint32_t provided_entries; /* of it: a power of two */
    uint32_t buffer_count;     /* to be provided */
    uint32_t provided;         /* of them, those that the kernel has */
    struct buffer **buffers;   /* by the number that the kernel knows them by */
    uint16_t *free_numbers;    /* a stack of buffer_count - provided */
};

/* Sets up the queues and the buffers. A negative errno with the reason in `error`; what may be
 * missing is Linux 6.1, or the permission. Nothing is bound to a thread yet. */
int ring_open(struct ring *ring, struct loop *loop, struct error *error);
/* The buffers go to loop->free_buffers. */
void ring_close(struct ring *ring);

/* Gives the requester its slot; false when memory is out. */
bool ring_join(struct ring *ring, struct requester *requester);
/* Its completions, of requests that may still be under way, find nobody from now on. */
void ring_leave(struct ring *ring, struct requester *requester);

/* The next request to fill, never null; then ring_start sends it off with the next ring_enter. */
struct io_uring_sqe *ring_next(struct ring *ring);
void ring_start(struct ring *ring, struct io_uring_sqe *sqe, struct requester *requester,
                enum request request);
static inline bool is_under_way(const struct requester *requester, enum request request) {
    return requester->under_way & 1u << request;
}
/* Ends the request soon, if it is under way; its own completion tells. The completion of the
 * cancelling, should there be one, goes to ring_cancelled. */
void ring_cancel(struct ring *ring, struct requester *requester, enum request request);
void ring_cancel_all(struct ring *ring, struct requester *requester);

/* Submits and waits for a completion, at most timeout_ns (negative: for ever; 0: only looks). */
int ring_enter(struct ring *ring, int64_t timeout_ns);

/* Whose completion it is, and of what; null when they have left. */
struct requester *ring_requester(const struct ring *ring, uint64_t user_data);
enum { RING_CANCELLING = 8 };
static inline enum request ring_request(uint64_t user_data) {
    return (enum request)(user_data & (RING_CANCELLING - 1));
}
static inline bool is_cancelling(uint64_t user_data) {
    return user_data & RING_CANCELLING;
}
/* Cancels again what could not be found: a request that the kernel is about to try once more is in
 * none of the places where it looks. */
void ring_cancelled(struct ring *ring, struct requester *requester, const struct io_uring_cqe *cqe);
/* To be called once for each completion that found its requester: a last one ends the request. */
void ring_completed(struct requester *requester, const struct io_uring_cqe *cqe);

/* The buffer that came with a completion, held once, or null. */
struct buffer *ring_received(struct ring *ring, const struct io_uring_cqe *cqe);
/* Provides what came back since, in one go. */
void ring_refill(struct ring *ring);

#endif
