/* poll.c: one dense array of what is asked, handed to the kernel on every wait.
 *
 * - a change of interest is a store into the array and costs no system call; the price is that the
 *   kernel walks the whole array on every wait, and we walk it again
 * - what is taken out is replaced by the last entry, so that the array has no holes. The walk goes
 *   from the end to the front and clears what it has seen: whatever callbacks add or take out,
 *   the entry that moves was already seen, so none is lost and none comes twice
 * - the walk ends at the last ready entry: the kernel has said how many there are
 * - POLLHUP and POLLERR come whether asked for or not, so a stream that waits for nothing is taken
 *   out, or its hang-up would be reported on every wait
 * - poll counts in milliseconds, ppoll in nanoseconds */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

struct poll_state {
    struct wakeup wakeup;
    struct pollfd *asked;    /* [0..count) */
    struct source **sources; /* of the same entries */
    int count, capacity;
    int *entry_of; /* by descriptor: its entry + 1, or 0 */
    int descriptors;
};

static int make_room(struct poll_state *state) {
    if (state->count < state->capacity)
        return 0;
    int capacity = state->capacity ? 2 * state->capacity : 64;
    struct pollfd *asked = realloc(state->asked, (size_t)capacity * sizeof *asked);
    if (!asked)
        return -ENOMEM;
    state->asked = asked;
    struct source **sources = realloc(state->sources, (size_t)capacity * sizeof(*sources));
    if (!sources)
        return -ENOMEM;
    state->sources = sources;
    state->capacity = capacity;
    return 0;
}

static int make_entry_of(struct poll_state *state, int fd) {
    if (fd < state->descriptors)
        return 0;
    int descriptors = fd < 32 ? 64 : 2 * fd;
    int *entry_of = realloc(state->entry_of, (size_t)descriptors * sizeof *entry_of);
    if (!entry_of)
        return -ENOMEM;
    memset(entry_of + state->descriptors, 0,
           (size_t)(descriptors - state->descriptors) * sizeof *entry_of);
    state->entry_of = entry_of;
    state->descriptors = descriptors;
    return 0;
}

static int add_entry(struct poll_state *state, struct source *source, short asked) {
    int failure = make_room(state);
    if (failure == 0)
        failure = make_entry_of(state, source->fd);
    if (failure)
        return failure;
    state->asked[state->count] = (struct pollfd){.fd = source->fd, .events = asked};
    state->sources[state->count] = source;
    state->entry_of[source->fd] = ++state->count;
    return 0;
}

static void remove_entry(struct poll_state *state, int fd) {
    int entry = state->entry_of[fd] - 1, last = --state->count;
    state->asked[entry] = state->asked[last];
    state->sources[entry] = state->sources[last];
    state->entry_of[state->asked[entry].fd] = entry + 1;
    state->entry_of[fd] = 0;
}

static int poll_arm(struct loop *loop, struct source *source, unsigned events) {
    struct poll_state *state = loop->backend_state;
    short asked = 0;
    if (events & WATCH_READ)
        asked |= POLLIN;
    if (events & WATCH_WRITE)
        asked |= POLLOUT;
    if (source->armed == 0)
        return add_entry(state, source, asked);
    if (events)
        state->asked[state->entry_of[source->fd] - 1].events = asked;
    else
        remove_entry(state, source->fd);
    return 0;
}

/* What is taken out is forgotten with its entry. */
static void poll_forget(struct loop *loop, struct source *source) {
    struct poll_state *state = loop->backend_state;
    if (source->armed)
        state->asked[state->entry_of[source->fd] - 1].revents = 0;
}

static void dispatch(struct poll_state *state, int ready) {
    for (int i = state->count - 1; i >= 0 && ready > 0; i--) {
        short happened = state->asked[i].revents;
        if (!happened)
            continue;
        ready--;
        state->asked[i].revents = 0;
        unsigned events = 0;
        if (happened & ~POLLOUT)
            events |= WATCH_READ;
        if (happened & ~POLLIN)
            events |= WATCH_WRITE;
        struct source *source = state->sources[i];
        source->ready(source, events & source->armed);
        if (i > state->count)
            i = state->count; /* the callback took out more than one */
    }
}

static int poll_wait(struct loop *loop, int64_t timeout_ns) {
    struct poll_state *state = loop->backend_state;
    struct timespec timeout = clock_timespec(timeout_ns > 0 ? (uint64_t)timeout_ns : 0);
    int ready =
        ppoll(state->asked, (nfds_t)state->count, timeout_ns < 0 ? NULL : &timeout, NULL);
    loop->counters.syscalls[SYSCALL_WAIT]++;
    loop_entered(loop);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    loop->pass_events = (uint64_t)ready;
    dispatch(state, ready);
    return 0;
}

static void poll_wake(struct loop *loop) {
    struct poll_state *state = loop->backend_state;
    wakeup_signal(&state->wakeup);
}

static void free_state(struct poll_state *state) {
    free(state->asked);
    free(state->sources);
    free(state->entry_of);
    free(state);
}

static int poll_open(struct loop *loop, struct error *error) {
    struct poll_state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(error, -ENOMEM, "out of memory");
    loop->backend_state = state;
    int failure = wakeup_open(loop, &state->wakeup);
    if (failure) {
        free_state(state);
        return error_set(error, failure, "poll: %s", strerror(-failure));
    }
    return 0;
}

static void poll_close(struct loop *loop) {
    struct poll_state *state = loop->backend_state;
    wakeup_close(&state->wakeup);
    free_state(state);
}

static const struct poller poll_poller = {.arm = poll_arm, .forget = poll_forget};

const struct backend poll_backend = {
    .name = "poll",
    .summary = "one array of descriptors, handed to the kernel and walked on each pass",
    .timer_resolution_ns = 1,
    .syscalls_exact = true,
    .open = poll_open,
    .close = poll_close,
    .wait = poll_wait,
    .wake = poll_wake,
    .poller = &poll_poller,
    READINESS_STREAMS,
};
