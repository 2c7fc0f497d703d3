/* units.c: see units.h. */
#include "units.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "loops/clock.h"

struct unit {
    double factor;
    const char *name;
};

/* Largest first; the last one takes what is left. */
static const struct unit time_units[] = {
    {1e9, " s"}, {1e6, " ms"}, {1e3, " µs"}, {1, " ns"}, {0, NULL}};
static const struct unit rate_units[] = {{1e6, "M/s"}, {1e3, "k/s"}, {1, "/s"}, {0, NULL}};
static const struct unit byte_units[] = {
    {1 << 30, " GiB"}, {1 << 20, " MiB"}, {1 << 10, " KiB"}, {1, " B"}, {0, NULL}};

static char *nothing(char text[UNITS_TEXT_BYTES]) {
    snprintf(text, UNITS_TEXT_BYTES, "-");
    return text;
}

/* Decimals that make three digits; of a whole number below 1000 no decimals, so "100 KiB" stays so.
 * */
static int decimals(double scaled, bool exact) {
    if (exact && scaled == floor(scaled))
        return 0;
    return scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0;
}

static char *in_units(double value, const struct unit *units, bool exact,
                      char text[UNITS_TEXT_BYTES]) {
    if (!isfinite(value))
        return nothing(text);
    double size = fabs(value);
    /* 999.6 would print as 1000: such a value already belongs to the next unit. */
    while (units[1].name && size < units->factor * (1 - 0.0005))
        units++;
    double scaled = value / units->factor;
    snprintf(text, UNITS_TEXT_BYTES, "%.*f%s", decimals(fabs(scaled), exact || units->factor == 1),
             scaled, units->name);
    return text;
}

char *units_time(double ns, char text[UNITS_TEXT_BYTES]) {
    return in_units(ns, time_units, false, text);
}

char *units_rate(double per_s, char text[UNITS_TEXT_BYTES]) {
    return in_units(per_s, rate_units, false, text);
}

char *units_bytes(double bytes, char text[UNITS_TEXT_BYTES]) {
    return in_units(bytes, byte_units, true, text);
}

char *units_count(double count, char text[UNITS_TEXT_BYTES]) {
    if (!isfinite(count) || fabs(count) > 1e20)
        return nothing(text);
    char digits[UNITS_TEXT_BYTES];
    int length = snprintf(digits, sizeof digits, "%.0f", fabs(count));
    char *to = text;
    if (count < 0 && strcmp(digits, "0") != 0)
        *to++ = '-';
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

char *units_change(double ratio, char text[UNITS_TEXT_BYTES]) {
    if (!isfinite(ratio))
        return nothing(text);
    double percent = (ratio - 1) * 100;
    if (fabs(percent) < 0.05)
        percent = 0; /* not "-0.0 %" */
    snprintf(text, UNITS_TEXT_BYTES, "%+.1f %%", percent);
    return text;
}

char *units_duration(double ns, char text[UNITS_TEXT_BYTES]) {
    if (!isfinite(ns) || ns < 0 || ns > 1e18)
        return nothing(text);
    unsigned long seconds = (unsigned long)round(ns / NS_PER_S);
    if (ns / NS_PER_S < 9.95)
        snprintf(text, UNITS_TEXT_BYTES, "%.1f s", ns / NS_PER_S);
    else if (seconds < 60)
        snprintf(text, UNITS_TEXT_BYTES, "%lu s", seconds);
    else if (seconds < 3600)
        snprintf(text, UNITS_TEXT_BYTES, "%lu min %lu s", seconds / 60, seconds % 60);
    else
        snprintf(text, UNITS_TEXT_BYTES, "%lu h %lu min", seconds / 3600, seconds % 3600 / 60);
    return text;
}
