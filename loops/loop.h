/* loop.h: event loops, as a workload sees them. The only loop header a workload includes.
 *
 * One loop belongs to one thread. Every call is for that thread alone except `loop_post` and
 * `loop_stop`. No call blocks but `loop_run`, and no callback runs inside the call that starts an
 * operation. If a call returns an error its callback never comes.
 *
 * Memory, in one paragraph: receive buffers belong to the backend and are lent; send memory belongs
 * to the workload and is lent to the loop only while a send is SEND_LATER; streams belong to the
 * loop, with the workload's own state behind them in the same allocation, and both end after
 * `on_close`; timers, watches and posts are embedded by the caller and never allocated or freed by
 * the loop.
 *
 * A pass: due timers -> wait -> I/O callbacks -> posts -> deferred sends -> deferred closes. The
 * same order on every backend.
 *
 * How a completion backend (io_uring) fits without a change to a workload: `on_data` already lends
 * a buffer the backend chose, so it can be one of a provided-buffer ring filled by a multishot
 * receive, handed back to the ring at the last `buffer_drop`; `stream_send` may answer SEND_LATER
 * every time, with the completion of the send request as `on_sent`; `stream_pause` only sets a
 * mark, and what arrives meanwhile is kept, bounded, until `stream_resume`; `on_close` comes after
 * the last completion of the stream, so memory never goes while the kernel holds it; `watch_set` is
 * a poll request armed again after each callback, which keeps it level-triggered. */
#ifndef LOOPMARK_LOOP_H
#define LOOPMARK_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "check.h"
#include "clock.h"
#include "endpoint.h"
#include "error.h"

struct loop;
struct stream;
struct listener;

/* ---- the loop -------------------------------------------------------------------------------- */

struct loop_config {
    uint32_t receive_bytes; /* most bytes one on_data delivers; 0: LOOP_RECEIVE_BYTES */
    uint64_t spin_ns; /* poll instead of sleeping when a timer is nearer than this; 0: never */
    /* Of the loop `null` alone, which has no sockets: each listener gets this many streams, every
     * wait hands each of them this much data, and every so many waits stop the loop. */
    uint32_t null_streams;
    uint32_t null_bytes;  /* at most receive_bytes; 0: receive_bytes */
    uint64_t null_rounds; /* 0: it does not stop by itself */
    /* Of the loop `io_uring` alone; 0: its own choice, which loops/io_uring_ring.h explains. */
    uint32_t queue_entries;   /* requests that one system call can submit */
    uint32_t receive_buffers; /* lent to the kernel at a time */
};

#define LOOP_RECEIVE_BYTES (16u * 1024)
#define LOOP_READS_PER_EVENT 32 /* read again only while the buffer comes back full */
#define LOOP_ACCEPTS_PER_EVENT 64
#define LOOP_SEND_BUDGET (256u * 1024) /* bytes accepted within one callback before SEND_LATER */
#define LOOP_SEND_PARTS 8              /* most iovecs in one send */

/* Opens the backend of that name and no other. -ENOENT: no such backend; -ENOTSUP: not built or not
 * possible here, with the reason in `error`. `config` may be null. */
int loop_open(const char *backend, const struct loop_config *config, struct loop **loop,
              struct error *error);

/* Runs until `loop_stop`; may be called again afterwards. A negative errno if waiting itself
 * failed. */
int loop_run(struct loop *loop);

/* Makes `loop_run` return at the end of its pass. Any thread; async-signal-safe. Sticks: called
 * before `loop_run`, it ends that run after one pass. It may still be at work when `loop_run` has
 * returned: who frees the loop then waits for the caller first. */
void loop_stop(struct loop *loop);

/* Closes what is left (each stream gets its on_close) and frees the loop. Not from a callback, and
 * after every watch was ended. Posts that have not run never will. */
void loop_free(struct loop *loop);

const char *loop_backend_name(const struct loop *loop);

/* Monotonic time, read once per pass: after the wait while timers are set, else when it is first
 * asked for. For a measurement read clock_now_ns(). */
uint64_t loop_now_ns(struct loop *loop);

/* One pointer for whoever opened the loop. */
void loop_set_data(struct loop *loop, void *data);
void *loop_data(const struct loop *loop);

/* ---- receive buffers: lent ------------------------------------------------------------------- */

struct buffer {
    uint8_t *bytes;
    uint32_t size;
    uint32_t holds; /* plain count: one thread */
    struct loop *loop;
    struct buffer *next; /* the backend's free list, or what it keeps for a paused stream */
    uint32_t kept_bytes; /* the backend's */
};

/* Keeps the bytes of an on_data valid after it returns, until the matching drop. Loop thread. */
static inline void buffer_hold(struct buffer *buffer) {
    buffer->holds++;
}
void buffer_drop(struct buffer *buffer);

/* ---- streams: TCP or unix sockets ------------------------------------------------------------ */

/* One const table per workload. Null callbacks are skipped, except that a null on_eof closes the
 * stream. Any of them may close, pause, resume or send on any stream of the loop. */
struct stream_handler {
    size_t state_bytes; /* the workload's own memory behind each stream, zeroed */

    /* Accepted (err 0), or the one outcome of stream_connect. After an error on_close follows. */
    void (*on_open)(struct stream *stream, int err);

    /* `bytes[0..n)` lie in `buffer`; valid until return, or until dropped if held. n > 0. */
    void (*on_data)(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n);

    /* The end of a send that was SEND_LATER; exactly once each, before on_close. err 0: all bytes
     * are in the kernel. Otherwise the stream is closing, and -ECANCELED means it was closed by the
     * caller. */
    void (*on_sent)(struct stream *stream, void *cookie, int err);

    /* The peer has finished sending. Sending stays open. */
    void (*on_eof)(struct stream *stream);

    /* The last callback. err 0: closed by stream_close; otherwise what ended it. */
    void (*on_close)(struct stream *stream, int err);
};

/* Listens on `endpoint`; `*bound` (may be null) is the address it really has. `data` is what
 * stream_data() gives of each accepted stream. */
int loop_listen(struct loop *loop, const struct endpoint *endpoint, int backlog,
                const struct stream_handler *handler, void *data, struct listener **listener,
                struct endpoint *bound, struct error *error);

/* Stops accepting; the listener's memory goes at the end of the pass. Its streams live on. */
void listener_close(struct listener *listener);

/* Starts to connect, from `source` if that is not null. Errors only for bad arguments and exhausted
 * descriptors (-EMFILE; -ERANGE when the backend cannot take so high a descriptor); what the
 * network says comes as one on_open(err). */
int loop_connect(struct loop *loop, const struct endpoint *target, const struct endpoint *source,
                 const struct stream_handler *handler, void *data, struct stream **stream);

/* SEND_DONE: all bytes are in the kernel, the memory is the caller's again and on_sent will not
 * come. SEND_LATER: the bytes (not the iovec array) must stay until on_sent(cookie). A negative
 * errno: nothing will be sent, the caller keeps the memory and closes the stream; -EBUSY: a send is
 * still under way (one at a time); -ENOTCONN: not open, closing, or already shut down. Never
 * partial. At most LOOP_SEND_PARTS parts. */
enum { SEND_LATER = 0, SEND_DONE = 1 };
int stream_send(struct stream *stream, const struct iovec *parts, int count, void *cookie);

/* True while a send is SEND_LATER. */
bool stream_sending(const struct stream *stream);

/* After pause no on_data and no on_eof comes; what was received is kept. A paused stream may notice
 * its peer's reset only when it resumes or sends. Both are cheap marks and may be repeated. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* Ends our sending side, after a pending send if there is one. */
void stream_shutdown(struct stream *stream);

/* Closes: a pending send is cancelled, one on_close comes later in this pass or after. Repeatable.
 */
void stream_close(struct stream *stream);

void *stream_state(struct stream *stream); /* handler->state_bytes of it */
void *stream_data(struct stream *stream);  /* the listener's or connect's `data` */
struct loop *stream_loop(struct stream *stream);
int stream_fd(const struct stream *stream); /* to look at, never to read, write or close */

/* ---- timers ---------------------------------------------------------------------------------- */

/* Zero it before first use. One shared heap for every backend; resolution is the backend's. */
struct timer {
    void (*on_due)(struct timer *timer);
    uint64_t due_ns;
    size_t heap_slot; /* 1-based; 0 while not set */
};

/* Sets or moves it. Never fires early; a time already past fires in the next pass. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t due_ns);
void timer_cancel(struct loop *loop, struct timer *timer); /* no effect when not set */
static inline bool timer_is_set(const struct timer *timer) {
    return timer->heap_slot != 0;
}

/* ---- foreign descriptors (libpq and its like) -------------------------------------------------
 */

enum { WATCH_READ = 1, WATCH_WRITE = 2 };

/* Level-triggered on every backend: called in each pass while the descriptor is ready. Errors and
 * hang-ups are reported as readiness for what was asked. At most one watch on a descriptor. Zero
 * it, then fill fd and on_ready. */
struct watch {
    int fd;
    void (*on_ready)(struct watch *watch, unsigned events);
    struct loop *loop; /* the rest is the loop's */
    unsigned events;
    void *backend_state;
};

/* Watches for `events`; 0 ends it, and then no callback comes, even within this pass. Must be ended
 * before the descriptor is closed. -ERANGE when the backend cannot take so high a descriptor. */
int watch_set(struct loop *loop, struct watch *watch, unsigned events);

/* ---- from other threads -----------------------------------------------------------------------
 */

struct post {
    void (*run)(struct post *post);
    struct post *next; /* the loop's */
};

/* Has post->run called on the loop's thread, in order of posting per thread. Any thread. The memory
 * is the loop's until `run` begins. */
void loop_post(struct loop *loop, struct post *post);

/* ---- counters: written by the loop's thread ----------------------------------------------------
 */

enum loop_syscall {
    SYSCALL_WAIT,
    SYSCALL_CONTROL, /* epoll_ctl and its like */
    SYSCALL_ACCEPT,
    SYSCALL_READ,
    SYSCALL_READ_AGAIN, /* reads that found nothing; also counted in READ */
    SYSCALL_SEND,
    SYSCALL_SEND_AGAIN, /* sends that took nothing; also counted in SEND */
    SYSCALL_WAKE,
    SYSCALL_KINDS
};
extern const char *const loop_syscall_names[SYSCALL_KINDS];

struct loop_counters {
    uint64_t passes;
    uint64_t events, events_max; /* readiness or completions; per wait: events / waits */
    uint64_t spin_ns;            /* passes that polled and found nothing (config.spin_ns) */
    uint64_t syscalls[SYSCALL_KINDS];
    bool syscalls_exact; /* false: a library makes calls we do not see (libuv's epoll_ctl) */
    uint64_t received_bytes, sent_bytes;
    uint64_t copied_bytes; /* payload moved by memcpy inside the loop: 0 in echo and HTTP */
    uint64_t sends_done, sends_later;
    uint64_t accepted,
        accept_refused; /* refused: out of descriptors, or over the backend's limit */
    uint64_t timers_fired, timer_late_ns, timer_late_max_ns;
    uint64_t posts;
    uint64_t sleeps;  /* that were announced to posters */
    uint64_t wakes;   /* written by posts and stops, up to the last pass: at most one a sleep */
    uint64_t buffers; /* receive buffers allocated so far */
    /* io_uring alone */
    uint64_t requests;  /* given to the kernel */
    uint64_t starved;   /* receives that found no buffer; they were asked for again */
    uint64_t overflows; /* waits after which completions did not fit into their queue */
};
const struct loop_counters *loop_counters(const struct loop *loop);

/* Whether there is a stream whose on_close has not come yet. */
bool loop_has_streams(const struct loop *loop);

/* ---- the registry ------------------------------------------------------------------------------
 */

struct loop_info {
    const char *name;
    const char *summary;
    const char *built_on;   /* "libuv 1.44.2"; null for our own */
    const char *variant_of; /* the loop it differs from in one thing, to explain it; or null */
    bool control;           /* it moves no bytes: what is left is the cost of everything else */
    bool spins;             /* it never sleeps */
    bool defers_sends;      /* stream_send is never SEND_DONE */
    int descriptor_limit;   /* highest descriptor + 1 it can take (select: FD_SETSIZE); 0: none */
    uint64_t timer_resolution_ns;
    bool available;
    struct error reason; /* why not available */
};

/* The i-th backend, or false beyond the last. */
bool loop_info(size_t index, struct loop_info *info);
/* -ENOENT with the known names in `error`; -ENOTSUP with the reason when it cannot run here. */
int loop_info_by_name(const char *name, struct loop_info *info, struct error *error);

#endif
