/* help_text.h: what --help prints, taken apart: man page and completion are made of it, and so
 * never say anything else.
 *
 * The form that helps keep to:
 *
 *   usage: loopmark NAME WHAT… [OPTIONS]
 *          loopmark NAME …             until a blank line; two blanks begin a remark
 *   text                               in the first column
 *     TERM   text                      a row: indented by 2, or 6 where an option has no letter
 *                  more of it          8 or more
 *   examples:
 *     loopmark …                       one a line, until a blank line
 *
 * A row's term is options (`-c, --connections N`), or it ends at two blanks. What an option takes
 * follows after one blank: a word, or several in single quotes.
 *
 * No state beyond what is passed, no allocation; spans point into the help. */
#ifndef LOOPMARK_HELP_TEXT_H
#define LOOPMARK_HELP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "harness/command.h"

/* All that --help prints, as main.c has it. */
struct manual {
    const char *head; /* begins "loopmark: what it does" */
    const struct command *const *commands;
    size_t command_count;
    const char *tail;
};

/* Part of a text; `%.*s` prints it. */
struct span {
    const char *text;
    int length;
};

enum help_line_kind {
    HELP_BLANK,
    HELP_USAGE, /* without "usage:" and remark */
    HELP_TEXT,
    HELP_ROW,
    HELP_MORE,          /* of the row or text above */
    HELP_EXAMPLES_HEAD, /* `examples:` */
    HELP_EXAMPLE,
};

struct help_line {
    enum help_line_kind kind;
    struct span term; /* of a row */
    struct span text; /* without indentation */
};

/* The next line of *help, which moves on; false at the end. `line` is given again as the former
 * call left it, and for the first line filled with zeros. */
bool help_next_line(const char **help, struct help_line *line);

/* One name of an option, and what it takes; empty: nothing, or, before a comma, what the next
 * name takes. */
struct help_option {
    struct span name, takes;
};
/* The next option of *term, which moves on; false where none follows. */
bool help_next_option(struct span *term, struct help_option *option);
/* The same in a line of usage: "hist convert FILE… --to FORMAT", "list [--json]". */
bool help_next_usage_option(struct span *usage, struct help_option *option);

/* The option called `name` ("-c", "--connections") in a row, or else in usage, with what it
 * takes. */
bool help_find_option(const char *help, struct span name, struct help_option *found);

#endif
