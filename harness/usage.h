/* usage.h: what other processes cost, and what the host took away, read from outside.
 *
 * Any program can be a server, so nothing here needs its help: CPU time of a process and its live
 * descendants through their CPU clocks (clock_getcpuclockid, nanoseconds), the rest from /proc, see
 * proc(5). A reading at both ends of the measured window and usage_difference() give its cost.
 *
 * No state, any thread. Functions return 0 or a negative errno; -ESRCH: there is no such process.
 * One that has ended but was not waited for can still be read. `root` is "/" but for tests, which
 * give the root of a made-up /proc. */
#ifndef LOOPMARK_USAGE_H
#define LOOPMARK_USAGE_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Sums over a process and its live descendants. */
struct usage {
    /* Exact. Descendants that ended and were waited for are in it through their parent's sum, which
     * has the resolution of a clock tick (10 ms). */
    uint64_t cpu_ns;
    /* The split, at the resolution of a clock tick for each process, and sampled by the tick on
     * most kernels: good for shares over seconds; cpu_ns is the figure to divide by requests. */
    uint64_t user_ns, system_ns;
    uint64_t voluntary_switches, involuntary_switches; /* of live threads */
    uint64_t max_rss_bytes; /* sum of the peaks since each began: pages they share count for each */
    int processes;
};

/* Everything. Under 0.1 ms for one process, more where the kernel lacks /proc/PID/task/TID/children
 * and all of /proc has to be read for the parents. The CPU clocks are read last. */
int usage_read(pid_t pid, struct usage *usage);

/* cpu_ns alone, for the marks of the window. The clocks are read last, one after the other: take
 * the mark's time right after it returns. */
int usage_cpu_ns(pid_t pid, uint64_t *cpu_ns);

/* The window's cost. What only grows is subtracted, never below 0 (a process that ended takes its
 * counts with it); max_rss_bytes and processes are those of `after`. */
struct usage usage_difference(const struct usage *after, const struct usage *before);

/* Writes `pid` and its live descendants, parents first, and returns their number; -E2BIG if there
 * are more than `capacity`. */
#define USAGE_PROCESSES 1024
int usage_tree(const char *root, pid_t pid, pid_t *pids, int capacity);

/* CPU time of the calling thread. A system call of about 0.2 us. */
uint64_t thread_cpu_ns(void);

/* CPUs since boot, in clock ticks summed over them. */
struct host_cpu {
    uint64_t total_ticks;
    uint64_t steal_ticks; /* the hypervisor ran somebody else while we had work */
    uint64_t idle_ticks;  /* idle and waiting for I/O */
};
/* Of `cpus`; of all where that is null or empty: on a large host that would hide what one CPU lost.
 */
#define HOST_STAT_BYTES (128 * 1024) /* of the stack, for the lines of a thousand CPUs */
int host_cpu_read(const char *root, const cpu_set_t *cpus, struct host_cpu *cpu);

/* Stolen share of the time between two readings, 0...1. 0 if they are less than a tick apart. */
double host_steal_share(const struct host_cpu *before, const struct host_cpu *after);

/* Reads `root`/`path` into `text` (cut to fit, terminated) without its final newline. Returns the
 * length, or a negative errno and leaves `text` undefined. For files of /proc and /sys. */
int host_file_read(const char *root, const char *path, char *text, size_t size);

#endif
