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

/* `steps` requests on in the whole schedule, where `number` has been set already. */
static void move(struct schedule *schedule, uint32_t steps) {
    if (schedule->arrivals == ARRIVALS_CONSTANT)
        schedule->due_ns = constant_due_ns(schedule, schedule->number);
    else
        for (uint32_t i = 0; i < steps; i++)
            add_poisson_gap(schedule);
}

void schedule_init(struct schedule *schedule, enum arrivals arrivals, double rate_per_s,
                   uint64_t seed, uint32_t part, uint32_t parts) {
    CHECK(arrivals == ARRIVALS_CONSTANT || arrivals == ARRIVALS_POISSON);
    CHECK(rate_per_s >= SCHEDULE_RATE_MIN && rate_per_s <= SCHEDULE_RATE_MAX);
    CHECK(part < parts);
    *schedule = (struct schedule){
        .arrivals = arrivals,
        .part = part,
        .parts = parts,
        .number = part,
        .rate_per_s = rate_per_s,
        .seed = seed,
    };
    set_gap(schedule, rate_per_s);
    random_seed(&schedule->stream, seed);
    move(schedule, part + 1);
}

void schedule_advance(struct schedule *schedule) {
    schedule->number += schedule->parts;
    move(schedule, schedule->parts);
}

static uint64_t poisson_count_between(const struct schedule *schedule, uint64_t from_ns,
                                      uint64_t to_ns) {
    struct schedule walk;
    schedule_init(&walk, schedule->arrivals, schedule->rate_per_s, schedule->seed, schedule->part,
                  schedule->parts);
    uint64_t count = 0;
    for (; walk.due_ns < to_ns; schedule_advance(&walk))
        count += walk.due_ns >= from_ns;
    return count;
}

uint64_t schedule_count_between(const struct schedule *schedule, uint64_t from_ns, uint64_t to_ns) {
    CHECK(from_ns <= to_ns);
    if (schedule->arrivals == ARRIVALS_POISSON)
        return poisson_count_between(schedule, from_ns, to_ns);
    return own_of(schedule, constant_count_before(schedule, to_ns)) -
           own_of(schedule, constant_count_before(schedule, from_ns));
}
