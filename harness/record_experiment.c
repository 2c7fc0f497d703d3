/* record_experiment.c: see record_experiment.h. */
#include "harness/record_experiment.h"

#include <string.h>

#include "harness/environment.h"
#include "harness/source.h"

static json_t *describe_claims(const struct experiment *experiment) {
    json_t *claims = json_array();
    for (size_t i = 0; i < experiment->claim_count; i++) {
        const struct claim *claim = &experiment->claims[i];
        json_array_append_new(claims, json_pack("{s:s, s:s, s:s}", "name", claim->name, "says",
                                                claim->says, "rule", claim->text));
    }
    return claims;
}

static json_t *version_of(const struct contender *contender) {
    char version[256];
    struct loop_info info;
    if (contender->loop && loop_info_by_name(contender->loop, &info, NULL) == 0 && info.built_on)
        return json_string(info.built_on);
    const char *const command[] = {"/bin/sh", "-c", contender->version_command, NULL};
    if (contender->version_command &&
        environment_command_version(command, version, sizeof version) == 0)
        return json_string(version);
    return json_null();
}

static json_t *describe_servers(const struct experiment *experiment) {
    json_t *servers = json_array();
    for (size_t i = 0; i < experiment->contender_count; i++) {
        const struct contender *contender = &experiment->contenders[i];
        json_array_append_new(servers,
                              json_pack("{s:s, s:s?, s:s?, s:s?, s:o}", "name", contender->name,
                                        "loop", contender->loop, "monitor", contender->monitor,
                                        "command", contender->command, "version",
                                        version_of(contender)));
    }
    return servers;
}

/* The cells that are to be measured, with their axes' values in the knobs' units, so that one
 * without a single repetition is known to be missing. */
static json_t *describe_cells(const struct experiment *experiment, const struct cell *cells,
                              size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *values = json_array();
        for (size_t k = 0; k < experiment->axis_count; k++)
            json_array_append_new(values,
                                  json_real(cells[i].knobs.values[experiment->axes[k].knob]));
        json_array_append_new(list,
                              json_pack("{s:s, s:o}", "cell", cells[i].label, "values", values));
    }
    return list;
}

/* Relative to the checkout where it lies in it: a record is read on other machines. */
static const char *path_in_checkout(const char *path) {
    const char *source = source_directory();
    size_t length = strlen(source);
    return strncmp(path, source, length) == 0 && path[length] == '/' ? path + length + 1 : path;
}

json_t *record_experiment(const struct experiment *experiment, const struct cell *cells,
                          size_t cell_count, json_t *skipped) {
    json_t *axes = json_array();
    for (size_t i = 0; i < experiment->axis_count; i++)
        json_array_append_new(
            axes, json_string(knob_at(&experiment->base, experiment->axes[i].knob)->name));
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:O}", "name", experiment->name, "file",
        path_in_checkout(experiment->path), "question", experiment->question, "measure",
        measure_names[experiment->measure], "workload", experiment->workload->name, "axes", axes,
        "cells", describe_cells(experiment, cells, cell_count), "servers",
        describe_servers(experiment), "claims", describe_claims(experiment), "skipped", skipped);
}
