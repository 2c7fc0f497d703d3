/* interval.c: see interval.h. */
#include "harness/interval.h"

#include <errno.h>
#include <stdlib.h>

#include "loops/check.h"

/* ---- the thread that records ----------------------------------------------------------------- */

struct interval_slot *interval_current(struct interval_ring *ring) {
    uint32_t filled = atomic_load_explicit(&ring->filled, memory_order_relaxed);
    return &ring->slots[filled % INTERVAL_SLOTS];
}

static void hand_over(struct interval_ring *ring, uint32_t number, bool late, uint64_t now_ns) {
    struct interval_slot *slot = interval_current(ring);
    uint32_t filled = atomic_load_explicit(&ring->filled, memory_order_relaxed);
    slot->number = number;
    slot->late = late && !slot->held;
    slot->ended_ns = now_ns;
    atomic_store_explicit(&ring->filled, filled + 1, memory_order_release);
}

void interval_end(struct interval_ring *ring, uint32_t number, bool late, uint64_t now_ns) {
    uint32_t filled = atomic_load_explicit(&ring->filled, memory_order_relaxed);
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    if (filled + 1 - taken < INTERVAL_SLOTS) /* the one after it is free */
        hand_over(ring, number, late, now_ns);
    else
        interval_current(ring)->held = true;
}

void interval_close(struct interval_ring *ring, uint32_t number, bool late, uint64_t now_ns) {
    hand_over(ring, number, late, now_ns);
    atomic_store_explicit(&ring->closed, true, memory_order_release);
}

/* ---- the process that reads ------------------------------------------------------------------ */

int interval_reader_open(struct interval_reader *reader, struct interval_ring *rings,
                         uint32_t ring_count) {
    *reader = (struct interval_reader){.rings = rings, .ring_count = ring_count};
    reader->reached = calloc(ring_count, sizeof *reader->reached);
    if (reader->reached && histogram_open(&reader->interval.latency, &histogram_standard) == 0)
        return 0;
    free(reader->reached);
    return -ENOMEM;
}

void interval_reader_close(struct interval_reader *reader) {
    histogram_close(&reader->interval.latency);
    free(reader->reached);
}

/* The oldest slot not taken; null when there is none. `closed`: nor will there be. */
static struct interval_slot *oldest(struct interval_ring *ring, bool *closed) {
    *closed = atomic_load_explicit(&ring->closed, memory_order_acquire); /* before `filled` */
    uint32_t filled = atomic_load_explicit(&ring->filled, memory_order_acquire);
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    return filled == taken ? NULL : &ring->slots[taken % INTERVAL_SLOTS];
}

static void take(struct interval_reader *reader, uint32_t ring_number, struct interval_slot *slot) {
    struct interval_ring *ring = &reader->rings[ring_number];
    struct latency_interval *interval = &reader->interval;
    uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    histogram_add_recorder(&interval->latency, &slot->latency);
    interval->requests += slot->requests;
    interval->errors += slot->errors;
    interval->late = interval->late && slot->late;
    if (slot->ended_ns > interval->ended_ns)
        interval->ended_ns = slot->ended_ns;
    reader->reached[ring_number] = slot->number;
    recorder_reset(&slot->latency);
    slot->requests = slot->errors = 0;
    slot->held = false;
    atomic_store_explicit(&ring->taken, taken + 1, memory_order_release);
}

/* The end that all threads can be brought to: where the longest of their next slots ends. 0: some
 * have not ended theirs yet, or all are through. */
static uint32_t next_target(const struct interval_reader *reader) {
    uint32_t target = 0;
    for (uint32_t i = 0; i < reader->ring_count; i++) {
        bool closed;
        const struct interval_slot *slot = oldest(&reader->rings[i], &closed);
        if (!slot && !closed)
            return 0;
        if (slot && slot->number > target)
            target = slot->number;
    }
    return target;
}

static bool take_up_to(struct interval_reader *reader, uint32_t ring_number, uint32_t target) {
    struct interval_slot *slot;
    bool closed;
    while ((slot = oldest(&reader->rings[ring_number], &closed)) && slot->number <= target)
        take(reader, ring_number, slot);
    return slot || closed || reader->reached[ring_number] >= target;
}

static void begin_next(struct interval_reader *reader, uint64_t first_ns) {
    struct latency_interval *interval = &reader->interval;
    interval->began_ns = interval->ended_ns > 0 ? interval->ended_ns : first_ns;
    interval->requests = interval->errors = 0;
    interval->late = true;
    histogram_reset(&interval->latency);
}

const struct latency_interval *interval_read(struct interval_reader *reader, uint64_t first_ns) {
    if (reader->target == 0) {
        reader->target = next_target(reader);
        if (reader->target == 0)
            return NULL;
        begin_next(reader, first_ns);
    }
    for (uint32_t i = 0; i < reader->ring_count; i++)
        if (!take_up_to(reader, i, reader->target))
            return NULL;
    reader->target = 0;
    return &reader->interval;
}
