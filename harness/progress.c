/* progress.c: see progress.h. */
#include "harness/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loops/clock.h"

#define LOG_EVERY_NS (10 * NS_PER_S)

static const char clear_line[] = "\r\033[K";

void progress_begin(struct progress *progress, bool quiet) {
    const char *terminal = getenv("TERM");
    *progress = (struct progress){
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0,
        .written_ns = clock_now_ns(),
    };
}

static void write_line(const struct progress *progress, const char *format, va_list arguments,
                       bool stays) {
    if (progress->terminal)
        fputs(clear_line, stderr);
    vfprintf(stderr, format, arguments);
    if (stays)
        fputc('\n', stderr);
    fflush(stderr);
}

void progress_status(struct progress *progress, const char *format, ...) {
    va_list arguments;
    uint64_t now_ns = clock_now_ns();
    if (progress->quiet || (!progress->terminal && now_ns - progress->written_ns < LOG_EVERY_NS))
        return;
    progress->written_ns = now_ns;
    va_start(arguments, format);
    write_line(progress, format, arguments, !progress->terminal);
    va_end(arguments);
}

void progress_note(struct progress *progress, const char *format, ...) {
    va_list arguments;
    if (progress->quiet)
        return;
    va_start(arguments, format);
    write_line(progress, format, arguments, true);
    va_end(arguments);
}

void progress_end(struct progress *progress) {
    if (!progress->quiet && progress->terminal) {
        fputs(clear_line, stderr);
        fflush(stderr);
    }
}

bool progress_colour(int fd) {
    const char *no_colour = getenv("NO_COLOR");
    return isatty(fd) && (!no_colour || !*no_colour);
}
