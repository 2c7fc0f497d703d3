/* command_plot.c: `loopmark plot`, the figures of a finished run once more. */
#include <stdio.h>

#include "harness/command.h"
#include "harness/plot.h"

static const char help[] =
    "usage: loopmark plot DIR\n"
    "\n"
    "Draws DIR/plots/*.png and *.svg from DIR/run.json and DIR/latency/ with gnuplot.\n"
    "\n"
    "example:\n"
    "  loopmark plot results/latest\n";

static int run(int argc, char **argv, struct error *error) {
    if (argc != 2) {
        error_set(error, -1, "needs one folder of results");
        return EXIT_USAGE;
    }
    int failure = plot_run(argv[1], error);
    if (!failure)
        printf("%s/plots\n", argv[1]);
    return command_exit_code(failure);
}

const struct command command_plot = {
    .name = "plot", .summary = "draw the figures of a run again", .help = help, .run = run};
