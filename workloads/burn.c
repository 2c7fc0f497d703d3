/* burn.c: see burn.h. */
#include "burn.h"

#include "loops/clock.h"

/* Between two looks at the clock, so that most of the time is the program's own and not the
 * kernel's: about half a microsecond. */
enum { TURNS_A_LOOK = 1000 };

static uint64_t thread_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

void burn_cpu(uint64_t cpu_ns) {
    uint64_t end_ns = thread_cpu_ns() + cpu_ns;
    do
        for (int turn = 0; turn < TURNS_A_LOOK; turn++)
            __asm__ volatile("");
    while (thread_cpu_ns() < end_ns);
}
