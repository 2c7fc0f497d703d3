/* test_endpoint.c: addresses are read and written back alike; bad ones are named; sockets get the
 * options that make loops comparable. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "loops/check.h"
#include "loops/endpoint.h"
#include "workloads/workload.h"

static void expect_text(const char *given, const char *expected) {
    struct endpoint endpoint;
    struct error error = {""};
    char text[ENDPOINT_TEXT_BYTES];
    if (endpoint_parse(given, &endpoint, &error))
        fail_msg("%s: %s", given, error.text);
    endpoint_format(&endpoint, text);
    assert_string_equal(text, expected);
}

static void what_is_written_is_read_again(void **state) {
    (void)state;
    static const char *const same[] = {"127.0.0.1:7000", "127.0.0.1:0",     "10.1.2.3:65535",
                                       "[::1]:80",       "[fe80::1:2]:7",   "unix:/tmp/echo.sock",
                                       "unix:relative",  "unix:/with:colon"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++)
        expect_text(same[i], same[i]);
    expect_text("[0:0:0:0:0:0:0:1]:80", "[::1]:80");
}

static void bad_addresses_are_refused_with_their_text(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "HOST:PORT"},
        {"127.0.0.1", "HOST:PORT"},
        {":7000", "HOST:PORT"},
        {"127.0.0.1:", "HOST:PORT"},
        {"::1:7000", "HOST:PORT"},
        {"[::1:7000", "HOST:PORT"},
        {"[::1]7000", "HOST:PORT"},
        {"127.0.0.1:65536", "port '65536'"},
        {"127.0.0.1:-1", "port '-1'"},
        {"127.0.0.1:+1", "port '+1'"},
        {"127.0.0.1: 1", "port ' 1'"},
        {"127.0.0.1:7000x", "port '7000x'"},
        {"127.0.0.1:99999999999999999999", "port '99999999999999999999'"},
        {"unix:", "needs a path"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct endpoint endpoint;
        struct error error = {""};
        assert_true(endpoint_parse(bad[i].text, &endpoint, &error) < 0);
        if (!strstr(error.text, bad[i].says))
            fail_msg("'%s': '%s' does not say '%s'", bad[i].text, error.text, bad[i].says);
    }
}

static void a_long_unix_path_is_refused(void **state) {
    (void)state;
    char text[200] = "unix:/";
    struct endpoint endpoint;
    struct error error = {""};
    memset(text + 6, 'x', sizeof text - 7);
    assert_true(endpoint_parse(text, &endpoint, &error) < 0);
    assert_non_null(strstr(error.text, "107"));
    text[5 + 107] = '\0';
    assert_int_equal(endpoint_parse(text, &endpoint, &error), 0);
}

static void only_this_host_is_loopback(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {{"127.0.0.1:1", true}, {"127.255.0.9:1", true}, {"128.0.0.1:1", false},
                 {"0.0.0.0:1", false},  {"[::1]:1", true},       {"[::]:1", false},
                 {"unix:/tmp/x", true}, {"10.0.0.1:1", false}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct endpoint endpoint;
        assert_int_equal(endpoint_parse(cases[i].text, &endpoint, NULL), 0);
        assert_int_equal(endpoint_is_loopback(&endpoint), cases[i].loopback);
    }
}

/* Every system calls its loopback addresses localhost; nothing else is asked, or it could be the
 * network. */
static void a_name_is_looked_up_for_its_address(void **state) {
    (void)state;
    static const struct {
        const char *address, *name;
        bool has_it;
    } cases[] = {
        {"127.0.0.1:7000", "localhost", true},
        {"127.0.0.1:1", "127.0.0.1", true},
        {"127.0.0.2:7000", "localhost", false},
        {"127.0.0.1:1", "127.0.0.2", false},
        {"127.0.0.1:1", "::1", false},
        {"[::1]:1", "127.0.0.1", false},
        {"[::1]:1", "::1", true},
        {"[::2]:1", "::1", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct endpoint endpoint;
        const char *what = "";
        assert_int_equal(endpoint_parse(cases[i].address, &endpoint, NULL), 0);
        int result = endpoint_look_up(&endpoint, cases[i].name, &what);
        if (result != (cases[i].has_it ? 0 : -ENXIO) || !what != cases[i].has_it)
            fail_msg("%s has %s: %d, %s", cases[i].name, cases[i].address, result, what);
    }
}

static void sockets_have_the_common_options(void **state) {
    (void)state;
    struct endpoint any, bound;
    struct error error = {""};
    struct socket_options options;
    assert_int_equal(endpoint_parse("127.0.0.1:0", &any, &error), 0);
    int listener = endpoint_listen(&any, 16, &bound, &error);
    assert_true(listener >= 0);
    int fd = endpoint_socket(&bound, NULL);
    assert_true(fd >= 0);
    assert_int_equal(socket_get_options(fd, &options), 0);
    assert_true(options.tcp);
    assert_int_equal(options.nodelay, 1);
    assert_string_equal(options.congestion, "reno");
    close(fd);
    close(listener);
}

static void a_port_in_use_is_named(void **state) {
    (void)state;
    struct endpoint any, bound;
    struct error error = {""};
    char text[ENDPOINT_TEXT_BYTES];
    assert_int_equal(endpoint_parse("127.0.0.1:0", &any, &error), 0);
    int first = endpoint_listen(&any, 16, &bound, &error);
    assert_true(first >= 0);
    assert_true(endpoint_listen(&bound, 16, NULL, &error) < 0);
    endpoint_format(&bound, text);
    assert_non_null(strstr(error.text, text));
    assert_non_null(strstr(error.text, "in use"));
    close(first);
}

/* A socket file that nobody listens on is replaced; one in use, or an ordinary file, is left alone.
 */
static void only_stale_socket_files_are_replaced(void **state) {
    (void)state;
    char folder[] = "/tmp/loopmark-test-XXXXXX", text[128];
    struct endpoint endpoint;
    struct error error = {""};
    struct stat status;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof text, "unix:%s/s", folder);
    assert_int_equal(endpoint_parse(text, &endpoint, &error), 0);
    int first = endpoint_listen(&endpoint, 4, NULL, &error);
    assert_true(first >= 0);
    assert_true(endpoint_listen(&endpoint, 4, NULL, &error) < 0);
    close(first);
    int second = endpoint_listen(&endpoint, 4, NULL, &error);
    assert_true(second >= 0);
    close(second);
    unlink(text + 5);
    FILE *file = fopen(text + 5, "w");
    assert_non_null(file);
    fclose(file);
    assert_true(endpoint_listen(&endpoint, 4, NULL, &error) < 0);
    assert_int_equal(stat(text + 5, &status), 0);
    unlink(text + 5);
    rmdir(folder);
}

static void urls_find_their_workload(void **state) {
    (void)state;
    struct url url;
    struct error error = {""};
    char text[ENDPOINT_TEXT_BYTES];
    const struct workload *echo = workload_for_url("tcp://127.0.0.1:7000", &url, &error);
    assert_non_null(echo);
    assert_string_equal(echo->name, "echo");
    endpoint_format(&url.endpoint, text);
    assert_string_equal(text, "127.0.0.1:7000");
    assert_ptr_equal(workload_for_url("unix:/tmp/echo", &url, &error), echo);
    assert_true(endpoint_is_unix(&url.endpoint));
    static const char *const bad[] = {"",       "127.0.0.1:7000",  "ftp://127.0.0.1:1",
                                      "tcp:/x", "tcp://",          "tcp://nowhere",
                                      "://x:1", "tc://127.0.0.1:1"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        error.text[0] = '\0';
        if (workload_for_url(bad[i], &url, &error))
            fail_msg("'%s' was taken", bad[i]);
        assert_true(error.text[0] != '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(bad_addresses_are_refused_with_their_text),
        cmocka_unit_test(a_long_unix_path_is_refused),
        cmocka_unit_test(only_this_host_is_loopback),
        cmocka_unit_test(a_name_is_looked_up_for_its_address),
        cmocka_unit_test(sockets_have_the_common_options),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(only_stale_socket_files_are_replaced),
        cmocka_unit_test(urls_find_their_workload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
