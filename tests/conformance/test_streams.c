/* test_streams.c: bytes, ends and closes of streams. */
#include "conformance.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

enum { MIB = 1 << 20, SMALL_SEND_BUFFER = 4096, TOO_MUCH = MIB };

static void set_buffer(int fd, int option, int bytes) {
    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes), 0);
}

static uint8_t *new_pattern(size_t n) {
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    fill_pattern(bytes, 0, n);
    return bytes;
}

/* Sends more than the kernel takes, to a peer that does not read. */
static uint8_t *send_later(struct probe *probe) {
    set_buffer(stream_fd(probe->stream), SO_SNDBUF, SMALL_SEND_BUFFER);
    uint8_t *bytes = new_pattern(TOO_MUCH);
    assert_int_equal(probe_send(probe, bytes, TOO_MUCH, 1), SEND_LATER);
    return bytes;
}

/* ---- data ------------------------------------------------------------------------------------ */

static void echo_back(struct probe *probe, char event) {
    if (event == 'd') {
        assert_int_equal(probe_send(probe, probe->bytes, probe->n, 1), whole_send(probe->fixture));
        if (probe->sending) {
            buffer_hold(probe->buffer);
            probe_pause(probe);
        }
    } else if (event == 's') {
        buffer_drop(probe->buffer);
        probe_resume(probe);
        memset(probe->history + 1, 0, sizeof probe->history - 1); /* it would become too long */
    }
}

static void test_dribble(struct fixture *fixture) {
    enum { BYTES = 1000 };
    struct probe *probe = new_probe(fixture);
    probe->react = echo_back;
    int peer = accepted_pair(probe);
    for (size_t i = 0; i < BYTES; i++) {
        uint8_t byte = pattern_byte(i);
        peer_send_all(fixture, peer, &byte, 1);
        peer_expect(fixture, peer, i, 1);
    }
    const struct loop_counters *counters = loop_counters(fixture->loop);
    assert_int_equal(probe->data_calls, BYTES);
    assert_int_equal(counters->received_bytes, BYTES);
    assert_int_equal(counters->sent_bytes, BYTES);
    bool defers = fixture->info.defers_sends;
    assert_int_equal(counters->sends_done, defers ? 0 : BYTES);
    assert_int_equal(counters->sends_later, defers ? BYTES : 0);
    assert_int_equal(counters->copied_bytes, 0);
    assert_int_equal(counters->accepted, 1);
    close(peer);
}

static void test_small_receive_buffer(struct fixture *fixture) {
    reopen_loop(fixture, &(struct loop_config){.receive_bytes = 7});
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t *bytes = new_pattern(7000);
    peer_send_all(fixture, peer, bytes, 7000);
    RUN_UNTIL(fixture, probe->received == 7000);
    assert_true(probe->data_calls >= 1000); /* the probe holds each n to the buffer's size */
    free(bytes);
    close(peer);
}

static void test_large_send(struct fixture *fixture) {
    for (int parts = 1; parts <= LOOP_SEND_PARTS; parts += LOOP_SEND_PARTS - 1) {
        struct probe *probe = new_probe(fixture);
        uint64_t sent_before = loop_counters(fixture->loop)->sent_bytes;
        int peer = connected_pair(probe);
        set_buffer(stream_fd(probe->stream), SO_SNDBUF, SMALL_SEND_BUFFER);
        uint8_t *bytes = new_pattern(MIB);
        assert_int_equal(probe_send(probe, bytes, MIB, parts), SEND_LATER);
        peer_expect(fixture, peer, 0, MIB);
        RUN_UNTIL(fixture, !probe->sending);
        settle(fixture);
        assert_string_equal(probe->history, "os");
        assert_int_equal(probe->sent_err, 0);
        assert_int_equal(loop_counters(fixture->loop)->sent_bytes - sent_before, MIB);
        assert_int_equal(loop_counters(fixture->loop)->copied_bytes, 0);
        probe_close(probe);
        assert_true(peer_expect_end(fixture, peer));
        free(bytes);
        close(peer);
    }
}

/* The next send from on_sent, many times over, while data comes in as well. */
struct exchange {
    uint8_t *bytes;
    size_t size;
};

static void send_rest_in_steps(struct probe *probe, char event) {
    struct exchange *exchange = probe->test;
    if (event != 'o' && event != 's')
        return;
    probe->history[1] = '\0'; /* it would become too long */
    while (probe->sent < exchange->size) {
        size_t left = exchange->size - probe->sent, n = left < 30000 ? left : 30000;
        int result = probe_send(probe, exchange->bytes + probe->sent, n, 3);
        assert_true(result >= 0);
        if (result == SEND_LATER)
            return;
    }
}

static void test_both_ways_at_once(struct fixture *fixture) {
    uint8_t *bytes = new_pattern(MIB), got[4096];
    struct exchange exchange = {.bytes = bytes, .size = MIB};
    struct probe *probe = new_probe(fixture);
    probe->test = &exchange;
    probe->react = send_rest_in_steps;
    int peer = accepted_pair(probe);
    size_t there = 0, back = 0;
    while (there < MIB || back < MIB || probe->received < MIB) {
        there += there < MIB ? peer_send(peer, bytes + there, MIB - there) : 0;
        one_pass(fixture);
        ssize_t n = peer_receive(peer, got, sizeof got);
        assert_true(n > 0 || n == -EAGAIN);
        if (n > 0) {
            assert_true(is_pattern(got, back, (size_t)n));
            back += (size_t)n;
        }
    }
    assert_int_equal(loop_counters(fixture->loop)->received_bytes, MIB);
    assert_int_equal(loop_counters(fixture->loop)->sent_bytes, MIB);
    RUN_UNTIL(fixture, !probe->sending);
    probe_close(probe);
    RUN_UNTIL(fixture, probe->closed);
    free(bytes);
    close(peer);
}

/* ---- pausing --------------------------------------------------------------------------------- */

static void pause_at_data(struct probe *probe, char event) {
    if (event == 'd')
        probe_pause(probe);
}

static void test_pause_under_flood(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    probe->react = pause_at_data;
    int peer = accepted_pair(probe);
    probe_pause(probe);
    uint8_t *bytes = new_pattern(MIB);
    size_t there = 0;
    for (int calls = 0; probe->received < MIB; calls++) {
        there += there < MIB ? peer_send(peer, bytes + there, MIB - there) : 0;
        assert_int_equal(probe->data_calls, calls);
        one_pass(fixture);
        assert_int_equal(probe->data_calls, calls);
        probe_resume(probe);
        probe_pause(probe); /* marks that may be repeated */
        probe_resume(probe);
        RUN_UNTIL(fixture, probe->data_calls == calls + 1);
        if (there < MIB)
            assert_true(probe->paused);
    }
    free(bytes);
    close(peer);
}

static void test_pause_keeps_eof(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    probe_pause(probe);
    uint8_t bytes[100];
    fill_pattern(bytes, 0, sizeof bytes);
    peer_send_all(fixture, peer, bytes, sizeof bytes);
    shutdown(peer, SHUT_WR);
    settle(fixture);
    assert_string_equal(probe->history, "o");
    probe_resume(probe);
    RUN_UNTIL(fixture, strcmp(probe->history, "ode") == 0);
    assert_int_equal(probe->received, sizeof bytes);
    close(peer);
}

static void pause_at_open(struct probe *probe, char event) {
    if (event == 'o')
        probe_pause(probe);
}

static void test_pause_in_open(struct fixture *fixture) {
    for (int connects = 0; connects < 2; connects++) {
        struct probe *probe = new_probe(fixture);
        probe->react = pause_at_open;
        int peer = connects ? connected_pair(probe) : accepted_pair(probe);
        uint8_t byte = pattern_byte(0);
        peer_send_all(fixture, peer, &byte, 1);
        settle(fixture);
        assert_string_equal(probe->history, "o");
        probe_resume(probe);
        RUN_UNTIL(fixture, probe->received == 1);
        close(peer);
    }
}

/* ---- no sleep while something is left to do, and none but sleep when nothing is -----------------
 */

enum { LEFT_OVER = 10000 };

struct alarm_clock {
    struct timer timer;
    struct probe *probe;
    uint8_t byte;
};

static void stop_at_the_end(struct probe *probe, char event) {
    if ((event == 'd' && probe->received == LEFT_OVER) || event == 's')
        loop_stop(probe->fixture->loop);
}

static void resume_in_timer(struct timer *timer) {
    probe_resume(CONTAINER_OF(timer, struct alarm_clock, timer)->probe);
}

static void send_in_timer(struct timer *timer) {
    struct alarm_clock *clock = CONTAINER_OF(timer, struct alarm_clock, timer);
    if (probe_send(clock->probe, &clock->byte, 1, 1) == SEND_DONE)
        loop_stop(clock->probe->fixture->loop);
}

/* The peer's data is all there: nothing more happens that could wake the loop. A small buffer ends
 * the reads of a pass long before the data does. */
static void test_left_over_data(struct fixture *fixture) {
    uint8_t bytes[LEFT_OVER];
    fill_pattern(bytes, 0, sizeof bytes);
    for (int pauses = 0; pauses < 2; pauses++) {
        reopen_loop(fixture, &(struct loop_config){.receive_bytes = 100});
        struct probe *probe = new_probe(fixture);
        struct alarm_clock clock = {.timer.on_due = resume_in_timer, .probe = probe};
        probe->react = stop_at_the_end;
        int peer = accepted_pair(probe);
        if (pauses)
            probe_pause(probe);
        peer_send_all(fixture, peer, bytes, sizeof bytes);
        if (pauses) {
            settle(fixture);
            timer_set(fixture->loop, &clock.timer, clock_now_ns() + NS_PER_MS);
        }
        if (probe->received < LEFT_OVER)
            run_to_stop(fixture);
        assert_int_equal(probe->received, LEFT_OVER);
        probe->react = NULL;
        probe_close(probe);
        RUN_UNTIL(fixture, probe->closed);
        close(peer);
    }
}

static void test_send_from_timer(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct alarm_clock clock = {
        .timer.on_due = send_in_timer, .probe = probe, .byte = pattern_byte(0)};
    probe->react = stop_at_the_end;
    int peer = accepted_pair(probe);
    timer_set(fixture->loop, &clock.timer, clock_now_ns() + NS_PER_MS);
    run_to_stop(fixture);
    peer_expect(fixture, peer, 0, 1);
    close(peer);
}

static void test_blocked_send_sleeps(struct fixture *fixture) {
    if (fixture->info.spins)
        skip_case(fixture, "it never sleeps");
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t *bytes = send_later(probe);
    settle(fixture);
    uint64_t passes = loop_counters(fixture->loop)->passes;
    for (int i = 0; i < 10; i++)
        one_millisecond(fixture);
    assert_in_range(loop_counters(fixture->loop)->passes - passes, 10, 100);
    assert_true(probe->sending);
    peer_expect(fixture, peer, 0, TOO_MUCH);
    RUN_UNTIL(fixture, probe->sents == 1);
    free(bytes);
    close(peer);
}

/* ---- two streams ----------------------------------------------------------------------------- */

/* Two streams that are readable in the same pass; whichever is first acts on the other. */
static void pause_the_other(struct probe *probe, char event) {
    struct probe *other = probe->test;
    if (event == 'd' && !probe->paused && !other->paused)
        probe_pause(other);
}

static void close_the_other(struct probe *probe, char event) {
    struct probe *other = probe->test;
    if (event == 'd' && other->stream)
        probe_close(other);
}

static void ready_together(struct fixture *fixture, struct probe *probes[2], int peers[2],
                           void (*react)(struct probe *probe, char event)) {
    uint8_t byte = pattern_byte(0);
    for (int i = 0; i < 2; i++)
        probes[i] = new_probe(fixture);
    for (int i = 0; i < 2; i++) {
        peers[i] = accepted_pair(probes[i]);
        probes[i]->test = probes[1 - i];
        probes[i]->react = react;
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(peer_send(peers[i], &byte, 1), 1);
}

static void test_pause_in_other_callback(struct fixture *fixture) {
    struct probe *probes[2];
    int peers[2];
    ready_together(fixture, probes, peers, pause_the_other);
    RUN_UNTIL(fixture, probes[0]->received + probes[1]->received > 0);
    settle(fixture); /* the probe objects to data while paused */
    struct probe *paused = probes[probes[0]->paused ? 0 : 1];
    assert_int_equal(paused->received, 0);
    paused->react = NULL;
    probe_resume(paused);
    RUN_UNTIL(fixture, paused->received == 1);
    for (int i = 0; i < 2; i++)
        close(peers[i]);
}

static void test_close_in_other_callback(struct fixture *fixture) {
    struct probe *probes[2];
    int peers[2];
    ready_together(fixture, probes, peers, close_the_other);
    RUN_UNTIL(fixture, probes[0]->closed || probes[1]->closed);
    settle(fixture);
    struct probe *closed = probes[probes[0]->closed ? 0 : 1], *other = closed->test;
    assert_string_equal(closed->history, "oc");
    assert_int_equal(closed->close_err, 0);
    assert_string_equal(other->history, "od");
    for (int i = 0; i < 2; i++)
        close(peers[i]);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_eof_leaves_sending_open(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t bytes[1000];
    fill_pattern(bytes, 0, sizeof bytes);
    peer_send_all(fixture, peer, bytes, 10);
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(fixture, strcmp(probe->history, "ode") == 0);
    settle(fixture);
    assert_string_equal(probe->history, "ode");
    assert_int_equal(probe_send(probe, bytes, sizeof bytes, 2), whole_send(fixture));
    peer_expect(fixture, peer, 0, sizeof bytes);
    probe_shutdown(probe);
    assert_true(peer_expect_end(fixture, peer));
    probe_close(probe);
    RUN_UNTIL(fixture, probe->closed);
    assert_int_equal(probe->close_err, 0);
    close(peer);
}

static void test_shutdown_follows_send(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t *bytes = send_later(probe), byte = pattern_byte(0);
    probe_shutdown(probe);
    probe_shutdown(probe);
    assert_int_equal(probe_send(probe, bytes, 1, 1), -ENOTCONN);
    peer_expect(fixture, peer, 0, TOO_MUCH);
    assert_true(peer_expect_end(fixture, peer));
    RUN_UNTIL(fixture, probe->sents == 1);
    assert_int_equal(probe->sent_err, 0);
    /* Receiving stays open. */
    peer_send_all(fixture, peer, &byte, 1);
    RUN_UNTIL(fixture, probe->received == 1);
    close(peer);
    RUN_UNTIL(fixture, strcmp(probe->history, "osde") == 0);
    free(bytes);
}

static void test_null_eof_closes(struct fixture *fixture) {
    static struct stream_handler handler; /* cmocka may jump away while the loop still knows it */
    handler = probe_handler;
    handler.on_eof = NULL;
    struct probe *probe = new_probe(fixture);
    struct endpoint address, bound;
    fresh_address(fixture, &address);
    assert_int_equal(
        loop_listen(fixture->loop, &address, 1, &handler, probe, NULL, &bound, NULL), 0);
    int peer = peer_connect(&bound);
    RUN_UNTIL(fixture, probe->opened);
    close(peer);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->close_err, 0);
}

static void test_reset_mid_send(struct fixture *fixture) {
    for (int paused = 0; paused < 2; paused++) {
        struct probe *probe = new_probe(fixture);
        int peer = accepted_pair(probe);
        if (paused)
            probe_pause(probe);
        uint8_t *bytes = send_later(probe);
        settle(fixture);
        peer_reset(peer);
        RUN_UNTIL(fixture, probe->closed);
        settle(fixture);
        /* A unix peer that closes ends its stream in order: on_eof may be seen first. */
        assert_non_null(strstr(probe->history, "sc"));
        assert_int_equal(probe->sents, 1);
        assert_true(probe->sent_err == -ECONNRESET || probe->sent_err == -EPIPE);
        assert_int_equal(probe->close_err, probe->sent_err);
        free(bytes);
    }
}

static bool drained_until_closed(int peer, const struct probe *probe) {
    uint8_t bytes[16 * 1024];
    while (recv(peer, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    return probe->closed;
}

/* Part of the send is taken and the rest never will be: the part must not pass for the whole. Data
 * may still come, so that it is the send alone that fails. */
static void test_no_reader_mid_send(struct fixture *fixture) {
    if (fixture->transport != TRANSPORT_UNIX)
        skip_case(fixture, "only a unix socket learns that its peer reads no more");
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t *bytes = send_later(probe);
    settle(fixture);
    assert_int_equal(shutdown(peer, SHUT_RD), 0);
    RUN_UNTIL(fixture, drained_until_closed(peer, probe)); /* there is room, and nobody for it */
    assert_string_equal(probe->history, "osc");
    assert_int_equal(probe->sent_err, -EPIPE);
    assert_int_equal(probe->close_err, -EPIPE);
    free(bytes);
    close(peer);
}

static void test_reset_while_idle(struct fixture *fixture) {
    if (fixture->transport == TRANSPORT_UNIX)
        skip_case(fixture, "unix sockets have no reset");
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    settle(fixture);
    peer_reset(peer);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->close_err, -ECONNRESET);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void close_at(struct probe *probe, char event) {
    const char *when = probe->test;
    if (event == *when) {
        probe_close(probe);
        probe_close(probe);
        uint8_t byte = 0;
        assert_int_equal(probe_send(probe, &byte, 1, 1), -ENOTCONN);
        probe_pause(probe);
        probe_resume(probe);
        probe_shutdown(probe);
    }
}

/* Everything is under way at once, so that there is something to come after each close. */
static void test_close_in_callback(struct fixture *fixture) {
    static const char *const whens[] = {"o", "d", "s", "e", "c"};
    static const char *const histories[] = {"oc", "odc", "odsc", "odsec", "odsec"};
    for (size_t i = 0; i < ARRAY_LENGTH(whens); i++) {
        struct probe *probe = new_probe(fixture);
        probe->test = (void *)(uintptr_t)whens[i];
        probe->react = close_at;
        int peer = accepted_pair(probe);
        uint8_t *bytes = new_pattern(TOO_MUCH);
        if (*whens[i] != 'o') {
            peer_send_all(fixture, peer, bytes, 10);
            RUN_UNTIL(fixture, probe->received == 10);
        }
        if (!strchr("od", *whens[i])) {
            set_buffer(stream_fd(probe->stream), SO_SNDBUF, SMALL_SEND_BUFFER);
            assert_int_equal(probe_send(probe, bytes, TOO_MUCH, 1), SEND_LATER);
            peer_expect(fixture, peer, 0, TOO_MUCH);
            RUN_UNTIL(fixture, probe->sents == 1);
        }
        if (strchr("ec", *whens[i]))
            shutdown(peer, SHUT_WR);
        if (*whens[i] == 'c') {
            RUN_UNTIL(fixture, strchr(probe->history, 'e'));
            probe_close(probe);
        }
        RUN_UNTIL(fixture, probe->closed);
        settle(fixture);
        assert_string_equal(probe->history, histories[i]);
        assert_int_equal(probe->close_err, 0);
        close(peer);
        free(bytes);
    }
}

struct closer {
    struct timer timer;
    struct post post;
    struct watch watch;
    struct probe *probe;
};

static void close_in_timer(struct timer *timer) {
    probe_close(CONTAINER_OF(timer, struct closer, timer)->probe);
}

static void close_in_post(struct post *post) {
    probe_close(CONTAINER_OF(post, struct closer, post)->probe);
}

static void close_in_watch(struct watch *watch, unsigned events) {
    (void)events;
    struct closer *closer = CONTAINER_OF(watch, struct closer, watch);
    assert_int_equal(watch_set(closer->probe->fixture->loop, watch, 0), 0);
    probe_close(closer->probe);
}

static void test_close_from_elsewhere(struct fixture *fixture) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    for (int from = 0; from < 3; from++) {
        struct probe *probe = new_probe(fixture);
        struct closer closer = {.timer.on_due = close_in_timer,
                                .post.run = close_in_post,
                                .watch = {.fd = pipes[1], .on_ready = close_in_watch},
                                .probe = probe};
        int peer = accepted_pair(probe);
        uint8_t *bytes = send_later(probe);
        if (from == 0)
            timer_set(fixture->loop, &closer.timer, 1);
        else if (from == 1)
            loop_post(fixture->loop, &closer.post);
        else
            assert_int_equal(watch_set(fixture->loop, &closer.watch, WATCH_WRITE), 0);
        RUN_UNTIL(fixture, probe->closed);
        settle(fixture);
        assert_string_equal(probe->history, "osc");
        assert_int_equal(probe->sent_err, -ECANCELED);
        assert_int_equal(probe->close_err, 0);
        free(bytes);
        close(peer);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void test_close_while_connecting(struct fixture *fixture) {
    struct probe *listening = new_probe(fixture), *probe = new_probe(fixture);
    struct endpoint bound;
    probe_listen(listening, &bound);
    assert_int_equal(probe_connect(probe, &bound, NULL), 0);
    uint8_t byte = 0;
    assert_int_equal(probe_send(probe, &byte, 1, 1), -ENOTCONN);
    probe_close(probe);
    RUN_UNTIL(fixture, probe->closed);
    settle(fixture);
    assert_string_equal(probe->history, "c");
    assert_int_equal(probe->close_err, 0);
}

static void open_and_count_down(struct probe *probe, char event) {
    int *open = probe->test;
    if (event == 'o')
        ++*open;
    if (event == 'c')
        --*open;
}

static void test_free_with_everything_open(struct fixture *fixture) {
    static int open;
    open = 0;
    struct probe *idle = new_probe(fixture), *sending = new_probe(fixture);
    struct probe *paused = new_probe(fixture), *connected = new_probe(fixture);
    struct probe *connecting = new_probe(fixture), *listening = new_probe(fixture);
    struct probe *all[] = {idle, sending, paused, connected};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        all[i]->react = open_and_count_down;
        all[i]->test = &open;
    }
    int peers[] = {accepted_pair(idle), accepted_pair(sending), accepted_pair(paused),
                   connected_pair(connected)};
    struct endpoint bound;
    probe_listen(listening, &bound);
    assert_int_equal(probe_connect(connecting, &bound, NULL), 0);
    uint8_t *bytes = send_later(sending);
    probe_pause(paused);
    assert_int_equal(open, 4);
    reopen_loop(fixture, NULL);
    assert_int_equal(open, 0);
    assert_string_equal(sending->history, "osc");
    assert_int_equal(sending->sent_err, -ECANCELED);
    assert_string_equal(connecting->history, "c");
    free(bytes);
    for (size_t i = 0; i < ARRAY_LENGTH(peers); i++)
        close(peers[i]);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void test_one_send_at_a_time(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    int peer = accepted_pair(probe);
    uint8_t *bytes = send_later(probe);
    assert_int_equal(probe_send(probe, bytes, 1, 1), -EBUSY);
    peer_expect(fixture, peer, 0, TOO_MUCH);
    RUN_UNTIL(fixture, probe->sents == 1);
    assert_int_equal(probe_send(probe, bytes, 1, 1), whole_send(fixture));
    peer_expect(fixture, peer, 0, 1);
    RUN_UNTIL(fixture, !probe->sending);
    probe_shutdown(probe);
    assert_int_equal(probe_send(probe, bytes, 1, 1), -ENOTCONN);
    probe_close(probe);
    assert_int_equal(probe_send(probe, bytes, 1, 1), -ENOTCONN);
    free(bytes);
    close(peer);
}

/* The kernel takes everything, as the peer reads in between; only the budget ends it. */
enum { CHUNK = 16 * 1024, CHUNKS_IN_BUDGET = LOOP_SEND_BUDGET / CHUNK };

struct budget {
    int peer, chunks, rounds;
    size_t drained;
    bool in_callback;
    uint8_t bytes[CHUNK];
};

static void drain_chunk(struct budget *budget) {
    uint8_t bytes[CHUNK];
    for (size_t got = 0; got < CHUNK;) {
        ssize_t n = peer_receive(budget->peer, bytes, CHUNK - got);
        assert_true(n > 0);
        assert_true(is_pattern(bytes, budget->drained, (size_t)n));
        got += (size_t)n;
        budget->drained += (size_t)n;
    }
}

static void send_to_the_budget(struct probe *probe, char event) {
    struct budget *budget = probe->test;
    assert_false(budget->in_callback);
    if ((event != 'd' && event != 's') || budget->rounds == 0)
        return;
    budget->in_callback = true;
    budget->rounds--;
    int result = SEND_DONE;
    for (budget->chunks = 0; result == SEND_DONE && budget->chunks <= CHUNKS_IN_BUDGET;
         budget->chunks++) {
        fill_pattern(budget->bytes, probe->sent, CHUNK);
        result = probe_send(probe, budget->bytes, CHUNK, 1);
        drain_chunk(budget);
    }
    assert_int_equal(result, SEND_LATER);
    assert_int_equal(budget->chunks, CHUNKS_IN_BUDGET + 1);
    assert_int_equal(probe_send(probe, budget->bytes, 1, 1), -EBUSY);
    budget->in_callback = false;
}

static void test_send_budget(struct fixture *fixture) {
    if (fixture->info.defers_sends)
        skip_case(fixture, "every send is later");
    struct probe *probe = new_probe(fixture);
    fixture->transport = TRANSPORT_UNIX; /* what is sent is there at once */
    struct budget *budget = calloc(1, sizeof *budget);
    assert_non_null(budget);
    int peer = budget->peer = accepted_pair(probe);
    budget->rounds = 3;
    probe->test = budget;
    probe->react = send_to_the_budget;
    uint8_t byte = pattern_byte(0);
    peer_send_all(fixture, peer, &byte, 1);
    RUN_UNTIL(fixture, probe->sents == 3);
    settle(fixture);
    assert_string_equal(probe->history, "odsss");
    assert_int_equal(probe->sent_err, 0);
    assert_int_equal(loop_counters(fixture->loop)->sends_done, 3 * CHUNKS_IN_BUDGET);
    assert_int_equal(loop_counters(fixture->loop)->sends_later, 3);
    /* Closed before the on_sent that is due: cancelled, though its bytes are in the kernel. */
    probe->react = NULL;
    int result = SEND_DONE;
    while (result == SEND_DONE) {
        fill_pattern(budget->bytes, probe->sent, CHUNK);
        result = probe_send(probe, budget->bytes, CHUNK, 1);
        drain_chunk(budget);
    }
    probe_close(probe);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "odssssc");
    assert_int_equal(probe->sent_err, -ECANCELED);
    assert_int_equal(probe->close_err, 0);
    free(budget);
    close(peer);
}

/* ---- receive buffers ------------------------------------------------------------------------- */

enum { HELD = 8 };

struct holder {
    struct buffer *buffers[HELD];
    const uint8_t *bytes[HELD];
    size_t offset[HELD], n[HELD];
    int count;
};

static void hold_data(struct probe *probe, char event) {
    struct holder *holder = probe->test;
    if (event != 'd' || holder->count == HELD)
        return;
    int i = holder->count++;
    buffer_hold(probe->buffer);
    holder->buffers[i] = probe->buffer;
    holder->bytes[i] = probe->bytes;
    holder->n[i] = probe->n;
    holder->offset[i] = probe->received - probe->n;
}

static void receive_and_hold(struct fixture *fixture, struct probe *probe, int peer) {
    struct holder *holder = probe->test;
    uint8_t bytes[1000];
    for (int i = 0; i < HELD + 4; i++) {
        size_t before = probe->received;
        fill_pattern(bytes, before, sizeof bytes);
        peer_send_all(fixture, peer, bytes, sizeof bytes);
        RUN_UNTIL(fixture, probe->received == before + sizeof bytes);
    }
    assert_int_equal(holder->count, HELD);
    for (int i = 0; i < HELD; i++)
        assert_true(is_pattern(holder->bytes[i], holder->offset[i], holder->n[i]));
    while (holder->count > 0)
        buffer_drop(holder->buffers[--holder->count]);
}

static void test_hold(struct fixture *fixture) {
    struct holder holder = {.count = 0};
    struct probe *probe = new_probe(fixture);
    probe->test = &holder;
    probe->react = hold_data;
    int peer = accepted_pair(probe);
    receive_and_hold(fixture, probe, peer);
    uint64_t buffers = loop_counters(fixture->loop)->buffers;
    assert_true(buffers >= HELD);
    for (int i = 0; i < 5; i++)
        receive_and_hold(fixture, probe, peer);
    assert_int_equal(loop_counters(fixture->loop)->buffers, buffers);
    assert_int_equal(loop_counters(fixture->loop)->copied_bytes, 0);
    close(peer);
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* An address nobody listens on, kept from others by a socket bound to it. */
static int refusing_address(struct fixture *fixture, struct endpoint *endpoint) {
    fresh_address(fixture, endpoint);
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&endpoint->address, endpoint->length), 0);
    endpoint->length = sizeof endpoint->address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&endpoint->address, &endpoint->length), 0);
    return fd;
}

static void close_at_open(struct probe *probe, char event) {
    if (event == 'o')
        probe_close(probe);
}

static void test_connect_refused(struct fixture *fixture) {
    struct endpoint address;
    int refusing = refusing_address(fixture, &address);
    for (int closes = 0; closes < 2; closes++) {
        struct probe *probe = new_probe(fixture);
        probe->react = closes ? close_at_open : NULL;
        assert_int_equal(probe_connect(probe, &address, NULL), 0);
        RUN_UNTIL(fixture, probe->closed);
        settle(fixture);
        assert_string_equal(probe->history, "oc");
        assert_int_equal(probe->open_err, -ECONNREFUSED);
        if (!closes)
            assert_int_equal(probe->close_err, -ECONNREFUSED);
    }
    close(refusing);
    if (endpoint_is_unix(&address))
        unlink(strchr(((struct sockaddr *)&address.address)->sa_data, '/'));
}

static void test_connect_closed_before_refusal(struct fixture *fixture) {
    struct endpoint address;
    int refusing = refusing_address(fixture, &address);
    struct probe *probe = new_probe(fixture);
    assert_int_equal(probe_connect(probe, &address, NULL), 0);
    probe_close(probe);
    RUN_UNTIL(fixture, probe->closed);
    settle(fixture);
    assert_string_equal(probe->history, "c");
    assert_int_equal(probe->close_err, 0);
    close(refusing);
    if (endpoint_is_unix(&address))
        unlink(strchr(((struct sockaddr *)&address.address)->sa_data, '/'));
}

static void test_source_address(struct fixture *fixture) {
    struct endpoint address, bound, source, seen = {.length = sizeof seen.address};
    fresh_address(fixture, &address);
    assert_int_equal(endpoint_parse("127.0.0.2:0", &source, NULL), 0);
    int listening = endpoint_listen(&address, 16, &bound, NULL), peer;
    assert_true(listening >= 0);
    struct probe *probe = new_probe(fixture);
    assert_int_equal(probe_connect(probe, &bound, &source), 0);
    RUN_UNTIL(fixture, probe->opened);
    struct sockaddr *from = (struct sockaddr *)&seen.address;
    RUN_UNTIL(fixture, (peer = accept(listening, from, &seen.length)) >= 0);
    assert_int_equal(((struct sockaddr_in *)&seen.address)->sin_addr.s_addr,
                     ((struct sockaddr_in *)&source.address)->sin_addr.s_addr);
    close(peer);
    close(listening);
}

static void test_stream_data(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    int peer = connected_pair(probe);
    assert_ptr_equal(stream_data(probe->stream), probe);
    assert_ptr_equal(stream_loop(probe->stream), fixture->loop);
    assert_int_equal(*(char *)stream_state(probe->stream), 0);
    assert_string_equal(loop_backend_name(fixture->loop), fixture->info.name);
    struct socket_options options;
    assert_int_equal(socket_get_options(stream_fd(probe->stream), &options), 0);
    if (options.tcp) {
        assert_int_equal(options.nodelay, 1);
        assert_string_equal(options.congestion, "reno");
    }
    close(peer);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"one byte at a time", test_dribble, true},
        {"a receive buffer of 7 bytes", test_small_receive_buffer, true},
        {"1 MiB through a 4 KiB send buffer", test_large_send, true},
        {"1 MiB both ways at once", test_both_ways_at_once, true},
        {"pause under flood", test_pause_under_flood, true},
        {"pause keeps the end back", test_pause_keeps_eof, true},
        {"pause in on_open", test_pause_in_open, true},
        {"data left over needs no further event", test_left_over_data, true},
        {"a send from a timer needs no further event", test_send_from_timer, true},
        {"a blocked send lets the loop sleep", test_blocked_send_sleeps, true},
        {"pause in another stream's callback", test_pause_in_other_callback, true},
        {"close in another stream's callback", test_close_in_other_callback, true},
        {"on_eof leaves sending open", test_eof_leaves_sending_open, true},
        {"shutdown follows a pending send", test_shutdown_follows_send, true},
        {"no on_eof: the end closes", test_null_eof_closes, true},
        {"peer reset in the middle of a send", test_reset_mid_send, true},
        {"peer reset while idle", test_reset_while_idle, true},
        {"peer reads no more in the middle of a send", test_no_reader_mid_send, true},
        {"close in each stream callback", test_close_in_callback, true},
        {"close from timer, post and watch, a send under way", test_close_from_elsewhere, true},
        {"close while connecting", test_close_while_connecting, true},
        {"free with everything open", test_free_with_everything_open, true},
        {"one send at a time", test_one_send_at_a_time, true},
        {"256 KiB a callback, then later", test_send_budget, false},
        {"held buffers keep their bytes", test_hold, true},
        {"connect refused", test_connect_refused, true},
        {"closed before the refusal is told", test_connect_closed_before_refusal, true},
        {"source address", test_source_address, false},
        {"what a stream knows", test_stream_data, true},
    };
    return conformance_main("streams", cases, ARRAY_LENGTH(cases));
}
