/* load_search_run.c: see load_search_run.h. */
#include "harness/load_search_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness/command.h"
#include "harness/interrupt.h"
#include "harness/load_step.h"
#include "harness/record.h"
#include "harness/units.h"
#include "loops/check.h"

/* The least number would be decided by its largest sample alone. */
#define SAMPLES_OF_LEAST 2

struct searching {
    struct load_options *options;
    struct load_search search;
    struct progress progress;
    struct load_step steps[SEARCH_STEPS_MOST];
    enum search_verdict verdicts[SEARCH_STEPS_MOST];
    size_t step_count;
    bool interrupted, failed;
};

struct search_plan load_search_plan_of(const struct load_options *options) {
    const struct knob_values *knobs = &options->plan.knobs;
    return load_search_plan(knob_get(knobs, "rate"),
                            (double)(SAMPLES_OF_LEAST * slo_least_requests(&options->objective)),
                            knob_get(knobs, "duration"), knob_get(knobs, "warmup"),
                            options->precision);
}

/* ---- steps ----------------------------------------------------------------------------------- */

enum search_verdict load_search_verdict(const struct load_options *options,
                                        const struct load_step *step) {
    static const enum search_verdict of_fault[] = {[FAULT_SERVER] = SEARCH_UNSUSTAINED,
                                                   [FAULT_GENERATOR] = SEARCH_GENERATOR,
                                                   [FAULT_MACHINE] = SEARCH_MACHINE};
    static const enum search_verdict of_objective[] = {
        [SLO_MET] = SEARCH_HOLDS, [SLO_BROKEN] = SEARCH_BREAKS, [SLO_UNDECIDED] = SEARCH_UNDECIDED};
    const struct step_latency *latency = &step->objective;
    if (step->only_slower && latency->measured && latency->high_ns < options->objective.limit_ns)
        return SEARCH_HOLDS; /* also in spite of what else is wrong */
    if (step->fault != FAULT_NONE)
        return of_fault[step->fault];
    bool lagged = latency->measured && !latency->known;
    return lagged ? SEARCH_GENERATOR : of_objective[step->verdict];
}

/* The quantile's name as the user wrote it. */
static const char *quantile_name(const struct load_options *options, char name[32]) {
    snprintf(name, 32, "%.*s", (int)strcspn(options->objective.text, "<"), options->objective.text);
    return name;
}

static char *objective_text(const struct load_options *options, const struct load_step *step,
                            char text[STEP_TEXT_BYTES]) {
    char name[32];
    return load_step_latency_text(quantile_name(options, name), &step->objective, text);
}

static const char *verdict_words(enum search_verdict verdict) {
    static const char *const words[SEARCH_VERDICTS] = {
        [SEARCH_HOLDS] = "holds",
        [SEARCH_BREAKS] = "does not hold",
        [SEARCH_UNDECIDED] = "does not hold for certain",
        [SEARCH_UNSUSTAINED] = "is not sustained",
        [SEARCH_GENERATOR] = "spoilt by the generator",
        [SEARCH_MACHINE] = "spoilt by the machine",
    };
    return words[verdict];
}

/* Between what a step says and what was wrong with it. */
static const char *joint(const struct searching *run, const struct load_step *step) {
    return !step->reason[0]                                          ? ""
           : load_search_verdict(run->options, step) == SEARCH_HOLDS ? "; in spite of: "
                                                                     : "; ";
}

static void announce(struct searching *run) {
    const struct search_plan *plan = &run->search.plan;
    char budget[UNITS_TEXT_BYTES], step[UNITS_TEXT_BYTES], warmup[UNITS_TEXT_BYTES];
    char start[UNITS_TEXT_BYTES];
    progress_note(&run->progress,
                  "searching the highest rate with %s: steps of %s and %s of warm-up, from %s on; "
                  "at most %s in all, usually less than half of it",
                  run->options->objective.text,
                  units_duration(load_search_step_ns(plan, plan->start), step),
                  units_duration(plan->warmup_ns, warmup), units_rate(plan->start, start),
                  units_duration(run->search.budget_ns, budget));
}

static void note_step(struct searching *run, const struct load_step *step,
                      enum search_verdict verdict) {
    char count[UNITS_TEXT_BYTES], text[STEP_TEXT_BYTES];
    progress_note(&run->progress, "%2zu. %9s/s: %s, %s%s%s", run->step_count,
                  units_count(step->rate, count), verdict_words(verdict),
                  objective_text(run->options, step, text), joint(run, step), step->reason);
}

static void keep_step(struct searching *run, enum search_verdict verdict) {
    struct load_step *step = &run->steps[run->step_count];
    const struct step_latency *latency = &step->objective;
    json_object_set_new(step->record, "verdict", json_string(search_verdict_names[verdict]));
    json_object_set_new(step->record, "interval_ns",
                        latency->measured ? json_pack("[I,I]", (json_int_t)latency->low_ns,
                                                      (json_int_t)latency->high_ns)
                                          : json_null());
    run->verdicts[run->step_count++] = verdict;
    load_search_tell(&run->search, verdict);
    note_step(run, step, verdict);
}

static void take_steps(struct searching *run, struct error *error) {
    double rate;
    interrupt_catch();
    while (load_search_next(&run->search, &rate)) {
        struct load_step *step = &run->steps[run->step_count];
        int failure =
            load_step_run(run->options, rate, load_search_step_ns(&run->search.plan, rate),
                          &run->progress, step, error);
        run->interrupted = failure == -EINTR;
        run->failed = failure && !run->interrupted;
        if (failure)
            return;
        keep_step(run, load_search_verdict(run->options, step));
    }
}

/* ---- the answer ------------------------------------------------------------------------------ */

static const struct load_step *last_step_at(const struct searching *run,
                                            const struct search_point *point) {
    for (size_t i = run->step_count; i > 0; i--)
        if (run->steps[i - 1].rate == point->rate && run->verdicts[i - 1] < SEARCH_GENERATOR)
            return &run->steps[i - 1];
    return NULL;
}

/* Is it known that the objective does not hold above the answer, or at all? */
static bool is_decided(const struct load_search *search) {
    const struct search_point *high = load_search_high(search);
    return !high || load_search_is_decided(high);
}

/* A lower bound: there is no rate above at which the objective does not hold, or what lies between
 * cannot be measured. */
static bool is_at_least(const struct searching *run) {
    const struct search_point *high = load_search_high(&run->search);
    return load_search_low(&run->search) && (!high || run->search.ceiling < high->rate);
}

static bool is_valid(const struct searching *run) {
    enum search_end end = run->search.end;
    return end == SEARCH_FOUND || end == SEARCH_NOTHING_HOLDS || end == SEARCH_ALL_HOLD;
}

/* Why the rates from the ceiling up could not be measured: the latest step's words. */
static const char *ceiling_reason(const struct searching *run, enum search_verdict spoilt_by) {
    for (size_t i = run->step_count; i > 0; i--)
        if (run->steps[i - 1].rate == run->search.ceiling && run->verdicts[i - 1] == spoilt_by)
            return run->steps[i - 1].reason;
    return "";
}

/* Why there is no valid answer. */
static const char *obstacle(const struct searching *run, char text[REASON_BYTES + 64]) {
    const struct load_search *search = &run->search;
    bool generator = search->end == SEARCH_GENERATOR_LIMIT;
    if (run->failed)
        return "a load failed";
    if (run->interrupted)
        return "interrupted";
    if (search->end == SEARCH_OUT_OF_TIME)
        return "the time was over before the search was";
    const char *reason = ceiling_reason(run, generator ? SEARCH_GENERATOR : SEARCH_MACHINE);
    snprintf(text, REASON_BYTES + 64, "the %s is the limit from %.6g/s on%s%s",
             generator ? "generator" : "machine", search->ceiling, *reason ? ": " : "", reason);
    return text;
}

int load_search_exit_code(const struct load_search *search, bool strict) {
    if (search->end == SEARCH_GENERATOR_LIMIT || search->end == SEARCH_MACHINE_LIMIT)
        return EXIT_NOT_VALID;
    if (strict && (!is_decided(search) || search->end == SEARCH_OUT_OF_TIME))
        return EXIT_CANNOT_TELL;
    return load_search_low(search) ? EXIT_OK : EXIT_GATE;
}

static int exit_code(const struct searching *run) {
    return run->failed        ? EXIT_FAILED
           : run->interrupted ? EXIT_INTERRUPTED
                              : load_search_exit_code(&run->search, run->options->strict);
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_headline(const struct searching *run) {
    const struct search_point *low = load_search_low(&run->search);
    char rate[UNITS_TEXT_BYTES];
    printf("%s\n", run->options->url_text);
    if (low)
        printf("  %s holds up to %s%s requests/s\n", run->options->objective.text,
               is_at_least(run) ? "at least " : "", units_count(low->rate, rate));
    else
        printf("  %s was not shown to hold at any rate\n", run->options->objective.text);
}

static void print_end(const struct searching *run, const char *what,
                      const struct search_point *point) {
    char rate[UNITS_TEXT_BYTES], text[STEP_TEXT_BYTES];
    const struct load_step *step = last_step_at(run, point);
    CHECK(step);
    printf("  %-26s %10s/s: %s; held in %u of %u runs%s%s\n", what, units_count(point->rate, rate),
           objective_text(run->options, step, text), point->held, point->held + point->failed,
           joint(run, step), step->reason);
}

static void print_contradictions(const struct searching *run) {
    const struct load_search *search = &run->search;
    const struct search_point *low = load_search_low(search), *high = load_search_high(search);
    for (size_t i = 0; i < search->point_count; i++) {
        const struct search_point *point = &search->points[i];
        char rate[UNITS_TEXT_BYTES];
        bool odd = load_search_is_odd(search, point);
        if (!odd && (point == low || point == high || point->held == 0 || point->failed == 0))
            continue;
        printf("  note: at %s/s it held in %u of %u runs%s\n", units_count(point->rate, rate),
               point->held, point->held + point->failed,
               odd ? ": not monotonic, for at a higher rate it does hold" : "");
    }
}

static void print_result(const struct searching *run) {
    const struct load_search *search = &run->search;
    const struct search_point *low = load_search_low(search), *high = load_search_high(search);
    char text[REASON_BYTES + 64], spent[UNITS_TEXT_BYTES];
    print_headline(run);
    if (low)
        print_end(run, "highest that holds", low);
    if (high)
        print_end(run, low ? "lowest above that does not" : "lowest that was tried", high);
    print_contradictions(run);
    printf("  %zu steps, %s of load; precision %.3g %%, 95 %% intervals within each run\n",
           run->step_count, units_duration(search->spent_ns, spent), run->options->precision * 100);
    if (!is_valid(run))
        printf("  %s: %s\n",
               search->end == SEARCH_UNDER_WAY ? "incomplete"
               : is_at_least(run)              ? "NOT VALID as a maximum"
                                               : "NOT VALID",
               obstacle(run, text));
    if (!is_decided(&run->search))
        printf("  note: the lowest rate that does not hold was not decided either: longer steps "
               "(-d) tell more\n");
}

/* ---- for machines ---------------------------------------------------------------------------- */

static json_t *rate_or_null(const struct search_point *point) {
    return point ? json_real(point->rate) : json_null();
}

static json_t *points_record(const struct load_search *search) {
    json_t *list = json_array();
    for (size_t i = 0; i < search->point_count; i++) {
        const struct search_point *point = &search->points[i];
        json_array_append_new(list, json_pack("{s:f, s:i, s:i, s:i, s:b}", "rate", point->rate,
                                              "held", (int)point->held, "failed",
                                              (int)point->failed, "spoilt", (int)point->spoilt,
                                              "odd", (int)load_search_is_odd(search, point)));
    }
    return list;
}

static void print_json(const struct searching *run) {
    const struct load_search *search = &run->search;
    const struct search_point *low = load_search_low(search), *high = load_search_high(search);
    char text[REASON_BYTES + 64];
    json_t *steps = json_array(), *invalid = json_array();
    for (size_t i = 0; i < run->step_count; i++)
        json_array_append(steps, run->steps[i].record);
    if (!is_valid(run))
        json_array_append_new(invalid, json_string(obstacle(run, text)));
    const char *ended = run->failed        ? "failed"
                        : run->interrupted ? "interrupted"
                                           : search_end_names[search->end];
    json_t *record = json_pack(
        "{s:i, s:s, s:s, s:f, s:s, s:b, s:o, s:o, s:b, s:[o,o], s:b, s:o, s:o}", "schema",
        RECORD_SCHEMA, "url", run->options->url_text, "find_max", run->options->objective.text,
        "precision", run->options->precision, "ended", ended, "valid", (int)is_valid(run),
        "invalid", invalid, "max_rate", rate_or_null(low), "at_least", (int)is_at_least(run),
        "bracket", rate_or_null(low), rate_or_null(high), "decided", (int)is_decided(&run->search),
        "rates", points_record(search), "steps", steps);
    CHECK(record);
    json_dumpf(record, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(record);
}

/* ---- all ------------------------------------------------------------------------------------- */

static int search(struct searching *run, struct error *error) {
    struct search_plan plan = load_search_plan_of(run->options);
    load_search_begin(&run->search, &plan);
    progress_begin(&run->progress, run->options->quiet);
    announce(run);
    take_steps(run, error);
    progress_end(&run->progress);
    if (run->failed && run->step_count == 0)
        return EXIT_FAILED;
    if (run->options->json)
        print_json(run);
    else
        print_result(run);
    return exit_code(run);
}

int load_search_run(struct load_options *options, struct error *error) {
    struct searching *run = calloc(1, sizeof *run);
    if (!run) {
        error_set(error, -ENOMEM, "out of memory");
        return EXIT_FAILED;
    }
    run->options = options;
    int code = search(run, error);
    for (size_t i = 0; i < run->step_count; i++)
        load_step_free(&run->steps[i]);
    free(run);
    return code;
}
