/* http_peer.h: plain sockets that ask an HTTP server and read its answers one by one, while the
 * fixture's loop runs. Whatever is not an answer ends the case. */
#ifndef LOOPMARK_HTTP_PEER_H
#define LOOPMARK_HTTP_PEER_H

#include "conformance.h"

struct peer_answer {
    char head[512];
    int status;
    bool closes;     /* Connection: close */
    size_t bytes;    /* Content-Length */
    char text[2048]; /* the body, when it was read and fits; terminated */
};

#define HTTP_HOST " HTTP/1.1\r\nHost: a\r\n"
#define HTTP_GET(path) "GET " path HTTP_HOST "\r\n"

/* Sends all of `bytes`. */
void peer_ask(struct fixture *fixture, int peer, const char *bytes);
/* Reads one head; no byte of what follows. */
void peer_read_head(struct fixture *fixture, int peer, struct peer_answer *answer);
/* Reads exactly n bytes of a body; false: the stream has ended first. */
bool peer_read_bytes(struct fixture *fixture, int peer, void *to, size_t n);
/* Reads a head and a small body. */
void peer_read_answer(struct fixture *fixture, int peer, struct peer_answer *answer);
/* The same, and it has to be this one. */
void peer_expect_answer(struct fixture *fixture, int peer, int status, const char *text,
                        bool closes);
/* The end of the stream comes next, without a reset; closes the peer. */
void peer_expect_close(struct fixture *fixture, int peer);
/* Whether there is a byte, or the end, after passes enough. */
bool peer_hears_nothing(struct fixture *fixture, int peer);

#endif
