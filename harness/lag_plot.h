/* lag_plot.h: the lag of loops over time, as one picture.
 *
 * A log is what `loopmark serve --monitor-log FILE` leaves: a line "at_s,lag_ms", then one for each
 * due time of the lag timer: seconds since the start, and how late it came. */
#ifndef LOOPMARK_LAG_PLOT_H
#define LOOPMARK_LAG_PLOT_H

#include <stddef.h>

#include "loops/error.h"

enum { LAG_PLOT_LOGS_MOST = 8 };

/* Draws the logs, each named by its file, as `output`, which ends in .png or .svg. -EINVAL: what is
 * given cannot be drawn, with file and line; -ENOENT: no gnuplot, or no such file. */
int lag_plot(const char *output, char *const *logs, size_t count, struct error *error);

#endif
