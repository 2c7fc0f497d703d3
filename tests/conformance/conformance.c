/* conformance.c: see conformance.h. */
#include "conformance.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { WATCHDOG_S = 60, WATCHDOG_GRACE_S = 5 };

/* ---- descriptors ----------------------------------------------------------------------------- */

int count_descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

int raise_descriptor_limit(void) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur > 1 << 20 ? 1 << 20 : (int)limit.rlim_cur;
}

/* ---- the watchdog ---------------------------------------------------------------------------- */

/* A signal handler can be told of the fixture in no other way. */
static struct fixture *volatile watched;

/* The first time the loop is stopped and the case fails by itself. If it hangs elsewhere (loop_free
 * included) there is no state left that could be trusted. */
static void watchdog_bites(int number) {
    (void)number;
    static const char message[] = "watchdog: the case hangs outside of the loop\n";
    struct fixture *fixture = watched;
    if (fixture && !fixture->timed_out) {
        fixture->timed_out = true;
        loop_stop(fixture->loop);
        alarm(WATCHDOG_GRACE_S);
        return;
    }
    ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
    (void)ignored;
    _exit(1);
}

static void watch_over(struct fixture *fixture) {
    struct sigaction action = {.sa_handler = watchdog_bites};
    watched = fixture;
    sigaction(SIGALRM, &action, NULL);
    alarm(WATCHDOG_S);
}

static void free_loop(struct fixture *fixture) {
    watched = NULL;
    loop_free(fixture->loop);
}

static void check_watchdog(const struct fixture *fixture) {
    if (fixture->timed_out)
        fail_msg("nothing more happened for %d s", WATCHDOG_S);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* A case may ask for more than its setup does, but not for other queues. */
static void open_loop(struct fixture *fixture, const struct loop_config *config) {
    struct error error = {""};
    struct loop_config both = config ? *config : (struct loop_config){0};
    both.queue_entries = fixture->setup->config.queue_entries;
    both.receive_buffers = fixture->setup->config.receive_buffers;
    if (loop_open(fixture->info.name, &both, &fixture->loop, &error))
        fail_msg("%s", error.text);
    loop_set_data(fixture->loop, fixture);
}

void reopen_loop(struct fixture *fixture, const struct loop_config *config) {
    free_loop(fixture);
    open_loop(fixture, config);
    watch_over(fixture);
}

void run_to_stop(struct fixture *fixture) {
    assert_int_equal(loop_run(fixture->loop), 0);
    check_watchdog(fixture);
}

void one_pass(struct fixture *fixture) {
    uint64_t passes = loop_counters(fixture->loop)->passes;
    loop_stop(fixture->loop);
    run_to_stop(fixture);
    assert_int_equal(loop_counters(fixture->loop)->passes, passes + 1);
}

struct stopper {
    struct timer timer;
    struct loop *loop;
};

static void stop_loop(struct timer *timer) {
    loop_stop(CONTAINER_OF(timer, struct stopper, timer)->loop);
}

void one_millisecond(struct fixture *fixture) {
    struct stopper stopper = {.timer.on_due = stop_loop, .loop = fixture->loop};
    timer_set(fixture->loop, &stopper.timer, clock_now_ns() + NS_PER_MS);
    run_to_stop(fixture);
    timer_cancel(fixture->loop, &stopper.timer);
}

long resident_bytes(void) {
    long pages, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

void settle(struct fixture *fixture) {
    for (int i = 0; i < 3; i++)
        one_pass(fixture);
    one_millisecond(fixture);
}

/* ---- the pattern: differs at every distance up to far beyond any buffer ---------------------- */

uint8_t pattern_byte(size_t k) {
    return (uint8_t)((k * 0x9E3779B97F4A7C15ull) >> 56);
}

void fill_pattern(uint8_t *bytes, size_t offset, size_t n) {
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern_byte(offset + i);
}

bool is_pattern(const uint8_t *bytes, size_t offset, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern_byte(offset + i))
            return false;
    return true;
}

/* ---- probes ---------------------------------------------------------------------------------- */

struct probe *new_probe(struct fixture *fixture) {
    assert_true(fixture->probe_count < FIXTURE_PROBES);
    struct probe *probe = &fixture->probes[fixture->probe_count++];
    *probe = (struct probe){.fixture = fixture};
    return probe;
}

static struct probe *called_back(struct stream *stream, char event) {
    struct probe *probe = stream_data(stream);
    if (probe->fixture->in_call)
        fail_msg("callback '%c' inside the call that started something", event);
    if (probe->closed)
        fail_msg("callback '%c' after on_close", event);
    if ((event == 'd' || event == 's' || event == 'e') && !probe->opened)
        fail_msg("callback '%c' on a stream that is not open", event);
    if ((event == 'd' || event == 'e') && probe->paused)
        fail_msg("callback '%c' on a paused stream", event);
    size_t length = strlen(probe->history);
    assert_true(length + 1 < sizeof probe->history);
    if (event != 'd' || length == 0 || probe->history[length - 1] != 'd') {
        probe->history[length] = event;
        probe->history[length + 1] = '\0'; /* a case may have cut it short */
    }
    return probe;
}

static void react(struct probe *probe, char event) {
    if (probe->react)
        probe->react(probe, event);
}

static void probe_opened(struct stream *stream, int err) {
    struct probe *probe = called_back(stream, 'o');
    assert_string_equal(probe->history, "o");
    probe->stream = stream;
    probe->open_err = err;
    probe->opened = err == 0;
    react(probe, 'o');
}

static void probe_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct probe *probe = called_back(stream, 'd');
    assert_null(strchr(probe->history, 'e'));
    assert_true(n > 0 && n <= buffer->size);
    assert_true(bytes >= buffer->bytes && bytes + n <= buffer->bytes + buffer->size);
    if (!is_pattern(bytes, probe->received, n))
        fail_msg("wrong bytes among %zu after %zu", n, probe->received);
    probe->received += n;
    probe->data_calls++;
    probe->buffer = buffer;
    probe->bytes = bytes;
    probe->n = n;
    react(probe, 'd');
}

static void probe_sent(struct stream *stream, void *cookie, int err) {
    struct probe *probe = called_back(stream, 's');
    assert_true(probe->sending);
    assert_ptr_equal(cookie, (char *)probe + probe->sents);
    assert_false(stream_sending(stream));
    probe->sending = false;
    probe->sents++;
    probe->sent_err = err;
    react(probe, 's');
}

static void probe_ended(struct stream *stream) {
    struct probe *probe = called_back(stream, 'e');
    react(probe, 'e');
}

static void probe_closed(struct stream *stream, int err) {
    struct probe *probe = called_back(stream, 'c');
    assert_false(probe->sending);
    probe->closed = true;
    probe->close_err = err;
    react(probe, 'c');
    probe->stream = NULL;
}

const struct stream_handler probe_handler = {
    .state_bytes = 1,
    .on_open = probe_opened,
    .on_data = probe_data,
    .on_sent = probe_sent,
    .on_eof = probe_ended,
    .on_close = probe_closed,
};

void fresh_address(struct fixture *fixture, struct endpoint *endpoint) {
    char text[ENDPOINT_TEXT_BYTES];
    switch (fixture->transport) {
    case TRANSPORT_TCP:
        snprintf(text, sizeof text, "127.0.0.1:0");
        break;
    case TRANSPORT_TCP6:
        snprintf(text, sizeof text, "[::1]:0");
        break;
    case TRANSPORT_UNIX:
        snprintf(text, sizeof text, "unix:%s/%d", fixture->directory, fixture->sockets++);
        break;
    }
    assert_int_equal(endpoint_parse(text, endpoint, NULL), 0);
}

struct listener *probe_listen(struct probe *probe, struct endpoint *bound) {
    struct error error = {""};
    struct endpoint address;
    struct listener *listener = NULL;
    int failure;
    fresh_address(probe->fixture, &address);
    IN_CALL(probe->fixture, failure = loop_listen(probe->fixture->loop, &address, 128,
                                                  &probe_handler, probe, &listener, bound, &error));
    if (failure)
        fail_msg("%s", error.text);
    return listener;
}

int probe_connect(struct probe *probe, const struct endpoint *target,
                  const struct endpoint *source) {
    int failure;
    IN_CALL(probe->fixture, failure = loop_connect(probe->fixture->loop, target, source,
                                                   &probe_handler, probe, &probe->stream));
    return failure;
}

int probe_send(struct probe *probe, uint8_t *bytes, size_t n, int count) {
    struct iovec parts[LOOP_SEND_PARTS];
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        size_t length = i + 1 == count ? n - at : (n - at) / (size_t)(i + 2);
        parts[i] = (struct iovec){.iov_base = bytes + at, .iov_len = length};
        at += length;
    }
    int result;
    IN_CALL(probe->fixture,
            result = stream_send(probe->stream, parts, count, (char *)probe + probe->sents));
    memset(parts, 0xff, sizeof parts); /* the iovec array is the caller's at once */
    if (result >= 0)
        probe->sent += n;
    if (result == SEND_LATER)
        probe->sending = true;
    if (result >= 0)
        assert_int_equal(stream_sending(probe->stream), result == SEND_LATER);
    return result;
}

int whole_send(const struct fixture *fixture) {
    return fixture->info.defers_sends ? SEND_LATER : SEND_DONE;
}

void echo_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct iovec part = {.iov_base = bytes, .iov_len = n};
    int result = stream_send(stream, &part, 1, buffer);
    if (result == SEND_LATER) {
        buffer_hold(buffer);
        stream_pause(stream);
    } else if (result < 0)
        stream_close(stream);
}

void echo_sent(struct stream *stream, void *cookie, int err) {
    buffer_drop(cookie);
    if (err == 0)
        stream_resume(stream);
}

void probe_pause(struct probe *probe) {
    IN_CALL(probe->fixture, stream_pause(probe->stream));
    probe->paused = true;
}

void probe_resume(struct probe *probe) {
    probe->paused = false;
    IN_CALL(probe->fixture, stream_resume(probe->stream));
}

void probe_shutdown(struct probe *probe) {
    IN_CALL(probe->fixture, stream_shutdown(probe->stream));
}

void probe_close(struct probe *probe) {
    IN_CALL(probe->fixture, stream_close(probe->stream));
}

int accepted_pair(struct probe *probe) {
    struct endpoint bound;
    struct listener *listener = probe_listen(probe, &bound);
    int peer = peer_connect(&bound);
    RUN_UNTIL(probe->fixture, probe->opened);
    IN_CALL(probe->fixture, listener_close(listener));
    return peer;
}

int connected_pair(struct probe *probe) {
    struct endpoint address, bound;
    fresh_address(probe->fixture, &address);
    int listening = endpoint_listen(&address, 16, &bound, NULL), peer;
    assert_true(listening >= 0);
    assert_int_equal(probe_connect(probe, &bound, NULL), 0);
    RUN_UNTIL(probe->fixture, probe->opened);
    RUN_UNTIL(probe->fixture, (peer = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    close(listening);
    if (endpoint_is_unix(&bound))
        unlink(strchr(((struct sockaddr *)&bound.address)->sa_data, '/'));
    return peer;
}

/* ---- peers ----------------------------------------------------------------------------------- */

int peer_connect(const struct endpoint *target) {
    int peer = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    assert_true(peer >= 0);
    if (!endpoint_is_unix(target))
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer, (const struct sockaddr *)&target->address, target->length))
        assert_int_equal(errno, EINPROGRESS);
    return peer;
}

size_t peer_send(int peer, const void *bytes, size_t n) {
    ssize_t taken = send(peer, bytes, n, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN)
        fail_msg("the peer cannot send: %s", strerror(errno));
    return taken < 0 ? 0 : (size_t)taken;
}

void peer_send_all(struct fixture *fixture, int peer, const void *bytes, size_t n) {
    size_t taken = 0;
    RUN_UNTIL(fixture, (taken += peer_send(peer, (const char *)bytes + taken, n - taken)) == n);
}

ssize_t peer_receive(int peer, void *bytes, size_t most) {
    ssize_t n = recv(peer, bytes, most, 0);
    return n < 0 ? -errno : n;
}

void peer_expect(struct fixture *fixture, int peer, size_t offset, size_t n) {
    uint8_t bytes[4096];
    size_t end = offset + n;
    while (offset < end) {
        size_t most = end - offset < sizeof bytes ? end - offset : sizeof bytes;
        ssize_t received;
        RUN_UNTIL(fixture, (received = peer_receive(peer, bytes, most)) != -EAGAIN);
        if (received <= 0)
            fail_msg("the peer got %zd with %zu bytes to come", received, end - offset);
        if (!is_pattern(bytes, offset, (size_t)received))
            fail_msg("the peer got wrong bytes after %zu", offset);
        offset += (size_t)received;
    }
}

bool peer_expect_end(struct fixture *fixture, int peer) {
    uint8_t byte;
    ssize_t received;
    RUN_UNTIL(fixture, (received = peer_receive(peer, &byte, 1)) != -EAGAIN);
    if (received != 0 && received != -ECONNRESET)
        fail_msg("the peer got %zd instead of an end", received);
    return received == 0;
}

void peer_reset(int peer) {
    struct linger reset = {.l_onoff = 1};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(peer);
}

/* ---- running cases --------------------------------------------------------------------------- */

static const char *const transport_names[] = {
    [TRANSPORT_TCP] = "", [TRANSPORT_TCP6] = " (IPv6)", [TRANSPORT_UNIX] = " (unix)"};

/* Every loop runs as it comes; these run once more, as they should not be used, where what is rare
 * happens all the time. */
static const struct setup as_it_comes;
static const struct setup setups[] = {
    {"io_uring", " (8 entries, 2 buffers)", {.queue_entries = 8, .receive_buffers = 2}},
    {"io_uring", " (8 entries, 8 buffers)", {.queue_entries = 8, .receive_buffers = 8}},
};

struct case_run {
    const struct conformance_case *test; /* null: the loop is a control */
    const struct setup *setup;
    struct loop_info info;
    enum transport transport;
    char name[128];
};

static bool ipv6_is_there(void) {
    struct endpoint address;
    int fd =
        endpoint_parse("[::1]:0", &address, NULL) ? -1 : endpoint_listen(&address, 1, NULL, NULL);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void skip_if_impossible(const struct case_run *run) {
    const char *reason = NULL;
    if (!run->info.available)
        reason = run->info.reason.text;
    else if (run->info.control)
        reason = "it is a control and has no sockets";
    else if (run->transport == TRANSPORT_TCP6 && !ipv6_is_there())
        reason = "this host has no ::1";
    if (reason) {
        print_message("%s: skipped: %s\n", run->name, reason);
        skip();
    }
}

static void finish_fixture(struct fixture *fixture) {
    free_loop(fixture);
    for (int i = 0; i < fixture->probe_count; i++)
        if (fixture->probes[i].opened && !fixture->probes[i].closed)
            fail_msg("stream %d had no on_close", i);
    if (rmdir(fixture->directory))
        fail_msg("%s is not empty after the case: %s", fixture->directory, strerror(errno));
    assert_int_equal(count_descriptors(), fixture->descriptors);
    free(fixture);
}

void skip_case(struct fixture *fixture, const char *reason) {
    print_message("%s: skipped: %s\n", fixture->info.name, reason);
    finish_fixture(fixture);
    skip();
}

/* A fixture is leaked when its case fails: nothing cleans up after a jump out of a callback. */
static void run_case(void **state) {
    const struct case_run *run = *state;
    skip_if_impossible(run);
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->info = run->info;
    fixture->setup = run->setup;
    fixture->transport = run->transport;
    fixture->descriptors = count_descriptors();
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/loopmark-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    open_loop(fixture, NULL);
    watch_over(fixture);
    run->test->run(fixture);
    finish_fixture(fixture);
}

static int end_watch(void **state) {
    (void)state;
    watched = NULL;
    alarm(0);
    return 0;
}

/* Writes the runs of one case on one backend and returns how many. */
static size_t list_runs(const struct conformance_case *test, const struct loop_info *info,
                        const struct setup *setup, struct case_run *runs) {
    size_t count = test->every_transport ? ARRAY_LENGTH(transport_names) : 1;
    for (size_t i = 0; i < count; i++) {
        runs[i] = (struct case_run){
            .test = test, .setup = setup, .info = *info, .transport = (enum transport)i};
        snprintf(runs[i].name, sizeof runs[i].name, "%s%s: %s%s", info->name,
                 setup->name ? setup->name : "", test->name, transport_names[i]);
    }
    return count;
}

static size_t list_cases(const struct conformance_case *cases, size_t count,
                         const struct loop_info *info, struct case_run *runs) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += list_runs(&cases[i], info, &as_it_comes, runs + total);
    for (const struct setup *setup = setups; setup < setups + ARRAY_LENGTH(setups); setup++)
        for (size_t i = 0; strcmp(setup->backend, info->name) == 0 && i < count; i++)
            total += list_runs(&cases[i], info, setup, runs + total);
    return total;
}

/* The one run that says that a control is left out. */
static size_t list_control(const char *group, const struct loop_info *info, struct case_run *run) {
    *run = (struct case_run){.setup = &as_it_comes, .info = *info};
    snprintf(run->name, sizeof run->name, "%s: %s", info->name, group);
    return 1;
}

/* A library may keep descriptors of its own from its first loop on (libuv: a pipe for signals).
 * They are no leak, so they are there before anything is counted. */
static void open_first_loop(const struct loop_info *info) {
    struct loop *loop;
    if (info->available && loop_open(info->name, NULL, &loop, NULL) == 0)
        loop_free(loop);
}

int conformance_main(const char *group, const struct conformance_case *cases, size_t count) {
    size_t backends = 0, total = 0;
    struct loop_info info;
    while (loop_info(backends, &info))
        backends++;
    size_t most = (backends + ARRAY_LENGTH(setups)) * count * ARRAY_LENGTH(transport_names);
    struct case_run *runs = calloc(most, sizeof *runs);
    struct CMUnitTest *tests = calloc(most, sizeof *tests);
    CHECK(runs && tests);
    for (size_t backend = 0; loop_info(backend, &info); backend++) {
        open_first_loop(&info);
        total += info.control ? list_control(group, &info, runs + total)
                              : list_cases(cases, count, &info, runs + total);
    }
    for (size_t i = 0; i < total; i++)
        tests[i] = (struct CMUnitTest){.name = runs[i].name,
                                       .test_func = run_case,
                                       .teardown_func = end_watch,
                                       .initial_state = &runs[i]};
    /* The macro around this wants an array whose length the compiler knows. */
    int failures = _cmocka_run_group_tests(group, tests, total, NULL, NULL);
    free(tests);
    free(runs);
    return failures;
}
