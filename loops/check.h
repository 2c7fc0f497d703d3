/* check.h: assertions that stay on in release builds.
 *
 * In a measuring tool a wrong number looks like a right one, so a broken invariant ends the process
 * at once. CHECK is for our own mistakes only; what users, peers or the kernel do wrong is an error
 * value. */
#ifndef LOOPMARK_CHECK_H
#define LOOPMARK_CHECK_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            fprintf(stderr, "%s:%d: %s: check failed: %s\n", __FILE__, __LINE__, __func__,         \
                    #condition);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
