/* test_file.c: a file is there whole or not at all, also when the disk is full. */
#include "harness/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *new_directory(void) {
    char *directory = strdup("/tmp/test_file.XXXXXX");
    assert_non_null(mkdtemp(directory));
    return directory;
}

static size_t entries(const char *directory) {
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    size_t count = 0;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

static void assert_content(const char *path, const char *wanted) {
    char got[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(got, 1, sizeof got - 1, file) < sizeof got);
    fclose(file);
    assert_string_equal(got, wanted);
}

static int print_text(FILE *file, void *text) {
    fputs(text, file);
    return 0;
}

static int print_then_fail(FILE *file, void *text) {
    fputs(text, file);
    return -EINVAL;
}

/* `*data` bytes. Few of them stay in stdio's buffer until fflush, which is then what fails. */
static int print_bytes(FILE *file, void *data) {
    for (size_t i = 0; i < *(size_t *)data; i++)
        putc('x', file);
    return 0;
}

static void remove_all(char *directory) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
    free(directory);
}

static void test_writes_and_replaces(void **state) {
    (void)state;
    char *directory = new_directory(), path[64];
    struct error error = {""};
    snprintf(path, sizeof path, "%s/a.txt", directory);
    assert_int_equal(file_write_whole(path, print_text, "one", &error), 0);
    assert_content(path, "one");
    assert_int_equal(file_write_whole(path, print_text, "two", &error), 0);
    assert_content(path, "two");
    assert_int_equal(entries(directory), 1);
    assert_string_equal(error.text, "");
    struct stat status;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0666 & ~mask);
    remove_all(directory);
}

static void test_failed_writer_keeps_old_file(void **state) {
    (void)state;
    char *directory = new_directory(), path[64];
    struct error error = {""};
    snprintf(path, sizeof path, "%s/a.txt", directory);
    assert_int_equal(file_write_whole(path, print_text, "old", &error), 0);
    assert_int_equal(file_write_whole(path, print_then_fail, "new", &error), -EINVAL);
    assert_content(path, "old");
    assert_int_equal(entries(directory), 1);
    assert_non_null(strstr(error.text, path));
    remove_all(directory);
}

/* A pipe stands for every device: it is written to, not replaced by a file. */
static void test_a_pipe_is_written_to(void **state) {
    (void)state;
    char *directory = new_directory(), path[64], got[16] = "";
    struct error error = {""};
    struct stat status;
    snprintf(path, sizeof path, "%s/pipe", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK);
    assert_int_equal(file_write_whole(path, print_text, "through", &error), 0);
    assert_int_equal(read(fd, got, sizeof got), 7);
    assert_string_equal(got, "through");
    assert_int_equal(stat(path, &status), 0);
    assert_true(S_ISFIFO(status.st_mode));
    assert_int_equal(file_write_whole(path, print_then_fail, "x", &error), -EINVAL);
    assert_non_null(strstr(error.text, path));
    close(fd);
    remove_all(directory);
}

static void test_unwritable_places(void **state) {
    (void)state;
    struct error error = {""};
    assert_int_equal(file_write_whole("/nonexistent/a.txt", print_text, "x", &error), -ENOENT);
    assert_non_null(strstr(error.text, "/nonexistent/a.txt"));
    char *directory = new_directory();
    assert_int_equal(file_write_whole(directory, print_text, "x", &error), -EISDIR);
    assert_non_null(strstr(error.text, "rename"));
    remove_all(directory);
}

/* In a child, so that its limits and mounts are its own. Exits with what `attempt` returns. */
static int in_child(int (*attempt)(const char *directory), const char *directory) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(attempt(directory));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

enum { KEPT_WHOLE = 0, CANNOT_MOUNT = 77 };

/* 0 if a write that cannot fit fails with `wanted`, says so and leaves nothing but the old file. */
static int write_too_much(const char *directory, size_t bytes, int wanted) {
    char path[128];
    struct error error = {""};
    snprintf(path, sizeof path, "%s/a.txt", directory);
    if (file_write_whole(path, print_text, "old", &error) != 0)
        return 1;
    if (file_write_whole(path, print_bytes, &bytes, &error) != wanted)
        return 2;
    if (strstr(error.text, strerror(-wanted)) == NULL)
        return 3;
    return entries(directory) == 1 ? KEPT_WHOLE : 4;
}

static int past_size_limit(const char *directory) {
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 5;
    int failed = write_too_much(directory, 200, -EFBIG);
    return failed ? failed : write_too_much(directory, 100000, -EFBIG);
}

static void test_error_seen_only_by_flush(void **state) {
    (void)state;
    char *directory = new_directory();
    assert_int_equal(in_child(past_size_limit, directory), KEPT_WHOLE);
    remove_all(directory);
}

static int write_setting(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));
    close(fd);
    return written == (ssize_t)strlen(text) ? 0 : -1;
}

/* A mount namespace: root's own right, anyone else's only as root of a new user namespace. */
static int own_mounts(void) {
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %d 1", (int)getuid());
    snprintf(groups, sizeof groups, "0 %d 1", (int)getgid());
    if (unshare(CLONE_NEWNS) == 0)
        return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || write_setting("/proc/self/uid_map", users) ||
        write_setting("/proc/self/setgroups", "deny"))
        return -1;
    return write_setting("/proc/self/gid_map", groups);
}

static int on_full_disk(const char *directory) {
    if (own_mounts() != 0 || mount("tmpfs", directory, "tmpfs", 0, "size=8k") != 0)
        return CANNOT_MOUNT;
    int failed = write_too_much(directory, 9000, -ENOSPC);
    return failed ? failed : write_too_much(directory, 100000, -ENOSPC);
}

static void test_full_disk(void **state) {
    (void)state;
    char *directory = new_directory();
    int result = in_child(on_full_disk, directory);
    remove_all(directory);
    if (result == CANNOT_MOUNT) {
        print_message("skipped: no user namespace with a tmpfs here\n");
        skip();
    }
    assert_int_equal(result, KEPT_WHOLE);
}

static void test_directories(void **state) {
    (void)state;
    char *directory = new_directory(), path[128];
    struct error error = {""};
    snprintf(path, sizeof path, "%s/a/b/c", directory);
    assert_int_equal(file_make_directories(path, &error), 0);
    assert_int_equal(entries(path), 0);
    assert_int_equal(file_make_directories(path, &error), 0);
    snprintf(path, sizeof path, "%s/a//d/", directory);
    assert_int_equal(file_make_directories(path, &error), 0);
    assert_int_equal(entries(path), 0);
    snprintf(path, sizeof path, "%s/f", directory);
    assert_int_equal(file_write_whole(path, print_text, "x", &error), 0);
    snprintf(path, sizeof path, "%s/f/b", directory);
    assert_int_equal(file_make_directories(path, &error), -ENOTDIR);
    assert_non_null(strstr(error.text, "/f"));
    remove_all(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_and_replaces),
        cmocka_unit_test(test_failed_writer_keeps_old_file),
        cmocka_unit_test(test_a_pipe_is_written_to),
        cmocka_unit_test(test_unwritable_places),
        cmocka_unit_test(test_error_seen_only_by_flush),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
