/* histogram_log.c: see histogram_log.h. */
#include "histogram_log.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/histogram_codec.h"
#include "loops/check.h"

/* ---- tags ------------------------------------------------------------------------------------ */

/* What no reader can tell from the end of the tag. Bytes of UTF-8 are none of these. */
static bool tag_readable(const char *tag) {
    for (const char *c = tag; *c; c++)
        if (*c == ' ' || *c == ',' || iscntrl((unsigned char)*c))
            return false;
    return tag[0] != '\0';
}

bool histogram_log_tag_valid(const char *tag) {
    return tag_readable(tag) && strchr(tag, '"') == NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* HistogramLogAnalyzer takes line 1 for the generator's name and looks for the start time only from
 * line 2 on; the Java reader wants exactly this case and one space behind the colon. */
#define LOG_LOGGED_WITH "#[Logged with loopmark]\n"
#define LOG_VERSION "#[Histogram log format version 1.3]\n"
#define LOG_UNITS "# units: values %s, timestamps and lengths s, Interval_Max ms\n"
#define LOG_LEGEND                                                                                 \
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"

#define START_S_BELOW 253402300799.0 /* the end of 9999: dates have years of four digits */

/* Buffered output fails late, so only the flush can tell. `errno` was 0 before the first output. */
static int flush(FILE *stream) {
    if (!ferror(stream) && fflush(stream) == 0)
        return 0;
    return errno ? -errno : -EIO;
}

/* The space makes sure that no words are taken for "#[StartTime:" or the like. */
static void write_words(FILE *stream, const char *what) {
    fputs("# ", stream);
    for (; *what; what++)
        fputc(iscntrl((unsigned char)*what) ? ' ' : *what, stream);
    fputc('\n', stream);
}

int histogram_log_begin(FILE *stream, double start_s, const char *unit, const char *what) {
    if (!(start_s >= 0 && start_s < START_S_BELOW))
        return -EINVAL;
    /* One rounding for both, so that the date is that of the seconds as printed. */
    long long start_ms = llround(start_s * 1e3);
    time_t seconds = (time_t)(start_ms / 1000);
    struct tm utc;
    char date[32];
    CHECK(gmtime_r(&seconds, &utc) && strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc) > 0);
    double printed_s = (double)start_ms / 1e3;

    errno = 0;
    fputs(LOG_LOGGED_WITH LOG_VERSION, stream);
    if (what)
        write_words(stream, what);
    fprintf(stream, LOG_UNITS, unit);
    fprintf(stream, "#[StartTime: %.3f (seconds since epoch), %s.%03dZ]\n", printed_s, date,
            (int)(start_ms % 1000));
    fprintf(stream, "#[BaseTime: %.3f (seconds since epoch)]\n", printed_s);
    fputs(LOG_LEGEND, stream);
    return flush(stream);
}

/* Readers in JS drop what is negative, those in Go and Python know digits and points only. */
static bool time_writable(double seconds) {
    return isfinite(seconds) && seconds >= 0;
}

/* As the readers will see it: from the counters, without what only the recorder knew. */
static double max_in_file(const struct histogram *histogram) {
    if (histogram->total == 0)
        return 0;
    const struct histogram_layout *layout = &histogram->layout;
    uint32_t last = histogram_index(layout, histogram->max);
    return (double)histogram_highest_equivalent(layout, last);
}

int histogram_log_write(FILE *stream, const char *tag, double start_s, double length_s,
                        const struct histogram *histogram, double unit) {
    CHECK(unit > 0);
    if ((tag && !histogram_log_tag_valid(tag)) || !time_writable(start_s) ||
        !time_writable(length_s))
        return -EINVAL;
    if (ferror(stream))
        return -EIO; /* a line behind half a line would be lost with it */
    char *text;
    int err = histogram_encode_base64(histogram, &text);
    if (err < 0)
        return err;
    errno = 0;
    /* fabs: "-0.000" has a sign too. */
    fprintf(stream, "%s%s%s%.3f,%.3f,%.3f,%s\n", tag ? "Tag=" : "", tag ? tag : "", tag ? "," : "",
            fabs(start_s), fabs(length_s), max_in_file(histogram) / unit, text);
    err = flush(stream);
    free(text);
    return err;
}

/* ---- reading: lines -------------------------------------------------------------------------- */

#define LINE_MIB_MOST 16
#define LINE_BYTES_MOST ((size_t)LINE_MIB_MOST << 20) /* without the line feed */
#define LINE_BYTES_FIRST 256

enum { UNIT_BYTES = 8 };

struct stated_time {
    bool stated;
    double seconds;
};

struct histogram_log_reader {
    FILE *stream;
    char *name;
    char *line; /* without its end; a zero byte follows */
    size_t length, capacity;
    bool terminated; /* by a line feed */
    bool too_long;   /* and so not kept */
    unsigned long number, truncated;
    struct stated_time start, base; /* as the latest lines say */
    char unit[UNIT_BYTES];          /* empty: not stated */
};

int histogram_log_reader_open(FILE *stream, const char *name,
                              struct histogram_log_reader **reader) {
    struct histogram_log_reader *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return -ENOMEM;
    opened->stream = stream;
    opened->name = strdup(name);
    opened->capacity = LINE_BYTES_FIRST;
    opened->line = malloc(opened->capacity);
    if (opened->name == NULL || opened->line == NULL) {
        histogram_log_reader_close(opened);
        return -ENOMEM;
    }
    *reader = opened;
    return 0;
}

void histogram_log_reader_close(struct histogram_log_reader *reader) {
    if (reader == NULL)
        return;
    free(reader->line);
    free(reader->name);
    free(reader);
}

unsigned long histogram_log_reader_truncated(const struct histogram_log_reader *reader) {
    return reader->truncated;
}

static int append(struct histogram_log_reader *reader, char c) {
    if (reader->length == LINE_BYTES_MOST)
        reader->too_long = true; /* the rest is only passed over */
    if (reader->too_long)
        return 0;
    if (reader->length + 1 == reader->capacity) { /* one more for the zero byte */
        char *larger = realloc(reader->line, reader->capacity * 2);
        if (larger == NULL)
            return -ENOMEM;
        reader->line = larger;
        reader->capacity *= 2;
    }
    reader->line[reader->length++] = c;
    return 0;
}

static void strip_line(struct histogram_log_reader *reader) {
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    size_t mark = strlen(byte_order_mark);
    if (reader->length > 0 && reader->line[reader->length - 1] == '\r')
        reader->length--;
    if (reader->number == 1 && reader->length >= mark &&
        memcmp(reader->line, byte_order_mark, mark) == 0) {
        reader->length -= mark;
        memmove(reader->line, reader->line + mark, reader->length);
    }
    reader->line[reader->length] = '\0';
}

/* 1 with a line, 0 at the end of the file, or why the reading ends. */
static int next_line(struct histogram_log_reader *reader, struct error *error) {
    reader->length = 0;
    reader->too_long = false;
    int c, err = 0;
    errno = 0;
    while ((c = getc_unlocked(reader->stream)) != EOF && c != '\n' && err == 0)
        err = append(reader, (char)c);
    if (c == EOF && ferror(reader->stream))
        err = errno ? -errno : -EIO;
    if (err < 0)
        return error_set(error, err, "%s: cannot read: %s", reader->name, strerror(-err));
    if (c == EOF && reader->length == 0)
        return 0;
    reader->number++;
    reader->terminated = c == '\n';
    strip_line(reader);
    return 1;
}

/* ---- reading: what a line says --------------------------------------------------------------- */

#define INTERVAL_FORM "[Tag=TAG,]START,LENGTH,MAX,HISTOGRAM"

#define EXCERPT_BYTES 32

/* A part of the file for a message: short, and nothing in it that a terminal would obey. */
static const char *excerpt(const char *text, char shown[EXCERPT_BYTES]) {
    size_t length = strlen(text);
    bool cut = length >= EXCERPT_BYTES;
    size_t kept = cut ? EXCERPT_BYTES - 1 - strlen("...") : length;
    for (size_t i = 0; i < kept; i++)
        shown[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    snprintf(shown + kept, EXCERPT_BYTES - kept, "%s", cut ? "..." : "");
    return shown;
}

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* Digits, point, sign and exponent: strtod also takes hexadecimal numbers, names and spaces. Half
 * of the largest number at most, so that a sum of two is finite. */
static bool parse_seconds(const char *text, double *seconds) {
    if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
        return false;
    char *end;
    double parsed = strtod(text, &end);
    if (*end != '\0' || !(fabs(parsed) <= DBL_MAX / 2))
        return false;
    *seconds = parsed;
    return true;
}

/* "# units: values us, …", as we write it. */
static void read_unit(struct histogram_log_reader *reader) {
    static const char key[] = "# units: values ";
    if (strncmp(reader->line, key, sizeof key - 1) != 0)
        return;
    const char *unit = reader->line + sizeof key - 1;
    size_t length = strcspn(unit, ", ");
    if (length < sizeof reader->unit)
        snprintf(reader->unit, sizeof reader->unit, "%.*s", (int)length, unit);
}

/* Other comments are only for people. The case is left open because Go wrote "#[Basetime:". */
static int read_comment(struct histogram_log_reader *reader, struct error *error) {
    const struct {
        const char *key;
        struct stated_time *time;
    } times[] = {{"#[StartTime:", &reader->start}, {"#[BaseTime:", &reader->base}};
    read_unit(reader);
    for (size_t i = 0; i < ARRAY_LENGTH(times); i++) {
        size_t length = strlen(times[i].key);
        if (strncasecmp(reader->line, times[i].key, length) != 0)
            continue;
        char *number = reader->line + length;
        number += strspn(number, " ");
        char *end = number + strcspn(number, " ]");
        bool ended = *end != '\0'; /* else digits may be missing */
        *end = '\0';
        if (!ended || !parse_seconds(number, &times[i].time->seconds)) {
            char shown[EXCERPT_BYTES];
            return error_set(error, -EINVAL,
                             "the time \"%s\" should be like %s 1700000000.000 (seconds since "
                             "epoch)]",
                             excerpt(number, shown), times[i].key);
        }
        times[i].time->stated = true;
    }
    return 0;
}

/* Cuts the tag off the line. */
static int read_tag(char **text, const char **tag, struct error *error) {
    char shown[EXCERPT_BYTES];
    *tag = NULL;
    if (!starts_with(*text, "Tag="))
        return 0;
    char *found = *text + strlen("Tag=");
    char *comma = strchr(found, ',');
    if (comma == NULL)
        return error_set(error, -EINVAL, "no comma behind the tag \"%s\": it should be %s",
                         excerpt(found, shown), INTERVAL_FORM);
    *comma = '\0';
    if (!tag_readable(found))
        return error_set(error, -EINVAL,
                         "bad tag \"%s\": it is empty, or has a space or control character in it",
                         excerpt(found, shown));
    *text = comma + 1;
    *tag = found;
    return 0;
}

static int bad_seconds(const char *what, const char *text, struct error *error) {
    char shown[EXCERPT_BYTES];
    return error_set(error, -EINVAL, "the %s \"%s\" should be a number of seconds, like 12.345",
                     what, excerpt(text, shown));
}

/* The readers' rule. Without a base time starts count from 1970, unless that is a year or more
 * before the log's own start: then they are relative to it. */
static double since_epoch_s(const struct histogram_log_reader *reader, double start_s) {
    static const double year_s = 365 * 24 * 3600.0;
    if (reader->base.stated)
        return start_s + reader->base.seconds;
    if (reader->start.stated && start_s < reader->start.seconds - year_s)
        return start_s + reader->start.seconds;
    return start_s;
}

static int read_interval(struct histogram_log_reader *reader, struct histogram_log_entry *entry,
                         struct error *error) {
    enum { START, LENGTH, MAX, HISTOGRAM, FIELDS };
    struct histogram_log_entry read = {.line = reader->number};
    char *text = reader->line, *fields[FIELDS], *field;
    int err = read_tag(&text, &read.tag, error);
    if (err < 0)
        return err;
    size_t count = 0;
    for (; (field = strsep(&text, ",")) != NULL; count++)
        if (count < FIELDS)
            fields[count] = field;
    if (count != FIELDS)
        return error_set(error, -EINVAL, "an interval has %d fields, %s, and this line %zu%s",
                         FIELDS, INTERVAL_FORM, count,
                         count > FIELDS ? "; decimals need points, not commas" : "");
    if (!parse_seconds(fields[START], &read.start_s))
        return bad_seconds("start", fields[START], error);
    if (!parse_seconds(fields[LENGTH], &read.length_s) || read.length_s < 0)
        return bad_seconds("length", fields[LENGTH], error);
    err = histogram_decode_base64(fields[HISTOGRAM], strlen(fields[HISTOGRAM]), &read.histogram,
                                  error);
    if (err < 0)
        return err;
    read.since_epoch_s = since_epoch_s(reader, read.start_s);
    read.unit = reader->unit[0] ? reader->unit : NULL;
    *entry = read;
    return 0;
}

/* 1 with an interval, 0 for a line without one. */
static int read_line(struct histogram_log_reader *reader, struct histogram_log_entry *entry,
                     struct error *error) {
    const char *line = reader->line;
    if (reader->too_long)
        return error_set(error, -EINVAL, "the line is longer than %d MiB", LINE_MIB_MOST);
    if (memchr(line, '\0', reader->length))
        return error_set(error, -EINVAL, "a NUL byte: a log is text, in UTF-8 and not UTF-16");
    if (memchr(line, '\r', reader->length))
        return error_set(error, -EINVAL,
                         "a carriage return amid the line: lines end with LF or CR LF");
    if (line[0] == '#')
        return read_comment(reader, error);
    /* Whatever a legend calls the second column, all readers take it for a length. */
    if (line[strspn(line, " \t")] == '\0' || starts_with(line, "\"StartTimestamp\""))
        return 0;
    int err = read_interval(reader, entry, error);
    return err < 0 ? err : 1;
}

int histogram_log_read(struct histogram_log_reader *reader, struct histogram_log_entry *entry,
                       struct error *error) {
    int found;
    while ((found = next_line(reader, error)) == 1) {
        struct error cause = {""};
        int result = read_line(reader, entry, &cause);
        if (result > 0)
            return result;
        if (result == -EINVAL && !reader->terminated) {
            reader->truncated = reader->number;
            return 0;
        }
        if (result < 0)
            return error_set(error, result, "%s:%lu: %s", reader->name, reader->number, cause.text);
    }
    return found;
}
