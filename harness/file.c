/* file.c: see file.h. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first failure is the one worth telling: what comes after it is mostly its consequence. */
static int fill(FILE *file, int (*write)(FILE *, void *), void *data, const char **step) {
    *step = "write";
    int err = write(file, data);
    if (err < 0)
        return err;
    if (ferror(file))
        return errno ? -errno : -EIO;
    if (fflush(file) != 0)
        return -errno;
    *step = "fsync";
    return fsync(fileno(file)) != 0 ? -errno : 0;
}

/* Makes the rename itself survive a crash. Some file systems cannot; the content is safe by then.
 */
static void sync_directory_of(const char *path) {
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

/* A device or a pipe (/dev/stdout, /dev/full) is written to: there is nothing whole to keep, and
 * rename would put a file in its place. */
static int write_through(const char *path, int (*write)(FILE *, void *), void *data,
                         struct error *error) {
    FILE *file = fopen(path, "we");
    if (!file)
        return error_set(error, -errno, "%s: cannot open: %s", path, strerror(errno));
    errno = 0;
    int err = write(file, data);
    if (err == 0 && (ferror(file) || fflush(file)))
        err = errno ? -errno : -EIO;
    if (fclose(file) != 0 && err == 0)
        err = -errno;
    return err < 0 ? error_set(error, err, "%s: write failed: %s", path, strerror(-err)) : 0;
}

/* A file that was there keeps its permissions. */
static void keep_mode(int fd, const char *path) {
    struct stat existing;
    if (stat(path, &existing) == 0)
        (void)!fchmod(fd, existing.st_mode & 07777);
}

static int write_beside(const char *path, const char *temporary, int (*write)(FILE *, void *),
                        void *data, struct error *error) {
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(error, -errno, "%s: cannot create: %s", temporary, strerror(errno));
    keep_mode(fd, path);
    FILE *file = fdopen(fd, "w");
    const char *step = "fdopen";
    int err = file ? 0 : -errno;
    if (file) {
        errno = 0;
        err = fill(file, write, data, &step);
        if (fclose(file) != 0 && err == 0) {
            step = "close";
            err = -errno;
        }
    } else {
        close(fd);
    }
    if (err == 0 && rename(temporary, path) != 0) {
        step = "rename";
        err = -errno;
    }
    if (err < 0) {
        unlink(temporary);
        return error_set(error, err, "%s: %s failed: %s", path, step, strerror(-err));
    }
    sync_directory_of(path);
    return 0;
}

int file_write_whole(const char *path, int (*write)(FILE *, void *), void *data,
                     struct error *error) {
    char temporary[PATH_MAX], behind_link[PATH_MAX];
    struct stat existing;
    if (stat(path, &existing) == 0 && !S_ISREG(existing.st_mode) && !S_ISDIR(existing.st_mode))
        return write_through(path, write, data, error);
    if (lstat(path, &existing) == 0 && S_ISLNK(existing.st_mode) && realpath(path, behind_link))
        path = behind_link; /* the link stays, what it leads to is replaced */
    int length = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof temporary)
        return error_set(error, -ENAMETOOLONG, "%.200s…: name too long", path);
    return write_beside(path, temporary, write, data, error);
}

static int make_directory(const char *path, struct error *error) {
    if (mkdir(path, 0777) == 0)
        return 0;
    int err = -errno;
    struct stat existing;
    if (err == -EEXIST && stat(path, &existing) == 0)
        err = S_ISDIR(existing.st_mode) ? 0 : -ENOTDIR;
    return err == 0 ? 0
                    : error_set(error, err, "%s: cannot make directory: %s", path, strerror(-err));
}

int file_make_directories(const char *path, struct error *error) {
    char partial[PATH_MAX];
    if (snprintf(partial, sizeof partial, "%s", path) >= (int)sizeof partial)
        return error_set(error, -ENAMETOOLONG, "%.200s…: name too long", path);
    for (char *slash = strchr(partial + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int err = make_directory(partial, error);
        *slash = '/';
        if (err < 0)
            return err;
    }
    return make_directory(partial, error);
}
