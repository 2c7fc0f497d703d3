/* delay_server.c: an echo server whose answers come late by a known time, which it measures itself.
 *
 * delay_server --listen 127.0.0.1:PORT [--delay-ns N] [--slow-ns N --slow-every K]: each answer
 * leaves N ns after its request was received, every K-th one --slow-ns after. It waits by spinning,
 * one message after the other: leave more time than the longest delay between them, or they queue.
 *
 * On SIGTERM it prints one JSON object: how long it really kept messages, from received to sent. */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "raw_echo.h"

enum { KEPT_MOST = 1000000 };
#define NS_PER_S 1000000000ull

struct delay {
    uint64_t usual_ns, slow_ns, slow_every; /* 0: none is slow */
    uint64_t received_ns;
    uint64_t *kept_ns; /* of each message */
    size_t count;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void wait_a_while(void *state, uint64_t arrived_ns) {
    (void)arrived_ns;
    struct delay *delay = state;
    delay->received_ns = now_ns();
    bool slow = delay->slow_every > 0 && delay->count % delay->slow_every == delay->slow_every - 1;
    uint64_t until_ns = delay->received_ns + (slow ? delay->slow_ns : delay->usual_ns);
    while (now_ns() < until_ns)
        ;
}

static void note(void *state) {
    struct delay *delay = state;
    if (delay->count < KEPT_MOST)
        delay->kept_ns[delay->count++] = now_ns() - delay->received_ns;
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The smallest value that at least `permille` of all do not exceed. */
static unsigned long long quantile(const struct delay *delay, size_t permille) {
    size_t rank = (delay->count * permille + 999) / 1000;
    return delay->count > 0 ? delay->kept_ns[rank > 0 ? rank - 1 : 0] : 0;
}

static void print_kept(struct delay *delay) {
    double sum_ns = 0;
    qsort(delay->kept_ns, delay->count, sizeof *delay->kept_ns, by_value);
    for (size_t i = 0; i < delay->count; i++)
        sum_ns += (double)delay->kept_ns[i];
    printf("{\"count\": %zu, \"mean\": %.0f, \"p50\": %llu, \"p95\": %llu, \"p99\": %llu, "
           "\"max\": %llu}\n",
           delay->count, delay->count > 0 ? sum_ns / (double)delay->count : 0, quantile(delay, 500),
           quantile(delay, 950), quantile(delay, 990), quantile(delay, 1000));
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"delay-ns", required_argument, NULL, 'd'},
        {"slow-ns", required_argument, NULL, 's'},
        {"slow-every", required_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    struct delay delay = {.kept_ns = calloc(KEPT_MOST, sizeof *delay.kept_ns)};
    struct raw_echo server = {.on_message = wait_a_while, .on_answered = note, .state = &delay};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            server.listen = optarg;
            break;
        case 'd':
            delay.usual_ns = raw_echo_count("delay-ns", optarg);
            break;
        case 's':
            delay.slow_ns = raw_echo_count("slow-ns", optarg);
            break;
        case 'e':
            delay.slow_every = raw_echo_count("slow-every", optarg);
            break;
        default:
            return 2;
        }
    }
    int status = delay.kept_ns ? raw_echo_serve(&server) : 1;
    if (status == 0)
        print_kept(&delay);
    free(delay.kept_ns);
    return status;
}
