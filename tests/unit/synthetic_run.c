/* synthetic_run.c: see synthetic_run.h. */
#include "synthetic_run.h"

#include <stdio.h>
#include <string.h>

#include "loops/check.h"

static json_t *words(const char *text, const char *key) {
    json_t *list = json_array();
    char copy[256], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", text);
    while ((word = strsep(&rest, " ")) != NULL) {
        if (*word)
            json_array_append_new(list, key ? json_pack("{s:s}", key, word) : json_string(word));
    }
    return list;
}

json_t *synthetic_run(const char *measure, const char *axes, const char *servers) {
    json_t *run =
        json_pack("{s:i, s:[s], s:s, s:b, s:i, s:s, s:{s:s, s:[]}, s:{s:b}, "
                  "s:[{s:s, s:s, s:s, s:s, s:o, s:o, s:[], s:[]}], s:[], s:[]}",
                  "schema", 1, "command", "loopmark", "revision", "0123456", "complete", 1, "seed",
                  1, "scope", "full", "environment", "caption", "no machine", "warnings", "pinning",
                  "shared", 0, "experiments", "name", "made-up", "question", "Does it count?",
                  "measure", measure, "workload", "echo", "axes", words(axes, NULL), "servers",
                  words(servers, "name"), "claims", "skipped", "repetitions", "latency");
    CHECK(run);
    return run;
}

json_t *synthetic_repetition(json_t *run, const char *cell, const char *server, int block,
                             double per_s) {
    const char *measure = json_string_value(json_object_get(synthetic_experiment(run), "measure"));
    double ns = 1e9 / per_s;
    json_t *repetition = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:b, s:[], s:s?, s:f, s:{}, s:{s:f, s:f, s:f, s:i}, "
        "s:{s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f}, s:i}, s:{s:f, s:i, s:i, s:i}}",
        "experiment", "made-up", "cell", cell, "server_name", server, "block", block, "position", 0,
        "valid", 1, "invalid", "bound", strcmp(measure, "capacity") == 0 ? "server" : NULL,
        "achieved_rate", per_s, "knobs", "response_ns", "p50", ns, "p99", 4 * ns, "p999", 9 * ns,
        "count", 400000, "server", "cpu_us_per_request", 1e6 / per_s, "busy", 0.99,
        "user_us_per_request", 0.1e6 / per_s, "events_per_wait", 4.0, "syscalls_per_request",
        "wait", 0.25, "read", 1.0, "send", 1.0, "max_rss_bytes", 8 << 20, "client", "busy", 0.5,
        "connections", 16, "slowest_connection_requests", 900, "median_connection_requests", 1000);
    CHECK(repetition);
    synthetic_set(repetition, "server.workload", json_object());
    json_array_append_new(json_object_get(run, "repetitions"), repetition);
    return repetition;
}

void synthetic_set(json_t *object, const char *path, json_t *value) {
    char copy[128], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", path);
    while ((word = strsep(&rest, ".")) != NULL && rest)
        object = json_object_get(object, word);
    CHECK(json_object_set_new(object, word, value) == 0);
}

void synthetic_invalidate(json_t *repetition, const char *reason) {
    synthetic_set(repetition, "valid", json_false());
    json_array_append_new(json_object_get(repetition, "invalid"), json_string(reason));
}

void synthetic_claim(json_t *run, const char *name, const char *rule) {
    json_array_append_new(
        json_object_get(synthetic_experiment(run), "claims"),
        json_pack("{s:s, s:s, s:s}", "name", name, "says", "so it is said", "rule", rule));
}

json_t *synthetic_experiment(json_t *run) {
    return json_array_get(json_object_get(run, "experiments"), 0);
}
