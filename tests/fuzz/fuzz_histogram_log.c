/* Any bytes as a histogram log: each line is refused with its number or read; what was read can be
 * written, and then reads and writes the same. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/histogram_log.h"
#include "loops/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "fuzz"
#define SIZE_MOST 1024           /* some lines of each kind; more only takes longer */
#define REWRITTEN_COUNTERS 50000 /* larger ones take too long: there is one check for all */

static struct histogram_log_reader *open_reader(FILE *stream) {
    struct histogram_log_reader *reader;
    CHECK(histogram_log_reader_open(stream, NAME, &reader) == 0);
    return reader;
}

/* One interval as text, to be freed; null where the writer refuses it. */
static char *write_entry(const struct histogram_log_entry *entry, size_t *size) {
    char *text;
    FILE *stream = open_memstream(&text, size);
    CHECK(stream);
    bool writable = (entry->tag == NULL || histogram_log_tag_valid(entry->tag)) &&
                    entry->start_s >= 0 && entry->length_s >= 0;
    int err = histogram_log_write(stream, entry->tag, entry->start_s, entry->length_s,
                                  &entry->histogram, 1e6);
    CHECK(fclose(stream) == 0);
    CHECK(err == (writable ? 0 : -EINVAL));
    if (writable)
        return text;
    free(text);
    return NULL;
}

/* Printing rounds to milliseconds. */
static bool near(double a, double b) {
    return fabs(a - b) <= 0.000501 + fabs(a) * 1e-12;
}

static void check_rewritten(const struct histogram_log_entry *entry) {
    size_t size, size_again;
    char *text = write_entry(entry, &size);
    if (text == NULL)
        return;
    FILE *stream = fmemopen(text, size, "r");
    CHECK(stream);
    struct histogram_log_reader *reader = open_reader(stream);
    struct histogram_log_entry again;
    CHECK(histogram_log_read(reader, &again, NULL) == 1);
    CHECK((again.tag == NULL) == (entry->tag == NULL));
    CHECK(again.tag == NULL || strcmp(again.tag, entry->tag) == 0);
    CHECK(near(again.start_s, entry->start_s) && near(again.length_s, entry->length_s));
    CHECK(histogram_equal(&again.histogram, &entry->histogram));
    char *text_again = write_entry(&again, &size_again);
    CHECK(size_again == size && memcmp(text, text_again, size) == 0);
    histogram_close(&again.histogram);
    CHECK(histogram_log_read(reader, &again, NULL) == 0);
    CHECK(histogram_log_reader_truncated(reader) == 0);
    histogram_log_reader_close(reader);
    fclose(stream);
    free(text_again);
    free(text);
}

static void check_entry(const struct histogram_log_entry *entry, bool rewrite) {
    CHECK(isfinite(entry->start_s) && isfinite(entry->since_epoch_s));
    CHECK(isfinite(entry->length_s) && entry->length_s >= 0);
    CHECK(entry->tag == NULL || (entry->tag[0] && strpbrk(entry->tag, " ,\n\r\t") == NULL));
    if (rewrite && entry->histogram.layout.counters <= REWRITTEN_COUNTERS)
        check_rewritten(entry);
}

/* The number behind "fuzz:"; words have to follow it. */
static unsigned long line_of(const struct error *error) {
    CHECK(strncmp(error->text, NAME ":", strlen(NAME ":")) == 0);
    char *end;
    unsigned long line = strtoul(error->text + strlen(NAME ":"), &end, 10);
    CHECK(strncmp(end, ": ", 2) == 0 && end[2] != '\0');
    for (; *end; end++)
        CHECK((unsigned char)*end >= ' ');
    return line;
}

static unsigned long count_lines(const uint8_t *data, size_t size) {
    unsigned long lines = data[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > SIZE_MOST)
        return 0;
    FILE *stream = fmemopen((void *)(uintptr_t)data, size, "r");
    CHECK(stream);
    struct histogram_log_reader *reader = open_reader(stream);
    unsigned long lines = count_lines(data, size), last = 0;
    struct histogram_log_entry entry;
    struct error error = {""};
    int result;
    while ((result = histogram_log_read(reader, &entry, &error)) != 0) {
        CHECK(result == 1 || result == -EINVAL);
        unsigned long line = result == 1 ? entry.line : line_of(&error);
        CHECK(line > last && line <= lines);
        last = line;
        if (result != 1)
            continue;
        check_entry(&entry, size % 8 == 0); /* compressing takes far longer than reading */
        histogram_close(&entry.histogram);
    }
    unsigned long truncated = histogram_log_reader_truncated(reader);
    CHECK(truncated == 0 || (truncated == lines && last < lines && data[size - 1] != '\n'));
    CHECK(histogram_log_read(reader, &entry, &error) == 0);
    histogram_log_reader_close(reader);
    fclose(stream);
    return 0;
}
