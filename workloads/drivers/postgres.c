/* postgres.c: PostgreSQL through libpq, on a watch of the loop; see also postgres_queries.c.
 *
 * How libpq (14 to 16) behaves, and what that made of this file:
 * - its socket may change from one PQconnectPoll to the next, and it closes it whenever it finds
 * the connection broken, within any call. A watch must end before its descriptor is closed, so it
 * is on a duplicate of our own
 * - it reads into a buffer of its own and may leave bytes in the socket: the watch has to be
 *   level-triggered, which all of the loop's are. With TLS bytes may stay where no watch sees them:
 *   a target that asks for TLS is on its own
 * - it sends at each sync. So the queries of one pass go out at its end, with one sync behind them.
 *   At depth 1 there is nothing to wait for, and a query goes out at once
 * - while it cannot send it reads, and so answers may be there without the socket being readable.
 *   The watch then asks for WATCH_WRITE, which comes at once
 * - PQcancel blocks, as it makes a connection of its own: it runs on a thread that lives for it.
 *   The server cancels what it runs when the request comes, which may be the next query already
 *
 * A connection ends in one place, finish(), which only the database's post calls: so no callback
 * comes inside a call, and nothing of it is in use. */
#include "workloads/drivers/postgres.h"

#include <errno.h>

#define POSTGRES_FACTS                                                                             \
    .name = "postgres", .summary = "PostgreSQL, through libpq", .built_on = "libpq",               \
    .schemes = schemes, .depth_most = 1024

static const char *const schemes[] = {"postgresql", "postgres", NULL};

#ifndef HAVE_LIBPQ

static bool postgres_available(struct error *reason) {
    error_set(reason, -ENOTSUP, "not built: libpq-dev was missing at build time");
    return false;
}

const struct db_driver postgres_driver = {POSTGRES_FACTS, .available = postgres_available};

#else

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workloads/drivers/postgres_connection.h"
#include "workloads/drivers/postgres_target.h"

struct postgres_db {
    struct db db;
    struct postgres_target target;
    struct post post; /* of the connections that are due */
    bool posted;
    struct postgres_connection *due;
};

static struct postgres_db *db_of(const struct postgres_connection *own) {
    return CONTAINER_OF(own->connection->db, struct postgres_db, db);
}

/* A fatal error outside of any query comes as a notice. */
static void noticed(void *data, const PGresult *result) {
    struct postgres_connection *own = data;
    if (!postgres_is_fatal(result))
        return;
    postgres_note_result(own, result);
    own->last_words = true;
}

/* ---- what is due at the end of the pass ---------------------------------------------------------
 */

static void post_once(struct postgres_db *db) {
    if (!db->posted)
        loop_post(db->db.loop, &db->post);
    db->posted = true;
}

static void make_due(struct postgres_connection *own) {
    struct postgres_db *db = db_of(own);
    if (!own->due) {
        own->due = true;
        own->next_due = db->due;
        db->due = own;
    }
    post_once(db);
}

/* ---- ending ------------------------------------------------------------------------------------
 */

static void unwatch(struct postgres_connection *own) {
    if (own->watch.fd < 0)
        return;
    CHECK(watch_set(own->connection->db->loop, &own->watch, 0) == 0);
    close(own->watch.fd);
    own->watch.fd = -1;
}

static void end(struct postgres_connection *own, int err, bool tell_open) {
    if (own->state == POSTGRES_ENDING)
        return;
    unwatch(own);
    own->state = POSTGRES_ENDING;
    own->end_err = err;
    own->tell_open = tell_open;
    make_due(own);
}

static void end_broken(struct postgres_connection *own) {
    if (own->state == POSTGRES_OPEN && !own->last_words)
        postgres_note_words(own, PQerrorMessage(own->pq));
    end(own, -ECONNRESET, false);
}

static void finish(struct postgres_connection *own) {
    struct db_connection *connection = own->connection;
    PQfinish(own->pq);
    while (own->first) {
        struct db_query *query = postgres_pop(own);
        query->on_done(query, -ECONNRESET);
    }
    int err = own->end_err;
    bool tell_open = own->tell_open;
    connection->driver_state = NULL;
    free(own);
    if (tell_open)
        connection->events->opened(connection, err);
    connection->events->closed(connection, err);
}

static void flush(struct postgres_connection *own) {
    int left = PQflush(own->pq);
    if (left < 0) {
        end_broken(own);
        return;
    }
    unsigned events = left || postgres_has_answers(own) ? WATCH_READ | WATCH_WRITE : WATCH_READ;
    if (events != own->watch.events)
        CHECK(watch_set(own->connection->db->loop, &own->watch, events) == 0);
}

/* While answers are taken libpq still has some, be it only that of the sync, and the watch would be
 * changed twice for nothing. */
static void send_batch(struct postgres_connection *own) {
    if (!postgres_send_batch(own))
        end_broken(own);
    else if (!own->taking)
        flush(own);
}

static void run_due(struct post *post) {
    struct postgres_db *db = CONTAINER_OF(post, struct postgres_db, post);
    struct postgres_connection *own = db->due, *next;
    db->posted = false;
    db->due = NULL;
    /* The database may be gone with its last connection. */
    for (; own; own = next) {
        next = own->next_due;
        own->due = false;
        if (own->state == POSTGRES_OPEN && own->unsent)
            send_batch(own);
        else if (own->state == POSTGRES_ENDING)
            finish(own);
    }
}

/* ---- the socket ---------------------------------------------------------------------------------
 */

static void watch_socket(struct postgres_connection *own, unsigned events);

static void opened(struct postgres_connection *own) {
    struct db_connection *connection = own->connection;
    if (PQsetnonblocking(own->pq, 1) || !PQenterPipelineMode(own->pq)) {
        postgres_note_words(own, PQerrorMessage(own->pq));
        end(own, -ENOMEM, true);
        return;
    }
    watch_socket(own, WATCH_READ);
    if (own->state == POSTGRES_ENDING)
        return;
    /* As all sockets of loopmark have them, where the kernel can. */
    (void)socket_set_options(PQsocket(own->pq));
    own->state = POSTGRES_OPEN;
    connection->events->opened(connection, 0);
}

static void go_on_connecting(struct postgres_connection *own) {
    switch (PQconnectPoll(own->pq)) {
    case PGRES_POLLING_READING:
        watch_socket(own, WATCH_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch_socket(own, WATCH_WRITE);
        break;
    case PGRES_POLLING_OK:
        opened(own);
        break;
    default:
        postgres_note_words(own, PQerrorMessage(own->pq));
        end(own, -ECONNREFUSED, true);
    }
}

/* Whether PQconsumeInput failed is seen in PQstatus: before that come the answers that it got. */
static void on_ready(struct watch *watch, unsigned events) {
    struct postgres_connection *own = CONTAINER_OF(watch, struct postgres_connection, watch);
    struct postgres_db *db = db_of(own);
    if (own->state == POSTGRES_CONNECTING) {
        go_on_connecting(own);
        return;
    }
    uint64_t ended = db->db.counters.queries;
    if (events & WATCH_READ)
        PQconsumeInput(own->pq);
    own->taking = true;
    int failure = postgres_take_answers(own);
    own->taking = false;
    if (failure == -EPROTO)
        end(own, failure, false);
    else if (failure || PQstatus(own->pq) == CONNECTION_BAD)
        end_broken(own);
    else if (own->state == POSTGRES_OPEN)
        flush(own);
    /* Behind posts that the ends of queries gave rise to: what those ask goes out in this pass. */
    if (db->db.options.depth > 1 && db->db.counters.queries != ended)
        post_once(db);
}

/* The socket may be another one than before. */
static void watch_socket(struct postgres_connection *own, unsigned events) {
    unwatch(own);
    int fd = fcntl(PQsocket(own->pq), F_DUPFD_CLOEXEC, 0);
    own->watch = (struct watch){.fd = fd, .on_ready = on_ready};
    int failure = fd < 0 ? -errno : watch_set(own->connection->db->loop, &own->watch, events);
    if (failure == 0)
        return;
    error_set(&own->connection->error, 0, "cannot watch the socket: %s", strerror(-failure));
    end(own, failure, true);
}

/* ---- cancelling ---------------------------------------------------------------------------------
 */

static void *cancel_thread(void *data) {
    char words[256];
    (void)PQcancel(data, words, sizeof words); /* the query tells how it went */
    PQfreeCancel(data);
    return NULL;
}

static void postgres_cancel(struct db_connection *connection) {
    struct postgres_connection *own = connection->driver_state;
    if (!own || own->state != POSTGRES_OPEN || !postgres_waits(own) || own->cancelled)
        return;
    PGcancel *request = PQgetCancel(own->pq);
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t all, before;
    if (!request)
        return;
    sigfillset(&all); /* signals are for the threads that expect them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    own->cancelled = pthread_create(&thread, &detached, cancel_thread, request) == 0;
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!own->cancelled)
        PQfreeCancel(request);
}

/* ---- the driver ---------------------------------------------------------------------------------
 */

static bool postgres_available(struct error *reason) {
    (void)reason;
    return true;
}

static int postgres_open(struct loop *loop, const struct db_options *options, struct db **out,
                         struct error *error) {
    if (options->depth < 1 || options->depth > postgres_driver.depth_most)
        return error_set(error, -EINVAL, "the depth is 1 to %u", postgres_driver.depth_most);
    struct postgres_db *db = calloc(1, sizeof *db);
    if (!db)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = postgres_target_parse(options->target, options->read_only, &db->target, error);
    if (failure) {
        free(db);
        return failure;
    }
    db->db = (struct db){.driver = &postgres_driver, .loop = loop, .options = *options};
    db->post.run = run_due;
    *out = &db->db;
    return 0;
}

static void postgres_free(struct db *base) {
    struct postgres_db *db = CONTAINER_OF(base, struct postgres_db, db);
    CHECK(!db->due && !db->posted);
    postgres_target_free(&db->target);
    free(db);
}

static int postgres_connect(struct db *base, struct db_connection *connection) {
    struct postgres_db *db = CONTAINER_OF(base, struct postgres_db, db);
    struct postgres_connection *own = calloc(1, sizeof *own);
    PGconn *pq = own ? PQconnectStartParams(db->target.keywords, db->target.values, 0) : NULL;
    if (!pq) {
        free(own);
        return -ENOMEM;
    }
    *own = (struct postgres_connection){.connection = connection, .pq = pq, .watch.fd = -1};
    connection->db = base;
    connection->in_flight = 0;
    connection->error.text[0] = '\0';
    connection->driver_state = own;
    base->counters.connects++;
    PQsetNoticeReceiver(pq, noticed, own);
    if (PQstatus(pq) != CONNECTION_BAD) {
        watch_socket(own, WATCH_WRITE);
        return 0;
    }
    postgres_note_words(own, PQerrorMessage(pq));
    end(own, -ECONNREFUSED, true);
    return 0;
}

static int postgres_query(struct db_connection *connection, struct db_query *query) {
    struct postgres_connection *own = connection->driver_state;
    const struct db_options *options = &connection->db->options;
    CHECK(query->statement->parameters <= DB_PARAMETERS_MOST);
    if (!own || own->state != POSTGRES_OPEN)
        return -ENOTCONN;
    if (options->read_only && query->statement->writes)
        return -EACCES;
    if (connection->in_flight >= options->depth)
        return -EBUSY;
    postgres_append(own, query);
    if (options->depth == 1)
        send_batch(own);
    else
        make_due(own);
    return 0;
}

static void postgres_close(struct db_connection *connection) {
    struct postgres_connection *own = connection->driver_state;
    if (own)
        end(own, 0, false);
}

static const struct db_counters *postgres_counters(const struct db *db) {
    return &db->counters;
}

const struct db_driver postgres_driver = {POSTGRES_FACTS,
                                          .available = postgres_available,
                                          .open = postgres_open,
                                          .free = postgres_free,
                                          .connect = postgres_connect,
                                          .query = postgres_query,
                                          .cancel = postgres_cancel,
                                          .close = postgres_close,
                                          .counters = postgres_counters};

#endif
