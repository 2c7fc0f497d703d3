/* units.h: numbers as people read them, for tables, reports and progress lines. Output only: what
 * users give is read by knob.h.
 *
 * Three significant digits, the unit chosen by size. A value that is not finite is "-". Pure; each
 * writes at most UNITS_TEXT_BYTES and returns `text`, so that it can stand in a printf. */
#ifndef LOOPMARK_UNITS_H
#define LOOPMARK_UNITS_H

#define UNITS_TEXT_BYTES 48

/* "850 ns", "12.3 µs", "1.20 ms", "2.00 s". */
char *units_time(double ns, char text[UNITS_TEXT_BYTES]);

/* "0.50/s", "950/s", "45.6k/s", "1.20M/s". */
char *units_rate(double per_s, char text[UNITS_TEXT_BYTES]);

/* "512 B", "100 KiB", "1.50 MiB": powers of 1024. */
char *units_bytes(double bytes, char text[UNITS_TEXT_BYTES]);

/* "1,234,567"; rounded to a whole number. */
char *units_count(double count, char text[UNITS_TEXT_BYTES]);

/* "+5.0 %" of the ratio 1.05, "-12.5 %", "+0.0 %". */
char *units_change(double ratio, char text[UNITS_TEXT_BYTES]);

/* A wait: "0.8 s", "42 s", "3 min 20 s", "2 h 5 min". */
char *units_duration(double ns, char text[UNITS_TEXT_BYTES]);

#endif
