/* database_routes.c: see database_routes.h. */
#include "database_routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/sample_table.h"

#define SLEEP_MOST_MS 3600000
#define CANCEL_NS (1 * NS_PER_S)

/* ---- questions --------------------------------------------------------------------------------
 */

enum { ROW, ROWS, UPDATE, SLOW };

static const struct db_statement statements[] = {
    [ROW] = {"row", "select id, value, payload from item where id = $1", 1, .one_row = true},
    [ROWS] = {"rows", "select id, value, payload from item where id >= $1 order by id limit $2", 2,
              false},
    [UPDATE] = {"update",
                "update item set value = value + 1 where id = $1 returning id, value, payload", 1,
                .writes = true, .one_row = true},
    [SLOW] = {"slow", "select cast($1 as bigint), pg_sleep(cast($1 as bigint) / 1000.0)", 1,
              .one_row = true},
};

/* What a request asks for: a statement and its parameters. */
struct question {
    int statement;
    int64_t parameters[2];
    uint32_t calls; /* of /calls; else 0 */
};

/* The k-th of a sequence that looks random and is the same in every run (SplitMix64). */
static uint64_t scatter(uint64_t k) {
    k = (k + 1) * 0x9e3779b97f4a7c15ull;
    k = (k ^ (k >> 30)) * 0xbf58476d1ce4e5b9ull;
    k = (k ^ (k >> 27)) * 0x94d049bb133111ebull;
    return k ^ (k >> 31);
}

/* From 1 to `most`. */
static int64_t random_id(const struct database_routes *routes, int64_t most) {
    return 1 + (int64_t)(scatter(2 * routes->requests) % (uint64_t)most);
}

static int64_t random_first(const struct database_routes *routes, int64_t rows) {
    return random_id(routes, rows < SAMPLE_ROWS ? SAMPLE_ROWS - rows + 1 : 1);
}

static struct question mixed(const struct database_routes *routes, int64_t id) {
    unsigned share = (unsigned)(scatter(2 * routes->requests + 1) % 20);
    if (share < 16 || (share == 19 && !routes->writes))
        return (struct question){.statement = ROW, .parameters = {id}};
    if (share < 19)
        return (struct question){.statement = ROWS, .parameters = {id, DATABASE_MIX_ROWS}};
    return (struct question){.statement = UPDATE, .parameters = {id}};
}

/* Reads "/NUMBER" with at most 18 digits and moves behind it. */
static bool take_number(const char **at, const char *end, int64_t *number) {
    const char *first = *at + 1, *c = first;
    if (*at == end || **at != '/')
        return false;
    for (*number = 0; c < end && *c >= '0' && *c <= '9' && c - first < 18; c++)
        *number = *number * 10 + (*c - '0');
    if (c == first)
        return false;
    *at = c;
    return true;
}

static bool take_word(const char **at, const char *end, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(end - *at) < length || memcmp(*at, word, length) != 0)
        return false;
    *at += length;
    return true;
}

/* Behind "/calls". */
static bool read_calls(const char *at, const char *end, struct question *question) {
    int64_t calls = 0, ms = 0;
    if (!take_number(&at, end, &calls) || !take_number(&at, end, &ms) || at < end)
        return false;
    *question = (struct question){.statement = SLOW, .parameters = {ms}, .calls = (uint32_t)calls};
    return calls >= 1 && calls <= DATABASE_CALLS_MOST && ms <= SLEEP_MOST_MS;
}

/* False: no path of ours. */
static bool read_question(const struct database_routes *routes,
                          const struct http_exchange *exchange, struct question *question) {
    const char *at = exchange->path, *end = at + exchange->path_bytes;
    int64_t number = 0, first = 0;
    if (take_word(&at, end, "/rows") && take_number(&at, end, &number)) {
        if (!take_number(&at, end, &first))
            first = random_first(routes, number);
        *question = (struct question){.statement = ROWS, .parameters = {first, number}};
        return at == end && number >= 1 && number <= DATABASE_ROWS_MOST;
    }
    at = exchange->path;
    if (take_word(&at, end, "/calls"))
        return read_calls(at, end, question);
    if (take_word(&at, end, "/mix")) {
        if (!take_number(&at, end, &number))
            number = random_first(routes, DATABASE_MIX_ROWS);
        *question = mixed(routes, number);
        return at == end;
    }
    if (take_word(&at, end, "/row"))
        *question = (struct question){.statement = ROW};
    else if (take_word(&at, end, "/update"))
        *question = (struct question){.statement = UPDATE};
    else if (take_word(&at, end, "/slow"))
        *question = (struct question){.statement = SLOW};
    else
        return false;
    if (!take_number(&at, end, &question->parameters[0]) || at < end)
        return false;
    return question->statement != SLOW || question->parameters[0] <= SLEEP_MOST_MS;
}

/* ---- jobs: one query each, or several calls, which are jobs of their own -----------------------
 */

/* It outlives its exchange when the client has gone or was told 504, and its query when a large
 * answer is on its way. */
struct job {
    struct job *next; /* of those that are idle */
    struct database_routes *routes;
    struct http_exchange *exchange; /* that waits for the answer, or null */
    bool leased;                    /* until its lease is over */
    bool asked;                     /* its query is under way */
    bool lent;                      /* its text is being sent */
    bool busy;                      /* somebody up the stack still needs it */
    bool cancelled;
    bool incomplete; /* there was no memory for all of the text */
    struct access_lease lease;
    struct db_query query;
    struct timer limit;
    char *text;
    size_t bytes, room;
    struct job *caller; /* that gets its answer instead of an exchange, or null */
    /* Of a caller: calls that are not begun, under way, and answered; and how the first one failed,
     * or 200. */
    struct question call;
    uint32_t calls_left, calls_under_way, calls_answered;
    int calls_status;
};

static struct job *take_job(struct database_routes *routes, struct http_exchange *exchange) {
    struct job *job = routes->idle_jobs;
    if (job)
        routes->idle_jobs = job->next;
    else
        job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    routes->jobs++;
    job->routes = routes;
    job->exchange = exchange;
    job->caller = NULL;
    job->bytes = 0;
    job->cancelled = job->incomplete = false;
    if (exchange)
        exchange->route = job;
    return job;
}

static void give_back_if_over(struct job *job) {
    struct database_routes *routes = job->routes;
    if (job->exchange || job->leased || job->lent || job->busy || job->calls_under_way > 0)
        return;
    job->next = routes->idle_jobs;
    routes->idle_jobs = job;
    routes->jobs--;
}

static void call_answered(struct job *caller, int status, const char *text, size_t n);

/* Its lease and its exchange may be over afterwards, and with them the job. */
static void answer(struct job *job, int status, const char *text, size_t n) {
    struct http_exchange *exchange = job->exchange;
    struct job *caller = job->caller;
    job->caller = NULL;
    if (caller)
        call_answered(caller, status, text, n);
    if (!exchange)
        return;
    job->routes->errors += status >= 500;
    job->exchange = NULL;
    job->lent = n > HTTP_COPIED_BYTES;
    http_reply(exchange, &(struct http_reply){.status = status, .body = text, .bytes = n});
}

static void answer_words(struct job *job, int status, const char *words) {
    char text[sizeof(struct error) + 1];
    size_t n = strlen(words);
    memcpy(text, words, n);
    text[n++] = '\n';
    answer(job, status, text, n);
}

/* ---- a query's course -------------------------------------------------------------------------
 */

static bool make_room(struct job *job, size_t n) {
    if (job->room - job->bytes >= n)
        return true;
    size_t room = job->room ? job->room * 2 : 512;
    while (room - job->bytes < n)
        room *= 2;
    char *text = realloc(job->text, room);
    if (!text)
        return false;
    job->text = text;
    job->room = room;
    return true;
}

static void row_came(struct db_query *query, const struct db_value *values, int count) {
    struct job *job = CONTAINER_OF(query, struct job, query);
    int columns = query->statement == &statements[SLOW] ? 1 : count; /* pg_sleep gives nothing */
    for (int i = 0; i < columns; i++) {
        if (!make_room(job, values[i].size + 1)) {
            job->incomplete = true;
            return;
        }
        if (values[i].size > 0)
            memcpy(job->text + job->bytes, values[i].bytes, values[i].size);
        job->bytes += values[i].size;
        job->text[job->bytes++] = i + 1 < columns ? ' ' : '\n';
    }
}

static void end_lease(struct job *job) {
    job->asked = false;
    timer_cancel(job->routes->loop, &job->limit);
    job->leased = access_release(&job->lease) != ACCESS_NOW;
}

static void query_ended(struct db_query *query, int err) {
    struct job *job = CONTAINER_OF(query, struct job, query);
    struct error error;
    /* Not its own fault, so it is asked again. */
    if (err == -ECANCELED && !job->cancelled &&
        job->routes->driver->query(job->lease.connection, query) == 0)
        return;
    if (err)
        error = job->lease.connection->error; /* which ends with the lease */
    if (err == -ECONNRESET)
        access_retire(&job->lease);
    job->busy = true;
    if (job->exchange)
        http_step(job->exchange, "has the rows");
    end_lease(job);
    if (err)
        answer_words(job, 500, error.text[0] ? error.text : "the query was not answered");
    else if (job->incomplete)
        answer_words(job, 500, "out of memory");
    else if (job->bytes == 0)
        answer_words(job, 404, "no such row");
    else
        answer(job, 200, job->text, job->bytes);
    job->busy = false;
    give_back_if_over(job);
}

/* First the client is told and the database asked to stop; then there is nothing left but to break
 * it off. */
static void query_takes_too_long(struct timer *timer) {
    struct job *job = CONTAINER_OF(timer, struct job, limit);
    struct database_routes *routes = job->routes;
    if (job->cancelled) {
        access_break(&job->lease);
        return;
    }
    job->cancelled = true;
    routes->timeouts++;
    timer_set(routes->loop, timer, loop_now_ns(routes->loop) + CANCEL_NS);
    access_retire(&job->lease);
    access_cancel(&job->lease);
    answer_words(job, 504, "the database did not answer in time");
}

/* 0, or a negative errno: it was not asked, and its lease is released. */
static int ask(struct job *job) {
    struct database_routes *routes = job->routes;
    int err = routes->driver->query(job->lease.connection, &job->query);
    if (err) {
        access_retire(&job->lease);
        end_lease(job);
        return err;
    }
    job->asked = true;
    if (job->exchange)
        http_step(job->exchange, "asked the database");
    job->limit.on_due = query_takes_too_long;
    if (routes->command_ns > 0)
        timer_set(routes->loop, &job->limit, loop_now_ns(routes->loop) + routes->command_ns);
    return 0;
}

static void refuse(struct job *job, int err) {
    if (err == -ETIMEDOUT)
        answer_words(job, 503, "no connection to the database within the time for it");
    else
        answer_words(job, 503, "no connection to the database");
}

static void lease_ready(struct access_lease *lease, int err) {
    struct job *job = CONTAINER_OF(lease, struct job, lease);
    if (err)
        job->leased = false;
    else
        err = ask(job);
    if (!err)
        return;
    job->busy = true;
    refuse(job, err);
    job->busy = false;
    give_back_if_over(job);
}

static void lease_over(struct access_lease *lease) {
    struct job *job = CONTAINER_OF(lease, struct job, lease);
    job->leased = false;
    give_back_if_over(job);
}

static void begin_job(struct job *job, const struct question *question) {
    job->query = (struct db_query){.statement = &statements[question->statement],
                                   .parameters = {question->parameters[0], question->parameters[1]},
                                   .on_row = row_came,
                                   .on_done = query_ended};
    job->lease = (struct access_lease){.ready = lease_ready, .over = lease_over};
    job->leased = true;
    int result = access_acquire(job->routes->access, &job->lease);
    if (result < 0)
        lease_ready(&job->lease, result);
    else if (result == ACCESS_NOW)
        lease_ready(&job->lease, 0);
}

/* ---- calls: queries of one request -------------------------------------------------------------
 */

static void begin_call(struct job *caller) {
    struct job *job = take_job(caller->routes, NULL);
    caller->calls_left--;
    caller->calls_under_way++;
    if (!job) {
        static const char words[] = "out of memory\n";
        call_answered(caller, 503, words, sizeof words - 1);
        return;
    }
    job->caller = caller;
    begin_job(job, &caller->call);
}

static void answer_calls(struct job *caller) {
    char text[64];
    if (caller->calls_status != 200)
        answer(caller, caller->calls_status, caller->text, caller->bytes);
    else
        answer(caller, 200, text,
               (size_t)snprintf(text, sizeof text, "%u %lld\n", caller->calls_answered,
                                (long long)caller->call.parameters[0]));
}

/* Begins as many as may be under way; answers when none are. */
static void go_on_calling(struct job *caller) {
    caller->busy = true; /* a call may fail at once */
    while (caller->calls_left > 0 && caller->calls_under_way < caller->routes->at_once)
        begin_call(caller);
    if (caller->calls_under_way == 0)
        answer_calls(caller);
    caller->busy = false;
    give_back_if_over(caller);
}

static void call_answered(struct job *caller, int status, const char *text, size_t n) {
    caller->calls_under_way--;
    caller->calls_answered += status == 200;
    if (status != 200)
        caller->calls_left = 0;
    if (status != 200 && caller->calls_status == 200) {
        caller->calls_status = status;
        if (make_room(caller, n)) {
            memcpy(caller->text, text, n);
            caller->bytes = n;
        }
    }
    if (!caller->busy)
        go_on_calling(caller);
}

static void begin_calls(struct job *caller, const struct question *question) {
    caller->call = *question;
    caller->calls_left = question->calls;
    caller->calls_under_way = caller->calls_answered = 0;
    caller->calls_status = 200;
    go_on_calling(caller);
}

/* ---- routes -----------------------------------------------------------------------------------
 */

static void reply_words(struct http_exchange *exchange, int status, const char *allow,
                        const char *words) {
    http_reply(exchange,
               &(struct http_reply){
                   .status = status, .allow = allow, .body = words, .bytes = strlen(words)});
}

static bool is_of_mix(const struct http_exchange *exchange) {
    return exchange->path[1] == 'm';
}

static bool begin(void *data, struct http_exchange *exchange) {
    struct database_routes *routes = data;
    struct question question;
    if (!read_question(routes, exchange, &question))
        return false;
    routes->requests++;
    struct job *job = NULL;
    if (question.statement == UPDATE && !routes->writes)
        reply_words(exchange, 403, NULL, "writing is not allowed here (--set writes=yes)\n");
    else if (question.statement == UPDATE && !exchange->changes && !is_of_mix(exchange))
        reply_words(exchange, 405, "POST, PUT", "this changes a row: POST it\n");
    else if (!(job = take_job(routes, exchange)))
        reply_words(exchange, 503, NULL, "out of memory\n");
    else if (question.calls > 0)
        begin_calls(job, &question);
    else
        begin_job(job, &question);
    return true;
}

static void gone(void *data, struct http_exchange *exchange) {
    (void)data;
    struct job *job = exchange->route;
    job->exchange = NULL;
    job->calls_left = 0;
    if (!job->asked && job->leased)
        job->leased = access_leave(&job->lease) != ACCESS_NOW;
    give_back_if_over(job);
}

static void sent(void *data, struct http_exchange *exchange) {
    (void)data;
    struct job *job = exchange->route;
    job->lent = false;
    give_back_if_over(job);
}

const struct http_routes database_http_routes = {.begin = begin, .gone = gone, .sent = sent};

void database_routes_free(struct database_routes *routes) {
    CHECK(routes->jobs == 0);
    while (routes->idle_jobs) {
        struct job *job = routes->idle_jobs;
        routes->idle_jobs = job->next;
        free(job->text);
        free(job);
    }
}
