/* report.c: see report.h. */
#include "harness/report.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/file.h"
#include "harness/progress.h"
#include "harness/report_cost.h"
#include "harness/report_page.h"
#include "harness/summary.h"
#include "harness/units.h"
#include "harness/verdicts.h"
#include "loops/check.h"

enum { NAME_WIDTH = 17, VALID_WIDTH = 5 };

static const char *text_of(const json_t *object, const char *path, const char *otherwise) {
    const char *text = json_string_value(summary_at(object, path));
    return text ? text : otherwise;
}

/* Response times: beyond its third digit a histogram says nothing. */
static double three_digits(double value) {
    if (!isfinite(value) || value == 0)
        return value;
    double digit = pow(10, floor(log10(fabs(value))) - 2);
    return round(value / digit) * digit;
}

/* A column that shows a metric. */
struct value {
    struct page_column head;
    enum metric metric;
    double per_unit; /* of the summary's, how many of the table's */
    bool narrow;     /* on a terminal there is no room for its interval */
    bool percent;    /* of 1, without an interval */
    bool rare;       /* not every experiment has it */
};

static void percent_text(const struct spread *spread, char text[PAGE_NUMBER_BYTES]) {
    if (isfinite(spread->median))
        snprintf(text, PAGE_NUMBER_BYTES, "%.0f %%", spread->median * 100);
    else
        snprintf(text, PAGE_NUMBER_BYTES, "-");
}

static void value_text(const struct page *page, const struct value *value,
                       const struct summary_row *row, char text[PAGE_NUMBER_BYTES]) {
    const struct spread *spread = &row->metrics[value->metric];
    if (value->percent) {
        percent_text(spread, text);
        return;
    }
    double median = spread->median * value->per_unit, low = spread->interval.low * value->per_unit,
           high = spread->interval.high * value->per_unit;
    bool bounded = spread->interval.n > 0 && spread->interval.bounded;
    if (metric_kinds[value->metric].quantile)
        median = three_digits(median), low = three_digits(low), high = three_digits(high);
    page_with_interval(median, low, high, bounded && (page->markdown || !value->narrow), text);
    if (!page->markdown && page_columns(text) > value->head.width)
        page_with_interval(median, low, high, false, text);
}

/* ---- the table of an experiment
 * -------------------------------------------------------------------- */

/* Beside them a table has the cell, the server, how many repetitions are valid, and the mark. */
enum { VALUES_MOST = 8, OTHER_COLUMNS = 4 };

static const struct value values_by_measure[][VALUES_MOST] = {
    [MEASURE_CAPACITY] =
        {
            {{"requests/s", 29, true}, SUMMARY_THROUGHPUT, 1, false, false, false},
            {{"CPU µs/request", 14, true}, SUMMARY_CPU, 1, true, false, false},
            {{"× floor", 7, true}, SUMMARY_CPU_OVER_FLOOR, 1, true, false, true},
            {{"busy", 5, true}, SUMMARY_SERVER_BUSY, 1, true, true, false},
            {{"gen.", 5, true}, SUMMARY_CLIENT_BUSY, 1, true, true, false},
            {{"offl. p50", 9, true}, SUMMARY_OFFLOAD_P50, 1, true, false, true},
            {{"offl. p99", 9, true}, SUMMARY_OFFLOAD_P99, 1, true, false, true},
        },
    [MEASURE_LATENCY] =
        {
            {{"p50 µs", 7, true}, SUMMARY_P50, 1e3, true, false, false},
            {{"p99 µs", 25, true}, SUMMARY_P99, 1e3, false, false, false},
            {{"p99.9 µs", 8, true}, SUMMARY_P999, 1e3, true, false, false},
            {{"CPU µs", 6, true}, SUMMARY_CPU, 1, true, false, false},
            {{"× floor", 7, true}, SUMMARY_CPU_OVER_FLOOR, 1, true, false, true},
            {{"gen.", 5, true}, SUMMARY_CLIENT_BUSY, 1, true, true, false},
            {{"offl. p50", 9, true}, SUMMARY_OFFLOAD_P50, 1, true, false, true},
            {{"offl. p99", 9, true}, SUMMARY_OFFLOAD_P99, 1, true, false, true},
        },
    [MEASURE_COST] =
        {
            {{"CPU µs/request", 24, true}, SUMMARY_CPU, 1, false, false, false},
            {{"× floor", 20, true}, SUMMARY_CPU_OVER_FLOOR, 1, false, false, true},
            {{"busy", 5, true}, SUMMARY_SERVER_BUSY, 1, true, true, false},
            {{"gen.", 5, true}, SUMMARY_CLIENT_BUSY, 1, true, true, false},
        },
};

/* Whether anything of it is there; of a server that offloads nothing, offloads cost nothing. */
static bool has_values(const struct summary_experiment *experiment, enum metric metric) {
    for (size_t c = 0; c < experiment->cell_count; c++)
        for (size_t s = 0; s < experiment->server_count; s++)
            if (experiment->cells[c].rows[s].metrics[metric].median > 0)
                return true;
    return false;
}

static bool has_floor(const struct summary_experiment *experiment) {
    for (size_t c = 0; c < experiment->cell_count; c++)
        if (isfinite(summary_cell_floor(experiment, &experiment->cells[c])))
            return true;
    return false;
}

/* The page_columns of this experiment's table: those of `rare` only where they were measured. */
static size_t values_of(const struct summary_experiment *experiment,
                        struct value values[VALUES_MOST]) {
    const struct value *all = values_by_measure[experiment->measure];
    size_t count = 0;
    for (size_t i = 0; i < VALUES_MOST && all[i].head.width > 0; i++)
        if (!all[i].rare || has_values(experiment, all[i].metric))
            values[count++] = all[i];
    return count;
}

static const char *mark_of(const struct page *page, const struct summary_experiment *experiment,
                           const struct summary_row *row) {
    if (row->count == 0)
        return "not run";
    if (!summary_row_valid(row))
        return "invalid";
    if (page->summary->shared_cpu)
        return "shared CPU";
    if (experiment->measure == MEASURE_COST)
        return "";
    if (experiment->measure == MEASURE_LATENCY)
        return row->least_samples < metric_kinds[SUMMARY_P99].samples ? "few samples" : "";
    return row->bound == BOUND_CO_LIMITED ? "co-limited"
           : row->bound == BOUND_LATENCY  ? "latency"
                                          : "";
}

static void put_row(const struct page *page, const struct summary_experiment *experiment,
                    const char *label, const struct summary_row *row) {
    struct value values[VALUES_MOST];
    size_t count = values_of(experiment, values);
    char text[PAGE_NUMBER_BYTES];
    if (page->markdown)
        page_put_cell(page, label, 0, false);
    snprintf(text, sizeof text, "%s%s", page->markdown ? "" : "  ", row->server);
    page_put_cell(page, text, NAME_WIDTH, false);
    for (size_t i = 0; i < count; i++) {
        value_text(page, &values[i], row, text);
        page_put_cell(page, text, values[i].head.width, true);
    }
    snprintf(text, sizeof text, "%zu/%zu", row->valid, row->count);
    page_put_cell(page, text, VALID_WIDTH, true);
    page_put_cell(page, mark_of(page, experiment, row), 0, false);
    page_end_row(page);
}

static void put_table_head(const struct page *page, const struct summary_experiment *experiment) {
    struct page_column head[VALUES_MOST + OTHER_COLUMNS];
    struct value values[VALUES_MOST];
    size_t count = values_of(experiment, values), used = 0;
    if (page->markdown)
        head[used++] = (struct page_column){"cell", 0, false};
    head[used++] = (struct page_column){"  server", NAME_WIDTH, false};
    for (size_t i = 0; i < count; i++)
        head[used++] = values[i].head;
    head[used++] = (struct page_column){"valid", VALID_WIDTH, true};
    head[used++] = (struct page_column){"mark", 0, false};
    page_put_head(page, head, used);
}

/* On a terminal the cell is a line of its own above its servers; in Markdown it is a column. */
static void put_table(const struct page *page, const struct summary_experiment *experiment) {
    fputs("\n", page->file);
    put_table_head(page, experiment);
    for (size_t c = 0; c < experiment->cell_count; c++) {
        const struct summary_cell *cell = &experiment->cells[c];
        char label[SUMMARY_LABEL_BYTES];
        summary_cell_label(experiment, cell, 0, label);
        if (!page->markdown && label[0])
            fprintf(page->file, "%s\n", label);
        for (size_t s = 0; s < experiment->server_count; s++)
            if (cell->rows[s].count > 0)
                put_row(page, experiment, label[0] ? label : "all", &cell->rows[s]);
    }
}

/* What the multiples of the table are multiples of, cell by cell. */
static void put_floor(const struct page *page, const struct summary_experiment *experiment) {
    char *list = NULL;
    size_t size;
    const char *between = "";
    if (!has_floor(experiment))
        return;
    FILE *text = open_memstream(&list, &size);
    CHECK(text);
    for (size_t c = 0; c < experiment->cell_count; c++) {
        char label[SUMMARY_LABEL_BYTES], number[UNITS_TEXT_BYTES];
        double floor_us = summary_cell_floor(experiment, &experiment->cells[c]);
        if (!isfinite(floor_us))
            continue;
        summary_cell_label(experiment, &experiment->cells[c], 0, label);
        page_short_number(floor_us, number);
        fprintf(text, "%s%s µs%s%s", between, number, label[0] ? " at " : "", label);
        between = "; ";
    }
    CHECK(fclose(text) == 0);
    page_put_line(
        page, "\n", 2,
        "× floor: CPU per request as a multiple of what the kernel alone takes to receive and "
        "send the same bytes, without a loop%s. Here: %s",
        experiment->measure == MEASURE_CAPACITY
            ? ""
            : "; at a given rate it has falling asleep and waking in it",
        list);
    free(list);
}

/* What the marks of this experiment mean; only those that occur. */
static void put_marks(const struct page *page, const struct summary_experiment *experiment) {
    static const struct {
        const char *mark, *meaning;
    } marks[] = {
        {"co-limited", "the generator was saturated too: a lower bound, not ranked by requests/s"},
        {"latency", "neither side was saturated: round trips of so many connections, not capacity"},
        {"few samples", "under 38,000 responses a repetition: not ranked by p99"},
        {"invalid", "fewer than half of its repetitions are valid; why is listed below"},
        {"shared CPU", "server and generator shared a core: not ranked"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(marks); i++) {
        bool occurs = false;
        for (size_t c = 0; c < experiment->cell_count; c++)
            for (size_t s = 0; s < experiment->server_count; s++)
                occurs = occurs || strcmp(mark_of(page, experiment, &experiment->cells[c].rows[s]),
                                          marks[i].mark) == 0;
        if (occurs)
            page_put_line(page, "\n", 2, "%s: %s", marks[i].mark, marks[i].meaning);
    }
}

static void put_offloads(const struct page *page, const struct summary_experiment *experiment) {
    if (has_values(experiment, SUMMARY_OFFLOAD_P50))
        page_put_line(page, "\n", 2,
                      "offl.: µs that a job took beside its work, since the server began: from its "
                      "submission to its start and from its end to its answer on the loop, where "
                      "waiting for a thread and for the loop are part of it; at most a 32nd too "
                      "much. CSV files have both ways apart");
}

static void put_table_and_notes(const struct page *page,
                                const struct summary_experiment *experiment) {
    put_table(page, experiment);
    put_floor(page, experiment);
    put_offloads(page, experiment);
    put_marks(page, experiment);
}

/* ---- claims
 * ------------------------------------------------------------------------------------------- */

/* Of the record's units, how many make the one that is printed. */
static const struct {
    double size;
    const char *name;
} absolute_units[CLAIM_METRICS] = {
    [CLAIM_METRIC_THROUGHPUT] = {1, " requests/s"},
    [CLAIM_METRIC_P50] = {1e3, " µs"},
    [CLAIM_METRIC_P99] = {1e3, " µs"},
    [CLAIM_METRIC_P999] = {1e3, " µs"},
    [CLAIM_METRIC_CPU_PER_REQUEST] = {1, " µs"},
    [CLAIM_METRIC_RSS] = {1 << 20, " MiB"},
};

static void evidence_text(const struct judged_claim *claim, const struct claim_evidence *evidence,
                          size_t blocks, char text[PAGE_NUMBER_BYTES]) {
    bool absolute = claim->rule.form == CLAIM_ABSOLUTE;
    double size = absolute ? absolute_units[claim->rule.metric].size : 1;
    if (blocks == 0) {
        snprintf(text, PAGE_NUMBER_BYTES, "-");
        return;
    }
    page_with_interval(evidence->estimate / size, evidence->low / size, evidence->high / size,
                       evidence->bounded, text);
    if (absolute)
        strncat(text, absolute_units[claim->rule.metric].name,
                PAGE_NUMBER_BYTES - strlen(text) - 1);
}

static size_t count_verdict(const struct judged_claim *claim, enum claim_verdict verdict) {
    size_t count = 0;
    for (size_t i = 0; i < claim->count; i++)
        count += claim->lines[i].verdict == verdict;
    return count;
}

/* The bit of the axis that the rule goes along; 0: none. */
static unsigned axis_of(const struct summary_experiment *experiment,
                        const struct judged_claim *claim) {
    for (size_t i = 0; i < experiment->axis_count; i++)
        if (strcmp(experiment->axes[i], claim->rule.axis) == 0)
            return 1u << i;
    return 0;
}

/* "1 KiB, 3 connections"; for growth also both ends: "1 KiB, 0 idle connections to 900 idle
 * connections". */
static void line_label(const struct summary_experiment *experiment,
                       const struct judged_claim *claim, const struct verdict_line *line,
                       char label[SUMMARY_LABEL_BYTES]) {
    char first[SUMMARY_LABEL_BYTES], last[SUMMARY_LABEL_BYTES];
    unsigned axis = axis_of(experiment, claim);
    summary_cell_label(experiment, line->cell, axis, label);
    if (line->first) {
        summary_cell_label(experiment, line->first, ~axis, first);
        summary_cell_label(experiment, line->cell, ~axis, last);
        size_t used = strlen(label);
        snprintf(label + used, SUMMARY_LABEL_BYTES - used, "%s%.100s to %.100s", used ? ", " : "",
                 first, last);
    } else if (claim->rule.onset) {
        bool met = line->verdict == CLAIM_REPRODUCED || line->verdict == CLAIM_EXCEEDED;
        summary_cell_label(experiment, line->cell, ~axis, last);
        size_t used = strlen(label);
        snprintf(label + used, SUMMARY_LABEL_BYTES - used, met ? "%sfrom %.100s on" : "%s%.100s",
                 used ? ", " : "", last);
    } else if (!label[0])
        snprintf(label, SUMMARY_LABEL_BYTES, "its one cell");
}

/* " (not shown at 100 µs: 1.02 (0.98 to 1.05))", of the cell below one where something begins to
 * hold. */
static void put_below(const struct page *page, const struct summary_experiment *experiment,
                      const struct judged_claim *claim, const struct verdict_line *line) {
    char label[SUMMARY_LABEL_BYTES], value[PAGE_NUMBER_BYTES];
    const struct verdict_below *below = &line->below;
    if (!below->cell)
        return;
    summary_cell_label(experiment, below->cell, ~axis_of(experiment, claim), label);
    evidence_text(claim, &below->evidence, below->blocks, value);
    fprintf(page->file, " (%s at %s: %s)", claim_verdict_name(below->verdict), label, value);
}

/* "reproduced at 1 KiB, 3 connections: 2.61 (2.44 to 2.79); at …" for one verdict. */
static void put_verdict(const struct page *page, const struct summary_experiment *experiment,
                        const struct judged_claim *claim, enum claim_verdict verdict) {
    const char *between = "";
    fprintf(page->file, "%s%s%s ", page_bold(page), claim_verdict_name(verdict), page_plain(page));
    for (size_t i = 0; i < claim->count; i++) {
        const struct verdict_line *line = &claim->lines[i];
        char label[SUMMARY_LABEL_BYTES], value[PAGE_NUMBER_BYTES];
        if (line->verdict != verdict)
            continue;
        line_label(experiment, claim, line, label);
        evidence_text(claim, &line->evidence, line->blocks, value);
        fprintf(page->file, "%sat %s: %s", between, label, value);
        put_below(page, experiment, claim, line);
        if (verdict == CLAIM_NOT_SHOWN)
            fprintf(page->file, ", %s", line->because);
        between = "; ";
    }
}

static void put_sentence(const struct page *page, const struct summary_experiment *experiment,
                         const struct judged_claim *claim) {
    const char *between = "";
    if (!claim->readable || claim->count == 0) {
        fprintf(page->file, "%snot shown%s, %s.", page_bold(page), page_plain(page),
                claim->readable ? "this run has no cell for it" : "its rule cannot be read");
        return;
    }
    for (enum claim_verdict verdict = 0; verdict < CLAIM_VERDICTS; verdict++) {
        if (count_verdict(claim, verdict) == 0)
            continue;
        fputs(between, page->file);
        put_verdict(page, experiment, claim, verdict);
        between = "; ";
    }
    fputs(".", page->file);
}

/* One sentence a claim: where it holds, where it does not, and where that cannot be told. */
static void put_answer(const struct page *page, const struct summary_experiment *experiment,
                       const struct judged_claim *claim) {
    char *text = NULL;
    size_t size;
    struct page sentence = *page;
    sentence.file = open_memstream(&text, &size);
    CHECK(sentence.file);
    fprintf(sentence.file, "%s \"%s\": ", claim->name, claim->says);
    put_sentence(&sentence, experiment, claim);
    CHECK(fclose(sentence.file) == 0);
    page_put_line(page, "* ", 2, "%s", text);
    free(text);
}

static void put_claim_table(const struct page *page, const struct summary_experiment *experiment,
                            const struct judged_claims *judged) {
    static const struct page_column head[] = {
        {"claim", 0, false}, {"rule", 0, false},    {"cell", 0, false},   {"measured", 0, true},
        {"blocks", 0, true}, {"verdict", 0, false}, {"because", 0, false}};
    if (judged->count == 0)
        return;
    fputs("\n", page->file);
    page_put_head(page, head, ARRAY_LENGTH(head));
    for (size_t i = 0; i < judged->count; i++)
        for (size_t k = 0; k < judged->claims[i].count; k++) {
            const struct judged_claim *claim = &judged->claims[i];
            const struct verdict_line *line = &claim->lines[k];
            char label[SUMMARY_LABEL_BYTES], value[PAGE_NUMBER_BYTES], blocks[32];
            line_label(experiment, claim, line, label);
            evidence_text(claim, &line->evidence, line->blocks, value);
            snprintf(blocks, sizeof blocks, "%zu", line->blocks);
            const char *const cells[] = {
                claim->name,  claim->text, label, value, blocks, claim_verdict_name(line->verdict),
                line->because};
            _Static_assert(ARRAY_LENGTH(cells) == ARRAY_LENGTH(head), "a cell for every title");
            for (size_t c = 0; c < ARRAY_LENGTH(cells); c++)
                page_put_cell(page, cells[c], 0, false);
            page_end_row(page);
        }
}

/* ---- what was left out, and why
 * ------------------------------------------------------------------------ */

static void put_skipped(const struct page *page, const struct summary_experiment *experiment) {
    size_t index;
    const json_t *skipped;
    json_array_foreach(json_object_get(experiment->json, "skipped"), index, skipped)
        page_put_line(page, "- ", 2, "%s skipped%s%s: %s", text_of(skipped, "server_name", "?"),
                      summary_at(skipped, "cell") ? " at " : "", text_of(skipped, "cell", ""),
                      text_of(skipped, "reason", "?"));
}

/* In the file every reason; on a terminal the first of each row that is not valid. */
static void put_reasons(const struct page *page, const struct summary_experiment *experiment) {
    for (size_t c = 0; c < experiment->cell_count; c++)
        for (size_t s = 0; s < experiment->server_count; s++) {
            const struct summary_row *row = &experiment->cells[c].rows[s];
            size_t shown = page->markdown                                 ? row->reason_count
                           : row->reason_count && !summary_row_valid(row) ? 1
                                                                          : 0;
            for (size_t i = 0; i < shown; i++)
                page_put_line(page, "- ", 2, "%s %s: %zu not valid: %s", experiment->cells[c].name,
                              row->server, row->reasons[i].count, row->reasons[i].text);
        }
}

/* ---- the whole
 * ------------------------------------------------------------------------------------------ */

static int put_experiment(const struct page *page, const struct summary_experiment *experiment) {
    struct judged_claims judged;
    int failure = verdicts_judge(page->summary, experiment, &judged);
    if (!failure) {
        fputs("\n", page->file);
        page_put_line(page, "## ", 0, "%s%s%s: %s", page->markdown ? "" : page_bold(page),
                      experiment->name, page->markdown ? "" : page_plain(page),
                      experiment->question ? experiment->question : "");
        if (page->markdown)
            fputs("\n", page->file);
        else
            put_table_and_notes(page, experiment);
        if (!page->markdown)
            fputs("\n", page->file);
        for (size_t i = 0; i < judged.count; i++)
            put_answer(page, experiment, &judged.claims[i]);
        if (page->markdown) {
            put_table_and_notes(page, experiment);
            put_claim_table(page, experiment, &judged);
            report_cost_put(page, experiment);
            fputs("\n", page->file);
        }
        put_skipped(page, experiment);
        put_reasons(page, experiment);
    }
    verdicts_free(&judged);
    return failure;
}

static void put_database(const struct page *page, const json_t *run) {
    const json_t *database = json_object_get(run, "database");
    const char *cpus = text_of(database, "cpus", NULL);
    if (!json_is_object(database))
        return;
    page_put_line(page, "- ", 0,
                  "note: the database was PostgreSQL %s, %s%s. Its CPU time is in no server's CPU "
                  "per request",
                  text_of(database, "version", "of an unknown version"),
                  cpus ? "which shared the servers' CPUs: " : "the one given by the user",
                  cpus ? cpus : "");
}

static void put_warnings(const struct page *page, const json_t *run) {
    size_t index;
    const json_t *warning;
    json_array_foreach(summary_at(run, "environment.warnings"), index, warning)
        page_put_line(page, "- ", 0, "note: %s", text_of(warning, "", "?"));
    put_database(page, run);
    if (!json_is_true(json_object_get(run, "complete")))
        page_put_line(page, "- ", 0, "this run is not complete: %s",
                      text_of(run, "ended_because", "?"));
}

static void put_command(const struct page *page, const json_t *run) {
    size_t index;
    const json_t *word;
    fputs("Run again with `", page->file);
    json_array_foreach(json_object_get(run, "command"), index, word)
        fprintf(page->file, "%s%s", index ? " " : "", json_string_value(word));
    fprintf(page->file, "` at revision %s, seed %lld.\n", text_of(run, "revision", "?"),
            json_integer_value(json_object_get(run, "seed")));
}

static void put_introduction(const struct page *page, const json_t *run) {
    fputs("# What this run found\n\n", page->file);
    fprintf(page->file, "%s; %s to %s; scope %s; %zu repetitions. %s.\n\n",
            text_of(run, "environment.caption", "unknown machine"),
            text_of(run, "started_utc", "?"), text_of(run, "finished_utc", "not finished"),
            text_of(run, "scope", "?"), json_array_size(json_object_get(run, "repetitions")),
            text_of(run, "pinning.reason", "pinning unknown"));
    fputs("Medians of the valid repetitions, with their 95 % interval between repetitions; ratios "
          "are of log differences\nwithin blocks (Hodges-Lehmann). Absolute numbers belong to this "
          "machine and this hour; the ratios are what\ncarries over.\n\n",
          page->file);
    put_command(page, run);
    fputs("\n", page->file);
    put_warnings(page, run);
}

static int put_page(const struct page *page) {
    int failure = 0;
    if (page->markdown)
        put_introduction(page, page->summary->run);
    for (size_t i = 0; i < page->summary->experiment_count && !failure; i++)
        failure = put_experiment(page, &page->summary->experiments[i]);
    if (!page->markdown) {
        fputs("\n", page->file);
        put_warnings(page, page->summary->run);
    }
    return failure;
}

static int write_markdown(FILE *file, void *data) {
    const struct page page = {.file = file, .markdown = true, .summary = data};
    return put_page(&page);
}

int report_write(const json_t *run, const char *directory, FILE *terminal, struct error *error) {
    char path[PATH_MAX];
    struct summary summary;
    int failure = summary_init(&summary, run, error);
    snprintf(path, sizeof path, "%s/report.md", directory);
    if (!failure)
        failure = file_write_whole(path, write_markdown, &summary, error);
    if (!failure && terminal) {
        const struct page page = {
            .file = terminal, .colour = progress_colour(fileno(terminal)), .summary = &summary};
        failure = put_page(&page);
    }
    summary_free(&summary);
    return failure;
}
