/* interrupt.h: ^C and SIGTERM as a flag, the one mutable global of the program.
 *
 * The first signal asks for an orderly end; a second one ends the process at once. */
#ifndef LOOPMARK_INTERRUPT_H
#define LOOPMARK_INTERRUPT_H

#include <signal.h>

extern volatile sig_atomic_t interrupted;

void interrupt_catch(void);

#endif
