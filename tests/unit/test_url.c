/* test_url.c: what a URL says, and what is said of a wrong one. */
#include "workloads/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loops/check.h"

static void what_urls_say(void **state) {
    static const struct {
        const char *url, *scheme, *address, *host, *path;
    } cases[] = {
        {"http://127.0.0.1:8080/a?b=c", "http", "127.0.0.1:8080", "127.0.0.1:8080", "/a?b=c"},
        {"http://127.0.0.1", "http", "127.0.0.1:80", "127.0.0.1", "/"},
        {"http://127.0.0.1/", "http", "127.0.0.1:80", "127.0.0.1", "/"},
        {"http://127.0.0.1:81?x", "http", "127.0.0.1:81", "127.0.0.1:81", "/?x"},
        {"http://[::1]/x", "http", "[::1]:80", "[::1]", "/x"},
        {"http://[::1]:81/a:b", "http", "[::1]:81", "[::1]:81", "/a:b"},
        {"https://127.0.0.1/x", "https", "127.0.0.1:443", "127.0.0.1", "/x"},
        {"https://[::1]:8443", "https", "[::1]:8443", "[::1]:8443", "/"},
        {"http://unix:/run/web.sock", "http", "unix:/run/web.sock", "localhost", "/"},
        {"http://unix:/run/web.sock:/a/b", "http", "unix:/run/web.sock", "localhost", "/a/b"},
        {"tcp://127.0.0.1:7000", "tcp", "127.0.0.1:7000", "127.0.0.1:7000", "/"},
        {"tcp://[::1]:7000", "tcp", "[::1]:7000", "[::1]:7000", "/"},
        {"unix:/run/a:/b", "unix", "unix:/run/a:/b", "localhost", "/"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct url url;
        struct error error = {""};
        char address[ENDPOINT_TEXT_BYTES];
        if (url_parse(cases[i].url, &url, &error))
            fail_msg("%s: %s", cases[i].url, error.text);
        endpoint_format(&url.endpoint, address);
        assert_string_equal(url.scheme, cases[i].scheme);
        assert_string_equal(address, cases[i].address);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.path, cases[i].path);
    }
}

static void wrong_urls_are_refused_with_the_reason(void **state) {
    static const struct {
        const char *url, *says;
    } cases[] = {
        {"", "is not a URL"},
        {"127.0.0.1:80", "is not a URL"},
        {"http:/127.0.0.1", "is not a URL"},
        {"ftp://127.0.0.1", "'ftp'"},
        {"https:/127.0.0.1", "is not a URL"},
        {"http://", "missing"},
        {"http:///path", "missing"},
        {"http://:80/", "HOST:PORT"},
        {"http://127.0.0.1:/", "HOST:PORT"},
        {"http://127.0.0.1:http/", "port 'http'"},
        {"http://127.0.0.1:65536/", "65536"},
        {"http://::1/", "HOST:PORT"},
        {"http://[::1/", "[::1"},
        {"http://me:secret@127.0.0.1/", "user name"},
        {"postgresql://me:secret@127.0.0.1/x", "PGPASSWORD"},
        {"postgres://me:@127.0.0.1", "PGPASSWORD"},
        {"postgresql:///x?host=/run&password=secret", "PGPASSWORD"},
        {"postgresql:///x?password=secret", "PGPASSWORD"},
        {"postgresql:x", "is not a URL"},
        {"http://127.0.0.1/a b", "%XX"},
        {"http://127.0.0.1/a\r\nX: y", "%XX"},
        {"http://127.0.0.1/\xc3\xa4", "%XX"},
        {"http://127.0.0.1/a#b", "#"},
        {"http://unix:", "needs a path"},
        {"tcp://127.0.0.1", "HOST:PORT"},
        {"tcp://127.0.0.1:7/path", "port '7/path'"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct url url;
        struct error error = {""};
        if (url_parse(cases[i].url, &url, &error) == 0)
            fail_msg("'%s' was taken", cases[i].url);
        if (!strstr(error.text, cases[i].says))
            fail_msg("of '%s' it says: %s", cases[i].url, error.text);
    }
}

static void long_urls_are_refused(void **state) {
    (void)state;
    char text[URL_PATH_BYTES + 64];
    struct url url;
    struct error error;
    int start = snprintf(text, sizeof text, "http://127.0.0.1/");
    memset(text + start, 'a', URL_PATH_BYTES);
    text[start + URL_PATH_BYTES - 2] = '\0';
    assert_int_equal(url_parse(text, &url, &error), 0);
    text[start + URL_PATH_BYTES - 2] = 'a';
    text[start + URL_PATH_BYTES - 1] = '\0';
    assert_true(url_parse(text, &url, &error) < 0);
    memset(text, 'h', sizeof text - 1);
    memcpy(text, "http://", 7);
    text[7 + ENDPOINT_TEXT_BYTES] = '\0';
    assert_true(url_parse(text, &url, &error) < 0);
    assert_non_null(strstr(error.text, "too long"));
}

static void an_address_alone_names_its_host(void **state) {
    (void)state;
    struct endpoint endpoint;
    struct error error;
    struct url url;
    assert_int_equal(endpoint_parse("[::1]:81", &endpoint, &error), 0);
    url_of_endpoint("http", &endpoint, &url);
    assert_string_equal(url.host, "[::1]:81");
    assert_string_equal(url.path, "/");
    assert_int_equal(endpoint_parse("unix:/run/s", &endpoint, &error), 0);
    url_of_endpoint("http", &endpoint, &url);
    assert_string_equal(url.host, "localhost");
}

static void certificates_name_hosts_without_ports(void **state) {
    static const struct {
        const char *url, *name;
    } cases[] = {
        {"https://127.0.0.1/x", "127.0.0.1"}, {"https://127.0.0.1:8443/x", "127.0.0.1"},
        {"https://[::1]:8443", "::1"},        {"https://[::1]", "::1"},
        {"https://localhost:1", "localhost"}, {"https://unix:/run/s", "localhost"},
    };
    (void)state;
    struct url url;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_int_equal(url_parse(cases[i].url, &url, NULL), 0);
        assert_string_equal(url.name, cases[i].name);
    }
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse("[::1]:81", &endpoint, NULL), 0);
    url_of_endpoint("https", &endpoint, &url);
    assert_string_equal(url.name, "::1");
}

static void targets_of_databases_stay_as_they_are(void **state) {
    static const struct {
        const char *url, *scheme;
    } cases[] = {
        {"postgresql://me@127.0.0.1:5432/x?sslmode=disable", "postgresql"},
        {"postgresql:///x?host=/run/a:b@c", "postgresql"},
        {"postgres://[::1]:5432/a:b@c", "postgres"},
        {"sqlite:a b.db", "sqlite"},
        {"sqlite:/a:b/c?d#e", "sqlite"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct url url;
        struct error error = {""};
        if (url_parse(cases[i].url, &url, &error))
            fail_msg("%s: %s", cases[i].url, error.text);
        assert_true(url.is_database);
        assert_string_equal(url.scheme, cases[i].scheme);
        assert_string_equal(url.path, cases[i].url);
        assert_false(endpoint_is_unix(&url.endpoint));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_urls_say),
        cmocka_unit_test(wrong_urls_are_refused_with_the_reason),
        cmocka_unit_test(long_urls_are_refused),
        cmocka_unit_test(targets_of_databases_stay_as_they_are),
        cmocka_unit_test(an_address_alone_names_its_host),
        cmocka_unit_test(certificates_name_hosts_without_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
