/* test_selftest_truth.c: what responses had to be, and which ones a standstill of the generator
 * touched. */
#include "harness/selftest_truth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "loops/check.h"

enum { REQUESTS = 5 };

struct scene {
    uint64_t due_ns[REQUESTS];
    struct known_times times[REQUESTS];
    struct load_trace *trace;
    uint64_t response_ns[REQUESTS];
    bool touched[REQUESTS];
};

/* Due every `gap`, arrived 10 later, taken when the server is free, left after `service` and free 5
 * after that; measured 20 after it left. */
static struct scene scene_of(uint64_t gap_ns, uint64_t service_ns) {
    struct scene scene = {.trace = load_trace_open()};
    uint64_t free_ns = 0;
    assert_non_null(scene.trace);
    for (size_t i = 0; i < REQUESTS; i++) {
        uint64_t due_ns = 10000 + i * gap_ns, arrived_ns = due_ns + 10;
        uint64_t taken_ns = arrived_ns > free_ns ? arrived_ns : free_ns;
        free_ns = taken_ns + service_ns + 5;
        scene.due_ns[i] = due_ns;
        scene.times[i] = (struct known_times){.arrived_ns = arrived_ns,
                                              .taken_ns = taken_ns,
                                              .left_ns = free_ns - 5,
                                              .free_ns = free_ns};
        scene.trace->requests[i] =
            (struct load_trace_request){.sent_ns = due_ns, .answered_ns = free_ns - 5 + 20};
    }
    return scene;
}

static void add_standstill(struct scene *scene, uint64_t from_ns, uint64_t to_ns) {
    scene->trace->standstills[scene->trace->standstill_count++] =
        (struct load_trace_standstill){.from_ns = from_ns, .to_ns = to_ns};
}

static size_t judge(struct scene *scene, enum known_kind kind) {
    struct truth truth = {
        .kind = kind, .count = REQUESTS, .due_ns = scene->due_ns, .times = scene->times};
    truth_responses(&truth, scene->response_ns);
    return truth_touched(&truth, scene->response_ns, scene->trace, scene->touched);
}

static void delays_count_from_the_arrival(void **state) {
    struct scene scene = scene_of(1000, 300);
    (void)state;
    assert_int_equal(judge(&scene, KNOWN_DELAY), 0);
    for (size_t i = 0; i < REQUESTS; i++)
        assert_int_equal(scene.response_ns[i], 300);
    load_trace_close(scene.trace);
}

/* Each comes 100 after the one before and takes 305: the k-th waits for k services more. */
static void a_queue_has_lindleys_times(void **state) {
    struct scene scene = scene_of(100, 300);
    (void)state;
    assert_int_equal(judge(&scene, KNOWN_QUEUE), 0);
    for (size_t i = 0; i < REQUESTS; i++)
        assert_int_equal(scene.response_ns[i], 300 + i * (305 - 100));
    load_trace_close(scene.trace);
}

/* Due, and not sent yet; left, and not seen yet; but not while the server had it. */
static void only_what_the_generator_did_then_is_touched(void **state) {
    static const struct {
        uint64_t from_ns, to_ns;
        size_t touched; /* REQUESTS: none */
    } cases[] = {
        {10100, 10200, REQUESTS}, /* the server has the first */
        {9000, 9999, REQUESTS},   /* nothing was due */
        {10400, 10900, REQUESTS}, /* the first is done, the second not due */
        {9000, 10000, 0},         /* until the first was due */
        {11005, 11006, 1},        /* on its way to the server */
        {12310, 12400, 2},        /* left, at the first moment */
        {12200, 12311, 2},        {12330, 12900, 2}, /* measured at just that time */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct scene scene = scene_of(1000, 300);
        add_standstill(&scene, 100, 200);
        add_standstill(&scene, cases[i].from_ns, cases[i].to_ns);
        add_standstill(&scene, 90000, 90100);
        size_t count = judge(&scene, KNOWN_DELAY);
        assert_int_equal(count, cases[i].touched < REQUESTS);
        for (size_t k = 0; k < REQUESTS; k++)
            assert_int_equal(scene.touched[k], k == cases[i].touched);
        load_trace_close(scene.trace);
    }
}

/* The server served the index-th `late_ns` later than it should have, and those behind it too. */
static void delay_from(struct scene *scene, size_t index, uint64_t late_ns) {
    scene->times[index].arrived_ns += late_ns;
    for (size_t i = index; i < REQUESTS; i++) {
        scene->times[i].taken_ns += late_ns;
        scene->times[i].left_ns += late_ns;
        scene->times[i].free_ns += late_ns;
        scene->trace->requests[i].answered_ns += late_ns;
    }
}

/* In a queue what comes late makes those behind it late, too, until nobody waits. */
static void those_behind_are_touched_in_a_queue(void **state) {
    uint64_t late_ns = LOAD_TRACE_STANDSTILL_LEAST_NS + 1000;
    struct scene busy = scene_of(100, 300), idle = scene_of(1000, 300);
    (void)state;
    delay_from(&busy, 0, late_ns);
    add_standstill(&busy, 10000, 10005);
    assert_int_equal(judge(&busy, KNOWN_QUEUE), REQUESTS);
    assert_int_equal(judge(&busy, KNOWN_DELAY), 1);
    add_standstill(&idle, 11000, 11005);
    assert_int_equal(judge(&idle, KNOWN_QUEUE), 1);
    load_trace_close(busy.trace);
    load_trace_close(idle.trace);
}

/* One that comes late while the server stands still anyway delays nobody. */
static void those_behind_one_who_did_not_matter_are_not(void **state) {
    struct scene scene = scene_of(100, 300);
    (void)state;
    add_standstill(&scene, 10100, 10105);
    assert_int_equal(judge(&scene, KNOWN_QUEUE), 1);
    assert_true(scene.touched[1]);
    load_trace_close(scene.trace);
}

static void what_was_not_answered_is_touched(void **state) {
    struct scene scene = scene_of(1000, 300);
    (void)state;
    scene.trace->requests[3].answered_ns = 0;
    assert_int_equal(judge(&scene, KNOWN_DELAY), 1);
    assert_true(scene.touched[3]);
    load_trace_close(scene.trace);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_count_from_the_arrival),
        cmocka_unit_test(a_queue_has_lindleys_times),
        cmocka_unit_test(only_what_the_generator_did_then_is_touched),
        cmocka_unit_test(those_behind_are_touched_in_a_queue),
        cmocka_unit_test(those_behind_one_who_did_not_matter_are_not),
        cmocka_unit_test(what_was_not_answered_is_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
