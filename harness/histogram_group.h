/* histogram_group.h: histograms of many files, filtered and put together.
 *
 * Entries come one after another (histogram_file.h) and are added up in groups: one for all, or one
 * a tag, a file or a second of wall clock (that of an entry's middle); or each stays by itself. A
 * group spans its members' times, a second is a second long. Adding is lossless where the
 * configurations are equal; where they are not, the group takes one that holds both, and says so
 * (`mixed`). */
#ifndef LOOPMARK_HISTOGRAM_GROUP_H
#define LOOPMARK_HISTOGRAM_GROUP_H

#include "harness/histogram_file.h"

enum grouping { GROUP_ALL, GROUP_TAG, GROUP_FILE, GROUP_SECOND, GROUP_NONE };
extern const char *const grouping_names[]; /* "all", "tag", "file", "second", "none", null */

struct histogram_filter {
    const char *tag;        /* a shell pattern, "" for entries without a tag; null: any */
    const char *unit;       /* what the values are; a file that states another is refused */
    unsigned table;         /* of a file's percentile tables this one; 0: there may be only one */
    bool cut_tables;        /* take tables that break off */
    double from_s, until_s; /* start of the interval, from the first one's start in its file */
};

struct histogram_group {
    char *name; /* the tag or the file it is of; null: none */
    bool timed, exact;
    double start_s, length_s;
    unsigned long entries;
    size_t order; /* of appearance */
    struct histogram histogram;
};

struct histogram_groups {
    enum grouping grouping;
    struct histogram_filter filter;
    struct histogram_group *groups; /* in order of appearance; histogram_groups_sort */
    size_t count;
    unsigned long entries, passed_over; /* taken, and not taken by the filter */
    bool mixed;
    /* for histogram_groups_add */
    const char *file;
    struct error *error;
    double first_s;
    bool begun;
    size_t latest; /* the group found last */
};

void histogram_groups_open(struct histogram_groups *groups, enum grouping grouping,
                           const struct histogram_filter *filter);
void histogram_groups_close(struct histogram_groups *groups);

/* Adds what a file holds; errors as histogram_file_read has them, or -EOVERFLOW. What was added
 * until an error stays. */
int histogram_groups_read(struct histogram_groups *groups, const char *path,
                          const struct histogram_file_options *options,
                          struct histogram_file_notes *notes, struct error *error);

/* By start time, those without one first; else as they came. */
void histogram_groups_sort(struct histogram_groups *groups);

#endif
