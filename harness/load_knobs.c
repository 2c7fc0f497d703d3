/* load_knobs.c: see load_knobs.h. */
#include "load_knobs.h"

#include "harness/schedule.h"
#include "loops/check.h"
#include "loops/clock.h"

enum { CONNECTIONS_MOST = 60000 };

static const char *const arrivals_words[] = {
    [ARRIVALS_CONSTANT] = "constant",
    [ARRIVALS_POISSON] = "poisson",
    NULL,
};

static const char *const transport_words[] = {
    [TRANSPORT_TCP] = "tcp",
    [TRANSPORT_UNIX] = "unix",
    NULL,
};

static const char *const status_errors_words[] = {
    [STATUS_ERRORS_4XX] = "4xx",
    [STATUS_ERRORS_5XX] = "5xx",
    [STATUS_ERRORS_NONE] = "none",
    NULL,
};

static const char *const resolve_words[] = {
    [RESOLVE_CONNECTION] = "connection",
    [RESOLVE_ONCE] = "once",
    NULL,
};

int status_errors_from(enum status_errors which) {
    static const int first[] = {
        [STATUS_ERRORS_4XX] = 400, [STATUS_ERRORS_5XX] = 500, [STATUS_ERRORS_NONE] = 1000};
    return first[which];
}

#define COUNT_KNOB(knob_name, words, from, low, high)                                              \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_COUNT, .side = KNOB_CLIENT,                 \
        .initial = from, .least = low, .most = high                                                \
    }
#define TIME_KNOB(knob_name, words, from, low)                                                     \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_TIME, .side = KNOB_CLIENT, .initial = from, \
        .least = low, .most = 3600.0 * NS_PER_S                                                    \
    }

static const struct knob knobs[] = {
    COUNT_KNOB("connections", "connections that ask", 100, 1, CONNECTIONS_MOST),
    COUNT_KNOB("idle_connections", "further connections that are open and never ask", 0, 0,
               CONNECTIONS_MOST),
    {.name = "transport",
     .help = "sockets between generator and server: TCP over loopback, or unix sockets",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .initial = TRANSPORT_TCP,
     .least = TRANSPORT_TCP,
     .most = TRANSPORT_UNIX,
     .choices = transport_words},
    COUNT_KNOB("in_flight", "most unanswered requests of one connection", 1, 1, 1024),
    {.name = "rate",
     .help =
         "requests per second over all connections; 0: closed loop, each answer starts the next",
     .type = KNOB_RATE,
     .side = KNOB_CLIENT,
     .initial = 0,
     .least = 0,
     .most = 10e6},
    {.name = "end_rate",
     .help = "the rate goes linearly from `rate` to this within the duration; 0: it stays",
     .type = KNOB_RATE,
     .side = KNOB_CLIENT,
     .initial = 0,
     .least = 0,
     .most = 10e6},
    {.name = "arrivals",
     .help =
         "when requests are due in an open loop: evenly spaced, or at random as from many users",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .initial = ARRIVALS_CONSTANT,
     .least = ARRIVALS_CONSTANT,
     .most = ARRIVALS_POISSON,
     .choices = arrivals_words},
    TIME_KNOB("warmup", "load before the measured window", 500.0 * NS_PER_MS, 0),
    TIME_KNOB("duration", "the measured window", 1500.0 * NS_PER_MS, NS_PER_MS),
    TIME_KNOB("timeout", "longest wait for an answer", 2.0 * NS_PER_S, NS_PER_MS),
    TIME_KNOB("connect_timeout", "longest wait for a connection", 5.0 * NS_PER_S, NS_PER_MS),
    TIME_KNOB("deadline",
              "open loop: a request not sent this long after it was due is given up; 0: never", 0,
              0),
    TIME_KNOB("connection_ramp", "open the connections over this time, before the warm-up", 0, 0),
    COUNT_KNOB("requests_per_connection",
               "a new connection after so many requests; 0: as long as the server keeps it", 0, 0,
               1e9),
    {.name = "resolve",
     .help = "look the server's host name up once, or for each connection: that blocks the thread",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .initial = RESOLVE_ONCE,
     .least = RESOLVE_CONNECTION,
     .most = RESOLVE_ONCE,
     .choices = resolve_words},
    {.name = "status_errors",
     .help = "answers whose status counts as an error: from 4xx or 5xx up, or none",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .initial = STATUS_ERRORS_4XX,
     .least = STATUS_ERRORS_4XX,
     .most = STATUS_ERRORS_NONE,
     .choices = status_errors_words},
    COUNT_KNOB("source_addresses", "spread TCP connections over this many of 127.0.0.0/8", 1, 1,
               64),
    COUNT_KNOB("threads", "threads of the generator, each with a loop of its own", 1, 1, 64),
};

const struct knob_table load_knobs = {knobs, ARRAY_LENGTH(knobs)};
