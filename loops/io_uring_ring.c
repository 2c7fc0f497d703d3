/* io_uring_ring.c: see io_uring_ring.h. */
#ifdef HAVE_LIBURING

#include "io_uring_ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(bytes, size) ((void)(bytes), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(bytes, size) ((void)(bytes), (void)(size))
#endif

enum { RING_NO_SLOT = UINT32_C(0x0fffffff), BUFFER_GROUP = 0 };

/* ---- setting up ------------------------------------------------------------------------------ */

static int set_up_queues(struct io_uring *uring, unsigned entries) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                 IORING_SETUP_R_DISABLED,
        .cq_entries = entries * RING_COMPLETIONS,
    };
    return io_uring_queue_init_params(entries, uring, &params);
}

/* 0 if io_uring is allowed, 1 or 2 if an administrator has forbidden it. */
static int disabled_by_sysctl(void) {
    int disabled = 0;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file) {
        if (fscanf(file, "%d", &disabled) != 1)
            disabled = 0;
        fclose(file);
    }
    return disabled;
}

static int explain(struct error *error, int failure) {
    int disabled = disabled_by_sysctl();
    if (failure == -EPERM && disabled)
        return error_set(error, failure, "the sysctl kernel.io_uring_disabled is %d", disabled);
    if (failure == -EPERM || failure == -EACCES)
        return error_set(error, failure, "this process may not use io_uring (a seccomp filter?)");
    if (failure == -ENOSYS)
        return error_set(error, failure, "the kernel has no io_uring");
    if (failure == -EINVAL)
        return error_set(error, failure, "the kernel is too old: this needs Linux 6.1");
    return error_set(error, failure, "io_uring_setup: %s", strerror(-failure));
}

static size_t provided_ring_bytes(const struct ring *ring) {
    return ring->provided_entries * sizeof(struct io_uring_buf);
}

static int register_buffers(struct ring *ring, uint32_t count) {
    ring->buffer_count = count < RING_BUFFERS_MOST ? count : RING_BUFFERS_MOST;
    for (ring->provided_entries = 1; ring->provided_entries < ring->buffer_count;)
        ring->provided_entries *= 2;
    ring->buffers = calloc(ring->buffer_count, sizeof *ring->buffers);
    ring->free_numbers = calloc(ring->buffer_count, sizeof *ring->free_numbers);
    void *pages = mmap(NULL, provided_ring_bytes(ring), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages != MAP_FAILED)
        ring->provided_ring = pages;
    if (!ring->buffers || !ring->free_numbers || !ring->provided_ring)
        return -ENOMEM;
    for (uint32_t i = 0; i < ring->buffer_count; i++)
        ring->free_numbers[i] = (uint16_t)i;
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)pages,
                                            .ring_entries = ring->provided_entries,
                                            .bgid = BUFFER_GROUP};
    io_uring_buf_ring_init(ring->provided_ring);
    return io_uring_register_buf_ring(&ring->uring, &registration, 0);
}

static void free_tables(struct ring *ring) {
    if (ring->provided_ring)
        munmap(ring->provided_ring, provided_ring_bytes(ring));
    free(ring->buffers);
    free(ring->free_numbers);
    free(ring->slots);
}

int ring_open(struct ring *ring, struct loop *loop, struct error *error) {
    const struct loop_config *config = &loop->config;
    *ring = (struct ring){.loop = loop, .free_slot = RING_NO_SLOT};
    int failure = set_up_queues(
        &ring->uring, config->queue_entries ? config->queue_entries : RING_QUEUE_ENTRIES);
    if (failure)
        return explain(error, failure);
    failure =
        register_buffers(ring, config->receive_buffers ? config->receive_buffers : RING_BUFFERS);
    if (failure) {
        io_uring_queue_exit(&ring->uring);
        free_tables(ring);
        return explain(error, failure);
    }
    return 0;
}

void ring_close(struct ring *ring) {
    io_uring_queue_exit(&ring->uring);
    for (uint32_t number = 0; number < ring->buffer_count; number++) {
        struct buffer *buffer = ring->buffers[number];
        if (buffer) {
            ASAN_UNPOISON_MEMORY_REGION(buffer->bytes, buffer->size);
            buffer_hold(buffer);
            buffer_drop(buffer);
        }
    }
    free_tables(ring);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static bool add_slot(struct ring *ring) {
    if (ring->slot_count == ring->slot_capacity) {
        uint32_t capacity = ring->slot_capacity ? ring->slot_capacity * 2 : 64;
        struct ring_slot *slots = realloc(ring->slots, capacity * sizeof *slots);
        if (!slots)
            return false;
        ring->slots = slots;
        ring->slot_capacity = capacity;
    }
    CHECK(ring->slot_count < RING_NO_SLOT);
    ring->slots[ring->slot_count] = (struct ring_slot){.next_free = RING_NO_SLOT};
    ring->free_slot = ring->slot_count++;
    return true;
}

bool ring_join(struct ring *ring, struct requester *requester) {
    if (ring->free_slot == RING_NO_SLOT && !add_slot(ring))
        return false;
    struct ring_slot *slot = &ring->slots[ring->free_slot];
    *requester = (struct requester){.slot = ring->free_slot};
    ring->free_slot = slot->next_free;
    slot->requester = requester;
    return true;
}

void ring_leave(struct ring *ring, struct requester *requester) {
    struct ring_slot *slot = &ring->slots[requester->slot];
    CHECK(slot->requester == requester);
    slot->requester = NULL;
    slot->generation++;
    slot->next_free = ring->free_slot;
    ring->free_slot = requester->slot;
}

static uint64_t user_data_of(const struct ring *ring, const struct requester *requester,
                             enum request request) {
    uint64_t generation = ring->slots[requester->slot].generation;
    return generation << 32 | (uint64_t)requester->slot << 4 | request;
}

struct requester *ring_requester(const struct ring *ring, uint64_t user_data) {
    uint32_t index = (uint32_t)user_data >> 4;
    if (index >= ring->slot_count || ring->slots[index].generation != user_data >> 32)
        return NULL;
    return ring->slots[index].requester;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void enable(struct ring *ring) {
    if (ring->enabled)
        return;
    ring->enabled = true;
    /* liburing 2.3 declares io_uring_enable_rings and does not export it. */
    CHECK(io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                            0) == 0);
    io_uring_register_ring_fd(&ring->uring); /* spares a look-up in each call; works without */
}

struct io_uring_sqe *ring_next(struct ring *ring) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    for (int tries = 0; !sqe && tries < 100; tries++) {
        enable(ring);
        ring->loop->counters.syscalls[SYSCALL_WAIT]++;
        io_uring_submit(&ring->uring);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    CHECK(sqe);
    ring->loop->counters.requests++;
    return sqe;
}

void ring_start(struct ring *ring, struct io_uring_sqe *sqe, struct requester *requester,
                enum request request) {
    CHECK(!is_under_way(requester, request));
    requester->under_way |= 1u << request;
    sqe->user_data = user_data_of(ring, requester, request);
    if (request == REQUEST_RECEIVE) {
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
    }
}

/* By its user_data, which is nobody else's even if it is over by now. */
void ring_cancel(struct ring *ring, struct requester *requester, enum request request) {
    if (!is_under_way(requester, request))
        return;
    struct io_uring_sqe *sqe = ring_next(ring);
    uint64_t user_data = user_data_of(ring, requester, request);
    io_uring_prep_cancel64(sqe, user_data, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = user_data | RING_CANCELLING;
}

void ring_cancelled(struct ring *ring, struct requester *requester,
                    const struct io_uring_cqe *cqe) {
    if (cqe->res == -ENOENT || cqe->res == -EALREADY)
        ring_cancel(ring, requester, ring_request(cqe->user_data));
}

void ring_cancel_all(struct ring *ring, struct requester *requester) {
    for (enum request request = 0; request < REQUEST_KINDS; request++)
        ring_cancel(ring, requester, request);
}

int ring_enter(struct ring *ring, int64_t timeout_ns) {
    struct io_uring_cqe *first;
    int result;
    enable(ring);
    ring->loop->counters.syscalls[SYSCALL_WAIT]++;
    if (timeout_ns == 0) {
        result = io_uring_submit_and_get_events(&ring->uring);
    } else {
        struct __kernel_timespec timeout = {.tv_sec = timeout_ns / (int64_t)NS_PER_S,
                                            .tv_nsec = timeout_ns % (int64_t)NS_PER_S};
        result = io_uring_submit_and_wait_timeout(&ring->uring, &first, 1,
                                                  timeout_ns > 0 ? &timeout : NULL, NULL);
    }
    ring->loop->counters.overflows += io_uring_cq_has_overflow(&ring->uring);
    /* EBUSY: completions wait for room in their queue. EAGAIN: the kernel is short of memory. */
    bool passes = result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN;
    return result < 0 && !passes ? result : 0;
}

void ring_completed(struct requester *requester, const struct io_uring_cqe *cqe) {
    enum request request = ring_request(cqe->user_data);
    CHECK(is_under_way(requester, request));
    if (!(cqe->flags & IORING_CQE_F_MORE))
        requester->under_way &= ~(1u << request);
}

/* ---- receive buffers ------------------------------------------------------------------------- */

struct buffer *ring_received(struct ring *ring, const struct io_uring_cqe *cqe) {
    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        return NULL;
    uint16_t number = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    CHECK(number < ring->buffer_count && ring->buffers[number]);
    struct buffer *buffer = ring->buffers[number];
    ASAN_UNPOISON_MEMORY_REGION(buffer->bytes, buffer->size);
    buffer_hold(buffer);
    ring->buffers[number] = NULL;
    ring->provided--;
    ring->free_numbers[ring->buffer_count - ring->provided - 1] = number;
    return buffer;
}

/* Fresh memory is for the beginning, and for when too many are held. */
static bool may_provide(const struct ring *ring, bool first) {
    if (ring->provided == ring->buffer_count)
        return false;
    return ring->loop->free_buffers || first || ring->provided * 4 < ring->buffer_count;
}

void ring_refill(struct ring *ring) {
    bool first = ring->loop->counters.buffers < ring->buffer_count;
    int added = 0;
    for (; may_provide(ring, first); added++) {
        struct buffer *buffer = loop_take_buffer(ring->loop);
        if (!buffer)
            break;
        CHECK(buffer->holds == 0);
        uint16_t number = ring->free_numbers[ring->buffer_count - ring->provided - 1];
        ring->buffers[number] = buffer;
        ring->provided++;
        ASAN_POISON_MEMORY_REGION(buffer->bytes, buffer->size);
        io_uring_buf_ring_add(ring->provided_ring, buffer->bytes, buffer->size, number,
                              io_uring_buf_ring_mask(ring->provided_entries), added);
    }
    if (added > 0)
        io_uring_buf_ring_advance(ring->provided_ring, added);
}

#endif
