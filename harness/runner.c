/* runner.c: see runner.h. */
#include "harness/runner.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/build_info.h"
#include "harness/cell_floor.h"
#include "harness/file.h"
#include "harness/interrupt.h"
#include "harness/latency_log.h"
#include "harness/limits.h"
#include "harness/load.h"
#include "harness/load_knobs.h"
#include "harness/percentile_table.h"
#include "harness/progress.h"
#include "harness/random.h"
#include "harness/record.h"
#include "harness/record_experiment.h"
#include "harness/server.h"
#include "harness/source.h"
#include "harness/units.h"
#include "harness/validity.h"

const char *const scope_names[] = {
    [SCOPE_FULL] = "full", [SCOPE_HEADLINE] = "headline", [SCOPE_SMOKE] = "smoke"};

enum { FAILURES_MOST = 2, RETRY_SHARE = 8, PATH_BYTES = 1024, TAG_BYTES = 128 };
#define SMOKE_WARMUP_NS (100.0 * NS_PER_MS)
#define SMOKE_DURATION_NS (300.0 * NS_PER_MS)
#define OVERHEAD_NS (150.0 * NS_PER_MS) /* starting and stopping a server, until it is measured */

/* What a contender has come to in one cell. */
struct row {
    struct histogram latency; /* of its valid repetitions; closed until there is one */
    unsigned failures;        /* in a row; after FAILURES_MOST it is not tried again */
    bool skipped;
};

struct run {
    const struct run_plan *plan;
    struct run_outcome *outcome;
    struct progress progress;
    struct random order;
    json_t *record, *repetitions, *latency, *logs;
    struct latency_log log; /* all logs of the run begin with it */
    int log_failure;        /* a log could not be written: the run ends */
    struct error log_error;
    uint64_t started_ns;
    unsigned done, planned;
    unsigned retries; /* left, of repetitions that the machine spoilt */
};

/* One experiment under way. */
struct campaign {
    struct run *run;
    const struct experiment *experiment;
    json_t *skipped;
    struct cell *cells; /* those in scope */
    size_t cell_count;
    struct row *rows;          /* cell by cell, contender by contender */
    struct cell_floor *floors; /* cell by cell */
};

static struct row *row_of(const struct campaign *campaign, size_t cell, size_t contender) {
    return &campaign->rows[cell * campaign->experiment->contender_count + contender];
}

static bool headline(const struct run_plan *plan) {
    return plan->scope != SCOPE_FULL;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static unsigned repetitions_of(const struct run_plan *plan, const struct experiment *experiment) {
    if (plan->repetitions > 0)
        return plan->repetitions;
    if (plan->scope == SCOPE_SMOKE)
        return 1;
    return headline(plan) ? experiment->headline_repetitions : experiment->repetitions;
}

/* The cells in scope. A smoke run takes the first headline cell, or the last of all: often the
 * hardest. A headline run has no cells of an experiment without headline. */
static size_t choose_cells(const struct run_plan *plan, const struct experiment *experiment,
                           struct cell **cells) {
    size_t all = experiment_cells(experiment, cells), count = 0;
    for (size_t i = 0; i < all; i++)
        if (!headline(plan) || (*cells)[i].headline)
            (*cells)[count++] = (*cells)[i];
    if (plan->scope != SCOPE_SMOKE)
        return count;
    if (count == 0)
        (*cells)[0] = (*cells)[all - 1];
    return 1;
}

static void knobs_of(const struct run_plan *plan, const struct experiment *experiment,
                     const struct cell *cell, const struct contender *contender,
                     struct knob_values *knobs) {
    experiment_knobs(experiment, cell, contender, headline(plan), knobs);
    if (plan->scope == SCOPE_SMOKE) {
        knob_set_number(knobs, "warmup", SMOKE_WARMUP_NS);
        knob_set_number(knobs, "duration", SMOKE_DURATION_NS);
    }
}

static struct cell_floor floor_of(const struct run_plan *plan, const struct experiment *experiment,
                                  const struct cell *cell) {
    struct knob_values knobs;
    knobs_of(plan, experiment, cell, &experiment->contenders[0], &knobs);
    return cell_floor_plan(experiment->workload, &knobs, &plan->cpus);
}

static unsigned planned_repetitions(const struct run_plan *plan,
                                    const struct experiment *experiment, double *duration_ns) {
    struct cell *cells;
    struct knob_values knobs;
    size_t cell_count = choose_cells(plan, experiment, &cells);
    unsigned count = 0;
    unsigned repetitions = repetitions_of(plan, experiment);
    for (size_t i = 0; i < cell_count; i++) {
        struct cell_floor floor = floor_of(plan, experiment, &cells[i]);
        *duration_ns += repetitions * cell_floor_duration_ns(&floor);
        for (size_t k = 0; k < experiment->contender_count; k++) {
            const struct contender *contender = &experiment->contenders[k];
            if (experiment_excluded(experiment, &cells[i], contender))
                continue;
            knobs_of(plan, experiment, &cells[i], contender, &knobs);
            count += repetitions;
            *duration_ns += repetitions * (knob_get(&knobs, "warmup") +
                                           knob_get(&knobs, "duration") + OVERHEAD_NS);
        }
    }
    free(cells);
    return count;
}

double runner_duration_ns(const struct run_plan *plan) {
    double duration_ns = 0;
    for (size_t i = 0; i < plan->experiment_count; i++)
        planned_repetitions(plan, plan->experiments[i], &duration_ns);
    return duration_ns;
}

/* ---- the record ------------------------------------------------------------------------------ */

static void set_utc_now(json_t *record, const char *key) {
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_object_set_new(record, key, json_string(text));
}

static json_t *pinning(const struct cpu_plan *cpus) {
    char server[CPU_LIST_BYTES], generator[CPU_LIST_BYTES];
    cpu_list_format(&cpus->server, server, sizeof server);
    cpu_list_format(&cpus->generator, generator, sizeof generator);
    return json_pack("{s:s, s:s, s:b, s:s}", "server_cpus", server, "generator_cpus", generator,
                     "shared", cpus->shared, "reason", cpus->text);
}

static json_t *start_record(const struct run_plan *plan) {
    json_t *record = json_object(), *command = json_array();
    json_array_append_new(command, json_string("loopmark"));
    for (int i = 0; i < plan->argc; i++)
        json_array_append_new(command, json_string(plan->argv[i]));
    json_object_set_new(record, "schema", json_integer(RECORD_SCHEMA));
    json_object_set_new(record, "command", command);
    json_object_set_new(record, "revision", json_string(LOOPMARK_REVISION));
    set_utc_now(record, "started_utc");
    json_object_set_new(record, "finished_utc", json_null());
    json_object_set_new(record, "complete", json_false());
    json_object_set_new(record, "ended_because", json_string("still running, or killed"));
    json_object_set_new(record, "seed", json_integer((json_int_t)plan->seed));
    json_object_set_new(record, "scope", json_string(scope_names[plan->scope]));
    json_object_set_new(record, "environment", environment_capture());
    json_object_set_new(record, "pinning", pinning(&plan->cpus));
    json_object_set_new(record, "experiments", json_array());
    json_object_set_new(record, "repetitions", json_array());
    json_object_set_new(record, "latency", json_array());
    json_object_set_new(record, "logs", json_array());
    return record;
}

static int dump_record(FILE *file, void *data) {
    int failed = json_dumpf(data, file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    return failed ? (errno ? -errno : -EIO) : 0; /* file_write_whole has cleared errno */
}

static int save_record(const struct run *run, struct error *error) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/run.json", run->plan->directory);
    return file_write_whole(path, dump_record, run->record, error);
}

static void skip(struct campaign *campaign, const char *server, const char *cell,
                 const char *reason) {
    json_array_append_new(campaign->skipped, json_pack("{s:s, s:s?, s:s}", "server_name", server,
                                                       "cell", cell, "reason", reason));
    campaign->run->outcome->skipped++;
    progress_note(&campaign->run->progress, "%s %s: %s skipped: %s", campaign->experiment->name,
                  cell ? cell : "", server, reason);
}

/* ---- one repetition -------------------------------------------------------------------------- */

struct trial {
    struct campaign *campaign;
    size_t cell, contender;
    unsigned block, position;
    bool again; /* the second try of a repetition that the machine spoilt */
    struct knob_values knobs;
    struct load_plan load_plan;
    struct server_process server;
    struct validity validity;
    struct latency_log log; /* of this repetition, into lines */
    char tag[TAG_BYTES];
    char *lines;
    size_t lines_size;
};

static const struct contender *contender_of(const struct trial *trial) {
    return &trial->campaign->experiment->contenders[trial->contender];
}

static int start_server(struct trial *trial, struct error *error) {
    const struct contender *contender = contender_of(trial);
    struct server_plan plan = {
        .loop = contender->loop,
        .command = contender->command,
        .directory = source_directory(),
        .workload = trial->campaign->experiment->workload,
        .knobs = &trial->knobs,
        .cpus = trial->campaign->run->plan->cpus.server,
        .unix_socket = knob_get(&trial->knobs, "transport") == TRANSPORT_UNIX,
    };
    return server_start(&plan, &trial->server, error);
}

static void plan_load(struct trial *trial) {
    const struct run_plan *plan = trial->campaign->run->plan;
    trial->load_plan = (struct load_plan){
        .workload = trial->campaign->experiment->workload,
        .knobs = trial->knobs,
        .target = trial->server.address,
        .verify = plan->scope == SCOPE_SMOKE,
        .no_spin = plan->cpus.shared, /* spinning would take the server's CPU */
        .seed = plan->seed + trial->block,
        .cpus = plan->cpus.generator,
        .server_pid = trial->server.pid,
        .control_fd = trial->server.control_fd,
    };
    CPU_OR(&trial->load_plan.watched_cpus, &plan->cpus.server, &plan->cpus.generator);
}

/* "size_bytes=1024 connections=3" -> "size_bytes=1024_connections=3": file names without spaces. */
static void latency_file(const struct campaign *campaign, const char *folder, size_t cell,
                         size_t contender, const char *ending, char name[PATH_BYTES / 2]) {
    const struct experiment *experiment = campaign->experiment;
    snprintf(name, PATH_BYTES / 2, "%s/%s.%.200s.%s.%s", folder, experiment->name,
             campaign->cells[cell].label, experiment->contenders[contender].name, ending);
    for (char *at = name; *at; at++)
        if (*at == ' ')
            *at = '_';
}

/* Into memory until it is known whether the repetition is valid. */
static void open_log(struct trial *trial) {
    trial->log = trial->campaign->run->log;
    snprintf(trial->tag, sizeof trial->tag, "%s/%u%s", contender_of(trial)->name, trial->block + 1,
             trial->again ? "-again" : "");
    trial->log.tag = trial->tag;
    trial->log.stream = open_memstream(&trial->lines, &trial->lines_size);
    CHECK(trial->log.stream);
    trial->load_plan.on_interval = latency_log_interval;
    trial->load_plan.on_interval_data = &trial->log;
}

static void list_log(const struct trial *trial, const char *name) {
    const struct campaign *campaign = trial->campaign;
    json_t *logs = campaign->run->logs, *log;
    size_t i;
    json_array_foreach(logs, i, log) {
        if (strcmp(json_string_value(json_object_get(log, "file")), name) == 0)
            return;
    }
    json_array_append_new(
        logs, json_pack("{s:s, s:s, s:s, s:b, s:s}", "experiment", campaign->experiment->name,
                        "cell", campaign->cells[trial->cell].label, "server_name",
                        contender_of(trial)->name, "valid", trial->validity.valid, "file", name));
}

/* One file for the valid repetitions of a row, one for the others. */
static int keep_log(struct trial *trial, struct error *error) {
    const struct campaign *campaign = trial->campaign;
    char name[PATH_BYTES / 2], path[PATH_BYTES];
    fflush(trial->log.stream);
    if (trial->lines_size == 0)
        return 0;
    latency_file(campaign, trial->validity.valid ? "latency" : "latency/invalid", trial->cell,
                 trial->contender, "hlog", name);
    snprintf(path, sizeof path, "%s/%s", campaign->run->plan->directory, name);
    int failure = latency_log_append(&campaign->run->log, path, trial->lines, error);
    if (!failure)
        list_log(trial, name);
    return failure;
}

static void close_log(struct trial *trial) {
    if (trial->log.stream)
        fclose(trial->log.stream);
    free(trial->lines);
    trial->log.stream = NULL;
    trial->lines = NULL;
}

static void show_status(const struct trial *trial) {
    struct run *run = trial->campaign->run;
    char left[UNITS_TEXT_BYTES] = "?";
    double passed_ns = (double)(clock_now_ns() - run->started_ns);
    if (run->done > 0)
        units_duration(passed_ns / run->done * (run->planned - run->done), left);
    else
        units_duration(runner_duration_ns(run->plan), left);
    progress_status(&run->progress, "[%u/%u] %s %s, %s, block %u: about %s left", run->done + 1,
                    run->planned, trial->campaign->experiment->name,
                    trial->campaign->cells[trial->cell].label, contender_of(trial)->name,
                    trial->block + 1, left);
}

/* In a log every repetition is a line, so that a CI job can be followed. */
static void log_result(const struct trial *trial, const struct load_result *result) {
    const struct run *run = trial->campaign->run;
    char rate[UNITS_TEXT_BYTES], p99[UNITS_TEXT_BYTES];
    const struct histogram *latency = load_latency(result);
    if (run->progress.terminal && trial->validity.valid)
        return;
    progress_note((struct progress *)&run->progress, "[%u/%u] %s %s %s: %s, p99 %s%s%s", run->done,
                  run->planned, trial->campaign->experiment->name,
                  trial->campaign->cells[trial->cell].label, contender_of(trial)->name,
                  units_rate(result->achieved_rate, rate),
                  units_time(histogram_quantile_valid(latency, 0.99)
                                 ? (double)histogram_quantile(latency, 0.99)
                                 : NAN,
                             p99),
                  trial->validity.valid ? "" : "; not valid: ",
                  trial->validity.valid ? "" : trial->validity.reasons[0]);
}

static void record_trial(const struct trial *trial, const struct load_result *result) {
    const struct campaign *campaign = trial->campaign;
    const struct experiment *experiment = campaign->experiment;
    const struct contender *contender = contender_of(trial);
    json_t *record = record_load(&trial->load_plan, result, &trial->validity);
    json_object_set_new(record, "experiment", json_string(experiment->name));
    json_object_set_new(record, "cell", json_string(campaign->cells[trial->cell].label));
    json_object_set_new(record, "block", json_integer(trial->block));
    json_object_set_new(record, "position", json_integer(trial->position));
    json_object_set_new(record, "server_name", json_string(contender->name));
    json_object_set_new(record, "loop",
                        contender->loop ? json_string(contender->loop) : json_null());
    json_object_set_new(record, "measure", json_string(measure_names[experiment->measure]));
    json_array_append_new(campaign->run->repetitions, record);
}

static void keep_latency(struct row *row, const struct load_result *result) {
    if (!row->latency.counts)
        CHECK(histogram_open(&row->latency, &histogram_standard) == 0);
    CHECK(histogram_merge(&row->latency, load_latency(result)) == 0);
}

static void wait_for_load(struct trial *trial, struct load *load) {
    while (!load_wait(load, 200)) {
        show_status(trial);
        if (interrupted)
            return;
    }
}

/* A load that could not even begin, as a result: not finished, and why. */
static void record_failure(struct trial *trial, const struct error *why) {
    struct load_result *nothing = calloc(1, sizeof *nothing);
    CHECK(nothing);
    nothing->failure = *why;
    plan_load(trial);
    validity_judge(nothing, &trial->load_plan, 0, false, &trial->validity);
    record_trial(trial, nothing);
    log_result(trial, nothing);
    free(nothing);
}

static void take_result(struct trial *trial, const struct load_result *result) {
    struct campaign *campaign = trial->campaign;
    struct row *row = row_of(campaign, trial->cell, trial->contender);
    const struct run_plan *plan = campaign->run->plan;
    struct error ended = {.text = ""};
    bool alive = server_alive(&trial->server, &ended);
    /* Our servers have one thread, whatever they are given. */
    int server_cpus = contender_of(trial)->loop ? 1 : CPU_COUNT(&plan->cpus.server);
    validity_judge(result, &trial->load_plan, server_cpus, plan->cpus.shared, &trial->validity);
    if (!alive)
        validity_refuse(&trial->validity, "%s", ended.text);
    bool failed = !result->finished || !alive;
    row->failures = failed ? row->failures + 1 : 0;
    campaign->run->outcome->failed += failed;
    campaign->run->outcome->valid += trial->validity.valid;
    campaign->run->outcome->wrong +=
        result->errors[LOAD_WRONG_ANSWER] + result->errors[LOAD_PARSE] > 0;
    record_trial(trial, result);
    if (trial->validity.valid)
        keep_latency(row, result);
    log_result(trial, result);
}

static void run_trial(struct trial *trial) {
    struct campaign *campaign = trial->campaign;
    struct run *run = campaign->run;
    struct row *row = row_of(campaign, trial->cell, trial->contender);
    struct load *load;
    struct error error;
    knobs_of(run->plan, campaign->experiment, &campaign->cells[trial->cell], contender_of(trial),
             &trial->knobs);
    show_status(trial);
    int failure = start_server(trial, &error);
    if (!failure) {
        plan_load(trial);
        open_log(trial);
        failure = load_start(&trial->load_plan, &load, &error);
    }
    if (!failure) {
        wait_for_load(trial, load);
        run->done++;
        if (!interrupted)
            take_result(trial, load_result(load));
        load_free(load);
        if (!interrupted)
            run->log_failure = keep_log(trial, &run->log_error);
    } else if (!interrupted) { /* ^C may be why it did not start */
        run->done++;
        row->failures++;
        run->outcome->failed++;
        record_failure(trial, &error);
    }
    if (!interrupted)
        run->outcome->repetitions++;
    server_stop(&trial->server);
    close_log(trial);
    if (row->failures >= FAILURES_MOST && !row->skipped) {
        row->skipped = true;
        run->planned -= repetitions_of(run->plan, campaign->experiment) - trial->block - 1;
        skip(campaign, contender_of(trial)->name, campaign->cells[trial->cell].label,
             trial->validity.reasons[0]);
    }
}

/* ---- an experiment --------------------------------------------------------------------------- */

static bool can_run(const struct contender *contender, struct error *reason) {
    struct loop_info info;
    if (contender->loop)
        return loop_info_by_name(contender->loop, &info, reason) == 0;
    for (size_t i = 0; i < contender->need_count; i++)
        if (server_check_need(contender->needs[i], reason))
            return false;
    return true;
}

/* Server and generator each hold all connections, and a few descriptors more. */
static bool enough_descriptors(const struct campaign *campaign, const struct cell *cell,
                               const struct contender *contender, struct error *reason) {
    enum { FURTHER_DESCRIPTORS = 64 };
    struct knob_values knobs;
    knobs_of(campaign->run->plan, campaign->experiment, cell, contender, &knobs);
    double needed = knob_get(&knobs, "connections") + knob_get(&knobs, "idle_connections") +
                    FURTHER_DESCRIPTORS;
    if (needed <= limits_open_files())
        return true;
    error_set(reason, -EMFILE, "needs %.0f open files, the hard limit is %.0f (ulimit -Hn)", needed,
              limits_open_files());
    return false;
}

static void skip_what_cannot_run(struct campaign *campaign) {
    const struct experiment *experiment = campaign->experiment;
    for (size_t k = 0; k < experiment->contender_count; k++) {
        const struct contender *contender = &experiment->contenders[k];
        struct error reason;
        bool runs = can_run(contender, &reason);
        if (!runs)
            skip(campaign, contender->name, NULL, reason.text);
        for (size_t i = 0; i < campaign->cell_count; i++) {
            const char *excluded = experiment_excluded(experiment, &campaign->cells[i], contender);
            if (!excluded && !enough_descriptors(campaign, &campaign->cells[i], contender, &reason))
                excluded = reason.text;
            row_of(campaign, i, k)->skipped = !runs || excluded;
            if (row_of(campaign, i, k)->skipped &&
                !experiment_excluded(experiment, &campaign->cells[i], contender))
                campaign->run->planned -= repetitions_of(campaign->run->plan, experiment);
            if (runs && excluded)
                skip(campaign, contender->name, campaign->cells[i].label, excluded);
        }
    }
}

/* Once more at once, if it was the machine that spoilt it: a taken CPU says nothing about the
 * server. The spoilt one stays in the record. */
static void run_with_retry(struct trial *trial) {
    struct run *run = trial->campaign->run;
    run_trial(trial);
    if (!trial->validity.machine_only || run->retries == 0 || interrupted || run->log_failure)
        return;
    run->retries--;
    run->planned++;
    trial->again = true;
    run_trial(trial);
}

static void measure_floor(struct campaign *campaign, size_t cell) {
    const char *label = campaign->cells[cell].label;
    struct error reason;
    progress_status(&campaign->run->progress, "%s %s, kernel floor", campaign->experiment->name,
                    label);
    int failure = cell_floor_measure(&campaign->floors[cell], &reason);
    if (failure && !interrupted)
        skip(campaign, "kernel floor", label, reason.text);
}

/* Every server of a cell once and its floor, in random order. */
static void run_cell(struct campaign *campaign, size_t cell, unsigned block) {
    enum { FLOOR = EXPERIMENT_CONTENDERS_MOST };
    struct run *run = campaign->run;
    uint32_t order[EXPERIMENT_CONTENDERS_MOST + 1], count = 0, position = 0;
    size_t first = json_array_size(run->repetitions);
    for (uint32_t i = 0; i < campaign->experiment->contender_count; i++)
        if (!row_of(campaign, cell, i)->skipped)
            order[count++] = i;
    if (count > 0 && campaign->floors[cell].known)
        order[count++] = FLOOR;
    random_shuffle(&run->order, order, count);
    for (uint32_t i = 0; i < count && !interrupted && !run->log_failure; i++) {
        if (order[i] == FLOOR) {
            measure_floor(campaign, cell);
            continue;
        }
        struct trial trial = {.campaign = campaign,
                              .cell = cell,
                              .contender = order[i],
                              .block = block,
                              .position = position++};
        run_with_retry(&trial);
    }
    cell_floor_record(&campaign->floors[cell], run->repetitions, first);
}

static int run_blocks(struct campaign *campaign, struct error *error) {
    struct run *run = campaign->run;
    unsigned blocks = repetitions_of(run->plan, campaign->experiment);
    uint32_t order[EXPERIMENT_CELLS_MOST];
    for (uint32_t i = 0; i < campaign->cell_count; i++)
        order[i] = i;
    int failure = 0;
    for (unsigned block = 0; block < blocks && !interrupted && !failure; block++) {
        random_shuffle(&run->order, order, campaign->cell_count);
        for (size_t i = 0; i < campaign->cell_count && !interrupted; i++)
            run_cell(campaign, order[i], block);
        failure = save_record(run, error);
        if (!failure && run->log_failure)
            failure = error_set(error, run->log_failure, "%s", run->log_error.text);
    }
    return failure;
}

static int write_hgrm(FILE *file, void *data) {
    return percentile_table_write(data, file, PERCENTILE_TABLE_HGRM, PERCENTILE_TABLE_TICKS, 1e6);
}

static int save_latencies(const struct campaign *campaign, struct error *error) {
    const struct run *run = campaign->run;
    for (size_t i = 0; i < campaign->cell_count; i++)
        for (size_t k = 0; k < campaign->experiment->contender_count; k++) {
            char name[PATH_BYTES / 2], path[PATH_BYTES];
            struct row *row = row_of(campaign, i, k);
            if (!row->latency.counts)
                continue;
            latency_file(campaign, "latency", i, k, "hgrm", name);
            snprintf(path, sizeof path, "%s/%s", run->plan->directory, name);
            int failure = file_write_whole(path, write_hgrm, &row->latency, error);
            if (failure)
                return failure;
            json_array_append_new(run->latency, json_pack("{s:s, s:s, s:s, s:s}", "experiment",
                                                          campaign->experiment->name, "cell",
                                                          campaign->cells[i].label, "server_name",
                                                          campaign->experiment->contenders[k].name,
                                                          "file", name));
        }
    return 0;
}

static void free_campaign(struct campaign *campaign) {
    size_t rows = campaign->cell_count * campaign->experiment->contender_count;
    for (size_t i = 0; i < rows; i++)
        histogram_close(&campaign->rows[i].latency);
    free(campaign->rows);
    free(campaign->floors);
    free(campaign->cells);
    json_decref(campaign->skipped);
}

static int run_experiment(struct run *run, const struct experiment *experiment,
                          struct error *error) {
    struct campaign campaign = {.run = run, .experiment = experiment, .skipped = json_array()};
    campaign.cell_count = choose_cells(run->plan, experiment, &campaign.cells);
    campaign.rows =
        calloc(campaign.cell_count * experiment->contender_count + 1, sizeof *campaign.rows);
    campaign.floors = calloc(campaign.cell_count + 1, sizeof *campaign.floors);
    CHECK(campaign.rows && campaign.floors && campaign.skipped);
    for (size_t i = 0; i < campaign.cell_count; i++)
        campaign.floors[i] = floor_of(run->plan, experiment, &campaign.cells[i]);
    if (campaign.cell_count == 0) {
        free_campaign(&campaign);
        return 0;
    }
    json_array_append_new(
        json_object_get(run->record, "experiments"),
        record_experiment(experiment, campaign.cells, campaign.cell_count, campaign.skipped));
    skip_what_cannot_run(&campaign);
    int failure = run_blocks(&campaign, error);
    if (!failure)
        failure = save_latencies(&campaign, error);
    free_campaign(&campaign);
    return failure;
}

/* ---- the run --------------------------------------------------------------------------------- */

static int prepare_directory(const struct run_plan *plan, struct error *error) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/latency/invalid", plan->directory);
    return file_make_directories(path, error);
}

static int finish_record(struct run *run, struct error *error) {
    set_utc_now(run->record, "finished_utc");
    json_object_set_new(run->record, "complete", json_boolean(!interrupted));
    json_object_set_new(run->record, "ended_because",
                        interrupted ? json_string("interrupted") : json_null());
    run->outcome->interrupted = interrupted;
    return save_record(run, error);
}

int runner_run(const struct run_plan *plan, struct run_outcome *outcome, struct error *error) {
    *outcome = (struct run_outcome){.repetitions = 0};
    int failure = prepare_directory(plan, error);
    if (failure)
        return failure;
    struct run run = {.plan = plan,
                      .outcome = outcome,
                      .record = start_record(plan),
                      .log = latency_log_begin(),
                      .started_ns = clock_now_ns()};
    double ignored_ns = 0;
    run.repetitions = json_object_get(run.record, "repetitions");
    run.latency = json_object_get(run.record, "latency");
    run.logs = json_object_get(run.record, "logs");
    for (size_t i = 0; i < plan->experiment_count; i++)
        run.planned += planned_repetitions(plan, plan->experiments[i], &ignored_ns);
    run.retries = run.planned / RETRY_SHARE;
    random_seed(&run.order, plan->seed);
    progress_begin(&run.progress, plan->quiet);
    interrupt_catch();
    failure = save_record(&run, error); /* a folder that cannot be written is known at once */
    for (size_t i = 0; i < plan->experiment_count && !failure && !interrupted; i++)
        failure = run_experiment(&run, plan->experiments[i], error);
    if (!failure)
        failure = finish_record(&run, error);
    progress_end(&run.progress);
    json_decref(run.record);
    return failure;
}
