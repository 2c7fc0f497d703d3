/* load_sweep_run.c: see load_sweep_run.h. */
#include "harness/load_sweep_run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/build_info.h"
#include "harness/command.h"
#include "harness/environment.h"
#include "harness/file.h"
#include "harness/gnuplot.h"
#include "harness/interrupt.h"
#include "harness/load_step.h"
#include "harness/record.h"
#include "harness/units.h"
#include "loops/check.h"

enum { CAPTION_BYTES = 1024, KNEE_TEXT_BYTES = 320, WIDTH_PX = 960, HEIGHT_PX = 560 };

struct sweeping {
    struct load_options *options;
    struct progress progress;
    double length_ns;
    struct load_step steps[SWEEP_STEPS_MOST];
    struct sweep_point points[SWEEP_STEPS_MOST];
    size_t count;
    struct sweep_knee knee;
    bool interrupted, failed;
};

/* ---- steps ----------------------------------------------------------------------------------- */

static const char *fault_words(enum fault fault) {
    static const char *const words[] = {[FAULT_NONE] = "yes",
                                        [FAULT_SERVER] = "no: server",
                                        [FAULT_GENERATOR] = "no: generator",
                                        [FAULT_MACHINE] = "no: machine"};
    return words[fault];
}

static void announce(struct sweeping *run) {
    const struct sweep_plan *plan = &run->options->sweep;
    char from[UNITS_TEXT_BYTES], to[UNITS_TEXT_BYTES], whole[UNITS_TEXT_BYTES];
    double whole_ns = 0, warmup_ns = knob_get(&run->options->plan.knobs, "warmup");
    for (size_t i = 0; i < plan->steps; i++)
        whole_ns += warmup_ns + sweep_step_ns(run->length_ns, sweep_rate(plan, i));
    progress_note(&run->progress, "%zu rates from %s to %s: about %s", plan->steps,
                  units_rate(plan->from, from), units_rate(plan->to, to),
                  units_duration(whole_ns, whole));
}

static void note_step(struct sweeping *run, const struct load_step *step) {
    char count[UNITS_TEXT_BYTES], p50[STEP_TEXT_BYTES], p99[STEP_TEXT_BYTES];
    progress_note(&run->progress, "%2zu. %9s/s: %s, %s%s%s", run->count,
                  units_count(step->rate, count),
                  load_step_latency_text("p50", &step->latencies[STEP_P50], p50),
                  load_step_latency_text("p99", &step->latencies[STEP_P99], p99),
                  step->reason[0] ? "; " : "", step->reason);
}

static void keep_step(struct sweeping *run) {
    struct load_step *step = &run->steps[run->count];
    const struct step_latency *p99 = &step->latencies[STEP_P99];
    json_object_set_new(step->record, "sustained", json_boolean(step->fault != FAULT_SERVER));
    run->points[run->count++] = (struct sweep_point){.rate = step->rate,
                                                     .fault = step->fault,
                                                     .missed = step->missed,
                                                     .p99_known = p99->known,
                                                     .p99_ns = (double)p99->value_ns,
                                                     .p99_low_ns = (double)p99->low_ns};
    note_step(run, step);
}

static void take_steps(struct sweeping *run, struct error *error) {
    interrupt_catch();
    while (run->count < run->options->sweep.steps && !sweep_should_end(run->points, run->count)) {
        double rate = sweep_rate(&run->options->sweep, run->count);
        int failure = load_step_run(run->options, rate, sweep_step_ns(run->length_ns, rate),
                                    &run->progress, &run->steps[run->count], error);
        run->interrupted = failure == -EINTR;
        run->failed = failure && !run->interrupted;
        if (failure)
            return;
        keep_step(run);
    }
}

static bool ended_early(const struct sweeping *run) {
    return sweep_should_end(run->points, run->count) && run->count < run->options->sweep.steps;
}

static const char *ended(const struct sweeping *run) {
    return run->failed         ? "failed"
           : run->interrupted  ? "interrupted"
           : !ended_early(run) ? "complete"
                               : "not-sustained";
}

static size_t valid_count(const struct sweeping *run) {
    size_t count = 0;
    for (size_t i = 0; i < run->count; i++)
        count += run->points[i].fault == FAULT_NONE;
    return count;
}

/* ---- for people ------------------------------------------------------------------------------ */

/* printf counts bytes, and "µs" has one more of them than columns. */
static void print_column(const char *text, int columns) {
    int width = 0;
    for (const char *c = text; *c; c++)
        width += (*c & 0xC0) != 0x80;
    printf(" %*s%s", columns > width ? columns - width : 0, "", text);
}

static void print_latency(const struct step_latency *latency, int columns) {
    char text[STEP_TEXT_BYTES], value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES];
    char high[UNITS_TEXT_BYTES];
    snprintf(text, sizeof text, "%s (%s to %s)", units_time((double)latency->value_ns, value),
             units_time((double)latency->low_ns, low), units_time((double)latency->high_ns, high));
    print_column(latency->known ? text : "-", columns);
}

static void print_table(const struct sweeping *run) {
    char text[UNITS_TEXT_BYTES];
    printf("\n%10s %10s %9s %31s %31s %6s  %s\n", "rate/s", "achieved", "p50", "p99 (95 %)",
           "p99.9 (95 %)", "busy", "valid");
    for (size_t i = 0; i < run->count; i++) {
        const struct load_step *step = &run->steps[i];
        const struct step_latency *p50 = &step->latencies[STEP_P50];
        print_column(units_count(step->rate, text), 9);
        print_column(units_count(step->achieved_rate, text), 10);
        print_column(p50->known ? units_time((double)p50->value_ns, text) : "-", 9);
        print_latency(&step->latencies[STEP_P99], 31);
        print_latency(&step->latencies[STEP_P999], 31);
        printf(" %4.0f %%  %s\n", step->busy * 100, fault_words(step->fault));
    }
    printf("\n");
}

static void print_reasons(const struct sweeping *run) {
    for (size_t i = 0; i < run->count; i++) {
        char rate[UNITS_TEXT_BYTES];
        if (run->steps[i].reason[0])
            printf("  %s/s: %s\n", units_count(run->steps[i].rate, rate), run->steps[i].reason);
    }
    if (ended_early(run))
        printf("  ended early: two rates in a row were not sustained\n");
}

static const char *knee_text(const struct sweep_knee *knee, char text[KNEE_TEXT_BYTES]) {
    char rate[UNITS_TEXT_BYTES], over[UNITS_TEXT_BYTES], level[UNITS_TEXT_BYTES];
    units_time(knee->level_ns, level);
    switch (knee->knee) {
    case KNEE_FOUND:
        snprintf(text, KNEE_TEXT_BYTES, "knee at %s/s; %s/s is beyond it",
                 units_count(knee->rate, rate), units_count(knee->over_rate, over));
        break;
    case KNEE_NONE:
        snprintf(text, KNEE_TEXT_BYTES, "no knee within the sweep");
        break;
    case KNEE_BELOW:
        snprintf(text, KNEE_TEXT_BYTES, "no knee: the sweep begins beyond what is sustained");
        break;
    default:
        snprintf(text, KNEE_TEXT_BYTES, "knee not known: too few rates have a valid p99");
        break;
    }
    return text;
}

static void print_knee(const struct sweeping *run) {
    const struct sweep_knee *knee = &run->knee;
    char text[KNEE_TEXT_BYTES], level[UNITS_TEXT_BYTES];
    printf("  %s\n", knee_text(knee, text));
    printf("  (the last rate before p99 stays over %d times its level at low load",
           SWEEP_KNEE_TIMES);
    if (knee->level_ns > 0)
        printf(", here %s", units_time(knee->level_ns, level));
    printf(", or is not sustained)\n");
    if (knee->isolated > 0)
        printf("  note: p99 was over that at %zu rate%s below, too: not monotonic\n",
               knee->isolated, knee->isolated > 1 ? "s" : "");
}

static const char *longer_words(const struct sweeping *run) {
    return sweep_step_ns(run->length_ns, run->options->sweep.from) > run->length_ns
               ? " (low rates longer, for a p99)"
               : "";
}

static void print_result(const struct sweeping *run) {
    const struct load_plan *plan = &run->options->plan;
    char length[UNITS_TEXT_BYTES], warmup[UNITS_TEXT_BYTES];
    printf("%s, %.0f connections, %s a rate after %s of warm-up%s\n", run->options->url_text,
           knob_get(&plan->knobs, "connections"), units_duration(run->length_ns, length),
           units_duration(knob_get(&plan->knobs, "warmup"), warmup), longer_words(run));
    print_table(run);
    print_reasons(run);
    print_knee(run);
    if (run->interrupted)
        printf("  interrupted: this is what was measured until then\n");
}

/* ---- for machines ---------------------------------------------------------------------------- */

static json_t *number_or_null(bool known, double value) {
    return known ? json_real(value) : json_null();
}

static json_t *knee_record(const struct sweep_knee *knee) {
    bool found = knee->knee == KNEE_FOUND;
    return json_pack(
        "{s:s, s:o, s:o, s:s, s:i, s:o, s:i}", "found", knee_names[knee->knee], "rate",
        number_or_null(found, knee->rate), "over_rate", number_or_null(found, knee->over_rate),
        "quantile", "p99", "times", SWEEP_KNEE_TIMES, "level_ns",
        number_or_null(knee->level_ns > 0, knee->level_ns), "isolated", (int)knee->isolated);
}

static void print_json(const struct sweeping *run) {
    const struct sweep_plan *plan = &run->options->sweep;
    json_t *steps = json_array(), *invalid = json_array();
    for (size_t i = 0; i < run->count; i++)
        json_array_append(steps, run->steps[i].record);
    if (valid_count(run) == 0)
        json_array_append_new(invalid, json_string("no rate gave a valid row"));
    json_t *record = json_pack("{s:i, s:s, s:{s:f, s:f, s:i}, s:s, s:b, s:o, s:o, s:o}", "schema",
                               RECORD_SCHEMA, "url", run->options->url_text, "sweep", "from",
                               plan->from, "to", plan->to, "steps", (int)plan->steps, "ended",
                               ended(run), "valid", (int)(valid_count(run) > 0), "invalid", invalid,
                               "knee", knee_record(&run->knee), "steps", steps);
    CHECK(record);
    json_dumpf(record, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(record);
}

/* ---- the figure ------------------------------------------------------------------------------ */

static bool has_points(const struct sweeping *run, size_t quantile) {
    for (size_t i = 0; i < run->count; i++)
        if (run->steps[i].latencies[quantile].measured)
            return true;
    return false;
}

/* From the highest quantile down, as the curves lie; without those that have no point. */
static int write_data(FILE *file, void *data) {
    const struct sweeping *run = data;
    const char *between = "";
    for (size_t q = STEP_QUANTILES; q-- > 0;) {
        if (!has_points(run, q))
            continue;
        fprintf(file, "%s# %s: rate ms low high kind\n", between, step_quantile_names[q]);
        for (size_t i = 0; i < run->count; i++) {
            const struct step_latency *latency = &run->steps[i].latencies[q];
            bool valid = latency->known && run->points[i].fault == FAULT_NONE;
            if (latency->measured)
                fprintf(file, "%.10g %.6g %.6g %.6g %d\n", run->steps[i].rate,
                        (double)latency->value_ns / 1e6, (double)latency->low_ns / 1e6,
                        (double)latency->high_ns / 1e6, !valid);
        }
        between = "\n\n";
    }
    return 0;
}

static void set_curves(struct gnuplot *gnuplot, const struct sweeping *run) {
    static const char *const styles[STEP_QUANTILES] = {"1 ", "2 ", "4 "};
    char names[64] = "", numbers[64] = "";
    for (size_t q = STEP_QUANTILES; q-- > 0;) {
        if (!has_points(run, q))
            continue;
        size_t used = strlen(names), used_numbers = strlen(numbers);
        snprintf(names + used, sizeof names - used, "\"%s\" ", step_quantile_names[q]);
        snprintf(numbers + used_numbers, sizeof numbers - used_numbers, "%s", styles[q]);
    }
    gnuplot_set_text(gnuplot, "servers", names);
    gnuplot_set_text(gnuplot, "styles", numbers);
}

static void set_ranges(struct gnuplot *gnuplot, const struct sweeping *run) {
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < run->count; i++) {
        for (size_t q = 0; q < STEP_QUANTILES; q++) {
            const struct step_latency *latency = &run->steps[i].latencies[q];
            least = latency->measured ? fmin(least, (double)latency->low_ns / 1e6) : least;
            most = latency->measured ? fmax(most, (double)latency->high_ns / 1e6) : most;
        }
    }
    gnuplot_set_number(gnuplot, "x_least", run->points[0].rate);
    gnuplot_set_number(gnuplot, "x_most", run->points[run->count - 1].rate);
    gnuplot_set_number(gnuplot, "y_least", most > 0 ? fmax(least, 1e-6) : 0.1);
    gnuplot_set_number(gnuplot, "y_most", most > 0 ? most : 1);
}

/* From where on no rate was sustained; 0: the highest was. */
static double unsustained_from(const struct sweeping *run) {
    size_t first = run->count;
    while (first > 0 && sweep_was_too_much(&run->points[first - 1]))
        first--;
    return first < run->count ? run->points[first].rate : 0;
}

static void make_caption(const struct sweeping *run, char caption[CAPTION_BYTES]) {
    char machine[256], knee[KNEE_TEXT_BYTES], length[UNITS_TEXT_BYTES], level[UNITS_TEXT_BYTES];
    char fewest[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
    double least = INFINITY, greatest = 0;
    json_t *environment = environment_capture();
    environment_caption(environment, machine, sizeof machine);
    json_decref(environment);
    for (size_t i = 0; i < run->count; i++) {
        least = fmin(least, (double)run->steps[i].requests);
        greatest = fmax(greatest, (double)run->steps[i].requests);
    }
    const char *over = units_time(SWEEP_KNEE_TIMES * run->knee.level_ns, level);
    snprintf(caption, CAPTION_BYTES,
             "%s|open loop, %.0f connections, %s a rate; %s to %s answers a rate; whiskers: 95 %% "
             "interval within the run|%s (p99 over %d times its level at low load%s%s)|revision %s",
             machine, knob_get(&run->options->plan.knobs, "connections"),
             units_duration(run->length_ns, length), units_count(least, fewest),
             units_count(greatest, most), knee_text(&run->knee, knee), SWEEP_KNEE_TIMES,
             run->knee.level_ns > 0 ? ": " : "", run->knee.level_ns > 0 ? over : "",
             *LOOPMARK_REVISION ? LOOPMARK_REVISION : "not recorded");
    gnuplot_wrap_caption(caption, WIDTH_PX);
}

static int draw(const struct sweeping *run, const char *data, struct error *error) {
    struct gnuplot gnuplot;
    char caption[CAPTION_BYTES], title[512];
    const char *path = run->options->plot_path;
    int failure = gnuplot_open(&gnuplot, error);
    if (failure)
        return failure;
    snprintf(title, sizeof title, "response time against load: %.400s", run->options->url_text);
    make_caption(run, caption);
    set_ranges(&gnuplot, run);
    gnuplot_set_text(&gnuplot, "data", data);
    gnuplot_set_text(&gnuplot, "title", title);
    gnuplot_set_text(&gnuplot, "caption", caption);
    set_curves(&gnuplot, run);
    gnuplot_set_number(&gnuplot, "width", WIDTH_PX);
    gnuplot_set_number(&gnuplot, "height", HEIGHT_PX);
    gnuplot_set_number(&gnuplot, "knee", run->knee.knee == KNEE_FOUND ? run->knee.rate : 0);
    gnuplot_set_number(&gnuplot, "unsustained_from", unsustained_from(run));
    return gnuplot_draw(&gnuplot, "sweep", strrchr(path, '.') + 1, path, error);
}

/* Without gnuplot there is no figure, and the measurement is worth no less. */
static int plot(struct sweeping *run, struct error *error) {
    char data[PATH_MAX];
    struct error why = {""};
    const char *path = run->options->plot_path;
    if (!path || !has_points(run, STEP_P50))
        return 0;
    snprintf(data, sizeof data, "%.4000s.dat", path);
    int failure = file_write_whole(data, write_data, run, error);
    if (failure)
        return failure;
    failure = draw(run, data, &why);
    unlink(data);
    if (failure != -ENOENT)
        return failure ? error_set(error, failure, "%s", why.text) : 0;
    fprintf(stderr, "loopmark load: %s\n", why.text);
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int exit_code(const struct sweeping *run) {
    return run->failed             ? EXIT_FAILED
           : run->interrupted      ? EXIT_INTERRUPTED
           : valid_count(run) == 0 ? EXIT_NOT_VALID
                                   : EXIT_OK;
}

static int sweep(struct sweeping *run, struct error *error) {
    progress_begin(&run->progress, run->options->quiet);
    announce(run);
    take_steps(run, error);
    progress_end(&run->progress);
    if (run->failed && run->count == 0)
        return EXIT_FAILED;
    run->knee = sweep_find_knee(run->points, run->count);
    if (run->options->json)
        print_json(run);
    else
        print_result(run);
    return plot(run, run->failed ? NULL : error) ? EXIT_FAILED : exit_code(run);
}

int load_sweep_run(struct load_options *options, struct error *error) {
    struct sweeping *run = calloc(1, sizeof *run);
    if (!run) {
        error_set(error, -ENOMEM, "out of memory");
        return EXIT_FAILED;
    }
    run->options = options;
    run->length_ns = knob_get(&options->plan.knobs, "duration");
    int code = sweep(run, error);
    for (size_t i = 0; i < run->count; i++)
        load_step_free(&run->steps[i]);
    free(run);
    return code;
}
