/* queue_server.c: an echo server of known capacity.
 *
 * queue_server --listen 127.0.0.1:PORT --service-ns N: one message after the other, N ns each.
 * Each service begins when the message arrived, or when the former one ended, whatever receiving
 * and sending take (they lie within), and however long the CPU stood still meanwhile: what that
 * kept waiting is served the faster after it. So the capacity is one message in N ns on a machine
 * that pauses, too. N over about 20000, or receiving and sending do not fit in. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "raw_echo.h"

#define NS_PER_S 1000000000ull

struct queue {
    uint64_t service_ns, free_ns;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* as the stamps of arrivals */
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void serve(void *state, uint64_t arrived_ns) {
    struct queue *queue = state;
    uint64_t begin_ns = arrived_ns > queue->free_ns ? arrived_ns : queue->free_ns;
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
