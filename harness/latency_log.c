/* latency_log.c: see latency_log.h. */
#include "harness/latency_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness/histogram_log.h"
#include "loops/clock.h"

struct latency_log latency_log_begin(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct latency_log){.since_epoch_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9,
                                .begun_ns = clock_now_ns()};
}

int latency_log_write_head(const struct latency_log *log, FILE *stream) {
    return histogram_log_begin(stream, log->since_epoch_s, "ns", "latencies measured by loopmark");
}

void latency_log_interval(void *data, const struct latency_interval *interval) {
    struct latency_log *log = data;
    double start_s = (double)(interval->began_ns - log->begun_ns) / 1e9;
    double length_s = (double)(interval->ended_ns - interval->began_ns) / 1e9;
    int failure =
        histogram_log_write(log->stream, log->tag, start_s, length_s, &interval->latency, 1e6);
    if (!log->failure)
        log->failure = failure;
}

/* Appends as a whole or not at all: a file cut off in the middle of a line would spoil what is
 * appended later. */
static int append(int fd, const struct latency_log *log, const char *lines) {
    off_t before = lseek(fd, 0, SEEK_END);
    FILE *file = before < 0 ? NULL : fdopen(dup(fd), "w");
    if (!file)
        return -errno;
    int failure = before == 0 ? latency_log_write_head(log, file) : 0;
    errno = 0;
    if (!failure && (fputs(lines, file) == EOF || fflush(file)))
        failure = errno ? -errno : -EIO;
    if (fclose(file) && !failure)
        failure = -errno;
    if (failure && ftruncate(fd, before))
        return failure; /* it could not be undone: readers pass over a last line that is cut off */
    return failure;
}

int latency_log_append(const struct latency_log *log, const char *path, const char *lines,
                       struct error *error) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(error, -errno, "%s: cannot open: %s", path, strerror(errno));
    int failure = append(fd, log, lines);
    if (close(fd) && !failure)
        failure = -errno;
    return failure ? error_set(error, failure, "%s: cannot write: %s", path, strerror(-failure))
                   : 0;
}
