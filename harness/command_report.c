/* command_report.c: `loopmark report`, the report of a finished run once more. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/report.h"
#include "harness/summary.h"

static const char help[] =
    "usage: loopmark report DIR\n"
    "\n"
    "Derives report.md and the CSV files from DIR/run.json again, and prints the table.\n"
    "\n"
    "examples:\n"
    "  loopmark report results/latest\n"
    "  loopmark report results/reference | less -R\n";

static int report(const char *directory, struct error *error) {
    char path[PATH_MAX];
    json_error_t problem;
    struct summary summary;
    snprintf(path, sizeof path, "%s/run.json", directory);
    json_t *run = json_load_file(path, 0, &problem);
    if (!run) {
        error_set(error, -1, "%s:%d: %s", path, problem.line, problem.text);
        return EXIT_USAGE;
    }
    int failure = summary_init(&summary, run, error);
    int code = failure ? EXIT_USAGE : EXIT_OK;
    if (!failure)
        failure = summary_write_csv(&summary, directory, error);
    if (!failure)
        failure = report_write(run, directory, stdout, error);
    if (failure && code == EXIT_OK)
        code = EXIT_FAILED;
    summary_free(&summary);
    json_decref(run);
    return code;
}

static int run(int argc, char **argv, struct error *error) {
    if (argc != 2) {
        error_set(error, -1, "needs one folder of results");
        return EXIT_USAGE;
    }
    return report(argv[1], error);
}

const struct command command_report = {.name = "report",
                                       .summary = "print and write the report of a run again",
                                       .help = help,
                                       .run = run};
