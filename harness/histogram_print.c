/* histogram_print.c: see histogram_print.h. */
#include "harness/histogram_print.h"

#include <math.h>
#include <string.h>

#include "harness/units.h"
#include "loops/check.h"

#define CONFIDENCE 0.95

static const struct {
    double q;
    const char *name;
} percentiles[] = {
    {0.5, "50 %"},  {0.75, "75 %"},    {0.9, "90 %"},       {0.95, "95 %"},
    {0.99, "99 %"}, {0.999, "99.9 %"}, {0.9999, "99.99 %"},
};

enum { TIME_WIDTH = 10, BARS = 14, BAR_CELLS = 40, EIGHTHS = 8 };

/* Right-aligned by what is seen: "µ" is two bytes and one letter. */
static void print_padded(FILE *stream, const char *text, int width) {
    int seen = 0;
    for (const char *at = text; *at; at++)
        seen += (*at & 0xc0) != 0x80;
    fprintf(stream, "%*s%s", width > seen ? width - seen : 0, "", text);
}

static void print_time(FILE *stream, double ns, int width) {
    char text[UNITS_TEXT_BYTES];
    print_padded(stream, units_time(ns, text), width);
}

static double quantile_ns(const struct histogram *histogram, double q, double unit_ns) {
    return histogram_quantile_valid(histogram, q)
               ? (double)histogram_quantile(histogram, q) * unit_ns
               : NAN;
}

static double max_ns(const struct histogram *histogram, double unit_ns) {
    return histogram->total > 0 ? (double)histogram->max * unit_ns : NAN;
}

/* ---- one ------------------------------------------------------------------------------------- */

static void print_moments(const struct histogram *histogram, double unit_ns, FILE *stream) {
    char count[UNITS_TEXT_BYTES], mean[UNITS_TEXT_BYTES], deviation[UNITS_TEXT_BYTES];
    char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
    fprintf(stream, "  %s values from %s to %s, mean %s, standard deviation %s\n",
            units_count((double)histogram->total, count),
            units_time((double)histogram_min(histogram) * unit_ns, least),
            units_time(max_ns(histogram, unit_ns), most),
            units_time(histogram_mean(histogram) * unit_ns, mean),
            units_time(histogram_stddev(histogram) * unit_ns, deviation));
}

static void print_percentile(const struct histogram *histogram, bool exact, double q,
                             const char *name, double unit_ns, FILE *stream) {
    char low_text[UNITS_TEXT_BYTES], high_text[UNITS_TEXT_BYTES];
    uint64_t low, high;
    print_padded(stream, name, 12);
    print_time(stream, quantile_ns(histogram, q, unit_ns), TIME_WIDTH + 2);
    if (!histogram_quantile_valid(histogram, q))
        fprintf(stream, "    fewer than %d values beyond", HISTOGRAM_BEYOND_MIN);
    else if (!exact)
        ; /* an interval would be made up */
    else if (histogram_quantile_interval(histogram, q, CONFIDENCE, &low, &high))
        fprintf(stream, "    %s to %s", units_time((double)low * unit_ns, low_text),
                units_time((double)high * unit_ns, high_text));
    else
        fprintf(stream, "    too few values for an interval");
    fputc('\n', stream);
}

/* Eighths of a cell, so that small shares differ; a bin with anything in it shows at least one. */
static void print_bar(FILE *stream, uint64_t count, uint64_t most) {
    static const char *const parts[EIGHTHS] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    uint64_t eighths = (uint64_t)((double)count / (double)most * BAR_CELLS * EIGHTHS + 0.5);
    if (count > 0 && eighths == 0)
        eighths = 1;
    for (uint64_t i = 0; i < eighths / EIGHTHS; i++)
        fputs("█", stream);
    fputs(parts[eighths % EIGHTHS], stream);
}

/* Bins of equal ratio between the smallest value and the largest. */
static void fill_bins(const struct histogram *histogram, uint64_t bins[BARS],
                      double edges[BARS + 1]) {
    double least = (double)histogram_min(histogram);
    least = least < 1 ? 1 : least;
    double most = fmax((double)histogram->max, least * 1.01);
    memset(bins, 0, BARS * sizeof *bins);
    for (int i = 0; i <= BARS; i++)
        edges[i] = least * pow(most / least, (double)i / BARS);
    int bin = 0;
    for (uint32_t i = 0; i < histogram->layout.counters; i++) {
        if (histogram->counts[i] == 0)
            continue;
        double value = (double)histogram_lowest_equivalent(&histogram->layout, i);
        while (bin < BARS - 1 && value >= edges[bin + 1])
            bin++;
        bins[bin] += histogram->counts[i];
    }
}

static void print_plot(const struct histogram *histogram, double unit_ns, FILE *stream) {
    uint64_t bins[BARS], most = 0;
    double edges[BARS + 1];
    fill_bins(histogram, bins, edges);
    for (int i = 0; i < BARS; i++)
        most = bins[i] > most ? bins[i] : most;
    fprintf(stream, "\n  from%*sup to       share\n", TIME_WIDTH - 4 + 2, "");
    for (int i = 0; i < BARS; i++) {
        print_time(stream, edges[i] * unit_ns, TIME_WIDTH);
        print_time(stream, edges[i + 1] * unit_ns, TIME_WIDTH + 1);
        fprintf(stream, " %8.3f %%  ", 100 * (double)bins[i] / (double)histogram->total);
        print_bar(stream, bins[i], most);
        fputc('\n', stream);
    }
}

void histogram_print(const struct histogram *histogram, bool exact, double unit_ns, FILE *stream) {
    char count[UNITS_TEXT_BYTES];
    if (histogram->total == 0) {
        fprintf(stream, "  no values\n");
        return;
    }
    if (exact)
        print_moments(histogram, unit_ns, stream);
    else
        fprintf(stream, "  %s values, as far as a percentile table tells\n",
                units_count((double)histogram->total, count));
    fprintf(stream, "\n  percentile       value%s\n",
            exact ? "    95 % interval, within this run"
                  : "    at most, but for the table's rounding");
    for (size_t i = 0; i < ARRAY_LENGTH(percentiles); i++)
        print_percentile(histogram, exact, percentiles[i].q, percentiles[i].name, unit_ns, stream);
    print_padded(stream, "max", 12);
    print_time(stream, max_ns(histogram, unit_ns), TIME_WIDTH + 2);
    fputc('\n', stream);
    print_plot(histogram, unit_ns, stream);
}

/* ---- a line each ----------------------------------------------------------------------------- */

void histogram_print_row_head(const char *name, int name_width, FILE *stream) {
    fprintf(stream, "  %-*s %13s", name_width, name, "values");
    for (size_t i = 0; i < ARRAY_LENGTH(percentiles); i++)
        print_padded(stream, percentiles[i].name, TIME_WIDTH);
    print_padded(stream, "max", TIME_WIDTH);
    fputc('\n', stream);
}

void histogram_print_row(const char *name, int name_width, const struct histogram *histogram,
                         double unit_ns, FILE *stream) {
    char count[UNITS_TEXT_BYTES];
    fprintf(stream, "  %-*s %13s", name_width, name, units_count((double)histogram->total, count));
    for (size_t i = 0; i < ARRAY_LENGTH(percentiles); i++)
        print_time(stream, quantile_ns(histogram, percentiles[i].q, unit_ns), TIME_WIDTH);
    print_time(stream, max_ns(histogram, unit_ns), TIME_WIDTH);
    fputc('\n', stream);
}

/* ---- two ------------------------------------------------------------------------------------- */

bool histogram_intervals_overlap(const struct histogram *a, const struct histogram *b, double q) {
    uint64_t low_a, high_a, low_b, high_b;
    if (!histogram_quantile_interval(a, q, CONFIDENCE, &low_a, &high_a) ||
        !histogram_quantile_interval(b, q, CONFIDENCE, &low_b, &high_b))
        return true;
    return low_a <= high_b && low_b <= high_a;
}

static void print_change(FILE *stream, double a_ns, double b_ns) {
    char change[UNITS_TEXT_BYTES] = "-";
    if (a_ns > 0 && isfinite(b_ns))
        units_change(b_ns / a_ns, change);
    print_padded(stream, change, TIME_WIDTH + 2);
}

static void print_difference(const struct histogram *a, const struct histogram *b, bool exact,
                             size_t index, double unit_ns, FILE *stream) {
    double q = percentiles[index].q;
    double a_ns = quantile_ns(a, q, unit_ns), b_ns = quantile_ns(b, q, unit_ns);
    print_padded(stream, percentiles[index].name, 12);
    print_time(stream, a_ns, TIME_WIDTH + 2);
    print_time(stream, b_ns, TIME_WIDTH + 2);
    print_change(stream, a_ns, b_ns);
    if (exact && isfinite(a_ns) && isfinite(b_ns))
        fprintf(stream, "   %s", histogram_intervals_overlap(a, b, q) ? "overlap" : "apart");
    fputc('\n', stream);
}

void histogram_print_difference(const struct histogram *a, const struct histogram *b, bool exact,
                                double unit_ns, FILE *stream) {
    char count[UNITS_TEXT_BYTES];
    print_padded(stream, "percentile", 12);
    print_padded(stream, "A", TIME_WIDTH + 2);
    print_padded(stream, "B", TIME_WIDTH + 2);
    print_padded(stream, "B against A", TIME_WIDTH + 2);
    fprintf(stream, exact ? "   95 %% intervals\n" : "\n");
    for (size_t i = 0; i < ARRAY_LENGTH(percentiles); i++)
        print_difference(a, b, exact, i, unit_ns, stream);
    print_padded(stream, "max", 12);
    print_time(stream, max_ns(a, unit_ns), TIME_WIDTH + 2);
    print_time(stream, max_ns(b, unit_ns), TIME_WIDTH + 2);
    print_change(stream, max_ns(a, unit_ns), max_ns(b, unit_ns));
    fputc('\n', stream);
    print_padded(stream, "mean", 12);
    print_time(stream, a->total ? histogram_mean(a) * unit_ns : NAN, TIME_WIDTH + 2);
    print_time(stream, b->total ? histogram_mean(b) * unit_ns : NAN, TIME_WIDTH + 2);
    print_change(stream, a->total ? histogram_mean(a) : NAN, histogram_mean(b));
    fputc('\n', stream);
    print_padded(stream, "values", 12);
    print_padded(stream, units_count((double)a->total, count), TIME_WIDTH + 2);
    print_padded(stream, units_count((double)b->total, count), TIME_WIDTH + 2);
    fputc('\n', stream);
}
