/* sqlite.c: SQLite on a pool of threads; see sqlite.h.
 *
 * A connection has at most one job under way: to open, to run its first query, or to close. While
 * it has, what the job works with is the thread's; otherwise it is the loop's. Only `interrupted`
 * belongs to both, always.
 *
 * How SQLite behaves, and what that made of this file:
 * - a connection that only one thread uses at a time needs no locks of its own:
 *   SQLITE_OPEN_NOMUTEX. sqlite3_interrupt may come from any thread while the handle is open
 * - an interrupt that comes just before a statement's first step is forgotten. So what counts is a
 *   flag of ours, which the progress handler looks at; sqlite3_interrupt gets there faster
 * - parameters called $1 are numbered in the order of their appearance, not by their names
 * - switching to WAL does not ask the busy handler when two connections try at a time
 * - a file that may not be written is opened to be read, without a word */
#include "workloads/drivers/sqlite.h"

#include <errno.h>

/* sqlite.h says what it is set to. */
#define SQLITE_FACTS                                                                               \
    .name = "sqlite",                                                                              \
    .summary = "SQLite on a thread pool: WAL, synchronous=NORMAL, busy_timeout=5000",              \
    .schemes = schemes, .depth_most = 1024

static const char *const schemes[] = {"sqlite", NULL};

#ifndef HAVE_SQLITE3

static bool sqlite_available(struct error *reason) {
    error_set(reason, -ENOTSUP, "not built: libsqlite3-dev was missing at build time");
    return false;
}

const struct db_driver sqlite_driver = {SQLITE_FACTS, .available = sqlite_available};

#else

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "loops/threadpool.h"

#define BUSY_NS (5 * NS_PER_S)
enum { OPERATIONS_BETWEEN_LOOKS = 1000, ROWS_BYTES = 4096 };

enum state { OPENING, OPEN, CLOSING };

struct prepared {
    const struct db_statement *statement; /* null: the place is free */
    sqlite3_stmt *handle;
    int places[DB_PARAMETERS_MOST]; /* SQLite's number of $1, $2 … */
};

struct sqlite_connection {
    struct db_connection *connection;
    LIST_ENTRY(sqlite_connection) entry;
    enum state state;
    bool busy; /* a job is under way, or its end is being told */
    struct db_query *first, *last;
    struct threadpool_job job;

    /* The job's. */
    sqlite3 *handle;
    struct prepared prepared[DB_STATEMENTS_MOST];
    char *rows; /* of the result: for each column its size, NULL_SIZE for NULL, and its bytes */
    size_t rows_size, rows_capacity;
    int columns;
    int err;
    struct error words;
    uint64_t prepares;
    uint64_t busy_since_ns;

    /* Everybody's. */
    atomic_bool interrupted;
    pthread_mutex_t mutex;
    pthread_cond_t interrupt;
};

static const size_t NULL_SIZE = SIZE_MAX;

struct sqlite_db {
    struct db db;
    struct threadpool *pool;
    LIST_HEAD(, sqlite_connection) connections;
    char path[];
};

static struct sqlite_db *db_of(const struct sqlite_connection *own) {
    return CONTAINER_OF(own->connection->db, struct sqlite_db, db);
}

static struct sqlite_connection *of_job(struct threadpool_job *job) {
    return CONTAINER_OF(job, struct sqlite_connection, job);
}

/* ---- interrupting ----------------------------------------------------------------------------
 */

/* On the loop's thread, in any state. */
static void interrupt(struct sqlite_connection *own) {
    pthread_mutex_lock(&own->mutex);
    atomic_store(&own->interrupted, true);
    pthread_cond_signal(&own->interrupt);
    pthread_mutex_unlock(&own->mutex);
    if (own->state == OPEN) /* else the handle may not be there */
        sqlite3_interrupt(own->handle);
}

/* Sleeps; true: was interrupted. */
static bool sleep_until(struct sqlite_connection *own, uint64_t ns) {
    struct timespec until = clock_timespec(ns);
    int timed_out = 0;
    pthread_mutex_lock(&own->mutex);
    while (!atomic_load(&own->interrupted) && !timed_out)
        timed_out = pthread_cond_timedwait(&own->interrupt, &own->mutex, &until);
    pthread_mutex_unlock(&own->mutex);
    return atomic_load(&own->interrupted);
}

static int look_for_interrupt(void *data) {
    const struct sqlite_connection *own = data;
    return atomic_load_explicit(&own->interrupted, memory_order_relaxed);
}

/* Waits a little longer each time, as sqlite3_busy_timeout does, but can be interrupted. */
static int wait_while_busy(void *data, int tries) {
    struct sqlite_connection *own = data;
    uint64_t now_ns = clock_now_ns(), wait_ms = tries < 25 ? (uint64_t)tries + 1 : 25;
    if (tries == 0)
        own->busy_since_ns = now_ns;
    if (now_ns - own->busy_since_ns >= BUSY_NS)
        return false;
    return !sleep_until(own, now_ns + wait_ms * NS_PER_MS);
}

static void pg_sleep(sqlite3_context *context, int count, sqlite3_value **arguments) {
    (void)count;
    double seconds = sqlite3_value_double(arguments[0]);
    if (seconds > 1e6)
        seconds = 1e6;
    if (seconds > 0 &&
        sleep_until(sqlite3_user_data(context), clock_now_ns() + (uint64_t)(seconds * NS_PER_S)))
        sqlite3_result_error_code(context, SQLITE_INTERRUPT);
    else
        sqlite3_result_text(context, "", 0, SQLITE_STATIC);
}

/* ---- on a thread: a query ---------------------------------------------------------------------
 */

static int fail(struct sqlite_connection *own, int err) {
    return error_set(&own->words, err, "%s", sqlite3_errmsg(own->handle));
}

static int find_places(struct sqlite_connection *own, struct prepared *prepared) {
    static const char *const names[DB_PARAMETERS_MOST] = {"$1", "$2", "$3", "$4"};
    CHECK(prepared->statement->parameters <= DB_PARAMETERS_MOST);
    for (int i = 0; i < prepared->statement->parameters; i++) {
        prepared->places[i] = sqlite3_bind_parameter_index(prepared->handle, names[i]);
        if (prepared->places[i] == 0)
            return error_set(&own->words, -EIO, "%s: there is no parameter %s",
                             prepared->statement->name, names[i]);
    }
    return 0;
}

static void unprepare(struct prepared *prepared) {
    sqlite3_finalize(prepared->handle);
    *prepared = (struct prepared){0};
}

static int prepare(struct sqlite_connection *own, const struct db_statement *statement,
                   unsigned flags, struct prepared *prepared) {
    *prepared = (struct prepared){.statement = statement};
    int code = sqlite3_prepare_v3(own->handle, statement->sql, -1, flags, &prepared->handle, NULL);
    int failure = 0;
    if (code != SQLITE_OK)
        failure = fail(own, -EIO);
    else if (!prepared->handle)
        failure = error_set(&own->words, -EIO, "%s: there is no SQL in it", statement->name);
    else
        failure = find_places(own, prepared);
    if (failure)
        unprepare(prepared);
    return failure;
}

static struct prepared *find_prepared(struct sqlite_connection *own,
                                      const struct db_statement *statement) {
    for (size_t i = 0; i < DB_STATEMENTS_MOST; i++)
        if (own->prepared[i].statement == statement)
            return &own->prepared[i];
    return NULL;
}

/* Prepared before, or now, to be kept. */
static int get_prepared(struct sqlite_connection *own, const struct db_statement *statement,
                        struct prepared **prepared) {
    *prepared = find_prepared(own, statement);
    if (*prepared)
        return 0;
    *prepared = find_prepared(own, NULL);
    CHECK(*prepared); /* more than DB_STATEMENTS_MOST */
    own->prepares++;
    return prepare(own, statement, SQLITE_PREPARE_PERSISTENT, *prepared);
}

static bool make_room(struct sqlite_connection *own, size_t size) {
    size_t capacity = own->rows_capacity ? own->rows_capacity : ROWS_BYTES;
    while (capacity - own->rows_size < size)
        capacity *= 2;
    if (capacity == own->rows_capacity)
        return true;
    char *rows = realloc(own->rows, capacity);
    if (!rows)
        return false;
    own->rows = rows;
    own->rows_capacity = capacity;
    return true;
}

/* Asked for as text first: SQLite then converts before it tells the size. */
static bool collect_column(struct sqlite_connection *own, sqlite3_stmt *handle, int column) {
    bool null = sqlite3_column_type(handle, column) == SQLITE_NULL;
    const unsigned char *bytes = sqlite3_column_text(handle, column);
    size_t size = null ? 0 : (size_t)sqlite3_column_bytes(handle, column);
    if ((!null && !bytes) || !make_room(own, sizeof size + size))
        return false;
    memcpy(own->rows + own->rows_size, null ? &NULL_SIZE : &size, sizeof size);
    own->rows_size += sizeof size;
    if (size > 0)
        memcpy(own->rows + own->rows_size, bytes, size);
    own->rows_size += size;
    return true;
}

static int collect_rows(struct sqlite_connection *own, sqlite3_stmt *handle) {
    int code;
    own->columns = sqlite3_column_count(handle);
    if (own->columns > DB_COLUMNS_MOST)
        own->columns = DB_COLUMNS_MOST;
    while ((code = sqlite3_step(handle)) == SQLITE_ROW)
        for (int i = 0; i < own->columns; i++)
            if (!collect_column(own, handle, i))
                return error_set(&own->words, -EIO, "out of memory");
    return code == SQLITE_DONE ? 0 : fail(own, -EIO);
}

static int run_prepared(struct sqlite_connection *own, const struct db_query *query,
                        const struct prepared *prepared) {
    for (int i = 0; i < query->statement->parameters; i++)
        CHECK(sqlite3_bind_int64(prepared->handle, prepared->places[i], query->parameters[i]) ==
              SQLITE_OK);
    int failure = collect_rows(own, prepared->handle);
    sqlite3_reset(prepared->handle); /* it repeats the error of the step */
    return failure;
}

static int run_query(struct sqlite_connection *own, const struct db_query *query) {
    struct prepared once, *prepared = &once;
    bool kept = own->connection->db->options.prepare;
    own->rows_size = 0;
    if (atomic_load(&own->interrupted))
        return error_set(&own->words, -EIO, "interrupted");
    int failure = kept ? get_prepared(own, query->statement, &prepared)
                       : prepare(own, query->statement, 0, prepared);
    if (failure)
        return failure;
    failure = run_prepared(own, query, prepared);
    if (!kept)
        unprepare(prepared);
    return failure;
}

static void query_work(struct threadpool_job *job) {
    struct sqlite_connection *own = of_job(job);
    own->err = run_query(own, own->first);
}

/* ---- on a thread: opening and closing ---------------------------------------------------------
 */

static int note_mode(void *is_wal, int count, char **values, char **names) {
    (void)names;
    *(bool *)is_wal = count == 1 && values[0] && strcmp(values[0], "wal") == 0;
    return 0;
}

static int switch_to_wal(struct sqlite_connection *own) {
    bool is_wal = false;
    int code, tries = 0;
    do
        code = sqlite3_exec(own->handle, "PRAGMA journal_mode=WAL", note_mode, &is_wal, NULL);
    while ((code & 0xff) == SQLITE_BUSY && wait_while_busy(own, tries++));
    if (code != SQLITE_OK)
        return fail(own, -EIO);
    return is_wal ? 0 : error_set(&own->words, -EIO, "the journal cannot be a WAL here");
}

static int open_handle(struct sqlite_connection *own) {
    const struct sqlite_db *db = db_of(own);
    int flags = db->db.options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int code = sqlite3_open_v2(db->path, &own->handle,
                               flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (!own->handle)
        return error_set(&own->words, -ENOMEM, "out of memory");
    if (code != SQLITE_OK) {
        int number = sqlite3_system_errno(own->handle);
        return error_set(&own->words, number ? -number : -EIO, "%s: %s (%s)", db->path,
                         sqlite3_errmsg(own->handle), number ? strerror(number) : "no errno");
    }
    if (!db->db.options.read_only && sqlite3_db_readonly(own->handle, "main"))
        return error_set(&own->words, -EACCES, "%s: may only be read", db->path);
    return 0;
}

/* Reads the schema, too: only now does SQLite see whether the file is a database. */
static int set_up(struct sqlite_connection *own) {
    sqlite3_busy_handler(own->handle, wait_while_busy, own);
    sqlite3_progress_handler(own->handle, OPERATIONS_BETWEEN_LOOKS, look_for_interrupt, own);
    int failure = own->connection->db->options.read_only ? 0 : switch_to_wal(own);
    if (failure)
        return failure;
    bool fine =
        sqlite3_create_function(own->handle, "pg_sleep", 1, SQLITE_UTF8, own, pg_sleep, NULL,
                                NULL) == SQLITE_OK &&
        sqlite3_exec(own->handle, "PRAGMA synchronous=NORMAL; SELECT count(*) FROM sqlite_master",
                     NULL, NULL, NULL) == SQLITE_OK;
    return fine ? 0 : fail(own, -EIO);
}

/* A handle that failed to open has to be closed, too. */
static void close_handle(struct sqlite_connection *own) {
    for (size_t i = 0; i < DB_STATEMENTS_MOST; i++)
        unprepare(&own->prepared[i]);
    CHECK(sqlite3_close(own->handle) == SQLITE_OK);
    own->handle = NULL;
}

static void open_work(struct threadpool_job *job) {
    struct sqlite_connection *own = of_job(job);
    own->err = open_handle(own);
    if (own->err == 0)
        own->err = set_up(own);
    if (own->err)
        close_handle(own);
}

static void close_work(struct threadpool_job *job) {
    close_handle(of_job(job));
}

/* ---- on the loop: queries ---------------------------------------------------------------------
 */

/* The pool refuses nothing: it has no bound of its own, as each connection has one job. */
static void start_job(struct sqlite_connection *own, void (*work)(struct threadpool_job *job),
                      void (*done)(struct threadpool_job *job, int err)) {
    own->busy = true;
    own->job.work = work;
    own->job.done = done;
    CHECK(threadpool_submit(db_of(own)->pool, own->connection->db->loop, &own->job) == 0);
}

static void end_query(struct sqlite_connection *own, int err) {
    struct db_query *query = own->first;
    own->first = query->next;
    own->connection->in_flight--;
    own->connection->db->counters.queries++;
    query->on_done(query, err);
}

static void free_connection(struct sqlite_connection *own) {
    own->connection->driver_state = NULL;
    LIST_REMOVE(own, entry);
    pthread_cond_destroy(&own->interrupt);
    pthread_mutex_destroy(&own->mutex);
    free(own->rows);
    free(own);
}

/* The connection and the database may be gone when `closed` returns. */
static void tell_closed(struct sqlite_connection *own, int err) {
    struct db_connection *connection = own->connection;
    free_connection(own);
    connection->events->closed(connection, err);
}

static void close_done(struct threadpool_job *job, int err) {
    (void)err;
    tell_closed(of_job(job), 0);
}

static void query_done(struct threadpool_job *job, int err);

/* After a job's end was told. */
static void go_on(struct sqlite_connection *own) {
    own->busy = false;
    if (own->state == CLOSING) {
        while (own->first)
            end_query(own, -ECONNRESET);
        start_job(own, close_work, close_done);
    } else if (own->first) {
        atomic_store(&own->interrupted, false);
        start_job(own, query_work, query_done);
    }
}

static void tell_rows(const struct sqlite_connection *own, struct db_query *query) {
    struct db_value values[DB_COLUMNS_MOST];
    const char *at = own->rows, *end = at + own->rows_size;
    while (at != end) {
        for (int i = 0; i < own->columns; i++) {
            size_t size;
            memcpy(&size, at, sizeof size);
            at += sizeof size;
            if (size == NULL_SIZE) {
                values[i] = (struct db_value){.bytes = NULL};
                continue;
            }
            values[i] = (struct db_value){.bytes = at, .size = size};
            at += size;
        }
        query->rows++;
        if (query->on_row)
            query->on_row(query, values, own->columns);
    }
}

static void query_done(struct threadpool_job *job, int err) {
    (void)err;
    struct sqlite_connection *own = of_job(job);
    own->connection->db->counters.prepares += own->prepares;
    own->prepares = 0;
    if (own->state == OPEN) {
        if (own->err)
            own->connection->error = own->words;
        else
            tell_rows(own, own->first);
        end_query(own, own->err);
    }
    go_on(own);
}

/* ---- on the loop: connections -----------------------------------------------------------------
 */

static void open_done(struct threadpool_job *job, int err) {
    (void)err;
    struct sqlite_connection *own = of_job(job);
    struct db_connection *connection = own->connection;
    bool wanted = own->state == OPENING;
    if (own->err && wanted) {
        own->state = CLOSING;
        connection->error = own->words;
        connection->events->opened(connection, own->err);
        tell_closed(own, own->err);
        return;
    }
    if (own->err) {
        tell_closed(own, 0);
        return;
    }
    if (wanted) {
        own->state = OPEN;
        connection->events->opened(connection, 0);
    }
    go_on(own);
}

static struct sqlite_connection *new_connection(struct db_connection *connection) {
    struct sqlite_connection *own = calloc(1, sizeof *own);
    pthread_condattr_t monotonic;
    if (!own)
        return NULL;
    own->connection = connection;
    own->state = OPENING;
    pthread_mutex_init(&own->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* clock_now_ns() */
    pthread_cond_init(&own->interrupt, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return own;
}

static int sqlite_connect(struct db *base, struct db_connection *connection) {
    struct sqlite_db *db = CONTAINER_OF(base, struct sqlite_db, db);
    struct sqlite_connection *own = new_connection(connection);
    if (!own)
        return -ENOMEM;
    connection->db = base;
    connection->in_flight = 0;
    connection->error.text[0] = '\0';
    connection->driver_state = own;
    base->counters.connects++;
    LIST_INSERT_HEAD(&db->connections, own, entry);
    start_job(own, open_work, open_done);
    return 0;
}

static int sqlite_query(struct db_connection *connection, struct db_query *query) {
    struct sqlite_connection *own = connection->driver_state;
    const struct db_options *options = &connection->db->options;
    if (!own || own->state != OPEN)
        return -ENOTCONN;
    if (options->read_only && query->statement->writes)
        return -EACCES;
    if (connection->in_flight >= options->depth)
        return -EBUSY;
    query->connection = connection;
    query->next = NULL;
    query->rows = 0;
    if (own->first)
        own->last->next = query;
    else
        own->first = query;
    own->last = query;
    connection->in_flight++;
    if (!own->busy)
        go_on(own);
    return 0;
}

static void sqlite_cancel(struct db_connection *connection) {
    struct sqlite_connection *own = connection->driver_state;
    if (own && own->state == OPEN && own->first)
        interrupt(own);
}

static void sqlite_close_connection(struct db_connection *connection) {
    struct sqlite_connection *own = connection->driver_state;
    if (!own || own->state == CLOSING)
        return;
    if (own->busy)
        interrupt(own);
    own->state = CLOSING;
    if (!own->busy)
        go_on(own);
}

/* ---- the driver -------------------------------------------------------------------------------
 */

static bool sqlite_available(struct error *reason) {
    if (!sqlite3_threadsafe())
        error_set(reason, -ENOTSUP, "this SQLite was built without threads");
    return sqlite3_threadsafe();
}

static int check_path(const char *path, struct error *error) {
    if (*path == '\0')
        return error_set(error, -EINVAL, "sqlite: the path of a database file is missing");
    if (strcmp(path, ":memory:") == 0)
        return error_set(error, -EINVAL,
                         "sqlite: each connection would have a :memory: of its own; name a file");
    return 0;
}

static int sqlite_open(struct loop *loop, const struct db_options *options, struct db **out,
                       struct error *error) {
    static const char scheme[] = "sqlite:";
    const char *path = options->target;
    if (strncmp(path, scheme, sizeof scheme - 1) == 0)
        path += sizeof scheme - 1;
    if (options->depth < 1 || options->depth > sqlite_driver.depth_most)
        return error_set(error, -EINVAL, "the depth is 1 to %u", sqlite_driver.depth_most);
    int failure = check_path(path, error);
    if (failure)
        return failure;
    struct sqlite_db *db = calloc(1, sizeof *db + strlen(path) + 1);
    if (!db)
        return error_set(error, -ENOMEM, "out of memory");
    struct threadpool_config config = {
        .name = "sqlite", .threads = options->threads, .queue_most = THREADPOOL_NO_LIMIT};
    failure = threadpool_open(&config, &db->pool, error);
    if (failure) {
        free(db);
        return failure;
    }
    db->db = (struct db){.driver = &sqlite_driver, .loop = loop, .options = *options};
    db->db.options.target = memcpy(db->path, path, strlen(path));
    LIST_INIT(&db->connections);
    *out = &db->db;
    return 0;
}

static void sqlite_free(struct db *base) {
    struct sqlite_db *db = CONTAINER_OF(base, struct sqlite_db, db);
    struct sqlite_connection *own;
    LIST_FOREACH(own, &db->connections, entry) {
        interrupt(own);
    }
    threadpool_free(db->pool);
    while ((own = LIST_FIRST(&db->connections))) {
        close_handle(own);
        free_connection(own);
    }
    free(db);
}

static const struct db_counters *sqlite_counters(const struct db *db) {
    return &db->counters;
}

const struct db_driver sqlite_driver = {SQLITE_FACTS,
                                        .built_on = "SQLite " SQLITE_VERSION,
                                        .available = sqlite_available,
                                        .open = sqlite_open,
                                        .free = sqlite_free,
                                        .connect = sqlite_connect,
                                        .query = sqlite_query,
                                        .cancel = sqlite_cancel,
                                        .close = sqlite_close_connection,
                                        .counters = sqlite_counters};

#endif
