/* Knobs: what is taken, what is refused, and that what is written can be read again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "harness/load_knobs.h"
#include "loops/check.h"
#include "workloads/knob.h"

static const char *const colours[] = {"red", "green", NULL};
static const struct knob knobs[] = {
    {.name = "count", .type = KNOB_COUNT, .initial = 5, .least = 1, .most = 1e9},
    {.name = "size_bytes", .type = KNOB_BYTES, .initial = 1024, .least = 0, .most = 1ull << 40},
    {.name = "delay", .type = KNOB_TIME, .initial = 0, .least = 0, .most = 3600e9},
    {.name = "pace", .type = KNOB_RATE, .initial = 0, .least = 0, .most = 1e7},
    {.name = "verbose", .type = KNOB_FLAG, .initial = 0, .most = 1},
    {.name = "colour", .type = KNOB_CHOICE, .initial = 1, .most = 1, .choices = colours},
};
static const struct knob_table table = {knobs, ARRAY_LENGTH(knobs)};

struct example {
    const char *name, *text;
    double value;
};

static const struct knob *named(const char *name) {
    for (size_t i = 0; i < table.count; i++)
        if (strcmp(knobs[i].name, name) == 0)
            return &knobs[i];
    fail_msg("no knob %s", name);
    return NULL;
}

static void takes_values_with_units(void **state) {
    (void)state;
    static const struct example good[] = {
        {"count", "100", 100},
        {"count", "10k", 10000},
        {"count", "1.5k", 1500},
        {"count", "2M", 2e6},
        {"size_bytes", "1024", 1024},
        {"size_bytes", "7B", 7},
        {"size_bytes", "100KiB", 102400},
        {"size_bytes", "1.5MiB", 1572864},
        {"size_bytes", "1GiB", 1073741824},
        {"delay", "300us", 300000},
        {"delay", "300µs", 300000},
        {"delay", "1.5s", 1.5e9},
        {"delay", "2min", 120e9},
        {"delay", "1h", 3600e9},
        {"delay", "7ns", 7},
        {"delay", "0.1s", 1e8},
        {"delay", "16.384us", 16384},
        {"delay", "0", 0},
        {"delay", "4.35ms", 4350000},
        {"pace", "20000", 20000},
        {"pace", "20k", 20000},
        {"pace", "20000/s", 20000},
        {"pace", "0.5", 0.5},
        {"pace", "0.5/s", 0.5},
        {"verbose", "yes", 1},
        {"verbose", "no", 0},
        {"colour", "green", 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        struct error error = {""};
        double value = -1;
        if (knob_parse(named(good[i].name), good[i].text, &value, &error) != 0)
            fail_msg("%s", error.text);
        if (value != good[i].value)
            fail_msg("%s = %s read as %.17g", good[i].name, good[i].text, value);
    }
}

static void refuses_everything_else(void **state) {
    (void)state;
    static const struct example bad[] = {
        {"count", "", 0},
        {"count", "0", 0},
        {"count", "-5", 0},
        {"count", "+5", 0},
        {"count", " 5", 0},
        {"count", "5 ", 0},
        {"count", "5x", 0},
        {"count", "0x10", 0},
        {"count", "1e3", 0},
        {"count", "inf", 0},
        {"count", "nan", 0},
        {"count", "1.5", 0},
        {"count", "1.", 0},
        {"count", ".5k", 0},
        {"count", "1,000", 0},
        {"count", "1.2.3", 0},
        {"count", "5ms", 0},
        {"count", "2000000000", 0},
        {"count", "0.0", 0},
        {"size_bytes", "1KB", 0},
        {"size_bytes", "1k", 0},
        {"size_bytes", "0.3", 0},
        {"size_bytes", "1kib", 0},
        {"delay", "500", 0},
        {"delay", "0.5ns", 0},
        {"delay", "5S", 0},
        {"delay", "2h", 0},
        {"delay", "0x", 0},
        {"pace", "20/min", 0},
        {"verbose", "1", 0},
        {"verbose", "Yes", 0},
        {"verbose", "", 0},
        {"colour", "blue", 0},
        {"count", "99999999999999999999999999999999999999999999999999999999999999999999", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct error error = {""};
        double value = 4711;
        if (knob_parse(named(bad[i].name), bad[i].text, &value, &error) != -EINVAL)
            fail_msg("%s = '%s' was taken", bad[i].name, bad[i].text);
        assert_true(value == 4711);
        if (!strstr(error.text, bad[i].name))
            fail_msg("the knob is not named: %s", error.text);
    }
}

static void says_what_would_be_right(void **state) {
    (void)state;
    struct error error;
    double value;
    knob_parse(named("delay"), "500", &value, &error);
    assert_string_equal(error.text,
                        "delay = 500: expected a time with its unit like 300us, 1.5s or 2min");
    knob_parse(named("size_bytes"), "2000GiB", &value, &error);
    assert_string_equal(error.text, "size_bytes = 2000GiB: must be from 0 B to 1,024 GiB");
    knob_parse(named("colour"), "blue", &value, &error);
    assert_string_equal(error.text, "colour = blue: expected one of: red, green");
    knob_parse(named("delay"), "0.5ns", &value, &error);
    assert_string_equal(error.text, "delay = 0.5ns: not a whole number of ns");
}

static void writes_for_people(void **state) {
    (void)state;
    static const struct example expected[] = {
        {"count", "999", 999},
        {"count", "1,000", 1000},
        {"count", "1,234,567", 1234567},
        {"size_bytes", "100 KiB", 102400},
        {"size_bytes", "10,000 B", 10000},
        {"size_bytes", "1.5 MiB", 1572864},
        {"size_bytes", "0 B", 0},
        {"delay", "1.5 s", 1.5e9},
        {"delay", "300 us", 300000},
        {"delay", "1,234,567 ns", 1234567},
        {"delay", "12,345 us", 12345000},
        {"delay", "500 ms", 5e8},
        {"pace", "20,000/s", 20000},
        {"pace", "0.5/s", 0.5},
        {"verbose", "yes", 1},
        {"colour", "red", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        char text[KNOB_TEXT_BYTES];
        knob_format(named(expected[i].name), expected[i].value, text);
        assert_string_equal(text, expected[i].text);
    }
}

static void writes_plainly(void **state) {
    (void)state;
    static const struct example expected[] = {
        {"count", "60000", 60000}, {"size_bytes", "102400", 102400},
        {"delay", "1.5s", 1.5e9},  {"delay", "1234567ns", 1234567},
        {"pace", "20000", 20000},  {"pace", "0.25", 0.25},
        {"verbose", "no", 0},      {"colour", "green", 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        char text[KNOB_TEXT_BYTES];
        knob_format_plain(named(expected[i].name), expected[i].value, text);
        assert_string_equal(text, expected[i].text);
    }
}

static void remove_separators(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != ',' && *from != ' ')
            *to++ = *from;
    *to = '\0';
}

/* Whatever the value, both forms come back as the very same double. */
static void reads_what_it_wrote(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < 20000; round++) {
        const struct knob *knob = &knobs[round % 4];
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        double value = (double)((random >> 24) >> (random >> 3) % 40);
        value = value < knob->least ? knob->least : value > knob->most ? knob->most : value;
        char text[KNOB_TEXT_BYTES];
        double back = -1;
        knob_format(knob, value, text);
        remove_separators(text);
        assert_int_equal(knob_parse(knob, text, &back, NULL), 0);
        if (back != value)
            fail_msg("%s: %.17g was written as %s", knob->name, value, text);
        knob_format_plain(knob, value, text);
        assert_int_equal(knob_parse(knob, text, &back, NULL), 0);
        assert_true(back == value);
    }
}

static void holds_two_tables(void **state) {
    (void)state;
    struct knob_values values;
    struct error error;
    size_t index = 99;
    knob_values_init(&values, table, load_knobs);
    assert_true(knob_get(&values, "count") == 5);
    assert_true(knob_get(&values, "connections") == 100);
    assert_ptr_equal(knob_at(&values, 0), &knobs[0]);
    assert_ptr_equal(knob_at(&values, table.count), &load_knobs.knobs[0]);
    assert_null(knob_at(&values, table.count + load_knobs.count));
    assert_null(knob_find(&values, "nothing", &index));
    assert_int_equal(index, 99);

    assert_int_equal(knob_set(&values, "connections", "7", &error), 0);
    assert_int_equal(knob_set_pair(&values, "colour=red", &error), 0);
    knob_set_number(&values, "count", 9);
    assert_true(knob_get(&values, "connections") == 7);
    assert_true(knob_get(&values, "colour") == 0);
    assert_true(knob_get(&values, "count") == 9);
    knob_find(&values, "connections", &index);
    assert_true(values.given[index]);
    assert_false(values.given[index + 1]);

    assert_int_equal(knob_set(&values, "connections", "7x", &error), -EINVAL);
    assert_true(knob_get(&values, "connections") == 7);
    assert_int_equal(knob_set(&values, "colur", "red", &error), -ENOENT);
    assert_string_equal(error.text, "no knob is called 'colur'; did you mean colour?");
    assert_int_equal(knob_set(&values, "zzzzzz", "red", &error), -ENOENT);
    assert_non_null(strstr(error.text, "count, size_bytes"));
    assert_non_null(strstr(error.text, "threads"));
    assert_int_equal(knob_set_pair(&values, "colour", &error), -EINVAL);
    assert_int_equal(knob_set_pair(&values, "=red", &error), -EINVAL);
    assert_int_equal(knob_set_pair(&values, "", &error), -EINVAL);
}

/* Rows of a table are data, and data has typing errors too. */
static void load_knobs_are_sound(void **state) {
    (void)state;
    for (size_t i = 0; i < load_knobs.count; i++) {
        const struct knob *knob = &load_knobs.knobs[i];
        char text[KNOB_TEXT_BYTES];
        double back = -1;
        assert_non_null(knob->help);
        assert_int_equal(knob->side, KNOB_CLIENT);
        assert_true(knob->least <= knob->initial && knob->initial <= knob->most);
        knob_format_plain(knob, knob->initial, text);
        assert_int_equal(knob_parse(knob, text, &back, NULL), 0);
        assert_true(back == knob->initial);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_values_with_units),  cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(says_what_would_be_right), cmocka_unit_test(writes_for_people),
        cmocka_unit_test(writes_plainly),           cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(holds_two_tables),         cmocka_unit_test(load_knobs_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
