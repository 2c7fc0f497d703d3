/* offload_client.c: see offload_client.h. */
#include "offload_client.h"

#include <stdio.h>

#include "http_client.h"
#include "request_set.h"

enum { REQUEST_LIGHT, REQUEST_JOB, REQUEST_MIX, REQUEST_PASSES };

const char *const offload_request_words[] = {
    [REQUEST_LIGHT] = "light",
    [REQUEST_JOB] = "job",
    [REQUEST_MIX] = "mix",
    [REQUEST_PASSES] = "passes",
    NULL,
};

/* The one line of a mix (request_set.h). */
static void write_line(const struct knob_values *knobs, char *line, size_t size) {
    int request = (int)knob_get(knobs, "request");
    if (request == REQUEST_PASSES)
        snprintf(line, size, "1 GET /passes/%.0f\n", knob_get(knobs, "passes"));
    else
        snprintf(line, size, "1 GET /%s\n", offload_request_words[request]);
}

static int offload_start(const struct client_setup *setup, struct client **client,
                         struct error *error) {
    char line[64];
    struct request_set *set;
    const struct request_options options = {.lines = line};
    if (setup->requests)
        return http_client.start(setup, client, error);
    write_line(setup->knobs, line, sizeof line);
    int failure = request_set_open(&options, setup->url, &set, error);
    return failure ? failure : http_client_start_with(setup, set, client, error);
}

static int offload_connect(struct client *client, const struct endpoint *source, void *slot,
                           void **connection) {
    return http_client.connect(client, source, slot, connection);
}

static int offload_request(void *connection) {
    return http_client.request(connection);
}

static void offload_stop(struct client *client) {
    http_client.stop(client);
}

const struct workload_client offload_client = {.start = offload_start,
                                               .connect = offload_connect,
                                               .request = offload_request,
                                               .stop = offload_stop};
