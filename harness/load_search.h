/* load_search.h: the highest rate at which an objective holds: which rate to try next.
 *
 * The search is told how each step went and names the next rate, until it knows:
 *
 *   grow       from a low rate, twice as much each time, until the objective does not hold; where
 *              it fails at the start already, down by halves
 *   look past  the first rate that fails by its latency alone: it may have been chance, and a rate
 *              twice as high may hold
 *   bisect     between the highest rate that holds and the lowest above it that does not, at their
 *              geometric mean, until the two are within the precision
 *   confirm    both ends are tried again until one outcome leads by two (at most 5 times), and so
 * is any lower rate that failed. What turns out otherwise opens the search again
 *
 * A rate holds when it held in most of its tries. The answer is the highest that does; lower ones
 * that fail all the same are never hidden (load_search_is_odd). A step that the generator or the
 * machine has spoilt says nothing of the server: it is tried again, and a rate that was spoilt
 * three times is the end of what can be searched. The time is bounded by `budget_ns` of steps.
 *
 * Pure: no I/O, no clock, no allocation. */
#ifndef LOOPMARK_LOAD_SEARCH_H
#define LOOPMARK_LOAD_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a step went. */
enum search_verdict {
    SEARCH_HOLDS,
    SEARCH_BREAKS,
    SEARCH_UNDECIDED,   /* the interval lies across the limit: it is not shown to hold */
    SEARCH_UNSUSTAINED, /* the server's: unstable, rate missed, errors */
    SEARCH_GENERATOR,   /* spoilt: the generator was too busy or late */
    SEARCH_MACHINE,     /* spoilt: CPU time was taken away */
    SEARCH_VERDICTS
};
extern const char *const search_verdict_names[SEARCH_VERDICTS];

enum search_end {
    SEARCH_UNDER_WAY,
    SEARCH_FOUND,
    SEARCH_NOTHING_HOLDS, /* not even the lowest rate */
    SEARCH_ALL_HOLD,      /* even the highest rate */
    SEARCH_GENERATOR_LIMIT,
    SEARCH_MACHINE_LIMIT,
    SEARCH_OUT_OF_TIME,
    SEARCH_ENDS
};
extern const char *const search_end_names[SEARCH_ENDS];

enum { SEARCH_POINTS_MOST = 64, SEARCH_STEPS_MOST = 40 };

struct search_plan {
    double start, lowest, highest; /* rates per second; lowest <= start <= highest */
    double precision;              /* 0.05: the bracket's ends are within 5 % */
    double samples;                /* that a step should have, if that makes it no longer than */
    double step_ns, longest_ns;    /* a step's measured time, and its most */
    double warmup_ns;
};

/* A rate that was tried. */
struct search_point {
    double rate;
    unsigned held, failed; /* tries that count */
    unsigned spoilt;
    unsigned verdicts[SEARCH_VERDICTS];
};

struct load_search {
    struct search_plan plan;
    enum search_end end;
    struct search_point points[SEARCH_POINTS_MOST]; /* from the lowest rate up */
    size_t point_count, steps;
    double rate;                /* of the step under way */
    double ceiling;             /* from here up nothing can be measured; infinity: not known */
    enum search_end ceiling_is; /* whose limit that is */
    double spent_ns, budget_ns; /* steps with their warm-ups */
};

/* Where to begin for steps of `step_ns` each that should have `samples`: in reach of four times as
 * long steps below it. `start` 0: as low as a step of that time has the samples. */
struct search_plan load_search_plan(double start, double samples, double step_ns, double warmup_ns,
                                    double precision);

void load_search_begin(struct load_search *search, const struct search_plan *plan);

/* The next step's rate; false: it is over, and `end` says why. To be followed by _tell. */
bool load_search_next(struct load_search *search, double *rate);
void load_search_tell(struct load_search *search, enum search_verdict verdict);

/* The measured time of a step at this rate. */
double load_search_step_ns(const struct search_plan *plan, double rate);

/* At any time: the highest rate that holds, and the lowest above it that does not. May be null. */
const struct search_point *load_search_low(const struct load_search *search);
const struct search_point *load_search_high(const struct load_search *search);

/* Did the point fail for certain (broken or unsustained) at least as often as it was undecided? */
bool load_search_is_decided(const struct search_point *point);

/* Does the point fail though a higher rate holds? */
bool load_search_is_odd(const struct load_search *search, const struct search_point *point);

#endif
