/* test_http_answer.c: heads as HTTP wants them, dates, and pages that do not change while lent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loops/check.h"
#include "workloads/http_answer.h"

#define EXAMPLE "Sun, 06 Nov 1994 08:49:37 GMT"
#define EXAMPLE_S 784111777

static void dates_have_the_form_of_http(void **state) {
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } dates[] = {
        {EXAMPLE_S, EXAMPLE}, /* RFC 9110 section 5.6.7 */
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {4102444799, "Thu, 31 Dec 2099 23:59:59 GMT"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(dates); i++) {
        char date[HTTP_DATE_BYTES];
        http_format_date(date, dates[i].seconds);
        assert_memory_equal(date, dates[i].text, HTTP_DATE_BYTES);
    }
}

static void expect_head(struct http_answer answer, const char *expected) {
    char head[HTTP_HEAD_BYTES + 1];
    size_t n = http_format_head(head, &answer, EXAMPLE);
    head[n] = '\0';
    assert_string_equal(head, expected);
}

static void heads_are_complete(void **state) {
    (void)state;
    expect_head((struct http_answer){.status = 200, .body_bytes = 0},
                "HTTP/1.1 200 OK\r\nDate: " EXAMPLE "\r\n"
                "Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
    expect_head((struct http_answer){.status = 404,
                                     .body_bytes = 1234567890123,
                                     .connection = CONNECTION_KEEP_ALIVE},
                "HTTP/1.1 404 Not Found\r\nDate: " EXAMPLE "\r\n"
                "Content-Type: text/plain\r\nContent-Length: 1234567890123\r\n"
                "Connection: keep-alive\r\n\r\n");
    expect_head((struct http_answer){.status = 405, .connection = CONNECTION_CLOSE},
                "HTTP/1.1 405 Method Not Allowed\r\nDate: " EXAMPLE "\r\n"
                "Content-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n"
                "Allow: GET, HEAD, POST, PUT\r\n\r\n");
}

static void no_head_is_too_long(void **state) {
    (void)state;
    static const int statuses[] = {200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505};
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        char head[HTTP_HEAD_BYTES];
        struct http_answer answer = {
            .status = statuses[i], .body_bytes = UINT64_MAX, .connection = CONNECTION_KEEP_ALIVE};
        assert_in_range(http_format_head(head, &answer, EXAMPLE), 1, HTTP_HEAD_BYTES);
    }
}

/* ---- pages ------------------------------------------------------------------------------------
 */

static uint8_t block[HTTP_BODY_BLOCK_BYTES];

static void open_pages(struct http_pages *pages, uint64_t body_bytes) {
    http_fill_body_block(block);
    assert_int_equal(http_pages_open(pages, body_bytes, EXAMPLE_S, block), 0);
}

static void expect_page(const struct http_pages *pages, const struct http_page *page,
                        int64_t seconds, uint64_t body_bytes) {
    char date[HTTP_DATE_BYTES], head[HTTP_HEAD_BYTES];
    struct http_answer answer = {.status = 200, .body_bytes = body_bytes};
    http_format_date(date, seconds);
    size_t n = http_format_head(head, &answer, date);
    assert_int_equal(pages->head_bytes, n);
    for (uint32_t i = 0; i < pages->copies; i++) {
        const uint8_t *copy = page->answers + i * pages->answer_bytes;
        assert_memory_equal(copy, head, n);
        assert_memory_equal(copy + n, block, pages->answer_bytes - n);
    }
}

static void pages_are_full_of_answers(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 1024, 60000, HTTP_PAGE_BYTES};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct http_pages pages;
        open_pages(&pages, sizes[i]);
        bool whole = sizes[i] < HTTP_PAGE_BYTES;
        assert_int_equal(pages.answer_bytes, pages.head_bytes + (whole ? sizes[i] : 0));
        assert_true(pages.copies >= 1 && pages.copies * pages.answer_bytes <= HTTP_PAGE_BYTES);
        assert_true(!whole || (pages.copies + 1) * pages.answer_bytes > HTTP_PAGE_BYTES);
        expect_page(&pages, pages.current, EXAMPLE_S, sizes[i]);
        http_pages_renew(&pages, EXAMPLE_S + 1);
        expect_page(&pages, pages.current, EXAMPLE_S + 1, sizes[i]);
        http_pages_close(&pages);
    }
}

static void a_lent_page_does_not_change(void **state) {
    (void)state;
    struct http_pages pages;
    open_pages(&pages, 100);
    struct http_page *first = pages.current;
    http_page_lend(first);
    http_pages_renew(&pages, EXAMPLE_S);
    assert_ptr_equal(pages.current, first); /* it says the time already */
    http_pages_renew(&pages, EXAMPLE_S + 1);
    struct http_page *second = pages.current;
    assert_ptr_not_equal(second, first);
    expect_page(&pages, first, EXAMPLE_S, 100);
    expect_page(&pages, second, EXAMPLE_S + 1, 100);
    http_page_lend(second);
    http_page_lend(second);
    http_page_return(&pages, second);
    http_page_return(&pages, first);
    http_pages_renew(&pages, EXAMPLE_S + 2); /* what came back is used again */
    assert_ptr_equal(pages.current, first);
    expect_page(&pages, second, EXAMPLE_S + 1, 100);
    expect_page(&pages, first, EXAMPLE_S + 2, 100);
    http_page_return(&pages, second);
    http_pages_close(&pages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_have_the_form_of_http), cmocka_unit_test(heads_are_complete),
        cmocka_unit_test(no_head_is_too_long),         cmocka_unit_test(pages_are_full_of_answers),
        cmocka_unit_test(a_lent_page_does_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
