/* runner.h: runs experiments and leaves a record (results/README.md).
 *
 * Repetitions are blocks: in each block every server of a cell runs once, in an order chosen by
 * chance, against a server process of its own. What a block measured is on disk before the next one
 * begins. */
#ifndef LOOPMARK_RUNNER_H
#define LOOPMARK_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "harness/environment.h"
#include "harness/experiment.h"
#include "loops/error.h"

enum scope { SCOPE_FULL, SCOPE_HEADLINE, SCOPE_SMOKE };
extern const char *const scope_names[];

struct run_plan {
    struct experiment **experiments;
    size_t experiment_count;
    enum scope scope;
    unsigned repetitions;  /* instead of the experiments' own; 0: theirs */
    uint64_t seed;         /* of the order and of Poisson arrivals */
    const char *directory; /* exists and is empty, or does not exist yet */
    struct cpu_plan cpus;
    bool keep_awake; /* keep_awake.h, on all of `cpus` */
    const char *database; /* the user's PostgreSQL; null: a private one where one is needed */
    bool database_writes; /* its rows may be changed */
    int argc;             /* for the record */
    char **argv;
    bool quiet;
};

struct run_outcome {
    bool interrupted;
    unsigned repetitions, valid;
    unsigned failed;  /* repetitions whose server or load failed */
    unsigned wrong;   /* repetitions with an answer that was not the right one */
    unsigned skipped; /* servers that could not run here, and why is in the record */
};

/* Measures everything and writes run.json and the .hgrm files. -EIO or -ENOSPC when the record
 * cannot be written; what was written before stays. -ECONNREFUSED: the user's PostgreSQL does not
 * answer. */
int runner_run(const struct run_plan *plan, struct run_outcome *outcome, struct error *error);

/* How long all of it takes, about. Nanoseconds. */
double runner_duration_ns(const struct run_plan *plan);

#endif
