/* test_database.c: the workload `database` on every loop, in front of SQLite: every answer belongs
 * to its request, whatever the pool; and what happens when a query takes too long, when nobody
 * waits for it any more, and when the server stops under load. */
#include "http_peer.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "workloads/database.h"
#include "workloads/drivers/driver.h"
#include "workloads/drivers/sample_table.h"
#include "workloads/workload.h"

extern const struct workload database_workload;

/* ---- a server ---------------------------------------------------------------------------------
 */

struct service {
    struct fixture *fixture;
    struct server *server;
    struct endpoint address;
};

static int try_to_start(struct service *service, const char *settings, struct error *error) {
    char pairs[160];
    struct knob_values knobs;
    struct endpoint any;
    knob_values_init(&knobs, database_workload.knobs, (struct knob_table){NULL, 0});
    assert_true((size_t)snprintf(pairs, sizeof pairs, "%s", settings) < sizeof pairs);
    for (char *pair = strtok(pairs, " "); pair; pair = strtok(NULL, " "))
        if (knob_set_pair(&knobs, pair, error))
            fail_msg("%s", error->text);
    fresh_address(service->fixture, &any);
    return database_workload.server->start(service->fixture->loop, &knobs, &any, &service->address,
                                           &service->server, error);
}

/* `settings`: NAME=VALUE, with spaces between them. */
static void start_server(struct service *service, struct fixture *fixture, const char *settings) {
    struct error error = {""};
    *service = (struct service){.fixture = fixture};
    if (try_to_start(service, settings, &error))
        fail_msg("%s", error.text);
}

static void end_server(struct service *service, bool now) {
    RUN_UNTIL(service->fixture, database_workload.server->stopped(service->server, now));
}

static void stop_server(struct service *service) {
    database_workload.server->stop(service->server);
    end_server(service, true);
}

static double counter(const struct service *service, const char *name) {
    struct workload_counter counters[WORKLOAD_COUNTERS_MOST];
    size_t count = database_workload.server->counters(service->server, counters);
    for (size_t i = 0; i < count; i++)
        if (strcmp(counters[i].name, name) == 0)
            return counters[i].value;
    fail_msg("no counter is called %s", name);
    return 0;
}

static void ask(const struct service *service, int peer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void ask(const struct service *service, int peer, const char *format, ...) {
    char path[64], request[128];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    snprintf(request, sizeof request, "GET %s" HTTP_HOST "\r\n", path);
    peer_ask(service->fixture, peer, request);
}

static void expect_status(const struct service *service, int peer, int status) {
    struct peer_answer answer;
    peer_read_answer(service->fixture, peer, &answer);
    if (answer.status != status)
        fail_msg("not %d: '%s%s'", status, answer.head, answer.text);
}

/* One whole row; `added` to its value by updates. */
static void check_row(const char *line, size_t n, long id, long added) {
    char begin[64];
    int payload =
        snprintf(begin, sizeof begin, "%ld %lld ", id, (long long)SAMPLE_VALUE(id) + added);
    int length =
        payload + snprintf(begin + payload, sizeof begin - (size_t)payload, "item %ld ", id);
    if (n != (size_t)payload + SAMPLE_PAYLOAD_BYTES || memcmp(line, begin, (size_t)length) != 0)
        fail_msg("not row %ld: '%.*s'", id, (int)n, line);
}

static void expect_row(const struct service *service, int peer, long id, long added) {
    struct peer_answer answer;
    peer_read_answer(service->fixture, peer, &answer);
    if (answer.status != 200)
        fail_msg("row %ld: '%s%s'", id, answer.head, answer.text);
    assert_int_equal(answer.text[answer.bytes - 1], '\n');
    check_row(answer.text, answer.bytes - 1, id, added);
}

static void expect_rows(const struct service *service, int peer, int rows, long first) {
    struct peer_answer answer;
    peer_read_head(service->fixture, peer, &answer);
    if (answer.status != 200)
        fail_msg("rows from %ld: '%s'", first, answer.head);
    char *text = malloc(answer.bytes + 1), *line = text;
    assert_non_null(text);
    assert_true(peer_read_bytes(service->fixture, peer, text, answer.bytes));
    text[answer.bytes] = '\0';
    for (int i = 0; i < rows; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        check_row(line, (size_t)(end - line), first + i, 0);
        line = end + 1;
    }
    assert_ptr_equal(line, text + answer.bytes);
    free(text);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void test_answers(struct fixture *fixture) {
    struct service service;
    struct peer_answer answer;
    long from;
    start_server(&service, fixture, "driver=sqlite size_bytes=7");
    int peer = peer_connect(&service.address);
    ask(&service, peer, "/row/1");
    expect_row(&service, peer, 1, 0);
    ask(&service, peer, "/row/10000?query");
    expect_row(&service, peer, 10000, 0);
    ask(&service, peer, "/rows/3/9");
    expect_rows(&service, peer, 3, 9);
    ask(&service, peer, "/rows/10000/1");
    expect_rows(&service, peer, 10000, 1);
    ask(&service, peer, "/rows/1");
    peer_read_answer(fixture, peer, &answer);
    assert_int_equal(sscanf(answer.text, "%ld ", &from), 1);
    assert_true(from >= 1 && from <= SAMPLE_ROWS);
    check_row(answer.text, answer.bytes - 1, from, 0);
    ask(&service, peer, "/slow/2");
    peer_expect_answer(fixture, peer, 200, "2\n", false);
    ask(&service, peer, "/");
    peer_read_answer(fixture, peer, &answer);
    assert_int_equal(answer.bytes, 7);
    close(peer);
    stop_server(&service);
}

static void test_statuses(struct fixture *fixture) {
    static const char *const missing[] = {
        "/row/0",
        "/row/10001",
        "/row/",
        "/row/1x",
        "/row",
        "/rows/0",
        "/rows/-1",
        "/rows/10001",
        "/x",
        "/slow/3600001",
        "/row/1/",
        "/rows/5/10001",
        "/rowing/1",
        "/rows/5/",
        "/mix/",
        "/mi",
        "/mix/1/1",
        "/update",
        "/row/99999999999999999999",
        "/calls/0/1",
        "/calls/1001/1",
        "/calls/1",
        "/calls/1/1/",
        "/calls/1/3600001",
    };
    struct service service;
    start_server(&service, fixture, "driver=sqlite");
    int peer = peer_connect(&service.address);
    for (size_t i = 0; i < ARRAY_LENGTH(missing); i++) {
        ask(&service, peer, "%s", missing[i]);
        expect_status(&service, peer, 404);
    }
    peer_ask(fixture, peer, "POST /update/5" HTTP_HOST "Content-Length: 0\r\n\r\n");
    expect_status(&service, peer, 403);
    for (int i = 0; i < 60; i++) {
        ask(&service, peer, "/mix");
        struct peer_answer answer;
        peer_read_head(fixture, peer, &answer);
        assert_int_equal(answer.status, 200);
        char text[8192];
        assert_true(answer.bytes < sizeof text);
        assert_true(peer_read_bytes(fixture, peer, text, answer.bytes));
    }
    close(peer);
    stop_server(&service);
}

static void test_updates(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "driver=sqlite writes=yes");
    int peer = peer_connect(&service.address);
    for (int i = 1; i <= 3; i++) {
        peer_ask(fixture, peer, "POST /update/5" HTTP_HOST "Content-Length: 0\r\n\r\n");
        expect_row(&service, peer, 5, i);
    }
    ask(&service, peer, "/row/5");
    expect_row(&service, peer, 5, 3);
    ask(&service, peer, "/update/5");
    expect_status(&service, peer, 405);
    peer_ask(fixture, peer, "PUT /update/10001" HTTP_HOST "Content-Length: 0\r\n\r\n");
    expect_status(&service, peer, 404);
    close(peer);
    stop_server(&service);
}

/* ---- many at a time ---------------------------------------------------------------------------
 */

enum { PEERS = 24, ROUNDS = 20 };

static void check_many(struct fixture *fixture, const char *settings) {
    struct service service;
    int peers[PEERS];
    start_server(&service, fixture, settings);
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_connect(&service.address);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < PEERS; i++) {
            ask(&service, peers[i], "/row/%d", 1 + round * 100 + i);
            ask(&service, peers[i], "/rows/12/%d", 1 + round * 50 + i);
        }
        for (int i = 0; i < PEERS; i++) {
            expect_row(&service, peers[i], 1 + round * 100 + i, 0);
            expect_rows(&service, peers[i], 12, 1 + round * 50 + i);
        }
    }
    assert_true(counter(&service, "requests") == 2 * PEERS * ROUNDS);
    assert_true(counter(&service, "queries") == 2 * PEERS * ROUNDS);
    assert_true(counter(&service, "acquired") == 2 * PEERS * ROUNDS);
    assert_true(counter(&service, "errors") == 0);
    assert_true(counter(&service, "wait_p99_ns") >= counter(&service, "wait_p50_ns"));
    for (int i = 0; i < PEERS; i++)
        close(peers[i]);
    stop_server(&service);
}

static void test_pool_of_one(struct fixture *fixture) {
    check_many(fixture, "driver=sqlite pool_min=0 pool_max=1");
}

static void test_pool(struct fixture *fixture) {
    check_many(fixture, "driver=sqlite pool_min=5 pool_max=20");
}

static void test_unprepared(struct fixture *fixture) {
    check_many(fixture, "driver=sqlite pool_min=2 pool_max=3 prepare=no");
}

static void test_own_connections(struct fixture *fixture) {
    check_many(fixture, "driver=sqlite access=connection");
}

static void test_line(struct fixture *fixture) {
    struct service service;
    int peers[PEERS];
    start_server(&service, fixture, "driver=sqlite pool_min=1 pool_max=1");
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&service.address);
        ask(&service, peers[i], "/slow/1");
    }
    RUN_UNTIL(fixture, counter(&service, "requests") == PEERS);
    for (int i = 0; i < PEERS; i++) {
        peer_expect_answer(fixture, peers[i], 200, "1\n", false);
        close(peers[i]);
    }
    assert_true(counter(&service, "pool_size_most") == 1);
    assert_true(counter(&service, "waited") >= PEERS - 1);
    assert_true(counter(&service, "wait_p99_ns") >= 1e6);
    stop_server(&service);
}

/* All of them are made, and never more at a time than is said: no more connections are needed. */
static void check_calls(struct fixture *fixture, const char *settings, int connections) {
    struct service service;
    start_server(&service, fixture, settings);
    int peer = peer_connect(&service.address);
    ask(&service, peer, "/calls/12/2");
    ask(&service, peer, "/calls/1/0");
    peer_expect_answer(fixture, peer, 200, "12 2\n", false);
    peer_expect_answer(fixture, peer, 200, "1 0\n", false);
    assert_true(counter(&service, "requests") == 2);
    assert_true(counter(&service, "queries") == 13);
    assert_true(counter(&service, "pool_size_most") == connections);
    close(peer);
    stop_server(&service);
}

static void test_calls(struct fixture *fixture) {
    check_calls(fixture, "driver=sqlite pool_min=0", 1);
    check_calls(fixture, "driver=sqlite pool_min=0 at_once=4", 4);
    check_calls(fixture, "driver=sqlite pool_min=0 at_once=50 pool_max=3", 3);
}

/* The first failure is the answer, and what was not begun never is. */
static void test_calls_fail(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "driver=sqlite at_once=2 command_timeout=300ms");
    int peer = peer_connect(&service.address);
    ask(&service, peer, "/calls/1000/3600000");
    expect_status(&service, peer, 504);
    ask(&service, peer, "/row/3");
    expect_row(&service, peer, 3, 0);
    assert_true(counter(&service, "command_timeouts") == 2);
    assert_true(counter(&service, "queries") <= 3);
    close(peer);
    stop_server(&service);
}

static void test_calls_gone(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "driver=sqlite at_once=3 pool_min=1 pool_max=1");
    int gone = peer_connect(&service.address), peer = peer_connect(&service.address);
    ask(&service, gone, "/calls/1000/20");
    RUN_UNTIL(fixture, counter(&service, "queries") >= 2);
    peer_reset(gone);
    RUN_UNTIL(fixture, counter(&service, "pool_lent") == 0 && counter(&service, "waiters") == 0);
    assert_true(counter(&service, "queries") < 100);
    ask(&service, peer, "/row/3");
    expect_row(&service, peer, 3, 0);
    close(peer);
    stop_server(&service);
}

/* ---- what takes too long, and who does not wait ------------------------------------------------
 */

static void check_command_timeout(struct fixture *fixture, const char *settings) {
    struct service service;
    start_server(&service, fixture, settings);
    int slow = peer_connect(&service.address), quick = peer_connect(&service.address);
    ask(&service, slow, "/slow/3600000");
    expect_status(&service, slow, 504);
    assert_true(counter(&service, "command_timeouts") == 1);
    ask(&service, slow, "/row/7"); /* on the same connection, with another one of the pool */
    expect_row(&service, slow, 7, 0);
    ask(&service, quick, "/row/8");
    expect_row(&service, quick, 8, 0);
    close(slow);
    close(quick);
    stop_server(&service);
}

static void test_command_timeout(struct fixture *fixture) {
    check_command_timeout(fixture, "driver=sqlite pool_min=1 pool_max=2 command_timeout=300ms");
}

static void test_own_command_timeout(struct fixture *fixture) {
    check_command_timeout(fixture, "driver=sqlite access=connection command_timeout=300ms");
}

static void test_acquire_timeout(struct fixture *fixture) {
    struct service service;
    struct peer_answer answer;
    start_server(&service, fixture, "driver=sqlite pool_min=1 pool_max=1 acquire_timeout=300ms");
    int holds = peer_connect(&service.address), waits = peer_connect(&service.address);
    ask(&service, holds, "/row/1"); /* now there is a connection */
    expect_row(&service, holds, 1, 0);
    ask(&service, holds, "/slow/3600000");
    RUN_UNTIL(fixture, counter(&service, "requests") == 2);
    ask(&service, waits, "/row/1");
    peer_read_answer(fixture, waits, &answer);
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.head, "\r\nRetry-After: "));
    assert_true(counter(&service, "acquire_timeouts") == 1);
    close(holds);
    close(waits);
    stop_server(&service);
}

/* A server that takes connections and never says a word; `target` is for the driver. */
static int listen_silently(char *target, size_t size) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(target, size, "postgresql://me@127.0.0.1:%u/none", ntohs(address.sin_port));
    return fd;
}

/* A connect that never ends does not keep the pool from trying another. */
static void test_connect_timeout(struct fixture *fixture) {
    struct service service;
    const struct db_driver *driver;
    struct error reason = {""};
    char target[64];
    if (db_driver_find("postgres", &driver, &reason))
        return;
    int silent = listen_silently(target, sizeof target);
    setenv(DATABASE_VARIABLE, target, 1);
    start_server(&service, fixture,
                 "driver=postgres pool_min=1 pool_max=2 acquire_timeout=50ms");
    unsetenv(DATABASE_VARIABLE);
    int peer = peer_connect(&service.address);
    ask(&service, peer, "/row/1");
    expect_status(&service, peer, 503);
    RUN_UNTIL(fixture, counter(&service, "connects_failed") >= 2);
    assert_true(counter(&service, "pool_size") <= 1);
    close(peer);
    stop_server(&service);
    close(silent);
}

static void check_gone(struct fixture *fixture, const char *settings) {
    struct service service;
    start_server(&service, fixture, settings);
    int runs = peer_connect(&service.address), waits = peer_connect(&service.address);
    ask(&service, runs, "/slow/20");
    RUN_UNTIL(fixture, counter(&service, "requests") == 1);
    ask(&service, waits, "/slow/20");
    RUN_UNTIL(fixture, counter(&service, "requests") == 2);
    peer_reset(runs);
    peer_reset(waits);
    int peer = peer_connect(&service.address);
    ask(&service, peer, "/row/3");
    expect_row(&service, peer, 3, 0);
    /* A large answer that nobody takes. */
    int taker = peer_connect(&service.address);
    ask(&service, taker, "/rows/10000/1");
    RUN_UNTIL(fixture, counter(&service, "requests") == 4);
    settle(fixture);
    peer_reset(taker);
    ask(&service, peer, "/row/4");
    expect_row(&service, peer, 4, 0);
    close(peer);
    stop_server(&service);
}

static void test_gone(struct fixture *fixture) {
    check_gone(fixture, "driver=sqlite pool_min=1 pool_max=1");
}

static void test_own_gone(struct fixture *fixture) {
    check_gone(fixture, "driver=sqlite access=connection");
}

/* ---- ends -------------------------------------------------------------------------------------
 */

static void check_stop(struct fixture *fixture, const char *settings) {
    struct service service;
    int peers[PEERS];
    start_server(&service, fixture, settings);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&service.address);
        ask(&service, peers[i], "/slow/%d", 1 + i % 3);
    }
    RUN_UNTIL(fixture, counter(&service, "requests") == PEERS);
    database_workload.server->stop(service.server);
    for (int i = 0; i < PEERS; i++) {
        struct peer_answer answer;
        peer_read_answer(fixture, peers[i], &answer);
        assert_int_equal(answer.status, 200);
        peer_expect_close(fixture, peers[i]);
    }
    end_server(&service, false);
}

static void test_stop(struct fixture *fixture) {
    check_stop(fixture, "driver=sqlite pool_min=0 pool_max=2");
}

static void test_own_stop(struct fixture *fixture) {
    check_stop(fixture, "driver=sqlite access=connection");
}

static void check_stop_now(struct fixture *fixture, const char *settings) {
    struct service service;
    int peers[PEERS];
    start_server(&service, fixture, settings);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&service.address);
        ask(&service, peers[i], "%s",
            (const char *[]){"/slow/3600000", "/rows/10000/1", "/calls/9/3600000"}[i % 3]);
    }
    RUN_UNTIL(fixture, counter(&service, "requests") == PEERS);
    stop_server(&service);
    for (int i = 0; i < PEERS; i++)
        close(peers[i]);
}

static void test_stop_now(struct fixture *fixture) {
    check_stop_now(fixture, "driver=sqlite pool_min=2 pool_max=3");
}

static void test_own_stop_now(struct fixture *fixture) {
    check_stop_now(fixture, "driver=sqlite access=connection");
}

/* At once, before anything was connected. */
static void test_stop_at_once(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "driver=sqlite pool_min=5 pool_max=5");
    stop_server(&service);
}

static void test_wrong_options(struct fixture *fixture) {
    static const char *const wrong[] = {
        "driver=sqlite pool_min=6 pool_max=5",
        "driver=postgres",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct service service = {.fixture = fixture};
        struct error error = {""};
        assert_int_equal(try_to_start(&service, wrong[i], &error), -EINVAL);
        assert_true(error.text[0] != '\0');
    }
}

#ifdef HAVE_LLHTTP

int main(void) {
    static const struct conformance_case cases[] = {
        {"rows, many rows and sleep", test_answers, true},
        {"paths that are none, and rows that are not there", test_statuses, false},
        {"updates", test_updates, false},
        {"a pool of one", test_pool_of_one, false},
        {"a pool of 20", test_pool, true},
        {"without prepared statements", test_unprepared, false},
        {"a connection for each query", test_own_connections, false},
        {"a line for one connection", test_line, false},
        {"calls of one request", test_calls, false},
        {"calls that fail", test_calls_fail, false},
        {"calls whose client is gone", test_calls_gone, false},
        {"a query that takes too long", test_command_timeout, false},
        {"one that does, on a connection of its own", test_own_command_timeout, false},
        {"a wait that takes too long", test_acquire_timeout, false},
        {"a connect that never ends", test_connect_timeout, false},
        {"clients that are gone", test_gone, false},
        {"clients that are gone, with connections of their own", test_own_gone, false},
        {"stopping answers what is asked", test_stop, false},
        {"stopping answers on connections of their own", test_own_stop, false},
        {"stopping now gives up what is under way", test_stop_now, false},
        {"stopping now, with connections of their own", test_own_stop_now, false},
        {"stopping before anything has connected", test_stop_at_once, false},
        {"options that cannot be", test_wrong_options, false},
    };
    const struct db_driver *driver;
    struct error reason = {""};
    unsetenv(DATABASE_VARIABLE);
    if (db_driver_find("sqlite", &driver, &reason)) {
        printf("skip database: %s\n", reason.text);
        return 0;
    }
    return conformance_main("database", cases, ARRAY_LENGTH(cases));
}

#else

int main(void) {
    printf("skip database: llhttp was missing at build time\n");
    return 0;
}

#endif
