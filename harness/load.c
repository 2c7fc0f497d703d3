/* load.c: the generator's process, and the memory its result comes back in. */
#include "harness/load.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/limits.h"
#include "loops/check.h"

const char *const load_error_names[LOAD_ERRORS] = {
    [LOAD_CONNECT] = "connect", [LOAD_CONNECT_TIMEOUT] = "connect_timeout",
    [LOAD_TIMEOUT] = "timeout", [LOAD_RESET] = "reset",
    [LOAD_CLOSED] = "closed",   [LOAD_WRONG_ANSWER] = "wrong_answer",
    [LOAD_PARSE] = "parse",     [LOAD_STATUS] = "status",
    [LOAD_DATABASE] = "database", [LOAD_OTHER] = "other",
};

const char *const load_phase_names[LOAD_PHASES] = {
    [LOAD_PHASE_CONNECT] = "connect", [LOAD_PHASE_SEND] = "send",
    [LOAD_PHASE_RECEIVE] = "receive", [LOAD_PHASE_PARSE] = "parse",
    [LOAD_PHASE_CLOSE] = "close",     [LOAD_PHASE_TIMEOUT] = "timeout",
};

enum { HISTOGRAMS = 4 + LOAD_STATUS_CLASSES };

struct shared {
    struct load_result result;
    atomic_bool stopping;
    uint64_t counts[HISTOGRAMS][RECORDER_COUNTERS]; /* of the result's histograms */
    struct interval_ring rings[];                   /* one a thread */
};

struct load {
    struct shared *shared;
    size_t shared_bytes;
    struct interval_reader intervals;
    struct turns turns;
    void (*on_interval)(void *data, const struct latency_interval *interval);
    void *on_interval_data;
    pid_t pid;
    int pid_fd;
    bool ended;
};

static void generator_process(const struct load_plan *plan, struct shared *shared, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent decides what ^C means, or a TERM to the whole group */
    signal(SIGTERM, SIG_IGN);
    if (CPU_COUNT(&plan->cpus) > 0 && sched_setaffinity(0, sizeof plan->cpus, &plan->cpus)) {
        error_set(&shared->result.failure, -errno, "cannot run the generator on its CPUs: %s",
                  strerror(errno));
        _exit(1);
    }
    prctl(PR_SET_TIMERSLACK, 1ul); /* threads inherit it */
    limits_raise_open_files();
    generator_run(plan, &shared->result, shared->rings, &shared->stopping);
    _exit(0);
}

/* The histograms' counters have the same address in both processes. */
static struct shared *share(uint32_t threads, size_t *bytes) {
    *bytes = sizeof(struct shared) + threads * sizeof(struct interval_ring);
    struct shared *shared =
        mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return NULL;
    struct load_result *result = &shared->result;
    struct histogram *histograms[HISTOGRAMS] = {&result->response, &result->service, &result->lag,
                                                &result->connect};
    for (size_t i = 0; i < LOAD_STATUS_CLASSES; i++)
        histograms[HISTOGRAMS - LOAD_STATUS_CLASSES + i] = &result->status[i];
    for (size_t i = 0; i < HISTOGRAMS; i++)
        histogram_open_in(histograms[i], &histogram_standard, shared->counts[i]);
    return shared;
}

uint64_t load_failures(const uint64_t errors[LOAD_ERRORS]) {
    uint64_t sum = 0;
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        sum += i == LOAD_STATUS ? 0 : errors[i];
    return sum;
}

struct load_cause load_cause(enum load_phase phase, int err, const char *what) {
    struct load_cause cause = {.phase = phase, .err = err};
    snprintf(cause.what, sizeof cause.what, "%s", what ? what : "");
    for (char *at = cause.what; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return cause;
}

static bool is_alike(const struct load_cause *a, const struct load_cause *b) {
    return a->phase == b->phase && a->err == b->err && strcmp(a->what, b->what) == 0;
}

void load_add_cause(struct load_cause *causes, uint32_t *used, const struct load_cause *cause) {
    uint32_t i = 0;
    while (i < *used && !is_alike(&causes[i], cause))
        i++;
    if (i == LOAD_CAUSES_MOST)
        return;
    if (i < *used) {
        causes[i].count += cause->count;
        return;
    }
    causes[(*used)++] = *cause;
}

static struct load *prepare(const struct load_plan *plan) {
    struct load *load = calloc(1, sizeof *load);
    if (!load)
        return NULL;
    uint32_t threads = (uint32_t)knob_get(&plan->knobs, "threads");
    load->turns = plan->turns;
    load->on_interval = plan->on_interval;
    load->on_interval_data = plan->on_interval_data;
    load->pid_fd = -1;
    load->shared = share(threads, &load->shared_bytes);
    if (load->shared && interval_reader_open(&load->intervals, load->shared->rings, threads) == 0) {
        load->shared->result.open_loop = knob_get(&plan->knobs, "rate") > 0;
        return load;
    }
    if (load->shared)
        munmap(load->shared, load->shared_bytes);
    free(load);
    return NULL;
}

int load_start(const struct load_plan *plan, struct load **out, struct error *error) {
    struct load *load = prepare(plan);
    pid_t parent = getpid();
    if (!load)
        return error_set(error, -ENOMEM, "out of memory for a load");
    fflush(NULL); /* or the child might write our buffers again */
    load->pid = fork();
    if (load->pid == 0)
        generator_process(plan, load->shared, parent);
    load->pid_fd = load->pid > 0 ? (int)syscall(SYS_pidfd_open, load->pid, 0) : -1;
    if (load->pid_fd < 0) {
        int failure = error_set(error, -errno, "cannot start the generator: %s", strerror(errno));
        load_free(load);
        return failure;
    }
    *out = load;
    return 0;
}

const struct load_result *load_result(const struct load *load) {
    return &load->shared->result;
}

#define PUT_ASIDE_NS (10 * NS_PER_US) /* see load_starved_ns */

uint64_t load_starved_ns(const struct load_plan *plan, const struct cpu_wait *before,
                         const struct cpu_wait *after) {
    uint64_t waited_ns = after->ns - before->ns;
    uint64_t put_aside_ns =
        CPU_COUNT(&plan->kept_awake) > 0 ? (after->turns - before->turns) * PUT_ASIDE_NS : 0;
    return waited_ns > put_aside_ns ? waited_ns - put_aside_ns : 0;
}

const struct histogram *load_latency(const struct load_result *result) {
    return result->open_loop ? &result->response : &result->service;
}

static void keep_interval(struct load *load, const struct latency_interval *interval) {
    struct load_result *result = &load->shared->result;
    const struct histogram *latency = &interval->latency;
    if (interval->late || result->interval_count == LOAD_INTERVALS_MOST)
        return;
    result->intervals[result->interval_count++] = (struct load_interval){
        .at_ns = turns_own_between_ns(&load->turns, result->window_opened_ns, interval->ended_ns),
        .length_ns =
            turns_own_between_ns(&load->turns, interval->began_ns, interval->ended_ns),
        .requests = interval->requests,
        .errors = interval->errors,
        .p50_ns = histogram_quantile_valid(latency, 0.5) ? histogram_quantile(latency, 0.5) : 0,
        .p99_ns = histogram_quantile_valid(latency, 0.99) ? histogram_quantile(latency, 0.99) : 0,
    };
}

static void fetch_intervals(struct load *load) {
    struct load_result *result = &load->shared->result;
    struct histogram *latency = (struct histogram *)load_latency(result);
    const struct latency_interval *interval;
    while ((interval = interval_read(&load->intervals, result->window_opened_ns))) {
        CHECK(histogram_merge(latency, &interval->latency) == 0);
        keep_interval(load, interval);
        if (load->on_interval && (!interval->late || interval->latency.total > 0))
            load->on_interval(load->on_interval_data, interval);
    }
}

/* Why there is no result, if the process could not say so itself. */
static void keep_end(struct load_result *result, int status) {
    if (!result->finished && result->failure.text[0] == '\0')
        error_set(&result->failure, -EIO, "the generator's process ended by %s %d",
                  WIFSIGNALED(status) ? "signal" : "exit code",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

bool load_wait(struct load *load, int timeout_ms) {
    struct pollfd ended = {.fd = load->pid_fd, .events = POLLIN};
    int status;
    if (load->ended)
        return true;
    bool over = poll(&ended, 1, timeout_ms) > 0;
    fetch_intervals(load);
    if (!over)
        return false;
    if (waitpid(load->pid, &status, 0) != load->pid)
        status = 0;
    load->ended = true;
    keep_end(&load->shared->result, status);
    return true;
}

void load_stop(struct load *load) {
    atomic_store(&load->shared->stopping, true);
}

void load_free(struct load *load) {
    if (load->pid > 0 && !load->ended) {
        kill(load->pid, SIGKILL);
        waitpid(load->pid, NULL, 0);
    }
    if (load->pid_fd >= 0)
        close(load->pid_fd);
    interval_reader_close(&load->intervals);
    munmap(load->shared, load->shared_bytes);
    free(load);
}
