/* histogram_print.h: histograms for people: percentiles with intervals, a plot, a comparison.
 *
 * Values are times: one unit of a histogram's value is `unit_ns` nanoseconds. Intervals are the
 * 95 % ones within a run (histogram_quantile_interval); a quantile with too few samples beyond it
 * is "-". To a stream, in UTF-8, without colour. */
#ifndef LOOPMARK_HISTOGRAM_PRINT_H
#define LOOPMARK_HISTOGRAM_PRINT_H

#include <stdio.h>

#include "harness/histogram.h"

/* Count, range, mean; a line a percentile; bars over the values. Not `exact`: rebuilt from a
 * percentile table, so that values are upper bounds, and an interval would be made up. */
void histogram_print(const struct histogram *histogram, bool exact, double unit_ns, FILE *stream);

/* A line each: name, count, percentiles. `histogram_print_row_head` has the headings. */
void histogram_print_row_head(const char *name, int name_width, FILE *stream);
void histogram_print_row(const char *name, int name_width, const struct histogram *histogram,
                         double unit_ns, FILE *stream);

/* Percentile by percentile: both values, the change from a to b, and whether their intervals lie
 * apart, if both are `exact`. */
void histogram_print_difference(const struct histogram *a, const struct histogram *b, bool exact,
                                double unit_ns, FILE *stream);

/* Do the 95 % intervals of both have a common value? True also when one is not known. */
bool histogram_intervals_overlap(const struct histogram *a, const struct histogram *b, double q);

#endif
