/* url.h: what the URL of a server says: who speaks there, at which address, and what to ask for.
 *
 * URLs are read after RFC 3986, as far as a server's needs it: SCHEME://HOST[:PORT][/PATH][?QUERY].
 * Unix sockets are written unix:PATH, and for HTTP, as nginx does it, http://unix:SOCKET:/PATH. The
 * ports of http and https are 80 and 443; the others have none.
 *
 * Targets of databases (postgresql://…, postgres://…, sqlite:FILE) are their driver's to read
 * (drivers/driver.h). One with a password in it is refused: results would show it. */
#ifndef LOOPMARK_URL_H
#define LOOPMARK_URL_H

#include <stdbool.h>

#include "loops/endpoint.h"

#define URL_PATH_BYTES 2048

struct url {
    char scheme[16];
    struct endpoint endpoint;
    char host[ENDPOINT_TEXT_BYTES]; /* as a Host header says it (RFC 9110 section 7.2) */
    char name[ENDPOINT_TEXT_BYTES]; /* as a certificate says it: without port and brackets */
    char path[URL_PATH_BYTES];      /* with the query; "/" where it is empty */
    bool is_database;               /* then only `scheme` is said, and `path` is the whole text */
};

/* A host name is looked up once, which blocks: at start only. -EINVAL: `error` says what is wrong
 * and what would be right. */
int url_parse(const char *text, struct url *url, struct error *error);

/* For an address that came without a URL: the host that names it, and the path "/". */
void url_of_endpoint(const char *scheme, const struct endpoint *endpoint, struct url *url);

#endif
