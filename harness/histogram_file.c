/* histogram_file.c: see histogram_file.h. */
#include "harness/histogram_file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/histogram_codec.h"
#include "harness/histogram_json.h"
#include "harness/histogram_log.h"
#include "harness/percentile_table.h"
#include "loops/check.h"

#define HEAD_BYTES ((size_t)64 << 10) /* what is looked at to tell the format */
#define WHOLE_MIB_MOST 256            /* of formats that are read whole; bytes need 72 at most */
#define WHOLE_BYTES_MOST ((size_t)WHOLE_MIB_MOST << 20)

/* One file being read: `head` first, then what `fd` still holds, since a pipe cannot be rewound. */
struct reading {
    const char *name;
    int fd;
    int read_err; /* negative errno of a failed read; 0: none failed */
    char *head;
    size_t head_length, head_at;

    const struct histogram_file_options *options;
    int (*visit)(struct histogram_entry *entry, void *data);
    void *data;
    struct histogram_file_notes *notes;
    struct error *error;
    unsigned long entries;
    unsigned tables;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static ssize_t read_some(void *cookie, char *bytes, size_t size) {
    struct reading *reading = cookie;
    size_t left = reading->head_length - reading->head_at;
    if (left > 0) {
        size_t taken = left < size ? left : size;
        memcpy(bytes, reading->head + reading->head_at, taken);
        reading->head_at += taken;
        return (ssize_t)taken;
    }
    ssize_t got;
    do
        got = read(reading->fd, bytes, size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        reading->read_err = -errno;
    return got;
}

/* As much as there is, up to `size`: a pipe gives it in pieces. */
static int read_up_to(struct reading *reading, char *bytes, size_t size, size_t *length) {
    ssize_t got = 1;
    for (*length = 0; *length < size && got > 0; *length += (size_t)(got > 0 ? got : 0))
        got = read_some(reading, bytes + *length, size - *length);
    return got < 0 ? reading->read_err : 0;
}

static int no_memory(struct reading *reading) {
    return error_set(reading->error, -ENOMEM, "%s: out of memory", reading->name);
}

/* The caller frees `*text`, also behind an error. */
static int read_whole(struct reading *reading, char **text, size_t *length) {
    *text = NULL;
    *length = 0;
    for (size_t room = HEAD_BYTES; *length <= WHOLE_BYTES_MOST; room *= 2) {
        if (room > WHOLE_BYTES_MOST)
            room = WHOLE_BYTES_MOST + 1; /* enough to see that there is more */
        char *larger = realloc(*text, room);
        if (larger == NULL)
            return no_memory(reading);
        *text = larger;
        size_t got;
        int err = read_up_to(reading, *text + *length, room - *length, &got);
        *length += got;
        if (err < 0 || *length < room)
            return err;
    }
    return error_set(reading->error, -EFBIG,
                     "%s: longer than %d MiB, as only logs and percentile tables may be",
                     reading->name, WHOLE_MIB_MOST);
}

/* To be closed; for the formats that are read line by line. */
static FILE *stream_of(struct reading *reading) {
    return fopencookie(reading, "r", (cookie_io_functions_t){.read = read_some});
}

/* ---- entries --------------------------------------------------------------------------------- */

static int pass_on(struct reading *reading, struct histogram_entry *entry) {
    reading->entries++;
    int result = reading->visit(entry, reading->data);
    histogram_close(&entry->histogram);
    return result < 0 ? result : 0;
}

/* Of a line or table that is bad; `bad` says where and why. */
static int pass_over(struct reading *reading, const struct error *bad) {
    if (!reading->options->skip_bad)
        return error_set(reading->error, -EINVAL, "%s", bad->text);
    if (reading->notes->bad_lines++ == 0)
        reading->notes->first_bad = *bad;
    return 0;
}

/* ---- logs ------------------------------------------------------------------------------------ */

static int read_intervals(struct reading *reading, struct histogram_log_reader *log) {
    for (;;) {
        struct histogram_log_entry interval;
        struct error bad = {""};
        int result = histogram_log_read(log, &interval, &bad);
        if (result == 0)
            return 0;
        if (result == -EINVAL)
            result = pass_over(reading, &bad);
        else if (result < 0)
            error_set(reading->error, result, "%s", bad.text);
        else
            result = pass_on(reading, &(struct histogram_entry){.tag = interval.tag,
                                                                .timed = true,
                                                                .start_s = interval.since_epoch_s,
                                                                .length_s = interval.length_s,
                                                                .exact = true,
                                                                .unit = interval.unit,
                                                                .line = interval.line,
                                                                .histogram = interval.histogram});
        if (result < 0)
            return result;
    }
}

static int read_log(struct reading *reading) {
    struct histogram_log_reader *log;
    FILE *stream = stream_of(reading);
    if (stream == NULL)
        return no_memory(reading);
    int err = histogram_log_reader_open(stream, reading->name, &log);
    if (err == 0) {
        err = read_intervals(reading, log);
        reading->notes->truncated_line = histogram_log_reader_truncated(log);
        histogram_log_reader_close(log);
    } else {
        no_memory(reading);
    }
    fclose(stream);
    return err;
}

/* ---- percentile tables ----------------------------------------------------------------------- */

static int pass_on_table(struct reading *reading, const struct percentile_table *table) {
    struct histogram_entry entry = {
        .line = table->line, .table = ++reading->tables, .cut_line = table->cut_line};
    struct error cause = {""}, bad;
    int err = percentile_table_to_histogram(table, reading->options->table_unit, &entry.histogram,
                                            &cause);
    if (err == -ENOMEM)
        return no_memory(reading);
    if (err < 0) {
        error_set(&bad, err, "%s:%lu: %s", reading->name, table->line, cause.text);
        return pass_over(reading, &bad);
    }
    if (reading->notes->truncated_line == 0)
        reading->notes->truncated_line = table->cut_line;
    return pass_on(reading, &entry);
}

static int read_tables(struct reading *reading) {
    FILE *stream = stream_of(reading);
    if (stream == NULL)
        return no_memory(reading);
    unsigned long line = 0;
    int err = 0, found = 1;
    while (err == 0 && found != 0) {
        struct percentile_table table;
        struct error bad = {""};
        found = percentile_table_read(stream, reading->name, &line, &table, &bad);
        if (found == 1) {
            err = pass_on_table(reading, &table);
            free(table.rows);
        } else if (found == -EINVAL) {
            err = pass_over(reading, &bad);
        } else if (found < 0) {
            err = error_set(reading->error, found, "%s", bad.text);
        }
    }
    fclose(stream);
    return err;
}

/* ---- JSON, base64, bytes --------------------------------------------------------------------- */

static int visit_and_count(struct histogram_entry *entry, void *data) {
    return pass_on(data, entry);
}

static int read_json(struct reading *reading) {
    char *text;
    size_t length;
    int err = read_whole(reading, &text, &length);
    if (err == 0)
        err = histogram_json_read(text, length, reading->name, visit_and_count, reading,
                                  reading->error);
    free(text);
    return err;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static int read_base64_line(struct reading *reading, const char *text, size_t length,
                            unsigned long number, bool ended) {
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    for (; length > 0 && is_blank(*text); length--)
        text++;
    if (length == 0 || *text == '#')
        return 0;
    struct histogram_entry entry = {.exact = true, .line = number};
    struct error cause = {""}, bad;
    int err = histogram_decode_base64(text, length, &entry.histogram, &cause);
    if (err == 0)
        return pass_on(reading, &entry);
    if (err == -ENOMEM)
        return no_memory(reading);
    if (!ended) {
        reading->notes->truncated_line = number;
        return 0;
    }
    error_set(&bad, err, "%s:%lu: %s", reading->name, number, cause.text);
    return pass_over(reading, &bad);
}

static int read_base64(struct reading *reading) {
    char *text;
    size_t length;
    unsigned long number = 0;
    int err = read_whole(reading, &text, &length);
    for (size_t at = 0, next; err == 0 && at < length; at = next) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line_length = end ? (size_t)(end - text) - at : length - at;
        next = at + line_length + 1;
        err = read_base64_line(reading, text + at, line_length, ++number, end != NULL);
    }
    free(text);
    return err;
}

#define COOKIE_BYTES 4

static int refuse_bytes(struct reading *reading, const char *bytes, size_t size,
                        const struct error *cause) {
    bool several = size > COOKIE_BYTES &&
                   memmem(bytes + COOKIE_BYTES, size - COOKIE_BYTES, bytes, COOKIE_BYTES) != NULL;
    return error_set(reading->error, -EINVAL, "%s: %s%s", reading->name, cause->text,
                     several ? "; a file of V2 bytes holds one histogram: several go into a log, "
                               "or into base64 text, one a line"
                             : "");
}

static int read_bytes(struct reading *reading) {
    char *bytes;
    size_t size;
    struct histogram_entry entry = {.exact = true};
    struct error cause = {""};
    int err = read_whole(reading, &bytes, &size);
    if (err == 0) {
        err = histogram_decode((const uint8_t *)bytes, size, &entry.histogram, &cause);
        if (err == 0)
            err = pass_on(reading, &entry);
        else
            err = err == -ENOMEM ? no_memory(reading) : refuse_bytes(reading, bytes, size, &cause);
    }
    free(bytes);
    return err;
}

/* ---- which format it is ---------------------------------------------------------------------- */

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

enum format { LOG, TABLES, JSON, BASE64, BYTES };

static int (*const readers[])(struct reading *reading) = {
    [LOG] = read_log,       [TABLES] = read_tables, [JSON] = read_json,
    [BASE64] = read_base64, [BYTES] = read_bytes,
};

/* Known well enough to say what helps. */
static const struct {
    const char *start, *advice;
} refused[] = {
    {"\x1F\x8B", "gzip: decompress it first, zcat FILE | loopmark hist -"},
    {"BZh", "bzip2: decompress it first, bzcat FILE | loopmark hist -"},
    {"\xFD\x37zXZ", "xz: decompress it first, xzcat FILE | loopmark hist -"},
    {"\x28\xB5\x2F\xFD", "zstd: decompress it first, zstdcat FILE | loopmark hist -"},
    {"PK\x03\x04", "zip: unpack it first, unzip -p FILE | loopmark hist -"},
    {"\xFF\xFE", "UTF-16: convert it first, iconv -f UTF-16 -t UTF-8 FILE | loopmark hist -"},
    {"\xFE\xFF", "UTF-16: convert it first, iconv -f UTF-16 -t UTF-8 FILE | loopmark hist -"},
};

#define FORMATS                                                                                    \
    "a log (.hlog), a percentile table (.hgrm, CSV, wrk2's output), JSON (of loopmark hist "       \
    "--json), V2 base64 (HISTF..., one a line), or V2 bytes"

struct line {
    const char *text;
    size_t length;
};

static bool starts_with(const struct line *line, const char *start) {
    return line->length >= strlen(start) && memcmp(line->text, start, strlen(start)) == 0;
}

static bool starts_with_any(const struct line *line, const char *const *starts, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (starts_with(line, starts[i]))
            return true;
    return false;
}

static void skip_blanks(struct line *line) {
    for (; line->length > 0 && is_blank(*line->text); line->length--)
        line->text++;
}

/* The first bytes are a cookie; also of formats that are not read, which the decoder has words for.
 */
static bool is_bytes(const struct line *head) {
    static const char *const cookies[] = {"\x1C\x84\x93", "\x0C\x72\x12"};
    return starts_with_any(head, cookies, ARRAY_LENGTH(cookies));
}

/* A cookie again, as base64. */
static bool is_base64(const struct line *line) {
    static const char *const cookies[] = {"HISTF", "HISTE", "HISTA", "HISTB", "HISTC", "DHIST"};
    return starts_with_any(line, cookies, ARRAY_LENGTH(cookies));
}

/* Start and base time do not make a log: HistogramLogProcessor begins percentile tables with them.
 */
static bool is_log(struct line line) {
    static const char *const starts[] = {"#[Histogram log format", "\"StartTimestamp\"", "Tag="};
    if (starts_with_any(&line, starts, ARRAY_LENGTH(starts)))
        return true;
    const char *comma;
    while ((comma = memchr(line.text, ',', line.length)) != NULL && *line.text != '#') {
        line.length -= (size_t)(comma + 1 - line.text);
        line.text = comma + 1;
        skip_blanks(&line);
        if (is_base64(&line))
            return true;
    }
    return false;
}

/* The first line that only one format has decides. Tables may stand amid anything, so they are what
 * is left; but a file of comments alone is a log without intervals. */
static enum format format_of_text(struct line rest) {
    enum format left = LOG;
    for (bool first = true; rest.length > 0;) {
        const char *end = memchr(rest.text, '\n', rest.length);
        struct line line = {rest.text, end ? (size_t)(end - rest.text) : rest.length};
        size_t taken = line.length + (end != NULL);
        rest = (struct line){rest.text + taken, rest.length - taken};
        skip_blanks(&line);
        if (line.length == 0)
            continue;
        if (first && starts_with(&line, "{"))
            return JSON;
        if (is_base64(&line))
            return BASE64;
        if (is_log(line))
            return LOG;
        if (*line.text != '#')
            left = TABLES;
        first = false;
    }
    return left;
}

/* Passes over a byte order mark, which no reader needs. */
static int tell_format(struct reading *reading, enum format *format) {
    struct line head = {reading->head, reading->head_length};
    if (head.length == 0)
        return error_set(reading->error, -EINVAL, "%s: empty; it should be %s", reading->name,
                         FORMATS);
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        if (starts_with(&head, refused[i].start))
            return error_set(reading->error, -EINVAL, "%s: %s", reading->name, refused[i].advice);
    if (starts_with(&head, BYTE_ORDER_MARK)) {
        reading->head_at = strlen(BYTE_ORDER_MARK);
        head = (struct line){head.text + reading->head_at, head.length - reading->head_at};
    }
    *format = is_bytes(&head) ? BYTES : format_of_text(head);
    if (*format == TABLES && memchr(head.text, '\0', head.length))
        return error_set(reading->error, -EINVAL, "%s: no histogram file; it should be %s",
                         reading->name, FORMATS);
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* The caller closes `fd`, unless it is standard input. */
static int open_file(struct reading *reading, const char *path) {
    struct stat status;
    reading->fd = STDIN_FILENO;
    if (strcmp(path, "-") != 0)
        reading->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reading->fd < 0)
        return error_set(reading->error, -errno, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(reading->fd, &status) == 0 && S_ISDIR(status.st_mode))
        return error_set(reading->error, -EISDIR, "%s: a directory, not a file", reading->name);
    return 0;
}

/* Of a file that was read to its end. */
static int refuse_without_entry(struct reading *reading, enum format format) {
    const struct histogram_file_notes *notes = reading->notes;
    if (notes->bad_lines > 0)
        return error_set(reading->error, -EINVAL, "%s (no histogram in it but %lu bad)",
                         notes->first_bad.text, notes->bad_lines);
    if (notes->truncated_line > 0)
        return error_set(reading->error, -EINVAL,
                         "%s:%lu: the line is cut off, and there is no other histogram",
                         reading->name, notes->truncated_line);
    if (format == TABLES)
        return error_set(reading->error, -EINVAL, "%s: no histogram file; it should be %s",
                         reading->name, FORMATS);
    return error_set(reading->error, -EINVAL, "%s: no histogram in it", reading->name);
}

static int read_file(struct reading *reading) {
    reading->head = malloc(HEAD_BYTES);
    if (reading->head == NULL)
        return no_memory(reading);
    enum format format;
    size_t length; /* of the head only when it is filled: from then on it is read again */
    int err = read_up_to(reading, reading->head, HEAD_BYTES, &length);
    reading->head_length = length;
    if (err == 0)
        err = tell_format(reading, &format);
    if (err == 0)
        err = readers[format](reading);
    if (err == 0 && reading->entries == 0)
        err = refuse_without_entry(reading, format);
    if (err < 0 && reading->read_err < 0) /* words with the cause, from all readers */
        err = error_set(reading->error, reading->read_err, "%s: cannot read: %s", reading->name,
                        strerror(-reading->read_err));
    free(reading->head);
    return err;
}

int histogram_file_read(const char *path, const struct histogram_file_options *options,
                        int (*visit)(struct histogram_entry *entry, void *data), void *data,
                        struct histogram_file_notes *notes, struct error *error) {
    CHECK(options->table_unit > 0 && isfinite(options->table_unit));
    struct histogram_file_notes unread;
    struct reading reading = {.name = strcmp(path, "-") == 0 ? "standard input" : path,
                              .options = options,
                              .visit = visit,
                              .data = data,
                              .notes = notes ? notes : &unread,
                              .error = error};
    *reading.notes = (struct histogram_file_notes){0};
    int err = open_file(&reading, path);
    if (err == 0)
        err = read_file(&reading);
    if (reading.fd >= 0 && strcmp(path, "-") != 0)
        close(reading.fd);
    return err;
}
