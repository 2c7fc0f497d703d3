/* raw.h: the frame of the raw servers: command line, listening socket, socket options, counts.
 *
 * A raw server is an echo server written by hand on one kernel interface or library, without our
 * loops: the control that tells what the loop interface costs. So that only the interface differs,
 * it asks the kernel for the same work as the loop of that name: the same socket options, backlog,
 * receive size, and rules of when to read, write and accept. Whoever changes one of these in loops/
 * changes it here too; nothing of loops/ is used, or the control would control nothing.
 *
 *   raw_NAME --listen 127.0.0.1:PORT|[::1]:PORT|unix:PATH
 *
 * Port 0 lets the kernel choose. One line on stdout, `listening on ADDR`, says that it is ready.
 * SIGTERM and SIGINT end it with status 0 and this line on stderr:
 *
 *   syscalls wait=N read=N send=N control=N accept=N requests=N
 *
 * Status 1: it cannot serve; 2: wrong arguments. */
#ifndef LOOPMARK_RAW_H
#define LOOPMARK_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RAW_RECEIVE_BYTES = 16 * 1024, /* most that one receive takes */
    RAW_READS_PER_EVENT = 32,      /* reads again only while the buffer came back full */
    RAW_ACCEPTS_PER_EVENT = 64,
    RAW_BACKLOG = 4096,
};

/* System calls so far, failed ones too. Not those of starting and ending, nor a connection's socket
 * options (two a TCP connection) and its close. */
struct raw_counts {
    uint64_t wait;     /* epoll_pwait2, io_uring_enter, passes of libuv */
    uint64_t read;     /* recv */
    uint64_t send;     /* send */
    uint64_t control;  /* epoll_ctl */
    uint64_t accept;   /* accept4 */
    uint64_t requests; /* receives that brought bytes: requests, if each fits into one */
};

struct raw_server {
    int listen_fd; /* listening, non-blocking */
    int stop_fd;   /* readable once SIGTERM or SIGINT came */
    bool local;    /* a unix socket */
    struct raw_counts counts;
};

/* What each server implements. Calls raw_ready when all is set up, and returns 0 when `stop_fd` is
 * readable, or a negative errno. Descriptors may stay open: the process ends then. */
int raw_serve(struct raw_server *server);

/* Prints that connections are served from now on. */
void raw_ready(const struct raw_server *server);

/* TCP_NODELAY and TCP_CONGESTION=reno on a TCP socket. 0 or a negative errno. */
int raw_set_options(const struct raw_server *server, int fd);

/* Zeroed memory for one `size` bytes large thing a descriptor, as many as this process may open;
 * `*count` is how many. Pages that are never touched cost nothing. Null: out of memory. */
void *raw_table(size_t size, int *count);

#endif
