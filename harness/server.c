/* server.c: see server.h. */
#include "harness/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
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
#include "harness/source.h"
#include "workloads/database.h"

enum {
    READY_TIMEOUT_MS = 10000,
    TERM_TIMEOUT_MS = 2000,
    ARGUMENTS_MOST = 64,
    COMMAND_BYTES = 2048,
    MONITOR_TEXT_BYTES = 128
};

/* ---- its command line ---------------------------------------------------------------------------
 */

struct command_line {
    char *arguments[ARGUMENTS_MOST];
    size_t count;
    char text[COMMAND_BYTES]; /* of a foreign command */
};

static void add_argument(struct command_line *line, const char *text) {
    CHECK(line->count + 1 < ARGUMENTS_MOST);
    line->arguments[line->count++] = strdup(text);
    CHECK(line->arguments[line->count - 1]);
}

static void free_command_line(struct command_line *line) {
    while (line->count > 0)
        free(line->arguments[--line->count]);
}

static void add_server_knobs(struct command_line *line, const struct knob_values *values) {
    const struct knob *knob;
    for (size_t i = 0; (knob = knob_at(values, i)); i++) {
        char value[KNOB_TEXT_BYTES], pair[KNOB_TEXT_BYTES * 2];
        if (knob->side != KNOB_SERVER || !values->given[i])
            continue;
        knob_format_plain(knob, values->values[i], value);
        snprintf(pair, sizeof pair, "%s=%s", knob->name, value);
        add_argument(line, "--set");
        add_argument(line, pair);
    }
}

static void own_command_line(const struct server_plan *plan, const char *listen,
                             struct command_line *line) {
    char control[16];
    add_argument(line, "/proc/self/exe");
    add_argument(line, "serve");
    add_argument(line, "--loop");
    add_argument(line, plan->loop);
    add_argument(line, "--workload");
    add_argument(line, plan->workload->name);
    add_argument(line, "--listen");
    add_argument(line, listen);
    snprintf(control, sizeof control, "%d", STDERR_FILENO + 1);
    add_argument(line, "--control-fd");
    add_argument(line, control);
    if (plan->monitor) {
        char monitor[MONITOR_TEXT_BYTES];
        snprintf(monitor, sizeof monitor, "--monitor=%s", plan->monitor);
        add_argument(line, monitor);
    }
    add_server_knobs(line, plan->knobs);
}

/* The text that `{name}` stands for, or null. */
static const char *placeholder_value(const struct knob_values *knobs, const char *name,
                                     size_t length, const char *listen,
                                     char value[KNOB_TEXT_BYTES]) {
    char text[64];
    size_t index;
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    if (strcmp(text, "listen") == 0)
        return listen;
    const struct knob *knob = knob_find(knobs, text, &index);
    if (!knob)
        return NULL;
    knob_format_plain(knob, knobs->values[index], value);
    return value;
}

static int foreign_command_line(const struct server_plan *plan, const char *listen,
                                struct command_line *line, struct error *error) {
    FILE *text = fmemopen(line->text, sizeof line->text, "w");
    CHECK(text);
    fputs("exec ", text);
    for (const char *at = plan->command; *at; at++) {
        char value[KNOB_TEXT_BYTES];
        const char *end = *at == '{' ? strchr(at, '}') : NULL;
        const char *meant =
            end ? placeholder_value(plan->knobs, at + 1, (size_t)(end - at) - 1, listen, value)
                : NULL;
        if (meant) {
            fputs(meant, text);
            at = end;
        } else
            fputc(*at, text);
    }
    bool whole = fputc('\0', text) != EOF && fflush(text) == 0 && !ferror(text);
    fclose(text);
    if (!whole)
        return error_set(error, -E2BIG, "command is too long: %s", plan->command);
    add_argument(line, "/bin/sh");
    add_argument(line, "-c");
    add_argument(line, line->text);
    return 0;
}

/* ---- the child ------------------------------------------------------------------------------- */

static void become_server(const struct server_plan *plan, const struct server_process *server,
                          const struct command_line *line, int control_fd, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (getppid() != parent || dup2(null_fd, STDIN_FILENO) < 0 ||
        dup2(server->output_fd, STDOUT_FILENO) < 0 || dup2(server->output_fd, STDERR_FILENO) < 0)
        _exit(127);
    if (control_fd >= 0) {
        /* dup2 of a descriptor onto itself would leave it close-on-exec. */
        if (control_fd == STDERR_FILENO + 1)
            fcntl(control_fd, F_SETFD, 0);
        else if (dup2(control_fd, STDERR_FILENO + 1) < 0)
            _exit(127);
    }
    if (CPU_COUNT(&plan->cpus) > 0 && sched_setaffinity(0, sizeof plan->cpus, &plan->cpus)) {
        perror("cannot run on its CPUs");
        _exit(127);
    }
    if (plan->database && setenv(DATABASE_VARIABLE, plan->database, 1))
        _exit(127);
    if (plan->directory && chdir(plan->directory)) {
        perror(plan->directory);
        _exit(127);
    }
    execv(line->arguments[0], line->arguments);
    perror(line->arguments[0]);
    _exit(127);
}

/* ---- ready? ---------------------------------------------------------------------------------- */

/* The last line that is not empty, for messages. */
static void last_line(int fd, char *text, size_t size) {
    char output[2048];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof output - 1 ? end - (off_t)sizeof output + 1 : 0;
    ssize_t n = pread(fd, output, sizeof output - 1, from);
    size_t length = n > 0 ? (size_t)n : 0;
    while (length > 0 && (output[length - 1] == '\n' || output[length - 1] == ' '))
        length--;
    output[length] = '\0';
    const char *line = strrchr(output, '\n');
    snprintf(text, size, "%.*s", (int)size - 1, line ? line + 1 : output);
}

bool server_alive(struct server_process *server, struct error *error) {
    int status = 0;
    char said[256];
    if (server->pid > 0 && waitpid(server->pid, &status, WNOHANG) == 0)
        return true;
    if (server->pid > 0) {
        last_line(server->output_fd, said, sizeof said);
        bool signalled = WIFSIGNALED(status);
        error_set(error, -ECHILD, "the server ended by %s %d%s%s",
                  signalled ? "signal" : "exit code",
                  signalled ? WTERMSIG(status) : WEXITSTATUS(status), said[0] ? ": " : "", said);
        kill(-server->pid, SIGKILL); /* what it may have started */
        server->pid = 0;
    }
    return false;
}

static bool accepts_connections(const struct endpoint *address) {
    int fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool connected = connect(fd, (const struct sockaddr *)&address->address, address->length) == 0;
    close(fd);
    return connected;
}

/* Ours prints "listening on ADDR"; a foreign one is ready when it accepts. */
static bool is_ready(const struct server_plan *plan, struct server_process *server) {
    static const char announcement[] = "listening on ";
    char line[ENDPOINT_TEXT_BYTES + sizeof announcement];
    struct error ignored;
    if (!plan->loop)
        return accepts_connections(&server->address);
    ssize_t n = pread(server->output_fd, line, sizeof line - 1, 0);
    char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    if (!end)
        return false;
    *end = '\0';
    return strncmp(line, announcement, sizeof announcement - 1) == 0 &&
           endpoint_parse(line + sizeof announcement - 1, &server->address, &ignored) == 0;
}

static int wait_until_ready(const struct server_plan *plan, struct server_process *server,
                            struct error *error) {
    uint64_t deadline_ns = clock_now_ns() + READY_TIMEOUT_MS * NS_PER_MS;
    struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    while (server_alive(server, error)) {
        /* Alive behind the answer too: a port that was free may have become somebody else's. */
        if (is_ready(plan, server))
            return server_alive(server, error) ? 0 : -ECHILD;
        if (interrupted)
            return error_set(error, -EINTR, "interrupted");
        if (clock_now_ns() > deadline_ns)
            return error_set(error, -ETIMEDOUT, "the server did not accept connections within %d s",
                             READY_TIMEOUT_MS / 1000);
        nanosleep(&pause, NULL);
    }
    return -ECHILD;
}

/* ---- starting and stopping ------------------------------------------------------------------- */

/* Foreign servers cannot tell which port the kernel chose, so one that is free now is given to
 * them. */
static int choose_address(const struct server_plan *plan, struct server_process *server,
                          struct error *error) {
    struct endpoint any;
    if (plan->unix_socket) {
        char text[ENDPOINT_TEXT_BYTES];
        snprintf(server->socket_path, sizeof server->socket_path, "/tmp/loopmark-%d-%llx.sock",
                 getpid(), (unsigned long long)clock_now_ns());
        snprintf(text, sizeof text, "unix:%s", server->socket_path);
        return endpoint_parse(text, &server->address, error);
    }
    int failure = endpoint_parse("127.0.0.1:0", &any, error);
    if (failure || plan->loop) {
        server->address = any;
        return failure;
    }
    int fd = endpoint_listen(&any, 1, &server->address, error);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static int launch(const struct server_plan *plan, struct server_process *server,
                  struct command_line *line, struct error *error) {
    char listen[ENDPOINT_TEXT_BYTES];
    int pair[2] = {-1, -1};
    endpoint_format(&server->address, listen);
    if (plan->loop)
        own_command_line(plan, listen, line);
    else {
        int failure = foreign_command_line(plan, listen, line, error);
        if (failure)
            return failure;
    }
    if (plan->loop && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return error_set(error, -errno, "cannot make a control socket: %s", strerror(errno));
    pid_t parent = getpid();
    fflush(NULL);
    server->pid = fork();
    if (server->pid == 0)
        become_server(plan, server, line, pair[1], parent);
    if (server->pid < 0) {
        server->pid = 0;
        return error_set(error, -errno, "cannot start the server: %s", strerror(errno));
    }
    setpgid(server->pid, server->pid); /* here too: whoever comes first */
    if (pair[1] >= 0)
        close(pair[1]);
    server->control_fd = pair[0];
    return 0;
}

int server_start(const struct server_plan *plan, struct server_process *server,
                 struct error *error) {
    struct command_line line = {.count = 0};
    *server = (struct server_process){.control_fd = -1};
    server->output_fd = memfd_create("server-output", MFD_CLOEXEC);
    if (server->output_fd < 0)
        return error_set(error, -errno, "cannot keep the server's output: %s", strerror(errno));
    fcntl(server->output_fd, F_SETFL, O_APPEND);
    int failure = choose_address(plan, server, error);
    if (!failure)
        failure = launch(plan, server, &line, error);
    free_command_line(&line);
    if (!failure)
        failure = wait_until_ready(plan, server, error);
    if (failure)
        server_stop(server);
    return failure;
}

static bool ended_within(pid_t pid, int timeout_ms) {
    struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

void server_stop(struct server_process *server) {
    if (server->pid > 0) {
        kill(-server->pid, SIGCONT);
        kill(-server->pid, SIGTERM);
        bool ended = ended_within(server->pid, TERM_TIMEOUT_MS);
        kill(-server->pid, SIGKILL);
        if (!ended)
            waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
    if (server->control_fd >= 0)
        close(server->control_fd);
    if (server->output_fd >= 0)
        close(server->output_fd);
    if (server->socket_path[0])
        unlink(server->socket_path);
    server->control_fd = server->output_fd = -1;
}

/* ---- needs ----------------------------------------------------------------------------------- */

static bool runs(const char *const arguments[]) {
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null_fd = open("/dev/null", O_RDWR);
        dup2(null_fd, STDOUT_FILENO);
        dup2(null_fd, STDERR_FILENO);
        execv(arguments[0], (char *const *)arguments);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static bool on_path(const char *name) {
    char file[512];
    if (strchr(name, '/')) {
        snprintf(file, sizeof file, "%s/%s", *name == '/' ? "" : source_directory(), name);
        return access(file, X_OK) == 0;
    }
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (access(file, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

int server_check_need(const char *need, struct error *error) {
    static const char python[] = "python:";
    if (strncmp(need, python, sizeof python - 1) != 0)
        return on_path(need) ? 0 : error_set(error, -ENOENT, "%s is not installed", need);
    char statement[128];
    const char *module = need + sizeof python - 1;
    snprintf(statement, sizeof statement, "import %s", module);
    const char *const arguments[] = {"/usr/bin/python3", "-c", statement, NULL};
    return runs(arguments)
               ? 0
               : error_set(error, -ENOENT, "/usr/bin/python3 has no module %s (Debian: python3-%s)",
                           module, module);
}
