/* http_answer.h: the bytes of HTTP answers: heads, the body that all answers share, and pages of
 * whole answers that are sent as they lie.
 *
 * Every answer has the form
 *   HTTP/1.1 STATUS REASON / Date / Content-Type / Content-Length / [Connection] / [Allow] /
 *   [Retry-After] / body
 * Date is there because a server with a clock has to send it (RFC 9110 section 6.6.1), and because
 * the servers that are compared send it too. It is renewed when the first answer of a second is
 * asked for. */
#ifndef LOOPMARK_HTTP_ANSWER_H
#define LOOPMARK_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- bodies -------------------------------------------------------------------------------------
 */

/* Byte k of every body is block[k % HTTP_BODY_BLOCK_BYTES], so that a client can check it. The
 * bytes are letters, digits, '-' and '_'. */
enum { HTTP_BODY_BLOCK_BYTES = 64 * 1024 };
void http_fill_body_block(uint8_t block[HTTP_BODY_BLOCK_BYTES]);

/* ---- dates --------------------------------------------------------------------------------------
 */

enum { HTTP_DATE_BYTES = sizeof "Sun, 06 Nov 1994 08:49:37 GMT" - 1 };

/* "Sun, 06 Nov 1994 08:49:37 GMT", without a final zero, for a time since 1970. */
void http_format_date(char date[HTTP_DATE_BYTES], int64_t seconds);

/* ---- heads --------------------------------------------------------------------------------------
 */

enum http_connection { CONNECTION_UNSAID, CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE };

struct http_answer {
    int status;          /* one that http_answer.c has a line for */
    const char *allow;   /* of 405; null: the server's own methods */
    uint64_t body_bytes; /* Content-Length */
    enum http_connection connection;
};

enum { HTTP_HEAD_BYTES = 256 }; /* more than any head has */

/* Writes the head with its empty line; returns its length. */
size_t http_format_head(char head[HTTP_HEAD_BYTES], const struct http_answer *answer,
                        const char date[HTTP_DATE_BYTES]);

/* ---- pages: the one answer that is given most, many times in a row ------------------------------
 *
 * As many answers as are asked for at a time are one piece of memory, which is never copied. A page
 * that is lent (a send is SEND_LATER) does not change: a new second then begins another page. Pages
 * come back to a list, so that soon none is allocated any more. */

enum { HTTP_PAGE_BYTES = 64 * 1024 }; /* at least one answer, if it is not larger */

struct http_page {
    struct http_page *next;
    uint32_t lent;
    int64_t date_s;
    uint8_t answers[];
};

struct http_pages {
    uint32_t head_bytes;
    size_t answer_bytes; /* head and body, or only the head if they do not fit into a page */
    uint32_t copies;     /* of an answer in a page */
    struct http_page *current, *spare;
};

/* For an answer 200 with this many bytes. -ENOMEM. */
int http_pages_open(struct http_pages *pages, uint64_t body_bytes, int64_t now_s,
                    const uint8_t block[HTTP_BODY_BLOCK_BYTES]);
/* When no page is lent any more. */
void http_pages_close(struct http_pages *pages);

/* Has the current page say this date. Without memory it keeps the old one. */
void http_pages_renew(struct http_pages *pages, int64_t now_s);

void http_page_lend(struct http_page *page);
void http_page_return(struct http_pages *pages, struct http_page *page);

#endif
