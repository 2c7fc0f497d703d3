/* test_histogram_oracle.c: a million random distributions against their sorted samples. */
#include "harness/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "harness/histogram_codec.h"
#include "harness/random.h"
#include "loops/check.h"

/* All under sanitizers too: what is slow there is taken less often. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { DISTRIBUTIONS = 200000 };
#else
enum { DISTRIBUTIONS = 1000000 };
#endif
enum { SAMPLES_MOST = 64, LARGE_EVERY = 200, CODEC_EVERY = 50, PARTS = 3 };

struct drawn {
    struct histogram_layout layout;
    uint64_t samples[SAMPLES_MOST]; /* sorted */
    size_t count;
};

/* Mostly small layouts, since the time goes into walking over their counters. */
static void draw_layout(struct random *random, bool large, struct histogram_layout *layout) {
    static const uint64_t lowest[] = {1, 1, 1, 2, 3, 7, 1000, 1024};
    uint64_t low = lowest[random_next(random) % ARRAY_LENGTH(lowest)];
    uint32_t digits = large ? 1 + random_next(random) % 4 : 1 + random_next(random) % 2;
    uint64_t highest =
        2 * low + (random_next(random) >> (large ? 20 : 44 + random_next(random) % 20));
    if (large && random_next(random) % 2)
        *layout = histogram_standard;
    else
        assert_int_equal(histogram_layout_init(layout, low, highest, digits), 0);
}

/* Few values many times, many magnitudes, bucket edges, or a narrow band: never above the range,
 * where no counter stands for a value. */
static uint64_t draw_sample(struct random *random, const struct histogram_layout *layout,
                            uint32_t kind) {
    uint64_t most = histogram_highest_equivalent(layout, layout->counters - 1);
    uint64_t number = random_next(random);
    switch (kind % 4) {
    case 0:
        return number % 5 * (most / 5);
    case 1:
        return (number >> number % 64) % (most + 1);
    case 2:
        return ((UINT64_C(1) << number % 62) + (number >> 62) - 1) % (most + 1);
    default:
        return (most / 3 + number % 100) % (most + 1);
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void draw(struct random *random, bool large, struct drawn *drawn) {
    draw_layout(random, large, &drawn->layout);
    uint32_t kind = (uint32_t)random_next(random);
    drawn->count = 1 + random_next(random) % SAMPLES_MOST;
    for (size_t i = 0; i < drawn->count; i++)
        drawn->samples[i] = draw_sample(random, &drawn->layout, kind);
    qsort(drawn->samples, drawn->count, sizeof drawn->samples[0], by_value);
}

/* The sample of rank max(1, ceil(count * part / of)) in whole numbers, and its counter's end. */
static void check_quantile(const struct drawn *drawn, const struct histogram *histogram,
                           uint64_t part, uint64_t of) {
    uint64_t rank = (drawn->count * part + of - 1) / of;
    uint64_t sample = drawn->samples[rank > 0 ? rank - 1 : 0];
    uint64_t last = drawn->samples[drawn->count - 1];
    uint32_t index = histogram_index(&drawn->layout, sample);
    uint64_t expected = part == 0 ? histogram_lowest_equivalent(&drawn->layout, index)
                                  : histogram_highest_equivalent(&drawn->layout, index);
    if (expected > last)
        expected = last;
    uint64_t got = histogram_quantile(histogram, (double)part / (double)of);
    if (got != expected)
        fail_msg("quantile %llu/%llu of %zu samples: %llu instead of %llu",
                 (unsigned long long)part, (unsigned long long)of, drawn->count,
                 (unsigned long long)got, (unsigned long long)expected);
}

static void check_quantiles(struct random *random, const struct drawn *drawn,
                            const struct histogram *histogram) {
    static const uint64_t powers[] = {100, 1000, 10000};
    uint64_t of = 1 + random_next(random) % 200;
    check_quantile(drawn, histogram, random_next(random) % (of + 1), of);
    of = powers[random_next(random) % ARRAY_LENGTH(powers)];
    check_quantile(drawn, histogram, random_next(random) % (of + 1), of);
}

/* Each sample goes to the whole and to one of the parts; the parts are merged in random order. */
static void check_parts(struct random *random, const struct drawn *drawn,
                        const struct histogram *whole) {
    struct histogram parts[PARTS], merged;
    uint32_t order[PARTS];
    assert_int_equal(histogram_open(&merged, &drawn->layout), 0);
    for (uint32_t i = 0; i < PARTS; i++) {
        assert_int_equal(histogram_open(&parts[i], &drawn->layout), 0);
        order[i] = i;
    }
    for (size_t i = 0; i < drawn->count; i++)
        histogram_record(&parts[random_next(random) % PARTS], drawn->samples[i], 1);
    random_shuffle(random, order, PARTS);
    for (uint32_t i = 0; i < PARTS; i++)
        assert_int_equal(histogram_merge(&merged, &parts[order[i]]), 0);
    assert_true(histogram_equal(&merged, whole));
    for (uint32_t i = 0; i < PARTS; i++)
        histogram_close(&parts[i]);
    histogram_close(&merged);
}

/* But for the exact maximum, which the bytes do not have. */
static void check_bytes(const struct drawn *drawn, struct histogram *histogram) {
    struct histogram back;
    struct error error;
    uint8_t *bytes;
    size_t size;
    assert_int_equal(histogram_encode_compressed(histogram, &bytes, &size), 0);
    assert_int_equal(histogram_decode(bytes, size, &back, &error), 0);
    uint32_t top = histogram_index(&drawn->layout, histogram->max);
    assert_int_equal(back.max, histogram_highest_equivalent(&drawn->layout, top));
    back.max = histogram->max;
    assert_true(histogram_equal(&back, histogram));
    histogram_close(&back);
    free(bytes);
}

static void a_million_distributions(void **state) {
    (void)state;
    struct random random;
    struct drawn drawn;
    random_seed(&random, 20);
    for (uint32_t i = 0; i < DISTRIBUTIONS; i++) {
        struct histogram histogram;
        draw(&random, i % LARGE_EVERY == 0, &drawn);
        assert_int_equal(histogram_open(&histogram, &drawn.layout), 0);
        for (size_t k = 0; k < drawn.count; k++)
            assert_int_equal(histogram_record(&histogram, drawn.samples[k], 1), 0);
        check_quantiles(&random, &drawn, &histogram);
        if (i % CODEC_EVERY == 0) {
            check_parts(&random, &drawn, &histogram);
            check_bytes(&drawn, &histogram);
        }
        histogram_close(&histogram);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_million_distributions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
