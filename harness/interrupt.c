/* interrupt.c: see interrupt.h. */
#include "harness/interrupt.h"

#include <string.h>

volatile sig_atomic_t interrupted;

static void note(int signal_number) {
    interrupted = 1;
    signal(signal_number, SIG_DFL);
}

void interrupt_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note; /* no SA_RESTART: waits end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}
