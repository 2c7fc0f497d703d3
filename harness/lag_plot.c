/* lag_plot.c: see lag_plot.h. */
#include "harness/lag_plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness/environment.h"
#include "harness/file.h"
#include "harness/gnuplot.h"

enum { NAME_BYTES = 64, CAPTION_BYTES = 1024, WIDTH_PX = 960, HEIGHT_PX = 480 };
#define LEAST_MS 0.001 /* lower is drawn as this: the scale is logarithmic */

struct lag_picture {
    char *const *logs;
    size_t count;
    double most_s, least_ms, most_ms;
    struct error error;
};

/* The file's name without folder and end, and without what would end a quoted word. */
static void name_of(const char *path, char name[NAME_BYTES]) {
    const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path;
    const char *dot = strrchr(stem, '.');
    size_t length = dot && dot > stem ? (size_t)(dot - stem) : strlen(stem);
    snprintf(name, NAME_BYTES, "%.*s", (int)length, stem);
    for (char *c = name; *c; c++)
        *c = *c == '"' ? '_' : *c;
}

static int copy_rows(FILE *log, const char *path, FILE *file, struct lag_picture *picture) {
    char line[256];
    unsigned long number = 1;
    if (!fgets(line, sizeof line, log) || strcmp(line, "at_s,lag_ms\n") != 0)
        return error_set(&picture->error, -EINVAL,
                         "%s:1: this is no log of `serve --monitor-log`: no line 'at_s,lag_ms'",
                         path);
    while (fgets(line, sizeof line, log)) {
        double at_s, lag_ms;
        int end = 0;
        number++;
        if (sscanf(line, "%lf,%lf%n", &at_s, &lag_ms, &end) != 2 || line[end] != '\n' ||
            !isfinite(at_s) || !isfinite(lag_ms) || at_s < 0 || lag_ms < 0)
            return error_set(&picture->error, -EINVAL, "%s:%lu: not 'SECONDS,MILLISECONDS'", path,
                             number);
        fprintf(file, "%.6f %.6f\n", at_s, fmax(lag_ms, LEAST_MS));
        picture->most_s = fmax(picture->most_s, at_s);
        picture->most_ms = fmax(picture->most_ms, lag_ms);
        picture->least_ms = fmin(picture->least_ms, fmax(lag_ms, LEAST_MS));
    }
    if (number == 1)
        return error_set(&picture->error, -EINVAL, "%s: it has no lag in it", path);
    return 0;
}

static int write_data(FILE *file, void *data) {
    struct lag_picture *picture = data;
    for (size_t i = 0; i < picture->count; i++) {
        const char *path = picture->logs[i];
        FILE *log = fopen(path, "re");
        if (!log)
            return error_set(&picture->error, -errno, "%s: %s", path, strerror(errno));
        fprintf(file, "%s# %s: at_s lag_ms\n", i ? "\n\n" : "", path);
        int failure = copy_rows(log, path, file, picture);
        fclose(log);
        if (failure)
            return failure;
    }
    return 0;
}

static void set_curves(struct gnuplot *gnuplot, const struct lag_picture *picture) {
    char names[LAG_PLOT_LOGS_MOST * (NAME_BYTES + 3)] = "", styles[64] = "";
    for (size_t i = 0; i < picture->count; i++) {
        char name[NAME_BYTES];
        size_t used = strlen(names), used_styles = strlen(styles);
        name_of(picture->logs[i], name);
        snprintf(names + used, sizeof names - used, "\"%s\" ", name);
        snprintf(styles + used_styles, sizeof styles - used_styles, "%zu ", i + 1);
    }
    gnuplot_set_text(gnuplot, "servers", names);
    gnuplot_set_text(gnuplot, "styles", styles);
}

static int draw(const struct lag_picture *picture, const char *data, const char *output,
                struct error *error) {
    struct gnuplot gnuplot;
    char machine[256], caption[CAPTION_BYTES];
    int failure = gnuplot_open(&gnuplot, error);
    if (failure)
        return failure;
    json_t *environment = environment_capture();
    environment_caption(environment, machine, sizeof machine);
    json_decref(environment);
    snprintf(caption, sizeof caption,
             "%s|how late the lag timer of each loop came, by when it was due; what is due during "
             "a stall comes at its end",
             machine);
    gnuplot_wrap_caption(caption, WIDTH_PX);
    gnuplot_set_text(&gnuplot, "data", data);
    gnuplot_set_text(&gnuplot, "title", "event loop lag over time");
    gnuplot_set_text(&gnuplot, "caption", caption);
    set_curves(&gnuplot, picture);
    gnuplot_set_number(&gnuplot, "width", WIDTH_PX);
    gnuplot_set_number(&gnuplot, "height", HEIGHT_PX);
    gnuplot_set_number(&gnuplot, "x_most", picture->most_s);
    gnuplot_set_number(&gnuplot, "y_least", picture->least_ms);
    gnuplot_set_number(&gnuplot, "y_most", fmax(picture->most_ms, 10 * picture->least_ms));
    return gnuplot_draw(&gnuplot, "lag", strrchr(output, '.') + 1, output, error);
}

static bool is_picture(const char *output) {
    const char *end = strrchr(output, '.');
    return end && (strcmp(end, ".png") == 0 || strcmp(end, ".svg") == 0);
}

int lag_plot(const char *output, char *const *logs, size_t count, struct error *error) {
    struct lag_picture picture = {.logs = logs, .count = count, .least_ms = INFINITY};
    char data[PATH_MAX];
    if (!is_picture(output))
        return error_set(error, -EINVAL, "--lag: '%s' ends in neither .png nor .svg", output);
    if (count == 0 || count > LAG_PLOT_LOGS_MOST)
        return error_set(error, -EINVAL, "--lag needs one to %d logs of `serve --monitor-log`",
                         LAG_PLOT_LOGS_MOST);
    snprintf(data, sizeof data, "%.4000s.dat", output);
    int failure = file_write_whole(data, write_data, &picture, error);
    if (failure)
        return picture.error.text[0] ? error_set(error, failure, "%s", picture.error.text)
                                     : failure;
    failure = draw(&picture, data, output, error);
    unlink(data);
    return failure;
}
