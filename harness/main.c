/* main.c: finds the subcommand; the only place that prints errors and ends the process. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "harness/build_info.h"
#include "harness/command.h"
#include "harness/completion.h"
#include "harness/man_page.h"
#include "loops/check.h"

static const struct command *const commands[] = {
    &command_run,      &command_load,   &command_serve, &command_hist, &command_audit,
    &command_selftest, &command_report, &command_plot,  &command_list, &command_postgres,
};

static const char head[] = "loopmark: does an event-loop tuning claim hold on this machine?\n"
                           "\n"
                           "usage: loopmark COMMAND [OPTIONS]\n"
                           "\n";

static const char tail[] =
    "\n"
    "examples:\n"
    "  loopmark run --smoke all                      everything once, in seconds\n"
    "  loopmark run loop-echo                        one experiment: table, plots, verdicts\n"
    "  loopmark serve --loop epoll --workload echo --listen 127.0.0.1:7000\n"
    "  loopmark load tcp://127.0.0.1:7000 -c 50 -d 10s --rate 20000\n"
    "  loopmark hist results/latest/latency/*.hlog --by file\n"
    "  loopmark list\n"
    "\n"
    "`loopmark COMMAND --help` tells more. Results go to stdout, progress to stderr.\n"
    "exit codes: 0 ok, 1 the tool or the target failed, 2 usage, 3 a gate was broken,\n"
    "            4 cannot tell (--strict), 5 measured but not valid, 130 interrupted\n";

static const struct manual manual = {head, commands, ARRAY_LENGTH(commands), tail};

static void print_help(FILE *stream) {
    fputs(head, stream);
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        fprintf(stream, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fputs(tail, stream);
}

void command_print_help(const struct command *command, FILE *stream) {
    fprintf(stream, "loopmark %s: %s\n\n%s", command->name, command->summary, command->help);
}

int command_parse_number(const char *option, enum knob_type type, double least, double most,
                         const char *text, double *value, struct error *error) {
    const struct knob knob = {.name = option, .type = type, .least = least, .most = most};
    return knob_parse(&knob, text, value, error);
}

int command_exit_code(int failure) {
    switch (failure) {
    case 0:
        return EXIT_OK;
    case -EINVAL:
    case -ENOENT:
    case -ERANGE:
    case -E2BIG:
        return EXIT_USAGE;
    case -EINTR:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run_command(const struct command *command, int argc, char **argv) {
    struct error error = {.text = ""};
    if (asks_for_help(argc, argv)) {
        command_print_help(command, stdout);
        return EXIT_OK;
    }
    int code = command->run(argc, argv, &error);
    if (error.text[0])
        fprintf(stderr, "loopmark %s: %s\n", command->name, error.text);
    if (code == EXIT_USAGE)
        fprintf(stderr, "see `loopmark %s --help`\n", command->name);
    /* A full disk under stdout must not look like success. */
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "loopmark %s: cannot write the results: %s\n", command->name,
                strerror(errno));
        return code == EXIT_OK ? EXIT_FAILED : code;
    }
    return code;
}

/* For the Makefile and for shells: not in the help. */
static bool run_hidden(int argc, char **argv) {
    bool man_page = strcmp(argv[1], "--man-page") == 0;
    bool complete = strcmp(argv[1], "--complete") == 0;
    if (man_page)
        man_page_write(&manual, stdout);
    if (complete)
        completion_write(&manual, (const char *const *)argv + 2, (size_t)argc - 2, stdout);
    return man_page || complete;
}

int main(int argc, char **argv) {
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, children would vanish unseen */
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of writing it */
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("loopmark %s (%s)\n", LOOPMARK_REVISION, LOOPMARK_COMPILER);
        return EXIT_OK;
    }
    if (run_hidden(argc, argv))
        return fflush(stdout) || ferror(stdout) ? EXIT_FAILED : EXIT_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return run_command(commands[i], argc - 1, argv + 1);
    fprintf(stderr, "loopmark: there is no command '%s'\n\n", argv[1]);
    print_help(stderr);
    return EXIT_USAGE;
}
