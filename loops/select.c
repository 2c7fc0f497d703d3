/* select.c: the naive loop, as people write it.
 *
 * A master set for reading and one for writing are copied before every wait, and after it every
 * descriptor from 0 to the highest is asked with FD_ISSET. That walk, and the kernel's own over the
 * same range, are what this backend is here to show; tuning them away would miss the point.
 *
 * select cannot take a descriptor of FD_SETSIZE (1024) or more: FD_SET would write beyond the set.
 * Such descriptors are refused where they appear (loop.c). The timeout has microseconds and is
 * rounded up, or the last fraction would be spent spinning. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include "backend.h"

struct select_state {
    struct wakeup wakeup;
    struct source *sources[FD_SETSIZE];
    fd_set read_master, write_master;
    fd_set read_ready, write_ready; /* what the last wait returned */
    int highest;
};

static void set_bit(fd_set *set, int fd, bool on) {
    if (on)
        FD_SET(fd, set);
    else
        FD_CLR(fd, set);
}

static int select_arm(struct loop *loop, struct source *source, unsigned events) {
    struct select_state *state = loop->backend_state;
    int fd = source->fd;
    if (fd >= FD_SETSIZE)
        return -ERANGE;
    state->sources[fd] = events ? source : NULL;
    set_bit(&state->read_master, fd, events & WATCH_READ);
    set_bit(&state->write_master, fd, events & WATCH_WRITE);
    if (fd > state->highest)
        state->highest = fd;
    while (state->highest > 0 && !state->sources[state->highest])
        state->highest--;
    return 0;
}

static void select_forget(struct loop *loop, struct source *source) {
    struct select_state *state = loop->backend_state;
    if (source->fd < FD_SETSIZE) {
        FD_CLR(source->fd, &state->read_ready);
        FD_CLR(source->fd, &state->write_ready);
    }
}

static void dispatch(struct select_state *state, int highest) {
    for (int fd = 0; fd <= highest; fd++) {
        unsigned events = 0;
        if (FD_ISSET(fd, &state->read_ready))
            events |= WATCH_READ;
        if (FD_ISSET(fd, &state->write_ready))
            events |= WATCH_WRITE;
        struct source *source = state->sources[fd];
        if (events && source)
            source->ready(source, events & source->armed);
    }
}

static int select_wait(struct loop *loop, int64_t timeout_ns) {
    struct select_state *state = loop->backend_state;
    uint64_t timeout_us = timeout_ns > 0 ? ((uint64_t)timeout_ns + 999) / 1000 : 0;
    struct timeval timeout = {.tv_sec = (time_t)(timeout_us / 1000000),
                              .tv_usec = (suseconds_t)(timeout_us % 1000000)};
    int highest = state->highest;
    state->read_ready = state->read_master;
    state->write_ready = state->write_master;
    int count = select(highest + 1, &state->read_ready, &state->write_ready, NULL,
                       timeout_ns < 0 ? NULL : &timeout);
    loop->counters.syscalls[SYSCALL_WAIT]++;
    loop_entered(loop);
    if (count < 0) {
        FD_ZERO(&state->read_ready);
        FD_ZERO(&state->write_ready);
        return errno == EINTR ? 0 : -errno;
    }
    loop->pass_events = (uint64_t)count;
    if (count > 0)
        dispatch(state, highest);
    return 0;
}

static void select_wake(struct loop *loop) {
    struct select_state *state = loop->backend_state;
    wakeup_signal(&state->wakeup);
}

static int select_open(struct loop *loop, struct error *error) {
    struct select_state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "out of memory");
    loop->backend_state = state;
    int failure = wakeup_open(loop, &state->wakeup);
    if (failure) {
        free(state);
        return error_set(error, failure, "select: %s", strerror(-failure));
    }
    return 0;
}

static void select_close(struct loop *loop) {
    struct select_state *state = loop->backend_state;
    wakeup_close(&state->wakeup);
    free(state);
}

static const struct poller select_poller = {.arm = select_arm, .forget = select_forget};

const struct backend select_backend = {
    .name = "select",
    .summary = "the naive loop: every descriptor copied in, asked and walked on each pass",
    .descriptor_limit = FD_SETSIZE,
    .timer_resolution_ns = 1000,
    .syscalls_exact = true,
    .open = select_open,
    .close = select_close,
    .wait = select_wait,
    .wake = select_wake,
    .poller = &select_poller,
    READINESS_STREAMS,
};
