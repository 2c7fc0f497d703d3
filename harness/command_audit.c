/* command_audit.c: `loopmark audit`, the system calls of a request on every loop, beside what they
 * should be and beside servers written by hand. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/environment.h"
#include "harness/interrupt.h"
#include "harness/load.h"
#include "harness/load_knobs.h"
#include "harness/progress.h"
#include "harness/record.h"
#include "harness/server.h"
#include "harness/source.h"
#include "harness/validity.h"
#include "loops/check.h"
#include "loops/clock.h"
#include "loops/loop.h"

static const char help[] =
    "usage: loopmark audit [LOOP…] [OPTIONS]\n"
    "\n"
    "  LOOP…               only these (all that can run here, and the controls)\n"
    "  -c, --connections N connections that ask (100)\n"
    "  -n, --requests N    counted after a warm-up (50k)\n"
    "      --set K=V       any other knob: size_bytes, idle_connections, in_flight, …\n"
    "      --unix          over unix sockets instead of TCP\n"
    "      --json          one JSON object on stdout\n"
    "  -q, --quiet         no progress\n"
    "\n"
    "One echo server after another under the same load. Per request: calls by kind, then what the\n"
    "loop's way of working makes them (a wait is shared by the events it returns). `raw-` are\n"
    "controls, written by hand on the same interface, without loopmark's loops. libuv's waits are\n"
    "counted as its passes, and its own epoll_ctl calls cannot be seen: strace has them.\n"
    "CPU times are of one run each: to compare them, `loopmark run loop-cost`.\n"
    "\n"
    "examples:\n"
    "  loopmark audit\n"
    "  loopmark audit epoll raw-epoll -c 1\n"
    "  loopmark audit --set size_bytes=100KiB --json | jq '.servers[] | {name, calls}'\n"
    "\n"
    "exit codes: 0 ok, 1 a server or the load failed, 2 usage, 130 interrupted\n";

static const char every_descriptor[] = "a wait looks at every descriptor, ready or not";

/* What one request of one read and one send should cost beside its share of a wait. `note` is what
 * the calls do not tell. */
static const struct model {
    const char *name;
    double read, send, control;
    const char *note;
} models[] = {
    {"select", 1, 1, 0, every_descriptor},
    {"poll", 1, 1, 0, every_descriptor},
    {"epoll", 1, 1, 0, NULL},
    {"epoll-et", 1, 1, 0, NULL},
    {"epoll-spin", 1, 1, 0, NULL},
    {"epoll-writeend", 1, 1, 0, NULL},
    {"libuv", 1, 1, 0, NULL},
    {"libuv-write", 1, 1, 0, "and 1 epoll_ctl by libuv"},
    {"io_uring", 0, 0, 0, NULL},
    {"raw-epoll", 1, 1, 0, NULL},
    {"raw-libuv", 1, 1, 0, NULL},
    {"raw-io_uring", 0, 0, 0, NULL},
};

static const struct {
    const char *name, *program;
} controls[] = {
    {"raw-epoll", "build/servers/raw_epoll"},
    {"raw-libuv", "build/servers/raw_libuv"},
    {"raw-io_uring", "build/servers/raw_io_uring"},
};

enum { SERVERS_MOST = 32 };
static const char *const call_names[] = {"wait", "read", "send", "control", "accept", NULL};
enum { CALLS = ARRAY_LENGTH(call_names) - 1 };

struct audited {
    const char *name;
    const char *loop, *program; /* one of them */
    double calls[CALLS];        /* per request; NAN: not known */
    double events_per_wait, cpu_us;
    bool copied;
};

struct options {
    struct load_plan plan;
    struct cpu_plan cpus;
    bool unix_socket, json, quiet;
    struct audited servers[SERVERS_MOST];
    size_t server_count;
};

static const struct option long_options[] = {
    {"connections", required_argument, NULL, 'c'},
    {"requests", required_argument, NULL, 'n'},
    {"set", required_argument, NULL, 's'},
    {"unix", no_argument, NULL, 'u'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

/* ---- reading the command line ---------------------------------------------------------------- */

static int parse_requests(const char *text, uint64_t *requests, struct error *error) {
    double value;
    if (command_parse_number("--requests", KNOB_COUNT, 1, 1e9, text, &value, error))
        return -EINVAL;
    *requests = (uint64_t)value;
    return 0;
}

static int take_option(struct options *options, int option, const char *text, struct error *error) {
    switch (option) {
    case 'c':
        return knob_set(&options->plan.knobs, "connections", text, error);
    case 'n':
        return parse_requests(text, &options->plan.requests, error);
    case 's':
        return knob_set_pair(&options->plan.knobs, text, error);
    case 'u':
        options->unix_socket = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    default:
        return -EINVAL; /* getopt has said what is wrong */
    }
}

static void add_server(struct options *options, const char *name, const char *loop,
                       const char *program) {
    CHECK(options->server_count < SERVERS_MOST);
    options->servers[options->server_count++] =
        (struct audited){.name = name, .loop = loop, .program = program, .cpu_us = NAN};
}

static int add_named(struct options *options, const char *name, struct error *error) {
    struct loop_info info;
    for (size_t i = 0; i < ARRAY_LENGTH(controls); i++)
        if (strcmp(controls[i].name, name) == 0) {
            add_server(options, name, NULL, controls[i].program);
            return server_check_need(controls[i].program, error) ? -EINVAL : 0;
        }
    if (loop_info_by_name(name, &info, error))
        return -EINVAL;
    if (info.control)
        return error_set(error, -EINVAL, "%s moves no bytes: there is nothing to audit", name);
    add_server(options, info.name, info.name, NULL);
    return 0;
}

static void add_all(struct options *options) {
    struct loop_info info;
    for (size_t i = 0; loop_info(i, &info); i++) {
        if (info.available && !info.control)
            add_server(options, info.name, info.name, NULL);
        else if (!info.control)
            fprintf(stderr, "loopmark audit: %s left out: %s\n", info.name, info.reason.text);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(controls); i++) {
        struct error reason;
        if (server_check_need(controls[i].program, &reason) == 0)
            add_server(options, controls[i].name, NULL, controls[i].program);
        else
            fprintf(stderr, "loopmark audit: %s left out: %s\n", controls[i].name, reason.text);
    }
}

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    struct load_plan *plan = &options->plan;
    *options = (struct options){.plan = {.seed = 1, .requests = 50000, .control_fd = -1}};
    plan->workload = workload_find("echo", error);
    CHECK(plan->workload);
    knob_values_init(&plan->knobs, plan->workload->knobs, load_knobs);
    knob_set_number(&plan->knobs, "warmup", 100.0 * NS_PER_MS);
    optind = 0;
    while ((option = getopt_long(argc, argv, "c:n:q", long_options, NULL)) != -1)
        if (take_option(options, option, optarg, error))
            return -EINVAL;
    for (int i = optind; i < argc; i++)
        if (options->server_count == SERVERS_MOST || add_named(options, argv[i], error))
            return -EINVAL;
    if (optind == argc)
        add_all(options);
    return cpu_plan_choose("/", NULL, &options->cpus, error);
}

/* ---- one server ------------------------------------------------------------------------------ */

static void count_ours(struct audited *audited, const json_t *server) {
    const json_t *calls = json_object_get(server, "syscalls_per_request");
    for (size_t i = 0; i < CALLS; i++) {
        const json_t *value = json_object_get(calls, call_names[i]);
        audited->calls[i] = value ? json_number_value(value) : NAN;
    }
    const json_t *events = json_object_get(server, "events_per_wait");
    audited->events_per_wait = json_is_number(events) ? json_number_value(events) : NAN;
    audited->copied = json_integer_value(json_object_get(server, "copied_bytes")) > 0;
}

/* A control's last words: "syscalls wait=N read=N … requests=N", over its whole life. */
static void count_control(struct audited *audited, int output_fd) {
    char text[4096] = "";
    ssize_t length = pread(output_fd, text, sizeof text - 1, 0);
    const char *line = length > 0 ? strstr(text, "syscalls ") : NULL;
    const char *at = line ? strstr(line, "requests=") : NULL;
    double requests = at ? strtod(at + strlen("requests="), NULL) : 0;
    for (size_t i = 0; i < CALLS; i++) {
        char key[32];
        snprintf(key, sizeof key, " %s=", call_names[i]);
        at = line ? strstr(line, key) : NULL;
        audited->calls[i] = at && requests > 0 ? strtod(at + strlen(key), NULL) / requests : NAN;
    }
    audited->events_per_wait = 1 / audited->calls[0];
}

static int load_it(const struct options *options, const struct server_process *server,
                   struct audited *audited, struct error *error) {
    struct load_plan plan = options->plan;
    struct load *load;
    struct validity validity;
    plan.target = server->address;
    plan.cpus = options->cpus.generator;
    plan.server_pid = server->pid;
    plan.control_fd = server->control_fd;
    int failure = load_start(&plan, &load, error);
    if (failure)
        return failure;
    while (!load_wait(load, 200))
        if (interrupted)
            load_stop(load);
    const struct load_result *result = load_result(load);
    if (interrupted)
        failure = -EINTR;
    else if (!result->finished)
        failure = error_set(error, -EIO, "%s: %s", audited->name, result->failure.text);
    else {
        validity_judge(result, &plan, 0, options->cpus.shared, &validity);
        json_t *record = record_load(&plan, result, &validity);
        const json_t *of_server = json_object_get(record, "server");
        const json_t *cpu_us = json_object_get(of_server, "cpu_us_per_request");
        audited->cpu_us = json_is_number(cpu_us) ? json_number_value(cpu_us) : NAN;
        if (audited->loop)
            count_ours(audited, of_server);
        json_decref(record);
    }
    load_free(load);
    return failure;
}

static int audit(const struct options *options, struct audited *audited, struct error *error) {
    struct server_process server;
    char command[128] = "";
    if (audited->program)
        snprintf(command, sizeof command, "%s --listen {listen}", audited->program);
    struct server_plan plan = {
        .loop = audited->loop,
        .command = audited->program ? command : NULL,
        .directory = source_directory(),
        .workload = options->plan.workload,
        .knobs = &options->plan.knobs,
        .cpus = options->cpus.server,
        .unix_socket = options->unix_socket,
    };
    int failure = server_start(&plan, &server, error);
    if (failure)
        return failure;
    failure = load_it(options, &server, audited, error);
    int output_fd = dup(server.output_fd); /* its last words come at its end */
    server_stop(&server);
    if (audited->program && !failure)
        count_control(audited, output_fd);
    close(output_fd);
    return failure;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct model *model_of(const char *name) {
    for (size_t i = 0; i < ARRAY_LENGTH(models); i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    return NULL;
}

static double total(const struct audited *audited) {
    double sum = 0;
    for (size_t i = 0; i < CALLS; i++)
        sum += audited->calls[i];
    return sum;
}

/* One read and one send a request hold only where a message fits into one of each. */
static double expected(const struct audited *audited, const struct knob_values *knobs) {
    const struct model *model = model_of(audited->name);
    if (!model || knob_get(knobs, "size_bytes") >= LOOP_RECEIVE_BYTES ||
        knob_get(knobs, "in_flight") > 1)
        return NAN;
    return audited->calls[0] + model->read + model->send + model->control;
}

static void print_number(double value, int width, int decimals) {
    if (isfinite(value))
        printf(" %*.*f", width, decimals, value);
    else
        printf(" %*s", width, "-");
}

static void print_server(const struct audited *audited, const struct knob_values *knobs) {
    const struct model *model = model_of(audited->name);
    double should_be = expected(audited, knobs), is = total(audited);
    printf("%-15s", audited->name);
    for (size_t i = 0; i < CALLS; i++)
        print_number(audited->calls[i], 8, 3);
    print_number(is, 8, 3);
    print_number(should_be, 10, 3);
    print_number(audited->events_per_wait, 12, 1);
    print_number(audited->cpu_us, 9, 2);
    if (isfinite(should_be) && fabs(is - should_be) > 0.01)
        printf("   %+.3f", is - should_be);
    if (model && model->note)
        printf("   %s", model->note);
    if (audited->copied)
        printf("   copies bytes");
    printf("\n");
}

static void print_table(const struct options *options) {
    printf("%-15s", "a request's");
    for (size_t i = 0; i < CALLS; i++)
        printf(" %8s", call_names[i]);
    printf(" %8s %10s %12s %9s\n", "total", "expected", "events/wait", "CPU, us");
    for (size_t i = 0; i < options->server_count; i++)
        print_server(&options->servers[i], &options->plan.knobs);
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_json(const struct options *options) {
    json_t *servers = json_array();
    for (size_t i = 0; i < options->server_count; i++) {
        const struct audited *audited = &options->servers[i];
        const struct model *model = model_of(audited->name);
        json_t *calls = json_object();
        for (size_t k = 0; k < CALLS; k++)
            json_object_set_new(calls, call_names[k], number(audited->calls[k]));
        json_array_append_new(servers,
                              json_pack("{s:s, s:b, s:o, s:o, s:o, s:s?, s:o, s:o, s:b}", "name",
                                        audited->name, "control", audited->program != NULL, "calls",
                                        calls, "total", number(total(audited)), "expected",
                                        number(expected(audited, &options->plan.knobs)), "note",
                                        model ? model->note : NULL, "events_per_wait",
                                        number(audited->events_per_wait), "cpu_us_per_request",
                                        number(audited->cpu_us), "copies_bytes", audited->copied));
    }
    json_t *root = json_pack("{s:i, s:o, s:o}", "schema", 1, "knobs",
                             record_knobs(&options->plan.knobs), "servers", servers);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(root);
}

/* ---- all ------------------------------------------------------------------------------------- */

static int audit_all(struct options *options, struct error *error) {
    struct progress progress;
    int failure = 0;
    progress_begin(&progress, options->quiet);
    interrupt_catch();
    for (size_t i = 0; i < options->server_count && !failure && !interrupted; i++) {
        progress_status(&progress, "[%zu/%zu] %s", i + 1, options->server_count,
                        options->servers[i].name);
        failure = audit(options, &options->servers[i], error);
    }
    progress_end(&progress);
    return interrupted ? -EINTR : failure;
}

static int run(int argc, char **argv, struct error *error) {
    struct options *options = calloc(1, sizeof *options);
    if (!options)
        return EXIT_FAILED;
    int code = EXIT_USAGE;
    if (read_options(options, argc, argv, error) == 0) {
        int failure = audit_all(options, error);
        code = failure == -EINTR ? EXIT_INTERRUPTED : failure ? EXIT_FAILED : EXIT_OK;
        if (!failure && options->json)
            print_json(options);
        else if (!failure)
            print_table(options);
    }
    free(options);
    return code;
}

const struct command command_audit = {.name = "audit",
                                      .summary = "count the system calls of a request on each loop",
                                      .help = help,
                                      .run = run};
