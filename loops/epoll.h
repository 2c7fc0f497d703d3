/* epoll.h: what the loops on epoll share. It is defined in epoll.c. */
#ifndef LOOPMARK_EPOLL_H
#define LOOPMARK_EPOLL_H

#include <sys/epoll.h>

#include "backend.h"

enum { EPOLL_EVENTS_PER_WAIT = 512 };

/* A place in a circular list, whose head is such a link, too. Zero: in no list. */
struct epoll_link {
    struct epoll_link *next, *previous;
};

/* loop->backend_state */
struct epoll_state {
    int fd;
    struct wakeup wakeup;
    struct epoll_link work; /* streams with something to do that no event will tell of */
    int count, next; /* the batch being dispatched: events[next..count) are still to come */
    struct epoll_event events[EPOLL_EVENTS_PER_WAIT];
};

/* The stream of loops that use `work`. */
struct epoll_stream {
    struct readiness_stream base;
    struct epoll_link link;
    bool registered; /* edge-triggered: for as long as its descriptor is open */
};

static inline void epoll_link_init(struct epoll_link *head) {
    head->next = head->previous = head;
}

static inline bool epoll_link_empty(const struct epoll_link *head) {
    return head->next == head;
}

/* At the end of the list; one that is in a list stays where it is. */
static inline void epoll_link_add(struct epoll_link *head, struct epoll_link *link) {
    if (link->next)
        return;
    link->next = head;
    link->previous = head->previous;
    head->previous->next = link;
    head->previous = link;
}

static inline void epoll_link_remove(struct epoll_link *link) {
    if (!link->next)
        return;
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->next = link->previous = NULL;
}

/* Moves the whole list of `from` to `head`, and leaves `from` empty. */
static inline void epoll_link_take(struct epoll_link *head, struct epoll_link *from) {
    epoll_link_init(head);
    if (epoll_link_empty(from))
        return;
    *head = *from;
    head->next->previous = head->previous->next = head;
    epoll_link_init(from);
}

/* Takes out the first stream of a list; null when it is empty. */
static inline struct epoll_stream *epoll_link_pop(struct epoll_link *head) {
    if (epoll_link_empty(head))
        return NULL;
    struct epoll_link *link = head->next;
    epoll_link_remove(link);
    return CONTAINER_OF(link, struct epoll_stream, link);
}

/* Errors and hang-ups are readiness for whatever was asked. */
static inline unsigned epoll_readiness(uint32_t events) {
    unsigned readiness = 0;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        readiness |= WATCH_READ;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        readiness |= WATCH_WRITE;
    return readiness;
}

/* Waits and fills the batch; after an error or a signal it is empty. 0 or a negative errno. */
int epoll_collect(struct loop *loop, int64_t timeout_ns);

/* Operations of a backend, and of a poller (level-triggered). */
int epoll_available(struct error *reason);
int epoll_open(struct loop *loop, struct error *error);
void epoll_close(struct loop *loop);
int epoll_level_wait(struct loop *loop, int64_t timeout_ns);
void epoll_wake(struct loop *loop);
int epoll_arm(struct loop *loop, struct source *source, unsigned events);
void epoll_forget(struct loop *loop, struct source *source);

extern const struct poller epoll_poller;

/* What is the same in all of them. */
#define EPOLL_LOOP                                                                                 \
    .timer_resolution_ns = 1, .syscalls_exact = true, .available = epoll_available,                \
    .open = epoll_open, .close = epoll_close, .wake = epoll_wake

#endif
