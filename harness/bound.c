/* bound.c: see bound.h. */
#include "harness/bound.h"

#include "loops/check.h"

const char *bound_name(enum bound bound) {
    static const char *const names[BOUNDS] = {
        [BOUND_NONE] = "",
        [BOUND_SERVER] = "server",
        [BOUND_LATENCY] = "latency",
        [BOUND_CO_LIMITED] = "co-limited",
        [BOUND_GENERATOR] = "generator",
    };
    CHECK(bound < BOUNDS);
    return names[bound];
}
