/* source.h: where the checkout is: experiments, foreign servers and figures are read from it. */
#ifndef LOOPMARK_SOURCE_H
#define LOOPMARK_SOURCE_H

/* $LOOPMARK_SOURCE, else the checkout this program was built from, else ".": the first that has
 * harness/experiments. */
const char *source_directory(void);

#endif
