/* http.c: HTTP/1.1, as http_server.h and http_client.h have it. */
#include "http_client.h"
#include "http_server.h"
#include "workload.h"

static const struct knob http_knobs[] = {HTTP_SERVER_KNOBS};

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
