/* test_threadpool.c: the pool of threads on every loop, and libuv's own on those built on it.
 *
 * Order is made, not waited for: plugs, jobs that stay at work until they are let go, fill all
 * threads, so that everything submitted meanwhile is in line; then one is let go, and one thread
 * works through the line. */
#include "conformance.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "loops/threadpool.h"

#define HOUR_NS (3600 * NS_PER_S)

enum { THREADS = 4 }; /* as many as libuv has by itself */

/* ---- jobs that write down what happened to them ---------------------------------------------- */

struct party; /* a pool, and the jobs of a case */

struct guest {
    struct threadpool_job job;
    struct party *party;
    pthread_t thread; /* that worked */
    int place;        /* in the order of work, from 1; 0: never worked */
    int worked, dones, err;
    bool plug;
    void (*then)(struct guest *guest); /* at the end of its `done`; may be null */
};

struct party {
    struct fixture *fixture;
    enum threadpool_kind kind;
    struct threadpool *pool;
    struct loop *loop;
    pthread_t thread; /* the loop's */
    atomic_int places, plugged;
    sem_t plugs; /* a post lets one plug go */
    int dones, stops;
    struct guest plug[THREADS];
};

static void guest_work(struct threadpool_job *job) {
    struct guest *guest = CONTAINER_OF(job, struct guest, job);
    guest->thread = pthread_self();
    guest->place = atomic_fetch_add(&guest->party->places, 1) + 1;
    guest->worked++;
    if (!guest->plug)
        return;
    atomic_fetch_add(&guest->party->plugged, 1);
    while (sem_wait(&guest->party->plugs))
        ;
}

static void guest_done(struct threadpool_job *job, int err) {
    struct guest *guest = CONTAINER_OF(job, struct guest, job);
    struct party *party = guest->party;
    assert_false(party->fixture->in_call);
    assert_true(pthread_equal(pthread_self(), party->thread));
    assert_int_equal(party->stops, 0);
    guest->dones++;
    guest->err = err;
    party->dones++;
    if (guest->then)
        guest->then(guest);
}

static void invite(struct party *party, struct guest *guest, enum threadpool_priority priority) {
    *guest = (struct guest){.party = party,
                            .job = {.work = guest_work, .done = guest_done, .priority = priority}};
}

static int submit(struct guest *guest) {
    struct party *party = guest->party;
    int failure;
    IN_CALL(party->fixture, failure = threadpool_submit(party->pool, party->loop, &guest->job));
    return failure;
}

static int cancel(struct guest *guest) {
    int failure;
    IN_CALL(guest->party->fixture, failure = threadpool_cancel(guest->party->pool, &guest->job));
    return failure;
}

static struct guest *new_guests(struct party *party, int count) {
    struct guest *guests = calloc((size_t)count, sizeof *guests);
    assert_non_null(guests);
    for (int i = 0; i < count; i++)
        invite(party, &guests[i], THREADPOOL_HIGH);
    return guests;
}

/* ---- parties --------------------------------------------------------------------------------- */

static void open_party(struct party *party, struct fixture *fixture, enum threadpool_kind kind,
                       struct threadpool_config config) {
    struct error error = {""};
    *party = (struct party){
        .fixture = fixture, .kind = kind, .loop = fixture->loop, .thread = pthread_self()};
    sem_init(&party->plugs, 0, 0);
    config.kind = kind;
    config.loop = fixture->loop;
    config.threads = THREADS;
    if (threadpool_open(&config, &party->pool, &error))
        fail_msg("%s", error.text);
    assert_int_equal(threadpool_info(party->pool).threads, THREADS);
}

static void close_party(struct party *party) {
    threadpool_free(party->pool);
    sem_destroy(&party->plugs);
}

/* Every thread holds a plug. */
static void plug_threads(struct party *party) {
    atomic_store(&party->plugged, 0);
    for (int i = 0; i < THREADS; i++) {
        invite(party, &party->plug[i], THREADPOOL_HIGH);
        party->plug[i].plug = true;
        assert_int_equal(submit(&party->plug[i]), 0);
    }
    while (atomic_load(&party->plugged) < THREADS)
        sched_yield();
}

static void unplug(struct party *party, int count) {
    for (int i = 0; i < count; i++)
        sem_post(&party->plugs);
}

static bool is_libuv(const struct fixture *fixture) {
    return strncmp(fixture->info.name, "libuv", 5) == 0;
}

/* Runs a case with our own threads, and on libuv's loops with libuv's too. */
static void with_each_kind(struct fixture *fixture,
                           void (*run)(struct fixture *fixture, enum threadpool_kind kind)) {
    run(fixture, THREADPOOL_OWN);
    if (is_libuv(fixture))
        run(fixture, THREADPOOL_LIBUV);
}

static void stopped(struct threadpool *pool, void *data) {
    struct party *party = data;
    assert_false(party->fixture->in_call);
    assert_ptr_equal(pool, party->pool);
    party->stops++;
}

static void stop(struct party *party, uint64_t drain_ns) {
    IN_CALL(party->fixture, threadpool_stop(party->pool, party->loop, drain_ns, stopped, party));
}

static void check_accounts(struct party *party, uint64_t done, uint64_t cancelled) {
    struct threadpool_counters counters = threadpool_read_counters(party->pool);
    assert_int_equal(counters.submitted, done + cancelled);
    assert_int_equal(counters.done, done);
    assert_int_equal(counters.cancelled, cancelled);
    assert_int_equal(counters.queued, 0);
    assert_int_equal(counters.busy, 0);
    assert_in_range(counters.busy_most, 0, THREADS);
}

/* ---- one job --------------------------------------------------------------------------------- */

struct look {
    struct guest guest;
    sigset_t blocked;
    char name[16];
};

static void look_around(struct threadpool_job *job) {
    struct look *look = CONTAINER_OF(job, struct look, guest.job);
    guest_work(job);
    pthread_sigmask(SIG_SETMASK, NULL, &look->blocked);
    pthread_getname_np(pthread_self(), look->name, sizeof look->name);
}

static void one_job(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    struct look look;
    open_party(&party, fixture, kind, (struct threadpool_config){.name = "long name of a pool"});
    invite(&party, &look.guest, THREADPOOL_LOW);
    look.guest.job.work = look_around;
    uint64_t before_ns = clock_now_ns();
    assert_int_equal(threadpool_cancel(party.pool, &look.guest.job), -ENOENT);
    assert_int_equal(submit(&look.guest), 0);
    RUN_UNTIL(fixture, party.dones == 1);
    settle(fixture);
    const struct threadpool_job *job = &look.guest.job;
    assert_int_equal(look.guest.worked, 1);
    assert_int_equal(look.guest.dones, 1);
    assert_int_equal(look.guest.err, 0);
    assert_false(pthread_equal(look.guest.thread, pthread_self()));
    assert_true(before_ns <= job->queued_ns && job->queued_ns <= job->started_ns);
    assert_true(job->started_ns <= job->ended_ns && job->ended_ns <= job->delivered_ns);
    assert_true(job->delivered_ns <= clock_now_ns());
    assert_true(sigismember(&look.blocked, SIGTERM) && sigismember(&look.blocked, SIGALRM));
    if (kind == THREADPOOL_OWN)
        assert_memory_equal(look.name, "long name o-", 12);
    assert_int_equal(threadpool_cancel(party.pool, &look.guest.job), -ENOENT);
    assert_true(threadpool_info(party.pool).cpus > 0);
    check_accounts(&party, 1, 0);
    close_party(&party);
}

static void test_one_job(struct fixture *fixture) {
    with_each_kind(fixture, one_job);
}

/* ---- order ----------------------------------------------------------------------------------- */

enum { LINE = 24 };

/* Works off guests with these priorities, 'h' and 'l', in one thread; `order` becomes the
 * priorities in the order of work. Within a priority that has to be the order of submitting. */
static void work_off(struct party *party, const char *priorities, char *order) {
    int count = (int)strlen(priorities), last[THREADPOOL_PRIORITIES] = {0};
    struct guest *guests = new_guests(party, count);
    plug_threads(party);
    int first = atomic_load(&party->places), dones = party->dones + count;
    for (int i = 0; i < count; i++) {
        guests[i].job.priority = priorities[i] == 'h' ? THREADPOOL_HIGH : THREADPOOL_LOW;
        assert_int_equal(submit(&guests[i]), 0);
    }
    unplug(party, 1);
    RUN_UNTIL(party->fixture, party->dones == dones + 1);
    unplug(party, THREADS - 1);
    RUN_UNTIL(party->fixture, party->dones == dones + THREADS);
    memset(order, 0, (size_t)count + 1);
    for (int i = 0; i < count; i++) {
        int place = guests[i].place - first - 1;
        assert_in_range(place, 0, count - 1);
        assert_true(guests[i].place > last[guests[i].job.priority]);
        last[guests[i].job.priority] = guests[i].place;
        order[place] = priorities[i];
    }
    free(guests);
}

static void check_order(struct fixture *fixture, enum threadpool_kind kind,
                        struct threadpool_config config, const char *priorities,
                        const char *expected) {
    struct party party;
    char order[LINE + 1];
    open_party(&party, fixture, kind, config);
    for (int round = 0; round < 2; round++) { /* nothing is left over from the first */
        work_off(&party, priorities, order);
        assert_string_equal(order, expected);
    }
    close_party(&party);
}

static void one_priority(struct fixture *fixture, enum threadpool_kind kind) {
    struct threadpool_config none = {0};
    check_order(fixture, kind, none, "hhhhhhhhhhhhhhhhhhhhhhhh", "hhhhhhhhhhhhhhhhhhhhhhhh");
    check_order(fixture, kind, none, "llllllllllll", "llllllllllll");
}

static void test_one_priority(struct fixture *fixture) {
    with_each_kind(fixture, one_priority);
}

static void test_two_priorities(struct fixture *fixture) {
    struct threadpool_config never = {.low_after_jobs = 1000, .low_after_ns = HOUR_NS};
    check_order(fixture, THREADPOOL_OWN, never, "lhlhhlhhhl", "hhhhhhllll");
    if (is_libuv(fixture)) /* which has none */
        check_order(fixture, THREADPOOL_LIBUV, never, "lhlhhlhhhl", "lhlhhlhhhl");
}

static void test_ageing(struct fixture *fixture) {
    struct threadpool_config by_jobs = {.low_after_jobs = 3, .low_after_ns = HOUR_NS};
    check_order(fixture, THREADPOOL_OWN, by_jobs, "lllhhhhhhhh", "hhhlhhhlhhl");
    check_order(fixture, THREADPOOL_OWN, by_jobs, "hhhhl", "hhhlh");
    /* Old at once; a backlog of the old still leaves high every second start. */
    struct threadpool_config by_time = {.low_after_jobs = 1000, .low_after_ns = 1};
    check_order(fixture, THREADPOOL_OWN, by_time, "llllllhhh", "hlhlhllll");
    /* High ones that nobody low waited beside count for nothing. */
    check_order(fixture, THREADPOOL_OWN, by_jobs, "hhhhhhhh", "hhhhhhhh");
}

/* ---- the bound ------------------------------------------------------------------------------- */

static void bound(struct fixture *fixture, enum threadpool_kind kind) {
    enum { QUEUE = 5 };
    struct party party;
    open_party(&party, fixture, kind, (struct threadpool_config){.queue_most = QUEUE});
    struct guest *guests = new_guests(&party, QUEUE + 1);
    for (int round = 1; round <= 2; round++) {
        plug_threads(&party);
        for (int i = 0; i < QUEUE; i++)
            assert_int_equal(submit(&guests[i]), 0);
        assert_int_equal(submit(&guests[QUEUE]), -EAGAIN);
        struct threadpool_counters counters = threadpool_read_counters(party.pool);
        assert_int_equal(counters.queued, QUEUE);
        assert_int_equal(counters.busy, THREADS);
        assert_int_equal(counters.busy_most, THREADS);
        assert_int_equal(counters.refused, round);
        assert_in_range(counters.queued_most, QUEUE, QUEUE + THREADS);
        /* A cancelled one makes room. */
        assert_int_equal(cancel(&guests[0]), 0);
        assert_int_equal(submit(&guests[QUEUE]), 0);
        unplug(&party, THREADS);
        RUN_UNTIL(fixture, party.dones == round * (THREADS + QUEUE + 1));
    }
    settle(fixture);
    for (int i = 0; i <= QUEUE; i++)
        assert_int_equal(guests[i].dones, 2);
    check_accounts(&party, 2 * (THREADS + QUEUE), 2);
    free(guests);
    close_party(&party);
}

static void test_bound(struct fixture *fixture) {
    with_each_kind(fixture, bound);
}

/* As many as there are threads are never refused, asleep or not yet awake as they may be, nor is
 * one more when a `done` has come. */
static void again_when_full(struct guest *guest) {
    if (guest->dones < 200)
        assert_int_equal(submit(guest), 0);
}

static void bound_of_idle(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    open_party(&party, fixture, kind, (struct threadpool_config){.queue_most = 1});
    struct guest *guests = new_guests(&party, THREADS + 1);
    for (int i = 0; i <= THREADS; i++) {
        guests[i].then = again_when_full;
        assert_int_equal(submit(&guests[i]), 0);
    }
    RUN_UNTIL(fixture, party.dones == 200 * (THREADS + 1));
    check_accounts(&party, 200 * (THREADS + 1), 0);
    assert_int_equal(threadpool_read_counters(party.pool).refused, 0);
    free(guests);
    close_party(&party);
}

static void test_bound_of_idle(struct fixture *fixture) {
    with_each_kind(fixture, bound_of_idle);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static void cancelling(struct fixture *fixture, enum threadpool_kind kind) {
    enum { GUESTS = 9 };
    struct party party;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    struct guest *guests = new_guests(&party, GUESTS);
    plug_threads(&party);
    for (int i = 0; i < GUESTS; i++) {
        guests[i].job.priority = i % 2 ? THREADPOOL_LOW : THREADPOOL_HIGH;
        assert_int_equal(submit(&guests[i]), 0);
    }
    for (int i = 0; i < GUESTS; i += 3)
        assert_int_equal(cancel(&guests[i]), 0);
    assert_int_equal(cancel(&guests[0]), -EBUSY); /* is over already */
    assert_int_equal(cancel(&party.plug[0]), -EBUSY);
    RUN_UNTIL(fixture, party.dones == GUESTS / 3); /* while everything else stands still */
    for (int i = 0; i < GUESTS; i += 3) {
        assert_int_equal(guests[i].err, -ECANCELED);
        assert_true(guests[i].job.started_ns == 0 && guests[i].job.ended_ns == 0);
        assert_true(guests[i].job.queued_ns <= guests[i].job.delivered_ns);
        assert_int_equal(cancel(&guests[i]), -ENOENT);
    }
    assert_int_equal(submit(&guests[3]), 0); /* and once more */
    unplug(&party, THREADS);
    RUN_UNTIL(fixture, party.dones == THREADS + GUESTS + 1);
    settle(fixture);
    for (int i = 0; i < GUESTS; i++) {
        assert_int_equal(guests[i].worked, i % 3 != 0 || i == 3);
        assert_int_equal(guests[i].dones, i == 3 ? 2 : 1);
        assert_int_equal(guests[i].err, i % 3 != 0 || i == 3 ? 0 : -ECANCELED);
    }
    check_accounts(&party, THREADS + GUESTS - 2, 3);
    free(guests);
    close_party(&party);
}

static void test_cancel(struct fixture *fixture) {
    with_each_kind(fixture, cancelling);
}

/* Cancels while the threads take: each job is either worked or cancelled. */
static void cancel_race(struct fixture *fixture, enum threadpool_kind kind) {
    enum { GUESTS = 2000 };
    struct party party;
    int cancelled = 0;
    open_party(&party, fixture, kind,
               (struct threadpool_config){.queue_most = THREADPOOL_NO_LIMIT});
    struct guest *guests = new_guests(&party, GUESTS);
    for (int i = 0; i < GUESTS; i++) {
        assert_int_equal(submit(&guests[i]), 0);
        if (i % 2)
            cancelled += cancel(&guests[i / 2 + i / 4]) == 0;
    }
    RUN_UNTIL(fixture, party.dones == GUESTS);
    for (int i = 0; i < GUESTS; i++) {
        assert_int_equal(guests[i].dones, 1);
        assert_int_equal(guests[i].worked, guests[i].err == 0);
    }
    check_accounts(&party, (uint64_t)(GUESTS - cancelled), (uint64_t)cancelled);
    free(guests);
    close_party(&party);
}

static void test_cancel_race(struct fixture *fixture) {
    with_each_kind(fixture, cancel_race);
}

/* ---- stopping -------------------------------------------------------------------------------- */

enum { LATE = 6 };

/* Stops with all threads at work and LATE jobs in line, of which `run` are to run. */
static void stop_full(struct fixture *fixture, enum threadpool_kind kind, uint64_t drain_ns,
                      int expected) {
    struct party party;
    struct guest extra;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    struct guest *guests = new_guests(&party, LATE);
    invite(&party, &extra, THREADPOOL_HIGH);
    plug_threads(&party);
    for (int i = 0; i < LATE; i++) {
        guests[i].job.priority = i % 2 ? THREADPOOL_LOW : THREADPOOL_HIGH;
        assert_int_equal(submit(&guests[i]), 0);
    }
    stop(&party, drain_ns);
    assert_int_equal(submit(&extra), -ESHUTDOWN);
    RUN_UNTIL(fixture, party.dones == LATE - expected); /* the running hold up none of these */
    settle(fixture);
    assert_int_equal(party.dones, LATE - expected);
    assert_int_equal(party.stops, 0);
    unplug(&party, THREADS);
    RUN_UNTIL(fixture, party.stops == 1);
    settle(fixture);
    assert_int_equal(party.stops, 1);
    assert_int_equal(party.dones, THREADS + LATE);
    for (int i = 0; i < LATE; i++) {
        assert_int_equal(guests[i].dones, 1);
        assert_int_equal(guests[i].err, expected ? 0 : -ECANCELED);
        assert_int_equal(guests[i].worked, expected ? 1 : 0);
    }
    assert_int_equal(extra.dones, 0);
    check_accounts(&party, (uint64_t)(THREADS + expected), (uint64_t)(LATE - expected));
    free(guests);
    close_party(&party);
}

static void stops_at_once(struct fixture *fixture, enum threadpool_kind kind) {
    stop_full(fixture, kind, 0, 0);
}

static void stops_after_all(struct fixture *fixture, enum threadpool_kind kind) {
    stop_full(fixture, kind, UINT64_MAX, LATE);
    stop_full(fixture, kind, HOUR_NS, LATE);
}

static void stops_after_a_time(struct fixture *fixture, enum threadpool_kind kind) {
    stop_full(fixture, kind, NS_PER_MS, 0);
}

static void test_stop_at_once(struct fixture *fixture) {
    with_each_kind(fixture, stops_at_once);
}

static void test_stop_after_all(struct fixture *fixture) {
    with_each_kind(fixture, stops_after_all);
}

static void test_stop_after_a_time(struct fixture *fixture) {
    with_each_kind(fixture, stops_after_a_time);
}

static void stops_idle(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    stop(&party, 0);
    RUN_UNTIL(fixture, party.stops == 1);
    close_party(&party);
    open_party(&party, fixture, kind, (struct threadpool_config){0}); /* without any stop */
    close_party(&party);
}

static void test_stop_idle(struct fixture *fixture) {
    with_each_kind(fixture, stops_idle);
}

static void free_pool(struct guest *guest) {
    threadpool_free(guest->party->pool);
    guest->party->pool = NULL;
}

static void frees_in_done(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    struct guest guest;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    invite(&party, &guest, THREADPOOL_HIGH);
    guest.then = free_pool;
    assert_int_equal(submit(&guest), 0);
    RUN_UNTIL(fixture, !party.pool);
    sem_destroy(&party.plugs);
}

static void test_free_in_done(struct fixture *fixture) {
    with_each_kind(fixture, frees_in_done);
}

struct let_go {
    pthread_t thread;
    struct party *party;
};

static void *let_plugs_go(void *data) {
    const struct let_go *let_go = data;
    while (threadpool_read_counters(let_go->party->pool).queued > 0)
        sched_yield();
    unplug(let_go->party, THREADS);
    return NULL;
}

/* With jobs under way, and the loop not run again. */
static void abandon(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    struct guest *guests = new_guests(&party, LATE);
    plug_threads(&party);
    for (int i = 0; i < LATE; i++)
        assert_int_equal(submit(&guests[i]), 0);
    struct let_go let_go = {.party = &party};
    assert_int_equal(pthread_create(&let_go.thread, NULL, let_plugs_go, &let_go), 0);
    close_party(&party);
    assert_int_equal(pthread_join(let_go.thread, NULL), 0);
    for (int i = 0; i < LATE; i++)
        assert_int_equal(guests[i].worked, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(party.plug[i].worked, 1);
    assert_int_equal(party.dones, 0);
    free(guests);
    reopen_loop(fixture, NULL);
}

static void test_abandon(struct fixture *fixture) {
    with_each_kind(fixture, abandon);
}

/* ---- many ------------------------------------------------------------------------------------ */

enum { MANY = 100000, GUESTS_OF_MANY = 500 };

struct many {
    struct party party;
    int submitted, refused;
    struct guest *guests;
};

/* Everything that is free is submitted until the pool is full; each `done` goes on. */
static void go_on(struct guest *guest) {
    struct many *many = CONTAINER_OF(guest->party, struct many, party);
    for (int i = 0; i < GUESTS_OF_MANY && many->submitted < MANY; i++) {
        if (many->guests[i].job.pool)
            continue;
        many->guests[i].job.priority = many->submitted % 3 ? THREADPOOL_HIGH : THREADPOOL_LOW;
        int failure = submit(&many->guests[i]);
        if (failure) {
            assert_int_equal(failure, -EAGAIN);
            many->refused++;
            return;
        }
        many->submitted++;
    }
}

static void none_is_lost(struct fixture *fixture, enum threadpool_kind kind) {
    struct many many = {0};
    int worked = 0, dones = 0;
    open_party(&many.party, fixture, kind, (struct threadpool_config){.queue_most = 64});
    many.guests = new_guests(&many.party, GUESTS_OF_MANY);
    for (int i = 0; i < GUESTS_OF_MANY; i++)
        many.guests[i].then = go_on;
    go_on(&many.guests[0]);
    RUN_UNTIL(fixture, many.party.dones == MANY);
    settle(fixture);
    for (int i = 0; i < GUESTS_OF_MANY; i++) {
        worked += many.guests[i].worked;
        dones += many.guests[i].dones;
    }
    assert_int_equal(worked, MANY);
    assert_int_equal(dones, MANY);
    assert_int_equal(many.party.dones, MANY);
    check_accounts(&many.party, MANY, 0);
    struct threadpool_counters counters = threadpool_read_counters(many.party.pool);
    assert_int_equal(counters.refused, many.refused);
    assert_true(counters.wakes <= MANY);
    free(many.guests);
    close_party(&many.party);
}

static void test_none_is_lost(struct fixture *fixture) {
    with_each_kind(fixture, none_is_lost);
}

/* One after the other, so that threads fall asleep and are woken each time. */
static void submit_again(struct guest *guest) {
    if (guest->dones < 2000)
        assert_int_equal(submit(guest), 0);
    else
        loop_stop(guest->party->loop);
}

static void one_by_one(struct fixture *fixture, enum threadpool_kind kind) {
    struct party party;
    struct guest guest;
    open_party(&party, fixture, kind, (struct threadpool_config){0});
    invite(&party, &guest, THREADPOOL_LOW);
    guest.then = submit_again;
    assert_int_equal(submit(&guest), 0);
    run_to_stop(fixture);
    check_accounts(&party, 2000, 0);
    assert_true(threadpool_read_counters(party.pool).wakes <= 2000);
    close_party(&party);
}

static void test_one_by_one(struct fixture *fixture) {
    with_each_kind(fixture, one_by_one);
}

/* Nobody is woken while all are at work. */
static void test_wakes(struct fixture *fixture) {
    enum { BURST = 1000 };
    struct party party;
    open_party(&party, fixture, THREADPOOL_OWN, (struct threadpool_config){0});
    struct guest *guests = new_guests(&party, BURST);
    plug_threads(&party);
    uint64_t wakes = threadpool_read_counters(party.pool).wakes;
    assert_true(wakes <= THREADS);
    for (int i = 0; i < BURST; i++)
        assert_int_equal(submit(&guests[i]), 0);
    assert_int_equal(threadpool_read_counters(party.pool).wakes, wakes);
    unplug(&party, THREADS);
    RUN_UNTIL(fixture, party.dones == BURST + THREADS);
    assert_int_equal(threadpool_read_counters(party.pool).wakes, wakes);
    free(guests);
    close_party(&party);
}

/* ---- several loops --------------------------------------------------------------------------- */

enum { LOOPS = 3, ROUNDS_OF_LOOP = 3000, WINDOW = 20 };

struct resident {
    pthread_t thread; /* as it finds itself */
    struct threadpool *pool;
    struct loop *loop;
    int submitted, dones, strayed;
    struct threadpool_job jobs[WINDOW];
};

static void nothing(struct threadpool_job *job) {
    (void)job;
}

static void come_home(struct threadpool_job *job, int err) {
    struct resident *resident = loop_data(job->loop);
    if (err || !pthread_equal(pthread_self(), resident->thread))
        resident->strayed++;
    resident->dones++;
    if (resident->submitted < ROUNDS_OF_LOOP) {
        resident->submitted++;
        CHECK(threadpool_submit(resident->pool, resident->loop, job) == 0);
    } else if (resident->dones == ROUNDS_OF_LOOP) {
        loop_stop(resident->loop);
    }
}

static void *reside(void *data) {
    struct resident *resident = data;
    resident->thread = pthread_self();
    for (int i = 0; i < WINDOW; i++) {
        resident->jobs[i] = (struct threadpool_job){.work = nothing, .done = come_home};
        resident->submitted++;
        CHECK(threadpool_submit(resident->pool, resident->loop, &resident->jobs[i]) == 0);
    }
    CHECK(loop_run(resident->loop) == 0);
    return NULL;
}

static void test_several_loops(struct fixture *fixture) {
    struct party party;
    pthread_t threads[LOOPS];
    struct resident *residents = calloc(LOOPS, sizeof *residents);
    assert_non_null(residents);
    open_party(&party, fixture, THREADPOOL_OWN, (struct threadpool_config){0});
    for (int i = 0; i < LOOPS; i++) {
        residents[i].pool = party.pool;
        assert_int_equal(loop_open(fixture->info.name, NULL, &residents[i].loop, NULL), 0);
        loop_set_data(residents[i].loop, &residents[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, reside, &residents[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    stop(&party, UINT64_MAX);
    RUN_UNTIL(fixture, party.stops == 1);
    check_accounts(&party, LOOPS * ROUNDS_OF_LOOP, 0);
    close_party(&party);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(residents[i].dones, ROUNDS_OF_LOOP);
        assert_int_equal(residents[i].strayed, 0);
        loop_free(residents[i].loop);
    }
    free(residents);
}

/* ---- what cannot be opened ------------------------------------------------------------------- */

static void test_open_errors(struct fixture *fixture) {
    struct threadpool *pool;
    struct error error = {""};
    struct threadpool_config config = {.threads = THREADPOOL_THREADS_MOST + 1};
    assert_int_equal(threadpool_open(&config, &pool, &error), -EINVAL);
    assert_non_null(strstr(error.text, "1024"));
    config = (struct threadpool_config){.kind = THREADPOOL_LIBUV, .loop = fixture->loop};
    error.text[0] = '\0';
    if (!is_libuv(fixture)) {
        assert_int_equal(threadpool_open(&config, &pool, &error), -ENOTSUP);
        assert_non_null(strstr(error.text, "libuv"));
        return;
    }
    config.threads = THREADS + 1;
    assert_int_equal(threadpool_open(&config, &pool, &error), -EINVAL);
    assert_non_null(strstr(error.text, "UV_THREADPOOL_SIZE=4"));
    config.threads = 0; /* what there is */
    assert_int_equal(threadpool_open(&config, &pool, &error), 0);
    assert_int_equal(threadpool_info(pool).threads, THREADS);
    assert_int_equal(threadpool_info(pool).kind, THREADPOOL_LIBUV);
    threadpool_free(pool);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"one job", test_one_job, false},
        {"one priority, in order", test_one_priority, false},
        {"high before low", test_two_priorities, false},
        {"low ages", test_ageing, false},
        {"a full queue refuses", test_bound, false},
        {"idle threads count as room", test_bound_of_idle, false},
        {"cancel", test_cancel, false},
        {"cancel against the threads", test_cancel_race, false},
        {"stop at once", test_stop_at_once, false},
        {"stop after all", test_stop_after_all, false},
        {"stop after a time", test_stop_after_a_time, false},
        {"stop while idle", test_stop_idle, false},
        {"freed in the last done", test_free_in_done, false},
        {"freed with jobs under way", test_abandon, false},
        {"100,000 jobs", test_none_is_lost, false},
        {"2,000 jobs one by one", test_one_by_one, false},
        {"nobody is woken for nothing", test_wakes, false},
        {"three loops share a pool", test_several_loops, false},
        {"what cannot be opened", test_open_errors, false},
    };
    unsetenv("UV_THREADPOOL_SIZE");
    return conformance_main("thread pool", cases, ARRAY_LENGTH(cases));
}
