/* database.c: HTTP in front of a database: a pool of connections or one for each query, on any
 * loop. What is served is in database_routes.h, which database it is in database.h. */
#include "database.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "database_client.h"
#include "database_routes.h"
#include "database_sample.h"
#include "drivers/sample_table.h"
#include "http_server.h"
#include "workload.h"

enum { ACCESS_POOL, ACCESS_CONNECTION };

struct database {
    struct database_routes routes;
    struct access *access;
    struct database_sample sample;
    bool stopping;
};

/* ---- knobs ------------------------------------------------------------------------------------
 */

#define SERVER_COUNT(knob_name, from, lowest, highest, words)                                      \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_COUNT, .side = KNOB_SERVER,                 \
        .initial = from, .least = lowest, .most = highest                                          \
    }
#define SERVER_CHOICE(knob_name, words, knob_choices)                                              \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_CHOICE, .side = KNOB_SERVER,                \
        .most = ARRAY_LENGTH(knob_choices) - 2, .choices = knob_choices                            \
    }
#define SERVER_FLAG(knob_name, from, words)                                                        \
    {                                                                                              \
        .name = knob_name, .help = words, .type = KNOB_FLAG, .side = KNOB_SERVER, .initial = from, \
        .most = 1                                                                                  \
    }

static const char *const driver_words[] = {
    [DATABASE_ANY] = "any", [DATABASE_SQLITE] = "sqlite", [DATABASE_POSTGRES] = "postgres", NULL};
static const char *const access_words[] = {
    [ACCESS_POOL] = "pool", [ACCESS_CONNECTION] = "connection", NULL};

static const struct knob database_knobs[] = {
    SERVER_CHOICE("driver", "the database; any: what " DATABASE_VARIABLE " names, or SQLite",
                  driver_words),
    SERVER_CHOICE("access", "a pool, or a connection for each query", access_words),
    SERVER_COUNT("pool_min", POOL_MIN, 0, 10000, "connections that are kept open"),
    SERVER_COUNT("pool_max", POOL_MAX, 1, 10000, "most connections"),
    HTTP_TIME_LIMIT_KNOB("pool_idle", 300e9, "until an idle connection is closed; 0: no limit"),
    HTTP_TIME_LIMIT_KNOB("pool_lifetime", 0, "until a connection is replaced; 0: no limit"),
    HTTP_TIME_LIMIT_KNOB("acquire_timeout", 30e9, "to get a connection, then 503; 0: no limit"),
    HTTP_TIME_LIMIT_KNOB("command_timeout", 30e9, "of a query, then 504; 0: no limit"),
    SERVER_COUNT("pipeline_depth", 1, 1, 1024, "queries under way on one connection"),
    SERVER_FLAG("prepare", 1, "prepare statements once for each connection"),
    SERVER_FLAG("writes", 0, "allow queries that change rows"),
    SERVER_COUNT("at_once", 1, 1, DATABASE_CALLS_MOST,
                 "calls of one request of query=calls under way at a time"),
    SERVER_COUNT("db_threads", 0, 0, 1024, "threads of a driver that needs them; 0: its choice"),
    {.name = "query",
     .help = "what is asked for",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .most = QUERY_MIX,
     .choices = database_query_words},
    {.name = "rows",
     .help = "of query=rows",
     .type = KNOB_COUNT,
     .side = KNOB_CLIENT,
     .initial = 500,
     .least = 1,
     .most = DATABASE_ROWS_MOST},
    {.name = "slow_time",
     .help = "of query=slow and each of query=calls, in whole milliseconds",
     .type = KNOB_TIME,
     .side = KNOB_CLIENT,
     .initial = 100e6,
     .least = 0,
     .most = 3600e9},
    {.name = "calls",
     .help = "slow queries that a request of query=calls needs",
     .type = KNOB_COUNT,
     .side = KNOB_CLIENT,
     .initial = 10,
     .least = 1,
     .most = DATABASE_CALLS_MOST},
    HTTP_SERVER_KNOBS,
};

static uint64_t number(const struct knob_values *knobs, const char *name) {
    return (uint64_t)knob_get(knobs, name);
}

static bool flag(const struct knob_values *knobs, const char *name) {
    return knob_get(knobs, name) != 0;
}

/* ---- which database ---------------------------------------------------------------------------
 */

static int require_postgres(const char *target, const struct db_driver **driver,
                            struct error *error) {
    if (!target)
        return error_set(error, -EINVAL,
                         "driver=postgres needs a database: set " DATABASE_VARIABLE
                         ", as in " DATABASE_VARIABLE "=postgresql:///name?host=/run/postgresql");
    int failure = db_driver_for_target(target, driver, error);
    if (!failure && strcmp((*driver)->name, "postgres") != 0)
        return error_set(error, -EINVAL, "driver=postgres, but " DATABASE_VARIABLE " is of %s",
                         (*driver)->name);
    return failure;
}

/* A database of our own, unless the one that is named is of SQLite. */
static int require_sqlite(const char **target, const struct db_driver **driver,
                          struct database_sample *sample, struct error *error) {
    struct error ignored;
    int failure = db_driver_find("sqlite", driver, error);
    const struct db_driver *named;
    if (failure)
        return failure;
    if (*target && !db_driver_for_target(*target, &named, &ignored) && named == *driver)
        return 0;
    *target = sample->target;
    return database_sample_make(sample, error);
}

static int choose_database(const struct knob_values *knobs, const char **target,
                           const struct db_driver **driver, struct database_sample *sample,
                           struct error *error) {
    enum database_driver wanted = (enum database_driver)knob_get(knobs, "driver");
    const char *named = getenv(DATABASE_VARIABLE);
    *target = named && *named ? named : NULL;
    if (wanted == DATABASE_POSTGRES)
        return require_postgres(*target, driver, error);
    if (wanted == DATABASE_ANY && *target)
        return db_driver_for_target(*target, driver, error);
    return require_sqlite(target, driver, sample, error);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static struct access_options read_options(const struct knob_values *knobs) {
    return (struct access_options){.db = {.prepare = flag(knobs, "prepare"),
                                          .read_only = !flag(knobs, "writes"),
                                          .depth = (uint32_t)number(knobs, "pipeline_depth"),
                                          .threads = (uint32_t)number(knobs, "db_threads")},
                                   .pooled = number(knobs, "access") == ACCESS_POOL,
                                   .pool = {.min = (uint32_t)number(knobs, "pool_min"),
                                            .max = (uint32_t)number(knobs, "pool_max"),
                                            .depth = (uint32_t)number(knobs, "pipeline_depth"),
                                            .acquire_ns = number(knobs, "acquire_timeout"),
                                            .idle_ns = number(knobs, "pool_idle"),
                                            .lifetime_ns = number(knobs, "pool_lifetime"),
                                            .seed = 1}};
}

static int open_database(struct database *database, struct loop *loop,
                         const struct knob_values *knobs, struct error *error) {
    struct access_options options = read_options(knobs);
    int failure =
        choose_database(knobs, &options.db.target, &options.driver, &database->sample, error);
    if (!failure && options.db.depth > options.driver->depth_most)
        failure = error_set(error, -EINVAL, "pipeline_depth: %s takes at most %u",
                            options.driver->name, options.driver->depth_most);
    if (!failure)
        failure = access_open(loop, &options, &database->access, error);
    if (failure)
        return failure;
    database->routes = (struct database_routes){.loop = loop,
                                                .access = database->access,
                                                .driver = options.driver,
                                                .command_ns = number(knobs, "command_timeout"),
                                                .writes = !options.db.read_only,
                                                .at_once = (uint32_t)number(knobs, "at_once")};
    return 0;
}

static void free_database(struct database *database) {
    database_routes_free(&database->routes);
    if (database->access)
        access_free(database->access);
    database_sample_remove(&database->sample);
    free(database);
}

static int database_serve(struct loop *loop, const struct knob_values *knobs,
                          const struct endpoint *listen, struct endpoint *bound,
                          struct server **server, struct error *error) {
    struct database *database = calloc(1, sizeof *database);
    if (!database)
        return error_set(error, -ENOMEM, "out of memory");
    /* First what can be taken back at once; until the loop runs, nobody is accepted. */
    int failure = http_serve_routes(loop, knobs, listen, &database_http_routes, &database->routes,
                                    bound, server, error);
    if (failure) {
        free(database);
        return failure;
    }
    failure = open_database(database, loop, knobs, error);
    if (failure) {
        http_server.stop(*server);
        http_free(*server);
        free_database(database);
    }
    return failure;
}

static struct database *database_of(const struct server *server) {
    return CONTAINER_OF(http_routes_data(server), struct database, routes);
}

static void database_stop(struct server *server) {
    http_server.stop(server);
}

/* First the answers that are outstanding, then the connections to the database. */
static bool database_stopped(struct server *server, bool now) {
    struct database *database = database_of(server);
    if (now)
        http_close_connections(server);
    if (http_has_connections(server))
        return false;
    if (!database->stopping)
        access_stop(database->access);
    database->stopping = true;
    if (now)
        access_break_all(database->access);
    if (database->routes.jobs > 0 || !access_is_stopped(database->access))
        return false;
    http_free(server);
    free_database(database);
    return true;
}

static size_t database_counters(const struct server *server,
                                struct workload_counter counters[WORKLOAD_COUNTERS_MOST]) {
    const struct database *database = database_of(server);
    const struct database_routes *routes = &database->routes;
    struct access_counters access;
    access_read_counters(database->access, &access);
    const struct workload_counter all[] = {
        {"requests", (double)routes->requests},
        {"errors", (double)routes->errors},
        {"command_timeouts", (double)routes->timeouts},
        {"pool_size", access.pool.size},
        {"pool_size_most", access.pool.size_most},
        {"pool_idle", access.pool.idle},
        {"pool_lent", access.pool.lent},
        {"waiters", access.pool.waiters},
        {"waiters_most", access.pool.waiters_most},
        {"connects", (double)access.pool.connects},
        {"connects_failed", (double)access.pool.connects_failed},
        {"broken", (double)access.pool.broken},
        {"acquired", (double)access.pool.acquired},
        {"waited", (double)access.pool.waited},
        {"acquire_timeouts", (double)access.pool.timed_out},
        {"wait_mean_ns", access.wait_mean_ns},
        {"wait_p50_ns", access.wait_p50_ns},
        {"wait_p99_ns", access.wait_p99_ns},
        {"queries", (double)access.db.queries},
        {"prepares", (double)access.db.prepares},
        {"syncs", (double)access.db.syncs},
    };
    _Static_assert(ARRAY_LENGTH(all) <= WORKLOAD_COUNTERS_MOST, "too many counters");
    memcpy(counters, all, sizeof all);
    return ARRAY_LENGTH(all);
}

static const struct workload_server database_server = {.start = database_serve,
                                                       .stop = database_stop,
                                                       .stopped = database_stopped,
                                                       .counters = database_counters};

static const char *const database_schemes[] = {"http", NULL};

extern const struct workload database_workload;
const struct workload database_workload = {
    .name = "database",
    .summary = "HTTP in front of a database: a pool of connections, or one for each query",
    .schemes = database_schemes,
    .knobs = {database_knobs, ARRAY_LENGTH(database_knobs)},
    .server = &database_server,
    .client = &database_client,
};
