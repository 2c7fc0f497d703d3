/* test_help_text.c: helps taken apart: kinds of lines, terms, options and what they take. */
#include "harness/help_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loops/check.h"

static const char help[] =
    "usage: loopmark pour [slowly] WATER… [OPTIONS]    into a glass\n"
    "       loopmark pour back GLASS --to BOTTLE [--drop]\n"
    "\n"
    "  WATER…              what is poured: all\n"
    "                      of it\n"
    "  -c, --count N pours (3)\n"
    "  -H, --header 'N: V' may be repeated\n"
    "      --from LIST, --until LIST\n"
    "                      when\n"
    "      --overlong-option K  two blanks\n"
    "  -q, --quiet         says nothing\n"
    "      --bare\n"
    "\n"
    "A paragraph\n"
    "of two lines.\n"
    "\n"
    "examples:\n"
    "  loopmark pour slowly\n"
    "      and more\n"
    "\n"
    "exit codes: 0 ok,\n"
    "            1 spilt";

static void assert_span(struct span span, const char *expected) {
    char text[128];
    snprintf(text, sizeof text, "%.*s", span.length, span.text);
    assert_string_equal(text, expected);
}

static void test_lines(void **state) {
    (void)state;
    static const struct {
        enum help_line_kind kind;
        const char *term, *text;
    } expected[] = {
        {HELP_USAGE, "", "loopmark pour [slowly] WATER… [OPTIONS]"},
        {HELP_USAGE, "", "loopmark pour back GLASS --to BOTTLE [--drop]"},
        {HELP_BLANK, "", ""},
        {HELP_ROW, "WATER…", "what is poured: all"},
        {HELP_MORE, "", "of it"},
        {HELP_ROW, "-c, --count N", "pours (3)"},
        {HELP_ROW, "-H, --header 'N: V'", "may be repeated"},
        {HELP_ROW, "--from LIST, --until LIST", ""},
        {HELP_MORE, "", "when"},
        {HELP_ROW, "--overlong-option K", "two blanks"},
        {HELP_ROW, "-q, --quiet", "says nothing"},
        {HELP_ROW, "--bare", ""},
        {HELP_BLANK, "", ""},
        {HELP_TEXT, "", "A paragraph"},
        {HELP_TEXT, "", "of two lines."},
        {HELP_BLANK, "", ""},
        {HELP_EXAMPLES_HEAD, "", "examples:"},
        {HELP_EXAMPLE, "", "loopmark pour slowly"},
        {HELP_EXAMPLE, "", "and more"},
        {HELP_BLANK, "", ""},
        {HELP_TEXT, "", "exit codes: 0 ok,"},
        {HELP_MORE, "", "1 spilt"},
    };
    const char *rest = help;
    struct help_line line = {.kind = HELP_BLANK};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_true(help_next_line(&rest, &line));
        assert_span(line.text, expected[i].text);
        assert_span(line.term, expected[i].term);
        assert_int_equal(line.kind, expected[i].kind);
    }
    assert_false(help_next_line(&rest, &line));
}

static void test_options(void **state) {
    (void)state;
    static const struct {
        const char *name, *takes; /* takes: null where there is no such option */
    } expected[] = {
        {"-c", "N"},          {"--count", "N"},    {"--header", "'N: V'"},
        {"-H", "'N: V'"},     {"--from", "LIST"},  {"--until", "LIST"},
        {"-q", ""},           {"--quiet", ""},     {"--overlong-option", "K"},
        {"--bare", ""},       {"--to", "BOTTLE"},  {"--drop", ""},
        {"--coun", NULL},     {"--counts", NULL},  {"WATER…", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        struct help_option option;
        struct span name = {expected[i].name, (int)strlen(expected[i].name)};
        bool found = help_find_option(help, name, &option);
        assert_int_equal(found, expected[i].takes != NULL);
        if (found) {
            assert_span(option.name, expected[i].name);
            assert_span(option.takes, expected[i].takes);
        }
    }
}

/* Where a text may break off, nothing beyond it is read: sanitizers see to that. */
static void test_broken_off(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",       "\n",          "usage: ",     "usage: x --", "usage: [--]",  "  -",
        "  --",   "  -c,",       "  -c, ",      "  --a 'b",    "  --a '",      "  --a ,",
        "      ", "usage: --a ", "usage: --a ]", "examples:",  "  two  blanks  ",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        char *copy = strdup(texts[i]); /* on the heap, where its end is watched */
        const char *rest = copy;
        struct help_line line = {.kind = HELP_BLANK};
        struct help_option option;
        help_find_option(copy, (struct span){"--other", 7}, &option);
        while (help_next_line(&rest, &line))
            while (help_next_option(&line.term, &option))
                assert_true(option.name.length > 0 && option.takes.length >= 0);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_broken_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
