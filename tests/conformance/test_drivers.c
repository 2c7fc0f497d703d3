/* test_drivers.c: every database driver on every loop, with the same cases.
 *
 * To add a driver is to add a line to `databases`: how to begin a database for one case, how to end
 * it, and what cannot be opened there. The SQL of the cases is what all databases take; the slow
 * query is pg_sleep(), which lasts an hour here unless it is ended. */
#include "conformance.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "loops/threadpool.h"
#include "workloads/drivers/driver.h"

enum { HOUR_S = 3600, DEPTH = 8, THREADS = 3 };

/* ---- databases ------------------------------------------------------------------------------- */

struct database {
    const char *driver;
    /* Begins one, with no tables or such as an earlier case left, and writes its target; once for
     * each case. False: it cannot be had here, with the reason. */
    bool (*begin)(struct fixture *fixture, char *target, size_t size, struct error *reason);
    /* Nothing is left in the fixture's directory. */
    void (*end)(struct fixture *fixture);
    /* Writes the i-th target that cannot be connected to, or false beyond the last. */
    bool (*bad_target)(struct fixture *fixture, int i, char *target, size_t size);
    const char *malformed; /* a target that cannot even be opened */
    /* It runs in this process: each `begin` is a fresh one; one cancel is enough, also of a query
     * that is only on its way; it may be freed with connections open; it has options.threads. */
    bool embedded;
};

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool begin_sqlite(struct fixture *fixture, char *target, size_t size, struct error *reason) {
    (void)reason;
    char path[128];
    snprintf(path, sizeof path, "%s/database", fixture->directory);
    write_file(path, "");
    snprintf(target, size, "sqlite:%s", path);
    return true;
}

static void end_sqlite(struct fixture *fixture) {
    static const char *const names[] = {"database", "database-wal", "database-shm", "text"};
    char path[128];
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof path, "%s/%s", fixture->directory, names[i]);
        unlink(path);
    }
}

static bool bad_sqlite_target(struct fixture *fixture, int i, char *target, size_t size) {
    static const char *const names[] = {"", "/none", "/none/none", "/text"};
    if (i >= (int)ARRAY_LENGTH(names))
        return false;
    snprintf(target, size, "%s/text", fixture->directory);
    write_file(target, "This is a file, but no database. It is longer than a header is: it has to "
                       "have a hundred bytes for SQLite to look at them at all, or it is empty.");
    snprintf(target, size, "sqlite:%s%s", fixture->directory, names[i]);
    return true;
}

static const struct database databases[] = {
    {"sqlite", begin_sqlite, end_sqlite, bad_sqlite_target, "sqlite::memory:", true},
};

/* ---- statements ------------------------------------------------------------------------------ */

static const struct db_statement drop = {"drop", "drop table if exists thing", 0, true, false};
static const struct db_statement create = {
    "create", "create table thing (id bigint primary key, number bigint, word text)", 0, true,
    false};
static const struct db_statement insert = {"insert", "insert into thing values ($1, $2, 'a word')",
                                           2, true, false};
static const struct db_statement insert_unmarked = {
    "insert-unmarked", "insert into thing values (-1, -1, 'none')", 0, false, false};
static const struct db_statement add = {
    "add", "update thing set number = number + $2 where id = $1", 2, true, false};
static const struct db_statement fill = {
    "fill",
    "insert into thing with recursive n(id) as (select cast(1 as bigint) union all select id + 1"
    " from n where id < $1) select id, id * 7, 'word ' || id from n",
    1, true, false};
static const struct db_statement find = {"find", "select id, number, word from thing where id = $1",
                                         1, false, false};
static const struct db_statement range = {
    "range", "select id, number from thing where id between $1 and $2 order by id", 2, false,
    false};
static const struct db_statement minus = {
    "minus", "select cast($2 as bigint) - cast($1 as bigint), $2 + cast($1 as bigint)", 2, false,
    false};
static const struct db_statement nothings = {"nothings", "select null, '', 'x', null", 0, false,
                                             false};
static const struct db_statement big = {
    "big",
    "with recursive twice(n, word) as (select 0, cast('0123456789abcdef' as text) union all"
    " select n + 1, word || word from twice where n < 16) select word, 1 from twice where n = 16",
    0, false, false};
static const struct db_statement wrong = {"wrong", "select absent from nowhere", 0, false, false};
static const struct db_statement slow = {"slow", "select pg_sleep($1)", 1, false, false};
static const struct db_statement busy = {
    "busy",
    "with recursive n(i) as (select cast(1 as bigint) union all select i + 1 from n where i < $1)"
    " select count(*) from n",
    1, false, false};

/* ---- a database under test --------------------------------------------------------------------
 */

struct bench {
    struct fixture *fixture;
    const struct database *database;
    const struct db_driver *driver;
    char target[256];
    struct db *db;
};

/* A connection, and what happened to it. */
struct line {
    struct db_connection connection;
    struct bench *bench;
    int opens, closes, open_err, close_err;
    int dones; /* of all queries */
    void (*on_open)(struct line *line);
};

/* A query, and what became of it. */
struct question {
    struct db_query query;
    struct line *line;
    int place; /* among the ends of its line, from 1 */
    int dones, err;
    int rows, columns;
    char text[4][64]; /* of the last row's first columns; "NULL" for such */
    size_t sizes[4];
    uint64_t hash; /* of all bytes of all rows */
    int64_t sum;   /* of the first column */
    void (*then)(struct question *question);
};

static void check_callback(const struct line *line) {
    assert_false(line->bench->fixture->in_call);
    assert_int_equal(line->closes, 0);
}

static void line_opened(struct db_connection *connection, int err) {
    struct line *line = CONTAINER_OF(connection, struct line, connection);
    check_callback(line);
    assert_int_equal(line->opens, 0);
    line->opens++;
    line->open_err = err;
    if (line->on_open)
        line->on_open(line);
}

static void line_closed(struct db_connection *connection, int err) {
    struct line *line = CONTAINER_OF(connection, struct line, connection);
    check_callback(line);
    assert_int_equal(connection->in_flight, 0);
    line->closes++;
    line->close_err = err;
}

static const struct db_connection_events line_events = {line_opened, line_closed};

static void question_row(struct db_query *query, const struct db_value *values, int count) {
    struct question *question = CONTAINER_OF(query, struct question, query);
    check_callback(question->line);
    assert_int_equal(question->dones, 0);
    question->rows++;
    question->columns = count;
    assert_int_equal(query->rows, question->rows);
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; values[i].bytes && k < values[i].size; k++)
            question->hash = (question->hash ^ (unsigned char)values[i].bytes[k]) * 1099511628211u;
        if (i >= 4)
            continue;
        question->sizes[i] = values[i].size;
        snprintf(question->text[i], sizeof question->text[i], "%.*s",
                 values[i].bytes ? (int)values[i].size : 4,
                 values[i].bytes ? values[i].bytes : "NULL");
    }
    question->sum += strtoll(question->text[0], NULL, 10);
}

static void question_done(struct db_query *query, int err) {
    struct question *question = CONTAINER_OF(query, struct question, query);
    check_callback(question->line);
    question->dones++;
    question->err = err;
    question->place = ++question->line->dones;
    if (question->then)
        question->then(question);
}

static int ask(struct line *line, struct question *question, const struct db_statement *statement,
               int64_t first, int64_t second) {
    int failure;
    void (*then)(struct question *) = question->then;
    *question = (struct question){.query = {.statement = statement,
                                            .parameters = {first, second},
                                            .on_row = question_row,
                                            .on_done = question_done},
                                  .line = line,
                                  .then = then};
    IN_CALL(line->bench->fixture,
            failure = line->bench->driver->query(&line->connection, &question->query));
    return failure;
}

/* Asks and waits for the end. */
static void ask_now(struct line *line, struct question *question,
                    const struct db_statement *statement, int64_t first, int64_t second) {
    question->then = NULL;
    assert_int_equal(ask(line, question, statement, first, second), 0);
    RUN_UNTIL(line->bench->fixture, question->dones);
}

/* And it has to succeed. */
static void run(struct line *line, const struct db_statement *statement, int64_t first,
                int64_t second) {
    struct question question;
    ask_now(line, &question, statement, first, second);
    if (question.err)
        fail_msg("%s: %s", statement->name, line->connection.error.text);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void connect_line(struct bench *bench, struct line *line) {
    int failure;
    void (*on_open)(struct line *) = line->on_open;
    *line = (struct line){.connection.events = &line_events, .bench = bench, .on_open = on_open};
    IN_CALL(bench->fixture, failure = bench->driver->connect(bench->db, &line->connection));
    assert_int_equal(failure, 0);
}

static void open_line(struct bench *bench, struct line *line) {
    line->on_open = NULL;
    connect_line(bench, line);
    RUN_UNTIL(bench->fixture, line->opens);
    if (line->open_err)
        fail_msg("%s: %s", bench->target, line->connection.error.text);
}

static void begin_close(struct line *line) {
    IN_CALL(line->bench->fixture, line->bench->driver->close(&line->connection));
}

static void close_line(struct line *line) {
    begin_close(line);
    RUN_UNTIL(line->bench->fixture, line->closes);
    assert_int_equal(line->close_err, 0);
}

static void cancel(struct line *line) {
    IN_CALL(line->bench->fixture, line->bench->driver->cancel(&line->connection));
}

/* ---- benches --------------------------------------------------------------------------------- */

/* What the cases open a database with, but for its target. */
static const struct db_options usual = {.prepare = true, .depth = DEPTH, .threads = THREADS};

static void open_db(struct bench *bench, const struct db_options *options) {
    struct error error = {""};
    struct db_options all = *options;
    all.target = bench->target;
    if (all.depth > bench->driver->depth_most)
        all.depth = bench->driver->depth_most;
    if (bench->driver->open(bench->fixture->loop, &all, &bench->db, &error))
        fail_msg("%s: %s", bench->target, error.text);
}

static void free_db(struct bench *bench) {
    bench->driver->free(bench->db);
    bench->db = NULL;
}

static bool begin_bench(struct bench *bench, struct fixture *fixture,
                        const struct database *database) {
    struct error error = {""};
    *bench = (struct bench){.fixture = fixture, .database = database};
    if (db_driver_find(database->driver, &bench->driver, &error) ||
        !database->begin(fixture, bench->target, sizeof bench->target, &error)) {
        print_message("%s: skipped: %s\n", fixture->info.name, error.text);
        return false;
    }
    open_db(bench, &usual);
    return true;
}

/* A fresh table with the ids 1 to `rows`. */
static void make_table(struct line *line, int64_t rows) {
    run(line, &drop, 0, 0);
    run(line, &create, 0, 0);
    if (rows > 0)
        run(line, &fill, rows, 0);
}

static void with_each_database(struct fixture *fixture, void (*test)(struct bench *bench)) {
    int benches = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(databases); i++) {
        struct bench bench;
        if (!begin_bench(&bench, fixture, &databases[i]))
            continue;
        benches++;
        test(&bench);
        if (bench.db)
            free_db(&bench);
        databases[i].end(fixture);
    }
    if (benches == 0)
        skip_case(fixture, "there is no database");
}

#define CASE(name)                                                                                 \
    static void test_##name(struct fixture *fixture) {                                             \
        with_each_database(fixture, name);                                                         \
    }

/* ---- opening --------------------------------------------------------------------------------- */

static void registry(struct bench *bench) {
    const struct db_driver *driver = NULL;
    struct error error = {""};
    assert_int_equal(db_driver_for_target(bench->target, &driver, &error), 0);
    assert_ptr_equal(driver, bench->driver);
    assert_int_equal(db_driver_for_target("nothing:here", &driver, &error), -ENOENT);
    assert_non_null(strstr(error.text, "sqlite:"));
    assert_int_equal(db_driver_for_target(bench->driver->name, &driver, &error), -ENOENT);
    assert_int_equal(db_driver_find("nothing", &driver, &error), -ENOENT);
    assert_non_null(strstr(error.text, bench->driver->name));
    size_t count = 0;
    while (db_driver_at(count))
        count++;
    assert_in_range(count, 1, 10);
}
CASE(registry)

static void open_errors(struct bench *bench) {
    struct line line = {.on_open = NULL};
    struct error error = {""};
    struct db *db;
    struct db_options options = usual;
    options.target = bench->database->malformed;
    assert_int_equal(bench->driver->open(bench->fixture->loop, &options, &db, &error), -EINVAL);
    assert_true(error.text[0]);
    options.target = bench->target;
    options.depth = bench->driver->depth_most + 1;
    assert_int_equal(bench->driver->open(bench->fixture->loop, &options, &db, &error), -EINVAL);
    free_db(bench);
    options = usual;
    for (int i = 0;
         bench->database->bad_target(bench->fixture, i / 2, bench->target, sizeof bench->target);
         i++) {
        options.read_only = i % 2;
        open_db(bench, &options);
        connect_line(bench, &line);
        RUN_UNTIL(bench->fixture, line.closes);
        assert_int_equal(line.opens, 1);
        assert_true(line.open_err < 0);
        assert_int_equal(line.close_err, line.open_err);
        assert_true(line.connection.error.text[0]);
        if (i / 2 == 1 && strcmp(bench->driver->name, "sqlite") == 0)
            assert_int_equal(line.open_err, -ENOENT);
        free_db(bench);
    }
}
CASE(open_errors)

/* Several find a database that nobody has ever opened. */
static void first_openers(struct bench *bench) {
    enum { LINES = 4, ROUNDS = 100 };
    struct line lines[LINES];
    for (int round = 0; bench->database->embedded && round < ROUNDS; round++) {
        free_db(bench);
        bench->database->end(bench->fixture);
        assert_true(
            bench->database->begin(bench->fixture, bench->target, sizeof bench->target, NULL));
        open_db(bench, &usual);
        for (int i = 0; i < LINES; i++) {
            lines[i].on_open = NULL;
            connect_line(bench, &lines[i]);
        }
        for (int i = 0; i < LINES; i++) {
            RUN_UNTIL(bench->fixture, lines[i].opens);
            if (lines[i].open_err)
                fail_msg("%s", lines[i].connection.error.text);
        }
        for (int i = 0; i < LINES; i++)
            begin_close(&lines[i]);
        for (int i = 0; i < LINES; i++)
            RUN_UNTIL(bench->fixture, lines[i].closes);
    }
}
CASE(first_openers)

static void close_in_open(struct line *line) {
    line->bench->driver->close(&line->connection);
    line->bench->driver->close(&line->connection);
}

static void close_early(struct bench *bench) {
    struct line line = {.on_open = NULL};
    struct question question = {.then = NULL};
    for (int passes = 0; passes < 6; passes++) {
        connect_line(bench, &line);
        assert_int_equal(ask(&line, &question, &nothings, 0, 0), -ENOTCONN);
        cancel(&line);
        for (int i = 0; i < passes; i++)
            one_pass(bench->fixture);
        close_line(&line);
        assert_int_equal(ask(&line, &question, &nothings, 0, 0), -ENOTCONN);
        begin_close(&line);
        cancel(&line);
        settle(bench->fixture);
        assert_true(line.opens == 0 || line.open_err == 0);
    }
    line.on_open = close_in_open;
    connect_line(bench, &line);
    RUN_UNTIL(bench->fixture, line.closes);
    assert_int_equal(line.close_err, 0);
    assert_int_equal(question.dones, 0);
}
CASE(close_early)

/* ---- answers --------------------------------------------------------------------------------- */

static void rows(struct bench *bench) {
    struct line line;
    struct question question;
    open_line(bench, &line);
    make_table(&line, 1000);
    for (int round = 0; round < 2; round++) { /* the second time it is prepared */
        ask_now(&line, &question, &find, 77, 0);
        assert_int_equal(question.err, 0);
        assert_int_equal(question.rows, 1);
        assert_int_equal(question.columns, 3);
        assert_string_equal(question.text[0], "77");
        assert_string_equal(question.text[1], "539");
        assert_string_equal(question.text[2], "word 77");
        ask_now(&line, &question, &find, 7777, 0);
        assert_int_equal(question.err, 0);
        assert_int_equal(question.rows, 0);
        ask_now(&line, &question, &range, 11, 910);
        assert_int_equal(question.rows, 900);
        assert_int_equal(question.sum, (11 + 910) * 900 / 2);
        assert_string_equal(question.text[1], "6370");
        ask_now(&line, &question, &minus, -5, INT64_C(1) << 60);
        assert_string_equal(question.text[0], "1152921504606846981");
        assert_string_equal(question.text[1], "1152921504606846971");
    }
    close_line(&line);
}
CASE(rows)

static void null_and_empty(struct bench *bench) {
    struct line line;
    struct question question;
    open_line(bench, &line);
    ask_now(&line, &question, &nothings, 0, 0);
    assert_int_equal(question.err, 0);
    assert_int_equal(question.columns, 4);
    assert_string_equal(question.text[0], "NULL");
    assert_string_equal(question.text[1], "");
    assert_string_equal(question.text[2], "x");
    assert_string_equal(question.text[3], "NULL");
    close_line(&line);
}
CASE(null_and_empty)

static void big_value(struct bench *bench) {
    struct line line;
    struct question question;
    uint64_t hash = 0;
    for (size_t i = 0; i < 1 << 20; i++)
        hash = (hash ^ (unsigned char)"0123456789abcdef"[i % 16]) * 1099511628211u;
    hash = (hash ^ '1') * 1099511628211u;
    open_line(bench, &line);
    for (int round = 0; round < 3; round++) {
        ask_now(&line, &question, &big, 0, 0);
        assert_int_equal(question.err, 0);
        assert_int_equal(question.sizes[0], 1 << 20);
        assert_true(question.hash == hash);
        ask_now(&line, &question, &nothings, 0, 0); /* small after big */
        assert_string_equal(question.text[2], "x");
    }
    close_line(&line);
}
CASE(big_value)

/* ---- writing --------------------------------------------------------------------------------- */

static void writes(struct bench *bench) {
    struct line line;
    struct question question;
    open_line(bench, &line);
    make_table(&line, 0);
    run(&line, &insert, 5, 50);
    run(&line, &add, 5, -8);
    ask_now(&line, &question, &find, 5, 0);
    assert_string_equal(question.text[1], "42");
    assert_string_equal(question.text[2], "a word");
    ask_now(&line, &question, &insert, 5, 1); /* the key is taken */
    assert_int_equal(question.err, -EIO);
    assert_true(line.connection.error.text[0]);
    ask_now(&line, &question, &find, 5, 0);
    assert_string_equal(question.text[1], "42");
    close_line(&line);
    open_line(bench, &line); /* it is there for others */
    ask_now(&line, &question, &find, 5, 0);
    assert_string_equal(question.text[1], "42");
    close_line(&line);
}
CASE(writes)

static void errors(struct bench *bench) {
    struct line line;
    struct question question;
    open_line(bench, &line);
    for (int i = 0; i < 20; i++) { /* more often than statements can be prepared */
        ask_now(&line, &question, &wrong, 0, 0);
        assert_int_equal(question.err, -EIO);
        assert_int_equal(question.rows, 0);
        assert_non_null(strstr(line.connection.error.text, "nowhere"));
        ask_now(&line, &question, &nothings, 0, 0);
        assert_int_equal(question.err, 0);
    }
    assert_int_equal(line.closes, 0);
    close_line(&line);
}
CASE(errors)

/* All connections add to the same row at a time: they wait for each other, and nothing is lost. */
static void writers(struct bench *bench) {
    enum { LINES = 4, ROUNDS = 25 };
    struct line lines[LINES];
    struct question questions[LINES];
    for (int i = 0; i < LINES; i++)
        open_line(bench, &lines[i]);
    make_table(&lines[0], 1);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < LINES; i++) {
            questions[i].then = NULL;
            assert_int_equal(ask(&lines[i], &questions[i], &add, 1, i + 1), 0);
        }
        for (int i = 0; i < LINES; i++) {
            RUN_UNTIL(bench->fixture, questions[i].dones);
            if (questions[i].err)
                fail_msg("%s", lines[i].connection.error.text);
        }
    }
    ask_now(&lines[0], &questions[0], &find, 1, 0);
    assert_string_equal(questions[0].text[1], "257"); /* 7 + 25 * (1 + 2 + 3 + 4) */
    for (int i = 0; i < LINES; i++)
        close_line(&lines[i]);
}
CASE(writers)

static void read_only(struct bench *bench) {
    struct line line;
    struct question question = {.then = NULL};
    struct db_options options = usual;
    open_line(bench, &line);
    make_table(&line, 3);
    close_line(&line);
    free_db(bench);
    options.read_only = true;
    open_db(bench, &options);
    open_line(bench, &line);
    assert_int_equal(ask(&line, &question, &insert, 9, 9), -EACCES);
    ask_now(&line, &question, &insert_unmarked, 0, 0);
    assert_int_equal(question.err, -EIO);
    assert_true(line.connection.error.text[0]);
    ask_now(&line, &question, &find, 3, 0);
    assert_int_equal(question.err, 0);
    assert_string_equal(question.text[1], "21");
    ask_now(&line, &question, &find, -1, 0);
    assert_int_equal(question.rows, 0);
    close_line(&line);
}
CASE(read_only)

/* ---- several in flight ----------------------------------------------------------------------- */

static void depth(struct bench *bench) {
    struct line line;
    struct question questions[DEPTH + 1] = {{.then = NULL}};
    int most = (int)bench->db->options.depth;
    open_line(bench, &line);
    make_table(&line, DEPTH);
    for (int round = 0; round < 3; round++) {
        int before = line.dones;
        for (int i = 0; i < most; i++)
            assert_int_equal(ask(&line, &questions[i], &find, i + 1, 0), 0);
        assert_int_equal(ask(&line, &questions[most], &find, 1, 0), -EBUSY);
        assert_int_equal(line.connection.in_flight, most);
        RUN_UNTIL(bench->fixture, line.dones == before + most);
        settle(bench->fixture);
        assert_int_equal(line.connection.in_flight, 0);
        assert_int_equal(questions[most].dones, 0);
        for (int i = 0; i < most; i++) {
            assert_int_equal(questions[i].dones, 1);
            assert_int_equal(questions[i].err, 0);
            assert_int_equal(questions[i].place, before + i + 1);
            assert_int_equal(questions[i].sum, i + 1);
        }
    }
    close_line(&line);
}
CASE(depth)

/* One is slow, another quick; the first is cancelled and of use again. */
static void parallel(struct bench *bench) {
    struct line a, b;
    struct question question, quick;
    open_line(bench, &a);
    open_line(bench, &b);
    for (int round = 0; round < 3; round++) {
        question.then = NULL;
        assert_int_equal(ask(&a, &question, round == 1 ? &busy : &slow,
                             round == 1 ? INT64_C(1) << 50 : HOUR_S, 0),
                         0);
        for (int i = 0; i < 10; i++) {
            ask_now(&b, &quick, &minus, i, 100);
            assert_int_equal(quick.sum, 100 - i);
        }
        settle(bench->fixture);
        assert_int_equal(question.dones, 0);
        cancel(&b); /* where nothing runs, it has no effect */
        cancel(&a);
        RUN_UNTIL(bench->fixture, question.dones);
        assert_int_equal(question.err, -EIO);
        assert_true(a.connection.error.text[0]);
        ask_now(&a, &quick, &minus, 1, 2);
        assert_int_equal(quick.err, 0);
        ask_now(&b, &quick, &minus, 1, 2);
        assert_int_equal(quick.err, 0);
    }
    ask_now(&a, &question, &slow, 0, 0);
    assert_int_equal(question.err, 0);
    assert_int_equal(question.rows, 1);
    assert_string_equal(question.text[0], "");
    close_line(&a);
    close_line(&b);
}
CASE(parallel)

/* Cancels at once, so that it may not have begun. */
static void cancel_at_once(struct bench *bench) {
    struct line line;
    struct question question;
    open_line(bench, &line);
    for (int i = 0; i < 200; i++) {
        question.then = NULL;
        assert_int_equal(
            ask(&line, &question, i % 2 ? &busy : &slow, i % 2 ? INT64_C(1) << 50 : HOUR_S, 0), 0);
        for (int passes = i % 7; passes > 0; passes--)
            one_pass(bench->fixture);
        for (int passes = 0; !question.dones; passes++) {
            if (passes == 0 || !bench->database->embedded)
                cancel(&line);
            (passes < 100 ? one_pass : one_millisecond)(bench->fixture);
        }
        assert_int_equal(question.err, -EIO);
    }
    ask_now(&line, &question, &minus, 1, 2);
    close_line(&line);
}
CASE(cancel_at_once)

/* All threads are at work, so that the query cannot have begun; and it never does. */
static void cancel_waiting(struct bench *bench) {
    struct line lines[THREADS + 1];
    struct question questions[THREADS + 1] = {{.then = NULL}}, *last = &questions[THREADS];
    if (!bench->database->embedded)
        return;
    for (int i = 0; i <= THREADS; i++)
        open_line(bench, &lines[i]);
    make_table(&lines[THREADS], 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(ask(&lines[i], &questions[i], &slow, HOUR_S, 0), 0);
    assert_int_equal(ask(&lines[THREADS], last, &insert, 1, 1), 0);
    settle(bench->fixture);
    cancel(&lines[THREADS]);
    settle(bench->fixture);
    assert_int_equal(last->dones, 0);
    cancel(&lines[0]);
    RUN_UNTIL(bench->fixture, last->dones);
    assert_int_equal(last->err, -EIO);
    assert_string_equal(lines[THREADS].connection.error.text, "interrupted");
    ask_now(&lines[THREADS], last, &find, 1, 0);
    assert_int_equal(last->err, 0);
    assert_int_equal(last->rows, 0);
    for (int i = 0; i <= THREADS; i++)
        close_line(&lines[i]);
}
CASE(cancel_waiting)

/* Every query in flight ends once, and then the connection. */
static void close_in_flight(struct bench *bench) {
    struct line line;
    struct question questions[DEPTH], late = {.then = NULL};
    int most = (int)bench->db->options.depth;
    for (int round = 0; round < 8; round++) {
        open_line(bench, &line);
        for (int i = 0; i < most; i++) {
            questions[i].then = NULL;
            assert_int_equal(ask(&line, &questions[i], round % 2 ? &slow : &busy,
                                 round % 2 ? HOUR_S : INT64_C(1) << 50, 0),
                             0);
        }
        for (int passes = 0; passes < round; passes++)
            one_pass(bench->fixture);
        begin_close(&line);
        assert_int_equal(ask(&line, &late, &nothings, 0, 0), -ENOTCONN);
        RUN_UNTIL(bench->fixture, line.closes);
        assert_int_equal(line.close_err, 0);
        assert_int_equal(line.dones, most);
        for (int i = 0; i < most; i++) {
            assert_int_equal(questions[i].dones, 1);
            assert_int_equal(questions[i].err, -ECONNRESET);
            assert_int_equal(questions[i].place, i + 1);
        }
    }
}
CASE(close_in_flight)

static void close_in_done(struct question *question) {
    question->line->bench->driver->close(&question->line->connection);
}

static void close_from_callback(struct bench *bench) {
    struct line line;
    struct question questions[2];
    int most = bench->db->options.depth > 1 ? 2 : 1;
    open_line(bench, &line);
    for (int i = 0; i < most; i++) {
        questions[i].then = i == 0 ? close_in_done : NULL;
        assert_int_equal(ask(&line, &questions[i], &nothings, 0, 0), 0);
    }
    RUN_UNTIL(bench->fixture, line.closes);
    assert_int_equal(questions[0].err, 0);
    if (most == 2)
        assert_int_equal(questions[1].err, -ECONNRESET);
    assert_int_equal(line.dones, most);
}
CASE(close_from_callback)

/* ---- many ------------------------------------------------------------------------------------ */

enum { MANY = 10000, LINES_OF_MANY = 4, IDS = 500 };

struct asker {
    struct question question;
    struct crowd *crowd;
    int64_t id;
};

struct crowd {
    int asked, right;
    struct line lines[LINES_OF_MANY];
    struct asker askers[LINES_OF_MANY][DEPTH];
};

static void ask_next(struct question *question);

static void ask_one(struct asker *asker, struct line *line) {
    struct crowd *crowd = asker->crowd;
    asker->id = crowd->asked++ * INT64_C(7919) % IDS + 1;
    asker->question.then = ask_next;
    assert_int_equal(ask(line, &asker->question, &find, asker->id, 0), 0);
}

static void ask_next(struct question *question) {
    struct asker *asker = CONTAINER_OF(question, struct asker, question);
    struct crowd *crowd = asker->crowd;
    if (question->err == 0 && question->rows == 1 && question->sum == asker->id &&
        strtoll(question->text[1], NULL, 10) == asker->id * 7)
        crowd->right++;
    if (crowd->asked < MANY)
        ask_one(asker, question->line);
}

static void many(struct bench *bench) {
    struct crowd *crowd = calloc(1, sizeof *crowd);
    assert_non_null(crowd);
    for (int i = 0; i < LINES_OF_MANY; i++)
        open_line(bench, &crowd->lines[i]);
    make_table(&crowd->lines[0], IDS);
    struct db_counters before = *bench->driver->counters(bench->db);
    for (int i = 0; i < LINES_OF_MANY; i++)
        for (int k = 0; k < (int)bench->db->options.depth; k++) {
            crowd->askers[i][k].crowd = crowd;
            ask_one(&crowd->askers[i][k], &crowd->lines[i]);
        }
    RUN_UNTIL(bench->fixture, crowd->right == MANY);
    settle(bench->fixture);
    const struct db_counters *counters = bench->driver->counters(bench->db);
    assert_int_equal(counters->queries - before.queries, MANY);
    assert_int_equal(counters->prepares - before.prepares, LINES_OF_MANY);
    assert_int_equal(counters->connects, LINES_OF_MANY);
    for (int i = 0; i < LINES_OF_MANY; i++)
        close_line(&crowd->lines[i]);
    free(crowd);
}
CASE(many)

static void unprepared(struct bench *bench) {
    struct line line;
    struct question question;
    struct db_options options = usual;
    options.prepare = false;
    options.depth = 1;
    free_db(bench);
    open_db(bench, &options);
    open_line(bench, &line);
    make_table(&line, 10);
    for (int i = 1; i <= 10; i++) {
        ask_now(&line, &question, &find, i, 0);
        assert_int_equal(question.sum, i);
        ask_now(&line, &question, &wrong, 0, 0);
        assert_int_equal(question.err, -EIO);
    }
    assert_int_equal(bench->driver->counters(bench->db)->prepares, 0);
    close_line(&line);
}
CASE(unprepared)

/* ---- the end --------------------------------------------------------------------------------- */

struct last_line {
    struct line line;
    bool freed;
};

static void free_in_closed(struct db_connection *connection, int err) {
    struct last_line *last = CONTAINER_OF(connection, struct last_line, line.connection);
    assert_int_equal(err, 0);
    free_db(last->line.bench);
    last->freed = true;
}

static void freed_in_closed(struct bench *bench) {
    static const struct db_connection_events events = {line_opened, free_in_closed};
    struct last_line last;
    open_line(bench, &last.line);
    last.freed = false;
    last.line.connection.events = &events;
    begin_close(&last.line);
    RUN_UNTIL(bench->fixture, last.freed);
}
CASE(freed_in_closed)

/* The loop will not run again: an embedded database may be freed as it is. */
static void abandoned(struct bench *bench) {
    if (!bench->database->embedded)
        return;
    for (int passes = 0; passes < 4; passes++) {
        struct line lines[4];
        struct question question = {.then = NULL};
        for (int i = 0; i < 4; i++)
            lines[i].on_open = NULL;
        open_line(bench, &lines[0]);
        open_line(bench, &lines[1]);
        for (int i = 2; i < 4; i++)
            connect_line(bench, &lines[i]);
        assert_int_equal(ask(&lines[0], &question, &slow, HOUR_S, 0), 0);
        for (int i = 0; i < passes; i++)
            one_pass(bench->fixture);
        if (passes % 2)
            begin_close(&lines[1]);
        free_db(bench);
        assert_int_equal(question.dones, 0);
        reopen_loop(bench->fixture, NULL);
        open_db(bench, &usual);
    }
}
CASE(abandoned)

int main(void) {
    static const struct conformance_case cases[] = {
        {"drivers are found", test_registry, false},
        {"what cannot be opened", test_open_errors, false},
        {"four open it for the first time", test_first_openers, false},
        {"closed while it opens", test_close_early, false},
        {"no row, one, many", test_rows, false},
        {"NULL and nothing", test_null_and_empty, false},
        {"a value of 1 MiB", test_big_value, false},
        {"inserts and updates", test_writes, false},
        {"errors leave it usable", test_errors, false},
        {"four write the same row", test_writers, false},
        {"read only", test_read_only, false},
        {"as many as its depth", test_depth, false},
        {"slow and quick, and a cancel", test_parallel, false},
        {"cancelled at once", test_cancel_at_once, false},
        {"cancelled before it began", test_cancel_waiting, false},
        {"closed with queries in flight", test_close_in_flight, false},
        {"closed in a callback", test_close_from_callback, false},
        {"10,000 queries", test_many, false},
        {"without preparing", test_unprepared, false},
        {"freed in the last closed", test_freed_in_closed, false},
        {"freed with everything under way", test_abandoned, false},
    };
    return conformance_main("drivers", cases, ARRAY_LENGTH(cases));
}
