/* tls.c: a TLS stream is a stream whose operations are OpenSSL's, on top of a stream of the loop.
 *
 * It is built like a backend: what a callback may do, and when it comes, loop.c sees to for all
 * streams. Here ciphertext and plaintext are turned into each other, and nothing else.
 *
 * OpenSSL reads and writes through a BIO of ours that never blocks. It reads ciphertext where the
 * stream below has delivered it, and writes it into buffers of the loop, which go out in one send.
 * What it finds no room for it keeps, and asks to be called again: so memory is bounded, and a
 * stream below that takes no more holds back the one above.
 *
 * OpenSSL keeps errors per thread. They are cleared before each call, since others (a database
 * client) may have left theirs. */
#include "tls.h"

#include <errno.h>

#ifndef HAVE_OPENSSL

static int not_built(struct error *error) {
    return error_set(error, -ENOTSUP, "TLS is not built in: libssl-dev was missing at build time");
}

int tls_client_open(const struct tls_client_options *options, struct tls **tls,
                    struct error *error) {
    (void)options;
    (void)tls;
    return not_built(error);
}

int tls_server_open(const char *certificate_file, const char *key_file, struct tls **tls,
                    struct error *error) {
    (void)certificate_file;
    (void)key_file;
    (void)tls;
    return not_built(error);
}

void tls_close(struct tls *tls) {
    (void)tls;
}

int tls_connect(struct tls *tls, struct loop *loop, const struct endpoint *target,
                const struct endpoint *source, const struct stream_handler *handler, void *data,
                struct stream **stream) {
    (void)tls;
    (void)loop;
    (void)target;
    (void)source;
    (void)handler;
    (void)data;
    (void)stream;
    return -ENOTSUP;
}

int tls_accept(struct tls *tls, struct stream *accepted, const struct stream_handler *handler,
               void *data, struct stream **stream) {
    (void)tls;
    (void)accepted;
    (void)handler;
    (void)data;
    (void)stream;
    return -ENOTSUP;
}

const char *tls_failure(const struct stream *stream) {
    (void)stream;
    return NULL;
}

bool tls_agreed(const struct stream *stream, struct tls_agreed *agreed) {
    (void)stream;
    (void)agreed;
    return false;
}

#else

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

enum {
    RECORD_BYTES = SSL3_RT_MAX_PLAIN_LENGTH,
    OUTPUT_ENOUGH = LOOP_SEND_PARTS / 2, /* buffers to begin a send with */
    HOST_BYTES = 256
};
#define GOODBYE_NS (100 * NS_PER_MS)

struct tls {
    SSL_CTX *context;
    BIO_METHOD *method;
    bool server;
    char host[HOST_BYTES]; /* told to the server (SNI); empty: an address, which it is not told */
};

struct tls_stream {
    struct stream stream;
    struct stream *below; /* null: it has closed */
    SSL *ssl;
    struct timer again; /* goes on with what was kept; when closing, ends waiting for the peer */
    const char *failure;
    bool broken;    /* nothing more may be asked of `ssl` */
    bool advancing; /* advance() runs, and will see what callbacks change */
    bool stalled;   /* OpenSSL found no room for its output */
    bool below_ended;
    bool goodbye, goodbye_said; /* close_notify is due; was written */

    /* Ciphertext that came in and was not read yet. */
    struct buffer *input;
    const uint8_t *input_bytes;
    size_t input_left;
    bool input_held;

    /* Ciphertext to send, in buffers with `kept_bytes` each; the first `lent` are under way. */
    struct buffer *output[LOOP_SEND_PARTS];
    int output_count, lent;
    struct rest rest; /* plaintext of the pending send that is still to be encrypted */
};

static const struct backend tls_streams;

static struct tls_stream *tls_stream(struct stream *stream) {
    return CONTAINER_OF(stream, struct tls_stream, stream);
}

/* ---- what OpenSSL reads and writes ----------------------------------------------------------- */

static int bio_read(BIO *bio, char *bytes, int most) {
    struct tls_stream *own = BIO_get_data(bio);
    size_t n = own->input_left < (size_t)most ? own->input_left : (size_t)most;
    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(bytes, own->input_bytes, n);
    own->input_bytes += n;
    own->input_left -= n;
    return (int)n;
}

/* The buffer that output goes into; null: there is no room. */
static struct buffer *output_buffer(struct tls_stream *own) {
    if (own->output_count > own->lent) {
        struct buffer *last = own->output[own->output_count - 1];
        if (last->kept_bytes < last->size)
            return last;
    }
    if (own->output_count == LOOP_SEND_PARTS)
        return NULL;
    struct buffer *buffer = loop_take_buffer(own->stream.loop);
    if (!buffer)
        return NULL;
    buffer_hold(buffer);
    buffer->kept_bytes = 0;
    own->output[own->output_count++] = buffer;
    return buffer;
}

static int bio_write(BIO *bio, const char *bytes, int n) {
    struct tls_stream *own = BIO_get_data(bio);
    struct buffer *buffer;
    int taken = 0;
    BIO_clear_retry_flags(bio);
    while (taken < n && (buffer = output_buffer(own))) {
        uint32_t room = buffer->size - buffer->kept_bytes;
        uint32_t part = (uint32_t)(n - taken) < room ? (uint32_t)(n - taken) : room;
        memcpy(buffer->bytes + buffer->kept_bytes, bytes + taken, part);
        buffer->kept_bytes += part;
        taken += (int)part;
    }
    if (taken > 0)
        return taken;
    BIO_set_retry_write(bio);
    return -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* whatever is in the buffers goes out without being asked */
}

/* The first `count` buffers of the output are through. */
static void drop_output(struct tls_stream *own, int count) {
    for (int i = 0; i < count; i++)
        buffer_drop(own->output[i]);
    own->output_count -= count;
    memmove(own->output, own->output + count, (size_t)own->output_count * sizeof *own->output);
}

static void drop_input(struct tls_stream *own) {
    if (own->input_held)
        buffer_drop(own->input);
    own->input = NULL;
    own->input_left = 0;
    own->input_held = false;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static const char *reason_of(unsigned long code) {
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    return reason ? reason : "OpenSSL gave no reason";
}

/* What OpenSSL calls by the byte that it stumbled over. */
static const struct {
    int reason;
    const char *words;
} plain_words[] = {
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "the peer does not speak TLS, but HTTP"},
    {SSL_R_HTTPS_PROXY_REQUEST, "the peer does not speak TLS, but HTTP"},
};

/* Keeps the words for the error that OpenSSL has just met, and returns its number. */
static int take_error(struct tls_stream *own) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    ERR_clear_error();
    own->broken = true;
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        own->failure = X509_verify_cert_error_string(SSL_get_verify_result(own->ssl));
        return -EKEYREJECTED;
    }
    own->failure = reason_of(code);
    for (size_t i = 0; i < ARRAY_LENGTH(plain_words); i++)
        if (plain_words[i].reason == reason)
            own->failure = plain_words[i].words;
    return -EPROTO;
}

/* After a call that did not succeed: 0 if it only wants more input, or room for output. */
static int outcome(struct tls_stream *own, int result) {
    switch (SSL_get_error(own->ssl, result)) {
    case SSL_ERROR_WANT_WRITE:
        own->stalled = true;
        return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return take_error(own);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

/* The next plaintext, as much as fits a record: small parts become one, in `*gathered`. The same
 * when asked again, as OpenSSL wants it of a call that is repeated. */
static const void *next_plaintext(struct tls_stream *own, size_t *n, struct buffer **gathered) {
    const struct rest *rest = &own->rest;
    uint32_t buffer_bytes = own->stream.loop->config.receive_bytes;
    size_t most = buffer_bytes < RECORD_BYTES ? buffer_bytes : RECORD_BYTES;
    *n = rest->parts[0].iov_len;
    *gathered = rest->count > 1 && *n < most ? loop_take_buffer(own->stream.loop) : NULL;
    if (!*gathered)
        return rest->parts[0].iov_base;
    buffer_hold(*gathered);
    *n = 0;
    for (int i = 0; i < rest->count; i++) {
        size_t room = most - *n, length = rest->parts[i].iov_len;
        size_t part = length < room ? length : room;
        memcpy((*gathered)->bytes + *n, rest->parts[i].iov_base, part);
        *n += part;
    }
    return (*gathered)->bytes;
}

static int encrypt(struct tls_stream *own) {
    size_t n, written;
    struct buffer *gathered;
    const void *bytes = next_plaintext(own, &n, &gathered);
    ERR_clear_error();
    int ok = SSL_write_ex(own->ssl, bytes, n, &written);
    if (gathered)
        buffer_drop(gathered);
    if (!ok)
        return outcome(own, ok);
    rest_keep(&own->rest, own->rest.parts, own->rest.count, written);
    return 0;
}

static void say_goodbye(struct tls_stream *own) {
    ERR_clear_error();
    int result = SSL_shutdown(own->ssl);
    own->goodbye_said = result >= 0 || outcome(own, result) || !own->stalled;
}

static int send_output(struct tls_stream *own) {
    struct iovec parts[LOOP_SEND_PARTS];
    int count = own->output_count;
    CHECK(count > 0 && count <= LOOP_SEND_PARTS);
    for (int i = 0; i < count; i++)
        parts[i] = (struct iovec){own->output[i]->bytes, own->output[i]->kept_bytes};
    int result = stream_send(own->below, parts, count, NULL);
    if (result == SEND_DONE)
        drop_output(own, count);
    else if (result == SEND_LATER)
        own->lent = count;
    return result < 0 ? result : 0;
}

/* Encrypts and sends all there is, as far as the stream below takes it at once. */
static int push(struct tls_stream *own) {
    while (own->lent == 0) {
        own->stalled = false;
        int failure = 0;
        if (own->rest.count > 0 && own->output_count < OUTPUT_ENOUGH)
            failure = encrypt(own);
        else if (own->goodbye && !own->goodbye_said && own->rest.count == 0)
            say_goodbye(own);
        else if (own->output_count == 0)
            break;
        else
            failure = send_output(own);
        if (failure == 0 && own->stalled)
            failure = own->output_count > 0 ? send_output(own) : -ENOMEM;
        if (failure)
            return failure;
    }
    bool all_given = own->output_count == own->lent && own->rest.count == 0;
    if (own->goodbye_said && all_given && !own->stream.closing)
        stream_shutdown(own->below); /* it follows what is under way */
    return 0;
}

static bool all_sent(const struct tls_stream *own) {
    return own->rest.count == 0 && own->output_count == 0;
}

static int tls_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken) {
    struct tls_stream *own = tls_stream(stream);
    *taken = 0; /* they are counted below */
    rest_keep(&own->rest, parts, count, 0);
    int failure = push(own);
    if (failure) {
        own->rest.count = 0;
        return failure;
    }
    return all_sent(own) ? SEND_DONE : SEND_LATER;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* The stream ends because of `err`; an alert for the peer that OpenSSL has written goes out first.
 */
static void fail(struct tls_stream *own, int err, const char *words) {
    if (words)
        own->failure = words;
    own->broken = true;
    own->rest.count = 0;
    own->goodbye = false;
    if (own->stream.open)
        stream_fail(&own->stream, err);
    else
        stream_deliver_open(&own->stream, err);
}

static bool has_input(const struct tls_stream *own) {
    return own->input_left > 0 || SSL_pending(own->ssl) > 0;
}

static void shake_hands(struct tls_stream *own) {
    ERR_clear_error();
    int result = SSL_do_handshake(own->ssl);
    int failure = result == 1 ? 0 : outcome(own, result);
    if (result == 1)
        stream_deliver_open(&own->stream, 0);
    else if (failure)
        fail(own, failure, NULL);
    else if (own->below_ended && own->input_left == 0)
        fail(own, -EPIPE, "the peer ended the connection during the handshake");
}

static void deliver(struct tls_stream *own, struct buffer *buffer, size_t n) {
    /* The socket's bytes are what is counted, and they were. */
    own->stream.loop->counters.received_bytes -= n;
    stream_deliver_data(&own->stream, buffer, buffer->bytes, n);
}

/* Decrypts into one buffer and delivers it. False: there is nothing more to read for now. */
static bool read_record(struct tls_stream *own, struct buffer *buffer) {
    size_t n;
    ERR_clear_error();
    int ok = SSL_read_ex(own->ssl, buffer->bytes, buffer->size, &n);
    if (ok) {
        deliver(own, buffer, n);
        return true;
    }
    int failure = outcome(own, ok);
    if (failure)
        fail(own, failure, NULL);
    else if (SSL_get_shutdown(own->ssl) & SSL_RECEIVED_SHUTDOWN)
        stream_deliver_eof(&own->stream);
    else
        return !own->stalled;
    return false;
}

static void read_records(struct tls_stream *own) {
    bool more = true;
    while (more && stream_wants_data(&own->stream) && has_input(own)) {
        struct buffer *buffer = loop_take_buffer(own->stream.loop);
        if (!buffer) {
            fail(own, -ENOMEM, NULL);
            return;
        }
        buffer_hold(buffer);
        more = read_record(own, buffer);
        buffer_drop(buffer);
    }
    if (own->below_ended && stream_wants_data(&own->stream) && !has_input(own))
        fail(own, -EPIPE, "the connection ended without close_notify");
}

/* The stream below waits while something of it is kept, or nothing is wanted. */
static void pause_below(struct tls_stream *own) {
    struct stream *stream = &own->stream;
    if (!own->below)
        return;
    if (own->input_left == 0 && !stream->closing && (!stream->open || stream_wants_data(stream)))
        stream_resume(own->below);
    else
        stream_pause(own->below);
}

/* Does all that can be done with what has come in and what could be sent. */
static void advance(struct tls_stream *own) {
    struct stream *stream = &own->stream;
    own->advancing = true;
    do {
        own->stalled = false;
        if (!stream->open && !stream->closing)
            shake_hands(own);
        if (stream->open)
            read_records(own);
        bool was_stalled = own->stalled;
        int failure = stream->closing ? 0 : push(own);
        if (failure)
            fail(own, failure, NULL);
        own->stalled = was_stalled;
    } while (own->stalled && own->lent == 0 && !stream->closing);
    own->advancing = false;
    if (stream->closing || stream->ended || own->input_left == 0)
        drop_input(own);
    pause_below(own);
}

static void advance_again(struct timer *timer) {
    advance(CONTAINER_OF(timer, struct tls_stream, again));
}

/* What was kept is delivered from the next pass, for no callback may come from inside here. */
static void tls_pause(struct stream *stream) {
    struct tls_stream *own = tls_stream(stream);
    if (own->advancing)
        return;
    if (stream_wants_data(stream) && has_input(own))
        timer_set(stream->loop, &own->again, loop_now_ns(stream->loop));
    else
        pause_below(own);
}

/* ---- the stream below ------------------------------------------------------------------------ */

static void below_opened(struct stream *below, int err) {
    struct tls_stream *own = stream_data(below);
    if (err)
        stream_deliver_open(&own->stream, err);
    else
        advance(own);
}

static void below_data(struct stream *below, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct tls_stream *own = stream_data(below);
    CHECK(own->input_left == 0);
    if (own->stream.closing)
        return;
    own->input = buffer;
    own->input_bytes = bytes;
    own->input_left = n;
    advance(own);
    if (own->input) {
        buffer_hold(buffer);
        own->input_held = true;
    }
}

static void below_ended(struct stream *below) {
    struct tls_stream *own = stream_data(below);
    own->below_ended = true;
    advance(own);
}

static void close_when_said(struct tls_stream *own) {
    if (push(own) || own->output_count == 0)
        stream_close(own->below);
}

static void below_sent(struct stream *below, void *cookie, int err) {
    (void)cookie;
    struct tls_stream *own = stream_data(below);
    struct stream *stream = &own->stream;
    drop_output(own, own->lent);
    own->lent = 0;
    if (stream->finishing && err == 0)
        close_when_said(own);
    if (stream->closing)
        return;
    int failure = err ? err : push(own);
    if (stream->later && (failure || all_sent(own)))
        stream_deliver_sent(stream, failure);
    else if (failure && !err) /* the one below has failed by itself */
        fail(own, failure, NULL);
    if (!failure && !stream->closing)
        advance(own);
}

static void release(struct tls_stream *own) {
    timer_cancel(own->stream.loop, &own->again);
    drop_input(own);
    drop_output(own, own->output_count);
    SSL_free(own->ssl);
    own->ssl = NULL;
}

static void finished(struct tls_stream *own) {
    release(own);
    stream_finished(&own->stream);
}

static void below_closed(struct stream *below, int err) {
    struct tls_stream *own = stream_data(below);
    if (!own) /* it never came to be */
        return;
    own->below = NULL;
    if (own->stream.finishing)
        finished(own);
    else if (own->stream.open)
        stream_fail(&own->stream, err ? err : -ECANCELED);
    else
        stream_deliver_open(&own->stream, err ? err : -ECANCELED);
}

static const struct stream_handler below_handler = {.on_open = below_opened,
                                                    .on_data = below_data,
                                                    .on_sent = below_sent,
                                                    .on_eof = below_ended,
                                                    .on_close = below_closed};

/* ---- ends ------------------------------------------------------------------------------------ */

static void tls_shutdown(struct stream *stream) {
    struct tls_stream *own = tls_stream(stream);
    own->goodbye = true;
    int failure = push(own);
    if (failure)
        stream_fail(stream, failure);
}

static void give_up_goodbye(struct timer *timer) {
    struct tls_stream *own = CONTAINER_OF(timer, struct tls_stream, again);
    stream_close(own->below);
}

/* A send that is cancelled may have left half a record behind: nothing can follow it. */
static void tls_finish(struct stream *stream) {
    struct tls_stream *own = tls_stream(stream);
    if (!own->below) {
        finished(own);
        return;
    }
    timer_cancel(stream->loop, &own->again);
    stream_pause(own->below);
    own->rest.count = 0;
    own->goodbye = stream->open && !own->broken;
    if (stream->later || (!stream->open && !own->broken)) {
        stream_close(own->below);
        return;
    }
    own->again.on_due = give_up_goodbye;
    timer_set(stream->loop, &own->again, clock_now_ns() + GOODBYE_NS);
    close_when_said(own);
}

/* Of a backend's operations, those of streams. */
static const struct backend tls_streams = {.name = "tls",
                                           .stream_bytes = sizeof(struct tls_stream),
                                           .send = tls_send,
                                           .pause = tls_pause,
                                           .shutdown = tls_shutdown,
                                           .finish = tls_finish};

/* ---- making one ------------------------------------------------------------------------------ */

/* An SSL without a stream yet; null when memory is out. */
static SSL *new_ssl(const struct tls *tls) {
    SSL *ssl = SSL_new(tls->context);
    BIO *bio = ssl ? BIO_new(tls->method) : NULL;
    if (!bio || (tls->host[0] && SSL_set_tlsext_host_name(ssl, tls->host) != 1)) {
        BIO_free(bio);
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (tls->server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    return ssl;
}

static int start(struct tls *tls, struct stream *below, const struct stream_handler *handler,
                 void *data, struct stream **out) {
    SSL *ssl = new_ssl(tls);
    struct stream *stream = ssl ? loop_new_stream_over(below, &tls_streams, handler, data) : NULL;
    if (!stream) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    struct tls_stream *own = tls_stream(stream);
    own->ssl = ssl;
    own->below = below;
    own->again.on_due = advance_again;
    BIO_set_data(SSL_get_rbio(ssl), own);
    below->data = own;
    *out = stream;
    return 0;
}

int tls_connect(struct tls *tls, struct loop *loop, const struct endpoint *target,
                const struct endpoint *source, const struct stream_handler *handler, void *data,
                struct stream **out) {
    struct stream *below;
    CHECK(!tls->server);
    int failure = loop_connect(loop, target, source, &below_handler, NULL, &below);
    if (failure)
        return failure;
    failure = start(tls, below, handler, data, out);
    if (failure)
        stream_close(below);
    return failure;
}

int tls_accept(struct tls *tls, struct stream *accepted, const struct stream_handler *handler,
               void *data, struct stream **out) {
    CHECK(tls->server && accepted->open);
    if (accepted->loop->backend->control)
        return -ENOTSUP;
    int failure = start(tls, accepted, handler, data, out);
    if (failure == 0)
        accepted->handler = &below_handler;
    return failure;
}

/* ---- what streams have in common ------------------------------------------------------------- */

void tls_close(struct tls *tls) {
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->method);
    free(tls);
}

static bool make_method(struct tls *tls) {
    tls->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");
    return tls->method && BIO_meth_set_read(tls->method, bio_read) &&
           BIO_meth_set_write(tls->method, bio_write) &&
           BIO_meth_set_ctrl(tls->method, bio_control);
}

static int open_tls(bool server, struct tls **out, struct error *error) {
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return error_set(error, -ENOMEM, "out of memory");
    tls->server = server;
    tls->context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!tls->context || !make_method(tls) ||
        SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1) {
        error_set(error, -ENOMEM, "OpenSSL cannot start: %s", reason_of(ERR_peek_error()));
        tls_close(tls);
        return -ENOMEM;
    }
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(tls->context, 0);
    SSL_CTX_set_mode(tls->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    *out = tls;
    return 0;
}

/* A host name is told to the server and looked for in the certificate; an address only the latter
 * (RFC 6066 section 3). */
static int expect_host(struct tls *tls, const char *host, struct error *error) {
    struct in6_addr address;
    X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(tls->context);
    bool is_address =
        inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
    if (*host == '\0' || strlen(host) >= sizeof tls->host)
        return error_set(error, -EINVAL, "the server's name for TLS is %s",
                         *host ? "too long" : "empty");
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!is_address)
        memcpy(tls->host, host, strlen(host) + 1);
    if ((is_address ? X509_VERIFY_PARAM_set1_ip_asc(wanted, host)
                    : X509_VERIFY_PARAM_set1_host(wanted, host, 0)) != 1)
        return error_set(error, -EINVAL, "'%s' is no name of a server", host);
    return 0;
}

static int trust(struct tls *tls, const char *ca_file, struct error *error) {
    ERR_clear_error();
    if (!ca_file && SSL_CTX_set_default_verify_paths(tls->context) != 1)
        return error_set(error, -EINVAL, "the system's certificate authorities: %s",
                         reason_of(ERR_peek_error()));
    if (ca_file && SSL_CTX_load_verify_file(tls->context, ca_file) != 1)
        return error_set(error, -EINVAL, "%s: no certificates of authorities to read: %s", ca_file,
                         reason_of(ERR_peek_error()));
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    return 0;
}

static int offer_protocol(struct tls *tls, const char *protocol, struct error *error) {
    unsigned char list[32];
    size_t length = strlen(protocol);
    if (length == 0 || length >= sizeof list)
        return error_set(error, -EINVAL, "'%s' is no protocol's name for ALPN", protocol);
    list[0] = (unsigned char)length;
    memcpy(list + 1, protocol, length);
    return SSL_CTX_set_alpn_protos(tls->context, list, (unsigned)length + 1) == 0
               ? 0
               : error_set(error, -ENOMEM, "out of memory");
}

int tls_client_open(const struct tls_client_options *options, struct tls **out,
                    struct error *error) {
    struct tls *tls;
    int failure = open_tls(false, &tls, error);
    if (failure)
        return failure;
    failure = expect_host(tls, options->host, error);
    if (!failure && !options->insecure)
        failure = trust(tls, options->ca_file, error);
    if (!failure && options->protocol)
        failure = offer_protocol(tls, options->protocol, error);
    if (failure)
        tls_close(tls);
    else
        *out = tls;
    return failure;
}

int tls_server_open(const char *certificate_file, const char *key_file, struct tls **out,
                    struct error *error) {
    struct tls *tls;
    int failure = open_tls(true, &tls, error);
    if (failure)
        return failure;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(tls->context, certificate_file) != 1)
        failure = error_set(error, -EINVAL, "%s: no certificate to read: %s", certificate_file,
                            reason_of(ERR_peek_error()));
    else if (SSL_CTX_use_PrivateKey_file(tls->context, key_file, SSL_FILETYPE_PEM) != 1)
        failure = error_set(error, -EINVAL, "%s: no key for %s to read: %s", key_file,
                            certificate_file, reason_of(ERR_peek_error()));
    if (failure)
        tls_close(tls);
    else
        *out = tls;
    return failure;
}

/* ---- what a stream can tell ------------------------------------------------------------------ */

const char *tls_failure(const struct stream *stream) {
    return stream->backend == &tls_streams
               ? CONTAINER_OF(stream, struct tls_stream, stream)->failure
               : NULL;
}

bool tls_agreed(const struct stream *stream, struct tls_agreed *agreed) {
    const unsigned char *protocol;
    unsigned length;
    if (stream->backend != &tls_streams || !stream->open || stream->finishing)
        return false;
    const SSL *ssl = CONTAINER_OF(stream, struct tls_stream, stream)->ssl;
    *agreed =
        (struct tls_agreed){.version = SSL_get_version(ssl), .cipher = SSL_get_cipher_name(ssl)};
    SSL_get0_alpn_selected(ssl, &protocol, &length);
    if (length >= sizeof agreed->protocol)
        length = sizeof agreed->protocol - 1;
    if (length > 0)
        memcpy(agreed->protocol, protocol, length);
    return true;
}

#endif
