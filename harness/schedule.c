/* schedule.c: due times of requests. */
#include "harness/schedule.h"

#include <math.h>

#include "loops/check.h"
#include "loops/clock.h"

/* A double is a whole number of at most 53 bits times a power of two, so the gap 1e9 / rate is
 * an exact fraction. Even divisors are halved as far as that goes: whole rates end with a shift
 * of 0. */
static void set_gap(struct schedule *schedule, double rate_per_s) {
    int exponent;
    double fraction = frexp(rate_per_s, &exponent);
    schedule->gap_divisor = (uint64_t)ldexp(fraction, 53);
    schedule->gap_shift = (uint32_t)(53 - exponent); /* 23 to 62 in the range of rates */
    while (schedule->gap_divisor % 2 == 0 && schedule->gap_shift > 0) {
        schedule->gap_divisor /= 2;
        schedule->gap_shift--;
    }
}

static unsigned __int128 gap_dividend(const struct schedule *schedule) {
    return (unsigned __int128)NS_PER_S << schedule->gap_shift;
}

static uint64_t constant_due_ns(const struct schedule *schedule, uint64_t number) {
    unsigned __int128 product;
    if (__builtin_mul_overflow(gap_dividend(schedule), (unsigned __int128)number, &product))
        return SCHEDULE_NEVER;
    unsigned __int128 due_ns = product / schedule->gap_divisor;
    return due_ns < SCHEDULE_NEVER ? (uint64_t)due_ns : SCHEDULE_NEVER;
}

/* The requests due before `ns` in the whole schedule, that is the least k with k * gap >= ns. */
static uint64_t constant_count_before(const struct schedule *schedule, uint64_t ns) {
    unsigned __int128 dividend = gap_dividend(schedule);
    return (uint64_t)(((unsigned __int128)ns * schedule->gap_divisor + dividend - 1) / dividend);
}

/* How many k < count are the part's own. */
static uint64_t own_of(const struct schedule *schedule, uint64_t count) {
    if (count <= schedule->part)
        return 0;
    return (count - schedule->part - 1) / schedule->parts + 1;
}

static void add_poisson_gap(struct schedule *schedule) {
    double gap_ns = -log(random_unit(&schedule->stream)) * (1e9 / schedule->rate_per_s);
    double sum_ns = gap_ns + schedule->carry_ns, whole_ns = floor(sum_ns);
    schedule->carry_ns = sum_ns - whole_ns;
    if (__builtin_add_overflow(schedule->due_ns, (uint64_t)whole_ns, &schedule->due_ns))
        schedule->due_ns = SCHEDULE_NEVER;
}

/* ---- ramps ----------------------------------------------------------------------------------- */

/* When the integral of the rate reaches `arrivals`. In the ramp that is a root of the parabola, in
 * the form that loses no digits when the slope is small. */
static double ramp_reaches_s(const struct schedule *schedule, double arrivals) {
    double from = schedule->rate_per_s, to = schedule->end_rate_per_s;
    double held = from * schedule->hold_s, ramped = (from + to) / 2 * schedule->ramp_s;
    if (arrivals <= held)
        return arrivals / from;
    if (arrivals >= held + ramped)
        return schedule->hold_s + schedule->ramp_s + (arrivals - held - ramped) / to;
    double rest = arrivals - held, slope = (to - from) / schedule->ramp_s;
    return schedule->hold_s + 2 * rest / (from + sqrt(from * from + 2 * slope * rest));
}

static uint64_t ramp_due_ns(const struct schedule *schedule, double arrivals) {
    double ns = floor(ramp_reaches_s(schedule, arrivals) * 1e9);
    return ns < 0x1p64 ? (uint64_t)ns : SCHEDULE_NEVER;
}

static void move_on_ramp(struct schedule *schedule, uint32_t steps) {
    if (schedule->arrivals == ARRIVALS_POISSON)
        for (uint32_t i = 0; i < steps; i++)
            schedule->gaps += -log(random_unit(&schedule->stream));
    schedule->due_ns =
        ramp_due_ns(schedule, schedule->arrivals == ARRIVALS_POISSON ? schedule->gaps
                                                                     : (double)schedule->number);
}

/* The integral of the rate is a guess of it that is at most one off. */
static uint64_t ramp_count_before(const struct schedule *schedule, uint64_t ns) {
    double s = (double)ns / 1e9 - schedule->hold_s, from = schedule->rate_per_s;
    double ramped_s = s < schedule->ramp_s ? s : schedule->ramp_s;
    double slope = (schedule->end_rate_per_s - from) / schedule->ramp_s;
    double sum = from * (s < 0 ? s : ramped_s) + from * schedule->hold_s;
    if (s > 0)
        sum += slope * ramped_s * ramped_s / 2 + schedule->end_rate_per_s * (s - ramped_s);
    uint64_t count = (uint64_t)ceil(sum);
    while (count > 0 && ramp_due_ns(schedule, (double)(count - 1)) >= ns)
        count--;
    while (ramp_due_ns(schedule, (double)count) < ns)
        count++;
    return count;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* `steps` requests on in the whole schedule, where `number` has been set already. */
static void move(struct schedule *schedule, uint32_t steps) {
    if (schedule->ramp_s > 0)
        move_on_ramp(schedule, steps);
    else if (schedule->arrivals == ARRIVALS_CONSTANT)
        schedule->due_ns = constant_due_ns(schedule, schedule->number);
    else
        for (uint32_t i = 0; i < steps; i++)
            add_poisson_gap(schedule);
}

/* `ramp_ns` 0: none. */
static void init(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                 double end_rate_per_s, uint64_t hold_ns, uint64_t ramp_ns, uint64_t seed,
                 uint32_t part, uint32_t parts) {
    CHECK(arrivals == ARRIVALS_CONSTANT || arrivals == ARRIVALS_POISSON);
    CHECK(rate_per_s >= SCHEDULE_RATE_MIN && rate_per_s <= SCHEDULE_RATE_MAX);
    CHECK(part < parts);
    *schedule = (struct schedule){
        .arrivals = arrivals,
        .part = part,
        .parts = parts,
        .number = part,
        .rate_per_s = rate_per_s,
        .end_rate_per_s = end_rate_per_s,
        .hold_s = (double)hold_ns / 1e9,
        .ramp_s = (double)ramp_ns / 1e9,
        .seed = seed,
    };
    set_gap(schedule, rate_per_s);
    random_seed(&schedule->stream, seed);
    move(schedule, part + 1);
}

void schedule_init(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                   uint64_t seed, uint32_t part, uint32_t parts) {
    init(schedule, arrivals, rate_per_s, rate_per_s, 0, 0, seed, part, parts);
}

void schedule_init_ramp(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                        double end_rate_per_s, uint64_t hold_ns, uint64_t ramp_ns, uint64_t seed,
                        uint32_t part, uint32_t parts) {
    CHECK(end_rate_per_s >= SCHEDULE_RATE_MIN && end_rate_per_s <= SCHEDULE_RATE_MAX);
    CHECK(ramp_ns > 0);
    init(schedule, arrivals, rate_per_s, end_rate_per_s, hold_ns, ramp_ns, seed, part, parts);
}

void schedule_advance(struct schedule *schedule) {
    schedule->number += schedule->parts;
    move(schedule, schedule->parts);
}

static uint64_t poisson_count_between(const struct schedule *schedule, uint64_t from_ns,
                                      uint64_t to_ns) {
    struct schedule walk = *schedule;
    walk.number = walk.part;
    walk.due_ns = 0;
    walk.carry_ns = walk.gaps = 0;
    random_seed(&walk.stream, walk.seed);
    move(&walk, walk.part + 1);
    uint64_t count = 0;
    for (; walk.due_ns < to_ns; schedule_advance(&walk))
        count += walk.due_ns >= from_ns;
    return count;
}

uint64_t schedule_count_between(const struct schedule *schedule, uint64_t from_ns, uint64_t to_ns) {
    CHECK(from_ns <= to_ns);
    if (schedule->arrivals == ARRIVALS_POISSON)
        return poisson_count_between(schedule, from_ns, to_ns);
    if (schedule->ramp_s > 0)
        return own_of(schedule, ramp_count_before(schedule, to_ns)) -
               own_of(schedule, ramp_count_before(schedule, from_ns));
    return own_of(schedule, constant_count_before(schedule, to_ns)) -
           own_of(schedule, constant_count_before(schedule, from_ns));
}
