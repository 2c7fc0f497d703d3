/* offload_work.c: see offload_work.h. */
#include "offload_work.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define ZLIB_CONST /* it reads what it is given */
#include <zlib.h>

#include "burn.h"
#include "loops/check.h"
#include "loops/clock.h"

/* ---- the place --------------------------------------------------------------------------------
 */

/* Without a name from the beginning, or, where the file system cannot do that, soon after it. */
static int open_nameless_file(const char *folder) {
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    int length = snprintf(path, sizeof path, "%s/loopmark-offload-XXXXXX", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return -ENAMETOOLONG;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

static int write_blocks(int fd, const uint8_t *block, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes;) {
        size_t offset = (size_t)(at % HTTP_BODY_BLOCK_BYTES), n = HTTP_BODY_BLOCK_BYTES - offset;
        if (n > bytes - at)
            n = (size_t)(bytes - at);
        ssize_t written = write(fd, block + offset, n);
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        at += (uint64_t)written;
    }
    return 0;
}

int offload_place_open(struct offload_place *place, uint64_t file_bytes, struct error *error) {
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder)
        folder = "/tmp";
    http_fill_body_block(place->block);
    place->file_bytes = file_bytes;
    place->file = open_nameless_file(folder);
    int failure =
        place->file < 0 ? place->file : write_blocks(place->file, place->block, file_bytes);
    if (!failure)
        return 0;
    offload_place_close(place);
    return error_set(error, failure, "cannot make a file of %" PRIu64 " bytes in %s: %s",
                     file_bytes, folder, strerror(-failure));
}

void offload_place_close(struct offload_place *place) {
    if (place->file >= 0)
        close(place->file);
    place->file = -1;
}

/* ---- work -------------------------------------------------------------------------------------
 */

static void say_number(char text[OFFLOAD_TEXT_BYTES], uint64_t number) {
    snprintf(text, OFFLOAD_TEXT_BYTES, "%" PRIu64 "\n", number);
}

static void say_crc(char text[OFFLOAD_TEXT_BYTES], uLong crc) {
    snprintf(text, OFFLOAD_TEXT_BYTES, "%08lx\n", crc);
}

static int say_failure(char text[OFFLOAD_TEXT_BYTES], int failure, const char *what,
                       const char *why) {
    snprintf(text, OFFLOAD_TEXT_BYTES, "%s: %s\n", what, why);
    return failure;
}

static int do_sleep(const struct offload_place *place, uint64_t us, char *text) {
    (void)place;
    const struct timespec end = clock_timespec(clock_now_ns() + us * NS_PER_US);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
        ;
    say_number(text, us);
    return 0;
}

static int do_cpu(const struct offload_place *place, uint64_t us, char *text) {
    (void)place;
    burn_cpu(us * NS_PER_US);
    say_number(text, us);
    return 0;
}

static int do_hash(const struct offload_place *place, uint64_t bytes, char *text) {
    uLong crc = crc32(0, NULL, 0);
    for (uint64_t left = bytes; left > 0;) {
        uInt n = (uInt)(left < HTTP_BODY_BLOCK_BYTES ? left : HTTP_BODY_BLOCK_BYTES);
        crc = crc32(crc, place->block, n);
        left -= n;
    }
    say_crc(text, crc);
    return 0;
}

static int deflate_blocks(const struct offload_place *place, uint64_t bytes, z_stream *stream) {
    uint8_t packed[16 * 1024];
    int result = Z_OK;
    for (uint64_t left = bytes; result == Z_OK;) {
        if (stream->avail_in == 0 && left > 0) {
            stream->next_in = place->block;
            stream->avail_in = (uInt)(left < HTTP_BODY_BLOCK_BYTES ? left : HTTP_BODY_BLOCK_BYTES);
            left -= stream->avail_in;
        }
        stream->next_out = packed;
        stream->avail_out = sizeof packed;
        result = deflate(stream, left > 0 ? Z_NO_FLUSH : Z_FINISH);
    }
    return result;
}

static int do_compress(const struct offload_place *place, uint64_t bytes, char *text) {
    z_stream stream = {0};
    int result = deflateInit(&stream, Z_DEFAULT_COMPRESSION);
    if (result != Z_OK)
        return say_failure(text, -ENOMEM, "cannot compress", zError(result));
    result = deflate_blocks(place, bytes, &stream);
    say_number(text, stream.total_out);
    deflateEnd(&stream);
    return result == Z_STREAM_END ? 0 : say_failure(text, -EIO, "cannot compress", zError(result));
}

static int do_file_warm(const struct offload_place *place, uint64_t amount, char *text) {
    uint8_t bytes[16 * 1024];
    uLong crc = crc32(0, NULL, 0);
    ssize_t n;
    (void)amount;
    for (off_t at = 0; (n = pread(place->file, bytes, sizeof bytes, at)) != 0; at += n) {
        if (n < 0)
            return say_failure(text, -errno, "cannot read the file", strerror(errno));
        crc = crc32(crc, bytes, (uInt)n);
    }
    say_crc(text, crc);
    return 0;
}

static int do_file_cold(const struct offload_place *place, uint64_t amount, char *text) {
    if (fdatasync(place->file))
        return say_failure(text, -errno, "cannot write the file", strerror(errno));
    int failure = posix_fadvise(place->file, 0, 0, POSIX_FADV_DONTNEED);
    if (failure)
        return say_failure(text, -failure, "cannot drop the file", strerror(failure));
    return do_file_warm(place, amount, text);
}

static int do_resolve(const struct offload_place *place, uint64_t amount, char *text) {
    const struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    (void)place, (void)amount;
    int failure = getaddrinfo("localhost", NULL, &wanted, &found);
    if (failure)
        return say_failure(text, -EHOSTUNREACH, "localhost", gai_strerror(failure));
    const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)found->ai_addr;
    char words[INET_ADDRSTRLEN];
    CHECK(inet_ntop(AF_INET, &address->sin_addr, words, sizeof words));
    snprintf(text, OFFLOAD_TEXT_BYTES, "%s\n", words);
    freeaddrinfo(found);
    return 0;
}

int offload_do(const struct offload_place *place, const struct offload_work *work,
               char text[OFFLOAD_TEXT_BYTES]) {
    static int (*const kinds[])(const struct offload_place *, uint64_t amount, char *text) = {
        [OFFLOAD_SLEEP] = do_sleep,         [OFFLOAD_CPU] = do_cpu,
        [OFFLOAD_HASH] = do_hash,           [OFFLOAD_COMPRESS] = do_compress,
        [OFFLOAD_FILE_COLD] = do_file_cold, [OFFLOAD_FILE_WARM] = do_file_warm,
        [OFFLOAD_RESOLVE] = do_resolve,
    };
    return kinds[work->kind](place, work->amount, text);
}
