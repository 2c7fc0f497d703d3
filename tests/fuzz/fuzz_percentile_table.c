/* Any bytes as percentile tables: refused with line and cause, or taken, and then what they say can
 * be asked for and written again. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/percentile_table.h"
#include "loops/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rows(const struct percentile_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        const struct percentile_row *row = &table->rows[i], *before = row - (i > 0);
        CHECK(row->value >= before->value && isfinite(row->value));
        CHECK(row->quantile >= before->quantile && row->quantile >= 0 && row->quantile <= 1);
        CHECK(row->cumulative >= before->cumulative && row->cumulative <= INT64_MAX);
    }
}

/* As CSV, because a footer's mean and deviation take longer than all the rest. */
static void check_written(const struct histogram *histogram) {
    static char text[1 << 16];
    struct percentile_table table;
    unsigned long line = 0;
    FILE *stream = fmemopen(text, sizeof text, "w+");
    CHECK(stream);
    CHECK(percentile_table_write(histogram, stream, PERCENTILE_TABLE_CSV, 1, 1) == 0);
    rewind(stream);
    CHECK(percentile_table_read(stream, "written", &line, &table, NULL) == 1);
    CHECK(table.cut_line == 0 && table.rows[table.count - 1].cumulative == histogram->total);
    check_rows(&table);
    free(table.rows);
    fclose(stream);
}

static void check_rebuilt(const struct percentile_table *table) {
    struct histogram histogram;
    struct error error = {""};
    int rc = percentile_table_to_histogram(table, 1, &histogram, &error);
    CHECK(rc == 0 || (rc == -ERANGE && error.text[0] != '\0'));
    if (rc < 0)
        return;
    CHECK(histogram.total == (table->count > 0 ? table->rows[table->count - 1].cumulative : 0));
    CHECK(histogram.over == 0);
    if (histogram.total > 0)
        check_written(&histogram);
    histogram_close(&histogram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    FILE *stream = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
    if (stream == NULL)
        return 0;
    struct percentile_table table;
    struct error error;
    unsigned long line = 0, before = 0;
    bool rebuilt = false; /* one of an input: it takes longer than reading many */
    int rc;
    while ((rc = percentile_table_read(stream, "f", &line, &table, &error)) != 0) {
        CHECK(line > before && line <= size);
        before = line;
        CHECK(rc == 1 || (rc == -EINVAL && strncmp(error.text, "f:", 2) == 0));
        if (rc < 0)
            continue;
        CHECK(table.line > 0 && table.line <= line && table.cut_line <= line + 1);
        check_rows(&table);
        if (!rebuilt)
            check_rebuilt(&table);
        rebuilt = true;
        free(table.rows);
    }
    fclose(stream);
    return 0;
}
