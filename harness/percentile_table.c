/* percentile_table.c: see percentile_table.h. */
#include "harness/percentile_table.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loops/check.h"

/* ---- writing --------------------------------------------------------------------------------- */

#define DECIMAL_BYTES 48

struct sheet {
    FILE *stream;
    enum percentile_table_format format;
    int digits; /* of values, behind the point */
    double unit;
};

/* As "%.<decimals>f" of Java prints a number: it takes the shortest decimal that means this double
 * and rounds it half up, and has only zeros behind its last digit. printf rounds the exact binary
 * fraction: of 1.0005 Java makes 1.001, printf 1.000. */
static const char *java_decimal(double value, int decimals, char text[DECIMAL_BYTES]) {
    char shortest[32];
    int places = 14; /* 15 digits are the most that any double keeps, 17 the most it can need */
    do
        snprintf(shortest, sizeof shortest, "%.*e", places, value);
    while (strtod(shortest, NULL) != value && ++places < 17);

    unsigned __int128 fixed = (unsigned)(shortest[0] - '0');
    for (int i = 0; i < places; i++)
        fixed = fixed * 10 + (unsigned)(shortest[2 + i] - '0');
    long shift = strtol(shortest + places + 3, NULL, 10) - places + decimals;
    for (; shift > 0; shift--)
        fixed *= 10;
    for (; shift < -1; shift++)
        fixed /= 10;
    if (shift == -1)
        fixed = (fixed + 5) / 10;

    uint64_t one = 1;
    for (int i = 0; i < decimals; i++)
        one *= 10;
    snprintf(text, DECIMAL_BYTES, "%" PRIu64 ".%0*" PRIu64, (uint64_t)(fixed / one), decimals,
             (uint64_t)(fixed % one));
    return text;
}

static void write_row(const struct sheet *sheet, uint64_t value, double percentile, uint64_t seen) {
    static const char *const forms[] = {
        [PERCENTILE_TABLE_HGRM] = "%12s %s %10" PRIu64 " %14s\n",
        [PERCENTILE_TABLE_CSV] = "%s,%s,%" PRIu64 ",%s\n",
    };
    char values[DECIMAL_BYTES], levels[DECIMAL_BYTES], inverses[DECIMAL_BYTES] = "Infinity";
    double level = percentile / 100;
    java_decimal((double)value / sheet->unit, sheet->digits, values);
    java_decimal(level, 12, levels);
    if (level < 1)
        java_decimal(1 / (1 - level), 2, inverses);
    else if (sheet->format == PERCENTILE_TABLE_HGRM) {
        fprintf(sheet->stream, "%12s %s %10" PRIu64 "\n", values, levels, seen);
        return;
    }
    fprintf(sheet->stream, forms[sheet->format], values, levels, seen, inverses);
}

/* Computed as Java does, with its rounding errors: in the last column they are seen. Near 100 the
 * step is at last too small for a double, where Java never comes to an end: then it is 100. */
static double next_percentile(double percentile, int ticks_per_half) {
    double halvings = trunc(log(100 / (100 - percentile)) / log(2)) + 1;
    double next = percentile + 100 / (ticks_per_half * exp2(halvings));
    return next > percentile ? next : 100;
}

static void write_rows(const struct sheet *sheet, const struct histogram *histogram,
                       int ticks_per_half) {
    uint64_t seen = 0, value = 0;
    double percentile = 0;
    for (uint32_t i = 0; seen < histogram->total; i++) {
        if (histogram->counts[i] == 0)
            continue;
        seen += histogram->counts[i];
        value = histogram_highest_equivalent(&histogram->layout, i);
        double reached = 100.0 * (double)seen / (double)histogram->total;
        while (reached >= percentile && percentile < 100) {
            write_row(sheet, value, percentile, seen);
            percentile = next_percentile(percentile, ticks_per_half);
            if (seen == histogram->total)
                break;
        }
    }
    if (histogram->total > 0)
        write_row(sheet, value, 100, seen);
}

static void write_footer(const struct sheet *sheet, const struct histogram *histogram) {
    const struct histogram_layout *layout = &histogram->layout;
    char mean[DECIMAL_BYTES], stddev[DECIMAL_BYTES], max[DECIMAL_BYTES];
    uint64_t top = 0;
    if (histogram->total > 0)
        top = histogram_highest_equivalent(layout, histogram_index(layout, histogram->max));
    fprintf(sheet->stream, "#[Mean    = %12s, StdDeviation   = %12s]\n",
            java_decimal(histogram_mean(histogram) / sheet->unit, sheet->digits, mean),
            java_decimal(histogram_stddev(histogram) / sheet->unit, sheet->digits, stddev));
    fprintf(sheet->stream, "#[Max     = %12s, Total count    = %12" PRIu64 "]\n",
            java_decimal((double)top / sheet->unit, sheet->digits, max), histogram->total);
    fprintf(sheet->stream, "#[Buckets = %12" PRIu32 ", SubBuckets     = %12" PRIu32 "]\n",
            layout->buckets, UINT32_C(2) << layout->half_magnitude);
}

int percentile_table_write(const struct histogram *histogram, FILE *stream,
                           enum percentile_table_format format, int ticks_per_half, double unit) {
    CHECK(ticks_per_half > 0 && unit >= 1);
    struct sheet sheet = {stream, format, (int)histogram->layout.digits, unit};
    if (format == PERCENTILE_TABLE_CSV) {
        fputs("\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\n", stream);
        write_rows(&sheet, histogram, ticks_per_half);
    } else {
        fprintf(stream, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
                "1/(1-Percentile)");
        write_rows(&sheet, histogram, ticks_per_half);
        write_footer(&sheet, histogram);
    }
    if (fflush(stream) != 0)
        return -errno;
    return ferror(stream) ? -EIO : 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

#define LINE_BYTES 256 /* more than any row has; what is longer is none */
#define COLUMNS_MOST 5
#define ROWS_FIRST 128 /* an ordinary table fits */

struct source {
    FILE *stream;
    const char *name;
    unsigned long *line; /* lines read */
    size_t room;         /* for rows, in the table */
};

struct line {
    char text[LINE_BYTES];
    unsigned long number;
    bool ended; /* by a line feed, not by the stream's end */
    char *columns[COLUMNS_MOST];
    size_t count; /* COLUMNS_MOST + 1: too many */
};

/* Passes over blanks and empty lines; the character the next line begins with, or EOF. One
 * character can always be put back, a whole line cannot: a header has to be known by its first. */
static int next_char(const struct source *source) {
    int c;
    do {
        c = getc_unlocked(source->stream);
        *source->line += c == '\n';
    } while (c == ' ' || c == '\t' || c == '\r' || c == '\n');
    return c == EOF ? EOF : ungetc(c, source->stream);
}

static void read_line(const struct source *source, struct line *line) {
    size_t length = 0;
    int c;
    while ((c = getc_unlocked(source->stream)) != EOF && c != '\n')
        if (length < sizeof line->text)
            line->text[length++] = (char)(c != '\0' ? c : '?');
    line->ended = c == '\n';
    line->number = ++*source->line;
    line->count = 0;
    if (length == sizeof line->text) {
        line->count = COLUMNS_MOST + 1;
        length--;
    }
    line->text[length] = '\0';
}

static void split_columns(struct line *line) {
    char *rest = NULL;
    for (char *from = line->text; line->count <= COLUMNS_MOST; from = NULL) {
        char *column = strtok_r(from, " \t\r,\"", &rest);
        if (column == NULL)
            return;
        if (line->count < COLUMNS_MOST)
            line->columns[line->count] = column;
        line->count++;
    }
}

static bool starts_header(int first) {
    return first == 'V' || first == '"';
}

static bool is_header(const struct line *line) {
    static const struct {
        size_t count;
        const char *titles[COLUMNS_MOST];
    } headers[] = {
        {4, {"Value", "Percentile", "TotalCount", "1/(1-Percentile)"}},
        {5, {"Value", "QuantileValue", "QuantileIteration", "TotalCount", "1/(1-Quantile)"}},
    };
    for (size_t h = 0; h < ARRAY_LENGTH(headers); h++) {
        bool same = line->count == headers[h].count;
        for (size_t i = 0; same && i < headers[h].count; i++)
            same = strcmp(line->columns[i], headers[h].titles[i]) == 0;
        if (same)
            return true;
    }
    return false;
}

static bool is_footer(const struct line *line) {
    return strncmp(line->text, "#[Mean", strlen("#[Mean")) == 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* strtod alone would take "nan", "inf" and "0x1p3" too. */
static bool parse_number(const char *text, double *number) {
    char *end;
    *number = strtod(text, &end);
    return *end == '\0' && text[strspn(text, "0123456789.eE+-")] == '\0' && isfinite(*number);
}

static bool parse_count(const char *text, uint64_t *count) {
    errno = 0;
    *count = strtoull(text, NULL, 10);
    return errno == 0 && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0' &&
           *count <= INT64_MAX;
}

static bool is_inverse(const char *text) {
    static const char *const infinities[] = {"inf", "Infinity", "\u221e"};
    double number;
    for (size_t i = 0; i < ARRAY_LENGTH(infinities); i++)
        if (strcasecmp(text, infinities[i]) == 0)
            return true;
    return parse_number(text, &number);
}

/* The last column is not used; but only when it is there is the count before it surely whole. */
static int parse_row(const struct line *line, struct percentile_row *row, struct error *cause) {
    char *const *columns = line->columns;
    if (line->count < 3 || line->count > COLUMNS_MOST)
        return error_set(cause, -EINVAL, "a row has 3 to %d columns", COLUMNS_MOST);
    if (!parse_number(columns[0], &row->value) || row->value < 0)
        return error_set(cause, -EINVAL, "\"%s\" is not a value", columns[0]);
    bool two_quantiles = line->count == 5; /* reached, and asked for: ours is the second */
    if (two_quantiles && !parse_number(columns[1], &row->quantile))
        return error_set(cause, -EINVAL, "\"%s\" is not a quantile", columns[1]);
    columns += two_quantiles;
    if (!parse_number(columns[1], &row->quantile) || row->quantile < 0 || row->quantile > 1)
        return error_set(cause, -EINVAL, "\"%s\" is not a quantile from 0 to 1", columns[1]);
    if (!parse_count(columns[2], &row->cumulative))
        return error_set(cause, -EINVAL, "\"%s\" is not a count", columns[2]);
    if (line->count == 3)
        return line->ended ? 0 : error_set(cause, -EINVAL, "the line is cut off");
    if (!is_inverse(columns[3]))
        return error_set(cause, -EINVAL, "\"%s\" is not a number", columns[3]);
    return 0;
}

static int check_order(const struct percentile_row *before, const struct percentile_row *row,
                       struct error *cause) {
    if (row->value < before->value)
        return error_set(cause, -EINVAL, "the value falls from %.15g to %.15g", before->value,
                         row->value);
    if (row->quantile < before->quantile)
        return error_set(cause, -EINVAL, "the quantile falls from %.15g to %.15g", before->quantile,
                         row->quantile);
    if (row->cumulative < before->cumulative)
        return error_set(cause, -EINVAL, "the total count falls from %" PRIu64 " to %" PRIu64,
                         before->cumulative, row->cumulative);
    return 0;
}

static const struct percentile_row *last_row(const struct percentile_table *table) {
    static const struct percentile_row none;
    return table->count > 0 ? &table->rows[table->count - 1] : &none;
}

static bool is_complete(const struct percentile_table *table) {
    return last_row(table)->quantile == 1;
}

static int append_row(struct source *source, struct percentile_table *table,
                      const struct percentile_row *row) {
    if (table->count == source->room) {
        size_t room = source->room > 0 ? 2 * source->room : ROWS_FIRST;
        struct percentile_row *rows = realloc(table->rows, room * sizeof *rows);
        if (rows == NULL)
            return -ENOMEM;
        table->rows = rows;
        source->room = room;
    }
    table->rows[table->count++] = *row;
    return 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int fail(const struct source *source, const struct line *line, const struct error *cause,
                struct error *error) {
    return error_set(error, -EINVAL, "%s:%lu: %.200s", source->name, line->number, cause->text);
}

/* 1 at a header, or at a row that stands without one. */
static int find_table(struct source *source, struct percentile_table *table) {
    struct line line;
    struct percentile_row row;
    for (int first; (first = next_char(source)) != EOF;) {
        read_line(source, &line);
        if (first == '#')
            continue;
        split_columns(&line);
        table->line = line.number;
        if (is_header(&line))
            return 1;
        if (parse_row(&line, &row, NULL) == 0) {
            int rc = append_row(source, table, &row);
            return rc < 0 ? rc : 1;
        }
    }
    return 0;
}

/* A line that is cut off says nothing. */
static int check_total(const struct line *line, const struct percentile_table *table,
                       struct error *cause) {
    const char *label = strstr(line->text, "Total count");
    if (label == NULL || strchr(label, ']') == NULL)
        return 0;
    char digits[24], bracket[2];
    uint64_t total, wanted = last_row(table)->cumulative;
    if (sscanf(label, "Total count = %23[0-9] %1[]]", digits, bracket) != 2 ||
        !parse_count(digits, &total))
        return error_set(cause, -EINVAL, "the footer's total count is not a count");
    if (total != wanted)
        return error_set(cause, -EINVAL,
                         "the footer's total count is %" PRIu64 ", the last row's %" PRIu64, total,
                         wanted);
    return 0;
}

static int read_footer(struct source *source, const struct percentile_table *table,
                       struct error *error) {
    struct line line;
    struct error cause;
    while (next_char(source) == '#') {
        read_line(source, &line);
        if (check_total(&line, table, &cause) < 0)
            return fail(source, &line, &cause, error);
    }
    return 0;
}

/* Goes on behind a broken table, so that the rows after the broken one are not taken for a table of
 * their own. */
static void skip_table(struct source *source) {
    struct line line;
    for (int first; (first = next_char(source)) != EOF && !starts_header(first);) {
        read_line(source, &line);
        if (is_footer(&line))
            return;
    }
}

static int read_rows(struct source *source, struct percentile_table *table, struct error *error) {
    struct line line = {.number = table->line, .ended = true};
    struct error cause;
    struct percentile_row row;
    for (int first; (first = next_char(source)) != EOF && !starts_header(first);) {
        read_line(source, &line);
        if (first == '#' && is_footer(&line))
            return read_footer(source, table, error);
        if (first == '#')
            continue;
        split_columns(&line);
        int rc = parse_row(&line, &row, &cause);
        if (rc < 0 && is_complete(table))
            return 0;
        if (rc < 0 && !line.ended)
            break;
        if (rc == 0)
            rc = check_order(last_row(table), &row, &cause);
        if (rc < 0) {
            fail(source, &line, &cause, error);
            skip_table(source);
            return rc;
        }
        if (table->count == 0)
            table->line = line.number;
        rc = append_row(source, table, &row);
        if (rc < 0)
            return rc;
    }
    if (!is_complete(table))
        table->cut_line = line.number + line.ended;
    return 0;
}

int percentile_table_read(FILE *stream, const char *name, unsigned long *line,
                          struct percentile_table *table, struct error *error) {
    struct source source = {stream, name, line, 0};
    *table = (struct percentile_table){0};
    int found = find_table(&source, table);
    int rc = found == 1 ? read_rows(&source, table, error) : found;
    if (rc == 0 && ferror(stream))
        rc = error_set(error, -EIO, "%s: cannot be read", name);
    else if (rc == -ENOMEM)
        error_set(error, rc, "%s: out of memory", name);
    if (rc < 0 || found == 0) {
        free(table->rows);
        *table = (struct percentile_table){0};
    }
    return rc < 0 ? rc : found;
}

/* ---- back to a histogram --------------------------------------------------------------------- */

/* 2^63 is what a double makes of INT64_MAX. */
static uint64_t whole_value(double value, double unit) {
    double rounded = round(value * unit);
    return rounded < 0x1p63 ? (uint64_t)rounded : INT64_MAX;
}

int percentile_table_to_histogram(const struct percentile_table *table, double unit,
                                  struct histogram *histogram, struct error *error) {
    CHECK(unit > 0 && isfinite(unit));
    struct histogram_layout layout = histogram_standard;
    double largest = last_row(table)->value;
    if (round(largest * unit) > 0x1p63)
        return error_set(error, -ERANGE, "the value %.15g times %.15g is above 2^63-1", largest,
                         unit);
    uint64_t highest = whole_value(largest, unit);
    if (highest > RECORDER_HIGHEST) {
        uint64_t all_ones = UINT64_MAX >> __builtin_clzll(highest);
        CHECK(histogram_layout_init(&layout, 1, all_ones, RECORDER_DIGITS) == 0);
    }
    int rc = histogram_open(histogram, &layout);
    if (rc < 0)
        return error_set(error, rc, "out of memory");
    uint64_t seen = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct percentile_row *row = &table->rows[i];
        if (row->cumulative == seen)
            continue;
        /* Cannot overflow: the last cumulative count is at most INT64_MAX. */
        rc = histogram_record(histogram, whole_value(row->value, unit), row->cumulative - seen);
        CHECK(rc == 0);
        seen = row->cumulative;
    }
    return 0;
}
