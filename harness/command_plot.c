/* command_plot.c: `loopmark plot`, the figures of a finished run once more, or of lag over time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness/command.h"
#include "harness/lag_plot.h"
#include "harness/plot.h"

static const char help[] =
    "usage: loopmark plot DIR\n"
    "       loopmark plot --lag PICTURE LOG ...\n"
    "\n"
    "Draws DIR/plots/*.png and *.svg from DIR/run.json and DIR/latency/ with gnuplot.\n"
    "\n"
    "  --lag PICTURE  draws instead the lag of event loops over time, as PICTURE (.png or .svg),\n"
    "                 from what `loopmark serve --monitor-log LOG` wrote, a curve a log\n"
    "\n"
    "examples:\n"
    "  loopmark plot results/latest\n"
    "  loopmark plot --lag lag.png inline.csv pool.csv\n";

static int draw_lag(int argc, char **argv, struct error *error) {
    if (argc < 4) {
        error_set(error, -EINVAL, "--lag needs a picture to write, and logs");
        return EXIT_USAGE;
    }
    int failure = lag_plot(argv[2], argv + 3, (size_t)argc - 3, error);
    if (!failure)
        printf("%s\n", argv[2]);
    return failure == -EINVAL ? EXIT_USAGE : command_exit_code(failure);
}

static int run(int argc, char **argv, struct error *error) {
    if (argc > 1 && strcmp(argv[1], "--lag") == 0)
        return draw_lag(argc, argv, error);
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
