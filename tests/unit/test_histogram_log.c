/* test_histogram_log.c: what is written, line by line; and any file, whole, damaged or cut. */
#include "harness/histogram_log.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "harness/histogram_codec.h"
#include "loops/check.h"

/* From other implementations (1, 2, 3, 1000, 2047, 2048, 2049 and 1000000 once each; nothing). */
#define EIGHT "HISTFAAAAC542pNpmSzMwMDAzwABzFCaEURcm7yEwf4DVISJiek4P9NqASaW/X2MTACrqAeF"
#define EMPTY "HISTFAAAACB4nJNpmSzMwMDAyAABzFAaxOf94R7BYP8BKgIAUR8EHw=="
#define VERSION "#[Histogram log format version 1.3]\n"
#define LEGEND                                                                                     \
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
#define FORM "[Tag=TAG,]START,LENGTH,MAX,HISTOGRAM"

#define NS_PER_MS_UNIT 1e6
#define LINE_MOST ((size_t)16 << 20)

/* ---- a file being read ----------------------------------------------------------------------- */

struct input {
    FILE *stream;
    struct histogram_log_reader *reader;
    struct histogram_log_entry entry;
    struct error error;
};

static struct input input_of(FILE *stream) {
    struct input input = {.stream = stream};
    assert_non_null(stream);
    assert_int_equal(histogram_log_reader_open(stream, "log", &input.reader), 0);
    return input;
}

static struct input input_bytes(const char *bytes, size_t size) {
    return input_of(size > 0 ? fmemopen((void *)(uintptr_t)bytes, size, "r")
                             : fopen("/dev/null", "r"));
}

static struct input input_text(const char *text) {
    return input_bytes(text, strlen(text));
}

static int next(struct input *input) {
    input->error.text[0] = '\0';
    return histogram_log_read(input->reader, &input->entry, &input->error);
}

/* The next is an interval on this line; its histogram is not looked at. */
static void expect_entry(struct input *input, unsigned long line) {
    int result = next(input);
    assert_string_equal(input->error.text, "");
    assert_int_equal(result, 1);
    assert_int_equal(input->entry.line, line);
    histogram_close(&input->entry.histogram);
}

static void expect_bad(struct input *input, const char *message) {
    assert_int_equal(next(input), -EINVAL);
    assert_string_equal(input->error.text, message);
}

/* Nothing more, and also when asked again. */
static void expect_end(struct input *input, unsigned long truncated) {
    for (int i = 0; i < 2; i++) {
        assert_int_equal(next(input), 0);
        assert_string_equal(input->error.text, "");
        assert_int_equal(histogram_log_reader_truncated(input->reader), truncated);
    }
    histogram_log_reader_close(input->reader);
    fclose(input->stream);
}

/* ---- histograms and logs to write ------------------------------------------------------------ */

static struct histogram samples(uint64_t seed, unsigned count) {
    struct histogram histogram;
    assert_int_equal(histogram_open(&histogram, &histogram_standard), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(histogram_record(&histogram, (seed + i) * (seed + i) * 977, 1 + i % 3), 0);
    return histogram;
}

/* A file does not hold the exact maximum. */
static void forget_exact_max(struct histogram *histogram) {
    const struct histogram_layout *layout = &histogram->layout;
    if (histogram->total > 0)
        histogram->max =
            histogram_highest_equivalent(layout, histogram_index(layout, histogram->max));
}

struct interval {
    const char *tag;
    double start_s, length_s;
    unsigned samples;
};

static const struct interval intervals[] = {
    {NULL, 0, 1, 300}, {"service", 0, 1, 40},       {NULL, 1, 1.0625, 0},
    {"µ%s#", 1, 1, 7}, {NULL, 2.0625, 0.001, 1000},
};

/* In memory, to be freed. */
static char *written_log(size_t *size) {
    char *text;
    FILE *stream = open_memstream(&text, size);
    assert_non_null(stream);
    assert_int_equal(histogram_log_begin(stream, 1700000000.25, "ns", "echo on epoll"), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(intervals); i++) {
        const struct interval *one = &intervals[i];
        struct histogram histogram = samples(i + 1, one->samples);
        assert_int_equal(histogram_log_write(stream, one->tag, one->start_s, one->length_s,
                                             &histogram, NS_PER_MS_UNIT),
                         0);
        histogram_close(&histogram);
    }
    assert_int_equal(fclose(stream), 0);
    return text;
}

static size_t count_lines(const char *text, size_t size) {
    size_t lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    return lines;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void assert_milliseconds_equal(double read_s, double written_s) {
    assert_true(fabs(read_s - written_s) < 0.000501);
}

static void test_round_trip(void **state) {
    (void)state;
    size_t size;
    char *text = written_log(&size);
    struct input input = input_bytes(text, size);
    for (size_t i = 0; i < ARRAY_LENGTH(intervals); i++) {
        const struct interval *one = &intervals[i];
        assert_int_equal(next(&input), 1);
        if (one->tag)
            assert_string_equal(input.entry.tag, one->tag);
        else
            assert_null(input.entry.tag);
        assert_milliseconds_equal(input.entry.start_s, one->start_s);
        assert_milliseconds_equal(input.entry.length_s, one->length_s);
        assert_milliseconds_equal(input.entry.since_epoch_s, 1700000000.25 + one->start_s);
        struct histogram expected = samples(i + 1, one->samples);
        forget_exact_max(&expected);
        assert_true(histogram_equal(&input.entry.histogram, &expected));
        histogram_close(&expected);
        histogram_close(&input.entry.histogram);
    }
    expect_end(&input, 0);
    free(text);
}

/* The next line of a text, without its line feed, which has to be there. */
static char *take_line(char **text) {
    char *line = strsep(text, "\n");
    assert_non_null(*text);
    return line;
}

/* Takes the histogram off an interval's line and checks it. */
static void check_histogram_text(char *line, uint64_t total) {
    char *base64 = strrchr(line, ',') + 1;
    struct histogram histogram;
    assert_int_equal(histogram_decode_base64(base64, strlen(base64), &histogram, NULL), 0);
    assert_memory_equal(base64, "HISTFA", 6); /* compressed */
    assert_int_equal(histogram.total, total);
    histogram_close(&histogram);
    *base64 = '\0';
}

static void test_lines_as_written(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    struct histogram histogram = samples(1, 0);
    /* In words, what would end the comment or state a time does neither. */
    assert_int_equal(histogram_log_begin(stream, 1700000000.9996, "ns", "[BaseTime: 5]\nTag\t"), 0);
    assert_int_equal(histogram_log_write(stream, NULL, -0.0, -0.0, &histogram, 1e6), 0);
    histogram_record(&histogram, 123456789, 1);
    assert_int_equal(histogram_log_write(stream, "a=b", 0.0004, 1e6, &histogram, 1e6), 0);
    histogram_record(&histogram, UINT64_MAX, 2);
    assert_int_equal(histogram_log_write(stream, NULL, 1e6 + 0.0006, 0.5, &histogram, 1), 0);
    histogram_close(&histogram);
    assert_int_equal(fclose(stream), 0);

    char *rest = text;
    assert_string_equal(take_line(&rest), "#[Logged with loopmark]");
    assert_string_equal(take_line(&rest), "#[Histogram log format version 1.3]");
    assert_string_equal(take_line(&rest), "# [BaseTime: 5] Tag ");
    assert_string_equal(take_line(&rest),
                        "# units: values ns, timestamps and lengths s, Interval_Max ms");
    assert_string_equal(
        take_line(&rest),
        "#[StartTime: 1700000001.000 (seconds since epoch), 2023-11-14T22:13:21.000Z]");
    assert_string_equal(take_line(&rest), "#[BaseTime: 1700000001.000 (seconds since epoch)]");
    char *legend = take_line(&rest);
    assert_memory_equal(legend, LEGEND, strlen(LEGEND) - 1);
    assert_int_equal(strlen(legend), strlen(LEGEND) - 1);
    char *line = take_line(&rest);
    check_histogram_text(line, 0);
    assert_string_equal(line, "0.000,0.000,0.000,");
    line = take_line(&rest);
    check_histogram_text(line, 1);
    assert_string_equal(line, "Tag=a=b,0.000,1000000.000,123.470,");
    line = take_line(&rest);
    check_histogram_text(line, 3);
    assert_string_equal(line, "1000000.001,0.500,4398046511103.000,");
    assert_string_equal(rest, "");
    free(text);
}

static void test_without_words(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    assert_int_equal(histogram_log_begin(stream, 0, "ns", NULL), 0);
    fclose(stream);
    static const char expected[] =
        "#[Logged with loopmark]\n" VERSION
        "# units: values ns, timestamps and lengths s, Interval_Max ms\n"
        "#[StartTime: 0.000 (seconds since epoch), 1970-01-01T00:00:00.000Z]\n"
        "#[BaseTime: 0.000 (seconds since epoch)]\n" LEGEND;
    assert_string_equal(text, expected);
    free(text);
}

/* A zone must not move the date. */
static void test_date_is_utc(void **state) {
    (void)state;
    char text[1024] = "";
    setenv("TZ", "XYZ-9", 1);
    tzset();
    FILE *stream = fmemopen(text, sizeof text, "w");
    assert_int_equal(histogram_log_begin(stream, 951782399.5, "ns", NULL), 0);
    fclose(stream);
    unsetenv("TZ");
    tzset();
    assert_non_null(strstr(text, ", 2000-02-28T23:59:59.500Z]\n"));
}

static void test_tags(void **state) {
    (void)state;
    static const char *const valid[] = {"a", "a=b", "µs", "#", "Tag=", "a.b/c:d;'", "\x80\xFF"};
    static const char *const invalid[] = {"",     " ",    "a b",  " a",   "a ",    "a,b",   ",",
                                          "a\tb", "a\nb", "a\rb", "\x01", "a\x7F", "a\"b\""};
    for (size_t i = 0; i < ARRAY_LENGTH(valid); i++)
        assert_true(histogram_log_tag_valid(valid[i]));
    for (size_t i = 0; i < ARRAY_LENGTH(invalid); i++)
        assert_false(histogram_log_tag_valid(invalid[i]));
}

static void test_writer_refuses(void **state) {
    (void)state;
    static const double bad[] = {-0.001, -1e9, NAN, INFINITY, -INFINITY};
    char text[256] = "";
    FILE *stream = fmemopen(text, sizeof text, "w");
    struct histogram histogram = samples(1, 3);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(histogram_log_begin(stream, bad[i], "ns", NULL), -EINVAL);
        assert_int_equal(histogram_log_write(stream, NULL, bad[i], 1, &histogram, 1), -EINVAL);
        assert_int_equal(histogram_log_write(stream, NULL, 1, bad[i], &histogram, 1), -EINVAL);
    }
    assert_int_equal(histogram_log_begin(stream, 253402300800.0, "ns", NULL), -EINVAL);
    assert_int_equal(histogram_log_write(stream, "a b", 0, 1, &histogram, 1), -EINVAL);
    assert_int_equal(histogram_log_write(stream, "", 0, 1, &histogram, 1), -EINVAL);
    histogram_close(&histogram);
    fclose(stream);
    assert_string_equal(text, "");
}

static void test_each_line_is_flushed(void **state) {
    (void)state;
    char *text;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    struct histogram histogram = samples(1, 10);
    assert_int_equal(histogram_log_begin(stream, 1, "ns", NULL), 0);
    assert_int_equal(count_lines(text, size), 5 + 1);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(histogram_log_write(stream, NULL, (double)i, 1, &histogram, 1), 0);
        assert_int_equal(count_lines(text, size), 6 + i);
        assert_int_equal(text[size - 1], '\n');
    }
    histogram_close(&histogram);
    fclose(stream);
    free(text);
}

static void test_full_disk(void **state) {
    (void)state;
    FILE *stream = fopen("/dev/full", "w");
    if (stream == NULL) {
        print_message("skipped: no /dev/full here\n");
        skip();
    }
    assert_int_equal(histogram_log_begin(stream, 1, "ns", NULL), -ENOSPC);
    fclose(stream);

    /* Small, so that only the flush meets the disk; and larger than any buffer. */
    static const unsigned sizes[] = {3, 20000};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct histogram histogram = samples(1, sizes[i]);
        stream = fopen("/dev/full", "w");
        assert_int_equal(histogram_log_write(stream, NULL, 0, 1, &histogram, 1), -ENOSPC);
        fclose(stream);
        histogram_close(&histogram);
    }
}

static ssize_t refuse_first(void *data, const char *bytes, size_t size) {
    (void)bytes;
    unsigned *writes = data;
    if ((*writes)++ > 0)
        return (ssize_t)size;
    errno = ENOSPC;
    return 0; /* glibc's sign for a failed write */
}

/* Of a line that failed half may be out. When there is room again, nothing goes behind it. */
static void test_nothing_behind_half_a_line(void **state) {
    (void)state;
    unsigned writes = 0;
    FILE *stream = fopencookie(&writes, "w", (cookie_io_functions_t){.write = refuse_first});
    assert_non_null(stream);
    setvbuf(stream, NULL, _IONBF, 0);
    struct histogram histogram = samples(1, 3);
    assert_int_equal(histogram_log_write(stream, NULL, 0, 1, &histogram, 1), -ENOSPC);
    unsigned before = writes;
    assert_int_equal(histogram_log_write(stream, NULL, 1, 1, &histogram, 1), -EIO);
    assert_int_equal(writes, before);
    histogram_close(&histogram);
    fclose(stream);
}

/* ---- bad lines ------------------------------------------------------------------------------- */

struct bad_line {
    const char *line, *cause;
};

#define FIELDS(number) "an interval has 4 fields, " FORM ", and this line " number
#define SECONDS(what, text) "the " what " \"" text "\" should be a number of seconds, like 12.345"
#define TAG(text) "bad tag \"" text "\": it is empty, or has a space or control character in it"
#define TIME(text, key)                                                                            \
    "the time \"" text "\" should be like " key " 1700000000.000 (seconds since epoch)]"
#define LONE_CR "a carriage return amid the line: lines end with LF or CR LF"

/* Without a cause: what looks bad and is not. */
static const struct bad_line bad_lines[] = {
    /* fields */
    {"hello", FIELDS("1")},
    {EIGHT, FIELDS("1")},
    {",", FIELDS("2")},
    {"0.000,1.000," EIGHT, FIELDS("3")},
    {"Tag=a,0.000,1.000," EIGHT, FIELDS("3")},
    {"0.000,1.000,1.000," EIGHT ",", FIELDS("5; decimals need points, not commas")},
    {"0.000,1.000,1.000,5," EIGHT, FIELDS("5; decimals need points, not commas")},
    {"0,000,1,000,1,000," EIGHT, FIELDS("7; decimals need points, not commas")},
    {"\"Timestamp\"", FIELDS("1")},
    {"tag=a,0.000,1.000,1.000," EIGHT, FIELDS("5; decimals need points, not commas")},
    /* tags */
    {"Tag=", "no comma behind the tag \"\": it should be " FORM},
    {"Tag=a", "no comma behind the tag \"a\": it should be " FORM},
    {"Tag=,0.000,1.000,1.000," EIGHT, TAG("")},
    {"Tag=a b,0.000,1.000,1.000," EIGHT, TAG("a b")},
    {"Tag= a,0.000,1.000,1.000," EIGHT, TAG(" a")},
    {"Tag=a\x1B[1m\t,0.000,1.000,1.000," EIGHT, TAG("a?[1m?")},
    {"Tag=0123456789012345678901234 678901,0,1,1," EIGHT, TAG("0123456789012345678901234 67...")},
    {"Tag=a,Tag=b,1.000,1.000," EIGHT, SECONDS("start", "Tag=b")},
    /* start and length */
    {",1.000,1.000," EIGHT, SECONDS("start", "")},
    {"0.000,,1.000," EIGHT, SECONDS("length", "")},
    {"NaN,1.000,1.000," EIGHT, SECONDS("start", "NaN")},
    {"0.000,nan,1.000," EIGHT, SECONDS("length", "nan")},
    {"inf,1.000,1.000," EIGHT, SECONDS("start", "inf")},
    {"0.000,Infinity,1.000," EIGHT, SECONDS("length", "Infinity")},
    {"1e400,1.000,1.000," EIGHT, SECONDS("start", "1e400")},
    {"-1e400,1.000,1.000," EIGHT, SECONDS("start", "-1e400")},
    {"0.000,1e400,1.000," EIGHT, SECONDS("length", "1e400")},
    {"1e308,1.000,1.000," EIGHT, SECONDS("start", "1e308")},
    {"0.000,-1.000,1.000," EIGHT, SECONDS("length", "-1.000")},
    {"0x10,1.000,1.000," EIGHT, SECONDS("start", "0x10")},
    {" 0.000,1.000,1.000," EIGHT, SECONDS("start", " 0.000")},
    {"0.000 ,1.000,1.000," EIGHT, SECONDS("start", "0.000 ")},
    {"0.000, 1.000,1.000," EIGHT, SECONDS("length", " 1.000")},
    {"1.2.3,1.000,1.000," EIGHT, SECONDS("start", "1.2.3")},
    {"1e,1.000,1.000," EIGHT, SECONDS("start", "1e")},
    {"-,1.000,1.000," EIGHT, SECONDS("start", "-")},
    {"0.000,1s,1.000," EIGHT, SECONDS("length", "1s")},
    /* ends */
    {"0.000,1.000,1.000," EIGHT "\r0.000,1.000,1.000," EIGHT, LONE_CR},
    {"# Mac\r", NULL}, /* that is CR LF */
    {"# Mac\rcomment", LONE_CR},
    {"\r\r", LONE_CR},
    {"\xEF\xBB\xBF# a byte order mark within", FIELDS("1")},
    /* stated times */
    {"#[StartTime: ]", TIME("", "#[StartTime:")},
    {"#[StartTime: 1 (seconds since epoch), 1970]", NULL},
    {"#[StartTime: 12", TIME("12", "#[StartTime:")},
    {"#[StartTime: now (seconds since epoch)]", TIME("now", "#[StartTime:")},
    {"#[StartTime: 1,5 (seconds since epoch)]", TIME("1,5", "#[StartTime:")},
    {"#[BaseTime: NaN (seconds since epoch)]", TIME("NaN", "#[BaseTime:")},
    {"#[basetime: 1e400]", TIME("1e400", "#[BaseTime:")},
};

static void test_bad_lines(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad_lines); i++) {
        char *text, message[sizeof(struct error)];
        assert_true(asprintf(&text,
                             VERSION LEGEND "0.000,1.000,1.000," EIGHT "\n%s\n"
                                            "1.000,1.000,1.000," EMPTY "\n",
                             bad_lines[i].line) > 0);
        struct input input = input_text(text);
        expect_entry(&input, 3);
        if (bad_lines[i].cause) {
            snprintf(message, sizeof message, "log:4: %s", bad_lines[i].cause);
            expect_bad(&input, message);
        }
        expect_entry(&input, 5);
        expect_end(&input, 0);
        free(text);
    }
}

/* The words come from the codec; here it matters that they come, and where. */
static void test_bad_histograms(void **state) {
    (void)state;
    static const char *const bad[] = {"",  "=",         "HIST",         "not base64!", EIGHT " ",
                                      " ", EIGHT EIGHT, "HISTFAAAACB4", EIGHT "=",     EIGHT "\t"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char *text;
        assert_true(asprintf(&text, "0,1,1,%s\n0,1,1," EIGHT "\n", bad[i]) > 0);
        struct input input = input_text(text);
        assert_int_equal(next(&input), -EINVAL);
        assert_memory_equal(input.error.text, "log:1: ", 7);
        assert_true(strlen(input.error.text) > 12);
        expect_entry(&input, 2);
        expect_end(&input, 0);
        free(text);
    }
}

static void test_nul_bytes(void **state) {
    (void)state;
    static const char text[] = "# a\0b\n0,1,1," EIGHT "\n0,1,1," EIGHT "\0\nTag=a\0,0,1,1," EIGHT
                               "\n\0\n0,1,1," EMPTY "\n\0\0\0\0";
    struct input input = input_bytes(text, sizeof text - 1);
    expect_bad(&input, "log:1: a NUL byte: a log is text, in UTF-8 and not UTF-16");
    expect_entry(&input, 2);
    expect_bad(&input, "log:3: a NUL byte: a log is text, in UTF-8 and not UTF-16");
    expect_bad(&input, "log:4: a NUL byte: a log is text, in UTF-8 and not UTF-16");
    expect_bad(&input, "log:5: a NUL byte: a log is text, in UTF-8 and not UTF-16");
    expect_entry(&input, 6);
    expect_end(&input, 7); /* what a crash leaves on some file systems */
}

/* Appends a comment of `length` characters and a line feed. */
static void put_long_comment(FILE *stream, size_t length) {
    fputc('#', stream);
    for (size_t i = 1; i < length; i++)
        fputc('x', stream);
    fputc('\n', stream);
}

static void test_long_lines(void **state) {
    (void)state;
    FILE *stream = tmpfile();
    assert_non_null(stream);
    put_long_comment(stream, LINE_MOST);
    fputs("0,1,1," EIGHT "\n", stream);
    put_long_comment(stream, LINE_MOST + 1);
    fputs("0,1,1," EIGHT "\n", stream);
    put_long_comment(stream, LINE_MOST + (LINE_MOST >> 2)); /* 20 MiB */
    fputs("0,1,1," EIGHT "\n", stream);
    rewind(stream);
    struct input input = input_of(stream);
    expect_entry(&input, 2);
    expect_bad(&input, "log:3: the line is longer than 16 MiB");
    expect_entry(&input, 4);
    expect_bad(&input, "log:5: the line is longer than 16 MiB");
    expect_entry(&input, 6);
    expect_end(&input, 0);
}

static void test_unreadable_streams(void **state) {
    (void)state;
    FILE *stream = fopen("/", "r");
    assert_non_null(stream);
    struct input input = input_of(stream);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(next(&input), -EISDIR);
        assert_string_equal(input.error.text, "log: cannot read: Is a directory");
    }
    histogram_log_reader_close(input.reader);
    fclose(stream);
    histogram_log_reader_close(NULL);
}

/* ---- files of all kinds ---------------------------------------------------------------------- */

static void test_foreign_files(void **state) {
    (void)state;
    struct input input = input_text(
        "\xEF\xBB\xBF# byte order mark, CR LF, blank lines, comments between, two legends\r\n"
        "\r\n" VERSION LEGEND "0.000,1.000,1.000," EIGHT "\r\n"
        "\n \t\n\n#\n# comment\n#[Unknown: thing]\n#[StartTimes: x]\n#[MaxValueDivisor: 1.0]\n"
        "Tag=A,1e0,+.5E-1,NaN," EIGHT "\n" LEGEND
        "\"StartTimestamp\",\"EndTimestamp\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\r\n"
        "-2.5,0,," EMPTY "\n"
        "Tag=\"q\",3.,2,abc," EMPTY);
    expect_entry(&input, 5);
    expect_entry(&input, 14);
    assert_string_equal(input.entry.tag, "A");
    assert_true(input.entry.start_s == 1);
    assert_true(input.entry.length_s == 0.05);
    expect_entry(&input, 17);
    assert_null(input.entry.tag);
    assert_true(input.entry.start_s == -2.5);
    expect_entry(&input, 18); /* whole, though without line feed */
    assert_string_equal(input.entry.tag, "\"q\"");
    expect_end(&input, 0);
}

static void test_histogram_is_decoded(void **state) {
    (void)state;
    struct input input = input_text("0,1,1," EIGHT "\n0,1,1," EMPTY);
    assert_int_equal(next(&input), 1);
    assert_int_equal(input.entry.histogram.total, 8);
    assert_int_equal(histogram_quantile(&input.entry.histogram, 0.5), 1000);
    assert_int_equal(histogram_quantile(&input.entry.histogram, 1), 1000447);
    histogram_close(&input.entry.histogram);
    assert_int_equal(next(&input), 1);
    assert_int_equal(input.entry.histogram.total, 0);
    histogram_close(&input.entry.histogram);
    expect_end(&input, 0);
}

/* On a bad line the caller's entry stays as it was: no histogram to be closed twice. */
static void test_entry_is_kept(void **state) {
    (void)state;
    struct input input = input_text("Tag=b,5,6,7,HIST\n8,9,0,HIST");
    input.entry.line = 77;
    assert_int_equal(next(&input), -EINVAL);
    assert_int_equal(next(&input), 0);
    assert_int_equal(input.entry.line, 77);
    assert_null(input.entry.histogram.counts);
    expect_end(&input, 2);
}

static void test_empty_files(void **state) {
    (void)state;
    static const char *const empty[] = {
        "", "\n", "\r\n", "\xEF\xBB\xBF", "\xEF\xBB\xBF\n", "# only\n", LEGEND, "\r", " "};
    for (size_t i = 0; i < ARRAY_LENGTH(empty); i++) {
        struct input input = input_text(empty[i]);
        expect_end(&input, 0);
    }
}

/* ---- files cut off --------------------------------------------------------------------------- */

/* `interval[line]`: does it hold one? Lines count from 1. */
static size_t find_intervals(const char *text, size_t size, bool *interval) {
    size_t line = 1;
    for (size_t i = 0; i < size; i++) {
        if (i == 0 || text[i - 1] == '\n')
            interval[line] = text[i] != '#' && text[i] != '"';
        line += text[i] == '\n';
    }
    return line - 1;
}

/* Is the last line of these bytes cut so that it says less? Stated times are known by their "]" or
 * space behind the number; other comments and the legend's later columns say nothing. */
static bool loses_line(const char *text, size_t size) {
    size_t from = size;
    while (from > 0 && text[from - 1] != '\n')
        from--;
    size_t length = size - from;
    const char *line = text + from;
    if (length == 0)
        return false;
    if (line[0] == '"')
        return length < strlen("\"StartTimestamp\"");
    if (line[0] != '#')
        return true;
    static const char *const keys[] = {"#[StartTime:", "#[BaseTime:"};
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        size_t key = strlen(keys[i]);
        if (length >= key && memcmp(line, keys[i], key) == 0)
            return length <= key + 1 || memchr(line + key + 1, ' ', length - key - 1) == NULL;
    }
    return false;
}

static void check_cut(const char *text, size_t cut, const bool *interval, bool whole) {
    unsigned long complete = count_lines(text, cut);
    char *copy = malloc(cut + 1); /* of its exact size, for what checks memory */
    assert_non_null(copy);
    memcpy(copy, text, cut);
    struct input input = input_bytes(copy, cut);
    for (unsigned long line = 1; line <= complete + whole; line++)
        if (interval[line])
            expect_entry(&input, line);
    expect_end(&input, !whole && loses_line(text, cut) ? complete + 1 : 0);
    free(copy);
}

static void check_all_cuts(const char *text, size_t size) {
    bool interval[64] = {false};
    assert_true(count_lines(text, size) + 2 < ARRAY_LENGTH(interval));
    find_intervals(text, size, interval);
    for (size_t cut = 0; cut <= size; cut++) {
        /* Without its line end, or half of it, a line is whole. */
        bool whole = cut < size && (text[cut] == '\n' || text[cut] == '\r');
        check_cut(text, cut, interval, whole);
    }
}

static char *with_crlf(const char *text, size_t *size) {
    char *converted = malloc(*size * 2), *to = converted;
    assert_non_null(converted);
    for (size_t i = 0; i < *size; i++) {
        if (text[i] == '\n')
            *to++ = '\r';
        *to++ = text[i];
    }
    *size = (size_t)(to - converted);
    return converted;
}

static void test_cut_everywhere(void **state) {
    (void)state;
    size_t size;
    char *text = written_log(&size);
    check_all_cuts(text, size);
    char *converted = with_crlf(text, &size);
    check_all_cuts(converted, size);
    free(converted);
    free(text);
}

/* Bad lines before the last one stay errors, and a bad line with a line feed is not a cut one. */
static void test_only_the_last_line_is_cut(void **state) {
    (void)state;
    struct input input = input_text("0,1\n0,1,1," EIGHT "\n0,1");
    expect_bad(&input, "log:1: " FIELDS("2"));
    expect_entry(&input, 2);
    expect_end(&input, 3);
    input = input_text("0,1,1," EIGHT "\n0,1\n");
    expect_entry(&input, 1);
    expect_bad(&input, "log:2: " FIELDS("2"));
    expect_end(&input, 0);
}

/* ---- times ----------------------------------------------------------------------------------- */

#define YEAR_S (365 * 24 * 3600.0)

struct time_case {
    const char *header, *start;
    double since_epoch_s;
};

static const struct time_case time_cases[] = {
    {"", "5.5", 5.5},
    {"", "1700000000", 1700000000},
    /* a base time always applies */
    {"#[BaseTime: 100.5 (seconds since epoch)]\n", "5.5", 106},
    {"#[BaseTime: 0 (seconds since epoch)]\n#[StartTime: 1700000000 (s)]\n", "5", 5},
    {"#[StartTime: 1700000000 (s)]\n#[BaseTime: 10 (s)]\n", "1700000000", 1700000010},
    {"#[BaseTime: 10 (s)]\n#[StartTime: 1700000000 (s)]\n", "5", 15},
    {"#[BaseTime: 10 (s)]\n#[BaseTime: 20 (s)]\n", "5", 25},
    {"#[BaseTime: -10 (s)]\n", "5", -5},
    /* without one it is the start time, if the interval is a year before it */
    {"#[StartTime: 1700000000.125 (seconds since epoch), Tue Nov 14 22:13:20 UTC 2023]\n", "5",
     1700000005.125},
    {"#[StartTime: 1700000000 (s)]\n", "1700000007.25", 1700000007.25},
    {"#[StartTime: 1700000000 (s)]\n", "1668464000", 1668464000}, /* a year exactly */
    {"#[StartTime: 1700000000 (s)]\n", "1668463999", 1668463999 + 1700000000.0}, /* 1 s more */
    {"#[StartTime: 1700000000 (s)]\n", "0", 1700000000},
    {"#[StartTime: 1000 (s)]\n", "5", 5},
    {"#[StartTime: 1 (s)]\n#[StartTime: 1700000000 (s)]\n", "5", 1700000005},
    /* spellings */
    {"#[Basetime: 100.000000 (seconds since epoch)]\n", "5", 105},
    {"#[STARTTIME: 1.7e9 (s)]\n", "5", 1700000005},
    {"#[BaseTime:100]\n", "5", 105},
    {"#[BaseTime:   100]\r\n", "5", 105},
    /* these state none */
    {"# [BaseTime: 100 (s)]\n", "5", 5},
    {" #[BaseTime: 100]", "5", 5},
    {"#[Base Time: 100]\n#[BaseTimes: 100]\n#BaseTime: 100\n", "5", 5},
    /* a bad one leaves what was stated before */
    {"#[BaseTime: 100 (s)]\n#[BaseTime: abc (s)]\n", "5", 105},
};

static void test_times(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(time_cases); i++) {
        const struct time_case *one = &time_cases[i];
        char *text;
        assert_true(asprintf(&text, "%s\n%s,1,1," EMPTY "\n", one->header, one->start) > 0);
        struct input input = input_text(text);
        int result;
        while ((result = next(&input)) == -EINVAL)
            continue;
        assert_int_equal(result, 1);
        assert_true(input.entry.start_s == strtod(one->start, NULL));
        assert_true(input.entry.since_epoch_s == one->since_epoch_s);
        histogram_close(&input.entry.histogram);
        expect_end(&input, 0);
        free(text);
    }
    assert_true(1700000000 - YEAR_S == 1668464000);
}

/* As in logs written one behind the other: what is stated holds from there on. */
static void test_times_between_intervals(void **state) {
    (void)state;
    struct input input = input_text("5,1,1," EMPTY "\n"
                                    "#[StartTime: 1700000000 (s)]\n5,1,1," EMPTY "\n"
                                    "#[BaseTime: 1000 (s)]\n5,1,1," EMPTY "\n"
                                    "#[StartTime: 1800000000 (s)]\n#[BaseTime: 1800000000 (s)]\n"
                                    "5,1,1," EMPTY "\n");
    static const double expected[] = {5, 1700000005, 1005, 1800000005};
    static const unsigned long lines[] = {1, 3, 5, 8};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        expect_entry(&input, lines[i]);
        assert_true(input.entry.since_epoch_s == expected[i]);
    }
    expect_end(&input, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_lines_as_written),
        cmocka_unit_test(test_without_words),
        cmocka_unit_test(test_date_is_utc),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_each_line_is_flushed),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_nothing_behind_half_a_line),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_bad_histograms),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_unreadable_streams),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_histogram_is_decoded),
        cmocka_unit_test(test_entry_is_kept),
        cmocka_unit_test(test_empty_files),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_only_the_last_line_is_cut),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_between_intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
