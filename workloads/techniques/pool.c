/* pool.c: see pool.h.
 *
 * Calls only note what happened and set the pool's one timer, for now when somebody may be served;
 * tend(), its callback, does what is due. A timer and not a post, because a post of the loop's own
 * thread may cost a wake-up, and because deadlines need a timer anyway. It is never moved to a
 * later time: firing once for nothing is cheaper than moving it with each acquire and release.
 *
 * A connection that can be lent lies on the shelf of those that are lent as often, unless it is
 * lent `depth` times. Shelf 0 is the idle ones, with those that came back last at the front. */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>

enum member_state {
    MEMBER_VACANT,
    MEMBER_CONNECTING,
    MEMBER_OPEN,    /* can be lent, and may be */
    MEMBER_RETIRED, /* still lent, never again */
    MEMBER_BROKEN,  /* has closed and is still lent */
    MEMBER_CLOSING
};

struct pool {
    struct loop *loop;
    struct pool_options options;
    const struct pool_kind *kind;
    void *data;
    void (*waited)(void *data, uint64_t wait_ns);
    void *waited_data;
    void (*stopped)(void *data);
    void *stopped_data;
    bool stopping, connecting;
    int connect_err;          /* for those who wait; 0: none to be told */
    uint64_t backoff_ns;      /* after the next attempt that fails */
    uint64_t connect_from_ns; /* not before */
    uint64_t spread;          /* the last lifetime's cut, as a fraction of 2^64 */
    struct timer timer;
    struct pool_counters counters;
    uint32_t open;         /* members that are MEMBER_OPEN */
    uint32_t least;        /* no shelf before this one holds any */
    struct pool_link line; /* of waiters */
    struct pool_link vacant;
    struct pool_link *shelves; /* [depth] */
    struct pool_member members[];
};

/* ---- lists: rings that begin and end at the list itself, so that removing needs no list ------ */

static void list_init(struct pool_link *list) {
    list->previous = list->next = list;
}

static bool list_is_empty(const struct pool_link *list) {
    return list->next == list;
}

static void link_behind(struct pool_link *place, struct pool_link *link) {
    link->previous = place;
    link->next = place->next;
    place->next->previous = link;
    place->next = link;
}

static void unlink_from_list(struct pool_link *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

static struct pool_member *member_at(struct pool_link *link) {
    return CONTAINER_OF(link, struct pool_member, link);
}

static struct pool_waiter *first_waiter(struct pool *pool) {
    return list_is_empty(&pool->line) ? NULL
                                      : CONTAINER_OF(pool->line.next, struct pool_waiter, link);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void tend_by(struct pool *pool, uint64_t due_ns) {
    if (!timer_is_set(&pool->timer) || due_ns < pool->timer.due_ns)
        timer_set(pool->loop, &pool->timer, due_ns);
}

static void tend_now(struct pool *pool) {
    tend_by(pool, loop_now_ns(pool->loop));
}

/* Whether `limit_ns` (0: none) have passed since then. If not, the pool is tended when they have.
 */
static bool is_over(struct pool *pool, uint64_t since_ns, uint64_t limit_ns) {
    if (limit_ns == 0)
        return false;
    if (loop_now_ns(pool->loop) - since_ns >= limit_ns)
        return true;
    tend_by(pool, since_ns + limit_ns);
    return false;
}

/* ---- lending --------------------------------------------------------------------------------- */

static void shelve(struct pool *pool, struct pool_member *member) {
    if (member->lent == 0)
        pool->counters.idle++;
    if (member->lent < pool->options.depth)
        link_behind(&pool->shelves[member->lent], &member->link);
    if (member->lent < pool->least)
        pool->least = member->lent;
}

static void unshelve(struct pool *pool, struct pool_member *member) {
    if (member->lent == 0)
        pool->counters.idle--;
    if (member->lent < pool->options.depth)
        unlink_from_list(&member->link);
}

/* The one to lend next; null when none has room. `least` goes up by one for each time that lending
 * or giving back moved it down, so that the search costs nothing on the whole. */
static struct pool_member *least_lent(struct pool *pool) {
    while (pool->least < pool->options.depth && list_is_empty(&pool->shelves[pool->least]))
        pool->least++;
    return pool->least < pool->options.depth ? member_at(pool->shelves[pool->least].next) : NULL;
}

static void lend(struct pool *pool, struct pool_member *member, uint64_t wait_ns) {
    unshelve(pool, member);
    member->lent++;
    shelve(pool, member);
    pool->counters.lent++;
    pool->counters.acquired++;
    pool->counters.waited_ns += wait_ns;
    if (pool->waited)
        pool->waited(pool->waited_data, wait_ns);
}

int pool_acquire(struct pool *pool, struct pool_waiter *waiter, struct pool_member **member) {
    CHECK(waiter->acquired && !waiter->waiting);
    if (pool->stopping)
        return -ESHUTDOWN;
    if (list_is_empty(&pool->line) && least_lent(pool)) {
        *member = least_lent(pool);
        lend(pool, *member, 0);
        return POOL_NOW;
    }
    struct pool_counters *counters = &pool->counters;
    waiter->waiting = true;
    waiter->since_ns = loop_now_ns(pool->loop);
    link_behind(pool->line.previous, &waiter->link);
    if (++counters->waiters > counters->waiters_most)
        counters->waiters_most = counters->waiters;
    tend_now(pool);
    return POOL_LATER;
}

void pool_leave(struct pool *pool, struct pool_waiter *waiter) {
    if (!waiter->waiting)
        return;
    waiter->waiting = false;
    unlink_from_list(&waiter->link);
    pool->counters.waiters--;
}

/* ---- members come and go --------------------------------------------------------------------- */

static void vacate(struct pool *pool, struct pool_member *member) {
    member->state = MEMBER_VACANT;
    link_behind(&pool->vacant, &member->link);
    pool->counters.size--;
    tend_now(pool);
}

static void attempt_succeeded(struct pool *pool) {
    pool->backoff_ns = pool->options.backoff_ns;
}

/* Never shortens a pause that has begun: the success of an older attempt does not undo it. */
static void attempt_failed(struct pool *pool) {
    uint64_t from_ns = loop_now_ns(pool->loop) + pool->backoff_ns;
    if (from_ns > pool->connect_from_ns)
        pool->connect_from_ns = from_ns;
    pool->backoff_ns *= 2;
    if (pool->backoff_ns > pool->options.backoff_most_ns)
        pool->backoff_ns = pool->options.backoff_most_ns;
}

/* Of one that is lost. With backoff_most_ns behind it, another attempt at once is none too soon. */
static void judge_attempt(struct pool *pool, const struct pool_member *member) {
    if (member->proven)
        return;
    if (loop_now_ns(pool->loop) - member->opened_ns < pool->options.backoff_most_ns)
        attempt_failed(pool);
    else
        attempt_succeeded(pool);
}

static void close_member(struct pool *pool, struct pool_member *member) {
    member->state = MEMBER_CLOSING;
    pool->kind->close(member, pool->data);
}

/* It cannot be lent any more. `reason` is counted. */
static void withdraw(struct pool *pool, struct pool_member *member, uint64_t *reason) {
    CHECK(member->state == MEMBER_OPEN);
    unshelve(pool, member);
    timer_cancel(pool->loop, &member->end);
    pool->open--;
    ++*reason;
}

static void retire(struct pool_member *member, uint64_t *reason) {
    withdraw(member->pool, member, reason);
    member->state = MEMBER_RETIRED;
    if (member->lent == 0)
        close_member(member->pool, member);
}

static void lifetime_is_over(struct timer *timer) {
    struct pool_member *member = CONTAINER_OF(timer, struct pool_member, end);
    retire(member, &member->pool->counters.closed_old);
}

void pool_retire(struct pool_member *member) {
    if (member->state != MEMBER_OPEN)
        return;
    judge_attempt(member->pool, member);
    retire(member, &member->pool->counters.retired);
}

void pool_closed(struct pool_member *member) {
    struct pool *pool = member->pool;
    CHECK(member->state == MEMBER_OPEN || member->state == MEMBER_RETIRED ||
          member->state == MEMBER_CLOSING);
    if (member->state == MEMBER_OPEN) {
        judge_attempt(pool, member);
        withdraw(pool, member, &pool->counters.broken);
    }
    member->state = MEMBER_BROKEN;
    if (member->lent == 0)
        vacate(pool, member);
}

void pool_release(struct pool_member *member) {
    struct pool *pool = member->pool;
    CHECK(member->lent > 0);
    pool->counters.lent--;
    if (member->state == MEMBER_OPEN) {
        if (!member->proven)
            attempt_succeeded(pool);
        member->proven = true;
        unshelve(pool, member);
        member->lent--;
        member->idle_since_ns = loop_now_ns(pool->loop);
        shelve(pool, member);
        if (!list_is_empty(&pool->line))
            tend_now(pool);
        else if (member->lent == 0 && pool->options.idle_ns)
            tend_by(pool, member->idle_since_ns + pool->options.idle_ns);
        return;
    }
    if (--member->lent > 0)
        return;
    if (member->state == MEMBER_RETIRED)
        close_member(pool, member);
    else
        vacate(pool, member);
}

/* Multiples of the golden ratio, modulo 1, lie apart by more than a third of what evenly spread
 * ones would, however many they are (Knuth, The Art of Computer Programming, 6.4, theorem S). */
static uint64_t next_lifetime_ns(struct pool *pool) {
    pool->spread += UINT64_C(0x9e3779b97f4a7c15);
    unsigned __int128 cut = (unsigned __int128)pool->spread * (pool->options.lifetime_ns / 10);
    return pool->options.lifetime_ns - (uint64_t)(cut >> 64);
}

static void connect_failed(struct pool *pool, struct pool_member *member, int err) {
    pool->counters.connects_failed++;
    attempt_failed(pool);
    if (pool->open == 0)
        pool->connect_err = err;
    vacate(pool, member);
}

void pool_connected(struct pool_member *member, int err) {
    struct pool *pool = member->pool;
    CHECK(member->state == MEMBER_CONNECTING && err <= 0);
    pool->connecting = false;
    if (err) {
        connect_failed(pool, member, err);
        return;
    }
    pool->open++;
    member->state = MEMBER_OPEN;
    member->proven = false;
    member->opened_ns = member->idle_since_ns = loop_now_ns(pool->loop);
    shelve(pool, member);
    if (pool->options.lifetime_ns)
        timer_set(pool->loop, &member->end, member->opened_ns + next_lifetime_ns(pool));
    if (pool->stopping)
        pool_retire(member);
    tend_now(pool);
}

/* ---- tending --------------------------------------------------------------------------------- */

enum { KEEP_WAITING = 1 };

/* What the first in line is to be told now, if anything: an error, or 0 with the member. */
static int answer(struct pool *pool, const struct pool_waiter *waiter, int connect_err,
                  struct pool_member **member) {
    *member = NULL;
    if (pool->stopping)
        return -ECANCELED;
    if (connect_err)
        return connect_err;
    if (is_over(pool, waiter->since_ns, pool->options.acquire_ns)) {
        pool->counters.timed_out++; /* here, for a connect may fail with the same */
        return -ETIMEDOUT;
    }
    *member = least_lent(pool);
    return *member ? 0 : KEEP_WAITING;
}

/* At most as many as wait now, so that those who come again in their callbacks do not keep the loop
 * here; they have set the timer again. */
static void answer_waiters(struct pool *pool) {
    struct pool_waiter *waiter;
    int connect_err = pool->connect_err;
    pool->connect_err = 0; /* a connect that fails in a callback is told the next time */
    for (uint32_t turns = pool->counters.waiters; turns > 0 && (waiter = first_waiter(pool));
         turns--) {
        struct pool_member *member;
        int err = answer(pool, waiter, connect_err, &member);
        if (err == KEEP_WAITING)
            break;
        pool_leave(pool, waiter);
        if (err == 0) {
            pool->counters.waited++;
            lend(pool, member, loop_now_ns(pool->loop) - waiter->since_ns);
        }
        waiter->acquired(waiter, member, err);
    }
}

static void close_idle(struct pool *pool) {
    while (pool->open > pool->options.min && pool->counters.idle > 0) {
        struct pool_member *oldest = member_at(pool->shelves[0].previous);
        if (!is_over(pool, oldest->idle_since_ns, pool->options.idle_ns))
            break;
        retire(oldest, &pool->counters.closed_idle);
    }
}

static void connect_more(struct pool *pool) {
    struct pool_counters *counters = &pool->counters;
    bool wanted =
        counters->size < pool->options.min ||
        (counters->size < pool->options.max && counters->waiters > 0 && least_lent(pool) == NULL);
    if (pool->stopping || pool->connecting || !wanted)
        return;
    if (loop_now_ns(pool->loop) < pool->connect_from_ns) {
        tend_by(pool, pool->connect_from_ns);
        return;
    }
    struct pool_member *member = member_at(pool->vacant.next);
    unlink_from_list(&member->link);
    member->state = MEMBER_CONNECTING;
    pool->connecting = true;
    counters->connects++;
    if (++counters->size > counters->size_most)
        counters->size_most = counters->size;
    pool->kind->connect(member, pool->data);
}

static void tend(struct timer *timer) {
    struct pool *pool = CONTAINER_OF(timer, struct pool, timer);
    answer_waiters(pool);
    close_idle(pool);
    connect_more(pool);
    if (pool->stopping && pool->counters.size == 0 && list_is_empty(&pool->line)) {
        timer_cancel(pool->loop, &pool->timer);
        pool->stopped(pool->stopped_data); /* the pool may be gone */
    }
}

/* ---- opening and stopping -------------------------------------------------------------------- */

static int check_options(const struct pool_options *options, struct error *error) {
    if (options->max == 0 || options->min > options->max)
        return error_set(error, -EINVAL, "a pool of at least %u and at most %u connections",
                         (unsigned)options->min, (unsigned)options->max);
    if (options->backoff_ns > options->backoff_most_ns)
        return error_set(
            error, -EINVAL, "a pause of %llu ns after a failed connect, and of at most %llu ns",
            (unsigned long long)options->backoff_ns, (unsigned long long)options->backoff_most_ns);
    return 0;
}

int pool_open(struct loop *loop, const struct pool_options *wanted, const struct pool_kind *kind,
              void *data, struct pool **out, struct error *error) {
    struct pool_options options = *wanted;
    if (options.depth == 0)
        options.depth = 1;
    if (options.backoff_ns == 0)
        options.backoff_ns = POOL_BACKOFF_NS;
    if (options.backoff_most_ns == 0)
        options.backoff_most_ns =
            POOL_BACKOFF_MOST_NS > options.backoff_ns ? POOL_BACKOFF_MOST_NS : options.backoff_ns;
    int failure = check_options(&options, error);
    if (failure)
        return failure;
    struct pool *pool = calloc(1, sizeof *pool + options.max * sizeof *pool->members);
    struct pool_link *shelves = calloc(options.depth, sizeof *shelves);
    if (!pool || !shelves) {
        free(pool);
        free(shelves);
        return error_set(error, -ENOMEM, "out of memory");
    }
    pool->loop = loop;
    pool->options = options;
    pool->kind = kind;
    pool->data = data;
    pool->shelves = shelves;
    pool->backoff_ns = options.backoff_ns;
    pool->spread = options.seed;
    pool->timer.on_due = tend;
    list_init(&pool->line);
    list_init(&pool->vacant);
    for (uint32_t i = 0; i < options.depth; i++)
        list_init(&shelves[i]);
    for (uint32_t i = 0; i < options.max; i++) {
        struct pool_member *member = &pool->members[i];
        *member = (struct pool_member){.index = i, .pool = pool, .end.on_due = lifetime_is_over};
        link_behind(pool->vacant.previous, &member->link);
    }
    tend_now(pool);
    *out = pool;
    return 0;
}

void pool_on_wait(struct pool *pool, void (*waited)(void *data, uint64_t wait_ns), void *data) {
    pool->waited = waited;
    pool->waited_data = data;
}

void pool_stop(struct pool *pool, void (*stopped)(void *data), void *data) {
    CHECK(!pool->stopping && stopped);
    pool->stopping = true;
    pool->stopped = stopped;
    pool->stopped_data = data;
    for (uint32_t i = 0; i < pool->options.max; i++)
        pool_retire(&pool->members[i]);
    tend_now(pool);
}

void pool_free(struct pool *pool) {
    if (!pool)
        return;
    free(pool->shelves);
    free(pool);
}

const struct pool_counters *pool_counters(const struct pool *pool) {
    return &pool->counters;
}
