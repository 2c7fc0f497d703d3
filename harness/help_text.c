/* help_text.c: see help_text.h. */
#include "harness/help_text.h"

#include <string.h>

static const char usage_head[] = "usage: ";

/* Rows begin left of this column, continued ones do not. */
enum { MORE_COLUMN = 8 };

static struct span span_between(const char *from, const char *to) {
    return (struct span){from, (int)(to - from)};
}

static bool span_equals(struct span a, struct span b) {
    return a.length == b.length && memcmp(a.text, b.text, (size_t)a.length) == 0;
}

static bool span_is(struct span span, const char *text) {
    return span_equals(span, (struct span){text, (int)strlen(text)});
}

/* ---- options --------------------------------------------------------------------------------- */

/* Where the word ends: in quotes it may have blanks. */
static const char *word_end(const char *word, const char *end) {
    if (*word == '\'') {
        const char *quote = memchr(word + 1, '\'', (size_t)(end - word) - 1);
        return quote ? quote + 1 : end;
    }
    while (word < end && *word != ' ')
        word++;
    return word;
}

static const char *without_comma(const char *from, const char *to) {
    return to > from && to[-1] == ',' ? to - 1 : to;
}

bool help_next_option(struct span *term, struct help_option *option) {
    const char *at = term->text, *end = at + term->length;
    if (at < end && *at == ',')
        at++;
    while (at < end && *at == ' ')
        at++;
    if (at == end || *at != '-')
        return false;
    const char *name_end = without_comma(at, word_end(at, end));
    option->name = span_between(at, name_end);
    option->takes = span_between(name_end, name_end);
    at = name_end;
    if (end - at > 1 && at[0] == ' ' && !strchr(" -[", at[1])) {
        const char *takes_end = without_comma(at + 1, word_end(at + 1, end));
        option->takes = span_between(at + 1, takes_end);
        at = takes_end;
    }
    *term = span_between(at, end);
    return true;
}

/* The option may stand in brackets, and what it takes within them. */
bool help_next_usage_option(struct span *usage, struct help_option *option) {
    const char *end = usage->text + usage->length;
    const char *dashes = memmem(usage->text, (size_t)usage->length, "--", 2);
    if (!dashes)
        return false;
    *usage = span_between(dashes, end);
    help_next_option(usage, option);
    struct span *last = option->takes.length > 0 ? &option->takes : &option->name;
    if (option->name.text[option->name.length - 1] == ']') {
        last = &option->name;
        option->takes.length = 0;
    }
    if (last->text[last->length - 1] == ']')
        last->length--;
    return true;
}

/* -c, --connections N: both take N. */
static bool find_in_row(struct span term, struct span name, struct help_option *found) {
    struct help_option next;
    bool is_found = false;
    while (help_next_option(&term, &next)) {
        if (is_found && found->takes.length == 0)
            found->takes = next.takes;
        if (!is_found && span_equals(next.name, name)) {
            *found = next;
            is_found = true;
        }
    }
    return is_found;
}

bool help_find_option(const char *help, struct span name, struct help_option *found) {
    struct help_line line = {.kind = HELP_BLANK};
    for (const char *rest = help; help_next_line(&rest, &line);)
        if (line.kind == HELP_ROW && find_in_row(line.term, name, found))
            return true;
    line.kind = HELP_BLANK;
    for (const char *rest = help; help_next_line(&rest, &line);)
        while (line.kind == HELP_USAGE && help_next_usage_option(&line.text, found))
            if (span_equals(found->name, name))
                return true;
    return false;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* The end of the options that a row begins with. */
static const char *options_end(struct span row) {
    struct help_option option;
    struct span rest = row;
    while (help_next_option(&rest, &option))
        if (rest.length == 0 || *rest.text != ',')
            break;
    return rest.text;
}

static const char *remark_start(struct span text) {
    const char *blanks = memmem(text.text, (size_t)text.length, "  ", 2);
    return blanks ? blanks : text.text + text.length;
}

static void split_row(struct help_line *line) {
    struct span row = line->text;
    const char *end = row.text + row.length;
    const char *term_end = *row.text == '-' ? options_end(row) : remark_start(row);
    const char *text = term_end;
    while (text < end && *text == ' ')
        text++;
    line->term = span_between(row.text, term_end);
    line->text = span_between(text, end);
}

/* In which block the line above has left us counts before how the line looks. */
static enum help_line_kind kind_of(enum help_line_kind above, struct span text, int column) {
    if (text.length == 0)
        return HELP_BLANK;
    if (above == HELP_USAGE)
        return HELP_USAGE;
    if (above == HELP_EXAMPLES_HEAD || above == HELP_EXAMPLE)
        return HELP_EXAMPLE;
    if (column >= MORE_COLUMN)
        return HELP_MORE;
    if (column > 0)
        return HELP_ROW;
    if (span_is(text, "examples:") || span_is(text, "example:"))
        return HELP_EXAMPLES_HEAD;
    return strncmp(text.text, usage_head, sizeof usage_head - 1) == 0 ? HELP_USAGE : HELP_TEXT;
}

bool help_next_line(const char **help, struct help_line *line) {
    const char *start = *help, *end = strchrnul(start, '\n');
    if (!*start)
        return false;
    *help = *end ? end + 1 : end;
    const char *text = start + strspn(start, " ");
    enum help_line_kind kind = kind_of(line->kind, span_between(text, end), (int)(text - start));
    if (kind == HELP_USAGE && strncmp(text, usage_head, sizeof usage_head - 1) == 0)
        text += sizeof usage_head - 1;
    *line = (struct help_line){.kind = kind, .text = span_between(text, end)};
    if (kind == HELP_USAGE)
        line->text = span_between(text, remark_start(line->text));
    if (kind == HELP_ROW)
        split_row(line);
    return true;
}
