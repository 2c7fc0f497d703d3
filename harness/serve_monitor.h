/* serve_monitor.h: `loopmark serve --monitor`: what loops/monitor.h tells of a loop, as lines on
 * stderr: one for each event as it comes, and a summary at the end.
 *
 * The lines are written by the loop's thread, so a reader that does not keep up stalls the loop.
 */
#ifndef LOOPMARK_SERVE_MONITOR_H
#define LOOPMARK_SERVE_MONITOR_H

#include "loops/monitor.h"

/* What the words after --monitor= stand for, and those of `monitor` in an experiment. */
enum {
    MONITOR_LAG = 1,
    MONITOR_SATURATION = 2,
    MONITOR_CALLBACKS = 4,
    MONITOR_PASSES = 8,
    MONITOR_TASKS = 16,
    MONITOR_ALL = 31
};

/* A lag above this is a line of its own: it "indicates blocking callbacks" where it stays. */
#define MONITOR_LAG_LIMIT_NS (10 * NS_PER_MS)

struct serve_monitor_options {
    unsigned kinds; /* 0: none */
    const char *log_path; /* of MONITOR_LAG: where each lag goes, as lag_plot.h says; or null */
    struct monitor_config config;
};

/* "lag,passes"; null: all. -EINVAL with `error` filled. */
int serve_monitor_kinds(const char *text, unsigned *kinds, struct error *error);

struct serve_monitor;

/* Null in `*monitor` when options->kinds is 0. -EINVAL, -ENOMEM or what opening the log gave, with
 * `error` filled. */
int serve_monitor_start(struct loop *loop, const struct serve_monitor_options *options,
                        struct serve_monitor **monitor, struct error *error);
/* Prints the summary. -EIO and the like, with `error` filled: the log is not whole. `monitor` may
 * be null. */
int serve_monitor_stop(struct serve_monitor *monitor, struct error *error);

#endif
