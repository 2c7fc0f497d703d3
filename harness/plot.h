/* plot.h: the figures of a run, drawn by gnuplot.
 *
 * Reads DIR/run.json and DIR/latency/, writes DIR/plots/NAME.png and NAME.svg, and what they draw
 * in DIR/plots/data/NAME.dat. What a figure looks like stands in plots/NAME.gp, what it needs in
 * the table of plot.c. gnuplot's own messages go to stderr. */
#ifndef LOOPMARK_PLOT_H
#define LOOPMARK_PLOT_H

#include "loops/error.h"

/* Draws every figure that an experiment of the run has data for; a run without any is fine. The .gp
 * files are those of plots/ in source_directory() (source.h). -ENOENT: no run.json, no style.gp, or
 * no gnuplot (`error` names the package): figures are an extra, so a caller that has just measured
 * should go on. -EIO: gnuplot failed. */
int plot_run(const char *directory, struct error *error);

#endif
