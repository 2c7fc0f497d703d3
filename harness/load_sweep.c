/* load_sweep.c: see load_sweep.h. */
#include "harness/load_sweep.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/statistics.h"
#include "loops/check.h"
#include "workloads/knob.h"

#define P99_SAMPLES 550.0 /* 500 for a p99, and the luck of Poisson arrivals */
#define LONGEST_STEP 4.0  /* of the usual one */
enum { LEVEL_POINTS_LEAST = 3, FAILURES_TO_END = 2 };

const char *const knee_names[KNEES] = {
    [KNEE_FOUND] = "found",
    [KNEE_NONE] = "none-within",
    [KNEE_BELOW] = "below",
    [KNEE_UNKNOWN] = "unknown",
};

/* ---- the rates ------------------------------------------------------------------------------- */

/* Takes the text until the next ':' or the end; false: it is empty or too long. */
static bool take_part(const char **text, char *part, size_t size) {
    size_t length = strcspn(*text, ":");
    if (length == 0 || length >= size)
        return false;
    snprintf(part, size, "%.*s", (int)length, *text);
    *text += length + ((*text)[length] == ':');
    return true;
}

int sweep_parse(const char *text, struct sweep_plan *plan, struct error *error) {
    static const struct knob rate = {.name = "rate", .type = KNOB_RATE, .least = 0.1, .most = 10e6};
    static const struct knob count = {
        .name = "steps", .type = KNOB_COUNT, .least = SWEEP_STEPS_LEAST, .most = SWEEP_STEPS_MOST};
    const char *at = text;
    char from[64], to[64], steps[64] = "";
    double number = SWEEP_STEPS_DEFAULT;
    struct error why = {""};
    size_t length = strlen(text);
    if (!take_part(&at, from, sizeof from) || !take_part(&at, to, sizeof to) ||
        (*at && !take_part(&at, steps, sizeof steps)) || *at || text[length - 1] == ':')
        return error_set(error, -EINVAL, "--sweep '%s' does not look like 1k:100k or 1k:100k:12",
                         text);
    if (knob_parse(&rate, from, &plan->from, &why) || knob_parse(&rate, to, &plan->to, &why) ||
        (*steps && knob_parse(&count, steps, &number, &why)))
        return error_set(error, -EINVAL, "--sweep '%s': %s", text, why.text);
    if (plan->from >= plan->to)
        return error_set(error, -EINVAL, "--sweep '%s' has to go from a lower rate to a higher one",
                         text);
    plan->steps = (size_t)number;
    return 0;
}

double sweep_rate(const struct sweep_plan *plan, size_t index) {
    CHECK(index < plan->steps);
    if (index == 0 || index == plan->steps - 1)
        return index == 0 ? plan->from : plan->to;
    double rate =
        plan->from * pow(plan->to / plan->from, (double)index / (double)(plan->steps - 1));
    double unit = pow(10, floor(log10(rate)) - 3);
    double tidy = round(rate / unit) * unit;
    return tidy > plan->from && tidy < plan->to ? tidy : rate;
}

double sweep_step_ns(double usual_ns, double rate) {
    return fmin(LONGEST_STEP * usual_ns, fmax(usual_ns, P99_SAMPLES * 1e9 / rate));
}

bool sweep_was_too_much(const struct sweep_point *point) {
    return point->missed || point->fault == FAULT_SERVER;
}

bool sweep_should_end(const struct sweep_point *points, size_t count) {
    size_t failures = 0;
    while (failures < count && sweep_was_too_much(&points[count - 1 - failures]))
        failures++;
    return failures >= FAILURES_TO_END;
}

/* ---- the knee -------------------------------------------------------------------------------- */

static bool has_p99(const struct sweep_point *point) {
    return point->fault == FAULT_NONE && point->p99_known;
}

static bool says_something(const struct sweep_point *point) {
    return point->fault == FAULT_SERVER || has_p99(point);
}

/* The median p99 at low load; false: too few to tell. */
static bool level_of(const struct sweep_point *points, size_t count, double *level_ns) {
    double values[SWEEP_STEPS_MOST];
    size_t wanted = (count + 3) / 4, found = 0;
    if (wanted < LEVEL_POINTS_LEAST)
        wanted = LEVEL_POINTS_LEAST;
    for (size_t i = 0; i < (count + 1) / 2 && found < wanted; i++) /* above that it is not low */
        if (has_p99(&points[i]))
            values[found++] = points[i].p99_ns;
    if (found < LEVEL_POINTS_LEAST)
        return false;
    *level_ns = median_in_place(values, found);
    return true;
}

static bool is_over(const struct sweep_point *point, double level_ns) {
    return point->fault == FAULT_SERVER || point->p99_low_ns > SWEEP_KNEE_TIMES * level_ns;
}

/* The server failed before anything else was seen of it. */
static bool begins_beyond(const struct sweep_point *points, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (says_something(&points[i]))
            return points[i].fault == FAULT_SERVER && sweep_should_end(points, count);
    return false;
}

struct sweep_knee sweep_find_knee(const struct sweep_point *points, size_t count) {
    struct sweep_knee knee = {.knee = KNEE_UNKNOWN};
    const struct sweep_point *last_under = NULL, *first_over = NULL;
    size_t over = 0, over_after = 0;
    CHECK(count <= SWEEP_STEPS_MOST);
    if (!level_of(points, count, &knee.level_ns)) {
        knee.knee = begins_beyond(points, count) ? KNEE_BELOW : KNEE_UNKNOWN;
        return knee;
    }
    for (size_t i = 0; i < count; i++) {
        if (!says_something(&points[i]))
            continue;
        if (!is_over(&points[i], knee.level_ns)) {
            last_under = &points[i];
            first_over = NULL;
            over_after = 0;
            continue;
        }
        first_over = first_over ? first_over : &points[i];
        over++;
        over_after++;
    }
    knee.isolated = over - over_after;
    knee.knee = first_over ? KNEE_FOUND : KNEE_NONE;
    CHECK(last_under); /* the level is a median of points that are not all over it */
    if (first_over) {
        knee.rate = last_under->rate;
        knee.over_rate = first_over->rate;
    }
    return knee;
}
