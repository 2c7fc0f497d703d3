/* completion.h: what may stand at a place of the command line, for shells to offer.
 *
 * The shells' own scripts (harness/completion/) only hand over the words and show what comes back.
 * Commands, options and what these take are read from the helps; names and values come from the
 * tables of loops, workloads and knobs and from the experiments at hand. So nothing has to be added
 * here for a new one. */
#ifndef LOOPMARK_COMPLETION_H
#define LOOPMARK_COMPLETION_H

#include <stdio.h>

#include "harness/help_text.h"

/* Writes what the last of `words` may become, one a line, perhaps nothing. `words` are those after
 * the program's name, up to the cursor; the last one may be empty. The line FILE or DIR stands for
 * all files or folders. One that ends in `=`, `/` or `:` is not a whole word yet. */
void completion_write(const struct manual *manual, const char *const *words, size_t count,
                      FILE *stream);

#endif
