/* source.h: where the files are that the program reads: experiments, foreign servers and figures.
 *
 * They are found from where the program lies, so that a checkout and what `make install` made of it
 * can both be moved. */
#ifndef LOOPMARK_SOURCE_H
#define LOOPMARK_SOURCE_H

/* $LOOPMARK_SOURCE if it is set. Else, of the folders above the program's own file, the nearest one
 * that is a checkout (it has harness/experiments/) or has such files installed in share/loopmark/,
 * which is laid out as a checkout. Where there is none: where the latter should have been, for
 * messages. Never ends in a slash; the same each time, from any thread. */
const char *source_directory(void);

#endif
