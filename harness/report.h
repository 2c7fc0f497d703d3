/* report.h: what a run found, in words and tables: report.md, and a shorter form for a terminal.
 *
 * First the question of each experiment with its answer, then the table it rests on, then every
 * claim in every cell with its interval and verdict. A row that is invalid or co-limited is shown,
 * marked, and never ranked or compared by what the mark forbids. */
#ifndef LOOPMARK_REPORT_H
#define LOOPMARK_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "loops/error.h"

/* Writes DIRECTORY/report.md whole, and the terminal's form to `terminal` (may be null). -EINVAL:
 * not a record of schema 1. */
int report_write(const json_t *run, const char *directory, FILE *terminal, struct error *error);

#endif
