/* control.c: see control.h. */
#include "harness/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loops/check.h"
#include "loops/clock.h"

/* The answer begins with the question's number, or one that came late would pass for the next. */
enum question_kind { ASK_LOOP = '?', ASK_WORKLOAD = 'w' };
struct question {
    uint64_t number; /* when it was asked, clock.h */
    uint64_t kind;
};

struct control {
    struct loop *loop;
    struct watch watch;
    const struct workload_server *workload;
    const struct server *server; /* or null */
};

static void read_workload(const struct control *control, struct control_workload *told) {
    struct workload_counter counters[WORKLOAD_COUNTERS_MOST];
    *told = (struct control_workload){.count = 0};
    if (!control->server || !control->workload->counters)
        return;
    told->count = control->workload->counters(control->server, counters);
    for (size_t i = 0; i < told->count; i++) {
        snprintf(told->counters[i].name, CONTROL_NAME_BYTES, "%s", counters[i].name);
        told->counters[i].value = counters[i].value;
    }
}

static ssize_t answer(const struct control *control, struct question *question) {
    struct control_workload workload;
    const struct loop_counters *counters = loop_counters(control->loop);
    struct iovec parts[] = {{.iov_base = &question->number, .iov_len = sizeof question->number},
                            {.iov_base = (void *)counters, .iov_len = sizeof *counters}};
    if (question->kind == ASK_WORKLOAD) {
        read_workload(control, &workload);
        parts[1] = (struct iovec){.iov_base = &workload, .iov_len = sizeof workload};
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_LENGTH(parts)};
    return sendmsg(control->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void asked(struct watch *watch, unsigned events) {
    (void)events;
    struct control *control = CONTAINER_OF(watch, struct control, watch);
    struct question question;
    ssize_t n = recv(watch->fd, &question, sizeof question, MSG_DONTWAIT);
    if (n == sizeof question)
        n = answer(control, &question);
    /* The harness is gone, or does not read: nobody is left to tell. */
    if (n == 0 || (n < 0 && errno != EAGAIN))
        watch_set(control->loop, watch, 0);
}

int control_start(struct loop *loop, int fd, struct control **out) {
    struct control *control = calloc(1, sizeof *control);
    if (!control)
        return -ENOMEM;
    control->loop = loop;
    control->watch = (struct watch){.fd = fd, .on_ready = asked};
    int failure = watch_set(loop, &control->watch, WATCH_READ);
    if (failure) {
        free(control);
        return failure;
    }
    *out = control;
    return 0;
}

void control_stop(struct control *control) {
    watch_set(control->loop, &control->watch, 0);
    close(control->watch.fd);
    free(control);
}

void control_set_server(struct control *control, const struct workload_server *workload,
                        const struct server *server) {
    control->workload = workload;
    control->server = server;
}

/* One answer, to whichever question. */
static int receive(int fd, uint64_t *number, void *answer, size_t size, uint64_t until_ns) {
    struct iovec parts[] = {{.iov_base = number, .iov_len = sizeof *number},
                            {.iov_base = answer, .iov_len = size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_LENGTH(parts)};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    uint64_t now_ns = clock_now_ns();
    uint64_t left_ms = now_ns < until_ns ? (until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    int count = poll(&ready, 1, (int)left_ms);
    if (count == 0)
        return -ETIMEDOUT;
    if (count < 0)
        return -errno;
    return recvmsg(fd, &message, MSG_DONTWAIT) > 0 ? 0 : -EPIPE;
}

static int ask(int fd, enum question_kind kind, void *answer, size_t size, int timeout_ms) {
    struct question question = {.number = clock_now_ns(), .kind = kind};
    uint64_t answered = 0;
    int failure = 0;
    if (send(fd, &question, sizeof question, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof question)
        return -EPIPE;
    while (failure == 0 && answered != question.number)
        failure = receive(fd, &answered, answer, size,
                          question.number + (uint64_t)timeout_ms * NS_PER_MS);
    return failure;
}

int control_ask(int fd, struct loop_counters *counters, int timeout_ms) {
    return ask(fd, ASK_LOOP, counters, sizeof *counters, timeout_ms);
}

int control_ask_workload(int fd, struct control_workload *counters, int timeout_ms) {
    return ask(fd, ASK_WORKLOAD, counters, sizeof *counters, timeout_ms);
}
