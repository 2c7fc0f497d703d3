/* source.c: see source.h. */
#include "harness/source.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char installed[] = "/share/loopmark";

static char directory[PATH_MAX]; /* written once, by find_once */

static bool is_source(const char *path) {
    char experiments[PATH_MAX + 32];
    snprintf(experiments, sizeof experiments, "%s/harness/experiments", path);
    return access(experiments, R_OK) == 0;
}

/* Takes the last name off a path; false when there is none left. */
static bool go_up(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

static void find_once(void) {
    char above[PATH_MAX - sizeof installed] = "", prefix[sizeof above];
    if (readlink("/proc/self/exe", above, sizeof above - 1) <= 0)
        return;
    go_up(above);
    snprintf(prefix, sizeof prefix, "%s", above);
    go_up(prefix); /* PREFIX/bin/loopmark */
    do {
        snprintf(directory, sizeof directory, "%s%s", above, installed);
        if (is_source(directory))
            return;
        snprintf(directory, sizeof directory, "%s", above);
        if (is_source(directory))
            return;
    } while (go_up(above));
    snprintf(directory, sizeof directory, "%s%s", prefix, installed);
}

const char *source_directory(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *given = getenv("LOOPMARK_SOURCE");
    if (given && *given)
        return given; /* also if there is nothing: what was given is never replaced in silence */
    pthread_once(&once, find_once);
    return directory;
}
