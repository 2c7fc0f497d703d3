/* test_allocation.c: what an echo and an HTTP answer cost once it is warm: no allocation, no copy,
 * and on loops whose system calls are all counted one wait, one read and one send.
 *
 * The program defines malloc and its kin and counts what goes through; the work is done by the C
 * library's own entry points. A sanitizer defines them too, so there these cases are skipped. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include "workloads/workload.h"

extern const struct workload http_workload;

#if !defined(SANITIZER_NAME) && defined(__GLIBC__)
#define COUNTS_ALLOCATIONS 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_ulong allocations; /* malloc has no argument to carry it */

void *malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

static unsigned long count_allocations(void) {
    return atomic_load(&allocations);
}
#else
static unsigned long count_allocations(void) {
    return 0;
}
#endif

static void skip_if_uncounted(struct fixture *fixture) {
#if defined(SANITIZER_NAME)
    skip_case(fixture, SANITIZER_NAME " has malloc for itself");
#elif !defined(COUNTS_ALLOCATIONS)
    skip_case(fixture, "allocations can be counted with glibc only");
#else
    (void)fixture;
#endif
}

/* ---- both ends of an echo on one loop, in lockstep ------------------------------------------- */

enum { WARM_UP = 100, ROUND_TRIPS = 2000, MOST_BYTES = 64 * 1024 };

struct cost {
    unsigned long allocations;
    struct loop_counters counters;
};

struct echo_run {
    struct fixture *fixture;
    size_t size;     /* of a message */
    size_t arrived;  /* of the answer under way */
    int round_trips;
    bool server_closed;
    struct cost begin, end;
    uint8_t bytes[MOST_BYTES];
};

static void serve_closed(struct stream *stream, int err) {
    struct echo_run *run = stream_data(stream);
    assert_int_equal(err, 0);
    run->server_closed = true;
}

static void ask(struct stream *stream, struct echo_run *run) {
    struct iovec part = {.iov_base = run->bytes, .iov_len = run->size};
    assert_true(stream_send(stream, &part, 1, NULL) >= 0);
}

static void take_cost(struct echo_run *run, struct cost *cost) {
    cost->allocations = count_allocations();
    cost->counters = *loop_counters(run->fixture->loop);
}

/* Large messages are to pass through a small send buffer, so that sends are SEND_LATER. */
static void either_open(struct stream *stream, int err) {
    const struct echo_run *run = stream_data(stream);
    int bytes = 4096;
    assert_int_equal(err, 0);
    if (run->size == MOST_BYTES)
        setsockopt(stream_fd(stream), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void client_open(struct stream *stream, int err) {
    either_open(stream, err);
    ask(stream, stream_data(stream));
}

static void client_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    (void)buffer;
    struct echo_run *run = stream_data(stream);
    assert_memory_equal(bytes, run->bytes + run->arrived, n);
    run->arrived += n;
    if (run->arrived < run->size)
        return;
    run->arrived = 0;
    run->round_trips++;
    if (run->round_trips == WARM_UP)
        take_cost(run, &run->begin);
    if (run->round_trips < WARM_UP + ROUND_TRIPS) {
        ask(stream, run);
        return;
    }
    take_cost(run, &run->end);
    stream_close(stream);
}

static void client_closed(struct stream *stream, int err) {
    assert_int_equal(err, 0);
    loop_stop(stream_loop(stream));
}

static const struct stream_handler server_handler = {
    .on_open = either_open,
    .on_data = echo_data,
    .on_sent = echo_sent,
    .on_close = serve_closed,
};
static const struct stream_handler client_handler = {
    .on_open = client_open, .on_data = client_data, .on_close = client_closed};

static struct echo_run *run_echo(struct fixture *fixture, size_t size) {
    struct echo_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->fixture = fixture;
    run->size = size;
    fill_pattern(run->bytes, 0, size);
    struct endpoint address, bound;
    struct listener *listener;
    fresh_address(fixture, &address);
    int failure = loop_listen(fixture->loop, &address, 1, &server_handler, run, &listener, &bound,
                              NULL);
    assert_int_equal(failure, 0);
    assert_int_equal(loop_connect(fixture->loop, &bound, NULL, &client_handler, run, NULL), 0);
    run_to_stop(fixture);
    RUN_UNTIL(fixture, run->server_closed);
    listener_close(listener);
    assert_int_equal(run->end.counters.copied_bytes, 0);
    assert_int_equal(run->end.counters.received_bytes - run->begin.counters.received_bytes,
                     2 * size * ROUND_TRIPS);
    return run;
}

static void test_no_allocation(struct fixture *fixture) {
    skip_if_uncounted(fixture);
    unsigned long before = count_allocations();
    struct echo_run *run = run_echo(fixture, 64);
    assert_true(count_allocations() > before); /* it does count: streams, at the least */
    assert_int_equal(run->end.allocations, run->begin.allocations);
    free(run);
}

/* The way of SEND_LATER, with held buffers, is free of allocations too. */
static void test_no_allocation_when_later(struct fixture *fixture) {
    skip_if_uncounted(fixture);
    fixture->transport = TRANSPORT_UNIX; /* delayed acknowledgements would make it last */
    struct echo_run *run = run_echo(fixture, MOST_BYTES);
    assert_true(run->end.counters.sends_later - run->begin.counters.sends_later >= ROUND_TRIPS);
    assert_int_equal(run->end.allocations, run->begin.allocations);
    free(run);
}

static void test_system_calls(struct fixture *fixture) {
    if (!loop_counters(fixture->loop)->syscalls_exact)
        skip_case(fixture, "makes system calls that it does not count");
    struct echo_run *run = run_echo(fixture, 64);
    bool by_request = run->end.counters.requests > 0; /* then one call does all of it */
    for (int kind = 0; kind < SYSCALL_KINDS; kind++) {
        bool needed = kind == SYSCALL_WAIT ||
                      (!by_request && (kind == SYSCALL_READ || kind == SYSCALL_SEND));
        uint64_t calls = run->end.counters.syscalls[kind] - run->begin.counters.syscalls[kind];
        if (calls != (needed ? 2u * ROUND_TRIPS : 0u))
            fail_msg("%d round trips, two sides: %lu calls of %s", ROUND_TRIPS,
                     (unsigned long)calls, loop_syscall_names[kind]);
    }
    free(run);
}

/* ---- HTTP answers to a plain socket ------------------------------------------------------------
 */

#define GET_LINE(path) "GET " path " HTTP/1.1\r\nHost: a\r\n"
static const char get[] = GET_LINE("/") "\r\n";
static const char several[] = GET_LINE("/bytes/300000") "\r\n" /* the others wait for it */
                              GET_LINE("/bytes/100") "\r\n"
                              GET_LINE("/x") "Content-Length: 5\r\n\r\nhello"
                              GET_LINE("/count") "Transfer-Encoding: chunked\r\n\r\n"
                              "5\r\nhello\r\n0\r\n\r\n";

static struct server *start_http(struct fixture *fixture, struct endpoint *bound) {
    struct knob_values knobs;
    struct endpoint address;
    struct server *server;
    struct error error = {""};
    knob_values_init(&knobs, http_workload.knobs, (struct knob_table){NULL, 0});
    fresh_address(fixture, &address);
    if (http_workload.server->start(fixture->loop, &knobs, &address, bound, &server, &error))
        skip_case(fixture, error.text);
    return server;
}

static void exchange(struct fixture *fixture, int peer, const char *request, size_t answer_bytes) {
    static uint8_t bytes[MOST_BYTES];
    size_t got = 0;
    peer_send_all(fixture, peer, request, strlen(request));
    while (got < answer_bytes) {
        ssize_t received;
        RUN_UNTIL(fixture, (received = peer_receive(peer, bytes, sizeof bytes)) != -EAGAIN);
        assert_true(received > 0);
        got += (size_t)received;
    }
    assert_int_equal(got, answer_bytes);
}

/* All of an answer that is one send. */
static size_t answer_size(struct fixture *fixture, int peer, const char *request) {
    static uint8_t bytes[MOST_BYTES];
    ssize_t received;
    peer_send_all(fixture, peer, request, strlen(request));
    RUN_UNTIL(fixture, (received = peer_receive(peer, bytes, sizeof bytes)) != -EAGAIN);
    assert_true(received > 0);
    return (size_t)received;
}

static struct cost cost_now(struct fixture *fixture) {
    return (struct cost){.allocations = count_allocations(),
                         .counters = *loop_counters(fixture->loop)};
}

static void test_http_cost(struct fixture *fixture) {
    skip_if_uncounted(fixture);
    struct endpoint bound;
    struct server *server = start_http(fixture, &bound);
    int peer = peer_connect(&bound);
    size_t bytes = answer_size(fixture, peer, get);
    for (int i = 0; i < WARM_UP; i++)
        exchange(fixture, peer, get, bytes);
    struct cost begin = cost_now(fixture);
    for (int i = 0; i < ROUND_TRIPS; i++)
        exchange(fixture, peer, get, bytes);
    struct cost end = cost_now(fixture);
    assert_int_equal(end.allocations, begin.allocations);
    assert_int_equal(end.counters.copied_bytes, begin.counters.copied_bytes);
    assert_int_equal(end.counters.sends_done + end.counters.sends_later,
                     begin.counters.sends_done + begin.counters.sends_later + ROUND_TRIPS);
    if (end.counters.syscalls_exact && end.counters.requests == 0) {
        static const enum loop_syscall once[] = {SYSCALL_READ, SYSCALL_SEND};
        for (size_t i = 0; i < ARRAY_LENGTH(once); i++)
            assert_int_equal(end.counters.syscalls[once[i]],
                             begin.counters.syscalls[once[i]] + ROUND_TRIPS);
        assert_int_equal(end.counters.syscalls[SYSCALL_CONTROL],
                         begin.counters.syscalls[SYSCALL_CONTROL]);
    }
    close(peer);
    http_workload.server->stop(server);
}

/* Other answers, bodies, and more than a socket takes at once. */
static void test_http_no_allocation(struct fixture *fixture) {
    enum { LARGE_ROUND_TRIPS = ROUND_TRIPS / 20 };
    skip_if_uncounted(fixture);
    struct endpoint bound;
    struct server *server = start_http(fixture, &bound);
    int peer = peer_connect(&bound);
    size_t bytes = 300000 - 1 + answer_size(fixture, peer, GET_LINE("/bytes/1") "\r\n") +
                   5; /* one more digit for each zero */
    bytes += answer_size(fixture, peer, GET_LINE("/bytes/100") "\r\n");
    bytes += answer_size(fixture, peer, GET_LINE("/x") "\r\n");
    bytes += answer_size(fixture, peer, GET_LINE("/count") "\r\n");
    for (int i = 0; i < LARGE_ROUND_TRIPS; i++)
        exchange(fixture, peer, several, bytes);
    struct cost begin = cost_now(fixture);
    for (int i = 0; i < LARGE_ROUND_TRIPS; i++)
        exchange(fixture, peer, several, bytes);
    assert_int_equal(cost_now(fixture).allocations, begin.allocations);
    close(peer);
    http_workload.server->stop(server);
}

int main(void) {
    static const struct conformance_case cases[] = {
        {"no allocation in 2,000 echoes", test_no_allocation, true},
        {"no allocation in 2,000 large echoes", test_no_allocation_when_later, false},
        {"a wait, a read and a send an echo", test_system_calls, true},
        {"an HTTP answer costs a read and a send", test_http_cost, true},
        {"no allocation in other HTTP answers", test_http_no_allocation, false},
    };
    return conformance_main("what an echo costs", cases, ARRAY_LENGTH(cases));
}
