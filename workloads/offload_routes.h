/* offload_routes.h: what the workload `offload` serves: light requests beside jobs that block.
 *
 *   /light          "light", at once
 *   /sleep/US       US, after a sleep of so many microseconds; at most OFFLOAD_US_MOST
 *   /cpu/US         US, after so much CPU time
 *   /hash/BYTES     the CRC-32 of so many bytes, in hexadecimal digits; at most OFFLOAD_BYTES_MOST
 *   /compress/BYTES how long so many bytes are when zlib has compressed them; at most the same
 *   /file/cold      the CRC-32 of the workload's file, dropped from the page cache before
 *   /file/warm      the same as it lies
 *   /resolve        the address of localhost, as the system says
 *   /timer/US       US, when a timer of the loop that is due after so many microseconds has come:
 *                   what waits without blocking
 *   /job            the job of the knobs `job`, `job_us` and `job_bytes`, with its path's answer
 *   /mix            heavy_per_1000 of 1,000 requests as /job, the others as /light, in an order
 *                   that looks random and is the same in every run
 *   /passes/N       N, when the loop has made N passes after this one, with nothing to do in them
 *                   but to post the next; at most OFFLOAD_PASSES_MOST
 *
 * /low before any job's path: with low priority, which only a pool of our own threads looks at.
 * Each job runs as the executor does it (offload_executor.h). Else:
 *   404  none of these paths
 *   500  the job has failed; its words are the body
 *   503  with Retry-After: the queue is full, or the server stops and the job has not begun
 *
 * A job whose client has gone is cancelled if it has not begun, and otherwise nobody gets its
 * answer. Nothing is allocated for a request, once there were as many at a time. All of it belongs
 * to the loop's thread. */
#ifndef LOOPMARK_OFFLOAD_ROUTES_H
#define LOOPMARK_OFFLOAD_ROUTES_H

#include <sys/queue.h>

#include "http_routes.h"
#include "offload_executor.h"
#include "offload_work.h"

enum { OFFLOAD_PASSES_MOST = 1000000 };

/* The k-th of a sequence that looks random and is the same in every run. */
uint64_t offload_scatter(uint64_t k);

/* What begin() gets as its data. */
struct offload_routes {
    struct loop *loop;
    struct executor *executor;
    const struct offload_place *place;
    struct offload_work job; /* of /job */
    unsigned heavy_per_1000;
    /* Its own; zero at first. */
    struct job *idle_jobs;
    uint32_t jobs; /* under way */
    uint64_t light, mixed, failed, gone;
};

extern const struct http_routes offload_http_routes;

/* Runs the job of /job with nobody waiting for it. What it comes to is in the executor's counters
 * and `failed`. */
void offload_run_in_background(struct offload_routes *routes, enum threadpool_priority priority);

/* When no job is under way. */
void offload_routes_free(struct offload_routes *routes);

#endif
