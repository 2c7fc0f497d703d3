/* limits.h: the limits of this process that a measurement needs raised. */
#ifndef LOOPMARK_LIMITS_H
#define LOOPMARK_LIMITS_H

/* Open files up to the hard limit: the soft one is low for select's sake, and our select refuses
 * what it cannot take by itself. */
void limits_raise_open_files(void);

/* The hard limit of open files; infinity if there is none or it cannot be read. */
double limits_open_files(void);

#endif
