/* plot.c: see plot.h. A figure is prepared here as plain columns and drawn by its script. */
#include "harness/plot.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/file.h"
#include "harness/gnuplot.h"
#include "harness/summary.h"
#include "loops/check.h"

enum { TEXT_BYTES = 1024, CELLS_MOST = 256, SERVERS_MOST = 32 };
enum { BEYOND_A_QUANTILE = 5, TICK_PX_A_CHARACTER = 8 };

struct plotting {
    const char *directory; /* absolute */
    const struct gnuplot *gnuplot;
    const struct summary *summary;
};

/* One picture: some cells of one experiment, and what its script is told. */
struct picture {
    const struct plotting *plotting;
    const struct figure *figure;
    const struct summary_experiment *experiment;
    const struct summary_cell *cells[CELLS_MOST];
    size_t cell_count;
    size_t axis;                  /* on the x axis, where the figure has one */
    size_t servers[SERVERS_MOST]; /* those with anything to draw */
    size_t server_count;
    double x_least, x_most, least[2], most[2];
    double fewest, most_samples; /* responses behind a curve */
    char name[256], title[TEXT_BYTES];
    size_t tick_rows, tick_columns; /* of the longest label below the x axis, in characters */
};

enum mark { MARK_RANKED, MARK_NOT_RANKED, MARK_INVALID };

#define FOR(measure) (1u << (measure))

struct figure {
    const char *name; /* of its script, and in the files it makes */
    const char *title;
    const char *ylabel;
    enum metric metrics[2];
    size_t metric_count;
    unsigned measures; /* the kinds of experiment it is for: bits of an enum measure */
    const char *axis;  /* ends the name of the axis it needs, with at least two values; null: any */
    bool cell_by_cell;
    int (*print)(FILE *file, void *picture);
};

static int print_groups(FILE *file, void *data);
static int print_curves(FILE *file, void *data);
static int print_percentiles(FILE *file, void *data);

static const struct figure figures[] = {
    {.name = "throughput",
     .title = "throughput",
     .ylabel = "throughput (requests/s)",
     .metrics = {SUMMARY_THROUGHPUT},
     .metric_count = 1,
     .measures = FOR(MEASURE_CAPACITY),
     .print = print_groups},
    {.name = "cost",
     .title = "CPU time of a request",
     .ylabel = "server CPU (µs/request)",
     .metrics = {SUMMARY_CPU},
     .metric_count = 1,
     .measures = FOR(MEASURE_COST),
     .print = print_groups},
    {.name = "p99",
     .title = "p99 response time",
     .ylabel = "p99 response time (ms)",
     .metrics = {SUMMARY_P99},
     .metric_count = 1,
     .measures = FOR(MEASURE_LATENCY),
     .print = print_groups},
    {.name = "percentiles",
     .title = "response time by percentile",
     .ylabel = "response time (ms)",
     .measures = FOR(MEASURE_LATENCY),
     .cell_by_cell = true,
     .print = print_percentiles},
    {.name = "connections",
     .title = "against connections",
     .metrics = {SUMMARY_THROUGHPUT, SUMMARY_CPU},
     .metric_count = 2,
     .measures = FOR(MEASURE_CAPACITY),
     .axis = "connections",
     .print = print_curves},
    {.name = "pool",
     .title = "against the size of the pool",
     .metrics = {SUMMARY_THROUGHPUT, SUMMARY_P50},
     .metric_count = 2,
     .measures = FOR(MEASURE_CAPACITY),
     .axis = "pool_max",
     .print = print_curves},
    {.name = "pool-latency",
     .title = "against the size of the pool",
     .metrics = {SUMMARY_P50, SUMMARY_P99},
     .metric_count = 2,
     .measures = FOR(MEASURE_LATENCY),
     .axis = "pool_max",
     .print = print_curves},
    {.name = "calls",
     .title = "against the calls of a request",
     .metrics = {SUMMARY_P50, SUMMARY_THROUGHPUT},
     .metric_count = 2,
     .measures = FOR(MEASURE_CAPACITY),
     .axis = "calls",
     .print = print_curves},
    {.name = "job-length",
     .title = "beside jobs of a length",
     .metrics = {SUMMARY_P50, SUMMARY_P99},
     .metric_count = 2,
     .measures = FOR(MEASURE_LATENCY),
     .axis = "job_us",
     .print = print_curves},
    {.name = "threads",
     .title = "against threads of the pool",
     .metrics = {SUMMARY_THROUGHPUT, SUMMARY_CPU},
     .metric_count = 2,
     .measures = FOR(MEASURE_CAPACITY),
     .axis = "pool_threads",
     .print = print_curves},
    {.name = "idle",
     .title = "the cost of idle connections",
     .metrics = {SUMMARY_CPU},
     .metric_count = 1,
     .measures = FOR(MEASURE_CAPACITY) | FOR(MEASURE_LATENCY) | FOR(MEASURE_COST),
     .axis = "idle_connections",
     .print = print_curves},
};

static void append_text(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void append_text(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

/* ---- what is drawn --------------------------------------------------------------------------- */

/* Why a row is hollow, or null. CPU per request below saturation belongs to the load it had. */
static const char *hollow_because(const struct picture *picture, const struct summary_row *row,
                                  enum metric metric) {
    struct summary_flags flags =
        summary_own_flags(picture->plotting->summary, picture->experiment, row, metric);
    if (metric == SUMMARY_CPU && picture->experiment->measure == MEASURE_CAPACITY &&
        row->bound == BOUND_LATENCY)
        return "CPU at unequal load (latency-bound)";
    return summary_obstacle(&flags);
}

static enum mark mark_of(const struct picture *picture, const struct summary_row *row,
                         enum metric metric) {
    if (!summary_row_valid(row))
        return MARK_INVALID;
    return hollow_because(picture, row, metric) ? MARK_NOT_RANKED : MARK_RANKED;
}

static void cover(double *least, double *most, double value) {
    *least = fmin(*least, value);
    *most = fmax(*most, value);
}

/* The row's median and interval; of an invalid row the median of whatever was measured, so that the
 * reader sees that it was. False: nothing is known. */
static bool row_point(const struct summary_row *row, enum metric metric, double point[3]) {
    const struct spread *spread = &row->metrics[metric];
    double values[STATISTICS_MAX_VALUES];
    size_t count = 0;
    point[0] = spread->median;
    if (!summary_row_valid(row)) {
        for (size_t i = 0; i < row->count && count < STATISTICS_MAX_VALUES; i++)
            count += metric_value(row->repetitions[i], metric, &values[count]);
        point[0] = count > 0 ? median_in_place(values, count) : NAN;
    }
    bool bounded = summary_row_valid(row) && spread->interval.bounded;
    point[1] = bounded ? spread->interval.low : point[0];
    point[2] = bounded ? spread->interval.high : point[0];
    return isfinite(point[0]);
}

/* Finds the servers with anything to draw, and the ranges. */
static void survey(struct picture *picture) {
    for (size_t s = 0; s < picture->experiment->server_count && s < SERVERS_MOST; s++) {
        bool any = false;
        for (size_t c = 0; c < picture->cell_count; c++) {
            const struct summary_row *row = &picture->cells[c]->rows[s];
            bool complete = row->count > 0;
            for (size_t m = 0; m < picture->figure->metric_count; m++) {
                double point[3], value;
                complete = row_point(row, picture->figure->metrics[m], point) && complete;
                for (size_t i = 0; i < 3 && complete; i++)
                    cover(&picture->least[m], &picture->most[m], point[i]);
                for (size_t i = 0; i < row->count; i++)
                    if (metric_value(row->repetitions[i], picture->figure->metrics[m], &value) &&
                        picture->figure->print == print_groups)
                        cover(&picture->least[m], &picture->most[m], value);
            }
            if (complete)
                cover(&picture->x_least, &picture->x_most,
                      picture->cells[c]->values[picture->axis]);
            any = any || complete;
        }
        if (any)
            picture->servers[picture->server_count++] = s;
    }
}

static double slot_width(const struct picture *picture) {
    return 0.84 / (double)picture->server_count;
}

static double slot_x(const struct picture *picture, size_t group, size_t slot) {
    return (double)group +
           ((double)slot - ((double)picture->server_count - 1) / 2) * slot_width(picture);
}

static void print_tick(FILE *file, struct picture *picture, size_t group) {
    char label[SUMMARY_LABEL_BYTES];
    summary_cell_label(picture->experiment, picture->cells[group],
                       summary_constant_axes(picture->experiment), label);
    size_t rows = 1, columns = 0;
    for (char *comma = strstr(label, ", "); comma; comma = strstr(comma, ", "), rows++) {
        comma[0] = '|';
        memmove(comma + 1, comma + 2, strlen(comma + 2) + 1);
    }
    picture->tick_rows = rows > picture->tick_rows ? rows : picture->tick_rows;
    for (const char *c = label; *c; c++) {
        columns = *c == '|' ? 0 : columns + ((*c & 0xC0) != 0x80);
        picture->tick_columns = columns > picture->tick_columns ? columns : picture->tick_columns;
    }
    fprintf(file, "%zu \"%s\"\n", group, label);
}

static void print_dots(FILE *file, const struct picture *picture, size_t slot, enum metric metric) {
    for (size_t c = 0; c < picture->cell_count; c++) {
        const struct summary_row *row = &picture->cells[c]->rows[picture->servers[slot]];
        enum mark mark = mark_of(picture, row, metric);
        double step = row->count > 1 ? 0.7 * slot_width(picture) / (double)(row->count - 1) : 0;
        for (size_t i = 0; i < row->count; i++) {
            double value, shift = step * ((double)i - ((double)row->count - 1) / 2);
            bool valid = json_is_true(json_object_get(row->repetitions[i], "valid"));
            if (metric_value(row->repetitions[i], metric, &value))
                fprintf(file, "%.4f %.10g %d\n", slot_x(picture, c, slot) + shift, value,
                        valid ? mark : MARK_INVALID);
        }
    }
}

/* Blocks are told apart by two empty lines, and an empty one would not count. */
static int print_groups(FILE *file, void *data) {
    struct picture *picture = data;
    enum metric metric = picture->figure->metrics[0];
    fprintf(file, "# x label\n");
    for (size_t c = 0; c < picture->cell_count; c++)
        print_tick(file, picture, c);
    for (size_t slot = 0; slot < picture->server_count; slot++) {
        const char *server = picture->experiment->servers[picture->servers[slot]];
        fprintf(file, "\n\n# %s, repetitions: x %s kind\n", server, metric_kinds[metric].column);
        print_dots(file, picture, slot, metric);
        fprintf(file, "\n\n# %s, rows: x median low high kind\n", server);
        for (size_t c = 0; c < picture->cell_count; c++) {
            const struct summary_row *row = &picture->cells[c]->rows[picture->servers[slot]];
            double point[3];
            if (row_point(row, metric, point))
                fprintf(file, "%.4f %.10g %.10g %.10g %d\n", slot_x(picture, c, slot), point[0],
                        point[1], point[2], mark_of(picture, row, metric));
        }
    }
    return 0;
}

static int print_curves(FILE *file, void *data) {
    struct picture *picture = data;
    const struct figure *figure = picture->figure;
    for (size_t slot = 0; slot < picture->server_count; slot++) {
        fprintf(file, "%s# %s: %s", slot ? "\n\n" : "",
                picture->experiment->servers[picture->servers[slot]],
                picture->experiment->axes[picture->axis]);
        for (size_t m = 0; m < figure->metric_count; m++)
            fprintf(file, ", %s low high kind", metric_kinds[figure->metrics[m]].column);
        putc('\n', file);
        for (size_t c = 0; c < picture->cell_count; c++) {
            const struct summary_row *row = &picture->cells[c]->rows[picture->servers[slot]];
            double points[2][3];
            bool known = row->count > 0;
            for (size_t m = 0; m < figure->metric_count; m++)
                known = row_point(row, figure->metrics[m], points[m]) && known;
            if (!known)
                continue;
            fprintf(file, "%.10g", picture->cells[c]->values[picture->axis]);
            for (size_t m = 0; m < figure->metric_count; m++)
                fprintf(file, " %.10g %.10g %.10g %d", points[m][0], points[m][1], points[m][2],
                        mark_of(picture, row, figure->metrics[m]));
            putc('\n', file);
        }
    }
    return 0;
}

/* ---- percentile curves, from HdrHistogram's percentile text ---------------------------------- */

static FILE *open_percentiles(const struct picture *picture, size_t server) {
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(picture->plotting->summary->run, "latency"), i, entry) {
        const char *experiment = json_string_value(json_object_get(entry, "experiment"));
        const char *cell = json_string_value(json_object_get(entry, "cell"));
        const char *name = json_string_value(json_object_get(entry, "server_name"));
        const char *file = json_string_value(json_object_get(entry, "file"));
        char path[PATH_MAX];
        if (!experiment || !cell || !name || !file ||
            strcmp(experiment, picture->experiment->name) != 0 ||
            strcmp(cell, picture->cells[0]->name) != 0 ||
            strcmp(name, picture->experiment->servers[server]) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", picture->plotting->directory, file);
        return fopen(path, "r");
    }
    return NULL;
}

static double total_count(FILE *file) {
    char line[256];
    double total = 0;
    while (fgets(line, sizeof line, file))
        sscanf(line, "#[Max = %*f, Total count = %lf]", &total);
    rewind(file);
    return total;
}

/* Copies the rows that enough responses lie beyond. Returns the number of rows; `file` may be null.
 */
static size_t copy_percentiles(FILE *percentiles, FILE *file, struct picture *picture) {
    char line[256];
    double value_ms, level, inverse, total = total_count(percentiles);
    size_t rows = 0;
    while (fgets(line, sizeof line, percentiles)) {
        if (sscanf(line, "%lf %lf %*s %lf", &value_ms, &level, &inverse) != 3 ||
            inverse * BEYOND_A_QUANTILE > total || value_ms <= 0)
            continue;
        rows++;
        cover(&picture->x_least, &picture->x_most, inverse);
        cover(&picture->least[0], &picture->most[0], value_ms);
        if (file)
            fprintf(file, "%.2f %.6g\n", inverse, value_ms);
    }
    if (rows > 0)
        cover(&picture->fewest, &picture->most_samples, total);
    return rows;
}

static void survey_percentiles(struct picture *picture) {
    for (size_t s = 0; s < picture->experiment->server_count && s < SERVERS_MOST; s++) {
        FILE *percentiles = open_percentiles(picture, s);
        if (!percentiles)
            continue;
        if (copy_percentiles(percentiles, NULL, picture) > 1)
            picture->servers[picture->server_count++] = s;
        fclose(percentiles);
    }
}

static int print_percentiles(FILE *file, void *data) {
    struct picture *picture = data;
    for (size_t slot = 0; slot < picture->server_count; slot++) {
        FILE *percentiles = open_percentiles(picture, picture->servers[slot]);
        if (!percentiles)
            return -errno;
        fprintf(file, "%s# %s: 1/(1-p) response_ms\n", slot ? "\n\n" : "",
                picture->experiment->servers[picture->servers[slot]]);
        copy_percentiles(percentiles, file, picture);
        fclose(percentiles);
    }
    return 0;
}

/* ---- the caption ----------------------------------------------------------------------------- */

static size_t repetitions_of(const struct picture *picture, bool only_invalid, size_t *most) {
    size_t count = 0;
    for (size_t c = 0; c < picture->cell_count; c++) {
        for (size_t s = 0; s < picture->experiment->server_count; s++) {
            const struct summary_row *row = &picture->cells[c]->rows[s];
            count += only_invalid ? row->count - row->valid : row->count;
            *most = row->count > *most ? row->count : *most;
        }
    }
    return count;
}

/* "hollow: co-limited", with each reason once. */
static void append_hollow(const struct picture *picture, char *caption) {
    char found[TEXT_BYTES] = "";
    for (size_t c = 0; c < picture->cell_count; c++) {
        for (size_t s = 0; s < picture->experiment->server_count; s++) {
            const struct summary_row *row = &picture->cells[c]->rows[s];
            for (size_t m = 0; m < picture->figure->metric_count && summary_row_valid(row); m++) {
                const char *reason = hollow_because(picture, row, picture->figure->metrics[m]);
                if (reason && !strstr(found, reason))
                    append_text(found, sizeof found, "%s%s", *found ? ", " : "", reason);
            }
        }
    }
    if (*found)
        append_text(caption, TEXT_BYTES, "; hollow, not ranked: %s", found);
}

static void append_evidence(const struct picture *picture, char *caption) {
    size_t most = 0, all = repetitions_of(picture, false, &most);
    size_t invalid = repetitions_of(picture, true, &most);
    append_text(caption, TEXT_BYTES, "%zu repetitions, up to %zu a server and cell", all, most);
    if (invalid > 0)
        append_text(caption, TEXT_BYTES, "; %zu invalid, in no median", invalid);
    if (picture->most_samples > 0)
        append_text(caption, TEXT_BYTES, "; responses a server: %.0f to %.0f", picture->fewest,
                    picture->most_samples);
    else
        append_text(caption, TEXT_BYTES, "; whiskers: 95 %% interval between repetitions%s",
                    most < 6 ? " (none: it takes 6)" : "");
    append_hollow(picture, caption);
}

static void make_caption(const struct picture *picture, double width, char caption[TEXT_BYTES]) {
    const json_t *run = picture->plotting->summary->run;
    const char *machine = json_string_value(summary_at(run, "environment.caption"));
    const char *revision = json_string_value(json_object_get(run, "revision"));
    const char *name = strrchr(picture->plotting->directory, '/');
    caption[0] = '\0';
    append_text(caption, TEXT_BYTES, "%s", machine ? machine : "machine not recorded");
    for (char *c = caption; *c; c++)
        *c = *c == '|' || *c == '\n' ? ' ' : *c;
    append_text(caption, TEXT_BYTES, "|");
    append_evidence(picture, caption);
    append_text(caption, TEXT_BYTES, "|run %s, revision %s%s", name ? name + 1 : "?",
                revision ? revision : "not recorded",
                json_is_false(json_object_get(run, "complete")) ? ", incomplete" : "");
    gnuplot_wrap_caption(caption, width);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static void set_servers(struct gnuplot *gnuplot, const struct picture *picture) {
    char names[TEXT_BYTES] = "", styles[TEXT_BYTES] = "";
    for (size_t i = 0; i < picture->server_count; i++) {
        append_text(names, sizeof names, "\"%s\" ",
                    picture->experiment->servers[picture->servers[i]]);
        append_text(styles, sizeof styles, "%zu ", picture->servers[i] + 1);
    }
    gnuplot_set_text(gnuplot, "servers", names);
    gnuplot_set_text(gnuplot, "styles", styles);
}

static int draw_as(const struct picture *picture, const struct gnuplot *gnuplot, const char *format,
                   struct error *error) {
    char output[PATH_MAX];
    snprintf(output, sizeof output, "%s/plots/%s.%s", picture->plotting->directory, picture->name,
             format);
    return gnuplot_draw(gnuplot, picture->figure->name, format, output, error);
}

static double width_of(const struct picture *picture) {
    double groups = (double)picture->cell_count, servers = (double)picture->server_count;
    double group =
        fmax(34 + servers * 24, 16 + TICK_PX_A_CHARACTER * (double)picture->tick_columns);
    if (picture->figure->print == print_groups)
        return fmin(2400, fmax(960, 320 + groups * group));
    return picture->figure->metric_count == 2 ? 1280 : 960;
}

static int render(struct picture *picture, struct error *error) {
    char path[PATH_MAX], caption[TEXT_BYTES];
    struct gnuplot gnuplot = *picture->plotting->gnuplot;
    snprintf(path, sizeof path, "%s/plots/data/%s.dat", picture->plotting->directory,
             picture->name);
    int err = file_write_whole(path, picture->figure->print, picture, error);
    if (err < 0)
        return err;
    double width = width_of(picture);
    make_caption(picture, width, caption);
    gnuplot_set_text(&gnuplot, "data", path);
    gnuplot_set_text(&gnuplot, "title", picture->title);
    gnuplot_set_text(&gnuplot, "caption", caption);
    gnuplot_set_text(&gnuplot, "ylabel", picture->figure->ylabel ? picture->figure->ylabel : "");
    set_servers(&gnuplot, picture);
    gnuplot_set_number(&gnuplot, "width", width);
    gnuplot_set_number(&gnuplot, "height", 560);
    gnuplot_set_number(&gnuplot, "groups", (double)picture->cell_count);
    gnuplot_set_number(&gnuplot, "tick_rows", (double)picture->tick_rows);
    gnuplot_set_number(&gnuplot, "bar", 0.4 * slot_width(picture));
    gnuplot_set_number(&gnuplot, "x_least", picture->x_least);
    gnuplot_set_number(&gnuplot, "x_most", picture->x_most);
    gnuplot_set_number(&gnuplot, "y_least", picture->least[0]);
    gnuplot_set_number(&gnuplot, "y_most", picture->most[0]);
    if (picture->figure->metric_count == 2) {
        gnuplot_set_number(&gnuplot, "y2_least", picture->least[1]);
        gnuplot_set_number(&gnuplot, "y2_most", picture->most[1]);
    }
    err = draw_as(picture, &gnuplot, "png", error);
    return err < 0 ? err : draw_as(picture, &gnuplot, "svg", error);
}

/* ---- which figures --------------------------------------------------------------------------- */

/* The axis the figure needs, or -1 where it does not apply. */
static int axis_for(const struct figure *figure, const struct summary_experiment *experiment) {
    if (!(figure->measures & FOR(experiment->measure)))
        return -1;
    if (!figure->axis)
        return 0;
    for (size_t i = 0; i < experiment->axis_count; i++)
        if (strcmp(experiment->axes[i], figure->axis) == 0 &&
            !(summary_constant_axes(experiment) & (1u << i)))
            return (int)i;
    return -1;
}

/* Whether two cells belong in one picture: alike in all axes but the one the picture varies. */
static bool together(const struct picture *picture, const struct summary_cell *a,
                     const struct summary_cell *b) {
    if (picture->figure->cell_by_cell)
        return a == b;
    for (size_t i = 0; i < picture->experiment->axis_count && picture->figure->axis; i++)
        if (i != picture->axis && !summary_same_value(a, b, picture->experiment->axes[i]))
            return false;
    return true;
}

/* Names the picture by what all its cells have in common. */
static void name_picture(struct picture *picture) {
    const struct summary_experiment *experiment = picture->experiment;
    unsigned varying = picture->figure->axis ? 1u << picture->axis : 0;
    char label[SUMMARY_LABEL_BYTES] = "";
    if (picture->figure->axis || picture->figure->cell_by_cell)
        summary_cell_label(experiment, picture->cells[0], varying, label);
    else
        summary_cell_label(experiment, picture->cells[0], ~summary_constant_axes(experiment),
                           label);
    snprintf(picture->title, sizeof picture->title, "%s: %s%s%s", experiment->name,
             picture->figure->title, *label ? ", " : "", label);
    snprintf(picture->name, sizeof picture->name, "%s.%s", experiment->name, picture->figure->name);
    if (!(picture->figure->axis || picture->figure->cell_by_cell) || !*label)
        return;
    size_t used = strlen(picture->name);
    append_text(picture->name, sizeof picture->name, ".%s", label);
    for (char *c = picture->name + used + 1; *c; c++)
        *c = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", *c) ? *c
                                                                                            : '-';
}

static int draw_pictures(struct picture *blank, struct error *error) {
    const struct summary_experiment *experiment = blank->experiment;
    for (size_t first = 0; first < experiment->cell_count; first++) {
        struct picture picture = *blank;
        size_t c = 0;
        while (c < first && !together(blank, &experiment->cells[c], &experiment->cells[first]))
            c++;
        if (c < first)
            continue; /* in the picture of an earlier cell */
        for (c = first; c < experiment->cell_count && picture.cell_count < CELLS_MOST; c++)
            if (together(blank, &experiment->cells[first], &experiment->cells[c]))
                picture.cells[picture.cell_count++] = &experiment->cells[c];
        name_picture(&picture);
        if (picture.figure->print == print_percentiles)
            survey_percentiles(&picture);
        else
            survey(&picture);
        if (picture.server_count == 0)
            continue;
        int err = render(&picture, error);
        if (err < 0)
            return err;
    }
    return 0;
}

static int draw_all(const struct plotting *plotting, struct error *error) {
    for (size_t e = 0; e < plotting->summary->experiment_count; e++) {
        for (size_t f = 0; f < ARRAY_LENGTH(figures); f++) {
            int axis = axis_for(&figures[f], &plotting->summary->experiments[e]);
            struct picture blank = {
                .plotting = plotting,
                .figure = &figures[f],
                .experiment = &plotting->summary->experiments[e],
                .axis = axis < 0 ? 0 : (size_t)axis,
                .x_least = INFINITY,
                .x_most = -INFINITY,
                .least = {INFINITY, INFINITY},
                .most = {-INFINITY, -INFINITY},
                .fewest = INFINITY,
            };
            int err = axis < 0 ? 0 : draw_pictures(&blank, error);
            if (err < 0)
                return err;
        }
    }
    return 0;
}

int plot_run(const char *directory, struct error *error) {
    char absolute[PATH_MAX], path[PATH_MAX + 16];
    struct gnuplot gnuplot;
    json_error_t parse_error;
    if (!realpath(directory, absolute))
        return error_set(error, -errno, "%s: %s", directory, strerror(errno));
    int err = gnuplot_open(&gnuplot, error);
    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/run.json", absolute);
    if (access(path, R_OK) != 0)
        return error_set(error, -errno, "%s: %s", path, strerror(errno));
    json_t *run = json_load_file(path, JSON_REJECT_DUPLICATES, &parse_error);
    if (!run)
        return error_set(error, -EINVAL, "%s:%d: %s", path, parse_error.line, parse_error.text);
    struct summary summary;
    err = summary_init(&summary, run, error);
    snprintf(path, sizeof path, "%s/plots/data", absolute);
    if (err == 0)
        err = file_make_directories(path, error);
    if (err == 0)
        err = draw_all(&(struct plotting){absolute, &gnuplot, &summary}, error);
    summary_free(&summary);
    json_decref(run);
    return err;
}
