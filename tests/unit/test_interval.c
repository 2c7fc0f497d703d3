/* test_interval.c: nothing is lost or counted twice between recording and reading. */
#include "harness/interval.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/random.h"

enum { RINGS_MOST = 3, FIRST_NS = 1000 };

struct bench {
    struct interval_ring *rings;
    struct interval_reader reader;
};

static void open_bench(struct bench *bench, uint32_t ring_count) {
    size_t bytes = ring_count * sizeof *bench->rings;
    bench->rings = aligned_alloc(_Alignof(struct interval_ring), bytes);
    assert_non_null(bench->rings);
    memset((void *)bench->rings, 0, bytes);
    assert_int_equal(interval_reader_open(&bench->reader, bench->rings, ring_count), 0);
}

static void close_bench(struct bench *bench) {
    interval_reader_close(&bench->reader);
    free(bench->rings);
}

static void record(struct interval_ring *ring, uint64_t value_ns, uint64_t errors) {
    struct interval_slot *slot = interval_current(ring);
    recorder_add(&slot->latency, value_ns);
    slot->requests++;
    slot->errors += errors;
}

static const struct latency_interval *read_next(struct bench *bench) {
    return interval_read(&bench->reader, FIRST_NS);
}

static void an_interval_is_what_was_recorded_in_it(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 1);
    assert_null(read_next(&bench));
    record(&bench.rings[0], 10, 0);
    record(&bench.rings[0], 20, 1);
    assert_null(read_next(&bench));
    interval_end(&bench.rings[0], 1, false, 2000);
    record(&bench.rings[0], 30, 0);
    const struct latency_interval *interval = read_next(&bench);
    assert_non_null(interval);
    assert_int_equal(interval->began_ns, FIRST_NS);
    assert_int_equal(interval->ended_ns, 2000);
    assert_int_equal(interval->requests, 2);
    assert_int_equal(interval->errors, 1);
    assert_int_equal(interval->latency.total, 2);
    assert_int_equal(interval->latency.max, 20);
    assert_false(interval->late);
    assert_null(read_next(&bench));
    interval_close(&bench.rings[0], 2, true, 3500);
    interval = read_next(&bench);
    assert_int_equal(interval->began_ns, 2000);
    assert_int_equal(interval->ended_ns, 3500);
    assert_int_equal(interval->latency.total, 1);
    assert_int_equal(interval->latency.max, 30);
    assert_int_equal(interval->errors, 0);
    assert_true(interval->late);
    assert_null(read_next(&bench));
    close_bench(&bench);
}

static void an_empty_interval_is_one_too(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 1);
    interval_end(&bench.rings[0], 1, false, 2000);
    assert_int_equal(read_next(&bench)->latency.total, 0);
    close_bench(&bench);
}

/* Without a reader the thread fills what is free, and then keeps to its last recorder. */
static void a_late_reader_makes_intervals_longer(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 1);
    for (uint32_t second = 1; second <= 10; second++) {
        record(&bench.rings[0], second, 0);
        interval_end(&bench.rings[0], second, false, 1000 * (second + 1));
    }
    record(&bench.rings[0], 11, 0);
    interval_close(&bench.rings[0], 11, true, 11500);
    const struct latency_interval *interval = NULL;
    for (uint32_t second = 1; second < INTERVAL_SLOTS; second++) {
        interval = read_next(&bench);
        assert_int_equal(interval->latency.total, 1);
        assert_int_equal(interval->latency.max, second);
    }
    interval = read_next(&bench);
    assert_int_equal(interval->began_ns, 1000 * INTERVAL_SLOTS);
    assert_int_equal(interval->ended_ns, 11500);
    assert_int_equal(interval->latency.total, 11 - (INTERVAL_SLOTS - 1));
    assert_false(interval->late); /* most of it is not */
    assert_null(read_next(&bench));
    close_bench(&bench);
}

static void threads_meet_at_the_end_of_an_interval(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 2);
    record(&bench.rings[0], 1, 0);
    interval_end(&bench.rings[0], 1, false, 2000);
    assert_null(read_next(&bench));
    record(&bench.rings[1], 2, 0);
    interval_end(&bench.rings[1], 1, false, 2010);
    const struct latency_interval *interval = read_next(&bench);
    assert_int_equal(interval->latency.total, 2);
    assert_int_equal(interval->ended_ns, 2010);
    close_bench(&bench);
}

/* One thread's recorder spans intervals 1 to 3: the others' are put together until they reach as
 * far, however often the reader comes meanwhile. */
static void a_thread_that_stayed_is_waited_for(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 2);
    interval_end(&bench.rings[0], 3, false, 4000);
    for (uint32_t second = 1; second <= 3; second++) {
        assert_null(read_next(&bench));
        record(&bench.rings[1], second, 0);
        interval_end(&bench.rings[1], second, false, 1000 * (second + 1));
    }
    const struct latency_interval *interval = read_next(&bench);
    assert_int_equal(interval->began_ns, FIRST_NS);
    assert_int_equal(interval->ended_ns, 4000);
    assert_int_equal(interval->latency.total, 3);
    assert_null(read_next(&bench));
    close_bench(&bench);
}

/* With a number of requests instead of a time, threads end when theirs are answered. */
static void a_thread_that_is_through_holds_up_nobody(void **state) {
    (void)state;
    struct bench bench;
    open_bench(&bench, 2);
    record(&bench.rings[0], 1, 0);
    interval_close(&bench.rings[0], 1, false, 1500);
    interval_end(&bench.rings[1], 1, false, 2000);
    assert_int_equal(read_next(&bench)->latency.total, 1);
    record(&bench.rings[1], 2, 0);
    interval_end(&bench.rings[1], 2, false, 3000);
    assert_int_equal(read_next(&bench)->latency.total, 1);
    interval_close(&bench.rings[1], 3, true, 3100);
    assert_int_equal(read_next(&bench)->latency.total, 0);
    assert_null(read_next(&bench));
    close_bench(&bench);
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { VALUES = 200000, SECONDS = 400 };

struct writer {
    struct interval_ring *ring;
    uint64_t seed;
    struct recorder recorded;
};

static void *write_values(void *data) {
    struct writer *writer = data;
    struct random random;
    random_seed(&random, writer->seed);
    uint32_t second = 0;
    for (uint32_t i = 0; i < VALUES; i++) {
        uint64_t value_ns = random_next(&random) >> (22 + random_next(&random) % 42);
        record(writer->ring, value_ns, 0);
        recorder_add(&writer->recorded, value_ns);
        if (i % (VALUES / SECONDS) == 0)
            interval_end(writer->ring, ++second, false, i + 1);
    }
    interval_close(writer->ring, second + 1, false, VALUES + 1);
    return NULL;
}

static bool all_closed(struct bench *bench) {
    for (uint32_t i = 0; i < bench->reader.ring_count; i++)
        if (!atomic_load(&bench->rings[i].closed))
            return false;
    return true;
}

static void the_sum_of_intervals_is_the_whole(void **state) {
    (void)state;
    struct bench bench;
    struct histogram read, recorded;
    pthread_t threads[RINGS_MOST];
    struct writer *writers = aligned_alloc(128, RINGS_MOST * sizeof *writers);
    assert_non_null(writers);
    memset(writers, 0, RINGS_MOST * sizeof *writers);
    open_bench(&bench, RINGS_MOST);
    assert_int_equal(histogram_open(&read, &histogram_standard), 0);
    assert_int_equal(histogram_open(&recorded, &histogram_standard), 0);
    for (uint32_t i = 0; i < RINGS_MOST; i++) {
        writers[i].ring = &bench.rings[i];
        writers[i].seed = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_values, &writers[i]), 0);
    }
    uint64_t requests = 0;
    for (bool over = false; !over;) {
        over = all_closed(&bench); /* before the last reading */
        for (const struct latency_interval *interval; (interval = read_next(&bench));) {
            histogram_merge(&read, &interval->latency);
            requests += interval->requests;
        }
    }
    for (uint32_t i = 0; i < RINGS_MOST; i++) {
        pthread_join(threads[i], NULL);
        histogram_add_recorder(&recorded, &writers[i].recorded);
    }
    assert_int_equal(requests, RINGS_MOST * VALUES);
    assert_true(histogram_equal(&read, &recorded));
    histogram_close(&read);
    histogram_close(&recorded);
    close_bench(&bench);
    free(writers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interval_is_what_was_recorded_in_it),
        cmocka_unit_test(an_empty_interval_is_one_too),
        cmocka_unit_test(a_late_reader_makes_intervals_longer),
        cmocka_unit_test(threads_meet_at_the_end_of_an_interval),
        cmocka_unit_test(a_thread_that_stayed_is_waited_for),
        cmocka_unit_test(a_thread_that_is_through_holds_up_nobody),
        cmocka_unit_test(the_sum_of_intervals_is_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
