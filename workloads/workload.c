/* workload.c: the list of workloads. */
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern const struct workload database_workload;
extern const struct workload echo_workload;
extern const struct workload http_workload;
extern const struct workload offload_workload;
extern const struct workload query_workload;

static const struct workload *const workloads[] = {
    &echo_workload,
    &http_workload,
    &database_workload,
    &offload_workload,
    &query_workload,
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

static bool speaks(const struct workload *workload, const char *scheme) {
    for (const char *const *known = workload->schemes; *known; known++)
        if (strcmp(*known, scheme) == 0)
            return true;
    return false;
}

const struct workload *workload_for_url(const char *text, struct url *url, struct error *error) {
    if (url_parse(text, url, error))
        return NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(workloads); i++)
        if (speaks(workloads[i], url->scheme))
            return workloads[i];
    error_set(error, -EINVAL, "no workload here speaks '%s' (see `loopmark list`)", url->scheme);
    return NULL;
}
