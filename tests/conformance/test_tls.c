/* test_tls.c: TLS streams keep to the same contract as others, and refuse whom they should.
 *
 * The peers are OpenSSL by itself on plain sockets, moved by the test: so what is on the wire can
 * be cut anywhere, and a peer can do what a well-behaved one would not. */
#include "conformance.h"

#include <stdio.h>

#ifndef HAVE_OPENSSL

int main(void) {
    puts("skip tls: built without OpenSSL");
    return 0;
}

#else

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include "loops/tls.h"

enum { MIB = 1 << 20, SMALL_SEND_BUFFER = 4096 };

/* ---- certificates, made anew for each run ---------------------------------------------------- */

struct authority {
    EVP_PKEY *key;
    X509 *certificate;
};

/* What all cases use, and none changes. */
static struct {
    char folder[32], ca[64], other_ca[64], certificate[64], key[64], expired[64];
    EVP_PKEY *server_key;
    struct tls *client; /* trusts `ca` and expects localhost */
    struct tls *server;
} papers;

static void extend(X509 *certificate, X509 *issuer, int kind, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    CHECK(extension && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

/* Signed by `issuer`, or by itself where that is null. */
static X509 *new_certificate(const char *name, EVP_PKEY *key, const struct authority *issuer,
                             long valid_s) {
    static long serial = 1;
    X509 *certificate = X509_new();
    CHECK(certificate && X509_set_version(certificate, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -2 * 24 * 3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), valid_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509 *signer = issuer ? issuer->certificate : certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(signer));
    X509_set_pubkey(certificate, key);
    extend(certificate, signer, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    if (issuer)
        extend(certificate, signer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    CHECK(X509_sign(certificate, issuer ? issuer->key : key, EVP_sha256()) > 0);
    return certificate;
}

static struct authority new_authority(const char *name) {
    struct authority authority = {.key = EVP_EC_gen("P-256")};
    CHECK(authority.key);
    authority.certificate = new_certificate(name, authority.key, NULL, 24 * 3600);
    return authority;
}

static void free_authority(struct authority *authority) {
    EVP_PKEY_free(authority->key);
    X509_free(authority->certificate);
}

static void write_certificate(char *path, size_t size, const char *name, X509 *certificate) {
    snprintf(path, size, "%s/%s.pem", papers.folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file && PEM_write_X509(file, certificate) == 1 && fclose(file) == 0);
}

static void write_key(EVP_PKEY *key) {
    snprintf(papers.key, sizeof papers.key, "%s/key.pem", papers.folder);
    FILE *file = fopen(papers.key, "w");
    CHECK(file && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    CHECK(fclose(file) == 0);
}

static void make_papers(void) {
    struct authority ca = new_authority("ours"), other = new_authority("other");
    snprintf(papers.folder, sizeof papers.folder, "/tmp/loopmark-XXXXXX");
    CHECK(mkdtemp(papers.folder));
    papers.server_key = EVP_EC_gen("P-256");
    X509 *good = new_certificate("localhost", papers.server_key, &ca, 24 * 3600);
    X509 *expired = new_certificate("localhost", papers.server_key, &ca, -24 * 3600);
    write_certificate(papers.ca, sizeof papers.ca, "ca", ca.certificate);
    write_certificate(papers.other_ca, sizeof papers.other_ca, "other", other.certificate);
    write_certificate(papers.certificate, sizeof papers.certificate, "good", good);
    write_certificate(papers.expired, sizeof papers.expired, "expired", expired);
    write_key(papers.server_key);
    X509_free(good);
    X509_free(expired);
    free_authority(&ca);
    free_authority(&other);
    struct tls_client_options options = {.host = "localhost", .ca_file = papers.ca};
    CHECK(tls_client_open(&options, &papers.client, NULL) == 0);
    CHECK(tls_server_open(papers.certificate, papers.key, &papers.server, NULL) == 0);
}

static void burn_papers(void) {
    const char *files[] = {papers.ca, papers.other_ca, papers.certificate, papers.expired,
                           papers.key};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++)
        unlink(files[i]);
    rmdir(papers.folder);
    tls_close(papers.client);
    tls_close(papers.server);
    EVP_PKEY_free(papers.server_key);
}

/* ---- peers ----------------------------------------------------------------------------------- */

struct peer {
    struct fixture *fixture;
    int fd;
    SSL *ssl;
    BIO *in, *out;      /* the wire's ends, in memory */
    size_t piece_bytes; /* most bytes put on the wire at a time; 0: no limit */
    size_t wired_in, wired_out, received;
    const char *failure; /* of its handshake, in OpenSSL's words */
};

struct peer_options {
    bool server;
    const char *certificate; /* of a server; null: the good one */
    int version;             /* TLS1_2_VERSION or TLS1_3_VERSION; 0: what is agreed on */
    size_t piece_bytes;
};

static SSL *new_peer_ssl(const struct peer_options *options) {
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    assert_non_null(context);
    if (options->version) {
        SSL_CTX_set_min_proto_version(context, options->version);
        SSL_CTX_set_max_proto_version(context, options->version);
    }
    if (options->server) {
        const char *file = options->certificate ? options->certificate : papers.certificate;
        assert_int_equal(SSL_CTX_use_certificate_file(context, file, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(context, papers.server_key), 1);
    }
    SSL *ssl = SSL_new(context);
    assert_non_null(ssl);
    SSL_CTX_free(context);
    return ssl;
}

static void peer_init(struct peer *peer, struct fixture *fixture, int fd,
                      const struct peer_options *options) {
    *peer = (struct peer){.fixture = fixture, .fd = fd, .piece_bytes = options->piece_bytes};
    peer->ssl = new_peer_ssl(options);
    peer->in = BIO_new(BIO_s_mem());
    peer->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(peer->in, -1);
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    if (options->server)
        SSL_set_accept_state(peer->ssl);
    else
        SSL_set_connect_state(peer->ssl);
}

static void peer_forget(struct peer *peer) {
    SSL_free(peer->ssl);
    peer->ssl = NULL;
}

static void peer_close(struct peer *peer) {
    close(peer->fd);
    peer_forget(peer);
}

/* Puts a piece of what the peer has written on the wire. */
static void peer_flush(struct peer *peer) {
    char *bytes;
    size_t waiting = (size_t)BIO_get_mem_data(peer->out, &bytes);
    size_t most = peer->piece_bytes ? peer->piece_bytes : waiting;
    ssize_t n = send(peer->fd, bytes, most < waiting ? most : waiting, MSG_NOSIGNAL);
    uint8_t sink[16384];
    for (ssize_t left = n; left > 0;)
        left -= BIO_read(peer->out, sink, left < 16384 ? (int)left : 16384);
    if (n > 0)
        peer->wired_out += (size_t)n;
}

static void peer_fill(struct peer *peer) {
    uint8_t bytes[16384];
    ssize_t n = recv(peer->fd, bytes, sizeof bytes, 0);
    if (n <= 0)
        return;
    peer->wired_in += (size_t)n;
    assert_int_equal(BIO_write(peer->in, bytes, (int)n), n);
}

/* One step of the handshake, or nothing when it is over. True: it is over. */
static bool peer_greets(struct peer *peer) {
    peer_fill(peer);
    SSL_do_handshake(peer->ssl);
    if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SSL && !peer->failure)
        peer->failure = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    peer_flush(peer);
    return SSL_is_init_finished(peer->ssl);
}

/* Writes pattern bytes, which then go out piece by piece. */
static void peer_write(struct peer *peer, size_t offset, size_t n) {
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    fill_pattern(bytes, offset, n);
    assert_int_equal(SSL_write(peer->ssl, bytes, (int)n), n);
    free(bytes);
}

/* Reads pattern bytes as far as they are there; returns how many there were in all. */
static size_t peer_read(struct peer *peer) {
    uint8_t bytes[16384];
    int n;
    peer_fill(peer);
    while ((n = SSL_read(peer->ssl, bytes, sizeof bytes)) > 0) {
        assert_true(is_pattern(bytes, peer->received, (size_t)n));
        peer->received += (size_t)n;
    }
    ERR_clear_error();
    peer_flush(peer);
    return peer->received;
}

static bool peer_heard_goodbye(struct peer *peer) {
    peer_read(peer);
    return SSL_get_shutdown(peer->ssl) & SSL_RECEIVED_SHUTDOWN;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static void set_send_buffer(int fd, int bytes) {
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

static void accept_tls(struct stream *stream, int err) {
    struct probe *probe = stream_data(stream);
    assert_int_equal(err, 0);
    assert_int_equal(tls_accept(papers.server, stream, &probe_handler, probe, &probe->stream), 0);
}

static const struct stream_handler accepting_handler = {.on_open = accept_tls};

static struct listener *listen_tls(struct probe *probe, struct endpoint *bound) {
    struct endpoint address;
    struct listener *listener;
    fresh_address(probe->fixture, &address);
    assert_int_equal(loop_listen(probe->fixture->loop, &address, 16, &accepting_handler, probe,
                                 &listener, bound, NULL),
                     0);
    return listener;
}

/* The probe is the server; returns before the handshake. */
static void accept_peer(struct probe *probe, struct peer *peer,
                        const struct peer_options *options) {
    struct endpoint bound;
    struct listener *listener = listen_tls(probe, &bound);
    peer_init(peer, probe->fixture, peer_connect(&bound), options);
    RUN_UNTIL(probe->fixture, probe->stream);
    listener_close(listener);
}

static void accepted_tls(struct probe *probe, struct peer *peer,
                         const struct peer_options *options) {
    accept_peer(probe, peer, options);
    RUN_UNTIL(probe->fixture, (peer_greets(peer) & probe->opened));
}

/* The probe is the client; returns before the handshake, with the peer's socket. */
static int connect_tls(struct probe *probe, struct tls *tls) {
    struct endpoint address, bound;
    struct fixture *fixture = probe->fixture;
    fresh_address(fixture, &address);
    int listening = endpoint_listen(&address, 16, &bound, NULL), fd, failure;
    assert_true(listening >= 0);
    IN_CALL(fixture, failure = tls_connect(tls, fixture->loop, &bound, NULL, &probe_handler, probe,
                                           &probe->stream));
    assert_int_equal(failure, 0);
    RUN_UNTIL(fixture, (fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    close(listening);
    if (endpoint_is_unix(&bound))
        unlink(strchr(((struct sockaddr *)&bound.address)->sa_data, '/'));
    return fd;
}

static void connected_tls(struct probe *probe, struct peer *peer,
                          const struct peer_options *options) {
    peer_init(peer, probe->fixture, connect_tls(probe, papers.client), options);
    RUN_UNTIL(probe->fixture, (peer_greets(peer) & probe->opened));
}

static const struct peer_options plain_client = {0}, plain_server = {.server = true};

/* Two probes of the loop speak TLS to each other. */
static void loop_pair(struct probe *client, struct probe *server) {
    struct endpoint bound;
    struct fixture *fixture = client->fixture;
    struct listener *listener = listen_tls(server, &bound);
    int failure;
    IN_CALL(fixture, failure = tls_connect(papers.client, fixture->loop, &bound, NULL,
                                           &probe_handler, client, &client->stream));
    assert_int_equal(failure, 0);
    RUN_UNTIL(fixture, client->opened && server->opened);
    listener_close(listener);
}

static void close_probe(struct probe *probe) {
    probe->react = NULL;
    if (probe->stream)
        probe_close(probe);
    RUN_UNTIL(probe->fixture, probe->closed);
}

static uint8_t *new_pattern(size_t n) {
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    fill_pattern(bytes, 0, n);
    return bytes;
}

static void forget_history(struct probe *probe) {
    memset(probe->history + 1, 0, sizeof probe->history - 1); /* it would become too long */
}

static void echo_back(struct probe *probe, char event) {
    if (event == 'd') {
        int result = probe_send(probe, probe->bytes, probe->n, 1);
        assert_true(result >= 0);
        if (result == SEND_LATER) {
            buffer_hold(probe->buffer);
            probe_pause(probe);
        }
    } else if (event == 's') {
        buffer_drop(probe->buffer);
        probe_resume(probe);
    }
    if (event != 'o')
        forget_history(probe);
}

/* ---- data ------------------------------------------------------------------------------------ */

static void echo_some(struct fixture *fixture, const struct peer_options *options, size_t n) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    probe->react = echo_back;
    (options->server ? connected_tls : accepted_tls)(probe, &peer, options);
    peer_write(&peer, 0, n);
    RUN_UNTIL(fixture, peer_read(&peer) == n);
    assert_int_equal(probe->received, n);
    close_probe(probe);
    assert_int_equal(probe->close_err, 0);
    peer_close(&peer);
}

static void test_echo(struct fixture *fixture) {
    for (int server = 0; server < 2; server++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct peer_options options = {.server = server, .version = version};
            echo_some(fixture, &options, 1);
            echo_some(fixture, &options, 100000);
        }
}

static void test_counters(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    probe->react = echo_back;
    accepted_tls(probe, &peer, &plain_client);
    peer_write(&peer, 0, 50000);
    RUN_UNTIL(fixture, peer_read(&peer) == 50000);
    const struct loop_counters *counters = loop_counters(fixture->loop);
    assert_int_equal(counters->received_bytes, peer.wired_out);
    assert_int_equal(counters->sent_bytes, peer.wired_in);
    assert_int_equal(counters->copied_bytes, 0);
    close_probe(probe);
    peer_close(&peer);
}

/* Handshake and data come in one byte at a time. */
static void test_dribble(struct fixture *fixture) {
    for (int server = 0; server < 2; server++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct peer_options options = {.server = server, .version = version};
            struct probe *probe = new_probe(fixture);
            struct peer peer;
            probe->react = echo_back;
            if (server)
                peer_init(&peer, fixture, connect_tls(probe, papers.client), &options);
            else
                accept_peer(probe, &peer, &options);
            peer.piece_bytes = 1;
            while (!peer_greets(&peer) || !probe->opened) /* it would sleep in RUN_UNTIL */
                one_pass(fixture);
            peer_write(&peer, 0, 100);
            while (peer_read(&peer) < 100)
                one_pass(fixture);
            close_probe(probe);
            peer_close(&peer);
        }
}

/* Two records are cut in two at every place. */
static void test_every_split(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    size_t sent = 0, wired = 2;
    accepted_tls(probe, &peer, &plain_client);
    for (size_t cut = 1; cut < wired; cut++) {
        peer_write(&peer, sent, 7);
        peer_write(&peer, sent + 7, 9);
        wired = BIO_pending(peer.out);
        peer.piece_bytes = cut;
        peer_flush(&peer);
        one_pass(fixture);
        peer.piece_bytes = 0;
        peer_flush(&peer);
        sent += 16;
        RUN_UNTIL(fixture, probe->received == sent);
    }
    assert_true(wired > 50);
    close_probe(probe);
    peer_close(&peer);
}

/* The next send from on_sent, many times over, while data comes in as well. */
struct exchange {
    uint8_t *bytes;
    size_t size;
};

static void send_in_steps(struct probe *probe, char event) {
    struct exchange *exchange = probe->test;
    if (event != 'o' && event != 's')
        return;
    forget_history(probe);
    while (probe->sent < exchange->size) {
        size_t left = exchange->size - probe->sent, n = left < 30000 ? left : 30000;
        int result = probe_send(probe, exchange->bytes + probe->sent, n, 5);
        assert_true(result >= 0);
        if (result == SEND_LATER)
            return;
    }
}

static void exchange_both_ways(struct fixture *fixture, size_t size) {
    struct exchange exchange = {.bytes = new_pattern(size), .size = size};
    struct probe *client = new_probe(fixture), *server = new_probe(fixture);
    client->test = server->test = &exchange;
    client->react = server->react = send_in_steps;
    loop_pair(client, server);
    set_send_buffer(stream_fd(client->stream), SMALL_SEND_BUFFER);
    set_send_buffer(stream_fd(server->stream), SMALL_SEND_BUFFER);
    RUN_UNTIL(fixture, client->received == size && server->received == size);
    RUN_UNTIL(fixture, !client->sending && !server->sending);
    close_probe(client);
    RUN_UNTIL(fixture, strchr(server->history, 'e'));
    close_probe(server);
    assert_int_equal(server->close_err, 0);
    free(exchange.bytes);
}

static void test_both_ways_at_once(struct fixture *fixture) {
    exchange_both_ways(fixture, MIB);
}

/* Every record takes many buffers, and all output has to wait for room. */
static void test_tiny_buffers(struct fixture *fixture) {
    reopen_loop(fixture, &(struct loop_config){.receive_bytes = 7});
    exchange_both_ways(fixture, 40000);
    echo_some(fixture, &(struct peer_options){.server = true, .version = TLS1_2_VERSION}, 1000);
    echo_some(fixture, &(struct peer_options){.version = TLS1_2_VERSION}, 1000);
}

static void test_large_send(struct fixture *fixture) {
    for (int parts = 1; parts <= LOOP_SEND_PARTS; parts += LOOP_SEND_PARTS - 1) {
        struct probe *probe = new_probe(fixture);
        struct peer peer;
        connected_tls(probe, &peer, &plain_server);
        set_send_buffer(stream_fd(probe->stream), SMALL_SEND_BUFFER);
        uint8_t *bytes = new_pattern(MIB);
        assert_int_equal(probe_send(probe, bytes, MIB, parts), SEND_LATER);
        assert_int_equal(probe_send(probe, bytes, 1, 1), -EBUSY);
        RUN_UNTIL(fixture, peer_read(&peer) == MIB);
        RUN_UNTIL(fixture, !probe->sending);
        settle(fixture);
        assert_string_equal(probe->history, "os");
        assert_int_equal(probe->sent_err, 0);
        close_probe(probe);
        free(bytes);
        peer_close(&peer);
    }
}

/* Eight small parts are one record. */
static void test_parts_are_gathered(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    connected_tls(probe, &peer, &(struct peer_options){.server = true, .version = TLS1_3_VERSION});
    uint8_t bytes[1000];
    fill_pattern(bytes, 0, sizeof bytes);
    size_t wired = peer.wired_in;
    assert_int_equal(probe_send(probe, bytes, sizeof bytes, 8), whole_send(fixture));
    RUN_UNTIL(fixture, peer_read(&peer) == sizeof bytes);
    assert_in_range(peer.wired_in - wired, sizeof bytes + 1, sizeof bytes + 30);
    RUN_UNTIL(fixture, !probe->sending);
    close_probe(probe);
    peer_close(&peer);
}

/* RFC 8446 section 4.6.3: with an answer asked for, in the middle of both directions. */
static void test_key_update(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    probe->react = echo_back;
    accepted_tls(probe, &peer, &(struct peer_options){.version = TLS1_3_VERSION});
    size_t sent = 0;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_write(&peer, sent, 20000);
        sent += 20000;
        one_pass(fixture);
    }
    RUN_UNTIL(fixture, peer_read(&peer) == sent);
    close_probe(probe);
    assert_int_equal(probe->close_err, 0);
    peer_close(&peer);
}

/* OpenSSL asks here for all its memory. Of a record it takes a few bytes now and then, whatever one
 * does; buffers it should have once and for all. */
enum { LARGE = 1024 };
static unsigned long large_allocations;

static void *count_malloc(size_t n, const char *file, int line) {
    (void)file;
    (void)line;
    large_allocations += n >= LARGE;
    return malloc(n);
}

static void *count_realloc(void *memory, size_t n, const char *file, int line) {
    (void)file;
    (void)line;
    large_allocations += n >= LARGE;
    return realloc(memory, n);
}

static void just_free(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    free(memory);
}

static void ask_on(struct probe *probe, char event) {
    uint8_t *bytes = probe->test;
    if (event != 'o' && event != 'd')
        return;
    forget_history(probe);
    if (probe->received == probe->sent && !probe->sending) {
        fill_pattern(bytes, probe->sent, 1000);
        assert_true(probe_send(probe, bytes, 1000, 2) >= 0);
    }
}

static void test_no_more_memory(struct fixture *fixture) {
    struct probe *client = new_probe(fixture), *server = new_probe(fixture);
    uint8_t bytes[1000];
    client->test = bytes;
    client->react = ask_on;
    server->react = echo_back;
    loop_pair(client, server);
    RUN_UNTIL(fixture, client->received > 100000);
    unsigned long before = large_allocations;
    uint64_t buffers = loop_counters(fixture->loop)->buffers;
    RUN_UNTIL(fixture, client->received > 500000);
    assert_int_equal(large_allocations, before);
    assert_int_equal(loop_counters(fixture->loop)->buffers, buffers);
    close_probe(client);
    close_probe(server);
}

/* ---- pausing --------------------------------------------------------------------------------- */

static void pause_at_data(struct probe *probe, char event) {
    if (event == 'd')
        probe_pause(probe);
}

static void test_pause_under_flood(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    probe->react = pause_at_data;
    accepted_tls(probe, &peer, &plain_client);
    probe_pause(probe);
    peer_write(&peer, 0, MIB);
    for (int calls = 0; probe->received < MIB; calls++) {
        peer_flush(&peer);
        assert_int_equal(probe->data_calls, calls);
        one_pass(fixture);
        assert_int_equal(probe->data_calls, calls);
        probe_resume(probe);
        probe_pause(probe); /* marks that may be repeated */
        probe_resume(probe);
        RUN_UNTIL(fixture, (peer_flush(&peer), probe->data_calls == calls + 1));
    }
    close_probe(probe);
    peer_close(&peer);
}

static void test_pause_keeps_eof(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    probe->react = pause_at_data;
    accepted_tls(probe, &peer, &plain_client);
    peer_write(&peer, 0, 10);
    SSL_shutdown(peer.ssl);
    peer_flush(&peer);
    RUN_UNTIL(fixture, probe->received == 10);
    settle(fixture);
    assert_string_equal(probe->history, "od");
    probe_resume(probe);
    RUN_UNTIL(fixture, strcmp(probe->history, "ode") == 0);
    close_probe(probe);
    peer_close(&peer);
}

/* Paused before it is open: the handshake goes on, data waits. */
static void test_pause_before_open(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    int fd = connect_tls(probe, papers.client);
    probe_pause(probe);
    peer_init(&peer, fixture, fd, &plain_server);
    RUN_UNTIL(fixture, (peer_greets(&peer) & probe->opened));
    peer_write(&peer, 0, 10);
    peer_flush(&peer);
    settle(fixture);
    assert_string_equal(probe->history, "o");
    probe_resume(probe);
    RUN_UNTIL(fixture, probe->received == 10);
    close_probe(probe);
    peer_close(&peer);
}

struct alarm_clock {
    struct timer timer;
    struct probe *probe;
};

static void resume_in_timer(struct timer *timer) {
    probe_resume(CONTAINER_OF(timer, struct alarm_clock, timer)->probe);
}

static void stop_at_the_end(struct probe *probe, char event) {
    if (event == 'd' && probe->received == 1000)
        loop_stop(probe->fixture->loop);
    if (event == 'd' && probe->received == 10)
        probe_pause(probe);
}

/* Uses the loop's receive buffers for something else. */
static void receive_elsewhere(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    uint8_t *bytes = new_pattern(100000);
    int peer = accepted_pair(probe);
    peer_send_all(fixture, peer, bytes, 100000);
    RUN_UNTIL(fixture, probe->received == 100000);
    free(bytes);
    close_probe(probe);
    close(peer);
}

/* All there is has come in, so nothing but the resume can wake the loop. */
static void test_left_over_data(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct alarm_clock clock = {.timer.on_due = resume_in_timer, .probe = probe};
    struct peer peer;
    probe->react = stop_at_the_end;
    accepted_tls(probe, &peer, &plain_client);
    for (size_t at = 0; at < 1000; at += 10)
        peer_write(&peer, at, 10);
    peer_flush(&peer);
    RUN_UNTIL(fixture, probe->paused);
    receive_elsewhere(fixture);
    assert_int_equal(probe->received, 10);
    timer_set(fixture->loop, &clock.timer, clock_now_ns() + NS_PER_MS);
    run_to_stop(fixture);
    assert_int_equal(probe->received, 1000);
    close_probe(probe);
    peer_close(&peer);
}

enum { HELD = 4 };

static void hold_data(struct probe *probe, char event) {
    struct buffer **held = probe->test;
    if (event != 'd')
        return;
    for (int i = 0; i < HELD; i++)
        if (!held[i]) {
            buffer_hold(probe->buffer);
            held[i] = probe->buffer;
            return;
        }
}

static void test_hold(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct buffer *held[HELD] = {NULL};
    struct peer peer;
    probe->test = held;
    probe->react = hold_data;
    accepted_tls(probe, &peer, &plain_client);
    for (size_t sent = 0; sent < 10000; sent += 1000) {
        peer_write(&peer, sent, 1000);
        peer_flush(&peer);
        RUN_UNTIL(fixture, probe->received == sent + 1000);
    }
    for (size_t i = 0; i < HELD; i++) {
        assert_true(is_pattern(held[i]->bytes, i * 1000, 1000));
        buffer_drop(held[i]);
    }
    close_probe(probe);
    peer_close(&peer);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_close_notify(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    uint8_t bytes[1000];
    fill_pattern(bytes, 0, sizeof bytes);
    accepted_tls(probe, &peer, &plain_client);
    peer_write(&peer, 0, 10);
    SSL_shutdown(peer.ssl);
    peer_flush(&peer);
    shutdown(peer.fd, SHUT_WR);
    RUN_UNTIL(fixture, strcmp(probe->history, "ode") == 0);
    settle(fixture);
    assert_string_equal(probe->history, "ode");
    assert_int_equal(probe_send(probe, bytes, sizeof bytes, 2), whole_send(fixture));
    RUN_UNTIL(fixture, peer_read(&peer) == sizeof bytes && !probe->sending);
    close_probe(probe);
    RUN_UNTIL(fixture, peer_heard_goodbye(&peer));
    assert_int_equal(probe->close_err, 0);
    peer_close(&peer);
}

static const char *words_at_close;

static void keep_words(struct probe *probe, char event) {
    if (event == 'c')
        words_at_close = tls_failure(probe->stream);
}

static void test_no_close_notify(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    words_at_close = NULL;
    probe->react = keep_words;
    accepted_tls(probe, &peer, &plain_client);
    peer_write(&peer, 0, 10);
    peer_flush(&peer);
    shutdown(peer.fd, SHUT_WR);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "odc");
    assert_int_equal(probe->close_err, -EPIPE);
    assert_string_equal(words_at_close, "the connection ended without close_notify");
    peer_close(&peer);
}

static void test_shutdown_follows_send(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    accepted_tls(probe, &peer, &plain_client);
    set_send_buffer(stream_fd(probe->stream), SMALL_SEND_BUFFER);
    uint8_t *bytes = new_pattern(MIB);
    assert_int_equal(probe_send(probe, bytes, MIB, 1), SEND_LATER);
    probe_shutdown(probe);
    probe_shutdown(probe);
    assert_int_equal(probe_send(probe, bytes, 1, 1), -ENOTCONN);
    RUN_UNTIL(fixture, peer_heard_goodbye(&peer));
    assert_int_equal(peer.received, MIB);
    RUN_UNTIL(fixture, probe->sents == 1);
    assert_int_equal(probe->sent_err, 0);
    assert_true(peer_expect_end(fixture, peer.fd));
    /* Receiving stays open. */
    peer_write(&peer, 0, 10);
    SSL_shutdown(peer.ssl);
    peer_flush(&peer);
    RUN_UNTIL(fixture, strcmp(probe->history, "osde") == 0);
    assert_int_equal(probe->received, 10);
    close_probe(probe);
    free(bytes);
    peer_close(&peer);
}

static void test_reset_mid_send(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    accepted_tls(probe, &peer, &plain_client);
    set_send_buffer(stream_fd(probe->stream), SMALL_SEND_BUFFER);
    uint8_t *bytes = new_pattern(MIB);
    assert_int_equal(probe_send(probe, bytes, MIB, 1), SEND_LATER);
    peer_reset(peer.fd);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "osc");
    assert_true(probe->sent_err == -ECONNRESET || probe->sent_err == -EPIPE);
    assert_int_equal(probe->close_err, probe->sent_err);
    free(bytes);
    peer_forget(&peer);
}

static void test_close_cancels_send(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    accepted_tls(probe, &peer, &plain_client);
    set_send_buffer(stream_fd(probe->stream), SMALL_SEND_BUFFER);
    uint8_t *bytes = new_pattern(MIB);
    assert_int_equal(probe_send(probe, bytes, MIB, 1), SEND_LATER);
    close_probe(probe);
    settle(fixture);
    assert_string_equal(probe->history, "osc");
    assert_int_equal(probe->sent_err, -ECANCELED);
    assert_int_equal(probe->close_err, 0);
    free(bytes);
    peer_close(&peer);
}

/* True if the socket has taken anything. */
static bool fill_socket(int fd) {
    static const uint8_t bytes[1000];
    bool taken = false;
    for (size_t n = sizeof bytes; n > 0; n = n > 1 ? 1 : 0)
        while (send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            taken = true;
    return taken;
}

/* Its socket is full to the last byte, so close_notify finds no room. */
static void test_close_without_reader(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    fixture->transport = TRANSPORT_UNIX; /* of TCP's buffers nobody knows when they are full */
    accepted_tls(probe, &peer, &plain_client);
    set_send_buffer(stream_fd(probe->stream), SMALL_SEND_BUFFER);
    while (fill_socket(stream_fd(probe->stream)))
        settle(fixture);
    close_probe(probe);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->close_err, 0);
    peer_close(&peer);
}

static void close_at(struct probe *probe, char event) {
    if (event == *(const char *)probe->test)
        probe_close(probe);
}

static void test_close_in_callback(struct fixture *fixture) {
    static const char *const events[] = {"o", "d", "s", "e", "c"};
    static const char *const histories[] = {"oc", "odc", "odsc", "odec", "odec"};
    uint8_t *bytes = new_pattern(MIB);
    for (size_t i = 0; i < ARRAY_LENGTH(events); i++) {
        struct probe *probe = new_probe(fixture);
        struct peer peer;
        probe->test = (void *)events[i];
        probe->react = close_at;
        accept_peer(probe, &peer, &plain_client);
        RUN_UNTIL(fixture, (peer_greets(&peer) & (probe->opened | probe->closed)));
        if (*events[i] == 's')
            probe_send(probe, bytes, MIB, 1);
        if (*events[i] != 'o') {
            peer_write(&peer, 0, 10);
            peer_flush(&peer);
            RUN_UNTIL(fixture, probe->received == 10);
        }
        if (*events[i] == 'e' || *events[i] == 'c')
            SSL_shutdown(peer.ssl);
        if (*events[i] == 'c') {
            RUN_UNTIL(fixture, (peer_read(&peer), strcmp(probe->history, "ode") == 0));
            probe_close(probe);
        }
        RUN_UNTIL(fixture, (peer_read(&peer), probe->closed));
        settle(fixture);
        assert_int_equal(probe->close_err, 0);
        if (*events[i] != 's')
            assert_string_equal(probe->history, histories[i]);
        peer_close(&peer);
    }
    free(bytes);
}

static void test_close_during_handshake(struct fixture *fixture) {
    for (int steps = 0; steps < 4; steps++) {
        struct probe *probe = new_probe(fixture);
        struct peer peer;
        int fd = connect_tls(probe, papers.client);
        uint8_t byte = 0;
        peer_init(&peer, fixture, fd, &(struct peer_options){.server = true, .piece_bytes = 300});
        for (int i = 0; i < steps; i++) {
            one_pass(fixture);
            peer_greets(&peer);
        }
        if (!probe->opened) {
            assert_int_equal(probe_send(probe, &byte, 1, 1), -ENOTCONN);
            close_probe(probe);
            assert_string_equal(probe->history, "c");
        }
        peer_close(&peer);
    }
}

static void test_free_with_everything_open(struct fixture *fixture) {
    struct probe *idle = new_probe(fixture), *sending = new_probe(fixture);
    struct probe *paused = new_probe(fixture), *connecting = new_probe(fixture);
    struct probe *refused = new_probe(fixture);
    struct peer peers[3];
    accepted_tls(idle, &peers[0], &plain_client);
    accepted_tls(sending, &peers[1], &plain_client);
    accepted_tls(paused, &peers[2], &plain_client);
    paused->react = pause_at_data;
    int fds[] = {connect_tls(connecting, papers.client), connect_tls(refused, papers.client)};
    uint8_t *bytes = new_pattern(MIB);
    assert_int_equal(probe_send(sending, bytes, MIB, 1), SEND_LATER);
    for (size_t at = 0; at < 1000; at += 10)
        peer_write(&peers[2], at, 10);
    peer_flush(&peers[2]);
    RUN_UNTIL(fixture, paused->paused);
    probe_resume(paused); /* what it kept is due in the next pass, which never comes */
    assert_int_equal(send(fds[1], "nonsense", 8, 0), 8);
    reopen_loop(fixture, NULL);
    assert_string_equal(sending->history, "osc");
    assert_int_equal(sending->sent_err, -ECANCELED);
    assert_string_equal(connecting->history, "c");
    assert_true(idle->closed && paused->closed && refused->closed);
    free(bytes);
    for (size_t i = 0; i < ARRAY_LENGTH(peers); i++)
        peer_close(&peers[i]);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++)
        close(fds[i]);
}

/* ---- handshakes that fail -------------------------------------------------------------------- */

static void keep_words_at_open(struct probe *probe, char event) {
    if (event == 'o')
        words_at_close = tls_failure(probe->stream);
}

/* Connects by `options` to a peer with `certificate`, to fail with `err` and `words`. The peer is
 * told why. */
static void expect_refusal(struct fixture *fixture, const struct tls_client_options *options,
                           const char *certificate, const char *words) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    struct tls *tls;
    assert_int_equal(tls_client_open(options, &tls, NULL), 0);
    words_at_close = NULL;
    probe->react = keep_words_at_open;
    peer_init(&peer, fixture, connect_tls(probe, tls),
              &(struct peer_options){.server = true, .certificate = certificate});
    RUN_UNTIL(fixture, (peer_greets(&peer), probe->closed));
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->open_err, -EKEYREJECTED);
    assert_int_equal(probe->close_err, -EKEYREJECTED);
    assert_string_equal(words_at_close, words);
    RUN_UNTIL(fixture, (peer_greets(&peer), peer.failure));
    assert_non_null(strstr(peer.failure, "alert"));
    peer_close(&peer);
    tls_close(tls);
}

static void test_wrong_certificates(struct fixture *fixture) {
    struct tls_client_options options = {.host = "localhost", .ca_file = papers.other_ca};
    expect_refusal(fixture, &options, NULL, "unable to get local issuer certificate");
    options.ca_file = NULL;
    expect_refusal(fixture, &options, NULL, "unable to get local issuer certificate");
    options.ca_file = papers.ca;
    expect_refusal(fixture, &options, papers.expired, "certificate has expired");
    options.host = "example.org";
    expect_refusal(fixture, &options, NULL, "hostname mismatch");
    options.host = "127.0.0.2";
    expect_refusal(fixture, &options, NULL, "IP address mismatch");
}

/* With what the server sees of it. */
static void expect_welcome(struct fixture *fixture, const struct tls_client_options *options,
                           const char *name) {
    struct probe *probe = new_probe(fixture);
    struct tls_agreed agreed;
    struct peer peer;
    struct tls *tls;
    assert_int_equal(tls_client_open(options, &tls, NULL), 0);
    peer_init(&peer, fixture, connect_tls(probe, tls),
              &(struct peer_options){.server = true, .version = TLS1_3_VERSION});
    RUN_UNTIL(fixture, (peer_greets(&peer) & probe->opened));
    const char *asked = SSL_get_servername(peer.ssl, TLSEXT_NAMETYPE_host_name);
    if (name)
        assert_string_equal(asked, name);
    else
        assert_null(asked);
    assert_true(tls_agreed(probe->stream, &agreed));
    assert_string_equal(agreed.version, "TLSv1.3");
    assert_string_equal(agreed.cipher, SSL_get_cipher_name(peer.ssl));
    close_probe(probe);
    peer_close(&peer);
    tls_close(tls);
}

static void test_right_certificates(struct fixture *fixture) {
    struct tls_client_options options = {.host = "localhost", .ca_file = papers.ca};
    expect_welcome(fixture, &options, "localhost");
    options.host = "127.0.0.1";
    expect_welcome(fixture, &options, NULL);
    options = (struct tls_client_options){.host = "example.org", .insecure = true};
    expect_welcome(fixture, &options, "example.org");
}

static int choose_http(SSL *ssl, const unsigned char **out, unsigned char *length,
                       const unsigned char *offered, unsigned offered_length, void *data) {
    (void)ssl;
    (void)data;
    static const unsigned char http[] = "\x08http/1.1";
    return SSL_select_next_proto((unsigned char **)out, length, http, sizeof http - 1, offered,
                                 offered_length) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void test_alpn(struct fixture *fixture) {
    struct tls_client_options options = {
        .host = "localhost", .ca_file = papers.ca, .protocol = "http/1.1"};
    for (int agrees = 1; agrees >= 0; agrees--) {
        struct probe *probe = new_probe(fixture);
        struct tls_agreed agreed;
        struct peer peer;
        struct tls *tls;
        options.protocol = agrees ? "http/1.1" : "carrier-pigeon";
        assert_int_equal(tls_client_open(&options, &tls, NULL), 0);
        peer_init(&peer, fixture, connect_tls(probe, tls), &plain_server);
        SSL_CTX_set_alpn_select_cb(SSL_get_SSL_CTX(peer.ssl), choose_http, NULL);
        RUN_UNTIL(fixture, (peer_greets(&peer), probe->opened || probe->closed));
        if (agrees) {
            assert_true(tls_agreed(probe->stream, &agreed));
            assert_string_equal(agreed.protocol, "http/1.1");
        } else
            assert_int_equal(probe->open_err, -EPROTO);
        close_probe(probe);
        peer_close(&peer);
        tls_close(tls);
    }
}

/* What a server hears of a client that does not like it. */
static void test_server_is_refused(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    words_at_close = NULL;
    probe->react = keep_words_at_open;
    accept_peer(probe, &peer, &(struct peer_options){.version = TLS1_2_VERSION});
    SSL_set_verify(peer.ssl, SSL_VERIFY_PEER, NULL);
    RUN_UNTIL(fixture, (peer_greets(&peer), probe->closed));
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->open_err, -EPROTO);
    assert_non_null(strstr(words_at_close, "alert unknown ca"));
    peer_close(&peer);
}

enum end { NO_END, END, RESET };

/* A peer that says `bytes` instead of shaking hands, and then ends. */
static void meet_stranger(struct fixture *fixture, bool server, const char *bytes, enum end end,
                          int err, const char *words) {
    struct probe *probe = new_probe(fixture);
    struct peer peer = {.fixture = fixture};
    words_at_close = NULL;
    probe->react = keep_words_at_open;
    if (server) {
        accept_peer(probe, &peer, &plain_client);
        peer_forget(&peer);
    } else
        peer.fd = connect_tls(probe, papers.client);
    assert_int_equal(send(peer.fd, bytes, strlen(bytes), 0), strlen(bytes));
    if (end == RESET)
        peer_reset(peer.fd);
    if (end == END)
        shutdown(peer.fd, SHUT_WR);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->open_err, err);
    assert_int_equal(probe->close_err, err);
    if (words)
        assert_string_equal(words_at_close, words);
    else
        assert_null(words_at_close);
    if (end != RESET)
        close(peer.fd);
}

static void test_strangers(struct fixture *fixture) {
    static const char gone[] = "the peer ended the connection during the handshake";
    for (int server = 0; server < 2; server++) {
        meet_stranger(fixture, server, "HTTP/1.1 400 Bad Request\r\n\r\n", NO_END, -EPROTO,
                      "the peer does not speak TLS");
        meet_stranger(fixture, server, "", END, -EPIPE, gone);
        meet_stranger(fixture, server, "\x16\x03\x03", END, -EPIPE, gone);
        meet_stranger(fixture, server, "", RESET, -ECONNRESET, NULL);
    }
    meet_stranger(fixture, true, "GET / HTTP/1.1\r\n\r\n", NO_END, -EPROTO,
                  "the peer does not speak TLS, but HTTP");
}

static void test_connect_refused(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct endpoint address, bound;
    fresh_address(fixture, &address);
    int fd = endpoint_listen(&address, 1, &bound, NULL), failure;
    close(fd);
    IN_CALL(fixture, failure = tls_connect(papers.client, fixture->loop, &bound, NULL,
                                           &probe_handler, probe, &probe->stream));
    assert_int_equal(failure, 0);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->open_err, -ECONNREFUSED);
    assert_int_equal(probe->close_err, -ECONNREFUSED);
}

/* One bit of a record is wrong: nothing of it may be delivered. */
static void test_forged_record(struct fixture *fixture) {
    struct probe *probe = new_probe(fixture);
    struct peer peer;
    char *wire;
    accepted_tls(probe, &peer, &plain_client);
    peer_write(&peer, 0, 100);
    long n = BIO_get_mem_data(peer.out, &wire);
    wire[n / 2] ^= 1;
    peer_flush(&peer);
    RUN_UNTIL(fixture, probe->closed);
    assert_string_equal(probe->history, "oc");
    assert_int_equal(probe->close_err, -EPROTO);
    peer_close(&peer);
}

static void test_bad_options(struct fixture *fixture) {
    (void)fixture;
    struct tls *tls;
    struct error error = {""};
    struct tls_client_options options = {.host = "localhost", .ca_file = "/nowhere/ca.pem"};
    assert_int_equal(tls_client_open(&options, &tls, &error), -EINVAL);
    assert_non_null(strstr(error.text, "/nowhere/ca.pem"));
    assert_non_null(strstr(error.text, "No such file"));
    options.ca_file = papers.key; /* has no certificate */
    assert_int_equal(tls_client_open(&options, &tls, &error), -EINVAL);
    options = (struct tls_client_options){.host = ""};
    assert_int_equal(tls_client_open(&options, &tls, &error), -EINVAL);
    assert_int_equal(tls_server_open(papers.ca, papers.key, &tls, &error), -EINVAL);
    assert_non_null(strstr(error.text, "mismatch"));
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"echo, TLS 1.2 and 1.3, client and server", test_echo, true},
        {"counters are of the socket", test_counters, false},
        {"one byte at a time, handshake and all", test_dribble, false},
        {"records cut at every place", test_every_split, false},
        {"1 MiB both ways at once", test_both_ways_at_once, true},
        {"buffers of 7 bytes", test_tiny_buffers, false},
        {"1 MiB through a 4 KiB send buffer", test_large_send, true},
        {"small parts are one record", test_parts_are_gathered, false},
        {"key updates", test_key_update, false},
        {"no more memory once it is warm", test_no_more_memory, false},
        {"pause under flood", test_pause_under_flood, true},
        {"pause keeps the end back", test_pause_keeps_eof, false},
        {"pause before it is open", test_pause_before_open, false},
        {"data left over needs no further event", test_left_over_data, false},
        {"held buffers keep their bytes", test_hold, false},
        {"close_notify, both ways", test_close_notify, true},
        {"no close_notify", test_no_close_notify, false},
        {"shutdown follows a pending send", test_shutdown_follows_send, true},
        {"peer reset in the middle of a send", test_reset_mid_send, true},
        {"close cancels a send", test_close_cancels_send, false},
        {"close when nobody reads", test_close_without_reader, false},
        {"close in each stream callback", test_close_in_callback, false},
        {"close during the handshake", test_close_during_handshake, false},
        {"free with everything open", test_free_with_everything_open, false},
        {"certificates that are refused", test_wrong_certificates, false},
        {"certificates that are taken", test_right_certificates, false},
        {"ALPN", test_alpn, false},
        {"a client refuses our certificate", test_server_is_refused, false},
        {"peers that do not speak TLS, or end", test_strangers, false},
        {"connect refused", test_connect_refused, false},
        {"a forged record", test_forged_record, false},
        {"options that make no sense", test_bad_options, false},
    };
    CHECK(CRYPTO_set_mem_functions(count_malloc, count_realloc, just_free) == 1);
    make_papers();
    int failures = conformance_main("tls", cases, ARRAY_LENGTH(cases));
    burn_papers();
    return failures;
}

#endif
