/* knob.c: see knob.h. */
#include "knob.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

/* ---- units ----------------------------------------------------------------------------------- */

struct unit {
    const char *name;
    double factor;
};

/* Smallest first, then other names that are only read. Decimal "KB" is left out on purpose: half of
 * its users mean 1024. */
static const struct unit count_units[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {NULL, 0}};
static const struct unit rate_units[] = {{"/s", 1},  {"k/s", 1e3}, {"M/s", 1e6}, {"", 1},
                                         {"k", 1e3}, {"M", 1e6},   {NULL, 0}};
static const struct unit byte_units[] = {{"B", 1},         {"KiB", 1 << 10}, {"MiB", 1 << 20},
                                         {"GiB", 1 << 30}, {"", 1},          {NULL, 0}};
static const struct unit time_units[] = {{"ns", 1},     {"us", 1e3},   {"ms", 1e6}, {"s", 1e9},
                                         {"min", 60e9}, {"h", 3600e9}, {"µs", 1e3}, {NULL, 0}};

struct number_type {
    const struct unit *units; /* the first is the one the value is kept in */
    bool whole;
    const char *example;
};

static const struct number_type number_types[] = {
    [KNOB_COUNT] = {count_units, true, "a whole number like 100 or 10k"},
    [KNOB_BYTES] = {byte_units, true, "a size like 1024, 100KiB or 1MiB"},
    [KNOB_TIME] = {time_units, true, "a time with its unit like 300us, 1.5s or 2min"},
    [KNOB_RATE] = {rate_units, false, "a rate per second like 20000 or 20k"},
};

static bool is_number(enum knob_type type) {
    return type != KNOB_FLAG && type != KNOB_CHOICE;
}

/* Digits with at most one point between them: strtod alone would take "0x10", "1e9", "inf" and "
 * -1". */
static size_t plain_decimal(const char *text) {
    size_t length = strspn(text, "0123456789");
    if (length > 0 && text[length] == '.') {
        size_t fraction = strspn(text + length + 1, "0123456789");
        length = fraction > 0 ? length + 1 + fraction : 0;
    }
    return length;
}

static const struct unit *find_unit(const struct unit *units, const char *name) {
    for (; units->name; units++)
        if (strcmp(units->name, name) == 0)
            return units;
    return NULL;
}

static int parse_number(const struct knob *knob, const char *text, double *value,
                        struct error *error) {
    const struct number_type *type = &number_types[knob->type];
    size_t digits = plain_decimal(text);
    const struct unit *unit = digits > 0 ? find_unit(type->units, text + digits) : NULL;
    double number = strtod(text, NULL);
    if (!unit && digits > 0 && text[digits] == '\0' && number == 0)
        unit = type->units; /* nothing is nothing in every unit */
    if (!unit || digits >= KNOB_TEXT_BYTES)
        return error_set(error, -EINVAL, "%s = %.64s: expected %s", knob->name, text,
                         type->example);
    /* 16.384us is a whole number of ns, but not in doubles. */
    double exact = number * unit->factor, nearest = round(exact);
    if (fabs(exact - nearest) < 1e-12 * nearest)
        exact = nearest;
    if (type->whole && exact != nearest)
        return error_set(error, -EINVAL, "%s = %.64s: not a whole number%s%s", knob->name, text,
                         *type->units->name ? " of " : "", type->units->name);
    *value = exact;
    return 0;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static const char *const flag_words[] = {"no", "yes", NULL};

static const char *const *words_of(const struct knob *knob) {
    return knob->type == KNOB_FLAG ? flag_words : knob->choices;
}

static int parse_word(const struct knob *knob, const char *text, double *value,
                      struct error *error) {
    char known[256] = "";
    const char *const *words = words_of(knob);
    for (size_t i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *value = (double)i;
            return 0;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", words[i]);
    }
    return error_set(error, -EINVAL, "%s = %.64s: expected one of: %s", knob->name, text, known);
}

int knob_parse(const struct knob *knob, const char *text, double *value, struct error *error) {
    double parsed = 0;
    if (!is_number(knob->type))
        return parse_word(knob, text, value, error);
    int failure = parse_number(knob, text, &parsed, error);
    if (failure)
        return failure;
    if (parsed < knob->least || parsed > knob->most) {
        char least[KNOB_TEXT_BYTES], most[KNOB_TEXT_BYTES];
        knob_format(knob, knob->least, least);
        knob_format(knob, knob->most, most);
        return error_set(error, -EINVAL, "%s = %.64s: must be from %s to %s", knob->name, text,
                         least, most);
    }
    *value = parsed;
    return 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

void knob_values_init(struct knob_values *values, struct knob_table first,
                      struct knob_table second) {
    CHECK(first.count + second.count <= KNOBS_MOST);
    *values = (struct knob_values){.tables = {first, second}};
    const struct knob *knob;
    for (size_t i = 0; (knob = knob_at(values, i)) != NULL; i++) {
        size_t found;
        CHECK(knob_find(values, knob->name, &found) == knob && found == i);
        values->values[i] = knob->initial;
    }
}

const struct knob *knob_at(const struct knob_values *values, size_t index) {
    for (size_t table = 0; table < KNOB_TABLES; table++) {
        if (index < values->tables[table].count)
            return &values->tables[table].knobs[index];
        index -= values->tables[table].count;
    }
    return NULL;
}

const struct knob *knob_find(const struct knob_values *values, const char *name, size_t *index) {
    const struct knob *knob;
    for (size_t i = 0; (knob = knob_at(values, i)) != NULL; i++)
        if (strcmp(knob->name, name) == 0) {
            if (index)
                *index = i;
            return knob;
        }
    return NULL;
}

static size_t least_of(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Levenshtein's distance, one row kept. Names longer than the row count as far away. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[32], length = strlen(b);
    if (length >= ARRAY_LENGTH(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t above = row[j];
            row[j] = least_of(least_of(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[length];
}

enum { NEAR_EDITS = 2 };

static int no_such_knob(const struct knob_values *values, const char *name, struct error *error) {
    char all[400] = "";
    const struct knob *knob, *nearest = NULL;
    size_t nearest_edits = NEAR_EDITS + 1;
    for (size_t i = 0; (knob = knob_at(values, i)) != NULL; i++) {
        size_t edits = edit_distance(name, knob->name), used = strlen(all);
        if (edits < nearest_edits) {
            nearest = knob;
            nearest_edits = edits;
        }
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", knob->name);
    }
    if (nearest)
        return error_set(error, -ENOENT, "no knob is called '%.64s'; did you mean %s?", name,
                         nearest->name);
    return error_set(error, -ENOENT, "no knob is called '%.64s'; there are: %s", name, all);
}

int knob_set(struct knob_values *values, const char *name, const char *text, struct error *error) {
    size_t index;
    const struct knob *knob = knob_find(values, name, &index);
    if (!knob)
        return no_such_knob(values, name, error);
    double value;
    int failure = knob_parse(knob, text, &value, error);
    if (failure)
        return failure;
    values->values[index] = value;
    values->given[index] = true;
    return 0;
}

int knob_set_pair(struct knob_values *values, const char *pair, struct error *error) {
    const char *equals = strchr(pair, '=');
    char name[64];
    if (!equals || equals == pair || (size_t)(equals - pair) >= sizeof name)
        return error_set(error, -EINVAL, "'%.64s' should be NAME=VALUE, like connections=100",
                         pair);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    return knob_set(values, name, equals + 1, error);
}

void knob_set_number(struct knob_values *values, const char *name, double value) {
    size_t index;
    CHECK(knob_find(values, name, &index));
    values->values[index] = value;
    values->given[index] = true;
}

double knob_get(const struct knob_values *values, const char *name) {
    size_t index;
    CHECK(knob_find(values, name, &index));
    return values->values[index];
}

/* ---- formatting ------------------------------------------------------------------------------ */

/* 15 digits are what every decimal survives in a double; zeros behind the point say nothing. */
static void decimal(double number, char text[KNOB_TEXT_BYTES]) {
    snprintf(text, KNOB_TEXT_BYTES, "%.*f", fabs(number) < 1e6 ? 9 : 3, number);
    char *end = text + strlen(text);
    while (end[-1] == '0')
        end--;
    end[end[-1] == '.' ? -1 : 0] = '\0';
}

/* The digits before the point in groups of three: "60,000". */
static void group_digits(char text[KNOB_TEXT_BYTES]) {
    size_t digits = strspn(text, "0123456789");
    for (size_t at = digits; at > 3; at -= 3) {
        size_t length = strlen(text);
        CHECK(length + 1 < KNOB_TEXT_BYTES);
        memmove(text + at - 2, text + at - 3, length - at + 4);
        text[at - 3] = ',';
    }
}

/* The largest unit that the value fills. */
static const struct unit *unit_for(const struct unit *units, double value) {
    const struct unit *best = units;
    for (; units->name; units++)
        if (units->factor > best->factor && value >= units->factor)
            best = units;
    return best;
}

/* A value that needs more than two decimals in a unit stays in a smaller one: 10,000 B must not
 * become 9.765625 KiB. */
static const struct unit *short_unit(const struct unit *units, double value) {
    const struct unit *unit = unit_for(units, value);
    while (unit > units && fmod(value * 100, unit->factor) != 0)
        unit--;
    return unit;
}

void knob_format(const struct knob *knob, double value, char text[KNOB_TEXT_BYTES]) {
    if (!is_number(knob->type)) {
        snprintf(text, KNOB_TEXT_BYTES, "%s", words_of(knob)[(size_t)value]);
        return;
    }
    const struct unit *unit = number_types[knob->type].units;
    if (knob->type == KNOB_BYTES || knob->type == KNOB_TIME)
        unit = short_unit(unit, value);
    decimal(value / unit->factor, text);
    group_digits(text);
    size_t used = strlen(text);
    snprintf(text + used, KNOB_TEXT_BYTES - used, "%s%s",
             *unit->name && *unit->name != '/' ? " " : "", unit->name);
}

void knob_format_plain(const struct knob *knob, double value, char text[KNOB_TEXT_BYTES]) {
    if (knob->type != KNOB_TIME && is_number(knob->type)) {
        decimal(value, text);
        return;
    }
    knob_format(knob, value, text);
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != ',' && *from != ' ')
            *to++ = *from;
    *to = '\0';
}
