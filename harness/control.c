/* control.c: see control.h. */
#include "harness/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ASK_LOOP = '?', ASK_WORKLOAD = 'w' };

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

static ssize_t answer(const struct control *control, char question) {
    struct control_workload workload;
    const struct loop_counters *counters = loop_counters(control->loop);
    if (question != ASK_WORKLOAD)
        return send(control->watch.fd, counters, sizeof *counters, MSG_DONTWAIT | MSG_NOSIGNAL);
    read_workload(control, &workload);
    return send(control->watch.fd, &workload, sizeof workload, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void asked(struct watch *watch, unsigned events) {
    (void)events;
    struct control *control = CONTAINER_OF(watch, struct control, watch);
    char question;
    ssize_t n = recv(watch->fd, &question, 1, MSG_DONTWAIT);
    if (n == 1)
        n = answer(control, question);
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

static int ask(int fd, char question, void *answer, size_t size, int timeout_ms) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (send(fd, &question, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
        return -EPIPE;
    int count = poll(&ready, 1, timeout_ms);
    if (count == 0)
        return -ETIMEDOUT;
    if (count < 0)
        return -errno;
    ssize_t n = recv(fd, answer, size, MSG_DONTWAIT);
    return n == (ssize_t)size ? 0 : -EPIPE;
}

int control_ask(int fd, struct loop_counters *counters, int timeout_ms) {
    return ask(fd, ASK_LOOP, counters, sizeof *counters, timeout_ms);
}

int control_ask_workload(int fd, struct control_workload *counters, int timeout_ms) {
    return ask(fd, ASK_WORKLOAD, counters, sizeof *counters, timeout_ms);
}
