/* epoll.c: a level-triggered reactor.
 *
 * Kernel behaviour that shaped it:
 * - a registered descriptor stays registered; only a change of its mask costs an epoll_ctl
 * - EPOLLHUP and EPOLLERR come whether asked for or not, so a stream that waits for nothing is
 * taken out (EPOLL_CTL_DEL), or level triggering would spin on its hang-up
 * - epoll_wait counts in milliseconds; epoll_pwait2 (Linux 5.11) in nanoseconds
 * - events of one wait may belong to something removed by an earlier callback of the same wait:
 * streams are freed only at the end of the pass, and `forget` blanks the rest of the batch for
 * watches
 *
 * epoll-spin is the same but for a flag: it is never asked to sleep. */
#include "epoll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int epoll_arm(struct loop *loop, struct source *source, unsigned events) {
    struct epoll_state *state = loop->backend_state;
    struct epoll_event event = {.data.ptr = source};
    if (events & WATCH_READ)
        event.events |= EPOLLIN;
    if (events & WATCH_WRITE)
        event.events |= EPOLLOUT;
    int operation = events == 0          ? EPOLL_CTL_DEL
                    : source->armed == 0 ? EPOLL_CTL_ADD
                                         : EPOLL_CTL_MOD;
    loop->counters.syscalls[SYSCALL_CONTROL]++;
    return epoll_ctl(state->fd, operation, source->fd, &event) ? -errno : 0;
}

void epoll_forget(struct loop *loop, struct source *source) {
    struct epoll_state *state = loop->backend_state;
    for (int i = state->next; i < state->count; i++)
        if (state->events[i].data.ptr == source)
            state->events[i].data.ptr = NULL;
}

int epoll_collect(struct loop *loop, int64_t timeout_ns) {
    struct epoll_state *state = loop->backend_state;
    struct timespec timeout = clock_timespec(timeout_ns > 0 ? (uint64_t)timeout_ns : 0);
    state->count = epoll_pwait2(state->fd, state->events, EPOLL_EVENTS_PER_WAIT,
                                timeout_ns < 0 ? NULL : &timeout, NULL);
    loop->counters.syscalls[SYSCALL_WAIT]++;
    loop_entered(loop);
    if (state->count < 0) {
        state->count = 0;
        return errno == EINTR ? 0 : -errno;
    }
    loop->pass_events = (uint64_t)state->count;
    return 0;
}

int epoll_level_wait(struct loop *loop, int64_t timeout_ns) {
    struct epoll_state *state = loop->backend_state;
    int failure = epoll_collect(loop, timeout_ns);
    for (state->next = 0; state->next < state->count;) {
        const struct epoll_event *event = &state->events[state->next++];
        struct source *source = event->data.ptr;
        if (!source)
            continue;
        source->ready(source, epoll_readiness(event->events) & source->armed);
    }
    state->count = 0;
    return failure;
}

void epoll_wake(struct loop *loop) {
    struct epoll_state *state = loop->backend_state;
    wakeup_signal(&state->wakeup);
}

int epoll_available(struct error *reason) {
    struct timespec none = {0};
    struct epoll_event event;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int result = fd < 0 ? -1 : epoll_pwait2(fd, &event, 1, &none, NULL);
    int failure = result < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (failure)
        return error_set(reason, -ENOTSUP,
                         "the kernel refuses epoll_pwait2 (Linux 5.11 has it): %s",
                         strerror(failure));
    return 0;
}

void epoll_close(struct loop *loop) {
    struct epoll_state *state = loop->backend_state;
    wakeup_close(&state->wakeup);
    close(state->fd);
    free(state);
}

int epoll_open(struct loop *loop, struct error *error) {
    struct epoll_state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "out of memory");
    loop->backend_state = state;
    epoll_link_init(&state->work);
    state->fd = epoll_create1(EPOLL_CLOEXEC);
    int failure = state->fd < 0 ? -errno : wakeup_open(loop, &state->wakeup);
    if (failure) {
        if (state->fd >= 0)
            close(state->fd);
        free(state);
        return error_set(error, failure, "epoll: %s", strerror(-failure));
    }
    return 0;
}

const struct poller epoll_poller = {.arm = epoll_arm, .forget = epoll_forget};

const struct backend epoll_backend = {
    .name = "epoll",
    .summary = "level-triggered reactor on epoll, registered once, write tried at once",
    EPOLL_LOOP,
    .wait = epoll_level_wait,
    .poller = &epoll_poller,
    READINESS_STREAMS,
};

const struct backend epoll_spin_backend = {
    .name = "epoll-spin",
    .summary = "epoll that never sleeps: what waking up costs is what it saves",
    .variant_of = "epoll",
    .spins = true,
    EPOLL_LOOP,
    .wait = epoll_level_wait,
    .poller = &epoll_poller,
    READINESS_STREAMS,
};
