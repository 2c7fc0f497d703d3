/* run_database.c: see run_database.h. */
#include "harness/run_database.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness/environment.h"
#include "loops/check.h"
#include "workloads/database.h"
#include "workloads/drivers/driver.h"

#ifdef HAVE_LIBPQ
#include <libpq-fe.h>
#endif

enum { FURTHER_CONNECTIONS = 20, CONNECTIONS_MOST = 10000 };

/* ---- who needs it ---------------------------------------------------------------------------- */

/* The word of a choice; "" where the workload has no such knob. */
static const char *choice(const struct knob_values *knobs, const char *name) {
    size_t index;
    const struct knob *knob = knob_find(knobs, name, &index);
    return knob && knob->type == KNOB_CHOICE ? knob->choices[(size_t)knobs->values[index]] : "";
}

bool run_database_needed(const struct run_database *database, const struct knob_values *knobs) {
    const char *driver = choice(knobs, "driver");
    return strcmp(driver, "postgres") == 0 || (database->given && strcmp(driver, "any") == 0);
}

bool run_database_beside(const struct knob_values *knobs) {
    return choice(knobs, "driver")[0] != '\0';
}

static double connections_of(const struct knob_values *knobs) {
    if (strcmp(choice(knobs, "driver"), "postgres") != 0)
        return 0;
    return strcmp(choice(knobs, "access"), "connection") == 0
               ? knob_get(knobs, "connections") * knob_get(knobs, "in_flight")
               : knob_get(knobs, "pool_max");
}

/* Those that take turns are there at a time. */
static double connections_of_cell(const struct experiment *experiment, const struct cell *cell) {
    double most = 0, sum = 0;
    for (size_t i = 0; i < experiment->contender_count; i++) {
        struct knob_values knobs;
        experiment_knobs(experiment, cell, &experiment->contenders[i], false, &knobs);
        double connections = connections_of(&knobs);
        most = connections > most ? connections : most;
        sum += connections;
    }
    return experiment->turn_ns > 0 ? sum : most;
}

unsigned run_database_connections(struct experiment *const *experiments, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        struct cell *cells;
        size_t cell_count = experiment_cells(experiments[i], &cells);
        for (size_t k = 0; k < cell_count; k++) {
            double connections = connections_of_cell(experiments[i], &cells[k]);
            most = connections > most ? connections : most;
        }
        free(cells);
    }
    most = 1.5 * most + FURTHER_CONNECTIONS;
    return most < CONNECTIONS_MOST ? (unsigned)most : CONNECTIONS_MOST;
}

/* ---- asking it ------------------------------------------------------------------------------- */

#ifdef HAVE_LIBPQ

static const char *value_of(const PQconninfoOption *options, const char *keyword) {
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

static int check_words(const char *target, struct error *error) {
    char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(target, &words);
    int failure = 0;
    if (!options)
        failure = error_set(error, -EINVAL, "cannot be read: %.*s",
                            (int)strcspn(words ? words : "", "\n"), words ? words : "");
    else if (value_of(options, "password"))
        failure = error_set(error, -EINVAL,
                            "a password on a command line can be read by every user, and would go "
                            "into the record: put it into PGPASSWORD or ~/.pgpass");
    PQconninfoFree(options);
    PQfreemem(words);
    return failure;
}

static int connect_to(const char *target, PGconn **connection, struct error *error) {
    const char *const keywords[] = {"dbname", "connect_timeout", NULL};
    const char *const values[] = {target, "10", NULL};
    *connection = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(*connection) == CONNECTION_OK)
        return 0;
    const char *words = PQerrorMessage(*connection);
    error_set(error, -ECONNREFUSED, "PostgreSQL: %.*s", (int)strcspn(words, "\n"), words);
    PQfinish(*connection);
    return -ECONNREFUSED;
}

static int see_that_it_answers(const char *target, struct error *error) {
    PGconn *connection;
    int failure = connect_to(target, &connection, error);
    if (!failure)
        PQfinish(connection);
    return failure;
}

/* "{max_connections,fsync,…}" */
static void setting_names(char *list, size_t size) {
    FILE *text = fmemopen(list, size, "w");
    CHECK(text);
    fputs("{max_connections", text);
    for (size_t i = 0; private_postgres_settings[i].name; i++)
        fprintf(text, ",%s", private_postgres_settings[i].name);
    fputs("}", text);
    fputc('\0', text);
    CHECK(fclose(text) == 0);
}

static json_t *ask_settings(PGconn *connection) {
    char list[2048];
    const char *const parameters[] = {list};
    json_t *settings = json_object();
    setting_names(list, sizeof list);
    PGresult *result = PQexecParams(connection,
                                    "select name, current_setting(name) from pg_settings"
                                    " where name = any($1::text[]) order by name",
                                    1, NULL, parameters, NULL, NULL, 0);
    for (int i = 0; i < PQntuples(result); i++)
        json_object_set_new(settings, PQgetvalue(result, i, 0),
                            json_string(PQgetvalue(result, i, 1)));
    PQclear(result);
    return settings;
}

static void add_what_it_says(json_t *object, const char *target) {
    PGconn *connection;
    struct error ignored;
    if (connect_to(target, &connection, &ignored))
        return;
    const char *version = PQparameterStatus(connection, "server_version");
    json_object_set_new(object, "version", version ? json_string(version) : json_null());
    json_object_set_new(object, "settings", ask_settings(connection));
    PQfinish(connection);
}

#else

static int not_built(struct error *error) {
    return error_set(error, -ENOTSUP, "not built: libpq-dev was missing at build time");
}

static int check_words(const char *target, struct error *error) {
    (void)target;
    return not_built(error);
}

static int see_that_it_answers(const char *target, struct error *error) {
    (void)target;
    return not_built(error);
}

static void add_what_it_says(json_t *object, const char *target) {
    (void)object;
    (void)target;
}

#endif

int run_database_check(const char *target, struct error *error) {
    const struct db_driver *driver;
    int failure = db_driver_for_target(target, &driver, error);
    if (!failure && strcmp(driver->name, "postgres") != 0)
        return error_set(error, -EINVAL, "is of %s: it has to be a postgresql://…", driver->name);
    return failure ? failure : check_words(target, error);
}

const char *run_database_from_environment(void) {
    const char *target = getenv(DATABASE_VARIABLE);
    const struct db_driver *driver;
    struct error ignored;
    bool ours = target && db_driver_for_target(target, &driver, &ignored) == 0 &&
                strcmp(driver->name, "postgres") == 0;
    return ours ? target : NULL;
}

/* ---- its life -------------------------------------------------------------------------------- */

int run_database_open(struct run_database *database, struct error *error) {
    if (!database->tried) {
        struct private_postgres_plan plan = {.max_connections = database->max_connections,
                                             .cpus = database->cpus};
        database->failure =
            database->given ? see_that_it_answers(database->given, &database->error)
                            : private_postgres_start(&plan, &database->postgres, &database->error);
        database->tried = true;
    }
    return database->failure ? error_set(error, database->failure, "%s", database->error.text) : 0;
}

const char *run_database_target(const struct run_database *database) {
    return database->given ? database->given : database->postgres.target;
}

bool run_database_alive(struct run_database *database, struct error *error) {
    return database->given || private_postgres_alive(&database->postgres, error);
}

json_t *run_database_describe(const struct run_database *database) {
    if (!database->tried || database->failure)
        return json_null();
    char cpus[CPU_LIST_BYTES];
    cpu_list_format(&database->cpus, cpus, sizeof cpus);
    json_t *object =
        json_pack("{s:s, s:n, s:n, s:s?}", "source", database->given ? "given" : "private",
                  "version", "settings", "cpus", database->given || !cpus[0] ? NULL : cpus);
    add_what_it_says(object, run_database_target(database));
    return object;
}

void run_database_close(struct run_database *database) {
    if (database->tried && !database->given)
        private_postgres_stop(&database->postgres);
}
