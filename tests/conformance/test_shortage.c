/* test_shortage.c: more streams than receive buffers and queue entries, streams that keep what they
 * got, and streams that end at any moment. Every byte is compared with what its own connection was
 * sent, so that a buffer used for two things at a time shows. */
#include "conformance.h"

#include <stdio.h>
#include <sys/socket.h>

/* Numbers that are the same in every run. */
static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* ---- peers with a pattern each: connection k sends and expects its pattern from its own offset --
 */

enum { PEERS = 320, BYTES_EACH = 40000, PIECE = 8192 };

struct peer {
    int fd; /* -1: none */
    size_t offset, sent, echoed;
};

static void peer_opens(struct peer *peer, const struct endpoint *target, uint64_t number) {
    *peer = (struct peer){.fd = peer_connect(target), .offset = number * 100003};
}

/* Sends at most `most` bytes, and never more than a piece ahead of the echo. */
static void peer_asks(struct peer *peer, size_t most) {
    uint8_t bytes[PIECE];
    size_t ahead = peer->sent - peer->echoed, room = PIECE - ahead;
    if (most > BYTES_EACH - peer->sent)
        most = BYTES_EACH - peer->sent;
    if (most > room)
        most = room;
    if (most == 0)
        return;
    fill_pattern(bytes, peer->offset + peer->sent, most);
    ssize_t n = send(peer->fd, bytes, most, MSG_NOSIGNAL);
    assert_true(n > 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
    if (n > 0)
        peer->sent += (size_t)n;
}

/* False when the connection has ended. */
static bool peer_listens(struct peer *peer) {
    uint8_t bytes[PIECE];
    ssize_t n = peer_receive(peer->fd, bytes, sizeof bytes);
    if (n == -EAGAIN)
        return true;
    if (n <= 0)
        return false;
    assert_true(peer->echoed + (size_t)n <= peer->sent);
    if (!is_pattern(bytes, peer->offset + peer->echoed, (size_t)n))
        fail_msg("wrong bytes came back among %zd after %zu", n, peer->echoed);
    peer->echoed += (size_t)n;
    return true;
}

/* ---- an echo that remembers its streams ------------------------------------------------------ */

struct echo_server {
    struct listener *listener;
    struct endpoint bound;
    int opened, closed;
    int answers, last_every; /* each of so many answers is followed by a close; 0: none */
    struct stream *streams[2 * PEERS]; /* null: closed */
};

static void remember(struct stream *stream, int err) {
    struct echo_server *server = stream_data(stream);
    assert_int_equal(err, 0);
    int *slot = stream_state(stream);
    while (server->streams[*slot])
        ++*slot;
    assert_true(*slot < 2 * PEERS);
    server->streams[*slot] = stream;
    server->opened++;
}

static void forget(struct stream *stream, int err) {
    (void)err;
    struct echo_server *server = stream_data(stream);
    server->streams[*(int *)stream_state(stream)] = NULL;
    server->closed++;
}

static void answer(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct echo_server *server = stream_data(stream);
    echo_data(stream, buffer, bytes, n);
    if (server->last_every > 0 && ++server->answers % server->last_every == 0)
        stream_close(stream); /* before it is known to have been sent */
}

static const struct stream_handler echo_handler = {.state_bytes = sizeof(int),
                                                   .on_open = remember,
                                                   .on_data = answer,
                                                   .on_sent = echo_sent,
                                                   .on_close = forget};

static struct echo_server *new_echo_server(struct fixture *fixture) {
    struct echo_server *server = calloc(1, sizeof *server);
    struct endpoint address;
    assert_non_null(server);
    fresh_address(fixture, &address);
    assert_int_equal(loop_listen(fixture->loop, &address, 2 * PEERS, &echo_handler, server,
                                 &server->listener, &server->bound, NULL), 0);
    return server;
}

/* Was there a shortage, where there was meant to be one? */
static void check_shortage(const struct fixture *fixture, bool overflows) {
    const struct loop_counters *counters = loop_counters(fixture->loop);
    assert_int_equal(counters->copied_bytes, 0);
    if (fixture->setup->config.receive_buffers == 0)
        return;
    assert_true(counters->starved > 0);
    assert_true(counters->overflows > 0 || !overflows);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* All of them send all the time, and each gets on: none may be a round trip behind for long. */
static void test_flood(struct fixture *fixture) {
    struct echo_server *server = new_echo_server(fixture);
    static struct peer peers[PEERS];
    int done = 0;
    for (int i = 0; i < PEERS; i++)
        peer_opens(&peers[i], &server->bound, (uint64_t)i);
    RUN_UNTIL(fixture, server->opened == PEERS);
    for (int round = 1; done < PEERS; round++) {
        done = 0;
        for (int i = 0; i < PEERS; i++)
            peer_asks(&peers[i], 1 + (size_t)(i * 37 + round * 101) % PIECE);
        for (int i = 0; i < PEERS; i++) {
            size_t before = peers[i].echoed;
            bool lives = true;
            if (before < BYTES_EACH)
                RUN_UNTIL(fixture,
                          !(lives = peer_listens(&peers[i])) || peers[i].echoed > before);
            assert_true(lives);
            done += peers[i].echoed == BYTES_EACH;
        }
    }
    check_shortage(fixture, true);
    for (int i = 0; i < PEERS; i++)
        close(peers[i].fd);
    RUN_UNTIL(fixture, server->closed == PEERS);
    listener_close(server->listener);
    one_pass(fixture);
    free(server);
}

/* Paused streams keep what comes in, each up to a bound. One that is not paused does not notice,
 * and in the end all bytes are there. */
static void test_paused_streams_keep(struct fixture *fixture) {
    enum { PAUSED = FIXTURE_PROBES - 1, PIECES = 40, BYTES = 1000 };
    struct probe *probes[PAUSED], *other = new_probe(fixture);
    int peers[PAUSED], other_peer = accepted_pair(other);
    uint8_t bytes[BYTES];
    for (int i = 0; i < PAUSED; i++) {
        probes[i] = new_probe(fixture);
        peers[i] = accepted_pair(probes[i]);
        one_pass(fixture);
        probe_pause(probes[i]);
    }
    for (size_t piece = 0; piece < PIECES; piece++) {
        fill_pattern(bytes, piece * BYTES, BYTES);
        for (int i = 0; i < PAUSED; i++) {
            peer_send_all(fixture, peers[i], bytes, BYTES);
            one_pass(fixture);
        }
        peer_send_all(fixture, other_peer, bytes, BYTES);
        RUN_UNTIL(fixture, other->received == (piece + 1) * BYTES);
    }
    const struct loop_counters *counters = loop_counters(fixture->loop);
    uint64_t lent = fixture->setup->config.receive_buffers;
    if (lent == 0)
        lent = counters->requests > 0 ? 64 : 8;
    /* Each keeps an eighth of those that are lent, and what was under way by then. */
    assert_true(counters->buffers <= lent + PAUSED * (lent / 8 + 2));
    for (int i = 0; i < PAUSED; i++) {
        assert_int_equal(probes[i]->received, 0);
        if (i % 3 == 0) {
            probe_close(probes[i]); /* with all that it keeps */
            RUN_UNTIL(fixture, probes[i]->closed);
        } else {
            probe_resume(probes[i]);
            RUN_UNTIL(fixture, probes[i]->received == PIECES * BYTES);
        }
        close(peers[i]);
    }
    assert_int_equal(counters->copied_bytes, 0);
    close(other_peer);
}

/* Buffers that are held stay as they are and do not keep others from receiving. */
struct hoard {
    struct buffer *buffers[100];
    uint8_t *bytes[100];
    size_t offset[100], n[100];
    int count;
};

static void hoard_data(struct probe *probe, char event) {
    struct hoard *hoard = probe->test;
    if (event != 'd' || hoard->count == 100)
        return;
    int i = hoard->count++;
    buffer_hold(probe->buffer);
    hoard->buffers[i] = probe->buffer;
    hoard->bytes[i] = probe->bytes;
    hoard->n[i] = probe->n;
    hoard->offset[i] = probe->received - probe->n;
}

static void test_hoard(struct fixture *fixture) {
    struct hoard hoard = {.count = 0};
    struct probe *hoarder = new_probe(fixture), *other = new_probe(fixture);
    uint8_t bytes[300];
    hoarder->test = &hoard;
    hoarder->react = hoard_data;
    int peers[] = {accepted_pair(hoarder), accepted_pair(other)};
    struct probe *const probes[] = {hoarder, other};
    for (size_t k = 0; k < 300; k++) {
        struct probe *probe = probes[k % 2];
        size_t before = probe->received;
        fill_pattern(bytes, before, sizeof bytes);
        peer_send_all(fixture, peers[k % 2], bytes, sizeof bytes);
        RUN_UNTIL(fixture, probe->received == before + sizeof bytes);
    }
    assert_int_equal(hoard.count, 100);
    for (int i = 0; i < hoard.count; i++) {
        assert_true(is_pattern(hoard.bytes[i], hoard.offset[i], hoard.n[i]));
        buffer_drop(hoard.buffers[i]);
    }
    assert_int_equal(loop_counters(fixture->loop)->copied_bytes, 0);
    for (int i = 0; i < 2; i++)
        close(peers[i]);
}

/* When on_sent has come the memory is the caller's again, also of a send that was cancelled before
 * it got anywhere: what is written there then is not sent. */
static void send_close_overwrite(struct probe *probe, char event) {
    if (event == 'd') {
        int result = probe_send(probe, probe->test, PIECE, 3);
        assert_int_equal(result, whole_send(probe->fixture));
        probe_close(probe);
    } else if (event == 'c')
        memset(probe->test, 0xff, PIECE);
}

static void test_memory_comes_back(struct fixture *fixture) {
    uint8_t bytes[PIECE], got[PIECE], byte = pattern_byte(0);
    struct probe *probe = new_probe(fixture);
    probe->test = bytes;
    probe->react = send_close_overwrite;
    int peer = accepted_pair(probe);
    fill_pattern(bytes, 0, PIECE);
    peer_send_all(fixture, peer, &byte, 1);
    RUN_UNTIL(fixture, probe->closed);
    settle(fixture);
    ssize_t n = peer_receive(peer, got, sizeof got);
    assert_true(n <= 0 || is_pattern(got, 0, (size_t)n));
    close(peer);
}

/* Either side closes at any moment, with sends and receives under way, and others take their
 * numbers at once. */
static void test_random_closes(struct fixture *fixture) {
    enum { STEPS = 10000, LIVE = 60 };
    struct echo_server *server = new_echo_server(fixture);
    static struct peer peers[LIVE];
    server->last_every = 10;
    uint64_t random = 7, number = 0, echoed = 0;
    for (int i = 0; i < LIVE; i++)
        peer_opens(&peers[i], &server->bound, number++);
    for (int step = 0; step < STEPS; step++) {
        struct peer *peer = &peers[next_random(&random) % LIVE];
        struct stream *stream = server->streams[next_random(&random) % LIVE];
        size_t was = peer->echoed;
        uint64_t choice = next_random(&random) % 100;
        bool lives = peer_listens(peer);
        echoed += peer->echoed - was;
        if (choice < 5 && stream)
            stream_close(stream);
        else if (choice < 75 && lives)
            peer_asks(peer, 1 + next_random(&random) % PIECE);
        else if (choice < 90)
            one_pass(fixture);
        if (lives && choice < 95 && peer->echoed < BYTES_EACH)
            continue;
        if (choice % 2)
            peer_reset(peer->fd);
        else
            close(peer->fd);
        peer_opens(peer, &server->bound, number++);
    }
    assert_true(echoed > PIECE * (uint64_t)LIVE);
    for (int i = 0; i < LIVE; i++)
        close(peers[i].fd);
    settle(fixture);
    RUN_UNTIL(fixture, server->closed == server->opened);
    assert_int_equal(loop_counters(fixture->loop)->copied_bytes, 0);
    listener_close(server->listener);
    one_pass(fixture);
    free(server);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"320 connections all the time", test_flood, true},
        {"paused streams keep what they got", test_paused_streams_keep, true},
        {"100 held buffers", test_hoard, true},
        {"memory of a cancelled send", test_memory_comes_back, true},
        {"random closes", test_random_closes, true},
    };
    return conformance_main("shortage", cases, ARRAY_LENGTH(cases));
}
