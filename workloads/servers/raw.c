/* raw.c: see raw.h. */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EXIT_WRONG_ARGUMENTS = 2, TEXT_BYTES = 160, DESCRIPTORS_MOST = 1 << 20 };

static const char unix_prefix[] = "unix:";

union address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

/* ---- addresses ------------------------------------------------------------------------------- */

static socklen_t parse_unix(const char *path, union address *address) {
    if (*path == '\0' || strlen(path) >= sizeof address->local.sun_path)
        return 0;
    address->local.sun_family = AF_UNIX;
    memcpy(address->local.sun_path, path, strlen(path) + 1);
    return sizeof address->local;
}

/* The length of the address, or 0 if the text is none. */
static socklen_t parse_address(const char *text, union address *address) {
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                          .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    char host[TEXT_BYTES];
    struct addrinfo *found;
    memset(address, 0, sizeof *address);
    if (strncmp(text, unix_prefix, strlen(unix_prefix)) == 0)
        return parse_unix(text + strlen(unix_prefix), address);
    const char *colon = strrchr(text, ':');
    if (!colon || colon - text >= TEXT_BYTES || strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return 0;
    bool brackets = text[0] == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * brackets, text + brackets);
    if ((strchr(host, ':') && !brackets) || getaddrinfo(host, colon + 1, &hints, &found))
        return 0;
    socklen_t length = found->ai_addrlen;
    memcpy(address, found->ai_addr, length);
    freeaddrinfo(found);
    return length;
}

void raw_ready(const struct raw_server *server) {
    union address address;
    socklen_t length = sizeof address;
    char host[TEXT_BYTES], port[16];
    memset(&address, 0, sizeof address);
    if (getsockname(server->listen_fd, &address.any, &length))
        perror("getsockname");
    else if (server->local)
        printf("listening on %s%s\n", unix_prefix, address.local.sun_path);
    else if (getnameinfo(&address.any, length, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        printf(strchr(host, ':') ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
    fflush(stdout);
}

/* ---- sockets --------------------------------------------------------------------------------- */

int raw_set_options(const struct raw_server *server, int fd) {
    int on = 1;
    if (!server->local && (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
                           setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"))))
        return -errno;
    return 0;
}

static int listen_on(struct raw_server *server, const union address *address, socklen_t length) {
    int on = 1, fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    server->listen_fd = fd;
    server->local = address->any.sa_family == AF_UNIX;
    if (fd < 0 || (!server->local && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) ||
        raw_set_options(server, fd) || bind(fd, &address->any, length) || listen(fd, RAW_BACKLOG))
        return -errno;
    return 0;
}

/* ---- the process ----------------------------------------------------------------------------- */

void *raw_table(size_t size, int *count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > DESCRIPTORS_MOST)
        limit.rlim_cur = DESCRIPTORS_MOST;
    *count = (int)limit.rlim_cur;
    return calloc(limit.rlim_cur, size);
}

static void raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MOST ? limit.rlim_max : DESCRIPTORS_MOST;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int catch_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void print_counts(const struct raw_counts *counts) {
    fprintf(stderr, "syscalls wait=%ju read=%ju send=%ju control=%ju accept=%ju requests=%ju\n",
            (uintmax_t)counts->wait, (uintmax_t)counts->read, (uintmax_t)counts->send,
            (uintmax_t)counts->control, (uintmax_t)counts->accept, (uintmax_t)counts->requests);
}

int main(int argc, char **argv) {
    struct raw_server server = {.listen_fd = -1};
    union address address;
    socklen_t length = 0;
    if (argc == 3 && strcmp(argv[1], "--listen") == 0)
        length = parse_address(argv[2], &address);
    if (length == 0) {
        fprintf(stderr, "usage: %s --listen 127.0.0.1:PORT|[::1]:PORT|unix:PATH\n", argv[0]);
        return EXIT_WRONG_ARGUMENTS;
    }
    raise_open_files();
    server.stop_fd = catch_signals();
    int failure = listen_on(&server, &address, length);
    if (failure) {
        fprintf(stderr, "cannot listen on %s: %s\n", argv[2], strerror(-failure));
        return EXIT_FAILURE;
    }
    failure = raw_serve(&server);
    if (server.local)
        unlink(address.local.sun_path);
    if (failure) {
        fprintf(stderr, "cannot serve: %s\n", strerror(-failure));
        return EXIT_FAILURE;
    }
    print_counts(&server.counts);
    return EXIT_SUCCESS;
}
