/* histogram_codec.c: see histogram_codec.h. */
#include "harness/histogram_codec.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "loops/check.h"

enum {
    COOKIE_PLAIN = 0x1c849313,
    COOKIE_COMPRESSED = 0x1c849314,
    COOKIE_WORD_SIZE = 0xf0, /* these bits mean nothing in V2, and some writers leave them 0 */
    WRAPPER_BYTES = 8,
    HEADER_BYTES = 40,
    NUMBER_BYTES_MOST = 9,
    DEFLATE_RATIO_MOST = 1032, /* a match of 258 bytes takes two bits or more */
};

static const struct {
    uint32_t cookie;
    const char *name;
} other_formats[] = {
    {0x1c849308, "a V0 histogram"},    {0x1c849309, "a compressed V0 histogram"},
    {0x1c849301, "a V1 histogram"},    {0x1c849302, "a compressed V1 histogram"},
    {0x0c72124e, "a DoubleHistogram"}, {0x0c72124f, "a compressed DoubleHistogram"},
    {COOKIE_PLAIN, "a V2 histogram"},  {COOKIE_COMPRESSED, "a compressed V2 histogram"},
};

/* ---- big endian ------------------------------------------------------------------------------ */

static uint32_t load_u32(const uint8_t *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return be32toh(value);
}

static uint64_t load_u64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return be64toh(value);
}

static void store_u32(uint8_t *bytes, uint32_t value) {
    value = htobe32(value);
    memcpy(bytes, &value, sizeof value);
}

static void store_u64(uint8_t *bytes, uint64_t value) {
    value = htobe64(value);
    memcpy(bytes, &value, sizeof value);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Grows as needed: most histograms are sparse, and 9 bytes a counter would be thirty times too
 * much. */
struct output {
    uint8_t *bytes;
    size_t size, capacity;
};

static int make_room(struct output *output, size_t more) {
    if (output->capacity - output->size >= more)
        return 0;
    size_t capacity = output->capacity > 0 ? 2 * output->capacity : 4096;
    uint8_t *bytes = realloc(output->bytes, capacity);
    if (!bytes)
        return -ENOMEM;
    output->bytes = bytes;
    output->capacity = capacity;
    return 0;
}

/* LEB128, whose ninth byte has no room for a "more" bit and needs none. */
static int put_number(struct output *output, uint64_t zigzag) {
    if (make_room(output, NUMBER_BYTES_MOST) != 0)
        return -ENOMEM;
    uint8_t *next = output->bytes + output->size, *ninth = next + NUMBER_BYTES_MOST - 1;
    while (zigzag >= 0x80 && next < ninth) {
        *next++ = (uint8_t)(zigzag | 0x80);
        zigzag >>= 7;
    }
    *next++ = (uint8_t)zigzag;
    output->size = (size_t)(next - output->bytes);
    return 0;
}

/* -zeros in ZigZag; but a single zero stands for itself. */
static int put_zeros(struct output *output, uint64_t zeros) {
    return put_number(output, zeros == 1 ? 0 : 2 * zeros - 1);
}

static int put_count(struct output *output, uint64_t count) {
    return put_number(output, 2 * count);
}

/* From `begin` on, the first counter that is not zero; there has to be one. */
static uint32_t skip_zeros(const struct histogram *histogram, uint32_t begin) {
    const uint64_t *c = histogram->counts;
    uint32_t i = begin, end = histogram->layout.counters;
    while (end - i >= 8 &&
           (c[i] | c[i + 1] | c[i + 2] | c[i + 3] | c[i + 4] | c[i + 5] | c[i + 6] | c[i + 7]) == 0)
        i += 8;
    while (i < end && c[i] == 0)
        i++;
    CHECK(i < end);
    return i;
}

/* The total tells which counter is the last, so that one pass is enough. */
static int put_counts(struct output *output, const struct histogram *histogram) {
    int result = histogram->total > 0 ? 0 : put_zeros(output, 1);
    uint64_t left = histogram->total;
    for (uint32_t i = 0; result == 0 && left > 0; i++) {
        uint32_t begin = i;
        i = skip_zeros(histogram, begin);
        if (i > begin)
            result = put_zeros(output, i - begin);
        uint64_t count = histogram->counts[i];
        CHECK(count <= left);
        left -= count;
        if (result == 0)
            result = put_count(output, count);
    }
    return result;
}

static void store_header(uint8_t *bytes, const struct histogram_layout *layout, size_t length) {
    double ratio = 1;
    uint64_t ratio_bits;
    memcpy(&ratio_bits, &ratio, sizeof ratio_bits);
    store_u32(bytes, COOKIE_PLAIN);
    store_u32(bytes + 4, (uint32_t)length);
    store_u32(bytes + 8, 0);
    store_u32(bytes + 12, layout->digits);
    store_u64(bytes + 16, layout->lowest);
    store_u64(bytes + 24, layout->highest);
    store_u64(bytes + 32, ratio_bits);
}

int histogram_encode(const struct histogram *histogram, uint8_t **bytes, size_t *size) {
    CHECK(histogram->layout.counters > 0 && histogram->total <= INT64_MAX);
    struct output output = {0};
    int result = make_room(&output, HEADER_BYTES);
    if (result == 0) {
        output.size = HEADER_BYTES;
        result = put_counts(&output, histogram);
    }
    if (result != 0) {
        free(output.bytes);
        return result;
    }
    store_header(output.bytes, &histogram->layout, output.size - HEADER_BYTES);
    *bytes = output.bytes;
    *size = output.size;
    return 0;
}

static int deflate_bytes(const uint8_t *plain, size_t plain_size, uint8_t **bytes, size_t *size) {
    uLongf deflated = compressBound(plain_size);
    uint8_t *wrapped = malloc(WRAPPER_BYTES + deflated);
    if (!wrapped)
        return -ENOMEM;
    if (compress(wrapped + WRAPPER_BYTES, &deflated, plain, plain_size) != Z_OK) {
        free(wrapped); /* the bound is enough, so it was memory */
        return -ENOMEM;
    }
    store_u32(wrapped, COOKIE_COMPRESSED);
    store_u32(wrapped + 4, (uint32_t)deflated);
    *bytes = wrapped;
    *size = WRAPPER_BYTES + deflated;
    return 0;
}

int histogram_encode_compressed(const struct histogram *histogram, uint8_t **bytes, size_t *size) {
    uint8_t *plain;
    size_t plain_size;
    int result = histogram_encode(histogram, &plain, &plain_size);
    if (result != 0)
        return result;
    result = deflate_bytes(plain, plain_size, bytes, size);
    free(plain);
    return result;
}

/* ---- decoding: counters ---------------------------------------------------------------------- */

/* Returns how many bytes it takes; 0: it is cut off. */
static size_t get_number(const uint8_t *bytes, size_t size, uint64_t *zigzag) {
    *zigzag = 0;
    for (size_t i = 0; i < size; i++) {
        bool ninth = i == NUMBER_BYTES_MOST - 1;
        *zigzag |= (uint64_t)(ninth ? bytes[i] : bytes[i] & 0x7f) << (7 * i);
        if (ninth || bytes[i] < 0x80)
            return i + 1;
    }
    return 0;
}

/* Counters that this number says are zero. In ZigZag -k is 2k - 1, and so even -2^63 fits. */
static uint64_t zeros_of(uint64_t zigzag) {
    if (zigzag & 1)
        return zigzag / 2 + 1;
    return zigzag == 0 ? 1 : 0;
}

/* Into a histogram that has a layout, or no counters yet: then it is only checked. */
static int read_counts(const uint8_t *bytes, size_t size, struct histogram *histogram,
                       struct error *error) {
    const uint32_t counters = histogram->layout.counters;
    uint32_t index = 0;
    size_t at = 0;
    while (at < size) {
        uint64_t zigzag, zeros;
        size_t taken = get_number(bytes + at, size - at, &zigzag);
        if (taken == 0)
            return error_set(error, -EINVAL, "the count at byte %zu of %zu is cut off", at, size);
        at += taken;
        zeros = zeros_of(zigzag);
        if (zeros > counters - index)
            return error_set(error, -EINVAL,
                             "%" PRIu64 " zeros from counter %" PRIu32 " on, of %" PRIu32
                             " counters",
                             zeros, index, counters);
        index += (uint32_t)zeros;
        if (zeros > 0)
            continue;
        uint64_t count = zigzag / 2;
        if (index == counters)
            return error_set(error, -EINVAL, "more counts than the %" PRIu32 " counters", counters);
        if (count > INT64_MAX - histogram->total)
            return error_set(error, -EINVAL,
                             "with the %" PRIu64 " of counter %" PRIu32
                             " the samples are more than 2^63-1",
                             count, index);
        histogram->total += count;
        histogram->max = histogram_highest_equivalent(&histogram->layout, index);
        if (histogram->counts)
            histogram->counts[index] = count;
        index++;
    }
    return 0;
}

/* A small file may ask for 64 MiB of counters: it gets them only when nothing is wrong with it. */
static int build(const struct histogram_layout *layout, const uint8_t *counts, size_t length,
                 struct histogram *histogram, struct error *error) {
    struct histogram checked = {.layout = *layout}, built;
    int result = read_counts(counts, length, &checked, error);
    if (result != 0)
        return result;
    if (histogram_open(&built, layout) != 0)
        return error_set(error, -ENOMEM, "no memory for %" PRIu32 " counters", layout->counters);
    CHECK(read_counts(counts, length, &built, NULL) == 0);
    *histogram = built;
    return 0;
}

/* ---- decoding: header ------------------------------------------------------------------------ */

static bool same_cookie(uint32_t a, uint32_t b) {
    return ((a ^ b) & ~(uint32_t)COOKIE_WORD_SIZE) == 0;
}

static int refuse_cookie(uint32_t cookie, const char *where, struct error *error) {
    for (size_t i = 0; i < ARRAY_LENGTH(other_formats); i++)
        if (same_cookie(cookie, other_formats[i].cookie))
            return error_set(error, -EINVAL, "the cookie 0x%08" PRIx32 " is that of %s: %s", cookie,
                             other_formats[i].name, where);
    return error_set(error, -EINVAL, "the cookie 0x%08" PRIx32 " is not HdrHistogram's", cookie);
}

static int refuse_short(size_t size, size_t needed, const char *what, struct error *error) {
    return error_set(error, -EINVAL, "%zu bytes are too few for %s (%zu)", size, what, needed);
}

/* Of HEADER_BYTES. The index offset and the conversion ratio are skipped: see the header file. */
static int read_header(const uint8_t *bytes, struct histogram_layout *layout, size_t *length,
                       struct error *error) {
    int64_t declared = (int32_t)load_u32(bytes + 4);
    int32_t digits = (int32_t)load_u32(bytes + 12);
    int64_t lowest = (int64_t)load_u64(bytes + 16), highest = (int64_t)load_u64(bytes + 24);

    if (digits < 1 || digits > 5)
        return error_set(error, -EINVAL, "%" PRId32 " significant digits, not 1 to 5", digits);
    if (lowest < 1)
        return error_set(error, -EINVAL, "the lowest value is %" PRId64 ", not 1 or more", lowest);
    if (highest / 2 < lowest)
        return error_set(error, -EINVAL,
                         "the highest value is %" PRId64 ", less than twice the lowest, %" PRId64,
                         highest, lowest);
    if (histogram_layout_init(layout, (uint64_t)lowest, (uint64_t)highest, (uint32_t)digits) != 0)
        return error_set(error, -EINVAL,
                         "%" PRId64 " to %" PRId64 " with %" PRId32
                         " digits: more than %u counters, or values of more than 62 bits",
                         lowest, highest, digits, HISTOGRAM_COUNTERS_MOST);
    if (declared < 0 || declared > (int64_t)layout->counters * NUMBER_BYTES_MOST)
        return error_set(error, -EINVAL,
                         "the length of the counts is %" PRId64 ", not 0 to %d for each of %" PRIu32
                         " counters",
                         declared, NUMBER_BYTES_MOST, layout->counters);
    *length = (size_t)declared;
    return 0;
}

static int decode_plain(const uint8_t *bytes, size_t size, struct histogram *histogram,
                        struct error *error) {
    struct histogram_layout layout;
    size_t length;
    if (size < HEADER_BYTES)
        return refuse_short(size, HEADER_BYTES, "a histogram's header", error);
    int result = read_header(bytes, &layout, &length, error);
    if (result != 0)
        return result;
    if (length != size - HEADER_BYTES)
        return error_set(error, -EINVAL, "the length of the counts is %zu, but %zu bytes are there",
                         length, size - HEADER_BYTES);
    return build(&layout, bytes + HEADER_BYTES, length, histogram, error);
}

/* ---- decoding: zlib -------------------------------------------------------------------------- */

/* Fills `bytes` as far as the stream goes; `got` tells how far that is. */
static int inflate_some(z_stream *stream, uint8_t *bytes, size_t size, size_t *got,
                        struct error *error) {
    stream->next_out = bytes;
    stream->avail_out = (uInt)size;
    int status = inflate(stream, Z_SYNC_FLUSH);
    *got = size - stream->avail_out;
    if (status == Z_MEM_ERROR)
        return error_set(error, -ENOMEM, "no memory to inflate the zlib stream");
    if (status == Z_DATA_ERROR || status == Z_NEED_DICT)
        return error_set(error, -EINVAL, "the zlib stream is damaged at byte %lu: %s",
                         stream->total_in, stream->msg ? stream->msg : zError(status));
    if (status != Z_STREAM_END && stream->avail_out > 0)
        return error_set(error, -EINVAL, "the zlib stream is cut off after %lu bytes",
                         stream->total_in);
    return 0;
}

static int inflate_header(z_stream *stream, struct histogram_layout *layout, size_t *length,
                          struct error *error) {
    uint8_t header[HEADER_BYTES];
    size_t got, stream_size = stream->avail_in;
    int result = inflate_some(stream, header, sizeof header, &got, error);
    if (result != 0)
        return result;
    if (got < HEADER_BYTES)
        return refuse_short(got, HEADER_BYTES, "a histogram's header, in the zlib stream", error);
    if (!same_cookie(load_u32(header), COOKIE_PLAIN))
        return refuse_cookie(load_u32(header), "only a plain V2 one can be in a zlib stream",
                             error);
    result = read_header(header, layout, length, error);
    if (result != 0)
        return result;
    if (*length / DEFLATE_RATIO_MOST > stream_size)
        return error_set(error, -EINVAL,
                         "the length of the counts is %zu, which %zu bytes of zlib cannot hold",
                         *length, stream_size);
    return 0;
}

/* One byte more than declared is room enough to see that there are more, be it millions. */
static int inflate_counts(z_stream *stream, uint8_t *counts, size_t length, struct error *error) {
    size_t got;
    int result = inflate_some(stream, counts, length + 1, &got, error);
    if (result != 0)
        return result;
    if (got > length)
        return error_set(error, -EINVAL,
                         "the length of the counts is %zu, but the zlib stream holds more", length);
    if (got < length)
        return error_set(error, -EINVAL,
                         "the length of the counts is %zu, but the zlib stream holds %zu", length,
                         got);
    if (stream->avail_in > 0)
        return error_set(error, -EINVAL, "%u bytes follow the zlib stream's end", stream->avail_in);
    return 0;
}

static int decode_stream(z_stream *stream, struct histogram *histogram, struct error *error) {
    struct histogram_layout layout;
    size_t length;
    int result = inflate_header(stream, &layout, &length, error);
    if (result != 0)
        return result;
    uint8_t *counts = malloc(length + 1);
    if (!counts)
        return error_set(error, -ENOMEM, "no memory for %zu bytes of counts", length);
    result = inflate_counts(stream, counts, length, error);
    if (result == 0)
        result = build(&layout, counts, length, histogram, error);
    free(counts);
    return result;
}

static int decode_compressed(const uint8_t *bytes, size_t size, struct histogram *histogram,
                             struct error *error) {
    if (size < WRAPPER_BYTES)
        return refuse_short(size, WRAPPER_BYTES, "a compressed histogram's header", error);
    int32_t declared = (int32_t)load_u32(bytes + 4);
    if (declared < 1 || (size_t)declared != size - WRAPPER_BYTES)
        return error_set(error, -EINVAL,
                         "the length of the zlib stream is %" PRId32 ", but %zu bytes are there",
                         declared, size - WRAPPER_BYTES);
    z_stream stream = {.next_in = bytes + WRAPPER_BYTES, .avail_in = (uInt)declared};
    if (inflateInit(&stream) != Z_OK)
        return error_set(error, -ENOMEM, "no memory to inflate the zlib stream");
    int result = decode_stream(&stream, histogram, error);
    inflateEnd(&stream);
    return result;
}

int histogram_decode(const uint8_t *bytes, size_t size, struct histogram *histogram,
                     struct error *error) {
    if (size < 4)
        return refuse_short(size, 4, "a histogram's cookie", error);
    uint32_t cookie = load_u32(bytes);
    if (same_cookie(cookie, COOKIE_PLAIN))
        return decode_plain(bytes, size, histogram, error);
    if (same_cookie(cookie, COOKIE_COMPRESSED))
        return decode_compressed(bytes, size, histogram, error);
    return refuse_cookie(cookie, "only V2 can be read", error);
}

/* ---- base64 ---------------------------------------------------------------------------------- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64_encode(const uint8_t *bytes, size_t size) {
    char *text = malloc((size + 2) / 3 * 4 + 1);
    if (!text)
        return NULL;
    char *next = text;
    for (size_t i = 0; i < size; i += 3) {
        size_t present = size - i < 3 ? size - i : 3;
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < present ? bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *next++ = k > present ? '=' : base64_digits[group >> (18 - 6 * k) & 63];
    }
    *next = '\0';
    return text;
}

static int refuse_character(const char *text, size_t at, struct error *error) {
    unsigned char c = (unsigned char)text[at];
    return error_set(error, -EINVAL,
                     c > ' ' && c < 0x7f ? "character %zu, '%c', is not base64 here"
                                         : "character %zu, 0x%02x, is not base64",
                     at + 1, c);
}

/* `length` is a multiple of 4, of which the last `padding` are "="; `bytes` has room for the rest.
 */
static int base64_decode(const char *text, size_t length, size_t padding, uint8_t *bytes,
                         struct error *error) {
    uint32_t group = 0;
    for (size_t i = 0; i < length - padding; i++) {
        const char *digit = memchr(base64_digits, text[i], 64);
        if (!digit)
            return refuse_character(text, i, error);
        group = group << 6 | (uint32_t)(digit - base64_digits);
        if (i % 4 > 0)
            *bytes++ = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    uint32_t spare_bits = padding == 0 ? 0 : group & (padding == 1 ? 3 : 15);
    if (spare_bits != 0)
        return error_set(error, -EINVAL,
                         "base64: the bits behind the last byte are %" PRIu32 ", "
                         "not 0",
                         spare_bits);
    return 0;
}

int histogram_encode_base64(const struct histogram *histogram, char **text) {
    uint8_t *bytes;
    size_t size;
    int result = histogram_encode_compressed(histogram, &bytes, &size);
    if (result != 0)
        return result;
    *text = base64_encode(bytes, size);
    free(bytes);
    return *text ? 0 : -ENOMEM;
}

int histogram_decode_base64(const char *text, size_t length, struct histogram *histogram,
                            struct error *error) {
    if (length == 0)
        return error_set(error, -EINVAL, "the base64 text is empty");
    if (length % 4 != 0)
        return error_set(error, -EINVAL, "%zu characters of base64 are no multiple of 4", length);
    size_t padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
    size_t size = length / 4 * 3 - padding;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return error_set(error, -ENOMEM, "no memory for %zu bytes", size);
    int result = base64_decode(text, length, padding, bytes, error);
    if (result == 0)
        result = histogram_decode(bytes, size, histogram, error);
    free(bytes);
    return result;
}
