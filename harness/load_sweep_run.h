/* load_sweep_run.h: `load --sweep`: latency against load, on a real server. */
#ifndef LOOPMARK_LOAD_SWEEP_RUN_H
#define LOOPMARK_LOAD_SWEEP_RUN_H

#include "harness/load_options.h"

/* A line a step on stderr, the table and the knee on stdout, the figure in the options' plot_path.
 * Returns an exit code: 0 measured (rates that the server does not sustain are part of the answer),
 * 5 no rate gave a valid row, 130 interrupted, 1 a load or the figure failed; what was measured
 * is printed in all cases. Without gnuplot there is no figure, which is said and no failure. */
int load_sweep_run(struct load_options *options, struct error *error);

#endif
