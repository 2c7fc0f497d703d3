/* verdicts.c: see verdicts.h. */
#include "harness/verdicts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/load_knobs.h"
#include "workloads/workload.h"

static const enum metric metrics[CLAIM_METRICS] = {
    [CLAIM_METRIC_THROUGHPUT] = SUMMARY_THROUGHPUT,
    [CLAIM_METRIC_P50] = SUMMARY_P50,
    [CLAIM_METRIC_P99] = SUMMARY_P99,
    [CLAIM_METRIC_P999] = SUMMARY_P999,
    [CLAIM_METRIC_CPU_PER_REQUEST] = SUMMARY_CPU,
    [CLAIM_METRIC_RSS] = SUMMARY_MAX_RSS,
};

/* Rules speak in the record's units, summaries in those of the columns. */
static double in_record_units(enum metric metric, double value) {
    return value / metric_kinds[metric].scale;
}

/* ---- which cells a claim speaks of -------------------------------------------------------------
 */

static size_t axis_index(const struct summary_experiment *experiment, const char *name) {
    size_t i = 0;
    while (i < experiment->axis_count && strcmp(experiment->axes[i], name) != 0)
        i++;
    return i;
}

/* "connections:3" holds in a cell if that axis has the value; a knob that is no axis is fixed, and
 * the experiment was checked against it when it was read. */
static bool term_holds(const struct summary_experiment *experiment, const struct summary_cell *cell,
                       const struct knob_values *knobs, const char *term) {
    char name[CLAIM_NAME_BYTES], text[KNOB_TEXT_BYTES];
    const char *colon = strchr(term, ':');
    size_t length = colon ? (size_t)(colon - term) : 0;
    double value;
    if (!colon || length >= sizeof name)
        return false;
    memcpy(name, term, length);
    name[length] = '\0';
    size_t axis = axis_index(experiment, name);
    const struct knob *knob = knob_find(knobs, name, NULL);
    if (axis == experiment->axis_count)
        return true;
    if (!knob || knob_parse(knob, colon + 1, &value, NULL) != 0)
        return false;
    knob_format_plain(knob, value, text);
    return summary_axis_is(cell, name, text);
}

static bool covers(const struct summary_experiment *experiment, const struct summary_cell *cell,
                   const struct claim_rule *rule) {
    const char *workload_name = json_string_value(json_object_get(experiment->json, "workload"));
    const struct workload *workload = workload_find(workload_name ? workload_name : "", NULL);
    struct knob_values knobs;
    char where[CLAIM_WHERE_BYTES], *rest = where, *term;
    if (!workload)
        return rule->where[0] == '\0';
    knob_values_init(&knobs, workload->knobs, load_knobs);
    snprintf(where, sizeof where, "%s", rule->where);
    while ((term = strsep(&rest, " ")) != NULL)
        if (*term && !term_holds(experiment, cell, &knobs, term))
            return false;
    return true;
}

/* Alike in all axes but this one. */
static bool same_line(const struct summary_experiment *experiment, const struct summary_cell *a,
                      const struct summary_cell *b, size_t axis) {
    for (size_t k = 0; k < experiment->axis_count; k++)
        if (k != axis && !summary_same_value(a, b, experiment->axes[k]))
            return false;
    return true;
}

/* The cell with the axis' first value and all else as in `last`; null if `last` is not
 * the last one. */
static const struct summary_cell *first_of_line(const struct summary_experiment *experiment,
                                                const struct summary_cell *last, size_t axis) {
    const struct summary_cell *first = last;
    for (size_t i = 0; i < experiment->cell_count; i++) {
        const struct summary_cell *other = &experiment->cells[i];
        if (!same_line(experiment, other, last, axis))
            continue;
        if (other->values[axis] > last->values[axis])
            return NULL;
        if (other->values[axis] < first->values[axis])
            first = other;
    }
    return first == last ? NULL : first;
}

/* The next lower cell along the axis, all else alike; null: `cell` is the first. */
static const struct summary_cell *next_below(const struct summary_experiment *experiment,
                                             const struct summary_cell *cell, size_t axis) {
    const struct summary_cell *below = NULL;
    for (size_t i = 0; i < experiment->cell_count; i++) {
        const struct summary_cell *other = &experiment->cells[i];
        if (same_line(experiment, other, cell, axis) && other->values[axis] < cell->values[axis] &&
            (!below || other->values[axis] > below->values[axis]))
            below = other;
    }
    return below;
}

/* ---- evidence
 * ------------------------------------------------------------------------------------- */

/* What makes the metric itself unfit for a verdict, in words; null: nothing does. */
static void take_flags(const struct summary_flags *flags, struct verdict_line *line) {
    const char *obstacle = summary_obstacle(flags);
    line->evidence.missing = flags->missing;
    line->evidence.co_limited = flags->co_limited;
    /* Beside a lower bound there may be something that makes it worthless. */
    line->evidence.invalid =
        flags->invalid || flags->shared_cpu || flags->unequal_load || flags->few_samples;
    line->because = obstacle;
}

static void take_comparison(const struct summary_comparison *comparison,
                            struct verdict_line *line) {
    const struct comparison *ratio = &comparison->ratio;
    take_flags(&comparison->flags, line);
    line->blocks = ratio->blocks;
    line->evidence.bounded = ratio->blocks > 0 && ratio->bounded;
    line->evidence.estimate = ratio->estimate;
    line->evidence.low = ratio->low;
    line->evidence.high = ratio->high;
}

static void take_own_value(const struct summary *summary,
                           const struct summary_experiment *experiment,
                           const struct summary_row *row, enum metric metric,
                           struct verdict_line *line) {
    struct summary_flags flags = summary_own_flags(summary, experiment, row, metric);
    take_flags(&flags, line);
    if (!row || flags.missing)
        return;
    const struct interval *interval = &row->metrics[metric].interval;
    line->blocks = interval->n;
    line->evidence.bounded = interval->n > 0 && interval->bounded;
    line->evidence.estimate = in_record_units(metric, interval->estimate);
    line->evidence.low = in_record_units(metric, interval->low);
    line->evidence.high = in_record_units(metric, interval->high);
}

/* A co-limited rate is a lower bound. Above the line, and against one that is known if it is a
 * ratio, that is enough for a rule that only asks for a least. */
static void accept_lower_bound(const struct claim_rule *rule, bool second_is_bound,
                               struct verdict_line *line) {
    struct claim_evidence *evidence = &line->evidence;
    if (!evidence->co_limited || evidence->invalid || second_is_bound || isfinite(rule->high) ||
        !evidence->bounded || evidence->low < rule->low)
        return;
    evidence->co_limited = false;
    line->because = "a lower bound, and that meets the rule";
}

static bool is_lower_bound(const struct summary *summary,
                           const struct summary_experiment *experiment,
                           const struct summary_cell *cell, const char *server,
                           enum metric metric) {
    const struct summary_row *row = summary_find_row(experiment, cell, server);
    return summary_own_flags(summary, experiment, row, metric).co_limited;
}

static int gather(const struct summary *summary, const struct summary_experiment *experiment,
                  const struct claim_rule *rule, struct verdict_line *line) {
    enum metric metric = metrics[rule->metric];
    struct summary_comparison comparison;
    const struct summary_row *row = summary_find_row(experiment, line->cell, rule->first);
    int failure = 0;
    switch (rule->form) {
    case CLAIM_RATIO:
        failure = summary_compare(summary, experiment, line->cell, rule->first, rule->second,
                                  metric, &comparison);
        break;
    case CLAIM_GROWTH: {
        size_t axis = axis_index(experiment, rule->axis);
        line->first = first_of_line(experiment, line->cell, axis);
        failure = summary_compare_rows(summary, experiment, row,
                                       summary_find_row(experiment, line->first, rule->first),
                                       metric, &comparison);
        break;
    }
    case CLAIM_ABSOLUTE:
        take_own_value(summary, experiment, row, metric, line);
        accept_lower_bound(rule, false, line);
        return 0;
    }
    if (!failure)
        take_comparison(&comparison, line);
    if (!failure && rule->form == CLAIM_RATIO)
        accept_lower_bound(
            rule, is_lower_bound(summary, experiment, line->cell, rule->second, metric), line);
    return failure;
}

/* ---- judging
 * ---------------------------------------------------------------------------------------- */

static bool speaks_of(const struct summary_experiment *experiment, const struct claim_rule *rule,
                      const struct summary_cell *cell) {
    if (!covers(experiment, cell, rule))
        return false;
    if (rule->form != CLAIM_GROWTH && !rule->onset)
        return true;
    size_t axis = axis_index(experiment, rule->axis);
    return axis < experiment->axis_count && first_of_line(experiment, cell, axis) != NULL;
}

static int judge_line(const struct summary *summary, const struct summary_experiment *experiment,
                      const struct claim_rule *rule, struct verdict_line *line) {
    int failure = gather(summary, experiment, rule, line);
    if (failure)
        return failure;
    line->verdict = claim_judge(rule, &line->evidence);
    if (!line->because)
        line->because = claim_verdict_words(rule, &line->evidence);
    return 0;
}

static bool is_met(const struct verdict_line *line) {
    return line->verdict == CLAIM_REPRODUCED || line->verdict == CLAIM_EXCEEDED;
}

/* From the last cell of the axis downwards, for as long as the rule is met. */
static int find_onset(const struct summary *summary, const struct summary_experiment *experiment,
                      const struct claim_rule *rule, struct verdict_line *line) {
    size_t axis = axis_index(experiment, rule->axis);
    while (is_met(line)) {
        struct verdict_line lower = {.cell = next_below(experiment, line->cell, axis)};
        int failure = lower.cell ? judge_line(summary, experiment, rule, &lower) : 0;
        if (failure || !lower.cell)
            return failure;
        if (!is_met(&lower)) {
            line->below =
                (struct verdict_below){lower.cell, lower.verdict, lower.evidence, lower.blocks};
            return 0;
        }
        *line = lower;
    }
    return 0;
}

static int judge_one(const struct summary *summary, const struct summary_experiment *experiment,
                     struct judged_claim *claim) {
    claim->lines = calloc(experiment->cell_count + 1, sizeof *claim->lines);
    if (!claim->lines)
        return -ENOMEM;
    for (size_t i = 0; i < experiment->cell_count; i++) {
        const struct summary_cell *cell = &experiment->cells[i];
        if (!speaks_of(experiment, &claim->rule, cell))
            continue;
        struct verdict_line *line = &claim->lines[claim->count++];
        line->cell = cell;
        int failure = judge_line(summary, experiment, &claim->rule, line);
        if (!failure && claim->rule.onset)
            failure = find_onset(summary, experiment, &claim->rule, line);
        if (failure)
            return failure;
    }
    return 0;
}

static const char *text_or_unknown(const json_t *json) {
    return json_is_string(json) ? json_string_value(json) : "?";
}

int verdicts_judge(const struct summary *summary, const struct summary_experiment *experiment,
                   struct judged_claims *judged) {
    const json_t *claims = json_object_get(experiment->json, "claims"), *json;
    size_t index;
    *judged = (struct judged_claims){
        .claims = calloc(json_array_size(claims) + 1, sizeof *judged->claims)};
    if (!judged->claims)
        return -ENOMEM;
    json_array_foreach(claims, index, json) {
        struct judged_claim *claim = &judged->claims[judged->count++];
        claim->name = text_or_unknown(json_object_get(json, "name"));
        claim->says = text_or_unknown(json_object_get(json, "says"));
        claim->text = json_string_value(json_object_get(json, "rule"));
        claim->readable = claim->text && claim_parse(claim->text, &claim->rule, NULL) == 0;
        int failure = claim->readable ? judge_one(summary, experiment, claim) : 0;
        if (failure)
            return failure;
    }
    return 0;
}

void verdicts_free(struct judged_claims *judged) {
    for (size_t i = 0; i < judged->count; i++)
        free(judged->claims[i].lines);
    free(judged->claims);
}
