/* http_server.h: an HTTP/1.1 server on any loop.
 *
 * What it serves, to GET, HEAD, POST and PUT, with or without a query; 405 to other methods:
 *   /          size_bytes bytes
 *   /bytes/N   N bytes, at most HTTP_BYTES_MOST
 *   /count     the size of the request's body in decimal digits: what was really received
 *   else       404
 * The bytes are those of http_answer.h. A request's body is read, counted and discarded. What is
 * refused otherwise, and why, is in http_request.h.
 *
 * Connections are kept alive and requests pipelined, with the answers to what one read has brought
 * in one send. An answer that the peer does not take holds up its connection alone: it is read from
 * no more, and keeps one receive buffer and at most one page of answers or HTTP_OUTBOX_BYTES,
 * whatever the size of the answer. Nothing is allocated for a request, and bodies are sent from
 * memory that all answers share.
 *
 * Time limits, each 0 for none: idle_timeout until the first byte of a request, then the connection
 * is closed; header_timeout from there to the end of its head, then 408; transfer_timeout without
 * progress of a body (408) or of an answer (closed).
 *
 * `stop` stops listening and closes idle connections; what is under way is answered, as long as the
 * loop runs, and closed after that. */
#ifndef LOOPMARK_HTTP_SERVER_H
#define LOOPMARK_HTTP_SERVER_H

#include "workload.h"

#define HTTP_BYTES_MOST (256ull << 20)

enum { HTTP_OUTBOX_BYTES = 16 * 1024 };

/* Reads the knobs of KNOB_SERVER in http.c. -ENOTSUP: built without llhttp. */
extern const struct workload_server http_server;

#endif
