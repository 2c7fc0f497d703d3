/* load_search.c: see load_search.h. */
#include "harness/load_search.h"

#include <math.h>
#include <string.h>

#include "loops/check.h"

#define HIGHEST_RATE 10e6 /* what the generator's knob takes */
#define GROWTH 2.0        /* a step up, or down */
#define LONGEST_STEP 4.0  /* of the usual step, where low rates need more time for the samples */
enum { TRIES_MOST = 5 };  /* of one rate: odd, so that one outcome leads in the end */
enum { LEAD = 2 };        /* of one outcome over the other that settles it before */
enum { SPOILT_MOST = 3 }; /* then this rate cannot be measured here */
enum { RATE_DIGITS = 4 }; /* of a rate that nobody gave */

const char *const search_verdict_names[SEARCH_VERDICTS] = {
    [SEARCH_HOLDS] = "holds",         [SEARCH_BREAKS] = "breaks",
    [SEARCH_UNDECIDED] = "undecided", [SEARCH_UNSUSTAINED] = "not-sustained",
    [SEARCH_GENERATOR] = "generator", [SEARCH_MACHINE] = "machine",
};

const char *const search_end_names[SEARCH_ENDS] = {
    [SEARCH_UNDER_WAY] = "under-way",
    [SEARCH_FOUND] = "found",
    [SEARCH_NOTHING_HOLDS] = "nothing-holds",
    [SEARCH_ALL_HOLD] = "all-hold",
    [SEARCH_GENERATOR_LIMIT] = "generator-limit",
    [SEARCH_MACHINE_LIMIT] = "machine-limit",
    [SEARCH_OUT_OF_TIME] = "out-of-time",
};

/* ---- the plan -------------------------------------------------------------------------------- */

static double rounded(double rate, int digits) {
    double unit = pow(10, floor(log10(rate)) - digits + 1);
    return round(rate / unit) * unit;
}

struct search_plan load_search_plan(double start, double samples, double step_ns, double warmup_ns,
                                    double precision) {
    double longest_ns = LONGEST_STEP * step_ns, enough = samples * 1e9 / step_ns;
    struct search_plan plan = {.precision = precision,
                               .samples = samples,
                               .step_ns = step_ns,
                               .longest_ns = longest_ns,
                               .warmup_ns = warmup_ns,
                               .highest = HIGHEST_RATE};
    plan.start = fmin(start > 0 ? start : rounded(1.05 * enough, 2), plan.highest);
    plan.lowest = fmin(plan.start, rounded(samples * 1e9 / longest_ns, RATE_DIGITS));
    return plan;
}

double load_search_step_ns(const struct search_plan *plan, double rate) {
    return fmin(plan->longest_ns, fmax(plan->step_ns, plan->samples * 1e9 / rate));
}

/* ---- what is known --------------------------------------------------------------------------- */

/* 1: it holds, -1: it does not, 0: as often the one as the other. */
static int outcome(const struct search_point *point) {
    return (point->held > point->failed) - (point->held < point->failed);
}

static bool is_settled(const struct search_point *point) {
    unsigned lead =
        point->held > point->failed ? point->held - point->failed : point->failed - point->held;
    return lead >= LEAD || point->held + point->failed >= TRIES_MOST;
}

const struct search_point *load_search_low(const struct load_search *search) {
    for (size_t i = search->point_count; i > 0; i--)
        if (outcome(&search->points[i - 1]) > 0)
            return &search->points[i - 1];
    return NULL;
}

const struct search_point *load_search_high(const struct load_search *search) {
    const struct search_point *low = load_search_low(search);
    for (size_t i = low ? (size_t)(low - search->points) + 1 : 0; i < search->point_count; i++)
        if (outcome(&search->points[i]) < 0)
            return &search->points[i];
    return NULL;
}

bool load_search_is_decided(const struct search_point *point) {
    return point->verdicts[SEARCH_BREAKS] + point->verdicts[SEARCH_UNSUSTAINED] >=
           point->verdicts[SEARCH_UNDECIDED];
}

bool load_search_is_odd(const struct load_search *search, const struct search_point *point) {
    const struct search_point *low = load_search_low(search);
    return low && point < low && outcome(point) < 0;
}

/* ---- where next ------------------------------------------------------------------------------ */

static double finish(struct load_search *search, enum search_end end) {
    search->end = end;
    return 0;
}

static const struct search_point *undecided_tie(const struct load_search *search) {
    for (size_t i = 0; i < search->point_count; i++)
        if (search->points[i].held > 0 && outcome(&search->points[i]) == 0)
            return &search->points[i];
    return NULL;
}

static const struct search_point *unsettled_odd(const struct load_search *search) {
    for (size_t i = 0; i < search->point_count; i++)
        if (load_search_is_odd(search, &search->points[i]) && !is_settled(&search->points[i]))
            return &search->points[i];
    return NULL;
}

static double go_down(struct load_search *search, const struct search_point *failing) {
    const struct search_plan *plan = &search->plan;
    if (!failing)
        return plan->start;
    if (failing->rate > plan->lowest)
        return fmax(rounded(failing->rate / GROWTH, RATE_DIGITS), plan->lowest);
    return is_settled(failing) ? finish(search, SEARCH_NOTHING_HOLDS) : failing->rate;
}

static double go_up(struct load_search *search, const struct search_point *holding) {
    if (holding->rate < search->plan.highest)
        return fmin(holding->rate * GROWTH, search->plan.highest);
    return is_settled(holding) ? finish(search, SEARCH_ALL_HOLD) : holding->rate;
}

static double confirm(struct load_search *search, const struct search_point *low,
                      const struct search_point *high) {
    const struct search_point *odd = unsettled_odd(search);
    return !is_settled(low)    ? low->rate
           : !is_settled(high) ? high->rate
           : odd               ? odd->rate
                               : finish(search, SEARCH_FOUND);
}

/* Is nothing known of any rate above? */
static bool is_highest_told(const struct load_search *search, const struct search_point *point) {
    for (const struct search_point *above = point + 1; above < search->points + search->point_count;
         above++)
        if (above->held + above->failed > 0)
            return false;
    return true;
}

/* Past a rate that fails by its latency alone. Where a server cannot keep up, more load will not
 * help it. */
static bool should_look_past(const struct load_search *search, const struct search_point *high) {
    return is_highest_told(search, high) && high->verdicts[SEARCH_UNSUSTAINED] == 0 &&
           high->rate < search->plan.highest && high->rate * GROWTH < search->ceiling;
}

/* The rate to try if everything could be measured; 0: it is over. */
static double choose(struct load_search *search) {
    const struct search_point *low = load_search_low(search), *high = load_search_high(search);
    const struct search_point *tie = undecided_tie(search);
    if (tie)
        return tie->rate;
    if (!low)
        return go_down(search, high);
    if (!high)
        return go_up(search, low);
    if (should_look_past(search, high))
        return fmin(high->rate * GROWTH, search->plan.highest);
    double middle = rounded(sqrt(low->rate * high->rate), RATE_DIGITS);
    if (high->rate > (1 + search->plan.precision) * low->rate && low->rate < middle &&
        middle < high->rate)
        return middle;
    return confirm(search, low, high);
}

/* What cannot be measured is left out; what holds below it is still confirmed. */
static double choose_below_ceiling(struct load_search *search) {
    double rate = choose(search);
    if (search->end != SEARCH_UNDER_WAY || rate < search->ceiling)
        return rate;
    const struct search_point *low = load_search_low(search);
    if (low && low->rate < search->ceiling && !is_settled(low))
        return low->rate;
    return finish(search, search->ceiling_is);
}

bool load_search_next(struct load_search *search, double *rate) {
    if (search->end != SEARCH_UNDER_WAY)
        return false;
    search->rate = choose_below_ceiling(search);
    if (search->end != SEARCH_UNDER_WAY)
        return false;
    double step_ns = search->plan.warmup_ns + load_search_step_ns(&search->plan, search->rate);
    if (search->spent_ns + step_ns > search->budget_ns ||
        search->point_count == SEARCH_POINTS_MOST) {
        finish(search, SEARCH_OUT_OF_TIME);
        return false;
    }
    search->spent_ns += step_ns;
    search->steps++;
    *rate = search->rate;
    return true;
}

/* ---- what came of it ------------------------------------------------------------------------- */

static struct search_point *point_at(struct load_search *search, double rate) {
    size_t i = 0;
    while (i < search->point_count && search->points[i].rate < rate)
        i++;
    struct search_point *point = &search->points[i];
    if (i < search->point_count && point->rate == rate)
        return point;
    CHECK(search->point_count < SEARCH_POINTS_MOST);
    memmove(point + 1, point, (search->point_count - i) * sizeof *point);
    *point = (struct search_point){.rate = rate};
    search->point_count++;
    return point;
}

void load_search_tell(struct load_search *search, enum search_verdict verdict) {
    struct search_point *point = point_at(search, search->rate);
    bool spoilt = verdict == SEARCH_GENERATOR || verdict == SEARCH_MACHINE;
    point->verdicts[verdict]++;
    point->spoilt += spoilt;
    point->held += verdict == SEARCH_HOLDS;
    point->failed += !spoilt && verdict != SEARCH_HOLDS;
    if (point->spoilt < SPOILT_MOST || search->rate >= search->ceiling)
        return;
    search->ceiling = search->rate;
    search->ceiling_is = point->verdicts[SEARCH_GENERATOR] >= point->verdicts[SEARCH_MACHINE]
                             ? SEARCH_GENERATOR_LIMIT
                             : SEARCH_MACHINE_LIMIT;
}

void load_search_begin(struct load_search *search, const struct search_plan *plan) {
    CHECK(0 < plan->lowest && plan->lowest <= plan->start && plan->start <= plan->highest);
    CHECK(plan->precision > 0 && plan->step_ns > 0);
    *search = (struct load_search){
        .plan = *plan,
        .ceiling = INFINITY,
        .budget_ns = SEARCH_STEPS_MOST * (plan->warmup_ns + plan->step_ns),
    };
}
