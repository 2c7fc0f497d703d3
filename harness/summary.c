/* summary.c: see summary.h. */
#include "harness/summary.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/file.h"
#include "loops/check.h"

#define CONFIDENCE 0.95
#define P50_SAMPLES 384
#define P99_SAMPLES 38000
#define P999_SAMPLES 384000
#define EQUAL_RATES 0.01

const struct metric_kind metric_kinds[SUMMARY_METRICS] = {
    [SUMMARY_THROUGHPUT] = {"throughput", "throughput_per_s", "achieved_rate", NULL, 1, 0, false},
    [SUMMARY_P50] = {"p50", "p50_ms", "response_ns.p50", NULL, 1e-6, P50_SAMPLES, true},
    [SUMMARY_P99] = {"p99", "p99_ms", "response_ns.p99", NULL, 1e-6, P99_SAMPLES, true},
    [SUMMARY_P999] = {"p999", "p999_ms", "response_ns.p999", NULL, 1e-6, P999_SAMPLES, true},
    [SUMMARY_CPU] = {"cpu_per_request", "server_cpu_us_per_request", "server.cpu_us_per_request",
                     NULL, 1, 0, false},
    [SUMMARY_SERVER_BUSY] = {"server_busy", "server_busy", "server.busy", NULL, 1, 0, false},
    [SUMMARY_CLIENT_BUSY] = {"client_busy", "client_busy", "client.busy", NULL, 1, 0, false},
    [SUMMARY_MAX_RSS] = {"rss", "max_rss_bytes", "server.max_rss_bytes", NULL, 1, 0, false},
    [SUMMARY_FLOOR] = {"floor", "floor_us_per_request", "floor_us_per_request", NULL, 1, 0, false},
    [SUMMARY_CPU_OVER_FLOOR] = {"cpu_over_floor", "server_cpu_over_floor",
                                "server.cpu_us_per_request", "floor_us_per_request", 1, 0, false},
    [SUMMARY_USER] = {"user_per_request", "server_user_us_per_request",
                      "server.user_us_per_request", NULL, 1, 0, false},
    [SUMMARY_WAITS] = {"waits", "waits_per_request", "server.syscalls_per_request.wait", NULL, 1, 0,
                       false},
    [SUMMARY_READS] = {"reads", "reads_per_request", "server.syscalls_per_request.read", NULL, 1, 0,
                       false},
    [SUMMARY_SENDS] = {"sends", "sends_per_request", "server.syscalls_per_request.send", NULL, 1, 0,
                       false},
    [SUMMARY_EVENTS] = {"events_per_wait", "events_per_wait", "server.events_per_wait", NULL, 1, 0,
                        false},
    [SUMMARY_FAIRNESS] = {"fairness", "slowest_over_median_connection",
                          "client.slowest_connection_requests", "client.median_connection_requests",
                          1, 0, false},
    [SUMMARY_RSS_PER_CONNECTION] = {"rss_per_connection", "max_rss_bytes_per_connection",
                                    "server.max_rss_bytes", "client.connections", 1, 0, false},
    [SUMMARY_OFFLOAD_WAIT_P50] = {"offload_wait_p50", "offload_wait_p50_us",
                                  "server.workload.queue_wait_p50_ns", NULL, 1e-3, 0, true},
    [SUMMARY_OFFLOAD_WAIT_P99] = {"offload_wait_p99", "offload_wait_p99_us",
                                  "server.workload.queue_wait_p99_ns", NULL, 1e-3, 0, true},
    [SUMMARY_OFFLOAD_RETURN_P50] = {"offload_return_p50", "offload_return_p50_us",
                                    "server.workload.delivery_p50_ns", NULL, 1e-3, 0, true},
    [SUMMARY_OFFLOAD_RETURN_P99] = {"offload_return_p99", "offload_return_p99_us",
                                    "server.workload.delivery_p99_ns", NULL, 1e-3, 0, true},
    [SUMMARY_OFFLOAD_P50] = {"offload_p50", "offload_p50_us", "server.workload.offload_p50_ns",
                             NULL, 1e-3, 0, true},
    [SUMMARY_OFFLOAD_P99] = {"offload_p99", "offload_p99_us", "server.workload.offload_p99_ns",
                             NULL, 1e-3, 0, true},
};

enum metric metric_find(const char *name) {
    enum metric metric = 0;
    while (metric < SUMMARY_METRICS && strcmp(metric_kinds[metric].name, name) != 0)
        metric++;
    return metric;
}

const json_t *summary_at(const json_t *object, const char *path) {
    char key[64];
    while (object && *path) {
        size_t length = strcspn(path, ".");
        CHECK(length < sizeof key);
        memcpy(key, path, length);
        key[length] = '\0';
        object = json_object_get(object, key);
        path += length + (path[length] == '.');
    }
    return json_is_null(object) ? NULL : object;
}

static const char *text_at(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static bool number_at(const json_t *object, const char *path, double *value) {
    const json_t *found = summary_at(object, path);
    *value = json_number_value(found);
    return json_is_number(found) && isfinite(*value);
}

bool metric_value(const json_t *repetition, enum metric metric, double *value) {
    const struct metric_kind *kind = &metric_kinds[metric];
    double divisor = 1;
    bool known = number_at(repetition, kind->path, value) &&
                 (!kind->per || (number_at(repetition, kind->per, &divisor) && divisor > 0));
    *value *= known ? kind->scale / divisor : 1;
    return known;
}

static bool is_valid(const json_t *repetition) {
    return json_is_true(json_object_get(repetition, "valid"));
}

/* The array grown by one zeroed element, which is returned; null without memory. */
static void *append(void *array, size_t *count, size_t size) {
    void **pointer = array;
    char *grown = realloc(*pointer, (*count + 1) * size);
    if (!grown)
        return NULL;
    *pointer = grown;
    return memset(grown + size * (*count)++, 0, size);
}

/* ---- reading the record ---------------------------------------------------------------------- */

/* An enum measure, or -1. */
static int measure_index(const char *name) {
    for (int i = 0; name && measure_names[i]; i++)
        if (strcmp(measure_names[i], name) == 0)
            return i;
    return -1;
}

static int check_experiment(const json_t *json, size_t index, struct error *error) {
    const char *name = text_at(json, "name"), *measure = text_at(json, "measure");
    if (!name || !*name || strchr(name, '/'))
        return error_set(error, -EINVAL, "run.json: experiments[%zu].name is missing or not a name",
                         index);
    if (measure_index(measure) < 0)
        return error_set(error, -EINVAL,
                         "run.json: experiment %s: measure is not one that is known", name);
    if (json_array_size(json_object_get(json, "axes")) > AXES_MOST)
        return error_set(error, -EINVAL, "run.json: experiment %s: more than %d axes", name,
                         AXES_MOST);
    return 0;
}

/* The text after "axis=" in a cell's name; null if the axis is not there. */
static const char *axis_text(const char *cell, const char *axis) {
    size_t length = strlen(axis);
    for (const char *word = cell; *word; word += strspn(word, " ")) {
        if (strncmp(word, axis, length) == 0 && word[length] == '=')
            return word + length + 1;
        word += strcspn(word, " ");
    }
    return NULL;
}

static double axis_value(const json_t *repetition, const char *cell, const char *axis) {
    /* In the record a knob's name ends in its unit, also where the axis' name does not. */
    static const char *const units[] = {"", "_ns", "_per_s"};
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", axis, units[i]);
        const json_t *knob = json_object_get(json_object_get(repetition, "knobs"), name);
        if (json_is_number(knob))
            return json_number_value(knob);
    }
    const char *text = axis_text(cell, axis);
    char *end;
    double value = text ? strtod(text, &end) : NAN;
    return text && end != text && (*end == '\0' || *end == ' ') ? value : NAN;
}

/* The axes' values come from the plan; a record without one has them in its repetitions. */
static struct summary_cell *add_cell(struct summary_experiment *experiment, const char *name,
                                     const json_t *planned, const json_t *repetition) {
    struct summary_row *rows = calloc(experiment->server_count, sizeof *rows);
    struct summary_cell *cell =
        rows ? append(&experiment->cells, &experiment->cell_count, sizeof *cell) : NULL;
    if (!cell) {
        free(rows);
        return NULL;
    }
    cell->name = name;
    cell->rows = rows;
    for (size_t i = 0; i < experiment->server_count; i++)
        rows[i].server = experiment->servers[i];
    for (size_t i = 0; i < experiment->axis_count; i++)
        cell->values[i] = planned ? json_number_value(json_array_get(planned, i))
                                  : axis_value(repetition, name, experiment->axes[i]);
    return cell;
}

static int read_experiment(struct summary_experiment *experiment, const json_t *json, size_t index,
                           struct error *error) {
    int err = check_experiment(json, index, error);
    if (err < 0)
        return err;
    experiment->json = json;
    experiment->name = text_at(json, "name");
    experiment->question = text_at(json, "question");
    experiment->measure = (enum measure)measure_index(text_at(json, "measure"));
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(json, "axes"), i, item) {
        const char *axis = json_string_value(item);
        experiment->axes[experiment->axis_count++] = axis ? axis : "?";
    }
    json_array_foreach(json_object_get(json, "servers"), i, item) {
        const char **server =
            append(&experiment->servers, &experiment->server_count, sizeof *experiment->servers);
        if (!server)
            return error_set(error, -ENOMEM, "out of memory");
        *server = text_at(item, "name");
        if (!*server)
            return error_set(error, -EINVAL, "run.json: experiment %s: servers[%zu] has no name",
                             experiment->name, i);
    }
    json_array_foreach(json_object_get(json, "cells"), i, item) {
        const char *name = text_at(item, "cell");
        if (!name)
            return error_set(error, -EINVAL, "run.json: experiment %s: cells[%zu] has no name",
                             experiment->name, i);
        if (!add_cell(experiment, name, json_object_get(item, "values"), NULL))
            return error_set(error, -ENOMEM, "out of memory");
    }
    return 0;
}

static int add_repetition(struct summary *summary, const json_t *repetition, size_t index,
                          struct error *error) {
    const char *experiment_name = text_at(repetition, "experiment");
    const char *cell_name = text_at(repetition, "cell");
    const char *server = text_at(repetition, "server_name");
    if (!experiment_name || !cell_name || !server ||
        !json_is_boolean(json_object_get(repetition, "valid")) ||
        !json_is_integer(json_object_get(repetition, "block")))
        return error_set(error, -EINVAL,
                         "run.json: repetitions[%zu] lacks one of experiment, cell, server_name, "
                         "block and valid",
                         index);
    struct summary_experiment *experiment =
        (struct summary_experiment *)summary_find_experiment(summary, experiment_name);
    if (!experiment)
        return error_set(error, -EINVAL, "run.json: repetitions[%zu]: no experiment is named %s",
                         index, experiment_name);
    struct summary_cell *cell = (struct summary_cell *)summary_find_cell(experiment, cell_name);
    if (!cell)
        cell = add_cell(experiment, cell_name, NULL, repetition);
    if (!cell)
        return error_set(error, -ENOMEM, "out of memory");
    struct summary_row *row = (struct summary_row *)summary_find_row(experiment, cell, server);
    if (!row)
        return error_set(error, -EINVAL, "run.json: repetitions[%zu]: %s has no server named %s",
                         index, experiment_name, server);
    const json_t **slot = append(&row->repetitions, &row->count, sizeof *row->repetitions);
    if (!slot)
        return error_set(error, -ENOMEM, "out of memory");
    *slot = repetition;
    return 0;
}

/* ---- summing up a row ------------------------------------------------------------------------ */

static int count_reason(struct summary_row *row, const char *text) {
    size_t i = 0;
    while (i < row->reason_count && strcmp(row->reasons[i].text, text) != 0)
        i++;
    if (i == row->reason_count) {
        struct invalid_reason *reason =
            append(&row->reasons, &row->reason_count, sizeof *row->reasons);
        if (!reason)
            return -ENOMEM;
        reason->text = text;
    }
    row->reasons[i].count++;
    return 0;
}

static enum bound bound_of(const json_t *repetition) {
    const char *text = text_at(repetition, "bound");
    enum bound bound = BOUNDS - 1;
    while (bound > BOUND_NONE && (!text || strcmp(text, bound_name(bound)) != 0))
        bound--;
    return bound;
}

/* The weakest statement that holds for a quarter of them or more. BOUND_… stand in that order. */
static enum bound weakest_of(const size_t counts[BOUNDS], size_t total) {
    for (enum bound bound = BOUNDS - 1; bound > BOUND_NONE; bound--)
        if (counts[bound] > 0 && 4 * counts[bound] >= total)
            return bound;
    return BOUND_NONE;
}

static int sum_up_validity(struct summary_row *row) {
    size_t bounds[BOUNDS] = {0};
    row->least_samples = INFINITY;
    for (size_t i = 0; i < row->count; i++) {
        const json_t *repetition = row->repetitions[i], *reason;
        size_t k;
        json_array_foreach(json_object_get(repetition, "invalid"), k, reason) {
            const char *text = json_string_value(reason);
            if (text && count_reason(row, text) < 0)
                return -ENOMEM;
        }
        if (!is_valid(repetition))
            continue;
        double samples;
        row->valid++;
        bounds[bound_of(repetition)]++;
        row->least_samples = fmin(
            row->least_samples, number_at(repetition, "response_ns.count", &samples) ? samples : 0);
    }
    row->least_samples = row->valid > 0 ? row->least_samples : 0;
    row->bound = weakest_of(bounds, row->valid);
    return 0;
}

static int sum_up_metric(struct summary_row *row, enum metric metric) {
    struct spread *spread = &row->metrics[metric];
    double values[STATISTICS_MAX_VALUES];
    size_t count = 0;
    for (size_t i = 0; i < row->count; i++) {
        double value;
        if (!is_valid(row->repetitions[i]) || !metric_value(row->repetitions[i], metric, &value))
            continue;
        if (count == STATISTICS_MAX_VALUES)
            return -E2BIG;
        values[count++] = value;
    }
    *spread = (struct spread){.median = NAN, .least = NAN, .most = NAN};
    if (count == 0)
        return 0;
    int err = median_interval(values, count, CONFIDENCE, &spread->interval);
    spread->median = median_in_place(values, count);
    spread->least = values[0];
    spread->most = values[count - 1];
    return err;
}

static int sum_up_experiment(struct summary_experiment *experiment, struct error *error) {
    for (size_t c = 0; c < experiment->cell_count; c++) {
        for (size_t s = 0; s < experiment->server_count; s++) {
            struct summary_row *row = &experiment->cells[c].rows[s];
            int err = sum_up_validity(row);
            for (enum metric metric = 0; metric < SUMMARY_METRICS && err == 0; metric++)
                err = sum_up_metric(row, metric);
            if (err < 0)
                return error_set(error, err, "run.json: %s, %s, %s: %s", experiment->name,
                                 experiment->cells[c].name, row->server, strerror(-err));
        }
    }
    return 0;
}

static int by_axes(const void *left, const void *right) {
    const struct summary_cell *a = left, *b = right;
    for (size_t i = 0; i < AXES_MOST; i++) {
        if (a->values[i] < b->values[i])
            return -1;
        if (a->values[i] > b->values[i])
            return 1;
    }
    return strcmp(a->name, b->name);
}

int summary_init(struct summary *summary, const json_t *run, struct error *error) {
    *summary = (struct summary){.run = run};
    if (json_integer_value(json_object_get(run, "schema")) != 1)
        return error_set(error, -EINVAL, "run.json: not a record of schema 1");
    summary->shared_cpu = json_is_true(summary_at(run, "pinning.shared"));
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(run, "experiments"), i, item) {
        struct summary_experiment *experiment =
            append(&summary->experiments, &summary->experiment_count, sizeof *experiment);
        if (!experiment)
            return error_set(error, -ENOMEM, "out of memory");
        int err = read_experiment(experiment, item, i, error);
        if (err < 0)
            return err;
    }
    json_array_foreach(json_object_get(run, "repetitions"), i, item) {
        int err = add_repetition(summary, item, i, error);
        if (err < 0)
            return err;
    }
    for (i = 0; i < summary->experiment_count; i++) {
        struct summary_experiment *experiment = &summary->experiments[i];
        if (experiment->cell_count > 0)
            qsort(experiment->cells, experiment->cell_count, sizeof *experiment->cells, by_axes);
        int err = sum_up_experiment(experiment, error);
        if (err < 0)
            return err;
    }
    return 0;
}

void summary_free(struct summary *summary) {
    for (size_t i = 0; i < summary->experiment_count; i++) {
        struct summary_experiment *experiment = &summary->experiments[i];
        for (size_t c = 0; c < experiment->cell_count; c++) {
            for (size_t s = 0; s < experiment->server_count; s++) {
                free(experiment->cells[c].rows[s].repetitions);
                free(experiment->cells[c].rows[s].reasons);
            }
            free(experiment->cells[c].rows);
        }
        free(experiment->cells);
        free(experiment->servers);
    }
    free(summary->experiments);
    *summary = (struct summary){0};
}

/* ---- looking up ------------------------------------------------------------------------------ */

const struct summary_experiment *summary_find_experiment(const struct summary *summary,
                                                         const char *name) {
    for (size_t i = 0; i < summary->experiment_count; i++)
        if (summary->experiments[i].name && strcmp(summary->experiments[i].name, name) == 0)
            return &summary->experiments[i];
    return NULL;
}

const struct summary_cell *summary_find_cell(const struct summary_experiment *experiment,
                                             const char *name) {
    for (size_t i = 0; i < experiment->cell_count; i++)
        if (strcmp(experiment->cells[i].name, name) == 0)
            return &experiment->cells[i];
    return NULL;
}

const struct summary_row *summary_find_row(const struct summary_experiment *experiment,
                                           const struct summary_cell *cell, const char *server) {
    for (size_t i = 0; i < experiment->server_count; i++)
        if (strcmp(experiment->servers[i], server) == 0)
            return &cell->rows[i];
    return NULL;
}

bool summary_axis_is(const struct summary_cell *cell, const char *axis, const char *text) {
    const char *word = axis_text(cell->name, axis);
    size_t length = strcspn(text, " ");
    return word && strcspn(word, " ") == length && strncmp(word, text, length) == 0;
}

bool summary_same_value(const struct summary_cell *a, const struct summary_cell *b,
                        const char *axis) {
    const char *word = axis_text(b->name, axis);
    return word && summary_axis_is(a, axis, word);
}

double summary_cell_floor(const struct summary_experiment *experiment,
                          const struct summary_cell *cell) {
    const struct spread *best = NULL;
    for (size_t i = 0; i < experiment->server_count; i++) {
        const struct spread *spread = &cell->rows[i].metrics[SUMMARY_FLOOR];
        if (!best || spread->interval.n > best->interval.n)
            best = spread;
    }
    return best && best->interval.n > 0 ? best->median : NAN;
}

/* ---- labels ---------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void scaled(double value, const double *scales, const char *const *units, size_t count,
                   char *text, size_t size) {
    size_t i = 0;
    while (i + 1 < count && fabs(value) < scales[i])
        i++;
    snprintf(text, size, "%.4g %s", value / scales[i], units[i]);
}

/* The axis as people say it: "1 KiB", "job 50 µs", "3 connections"; else "name value". */
static void axis_label(const char *axis, double value, const char *cell, char *text, size_t size) {
    static const double byte_scales[] = {1 << 30, 1 << 20, 1 << 10, 1};
    static const char *const byte_units[] = {"GiB", "MiB", "KiB", "B"};
    static const double time_scales[] = {1e9, 1e6, 1e3, 1};
    static const char *const time_units[] = {"s", "ms", "µs", "ns"};
    char number[64];
    const char *raw = axis_text(cell, axis);
    if (ends_with(axis, "_bytes") && !isnan(value)) {
        scaled(value, byte_scales, byte_units, ARRAY_LENGTH(byte_units), number, sizeof number);
        if (strcmp(axis, "size_bytes") == 0)
            snprintf(text, size, "%s", number);
        else
            snprintf(text, size, "%.*s %s", (int)(strlen(axis) - strlen("_bytes")), axis, number);
    } else if (ends_with(axis, "_ns") && !isnan(value)) {
        scaled(value, time_scales, time_units, ARRAY_LENGTH(time_units), number, sizeof number);
        snprintf(text, size, "%.*s %s", (int)(strlen(axis) - strlen("_ns")), axis, number);
    } else if (ends_with(axis, "_us") && !isnan(value)) {
        scaled(value * 1e3, time_scales, time_units, ARRAY_LENGTH(time_units), number,
               sizeof number);
        snprintf(text, size, "%.*s %s", (int)(strlen(axis) - strlen("_us")), axis, number);
    } else if (ends_with(axis, "connections") && !isnan(value))
        snprintf(text, size, "%.0f %.*s", value, (int)strlen(axis) - (value == 1), axis);
    else
        snprintf(text, size, "%s %.*s", axis, raw ? (int)strcspn(raw, " ") : 1, raw ? raw : "?");
    for (char *c = text; *c; c++)
        *c = *c == '_' ? ' ' : *c;
}

void summary_cell_label(const struct summary_experiment *experiment,
                        const struct summary_cell *cell, unsigned skip,
                        char label[SUMMARY_LABEL_BYTES]) {
    size_t used = 0;
    label[0] = '\0';
    for (size_t i = 0; i < experiment->axis_count; i++) {
        char part[96];
        if (skip & (1u << i))
            continue;
        axis_label(experiment->axes[i], cell->values[i], cell->name, part, sizeof part);
        int length =
            snprintf(label + used, SUMMARY_LABEL_BYTES - used, "%s%s", used ? ", " : "", part);
        used += (size_t)length;
        if (used >= SUMMARY_LABEL_BYTES)
            return;
    }
}

unsigned summary_constant_axes(const struct summary_experiment *experiment) {
    unsigned constant = 0;
    for (size_t i = 0; i < experiment->axis_count; i++) {
        size_t c = 1;
        while (
            c < experiment->cell_count &&
            summary_same_value(&experiment->cells[c], &experiment->cells[0], experiment->axes[i]))
            c++;
        if (experiment->cell_count > 0 && c == experiment->cell_count)
            constant |= 1u << i;
    }
    return constant;
}

/* ---- comparing ------------------------------------------------------------------------------- */

bool summary_row_valid(const struct summary_row *row) {
    return row->valid > 0 && 2 * row->valid >= row->count;
}

struct summary_flags summary_own_flags(const struct summary *summary,
                                       const struct summary_experiment *experiment,
                                       const struct summary_row *row, enum metric metric) {
    const struct metric_kind *kind = &metric_kinds[metric];
    if (!row || row->count == 0)
        return (struct summary_flags){.missing = true, .shared_cpu = summary->shared_cpu};
    return (struct summary_flags){
        .missing = row->valid > 0 && row->metrics[metric].interval.n == 0,
        .invalid = !summary_row_valid(row),
        .co_limited = metric == SUMMARY_THROUGHPUT && row->bound == BOUND_CO_LIMITED,
        .few_samples = row->least_samples < kind->samples,
        .shared_cpu = summary->shared_cpu,
        .confounded = kind->quantile && experiment->measure == MEASURE_CAPACITY,
    };
}

const char *summary_obstacle(const struct summary_flags *flags) {
    return flags->missing        ? "not measured"
           : flags->invalid      ? "invalid"
           : flags->shared_cpu   ? "shared CPU"
           : flags->co_limited   ? "co-limited"
           : flags->unequal_load ? "unequal load"
           : flags->few_samples  ? "too few samples"
                                 : NULL;
}

static bool saturated(const struct summary_row *row) {
    return row->bound == BOUND_SERVER || row->bound == BOUND_CO_LIMITED;
}

static bool loads_differ(const struct summary_row *a, const struct summary_row *b) {
    double rate_a = a->metrics[SUMMARY_THROUGHPUT].median;
    double rate_b = b->metrics[SUMMARY_THROUGHPUT].median;
    bool equal = fabs(rate_a - rate_b) <= EQUAL_RATES * fmax(rate_a, rate_b);
    return !(saturated(a) && saturated(b)) && !equal;
}

/* A block has a second repetition of a server when the machine spoilt the first. */
static const json_t *valid_in_block(const struct summary_row *row, json_int_t block) {
    for (size_t i = 0; i < row->count; i++)
        if (json_integer_value(json_object_get(row->repetitions[i], "block")) == block &&
            is_valid(row->repetitions[i]))
            return row->repetitions[i];
    return NULL;
}

/* Pairs the values of the blocks in which both are valid. Log ratios need positive ones. */
static int pair_blocks(const struct summary_row *first, const struct summary_row *second,
                       enum metric metric, double a[STATISTICS_MAX_VALUES],
                       double b[STATISTICS_MAX_VALUES], size_t *count) {
    *count = 0;
    for (size_t i = 0; i < first->count; i++) {
        const json_t *block = json_object_get(first->repetitions[i], "block");
        const json_t *mate = valid_in_block(second, json_integer_value(block));
        double value_a, value_b;
        if (!mate || !is_valid(first->repetitions[i]) ||
            !metric_value(first->repetitions[i], metric, &value_a) ||
            !metric_value(mate, metric, &value_b) || value_a <= 0 || value_b <= 0)
            continue;
        if (*count == STATISTICS_MAX_VALUES)
            return -E2BIG;
        a[*count] = value_a;
        b[(*count)++] = value_b;
    }
    return 0;
}

int summary_compare_rows(const struct summary *summary, const struct summary_experiment *experiment,
                         const struct summary_row *row_a, const struct summary_row *row_b,
                         enum metric metric, struct summary_comparison *comparison) {
    struct summary_flags a = summary_own_flags(summary, experiment, row_a, metric);
    struct summary_flags b = summary_own_flags(summary, experiment, row_b, metric);
    *comparison = (struct summary_comparison){
        .ratio = {.estimate = NAN, .low = 0, .high = INFINITY},
        .flags =
            {
                .missing = a.missing || b.missing,
                .invalid = a.invalid || b.invalid,
                .co_limited = a.co_limited || b.co_limited,
                .few_samples = a.few_samples || b.few_samples,
                .shared_cpu = a.shared_cpu,
                .confounded = a.confounded || b.confounded,
            },
    };
    if (comparison->flags.missing)
        return 0;
    comparison->flags.unequal_load = metric == SUMMARY_CPU && loads_differ(row_a, row_b);
    double values_a[STATISTICS_MAX_VALUES], values_b[STATISTICS_MAX_VALUES];
    size_t blocks;
    int err = pair_blocks(row_a, row_b, metric, values_a, values_b, &blocks);
    if (err < 0)
        return err;
    if (blocks == 0) {
        comparison->flags.invalid = true;
        return 0;
    }
    return compare_blocks(values_a, values_b, blocks, CONFIDENCE, &comparison->ratio);
}

int summary_compare(const struct summary *summary, const struct summary_experiment *experiment,
                    const struct summary_cell *cell, const char *first, const char *second,
                    enum metric metric, struct summary_comparison *comparison) {
    return summary_compare_rows(summary, experiment, summary_find_row(experiment, cell, first),
                                summary_find_row(experiment, cell, second), metric, comparison);
}

/* ---- CSV (RFC 4180, but lines end in a newline alone) ---------------------------------------- */

static void print_field(FILE *file, const char *text) {
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, file);
        return;
    }
    putc('"', file);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', file);
        putc(*text, file);
    }
    putc('"', file);
}

/* Not known is an empty field, never zero. */
static void print_number(FILE *file, bool known, double value) {
    if (known && isfinite(value))
        fprintf(file, ",%.10g", value);
    else
        putc(',', file);
}

static void print_row(FILE *file, const struct summary_experiment *experiment,
                      const struct summary_cell *cell, const struct summary_row *row) {
    print_field(file, cell->name);
    for (size_t i = 0; i < experiment->axis_count; i++)
        print_number(file, true, cell->values[i]);
    putc(',', file);
    print_field(file, row->server);
    fprintf(file, ",%zu,%zu,%s,%.0f", row->count, row->valid, bound_name(row->bound),
            row->least_samples);
    for (enum metric metric = 0; metric < SUMMARY_METRICS; metric++) {
        const struct spread *spread = &row->metrics[metric];
        print_number(file, spread->interval.n > 0, spread->median);
        print_number(file, spread->interval.bounded, spread->interval.low);
        print_number(file, spread->interval.bounded, spread->interval.high);
    }
    fprintf(file, ",%d,%d\n", row->least_samples >= P99_SAMPLES,
            row->least_samples >= P999_SAMPLES);
}

static int print_experiment(FILE *file, void *data) {
    const struct summary_experiment *experiment = data;
    fputs("cell", file);
    for (size_t i = 0; i < experiment->axis_count; i++) {
        putc(',', file);
        print_field(file, experiment->axes[i]);
    }
    fputs(",server,repetitions,valid,bound,least_samples", file);
    for (enum metric metric = 0; metric < SUMMARY_METRICS; metric++) {
        const char *column = metric_kinds[metric].column;
        fprintf(file, ",%s,%s_low,%s_high", column, column, column);
    }
    fputs(",p99_enough_samples,p999_enough_samples\n", file);
    for (size_t c = 0; c < experiment->cell_count; c++)
        for (size_t s = 0; s < experiment->server_count; s++)
            print_row(file, experiment, &experiment->cells[c], &experiment->cells[c].rows[s]);
    return 0;
}

static const char *const repetition_columns[][2] = {
    {"experiment", "experiment"},
    {"cell", "cell"},
    {"block", "block"},
    {"position", "position"},
    {"server", "server_name"},
    {"loop", "loop"},
    {"workload", "workload"},
    {"measure", "measure"},
    {"arrivals", "arrivals"},
    {"valid", "valid"},
    {"invalid", "invalid"},
    {"bound", "bound"},
    {"window_ns", "window_ns"},
    {"offered_rate_per_s", "offered_rate"},
    {"achieved_rate_per_s", "achieved_rate"},
    {"requests", "requests"},
    {"errors", "errors"},
    {"response_p50_ns", "response_ns.p50"},
    {"response_p90_ns", "response_ns.p90"},
    {"response_p99_ns", "response_ns.p99"},
    {"response_p999_ns", "response_ns.p999"},
    {"response_max_ns", "response_ns.max"},
    {"response_count", "response_ns.count"},
    {"service_p99_ns", "service_ns.p99"},
    {"lag_p99_ns", "lag_ns.p99"},
    {"server_cpu_us_per_request", "server.cpu_us_per_request"},
    {"server_user_us_per_request", "server.user_us_per_request"},
    {"server_busy", "server.busy"},
    {"server_context_switches_per_request", "server.context_switches_per_request"},
    {"server_max_rss_bytes", "server.max_rss_bytes"},
    {"client_cpu_us_per_request", "client.cpu_us_per_request"},
    {"client_busy", "client.busy"},
    {"steal_share", "host.steal_share"},
    {"load_1m", "host.load_1m"},
    {"floor_us_per_request", "floor_us_per_request"},
};

static double sum_of_members(const json_t *object) {
    double sum = 0;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)object, key, member) sum += json_number_value(member);
    return sum;
}

/* Reasons and error counts are lists in the record; one field has room for them joined and summed.
 */
static void print_value(FILE *file, const json_t *value) {
    char joined[1024];
    size_t used = 0, i;
    const json_t *item;
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        print_field(file, json_string_value(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        fprintf(file, "%.12g", json_number_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        putc(json_is_true(value) ? '1' : '0', file);
        break;
    case JSON_OBJECT:
        fprintf(file, "%.0f", sum_of_members(value));
        break;
    case JSON_ARRAY:
        joined[0] = '\0';
        json_array_foreach(value, i, item) {
            const char *text = json_string_value(item);
            if (text && used < sizeof joined)
                used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s",
                                         used ? "; " : "", text);
        }
        print_field(file, joined);
        break;
    case JSON_NULL:
        break;
    }
}

static int print_repetitions(FILE *file, void *data) {
    const json_t *run = data, *repetition;
    size_t i;
    for (size_t c = 0; c < ARRAY_LENGTH(repetition_columns); c++)
        fprintf(file, "%s%s", c ? "," : "", repetition_columns[c][0]);
    putc('\n', file);
    json_array_foreach(json_object_get(run, "repetitions"), i, repetition) {
        for (size_t c = 0; c < ARRAY_LENGTH(repetition_columns); c++) {
            if (c > 0)
                putc(',', file);
            print_value(file, summary_at(repetition, repetition_columns[c][1]));
        }
        putc('\n', file);
    }
    return 0;
}

int summary_write_csv(const struct summary *summary, const char *directory, struct error *error) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/repetitions.csv", directory);
    int err = file_write_whole(path, print_repetitions, (void *)(uintptr_t)summary->run, error);
    for (size_t i = 0; i < summary->experiment_count && err == 0; i++) {
        snprintf(path, sizeof path, "%s/%s.csv", directory, summary->experiments[i].name);
        err = file_write_whole(path, print_experiment, &summary->experiments[i], error);
    }
    return err;
}
