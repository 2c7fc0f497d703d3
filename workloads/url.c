/* url.c: see url.h. */
#include "url.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "loops/check.h"

static const struct {
    const char *name;
    const char *port; /* where the URL names none; null: it has to */
    bool paths, database;
} schemes[] = {
    {"tcp", NULL, false, false},
    {"unix", NULL, false, false},
    {"http", "80", true, false},
    {"https", "443", true, false},
    {"postgresql", NULL, false, true},
    {"postgres", NULL, false, true},
    {"sqlite", NULL, false, true},
};

enum { UNKNOWN = -1 };

static int find_scheme(const char *name, size_t length) {
    for (size_t i = 0; i < ARRAY_LENGTH(schemes); i++)
        if (strlen(schemes[i].name) == length && strncmp(schemes[i].name, name, length) == 0)
            return (int)i;
    return UNKNOWN;
}

/* What may not stand in a request line, where it would end the target or the line. */
static bool has_unsafe_byte(const char *text) {
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return true;
    return false;
}

static int take_path(const char *path, struct url *url, struct error *error) {
    if (strchr(path, '#'))
        return error_set(error, -EINVAL,
                         "'%s': what follows # is never sent to a server; leave it out", path);
    if (has_unsafe_byte(path))
        return error_set(error, -EINVAL,
                         "path '%s' has a space or another byte that a URL writes as %%XX", path);
    const char *slash = *path == '/' ? "" : "/";
    int length = snprintf(url->path, sizeof url->path, "%s%s", slash, path);
    if ((size_t)length >= sizeof url->path)
        return error_set(error, -EINVAL, "the URL's path is longer than %zu bytes",
                         sizeof url->path - 1);
    return 0;
}

/* unix:SOCKET or unix:SOCKET:/PATH. */
static int take_unix(const char *text, bool paths, struct url *url, struct error *error) {
    char address[512];
    const char *colon = paths ? strstr(text + strlen("unix:"), ":/") : NULL;
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    snprintf(address, sizeof address, "%.*s", (int)(length < 500 ? length : 500), text);
    snprintf(url->host, sizeof url->host, "localhost");
    snprintf(url->name, sizeof url->name, "localhost");
    if (take_path(colon ? colon + 1 : "", url, error))
        return -EINVAL;
    return endpoint_parse(address, &url->endpoint, error);
}

/* Where the port's colon is: behind the brackets of an IPv6 address. */
static const char *port_colon(const char *host, size_t length) {
    const char *bracket = memchr(host, ']', length);
    const char *from = *host == '[' && bracket ? bracket : host;
    return memchr(from, ':', length - (size_t)(from - host));
}

static void take_name(const char *host, const char *end, struct url *url) {
    bool brackets = *host == '[' && end[-1] == ']';
    snprintf(url->name, sizeof url->name, "%.*s", (int)(end - host) - 2 * brackets,
             host + brackets);
}

/* HOST[:PORT], with the scheme's port where there is none. */
static int take_address(const char *host, size_t length, const char *port, struct url *url,
                        struct error *error) {
    char address[ENDPOINT_TEXT_BYTES];
    const char *colon = port_colon(host, length);
    if (memchr(host, '@', length))
        return error_set(error, -EINVAL,
                         "a URL with a user name is not taken; give -H 'Authorization: ...'");
    if (length + strlen(":65535") >= sizeof address || length == 0)
        return error_set(error, -EINVAL, "the URL's host is %s",
                         length ? "too long" : "missing; it should be HOST:PORT");
    snprintf(url->host, sizeof url->host, "%.*s", (int)length, host);
    take_name(host, colon ? colon : host + length, url);
    snprintf(address, sizeof address, "%.*s%s%s", (int)length, host, colon || !port ? "" : ":",
             colon || !port ? "" : port);
    return endpoint_parse(address, &url->endpoint, error);
}

static int take_rest(const char *rest, int scheme, struct url *url, struct error *error) {
    bool paths = schemes[scheme].paths;
    if (strncmp(rest, "unix:", strlen("unix:")) == 0)
        return take_unix(rest, paths, url, error);
    size_t length = paths ? strcspn(rest, "/?#") : strlen(rest);
    if (take_path(paths ? rest + length : "", url, error))
        return -EINVAL;
    return take_address(rest, length, schemes[scheme].port, url, error);
}

/* USER:PASSWORD@HOST, or the parameter, as libpq takes them. */
static bool has_password(const char *text) {
    const char *begin = strstr(text, "://");
    if (!begin)
        return false;
    begin += strlen("://");
    size_t length = strcspn(begin, "/?");
    const char *at = memchr(begin, '@', length);
    return (at && memchr(begin, ':', (size_t)(at - begin))) || strstr(text, "?password=") ||
           strstr(text, "&password=");
}

static int take_database(const char *text, struct url *url, struct error *error) {
    if (has_password(text))
        return error_set(error, -EINVAL,
                         "a URL with a password is not taken, as others could read it; set "
                         "PGPASSWORD or write it to ~/.pgpass");
    if ((size_t)snprintf(url->path, sizeof url->path, "%s", text) >= sizeof url->path)
        return error_set(error, -EINVAL, "the URL is longer than %zu bytes", sizeof url->path - 1);
    url->is_database = true;
    return 0;
}

int url_parse(const char *text, struct url *url, struct error *error) {
    const char *colon = strchr(text, ':');
    memset(url, 0, sizeof *url);
    if (!colon || (strncmp(colon, "://", 3) != 0 && strncmp(text, "unix:", 5) != 0 &&
                   strncmp(text, "sqlite:", 7) != 0))
        return error_set(error, -EINVAL,
                         "'%s' is not a URL; it should look like http://127.0.0.1:8080/, "
                         "tcp://127.0.0.1:7000, unix:/run/echo.sock, postgresql://127.0.0.1/name "
                         "or sqlite:FILE",
                         text);
    size_t length = (size_t)(colon - text);
    int scheme = find_scheme(text, length);
    if (scheme == UNKNOWN)
        return error_set(error, -EINVAL,
                         "nothing here speaks '%.*s'; use http://, https://, tcp://, unix:, "
                         "postgresql:// or sqlite: (see `loopmark list`)",
                         (int)length, text);
    snprintf(url->scheme, sizeof url->scheme, "%s", schemes[scheme].name);
    if (schemes[scheme].database)
        return take_database(text, url, error);
    return take_rest(strncmp(colon, "://", 3) == 0 ? colon + 3 : text, scheme, url, error);
}

void url_of_endpoint(const char *scheme, const struct endpoint *endpoint, struct url *url) {
    memset(url, 0, sizeof *url);
    snprintf(url->scheme, sizeof url->scheme, "%s", scheme);
    url->endpoint = *endpoint;
    snprintf(url->path, sizeof url->path, "/");
    snprintf(url->host, sizeof url->host, "localhost");
    snprintf(url->name, sizeof url->name, "localhost");
    if (endpoint_is_unix(endpoint))
        return;
    endpoint_format(endpoint, url->host);
    take_name(url->host, strrchr(url->host, ':'), url);
}
