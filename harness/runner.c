/* runner.c: see runner.h. */
#include "harness/runner.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/build_info.h"
#include "harness/campaign.h"
#include "harness/file.h"
#include "harness/interrupt.h"
#include "harness/limits.h"
#include "harness/percentile_table.h"
#include "harness/record.h"
#include "harness/record_experiment.h"

const char *const scope_names[] = {
    [SCOPE_FULL] = "full", [SCOPE_HEADLINE] = "headline", [SCOPE_SMOKE] = "smoke"};

enum { RETRY_SHARE = 8, PATH_BYTES = CAMPAIGN_PATH_BYTES };
#define SMOKE_WARMUP_NS (100.0 * NS_PER_MS)
#define SMOKE_DURATION_NS (300.0 * NS_PER_MS)
#define OVERHEAD_NS (150.0 * NS_PER_MS) /* starting and stopping a server, until it is measured */

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

struct row *campaign_row(const struct campaign *campaign, size_t cell, size_t contender) {
    return &campaign->rows[cell * campaign->experiment->contender_count + contender];
}

void campaign_knobs(const struct campaign *campaign, size_t cell, size_t contender,
                    struct knob_values *knobs) {
    knobs_of(campaign->run->plan, campaign->experiment, &campaign->cells[cell],
             &campaign->experiment->contenders[contender], knobs);
}

unsigned campaign_repetitions(const struct campaign *campaign) {
    return repetitions_of(campaign->run->plan, campaign->experiment);
}

/* "size_bytes=1024 connections=3" -> "size_bytes=1024_connections=3": file names without spaces. */
void campaign_latency_file(const struct campaign *campaign, const char *folder, size_t cell,
                           size_t contender, const char *ending,
                           char name[CAMPAIGN_PATH_BYTES / 2]) {
    const struct experiment *experiment = campaign->experiment;
    snprintf(name, CAMPAIGN_PATH_BYTES / 2, "%s/%s.%.200s.%s.%s", folder, experiment->name,
             campaign->cells[cell].label, experiment->contenders[contender].name, ending);
    for (char *at = name; *at; at++)
        if (*at == ' ')
            *at = '_';
}

/* ---- the record ------------------------------------------------------------------------------ */

static void set_utc_now(json_t *record, const char *key) {
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_object_set_new(record, key, json_string(text));
}

static json_t *pinning(const struct run_plan *plan) {
    const struct cpu_plan *cpus = &plan->cpus;
    char server[CPU_LIST_BYTES], generator[CPU_LIST_BYTES];
    cpu_list_format(&cpus->server, server, sizeof server);
    cpu_list_format(&cpus->generator, generator, sizeof generator);
    return json_pack("{s:s, s:s, s:b, s:s, s:b}", "server_cpus", server, "generator_cpus",
                     generator, "shared", cpus->shared, "reason", cpus->text, "kept_awake",
                     plan->keep_awake);
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
    json_t *environment = environment_capture();
    if (plan->keep_awake)
        environment_note_kept_awake(environment);
    json_object_set_new(record, "environment", environment);
    json_object_set_new(record, "pinning", pinning(plan));
    json_object_set_new(record, "database", json_null());
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

void campaign_skip(struct campaign *campaign, const char *server, const char *cell,
                   const char *reason) {
    json_array_append_new(campaign->skipped, json_pack("{s:s, s:s?, s:s}", "server_name", server,
                                                       "cell", cell, "reason", reason));
    campaign->run->outcome->skipped++;
    progress_note(&campaign->run->progress, "%s %s: %s skipped: %s", campaign->experiment->name,
                  cell ? cell : "", server, reason);
}

/* ---- an experiment --------------------------------------------------------------------------- */

/* Its PostgreSQL is there, or it needs none. The user's rows are only changed by permission. */
static bool has_database(struct campaign *campaign, const struct cell *cell,
                         const struct contender *contender, struct error *reason) {
    struct run *run = campaign->run;
    struct knob_values knobs;
    size_t index;
    knobs_of(run->plan, campaign->experiment, cell, contender, &knobs);
    if (!run_database_needed(&run->database, &knobs))
        return true;
    if (run->database.given && !run->plan->database_writes && knob_find(&knobs, "writes", &index) &&
        knobs.values[index] != 0) {
        error_set(reason, -EPERM, "it changes rows of a database of yours: --db-writes allows it");
        return false;
    }
    progress_status(&run->progress, "preparing the database");
    return run_database_open(&run->database, reason) == 0;
}

/* The reason is the same in all cells. */
static bool database_is_missing(struct campaign *campaign, const struct contender *contender,
                                struct error *reason) {
    for (size_t i = 0; i < campaign->cell_count; i++)
        if (has_database(campaign, &campaign->cells[i], contender, reason))
            return false;
    return true;
}

static bool can_run(struct campaign *campaign, const struct contender *contender,
                    struct error *reason) {
    struct loop_info info;
    if (contender->loop && loop_info_by_name(contender->loop, &info, reason) != 0)
        return false;
    for (size_t i = 0; i < contender->need_count; i++)
        if (server_check_need(contender->needs[i], reason))
            return false;
    return !database_is_missing(campaign, contender, reason);
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

/* Why it cannot run in this cell, or null. */
static const char *obstacle_in(struct campaign *campaign, const struct cell *cell,
                               const struct contender *contender, struct error *reason) {
    bool runs = enough_descriptors(campaign, cell, contender, reason) &&
                has_database(campaign, cell, contender, reason);
    return runs ? NULL : reason->text;
}

static void skip_what_cannot_run(struct campaign *campaign) {
    const struct experiment *experiment = campaign->experiment;
    for (size_t k = 0; k < experiment->contender_count; k++) {
        const struct contender *contender = &experiment->contenders[k];
        struct error reason;
        bool runs = can_run(campaign, contender, &reason);
        if (!runs)
            campaign_skip(campaign, contender->name, NULL, reason.text);
        for (size_t i = 0; i < campaign->cell_count; i++) {
            const char *excluded = experiment_excluded(experiment, &campaign->cells[i], contender);
            if (!excluded && runs)
                excluded = obstacle_in(campaign, &campaign->cells[i], contender, &reason);
            campaign_row(campaign, i, k)->skipped = !runs || excluded;
            if (campaign_row(campaign, i, k)->skipped &&
                !experiment_excluded(experiment, &campaign->cells[i], contender))
                campaign->run->planned -= repetitions_of(campaign->run->plan, experiment);
            if (runs && excluded)
                campaign_skip(campaign, contender->name, campaign->cells[i].label, excluded);
        }
    }
}

/* Once more at once, if it was the machine that spoilt it: a taken CPU says nothing about the
 * server. The spoilt one stays in the record. */
static void run_with_retry(struct trial *trials, size_t count) {
    struct run *run = trials[0].campaign->run;
    if (!trials_run(trials, count))
        return;
    run->retries--;
    run->planned += (unsigned)count;
    for (size_t i = 0; i < count; i++)
        trials[i] = (struct trial){.campaign = trials[i].campaign,
                                   .cell = trials[i].cell,
                                   .contender = trials[i].contender,
                                   .block = trials[i].block,
                                   .position = trials[i].position,
                                   .turns = trials[i].turns,
                                   .again = true};
    trials_run(trials, count);
}

static void measure_floor(struct campaign *campaign, size_t cell) {
    const char *label = campaign->cells[cell].label;
    struct error reason;
    progress_status(&campaign->run->progress, "%s %s, kernel floor", campaign->experiment->name,
                    label);
    int failure = cell_floor_measure(&campaign->floors[cell], &reason);
    if (failure && !interrupted)
        campaign_skip(campaign, "kernel floor", label, reason.text);
}

static void plan_trials(struct campaign *campaign, size_t cell, unsigned block,
                        struct trial *trials, uint32_t count, bool in_turns) {
    uint32_t order[EXPERIMENT_CONTENDERS_MOST], next = 0;
    for (uint32_t i = 0; i < campaign->experiment->contender_count; i++)
        if (!campaign_row(campaign, cell, i)->skipped)
            order[next++] = i;
    random_shuffle(&campaign->run->order, order, count);
    for (uint32_t i = 0; i < count; i++) {
        trials[i] = (struct trial){.campaign = campaign,
                                   .cell = cell,
                                   .contender = order[i],
                                   .block = block,
                                   .position = i};
        if (in_turns)
            trials[i].turns = (struct turns){
                .number = i, .count = count, .length_ns = campaign->experiment->turn_ns};
    }
}

static uint32_t count_running(const struct campaign *campaign, size_t cell) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < campaign->experiment->contender_count; i++)
        count += !campaign_row(campaign, cell, i)->skipped;
    return count;
}

/* Every server of a cell once and its floor, in random order; the servers one by one, or all
 * together in turns. */
static void run_cell(struct campaign *campaign, size_t cell, unsigned block) {
    struct run *run = campaign->run;
    uint32_t count = count_running(campaign, cell);
    if (count == 0)
        return;
    bool in_turns = campaign->experiment->turn_ns > 0 && count > 1;
    uint32_t together = in_turns ? count : 1;
    size_t first = json_array_size(run->repetitions);
    struct trial *trials = calloc(count, sizeof *trials);
    CHECK(trials);
    plan_trials(campaign, cell, block, trials, count, in_turns);
    uint32_t floor_at = together * (uint32_t)random_below(&run->order, count / together + 1);
    for (uint32_t i = 0; i <= count && !interrupted && !run->log_failure; i += together) {
        if (i == floor_at && campaign->floors[cell].known)
            measure_floor(campaign, cell);
        if (i < count && !interrupted)
            run_with_retry(&trials[i], together);
    }
    free(trials);
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
            struct row *row = campaign_row(campaign, i, k);
            if (!row->latency.counts)
                continue;
            campaign_latency_file(campaign, "latency", i, k, "hgrm", name);
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

/* Into the record, once it is there. */
static void note_database(struct run *run) {
    if (json_is_null(json_object_get(run->record, "database")))
        json_object_set_new(run->record, "database", run_database_describe(&run->database));
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
    note_database(run);
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

static bool any_needs_database(const struct run *run) {
    bool needed = false;
    for (size_t i = 0; i < run->plan->experiment_count; i++) {
        const struct experiment *experiment = run->plan->experiments[i];
        struct cell *cells;
        size_t count = choose_cells(run->plan, experiment, &cells);
        for (size_t c = 0; c < count; c++)
            for (size_t k = 0; k < experiment->contender_count; k++) {
                struct knob_values knobs;
                knobs_of(run->plan, experiment, &cells[c], &experiment->contenders[k], &knobs);
                needed = needed || run_database_needed(&run->database, &knobs);
            }
        free(cells);
    }
    return needed;
}

/* One of the user's that does not answer ends the run; a private one that cannot be is skipped. */
static int prepare_database(struct run *run, struct error *error) {
    const struct run_plan *plan = run->plan;
    run->database = (struct run_database){
        .given = plan->database,
        .max_connections = run_database_connections(plan->experiments, plan->experiment_count),
        .cpus = plan->cpus.server};
    return plan->database && any_needs_database(run) ? run_database_open(&run->database, error) : 0;
}

static int keep_awake(struct run *run, struct error *error) {
    cpu_set_t cpus;
    CPU_OR(&cpus, &run->plan->cpus.server, &run->plan->cpus.generator);
    return run->plan->keep_awake ? keep_awake_start(&run->awake, &cpus, error) : 0;
}

static int run_all(struct run *run, struct error *error) {
    const struct run_plan *plan = run->plan;
    int failure = prepare_database(run, error);
    if (!failure)
        failure = keep_awake(run, error);
    if (!failure)
        failure = save_record(run, error); /* a folder that cannot be written is known at once */
    for (size_t i = 0; i < plan->experiment_count && !failure && !interrupted; i++)
        failure = run_experiment(run, plan->experiments[i], error);
    return failure ? failure : finish_record(run, error);
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
    failure = run_all(&run, error);
    keep_awake_stop(&run.awake);
    run_database_close(&run.database);
    progress_end(&run.progress);
    json_decref(run.record);
    return failure;
}
