/* control.c: see control.h. */
#include "harness/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct control {
    struct loop *loop;
    struct watch watch;
};

static void asked(struct watch *watch, unsigned events) {
    (void)events;
    struct control *control = CONTAINER_OF(watch, struct control, watch);
    char question;
    ssize_t n = recv(watch->fd, &question, 1, MSG_DONTWAIT);
    if (n == 1) {
        const struct loop_counters *counters = loop_counters(control->loop);
        n = send(watch->fd, counters, sizeof *counters, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
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

int control_ask(int fd, struct loop_counters *counters, int timeout_ms) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (send(fd, "?", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
        return -EPIPE;
    int count = poll(&ready, 1, timeout_ms);
    if (count == 0)
        return -ETIMEDOUT;
    if (count < 0)
        return -errno;
    ssize_t n = recv(fd, counters, sizeof *counters, MSG_DONTWAIT);
    return n == sizeof *counters ? 0 : -EPIPE;
}
