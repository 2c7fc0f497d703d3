/* loop.c: what all backends share: the registry, the pass, timers, posts, buffers, and the contract
 * of streams. A backend waits and moves bytes; when a callback may run is decided here. */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend.h"

/* ---- the registry ---------------------------------------------------------------------------- */

static const struct backend *const backends[] = {
    &select_backend,     &poll_backend,           &epoll_backend, &epoll_et_backend,
    &epoll_spin_backend, &epoll_writeend_backend, &libuv_backend, &libuv_write_backend,
    &io_uring_backend,   &null_backend,
};

const char *const loop_syscall_names[SYSCALL_KINDS] = {
    [SYSCALL_WAIT] = "wait",
    [SYSCALL_CONTROL] = "control",
    [SYSCALL_ACCEPT] = "accept",
    [SYSCALL_READ] = "read",
    [SYSCALL_READ_AGAIN] = "read_again",
    [SYSCALL_SEND] = "send",
    [SYSCALL_SEND_AGAIN] = "send_again",
    [SYSCALL_WAKE] = "wake",
};

bool loop_info(size_t index, struct loop_info *info) {
    if (index >= ARRAY_LENGTH(backends))
        return false;
    const struct backend *backend = backends[index];
    *info = (struct loop_info){
        .name = backend->name,
        .summary = backend->summary,
        .built_on = backend->built_on ? backend->built_on() : NULL,
        .variant_of = backend->variant_of,
        .control = backend->control,
        .spins = backend->spins,
        .defers_sends = backend->defers_sends,
        .descriptor_limit = backend->descriptor_limit,
        .timer_resolution_ns = backend->timer_resolution_ns,
        .available = true,
    };
    if (backend->available && backend->available(&info->reason))
        info->available = false;
    return true;
}

static const struct backend *find_backend(const char *name, struct error *error) {
    char known[256] = "";
    for (size_t i = 0; i < ARRAY_LENGTH(backends); i++) {
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", backends[i]->name);
    }
    error_set(error, -ENOENT, "no loop is called '%s'; there are: %s", name, known);
    return NULL;
}

int loop_info_by_name(const char *name, struct loop_info *info, struct error *error) {
    const struct backend *backend = find_backend(name, error);
    if (!backend)
        return -ENOENT;
    size_t index = 0;
    while (backends[index] != backend)
        index++;
    loop_info(index, info);
    if (!info->available)
        return error_set(error, -ENOTSUP, "%s: %s", name, info->reason.text);
    return 0;
}

/* ---- opening and freeing ----------------------------------------------------------------------
 */

int loop_open(const char *name, const struct loop_config *config, struct loop **out,
              struct error *error) {
    struct loop_info info;
    int failure = loop_info_by_name(name, &info, error);
    if (failure)
        return failure;

    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return error_set(error, -ENOMEM, "out of memory");
    loop->backend = find_backend(name, error);
    if (config)
        loop->config = *config;
    if (loop->config.receive_bytes == 0)
        loop->config.receive_bytes = LOOP_RECEIVE_BYTES;
    loop->sent_tail = &loop->sent;
    loop_read_clock(loop);
    loop->counters.syscalls_exact = loop->backend->syscalls_exact;
    /* A peer that went away is an error value of send, never a signal. */
    signal(SIGPIPE, SIG_IGN);
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    failure = loop->reserve_fd < 0 ? error_set(error, -errno, "%s: %s", name, strerror(errno))
                                   : loop->backend->open(loop, error);
    if (failure) {
        if (loop->reserve_fd >= 0)
            close(loop->reserve_fd);
        free(loop);
        return failure;
    }
    *out = loop;
    return 0;
}

static void run_deferred(struct loop *loop);

void loop_free(struct loop *loop) {
    loop_monitor(loop, NULL, NULL, NULL);
    while (loop->streams || loop->listeners) {
        for (struct stream *stream = loop->streams; stream; stream = stream->next)
            stream_close(stream);
        for (struct listener *listener = loop->listeners; listener; listener = listener->next)
            listener_close(listener);
        run_deferred(loop);
        /* Backends that close asynchronously report the end from inside a wait. */
        if (loop->streams || loop->listeners) {
            loop_forget_clock(loop);
            CHECK(loop->backend->wait(loop, 0) == 0);
        }
    }
    loop->backend->close(loop);
    close(loop->reserve_fd);
    if (loop->receive) {
        loop->receive->next = loop->free_buffers;
        loop->free_buffers = loop->receive;
    }
    while (loop->free_buffers) {
        struct buffer *buffer = loop->free_buffers;
        loop->free_buffers = buffer->next;
        free(buffer);
    }
    free(loop->timers);
    free(loop);
}

const char *loop_backend_name(const struct loop *loop) {
    return loop->backend->name;
}

__attribute__((noinline)) void loop_read_ticks(struct loop *loop) {
    loop->entered_known = true;
    loop->entered_ticks = ticks_now(&loop->ticks);
}

uint64_t loop_now_ns(struct loop *loop) {
    loop_read_clock(loop);
    return loop->now_ns;
}

void loop_set_data(struct loop *loop, void *data) {
    loop->data = data;
}

void *loop_data(const struct loop *loop) {
    return loop->data;
}

const struct loop_counters *loop_counters(const struct loop *loop) {
    return &loop->counters;
}

bool loop_has_streams(const struct loop *loop) {
    return loop->streams != NULL;
}

/* ---- timers: a 4-ary heap of pointers, so that moving one is a few cache lines ------------------
 */

enum { HEAP_ARITY = 4 };

static size_t heap_parent(size_t slot) {
    return (slot - 2) / HEAP_ARITY + 1;
}

static size_t heap_first_child(size_t slot) {
    return (slot - 1) * HEAP_ARITY + 2;
}

static void heap_place(struct loop *loop, size_t slot, struct timer *timer) {
    loop->timers[slot] = timer;
    timer->heap_slot = slot;
}

static void heap_sift_up(struct loop *loop, size_t slot) {
    struct timer *timer = loop->timers[slot];
    while (slot > 1 && loop->timers[heap_parent(slot)]->due_ns > timer->due_ns) {
        heap_place(loop, slot, loop->timers[heap_parent(slot)]);
        slot = heap_parent(slot);
    }
    heap_place(loop, slot, timer);
}

static void heap_sift_down(struct loop *loop, size_t slot) {
    struct timer *timer = loop->timers[slot];
    for (;;) {
        size_t first = heap_first_child(slot), best = 0;
        for (size_t child = first; child < first + HEAP_ARITY && child <= loop->timer_count;
             child++)
            if (best == 0 || loop->timers[child]->due_ns < loop->timers[best]->due_ns)
                best = child;
        if (best == 0 || loop->timers[best]->due_ns >= timer->due_ns)
            break;
        heap_place(loop, slot, loop->timers[best]);
        slot = best;
    }
    heap_place(loop, slot, timer);
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t due_ns) {
    CHECK(timer->on_due);
    loop_read_clock(loop); /* it may be the first one, and the time not known yet */
    if (loop->firing && due_ns <= loop->now_ns)
        due_ns = loop->now_ns + 1; /* a time already past waits for the next pass */
    uint64_t old_ns = timer->due_ns;
    timer->due_ns = due_ns;
    if (timer->heap_slot) {
        if (due_ns < old_ns)
            heap_sift_up(loop, timer->heap_slot);
        else
            heap_sift_down(loop, timer->heap_slot);
        return;
    }
    if (loop->timer_count + 2 > loop->timer_capacity) {
        size_t capacity = loop->timer_capacity ? loop->timer_capacity * 2 : 64;
        loop->timers = realloc(loop->timers, capacity * sizeof *loop->timers);
        CHECK(loop->timers);
        loop->timer_capacity = capacity;
    }
    heap_place(loop, ++loop->timer_count, timer);
    heap_sift_up(loop, timer->heap_slot);
}

void timer_cancel(struct loop *loop, struct timer *timer) {
    size_t slot = timer->heap_slot;
    if (slot == 0)
        return;
    CHECK(loop->timers[slot] == timer);
    struct timer *last = loop->timers[loop->timer_count--];
    timer->heap_slot = 0;
    if (last == timer)
        return;
    heap_place(loop, slot, last);
    heap_sift_up(loop, slot);
    heap_sift_down(loop, last->heap_slot);
}

/* One that sets itself again for a time already past waits for the next pass (timer_set), so that
 * it cannot keep the loop from its I/O. */
static void run_timers(struct loop *loop) {
    loop->firing = true;
    while (loop->timer_count > 0 && loop->timers[1]->due_ns <= loop->now_ns) {
        struct timer *timer = loop->timers[1];
        uint64_t late_ns = loop->now_ns - timer->due_ns;
        loop->counters.timers_fired++;
        loop->counters.timer_late_ns += late_ns;
        if (late_ns > loop->counters.timer_late_max_ns)
            loop->counters.timer_late_max_ns = late_ns;
        timer_cancel(loop, timer);
        CALL_BACK(loop, CALLBACK_TIMER, timer->on_due, timer);
    }
    loop->firing = false;
}

/* ---- posts: a stack that other threads push on and the loop takes whole -------------------------
 */

/* The loop announces its sleep and then looks at the stack once more; a poster pushes and then
 * looks at the announcement. With sequentially consistent operations one of the two sees the other.
 */
static void wake_if_sleeping(struct loop *loop) {
    if (!atomic_exchange(&loop->sleeping, false))
        return;
    atomic_fetch_add_explicit(&loop->wakes, 1, memory_order_relaxed);
    loop->backend->wake(loop);
}

void loop_post(struct loop *loop, struct post *post) {
    struct post *head = atomic_load(&loop->posted);
    do
        post->next = head;
    while (!atomic_compare_exchange_weak(&loop->posted, &head, post));
    wake_if_sleeping(loop);
}

void loop_stop(struct loop *loop) {
    atomic_store(&loop->stopping, true);
    wake_if_sleeping(loop);
}

static void run_posts(struct loop *loop) {
    if (!atomic_load_explicit(&loop->posted, memory_order_relaxed))
        return;
    struct post *newest_first = atomic_exchange(&loop->posted, NULL), *first = NULL;
    while (newest_first) {
        struct post *post = newest_first;
        newest_first = post->next;
        post->next = first;
        first = post;
    }
    while (first) {
        struct post *post = first;
        first = post->next; /* before run: the memory is the caller's again then */
        loop->counters.posts++;
        CALL_BACK(loop, CALLBACK_POST, post->run, post);
    }
}

/* ---- a pass ------------------------------------------------------------------------------------
 */

/* Sends whose bytes are taken, then closes. Only what was due when this began: a callback that
 * sends or closes again adds to the next round. */
static void run_deferred(struct loop *loop) {
    struct stream *stream = loop->sent;
    loop->sent = NULL;
    loop->sent_tail = &loop->sent;
    while (stream) {
        struct stream *next = stream->sent_next;
        stream->sent_due = false;
        if (!stream->closing)
            stream_deliver_sent(stream, 0);
        stream = next;
    }
    while (loop->closing_listeners) {
        struct listener *listener = loop->closing_listeners;
        loop->closing_listeners = listener->closing_next;
        loop->backend->unlisten(listener);
    }
    stream = loop->closing;
    loop->closing = NULL;
    while (stream) {
        struct stream *next = stream->closing_next;
        stream->finishing = true;
        stream->backend->finish(stream);
        stream = next;
    }
}

static bool work_is_due(const struct loop *loop) {
    return loop->sent || loop->closing || loop->closing_listeners || atomic_load(&loop->posted) ||
           atomic_load(&loop->stopping);
}

/* How long the wait may last; sets `*spinning` when it is cut short to poll until the next timer.
 */
static int64_t wait_timeout_ns(struct loop *loop, bool *spinning) {
    *spinning = false;
    if (work_is_due(loop))
        return 0;
    if (loop->backend->spins) {
        *spinning = true;
        return 0;
    }
    if (loop->timer_count == 0)
        return -1;
    uint64_t due_ns = loop->timers[1]->due_ns, now_ns = loop->now_ns;
    if (due_ns <= now_ns)
        return 0;
    uint64_t remaining_ns = due_ns - now_ns;
    if (remaining_ns > loop->config.spin_ns)
        return (int64_t)(remaining_ns - loop->config.spin_ns);
    *spinning = true;
    return 0;
}

static int run_pass(struct loop *loop) {
    struct loop_counters *counters = &loop->counters;
    bool spinning;
    uint64_t fired = counters->timers_fired, posts = counters->posts;
    run_timers(loop);
    if (loop->pass_monitor && counters->timers_fired != fired)
        monitor_timers_ran(loop);
    int64_t timeout_ns = wait_timeout_ns(loop, &spinning);
    /* Callbacks have run since now_ns was read: a wait counted from there would end late, and their
     * time would pass for spinning. */
    bool nothing_ran = loop->spun && counters->timers_fired == fired;
    uint64_t before_ns =
        !nothing_ran && (timeout_ns > 0 || spinning) ? clock_now_ns() : loop->now_ns;
    if (timeout_ns != 0) {
        if (timeout_ns > 0) {
            uint64_t passed_ns = before_ns - loop->now_ns;
            timeout_ns = passed_ns < (uint64_t)timeout_ns ? timeout_ns - (int64_t)passed_ns : 0;
        }
        counters->sleeps++;
        atomic_store(&loop->sleeping, true);
        if (work_is_due(loop))
            timeout_ns = 0;
    }
    counters->passes++;
    loop_forget_clock(loop);
    loop->pass_events = 0;
    int failure = loop->backend->wait(loop, timeout_ns);
    loop_entered(loop);
    /* Seen late, it costs a wake-up that was not needed, never one that was. */
    atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
    counters->wakes = atomic_load_explicit(&loop->wakes, memory_order_relaxed);
    if (spinning && loop->pass_events == 0)
        counters->spin_ns += loop_now_ns(loop) - before_ns;
    counters->events += loop->pass_events;
    if (loop->pass_events > counters->events_max)
        counters->events_max = loop->pass_events;
    if (loop->pass_monitor)
        monitor_io_ran(loop);
    run_posts(loop);
    run_deferred(loop);
    if (loop->pass_monitor)
        monitor_pass_ends(loop);
    loop->spun = spinning && loop->pass_events == 0 && counters->posts == posts;
    return failure;
}

int loop_run(struct loop *loop) {
    int failure;
    loop_forget_clock(loop);
    loop_read_clock(loop);
    if (loop->monitor)
        monitor_run_begins(loop);
    do
        failure = run_pass(loop);
    while (failure == 0 && !atomic_load(&loop->stopping));
    atomic_store(&loop->stopping, false);
    return failure;
}

/* ---- receive buffers ---------------------------------------------------------------------------
 */

/* The bytes begin with a cache line, for the kernel copies into them with wide stores. */
static struct buffer *new_buffer(struct loop *loop) {
    enum { CACHE_LINE = 64, HEADER = (sizeof(struct buffer) + CACHE_LINE - 1) & -CACHE_LINE };
    void *memory;
    if (posix_memalign(&memory, CACHE_LINE, HEADER + loop->config.receive_bytes))
        return NULL;
    struct buffer *buffer = memory;
    *buffer = (struct buffer){
        .bytes = (uint8_t *)memory + HEADER, .size = loop->config.receive_bytes, .loop = loop};
    return buffer;
}

struct buffer *loop_take_buffer(struct loop *loop) {
    struct buffer *buffer = loop->free_buffers;
    if (buffer) {
        loop->free_buffers = buffer->next;
    } else {
        buffer = new_buffer(loop);
        if (!buffer)
            return NULL;
        loop->counters.buffers++;
    }
    buffer->next = NULL;
    return buffer;
}

struct buffer *loop_receive_buffer(struct loop *loop) {
    /* If somebody holds the last one, it comes back to the free list when it is dropped. */
    if (!loop->receive || loop->receive->holds > 0)
        loop->receive = loop_take_buffer(loop);
    return loop->receive;
}

void buffer_drop(struct buffer *buffer) {
    CHECK(buffer->holds > 0);
    struct loop *loop = buffer->loop;
    if (--buffer->holds == 0 && buffer != loop->receive) {
        buffer->next = loop->free_buffers;
        loop->free_buffers = buffer;
    }
}

/* ---- listeners ---------------------------------------------------------------------------------
 */

int loop_listen(struct loop *loop, const struct endpoint *endpoint, int backlog,
                const struct stream_handler *handler, void *data, struct listener **out,
                struct endpoint *bound, struct error *error) {
    struct endpoint address;
    int fd = endpoint_listen(endpoint, backlog, &address, error);
    if (fd < 0)
        return fd;
    struct listener *listener = calloc(1, loop->backend->listener_bytes);
    if (!listener) {
        close(fd);
        return error_set(error, -ENOMEM, "out of memory");
    }
    listener->loop = loop;
    listener->handler = handler;
    listener->data = data;
    listener->fd = fd;
    listener->backlog = backlog;
    if (endpoint_is_unix(endpoint))
        memcpy(listener->unlink_path, ((const struct sockaddr_un *)&endpoint->address)->sun_path,
               sizeof listener->unlink_path);
    int failure = loop->backend->listen(listener);
    if (failure) {
        if (listener->unlink_path[0])
            unlink(listener->unlink_path);
        close(fd);
        free(listener);
        if (failure == -ERANGE)
            return error_set(error, failure, "%s takes descriptors below %d only, and this is %d",
                             loop->backend->name, loop->backend->descriptor_limit, fd);
        return error_set(error, failure, "%s cannot listen: %s", loop->backend->name,
                         strerror(-failure));
    }
    listener->next = loop->listeners;
    if (loop->listeners)
        loop->listeners->previous = listener;
    loop->listeners = listener;
    if (bound)
        *bound = address;
    if (out)
        *out = listener;
    return 0;
}

void listener_close(struct listener *listener) {
    if (listener->closing)
        return;
    listener->closing = true;
    listener->closing_next = listener->loop->closing_listeners;
    listener->loop->closing_listeners = listener;
}

void listener_finished(struct listener *listener) {
    struct loop *loop = listener->loop;
    if (listener->previous)
        listener->previous->next = listener->next;
    else
        loop->listeners = listener->next;
    if (listener->next)
        listener->next->previous = listener->previous;
    if (listener->unlink_path[0])
        unlink(listener->unlink_path);
    free(listener);
}

/* ---- streams -----------------------------------------------------------------------------------
 */

static struct stream *new_stream(struct loop *loop, const struct backend *backend,
                                 const struct stream_handler *handler, void *data, int fd) {
    struct stream *stream = calloc(1, backend->stream_bytes + handler->state_bytes);
    if (!stream)
        return NULL;
    stream->loop = loop;
    stream->backend = backend;
    stream->handler = handler;
    stream->data = data;
    stream->fd = fd;
    stream->next = loop->streams;
    if (loop->streams)
        loop->streams->previous = stream;
    loop->streams = stream;
    return stream;
}

struct stream *loop_new_stream(struct loop *loop, const struct stream_handler *handler, void *data,
                               int fd) {
    return new_stream(loop, loop->backend, handler, data, fd);
}

struct stream *loop_new_stream_over(struct stream *below, const struct backend *filter,
                                    const struct stream_handler *handler, void *data) {
    return new_stream(below->loop, filter, handler, data, below->fd);
}

static void free_stream(struct stream *stream) {
    struct loop *loop = stream->loop;
    if (stream->previous)
        stream->previous->next = stream->next;
    else
        loop->streams = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    free(stream);
}

static bool over_limit(const struct loop *loop, int fd) {
    return loop->backend->descriptor_limit > 0 && fd >= loop->backend->descriptor_limit;
}

bool loop_admit_stream(struct stream *stream) {
    struct loop_counters *counters = &stream->loop->counters;
    bool admitted = !over_limit(stream->loop, stream->fd) && socket_set_options(stream->fd) == 0;
    if (admitted)
        counters->accepted++;
    else
        counters->accept_refused++;
    return admitted;
}

struct stream *loop_accept_stream(struct listener *listener, int fd) {
    struct loop *loop = listener->loop;
    struct stream *stream = loop_new_stream(loop, listener->handler, listener->data, fd);
    if (stream && loop_admit_stream(stream))
        return stream;
    if (stream)
        free_stream(stream);
    else
        loop->counters.accept_refused++;
    close(fd);
    return NULL;
}

bool loop_refuse_connection(struct listener *listener) {
    struct loop *loop = listener->loop;
    if (loop->reserve_fd >= 0)
        close(loop->reserve_fd);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        loop->counters.accept_refused++;
        close(fd);
    }
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

int loop_connect(struct loop *loop, const struct endpoint *target, const struct endpoint *source,
                 const struct stream_handler *handler, void *data, struct stream **out) {
    int fd = endpoint_socket(target, source);
    if (fd < 0)
        return fd;
    if (over_limit(loop, fd)) {
        close(fd);
        return -ERANGE;
    }
    struct stream *stream = loop_new_stream(loop, handler, data, fd);
    if (!stream) {
        close(fd);
        return -ENOMEM;
    }
    stream->connecting = true;
    int failure = loop->backend->connect(stream, target);
    if (failure) {
        close(fd);
        free_stream(stream);
        return failure;
    }
    if (out)
        *out = stream;
    return 0;
}

static size_t total_bytes(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    return bytes;
}

int stream_send(struct stream *stream, const struct iovec *parts, int count, void *cookie) {
    struct loop *loop = stream->loop;
    CHECK(count > 0 && count <= LOOP_SEND_PARTS);
    if (!stream->open || stream->closing || stream->shutdown_wanted)
        return -ENOTCONN;
    if (stream->later)
        return -EBUSY;

    size_t taken = 0;
    int result = stream->backend->send(stream, parts, count, &taken);
    if (result < 0)
        return result;
    loop->counters.sent_bytes += taken;
    if (stream->callback_serial != loop->callback_serial) {
        stream->callback_serial = loop->callback_serial;
        stream->callback_bytes = 0;
    }
    stream->callback_bytes += taken;
    if (result == SEND_DONE && stream->callback_bytes <= LOOP_SEND_BUDGET) {
        loop->counters.sends_done++;
        return SEND_DONE;
    }
    loop->counters.sends_later++;
    stream->later = true;
    stream->cookie = cookie;
    if (result == SEND_DONE) {
        CHECK(taken == total_bytes(parts, count));
        stream->sent_due = true;
        stream->sent_next = NULL;
        *loop->sent_tail = stream;
        loop->sent_tail = &stream->sent_next;
    }
    return SEND_LATER;
}

bool stream_sending(const struct stream *stream) {
    return stream->later;
}

void stream_pause(struct stream *stream) {
    if (!stream->paused && !stream->closing) {
        stream->paused = true;
        if (stream->open)
            stream->backend->pause(stream);
    }
}

void stream_resume(struct stream *stream) {
    if (stream->paused && !stream->closing) {
        stream->paused = false;
        if (stream->open)
            stream->backend->pause(stream);
    }
}

static void shutdown_now(struct stream *stream) {
    stream->shutdown_done = true;
    stream->backend->shutdown(stream);
}

void stream_shutdown(struct stream *stream) {
    if (!stream->open || stream->closing || stream->shutdown_wanted)
        return;
    stream->shutdown_wanted = true;
    if (!stream->later)
        shutdown_now(stream);
}

void stream_fail(struct stream *stream, int err) {
    if (stream->closing)
        return;
    stream->closing = true;
    stream->close_err = err;
    stream->closing_next = stream->loop->closing;
    stream->loop->closing = stream;
}

void stream_close(struct stream *stream) {
    stream_fail(stream, 0);
}

void *stream_state(struct stream *stream) {
    return (char *)stream + stream->backend->stream_bytes;
}

void *stream_data(struct stream *stream) {
    return stream->data;
}

struct loop *stream_loop(struct stream *stream) {
    return stream->loop;
}

int stream_fd(const struct stream *stream) {
    return stream->fd;
}

/* ---- what backends deliver ---------------------------------------------------------------------
 */

void stream_deliver_open(struct stream *stream, int err) {
    CHECK(!stream->open);
    if (stream->closing)
        return;
    loop_entered(stream->loop);
    stream->connecting = false;
    stream->open = err == 0;
    if (stream->handler->on_open)
        CALL_BACK(stream->loop, CALLBACK_OPEN, stream->handler->on_open, stream, err);
    if (err) {
        stream_fail(stream, err);
        stream->close_err = err; /* also if on_open has closed it already */
    } else if (stream->paused && !stream->closing)
        stream->backend->pause(stream); /* paused in on_open, before the backend could know */
}

/* Not inline: it keeps its arguments in registers that its caller would have to save each time. */
static __attribute__((noinline)) void monitored_data(struct stream *stream, struct buffer *buffer,
                                                     uint8_t *bytes, size_t n) {
    CALL_BACK(stream->loop, CALLBACK_DATA, stream->handler->on_data, stream, buffer, bytes, n);
}

void stream_deliver_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    CHECK(stream_wants_data(stream) && n > 0);
    struct loop *loop = stream->loop;
    loop_entered(loop);
    loop->counters.received_bytes += n;
    if (!stream->handler->on_data)
        return;
    if (__builtin_expect(loop->callback_monitor != NULL, 0)) {
        monitored_data(stream, buffer, bytes, n);
        return;
    }
    loop->callback_serial++;
    stream->handler->on_data(stream, buffer, bytes, n);
}

void stream_deliver_eof(struct stream *stream) {
    CHECK(stream_wants_data(stream));
    loop_entered(stream->loop);
    stream->ended = true;
    if (stream->handler->on_eof)
        CALL_BACK(stream->loop, CALLBACK_EOF, stream->handler->on_eof, stream);
    else
        stream_close(stream);
}

/* The pending send is over. After an error the stream closes with it. */
void stream_deliver_sent(struct stream *stream, int err) {
    CHECK(stream->later);
    stream->later = false;
    if (err)
        stream_fail(stream, err);
    else if (stream->shutdown_wanted && !stream->shutdown_done && !stream->closing)
        shutdown_now(stream);
    if (stream->handler->on_sent)
        CALL_BACK(stream->loop, CALLBACK_SENT, stream->handler->on_sent, stream, stream->cookie,
                  err);
}

static void forget_sent(struct stream *stream) {
    struct stream **link = &stream->loop->sent;
    while (*link != stream)
        link = &(*link)->sent_next;
    *link = stream->sent_next;
    if (*link == NULL)
        stream->loop->sent_tail = link;
}

void stream_finished(struct stream *stream) {
    CHECK(stream->finishing);
    if (stream->sent_due)
        forget_sent(stream);
    if (stream->later) {
        stream->later = false;
        if (stream->handler->on_sent)
            CALL_BACK(stream->loop, CALLBACK_SENT, stream->handler->on_sent, stream,
                      stream->cookie, stream->close_err ? stream->close_err : -ECANCELED);
    }
    if (stream->handler->on_close)
        CALL_BACK(stream->loop, CALLBACK_CLOSE, stream->handler->on_close, stream,
                  stream->close_err);
    free_stream(stream);
}

int watch_set(struct loop *loop, struct watch *watch, unsigned events) {
    CHECK(watch->fd >= 0 && watch->on_ready && (watch->loop == NULL || watch->loop == loop));
    if (events && over_limit(loop, watch->fd))
        return -ERANGE;
    if (events == watch->events)
        return 0;
    watch->loop = loop;
    int failure = loop->backend->watch(watch, events);
    if (failure == 0)
        watch->events = events;
    return failure;
}
