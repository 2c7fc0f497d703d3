/* test_percentile_table.c: against the text of HdrHistogram and of the tools that print its tables.
 */
#include "harness/percentile_table.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/random.h"
#include "loops/check.h"

#define SAMPLES 5000

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* --- writing --- */

static struct histogram open_histogram(uint64_t lowest, uint64_t highest, uint32_t digits) {
    struct histogram_layout layout;
    struct histogram histogram;
    assert_int_equal(histogram_layout_init(&layout, lowest, highest, digits), 0);
    assert_int_equal(histogram_open(&histogram, &layout), 0);
    return histogram;
}

/* The values that the golden texts are of. */
static struct histogram open_golden(uint64_t lowest, uint64_t highest, uint32_t digits) {
    static const uint64_t values[] = {1, 2, 3, 1000, 2047, 2048, 2049, 1000000};
    struct histogram histogram = open_histogram(lowest, highest, digits);
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        assert_int_equal(histogram_record(&histogram, values[i], 1), 0);
    return histogram;
}

static char *table_text(const struct histogram *histogram, enum percentile_table_format format,
                        int ticks_per_half, double unit) {
    char *text;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    assert_non_null(stream);
    assert_int_equal(percentile_table_write(histogram, stream, format, ticks_per_half, unit), 0);
    assert_int_equal(fclose(stream), 0);
    return text;
}

/* outputPercentileDistribution(System.out, 2, 1000.0, csv) of HdrHistogram 2.1.11 for Java, after
 * the golden values went into a new Histogram(lowest, highest, digits). */
static const struct {
    uint64_t lowest, highest;
    uint32_t digits;
    enum percentile_table_format format;
    const char *text;
} goldens[] = {
    {1, RECORDER_HIGHEST, 3, PERCENTILE_TABLE_HGRM,
     "       Value     Percentile TotalCount 1/(1-Percentile)\n"
     "\n"
     "       0.001 0.000000000000          1           1.00\n"
     "       0.002 0.250000000000          2           1.33\n"
     "       1.000 0.500000000000          4           2.00\n"
     "       2.047 0.625000000000          5           2.67\n"
     "       2.049 0.750000000000          7           4.00\n"
     "       2.049 0.812500000000          7           5.33\n"
     "       2.049 0.875000000000          7           8.00\n"
     "    1000.447 0.906250000000          8          10.67\n"
     "    1000.447 1.000000000000          8\n"
     "#[Mean    =      125.918, StdDeviation   =      330.446]\n"
     "#[Max     =     1000.447, Total count    =            8]\n"
     "#[Buckets =           32, SubBuckets     =         2048]\n"},
    {1, RECORDER_HIGHEST, 3, PERCENTILE_TABLE_CSV,
     "\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\n"
     "0.001,0.000000000000,1,1.00\n"
     "0.002,0.250000000000,2,1.33\n"
     "1.000,0.500000000000,4,2.00\n"
     "2.047,0.625000000000,5,2.67\n"
     "2.049,0.750000000000,7,4.00\n"
     "2.049,0.812500000000,7,5.33\n"
     "2.049,0.875000000000,7,8.00\n"
     "1000.447,0.906250000000,8,10.67\n"
     "1000.447,1.000000000000,8,Infinity\n"},
    {1, 3600000000, 1, PERCENTILE_TABLE_HGRM,
     "       Value     Percentile TotalCount 1/(1-Percentile)\n"
     "\n"
     "         0.0 0.000000000000          1           1.00\n"
     "         0.0 0.250000000000          2           1.33\n"
     "         1.0 0.500000000000          4           2.00\n"
     "         2.0 0.625000000000          5           2.67\n"
     "         2.2 0.750000000000          7           4.00\n"
     "         2.2 0.812500000000          7           5.33\n"
     "         2.2 0.875000000000          7           8.00\n"
     "      1015.8 0.906250000000          8          10.67\n"
     "      1015.8 1.000000000000          8\n"
     "#[Mean    =        125.8, StdDeviation   =        330.2]\n"
     "#[Max     =       1015.8, Total count    =            8]\n"
     "#[Buckets =           28, SubBuckets     =           32]\n"},
    {1, 3600000000, 2, PERCENTILE_TABLE_HGRM,
     "       Value     Percentile TotalCount 1/(1-Percentile)\n"
     "\n"
     "        0.00 0.000000000000          1           1.00\n"
     "        0.00 0.250000000000          2           1.33\n"
     "        1.00 0.500000000000          4           2.00\n"
     "        2.05 0.625000000000          5           2.67\n"
     "        2.06 0.750000000000          7           4.00\n"
     "        2.06 0.812500000000          7           5.33\n"
     "        2.06 0.875000000000          7           8.00\n"
     "     1003.52 0.906250000000          8          10.67\n"
     "     1003.52 1.000000000000          8\n"
     "#[Mean    =       126.08, StdDeviation   =       330.87]\n"
     "#[Max     =      1003.52, Total count    =            8]\n"
     "#[Buckets =           25, SubBuckets     =          256]\n"},
    {1, 3600000000, 4, PERCENTILE_TABLE_HGRM,
     "       Value     Percentile TotalCount 1/(1-Percentile)\n"
     "\n"
     "      0.0010 0.000000000000          1           1.00\n"
     "      0.0020 0.250000000000          2           1.33\n"
     "      1.0000 0.500000000000          4           2.00\n"
     "      2.0470 0.625000000000          5           2.67\n"
     "      2.0480 0.750000000000          6           4.00\n"
     "      2.0490 0.812500000000          7           5.33\n"
     "      2.0490 0.875000000000          7           8.00\n"
     "   1000.0310 0.906250000000          8          10.67\n"
     "   1000.0310 1.000000000000          8\n"
     "#[Mean    =     125.8958, StdDeviation   =     330.3876]\n"
     "#[Max     =    1000.0310, Total count    =            8]\n"
     "#[Buckets =           18, SubBuckets     =        32768]\n"},
    {1000, 3600000000, 5, PERCENTILE_TABLE_HGRM,
     "       Value     Percentile TotalCount 1/(1-Percentile)\n"
     "\n"
     "     0.51100 0.000000000000          3           1.00\n"
     "     0.51100 0.250000000000          3           1.33\n"
     "     1.02300 0.500000000000          4           2.00\n"
     "     2.04700 0.625000000000          5           2.67\n"
     "     2.55900 0.750000000000          7           4.00\n"
     "     2.55900 0.812500000000          7           5.33\n"
     "     2.55900 0.875000000000          7           8.00\n"
     "  1000.44700 0.906250000000          8          10.67\n"
     "  1000.44700 1.000000000000          8\n"
     "#[Mean    =    126.01600, StdDeviation   =    330.40853]\n"
     "#[Max     =   1000.44700, Total count    =            8]\n"
     "#[Buckets =            6, SubBuckets     =       262144]\n"},
};

static void tables_are_what_java_prints(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(goldens); i++) {
        struct histogram histogram =
            open_golden(goldens[i].lowest, goldens[i].highest, goldens[i].digits);
        char *text = table_text(&histogram, goldens[i].format, 2, 1e3);
        assert_string_equal(text, goldens[i].text);
        free(text);
        histogram_close(&histogram);
    }
}

static void tables_of_nothing_are_what_java_prints(void **state) {
    (void)state;
    struct histogram histogram = open_histogram(1, RECORDER_HIGHEST, 3);
    char *text = table_text(&histogram, PERCENTILE_TABLE_HGRM, 5, 1e6);
    assert_string_equal(text, "       Value     Percentile TotalCount 1/(1-Percentile)\n"
                              "\n"
                              "#[Mean    =        0.000, StdDeviation   =        0.000]\n"
                              "#[Max     =        0.000, Total count    =            0]\n"
                              "#[Buckets =           32, SubBuckets     =         2048]\n");
    free(text);
    text = table_text(&histogram, PERCENTILE_TABLE_CSV, 5, 1e6);
    assert_string_equal(text, "\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\n");
    free(text);
    histogram_close(&histogram);
}

/* The level 0.9997802734375 ends in ...437 and 1.0005 in ...000 where printf rounds them. */
static void decimals_round_half_up_as_java_does(void **state) {
    (void)state;
    struct histogram histogram = open_histogram(1, RECORDER_HIGHEST, 4);
    histogram_record(&histogram, 10005, 9999);
    histogram_record(&histogram, 10006, 1);
    histogram.layout.digits = 3; /* one decimal less than there is */
    char *text = table_text(&histogram, PERCENTILE_TABLE_HGRM, PERCENTILE_TABLE_TICKS, 1e4);
    assert_non_null(strstr(text, "\n       1.001 0.999780273438       9999        4551.11\n"));
    free(text);
    histogram_close(&histogram);
}

/* From HdrHistogram for Java; ten ticks a half are where its rounding errors add up. */
static void the_last_column_has_javas_rounding_errors(void **state) {
    (void)state;
    struct histogram histogram = open_histogram(1, RECORDER_HIGHEST, 3);
    histogram_record(&histogram, 1, UINT64_C(99999999999));
    histogram_record(&histogram, 2, 1);
    char *text = table_text(&histogram, PERCENTILE_TABLE_CSV, 10, 1);
    assert_non_null(strstr(text, "\n1.000,0.999999999986,99999999999,72336523673.21\n"));
    free(text);
    histogram_close(&histogram);
}

/* So near to 100 % the steps are too small for a double. */
static void the_largest_total_has_an_end(void **state) {
    (void)state;
    struct histogram histogram = open_histogram(1, RECORDER_HIGHEST, 3);
    histogram_record(&histogram, 1, INT64_MAX - 1);
    histogram_record(&histogram, 2, 1);
    for (int ticks = 1; ticks <= 20; ticks++) {
        char *text = table_text(&histogram, PERCENTILE_TABLE_CSV, ticks, 1);
        assert_in_range(strlen(text), 1000, 100000);
        assert_non_null(strstr(text, "\n2.000,1.000000000000,9223372036854775807,Infinity\n"));
        free(text);
    }
    histogram_close(&histogram);
}

static void a_full_disk_is_reported(void **state) {
    (void)state;
    struct histogram histogram = open_golden(1, RECORDER_HIGHEST, 3);
    FILE *full = fopen("/dev/full", "w");
    if (full == NULL) {
        histogram_close(&histogram);
        print_message("skipped: /dev/full is missing\n");
        skip();
    }
    assert_int_equal(percentile_table_write(&histogram, full, PERCENTILE_TABLE_HGRM, 5, 1),
                     -ENOSPC);
    fclose(full);
    histogram_close(&histogram);
}

/* --- reading --- */

static FILE *open_text(const char *text, size_t length) {
    FILE *stream = fmemopen((void *)(uintptr_t)text, length, "r");
    assert_non_null(stream);
    return stream;
}

/* The only table of a text. */
static struct percentile_table read_table(const char *text) {
    struct percentile_table table, more;
    struct error error = {""};
    unsigned long line = 0;
    FILE *stream = open_text(text, strlen(text));
    int rc = percentile_table_read(stream, "t", &line, &table, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(rc, 1);
    assert_int_equal(percentile_table_read(stream, "t", &line, &more, &error), 0);
    fclose(stream);
    return table;
}

static void assert_row(const struct percentile_table *table, size_t index, double value,
                       double quantile, uint64_t cumulative) {
    assert_true(index < table->count);
    const struct percentile_row *row = &table->rows[index];
    assert_true(row->value == value && row->quantile == quantile);
    assert_int_equal(row->cumulative, cumulative);
}

/* Each the same three rows. */
static const char *const shapes[] = {
    /* Java and JS; a log processor puts comments before it */
    "#[Overall percentile distribution between 0.000 and <Infinite> seconds]\n"
    "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]\n"
    "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
    "       0.001 0.000000000000          1           1.00\n"
    "       1.500 0.500000000000          2           2.00\n"
    "       7.250 1.000000000000          4\n"
    "#[Mean    =        2.562, StdDeviation   =        2.893]\n"
    "#[Max     =        7.250, Total count    =            4]\n"
    "#[Buckets =           32, SubBuckets     =         2048]\n",
    /* C and Go */
    "       Value   Percentile   TotalCount 1/(1-Percentile)\n\n"
    "       0.001     0.000000            1         1.00\n"
    "       1.500     0.500000            2         2.00\n"
    "       7.250     1.000000            4          inf\n"
    "#[Mean    =        2.562, StdDeviation   =        2.893]\n"
    "#[Max     =        7.250, Total count    =            4]\n"
    "#[Buckets =           32, SubBuckets     =         2048]\n",
    /* Rust: with the quantile reached before the one asked for */
    "       Value QuantileValue QuantileIteration TotalCount 1/(1-Quantile)\n\n"
    "       0.001 0.25000 0.00000          1           1.00\n"
    "       1.500 0.50000 0.50000          2           2.00\n"
    "       7.250 1.00000 1.00000          4              \u221e\n"
    "#[Mean       =         2.56, StdDeviation   =         2.89]\n"
    "#[Max        =         7.25, Total count    =            4]\n"
    "#[Buckets    =           32, SubBuckets     =        33792]\n",
    /* CSV */
    "\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\n"
    "0.001,0.000000000000,1,1.00\n"
    "1.500,0.500000000000,2,2.00\n"
    "7.250,1.000000000000,4,Infinity\n",
    /* CSV without the last line feed, with CRLF, and without a header */
    "\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\r\n"
    "0.001,0.0,1,1.00\r\n1.5,0.5,2,2.00\r\n7.25,1.0,4,Infinity",
    "0.001 0.0 1\n1.5e0 5e-1 2\n7.25 1 4\n",
    /* with a byte-order mark, empty lines and comments */
    "\xef\xbb\xbf       Value     Percentile TotalCount 1/(1-Percentile)\n"
    "  0.001 0.0 1 1.0\n\n\n# lunch\n  1.5 0.5 2 2.0\n   \n  7.25 1.0 4 inf\n",
};

static void every_shape_is_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(shapes); i++) {
        struct percentile_table table = read_table(shapes[i]);
        assert_int_equal(table.count, 3);
        assert_row(&table, 0, 0.001, 0, 1);
        assert_row(&table, 1, 1.5, 0.5, 2);
        assert_row(&table, 2, 7.25, 1, 4);
        assert_int_equal(table.cut_line, 0);
        free(table.rows);
    }
}

/* wrk2 -U -L, shortened. */
static const char wrk2_text[] =
    "Running 10s test @ http://127.0.0.1:8080/\n"
    "  2 threads and 10 connections\n"
    "  Thread calibration: mean lat.: 0.722ms, rate sampling interval: 10ms\n"
    "  Thread Stats   Avg      Stdev     99%   +/- Stdev\n"
    "    Latency   722.00us  337.00us   1.50ms   66.67%\n"
    "    Req/Sec     1.05k   110.00     1.33k    70.00%\n"
    "  Latency Distribution (HdrHistogram - Recorded Latency)\n"
    " 50.000%  722.00us\n"
    "100.000%    1.50ms\n"
    "\n"
    "  Detailed Percentile spectrum:\n"
    "       Value   Percentile   TotalCount 1/(1-Percentile)\n"
    "\n"
    "       0.103     0.000000            1         1.00\n"
    "       0.722     0.500000            5         2.00\n"
    "       1.500     1.000000           10          inf\n"
    "#[Mean    =        0.722, StdDeviation   =        0.337]\n"
    "#[Max     =        1.500, Total count    =           10]\n"
    "#[Buckets =           27, SubBuckets     =         2048]\n"
    "----------------------------------------------------------\n"
    "\n"
    "  Latency Distribution (HdrHistogram - Uncorrected Latency (measured without taking delayed "
    "starts into account))\n"
    " 50.000%  100.00us\n"
    "\n"
    "  Detailed Percentile spectrum:\n"
    "       Value   Percentile   TotalCount 1/(1-Percentile)\n"
    "\n"
    "       0.090     0.000000            9         1.00\n"
    "       0.200     1.000000           10          inf\n"
    "#[Mean    =        0.100, StdDeviation   =        0.020]\n"
    "#[Max     =        0.200, Total count    =           10]\n"
    "#[Buckets =           27, SubBuckets     =         2048]\n"
    "----------------------------------------------------------\n"
    "  20000 requests in 10.00s, 2.00MB read\n"
    "Requests/sec:   2000.00\n"
    "Transfer/sec:    204.80KB\n";

static void both_tables_of_wrk2_are_read(void **state) {
    (void)state;
    FILE *stream = open_text(wrk2_text, strlen(wrk2_text));
    struct percentile_table table;
    struct error error;
    unsigned long line = 0;
    assert_int_equal(percentile_table_read(stream, "wrk2", &line, &table, &error), 1);
    assert_int_equal(table.count, 3);
    assert_int_equal(table.line, 14);
    assert_row(&table, 2, 1.5, 1, 10);
    free(table.rows);
    assert_int_equal(percentile_table_read(stream, "wrk2", &line, &table, &error), 1);
    assert_int_equal(table.count, 2);
    assert_int_equal(table.line, 28);
    assert_row(&table, 0, 0.09, 0, 9);
    free(table.rows);
    assert_int_equal(percentile_table_read(stream, "wrk2", &line, &table, &error), 0);
    assert_int_equal(line, 36);
    assert_null(table.rows);
    fclose(stream);
}

/* A header or, once 1 is reached, any line ends a table; what is too long is no row. */
static void tables_end_without_a_footer(void **state) {
    (void)state;
    char text[1000];
    snprintf(text, sizeof text,
             "Value,Percentile,TotalCount,1/(1-Percentile)\n1,0.5,3,2\n1,1,3,Infinity\n"
             "Value,Percentile,TotalCount,1/(1-Percentile)\n2,0.5,4,2\n2,1,4,Infinity\nbye\n"
             "3 1 5 %300s\n3 1 5 inf\n",
             "inf");
    FILE *stream = open_text(text, strlen(text));
    struct percentile_table table;
    unsigned long line = 0;
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, NULL), 1);
        assert_int_equal(table.count, i < 3 ? 2 : 1);
        assert_int_equal(table.cut_line, 0);
        assert_row(&table, table.count - 1, (double)i, 1, i + 2);
        free(table.rows);
    }
    assert_int_equal(table.line, 9);
    assert_int_equal(percentile_table_read(stream, "t", &line, &table, NULL), 0);
    fclose(stream);
}

static void an_empty_table_is_a_table(void **state) {
    (void)state;
    struct percentile_table table =
        read_table("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
                   "#[Mean    =        0.000, StdDeviation   =        0.000]\n"
                   "#[Max     =        0.000, Total count    =            0]\n"
                   "#[Buckets =           32, SubBuckets     =         2048]\n");
    assert_int_equal(table.count, 0);
    assert_int_equal(table.line, 1);
    assert_int_equal(table.cut_line, 0);
    struct histogram histogram;
    assert_int_equal(percentile_table_to_histogram(&table, 1e6, &histogram, NULL), 0);
    assert_int_equal(histogram.total, 0);
    histogram_close(&histogram);
}

static void other_text_has_no_table(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\n",
        "hello\n1 2\n",
        "1 2 3 4 5 6\n",
        "50 nan 3 4\n",
        "# 1 0.5 3 4\n",
        "1 0.5 3", /* cut off? */
        "1\t0.5\t0x3\n",
        "       Value     Percentile TotalCount\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct percentile_table table;
        unsigned long line = 0;
        FILE *stream = open_text(texts[i], strlen(texts[i]));
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, NULL), 0);
        fclose(stream);
    }
}

#define HEADER "Value Percentile TotalCount 1/(1-Percentile)\n\n"
#define MEAN "#[Mean    =        2.562, StdDeviation   =        2.893]\n"

static void bad_tables_are_refused_with_line_and_cause(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {HEADER "x 0.5 3 2\n", "t:3: \"x\" is not a value"},
        {HEADER "1 0 3 1\n-2 0.5 3 2\n", "t:4: \"-2\" is not a value"},
        {HEADER "1e400 0.5 3 2\n", "t:3: \"1e400\" is not a value"},
        {HEADER "NaN 0.5 3 2\n", "t:3: \"NaN\" is not a value"},
        {HEADER "inf 0.5 3 2\n", "t:3: \"inf\" is not a value"},
        {HEADER "0x10 0.5 3 2\n", "t:3: \"0x10\" is not a value"},
        {HEADER "1.5ms 0.5 3 2\n", "t:3: \"1.5ms\" is not a value"},
        {HEADER "1 nan 3 2\n", "t:3: \"nan\" is not a quantile from 0 to 1"},
        {HEADER "1 50 3 2\n", "t:3: \"50\" is not a quantile from 0 to 1"},
        {HEADER "1 1.000001 3 2\n", "t:3: \"1.000001\" is not a quantile from 0 to 1"},
        {HEADER "1 -0.5 3 2\n", "t:3: \"-0.5\" is not a quantile from 0 to 1"},
        {HEADER "1 x 0.5 3 2\n", "t:3: \"x\" is not a quantile"},
        {HEADER "1 0.5 3.5 2\n", "t:3: \"3.5\" is not a count"},
        {HEADER "1 0.5 -3 2\n", "t:3: \"-3\" is not a count"},
        {HEADER "1 0.5 9223372036854775808 2\n", "t:3: \"9223372036854775808\" is not a count"},
        {HEADER "1 0.5 99999999999999999999 2\n", "t:3: \"99999999999999999999\" is not a count"},
        {HEADER "1 0.5 3 nan\n", "t:3: \"nan\" is not a number"},
        {HEADER "1 0.5\n", "t:3: a row has 3 to 5 columns"},
        {HEADER "1 0.5 0.5 3 2 1\n", "t:3: a row has 3 to 5 columns"},
        {HEADER "0,001 0,500000 3 2,00\n", "t:3: a row has 3 to 5 columns"},
        {HEADER "1 0 1 1\nhello\n2 1 3\n", "t:4: a row has 3 to 5 columns"},
        {"1 0 1 1\n\n\nhello\n", "t:4: a row has 3 to 5 columns"},
        {HEADER "2 0 1 1\n1.5 0.5 3 2\n", "t:4: the value falls from 2 to 1.5"},
        {HEADER "2 0.5 3 2\n2 0.25 3 2\n", "t:4: the quantile falls from 0.5 to 0.25"},
        {HEADER "2 0 3 1\n2 0.5 2 2\n", "t:4: the total count falls from 3 to 2"},
        {HEADER "2 1 3\n2 1 2\n", "t:4: the total count falls from 3 to 2"},
        {HEADER "2 0 3 1\n2 0.5 2 2", "t:4: the total count falls from 3 to 2"},
        {HEADER "2 1 3\n" MEAN "#[Max     = 2.000, Total count    =            4]\n",
         "t:5: the footer's total count is 4, the last row's 3"},
        {HEADER MEAN "#[Max     = 2.000, Total count    =            4]\n",
         "t:4: the footer's total count is 4, the last row's 0"},
        {HEADER "2 1 3\n" MEAN "#[Max     = 2.000, Total count    =          NaN]\n",
         "t:5: the footer's total count is not a count"},
        {HEADER "2 1 3\n" MEAN "#[Max     = 2.000, Total count    =         3.00]\n",
         "t:5: the footer's total count is not a count"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct percentile_table table;
        struct error error = {""};
        unsigned long line = 0;
        FILE *stream = open_text(cases[i].text, strlen(cases[i].text));
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, &error), -EINVAL);
        assert_string_equal(error.text, cases[i].words);
        assert_null(table.rows);
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, &error), 0);
        fclose(stream);
    }
}

static void a_null_byte_breaks_a_row(void **state) {
    (void)state;
    static const char text[] = HEADER "1 0.5 3\0 2\n";
    struct percentile_table table;
    struct error error;
    unsigned long line = 0;
    FILE *stream = open_text(text, sizeof text - 1);
    assert_int_equal(percentile_table_read(stream, "t", &line, &table, &error), -EINVAL);
    assert_string_equal(error.text, "t:3: \"3?\" is not a count");
    fclose(stream);
}

/* The good rows of a bad table are no table of their own. */
static void reading_goes_on_behind_a_bad_table(void **state) {
    (void)state;
    static const char *const texts[] = {
        HEADER "1 0 1 1\nbad\n3 1 3\n" MEAN "4 0 7 1\n4 1 8\n",
        HEADER "1 0 1 1\nbad\n3 1 3\n" HEADER "4 0 7 1\n4 1 8\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct percentile_table table;
        unsigned long line = 0;
        FILE *stream = open_text(texts[i], strlen(texts[i]));
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, NULL), -EINVAL);
        assert_int_equal(percentile_table_read(stream, "t", &line, &table, NULL), 1);
        assert_int_equal(table.count, 2);
        assert_row(&table, 0, 4, 0, 7);
        free(table.rows);
        fclose(stream);
    }
}

static void an_unreadable_stream_is_an_error(void **state) {
    (void)state;
    FILE *directory = fopen("/", "r");
    assert_non_null(directory);
    struct percentile_table table;
    struct error error;
    unsigned long line = 0;
    assert_int_equal(percentile_table_read(directory, "/", &line, &table, &error), -EIO);
    assert_string_equal(error.text, "/: cannot be read");
    fclose(directory);
}

/* Rows that end within the first `length` bytes of `text`, which has none before `rows`. */
static size_t lines_between(const char *rows, const char *end) {
    size_t lines = 0;
    for (const char *c = rows; c < end; c++)
        lines += *c == '\n';
    return lines;
}

static void check_truncated(const char *text, size_t length, const char *rows,
                            const struct percentile_table *all) {
    struct percentile_table table;
    struct error error = {""};
    unsigned long line = 0;
    FILE *stream = open_text(text, length);
    int rc = percentile_table_read(stream, "t", &line, &table, &error);
    assert_string_equal(error.text, "");
    bool csv = text[0] == '"'; /* the last quote of its header is not missed */
    assert_int_equal(rc, length + csv >= strcspn(text, "\n"));
    if (rc == 1) {
        size_t whole = text + length > rows ? lines_between(rows, text + length) : 0;
        if (whole > all->count)
            whole = all->count;
        assert_in_range(table.count, whole, whole + 1);
        assert_true(table.count <= all->count);
        if (table.count > 0)
            assert_memory_equal(table.rows, all->rows, table.count * sizeof *all->rows);
        bool complete = table.count > 0 && table.rows[table.count - 1].quantile == 1;
        assert_int_equal(table.cut_line != 0, !complete);
        if (!complete && text[length - 1] != '\n' && text + length > rows)
            assert_in_range(table.cut_line, line, line + 1); /* its blanks count for nothing */
    }
    free(table.rows);
    fclose(stream);
}

static void truncation_loses_at_most_the_last_row(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(goldens); i++) {
        const char *text = goldens[i].text;
        struct percentile_table all = read_table(text);
        assert_int_equal(all.count, 9);
        const char *rows = strchr(text, '\n') + (goldens[i].format == PERCENTILE_TABLE_HGRM) + 1;
        for (size_t length = 1; length < strlen(text); length++)
            check_truncated(text, length, rows, &all);
        free(all.rows);
    }
}

/* --- there and back --- */

/* The first or the last rank that a row may be about: where the quantile meets a rank exactly, the
 * rounding errors of the percentiles choose between it and the next. */
static size_t rank_of(double quantile, bool last) {
    double rank = quantile * SAMPLES + (last ? 1e-6 : -1e-6);
    return (size_t)fmin(SAMPLES, fmax(1, ceil(rank)));
}

static uint64_t end_at_rank(const struct histogram *histogram, const uint64_t *samples,
                            size_t rank) {
    const struct histogram_layout *layout = &histogram->layout;
    return histogram_highest_equivalent(layout, histogram_index(layout, samples[rank - 1]));
}

/* Against sorted samples; the printed values are whole. */
static void check_rows(const struct percentile_table *table, const struct histogram *histogram,
                       const uint64_t *samples) {
    for (size_t i = 0; i < table->count; i++) {
        const struct percentile_row *row = &table->rows[i];
        uint64_t seen = row->cumulative, value = (uint64_t)row->value;
        assert_in_range(value, end_at_rank(histogram, samples, rank_of(row->quantile, false)),
                        end_at_rank(histogram, samples, rank_of(row->quantile, true)));
        assert_int_equal(value, end_at_rank(histogram, samples, seen));
        assert_true(seen == SAMPLES || samples[seen] > value);
        assert_true(i == 0 || row->quantile > table->rows[i - 1].quantile);
    }
    assert_true(table->rows[table->count - 1].quantile == 1);
}

/* With the standard layout printed values are ends of ranges, so they come back as they were. */
static void check_back(const struct percentile_table *table) {
    struct histogram back;
    assert_int_equal(percentile_table_to_histogram(table, 1, &back, NULL), 0);
    assert_true(histogram_layout_equal(&back.layout, &histogram_standard));
    assert_int_equal(back.total, SAMPLES);
    for (size_t i = 0; i < table->count; i++)
        assert_in_range((uint64_t)table->rows[i].value,
                        histogram_quantile(&back, fmax(1e-9, table->rows[i].quantile - 1e-9)),
                        histogram_quantile(&back, fmin(1, table->rows[i].quantile + 1e-9)));
    assert_true((double)back.max == table->rows[table->count - 1].value);
    histogram_close(&back);
}

static void rows_read_back_as_the_samples(void **state) {
    (void)state;
    static uint64_t samples[SAMPLES];
    struct random random;
    random_seed(&random, 6);
    for (int ticks = 1; ticks <= 20; ticks++) {
        struct histogram histogram = open_histogram(1, RECORDER_HIGHEST, 3);
        for (size_t i = 0; i < SAMPLES; i++) {
            samples[i] = (uint64_t)(-log(random_unit(&random)) * 250e3);
            histogram_record(&histogram, samples[i], 1);
        }
        qsort(samples, SAMPLES, sizeof samples[0], by_value);
        char *text = table_text(&histogram,
                                ticks % 2 ? PERCENTILE_TABLE_HGRM : PERCENTILE_TABLE_CSV, ticks, 1);
        struct percentile_table table = read_table(text);
        /* 5,000 samples halve between 12 and 13 times before the last one; then the final row. A
         * rounding error at a halving may cost its first rows. */
        assert_in_range(table.count, 11 * ticks, 13 * ticks + 2);
        check_rows(&table, &histogram, samples);
        check_back(&table);
        free(table.rows);
        free(text);
        histogram_close(&histogram);
    }
}

static void values_are_scaled_and_rounded(void **state) {
    (void)state;
    struct percentile_table table = read_table("0.0006 0.5 10\n1.500 0.75 15\n7.2504 1 20\n");
    struct histogram histogram;
    assert_int_equal(percentile_table_to_histogram(&table, 1e3, &histogram, NULL), 0);
    assert_int_equal(histogram.total, 20);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 1);
    assert_int_equal(histogram_quantile(&histogram, 0.55), 1500);
    assert_int_equal(histogram_quantile(&histogram, 0.75), 1500);
    assert_int_equal(histogram.max, 7250);
    free(table.rows);
    histogram_close(&histogram);
}

/* Between 2^62 and 2^63 the standard layout would put them all into its last counter. */
static void large_values_get_a_larger_layout(void **state) {
    (void)state;
    struct percentile_table table = read_table("1 0.25 1\n4398046511104 0.5 2\n"
                                               "6000000000000000000 0.75 3\n"
                                               "9223372036854775807 1 4\n");
    struct histogram histogram;
    assert_int_equal(percentile_table_to_histogram(&table, 1, &histogram, NULL), 0);
    assert_int_equal(histogram.total, 4);
    assert_int_equal(histogram.over, 0);
    assert_int_equal(histogram.layout.highest, INT64_MAX);
    for (size_t i = 0; i < table.count; i++) {
        double back = (double)histogram_quantile(&histogram, table.rows[i].quantile);
        assert_true(back >= table.rows[i].value && back <= table.rows[i].value * (1 + 1.0 / 1024));
    }
    histogram_close(&histogram);
    free(table.rows);
    table = read_table("1 0.25 1\n4398046511104 1 2\n");
    assert_int_equal(percentile_table_to_histogram(&table, 1, &histogram, NULL), 0);
    assert_int_equal(histogram.layout.highest, (UINT64_C(1) << 43) - 1);
    histogram_close(&histogram);
    free(table.rows);
}

static void values_that_no_histogram_takes_are_refused(void **state) {
    (void)state;
    struct percentile_table table = read_table("1 0.25 1\n1e13 1 2\n");
    struct histogram histogram;
    struct error error;
    assert_int_equal(percentile_table_to_histogram(&table, 1e6, &histogram, &error), -ERANGE);
    assert_string_equal(error.text, "the value 10000000000000 times 1000000 is above 2^63-1");
    assert_int_equal(percentile_table_to_histogram(&table, 1e300, &histogram, &error), -ERANGE);
    free(table.rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_what_java_prints),
        cmocka_unit_test(tables_of_nothing_are_what_java_prints),
        cmocka_unit_test(decimals_round_half_up_as_java_does),
        cmocka_unit_test(the_last_column_has_javas_rounding_errors),
        cmocka_unit_test(the_largest_total_has_an_end),
        cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(every_shape_is_read),
        cmocka_unit_test(both_tables_of_wrk2_are_read),
        cmocka_unit_test(tables_end_without_a_footer),
        cmocka_unit_test(an_empty_table_is_a_table),
        cmocka_unit_test(other_text_has_no_table),
        cmocka_unit_test(bad_tables_are_refused_with_line_and_cause),
        cmocka_unit_test(a_null_byte_breaks_a_row),
        cmocka_unit_test(reading_goes_on_behind_a_bad_table),
        cmocka_unit_test(an_unreadable_stream_is_an_error),
        cmocka_unit_test(truncation_loses_at_most_the_last_row),
        cmocka_unit_test(rows_read_back_as_the_samples),
        cmocka_unit_test(values_are_scaled_and_rounded),
        cmocka_unit_test(large_values_get_a_larger_layout),
        cmocka_unit_test(values_that_no_histogram_takes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
