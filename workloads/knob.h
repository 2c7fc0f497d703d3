/* knob.h: settings that users, experiments and records share.
 *
 * A knob is one row of a const table. The table drives --help, `--set NAME=VALUE`, the checks of
 * experiment files, the records and `loopmark list`, so that a new knob is one line of data. Values
 * are doubles: exact for every count, byte size and nanosecond time in use. */
#ifndef LOOPMARK_KNOB_H
#define LOOPMARK_KNOB_H

#include <stdbool.h>
#include <stddef.h>

#include "loops/error.h"

enum knob_type {
    KNOB_COUNT,  /* "100", "10k" */
    KNOB_BYTES,  /* "1024", "100KiB", "1MiB" */
    KNOB_TIME,   /* "300us", "1.5s"; value in nanoseconds */
    KNOB_RATE,   /* "20000", "20k"; per second */
    KNOB_FLAG,   /* "yes", "no" */
    KNOB_CHOICE, /* one of `choices`; value is its index */
};

enum knob_side { KNOB_SERVER, KNOB_CLIENT };

struct knob {
    const char *name; /* with its unit last: "size_bytes" */
    const char *help; /* one line */
    enum knob_type type;
    enum knob_side side;
    double initial, least, most;
    const char *const *choices; /* KNOB_CHOICE: null-terminated */
    const char *loops;          /* comma-separated backends it applies to; null: all */
};

/* A list of knobs with a value each. Two tables, because a workload's knobs and the generator's own
 * are used together; look-up is over both. */
enum { KNOB_TABLES = 2, KNOBS_MOST = 48 };
struct knob_table {
    const struct knob *knobs;
    size_t count;
};
struct knob_values {
    struct knob_table tables[KNOB_TABLES];
    double values[KNOBS_MOST];
    bool given[KNOBS_MOST]; /* set by the user or an experiment, not initial */
};

/* All initial values. CHECKs that the tables fit and that no name comes twice. */
void knob_values_init(struct knob_values *values, struct knob_table first,
                      struct knob_table second);

/* The index-th knob over both tables, or null beyond the last. */
const struct knob *knob_at(const struct knob_values *values, size_t index);
/* `index` (may be null) is written only when there is such a knob. Null: there is none. */
const struct knob *knob_find(const struct knob_values *values, const char *name, size_t *index);

/* Parses and checks one value without storing it. -EINVAL: `error` says what is wrong and what
 * would be right, without naming a place. */
int knob_parse(const struct knob *knob, const char *text, double *value, struct error *error);

/* Stores a value given as text. -ENOENT: no such knob (the message lists near names or all). */
int knob_set(struct knob_values *values, const char *name, const char *text, struct error *error);
/* "NAME=VALUE". */
int knob_set_pair(struct knob_values *values, const char *pair, struct error *error);
void knob_set_number(struct knob_values *values, const char *name, double value);

/* The value of a knob that must exist (CHECK). */
double knob_get(const struct knob_values *values, const char *name);

/* The value as users write it: "100 KiB", "20,000/s", "poisson". What it writes without separators
 * is accepted by knob_parse. */
#define KNOB_TEXT_BYTES 64
void knob_format(const struct knob *knob, double value, char text[KNOB_TEXT_BYTES]);

/* The value for labels, file names and command lines: no separators and no spaces, counts, bytes
 * and rates as plain numbers: "102400", "20000", "1.5s", "poisson". knob_parse takes it back
 * exactly. */
void knob_format_plain(const struct knob *knob, double value, char text[KNOB_TEXT_BYTES]);

#endif
