/* command_load.c: `loopmark load`, a load on any server that speaks a known protocol. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/environment.h"
#include "harness/file.h"
#include "harness/interrupt.h"
#include "harness/latency_log.h"
#include "harness/load.h"
#include "harness/load_knobs.h"
#include "harness/percentile_table.h"
#include "harness/progress.h"
#include "harness/record.h"
#include "harness/units.h"
#include "harness/validity.h"

static const char help[] =
    "usage: loopmark load URL [OPTIONS]\n"
    "\n"
    "  URL                 tcp://HOST:PORT or unix:PATH, an echo server\n"
    "  -c, --connections N connections that ask (100)\n"
    "  -t, --threads N     threads of the generator (1)\n"
    "  -d, --duration T    measure for this long: 10s, 500ms, 2min (10s)\n"
    "  -n, --requests N    measure this many requests instead\n"
    "      --rate R        open loop: R requests per second by the clock, whatever the server\n"
    "                      does; latency counts from when each was due. Without it: closed loop\n"
    "      --arrivals A    constant or poisson (with --rate)\n"
    "      --warmup T      load before measuring (500ms)\n"
    "      --timeout T     longest wait for an answer; counts as at least that long (2s)\n"
    "      --set K=V       any other knob: size_bytes, in_flight, idle_connections, …\n"
    "                      (`loopmark list` has them all); may be repeated\n"
    "      --verify        check every byte of every answer\n"
    "      --seed N        of poisson arrivals (1)\n"
    "      --pid PID       the server's process: its CPU time per request is reported too\n"
    "      --cpus LIST     run the generator on these CPUs, e.g. 1 or 2-3\n"
    "      --no-spin       sleep until a request is due (adds wake-up time to latencies)\n"
    "      --json          one JSON object on stdout (results/README.md has its keys)\n"
    "      --hgrm FILE     response times as HdrHistogram percentile text, in ms\n"
    "      --hlog FILE     response times as HdrHistogram log, a line a second while it runs\n"
    "  -q, --quiet         no progress\n"
    "\n"
    "Only the host you name is loaded, and only for the time you say.\n"
    "\n"
    "examples:\n"
    "  loopmark load tcp://127.0.0.1:7000 -c 50 -d 10s\n"
    "  loopmark load tcp://127.0.0.1:7000 -c 50 -d 30s --rate 20k --arrivals poisson\n"
    "  loopmark load tcp://127.0.0.1:7000 --rate 5k --hlog run.hlog; loopmark hist run.hlog\n"
    "  loopmark load unix:/tmp/echo.sock -n 100k --set size_bytes=100KiB --json | jq .response_ns\n"
    "  loopmark load tcp://[::1]:7000 --set idle_connections=900 --pid $(pidof my-server)\n"
    "\n"
    "exit codes: 0 ok, 1 the target or the tool failed, 2 usage, 5 measured but not valid,\n"
    "            130 interrupted (what was measured until then is printed)\n";

struct options {
    struct load_plan plan;
    const char *url, *hgrm_path, *hlog_path;
    bool json, quiet;
    struct latency_log log;
};

/* Options that are short for a knob. */
static const struct option long_options[] = {
    {"connections", required_argument, NULL, 'c'},
    {"threads", required_argument, NULL, 't'},
    {"duration", required_argument, NULL, 'd'},
    {"requests", required_argument, NULL, 'n'},
    {"rate", required_argument, NULL, 'r'},
    {"arrivals", required_argument, NULL, 'a'},
    {"warmup", required_argument, NULL, 'w'},
    {"timeout", required_argument, NULL, 'T'},
    {"set", required_argument, NULL, 's'},
    {"verify", no_argument, NULL, 'v'},
    {"seed", required_argument, NULL, 'S'},
    {"pid", required_argument, NULL, 'p'},
    {"cpus", required_argument, NULL, 'C'},
    {"no-spin", no_argument, NULL, 'N'},
    {"json", no_argument, NULL, 'j'},
    {"hgrm", required_argument, NULL, 'H'},
    {"hlog", required_argument, NULL, 'L'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

static const struct {
    int option;
    const char *knob;
} knob_options[] = {
    {'c', "connections"}, {'t', "threads"}, {'d', "duration"}, {'r', "rate"},
    {'a', "arrivals"},    {'w', "warmup"},  {'T', "timeout"},
};

/* ---- reading the command line ---------------------------------------------------------------- */

static int parse_count(const char *text, const char *option, double most, uint64_t *count,
                       struct error *error) {
    double value;
    if (command_parse_number(option, KNOB_COUNT, 1, most, text, &value, error))
        return -EINVAL;
    *count = (uint64_t)value;
    return 0;
}

static int set_knob_option(struct load_plan *plan, int option, const char *text,
                           struct error *error) {
    for (size_t i = 0; i < ARRAY_LENGTH(knob_options); i++)
        if (knob_options[i].option == option)
            return knob_set(&plan->knobs, knob_options[i].knob, text, error);
    return -EINVAL;
}

static int take_option(struct options *options, int option, const char *text, struct error *error) {
    struct load_plan *plan = &options->plan;
    uint64_t number;
    int failure = 0;
    switch (option) {
    case 'n':
        return parse_count(text, "--requests", 4e9, &plan->requests, error);
    case 'S':
        return parse_count(text, "--seed", 1e15, &plan->seed, error);
    case 'p':
        failure = parse_count(text, "--pid", 4194304, &number, error);
        plan->server_pid = failure ? 0 : (pid_t)number;
        return failure;
    case 's':
        return knob_set_pair(&plan->knobs, text, error);
    case 'C':
        return cpu_list_parse(text, &plan->cpus, error);
    case 'v':
        plan->verify = true;
        return 0;
    case 'N':
        plan->no_spin = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case 'H':
        options->hgrm_path = text;
        return 0;
    case 'L':
        options->hlog_path = text;
        return 0;
    default:
        return set_knob_option(plan, option, text, error);
    }
}

/* The URL comes first in meaning, though it may stand anywhere: it decides which knobs there are.
 */
static int find_url(struct options *options, int argc, char **argv, struct error *error) {
    struct load_plan *plan = &options->plan;
    int option;
    while ((option = getopt_long(argc, argv, "c:t:d:n:q", long_options, NULL)) != -1)
        if (option == '?')
            return -EINVAL; /* getopt has said what is wrong */
    if (optind >= argc)
        return error_set(error, -EINVAL, "which server? give a URL such as tcp://127.0.0.1:7000");
    if (optind + 1 < argc)
        return error_set(error, -EINVAL, "one URL only, but there is also '%s'", argv[optind + 1]);
    options->url = argv[optind];
    plan->workload = workload_for_url(options->url, &plan->target, error);
    return plan->workload ? 0 : -EINVAL;
}

static void set_default_duration(struct load_plan *plan) {
    size_t index = 0;
    CHECK(knob_find(&plan->knobs, "duration", &index));
    plan->knobs.values[index] = 10.0 * NS_PER_S; /* knob_set_number would call it given */
}

static bool given(const struct load_plan *plan, const char *knob) {
    size_t index = 0;
    CHECK(knob_find(&plan->knobs, knob, &index));
    return plan->knobs.given[index];
}

/* What was given is never silently left out. */
static int check_meaning(const struct load_plan *plan, struct error *error) {
    if (given(plan, "arrivals") && knob_get(&plan->knobs, "rate") == 0)
        return error_set(error, -EINVAL, "--arrivals is of an open loop: it needs --rate");
    if (given(plan, "duration") && plan->requests > 0)
        return error_set(error, -EINVAL, "either --duration or --requests, not both");
    bool unix_socket = endpoint_is_unix(&plan->target);
    if (given(plan, "transport") &&
        (knob_get(&plan->knobs, "transport") == TRANSPORT_UNIX) != unix_socket)
        return error_set(error, -EINVAL, "transport: the URL is of a %s, and it is what counts",
                         unix_socket ? "unix socket" : "TCP port");
    return 0;
}

static int check_plan(const struct load_plan *plan, struct error *error) {
    double threads = knob_get(&plan->knobs, "threads");
    if (threads > knob_get(&plan->knobs, "connections"))
        return error_set(error, -EINVAL, "%.0f threads need at least as many connections", threads);
    if (plan->requests > 0 && (double)plan->requests < threads)
        return error_set(error, -EINVAL, "%.0f threads need at least as many requests", threads);
    if (plan->server_pid > 0 && kill(plan->server_pid, 0) && errno == ESRCH)
        return error_set(error, -EINVAL, "there is no process %d", (int)plan->server_pid);
    return 0;
}

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    *options = (struct options){.plan = {.seed = 1, .control_fd = -1}};
    struct load_plan *plan = &options->plan;
    if (find_url(options, argc, argv, error))
        return -EINVAL;
    knob_values_init(&plan->knobs, plan->workload->knobs, load_knobs);
    set_default_duration(plan);
    optind = 0;
    while ((option = getopt_long(argc, argv, "c:t:d:n:q", long_options, NULL)) != -1)
        if (option == '?' || take_option(options, option, optarg, error))
            return -EINVAL;
    if (check_meaning(plan, error))
        return -EINVAL;
    knob_set_number(&plan->knobs, "transport",
                    endpoint_is_unix(&plan->target) ? TRANSPORT_UNIX : TRANSPORT_TCP);
    return check_plan(plan, error);
}

/* ---- while it runs --------------------------------------------------------------------------- */

static void show_progress(struct progress *progress, const struct load_plan *plan,
                          const struct load_result *result, uint64_t since_ns) {
    char rate[UNITS_TEXT_BYTES], p50[UNITS_TEXT_BYTES], p99[UNITS_TEXT_BYTES], left[64] = "";
    uint32_t count = result->interval_count;
    double passed_ns = (double)(clock_now_ns() - since_ns);
    double whole_ns = knob_get(&plan->knobs, "warmup") + knob_get(&plan->knobs, "duration");
    if (plan->requests == 0 && whole_ns > passed_ns)
        snprintf(left, sizeof left, ", %.0f s left", ceil((whole_ns - passed_ns) / 1e9));
    if (count == 0) {
        progress_status(progress, "%u connections open, warming up%s",
                        atomic_load(&result->connected), left);
        return;
    }
    const struct load_interval *last = &result->intervals[count - 1];
    progress_status(progress, "%.0f s: %s, p50 %s, p99 %s, %llu errors%s",
                    (double)last->at_ns / 1e9,
                    units_rate((double)last->requests * 1e9 / (double)last->length_ns, rate),
                    units_time(last->p50_ns ? (double)last->p50_ns : NAN, p50),
                    units_time(last->p99_ns ? (double)last->p99_ns : NAN, p99),
                    (unsigned long long)last->errors, left);
}

static void wait_for_end(struct load *load, const struct options *options) {
    struct progress progress;
    uint64_t since_ns = clock_now_ns();
    progress_begin(&progress, options->quiet);
    interrupt_catch();
    while (!load_wait(load, 200)) {
        if (interrupted)
            load_stop(load);
        show_progress(&progress, &options->plan, load_result(load), since_ns);
    }
    progress_end(&progress);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static void print_latency(const char *name, const struct histogram *histogram,
                          const struct load_result *result) {
    static const double quantiles[] = {0.5, 0.9, 0.95, 0.99, 0.999, 0.9999};
    char text[UNITS_TEXT_BYTES];
    if (histogram->total == 0)
        return;
    printf("  %-9s", name);
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        bool valid = histogram_quantile_valid(histogram, quantiles[i]) &&
                     !(result && validity_lag_matters(result, quantiles[i]));
        double ns = valid ? (double)histogram_quantile(histogram, quantiles[i]) : NAN;
        printf(" %9s", units_time(ns, text));
    }
    printf(" %9s\n", units_time((double)histogram->max, text));
}

static void print_p99_interval(const struct histogram *histogram) {
    char low_text[UNITS_TEXT_BYTES], high_text[UNITS_TEXT_BYTES];
    uint64_t low, high;
    if (histogram_quantile_valid(histogram, 0.99) &&
        histogram_quantile_interval(histogram, 0.99, 0.95, &low, &high))
        printf("            p99 within this run: %s to %s (95 %%)\n",
               units_time((double)low, low_text), units_time((double)high, high_text));
}

static void print_rate(const struct load_plan *plan, const struct load_result *result) {
    char rate[UNITS_TEXT_BYTES], count[UNITS_TEXT_BYTES], length[UNITS_TEXT_BYTES];
    printf("%s, %u connections, %s after %s of warm-up\n", plan->workload->name,
           result->connections, units_duration((double)result->window_ns, length),
           units_duration(knob_get(&plan->knobs, "warmup"), rate));
    if (result->open_loop)
        printf("  open loop: %.1f requests/s sent of %.1f/s due (%s)\n", result->achieved_rate,
               result->offered_rate,
               knob_get(&plan->knobs, "arrivals") == ARRIVALS_POISSON ? "poisson" : "constant");
    else
        printf("  closed loop: %s requests/s\n", units_count(result->achieved_rate, rate));
    printf("  %s answers", units_count((double)result->requests, count));
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        if (result->errors[i])
            printf(", %llu %s", (unsigned long long)result->errors[i], load_error_names[i]);
    printf("\n");
}

static void print_cpu(const struct load_result *result, const struct validity *validity) {
    double answers = (double)result->answers;
    double server_us = record_server_cpu_us(result);
    printf("  generator %.0f %% busy, %.2f us CPU per request", result->busy * 100,
           answers > 0 ? (double)(result->cpu_ns - result->spin_ns) / 1e3 / answers : NAN);
    if (server_us >= 0)
        printf("; server %.0f %% busy, %.2f us CPU per request", validity->server_busy * 100,
               server_us);
    printf("\n");
}

static void print_result(const struct load_plan *plan, const struct load_result *result,
                         const struct validity *validity) {
    static const char *const words[] = {
        [BOUND_NONE] = "",
        [BOUND_SERVER] = " (the server is saturated: this is its capacity)",
        [BOUND_CO_LIMITED] =
            " (generator and server both saturated: a lower bound of its capacity)",
        [BOUND_LATENCY] = " (neither side is saturated: round trips of so many connections)",
        [BOUND_GENERATOR] = "",
    };
    print_rate(plan, result);
    printf("\n  latency         p50       p90       p95       p99     p99.9    p99.99       max\n");
    if (result->open_loop)
        print_latency("response", &result->response, result);
    print_latency("service", &result->service, NULL);
    if (result->open_loop)
        print_latency("lag", &result->lag, NULL);
    print_p99_interval(load_latency(result));
    printf("\n");
    print_cpu(result, validity);
    printf("  %s%s\n", validity->valid ? "valid" : "NOT VALID:", words[validity->bound]);
    for (size_t i = 0; i < validity->reason_count; i++)
        printf("    - %s\n", validity->reasons[i]);
    if (result->interrupted)
        printf("  interrupted: this is what was measured until then\n");
}

static int write_hgrm(FILE *file, void *data) {
    return percentile_table_write(data, file, PERCENTILE_TABLE_HGRM, PERCENTILE_TABLE_TICKS, 1e6);
}

static int write_results(const struct options *options, const struct load_result *result,
                         const struct validity *validity, struct error *error) {
    if (options->json) {
        json_t *record = record_load(&options->plan, result, validity);
        json_dumpf(record, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        printf("\n");
        json_decref(record);
    } else
        print_result(&options->plan, result, validity);
    return options->hgrm_path ? file_write_whole(options->hgrm_path, write_hgrm,
                                                 (void *)load_latency(result), error)
                              : 0;
}

static int exit_code(const struct load_result *result, const struct validity *validity) {
    if (result->interrupted)
        return EXIT_INTERRUPTED;
    return validity->valid ? EXIT_OK : EXIT_NOT_VALID;
}

/* ---- the log, written while it runs ---------------------------------------------------------- */

static bool writes_to_stdout(const char *path) {
    struct stat file, output;
    return strcmp(path, "-") == 0 ||
           (stat(path, &file) == 0 && fstat(STDOUT_FILENO, &output) == 0 && S_ISREG(file.st_mode) &&
            file.st_dev == output.st_dev && file.st_ino == output.st_ino);
}

static int open_log(struct options *options, struct error *error) {
    const char *path = options->hlog_path;
    if (!path)
        return 0;
    if (writes_to_stdout(path))
        return error_set(error, -EINVAL, "--hlog %s: results go there; give a file", path);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away must not end the measurement */
    options->log = latency_log_begin();
    options->log.stream = fopen(path, "we");
    if (!options->log.stream)
        return error_set(error, -errno, "%s: cannot create: %s", path, strerror(errno));
    options->log.failure = latency_log_write_head(&options->log, options->log.stream);
    options->plan.on_interval = latency_log_interval;
    options->plan.on_interval_data = &options->log;
    return 0;
}

static int close_log(struct options *options, struct error *error) {
    struct latency_log *log = &options->log;
    if (!log->stream)
        return 0;
    int failure = log->failure;
    if (fclose(log->stream) && !failure)
        failure = -errno;
    log->stream = NULL;
    return failure ? error_set(error, failure, "%s: cannot write: %s", options->hlog_path,
                               strerror(-failure))
                   : 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int measure(struct options *options, struct error *error) {
    struct validity validity;
    struct load *load;
    if (load_start(&options->plan, &load, error))
        return EXIT_FAILED;
    wait_for_end(load, options);
    const struct load_result *result = load_result(load);
    int code;
    if (!result->finished) {
        *error = result->failure;
        code = interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
    } else {
        validity_judge(result, &options->plan, 0, false, &validity);
        code = write_results(options, result, &validity, error) ? EXIT_FAILED
                                                                : exit_code(result, &validity);
    }
    load_free(load);
    return code;
}

static int run(int argc, char **argv, struct error *error) {
    struct options options;
    if (read_options(&options, argc, argv, error))
        return EXIT_USAGE;
    int failure = open_log(&options, error);
    if (failure)
        return failure == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
    int code = measure(&options, error);
    if (close_log(&options, error->text[0] ? NULL : error) && code != EXIT_INTERRUPTED)
        code = EXIT_FAILED;
    return code;
}

const struct command command_load = {.name = "load",
                                     .summary = "load a server and report its latency honestly",
                                     .help = help,
                                     .run = run};
