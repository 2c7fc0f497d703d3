/* test_request_set.c: requests as bytes, and mixes as exact shares. */
#include "workloads/request_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loops/check.h"

static struct url make_url(void) {
    struct url url;
    struct error error = {""};
    if (url_parse("http://127.0.0.1:8080/a?b", &url, &error))
        fail_msg("%s", error.text);
    return url;
}

static struct request_set *open_set(const struct request_options *options) {
    struct url url = make_url();
    struct request_set *set = NULL;
    struct error error = {""};
    if (request_set_open(options, &url, &set, &error))
        fail_msg("%s", error.text);
    return set;
}

static void expect_bytes(const uint8_t *bytes, size_t length, const char *text) {
    assert_int_equal(length, strlen(text));
    assert_memory_equal(bytes, text, length);
}

static void one_request(void **state) {
    static const char *const headers[] = {"Accept: */*", "X-Empty:"};
    static const char *const host[] = {"host: elsewhere"};
    static const struct {
        struct request_options options;
        const char *bytes;
        bool head;
    } cases[] = {
        {{0}, "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", false},
        {{.method = "HEAD"}, "HEAD /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", true},
        {{.headers = headers, .header_count = 2},
         "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
         false},
        {{.headers = host, .header_count = 1},
         "GET /a?b HTTP/1.1\r\nhost: elsewhere\r\n\r\n",
         false},
        {{.body = "hello"},
         "POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 5\r\n\r\nhello",
         false},
        {{.method = "PUT"},
         "PUT /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 0\r\n\r\n",
         false},
        {{.method = "GET", .body = ""},
         "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 0\r\n\r\n",
         false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct request_set *set = open_set(&cases[i].options);
        assert_int_equal(set->count, 1);
        expect_bytes(set->requests[0].bytes, set->requests[0].length, cases[i].bytes);
        assert_int_equal(set->requests[0].head, cases[i].head);
        request_set_close(set);
    }
}

static void the_last_request_says_so(void **state) {
    (void)state;
    struct request_options options = {.body = "x"};
    struct request_set *set = open_set(&options);
    expect_bytes(set->requests[0].last_bytes, set->requests[0].last_length,
                 "POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 1\r\n"
                 "Connection: close\r\n\r\nx");
    request_set_close(set);
}

static void wrong_requests_are_refused(void **state) {
    static const struct {
        const char *method, *header, *body, *says;
    } cases[] = {
        {"GE T", NULL, NULL, "no method"},
        {"", NULL, NULL, "no method"},
        {"CONNECT", NULL, NULL, "tunnel"},
        {NULL, "NoColon", NULL, "Name: value"},
        {NULL, ": x", NULL, "Name: value"},
        {NULL, "A b: c", NULL, "Name: value"},
        {NULL, "A: b\r\nC: d", NULL, "control"},
        {NULL, "content-length: 3", NULL, "body"},
        {NULL, "Connection: x", NULL, "--keep"},
        {NULL, NULL, "@/nowhere/at/all", "cannot open"},
        {NULL, "Transfer-Encoding: chunked", NULL, "length"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct request_options options = {.method = cases[i].method,
                                          .body = cases[i].body,
                                          .headers = &cases[i].header,
                                          .header_count = cases[i].header != NULL};
        struct url url = make_url();
        struct request_set *set = NULL;
        struct error error = {""};
        assert_true(request_set_open(&options, &url, &set, &error) < 0);
        if (!strstr(error.text, cases[i].says))
            fail_msg("case %zu says: %s", i, error.text);
    }
}

/* ---- mixes ----------------------------------------------------------------------------------- */

static int open_mix(const char *text, struct request_set **set, struct error *error) {
    char path[] = "/tmp/loopmark-test-XXXXXX";
    struct url url = make_url();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct request_options options = {.file = path};
    int failure = request_set_open(&options, &url, set, error);
    unlink(path);
    return failure;
}

static void a_mix_has_exact_shares(void **state) {
    (void)state;
    struct request_set *set;
    struct error error = {""};
    if (open_mix("# three kinds\n\n7 GET /a\n 2  POST\t/b  two words \n1 HEAD /c\r\n", &set,
                 &error))
        fail_msg("%s", error.text);
    assert_int_equal(set->count, 3);
    expect_bytes(set->requests[1].bytes, set->requests[1].length,
                 "POST /b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 10\r\n\r\n"
                 "two words ");
    assert_true(set->requests[2].head && !set->requests[0].head);
    size_t counts[3] = {0, 0, 0}, changes = 0;
    assert_int_equal(set->order_length, 10);
    for (size_t i = 0; i < set->order_length; i++) {
        counts[set->order[i]]++;
        changes += i > 0 && set->order[i] != set->order[i - 1];
    }
    assert_int_equal(counts[0], 7);
    assert_int_equal(counts[1], 2);
    assert_int_equal(counts[2], 1);
    assert_true(changes > 2); /* shuffled: in blocks they would change twice */
    request_set_close(set);
}

static void wrong_mixes_name_the_line(void **state) {
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no request"},
        {"# nothing\n", "no request"},
        {"1 GET /\n1 GET\n", ":2: a line is"},
        {"1\n", ":1: a line is"},
        {"0 GET /\n", ":1: weight '0'"},
        {"x GET /\n", ":1: weight 'x'"},
        {"-1 GET /\n", ":1: weight '-1'"},
        {"1.5 GET /\n", ":1: weight '1.5'"},
        {"65537 GET /\n", ":1: weight"},
        {"65536 GET /\n1 GET /b\n", "together"},
        {"1 G@T /\n", ":1: 'G@T' is no method"},
        {"1 GET a\n", ":1: path 'a'"},
        {"1 GET /\n\n1 POST / @/nowhere/at/all\n", ":3: body /nowhere/at/all"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct request_set *set;
        struct error error = {""};
        if (open_mix(cases[i].text, &set, &error) == 0)
            fail_msg("case %zu was taken", i);
        if (!strstr(error.text, cases[i].says))
            fail_msg("case %zu says: %s", i, error.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request),
        cmocka_unit_test(the_last_request_says_so),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(a_mix_has_exact_shares),
        cmocka_unit_test(wrong_mixes_name_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
