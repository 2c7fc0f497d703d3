/* http.c: HTTP/1.1, as http_server.h and http_client.h have it. */
#include "http_client.h"
#include "http_server.h"
#include "workload.h"

#define TIME_LIMIT(knob_name, from, words)                                                         \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_TIME, .side = KNOB_SERVER, .initial = from, \
        .least = 0, .most = 24 * 3600e9                                                            \
    }

static const struct knob http_knobs[] = {
    {.name = "size_bytes",
     .help = "bytes of the answer to /",
     .type = KNOB_BYTES,
     .side = KNOB_SERVER,
     .initial = 1024,
     .least = 0,
     .most = (double)HTTP_BYTES_MOST},
    {.name = "work_us",
     .help = "CPU time that each request costs besides, in microseconds",
     .type = KNOB_COUNT,
     .side = KNOB_SERVER,
     .initial = 0,
     .least = 0,
     .most = 1e6},
    {.name = "keep_alive_requests",
     .help = "then the server closes it; 1: no keep-alive, 0: no limit",
     .type = KNOB_COUNT,
     .side = KNOB_SERVER,
     .initial = 0,
     .least = 0,
     .most = 1e9},
    {.name = "body_limit_bytes",
     .help = "largest body of a request",
     .type = KNOB_BYTES,
     .side = KNOB_SERVER,
     .initial = 64 << 20,
     .least = 0,
     .most = (double)(1ull << 40)},
    TIME_LIMIT("idle_timeout", 120e9, "until a request begins; 0: no limit"),
    TIME_LIMIT("header_timeout", 10e9, "from its first byte to the end of its head; 0: no limit"),
    TIME_LIMIT("transfer_timeout", 60e9, "without progress of a body or an answer; 0: no limit"),
};

static const char *const http_schemes[] = {"http", "https", NULL};

extern const struct workload http_workload;
const struct workload http_workload = {
    .name = "http",
    .summary = "HTTP/1.1 with keep-alive and pipelining: a parser, and answers of any size",
    .schemes = http_schemes,
    .knobs = {http_knobs, ARRAY_LENGTH(http_knobs)},
    .server = &http_server,
    .client = &http_client,
};
