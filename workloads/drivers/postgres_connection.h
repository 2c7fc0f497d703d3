/* postgres_connection.h: one connection, as postgres.c and postgres_queries.c share it: the one has
 * its life from connecting to its end, the other its queries on the wire. Nobody else's. */
#ifndef LOOPMARK_POSTGRES_CONNECTION_H
#define LOOPMARK_POSTGRES_CONNECTION_H

#include <libpq-fe.h>

#include "workloads/drivers/driver.h"

enum postgres_state { POSTGRES_CONNECTING, POSTGRES_OPEN, POSTGRES_ENDING };

struct postgres_connection {
    struct db_connection *connection;
    PGconn *pq;
    struct watch watch; /* its descriptor is our own; -1: none */
    enum postgres_state state;
    int end_err;     /* ENDING: of closed() */
    bool tell_open;  /* ENDING: it never opened, and that has to be told */
    bool last_words; /* the server has said why it ends the connection */
    bool cancelled;  /* the first query */
    bool taking;     /* answers, and flushes behind them */

    /* Queries in their order: sent ones, then `unsent` and what follows it. */
    struct db_query *first, *last, *unsent;
    /* Of the first one, or of the preparing that precedes it. */
    bool answered, single_rows;
    int answer_err;

    const struct db_statement *prepared[DB_STATEMENTS_MOST];
    struct postgres_connection *next_due;
    bool due;
};

/* All three keep the words in connection->error. */
void postgres_note_words(struct postgres_connection *own, const char *text);
void postgres_note_result(struct postgres_connection *own, const PGresult *result);
/* After such an error the server closes the connection. */
bool postgres_is_fatal(const PGresult *result);

void postgres_append(struct postgres_connection *own, struct db_query *query);
/* The first one, which has ended with whatever result. */
struct db_query *postgres_pop(struct postgres_connection *own);

/* Gives what is unsent to libpq as one batch. Flushing is still to be done. False: libpq is not
 * able to, and the connection is of no more use. */
bool postgres_send_batch(struct postgres_connection *own);

/* Whether a query was sent that has not ended. */
bool postgres_waits(const struct postgres_connection *own);
/* Whether libpq has answers already, which postgres_take_answers would find. */
bool postgres_has_answers(struct postgres_connection *own);
/* Tells rows and ends of queries as far as libpq has read them. Stops when a callback has ended the
 * connection. -ECONNRESET, -EPROTO: it has to be ended now. */
int postgres_take_answers(struct postgres_connection *own);

#endif
