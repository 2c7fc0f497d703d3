/* endpoint.c: see endpoint.h. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static const char unix_prefix[] = "unix:";

static int parse_unix(const char *path, struct endpoint *endpoint, struct error *error) {
    struct sockaddr_un *address = (struct sockaddr_un *)&endpoint->address;
    size_t length = strlen(path);
    if (length == 0)
        return error_set(error, -EINVAL, "unix: needs a path, as in unix:/run/echo.sock");
    if (length >= sizeof address->sun_path)
        return error_set(error, -EINVAL,
                         "socket path is %zu bytes long, at most %zu are possible: %s", length,
                         sizeof address->sun_path - 1, path);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
    endpoint->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

/* Splits `HOST:PORT` or `[HOST]:PORT`; `host` must hold ENDPOINT_TEXT_BYTES. */
static int split_host_port(const char *text, char *host, const char **port) {
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    if (!colon || colon[1] == '\0')
        return -EINVAL;
    if (text[0] == '[') {
        from = text + 1;
        to = colon - 1;
        if (to < from || *to != ']')
            return -EINVAL;
    } else if (memchr(text, ':', (size_t)(colon - text)))
        return -EINVAL; /* a bare IPv6 address: which colon begins the port? */
    size_t length = (size_t)(to - from);
    if (length == 0 || length >= ENDPOINT_TEXT_BYTES)
        return -EINVAL;
    memcpy(host, from, length);
    host[length] = '\0';
    *port = colon + 1;
    return 0;
}

int endpoint_parse(const char *text, struct endpoint *endpoint, struct error *error) {
    memset(endpoint, 0, sizeof *endpoint);
    if (strncmp(text, unix_prefix, sizeof unix_prefix - 1) == 0)
        return parse_unix(text + sizeof unix_prefix - 1, endpoint, error);

    char host[ENDPOINT_TEXT_BYTES], *end;
    const char *port;
    if (split_host_port(text, host, &port))
        return error_set(error, -EINVAL, "address '%s' is not HOST:PORT, [IPV6]:PORT or unix:PATH",
                         text);
    unsigned long number = strtoul(port, &end, 10);
    if (*end != '\0' || *port < '0' || *port > '9' || number > 65535)
        return error_set(error, -EINVAL, "port '%s' in '%s' is not a number from 0 to 65535", port,
                         text);

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    int failure = getaddrinfo(host, port, &hints, &found);
    if (failure)
        return error_set(error, -EINVAL, "cannot find host '%s': %s", host, gai_strerror(failure));
    memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
    endpoint->length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static bool is_same_host(const struct sockaddr *a, const struct sockaddr *b) {
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
                              &((const struct sockaddr_in6 *)b)->sin6_addr);
}

int endpoint_look_up(const struct endpoint *endpoint, const char *name, const char **what) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    bool has_it = false;
    int failure = getaddrinfo(name, NULL, &hints, &found);
    if (failure) {
        *what = gai_strerror(failure);
        return -ENXIO;
    }
    for (const struct addrinfo *each = found; each && !has_it; each = each->ai_next)
        has_it = is_same_host(each->ai_addr, (const struct sockaddr *)&endpoint->address);
    freeaddrinfo(found);
    *what = has_it ? NULL : "the host name has not the address that is loaded";
    return has_it ? 0 : -ENXIO;
}

void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]) {
    char host[INET6_ADDRSTRLEN] = "?";
    switch (endpoint->address.ss_family) {
    case AF_UNIX:
        snprintf(text, ENDPOINT_TEXT_BYTES, "unix:%s",
                 ((const struct sockaddr_un *)&endpoint->address)->sun_path);
        return;
    case AF_INET: {
        const struct sockaddr_in *ip4 = (const struct sockaddr_in *)&endpoint->address;
        inet_ntop(AF_INET, &ip4->sin_addr, host, sizeof host);
        snprintf(text, ENDPOINT_TEXT_BYTES, "%s:%u", host, ntohs(ip4->sin_port));
        return;
    }
    case AF_INET6: {
        const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *)&endpoint->address;
        inet_ntop(AF_INET6, &ip6->sin6_addr, host, sizeof host);
        snprintf(text, ENDPOINT_TEXT_BYTES, "[%s]:%u", host, ntohs(ip6->sin6_port));
        return;
    }
    default:
        snprintf(text, ENDPOINT_TEXT_BYTES, "?");
    }
}

bool endpoint_is_unix(const struct endpoint *endpoint) {
    return endpoint->address.ss_family == AF_UNIX;
}

bool endpoint_is_loopback(const struct endpoint *endpoint) {
    switch (endpoint->address.ss_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        return ntohl(((const struct sockaddr_in *)&endpoint->address)->sin_addr.s_addr) >> 24 ==
               127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr);
    default:
        return false;
    }
}

int socket_set_options(int fd) {
    int family, on = 1;
    socklen_t length = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length))
        return -errno;
    if (family == AF_UNIX)
        return 0;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4))
        return -errno;
    return 0;
}

int socket_get_options(int fd, struct socket_options *options) {
    int family;
    socklen_t length = sizeof family;
    memset(options, 0, sizeof *options);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length))
        return -errno;
    options->tcp = family != AF_UNIX;
    length = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options->send_buffer_bytes, &length);
    length = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options->receive_buffer_bytes, &length);
    if (options->tcp) {
        length = sizeof(int);
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &options->nodelay, &length);
        length = sizeof options->congestion - 1;
        getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion, &length);
    }
    return 0;
}

/* A socket file stays behind when its server is killed. Only a refused connection proves that
 * nobody listens there any more; anything else is left alone and reported by bind. */
static void remove_stale_socket(const struct endpoint *endpoint) {
    const char *path = ((const struct sockaddr_un *)&endpoint->address)->sun_path;
    struct stat status;
    if (lstat(path, &status) || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) &&
        errno == ECONNREFUSED)
        unlink(path);
    close(fd);
}

static int listen_on(int fd, const struct endpoint *endpoint, int backlog, struct endpoint *bound) {
    int on = 1;
    if (!endpoint_is_unix(endpoint)) {
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
            return -errno;
        int failure = socket_set_options(fd);
        if (failure)
            return failure;
    }
    if (bind(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) ||
        listen(fd, backlog))
        return -errno;
    memset(bound, 0, sizeof *bound);
    bound->length = sizeof bound->address;
    if (getsockname(fd, (struct sockaddr *)&bound->address, &bound->length))
        return -errno;
    return 0;
}

int endpoint_listen(const struct endpoint *endpoint, int backlog, struct endpoint *bound,
                    struct error *error) {
    char text[ENDPOINT_TEXT_BYTES];
    struct endpoint ignored;
    endpoint_format(endpoint, text);
    if (endpoint_is_unix(endpoint))
        remove_stale_socket(endpoint);
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(error, -errno, "cannot make a socket for %s: %s", text, strerror(errno));
    int failure = listen_on(fd, endpoint, backlog, bound ? bound : &ignored);
    if (failure) {
        close(fd);
        return error_set(error, failure, "cannot listen on %s: %s", text, strerror(-failure));
    }
    return fd;
}

int endpoint_socket(const struct endpoint *target, const struct endpoint *source) {
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int failure = socket_set_options(fd), on = 1;
    if (!failure && source &&
        ((!endpoint_is_unix(source) &&
          setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on)) ||
         bind(fd, (const struct sockaddr *)&source->address, source->length)))
        failure = -errno;
    if (failure) {
        close(fd);
        return failure;
    }
    return fd;
}
