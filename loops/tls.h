/* tls.h: streams through TLS (OpenSSL; TLS 1.2 and 1.3), on every loop.
 *
 * A TLS stream is a stream: what loop.h says of stream_send, pause, resume, shutdown and close, of
 * lent memory and of the order of callbacks holds for it word for word. It lies on top of a stream
 * of the loop, which belongs to it, and differs in this:
 *
 * - on_open comes after the handshake. One that failed is on_open(err), of an accepted stream too
 * - what is delivered lies in buffers of the loop, but was copied there by OpenSSL; what is sent is
 *   copied out of the caller's memory. Neither is counted in loop_counters: they tell of the
 *   sockets, except for sends_done and sends_later, which count a send here and the one below
 * - stream_shutdown and stream_close send close_notify first (RFC 8446 section 6.1), unless a send
 *   was cancelled. A peer that does not take it delays on_close by 100 ms at most
 * - the peer's close_notify is on_eof. A connection that ends without one may have been cut, so it
 *   is an error, as OpenSSL 3 has it: on_close(-EPIPE) with no on_eof before
 *
 * Errors beyond those of sockets, each with words (tls_failure):
 *
 *   -EKEYREJECTED  the peer's certificate was not accepted
 *   -EPROTO        not TLS, no version or cipher in common, an alert from the peer
 *   -EPIPE         ended without close_notify, or in the middle of the handshake
 *
 * Sessions are never resumed and there is no renegotiation: each connection costs a whole
 * handshake. While open it takes about 40 KiB in OpenSSL, which per record allocates a few bytes
 * besides; buffers for sending are the loop's, at most eight a stream and none while nothing is
 * being sent. */
#ifndef LOOPMARK_TLS_H
#define LOOPMARK_TLS_H

#include "loop.h"

/* What the connections to one server, or of one server, have in common. May be shared by threads.
 */
struct tls;

struct tls_client_options {
    const char *host;     /* whom the certificate has to name, without a port; an address too */
    const char *ca_file;  /* PEM: who is trusted instead of the system's authorities; may be null */
    const char *protocol; /* asked for by ALPN (RFC 7301), e.g. "http/1.1"; null: none */
    bool insecure;        /* takes any certificate */
};

/* -ENOTSUP: built without OpenSSL. -EINVAL: `error` says which file or name is wrong. */
int tls_client_open(const struct tls_client_options *options, struct tls **tls,
                    struct error *error);

/* Both files are PEM; the certificate's may go on with those that lead to its authority. */
int tls_server_open(const char *certificate_file, const char *key_file, struct tls **tls,
                    struct error *error);

/* After the last stream has closed. */
void tls_close(struct tls *tls);

/* As loop_connect. -ENOTSUP: on a loop without sockets. */
int tls_connect(struct tls *tls, struct loop *loop, const struct endpoint *target,
                const struct endpoint *source, const struct stream_handler *handler, void *data,
                struct stream **stream);

/* Makes a TLS stream of one that was just accepted: to be called in its on_open. From then on
 * `accepted` is no more to be used, and no callback of its own comes. After an error it is still
 * the caller's, who closes it. */
int tls_accept(struct tls *tls, struct stream *accepted, const struct stream_handler *handler,
               void *data, struct stream **stream);

/* What went wrong on a TLS stream, in static words; null: nothing, or the socket's error says it
 * all, or it is no TLS stream. */
const char *tls_failure(const struct stream *stream);

/* What was agreed on by a TLS stream that is open: static words such as "TLSv1.3" and
 * "TLS_AES_256_GCM_SHA384"; `protocol` is ALPN's, empty for none. False: it is no TLS stream, or
 * not open. */
struct tls_agreed {
    const char *version, *cipher;
    char protocol[32];
};
bool tls_agreed(const struct stream *stream, struct tls_agreed *agreed);

#endif
