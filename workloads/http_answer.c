/* http_answer.c: see http_answer.h. */
#include "http_answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loops/check.h"

void http_fill_body_block(uint8_t block[HTTP_BODY_BLOCK_BYTES]) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t state = 1;
    for (size_t i = 0; i < HTTP_BODY_BLOCK_BYTES; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        block[i] = (uint8_t)letters[state >> 58];
    }
}

void http_format_date(char date[HTTP_DATE_BYTES], int64_t seconds) {
    char text[HTTP_DATE_BYTES + 1];
    time_t time = (time_t)seconds;
    struct tm utc;
    CHECK(gmtime_r(&time, &utc));
    /* Names of days and months are English: nothing here sets a locale. */
    CHECK(strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc) == HTTP_DATE_BYTES);
    memcpy(date, text, HTTP_DATE_BYTES);
}

/* ---- heads --------------------------------------------------------------------------------------
 */

static const struct {
    int status;
    const char *line;
} status_lines[] = {
    {200, "HTTP/1.1 200 OK"},
    {400, "HTTP/1.1 400 Bad Request"},
    {403, "HTTP/1.1 403 Forbidden"},
    {404, "HTTP/1.1 404 Not Found"},
    {405, "HTTP/1.1 405 Method Not Allowed"},
    {408, "HTTP/1.1 408 Request Timeout"},
    {413, "HTTP/1.1 413 Content Too Large"},
    {414, "HTTP/1.1 414 URI Too Long"},
    {417, "HTTP/1.1 417 Expectation Failed"},
    {431, "HTTP/1.1 431 Request Header Fields Too Large"},
    {500, "HTTP/1.1 500 Internal Server Error"},
    {501, "HTTP/1.1 501 Not Implemented"},
    {503, "HTTP/1.1 503 Service Unavailable"},
    {504, "HTTP/1.1 504 Gateway Timeout"},
    {505, "HTTP/1.1 505 HTTP Version Not Supported"},
};

static const char *const connection_lines[] = {
    [CONNECTION_UNSAID] = "",
    [CONNECTION_CLOSE] = "\r\nConnection: close",
    [CONNECTION_KEEP_ALIVE] = "\r\nConnection: keep-alive",
};

static const char date_name[] = "\r\nDate: ";

static const char *status_line(int status) {
    size_t i = 0;
    while (status_lines[i].status != status) {
        i++;
        CHECK(i < ARRAY_LENGTH(status_lines));
    }
    return status_lines[i].line;
}

static char *put_bytes(char *to, const char *bytes, size_t n) {
    memcpy(to, bytes, n);
    return to + n;
}

static char *put(char *to, const char *text) {
    return put_bytes(to, text, strlen(text));
}

static char *put_number(char *to, uint64_t number) {
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

size_t http_format_head(char head[HTTP_HEAD_BYTES], const struct http_answer *answer,
                        const char date[HTTP_DATE_BYTES]) {
    char *to = put(head, status_line(answer->status));
    to = put_bytes(put(to, date_name), date, HTTP_DATE_BYTES);
    to = put(to, "\r\nContent-Type: text/plain\r\nContent-Length: ");
    to = put(put_number(to, answer->body_bytes), connection_lines[answer->connection]);
    if (answer->status == 405)
        to = put(put(to, "\r\nAllow: "), answer->allow ? answer->allow : "GET, HEAD, POST, PUT");
    if (answer->status == 503)
        to = put(to, "\r\nRetry-After: 1"); /* in seconds: RFC 9110 section 10.2.3 */
    to = put(to, "\r\n\r\n");
    CHECK(to - head <= HTTP_HEAD_BYTES);
    return (size_t)(to - head);
}

/* ---- pages --------------------------------------------------------------------------------------
 */

static void write_date(const struct http_pages *pages, struct http_page *page, int64_t now_s) {
    char date[HTTP_DATE_BYTES];
    size_t at = strlen(status_line(200)) + strlen(date_name);
    http_format_date(date, now_s);
    for (uint32_t i = 0; i < pages->copies; i++)
        memcpy(page->answers + i * pages->answer_bytes + at, date, sizeof date);
    page->date_s = now_s;
}

static struct http_page *new_page(const struct http_pages *pages) {
    struct http_page *page = malloc(sizeof *page + pages->copies * pages->answer_bytes);
    if (page)
        *page = (struct http_page){.date_s = INT64_MIN};
    return page;
}

int http_pages_open(struct http_pages *pages, uint64_t body_bytes, int64_t now_s,
                    const uint8_t block[HTTP_BODY_BLOCK_BYTES]) {
    char date[HTTP_DATE_BYTES], head[HTTP_HEAD_BYTES];
    struct http_answer answer = {.status = 200, .body_bytes = body_bytes};
    http_format_date(date, now_s);
    size_t head_bytes = http_format_head(head, &answer, date);
    bool fits = body_bytes <= HTTP_PAGE_BYTES - head_bytes;
    size_t answer_bytes = head_bytes + (fits ? (size_t)body_bytes : 0);
    *pages = (struct http_pages){.head_bytes = (uint32_t)head_bytes,
                                 .answer_bytes = answer_bytes,
                                 .copies = fits ? (uint32_t)(HTTP_PAGE_BYTES / answer_bytes) : 1};
    struct http_page *page = new_page(pages);
    if (!page)
        return -ENOMEM;
    for (uint32_t i = 0; i < pages->copies; i++) {
        uint8_t *to = page->answers + i * answer_bytes;
        memcpy(to, head, head_bytes);
        memcpy(to + head_bytes, block, answer_bytes - head_bytes);
    }
    page->date_s = now_s;
    pages->current = page;
    return 0;
}

void http_pages_close(struct http_pages *pages) {
    CHECK(pages->current->lent == 0);
    free(pages->current);
    while (pages->spare) {
        struct http_page *page = pages->spare;
        pages->spare = page->next;
        free(page);
    }
}

/* All pages have the same answers: only dates differ. */
static struct http_page *another_page(struct http_pages *pages) {
    struct http_page *page = pages->spare;
    if (page) {
        pages->spare = page->next;
        return page;
    }
    page = new_page(pages);
    if (page)
        memcpy(page->answers, pages->current->answers, pages->copies * pages->answer_bytes);
    return page;
}

void http_pages_renew(struct http_pages *pages, int64_t now_s) {
    if (pages->current->date_s == now_s)
        return;
    if (pages->current->lent > 0) {
        struct http_page *page = another_page(pages);
        if (!page)
            return;
        pages->current = page;
    }
    write_date(pages, pages->current, now_s);
}

void http_page_lend(struct http_page *page) {
    page->lent++;
}

void http_page_return(struct http_pages *pages, struct http_page *page) {
    CHECK(page->lent > 0);
    if (--page->lent == 0 && page != pages->current) {
        page->next = pages->spare;
        pages->spare = page;
    }
}
