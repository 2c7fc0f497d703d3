/* claim.c: see claim.h. */
#include "claim.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"
#include "workloads/knob.h"

/* (1 - q)·n samples in the tail, and z²·q/((1 - q)·0.1²) of n for ±10 % of that number at 95 %. */
const struct claim_metric_info claim_metrics[CLAIM_METRICS] = {
    [CLAIM_METRIC_THROUGHPUT] = {"throughput", 0, 0},
    [CLAIM_METRIC_P50] = {"p50", 0.5, 384},
    [CLAIM_METRIC_P99] = {"p99", 0.99, 38000},
    [CLAIM_METRIC_P999] = {"p999", 0.999, 384000},
    [CLAIM_METRIC_CPU_PER_REQUEST] = {"cpu_per_request", 0, 0},
    [CLAIM_METRIC_RSS] = {"rss", 0, 0},
};

/* How absolute bounds are written, and from knob_parse's unit to the record's. */
static const struct {
    enum knob_type type;
    double scale;
} bound_types[CLAIM_METRICS] = {
    [CLAIM_METRIC_THROUGHPUT] = {KNOB_RATE, 1},
    [CLAIM_METRIC_P50] = {KNOB_TIME, 1},
    [CLAIM_METRIC_P99] = {KNOB_TIME, 1},
    [CLAIM_METRIC_P999] = {KNOB_TIME, 1},
    [CLAIM_METRIC_CPU_PER_REQUEST] = {KNOB_TIME, 1e-3},
    [CLAIM_METRIC_RSS] = {KNOB_BYTES, 1},
};

/* ---- parsing --------------------------------------------------------------------------------- */

#define WORD_BYTES 96

struct parser {
    const char *rest;
    char word[WORD_BYTES]; /* the current one; empty at the end */
    struct claim_rule *rule;
    struct error *error;
};

static void next_word(struct parser *parser) {
    parser->rest += strspn(parser->rest, " \t");
    size_t length = strcspn(parser->rest, " \t");
    size_t kept = length < WORD_BYTES ? length : WORD_BYTES - 1;
    memcpy(parser->word, parser->rest, kept);
    parser->word[kept] = '\0';
    parser->rest += length;
}

static bool accept(struct parser *parser, const char *word) {
    if (strcmp(parser->word, word) != 0)
        return false;
    next_word(parser);
    return true;
}

/* `wanted` reads on from "expected". */
static int refuse(struct parser *parser, const char *wanted) {
    if (*parser->word == '\0')
        return error_set(parser->error, -EINVAL, "the rule ends where it should say %s", wanted);
    return error_set(parser->error, -EINVAL, "'%s' in the rule: expected %s", parser->word, wanted);
}

static int parse_metric(struct parser *parser) {
    for (int metric = 0; metric < CLAIM_METRICS; metric++)
        if (accept(parser, claim_metrics[metric].name)) {
            parser->rule->metric = (enum claim_metric)metric;
            return 0;
        }
    return refuse(parser, "a metric: throughput, p50, p99, p999, cpu_per_request or rss");
}

static bool copy_name(char to[CLAIM_NAME_BYTES], const char *from, size_t length) {
    if (length == 0 || length >= CLAIM_NAME_BYTES)
        return false;
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

static int parse_servers(struct parser *parser) {
    struct claim_rule *rule = parser->rule;
    const char *slash = strchr(parser->word, '/');
    size_t first = slash ? (size_t)(slash - parser->word) : strlen(parser->word);
    if (!copy_name(rule->first, parser->word, first) ||
        (slash && !copy_name(rule->second, slash + 1, strlen(slash + 1))) ||
        (slash && strchr(slash + 1, '/')))
        return refuse(parser, "one server, or two as FIRST/SECOND");
    if (slash && strcmp(rule->first, rule->second) == 0)
        return refuse(parser, "two different servers");
    rule->form = slash ? CLAIM_RATIO : CLAIM_ABSOLUTE;
    next_word(parser);
    return 0;
}

/* Reads the word as a knob's value, so that numbers have one grammar everywhere. */
static int parse_value(struct parser *parser, enum knob_type type, const char *what,
                       double *value) {
    struct knob as = {.name = what, .type = type, .least = 0, .most = HUGE_VAL};
    if (*parser->word == '\0')
        return refuse(parser, "a number");
    int failure = knob_parse(&as, parser->word, value, parser->error);
    if (failure == 0)
        next_word(parser);
    return failure;
}

static int parse_ratio(struct parser *parser, double *ratio) {
    size_t length = strlen(parser->word);
    char *end;
    if (length == 0 || strspn(parser->word, "0123456789.") != length || *parser->word == '.' ||
        parser->word[length - 1] == '.')
        return refuse(parser, "a plain number like 2 or 0.5");
    *ratio = strtod(parser->word, &end);
    if (*end || *ratio <= 0)
        return refuse(parser, "a plain number over 0, like 2 or 0.5");
    next_word(parser);
    return 0;
}

static int parse_bound(struct parser *parser, double *bound) {
    enum claim_metric metric = parser->rule->metric;
    if (parser->rule->form != CLAIM_ABSOLUTE)
        return parse_ratio(parser, bound);
    int failure = parse_value(parser, bound_types[metric].type, claim_metrics[metric].name, bound);
    *bound *= bound_types[metric].scale;
    return failure;
}

/* "20 %", "20%" or "20", over 0 and under 100. */
static int parse_percent(struct parser *parser, double *share) {
    size_t length = strlen(parser->word);
    if (length > 1 && parser->word[length - 1] == '%')
        parser->word[length - 1] = '\0';
    int failure = parse_ratio(parser, share);
    if (failure)
        return failure;
    accept(parser, "%");
    if (*share >= 100)
        return error_set(parser->error, -EINVAL, "the rule's percentage must be under 100, not %g",
                         *share);
    *share /= 100;
    return 0;
}

static int parse_between(struct parser *parser) {
    struct claim_rule *rule = parser->rule;
    int failure = parse_bound(parser, &rule->low);
    if (failure)
        return failure;
    if (!accept(parser, "and"))
        return refuse(parser, "'and'");
    failure = parse_bound(parser, &rule->high);
    if (failure == 0 && rule->low >= rule->high)
        return error_set(parser->error, -EINVAL, "the rule's first bound must be the lower one");
    return failure;
}

static int parse_about(struct parser *parser) {
    struct claim_rule *rule = parser->rule;
    double middle = 0, share = 0;
    int failure = parse_bound(parser, &middle);
    if (failure)
        return failure;
    if (!accept(parser, "within"))
        return refuse(parser, "'within P %'");
    failure = parse_percent(parser, &share);
    rule->low = middle * (1 - share);
    rule->high = middle * (1 + share);
    return failure;
}

static int parse_at(struct parser *parser) {
    if (accept(parser, "least"))
        return parse_bound(parser, &parser->rule->low);
    if (accept(parser, "most"))
        return parse_bound(parser, &parser->rule->high);
    return refuse(parser, "'at least' or 'at most'");
}

static int parse_axis(struct parser *parser) {
    if (!accept(parser, "over"))
        return refuse(parser, "'over' and the name of an axis");
    if (!copy_name(parser->rule->axis, parser->word, strlen(parser->word)))
        return refuse(parser, "the name of an axis");
    next_word(parser);
    return 0;
}

static int parse_growth(struct parser *parser) {
    if (parser->rule->form == CLAIM_RATIO)
        return error_set(parser->error, -EINVAL, "'grows' and 'flat' speak of one server, not two");
    parser->rule->form = CLAIM_GROWTH;
    return 0;
}

static int parse_grows(struct parser *parser) {
    int failure = parse_growth(parser);
    parser->rule->low = 1;
    if (failure == 0 && accept(parser, "by")) {
        if (!accept(parser, "at"))
            return refuse(parser, "'by at least X'");
        failure = parse_at(parser);
        if (failure == 0 && (parser->rule->low < 1 || parser->rule->high <= 1))
            return error_set(parser->error, -EINVAL, "what grows does so by more than 1");
    }
    return failure ? failure : parse_axis(parser);
}

static int parse_flat(struct parser *parser) {
    double share = 0;
    int failure = parse_growth(parser);
    if (failure)
        return failure;
    if (!accept(parser, "within"))
        return refuse(parser, "'within P %'");
    failure = parse_percent(parser, &share);
    if (failure)
        return failure;
    parser->rule->low = 1 - share;
    parser->rule->high = 1 + share;
    return parse_axis(parser);
}

static const struct {
    const char *word;
    int (*parse)(struct parser *parser);
} predicates[] = {
    {"between", parse_between}, {"about", parse_about}, {"at", parse_at},
    {"grows", parse_grows},     {"flat", parse_flat},
};

static int parse_predicate(struct parser *parser) {
    for (size_t i = 0; i < ARRAY_LENGTH(predicates); i++)
        if (accept(parser, predicates[i].word))
            return predicates[i].parse(parser);
    return refuse(parser, "'between X and Y', 'about X within P %', 'at least X', 'at most X', "
                          "'grows over AXIS' or 'flat within P % over AXIS'");
}

static int parse_onset(struct parser *parser) {
    struct claim_rule *rule = parser->rule;
    if (rule->form == CLAIM_GROWTH)
        return error_set(parser->error, -EINVAL,
                         "'from some' speaks of one cell after the other, and 'grows' and 'flat' "
                         "of the axis' ends");
    if (!accept(parser, "some"))
        return refuse(parser, "'from some AXIS on'");
    if (!copy_name(rule->axis, parser->word, strlen(parser->word)))
        return refuse(parser, "the name of an axis");
    next_word(parser);
    rule->onset = true;
    return accept(parser, "on") ? 0 : refuse(parser, "'on'");
}

static int parse_where(struct parser *parser) {
    char *where = parser->rule->where;
    if (*parser->word == '\0')
        return refuse(parser, "'where KNOB:VALUE'");
    while (*parser->word) {
        size_t used = strlen(where);
        if (used + strlen(parser->word) + 2 > CLAIM_WHERE_BYTES)
            return refuse(parser, "fewer conditions");
        snprintf(where + used, CLAIM_WHERE_BYTES - used, "%s%s", used ? " " : "", parser->word);
        next_word(parser);
    }
    return 0;
}

static int claimed_direction(const struct claim_rule *rule) {
    if (rule->form == CLAIM_ABSOLUTE)
        return 0;
    return rule->low >= 1 ? 1 : rule->high <= 1 ? -1 : 0;
}

int claim_parse(const char *text, struct claim_rule *rule, struct error *error) {
    *rule = (struct claim_rule){.low = 0, .high = INFINITY};
    struct parser parser = {.rest = text, .rule = rule, .error = error};
    next_word(&parser);
    int failure = parse_metric(&parser);
    if (failure == 0)
        failure = parse_servers(&parser);
    if (failure == 0)
        failure = parse_predicate(&parser);
    if (failure == 0 && accept(&parser, "from"))
        failure = parse_onset(&parser);
    if (failure == 0 && accept(&parser, "where"))
        failure = parse_where(&parser);
    if (failure == 0 && *parser.word)
        failure = refuse(&parser, "'from some AXIS on', 'where' or the end of the rule");
    rule->direction = claimed_direction(rule);
    return failure;
}

/* ---- judging --------------------------------------------------------------------------------- */

struct judgement {
    enum claim_verdict verdict;
    const char *words;
};

static struct judgement not_shown(const struct claim_rule *rule,
                                  const struct claim_evidence *evidence) {
    const char *words = NULL;
    if (evidence->missing)
        words = "it was not measured in this run";
    else if (evidence->invalid)
        words = "the measurements are not valid";
    else if (evidence->co_limited && rule->metric == CLAIM_METRIC_THROUGHPUT)
        words = "the generator was saturated too, so the rate is only a lower bound";
    else if (!evidence->bounded)
        words = "there are too few repetitions for an interval";
    return (struct judgement){CLAIM_NOT_SHOWN, words};
}

static struct judgement judge_claim(const struct claim_rule *rule,
                                    const struct claim_evidence *evidence) {
    struct judgement judgement = not_shown(rule, evidence);
    if (judgement.words)
        return judgement;
    double low = evidence->low, high = evidence->high;
    CHECK(low <= high);
    bool up = rule->direction > 0, down = rule->direction < 0;
    bool claimed_side = (up && low > 1) || (down && high < 1);
    /* "at least 1" is met by no change at all; what a claim of an increase means is over 1. */
    bool within = low >= rule->low && high <= rule->high && (rule->direction == 0 || claimed_side);
    if (within)
        return (struct judgement){CLAIM_REPRODUCED, "the interval lies wholly within the rule"};
    if ((up && low > rule->high) || (down && high < rule->low))
        return (struct judgement){CLAIM_EXCEEDED,
                                  "the interval lies wholly beyond the rule, on the claimed side"};
    bool apart = high < rule->low || low > rule->high;
    if (!apart && claimed_side)
        return (struct judgement){
            CLAIM_NOT_SHOWN, "the direction holds, and the interval crosses a border of the rule"};
    if (!apart)
        return (struct judgement){CLAIM_NOT_SHOWN, "the interval crosses a border of the rule"};
    if (claimed_side)
        return (struct judgement){
            CLAIM_DIRECTION_ONLY,
            "the direction holds, and the interval lies wholly short of the rule"};
    if ((up && high < 1) || (down && low > 1))
        return (struct judgement){CLAIM_NOT_REPRODUCED,
                                  "the interval lies wholly on the other side of 1"};
    return (struct judgement){CLAIM_NOT_REPRODUCED, "the interval lies wholly outside the rule"};
}

enum claim_verdict claim_judge(const struct claim_rule *rule,
                               const struct claim_evidence *evidence) {
    return judge_claim(rule, evidence).verdict;
}

const char *claim_verdict_words(const struct claim_rule *rule,
                                const struct claim_evidence *evidence) {
    return judge_claim(rule, evidence).words;
}

const char *claim_verdict_name(enum claim_verdict verdict) {
    static const char *const names[CLAIM_VERDICTS] = {
        [CLAIM_REPRODUCED] = "reproduced",         [CLAIM_EXCEEDED] = "exceeded",
        [CLAIM_DIRECTION_ONLY] = "direction only", [CLAIM_NOT_REPRODUCED] = "not reproduced",
        [CLAIM_NOT_SHOWN] = "not shown",
    };
    CHECK(verdict < CLAIM_VERDICTS);
    return names[verdict];
}
