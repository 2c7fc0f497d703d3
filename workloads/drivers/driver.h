/* driver.h: databases behind one small interface: connections that answer queries in their order.
 *
 * A driver is one const struct. A database (struct db) is what one loop's connections share: where
 * it is, and for SQLite the threads its statements run on. A connection takes up to `depth` queries
 * at a time and ends them in the order in which they were given. Nothing blocks the loop.
 *
 * Everything belongs to the loop's thread, and no callback runs inside the call that starts an
 * operation. Connections and queries are embedded by the caller: a query's memory is the driver's
 * from db_query() until its on_done, a connection's from db_connect() until its on_closed.
 *
 * Statements are const data of the workload; a driver prepares each on a connection when it is
 * first used there, unless the database was opened with `prepare` false. Parameters are integers;
 * columns come as text, as both databases can have them. */
#ifndef LOOPMARK_DRIVER_H
#define LOOPMARK_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loops/loop.h"

enum { DB_PARAMETERS_MOST = 4, DB_COLUMNS_MOST = 8, DB_STATEMENTS_MOST = 16 };

struct db_statement {
    const char *name; /* a word, the same for every driver */
    const char *sql;  /* parameters as $1, $2 …, which both databases take */
    int parameters;
    bool writes;  /* refused when the database was opened to be read only */
    bool one_row; /* it has no more, and so nothing is gained by streaming them */
};

/* One column of one row; not terminated. `bytes` null: SQL NULL. Columns beyond DB_COLUMNS_MOST are
 * not told. */
struct db_value {
    const char *bytes;
    size_t size;
};

struct db_query;
struct db_connection;

/* A query's end, as `err` of on_done says it:
 *   0            all rows were told. What a statement that `writes` changed stays, whatever
 *                becomes of the other queries of its batch
 *   -EIO         the database refused it (the words in connection->error); the connection lives on
 *   -ECANCELED   not run, because another query of its pipelined batch failed: ask again
 *   -ECONNRESET  the connection broke, or was closed, before it ended: whether it ran is unknown */
struct db_query {
    const struct db_statement *statement;
    int64_t parameters[DB_PARAMETERS_MOST];
    /* The values are valid until it returns. It may not close the connection. May be null. */
    void (*on_row)(struct db_query *query, const struct db_value *values, int count);
    void (*on_done)(struct db_query *query, int err);
    uint64_t rows; /* told so far */
    /* The driver's. */
    struct db_connection *connection;
    struct db_query *next;
    void *driver_state;
};

struct db_connection_events {
    /* The one outcome of db_connect; after an error on_closed follows. It does not come if db_close
     * does before it. */
    void (*opened)(struct db_connection *connection, int err);
    /* The last callback, after the on_done of every query. err 0: closed by db_close; otherwise
     * what broke it, with the words in connection->error. */
    void (*closed)(struct db_connection *connection, int err);
};

struct db_connection {
    const struct db_connection_events *events;
    void *data; /* the caller's */
    struct db *db;
    uint32_t in_flight; /* queries given and not ended */
    struct error error; /* what the database said last of this connection */
    void *driver_state;
};

struct db_options {
    const char *target; /* a path, or a connection string, as the driver's help says */
    bool prepare;       /* statements are prepared once for each connection */
    bool read_only;     /* statements that write are refused with -EACCES */
    uint32_t depth;     /* most queries in flight on one connection; 1: no pipelining */
    uint32_t threads;   /* of drivers that need them; 0: the driver's choice */
};

struct db_counters {
    uint64_t connects; /* begun */
    uint64_t queries;  /* ended, with whatever result */
    uint64_t prepares;
    uint64_t syncs; /* ends of a pipelined batch that were sent */
};

struct db_driver {
    const char *name;
    const char *summary;
    const char *const *schemes; /* of its targets: null-terminated */
    const char *built_on;       /* "SQLite 3.40.1" */
    uint32_t depth_most;        /* 1: it cannot pipeline */
    bool (*available)(struct error *reason);

    /* `loop` is whose thread uses it. -EINVAL: the options, with words. */
    int (*open)(struct loop *loop, const struct db_options *options, struct db **db,
                struct error *error);
    /* After every connection has closed: also in `closed` of the last one. */
    void (*free)(struct db *db);
    /* What the network or the database says comes as opened(err). Errors only for lack of memory
     * and bad arguments; then no callback comes. */
    int (*connect)(struct db *db, struct db_connection *connection);
    /* -EBUSY: `depth` queries are in flight; -EACCES: it writes; -ENOTCONN: not open. Then on_done
     * never comes. Queries given within one pass of the loop go out together. */
    int (*query)(struct db_connection *connection, struct db_query *query);
    /* Asks the database to give up what runs on this connection; the query ends all the same, by
     * itself or with -EIO. May do nothing. */
    void (*cancel)(struct db_connection *connection);
    /* Queries in flight end with -ECONNRESET, then closed(0). Repeatable; also while connecting,
     * and then opened does not come. */
    void (*close)(struct db_connection *connection);
    const struct db_counters *(*counters)(const struct db *db);
};

/* The i-th driver, or null beyond the last. */
const struct db_driver *db_driver_at(size_t index);
/* By name or by the scheme of a target. -ENOENT: with the known names; -ENOTSUP: not built. */
int db_driver_find(const char *name, const struct db_driver **driver, struct error *error);
int db_driver_for_target(const char *target, const struct db_driver **driver, struct error *error);

/* Every struct db begins with this. */
struct db {
    const struct db_driver *driver;
    struct loop *loop;
    struct db_options options;
    struct db_counters counters;
};

#endif
