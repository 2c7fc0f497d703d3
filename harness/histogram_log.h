/* histogram_log.h: .hlog files: a histogram an interval, a line each (HdrHistogram's log format
 * 1.3).
 *
 * A file begins with comments (#…), among them start and base time and the version, and a legend;
 * then lines `[Tag=TAG,]START,LENGTH,MAX,HISTOGRAM`: seconds with three decimals, the maximum in
 * milliseconds (informational, readers ignore it), V2 base64. Written is only what the readers of
 * HdrHistogram's Java, C, JS, Go, Rust and Python versions all take: no blank lines, no comments
 * after the legend, times ascending from 0 relative to a base time, line feed at the end. Read is
 * whatever any of them writes. A line is lost whole or read whole. */
#ifndef LOOPMARK_HISTOGRAM_LOG_H
#define LOOPMARK_HISTOGRAM_LOG_H

#include <stdio.h>

#include "harness/histogram.h"
#include "loops/error.h"

/* ---- writing --------------------------------------------------------------------------------- */

/* The lines before the first interval. `start_s` is the wall clock in seconds since 1970, to which
 * all intervals are relative; `unit` names what the values are ("ns"). `what`: one line of words
 * for a comment, or null. The caller's stream; expects the C locale. 0 or a negative errno; -EINVAL
 * for a start that is no date of the years 1970 to 9999. */
int histogram_log_begin(FILE *stream, double start_s, const char *unit, const char *what);

/* One interval as one line, flushed, so that a killed process loses at most the line it was at.
 * `start_s` is relative to the log's start, `unit` is what the maximum is divided by (1e6: our
 * nanoseconds as milliseconds). `tag` may be null; see histogram_log_tag_valid. 0 or a negative
 * errno; -EINVAL, and nothing written, for a tag that is not valid or a time that is negative or
 * not finite. After a failed write nothing more is written to the stream: -EIO. */
int histogram_log_write(FILE *stream, const char *tag, double start_s, double length_s,
                        const struct histogram *histogram, double unit);

/* A tag is not empty and has no comma, space, double quote or control character in it. (Read are
 * tags with double quotes, too.) */
bool histogram_log_tag_valid(const char *tag);

/* ---- reading --------------------------------------------------------------------------------- */

struct histogram_log_entry {
    const char *tag; /* null: none; valid until the next read */
    double start_s, length_s;
    const char *unit;     /* of the values, as the file states it ("us"); null: it does not */
    double since_epoch_s; /* start with the base time that applies; what the file says */
    unsigned long line;
    struct histogram histogram; /* the caller closes it, unless it is taken over */
};

struct histogram_log_reader; /* one file being read */

/* `name` is what messages call it ("-" reads well as "standard input"; the caller says so). The
 * stream stays the caller's. -ENOMEM. */
int histogram_log_reader_open(FILE *stream, const char *name, struct histogram_log_reader **reader);

/* 1 with an entry; 0 at the end; or negative with `error` ("NAME:LINE: cause"): -EINVAL for a bad
 * line (the next call goes on behind it), anything else ends the reading. A last line without line
 * feed that cannot be read is what a killed writer leaves: it counts as the end, and
 * histogram_log_reader_truncated gives its number. */
int histogram_log_read(struct histogram_log_reader *reader, struct histogram_log_entry *entry,
                       struct error *error);
unsigned long histogram_log_reader_truncated(const struct histogram_log_reader *reader); /* or 0 */
void histogram_log_reader_close(struct histogram_log_reader *reader);

#endif
