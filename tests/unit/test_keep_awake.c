/* test_keep_awake.c: who spins where, in which class, and that nobody is left. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/keep_awake.h"
#include "loops/check.h"

static cpu_set_t allowed(void) {
    cpu_set_t cpus;
    assert_return_code(sched_getaffinity(0, sizeof cpus, &cpus), errno);
    return cpus;
}

static bool is_gone(pid_t pid) {
    for (int i = 0; i < 5000; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

static void no_child_is_left(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void each_cpu_has_one(void **state) {
    (void)state;
    cpu_set_t cpus = allowed(), met;
    struct keep_awake awake;
    struct error error;
    CPU_ZERO(&met);
    assert_int_equal(keep_awake_start(&awake, &cpus, &error), 0);
    assert_int_equal(awake.count, CPU_COUNT(&cpus));
    for (int i = 0; i < awake.count; i++) {
        cpu_set_t own;
        assert_return_code(sched_getaffinity(awake.pids[i], sizeof own, &own), errno);
        assert_int_equal(CPU_COUNT(&own), 1);
        assert_int_equal(sched_getscheduler(awake.pids[i]), SCHED_IDLE);
        CPU_OR(&met, &met, &own);
    }
    assert_true(CPU_EQUAL(&met, &cpus));
    keep_awake_stop(&awake);
    no_child_is_left();
    keep_awake_stop(&awake);
}

static void a_cpu_that_is_not_there(void **state) {
    (void)state;
    cpu_set_t cpus = allowed();
    struct keep_awake awake;
    struct error error;
    CPU_SET(CPU_SETSIZE - 1, &cpus);
    assert_int_equal(keep_awake_start(&awake, &cpus, &error), -EINVAL);
    assert_string_equal(error.text, "cannot keep CPU 1023 awake: Invalid argument");
    assert_int_equal(awake.count, 0);
    no_child_is_left();
}

static void none(void **state) {
    (void)state;
    cpu_set_t cpus;
    struct keep_awake awake;
    struct error error;
    CPU_ZERO(&cpus);
    assert_int_equal(keep_awake_start(&awake, &cpus, &error), 0);
    assert_int_equal(awake.count, 0);
    keep_awake_stop(&awake);
    no_child_is_left();
}

/* An owner that is killed takes them along, and they do not hold its pipe open. */
static void end_with_their_owner(void **state) {
    (void)state;
    int ends[2];
    struct keep_awake awake;
    char byte;
    assert_return_code(pipe(ends), errno);
    pid_t owner = fork();
    assert_return_code(owner, errno);
    if (owner == 0) {
        cpu_set_t cpus;
        struct error error;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
        CHECK(keep_awake_start(&awake, &cpus, &error) == 0);
        CHECK(write(ends[1], &awake, sizeof awake) == sizeof awake);
        pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &awake, sizeof awake), sizeof awake);
    assert_int_equal(kill(awake.pids[0], 0), 0);
    kill(owner, SIGKILL);
    assert_int_equal(waitpid(owner, NULL, 0), owner);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
    for (int i = 0; i < awake.count; i++)
        assert_true(is_gone(awake.pids[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cpu_has_one),
        cmocka_unit_test(a_cpu_that_is_not_there),
        cmocka_unit_test(none),
        cmocka_unit_test(end_with_their_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
