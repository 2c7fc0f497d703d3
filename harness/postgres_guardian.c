/* postgres_guardian.c: see postgres_guardian.h.
 *
 * Everything of the server descends from the guardian: PostgreSQL gives each of its processes a
 * session of its own, so that no signal to a group reaches all; but as a subreaper the guardian
 * remains an ancestor of those whose parent has gone. */
#include "harness/postgres_guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/private_postgres.h"
#include "harness/usage.h"
#include "loops/check.h"
#include "loops/clock.h"

enum { FAST_TIMEOUT_MS = 3000, QUIT_TIMEOUT_MS = 2000, KILL_TIMEOUT_MS = 2000, LOOK_MS = 5 };

struct guardian {
    struct postgres_guardian_plan plan; /* .folder: as it was made */
    int life_fd, parent_fd;
    pid_t server; /* 0: none runs */
};

const struct private_postgres_setting private_postgres_settings[] = {
    /* Nobody else's business. */
    {"listen_addresses", ""},
    {"port", "5432"}, /* only a part of the socket's name */
    {"unix_socket_permissions", "0700"},
    {"superuser_reserved_connections", "0"},
    /* The data may be lost at any time: nothing waits for a disk. */
    {"fsync", "off"},
    {"synchronous_commit", "off"},
    {"full_page_writes", "off"},
    {"wal_level", "minimal"},
    {"max_wal_senders", "0"},
    {"max_wal_size", "1GB"},
    /* Nothing begins to work by itself while something is measured. */
    {"autovacuum", "off"},
    {"checkpoint_timeout", "1h"},
    {"max_logical_replication_workers", "0"},
    {"jit", "off"},
    {"max_parallel_workers_per_gather", "0"},
    {"shared_buffers", "128MB"},
    /* Its memory goes with the folder, even after SIGKILL. */
    {"dynamic_shared_memory_type", "mmap"},
    {"huge_pages", "off"},
    {NULL, NULL},
};

/* ---- the folder ---------------------------------------------------------------------------------
 */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    (void)kind;
    (void)place;
    (void)remove(path); /* what cannot be removed must not keep the rest */
    return 0;
}

void postgres_guardian_remove(const char *folder) {
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int make_folder(struct guardian *guardian, struct error *error) {
    struct postgres_guardian_plan *plan = &guardian->plan;
    if (!mkdtemp(plan->folder)) {
        int err = -errno;
        error_set(error, err, "%s: cannot make a folder: %s", plan->folder, strerror(-err));
        plan->folder[0] = '\0';
        return err;
    }
    if (plan->user && chown(plan->folder, plan->user, plan->group))
        return error_set(error, -errno, "%s: chown: %s", plan->folder, strerror(errno));
    return 0;
}

/* What the server said last, for messages. */
static void last_line(const struct guardian *guardian, char text[256]) {
    char path[96], output[1024];
    snprintf(path, sizeof path, "%s/log", guardian->plan.folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END), most = sizeof output - 1;
    ssize_t n = fd < 0 ? 0 : pread(fd, output, sizeof output - 1, end > most ? end - most : 0);
    if (fd >= 0)
        close(fd);
    while (n > 0 && (output[n - 1] == '\n' || output[n - 1] == ' '))
        n--;
    output[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(output, '\n');
    snprintf(text, 256, "%.255s", line ? line + 1 : output);
}

/* ---- its children -------------------------------------------------------------------------------
 */

/* The parent-death signal is set last: changing the user clears it. It is SIGQUIT, on which the
 * server ends at once: without a guardian there is nobody to do it later. */
static _Noreturn void become(const struct guardian *guardian, char *const arguments[],
                             pid_t parent) {
    const struct postgres_guardian_plan *plan = &guardian->plan;
    static const char *const variables[] = {"PGDATA",     "PGHOST",    "PGPORT", "PGUSER",
                                            "PGDATABASE", "PGOPTIONS", "LC_ALL", "PGTZ"};
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(127);
    for (size_t i = 0; i < ARRAY_LENGTH(variables); i++)
        unsetenv(variables[i]);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    if (plan->user && (fchown(log, plan->user, plan->group) || setgroups(1, &plan->group) ||
                       setgid(plan->group) || setuid(plan->user))) {
        perror("cannot become an unprivileged user");
        _exit(127);
    }
    if (CPU_COUNT(&plan->cpus) > 0 && sched_setaffinity(0, sizeof plan->cpus, &plan->cpus)) {
        perror("cannot run on its CPUs");
        _exit(127);
    }
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() == parent) {
        execv(arguments[0], arguments);
        perror(arguments[0]);
    }
    _exit(127);
}

static pid_t start(const struct guardian *guardian, char *const arguments[]) {
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(guardian, arguments, parent);
    return pid;
}

static void nap(void) {
    struct timespec pause = {.tv_nsec = (long)(LOOK_MS * NS_PER_MS)};
    nanosleep(&pause, NULL);
}

static bool ended_within(pid_t pid, int timeout_ms, int *status) {
    for (int waited_ms = 0; waitpid(pid, status, WNOHANG) == 0; waited_ms += LOOK_MS) {
        if (waited_ms >= timeout_ms)
            return false;
        nap();
    }
    return true;
}

/* All descendants; a stopped one could not even end. */
static void signal_all(int number) {
    pid_t pids[USAGE_PROCESSES], own = getpid();
    int count = usage_tree("/", own, pids, USAGE_PROCESSES);
    for (int i = 0; i < count; i++)
        if (pids[i] != own)
            kill(pids[i], number);
}

static void kill_the_rest(void) {
    for (int waited_ms = 0; waited_ms < KILL_TIMEOUT_MS; waited_ms += LOOK_MS) {
        signal_all(SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return;
        nap();
    }
}

/* After SIGKILL its System V segment stays. The last line but one or two of postmaster.pid names
 * it, as "KEY ID"; a server that ends by itself removes both. */
static void remove_shared_memory(const struct guardian *guardian) {
    char path[112], line[256];
    unsigned long key;
    int id;
    snprintf(path, sizeof path, "%s/data/postmaster.pid", guardian->plan.folder);
    FILE *file = fopen(path, "re");
    for (int number = 1; file && fgets(line, sizeof line, file); number++)
        if (number == 7 && sscanf(line, "%lu %d", &key, &id) == 2)
            shmctl(id, IPC_RMID, NULL);
    if (file)
        fclose(file);
}

static void end_server(struct guardian *guardian) {
    static const struct {
        int signal, timeout_ms;
    } ways[] = {{SIGINT, FAST_TIMEOUT_MS}, {SIGQUIT, QUIT_TIMEOUT_MS}};
    bool ended = guardian->server <= 0;
    for (size_t i = 0; i < ARRAY_LENGTH(ways) && !ended; i++) {
        signal_all(SIGCONT);
        kill(guardian->server, ways[i].signal);
        ended = ended_within(guardian->server, ways[i].timeout_ms, NULL);
    }
    guardian->server = 0;
    kill_the_rest();
    remove_shared_memory(guardian);
}

/* ---- what it is for -----------------------------------------------------------------------------
 */

/* Whether nobody needs the server any more, or the wait for a request is over. */
enum news { NEWS_NONE, NEWS_REQUEST, NEWS_CHILD, NEWS_ABANDONED };

static enum news await_news(const struct guardian *guardian, int child_fd, int timeout_ms) {
    struct pollfd polled[] = {{.fd = guardian->life_fd, .events = POLLIN},
                              {.fd = guardian->parent_fd, .events = POLLIN},
                              {.fd = child_fd, .events = POLLIN}};
    char request;
    if (poll(polled, ARRAY_LENGTH(polled), timeout_ms) <= 0)
        return NEWS_NONE;
    if (polled[1].revents)
        return NEWS_ABANDONED;
    if (polled[0].revents)
        return recv(guardian->life_fd, &request, 1, MSG_DONTWAIT) == 1 ? NEWS_REQUEST
                                                                       : NEWS_ABANDONED;
    return NEWS_CHILD;
}

static int make_cluster(struct guardian *guardian, struct error *error) {
    char program[280], data[96], said[256];
    char *const arguments[] = {program,  "--pgdata",  data,         "--username", "postgres",
                               "--auth", "trust",     "--encoding", "UTF8",       "--locale",
                               "C",      "--no-sync", NULL};
    snprintf(program, sizeof program, "%s/initdb", guardian->plan.programs);
    snprintf(data, sizeof data, "%s/data", guardian->plan.folder);
    int status;
    pid_t pid = start(guardian, arguments);
    if (pid < 0)
        return error_set(error, -errno, "cannot start initdb: %s", strerror(errno));
    while (!ended_within(pid, 0, &status))
        if (await_news(guardian, -1, 4 * LOOK_MS) == NEWS_ABANDONED)
            return error_set(error, -EINTR, "interrupted");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    last_line(guardian, said);
    return error_set(error, -ECHILD, "initdb failed: %s", said);
}

static int start_server(struct guardian *guardian, struct error *error) {
    enum { SETTINGS_MOST = ARRAY_LENGTH(private_postgres_settings) + 1 };
    char program[280], data[96], settings[SETTINGS_MOST][128];
    char *arguments[6 + 2 * SETTINGS_MOST] = {program, "-D", data, "-k", guardian->plan.folder};
    size_t count = 5, i = 0;
    snprintf(program, sizeof program, "%s/postgres", guardian->plan.programs);
    snprintf(data, sizeof data, "%s/data", guardian->plan.folder);
    for (; private_postgres_settings[i].name; i++)
        snprintf(settings[i], sizeof settings[i], "%s=%s", private_postgres_settings[i].name,
                 private_postgres_settings[i].value);
    snprintf(settings[i], sizeof settings[i], "max_connections=%u", guardian->plan.max_connections);
    for (size_t k = 0; k <= i; k++) {
        arguments[count++] = "-c";
        arguments[count++] = settings[k];
    }
    guardian->server = start(guardian, arguments);
    if (guardian->server > 0)
        return 0;
    return error_set(error, -errno, "cannot start postgres: %s", strerror(errno));
}

static void report(const struct guardian *guardian, int failure, const struct error *error) {
    struct postgres_guardian_report message = {
        .failure = failure, .server = guardian->server, .error = *error};
    snprintf(message.folder, sizeof message.folder, "%s", guardian->plan.folder);
    (void)send(guardian->life_fd, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void report_end(struct guardian *guardian, int status) {
    struct error error;
    char said[256];
    bool signalled = WIFSIGNALED(status);
    last_line(guardian, said);
    guardian->server = 0;
    report(guardian,
           error_set(&error, -ECHILD, "PostgreSQL ended by %s %d: %s",
                     signalled ? "signal" : "exit code",
                     signalled ? WTERMSIG(status) : WEXITSTATUS(status), said),
           &error);
}

static void restart(struct guardian *guardian) {
    struct error error = {""};
    end_server(guardian);
    int failure = start_server(guardian, &error);
    report(guardian, failure, &error);
}

static void watch_over(struct guardian *guardian) {
    enum news news;
    do {
        int status, server_fd = -1;
        if (guardian->server > 0)
            server_fd = (int)syscall(SYS_pidfd_open, guardian->server, 0);
        /* Without pidfd_open (Linux before 5.3) it is looked at from time to time. */
        news = await_news(guardian, server_fd, server_fd < 0 && guardian->server > 0 ? 500 : -1);
        if (server_fd >= 0)
            close(server_fd);
        if (news == NEWS_REQUEST)
            restart(guardian);
        else if (guardian->server > 0 && ended_within(guardian->server, 0, &status))
            report_end(guardian, status);
    } while (news != NEWS_ABANDONED);
}

/* ---- beginning and end --------------------------------------------------------------------------
 */

/* Keeps one descriptor of all it was born with. The parent is watched beside the socket, whose
 * other end may live on in some other child of it. */
static bool detach(struct guardian *guardian, int life_fd, pid_t parent) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGALRM};
    sigset_t none;
    setsid();
    prctl(PR_SET_NAME, "pg-guardian");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    guardian->life_fd = STDERR_FILENO + 1;
    if (life_fd != guardian->life_fd && dup2(life_fd, guardian->life_fd) < 0)
        return false;
    fcntl(guardian->life_fd, F_SETFD, FD_CLOEXEC);
    closefrom(guardian->life_fd + 1);
    int null_fd = open("/dev/null", O_RDWR);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null_fd, fd) < 0)
            return false;
    if (null_fd > guardian->life_fd)
        close(null_fd);
    guardian->parent_fd = (int)syscall(SYS_pidfd_open, parent, 0);
    return getppid() == parent;
}

_Noreturn void postgres_guardian_run(const struct postgres_guardian_plan *plan, int life_fd,
                                     pid_t parent) {
    struct guardian guardian = {.plan = *plan};
    struct error error = {""};
    if (!detach(&guardian, life_fd, parent))
        _exit(1);
    int failure = make_folder(&guardian, &error);
    if (!failure && chdir(guardian.plan.folder))
        failure = error_set(&error, -errno, "%s: %s", guardian.plan.folder, strerror(errno));
    if (!failure)
        failure = make_cluster(&guardian, &error);
    if (!failure)
        failure = start_server(&guardian, &error);
    report(&guardian, failure, &error);
    if (!failure)
        watch_over(&guardian);
    end_server(&guardian);
    if (chdir("/") == 0 && guardian.plan.folder[0])
        postgres_guardian_remove(guardian.plan.folder);
    _exit(0);
}
