/* command_postgres.c: `loopmark postgres`, a PostgreSQL to try things on, gone when it ends. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "harness/command.h"
#include "harness/interrupt.h"
#include "harness/private_postgres.h"
#include "loops/clock.h"

static const char help[] =
    "usage: loopmark postgres [--max-connections N]\n"
    "\n"
    "      --max-connections N   connections it takes at a time (100)\n"
    "\n"
    "Makes a PostgreSQL as the database workloads use it, in a temporary folder and reachable by\n"
    "a unix socket alone, with the table item(id, value, payload) of 10,000 rows. Prints its\n"
    "target when it is ready. ^C ends it, and nothing is left of it. SIGUSR1 starts it again with\n"
    "the data it has; it says so when it answers.\n"
    "\n"
    "examples:\n"
    "  loopmark postgres --max-connections 50\n"
    "  psql 'postgresql:///…' -c 'select count(*) from item'     # the target that it printed\n"
    "\n"
    "exit codes: 0 ended by ^C or SIGTERM, 1 it cannot run here or has ended by itself, 2 usage,\n"
    "            130 interrupted before it was ready\n";

static const struct option long_options[] = {
    {"max-connections", required_argument, NULL, 'c'},
    {NULL, 0, NULL, 0},
};

enum { LEAST_CONNECTIONS = 1, MOST_CONNECTIONS = 10000 };

static int read_options(struct private_postgres_plan *plan, int argc, char **argv,
                        struct error *error) {
    double value = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option != 'c')
            return -EINVAL; /* getopt has said what is wrong */
        if (command_parse_number("--max-connections", KNOB_COUNT, LEAST_CONNECTIONS,
                                 MOST_CONNECTIONS, optarg, &value, error))
            return -EINVAL;
        plan->max_connections = (unsigned)value;
    }
    if (optind < argc)
        return error_set(error, -EINVAL, "unexpected argument '%s'", argv[optind]);
    return 0;
}

/* SIGUSR1 is only waited for, and so it is blocked from before anybody knows that we are there. */
static int keep_until_told(struct private_postgres *postgres, struct error *error) {
    struct timespec pause = {.tv_nsec = (long)(100 * NS_PER_MS)};
    sigset_t restart;
    sigemptyset(&restart);
    sigaddset(&restart, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &restart, NULL);
    printf("%s\n", postgres->target);
    fflush(stdout);
    while (!interrupted) {
        if (!private_postgres_alive(postgres, error))
            return interrupted ? EXIT_OK : EXIT_FAILED;
        if (sigtimedwait(&restart, NULL, &pause) != SIGUSR1)
            continue;
        if (private_postgres_restart(postgres, error))
            return interrupted ? EXIT_OK : EXIT_FAILED;
        fprintf(stderr, "PostgreSQL was started again\n");
    }
    return EXIT_OK;
}

static int run(int argc, char **argv, struct error *error) {
    struct private_postgres_plan plan = {.max_connections = 0};
    struct private_postgres postgres;
    if (read_options(&plan, argc, argv, error))
        return EXIT_USAGE;
    interrupt_catch();
    int failure = private_postgres_start(&plan, &postgres, error);
    if (failure)
        return failure == -EINTR ? EXIT_INTERRUPTED : EXIT_FAILED;
    int code = keep_until_told(&postgres, error);
    private_postgres_stop(&postgres);
    return code;
}

const struct command command_postgres = {
    .name = "postgres", .summary = "a private PostgreSQL, until ^C", .help = help, .run = run};
