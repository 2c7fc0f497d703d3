/* ticks.c: see ticks.h. */
#include "ticks.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FIRST_MEASURED_NS NS_PER_MS
/* The closest of some pairs of reads; further apart than this they were interrupted. */
enum { PAIR_TICKS_MOST = 1000, PAIR_TRIES_LEAST = 4, PAIR_TRIES = 100 };
#define WITHIN 0.999 /* the ratio's error is less: at most half a pair's ticks at either end */
#define NS_MOST 1e17 /* three years: more is never reached, and would not fit in ticks */

static bool kernel_trusts_counter(void) {
#if defined __x86_64__
    char name[8] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                  O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 && strcmp(name, "tsc\n") == 0;
#else
    return false;
#endif
}

/* Both clocks at one time. */
static bool read_both(const struct ticks *ticks, uint64_t *now_ticks, uint64_t *now_ns) {
    uint64_t closest = UINT64_MAX;
    for (int i = 0; i < PAIR_TRIES_LEAST || (i < PAIR_TRIES && closest > PAIR_TICKS_MOST); i++) {
        uint64_t before = ticks_now(ticks), between_ns = clock_now_ns();
        uint64_t apart = ticks_now(ticks) - before;
        if (apart < closest) {
            closest = apart;
            *now_ticks = before + apart / 2;
            *now_ns = between_ns;
        }
    }
    return closest <= PAIR_TICKS_MOST;
}

void ticks_adjust(struct ticks *ticks) {
    uint64_t now_ticks, now_ns;
    if (ticks->counter && read_both(ticks, &now_ticks, &now_ns) &&
        now_ns - ticks->begun_ns >= FIRST_MEASURED_NS)
        ticks->ns_per_tick =
            (double)(now_ns - ticks->begun_ns) / (double)(now_ticks - ticks->begun_ticks);
}

void ticks_open(struct ticks *ticks) {
    *ticks = (struct ticks){.counter = kernel_trusts_counter(), .ns_per_tick = 1};
    if (!ticks->counter)
        return;
    if (!read_both(ticks, &ticks->begun_ticks, &ticks->begun_ns)) {
        ticks->counter = false;
        return;
    }
    while (clock_now_ns() - ticks->begun_ns < FIRST_MEASURED_NS)
        ;
    ticks->ns_per_tick = 0;
    ticks_adjust(ticks);
    if (ticks->ns_per_tick == 0)
        *ticks = (struct ticks){.ns_per_tick = 1};
}

uint64_t ticks_within_ns(const struct ticks *ticks, uint64_t ns) {
    double time_ns = (double)ns < NS_MOST ? (double)ns : NS_MOST;
    return ticks->counter ? (uint64_t)(time_ns / ticks->ns_per_tick * WITHIN) : ns;
}
