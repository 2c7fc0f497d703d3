/* test_offload.c: the workload `offload` on every loop: what a job that blocks does to everything
 * else, inline and offloaded; every job accounted for, whatever happens to it.
 *
 * Times are lower bounds alone, or an order: a job that is offloaded holds nobody up because what
 * is asked later is answered before it, however long that takes. */
#include "http_peer.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/socket.h>
#include <zlib.h>

#include "workloads/workload.h"

extern const struct workload offload_workload;

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
    knob_values_init(&knobs, offload_workload.knobs, (struct knob_table){NULL, 0});
    assert_true((size_t)snprintf(pairs, sizeof pairs, "%s", settings) < sizeof pairs);
    for (char *pair = strtok(pairs, " "); pair; pair = strtok(NULL, " "))
        if (knob_set_pair(&knobs, pair, error))
            fail_msg("%s", error->text);
    fresh_address(service->fixture, &any);
    return offload_workload.server->start(service->fixture->loop, &knobs, &any, &service->address,
                                          &service->server, error);
}

/* `settings`: NAME=VALUE, with spaces between them. */
static void start_server(struct service *service, struct fixture *fixture, const char *settings) {
    struct error error = {""};
    *service = (struct service){.fixture = fixture};
    if (try_to_start(service, settings, &error))
        fail_msg("%s", error.text);
}

static double counter(const struct service *service, const char *name) {
    struct workload_counter counters[WORKLOAD_COUNTERS_MOST];
    size_t count = offload_workload.server->counters(service->server, counters);
    for (size_t i = 0; i < count; i++)
        if (strcmp(counters[i].name, name) == 0)
            return counters[i].value;
    fail_msg("no counter is called %s", name);
    return 0;
}

static void check_accounts(const struct service *service) {
    assert_true(counter(service, "jobs_submitted") == counter(service, "jobs_done") +
                                                          counter(service, "jobs_cancelled") +
                                                          counter(service, "jobs_under_way"));
}

static void end_server(struct service *service, bool now) {
    RUN_UNTIL(service->fixture, offload_workload.server->stopped(service->server, now));
}

static void stop_server(struct service *service) {
    check_accounts(service);
    offload_workload.server->stop(service->server);
    end_server(service, true);
}

static void ask(const struct service *service, int peer, const char *path) {
    char request[128];
    snprintf(request, sizeof request, "GET %s" HTTP_HOST "\r\n", path);
    peer_ask(service->fixture, peer, request);
}

/* On a connection of its own. */
static int ask_on_new(const struct service *service, const char *path) {
    int peer = peer_connect(&service->address);
    ask(service, peer, path);
    return peer;
}

static void expect(const struct service *service, int peer, int status, const char *text) {
    peer_expect_answer(service->fixture, peer, status, text, false);
}

/* Threads of this process whose name begins so. One that was joined may be listed a little longer,
 * and a case that failed leaves some behind: others ask for no more than there were before. */
static int count_threads(const char *name) {
    int count = 0;
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        char path[320], comm[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue; /* it has ended meanwhile */
        if (fgets(comm, sizeof comm, file))
            count += strncmp(comm, name, strlen(name)) == 0;
        fclose(file);
    }
    closedir(folder);
    return count;
}

/* ---- answers ----------------------------------------------------------------------------------
 */

/* What zlib makes of that which the server says a body of n bytes is: its CRC-32, and how long it
 * is when it is compressed. */
static void body_sums(const struct service *service, int peer, size_t n, char crc[16],
                      char packed[16]) {
    struct peer_answer answer;
    char path[32];
    uLongf length = compressBound(n);
    uint8_t *bytes = malloc(n), *short_bytes = malloc(length);
    assert_true(bytes && short_bytes);
    snprintf(path, sizeof path, "/bytes/%zu", n);
    ask(service, peer, path);
    peer_read_head(service->fixture, peer, &answer);
    assert_int_equal(answer.bytes, n);
    assert_true(peer_read_bytes(service->fixture, peer, bytes, n));
    snprintf(crc, 16, "%08lx\n", crc32(0, bytes, (uInt)n));
    assert_int_equal(compress(short_bytes, &length, bytes, n), Z_OK);
    snprintf(packed, 16, "%lu\n", length);
    free(bytes);
    free(short_bytes);
}

static void expect_file(const struct service *service, int peer, const char *path,
                        const char *crc) {
    struct peer_answer answer;
    ask(service, peer, path);
    peer_read_answer(service->fixture, peer, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.text, crc);
}

static void check_answers(struct fixture *fixture, const char *settings) {
    struct service service;
    struct peer_answer answer;
    char crc[16], packed[16];
    start_server(&service, fixture, settings);
    int peer = peer_connect(&service.address);
    static const char *const plain[][2] = {
        {"/light", "light\n"},    {"/sleep/0", "0\n"},       {"/sleep/2000?x", "2000\n"},
        {"/cpu/1500", "1500\n"},  {"/hash/0", "00000000\n"}, {"/job", "3000\n"},
        {"/low/job", "3000\n"},   {"/low/sleep/1", "1\n"},   {"/passes/0", "0\n"},
        {"/passes/100", "100\n"}, {"/timer/0", "0\n"},       {"/timer/1000", "1000\n"},
        {"/compress/0", "8\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(plain); i++) {
        ask(&service, peer, plain[i][0]);
        expect(&service, peer, 200, plain[i][1]);
    }
    body_sums(&service, peer, 100001, crc, packed);
    ask(&service, peer, "/compress/100001");
    expect(&service, peer, 200, packed);
    ask(&service, peer, "/hash/100001");
    expect(&service, peer, 200, crc);
    expect_file(&service, peer, "/file/warm", crc);
    expect_file(&service, peer, "/file/cold", crc);
    expect_file(&service, peer, "/file/cold", crc);
    ask(&service, peer, "/resolve"); /* a system need not know the name */
    peer_read_answer(fixture, peer, &answer);
    assert_true(answer.status == 500 ||
                (answer.status == 200 && strncmp(answer.text, "127.", 4) == 0));
    assert_true(counter(&service, "jobs_done") == 14);
    assert_true(counter(&service, "light") == 1);
    assert_true(counter(&service, "jobs_failed") == (answer.status == 500));
    assert_true(counter(&service, "run_mean_ns") * 14 >= 9.5e6);
    close(peer);
    stop_server(&service);
}

/* /job does whatever the knobs say. */
static void test_job_kinds(struct fixture *fixture) {
    static const struct {
        const char *settings, *path;
    } kinds[] = {
        {"job=hash job_bytes=70000", "/hash/70000"},
        {"job=compress job_bytes=70000", "/compress/70000"},
        {"job=file_cold file_bytes=5000", "/file/warm"},
        {"job=file_warm file_bytes=5000", "/file/cold"},
        {"job=resolve", "/resolve"},
        {"job=cpu job_us=10", "/sleep/10"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct service service;
        struct peer_answer same, answer;
        start_server(&service, fixture, kinds[i].settings);
        int peer = peer_connect(&service.address);
        ask(&service, peer, kinds[i].path);
        peer_read_answer(fixture, peer, &same);
        ask(&service, peer, "/job");
        peer_read_answer(fixture, peer, &answer);
        assert_int_equal(answer.status, same.status);
        assert_string_equal(answer.text, same.text);
        assert_true(counter(&service, "jobs_done") == 2);
        close(peer);
        stop_server(&service);
    }
}

#define JOB_SETTINGS " job=sleep job_us=3000 file_bytes=100001"

static void test_inline(struct fixture *fixture) {
    check_answers(fixture, "mode=inline" JOB_SETTINGS);
}

static void test_pool(struct fixture *fixture) {
    check_answers(fixture, "mode=pool" JOB_SETTINGS);
}

static void test_per_call(struct fixture *fixture) {
    check_answers(fixture, "mode=per_call" JOB_SETTINGS);
}

static void test_missing(struct fixture *fixture) {
    static const char *const missing[] = {
        "/sleep/",
        "/sleep",
        "/sleep/1x",
        "/sleep/-1",
        "/sleep/5000001",
        "/cpu/1/",
        "/lightly",
        "/low/light",
        "/low/mix",
        "/low/passes/1",
        "/low",
        "/low/",
        "/file",
        "/file/",
        "/file/..",
        "/timer/",
        "/timer/5000001",
        "/low/timer/1",
        "/compress/x",
        "/hash/x",
        "/jobs",
        "/hash/268435457",
        "/passes/1000001",
        "/sleep/99999999999999999999",
    };
    struct service service;
    struct peer_answer answer;
    start_server(&service, fixture, "mode=pool");
    int peer = peer_connect(&service.address);
    for (size_t i = 0; i < ARRAY_LENGTH(missing); i++) {
        ask(&service, peer, missing[i]);
        peer_read_answer(fixture, peer, &answer);
        if (answer.status != 404)
            fail_msg("%s: %d", missing[i], answer.status);
    }
    assert_true(counter(&service, "jobs_submitted") == 0);
    close(peer);
    stop_server(&service);
}

/* Each kind is what it says, on average and in the same order every time. */
static void test_mix(struct fixture *fixture) {
    enum { REQUESTS = 1000 };
    struct service service;
    struct peer_answer answer;
    char orders[2][REQUESTS];
    for (int run = 0; run < 2; run++) {
        start_server(&service, fixture, "mode=pool heavy_per_1000=100 job=cpu job_us=0");
        int peer = peer_connect(&service.address);
        for (int i = 0; i < REQUESTS; i++) {
            ask(&service, peer, "/mix");
            peer_read_answer(fixture, peer, &answer);
            assert_int_equal(answer.status, 200);
            orders[run][i] = answer.text[0];
        }
        double heavy = counter(&service, "jobs_done");
        assert_true(heavy >= 60 && heavy <= 140);
        assert_true(counter(&service, "light") == REQUESTS - heavy);
        close(peer);
        stop_server(&service);
    }
    assert_memory_equal(orders[0], orders[1], REQUESTS);
}

/* ---- who waits for a job ----------------------------------------------------------------------
 */

struct alarm {
    struct timer timer;
    const struct service *service;
    uint64_t came_ns;
    bool job_was_there; /* it was read before */
};

static void alarm_due(struct timer *timer) {
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->came_ns = clock_now_ns();
    alarm->job_was_there = counter(alarm->service, "jobs_submitted") == 1;
}

/* A job of 200 ms, and a timer that is due 100 ms after the job has begun. Inline the timer comes
 * when the job is over; offloaded, before. */
static void test_timer_beside_inline(struct fixture *fixture) {
    struct service service;
    struct alarm alarm = {.timer.on_due = alarm_due, .service = &service};
    start_server(&service, fixture, "mode=inline");
    int peer = ask_on_new(&service, "/sleep/200000");
    uint64_t before_ns = clock_now_ns();
    timer_set(fixture->loop, &alarm.timer, before_ns + 100 * NS_PER_MS);
    RUN_UNTIL(fixture, alarm.came_ns > 0);
    /* Unless the timer came before the request was even read. */
    if (alarm.job_was_there) {
        assert_true(counter(&service, "jobs_done") == 1);
        assert_true(alarm.came_ns - before_ns >= 200 * NS_PER_MS);
    }
    expect(&service, peer, 200, "200000\n");
    assert_true(counter(&service, "run_mean_ns") >= 200e6);
    assert_true(counter(&service, "queue_wait_p99_ns") == 0);
    close(peer);
    stop_server(&service);
}

/* On a busy machine any job may be over before the loop comes to look, so a longer one is tried. */
enum { JOB_US_LEAST = 50000, JOB_US_MOST = 3200000 };

/* Whether a timer that is due at half of the job's time comes before the job is over. */
static bool timer_comes_first(struct service *service, unsigned job_us) {
    char path[32], text[16];
    struct alarm alarm = {.timer.on_due = alarm_due, .service = service};
    double submitted = counter(service, "jobs_submitted"), done = counter(service, "jobs_done");
    snprintf(path, sizeof path, "/sleep/%u", job_us);
    snprintf(text, sizeof text, "%u\n", job_us);
    int peer = ask_on_new(service, path);
    RUN_UNTIL(service->fixture, counter(service, "jobs_submitted") > submitted);
    timer_set(service->fixture->loop, &alarm.timer, clock_now_ns() + job_us / 2 * NS_PER_US);
    int light = ask_on_new(service, "/light");
    expect(service, light, 200, "light\n");
    RUN_UNTIL(service->fixture, alarm.came_ns > 0);
    bool first = counter(service, "jobs_done") == done;
    expect(service, peer, 200, text);
    close(light);
    close(peer);
    return first;
}

static void check_timer_beside(struct fixture *fixture, const char *settings) {
    struct service service;
    unsigned job_us = JOB_US_LEAST;
    start_server(&service, fixture, settings);
    while (!timer_comes_first(&service, job_us))
        if ((job_us *= 2) > JOB_US_MOST)
            fail_msg("a timer waits for a job that was offloaded");
    stop_server(&service);
}

static void test_timer_beside_pool(struct fixture *fixture) {
    check_timer_beside(fixture, "mode=pool");
}

static void test_timer_beside_per_call(struct fixture *fixture) {
    check_timer_beside(fixture, "mode=per_call");
}

/* ---- many at a time ---------------------------------------------------------------------------
 */

enum { PEERS = 24, ROUNDS = 5 };

static void ask_round(const struct service *service, const int *peers, int round) {
    char path[32];
    for (int i = 0; i < PEERS; i++) {
        snprintf(path, sizeof path, "%s/sleep/%d", i % 2 ? "/low" : "", round * 100 + i);
        ask(service, peers[i], path);
        ask(service, peers[i], "/light");
        snprintf(path, sizeof path, "/cpu/%d", i);
        ask(service, peers[i], path);
    }
}

static void expect_round(const struct service *service, const int *peers, int round) {
    char text[16];
    for (int i = 0; i < PEERS; i++) {
        snprintf(text, sizeof text, "%d\n", round * 100 + i);
        expect(service, peers[i], 200, text);
        expect(service, peers[i], 200, "light\n");
        snprintf(text, sizeof text, "%d\n", i);
        expect(service, peers[i], 200, text);
    }
}

static void ask_many(struct service *service) {
    int peers[PEERS];
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_connect(&service->address);
    for (int round = 0; round < ROUNDS; round++) {
        ask_round(service, peers, round);
        expect_round(service, peers, round);
    }
    assert_true(counter(service, "light") == PEERS * ROUNDS);
    assert_true(counter(service, "jobs_done") == 2 * PEERS * ROUNDS);
    assert_true(counter(service, "jobs_refused") == 0);
    assert_true(counter(service, "jobs_under_way") == 0);
    assert_true(counter(service, "queue_wait_p99_ns") >= counter(service, "queue_wait_p50_ns"));
    for (int i = 0; i < PEERS; i++)
        close(peers[i]);
}

static void check_many(struct fixture *fixture, const char *settings) {
    struct service service;
    start_server(&service, fixture, settings);
    ask_many(&service);
    stop_server(&service);
}

static void test_many_inline(struct fixture *fixture) {
    check_many(fixture, "mode=inline");
}

static void test_many_on_one_thread(struct fixture *fixture) {
    check_many(fixture, "mode=pool pool_threads=1");
}

static void test_many_on_pool(struct fixture *fixture) {
    int before = count_threads("offload");
    check_many(fixture, "mode=pool pool_threads=16");
    RUN_UNTIL(fixture, count_threads("offload") <= before);
}

/* As many threads as jobs, one after the other, and none is left. */
static void test_many_per_call(struct fixture *fixture) {
    struct service service;
    int before = count_threads("per-call");
    start_server(&service, fixture, "mode=per_call");
    ask_many(&service);
    assert_true(counter(&service, "threads_started") == 2 * PEERS * ROUNDS);
    RUN_UNTIL(fixture, count_threads("per-call") <= before);
    stop_server(&service);
}

static void test_libuv_pool(struct fixture *fixture) {
    struct service service = {.fixture = fixture};
    struct error error = {""};
    int failure = try_to_start(&service, "mode=pool pool_kind=libuv", &error);
    if (!fixture->info.built_on || strncmp(fixture->info.built_on, "libuv ", 6) != 0) {
        assert_int_equal(failure, -ENOTSUP);
        assert_non_null(strstr(error.text, "libuv"));
        return;
    }
    if (failure)
        fail_msg("%s", error.text);
    ask_many(&service);
    stop_server(&service);
}

/* ---- too many, and nobody there ---------------------------------------------------------------
 */

enum { CROWD = 40 };

static void ask_from_crowd(const struct service *service, int *peers, const char *path) {
    for (int i = 0; i < CROWD; i++)
        peers[i] = ask_on_new(service, path);
    RUN_UNTIL(service->fixture,
              counter(service, "jobs_submitted") + counter(service, "jobs_refused") >= CROWD);
}

/* How many of the answers are 200; the others have to be 503 with Retry-After. */
static int count_answered(const struct service *service, int *peers) {
    int answered = 0;
    for (int i = 0; i < CROWD; i++) {
        struct peer_answer answer;
        peer_read_answer(service->fixture, peers[i], &answer);
        answered += answer.status == 200;
        assert_true(answer.status == 200 || answer.status == 503);
        assert_true(answer.status == 200 || strstr(answer.head, "\r\nRetry-After: "));
    }
    return answered;
}

static void close_crowd(const int *peers) {
    for (int i = 0; i < CROWD; i++)
        close(peers[i]);
}

/* `bounded`: the counter of those that have room for three. */
static void check_full(struct fixture *fixture, const char *settings, const char *bounded) {
    struct service service;
    int peers[CROWD];
    start_server(&service, fixture, settings);
    ask_from_crowd(&service, peers, "/sleep/20000");
    double refused = counter(&service, "jobs_refused");
    assert_true(refused > 0);
    int light = ask_on_new(&service, "/light");
    expect(&service, light, 200, "light\n");
    assert_true(count_answered(&service, peers) == CROWD - refused);
    assert_true(counter(&service, "jobs_done") == CROWD - refused);
    assert_true(counter(&service, bounded) <= 3);
    /* There is room again. */
    ask(&service, light, "/sleep/1");
    expect(&service, light, 200, "1\n");
    close(light);
    close_crowd(peers);
    stop_server(&service);
}

static void test_full(struct fixture *fixture) {
    check_full(fixture, "mode=pool pool_threads=2 queue_bound=1", "queued_most");
}

static void test_full_per_call(struct fixture *fixture) {
    check_full(fixture, "mode=per_call pool_threads=2 queue_bound=1", "jobs_under_way_most");
}

/* Many times more jobs than there is room for, all the time: each is refused or done, light
 * requests wait for none of those that wait before them, and nothing grows. */
static void check_overload(struct fixture *fixture, const char *settings) {
    enum { ROUNDS_MOST = 80, ROUNDS_TO_SETTLE = 10, ROOM = 6, MOST_GROWN = 512 << 10 };
    struct service service;
    int peers[CROWD], answered = 0;
    long settled_bytes = 0;
    start_server(&service, fixture, settings);
    for (int i = 0; i < CROWD; i++)
        peers[i] = peer_connect(&service.address);
    int light = peer_connect(&service.address);
    for (int round = 0; round < ROUNDS_MOST; round++) {
        for (int i = 0; i < CROWD; i++)
            ask(&service, peers[i], "/sleep/300");
        ask(&service, light, "/light");
        expect(&service, light, 200, "light\n");
        answered += count_answered(&service, peers);
        if (round == ROUNDS_TO_SETTLE)
            settled_bytes = resident_bytes();
    }
    long grown_bytes = resident_bytes() - settled_bytes;
    assert_true(counter(&service, "jobs_done") == answered);
    assert_true(counter(&service, "jobs_refused") == CROWD * ROUNDS_MOST - answered);
    assert_true(counter(&service, "queued_most") <= ROOM && counter(&service, "busy_most") <= 2);
    double parts_ns =
        counter(&service, "queue_wait_mean_ns") + counter(&service, "delivery_mean_ns");
    assert_true(fabs(counter(&service, "offload_mean_ns") - parts_ns) <= 1);
#ifndef SANITIZER_NAME
    if (grown_bytes > MOST_GROWN)
        fail_msg("%ld bytes more after %d refusals", grown_bytes, CROWD * ROUNDS_MOST - answered);
#else
    (void)grown_bytes;
#endif
    close(light);
    close_crowd(peers);
    stop_server(&service);
}

static void test_overload(struct fixture *fixture) {
    check_overload(fixture, "mode=pool pool_threads=2 queue_bound=4");
}

static void test_overload_per_call(struct fixture *fixture) {
    check_overload(fixture, "mode=per_call pool_threads=2 queue_bound=4");
}

/* Those that wait never begin. */
static void test_gone(struct fixture *fixture) {
    struct service service;
    int peers[CROWD];
    start_server(&service, fixture, "mode=pool pool_threads=1");
    ask_from_crowd(&service, peers, "/sleep/200000");
    for (int i = 0; i < CROWD; i++)
        peer_reset(peers[i]);
    RUN_UNTIL(fixture, counter(&service, "jobs_under_way") == 0);
    assert_true(counter(&service, "jobs_cancelled") > 0);
    assert_true(counter(&service, "clients_gone") >= counter(&service, "jobs_cancelled"));
    int peer = ask_on_new(&service, "/sleep/1");
    expect(&service, peer, 200, "1\n");
    close(peer);
    stop_server(&service);
}

static void test_gone_per_call(struct fixture *fixture) {
    struct service service;
    int peers[CROWD], before = count_threads("per-call");
    start_server(&service, fixture, "mode=per_call");
    ask_from_crowd(&service, peers, "/sleep/30000");
    for (int i = 0; i < CROWD; i++)
        peer_reset(peers[i]);
    RUN_UNTIL(fixture, counter(&service, "jobs_under_way") == 0);
    RUN_UNTIL(fixture, count_threads("per-call") <= before);
    stop_server(&service);
}

static void test_gone_while_passing(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "mode=pool");
    int peer = ask_on_new(&service, "/passes/1000000"), other = ask_on_new(&service, "/light");
    expect(&service, other, 200, "light\n"); /* passes hold nobody up */
    peer_reset(peer);
    ask(&service, other, "/passes/5");
    expect(&service, other, 200, "5\n");
    close(other);
    stop_server(&service);
}

/* A timer that nobody waits for any more is not waited for when the server stops, either. */
static void test_gone_before_timer(struct fixture *fixture) {
    struct service service;
    start_server(&service, fixture, "mode=pool");
    int peer = ask_on_new(&service, "/timer/5000000"), other = ask_on_new(&service, "/timer/100");
    expect(&service, other, 200, "100\n");
    peer_reset(peer);
    RUN_UNTIL(fixture, counter(&service, "clients_gone") == 1);
    close(other);
    offload_workload.server->stop(service.server);
    uint64_t before_ns = clock_now_ns();
    end_server(&service, false);
    assert_true(clock_now_ns() - before_ns < 5 * NS_PER_S);
}

/* ---- jobs of the server's own -----------------------------------------------------------------
 */

static void check_background(struct fixture *fixture, const char *settings) {
    enum { JOBS = 50, PER_S = 2000 };
    struct service service;
    uint64_t before_ns = clock_now_ns();
    start_server(&service, fixture, settings);
    int light = ask_on_new(&service, "/light");
    expect(&service, light, 200, "light\n");
    RUN_UNTIL(fixture, counter(&service, "jobs_done") >= JOBS);
    assert_true(clock_now_ns() - before_ns >= (JOBS - 1) * NS_PER_S / PER_S);
    assert_true(counter(&service, "jobs_background") >= JOBS);
    close(light);
    stop_server(&service);
}

static void test_background_inline(struct fixture *fixture) {
    check_background(fixture, "mode=inline jobs_per_s=2000 job_us=0");
}

static void test_background(struct fixture *fixture) {
    check_background(fixture, "mode=pool jobs_per_s=2000 job_us=100 jobs_priority=low");
}

/* ---- ends -------------------------------------------------------------------------------------
 */

/* How many of the crowd have got a 200 of a server that stops. */
static int stop_under_load(struct fixture *fixture, const char *settings, const char *path) {
    struct service service;
    int peers[CROWD];
    start_server(&service, fixture, settings);
    ask_from_crowd(&service, peers, path);
    offload_workload.server->stop(service.server);
    int answered = count_answered(&service, peers);
    for (int i = 0; i < CROWD; i++)
        peer_expect_close(fixture, peers[i]);
    end_server(&service, false);
    return answered;
}

static void test_stop_drains(struct fixture *fixture) {
    assert_int_equal(
        stop_under_load(fixture, "mode=pool pool_threads=4 drain_time=1h", "/sleep/10000"), CROWD);
}

static void test_stop_cancels(struct fixture *fixture) {
    assert_true(stop_under_load(fixture, "mode=pool pool_threads=1 drain_time=0", "/sleep/100000") <
                CROWD);
}

static void test_stop_cancels_late(struct fixture *fixture) {
    /* All of them would take two seconds. */
    assert_true(stop_under_load(fixture, "mode=pool pool_threads=1 drain_time=20ms",
                                "/sleep/50000") < CROWD);
}

static void test_stop_per_call(struct fixture *fixture) {
    assert_int_equal(stop_under_load(fixture, "mode=per_call drain_time=0", "/sleep/10000"), CROWD);
}

static void check_stop_now(struct fixture *fixture, const char *settings) {
    struct service service;
    int peers[CROWD];
    start_server(&service, fixture, settings);
    ask_from_crowd(&service, peers, "/sleep/20000");
    stop_server(&service);
    close_crowd(peers);
}

static void test_stop_now(struct fixture *fixture) {
    check_stop_now(fixture, "mode=pool pool_threads=2 jobs_per_s=100");
}

static void test_stop_now_per_call(struct fixture *fixture) {
    check_stop_now(fixture, "mode=per_call jobs_per_s=100");
}

static void test_stop_at_once(struct fixture *fixture) {
    static const char *const modes[] = {"mode=inline", "mode=pool", "mode=per_call"};
    struct service service;
    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        start_server(&service, fixture, modes[i]);
        stop_server(&service);
    }
}

#ifdef HAVE_LLHTTP

int main(void) {
    static const struct conformance_case cases[] = {
        {"answers, inline", test_inline, true},
        {"answers, on the pool", test_pool, true},
        {"answers, on a pool for each job", test_per_call, false},
        {"jobs of every kind", test_job_kinds, false},
        {"paths that are none", test_missing, false},
        {"a mix", test_mix, false},
        {"a timer waits for a job inline", test_timer_beside_inline, false},
        {"a timer does not wait for the pool", test_timer_beside_pool, false},
        {"nor for a pool for each job", test_timer_beside_per_call, false},
        {"many, inline", test_many_inline, false},
        {"many, on one thread", test_many_on_one_thread, false},
        {"many, on 16 threads", test_many_on_pool, true},
        {"many, on a pool for each", test_many_per_call, false},
        {"the pool of libuv", test_libuv_pool, false},
        {"too many jobs", test_full, false},
        {"too many jobs with a pool for each", test_full_per_call, false},
        {"far too many jobs for long", test_overload, false},
        {"far too many jobs for long with a pool for each", test_overload_per_call, false},
        {"clients that are gone", test_gone, false},
        {"clients that are gone, with a pool for each", test_gone_per_call, false},
        {"a client that is gone between passes", test_gone_while_passing, false},
        {"a client that is gone before its timer", test_gone_before_timer, false},
        {"jobs of the server's own, inline", test_background_inline, false},
        {"jobs of the server's own", test_background, false},
        {"stopping lets jobs begin", test_stop_drains, false},
        {"stopping cancels jobs", test_stop_cancels, false},
        {"stopping cancels jobs after a while", test_stop_cancels_late, false},
        {"stopping waits for jobs with a pool for each", test_stop_per_call, false},
        {"stopping now", test_stop_now, false},
        {"stopping now with a pool for each", test_stop_now_per_call, false},
        {"stopping at once", test_stop_at_once, false},
    };
    return conformance_main("offload", cases, ARRAY_LENGTH(cases));
}

#else

int main(void) {
    printf("skip offload: llhttp was missing at build time\n");
    return 0;
}

#endif
