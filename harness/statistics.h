/* statistics.h: what repetitions say, and how surely. Everything compared between repetitions comes
 * through here.
 *
 * The unit of evidence is a block (both contenders measured next to each other, in an order chosen
 * by a coin) or a repetition, never a request. On blocks' differences stand three textbook parts:
 *
 *   test      exact Wilcoxon signed-rank test (Wilcoxon 1945; zeros after Pratt 1959)
 *   estimate  Hodges-Lehmann: the median of the n(n+1)/2 Walsh averages (x_i + x_j)/2, i <= j
 *   interval  Walsh averages, cut equally at both ends (Hollander, Wolfe & Chicken, 2014)
 *
 * No distribution is assumed but symmetry, which the coin provides: if both contenders are the
 * same, each block's difference has a fair sign whatever the machine did meanwhile. Repetitions by
 * themselves are not symmetric (a machine is slowed down, hardly ever sped up), so of them the
 * median is told, with the interval that the sign test gives it.
 *
 * Pure: no I/O, no clock, no globals, no allocation (up to 0.5 MiB of stack). Functions return 0,
 * or -EINVAL for values that are none (no values, not finite, a confidence outside (0, 1)), or
 * -E2BIG above STATISTICS_MAX_VALUES; on error the result is not written. */
#ifndef LOOPMARK_STATISTICS_H
#define LOOPMARK_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>

#define STATISTICS_MAX_VALUES 256

/* The middle value, or the mean of the two middle ones. Sorts `values`. Any n > 0, no NaN. */
double median_in_place(double *values, size_t n);

/* The x with P(Z <= x) = probability, for a standard normal Z and a probability between 0 and 1. */
double normal_quantile(double probability);

/* Two-sided p value of "the differences are symmetric about 0", exact for every n, with ties and
 * zeros.
 *
 * Ties get mid-ranks, and the null distribution is that of these very ranks under all 2^n signs, so
 * no approximation comes in. Zeros follow Pratt: they are ranked with the others, then left out of
 * the sum. Leaving them out before ranking (Wilcoxon's way, and R's) throws away the evidence that
 * blocks did not differ, and can make a rise more significant by lowering a value.
 * All zeros give p = 1.
 *
 * Only equal doubles tie; a tie broken by rounding changes the ranks, never the exactness. */
int signed_rank_test(const double *differences, size_t n, double *p);

/* How many of the sorted Walsh averages of n values the interval leaves out at each end: the
 * largest k with P(W <= k) <= (1 - confidence)/2 for the signed-rank sum W. -1 if n is too small
 * for any (below 6 at 95 %, below 8 at 99 %). `coverage`, which may be null, gets the exact
 * confidence reached, at least the one asked for; 1 for -1. n from 1 to STATISTICS_MAX_VALUES,
 * confidence between 0 and 1. */
int signed_rank_depth(size_t n, double confidence, double *coverage);

struct interval {
    size_t n;
    double estimate;
    double low, high; /* both ends belong to it; -INFINITY and INFINITY if not bounded */
    double coverage;  /* the exact confidence, at least the one asked for */
    bool bounded;     /* false: too few values for an interval at this confidence */
};

/* The median with its interval: order statistics, cut equally at both ends by the binomial
 * distribution (the sign test's; Conover, Practical Nonparametric Statistics, 1999, section 3.2).
 * Whatever the values' distribution: the error bar of repetitions. */
int median_interval(const double *values, size_t n, double confidence, struct interval *interval);

/* Estimate and interval of the centre of values that lie symmetrically about it, as differences
 * of blocks do. With ties the true coverage can only be higher. */
int hodges_lehmann(const double *values, size_t n, double confidence, struct interval *interval);

struct comparison {
    size_t blocks;
    double estimate;  /* the ratio a/b: 1 is no difference, 1.05 is 5 % more */
    double low, high; /* its interval; 0 and INFINITY if not bounded */
    double p;         /* signed_rank_test's, of the ratio 1; not adjusted for other tests */
    bool bounded;     /* false: too few blocks for an interval at this confidence */
    double spread;    /* standard deviation of the blocks' log ratios; 0 for one block */
    struct interval equivalence; /* of the ratio, at 2*confidence - 1, for TOST */
};

/* Compares paired positive values, a[i] and b[i] from block i, through their log ratios.
 * Swapping a and b gives the reciprocal ratios and the same p. 0.5 < confidence < 1. */
int compare_blocks(const double *a, const double *b, size_t blocks, double confidence,
                   struct comparison *comparison);

/* Holm's step-down adjustment (1979) for a family of n tests: p values that can each be held
 * against alpha while the chance of any false alarm in the family stays at most alpha. `adjusted`
 * is another array than `p`. */
void holm_adjust(const double *p, size_t n, double *adjusted);

enum verdict {
    VERDICT_IMPROVED,
    VERDICT_REGRESSED,
    VERDICT_SAME,         /* shown to differ by less than the margin */
    VERDICT_BELOW_MARGIN, /* differs, by less than what matters */
    VERDICT_INCONCLUSIVE, /* nothing shown: neither a difference nor its absence */
    VERDICT_INVALID,      /* a validity rule failed; given by whoever measured, never by judge() */
};

/* "improved", "regressed", "same", "below-margin", "inconclusive", "invalid". */
const char *verdict_name(enum verdict verdict);

struct gate {
    double alpha;  /* of the family; compare_blocks is then called with confidence 1 - alpha */
    double margin; /* the smallest change that matters: 0.03 is 3 % */
    bool higher_is_better; /* throughput: true; latency, CPU per request: false */
};

/* The verdict on `comparison`, a the candidate and b the base, by the first rule that holds:
 *   p_adjusted <= alpha and |ln estimate| >= ln(1 + margin)   improved or regressed
 *   p_adjusted <= alpha                                       below-margin
 *   equivalence interval within 1/(1 + margin) … 1 + margin   same (TOST at alpha)
 *   otherwise                                                 inconclusive
 * The margin is symmetric in logarithms, so that swapping a and b swaps improved and regressed. */
enum verdict judge(const struct comparison *comparison, double p_adjusted, const struct gate *gate);

/* The fewest blocks with which Holm over `tests` tests can reject at all: tests * 2/2^n <= alpha. A
 * plan with fewer cannot fire. */
size_t blocks_to_reject(double alpha, size_t tests);

/* Planning, at 80 % power, from the spread of block log ratios. Both follow the sample size of a t
 * test with Guenther's correction z^2/2 (1981), divided by 3/pi = 0.955, the efficiency of the
 * signed-rank test for normal values. For one of several tests give alpha / tests.
 *
 * The effect is the smallest change (0.05 is 5 %) that `blocks` detect, INFINITY if none; the
 * blocks are the fewest that detect `change` > 0, at least blocks_to_reject(alpha, 1). */
double minimal_detectable_effect(double spread, size_t blocks, double alpha);
size_t blocks_to_detect(double spread, double change, double alpha);

#endif
