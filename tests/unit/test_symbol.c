/* test_symbol.c: names of functions: static ones, those of libraries, and of what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loops/symbol.h"

#include <cmocka.h>

static int counted;

static void a_static_function(void) {
    counted++;
}

void a_global_function(void);
void a_global_function(void) {
    counted--;
}

static void test_own_functions(void **state) {
    char text[SYMBOL_TEXT_BYTES];
    (void)state;
    assert_string_equal(symbol_name(a_static_function, text), "a_static_function");
    assert_string_equal(symbol_name(a_global_function, text), "a_global_function");
}

/* Of several names that are its own, any will do. */
static void test_library_function(void **state) {
    char text[SYMBOL_TEXT_BYTES];
    (void)state;
    symbol_name((void (*)(void))strtol, text);
    assert_non_null(strstr(text, "strtol"));
}

/* Not the name of the function around it. */
static void test_no_function(void **state) {
    char text[SYMBOL_TEXT_BYTES], address[SYMBOL_TEXT_BYTES];
    (void)state;
    void (*inside)(void) = (void (*)(void))((uintptr_t)a_static_function + 1);
    snprintf(address, sizeof address, "%p", (void *)(uintptr_t)inside);
    assert_string_equal(symbol_name(inside, text), address);
    symbol_name(NULL, text);
    assert_true(strlen(text) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_functions),
        cmocka_unit_test(test_library_function),
        cmocka_unit_test(test_no_function),
    };
    return cmocka_run_group_tests_name("symbol", tests, NULL, NULL);
}
