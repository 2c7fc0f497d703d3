/* gnuplot.c: see gnuplot.h. */
#include "harness/gnuplot.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/source.h"

enum { EXEC_FAILED = 127, CAPTION_PX_A_CHARACTER = 6, CAPTION_MARGIN_PX = 60 };

int gnuplot_open(struct gnuplot *gnuplot, struct error *error) {
    char style[PATH_MAX + 16];
    *gnuplot = (struct gnuplot){.text = ""};
    snprintf(gnuplot->source, sizeof gnuplot->source, "%.4000s/plots", source_directory());
    snprintf(style, sizeof style, "%s/style.gp", gnuplot->source);
    if (access(style, R_OK) != 0)
        return error_set(error, -ENOENT, "no style.gp in %s: set LOOPMARK_SOURCE to the checkout",
                         gnuplot->source);
    gnuplot_set_text(gnuplot, "source", gnuplot->source);
    return 0;
}

/* ---- variables ------------------------------------------------------------------------------- */

/* In gnuplot's single quotes nothing is special but the quote, which is doubled: no backquote, no
 * backslash and no dollar of a server's name is ever looked at. */
void gnuplot_set_text(struct gnuplot *gnuplot, const char *variable, const char *value) {
    char *text = gnuplot->text;
    size_t size = sizeof gnuplot->text, used = strlen(text);
    snprintf(text + used, size - used, "%s='", variable);
    used = strlen(text);
    for (; *value && used + 4 < size; value++) {
        if (*value == '\'')
            text[used++] = '\'';
        text[used++] = *value == '\n' ? ' ' : *value;
    }
    snprintf(text + used, size - used, "';");
}

void gnuplot_set_number(struct gnuplot *gnuplot, const char *variable, double value) {
    size_t used = strlen(gnuplot->text);
    snprintf(gnuplot->text + used, sizeof gnuplot->text - used, "%s=%.10g;", variable, value);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static int run(const struct gnuplot *gnuplot, const char *script, struct error *error) {
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return error_set(error, -errno, "fork: %s", strerror(errno));
    if (pid == 0) {
        /* Figures nobody waits for any more need no drawing. The parent may be gone already. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            execlp("gnuplot", "gnuplot", "--default-settings", "-e", gnuplot->text, script, NULL);
        _exit(EXEC_FAILED);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(error, -errno, "waitpid: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXEC_FAILED)
        return error_set(error, -ENOENT,
                         "no figures: gnuplot is not installed (package gnuplot-nox)");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(error, -EIO, "gnuplot failed on %s (its message is above)", script);
    return 0;
}

int gnuplot_draw(const struct gnuplot *gnuplot, const char *name, const char *format,
                 const char *output, struct error *error) {
    struct gnuplot told = *gnuplot;
    char temporary[PATH_MAX], script[PATH_MAX + 64];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", output) >= sizeof temporary)
        return error_set(error, -ENAMETOOLONG, "%s: %s", output, strerror(ENAMETOOLONG));
    snprintf(script, sizeof script, "%s/%s.gp", gnuplot->source, name);
    gnuplot_set_text(&told, "format", format);
    gnuplot_set_text(&told, "output", temporary);
    int err = run(&told, script, error);
    if (err == 0 && rename(temporary, output) != 0)
        err = error_set(error, -errno, "%s: %s", output, strerror(errno));
    if (err < 0)
        unlink(temporary);
    return err;
}

void gnuplot_wrap_caption(char *caption, double width_px) {
    size_t column = 0, columns = (size_t)(width_px - CAPTION_MARGIN_PX) / CAPTION_PX_A_CHARACTER;
    char *blank = NULL;
    for (char *c = caption; *c; c++) {
        column += (*c & 0xC0) != 0x80; /* UTF-8: a continuation byte takes no column */
        if (*c == '|')
            column = 0, blank = NULL;
        if (*c == ' ')
            blank = c;
        if (column > columns && blank) {
            *blank = '|';
            c = blank;
            column = 0, blank = NULL;
        }
    }
}
