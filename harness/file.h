/* file.h: files that are there whole or not at all.
 *
 * A reader never sees half a record: text goes to a temporary name beside the target, is flushed
 * and fsynced, and takes the target's name by rename(2). A full disk is reported by whichever of
 * write, fflush, fsync or fclose notices it, and leaves the old file as it was. Blocking; any one
 * thread a path. */
#ifndef LOOPMARK_FILE_H
#define LOOPMARK_FILE_H

#include <stdio.h>

#include "loops/error.h"

/* `write` prints the content and returns 0 or a negative errno, which ends the attempt. On any
 * error the temporary is removed and `error` names the path and what failed. A device or a pipe is
 * written to as it is. */
int file_write_whole(const char *path, int (*write)(FILE *file, void *data), void *data,
                     struct error *error);

/* The directory and all its parents, mode 0777 less the umask. Existing ones are fine. */
int file_make_directories(const char *path, struct error *error);

#endif
