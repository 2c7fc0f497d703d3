/* The kernel floor: that it moves every byte on every socket and leaves nothing behind. What it
 * measures is not judged here: on a busy machine any time is right. */
#include "harness/floor.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/cell_floor.h"
#include "harness/load_knobs.h"
#include "loops/check.h"
#include "loops/clock.h"

static struct floor_plan plan_of(bool unix_socket, uint32_t connections, size_t size_bytes) {
    return (struct floor_plan){.unix_socket = unix_socket,
                               .connections = connections,
                               .size_bytes = size_bytes,
                               .warmup_ns = 1.0 * NS_PER_MS,
                               .duration_ns = 10.0 * NS_PER_MS};
}

static size_t open_files(void) {
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void assert_nothing_left(size_t files) {
    assert_int_equal(open_files(), files);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static struct floor_result measured(const struct floor_plan *plan) {
    struct floor_result result;
    struct error error = {""};
    size_t files = open_files();
    if (floor_measure(plan, &result, &error) != 0)
        fail_msg("%u connections, %zu bytes: %s", plan->connections, plan->size_bytes, error.text);
    assert_nothing_left(files);
    assert_true(result.cpu_us_per_request > 0);
    return result;
}

/* A request is a message on one connection, whatever parts and groups it takes. */
static void counts_whole_messages(void **state) {
    (void)state;
    static const struct {
        uint32_t connections;
        size_t size_bytes;
        uint32_t group, parts;
    } cases[] = {
        {1, 1, 1, 1},
        {3, 1024, 3, 1},
        {7, 100 * 1024, 7, 2},
        {1, FLOOR_PART_BYTES, 1, 1},
        {2, FLOOR_PART_BYTES + 1, 2, 2},
        {300, 3 * FLOOR_PART_BYTES, 256, 3}, /* two rounds do not meet the same sockets */
    };
    for (int unix_socket = 0; unix_socket < 2; unix_socket++)
        for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
            struct floor_plan plan =
                plan_of(unix_socket, cases[i].connections, cases[i].size_bytes);
            struct floor_result result = measured(&plan);
            assert_true(result.requests > 0);
            assert_int_equal(result.requests % cases[i].group, 0);
            assert_int_equal(result.requests / cases[i].group * cases[i].parts, result.turns);
        }
}

static void runs_where_it_is_told(void **state) {
    (void)state;
    struct floor_plan plan = plan_of(false, 3, 1024);
    cpu_set_t allowed;
    struct error error = {""};
    struct floor_result result;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    CPU_SET(cpu, &plan.server_cpus);
    CPU_SET(cpu, &plan.generator_cpus); /* one CPU for both: they have to yield to each other */
    measured(&plan);
    CPU_ZERO(&plan.server_cpus);
    CPU_SET(CPU_SETSIZE - 1, &plan.server_cpus);
    size_t files = open_files();
    assert_int_equal(floor_measure(&plan, &result, &error), -EINVAL);
    assert_non_null(strstr(error.text, "CPUs"));
    assert_nothing_left(files);
}

static void refuses_too_many_connections(void **state) {
    (void)state;
    struct rlimit usual, few = {.rlim_cur = 40, .rlim_max = 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    pid_t pid = fork(); /* a hard limit cannot be raised again */
    if (pid == 0) {
        few.rlim_max = 60;
        struct floor_plan plan = plan_of(false, 100, 1024);
        struct floor_result result;
        struct error error = {""};
        bool refused = setrlimit(RLIMIT_NOFILE, &few) == 0 &&
                       floor_measure(&plan, &result, &error) == -EMFILE &&
                       strstr(error.text, "100 connections");
        bool restored = getrlimit(RLIMIT_NOFILE, &usual) == 0 && usual.rlim_cur == 40;
        plan.connections = 20; /* over the soft limit, below the hard one */
        bool fits = floor_measure(&plan, &result, &error) == 0;
        _exit(refused && restored && fits ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static struct knob_values echo_knobs(void) {
    struct error error;
    struct knob_values knobs;
    knob_values_init(&knobs, workload_find("echo", &error)->knobs, load_knobs);
    return knobs;
}

static void a_cell_asks_for_its_own_floor(void **state) {
    (void)state;
    struct error error;
    struct knob_values knobs = echo_knobs();
    struct cpu_plan cpus = {.shared = false};
    CPU_SET(2, &cpus.server);
    CPU_SET(5, &cpus.generator);
    knob_set_number(&knobs, "connections", 17);
    knob_set_number(&knobs, "size_bytes", 333);
    knob_set_number(&knobs, "transport", TRANSPORT_UNIX);
    knob_set_number(&knobs, "warmup", 7 * (double)NS_PER_MS);
    struct cell_floor floor = cell_floor_plan(workload_find("echo", &error), &knobs, &cpus);
    assert_true(floor.known && floor.plan.unix_socket);
    assert_int_equal(floor.plan.connections, 17);
    assert_int_equal(floor.plan.size_bytes, 333);
    assert_true(CPU_ISSET(2, &floor.plan.server_cpus) && CPU_ISSET(5, &floor.plan.generator_cpus));
    assert_true(floor.plan.warmup_ns == 7 * (double)NS_PER_MS);
    double duration_ns = cell_floor_duration_ns(&floor);
    assert_true(duration_ns > 50.0 * NS_PER_MS && duration_ns <= 500.0 * NS_PER_MS);
    knob_set_number(&knobs, "in_flight", 2);
    floor = cell_floor_plan(workload_find("echo", &error), &knobs, &cpus);
    assert_true(!floor.known && cell_floor_duration_ns(&floor) == 0);
    struct workload other = {.name = "other"};
    floor = cell_floor_plan(&other, &knobs, &cpus);
    assert_false(floor.known);
}

static void a_block_gets_its_own_floor(void **state) {
    (void)state;
    json_t *repetitions = json_pack("[{}, {}, {}, {}]");
    struct cell_floor floor = {.known = true, .us_per_request = 4.5};
    cell_floor_record(&floor, repetitions, 1);
    assert_null(json_object_get(json_array_get(repetitions, 0), "floor_us_per_request"));
    for (size_t i = 1; i < 4; i++)
        assert_true(json_real_value(json_object_get(json_array_get(repetitions, i),
                                                    "floor_us_per_request")) == 4.5);
    cell_floor_record(&floor, repetitions, 3); /* the next block had none */
    assert_true(
        json_is_null(json_object_get(json_array_get(repetitions, 3), "floor_us_per_request")));
    assert_true(
        json_is_real(json_object_get(json_array_get(repetitions, 2), "floor_us_per_request")));
    json_decref(repetitions);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_whole_messages),
        cmocka_unit_test(runs_where_it_is_told),
        cmocka_unit_test(refuses_too_many_connections),
        cmocka_unit_test(a_cell_asks_for_its_own_floor),
        cmocka_unit_test(a_block_gets_its_own_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
