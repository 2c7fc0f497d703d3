/* experiment.c: reading experiment files. What their plan means is in experiment_plan.c. */
#include "experiment.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/load_knobs.h"
#include "harness/serve_monitor.h"
#include "harness/turns.h"
#include "loops/check.h"

enum { FILE_BYTES_MOST = 256 * 1024, REPETITIONS = 12, HEADLINE_REPETITIONS = 7 };

const char *const measure_names[] = {
    [MEASURE_CAPACITY] = "capacity",
    [MEASURE_LATENCY] = "latency",
    [MEASURE_COST] = "cost",
    NULL,
};

/* Settings of an experiment that are read like knobs. */
static const struct knob measure_setting = {
    .name = "measure", .type = KNOB_CHOICE, .choices = measure_names};
static const struct knob turns_setting = {
    .name = "turns", .type = KNOB_TIME, .least = TURNS_LENGTH_LEAST_NS, .most = 1e9};
static const struct knob repetitions_setting = {
    .name = "repetitions", .type = KNOB_COUNT, .least = 1, .most = 256};
static const struct knob headline_repetitions_setting = {
    .name = "headline_repetitions", .type = KNOB_COUNT, .least = 1, .most = 256};

struct reader {
    struct experiment *experiment;
    const struct ini_text *ini;
    struct error *error;
};

/* What an entry of a section means. A name that ends in a point is the beginning of names. */
struct key {
    const char *name;
    bool required;
    int (*read)(struct reader *reader, const struct ini_entry *entry, void *object);
};

#define refuse(reader, line, ...) ini_error((reader)->ini, line, (reader)->error, __VA_ARGS__)

static int locate(struct reader *reader, int line, int failure) {
    return failure ? ini_locate(reader->ini, line, reader->error) : 0;
}

/* ---- pieces of text -------------------------------------------------------------------------- */

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t", text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

/* Cuts a comma list in place. */
static int split(struct reader *reader, const struct ini_entry *entry, char **items, size_t most,
                 size_t *count) {
    char *rest = entry->value, *item;
    *count = 0;
    while ((item = strsep(&rest, ",")) != NULL) {
        item = trim(item);
        if (*item == '\0')
            return refuse(reader, entry->line, "%s: an item of the list is empty", entry->name);
        if (*count == most)
            return refuse(reader, entry->line, "%s: more than %zu items", entry->name, most);
        items[(*count)++] = item;
    }
    return 0;
}

/* Names go into rules, file names and labels. */
static bool name_is_plain(const char *name) {
    size_t length =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length < CLAIM_NAME_BYTES && name[length] == '\0' && *name != '.' &&
           *name != '-';
}

static int refuse_name(struct reader *reader, int line, const char *what, const char *name) {
    return refuse(reader, line,
                  "'%.64s' cannot name a %s: use up to %d letters, digits, '.', '_' and '-'", name,
                  what, CLAIM_NAME_BYTES - 1);
}

static int read_text(struct reader *reader, const struct ini_entry *entry, void *object) {
    (void)reader;
    *(const char **)object = entry->value;
    return 0;
}

static int find_knob(struct reader *reader, const struct ini_entry *entry, const char *name,
                     size_t *index) {
    struct knob_values trial = reader->experiment->base;
    if (knob_find(&trial, name, index))
        return 0;
    return locate(reader, entry->line, knob_set(&trial, name, "", reader->error));
}

static bool is_axis(const struct experiment *experiment, size_t knob) {
    for (size_t i = 0; i < experiment->axis_count; i++)
        if (experiment->axes[i].knob == knob)
            return true;
    return false;
}

/* ---- knobs ----------------------------------------------------------------------------------- */

static int read_axis(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    char *items[EXPERIMENT_VALUES_MOST];
    if (experiment->axis_count == EXPERIMENT_AXES_MOST)
        return refuse(reader, entry->line, "more than %d axes", EXPERIMENT_AXES_MOST);
    struct axis *axis = &experiment->axes[experiment->axis_count];
    *axis = (struct axis){.line = entry->line};
    int failure = find_knob(reader, entry, entry->name + strlen("vary."), &axis->knob);
    if (failure == 0)
        failure = split(reader, entry, items, EXPERIMENT_VALUES_MOST, &axis->count);
    const struct knob *knob = knob_at(&experiment->base, axis->knob);
    for (size_t i = 0; failure == 0 && i < axis->count; i++) {
        failure = locate(reader, entry->line,
                         knob_parse(knob, items[i], &axis->values[i], reader->error));
        for (size_t j = 0; failure == 0 && j < i; j++)
            if (axis->values[j] == axis->values[i])
                failure = refuse(reader, entry->line, "%s: the value %s comes twice", entry->name,
                                 items[i]);
    }
    experiment->axis_count += failure == 0;
    return failure;
}

static int read_base(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    const char *name = entry->name + strlen("set.");
    size_t index;
    if (knob_find(&experiment->base, name, &index) && is_axis(experiment, index))
        return refuse(reader, entry->line, "%s is varied already, so it cannot be set", name);
    return locate(reader, entry->line,
                  knob_set(&experiment->base, name, entry->value, reader->error));
}

static int read_setting(struct reader *reader, const struct ini_entry *entry,
                        struct knob_setting *sets, size_t *count) {
    const struct experiment *experiment = reader->experiment;
    const char *name = strchr(entry->name, '.') + 1;
    struct knob_setting *set = &sets[*count];
    if (*count == EXPERIMENT_SETS_MOST)
        return refuse(reader, entry->line, "more than %d knobs set", EXPERIMENT_SETS_MOST);
    int failure = find_knob(reader, entry, name, &set->knob);
    if (failure)
        return failure;
    if (is_axis(experiment, set->knob))
        return refuse(reader, entry->line, "%s is varied already, so it cannot be set", name);
    failure = locate(reader, entry->line,
                     knob_parse(knob_at(&experiment->base, set->knob), entry->value, &set->value,
                                reader->error));
    *count += failure == 0;
    return failure;
}

static int read_headline_setting(struct reader *reader, const struct ini_entry *entry,
                                 void *object) {
    struct experiment *experiment = object;
    return read_setting(reader, entry, experiment->headline_sets, &experiment->headline_set_count);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static int add_term(struct reader *reader, int line, const char *name, const char *text,
                    struct cell_pattern *pattern) {
    const struct experiment *experiment = reader->experiment;
    const struct axis *axis = NULL;
    char varied[256] = "";
    for (size_t i = 0; i < experiment->axis_count; i++) {
        const char *axis_name = knob_at(&experiment->base, experiment->axes[i].knob)->name;
        size_t used = strlen(varied);
        snprintf(varied + used, sizeof varied - used, "%s%s", i ? ", " : "", axis_name);
        if (strcmp(axis_name, name) == 0)
            axis = &experiment->axes[i];
    }
    if (!axis)
        return refuse(reader, line, "%.64s is not varied here; what is: %s", name,
                      *varied ? varied : "nothing");
    for (size_t i = 0; i < pattern->count; i++)
        if (pattern->terms[i].knob == axis->knob)
            return refuse(reader, line, "%s comes twice in one cell", name);
    double value = 0;
    int failure =
        locate(reader, line,
               knob_parse(knob_at(&experiment->base, axis->knob), text, &value, reader->error));
    bool known = false;
    for (size_t i = 0; i < axis->count; i++)
        known |= axis->values[i] == value;
    if (failure == 0 && !known)
        return refuse(reader, line, "%s:%s is no cell: line %d does not have that value", name,
                      text, axis->line);
    pattern->terms[pattern->count++] = (struct knob_setting){axis->knob, value};
    return failure;
}

/* "size_bytes:1024 connections:3", or "all". Cuts `text`. */
static int read_pattern(struct reader *reader, int line, char *text, bool with_server,
                        struct cell_pattern *pattern) {
    *pattern = (struct cell_pattern){0};
    if (strcmp(text, "all") == 0)
        return 0;
    char *rest = text, *term;
    int failure = 0;
    while (failure == 0 && (term = strsep(&rest, " \t")) != NULL) {
        char *value = strchr(term, ':');
        if (*term == '\0')
            continue;
        if (!value)
            return refuse(reader, line, "'%.64s' should be KNOB:VALUE; commas separate cells",
                          term);
        *value++ = '\0';
        if (!with_server || strcmp(term, "server") != 0)
            failure = add_term(reader, line, term, value, pattern);
        else if (!experiment_contender(reader->experiment, value))
            failure = refuse(reader, line, "'%.64s' is not in the list of servers", value);
        else
            pattern->server = experiment_contender(reader->experiment, value)->name;
    }
    return failure;
}

static int read_patterns(struct reader *reader, const struct ini_entry *entry, bool with_server,
                         struct cell_pattern *patterns, size_t *count) {
    char *items[EXPERIMENT_PATTERNS_MOST];
    int failure = split(reader, entry, items, EXPERIMENT_PATTERNS_MOST, count);
    for (size_t i = 0; failure == 0 && i < *count; i++)
        failure = read_pattern(reader, entry->line, items[i], with_server, &patterns[i]);
    return failure;
}

static int read_headline(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    experiment->headline_line = entry->line;
    return read_patterns(reader, entry, false, experiment->headline, &experiment->headline_count);
}

static int read_exclude(struct reader *reader, const struct ini_entry *entry, void *object) {
    static const char because[] = " because ";
    struct experiment *experiment = object;
    char *reason = strstr(entry->value, because);
    if (!reason)
        return refuse(reader, entry->line, "exclude needs a reason: CELL, CELL because REASON");
    *reason = '\0';
    experiment->excluded_reason = trim(reason + strlen(because));
    experiment->excluded_line = entry->line;
    return read_patterns(reader, entry, true, experiment->excluded, &experiment->excluded_count);
}

/* ---- [experiment] ---------------------------------------------------------------------------- */

static int read_question(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    return read_text(reader, entry, &experiment->question);
}

static int read_workload(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    experiment->workload = workload_find(entry->value, reader->error);
    if (experiment->workload && !experiment->workload->server) {
        error_set(reader->error, -EINVAL, "workload %s has no server: it is for `loopmark load`",
                  entry->value);
        experiment->workload = NULL;
    }
    if (!experiment->workload)
        return locate(reader, entry->line, -EINVAL);
    knob_values_init(&experiment->base, experiment->workload->knobs, load_knobs);
    return 0;
}

static int read_measure(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    double value = 0;
    int failure = knob_parse(&measure_setting, entry->value, &value, reader->error);
    experiment->measure = (enum measure)value;
    experiment->measure_line = entry->line;
    return locate(reader, entry->line, failure);
}

static int read_turns(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    double value = 0;
    int failure = knob_parse(&turns_setting, entry->value, &value, reader->error);
    experiment->turn_ns = (uint64_t)value;
    experiment->turns_line = entry->line;
    return locate(reader, entry->line, failure);
}

static int read_count(struct reader *reader, const struct ini_entry *entry,
                      const struct knob *setting, unsigned *count) {
    double value = 0;
    int failure = knob_parse(setting, entry->value, &value, reader->error);
    *count = (unsigned)value;
    return locate(reader, entry->line, failure);
}

static int read_repetitions(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    return read_count(reader, entry, &repetitions_setting, &experiment->repetitions);
}

static int read_headline_repetitions(struct reader *reader, const struct ini_entry *entry,
                                     void *object) {
    struct experiment *experiment = object;
    return read_count(reader, entry, &headline_repetitions_setting,
                      &experiment->headline_repetitions);
}

static int read_servers(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct experiment *experiment = object;
    char *items[EXPERIMENT_CONTENDERS_MOST];
    size_t count;
    int failure = split(reader, entry, items, EXPERIMENT_CONTENDERS_MOST, &count);
    for (size_t i = 0; failure == 0 && i < count; i++) {
        if (!name_is_plain(items[i]))
            return refuse_name(reader, entry->line, "server", items[i]);
        if (experiment_contender(experiment, items[i]))
            return refuse(reader, entry->line, "the server %s comes twice", items[i]);
        experiment->contenders[experiment->contender_count++] =
            (struct contender){.name = items[i], .line = entry->line};
    }
    return failure;
}

/* In the order of reading: cells are checked against axes, axes against the workload's knobs. */
static const struct key experiment_keys[] = {
    {"question", true, read_question},
    {"workload", true, read_workload},
    {"server", true, read_servers},
    {"measure", true, read_measure},
    {"turns", false, read_turns},
    {"vary.", false, read_axis},
    {"set.", false, read_base},
    {"repetitions", false, read_repetitions},
    {"headline", false, read_headline},
    {"headline_repetitions", false, read_headline_repetitions},
    {"headline.", false, read_headline_setting},
    {"exclude", false, read_exclude},
};

/* ---- [server NAME] --------------------------------------------------------------------------- */

static bool loop_is_known(const char *name) {
    return loop_info_by_name(name, &(struct loop_info){0}, NULL) != -ENOENT;
}

static int read_loop(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct contender *contender = object;
    struct loop_info info;
    contender->loop = entry->value;
    if (loop_info_by_name(entry->value, &info, reader->error) == -ENOENT)
        return locate(reader, entry->line, -EINVAL);
    return 0;
}

static int check_placeholders(struct reader *reader, const struct ini_entry *entry) {
    bool listens = false;
    for (const char *at = entry->value; (at = strchr(at, '{')) != NULL; at++) {
        size_t length = strcspn(at + 1, "}");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), at + 1);
        bool listen = at[1 + length] && strcmp(name, "listen") == 0;
        listens |= listen;
        if (!listen && (!at[1 + length] || !knob_find(&reader->experiment->base, name, NULL)))
            return refuse(reader, entry->line, "{%s} in the command is neither {listen} nor a knob",
                          name);
    }
    if (!listens)
        return refuse(reader, entry->line, "the command has no {listen}, so it gets no address");
    return 0;
}

static int read_command(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct contender *contender = object;
    contender->command = entry->value;
    if (contender->loop)
        return refuse(reader, entry->line, "a server has either a loop or a command");
    if (loop_is_known(contender->name))
        return refuse(reader, entry->line,
                      "%s is a loop; give a server with a command another name", contender->name);
    return check_placeholders(reader, entry);
}

static int read_monitor(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct contender *contender = object;
    unsigned kinds;
    contender->monitor = entry->value;
    if (contender->command)
        return refuse(reader, entry->line, "only a loop can be monitored, not a command");
    return locate(reader, entry->line, serve_monitor_kinds(entry->value, &kinds, reader->error));
}

static int read_needs(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct contender *contender = object;
    char *items[EXPERIMENT_NEEDS_MOST];
    int failure = split(reader, entry, items, EXPERIMENT_NEEDS_MOST, &contender->need_count);
    for (size_t i = 0; failure == 0 && i < contender->need_count; i++)
        contender->needs[i] = items[i];
    return failure;
}

static int read_version_command(struct reader *reader, const struct ini_entry *entry,
                                void *object) {
    struct contender *contender = object;
    return read_text(reader, entry, &contender->version_command);
}

/* Is `loop` in the knob's comma list? */
static bool knob_applies(const struct knob *knob, const char *loop) {
    if (!knob->loops || !loop)
        return true;
    size_t length = strlen(loop);
    for (const char *at = knob->loops; (at = strstr(at, loop)) != NULL; at += length)
        if ((at == knob->loops || strchr(", ", at[-1])) && (!at[length] || at[length] == ','))
            return true;
    return false;
}

static int read_server_setting(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct contender *contender = object;
    int failure = read_setting(reader, entry, contender->sets, &contender->set_count);
    if (failure)
        return failure;
    const struct knob *knob =
        knob_at(&reader->experiment->base, contender->sets[contender->set_count - 1].knob);
    if (knob->side != KNOB_SERVER)
        return refuse(reader, entry->line,
                      "%s is the client's; all servers must be asked in the same way", knob->name);
    const char *loop = contender->loop || contender->command ? contender->loop : contender->name;
    if (!knob_applies(knob, loop))
        return refuse(reader, entry->line, "%s is for %s only", knob->name, knob->loops);
    return 0;
}

static const struct key server_keys[] = {
    {"loop", false, read_loop},           {"command", false, read_command},
    {"needs", false, read_needs},         {"version_command", false, read_version_command},
    {"monitor", false, read_monitor},     {"set.", false, read_server_setting},
};

/* ---- [claim NAME] ---------------------------------------------------------------------------- */

static int read_says(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct claim *claim = object;
    return read_text(reader, entry, &claim->says);
}

static int read_rule(struct reader *reader, const struct ini_entry *entry, void *object) {
    struct claim *claim = object;
    claim->text = entry->value;
    claim->line = entry->line;
    int failure = claim_parse(entry->value, &claim->rule, reader->error);
    if (failure)
        return locate(reader, entry->line, failure);
    char where[CLAIM_WHERE_BYTES];
    memcpy(where, claim->rule.where, sizeof where);
    if (*where == '\0')
        return 0;
    return read_pattern(reader, entry->line, where, false, &claim->where);
}

static const struct key claim_keys[] = {
    {"says", true, read_says},
    {"rule", true, read_rule},
};

/* ---- sections -------------------------------------------------------------------------------- */

static bool key_matches(const struct key *key, const char *name) {
    size_t length = strlen(key->name);
    if (key->name[length - 1] != '.')
        return strcmp(key->name, name) == 0;
    return strncmp(key->name, name, length) == 0 && name[length];
}

static int refuse_key(struct reader *reader, const struct ini_entry *entry, const struct key *keys,
                      size_t count) {
    char known[256] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(known), length = strlen(keys[i].name);
        snprintf(known + used, sizeof known - used, "%s%s%s", i ? ", " : "", keys[i].name,
                 keys[i].name[length - 1] == '.' ? "KNOB" : "");
    }
    return refuse(reader, entry->line, "[%s] has no '%.64s'; it has: %s", entry->section,
                  entry->name, known);
}

/* Reads the entries from `first` on that share its section, key by key. */
static int read_section(struct reader *reader, const struct ini_entry *first,
                        const struct key *keys, size_t key_count, void *object) {
    const struct ini_entry *end = reader->ini->entries + reader->ini->count;
    const struct ini_entry *last = first;
    for (; last < end && last->section_line == first->section_line; last++) {
        bool known = false;
        for (size_t i = 0; i < key_count; i++)
            known |= key_matches(&keys[i], last->name);
        if (!known)
            return refuse_key(reader, last, keys, key_count);
    }
    for (size_t i = 0; i < key_count; i++) {
        bool found = false;
        for (const struct ini_entry *entry = first; entry < last; entry++) {
            if (!key_matches(&keys[i], entry->name))
                continue;
            found = true;
            int failure = keys[i].read(reader, entry, object);
            if (failure)
                return failure;
        }
        if (keys[i].required && !found)
            return refuse(reader, first->section_line, "[%s] needs '%s'", first->section,
                          keys[i].name);
    }
    return 0;
}

static int read_server_section(struct reader *reader, const struct ini_entry *first,
                               const char *name) {
    struct experiment *experiment = reader->experiment;
    for (size_t i = 0; i < experiment->contender_count; i++)
        if (strcmp(experiment->contenders[i].name, name) == 0) {
            experiment->contenders[i].line = first->section_line;
            return read_section(reader, first, server_keys, ARRAY_LENGTH(server_keys),
                                &experiment->contenders[i]);
        }
    return refuse(reader, first->section_line, "'%s' is not in the list of servers", name);
}

static int read_claim_section(struct reader *reader, const struct ini_entry *first,
                              const char *name) {
    struct experiment *experiment = reader->experiment;
    if (!name_is_plain(name))
        return refuse_name(reader, first->section_line, "claim", name);
    if (experiment->claim_count == EXPERIMENT_CLAIMS_MOST)
        return refuse(reader, first->section_line, "more than %d claims", EXPERIMENT_CLAIMS_MOST);
    struct claim *claim = &experiment->claims[experiment->claim_count++];
    claim->name = name;
    return read_section(reader, first, claim_keys, ARRAY_LENGTH(claim_keys), claim);
}

static int read_experiment_section(struct reader *reader, const struct ini_entry *first,
                                   const char *name) {
    (void)name;
    return read_section(reader, first, experiment_keys, ARRAY_LENGTH(experiment_keys),
                        reader->experiment);
}

/* In the order of reading. A name that ends in a blank is followed by the object's name. */
static const struct section {
    const char *name;
    int (*read)(struct reader *reader, const struct ini_entry *first, const char *name);
} sections[] = {
    {"experiment", read_experiment_section},
    {"server ", read_server_section},
    {"claim ", read_claim_section},
};

static const struct section *section_of(const struct ini_entry *entry) {
    for (size_t i = 0; i < ARRAY_LENGTH(sections); i++) {
        size_t length = strlen(sections[i].name);
        bool named = sections[i].name[length - 1] == ' ';
        if (named ? strncmp(sections[i].name, entry->section, length) == 0 && entry->section[length]
                  : strcmp(sections[i].name, entry->section) == 0)
            return &sections[i];
    }
    return NULL;
}

static int read_sections(struct reader *reader) {
    const struct ini_entry *entries = reader->ini->entries;
    for (size_t i = 0; i < reader->ini->count; i++)
        if (entries[i].section_line == 0)
            return refuse(reader, entries[i].line, "'%.64s' stands before the first [SECTION]",
                          entries[i].name);
        else if (!section_of(&entries[i]))
            return refuse(reader, entries[i].section_line,
                          "there is no section [%s]; there are [experiment], [server NAME] and "
                          "[claim NAME]",
                          entries[i].section);
    for (size_t kind = 0; kind < ARRAY_LENGTH(sections); kind++) {
        bool found = false;
        for (size_t i = 0; i < reader->ini->count; i++) {
            bool begins = i == 0 || entries[i].section_line != entries[i - 1].section_line;
            if (!begins || section_of(&entries[i]) != &sections[kind])
                continue;
            found = true;
            int failure = sections[kind].read(reader, &entries[i],
                                              entries[i].section + strlen(sections[kind].name));
            if (failure)
                return failure;
        }
        if (kind == 0 && !found)
            return refuse(reader, 1, "there is no section [experiment]");
    }
    return 0;
}

/* A server without a loop or a command of its own is the loop of its name. */
static int settle_loops(struct reader *reader) {
    struct experiment *experiment = reader->experiment;
    for (size_t i = 0; i < experiment->contender_count; i++) {
        struct contender *contender = &experiment->contenders[i];
        if (contender->loop || contender->command)
            continue;
        if (!loop_is_known(contender->name))
            return refuse(reader, contender->line,
                          "%s is no loop: it needs a section [server %s] with a command or a loop",
                          contender->name, contender->name);
        contender->loop = contender->name;
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int name_by_stem(struct experiment *experiment, const char *path, struct error *error) {
    const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path;
    size_t length = strlen(stem);
    if (length > 4 && strcmp(stem + length - 4, ".ini") == 0)
        length -= 4;
    experiment->name = strndup(stem, length);
    if (!experiment->name)
        return error_set(error, -ENOMEM, "out of memory");
    if (!name_is_plain(experiment->name))
        return error_set(error, -EINVAL,
                         "%.200s:1: the file's name must be letters, digits, '.', "
                         "'_' and '-', for it names the experiment",
                         path);
    return 0;
}

static int parse_into(struct experiment *experiment, const char *path, const char *text,
                      struct error *error) {
    int failure = ini_text_read(path, text, &experiment->ini, error);
    if (failure)
        return failure;
    experiment->path = experiment->ini.file;
    failure = name_by_stem(experiment, path, error);
    struct reader reader = {experiment, &experiment->ini, error};
    if (failure == 0)
        failure = read_sections(&reader);
    if (failure == 0)
        failure = settle_loops(&reader);
    return failure ? failure : experiment_check(experiment, error);
}

int experiment_parse_text(const char *path, const char *text, struct experiment **out,
                          struct error *error) {
    struct error unused;
    struct experiment *experiment = calloc(1, sizeof *experiment);
    if (!experiment)
        return error_set(error, -ENOMEM, "out of memory");
    experiment->repetitions = REPETITIONS;
    experiment->headline_repetitions = HEADLINE_REPETITIONS;
    int failure = parse_into(experiment, path, text, error ? error : &unused);
    if (failure) {
        experiment_free(experiment);
        return failure;
    }
    *out = experiment;
    return 0;
}

int experiment_read(const char *path, struct experiment **out, struct error *error) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, -errno, "%.300s: %s", path, strerror(errno));
    char *text = malloc(FILE_BYTES_MOST + 1);
    size_t length = text ? fread(text, 1, FILE_BYTES_MOST + 1, file) : 0;
    int failure = ferror(file) ? -EIO : 0;
    fclose(file);
    if (!text)
        failure = error_set(error, -ENOMEM, "out of memory");
    else if (failure)
        error_set(error, failure, "%.300s: cannot be read", path);
    else if (length > FILE_BYTES_MOST || memchr(text, '\0', length))
        failure = error_set(error, -EINVAL, "%.300s:1: is not a text of at most %d bytes", path,
                            FILE_BYTES_MOST);
    else {
        text[length] = '\0';
        failure = experiment_parse_text(path, text, out, error);
    }
    free(text);
    return failure;
}

void experiment_free(struct experiment *experiment) {
    if (!experiment)
        return;
    ini_text_free(&experiment->ini);
    free(experiment->name);
    free(experiment);
}

/* ---- the directory --------------------------------------------------------------------------- */

static int is_ini(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 4, ".ini") == 0;
}

/* Of stems, not of files: "loop-idle.ini" comes behind "loop-idle-10000.ini". */
static int compare_stems(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int experiment_list(const char *directory, char ***stems, size_t *count, struct error *error) {
    struct dirent **entries;
    int found = scandir(directory, &entries, is_ini, NULL);
    if (found < 0)
        return error_set(error, -errno, "%.300s: %s", directory, strerror(errno));
    char **list = calloc((size_t)found + 1, sizeof *list);
    bool complete = list != NULL;
    for (int i = 0; i < found; i++) {
        if (list) {
            list[i] = strndup(entries[i]->d_name, strlen(entries[i]->d_name) - 4);
            complete &= list[i] != NULL;
        }
        free(entries[i]);
    }
    free(entries);
    if (!complete) {
        if (list)
            experiment_list_free(list, (size_t)found);
        return error_set(error, -ENOMEM, "out of memory");
    }
    qsort(list, (size_t)found, sizeof *list, compare_stems);
    *stems = list;
    *count = (size_t)found;
    return 0;
}

void experiment_list_free(char **stems, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(stems[i]);
    free(stems);
}

static int no_such_experiment(const char *directory, const char *stem, struct error *error) {
    char known[400] = "", **stems;
    size_t count;
    int failure = experiment_list(directory, &stems, &count, error);
    if (failure)
        return failure;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", stems[i]);
    }
    experiment_list_free(stems, count);
    return error_set(error, -ENOENT, "no experiment is called '%.64s'; there are: %s", stem, known);
}

int experiment_find(const char *directory, const char *path_or_stem, struct experiment **out,
                    struct error *error) {
    size_t length = strlen(path_or_stem);
    bool is_path =
        strchr(path_or_stem, '/') || (length > 4 && strcmp(path_or_stem + length - 4, ".ini") == 0);
    if (is_path)
        return experiment_read(path_or_stem, out, error);
    char path[4096];
    int used = snprintf(path, sizeof path, "%s/%s.ini", directory, path_or_stem);
    FILE *file = used > 0 && (size_t)used < sizeof path ? fopen(path, "re") : NULL;
    if (!file)
        return no_such_experiment(directory, path_or_stem, error);
    fclose(file);
    return experiment_read(path, out, error);
}
