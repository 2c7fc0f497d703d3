/* command_hist.c: `loopmark hist`, for histogram files of ours and of others. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/command.h"
#include "harness/file.h"
#include "harness/histogram_group.h"
#include "harness/histogram_json.h"
#include "harness/histogram_log.h"
#include "harness/histogram_print.h"
#include "harness/percentile_table.h"
#include "harness/units.h"
#include "loops/check.h"
#include "loops/clock.h"
#include "workloads/knob.h"

static const char help[] =
    "usage: loopmark hist [print] FILE… [OPTIONS]        percentiles and a plot\n"
    "       loopmark hist diff A B [OPTIONS]             percentile by percentile\n"
    "       loopmark hist merge FILE… [OPTIONS]          added up, as one .hlog\n"
    "       loopmark hist convert FILE… --to FORMAT      hlog, hgrm, csv or json\n"
    "       loopmark hist cut FILE… --from T --until T   part of the time, as .hlog\n"
    "\n"
    "  FILE              .hlog, .hgrm or CSV percentiles, wrk2's output, base64 or bytes of\n"
    "                    HdrHistogram (V2), our JSON; told apart by content. - is standard input\n"
    "      --tag PATTERN only intervals whose tag matches: 'epoll/*'; '' for those without\n"
    "      --from T      only intervals that start T or more after the file's first: 5s, 2min\n"
    "      --until T     only intervals that start before that\n"
    "      --by GROUP    add up by all, tag, file or second (of wall clock), or none: each by\n"
    "                    itself. Usual is all; for cut and convert to hlog or json: none\n"
    "  -o, --out FILE    write there instead of to standard output\n"
    "      --json        print and diff: JSON\n"
    "      --unit U      what a histogram's values are: ns, us, ms or s (ns)\n"
    "      --table-unit U  the same of percentile tables, read and written (ms; not finer)\n"
    "      --ticks N     rows of a written table each time the distance to 100 % halves (5)\n"
    "      --table N     of a file with several percentile tables, as wrk2 -U writes, the Nth\n"
    "      --skip-bad    leave out lines that cannot be read, instead of refusing the file; take\n"
    "                    tables that break off\n"
    "\n"
    "Adding up loses nothing, whatever files, tags and machines it comes from. A percentile table\n"
    "(.hgrm, CSV) is not a histogram: read back, values between two rows count as the upper one.\n"
    "\n"
    "examples:\n"
    "  loopmark hist results/latest/latency/*.hlog --by file\n"
    "  loopmark hist before.hlog --from 5s\n"
    "  loopmark hist diff before.hlog after.hlog\n"
    "  loopmark hist merge host-a.hlog host-b.hlog --by second -o both.hlog\n"
    "  loopmark hist convert run.hlog --to hgrm -o run.hgrm\n"
    "  wrk2 -R 1000 --latency http://127.0.0.1/ | loopmark hist -\n"
    "\n"
    "exit codes: 0 ok, 1 the tool failed, 2 usage or a file that cannot be read\n";

enum action { ACTION_PRINT, ACTION_DIFF, ACTION_MERGE, ACTION_CONVERT, ACTION_CUT };
static const char *const action_names[] = {"print", "diff", "merge", "convert", "cut", NULL};

enum format { FORMAT_HLOG, FORMAT_HGRM, FORMAT_CSV, FORMAT_JSON };
static const char *const format_names[] = {"hlog", "hgrm", "csv", "json", NULL};

static const char *const unit_names[] = {"ns", "us", "ms", "s", NULL};
static const double unit_ns[] = {1, 1e3, 1e6, 1e9};

struct options {
    enum action action;
    char **files;
    size_t file_count;
    struct histogram_filter filter;
    const char *from, *until;
    bool grouped, formatted, table_unit_given, json, skip_bad;
    size_t grouping, format, unit, table_unit; /* indices of their names */
    const char *out;
    double ticks; /* 0: not given */
};

static const struct option long_options[] = {
    {"tag", required_argument, NULL, 't'},
    {"from", required_argument, NULL, 'f'},
    {"until", required_argument, NULL, 'u'},
    {"by", required_argument, NULL, 'b'},
    {"out", required_argument, NULL, 'o'},
    {"to", required_argument, NULL, 'T'},
    {"json", no_argument, NULL, 'j'},
    {"unit", required_argument, NULL, 'U'},
    {"table-unit", required_argument, NULL, 'V'},
    {"ticks", required_argument, NULL, 'k'},
    {"skip-bad", no_argument, NULL, 's'},
    {"table", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

/* ---- reading the command line ---------------------------------------------------------------- */

static int choose(const char *option, const char *const names[], const char *text, size_t *chosen,
                  struct error *error) {
    char all[128] = "";
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            *chosen = i;
            return 0;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    return error_set(error, -EINVAL, "%s: there is no '%s'; it is one of %s", option, text, all);
}

static int parse_time(const char *option, const char *text, double *seconds, struct error *error) {
    double ns;
    int failure = command_parse_number(option, KNOB_TIME, 0, 1e18, text, &ns, error);
    *seconds = failure ? 0 : ns / 1e9;
    return failure;
}

static int take_option(struct options *options, int option, char *text, struct error *error) {
    double number;
    int failure;
    switch (option) {
    case 't':
        options->filter.tag = text;
        return 0;
    case 'f':
        options->from = text;
        return parse_time("--from", text, &options->filter.from_s, error);
    case 'u':
        options->until = text;
        return parse_time("--until", text, &options->filter.until_s, error);
    case 'b':
        options->grouped = true;
        return choose("--by", grouping_names, text, &options->grouping, error);
    case 'o':
        options->out = text;
        return 0;
    case 'T':
        options->formatted = true;
        return choose("--to", format_names, text, &options->format, error);
    case 'j':
        options->json = true;
        return 0;
    case 'U':
        return choose("--unit", unit_names, text, &options->unit, error);
    case 'V':
        options->table_unit_given = true;
        return choose("--table-unit", unit_names, text, &options->table_unit, error);
    case 'k':
        return command_parse_number("--ticks", KNOB_COUNT, 1, 1000, text, &options->ticks, error);
    case 's':
        options->skip_bad = options->filter.cut_tables = true;
        return 0;
    case 'n':
        failure = command_parse_number("--table", KNOB_COUNT, 1, 1e6, text, &number, error);
        options->filter.table = failure ? 0 : (unsigned)number;
        return failure;
    default:
        return -EINVAL; /* getopt has said what is wrong */
    }
}

static bool writes_table(const struct options *options) {
    return options->action == ACTION_CONVERT &&
           (options->format == FORMAT_HGRM || options->format == FORMAT_CSV);
}

static bool reads_twice(const struct options *options, const char *file) {
    size_t times = 0;
    for (size_t i = 0; i < options->file_count; i++)
        times += strcmp(options->files[i], file) == 0;
    return times > 1;
}

/* What was given is never silently left out. */
static int check_meaning(const struct options *options, struct error *error) {
    const char *action = action_names[options->action];
    if (options->file_count == 0)
        return error_set(error, -EINVAL, "which files? - is standard input");
    if (options->action == ACTION_DIFF && options->file_count != 2)
        return error_set(error, -EINVAL, "diff compares two files, not %zu", options->file_count);
    if (options->formatted != (options->action == ACTION_CONVERT))
        return error_set(error, -EINVAL,
                         options->formatted ? "--to is of convert, not of %s"
                                            : "convert --to what? hlog, hgrm, csv or json%.0s",
                         action);
    if (options->action == ACTION_CUT && !options->from && !options->until)
        return error_set(error, -EINVAL, "cut needs --from or --until, for example --from 5s");
    if (options->filter.from_s >= options->filter.until_s)
        return error_set(error, -EINVAL, "--from %s is not before --until %s",
                         options->from ? options->from : "0s", options->until);
    if (options->ticks > 0 && !writes_table(options))
        return error_set(error, -EINVAL, "--ticks is of convert --to hgrm or csv");
    if (reads_twice(options, "-"))
        return error_set(error, -EINVAL, "standard input (-) can be read only once");
    if (options->json && options->action != ACTION_PRINT && options->action != ACTION_DIFF)
        return error_set(error, -EINVAL, "--json is of print and diff; use convert --to json");
    if (options->table_unit < options->unit) /* a histogram has whole numbers */
        return error_set(error, -EINVAL, "--table-unit %s is finer than --unit %s",
                         unit_names[options->table_unit], unit_names[options->unit]);
    if (options->grouped && options->action == ACTION_DIFF)
        return error_set(error, -EINVAL, "diff adds up all of a file; choose with --tag");
    return 0;
}

static enum grouping usual_grouping(const struct options *options) {
    bool single = options->action == ACTION_CUT ||
                  (options->action == ACTION_CONVERT &&
                   (options->format == FORMAT_HLOG || options->format == FORMAT_JSON));
    return single ? GROUP_NONE : GROUP_ALL;
}

static int read_options(struct options *options, int argc, char **argv, struct error *error) {
    int option;
    *options = (struct options){.filter = {.until_s = INFINITY}, .table_unit = 2};
    optind = 0;
    while ((option = getopt_long(argc, argv, "o:", long_options, NULL)) != -1)
        if (take_option(options, option, optarg, error))
            return -EINVAL;
    options->files = argv + optind;
    options->file_count = (size_t)(argc - optind);
    size_t action = ACTION_PRINT;
    struct error no_action;
    if (options->file_count > 0 &&
        choose("", action_names, options->files[0], &action, &no_action) == 0) {
        options->files++;
        options->file_count--;
    }
    options->action = (enum action)action;
    if (!options->grouped)
        options->grouping = usual_grouping(options);
    if (!options->table_unit_given && options->table_unit < options->unit)
        options->table_unit = options->unit;
    options->filter.unit = unit_names[options->unit];
    return check_meaning(options, error);
}

static const char *name_of_file(const char *path) {
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* ---- reading files --------------------------------------------------------------------------- */

static void warn(const struct histogram_file_notes *notes, const char *file) {
    if (notes->truncated_line > 0)
        fprintf(stderr, "loopmark hist: %s:%lu: cut off, and what followed is missing\n",
                name_of_file(file), notes->truncated_line);
    if (notes->bad_lines > 0)
        fprintf(stderr, "loopmark hist: %s: %lu lines left out; the first: %s\n",
                name_of_file(file), notes->bad_lines, notes->first_bad.text);
}

static int read_file(const struct options *options, const char *file,
                     struct histogram_groups *groups, struct error *error) {
    const struct histogram_file_options how = {
        .table_unit = unit_ns[options->table_unit] / unit_ns[options->unit],
        .skip_bad = options->skip_bad,
    };
    struct histogram_file_notes notes = {.truncated_line = 0};
    int failure = histogram_groups_read(groups, file, &how, &notes, error);
    if (!failure)
        warn(&notes, file);
    return failure;
}

static int check_groups(const struct histogram_groups *groups, struct error *error) {
    if (groups->entries == 0)
        return error_set(error, -EINVAL,
                         "none of the %lu intervals is as --tag, --from and --until "
                         "ask",
                         groups->passed_over);
    if (groups->mixed)
        fprintf(stderr, "loopmark hist: configurations differ: added up by value, each as exact as "
                        "it was\n");
    for (size_t i = 0; i < groups->count; i++)
        if (!groups->groups[i].exact) {
            fprintf(stderr, "loopmark hist: from a percentile table: values between two of its "
                            "rows count as the upper one\n");
            break;
        }
    return 0;
}

/* ---- print ----------------------------------------------------------------------------------- */

enum { NAME_BYTES = 256 };

/* Sorted, those without a time come first. */
static double first_start_s(const struct histogram_groups *groups) {
    for (size_t i = 0; i < groups->count; i++)
        if (groups->groups[i].timed)
            return groups->groups[i].start_s;
    return 0;
}

/* Times are told from the first group's on. */
static const char *name_of(const struct histogram_groups *groups, size_t index, double first_s,
                           char text[NAME_BYTES]) {
    const struct histogram_group *group = &groups->groups[index];
    bool by_time = groups->grouping == GROUP_SECOND || groups->grouping == GROUP_NONE;
    if (by_time && group->timed)
        snprintf(text, NAME_BYTES, "%.3f%s%s", group->start_s - first_s, group->name ? " " : "",
                 group->name ? group->name : "");
    else
        snprintf(text, NAME_BYTES, "%s", group->name ? group->name : by_time ? "-" : "(no tag)");
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?'; /* a terminal must not obey a tag */
    return text;
}

static void print_rows(FILE *file, const struct histogram_groups *groups, double unit) {
    static const char *const heads[] = {"", "tag", "file", "start, s", "start, s"};
    char name[NAME_BYTES];
    size_t width = strlen(heads[groups->grouping]);
    double first_s = first_start_s(groups);
    for (size_t i = 0; i < groups->count; i++) {
        size_t length = strlen(name_of(groups, i, first_s, name));
        width = length > width ? length : width;
    }
    histogram_print_row_head(heads[groups->grouping], (int)width, file);
    for (size_t i = 0; i < groups->count; i++)
        histogram_print_row(name_of(groups, i, first_s, name), (int)width,
                            &groups->groups[i].histogram, unit, file);
}

static void print_one(FILE *file, const struct options *options,
                      const struct histogram_group *group, double unit) {
    char length[UNITS_TEXT_BYTES];
    fprintf(file, "%s%s: %lu interval%s", name_of_file(options->files[0]),
            options->file_count > 1 ? " and others" : "", group->entries,
            group->entries == 1 ? "" : "s");
    if (group->timed)
        fprintf(file, " over %s", units_duration(group->length_s * 1e9, length));
    fprintf(file, "\n");
    histogram_print(&group->histogram, group->exact, unit, file);
}

static int print_groups(FILE *file, const struct options *options,
                        const struct histogram_groups *groups) {
    double unit = unit_ns[options->unit];
    if (groups->grouping == GROUP_ALL)
        print_one(file, options, &groups->groups[0], unit);
    else
        print_rows(file, groups, unit);
    errno = 0;
    return fflush(file) || ferror(file) ? (errno ? -errno : -EIO) : 0;
}

/* ---- write ----------------------------------------------------------------------------------- */

struct output {
    const struct options *options;
    const struct histogram_groups *groups;
    struct error *error;
};

/* Before the first line is written. */
static int check_times(const struct histogram_groups *groups, struct error *error) {
    const double year_10000_s = 253402300799.0;
    for (size_t i = 0; i < groups->count; i++) {
        const struct histogram_group *group = &groups->groups[i];
        if (group->timed && (group->start_s < 0 || group->start_s + group->length_s > year_10000_s))
            return error_set(error, -EINVAL,
                             "an interval from %.3f s to %.3f s since 1970 cannot be in a .hlog; "
                             "are its times in milliseconds?",
                             group->start_s, group->start_s + group->length_s);
    }
    return 0;
}

/* A file's name may have letters that a tag may not. */
static char *tag_of(const struct histogram_group *group) {
    char *tag = group->name && *group->name ? strdup(group->name) : NULL;
    for (char *at = tag; at && *at; at++) {
        const char letter[2] = {*at, '\0'};
        if (!histogram_log_tag_valid(letter))
            *at = '_';
    }
    return tag;
}

static int write_log(FILE *file, const struct output *output) {
    const struct histogram_groups *groups = output->groups;
    double unit = unit_ns[2] / unit_ns[output->options->unit];
    double begin_s = first_start_s(groups);
    int failure = check_times(groups, output->error);
    if (failure)
        return failure;
    failure = histogram_log_begin(file, begin_s, unit_names[output->options->unit],
                                  "written by loopmark hist");
    for (size_t i = 0; i < groups->count && !failure; i++) {
        const struct histogram_group *group = &groups->groups[i];
        char *tag = tag_of(group);
        failure =
            group->name && *group->name && !tag
                ? -ENOMEM
                : histogram_log_write(file, tag, group->timed ? group->start_s - begin_s : 0,
                                      group->timed ? group->length_s : 0, &group->histogram, unit);
        free(tag);
    }
    return failure;
}

static int write_table(FILE *file, const struct output *output,
                       enum percentile_table_format format) {
    const struct options *options = output->options;
    if (output->groups->count > 1)
        return error_set(output->error, -EINVAL,
                         "a percentile table holds one distribution, these are %zu; choose with "
                         "--tag, or add up --by all",
                         output->groups->count);
    return percentile_table_write(&output->groups->groups[0].histogram, file, format,
                                  options->ticks > 0 ? (int)options->ticks : PERCENTILE_TABLE_TICKS,
                                  unit_ns[options->table_unit] / unit_ns[options->unit]);
}

static int write_json_object(FILE *file, json_t *root) {
    errno = 0;
    int failure = json_dumpf(root, file, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) ||
                  fputc('\n', file) == EOF || fflush(file);
    json_decref(root);
    return failure ? (errno ? -errno : -EIO) : 0;
}

static int write_json(FILE *file, const struct output *output) {
    json_t *root = histogram_json_new(unit_names[output->options->unit]);
    for (size_t i = 0; i < output->groups->count; i++) {
        const struct histogram_group *group = &output->groups->groups[i];
        const struct histogram_entry entry = {.tag = group->name,
                                              .timed = group->timed,
                                              .start_s = group->start_s,
                                              .length_s = group->length_s,
                                              .exact = group->exact,
                                              .histogram = group->histogram};
        if (histogram_json_append(root, &entry)) {
            json_decref(root);
            return -ENOMEM;
        }
    }
    return write_json_object(file, root);
}

static int write_as(FILE *file, const struct output *output, enum format format) {
    switch (format) {
    case FORMAT_HGRM:
        return write_table(file, output, PERCENTILE_TABLE_HGRM);
    case FORMAT_CSV:
        return write_table(file, output, PERCENTILE_TABLE_CSV);
    case FORMAT_JSON:
        return write_json(file, output);
    default:
        return write_log(file, output);
    }
}

static int write_output(FILE *file, void *data) {
    const struct output *output = data;
    const struct options *options = output->options;
    switch (options->action) {
    case ACTION_PRINT:
        return options->json ? write_json(file, output)
                             : print_groups(file, options, output->groups);
    case ACTION_CONVERT:
        return write_as(file, output, (enum format)options->format);
    default:
        return write_log(file, output);
    }
}

static int write_groups(const struct options *options, const struct histogram_groups *groups,
                        struct error *error) {
    struct error cause = {.text = ""};
    struct output output = {.options = options, .groups = groups, .error = &cause};
    int failure = options->out ? file_write_whole(options->out, write_output, &output, error)
                               : write_output(stdout, &output);
    if (cause.text[0])
        *error = cause;
    else if (failure && error->text[0] == '\0')
        error_set(error, failure, "cannot write: %s", strerror(-failure));
    return failure;
}

/* Exit codes: what cannot be read is the user's, what cannot be written is not. */
static int read_exit_code(int failure) {
    bool refused = failure == -EACCES || failure == -EISDIR || failure == -EOVERFLOW ||
                   failure == -ENOTDIR || failure == -ELOOP || failure == -EFBIG;
    return refused ? EXIT_USAGE : command_exit_code(failure);
}

static int write_exit_code(int failure) {
    return failure == -EINVAL ? EXIT_USAGE : failure ? EXIT_FAILED : EXIT_OK;
}

/* ---- diff ------------------------------------------------------------------------------------ */

/* JSON has no integers above INT64_MAX. */
static json_t *value_of(uint64_t value, bool valid) {
    return valid ? json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value) : json_null();
}

static json_t *difference(const struct histogram *a, const struct histogram *b, bool exact,
                          double q) {
    bool valid_a = histogram_quantile_valid(a, q), valid_b = histogram_quantile_valid(b, q);
    uint64_t value_a = histogram_quantile(a, q), value_b = histogram_quantile(b, q);
    bool comparable = valid_a && valid_b && value_a > 0;
    return json_pack("{s:f, s:o, s:o, s:o, s:o}", "quantile", q, "a", value_of(value_a, valid_a),
                     "b", value_of(value_b, valid_b), "ratio",
                     comparable ? json_real((double)value_b / (double)value_a) : json_null(),
                     "intervals_apart",
                     exact ? json_boolean(!histogram_intervals_overlap(a, b, q)) : json_null());
}

static int write_difference(FILE *file, void *data) {
    const struct output *output = data;
    const struct histogram *a = &output->groups[0].groups[0].histogram;
    const struct histogram *b = &output->groups[1].groups[0].histogram;
    const struct options *options = output->options;
    bool exact = output->groups[0].groups[0].exact && output->groups[1].groups[0].exact;
    static const double quantiles[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999};
    if (!options->json) {
        fprintf(file, "A: %s\nB: %s\n\n", name_of_file(options->files[0]),
                name_of_file(options->files[1]));
        histogram_print_difference(a, b, exact, unit_ns[options->unit], file);
        fprintf(file, "\nEach interval is within its one run. Whether it was the server or the "
                      "moment, only repetitions tell.\n");
        return ferror(file) ? -EIO : 0;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++)
        json_array_append_new(list, difference(a, b, exact, quantiles[i]));
    return write_json_object(
        file,
        json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "schema", 1, "unit",
                  unit_names[options->unit], "a", options->files[0], "b", options->files[1],
                  "a_count", value_of(a->total, true), "b_count", value_of(b->total, true), "a_max",
                  value_of(a->max, true), "b_max", value_of(b->max, true), "quantiles", list));
}

static int diff(const struct options *options, struct error *error) {
    struct histogram_groups groups[2];
    int failure = 0;
    for (size_t i = 0; i < 2; i++)
        histogram_groups_open(&groups[i], GROUP_ALL, &options->filter);
    for (size_t i = 0; i < 2 && !failure; i++) {
        failure = read_file(options, options->files[i], &groups[i], error);
        if (!failure)
            failure = check_groups(&groups[i], error);
    }
    int code = read_exit_code(failure);
    if (!failure) {
        struct output output = {.options = options, .groups = groups};
        code = write_exit_code(
            options->out ? file_write_whole(options->out, write_difference, &output, error)
                         : write_difference(stdout, &output));
    }
    for (size_t i = 0; i < 2; i++)
        histogram_groups_close(&groups[i]);
    return code;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int gather(const struct options *options, struct error *error) {
    struct histogram_groups groups;
    int failure = 0;
    histogram_groups_open(&groups, (enum grouping)options->grouping, &options->filter);
    for (size_t i = 0; i < options->file_count && !failure; i++)
        failure = read_file(options, options->files[i], &groups, error);
    if (!failure)
        failure = check_groups(&groups, error);
    int code = read_exit_code(failure);
    if (!failure) {
        histogram_groups_sort(&groups);
        code = write_exit_code(write_groups(options, &groups, error));
    }
    histogram_groups_close(&groups);
    return code;
}

static int run(int argc, char **argv, struct error *error) {
    struct options options;
    if (read_options(&options, argc, argv, error))
        return EXIT_USAGE;
    return options.action == ACTION_DIFF ? diff(&options, error) : gather(&options, error);
}

const struct command command_hist = {.name = "hist",
                                     .summary = "read, merge, compare and convert histogram files",
                                     .help = help,
                                     .run = run};
