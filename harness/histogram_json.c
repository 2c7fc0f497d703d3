/* histogram_json.c: see histogram_json.h. */
#include "harness/histogram_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness/histogram_codec.h"
#include "loops/check.h"

#define SCHEMA 1
#define CONFIDENCE 0.95

static const double quantiles[] = {0.5, 0.9, 0.95, 0.99, 0.999, 0.9999};

/* ---- writing --------------------------------------------------------------------------------- */

json_t *histogram_json_new(const char *unit) {
    return json_pack("{s:i, s:s, s:[]}", "schema", SCHEMA, "unit", unit, "histograms");
}

/* JSON readers know no integers above 2^63-1; neither does jansson. */
static json_t *json_of_value(uint64_t value) {
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* A log's tags may be in any encoding, JSON is UTF-8. */
static json_t *json_of_tag(const char *tag) {
    if (tag == NULL)
        return json_null();
    json_t *json = json_string(tag);
    if (json)
        return json;
    char *ascii = strdup(tag);
    if (ascii == NULL)
        return NULL;
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json = json_string(ascii);
    free(ascii);
    return json;
}

static json_t *json_of_quantile(const struct histogram *histogram, bool exact, double quantile) {
    uint64_t low, high;
    bool bounded =
        exact && histogram_quantile_interval(histogram, quantile, CONFIDENCE, &low, &high);
    return json_pack("{s:f, s:o, s:o, s:o, s:b}", "quantile", quantile, "value",
                     json_of_value(histogram_quantile(histogram, quantile)), "low",
                     bounded ? json_of_value(low) : json_null(), "high",
                     bounded ? json_of_value(high) : json_null(), "valid",
                     histogram_quantile_valid(histogram, quantile));
}

/* json_array_append_new refuses null, and so reports that memory ran out. */
static json_t *json_of_quantiles(const struct histogram *histogram, bool exact) {
    json_t *array = json_array();
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++) {
        if (json_array_append_new(array, json_of_quantile(histogram, exact, quantiles[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_of_entry(const struct histogram_entry *entry, const char *base64) {
    const struct histogram *histogram = &entry->histogram;
    const struct histogram_layout *layout = &histogram->layout;
    return json_pack(
        "{s:o, s:o, s:o, s:b, s:o, s:o, s:i, s:o, s:o, s:f, s:f, s:o, s:o, s:s}", "tag",
        json_of_tag(entry->tag), "start_s", entry->timed ? json_real(entry->start_s) : json_null(),
        "length_s", entry->timed ? json_real(entry->length_s) : json_null(), "exact", entry->exact,
        "lowest", json_of_value(layout->lowest), "highest", json_of_value(layout->highest),
        "digits", (int)layout->digits, "count", json_of_value(histogram->total), "min",
        json_of_value(histogram_min(histogram)), "mean", histogram_mean(histogram), "stddev",
        histogram_stddev(histogram), "max", json_of_value(histogram->max), "quantiles",
        json_of_quantiles(histogram, entry->exact), "histogram", base64);
}

int histogram_json_append(json_t *root, const struct histogram_entry *entry) {
    char *base64;
    if (histogram_encode_base64(&entry->histogram, &base64) < 0)
        return -ENOMEM;
    json_t *json = json_of_entry(entry, base64);
    free(base64);
    return json_array_append_new(json_object_get(root, "histograms"), json) == 0 ? 0 : -ENOMEM;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_given(const json_t *value) {
    return value != NULL && !json_is_null(value);
}

static int read_times(const json_t *json, struct histogram_entry *entry, struct error *error) {
    const json_t *start = json_object_get(json, "start_s");
    const json_t *length = json_object_get(json, "length_s");
    if ((is_given(start) && !json_is_number(start)) ||
        (is_given(length) && (!json_is_number(length) || json_number_value(length) < 0)))
        return error_set(error, -EINVAL,
                         "\"start_s\" and \"length_s\" should be seconds, or null if not known");
    entry->timed = is_given(start) && is_given(length);
    if (entry->timed) {
        entry->start_s = json_number_value(start);
        entry->length_s = json_number_value(length);
    }
    return 0;
}

/* The tag stays the JSON's. */
static int read_entry(const json_t *json, struct histogram_entry *entry, struct error *error) {
    *entry = (struct histogram_entry){.exact = true};
    const json_t *tag = json_object_get(json, "tag"), *exact = json_object_get(json, "exact");
    const json_t *base64 = json_object_get(json, "histogram");
    if (!json_is_object(json))
        return error_set(error, -EINVAL, "it should be an object");
    if (is_given(tag) && !json_is_string(tag))
        return error_set(error, -EINVAL, "\"tag\" should be a string or null");
    if (exact && !json_is_boolean(exact))
        return error_set(error, -EINVAL, "\"exact\" should be true or false");
    if (!json_is_string(base64))
        return error_set(error, -EINVAL, "\"histogram\" should be a string of V2 base64");
    entry->tag = json_string_value(tag);
    if (exact)
        entry->exact = json_is_true(exact);
    int err = read_times(json, entry, error);
    if (err < 0)
        return err;
    return histogram_decode_base64(json_string_value(base64), json_string_length(base64),
                                   &entry->histogram, error);
}

static int read_entries(const json_t *root, const char *name,
                        int (*visit)(struct histogram_entry *entry, void *data), void *data,
                        struct error *error) {
    const json_t *schema = json_object_get(root, "schema");
    const json_t *histograms = json_object_get(root, "histograms"), *json;
    if (!json_is_array(histograms))
        return error_set(
            error, -EINVAL,
            "%s: JSON without an array \"histograms\": loopmark hist --json prints one", name);
    if (!json_is_integer(schema) || json_integer_value(schema) != SCHEMA)
        return error_set(error, -EINVAL, "%s: \"schema\" should be %d", name, SCHEMA);
    size_t i;
    json_array_foreach(histograms, i, json) {
        struct histogram_entry entry;
        struct error cause = {""};
        int err = read_entry(json, &entry, &cause);
        if (err < 0)
            return error_set(error, err, "%s: histograms[%zu]: %s", name, i, cause.text);
        entry.unit = json_string_value(json_object_get(root, "unit"));
        err = visit(&entry, data);
        histogram_close(&entry.histogram);
        if (err < 0)
            return err;
    }
    return 0;
}

/* jansson shows the text it stumbled over, which a terminal must not obey. */
static void make_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

int histogram_json_read(const char *text, size_t length, const char *name,
                        int (*visit)(struct histogram_entry *entry, void *data), void *data,
                        struct error *error) {
    json_error_t problem;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL) {
        make_printable(problem.text);
        if (json_error_code(&problem) == json_error_out_of_memory)
            return error_set(error, -ENOMEM, "%s: out of memory", name);
        return error_set(error, -EINVAL, "%s:%d: no JSON: %s", name, problem.line, problem.text);
    }
    int err = read_entries(root, name, visit, data, error);
    json_decref(root);
    return err;
}
