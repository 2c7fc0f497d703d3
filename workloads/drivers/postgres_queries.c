/* postgres_queries.c: queries of one PostgreSQL connection, sent in batches and answered in order.
 *
 * How libpq (14 to 16) behaves, and what that made of this file:
 * - connections are in pipeline mode whatever the depth: at depth 1 the bytes on the wire are the
 *   same as without it. PQpipelineSync sends, so there is one for a batch, behind its queries
 * - a failing query aborts what follows it up to the next sync, and undoes what precedes it since
 *   the last one, which was told as done. So there is a sync behind each query that writes, and a
 *   statement is prepared between syncs of its own
 * - a result row is a PGresult of its own (single-row mode), which has to be asked for each query
 *   after the end of the one before it and before PQisBusy looks at the next bytes. It costs a copy
 *   of the row's description and one more PGresult: a statement of one row goes without
 * - an answer is results and then a null one. With nothing left to come there is only null */
#ifdef HAVE_LIBPQ

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "workloads/drivers/postgres_connection.h"

/* ---- words ------------------------------------------------------------------------------------
 */

/* The first line: what follows are hints for people at a terminal. */
void postgres_note_words(struct postgres_connection *own, const char *text) {
    error_set(&own->connection->error, 0, "%.*s", (int)strcspn(text, "\n"), text);
}

void postgres_note_result(struct postgres_connection *own, const PGresult *result) {
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (primary && code)
        error_set(&own->connection->error, 0, "%.*s (SQLSTATE %s)", (int)strcspn(primary, "\n"),
                  primary, code);
    else
        postgres_note_words(own, PQresultErrorMessage(result));
}

bool postgres_is_fatal(const PGresult *result) {
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* ---- the line of queries ------------------------------------------------------------------------
 */

/* In a query's driver_state: the next answer is that of preparing its statement. */
static const char preparing;

void postgres_append(struct postgres_connection *own, struct db_query *query) {
    query->connection = own->connection;
    query->next = NULL;
    query->driver_state = NULL;
    query->rows = 0;
    if (own->first)
        own->last->next = query;
    else
        own->first = query;
    own->last = query;
    if (!own->unsent)
        own->unsent = query;
    own->connection->in_flight++;
}

struct db_query *postgres_pop(struct postgres_connection *own) {
    struct db_query *query = own->first;
    if (own->unsent == query)
        own->unsent = query->next;
    own->first = query->next;
    own->connection->in_flight--;
    own->connection->db->counters.queries++;
    return query;
}

bool postgres_waits(const struct postgres_connection *own) {
    return own->first && own->first != own->unsent;
}

/* ---- sending ------------------------------------------------------------------------------------
 */

static const struct db_statement **find_prepared(struct postgres_connection *own,
                                                 const struct db_statement *statement) {
    for (size_t i = 0; i < DB_STATEMENTS_MOST; i++)
        if (own->prepared[i] == statement)
            return &own->prepared[i];
    return NULL;
}

static bool sync_batch(struct postgres_connection *own) {
    own->connection->db->counters.syncs++;
    return PQpipelineSync(own->pq);
}

/* With a sync on both sides. It is known as prepared from now on, so that it is sent only once; an
 * error takes that back. */
static bool send_prepare(struct postgres_connection *own, struct db_query *query, bool in_batch) {
    const struct db_statement *statement = query->statement;
    const struct db_statement **place = find_prepared(own, NULL);
    CHECK(place); /* more than DB_STATEMENTS_MOST */
    *place = statement;
    query->driver_state = (void *)&preparing;
    own->connection->db->counters.prepares++;
    return (!in_batch || sync_batch(own)) &&
           PQsendPrepare(own->pq, statement->name, statement->sql, 0, NULL) && sync_batch(own);
}

static bool send_unprepared(struct postgres_connection *own, const struct db_statement *statement,
                            const char *const *values) {
    return PQsendQueryParams(own->pq, statement->sql, statement->parameters, NULL, values, NULL,
                             NULL, 0);
}

static bool send_prepared(struct postgres_connection *own, struct db_query *query,
                          const char *const *values, bool in_batch) {
    const struct db_statement *statement = query->statement;
    return (find_prepared(own, statement) || send_prepare(own, query, in_batch)) &&
           PQsendQueryPrepared(own->pq, statement->name, statement->parameters, values, NULL, NULL,
                               0);
}

/* `*in_batch`: whether the queries before it want a sync; and then whether it wants one. */
static bool send_query(struct postgres_connection *own, struct db_query *query, bool *in_batch) {
    const struct db_statement *statement = query->statement;
    char texts[DB_PARAMETERS_MOST][24];
    const char *values[DB_PARAMETERS_MOST];
    for (int i = 0; i < statement->parameters; i++) {
        snprintf(texts[i], sizeof texts[i], "%" PRId64, query->parameters[i]);
        values[i] = texts[i];
    }
    bool sent = own->connection->db->options.prepare
                    ? send_prepared(own, query, values, *in_batch)
                    : send_unprepared(own, statement, values);
    *in_batch = !statement->writes;
    return sent && (*in_batch || sync_batch(own));
}

bool postgres_send_batch(struct postgres_connection *own) {
    bool sent = true, in_batch = false;
    while (sent && own->unsent) {
        struct db_query *query = own->unsent;
        own->unsent = query->next;
        sent = send_query(own, query, &in_batch);
    }
    return sent && (!in_batch || sync_batch(own));
}

/* ---- answers ------------------------------------------------------------------------------------
 */

/* No effect before its turn has come, and then it is called again. */
static void ask_for_single_rows(struct postgres_connection *own) {
    if (postgres_waits(own) && !own->first->driver_state && !own->first->statement->one_row &&
        !own->answered && !own->single_rows)
        own->single_rows = PQsetSingleRowMode(own->pq);
}

bool postgres_has_answers(struct postgres_connection *own) {
    ask_for_single_rows(own);
    return postgres_waits(own) && !PQisBusy(own->pq);
}

static void tell_rows(struct db_query *query, const PGresult *result) {
    struct db_value values[DB_COLUMNS_MOST];
    int columns = PQnfields(result), rows = PQntuples(result);
    if (columns > DB_COLUMNS_MOST)
        columns = DB_COLUMNS_MOST;
    for (int row = 0; row < rows; row++) {
        for (int i = 0; i < columns; i++) {
            bool null = PQgetisnull(result, row, i);
            values[i] = (struct db_value){
                .bytes = null ? NULL : PQgetvalue(result, row, i),
                .size = (size_t)PQgetlength(result, row, i),
            };
        }
        query->rows++;
        if (query->on_row)
            query->on_row(query, values, columns);
    }
}

/* "It does not exist" comes of a failed preparing, whose words are the ones to keep. */
static int take_error(struct postgres_connection *own, const PGresult *result) {
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    own->answer_err = -EIO;
    if (!code || strcmp(code, "26000") != 0)
        postgres_note_result(own, result);
    if (!postgres_is_fatal(result) && PQstatus(own->pq) != CONNECTION_BAD)
        return 0;
    own->last_words = true;
    return -ECONNRESET;
}

static int take_result(struct postgres_connection *own, const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC)
        return 0;
    bool wanted = postgres_waits(own);
    own->answered = wanted;
    switch (status) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        if (wanted)
            tell_rows(own->first, result);
        return 0;
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        return 0;
    case PGRES_PIPELINE_ABORTED:
        own->answer_err = -ECANCELED;
        return 0;
    case PGRES_FATAL_ERROR:
        return take_error(own, result);
    default:
        return error_set(&own->connection->error, -EPROTO,
                         "%s: not a statement that can be run here", PQresStatus(status));
    }
}

/* Of the first query, or of its preparing. If that failed, the query's own error follows. */
static void end_answer(struct postgres_connection *own) {
    struct db_query *query = own->first;
    int err = own->answer_err;
    own->answered = own->single_rows = false;
    own->answer_err = 0;
    if (query->driver_state) {
        query->driver_state = NULL;
        if (err)
            *find_prepared(own, query->statement) = NULL;
        return;
    }
    own->cancelled = false;
    postgres_pop(own);
    query->on_done(query, err);
}

int postgres_take_answers(struct postgres_connection *own) {
    int failure = 0;
    while (!failure && own->state == POSTGRES_OPEN) {
        ask_for_single_rows(own);
        if (PQisBusy(own->pq))
            break;
        PGresult *result = PQgetResult(own->pq);
        if (!result && !own->answered)
            break;
        if (result)
            failure = take_result(own, result);
        else
            end_answer(own);
        PQclear(result);
    }
    return failure;
}

#endif
