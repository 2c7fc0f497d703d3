/* database_client.c: see database_client.h. */
#include "database_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "drivers/sample_table.h"
#include "http_client.h"
#include "request_set.h"

const char *const database_query_words[] = {
    [QUERY_ROW] = "row",
    [QUERY_ROWS] = "rows",
    [QUERY_UPDATE] = "update",
    [QUERY_SLOW] = "slow",
    [QUERY_CALLS] = "calls",
    [QUERY_MIX] = "mix",
    NULL,
};

struct shape {
    enum database_query query;
    unsigned rows, slow_ms, calls;
};

/* Knuth's MMIX generator; the upper bits, which are the good ones. */
static unsigned next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(*state >> 33);
}

/* One line of a mix (request_set.h) that asks for this id. */
static void write_line(FILE *text, const struct shape *shape, unsigned id) {
    switch (shape->query) {
    case QUERY_ROWS:
        fprintf(text, "1 GET /rows/%u/%u\n", shape->rows, id);
        break;
    case QUERY_UPDATE:
        fprintf(text, "1 POST /update/%u\n", id);
        break;
    case QUERY_SLOW:
        fprintf(text, "1 GET /slow/%u\n", id);
        break;
    case QUERY_CALLS:
        fprintf(text, "1 GET /calls/%u/%u\n", shape->calls, id);
        break;
    default:
        fprintf(text, "1 GET /%s/%u\n", database_query_words[shape->query], id);
    }
}

/* The largest id that can be asked for, so that every row there is to be is there. */
static unsigned most_id(const struct shape *shape) {
    return shape->query == QUERY_ROWS ? SAMPLE_ROWS - shape->rows + 1 : SAMPLE_ROWS;
}

/* What a right answer begins with: the first of its words, where more follow, or all of it. */
static void write_begin(char begins[REQUEST_BEGINS_BYTES], const struct shape *shape, unsigned id) {
    if (shape->query == QUERY_CALLS)
        snprintf(begins, REQUEST_BEGINS_BYTES, "%u %u\n", shape->calls, id);
    else
        snprintf(begins, REQUEST_BEGINS_BYTES, "%u%c", id, shape->query == QUERY_SLOW ? '\n' : ' ');
}

static bool sleeps(const struct shape *shape) {
    return shape->query == QUERY_SLOW || shape->query == QUERY_CALLS;
}

static int make_requests(const struct shape *shape, const struct url *url, struct request_set **set,
                         struct error *error) {
    unsigned ids[REQUESTS_MOST];
    char *lines = NULL;
    size_t length = 0;
    uint64_t state = 1;
    FILE *text = open_memstream(&lines, &length);
    if (!text)
        return error_set(error, -ENOMEM, "out of memory for the requests");
    for (size_t i = 0; i < REQUESTS_MOST; i++) {
        ids[i] = sleeps(shape) ? shape->slow_ms : 1 + next_random(&state) % most_id(shape);
        write_line(text, shape, ids[i]);
    }
    bool bad = ferror(text);
    int failure = fclose(text) || bad ? error_set(error, -ENOMEM, "out of memory for the requests")
                                      : request_set_open(&(struct request_options){.lines = lines},
                                                         url, set, error);
    free(lines);
    for (size_t i = 0; !failure && i < REQUESTS_MOST; i++)
        write_begin((*set)->requests[i].begins, shape, ids[i]);
    return failure;
}

static int database_start(const struct client_setup *setup, struct client **client,
                          struct error *error) {
    struct request_set *set;
    const struct shape shape = {
        .query = (enum database_query)knob_get(setup->knobs, "query"),
        .rows = (unsigned)knob_get(setup->knobs, "rows"),
        .slow_ms = (unsigned)(knob_get(setup->knobs, "slow_time") / (double)NS_PER_MS),
        .calls = (unsigned)knob_get(setup->knobs, "calls"),
    };
    if (setup->requests)
        return http_client.start(setup, client, error);
    int failure = make_requests(&shape, setup->url, &set, error);
    return failure ? failure : http_client_start_with(setup, set, client, error);
}

static int database_connect(struct client *client, const struct endpoint *source, void *slot,
                            void **connection) {
    return http_client.connect(client, source, slot, connection);
}

static int database_request(void *connection) {
    return http_client.request(connection);
}

static void database_stop(struct client *client) {
    http_client.stop(client);
}

const struct workload_client database_client = {.start = database_start,
                                                .connect = database_connect,
                                                .request = database_request,
                                                .stop = database_stop};
