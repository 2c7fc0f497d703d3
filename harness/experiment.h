/* experiment.h: a question, the runs that answer it, and the claims held against them: one INI
 * file.
 *
 *   [experiment]
 *   question = Is uvloop 2-4 times asyncio at echoing?
 *   workload = echo
 *   server   = asyncio, epoll            ; loops by name, or [server NAME] below
 *   measure  = capacity                  ; a closed loop; the other two are an open
 *                                      ; loop at a fixed rate: `latency` asks how soon,
 *                                      ; `cost` at how much CPU time a request is answered
 *   turns    = 20ms                      ; cost only: the servers of a cell live side by side and
 *                                      ; are loaded in turns of that length (turns.h), so that
 *                                      ; a machine whose speed changes changes it for all
 *   vary.size_bytes  = 1024, 10KiB       ; an axis: its values; the cells are all combinations
 *   vary.connections = 3, 100
 *   set.duration     = 2s                ; any knob, for all cells
 *   repetitions          = 12            ; full run
 *   headline             = size_bytes:1024 connections:3, size_bytes:1024 connections:100
 *   headline_repetitions = 7             ; what `make bench` runs; `all` is every cell
 *   headline.duration    = 1s            ; a knob of headline runs only
 *   exclude  = server:select connections:2000 because select takes descriptors below 1024 only
 *   [server asyncio]
 *   command  = python3 echo.py --listen {listen}    ; {KNOB} gives a knob's value
 *   needs    = python3, python:uvloop    ; executables, Python modules
 *   version_command = python3 --version
 *   [server epoll-16k]
 *   loop     = epoll                     ; a loop under another name, to set its knobs
 *   set.receive_bytes = 16KiB            ; knobs of the server's side
 *   monitor  = lag,tasks                 ; what looks at the loop, as `serve --monitor=` takes it
 *   [claim A1]
 *   says = a libuv loop is 2-4 times the default loop
 *   rule = throughput uvloop/asyncio between 2 and 4     ; claim.h
 *
 * A pattern ("size_bytes:1024 connections:3") means all cells with these values. Cells in a list
 * are separated by commas. Everything is checked at reading: what cannot be run or judged is
 * refused with "file:line: …". A loop that is not available on this machine is no error: it is
 * skipped at run. */
#ifndef LOOPMARK_EXPERIMENT_H
#define LOOPMARK_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "harness/claim.h"
#include "harness/ini_text.h"
#include "workloads/workload.h"

enum {
    EXPERIMENT_AXES_MOST = 6,
    EXPERIMENT_VALUES_MOST = 32, /* of one axis */
    EXPERIMENT_CONTENDERS_MOST = 24,
    EXPERIMENT_CLAIMS_MOST = 24,
    EXPERIMENT_PATTERNS_MOST = 24,
    EXPERIMENT_NEEDS_MOST = 8,
    EXPERIMENT_SETS_MOST = 16,
    EXPERIMENT_CELLS_MOST = 2000,
    CELL_LABEL_BYTES = 256,
};

enum measure { MEASURE_CAPACITY, MEASURE_LATENCY, MEASURE_COST };
/* "capacity", "latency", "cost"; then null. */
extern const char *const measure_names[];

/* Knobs are meant by their index over both tables (knob_at). */
struct axis {
    size_t knob;
    double values[EXPERIMENT_VALUES_MOST];
    size_t count;
    int line;
};

struct knob_setting {
    size_t knob;
    double value;
};

/* Cells by some of their knobs; no terms: every cell. */
struct cell_pattern {
    struct knob_setting terms[EXPERIMENT_AXES_MOST];
    size_t count;
    const char *server; /* exclude only; null: all */
};

/* A server of the experiment: one of our loops, or a command. */
struct contender {
    const char *name;
    const char *loop; /* null: foreign */
    const char *monitor; /* of a loop; null: none */
    /* Foreign, else null: words separated by blanks, with {listen}, and {KNOB} where a knob's value
     * goes as knob_format_plain writes it. */
    const char *command;
    const char *version_command; /* a shell line that prints the version; may be null */
    const char *needs[EXPERIMENT_NEEDS_MOST]; /* executables, python:MODULE */
    size_t need_count;
    struct knob_setting sets[EXPERIMENT_SETS_MOST];
    size_t set_count;
    int line;
};

struct claim {
    const char *name;
    const char *says;
    const char *text; /* of the rule */
    struct claim_rule rule;
    struct cell_pattern where;
    int line; /* of the rule */
};

struct experiment {
    char *name; /* the file's stem */
    const char *path;
    const char *question;
    const struct workload *workload;
    enum measure measure;
    uint64_t turn_ns; /* 0: one server at a time */
    struct knob_values base; /* initial values and set.* */
    struct axis axes[EXPERIMENT_AXES_MOST];
    size_t axis_count;
    struct contender contenders[EXPERIMENT_CONTENDERS_MOST];
    size_t contender_count;
    struct claim claims[EXPERIMENT_CLAIMS_MOST];
    size_t claim_count;
    unsigned repetitions, headline_repetitions;
    struct cell_pattern headline[EXPERIMENT_PATTERNS_MOST];
    size_t headline_count;
    struct knob_setting headline_sets[EXPERIMENT_SETS_MOST];
    size_t headline_set_count;
    struct cell_pattern excluded[EXPERIMENT_PATTERNS_MOST];
    size_t excluded_count;
    const char *excluded_reason; /* null: nothing is excluded */
    bool overridden;
    int measure_line, turns_line, headline_line, excluded_line;
    struct ini_text ini; /* owns all texts */
};

/* ---- reading --------------------------------------------------------------------------------- */

/* All return 0 or a negative errno with `error` filled; `*out` belongs to the caller. */
int experiment_read(const char *path, struct experiment **out, struct error *error);
/* By stem in `directory`, or by path: with a slash or ending in .ini. -ENOENT lists the known
 * stems. */
int experiment_find(const char *directory, const char *path_or_stem, struct experiment **out,
                    struct error *error);
/* From a text; `path` names it in messages, and its stem the experiment. */
int experiment_parse_text(const char *path, const char *text, struct experiment **out,
                          struct error *error);
void experiment_free(struct experiment *experiment); /* null is fine */

/* The stems of `directory` in alphabetical order. */
int experiment_list(const char *directory, char ***stems, size_t *count, struct error *error);
void experiment_list_free(char **stems, size_t count);

/* ---- changing the plan ----------------------------------------------------------------------- */

/* "KNOB=VALUE[,VALUE…]": a list makes or replaces an axis, one value sets the knob (an axis keeps
 * that value only). It wins over set.*, headline.* and [server] set.*. Call experiment_check after
 * the last one; on an error the experiment is as before. */
int experiment_override(struct experiment *experiment, const char *pair, struct error *error);

/* Refuses plans that cannot be run or judged: no rate in latency, a rate in capacity, a loop with
 * more connections than it can take, a claim on a quantile that the samples cannot carry, … Already
 * called by the readers. After an override claims may be left without a cell: they are then not
 * shown. */
int experiment_check(const struct experiment *experiment, struct error *error);

/* ---- the plan -------------------------------------------------------------------------------- */

struct cell {
    struct knob_values knobs;     /* without the contender's own; experiment_knobs adds them */
    char label[CELL_LABEL_BYTES]; /* "size_bytes=1024 connections=3"; "all" without axes */
    bool headline;
};

/* All combinations of the axes in the order written, the last axis fastest. `*cells` is one
 * allocation for free(3). 0 only when memory is out. If an override leaves no headline cell, all
 * are. */
size_t experiment_cells(const struct experiment *experiment, struct cell **cells);

/* What a contender runs with in a cell; `headline`: in a headline run. */
void experiment_knobs(const struct experiment *experiment, const struct cell *cell,
                      const struct contender *contender, bool headline, struct knob_values *out);

/* The reason why this contender does not run in this cell, or null. */
const char *experiment_excluded(const struct experiment *experiment, const struct cell *cell,
                                const struct contender *contender);

/* Null: there is none of that name. */
const struct contender *experiment_contender(const struct experiment *experiment, const char *name);

/* Does the claim speak of this cell? For growth along an axis: is it one of the cells of the line;
 * the rule compares those with the axis' first and last value, all else equal. */
bool experiment_claim_covers(const struct claim *claim, const struct cell *cell);

/* Warm-up and window of every repetition, without starting and stopping servers. Nanoseconds. */
double experiment_duration_ns(const struct experiment *experiment, bool headline);

#endif
