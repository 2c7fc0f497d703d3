/* trend.h: does a series change steadily? For what is measured second by second.
 *
 * The slope is Theil's and Sen's (the median of all pairs' slopes), the test Mann's and Kendall's
 * with its normal approximation and the correction for ties (Gilbert, Statistical Methods for
 * Environmental Pollution Monitoring, 16.4): neither is moved by a few wild seconds. Neighbouring
 * seconds that hang together make the test too ready to see a trend, so what it finds has to be
 * large as well before anything is called by it. Pure. */
#ifndef LOOPMARK_TREND_H
#define LOOPMARK_TREND_H

#include <stdbool.h>
#include <stddef.h>

enum { TREND_LEAST = 8, TREND_POINTS = 64 };

struct trend {
    bool known;    /* at least TREND_LEAST values */
    bool steady;   /* a trend beyond chance: two-sided, 1 % */
    double change; /* from the first to the last along the slope, over the median: 0.1 is +10 % */
};

/* More than TREND_POINTS values are averaged in groups first. */
struct trend trend_of(const double *values, size_t count);

#endif
