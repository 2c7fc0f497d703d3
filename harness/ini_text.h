/* ini_text.h: an INI text as a list of entries that know their lines.
 *
 *   [section]
 *   name = value          ; a comment after a blank
 *   long = first, second,
 *          third          an indented line goes on with the value
 *
 * Read by inih, which does not tell lines; what it would pass over in silence is refused here:
 * sections without entries, sections and names that come twice, empty values, over-long lines. */
#ifndef LOOPMARK_INI_TEXT_H
#define LOOPMARK_INI_TEXT_H

#include <stddef.h>

#include "loops/error.h"

struct ini_entry {
    char *section, *name, *value;
    int line;         /* of the name */
    int section_line; /* of the section's header */
};

struct ini_text {
    char *file; /* as messages name it */
    struct ini_entry *entries;
    size_t count;
};

enum { INI_ENTRIES_MOST = 1000 };

/* -EINVAL or -ENOMEM with "file:line: …" in `error`; `out` is then empty. */
int ini_text_read(const char *file, const char *text, struct ini_text *out, struct error *error);
void ini_text_free(struct ini_text *ini);

/* "file:line: " in front of what the format says; returns -EINVAL. */
int ini_error(const struct ini_text *ini, int line, struct error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts "file:line: " in front of a message that is already there; returns -EINVAL. */
int ini_locate(const struct ini_text *ini, int line, struct error *error);

#endif
