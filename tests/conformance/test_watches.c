/* test_watches.c: readiness of descriptors that are not the loop's. */
#include "conformance.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>

struct seen {
    struct watch watch;
    struct fixture *fixture;
    struct seen *other;
    int calls;
    unsigned events; /* of the last call */
    int end;         /* the other end, where there is one */
};

static void note(struct watch *watch, unsigned events) {
    struct seen *seen = CONTAINER_OF(watch, struct seen, watch);
    assert_false(seen->fixture->in_call);
    assert_int_not_equal(events, 0);
    assert_int_equal(events & ~watch->events, 0);
    seen->calls++;
    seen->events = events;
}

static int ask(struct seen *seen, unsigned events) {
    int result;
    IN_CALL(seen->fixture, result = watch_set(seen->fixture->loop, &seen->watch, events));
    return result;
}

static void write_byte(int fd) {
    assert_int_equal(write(fd, "x", 1), 1);
}

static void read_byte(int fd) {
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
}

static struct seen reading_pipe(struct fixture *fixture) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    return (struct seen){
        .watch = {.fd = ends[0], .on_ready = note}, .fixture = fixture, .end = ends[1]};
}

static void close_both(struct seen *seen) {
    close(seen->watch.fd);
    close(seen->end);
}

static void test_undrained(struct fixture *fixture) {
    struct seen seen = reading_pipe(fixture);
    assert_int_equal(ask(&seen, WATCH_READ), 0);
    settle(fixture);
    assert_int_equal(seen.calls, 0);
    write_byte(seen.end);
    for (int calls = 1; calls <= 5; calls++) {
        RUN_UNTIL(fixture, seen.calls >= calls);
        assert_int_equal(seen.calls, calls); /* once a pass */
        assert_int_equal(seen.events, WATCH_READ);
    }
    read_byte(seen.watch.fd);
    settle(fixture);
    assert_int_equal(seen.calls, 5);
    write_byte(seen.end); /* ended while it is ready */
    assert_int_equal(ask(&seen, 0), 0);
    assert_int_equal(ask(&seen, 0), 0);
    settle(fixture);
    assert_int_equal(seen.calls, 5);
    assert_int_equal(ask(&seen, WATCH_READ), 0); /* and taken up again */
    RUN_UNTIL(fixture, seen.calls == 6);
    assert_int_equal(ask(&seen, 0), 0);
    close_both(&seen);
}

static void test_mask(struct fixture *fixture) {
    int fd = eventfd(1, EFD_NONBLOCK);
    struct seen seen = {.watch = {.fd = fd, .on_ready = note}, .fixture = fixture};
    static const unsigned masks[] = {WATCH_READ | WATCH_WRITE, WATCH_READ, WATCH_WRITE,
                                     WATCH_READ | WATCH_WRITE, WATCH_WRITE, WATCH_READ};
    for (size_t i = 0; i < ARRAY_LENGTH(masks); i++) {
        assert_int_equal(ask(&seen, masks[i]), 0);
        int calls = seen.calls;
        RUN_UNTIL(fixture, seen.calls > calls);
        assert_int_equal(seen.events, masks[i]);
    }
    uint64_t count;
    assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    settle(fixture);
    int calls = seen.calls;
    settle(fixture);
    assert_int_equal(seen.calls, calls); /* writable only, and only reading is asked for */
    assert_int_equal(ask(&seen, WATCH_READ | WATCH_WRITE), 0);
    RUN_UNTIL(fixture, seen.calls > calls);
    assert_int_equal(seen.events, WATCH_WRITE);
    assert_int_equal(ask(&seen, 0), 0);
    close(fd);
}

static void test_hang_up(struct fixture *fixture) {
    struct seen reader = reading_pipe(fixture);
    assert_int_equal(ask(&reader, WATCH_READ), 0);
    settle(fixture);
    close(reader.end);
    RUN_UNTIL(fixture, reader.calls >= 3);
    assert_int_equal(ask(&reader, 0), 0);
    close(reader.watch.fd);

    /* A full pipe whose reader goes away. */
    struct seen writer = reading_pipe(fixture);
    int reading = writer.watch.fd;
    writer.watch.fd = writer.end;
    char bytes[4096] = "";
    while (write(writer.watch.fd, bytes, sizeof bytes) > 0)
        ;
    assert_int_equal(ask(&writer, WATCH_WRITE), 0);
    settle(fixture);
    assert_int_equal(writer.calls, 0);
    close(reading);
    RUN_UNTIL(fixture, writer.calls >= 3);
    assert_int_equal(ask(&writer, 0), 0);
    close(writer.watch.fd);
}

/* Both are ready in the same pass; whichever is first ends the other. */
static void end_the_other(struct watch *watch, unsigned events) {
    struct seen *seen = CONTAINER_OF(watch, struct seen, watch);
    note(watch, events);
    assert_int_equal(ask(seen->other, 0), 0);
    assert_int_equal(ask(seen, 0), 0);
}

static void test_end_in_other_callback(struct fixture *fixture) {
    struct seen seen[2] = {reading_pipe(fixture), reading_pipe(fixture)};
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 2; i++) {
            struct seen *one = &seen[round % 2 ? 1 - i : i];
            one->watch.on_ready = end_the_other;
            one->other = &seen[one == seen];
            one->calls = 0;
            assert_int_equal(ask(one, WATCH_READ), 0);
        }
        for (int i = 0; i < 2; i++)
            write_byte(seen[i].end);
        RUN_UNTIL(fixture, seen[0].calls + seen[1].calls > 0);
        settle(fixture);
        assert_int_equal(seen[0].calls + seen[1].calls, 1);
        for (int i = 0; i < 2; i++)
            read_byte(seen[i].watch.fd);
    }
    for (int i = 0; i < 2; i++)
        close_both(&seen[i]);
}

/* The other's number goes to a new descriptor, watched anew, in the same pass: it is not ready. */
static void replace_the_other(struct watch *watch, unsigned events) {
    struct seen *seen = CONTAINER_OF(watch, struct seen, watch), *other = seen->other;
    note(watch, events);
    int number = other->watch.fd;
    assert_int_equal(ask(seen, 0), 0);
    assert_int_equal(ask(other, 0), 0);
    close_both(other);
    struct seen fresh = reading_pipe(seen->fixture);
    assert_true(fresh.watch.fd == number || fresh.end == number);
    other->watch = (struct watch){.fd = fresh.watch.fd, .on_ready = note};
    other->end = fresh.end;
    assert_int_equal(ask(other, WATCH_READ), 0);
}

static void test_reuse_in_pass(struct fixture *fixture) {
    for (int round = 0; round < 2; round++) {
        struct seen seen[2] = {reading_pipe(fixture), reading_pipe(fixture)};
        for (int i = 0; i < 2; i++) {
            seen[i].watch.on_ready = replace_the_other;
            seen[i].other = &seen[1 - i];
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(ask(&seen[round ? 1 - i : i], WATCH_READ), 0);
        for (int i = 0; i < 2; i++)
            write_byte(seen[i].end);
        RUN_UNTIL(fixture, seen[0].calls + seen[1].calls > 0);
        settle(fixture);
        assert_int_equal(seen[0].calls + seen[1].calls, 1);
        struct seen *replaced = &seen[seen[0].calls ? 1 : 0];
        write_byte(replaced->end);
        RUN_UNTIL(fixture, replaced->calls == 1);
        assert_int_equal(ask(replaced, 0), 0);
        for (int i = 0; i < 2; i++)
            close_both(&seen[i]);
    }
}

/* Ends itself and frees its memory. */
static void end_and_free(struct watch *watch, unsigned events) {
    struct seen *seen = CONTAINER_OF(watch, struct seen, watch);
    note(watch, events);
    int *freed = (int *)(void *)seen->other;
    ++*freed;
    assert_int_equal(ask(seen, 0), 0);
    close_both(seen);
    memset(seen, 0xff, sizeof *seen);
    free(seen);
}

static void test_free_in_own_callback(struct fixture *fixture) {
    enum { WATCHES = 10 };
    int freed = 0;
    for (int i = 0; i < WATCHES; i++) {
        struct seen *seen = malloc(sizeof *seen);
        assert_non_null(seen);
        *seen = reading_pipe(fixture);
        seen->watch.on_ready = end_and_free;
        seen->other = (struct seen *)(void *)&freed;
        assert_int_equal(ask(seen, WATCH_READ), 0);
        write_byte(seen->end);
    }
    RUN_UNTIL(fixture, freed == WATCHES);
    settle(fixture);
    assert_int_equal(freed, WATCHES);
}

/* A stream's number is used again as soon as it is closed, by a connect in its own on_close. */
struct reconnecting {
    struct endpoint target;
    int left, last_fd, reused;
    uint8_t byte; /* what each of them sends */
};

static void connect_again(struct probe *probe, char event) {
    struct reconnecting *reconnecting = probe->test;
    if (event == 'o') {
        int fd = stream_fd(probe->stream);
        reconnecting->reused += fd == reconnecting->last_fd;
        reconnecting->last_fd = fd;
        assert_int_equal(probe_send(probe, &reconnecting->byte, 1, 1), whole_send(probe->fixture));
    } else if (event == 'd')
        probe_close(probe);
    else if (event == 'c' && --reconnecting->left > 0) {
        struct probe *next = new_probe(probe->fixture);
        next->test = reconnecting;
        next->react = connect_again;
        assert_int_equal(probe_connect(next, &reconnecting->target, NULL), 0);
    }
}

static void test_stream_reuse(struct fixture *fixture) {
    static const struct stream_handler echo = {.on_data = echo_data, .on_sent = echo_sent};
    struct reconnecting reconnecting = {.left = 10, .last_fd = -1, .byte = pattern_byte(0)};
    struct endpoint address;
    fresh_address(fixture, &address);
    assert_int_equal(loop_listen(fixture->loop, &address, 16, &echo, NULL, NULL,
                                 &reconnecting.target, NULL), 0);
    struct probe *probe = new_probe(fixture);
    probe->test = &reconnecting;
    probe->react = connect_again;
    assert_int_equal(probe_connect(probe, &reconnecting.target, NULL), 0);
    RUN_UNTIL(fixture, reconnecting.left == 0);
    assert_true(reconnecting.reused > 0);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"an undrained watch fires again", test_undrained, false},
        {"only what is asked for", test_mask, false},
        {"a hang-up is readiness", test_hang_up, false},
        {"ended in another's callback", test_end_in_other_callback, false},
        {"a descriptor's number used again in the same pass", test_reuse_in_pass, false},
        {"freed in its own callback", test_free_in_own_callback, false},
        {"a stream's number used again at once", test_stream_reuse, true},
    };
    return conformance_main("watches", cases, ARRAY_LENGTH(cases));
}
