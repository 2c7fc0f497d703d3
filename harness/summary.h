/* summary.h: what the repetitions of a run say, server by server and cell by cell.
 *
 * Derived from run.json (results/README.md) alone; reports, CSV files and figures are made from it.
 * The numbers between repetitions come from statistics.h, and two servers are compared only through
 * summary_compare, block by block.
 *
 * Rules:
 *   - Only valid repetitions count. A row of which fewer than half are valid is itself invalid.
 *   - A row's bound is the weakest statement (co-limited, then latency, then server) that holds for
 * a quarter or more of its valid repetitions: many lower bounds would make a median one, unmarked.
 *   - A quantile can be ranked if every valid repetition has the samples it takes to know it to ±10
 * % of the tail: 38,000 for p99, 384,000 for p99.9.
 *
 * All strings and JSON are borrowed from the run, which must outlive the summary. */
#ifndef LOOPMARK_SUMMARY_H
#define LOOPMARK_SUMMARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "harness/bound.h"
#include "harness/experiment.h"
#include "harness/statistics.h"
#include "loops/error.h"

enum metric {
    SUMMARY_THROUGHPUT,
    SUMMARY_P50,
    SUMMARY_P99,
    SUMMARY_P999,
    SUMMARY_CPU,
    SUMMARY_SERVER_BUSY,
    SUMMARY_CLIENT_BUSY,
    SUMMARY_MAX_RSS,
    SUMMARY_FLOOR,
    SUMMARY_CPU_OVER_FLOOR,
    SUMMARY_USER,
    SUMMARY_WAITS,
    SUMMARY_READS,
    SUMMARY_SENDS,
    SUMMARY_EVENTS,
    SUMMARY_FAIRNESS,
    SUMMARY_RSS_PER_CONNECTION,
    SUMMARY_OFFLOAD_WAIT_P50,
    SUMMARY_OFFLOAD_WAIT_P99,
    SUMMARY_OFFLOAD_RETURN_P50,
    SUMMARY_OFFLOAD_RETURN_P99,
    SUMMARY_OFFLOAD_P50,
    SUMMARY_OFFLOAD_P99,
    SUMMARY_METRICS,
};

struct metric_kind {
    const char *name;   /* as rules and tables say it: "throughput" */
    const char *column; /* in CSV files, unit last: "throughput_per_s" */
    const char *path;   /* in a repetition: "response_ns.p99" */
    const char *per;    /* what of the same repetition it is divided by, likewise; or null */
    double scale;       /* the record's unit × scale = the column's */
    double samples;     /* responses it takes to rank by it; 0: any number will do */
    bool quantile;
};

extern const struct metric_kind metric_kinds[SUMMARY_METRICS];

/* The metric of that name, or SUMMARY_METRICS. */
enum metric metric_find(const char *name);

/* The member at a dotted path ("server.cpu_us_per_request"); null if absent or JSON's null. */
const json_t *summary_at(const json_t *object, const char *path);

/* The value of one repetition in the column's unit. False: not known. */
bool metric_value(const json_t *repetition, enum metric metric, double *value);

/* Between the valid repetitions of one row, in the column's unit. */
struct spread {
    double median;
    struct interval interval; /* of the median, 95 %; n = 0: no repetition knows this value */
    double least, most;
};

struct invalid_reason {
    const char *text;
    size_t count;
};

struct summary_row {
    const char *server;
    const json_t **repetitions; /* in the record's order; none: skipped or not reached */
    size_t count, valid;
    enum bound bound;
    double least_samples; /* responses of the valid repetition with fewest */
    struct spread metrics[SUMMARY_METRICS];
    struct invalid_reason *reasons;
    size_t reason_count;
};

enum { AXES_MOST = 8, SUMMARY_LABEL_BYTES = 256 };

struct summary_cell {
    const char *name;         /* "size_bytes=1024 connections=3" */
    double values[AXES_MOST]; /* of the axes, for ordering and plotting; NAN where not a number */
    struct summary_row *rows; /* one a server, in the experiment's order */
};

struct summary_experiment {
    const json_t *json;
    const char *name, *question;
    enum measure measure;
    const char *axes[AXES_MOST];
    size_t axis_count;
    const char **servers;
    size_t server_count;
    struct summary_cell *cells; /* in order of the axes' values */
    size_t cell_count;
};

struct summary {
    const json_t *run;
    bool shared_cpu; /* server and generator on one core: nothing is ranked */
    struct summary_experiment *experiments;
    size_t experiment_count;
};

/* -EINVAL: not a record of schema 1, with the reason. -ENOMEM. Free the summary in either case. */
int summary_init(struct summary *summary, const json_t *run, struct error *error);
void summary_free(struct summary *summary);

/* The kernel floor of a cell: the median of the row that has one in the most blocks. NAN: there is
 * none. */
double summary_cell_floor(const struct summary_experiment *experiment,
                          const struct summary_cell *cell);

/* Null if there is none. */
const struct summary_experiment *summary_find_experiment(const struct summary *summary,
                                                         const char *name);
const struct summary_cell *summary_find_cell(const struct summary_experiment *experiment,
                                             const char *name);
const struct summary_row *summary_find_row(const struct summary_experiment *experiment,
                                           const struct summary_cell *cell, const char *server);

/* Whether the axis has this value in the cell, as cells' names write values: "1024", "poisson". */
bool summary_axis_is(const struct summary_cell *cell, const char *axis, const char *text);
/* Whether two cells have the same value on the axis, be it a number or a word. */
bool summary_same_value(const struct summary_cell *a, const struct summary_cell *b,
                        const char *axis);

/* "1 KiB, 3 connections": without the axes whose bit is set in `skip`. Always terminated. */
void summary_cell_label(const struct summary_experiment *experiment,
                        const struct summary_cell *cell, unsigned skip,
                        char label[SUMMARY_LABEL_BYTES]);
/* Bits of the axes that have one value in all cells: for titles, not for labels. */
unsigned summary_constant_axes(const struct summary_experiment *experiment);

bool summary_row_valid(const struct summary_row *row);

/* What stands in the way of a verdict, or beside it. */
struct summary_flags {
    bool missing;    /* no such server, or it has no repetitions here, or no value of this metric */
    bool invalid;    /* a row is invalid, or no block has both valid */
    bool co_limited; /* of throughput: a lower bound only */
    bool few_samples;  /* of a quantile */
    bool unequal_load; /* of CPU per request: not both saturated, and rates differ by over 1 % */
    bool shared_cpu;   /* server and generator on one core */
    bool confounded; /* of a quantile in closed loop: each at its own maximum. A label, no obstacle
                      */
};

/* Null if no flag is an obstacle, else the first that is, in a few words: "co-limited". */
const char *summary_obstacle(const struct summary_flags *flags);

/* The ratio first/second in one cell, from the blocks in which both are valid. An obstacle forbids
 * a verdict; `ratio` is there all the same where `ratio.blocks` > 0. Returns 0, or -E2BIG for more
 * blocks than statistics.h takes. */
struct summary_comparison {
    struct comparison ratio;
    struct summary_flags flags;
};
int summary_compare(const struct summary *summary, const struct summary_experiment *experiment,
                    const struct summary_cell *cell, const char *first, const char *second,
                    enum metric metric, struct summary_comparison *comparison);

/* The same for any two rows of the experiment, such as one server in two cells. */
int summary_compare_rows(const struct summary *summary, const struct summary_experiment *experiment,
                         const struct summary_row *first, const struct summary_row *second,
                         enum metric metric, struct summary_comparison *comparison);

/* One server's own value, for rules such as "throughput uvloop at least 50000". */
struct summary_flags summary_own_flags(const struct summary *summary,
                                       const struct summary_experiment *experiment,
                                       const struct summary_row *row, enum metric metric);

/* Writes <experiment>.csv for each experiment and repetitions.csv, each whole. */
int summary_write_csv(const struct summary *summary, const char *directory, struct error *error);

#endif
