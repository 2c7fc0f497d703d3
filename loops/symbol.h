/* symbol.h: the name of a function of this program from its address, static ones too.
 *
 * From the symbol table of /proc/self/exe (elf(5)), which is there unless the program was stripped:
 * dladdr(3), which knows exported functions alone, is asked for those of libraries. Reads the whole
 * table each time: for reports of what is rare. Any thread. */
#ifndef LOOPMARK_SYMBOL_H
#define LOOPMARK_SYMBOL_H

#define SYMBOL_TEXT_BYTES 96

/* Its name, cut to fit, or its address when it has none. Returns `text`. */
char *symbol_name(void (*function)(void), char text[SYMBOL_TEXT_BYTES]);

#endif
