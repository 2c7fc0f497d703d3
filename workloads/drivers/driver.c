/* driver.c: the registry of drivers. */
#include "workloads/drivers/driver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "workloads/drivers/postgres.h"
#include "workloads/drivers/sqlite.h"

static const struct db_driver *const drivers[] = {&sqlite_driver, &postgres_driver};

const struct db_driver *db_driver_at(size_t index) {
    return index < ARRAY_LENGTH(drivers) ? drivers[index] : NULL;
}

static bool has_scheme(const struct db_driver *driver, const char *scheme, size_t length) {
    for (const char *const *known = driver->schemes; *known; known++)
        if (strlen(*known) == length && memcmp(*known, scheme, length) == 0)
            return true;
    return false;
}

static int check_available(const struct db_driver *driver, struct error *error) {
    struct error reason = {""};
    if (driver->available(&reason))
        return 0;
    return error_set(error, -ENOTSUP, "%s: %s", driver->name, reason.text);
}

int db_driver_find(const char *name, const struct db_driver **driver, struct error *error) {
    char known[128] = "";
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        size_t used = strlen(known);
        if (strcmp(drivers[i]->name, name) == 0) {
            *driver = drivers[i];
            return check_available(drivers[i], error);
        }
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", drivers[i]->name);
    }
    return error_set(error, -ENOENT, "no database driver is called '%s'; there are: %s", name,
                     known);
}

int db_driver_for_target(const char *target, const struct db_driver **driver, struct error *error) {
    char known[128] = "";
    size_t length = strcspn(target, ":");
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        if (target[length] == ':' && has_scheme(drivers[i], target, length)) {
            *driver = drivers[i];
            return check_available(drivers[i], error);
        }
        for (const char *const *scheme = drivers[i]->schemes; *scheme; scheme++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s:", used ? ", " : "", *scheme);
        }
    }
    return error_set(error, -ENOENT, "'%s' is no database; targets begin with one of: %s", target,
                     known);
}
