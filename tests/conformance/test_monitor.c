/* test_monitor.c: what monitors tell of a loop whose stalls are known, because the test makes them.
 *
 * A stall is work or a sleep of known length, so what must be told has a lower bound. Upper bounds
 * would be promises about the machine and are left to tests/accuracy. */
#include "conformance.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "loops/monitor.h"
#include "loops/symbol.h"

enum { SLOW_MOST = 64 };
#define SLOW_NS (10 * NS_PER_MS)

struct seen {
    struct fixture *fixture;
    uint64_t lags, lag_most_ns;
    uint64_t interval_ns; /* if it counts late ticks */
    uint64_t last_lag_ns, late_ticks;
    uint64_t saturations, saturated_cpu_ns, saturated_queued_ns;
    struct saturation saturation; /* the one whose interval was longest */
    int slow_count;
    struct slow_callback slow[SLOW_MOST];
    uint64_t passes, pass_sum_ns; /* of all parts */
    int task_count;
    struct traced_task tasks[SLOW_MOST];
};

static void see_lag(void *data, uint64_t lag_ns) {
    struct seen *seen = data;
    /* Those of one tick come an interval apart, the longest first. */
    bool same_tick = lag_ns + seen->interval_ns == seen->last_lag_ns;
    seen->late_ticks += !same_tick && 2 * lag_ns > seen->interval_ns;
    seen->last_lag_ns = lag_ns;
    seen->lags++;
    if (lag_ns > seen->lag_most_ns)
        seen->lag_most_ns = lag_ns;
}

static void see_saturation(void *data, const struct saturation *saturation) {
    struct seen *seen = data;
    seen->saturations++;
    seen->saturated_cpu_ns += saturation->cpu_ns;
    seen->saturated_queued_ns += saturation->queued_ns;
    if (saturation->actual_ns > seen->saturation.actual_ns)
        seen->saturation = *saturation;
}

static void see_slow(void *data, const struct slow_callback *callback) {
    struct seen *seen = data;
    if (seen->slow_count < SLOW_MOST)
        seen->slow[seen->slow_count++] = *callback;
}

static void see_pass(void *data, const struct pass_times *pass) {
    struct seen *seen = data;
    seen->passes++;
    seen->pass_sum_ns += pass->timers_ns + pass->waiting_ns + pass->io_ns + pass->posts_ns;
}

static void see_task(void *data, const struct traced_task *task) {
    struct seen *seen = data;
    if (seen->task_count < SLOW_MOST)
        seen->tasks[seen->task_count++] = *task;
}

static const struct monitor_events all_events = {
    .on_lag = see_lag,
    .on_saturation = see_saturation,
    .on_slow_callback = see_slow,
    .on_pass = see_pass,
    .on_slow_task = see_task,
};

static void monitor(struct seen *seen, const struct monitor_config *config,
                    const struct monitor_events *events) {
    assert_int_equal(loop_monitor(seen->fixture->loop, config, events, seen), 0);
}

/* The slow callbacks of that name. */
static int count_slow(const struct seen *seen, enum callback_kind kind, const char *name,
                      const struct slow_callback **last) {
    int count = 0;
    for (int i = 0; i < seen->slow_count; i++) {
        char text[SYMBOL_TEXT_BYTES];
        symbol_name(seen->slow[i].function, text);
        if (seen->slow[i].kind != kind || strcmp(text, name) != 0)
            continue;
        count++;
        if (last)
            *last = &seen->slow[i];
    }
    return count;
}

/* ---- stalls ---------------------------------------------------------------------------------- */

static uint64_t thread_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

/* At least so much CPU time, and so much by the other clock, whose speed may be another. */
static void work(uint64_t ns) {
    uint64_t cpu_end_ns = thread_cpu_ns() + ns, end_ns = clock_now_ns() + ns;
    while (thread_cpu_ns() < cpu_end_ns || clock_now_ns() < end_ns)
        ;
}

static void sleep_for(uint64_t ns) {
    struct timespec left = clock_timespec(ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left))
        ;
}

enum { STALLS = 4 };

struct stall {
    uint64_t ms;
    void (*take)(uint64_t ns);
};

/* Four callbacks that each stall the loop once, and an end that leaves it time to notice. */
struct staller {
    struct fixture *fixture;
    struct stall stalls[STALLS];
    int done;
    struct timer timer, end;
    struct post post;
    struct watch watch;
    int peer, pipe[2];
};

static void stop_loop(struct timer *end) {
    loop_stop(CONTAINER_OF(end, struct staller, end)->fixture->loop);
}

static void take_stall(struct staller *staller) {
    const struct stall *stall = &staller->stalls[staller->done++];
    stall->take(stall->ms * NS_PER_MS);
    if (staller->done == STALLS)
        timer_set(staller->fixture->loop, &staller->end, clock_now_ns() + 10 * NS_PER_MS);
}

static void stall_in_post(struct post *post) {
    take_stall(CONTAINER_OF(post, struct staller, post));
}

static void stall_in_watch(struct watch *watch, unsigned events) {
    (void)events;
    struct staller *staller = CONTAINER_OF(watch, struct staller, watch);
    watch_set(watch->loop, watch, 0);
    take_stall(staller);
    loop_post(staller->fixture->loop, &staller->post);
}

static void stall_in_timer(struct timer *timer) {
    struct staller *staller = CONTAINER_OF(timer, struct staller, timer);
    take_stall(staller);
    assert_int_equal(watch_set(staller->fixture->loop, &staller->watch, WATCH_READ), 0);
}

static void stall_in_data(struct probe *probe, char event) {
    struct staller *staller = probe->test;
    if (event != 'd')
        return;
    take_stall(staller);
    timer_set(staller->fixture->loop, &staller->timer, 1);
}

static const struct {
    enum callback_kind kind;
    const char *name;
} stalling[STALLS] = {
    {CALLBACK_DATA, "probe_data"},
    {CALLBACK_TIMER, "stall_in_timer"},
    {CALLBACK_WATCH, "stall_in_watch"},
    {CALLBACK_POST, "stall_in_post"},
};

/* One after another, each begun by the one before, in the order of `stalling`. */
static void run_stalls(struct staller *staller, struct fixture *fixture,
                       const struct stall stalls[STALLS]) {
    uint8_t byte = pattern_byte(0);
    struct probe *probe = new_probe(fixture);
    *staller = (struct staller){.fixture = fixture,
                                .timer.on_due = stall_in_timer,
                                .end.on_due = stop_loop,
                                .post.run = stall_in_post};
    memcpy(staller->stalls, stalls, sizeof staller->stalls);
    staller->peer = accepted_pair(probe);
    probe->test = staller;
    probe->react = stall_in_data;
    assert_int_equal(pipe(staller->pipe), 0);
    assert_int_equal(write(staller->pipe[1], "x", 1), 1);
    staller->watch = (struct watch){.fd = staller->pipe[0], .on_ready = stall_in_watch};
    peer_send_all(fixture, staller->peer, &byte, 1);
    run_to_stop(fixture);
    assert_int_equal(staller->done, STALLS);
    close(staller->peer);
    close(staller->pipe[0]);
    close(staller->pipe[1]);
}

/* ---- stalls of known length ------------------------------------------------------------------ */

/* Within what the run took and used: no time is given to two callbacks, none that was slept away is
 * told as CPU time, and no work is forgotten. */
static void check_slow(const struct seen *seen, const struct stall stalls[STALLS],
                       uint64_t around_ns, uint64_t used_ns) {
    uint64_t wall_ns = 0, cpu_ns = 0;
    for (int i = 0; i < seen->slow_count; i++) {
        wall_ns += seen->slow[i].wall_ns;
        cpu_ns += seen->slow[i].cpu_ns;
    }
    assert_true(wall_ns <= around_ns);
    assert_true(cpu_ns <= used_ns + (uint64_t)seen->slow_count * SLOW_NS / 16);
    for (int i = 0; i < STALLS; i++) {
        const struct slow_callback *slow = NULL;
        uint64_t stall_ns = stalls[i].ms * NS_PER_MS;
        assert_int_equal(count_slow(seen, stalling[i].kind, stalling[i].name, &slow), 1);
        assert_true(slow->wall_ns >= stall_ns);
        assert_true(slow->cpu_ns <= slow->wall_ns);
        assert_true(slow->cpu_ns <= used_ns);
        assert_true(slow->stolen_ns >= -1);
        if (stalls[i].take == work)
            assert_true(slow->cpu_ns >= stall_ns);
    }
}

/* A tick that should come during a stall comes after it, an interval into it at the latest. */
static void check_lag(const struct seen *seen, const struct stall stalls[STALLS],
                      uint64_t interval_ns) {
    uint64_t sum_ns = 0, most_ns = 0;
    for (int i = 0; i < STALLS; i++) {
        uint64_t stall_ns = stalls[i].ms * NS_PER_MS;
        sum_ns += stall_ns;
        most_ns = stall_ns > most_ns ? stall_ns : most_ns;
    }
    assert_true(seen->lag_most_ns >= most_ns - interval_ns);
    assert_true(seen->lags >= sum_ns / interval_ns);
    assert_true(seen->saturations >= 1);
    assert_int_equal(seen->saturations, seen->late_ticks);
    if (stalls[0].take == work) /* all of them are; each is in one of the spans */
        assert_true(seen->saturated_cpu_ns >= sum_ns);
    assert_int_equal(seen->saturation.interval_ns, interval_ns);
    assert_true(seen->saturation.actual_ns >= most_ns);
    assert_true(seen->saturation.span_ns >= most_ns);
    assert_true(seen->saturation.cpu_ns <= seen->saturation.span_ns * 101 / 100);
}

static void stall_with_monitors(struct fixture *fixture, const struct stall stalls[STALLS]) {
    struct monitor_config config = {.interval_ns = 5 * NS_PER_MS,
                                    .slow_callback_ns = SLOW_NS};
    struct monitor_events events = {
        .on_lag = see_lag, .on_saturation = see_saturation, .on_slow_callback = see_slow};
    struct seen seen = {.fixture = fixture, .interval_ns = config.interval_ns};
    struct staller staller;
    uint64_t begun_ns = clock_now_ns(), cpu_begun_ns = thread_cpu_ns();
    monitor(&seen, &config, &events);
    run_stalls(&staller, fixture, stalls);
    check_slow(&seen, stalls, clock_now_ns() - begun_ns, thread_cpu_ns() - cpu_begun_ns);
    check_lag(&seen, stalls, config.interval_ns);
    const struct monitor_totals *totals = loop_monitor_totals(fixture->loop);
    assert_true(totals->callbacks >= STALLS);
    assert_true(totals->slow_callbacks >= STALLS);
    assert_int_equal(totals->saturations, seen.saturations);
    assert_int_equal(totals->lags, seen.lags);
}

static void test_stalls_slept(struct fixture *fixture) {
    static const struct stall stalls[STALLS] = {
        {600, sleep_for}, {120, sleep_for}, {20, sleep_for}, {120, sleep_for}};
    stall_with_monitors(fixture, stalls);
}

static void test_stalls_worked(struct fixture *fixture) {
    static const struct stall stalls[STALLS] = {{20, work}, {20, work}, {120, work}, {20, work}};
    stall_with_monitors(fixture, stalls);
}

/* ---- a neighbour on the same CPU ------------------------------------------------------------- */

struct neighbour {
    cpu_set_t cpu;
    atomic_bool runs, over;
};

static void *be_busy(void *data) {
    struct neighbour *neighbour = data;
    sched_setaffinity(0, sizeof neighbour->cpu, &neighbour->cpu);
    atomic_store(&neighbour->runs, true);
    while (!atomic_load(&neighbour->over))
        ;
    return NULL;
}

static bool waiting_is_told(void) {
    return access("/proc/thread-self/schedstat", R_OK) == 0;
}

/* What the thread waited for the CPU is not what it slept. */
static void test_neighbour(struct fixture *fixture) {
    static const struct stall stalls[STALLS] = {{100, work}, {20, work}, {20, work}, {20, work}};
    struct monitor_config config = {.interval_ns = 5 * NS_PER_MS};
    struct monitor_events events = {.on_saturation = see_saturation};
    struct seen seen = {.fixture = fixture};
    struct neighbour neighbour = {.runs = false};
    struct staller staller;
    cpu_set_t before;
    pthread_t thread;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&neighbour.cpu);
    CPU_SET((size_t)sched_getcpu(), &neighbour.cpu);
    assert_int_equal(sched_setaffinity(0, sizeof neighbour.cpu, &neighbour.cpu), 0);
    assert_int_equal(pthread_create(&thread, NULL, be_busy, &neighbour), 0);
    while (!atomic_load(&neighbour.runs))
        sched_yield();
    monitor(&seen, &config, &events);
    run_stalls(&staller, fixture, stalls);
    atomic_store(&neighbour.over, true);
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof before, &before);
    if (waiting_is_told())
        assert_true(seen.saturated_queued_ns >= 10 * NS_PER_MS);
    assert_true(seen.saturated_cpu_ns >= 160 * NS_PER_MS);
}

static const struct stall short_stalls[STALLS] = {{5, work}, {5, work}, {5, work}, {5, work}};

/* Under a limit that nothing reaches: silence, whatever the machine does, but everything counted.
 */
static void test_nothing_slow(struct fixture *fixture) {
    struct monitor_config config = {.slow_callback_ns = 3600 * NS_PER_S};
    struct monitor_events events = {.on_slow_callback = see_slow};
    struct seen seen = {.fixture = fixture};
    struct staller staller;
    monitor(&seen, &config, &events);
    run_stalls(&staller, fixture, short_stalls);
    assert_int_equal(seen.slow_count, 0);
    const struct monitor_totals *totals = loop_monitor_totals(fixture->loop);
    assert_true(totals->callbacks >= STALLS);
    assert_true(totals->callback_most_ns >= 5 * NS_PER_MS);
}

struct worker {
    struct post post;
    struct loop *loop;
    int *left;
};

static void work_in_post(struct post *post) {
    struct worker *worker = CONTAINER_OF(post, struct worker, post);
    work(2 * NS_PER_MS);
    if (--*worker->left == 0)
        loop_stop(worker->loop);
}

/* Callbacks of one pass, none of which is slow: each has its own time and not that of others. */
static void test_time_is_shared_out(struct fixture *fixture) {
    enum { WORKERS = 10 };
    struct monitor_config config = {.slow_callback_ns = 3600 * NS_PER_S};
    struct monitor_events events = {.on_slow_callback = see_slow};
    struct seen seen = {.fixture = fixture};
    struct worker workers[WORKERS];
    int left = WORKERS;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){
            .post.run = work_in_post, .loop = fixture->loop, .left = &left};
        loop_post(fixture->loop, &workers[i].post);
    }
    uint64_t begun_ns = clock_now_ns();
    monitor(&seen, &config, &events);
    run_to_stop(fixture);
    uint64_t around_ns = clock_now_ns() - begun_ns;
    const struct monitor_totals *totals = loop_monitor_totals(fixture->loop);
    assert_int_equal(totals->callbacks, WORKERS);
    assert_true(totals->callbacks_ns >= WORKERS * 2 * NS_PER_MS);
    assert_true(totals->callbacks_ns <= around_ns);
}

/* ---- lag ------------------------------------------------------------------------------------- */

struct counted_ticks {
    struct timer timer;
    struct seen *seen;
    uint64_t begun_ns, passed_ns, lags;
};

static void stop_after_ticks(struct timer *timer) {
    struct counted_ticks *counted = CONTAINER_OF(timer, struct counted_ticks, timer);
    struct loop *loop = counted->seen->fixture->loop;
    if (counted->seen->lags >= 5) {
        counted->passed_ns = clock_now_ns() - counted->begun_ns;
        counted->lags = counted->seen->lags;
        loop_stop(loop);
    } else {
        timer_set(loop, timer, clock_now_ns() + NS_PER_MS);
    }
}

/* One lag for each due time and no more: the number of them cannot outrun the clock. */
static void test_ticks_on_a_grid(struct fixture *fixture) {
    uint64_t interval_ns = 2 * NS_PER_MS;
    struct monitor_config config = {.interval_ns = interval_ns};
    struct monitor_events events = {.on_lag = see_lag};
    struct seen seen = {.fixture = fixture};
    struct counted_ticks counted = {
        .timer.on_due = stop_after_ticks, .seen = &seen, .begun_ns = clock_now_ns()};
    monitor(&seen, &config, &events);
    timer_set(fixture->loop, &counted.timer, 1);
    run_to_stop(fixture);
    assert_true(counted.lags * interval_ns <= counted.passed_ns);
    assert_int_equal(loop_monitor_totals(fixture->loop)->lags, seen.lags);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* All parts of all passes make up the run: no less than from its first callback to its last, no
 * more than around it. */
static void test_passes_add_up(struct fixture *fixture) {
    struct monitor_events events = {.on_pass = see_pass};
    struct seen seen = {.fixture = fixture};
    struct staller staller;
    uint64_t stall_ns = 5 * NS_PER_MS, begun_ns = clock_now_ns();
    monitor(&seen, NULL, &events);
    run_stalls(&staller, fixture, short_stalls);
    uint64_t around_ns = clock_now_ns() - begun_ns;
    const struct monitor_totals *totals = loop_monitor_totals(fixture->loop);
    const struct pass_times *sum = &totals->sum;
    assert_int_equal(pass_length_ns(sum) + sum->waiting_ns, seen.pass_sum_ns);
    assert_int_equal(totals->passes, seen.passes);
    assert_true(seen.pass_sum_ns >= STALLS * stall_ns + 10 * NS_PER_MS);
    assert_true(seen.pass_sum_ns <= around_ns);
    /* Each kind of work is in its own part. */
    assert_true(sum->timers_ns >= stall_ns);
    assert_true(sum->io_ns >= 2 * stall_ns);
    assert_true(sum->posts_ns >= stall_ns);
    assert_true(totals->most.timers_ns >= stall_ns);
    assert_true(totals->most.io_ns >= stall_ns);
    assert_true(totals->most.posts_ns >= stall_ns);
    assert_true(totals->pass_length_most_ns >= stall_ns);
}

struct sleeper {
    struct timer timer;
    struct loop *loop;
};

static void stop_sleeping(struct timer *timer) {
    loop_stop(CONTAINER_OF(timer, struct sleeper, timer)->loop);
}

/* Sleeping, or polling, is waiting and nothing else. Tried again when the machine gave the time to
 * others, who may take it anywhere. */
static void test_waiting_is_waiting(struct fixture *fixture) {
    struct monitor_events events = {.on_pass = see_pass};
    struct sleeper sleeper = {.timer.on_due = stop_sleeping, .loop = fixture->loop};
    uint64_t sleep_ns = 30 * NS_PER_MS, waited_ns;
    do {
        struct seen seen = {.fixture = fixture};
        uint64_t begun_ns = clock_now_ns();
        monitor(&seen, NULL, &events);
        timer_set(fixture->loop, &sleeper.timer, begun_ns + sleep_ns);
        run_to_stop(fixture);
        waited_ns = loop_monitor_totals(fixture->loop)->sum.waiting_ns;
        assert_true(waited_ns <= clock_now_ns() - begun_ns);
        monitor(&seen, NULL, NULL);
    } while (waited_ns < sleep_ns / 2);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static void test_tasks(struct fixture *fixture) {
    struct monitor_config config = {.slow_task_ns = 20 * NS_PER_MS, .tasks = 4};
    struct monitor_events events = {.on_slow_task = see_task};
    struct seen seen = {.fixture = fixture};
    struct loop *loop = fixture->loop;
    assert_false(loop_traces(loop));
    assert_int_equal(trace_begin(loop, "off"), 0);
    monitor(&seen, &config, &events);
    assert_true(loop_traces(loop));

    uint32_t slow = trace_begin(loop, "slow");
    trace_step(loop, slow, "queued at pool");
    sleep_for(30 * NS_PER_MS);
    for (int i = 0; i < TRACE_STEPS + 1; i++)
        trace_step(loop, slow, "first byte");
    trace_end(loop, slow, "answered");
    assert_int_equal(seen.task_count, 1);
    const struct traced_task *task = &seen.tasks[0];
    assert_string_equal(task->name, "slow");
    assert_string_equal(task->end, "answered");
    assert_true(task->lasted_ns >= 30 * NS_PER_MS);
    assert_int_equal(task->step_count, TRACE_STEPS + 2);
    assert_string_equal(task->steps[0].name, "queued at pool");
    assert_string_equal(task->steps[TRACE_STEPS - 1].name, "first byte");
    assert_true(task->steps[1].at_ns >= task->steps[0].at_ns + 30 * NS_PER_MS);

    /* The table is full with four; places come back. */
    uint32_t tasks[4];
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(tasks[i] = trace_begin(loop, "held"), 0);
    assert_int_equal(trace_begin(loop, "one too many"), 0);
    trace_step(loop, 0, "nobody's");
    trace_end(loop, 0, "nobody's");
    trace_end(loop, tasks[2], "done");
    assert_int_not_equal(tasks[2] = trace_begin(loop, "again"), 0);
    const struct trace_counts *counts = trace_counts(loop);
    assert_int_equal(counts->begun, 6);
    assert_int_equal(counts->ended, 2);
    assert_int_equal(counts->untraced, 1);
    assert_int_equal(counts->live, 4);
    assert_int_equal(counts->live_most, 4);

    /* What hangs for ever is told at the end. */
    sleep_for(20 * NS_PER_MS);
    seen.task_count = 0;
    monitor(&seen, NULL, NULL);
    assert_int_equal(seen.task_count, 4);
    assert_null(seen.tasks[0].end);
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen.tasks[i].step_count, 0); /* none of who was in the place before */
    trace_end(loop, tasks[0], "after the end of tracing");
    assert_null(trace_counts(loop));
}

/* Whatever clock is asked first: one that lasts as long as the limit is slow. */
static void test_task_at_the_limit(struct fixture *fixture) {
    struct monitor_events events = {.on_slow_task = see_task};
    static const uint64_t limits_ms[] = {1, 50, 100, 101, 150};
    for (size_t i = 0; i < ARRAY_LENGTH(limits_ms); i++) {
        struct monitor_config config = {.slow_task_ns = limits_ms[i] * NS_PER_MS};
        struct seen seen = {.fixture = fixture};
        monitor(&seen, &config, &events);
        one_pass(fixture);
        uint32_t task = trace_begin(fixture->loop, "just slow");
        sleep_for(config.slow_task_ns);
        trace_end(fixture->loop, task, "done");
        assert_int_equal(seen.task_count, 1);
        assert_true(seen.tasks[0].lasted_ns >= config.slow_task_ns);
    }
}

/* A request's time counts from the wake-up that brought it, not from when its turn came. */
struct traced_turn {
    struct post posts[2];
    struct fixture *fixture;
};

static void hold_up(struct post *post) {
    (void)post;
    sleep_for(30 * NS_PER_MS);
}

static void take_turn(struct post *post) {
    struct traced_turn *turn = CONTAINER_OF(post, struct traced_turn, posts[1]);
    struct loop *loop = turn->fixture->loop;
    trace_end(loop, trace_begin(loop, "waited for its turn"), "done");
    loop_stop(loop);
}

static void test_task_waits_for_its_turn(struct fixture *fixture) {
    struct monitor_config config = {.slow_task_ns = 30 * NS_PER_MS};
    struct monitor_events events = {.on_slow_task = see_task};
    struct seen seen = {.fixture = fixture};
    struct traced_turn turn = {.posts = {{.run = hold_up}, {.run = take_turn}},
                               .fixture = fixture};
    monitor(&seen, &config, &events);
    loop_post(fixture->loop, &turn.posts[0]);
    loop_post(fixture->loop, &turn.posts[1]);
    run_to_stop(fixture);
    assert_int_equal(seen.task_count, 1);
}

/* ---- on and off ------------------------------------------------------------------------------ */

struct turned_on {
    struct post posts[2]; /* turns it on; works for long, in the same pass */
    struct seen *seen;
};

static void turn_on(struct post *post) {
    struct seen *seen = CONTAINER_OF(post, struct turned_on, posts[0])->seen;
    struct monitor_config config = {.slow_callback_ns = SLOW_NS};
    struct monitor_events events = {.on_slow_callback = see_slow, .on_pass = see_pass};
    monitor(seen, &config, &events);
}

static void work_after_it(struct post *post) {
    struct seen *seen = CONTAINER_OF(post, struct turned_on, posts[1])->seen;
    work(2 * SLOW_NS);
    loop_stop(seen->fixture->loop);
}

static void test_on_within_a_pass(struct fixture *fixture) {
    struct seen seen = {.fixture = fixture};
    struct turned_on turned = {.posts = {{.run = turn_on}, {.run = work_after_it}}, .seen = &seen};
    loop_post(fixture->loop, &turned.posts[0]);
    loop_post(fixture->loop, &turned.posts[1]);
    run_to_stop(fixture);
    const struct slow_callback *slow = NULL;
    assert_int_equal(count_slow(&seen, CALLBACK_POST, "work_after_it", &slow), 1);
    assert_true(slow->wall_ns >= 2 * SLOW_NS);
    assert_true(loop_monitor_totals(fixture->loop)->sum.posts_ns >= 2 * SLOW_NS);
}

static void turn_off(struct timer *timer) {
    struct sleeper *sleeper = CONTAINER_OF(timer, struct sleeper, timer);
    assert_int_equal(loop_monitor(sleeper->loop, NULL, NULL, NULL), 0);
    loop_stop(sleeper->loop);
}

static void test_on_and_off(struct fixture *fixture) {
    struct seen seen = {.fixture = fixture};
    struct loop *loop = fixture->loop;
    struct monitor_config too_often = {.interval_ns = 1}, too_fast = {.slow_callback_ns = 1};
    assert_int_equal(loop_monitor(loop, &too_often, &all_events, &seen), -EINVAL);
    assert_int_equal(loop_monitor(loop, &too_fast, &all_events, &seen), -EINVAL);
    assert_null(loop_monitor_totals(loop));
    assert_false(loop_traces(loop));

    /* On before and within a run, twice, off in a callback, and off when it is off. */
    struct sleeper sleeper = {.timer.on_due = turn_off, .loop = loop};
    monitor(&seen, NULL, &all_events);
    monitor(&seen, NULL, &all_events);
    timer_set(loop, &sleeper.timer, 1);
    run_to_stop(fixture);
    assert_null(loop_monitor_totals(loop));
    uint64_t passes = seen.passes;
    settle(fixture);
    assert_int_equal(seen.passes, passes);
    monitor(&seen, NULL, NULL);
    /* It may be on when the loop is freed. */
    monitor(&seen, NULL, &all_events);
    settle(fixture);
}

/* The time between two runs is nobody's fault. */
static void test_time_between_runs(struct fixture *fixture) {
    struct monitor_config config = {.interval_ns = 30 * NS_PER_MS,
                                    .slow_callback_ns = 3600 * NS_PER_S};
    struct seen seen = {.fixture = fixture};
    uint64_t inside_ns = 0;
    monitor(&seen, &config, &all_events);
    for (int i = 0; i < 3; i++) {
        sleep_for(40 * NS_PER_MS);
        uint64_t begun_ns = clock_now_ns();
        one_pass(fixture);
        inside_ns += clock_now_ns() - begun_ns;
    }
    assert_int_equal(seen.passes, 3);
    assert_true(seen.pass_sum_ns <= inside_ns);
    if (inside_ns < config.interval_ns) { /* or a tick was due within a pass */
        assert_int_equal(seen.lags, 0);
        assert_int_equal(seen.saturations, 0);
    }
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"stalls slept through are found and named", test_stalls_slept, false},
        {"stalls worked through are found and named", test_stalls_worked, false},
        {"who waits for the CPU does not sleep", test_neighbour, false},
        {"nothing is slow", test_nothing_slow, false},
        {"time is shared out among callbacks", test_time_is_shared_out, false},
        {"ticks lie on a grid", test_ticks_on_a_grid, false},
        {"passes add up to the run", test_passes_add_up, false},
        {"waiting is waiting", test_waiting_is_waiting, false},
        {"tasks are counted, and the slow ones told", test_tasks, false},
        {"a task at the limit is slow", test_task_at_the_limit, false},
        {"a task waits for its turn", test_task_waits_for_its_turn, false},
        {"on within a pass", test_on_within_a_pass, false},
        {"on and off", test_on_and_off, false},
        {"time between runs", test_time_between_runs, false},
    };
    return conformance_main("monitors", cases, ARRAY_LENGTH(cases));
}
