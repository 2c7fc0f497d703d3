/* null_echo.c REQUESTS: what an echo costs outside of the kernel: the echo workload's server half
 * on the loop `null`, 100 streams that get 1,024 bytes in each round. REQUESTS is rounded up to
 * whole rounds. Prints how many there were and the time of each; instructions.sh counts
 * instructions. */
#include <stdio.h>
#include <stdlib.h>

#include "workloads/workload.h"

enum { STREAMS = 100, BYTES = 1024 };

static struct server *serve_echo(struct loop *loop) {
    const struct workload *echo = workload_find("echo", NULL);
    struct knob_values knobs;
    struct endpoint address, bound;
    struct server *server;
    struct error error = {""};
    CHECK(echo);
    knob_values_init(&knobs, echo->knobs, (struct knob_table){NULL, 0});
    CHECK(endpoint_parse("127.0.0.1:0", &address, &error) == 0);
    CHECK(echo->server->start(loop, &knobs, &address, &bound, &server, &error) == 0);
    return server;
}

int main(int argc, char **argv) {
    long long wanted = argc == 2 ? strtoll(argv[1], NULL, 10) : 0;
    if (wanted <= 0) {
        fprintf(stderr, "usage: null_echo REQUESTS\n");
        return 2;
    }
    uint64_t rounds = ((uint64_t)wanted + STREAMS - 1) / STREAMS;
    struct loop_config config = {
        .null_streams = STREAMS, .null_bytes = BYTES, .null_rounds = rounds};
    struct loop *loop;
    struct error error = {""};
    if (loop_open("null", &config, &loop, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    struct server *server = serve_echo(loop);
    uint64_t begin_ns = clock_now_ns();
    CHECK(loop_run(loop) == 0);
    uint64_t taken_ns = clock_now_ns() - begin_ns;
    uint64_t requests = loop_counters(loop)->sends_done;
    CHECK(requests == rounds * STREAMS);
    printf("%llu requests, %.1f ns each\n", (unsigned long long)requests,
           (double)taken_ns / (double)requests);
    workload_find("echo", NULL)->server->stop(server);
    loop_free(loop);
    return 0;
}
