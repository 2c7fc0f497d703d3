/* histogram_group.c: see histogram_group.h. */
#include "harness/histogram_group.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

const char *const grouping_names[] = {
    [GROUP_ALL] = "all",       [GROUP_TAG] = "tag",   [GROUP_FILE] = "file",
    [GROUP_SECOND] = "second", [GROUP_NONE] = "none", NULL,
};

void histogram_groups_open(struct histogram_groups *groups, enum grouping grouping,
                           const struct histogram_filter *filter) {
    *groups = (struct histogram_groups){.grouping = grouping, .filter = *filter};
}

void histogram_groups_close(struct histogram_groups *groups) {
    for (size_t i = 0; i < groups->count; i++) {
        histogram_close(&groups->groups[i].histogram);
        free(groups->groups[i].name);
    }
    free(groups->groups);
    *groups = (struct histogram_groups){.count = 0};
}

/* ---- which group ----------------------------------------------------------------------------- */

static bool passes(struct histogram_groups *groups, const struct histogram_entry *entry) {
    const struct histogram_filter *filter = &groups->filter;
    if (!groups->begun && entry->timed) {
        groups->first_s = entry->start_s;
        groups->begun = true;
    }
    if (filter->table > 0 && entry->table > 0 && entry->table != filter->table)
        return false;
    if (filter->tag && fnmatch(filter->tag, entry->tag ? entry->tag : "", 0) != 0)
        return false;
    if (filter->from_s <= 0 && isinf(filter->until_s))
        return true;
    /* Files have milliseconds; a difference of seconds since 1970 has dirt behind them. */
    double at_s = round((entry->start_s - groups->first_s) * 1e3) / 1e3;
    return entry->timed && at_s >= filter->from_s && at_s < filter->until_s;
}

/* What would make a wrong number of it. */
static int check_entry(const struct histogram_groups *groups, const struct histogram_entry *entry) {
    const struct histogram_filter *filter = &groups->filter;
    if (entry->unit && strcmp(entry->unit, filter->unit) != 0)
        return error_set(groups->error, -EINVAL,
                         "%s: it says that its values are in %s, not in %s: --unit %s",
                         groups->file, entry->unit, filter->unit, entry->unit);
    if (entry->table > 1 && filter->table == 0)
        return error_set(groups->error, -EINVAL,
                         "%s:%lu: a second percentile table; which one is it? --table 1 or 2",
                         groups->file, entry->line);
    if (entry->cut_line > 0 && !filter->cut_tables)
        return error_set(groups->error, -EINVAL,
                         "%s:%lu: the table breaks off, its largest values are missing; --skip-bad "
                         "takes what is there",
                         groups->file, entry->cut_line);
    return 0;
}

/* Of the middle: starts that shake by a millisecond around a full second stay apart. */
static double second_of(const struct histogram_entry *entry) {
    return floor(entry->start_s + entry->length_s / 2);
}

static const char *name_for(const struct histogram_groups *groups,
                            const struct histogram_entry *entry) {
    if (groups->grouping == GROUP_FILE)
        return groups->file;
    return groups->grouping == GROUP_TAG || groups->grouping == GROUP_NONE ? entry->tag : NULL;
}

static bool same_name(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool belongs(const struct histogram_groups *groups, const struct histogram_group *group,
                    const struct histogram_entry *entry) {
    if (groups->grouping == GROUP_SECOND)
        return group->timed == entry->timed &&
               (!entry->timed || group->start_s == second_of(entry));
    return same_name(group->name, name_for(groups, entry));
}

/* Mostly it is the one found last, or the one behind it. */
static struct histogram_group *find(struct histogram_groups *groups,
                                    const struct histogram_entry *entry) {
    if (groups->grouping == GROUP_NONE)
        return NULL;
    for (size_t i = 0; i < groups->count; i++) {
        size_t index = (groups->latest + i) % groups->count;
        if (belongs(groups, &groups->groups[index], entry)) {
            groups->latest = index;
            return &groups->groups[index];
        }
    }
    groups->latest = groups->count; /* where it will be */
    return NULL;
}

/* ---- adding ---------------------------------------------------------------------------------- */

/* Takes the entry's histogram over. */
static int begin_group(struct histogram_groups *groups, struct histogram_entry *entry) {
    const char *name = name_for(groups, entry);
    char *own_name = name ? strdup(name) : NULL;
    struct histogram_group *larger =
        reallocarray(groups->groups, groups->count + 1, sizeof *groups->groups);
    if (larger)
        groups->groups = larger;
    if (!larger || (name && !own_name)) {
        free(own_name);
        return -ENOMEM;
    }
    groups->groups[groups->count] = (struct histogram_group){
        .name = own_name,
        .timed = entry->timed,
        .exact = entry->exact,
        .start_s = groups->grouping == GROUP_SECOND ? second_of(entry) : entry->start_s,
        .length_s = groups->grouping == GROUP_SECOND ? 1 : entry->length_s,
        .entries = 1,
        .order = groups->count,
        .histogram = entry->histogram,
    };
    groups->count++;
    entry->histogram = (struct histogram){.counts = NULL};
    return 0;
}

static bool holds(const struct histogram_layout *layout, const struct histogram_layout *other) {
    return layout->lowest <= other->lowest && layout->highest >= other->highest &&
           layout->digits >= other->digits;
}

/* Gives the histogram a layout that loses nothing of either. */
static int widen(struct histogram *histogram, const struct histogram_layout *other) {
    const struct histogram_layout *own = &histogram->layout;
    struct histogram_layout both;
    struct histogram wide;
    if (holds(own, other))
        return 0;
    int failure =
        histogram_layout_init(&both, own->lowest < other->lowest ? own->lowest : other->lowest,
                              own->highest > other->highest ? own->highest : other->highest,
                              own->digits > other->digits ? own->digits : other->digits);
    if (!failure)
        failure = histogram_open(&wide, &both);
    if (failure)
        return failure;
    CHECK(histogram_merge(&wide, histogram) == 0);
    histogram_close(histogram);
    *histogram = wide;
    return 0;
}

static int add_to(struct histogram_groups *groups, struct histogram_group *group,
                  const struct histogram_entry *entry) {
    if (!histogram_layout_equal(&group->histogram.layout, &entry->histogram.layout)) {
        groups->mixed = true;
        int failure = widen(&group->histogram, &entry->histogram.layout);
        if (failure)
            return failure;
    }
    int failure = histogram_merge(&group->histogram, &entry->histogram);
    if (failure)
        return failure;
    group->entries++;
    group->exact = group->exact && entry->exact;
    if (groups->grouping == GROUP_SECOND)
        return 0;
    if (group->timed && entry->timed) {
        double end_s = fmax(group->start_s + group->length_s, entry->start_s + entry->length_s);
        group->start_s = fmin(group->start_s, entry->start_s);
        group->length_s = end_s - group->start_s;
    } else {
        group->timed = false;
    }
    return 0;
}

static int add_entry(struct histogram_entry *entry, void *data) {
    struct histogram_groups *groups = data;
    if (!passes(groups, entry)) {
        groups->passed_over++;
        return 0;
    }
    int failure = check_entry(groups, entry);
    if (failure)
        return failure;
    struct histogram_group *group = find(groups, entry);
    groups->entries++;
    return group ? add_to(groups, group, entry) : begin_group(groups, entry);
}

int histogram_groups_read(struct histogram_groups *groups, const char *path,
                          const struct histogram_file_options *options,
                          struct histogram_file_notes *notes, struct error *error) {
    groups->file = path;
    groups->begun = false;
    groups->error = error;
    error->text[0] = '\0';
    int failure = histogram_file_read(path, options, add_entry, groups, notes, error);
    if (failure && error->text[0] == '\0')
        error_set(error, failure, "%s: %s", path,
                  failure == -EOVERFLOW ? "added up, more than 2^63 - 1 values"
                                        : strerror(-failure));
    return failure;
}

static int by_start(const void *a, const void *b) {
    const struct histogram_group *left = a, *right = b;
    if (left->timed != right->timed)
        return left->timed - right->timed;
    if (left->timed && left->start_s != right->start_s)
        return left->start_s > right->start_s ? 1 : -1;
    return left->order > right->order ? 1 : -1;
}

void histogram_groups_sort(struct histogram_groups *groups) {
    if (groups->count > 1)
        qsort(groups->groups, groups->count, sizeof *groups->groups, by_start);
}
