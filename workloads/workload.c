/* workload.c: the list of workloads. */
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern const struct workload echo_workload;

static const struct workload *const workloads[] = {
    &echo_workload,
};

const struct workload *workload_at(size_t index) {
    return index < ARRAY_LENGTH(workloads) ? workloads[index] : NULL;
}

const struct workload *workload_find(const char *name, struct error *error) {
    char known[256] = "";
    for (size_t i = 0; i < ARRAY_LENGTH(workloads); i++) {
        if (strcmp(workloads[i]->name, name) == 0)
            return workloads[i];
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", workloads[i]->name);
    }
    error_set(error, -ENOENT, "no workload is called '%s'; there are: %s", name, known);
    return NULL;
}

static bool speaks(const struct workload *workload, const char *scheme, size_t length) {
    for (const char *const *known = workload->schemes; *known; known++)
        if (strlen(*known) == length && strncmp(*known, scheme, length) == 0)
            return true;
    return false;
}

const struct workload *workload_for_url(const char *url, struct endpoint *target,
                                        struct error *error) {
    const char *colon = strchr(url, ':');
    if (!colon || (strncmp(colon, "://", 3) != 0 && strncmp(url, "unix:", 5) != 0)) {
        error_set(error, -EINVAL,
                  "'%s' is not a URL; it should look like tcp://127.0.0.1:7000 or "
                  "unix:/run/echo.sock",
                  url);
        return NULL;
    }
    const struct workload *found = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(workloads) && !found; i++)
        if (speaks(workloads[i], url, (size_t)(colon - url)))
            found = workloads[i];
    if (!found) {
        error_set(error, -EINVAL,
                  "nothing here speaks '%.*s'; use tcp:// or unix: (see `loopmark list`)",
                  (int)(colon - url), url);
        return NULL;
    }
    const char *address = strncmp(colon, "://", 3) == 0 ? colon + 3 : url;
    return endpoint_parse(address, target, error) ? NULL : found;
}
