/* limits.c: see limits.h. */
#include "harness/limits.h"

#include <math.h>
#include <sys/resource.h>

void limits_raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

double limits_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max == RLIM_INFINITY)
        return INFINITY;
    return (double)limit.rlim_max;
}
