/* histogram_file.h: histograms from any file that holds some, whatever its name.
 *
 * The content tells which it is: a log (.hlog), percentile tables (.hgrm, CSV, wrk2's output), our
 * JSON (histogram_json.h), base64 text, a histogram a line with comments (#) between, or V2 bytes,
 * one histogram. Logs and tables are read as they come, of any size; the others whole, up to 256
 * MiB. Nothing is sought: a pipe will do. */
#ifndef LOOPMARK_HISTOGRAM_FILE_H
#define LOOPMARK_HISTOGRAM_FILE_H

#include "harness/histogram.h"
#include "loops/error.h"

struct histogram_entry {
    const char *tag;          /* null: none */
    bool timed;               /* start and length are known */
    double start_s, length_s; /* start: since 1970 where the file says so, else from its begin */
    bool exact;               /* false: rebuilt from a percentile table */
    unsigned table;           /* of the file's percentile tables which one, from 1; 0: no table */
    unsigned long cut_line;   /* where the table breaks off, so that its largest values are missing;
                               * 0: it does not */
    const char *unit;         /* of the values, as the file states it; null: it does not */
    unsigned long line;       /* 0: JSON and bytes, which have none to speak of */
    struct histogram histogram;
};

struct histogram_file_options {
    double table_unit; /* what a percentile table's values are multiplied by: 1e6 makes
                        * nanoseconds of milliseconds */
    bool skip_bad;     /* pass over bad lines and tables and count them, instead of ending at the
                        * first; JSON and bytes are good as a whole or not at all */
};

struct histogram_file_notes {
    unsigned long truncated_line; /* was cut off and is lost: a log's or base64's last, or where the
                                   * first incomplete table broke off; 0: none was */
    unsigned long bad_lines;      /* with skip_bad; a table counts as one */
    struct error first_bad;
};

/* Calls `visit` for each entry in the file's order; its histogram may be taken over (then zero it),
 * else it is closed behind the call; the tag is valid within the call. "-" is standard input. Ends
 * at the first negative return of `visit`, which is passed on, with `error` as it was. -EINVAL with
 * "FILE:LINE: cause" ("FILE: cause" where there are no lines), or another negative errno with
 * "FILE: cause". A file without any entry is -EINVAL. `notes` may be null. Blocking. */
int histogram_file_read(const char *path, const struct histogram_file_options *options,
                        int (*visit)(struct histogram_entry *entry, void *data), void *data,
                        struct histogram_file_notes *notes, struct error *error);

#endif
