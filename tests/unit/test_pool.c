/* test_pool.c: the pool beside a model of its rules, on a loop and connections that are made up.
 *
 * This file has the few functions of the loop that the pool uses, so that time is a number. The
 * model notes what was asked of the pool and what it did; it says of each thing the pool does
 * whether it may, and whenever all is quiet whether anything was left undone. */
#include "workloads/techniques/pool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "harness/random.h"

/* ---- a loop without a kernel ----------------------------------------------------------------- */

enum { TIMERS_MOST = 64 };

struct loop {
    uint64_t now_ns;
    struct timer *timers[TIMERS_MOST]; /* in no order; heap_slot is the index and one */
    size_t timer_count;
    bool firing;
};

uint64_t loop_now_ns(struct loop *loop) {
    return loop->now_ns;
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t due_ns) {
    assert_non_null(timer->on_due);
    timer->due_ns = due_ns;
    if (timer->heap_slot)
        return;
    assert_true(loop->timer_count < TIMERS_MOST);
    loop->timers[loop->timer_count++] = timer;
    timer->heap_slot = loop->timer_count;
}

void timer_cancel(struct loop *loop, struct timer *timer) {
    if (!timer->heap_slot)
        return;
    struct timer *last = loop->timers[--loop->timer_count];
    loop->timers[timer->heap_slot - 1] = last;
    last->heap_slot = timer->heap_slot;
    timer->heap_slot = 0;
}

static struct timer *next_timer(const struct loop *loop) {
    struct timer *first = NULL;
    for (size_t i = 0; i < loop->timer_count; i++)
        if (!first || loop->timers[i]->due_ns < first->due_ns)
            first = loop->timers[i];
    return first;
}

/* ---- the model ------------------------------------------------------------------------------- */

enum { PLACES = 40, CUSTOMERS = 8 };

enum place_state { VACANT, CONNECTING, OPEN, CLOSING, BROKEN };

struct place {
    struct pool_member *member; /* null until it is first seen */
    enum place_state state;
    bool retired; /* of OPEN: not to be lent again */
    bool proven;  /* a loan came back before that */
    uint32_t lent;
    uint64_t opened_ns, idle_since_ns;
    uint64_t idle_serial; /* the higher, the later it became idle */
};

enum customer_state { AWAY, WAITING, SERVED };

struct customer {
    struct pool_waiter waiter;
    struct world *world;
    enum customer_state state;
    struct place *place;
    uint64_t since_ns;
    bool refused; /* waits, and has to be told connect_err */
};

struct world {
    struct loop loop;
    struct random random;
    uint64_t seed;
    bool answers_at_once; /* the kind, now and then */
    struct pool_options options;
    struct pool *pool; /* null when it is freed */
    struct place places[PLACES];
    struct customer customers[CUSTOMERS];
    struct customer *line[CUSTOMERS];
    struct pool_counters counters; /* as they should be */
    uint64_t told_waits, told_wait_ns;
    uint64_t idle_serial;
    uint64_t backoff_ns, connect_from_ns;
    int connect_err; /* what those who wait may be told; 0: nothing */
    bool in_call;    /* a function of the pool has been called and has not returned */
    unsigned nesting;
    uint64_t answered; /* waiters */
    bool stopping, free_when_stopped;
    unsigned stopped;
};

#define REQUIRE(world, condition)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("sequence %llu, %llu ns: not so: %s", (unsigned long long)(world)->seed,      \
                     (unsigned long long)(world)->loop.now_ns, #condition);                        \
    } while (0)

/* Calls into the pool, during which no callback of a waiter may come. */
#define CALL(world, call)                                                                          \
    do {                                                                                           \
        bool was_in_call = (world)->in_call;                                                       \
        (world)->in_call = true;                                                                   \
        call;                                                                                      \
        (world)->in_call = was_in_call;                                                            \
    } while (0)

static uint64_t below(struct world *world, uint64_t n) {
    return random_below(&world->random, n);
}

static bool usable(const struct place *place) {
    return place->state == OPEN && !place->retired;
}

static bool idle(const struct place *place) {
    return usable(place) && place->lent == 0;
}

static bool has_room(const struct world *world, const struct place *place) {
    return usable(place) && place->lent < world->options.depth;
}

static uint32_t count(const struct world *world, bool (*is)(const struct place *place)) {
    uint32_t counted = 0;
    for (size_t i = 0; i < world->options.max; i++)
        counted += is(&world->places[i]);
    return counted;
}

static bool taken(const struct place *place) {
    return place->state != VACANT;
}

static bool connecting(const struct place *place) {
    return place->state == CONNECTING;
}

static bool any_has_room(const struct world *world) {
    for (size_t i = 0; i < world->options.max; i++)
        if (has_room(world, &world->places[i]))
            return true;
    return false;
}

static bool expired(const struct world *world, const struct customer *customer) {
    return world->options.acquire_ns &&
           world->loop.now_ns - customer->since_ns >= world->options.acquire_ns;
}

static bool connect_is_wanted(const struct world *world) {
    uint32_t size = world->counters.size;
    return !world->stopping && count(world, connecting) == 0 && size < world->options.max &&
           (size < world->options.min || (world->counters.waiters > 0 && !any_has_room(world)));
}

static struct place *place_of(struct world *world, struct pool_member *member) {
    REQUIRE(world, member->index < world->options.max);
    struct place *place = &world->places[member->index];
    REQUIRE(world, !place->member || place->member == member);
    place->member = member;
    return place;
}

static void leave_line(struct world *world, const struct customer *customer) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < world->counters.waiters; i++)
        if (world->line[i] != customer)
            world->line[kept++] = world->line[i];
    world->counters.waiters = kept;
}

static void becomes_idle(struct world *world, struct place *place) {
    place->idle_since_ns = world->loop.now_ns;
    place->idle_serial = ++world->idle_serial;
}

static void retires(struct place *place, uint64_t *counter) {
    if (usable(place)) {
        place->retired = true;
        ++*counter;
    }
}

static void attempt_fails(struct world *world) {
    uint64_t most_ns = world->options.backoff_most_ns;
    uint64_t from_ns = world->loop.now_ns + world->backoff_ns;
    if (from_ns > world->connect_from_ns)
        world->connect_from_ns = from_ns;
    world->backoff_ns = world->backoff_ns * 2 < most_ns ? world->backoff_ns * 2 : most_ns;
}

static void attempt_succeeds(struct world *world) {
    world->backoff_ns = world->options.backoff_ns;
}

/* It is lost: then it is seen whether connecting was of any use. */
static void is_lost(struct world *world, const struct place *place) {
    if (!usable(place) || place->proven)
        return;
    if (world->loop.now_ns - place->opened_ns < world->options.backoff_most_ns)
        attempt_fails(world);
    else
        attempt_succeeds(world);
}

static void becomes_vacant(struct world *world, struct place *place) {
    *place = (struct place){.member = place->member};
    world->counters.size--;
}

static void refuse_waiters(struct world *world, int err) {
    world->connect_err = err;
    for (uint32_t i = 0; i < world->counters.waiters; i++)
        world->line[i]->refused = true;
}

/* ---- what the kind is asked for -------------------------------------------------------------- */

static void answer_connect(struct world *world, struct place *place, int err) {
    struct pool_counters *counters = &world->counters;
    if (err) {
        counters->connects_failed++;
        attempt_fails(world);
        if (count(world, usable) == 0)
            refuse_waiters(world, err);
        becomes_vacant(world, place);
    } else {
        place->state = OPEN;
        place->opened_ns = world->loop.now_ns;
        becomes_idle(world, place);
        if (world->stopping)
            retires(place, &counters->retired);
    }
    CALL(world, pool_connected(place->member, err));
}

static void answer_close(struct world *world, struct place *place) {
    becomes_vacant(world, place);
    CALL(world, pool_closed(place->member));
}

static int random_connect_err(struct world *world) {
    static const int errs[] = {0, 0, 0, -ECONNREFUSED, -ENETUNREACH};
    return errs[below(world, ARRAY_LENGTH(errs))];
}

static void kind_connect(struct pool_member *member, void *data) {
    struct world *world = data;
    struct place *place = place_of(world, member);
    REQUIRE(world, !world->in_call && world->loop.firing);
    REQUIRE(world, connect_is_wanted(world));
    REQUIRE(world, place->state == VACANT);
    REQUIRE(world, world->loop.now_ns >= world->connect_from_ns);
    place->state = CONNECTING;
    world->counters.connects++;
    world->counters.size++;
    if (world->counters.size > world->counters.size_most)
        world->counters.size_most = world->counters.size;
    if (world->answers_at_once && below(world, 4) == 0)
        answer_connect(world, place, random_connect_err(world));
}

/* Nobody asked for it: it has to be the one that was idle longest, and long enough. */
static void closes_for_idleness(struct world *world, const struct place *place) {
    REQUIRE(world, idle(place));
    REQUIRE(world, count(world, usable) > world->options.min);
    REQUIRE(world, world->options.idle_ns > 0);
    REQUIRE(world, world->loop.now_ns - place->idle_since_ns >= world->options.idle_ns);
    for (size_t i = 0; i < world->options.max; i++)
        REQUIRE(world,
                !idle(&world->places[i]) || world->places[i].idle_serial >= place->idle_serial);
    world->counters.closed_idle++;
}

static void kind_close(struct pool_member *member, void *data) {
    struct world *world = data;
    struct place *place = place_of(world, member);
    REQUIRE(world, place->state == OPEN);
    REQUIRE(world, place->lent == 0 && member->lent == 0);
    if (!place->retired)
        closes_for_idleness(world, place);
    place->state = CLOSING;
    if (world->answers_at_once && below(world, 4) == 0)
        answer_close(world, place);
}

static const struct pool_kind kind = {.connect = kind_connect, .close = kind_close};

/* ---- what waiters are told ------------------------------------------------------------------- */

static void random_call(struct world *world);

static void is_lent(struct world *world, struct customer *customer, struct pool_member *member) {
    struct place *place = place_of(world, member);
    REQUIRE(world, !world->stopping);
    REQUIRE(world, has_room(world, place));
    for (size_t i = 0; i < world->options.max; i++) {
        const struct place *other = &world->places[i];
        REQUIRE(world, !has_room(world, other) || other->lent >= place->lent);
        REQUIRE(world, !idle(other) || other->idle_serial <= place->idle_serial);
    }
    place->lent++;
    REQUIRE(world, member->lent == place->lent);
    customer->state = SERVED;
    customer->place = place;
    world->counters.lent++;
    world->counters.acquired++;
}

static void on_acquired(struct pool_waiter *waiter, struct pool_member *member, int err) {
    struct customer *customer = CONTAINER_OF(waiter, struct customer, waiter);
    struct world *world = customer->world;
    REQUIRE(world, !world->in_call && world->loop.firing);
    REQUIRE(world, customer->state == WAITING);
    REQUIRE(world, world->line[0] == customer);
    REQUIRE(world, err == 0 || member == NULL);
    REQUIRE(world, !customer->refused || err);
    leave_line(world, customer);
    customer->state = AWAY;
    world->answered++;
    if (err == -ECANCELED)
        REQUIRE(world, world->stopping);
    else if (err == -ETIMEDOUT) {
        REQUIRE(world, expired(world, customer));
        world->counters.timed_out++;
    } else if (err)
        REQUIRE(world, err == world->connect_err && count(world, usable) == 0);
    else {
        REQUIRE(world, !expired(world, customer));
        world->counters.waited++;
        world->counters.waited_ns += world->loop.now_ns - customer->since_ns;
        is_lent(world, customer, member);
    }
    if (world->nesting < 2 && below(world, 3) == 0) {
        world->nesting++;
        random_call(world);
        world->nesting--;
    }
}

static void on_wait(void *data, uint64_t wait_ns) {
    struct world *world = data;
    world->told_waits++;
    world->told_wait_ns += wait_ns;
}

static void on_stopped(void *data) {
    struct world *world = data;
    REQUIRE(world, !world->in_call && world->loop.firing);
    REQUIRE(world, world->stopping && world->stopped == 0);
    REQUIRE(world, world->counters.size == 0 && world->counters.waiters == 0);
    REQUIRE(world, world->loop.timer_count == 0);
    world->stopped++;
    if (world->free_when_stopped) {
        pool_free(world->pool);
        world->pool = NULL;
    }
}

/* ---- what is asked of the pool --------------------------------------------------------------- */

static void acquire(struct world *world, struct customer *customer) {
    if (customer->state != AWAY)
        return;
    customer->since_ns = world->loop.now_ns;
    customer->refused = false;
    bool now_expected = world->counters.waiters == 0 && any_has_room(world);
    struct pool_member *member = NULL;
    int result;
    CALL(world, result = pool_acquire(world->pool, &customer->waiter, &member));
    if (world->stopping) {
        REQUIRE(world, result == -ESHUTDOWN);
    } else if (now_expected) {
        REQUIRE(world, result == POOL_NOW);
        is_lent(world, customer, member);
    } else {
        REQUIRE(world, result == POOL_LATER);
        customer->state = WAITING;
        world->line[world->counters.waiters++] = customer;
        if (world->counters.waiters > world->counters.waiters_most)
            world->counters.waiters_most = world->counters.waiters;
    }
}

static void leave(struct world *world, struct customer *customer) {
    if (customer->state == WAITING) {
        customer->state = AWAY;
        leave_line(world, customer);
    }
    CALL(world, pool_leave(world->pool, &customer->waiter));
}

static void release(struct world *world, struct customer *customer) {
    if (customer->state != SERVED)
        return;
    struct place *place = customer->place;
    customer->state = AWAY;
    world->counters.lent--;
    if (usable(place) && !place->proven) {
        place->proven = true;
        attempt_succeeds(world);
    }
    if (--place->lent == 0) {
        becomes_idle(world, place);
        if (place->state == BROKEN)
            becomes_vacant(world, place);
    }
    CALL(world, pool_release(place->member));
}

static void answer(struct world *world, struct place *place) {
    if (place->state == CONNECTING)
        answer_connect(world, place, random_connect_err(world));
    else if (place->state == CLOSING)
        answer_close(world, place);
}

static void breaks(struct world *world, struct place *place) {
    if (place->state != OPEN)
        return;
    if (!place->retired)
        world->counters.broken++;
    is_lost(world, place);
    place->state = BROKEN;
    if (place->lent == 0)
        becomes_vacant(world, place);
    CALL(world, pool_closed(place->member));
}

static void retire(struct world *world, struct place *place) {
    if (!place->member)
        return;
    is_lost(world, place);
    retires(place, &world->counters.retired);
    CALL(world, pool_retire(place->member));
}

static void stop(struct world *world) {
    if (world->stopping)
        return;
    world->stopping = true;
    for (size_t i = 0; i < world->options.max; i++)
        retires(&world->places[i], &world->counters.retired);
    CALL(world, pool_stop(world->pool, on_stopped, world));
}

static void random_call(struct world *world) {
    struct customer *customer = &world->customers[below(world, CUSTOMERS)];
    struct place *place = &world->places[below(world, world->options.max)];
    uint64_t chosen = below(world, 200);
    if (chosen < 70)
        acquire(world, customer);
    else if (chosen < 120)
        release(world, customer);
    else if (chosen < 128)
        leave(world, customer);
    else if (chosen < 180)
        answer(world, place);
    else if (chosen < 190)
        breaks(world, place);
    else if (chosen < 199)
        retire(world, place);
    else
        stop(world);
}

/* ---- when all is quiet ----------------------------------------------------------------------- */

static void compare_counters(struct world *world) {
    struct pool_counters expected = world->counters;
    expected.idle = count(world, idle);
    const struct pool_counters *counters = pool_counters(world->pool);
    REQUIRE(world, counters->size == expected.size);
    REQUIRE(world, counters->idle == expected.idle);
    REQUIRE(world, counters->lent == expected.lent);
    REQUIRE(world, counters->waiters == expected.waiters);
    REQUIRE(world, counters->size_most == expected.size_most);
    REQUIRE(world, counters->waiters_most == expected.waiters_most);
    REQUIRE(world, counters->connects == expected.connects);
    REQUIRE(world, counters->connects_failed == expected.connects_failed);
    REQUIRE(world, counters->closed_idle == expected.closed_idle);
    REQUIRE(world, counters->closed_old == expected.closed_old);
    REQUIRE(world, counters->retired == expected.retired);
    REQUIRE(world, counters->broken == expected.broken);
    REQUIRE(world, counters->acquired == expected.acquired);
    REQUIRE(world, counters->timed_out == expected.timed_out);
    REQUIRE(world, counters->waited == expected.waited);
    REQUIRE(world, counters->waited_ns == expected.waited_ns);
    REQUIRE(world, world->told_waits == expected.acquired);
    REQUIRE(world, world->told_wait_ns == expected.waited_ns);
}

static void nothing_is_left_undone(struct world *world) {
    const struct pool_options *options = &world->options;
    uint64_t now_ns = world->loop.now_ns;
    REQUIRE(world, world->counters.size == count(world, taken));
    REQUIRE(world, world->counters.size <= options->max);
    for (size_t i = 0; i < options->max; i++) {
        const struct place *place = &world->places[i];
        REQUIRE(world, !(place->state == OPEN && place->retired && place->lent == 0));
        REQUIRE(world, !(idle(place) && options->idle_ns && count(world, usable) > options->min &&
                         now_ns - place->idle_since_ns >= options->idle_ns));
        REQUIRE(world, !(usable(place) && options->lifetime_ns &&
                         now_ns - place->opened_ns >= options->lifetime_ns));
    }
    if (world->counters.waiters > 0) {
        REQUIRE(world, !world->stopping);
        REQUIRE(world, !any_has_room(world));
        REQUIRE(world, !expired(world, world->line[0]));
        REQUIRE(world, !world->line[0]->refused);
    }
    REQUIRE(world, !connect_is_wanted(world) || now_ns < world->connect_from_ns);
    REQUIRE(world, (world->stopping && world->counters.size == 0) == (world->stopped == 1));
    if (world->pool)
        compare_counters(world);
}

/* The end of a connection's lifetime is the pool's to choose, within a tenth. */
static void note_lifetime(struct world *world, const struct timer *timer) {
    for (size_t i = 0; i < world->options.max; i++) {
        struct place *place = &world->places[i];
        if (!place->member || timer != &place->member->end)
            continue;
        uint64_t lifetime_ns = world->options.lifetime_ns, age_ns = timer->due_ns;
        age_ns -= place->opened_ns;
        REQUIRE(world, usable(place));
        REQUIRE(world, age_ns <= lifetime_ns && age_ns >= lifetime_ns - lifetime_ns / 10);
        retires(place, &world->counters.closed_old);
    }
}

/* Runs the timers that are due, and what they cause, as passes of the loop would. */
static void settle(struct world *world) {
    struct timer *timer;
    unsigned fired = 0;
    while ((timer = next_timer(&world->loop)) && timer->due_ns <= world->loop.now_ns) {
        REQUIRE(world, fired++ < 100); /* or it would keep a processor busy */
        timer_cancel(&world->loop, timer);
        note_lifetime(world, timer);
        uint64_t answered_most = world->answered + world->counters.waiters;
        world->loop.firing = true;
        timer->on_due(timer);
        world->loop.firing = false;
        REQUIRE(world, world->answered <= answered_most); /* others wait for the next pass */
    }
    nothing_is_left_undone(world);
    world->connect_err = 0;
}

static void let_time_pass(struct world *world) {
    const struct timer *next = next_timer(&world->loop);
    if (next && below(world, 2) == 0)
        world->loop.now_ns = next->due_ns > world->loop.now_ns ? next->due_ns : world->loop.now_ns;
    else
        world->loop.now_ns += below(world, 60);
    settle(world);
}

/* ---- sequences of calls ---------------------------------------------------------------------- */

static void open_world(struct world *world, uint64_t seed, const struct pool_options *options) {
    *world = (struct world){.seed = seed, .options = *options, .loop.now_ns = 1000};
    random_seed(&world->random, seed);
    for (size_t i = 0; i < CUSTOMERS; i++) {
        world->customers[i].world = world;
        world->customers[i].waiter.acquired = on_acquired;
    }
    world->backoff_ns = options->backoff_ns;
    CALL(world,
         assert_int_equal(pool_open(&world->loop, options, &kind, world, &world->pool, NULL), 0));
    pool_on_wait(world->pool, on_wait, world);
}

static struct pool_options random_options(struct random *random) {
    struct pool_options options = {
        .max = (uint32_t)(1 + random_below(random, 5)),
        .depth = random_below(random, 2) ? 1 : (uint32_t)(1 + random_below(random, 3)),
        .acquire_ns = 50 * random_below(random, 3),
        .idle_ns = 40 * random_below(random, 4),
        .lifetime_ns = 400 * random_below(random, 2),
        .backoff_ns = 10,
        .backoff_most_ns = 10 + random_below(random, 60),
        .seed = random_next(random),
    };
    options.min = (uint32_t)random_below(random, options.max + 1);
    return options;
}

static void end_everything_begun(struct world *world) {
    for (size_t i = 0; i < CUSTOMERS; i++)
        release(world, &world->customers[i]);
    for (size_t i = 0; i < world->options.max; i++) {
        if (world->places[i].state == CONNECTING)
            answer_connect(world, &world->places[i], 0);
        else if (world->places[i].state == CLOSING)
            answer_close(world, &world->places[i]);
    }
    settle(world);
}

static bool under_way(const struct place *place) {
    return place->state != VACANT && !idle(place);
}

/* Left alone it goes back to its least size. */
static void check_rest(struct world *world) {
    world->answers_at_once = false;
    world->nesting = 2; /* no more calls from callbacks */
    for (int i = 0; i < 100; i++) {
        end_everything_begun(world);
        world->loop.now_ns += 10;
        settle(world);
    }
    for (int i = 0; i < 100 && count(world, under_way) > 0; i++)
        end_everything_begun(world);
    REQUIRE(world, world->counters.waiters == 0 && world->counters.lent == 0);
    REQUIRE(world, world->counters.size >= world->options.min);
    if (world->options.idle_ns)
        REQUIRE(world, world->counters.size == world->options.min);
}

static void end_world(struct world *world) {
    world->nesting = 2;
    stop(world);
    settle(world);
    for (int i = 0; i < 10; i++)
        end_everything_begun(world);
    REQUIRE(world, world->stopped == 1);
    REQUIRE(world, world->loop.timer_count == 0);
    for (size_t i = 0; i < CUSTOMERS; i++)
        REQUIRE(world, world->customers[i].state == AWAY);
    pool_free(world->pool);
}

static void random_sequence(uint64_t seed) {
    struct world world;
    struct random random;
    random_seed(&random, ~seed);
    struct pool_options options = random_options(&random);
    open_world(&world, seed, &options);
    world.answers_at_once = random_below(&random, 2);
    world.free_when_stopped = random_below(&random, 2);
    uint64_t calls = 10 + random_below(&random, 100);
    for (uint64_t i = 0; i < calls && !world.stopped; i++) {
        random_call(&world);
        if (below(&world, 2) == 0)
            settle(&world);
        if (below(&world, 4) == 0)
            let_time_pass(&world);
    }
    settle(&world);
    if (!world.stopping && below(&world, 4) == 0)
        check_rest(&world);
    end_world(&world);
}

static void keeps_the_rules(void **unused) {
    (void)unused;
    for (uint64_t seed = 0; seed < 100000; seed++)
        random_sequence(seed);
}

/* ---- single rules ---------------------------------------------------------------------------- */

static const struct pool_options quiet = {
    .min = 1, .max = 4, .depth = 1, .backoff_ns = 10, .backoff_most_ns = 70};

static void fill(struct world *world, uint32_t size) {
    for (uint32_t i = 0; i < 2 * size; i++) {
        settle(world);
        for (size_t j = 0; j < world->options.max; j++)
            if (world->places[j].state == CONNECTING)
                answer_connect(world, &world->places[j], 0);
    }
    assert_int_equal(pool_counters(world->pool)->size, size);
}

/* The ways in which an attempt to connect may come to nothing. */
static void refused(struct world *world) {
    answer_connect(world, &world->places[0], -ECONNREFUSED);
}

static void opened_and_broke(struct world *world) {
    answer_connect(world, &world->places[0], 0);
    breaks(world, &world->places[0]);
}

static void broke_while_lent(struct world *world) {
    answer_connect(world, &world->places[0], 0);
    acquire(world, &world->customers[0]);
    breaks(world, &world->places[0]);
    release(world, &world->customers[0]);
}

static void was_of_no_use(struct world *world) {
    answer_connect(world, &world->places[0], 0);
    acquire(world, &world->customers[0]);
    retire(world, &world->places[0]);
    release(world, &world->customers[0]);
    answer(world, &world->places[0]);
}

/* How long after now it connects again. */
static uint64_t pause_ns(struct world *world) {
    uint64_t from_ns = world->loop.now_ns;
    settle(world);
    while (count(world, connecting) == 0) {
        world->loop.now_ns++;
        settle(world);
    }
    return world->loop.now_ns - from_ns;
}

static void check_pauses(void (*fails)(struct world *world)) {
    static const uint64_t pauses_ns[] = {10, 20, 40, 70, 70};
    struct pool_options options = quiet;
    struct world world;
    options.max = 1;
    open_world(&world, 1, &options);
    world.nesting = 2;
    settle(&world);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(pauses_ns); i++) {
            fails(&world);
            assert_int_equal(pause_ns(&world), pauses_ns[i]);
        }
        answer_connect(&world, &world.places[0], 0);
        acquire(&world, &world.customers[0]);
        release(&world, &world.customers[0]); /* and from the start again */
        breaks(&world, &world.places[0]);
        assert_int_equal(pause_ns(&world), 0);
    }
    end_world(&world);
}

static void pauses_double(void **unused) {
    (void)unused;
    check_pauses(refused);
    check_pauses(opened_and_broke);
    check_pauses(broke_while_lent);
    check_pauses(was_of_no_use);
}

/* Nobody asked it for anything, but for as long as the longest pause it was there. */
static void lasting_is_success_too(void **unused) {
    (void)unused;
    struct world world;
    open_world(&world, 1, &quiet);
    settle(&world);
    refused(&world);
    assert_int_equal(pause_ns(&world), 10);
    answer_connect(&world, &world.places[0], 0);
    world.loop.now_ns += quiet.backoff_most_ns;
    breaks(&world, &world.places[0]);
    assert_int_equal(pause_ns(&world), 0);
    refused(&world);
    assert_int_equal(pause_ns(&world), 10);
    answer_connect(&world, &world.places[0], 0);
    world.loop.now_ns += quiet.backoff_most_ns - 1;
    breaks(&world, &world.places[0]);
    assert_int_equal(pause_ns(&world), 20);
    end_world(&world);
}

/* When each of `n` connections that began together closes, in order. */
static void lifetimes(uint64_t seed, uint32_t n, uint64_t *closed_ns) {
    struct pool_options options = quiet;
    options.min = options.max = n;
    options.lifetime_ns = 1000000;
    options.seed = seed;
    struct world world;
    open_world(&world, seed, &options);
    fill(&world, n);
    for (uint32_t closed = 0; closed < n;) {
        world.loop.now_ns = next_timer(&world.loop)->due_ns;
        settle(&world);
        while (closed < pool_counters(world.pool)->closed_old)
            closed_ns[closed++] = world.loop.now_ns - 1000;
    }
    end_world(&world);
}

static void lifetimes_are_spread(void **unused) {
    (void)unused;
    enum { N = 40 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t closed_ns[N], others_ns[N];
        lifetimes(seed * UINT64_C(0x123456789abcdef), N, closed_ns);
        assert_true(closed_ns[0] >= 900000 && closed_ns[N - 1] <= 1000000);
        for (size_t i = 1; i < N; i++)
            assert_true(closed_ns[i] - closed_ns[i - 1] >= 100000 / N / 3);
        lifetimes(seed * UINT64_C(0x123456789abcdef) + 1234567890123456789, N, others_ns);
        assert_memory_not_equal(closed_ns, others_ns, sizeof closed_ns);
    }
}

/* Without its limit a waiter waits for as long as it takes, and so does an idle connection. */
static void nothing_ends_without_limits(void **unused) {
    (void)unused;
    struct pool_options options = quiet;
    options.min = options.max = 1;
    struct world world;
    open_world(&world, 1, &options);
    fill(&world, 1);
    acquire(&world, &world.customers[0]);
    acquire(&world, &world.customers[1]);
    settle(&world);
    assert_null(next_timer(&world.loop));
    world.loop.now_ns += 1000 * NS_PER_S;
    settle(&world);
    assert_int_equal(world.customers[1].state, WAITING);
    world.nesting = 2;
    release(&world, &world.customers[0]);
    settle(&world);
    assert_int_equal(world.customers[1].state, SERVED);
    end_world(&world);
}

/* A connect may fail with what a waiter's own limit is told as; only the latter is counted. */
static void connect_may_time_out_too(void **unused) {
    (void)unused;
    struct world world;
    open_world(&world, 1, &quiet);
    world.nesting = 2;
    settle(&world);
    acquire(&world, &world.customers[0]);
    world.options.acquire_ns = 1; /* for the model alone, which knows the number as that */
    world.loop.now_ns++;
    answer_connect(&world, &world.places[0], -ETIMEDOUT);
    struct timer *timer = next_timer(&world.loop);
    timer_cancel(&world.loop, timer);
    world.loop.firing = true;
    timer->on_due(timer);
    assert_int_equal(world.customers[0].state, AWAY);
    assert_int_equal(pool_counters(world.pool)->timed_out, 0);
    pool_free(world.pool);
}

/* A pool whose connections go with the loop is freed as it is. */
static void may_be_freed_unstopped(void **unused) {
    (void)unused;
    struct world world;
    open_world(&world, 1, &quiet);
    fill(&world, 1);
    acquire(&world, &world.customers[0]);
    acquire(&world, &world.customers[1]);
    pool_free(world.pool);
    pool_free(NULL);
}

static void refuses_impossible_options(void **unused) {
    (void)unused;
    static const struct pool_options impossible[] = {
        {.min = 0, .max = 0},
        {.min = 3, .max = 2},
        {.min = 1, .max = 2, .backoff_ns = 20, .backoff_most_ns = 10},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(impossible); i++) {
        struct loop loop = {0};
        struct error error = {""};
        struct pool *pool = NULL;
        assert_int_equal(pool_open(&loop, &impossible[i], &kind, NULL, &pool, &error), -EINVAL);
        assert_string_not_equal(error.text, "");
        assert_null(pool);
        assert_int_equal(loop.timer_count, 0);
    }
}

static void has_defaults(void **unused) {
    (void)unused;
    struct pool_options options = {.min = 1, .max = 2, .backoff_ns = 5 * NS_PER_S};
    struct loop loop = {0};
    struct pool *pool = NULL;
    assert_int_equal(pool_open(&loop, &options, &kind, NULL, &pool, NULL), 0);
    pool_free(pool);

    struct world world;
    options = (struct pool_options){.min = 1, .max = 1};
    open_world(&world, 1, &options);
    world.options.depth = 1;
    world.backoff_ns = world.options.backoff_ns = POOL_BACKOFF_NS;
    world.options.backoff_most_ns = POOL_BACKOFF_MOST_NS;
    settle(&world);
    for (int i = 0; i < 10; i++) {
        answer_connect(&world, &world.places[0], -ECONNREFUSED);
        settle(&world);
        world.loop.now_ns = world.connect_from_ns;
        settle(&world);
    }
    end_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_rules),
        cmocka_unit_test(pauses_double),
        cmocka_unit_test(lasting_is_success_too),
        cmocka_unit_test(lifetimes_are_spread),
        cmocka_unit_test(nothing_ends_without_limits),
        cmocka_unit_test(connect_may_time_out_too),
        cmocka_unit_test(may_be_freed_unstopped),
        cmocka_unit_test(refuses_impossible_options),
        cmocka_unit_test(has_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
