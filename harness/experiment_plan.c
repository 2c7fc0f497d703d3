/* experiment_plan.c: what an experiment's plan comes to: its cells, their knobs, and whether it can
 * be run and judged at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/experiment.h"
#include "harness/load_knobs.h"
#include "loops/check.h"

/* Of a server besides its connections: standard streams, listener, epoll, wake-up, control, reserve
 * … */
enum { RESERVED_DESCRIPTORS = 16 };

/* Below this the signed-rank interval at 95 % has no ends (2 / 2^5 > 0.05). */
enum { BLOCKS_LEAST = 6 };

/* ---- cells ----------------------------------------------------------------------------------- */

static bool pattern_covers(const struct cell_pattern *pattern, const struct cell *cell) {
    for (size_t i = 0; i < pattern->count; i++)
        if (cell->knobs.values[pattern->terms[i].knob] != pattern->terms[i].value)
            return false;
    return true;
}

static size_t count_cells(const struct experiment *experiment) {
    size_t count = 1;
    for (size_t i = 0; i < experiment->axis_count && count <= EXPERIMENT_CELLS_MOST; i++)
        count *= experiment->axes[i].count;
    return count;
}

static void add_label(struct cell *cell, const struct knob *knob, double value) {
    char text[KNOB_TEXT_BYTES];
    size_t used = strlen(cell->label);
    knob_format_plain(knob, value, text);
    int added = snprintf(cell->label + used, sizeof cell->label - used, "%s%s=%s", used ? " " : "",
                         knob->name, text);
    CHECK(added > 0 && used + (size_t)added < sizeof cell->label);
}

/* The number-th combination: axes are its digits, the last one fastest. */
static void make_cell(const struct experiment *experiment, size_t number, struct cell *cell) {
    size_t below = count_cells(experiment);
    cell->knobs = experiment->base;
    cell->label[0] = '\0';
    for (size_t i = 0; i < experiment->axis_count; i++) {
        const struct axis *axis = &experiment->axes[i];
        below /= axis->count;
        double value = axis->values[number / below % axis->count];
        cell->knobs.values[axis->knob] = value;
        cell->knobs.given[axis->knob] = true;
        add_label(cell, knob_at(&experiment->base, axis->knob), value);
    }
    if (experiment->axis_count == 0)
        snprintf(cell->label, sizeof cell->label, "all");
    cell->headline = false;
    for (size_t i = 0; i < experiment->headline_count; i++)
        cell->headline |= pattern_covers(&experiment->headline[i], cell);
}

size_t experiment_cells(const struct experiment *experiment, struct cell **cells) {
    size_t count = count_cells(experiment), headlines = 0;
    *cells = calloc(count, sizeof **cells);
    if (!*cells)
        return 0;
    for (size_t i = 0; i < count; i++) {
        make_cell(experiment, i, &(*cells)[i]);
        headlines += (*cells)[i].headline;
    }
    for (size_t i = 0; headlines == 0 && experiment->headline_count > 0 && i < count; i++)
        (*cells)[i].headline = true;
    return count;
}

static void apply(const struct knob_setting *sets, size_t count, struct knob_values *knobs) {
    for (size_t i = 0; i < count; i++) {
        knobs->values[sets[i].knob] = sets[i].value;
        knobs->given[sets[i].knob] = true;
    }
}

void experiment_knobs(const struct experiment *experiment, const struct cell *cell,
                      const struct contender *contender, bool headline, struct knob_values *out) {
    *out = cell->knobs;
    apply(contender->sets, contender->set_count, out);
    if (headline)
        apply(experiment->headline_sets, experiment->headline_set_count, out);
}

const char *experiment_excluded(const struct experiment *experiment, const struct cell *cell,
                                const struct contender *contender) {
    for (size_t i = 0; i < experiment->excluded_count; i++) {
        const struct cell_pattern *pattern = &experiment->excluded[i];
        if ((!pattern->server || strcmp(pattern->server, contender->name) == 0) &&
            pattern_covers(pattern, cell))
            return experiment->excluded_reason;
    }
    return NULL;
}

const struct contender *experiment_contender(const struct experiment *experiment,
                                             const char *name) {
    for (size_t i = 0; i < experiment->contender_count; i++)
        if (strcmp(experiment->contenders[i].name, name) == 0)
            return &experiment->contenders[i];
    return NULL;
}

bool experiment_claim_covers(const struct claim *claim, const struct cell *cell) {
    return pattern_covers(&claim->where, cell);
}

double experiment_duration_ns(const struct experiment *experiment, bool headline) {
    struct cell *cells;
    size_t count = experiment_cells(experiment, &cells);
    double total_ns = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < experiment->contender_count; j++) {
            const struct contender *contender = &experiment->contenders[j];
            struct knob_values knobs;
            if ((headline && !cells[i].headline) ||
                experiment_excluded(experiment, &cells[i], contender))
                continue;
            experiment_knobs(experiment, &cells[i], contender, headline, &knobs);
            total_ns += knob_get(&knobs, "warmup") + knob_get(&knobs, "duration");
        }
    free(cells);
    return total_ns * (headline ? experiment->headline_repetitions : experiment->repetitions);
}

/* ---- overriding ------------------------------------------------------------------------------ */

static void drop_setting(struct knob_setting *sets, size_t *count, size_t knob) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (sets[i].knob != knob)
            sets[kept++] = sets[i];
    *count = kept;
}

/* Cuts `list`. */
static int parse_values(const struct knob *knob, char *list, struct axis *axis,
                        struct error *error) {
    char *item;
    while ((item = strsep(&list, ",")) != NULL) {
        if (axis->count == EXPERIMENT_VALUES_MOST)
            return error_set(error, -EINVAL, "%s: more than %d values", knob->name,
                             EXPERIMENT_VALUES_MOST);
        double *value = &axis->values[axis->count];
        int failure = knob_parse(knob, item + strspn(item, " "), value, error);
        if (failure)
            return failure;
        for (size_t i = 0; i < axis->count; i++)
            if (axis->values[i] == *value)
                return error_set(error, -EINVAL, "%s: the value %s comes twice", knob->name, item);
        axis->count++;
    }
    return 0;
}

static int place_values(struct experiment *experiment, const struct axis *values,
                        struct error *error) {
    for (size_t i = 0; i < experiment->axis_count; i++)
        if (experiment->axes[i].knob == values->knob) {
            int line = experiment->axes[i].line;
            experiment->axes[i] = *values;
            experiment->axes[i].line = line;
            return 0;
        }
    if (values->count == 1) {
        experiment->base.values[values->knob] = values->values[0];
        experiment->base.given[values->knob] = true;
        return 0;
    }
    if (experiment->axis_count == EXPERIMENT_AXES_MOST)
        return error_set(error, -EINVAL, "more than %d axes", EXPERIMENT_AXES_MOST);
    experiment->axes[experiment->axis_count++] = *values;
    return 0;
}

int experiment_override(struct experiment *experiment, const char *pair, struct error *error) {
    const char *equals = strchr(pair, '=');
    struct knob_values trial = experiment->base;
    struct axis values = {.line = experiment->measure_line};
    char name[64];
    if (!equals || (size_t)(equals - pair) >= sizeof name)
        return knob_set_pair(&trial, "", error);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    const struct knob *knob = knob_find(&trial, name, &values.knob);
    if (!knob)
        return knob_set(&trial, name, "", error); /* for its words */
    char *list = strdup(equals + 1);
    if (!list)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = parse_values(knob, list, &values, error);
    free(list);
    if (failure == 0)
        failure = place_values(experiment, &values, error);
    if (failure)
        return failure;
    experiment->overridden = true;
    drop_setting(experiment->headline_sets, &experiment->headline_set_count, values.knob);
    for (size_t i = 0; i < experiment->contender_count; i++)
        drop_setting(experiment->contenders[i].sets, &experiment->contenders[i].set_count,
                     values.knob);
    return 0;
}

/* ---- can it be run? -------------------------------------------------------------------------- */

struct check {
    const struct experiment *experiment;
    const struct cell *cells;
    size_t cell_count;
    struct error *error;
};

#define refuse(check, line, ...)                                                                   \
    ini_error(&(check)->experiment->ini, line, (check)->error, __VA_ARGS__)

/* Where the file varies or sets the knob. */
static int knob_line(const struct experiment *experiment, const char *name, int otherwise) {
    for (size_t i = 0; i < experiment->ini.count; i++) {
        const struct ini_entry *entry = &experiment->ini.entries[i];
        const char *point = strchr(entry->name, '.');
        if (strcmp(entry->section, "experiment") == 0 && point && strcmp(point + 1, name) == 0)
            return entry->line;
    }
    return otherwise;
}

static int check_rate(const struct check *check, const struct cell *cell, bool headline) {
    const struct experiment *experiment = check->experiment;
    int line = knob_line(experiment, "rate", experiment->measure_line);
    struct knob_values knobs;
    experiment_knobs(experiment, cell, &experiment->contenders[0], headline, &knobs);
    bool open = knob_get(&knobs, "rate") > 0;
    if (experiment->measure != MEASURE_CAPACITY && !open)
        return refuse(check, line,
                      "measure = %s is an open loop: it needs a rate over 0, "
                      "by set.rate or vary.rate",
                      measure_names[experiment->measure]);
    if (experiment->measure == MEASURE_CAPACITY && open)
        return refuse(check, line,
                      "measure = capacity is a closed loop: it finds the rate, so "
                      "none can be given");
    return 0;
}

static int descriptor_limit(const char *loop) {
    struct loop_info info;
    for (size_t i = 0; loop && loop_info(i, &info); i++)
        if (strcmp(info.name, loop) == 0)
            return info.descriptor_limit;
    return 0;
}

static int check_descriptors(const struct check *check, const struct cell *cell,
                             const struct contender *contender) {
    const struct experiment *experiment = check->experiment;
    int limit = descriptor_limit(contender->loop);
    double wanted =
        knob_get(&cell->knobs, "connections") + knob_get(&cell->knobs, "idle_connections");
    if (limit == 0 || wanted + RESERVED_DESCRIPTORS <= limit)
        return 0;
    int line = knob_line(experiment, "connections", contender->line);
    return refuse(
        check, knob_line(experiment, "idle_connections", line),
        "%s takes descriptors below %d only, and the cell %s has %.0f connections: keep to "
        "%d, or exclude = server:%s … because …",
        contender->name, limit, cell->label, wanted, limit - RESERVED_DESCRIPTORS, contender->name);
}

static int check_name(const struct check *check, const struct cell *cell) {
    if (knob_get(&cell->knobs, "resolve") == RESOLVE_ONCE ||
        knob_get(&cell->knobs, "transport") == TRANSPORT_TCP)
        return 0;
    return refuse(check, knob_line(check->experiment, "resolve", check->experiment->measure_line),
                  "resolve = connection looks a host name up, and with transport = unix there is "
                  "none");
}

static int check_cell(const struct check *check, const struct cell *cell) {
    const struct experiment *experiment = check->experiment;
    int failure = check_rate(check, cell, false);
    if (failure == 0)
        failure = check_rate(check, cell, true);
    if (failure == 0)
        failure = check_name(check, cell);
    size_t running = 0;
    for (size_t i = 0; failure == 0 && i < experiment->contender_count; i++)
        if (!experiment_excluded(experiment, cell, &experiment->contenders[i])) {
            running++;
            failure = check_descriptors(check, cell, &experiment->contenders[i]);
        }
    if (failure == 0 && running == 0)
        return refuse(check, experiment->excluded_line, "every server is excluded from the cell %s",
                      cell->label);
    return failure;
}

/* A foreign server learns its knobs from its command alone. */
static int check_command(const struct check *check, const struct contender *contender) {
    const struct knob *knob;
    struct knob_values knobs;
    if (!contender->command)
        return 0;
    experiment_knobs(check->experiment, &check->cells[0], contender, false, &knobs);
    for (size_t i = 0; (knob = knob_at(&knobs, i)) != NULL; i++) {
        char placeholder[80];
        snprintf(placeholder, sizeof placeholder, "{%s}", knob->name);
        if (knob->side == KNOB_SERVER && knobs.given[i] && !strstr(contender->command, placeholder))
            return refuse(check, contender->line,
                          "the command of %s does not take %s: put %s into it", contender->name,
                          knob->name, placeholder);
    }
    return 0;
}

/* ---- can its claims be judged? --------------------------------------------------------------- */

static int check_servers(const struct check *check, const struct claim *claim) {
    const char *names[] = {claim->rule.first, claim->rule.second};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (*names[i] && !experiment_contender(check->experiment, names[i]))
            return refuse(check, claim->line,
                          "the rule names the server '%s', which is not in the "
                          "list of servers",
                          names[i]);
    return 0;
}

static int check_samples(const struct check *check, const struct claim *claim,
                         const struct cell *cell, bool headline) {
    const struct experiment *experiment = check->experiment;
    const struct claim_metric_info *metric = &claim_metrics[claim->rule.metric];
    struct knob_values knobs;
    experiment_knobs(experiment, cell, &experiment->contenders[0], headline, &knobs);
    double requests = knob_get(&knobs, "rate") * knob_get(&knobs, "duration") / NS_PER_S;
    if (requests >= metric->samples_least)
        return 0;
    return refuse(check, claim->line,
                  "%s needs %.0f requests in each repetition, and the cell %s has %.0f in a %s run "
                  "(rate × duration)",
                  metric->name, metric->samples_least, cell->label, requests,
                  headline ? "headline" : "full");
}

static bool runs_in(const struct experiment *experiment, const char *name,
                    const struct cell *cell) {
    return *name == '\0' ||
           !experiment_excluded(experiment, cell, experiment_contender(experiment, name));
}

/* With `axis`: at least one judgeable cell at this value of it. */
static int check_coverage(const struct check *check, const struct claim *claim,
                          const struct axis *axis, double value) {
    const struct experiment *experiment = check->experiment;
    size_t judged = 0;
    for (size_t i = 0; i < check->cell_count; i++) {
        const struct cell *cell = &check->cells[i];
        if (!experiment_claim_covers(claim, cell) ||
            (axis && cell->knobs.values[axis->knob] != value) ||
            !runs_in(experiment, claim->rule.first, cell) ||
            !runs_in(experiment, claim->rule.second, cell))
            continue;
        judged++;
        if (experiment->measure == MEASURE_CAPACITY)
            continue; /* how many requests there will be is what is measured */
        int failure = check_samples(check, claim, cell, false);
        if (failure == 0 && cell->headline)
            failure = check_samples(check, claim, cell, true);
        if (failure)
            return failure;
    }
    if (judged == 0 && !experiment->overridden)
        return refuse(check, claim->line, "the claim %s has no cell in which its servers run",
                      claim->name);
    return 0;
}

/* Of rules that go along an axis. */
static int check_along(const struct check *check, const struct claim *claim) {
    const struct experiment *experiment = check->experiment;
    const char *along = claim->rule.onset ? "from some" : "over";
    const struct axis *axis = NULL;
    for (size_t i = 0; i < experiment->axis_count; i++)
        if (strcmp(knob_at(&experiment->base, experiment->axes[i].knob)->name, claim->rule.axis) ==
            0)
            axis = &experiment->axes[i];
    if (experiment->overridden && (!axis || axis->count < 2))
        return 0;
    if (!axis || axis->count < 2)
        return refuse(check, claim->line, "'%s %s' needs vary.%s with two values or more", along,
                      claim->rule.axis, claim->rule.axis);
    for (size_t i = 0; i < claim->where.count; i++)
        if (claim->where.terms[i].knob == axis->knob)
            return refuse(check, claim->line, "'%s %s' and 'where %s:' exclude each other", along,
                          claim->rule.axis, claim->rule.axis);
    int failure = check_coverage(check, claim, axis, axis->values[0]);
    return failure ? failure : check_coverage(check, claim, axis, axis->values[axis->count - 1]);
}

static int check_claim(const struct check *check, const struct claim *claim) {
    const struct experiment *experiment = check->experiment;
    int failure = check_servers(check, claim);
    if (failure)
        return failure;
    if (experiment->repetitions < BLOCKS_LEAST ||
        (experiment->headline_count > 0 && experiment->headline_repetitions < BLOCKS_LEAST))
        return refuse(check, claim->line,
                      "a claim needs %d repetitions or more: fewer have no interval at 95 %%",
                      BLOCKS_LEAST);
    if (claim->rule.form == CLAIM_GROWTH || claim->rule.onset)
        return check_along(check, claim);
    return check_coverage(check, claim, NULL, 0);
}

/* A closed loop has no times at which nothing is due, and a wait for one's turn is no latency. */
static int check_turns(const struct check *check) {
    const struct experiment *experiment = check->experiment;
    if (experiment->turn_ns > 0 && experiment->measure != MEASURE_COST)
        return refuse(check, experiment->turns_line,
                      "turns are for measure = cost only: a server's capacity and latency are "
                      "measured while it is alone");
    return 0;
}

static int check_all(const struct check *check) {
    const struct experiment *experiment = check->experiment;
    int failure = check_turns(check);
    for (size_t i = 0; failure == 0 && i < check->cell_count; i++)
        failure = check_cell(check, &check->cells[i]);
    for (size_t i = 0; failure == 0 && i < experiment->contender_count; i++)
        failure = check_command(check, &experiment->contenders[i]);
    for (size_t i = 0; failure == 0 && i < experiment->claim_count; i++)
        failure = check_claim(check, &experiment->claims[i]);
    return failure;
}

int experiment_check(const struct experiment *experiment, struct error *error) {
    struct cell *cells;
    if (count_cells(experiment) > EXPERIMENT_CELLS_MOST)
        return ini_error(&experiment->ini, experiment->axes[0].line, error,
                         "the axes make more than %d cells", EXPERIMENT_CELLS_MOST);
    size_t count = experiment_cells(experiment, &cells);
    if (count == 0)
        return error_set(error, -ENOMEM, "out of memory");
    struct check check = {experiment, cells, count, error};
    int failure = check_all(&check);
    free(cells);
    return failure;
}
