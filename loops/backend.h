/* backend.h: what a loop backend implements, and the parts it may use. Only files in loops/ include
 * it.
 *
 * A backend is one file that ends in one const struct; the registry in loop.c has one line for
 * each. A readiness backend (select, epoll) implements only a `poller` and takes its streams from
 * stream.c through READINESS_STREAMS; a completion backend implements the stream operations itself.
 *
 * The corners of the contract (order of callbacks, one send at a time, the send budget, deferred
 * closes) are enforced here once, in the stream_deliver_* functions, for all backends. */
#ifndef LOOPMARK_BACKEND_H
#define LOOPMARK_BACKEND_H

#include <stdatomic.h>
#include <string.h>

#include "loop.h"
#include "monitor.h"
#include "ticks.h"

struct stream {
    struct loop *loop;
    const struct backend *backend; /* whose its operations are: the loop's, or a filter */
    const struct stream_handler *handler;
    void *data;
    int fd;
    bool open; /* on_open(0) was delivered */
    bool connecting;
    bool paused;
    bool ended; /* on_eof was delivered: nothing more to read */
    bool shutdown_wanted, shutdown_done;
    bool closing;   /* stream_close or an error: on_close is due */
    bool finishing; /* the backend's `finish` was called */
    bool later;     /* a send is SEND_LATER */
    bool sent_due;  /* all its bytes are taken; on_sent comes at the end of the pass */
    int close_err;
    void *cookie;
    size_t callback_bytes; /* accepted since callback number `callback_serial` */
    uint64_t callback_serial;
    struct stream *previous, *next;          /* all streams of the loop */
    struct stream *closing_next, *sent_next; /* deferred work */
    /* Behind it: the backend's stream_bytes (this struct included), then the handler's state. */
};

struct listener {
    struct loop *loop;
    const struct stream_handler *handler;
    void *data;
    int fd;
    int backlog;
    bool closing;
    struct listener *previous, *next, *closing_next;
    char unlink_path[108]; /* the unix socket's file, removed at close */
};

/* Something a poller reports on: embedded first in a readiness stream, listener or watch. */
struct source {
    int fd;
    unsigned armed; /* WATCH_READ | WATCH_WRITE as the poller has it */
    bool of_stream; /* in a readiness_stream: may be polled edge-triggered */
    /* For edge-triggered pollers: what the stream may be ready for without a further event. The
     * poller sets it; the stream takes out what it has found exhausted. */
    unsigned pending;
    bool ended; /* an end waits behind the data: a short read has not exhausted it */
    void (*ready)(struct source *source, unsigned events);
};

struct poller {
    /* Changes what is asked of source->fd from source->armed to `events` (0: forget it). The caller
     * stores the new mask on success. -ERANGE: the descriptor is too high. */
    int (*arm)(struct loop *loop, struct source *source, unsigned events);
    /* Drops events of this wait that were collected for `source` and not yet dispatched. */
    void (*forget)(struct loop *loop, struct source *source);
};

struct backend {
    const char *name;
    const char *summary;
    const char *variant_of; /* this and the next four: see loop_info */
    bool control;
    bool spins; /* `wait` is never asked to sleep, so `wake` may be null */
    bool defers_sends;
    int descriptor_limit;
    uint64_t timer_resolution_ns;
    bool syscalls_exact;
    size_t stream_bytes; /* sizeof its stream struct, whose first member is struct stream */
    size_t listener_bytes;
    const char *(*built_on)(void); /* may be null */
    /* The library's own loop, for what is built on it: libuv's uv_loop_t. Null elsewhere. */
    void *(*native)(struct loop *loop);

    /* 0, or -ENOTSUP with the reason: not built, the kernel refuses, … May be null: always. */
    int (*available)(struct error *reason);
    /* Sets loop->backend_state. */
    int (*open)(struct loop *loop, struct error *error);
    void (*close)(struct loop *loop); /* all streams, listeners and watches are gone */

    /* Waits at most timeout_ns (negative: for ever; 0: only looks) and runs the I/O callbacks.
     * Calls loop_entered() after the kernel returns and before the first callback. */
    int (*wait)(struct loop *loop, int64_t timeout_ns);
    /* Ends a wait early. Any thread, async-signal-safe. */
    void (*wake)(struct loop *loop);

    int (*listen)(struct listener *listener); /* listener->fd is listening */
    void (*unlisten)(
        struct listener *listener); /* then calls listener_finished(), at once or later */

    /* Starts to connect stream->fd; the outcome goes to stream_deliver_open. Errors other than bad
     * arguments are delivered, never returned, and never from inside this call. */
    int (*connect)(struct stream *stream, const struct endpoint *target);
    /* Sends now what it can. Returns SEND_DONE, SEND_LATER (it then calls stream_deliver_sent
     * once), or a negative errno. `*taken` is the number of bytes the kernel took at once. */
    int (*send)(struct stream *stream, const struct iovec *parts, int count, size_t *taken);
    /* stream->paused changed. */
    void (*pause)(struct stream *stream);
    /* Half-close now: no send is pending. */
    void (*shutdown)(struct stream *stream);
    /* Closes the descriptor and, when nothing of the stream is in flight any more, at once or
     * later, calls stream_finished(). Called once. */
    void (*finish)(struct stream *stream);

    int (*watch)(struct watch *watch, unsigned events); /* watch->events is still the old mask */

    const struct poller *poller; /* readiness backends */
};

/* What of a send the kernel has still to take. */
struct rest {
    int count; /* 0: nothing */
    struct iovec parts[LOOP_SEND_PARTS];
};

/* Keeps what comes behind the first `taken` bytes of `parts`, which may be the rest's own. */
static inline void rest_keep(struct rest *rest, const struct iovec *parts, int count,
                             size_t taken) {
    while (count > 0 && taken >= parts->iov_len) {
        taken -= parts->iov_len;
        parts++;
        count--;
    }
    rest->count = count;
    if (count == 0) /* nearly always */
        return;
    memmove(rest->parts, parts, (size_t)count * sizeof *parts);
    rest->parts[0].iov_base = (char *)rest->parts[0].iov_base + taken;
    rest->parts[0].iov_len -= taken;
}

/* stream.c: the stream operations of every readiness backend; without those that a backend may
 * have its own way of, and with them. */
#define READINESS_SHARED                                                                           \
    .listener_bytes = READINESS_LISTENER_BYTES, .listen = readiness_listen,                        \
    .unlisten = readiness_unlisten, .connect = readiness_connect, .pause = readiness_pause,        \
    .shutdown = readiness_shutdown, .watch = readiness_watch
#define READINESS_STREAMS                                                                          \
    READINESS_SHARED, .stream_bytes = READINESS_STREAM_BYTES, .send = readiness_send,              \
                      .finish = readiness_finish

struct readiness_stream {
    struct stream stream;
    struct source source;
    bool dispatching; /* its callbacks are running; the mask is brought up to date after them */
    bool queued;      /* its send waits for the end of the pass; the mask, too */
    struct rest rest; /* of the pending send */
};
struct readiness_listener {
    struct listener listener;
    struct source source;
};
#define READINESS_STREAM_BYTES sizeof(struct readiness_stream)
#define READINESS_LISTENER_BYTES sizeof(struct readiness_listener)

int readiness_listen(struct listener *listener);
void readiness_unlisten(struct listener *listener);
int readiness_connect(struct stream *stream, const struct endpoint *target);
int readiness_send(struct stream *stream, const struct iovec *parts, int count, size_t *taken);
/* For loops that write at the end of the pass: `send` keeps the parts with the first of these and
 * answers SEND_LATER; then, once, the second tries them and tells how that went. */
void readiness_queue_send(struct stream *stream, const struct iovec *parts, int count);
void readiness_send_queued(struct stream *stream);
void readiness_pause(struct stream *stream);
void readiness_shutdown(struct stream *stream);
void readiness_finish(struct stream *stream);
int readiness_watch(struct watch *watch, unsigned events);

/* An eventfd, watched by a readiness backend so that other threads can end its wait. */
struct wakeup {
    struct source source;
    struct loop *loop;
};
int wakeup_open(struct loop *loop, struct wakeup *wakeup);
void wakeup_close(struct wakeup *wakeup);
void wakeup_signal(struct wakeup *wakeup);

/* What monitor.c watches callbacks by. Here, as it is looked at in each. All in ticks. */
struct callback_times {
    unsigned depth; /* callbacks that called each other, the one that runs included */
    uint64_t mark;  /* up to here time was given to a callback or a part of the pass */
    uint64_t own;   /* of the one that runs, before it called another that has ended */
    uint64_t count, sum, most;
    uint64_t slow; /* what takes less is not slow */
    bool lost;     /* times that began before now are not known, until none of them runs */
    uint64_t look; /* from then on monitor_looks is to be called */
};

struct loop {
    const struct backend *backend;
    void *backend_state;
    void *data;
    struct loop_config config;
    uint64_t now_ns;
    bool firing;        /* timers are being run */
    bool now_known;     /* now_ns was read in this pass */
    bool entered_known; /* the same of entered_ticks */
    bool spun;          /* the last pass only polled: nothing but spinning since now_ns */
    atomic_bool stopping;
    atomic_bool sleeping;    /* posters must wake it */
    _Atomic(uint64_t) wakes; /* that posters have written */
    _Atomic(struct post *) posted;
    struct timer **timers; /* 4-ary heap, slot 1 first */
    size_t timer_count, timer_capacity;
    struct stream *streams;
    struct listener *listeners;
    struct stream *closing; /* work for the end of the pass */
    struct stream *sent, **sent_tail;
    struct listener *closing_listeners;
    struct buffer *receive; /* the next delivery's, when nobody holds it */
    struct buffer *free_buffers;
    uint64_t callback_serial;
    uint64_t pass_events;
    int reserve_fd; /* given up to accept and close a connection when descriptors run out */
    struct monitor *monitor;          /* null: nobody looks */
    struct monitor *pass_monitor;     /* the same one, or null: at each pass */
    struct monitor *callback_monitor; /* the same one, or null: at each callback, too */
    bool times_entry;                 /* entered_ticks are read in each pass */
    struct trace *trace;
    struct ticks ticks;     /* while a monitor is there */
    uint64_t entered_ticks; /* when the pass's wait ended */
    struct callback_times callbacks;
    struct loop_counters counters;
};

static inline void loop_read_clock(struct loop *loop) {
    if (!loop->now_known) {
        loop->now_known = true;
        loop->now_ns = clock_now_ns();
    }
}

/* Only while a monitor is there. Its first call in a pass is one: the instruction that reads ticks
 * takes registers from whoever it is part of, also when it is passed over. */
void loop_read_ticks(struct loop *loop);
static inline uint64_t loop_entered_ticks(struct loop *loop) {
    if (!loop->entered_known)
        loop_read_ticks(loop);
    return loop->entered_ticks;
}

/* A wait begins. */
static inline void loop_forget_clock(struct loop *loop) {
    loop->now_known = loop->entered_known = false;
}

/* The kernel has returned. Without timers and monitors nothing depends on when that was, and the
 * clock is read only if somebody asks for the time. */
static inline void loop_entered(struct loop *loop) {
    if (loop->timer_count > 0)
        loop_read_clock(loop);
    if (loop->times_entry)
        loop_entered_ticks(loop);
}

/* monitor.c: a callback was perhaps slow, or it is time to look at the CPU time. Counts it. */
void monitor_looks(struct loop *loop, enum callback_kind kind, void (*function)(void), uint64_t own,
                   uint64_t at);

/* The part of the callback since the mark. The first one after a wait began with its end, which is
 * later than the mark. */
static inline uint64_t callback_since_mark(struct loop *loop, uint64_t at) {
    uint64_t entered = loop_entered_ticks(loop), mark = loop->callbacks.mark;
    uint64_t from = mark > entered ? mark : entered;
    return at > from ? at - from : 0;
}

static inline void callback_counts(struct callback_times *times, uint64_t own) {
    times->count++;
    times->sum += own;
    if (own > times->most)
        times->most = own;
}

/* While loop->callback_monitor is there. One that another callback called stops the other's time;
 * what that had so far is returned, for the end. */
static inline uint64_t callback_begins(struct loop *loop) {
    struct callback_times *times = &loop->callbacks;
    uint64_t own = times->own;
    if (__builtin_expect(times->depth++ > 0, 0)) {
        uint64_t at = ticks_now(&loop->ticks);
        own += callback_since_mark(loop, at);
        times->mark = at;
    }
    times->own = 0;
    return own;
}

static inline void callback_ends(struct loop *loop, uint64_t outer, enum callback_kind kind,
                                 void (*function)(void)) {
    struct callback_times *times = &loop->callbacks;
    if (times->depth == 0)
        return; /* it has turned the monitor off, or on anew */
    uint64_t at = ticks_now(&loop->ticks), own = times->own + callback_since_mark(loop, at);
    times->depth--;
    times->own = outer;
    times->mark = at;
    if (__builtin_expect(own >= times->slow || at >= times->look, 0))
        monitor_looks(loop, kind, function, own, at);
    else
        callback_counts(times, own);
}

/* Every callback to a workload goes through this: CALL_BACK(loop, kind, function, arguments…). What
 * `function` is read from may be gone after it. */
#define CALL_BACK(of_loop, kind, function, ...)                                                    \
    do {                                                                                           \
        struct loop *const loop_ = (of_loop);                                                      \
        loop_->callback_serial++;                                                                  \
        if (__builtin_expect(loop_->callback_monitor == NULL, 1)) {                                \
            (function)(__VA_ARGS__);                                                               \
        } else {                                                                                   \
            void (*const called_)(void) = (void (*)(void))(function);                              \
            uint64_t outer_ = callback_begins(loop_);                                              \
            (function)(__VA_ARGS__);                                                               \
            callback_ends(loop_, outer_, kind, called_);                                           \
        }                                                                                          \
    } while (0)

/* monitor.c: adjusts the ticks. False: they are not those of before, and all that was under way
 * begins now. */
bool monitor_adjusts(struct loop *loop);

/* monitor.c: what it wants to hear while loop->monitor is there, */
void monitor_run_begins(struct loop *loop);
/* and of passes while loop->pass_monitor is, in this order. */
void monitor_timers_ran(struct loop *loop); /* only if there were any */
void monitor_io_ran(struct loop *loop);
void monitor_pass_ends(struct loop *loop);

/* trace.c: on and off. -ENOMEM. */
int trace_open(struct loop *loop, const struct monitor_config *config,
               const struct monitor_events *events, void *data);
void trace_close(struct loop *loop);
/* All tasks that live begin at that time, in ticks. */
void trace_begins_anew(struct loop *loop, uint64_t at);

/* A receive buffer nobody holds; valid until the next call. Null when memory is out. */
struct buffer *loop_receive_buffer(struct loop *loop);
/* One more buffer, which is the caller's until it pairs a buffer_hold with a buffer_drop: that puts
 * it on loop->free_buffers, where this looks first. Null when memory is out. */
struct buffer *loop_take_buffer(struct loop *loop);

/* Makes an accepted descriptor a stream: options, limit check, memory. The caller then hands it to
 * its kernel interface and calls stream_deliver_open. Null: refused, the descriptor is closed. */
struct stream *loop_accept_stream(struct listener *listener, int fd);
/* The same options and check for a stream that had to exist before its descriptor did (libuv);
 * counts the outcome. False: refused; the backend closes it, and no callback may run. */
bool loop_admit_stream(struct stream *stream);
/* Descriptors ran out while accepting: drops one waiting connection, so that a level-triggered
 * listener does not report it for ever. True if there may be more to accept. */
bool loop_refuse_connection(struct listener *listener);
/* An allocated stream, linked into the loop; the backend fills its part. */
struct stream *loop_new_stream(struct loop *loop, const struct stream_handler *handler, void *data,
                               int fd);
/* A stream on top of another of the same loop, as TLS is one. Its operations are those of `filter`,
 * of which nothing but stream_bytes, send, pause, shutdown and finish is used. The filter is the
 * handler of `below`, delivers to the new stream as a backend does to its own, and closes `below`
 * when it has to finish. */
struct stream *loop_new_stream_over(struct stream *below, const struct backend *filter,
                                    const struct stream_handler *handler, void *data);

void stream_deliver_open(struct stream *stream, int err);
void stream_deliver_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n);
void stream_deliver_eof(struct stream *stream);
void stream_deliver_sent(struct stream *stream, int err);
void stream_fail(struct stream *stream, int err); /* closes with `err` as the reason */
void stream_finished(struct stream *stream);      /* nothing in flight: on_close, then free */
void listener_finished(struct listener *listener);

static inline bool stream_wants_data(const struct stream *stream) {
    return stream->open && !stream->paused && !stream->ended && !stream->closing;
}

extern const struct backend select_backend, poll_backend, epoll_backend, epoll_et_backend,
    epoll_spin_backend, epoll_writeend_backend, libuv_backend, libuv_write_backend,
    io_uring_backend, null_backend;

#endif
