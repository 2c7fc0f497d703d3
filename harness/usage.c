/* usage.c: see usage.h. */
#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loops/clock.h"

enum {
    TRIES = 3,
    STATUS_BYTES = 8192 /* the counts of switches come last, after masks of all CPUs and groups */
};

/* ---- files ----------------------------------------------------------------------------------- */

int host_file_read(const char *root, const char *path, char *text, size_t size) {
    char full[PATH_MAX];
    int length = snprintf(full, sizeof full, "%s/%s", root, path);
    if (length < 0 || (size_t)length >= sizeof full)
        return -ENAMETOOLONG;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t used = 0;
    ssize_t n = 1;
    while (n > 0 && used < size - 1) {
        n = read(fd, text + used, size - 1 - used);
        if (n > 0)
            used += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    int failure = n < 0 ? -errno : 0;
    close(fd);
    if (failure)
        return failure;
    if (used > 0 && text[used - 1] == '\n')
        used--;
    text[used] = '\0';
    return (int)used;
}

/* A file of one process: it may be gone by now, which is -ESRCH however the file says it. */
static int read_process_file(const char *root, pid_t pid, const char *name, char *text,
                             size_t size) {
    char path[320]; /* a directory entry fits */
    snprintf(path, sizeof path, "proc/%d/%s", (int)pid, name);
    int length = host_file_read(root, path, text, size);
    return length == -ENOENT ? -ESRCH : length;
}

/* ---- one process ----------------------------------------------------------------------------- */

struct process_stat {
    pid_t parent;
    uint64_t user_ticks, system_ticks;
    uint64_t reaped_user_ticks, reaped_system_ticks; /* of children that were waited for */
};

static int read_stat(const char *root, pid_t pid, struct process_stat *stat) {
    char text[1024];
    int length = read_process_file(root, pid, "stat", text, sizeof text);
    if (length < 0)
        return length;
    /* Field 2 is the name in parentheses and may hold spaces and parentheses itself. */
    const char *fields = strrchr(text, ')');
    int parent;
    unsigned long long user, system;
    long long reaped_user, reaped_system;
    if (!fields ||
        sscanf(fields + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld",
               &parent, &user, &system, &reaped_user, &reaped_system) != 5)
        return -EBADMSG;
    *stat = (struct process_stat){.parent = parent,
                                  .user_ticks = user,
                                  .system_ticks = system,
                                  .reaped_user_ticks = (uint64_t)reaped_user,
                                  .reaped_system_ticks = (uint64_t)reaped_system};
    return 0;
}

static uint64_t ticks_ns(uint64_t ticks) {
    return ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

static int add_clock(pid_t pid, struct usage *usage) {
    clockid_t clock;
    struct timespec time;
    int failure = clock_getcpuclockid(pid, &clock);
    if (failure)
        return -failure;
    if (clock_gettime(clock, &time))
        return errno == EINVAL ? -ESRCH : -errno; /* it ended just now: the clock is no clock */
    usage->cpu_ns += (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
    return 0;
}

/* The number behind `name` in a status file, 0 if it is not there. */
static uint64_t status_number(const char *status, const char *name) {
    const char *at = strstr(status, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int add_switches(pid_t pid, struct usage *usage) {
    char path[32], name[280], status[STATUS_BYTES];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return errno == ENOENT ? -ESRCH : -errno;
    struct dirent *entry;
    while ((entry = readdir(tasks))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(name, sizeof name, "task/%s/status", entry->d_name);
        if (read_process_file("/", pid, name, status, sizeof status) < 0)
            continue; /* this thread has just ended */
        usage->voluntary_switches += status_number(status, "\nvoluntary_ctxt_switches:");
        usage->involuntary_switches += status_number(status, "\nnonvoluntary_ctxt_switches:");
    }
    closedir(tasks);
    return 0;
}

/* All of one process but its CPU clock. */
static int add_process(pid_t pid, struct usage *usage) {
    char status[STATUS_BYTES];
    struct process_stat stat;
    int failure = read_stat("/", pid, &stat);
    if (!failure)
        failure = read_process_file("/", pid, "status", status, sizeof status);
    if (failure >= 0)
        failure = add_switches(pid, usage);
    if (failure < 0)
        return failure;
    usage->cpu_ns += ticks_ns(stat.reaped_user_ticks + stat.reaped_system_ticks);
    usage->user_ns += ticks_ns(stat.user_ticks + stat.reaped_user_ticks);
    usage->system_ns += ticks_ns(stat.system_ticks + stat.reaped_system_ticks);
    usage->max_rss_bytes += status_number(status, "\nVmHWM:") * 1024;
    usage->processes++;
    return 0;
}

/* ---- the tree -------------------------------------------------------------------------------- */

struct tree {
    pid_t *pids;
    int count, capacity;
};

static int tree_add(struct tree *tree, pid_t pid) {
    if (tree->count == tree->capacity)
        return -E2BIG;
    tree->pids[tree->count++] = pid;
    return 0;
}

/* The children one thread started, from a list such as "71 72 ". */
static int add_listed(const char *list, struct tree *tree) {
    char *end;
    for (long pid = strtol(list, &end, 10); end != list; pid = strtol(list, &end, 10)) {
        int failure = tree_add(tree, (pid_t)pid);
        if (failure)
            return failure;
        list = end;
    }
    return 0;
}

/* A list too long for the buffer has more children than any tree may hold, so its cut is never
 * seen. */
static int add_children(const char *root, pid_t pid, struct tree *tree) {
    char path[PATH_MAX], name[280], list[16384];
    snprintf(path, sizeof path, "%s/proc/%d/task", root, (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return errno == ENOENT ? -ESRCH : -errno;
    struct dirent *entry;
    int failure = 0;
    while (failure == 0 && (entry = readdir(tasks))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(name, sizeof name, "task/%s/children", entry->d_name);
        if (read_process_file(root, pid, name, list, sizeof list) > 0)
            failure = add_listed(list, tree);
    }
    closedir(tasks);
    return failure;
}

/* Kernels without CONFIG_PROC_CHILDREN: everybody says who the parent is. */
struct parents {
    struct {
        pid_t pid, parent;
    } * entries;
    size_t count, capacity;
};

static int parents_add(struct parents *parents, pid_t pid, pid_t parent) {
    if (parents->count == parents->capacity) {
        size_t capacity = parents->capacity ? 2 * parents->capacity : 256;
        void *entries = realloc(parents->entries, capacity * sizeof *parents->entries);
        if (!entries)
            return -ENOMEM;
        parents->entries = entries;
        parents->capacity = capacity;
    }
    parents->entries[parents->count].pid = pid;
    parents->entries[parents->count++].parent = parent;
    return 0;
}

static int read_parents(const char *root, struct parents *parents) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/proc", root);
    DIR *processes = opendir(path);
    if (!processes)
        return -errno;
    struct dirent *entry;
    int failure = 0;
    while (failure == 0 && (entry = readdir(processes))) {
        struct process_stat stat;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && read_stat(root, pid, &stat) == 0)
            failure = parents_add(parents, pid, stat.parent);
    }
    closedir(processes);
    return failure;
}

static int add_generations(const struct parents *parents, struct tree *tree) {
    for (int i = 0; i < tree->count; i++)
        for (size_t j = 0; j < parents->count; j++)
            if (parents->entries[j].parent == tree->pids[i]) {
                int failure = tree_add(tree, parents->entries[j].pid);
                if (failure)
                    return failure;
            }
    return 0;
}

static int add_by_parents(const char *root, struct tree *tree) {
    struct parents parents = {0};
    int failure = read_parents(root, &parents);
    if (!failure)
        failure = add_generations(&parents, tree);
    free(parents.entries);
    return failure;
}

static bool lists_children(const char *root, pid_t pid) {
    char path[64], ignored[2];
    snprintf(path, sizeof path, "task/%d/children", (int)pid);
    return read_process_file(root, pid, path, ignored, sizeof ignored) >= 0;
}

int usage_tree(const char *root, pid_t pid, pid_t *pids, int capacity) {
    struct tree tree = {.pids = pids, .capacity = capacity};
    struct process_stat stat;
    int failure = read_stat(root, pid, &stat);
    if (!failure)
        failure = tree_add(&tree, pid);
    if (failure)
        return failure;
    if (!lists_children(root, pid)) {
        failure = add_by_parents(root, &tree);
        return failure ? failure : tree.count;
    }
    for (int i = 0; i < tree.count; i++) {
        failure = add_children(root, tree.pids[i], &tree);
        if (failure && (failure != -ESRCH || i == 0))
            return failure;
    }
    return tree.count;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static int add_reaped(pid_t pid, struct usage *usage) {
    struct process_stat stat;
    int failure = read_stat("/", pid, &stat);
    if (!failure)
        usage->cpu_ns += ticks_ns(stat.reaped_user_ticks + stat.reaped_system_ticks);
    return failure;
}

/* Calls `add` for all processes, the root of the tree first. Descendants that have ended are left
 * out and make the reading unsteady: their time may have gone to a sum that was read before. */
static int add_each(int (*add)(pid_t, struct usage *), const pid_t *pids, int count,
                    struct usage *usage, bool *steady) {
    for (int i = 0; i < count; i++) {
        int failure = add(pids[i], usage);
        if (failure == -ESRCH && i > 0)
            *steady = false;
        else if (failure)
            return failure;
    }
    return 0;
}

/* Reads all processes with `add`, then their clocks; again while descendants end under the reading,
 * at last with what there is. */
static int read_tree(pid_t pid, int (*add)(pid_t, struct usage *), struct usage *usage) {
    pid_t pids[USAGE_PROCESSES];
    bool steady = false;
    for (int i = 0; i < TRIES && !steady; i++) {
        int count = usage_tree("/", pid, pids, USAGE_PROCESSES);
        if (count < 0)
            return count;
        steady = true;
        *usage = (struct usage){0};
        int failure = add_each(add, pids, count, usage, &steady);
        if (!failure)
            failure = add_each(add_clock, pids, count, usage, &steady);
        if (failure)
            return failure;
    }
    return 0;
}

int usage_read(pid_t pid, struct usage *usage) {
    return read_tree(pid, add_process, usage);
}

int usage_cpu_ns(pid_t pid, uint64_t *cpu_ns) {
    struct usage usage;
    int failure = read_tree(pid, add_reaped, &usage);
    if (!failure)
        *cpu_ns = usage.cpu_ns;
    return failure;
}

static uint64_t grown(uint64_t after, uint64_t before) {
    return after > before ? after - before : 0;
}

struct usage usage_difference(const struct usage *after, const struct usage *before) {
    return (struct usage){
        .cpu_ns = grown(after->cpu_ns, before->cpu_ns),
        .user_ns = grown(after->user_ns, before->user_ns),
        .system_ns = grown(after->system_ns, before->system_ns),
        .voluntary_switches = grown(after->voluntary_switches, before->voluntary_switches),
        .involuntary_switches = grown(after->involuntary_switches, before->involuntary_switches),
        .max_rss_bytes = after->max_rss_bytes,
        .processes = after->processes,
    };
}

uint64_t thread_cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- the host -------------------------------------------------------------------------------- */

/* One line of /proc/stat: "cpu3 user nice system idle iowait irq softirq steal …"; guest is in
 * user. */
static bool add_cpu_line(const char *line, struct host_cpu *cpu) {
    enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, KINDS };
    unsigned long long ticks[KINDS];
    if (sscanf(line, "%*s %llu %llu %llu %llu %llu %llu %llu %llu", &ticks[USER], &ticks[NICE],
               &ticks[SYSTEM], &ticks[IDLE], &ticks[IOWAIT], &ticks[IRQ], &ticks[SOFTIRQ],
               &ticks[STEAL]) != KINDS)
        return false;
    cpu->steal_ticks += ticks[STEAL];
    cpu->idle_ticks += ticks[IDLE] + ticks[IOWAIT];
    for (int i = 0; i < KINDS; i++)
        cpu->total_ticks += ticks[i];
    return true;
}

/* The line of all CPUs has no number. */
static bool is_wanted(const char *line, const cpu_set_t *cpus) {
    bool whole = line[3] == ' ';
    if (!cpus || CPU_COUNT(cpus) == 0 || whole)
        return whole && (!cpus || CPU_COUNT(cpus) == 0);
    unsigned long number = strtoul(line + 3, NULL, 10);
    return number < CPU_SETSIZE && CPU_ISSET(number, cpus);
}

int host_cpu_read(const char *root, const cpu_set_t *cpus, struct host_cpu *cpu) {
    char text[HOST_STAT_BYTES];
    int length = host_file_read(root, "proc/stat", text, sizeof text);
    if (length < 0)
        return length;
    bool found = false;
    *cpu = (struct host_cpu){.total_ticks = 0};
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) && strncmp(line, "cpu", 3) == 0;) {
        if (!is_wanted(line, cpus))
            continue;
        if (!add_cpu_line(line, cpu))
            return -EBADMSG;
        found = true;
    }
    return found ? 0 : -EBADMSG;
}

double host_steal_share(const struct host_cpu *before, const struct host_cpu *after) {
    uint64_t total = grown(after->total_ticks, before->total_ticks);
    uint64_t steal = grown(after->steal_ticks, before->steal_ticks);
    return total > 0 ? (double)steal / (double)total : 0;
}
