/* trend.c: see trend.h. */
#include "harness/trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define Z_LIMIT 2.576 /* two-sided 1 % of the normal distribution */

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median_of(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* At most TREND_POINTS means of neighbours, of equal length; a rest at the end is left out. */
static size_t group(const double *values, size_t count, double points[TREND_POINTS]) {
    size_t length = (count + TREND_POINTS - 1) / TREND_POINTS, groups = count / length;
    for (size_t i = 0; i < groups; i++) {
        points[i] = 0;
        for (size_t k = 0; k < length; k++)
            points[i] += values[i * length + k] / (double)length;
    }
    return groups;
}

static double median_slope(const double *points, size_t count) {
    double slopes[TREND_POINTS * (TREND_POINTS - 1) / 2];
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            slopes[used++] = (points[k] - points[i]) / (double)(k - i);
    return median_of(slopes, used);
}

/* What ties take off the variance; `sorted` ascends. */
static double tie_correction(const double *sorted, size_t count) {
    double sum = 0;
    for (size_t i = 0, k; i < count; i = k) {
        for (k = i + 1; k < count && sorted[k] == sorted[i]; k++)
            ;
        double tied = (double)(k - i);
        sum += tied * (tied - 1) * (2 * tied + 5);
    }
    return sum;
}

static double kendall_z(const double *points, const double *sorted, size_t count) {
    double s = 0, n = (double)count;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            s += (points[k] > points[i]) - (points[k] < points[i]);
    double variance = (n * (n - 1) * (2 * n + 5) - tie_correction(sorted, count)) / 18;
    if (variance <= 0 || s == 0)
        return 0;
    return (s - copysign(1, s)) / sqrt(variance);
}

struct trend trend_of(const double *values, size_t count) {
    double points[TREND_POINTS], sorted[TREND_POINTS];
    struct trend trend = {.known = false};
    if (count < TREND_LEAST)
        return trend;
    size_t groups = group(values, count, points);
    memcpy(sorted, points, groups * sizeof *points);
    double median = median_of(sorted, groups);
    trend.known = true;
    trend.steady = fabs(kendall_z(points, sorted, groups)) > Z_LIMIT;
    trend.change = median != 0 ? median_slope(points, groups) * (double)(groups - 1) / median : 0;
    return trend;
}
