/* report_page.c: see report_page.h. */
#include "harness/report_page.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

enum { LINE_WIDTH = 100 };

const char *page_bold(const struct page *page) {
    return page->markdown ? "**" : page->colour ? "\033[1m" : "";
}

const char *page_plain(const struct page *page) {
    return page->markdown ? "**" : page->colour ? "\033[0m" : "";
}

/* Of UTF-8: how many page_columns a text takes, where each character takes one. */
int page_columns(const char *text) {
    int count = 0;
    for (; *text; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

void page_put_cell(const struct page *page, const char *text, int width, bool right) {
    int pad = width > page_columns(text) ? width - page_columns(text) : 0;
    if (!page->markdown) {
        fprintf(page->file, "%*s%s%*s", right ? pad : 0, "", text, right ? 1 : pad + 1, "");
        return;
    }
    fputs("| ", page->file);
    for (; *text; text++) {
        if (*text == '|')
            putc('\\', page->file); /* or it would begin another cell */
        putc(*text, page->file);
    }
    putc(' ', page->file);
}

void page_end_row(const struct page *page) {
    fputs(page->markdown ? "|\n" : "\n", page->file);
}

void page_put_head(const struct page *page, const struct page_column *head, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *title = head[i].title;
        page_put_cell(page, page->markdown ? title + strspn(title, " ") : title, head[i].width,
                      head[i].right);
    }
    page_end_row(page);
    if (!page->markdown)
        return;
    for (size_t i = 0; i < count; i++)
        fputs(head[i].right ? "|---:" : "|---", page->file);
    fputs("|\n", page->file);
}

/* Breaks a line between words for a terminal, indented further after the first. */
static void put_wrapped(FILE *file, char *text, int indent) {
    int column = 0;
    char *rest = text, *word;
    while ((word = strsep(&rest, " ")) != NULL) {
        if (column > 0 && column + 1 + page_columns(word) > LINE_WIDTH) {
            fprintf(file, "\n%*s", indent + 3, "");
            column = indent + 3;
        }
        fprintf(file, "%*s%s", column ? 1 : indent, "", word);
        column += (column ? 1 : indent) + page_columns(word);
    }
    fputs("\n", file);
}

void page_put_line(const struct page *page, const char *bullet, int indent, const char *format,
                   ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    CHECK(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    if (page->markdown)
        fprintf(page->file, "%s%s\n", bullet, text);
    else
        put_wrapped(page->file, text, indent);
    free(text);
}

/* ---- numbers with their intervals -------------------------------------------------------- */

void page_short_number(double value, char text[UNITS_TEXT_BYTES]) {
    if (!isfinite(value))
        snprintf(text, UNITS_TEXT_BYTES, "-");
    else if (fabs(value) >= 99.95)
        units_count(value, text);
    else
        snprintf(text, UNITS_TEXT_BYTES, "%.*f", fabs(value) >= 9.995 ? 1 : 2, value);
}

void page_with_interval(double value, double low, double high, bool bounded,
                        char text[PAGE_NUMBER_BYTES]) {
    char middle[UNITS_TEXT_BYTES], from[UNITS_TEXT_BYTES], to[UNITS_TEXT_BYTES];
    page_short_number(value, middle);
    page_short_number(low, from);
    page_short_number(high, to);
    if (bounded)
        snprintf(text, PAGE_NUMBER_BYTES, "%s (%s to %s)", middle, from, to);
    else
        snprintf(text, PAGE_NUMBER_BYTES, "%s", middle);
}
