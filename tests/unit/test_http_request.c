/* test_http_request.c: what requests say, however their bytes are cut; and what is refused, above
 * all where two readers of the same bytes could disagree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loops/check.h"

#ifndef HAVE_LLHTTP

int main(void) {
    printf("skip http_request: llhttp was missing at build time\n");
    return 0;
}

#else

#include "workloads/http_request.h"

enum { BODY_MOST = 1000 };

/* ---- what was said, as text --------------------------------------------------------------------
 */

struct transcript {
    char text[512];
};

static void __attribute__((format(printf, 2, 3)))
say(struct transcript *said, const char *format, ...) {
    va_list arguments;
    size_t used = strlen(said->text);
    va_start(arguments, format);
    vsnprintf(said->text + used, sizeof said->text - used, format, arguments);
    va_end(arguments);
}

static void say_request(struct transcript *said, const struct request *request) {
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "other"};
    uint32_t n =
        request->path_bytes < REQUEST_PATH_BYTES ? request->path_bytes : REQUEST_PATH_BYTES;
    say(said, "%s %.*s%s", names[request->method], (int)n, request->path,
        request->path_bytes > n ? "..." : "");
    if (request->minor_version == 0)
        say(said, " 1.0");
    if (!request->keep_alive)
        say(said, " close");
    if (request->body_bytes > 0)
        say(said, " %d", (int)request->body_bytes);
    say(said, "; ");
}

/* False after a bad request. The bytes lie at the end of memory of their own, so that a sanitizer
 * sees one that is read too far. */
static bool feed(struct request *request, const char *from, size_t n, struct transcript *said) {
    uint8_t *bytes = malloc(n);
    bool good = true;
    assert_non_null(bytes);
    memcpy(bytes, from, n);
    for (size_t at = 0, used; at < n && good; at += used) {
        enum request_event event = request_parse(request, bytes + at, n - at, &used);
        assert_true(used <= n - at);
        if (event == REQUEST_MORE)
            assert_int_equal(used, n - at);
        else if (event == REQUEST_DONE)
            say_request(said, request);
        else if (event == REQUEST_BODY && request->expects_continue)
            say(said, "expects; ");
        else if (event == REQUEST_BAD) {
            say(said, "%d", request->status);
            good = false;
        }
    }
    free(bytes);
    return good;
}

/* In pieces of `first` bytes, then of `step`. */
static void read_in_pieces(const char *bytes, size_t n, size_t first, size_t step,
                           struct transcript *said) {
    struct request request;
    request_init(&request, BODY_MOST);
    said->text[0] = '\0';
    for (size_t at = 0, piece = first; at < n; at += piece, piece = step) {
        if (piece > n - at)
            piece = n - at;
        if (!feed(&request, bytes + at, piece, said))
            return;
    }
    if (!request_is_idle(&request))
        say(said, "more");
}

static void expect_bytes(const char *bytes, size_t n, const char *expected) {
    struct transcript said;
    for (size_t cut = 1; cut <= n; cut++) {
        read_in_pieces(bytes, n, cut, n, &said);
        if (strcmp(said.text, expected) != 0)
            fail_msg("%.200s\ncut at %zu of %zu: '%s' and not '%s'", bytes, cut, n, said.text,
                     expected);
    }
    read_in_pieces(bytes, n, 1, 1, &said);
    if (strcmp(said.text, expected) != 0)
        fail_msg("%.200s\nbyte by byte: '%s' and not '%s'", bytes, said.text, expected);
}

static void expect(const char *bytes, const char *expected) {
    expect_bytes(bytes, strlen(bytes), expected);
}

struct shape {
    const char *bytes, *expected;
};

static void expect_shapes(const struct shape *shapes, size_t count) {
    for (size_t i = 0; i < count; i++)
        expect(shapes[i].bytes, shapes[i].expected);
}

#define HOST "Host: a\r\n"
#define END "\r\n"
#define GET_LINE "GET / HTTP/1.1\r\n"
#define GET GET_LINE HOST END
#define POST_LINE "POST / HTTP/1.1\r\n" HOST
#define CHUNKED POST_LINE "Transfer-Encoding: chunked\r\n\r\n"
#define SMUGGLED "GET /smuggled HTTP/1.1\r\n" HOST END

/* ---- what is taken ----------------------------------------------------------------------------
 */

static void requests_say_what_they_want(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {GET, "GET /; "},
        {"\r\n" GET "\r\n\r\n" GET, "GET /; GET /; "},
        {"HEAD /bytes/10?x=/y?z HTTP/1.1\r\n" HOST END, "HEAD /bytes/10; "},
        {GET "\r\n", "GET /; "},
        {GET "\r", "GET /; more"},
        {"PUT /" END, "more"}, /* HTTP/0.9 until its head ends */
        {"GET http://host.example:80/p?q HTTP/1.1\r\n" HOST END, "GET /p; "},
        {"GET HTTP://h HTTP/1.1\r\n" HOST END, "GET /; "},
        {"GET http://h?q HTTP/1.1\r\n" HOST END, "GET /; "},
        {"GET /0123456789012345678901234567890 HTTP/1.1\r\n" HOST END,
         "GET /0123456789012345678901234567890; "},
        {"GET /01234567890123456789012345678901 HTTP/1.1\r\n" HOST END,
         "GET /0123456789012345678901234567890...; "},
        {"OPTIONS * HTTP/1.1\r\n" HOST END GET, "other *; GET /; "},
        {"DELETE /x HTTP/1.1\r\n" HOST END, "other /x; "},
        {"CONNECT a:1 HTTP/1.1\r\n" HOST END GET, "other a; GET /; "},
        {"CONNECT a:1 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc" GET, "other a 3; GET /; "},
        {GET_LINE HOST "Connection: close\r\n" END, "GET / close; "},
        {GET_LINE HOST "Connection: x, CLOSE\r\n" END, "GET / close; "},
        {"GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close; "},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / 1.0; "},
        /* an offer to change protocols is passed over */
        {GET_LINE HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n" END GET, "GET /; GET /; "},
        {POST_LINE "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" GET,
         "POST / 3; GET /; "},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

static void bodies_are_counted_and_passed_over(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {POST_LINE "Content-Length: 5\r\n\r\na\r\n\r\n" GET, "POST / 5; GET /; "},
        {POST_LINE "Content-Length: 0\r\n\r\n" GET, "POST /; GET /; "},
        {POST_LINE "Content-Length: 000005  \r\n\r\n\n\n\n\n\n" GET, "POST / 5; GET /; "},
        {GET_LINE HOST "Content-Length: 5\r\n\r\nGET /" GET, "GET / 5; GET /; "},
        {POST_LINE "Content-Length: 5\r\n\r\nabcd", "more"},
        {CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n" GET, "POST / 13; GET /; "},
        {CHUNKED "0\r\n\r\n" GET, "POST /; GET /; "},
        {CHUNKED "1;n=v\r\na\r\n1;m=\"q\"\r\na\r\n0;last\r\n\r\n" GET, "POST / 2; GET /; "},
        {CHUNKED "1\r\na\r\n0\r\nTrailer: x\r\nHost: b\r\n\r\n" GET, "POST / 1; GET /; "},
        {CHUNKED "1\r\n\n\r\n0000\r\n\r\n" GET, "POST / 1; GET /; "},
        {CHUNKED "1\r\na\r\n0\r\n", "more"},
        {POST_LINE "transfer-ENCODING:chunKED  \r\n\r\n1\r\na\r\n0\r\n\r\n" GET,
         "POST / 1; GET /; "},
        {POST_LINE "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na", "expects; POST / 1; "},
        {POST_LINE "Expect: 100-CONTINUE \r\nContent-Length: 0\r\n\r\n", "POST /; "},
        {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
         "POST / 1.0 close 1; "},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

/* ---- what is refused --------------------------------------------------------------------------
 */

static void nothing_can_be_smuggled_in_lengths(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {POST_LINE "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 5, 5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: +5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: -5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 0x5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 5 5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 5.0\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length:\r\n\r\n" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 18446744073709551617\r\n\r\na" SMUGGLED, "400"},
        {POST_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
         "400"},
        {POST_LINE "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" SMUGGLED,
         "400"},
        {POST_LINE "Content-Length : 5\r\n\r\nabcde" SMUGGLED, "400"},
        {POST_LINE "Content-Length\t: 5\r\n\r\nabcde" SMUGGLED, "400"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

static void nothing_can_be_smuggled_in_codings(void **state) {
    (void)state;
#define CODED(value) POST_LINE "Transfer-Encoding: " value "\r\n\r\n0\r\n\r\n" SMUGGLED
    static const struct shape shapes[] = {
        {CODED("gzip"), "400"},
        {CODED("chunked, gzip"), "400"},
        {CODED("chunked, chunked"), "400"},
        {CODED("chunked\r\nTransfer-Encoding: chunked"), "400"},
        {CODED("chunked\r\nTransfer-Encoding: identity"), "400"},
        {CODED("chunked;q=1"), "400"},
        {CODED("xchunked"), "400"},
        {CODED("\"chunked\""), "400"},
        {CODED(""), "400"},
        {CODED("\vchunked"), "400"},
        {CODED("chunked\v"), "400"},
        {CODED("gzip, chunked"), "501"},
        {CODED("gzip\r\nTransfer-Encoding: chunked"), "501"},
        {POST_LINE "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SMUGGLED, "400"},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED, "400"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

static void nothing_can_be_smuggled_in_chunks(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {CHUNKED "10000000000000001\r\na\r\n0\r\n\r\n" SMUGGLED, "400"},
        {CHUNKED "x\r\n", "400"},
        {CHUNKED "0x1\r\na\r\n", "400"},
        {CHUNKED "-1\r\na\r\n", "400"},
        {CHUNKED " 1\r\na\r\n", "400"},
        {CHUNKED "1 \r\na\r\n", "400"},
        {CHUNKED "\r\n", "400"},
        {CHUNKED "1\na\r\n", "400"},
        {CHUNKED "1\r\nab\r\n", "400"},
        {CHUNKED "1\r\na\n0\r\n", "400"},
        {CHUNKED "1\r\na\rx0\r\n", "400"},
        {CHUNKED "1;a\nb\r\na\r\n", "400"},
        {CHUNKED "1;a=\"\n\"\r\na\r\n", "400"},
        {CHUNKED "0\r\n\n" SMUGGLED, "400"},
        {CHUNKED "0\r\nA: b\n\r\n" SMUGGLED, "400"},
        {CHUNKED "0\r\nA: b\r\n c\r\n\r\n" SMUGGLED, "400"},
        {CHUNKED "0\r\nA : b\r\n\r\n" SMUGGLED, "400"},
        {CHUNKED "0\r\n: b\r\n\r\n" SMUGGLED, "400"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

static void lines_are_whole_and_unfolded(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {"GET / HTTP/1.1\n" HOST END, "400"},
        {GET_LINE "Host: a\n" END, "400"},
        {GET_LINE HOST "\n", "400"},
        {"\n" GET, "400"},
        {GET_LINE HOST "A: b\r\n c\r\n" END, "400"},
        {GET_LINE HOST "A: b\r\n\tc\r\n" END, "400"},
        {GET_LINE HOST "A:\r\n b\r\n" END, "400"},
        {GET_LINE HOST "A: b\r\n \r\n" END, "400"},
        {GET_LINE " Host: a\r\n" END, "400"},
        {GET_LINE HOST "A: b\rc\r\n" END, "400"},
        {"GET / HTTP/1.1\r" HOST END, "400"},
        {GET_LINE HOST "A : b\r\n" END, "400"},
        {GET_LINE HOST "A b: c\r\n" END, "400"},
        {GET_LINE HOST "A\r\n" END, "400"},
        {GET_LINE HOST ": b\r\n" END, "400"},
        {GET_LINE HOST "A: \x01\r\n" END, "400"},
        {GET_LINE HOST "A: \x7f\r\n" END, "400"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
    static const char zero[] = GET_LINE HOST "A: b\0c\r\n" END;
    expect_bytes(zero, sizeof zero - 1, "400");
}

static void a_request_names_one_host_and_a_target(void **state) {
    (void)state;
#define TO_HOST(value) GET_LINE "Host:" value "\r\n" END
#define TARGET(value) "GET " value " HTTP/1.1\r\n" HOST END
    static const struct shape shapes[] = {
        {GET_LINE END, "400"},
        {GET_LINE HOST HOST END, "400"},
        {"GET / HTTP/1.0\r\n" HOST HOST END, "400"},
        {TO_HOST(""), "GET /; "},
        {TO_HOST(" a.b-c_d.example:8080 \t"), "GET /; "},
        {TO_HOST(" [::1]"), "GET /; "},
        {TO_HOST(" [::1]:80"), "GET /; "},
        {TO_HOST(" 127.0.0.1"), "GET /; "},
        {TO_HOST(" a%20b:"), "GET /; "},
        {TO_HOST(" a b"), "400"},
        {TO_HOST(" a/b"), "400"},
        {TO_HOST(" a@b"), "400"},
        {TO_HOST(" a, b/"), "400"},
        {TO_HOST(" a:80x"), "400"},
        {TO_HOST(" a:80:81"), "400"},
        {TO_HOST(" [::1"), "400"},
        {TO_HOST(" [::1 ]"), "400"},
        {TO_HOST(" [::1]x"), "400"},
        {TO_HOST(" a]"), "400"},
        {TO_HOST(" \xff"), "400"},
        {TARGET("*"), "400"},
        {TARGET("/#f"), "400"},
        {TARGET("/?q#f"), "400"},
        {TARGET("ftp://a/"), "400"},
        {TARGET("https://a/"), "400"},
        {TARGET("http:///"), "400"},
        {TARGET("http://"), "400"},
        {TARGET("http://u@a/"), "400"},
        {TARGET("http:/a"), "400"},
        {TARGET("a"), "400"},
        {TARGET("/\x01"), "400"},
        {TARGET("/\xc3"), "400"},
        {TARGET("/a b"), "400"},
        {TARGET(""), "400"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

static void other_faults_have_their_status(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {"FOO / HTTP/1.1\r\n" HOST END, "405"},
        {"GETS / HTTP/1.1\r\n" HOST END, "405"},
        {"get / HTTP/1.1\r\n" HOST END, "405"},
        {" GET / HTTP/1.1\r\n" HOST END, "400"},
        {"\x16\x03\x01", "400"},
        {"GET / HTTP/2.0\r\n" HOST END, "505"},
        {"GET / HTTP/3.0\r\n" HOST END, "505"},
        {"GET / HTTP/1.2\r\n" HOST END, "505"},
        {"GET / HTTP/1.1x\r\n" HOST END, "400"},
        {"GET / HTTP/1\r\n" HOST END, "400"},
        {"GET / HTP/1.1\r\n" HOST END, "400"},
        {"GET / ICY/1.1\r\n" HOST END, "400"},
        {"GET /\r\n" HOST END, "400"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
        {POST_LINE "Expect: the unexpected\r\n\r\n", "417"},
        {POST_LINE "Expect: 100-continue, more\r\n\r\n", "417"},
        {POST_LINE "Content-Length: 1001\r\n\r\n", "413"},
        {POST_LINE "Content-Length: 1000\r\n\r\n", "more"},
        {CHUNKED "3e9\r\n1", "413"},
        {CHUNKED "ffffffffffffffff\r\n1", "413"},
        {CHUNKED "3\r\nabc\r\n3e6\r\n1", "413"},
    };
    expect_shapes(shapes, ARRAY_LENGTH(shapes));
}

/* A long text: head, then `unit` over and over, then tail. The size of all of it. */
static size_t lengthen(char *bytes, size_t room, const char *head, const char *unit, size_t n,
                       const char *tail) {
    size_t used = (size_t)snprintf(bytes, room, "%s", head);
    while (used + strlen(unit) + strlen(tail) <= n)
        used += (size_t)snprintf(bytes + used, room - used, "%s", unit);
    while (used + strlen(tail) < n)
        bytes[used++] = 'x';
    used += (size_t)snprintf(bytes + used, room - used, "%s", tail);
    assert_int_equal(used, n);
    return used;
}

static void expect_long(const char *head, const char *unit, size_t n, const char *tail,
                        const char *expected) {
    static const size_t pieces[] = {1, 7, 1000, 16384, 1 << 20};
    static char bytes[3 * REQUEST_SECTION_BYTES];
    struct transcript said;
    lengthen(bytes, sizeof bytes, head, unit, n, tail);
    for (size_t i = 0; i < ARRAY_LENGTH(pieces); i++) {
        read_in_pieces(bytes, n, pieces[i], pieces[i], &said);
        if (strcmp(said.text, expected) != 0)
            fail_msg("%s... in pieces of %zu: '%s' and not '%s'", head, pieces[i], said.text,
                     expected);
    }
}

static void heads_and_trailers_are_bounded(void **state) {
    (void)state;
    enum { MOST = REQUEST_SECTION_BYTES };
    static const char long_path[] = "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...; ";
    expect_long("GET /", "x", MOST, " HTTP/1.1\r\n" HOST END, long_path);
    expect_long("GET /", "x", MOST + 100, " HTTP/1.1\r\n" HOST END, "414");
    expect_long("GET /", "x", 2 * MOST, "", "414");
    expect_long("\r\n", "\r\n", MOST + 2, "", "414");
    expect_long(GET_LINE HOST, "Name: value\r\n", MOST, ": v\r\n\r\n", "GET /; ");
    expect_long(GET_LINE HOST, "Name: value\r\n", MOST + 1, ": v\r\n\r\n", "431");
    expect_long(GET_LINE HOST "A: ", "x", 2 * MOST, "\r\n\r\n", "431");
    expect_long(GET_LINE HOST, "x", 2 * MOST, "", "431");
    size_t before = strlen(CHUNKED "0\r\n");
    expect_long(CHUNKED "0\r\n", "A: b\r\n", before + MOST, ": v\r\n\r\n", "POST /; ");
    expect_long(CHUNKED "0\r\n", "A: b\r\n", before + MOST + 1, ": v\r\n\r\n", "431");
    expect_long(CHUNKED "1;a=", "x", 2 * MOST, "", "431");
    expect_long(CHUNKED "1;", "x", 2 * MOST, "", "431");
    expect_long(CHUNKED, "1;aaaaaaaaaaaaaaaaaaa=bbbbbbbbbbbbbbbbbbbb\r\nx\r\n", 2 * MOST, "",
                "431");
}

static void requests_know_where_they_are(void **state) {
    (void)state;
    static const char text[] = POST_LINE "Content-Length: 2\r\n\r\nab";
    const uint8_t *bytes = (const uint8_t *)text;
    size_t head = strlen(text) - 2, used;
    struct request request;
    request_init(&request, BODY_MOST);
    assert_true(request_is_idle(&request) && !request_in_body(&request));
    assert_int_equal(request_parse(&request, bytes, 1, &used), REQUEST_MORE);
    assert_true(!request_is_idle(&request) && !request_in_body(&request));
    assert_int_equal(request_parse(&request, bytes + 1, head - 1, &used), REQUEST_BODY);
    assert_true(!request_is_idle(&request) && request_in_body(&request));
    assert_true(request_path_is(&request, "/") && !request_path_is(&request, "/x"));
    assert_int_equal(request_parse(&request, bytes + head, 1, &used), REQUEST_MORE);
    assert_true(!request_is_idle(&request) && request_in_body(&request));
    assert_int_equal(request_parse(&request, bytes + head + 1, 1, &used), REQUEST_DONE);
    assert_true(request_is_idle(&request) && !request_in_body(&request));
    assert_int_equal(request_parse(&request, bytes, 1, &used), REQUEST_MORE);
    assert_false(request_is_idle(&request));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_say_what_they_want),
        cmocka_unit_test(bodies_are_counted_and_passed_over),
        cmocka_unit_test(nothing_can_be_smuggled_in_lengths),
        cmocka_unit_test(nothing_can_be_smuggled_in_codings),
        cmocka_unit_test(nothing_can_be_smuggled_in_chunks),
        cmocka_unit_test(lines_are_whole_and_unfolded),
        cmocka_unit_test(a_request_names_one_host_and_a_target),
        cmocka_unit_test(other_faults_have_their_status),
        cmocka_unit_test(heads_and_trailers_are_bounded),
        cmocka_unit_test(requests_know_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
