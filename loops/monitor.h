/* monitor.h: what a loop does with its time, seen from inside while it serves. Off by default, and
 * then it costs a branch a callback that is always taken the same way.
 *
 * Each monitor is on when its function in struct monitor_events is there:
 *
 * lag         A timer with absolute due times, and how long after each the loop came to it, among
 *             the descriptors that were ready. Absolute, or what is late would move what follows,
 *             and hide it.
 * saturation  The same timer came more than 1.5 intervals after it should have come last: more than
 *             half an interval late. (From when it did come last, a loop that is always late would
 *             look healthy.) What the thread did since then tells whom to blame: on the CPU it was
 *             our callbacks; time in the queue for the CPU went to another thread, stolen time to
 *             the host; the rest it slept, or was stopped.
 * callbacks   One that took too long is named. Its time begins where the callback before it ended,
 *             or where the wait did, so that one clock read a callback is enough; what the loop
 *             itself did in between for it, as to receive, is included. Of callbacks that call each
 *             other (TLS calls what lies above it) each is judged by its own time.
 * passes      Where the time of each pass went. The parts of all passes add up to the time between
 *             loop_run's first pass and its last. When the counter behind ticks.h jumps, the pass
 *             is left out, and what runs just then is not known to be slow.
 * tasks       What a workload tells of its requests through trace.h.
 *
 * All functions here belong to the loop's thread, and all events come from it. They take part in
 * what they measure: what an event does on the loop is the next callback's or pass's time. */
#ifndef LOOPMARK_MONITOR_H
#define LOOPMARK_MONITOR_H

#include "loop.h"
#include "trace.h"

enum callback_kind {
    CALLBACK_OPEN,
    CALLBACK_DATA,
    CALLBACK_SENT,
    CALLBACK_EOF,
    CALLBACK_CLOSE,
    CALLBACK_TIMER,
    CALLBACK_WATCH,
    CALLBACK_POST,
    CALLBACK_KINDS
};
extern const char *const callback_kind_names[CALLBACK_KINDS];

struct slow_callback {
    enum callback_kind kind;
    void (*function)(void); /* whose name symbol.h tells */
    uint64_t wall_ns;
    uint64_t cpu_ns; /* of the thread; at most a sixteenth of the limit too much */
    int64_t stolen_ns; /* as of a saturation */
};

struct saturation {
    uint64_t interval_ns; /* as it should be */
    uint64_t actual_ns;   /* the interval and how late the timer came */
    uint64_t span_ns;     /* since the timer did come last */
    uint64_t cpu_ns;      /* of the span: the thread was on a CPU */
    uint64_t queued_ns;   /* of the span: it could run, and others had the CPU (schedstat) */
    int64_t stolen_ns;    /* the host had the thread's CPU (/proc/stat, in steps of 10 ms, from
                             MONITOR_STEAL_NS before the span at the earliest); -1: not known */
};

/* One pass in its order. All but `waiting_ns` is the length of a pass, as it is usually told. The
 * kernel's part of receiving and sending is in io_ns, but on io_uring, where the wait does it. */
struct pass_times {
    uint64_t timers_ns;
    uint64_t waiting_ns; /* the wait for events, polling included */
    uint64_t io_ns;      /* callbacks of streams and watches, with their reads and writes */
    uint64_t posts_ns;   /* posts, then sends and closes that were put off */
};
static inline uint64_t pass_length_ns(const struct pass_times *pass) {
    return pass->timers_ns + pass->io_ns + pass->posts_ns;
}

struct monitor_events {
    /* Once for each due time of the lag timer, so for several after a long stall. */
    void (*on_lag)(void *data, uint64_t lag_ns);
    void (*on_saturation)(void *data, const struct saturation *saturation);
    void (*on_slow_callback)(void *data, const struct slow_callback *callback);
    void (*on_pass)(void *data, const struct pass_times *pass);
    void (*on_slow_task)(void *data, const struct traced_task *task);
};

#define MONITOR_INTERVAL_NS (100 * NS_PER_MS)
#define MONITOR_INTERVAL_LEAST_NS (1 * NS_PER_MS)
#define MONITOR_SLOW_CALLBACK_NS (100 * NS_PER_MS) /* as asyncio's slow_callback_duration */
#define MONITOR_SLOW_CALLBACK_LEAST_NS (1 * NS_PER_MS)
#define MONITOR_SLOW_TASK_NS (1 * NS_PER_S)
#define MONITOR_STEAL_NS (100 * NS_PER_MS) /* /proc/stat is not read more often by a monitor, but \
                                              for what it tells */

struct monitor_config {
    uint64_t interval_ns; /* 0 in any of them: as above */
    uint64_t slow_callback_ns;
    uint64_t slow_task_ns;
    uint32_t tasks; /* that can be traced at a time; 0: TRACE_TASKS */
};

struct monitor_totals {
    uint64_t lags, saturations;
    uint64_t callbacks, slow_callbacks;
    uint64_t callbacks_ns, callback_most_ns; /* of all, and of the longest */
    uint64_t passes;
    struct pass_times sum, most; /* `most`: of each part by itself */
    uint64_t pass_length_most_ns;
};

/* Turns the monitors on, which takes a millisecond (ticks.h); those that were on end, and `events`
 * may be null for that alone. `*config` may be null. Not from one of the events. -EINVAL: an
 * interval or limit below the least; -ENOMEM; of the lag timer's descriptor -EMFILE, or as of
 * watch_set -ERANGE, and -ENOTSUP on `null`; then none is on. loop_free ends them first. */
int loop_monitor(struct loop *loop, const struct monitor_config *config,
                 const struct monitor_events *events, void *data);

/* Since loop_monitor, as of this call, and gone when that is called again; null when no monitor is
 * on. */
const struct monitor_totals *loop_monitor_totals(struct loop *loop);

#endif
