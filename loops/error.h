/* error.h: what went wrong, in words, for the caller to pass on.
 *
 * Functions return 0 or a negative errno. Where the number is too little (a file and line, a
 * driver's message) they also fill the caller's struct error. Only main prints it. */
#ifndef LOOPMARK_ERROR_H
#define LOOPMARK_ERROR_H

struct error {
    char text[512]; /* one sentence without a final newline; empty while nothing is wrong */
};

/* Writes the message, cut to fit, and returns `code` (a negative errno), so that a failing function
 * can end with `return error_set(error, -EINVAL, "...")`. `error` may be null. */
int error_set(struct error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
