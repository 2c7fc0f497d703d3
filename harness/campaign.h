/* campaign.h: a run under way. Shared by runner.c, which decides what is measured when, and
 * trial.c, which measures it. */
#ifndef LOOPMARK_CAMPAIGN_H
#define LOOPMARK_CAMPAIGN_H

#include <jansson.h>

#include "harness/cell_floor.h"
#include "harness/keep_awake.h"
#include "harness/latency_log.h"
#include "harness/load.h"
#include "harness/progress.h"
#include "harness/random.h"
#include "harness/run_database.h"
#include "harness/runner.h"
#include "harness/server.h"
#include "harness/validity.h"

enum { CAMPAIGN_FAILURES_MOST = 2, CAMPAIGN_PATH_BYTES = 1024, TRIAL_TAG_BYTES = 128 };

/* What a contender has come to in one cell. */
struct row {
    struct histogram latency; /* of its valid repetitions; closed until there is one */
    unsigned failures;        /* in a row; after CAMPAIGN_FAILURES_MOST it is not tried again */
    bool skipped;
};

struct run {
    const struct run_plan *plan;
    struct run_outcome *outcome;
    struct progress progress;
    struct random order;
    json_t *record, *repetitions, *latency, *logs;
    struct run_database database;
    struct keep_awake awake;
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

struct row *campaign_row(const struct campaign *campaign, size_t cell, size_t contender);
/* "FOLDER/EXPERIMENT.CELL.SERVER.ENDING", without spaces. */
void campaign_latency_file(const struct campaign *campaign, const char *folder, size_t cell,
                           size_t contender, const char *ending,
                           char name[CAMPAIGN_PATH_BYTES / 2]);
/* Notes in record and log that something is not measured. `cell` null: in no cell. */
void campaign_skip(struct campaign *campaign, const char *server, const char *cell,
                   const char *reason);
/* What a contender runs with. */
void campaign_knobs(const struct campaign *campaign, size_t cell, size_t contender,
                    struct knob_values *knobs);
unsigned campaign_repetitions(const struct campaign *campaign);

/* One repetition: one server process, one load, one measured window. */
struct trial {
    struct campaign *campaign;
    size_t cell, contender;
    unsigned block, position;
    bool again; /* the second try of a repetition that the machine spoilt */
    struct knob_values knobs;
    struct load_plan load_plan;
    struct server_process server;
    struct turns turns; /* with others of the cell; count 0: alone */
    struct load *load;  /* null: it could not begin, and why is in `error` */
    int failure;        /* its server or load failed */
    struct error error;
    struct validity validity;
    struct latency_log log; /* of this repetition, into lines */
    char tag[TRIAL_TAG_BYTES];
    char *lines;
    size_t lines_size;
};

/* Measures one, or several of a cell that take turns (turns.h), and records them. True: the machine
 * has spoilt it, and it should be measured once more at once; those that took turns with a spoilt
 * one are then not valid either. */
bool trials_run(struct trial *trials, size_t count);

#endif
