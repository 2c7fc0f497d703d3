/* test_null.c: the loop without a kernel delivers what it was told to, and only that. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "workloads/workload.h"

#include <cmocka.h>

enum { STREAMS = 7, BYTES = 300, ROUNDS = 11 };

static struct loop *open_null(uint64_t rounds) {
    struct loop_config config = {
        .null_streams = STREAMS, .null_bytes = BYTES, .null_rounds = rounds};
    struct loop *loop;
    assert_int_equal(loop_open("null", &config, &loop, NULL), 0);
    return loop;
}

static void listen_anywhere(struct loop *loop, const struct stream_handler *handler, void *data) {
    struct endpoint address;
    assert_int_equal(endpoint_parse("127.0.0.1:0", &address, NULL), 0);
    assert_int_equal(loop_listen(loop, &address, 1, handler, data, NULL, NULL, NULL), 0);
}

static void test_echo(void **state) {
    (void)state;
    struct loop *loop = open_null(ROUNDS);
    const struct workload *echo = workload_find("echo", NULL);
    struct knob_values knobs;
    struct endpoint address, bound;
    struct server *server;
    struct error error = {""};
    assert_non_null(echo);
    knob_values_init(&knobs, echo->knobs, (struct knob_table){NULL, 0});
    assert_int_equal(endpoint_parse("127.0.0.1:0", &address, NULL), 0);
    assert_int_equal(echo->server->start(loop, &knobs, &address, &bound, &server, &error), 0);
    const struct loop_counters *counters = loop_counters(loop);
    for (uint64_t run = 1; run <= 2; run++) { /* it stops by itself each time */
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(counters->passes, run * ROUNDS);
        assert_int_equal(counters->events, run * ROUNDS * STREAMS);
        assert_int_equal(counters->received_bytes, run * ROUNDS * STREAMS * BYTES);
        assert_int_equal(counters->sent_bytes, run * ROUNDS * STREAMS * BYTES);
        assert_int_equal(counters->sends_done, run * ROUNDS * STREAMS);
    }
    assert_int_equal(counters->accepted, STREAMS);
    assert_int_equal(counters->sends_later, 0);
    assert_int_equal(counters->copied_bytes, 0);
    assert_int_equal(counters->buffers, 1);
    for (int kind = 0; kind < SYSCALL_KINDS; kind++)
        assert_int_equal(counters->syscalls[kind], 0);
    echo->server->stop(server);
    loop_free(loop);
}

struct seen {
    int opened, data, closed, posts;
    bool in_call;
    struct buffer *held;
    struct stream *first;
    struct timer timer;
    struct post post;
    struct loop *loop;
};

static void note_open(struct stream *stream, int err) {
    struct seen *seen = stream_data(stream);
    assert_int_equal(err, 0);
    assert_false(seen->in_call);
    if (seen->opened++ == 0)
        seen->first = stream;
}

/* The first stream takes one delivery, keeps it, and wants no more. */
static void note_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct seen *seen = stream_data(stream);
    assert_int_equal(n, BYTES);
    assert_true(bytes >= buffer->bytes && bytes + n <= buffer->bytes + buffer->size);
    seen->data++;
    if (stream == seen->first) {
        assert_null(seen->held);
        buffer_hold(buffer);
        seen->held = buffer;
        stream_pause(stream);
    }
}

static void note_close(struct stream *stream, int err) {
    assert_int_equal(err, 0);
    ((struct seen *)stream_data(stream))->closed++;
}

static const struct stream_handler noting = {
    .on_open = note_open, .on_data = note_data, .on_close = note_close};

static void test_pause_hold_and_close(void **state) {
    (void)state;
    struct loop *loop = open_null(ROUNDS);
    struct seen seen = {.in_call = true};
    listen_anywhere(loop, &noting, &seen);
    seen.in_call = false;
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(seen.opened, STREAMS);
    assert_int_equal(seen.data, (STREAMS - 1) * ROUNDS + 1);
    buffer_drop(seen.held);
    stream_close(seen.first);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(seen.data, (STREAMS - 1) * 2 * ROUNDS + 1);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(loop_counters(loop)->buffers, 1);
    loop_free(loop);
    assert_int_equal(seen.closed, STREAMS);
}

static void note_post(struct post *post) {
    struct seen *seen = CONTAINER_OF(post, struct seen, post);
    seen->posts++;
    loop_stop(seen->loop);
}

static void post_in_timer(struct timer *timer) {
    struct seen *seen = CONTAINER_OF(timer, struct seen, timer);
    assert_true(loop_now_ns(seen->loop) >= timer->due_ns);
    loop_post(seen->loop, &seen->post);
}

/* Without rounds only somebody's loop_stop ends it. */
static void test_timers_and_posts(void **state) {
    (void)state;
    struct loop *loop = open_null(0);
    struct seen seen = {
        .timer.on_due = post_in_timer, .post.run = note_post, .loop = loop};
    timer_set(loop, &seen.timer, clock_now_ns() + 2 * NS_PER_MS);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(seen.posts, 1);
    assert_int_equal(loop_counters(loop)->timers_fired, 1);
    loop_free(loop);
}

static void never(struct watch *watch, unsigned events) {
    (void)watch;
    fail_msg("a watch was called with %u", events);
}

static void test_refusals(void **state) {
    (void)state;
    struct loop *loop = open_null(1);
    struct endpoint address;
    struct seen seen = {0};
    struct watch watch = {.fd = 0, .on_ready = never};
    assert_int_equal(endpoint_parse("127.0.0.1:1", &address, NULL), 0);
    assert_int_equal(loop_connect(loop, &address, NULL, &noting, &seen, NULL), -ENOTSUP);
    assert_int_equal(watch_set(loop, &watch, WATCH_READ), -ENOTSUP);
    assert_int_equal(watch_set(loop, &watch, 0), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(seen.opened, 0);
    loop_free(loop);

    struct loop_config config = {.receive_bytes = 100, .null_bytes = 101};
    struct error error = {""};
    assert_int_equal(loop_open("null", &config, &loop, &error), -EINVAL);
    assert_non_null(strstr(error.text, "101"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_pause_hold_and_close),
        cmocka_unit_test(test_timers_and_posts),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
