/* test_timers_posts.c: timers, posts from other threads, and stopping. */
#include "conformance.h"

#include <pthread.h>
#include <semaphore.h>

/* ---- timers ---------------------------------------------------------------------------------- */

enum { TIMERS = 1000 };

struct alarm_clock {
    struct timer timer;
    struct alarm_clocks *all;
    uint64_t due_ns; /* what was asked for; 0: must not fire */
    int fired;
};

struct alarm_clocks {
    struct fixture *fixture;
    uint64_t last_due_ns;
    int fired;
    struct alarm_clock clocks[TIMERS];
};

static void check_due(struct timer *timer) {
    struct alarm_clock *clock = CONTAINER_OF(timer, struct alarm_clock, timer);
    struct alarm_clocks *all = clock->all;
    assert_false(all->fixture->in_call);
    assert_false(timer_is_set(timer));
    assert_int_not_equal(clock->due_ns, 0);
    assert_true(loop_now_ns(all->fixture->loop) >= clock->due_ns);
    assert_true(clock_now_ns() >= clock->due_ns);
    assert_true(all->last_due_ns <= clock->due_ns);
    all->last_due_ns = clock->due_ns;
    all->fired++;
    clock->fired++;
}

static void set_clock(struct alarm_clock *clock, uint64_t due_ns) {
    clock->due_ns = due_ns;
    IN_CALL(clock->all->fixture, timer_set(clock->all->fixture->loop, &clock->timer, due_ns));
    assert_true(timer_is_set(&clock->timer));
}

/* Numbers that are the same in every run. */
static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static struct alarm_clocks *new_clocks(struct fixture *fixture) {
    struct alarm_clocks *all = calloc(1, sizeof *all);
    assert_non_null(all);
    all->fixture = fixture;
    for (int i = 0; i < TIMERS; i++)
        all->clocks[i] = (struct alarm_clock){.timer.on_due = check_due, .all = all};
    return all;
}

static void test_many_timers(struct fixture *fixture) {
    struct alarm_clocks *all = new_clocks(fixture);
    uint64_t start_ns = clock_now_ns(), random = 1;
    int left = TIMERS;
    for (int i = 0; i < TIMERS; i++)
        set_clock(&all->clocks[i], start_ns + next_random(&random) % (40 * NS_PER_MS));
    for (int i = 0; i < TIMERS; i += 3) /* later and earlier, and some to the same time */
        set_clock(&all->clocks[i], start_ns + next_random(&random) % 40 * NS_PER_MS);
    for (int i = 0; i < TIMERS; i += 5) {
        timer_cancel(fixture->loop, &all->clocks[i].timer);
        timer_cancel(fixture->loop, &all->clocks[i].timer);
        assert_false(timer_is_set(&all->clocks[i].timer));
        all->clocks[i].due_ns = 0;
        left--;
    }
    RUN_UNTIL(fixture, all->fired == left);
    settle(fixture);
    for (int i = 0; i < TIMERS; i++)
        assert_int_equal(all->clocks[i].fired, all->clocks[i].due_ns != 0);
    assert_true(loop_counters(fixture->loop)->timers_fired >= (uint64_t)left);
    free(all);
}

/* A fires: it sets itself anew, moves B behind it and cancels C, that are all due. */
static void meddle(struct timer *timer) {
    struct alarm_clock *a = CONTAINER_OF(timer, struct alarm_clock, timer);
    struct alarm_clock *b = a + 1, *c = a + 2;
    check_due(timer);
    uint64_t now_ns = loop_now_ns(a->all->fixture->loop);
    if (a->fired == 1) {
        set_clock(a, now_ns + NS_PER_MS);
        set_clock(b, now_ns + 2 * NS_PER_MS);
        timer_cancel(a->all->fixture->loop, &c->timer);
        c->due_ns = 0;
    } else if (a->fired == 2) {
        set_clock(a, now_ns + NS_PER_S);
        set_clock(a, now_ns); /* and moves itself back */
    } else if (a->fired == 3) {
        set_clock(a, now_ns + NS_PER_S);
        timer_cancel(a->all->fixture->loop, timer);
    }
}

static void test_timer_in_own_callback(struct fixture *fixture) {
    struct alarm_clocks *all = new_clocks(fixture);
    uint64_t start_ns = clock_now_ns();
    all->clocks[0].timer.on_due = meddle;
    for (int i = 0; i < 4; i++)
        set_clock(&all->clocks[i], start_ns - 10 + (uint64_t)i);
    one_pass(fixture);
    assert_int_equal(all->clocks[0].fired, 1);
    assert_int_equal(all->clocks[3].fired, 1);
    RUN_UNTIL(fixture, all->clocks[0].fired == 3 && all->clocks[1].fired == 1);
    settle(fixture);
    assert_int_equal(all->fired, 5);
    assert_int_equal(all->clocks[2].fired, 0);
    free(all);
}

struct greedy {
    struct timer timer;
    struct fixture *fixture;
    uint64_t fired;
};

static void set_again(struct timer *timer) {
    struct greedy *greedy = CONTAINER_OF(timer, struct greedy, timer);
    greedy->fired++;
    timer_set(greedy->fixture->loop, timer, 1);
}

/* One that is always due fires once a pass and starves nothing, whatever else is set. */
static void test_past_timer(struct fixture *fixture) {
    struct greedy greedy = {.timer.on_due = set_again, .fixture = fixture}, far[5];
    for (size_t i = 0; i < ARRAY_LENGTH(far); i++) {
        far[i] = greedy;
        timer_set(fixture->loop, &far[i].timer, clock_now_ns() + 3600 * NS_PER_S);
    }
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t byte = pattern_byte(0);
    timer_set(fixture->loop, &greedy.timer, 1);
    peer_send_all(fixture, peer, &byte, 1);
    RUN_UNTIL(fixture, probe->received == 1);
    uint64_t passes = loop_counters(fixture->loop)->passes;
    greedy.fired = 0;
    for (int i = 0; i < 10; i++)
        one_pass(fixture);
    assert_int_equal(loop_counters(fixture->loop)->passes - passes, 10);
    assert_int_equal(greedy.fired, 10);
    timer_cancel(fixture->loop, &greedy.timer);
    for (size_t i = 0; i < ARRAY_LENGTH(far); i++)
        timer_cancel(fixture->loop, &far[i].timer);
    close(peer);
}

struct stopping_timer {
    struct timer timer;
    struct fixture *fixture;
    uint64_t now_ns;
};

static void note_and_stop(struct timer *timer) {
    struct stopping_timer *stopping = CONTAINER_OF(timer, struct stopping_timer, timer);
    stopping->now_ns = loop_now_ns(stopping->fixture->loop);
    loop_stop(stopping->fixture->loop);
}

/* A loop with one timer sleeps until it is due, whether it polls at the end or not, and the number
 * of passes tells that it slept. */
static void test_sleep_until_due(struct fixture *fixture) {
    for (int spins = 0; spins < 2; spins++) {
        reopen_loop(fixture, &(struct loop_config){.spin_ns = spins ? 2 * NS_PER_MS : 0});
        struct stopping_timer stopping = {.timer.on_due = note_and_stop, .fixture = fixture};
        uint64_t due_ns = clock_now_ns() + 30 * NS_PER_MS;
        timer_set(fixture->loop, &stopping.timer, due_ns);
        run_to_stop(fixture);
        assert_true(stopping.now_ns >= due_ns);
        if (!spins && !fixture->info.spins)
            assert_in_range(loop_counters(fixture->loop)->passes, 1, 20);
        assert_int_equal(loop_counters(fixture->loop)->timers_fired, 1);
    }
}

/* ---- posts ----------------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS = 10000 };

struct numbered_post {
    struct post post;
    struct poster *poster;
    int number;
};

struct poster {
    pthread_t thread;
    struct loop *loop;
    int *left; /* of all posters; the loop's thread */
    int next;  /* number expected; the loop's thread */
    bool disorder;
    struct numbered_post posts[POSTS];
};

static void check_number(struct post *post) {
    struct numbered_post *numbered = CONTAINER_OF(post, struct numbered_post, post);
    struct poster *poster = numbered->poster;
    if (numbered->number != poster->next++)
        poster->disorder = true;
    memset(post, 0xff, sizeof *post); /* the memory is ours again */
    if (--*poster->left == 0)
        loop_stop(poster->loop);
}

static void *post_all(void *data) {
    struct poster *poster = data;
    for (int i = 0; i < POSTS; i++) {
        poster->posts[i] =
            (struct numbered_post){.post.run = check_number, .poster = poster, .number = i};
        loop_post(poster->loop, &poster->posts[i].post);
    }
    return NULL;
}

static void test_posts_from_threads(struct fixture *fixture) {
    struct poster *posters = calloc(POSTERS, sizeof *posters);
    assert_non_null(posters);
    int left = POSTERS * POSTS;
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = fixture->loop;
        posters[i].left = &left;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    run_to_stop(fixture);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_int_equal(posters[i].next, POSTS);
        assert_false(posters[i].disorder);
    }
    assert_int_equal(loop_counters(fixture->loop)->posts, POSTERS * POSTS);
    settle(fixture);
    free(posters);
}

/* Post, wait until it ran, post again: the loop is asleep or about to be each time. */
struct ping {
    struct post post;
    struct loop *loop;
    sem_t ran;
    int count;
};

enum { PINGS = 2000 };

static void answer_ping(struct post *post) {
    struct ping *ping = CONTAINER_OF(post, struct ping, post);
    ping->count++;
    sem_post(&ping->ran);
}

static void *ping_loop(void *data) {
    struct ping *ping = data;
    for (int i = 0; i < PINGS; i++) {
        loop_post(ping->loop, &ping->post);
        while (sem_wait(&ping->ran))
            ;
    }
    loop_stop(ping->loop);
    return NULL;
}

static void test_posts_wake(struct fixture *fixture) {
    pthread_t thread;
    struct ping ping = {.post.run = answer_ping, .loop = fixture->loop};
    sem_init(&ping.ran, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, ping_loop, &ping), 0);
    run_to_stop(fixture);
    pthread_join(thread, NULL);
    sem_destroy(&ping.ran);
    assert_int_equal(ping.count, PINGS);
    const struct loop_counters *counters = loop_counters(fixture->loop);
    assert_true(counters->wakes <= counters->sleeps);
}

struct chain {
    struct post post;
    struct fixture *fixture;
    int count;
};

static void post_again(struct post *post) {
    struct chain *chain = CONTAINER_OF(post, struct chain, post);
    assert_false(chain->fixture->in_call);
    if (++chain->count < 10)
        IN_CALL(chain->fixture, loop_post(chain->fixture->loop, post));
}

/* From the loop's own thread, before the loop runs and from a post: one link a pass. */
static void test_post_from_post(struct fixture *fixture) {
    struct chain chain = {.post.run = post_again, .fixture = fixture};
    IN_CALL(fixture, loop_post(fixture->loop, &chain.post));
    for (int i = 1; i <= 10; i++) {
        one_pass(fixture);
        assert_int_equal(chain.count, i);
    }
    settle(fixture);
    assert_int_equal(chain.count, 10);
}

/* ---- stopping -------------------------------------------------------------------------------- */

struct stopping_thread {
    struct timer timer;
    struct loop *loop;
    sem_t running;
    pthread_t main_thread;
};

static void say_running(struct timer *timer) {
    sem_post(&CONTAINER_OF(timer, struct stopping_thread, timer)->running);
}

static void *stop_when_running(void *data) {
    struct stopping_thread *stopping = data;
    while (sem_wait(&stopping->running))
        ;
    loop_stop(stopping->loop);
    return NULL;
}

static void test_stop_from_thread(struct fixture *fixture) {
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        struct stopping_thread stopping = {.timer.on_due = say_running, .loop = fixture->loop};
        sem_init(&stopping.running, 0, 0);
        timer_set(fixture->loop, &stopping.timer, 1);
        assert_int_equal(pthread_create(&thread, NULL, stop_when_running, &stopping), 0);
        run_to_stop(fixture);
        pthread_join(thread, NULL);
        sem_destroy(&stopping.running);
    }
}

static void test_stop_before_run(struct fixture *fixture) {
    struct stopping_timer stopping = {.timer.on_due = note_and_stop, .fixture = fixture};
    loop_stop(fixture->loop);
    loop_stop(fixture->loop);
    run_to_stop(fixture);
    assert_int_equal(loop_counters(fixture->loop)->passes, 1);
    /* It holds for one run. */
    uint64_t due_ns = clock_now_ns() + 5 * NS_PER_MS;
    timer_set(fixture->loop, &stopping.timer, due_ns);
    run_to_stop(fixture);
    assert_true(stopping.now_ns >= due_ns);
}

static void nothing(int number) {
    (void)number;
}

static void *interrupt(void *data) {
    struct stopping_thread *stopping = data;
    while (sem_wait(&stopping->running))
        ;
    for (int i = 0; i < 20; i++) {
        pthread_kill(stopping->main_thread, SIGUSR1);
        sched_yield();
    }
    loop_stop(stopping->loop);
    return NULL;
}

/* A signal that interrupts the wait is no error and ends no run. */
static void test_interrupted_wait(struct fixture *fixture) {
    pthread_t thread;
    struct sigaction action = {.sa_handler = nothing};
    struct stopping_thread stopping = {.timer.on_due = say_running,
                                       .loop = fixture->loop,
                                       .main_thread = pthread_self()};
    sigaction(SIGUSR1, &action, NULL);
    sem_init(&stopping.running, 0, 0);
    timer_set(fixture->loop, &stopping.timer, 1);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &stopping), 0);
    run_to_stop(fixture);
    pthread_join(thread, NULL);
    sem_destroy(&stopping.running);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"1,000 timers in order, never early", test_many_timers, false},
        {"set, move and cancel in a timer's own callback", test_timer_in_own_callback, false},
        {"a timer that is always due", test_past_timer, false},
        {"sleep until a timer is due", test_sleep_until_due, false},
        {"posts from 4 threads", test_posts_from_threads, false},
        {"posts wake a sleeping loop", test_posts_wake, false},
        {"a post that posts itself", test_post_from_post, false},
        {"stop from another thread", test_stop_from_thread, false},
        {"stop before run", test_stop_before_run, false},
        {"a signal interrupts the wait", test_interrupted_wait, false},
    };
    return conformance_main("timers and posts", cases, ARRAY_LENGTH(cases));
}
