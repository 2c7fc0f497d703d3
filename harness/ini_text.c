/* ini_text.c: see ini_text.h. */
#include "ini_text.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* inih cuts section names at this length without a word. */
enum { SECTION_BYTES = 50 };

/* What goes on between the line reader and the entry handler, which inih calls in turn. */
struct reading {
    struct ini_text *ini;
    const char *rest;
    int line;
    bool goes_on;          /* the line is indented below an entry */
    int section_line;      /* of the last header; 0: none yet */
    size_t section_begins; /* number of entries before it */
    struct error *error;
    int failure;
};

int ini_error(const struct ini_text *ini, int line, struct error *error, const char *format, ...) {
    struct error message;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message.text, sizeof message.text, format, arguments);
    va_end(arguments);
    return error_set(error, -EINVAL, "%.200s:%d: %s", ini->file, line, message.text);
}

int ini_locate(const struct ini_text *ini, int line, struct error *error) {
    if (!error)
        return -EINVAL;
    struct error message = *error;
    return ini_error(ini, line, error, "%s", message.text);
}

static int out_of_memory(struct reading *reading) {
    reading->failure = error_set(reading->error, -ENOMEM, "out of memory");
    return reading->failure;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static int end_section(struct reading *reading) {
    if (reading->section_line > 0 && reading->section_begins == reading->ini->count)
        return ini_error(reading->ini, reading->section_line, reading->error,
                         "the section has no entries");
    return 0;
}

static bool nothing_behind(const char *text) {
    size_t blanks = strspn(text, " \t\r\n");
    return text[blanks] == '\0' || (blanks > 0 && text[blanks] == ';');
}

static int begin_section(struct reading *reading, const char *line) {
    const char *end = strchr(line, ']');
    reading->failure = end_section(reading);
    if (reading->failure == 0 && (!end || !nothing_behind(end + 1)))
        reading->failure = ini_error(reading->ini, reading->line, reading->error,
                                     "expected [SECTION] alone on its line");
    if (reading->failure == 0 && end - line > SECTION_BYTES)
        reading->failure =
            ini_error(reading->ini, reading->line, reading->error,
                      "the section's name is longer than %d bytes", SECTION_BYTES - 1);
    reading->section_line = reading->line;
    reading->section_begins = reading->ini->count;
    return reading->failure;
}

/* inih would go on behind a line it cannot read, and later errors would hide this one. */
static int check_line(struct reading *reading, const char *line) {
    if (*line == '[')
        return begin_section(reading, line);
    if (!strchr(";#\r\n", *line) && !strpbrk(line, "=:"))
        reading->failure = ini_error(reading->ini, reading->line, reading->error,
                                     "expected [SECTION] or NAME = VALUE");
    return reading->failure;
}

/* inih's fgets: hands out the text line by line, and counts. */
static char *next_line(char *line, int size, void *user) {
    struct reading *reading = user;
    if (reading->failure || *reading->rest == '\0')
        return NULL;
    reading->line++;
    size_t length = strcspn(reading->rest, "\n");
    length += reading->rest[length] == '\n';
    if (strchr(";#", reading->rest[strspn(reading->rest, " \t")])) {
        reading->rest += length;
        return memcpy(line, "\n", 2); /* a comment may be as long as it likes */
    }
    if (length + 1 > (size_t)size) {
        reading->failure =
            ini_error(reading->ini, reading->line, reading->error,
                      "the line is longer than %d bytes; go on in an indented line", size - 2);
        return NULL;
    }
    memcpy(line, reading->rest, length);
    line[length] = '\0';
    reading->rest += length;

    size_t indent = strspn(line, " \t");
    reading->goes_on = indent > 0 && reading->ini->count > reading->section_begins;
    return !reading->goes_on && check_line(reading, line + indent) ? NULL : line;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* In continued lines inih leaves comments where they are. */
static int continue_value(struct reading *reading, struct ini_entry *entry, const char *value) {
    size_t length = 0;
    while (value[length] &&
           !(value[length] == ';' && length > 0 && strchr(" \t", value[length - 1])))
        length++;
    while (length > 0 && strchr(" \t", value[length - 1]))
        length--;
    size_t before = strlen(entry->value);
    char *longer = realloc(entry->value, before + length + 2);
    if (!longer)
        return out_of_memory(reading);
    longer[before] = ' ';
    memcpy(longer + before + 1, value, length);
    longer[before + 1 + length] = '\0';
    entry->value = longer;
    return 0;
}

static int check_new(struct reading *reading, const char *section, const char *name,
                     const char *value) {
    const struct ini_text *ini = reading->ini;
    if (ini->count == INI_ENTRIES_MOST)
        return ini_error(ini, reading->line, reading->error, "more than %d entries",
                         INI_ENTRIES_MOST);
    if (*value == '\0')
        return ini_error(ini, reading->line, reading->error, "%s has no value", name);
    for (size_t i = 0; i < ini->count; i++) {
        const struct ini_entry *entry = &ini->entries[i];
        if (strcmp(entry->section, section) != 0)
            continue;
        if (entry->section_line != reading->section_line)
            return ini_error(ini, reading->section_line, reading->error,
                             "[%s] is already on line %d", section, entry->section_line);
        if (strcmp(entry->name, name) == 0)
            return ini_error(ini, reading->line, reading->error, "%s is already on line %d", name,
                             entry->line);
    }
    return 0;
}

/* inih's handler: 1 to go on, 0 for an error. */
static int take_entry(void *user, const char *section, const char *name, const char *value) {
    struct reading *reading = user;
    struct ini_text *ini = reading->ini;
    if (reading->failure)
        return 0;
    if (reading->goes_on)
        return continue_value(reading, &ini->entries[ini->count - 1], value) == 0;
    reading->failure = check_new(reading, section, name, value);
    if (reading->failure)
        return 0;
    struct ini_entry entry = {.section = strdup(section),
                              .name = strdup(name),
                              .value = strdup(value),
                              .line = reading->line,
                              .section_line = reading->section_line};
    ini->entries[ini->count++] = entry;
    if (!entry.section || !entry.name || !entry.value)
        return out_of_memory(reading) == 0;
    return 1;
}

int ini_text_read(const char *file, const char *text, struct ini_text *out, struct error *error) {
    *out = (struct ini_text){.file = strdup(file),
                             .entries = calloc(INI_ENTRIES_MOST, sizeof(struct ini_entry))};
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    size_t mark = strncmp(text, byte_order_mark, 3) == 0 ? 3 : 0;
    struct reading reading = {.ini = out, .rest = text + mark, .error = error};
    if (!out->file || !out->entries)
        out_of_memory(&reading);
    int bad_line = ini_parse_stream(next_line, &reading, take_entry, &reading);
    if (reading.failure == 0 && bad_line != 0)
        reading.failure = ini_error(out, bad_line > 0 ? bad_line : 1, error,
                                    "expected [SECTION] or NAME = VALUE");
    if (reading.failure == 0)
        reading.failure = end_section(&reading);
    if (reading.failure)
        ini_text_free(out);
    return reading.failure;
}

void ini_text_free(struct ini_text *ini) {
    for (size_t i = 0; ini->entries && i < ini->count; i++) {
        free(ini->entries[i].section);
        free(ini->entries[i].name);
        free(ini->entries[i].value);
    }
    free(ini->entries);
    free(ini->file);
    *ini = (struct ini_text){0};
}
