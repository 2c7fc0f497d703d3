/* test_usage.c: CPU time against what the processes say of themselves, and made-up /proc trees. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/usage.h"
#include "loops/check.h"
#include "loops/clock.h"

/* ---- processes ------------------------------------------------------------------------------- */

static void burn(uint64_t ns) {
    for (uint64_t end_ns = thread_cpu_ns() + ns; thread_cpu_ns() < end_ns;) {
    }
}

static uint64_t own_cpu_ns(void) {
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    return ((uint64_t)own.ru_utime.tv_sec + (uint64_t)own.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)own.ru_utime.tv_usec + (uint64_t)own.ru_stime.tv_usec) * NS_PER_US;
}

/* A child that does `work`, writes what getrusage says and then sleeps until `end_child`. */
struct child {
    pid_t pid;
    int from; /* its reports */
    int hold; /* it ends when this is closed */
};

static void report(int to) {
    uint64_t cpu_ns = own_cpu_ns();
    CHECK(write(to, &cpu_ns, sizeof cpu_ns) == sizeof cpu_ns);
}

static uint64_t next_report(const struct child *child) {
    uint64_t cpu_ns;
    assert_int_equal(read(child->from, &cpu_ns, sizeof cpu_ns), sizeof cpu_ns);
    return cpu_ns;
}

static void wait_for_end(int hold) {
    char byte;
    CHECK(read(hold, &byte, 1) == 0);
}

/* It does not go on before it is told to. */
static void wait_for_go(int hold) {
    char byte;
    CHECK(read(hold, &byte, 1) == 1);
}
static void go_on(const struct child *child) {
    assert_int_equal(write(child->hold, "", 1), 1);
}

static struct child start_child(void (*work)(int report_to, int hold)) {
    int reports[2], holds[2];
    assert_return_code(pipe2(reports, O_CLOEXEC), errno);
    assert_return_code(pipe2(holds, O_CLOEXEC), errno);
    pid_t pid = fork();
    assert_return_code(pid, errno);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(reports[0]);
        close(holds[1]);
        work(reports[1], holds[0]);
        _exit(0);
    }
    close(reports[1]);
    close(holds[0]);
    return (struct child){.pid = pid, .from = reports[0], .hold = holds[1]};
}

static void end_child(struct child *child) {
    close(child->hold);
    close(child->from);
    assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static void assert_cpu(uint64_t read_ns, uint64_t truth_ns) {
    uint64_t allowed_ns = 5 * NS_PER_MS + truth_ns / 20;
    uint64_t off_ns = read_ns > truth_ns ? read_ns - truth_ns : truth_ns - read_ns;
    if (off_ns > allowed_ns)
        fail_msg("read %llu ns, truth %llu ns", (unsigned long long)read_ns,
                 (unsigned long long)truth_ns);
}

static void burn_and_hold(int to, int hold) {
    prctl(PR_SET_NAME, "x) Z 1 (y"); /* field 2 of stat, made to mislead */
    burn(60 * NS_PER_MS);
    report(to);
    wait_for_end(hold);
}

static void one_process(void **state) {
    (void)state;
    struct child child = start_child(burn_and_hold);
    uint64_t truth_ns = next_report(&child), cpu_ns;
    struct usage usage;
    assert_int_equal(usage_read(child.pid, &usage), 0);
    assert_cpu(usage.cpu_ns, truth_ns);
    assert_int_equal(usage.processes, 1);
    /* The split is a whole number of ticks, and a tick may be missing from each part. */
    assert_in_range(usage.user_ns + usage.system_ns + 20 * NS_PER_MS, truth_ns - 5 * NS_PER_MS,
                    truth_ns + 30 * NS_PER_MS);
    assert_in_range(usage.max_rss_bytes, 64 * 1024, 1 << 30);
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), 0);
    assert_cpu(cpu_ns, truth_ns);
    end_child(&child);
}

/* Finer than a tick: the reason for using the clock and not /proc/PID/stat. */
static void burn_little(int to, int hold) {
    burn(3 * NS_PER_MS);
    report(to);
    wait_for_end(hold);
}

static void below_a_tick(void **state) {
    (void)state;
    struct child child = start_child(burn_little);
    uint64_t cpu_ns, truth_ns = next_report(&child);
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), 0);
    /* It went on from the report to the read that waits. */
    assert_in_range(cpu_ns, truth_ns - NS_PER_US, truth_ns + 2 * NS_PER_MS);
    assert_true(cpu_ns % NS_PER_MS != 0);
    end_child(&child);
}

/* Both report: with a sanitizer, the fork alone costs its caller milliseconds. */
static void burn_in_grandchild(int to, int hold) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        burn(80 * NS_PER_MS);
        report(to);
        wait_for_end(hold);
        _exit(0);
    }
    report(to);
    wait_for_end(hold);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

static void grandchild_counts(void **state) {
    (void)state;
    struct child child = start_child(burn_in_grandchild);
    uint64_t truth_ns = next_report(&child), cpu_ns;
    truth_ns += next_report(&child);
    struct usage usage;
    assert_int_equal(usage_read(child.pid, &usage), 0);
    assert_int_equal(usage.processes, 2);
    assert_cpu(usage.cpu_ns, truth_ns);
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), 0);
    assert_cpu(cpu_ns, truth_ns);
    end_child(&child);
}

static void reap_grandchild(int to, int hold) {
    report(to);
    wait_for_go(hold);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        burn(90 * NS_PER_MS);
        _exit(0);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
    report(to);
    wait_for_end(hold);
}

/* A server that starts a process for each request: its cost is in the window all the same. */
static void ended_descendant_counts(void **state) {
    (void)state;
    struct child child = start_child(reap_grandchild);
    struct usage before, after;
    next_report(&child);
    assert_int_equal(usage_read(child.pid, &before), 0);
    go_on(&child);
    next_report(&child);
    assert_int_equal(usage_read(child.pid, &after), 0);
    assert_int_equal(after.processes, 1);
    uint64_t cost_ns = usage_difference(&after, &before).cpu_ns;
    assert_in_range(cost_ns, 60 * NS_PER_MS, 130 * NS_PER_MS); /* in ticks */
    end_child(&child);
}

static void *burn_in_thread(void *data) {
    burn(30 * NS_PER_MS);
    return data;
}

static void run_threads(int to, int hold) {
    pthread_t threads[2];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, burn_in_thread, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    report(to);
    wait_for_end(hold);
}

static void threads_count(void **state) {
    (void)state;
    struct child child = start_child(run_threads);
    uint64_t truth_ns = next_report(&child), cpu_ns;
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), 0);
    assert_true(truth_ns >= 60 * NS_PER_MS);
    assert_cpu(cpu_ns, truth_ns);
    end_child(&child);
}

enum { NAPS = 50 };

static void *nap(void *data) {
    for (int i = 0; i < NAPS; i++)
        usleep(200);
    return data;
}

/* Sleeps in a second thread, which is still there when it is read. */
static void nap_and_hold(int to, int hold) {
    pthread_t thread;
    report(to);
    CHECK(pthread_create(&thread, NULL, nap, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    nap(NULL);
    report(to);
    wait_for_end(hold);
}

static void switches_count(void **state) {
    (void)state;
    struct child child = start_child(nap_and_hold);
    struct usage usage;
    next_report(&child);
    next_report(&child);
    assert_int_equal(usage_read(child.pid, &usage), 0);
    assert_in_range(usage.voluntary_switches, NAPS, 4 * NAPS);
    end_child(&child);
}

static void *hold_thread(void *data) {
    nap(NULL);
    int *ends = data;
    report(ends[0]);
    wait_for_end(ends[1]);
    return NULL;
}

static void nap_in_live_thread(int to, int hold) {
    pthread_t thread;
    int ends[] = {to, hold};
    CHECK(pthread_create(&thread, NULL, hold_thread, ends) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void switches_of_threads_count(void **state) {
    (void)state;
    struct child child = start_child(nap_in_live_thread);
    struct usage usage;
    next_report(&child);
    assert_int_equal(usage_read(child.pid, &usage), 0);
    assert_in_range(usage.voluntary_switches, NAPS, 4 * NAPS);
    end_child(&child);
}

enum { MAPPED = 48 << 20 };

static void touch_memory(int to, int hold) {
    char *memory = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, MAPPED);
    munmap(memory, MAPPED);
    report(to);
    wait_for_end(hold);
}

static void peak_memory_is_kept(void **state) {
    (void)state;
    struct child child = start_child(touch_memory);
    struct usage usage;
    next_report(&child);
    assert_int_equal(usage_read(child.pid, &usage), 0);
#ifdef __SANITIZE_THREAD__ /* its shadow of the memory is several times as large */
    assert_true(usage.max_rss_bytes >= MAPPED);
#else
    assert_in_range(usage.max_rss_bytes, MAPPED, 3ul * MAPPED);
#endif
    end_child(&child);
}

static void dead_process(void **state) {
    (void)state;
    struct child child = start_child(burn_little);
    struct usage usage;
    uint64_t cpu_ns = 0;
    next_report(&child);
    close(child.hold);
    siginfo_t info;
    assert_return_code(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), errno);
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), 0); /* not waited for yet */
    assert_true(cpu_ns >= 3 * NS_PER_MS);
    assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
    close(child.from);
    assert_int_equal(usage_read(child.pid, &usage), -ESRCH);
    assert_int_equal(usage_cpu_ns(child.pid, &cpu_ns), -ESRCH);
}

static void difference(void **state) {
    (void)state;
    struct usage before = {100, 60, 40, 7, 9, 5000, 3}, after = {350, 50, 90, 17, 9, 4000, 2};
    struct usage cost = usage_difference(&after, &before);
    assert_int_equal(cost.cpu_ns, 250);
    assert_int_equal(cost.user_ns, 0); /* never below 0 */
    assert_int_equal(cost.system_ns, 50);
    assert_int_equal(cost.voluntary_switches, 10);
    assert_int_equal(cost.involuntary_switches, 0);
    assert_int_equal(cost.max_rss_bytes, 4000);
    assert_int_equal(cost.processes, 2);
}

static void thread_clock(void **state) {
    (void)state;
    uint64_t before_ns = thread_cpu_ns();
    burn(2 * NS_PER_MS);
    assert_true(thread_cpu_ns() - before_ns >= 2 * NS_PER_MS);
    before_ns = thread_cpu_ns();
    usleep(50000);
    assert_true(thread_cpu_ns() - before_ns < 40 * NS_PER_MS); /* sleeping costs nothing */
}

/* ---- made-up trees --------------------------------------------------------------------------- */

static void put(const char *root, const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_process(const char *root, int pid, int parent, const char *name) {
    char path[64], text[256];
    snprintf(path, sizeof path, "proc/%d/stat", pid);
    snprintf(text, sizeof text, "%d (%s) S %d 1 1 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 5 6\n",
             pid, name, parent);
    put(root, path, text);
}

static int make_root(void **state) {
    char *root = strdup("/tmp/test_usage.XXXXXX");
    *state = root;
    return root && mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static int remove_root(void **state) {
    int failure = nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return failure;
}

static void tree_by_parents(void **state) {
    const char *root = *state;
    pid_t pids[8];
    put_process(root, 1, 0, "init");
    put_process(root, 40, 1, "server");
    put_process(root, 41, 40, "worker) S 1 (");
    put_process(root, 7, 41, "of a worker"); /* its number is below its parent's */
    put_process(root, 42, 40, "worker");
    put_process(root, 50, 1, "stranger");
    put_process(root, 51, 50, "stranger's");
    put(root, "proc/60/stat", "garbage\n");
    put(root, "proc/loadavg", "0.00 0.00 0.00 1/1 1\n");
    assert_int_equal(usage_tree(root, 40, pids, 8), 4);
    assert_int_equal(pids[0], 40);
    assert_int_equal(pids[1] + pids[2], 41 + 42);
    assert_int_equal(pids[3], 7);
    assert_int_equal(usage_tree(root, 51, pids, 8), 1);
    assert_int_equal(usage_tree(root, 40, pids, 3), -E2BIG);
    assert_int_equal(usage_tree(root, 99, pids, 8), -ESRCH);
    assert_int_equal(usage_tree(root, 60, pids, 8), -EBADMSG);
}

static void tree_by_lists(void **state) {
    const char *root = *state;
    pid_t pids[8];
    put_process(root, 40, 1, "server");
    put(root, "proc/40/task/40/children", "41 42 ");
    put(root, "proc/40/task/45/children", "43 "); /* started by another thread */
    put_process(root, 41, 40, "worker");
    put(root, "proc/41/task/41/children", "");
    put_process(root, 43, 40, "worker");
    put(root, "proc/43/task/43/children", "44 ");
    /* 42 and 44 have ended since: they are listed, and whoever reads them finds out. */
    put_process(root, 46, 40, "in nobody's list, so that a scan for parents would show");
    int count = usage_tree(root, 40, pids, 8), sum = 0;
    assert_int_equal(count, 5);
    for (int i = 0; i < count; i++)
        sum += pids[i];
    assert_int_equal(sum, 40 + 41 + 42 + 43 + 44);
    assert_int_equal(usage_tree(root, 40, pids, 2), -E2BIG);
}

static void host_cpu(void **state) {
    const char *root = *state;
    struct host_cpu before, after;
    assert_int_equal(host_cpu_read(root, NULL, &before), -ENOENT);
    put(root, "proc/stat", "cpu  100 10 50 800 40 3 7 90 55 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
    assert_int_equal(host_cpu_read(root, NULL, &before), 0);
    assert_int_equal(before.total_ticks, 1100); /* guest time is in user already */
    assert_int_equal(before.steal_ticks, 90);
    assert_int_equal(before.idle_ticks, 840);
    put(root, "proc/stat", "cpu  150 10 50 810 40 3 7 130 55 5\n");
    assert_int_equal(host_cpu_read(root, NULL, &after), 0);
    assert_float_equal(host_steal_share(&before, &after), 0.4, 1e-9);
    assert_float_equal(host_steal_share(&before, &before), 0, 0);
    assert_float_equal(host_steal_share(&after, &before), 0, 0);
    /* One CPU's loss is not lost in the sum over all. */
    cpu_set_t second;
    CPU_ZERO(&second);
    CPU_SET(1, &second);
    put(root, "proc/stat",
        "cpu  9 9 9 9 9 9 9 9\ncpu0 1 1 1 1 1 1 1 1\ncpu1 1 0 0 5 0 0 0 4\nintr 5\n");
    assert_int_equal(host_cpu_read(root, &second, &after), 0);
    assert_int_equal(after.total_ticks, 10);
    assert_int_equal(after.steal_ticks, 4);
    CPU_ZERO(&second);
    CPU_SET(2, &second);
    assert_int_equal(host_cpu_read(root, &second, &after), -EBADMSG);
    put(root, "proc/stat", "cpu  1 2 3\n");
    assert_int_equal(host_cpu_read(root, NULL, &after), -EBADMSG);
}

static void file_is_cut_to_fit(void **state) {
    const char *root = *state;
    char text[6];
    put(root, "proc/short", "abc\n");
    put(root, "proc/long", "abcdefgh\n");
    put(root, "proc/empty", "");
    assert_int_equal(host_file_read(root, "proc/short", text, sizeof text), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(host_file_read(root, "proc/long", text, sizeof text), 5);
    assert_string_equal(text, "abcde");
    assert_int_equal(host_file_read(root, "proc/empty", text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(host_file_read(root, "proc/none", text, sizeof text), -ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process),
        cmocka_unit_test(below_a_tick),
        cmocka_unit_test(grandchild_counts),
        cmocka_unit_test(ended_descendant_counts),
        cmocka_unit_test(threads_count),
        cmocka_unit_test(switches_count),
        cmocka_unit_test(switches_of_threads_count),
        cmocka_unit_test(peak_memory_is_kept),
        cmocka_unit_test(dead_process),
        cmocka_unit_test(difference),
        cmocka_unit_test(thread_clock),
        cmocka_unit_test_setup_teardown(tree_by_parents, make_root, remove_root),
        cmocka_unit_test_setup_teardown(tree_by_lists, make_root, remove_root),
        cmocka_unit_test_setup_teardown(host_cpu, make_root, remove_root),
        cmocka_unit_test_setup_teardown(file_is_cut_to_fit, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
