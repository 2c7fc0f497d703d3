/* test_http.c: the HTTP server on every loop: answers in order whatever the cut of the requests,
 * one send a read, peers that do not read, or stop, or cheat, and the limits on time and number. */
#include "conformance.h"

#include <stdio.h>
#include <sys/socket.h>

#include "workloads/http_server.h"

#ifndef HAVE_LLHTTP

int main(void) {
    printf("skip http: llhttp was missing at build time\n");
    return 0;
}

#else

#include "workloads/http_answer.h"

extern const struct workload http_workload;

/* ---- a server and what it is asked ------------------------------------------------------------
 */

struct service {
    struct fixture *fixture;
    struct server *server;
    struct endpoint address;
    uint8_t block[HTTP_BODY_BLOCK_BYTES];
};

/* `settings`: NAME=VALUE, with spaces between them. */
static void start_server(struct service *service, struct fixture *fixture, const char *settings) {
    char pairs[128];
    struct knob_values knobs;
    struct error error = {""};
    struct endpoint any;
    service->fixture = fixture;
    http_fill_body_block(service->block);
    knob_values_init(&knobs, http_workload.knobs, (struct knob_table){NULL, 0});
    assert_true((size_t)snprintf(pairs, sizeof pairs, "%s", settings) < sizeof pairs);
    for (char *pair = strtok(pairs, " "); pair; pair = strtok(NULL, " "))
        if (knob_set_pair(&knobs, pair, &error))
            fail_msg("%s", error.text);
    fresh_address(fixture, &any);
    if (http_workload.server->start(fixture->loop, &knobs, &any, &service->address,
                                    &service->server, &error))
        fail_msg("%s", error.text);
}
static void stop_server(struct service *service) {
    http_workload.server->stop(service->server);
}

static void ask(const struct service *service, int peer, const char *bytes) {
    peer_send_all(service->fixture, peer, bytes, strlen(bytes));
}

struct answer_head {
    char text[512];
    int status;
    size_t body_bytes;
    bool closes;
};

/* One byte at a time: what follows the head is another's. */
static void read_head(const struct service *service, int peer, struct answer_head *head) {
    size_t n = 0;
    *head = (struct answer_head){.text = ""};
    while (n < 4 || memcmp(head->text + n - 4, "\r\n\r\n", 4) != 0) {
        ssize_t received;
        assert_true(n + 1 < sizeof head->text);
        RUN_UNTIL(service->fixture, (received = peer_receive(peer, head->text + n, 1)) != -EAGAIN);
        if (received != 1)
            fail_msg("an answer ends in its head (%zd): '%s'", received, head->text);
        n++;
    }
    const char *length = strstr(head->text, "\r\nContent-Length: ");
    assert_int_equal(sscanf(head->text, "HTTP/1.1 %d ", &head->status), 1);
    if (length)
        assert_int_equal(sscanf(length, "\r\nContent-Length: %zu\r\n", &head->body_bytes), 1);
    assert_true((head->status == 100) == (length == NULL));
    assert_true((head->status == 100) == (strstr(head->text, "\r\nDate: ") == NULL));
    head->closes = strstr(head->text, "\r\nConnection: close\r\n") != NULL;
}

/* False: the stream has ended first. */
static bool read_bytes(const struct service *service, int peer, void *to, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t received;
        RUN_UNTIL(service->fixture,
                  (received = peer_receive(peer, (char *)to + at, n - at)) != -EAGAIN);
        if (received <= 0)
            return false;
        at += (size_t)received;
    }
    return true;
}

static void read_body(const struct service *service, int peer, size_t n) {
    static uint8_t bytes[HTTP_BODY_BLOCK_BYTES];
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < sizeof bytes ? n - at : sizeof bytes;
        if (!read_bytes(service, peer, bytes, part))
            fail_msg("a body of %zu ends behind %zu", n, at);
        if (memcmp(bytes, service->block, part) != 0)
            fail_msg("a body of %zu is wrong behind %zu", n, at);
    }
}

static void expect_head(const struct service *service, int peer, int status, size_t body_bytes,
                        bool closes) {
    struct answer_head head;
    read_head(service, peer, &head);
    if (head.status != status || head.body_bytes != body_bytes || head.closes != closes)
        fail_msg("not %d with %zu bytes%s: '%s'", status, body_bytes, closes ? " and close" : "",
                 head.text);
}

static void expect_answer(const struct service *service, int peer, size_t body_bytes) {
    expect_head(service, peer, 200, body_bytes, false);
    read_body(service, peer, body_bytes);
}

static void expect_count(const struct service *service, int peer, const char *digits) {
    char body[32] = "";
    size_t n = strlen(digits);
    expect_head(service, peer, 200, n, false);
    assert_true(read_bytes(service, peer, body, n));
    assert_string_equal(body, digits);
}

static void expect_end(const struct service *service, int peer) {
    if (!peer_expect_end(service->fixture, peer))
        fail_msg("the connection was reset");
    close(peer);
}

static uint64_t count_sends(const struct service *service) {
    const struct loop_counters *counters = loop_counters(service->fixture->loop);
    return counters->sends_done + counters->sends_later;
}

#define HOST " HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /" HOST "\r\n"
#define HALF_GET "GET /" HOST

/* ---- answers ----------------------------------------------------------------------------------
 */

static void test_answers(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "size_bytes=3000");
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET);
    expect_answer(&service, peer, 3000);
    ask(&service, peer, "GET /?query" HOST "\r\nPOST /" HOST "Content-Length: 3\r\n\r\nabc");
    expect_answer(&service, peer, 3000);
    expect_answer(&service, peer, 3000);
    ask(&service, peer, "HEAD /" HOST "\r\nHEAD /bytes/268435456" HOST "\r\n");
    expect_head(&service, peer, 200, 3000, false);
    expect_head(&service, peer, 200, 268435456, false);
    ask(&service, peer, "GET /bytes/0" HOST "\r\nGET /bytes/1024" HOST "\r\n");
    expect_answer(&service, peer, 0);
    expect_answer(&service, peer, 1024);
    ask(&service, peer, "GET /bytes/1025" HOST "\r\nGET /bytes/200000" HOST "\r\n" GET);
    expect_answer(&service, peer, 1025);
    expect_answer(&service, peer, 200000);
    expect_answer(&service, peer, 3000);
    close(peer);
    stop_server(&service);
}

static void test_statuses(struct fixture *fixture) {
    static const struct {
        const char *request;
        int status;
        bool closes;
    } cases[] = {
        {"GET /x" HOST "\r\n", 404, false},
        {"GET /bytes/" HOST "\r\n", 404, false},
        {"GET /bytes/268435457" HOST "\r\n", 404, false},
        {"GET /bytes/99999999999999999999" HOST "\r\n", 404, false},
        {"GET /bytes/0000000000000000000000000000001" HOST "\r\n", 404, false},
        {"GET /bytes/1x" HOST "\r\n", 404, false},
        {"POST /x" HOST "Content-Length: 3\r\n\r\nabc", 404, false},
        {"DELETE /" HOST "\r\n", 405, false},
        {"CONNECT a:1" HOST "\r\n", 405, false},
        {"OPTIONS *" HOST "\r\n", 405, false},
        {"FOO /" HOST "\r\n", 405, true},
        {"GET / HTTP/1.1\r\n\r\n", 400, true},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, true},
        {"POST /" HOST "Content-Length: 101\r\n\r\n", 413, true},
        {"POST /" HOST "Transfer-Encoding: chunked\r\n\r\n65\r\n", 413, true},
        {"POST /" HOST "Transfer-Encoding: x, chunked\r\n\r\n", 501, true},
        {"GET / HTTP/1.0\r\n\r\n", 200, true},
        {"GET /" HOST "Connection: close\r\n\r\n", 200, true},
        {"HEAD /" HOST "Connection: close\r\n\r\n", 200, true},
    };
    struct service service;
    start_server(&service, fixture, "size_bytes=0 body_limit_bytes=100");
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int peer = peer_connect(&service.address);
        ask(&service, peer, cases[i].request);
        expect_head(&service, peer, cases[i].status, 0, cases[i].closes);
        if (!cases[i].closes) {
            ask(&service, peer, GET);
            expect_head(&service, peer, 200, 0, false);
            shutdown(peer, SHUT_WR);
        }
        expect_end(&service, peer);
    }
    stop_server(&service);
}

static void test_http_1_0(struct fixture *fixture) {
    struct service service;
    struct answer_head head;
    start_server(&service, fixture, "size_bytes=5");
    int peer = peer_connect(&service.address);
    ask(&service, peer, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    read_head(&service, peer, &head);
    assert_non_null(strstr(head.text, "\r\nConnection: keep-alive\r\n"));
    read_body(&service, peer, 5);
    ask(&service, peer, "GET / HTTP/1.0\r\n\r\n");
    expect_head(&service, peer, 200, 5, true);
    read_body(&service, peer, 5);
    expect_end(&service, peer);
    stop_server(&service);
}

/* ---- requests in pieces and in crowds ---------------------------------------------------------
 */

static const char several[] = GET "POST /count" HOST "Transfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\na\r\n0123456789\r\n0\r\nA: b\r\n\r\n"
                                  "HEAD /bytes/7" HOST "\r\nPUT /count" HOST
                                  "Content-Length: 5\r\n\r\n\r\n\r\nxGET /bytes/3" HOST "\r\n";

static void expect_several(const struct service *service, int peer) {
    expect_answer(service, peer, 10);
    expect_count(service, peer, "13");
    expect_head(service, peer, 200, 7, false);
    expect_count(service, peer, "5");
    expect_answer(service, peer, 3);
}

static void test_cuts(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "size_bytes=10");
    int peer = peer_connect(&service.address);
    for (size_t cut = 1; cut < sizeof several - 1; cut++) {
        peer_send_all(fixture, peer, several, cut);
        one_pass(fixture);
        peer_send_all(fixture, peer, several + cut, sizeof several - 1 - cut);
        expect_several(&service, peer);
    }
    for (size_t i = 0; i < sizeof several - 1; i++) {
        peer_send_all(fixture, peer, several + i, 1);
        one_pass(fixture);
    }
    expect_several(&service, peer);
    close(peer);
    stop_server(&service);
}

enum { DEEP = 64 };

/* At once: they are one read. */
static void ask_often(int peer, const char *request, int times) {
    char bytes[8192] = "";
    size_t n = 0;
    for (int i = 0; i < times; i++)
        n += (size_t)snprintf(bytes + n, sizeof bytes - n, "%s", request);
    assert_true(n < sizeof bytes);
    assert_int_equal(peer_send(peer, bytes, n), n);
}

static void test_pipeline(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "");
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET);
    expect_answer(&service, peer, 1024);
    uint64_t sends = count_sends(&service);
    ask_often(peer, GET, DEEP);
    for (int i = 0; i < DEEP; i++)
        expect_answer(&service, peer, 1024);
    assert_int_equal(count_sends(&service), sends + 1);
    ask_often(peer, "GET /bytes/100" HOST "\r\n", DEEP);
    for (int i = 0; i < DEEP; i++)
        expect_answer(&service, peer, 100);
    assert_int_equal(count_sends(&service), sends + 2);
    if (!fixture->setup->name) /* one that is not short of buffers */
        assert_int_equal(loop_counters(fixture->loop)->copied_bytes, 0);
    close(peer);
    stop_server(&service);
}

/* Answers of all sizes in one order, more than fit into a send or a page. */
static void test_large_pipeline(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "size_bytes=70000");
    int peer = peer_connect(&service.address);
    ask_often(peer,
              GET "GET /bytes/5000" HOST "\r\nGET /x" HOST "\r\nGET /bytes/300000" HOST "\r\n", 40);
    for (int i = 0; i < 40; i++) {
        expect_answer(&service, peer, 70000);
        expect_answer(&service, peer, 5000);
        expect_head(&service, peer, 404, 0, false);
        expect_answer(&service, peer, 300000);
    }
    ask_often(peer, "GET /bytes/1000" HOST "\r\n", 150);
    for (int i = 0; i < 150; i++)
        expect_answer(&service, peer, 1000);
    close(peer);
    stop_server(&service);
}

static void test_expectation(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "body_limit_bytes=100");
#define EXPECTING(target, size)                                                                    \
    "POST " target HOST "Expect: 100-continue\r\nContent-Length: " size "\r\n\r\n"
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET EXPECTING("/count", "5"));
    expect_answer(&service, peer, 1024);
    expect_head(&service, peer, 100, 0, false);
    ask(&service, peer, "hello" EXPECTING("/count", "5") "again");
    expect_count(&service, peer, "5");
    expect_count(&service, peer, "5"); /* it has not waited, and is not told to go on */
    ask(&service, peer, EXPECTING("/x", "5"));
    expect_head(&service, peer, 404, 0, true);
    expect_end(&service, peer);
    peer = peer_connect(&service.address);
    ask(&service, peer, EXPECTING("/count", "101"));
    expect_head(&service, peer, 413, 0, true);
    expect_end(&service, peer);
    stop_server(&service);
}

/* ---- peers that do not do their part ----------------------------------------------------------
 */

/* What is sent to a peer that does not read is bounded, and costs no memory; others are served. */
static void test_no_reading(struct fixture *fixture) {
    enum { BYTES = 32 << 20, MOST_SENT = 16 << 20, MOST_GROWN = 4 << 20 };
    struct service service;
    start_server(&service, fixture, "size_bytes=100000");
    int lazy = peer_connect(&service.address), busy = peer_connect(&service.address);
    ask(&service, busy, GET);
    expect_answer(&service, busy, 100000);
    long before = resident_bytes();
    ask_often(lazy, "GET /bytes/33554432" HOST "\r\n" GET, 100);
    for (int i = 0; i < 20; i++) {
        ask(&service, busy, GET);
        expect_answer(&service, busy, 100000);
    }
    settle(fixture);
    assert_true(loop_counters(fixture->loop)->sent_bytes < MOST_SENT);
#ifndef SANITIZER_NAME
    assert_true(resident_bytes() - before < MOST_GROWN);
#else
    (void)before;
#endif
    expect_answer(&service, lazy, BYTES);
    expect_answer(&service, lazy, 100000);
    expect_head(&service, lazy, 200, BYTES, false);
    close(lazy);
    close(busy);
    stop_server(&service);
}

static void test_half_close(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "");
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET "GET /bytes/5000000" HOST "\r\n" GET);
    shutdown(peer, SHUT_WR);
    expect_answer(&service, peer, 1024);
    expect_answer(&service, peer, 5000000);
    expect_answer(&service, peer, 1024);
    expect_end(&service, peer);
    peer = peer_connect(&service.address);
    ask(&service, peer, GET HALF_GET);
    shutdown(peer, SHUT_WR);
    expect_answer(&service, peer, 1024);
    expect_head(&service, peer, 400, 0, true);
    expect_end(&service, peer);
    peer = peer_connect(&service.address);
    shutdown(peer, SHUT_WR);
    expect_end(&service, peer);
    stop_server(&service);
}

/* An answer that refuses reaches a peer that goes on sending, and nothing after it is answered. */
static void test_refusal(struct fixture *fixture) {
    enum { MORE = 1 << 20 };
    static const char *const wrong[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "POST /" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /" HOST "A: b\n\r\n",
        "POST /" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n",
    };
    struct service service;
    char *more = malloc(MORE);
    assert_non_null(more);
    for (size_t i = 0; i < MORE; i++)
        more[i] = GET[i % (sizeof GET - 1)];
    start_server(&service, fixture, "");
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        int peer = peer_connect(&service.address);
        ask(&service, peer, GET);
        ask(&service, peer, wrong[i]);
        peer_send_all(fixture, peer, more, MORE);
        expect_answer(&service, peer, 1024);
        expect_head(&service, peer, 400, 0, true);
        expect_end(&service, peer);
    }
    free(more);
    stop_server(&service);
}

static void test_resets(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "");
    static const char *const requests[] = {"", HALF_GET, GET, "GET /bytes/268435456" HOST "\r\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(requests); i++) {
        int peer = peer_connect(&service.address);
        ask(&service, peer, requests[i]);
        settle(fixture);
        peer_reset(peer);
        settle(fixture);
    }
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET);
    expect_answer(&service, peer, 1024);
    close(peer);
    stop_server(&service);
}

/* ---- limits -----------------------------------------------------------------------------------
 */

static void test_timeouts(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "idle_timeout=1ms");
    int peer = peer_connect(&service.address);
    expect_end(&service, peer);
    stop_server(&service);

    start_server(&service, fixture, "idle_timeout=100ms"); /* long enough to begin a request in */
    peer = peer_connect(&service.address);
    ask(&service, peer, HALF_GET);
    for (uint64_t end_ns = clock_now_ns() + 150 * NS_PER_MS; clock_now_ns() < end_ns;)
        settle(fixture);
    ask(&service, peer, "\r\n"); /* it is not idle while a request is under way */
    expect_answer(&service, peer, 1024);
    expect_end(&service, peer);
    stop_server(&service);

    start_server(&service, fixture, "header_timeout=1ms");
    peer = peer_connect(&service.address);
    ask(&service, peer, GET HALF_GET);
    expect_answer(&service, peer, 1024);
    expect_head(&service, peer, 408, 0, true);
    expect_end(&service, peer);
    stop_server(&service);
}

static void test_transfer_timeout(struct fixture *fixture) {
    enum { BYTES = 32 << 20 };
    static uint8_t bytes[65536];
    struct service service;
    start_server(&service, fixture, "transfer_timeout=1ms");
    int peer = peer_connect(&service.address);
    ask(&service, peer, "POST /" HOST "Content-Length: 5\r\n\r\nabcd");
    expect_head(&service, peer, 408, 0, true);
    expect_end(&service, peer);

    peer = peer_connect(&service.address);
    ask(&service, peer, "GET /bytes/33554432" HOST "\r\n");
    for (int i = 0; i < 20; i++)
        one_millisecond(fixture); /* it may well be more */
    size_t got = 0;
    ssize_t received;
    do {
        RUN_UNTIL(fixture, (received = peer_receive(peer, bytes, sizeof bytes)) != -EAGAIN);
        got += received > 0 ? (size_t)received : 0;
    } while (received > 0);
    assert_true(got < BYTES);
    close(peer);
    stop_server(&service);
}

static void test_request_limit(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "keep_alive_requests=3");
    int peer = peer_connect(&service.address);
    ask(&service, peer, GET GET GET GET);
    expect_answer(&service, peer, 1024);
    expect_answer(&service, peer, 1024);
    expect_head(&service, peer, 200, 1024, true);
    read_body(&service, peer, 1024);
    expect_end(&service, peer);
    stop_server(&service);
}

static uint64_t thread_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

static void test_work(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "work_us=2000");
    int peer = peer_connect(&service.address);
    uint64_t before_ns = thread_cpu_ns();
    ask_often(peer, GET, 10);
    for (int i = 0; i < 10; i++)
        expect_answer(&service, peer, 1024);
    assert_true(thread_cpu_ns() - before_ns >= 10 * 2000 * NS_PER_US);
    close(peer);
    stop_server(&service);
}

static void test_stop(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "");
    int idle = peer_connect(&service.address), fresh = peer_connect(&service.address);
    int asking = peer_connect(&service.address), waiting = peer_connect(&service.address);
    ask(&service, idle, GET);
    expect_answer(&service, idle, 1024);
    ask(&service, asking, HALF_GET);
    ask(&service, waiting, "GET /bytes/30000000" HOST "\r\n");
    settle(fixture);
    stop_server(&service);
    expect_end(&service, idle);
    expect_end(&service, fresh);
    ask(&service, asking, "\r\n" GET);
    expect_head(&service, asking, 200, 1024, true);
    read_body(&service, asking, 1024);
    expect_end(&service, asking);
    expect_answer(&service, waiting, 30000000);
    expect_end(&service, waiting);
}

/* The loop ends in the middle of everything: nothing leaks, nothing is used after it went. */
static void test_loop_ends(struct fixture *fixture) {
    struct service service;
    static const char *const requests[] = {"", HALF_GET, "GET /bytes/30000000" HOST "\r\n" GET,
                                           "x y z\r\n", "POST /" HOST "Content-Length: 5\r\n\r\n"};
    int peers[ARRAY_LENGTH(requests)];
    start_server(&service, fixture, "");
    for (size_t i = 0; i < ARRAY_LENGTH(requests); i++) {
        peers[i] = peer_connect(&service.address);
        ask(&service, peers[i], requests[i]);
    }
    settle(fixture);
    stop_server(&service);
    reopen_loop(fixture, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(requests); i++)
        close(peers[i]);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"answers have their size and their bytes", test_answers, true},
        {"each status, and whether the connection stays", test_statuses, false},
        {"HTTP/1.0 closes unless it is asked not to", test_http_1_0, false},
        {"requests cut anywhere", test_cuts, false},
        {"64 requests in one read: one send", test_pipeline, true},
        {"many answers larger than a send", test_large_pipeline, true},
        {"100-continue", test_expectation, false},
        {"a peer that does not read costs nothing", test_no_reading, true},
        {"a peer that has ended gets its answers", test_half_close, true},
        {"a refusal arrives and is the last answer", test_refusal, true},
        {"resets in every state", test_resets, false},
        {"time limits of idle connections and heads", test_timeouts, false},
        {"a time limit of bodies and answers", test_transfer_timeout, false},
        {"a limit of requests", test_request_limit, false},
        {"work costs its CPU time", test_work, false},
        {"stopping finishes what is under way", test_stop, true},
        {"the loop ends with everything under way", test_loop_ends, false},
    };
    return conformance_main("http", cases, ARRAY_LENGTH(cases));
}

#endif
