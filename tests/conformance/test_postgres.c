/* test_postgres.c: the PostgreSQL driver on every loop, against a private server: no answer is
 * lost, told twice or told to somebody else, whatever happens to queries, connections and the
 * server. */
#include "conformance.h"

#include <stdio.h>

#include "harness/private_postgres.h"
#include "workloads/drivers/postgres.h"
#include "workloads/drivers/sample_table.h"

#ifndef HAVE_LIBPQ

int main(void) {
    printf("skip postgres: libpq-dev was missing at build time\n");
    return 0;
}

#else

#include <libpq-fe.h>

enum { ASKS_MOST = 1024, CLIENTS_MOST = 32, CONNECTIONS = 20, LONG_ROW_BYTES = 1 << 20 };

/* One for all cases; its end is also tested by that no process is left. */
static struct private_postgres postgres;

static const struct db_statement by_id = {
    "by_id", "select id, value, payload from item where id = $1", 1, false, true};
static const struct db_statement by_id_too = {
    "by_id_too", "select id, value, payload from item where id = $1", 1, false, false};
static const struct db_statement backend = {"backend", "select pg_backend_pid()", 0, false, false};
static const struct db_statement sleeps = {"sleeps", "select pg_sleep($1 * 0.001)", 1, false,
                                           false};
static const struct db_statement divide = {"divide", "select 12 / $1::int", 1, false, false};
static const struct db_statement no_sql = {"no_sql", "selec 1", 0, false, false};
static const struct db_statement nothing = {"nothing", "select 1 where $1 < 0", 1, false, false};
static const struct db_statement null_value = {"null_value", "select null::text, ''::text", 0,
                                               false, false};
static const struct db_statement long_rows = {
    "long_rows", "select i, repeat(chr(64 + i), 1048576) from generate_series(1, $1::int) i", 1,
    false, false};
static const struct db_statement update = {"update", "update item set value = value where id = $1",
                                           1, true, false};
static const struct db_statement add_one = {
    "add_one", "update item set value = value + 1 where id = $1 returning value", 1, true, false};
static const struct db_statement value_of = {"value_of", "select value from item where id = $1", 1,
                                             false, false};
static const struct db_statement hidden_update = {
    "hidden_update", "update item set value = value where id = $1", 1, false, false};
static const struct db_statement copies = {"copies", "copy item to stdout", 0, false, false};
static const struct db_statement dies = {"dies", "select pg_terminate_backend(pg_backend_pid())", 0,
                                         false, false};

/* ---- a client: one connection, and its questions -----------------------------------------------
 */

struct ask {
    struct db_query query;
    struct client *client;
    bool busy;
    int done;       /* times */
    int err;        /* of the last time */
    int64_t number; /* the first column of the last row, where it is one */
    size_t bytes;   /* of all columns */
};

struct client {
    struct db_connection connection;
    struct fixture *fixture;
    struct db *db;
    int opened, opened_err, closed, closed_err;
    struct ask *asks;
    int in_flight;
    int64_t next_id;
    uint64_t goal, done, reset, canceled; /* keep_asking: until so many ended well */
    bool reconnects;
    void (*on_done)(struct ask *ask);
    void (*on_open)(struct client *client);
};

static struct client *client_of(struct db_connection *connection) {
    struct client *client = CONTAINER_OF(connection, struct client, connection);
    assert_false(client->fixture->in_call);
    return client;
}

static void connect_client(struct client *client);

static void opened(struct db_connection *connection, int err) {
    struct client *client = client_of(connection);
    assert_int_equal(client->closed, client->opened);
    client->opened++;
    client->opened_err = err;
    if (err == 0 && client->on_open)
        client->on_open(client);
}

static void closed(struct db_connection *connection, int err) {
    struct client *client = client_of(connection);
    assert_int_equal(client->in_flight, 0);
    assert_int_equal(connection->in_flight, 0);
    client->closed++;
    client->closed_err = err;
    if (client->opened_err)
        assert_int_equal(err, client->opened_err);
    if (client->reconnects)
        connect_client(client);
}

static const struct db_connection_events events = {.opened = opened, .closed = closed};

static void connect_client(struct client *client) {
    int failure;
    client->opened = client->closed = 0;
    client->connection = (struct db_connection){.events = &events};
    bool before = client->fixture->in_call;
    client->fixture->in_call = true;
    failure = postgres_driver.connect(client->db, &client->connection);
    client->fixture->in_call = before;
    assert_int_equal(failure, 0);
}

/* What a row of the sample table must be, from its id. */
static void check_item(const struct ask *ask, const struct db_value *values, int count) {
    char text[32];
    assert_int_equal(count, 3);
    int length = snprintf(text, sizeof text, "%lld", (long long)ask->query.parameters[0]);
    assert_int_equal(values[0].size, length);
    assert_memory_equal(values[0].bytes, text, length);
    length = snprintf(text, sizeof text, "%lld", (long long)SAMPLE_VALUE(ask->query.parameters[0]));
    assert_int_equal(values[1].size, length);
    assert_memory_equal(values[1].bytes, text, length);
    length = snprintf(text, sizeof text, "item %lld ", (long long)ask->query.parameters[0]);
    assert_int_equal(values[2].size, SAMPLE_PAYLOAD_BYTES);
    assert_memory_equal(values[2].bytes, text, length);
}

static void on_row(struct db_query *query, const struct db_value *values, int count) {
    struct ask *ask = CONTAINER_OF(query, struct ask, query);
    assert_true(ask->busy);
    assert_false(ask->client->fixture->in_call);
    if (query->statement == &by_id || query->statement == &by_id_too)
        check_item(ask, values, count);
    char text[32];
    snprintf(text, sizeof text, "%.*s", values[0].size < 31 ? (int)values[0].size : 31,
             values[0].bytes ? values[0].bytes : "");
    ask->number = strtoll(text, NULL, 10);
    for (int i = 0; i < count; i++)
        ask->bytes += values[i].size;
    if (query->statement == &long_rows)
        for (size_t i = 0; i < values[1].size; i++)
            assert_int_equal(values[1].bytes[i], 64 + ask->number);
    if (query->statement == &null_value) {
        assert_null(values[0].bytes);
        assert_non_null(values[1].bytes);
        assert_int_equal(values[1].size, 0);
    }
}

static void on_done(struct db_query *query, int err) {
    struct ask *ask = CONTAINER_OF(query, struct ask, query);
    struct client *client = ask->client;
    assert_true(ask->busy);
    assert_false(client->fixture->in_call);
    assert_int_equal(client->opened, 1);
    assert_int_equal(client->closed, 0);
    bool one_row = query->statement == &by_id || query->statement == &by_id_too;
    if (one_row && err == 0)
        assert_int_equal(query->rows, 1);
    ask->busy = false;
    ask->done++;
    ask->err = err;
    client->in_flight--;
    if (client->on_done)
        client->on_done(ask);
}

static int ask_something(struct ask *ask, const struct db_statement *statement, int64_t parameter) {
    struct client *client = ask->client;
    assert_false(ask->busy);
    ask->query = (struct db_query){
        .statement = statement, .parameters = {parameter}, .on_row = on_row, .on_done = on_done};
    ask->busy = true;
    ask->bytes = 0;
    bool before = client->fixture->in_call;
    client->fixture->in_call = true;
    int result = postgres_driver.query(&client->connection, &ask->query);
    client->fixture->in_call = before;
    if (result)
        ask->busy = false;
    else
        client->in_flight++;
    return result;
}

static void ask_well(struct ask *ask, const struct db_statement *statement, int64_t parameter) {
    assert_int_equal(ask_something(ask, statement, parameter), 0);
}

/* ---- a scene: a database and its clients --------------------------------------------------------
 */

struct scene {
    struct fixture *fixture;
    struct db *db;
    struct client clients[CLIENTS_MOST];
};

static struct scene *new_scene(struct fixture *fixture, struct db_options options) {
    struct error error = {""};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->fixture = fixture;
    if (!options.target)
        options.target = postgres.target;
    if (postgres_driver.open(fixture->loop, &options, &scene->db, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < CLIENTS_MOST; i++) {
        struct client *client = &scene->clients[i];
        *client = (struct client){.fixture = fixture, .db = scene->db, .next_id = 1 + i * 311};
        client->asks = calloc(ASKS_MOST, sizeof *client->asks);
        assert_non_null(client->asks);
        for (int k = 0; k < ASKS_MOST; k++)
            client->asks[k].client = client;
    }
    return scene;
}

static struct client *open_client(struct scene *scene, int index) {
    struct client *client = &scene->clients[index];
    connect_client(client);
    RUN_UNTIL(scene->fixture, client->opened);
    if (client->opened_err)
        fail_msg("%s", client->connection.error.text);
    return client;
}

static void close_client(struct client *client) {
    client->reconnects = false;
    IN_CALL(client->fixture, postgres_driver.close(&client->connection));
}

static void end_scene(struct scene *scene) {
    for (int i = 0; i < CLIENTS_MOST; i++) {
        struct client *client = &scene->clients[i];
        if (client->connection.events && !client->closed) {
            close_client(client);
            close_client(client);
            RUN_UNTIL(scene->fixture, client->closed);
        }
    }
    settle(scene->fixture);
    postgres_driver.free(scene->db);
    for (int i = 0; i < CLIENTS_MOST; i++)
        free(scene->clients[i].asks);
    free(scene);
}

static bool says(const struct client *client, const char *words) {
    return strstr(client->connection.error.text, words) != NULL;
}

static void assert_says(const struct client *client, const char *words) {
    if (!says(client, words))
        fail_msg("'%s' is not in '%s'", words, client->connection.error.text);
    assert_null(strchr(client->connection.error.text, '\n'));
}

/* Where nothing else is meant. */
static const struct db_options plain = {.prepare = true, .depth = 1};
static const struct db_options pipelined = {.prepare = true, .depth = 8};

/* ---- on the side: a plain connection that blocks -----------------------------------------------
 */

static int64_t on_the_side(const char *sql) {
    PGconn *connection = PQconnectdb(postgres.target);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(connection));
    int64_t number = PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    PQfinish(connection);
    return number;
}

static pid_t backend_of(struct client *client) {
    struct ask *ask = &client->asks[ASKS_MOST - 1];
    ask_well(ask, &backend, 0);
    RUN_UNTIL(client->fixture, !ask->busy);
    assert_int_equal(ask->err, 0);
    assert_true(ask->number > 1);
    return (pid_t)ask->number;
}

/* What the clients of former cases have left behind may take a moment to go. */
static void await_alone(void) {
    while (on_the_side("select count(*) from pg_stat_activity where application_name = 'loopmark'"))
        ;
}

/* ---- under load ---------------------------------------------------------------------------------
 */

static void ask_on(struct ask *ask) {
    struct client *client = ask->client;
    client->next_id = client->next_id * 48271 % 2147483647;
    const struct db_statement *statement = client->next_id % 3 ? &by_id : &by_id_too;
    ask_well(ask, statement, 1 + client->next_id % SAMPLE_ROWS);
}

static void keep_asking(struct ask *ask) {
    struct client *client = ask->client;
    assert_true(ask->err == 0 || ask->err == -ECONNRESET);
    if (ask->err == 0)
        client->done++;
    else
        client->reset++;
    if (ask->err == 0 && client->done + (uint64_t)client->in_flight < client->goal)
        ask_on(ask);
}

static void begin_asking(struct client *client) {
    uint32_t depth = client->db->options.depth;
    client->on_done = keep_asking;
    for (uint32_t i = 0; i < depth && client->done + i < client->goal; i++)
        ask_on(&client->asks[i]);
}

static bool all_done(const struct scene *scene, int count) {
    for (int i = 0; i < count; i++)
        if (scene->clients[i].done < scene->clients[i].goal)
            return false;
    return true;
}

static void ask_many(struct fixture *fixture, struct db_options options, uint64_t goal) {
    enum { COUNT = 4 };
    struct scene *scene = new_scene(fixture, options);
    for (int i = 0; i < COUNT; i++) {
        scene->clients[i].goal = goal;
        scene->clients[i].on_open = begin_asking;
        connect_client(&scene->clients[i]);
    }
    RUN_UNTIL(fixture, all_done(scene, COUNT));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(scene->clients[i].done, goal);
        assert_int_equal(scene->clients[i].reset, 0);
    }
    const struct db_counters *counters = postgres_driver.counters(scene->db);
    assert_int_equal(counters->connects, COUNT);
    assert_int_equal(counters->queries, COUNT * goal);
    assert_int_equal(counters->prepares, options.prepare ? COUNT * 2 : 0);
    if (options.depth == 1)
        assert_int_equal(counters->syncs, COUNT * goal + counters->prepares);
    else
        assert_true(counters->syncs < COUNT * goal);
    /* What libpq could send at once leaves the watch alone: only connecting changes it. */
    assert_true(loop_counters(fixture->loop)->syscalls[SYSCALL_CONTROL] < COUNT * 40);
    end_scene(scene);
}

static void test_one_by_one(struct fixture *fixture) {
    ask_many(fixture, plain, 2500);
}

static void test_pipelined(struct fixture *fixture) {
    ask_many(fixture, (struct db_options){.prepare = true, .depth = 16}, 2500);
}

static void test_unprepared(struct fixture *fixture) {
    ask_many(fixture, (struct db_options){.depth = 1}, 250);
    ask_many(fixture, (struct db_options){.depth = 16}, 250);
}

/* ---- what a query may be -----------------------------------------------------------------------
 */

static void ask_and_wait(struct ask *ask, const struct db_statement *statement, int64_t parameter,
                         int err) {
    int done = ask->done;
    ask_well(ask, statement, parameter);
    RUN_UNTIL(ask->client->fixture, ask->done > done);
    if (ask->err != err)
        fail_msg("%s: %d: %s", statement->name, ask->err, ask->client->connection.error.text);
}

static void try_answers(struct fixture *fixture, struct db_options options) {
    struct scene *scene = new_scene(fixture, options);
    struct client *client = open_client(scene, 0);
    struct ask *ask = &client->asks[0];
    for (int i = 0; i < 2; i++) { /* the second time they are prepared */
        ask_and_wait(ask, &nothing, 5, 0);
        assert_int_equal(ask->query.rows, 0);
        ask_and_wait(ask, &null_value, 0, 0);
        assert_int_equal(ask->query.rows, 1);
        ask_and_wait(ask, &long_rows, 3, 0);
        assert_int_equal(ask->query.rows, 3);
        assert_int_equal(ask->bytes, 3 * LONG_ROW_BYTES + 3);
        ask_and_wait(ask, &update, 7, 0);
        assert_int_equal(ask->query.rows, 0);
        ask_and_wait(ask, &divide, 0, -EIO);
        assert_says(client, "division by zero (SQLSTATE 22012)");
        ask_and_wait(ask, &no_sql, 0, -EIO);
        assert_says(client, "syntax error");
        ask_and_wait(ask, &by_id, SAMPLE_ROWS, 0);
    }
    end_scene(scene);
}

static void test_answers(struct fixture *fixture) {
    try_answers(fixture, plain);
    try_answers(fixture, pipelined);
    try_answers(fixture, (struct db_options){.depth = 1});
    try_answers(fixture, (struct db_options){.depth = 8});
}

static void test_limits(struct fixture *fixture) {
    struct db_options options = {.prepare = true, .depth = 3, .read_only = true};
    struct scene *scene = new_scene(fixture, options);
    struct client *client = &scene->clients[0];
    connect_client(client);
    assert_int_equal(ask_something(&client->asks[0], &by_id, 1), -ENOTCONN);
    RUN_UNTIL(fixture, client->opened);
    assert_int_equal(ask_something(&client->asks[0], &update, 1), -EACCES);
    for (int i = 0; i < 3; i++)
        ask_well(&client->asks[i], &by_id, 1 + i);
    assert_int_equal(ask_something(&client->asks[3], &by_id, 4), -EBUSY);
    assert_int_equal(client->connection.in_flight, 3);
    RUN_UNTIL(fixture, client->in_flight == 0);
    ask_and_wait(&client->asks[0], &hidden_update, 1, -EIO);
    assert_says(client, "read-only transaction");
    ask_and_wait(&client->asks[0], &by_id, 1, 0);
    close_client(client);
    assert_int_equal(ask_something(&client->asks[0], &by_id, 1), -ENOTCONN);
    end_scene(scene);
}

static void test_batch(struct fixture *fixture) {
    static const int64_t divisors[] = {3, 4, 0, 6, 0, 2};
    static const int errors[] = {0, 0, -EIO, -ECANCELED, -ECANCELED, -ECANCELED};
    struct scene *scene = new_scene(fixture, pipelined);
    struct client *client = open_client(scene, 0);
    ask_and_wait(&client->asks[0], &divide, 1, 0);
    for (int round = 0; round < 3; round++) {
        uint64_t syncs = postgres_driver.counters(scene->db)->syncs;
        for (int i = 0; i < 6; i++)
            ask_well(&client->asks[i], &divide, divisors[i]);
        RUN_UNTIL(fixture, client->in_flight == 0);
        for (int i = 0; i < 6; i++)
            assert_int_equal(client->asks[i].err, errors[i]);
        assert_int_equal(client->asks[1].number, 3);
        assert_int_equal(postgres_driver.counters(scene->db)->syncs, syncs + 1);
        assert_says(client, "division by zero");
        ask_and_wait(&client->asks[7], &by_id, 77, 0);
    }
    /* A statement that is new in a batch that fails before it is prepared all the same. */
    ask_well(&client->asks[0], &divide, 0);
    ask_well(&client->asks[1], &by_id_too, 5);
    ask_well(&client->asks[2], &by_id_too, 6);
    RUN_UNTIL(fixture, client->in_flight == 0);
    assert_int_equal(client->asks[0].err, -EIO);
    assert_int_equal(client->asks[1].err, 0);
    assert_int_equal(client->asks[2].err, 0);
    /* One that cannot be prepared fails for all who want it, and for nobody else. */
    ask_well(&client->asks[0], &by_id, 5);
    ask_well(&client->asks[1], &no_sql, 0);
    RUN_UNTIL(fixture, client->in_flight == 0);
    assert_int_equal(client->asks[0].err, 0);
    assert_int_equal(client->asks[1].err, -EIO);
    assert_says(client, "syntax error");
    end_scene(scene);
}

/* Whoever was told that his change is made must not lose it to the failure of another's query. */
static void test_changes_in_batch(struct fixture *fixture) {
    struct scene *scene = new_scene(fixture, pipelined);
    struct client *client = open_client(scene, 0);
    struct ask *asks = client->asks;
    ask_and_wait(&asks[0], &value_of, 50, 0);
    int64_t before = asks[0].number;
    for (int round = 1; round <= 3; round++) {
        uint64_t syncs = postgres_driver.counters(scene->db)->syncs;
        ask_well(&asks[0], &by_id, 49);
        ask_well(&asks[1], &add_one, 50);
        ask_well(&asks[2], &divide, 0);
        ask_well(&asks[3], &add_one, 50);
        RUN_UNTIL(fixture, client->in_flight == 0);
        assert_int_equal(asks[1].err, 0);
        assert_int_equal(asks[2].err, -EIO);
        assert_int_equal(asks[3].err, -ECANCELED);
        ask_and_wait(&asks[0], &value_of, 50, 0);
        assert_int_equal(asks[0].number, before + round);
        if (round > 1) /* prepared: one behind each change, and that of the last question */
            assert_int_equal(postgres_driver.counters(scene->db)->syncs, syncs + 3);
    }
    end_scene(scene);
    on_the_side("update item set value = value - 3 where id = 50");
}

/* More than the sockets hold, to a server that does not read; then it does. */
static void test_more_than_fits(struct fixture *fixture) {
    enum { DEPTH = 1024, FILLER = 4000 };
    char sql[FILLER + 100];
    int length = snprintf(sql, sizeof sql, "select id, value, payload from item where id = $1 --");
    memset(sql + length, 'x', FILLER);
    sql[length + FILLER] = '\0';
    const struct db_statement wordy = {"wordy", sql, 1, false, false};
    struct scene *scene = new_scene(fixture, (struct db_options){.depth = DEPTH});
    struct client *client = open_client(scene, 0);
    pid_t pid = backend_of(client);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    for (int i = 0; i < DEPTH; i++)
        ask_well(&client->asks[i], &wordy, 1 + i);
    settle(fixture);
    assert_int_equal(client->in_flight, DEPTH);
    assert_int_equal(kill(pid, SIGCONT), 0);
    RUN_UNTIL(fixture, client->in_flight == 0);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(client->asks[i].err, 0);
        assert_int_equal(client->asks[i].number, 1 + i);
    }
    end_scene(scene);
}

static void test_cancel(struct fixture *fixture) {
    struct scene *scene = new_scene(fixture, pipelined);
    struct client *client = open_client(scene, 0);
    int descriptors = count_descriptors();
    IN_CALL(fixture, postgres_driver.cancel(&client->connection)); /* nothing to cancel */
    ask_well(&client->asks[0], &sleeps, 600000);
    settle(fixture);
    while (on_the_side("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 0)
        settle(fixture);
    IN_CALL(fixture, postgres_driver.cancel(&client->connection));
    IN_CALL(fixture, postgres_driver.cancel(&client->connection));
    RUN_UNTIL(fixture, client->in_flight == 0);
    assert_int_equal(client->asks[0].err, -EIO);
    assert_says(client, "canceling statement");
    /* The request has a connection of its own, on a thread, for a moment longer. */
    RUN_UNTIL(fixture, count_descriptors() <= descriptors);
    ask_and_wait(&client->asks[0], &by_id, 5, 0);
    end_scene(scene);
}

/* ---- ends ---------------------------------------------------------------------------------------
 */

static void close_here(struct ask *ask) {
    if (ask->client->connection.driver_state)
        close_client(ask->client);
}

static void close_at_once(struct client *client) {
    for (uint32_t i = 0; i < client->db->options.depth; i++)
        ask_well(&client->asks[i], &by_id, 1);
    close_client(client);
}

static void try_closing(struct fixture *fixture, struct db_options options) {
    struct scene *scene = new_scene(fixture, options);
    /* While queries run: one that the server is at work on, and others behind it. */
    struct client *client = open_client(scene, 0);
    for (uint32_t i = 0; i < options.depth; i++)
        ask_well(&client->asks[i], &sleeps, 600000);
    settle(fixture);
    close_client(client);
    assert_int_equal(client->in_flight, options.depth);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->closed_err, 0);
    for (uint32_t i = 0; i < options.depth; i++)
        assert_int_equal(client->asks[i].err, -ECONNRESET);
    /* In on_done, with others to come. */
    client = open_client(scene, 1);
    client->on_done = close_here;
    for (uint32_t i = 0; i < options.depth; i++)
        ask_well(&client->asks[i], &by_id, 1 + i);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->asks[0].err, 0);
    for (uint32_t i = 0; i < options.depth; i++)
        assert_int_equal(client->asks[i].done, 1);
    assert_int_equal(client->closed_err, 0);
    /* Before anything was sent, and while connecting. */
    client = &scene->clients[2];
    client->on_open = close_at_once;
    connect_client(client);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->asks[0].err, -ECONNRESET);
    for (int passes = 0; passes < 6; passes++) {
        client = &scene->clients[3 + passes];
        connect_client(client);
        for (int i = 0; i < passes && !client->opened; i++)
            one_pass(fixture);
        bool was_open = client->opened;
        close_client(client);
        RUN_UNTIL(fixture, client->closed);
        assert_int_equal(client->closed_err, 0);
        assert_int_equal(client->opened, was_open);
    }
    end_scene(scene);
    on_the_side("select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'loopmark'"); /* those that sleep */
    await_alone();
}

static void test_closing(struct fixture *fixture) {
    try_closing(fixture, plain);
    try_closing(fixture, pipelined);
}

static void try_dying(struct fixture *fixture, struct db_options options) {
    struct scene *scene = new_scene(fixture, options);
    struct client *client = open_client(scene, 0);
    ask_well(&client->asks[0], &dies, 0);
    if (options.depth > 1)
        ask_well(&client->asks[1], &by_id, 1);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->asks[0].err, -ECONNRESET);
    assert_int_equal(client->closed_err, -ECONNRESET);
    assert_says(client, "terminating connection due to administrator command (SQLSTATE 57P01)");
    /* While it does nothing. */
    client = open_client(scene, 1);
    pid_t pid = backend_of(client);
    char sql[80];
    snprintf(sql, sizeof sql, "select pg_terminate_backend(%d, 60000)", (int)pid);
    on_the_side(sql);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->closed_err, -ECONNRESET);
    assert_says(client, "terminating connection due to administrator command");
    /* By something that has no words, with queries that run and such that were never sent. */
    client = open_client(scene, 2);
    ask_well(&client->asks[0], &copies, 0);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->asks[0].err, -ECONNRESET);
    assert_true(client->closed_err < 0);
    end_scene(scene);
}

static void test_dying(struct fixture *fixture) {
    try_dying(fixture, plain);
    try_dying(fixture, pipelined);
}

static void terminate_one(void) {
    on_the_side("select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'loopmark' order by random() limit 1");
}

static void try_terminations(struct fixture *fixture, struct db_options options) {
    enum { COUNT = 4, KILLS = 8 };
    struct scene *scene = new_scene(fixture, options);
    for (int i = 0; i < COUNT; i++) {
        scene->clients[i].goal = UINT64_MAX / 2;
        scene->clients[i].on_open = begin_asking;
        scene->clients[i].reconnects = true;
        connect_client(&scene->clients[i]);
    }
    for (int kills = 0; kills < KILLS; kills++) {
        uint64_t connects = postgres_driver.counters(scene->db)->connects;
        uint64_t queries = postgres_driver.counters(scene->db)->queries;
        RUN_UNTIL(fixture, postgres_driver.counters(scene->db)->queries > queries + 100);
        terminate_one();
        RUN_UNTIL(fixture, postgres_driver.counters(scene->db)->connects > connects);
    }
    for (int i = 0; i < COUNT; i++) { /* each is alive */
        uint64_t done = scene->clients[i].done;
        RUN_UNTIL(fixture, scene->clients[i].done > done + 10);
    }
    uint64_t ended = 0;
    for (int i = 0; i < COUNT; i++)
        scene->clients[i].goal = 0;
    RUN_UNTIL(fixture, scene->clients[0].in_flight + scene->clients[1].in_flight +
                               scene->clients[2].in_flight + scene->clients[3].in_flight ==
                           0);
    for (int i = 0; i < COUNT; i++)
        ended += scene->clients[i].done + scene->clients[i].reset;
    assert_int_equal(postgres_driver.counters(scene->db)->queries, ended);
    end_scene(scene);
    await_alone();
}

static void test_terminations(struct fixture *fixture) {
    try_terminations(fixture, plain);
    try_terminations(fixture, pipelined);
}

static void test_restart(struct fixture *fixture) {
    enum { COUNT = 4 };
    struct error error = {""};
    struct scene *scene = new_scene(fixture, pipelined);
    for (int i = 0; i < COUNT; i++) {
        scene->clients[i].goal = UINT64_MAX / 2;
        scene->clients[i].on_open = begin_asking;
        connect_client(&scene->clients[i]);
    }
    for (int i = 0; i < COUNT; i++) /* each is open */
        RUN_UNTIL(fixture, scene->clients[i].done > 100);
    if (private_postgres_restart(&postgres, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < COUNT; i++) {
        struct client *client = &scene->clients[i];
        RUN_UNTIL(fixture, client->closed);
        assert_int_equal(client->closed_err, -ECONNRESET);
        assert_true(client->reset > 0);
        client->on_done = NULL;
        client->on_open = NULL;
    }
    ask_and_wait(&open_client(scene, 0)->asks[0], &by_id, 9, 0);
    end_scene(scene);
}

/* Closing does not wait for a server that does not move. */
static void test_stopped(struct fixture *fixture) {
    struct scene *scene = new_scene(fixture, pipelined);
    struct client *client = open_client(scene, 0), *late = &scene->clients[1];
    pid_t pid = backend_of(client);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(kill(postgres.server, SIGSTOP), 0);
    for (int i = 0; i < 8; i++)
        ask_well(&client->asks[i], &by_id, 1 + i);
    connect_client(late);
    settle(fixture);
    assert_int_equal(client->in_flight, 8);
    close_client(client);
    close_client(late);
    RUN_UNTIL(fixture, client->closed && late->closed);
    assert_int_equal(kill(postgres.server, SIGCONT), 0);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(client->closed_err, 0);
    assert_int_equal(late->closed_err, 0);
    assert_int_equal(late->opened, 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(client->asks[i].err, -ECONNRESET);
    end_scene(scene);
}

/* ---- connections that do not come about ---------------------------------------------------------
 */

static void try_refusal(struct fixture *fixture, const char *target, const char *words) {
    struct scene *scene =
        new_scene(fixture, (struct db_options){.target = target, .prepare = true, .depth = 1});
    struct client *client = &scene->clients[0];
    connect_client(client);
    RUN_UNTIL(fixture, client->closed);
    assert_int_equal(client->opened, 1);
    assert_int_equal(client->opened_err, -ECONNREFUSED);
    assert_says(client, words);
    end_scene(scene);
}

static void test_refusals(struct fixture *fixture) {
    char target[300], sql[400];
    snprintf(target, sizeof target, "host=%s user=postgres dbname=nowhere", postgres.folder);
    try_refusal(fixture, target, "database \"nowhere\" does not exist");
    snprintf(target, sizeof target, "host=%s/nowhere user=postgres", postgres.folder);
    try_refusal(fixture, target, "No such file or directory");
    try_refusal(fixture, "host=127.0.0.1 port=1 user=postgres", "Connection refused");
    try_refusal(fixture, "postgresql://postgres@localhost:1/postgres", "Connection refused");
    on_the_side("set client_min_messages = warning; set password_encryption = 'scram-sha-256';"
                "drop role if exists secretive; create role secretive login password 'right'");
    snprintf(sql, sizeof sql,
             "copy (values ('local all secretive scram-sha-256'), ('local all all trust'))"
             " to '%s/data/pg_hba.conf'",
             postgres.folder);
    on_the_side(sql);
    on_the_side("select pg_reload_conf()");
    snprintf(target, sizeof target, "host=%s user=secretive dbname=postgres password=right",
             postgres.folder);
    PGconn *probe; /* until the new rules are in force */
    bool asked;
    do {
        char no_password[300];
        snprintf(no_password, sizeof no_password, "host=%s user=secretive dbname=postgres",
                 postgres.folder);
        probe = PQconnectdb(no_password);
        asked = PQconnectionNeedsPassword(probe);
        PQfinish(probe);
    } while (!asked);
    struct scene *scene =
        new_scene(fixture, (struct db_options){.target = target, .prepare = true, .depth = 1});
    open_client(scene, 0);
    end_scene(scene);
    snprintf(target, sizeof target, "host=%s user=secretive dbname=postgres password=wrong",
             postgres.folder);
    try_refusal(fixture, target, "password authentication failed");
}

static void test_too_many(struct fixture *fixture) {
    enum { COUNT = CONNECTIONS + 5 };
    await_alone();
    struct scene *scene = new_scene(fixture, plain);
    for (int i = 0; i < COUNT; i++)
        connect_client(&scene->clients[i]);
    for (int i = 0; i < COUNT; i++)
        RUN_UNTIL(fixture, scene->clients[i].opened);
    int refused = 0;
    for (int i = 0; i < COUNT; i++) {
        struct client *client = &scene->clients[i];
        if (client->opened_err == 0) {
            ask_and_wait(&client->asks[0], &by_id, 1 + i, 0);
            continue;
        }
        refused++;
        RUN_UNTIL(fixture, client->closed);
        assert_says(client, "too many clients");
    }
    assert_true(refused >= 5 && refused < COUNT);
    end_scene(scene);
    await_alone();
}

static void test_targets(struct fixture *fixture) {
    static const char *const wrong[] = {"postgresql://[::1", "host", "colour=blue",
                                        "host=127.0.0.1,localhost"};
    struct error error;
    struct db *db;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct db_options options = {.target = wrong[i], .depth = 1};
        error.text[0] = '\0';
        assert_int_equal(postgres_driver.open(fixture->loop, &options, &db, &error), -EINVAL);
        assert_true(error.text[0] && !strchr(error.text, '\n'));
    }
    struct db_options options = {
        .target = "postgres://localhost/x?options=-c%20geqo%3Doff", .depth = 1, .read_only = true};
    assert_int_equal(postgres_driver.open(fixture->loop, &options, &db, &error), 0);
    postgres_driver.free(db);
    options.depth = 0;
    assert_int_equal(postgres_driver.open(fixture->loop, &options, &db, &error), -EINVAL);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"targets", test_targets, false},
        {"one by one", test_one_by_one, false},
        {"pipelined", test_pipelined, false},
        {"unprepared", test_unprepared, false},
        {"answers", test_answers, false},
        {"limits", test_limits, false},
        {"a batch that fails", test_batch, false},
        {"changes in a batch that fails", test_changes_in_batch, false},
        {"more than fits", test_more_than_fits, false},
        {"cancel", test_cancel, false},
        {"closing", test_closing, false},
        {"dying", test_dying, false},
        {"terminated under load", test_terminations, false},
        {"restarted under load", test_restart, false},
        {"stopped server", test_stopped, false},
        {"refusals", test_refusals, false},
        {"too many connections", test_too_many, false},
    };
    const struct private_postgres_plan plan = {.max_connections = CONNECTIONS};
    struct error error = {""};
    unsetenv("PGPORT"); /* targets here do not name it */
    int failure = private_postgres_start(&plan, &postgres, &error);
    if (failure == -ENOENT) {
        printf("skip postgres: %s\n", error.text);
        return 0;
    }
    if (failure) {
        printf("not ok postgres: %s\n", error.text);
        return 1;
    }
    int failures = conformance_main("postgres", cases, ARRAY_LENGTH(cases));
    private_postgres_stop(&postgres);
    return failures;
}

#endif
