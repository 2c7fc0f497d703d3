/* command_serve.c: `loopmark serve`, one workload's server on one loop until it is told to stop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/control.h"
#include "harness/limits.h"
#include "harness/serve_monitor.h"
#include "workloads/workload.h"

static const char help[] =
    "usage: loopmark serve --loop LOOP --workload WORKLOAD --listen ADDR [--set KNOB=VALUE ...]\n"
    "\n"
    "  --loop LOOP          event loop to serve on (see `loopmark list`)\n"
    "  --workload WORKLOAD  what to serve\n"
    "  --listen ADDR        127.0.0.1:PORT, [::1]:PORT or unix:PATH; port 0 chooses a free one\n"
    "  --set KNOB=VALUE     a knob of the server's side; may be repeated\n"
    "  --monitor[=KINDS]    tell on stderr what the loop does with its time: lag, saturation,\n"
    "                       callbacks, passes, tasks, with commas between; all, as without KINDS\n"
    "  --monitor-interval TIME       how often the timer of lag and saturation is due (100ms)\n"
    "  --monitor-threshold TIME      from when on a callback is slow (100ms)\n"
    "  --monitor-task-threshold TIME from when on a task is slow (1s)\n"
    "  --monitor-log FILE   write each lag with its time, for `loopmark plot --lag`\n"
    "\n"
    "Prints `listening on ADDR` when ready. On SIGINT or SIGTERM it stops accepting, lets what is\n"
    "under way come to its end, for a second at most, and ends; a second signal ends it at once.\n"
    "\n"
    "examples:\n"
    "  loopmark serve --loop epoll --workload echo --listen 127.0.0.1:7000\n"
    "  loopmark serve --loop libuv --workload echo --listen unix:/tmp/echo.sock\n"
    "  loopmark serve --loop epoll --workload http --listen 127.0.0.1:8080 --monitor=callbacks\n";

struct options {
    const char *loop, *workload, *listen;
    int control_fd;
    struct serve_monitor_options monitor;
    struct knob_values knobs;
    const struct workload *found;
    struct endpoint address;
};

static const struct option long_options[] = {
    {"loop", required_argument, NULL, 'l'},       {"workload", required_argument, NULL, 'w'},
    {"listen", required_argument, NULL, 'a'},     {"set", required_argument, NULL, 's'},
    {"control-fd", required_argument, NULL, 'c'}, {"monitor", optional_argument, NULL, 'm'},
    {"monitor-interval", required_argument, NULL, 'i'},
    {"monitor-threshold", required_argument, NULL, 't'},
    {"monitor-task-threshold", required_argument, NULL, 'T'},
    {"monitor-log", required_argument, NULL, 'L'},
    {NULL, 0, NULL, 0},
};

static int set_server_knobs(struct options *options, int argc, char **argv, struct error *error) {
    int option, failure = 0;
    optind = 0;
    while (!failure && (option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option != 's')
            continue;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(optarg, "="), optarg);
        const struct knob *knob = knob_find(&options->knobs, name, NULL);
        if (knob && knob->side != KNOB_SERVER)
            return error_set(error, -EINVAL,
                             "knob %s belongs to the client: give it to `loopmark load`",
                             knob->name);
        failure = knob_set_pair(&options->knobs, optarg, error);
    }
    return failure;
}

/* The other options of the monitors do not turn them on. */
static int take_monitor_option(struct serve_monitor_options *monitor, int option, const char *text,
                               struct error *error) {
    double ns = 0;
    int failure;
    switch (option) {
    case 'i':
        failure = command_parse_number("--monitor-interval", KNOB_TIME, MONITOR_INTERVAL_LEAST_NS,
                                       1e12, text, &ns, error);
        monitor->config.interval_ns = (uint64_t)ns;
        return failure;
    case 't':
        failure = command_parse_number("--monitor-threshold", KNOB_TIME,
                                       MONITOR_SLOW_CALLBACK_LEAST_NS, 1e12, text, &ns, error);
        monitor->config.slow_callback_ns = (uint64_t)ns;
        return failure;
    case 'T':
        failure =
            command_parse_number("--monitor-task-threshold", KNOB_TIME, 1, 1e12, text, &ns, error);
        monitor->config.slow_task_ns = (uint64_t)ns;
        return failure;
    case 'L':
        monitor->log_path = text;
        return 0;
    default:
        return serve_monitor_kinds(text, &monitor->kinds, error);
    }
}

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    *options = (struct options){.control_fd = -1};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'l':
            options->loop = optarg;
            break;
        case 'w':
            options->workload = optarg;
            break;
        case 'a':
            options->listen = optarg;
            break;
        case 'c':
            options->control_fd = (int)strtol(optarg, NULL, 10);
            break;
        case 's':
            break; /* after the workload is known */
        case 'm':
        case 'i':
        case 't':
        case 'T':
        case 'L':
            if (take_monitor_option(&options->monitor, option, optarg, error))
                return -EINVAL;
            break;
        default:
            return -EINVAL; /* getopt has said what is wrong */
        }
    }
    if (optind < argc)
        return error_set(error, -EINVAL, "unexpected argument '%s'", argv[optind]);
    if (!options->loop || !options->workload || !options->listen)
        return error_set(error, -EINVAL, "--loop, --workload and --listen are all needed");
    options->found = workload_find(options->workload, error);
    if (options->monitor.log_path && !(options->monitor.kinds & MONITOR_LAG))
        return error_set(error, -EINVAL, "--monitor-log keeps the lag: it needs --monitor=lag");
    if (options->found && !options->found->server)
        return error_set(error, -EINVAL,
                         "nothing of %s can be served: it is only for `loopmark load`",
                         options->workload);
    if (!options->found || endpoint_parse(options->listen, &options->address, error))
        return -EINVAL;
    knob_values_init(&options->knobs, options->found->knobs, (struct knob_table){NULL, 0});
    return set_server_knobs(options, argc, argv, error);
}

/* ---- running --------------------------------------------------------------------------------- */

#define DRAIN_NS (1 * NS_PER_S)
#define DRAIN_LOOK_NS (2 * NS_PER_MS)

/* What is served, from its start to its end. */
struct serving {
    struct watch signals;
    struct timer look; /* while draining: is anything under way still? */
    struct loop *loop;
    const struct workload_server *workload;
    struct control *control; /* or null */
    struct server *server;   /* null: it does not accept any more */
    struct server *stopping; /* until workload->stopped says that nothing of it is left */
    uint64_t drained_by_ns;
};

static void stop_accepting(struct serving *serving) {
    if (!serving->server)
        return;
    if (serving->control)
        control_set_server(serving->control, NULL, NULL);
    serving->workload->stop(serving->server);
    if (serving->workload->stopped)
        serving->stopping = serving->server;
    serving->server = NULL;
}

/* Whether nothing but streams is left; `now`: what there is, is given up. */
static bool has_stopped(struct serving *serving, bool now) {
    if (serving->stopping && serving->workload->stopped(serving->stopping, now))
        serving->stopping = NULL;
    return !serving->stopping;
}

/* Pass by pass, as nothing but the loop is left to wait for. */
static void give_up(struct serving *serving) {
    const struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    uint64_t by_ns = clock_now_ns() + DRAIN_NS;
    while (!has_stopped(serving, true) && clock_now_ns() < by_ns) {
        loop_stop(serving->loop);
        if (loop_run(serving->loop))
            break;
        nanosleep(&pause, NULL);
    }
}

static void look_again(struct timer *look) {
    struct serving *serving = CONTAINER_OF(look, struct serving, look);
    uint64_t now_ns = clock_now_ns();
    bool over = has_stopped(serving, false) && !loop_has_streams(serving->loop);
    if (!over && now_ns < serving->drained_by_ns)
        timer_set(serving->loop, look, now_ns + DRAIN_LOOK_NS);
    else
        loop_stop(serving->loop);
}

static void signalled(struct watch *watch, unsigned events) {
    (void)events;
    struct serving *serving = CONTAINER_OF(watch, struct serving, signals);
    struct signalfd_siginfo info;
    if (read(watch->fd, &info, sizeof info) != sizeof info)
        return;
    if (!serving->server) {
        loop_stop(serving->loop);
        return;
    }
    stop_accepting(serving);
    serving->drained_by_ns = clock_now_ns() + DRAIN_NS;
    timer_set(serving->loop, &serving->look, clock_now_ns()); /* in the next pass */
}

static int watch_signals(struct serving *serving) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    serving->signals =
        (struct watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .on_ready = signalled};
    return serving->signals.fd < 0 ? -errno
                                   : watch_set(serving->loop, &serving->signals, WATCH_READ);
}

static int serve_until_told(struct serving *serving, const struct options *options,
                            struct error *error) {
    struct endpoint bound;
    char address[ENDPOINT_TEXT_BYTES];
    int failure = serving->workload->start(serving->loop, &options->knobs, &options->address,
                                           &bound, &serving->server, error);
    if (failure)
        return failure;
    if (serving->control)
        control_set_server(serving->control, serving->workload, serving->server);
    endpoint_format(&bound, address);
    printf("listening on %s\n", address);
    fflush(stdout);
    failure = loop_run(serving->loop);
    if (failure)
        error_set(error, failure, "the loop failed: %s", strerror(-failure));
    uint64_t refused = loop_counters(serving->loop)->accept_refused;
    if (refused > 0)
        fprintf(stderr,
                "%llu connections were refused: out of descriptors, or over what %s takes\n",
                (unsigned long long)refused, options->loop);
    stop_accepting(serving);
    timer_cancel(serving->loop, &serving->look);
    give_up(serving);
    return failure;
}

/* Its watches end before the loop does, however it went. */
static int serve(struct loop *loop, const struct options *options, struct error *error) {
    struct serving serving = {
        .look.on_due = look_again, .loop = loop, .workload = options->found->server};
    struct serve_monitor *monitor = NULL;
    int failure = watch_signals(&serving);
    if (failure)
        return error_set(error, failure, "cannot watch for signals: %s", strerror(-failure));
    failure = serve_monitor_start(loop, &options->monitor, &monitor, error);
    if (failure)
        ;
    else if (options->control_fd >= 0 && control_start(loop, options->control_fd, &serving.control))
        failure =
            error_set(error, -EINVAL, "--control-fd %d cannot be watched", options->control_fd);
    else
        failure = serve_until_told(&serving, options, error);
    int log_failure = serve_monitor_stop(monitor, failure ? NULL : error);
    failure = failure ? failure : log_failure;
    if (serving.control)
        control_stop(serving.control);
    watch_set(loop, &serving.signals, 0);
    close(serving.signals.fd);
    return failure;
}

static int run(int argc, char **argv, struct error *error) {
    struct options options;
    struct loop_info info;
    struct loop *loop;
    if (read_options(&options, argc, argv, error))
        return EXIT_USAGE;
    int failure = loop_info_by_name(options.loop, &info, error);
    if (failure)
        return failure == -ENOENT ? EXIT_USAGE : EXIT_FAILED;
    limits_raise_open_files();
    if (loop_open(options.loop, NULL, &loop, error))
        return EXIT_FAILED;
    failure = serve(loop, &options, error);
    loop_free(loop);
    return failure ? EXIT_FAILED : EXIT_OK;
}

const struct command command_serve = {
    .name = "serve", .summary = "serve a workload on a loop", .help = help, .run = run};
