/* test_histogram_codec.c: against published encodings, hostile ones, and itself. */
#include "harness/histogram_codec.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "harness/random.h"
#include "loops/check.h"

enum { HEADER_BYTES = 40, WRAPPER_BYTES = 8, SPARE_BYTES = 64, BYTES_MOST = 1 << 20 };

struct bytes {
    uint8_t *data;
    size_t size;
};

/* ---- helpers --------------------------------------------------------------------------------- */

/* "1c84 9313" as bytes. */
static struct bytes from_hex(const char *hex) {
    struct bytes bytes = {.data = malloc(strlen(hex) / 2 + 1)};
    for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2)
        if (*hex != ' ')
            CHECK(sscanf(hex, "%2hhx", &bytes.data[bytes.size++]) == 1);
    return bytes;
}

static void put_u32(uint8_t *at, uint32_t value) {
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

/* The wrapper and a zlib stream of `plain`, then SPARE_BYTES of room. */
static struct bytes wrap(struct bytes plain) {
    uLongf deflated = compressBound(plain.size);
    struct bytes wrapped = {.data = calloc(1, WRAPPER_BYTES + deflated + SPARE_BYTES)};
    CHECK(compress(wrapped.data + WRAPPER_BYTES, &deflated, plain.data, plain.size) == Z_OK);
    wrapped.size = WRAPPER_BYTES + deflated;
    put_u32(wrapped.data, 0x1c849314);
    put_u32(wrapped.data + 4, (uint32_t)deflated);
    return wrapped;
}

static struct bytes unwrap(struct bytes wrapped) {
    uLongf inflated = BYTES_MOST;
    struct bytes plain = {.data = malloc(BYTES_MOST)};
    assert_int_equal(uncompress(plain.data, &inflated, wrapped.data + WRAPPER_BYTES,
                                wrapped.size - WRAPPER_BYTES),
                     Z_OK);
    plain.size = inflated;
    return plain;
}

static struct bytes encode(const struct histogram *histogram) {
    struct bytes bytes;
    assert_int_equal(histogram_encode(histogram, &bytes.data, &bytes.size), 0);
    return bytes;
}

static struct bytes encode_compressed(const struct histogram *histogram) {
    struct bytes bytes;
    assert_int_equal(histogram_encode_compressed(histogram, &bytes.data, &bytes.size), 0);
    return bytes;
}

static void check_same_bytes(struct bytes a, struct bytes b) {
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
}

/* What follows the given bytes is not to be read: AddressSanitizer sees to it. */
static int decode(struct bytes bytes, struct histogram *histogram, struct error *error) {
    uint8_t *exact = malloc(bytes.size);
    memcpy(exact, bytes.data, bytes.size);
    int result = histogram_decode(exact, bytes.size, histogram, error);
    free(exact);
    return result;
}

static int decode_text(const char *text, size_t length, struct histogram *histogram,
                       struct error *error) {
    char *exact = malloc(length);
    memcpy(exact, text, length);
    int result = histogram_decode_base64(exact, length, histogram, error);
    free(exact);
    return result;
}

static struct histogram decoded(struct bytes bytes) {
    struct histogram histogram;
    struct error error = {""};
    if (decode(bytes, &histogram, &error) != 0)
        fail_msg("%s", error.text);
    return histogram;
}

static struct histogram decoded_text(const char *text) {
    struct histogram histogram;
    struct error error = {""};
    if (decode_text(text, strlen(text), &histogram, &error) != 0)
        fail_msg("%s", error.text);
    return histogram;
}

static struct histogram opened(uint64_t lowest, uint64_t highest, uint32_t digits) {
    struct histogram histogram;
    struct histogram_layout layout;
    assert_int_equal(histogram_layout_init(&layout, lowest, highest, digits), 0);
    assert_int_equal(histogram_open(&histogram, &layout), 0);
    return histogram;
}

/* `words`: some that the message has to have. The histogram has to be left as it was. */
static void check_refusal(const char *name, int result, const struct histogram *histogram,
                          const struct error *error, const char *words) {
    static const struct histogram untouched;
    if (result != -EINVAL)
        fail_msg("%s: returned %d", name, result);
    if (strstr(error->text, words) == NULL || error->text[0] == '\0')
        fail_msg("%s: \"%s\" does not say \"%s\"", name, error->text, words);
    assert_memory_equal(histogram, &untouched, sizeof untouched);
}

static void check_refused(const char *name, struct bytes bytes, const char *words) {
    struct histogram histogram;
    struct error error = {""};
    memset(&histogram, 0, sizeof histogram);
    int result = decode(bytes, &histogram, &error);
    check_refusal(name, result, &histogram, &error, words);
    assert_int_equal(decode(bytes, &histogram, NULL), -EINVAL);
}

static void check_text_refused(const char *name, const char *text, size_t length,
                               const char *words) {
    struct histogram histogram;
    struct error error = {""};
    memset(&histogram, 0, sizeof histogram);
    int result = decode_text(text, length, &histogram, &error);
    check_refusal(name, result, &histogram, &error, words);
}

/* ---- published encodings --------------------------------------------------------------------- */

#define MINUTE_NS UINT64_C(60000000000)

static const char text_of_eight[] =
    "HISTFAAAAC542pNpmSzMwMDAzwABzFCaEURcm7yEwf4DVISJiek4P9NqASaW/X2MTACrqAeF";
static const char bytes_of_eight[] =
    "1c849313 0000000f 00000000 00000003 0000000000000001 00000000d693a400 3ff0000000000000"
    "00 02 02 02 c70f 02 ab10 02 04 bf8e01 02";
static const char text_of_none[] = "HISTFAAAACB4nJNpmSzMwMDAyAABzFAaxOf94R7BYP8BKgIAUR8EHw==";

static void eight_values_as_HdrHistogram_writes_them(void **state) {
    (void)state;
    static const uint64_t values[] = {1, 2, 3, 1000, 2047, 2048, 2049, 1000000};
    struct histogram histogram = opened(1, UINT64_C(3600000000), 3);
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        assert_int_equal(histogram_record(&histogram, values[i], 1), 0);
    struct bytes expected = from_hex(bytes_of_eight), plain = encode(&histogram);
    check_same_bytes(plain, expected);

    struct histogram back = decoded_text(text_of_eight);
    assert_int_equal(back.total, 8);
    assert_int_equal(back.over, 0);
    assert_int_equal(back.max, 1000447);
    assert_int_equal(histogram_quantile(&back, 0.5), 1000);
    assert_int_equal(histogram_quantile(&back, 0.99), 1000447);
    assert_true(histogram_mean(&back) == 125917.875);

    struct bytes wrapped = encode_compressed(&back), inflated = unwrap(wrapped);
    check_same_bytes(inflated, expected);
    free(expected.data);
    free(plain.data);
    free(wrapped.data);
    free(inflated.data);
    histogram_close(&histogram);
    histogram_close(&back);
}

static void no_value_as_HdrHistogram_writes_it(void **state) {
    (void)state;
    struct histogram histogram = opened(1, MINUTE_NS, 3), back = decoded_text(text_of_none);
    assert_true(histogram_equal(&histogram, &back));
    struct bytes plain = encode(&histogram), wrapped = encode_compressed(&back);
    struct bytes inflated = unwrap(wrapped);
    assert_int_equal(plain.size, HEADER_BYTES + 1);
    assert_int_equal(plain.data[HEADER_BYTES], 0);
    check_same_bytes(inflated, plain);
    free(plain.data);
    free(wrapped.data);
    free(inflated.data);
    histogram_close(&histogram);
    histogram_close(&back);
}

static void a_thousand_values_keep_their_statistics(void **state) {
    (void)state;
    struct histogram histogram = opened(1, MINUTE_NS, 3);
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(histogram_record(&histogram, i * 1000, 1), 0);
    char *text;
    assert_int_equal(histogram_encode_base64(&histogram, &text), 0);
    assert_memory_equal(text, "HISTFA", 6);
    assert_int_equal(strlen(text) % 4, 0);
    struct histogram back = decoded_text(text);
    assert_int_equal(back.total, 1000);
    assert_int_equal(back.max, 1000447);
    assert_int_equal(histogram_quantile(&back, 0.5), 500223);
    assert_int_equal(histogram_quantile(&back, 0.99), 990207);
    assert_int_equal(histogram_quantile(&back, 0.999), 999423);
    assert_true(fabs(histogram_mean(&back) - 500504.858) < 1e-6);
    assert_true(fabs(histogram_stddev(&back) - 288675.7778924755) < 1e-6);
    free(text);
    histogram_close(&histogram);
    histogram_close(&back);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* A histogram whose only samples are `count` in counter `index` has these bytes behind the header,
 * in both directions. */
static void check_number(uint32_t index, uint64_t count, const char *hex) {
    struct histogram histogram = opened(1, MINUTE_NS, 3);
    uint64_t value = histogram_highest_equivalent(&histogram.layout, index);
    assert_int_equal(histogram_record(&histogram, value, count), 0);
    struct bytes plain = encode(&histogram), expected = from_hex(hex);
    assert_int_equal(plain.size, HEADER_BYTES + expected.size);
    assert_memory_equal(plain.data + HEADER_BYTES, expected.data, expected.size);
    struct histogram back = decoded(plain);
    assert_true(histogram_equal(&histogram, &back));
    free(plain.data);
    free(expected.data);
    histogram_close(&histogram);
    histogram_close(&back);
}

static void numbers_are_ZigZag_LEB128(void **state) {
    (void)state;
    static const struct {
        uint64_t count;
        const char *hex;
    } counts[] = {
        {1, "02"},
        {63, "7e"},
        {64, "8001"},
        {8191, "fe7f"},
        {8192, "808001"},
        {UINT64_C(1) << 20, "80808001"},
        {(UINT64_C(1) << 27) - 1, "feffff7f"},
        {(UINT64_C(1) << 55) - 1, "feffffffffffff7f"},
        {UINT64_C(1) << 55, "808080808080808001"},
        {UINT64_C(1) << 62, "808080808080808080"},
        {INT64_MAX, "feffffffffffffffff"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++)
        check_number(0, counts[i].count, counts[i].hex);
    check_number(1, 1, "00 02");
    check_number(2, 1, "03 02");
    check_number(64, 1, "7f 02");
    check_number(65, 1, "8101 02");
    check_number(8192, 1, "ff7f 02");
    check_number(8193, 1, "818001 02");
}

/* ---- what is taken --------------------------------------------------------------------------- */

#define COOKIE "1c849313"
#define DIGITS "00000003"
#define LOWEST "0000000000000001"
#define HOUR "00000000d693a400" /* 3.6e9: with 3 digits 23552 counters */
#define RATIO "3ff0000000000000"
#define BEHIND_LENGTH "00000000" DIGITS LOWEST HOUR RATIO

static void what_other_writers_write_is_taken(void **state) {
    (void)state;
    static const struct {
        const char *name, *hex;
        uint64_t total, max;
    } inputs[] = {
        {"no word size in the cookie", "1c849303 00000001" BEHIND_LENGTH "02", 1, 0},
        {"another word size", "1c8493f3 00000001" BEHIND_LENGTH "02", 1, 0},
        {"index offset 1", COOKIE "00000002 00000001" DIGITS LOWEST HOUR RATIO "0002", 1, 1},
        {"index offset -1", COOKIE "00000002 ffffffff" DIGITS LOWEST HOUR RATIO "0002", 1, 1},
        {"index offset huge", COOKIE "00000002 7fffffff" DIGITS LOWEST HOUR RATIO "0002", 1, 1},
        {"ratio 0", COOKIE "00000001 00000000" DIGITS LOWEST HOUR "0000000000000000 04", 2, 0},
        {"ratio NaN", COOKIE "00000001 00000000" DIGITS LOWEST HOUR "7ff8000000000000 04", 2, 0},
        {"ratio 5e-324", COOKIE "00000001 00000000" DIGITS LOWEST HOUR "0000000000000001 04", 2, 0},
        {"a single zero as a run", COOKIE "00000002" BEHIND_LENGTH "0102", 1, 1},
        {"zeros one by one", COOKIE "00000004" BEHIND_LENGTH "00000002", 1, 3},
        {"zeros behind the last sample", COOKIE "00000002" BEHIND_LENGTH "0203", 1, 0},
        {"zeros to the last counter", COOKIE "00000003" BEHIND_LENGTH "ffef02", 0, 0},
        {"the last counter", COOKIE "00000004" BEHIND_LENGTH "fdef0202", 1, UINT64_C(4294967295)},
        {"more bytes than needed", COOKIE "00000003" BEHIND_LENGTH "828000", 1, 0},
        {"nine of them", COOKIE "00000009" BEHIND_LENGTH "828080808080808000", 1, 0},
        {"no counts", COOKIE "00000000" BEHIND_LENGTH, 0, 0},
        {"2^63-1 samples", COOKIE "00000009" BEHIND_LENGTH "feffffffffffffffff", INT64_MAX, 0},
        {"2^62 and 2^62-1", COOKIE "00000012" BEHIND_LENGTH "808080808080808080 feffffffffffffff7f",
         INT64_MAX, 1},
        {"highest 2^63-1", COOKIE "00000002 00000000" DIGITS LOWEST "7fffffffffffffff" RATIO "0002",
         1, 1},
        {"highest twice the lowest",
         COOKIE "00000002 00000000" DIGITS LOWEST "0000000000000002" RATIO "0002", 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(inputs); i++) {
        struct bytes plain = from_hex(inputs[i].hex), wrapped = wrap(plain);
        struct histogram histogram, other;
        struct error error = {""};
        if (decode(plain, &histogram, &error) != 0 || decode(wrapped, &other, &error) != 0)
            fail_msg("%s: %s", inputs[i].name, error.text);
        if (histogram.total != inputs[i].total || histogram.max != inputs[i].max)
            fail_msg("%s: total %" PRIu64 ", max %" PRIu64, inputs[i].name, histogram.total,
                     histogram.max);
        assert_true(histogram_equal(&histogram, &other));
        free(plain.data);
        free(wrapped.data);
        histogram_close(&histogram);
        histogram_close(&other);
    }
}

/* A stream of stored blocks, as writers without a compressor make it; and without word sizes. */
static void a_stored_zlib_stream_is_taken(void **state) {
    (void)state;
    struct bytes plain = from_hex(bytes_of_eight), wrapped = wrap(plain);
    uLongf deflated = plain.size + 16; /* stored: 11 more */
    assert_true(wrapped.size + SPARE_BYTES >= WRAPPER_BYTES + deflated);
    assert_int_equal(compress2(wrapped.data + WRAPPER_BYTES, &deflated, plain.data, plain.size, 0),
                     Z_OK);
    put_u32(wrapped.data, 0x1c849304);
    put_u32(wrapped.data + 4, (uint32_t)deflated);
    wrapped.size = WRAPPER_BYTES + deflated;
    struct histogram stored = decoded(wrapped), direct = decoded(plain);
    assert_true(histogram_equal(&stored, &direct));
    free(plain.data);
    free(wrapped.data);
    histogram_close(&stored);
    histogram_close(&direct);
}

static void samples_over_the_range_are_in_the_last_counter(void **state) {
    (void)state;
    struct histogram histogram = opened(1, 4095, 3);
    assert_int_equal(histogram_record(&histogram, 7, 2), 0);
    assert_int_equal(histogram_record(&histogram, 1 << 20, 3), 0);
    struct bytes plain = encode(&histogram);
    struct histogram back = decoded(plain);
    assert_int_equal(back.total, 5);
    assert_int_equal(back.over, 0);
    assert_int_equal(back.max, 4095);
    assert_int_equal(back.counts[back.layout.counters - 1], 3);
    free(plain.data);
    histogram_close(&histogram);
    histogram_close(&back);
}

/* ---- what is refused ------------------------------------------------------------------------- */

struct bad_input {
    const char *name, *hex, *words;
};

static const struct bad_input bad_inputs[] = {
    {"empty", "", "0 bytes are too few"},
    {"three bytes", "1c8493", "3 bytes are too few"},
    {"cookie alone", COOKIE, "4 bytes are too few for a histogram's header (40)"},
    {"header cut off", COOKIE "00000001 00000000" DIGITS LOWEST HOUR "3ff00000000000", "39 bytes"},
    {"no cookie", "12345678 00000001" BEHIND_LENGTH "02", "0x12345678 is not HdrHistogram's"},
    {"V0", "1c849308 00000001" BEHIND_LENGTH "02", "0x1c849308 is that of a V0 histogram"},
    {"V0 compressed", "1c849309 00000001" BEHIND_LENGTH "02", "a compressed V0 histogram"},
    {"V1", "1c849301 00000001" BEHIND_LENGTH "02", "0x1c849301 is that of a V1 histogram"},
    {"V1, word size 8", "1c849381 00000001" BEHIND_LENGTH "02", "a V1 histogram"},
    {"V1 compressed", "1c849302 00000001" BEHIND_LENGTH "02", "a compressed V1 histogram"},
    {"double", "0c72124e 00000001" BEHIND_LENGTH "02", "0x0c72124e is that of a DoubleHistogram"},
    {"double compressed", "0c72124f 00000001" BEHIND_LENGTH "02", "a compressed DoubleHistogram"},
    {"length -1", COOKIE "ffffffff" BEHIND_LENGTH "02", "length of the counts is -1"},
    {"length too big", COOKIE "00000002" BEHIND_LENGTH "02", "is 2, but"},
    {"length too small", COOKIE "00000001" BEHIND_LENGTH "0202", "is 1, but"},
    {"length over 9 a counter", COOKIE "00033c01" BEHIND_LENGTH "02", "is 211969, not"},
    {"digits 0", COOKIE "00000001 00000000 00000000" LOWEST HOUR RATIO "02", "0 significant"},
    {"digits 6", COOKIE "00000001 00000000 00000006" LOWEST HOUR RATIO "02", "6 significant"},
    {"digits 9", COOKIE "00000001 00000000 00000009" LOWEST HOUR RATIO "02", "9 significant"},
    {"digits -1", COOKIE "00000001 00000000 ffffffff" LOWEST HOUR RATIO "02", "-1 significant"},
    {"lowest 0", COOKIE "00000001 00000000" DIGITS "0000000000000000" HOUR RATIO "02",
     "lowest value is 0"},
    {"lowest -2", COOKIE "00000001 00000000" DIGITS "fffffffffffffffe" HOUR RATIO "02",
     "lowest value is -2"},
    {"highest -1", COOKIE "00000001 00000000" DIGITS LOWEST "ffffffffffffffff" RATIO "02",
     "highest value is -1"},
    {"highest 1", COOKIE "00000001 00000000" DIGITS LOWEST "0000000000000001" RATIO "02",
     "highest value is 1, less than twice the lowest, 1"},
    {"lowest and highest 2^63-1",
     COOKIE "00000001 00000000" DIGITS "7fffffffffffffff 7fffffffffffffff" RATIO "02",
     "less than twice"},
    {"5 digits of 2^60",
     COOKIE "00000001 00000000 00000005 1000000000000000 7fffffffffffffff" RATIO "02",
     "1152921504606846976 to 9223372036854775807 with 5 digits"},
    {"count cut off", COOKIE "00000001" BEHIND_LENGTH "80", "the count at byte 0 of 1 is cut off"},
    {"count cut off in its ninth byte", COOKIE "00000009" BEHIND_LENGTH "02 8080808080808080",
     "the count at byte 1 of 9 is cut off"},
    {"zeros past the end", COOKIE "00000004" BEHIND_LENGTH "02ffef02", "from counter 1 on"},
    {"one zero past the end", COOKIE "00000004" BEHIND_LENGTH "ffef0200", "1 zeros from counter"},
    {"zeros of -2^31", COOKIE "00000005" BEHIND_LENGTH "ffffffff0f", "2147483648 zeros"},
    {"zeros of -2^32", COOKIE "00000005" BEHIND_LENGTH "ffffffff1f", "4294967296 zeros"},
    {"zeros of -2^63", COOKIE "00000009" BEHIND_LENGTH "ffffffffffffffffff",
     "9223372036854775808 zeros"},
    {"a count past the end", COOKIE "00000004" BEHIND_LENGTH "ffef0202",
     "more counts than the 23552 counters"},
    {"2^63 samples", COOKIE "0000000a" BEHIND_LENGTH "feffffffffffffffff 02",
     "with the 1 of counter 1"},
    {"2^62 twice", COOKIE "00000013" BEHIND_LENGTH "808080808080808080 03 808080808080808080",
     "with the 4611686018427387904 of counter 3"},
};

static void damaged_bytes_are_refused_with_words(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad_inputs); i++) {
        struct bytes plain = from_hex(bad_inputs[i].hex), wrapped = wrap(plain);
        check_refused(bad_inputs[i].name, plain, bad_inputs[i].words);
        check_refused(bad_inputs[i].name, wrapped, "");
        free(plain.data);
        free(wrapped.data);
    }
}

static void words_are_the_same_inside_a_zlib_stream(void **state) {
    (void)state;
    static const struct bad_input inputs[] = {
        {"nothing in it", "", "0 bytes are too few for a histogram's header, in the zlib stream"},
        {"header cut off", COOKIE "00000001", "8 bytes are too few"},
        {"V1 in it", "1c849301 00000001" BEHIND_LENGTH "02", "a V1 histogram: only a plain V2"},
        {"compressed in it", "1c849314 00000001" BEHIND_LENGTH "02", "a compressed V2 histogram"},
        {"no cookie in it", "12345678 00000001" BEHIND_LENGTH "02", "0x12345678 is not"},
        {"length -1", COOKIE "ffffffff" BEHIND_LENGTH "02", "length of the counts is -1"},
        {"length too big", COOKIE "00000002" BEHIND_LENGTH "02",
         "is 2, but the zlib stream holds 1"},
        {"length too small", COOKIE "00000001" BEHIND_LENGTH "0202", "is 1, but the zlib stream"},
        {"length that zlib cannot have", COOKIE "00033c00" BEHIND_LENGTH "02", "is 211968, which"},
        {"digits 9", COOKIE "00000001 00000000 00000009" LOWEST HOUR RATIO "02", "9 significant"},
        {"count cut off", COOKIE "00000001" BEHIND_LENGTH "80", "byte 0 of 1 is cut off"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(inputs); i++) {
        struct bytes plain = from_hex(inputs[i].hex), wrapped = wrap(plain);
        check_refused(inputs[i].name, wrapped, inputs[i].words);
        free(plain.data);
        free(wrapped.data);
    }
}

static void damaged_wrappers_are_refused_with_words(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t declared; /* 0xffff: what is there */
        int more;          /* bytes behind the stream, or fewer of it */
        int spoiled;       /* the byte to turn, from the end when negative; 0: none */
        const char *words;
    } inputs[] = {
        {"length -1", 0xffffffff, 0, 0, "length of the zlib stream is -1"},
        {"length 0", 0, 0, 0, "length of the zlib stream is 0"},
        {"length 1", 1, 0, 0, "length of the zlib stream is 1, but"},
        {"length 9999", 9999, 0, 0, "length of the zlib stream is 9999, but"},
        {"bytes behind", 0xffff, 3, 0, "3 bytes follow the zlib stream's end"},
        {"cut in the check sum", 0xffff, -1, 0, "cut off after"},
        {"cut in the data", 0xffff, -10, 0, "cut off after"},
        {"other method", 0xffff, 0, 8, "damaged at byte"},
        {"wrong check sum", 0xffff, 0, -1, "incorrect data check"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(inputs); i++) {
        struct bytes plain = from_hex(bytes_of_eight), wrapped = wrap(plain);
        wrapped.size = (size_t)((int)wrapped.size + inputs[i].more);
        put_u32(wrapped.data + 4, inputs[i].declared == 0xffff
                                      ? (uint32_t)(wrapped.size - WRAPPER_BYTES)
                                      : inputs[i].declared);
        if (inputs[i].spoiled != 0)
            wrapped.data[inputs[i].spoiled + (inputs[i].spoiled < 0 ? (int)wrapped.size : 0)] ^= 7;
        check_refused(inputs[i].name, wrapped, inputs[i].words);
        free(plain.data);
        free(wrapped.data);
    }
    struct bytes wrapper_alone = from_hex("1c849314 000000");
    check_refused("wrapper cut off", wrapper_alone, "7 bytes are too few");
    free(wrapper_alone.data);
}

/* A preset dictionary (RFC 1950, FDICT) is something no reader has. */
static void a_zlib_dictionary_is_refused(void **state) {
    (void)state;
    struct bytes bytes = from_hex("1c849314 00000008 78bb 00000001 0300");
    check_refused("dictionary", bytes, "need dictionary");
    free(bytes.data);
}

static void a_zip_bomb_is_refused(void **state) {
    (void)state;
    struct bytes header = from_hex(COOKIE "0000000f" BEHIND_LENGTH);
    struct bytes plain = {.data = calloc(1, 32 << 20), .size = 32 << 20};
    memcpy(plain.data, header.data, header.size);
    struct bytes wrapped = wrap(plain);
    assert_true(wrapped.size < 40000);
    check_refused("bomb", wrapped, "is 15, but the zlib stream holds more");
    free(header.data);
    free(plain.data);
    free(wrapped.data);
}

static void damaged_base64_is_refused_with_words(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *words;
    } inputs[] = {
        {"empty", "", "empty"},
        {"1 character over", "HISTF", "5 characters of base64"},
        {"2 characters over", "HISTFA", "6 characters of base64"},
        {"3 characters over, no padding", "HISTFAA", "7 characters of base64"},
        {"inner padding", "HIS=FAAA", "character 4, '='"},
        {"padding only", "====", "character 1, '='"},
        {"three of padding", "H===", "character 2, '='"},
        {"padding before the end", "HISTFA=A", "character 7, '='"},
        {"a space", "HIST AAA", "character 5, 0x20"},
        {"a line feed", "HISTFAA\n", "character 8, 0x0a"},
        {"a carriage return", "HISTFAA\r", "character 8, 0x0d"},
        {"the alphabet for names, -", "HISTFAA-", "character 8, '-'"},
        {"the alphabet for names, _", "HI_TFAAA", "character 3, '_'"},
        {"UTF-8", "\xc3\xa4STFAAA", "character 1, 0xc3"},
        {"spare bits, two", "HISTFAB=", "are 1, not 0"},
        {"spare bits, four", "HISTFI==", "are 8, not 0"},
        {"nothing of ours", "QUJDREVGR0g=", "0x41424344 is not HdrHistogram's"},
        {"one byte", "HA==", "1 bytes are too few"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(inputs); i++)
        check_text_refused(inputs[i].name, inputs[i].text, strlen(inputs[i].text), inputs[i].words);
    check_text_refused("NUL", "HIST\0AAA", 8, "character 5, 0x00");
    for (size_t length = 0; length < strlen(text_of_eight); length++)
        check_text_refused("cut off", text_of_eight, length, "");
}

/* ---- there and back -------------------------------------------------------------------------- */

static struct histogram_layout random_layout(struct random *random) {
    static const uint64_t lowests[] = {1, 2, 3, 7, 1000, 1024};
    struct histogram_layout layout;
    do {
        uint64_t lowest = lowests[random_below(random, ARRAY_LENGTH(lowests))];
        uint64_t highest = UINT64_C(1) << (1 + random_below(random, 62));
        highest += random_below(random, highest); /* any size, any bits */
        if (histogram_layout_init(&layout, lowest, highest, 1 + (uint32_t)random_below(random, 5)))
            layout.counters = UINT32_MAX;
    } while (layout.counters > 400000);
    return layout;
}

static uint64_t random_count(struct random *random) {
    static const uint64_t counts[] = {1, 2, 63, 64, 1ull << 31, 1ull << 32, 1ull << 53, 1ull << 62};
    if (random_below(random, 4) > 0)
        return 1 + random_below(random, 300);
    return counts[random_below(random, ARRAY_LENGTH(counts))];
}

/* Single samples anywhere, and stretches of counters side by side. Recorded are the ends of ranges:
 * the maximum is then what a reader makes of it. */
static void fill(struct histogram *histogram, struct random *random) {
    uint32_t counters = histogram->layout.counters;
    for (uint64_t stretches = random_below(random, 12); stretches > 0; stretches--) {
        uint32_t index = (uint32_t)random_below(random, counters);
        uint64_t length = random_below(random, 2) ? 1 : random_below(random, 500);
        for (; length > 0 && index < counters; length--, index++) {
            uint64_t value = histogram_highest_equivalent(&histogram->layout, index);
            int result = histogram_record(histogram, value, random_count(random));
            assert_true(result == 0 || result == -EOVERFLOW);
        }
    }
}

static void check_round_trips(const struct histogram *histogram) {
    struct bytes plain = encode(histogram), wrapped = encode_compressed(histogram);
    char *text;
    assert_int_equal(histogram_encode_base64(histogram, &text), 0);
    struct histogram back[] = {decoded(plain), decoded(wrapped), decoded_text(text)};
    for (size_t i = 0; i < ARRAY_LENGTH(back); i++)
        assert_true(histogram_equal(&back[i], histogram));
    struct bytes inflated = unwrap(wrapped), again = encode(&back[2]);
    check_same_bytes(inflated, plain);
    check_same_bytes(again, plain);
    for (size_t i = 0; i < ARRAY_LENGTH(back); i++)
        histogram_close(&back[i]);
    free(plain.data);
    free(wrapped.data);
    free(text);
    free(inflated.data);
    free(again.data);
}

static void random_histograms_come_back_equal(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 1);
    for (int i = 0; i < 3000; i++) {
        struct histogram_layout layout = random_layout(&random);
        struct histogram histogram;
        assert_int_equal(histogram_open(&histogram, &layout), 0);
        fill(&histogram, &random);
        check_round_trips(&histogram);
        histogram_close(&histogram);
    }
}

static void the_recorders_layout_comes_back_equal_when_full(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 2);
    struct histogram histogram;
    assert_int_equal(histogram_open(&histogram, &histogram_standard), 0);
    for (uint32_t i = 0; i < histogram.layout.counters; i++)
        assert_int_equal(histogram_record(&histogram,
                                          histogram_highest_equivalent(&histogram.layout, i),
                                          random_next(&random) >> (16 + random_below(&random, 46))),
                         0);
    check_round_trips(&histogram);
    histogram_close(&histogram);
}

static void cut_off_anywhere_it_is_refused(void **state) {
    (void)state;
    struct random random;
    random_seed(&random, 3);
    struct histogram histogram = opened(1, MINUTE_NS, 3);
    for (int i = 0; i < 4; i++)
        fill(&histogram, &random);
    struct bytes plain = encode(&histogram), wrapped = encode_compressed(&histogram);
    assert_true(plain.size > 1000 && wrapped.size > 500);
    for (size_t size = 0; size < plain.size; size++)
        check_refused("plain", (struct bytes){plain.data, size}, "");
    for (size_t size = 0; size < wrapped.size; size++)
        check_refused("compressed", (struct bytes){wrapped.data, size}, "");
    for (size_t size = WRAPPER_BYTES + 1; size < wrapped.size; size++) {
        put_u32(wrapped.data + 4, (uint32_t)(size - WRAPPER_BYTES));
        check_refused("zlib stream", (struct bytes){wrapped.data, size}, "cut off after");
    }
    free(plain.data);
    free(wrapped.data);
    histogram_close(&histogram);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_values_as_HdrHistogram_writes_them),
        cmocka_unit_test(no_value_as_HdrHistogram_writes_it),
        cmocka_unit_test(a_thousand_values_keep_their_statistics),
        cmocka_unit_test(numbers_are_ZigZag_LEB128),
        cmocka_unit_test(what_other_writers_write_is_taken),
        cmocka_unit_test(a_stored_zlib_stream_is_taken),
        cmocka_unit_test(samples_over_the_range_are_in_the_last_counter),
        cmocka_unit_test(damaged_bytes_are_refused_with_words),
        cmocka_unit_test(words_are_the_same_inside_a_zlib_stream),
        cmocka_unit_test(damaged_wrappers_are_refused_with_words),
        cmocka_unit_test(a_zlib_dictionary_is_refused),
        cmocka_unit_test(a_zip_bomb_is_refused),
        cmocka_unit_test(damaged_base64_is_refused_with_words),
        cmocka_unit_test(random_histograms_come_back_equal),
        cmocka_unit_test(the_recorders_layout_comes_back_equal_when_full),
        cmocka_unit_test(cut_off_anywhere_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
