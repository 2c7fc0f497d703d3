/* pool.h: an asynchronous pool of connections, of whatever kind.
 *
 * Who needs a connection takes one, or waits in line and is called when one is there; who has one
 * gives it back. The pool decides when to connect, whom to serve, and when a connection has lived
 * long enough. It knows nothing of what a connection is: the kind connects and closes, and tells
 * the pool how that went. Waiters are embedded by the caller; nothing is allocated after pool_open.
 *
 * The rules:
 *   - between `min` and `max` connections; up to min are kept open, another is made when somebody
 *     waits and none has room; those that are being closed count until they are closed;
 *   - waiters are served in the order in which they came, and nobody overtakes them;
 *   - idle connections are taken last in, first out, so that those that are not needed grow old;
 *   - one connect at a time, and after a failure the next only after a pause that doubles, from
 *     backoff_ns to backoff_most_ns, until one succeeds. It has succeeded when a loan came back
 *     before the connection broke or was retired, or that happened backoff_most_ns after it opened:
 *     who accepts and hangs up is not called again and again without a pause;
 *   - a connection may be lent `depth` times at once (pipelining): the least lent one is given;
 *   - one that was idle for idle_ns is closed as long as more than min are left; one older than its
 *     lifetime is closed when nobody has it. Lifetimes differ by up to a tenth, from the seed, so
 *     that connections that began together do not end together;
 *   - a waiter that has waited for acquire_ns is told -ETIMEDOUT.
 *
 * Everything belongs to the loop's thread; time is loop_now_ns. Callbacks of waiters come from a
 * timer of the pool that is due at once, never inside a call, and may call the pool; so does
 * `stopped`, which may also free it. */
#ifndef LOOPMARK_POOL_H
#define LOOPMARK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "loops/loop.h"

struct pool;

struct pool_link {
    struct pool_link *previous, *next;
};

/* One connection's place in the pool; it has the same index, below max, for as long as the pool
 * lives, for the kind to keep its own state by. */
struct pool_member {
    uint32_t index;
    uint32_t lent; /* times it is lent now, at most depth */
    /* The rest is the pool's. */
    struct pool *pool;
    struct pool_link link;
    int state;
    bool proven; /* a loan has come back while it could be lent */
    uint64_t opened_ns, idle_since_ns;
    struct timer end; /* of its lifetime */
};

/* What a connection is. The answers come later, or at once: of the pool's functions, these two may
 * call the one that is their answer, and no other. */
struct pool_kind {
    /* Begins to connect; answered by pool_connected. Never called inside a call of the pool. */
    void (*connect)(struct pool_member *member, void *data);
    /* Begins to close one that is connected and not lent; answered by pool_closed. */
    void (*close)(struct pool_member *member, void *data);
};

struct pool_options {
    uint32_t min, max, depth; /* depth 0: 1 */
    uint64_t acquire_ns;      /* these three: 0 for no limit */
    uint64_t idle_ns;
    uint64_t lifetime_ns;
    uint64_t backoff_ns, backoff_most_ns; /* 0: POOL_BACKOFF_NS, POOL_BACKOFF_MOST_NS */
    uint64_t seed;
};
/* Such that the pool is whole again within a second of the database. */
#define POOL_BACKOFF_NS (10 * NS_PER_MS)
#define POOL_BACKOFF_MOST_NS (500 * NS_PER_MS)

/* Defaults as the tuning articles have them. */
enum { POOL_MIN = 5, POOL_MAX = 20 };
#define POOL_IDLE_NS (300 * NS_PER_S)

/* Zero it, fill in `acquired`. The pool's from POOL_LATER until `acquired`. */
struct pool_waiter {
    /* `err` 0: `member` is lent to it. -ETIMEDOUT, -ECANCELED (pool_stop), or what a connect failed
     * with while no connection could be lent; then `member` is null. */
    void (*acquired)(struct pool_waiter *waiter, struct pool_member *member, int err);
    /* The rest is the pool's. */
    struct pool_link link;
    uint64_t since_ns;
    bool waiting;
};

struct pool_counters {
    /* Now. size: connecting, open and closing. lent: loans, up to `depth` for each connection. */
    uint32_t size, idle, lent, waiters;
    uint32_t size_most, waiters_most;
    uint64_t connects, connects_failed;
    /* Why they are lent no more: idle, old, pool_retire or pool_stop, closed by themselves. */
    uint64_t closed_idle, closed_old, retired, broken;
    uint64_t acquired, timed_out;
    uint64_t waited;    /* of the acquired, those that were not served at once */
    uint64_t waited_ns; /* in all */
};

/* Begins to open `min` connections when the loop runs. `kind` and `data` have to outlive the pool.
 * -EINVAL: impossible options, -ENOMEM; with words. */
int pool_open(struct loop *loop, const struct pool_options *options, const struct pool_kind *kind,
              void *data, struct pool **pool, struct error *error);
/* Has `waited` called at each acquisition with the time in line, 0 for who was served at once. It
 * may not call the pool. Null: no more. */
void pool_on_wait(struct pool *pool, void (*waited)(void *data, uint64_t wait_ns), void *data);

/* POOL_NOW: *member is lent. POOL_LATER: `acquired` comes. -ESHUTDOWN: the pool stops. */
enum { POOL_LATER = 0, POOL_NOW = 1 };
int pool_acquire(struct pool *pool, struct pool_waiter *waiter, struct pool_member **member);
/* Leaves the line; `acquired` does not come. No effect on one that does not wait. */
void pool_leave(struct pool *pool, struct pool_waiter *waiter);
/* Gives one loan back. One that broke meanwhile has to be given back too. May call `close`. */
void pool_release(struct pool_member *member);

/* From the kind. err 0: it is open. Otherwise it is closed, and the place is free again. */
void pool_connected(struct pool_member *member, int err);
/* It has closed: as asked for, or by itself, at any time after pool_connected(0). Who has it then
 * still has to release it, and its place becomes free after that. */
void pool_closed(struct pool_member *member);
/* It is of no more use (a command timed out): it is closed once nobody has it, and not lent again.
 * No effect on one that is on its way out already. May call `close`. */
void pool_retire(struct pool_member *member);

/* No more is lent, waiters get -ECANCELED, idle connections are closed and lent ones when they come
 * back; `stopped` comes when none is left, and the one that is connecting has been answered for. To
 * be called once. May call `close`. */
void pool_stop(struct pool *pool, void (*stopped)(void *data), void *data);
/* From `stopped` or after it, or after loop_free. Null: no effect. */
void pool_free(struct pool *pool);

const struct pool_counters *pool_counters(const struct pool *pool);

#endif
