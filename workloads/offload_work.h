/* offload_work.h: work that blocks the thread that does it, of several kinds.
 *
 *   sleep      sleeps for `amount` microseconds, as a slow call of somebody else's does
 *   cpu        uses `amount` microseconds of CPU time (burn.h)
 *   hash       the CRC-32 of `amount` bytes: real bytes, real work. They are those of
 *              http_answer.h's bodies, so that /hash/N is the CRC-32 of what /bytes/N gives
 *   compress   as many bytes through zlib at its default level, and the length of what comes out
 *   file_cold  the CRC-32 of a file that is first dropped from the page cache
 *   file_warm  the same as the file lies
 *   resolve    asks the system for the address of localhost, with getaddrinfo
 *
 * The file is made by offload_place_open, in $TMPDIR or /tmp, and has no name: it is gone with its
 * descriptor. On tmpfs a file is never cold. What has not reached the disk cannot be dropped, so
 * the first cold read writes it first. */
#ifndef LOOPMARK_OFFLOAD_WORK_H
#define LOOPMARK_OFFLOAD_WORK_H

#include <stdint.h>

#include "http_answer.h"
#include "loops/error.h"

enum offload_kind {
    OFFLOAD_SLEEP,
    OFFLOAD_CPU,
    OFFLOAD_HASH,
    OFFLOAD_COMPRESS,
    OFFLOAD_FILE_COLD,
    OFFLOAD_FILE_WARM,
    OFFLOAD_RESOLVE,
};

/* The longest job: nothing can end it before it ends by itself. */
#define OFFLOAD_US_MOST 5000000
#define OFFLOAD_BYTES_MOST (256 << 20)

struct offload_work {
    enum offload_kind kind;
    uint64_t amount; /* microseconds or bytes; of files and resolve: not looked at */
};

/* What all work shares and only reads. */
struct offload_place {
    int file; /* -1: not open */
    uint64_t file_bytes;
    uint8_t block[HTTP_BODY_BLOCK_BYTES];
};

int offload_place_open(struct offload_place *place, uint64_t file_bytes, struct error *error);
/* No effect on one that is not open. */
void offload_place_close(struct offload_place *place);

enum { OFFLOAD_TEXT_BYTES = 128 };

/* On any thread, several at a time; blocks. `text`: a line with the result, or, with a negative
 * errno, with what went wrong. */
int offload_do(const struct offload_place *place, const struct offload_work *work,
               char text[OFFLOAD_TEXT_BYTES]);

#endif
