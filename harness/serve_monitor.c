/* serve_monitor.c: see serve_monitor.h. */
#include "harness/serve_monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/histogram.h"
#include "harness/units.h"
#include "loops/symbol.h"

struct serve_monitor {
    struct loop *loop;
    unsigned kinds;
    uint64_t interval_ns;
    struct histogram lag, passes;
    uint64_t over_limit; /* lags above MONITOR_LAG_LIMIT_NS */
    uint64_t last_lag_ns;
    const char *log_path;
    FILE *log; /* null: none is kept */
    uint64_t begun_ns;
};

static const struct {
    const char *word;
    unsigned kind;
} words[] = {
    {"lag", MONITOR_LAG},
    {"saturation", MONITOR_SATURATION},
    {"callbacks", MONITOR_CALLBACKS},
    {"passes", MONITOR_PASSES},
    {"tasks", MONITOR_TASKS},
    {"all", MONITOR_ALL},
};

int serve_monitor_kinds(const char *text, unsigned *kinds, struct error *error) {
    *kinds = text ? 0 : MONITOR_ALL;
    while (text && *text) {
        size_t length = strcspn(text, ","), i = 0;
        while (i < ARRAY_LENGTH(words) && (strncmp(words[i].word, text, length) != 0 ||
                                           words[i].word[length] != '\0'))
            i++;
        if (i == ARRAY_LENGTH(words))
            return error_set(error, -EINVAL,
                             "monitor: '%.*s' is none of lag, saturation, callbacks, passes, "
                             "tasks, all",
                             (int)length, text);
        *kinds |= words[i].kind;
        text += length + (text[length] == ',');
    }
    return *kinds ? 0 : error_set(error, -EINVAL, "--monitor= needs a name, or no '='");
}

/* ---- events ---------------------------------------------------------------------------------- */

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static double percent(uint64_t part, uint64_t whole) {
    return whole ? 100 * (double)part / (double)whole : 0;
}

/* At the time when the timer should have come. */
static void log_lag(struct serve_monitor *monitor, uint64_t lag_ns) {
    uint64_t due_ns = clock_now_ns() - lag_ns;
    double at_s = due_ns > monitor->begun_ns ? (double)(due_ns - monitor->begun_ns) / 1e9 : 0;
    fprintf(monitor->log, "%.6f,%.6f\n", at_s, ms(lag_ns));
}

/* Of the lags that one stall caused, each an interval shorter than the one before, the first is
 * told. */
static void tell_lag(void *data, uint64_t lag_ns) {
    struct serve_monitor *monitor = data;
    bool same_stall = lag_ns + monitor->interval_ns == monitor->last_lag_ns;
    histogram_record(&monitor->lag, lag_ns, 1);
    monitor->last_lag_ns = lag_ns;
    if (monitor->log)
        log_lag(monitor, lag_ns);
    if (lag_ns <= MONITOR_LAG_LIMIT_NS)
        return;
    monitor->over_limit++;
    if (!same_stall)
        fprintf(stderr, "event loop lag: %.1f ms\n", ms(lag_ns));
}

enum { STOLEN_TEXT_BYTES = 32 };

static const char *stolen_text(int64_t stolen_ns, char text[STOLEN_TEXT_BYTES]) {
    if (stolen_ns < 0)
        return "unknown";
    snprintf(text, STOLEN_TEXT_BYTES, "%.0f ms", ms((uint64_t)stolen_ns));
    return text;
}

static void tell_saturation(void *data, const struct saturation *saturation) {
    (void)data;
    char stolen[STOLEN_TEXT_BYTES];
    fprintf(stderr,
            "event loop saturation: expected %.1f ms, actual %.1f ms; on the CPU %.0f %%, waiting "
            "for it %.0f %%, stolen by the host %s\n",
            ms(saturation->interval_ns), ms(saturation->actual_ns),
            percent(saturation->cpu_ns, saturation->span_ns),
            percent(saturation->queued_ns, saturation->span_ns),
            stolen_text(saturation->stolen_ns, stolen));
}

static void tell_callback(void *data, const struct slow_callback *callback) {
    (void)data;
    char name[SYMBOL_TEXT_BYTES], stolen[STOLEN_TEXT_BYTES];
    fprintf(stderr,
            "slow callback: %s %s took %.1f ms, on the CPU %.0f %%, stolen by the host %s\n",
            callback_kind_names[callback->kind], symbol_name(callback->function, name),
            ms(callback->wall_ns), percent(callback->cpu_ns, callback->wall_ns),
            stolen_text(callback->stolen_ns, stolen));
}

static void record_pass(void *data, const struct pass_times *pass) {
    struct serve_monitor *monitor = data;
    histogram_record(&monitor->passes, pass_length_ns(pass), 1);
}

static void tell_task(void *data, const struct traced_task *task) {
    (void)data;
    fprintf(stderr, "slow task: %s %.3f s:", task->name, (double)task->lasted_ns / 1e9);
    for (uint32_t i = 0; i < task->step_count && i < TRACE_STEPS; i++)
        fprintf(stderr, " %s %.3f s,", task->steps[i].name, (double)task->steps[i].at_ns / 1e9);
    if (task->step_count > TRACE_STEPS)
        fprintf(stderr, " and %u more steps,", (unsigned)(task->step_count - TRACE_STEPS));
    fprintf(stderr, " %s\n", task->end ? task->end : "unfinished");
}

/* ---- the summary ----------------------------------------------------------------------------- */

static void print_times(const char *what, const struct histogram *times) {
    char mean[UNITS_TEXT_BYTES], p50[UNITS_TEXT_BYTES], p99[UNITS_TEXT_BYTES],
        p999[UNITS_TEXT_BYTES], max[UNITS_TEXT_BYTES];
    fprintf(stderr, "%s: %llu, mean %s, p50 %s, p99 %s, p99.9 %s, max %s\n", what,
            (unsigned long long)times->total, units_time(histogram_mean(times), mean),
            units_time((double)histogram_quantile(times, 0.5), p50),
            units_time((double)histogram_quantile(times, 0.99), p99),
            units_time((double)histogram_quantile(times, 0.999), p999),
            units_time((double)times->max, max));
}

static void print_passes(const struct histogram *passes, const struct monitor_totals *totals) {
    const struct pass_times *sum = &totals->sum, *most = &totals->most;
    uint64_t whole_ns = pass_length_ns(sum) + sum->waiting_ns;
    const struct {
        const char *name;
        uint64_t sum_ns, most_ns;
    } parts[] = {
        {"timers", sum->timers_ns, most->timers_ns},
        {"waiting", sum->waiting_ns, most->waiting_ns},
        {"io callbacks", sum->io_ns, most->io_ns},
        {"posts and closes", sum->posts_ns, most->posts_ns},
    };
    print_times("passes", passes);
    fprintf(stderr, "a pass:");
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        char text[UNITS_TEXT_BYTES];
        fprintf(stderr, "%s %s %.1f %% (max %s)", i ? ", then" : "", parts[i].name,
                percent(parts[i].sum_ns, whole_ns), units_time((double)parts[i].most_ns, text));
    }
    fprintf(stderr, "\n");
}

static void print_callbacks(const struct monitor_totals *totals) {
    char max[UNITS_TEXT_BYTES];
    fprintf(stderr, "callbacks: %llu, %llu of them slow, max %s\n",
            (unsigned long long)totals->callbacks, (unsigned long long)totals->slow_callbacks,
            units_time((double)totals->callback_most_ns, max));
}

static void print_tasks(const struct trace_counts *counts) {
    fprintf(stderr, "tasks: %llu begun, %llu ended, %llu of them slow, %u at a time at most",
            (unsigned long long)counts->begun, (unsigned long long)counts->ended,
            (unsigned long long)counts->slow, (unsigned)counts->live_most);
    if (counts->untraced)
        fprintf(stderr, ", %llu not traced: too many at a time",
                (unsigned long long)counts->untraced);
    fprintf(stderr, "\n");
}

static void print_summary(const struct serve_monitor *monitor) {
    const struct monitor_totals *totals = loop_monitor_totals(monitor->loop);
    const struct trace_counts *counts = trace_counts(monitor->loop);
    if (monitor->kinds & MONITOR_LAG) {
        print_times("lag", &monitor->lag);
        fprintf(stderr, "lag over %.0f ms: %llu\n", ms(MONITOR_LAG_LIMIT_NS),
                (unsigned long long)monitor->over_limit);
    }
    if (monitor->kinds & MONITOR_SATURATION)
        fprintf(stderr, "saturation: %llu\n", (unsigned long long)totals->saturations);
    if (monitor->kinds & MONITOR_CALLBACKS)
        print_callbacks(totals);
    if (monitor->kinds & MONITOR_PASSES)
        print_passes(&monitor->passes, totals);
    if (monitor->kinds & MONITOR_TASKS)
        print_tasks(counts);
}

/* ---- from its start to its end --------------------------------------------------------------- */

static int open_log(struct serve_monitor *monitor, const char *path, struct error *error) {
    if (!path)
        return 0;
    monitor->log_path = path;
    monitor->log = fopen(path, "we");
    if (!monitor->log)
        return error_set(error, -errno, "cannot write %s: %s", path, strerror(errno));
    monitor->begun_ns = clock_now_ns();
    fprintf(monitor->log, "at_s,lag_ms\n");
    return 0;
}

static int close_log(struct serve_monitor *monitor, struct error *error) {
    if (!monitor->log)
        return 0;
    int failure = ferror(monitor->log) ? -EIO : 0;
    if (fclose(monitor->log) && !failure)
        failure = -errno;
    monitor->log = NULL;
    return failure ? error_set(error, failure, "cannot write %s: %s", monitor->log_path,
                               strerror(-failure))
                   : 0;
}

/* Histograms that were not opened are all zero. */
static void free_monitor(struct serve_monitor *monitor) {
    histogram_close(&monitor->lag);
    histogram_close(&monitor->passes);
    free(monitor);
}

int serve_monitor_start(struct loop *loop, const struct serve_monitor_options *options,
                        struct serve_monitor **out, struct error *error) {
    unsigned kinds = options->kinds;
    struct monitor_events events = {
        .on_lag = kinds & MONITOR_LAG ? tell_lag : NULL,
        .on_saturation = kinds & MONITOR_SATURATION ? tell_saturation : NULL,
        .on_slow_callback = kinds & MONITOR_CALLBACKS ? tell_callback : NULL,
        .on_pass = kinds & MONITOR_PASSES ? record_pass : NULL,
        .on_slow_task = kinds & MONITOR_TASKS ? tell_task : NULL,
    };
    *out = NULL;
    if (kinds == 0)
        return 0;
    struct serve_monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor)
        return error_set(error, -ENOMEM, "out of memory");
    monitor->loop = loop;
    monitor->kinds = kinds;
    monitor->interval_ns =
        options->config.interval_ns ? options->config.interval_ns : MONITOR_INTERVAL_NS;
    int failure = histogram_open(&monitor->lag, &histogram_standard);
    if (failure == 0)
        failure = histogram_open(&monitor->passes, &histogram_standard);
    if (failure == 0)
        failure = loop_monitor(loop, &options->config, &events, monitor);
    if (failure)
        error_set(error, failure, "cannot monitor: %s", strerror(-failure));
    else
        failure = open_log(monitor, options->log_path, error);
    if (failure) {
        loop_monitor(loop, NULL, NULL, NULL);
        free_monitor(monitor);
        return failure;
    }
    *out = monitor;
    return 0;
}

int serve_monitor_stop(struct serve_monitor *monitor, struct error *error) {
    if (!monitor)
        return 0;
    print_summary(monitor);
    loop_monitor(monitor->loop, NULL, NULL, NULL);
    int failure = close_log(monitor, error);
    free_monitor(monitor);
    return failure;
}
