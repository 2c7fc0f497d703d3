/* cell_floor.c: see cell_floor.h. */
#include "harness/cell_floor.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "harness/load_knobs.h"
#include "loops/clock.h"

#define WARMUP_NS (50.0 * NS_PER_MS)
#define DURATION_NS (250.0 * NS_PER_MS)

struct cell_floor cell_floor_plan(const struct workload *workload, const struct knob_values *knobs,
                                  const struct cpu_plan *cpus) {
    if (strcmp(workload->name, "echo") != 0 || knob_get(knobs, "in_flight") > 1)
        return (struct cell_floor){.known = false, .us_per_request = NAN};
    return (struct cell_floor){
        .known = true,
        .us_per_request = NAN,
        .plan =
            {
                .unix_socket = knob_get(knobs, "transport") == TRANSPORT_UNIX,
                .connections = (uint32_t)knob_get(knobs, "connections"),
                .size_bytes = (size_t)knob_get(knobs, "size_bytes"),
                .warmup_ns = fmin(WARMUP_NS, knob_get(knobs, "warmup")),
                .duration_ns = fmin(DURATION_NS, knob_get(knobs, "duration")),
                .server_cpus = cpus->server,
                .generator_cpus = cpus->generator,
            },
    };
}

double cell_floor_duration_ns(const struct cell_floor *floor) {
    return floor->known ? floor->plan.warmup_ns + floor->plan.duration_ns : 0;
}

int cell_floor_measure(struct cell_floor *floor, struct error *error) {
    struct floor_result result;
    int failure = floor_measure(&floor->plan, &result, error);
    floor->us_per_request = failure ? NAN : result.cpu_us_per_request;
    floor->known = !failure || failure == -EINTR;
    return failure;
}

void cell_floor_record(struct cell_floor *floor, json_t *repetitions, size_t first) {
    for (size_t i = first; i < json_array_size(repetitions); i++)
        json_object_set_new(json_array_get(repetitions, i), "floor_us_per_request",
                            isnan(floor->us_per_request) ? json_null()
                                                         : json_real(floor->us_per_request));
    floor->us_per_request = NAN;
}
