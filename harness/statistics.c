#include "harness/statistics.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

#define WALSH_MAX (STATISTICS_MAX_VALUES * (STATISTICS_MAX_VALUES + 1) / 2)
#define DOUBLED_RANK_SUM_MAX (2 * WALSH_MAX)
#define SIGNED_RANK_EFFICIENCY (3 / M_PI)
#define POWER 0.8

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int ascending_magnitude(const void *left, const void *right) {
    double a = fabs(*(const double *)left), b = fabs(*(const double *)right);
    return (a > b) - (a < b);
}

static double median_of_sorted(const double *sorted, size_t n) {
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double median_in_place(double *values, size_t n) {
    CHECK(n > 0);
    qsort(values, n, sizeof(*values), ascending);
    return median_of_sorted(values, n);
}

static int check_values(const double *values, size_t n) {
    if (n > STATISTICS_MAX_VALUES)
        return -E2BIG;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return -EINVAL;
    return n ? 0 : -EINVAL;
}

/* probability[s] = P(the weights that a fair coin picks sum to s); returns the largest sum.
 * Halving at every step keeps them multiples of 2^-n: exact to n = 53, never out of range. */
static size_t coin_sum_distribution(const uint32_t *weights, size_t n, double *probability) {
    size_t total = 0;
    probability[0] = 1;
    for (size_t i = 0; i < n; i++) {
        size_t weight = weights[i];
        memset(&probability[total + 1], 0, weight * sizeof(*probability));
        total += weight;
        /* Downwards, so that a weight is not picked twice. */
        for (size_t sum = total + 1; sum-- > 0;) {
            double picked = sum >= weight ? probability[sum - weight] : 0;
            probability[sum] = (probability[sum] + picked) / 2;
        }
    }
    return total;
}

/* Twice the mid-ranks, to stay in integers, of the values that are not zero; zeros take the lowest
 * ranks with them. `positive_sum` gets the doubled signed-rank sum. Returns how many weights there
 * are. */
static size_t doubled_midranks(const double *by_magnitude, size_t n, uint32_t *weights,
                               size_t *positive_sum) {
    size_t count = 0;
    *positive_sum = 0;
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n; end++)
            if (fabs(by_magnitude[end]) > fabs(by_magnitude[first]))
                break;
        if (by_magnitude[first] == 0)
            continue;
        /* Ranks first+1 … end, so their mean doubled is first + 1 + end. */
        for (size_t i = first; i < end; i++) {
            weights[count++] = (uint32_t)(first + 1 + end);
            *positive_sum += by_magnitude[i] > 0 ? first + 1 + end : 0;
        }
    }
    return count;
}

int signed_rank_test(const double *differences, size_t n, double *p) {
    double sorted[STATISTICS_MAX_VALUES], probability[DOUBLED_RANK_SUM_MAX + 1];
    uint32_t weights[STATISTICS_MAX_VALUES];
    int code = check_values(differences, n);
    if (code)
        return code;

    memcpy(sorted, differences, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), ascending_magnitude);
    size_t positive_sum;
    size_t count = doubled_midranks(sorted, n, weights, &positive_sum);
    size_t total = coin_sum_distribution(weights, count, probability);

    /* The distribution is symmetric: one tail, doubled. */
    size_t extreme = positive_sum > total - positive_sum ? positive_sum : total - positive_sum;
    double tail = 0;
    for (size_t sum = total + 1; sum-- > extreme;)
        tail += probability[sum];
    *p = fmin(1, 2 * tail);
    return 0;
}

int signed_rank_depth(size_t n, double confidence, double *coverage) {
    double probability[WALSH_MAX + 1], tail = 0;
    uint32_t ranks[STATISTICS_MAX_VALUES];
    CHECK(n > 0 && n <= STATISTICS_MAX_VALUES && confidence > 0 && confidence < 1);

    for (size_t i = 0; i < n; i++)
        ranks[i] = (uint32_t)i + 1;
    coin_sum_distribution(ranks, n, probability);
    int depth = -1;
    while (tail + probability[depth + 1] <= (1 - confidence) / 2)
        tail += probability[++depth];
    if (coverage)
        *coverage = 1 - 2 * tail;
    return depth;
}

int hodges_lehmann(const double *values, size_t n, double confidence, struct interval *interval) {
    double walsh[WALSH_MAX];
    size_t count = 0;
    int code = check_values(values, n);
    if (code)
        return code;
    if (!(confidence > 0 && confidence < 1))
        return -EINVAL;

    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            walsh[count++] = values[i] / 2 + values[j] / 2; /* the sum may overflow */
    double estimate = median_in_place(walsh, count), coverage;
    int depth = signed_rank_depth(n, confidence, &coverage);
    *interval = (struct interval){
        .n = n,
        .estimate = estimate,
        .low = depth < 0 ? -INFINITY : walsh[depth],
        .high = depth < 0 ? INFINITY : walsh[count - 1 - (size_t)depth],
        .coverage = coverage,
        .bounded = depth >= 0,
    };
    return 0;
}

/* The largest k with P(B <= k) <= (1 - confidence)/2 for the number of heads B in n throws, or -1;
 * `coverage` as in signed_rank_depth. */
static int sign_depth(size_t n, double confidence, double *coverage) {
    double term = ldexp(1, -(int)n), tail = 0;
    int depth = -1;
    while (tail + term <= (1 - confidence) / 2) {
        tail += term;
        depth++;
        term *= (double)(n - (size_t)depth) / (depth + 1);
    }
    *coverage = 1 - 2 * tail;
    return depth;
}

int median_interval(const double *values, size_t n, double confidence, struct interval *interval) {
    double sorted[STATISTICS_MAX_VALUES], coverage;
    int code = check_values(values, n);
    if (code)
        return code;
    if (!(confidence > 0 && confidence < 1))
        return -EINVAL;

    memcpy(sorted, values, n * sizeof *sorted);
    double median = median_in_place(sorted, n);
    int depth = sign_depth(n, confidence, &coverage);
    *interval = (struct interval){
        .n = n,
        .estimate = median,
        .low = depth < 0 ? -INFINITY : sorted[depth],
        .high = depth < 0 ? INFINITY : sorted[n - 1 - (size_t)depth],
        .coverage = coverage,
        .bounded = depth >= 0,
    };
    return 0;
}

static double standard_deviation(const double *values, size_t n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - sum / (double)n) * (values[i] - sum / (double)n);
    return n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

static void exponentiate(struct interval *interval) {
    interval->estimate = exp(interval->estimate);
    interval->low = exp(interval->low);
    interval->high = exp(interval->high);
}

int compare_blocks(const double *a, const double *b, size_t blocks, double confidence,
                   struct comparison *comparison) {
    double differences[STATISTICS_MAX_VALUES], p;
    struct interval interval, equivalence;
    if (blocks > STATISTICS_MAX_VALUES)
        return -E2BIG;
    if (!(confidence > 0.5 && confidence < 1))
        return -EINVAL;
    /* Not ln(a/b): this is exactly the negative when a and b are swapped. What is not positive and
     * finite has no finite logarithm, and is refused with the differences below. */
    for (size_t i = 0; i < blocks; i++)
        differences[i] = log(a[i]) - log(b[i]);

    int code = hodges_lehmann(differences, blocks, confidence, &interval);
    if (!code)
        code = hodges_lehmann(differences, blocks, 2 * confidence - 1, &equivalence);
    if (!code)
        code = signed_rank_test(differences, blocks, &p);
    if (code)
        return code;
    exponentiate(&interval);
    exponentiate(&equivalence);
    *comparison = (struct comparison){
        .blocks = blocks,
        .estimate = interval.estimate,
        .low = interval.low,
        .high = interval.high,
        .p = p,
        .bounded = interval.bounded,
        .spread = standard_deviation(differences, blocks),
        .equivalence = equivalence,
    };
    return 0;
}

/* The multiplier of a p value is the number of tests not rejected before it; tied ones share
 * theirs. The second pass carries the largest product so far upwards. It may read what it wrote,
 * because that is again a maximum over smaller p values. */
void holm_adjust(const double *p, size_t n, double *adjusted) {
    for (size_t i = 0; i < n; i++) {
        size_t smaller = 0;
        for (size_t j = 0; j < n; j++)
            smaller += p[j] < p[i];
        adjusted[i] = fmin(1, (double)(n - smaller) * p[i]);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (p[j] < p[i])
                adjusted[i] = fmax(adjusted[i], adjusted[j]);
}

const char *verdict_name(enum verdict verdict) {
    static const char *const names[] = {
        [VERDICT_IMPROVED] = "improved",
        [VERDICT_REGRESSED] = "regressed",
        [VERDICT_SAME] = "same",
        [VERDICT_BELOW_MARGIN] = "below-margin",
        [VERDICT_INCONCLUSIVE] = "inconclusive",
        [VERDICT_INVALID] = "invalid",
    };
    CHECK((size_t)verdict < ARRAY_LENGTH(names));
    return names[verdict];
}

enum verdict judge(const struct comparison *comparison, double p_adjusted,
                   const struct gate *gate) {
    double margin = log1p(gate->margin), change = log(comparison->estimate);
    const struct interval *equivalence = &comparison->equivalence;

    if (p_adjusted <= gate->alpha) {
        if (fabs(change) < margin || change == 0)
            return VERDICT_BELOW_MARGIN;
        return (change > 0) == gate->higher_is_better ? VERDICT_IMPROVED : VERDICT_REGRESSED;
    }
    /* Never so if not bounded: then it goes from 0 to infinity. */
    if (log(equivalence->low) > -margin && log(equivalence->high) < margin)
        return VERDICT_SAME;
    return VERDICT_INCONCLUSIVE;
}

size_t blocks_to_reject(double alpha, size_t tests) {
    CHECK(alpha > 0 && alpha < 1 && tests > 0);
    size_t blocks = 1;
    for (double smallest_p = (double)tests; smallest_p > alpha; smallest_p /= 2)
        blocks++;
    return blocks;
}

/* By bisection, because libc has erfc but not its inverse. */
double normal_quantile(double probability) {
    double low = -40, high = 40;
    for (int i = 0; i < 80; i++) {
        double middle = (low + high) / 2;
        if (erfc(-middle / M_SQRT2) / 2 < probability)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double minimal_detectable_effect(double spread, size_t blocks, double alpha) {
    double z = -normal_quantile(alpha / 2);
    double effective = SIGNED_RANK_EFFICIENCY * (double)blocks - z * z / 2;
    if (blocks < blocks_to_reject(alpha, 1) || effective <= 0)
        return INFINITY;
    return expm1((z + normal_quantile(POWER)) * spread / sqrt(effective));
}

size_t blocks_to_detect(double spread, double change, double alpha) {
    CHECK(spread >= 0 && change > 0);
    double z = -normal_quantile(alpha / 2);
    double distance = (z + normal_quantile(POWER)) * spread / log1p(change);
    double blocks = ceil((distance * distance + z * z / 2) / SIGNED_RANK_EFFICIENCY);
    size_t least = blocks_to_reject(alpha, 1);
    return blocks > (double)least ? (size_t)fmin(blocks, 0x1p53) : least;
}
