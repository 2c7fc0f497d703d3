/* planted_server.c: an echo server that costs a known amount more than a bare one.
 *
 * planted_server --listen 127.0.0.1:PORT [--burn-ns N] [--sleep-us N]: for each message burns N ns
 * of its own CPU time, and sleeps N us. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "raw_echo.h"

#define NS_PER_S 1000000000ull
#define BURN_LEAST_NS 10000 /* reading the clock takes 100 to 200 ns that it does not show */

struct extra {
    uint64_t burn_ns, sleep_us;
    int64_t owed_ns; /* CPU time still to be burnt; negative: burnt ahead */
};

static int64_t own_cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec);
}

/* Little is saved up until it can be burnt exactly; what is burnt too much counts for the next. */
static void burn(struct extra *extra) {
    extra->owed_ns += (int64_t)extra->burn_ns;
    if (extra->owed_ns < BURN_LEAST_NS)
        return;
    int64_t from_ns = own_cpu_ns(), now_ns = from_ns;
    while (now_ns - from_ns < extra->owed_ns)
        now_ns = own_cpu_ns();
    extra->owed_ns -= now_ns - from_ns;
}

static void be_slow(void *state, uint64_t arrived_ns) {
    (void)arrived_ns;
    struct extra *extra = state;
    if (extra->burn_ns > 0)
        burn(extra);
    if (extra->sleep_us > 0) {
        struct timespec pause = {.tv_sec = (time_t)(extra->sleep_us / 1000000),
                                 .tv_nsec = (long)(extra->sleep_us % 1000000) * 1000};
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"burn-ns", required_argument, NULL, 'b'},
        {"sleep-us", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    struct extra extra = {.burn_ns = 0};
    struct raw_echo server = {.on_message = be_slow, .state = &extra};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            server.listen = optarg;
            break;
        case 'b':
            extra.burn_ns = raw_echo_count("burn-ns", optarg);
            break;
        case 's':
            extra.sleep_us = raw_echo_count("sleep-us", optarg);
            break;
        default:
            return 2;
        }
    }
    return raw_echo_serve(&server);
}
