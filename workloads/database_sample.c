/* database_sample.c: see database_sample.h. */
#include "database_sample.h"

#include <errno.h>

#ifndef HAVE_SQLITE3

int database_sample_make(struct database_sample *sample, struct error *error) {
    (void)sample;
    return error_set(error, -ENOTSUP,
                     "not built: SQLite (Debian: libsqlite3-dev) was missing at build time");
}

void database_sample_remove(struct database_sample *sample) {
    (void)sample;
}

#else

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/sample_table.h"
#include "loops/check.h"

#define SCHEME "sqlite:"

static const char *path_of(const struct database_sample *sample) {
    return sample->target + strlen(SCHEME);
}

static int fill(sqlite3 *handle, struct error *error) {
    for (size_t i = 0; i < ARRAY_LENGTH(sample_table_sql); i++)
        if (sqlite3_exec(handle, sample_table_sql[i], NULL, NULL, NULL) != SQLITE_OK)
            return error_set(error, -EIO, "cannot make the sample table: %s",
                             sqlite3_errmsg(handle));
    return 0;
}

static int make_file(const char *path, struct error *error) {
    sqlite3 *handle = NULL;
    int failure = 0;
    if (sqlite3_open(path, &handle) != SQLITE_OK)
        failure = error_set(error, -EIO, "cannot make %s: %s", path,
                            handle ? sqlite3_errmsg(handle) : "out of memory");
    if (!failure)
        failure = fill(handle, error);
    sqlite3_close(handle);
    return failure;
}

int database_sample_make(struct database_sample *sample, struct error *error) {
    const char *parent = getenv("TMPDIR");
    if (!parent || strlen(parent) > sizeof sample->folder - sizeof "/loopmark-db-XXXXXX")
        parent = "/tmp";
    snprintf(sample->folder, sizeof sample->folder, "%s/loopmark-db-XXXXXX", parent);
    if (!mkdtemp(sample->folder)) {
        int err = -errno;
        error_set(error, err, "cannot make a folder in %s: %s", parent, strerror(-err));
        sample->folder[0] = '\0';
        return err;
    }
    snprintf(sample->target, sizeof sample->target, SCHEME "%s/sample.db", sample->folder);
    int failure = make_file(path_of(sample), error);
    if (failure)
        database_sample_remove(sample);
    return failure;
}

void database_sample_remove(struct database_sample *sample) {
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    char path[sizeof sample->target + 16];
    if (!sample->folder[0])
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        snprintf(path, sizeof path, "%s%s", path_of(sample), endings[i]);
        unlink(path);
    }
    rmdir(sample->folder);
    sample->folder[0] = '\0';
}

#endif
