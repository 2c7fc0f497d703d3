/* floor.c: see floor.h. */
#include "harness/floor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/interrupt.h"
#include "harness/limits.h"
#include "harness/usage.h"
#include "loops/check.h"
#include "loops/clock.h"
#include "loops/endpoint.h"
#include "loops/loop.h"

enum {
    SERVER,
    CLIENT,
    SIDES,
    CONNECT_TIMEOUT_MS = 1000,
    GRACE_MS = 12000, /* beyond the time it should take: a busy machine is no deadlock */
    SPINS = 256,     /* before the CPU is offered to others: one CPU may have to do for both */
    CLOCK_READINGS = 4096,
    SOCKET_BYTES_LEAST = 4096, /* what a message of one byte takes in the kernel, about */
    GROUP_BYTES = 16 << 20,
};

/* Whose turn it is, in memory that both sides share. The counters have a cache line each, or the
 * one who spins would slow down the one who works. */
struct lockstep {
    _Alignas(64) _Atomic uint64_t asked; /* turns that the server may take */
    _Alignas(64) _Atomic uint64_t answered;
    _Alignas(64) atomic_bool measuring;
    atomic_bool over;
    uint64_t deadline_ns;
    _Alignas(64) uint64_t cpu_ns, requests, turns; /* the server's, while measuring */
    _Atomic int failure; /* of the side that failed first: a negative errno */
    struct error error;
};

struct floor {
    const struct floor_plan *plan;
    struct lockstep *shared;
    int *sockets[SIDES]; /* by connection; -1: not open */
    uint32_t group;      /* connections that take part in a turn */
    uint8_t *bytes;
};

/* ---- sockets --------------------------------------------------------------------------------- */

/* Closed with a reset, as thousands in TIME_WAIT would weigh on what is measured next. */
static int set_options(int fd) {
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset))
        return -errno;
    return socket_set_options(fd);
}

static int accept_one(int listener) {
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    if (poll(&waiting, 1, CONNECT_TIMEOUT_MS) < 1)
        return -ETIMEDOUT;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int connect_pair(int listener, const struct endpoint *target, int *client, int *server) {
    *client = endpoint_socket(target, NULL);
    if (*client < 0)
        return *client;
    if (connect(*client, (const struct sockaddr *)&target->address, target->length) &&
        errno != EINPROGRESS)
        return -errno;
    *server = accept_one(listener);
    return *server < 0 ? *server : 0;
}

static int unix_pair(int *client, int *server) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
        return -errno;
    *client = pair[0];
    *server = pair[1];
    return 0;
}

static int open_pairs(struct floor *floor, int listener, const struct endpoint *target) {
    int failure = 0;
    for (uint32_t i = 0; i < floor->plan->connections && !failure; i++) {
        int *client = &floor->sockets[CLIENT][i], *server = &floor->sockets[SERVER][i];
        failure = floor->plan->unix_socket ? unix_pair(client, server)
                                           : connect_pair(listener, target, client, server);
        if (!failure)
            failure = set_options(*client);
        if (!failure)
            failure = set_options(*server);
    }
    return failure;
}

static int open_sockets(struct floor *floor, struct error *error) {
    struct endpoint target;
    int listener = -1;
    if (!floor->plan->unix_socket) {
        int failure = endpoint_parse("127.0.0.1:0", &target, error);
        listener = failure ? failure : endpoint_listen(&target, 1, &target, error);
        if (listener < 0)
            return listener;
    }
    int failure = open_pairs(floor, listener, &target);
    if (listener >= 0)
        close(listener);
    return failure == 0
               ? 0
               : error_set(error, failure, "cannot open %u connections of two descriptors: %s",
                           floor->plan->connections, strerror(-failure));
}

/* ---- taking turns ---------------------------------------------------------------------------- */

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void fail(struct lockstep *shared, int err, const char *what) {
    int none = 0;
    if (atomic_compare_exchange_strong(&shared->failure, &none, err))
        error_set(&shared->error, err, "%s: %s", what, strerror(-err));
    atomic_store(&shared->over, true);
}

/* Between tries. False: there is no more to wait for. */
static bool try_again(struct lockstep *shared, unsigned tries) {
    relax();
    if (atomic_load_explicit(&shared->over, memory_order_acquire))
        return false;
    if (tries % SPINS != 0)
        return true;
    sched_yield();
    if (clock_now_ns() > shared->deadline_ns)
        fail(shared, -ETIMEDOUT, "the kernel floor");
    return true;
}

static bool await(struct lockstep *shared, const _Atomic uint64_t *count, uint64_t wanted) {
    for (unsigned tries = 1; atomic_load_explicit(count, memory_order_acquire) < wanted; tries++)
        if (!try_again(shared, tries))
            return false;
    return true;
}

/* Tries until the kernel takes or has at least a byte. 0: the end, for whatever reason. */
static size_t send_some(struct lockstep *shared, int fd, const uint8_t *bytes, size_t most) {
    ssize_t n;
    for (unsigned tries = 1; (n = send(fd, bytes, most, MSG_NOSIGNAL)) < 0; tries++) {
        if (errno != EAGAIN && errno != EINTR)
            fail(shared, -errno, "send");
        if (!try_again(shared, tries))
            return 0;
    }
    return (size_t)n;
}

static size_t receive_some(struct lockstep *shared, int fd, uint8_t *bytes, size_t most) {
    ssize_t n;
    for (unsigned tries = 1; (n = recv(fd, bytes, most, 0)) <= 0; tries++) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            fail(shared, n == 0 ? -ECONNRESET : -errno, "recv");
        if (!try_again(shared, tries))
            return 0;
    }
    return (size_t)n;
}

static bool send_all(struct lockstep *shared, int fd, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t n = send_some(shared, fd, bytes, size);
        if (n == 0)
            return false;
        bytes += n;
        size -= n;
    }
    return true;
}

static bool receive_all(struct lockstep *shared, int fd, uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t most = size < LOOP_RECEIVE_BYTES ? size : LOOP_RECEIVE_BYTES;
        size_t n = receive_some(shared, fd, bytes, most);
        if (n == 0)
            return false;
        size -= n;
    }
    return true;
}

static bool echo_all(struct lockstep *shared, int fd, uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t n = receive_some(shared, fd, bytes, LOOP_RECEIVE_BYTES);
        if (n == 0 || !send_all(shared, fd, bytes, n))
            return false;
        size -= n < size ? n : size;
    }
    return true;
}

/* One after the other: the i-th socket of the round's group. */
static int socket_of(const struct floor *floor, int side, uint64_t round, uint32_t i) {
    return floor->sockets[side][(round * floor->group + i) % floor->plan->connections];
}

static size_t next_part(size_t left) {
    return left < FLOOR_PART_BYTES ? left : FLOOR_PART_BYTES;
}

/* ---- the server ------------------------------------------------------------------------------ */

/* Of the CPU time between two readings of the thread's clock, what the reading itself takes. */
static double clock_cost_ns(void) {
    uint64_t sum_ns = 0;
    for (int i = 0; i < CLOCK_READINGS; i++) {
        uint64_t before_ns = thread_cpu_ns();
        sum_ns += thread_cpu_ns() - before_ns;
    }
    return (double)sum_ns / CLOCK_READINGS;
}

static bool take_turn(const struct floor *floor, uint64_t round, size_t part) {
    struct lockstep *shared = floor->shared;
    uint64_t before_ns = thread_cpu_ns();
    for (uint32_t i = 0; i < floor->group; i++)
        if (!echo_all(shared, socket_of(floor, SERVER, round, i), floor->bytes, part))
            return false;
    uint64_t cpu_ns = thread_cpu_ns() - before_ns;
    if (atomic_load_explicit(&shared->measuring, memory_order_relaxed)) {
        shared->cpu_ns += cpu_ns;
        shared->turns++;
    }
    return true;
}

static void serve(const struct floor *floor) {
    struct lockstep *shared = floor->shared;
    double cost_ns = clock_cost_ns();
    uint64_t turn = 0;
    bool going = true;
    for (uint64_t round = 0; going; round++) {
        for (size_t left = floor->plan->size_bytes; left > 0 && going; left -= next_part(left)) {
            going =
                await(shared, &shared->asked, ++turn) && take_turn(floor, round, next_part(left));
            if (going && left <= FLOOR_PART_BYTES && atomic_load(&shared->measuring))
                shared->requests += floor->group;
            if (going)
                atomic_store_explicit(&shared->answered, turn, memory_order_release);
        }
    }
    double readings_ns = cost_ns * (double)shared->turns;
    double cpu_ns = (double)shared->cpu_ns;
    shared->cpu_ns = cpu_ns > readings_ns ? (uint64_t)(cpu_ns - readings_ns) : 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

static bool ask(const struct floor *floor, uint64_t round, uint64_t turn, size_t part) {
    struct lockstep *shared = floor->shared;
    for (uint32_t i = 0; i < floor->group; i++)
        if (!send_all(shared, socket_of(floor, CLIENT, round, i), floor->bytes, part))
            return false;
    atomic_store_explicit(&shared->asked, turn, memory_order_release);
    if (!await(shared, &shared->answered, turn))
        return false;
    for (uint32_t i = 0; i < floor->group; i++)
        if (!receive_all(shared, socket_of(floor, CLIENT, round, i), floor->bytes, part))
            return false;
    return true;
}

/* The client leads: it says when measuring begins and when all is over, between two messages. */
static void lead(const struct floor *floor) {
    struct lockstep *shared = floor->shared;
    uint64_t opens_ns = clock_now_ns() + (uint64_t)floor->plan->warmup_ns;
    uint64_t closes_ns = opens_ns + (uint64_t)floor->plan->duration_ns;
    uint64_t turn = 0;
    bool going = true, measuring = false;
    for (uint64_t round = 0; going; round++) {
        uint64_t now_ns = clock_now_ns();
        if (measuring && now_ns >= closes_ns)
            break;
        measuring = now_ns >= opens_ns;
        atomic_store_explicit(&shared->measuring, measuring, memory_order_relaxed);
        for (size_t left = floor->plan->size_bytes; left > 0 && going; left -= next_part(left))
            going = ask(floor, round, ++turn, next_part(left));
    }
    atomic_store(&shared->over, true);
}

/* ---- both processes -------------------------------------------------------------------------- */

static void run_side(const struct floor *floor, int side, pid_t parent) {
    const cpu_set_t *cpus =
        side == SERVER ? &floor->plan->server_cpus : &floor->plan->generator_cpus;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent decides what ^C means */
    signal(SIGTERM, SIG_DFL);
    if (CPU_COUNT(cpus) > 0 && sched_setaffinity(0, sizeof *cpus, cpus))
        fail(floor->shared, -errno, "cannot run on the CPUs given");
    else if (side == SERVER)
        serve(floor);
    else
        lead(floor);
    _exit(0);
}

struct child {
    pid_t pid;
    int pid_fd;
};

static void start_side(const struct floor *floor, int side, struct child *child) {
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0)
        run_side(floor, side, parent);
    child->pid_fd = child->pid > 0 ? (int)syscall(SYS_pidfd_open, child->pid, 0) : -1;
    if (child->pid_fd < 0)
        fail(floor->shared, -errno, "cannot start a process");
}

/* One that did not come to its end by itself takes the other with it. */
static void reap(const struct floor *floor, struct child *child) {
    int status = 0;
    if (child->pid > 0 && waitpid(child->pid, &status, 0) == child->pid && status != 0)
        fail(floor->shared, -ECHILD, "a process of the kernel floor was ended");
    if (child->pid_fd >= 0)
        close(child->pid_fd);
    *child = (struct child){.pid_fd = -1};
}

/* What has not ended in time is killed. */
static void await_end(const struct floor *floor, struct child children[SIDES]) {
    uint64_t latest_ns = floor->shared->deadline_ns + GRACE_MS * NS_PER_MS / 4, now_ns;
    while ((children[SERVER].pid_fd >= 0 || children[CLIENT].pid_fd >= 0) &&
           (now_ns = clock_now_ns()) < latest_ns) {
        struct pollfd ended[SIDES];
        for (int side = 0; side < SIDES; side++)
            ended[side] = (struct pollfd){.fd = children[side].pid_fd, .events = POLLIN};
        int count = poll(ended, SIDES, (int)((latest_ns - now_ns) / NS_PER_MS) + 1);
        if (interrupted)
            fail(floor->shared, -EINTR, "the kernel floor");
        for (int side = 0; side < SIDES && count > 0; side++)
            if (ended[side].revents)
                reap(floor, &children[side]);
    }
    for (int side = 0; side < SIDES; side++)
        if (children[side].pid > 0) {
            kill(children[side].pid, SIGKILL);
            reap(floor, &children[side]);
        }
}

static void set_deadline(struct floor *floor) {
    double whole_ns = floor->plan->warmup_ns + floor->plan->duration_ns;
    floor->shared->deadline_ns =
        clock_now_ns() + (uint64_t)whole_ns + (uint64_t)(GRACE_MS * 3 / 4) * NS_PER_MS;
}

static void run_both(struct floor *floor) {
    struct child children[SIDES];
    set_deadline(floor);
    fflush(NULL); /* or a child might write our buffers again */
    for (int side = 0; side < SIDES; side++)
        start_side(floor, side, &children[side]);
    await_end(floor, children);
}

static int judge(const struct lockstep *shared, struct floor_result *result, struct error *error) {
    int failure = atomic_load(&shared->failure);
    if (failure)
        return error_set(error, failure, "%s", shared->error.text);
    *result = (struct floor_result){.requests = shared->requests, .turns = shared->turns};
    if (shared->requests == 0 || shared->cpu_ns == 0)
        return error_set(error, -ENODATA, "the kernel floor: nothing was measured");
    result->cpu_us_per_request = (double)shared->cpu_ns / (double)shared->requests / NS_PER_US;
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int *no_sockets(uint32_t count) {
    int *sockets = calloc(count, sizeof *sockets);
    for (uint32_t i = 0; i < count && sockets; i++)
        sockets[i] = -1;
    return sockets;
}

/* So many connections at a time that what is under way on all of them fits the kernel's memory. */
static uint32_t group_size(const struct floor_plan *plan) {
    size_t part = next_part(plan->size_bytes);
    size_t most = GROUP_BYTES / (part > SOCKET_BYTES_LEAST ? part : SOCKET_BYTES_LEAST);
    return plan->connections < most ? plan->connections : (uint32_t)most;
}

static bool allocate(struct floor *floor) {
    uint32_t connections = floor->plan->connections;
    floor->bytes = calloc(1, FLOOR_PART_BYTES);
    for (int side = 0; side < SIDES; side++)
        floor->sockets[side] = no_sockets(connections);
    void *memory = mmap(NULL, sizeof *floor->shared, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    floor->shared = memory == MAP_FAILED ? NULL : memory;
    return floor->bytes && floor->sockets[SERVER] && floor->sockets[CLIENT] && floor->shared;
}

static void release(struct floor *floor) {
    for (int side = 0; side < SIDES; side++) {
        for (uint32_t i = 0; i < floor->plan->connections && floor->sockets[side]; i++)
            if (floor->sockets[side][i] >= 0)
                close(floor->sockets[side][i]);
        free(floor->sockets[side]);
    }
    free(floor->bytes);
    if (floor->shared)
        munmap(floor->shared, sizeof *floor->shared);
}

int floor_measure(const struct floor_plan *plan, struct floor_result *result, struct error *error) {
    CHECK(plan->connections > 0 && plan->size_bytes > 0);
    struct floor floor = {.plan = plan, .group = group_size(plan)};
    struct rlimit usual;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    limits_raise_open_files(); /* for a moment: servers are to start with the user's own limit */
    int failure =
        allocate(&floor) ? open_sockets(&floor, error) : error_set(error, -ENOMEM, "out of memory");
    if (!failure) {
        run_both(&floor);
        failure = judge(floor.shared, result, error);
    }
    release(&floor);
    setrlimit(RLIMIT_NOFILE, &usual);
    return failure;
}
