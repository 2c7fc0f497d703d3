/* selftest.h: the instrument measures what is known beforehand, to say by how much it is off.
 *
 * Each case loads a server of known times (known_server.h) and asks questions of the result. What
 * is expected follows from what the server really took, as it kept it itself, and from when the
 * schedule had the requests come: by theory (queueing.h) or request by request. To that comes the
 * way there and back, as measured on a server that answers at once ("empty round trip"); it belongs
 * to every latency that a client can measure.
 *
 * One thread; blocks for as long as a case takes. */
#ifndef LOOPMARK_SELFTEST_H
#define LOOPMARK_SELFTEST_H

#include <stdbool.h>
#include <stddef.h>

#include "harness/environment.h"
#include "loops/error.h"

enum selftest_verdict {
    SELFTEST_WITHIN,
    SELFTEST_OFF,
    SELFTEST_SHOWN, /* for comparison: nothing is asserted */
};
extern const char *const selftest_verdict_names[];

struct selftest_row {
    const char *name, *quantity;
    double expected_ns, measured_ns; /* NAN: not known; measured: too few samples */
    double low_ns, high_ns;          /* 95 % around what was measured; NAN: too few samples */
    double allowed_ns;               /* the error may be so large; NAN: nothing is asserted */
    enum selftest_verdict verdict;
};

enum { SELFTEST_ROWS_MOST = 40, SELFTEST_NOTES_MOST = 48, SELFTEST_NOTE_BYTES = 256 };

/* Empty round trips while the generator sleeps between requests, and while it hardly does. */
enum selftest_trip { TRIP_SELDOM, TRIP_OFTEN, SELFTEST_TRIPS };

struct selftest {
    bool quick; /* few seconds, to see that all works: with wide intervals */
    struct cpu_plan cpus;
    struct selftest_row rows[SELFTEST_ROWS_MOST];
    size_t row_count;
    char notes[SELFTEST_NOTES_MOST][SELFTEST_NOTE_BYTES]; /* what made a case not valid */
    size_t note_count;
    bool valid; /* every load was */
    struct selftest_round_trip {
        double p50_ns, p99_ns;
    } trips[SELFTEST_TRIPS];
    double added_p50_ns; /* the most that was measured beyond a known delay, at p50 and p99 */
    double added_p99_ns;
    double lag_p99_ns; /* the largest of all cases; of the generator */
    double disturbed;  /* also the largest: share of a case's time that others took from it */
    unsigned repeated; /* cases that they spoilt */
};

/* Of the index-th case: null beyond the last. */
const char *selftest_case_name(size_t index);
/* About so long it takes. */
double selftest_case_seconds(const struct selftest *selftest, size_t index);

/* Empty; the CPUs are the caller's to choose. */
void selftest_init(struct selftest *selftest, bool quick, const struct cpu_plan *cpus);

/* Measures a case and appends its rows; cases in order, since later ones need the first. A case
 * from which others took too much CPU time is repeated, three in all at most, and none in a quick
 * run. A negative errno when the server or the load failed; -EINTR: interrupt.h. */
int selftest_measure(struct selftest *selftest, size_t index, struct error *error);

/* All loads valid and no row off. */
bool selftest_passed(const struct selftest *selftest);

/* From this latency on, what is measured of a server is right within SELFTEST_RESOLUTION of it, the
 * round trip taken for an error: by the known delays, at p50 and at p99. */
#define SELFTEST_RESOLUTION 0.05
double selftest_resolved_ns(double added_ns);

#endif
