/* test_limits.c: many connections at once, descriptors that run out or are too high, and the bounds
 * on what one pass may do. */
#include "conformance.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- a server that answers each byte, and counts --------------------------------------------- */

struct counting {
    int opened, closed, highest_fd;
};

static void count_open(struct stream *stream, int err) {
    struct counting *counting = stream_data(stream);
    if (err)
        return;
    counting->opened++;
    if (stream_fd(stream) > counting->highest_fd)
        counting->highest_fd = stream_fd(stream);
}

static void count_close(struct stream *stream, int err) {
    (void)err;
    ((struct counting *)stream_data(stream))->closed++;
}

static const struct stream_handler counting_handler = {
    .on_open = count_open, .on_data = echo_data, .on_sent = echo_sent, .on_close = count_close};

static struct listener *listen_counting(struct fixture *fixture, int backlog,
                                        struct counting *counting, struct endpoint *bound) {
    struct endpoint address;
    struct listener *listener;
    *counting = (struct counting){0};
    fresh_address(fixture, &address);
    assert_int_equal(loop_listen(fixture->loop, &address, backlog, &counting_handler, counting,
                                 &listener, bound, NULL), 0);
    return listener;
}

/* ---- 4,000 connections ----------------------------------------------------------------------- */

/* Above 4096, the kernel's usual most (net.core.somaxconn), a connection waits for a second try. */
enum { BURST = 4000, SPARE_DESCRIPTORS = 200 };

enum fate { FATE_OPEN, FATE_ANSWERED, FATE_ENDED };

struct burst {
    struct fixture *fixture;
    int count;
    int peers[BURST];
    enum fate fates[BURST];
    int answered, ended;
};

/* Peers go above the backend's limit, to leave it all it can take. */
static int move_peer(int peer, int limit) {
    int moved = fcntl(peer, F_DUPFD, limit);
    assert_true(moved >= limit);
    close(peer);
    return moved;
}

static void connect_peers(struct burst *burst, const struct endpoint *target) {
    for (int i = 0; i < burst->count; i++)
        burst->peers[i] = move_peer(peer_connect(target), burst->fixture->info.descriptor_limit);
}

/* Each peer sends one byte as soon as it is connected, which tells whether it was taken. */
static void ask_peers(struct burst *burst) {
    for (int i = 0; i < burst->count; i++) {
        struct pollfd poller = {.fd = burst->peers[i], .events = POLLOUT};
        RUN_UNTIL(burst->fixture, poll(&poller, 1, 0) == 1);
        uint8_t byte = pattern_byte((size_t)i);
        ssize_t maybe_refused = send(burst->peers[i], &byte, 1, MSG_NOSIGNAL);
        (void)maybe_refused;
    }
}

static void hear_peers(struct burst *burst) {
    for (int i = 0; i < burst->count; i++) {
        uint8_t byte;
        ssize_t n;
        RUN_UNTIL(burst->fixture, (n = peer_receive(burst->peers[i], &byte, 1)) != -EAGAIN);
        if (n == 1)
            assert_int_equal(byte, pattern_byte((size_t)i));
        burst->fates[i] = n == 1 ? FATE_ANSWERED : FATE_ENDED;
        burst->answered += n == 1;
        burst->ended += n != 1;
    }
}

static void test_burst(struct fixture *fixture) {
    int limit = fixture->info.descriptor_limit;
    int room = (raise_descriptor_limit() - limit - SPARE_DESCRIPTORS) / 2;
    struct burst *burst = calloc(1, sizeof *burst);
    assert_non_null(burst);
    burst->fixture = fixture;
    burst->count = room < BURST ? room : BURST;
    if (room < BURST)
        print_message("%s: only %d connections: RLIMIT_NOFILE\n", fixture->info.name, room);
    struct counting counting;
    struct endpoint bound;
    struct listener *listener = listen_counting(fixture, BURST, &counting, &bound);
    connect_peers(burst, &bound);
    ask_peers(burst);
    hear_peers(burst);

    const struct loop_counters *counters = loop_counters(fixture->loop);
    assert_int_equal(counting.opened, burst->answered);
    assert_int_equal(counters->accepted, burst->answered);
    assert_int_equal(counters->accept_refused, burst->ended);
    if (limit > 0) {
        assert_true(counting.highest_fd < limit);
        assert_true(burst->answered > limit - SPARE_DESCRIPTORS);
        assert_true(burst->ended > 0 || burst->count < limit);
    } else {
        assert_int_equal(burst->answered, burst->count);
    }
    for (int i = 0; i < burst->count; i++)
        peer_reset(burst->peers[i]); /* and leaves no TIME_WAIT behind */
    RUN_UNTIL(fixture, counting.closed == counting.opened);
    listener_close(listener);
    free(burst);
}

/* ---- descriptors above the backend's limit --------------------------------------------------- */

enum { HIGH_DESCRIPTOR = FD_SETSIZE };

static void note_ready(struct watch *watch, unsigned events) {
    (void)events;
    watch->fd = -watch->fd;
}

/* Takes every number below `end` that is free; returns how many. */
static int occupy_below(int end, int *taken) {
    int count = 0;
    for (;;) {
        int fd = open("/dev/null", O_RDONLY);
        assert_true(fd >= 0);
        if (fd >= end) {
            close(fd);
            return count;
        }
        taken[count++] = fd;
    }
}

static void release(const int *taken, int count) {
    for (int i = 0; i < count; i++)
        close(taken[i]);
}

static void watch_high(struct fixture *fixture, bool refused) {
    int low = eventfd(1, EFD_NONBLOCK), high = fcntl(low, F_DUPFD, HIGH_DESCRIPTOR);
    struct watch watch = {.fd = high, .on_ready = note_ready};
    assert_int_equal(watch_set(fixture->loop, &watch, WATCH_READ), refused ? -ERANGE : 0);
    if (refused) {
        settle(fixture);
        assert_int_equal(watch.fd, high);
    } else {
        RUN_UNTIL(fixture, watch.fd != high);
        watch.fd = high;
    }
    assert_int_equal(watch_set(fixture->loop, &watch, 0), 0);
    close(high);
    close(low);
}

static void listen_high(struct fixture *fixture, bool refused) {
    struct endpoint address;
    struct listener *listener;
    struct error error = {""};
    struct counting counting = {0};
    enum transport before = fixture->transport;
    fixture->transport = TRANSPORT_UNIX; /* the refused one must leave no file */
    fresh_address(fixture, &address);
    int failure = loop_listen(fixture->loop, &address, 1, &counting_handler, &counting, &listener,
                              NULL, &error);
    fixture->transport = before;
    assert_int_equal(failure, refused ? -ERANGE : 0);
    if (refused)
        assert_non_null(strstr(error.text, fixture->info.name));
    else
        listener_close(listener);
}

static void open_high(struct fixture *fixture, bool refused) {
    struct loop *loop;
    struct error error = {""};
    int failure = loop_open(fixture->info.name, NULL, &loop, &error);
    assert_int_equal(failure, refused ? -ERANGE : 0);
    if (refused)
        assert_non_null(strstr(error.text, fixture->info.name));
    else
        loop_free(loop);
}

static void test_high_descriptors(struct fixture *fixture) {
    static int taken[HIGH_DESCRIPTOR];
    bool refused = fixture->info.descriptor_limit > 0;
    if (raise_descriptor_limit() < HIGH_DESCRIPTOR + SPARE_DESCRIPTORS)
        skip_case(fixture, "RLIMIT_NOFILE forbids descriptors of 1024 and above");
    if (refused)
        assert_int_equal(fixture->info.descriptor_limit, HIGH_DESCRIPTOR);
    struct counting counting;
    struct endpoint bound;
    struct listener *listener = listen_counting(fixture, 16, &counting, &bound);
    struct probe *probe = new_probe(fixture);
    int count = occupy_below(HIGH_DESCRIPTOR, taken);

    watch_high(fixture, refused);
    listen_high(fixture, refused);
    open_high(fixture, refused);
    assert_int_equal(probe_connect(probe, &bound, NULL), refused ? -ERANGE : 0);
    if (!refused)
        RUN_UNTIL(fixture, probe->opened);
    int peer = peer_connect(&bound);
    if (refused) {
        peer_expect_end(fixture, peer);
        assert_int_equal(counting.opened, 0);
        assert_int_equal(loop_counters(fixture->loop)->accept_refused, 1);
    } else
        RUN_UNTIL(fixture, counting.opened == 2 && counting.highest_fd >= HIGH_DESCRIPTOR);
    close(peer);

    release(taken, count);
    peer = peer_connect(&bound); /* what was refused has done no harm */
    uint8_t byte = pattern_byte(0);
    peer_send_all(fixture, peer, &byte, 1);
    peer_expect(fixture, peer, 0, 1);
    close(peer);
    if (!refused)
        probe_close(probe);
    listener_close(listener);
    RUN_UNTIL(fixture, counting.opened == counting.closed);
}

/* ---- out of descriptors: in a child, whose limit can be lowered ------------------------------ */

/* Assertions cannot jump out of a child: it says what failed and gives up. */
#define CHILD_ASSERT(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

enum { HUNGRY_PEERS = 20, DESCRIPTORS_LEFT = 6, IDLE_PASSES_MOST = 50 };

static void lower_limit(int left) {
    int next = dup(0);
    struct rlimit limit;
    CHILD_ASSERT(next >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    close(next);
    limit.rlim_cur = (rlim_t)(next + left);
    CHILD_ASSERT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void child_passes(struct loop *loop, int passes) {
    for (int i = 0; i < passes; i++) {
        loop_stop(loop);
        CHILD_ASSERT(loop_run(loop) == 0);
    }
}

static ssize_t child_hears(struct loop *loop, int peer) {
    uint8_t byte;
    ssize_t n;
    while ((n = peer_receive(peer, &byte, 1)) == -EAGAIN)
        child_passes(loop, 1);
    return n;
}

struct idling {
    struct timer timer;
    struct loop *loop;
};

static void end_idling(struct timer *timer) {
    loop_stop(CONTAINER_OF(timer, struct idling, timer)->loop);
}

/* Passes in 50 ms in which nothing happens: a loop that spins makes thousands. */
static uint64_t idle_passes(struct loop *loop) {
    struct idling idling = {.timer.on_due = end_idling, .loop = loop};
    uint64_t before = loop_counters(loop)->passes;
    timer_set(loop, &idling.timer, clock_now_ns() + 50 * NS_PER_MS);
    CHILD_ASSERT(loop_run(loop) == 0);
    return loop_counters(loop)->passes - before;
}

static void starve(const struct loop_info *info) {
    struct loop *loop;
    struct counting counting = {0};
    struct endpoint address, bound;
    struct stream *stream;
    int peers[HUNGRY_PEERS], answered = 0, last = -1;
    alarm(30);
    CHILD_ASSERT(loop_open(info->name, NULL, &loop, NULL) == 0);
    CHILD_ASSERT(endpoint_parse("127.0.0.1:0", &address, NULL) == 0);
    CHILD_ASSERT(loop_listen(loop, &address, 64, &counting_handler, &counting, NULL, &bound,
                             NULL) == 0);
    for (int i = 0; i < HUNGRY_PEERS; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHILD_ASSERT(peers[i] >= 0);
    }
    lower_limit(DESCRIPTORS_LEFT);
    for (int i = 0; i < HUNGRY_PEERS; i++) {
        connect(peers[i], (struct sockaddr *)&bound.address, bound.length);
        child_passes(loop, 5);
        send(peers[i], "x", 1, MSG_NOSIGNAL);
        if (child_hears(loop, peers[i]) == 1) {
            answered++;
            last = i;
        }
    }
    /* libuv keeps one descriptor in reserve for itself and gives it up at first. */
    CHILD_ASSERT(answered >= 1 && answered <= DESCRIPTORS_LEFT + 1);
    CHILD_ASSERT(counting.opened == answered);
    CHILD_ASSERT(loop_connect(loop, &bound, NULL, &counting_handler, &counting, &stream) ==
                 -EMFILE);
    CHILD_ASSERT(idle_passes(loop) <= IDLE_PASSES_MOST || info->spins);
    const struct loop_counters *counters = loop_counters(loop);
    if (counters->syscalls_exact)
        CHILD_ASSERT(counters->accept_refused == (uint64_t)(HUNGRY_PEERS - answered));

    /* One leaves, with both its descriptors, and one comes. */
    int closed = counting.closed;
    close(peers[last]);
    while (counting.closed == closed)
        child_passes(loop, 1);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHILD_ASSERT(peer >= 0);
    connect(peer, (struct sockaddr *)&bound.address, bound.length);
    child_passes(loop, 5);
    send(peer, "x", 1, MSG_NOSIGNAL);
    CHILD_ASSERT(child_hears(loop, peer) == 1);
    close(peer);
    loop_free(loop);
    CHILD_ASSERT(counting.closed == counting.opened);
}

static void test_out_of_descriptors(struct fixture *fixture) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        starve(&fixture->info);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with status %#x", (unsigned)status);
}

/* ---- what one pass may do -------------------------------------------------------------------- */

/* A stream that always has more to read gives way after 32 full buffers. */
static void test_reads_per_pass(struct fixture *fixture) {
    enum { RECEIVE_BYTES = 100, BYTES = RECEIVE_BYTES * LOOP_READS_PER_EVENT * 3 };
    reopen_loop(fixture, &(struct loop_config){.receive_bytes = RECEIVE_BYTES});
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    static uint8_t bytes[BYTES];
    fill_pattern(bytes, 0, BYTES);
    assert_int_equal(peer_send(peer, bytes, BYTES), BYTES);
    while (probe->received < BYTES) {
        int calls = probe->data_calls;
        one_pass(fixture);
        assert_true(probe->data_calls <= calls + LOOP_READS_PER_EVENT);
    }
    close(peer);
}

/* So does a listener after 64 connections, on our own loops. */
static void test_accepts_per_pass(struct fixture *fixture) {
    enum { PEERS = 3 * LOOP_ACCEPTS_PER_EVENT };
    if (!loop_counters(fixture->loop)->syscalls_exact)
        skip_case(fixture, "the library accepts by its own rule");
    struct counting counting;
    struct endpoint bound;
    struct listener *listener = listen_counting(fixture, PEERS, &counting, &bound);
    int peers[PEERS];
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_connect(&bound);
    while (counting.opened < PEERS) {
        int opened = counting.opened;
        one_pass(fixture);
        assert_true(counting.opened <= opened + LOOP_ACCEPTS_PER_EVENT);
    }
    for (int i = 0; i < PEERS; i++)
        close(peers[i]);
    RUN_UNTIL(fixture, counting.closed == PEERS);
    listener_close(listener);
}

/* A listener that is closed takes nobody any more; its streams live on. */
static void test_listener_close(struct fixture *fixture) {
    struct counting counting;
    struct endpoint bound;
    struct listener *listener = listen_counting(fixture, 16, &counting, &bound);
    int first = peer_connect(&bound);
    RUN_UNTIL(fixture, counting.opened == 1);
    int second = peer_connect(&bound);
    listener_close(listener);
    listener_close(listener);
    peer_expect_end(fixture, second);
    assert_int_equal(counting.opened, 1);
    uint8_t byte = pattern_byte(0);
    peer_send_all(fixture, first, &byte, 1);
    peer_expect(fixture, first, 0, 1);
    close(first);
    close(second);
    RUN_UNTIL(fixture, counting.closed == 1);
}

/* ---- opening by name ------------------------------------------------------------------------- */

static void test_unknown_backend(struct fixture *fixture) {
    struct loop *loop = NULL;
    struct loop_info info;
    struct error error = {""};
    assert_int_equal(loop_open("selekt", NULL, &loop, &error), -ENOENT);
    assert_null(loop);
    assert_non_null(strstr(error.text, "selekt"));
    assert_non_null(strstr(error.text, fixture->info.name));
    assert_int_equal(loop_info_by_name(fixture->info.name, &info, &error), 0);
    assert_string_equal(info.name, fixture->info.name);
    assert_true(info.timer_resolution_ns > 0);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"4,000 connections in a burst", test_burst, false},
        {"descriptors of FD_SETSIZE and above", test_high_descriptors, false},
        {"out of descriptors", test_out_of_descriptors, false},
        {"reads of one stream in a pass", test_reads_per_pass, true},
        {"accepts in a pass", test_accepts_per_pass, false},
        {"a closed listener", test_listener_close, true},
        {"an unknown name is refused", test_unknown_backend, false},
    };
    return conformance_main("limits", cases, ARRAY_LENGTH(cases));
}
