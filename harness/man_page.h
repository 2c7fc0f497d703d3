/* man_page.h: loopmark(1), made of the helps. */
#ifndef LOOPMARK_MAN_PAGE_H
#define LOOPMARK_MAN_PAGE_H

#include <stdio.h>

#include "harness/help_text.h"

/* Writes it for man(1), in the man macros of groff_man(7) and mandoc, as ASCII. Whether all could
 * be written is in the stream's error flag. */
void man_page_write(const struct manual *manual, FILE *stream);

#endif
