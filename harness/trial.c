/* trial.c: one repetition: a server is started, loaded, judged, recorded and stopped. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/campaign.h"
#include "harness/interrupt.h"
#include "harness/load_knobs.h"
#include "harness/record.h"
#include "harness/source.h"
#include "harness/units.h"
#include "workloads/offload_executor.h"

static const struct contender *contender_of(const struct trial *trial) {
    return &trial->campaign->experiment->contenders[trial->contender];
}

/* The PostgreSQL it is to ask; null where it needs none. */
static int database_for(struct trial *trial, const char **target, struct error *error) {
    struct run_database *database = &trial->campaign->run->database;
    *target = NULL;
    if (!run_database_needed(database, &trial->knobs))
        return 0;
    *target = run_database_target(database);
    return run_database_alive(database, error) ? 0 : -ECHILD;
}

static int start_server(struct trial *trial, struct error *error) {
    const struct contender *contender = contender_of(trial);
    const char *database;
    trial->server = (struct server_process){.control_fd = -1, .output_fd = -1};
    int failure = database_for(trial, &database, error);
    if (failure)
        return failure;
    struct server_plan plan = {
        .loop = contender->loop,
        .monitor = contender->monitor,
        .command = contender->command,
        .directory = source_directory(),
        .workload = trial->campaign->experiment->workload,
        .knobs = &trial->knobs,
        .database = database,
        .cpus = trial->campaign->run->plan->cpus.server,
        .unix_socket = knob_get(&trial->knobs, "transport") == TRANSPORT_UNIX,
    };
    return server_start(&plan, &trial->server, error);
}

/* For jobs that are not done on the loop. */
static bool has_threads(const struct trial *trial) {
    return strcmp(trial->campaign->experiment->workload->name, "offload") == 0 &&
           knob_get(&trial->knobs, "mode") != EXECUTOR_INLINE;
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
        .turns = trial->turns,
        .cpus = plan->cpus.generator,
        .server_pid = trial->server.pid,
        .control_fd = trial->server.control_fd,
        .server_waits_for_its_own = run_database_beside(&trial->knobs),
        .server_has_threads = has_threads(trial),
    };
    CPU_OR(&trial->load_plan.watched_cpus, &plan->cpus.server, &plan->cpus.generator);
    if (plan->keep_awake)
        trial->load_plan.kept_awake = trial->load_plan.watched_cpus;
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
    char name[CAMPAIGN_PATH_BYTES / 2], path[CAMPAIGN_PATH_BYTES];
    fflush(trial->log.stream);
    if (trial->lines_size == 0)
        return 0;
    campaign_latency_file(campaign, trial->validity.valid ? "latency" : "latency/invalid",
                          trial->cell, trial->contender, "hlog", name);
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

/* ---- its course -------------------------------------------------------------------------------
 */

static void start(struct trial *trial) {
    campaign_knobs(trial->campaign, trial->cell, trial->contender, &trial->knobs);
    show_status(trial);
    trial->failure = start_server(trial, &trial->error);
    plan_load(trial);
}

static void start_load(struct trial *trial) {
    if (trial->failure)
        return;
    open_log(trial);
    trial->failure = load_start(&trial->load_plan, &trial->load, &trial->error);
}

static void wait_for_load(struct trial *trial) {
    while (trial->load && !interrupted && !load_wait(trial->load, 200))
        show_status(trial);
}

static void judge(struct trial *trial) {
    static const struct load_result nothing = {.finished = false};
    const struct run_plan *plan = trial->campaign->run->plan;
    struct error ended = {.text = ""};
    if (!trial->load) { /* it could not even begin */
        validity_judge(&nothing, &trial->load_plan, 0, false, &trial->validity);
        trial->validity.reason_count = 0;
        validity_refuse(&trial->validity, "%s", trial->error.text);
        return;
    }
    /* Our servers have one thread, whatever they are given. */
    int server_cpus = contender_of(trial)->loop ? 1 : CPU_COUNT(&plan->cpus.server);
    validity_judge(load_result(trial->load), &trial->load_plan, server_cpus, plan->cpus.shared,
                   &trial->validity);
    trial->failure = load_result(trial->load)->finished ? 0 : -EIO;
    if (!server_alive(&trial->server, &ended)) {
        validity_refuse(&trial->validity, "%s", ended.text);
        trial->failure = -EIO;
    }
}

/* Those that took turns with a spoilt one are measured again with it, and count once. */
static void refuse_company(struct trial *trials, size_t count, const struct trial *spoilt) {
    for (size_t i = 0; i < count; i++)
        if (trials[i].validity.valid)
            validity_refuse(&trials[i].validity,
                            "measured again: the machine spoilt %s, which took turns with it",
                            contender_of(spoilt)->name);
}

static void keep(struct trial *trial) {
    struct campaign *campaign = trial->campaign;
    struct row *row = campaign_row(campaign, trial->cell, trial->contender);
    struct run *run = campaign->run;
    struct load_result *none = trial->load ? NULL : calloc(1, sizeof *none);
    const struct load_result *result = trial->load ? load_result(trial->load) : none;
    CHECK(result);
    row->failures = trial->failure ? row->failures + 1 : 0;
    run->done++;
    run->outcome->repetitions++;
    run->outcome->failed += trial->failure != 0;
    run->outcome->valid += trial->validity.valid;
    run->outcome->wrong += result->errors[LOAD_WRONG_ANSWER] + result->errors[LOAD_PARSE] > 0;
    record_trial(trial, result);
    if (trial->validity.valid)
        keep_latency(row, result);
    log_result(trial, result);
    if (trial->load && !run->log_failure)
        run->log_failure = keep_log(trial, &run->log_error);
    free(none);
    if (row->failures < CAMPAIGN_FAILURES_MOST || row->skipped)
        return;
    row->skipped = true;
    run->planned -= campaign_repetitions(campaign) - trial->block - 1;
    campaign_skip(campaign, contender_of(trial)->name, campaign->cells[trial->cell].label,
                  trial->validity.reasons[0]);
}

static void stop(struct trial *trial) {
    if (trial->load)
        load_free(trial->load);
    server_stop(&trial->server);
    close_log(trial);
}

static const struct trial *find_spoilt(const struct trial *trials, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (trials[i].validity.machine_only)
            return &trials[i];
    return NULL;
}

bool trials_run(struct trial *trials, size_t count) {
    const struct run *run = trials[0].campaign->run;
    bool again = false;
    for (size_t i = 0; i < count; i++)
        start(&trials[i]);
    for (size_t i = 0; i < count; i++)
        start_load(&trials[i]);
    for (size_t i = 0; i < count; i++)
        wait_for_load(&trials[i]);
    if (!interrupted) { /* ^C may be why one did not start */
        for (size_t i = 0; i < count; i++)
            judge(&trials[i]);
        const struct trial *spoilt = find_spoilt(trials, count);
        again = spoilt && run->retries > 0 && !trials[0].again;
        if (again)
            refuse_company(trials, count, spoilt);
        for (size_t i = 0; i < count; i++)
            keep(&trials[i]);
    }
    for (size_t i = 0; i < count; i++)
        stop(&trials[i]);
    return again && !interrupted && !run->log_failure;
}
