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
#include "workloads/workload.h"

static const char help[] =
    "usage: loopmark serve --loop LOOP --workload WORKLOAD --listen ADDR [--set KNOB=VALUE ...]\n"
    "\n"
    "  --loop LOOP          event loop to serve on (see `loopmark list`)\n"
    "  --workload WORKLOAD  what to serve\n"
    "  --listen ADDR        127.0.0.1:PORT, [::1]:PORT or unix:PATH; port 0 chooses a free one\n"
    "  --set KNOB=VALUE     a knob of the server's side; may be repeated\n"
    "\n"
    "Prints `listening on ADDR` when ready. On SIGINT or SIGTERM it stops accepting, lets what is\n"
    "under way come to its end, for a second at most, and ends; a second signal ends it at once.\n"
    "\n"
    "examples:\n"
    "  loopmark serve --loop epoll --workload echo --listen 127.0.0.1:7000\n"
    "  loopmark serve --loop libuv --workload echo --listen unix:/tmp/echo.sock\n";

struct options {
    const char *loop, *workload, *listen;
    int control_fd;
    struct knob_values knobs;
    const struct workload *found;
    struct endpoint address;
};

static const struct option long_options[] = {
    {"loop", required_argument, NULL, 'l'},       {"workload", required_argument, NULL, 'w'},
    {"listen", required_argument, NULL, 'a'},     {"set", required_argument, NULL, 's'},
    {"control-fd", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0},
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
        default:
            return -EINVAL; /* getopt has said what is wrong */
        }
    }
    if (optind < argc)
        return error_set(error, -EINVAL, "unexpected argument '%s'", argv[optind]);
    if (!options->loop || !options->workload || !options->listen)
        return error_set(error, -EINVAL, "--loop, --workload and --listen are all needed");
    options->found = workload_find(options->workload, error);
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
    struct server *server; /* null: it does not accept any more */
    uint64_t drained_by_ns;
};

static void stop_accepting(struct serving *serving) {
    if (serving->server)
        serving->workload->stop(serving->server);
    serving->server = NULL;
}

static void look_again(struct timer *look) {
    struct serving *serving = CONTAINER_OF(look, struct serving, look);
    uint64_t now_ns = clock_now_ns();
    if (loop_has_streams(serving->loop) && now_ns < serving->drained_by_ns)
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
    return failure;
}

/* Its watches end before the loop does, however it went. */
static int serve(struct loop *loop, const struct options *options, struct error *error) {
    struct serving serving = {
        .look.on_due = look_again, .loop = loop, .workload = options->found->server};
    struct control *control = NULL;
    int failure = watch_signals(&serving);
    if (failure)
        return error_set(error, failure, "cannot watch for signals: %s", strerror(-failure));
    if (options->control_fd >= 0 && control_start(loop, options->control_fd, &control))
        failure =
            error_set(error, -EINVAL, "--control-fd %d cannot be watched", options->control_fd);
    else
        failure = serve_until_told(&serving, options, error);
    if (control)
        control_stop(control);
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
