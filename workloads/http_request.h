/* http_request.h: HTTP/1.1 requests out of a stream of bytes, however it is cut (RFC 9110, 9112).
 *
 * llhttp parses; this file decides what is taken, and is strict wherever two readers of the same
 * bytes could disagree on where a request ends (request smuggling, RFC 9112 section 11.2). What
 * llhttp leaves lenient depends on its version, so the lines of a head and of trailers are checked
 * before it sees them: each ends in CRLF, none is folded, and head and trailers are bounded. Then
 * llhttp gets exactly one head, and both must agree that it ends there.
 *
 * Refused, with the status in `status`, after which nothing on the connection can be trusted:
 *   400  bare LF, folded lines, space before the colon, empty field names; Content-Length that is
 *        repeated, no number or beside Transfer-Encoding; Transfer-Encoding that does not end in
 *        chunked, or in HTTP/1.0; chunk sizes that overflow or are no numbers; no Host or several,
 *        or a wrong one; a target that is neither /path nor http://host/path; HTTP/0.9
 *   405  a method that llhttp does not know
 *   413  a body over body_most
 *   414  a request line over REQUEST_SECTION_BYTES
 *   431  a head or trailers over REQUEST_SECTION_BYTES, or as much of chunk extensions
 *   417  an expectation other than 100-continue
 *   501  a transfer coding besides chunked
 *   505  a version other than 1.0 and 1.1
 *
 * CONNECT and Upgrade are never followed: what comes after such a head is read as HTTP. No memory
 * but the struct, no copies of bodies, and no time is looked at. */
#ifndef LOOPMARK_HTTP_REQUEST_H
#define LOOPMARK_HTTP_REQUEST_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REQUEST_SECTION_BYTES = 16 * 1024, /* most of a head, and of trailers */
    REQUEST_PATH_BYTES = 32,
    REQUEST_WORD_BYTES = 18,
};

enum request_event {
    REQUEST_MORE, /* everything was used, and more is needed */
    REQUEST_BODY, /* the head is whole and a body follows; comes once */
    REQUEST_DONE, /* the request is whole; the next call begins another */
    REQUEST_BAD,  /* see `status`; no call may follow */
};

enum request_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_OTHER };

struct request {
    /* Of the head, from REQUEST_BODY or REQUEST_DONE until the next call. */
    enum request_method method;
    char path[REQUEST_PATH_BYTES]; /* without the query; not terminated */
    uint32_t path_bytes;           /* over REQUEST_PATH_BYTES: the rest of it is not kept */
    uint8_t minor_version;         /* HTTP/1.x */
    bool keep_alive;               /* what the client wants */
    bool expects_continue;
    uint64_t body_bytes; /* so far, without chunk framing */
    int status;          /* of REQUEST_BAD */

    /* The rest is request.c's own. */
    uint64_t body_most;
    uint8_t part, target_state, skip, field, host_state, hosts, encodings;
    bool head_seen, whole, section_ended;
    uint8_t last_byte;
    uint32_t section_bytes, lines, line_bytes; /* of the head or the trailers */
    uint32_t extension_bytes;
    uint32_t word_bytes; /* over REQUEST_WORD_BYTES: the rest of it is not kept */
    char word[REQUEST_WORD_BYTES];
    llhttp_t llhttp;
};

/* `body_most`: the largest body that is taken. */
void request_init(struct request *request, uint64_t body_most);

/* Parses bytes[0..n), n > 0, up to the next event; `*used` of them, at most n, belong to it. */
enum request_event request_parse(struct request *request, const uint8_t *bytes, size_t n,
                                 size_t *used);

/* No byte of the next request has come yet; empty lines before it do not count. */
bool request_is_idle(const struct request *request);
/* Its head is whole and its body is not. */
bool request_in_body(const struct request *request);

bool request_path_is(const struct request *request, const char *path);

#endif
