/* monitor.c: see monitor.h.
 *
 * Clock reads are what monitors cost, so there is one at the end of each callback or of each part
 * of a pass, never at both ends. The thread's CPU time is a system call: it is read every now and
 * then, and at the end of a slow callback, which has then used no more than the difference. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend.h"

const char *const callback_kind_names[CALLBACK_KINDS] = {
    [CALLBACK_OPEN] = "open",   [CALLBACK_DATA] = "data",   [CALLBACK_SENT] = "sent",
    [CALLBACK_EOF] = "eof",     [CALLBACK_CLOSE] = "close", [CALLBACK_TIMER] = "timer",
    [CALLBACK_WATCH] = "watch", [CALLBACK_POST] = "post",
};

enum { CPU_READS_PER_LIMIT = 16 };

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

    /* the callback that runs */
    unsigned depth;   /* callbacks that called each other, this one included */
    uint64_t mark_ns; /* up to here time was given to a callback or a part of the pass */
    uint64_t own_ns;  /* of this one, before it called the other that has ended */
    uint64_t cpu_read_ns, cpu_ns;

    /* the pass that runs */
    struct pass_times pass;
    uint64_t part_ns; /* where its latest part ended */
    uint64_t posts;   /* of the counter, before */
    bool has_rest;    /* something was put off to its end */

    /* the lag timer */
    struct timer tick;
    uint64_t due_ns; /* of the tick; 0: it is not known when it should come */
    struct usage usage;
    struct steal steal;
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

static struct steal read_steal(uint64_t now_ns) {
    int cpu = sched_getcpu();
    int64_t ticks = cpu < 0 ? -1 : stolen_ticks(cpu);
    return (struct steal){.at_ns = now_ns,
                          .cpu = ticks < 0 ? -1 : cpu,
                          .stolen_ns = ticks * ((int64_t)NS_PER_S / sysconf(_SC_CLK_TCK))};
}

/* ---- lag and saturation ---------------------------------------------------------------------- */

static void set_tick(struct monitor *monitor, uint64_t due_ns) {
    timer_set(monitor->loop, &monitor->tick, due_ns);
}

static void judge_interval(struct monitor *monitor, uint64_t now_ns, uint64_t late_ns) {
    struct usage before = monitor->usage;
    struct steal steal_before = monitor->steal;
    uint64_t interval_ns = monitor->config.interval_ns;
    monitor->usage = (struct usage){
        .at_ns = now_ns, .cpu_ns = thread_cpu_ns(), .queued_ns = thread_queued_ns(monitor)};
    bool saturated = before.at_ns > 0 && 2 * late_ns > interval_ns;
    if (saturated || now_ns - steal_before.at_ns >= MONITOR_STEAL_NS)
        monitor->steal = read_steal(now_ns);
    if (!saturated)
        return;
    bool known = monitor->steal.cpu >= 0 && monitor->steal.cpu == steal_before.cpu;
    struct saturation saturation = {
        .interval_ns = interval_ns,
        .actual_ns = interval_ns + late_ns,
        .span_ns = now_ns - before.at_ns,
        .cpu_ns = monitor->usage.cpu_ns - before.cpu_ns,
        .queued_ns = monitor->usage.queued_ns - before.queued_ns,
        .stolen_ns = known ? monitor->steal.stolen_ns - steal_before.stolen_ns : -1};
    monitor->totals.saturations++;
    monitor->events.on_saturation(monitor->data, &saturation);
}

/* The real time, not that of the pass: callbacks may have run since. The first tick only tells
 * where the others lie. */
static void ticked(struct timer *tick) {
    struct monitor *monitor = CONTAINER_OF(tick, struct monitor, tick);
    uint64_t now_ns = clock_now_ns(), interval_ns = monitor->config.interval_ns;
    if (monitor->due_ns == 0)
        monitor->due_ns = now_ns + interval_ns;
    uint64_t late_ns = now_ns > monitor->due_ns ? now_ns - monitor->due_ns : 0;
    for (; monitor->due_ns <= now_ns; monitor->due_ns += interval_ns) {
        monitor->totals.lags++;
        if (monitor->events.on_lag)
            monitor->events.on_lag(monitor->data, now_ns - monitor->due_ns);
    }
    if (monitor->events.on_saturation)
        judge_interval(monitor, now_ns, late_ns);
    set_tick(monitor, monitor->due_ns);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

/* One that another callback called begins now; what the other had so far is returned, for the end.
 */
uint64_t monitor_callback_begins(struct loop *loop) {
    struct monitor *monitor = loop->callback_monitor;
    uint64_t own_ns = monitor->own_ns;
    if (monitor->depth++ > 0) {
        uint64_t now_ns = clock_now_ns();
        own_ns += now_ns - most(monitor->mark_ns, loop->now_ns);
        monitor->mark_ns = now_ns;
    }
    monitor->own_ns = 0;
    return own_ns;
}

static void report_slow(struct monitor *monitor, enum callback_kind kind, void (*function)(void),
                        uint64_t wall_ns) {
    uint64_t used_ns = thread_cpu_ns() - monitor->cpu_ns;
    struct slow_callback callback = {.kind = kind,
                                     .function = function,
                                     .wall_ns = wall_ns,
                                     .cpu_ns = used_ns < wall_ns ? used_ns : wall_ns};
    monitor->totals.slow_callbacks++;
    monitor->events.on_slow_callback(monitor->data, &callback);
    monitor->mark_ns = clock_now_ns();
}

static void read_cpu(struct monitor *monitor) {
    monitor->cpu_ns = thread_cpu_ns();
    monitor->mark_ns = monitor->cpu_read_ns = clock_now_ns();
}

static void read_cpu_in_time(struct monitor *monitor, uint64_t now_ns) {
    if (now_ns > monitor->cpu_read_ns + monitor->config.slow_callback_ns / CPU_READS_PER_LIMIT)
        read_cpu(monitor);
}

/* The time of the pass is that of the end of its wait, which is later than the mark for the first
 * callback after it. */
void monitor_callback_ends(struct loop *loop, uint64_t outer_ns, enum callback_kind kind,
                           void (*function)(void)) {
    struct monitor *monitor = loop->callback_monitor;
    if (!monitor || monitor->depth == 0)
        return; /* it has turned the monitor off, or on anew */
    uint64_t now_ns = clock_now_ns();
    uint64_t own_ns = monitor->own_ns + now_ns - most(monitor->mark_ns, loop->now_ns);
    monitor->depth--;
    monitor->own_ns = outer_ns;
    monitor->mark_ns = now_ns;
    monitor->totals.callbacks++;
    monitor->totals.callbacks_ns += own_ns;
    monitor->totals.callback_most_ns = most(monitor->totals.callback_most_ns, own_ns);
    uint64_t limit_ns = monitor->config.slow_callback_ns;
    if (own_ns >= limit_ns)
        report_slow(monitor, kind, function, own_ns);
    if (monitor->depth == 0)
        read_cpu_in_time(monitor, now_ns);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static uint64_t end_part(struct monitor *monitor, uint64_t now_ns) {
    uint64_t length_ns = now_ns - monitor->part_ns;
    monitor->part_ns = now_ns;
    return length_ns;
}

/* Time between two runs is nobody's. */
void monitor_run_begins(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    monitor->part_ns = loop->now_ns;
    monitor->pass = (struct pass_times){0};
    monitor->due_ns = 0;
    monitor->usage.at_ns = 0;
    read_cpu(monitor);
    if (monitor->tick.on_due)
        set_tick(monitor, loop->now_ns);
}

void monitor_timers_ran(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    if (monitor->events.on_pass)
        monitor->pass.timers_ns = end_part(monitor, clock_now_ns());
}

/* The wait ended at loop->now_ns, and the callbacks of streams and watches have run. */
void monitor_io_ran(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    monitor->posts = loop->counters.posts;
    monitor->has_rest = loop->sent || loop->closing || loop->closing_listeners;
    if (!monitor->events.on_pass)
        return;
    monitor->pass.waiting_ns = end_part(monitor, most(monitor->part_ns, loop->now_ns));
    monitor->pass.io_ns = end_part(monitor, clock_now_ns());
    monitor->mark_ns = monitor->part_ns;
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

/* Most passes end with nothing left to do, and then need no further look at the clock. */
void monitor_pass_ends(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    if (monitor->has_rest || loop->counters.posts != monitor->posts) {
        monitor->mark_ns = clock_now_ns();
        if (monitor->events.on_pass)
            monitor->pass.posts_ns = end_part(monitor, monitor->mark_ns);
    }
    if (loop->callback_monitor)
        read_cpu_in_time(monitor, loop->now_ns); /* it may have polled, without a callback */
    if (!monitor->events.on_pass)
        return;
    count_pass(monitor, &monitor->pass);
    monitor->events.on_pass(monitor->data, &monitor->pass);
    monitor->pass = (struct pass_times){0};
}

/* ---- on and off ------------------------------------------------------------------------------ */

static void turn_off(struct loop *loop) {
    struct monitor *monitor = loop->monitor;
    trace_close(loop);
    loop->monitor = loop->callback_monitor = NULL;
    if (!monitor)
        return;
    timer_cancel(loop, &monitor->tick);
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
    monitor->schedstat_fd = -1;
    read_cpu(monitor);
    monitor->part_ns = monitor->mark_ns;
    loop->monitor = monitor;
    if (events->on_slow_callback)
        loop->callback_monitor = monitor;
    if (events->on_lag || events->on_saturation) {
        monitor->tick.on_due = ticked;
        set_tick(monitor, monitor->mark_ns);
    }
    return 0;
}

int loop_monitor(struct loop *loop, const struct monitor_config *given,
                 const struct monitor_events *events, void *data) {
    struct monitor_config config;
    turn_off(loop);
    if (!events)
        return 0;
    int failure = read_config(&config, given);
    if (failure == 0 && events->on_slow_task)
        failure = trace_open(loop, &config, events, data);
    if (failure == 0)
        failure = turn_on(loop, &config, events, data);
    if (failure)
        turn_off(loop);
    return failure;
}

const struct monitor_totals *loop_monitor_totals(const struct loop *loop) {
    return loop->monitor ? &loop->monitor->totals : NULL;
}
