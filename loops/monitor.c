/* monitor.c: see monitor.h.
 *
 * The lag timer is the kernel's (timerfd), which the loop watches. As one of the loop's own it
 * would bound each wait, and to arm and cancel that for every sleep takes more than all else here.
 *
 * Clock reads are what monitors cost, so there is one at the end of each callback or of each part
 * of a pass, never at both ends, and it is of ticks. The thread's CPU time is a system call: it is
 * read every now and then, and at the end of a slow callback, which has then used no more than the
 * difference. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backend.h"

const char *const callback_kind_names[CALLBACK_KINDS] = {
    [CALLBACK_OPEN] = "open",   [CALLBACK_DATA] = "data",   [CALLBACK_SENT] = "sent",
    [CALLBACK_EOF] = "eof",     [CALLBACK_CLOSE] = "close", [CALLBACK_TIMER] = "timer",
    [CALLBACK_WATCH] = "watch", [CALLBACK_POST] = "post",
};

enum { CPU_READS_PER_LIMIT = 16 };
#define ADJUST_NS (10 * NS_PER_MS) /* so often the length of a tick is measured again */

/* As struct pass_times. */
struct pass_ticks {
    uint64_t timers, waiting, io, posts;
};

/* What the thread had of a CPU up to some time. */
struct usage {
    uint64_t at_ns;
    uint64_t cpu_ns, queued_ns;
};

struct steal {
    uint64_t at_ns;
    int cpu; /* -1: not known */
    int64_t stolen_ns;
};

struct monitor {
    struct loop *loop;
    struct monitor_config config;
    struct monitor_events events;
    void *data;
    struct monitor_totals totals;

    /* callbacks, besides loop->callbacks */
    uint64_t cpu_ns;
    struct steal steal; /* the tick has its own, or each would hide from the other what it saw */

    /* the pass that runs */
    struct pass_ticks pass;
    uint64_t part;  /* where its latest part ended, in ticks */
    uint64_t read;  /* the latest of its looks at the ticks; before `part` if they went back */
    bool pass_lost; /* a part of it is not known: it is not told */
    uint64_t posts; /* of the counter, before */
    bool has_rest;  /* something was put off to its end */
    uint64_t adjusted, adjust_ticks; /* when, and how often */

    /* the lag timer */
    struct watch tick; /* fd -1: there is none */
    uint64_t due_ns;   /* of the tick that comes next */
    struct usage usage;
    struct steal tick_steal;
    int schedstat_fd; /* opened by the loop's thread, whose it is; -1: not there */
    bool schedstat_tried;
};

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* ---- what the kernel says of the thread ------------------------------------------------------ */

static uint64_t thread_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

/* The second number of schedstat(5): ns runnable without running. */
static uint64_t thread_queued_ns(struct monitor *monitor) {
    char text[96];
    unsigned long long queued_ns = 0;
    if (!monitor->schedstat_tried) {
        monitor->schedstat_tried = true;
        monitor->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    }
    ssize_t n =
        monitor->schedstat_fd < 0 ? -1 : pread(monitor->schedstat_fd, text, sizeof text - 1, 0);
    if (n > 0) {
        text[n] = '\0';
        if (sscanf(text, "%*u %llu", &queued_ns) != 1)
            queued_ns = 0;
    }
    return queued_ns;
}

/* The eighth time of the line of that CPU in /proc/stat, in ticks; -1 when it does not say. */
static int64_t stolen_ticks(int cpu) {
    char line[256];
    int64_t stolen = -1;
    FILE *stat = fopen("/proc/stat", "re");
    while (stolen < 0 && stat && fgets(line, sizeof line, stat)) {
        int number;
        long long ticks;
        if (sscanf(line, "cpu%d %*u %*u %*u %*u %*u %*u %*u %lld", &number, &ticks) == 2 &&
            number == cpu)
            stolen = ticks;
    }
    if (stat)
        fclose(stat);
    return stolen;
}

/* Since it was read last; -1: not known. */
static int64_t stolen_since(const struct steal *before, const struct steal *now) {
    bool known = now->cpu >= 0 && now->cpu == before->cpu;
    return known ? now->stolen_ns - before->stolen_ns : -1;
}

static struct steal read_steal(uint64_t now_ns) {
    int cpu = sched_getcpu();
    int64_t ticks = cpu < 0 ? -1 : stolen_ticks(cpu);
    return (struct steal){.at_ns = now_ns,
                          .cpu = ticks < 0 ? -1 : cpu,
                          .stolen_ns = ticks * ((int64_t)NS_PER_S / sysconf(_SC_CLK_TCK))};
}

/* ---- lag and saturation ---------------------------------------------------------------------- */

/* An interval after that time, and then once an interval. */
static void set_tick(struct monitor *monitor, uint64_t begun_ns) {
    monitor->due_ns = begun_ns + monitor->config.interval_ns;
    struct itimerspec times = {.it_value = clock_timespec(monitor->due_ns),
                               .it_interval = clock_timespec(monitor->config.interval_ns)};
    CHECK(timerfd_settime(monitor->tick.fd, TFD_TIMER_ABSTIME, &times, NULL) == 0);
}

static void read_usage(struct monitor *monitor, uint64_t now_ns) {
    monitor->usage = (struct usage){
        .at_ns = now_ns, .cpu_ns = thread_cpu_ns(), .queued_ns = thread_queued_ns(monitor)};
}

static void judge_interval(struct monitor *monitor, uint64_t now_ns, uint64_t late_ns) {
    struct usage before = monitor->usage;
    struct steal steal_before = monitor->tick_steal;
    uint64_t interval_ns = monitor->config.interval_ns;
    read_usage(monitor, now_ns);
    bool saturated = before.at_ns > 0 && 2 * late_ns > interval_ns;
    if (saturated || now_ns - steal_before.at_ns >= MONITOR_STEAL_NS)
        monitor->tick_steal = read_steal(now_ns);
    if (!saturated)
        return;
    struct saturation saturation = {
        .interval_ns = interval_ns,
        .actual_ns = interval_ns + late_ns,
        .span_ns = now_ns - before.at_ns,
        .cpu_ns = monitor->usage.cpu_ns - before.cpu_ns,
        .queued_ns = monitor->usage.queued_ns - before.queued_ns,
        .stolen_ns = stolen_since(&steal_before, &monitor->tick_steal)};
    monitor->totals.saturations++;
    monitor->events.on_saturation(monitor->data, &saturation);
}

/* The real time, not that of the pass: callbacks may have run since. */
static void ticked(struct watch *tick, unsigned ready) {
    (void)ready;
    struct monitor *monitor = CONTAINER_OF(tick, struct monitor, tick);
    uint64_t expirations, interval_ns = monitor->config.interval_ns;
    if (read(tick->fd, &expirations, sizeof expirations) != sizeof expirations)
        return; /* it was set anew since it was ready */
    /* After the read, or one that is due in between would be told with the next, an interval late.
     */
    uint64_t now_ns = clock_now_ns();
    uint64_t late_ns = now_ns > monitor->due_ns ? now_ns - monitor->due_ns : 0;
    for (; monitor->due_ns <= now_ns; monitor->due_ns += interval_ns) {
        monitor->totals.lags++;
        if (monitor->events.on_lag)
            monitor->events.on_lag(monitor->data, now_ns - monitor->due_ns);
    }
    if (monitor->events.on_saturation)
        judge_interval(monitor, now_ns, late_ns);
}

static int open_tick(struct monitor *monitor) {
    monitor->tick = (struct watch){
        .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), .on_ready = ticked};
    if (monitor->tick.fd < 0)
        return -errno;
    set_tick(monitor, clock_now_ns());
    return watch_set(monitor->loop, &monitor->tick, WATCH_READ);
}

static void close_tick(struct monitor *monitor) {
    if (monitor->tick.fd < 0)
        return;
    watch_set(monitor->loop, &monitor->tick, 0);
    close(monitor->tick.fd);
}

/* ---- ticks ----------------------------------------------------------------------------------- */

static uint64_t now(const struct loop *loop) {
    return ticks_now(&loop->ticks);
}

static void set_limits(struct monitor *monitor) {
    struct loop *loop = monitor->loop;
    monitor->adjusted = now(loop);
    monitor->adjust_ticks = ticks_within_ns(&loop->ticks, ADJUST_NS);
    loop->callbacks.slow = ticks_within_ns(&loop->ticks, monitor->config.slow_callback_ns);
}

/* The counter has jumped, so what began before has no length that could be told. */
static void begin_anew(struct monitor *monitor) {
    struct loop *loop = monitor->loop;
    struct callback_times *times = &loop->callbacks;
    uint64_t at = now(loop);
    monitor->part = monitor->read = loop->entered_ticks = at;
    monitor->pass_lost = true;
    times->mark = at;
    times->own = 0;
    times->lost = times->depth > 0;
    times->look = 0; /* at the end of each of them, then */
    trace_begins_anew(loop, at);
}

bool monitor_adjusts(struct loop *loop) {
    bool known = ticks_adjust(&loop->ticks);
    if (!known)
        begin_anew(loop->monitor);
    set_limits(loop->monitor);
    return known;
}

/* Also when the counter has gone back. */
static bool adjusting_is_due(const struct monitor *monitor, uint64_t at) {
    return at - monitor->adjusted > monitor->adjust_ticks;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static void read_cpu(struct monitor *monitor) {
    struct callback_times *times = &monitor->loop->callbacks;
    monitor->cpu_ns = thread_cpu_ns();
    times->mark = now(monitor->loop);
    times->look = times->mark + times->slow / CPU_READS_PER_LIMIT;
}

static void report_slow(struct monitor *monitor, enum callback_kind kind, void (*function)(void),
                        uint64_t wall_ns) {
    uint64_t used_ns = thread_cpu_ns() - monitor->cpu_ns, now_ns = clock_now_ns();
    struct steal before = monitor->steal;
    monitor->steal = read_steal(now_ns);
    bool recent = before.at_ns + MONITOR_STEAL_NS >= now_ns - wall_ns;
    struct slow_callback callback = {.kind = kind,
                                     .function = function,
                                     .wall_ns = wall_ns,
                                     .cpu_ns = used_ns < wall_ns ? used_ns : wall_ns,
                                     .stolen_ns =
                                         recent ? stolen_since(&before, &monitor->steal) : -1};
    monitor->totals.slow_callbacks++;
    monitor->events.on_slow_callback(monitor->data, &callback);
    monitor->loop->callbacks.mark = now(monitor->loop);
}

static void read_cpu_in_time(struct monitor *monitor, uint64_t at) {
    if (at < monitor->loop->callbacks.look && !adjusting_is_due(monitor, at))
        return;
    uint64_t now_ns = clock_now_ns();
    if (now_ns - monitor->steal.at_ns >= MONITOR_STEAL_NS)
        monitor->steal = read_steal(now_ns);
    monitor_adjusts(monitor->loop);
    read_cpu(monitor);
}

void monitor_looks(struct loop *loop, enum callback_kind kind, void (*function)(void), uint64_t own,
                   uint64_t at) {
    struct monitor *monitor = loop->callback_monitor;
    struct callback_times *times = &loop->callbacks;
    bool slow = own >= times->slow;
    bool known = !slow || monitor_adjusts(loop);
    if (!known || times->lost)
        own = 0;
    callback_counts(times, own);
    uint64_t wall_ns = ticks_to_ns(&loop->ticks, own);
    if (slow && wall_ns >= monitor->config.slow_callback_ns)
        report_slow(monitor, kind, function, wall_ns);
    if (times->depth > 0)
        return;
    times->lost = false;
    read_cpu_in_time(monitor, at);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static uint64_t end_part(struct monitor *monitor, uint64_t at) {
    uint64_t length = at > monitor->part ? at - monitor->part : 0;
    monitor->part = most(monitor->part, at);
    monitor->read = at;
    return length;
}

/* Time between two runs is nobody's. */
void monitor_run_begins(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    monitor->part = loop_entered_ticks(loop);
    monitor->pass = (struct pass_ticks){0};
    if (monitor->tick.fd >= 0)
        set_tick(monitor, loop->now_ns);
    if (monitor->events.on_saturation) {
        read_usage(monitor, loop->now_ns);
        monitor->tick_steal = read_steal(loop->now_ns);
    }
    read_cpu(monitor); /* last: what this took is not the first callback's */
}

void monitor_timers_ran(struct loop *loop) {
    struct monitor *monitor = loop->pass_monitor;
    if (monitor->events.on_pass)
        monitor->pass.timers = end_part(monitor, now(loop));
}

/* The wait has ended, and the callbacks of streams and watches have run. */
void monitor_io_ran(struct loop *loop) {
    struct monitor *monitor = loop->pass_monitor;
    monitor->posts = loop->counters.posts;
    monitor->has_rest = loop->sent || loop->closing || loop->closing_listeners;
    if (!monitor->events.on_pass)
        return;
    monitor->pass.waiting = end_part(monitor, loop_entered_ticks(loop));
    monitor->pass.io = end_part(monitor, now(loop));
    loop->callbacks.mark = monitor->part;
}

static void keep_most(struct pass_times *into, const struct pass_times *pass) {
    into->timers_ns = most(into->timers_ns, pass->timers_ns);
    into->waiting_ns = most(into->waiting_ns, pass->waiting_ns);
    into->io_ns = most(into->io_ns, pass->io_ns);
    into->posts_ns = most(into->posts_ns, pass->posts_ns);
}

static void count_pass(struct monitor *monitor, const struct pass_times *pass) {
    struct monitor_totals *totals = &monitor->totals;
    totals->passes++;
    totals->sum.timers_ns += pass->timers_ns;
    totals->sum.waiting_ns += pass->waiting_ns;
    totals->sum.io_ns += pass->io_ns;
    totals->sum.posts_ns += pass->posts_ns;
    keep_most(&totals->most, pass);
    totals->pass_length_most_ns = most(totals->pass_length_most_ns, pass_length_ns(pass));
}

/* Most passes have no timer and no post. */
static uint64_t part_ns(const struct ticks *ticks, uint64_t number) {
    return number == 0 ? 0 : ticks_to_ns(ticks, number);
}

static void tell_pass(struct monitor *monitor) {
    struct loop *loop = monitor->loop;
    const struct pass_ticks *pass = &monitor->pass;
    if (adjusting_is_due(monitor, monitor->read))
        monitor_adjusts(loop);
    struct pass_times times = {.timers_ns = part_ns(&loop->ticks, pass->timers),
                               .waiting_ns = part_ns(&loop->ticks, pass->waiting),
                               .io_ns = part_ns(&loop->ticks, pass->io),
                               .posts_ns = part_ns(&loop->ticks, pass->posts)};
    bool lost = monitor->pass_lost;
    monitor->pass = (struct pass_ticks){0};
    monitor->pass_lost = false;
    if (lost)
        return;
    count_pass(monitor, &times);
    monitor->events.on_pass(monitor->data, &times);
}

/* Most passes end with nothing left to do, and then need no further look at the clock. */
void monitor_pass_ends(struct loop *loop) {
    struct monitor *monitor = loop->pass_monitor;
    if (monitor->has_rest || loop->counters.posts != monitor->posts) {
        loop->callbacks.mark = now(loop);
        if (monitor->events.on_pass)
            monitor->pass.posts = end_part(monitor, loop->callbacks.mark);
    }
    if (loop->callback_monitor) /* it may have polled, without a callback */
        read_cpu_in_time(monitor, loop_entered_ticks(loop));
    if (monitor->events.on_pass)
        tell_pass(monitor);
}

/* ---- on and off ------------------------------------------------------------------------------ */

static void turn_off(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    trace_close(loop);
    loop->monitor = loop->pass_monitor = loop->callback_monitor = NULL;
    loop->times_entry = false;
    loop->callbacks = (struct callback_times){0};
    if (!monitor)
        return;
    close_tick(monitor);
    if (monitor->schedstat_fd >= 0)
        close(monitor->schedstat_fd);
    free(monitor);
}

static int read_config(struct monitor_config *config, const struct monitor_config *given) {
    *config = given ? *given : (struct monitor_config){0};
    if (config->interval_ns == 0)
        config->interval_ns = MONITOR_INTERVAL_NS;
    if (config->slow_callback_ns == 0)
        config->slow_callback_ns = MONITOR_SLOW_CALLBACK_NS;
    bool possible = config->interval_ns >= MONITOR_INTERVAL_LEAST_NS &&
                    config->slow_callback_ns >= MONITOR_SLOW_CALLBACK_LEAST_NS;
    return possible ? 0 : -EINVAL;
}

static int turn_on(struct loop *loop, const struct monitor_config *config,
                   const struct monitor_events *events, void *data) {
    struct monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor)
        return -ENOMEM;
    monitor->loop = loop;
    monitor->config = *config;
    monitor->events = *events;
    monitor->data = data;
    monitor->tick.fd = monitor->schedstat_fd = -1;
    set_limits(monitor);
    read_cpu(monitor);
    /* Within a pass, what comes of it begins now. */
    loop->entered_known = true;
    loop->entered_ticks = monitor->part = loop->callbacks.mark;
    loop->monitor = monitor;
    loop->callback_monitor = events->on_slow_callback ? monitor : NULL;
    loop->pass_monitor = events->on_slow_callback || events->on_pass ? monitor : NULL;
    loop->times_entry = loop->pass_monitor || loop->trace;
    return events->on_lag || events->on_saturation ? open_tick(monitor) : 0;
}

int loop_monitor(struct loop *loop, const struct monitor_config *given,
                 const struct monitor_events *events, void *data) {
    struct monitor_config config;
    turn_off(loop);
    if (!events)
        return 0;
    int failure = read_config(&config, given);
    if (failure == 0)
        ticks_open(&loop->ticks);
    if (failure == 0 && events->on_slow_task)
        failure = trace_open(loop, &config, events, data);
    if (failure == 0)
        failure = turn_on(loop, &config, events, data);
    if (failure)
        turn_off(loop);
    return failure;
}

const struct monitor_totals *loop_monitor_totals(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    if (!monitor)
        return NULL;
    monitor_adjusts(loop);
    monitor->totals.callbacks = loop->callbacks.count;
    monitor->totals.callbacks_ns = ticks_to_ns(&loop->ticks, loop->callbacks.sum);
    monitor->totals.callback_most_ns = ticks_to_ns(&loop->ticks, loop->callbacks.most);
    return &monitor->totals;
}
