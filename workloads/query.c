/* query.c: asks a database itself, as pgbench --select-only does: rows of the sample table
 * (drivers/sample_table.h) by random ids. A client only: the database is the server.
 *
 * A connection is one of the driver (drivers/driver.h), and its depth is what may be in flight.
 * Each answer has to have the ids that were asked for; when it verifies, their payloads too. Ids
 * are uniform, and follow from the seed alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/driver.h"
#include "drivers/sample_table.h"
#include "workload.h"

enum { QUERY_ROW, QUERY_ROWS };

static const char *const query_words[] = {[QUERY_ROW] = "row", [QUERY_ROWS] = "rows", NULL};

static const struct knob query_knobs[] = {
    {.name = "query",
     .help = "one row by its id, or rows that follow each other",
     .type = KNOB_CHOICE,
     .side = KNOB_CLIENT,
     .initial = QUERY_ROW,
     .most = QUERY_ROWS,
     .choices = query_words},
    {.name = "rows",
     .help = "of query=rows",
     .type = KNOB_COUNT,
     .side = KNOB_CLIENT,
     .initial = 100,
     .least = 1,
     .most = SAMPLE_ROWS},
    {.name = "prepare",
     .help = "prepare statements once for each connection",
     .type = KNOB_FLAG,
     .side = KNOB_CLIENT,
     .initial = 1,
     .most = 1},
};

static const struct db_statement statements[] = {
    [QUERY_ROW] = {"row", "select id, value, payload from item where id = $1", 1, .one_row = true},
    [QUERY_ROWS] = {"rows",
                    "select id, value, payload from item where id >= $1 order by id limit $2", 2,
                    false},
};

struct client {
    const struct db_driver *driver;
    struct db *db;
    const struct client_events *events;
    const struct db_statement *statement;
    uint32_t in_flight;
    int64_t rows; /* of one answer */
    bool verify;
    uint64_t random; /* the generator's state */
};

/* One query, and what its answer has shown so far. */
struct question {
    struct db_query query;
    const char *wrong; /* null: nothing */
    size_t bytes;
};

struct asker {
    struct client *client;
    void *slot;
    struct db_connection connection;
    bool opened;
    uint32_t next;               /* question to use: they end in their order */
    struct question questions[]; /* in_flight */
};

static struct asker *asker_of(const struct db_query *query) {
    return query->connection->data;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* SplitMix64, https://prng.di.unimi.it/splitmix64.c. */
static uint64_t next_random(uint64_t *state) {
    uint64_t value = *state += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* Such that all the rows there are to be are there. */
static int64_t random_id(struct client *client) {
    uint64_t firsts = (uint64_t)(SAMPLE_ROWS - client->rows + 1);
    return 1 + (int64_t)(next_random(&client->random) % firsts);
}

static bool is_number(const struct db_value *value, int64_t number) {
    int64_t said = 0;
    size_t i = 0;
    while (i < value->size && i < 18 && value->bytes[i] >= '0' && value->bytes[i] <= '9')
        said = said * 10 + (value->bytes[i++] - '0');
    return i > 0 && i == value->size && said == number;
}

static bool is_payload_of(const struct db_value *value, int64_t id) {
    char begins[32];
    size_t length = (size_t)snprintf(begins, sizeof begins, "item %lld ", (long long)id);
    return value->size == SAMPLE_PAYLOAD_BYTES && memcmp(value->bytes, begins, length) == 0;
}

static void take_row(struct db_query *query, const struct db_value *values, int count) {
    struct question *question = CONTAINER_OF(query, struct question, query);
    int64_t id = query->parameters[0] + (int64_t)query->rows - 1;
    for (int i = 0; i < count; i++)
        question->bytes += values[i].size;
    if (count < 3 || !is_number(&values[0], id))
        question->wrong = "not the id that was asked for";
    else if (asker_of(query)->client->verify && !is_payload_of(&values[2], id))
        question->wrong = "not the payload of this id";
}

/* When the connection broke, its end says it of all that were outstanding. */
static void query_done(struct db_query *query, int err) {
    struct question *question = CONTAINER_OF(query, struct question, query);
    const struct asker *asker = asker_of(query);
    const struct client *client = asker->client;
    struct answer answer = {.bytes = question->bytes, .what = question->wrong};
    if (err == -ECONNRESET)
        return;
    if (err)
        answer = (struct answer){.err = -EIO, .what = asker->connection.error.text};
    if (err == -ECANCELED)
        answer.what = "not run: another query of its batch failed";
    if (err == 0 && !answer.what && query->rows != (uint64_t)client->rows)
        answer.what = query->rows ? "not as many rows as were asked for" : "no row of this id";
    if (err == 0 && answer.what)
        answer.err = -EBADMSG;
    client->events->answered(asker->slot, &answer);
}

static int query_request(void *connection) {
    struct asker *asker = connection;
    struct client *client = asker->client;
    struct question *question = &asker->questions[asker->next];
    *question = (struct question){.query = {.statement = client->statement,
                                            .parameters = {random_id(client), client->rows},
                                            .on_row = take_row,
                                            .on_done = query_done}};
    int failure = client->driver->query(&asker->connection, &question->query);
    if (failure) {
        client->driver->close(&asker->connection);
        return failure;
    }
    if (++asker->next == client->in_flight)
        asker->next = 0;
    return 0;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void connection_opened(struct db_connection *connection, int err) {
    struct asker *asker = connection->data;
    asker->opened = err == 0;
    if (asker->opened)
        asker->client->events->opened(asker->slot);
}

static void connection_closed(struct db_connection *connection, int err) {
    struct asker *asker = connection->data;
    struct client_end end = {.err = err,
                             .step = asker->opened ? CLIENT_RECEIVE : CLIENT_CONNECT,
                             .what = err ? connection->error.text : NULL};
    asker->client->events->closed(asker->slot, &end);
    free(asker);
}

static const struct db_connection_events connection_events = {.opened = connection_opened,
                                                              .closed = connection_closed};

static int query_connect(struct client *client, const struct endpoint *source, void *slot,
                         void **connection) {
    (void)source; /* the driver opens its own sockets */
    struct asker *asker =
        calloc(1, sizeof *asker + client->in_flight * sizeof asker->questions[0]);
    if (!asker)
        return -ENOMEM;
    asker->client = client;
    asker->slot = slot;
    asker->connection = (struct db_connection){.events = &connection_events, .data = asker};
    int failure = client->driver->connect(client->db, &asker->connection);
    if (failure)
        free(asker);
    else
        *connection = asker;
    return failure;
}

static void query_close(void *connection) {
    struct asker *asker = connection;
    asker->client->driver->close(&asker->connection);
}

/* ---- the client ------------------------------------------------------------------------------ */

static int query_start(const struct client_setup *setup, struct client **out, struct error *error) {
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        return error_set(error, -ENOMEM, "out of memory");
    int query = (int)knob_get(setup->knobs, "query");
    struct db_options options = {.target = setup->url->path,
                                 .prepare = knob_get(setup->knobs, "prepare") != 0,
                                 .read_only = true,
                                 .depth = setup->in_flight};
    *client = (struct client){
        .events = setup->events,
        .statement = &statements[query],
        .in_flight = setup->in_flight,
        .rows = query == QUERY_ROWS ? (int64_t)knob_get(setup->knobs, "rows") : 1,
        .verify = setup->verify,
        .random = setup->seed << 32, /* so that neighbours begin far from each other */
    };
    int failure = db_driver_for_target(options.target, &client->driver, error);
    if (!failure)
        failure = client->driver->open(setup->loop, &options, &client->db, error);
    if (failure)
        free(client);
    else
        *out = client;
    return failure;
}

static void query_stop(struct client *client) {
    client->driver->free(client->db);
    free(client);
}

static const struct workload_client query_client = {.start = query_start,
                                                    .connect = query_connect,
                                                    .request = query_request,
                                                    .close = query_close,
                                                    .stop = query_stop};

static const char *const query_schemes[] = {"postgresql", "postgres", "sqlite", NULL};

extern const struct workload query_workload;
const struct workload query_workload = {
    .name = "query",
    .summary = "rows of a database, asked for without anything between: only for `load`",
    .schemes = query_schemes,
    .knobs = {query_knobs, ARRAY_LENGTH(query_knobs)},
    .client = &query_client,
};
