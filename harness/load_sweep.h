/* load_sweep.h: the rates of a sweep, when to end it, and the knee of what came of it.
 *
 * The knee is where latency leaves the level it has at low load: the last rate before p99 stays
 * over SWEEP_KNEE_TIMES that level. The level is the median p99 of the lowest quarter of the rates
 * (at least three, of the lower half), so that one slow moment does not make it; over is a rate
 * whose whole p99 interval is over, or that the server did not sustain. What is over and followed
 * by rates that are not is no knee; it is counted beside it. (A threshold, and not the point of
 * greatest curvature as by Satopää et al., "Finding a Kneedle in a Haystack", 2011: that is
 * somewhere on every curve, and moves with the sweep's ends.)
 *
 * Pure: no I/O, no clock, no allocation. */
#ifndef LOOPMARK_LOAD_SWEEP_H
#define LOOPMARK_LOAD_SWEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "harness/validity.h"
#include "loops/error.h"

#define SWEEP_KNEE_TIMES 3
enum { SWEEP_STEPS_LEAST = 2, SWEEP_STEPS_MOST = 100, SWEEP_STEPS_DEFAULT = 12 };

struct sweep_plan {
    double from, to; /* rates per second, 0 < from < to */
    size_t steps;
};

/* "1k:100k" or "1k:100k:20". -EINVAL. */
int sweep_parse(const char *text, struct sweep_plan *plan, struct error *error);

/* The index-th rate of a geometric series from `from` to `to`, both exactly. */
double sweep_rate(const struct sweep_plan *plan, size_t index);

/* The measured time at this rate: longer than usual, up to four times, where a p99 needs it. */
double sweep_step_ns(double usual_ns, double rate);

struct sweep_point {
    double rate;
    enum fault
        fault;   /* the server's: unstable, rate missed, errors. The others': it says nothing */
    bool missed; /* far fewer requests were sent than due, whosever fault that is */
    bool p99_known;
    double p99_ns, p99_low_ns; /* and the low end of its interval */
};

/* The server did not sustain it, or it was missed, for whatever reason. A generator that was merely
 * late had a bad moment. */
bool sweep_was_too_much(const struct sweep_point *point);

/* Two rates in a row were too much: higher ones will not do better. */
bool sweep_should_end(const struct sweep_point *points, size_t count);

enum knee {
    KNEE_FOUND,
    KNEE_NONE,    /* the highest rate that was measured is not over the level */
    KNEE_BELOW,   /* the server did not sustain the lowest rates already */
    KNEE_UNKNOWN, /* fewer than three rates with a p99 to take the level from */
    KNEES
};
extern const char *const knee_names[KNEES];

struct sweep_knee {
    enum knee knee;
    double rate, over_rate; /* KNEE_FOUND: it lies between these two */
    double level_ns;        /* p99 at low load; 0: not known */
    size_t isolated;        /* rates over SWEEP_KNEE_TIMES of it below the knee */
};

/* `points` from the lowest rate up, at most SWEEP_STEPS_MOST. */
struct sweep_knee sweep_find_knee(const struct sweep_point *points, size_t count);

#endif
