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

const char *const load_error_names[LOAD_ERRORS] = {
    [LOAD_CONNECT] = "connect", [LOAD_CONNECT_TIMEOUT] = "connect_timeout",
    [LOAD_TIMEOUT] = "timeout", [LOAD_RESET] = "reset",
    [LOAD_CLOSED] = "closed",   [LOAD_WRONG_ANSWER] = "wrong_answer",
    [LOAD_OTHER] = "other",
};

struct shared {
    struct load_result result;
    atomic_bool stopping;
};

struct load {
    struct shared *shared;
    pid_t pid;
    int pid_fd;
    bool ended;
};

static void generator_process(const struct load_plan *plan, struct shared *shared, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent decides what ^C means */
    signal(SIGTERM, SIG_DFL);
    if (CPU_COUNT(&plan->cpus) > 0 && sched_setaffinity(0, sizeof plan->cpus, &plan->cpus)) {
        error_set(&shared->result.failure, -errno, "cannot run the generator on its CPUs: %s",
                  strerror(errno));
        _exit(1);
    }
    prctl(PR_SET_TIMERSLACK, 1ul); /* threads inherit it */
    limits_raise_open_files();
    generator_run(plan, &shared->result, &shared->stopping);
    _exit(0);
}

int load_start(const struct load_plan *plan, struct load **out, struct error *error) {
    struct load *load = calloc(1, sizeof *load);
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t parent = getpid();
    if (!load || shared == MAP_FAILED) {
        free(load);
        return error_set(error, -ENOMEM, "out of memory for a load");
    }
    load->shared = shared;
    fflush(NULL); /* or the child might write our buffers again */
    load->pid = fork();
    if (load->pid == 0)
        generator_process(plan, shared, parent);
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

bool load_wait(struct load *load, int timeout_ms) {
    struct pollfd ended = {.fd = load->pid_fd, .events = POLLIN};
    int status;
    if (load->ended)
        return true;
    if (poll(&ended, 1, timeout_ms) <= 0)
        return false;
    if (waitpid(load->pid, &status, 0) != load->pid)
        status = 0;
    load->ended = true;
    struct load_result *result = &load->shared->result;
    if (!result->finished && result->failure.text[0] == '\0')
        error_set(&result->failure, -EIO, "the generator's process ended by %s %d",
                  WIFSIGNALED(status) ? "signal" : "exit code",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
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
    munmap(load->shared, sizeof *load->shared);
    free(load);
}
