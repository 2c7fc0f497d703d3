/* known_server.c: see known_server.h. */
#include "harness/known_server.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/random.h"
#include "loops/check.h"
#include "loops/clock.h"

enum {
    BACKLOG = 1024,
    MESSAGE_BYTES = 4096,
    PENDING_MOST = 4096,      /* requests that wait for one delay to pass */
    SLEEP_MOST_MS = 20,       /* so long it may take to notice that all is over */
    END_TIMEOUT_MS = 30000,   /* others may have its CPU: it lets them, with spin */
    SEND_AVERAGE_WEIGHT = 16, /* how slowly the estimate of a send's time follows */
    SEND_MOST_NS = 50000,     /* one that took longer was interrupted */
    CLOCKS_APART_MOST_NS = 1000,
    CLOCKS_TRIES = 8,
};

struct known_shared {
    atomic_bool over;
    struct error failure;
    uint64_t stalled_from_ns, stalled_to_ns;
    uint64_t count;
    uint64_t pause_count;
    struct known_pause pauses[KNOWN_PAUSES_MOST];
    struct known_times times[KNOWN_TIMES_MOST];
};

/* A request whose answer is not due yet. Of its message only the length is kept. */
struct pending {
    int fd;
    size_t bytes;
    uint64_t due_ns, number;
};

/* Those of one delay become due in the order in which they came. */
struct pending_queue {
    struct pending items[PENDING_MOST];
    uint64_t first, end;
};

enum { USUAL, SLOW, DELAYS };

struct serving {
    const struct known_plan *plan;
    struct known_shared *shared;
    struct random random;
    int epoll_fd, listener;
    uint64_t first_ns;  /* when the first request came; 0: none has */
    uint64_t taken;     /* requests so far */
    uint64_t send_ns;   /* what sending takes, about */
    uint64_t looked_ns; /* at the clock, last; with spin */
    uint64_t waited_ns; /* for the CPU, so far */
    int schedstat_fd;
    struct pending_queue delays[DELAYS];
    uint8_t message[MESSAGE_BYTES];
};

/* ---- standing still -------------------------------------------------------------------------- */

/* Time it was runnable and another one had the CPU: the second number of schedstat, proc(5). */
static uint64_t waited_ns(const struct serving *serving) {
    char text[128];
    unsigned long long ran_ns, waited_ns;
    ssize_t n = pread(serving->schedstat_fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%llu %llu", &ran_ns, &waited_ns) == 2 ? waited_ns : 0;
}

/* Returns its end: asking how it came about is a part of it. */
static uint64_t keep_pause(struct serving *serving) {
    struct known_shared *shared = serving->shared;
    uint64_t so_far_ns = waited_ns(serving), now_ns = clock_now_ns();
    if (shared->pause_count < KNOWN_PAUSES_MOST)
        shared->pauses[shared->pause_count++] =
            (struct known_pause){.from_ns = serving->looked_ns,
                                 .to_ns = now_ns,
                                 .waited_ns = so_far_ns - serving->waited_ns};
    serving->waited_ns = so_far_ns;
    return now_ns;
}

/* At the clock. Did it go on without us? */
static uint64_t look(struct serving *serving) {
    uint64_t now_ns = clock_now_ns();
    if (serving->plan->spin && serving->looked_ns > 0 &&
        now_ns - serving->looked_ns >= KNOWN_PAUSE_LEAST_NS)
        now_ns = keep_pause(serving);
    serving->looked_ns = now_ns;
    return now_ns;
}

/* ---- one request ----------------------------------------------------------------------------- */

static void fail(struct serving *serving, int err, const char *what) {
    error_set(&serving->shared->failure, err, "the server of known times: %s: %s", what,
              strerror(-err));
    atomic_store(&serving->shared->over, true);
}

/* A peer that has gone is no failure: the generator closes its connections at its end. */
static void answer(struct serving *serving, int fd, size_t bytes, uint64_t number) {
    struct known_shared *shared = serving->shared;
    uint64_t left_ns = look(serving);
    if (send(fd, serving->message, bytes, MSG_NOSIGNAL) < 0 && errno == EAGAIN)
        fail(serving, -errno, "send");
    uint64_t free_ns = look(serving);
    if (free_ns - left_ns < SEND_MOST_NS)
        serving->send_ns +=
            (free_ns - left_ns) / SEND_AVERAGE_WEIGHT - serving->send_ns / SEND_AVERAGE_WEIGHT;
    if (number < KNOWN_TIMES_MOST) {
        shared->times[number].left_ns = left_ns;
        shared->times[number].free_ns = free_ns;
    }
}

/* Sending is a part of the service: what it usually takes is left to it. */
static void serve_at_once(struct serving *serving, int fd, size_t bytes, uint64_t taken_ns) {
    const struct known_plan *plan = serving->plan;
    double service_ns = (double)plan->usual_ns;
    if (plan->exponential)
        service_ns *= -log(random_unit(&serving->random));
    if (service_ns > (double)serving->send_ns) {
        uint64_t until_ns = taken_ns + (uint64_t)service_ns - serving->send_ns;
        while (look(serving) < until_ns)
            ;
    }
    answer(serving, fd, bytes, serving->taken);
}

static void serve_later(struct serving *serving, int fd, size_t bytes, uint64_t came_ns) {
    const struct known_plan *plan = serving->plan;
    bool slow = plan->slow_every > 0 && serving->taken % plan->slow_every == 0;
    struct pending_queue *queue = &serving->delays[slow ? SLOW : USUAL];
    if (queue->end - queue->first == PENDING_MOST) {
        fail(serving, -ENOBUFS, "too many requests at a time");
        return;
    }
    queue->items[queue->end++ % PENDING_MOST] =
        (struct pending){.fd = fd,
                         .bytes = bytes,
                         .due_ns = came_ns + (slow ? plan->slow_ns : plan->usual_ns),
                         .number = serving->taken};
}

/* The stamp is of CLOCK_REALTIME: how long ago is the same by both clocks, if both are read at the
 * same time. The closest of some pairs of reads; never later than now, should that clock be set. */
static uint64_t monotonic_ns(const struct timespec *stamp) {
    struct timespec now;
    uint64_t closest_ns = UINT64_MAX, arrived_ns = 0, after_ns = 0;
    for (int i = 0; i < CLOCKS_TRIES && closest_ns > CLOCKS_APART_MOST_NS; i++) {
        uint64_t before_ns = clock_now_ns();
        clock_gettime(CLOCK_REALTIME, &now);
        after_ns = clock_now_ns();
        int64_t ago_ns = (int64_t)(now.tv_sec - stamp->tv_sec) * (int64_t)NS_PER_S +
                         (now.tv_nsec - stamp->tv_nsec);
        if (after_ns - before_ns >= closest_ns)
            continue;
        closest_ns = after_ns - before_ns;
        arrived_ns = before_ns - (uint64_t)ago_ns;
    }
    return arrived_ns < after_ns ? arrived_ns : after_ns;
}

/* Now, if the kernel does not tell: it does not yet for the first ones. */
static uint64_t arrived_ns(struct msghdr *message) {
    struct timespec stamp;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&stamp, CMSG_DATA(at), sizeof stamp);
        return monotonic_ns(&stamp);
    }
    return clock_now_ns();
}

static void take(struct serving *serving, int fd, uint64_t taken_ns) {
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec part = {.iov_base = serving->message, .iov_len = sizeof serving->message};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close(fd);
        return;
    }
    if (serving->first_ns == 0)
        serving->first_ns = taken_ns;
    uint64_t came_ns = arrived_ns(&message);
    if (serving->taken < KNOWN_TIMES_MOST)
        serving->shared->times[serving->taken] =
            (struct known_times){.arrived_ns = came_ns, .taken_ns = taken_ns};
    /* It may have come after the look at the clock, long after if there was no CPU in between. */
    if (serving->plan->kind == KNOWN_QUEUE)
        serve_at_once(serving, fd, (size_t)n, taken_ns);
    else
        serve_later(serving, fd, (size_t)n, came_ns > taken_ns ? came_ns : taken_ns);
    serving->taken++;
}

static void send_due(struct serving *serving) {
    for (int i = 0; i < DELAYS; i++) {
        struct pending_queue *queue = &serving->delays[i];
        while (queue->first < queue->end) {
            const struct pending *pending = &queue->items[queue->first % PENDING_MOST];
            if (pending->due_ns > look(serving))
                break;
            queue->first++;
            answer(serving, pending->fd, pending->bytes, pending->number);
        }
    }
}

/* ---- its loop -------------------------------------------------------------------------------- */

static void accept_all(struct serving *serving) {
    int fd;
    while ((fd = accept4(serving->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        socket_set_options(fd);
        if (epoll_ctl(serving->epoll_fd, EPOLL_CTL_ADD, fd, &event))
            fail(serving, -errno, "epoll_ctl");
    }
}

static bool stall_is_due(const struct serving *serving, uint64_t now_ns) {
    const struct known_plan *plan = serving->plan;
    return plan->stall_ns > 0 && serving->shared->stalled_to_ns == 0 && serving->first_ns > 0 &&
           now_ns >= serving->first_ns + plan->stall_after_ns;
}

static void stand_still(struct serving *serving, uint64_t now_ns) {
    struct known_shared *shared = serving->shared;
    struct timespec until = clock_timespec(now_ns + serving->plan->stall_ns);
    shared->stalled_from_ns = now_ns;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    shared->stalled_to_ns = serving->looked_ns = clock_now_ns();
}

/* Without a CPU of its own. */
static void sleep_until_due(const struct serving *serving) {
    uint64_t now_ns = clock_now_ns(), until_ns = now_ns + SLEEP_MOST_MS * NS_PER_MS;
    for (int i = 0; i < DELAYS; i++) {
        const struct pending_queue *queue = &serving->delays[i];
        const struct pending *next = &queue->items[queue->first % PENDING_MOST];
        if (queue->first < queue->end && next->due_ns < until_ns)
            until_ns = next->due_ns;
    }
    if (until_ns <= now_ns)
        return;
    struct pollfd ready = {.fd = serving->epoll_fd, .events = POLLIN};
    struct timespec pause = clock_timespec(until_ns - now_ns);
    ppoll(&ready, 1, &pause, NULL);
}

/* One event at a time, so that those who wait are served in the order in which they came. What is
 * looked for belongs to the service of what is found: the clock is read before. */
static void serve(struct serving *serving) {
    struct epoll_event event;
    while (!atomic_load_explicit(&serving->shared->over, memory_order_relaxed)) {
        send_due(serving);
        uint64_t now_ns = look(serving);
        if (stall_is_due(serving, now_ns))
            stand_still(serving, now_ns);
        else if (epoll_wait(serving->epoll_fd, &event, 1, 0) < 1) {
            if (!serving->plan->spin)
                sleep_until_due(serving);
        } else if (event.data.fd == serving->listener)
            accept_all(serving);
        else
            take(serving, event.data.fd, now_ns);
    }
    serving->shared->count = serving->taken < KNOWN_TIMES_MOST ? serving->taken : KNOWN_TIMES_MOST;
}

/* Who else wants a CPU finds this one as good as idle (sched(7), SCHED_IDLE), and leaves the
 * generator's alone. What that costs us we know; what it costs the generator nobody does. Without
 * it all is well too, but for the machine. */
static void yield_to_others(void) {
    struct sched_param param = {.sched_priority = 0};
    sched_setscheduler(0, SCHED_IDLE, &param);
}

static void run(const struct known_plan *plan, struct known_shared *shared, int listener,
                pid_t parent) {
    struct serving *serving = calloc(1, sizeof *serving); /* until the process ends */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent decides what ^C means */
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1ul);
    if (plan->spin)
        yield_to_others();
    CHECK(serving);
    *serving = (struct serving){.plan = plan, .shared = shared, .listener = listener};
    random_seed(&serving->random, plan->seed);
    serving->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    serving->waited_ns = waited_ns(serving);
    serving->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (CPU_COUNT(&plan->cpus) > 0 && sched_setaffinity(0, sizeof plan->cpus, &plan->cpus))
        fail(serving, -errno, "cannot run on its CPUs");
    else if (serving->epoll_fd < 0 ||
             epoll_ctl(serving->epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0)
        fail(serving, -errno, "epoll");
    else
        serve(serving);
    _exit(shared->failure.text[0] != '\0');
}

/* ---- the parent's side ----------------------------------------------------------------------- */

int known_server_start(const struct known_plan *plan, struct known_server *server,
                       struct error *error) {
    *server = (struct known_server){.pid = 0};
    int failure = endpoint_parse("127.0.0.1:0", &server->address, error);
    if (failure)
        return failure;
    int listener = endpoint_listen(&server->address, BACKLOG, &server->address, error);
    if (listener < 0)
        return listener;
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes); /* inherited */
    void *memory = mmap(NULL, sizeof *server->shared, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        close(listener);
        return error_set(error, -ENOMEM, "out of memory for a server's times");
    }
    server->shared = memory;
    pid_t parent = getpid();
    fflush(NULL); /* or the child might write our buffers again */
    server->pid = fork();
    if (server->pid == 0)
        run(plan, server->shared, listener, parent);
    int fork_error = errno;
    close(listener);
    if (server->pid > 0)
        return 0;
    server->pid = 0;
    known_server_free(server);
    return error_set(error, -fork_error, "cannot start a server: %s", strerror(fork_error));
}

int known_server_end(struct known_server *server, struct error *error) {
    struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    int status = 0;
    pid_t ended = 0;
    atomic_store(&server->shared->over, true);
    for (int waited_ms = 0; waited_ms < END_TIMEOUT_MS && ended == 0; waited_ms++) {
        ended = waitpid(server->pid, &status, WNOHANG);
        if (ended == 0)
            nanosleep(&pause, NULL);
    }
    if (ended == 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, &status, 0);
    }
    server->pid = 0;
    if (status == 0)
        return 0;
    const char *said = server->shared->failure.text;
    return error_set(error, -EIO, "%s", said[0] ? said : "the server of known times was ended");
}

const struct known_times *known_server_times(const struct known_server *server, size_t *count) {
    *count = server->shared->count;
    return server->shared->times;
}

const struct known_pause *known_server_pauses(const struct known_server *server, size_t *count) {
    *count = server->shared->pause_count;
    return server->shared->pauses;
}

void known_server_stalled(const struct known_server *server, uint64_t *from_ns, uint64_t *to_ns) {
    *from_ns = server->shared->stalled_from_ns;
    *to_ns = server->shared->stalled_to_ns;
}

void known_server_free(struct known_server *server) {
    if (server->pid > 0)
        known_server_end(server, NULL);
    if (server->shared)
        munmap(server->shared, sizeof *server->shared);
    *server = (struct known_server){.pid = 0};
}
