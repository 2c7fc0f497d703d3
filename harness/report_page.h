/* report_page.h: the page a report is written on: lines and tables that are Markdown in a file and
 * plain columns on a terminal. */
#ifndef LOOPMARK_REPORT_PAGE_H
#define LOOPMARK_REPORT_PAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "harness/summary.h"
#include "harness/units.h"

/* One text for both readers: the same lines, laid out as Markdown or for a terminal. */
struct page {
    FILE *file;
    bool markdown, colour;
    const struct summary *summary;
};

/* Before and after what is to stand out. */
const char *page_bold(const struct page *page);
const char *page_plain(const struct page *page);

/* Of UTF-8: how many columns a text takes, where each character takes one. */
int page_columns(const char *text);

struct page_column {
    const char *title;
    int width; /* on a terminal */
    bool right;
};

void page_put_head(const struct page *page, const struct page_column *head, size_t count);
void page_put_cell(const struct page *page, const char *text, int width, bool right);
void page_end_row(const struct page *page);

/* One line of Markdown after its bullet, or lines that a terminal has room for. */
void page_put_line(const struct page *page, const char *bullet, int indent, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum { PAGE_NUMBER_BYTES = 160 };

/* Three digits, as many as an interval between repetitions deserves. */
void page_short_number(double value, char text[UNITS_TEXT_BYTES]);

/* "84,200 (82,100 to 86,000)"; without the interval where there are too few repetitions for one. */
void page_with_interval(double value, double low, double high, bool bounded,
                        char text[PAGE_NUMBER_BYTES]);

#endif
