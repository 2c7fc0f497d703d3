/* ticks.c: see ticks.h. */
#include "ticks.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#if defined __x86_64__
#include <cpuid.h>
#endif

#define FIRST_MEASURED_NS NS_PER_MS
/* The closest of some pairs of reads; further apart than this they were interrupted. */
enum { PAIR_TICKS_MOST = 1000, PAIR_TRIES_LEAST = 4, PAIR_TRIES = 100 };
/* What the two clocks may differ by: the ratio's error of its first millisecond, what the kernel
 * usually corrects its clock by (500 ppm), and the reads. If it corrects more, the counter is given
 * up, which costs time and no truth. */
#define PARTED_SHARE 0.01
#define PARTED_NS 20000.0
#define WITHIN 0.999 /* the ratio's error is less: at most half a pair's ticks at either end */
#define NS_MOST 1e17 /* three years: more is never reached, and would not fit in ticks */

#if defined __x86_64__
static bool runs_evenly(void) {
    enum { POWER_LEAF = 0x80000007, INVARIANT_TSC = 1 << 8 };
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(POWER_LEAF, &eax, &ebx, &ecx, &edx) && (edx & INVARIANT_TSC);
}

static bool is_the_kernels(void) {
    char name[16] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                  O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 && (strcmp(name, "tsc\n") == 0 || strcmp(name, "kvm-clock\n") == 0);
}

static bool is_there(void) {
    return runs_evenly() && is_the_kernels();
}
#else
static bool is_there(void) {
    return false;
}
#endif

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

/* Since they were adjusted last; the counter may have gone back. */
static bool have_parted(const struct ticks *ticks, uint64_t now_ticks, uint64_t now_ns) {
    double counted_ns =
        (double)(int64_t)(now_ticks - ticks->adjusted_ticks) * ticks->ns_per_tick;
    double passed_ns = (double)(now_ns - ticks->adjusted_ns);
    return fabs(counted_ns - passed_ns) > PARTED_SHARE * passed_ns + PARTED_NS;
}

bool ticks_adjust(struct ticks *ticks) {
    uint64_t now_ticks, now_ns;
    if (!ticks->counter || !read_both(ticks, &now_ticks, &now_ns))
        return true;
    if (have_parted(ticks, now_ticks, now_ns)) {
        ticks->counter = false;
        return false;
    }
    ticks->adjusted_ticks = now_ticks;
    ticks->adjusted_ns = now_ns;
    ticks->ns_per_tick =
        (double)(now_ns - ticks->begun_ns) / (double)(now_ticks - ticks->begun_ticks);
    return true;
}

/* From where they were adjusted last, in the same unit: what was counted before stays right. */
uint64_t ticks_of_clock(const struct ticks *ticks) {
    uint64_t now_ns = clock_now_ns();
    if (ticks->adjusted_ns == 0)
        return now_ns;
    double passed_ns = (double)(now_ns - ticks->adjusted_ns);
    return ticks->adjusted_ticks + (uint64_t)(passed_ns / ticks->ns_per_tick);
}

static bool measure(struct ticks *ticks) {
    if (!read_both(ticks, &ticks->begun_ticks, &ticks->begun_ns))
        return false;
    while (clock_now_ns() - ticks->begun_ns < FIRST_MEASURED_NS)
        ;
    if (!read_both(ticks, &ticks->adjusted_ticks, &ticks->adjusted_ns) ||
        ticks->adjusted_ticks <= ticks->begun_ticks)
        return false;
    ticks->ns_per_tick = (double)(ticks->adjusted_ns - ticks->begun_ns) /
                         (double)(ticks->adjusted_ticks - ticks->begun_ticks);
    return true;
}

void ticks_open(struct ticks *ticks) {
    *ticks = (struct ticks){.counter = is_there()};
    if (!ticks->counter || !measure(ticks))
        *ticks = (struct ticks){.ns_per_tick = 1};
}

uint64_t ticks_within_ns(const struct ticks *ticks, uint64_t ns) {
    double time_ns = (double)ns < NS_MOST ? (double)ns : NS_MOST;
    bool of_clock = ticks->adjusted_ns == 0;
    return of_clock ? ns : (uint64_t)(time_ns / ticks->ns_per_tick * WITHIN);
}
