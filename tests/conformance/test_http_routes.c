/* test_http_routes.c: routes of the HTTP server whose answers come later, on every loop: in order
 * on a connection and in any order between connections, large ones that are lent, and everything
 * that can end while an answer is outstanding. */
#include "http_peer.h"

#include <stdio.h>
#include <sys/socket.h>

#include "workloads/http_server.h"

#ifndef HAVE_LLHTTP

int main(void) {
    printf("skip http_routes: llhttp was missing at build time\n");
    return 0;
}

#else

extern const struct workload http_workload;

/* ---- routes of which the test decides when they answer ----------------------------------------
 *
 *   /now/N     200 with N, at once
 *   /late/N    the same when the test says so
 *   /after/N   the same N milliseconds later
 *   /large/N   a body of N bytes at once; /slarge/N when the test says so
 *   /503, /405
 */

enum { TASKS = 128, LARGE_MOST = 24 << 20 };

struct task {
    struct http_exchange *exchange; /* null: free */
    struct bench *bench;
    struct timer timer;
    int number;
    bool lent, large;
};

struct bench {
    struct fixture *fixture;
    struct server *server;
    struct endpoint address;
    struct task tasks[TASKS];
    int begun, gone, sent, changes;
    char *body; /* of LARGE_MOST bytes: pattern while they are lent, and garbage after that */
    int lendings;
};

static struct task *find_task(struct bench *bench, int number) {
    for (int i = 0; i < TASKS; i++)
        if (bench->tasks[i].exchange && !bench->tasks[i].lent && bench->tasks[i].number == number)
            return &bench->tasks[i];
    return NULL;
}

static int outstanding(const struct bench *bench) {
    int count = 0;
    for (int i = 0; i < TASKS; i++)
        count += bench->tasks[i].exchange != NULL && !bench->tasks[i].lent;
    return count;
}

static void reply_large(struct task *task) {
    struct bench *bench = task->bench;
    size_t n = (size_t)task->number;
    bench->lendings++;
    fill_pattern((uint8_t *)bench->body, 0, n);
    task->lent = true;
    http_reply(task->exchange,
               &(struct http_reply){.status = 200, .body = bench->body, .bytes = n});
}

static void reply(struct task *task) {
    char text[32];
    struct http_exchange *exchange = task->exchange;
    if (task->large) {
        reply_large(task);
        return;
    }
    int n = snprintf(text, sizeof text, "%d", task->number);
    task->exchange = NULL;
    http_reply(exchange, &(struct http_reply){.status = 200, .body = text, .bytes = (size_t)n});
}

static void task_due(struct timer *timer) {
    reply(CONTAINER_OF(timer, struct task, timer));
}

static struct task *new_task(struct bench *bench, struct http_exchange *exchange, int number) {
    struct task *task = bench->tasks;
    while (task->exchange)
        task++;
    assert_true(task < bench->tasks + TASKS);
    *task = (struct task){
        .exchange = exchange, .bench = bench, .timer.on_due = task_due, .number = number};
    assert_null(exchange->route);
    exchange->route = task;
    return task;
}

static bool begin(void *data, struct http_exchange *exchange) {
    struct bench *bench = data;
    char path[64] = "", word[32];
    int number;
    memcpy(path, exchange->path, exchange->path_bytes);
    bench->changes += exchange->changes;
    if (strcmp(path, "/503") == 0)
        http_reply(exchange, &(struct http_reply){.status = 503});
    else if (strcmp(path, "/405") == 0)
        http_reply(exchange, &(struct http_reply){.status = 405, .allow = "POST"});
    else if (sscanf(path, "/%31[a-z]/%d", word, &number) != 2)
        return false;
    else {
        struct task *task = new_task(bench, exchange, number);
        bench->begun++;
        task->large = strcmp(word, "large") == 0 || strcmp(word, "slarge") == 0;
        if (strcmp(word, "now") == 0 || strcmp(word, "large") == 0)
            reply(task);
        else if (strcmp(word, "after") == 0)
            timer_set(bench->fixture->loop, &task->timer,
                      loop_now_ns(bench->fixture->loop) + (uint64_t)number * NS_PER_MS);
    }
    return true;
}

static void gone(void *data, struct http_exchange *exchange) {
    struct bench *bench = data;
    struct task *task = exchange->route;
    assert_ptr_equal(task->exchange, exchange);
    assert_false(task->lent);
    timer_cancel(bench->fixture->loop, &task->timer);
    task->exchange = NULL;
    bench->gone++;
}

static void sent(void *data, struct http_exchange *exchange) {
    struct bench *bench = data;
    struct task *task = exchange->route;
    assert_ptr_equal(task->exchange, exchange);
    assert_true(task->lent);
    task->exchange = NULL;
    bench->sent++;
    if (--bench->lendings == 0)
        memset(bench->body, '!', (size_t)task->number);
}

static const struct http_routes routes = {.begin = begin, .gone = gone, .sent = sent};

/* ---- a server ---------------------------------------------------------------------------------
 */

/* `setting`: NAME=VALUE, or null. */
static struct bench *start(struct fixture *fixture, const char *setting) {
    struct knob_values knobs;
    struct error error = {""};
    struct endpoint any;
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->fixture = fixture;
    bench->body = malloc(LARGE_MOST);
    assert_non_null(bench->body);
    knob_values_init(&knobs, http_workload.knobs, (struct knob_table){NULL, 0});
    if (setting && knob_set_pair(&knobs, setting, &error))
        fail_msg("%s", error.text);
    fresh_address(fixture, &any);
    if (http_serve_routes(fixture->loop, &knobs, &any, &routes, bench, &bench->address,
                          &bench->server, &error))
        fail_msg("%s", error.text);
    assert_ptr_equal(http_routes_data(bench->server), bench);
    return bench;
}

/* After stop. */
static void end(struct bench *bench) {
    assert_false(http_has_connections(bench->server));
    assert_int_equal(outstanding(bench), 0);
    assert_int_equal(bench->lendings, 0);
    http_free(bench->server);
    free(bench->body);
    free(bench);
}

static void stop(struct bench *bench) {
    http_server.stop(bench->server);
    http_close_connections(bench->server);
    RUN_UNTIL(bench->fixture, !http_has_connections(bench->server));
    end(bench);
}

/* Lets the /late request of that number be answered, as soon as it has begun. */
static void release(struct bench *bench, int number) {
    struct task *task;
    RUN_UNTIL(bench->fixture, (task = find_task(bench, number)) != NULL);
    reply(task);
}

static void expect_number(const struct bench *bench, int peer, int number) {
    char text[32];
    snprintf(text, sizeof text, "%d", number);
    peer_expect_answer(bench->fixture, peer, 200, text, false);
}

static void read_body(const struct bench *bench, int peer, size_t n, bool is_lent) {
    static uint8_t bytes[65536];
    struct peer_answer answer;
    peer_read_head(bench->fixture, peer, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.bytes, n);
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < sizeof bytes ? n - at : sizeof bytes;
        assert_true(peer_read_bytes(bench->fixture, peer, bytes, part));
        assert_true(!is_lent || is_pattern(bytes, at, part));
    }
}

static void read_large(const struct bench *bench, int peer, int n) {
    read_body(bench, peer, (size_t)n, true);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void test_answers(struct fixture *fixture) {
    struct bench *bench = start(fixture, "size_bytes=3");
    struct peer_answer answer;
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/now/1"));
    expect_number(bench, peer, 1);
    peer_ask(fixture, peer, HTTP_GET("/late/2?query"));
    assert_true(peer_hears_nothing(fixture, peer));
    release(bench, 2);
    expect_number(bench, peer, 2);
    assert_int_equal(bench->changes, 0);
    peer_ask(fixture, peer, "POST /late/3" HTTP_HOST "Content-Length: 3\r\n\r\nabc");
    release(bench, 3);
    expect_number(bench, peer, 3);
    assert_int_equal(bench->changes, 1);
    peer_ask(fixture, peer, HTTP_GET("/") HTTP_GET("/x") HTTP_GET("/503") HTTP_GET("/405"));
    peer_read_answer(fixture, peer, &answer);
    assert_int_equal(answer.bytes, 3);
    peer_expect_answer(fixture, peer, 404, "", false);
    peer_read_answer(fixture, peer, &answer);
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.head, "\r\nRetry-After: 1\r\n"));
    peer_read_answer(fixture, peer, &answer);
    assert_int_equal(answer.status, 405);
    assert_non_null(strstr(answer.head, "\r\nAllow: POST\r\n"));
    peer_ask(fixture, peer, HTTP_GET("/now/00000000000000000000000000001")); /* too long a path */
    peer_expect_answer(fixture, peer, 404, "", false);
    close(peer);
    stop(bench);
}

static void test_no_body(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    struct peer_answer answer;
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer,
             "HEAD /late/10" HTTP_HOST "\r\nHEAD /large/5000" HTTP_HOST
             "\r\nHEAD /slarge/6000" HTTP_HOST "\r\n" HTTP_GET("/now/1"));
    release(bench, 10);
    peer_read_head(fixture, peer, &answer);
    assert_int_equal(answer.bytes, 2);
    peer_read_head(fixture, peer, &answer);
    assert_int_equal(answer.bytes, 5000);
    release(bench, 6000);
    peer_read_head(fixture, peer, &answer);
    assert_int_equal(answer.bytes, 6000);
    expect_number(bench, peer, 1);
    assert_int_equal(bench->sent, 2);
    close(peer);
    stop(bench);
}

static void test_last(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, "GET /late/1" HTTP_HOST "Connection: close\r\n\r\n");
    release(bench, 1);
    peer_expect_answer(fixture, peer, 200, "1", true);
    peer_expect_close(fixture, peer);
    peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, "GET /late/1 HTTP/1.0\r\n\r\n" HTTP_GET("/late/2"));
    release(bench, 1);
    peer_expect_answer(fixture, peer, 200, "1", true);
    peer_expect_close(fixture, peer);
    assert_int_equal(bench->begun, 2); /* nothing after the last */
    peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, "GET /slarge/70000" HTTP_HOST "Connection: close\r\n\r\n");
    release(bench, 70000);
    read_large(bench, peer, 70000);
    peer_expect_close(fixture, peer);
    stop(bench);
}

static void test_expectation(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    struct peer_answer answer;
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer,
             "POST /late/4" HTTP_HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    peer_read_head(fixture, peer, &answer);
    assert_int_equal(answer.status, 100);
    assert_int_equal(bench->begun, 0);
    peer_ask(fixture, peer, "hello");
    release(bench, 4);
    expect_number(bench, peer, 4);
    close(peer);
    stop(bench);
}

/* ---- order ------------------------------------------------------------------------------------
 */

enum { PEERS = 8, DEEP = 64 };

static void test_out_of_order(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peers[PEERS];
    char request[64];
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&bench->address);
        snprintf(request, sizeof request, HTTP_GET("/late/%d"), i);
        peer_ask(fixture, peers[i], request);
    }
    RUN_UNTIL(fixture, outstanding(bench) == PEERS);
    for (int i = PEERS - 1; i >= 0; i--) {
        release(bench, i);
        expect_number(bench, peers[i], i);
        close(peers[i]);
    }
    stop(bench);
}

static void test_timers(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peers[PEERS];
    char request[64];
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(&bench->address);
        snprintf(request, sizeof request, HTTP_GET("/after/%d"), (i * 5) % PEERS);
        peer_ask(fixture, peers[i], request);
    }
    for (int i = 0; i < PEERS; i++) {
        expect_number(bench, peers[i], (i * 5) % PEERS);
        close(peers[i]);
    }
    stop(bench);
}

/* Plain answers, answers at once, late ones, and lent ones, in one read. */
static void test_pipeline(struct fixture *fixture) {
    struct bench *bench = start(fixture, "size_bytes=5");
    static char requests[DEEP * 64];
    static const char *const paths[] = {"/", "/late/%d", "/now/%d", "/slarge/%d", "/large/%d"};
    struct peer_answer answer;
    int peer = peer_connect(&bench->address);
    size_t n = 0;
    for (int i = 0; i < DEEP; i++) {
        char path[32];
        snprintf(path, sizeof path, paths[i % 5], 2000 + i);
        n += (size_t)snprintf(requests + n, sizeof requests - n, "GET %s" HTTP_HOST "\r\n", path);
    }
    peer_send_all(fixture, peer, requests, n);
    for (int i = 0; i < DEEP; i++) {
        if (i % 5 == 1 || i % 5 == 3) {
            release(bench, 2000 + i);
            assert_true(outstanding(bench) <= 1);
        }
        if (i % 5 == 0) {
            peer_read_answer(fixture, peer, &answer);
            assert_int_equal(answer.bytes, 5);
        } else if (i % 5 < 3)
            expect_number(bench, peer, 2000 + i);
        else
            read_large(bench, peer, 2000 + i);
    }
    assert_int_equal(bench->sent, DEEP * 2 / 5 - 0);
    close(peer);
    stop(bench);
}

/* What comes before a late answer is not held back by it, and what comes after it is not begun. */
static void test_held(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/now/1") HTTP_GET("/late/2") HTTP_GET("/now/3"));
    expect_number(bench, peer, 1);
    RUN_UNTIL(fixture, find_task(bench, 2));
    peer_ask(fixture, peer, HTTP_GET("/now/4"));
    settle(fixture);
    assert_int_equal(bench->begun, 2);
    release(bench, 2);
    expect_number(bench, peer, 2);
    expect_number(bench, peer, 3);
    expect_number(bench, peer, 4);
    /* What comes while the connection reads on, in two pieces. */
    peer_ask(fixture, peer, HTTP_GET("/late/5"));
    RUN_UNTIL(fixture, find_task(bench, 5));
    peer_ask(fixture, peer, "GET /now/6" HTTP_HOST);
    settle(fixture);
    peer_ask(fixture, peer, "\r\n" HTTP_GET("/late/7"));
    settle(fixture);
    release(bench, 5);
    expect_number(bench, peer, 5);
    expect_number(bench, peer, 6);
    release(bench, 7);
    expect_number(bench, peer, 7);
    close(peer);
    stop(bench);
}

/* ---- large bodies -----------------------------------------------------------------------------
 */

static void test_large(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    static const int sizes[] = {1024, 1025, 65536, 262144, 262145, 1 << 20, LARGE_MOST};
    int peer = peer_connect(&bench->address);
    char request[128];
    int lent = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        snprintf(request, sizeof request, HTTP_GET("/now/7") HTTP_GET("/slarge/%d"), sizes[i]);
        if (sizes[i] <= HTTP_COPIED_BYTES)
            continue;
        peer_ask(fixture, peer, request);
        expect_number(bench, peer, 7);
        release(bench, sizes[i]);
        read_large(bench, peer, sizes[i]);
        lent++;
        RUN_UNTIL(fixture, bench->sent == lent);
    }
    close(peer);
    stop(bench);
}

/* Others are served meanwhile, and what was lent is kept as long as it is needed. */
static void test_no_reading(struct fixture *fixture) {
    enum { LARGE = LARGE_MOST, SMALLER = 2000000 };
    struct bench *bench = start(fixture, NULL);
    int lazy = peer_connect(&bench->address), busy = peer_connect(&bench->address);
    peer_ask(fixture, lazy,
             HTTP_GET("/slarge/25165824") HTTP_GET("/late/1") HTTP_GET("/slarge/2000000"));
    release(bench, LARGE);
    settle(fixture);
    peer_ask(fixture, busy, HTTP_GET("/late/2"));
    release(bench, 2);
    expect_number(bench, busy, 2);
    assert_int_equal(bench->sent, 0);
    assert_int_equal(bench->begun, 2);
    read_large(bench, lazy, LARGE);
    release(bench, 1);
    expect_number(bench, lazy, 1);
    assert_int_equal(bench->sent, 1);
    release(bench, SMALLER);
    read_large(bench, lazy, SMALLER);
    close(lazy);
    close(busy);
    stop(bench);
}

/* Late answers, small and lent, for a connection whose earlier answer is still on its way: pairs of
 * a plain answer and a late one, until the peer's socket takes no more and no pair is begun. */
static void test_behind_another(struct fixture *fixture) {
    enum { PLAIN = 200000, LATE = 5, LARGE = 100000, PAIRS_MOST = 200 };
    static const char *const pairs[] = {
        HTTP_GET("/bytes/200000") HTTP_GET("/late/5"),
        HTTP_GET("/bytes/200000") HTTP_GET("/slarge/100000"),
    };
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        struct bench *bench = start(fixture, NULL);
        struct task *task;
        int peer = peer_connect(&bench->address), number = i == 0 ? LATE : LARGE, asked = 0;
        do {
            peer_ask(fixture, peer, pairs[i]);
            settle(fixture);
            task = find_task(bench, number);
            if (task)
                reply(task);
            asked++;
        } while (task && asked < PAIRS_MOST);
        assert_null(task);
        for (int k = 0; k < asked; k++) {
            read_body(bench, peer, PLAIN, false);
            RUN_UNTIL(fixture, k < asked - 1 || find_task(bench, number));
            task = find_task(bench, number);
            if (task)
                reply(task);
            if (number == LATE)
                expect_number(bench, peer, number);
            else
                read_large(bench, peer, number);
        }
        close(peer);
        stop(bench);
    }
}

/* ---- peers that go, and time ------------------------------------------------------------------
 */

static void test_gone(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/late/1"));
    RUN_UNTIL(fixture, find_task(bench, 1));
    settle(fixture);
    peer_reset(peer);
    if (fixture->transport != TRANSPORT_UNIX) { /* which has no resets */
        RUN_UNTIL(fixture, bench->gone == 1);
        assert_int_equal(outstanding(bench), 0);
    } else
        release(bench, 1);

    /* It has asked for more, so that only sending tells. */
    peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/late/2") HTTP_GET("/late/3"));
    RUN_UNTIL(fixture, find_task(bench, 2));
    settle(fixture);
    peer_reset(peer);
    settle(fixture);
    if (find_task(bench, 2))
        release(bench, 2);
    for (int i = 0; http_has_connections(bench->server) && i < 1000; i++) {
        if (find_task(bench, 3))
            release(bench, 3);
        one_pass(fixture);
    }

    /* A lent body comes back. */
    peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/slarge/3000000"));
    release(bench, 3000000);
    settle(fixture);
    peer_reset(peer);
    RUN_UNTIL(fixture, bench->lendings == 0);
    stop(bench);
}

static void test_half_close(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/late/1"));
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(fixture, find_task(bench, 1));
    assert_true(peer_hears_nothing(fixture, peer));
    release(bench, 1);
    expect_number(bench, peer, 1);
    peer_expect_close(fixture, peer);
    peer = peer_connect(&bench->address);
    peer_ask(fixture, peer, HTTP_GET("/late/1") HTTP_GET("/late/2") HTTP_GET("/slarge/3000000"));
    shutdown(peer, SHUT_WR);
    release(bench, 1);
    release(bench, 2);
    release(bench, 3000000);
    expect_number(bench, peer, 1);
    expect_number(bench, peer, 2);
    read_large(bench, peer, 3000000);
    peer_expect_close(fixture, peer);
    stop(bench);
}

/* While it is the server that is slow no limit runs; then they do again. */
static void test_time_limits(struct fixture *fixture) {
    static const char *const limits[] = {"idle_timeout=40ms", "transfer_timeout=40ms",
                                         "header_timeout=40ms"};
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        struct bench *bench = start(fixture, limits[i]);
        int peer = peer_connect(&bench->address);
        peer_ask(fixture, peer, HTTP_GET("/after/100"));
        expect_number(bench, peer, 100);
        if (i == 0)
            peer_expect_close(fixture, peer);
        else
            close(peer);
        peer = peer_connect(&bench->address);
        peer_ask(fixture, peer, HTTP_GET("/after/100") "GET /now/3" HTTP_HOST);
        expect_number(bench, peer, 100);
        if (i == 2) {
            peer_expect_answer(fixture, peer, 408, "", true);
            peer_expect_close(fixture, peer);
        } else
            close(peer);
        stop(bench);
    }
}

/* ---- ends -------------------------------------------------------------------------------------
 */

static void test_stop(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int idle = peer_connect(&bench->address), waiting = peer_connect(&bench->address);
    int more = peer_connect(&bench->address);
    peer_ask(fixture, idle, HTTP_GET("/now/1"));
    expect_number(bench, idle, 1);
    peer_ask(fixture, waiting, HTTP_GET("/late/2"));
    peer_ask(fixture, more, HTTP_GET("/slarge/2000000") HTTP_GET("/now/4"));
    RUN_UNTIL(fixture, outstanding(bench) == 2);
    http_server.stop(bench->server);
    peer_expect_close(fixture, idle);
    assert_true(peer_hears_nothing(fixture, waiting));
    release(bench, 2);
    peer_expect_answer(fixture, waiting, 200, "2", true);
    peer_expect_close(fixture, waiting);
    assert_true(http_has_connections(bench->server));
    release(bench, 2000000);
    read_large(bench, more, 2000000);
    peer_expect_close(fixture, more);
    assert_int_equal(bench->begun, 3);
    RUN_UNTIL(fixture, !http_has_connections(bench->server));
    end(bench);
}

static void test_closed(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int waiting = peer_connect(&bench->address), taking = peer_connect(&bench->address);
    peer_ask(fixture, waiting, HTTP_GET("/late/1") HTTP_GET("/late/2"));
    peer_ask(fixture, taking, HTTP_GET("/slarge/3000000"));
    release(bench, 3000000);
    RUN_UNTIL(fixture, find_task(bench, 1));
    stop(bench);
    close(waiting);
    close(taking);
}

/* Answers for a connection that is closing: told, and lost. */
static void test_answer_to_closing(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int small = peer_connect(&bench->address), large = peer_connect(&bench->address);
    peer_ask(fixture, small, HTTP_GET("/late/1"));
    peer_ask(fixture, large, HTTP_GET("/slarge/5000"));
    RUN_UNTIL(fixture, outstanding(bench) == 2);
    http_server.stop(bench->server);
    http_close_connections(bench->server);
    release(bench, 1);
    release(bench, 5000);
    RUN_UNTIL(fixture, !http_has_connections(bench->server));
    assert_int_equal(bench->gone, 0);
    end(bench);
    close(small);
    close(large);
}

static void test_loop_ends(struct fixture *fixture) {
    struct bench *bench = start(fixture, NULL);
    int waiting = peer_connect(&bench->address), taking = peer_connect(&bench->address);
    peer_ask(fixture, waiting, HTTP_GET("/late/1") HTTP_GET("/late/2"));
    peer_ask(fixture, taking, HTTP_GET("/slarge/3000000"));
    release(bench, 3000000);
    RUN_UNTIL(fixture, find_task(bench, 1));
    http_server.stop(bench->server);
    reopen_loop(fixture, NULL);
    assert_int_equal(bench->gone, 1);
    end(bench);
    close(waiting);
    close(taking);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"answers at once and later, and their statuses", test_answers, true},
        {"answers without a body", test_no_body, false},
        {"late answers that are the last", test_last, true},
        {"100-continue for a route", test_expectation, false},
        {"between connections in any order", test_out_of_order, true},
        {"answers of timers", test_timers, false},
        {"64 requests in one read, of all kinds", test_pipeline, true},
        {"what follows an outstanding answer is held", test_held, false},
        {"bodies of all sizes", test_large, true},
        {"a peer that does not read", test_no_reading, true},
        {"an answer behind one that is still on its way", test_behind_another, true},
        {"peers that go while an answer is outstanding", test_gone, true},
        {"a peer that has ended gets its answers", test_half_close, true},
        {"no time limit runs while the server is slow", test_time_limits, false},
        {"stopping waits for what is outstanding", test_stop, true},
        {"closing ends what is outstanding", test_closed, false},
        {"answers to who is closing", test_answer_to_closing, false},
        {"the loop ends with answers outstanding", test_loop_ends, false},
    };
    return conformance_main("http_routes", cases, ARRAY_LENGTH(cases));
}

#endif
