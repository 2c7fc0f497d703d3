/* command_selftest.c: `loopmark selftest`, what this machine can resolve: the instrument's own
 * error, measured on servers of known times. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/interrupt.h"
#include "harness/progress.h"
#include "harness/selftest.h"
#include "harness/units.h"
#include "loops/clock.h"

static const char help[] =
    "usage: loopmark selftest [OPTIONS]\n"
    "\n"
    "      --quick         about 5 s instead of 55: few samples and wide intervals\n"
    "      --server-cpus LIST, --generator-cpus LIST\n"
    "                      where they run, such as 0 and 1 (chosen as `run` does)\n"
    "      --json          one JSON object on stdout\n"
    "  -q, --quiet         no progress\n"
    "\n"
    "Loads a server whose times are known, since it keeps them itself, and prints what was\n"
    "measured beside the truth: each request's own delay, by when it was due and by what the\n"
    "server really took, its standstills included (Lindley's recursion).\n"
    "\n"
    "  round trip    the server answers at once: what the way there and back adds\n"
    "  constant      each answer leaves 1 ms, 10 ms after its request came\n"
    "  1 ms, 1 % …   two modes: every 100th answer takes 20 ms\n"
    "  one stall     stands still for a tenth of the time. In an open loop requests go on being\n"
    "                due; service times and a closed loop hardly notice (coordinated omission)\n"
    "  M/D/1, M/M/1  random arrivals at one server that takes 50 us, always or on average, at\n"
    "                that utilisation. `theory`: Pollaczek-Khinchine, Franx, exponential, of a\n"
    "                machine that never pauses; what differs is the machine's, or luck\n"
    "\n"
    "The generator never sleeps but in the round trips, so that it notices when it stood still\n"
    "itself: 100 us or more between two looks at the clock. What was due or answered then it\n"
    "could not measure right, whoever had its CPU: such requests are left out, of the truth and\n"
    "of what was measured alike. `of all`: with them.\n"
    "\n"
    "A row is `within` when the error is at most 1 % and 50 us, else `off`; or `cannot tell`\n"
    "where more than a tenth was left out: such a case is measured up to five times, and the\n"
    "last one counts. `shown`: for comparison, or too few samples.\n"
    "\n"
    "examples:\n"
    "  loopmark selftest\n"
    "  loopmark selftest --quick --json | jq '.resolution'\n"
    "  loopmark selftest --server-cpus 2 --generator-cpus 3\n"
    "\n"
    "exit codes: 0 all rows within, 5 not: the instrument is off, or the machine does not let it\n"
    "            be told; 1 a server or a load failed, 2 usage, 130 interrupted\n";

struct options {
    bool quick, json, quiet;
    const char *server_cpus, *generator_cpus;
    struct cpu_plan cpus;
};

static const struct option long_options[] = {
    {"quick", no_argument, NULL, 'k'},
    {"server-cpus", required_argument, NULL, 'S'},
    {"generator-cpus", required_argument, NULL, 'G'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

/* ---- reading the command line ---------------------------------------------------------------- */

static int take_option(struct options *options, int option, const char *text) {
    switch (option) {
    case 'k':
        options->quick = true;
        return 0;
    case 'S':
        options->server_cpus = text;
        return 0;
    case 'G':
        options->generator_cpus = text;
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

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    *options = (struct options){.quick = false};
    optind = 0;
    while ((option = getopt_long(argc, argv, "q", long_options, NULL)) != -1)
        if (take_option(options, option, optarg))
            return -EINVAL;
    if (optind < argc)
        return error_set(error, -EINVAL, "it takes options only, not '%s'", argv[optind]);
    if (!options->server_cpus != !options->generator_cpus)
        return error_set(error, -EINVAL,
                         "--server-cpus and --generator-cpus only go together: give both");
    if (options->server_cpus)
        return cpu_plan_given("/", NULL, options->server_cpus, options->generator_cpus,
                              &options->cpus, error);
    return cpu_plan_choose("/", NULL, &options->cpus, error);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* Columns are padded by what is seen: "µ" is two bytes. */
static void print_padded(const char *text, int width) {
    int seen = 0;
    for (const char *at = text; *at; at++)
        seen += (*at & 0xc0) != 0x80;
    printf(" %*s%s", width > seen ? width - seen : 0, "", text);
}

static void print_time(double ns, int width) {
    char text[UNITS_TEXT_BYTES];
    print_padded(units_time(ns, text), width);
}

static void print_range(double low_ns, double high_ns, int width) {
    char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES], text[2 * UNITS_TEXT_BYTES + 8] = "";
    if (isfinite(low_ns) && isfinite(high_ns))
        snprintf(text, sizeof text, "(%s to %s)", units_time(low_ns, low),
                 units_time(high_ns, high));
    print_padded(text, width);
}

static void print_row(const struct selftest_row *row) {
    char share[UNITS_TEXT_BYTES] = "-";
    double error_ns = row->measured_ns - row->expected_ns;
    if (isfinite(error_ns))
        units_change(row->measured_ns / row->expected_ns, share);
    printf("%-23s %-23s", row->name, row->quantity);
    print_time(row->expected_ns, 9);
    print_time(row->measured_ns, 9);
    print_range(row->low_ns, row->high_ns, 23);
    print_time(error_ns, 9);
    print_padded(share, 9);
    print_time(row->allowed_ns, 9);
    printf("  %s\n", selftest_verdict_names[row->verdict]);
}

static void print_table(const struct selftest *selftest) {
    printf("%-23s %-23s %9s %9s %23s %9s %9s %9s  %s\n", "case", "of responses", "expected",
           "measured", "(95 %)", "error", "", "allowed", "verdict");
    for (size_t i = 0; i < selftest->row_count; i++)
        print_row(&selftest->rows[i]);
}

/* ---- what the machine did -------------------------------------------------------------------- */

static void print_machine_row(const struct selftest_machine *machine) {
    char text[64];
    printf("%-23s %5u", machine->name, machine->tries);
    snprintf(text, sizeof text, "%llu + %llu times", (unsigned long long)machine->pauses_by_others,
             (unsigned long long)(machine->pauses - machine->pauses_by_others));
    print_padded(text, 19);
    print_time((double)machine->paused_ns, 9);
    print_time((double)machine->longest_pause_ns, 9);
    snprintf(text, sizeof text, "%llu times", (unsigned long long)machine->standstills);
    print_padded(text, 15);
    print_time((double)machine->stood_still_ns, 9);
    printf(" %6.2f %%", machine->left_out_share * 100);
    print_time(machine->lag_p99_ns, 9);
    printf("\n");
}

static void print_machine(const struct selftest *selftest) {
    struct selftest_machine sum = {.pauses = 0};
    char paused[UNITS_TEXT_BYTES], longest[UNITS_TEXT_BYTES], still[UNITS_TEXT_BYTES];
    printf("\n%-23s %5s %19s %9s %9s %15s %9s %8s %9s\n", "what the machine did", "tries",
           "server stood still", "in all", "longest", "generator did", "in all", "left out",
           "lag p99");
    for (size_t i = 0; i < selftest->machine_count; i++) {
        const struct selftest_machine *machine = &selftest->machine[i];
        print_machine_row(machine);
        sum.pauses += machine->pauses;
        sum.pauses_by_others += machine->pauses_by_others;
        sum.paused_ns += machine->paused_ns;
        sum.stood_still_ns += machine->stood_still_ns;
        if (machine->longest_pause_ns > sum.longest_pause_ns)
            sum.longest_pause_ns = machine->longest_pause_ns;
    }
    if (selftest->cpus.shared)
        return;
    printf("The server stood still %llu times, %s in all and %s at the longest: %llu times other "
           "processes of\nthis machine had its CPU, %llu times the host or an interrupt. The truth "
           "has that. The generator\nstood still %s in all; what was due or answered then is left "
           "out, of the truth too.\n",
           (unsigned long long)sum.pauses, units_time((double)sum.paused_ns, paused),
           units_time((double)sum.longest_pause_ns, longest),
           (unsigned long long)sum.pauses_by_others,
           (unsigned long long)(sum.pauses - sum.pauses_by_others),
           units_time((double)sum.stood_still_ns, still));
}

static const struct selftest_machine *machine_of(const struct selftest *selftest,
                                                 const char *name) {
    for (size_t i = 0; i < selftest->machine_count; i++)
        if (strcmp(selftest->machine[i].name, name) == 0)
            return &selftest->machine[i];
    return NULL;
}

/* Of each row that is not within: by how much, and whose fault it is. */
static void print_faults(const struct selftest *selftest) {
    for (size_t i = 0; i < selftest->row_count; i++) {
        const struct selftest_row *row = &selftest->rows[i];
        const struct selftest_machine *machine = machine_of(selftest, row->name);
        char error[UNITS_TEXT_BYTES], allowed[UNITS_TEXT_BYTES];
        bool off = row->verdict == SELFTEST_OFF;
        if ((!off && row->verdict != SELFTEST_CANNOT_TELL) || !machine)
            continue;
        units_time(row->measured_ns - row->expected_ns, error);
        printf("  %s, %s: %s beyond the truth, and %s are allowed. ", row->name, row->quantity,
               error, units_time(row->allowed_ns, allowed));
        printf("Others had the generator's CPU for\n    %.2f %% of the time, and %.1f %% of the "
               "requests were left out: %s (try %u)\n",
               machine->taken_share * 100, machine->left_out_share * 100,
               off ? "the instrument is off" : "the machine may have done it", machine->tries);
    }
}

static const char *headline(const struct selftest *selftest) {
    return selftest_passed(selftest) ? "the instrument is right here, within 1 % and 50 us of the "
                                       "truth in every row"
           : selftest_count(selftest, SELFTEST_OFF) > 0
               ? "NOT VALID: the instrument is off"
               : "NOT VALID: the machine is too disturbed to tell";
}

static void print_verdict(const struct selftest *selftest) {
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES], d[UNITS_TEXT_BYTES];
    printf("\n%s\n", headline(selftest));
    print_faults(selftest);
    for (size_t i = 0; i < selftest->note_count; i++)
        printf("  %s\n", selftest->notes[i]);
    printf("A server's latencies from %s up at p50, and from %s up at p99, are right within "
           "%.0f %%.\n",
           units_time(selftest_resolved_ns(selftest->added_p50_ns), a),
           units_time(selftest_resolved_ns(selftest->added_p99_ns), b), SELFTEST_RESOLUTION * 100);
    printf("To each, way and machine add up to %s at p50 and %s at p99; where the generator sleeps "
           "between\nrequests, %s at p50 (1k/s) and %s (5k/s).",
           units_time(selftest->added_p50_ns, a), units_time(selftest->added_p99_ns, b),
           units_time(selftest->trips[TRIP_SELDOM].p50_ns, c),
           units_time(selftest->trips[TRIP_OFTEN].p50_ns, d));
    printf(" The generator's lag at p99 is up to %s.\n", units_time(selftest->lag_p99_ns, a));
    printf("%s. %s\n", selftest->cpus.text,
           selftest->cpus.shared ? "The server sleeps until an answer is due, as it must share."
                                 : "The server spins, the generator before something is due.");
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *rows_json(const struct selftest *selftest) {
    json_t *rows = json_array();
    for (size_t i = 0; i < selftest->row_count; i++) {
        const struct selftest_row *row = &selftest->rows[i];
        json_array_append_new(
            rows,
            json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "case", row->name,
                      "quantity", row->quantity, "expected_ns", number(row->expected_ns),
                      "measured_ns", number(row->measured_ns), "low_ns", number(row->low_ns),
                      "high_ns", number(row->high_ns), "error_ns",
                      number(row->measured_ns - row->expected_ns), "allowed_ns",
                      number(row->allowed_ns), "verdict", selftest_verdict_names[row->verdict]));
    }
    return rows;
}

static json_t *machine_json(const struct selftest *selftest) {
    json_t *list = json_array();
    for (size_t i = 0; i < selftest->machine_count; i++) {
        const struct selftest_machine *machine = &selftest->machine[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o}", "case",
                      machine->name,
                      "tries", (int)machine->tries, "server_pauses", (json_int_t)machine->pauses,
                      "server_pauses_by_others", (json_int_t)machine->pauses_by_others,
                      "server_paused_ns", (json_int_t)machine->paused_ns, "server_longest_pause_ns",
                      (json_int_t)machine->longest_pause_ns, "generator_waited_ns",
                      (json_int_t)machine->generator_waited_ns, "generator_standstills",
                      (json_int_t)machine->standstills, "generator_stood_still_ns",
                      (json_int_t)machine->stood_still_ns, "left_out", machine->left_out_share,
                      "steal", machine->steal_share, "generator_taken", machine->taken_share,
                      "lag_p99_ns",
                      number(machine->lag_p99_ns)));
    }
    return list;
}

static json_t *resolution_json(const struct selftest *selftest) {
    const struct selftest_round_trip *seldom = &selftest->trips[TRIP_SELDOM];
    const struct selftest_round_trip *often = &selftest->trips[TRIP_OFTEN];
    return json_pack("{s:f, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:{s:o, s:o}, s:o}", "within",
                     SELFTEST_RESOLUTION, "from_p50_ns",
                     number(selftest_resolved_ns(selftest->added_p50_ns)), "from_p99_ns",
                     number(selftest_resolved_ns(selftest->added_p99_ns)), "added_p50_ns",
                     number(selftest->added_p50_ns), "added_p99_ns", number(selftest->added_p99_ns),
                     "round_trip_1k_ns", "p50", number(seldom->p50_ns), "p99",
                     number(seldom->p99_ns), "round_trip_5k_ns", "p50", number(often->p50_ns),
                     "p99", number(often->p99_ns), "lag_p99_ns", number(selftest->lag_p99_ns));
}

static void print_json(const struct selftest *selftest, int code) {
    json_t *notes = json_array();
    for (size_t i = 0; i < selftest->note_count; i++)
        json_array_append_new(notes, json_string(selftest->notes[i]));
    json_t *root = json_pack(
        "{s:i, s:i, s:b, s:b, s:o, s:s, s:b, s:b, s:f, s:o, s:o, s:o}", "schema", 1, "exit", code,
        "quick", selftest->quick, "valid", selftest_passed(selftest), "invalid", notes, "cpus",
        selftest->cpus.text, "shared_cpu", selftest->cpus.shared, "server_spins",
        !selftest->cpus.shared, "disturbed", selftest->disturbed, "resolution",
        resolution_json(selftest), "rows", rows_json(selftest), "machine", machine_json(selftest));
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(root);
}

/* ---- all ------------------------------------------------------------------------------------- */

static int measure_all(struct selftest *selftest, bool quiet, struct error *error) {
    struct progress progress;
    double left_s = 0;
    int failure = 0;
    progress_begin(&progress, quiet);
    interrupt_catch();
    for (size_t i = 0; selftest_case_name(i); i++)
        left_s += selftest_case_seconds(selftest, i);
    for (size_t i = 0; selftest_case_name(i) && !failure && !interrupted; i++) {
        progress_status(&progress, "%s, %.0f s left", selftest_case_name(i), left_s);
        failure = selftest_measure(selftest, i, error);
        left_s -= selftest_case_seconds(selftest, i);
    }
    progress_end(&progress);
    return interrupted ? -EINTR : failure;
}

static int run(int argc, char **argv, struct error *error) {
    struct options options;
    struct selftest *selftest = malloc(sizeof *selftest);
    int code = EXIT_USAGE;
    if (!selftest)
        return EXIT_FAILED;
    if (read_options(&options, argc, argv, error) == 0) {
        selftest_init(selftest, options.quick, &options.cpus);
        int failure = measure_all(selftest, options.quiet, error);
        code = failure == -EINTR           ? EXIT_INTERRUPTED
               : failure                   ? EXIT_FAILED
               : selftest_passed(selftest) ? EXIT_OK
                                           : EXIT_NOT_VALID;
        if (!failure && options.json)
            print_json(selftest, code);
        else if (!failure) {
            print_table(selftest);
            print_machine(selftest);
            print_verdict(selftest);
        }
    }
    free(selftest);
    return code;
}

const struct command command_selftest = {.name = "selftest",
                                         .summary = "measure the instrument's own error here",
                                         .help = help,
                                         .run = run};
