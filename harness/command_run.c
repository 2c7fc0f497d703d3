/* command_run.c: `loopmark run`, experiments from beginning to table, plots and verdicts. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness/build_info.h"
#include "harness/command.h"
#include "harness/file.h"
#include "harness/plot.h"
#include "harness/report.h"
#include "harness/run_database.h"
#include "harness/runner.h"
#include "harness/source.h"
#include "harness/summary.h"
#include "harness/units.h"
#include "workloads/database.h"

static const char help[] =
    "usage: loopmark run EXPERIMENT... [OPTIONS]\n"
    "       loopmark run all [OPTIONS]\n"
    "\n"
    "  EXPERIMENT           a name from `loopmark list`, or the path of an .ini file\n"
    "      --headline       only the cells and repetitions that `make bench` runs\n"
    "      --smoke          one short repetition of everything, contents checked; no verdicts\n"
    "      --set K=V[,V...] a knob for all cells, or an axis; may be repeated\n"
    "      --repetitions N  instead of the experiment's own (6 or more give intervals)\n"
    "      --seed N         of the order of repetitions and of poisson arrivals (by the clock)\n"
    "      --out DIR        where results go (in the current folder:\n"
    "                       results/<utc>-<host>-<revision>)\n"
    "      --server-cpus LIST, --generator-cpus LIST\n"
    "                       where they run (two different cores, chosen by the topology)\n"
    "      --keep-awake     keep those CPUs from sleeping: on a virtual machine, waking up takes\n"
    "                       as long as its neighbours let it. The record says that it was done\n"
    "      --db-url URL     the PostgreSQL for experiments with driver=postgres, with a table\n"
    "                       `item`; its rows are only read (a private one, made for the run;\n"
    "                       or what " DATABASE_VARIABLE " in the environment names)\n"
    "      --db-writes      experiments may change its rows\n"
    "      --json           say on stdout what was done, as JSON\n"
    "      --no-plots       leave out the figures\n"
    "  -q, --quiet          no progress\n"
    "\n"
    "Each repetition starts a fresh server; ^C keeps what was finished.\n"
    "\n"
    "examples:\n"
    "  loopmark run loop-echo\n"
    "  loopmark run loop-echo --set connections=10 --set size_bytes=1KiB,100KiB --repetitions 10\n"
    "  loopmark run --headline all --keep-awake\n"
    "  loopmark run ./my-experiment.ini --out /tmp/mine --server-cpus 2 --generator-cpus 3\n"
    "\n"
    "exit codes: 0 ok, 1 a server, a load or the tool failed, 2 usage, 5 nothing valid measured,\n"
    "            130 interrupted\n";

enum { EXPERIMENTS_MOST = 64, OVERRIDES_MOST = 32 };

struct options {
    struct run_plan plan;
    struct experiment *experiments[EXPERIMENTS_MOST];
    const char *overrides[OVERRIDES_MOST];
    size_t override_count;
    const char *server_cpus, *generator_cpus;
    const char *out;
    char directory[PATH_MAX];
    bool json, no_plots;
};

static const struct option long_options[] = {
    {"headline", no_argument, NULL, 'H'},
    {"smoke", no_argument, NULL, 'S'},
    {"set", required_argument, NULL, 's'},
    {"repetitions", required_argument, NULL, 'r'},
    {"seed", required_argument, NULL, 'e'},
    {"out", required_argument, NULL, 'o'},
    {"server-cpus", required_argument, NULL, 'C'},
    {"generator-cpus", required_argument, NULL, 'G'},
    {"keep-awake", no_argument, NULL, 'k'},
    {"db-url", required_argument, NULL, 'd'},
    {"db-writes", no_argument, NULL, 'w'},
    {"json", no_argument, NULL, 'j'},
    {"no-plots", no_argument, NULL, 'P'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

/* ---- reading the command line ---------------------------------------------------------------- */

static int parse_number(const char *text, const char *what, double most, double *value,
                        struct error *error) {
    const struct knob knob = {.name = what, .type = KNOB_COUNT, .least = 1, .most = most};
    struct error detail;
    if (knob_parse(&knob, text, value, &detail))
        return error_set(error, -EINVAL, "--%s: %s", what, detail.text);
    return 0;
}

static int take_option(struct options *options, int option, const char *text, struct error *error) {
    double number;
    switch (option) {
    case 'H':
        options->plan.scope = SCOPE_HEADLINE;
        return 0;
    case 'S':
        options->plan.scope = SCOPE_SMOKE;
        return 0;
    case 's':
        if (options->override_count == OVERRIDES_MOST)
            return error_set(error, -EINVAL, "at most %d --set", OVERRIDES_MOST);
        options->overrides[options->override_count++] = text;
        return 0;
    case 'r':
        if (parse_number(text, "repetitions", 256, &number, error))
            return -EINVAL;
        options->plan.repetitions = (unsigned)number;
        return 0;
    case 'e':
        if (parse_number(text, "seed", 1e15, &number, error))
            return -EINVAL;
        options->plan.seed = (uint64_t)number;
        return 0;
    case 'o':
        options->out = text;
        return 0;
    case 'C':
        options->server_cpus = text;
        return 0;
    case 'G':
        options->generator_cpus = text;
        return 0;
    case 'k':
        options->plan.keep_awake = true;
        return 0;
    case 'd':
        options->plan.database = text;
        return 0;
    case 'w':
        options->plan.database_writes = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'P':
        options->no_plots = true;
        return 0;
    case 'q':
        options->plan.quiet = true;
        return 0;
    default:
        return -EINVAL; /* getopt has said what is wrong */
    }
}

static int add_experiment(struct options *options, const char *name, struct error *error) {
    char directory[PATH_MAX];
    struct experiment *experiment;
    if (options->plan.experiment_count == EXPERIMENTS_MOST)
        return error_set(error, -EINVAL, "at most %d experiments at once", EXPERIMENTS_MOST);
    snprintf(directory, sizeof directory, "%s/harness/experiments", source_directory());
    int failure = experiment_find(directory, name, &experiment, error);
    if (!failure)
        options->experiments[options->plan.experiment_count++] = experiment;
    return failure;
}

static int add_all_experiments(struct options *options, struct error *error) {
    char directory[PATH_MAX], **stems;
    size_t count;
    snprintf(directory, sizeof directory, "%s/harness/experiments", source_directory());
    int failure = experiment_list(directory, &stems, &count, error);
    if (failure)
        return failure;
    for (size_t i = 0; i < count && !failure; i++)
        failure = add_experiment(options, stems[i], error);
    experiment_list_free(stems, count);
    return failure;
}

/* An override must fit every experiment of the run: one that fits none of them is a typing error.
 */
static int apply_overrides(struct options *options, struct error *error) {
    for (size_t i = 0; i < options->plan.experiment_count; i++) {
        for (size_t k = 0; k < options->override_count; k++)
            if (experiment_override(options->experiments[i], options->overrides[k], error))
                return -EINVAL;
        if (experiment_check(options->experiments[i], error))
            return -EINVAL;
    }
    return 0;
}

static int choose_cpus(struct options *options, struct error *error) {
    if (!options->server_cpus && !options->generator_cpus)
        return cpu_plan_choose("/", NULL, &options->plan.cpus, error);
    if (!options->server_cpus || !options->generator_cpus)
        return error_set(error, -EINVAL, "--server-cpus and --generator-cpus belong together");
    return cpu_plan_given("/", NULL, options->server_cpus, options->generator_cpus,
                          &options->plan.cpus, error);
}

static int choose_database(struct options *options, struct error *error) {
    struct error detail;
    if (options->plan.database && run_database_check(options->plan.database, &detail))
        return error_set(error, -EINVAL, "--db-url: %s", detail.text);
    if (!options->plan.database)
        options->plan.database = run_database_from_environment();
    if (options->plan.database_writes && !options->plan.database)
        return error_set(error, -EINVAL,
                         "--db-writes is about a database of yours: name it by --db-url");
    return 0;
}

/* Nothing is ever overwritten: a directory of a former run is refused. */
static int choose_directory(struct options *options, struct error *error) {
    char stamp[32], host[64] = "", path[PATH_MAX + 16];
    time_t now = time(NULL);
    struct tm utc;
    struct stat status;
    options->plan.directory = options->directory;
    if (options->out)
        snprintf(options->directory, sizeof options->directory, "%s", options->out);
    else {
        gethostname(host, sizeof host - 1);
        strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
        snprintf(options->directory, sizeof options->directory, "results/%s-%s-%s", stamp, host,
                 LOOPMARK_REVISION);
    }
    snprintf(path, sizeof path, "%s/run.json", options->directory);
    if (stat(path, &status) == 0)
        return error_set(error, -EINVAL, "%s holds a run already; choose another --out",
                         options->directory);
    return 0;
}

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    options->plan = (struct run_plan){.experiments = options->experiments,
                                      .argc = argc,
                                      .argv = argv,
                                      .seed = (uint64_t)time(NULL)};
    while ((option = getopt_long(argc, argv, "q", long_options, NULL)) != -1)
        if (take_option(options, option, optarg, error))
            return -EINVAL;
    if (optind == argc)
        return error_set(error, -EINVAL, "which experiment? `loopmark list` has them; or: all");
    for (int i = optind; i < argc; i++) {
        int failure = strcmp(argv[i], "all") == 0 ? add_all_experiments(options, error)
                                                  : add_experiment(options, argv[i], error);
        if (failure)
            return failure;
    }
    if (apply_overrides(options, error) || choose_cpus(options, error) ||
        choose_database(options, error))
        return -EINVAL;
    return choose_directory(options, error);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* results/latest -> the newest run; replaced in one step. Only for runs that lie in results/. */
static void point_latest(const struct options *options) {
    if (options->out)
        return;
    const char *name = strrchr(options->directory, '/') + 1;
    unlink("results/.latest.new");
    if (symlink(name, "results/.latest.new") == 0)
        rename("results/.latest.new", "results/latest");
}

static int derive(const struct options *options, const json_t *run, struct error *error) {
    struct summary summary;
    int failure = summary_init(&summary, run, error);
    if (!failure)
        failure = summary_write_csv(&summary, options->directory, error);
    summary_free(&summary);
    if (!failure)
        failure = report_write(run, options->directory, options->json ? NULL : stdout, error);
    return failure;
}

static void draw(const struct options *options) {
    struct error problem;
    if (!options->no_plots && plot_run(options->directory, &problem))
        fprintf(stderr, "loopmark run: no figures: %s\n", problem.text);
}

static void print_outcome(const struct options *options, const struct run_outcome *outcome) {
    json_t *json = json_pack("{s:i, s:s, s:b, s:i, s:i, s:i, s:i}", "schema", 1, "directory",
                             options->directory, "complete", !outcome->interrupted, "repetitions",
                             outcome->repetitions, "valid", outcome->valid, "failed",
                             outcome->failed, "skipped", outcome->skipped);
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
}

static int finish(const struct options *options, const struct run_outcome *outcome,
                  struct error *error) {
    char path[PATH_MAX + 16];
    json_error_t problem;
    snprintf(path, sizeof path, "%s/run.json", options->directory);
    json_t *run = json_load_file(path, 0, &problem);
    if (!run)
        return error_set(error, -EIO, "%s: %s", path, problem.text);
    int failure = derive(options, run, error);
    json_decref(run);
    if (failure)
        return failure;
    draw(options);
    point_latest(options);
    if (options->json)
        print_outcome(options, outcome);
    else
        printf("\nrecord, report and figures: %s\n", options->directory);
    return 0;
}

/* A smoke run is too short to be judged by its numbers: it is there to see that all works. */
static bool worked(const struct options *options, const struct run_outcome *outcome) {
    return options->plan.scope == SCOPE_SMOKE ? outcome->wrong == 0 : outcome->valid > 0;
}

static int exit_code(const struct options *options, const struct run_outcome *outcome) {
    if (outcome->interrupted)
        return EXIT_INTERRUPTED;
    if (outcome->failed > 0 || outcome->repetitions == 0)
        return EXIT_FAILED;
    return worked(options, outcome) ? EXIT_OK : EXIT_NOT_VALID;
}

static int measure(const struct options *options, struct error *error) {
    struct run_outcome outcome;
    char duration[UNITS_TEXT_BYTES];
    if (!options->plan.quiet)
        fprintf(stderr, "measuring for about %s: %s\n",
                units_duration(runner_duration_ns(&options->plan), duration),
                options->plan.cpus.text);
    int failure = runner_run(&options->plan, &outcome, error);
    if (!failure)
        failure = finish(options, &outcome, error);
    if (!failure && outcome.failed > 0)
        error_set(error, -EIO, "%u of %u repetitions failed (see the report)", outcome.failed,
                  outcome.repetitions);
    return failure ? EXIT_FAILED : exit_code(options, &outcome);
}

static int run(int argc, char **argv, struct error *error) {
    struct options *options = calloc(1, sizeof *options);
    if (!options)
        return EXIT_FAILED;
    int code = read_options(options, argc, argv, error) ? EXIT_USAGE : measure(options, error);
    for (size_t i = 0; i < options->plan.experiment_count; i++)
        experiment_free(options->experiments[i]);
    free(options);
    return code;
}

const struct command command_run = {.name = "run",
                                    .summary = "run experiments: record, table, plots, verdicts",
                                    .help = help,
                                    .run = run};
