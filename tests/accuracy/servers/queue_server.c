/* queue_server.c: an echo server of known capacity.
 *
 * queue_server --listen 127.0.0.1:PORT --service-ns N: one message after the other, N ns each.
 * While messages wait, each service begins when the former one ends, whatever receiving and sending
 * take (they lie within), so that the capacity is one message in N ns, and no more. N over about
 * 20000, or they do not fit in. What a service loses to a CPU that stands still is not made up for.
 */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "raw_echo.h"

#define NS_PER_S 1000000000ull
/* A message that is taken so soon after the last service had been waiting. */
#define WAITED_NS 15000

struct queue {
    uint64_t service_ns, free_ns;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void serve(void *state) {
    struct queue *queue = state;
    uint64_t begin_ns = now_ns();
    if (begin_ns - queue->free_ns < WAITED_NS)
        begin_ns = queue->free_ns;
    queue->free_ns = begin_ns + queue->service_ns;
    while (now_ns() < queue->free_ns)
        ;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"service-ns", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    struct queue queue = {.service_ns = 0};
    struct raw_echo server = {.on_message = serve, .state = &queue};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            server.listen = optarg;
            break;
        case 's':
            queue.service_ns = raw_echo_count("service-ns", optarg);
            break;
        default:
            return 2;
        }
    }
    return raw_echo_serve(&server);
}
