/* command.h: the subcommands, and what they share. Each is one file, command_NAME.c. */
#ifndef LOOPMARK_COMMAND_H
#define LOOPMARK_COMMAND_H

#include <stdio.h>

#include "loops/error.h"
#include "workloads/knob.h"

/* The same in every subcommand, documented in --help and README. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      /* the tool or the target failed */
    EXIT_USAGE = 2,       /* bad arguments or input; nothing was run or written */
    EXIT_GATE = 3,        /* a gate was broken */
    EXIT_CANNOT_TELL = 4, /* with --strict */
    EXIT_NOT_VALID = 5,   /* measured, but not valid */
    EXIT_INTERRUPTED = 130,
};

struct command {
    const char *name;
    const char *summary;
    const char *help; /* with examples */
    /* Gets its own name as argv[0]. Returns an exit code; `error` is printed by main when filled.
     */
    int (*run)(int argc, char **argv, struct error *error);
};

extern const struct command command_list, command_serve, command_load, command_run, command_report,
    command_plot, command_hist, command_audit, command_selftest, command_postgres;

/* Prints the help of `command`: to stdout, when asked for. */
void command_print_help(const struct command *command, FILE *stream);

/* An option's value, written as a knob's (knob.h). -EINVAL with the option's name in `error`. */
int command_parse_number(const char *option, enum knob_type type, double least, double most,
                         const char *text, double *value, struct error *error);

/* Exit code for a negative errno of reading input: usage for what the user gave, failure otherwise.
 */
int command_exit_code(int failure);

#endif
