/* histogram_codec.h: histograms as bytes and as base64 text: HdrHistogram's V2 encoding.
 *
 * Layout (org.HdrHistogram.AbstractHistogram, encodeIntoByteBuffer; all big endian): a 40-byte
 * header (cookie 0x1c849313, length of the counts in bytes, normalising offset, digits, lowest,
 * highest, conversion ratio), then the counters up to the last that is not zero, each a ZigZag
 * LEB128 number of at most 9 bytes; a negative one stands for so many zeros. Compressed: cookie
 * 0x1c849314, length, and all of that as a zlib stream. Base64 is RFC 4648 with padding.
 *
 * What is written is what the strictest reader takes (offset 0, ratio 1.0, exact cookies, no
 * counter after the last sample). What is read may come from anyone: offset and ratio are ignored,
 * as every reader does, and all else is checked before memory is taken for it. Not in the bytes:
 * the exact maximum and the samples over the range, so that a histogram read has `over` 0 and as
 * `max` the highest equivalent value of its last counter.
 *
 * Pure: no I/O, no globals. */
#ifndef LOOPMARK_HISTOGRAM_CODEC_H
#define LOOPMARK_HISTOGRAM_CODEC_H

#include "harness/histogram.h"
#include "loops/error.h"

/* The caller's memory, to be freed. All return 0 or -ENOMEM. */
int histogram_encode(const struct histogram *histogram, uint8_t **bytes, size_t *size);
int histogram_encode_compressed(const struct histogram *histogram, uint8_t **bytes, size_t *size);
int histogram_encode_base64(const struct histogram *histogram, char **text);

/* Makes a histogram of plain or compressed V2 bytes, or of base64 text of either (`length`
 * characters, nothing around them). The caller closes it. -EINVAL: it is none; -ENOMEM. Then
 * `histogram` is left as it was, and `error` says what is wrong in words that can follow
 * "FILE:LINE: ". */
int histogram_decode(const uint8_t *bytes, size_t size, struct histogram *histogram,
                     struct error *error);
int histogram_decode_base64(const char *text, size_t length, struct histogram *histogram,
                            struct error *error);

#endif
