/* test_histogram_file.c: any file of histograms, by its content, from a file and from a pipe; and
 * our JSON, there and back. */
#include "harness/histogram_file.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "harness/histogram_codec.h"
#include "harness/histogram_json.h"
#include "harness/histogram_log.h"
#include "harness/percentile_table.h"
#include "loops/check.h"

/* From other implementations (1, 2, 3, 1000, 2047, 2048, 2049 and 1000000 once each; nothing). */
#define EIGHT "HISTFAAAAC542pNpmSzMwMDAzwABzFCaEURcm7yEwf4DVISJiek4P9NqASaW/X2MTACrqAeF"
#define EMPTY "HISTFAAAACB4nJNpmSzMwMDAyAABzFAaxOf94R7BYP8BKgIAUR8EHw=="
#define EIGHT_CUT "HISTFAAAAC542pNpmSzMwM"
#define VERSION "#[Histogram log format version 1.3]\n"
#define START "#[StartTime: 1700000000.250 (seconds since epoch), 2023-11-14T22:13:20Z]\n"
#define BASE "#[BaseTime: 1700000000.250 (seconds since epoch)]\n"
#define LEGEND                                                                                     \
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
#define HEADER "#[Logged with a test]\n" VERSION START BASE LEGEND
#define LOG HEADER "0.000,1.000,1.000," EIGHT "\nTag=service,1.000,0.500,0.000," EMPTY "\n"
#define COLUMNS "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
#define ROWS                                                                                       \
    "       1.000 0.000000000000          1           1.00\n"                                      \
    "       2.000 0.500000000000          6           2.00\n"                                      \
    "       4.000 1.000000000000         10\n"
#define FOOTER                                                                                     \
    "#[Mean    =        2.000, StdDeviation   =        1.000]\n"                                   \
    "#[Max     =        4.000, Total count    =           10]\n"                                   \
    "#[Buckets =           26, SubBuckets     =         2048]\n"
#define TABLE COLUMNS ROWS FOOTER
#define CSV                                                                                        \
    "\"Value\",\"Percentile\",\"TotalCount\",\"1/(1-Percentile)\"\n"                               \
    "1.000,0.000000000000,1,1.00\n2.000,0.500000000000,6,2.00\n"                                   \
    "4.000,1.000000000000,10,Infinity\n"
#define WRK2                                                                                       \
    "Running 30s test @ http://127.0.0.1:80/index.html\n"                                          \
    "  2 threads and 100 connections\n"                                                            \
    "  Latency Distribution (HdrHistogram - Recorded Latency)\n"                                   \
    " 50.000%    6.67ms\n\n  Detailed Percentile spectrum:\n"                                      \
    "       Value   Percentile   TotalCount 1/(1-Percentile)\n\n"                                  \
    "       1.000     0.000000            1         1.00\n"                                        \
    "       2.000     0.500000            6         2.00\n"                                        \
    "       4.000     1.000000           10          inf\n" FOOTER                                 \
    "----------------------------------------------------------\n"                                 \
    "  60018 requests in 30.00s, 19.81MB read\nRequests/sec:   2000.28\n"
#define JSON                                                                                       \
    "{\"schema\": 1, \"histograms\": [{\"histogram\": \"" EIGHT "\"},\n"                           \
    " {\"tag\": \"b\", \"start_s\": 2.5, \"length_s\": 1, \"exact\": false,"                       \
    " \"histogram\": \"" EMPTY "\"}]}\n"
#define BASE64 "# two\n\n" EIGHT "\r\n \n  # and\n" EMPTY "\n"
#define NOT_ANY                                                                                    \
    "it should be a log (.hlog), a percentile table (.hgrm, CSV, wrk2's output), JSON (of "        \
    "loopmark hist --json), V2 base64 (HISTF..., one a line), or V2 bytes"

#define ENTRIES_MOST 8

/* ---- reading --------------------------------------------------------------------------------- */

struct seen {
    char tag[16];
    bool timed, exact;
    double start_s, length_s;
    unsigned long line;
    uint64_t total;
};

struct outcome {
    struct histogram_file_options options;
    unsigned stop_at; /* visit's call that fails; 0: none */
    int stop_with;
    struct histogram *take; /* the first goes here */

    int result;
    struct error error;
    struct histogram_file_notes notes;
    unsigned count;
    struct seen seen[ENTRIES_MOST];
};

static int note(struct histogram_entry *entry, void *data) {
    struct outcome *outcome = data;
    assert_true(outcome->count < ENTRIES_MOST);
    struct seen *seen = &outcome->seen[outcome->count++];
    *seen = (struct seen){.timed = entry->timed,
                          .exact = entry->exact,
                          .start_s = entry->start_s,
                          .length_s = entry->length_s,
                          .line = entry->line,
                          .total = entry->histogram.total};
    snprintf(seen->tag, sizeof seen->tag, "%s", entry->tag ? entry->tag : "");
    if (outcome->take && outcome->count == 1) {
        *outcome->take = entry->histogram;
        entry->histogram = (struct histogram){.counts = NULL};
    }
    return outcome->count == outcome->stop_at ? outcome->stop_with : 0;
}

static void read_path(struct outcome *outcome, const char *path) {
    if (outcome->options.table_unit == 0)
        outcome->options.table_unit = 1000;
    outcome->count = 0;
    outcome->error.text[0] = '\0';
    outcome->result = histogram_file_read(path, &outcome->options, note, outcome, &outcome->notes,
                                          &outcome->error);
}

static void put_file(const char *name, const char *bytes, size_t size) {
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void read_file(struct outcome *outcome, const char *name, const char *bytes, size_t size) {
    put_file(name, bytes, size);
    read_path(outcome, name);
    assert_int_equal(unlink(name), 0);
}

/* Standard input is `fd`, which is closed behind it. */
static void read_standard_input(struct outcome *outcome, int fd) {
    int kept = dup(STDIN_FILENO);
    assert_true(kept >= 0);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    close(fd);
    read_path(outcome, "-");
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
}

/* The writer gives it in pieces, so that no read gets all. */
static void read_pipe(struct outcome *outcome, const char *bytes, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t writer = fork();
    assert_true(writer >= 0);
    if (writer == 0) {
        close(ends[0]);
        size_t piece = size < 3000 ? 7 : 3001;
        for (size_t at = 0; at < size; at += piece)
            if (write(ends[1], bytes + at, size - at < piece ? size - at : piece) < 0)
                break;
        _exit(0);
    }
    close(ends[1]);
    read_standard_input(outcome, ends[0]);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
}

static void assert_message(const struct outcome *outcome, const char *name, const char *message) {
    char wanted[sizeof outcome->error.text];
    snprintf(wanted, sizeof wanted, "%s%s", name, message);
    assert_string_equal(outcome->error.text, wanted);
}

/* From a file and from a pipe. `message` follows the file's name. */
static void expect_refused(const char *bytes, size_t size, const char *message) {
    struct outcome outcome = {.count = 0};
    read_file(&outcome, "file", bytes, size);
    assert_message(&outcome, "file", message);
    assert_int_equal(outcome.result, -EINVAL);
    read_pipe(&outcome, bytes, size);
    assert_message(&outcome, "standard input", message);
    assert_int_equal(outcome.result, -EINVAL);
}

static void expect_seen(const struct outcome *outcome, const struct seen *wanted, unsigned count) {
    assert_string_equal(outcome->error.text, "");
    assert_int_equal(outcome->result, 0);
    assert_int_equal(outcome->count, count);
    for (unsigned i = 0; i < count; i++) {
        const struct seen *seen = &outcome->seen[i];
        assert_string_equal(seen->tag, wanted[i].tag);
        assert_int_equal(seen->timed, wanted[i].timed);
        assert_int_equal(seen->exact, wanted[i].exact);
        assert_true(seen->start_s == wanted[i].start_s && seen->length_s == wanted[i].length_s);
        assert_int_equal(seen->line, wanted[i].line);
        assert_int_equal(seen->total, wanted[i].total);
    }
    assert_int_equal(outcome->notes.bad_lines, 0);
    assert_int_equal(outcome->notes.truncated_line, 0);
}

/* ---- V2 bytes -------------------------------------------------------------------------------- */

static struct histogram eight(void) {
    struct histogram histogram;
    assert_int_equal(histogram_decode_base64(EIGHT, strlen(EIGHT), &histogram, NULL), 0);
    return histogram;
}

/* To be freed. `copies` one after the other. */
static char *eight_bytes(bool compressed, unsigned copies, size_t *size) {
    struct histogram histogram = eight();
    uint8_t *once;
    size_t once_size;
    assert_int_equal((compressed ? histogram_encode_compressed
                                 : histogram_encode)(&histogram, &once, &once_size),
                     0);
    histogram_close(&histogram);
    *size = copies * once_size;
    char *bytes = malloc(*size);
    assert_non_null(bytes);
    for (unsigned i = 0; i < copies; i++)
        memcpy(bytes + i * once_size, once, once_size);
    free(once);
    return bytes;
}

/* ---- each format ----------------------------------------------------------------------------- */

#define TEN(l)                                                                                     \
    { .total = 10, .line = (l) }

static const struct {
    const char *what, *text;
    unsigned count;
    struct seen seen[ENTRIES_MOST];
} formats[] = {
    {"a log",
     LOG,
     2,
     {{"", true, true, 1700000000.25, 1, 6, 8}, {"service", true, true, 1700000001.25, 0.5, 7, 0}}},
    {"a log without any header",
     "3.5,1.000,1.000," EIGHT "\n",
     1,
     {{"", true, true, 3.5, 1, 1, 8}}},
    {"a log of tags only", "Tag=a,3.5,1,1," EIGHT, 1, {{"a", true, true, 3.5, 1, 1, 8}}},
    {"a log with a legend only", LEGEND "2,1,1," EIGHT "\n", 1, {{"", true, true, 2, 1, 2, 8}}},
    {"a log with a start only",
     START "2,1,1," EIGHT "\n",
     1,
     {{"", true, true, 1700000002.25, 1, 2, 8}}},
    {"a log behind a byte order mark",
     "\xEF\xBB\xBF" LOG,
     2,
     {{"", true, true, 1700000000.25, 1, 6, 8}, {"service", true, true, 1700000001.25, 0.5, 7, 0}}},
    {"a table", TABLE, 1, {TEN(3)}},
    {"two tables", TABLE TABLE, 2, {TEN(3), TEN(11)}},
    {"a table of HistogramLogProcessor", START TABLE, 1, {TEN(4)}},
    {"a table as CSV", CSV, 1, {TEN(2)}},
    {"a table without its header", ROWS, 1, {TEN(1)}},
    {"a table of wrk2", WRK2, 1, {TEN(9)}},
    {"JSON", JSON, 2, {{"", false, true, 0, 0, 0, 8}, {"b", true, false, 2.5, 1, 0, 0}}},
    {"JSON behind a byte order mark",
     "\xEF\xBB\xBF\n" JSON,
     2,
     {{"", false, true, 0, 0, 0, 8}, {"b", true, false, 2.5, 1, 0, 0}}},
    {"base64", BASE64, 2, {{.exact = true, .line = 3, .total = 8}, {.exact = true, .line = 6}}},
    {"base64 without line feed", EIGHT, 1, {{.exact = true, .line = 1, .total = 8}}},
};

static void every_format_is_told_by_its_content(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        print_message("  %s\n", formats[i].what);
        struct outcome outcome = {.count = 0};
        read_file(&outcome, "file", formats[i].text, strlen(formats[i].text));
        expect_seen(&outcome, formats[i].seen, formats[i].count);
        read_pipe(&outcome, formats[i].text, strlen(formats[i].text));
        expect_seen(&outcome, formats[i].seen, formats[i].count);
    }
}

static void names_tell_nothing(void **state) {
    (void)state;
    const char *const names[] = {"x.hgrm", "x.hlog", "x.json", "x.csv", "x.gz", "x.b64", "x"};
    for (size_t n = 0; n < ARRAY_LENGTH(names); n++)
        for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
            struct outcome outcome = {.count = 0};
            read_file(&outcome, names[n], formats[i].text, strlen(formats[i].text));
            expect_seen(&outcome, formats[i].seen, formats[i].count);
        }
}

static void bytes_are_read(void **state) {
    (void)state;
    const struct seen wanted = {.exact = true, .total = 8};
    struct histogram original = eight();
    for (int compressed = 0; compressed <= 1; compressed++) {
        size_t size;
        char *bytes = eight_bytes(compressed, 1, &size);
        struct histogram taken;
        struct outcome outcome = {.take = &taken};
        read_file(&outcome, "file", bytes, size);
        expect_seen(&outcome, &wanted, 1);
        assert_true(histogram_equal(&taken, &original));
        histogram_close(&taken);
        read_pipe(&outcome, bytes, size);
        expect_seen(&outcome, &wanted, 1);
        assert_true(histogram_equal(&taken, &original));
        histogram_close(&taken);
        free(bytes);
    }
    histogram_close(&original);
}

static void table_values_are_multiplied(void **state) {
    (void)state;
    struct histogram taken;
    struct outcome outcome = {.take = &taken, .options.table_unit = 1e6};
    read_file(&outcome, "file", TABLE, strlen(TABLE));
    expect_seen(&outcome, &(struct seen)TEN(3), 1);
    assert_int_equal(taken.max, 4000000);
    assert_in_range(histogram_quantile(&taken, 0.5), 2000000, 2002047);
    histogram_close(&taken);
}

/* A table that is far down: what stands before it may be long. */
static void text_before_a_table_may_be_long(void **state) {
    (void)state;
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    for (int i = 0; i < 10000; i++)
        fprintf(stream, "connection %d is open\n", i);
    fputs(TABLE, stream);
    assert_int_equal(fclose(stream), 0);
    struct outcome outcome = {.count = 0};
    read_file(&outcome, "file", text, size);
    expect_seen(&outcome, &(struct seen)TEN(10003), 1);
    read_pipe(&outcome, text, size);
    expect_seen(&outcome, &(struct seen)TEN(10003), 1);
    free(text);
}

/* ---- logs are read as they come -------------------------------------------------------------- */

struct feed {
    int fd;
    unsigned long count;
};

/* The pipe's other end is only written and closed when the first interval has come through. */
static int feed_more(struct histogram_entry *entry, void *data) {
    struct feed *feed = data;
    static const char last[] = "9,1,1," EIGHT "\n";
    assert_int_equal(entry->histogram.total, 8);
    if (feed->count++ == 0) {
        assert_int_equal(write(feed->fd, last, strlen(last)), strlen(last));
        close(feed->fd);
    }
    return 0;
}

static void a_log_is_not_read_whole(void **state) {
    (void)state;
    static const char line[] = "1,1,1," EIGHT "\n";
    enum { LINES = 4000 };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    if (fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) < 0) {
        print_message("a pipe cannot be made larger\n");
        skip();
    }
    for (int i = 0; i < LINES; i++)
        assert_int_equal(write(ends[1], line, strlen(line)), strlen(line));
    struct feed feed = {.fd = ends[1]};
    const struct histogram_file_options options = {.table_unit = 1};
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    alarm(60); /* reading all of it first would wait for ever */
    assert_int_equal(histogram_file_read(path, &options, feed_more, &feed, NULL, NULL), 0);
    alarm(0);
    assert_int_equal(feed.count, LINES + 1);
    close(ends[0]);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void content_that_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": empty; " NOT_ANY},
        {"\n \n", ": no histogram in it"},
        {"# nothing\n", ": no histogram in it"},
        {"Hello.\nThis is prose, 3 of 4 of it.\n", ": no histogram file; " NOT_ANY},
        {"[experiment]\nquestion = Is it?\n", ": no histogram file; " NOT_ANY},
        {"<html>\n", ": no histogram file; " NOT_ANY},
        {"HISTOGRAMS ARE FINE\n", ": no histogram file; " NOT_ANY},
        {HEADER, ": no histogram in it"},
        {START BASE, ": no histogram in it"},
        {HEADER "0,1,1," EIGHT_CUT, ":6: the line is cut off, and there is no other histogram"},
        {HEADER "0,1,1," EIGHT_CUT "\n", ":6: 22 characters of base64 are no multiple of 4"},
        {LOG "x\n", ":8: an interval has 4 fields, [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM, and this "
                    "line 1"},
        {"0,1,1,DHISTwAA\n", ":1: the cookie 0x0c72124f is that of a compressed DoubleHistogram: "
                             "only V2 can be read"},
        {"0, 1, 1, " EIGHT "\n",
         ":1: the length \" 1\" should be a number of seconds, like 12.345"},
        {COLUMNS "  1 0.5 2 2\n  nonsense\n" FOOTER, ":4: a row has 3 to 5 columns"},
        {"1e30 1 5\n", ":1: the value 1e+30 times 1000 is above 2^63-1"},
        {EIGHT "\n" EIGHT EIGHT "\n", ":2: the length of the zlib stream is 46, but 100 bytes are "
                                      "there"},
        {"HISTFA\n", ":1: 6 characters of base64 are no multiple of 4"},
        {"HISTFA", ":1: the line is cut off, and there is no other histogram"},
        {"DHISTwAA\n", ":1: the cookie 0x0c72124f is that of a compressed DoubleHistogram: only V2 "
                       "can be read"},
        {"{}", ": JSON without an array \"histograms\": loopmark hist --json prints one"},
        {"{\"schema\": 1, \"histograms\": {}}",
         ": JSON without an array \"histograms\": loopmark hist --json prints one"},
        {"{\"histograms\": []}", ": \"schema\" should be 1"},
        {"{\"schema\": 2, \"histograms\": []}", ": \"schema\" should be 1"},
        {"{\"schema\": 1, \"histograms\": []}", ": no histogram in it"},
        {"{\"schema\": 1,\n\"histograms\": [\n\n", ":4: no JSON: ']' expected near end of file"},
        {"{\"schema\": 1}\n{}\n", ":2: no JSON: end of file expected near '{'"},
        {"{\033[2J", ":1: no JSON: string or '}' expected near '?'"},
        {"BZh91AY&SY", ": bzip2: decompress it first, bzcat FILE | loopmark hist -"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
}

static void json_entries_that_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"3", "it should be an object"},
        {"{}", "\"histogram\" should be a string of V2 base64"},
        {"{\"histogram\": 1}", "\"histogram\" should be a string of V2 base64"},
        {"{\"histogram\": \"\"}", "the base64 text is empty"},
        {"{\"tag\": 1}", "\"tag\" should be a string or null"},
        {"{\"exact\": null}", "\"exact\" should be true or false"},
        {"{\"start_s\": \"0\", \"histogram\": \"" EIGHT "\"}",
         "\"start_s\" and \"length_s\" should be seconds, or null if not known"},
        {"{\"length_s\": -1, \"histogram\": \"" EIGHT "\"}",
         "\"start_s\" and \"length_s\" should be seconds, or null if not known"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[512], message[256];
        snprintf(text, sizeof text, "{\"schema\":1,\"histograms\":[{\"histogram\":\"%s\"},%s]}",
                 EIGHT, cases[i].json);
        snprintf(message, sizeof message, ": histograms[1]: %s", cases[i].message);
        expect_refused(text, strlen(text), message);
    }
}

static void compressed_files_are_refused(void **state) {
    (void)state;
    gzFile file = gzopen("log.gz", "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, LOG, strlen(LOG)), strlen(LOG));
    assert_int_equal(gzclose(file), Z_OK);
    char bytes[4096];
    FILE *stream = fopen("log.gz", "r");
    assert_non_null(stream);
    size_t size = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    unlink("log.gz");
    expect_refused(bytes, size, ": gzip: decompress it first, zcat FILE | loopmark hist -");
}

static void binary_files_are_refused(void **state) {
    (void)state;
    char bytes[70000];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(seed >> 24);
    }
    expect_refused(bytes, sizeof bytes, ": no histogram file; " NOT_ANY);
    static const char rows_amid[] = "\x7F"
                                    "ELF\0\n 1 1 1 1\n";
    expect_refused(rows_amid, sizeof rows_amid - 1, ": no histogram file; " NOT_ANY);
    static const char utf_16[] = "\xFF\xFE#\0[\0";
    expect_refused(utf_16, sizeof utf_16 - 1,
                   ": UTF-16: convert it first, iconv -f UTF-16 -t UTF-8 FILE | loopmark hist -");
}

static void bytes_that_are_refused(void **state) {
    (void)state;
    size_t size;
    char *bytes = eight_bytes(true, 1, &size);
    expect_refused(bytes, size - 1,
                   ": the length of the zlib stream is 46, but 45 bytes are there");
    expect_refused(bytes, 3, ": 3 bytes are too few for a histogram's cookie (4)");
    free(bytes);
    for (int compressed = 0; compressed <= 1; compressed++) {
        char *several = eight_bytes(compressed, 2, &size);
        char message[256];
        snprintf(message, sizeof message,
                 ": the length of the %s is %zu, but %zu bytes are there; a file of V2 bytes holds "
                 "one histogram: several go into a log, or into base64 text, one a line",
                 compressed ? "zlib stream" : "counts", size / 2 - (compressed ? 8 : 40),
                 size - (compressed ? 8 : 40));
        expect_refused(several, size, message);
        free(several);
    }
    expect_refused("\x1C\x84\x93\x01\0\0\0\0", 8,
                   ": the cookie 0x1c849301 is that of a V1 histogram: only V2 can be read");
}

static void files_that_cannot_be_read(void **state) {
    (void)state;
    struct outcome outcome = {.count = 0};
    read_path(&outcome, "missing");
    assert_int_equal(outcome.result, -ENOENT);
    assert_message(&outcome, "missing", ": cannot open: No such file or directory");
    read_path(&outcome, "/");
    assert_int_equal(outcome.result, -EISDIR);
    assert_message(&outcome, "/", ": a directory, not a file");
    read_standard_input(&outcome, open("/", O_RDONLY));
    assert_int_equal(outcome.result, -EISDIR);
    assert_message(&outcome, "standard input", ": a directory, not a file");
    read_standard_input(&outcome, open("/dev/null", O_WRONLY));
    assert_int_equal(outcome.result, -EBADF);
    assert_message(&outcome, "standard input", ": cannot read: Bad file descriptor");
}

static void files_that_may_not_be_read(void **state) {
    (void)state;
    struct outcome outcome = {.count = 0};
    bool root = geteuid() == 0;
    put_file("secret", LOG, strlen(LOG));
    assert_int_equal(chmod("secret", 0), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    read_path(&outcome, "secret");
    if (root)
        assert_int_equal(seteuid(0), 0);
    unlink("secret");
    assert_int_equal(outcome.result, -EACCES);
    assert_message(&outcome, "secret", ": cannot open: Permission denied");
}

/* What was not read in the end: the histograms before it are no reason to say nothing. */
static void reads_that_fail_later_are_told(void **state) {
    (void)state;
    struct outcome outcome = {.count = 0};
    read_path(&outcome, "/proc/self/mem"); /* nothing is mapped at address 0 */
    assert_int_equal(outcome.result, -EIO);
    assert_message(&outcome, "/proc/self/mem", ": cannot read: Input/output error");
}

/* ---- damaged files --------------------------------------------------------------------------- */

static void last_lines_that_are_cut_are_told(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned count;
        unsigned long line;
    } cases[] = {
        {LOG "2,1,1," EIGHT_CUT, 2, 8},  {LOG "Tag=", 2, 8},
        {EIGHT "\n" EIGHT_CUT, 1, 2},    {COLUMNS "  1 0.5 2 2\n  2 0.7", 1, 4},
        {COLUMNS "  1 0.5 2 2\n", 1, 4}, {COLUMNS "  1 0.5 2 2\n" COLUMNS ROWS, 2, 4},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct outcome outcome = {.count = 0};
        read_file(&outcome, "file", cases[i].text, strlen(cases[i].text));
        assert_string_equal(outcome.error.text, "");
        assert_int_equal(outcome.result, 0);
        assert_int_equal(outcome.count, cases[i].count);
        assert_int_equal(outcome.notes.truncated_line, cases[i].line);
        assert_int_equal(outcome.notes.bad_lines, 0);
    }
}

static void bad_lines_are_skipped_and_counted(void **state) {
    (void)state;
    static const struct {
        const char *text, *first;
        unsigned count;
        unsigned long bad;
    } cases[] = {
        {LOG "x\n2,1,1," EIGHT "\n2,1\n",
         ":8: an interval has 4 fields, [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM, and this line 1", 3,
         2},
        {EIGHT "\nHISTFA\n\n" EIGHT "\nx\n", ":2: 6 characters of base64 are no multiple of 4", 2,
         2},
        {COLUMNS "2 0.5 2 2\n1 1 3\n" FOOTER TABLE, ":4: the value falls from 2 to 1", 1, 1},
        {TABLE "Value Percentile TotalCount 1/(1-Percentile)\n1e30 1 5\n",
         ":10: the value 1e+30 times 1000 is above 2^63-1", 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct outcome outcome = {.options.skip_bad = true};
        char wanted[256];
        read_file(&outcome, "file", cases[i].text, strlen(cases[i].text));
        assert_string_equal(outcome.error.text, "");
        assert_int_equal(outcome.result, 0);
        assert_int_equal(outcome.count, cases[i].count);
        assert_int_equal(outcome.notes.bad_lines, cases[i].bad);
        snprintf(wanted, sizeof wanted, "file%s", cases[i].first);
        assert_string_equal(outcome.notes.first_bad.text, wanted);
    }
}

static void only_bad_lines_are_no_histogram(void **state) {
    (void)state;
    struct outcome outcome = {.options.skip_bad = true};
    static const char text[] = "HISTFA\nx\n";
    read_file(&outcome, "file", text, strlen(text));
    assert_int_equal(outcome.result, -EINVAL);
    assert_message(&outcome, "file",
                   ":1: 6 characters of base64 are no multiple of 4 (no histogram in it but 2 "
                   "bad)");
}

/* ---- visiting -------------------------------------------------------------------------------- */

static void visit_ends_the_reading(void **state) {
    (void)state;
    static const int codes[] = {-ECANCELED, -EINVAL, -ENOMEM};
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++)
        for (size_t c = 0; c < ARRAY_LENGTH(codes); c++) {
            struct outcome outcome = {
                .stop_at = 1, .stop_with = codes[c], .options.skip_bad = true};
            read_file(&outcome, "file", formats[i].text, strlen(formats[i].text));
            assert_int_equal(outcome.result, codes[c]);
            assert_int_equal(outcome.count, 1);
            assert_string_equal(outcome.error.text, "");
            assert_int_equal(outcome.notes.bad_lines, 0);
        }
}

static void histograms_can_be_taken_over(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        struct histogram taken;
        struct outcome outcome = {.take = &taken};
        read_file(&outcome, "file", formats[i].text, strlen(formats[i].text));
        expect_seen(&outcome, formats[i].seen, formats[i].count);
        assert_int_equal(taken.total, formats[i].seen[0].total);
        assert_int_equal(histogram_record(&taken, 1, 1), 0); /* its counters are there still */
        histogram_close(&taken);
    }
}

/* Descriptors are not seen by sanitizers. */
static void no_descriptor_stays_open(void **state) {
    (void)state;
    int before = dup(STDIN_FILENO);
    close(before);
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        struct outcome outcome = {.stop_at = i % 2, .stop_with = -ECANCELED};
        read_file(&outcome, "file", formats[i].text, strlen(formats[i].text));
    }
    struct outcome outcome = {.count = 0};
    read_path(&outcome, "/");
    read_file(&outcome, "file", "", 0);
    int after = dup(STDIN_FILENO);
    close(after);
    assert_int_equal(after, before);
}

/* The C library knows all its streams, so that leak checkers find them in use. */
static void no_stream_stays_open(void **state) {
    (void)state;
    size_t used[3];
    for (size_t round = 0; round < ARRAY_LENGTH(used); round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
            struct outcome outcome = {.stop_at = i % 2, .stop_with = -ECANCELED};
            read_file(&outcome, "file", formats[i].text, strlen(formats[i].text));
        }
        used[round] = mallinfo2().uordblks;
    }
    if (used[0] == 0) {
        print_message("mallinfo2 counts nothing here\n");
        skip();
    }
    assert_int_equal(used[2], used[1]);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static struct histogram spread(unsigned count, uint64_t step) {
    struct histogram histogram;
    assert_int_equal(histogram_open(&histogram, &histogram_standard), 0);
    for (unsigned i = 1; i <= count; i++)
        assert_int_equal(histogram_record(&histogram, i * step, 1), 0);
    return histogram;
}

struct kept {
    unsigned count;
    struct histogram_entry entries[2];
    char tags[2][16];
};

static int keep(struct histogram_entry *entry, void *data) {
    struct kept *kept = data;
    assert_true(kept->count < 2);
    snprintf(kept->tags[kept->count], sizeof kept->tags[0], "%s", entry->tag ? entry->tag : "null");
    kept->entries[kept->count++] = *entry;
    entry->histogram = (struct histogram){.counts = NULL};
    return 0;
}

static void json_comes_back_equal(void **state) {
    (void)state;
    struct histogram_entry written[] = {
        {.tag = "µs",
         .timed = true,
         .start_s = 1700000000.125,
         .length_s = 0.1,
         .exact = false,
         .histogram = spread(2000, 1000)},
        {.exact = true, .histogram = eight()},
    };
    /* A file does not hold the exact maximum. */
    written[0].histogram.max = histogram_highest_equivalent(
        &histogram_standard, histogram_index(&histogram_standard, 2000000));
    json_t *root = histogram_json_new("ns");
    for (size_t i = 0; i < ARRAY_LENGTH(written); i++)
        assert_int_equal(histogram_json_append(root, &written[i]), 0);
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);

    struct kept kept = {.count = 0};
    put_file("json", text, strlen(text));
    const struct histogram_file_options options = {.table_unit = 1};
    struct error error = {""};
    assert_int_equal(histogram_file_read("json", &options, keep, &kept, NULL, &error), 0);
    unlink("json");
    free(text);
    assert_int_equal(kept.count, ARRAY_LENGTH(written));
    for (size_t i = 0; i < ARRAY_LENGTH(written); i++) {
        struct histogram_entry *got = &kept.entries[i], *wanted = &written[i];
        assert_string_equal(kept.tags[i], wanted->tag ? wanted->tag : "null");
        assert_int_equal(got->timed, wanted->timed);
        assert_int_equal(got->exact, wanted->exact);
        assert_true(got->start_s == wanted->start_s && got->length_s == wanted->length_s);
        assert_true(histogram_equal(&got->histogram, &wanted->histogram));
        histogram_close(&got->histogram);
        histogram_close(&wanted->histogram);
    }
}

static int count_entries(struct histogram_entry *entry, void *data) {
    *(uint64_t *)data += entry->histogram.total;
    return 0;
}

static void json_text_is_read_without_a_file(void **state) {
    (void)state;
    static const char none[] = "{\"schema\": 1, \"histograms\": []}";
    uint64_t total = 0;
    assert_int_equal(histogram_json_read(JSON, strlen(JSON), "text", count_entries, &total, NULL),
                     0);
    assert_int_equal(total, 8);
    assert_int_equal(histogram_json_read(none, strlen(none), "text", count_entries, &total, NULL),
                     0);
    assert_int_equal(total, 8);
}

/* Every key, by name, against what the histogram itself answers. */
static void json_says_what_is_in_it(void **state) {
    (void)state;
    static const double levels[] = {0.5, 0.9, 0.95, 0.99, 0.999, 0.9999};
    struct histogram_entry entry = {.exact = true, .histogram = spread(2000, 1000)};
    json_t *root = histogram_json_new("ns");
    assert_int_equal(histogram_json_append(root, &entry), 0);
    const char *unit, *base64;
    int schema, exact, digits;
    json_int_t lowest, highest, count, min, max;
    double mean, stddev;
    json_t *tag, *start, *length, *list;
    assert_int_equal(
        json_unpack(root,
                    "{s:i, s:s, s:[{s:o, s:o, s:o, s:b, s:I, s:I, s:i, s:I, s:I, s:f, s:f, s:I,"
                    " s:o, s:s !}] !}",
                    "schema", &schema, "unit", &unit, "histograms", "tag", &tag, "start_s", &start,
                    "length_s", &length, "exact", &exact, "lowest", &lowest, "highest", &highest,
                    "digits", &digits, "count", &count, "min", &min, "mean", &mean, "stddev",
                    &stddev, "max", &max, "quantiles", &list, "histogram", &base64),
        0);
    assert_int_equal(schema, 1);
    assert_string_equal(unit, "ns");
    assert_true(json_is_null(tag) && json_is_null(start) && json_is_null(length) && exact);
    assert_true(lowest == 1 && highest == 4398046511103 && digits == 3);
    assert_true(count == 2000 && min == 1000 && max == 2000000);
    assert_true(mean == histogram_mean(&entry.histogram));
    assert_true(stddev == histogram_stddev(&entry.histogram));
    assert_int_equal(strncmp(base64, "HISTFA", 6), 0);
    assert_int_equal(json_array_size(list), ARRAY_LENGTH(levels));
    for (size_t i = 0; i < ARRAY_LENGTH(levels); i++) {
        double quantile;
        json_int_t value;
        int valid;
        json_t *low, *high;
        assert_int_equal(json_unpack(json_array_get(list, i), "{s:f, s:I, s:o, s:o, s:b !}",
                                     "quantile", &quantile, "value", &value, "low", &low, "high",
                                     &high, "valid", &valid),
                         0);
        uint64_t wanted_low, wanted_high;
        bool bounded = histogram_quantile_interval(&entry.histogram, levels[i], 0.95, &wanted_low,
                                                   &wanted_high);
        assert_int_equal(bounded, levels[i] < 0.999); /* of 2000 samples: so both are tested */
        assert_true(quantile == levels[i]);
        assert_int_equal(value, histogram_quantile(&entry.histogram, levels[i]));
        assert_int_equal(valid, levels[i] < 0.999);
        assert_int_equal(json_is_null(low), !bounded);
        assert_int_equal(json_is_null(high), !bounded);
        if (bounded) {
            assert_int_equal(json_integer_value(low), wanted_low);
            assert_int_equal(json_integer_value(high), wanted_high);
        }
    }
    json_decref(root);
    histogram_close(&entry.histogram);
}

static void json_takes_tags_and_values_of_any_kind(void **state) {
    (void)state;
    struct histogram_entry entry = {.tag = "\xB5s", .exact = true, .histogram = spread(1, 1)};
    assert_int_equal(histogram_record(&entry.histogram, UINT64_MAX, 1), 0);
    json_t *root = histogram_json_new("ns");
    assert_int_equal(histogram_json_append(root, &entry), 0);
    json_t *json = json_array_get(json_object_get(root, "histograms"), 0);
    assert_string_equal(json_string_value(json_object_get(json, "tag")), "?s");
    assert_true(json_integer_value(json_object_get(json, "max")) == INT64_MAX);
    json_decref(root);
    histogram_close(&entry.histogram);
}

static int make_directory(void **state) {
    static char directory[] = "/tmp/test_histogram_file.XXXXXX";
    *state = directory;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int remove_directory(void **state) {
    return chdir("/") == 0 && rmdir(*state) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_told_by_its_content),
        cmocka_unit_test(names_tell_nothing),
        cmocka_unit_test(bytes_are_read),
        cmocka_unit_test(table_values_are_multiplied),
        cmocka_unit_test(text_before_a_table_may_be_long),
        cmocka_unit_test(a_log_is_not_read_whole),
        cmocka_unit_test(content_that_is_refused),
        cmocka_unit_test(json_entries_that_are_refused),
        cmocka_unit_test(compressed_files_are_refused),
        cmocka_unit_test(binary_files_are_refused),
        cmocka_unit_test(bytes_that_are_refused),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(files_that_may_not_be_read),
        cmocka_unit_test(reads_that_fail_later_are_told),
        cmocka_unit_test(last_lines_that_are_cut_are_told),
        cmocka_unit_test(bad_lines_are_skipped_and_counted),
        cmocka_unit_test(only_bad_lines_are_no_histogram),
        cmocka_unit_test(visit_ends_the_reading),
        cmocka_unit_test(histograms_can_be_taken_over),
        cmocka_unit_test(no_descriptor_stays_open),
        cmocka_unit_test(no_stream_stays_open),
        cmocka_unit_test(json_comes_back_equal),
        cmocka_unit_test(json_text_is_read_without_a_file),
        cmocka_unit_test(json_says_what_is_in_it),
        cmocka_unit_test(json_takes_tags_and_values_of_any_kind),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
