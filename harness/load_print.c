/* load_print.c: see load_print.h. */
#include "harness/load_print.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/load_knobs.h"
#include "harness/record.h"
#include "harness/units.h"

/* ---- while it runs --------------------------------------------------------------------------- */

static double p99_so_far(const struct load_result *result) {
    const struct histogram *latency = load_latency(result);
    return histogram_quantile_valid(latency, 0.99) ? (double)histogram_quantile(latency, 0.99)
                                                   : NAN;
}

static uint64_t errors_so_far(const struct load_result *result) {
    uint64_t errors = 0;
    for (uint32_t i = 0; i < result->interval_count; i++)
        errors += result->intervals[i].errors;
    return errors;
}

void load_print_progress(struct progress *progress, const struct load_plan *plan,
                         const struct load_result *result, uint64_t since_ns) {
    char rate[UNITS_TEXT_BYTES], p99[UNITS_TEXT_BYTES], left[64] = "";
    uint32_t count = result->interval_count;
    double passed_ns = (double)(clock_now_ns() - since_ns);
    double whole_ns = knob_get(&plan->knobs, "warmup") + knob_get(&plan->knobs, "duration") +
                      knob_get(&plan->knobs, "connection_ramp");
    if (plan->requests == 0 && whole_ns > passed_ns)
        snprintf(left, sizeof left, ", %.0f s left", ceil((whole_ns - passed_ns) / 1e9));
    if (count == 0) {
        progress_status(progress, "%u connections open, warming up%s",
                        atomic_load(&result->connected), left);
        return;
    }
    const struct load_interval *last = &result->intervals[count - 1];
    progress_status(progress, "%.0f s: %s, p99 so far %s, %llu errors%s", (double)last->at_ns / 1e9,
                    units_rate((double)last->requests * 1e9 / (double)last->length_ns, rate),
                    units_time(p99_so_far(result), p99), (unsigned long long)errors_so_far(result),
                    left);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static const double quantiles[] = {0.5, 0.9, 0.95, 0.99, 0.999, 0.9999};

static void print_latency(const char *name, const struct histogram *histogram,
                          const struct load_result *result) {
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

static void print_latencies(const struct load_result *result) {
    printf("\n  latency         p50       p90       p95       p99     p99.9    p99.99       max\n");
    if (result->open_loop)
        print_latency("response", &result->response, result);
    print_latency("service", &result->service, NULL);
    if (result->open_loop)
        print_latency("lag", &result->lag, NULL);
    print_latency("connect", &result->connect, NULL);
    /* One class alone has the times of all. */
    for (size_t i = 0; i < LOAD_STATUS_CLASSES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zuxx", i + 1);
        if (result->status[i].total < result->requests)
            print_latency(name, &result->status[i], NULL);
    }
    print_p99_interval(load_latency(result));
    printf("\n");
}

static void print_target(const struct load_options *options, const struct load_result *result) {
    const struct load_plan *plan = &options->plan;
    char address[ENDPOINT_TEXT_BYTES], warmup[UNITS_TEXT_BYTES], length[UNITS_TEXT_BYTES];
    endpoint_format(&plan->target, address);
    bool shown = options->url.is_database || strstr(options->url_text, address) != NULL;
    printf("%s%s%s%s, %u connections, %s after %s of warm-up\n", options->url_text,
           shown ? "" : " (", shown ? "" : address, shown ? "" : ")", result->connections,
           units_duration((double)result->window_ns, length),
           units_duration(knob_get(&plan->knobs, "warmup"), warmup));
}

static void print_rate(const struct load_plan *plan, const struct load_result *result) {
    char rate[UNITS_TEXT_BYTES];
    if (!result->open_loop) {
        printf("  closed loop: %s requests/s\n", units_count(result->achieved_rate, rate));
        return;
    }
    bool poisson = knob_get(&plan->knobs, "arrivals") == ARRIVALS_POISSON;
    bool ramp = knob_get(&plan->knobs, "end_rate") > 0;
    printf("  open loop: %.1f requests/s sent of %.1f/s due (%s%s)", result->achieved_rate,
           result->offered_rate, poisson ? "poisson" : "constant",
           ramp ? ", a ramp: means over it" : "");
    if (result->shed > 0)
        printf(", %llu given up at the deadline", (unsigned long long)result->shed);
    printf("\n");
}

static void print_answers(const struct load_result *result) {
    char count[UNITS_TEXT_BYTES], mean[UNITS_TEXT_BYTES];
    const char *before = " (";
    printf("  %s answers", units_count((double)result->requests, count));
    for (size_t i = 0; i < LOAD_STATUS_CLASSES; i++) {
        if (result->status[i].total == 0)
            continue;
        printf("%s%llu %zuxx", before, (unsigned long long)result->status[i].total, i + 1);
        before = ", ";
    }
    printf("%s", result->has_statuses && result->requests > 0 ? ")" : "");
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        if (result->errors[i])
            printf(", %llu %s", (unsigned long long)result->errors[i], load_error_names[i]);
    if (result->reconnects > 0)
        printf("; %llu reconnects", (unsigned long long)result->reconnects);
    uint64_t lookups = result->lookups.count;
    if (lookups > 0)
        printf("; %llu look-ups of the host name, mean %s", (unsigned long long)lookups,
               units_time((double)result->lookups.total_ns / (double)lookups, mean));
    printf("\n");
}

static void print_causes(const struct load_result *result) {
    for (uint32_t i = 0; i < result->cause_count; i++) {
        const struct load_cause *cause = &result->causes[i];
        const char *what = cause->what;
        const char *why = cause->err == -EPIPE     ? "the peer closed the connection"
                          : cause->err == -EPROTO  ? "not the protocol"
                          : cause->err == -EBADMSG ? "a wrong answer"
                          : cause->err == -EIO     ? "the server's error"
                          : cause->err == -EKEYREJECTED
                              ? "the certificate was refused"
                              : strerror(-cause->err);
        if (cause->err == 0) /* a status: it is among the answers already */
            continue;
        printf("    %llu in %s: %s%s%s%s\n", (unsigned long long)cause->count,
               load_phase_names[cause->phase], why, *what ? " (" : "", what, *what ? ")" : "");
    }
}

static void print_cpu(const struct load_plan *plan, const struct load_result *result,
                      const struct validity *validity) {
    double answers = (double)result->answers;
    double server_us = record_server_cpu_us(result);
    printf("  generator %.0f %% busy, %.2f us CPU per request", result->busy * 100,
           answers > 0 ? (double)(result->cpu_ns - result->spin_ns) / 1e3 / answers : NAN);
    if (server_us >= 0)
        printf("; server %.0f %% busy, %.2f us CPU per request", validity->server_busy * 100,
               server_us);
    printf("%s\n", CPU_COUNT(&plan->kept_awake) > 0 ? "; CPUs kept awake" : "");
}

static void print_validity(const struct load_result *result, const struct validity *validity) {
    static const char *const words[] = {
        [BOUND_NONE] = "",
        [BOUND_SERVER] = " (the server is saturated: this is its capacity)",
        [BOUND_CO_LIMITED] =
            " (generator and server both saturated: a lower bound of its capacity)",
        [BOUND_LATENCY] = " (neither side is saturated: round trips of so many connections)",
        [BOUND_GENERATOR] = "",
    };
    printf("  %s%s\n", validity->valid ? "valid" : "NOT VALID:", words[validity->bound]);
    for (size_t i = 0; i < validity->reason_count; i++)
        printf("    - %s\n", validity->reasons[i]);
    if (validity->note[0])
        printf("  note: %s\n", validity->note);
    if (result->interrupted)
        printf("  interrupted: this is what was measured until then\n");
}

static void print_slo(const struct slo *slo, const struct slo_judgement *judgement) {
    char value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    printf("  %s: %s", slo->text, slo_verdict_names[judgement->verdict]);
    if (judgement->known)
        printf(" (%s, %s to %s)", units_time((double)judgement->value_ns, value),
               units_time((double)judgement->low_ns, low),
               units_time((double)judgement->high_ns, high));
    else
        printf(" (too few samples, or the generator's own lag)");
    printf("\n");
}

void load_print_result(const struct load_options *options, const struct load_result *result,
                       const struct validity *validity, const struct slo_judgement *judgements) {
    print_target(options, result);
    print_rate(&options->plan, result);
    print_answers(result);
    print_causes(result);
    print_latencies(result);
    print_cpu(&options->plan, result, validity);
    print_validity(result, validity);
    for (size_t i = 0; i < options->slo_count; i++)
        print_slo(&options->slos[i], &judgements[i]);
}
