/* private_postgres.c: see private_postgres.h. */
#include "harness/private_postgres.h"

#include <errno.h>

#include "loops/check.h"

#ifndef HAVE_LIBPQ

int private_postgres_start(const struct private_postgres_plan *plan,
                           struct private_postgres *postgres, struct error *error) {
    (void)plan;
    *postgres = (struct private_postgres){.life_fd = -1};
    return error_set(error, -ENOTSUP, "not built: libpq-dev was missing at build time");
}

bool private_postgres_alive(struct private_postgres *postgres, struct error *error) {
    (void)postgres;
    error_set(error, -ENOTSUP, "not built: libpq-dev was missing at build time");
    return false;
}

int private_postgres_restart(struct private_postgres *postgres, struct error *error) {
    (void)postgres;
    return error_set(error, -ENOTSUP, "not built: libpq-dev was missing at build time");
}

void private_postgres_stop(struct private_postgres *postgres) {
    (void)postgres;
}

#else

#include <glob.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/interrupt.h"
#include "harness/postgres_guardian.h"
#include "loops/clock.h"
#include "workloads/drivers/sample_table.h"

enum { READY_TIMEOUT_S = 60, LOOK_MS = 20 };

/* ---- its programs -------------------------------------------------------------------------------
 */

static bool has_programs(const char *directory) {
    static const char *const names[] = {"initdb", "postgres"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        if (access(path, X_OK) != 0)
            return false;
    }
    return true;
}

static bool ask_pg_config(char directory[256]) {
    FILE *answer = popen("pg_config --bindir 2>/dev/null", "re");
    if (!answer)
        return false;
    bool told = fgets(directory, 256, answer) != NULL;
    pclose(answer);
    if (told)
        directory[strcspn(directory, "\n")] = '\0';
    return told && has_programs(directory);
}

/* Where Debian has them; the highest version. */
static bool look_for_versions(char directory[256]) {
    glob_t found;
    directory[0] = '\0';
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (has_programs(found.gl_pathv[i]) && strverscmp(found.gl_pathv[i], directory) > 0)
                snprintf(directory, 256, "%s", found.gl_pathv[i]);
    globfree(&found);
    return directory[0] != '\0';
}

static bool look_along_path(char directory[256]) {
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        snprintf(directory, 256, "%.*s", (int)length, path);
        if (length > 0 && has_programs(directory))
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

static int find_programs(char directory[256], struct error *error) {
    if (ask_pg_config(directory) || look_for_versions(directory) || look_along_path(directory))
        return 0;
    return error_set(error, -ENOENT,
                     "PostgreSQL's server is not installed (Debian: postgresql): no initdb by "
                     "`pg_config --bindir`, in /usr/lib/postgresql/*/bin or on the PATH");
}

/* ---- the guardian -------------------------------------------------------------------------------
 */

/* A socket's path has 107 bytes, and the target is a URI: /tmp instead of what does not fit. */
static const char *temporary_folder(void) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-";
    const char *given = getenv("TMPDIR");
    bool fits = given && *given == '/' && strlen(given) <= 48 && !given[strspn(given, plain)];
    return fits ? given : "/tmp";
}

/* PostgreSQL refuses to run as root. */
static int choose_user(struct postgres_guardian_plan *plan, struct error *error) {
    if (geteuid() != 0)
        return 0;
    const struct passwd *user = getpwnam("postgres");
    if (!user)
        user = getpwnam("nobody");
    if (!user || user->pw_uid == 0)
        return error_set(error, -ENOENT,
                         "PostgreSQL does not run as root, and there is no user "
                         "postgres or nobody");
    plan->user = user->pw_uid;
    plan->group = user->pw_gid;
    return 0;
}

static int start_guardian(const struct postgres_guardian_plan *plan,
                          struct private_postgres *postgres, struct error *error) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, "cannot make a socket pair: %s", strerror(errno));
    pid_t parent = getpid();
    fflush(NULL);
    postgres->guardian = fork();
    if (postgres->guardian == 0)
        postgres_guardian_run(plan, ends[1], parent);
    int err = -errno;
    close(ends[1]);
    if (postgres->guardian < 0) {
        close(ends[0]);
        postgres->guardian = 0;
        return error_set(error, err, "cannot start the guardian: %s", strerror(-err));
    }
    postgres->life_fd = ends[0];
    return 0;
}

/* What it says next, within the time. */
static int hear(struct private_postgres *postgres, uint64_t timeout_ns, struct error *error) {
    struct postgres_guardian_report report;
    uint64_t deadline_ns = clock_now_ns() + timeout_ns;
    struct pollfd polled = {.fd = postgres->life_fd, .events = POLLIN};
    while (poll(&polled, 1, timeout_ns ? LOOK_MS : 0) <= 0) {
        if (interrupted)
            return error_set(error, -EINTR, "interrupted");
        if (clock_now_ns() >= deadline_ns)
            return error_set(error, -ETIMEDOUT, "PostgreSQL was not ready within %d s",
                             READY_TIMEOUT_S);
    }
    if (recv(postgres->life_fd, &report, sizeof report, 0) != sizeof report)
        return error_set(error, -ECHILD, "the guardian of PostgreSQL has ended");
    snprintf(postgres->folder, sizeof postgres->folder, "%s", report.folder);
    postgres->server = report.server;
    return report.failure ? error_set(error, report.failure, "%s", report.error.text) : 0;
}

/* ---- ready --------------------------------------------------------------------------------------
 */

bool private_postgres_alive(struct private_postgres *postgres, struct error *error) {
    if (postgres->server <= 0 && error)
        error_set(error, -ECHILD, "PostgreSQL does not run");
    if (postgres->server <= 0)
        return false;
    int failure = hear(postgres, 0, error);
    if (failure == -ECHILD)
        postgres->server = 0;
    if (failure != -ECHILD && error)
        error->text[0] = '\0';
    return failure != -ECHILD;
}

static int await_answer(struct private_postgres *postgres, struct error *error) {
    uint64_t deadline_ns = clock_now_ns() + READY_TIMEOUT_S * NS_PER_S;
    struct timespec pause = {.tv_nsec = (long)(LOOK_MS * NS_PER_MS)};
    while (PQping(postgres->target) != PQPING_OK) {
        if (!private_postgres_alive(postgres, error))
            return -ECHILD;
        if (interrupted)
            return error_set(error, -EINTR, "interrupted");
        if (clock_now_ns() > deadline_ns)
            return error_set(error, -ETIMEDOUT, "PostgreSQL was not ready within %d s",
                             READY_TIMEOUT_S);
        nanosleep(&pause, NULL);
    }
    return 0;
}

static bool execute(PGconn *connection, const char *sql) {
    PGresult *result = PQexec(connection, sql);
    bool well = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return well;
}

/* Vacuumed as well: or the first to read a row would have to mark it as seen. */
static int fill(struct private_postgres *postgres, struct error *error) {
    PGconn *connection = PQconnectdb(postgres->target);
    bool well = PQstatus(connection) == CONNECTION_OK;
    for (size_t i = 0; well && i < ARRAY_LENGTH(sample_table_sql); i++)
        well = execute(connection, sample_table_sql[i]);
    well = well && execute(connection, "vacuum freeze item") && execute(connection, "checkpoint");
    const char *version = well ? PQparameterStatus(connection, "server_version") : NULL;
    const char *words = PQerrorMessage(connection);
    snprintf(postgres->version, sizeof postgres->version, "%s", version ? version : "");
    int failure =
        well ? 0 : error_set(error, -EIO, "PostgreSQL: %.*s", (int)strcspn(words, "\n"), words);
    PQfinish(connection);
    return failure;
}

/* ---- beginning and end --------------------------------------------------------------------------
 */

int private_postgres_start(const struct private_postgres_plan *given,
                           struct private_postgres *postgres, struct error *error) {
    struct postgres_guardian_plan plan = {.cpus = given->cpus,
                                          .max_connections = given->max_connections};
    *postgres = (struct private_postgres){.life_fd = -1};
    if (plan.max_connections == 0)
        plan.max_connections = PRIVATE_POSTGRES_CONNECTIONS;
    snprintf(plan.folder, sizeof plan.folder, "%s/loopmark-postgres-XXXXXX", temporary_folder());
    int failure = find_programs(plan.programs, error);
    if (!failure)
        failure = choose_user(&plan, error);
    if (!failure)
        failure = start_guardian(&plan, postgres, error);
    if (!failure)
        failure = hear(postgres, READY_TIMEOUT_S * NS_PER_S, error);
    if (!failure) {
        snprintf(postgres->target, sizeof postgres->target,
                 "postgresql:///postgres?host=%s&port=5432&user=postgres", postgres->folder);
        failure = await_answer(postgres, error);
    }
    if (!failure)
        failure = fill(postgres, error);
    if (failure)
        private_postgres_stop(postgres);
    return failure;
}

int private_postgres_restart(struct private_postgres *postgres, struct error *error) {
    char request = GUARDIAN_RESTART;
    (void)private_postgres_alive(postgres, NULL); /* what was said before is old */
    if (send(postgres->life_fd, &request, 1, MSG_NOSIGNAL) != 1)
        return error_set(error, -ECHILD, "the guardian of PostgreSQL has ended");
    int failure = hear(postgres, READY_TIMEOUT_S * NS_PER_S, error);
    return failure ? failure : await_answer(postgres, error);
}

void private_postgres_stop(struct private_postgres *postgres) {
    int status = 0;
    if (postgres->guardian <= 0)
        return;
    close(postgres->life_fd);
    while (waitpid(postgres->guardian, &status, 0) < 0 && errno == EINTR)
        ;
    if (postgres->folder[0] && access(postgres->folder, F_OK) == 0)
        postgres_guardian_remove(postgres->folder); /* the guardian was killed */
    *postgres = (struct private_postgres){.life_fd = -1};
}

#endif
