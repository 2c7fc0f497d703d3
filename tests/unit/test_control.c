/* test_control.c: a server's counters are those of the question, also when an answer to one before
 * came too late for it. */
#include "harness/control.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "loops/error.h"

enum { PATIENCE_MS = 20000 };

static size_t told_counters(const struct server *server, struct workload_counter *counters) {
    (void)server;
    counters[0] = (struct workload_counter){.name = "rows", .value = 7};
    return 1;
}

/* A server whose loop runs only while it is told to. */
struct served {
    struct loop *loop;
    struct control *control;
    int fd; /* the harness' end */
    pthread_t thread;
};
static const struct workload_server workload = {.counters = told_counters};

static struct served serve(void) {
    struct served served;
    struct error error = {.text = ""};
    int pair[2];
    if (loop_open("epoll", NULL, &served.loop, &error))
        fail_msg("%s", error.text);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(control_start(served.loop, pair[1], &served.control), 0);
    control_set_server(served.control, &workload, (const struct server *)&served);
    served.fd = pair[0];
    return served;
}

static void *run(void *data) {
    struct served *served = data;
    loop_run(served->loop);
    return NULL;
}
static void wake(struct served *served) {
    assert_int_equal(pthread_create(&served->thread, NULL, run, served), 0);
}
static void sleep_again(struct served *served) {
    loop_stop(served->loop);
    assert_int_equal(pthread_join(served->thread, NULL), 0);
}

static void end(struct served *served) {
    close(served->fd);
    control_stop(served->control);
    loop_free(served->loop);
}

static void it_answers(void **state) {
    (void)state;
    struct served served = serve();
    struct loop_counters counters = {.passes = 0};
    struct control_workload workload_counters;
    wake(&served);
    assert_int_equal(control_ask(served.fd, &counters, PATIENCE_MS), 0);
    assert_true(counters.passes > 0);
    assert_int_equal(control_ask_workload(served.fd, &workload_counters, PATIENCE_MS), 0);
    assert_int_equal(workload_counters.count, 1);
    assert_string_equal(workload_counters.counters[0].name, "rows");
    assert_true(workload_counters.counters[0].value == 7);
    sleep_again(&served);
    end(&served);
}

/* Of both kinds; all are answered before the last question. */
static void late_answers_are_passed_over(void **state) {
    (void)state;
    struct served served = serve();
    struct loop_counters counters = {.passes = 0};
    struct control_workload workload_counters;
    assert_int_equal(control_ask_workload(served.fd, &workload_counters, 1), -ETIMEDOUT);
    assert_int_equal(control_ask(served.fd, &counters, 1), -ETIMEDOUT);
    assert_int_equal(counters.passes, 0);
    wake(&served);
    assert_int_equal(control_ask(served.fd, &counters, PATIENCE_MS), 0);
    assert_true(counters.passes > 0);
    uint64_t before = counters.passes;
    sleep_again(&served);
    assert_int_equal(control_ask(served.fd, &counters, 1), -ETIMEDOUT);
    wake(&served);
    assert_int_equal(control_ask_workload(served.fd, &workload_counters, PATIENCE_MS), 0);
    assert_string_equal(workload_counters.counters[0].name, "rows");
    assert_int_equal(control_ask(served.fd, &counters, PATIENCE_MS), 0);
    assert_true(counters.passes > before);
    sleep_again(&served);
    end(&served);
}

static void nobody_is_there(void **state) {
    (void)state;
    struct served served = serve();
    struct loop_counters counters;
    control_stop(served.control);
    assert_int_equal(control_ask(served.fd, &counters, PATIENCE_MS), -EPIPE);
    close(served.fd);
    loop_free(served.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers),
        cmocka_unit_test(late_answers_are_passed_over),
        cmocka_unit_test(nobody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
