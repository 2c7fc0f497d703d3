/* load_step.c: see load_step.h. */
#include "harness/load_step.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "harness/interrupt.h"
#include "harness/load_print.h"
#include "harness/record.h"
#include "harness/units.h"

#define CONFIDENCE 0.95
#define BEHIND_MOST 0.02  /* of the requests due in the window */
#define BEHIND_LEAST 10.0 /* requests; fewer are under way at any moment */
#define MISSED_LEAST 0.9  /* of the rate; below it nothing else has to be asked */

const double step_quantiles[STEP_QUANTILES] = {0.5, 0.99, 0.999};
const char *const step_quantile_names[STEP_QUANTILES] = {"p50", "p99", "p99.9"};

/* ---- what it says ---------------------------------------------------------------------------- */

bool load_step_falls_behind(const struct load_result *result, double warmup_ns) {
    double behind = (double)result->due - (double)result->answers;
    double slow_ns = fmax(0, histogram_mean(load_latency(result)) - warmup_ns);
    double filling = result->offered_rate * slow_ns / 1e9; /* a slow server's requests under way */
    return behind > BEHIND_MOST * (double)result->due + BEHIND_LEAST + filling;
}

/* Known where there is an interval and the generator's lag did not make it. */
static struct step_latency latency_of(const struct load_result *result, double q) {
    const struct histogram *histogram = load_latency(result);
    struct step_latency latency = {.value_ns = histogram_quantile(histogram, q)};
    latency.measured =
        histogram_quantile_interval(histogram, q, CONFIDENCE, &latency.low_ns, &latency.high_ns);
    latency.known = latency.measured && !validity_lag_matters(result, q);
    return latency;
}

/* The machine's reasons come last. */
static const char *reason_of(const struct validity *validity) {
    return validity->valid                    ? ""
           : validity->fault == FAULT_MACHINE ? validity->reasons[validity->reason_count - 1]
                                              : validity->reasons[0];
}

static void judge_validity(const struct load_plan *plan, const struct load_result *result,
                           struct validity *validity) {
    validity_judge(result, plan, 0, false, validity);
    if (!load_step_falls_behind(result, knob_get(&plan->knobs, "warmup")))
        return;
    validity->only_slower = false;
    if (validity->fault != FAULT_NONE)
        return;
    validity->fault = FAULT_SERVER;
    validity->unstable = true;
    validity_refuse(validity, "unstable: %llu answers came while %llu requests were due",
                    (unsigned long long)result->answers, (unsigned long long)result->due);
}

static void judge(struct load_options *options, const struct load_result *result,
                  struct validity *validity, struct load_step *step) {
    judge_validity(&options->plan, result, validity);
    step->achieved_rate = result->achieved_rate;
    step->requests = result->requests;
    step->busy = result->busy;
    step->fault = validity->fault;
    step->only_slower = validity->only_slower;
    step->missed = result->achieved_rate < MISSED_LEAST * result->offered_rate;
    snprintf(step->reason, sizeof step->reason, "%s", reason_of(validity));
    for (size_t i = 0; i < STEP_QUANTILES; i++)
        if (histogram_quantile_valid(load_latency(result), step_quantiles[i]))
            step->latencies[i] = latency_of(result, step_quantiles[i]);
    if (!options->find_max)
        return;
    step->objective = latency_of(result, options->objective.q);
    step->verdict = slo_judge(&options->objective, result).verdict;
}

char *load_step_latency_text(const char *name, const struct step_latency *latency,
                             char text[STEP_TEXT_BYTES]) {
    char value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    if (latency->measured)
        snprintf(text, STEP_TEXT_BYTES, "%s %s (%s to %s)", name,
                 units_time((double)latency->value_ns, value),
                 units_time((double)latency->low_ns, low),
                 units_time((double)latency->high_ns, high));
    else
        snprintf(text, STEP_TEXT_BYTES, "%s not known", name);
    return text;
}

/* ---- the load -------------------------------------------------------------------------------- */

void load_step_watch(struct load *load, const struct load_plan *plan, struct progress *progress) {
    uint64_t since_ns = clock_now_ns();
    while (!load_wait(load, 200)) {
        if (interrupted)
            load_stop(load);
        load_print_progress(progress, plan, load_result(load), since_ns);
    }
}

int load_step_run(struct load_options *options, double rate, double length_ns,
                  struct progress *progress, struct load_step *step, struct error *error) {
    struct load_plan *plan = &options->plan;
    struct validity validity;
    struct load *load;
    knob_set_number(&plan->knobs, "rate", rate);
    knob_set_number(&plan->knobs, "duration", length_ns);
    *step = (struct load_step){.rate = rate};
    int failure = load_start(plan, &load, error);
    if (failure)
        return failure;
    load_step_watch(load, plan, progress);
    const struct load_result *result = load_result(load);
    if (interrupted || result->interrupted)
        failure = -EINTR;
    else if (!result->finished)
        failure = error_set(error, -EIO, "at %.6g/s: %s", rate, result->failure.text);
    else {
        judge(options, result, &validity, step);
        step->record = record_load(plan, result, &validity);
        json_object_set_new(step->record, "rate", json_real(rate));
    }
    load_free(load);
    return failure;
}

void load_step_free(struct load_step *step) {
    json_decref(step->record);
    step->record = NULL;
}
