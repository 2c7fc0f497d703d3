/* request_set.h: what an HTTP client asks for: whole requests, made once before the load.
 *
 * One request (a method, the URL's path, headers, a body), or a mix of several from a file: one a
 * line, `WEIGHT METHOD PATH [BODY]`, where BODY goes to the end of the line or is @FILE; empty
 * lines and those that begin with # are left out. Weights are whole numbers: of all requests, each
 * kind is exactly its share of their sum, in an order that looks random and is the same every time.
 *
 * Requests are HTTP/1.1 after RFC 9112, with the header Host, those that were given, and a
 * Content-Length where there is a body or the method usually has one. */
#ifndef LOOPMARK_REQUEST_SET_H
#define LOOPMARK_REQUEST_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "url.h"

enum { REQUESTS_MOST = 1024, WEIGHTS_MOST = 65536, BODY_BYTES_MOST = 64 << 20 };
enum { REQUEST_BEGINS_BYTES = 24 };

struct request_options {
    const char *method;         /* null: GET, or POST where there is a body */
    const char *body;           /* TEXT or @FILE; null: none */
    const char *file;           /* of a mix; then method and body are null */
    const char *lines;          /* of a mix that is no file; null: none */
    const char *const *headers; /* "Name: value" */
    size_t header_count;
};

struct http_request {
    uint8_t *bytes; /* as it is sent */
    size_t length;
    uint8_t *last_bytes; /* the same with `Connection: close` */
    size_t last_length;
    bool head; /* its answers have no body, whatever they say */
    uint32_t weight;
    char begins[REQUEST_BEGINS_BYTES]; /* what the body of a right answer 200 begins with;
                                          terminated; empty: it is not known */
};

struct request_set {
    struct http_request *requests;
    size_t count;
    uint16_t *order; /* indices of requests; begins again at its end */
    size_t order_length;
};

/* `url` gives the host, and the path where there is no file. -EINVAL: `error` says what is wrong,
 * with file:line where it stands in a file; -ENOMEM. */
int request_set_open(const struct request_options *options, const struct url *url,
                     struct request_set **set, struct error *error);
void request_set_close(struct request_set *set);

#endif
