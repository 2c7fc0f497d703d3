/* gnuplot.h: draws a figure by one of the scripts in plots/.
 *
 * What a figure looks like stands in plots/NAME.gp, over plots/style.gp; what it is told are
 * variables, collected here as gnuplot's own assignments. gnuplot's messages go to stderr. */
#ifndef LOOPMARK_GNUPLOT_H
#define LOOPMARK_GNUPLOT_H

#include <limits.h>
#include <stddef.h>

#include "loops/error.h"

struct gnuplot {
    char source[PATH_MAX]; /* where the scripts are */
    char text[16 * 1024];  /* the assignments */
};

/* Finds plots/ in source_directory() and gives the scripts their variable `source`. -ENOENT: there
 * is no style.gp. */
int gnuplot_open(struct gnuplot *gnuplot, struct error *error);

/* Whatever the text is, gnuplot takes no letter of it for its own language. */
void gnuplot_set_text(struct gnuplot *gnuplot, const char *variable, const char *value);
void gnuplot_set_number(struct gnuplot *gnuplot, const char *variable, double value);

/* Draws NAME.gp as `output`, which appears when it is whole. `format` is "png" or "svg". -ENOENT:
 * gnuplot is not installed (`error` names the package); -EIO: it failed. */
int gnuplot_draw(const struct gnuplot *gnuplot, const char *name, const char *format,
                 const char *output, struct error *error);

/* Breaks the caption at blanks with '|' so that its lines fit a figure of this width; style.gp
 * makes new lines of them. */
void gnuplot_wrap_caption(char *caption, double width_px);

#endif
