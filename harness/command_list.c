/* command_list.c: `loopmark list`, all there is, and what of it can run here. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "harness/command.h"
#include "harness/experiment.h"
#include "harness/load_knobs.h"
#include "harness/server.h"
#include "harness/source.h"
#include "loops/loop.h"
#include "workloads/workload.h"

static const char help[] =
    "usage: loopmark list [--json]\n"
    "\n"
    "Loops, workloads, experiments with their claims, and knobs; what cannot run here says why.\n"
    "\n"
    "examples:\n"
    "  loopmark list\n"
    "  loopmark list --json | jq '.loops[] | select(.available) | .name'\n";

/* Everything is collected as JSON once; the text is a view of it. */

static json_t *entry(const char *name, bool available, const char *reason, const char *summary) {
    return json_pack("{s:s, s:b, s:s?, s:s?}", "name", name, "available", available, "reason",
                     available ? NULL : reason, "summary", summary);
}

static json_t *list_loops(void) {
    json_t *list = json_array();
    struct loop_info info;
    for (size_t i = 0; loop_info(i, &info); i++) {
        json_t *loop = entry(info.name, info.available, info.reason.text, info.summary);
        json_object_set_new(loop, "library",
                            info.built_on ? json_string(info.built_on) : json_null());
        json_object_set_new(loop, "variant_of",
                            info.variant_of ? json_string(info.variant_of) : json_null());
        json_object_set_new(loop, "control", json_boolean(info.control));
        json_object_set_new(loop, "descriptor_limit",
                            info.descriptor_limit ? json_integer(info.descriptor_limit)
                                                  : json_null());
        json_object_set_new(loop, "timer_resolution_ns",
                            json_integer((json_int_t)info.timer_resolution_ns));
        json_array_append_new(list, loop);
    }
    return list;
}

static json_t *list_workloads(void) {
    json_t *list = json_array();
    const struct workload *workload;
    for (size_t i = 0; (workload = workload_at(i)); i++) {
        json_t *schemes = json_array();
        for (const char *const *scheme = workload->schemes; *scheme; scheme++)
            json_array_append_new(schemes, json_string(*scheme));
        json_t *object = entry(workload->name, true, NULL, workload->summary);
        json_object_set_new(object, "schemes", schemes);
        json_array_append_new(list, object);
    }
    return list;
}

static void list_knob_table(json_t *list, const struct knob_table *table, const char *workload) {
    for (size_t i = 0; i < table->count; i++) {
        const struct knob *knob = &table->knobs[i];
        char initial[KNOB_TEXT_BYTES], least[KNOB_TEXT_BYTES], most[KNOB_TEXT_BYTES];
        knob_format(knob, knob->initial, initial);
        knob_format(knob, knob->least, least);
        knob_format(knob, knob->most, most);
        json_t *object = entry(knob->name, true, NULL, knob->help);
        json_object_set_new(object, "workload", workload ? json_string(workload) : json_null());
        json_object_set_new(object, "side",
                            json_string(knob->side == KNOB_SERVER ? "server" : "client"));
        json_object_set_new(object, "default", json_string(initial));
        json_object_set_new(object, "least", json_string(least));
        json_object_set_new(object, "most", json_string(most));
        json_array_append_new(list, object);
    }
}

static json_t *list_knobs(void) {
    json_t *list = json_array();
    const struct workload *workload;
    list_knob_table(list, &load_knobs, NULL);
    for (size_t i = 0; (workload = workload_at(i)); i++)
        list_knob_table(list, &workload->knobs, workload->name);
    return list;
}

static bool any_can_run(const struct experiment *experiment, struct error *reason) {
    struct loop_info info;
    for (size_t i = 0; i < experiment->contender_count; i++) {
        const struct contender *contender = &experiment->contenders[i];
        bool can = true;
        if (contender->loop)
            can = loop_info_by_name(contender->loop, &info, reason) == 0;
        for (size_t k = 0; can && k < contender->need_count; k++)
            can = server_check_need(contender->needs[k], reason) == 0;
        if (can)
            return true;
    }
    return false;
}

static void list_experiment(json_t *experiments, json_t *claims, const char *directory,
                            const char *stem) {
    struct experiment *experiment;
    struct error reason;
    if (experiment_find(directory, stem, &experiment, &reason)) {
        json_array_append_new(experiments, entry(stem, false, reason.text, NULL));
        return;
    }
    bool available = any_can_run(experiment, &reason);
    json_array_append_new(experiments, entry(stem, available, reason.text, experiment->question));
    for (size_t i = 0; i < experiment->claim_count; i++) {
        const struct claim *claim = &experiment->claims[i];
        json_t *object = entry(claim->name, available, reason.text, claim->says);
        json_object_set_new(object, "experiment", json_string(stem));
        json_object_set_new(object, "rule", json_string(claim->text));
        json_array_append_new(claims, object);
    }
    experiment_free(experiment);
}

static int collect(json_t *all, struct error *error) {
    char directory[PATH_MAX], **stems;
    size_t count;
    json_t *experiments = json_array(), *claims = json_array();
    json_object_set_new(all, "schema", json_integer(1));
    json_object_set_new(all, "loops", list_loops());
    json_object_set_new(all, "workloads", list_workloads());
    json_object_set_new(all, "experiments", experiments);
    json_object_set_new(all, "claims", claims);
    json_object_set_new(all, "knobs", list_knobs());
    snprintf(directory, sizeof directory, "%s/harness/experiments", source_directory());
    int failure = experiment_list(directory, &stems, &count, error);
    if (failure)
        return failure;
    for (size_t i = 0; i < count; i++)
        list_experiment(experiments, claims, directory, stems[i]);
    experiment_list_free(stems, count);
    return 0;
}

/* ---- the text -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void print_list(const json_t *all, const char *kind) {
    size_t index;
    json_t *object;
    printf("%s\n", kind);
    json_array_foreach(json_object_get(all, kind), index, object) {
        bool available = json_is_true(json_object_get(object, "available"));
        const char *value = text_of(object, "default"), *base = text_of(object, "variant_of");
        printf("  %-18s %s%s%s%s", text_of(object, "name"), text_of(object, "summary"),
               *value ? " (" : "", value, *value ? ")" : "");
        if (*base)
            printf(" [variant of %s]", base);
        if (json_is_true(json_object_get(object, "control")))
            printf(" [control]");
        if (available)
            printf("\n");
        else
            printf(" [not available: %s]\n", text_of(object, "reason"));
    }
    printf("\n");
}

static int run(int argc, char **argv, struct error *error) {
    static const char *const kinds[] = {"loops", "workloads", "experiments", "claims", "knobs"};
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json) {
        error_set(error, -1, "unexpected argument '%s'", argv[1]);
        return EXIT_USAGE;
    }
    json_t *all = json_object();
    int code = collect(all, error) ? EXIT_FAILED : EXIT_OK;
    if (json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(kinds) && !json; i++)
        print_list(all, kinds[i]);
    json_decref(all);
    return code;
}

const struct command command_list = {
    .name = "list",
    .summary = "loops, workloads, experiments, claims and knobs, and what can run here",
    .help = help,
    .run = run};
