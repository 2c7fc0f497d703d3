/* keep_awake.c: see keep_awake.h. */
#include "harness/keep_awake.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loops/check.h"
#include "loops/clock.h"

enum { SPINS = 64 }; /* between two looks at the clock */
/* Others had the CPU for so long: they keep it awake themselves. What never sleeps would lose a
 * slice of 4 ms each second to SCHED_IDLE, and so loses a look, of some microseconds. */
#define BUSY_NS (200 * NS_PER_US)
#define REST_NS (5 * NS_PER_MS)

static void pause_a_little(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static _Noreturn void spin_while_idle(void) {
    const struct timespec rest = {.tv_nsec = REST_NS};
    uint64_t last_ns = clock_now_ns();
    for (;;) {
        for (int i = 0; i < SPINS; i++)
            pause_a_little();
        sched_yield(); /* or whoever is ready waits for a whole slice */
        uint64_t now_ns = clock_now_ns();
        if (now_ns - last_ns > BUSY_NS) {
            nanosleep(&rest, NULL);
            now_ns = clock_now_ns();
        }
        last_ns = now_ns;
    }
}

/* It has nothing to do with its parent's work, and must not hold its files open. */
static _Noreturn void spin(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent decides what ^C means */
    close_range(0, ~0u, 0);
    spin_while_idle();
}

/* Sets place and class before it begins, so that it is never in anybody's way. */
static int start_one(int cpu, pid_t *pid) {
    struct sched_param param = {.sched_priority = 0};
    pid_t parent = getpid();
    cpu_set_t one;
    int failure[2], err = 0;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    if (pipe(failure) != 0)
        return -errno;
    *pid = fork();
    if (*pid == 0) {
        if (sched_setaffinity(0, sizeof one, &one) || sched_setscheduler(0, SCHED_IDLE, &param)) {
            err = -errno;
            CHECK(write(failure[1], &err, sizeof err) == sizeof err);
            _exit(1);
        }
        spin(parent);
    }
    if (*pid < 0)
        err = -errno;
    close(failure[1]);
    if (!err && read(failure[0], &err, sizeof err) != sizeof err)
        err = 0; /* it has closed the pipe, and spins */
    close(failure[0]);
    if (err && *pid > 0)
        waitpid(*pid, NULL, 0);
    return err;
}

int keep_awake_start(struct keep_awake *awake, const cpu_set_t *cpus, struct error *error) {
    awake->count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, cpus))
            continue;
        int failure = start_one(cpu, &awake->pids[awake->count]);
        if (failure) {
            keep_awake_stop(awake);
            return error_set(error, failure, "cannot keep CPU %d awake: %s", cpu,
                             strerror(-failure));
        }
        awake->count++;
    }
    return 0;
}

void keep_awake_stop(struct keep_awake *awake) {
    for (int i = 0; i < awake->count; i++) {
        kill(awake->pids[i], SIGKILL);
        while (waitpid(awake->pids[i], NULL, 0) < 0 && errno == EINTR) {
        }
    }
    awake->count = 0;
}
