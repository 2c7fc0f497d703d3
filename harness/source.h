/* source.h: where the checkout is: experiments, foreign servers and figures are read from it. */
#ifndef LOOPMARK_SOURCE_H
#define LOOPMARK_SOURCE_H

/* $LOOPMARK_SOURCE if it is set, else the checkout this program was built from if it is still
 * there, else ".". */
const char *source_directory(void);

#endif
