/* completion.c: see completion.h. */
#include "harness/completion.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "harness/experiment.h"
#include "harness/load_knobs.h"
#include "harness/source.h"
#include "loops/check.h"
#include "loops/loop.h"
#include "workloads/workload.h"

/* The word to complete. */
struct completing {
    const char *word;
    size_t kept;        /* bytes of it before the value: those of "--loop=" */
    const char *places; /* FILE or DIR, once it was written */
    FILE *stream;
};

static struct span span_of(const char *text) {
    return (struct span){text, (int)strlen(text)};
}

/* `end` is added to the candidate. */
static void offer(const struct completing *at, struct span candidate, const char *end) {
    const char *typed = at->word + at->kept;
    char text[128];
    snprintf(text, sizeof text, "%.*s%s", candidate.length, candidate.text, end);
    if (strncmp(text, typed, strlen(typed)) == 0)
        fprintf(at->stream, "%.*s%s\n", (int)at->kept, at->word, text);
}

/* Of several usages each may take some. */
static void offer_places(struct completing *at, const char *places) {
    if (!at->places)
        fprintf(at->stream, "%s\n", places);
    at->places = places;
}

static void offer_text(const struct completing *at, const char *candidate) {
    offer(at, span_of(candidate), "");
}

/* ---- names ----------------------------------------------------------------------------------- */

static void offer_loops(struct completing *at) {
    struct loop_info info;
    for (size_t i = 0; loop_info(i, &info); i++)
        if (info.available)
            offer_text(at, info.name);
}

static void offer_workloads(struct completing *at) {
    const struct workload *workload;
    for (size_t i = 0; (workload = workload_at(i)); i++)
        if (workload->server)
            offer_text(at, workload->name);
}

/* One that lies elsewhere is named by its path. */
static void offer_experiments(struct completing *at) {
    char directory[PATH_MAX + 32], **stems;
    struct error error;
    size_t count;
    if (strchr(at->word + at->kept, '/'))
        offer_places(at, "FILE");
    snprintf(directory, sizeof directory, "%s/harness/experiments", source_directory());
    if (experiment_list(directory, &stems, &count, &error))
        return;
    for (size_t i = 0; i < count; i++)
        offer_text(at, stems[i]);
    experiment_list_free(stems, count);
}

/* A scheme that several workloads speak means the first of them. */
static bool is_spoken_before(size_t index, const char *scheme) {
    for (size_t i = 0; i < index; i++)
        for (const char *const *known = workload_at(i)->schemes; *known; known++)
            if (strcmp(*known, scheme) == 0)
                return true;
    return false;
}

static bool is_of_files(const char *scheme) {
    return strcmp(scheme, "unix") == 0 || strcmp(scheme, "sqlite") == 0;
}

static void offer_urls(struct completing *at) {
    const struct workload *workload;
    for (size_t i = 0; (workload = workload_at(i)); i++)
        for (const char *const *scheme = workload->schemes; *scheme; scheme++)
            if (!is_spoken_before(i, *scheme))
                offer(at, span_of(*scheme), is_of_files(*scheme) ? ":" : "://");
}

static void offer_files(struct completing *at) {
    offer_places(at, "FILE");
}

static void offer_folders(struct completing *at) {
    offer_places(at, "DIR");
}

/* ---- knobs ----------------------------------------------------------------------------------- */

/* Those of the generator, then of each workload; null beyond the last. */
static const struct knob_table *knob_table_at(size_t index) {
    const struct workload *workload = index > 0 ? workload_at(index - 1) : NULL;
    if (index == 0)
        return &load_knobs;
    return workload ? &workload->knobs : NULL;
}

/* An option is called as its knob, but for its dashes. */
static bool is_called(const struct knob *knob, struct span name) {
    bool same = strlen(knob->name) == (size_t)name.length;
    for (int i = 0; same && i < name.length; i++)
        same = knob->name[i] == (name.text[i] == '-' ? '_' : name.text[i]);
    return same;
}

static const struct knob *find_knob(struct span name) {
    const struct knob_table *table;
    for (size_t i = 0; (table = knob_table_at(i)); i++)
        for (size_t k = 0; k < table->count; k++)
            if (is_called(&table->knobs[k], name))
                return &table->knobs[k];
    return NULL;
}

static void offer_knob_values(const struct completing *at, const struct knob *knob) {
    static const char *const flag_words[] = {"yes", "no", NULL};
    const char *const *words = knob->type == KNOB_CHOICE ? knob->choices
                               : knob->type == KNOB_FLAG ? flag_words
                                                         : NULL;
    for (; words && *words; words++)
        offer_text(at, *words);
}

/* "NAME=", then "NAME=VALUE" and where several may be given "NAME=VALUE,VALUE". */
static void offer_pairs(struct completing *at, bool servers_only) {
    const char *typed = at->word + at->kept, *equals = strchr(typed, '=');
    const struct knob_table *table;
    if (equals) {
        const struct knob *knob = find_knob((struct span){typed, (int)(equals - typed)});
        const char *comma = strrchr(equals, ',');
        at->kept = (size_t)((comma ? comma : equals) + 1 - at->word);
        if (knob)
            offer_knob_values(at, knob);
        return;
    }
    for (size_t i = 0; (table = knob_table_at(i)); i++)
        for (size_t k = 0; k < table->count; k++)
            if (!servers_only || table->knobs[k].side == KNOB_SERVER)
                offer(at, span_of(table->knobs[k].name), "=");
}

static void offer_all_pairs(struct completing *at) {
    offer_pairs(at, false);
}

static void offer_server_pairs(struct completing *at) {
    offer_pairs(at, true);
}

/* ---- what the helps name --------------------------------------------------------------------- */

/* The words of the helps that stand for something known. */
static const struct {
    const char *word;
    void (*offer)(struct completing *at);
} known_words[] = {
    {"LOOP", offer_loops},
    {"WORKLOAD", offer_workloads},
    {"EXPERIMENT", offer_experiments},
    {"K=V", offer_all_pairs},
    {"KNOB=VALUE", offer_server_pairs},
    {"URL", offer_urls},
    {"FILE", offer_files},
    {"DIR", offer_folders},
};

/* "LOOP…" and "K=V[,V...]" are a LOOP and a K=V, and more of them. */
static void offer_known(struct completing *at, struct span word) {
    for (size_t i = 0; i < ARRAY_LENGTH(known_words); i++) {
        size_t length = strlen(known_words[i].word);
        if ((size_t)word.length >= length && memcmp(word.text, known_words[i].word, length) == 0 &&
            ((size_t)word.length == length || !isalnum((unsigned char)word.text[length])))
            known_words[i].offer(at);
    }
}

static void offer_values(struct completing *at, const struct help_option *option) {
    struct span name = option->name;
    while (name.length > 0 && *name.text == '-')
        name = (struct span){name.text + 1, name.length - 1};
    const struct knob *knob = find_knob(name);
    if (knob)
        offer_knob_values(at, knob);
    else
        offer_known(at, option->takes);
}

static bool has_row(const char *help, struct span name) {
    struct help_option option;
    return help_find_option(help, name, &option) && option.name.text != name.text;
}

static void offer_options(const struct completing *at, const char *help) {
    struct help_line line = {.kind = HELP_BLANK};
    struct help_option option;
    for (const char *rest = help; help_next_line(&rest, &line);) {
        while (line.kind == HELP_USAGE && help_next_usage_option(&line.text, &option))
            if (!has_row(help, option.name))
                offer(at, option.name, "");
        while (line.kind == HELP_ROW && help_next_option(&line.term, &option))
            if (option.name.length > 2)
                offer(at, option.name, "");
    }
    offer_text(at, "--help");
}

/* One line of usage, after "loopmark NAME": words to be typed as they are are lower-case, and come
 * first; options follow what else is named. */
static void offer_usage(struct completing *at, struct span usage, bool first) {
    const char *word = usage.text, *end = usage.text + usage.length;
    for (int i = 0; word < end; i++) {
        word += strspn(word, " [");
        if (word >= end || *word == '-' || strncmp(word, "OPTIONS", strlen("OPTIONS")) == 0)
            return;
        struct span named = {word, (int)strcspn(word, " ]\n")};
        if (i >= 2 && islower((unsigned char)*word) && first)
            offer(at, named, "");
        else if (i >= 2)
            offer_known(at, named);
        word += named.length + (word[named.length] == ']');
    }
}

static void offer_operands(struct completing *at, const char *help, bool first) {
    struct help_line line = {.kind = HELP_BLANK};
    while (help_next_line(&help, &line))
        if (line.kind == HELP_USAGE)
            offer_usage(at, line.text, first);
}

/* ---- the command line ------------------------------------------------------------------------ */

static bool takes_value(const struct command *command, const char *word,
                        struct help_option *option) {
    return word[0] == '-' && help_find_option(command->help, span_of(word), option) &&
           option->takes.length > 0;
}

/* `words` begin with the command. */
static void complete_word(struct completing *at, const struct command *command,
                          const char *const *words, size_t count) {
    struct help_option option;
    size_t operands = 0, i;
    for (i = 1; i + 1 < count; i++) {
        if (takes_value(command, words[i], &option))
            i++;
        else
            operands += words[i][0] != '-';
    }
    const char *equals = strchr(at->word, '=');
    if (i >= count) /* the word before takes it */
        offer_values(at, &option);
    else if (at->word[0] != '-')
        offer_operands(at, command->help, operands == 0);
    else if (!equals)
        offer_options(at, command->help);
    else if (help_find_option(command->help, (struct span){at->word, (int)(equals - at->word)},
                              &option)) {
        at->kept = (size_t)(equals + 1 - at->word);
        offer_values(at, &option);
    }
}

void completion_write(const struct manual *manual, const char *const *words, size_t count,
                      FILE *stream) {
    if (count == 0)
        return;
    struct completing at = {.word = words[count - 1], .stream = stream};
    for (size_t i = 0; i < manual->command_count; i++) {
        const struct command *command = manual->commands[i];
        if (count == 1)
            offer_text(&at, command->name);
        else if (strcmp(command->name, words[0]) == 0)
            complete_word(&at, command, words, count);
    }
    if (count == 1 && at.word[0] == '-') {
        offer_text(&at, "--help");
        offer_text(&at, "--version");
    }
}
