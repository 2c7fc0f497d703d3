/* test_known_server.c: the server of known times is never early, keeps what it did, and is gone
 * when it has ended. How late it is depends on the machine and is not judged. */
#include "harness/known_server.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loops/clock.h"

enum { BYTES = 64, REQUESTS = 20, AT_ONCE = 4 };

static struct known_server start(const struct known_plan *plan) {
    struct known_server server;
    struct error error = {.text = ""};
    if (known_server_start(plan, &server, &error))
        fail_msg("%s", error.text);
    return server;
}

static int connect_to(const struct known_server *server) {
    int fd = socket(server->address.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&server->address.address, server->address.length), 0);
    return fd;
}

static void ask(int fd) {
    char message[BYTES] = "?";
    assert_int_equal(send(fd, message, sizeof message, MSG_NOSIGNAL), BYTES);
}

static void await_answer(int fd) {
    char message[BYTES];
    assert_int_equal(recv(fd, message, sizeof message, MSG_WAITALL), BYTES);
}

static const struct known_times *end(struct known_server *server, size_t *count) {
    struct error error = {.text = ""};
    pid_t pid = server->pid;
    if (known_server_end(server, &error))
        fail_msg("%s", error.text);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    const struct known_times *times = known_server_times(server, count);
    for (size_t i = 0; i < *count; i++)
        assert_true(times[i].taken_ns <= times[i].left_ns && times[i].left_ns <= times[i].free_ns &&
                    times[i].arrived_ns > 0 && times[i].arrived_ns <= times[i].left_ns);
    return times;
}

/* One after the other; with and without sleeping in between. */
static void delays_are_kept(void **state) {
    (void)state;
    for (int spin = 0; spin < 2; spin++) {
        struct known_server server = start(&(struct known_plan){.kind = KNOWN_DELAY,
                                                                .usual_ns = NS_PER_MS,
                                                                .slow_ns = 5 * NS_PER_MS,
                                                                .slow_every = 4,
                                                                .spin = spin});
        size_t count;
        int fd = connect_to(&server);
        for (int i = 0; i < REQUESTS; i++) {
            uint64_t began_ns = clock_now_ns();
            ask(fd);
            await_answer(fd);
            assert_true(clock_now_ns() - began_ns >= (i % 4 == 0 ? 5 : 1) * NS_PER_MS);
        }
        close(fd);
        const struct known_times *times = end(&server, &count);
        assert_int_equal(count, REQUESTS);
        for (size_t i = 0; i < count; i++)
            assert_true(times[i].left_ns - times[i].taken_ns >= (i % 4 == 0 ? 5 : 1) * NS_PER_MS);
        known_server_free(&server);
    }
}

/* A delay is for each request; a queue takes one after the other. */
static void delays_overlap_and_services_do_not(void **state) {
    (void)state;
    for (int kind = KNOWN_DELAY; kind <= KNOWN_QUEUE; kind++) {
        /* Longer than a machine is busy with something else between two requests. */
        uint64_t usual_ns = (kind == KNOWN_DELAY ? 1000 : 20) * NS_PER_MS;
        struct known_server server =
            start(&(struct known_plan){.kind = kind, .usual_ns = usual_ns});
        int fds[AT_ONCE];
        size_t count;
        for (int i = 0; i < AT_ONCE; i++)
            fds[i] = connect_to(&server);
        for (int i = 0; i < AT_ONCE; i++)
            ask(fds[i]);
        for (int i = 0; i < AT_ONCE; i++) {
            await_answer(fds[i]);
            close(fds[i]);
        }
        const struct known_times *times = end(&server, &count);
        assert_int_equal(count, AT_ONCE);
        for (int i = 1; i < AT_ONCE; i++)
            if (kind == KNOWN_QUEUE)
                assert_true(times[i].taken_ns >= times[i - 1].free_ns);
            else
                assert_true(times[i].taken_ns < times[i - 1].left_ns);
        known_server_free(&server);
    }
}

/* It says when a request came, not when it got round to it: the last of them had to wait for three
 * services, and is granted two of them to come late on a busy machine. The kernel takes a moment to
 * begin with that, so a few requests go before. */
static void arrivals_are_kept(void **state) {
    enum { BEFORE = 10 };
    (void)state;
    uint64_t service_ns = 100 * NS_PER_MS;
    struct known_server server =
        start(&(struct known_plan){.kind = KNOWN_QUEUE, .usual_ns = service_ns});
    int fds[AT_ONCE];
    uint64_t asking_ns[AT_ONCE];
    size_t count;
    for (int i = 0; i < AT_ONCE; i++)
        fds[i] = connect_to(&server);
    for (int i = 0; i < BEFORE; i++) {
        ask(fds[0]);
        await_answer(fds[0]);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        asking_ns[i] = clock_now_ns();
        ask(fds[i]);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        await_answer(fds[i]);
        close(fds[i]);
    }
    const struct known_times *times = end(&server, &count);
    assert_int_equal(count, BEFORE + AT_ONCE);
    times += BEFORE;
    for (int i = 0; i < AT_ONCE; i++)
        assert_true(times[i].arrived_ns + NS_PER_MS / 10 >= asking_ns[i]);
    const struct known_times *last = &times[AT_ONCE - 1];
    assert_true(last->taken_ns >= times[0].taken_ns + (AT_ONCE - 1) * service_ns);
    assert_true(last->arrived_ns + service_ns <= last->taken_ns);
    known_server_free(&server);
}

static void services_are_random_and_take_their_time(void **state) {
    (void)state;
    struct known_server server = start(&(struct known_plan){
        .kind = KNOWN_QUEUE, .usual_ns = NS_PER_MS, .exponential = true, .seed = 1});
    size_t count, above = 0;
    double sum_ns = 0;
    int fd = connect_to(&server);
    for (int i = 0; i < REQUESTS; i++) {
        ask(fd);
        await_answer(fd);
    }
    close(fd);
    const struct known_times *times = end(&server, &count);
    for (size_t i = 0; i < count; i++) {
        sum_ns += (double)(times[i].free_ns - times[i].taken_ns);
        above += times[i].free_ns - times[i].taken_ns > NS_PER_MS;
    }
    assert_true(sum_ns / REQUESTS > 0.5 * NS_PER_MS); /* of 20: less once in 200 seeds */
    assert_true(above > 0);
    known_server_free(&server);
}

static void it_stands_still_once(void **state) {
    (void)state;
    struct known_server server = start(&(struct known_plan){
        .kind = KNOWN_QUEUE, .stall_after_ns = 20 * NS_PER_MS, .stall_ns = 50 * NS_PER_MS});
    size_t count;
    uint64_t from_ns, to_ns;
    int fd = connect_to(&server);
    uint64_t until_ns = clock_now_ns() + 300 * NS_PER_MS;
    do {
        ask(fd);
        await_answer(fd);
        known_server_stalled(&server, &from_ns, &to_ns);
    } while (clock_now_ns() < until_ns || to_ns == 0);
    close(fd);
    const struct known_times *times = end(&server, &count);
    known_server_stalled(&server, &from_ns, &to_ns);
    assert_true(from_ns >= times[0].taken_ns + 20 * NS_PER_MS);
    assert_true(to_ns >= from_ns + 50 * NS_PER_MS);
    for (size_t i = 0; i < count; i++)
        assert_true(times[i].free_ns <= from_ns || times[i].taken_ns >= to_ns);
    known_server_free(&server);
}

static void it_may_end_unasked_and_twice(void **state) {
    (void)state;
    struct known_server server = start(&(struct known_plan){.kind = KNOWN_QUEUE, .spin = true});
    pid_t pid = server.pid;
    known_server_free(&server);
    assert_int_equal(kill(pid, 0), -1);
    known_server_free(&server);
    known_server_free(&(struct known_server){.pid = 0});
}

static void no_such_cpu_is_an_error(void **state) {
    (void)state;
    struct known_plan plan = {.kind = KNOWN_QUEUE};
    struct error error = {.text = ""};
    CPU_SET(CPU_SETSIZE - 1, &plan.cpus);
    struct known_server server = start(&plan);
    assert_int_equal(known_server_end(&server, &error), -EIO);
    assert_non_null(strstr(error.text, "CPUs"));
    known_server_free(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_are_kept),
        cmocka_unit_test(delays_overlap_and_services_do_not),
        cmocka_unit_test(arrivals_are_kept),
        cmocka_unit_test(services_are_random_and_take_their_time),
        cmocka_unit_test(it_stands_still_once),
        cmocka_unit_test(it_may_end_unasked_and_twice),
        cmocka_unit_test(no_such_cpu_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
