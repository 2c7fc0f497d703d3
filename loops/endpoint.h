/* endpoint.h: addresses, and the socket options every loop, server and generator shares.
 *
 * All sockets of loopmark get their options here and nowhere else, so that backends cannot differ
 * by them, and the options are read back for the record. */
#ifndef LOOPMARK_ENDPOINT_H
#define LOOPMARK_ENDPOINT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "error.h"

struct endpoint {
    struct sockaddr_storage address;
    socklen_t length;
};

#define ENDPOINT_TEXT_BYTES 128

/* Reads `127.0.0.1:7000`, `[::1]:7000`, `localhost:7000` or `unix:/path`; port 0 lets the kernel
 * choose. A name is looked up once (this blocks); use it at start only. -EINVAL with `error`
 * filled. */
int endpoint_parse(const char *text, struct endpoint *endpoint, struct error *error);

/* Looks the host name up, each time anew. This blocks, and where no file has the name it asks the
 * network. 0: the address of `endpoint` (TCP) is among those the name has, whatever their order.
 * -ENXIO: it is not, or there is no such name; `*what` is static text that says which. */
int endpoint_look_up(const struct endpoint *endpoint, const char *name, const char **what);

/* The same form back: what `endpoint_parse` would accept. */
void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

bool endpoint_is_unix(const struct endpoint *endpoint);

/* 127.0.0.0/8, ::1 or a unix socket. */
bool endpoint_is_loopback(const struct endpoint *endpoint);

/* A bound, listening, non-blocking, close-on-exec socket. On success `*bound` is the address it
 * really has (port 0 resolved). A stale unix socket file that nobody listens on is replaced; a live
 * one is -EADDRINUSE. Returns the descriptor, or a negative errno with `error` filled. */
int endpoint_listen(const struct endpoint *endpoint, int backlog, struct endpoint *bound,
                    struct error *error);

/* A non-blocking, close-on-exec socket with the common options, bound to `source` if that is not
 * null (IP_BIND_ADDRESS_NO_PORT, so that the port is chosen at connect). Descriptor or negative
 * errno. */
int endpoint_socket(const struct endpoint *target, const struct endpoint *source);

/* TCP_NODELAY and TCP_CONGESTION=reno on TCP; nothing on unix sockets. reno because some hosts
 * default to BBR, which paces and periodically shrinks its window. Called after accept too: what an
 * accepted socket inherits differs. Returns 0 or a negative errno (a kernel without reno: -ENOENT).
 */
int socket_set_options(int fd);

/* What the kernel says is really set; for the record. */
struct socket_options {
    bool tcp;
    int nodelay;
    char congestion[16];
    int send_buffer_bytes;
    int receive_buffer_bytes;
};
int socket_get_options(int fd, struct socket_options *options);

#endif
