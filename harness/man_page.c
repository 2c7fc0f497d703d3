/* man_page.c: see man_page.h. */
#include "harness/man_page.h"

#include <string.h>

#include "harness/build_info.h"
#include "loops/check.h"

/* ---- what no help says ----------------------------------------------------------------------- */

static const char description[] =
    ".SH DESCRIPTION\n"
    ".B loopmark\n"
    "runs the same workload on interchangeable event loops, or on any other server, and says with\n"
    "an interval whether a claim about them holds on this machine, or that it cannot tell.\n"
    "It also loads any HTTP or echo server, in a closed or an open loop, and reads, compares and\n"
    "converts HdrHistogram files.\n"
    ".PP\n"
    "Server and generator are processes of their own, on CPUs of their own.\n"
    "Latency counts from when a request was due.\n"
    "Every result says whether it is valid, and why it is not.\n"
    "Results go to standard output, progress to standard error.\n";

static const char files[] =
    ".SH FILES\n"
    ".TP\n"
    ".I results/\n"
    "in the current folder: where\n"
    ".B loopmark run\n"
    "writes, unless it is told another place with\n"
    ".BR \\-\\-out ;\n"
    ".I results/latest\n"
    "is the newest run.\n"
    ".TP\n"
    ".I PREFIX/share/loopmark/\n"
    "experiments, figures and servers in Python, laid out as in a checkout.\n"
    "Found from where the program lies, in\n"
    ".IR PREFIX/bin .\n"
    "Its\n"
    ".I results/README.md\n"
    "has the keys of records and of\n"
    ".BR \\-\\-json .\n"
    ".TP\n"
    ".I PREFIX/libexec/loopmark/\n"
    "servers written by hand, for comparison.\n"
    ".SH ENVIRONMENT\n"
    ".TP\n"
    ".B LOOPMARK_SOURCE\n"
    "A checkout, or a folder like\n"
    ".IR PREFIX/share/loopmark ,\n"
    "to use instead of the program's own.\n"
    ".TP\n"
    ".B NO_COLOR\n"
    "If it is not empty, nothing is coloured.\n";

static const char see_also[] = ".SH SEE ALSO\n"
                               ".BR gnuplot (1),\n"
                               ".BR strace (1),\n"
                               ".BR epoll (7),\n"
                               ".BR io_uring (7)\n"
                               ".PP\n"
                               "https://hdrhistogram.org, https://libuv.org\n";

/* ---- text as roff ---------------------------------------------------------------------------- */

/* What roff would take for its own, or set as another letter than the one on the keyboard. */
static const char *escape_of(char c) {
    static const struct {
        char letter;
        const char *escape;
    } escapes[] = {{'\\', "\\e"},  {'-', "\\-"},   {'\'', "\\(aq"}, {'`', "\\(ga"},
                   {'^', "\\(ha"}, {'~', "\\(ti"}, {'"', "\\(dq"}};
    for (size_t i = 0; i < ARRAY_LENGTH(escapes); i++)
        if (escapes[i].letter == c)
            return escapes[i].escape;
    return NULL;
}

/* Writes one character of UTF-8 (RFC 3629, section 3) as \[uXXXX], and returns its bytes. */
static int write_beyond_ascii(const unsigned char *text, int length, FILE *stream) {
    int bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    unsigned code = text[0] & (0xffU >> (bytes + 1));
    CHECK(bytes <= length);
    for (int i = 1; i < bytes; i++)
        code = code << 6 | (text[i] & 0x3f);
    fprintf(stream, "\\[u%04X]", code);
    return bytes;
}

/* Not at the start of a line: a dot there needs write_line. */
static void write_text(struct span span, FILE *stream) {
    for (int i = 0; i < span.length; i++) {
        const char *escape = escape_of(span.text[i]);
        if ((unsigned char)span.text[i] >= 0x80)
            i += write_beyond_ascii((const unsigned char *)span.text + i, span.length - i, stream) -
                 1;
        else if (escape)
            fputs(escape, stream);
        else
            fputc(span.text[i], stream);
    }
}

static void write_line(struct span span, FILE *stream) {
    if (span.length > 0 && *span.text == '.')
        fputs("\\&", stream);
    write_text(span, stream);
    fputc('\n', stream);
}

static void write_font(const char *font, struct span span, FILE *stream) {
    fprintf(stream, "\\f%s", font);
    write_text(span, stream);
    fputs("\\fR", stream);
}

static struct span span_of(const char *text) {
    return (struct span){text, (int)strlen(text)};
}

/* ---- a help ---------------------------------------------------------------------------------- */

/* Options are bold, and what stands for something else is italic. */
static void write_term(struct span term, FILE *stream) {
    struct help_option option;
    const char *between = "";
    if (term.length == 0 || *term.text != '-') {
        write_font("I", term, stream);
        fputc('\n', stream);
        return;
    }
    while (help_next_option(&term, &option)) {
        fputs(between, stream);
        between = ", ";
        write_font("B", option.name, stream);
        if (option.takes.length > 0) {
            fputc(' ', stream);
            write_font("I", option.takes, stream);
        }
    }
    fputc('\n', stream);
}

static void begin_line(enum help_line_kind before, const struct help_line *line, FILE *stream) {
    if (line->kind == HELP_USAGE)
        fputs(before == HELP_USAGE ? ".br\n" : ".PP\n", stream);
    if (line->kind == HELP_TEXT && before != HELP_TEXT)
        fputs(".PP\n", stream);
    if (line->kind == HELP_ROW) {
        fputs(".TP\n", stream);
        write_term(line->term, stream);
    }
}

/* All but the examples. */
static void write_help(const char *help, FILE *stream) {
    struct help_line line = {.kind = HELP_BLANK};
    for (enum help_line_kind before = line.kind; help_next_line(&help, &line); before = line.kind) {
        if (line.kind == HELP_EXAMPLES_HEAD || line.kind == HELP_EXAMPLE)
            continue;
        begin_line(before, &line, stream);
        if (line.text.length > 0)
            write_line(line.text, stream);
    }
}

static void write_examples(const char *help, FILE *stream) {
    struct help_line line = {.kind = HELP_BLANK};
    fputs(".nf\n", stream);
    while (help_next_line(&help, &line))
        if (line.kind == HELP_EXAMPLE)
            write_line(line.text, stream);
    fputs(".fi\n", stream);
}

/* The exit codes of all commands: a text in the program's help that begins so. */
static void write_exit_codes(const char *help, FILE *stream) {
    static const char begin[] = "exit codes: ";
    struct help_line line = {.kind = HELP_BLANK};
    bool inside = false;
    while (help_next_line(&help, &line)) {
        bool begins = strncmp(line.text.text, begin, sizeof begin - 1) == 0;
        inside = begins || (inside && line.kind == HELP_MORE);
        if (begins)
            line.text = (struct span){line.text.text + sizeof begin - 1,
                                      line.text.length - (int)sizeof begin + 1};
        if (inside)
            write_line(line.text, stream);
    }
}

/* ---- the page -------------------------------------------------------------------------------- */

static void write_name(const char *head, FILE *stream) {
    struct span name = {head, (int)strcspn(head, ":")};
    const char *does = head + name.length + strspn(head + name.length, ": ");
    fputs(".SH NAME\n", stream);
    write_text(name, stream);
    fputs(" \\- ", stream);
    write_text((struct span){does, (int)strcspn(does, "\n")}, stream);
    fputs("\n.SH SYNOPSIS\n"
          ".B loopmark\n.I COMMAND\n.RI [ OPTIONS ]\n.br\n"
          ".B loopmark\n.RI [ COMMAND ]\n.B \\-\\-help\n.br\n"
          ".B loopmark \\-\\-version\n",
          stream);
}

void man_page_write(const struct manual *manual, FILE *stream) {
    fprintf(stream, ".\\\" Made of the helps by `loopmark --man-page`.\n"
                    ".TH LOOPMARK 1 \"\" \"loopmark " LOOPMARK_REVISION "\" \"User Commands\"\n"
                    ".nh\n.ad l\n");
    write_name(manual->head, stream);
    fputs(description, stream);
    fputs(".SH COMMANDS\n", stream);
    for (size_t i = 0; i < manual->command_count; i++) {
        const struct command *command = manual->commands[i];
        fprintf(stream, ".SS %s\n", command->name);
        write_line(span_of(command->summary), stream);
        write_help(command->help, stream);
    }
    fputs(".SH EXIT STATUS\n", stream);
    write_exit_codes(manual->tail, stream);
    fputs(files, stream);
    fputs(".SH EXAMPLES\n", stream);
    write_examples(manual->tail, stream);
    for (size_t i = 0; i < manual->command_count; i++) {
        fputs(".PP\n", stream);
        write_examples(manual->commands[i]->help, stream);
    }
    fputs(see_also, stream);
}
