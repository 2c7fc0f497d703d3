/* report_cost.c: see report_cost.h. */
#include "harness/report_cost.h"

#include <math.h>
#include <string.h>

#include "loops/check.h"
#include "loops/loop.h"

static const struct page_column head[] = {
    {"cell", 0, false},
    {"server", 0, false},
    {"CPU µs", 0, true},
    {"floor", 0, true},
    {"above it", 0, true},
    {"× floor", 0, true},
    {"of it user", 0, true},
    {"waits/request", 0, true},
    {"events/wait", 0, true},
    {"reads", 0, true},
    {"sends", 0, true},
    {"slowest ÷ median connection", 0, true},
    {"memory/connection", 0, true},
};

static double median_of(const struct summary_row *row, enum metric metric) {
    return row->metrics[metric].interval.n > 0 ? row->metrics[metric].median : NAN;
}

static void put_number(const struct page *page, double value) {
    char text[UNITS_TEXT_BYTES];
    page_short_number(value, text);
    page_put_cell(page, text, 0, true);
}

static void put_bytes(const struct page *page, double value) {
    char text[UNITS_TEXT_BYTES];
    page_put_cell(page, units_bytes(value, text), 0, true);
}

static void put_row(const struct page *page, const char *label, const struct summary_row *row) {
    double cpu_us = median_of(row, SUMMARY_CPU), floor_us = median_of(row, SUMMARY_FLOOR);
    page_put_cell(page, label, 0, false);
    page_put_cell(page, row->server, 0, false);
    put_number(page, cpu_us);
    put_number(page, floor_us);
    put_number(page, cpu_us - floor_us);
    put_number(page, median_of(row, SUMMARY_CPU_OVER_FLOOR));
    put_number(page, median_of(row, SUMMARY_USER));
    put_number(page, median_of(row, SUMMARY_WAITS));
    put_number(page, median_of(row, SUMMARY_EVENTS));
    put_number(page, median_of(row, SUMMARY_READS));
    put_number(page, median_of(row, SUMMARY_SENDS));
    put_number(page, median_of(row, SUMMARY_FAIRNESS));
    put_bytes(page, median_of(row, SUMMARY_RSS_PER_CONNECTION));
    page_end_row(page);
}

static bool has_floor(const struct summary_experiment *experiment) {
    for (size_t c = 0; c < experiment->cell_count; c++)
        if (isfinite(summary_cell_floor(experiment, &experiment->cells[c])))
            return true;
    return false;
}

static void put_table(const struct page *page, const struct summary_experiment *experiment) {
    fputs("\n", page->file);
    page_put_head(page, head, ARRAY_LENGTH(head));
    for (size_t c = 0; c < experiment->cell_count; c++) {
        char label[SUMMARY_LABEL_BYTES];
        summary_cell_label(experiment, &experiment->cells[c], 0, label);
        for (size_t s = 0; s < experiment->server_count; s++)
            if (summary_row_valid(&experiment->cells[c].rows[s]))
                put_row(page, label[0] ? label : "all", &experiment->cells[c].rows[s]);
    }
}

/* ---- in pairs: what one difference costs ----------------------------------------------------- */

/* The CPU time of `first` over that of `second` in every cell that has both. */
static void put_ratios(const struct page *page, const struct summary_experiment *experiment,
                       const char *what, const char *first, const char *second) {
    for (size_t c = 0; c < experiment->cell_count; c++) {
        const struct summary_cell *cell = &experiment->cells[c];
        struct summary_comparison compared;
        char ratio[PAGE_NUMBER_BYTES], label[SUMMARY_LABEL_BYTES];
        const struct summary_row *a = summary_find_row(experiment, cell, first);
        const struct summary_row *b = summary_find_row(experiment, cell, second);
        if (!a || !b || a->count == 0 || b->count == 0 ||
            summary_compare(page->summary, experiment, cell, first, second, SUMMARY_CPU,
                            &compared) != 0 ||
            compared.ratio.blocks == 0)
            continue;
        const char *obstacle = summary_obstacle(&compared.flags);
        summary_cell_label(experiment, cell, 0, label);
        page_with_interval(compared.ratio.estimate, compared.ratio.low, compared.ratio.high,
                           compared.ratio.bounded, ratio);
        page_put_line(page, "* ", 2, "%s: %s ÷ %s = %s%s%s%s%s", what, first, second, ratio,
                      label[0] ? " at " : "", label, obstacle ? ", but " : "",
                      obstacle ? obstacle : "");
    }
}

/* A loop beside its control, and a variant beside the loop that it differs from in one thing. */
static void put_pairs(const struct page *page, const struct summary_experiment *experiment) {
    struct loop_info info;
    for (size_t i = 0; loop_info(i, &info); i++) {
        char control[64];
        snprintf(control, sizeof control, "raw-%s", info.name);
        put_ratios(page, experiment, "interface and workload", info.name, control);
        if (info.variant_of)
            put_ratios(page, experiment, info.summary, info.name, info.variant_of);
    }
}

void report_cost_put(const struct page *page, const struct summary_experiment *experiment) {
    if (experiment->measure == MEASURE_LATENCY || !has_floor(experiment))
        return;
    page_put_line(page, "\n### ", 0, "%s: where the time goes", experiment->name);
    page_put_line(page, "\n", 0,
                  "CPU time of the server per request. The floor is the kernel's, to receive and "
                  "send the same bytes without any loop; above it lie the loop's own calls, its "
                  "code and the workload's, what they cost in caches%s. A wait is shared by the "
                  "events it returns: the more connections are ready at once, the cheaper it is "
                  "(batching); one of select or poll looks at every open connection, ready or not. "
                  "Calls are counted by our own loops only; memory is the server's "
                  "largest, divided by connections.",
                  experiment->measure == MEASURE_COST ? ", falling asleep and waking" : "");
    put_table(page, experiment);
    fputs("\n", page->file);
    put_pairs(page, experiment);
}
