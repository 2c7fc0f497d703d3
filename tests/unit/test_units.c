/* Numbers as people read them, at the borders where a unit or a digit changes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness/units.h"
#include "loops/check.h"

struct example {
    char *(*write)(double value, char text[UNITS_TEXT_BYTES]);
    double value;
    const char *expected;
};

static const struct example examples[] = {
    {units_time, 0, "0 ns"},
    {units_time, 850, "850 ns"},
    {units_time, 999.4, "999 ns"},
    {units_time, 999.6, "1.00 µs"},
    {units_time, 1000, "1.00 µs"},
    {units_time, 12345, "12.3 µs"},
    {units_time, 99960, "100 µs"},
    {units_time, 999600, "1.00 ms"},
    {units_time, 1.2e6, "1.20 ms"},
    {units_time, 9.996e6, "10.0 ms"},
    {units_time, 2e9, "2.00 s"},
    {units_time, 123e9, "123 s"},
    {units_time, -1500, "-1.50 µs"},
    {units_time, INFINITY, "-"},
    {units_time, NAN, "-"},
    {units_rate, 0.5, "0.50/s"},
    {units_rate, 12.34, "12.3/s"},
    {units_rate, 950, "950/s"},
    {units_rate, 45600, "45.6k/s"},
    {units_rate, 1.2e6, "1.20M/s"},
    {units_bytes, 512, "512 B"},
    {units_bytes, 1024, "1 KiB"},
    {units_bytes, 102400, "100 KiB"},
    {units_bytes, 1572864, "1.50 MiB"},
    {units_bytes, 1023.9, "1.00 KiB"},
    {units_count, 0, "0"},
    {units_count, 999, "999"},
    {units_count, 1000, "1,000"},
    {units_count, 1234567, "1,234,567"},
    {units_count, -1234, "-1,234"},
    {units_count, -0.2, "0"},
    {units_change, 1.05, "+5.0 %"},
    {units_change, 0.875, "-12.5 %"},
    {units_change, 0.9999, "+0.0 %"},
    {units_change, 4, "+300.0 %"},
    {units_duration, 0.8e9, "0.8 s"},
    {units_duration, 9.96e9, "10 s"},
    {units_duration, 42e9, "42 s"},
    {units_duration, 59.6e9, "1 min 0 s"},
    {units_duration, 200e9, "3 min 20 s"},
    {units_duration, 3599.7e9, "1 h 0 min"},
    {units_duration, 7500e9, "2 h 5 min"},
    {units_duration, -1, "-"},
};

static void writes_as_people_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        char text[UNITS_TEXT_BYTES];
        assert_ptr_equal(examples[i].write(examples[i].value, text), text);
        assert_string_equal(text, examples[i].expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(writes_as_people_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
