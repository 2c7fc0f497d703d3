/* histogram.c: what a histogram costs: record, merge, quantile, encode, decode; beside
 * HdrHistogram_c where it was built in (make bench-histogram HDR_C_DIR=…).
 *
 * Both do the same work on the same values, turn about in random order, on one CPU. A block times
 * each once; what is compared are the blocks' ratios (harness/statistics.h). Recording is used as
 * each library offers it: ours inline from a header, theirs a function of its library. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/build_info.h"
#include "harness/environment.h"
#include "harness/generator.h"
#include "harness/histogram.h"
#include "harness/histogram_codec.h"
#include "harness/interval.h"
#include "harness/random.h"
#include "harness/statistics.h"
#include "loops/check.h"
#include "loops/clock.h"

#ifdef HAVE_HDR_C
#include <hdr/hdr_histogram.h>
#include <hdr/hdr_histogram_log.h>
#include <hdr/hdr_histogram_version.h>
#endif

enum { VALUES = 1 << 16, BLOCKS = 30, COLUMN = 24 };
#define CONFIDENCE 0.95

struct fixture {
    uint64_t values[VALUES];
    struct recorder *recorder;
    struct histogram ours, into;
    char *text; /* ours, as base64 */
#ifdef HAVE_HDR_C
    struct hdr_histogram *theirs, *theirs_into;
    char *their_text;
#endif
};

/* Keeps the compiler from leaving out work whose result nobody reads. */
static inline void used(const void *pointer) {
    __asm__ volatile("" : : "r"(pointer) : "memory");
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Every magnitude from 1 ns to 73 minutes equally often: no branch or cache line is the usual one.
 */
static uint64_t random_value(struct random *random) {
    return random_next(random) >> (22 + random_next(random) % 42);
}

/* Around 50 µs with a long tail (log-normal, sigma 0.6), as latencies are. */
static uint64_t latency_value(struct random *random) {
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)(random_next(random) >> 11) * 0x1p-53;
    return (uint64_t)(50000 * exp(0.6 * sum));
}

static uint64_t repeated_value(struct random *random) {
    (void)random;
    return 123456;
}

static void draw(struct fixture *fixture, uint64_t (*value)(struct random *)) {
    struct random random;
    random_seed(&random, 1);
    for (size_t i = 0; i < VALUES; i++)
        fixture->values[i] = value(&random);
}

/* ---- the work: ours and theirs --------------------------------------------------------------- */

static void record(struct fixture *fixture) {
    for (size_t i = 0; i < VALUES; i++)
        recorder_add(fixture->recorder, fixture->values[i]);
    used(fixture->recorder);
}

static void merge(struct fixture *fixture) {
    CHECK(histogram_merge(&fixture->into, &fixture->ours) == 0);
    used(&fixture->into);
}

static void quantile(struct fixture *fixture) {
    uint64_t value = histogram_quantile(&fixture->ours, 0.99);
    used(&value);
}

static void encode(struct fixture *fixture) {
    char *text;
    CHECK(histogram_encode_base64(&fixture->ours, &text) == 0);
    used(text);
    free(text);
}

static void decode(struct fixture *fixture) {
    struct histogram histogram;
    struct error error;
    CHECK(histogram_decode_base64(fixture->text, strlen(fixture->text), &histogram, &error) == 0);
    used(&histogram);
    histogram_close(&histogram);
}

#ifdef HAVE_HDR_C
static void their_record(struct fixture *fixture) {
    for (size_t i = 0; i < VALUES; i++)
        hdr_record_value(fixture->theirs, (int64_t)fixture->values[i]);
    used(fixture->theirs);
}

static void their_merge(struct fixture *fixture) {
    hdr_add(fixture->theirs_into, fixture->theirs);
    used(fixture->theirs_into);
}

static void their_quantile(struct fixture *fixture) {
    int64_t value = hdr_value_at_percentile(fixture->theirs, 99);
    used(&value);
}

static void their_encode(struct fixture *fixture) {
    char *text;
    CHECK(hdr_log_encode(fixture->theirs, &text) == 0);
    used(text);
    free(text);
}

static void their_decode(struct fixture *fixture) {
    struct hdr_histogram *histogram = NULL;
    CHECK(hdr_log_decode(&histogram, fixture->their_text, strlen(fixture->their_text)) == 0);
    used(histogram);
    hdr_close(histogram);
}
#define THEIRS(function) function
#else
#define THEIRS(function) NULL
#endif

static const struct job {
    const char *name, *unit;
    uint64_t (*value)(struct random *);
    void (*ours)(struct fixture *);
    void (*theirs)(struct fixture *); /* null: not built in */
    double per_call;                  /* units of work in one call */
    int calls;                        /* in one timing */
} jobs[] = {
    {"record, random", "value", random_value, record, THEIRS(their_record), VALUES, 64},
    {"record, latencies", "value", latency_value, record, THEIRS(their_record), VALUES, 64},
    {"record, repeated", "value", repeated_value, record, THEIRS(their_record), VALUES, 64},
    {"merge", "histogram", latency_value, merge, THEIRS(their_merge), 1, 200},
    {"quantile, p99", "question", latency_value, quantile, THEIRS(their_quantile), 1, 500},
    {"encode, base64", "histogram", latency_value, encode, THEIRS(their_encode), 1, 30},
    {"decode, base64", "histogram", latency_value, decode, THEIRS(their_decode), 1, 30},
};

/* ---- timing ---------------------------------------------------------------------------------- */

static double time_of(const struct job *job, void (*work)(struct fixture *),
                      struct fixture *fixture) {
    uint64_t begin_ns = clock_now_ns();
    for (int i = 0; i < job->calls; i++)
        work(fixture);
    return (double)(clock_now_ns() - begin_ns) / (job->calls * job->per_call);
}

static void prepare(const struct job *job, struct fixture *fixture) {
    draw(fixture, job->value);
    recorder_reset(fixture->recorder);
    histogram_reset(&fixture->ours);
    record(fixture);
    histogram_add_recorder(&fixture->ours, fixture->recorder);
    free(fixture->text);
    CHECK(histogram_encode_base64(&fixture->ours, &fixture->text) == 0);
#ifdef HAVE_HDR_C
    hdr_reset(fixture->theirs);
    their_record(fixture);
    free(fixture->their_text);
    CHECK(hdr_log_encode(fixture->theirs, &fixture->their_text) == 0);
#endif
}

/* "1.24 (1.23 to 1.24)", or "18766 (18738 to 18800)". */
static void print_interval(const struct interval *interval, int width) {
    char text[96];
    int decimals = interval->estimate < 100 ? 2 : 0;
    snprintf(text, sizeof text, "%.*f (%.*f to %.*f)", decimals, interval->estimate, decimals,
             interval->low, decimals, interval->high);
    printf(" %*s", width, text);
}

static void print_job(const struct job *job, double ours[BLOCKS], double theirs[BLOCKS]) {
    struct interval interval;
    struct comparison comparison;
    CHECK(hodges_lehmann(ours, BLOCKS, CONFIDENCE, &interval) == 0);
    printf("%-18s %-9s", job->name, job->unit);
    print_interval(&interval, COLUMN);
    if (job->theirs) {
        CHECK(compare_blocks(ours, theirs, BLOCKS, CONFIDENCE, &comparison) == 0);
        CHECK(hodges_lehmann(theirs, BLOCKS, CONFIDENCE, &interval) == 0);
        print_interval(&interval, COLUMN);
        printf("   %.3f (%.3f to %.3f)", comparison.estimate, comparison.low, comparison.high);
    }
    printf("\n");
    fflush(stdout);
}

static void run_job(const struct job *job, struct fixture *fixture, struct random *order) {
    double ours[BLOCKS], theirs[BLOCKS];
    prepare(job, fixture);
    time_of(job, job->ours, fixture); /* warm */
    if (job->theirs)
        time_of(job, job->theirs, fixture);
    for (int i = 0; i < BLOCKS; i++) {
        bool first = random_next(order) >> 63;
        if (first)
            ours[i] = time_of(job, job->ours, fixture);
        if (job->theirs)
            theirs[i] = time_of(job, job->theirs, fixture);
        if (!first)
            ours[i] = time_of(job, job->ours, fixture);
    }
    print_job(job, ours, theirs);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void stay_on_one_cpu(void) {
    cpu_set_t cpus, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof cpus, &cpus))
        return;
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
        if (CPU_ISSET(cpu, &cpus)) {
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
}

static void print_memory(void) {
    printf("\nconfiguration: 1 to %llu ns, %d digits, %d counters\n",
           (unsigned long long)RECORDER_HIGHEST, RECORDER_DIGITS, RECORDER_COUNTERS);
    size_t thread_bytes = sizeof(struct interval_ring) + sizeof(struct thread);
    printf(
        "memory: recorder %.0f KiB, histogram %.0f KiB; a generator's thread %.0f KiB, which are "
        "%zu recorders: %d of response times in turn, one each of service times, lag, "
        "connecting and the %d classes of statuses\n",
        sizeof(struct recorder) / 1024.0, RECORDER_COUNTERS * sizeof(uint64_t) / 1024.0,
        (double)thread_bytes / 1024, thread_bytes / sizeof(struct recorder), INTERVAL_SLOTS,
        LOAD_STATUS_CLASSES);
}

static void open_fixture(struct fixture *fixture) {
    fixture->recorder = aligned_alloc(_Alignof(struct recorder), sizeof *fixture->recorder);
    CHECK(fixture->recorder);
    CHECK(histogram_open(&fixture->ours, &histogram_standard) == 0);
    CHECK(histogram_open(&fixture->into, &histogram_standard) == 0);
#ifdef HAVE_HDR_C
    CHECK(hdr_init(1, (int64_t)RECORDER_HIGHEST, RECORDER_DIGITS, &fixture->theirs) == 0);
    CHECK(hdr_init(1, (int64_t)RECORDER_HIGHEST, RECORDER_DIGITS, &fixture->theirs_into) == 0);
#endif
}

static void close_fixture(struct fixture *fixture) {
#ifdef HAVE_HDR_C
    hdr_close(fixture->theirs);
    hdr_close(fixture->theirs_into);
    free(fixture->their_text);
#endif
    histogram_close(&fixture->ours);
    histogram_close(&fixture->into);
    free(fixture->text);
    free(fixture->recorder);
    free(fixture);
}

static void print_head(void) {
    json_t *environment = environment_capture();
    printf("%s\n", json_string_value(json_object_get(environment, "caption")));
    json_decref(environment);
    printf("loopmark %s, %d blocks, Hodges-Lehmann estimates with 95 %% intervals\n",
           LOOPMARK_REVISION, BLOCKS);
#ifdef HAVE_HDR_C
    printf("\n%-18s %-9s %*s %*s   %s\n", "nanoseconds", "per", COLUMN, "ours", COLUMN,
           "HdrHistogram_c " HDR_HISTOGRAM_VERSION, "ours / theirs");
#else
    printf("HdrHistogram_c skipped: give its folder as HDR_C_DIR=\n\n%-18s %-9s %*s\n",
           "nanoseconds", "per", COLUMN, "ours");
#endif
}

int main(void) {
    struct random order;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    CHECK(fixture);
    open_fixture(fixture);
    random_seed(&order, 2);
    print_head();
    stay_on_one_cpu();
    for (size_t i = 0; i < ARRAY_LENGTH(jobs); i++)
        run_job(&jobs[i], fixture, &order);
    print_memory();
    close_fixture(fixture);
    return 0;
}
