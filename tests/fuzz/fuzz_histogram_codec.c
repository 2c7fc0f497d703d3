/* Any bytes as an encoded histogram, inside a zlib stream, and as base64 text: refused with words,
 * or a histogram that answers every question and comes back equal from its own encoding.
 *
 * Every input is decoded, whatever it declares: counters are not touched before they are used. But
 * a question or a comparison looks at all of them, which takes milliseconds for the largest layouts
 * under sanitizers. So large histograms are asked one time in RARELY; the input's check sum
 * decides, so that a finding can be repeated. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "harness/histogram_codec.h"
#include "loops/check.h"

enum {
    STORED_BYTES_MOST = 0xffff, /* of one block */
    FEW_COUNTERS = 2048,
    RARELY = 256,
};

/* What a comparison of doubles may be off by after millions of sums. */
#define TOLERANCE 1e-9

/* More than a double can tell apart. */
#define EXACT_TOTAL_MOST (UINT64_C(1) << 52)

/* Between these the interval takes milliseconds: it sums up many binomial probabilities. */
#define INTERVAL_FAST_BELOW UINT64_C(10000000)
#define INTERVAL_FAST_FROM (UINT64_C(1) << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask_interval(const struct histogram *histogram) {
    uint64_t low, high;
    if (histogram_quantile_interval(histogram, 0.99, 0.95, &low, &high))
        CHECK(histogram_min(histogram) <= low && low <= high && high <= histogram->max);
}

static void ask(const struct histogram *histogram, bool thoroughly) {
    static const double quantiles[] = {0, 0.25, 0.5, 0.99, 0.99999, 1};
    uint64_t least = histogram_min(histogram), before = least;
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        uint64_t value = histogram_quantile(histogram, quantiles[i]);
        CHECK(value >= before && value <= histogram->max);
        before = value;
        histogram_quantile_valid(histogram, quantiles[i]);
    }
    CHECK(before == histogram->max || histogram->total > EXACT_TOTAL_MOST);
    double mean = histogram_mean(histogram), deviation = histogram_stddev(histogram);
    CHECK(mean >= (double)least * (1 - TOLERANCE));
    CHECK(mean <= (double)histogram->max * (1 + TOLERANCE));
    CHECK(deviation >= 0 && deviation <= (double)histogram->max);
    CHECK(histogram_count_above(histogram, histogram->max) == 0);
    CHECK(histogram_count_above(histogram, least) <= histogram->total);
    if (thoroughly || histogram->total < INTERVAL_FAST_BELOW ||
        histogram->total >= INTERVAL_FAST_FROM)
        ask_interval(histogram);
}

static void check_equal(const struct histogram *histogram, int result, struct histogram *back) {
    CHECK(result == 0 && histogram_equal(histogram, back));
    histogram_close(back);
}

static void come_back(const struct histogram *histogram) {
    struct histogram back;
    uint8_t *bytes;
    size_t size;
    CHECK(histogram_encode(histogram, &bytes, &size) == 0);
    int result = histogram_decode(bytes, size, &back, NULL);
    check_equal(histogram, result, &back);
    free(bytes);
}

static void come_back_as_text(const struct histogram *histogram) {
    struct histogram back;
    char *text;
    CHECK(histogram_encode_base64(histogram, &text) == 0);
    int result = histogram_decode_base64(text, strlen(text), &back, NULL);
    check_equal(histogram, result, &back);
    free(text);
}

/* The histogram a decoder gave, or its refusal. It is closed here. */
static void judge(int result, struct histogram *histogram, const struct error *error, bool rarely) {
    if (result != 0) {
        CHECK(result == -EINVAL && error->text[0] != '\0');
        return;
    }
    if (rarely || histogram->layout.counters <= FEW_COUNTERS) {
        come_back(histogram);
        ask(histogram, rarely);
    }
    if (rarely)
        come_back_as_text(histogram);
    histogram_close(histogram);
}

/* A zlib stream of one stored block, which takes no time to make, behind the wrapper's header. */
static size_t wrap(const uint8_t *data, size_t size, uint8_t *wrapped) {
    uint32_t length = (uint32_t)size + 11, sum = (uint32_t)adler32(1, data, (uInt)size);
    const uint8_t front[15] = {0x1c,
                               0x84,
                               0x93,
                               0x14,
                               (uint8_t)(length >> 24),
                               (uint8_t)(length >> 16),
                               (uint8_t)(length >> 8),
                               (uint8_t)length,
                               0x78,
                               0x01,
                               0x01,
                               (uint8_t)size,
                               (uint8_t)(size >> 8),
                               (uint8_t)~size,
                               (uint8_t)(~size >> 8)};
    const uint8_t back[4] = {(uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8),
                             (uint8_t)sum};
    memcpy(wrapped, front, sizeof front);
    memcpy(wrapped + sizeof front, data, size);
    memcpy(wrapped + sizeof front + size, back, sizeof back);
    return sizeof front + size + sizeof back;
}

/* The same bytes are a plain histogram inside a stream if and only if they are one outside. */
static void fuzz_wrapped(const uint8_t *data, size_t size, const struct histogram *direct,
                         bool rarely) {
    struct histogram histogram;
    struct error error = {""};
    uint8_t *wrapped = malloc(size + 19);
    CHECK(wrapped);
    int result = histogram_decode(wrapped, wrap(data, size, wrapped), &histogram, &error);
    free(wrapped);
    bool plain = direct && size >= 4 && (data[3] & 0x0f) == 3;
    CHECK((result == 0) == plain);
    if (plain)
        CHECK(histogram.total == direct->total && histogram.max == direct->max);
    if (plain && rarely)
        CHECK(histogram_equal(&histogram, direct));
    if (plain)
        histogram_close(&histogram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct histogram histogram;
    struct error error = {""};
    bool rarely = crc32(0, data, (uInt)size) % RARELY == 0;
    int result = histogram_decode(data, size, &histogram, &error);
    if (size <= STORED_BYTES_MOST)
        fuzz_wrapped(data, size, result == 0 ? &histogram : NULL, rarely);
    judge(result, &histogram, &error, rarely);

    error.text[0] = '\0';
    result = histogram_decode_base64((const char *)data, size, &histogram, &error);
    judge(result, &histogram, &error, rarely);
    return 0;
}
