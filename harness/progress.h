/* progress.h: the one progress display: a line that changes on a terminal, plain lines in a log.
 *
 * Goes to stderr. On a terminal the status line is rewritten in place; in a log each status would
 * be a line, so there only every tenth second's is written. Notes are lines of their own on both.
 */
#ifndef LOOPMARK_PROGRESS_H
#define LOOPMARK_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool quiet, terminal;
    uint64_t written_ns; /* last status in a log */
};

void progress_begin(struct progress *progress, bool quiet);
void progress_status(struct progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void progress_note(struct progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Removes the status line from a terminal. */
void progress_end(struct progress *progress);

/* True if colour and cursor movement may be used on this stream: a terminal, and no NO_COLOR. */
bool progress_colour(int fd);

#endif
