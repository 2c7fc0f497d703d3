/* database_sample.h: a SQLite database of our own, with the table of drivers/sample_table.h, in a
 * temporary folder. Blocks. It stays behind when nobody calls database_sample_remove: a process
 * that is killed cannot. */
#ifndef LOOPMARK_DATABASE_SAMPLE_H
#define LOOPMARK_DATABASE_SAMPLE_H

#include "loops/error.h"

struct database_sample {
    char folder[96];  /* empty: there is none */
    char target[128]; /* for the driver */
};

/* In $TMPDIR, or /tmp. -ENOTSUP: built without SQLite. Nothing is left after an error. */
int database_sample_make(struct database_sample *sample, struct error *error);
/* No effect on one that is all zero. */
void database_sample_remove(struct database_sample *sample);

#endif
