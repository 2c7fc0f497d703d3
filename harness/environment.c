/* environment.c: see environment.h. */
#include "environment.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "loops/check.h"
#include "loops/clock.h"
#include "loops/loop.h"
#include "usage.h"

#if __has_include("build_info.h")
#include "build_info.h"
#endif

enum { VALUE_BYTES = 256, LIST_BYTES = 4096, CPUINFO_BYTES = 8192 };

/* ---- lists of CPUs --------------------------------------------------------------------------- */

static bool read_number(const char **text, int *number) {
    if (!isdigit((unsigned char)**text))
        return false; /* strtol would take a sign or a space */
    char *end;
    errno = 0;
    long value = strtol(*text, &end, 10);
    if (errno || value >= CPU_SETSIZE)
        return false;
    *text = end;
    *number = (int)value;
    return true;
}

int cpu_list_parse(const char *text, cpu_set_t *cpus, struct error *error) {
    const char *at = text;
    cpu_set_t found;
    CPU_ZERO(&found);
    for (;;) {
        int first, last;
        if (!read_number(&at, &first))
            break;
        last = first;
        if (*at == '-' && (at++, !read_number(&at, &last)))
            break;
        if (last < first)
            break;
        for (int cpu = first; cpu <= last; cpu++)
            CPU_SET((size_t)cpu, &found);
        if (*at == '\0') {
            *cpus = found;
            return 0;
        }
        if (*at++ != ',')
            break;
    }
    return error_set(error, -EINVAL,
                     "'%s' is not a list of CPUs such as 0,2-3, with numbers below %d", text,
                     CPU_SETSIZE);
}

static int next_cpu(const cpu_set_t *cpus, int from) {
    for (int cpu = from; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, cpus))
            return cpu;
    return -1;
}

void cpu_list_format(const cpu_set_t *cpus, char *text, size_t size) {
    CHECK(size > 0);
    size_t used = 0;
    text[0] = '\0';
    for (int first = next_cpu(cpus, 0), last; first >= 0; first = next_cpu(cpus, last + 1)) {
        last = first;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET((size_t)last + 1, cpus))
            last++;
        const char *comma = used ? "," : "";
        char part[32];
        int length = first == last ? snprintf(part, sizeof part, "%s%d", comma, first)
                                   : snprintf(part, sizeof part, "%s%d-%d", comma, first, last);
        if (used + (size_t)length >= size)
            return;
        memcpy(text + used, part, (size_t)length + 1);
        used += (size_t)length;
    }
}

/* ---- topology -------------------------------------------------------------------------------- */

static int own_affinity(cpu_set_t *cpus) {
    return sched_getaffinity(0, sizeof *cpus, cpus) ? -errno : 0;
}

/* The CPUs of this CPU's core, or of its package; the CPU alone where that cannot be read. */
static cpu_set_t neighbours(const char *root, int cpu, const char *file) {
    char path[128], list[LIST_BYTES];
    cpu_set_t cpus;
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/%s", cpu, file);
    if (host_file_read(root, path, list, sizeof list) < 0 || cpu_list_parse(list, &cpus, NULL))
        CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    return cpus;
}

static cpu_set_t core_of(const char *root, int cpu) {
    return neighbours(root, cpu, "thread_siblings_list");
}

static cpu_set_t package_of(const char *root, int cpu) {
    return neighbours(root, cpu, "core_siblings_list");
}

static int count_cores(const char *root, const cpu_set_t *cpus) {
    cpu_set_t seen;
    int cores = 0;
    CPU_ZERO(&seen);
    for (int cpu = next_cpu(cpus, 0); cpu >= 0; cpu = next_cpu(cpus, cpu + 1)) {
        if (CPU_ISSET((size_t)cpu, &seen))
            continue;
        cpu_set_t core = core_of(root, cpu);
        CPU_OR(&seen, &seen, &core);
        cores++;
    }
    return cores;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static cpu_set_t without(const cpu_set_t *cpus, const cpu_set_t *others) {
    cpu_set_t common, left;
    CPU_AND(&common, cpus, others);
    CPU_XOR(&left, cpus, &common);
    return left;
}

static cpu_set_t only(int cpu) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    return cpus;
}

static bool meet(const cpu_set_t *one, const cpu_set_t *other) {
    cpu_set_t common;
    CPU_AND(&common, one, other);
    return CPU_COUNT(&common) > 0;
}

/* Sets `shared` and `text` of a plan whose sets are chosen. */
static void judge_plan(const char *root, struct cpu_plan *plan) {
    char server[100], generator[100];
    cpu_set_t server_cores;
    CPU_ZERO(&server_cores);
    for (int cpu = next_cpu(&plan->server, 0); cpu >= 0; cpu = next_cpu(&plan->server, cpu + 1)) {
        cpu_set_t core = core_of(root, cpu);
        CPU_OR(&server_cores, &server_cores, &core);
    }
    cpu_list_format(&plan->server, server, sizeof server);
    cpu_list_format(&plan->generator, generator, sizeof generator);
    bool same_cpu = meet(&plan->server, &plan->generator);
    plan->shared = meet(&server_cores, &plan->generator);
    const char *ending = same_cpu       ? ": they share a CPU, so each takes time from the other"
                         : plan->shared ? ": hardware threads of one core, so each slows the other"
                                        : ", on different cores";
    snprintf(plan->text, sizeof plan->text, "server on CPU %s, generator on CPU %s%s", server,
             generator, ending);
}

/* What to choose from: `allowed`, or the affinity of this process. */
static int resolve_allowed(const cpu_set_t *allowed, cpu_set_t *cpus, struct error *error) {
    if (allowed)
        *cpus = *allowed;
    int failure = allowed ? 0 : own_affinity(cpus);
    if (failure)
        return error_set(error, failure, "cannot read which CPUs may be used: %s",
                         strerror(-failure));
    if (CPU_COUNT(cpus) == 0)
        return error_set(error, -EINVAL, "no CPU may be used");
    return 0;
}

int cpu_plan_choose(const char *root, const cpu_set_t *allowed, struct cpu_plan *plan,
                    struct error *error) {
    cpu_set_t cpus;
    int failure = resolve_allowed(allowed, &cpus, error);
    if (failure)
        return failure;
    int server = next_cpu(&cpus, 0);
    cpu_set_t first = only(server), core = core_of(root, server), near = package_of(root, server);
    cpu_set_t other_cores = without(&cpus, &core);
    CPU_AND(&near, &near, &other_cores);
    cpu_set_t siblings = without(&cpus, &first);
    const cpu_set_t *by_merit[] = {&near, &other_cores, &siblings, &first};
    size_t best = 0;
    while (CPU_COUNT(by_merit[best]) == 0)
        best++;
    *plan = (struct cpu_plan){.server = first, .generator = only(next_cpu(by_merit[best], 0))};
    judge_plan(root, plan);
    return 0;
}

static int parse_given(const char *who, const char *list, const cpu_set_t *allowed, cpu_set_t *cpus,
                       struct error *error) {
    int failure = cpu_list_parse(list, cpus, error);
    if (failure)
        return failure;
    cpu_set_t refused = without(cpus, allowed);
    if (CPU_COUNT(&refused) == 0)
        return 0;
    char refused_list[100], allowed_list[100];
    cpu_list_format(&refused, refused_list, sizeof refused_list);
    cpu_list_format(allowed, allowed_list, sizeof allowed_list);
    return error_set(error, -EINVAL, "the %s cannot have CPU %s: only %s may be used", who,
                     refused_list, allowed_list);
}

int cpu_plan_given(const char *root, const cpu_set_t *allowed, const char *server,
                   const char *generator, struct cpu_plan *plan, struct error *error) {
    cpu_set_t cpus;
    struct cpu_plan given = {0};
    int failure = resolve_allowed(allowed, &cpus, error);
    if (!failure)
        failure = parse_given("server", server, &cpus, &given.server, error);
    if (!failure)
        failure = parse_given("generator", generator, &cpus, &given.generator, error);
    if (failure)
        return failure;
    *plan = given;
    judge_plan(root, plan);
    return 0;
}

/* ---- reading the machine --------------------------------------------------------------------- */

/* `value` null: what jansson refuses, such as a name that is not UTF-8, is not known either. */
static void set(json_t *object, const char *name, json_t *value) {
    json_object_set_new(object, name, value ? value : json_null());
}

static json_t *file_string(const char *root, const char *path) {
    char text[VALUE_BYTES];
    return host_file_read(root, path, text, sizeof text) > 0 ? json_string(text) : json_null();
}

static json_t *file_number(const char *root, const char *path) {
    char text[VALUE_BYTES], *end;
    if (host_file_read(root, path, text, sizeof text) <= 0)
        return json_null();
    long long value = strtoll(text, &end, 10);
    return end != text && *end == '\0' ? json_integer(value) : json_null();
}

/* The value of the first line "NAME<blanks>: VALUE" of `text`, as in /proc/cpuinfo. */
static bool find_field(const char *text, const char *name, char *value, size_t size) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0)
            continue;
        const char *colon = line + length + strspn(line + length, " \t");
        if (*colon != ':')
            continue;
        const char *from = colon + 1 + strspn(colon + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(from, "\n"), from);
        return true;
    }
    return false;
}

static bool has_word(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *at = strstr(text, word); at; at = strstr(at + length, word))
        if ((at == text || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* Who answers at CPUID leaf 0x40000000, which hypervisors reserve for their signature. */
static json_t *hypervisor_vendor(void) {
    static const struct {
        const char *signature, *name;
    } vendors[] = {
        {"KVMKVMKVM", "KVM"},      {"Microsoft Hv", "Hyper-V"}, {"VMwareVMware", "VMware"},
        {"XenVMMXenVMM", "Xen"},   {"TCGTCGTCGTCG", "QEMU"},    {"VBoxVBoxVBox", "VirtualBox"},
        {"bhyve bhyve ", "bhyve"}, {"ACRNACRNACRN", "ACRN"},    {" prl hyperv ", "Parallels"},
    };
    char signature[13] = "";
#if defined(__x86_64__) || defined(__i386__)
    unsigned leaf, words[3];
    __cpuid(0x40000000, leaf, words[0], words[1], words[2]);
    memcpy(signature, words, sizeof words);
#endif
    for (size_t i = 0; i < ARRAY_LENGTH(vendors); i++)
        if (strcmp(signature, vendors[i].signature) == 0)
            return json_string(vendors[i].name);
    return json_null();
}

static void add_cpu_model(json_t *environment, const char *root) {
    char cpuinfo[CPUINFO_BYTES], value[CPUINFO_BYTES];
    if (host_file_read(root, "proc/cpuinfo", cpuinfo, sizeof cpuinfo) < 0)
        cpuinfo[0] = '\0';
    set(environment, "cpu_model",
        find_field(cpuinfo, "model name", value, sizeof value) ? json_string(value) : NULL);
    /* Only x86 says so here; elsewhere there is no "flags" line and it stays unknown. */
    bool known = find_field(cpuinfo, "flags", value, sizeof value);
    bool virtual = known && has_word(value, "hypervisor");
    set(environment, "hypervisor", known ? json_boolean(virtual) : NULL);
    set(environment, "hypervisor_vendor", virtual ? hypervisor_vendor() : NULL);
}

static json_t *governor(const char *root, const cpu_set_t *allowed) {
    char first[VALUE_BYTES] = "", text[VALUE_BYTES], path[128];
    for (int cpu = next_cpu(allowed, 0); cpu >= 0; cpu = next_cpu(allowed, cpu + 1)) {
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        if (host_file_read(root, path, text, sizeof text) <= 0)
            continue;
        if (first[0] == '\0')
            memcpy(first, text, sizeof first);
        else if (strcmp(first, text) != 0)
            return json_string("mixed");
    }
    return first[0] ? json_string(first) : json_null();
}

static json_t *turbo(const char *root) {
    static const struct {
        const char *path, *on, *off;
    } switches[] = {
        {"sys/devices/system/cpu/intel_pstate/no_turbo", "0", "1"},
        {"sys/devices/system/cpu/cpufreq/boost", "1", "0"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(switches); i++) {
        char text[VALUE_BYTES];
        if (host_file_read(root, switches[i].path, text, sizeof text) < 0)
            continue;
        if (strcmp(text, switches[i].on) == 0)
            return json_true();
        if (strcmp(text, switches[i].off) == 0)
            return json_false();
    }
    return json_null();
}

static json_t *memory_bytes(const char *root) {
    char text[4096], value[VALUE_BYTES];
    unsigned long long kib;
    if (host_file_read(root, "proc/meminfo", text, sizeof text) < 0 ||
        !find_field(text, "MemTotal", value, sizeof value) || sscanf(value, "%llu kB", &kib) != 1)
        return json_null();
    return json_integer((json_int_t)kib * 1024);
}

static json_t *load_1m(const char *root) {
    char text[VALUE_BYTES];
    double load;
    if (host_file_read(root, "proc/loadavg", text, sizeof text) < 0 ||
        sscanf(text, "%lf", &load) != 1)
        return json_null();
    return json_real(load);
}

static json_t *cpus_online(const char *root) {
    char list[LIST_BYTES];
    cpu_set_t cpus;
    if (host_file_read(root, "sys/devices/system/cpu/online", list, sizeof list) < 0 ||
        cpu_list_parse(list, &cpus, NULL))
        return json_null();
    return json_integer(CPU_COUNT(&cpus));
}

static void add_cpus(json_t *environment, const char *root, const cpu_set_t *allowed) {
    char list[CPU_LIST_BYTES];
    set(environment, "cpus_online", cpus_online(root));
    cpu_list_format(allowed, list, sizeof list);
    int count = CPU_COUNT(allowed), first = next_cpu(allowed, 0);
    bool known = count > 0;
    set(environment, "cpus_allowed", known ? json_string(list) : NULL);
    set(environment, "cpus_allowed_count", known ? json_integer(count) : NULL);
    char path[128];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             first);
    known = known && host_file_read(root, path, list, sizeof list) > 0;
    cpu_set_t core = known ? core_of(root, first) : *allowed;
    set(environment, "cores_allowed", known ? json_integer(count_cores(root, allowed)) : NULL);
    set(environment, "threads_per_core", known ? json_integer(CPU_COUNT(&core)) : NULL);
}

static void add_system(json_t *environment) {
    char date[32];
    struct utsname name;
    struct rlimit files;
    struct tm utc;
    time_t now = time(NULL);
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    set(environment, "date_utc", json_string(date));
    bool known = uname(&name) == 0;
    set(environment, "hostname", known ? json_string(name.nodename) : NULL);
    set(environment, "machine", known ? json_string(name.machine) : NULL);
    set(environment, "kernel", known ? json_string(name.release) : NULL);
    known = getrlimit(RLIMIT_NOFILE, &files) == 0;
    set(environment, "open_files_soft", known ? json_integer((json_int_t)files.rlim_cur) : NULL);
    set(environment, "open_files_hard", known ? json_integer((json_int_t)files.rlim_max) : NULL);
}

static void add_files(json_t *environment, const char *root, const cpu_set_t *allowed) {
    set(environment, "clock_source",
        file_string(root, "sys/devices/system/clocksource/clocksource0/current_clocksource"));
    set(environment, "governor", governor(root, allowed));
    set(environment, "turbo", turbo(root));
    set(environment, "memory_bytes", memory_bytes(root));
    set(environment, "load_1m", load_1m(root));
    set(environment, "somaxconn", file_number(root, "proc/sys/net/core/somaxconn"));
    set(environment, "tcp_congestion",
        file_string(root, "proc/sys/net/ipv4/tcp_congestion_control"));
}

static void add_build(json_t *environment) {
    const char *revision = NULL, *compiler = NULL, *flags = NULL;
#ifdef LOOPMARK_REVISION
    revision = LOOPMARK_REVISION;
#endif
#ifdef LOOPMARK_COMPILER
    compiler = LOOPMARK_COMPILER;
#elif defined(__clang__)
    compiler = __VERSION__; /* begins with its name */
#else
    compiler = "gcc " __VERSION__;
#endif
#ifdef LOOPMARK_FLAGS
    flags = LOOPMARK_FLAGS;
#endif
    set(environment, "revision", json_string(revision));
    set(environment, "compiler", json_string(compiler));
    set(environment, "compiler_flags", json_string(flags));
}

static void add_libraries(json_t *environment) {
    json_t *libraries = json_object();
    struct loop_info info;
    set(libraries, "jansson", json_string(jansson_version_str()));
    set(libraries, "libc", json_string(gnu_get_libc_version()));
    for (size_t i = 0; loop_info(i, &info); i++)
        if (info.built_on && !info.variant_of)
            set(libraries, info.name, json_string(info.built_on));
    set(environment, "libraries", libraries);
}

json_t *environment_capture_from(const char *root, const cpu_set_t *allowed) {
    json_t *environment = json_object();
    cpu_set_t cpus;
    char caption[VALUE_BYTES];
    if (!environment)
        return NULL;
    if (allowed)
        cpus = *allowed;
    else if (own_affinity(&cpus))
        CPU_ZERO(&cpus);
    add_system(environment);
    add_cpu_model(environment, root);
    add_cpus(environment, root, &cpus);
    add_files(environment, root, &cpus);
    add_build(environment);
    add_libraries(environment);
    json_t *warnings = json_array();
    environment_warnings(environment, warnings);
    environment_caption(environment, caption, sizeof caption);
    set(environment, "caption", json_string(caption));
    set(environment, "warnings", warnings);
    return environment;
}

json_t *environment_capture(void) {
    return environment_capture_from("/", NULL);
}

/* ---- the caption ----------------------------------------------------------------------------- */

static const char *string_of(const json_t *environment, const char *name) {
    return json_string_value(json_object_get(environment, name));
}

/* A number, or `unknown` where it is null. */
static double number_of(const json_t *environment, const char *name, double unknown) {
    const json_t *value = json_object_get(environment, name);
    return json_is_number(value) ? json_number_value(value) : unknown;
}

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...) {
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

void environment_caption(const json_t *environment, char *text, size_t size) {
    CHECK(size > 0);
    int count = (int)number_of(environment, "cpus_allowed_count", 0);
    const char *model = string_of(environment, "cpu_model");
    const char *kernel = string_of(environment, "kernel");
    const char *vendor = string_of(environment, "hypervisor_vendor");
    text[0] = '\0';
    if (count > 0)
        append(text, size, "%d × ", count);
    if (!model)
        model = string_of(environment, "machine");
    append(text, size, "%s", model ? model : "unknown CPU");
    if (kernel) { /* "6.18", not "6.18.5-amd64" */
        size_t major = strcspn(kernel, ".");
        size_t minor = kernel[major] == '.' ? 1 + strspn(kernel + major + 1, "0123456789") : 0;
        append(text, size, ", Linux %.*s", (int)(major + minor), kernel);
    }
    if (vendor)
        append(text, size, ", %s", vendor);
    else if (json_is_true(json_object_get(environment, "hypervisor")))
        append(text, size, ", virtual");
}

void environment_note_kept_awake(json_t *environment) {
    const char *caption = string_of(environment, "caption");
    json_object_set_new(environment, "caption",
                        json_sprintf("%s, kept awake", caption ? caption : ""));
    json_array_append_new(
        json_object_get(environment, "warnings"),
        json_string("The CPUs were kept from sleeping (--keep-awake): what waking up costs is in "
                    "no latency."));
}

/* ---- the warnings ---------------------------------------------------------------------------- */

/* Load, as a share of the CPUs, from which others are taken to be in the way. */
#define LOAD_SHARE 0.25

enum { SENTENCE_BYTES = 512 };

static bool one_cpu(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    snprintf(sentence, SENTENCE_BYTES,
             "Only one CPU may be used: server and generator share it, and nothing is ranked.");
    return number_of(environment, "cpus_allowed_count", 2) < 2;
}

static bool one_core(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    snprintf(
        sentence, SENTENCE_BYTES,
        "The CPUs that may be used are hardware threads of one core: server and generator slow "
        "each other, and nothing is ranked.");
    return number_of(environment, "cpus_allowed_count", 0) > 1 &&
           number_of(environment, "cores_allowed", 2) < 2;
}

/* No cpufreq, as in most virtual machines, is no reason to warn: nothing could be done about it. */
static bool slow_governor(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    const char *name = string_of(environment, "governor");
    snprintf(
        sentence, SENTENCE_BYTES,
        "The CPU frequency governor is %s, not performance: figures depend on how warm the CPU "
        "is.",
        name ? name : "unknown");
    return name && strcmp(name, "performance") != 0;
}

static bool turbo_on(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    snprintf(sentence, SENTENCE_BYTES,
             "Turbo is on: the CPU frequency depends on temperature and on what other cores do.");
    return json_is_true(json_object_get(environment, "turbo"));
}

/* Elsewhere than on x86 the clock source has other names and is as cheap. */
static bool slow_clock(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    const char *name = string_of(environment, "clock_source");
    const char *machine = string_of(environment, "machine");
    snprintf(sentence, SENTENCE_BYTES,
             "The clock source is %s, not tsc: reading the time costs more, up to a system call.",
             name ? name : "unknown");
    return name && strcmp(name, "tsc") != 0 && machine && strcmp(machine, "x86_64") == 0;
}

static bool busy_machine(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    double load = number_of(environment, "load_1m", 0);
    double cpus = number_of(environment, "cpus_online", 0);
    snprintf(sentence, SENTENCE_BYTES,
             "The load average at the start was %.2f on %.0f CPUs: something else was running.",
             load, cpus);
    return cpus > 0 && load > LOAD_SHARE * cpus;
}

static bool virtual_machine(const json_t *environment, char sentence[SENTENCE_BYTES]) {
    snprintf(sentence, SENTENCE_BYTES,
             "This is a virtual machine: other guests may take time from it, which is watched as "
             "steal, and a sleeping CPU wakes late (--keep-awake keeps it from sleeping).");
    return json_is_true(json_object_get(environment, "hypervisor"));
}

size_t environment_warnings(const json_t *environment, json_t *warnings) {
    static bool (*const tests[])(const json_t *, char[SENTENCE_BYTES]) = {
        one_cpu, one_core, slow_governor, turbo_on, slow_clock, busy_machine, virtual_machine,
    };
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        char sentence[SENTENCE_BYTES];
        if (tests[i](environment, sentence)) {
            json_array_append_new(warnings, json_string(sentence));
            count++;
        }
    }
    return count;
}

/* ---- versions of commands -------------------------------------------------------------------- */

#define COMMAND_TIME_NS (5 * NS_PER_S)

static int spawn(const char *const *command, int output, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure)
        return -failure;
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    failure =
        posix_spawnp(pid, command[0], &actions, NULL, (char *const *)(uintptr_t)command, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -failure;
}

/* Reads until the end of the output, keeping what fits. */
static int read_output(int fd, char *text, size_t size, uint64_t deadline_ns) {
    for (size_t used = 0;;) {
        char rest[512];
        uint64_t now_ns = clock_now_ns();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int left_ms = now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / NS_PER_MS) : 0;
        int polled = poll(&ready, 1, left_ms);
        if (polled == 0)
            return -ETIMEDOUT;
        if (polled < 0 && errno == EINTR)
            continue;
        bool full = used == size - 1;
        ssize_t n = read(fd, full ? rest : text + used, full ? sizeof rest : size - 1 - used);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (!full)
            used += (size_t)n;
        text[used] = '\0';
    }
}

/* Waits for its end; a program may go on after closing its output. */
static int reap(pid_t pid, uint64_t deadline_ns) {
    int status;
    pid_t ended;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && clock_now_ns() < deadline_ns)
        usleep(1000);
    if (ended == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return -ETIMEDOUT;
    }
    return ended > 0 && status == 0 ? 0 : -EIO;
}

int environment_command_version(const char *const *command, char *text, size_t size) {
    int output[2];
    pid_t pid;
    CHECK(size > 1);
    text[0] = '\0';
    if (pipe2(output, O_CLOEXEC))
        return -errno;
    int failure = spawn(command, output[1], &pid);
    close(output[1]);
    if (!failure) {
        uint64_t deadline_ns = clock_now_ns() + COMMAND_TIME_NS;
        failure = read_output(output[0], text, size, deadline_ns);
        int ending = reap(pid, failure ? 0 : deadline_ns);
        failure = failure ? failure : ending;
    }
    close(output[0]);
    text[strcspn(text, "\r\n")] = '\0';
    if (!failure && text[0] == '\0')
        failure = -EIO;
    if (failure)
        text[0] = '\0';
    return failure;
}
