/* selftest.h: the instrument measures what is known beforehand, to say by how much it is off.
 *
 * Each case loads a server of known times (known_server.h) and compares the percentiles that the
 * load reports with the truth: each request's own delay, by when the schedule had it come and by
 * what the server kept of its services and of the moments when it stood still (Lindley's recursion,
 * selftest_truth.h). What the machine did to the server is in the truth. What it did to the
 * generator nobody could measure right: the generator keeps when it stood still (load_trace.h), and
 * the requests that this touched are left out on both sides, of the truth and of what was
 * measured. How many they are is told, and what the percentile of all of them is, beside. Where
 * they are too many the row does not count against the instrument nor for it
 * (SELFTEST_CANNOT_TELL), and the case is measured again.
 *
 * Beside it stands what theory says of such a queue: what this machine resolves.
 *
 * One thread; blocks for as long as a case takes. */
#ifndef LOOPMARK_SELFTEST_H
#define LOOPMARK_SELFTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/environment.h"
#include "loops/error.h"

enum selftest_verdict {
    SELFTEST_WITHIN,
    SELFTEST_OFF,
    SELFTEST_CANNOT_TELL, /* off, and the machine may have done it */
    SELFTEST_SHOWN,       /* for comparison: nothing is asserted */
};
extern const char *const selftest_verdict_names[];

struct selftest_row {
    const char *name, *quantity;
    double q;                        /* the quantile; 0: a mean */
    double expected_ns, measured_ns; /* NAN: not known; measured: too few samples */
    double low_ns, high_ns;          /* 95 % around what was measured; NAN: too few samples */
    double allowed_ns;               /* the error may be so large; NAN: nothing is asserted */
    enum selftest_verdict verdict;
};

/* What the machine did in a case's window. */
struct selftest_machine {
    const char *name;
    unsigned tries;
    uint64_t pauses, pauses_by_others; /* of the server: by other processes of this machine; the
                                        * rest by the host or by interrupts */
    uint64_t paused_ns, longest_pause_ns;
    uint64_t generator_waited_ns; /* runnable, but another process had its CPU */
    uint64_t standstills, stood_still_ns; /* of the generator, whoever had its CPU (load_trace.h);
                                           * 0 where it kept no trace */
    double left_out_share;                /* of the requests: they touched those */
    double steal_share;           /* of both CPUs, as the host tells */
    double taken_share;           /* of the generator's time: waited and stolen */
    double lag_p99_ns;            /* NAN: a closed loop */
};

enum {
    SELFTEST_ROWS_MOST = 64,
    SELFTEST_CASES_MOST = 16,
    SELFTEST_NOTES_MOST = 48,
    SELFTEST_NOTE_BYTES = 256
};

/* Empty round trips while the generator sleeps between requests, and while it hardly does. */
enum selftest_trip { TRIP_SELDOM, TRIP_OFTEN, SELFTEST_TRIPS };

struct selftest {
    bool quick; /* few seconds, to see that all works: with wide intervals */
    struct cpu_plan cpus;
    struct selftest_row rows[SELFTEST_ROWS_MOST];
    size_t row_count;
    struct selftest_machine machine[SELFTEST_CASES_MOST];
    size_t machine_count;
    char notes[SELFTEST_NOTES_MOST][SELFTEST_NOTE_BYTES]; /* what made a case not valid */
    size_t note_count;
    bool valid; /* every load was of which something is asserted */
    struct selftest_round_trip {
        double p50_ns, p99_ns;
    } trips[SELFTEST_TRIPS];
    double added_p50_ns; /* the most that was measured beyond a known delay, at p50 and p99 */
    double added_p99_ns;
    double lag_p99_ns; /* the largest of all cases; of the generator */
    double disturbed;  /* also the largest: share of a case's time that others took from it */
    unsigned repeated; /* loads that the machine spoilt */
};

/* Of the index-th case: null beyond the last. */
const char *selftest_case_name(size_t index);
/* About so long it takes. */
double selftest_case_seconds(const struct selftest *selftest, size_t index);

/* Empty; the CPUs are the caller's to choose. */
void selftest_init(struct selftest *selftest, bool quick, const struct cpu_plan *cpus);

/* Measures a case and appends its rows. What the machine spoilt is measured again, five times in
 * all at most, and once in a quick run. A negative errno when the server or the load failed;
 * -EINTR: interrupt.h. */
int selftest_measure(struct selftest *selftest, size_t index, struct error *error);

/* All loads valid, and of no row is the error too large, whosever fault that is. */
bool selftest_passed(const struct selftest *selftest);
size_t selftest_count(const struct selftest *selftest, enum selftest_verdict verdict);

/* From this latency on, what is measured of a server is right within SELFTEST_RESOLUTION of it, by
 * the known delays, at p50 and at p99. */
#define SELFTEST_RESOLUTION 0.05
double selftest_resolved_ns(double added_ns);

#endif
