/* test_environment.c: made-up machines, lists of CPUs, plans, and the machine it runs on. */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/environment.h"
#include "loops/check.h"

/* ---- made-up trees ------------------------------------------------------------------------------
 */

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

static void put_cpu(const char *root, int cpu, const char *core, const char *package) {
    char path[128], line[64];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    snprintf(line, sizeof line, "%s\n", core);
    put(root, path, line);
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/core_siblings_list", cpu);
    snprintf(line, sizeof line, "%s\n", package);
    put(root, path, line);
}

static void put_governor(const char *root, int cpu, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
    put(root, path, name);
}

static int make_root(void **state) {
    char *root = strdup("/tmp/test_environment.XXXXXX");
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

static cpu_set_t cpus(const char *list) {
    cpu_set_t set;
    assert_int_equal(cpu_list_parse(list, &set, NULL), 0);
    return set;
}

static void assert_cpus(const cpu_set_t *set, const char *list) {
    char text[CPU_LIST_BYTES];
    cpu_list_format(set, text, sizeof text);
    assert_string_equal(text, list);
}

/* ---- lists of CPUs ------------------------------------------------------------------------------
 */

static void lists_come_back(void **state) {
    (void)state;
    static const struct {
        const char *given, *back;
    } lists[] = {
        {"0", "0"},           {"0,2-3", "0,2-3"}, {"3,1", "1,3"},   {"0,1,2", "0-2"},
        {"0-3,2-5", "0-5"},   {"7-7", "7"},       {"1023", "1023"}, {"1022-1023", "1022-1023"},
        {"0-1023", "0-1023"}, {"04", "4"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        cpu_set_t set = cpus(lists[i].given);
        assert_cpus(&set, lists[i].back);
    }
}

static void garbage_is_refused(void **state) {
    (void)state;
    static const char *const lists[] = {
        "",   ",", "0,",  ",0",  "0,,1", "1-",   "-1",     "3-2",   "0 1", " 0",
        "0 ", "a", "0x1", "1.5", "+1",   "1024", "0-1024", "1-2-3", "0\n", "99999999999999999999",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        struct error error = {""};
        cpu_set_t set = cpus("5");
        if (cpu_list_parse(lists[i], &set, &error) != -EINVAL)
            fail_msg("'%s' was taken", lists[i]);
        assert_non_null(strstr(error.text, lists[i]));
        assert_cpus(&set, "5"); /* untouched */
    }
}

static void list_is_cut_between_numbers(void **state) {
    (void)state;
    char text[8];
    cpu_set_t set = cpus("0,10,20,30"), none;
    cpu_list_format(&set, text, sizeof text); /* "0,10,20" fits to the byte */
    assert_string_equal(text, "0,10,20");
    cpu_list_format(&set, text, 7);
    assert_string_equal(text, "0,10");
    CPU_ZERO(&none);
    cpu_list_format(&none, text, sizeof text);
    assert_string_equal(text, "");
}

/* ---- plans --------------------------------------------------------------------------------------
 */

static void assert_plan(const char *root, const char *allowed, const char *server,
                        const char *generator, bool shared, const char *word) {
    cpu_set_t set = cpus(allowed);
    struct cpu_plan plan;
    assert_int_equal(cpu_plan_choose(root, &set, &plan, NULL), 0);
    assert_cpus(&plan.server, server);
    assert_cpus(&plan.generator, generator);
    assert_int_equal(plan.shared, shared);
    if (!strstr(plan.text, word))
        fail_msg("'%s' is not in: %s", word, plan.text);
}

static void one_cpu(void **state) {
    put_cpu(*state, 0, "0", "0");
    assert_plan(*state, "0", "0", "0", true, "share a CPU");
}

static void two_threads_of_a_core(void **state) {
    put_cpu(*state, 0, "0-1", "0-1");
    put_cpu(*state, 1, "0-1", "0-1");
    assert_plan(*state, "0-1", "0", "1", true, "hardware threads of one core");
}

static void two_cores(void **state) {
    put_cpu(*state, 0, "0", "0-1");
    put_cpu(*state, 1, "1", "0-1");
    assert_plan(*state, "0-1", "0", "1", false, "different cores");
}

static void four_cores_with_threads(void **state) {
    for (int cpu = 0; cpu < 8; cpu++) { /* neighbours are threads: the next CPU is the wrong one */
        char core[32];
        snprintf(core, sizeof core, "%d-%d", cpu & ~1, cpu | 1);
        put_cpu(*state, cpu, core, "0-7");
    }
    assert_plan(*state, "0-7", "0", "2", false, "different cores");
    assert_plan(*state, "1,4-5", "1", "4", false, "different cores");
    assert_plan(*state, "2-3", "2", "3", true, "hardware threads");
    assert_plan(*state, "5", "5", "5", true, "share a CPU");
}

static void distant_threads(void **state) {
    for (int cpu = 0; cpu < 4; cpu++) { /* threads are two apart, as servers number them */
        char core[32];
        snprintf(core, sizeof core, "%d,%d", cpu % 2, cpu % 2 + 2);
        put_cpu(*state, cpu, core, "0-3");
    }
    assert_plan(*state, "0-3", "0", "1", false, "different cores");
    assert_plan(*state, "0,2-3", "0", "3", false, "different cores");
    assert_plan(*state, "1,3", "1", "3", true, "hardware threads");
}

static void same_package_first(void **state) {
    for (int cpu = 0; cpu < 4; cpu++) {
        char core[32];
        snprintf(core, sizeof core, "%d", cpu);
        put_cpu(*state, cpu, core, cpu % 2 ? "1,3" : "0,2");
    }
    assert_plan(*state, "0-3", "0", "2", false, "different cores");
    assert_plan(*state, "0-1", "0", "1", false, "different cores");
}

static void unknown_topology(void **state) {
    assert_plan(*state, "4-6", "4", "5", false, "different cores");
    put(*state, "sys/devices/system/cpu/cpu4/topology/thread_siblings_list", "garbage\n");
    put(*state, "sys/devices/system/cpu/cpu5/topology/thread_siblings_list", "\n");
    assert_plan(*state, "4-6", "4", "5", false, "different cores");
}

static void no_cpu(void **state) {
    cpu_set_t none;
    struct cpu_plan plan;
    struct error error = {""};
    CPU_ZERO(&none);
    assert_int_equal(cpu_plan_choose(*state, &none, &plan, &error), -EINVAL);
    assert_true(error.text[0] != '\0');
}

static void given_plan(void **state) {
    for (int cpu = 0; cpu < 6; cpu++) {
        char core[32];
        snprintf(core, sizeof core, "%d-%d", cpu & ~1, cpu | 1);
        put_cpu(*state, cpu, core, "0-5");
    }
    cpu_set_t allowed = cpus("0-5");
    struct cpu_plan plan;
    struct error error = {""};
    assert_int_equal(cpu_plan_given(*state, &allowed, "0,2", "4-5", &plan, &error), 0);
    assert_cpus(&plan.server, "0,2");
    assert_cpus(&plan.generator, "4-5");
    assert_false(plan.shared);
    assert_int_equal(cpu_plan_given(*state, &allowed, "0,2", "3,4", &plan, &error), 0);
    assert_true(plan.shared); /* 3 is the other thread of 2's core */
    assert_int_equal(cpu_plan_given(*state, &allowed, "0-1", "1-2", &plan, &error), 0);
    assert_true(plan.shared);
    assert_non_null(strstr(plan.text, "share a CPU"));
    assert_int_equal(cpu_plan_given(*state, &allowed, "0,7,9", "1", &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "the server cannot have CPU 7,9: only 0-5"));
    assert_int_equal(cpu_plan_given(*state, &allowed, "0", "8", &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "the generator cannot have CPU 8"));
    assert_int_equal(cpu_plan_given(*state, &allowed, "0", "1-", &plan, &error), -EINVAL);
    assert_cpus(&plan.server, "0-1"); /* untouched by failures */
}

/* ---- the machine --------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *environment, const char *name) {
    const char *text = json_string_value(json_object_get(environment, name));
    assert_non_null(text);
    return text;
}

static json_int_t integer_of(const json_t *environment, const char *name) {
    const json_t *value = json_object_get(environment, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static json_t *capture(const char *root, const char *allowed) {
    cpu_set_t set = cpus(allowed);
    json_t *environment = environment_capture_from(root, &set);
    assert_non_null(environment);
    return environment;
}

static bool warned(const json_t *environment, const char *word) {
    size_t i;
    json_t *sentence;
    json_array_foreach(json_object_get(environment, "warnings"), i, sentence) {
        if (strstr(json_string_value(sentence), word))
            return true;
    }
    return false;
}

static void laptop(void **state) {
    const char *root = *state;
    put(root, "proc/cpuinfo",
        "processor\t: 0\nmodel\t\t: 142\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu "
        "nothypervisor hypervisors tsc\n\nprocessor\t: 1\nmodel name\t: Other\n");
    put(root, "sys/devices/system/cpu/online", "0-3\n");
    for (int cpu = 0; cpu < 4; cpu++)
        put_cpu(root, cpu, cpu < 2 ? "0-1" : "2-3", "0-3");
    put_governor(root, 0, "powersave\n");
    put_governor(root, 1, "powersave\n");
    put_governor(root, 2, "performance\n");
    put(root, "sys/devices/system/cpu/intel_pstate/no_turbo", "0\n");
    put(root, "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
    put(root, "proc/meminfo", "MemTotal:       16000000 kB\nMemFree:  1 kB\n");
    put(root, "proc/loadavg", "1.25 0.50 0.10 2/300 4000\n");
    put(root, "proc/sys/net/core/somaxconn", "4096\n");
    put(root, "proc/sys/net/ipv4/tcp_congestion_control", "bbr\n");
    json_t *environment = capture(root, "0-1");
    assert_string_equal(text_of(environment, "cpu_model"), "Some CPU @ 2.00GHz");
    assert_true(json_is_false(json_object_get(environment, "hypervisor")));
    assert_true(json_is_null(json_object_get(environment, "hypervisor_vendor")));
    assert_int_equal(integer_of(environment, "cpus_online"), 4);
    assert_string_equal(text_of(environment, "cpus_allowed"), "0-1");
    assert_int_equal(integer_of(environment, "cpus_allowed_count"), 2);
    assert_int_equal(integer_of(environment, "cores_allowed"), 1);
    assert_int_equal(integer_of(environment, "threads_per_core"), 2);
    assert_string_equal(text_of(environment, "governor"), "powersave");
    assert_true(json_is_true(json_object_get(environment, "turbo")));
    assert_int_equal(integer_of(environment, "memory_bytes"), 16384000000);
    assert_float_equal(json_real_value(json_object_get(environment, "load_1m")), 1.25, 1e-9);
    assert_int_equal(integer_of(environment, "somaxconn"), 4096);
    assert_string_equal(text_of(environment, "tcp_congestion"), "bbr");
    static const char *const words[] = {"hardware threads", "powersave", "Turbo", "hpet", "1.25"};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++)
        if (!(warned(environment, words[i]) ||
              (strcmp(words[i], "hpet") == 0 && strcmp(text_of(environment, "machine"), "x86_64"))))
            fail_msg("no warning says %s", words[i]);
    assert_false(warned(environment, "virtual machine") || warned(environment, "Only one CPU"));
    json_decref(environment);
    environment = capture(root, "0-2");
    assert_string_equal(text_of(environment, "governor"), "mixed");
    assert_int_equal(integer_of(environment, "cores_allowed"), 2);
    assert_false(warned(environment, "hardware threads"));
    json_decref(environment);
}

static void quiet_server(void **state) {
    const char *root = *state;
    put(root, "proc/cpuinfo", "model name\t: Big\nflags\t\t: fpu tsc\n");
    put(root, "sys/devices/system/cpu/online", "0-1\n");
    put_cpu(root, 0, "0", "0-1");
    put_cpu(root, 1, "1", "0-1");
    put_governor(root, 0, "performance\n");
    put_governor(root, 1, "performance\n");
    put(root, "sys/devices/system/cpu/cpufreq/boost", "0\n");
    put(root, "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    put(root, "proc/loadavg", "0.45 0.50 0.10 2/300 4000\n");
    json_t *environment = capture(root, "0-1");
    assert_true(json_is_false(json_object_get(environment, "turbo")));
    assert_int_equal(json_array_size(json_object_get(environment, "warnings")), 0);
    json_decref(environment);
}

static void virtual_machine(void **state) {
    const char *root = *state;
    put(root, "proc/cpuinfo", "model name\t: Cloud\nflags\t\t: fpu tsc hypervisor\n");
    put(root, "sys/devices/system/cpu/online", "0\n");
    json_t *environment = capture(root, "0");
    assert_true(json_is_true(json_object_get(environment, "hypervisor")));
    assert_true(warned(environment, "virtual machine"));
    assert_true(warned(environment, "Only one CPU"));
    assert_false(warned(environment, "governor")); /* there is none, and nothing to be done */
    json_decref(environment);
}

static void empty_machine(void **state) {
    static const char *const unknown[] = {
        "cpu_model",        "hypervisor",   "hypervisor_vendor", "cpus_online", "cores_allowed",
        "threads_per_core", "clock_source", "governor",          "turbo",       "memory_bytes",
        "load_1m",          "somaxconn",    "tcp_congestion",
    };
    json_t *environment = capture(*state, "0-1");
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++)
        if (!json_is_null(json_object_get(environment, unknown[i])))
            fail_msg("%s is not null", unknown[i]);
    assert_int_equal(json_array_size(json_object_get(environment, "warnings")), 0);
    json_decref(environment);
}

static void garbage_machine(void **state) {
    const char *root = *state;
    put(root, "proc/cpuinfo", "model name");
    put(root, "proc/meminfo", "MemTotal: lots\n");
    put(root, "proc/loadavg", "high\n");
    put(root, "proc/sys/net/core/somaxconn", "40x\n");
    put(root, "proc/sys/net/ipv4/tcp_congestion_control", "\xff\xfe\n"); /* not UTF-8 */
    put(root, "sys/devices/system/cpu/online", "all\n");
    put(root, "sys/devices/system/cpu/cpufreq/boost", "maybe\n");
    static const char *const unknown[] = {
        "cpu_model",      "memory_bytes", "load_1m", "somaxconn",
        "tcp_congestion", "cpus_online",  "turbo",
    };
    json_t *environment = capture(root, "0");
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++)
        if (!json_is_null(json_object_get(environment, unknown[i])))
            fail_msg("%s is not null", unknown[i]);
    json_decref(environment);
}

static void this_machine(void **state) {
    (void)state;
    json_t *environment = environment_capture();
    assert_non_null(environment);
    assert_int_equal(strlen(text_of(environment, "date_utc")), strlen("2026-11-20T10:00:00Z"));
    assert_int_equal(text_of(environment, "date_utc")[10], 'T');
    assert_int_equal(integer_of(environment, "cpus_online"), sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(integer_of(environment, "open_files_soft"), sysconf(_SC_OPEN_MAX));
    assert_int_equal(integer_of(environment, "memory_bytes"),
                     (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    text_of(environment, "hostname");
    text_of(environment, "compiler");
    text_of(json_object_get(environment, "libraries"), "jansson");
    assert_true(json_is_array(json_object_get(environment, "warnings")));
    if (getenv("SHOW_ENVIRONMENT"))
        json_dumpf(environment, stdout, JSON_INDENT(2));
    json_decref(environment);
}

static void captions(void **state) {
    (void)state;
    static const struct {
        const char *environment, *caption;
    } cases[] = {
        {"{\"cpus_allowed_count\":2,\"cpu_model\":\"AMD EPYC\",\"kernel\":\"6.18.5-amd64\","
         "\"hypervisor\":true,\"hypervisor_vendor\":\"KVM\"}",
         "2 × AMD EPYC, Linux 6.18, KVM"},
        {"{\"cpus_allowed_count\":16,\"cpu_model\":null,\"machine\":\"aarch64\",\"kernel\":\"6.1\","
         "\"hypervisor\":true,\"hypervisor_vendor\":null}",
         "16 × aarch64, Linux 6.1, virtual"},
        {"{\"cpus_allowed_count\":4,\"cpu_model\":\"X\",\"kernel\":\"7\",\"hypervisor\":false}",
         "4 × X, Linux 7"},
        {"{}", "unknown CPU"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[128];
        json_t *environment = json_loads(cases[i].environment, 0, NULL);
        assert_non_null(environment);
        environment_caption(environment, text, sizeof text);
        assert_string_equal(text, cases[i].caption);
        environment_caption(environment, text, 8); /* cut, terminated */
        assert_true(strlen(text) < 8);
        json_decref(environment);
    }
}

/* ---- versions -----------------------------------------------------------------------------------
 */

static void command_versions(void **state) {
    (void)state;
    static const struct {
        const char *command[4];
        int result;
        const char *text;
    } cases[] = {
        {{"echo", "one 1.2"}, 0, "one 1.2"},
        {{"sh", "-c", "echo from stderr >&2; echo more"}, 0, "from stderr"},
        {{"sh", "-c", "yes 0123456789 | head -c 200000"}, 0, "0123456789"},
        {{"sh", "-c", "cat; echo no input"}, 0, "no input"},
        {{"sh", "-c", "echo words; exit 3"}, -EIO, ""},
        {{"sh", "-c", "echo words; kill -KILL $$"}, -EIO, ""},
        {{"true"}, -EIO, ""},
        {{"no-such-program-here"}, -ENOENT, ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[32] = "old";
        assert_int_equal(environment_command_version(cases[i].command, text, sizeof text),
                         cases[i].result);
        assert_string_equal(text, cases[i].text);
    }
}

static void *run_version(void *command) {
    char text[32];
    int result = environment_command_version(command, text, sizeof text);
    return (void *)(intptr_t)(text[0] == '\0' ? result : 1);
}

/* Both at once: each takes all of the time limit. */
static void silent_commands_are_killed(void **state) {
    (void)state;
    static const char *const silent[] = {"sleep", "60", NULL};
    static const char *const closed[] = {"sh", "-c", "echo 1; exec sleep 60 >/dev/null 2>&1", NULL};
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, run_version, (void *)(uintptr_t)silent), 0);
    assert_int_equal((intptr_t)run_version((void *)(uintptr_t)closed), -ETIMEDOUT);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, -ETIMEDOUT);
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_come_back),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(list_is_cut_between_numbers),
        WITH_ROOT(one_cpu),
        WITH_ROOT(two_threads_of_a_core),
        WITH_ROOT(two_cores),
        WITH_ROOT(four_cores_with_threads),
        WITH_ROOT(distant_threads),
        WITH_ROOT(same_package_first),
        WITH_ROOT(unknown_topology),
        WITH_ROOT(no_cpu),
        WITH_ROOT(given_plan),
        WITH_ROOT(laptop),
        WITH_ROOT(quiet_server),
        WITH_ROOT(virtual_machine),
        WITH_ROOT(empty_machine),
        WITH_ROOT(garbage_machine),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(captions),
        cmocka_unit_test(command_versions),
        cmocka_unit_test(silent_commands_are_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
