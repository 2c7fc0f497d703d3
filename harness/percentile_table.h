/* percentile_table.h: HdrHistogram's percentile distributions as text: .hgrm and CSV.
 *
 * A row says: `cumulative` samples, the fraction `quantile` of all, are at most `value`. That is
 * for people and plots: what lies between two rows is gone, so a table cannot become the histogram
 * again. Formats after AbstractHistogram.outputPercentileDistribution of the Java version, which is
 * followed to the byte when writing; reading takes also those of its C, JS, Go and Rust versions
 * and of wrk2, whose table stands amid other lines.
 *
 * Which lines are rows. A header line (Value Percentile TotalCount 1/(1-Percentile), or Rust's five
 * columns, spaced anyhow or as CSV) begins a table, and so does, without one, a line that is a row.
 * From there on every line is a row, except empty ones and comments (#), until
 *  - the footer, which begins with "#[Mean" and is checked against the last row,
 *  - the next header (a line beginning with V or a quote), or the stream's end,
 *  - any other line, once the quantile has reached 1.
 * A row is value, quantile, total count and mostly 1/(1-quantile), which is not used; Rust's has
 * the quantile reached before the one asked for. Columns are parted by blanks or commas. The last
 * line of a stream, when it has no line feed and is no row with its last column, was cut off: it is
 * lost, and no error. */
#ifndef LOOPMARK_PERCENTILE_TABLE_H
#define LOOPMARK_PERCENTILE_TABLE_H

#include <stdio.h>

#include "harness/histogram.h"
#include "loops/error.h"

#define PERCENTILE_TABLE_TICKS 5 /* rows each time the distance to 100 % halves: the usual number */

enum percentile_table_format { PERCENTILE_TABLE_HGRM, PERCENTILE_TABLE_CSV };

/* Per row the highest equivalent value, the percentile as a fraction, the samples up to there and
 * 1/(1-percentile); .hgrm with a footer. `ticks_per_half` rows (1 or more) each time the distance
 * to 100 % halves. Values are divided by `unit`, 1 or more (1e6: nanoseconds are written as
 * milliseconds), and have as many decimals as the layout has digits. Samples above the range appear
 * as the last counter's. Expects the C locale. Flushes. Returns 0, or a negative errno when writing
 * failed. */
int percentile_table_write(const struct histogram *histogram, FILE *stream,
                           enum percentile_table_format format, int ticks_per_half, double unit);

struct percentile_row {
    double value; /* as printed */
    double quantile;
    uint64_t cumulative;
};

struct percentile_table {
    struct percentile_row *rows; /* quantiles and cumulative counts never fall, values neither */
    size_t count;                /* 0: of an empty histogram */
    unsigned long line;          /* of its first row; without rows, of its header */
    unsigned long cut_line;      /* where it broke off before a quantile of 1 and without a footer:
                                    the cut line, or the one missing (a CSV table of an
                                    empty histogram looks so too); 0: it did not */
};

/* Reads the next table of a stream, from `*line` lines before it, which is moved on: first call
 * with 0. 1 with a table (the caller frees rows), 0 when there is none any more, or negative:
 * -EINVAL with `error` "NAME:LINE: cause" for a table that contradicts itself or has rows that are
 * none (the next call goes on behind that table); -EIO, -ENOMEM. Lines that belong to no table are
 * passed over. Expects the C locale. Needs no seeking. */
int percentile_table_read(FILE *stream, const char *name, unsigned long *line,
                          struct percentile_table *table, struct error *error);

/* The histogram whose quantiles at the table's rows are the table's: every sample is taken to lie
 * at the next row's value, so a quantile between rows is too high by at most the step between them.
 * Values are multiplied by `unit` (1e6 takes milliseconds for nanoseconds) and rounded. The layout
 * is the standard one, or with larger values 1 to 2^k-1 with 3 digits: at the rows the quantiles
 * are never below the table's values and at most 1/1024 above, as far as the printed percentiles
 * tell ranks apart. Its total is the last row's: of a table that was cut off (cut_line) the samples
 * beyond are missing. The caller closes it. -ERANGE with `error` for a value above INT64_MAX;
 * -ENOMEM. */
int percentile_table_to_histogram(const struct percentile_table *table, double unit,
                                  struct histogram *histogram, struct error *error);

#endif
