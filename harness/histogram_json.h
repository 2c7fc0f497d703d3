/* histogram_json.h: histograms as JSON: what `loopmark hist --json` prints, and takes again.
 *
 * {"schema": 1, "unit": "ns", "histograms": [{
 *    "tag": null, "start_s": 1.7e9, "length_s": 1.0, "exact": true,
 *    "lowest": 1, "highest": 4398046511103, "digits": 3,
 *    "count": 1000, "min": 5, "mean": 9.5, "stddev": 1.25, "max": 20,
 *    "quantiles": [{"quantile": 0.5, "value": 9, "low": 8, "high": 10, "valid": true}, ...],
 *    "histogram": "HISTFAAA..."}]}
 *
 * Values are in the unit named, and at most 2^63-1. "histogram" is V2 base64 (histogram_codec.h)
 * and with schema the only key that has to be there to be read back; tag, start_s, length_s and
 * exact are read where they are there, and the rest says what is in it. A tag that is not UTF-8 is
 * written with ? for its bytes beyond ASCII. start_s and length_s are null where not known. low and
 * high are the 95 % interval within the run, null where there are too few samples for one or where
 * it is not exact; valid is false with fewer than 5 samples beyond (histogram_quantile_valid). */
#ifndef LOOPMARK_HISTOGRAM_JSON_H
#define LOOPMARK_HISTOGRAM_JSON_H

#include <jansson.h>

#include "harness/histogram_file.h"

/* An object without histograms, to which histogram_json_append adds. The caller's reference. */
json_t *histogram_json_new(const char *unit);
/* -ENOMEM. The entry stays the caller's. */
int histogram_json_append(json_t *root, const struct histogram_entry *entry);

/* Calls visit for each of "histograms", as histogram_file_read does; none is no error here. -EINVAL
 * with "NAME: cause", "NAME: histograms[3]: cause" (counted from 0), or "NAME:LINE: cause" for text
 * that is no JSON; -ENOMEM. */
int histogram_json_read(const char *text, size_t length, const char *name,
                        int (*visit)(struct histogram_entry *entry, void *data), void *data,
                        struct error *error);

#endif
