/* http_client.h: asks an HTTP/1.1 server, and reads what comes back.
 *
 * A request is bytes made beforehand (request_set.h), sent as they lie; without a request set it
 * is GET of the URL's path. Answers are parsed by llhttp, after RFC 9112: bodies by length, chunked
 * or up to the end of the connection, none for HEAD, 204 and 304; 1xx answers are passed over, but
 * for 101. Pipelined requests are sent together, and each answer is told by itself.
 *
 * An answer whose head is, byte for byte, the one that llhttp has parsed last for the same request
 * has the same meaning, so it is only compared: of servers that answer alike, one head a second is
 * parsed (the header Date changes), and the rest of the generator's CPU time is left for measuring.
 *
 * An answer is told when its last byte has come, even while its request is still being sent; its
 * status is told, never judged. What is wrong:
 *
 *   -EPROTO   not HTTP/1: llhttp says what; or bytes that nobody asked for
 *   -EBADMSG  verify only: status or body is not that of the first answer to the same request; or,
 *             where the request tells how a right answer begins, a 200 does not
 *   -EPIPE    the connection ended before an answer was complete
 *
 * A connection that the server closes while nothing is asked is closed without an error
 * (RFC 9112 section 9.5), and with https without close_notify too (section 9.8).
 *
 * Of https (loops/tls.h) what is wrong has its words in client_end; one whose handshake failed
 * never opens. HTTP/1.1 is asked for by ALPN. */
#ifndef LOOPMARK_HTTP_CLIENT_H
#define LOOPMARK_HTTP_CLIENT_H

#include "workload.h"

struct request_set; /* request_set.h */

/* Without llhttp its `start` is -ENOTSUP with the reason. */
extern const struct workload_client http_client;

/* http_client.start with requests that belong to the client from here on, also after an error.
 * Null: with those of `setup`. */
int http_client_start_with(const struct client_setup *setup, struct request_set *requests,
                           struct client **client, struct error *error);

#endif
