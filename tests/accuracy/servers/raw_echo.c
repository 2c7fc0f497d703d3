/* raw_echo.c: see raw_echo.h. */
#include "raw_echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS_MOST = 256, MESSAGE_BYTES = 64 * 1024 };

static int fail(const char *what) {
    perror(what);
    return -1;
}

uint64_t raw_echo_count(const char *option, const char *text) {
    char *end;
    errno = 0;
    unsigned long long count = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || count > 1000000000000ull) {
        fprintf(stderr, "--%s: '%s' is not a count\n", option, text);
        exit(2);
    }
    return count;
}

static int parse_address(const char *text, struct sockaddr_in *address) {
    char host[64];
    unsigned port;
    char rest;
    if (!text || sscanf(text, "%63[0-9.]:%u%c", host, &port, &rest) != 2 || port > UINT16_MAX)
        return -1;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &address->sin_addr) == 1 ? 0 : -1;
}

/* Accepted sockets inherit these options. A kernel without reno keeps its own: there is no other.
 */
static void set_options(int fd) {
    int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static int start_listening(const char *text) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char host[INET_ADDRSTRLEN];
    if (parse_address(text, &address)) {
        fprintf(stderr, "--listen wants 127.0.0.1:PORT\n");
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail("socket");
    set_options(fd);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        return fail(text);
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    printf("listening on %s:%u\n", host, ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int signals_to_stop(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

static int watch(int epoll_fd, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? fail("epoll_ctl") : 0;
}

static void accept_all(int epoll_fd, int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        if (watch(epoll_fd, fd))
            close(fd);
}

/* 0: the kernel does not tell. */
static uint64_t arrived_ns(struct msghdr *message) {
    struct timespec stamp = {.tv_sec = 0};
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at))
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_TIMESTAMPNS)
            memcpy(&stamp, CMSG_DATA(at), sizeof stamp);
    return (uint64_t)stamp.tv_sec * 1000000000ull + (uint64_t)stamp.tv_nsec;
}

/* An answer is no longer than its request, which fits in the socket's buffer: a short send is an
 * error. */
static void answer(const struct raw_echo *server, int fd) {
    static char bytes[MESSAGE_BYTES], control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0) {
        if (server->on_message)
            server->on_message(server->state, arrived_ns(&message));
        if (send(fd, bytes, (size_t)n, MSG_NOSIGNAL) == n) {
            if (server->on_answered)
                server->on_answered(server->state);
            return;
        }
    }
    close(fd);
}

static int serve(const struct raw_echo *server, int epoll_fd, int listener, int stop_fd) {
    struct epoll_event events[EVENTS_MOST];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MOST, -1);
        if (count < 0 && errno != EINTR)
            return fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == stop_fd)
                return 0;
            if (fd == listener)
                accept_all(epoll_fd, listener);
            else
                answer(server, fd);
        }
    }
}

int raw_echo_serve(const struct raw_echo *server) {
    int stop_fd = signals_to_stop();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = start_listening(server->listen);
    if (stop_fd < 0 || epoll_fd < 0 || listener < 0 || watch(epoll_fd, stop_fd) ||
        watch(epoll_fd, listener))
        return 1;
    return serve(server, epoll_fd, listener, stop_fd) ? 1 : 0;
}
