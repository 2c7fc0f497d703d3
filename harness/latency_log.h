/* latency_log.h: the latencies of loads, second by second, as .hlog files (histogram_log.h).
 *
 * A log counts its times from the moment it was begun, read once from both clocks: the wall clock
 * dates the log, the monotonic one all that is in it. */
#ifndef LOOPMARK_LATENCY_LOG_H
#define LOOPMARK_LATENCY_LOG_H

#include <stdio.h>

#include "harness/interval.h"
#include "loops/error.h"

struct latency_log {
    double since_epoch_s; /* the same moment */
    uint64_t begun_ns;
    FILE *stream;    /* where intervals go */
    const char *tag; /* of them; null: none */
    int failure;     /* the first one of writing: a negative errno */
};

/* A log that begins now. */
struct latency_log latency_log_begin(void);

/* Writes the lines before the first interval. 0 or a negative errno. */
int latency_log_write_head(const struct latency_log *log, FILE *stream);

/* Writes one interval; of load_plan's type on_interval, `log` being a struct latency_log. */
void latency_log_interval(void *log, const struct latency_interval *interval);

/* Adds intervals, written elsewhere with the same log, to a file, which gets its head if it is new.
 * What was in it stays, also when the disk is full. */
int latency_log_append(const struct latency_log *log, const char *path, const char *lines,
                       struct error *error);

#endif
